//! A scene made into a picture with its truth.
//!
//! In:   a scene, a size in pixels, a seed for grain and noise.
//! Out:  RGB bytes and boxes; a JPEG on demand.
//! Owns: what counts as visible.

use serde::{Serialize, Serializer};
use tiny_skia::{Pixmap, PremultipliedColorU8};

use crate::belt;
use crate::brand::Brand;
use crate::dice::Dice;
use crate::geometry::{Bounds, Camera};
use crate::lens;
use crate::paint::Painter;
use crate::scene::Scene;
use crate::text::Fonts;

/// Of a thing that shows less than this share of itself, the truth says nothing.
pub const VISIBLE_MIN: f32 = 0.4;

/// Nor of one whose longer side has fewer pixels of a 320 frame than this.
pub const SIDE_MIN: f32 = 8.0;

const SIDES: std::ops::RangeInclusive<u32> = 32..=8192;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    Brand(Brand),
    Parcel,
    Barcode,
}

impl Class {
    pub const COUNT: usize = Brand::ALL.len() + 2;

    /// In the order of the model's `names`.
    pub fn all() -> impl Iterator<Item = Class> {
        Brand::ALL.into_iter().map(Class::Brand).chain([Class::Parcel, Class::Barcode])
    }

    pub fn index(self) -> usize {
        match self {
            Class::Brand(brand) => brand as usize,
            Class::Parcel => Brand::ALL.len(),
            Class::Barcode => Brand::ALL.len() + 1,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Class::Brand(brand) => brand.name(),
            Class::Parcel => "parcel",
            Class::Barcode => "barcode",
        }
    }
}

impl Serialize for Class {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Truth {
    pub class: Class,
    /// In pixels, inside the frame.
    #[serde(flatten)]
    pub bounds: Bounds,
    /// The share that is inside the frame and under nothing.
    pub visible: f32,
    /// What a barcode says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

pub struct Picture {
    pub width: u32,
    pub height: u32,
    /// Rows from the top, three bytes per pixel.
    pub rgb: Vec<u8>,
    pub truth: Vec<Truth>,
    pub jpeg_quality: u8,
}

#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    #[error("cannot draw {width} x {height} pixels: expected 32 to 8192 on each side")]
    Size { width: u32, height: u32 },
    #[error("cannot encode a JPEG of {width} x {height} pixels: {source}")]
    Jpeg { width: u32, height: u32, source: jpeg_encoder::EncodingError },
}

/// Draws a scene `size` pixels wide and high. The scene decides what is there and where; the seed only
/// moves grain, creases and noise.
///
/// # Errors
/// A side below 32 or above 8192 pixels.
pub fn render(scene: &Scene, size: (u32, u32), seed: u64) -> Result<Picture, PictureError> {
    let (width, height) = size;
    let fits = SIDES.contains(&width) && SIDES.contains(&height);
    let mut pixels =
        Pixmap::new(width, height).filter(|_| fits).ok_or(PictureError::Size { width, height })?;
    let camera = Camera::new(width, height, scene.tilt, scene.roll);
    let plane = camera.belt();
    let lines = pixels.pixels_mut();
    belt::lay(scene, &plane, width, height, seed, &mut |at, [r, g, b]| {
        if let (Some(to), Some(colour)) = (lines.get_mut(at), PremultipliedColorU8::from_rgba(r, g, b, 255)) {
            *to = colour;
        }
    });

    let fonts = Fonts::default();
    let mut painter = Painter::new(&mut pixels, &fonts);
    for (number, parcel) in scene.parcels.iter().enumerate() {
        painter.parcel(&camera, parcel, &mut Dice::of(seed, &format!("parcel {number}")));
    }
    for blob in &scene.blobs {
        painter.blob(&plane, blob);
    }
    let unit = width.min(height) as f32 / 320.0;
    let truth = painter
        .seen
        .iter()
        .filter_map(|seen| {
            let visible = painter.visible(seen);
            let bounds = seen.bounds.within(width as f32, height as f32)?;
            let large = bounds.width().max(bounds.height()) >= SIDE_MIN * unit;
            let text = seen.text.clone();
            (visible >= VISIBLE_MIN && large).then_some(Truth { class: seen.class, bounds, visible, text })
        })
        .collect();

    let mut rgb: Vec<u8> = pixels.pixels().iter().flat_map(|p| [p.red(), p.green(), p.blue()]).collect();
    let noise = Dice::of(seed, "noise").bits();
    lens::expose(&mut rgb, width as usize, height as usize, &scene.light, &scene.lens, noise);
    Ok(Picture { width, height, rgb, truth, jpeg_quality: scene.lens.jpeg_quality })
}

impl Picture {
    /// The picture at the quality that its scene's lens asks for.
    ///
    /// # Errors
    /// The encoder refuses the size.
    pub fn jpeg(&self) -> Result<Vec<u8>, PictureError> {
        let (width, height) = (self.width, self.height);
        let error = |source| PictureError::Jpeg { width, height, source };
        let mut bytes = Vec::with_capacity(self.rgb.len() / 8);
        let encoder = jpeg_encoder::Encoder::new(&mut bytes, self.jpeg_quality.clamp(1, 100));
        encoder
            .encode(&self.rgb, width as u16, height as u16, jpeg_encoder::ColorType::Rgb)
            .map_err(error)?;
        Ok(bytes)
    }
}
