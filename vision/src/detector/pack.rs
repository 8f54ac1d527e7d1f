//! Frames into a model's input: scaled to fit, centred on grey, planes of red, green, blue from 0 to 1.
//!
//! Scaling down averages (a triangle as wide as the scale), as training does; nearest pixels would
//! drop thin marks.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use weir_contract::{Code, Error, Result};

use crate::boxes::Letterbox;
use crate::decode::Frame;

const GREY: f32 = 114.0 / 255.0;

/// Keeps its buffers from run to run.
pub struct Packer {
    input: (u32, u32),
    data: Vec<f32>,
    scaled: Vec<u8>,
    resizer: Resizer,
}

impl Packer {
    pub fn new(input: (u32, u32)) -> Packer {
        Packer { input, data: Vec::new(), scaled: Vec::new(), resizer: Resizer::new() }
    }

    pub fn data(&self) -> &[f32] {
        &self.data
    }

    /// A batch of nothing but grey.
    pub fn grey(&mut self, batch: usize) -> [usize; 4] {
        let (width, height) = (self.input.0 as usize, self.input.1 as usize);
        self.data.clear();
        self.data.resize(batch * 3 * width * height, GREY);
        [batch, 3, height, width]
    }

    /// Fills the first places of a batch with frames; the rest stays grey.
    pub fn fill(&mut self, frames: &[&Frame], batch: usize) -> Result<[usize; 4]> {
        let shape = self.grey(batch);
        let one = self.data.len() / batch.max(1);
        for (number, frame) in frames.iter().take(batch).enumerate() {
            self.one(frame, number * one)?;
        }
        Ok(shape)
    }

    fn one(&mut self, frame: &Frame, from: usize) -> Result<()> {
        let way = Letterbox::new((frame.width(), frame.height()), self.input);
        let rgb = if way.scaled == way.frame {
            frame.rgb()
        } else {
            self.scale(frame, &way)?;
            &self.scaled
        };
        let (stride, rows) = (self.input.0 as usize, self.input.1 as usize);
        let (width, left, top) = (way.scaled.0 as usize, way.corner.0 as usize, way.corner.1 as usize);
        let (red, rest) = self.data[from..from + 3 * stride * rows].split_at_mut(stride * rows);
        let (green, blue) = rest.split_at_mut(stride * rows);
        for (y, row) in rgb.chunks_exact(width * 3).enumerate() {
            let start = (top + y) * stride + left;
            let planes = red[start..start + width]
                .iter_mut()
                .zip(&mut green[start..start + width])
                .zip(&mut blue[start..start + width]);
            for (pixel, ((r, g), b)) in row.chunks_exact(3).zip(planes) {
                *r = f32::from(pixel[0]) / 255.0;
                *g = f32::from(pixel[1]) / 255.0;
                *b = f32::from(pixel[2]) / 255.0;
            }
        }
        Ok(())
    }

    fn scale(&mut self, frame: &Frame, way: &Letterbox) -> Result<()> {
        let fail = |e: &dyn std::fmt::Display| {
            Error::new(
                Code::Internal,
                format!("a frame of {}×{} was not scaled: {e}", way.frame.0, way.frame.1),
            )
        };
        let from = ImageRef::new(frame.width(), frame.height(), frame.rgb(), PixelType::U8x3);
        let from = from.map_err(|e| fail(&e))?;
        self.scaled.clear();
        self.scaled.resize(way.scaled.0 as usize * way.scaled.1 as usize * 3, 0);
        let mut to = Image::from_slice_u8(way.scaled.0, way.scaled.1, &mut self.scaled, PixelType::U8x3)
            .map_err(|e| fail(&e))?;
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
        self.resizer.resize(&from, &mut to, &options.use_alpha(false)).map_err(|e| fail(&e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_lies_in_the_middle_as_planes() {
        let frame = Frame::new(4, 2, (0..24).map(|i| i * 10).collect()).unwrap();
        let mut packer = Packer::new((4, 4));
        assert_eq!(packer.fill(&[&frame], 2).unwrap(), [2, 3, 4, 4]);
        let data = packer.data();
        assert_eq!(data.len(), 2 * 48);
        assert_eq!(data[..4], [GREY; 4]);
        assert_eq!(data[4..8], [0.0, 30.0 / 255.0, 60.0 / 255.0, 90.0 / 255.0], "red of the upper row");
        assert_eq!(data[16 + 8], 130.0 / 255.0, "green of the lower row");
        assert_eq!(data[32 + 11], 230.0 / 255.0, "blue, last pixel");
        assert!(data[48..].iter().all(|v| *v == GREY), "the second place is empty");
    }

    /// A thin black line in a large white frame must darken its place, wherever it falls.
    #[test]
    fn scaling_down_averages() {
        for x in 400..410 {
            let mut rgb = vec![255; 960 * 8 * 3];
            for y in 0..8 {
                rgb[(y * 960 + x) * 3..][..3].fill(0);
            }
            let frame = Frame::new(960, 8, rgb).unwrap();
            let mut packer = Packer::new((320, 320));
            packer.fill(&[&frame], 1).unwrap();
            let row = &packer.data()[160 * 320..161 * 320];
            let dark: f32 = row.iter().map(|v| 1.0 - v).sum();
            assert!((dark - 1.0 / 3.0).abs() < 0.02, "column {x}: {dark}");
        }
    }
}
