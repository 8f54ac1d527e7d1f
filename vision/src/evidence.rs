//! Pictures that show why: boxes, codes and words on a frame, as a JPEG.
//!
//! In:   a frame; marks in its pixels, each with a word and a tone; lines for the caption.
//! Out:  a frame of the same size, or the bytes of a JPEG.
//! Owns: the drawing. What is drawn where comes from the event; nothing is drawn outside the frame, and
//!       pixels that no mark covers stay as they are.

use font8x8::{BASIC_FONTS, LATIN_FONTS, UnicodeFonts};
use jpeg_encoder::{ColorType, Encoder, SamplingFactor};
use weir_contract::{Code, Error, Result};

use crate::barcode::Reading;
use crate::boxes::Area;
use crate::decode::Frame;
use crate::detector::Detection;

/// Characters of one label or caption line; the rest is cut.
pub const TEXT_CHARS_MAX: usize = 64;
/// Lines of a caption.
pub const CAPTION_LINES_MAX: usize = 8;

/// What a mark says of what it shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    Plain,
    AsExpected,
    Mismatch,
}

impl Tone {
    /// Blue, green, red of about one brightness, on which white letters stand out.
    pub fn color(self) -> [u8; 3] {
        match self {
            Tone::Plain => [0, 92, 190],
            Tone::AsExpected => [0, 120, 60],
            Tone::Mismatch => [200, 20, 30],
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    Box(Area),
    /// Corners, joined and closed; two are a line.
    Path(Vec<(f32, f32)>),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Mark {
    pub shape: Shape,
    /// Empty: no label.
    pub text: String,
    pub tone: Tone,
}

impl Mark {
    /// `parcel 0.93`.
    pub fn of_detection(found: &Detection, tone: Tone) -> Mark {
        let text = format!("{} {:.2}", found.label, found.confidence);
        Mark { shape: Shape::Box(found.area), text, tone }
    }

    /// `ean13 4006381333931`, with a question mark where the reading is not sure.
    pub fn of_reading(found: &Reading, tone: Tone) -> Mark {
        let doubt = if found.is_sure() { "" } else { " ?" };
        let text = format!("{} {}{doubt}", found.symbology.word(), found.text);
        Mark { shape: Shape::Path(found.points.clone()), text, tone }
    }
}

const WHITE: [u8; 3] = [255; 3];
const GLYPH: i64 = 8;

struct Canvas {
    width: i64,
    height: i64,
    frame: Frame,
    /// Of lines, in pixels; of letters, in pixels of a dot.
    thick: i64,
    dot: i64,
}

impl Canvas {
    fn of(frame: &Frame) -> Canvas {
        let (width, height) = (i64::from(frame.width()), i64::from(frame.height()));
        let side = width.max(height);
        Canvas {
            width,
            height,
            frame: frame.clone(),
            thick: (side / 400).max(2),
            dot: (side / 640).clamp(1, 6),
        }
    }

    fn fill(&mut self, x1: i64, y1: i64, x2: i64, y2: i64, color: [u8; 3]) {
        let (x1, x2) = (x1.clamp(0, self.width), x2.clamp(0, self.width));
        let (y1, y2) = (y1.clamp(0, self.height), y2.clamp(0, self.height));
        let stride = self.width as usize * 3;
        for row in self.frame.rgb_mut().chunks_exact_mut(stride).take(y2 as usize).skip(y1 as usize) {
            for pixel in row[x1 as usize * 3..x2.max(x1) as usize * 3].chunks_exact_mut(3) {
                pixel.copy_from_slice(&color);
            }
        }
    }

    /// The border lies inside the box.
    fn border(&mut self, area: &Area, color: [u8; 3]) {
        let (x1, y1) = (area.x1.floor() as i64, area.y1.floor() as i64);
        let (x2, y2) = (area.x2.ceil() as i64, area.y2.ceil() as i64);
        let t = self.thick;
        self.fill(x1, y1, x2, (y1 + t).min(y2), color);
        self.fill(x1, (y2 - t).max(y1), x2, y2, color);
        self.fill(x1, y1, (x1 + t).min(x2), y2, color);
        self.fill((x2 - t).max(x1), y1, x2, y2, color);
    }

    fn line(&mut self, a: (f32, f32), b: (f32, f32), color: [u8; 3]) {
        let steps = (b.0 - a.0).abs().max((b.1 - a.1).abs()).ceil().max(1.0) as i64;
        for step in 0..=steps {
            let part = step as f32 / steps as f32;
            let (x, y) = (a.0 + (b.0 - a.0) * part, a.1 + (b.1 - a.1) * part);
            let (x, y) = (x.round() as i64 - self.thick / 2, y.round() as i64 - self.thick / 2);
            self.fill(x, y, x + self.thick, y + self.thick, color);
        }
    }

    /// Width and height of a line of text with its ground.
    fn size(&self, text: &str) -> (i64, i64) {
        let count = text.chars().take(TEXT_CHARS_MAX).count() as i64;
        ((count * GLYPH + 2) * self.dot, (GLYPH + 2) * self.dot)
    }

    fn text(&mut self, x: i64, y: i64, text: &str, ground: [u8; 3]) {
        let (width, height) = self.size(text);
        self.fill(x, y, x + width, y + height, ground);
        for (number, letter) in text.chars().take(TEXT_CHARS_MAX).enumerate() {
            let font =
                BASIC_FONTS.get(letter).or_else(|| LATIN_FONTS.get(letter)).or_else(|| BASIC_FONTS.get('?'));
            let left = x + (number as i64 * GLYPH + 1) * self.dot;
            for (row, bits) in (0_i64..).zip(font.unwrap_or_default()) {
                for column in (0..GLYPH).filter(|c| bits >> c & 1 == 1) {
                    let (px, py) = (left + column * self.dot, y + (row + 1) * self.dot);
                    self.fill(px, py, px + self.dot, py + self.dot, WHITE);
                }
            }
        }
    }

    /// Above the mark; below its upper edge where there is no room.
    fn label(&mut self, left: f32, top: f32, text: &str, ground: [u8; 3]) {
        if text.is_empty() {
            return;
        }
        let (width, height) = self.size(text);
        let x = (left.floor() as i64).min(self.width - width).max(0);
        let above = top.floor() as i64 - height;
        self.text(x, if above >= 0 { above } else { (top.floor() as i64).max(0) }, text, ground);
    }
}

/// Draws marks in their order, later ones above, and the caption at the lower edge.
pub fn annotate(frame: &Frame, marks: &[Mark], caption: &[&str]) -> Frame {
    let mut canvas = Canvas::of(frame);
    // Drawing is bounded by the frame, whatever numbers a mark has.
    let kept = |p: &(f32, f32)| {
        (p.0.clamp(-1.0, canvas.width as f32 + 1.0), p.1.clamp(-1.0, canvas.height as f32 + 1.0))
    };
    let mut shapes = Vec::new();
    for mark in marks {
        match &mark.shape {
            Shape::Box(area) => {
                let area = area.within(frame.width(), frame.height());
                if area.is_real() {
                    shapes.push((mark, Some(area), Vec::new()));
                }
            }
            Shape::Path(points) => {
                let real = points.iter().filter(|p| p.0.is_finite() && p.1.is_finite());
                shapes.push((mark, None, real.map(kept).collect::<Vec<_>>()));
            }
        }
    }
    for (mark, area, points) in &shapes {
        let color = mark.tone.color();
        if let Some(area) = area {
            canvas.border(area, color);
        }
        for (a, b) in points.iter().zip(points.iter().cycle().skip(1)) {
            canvas.line(*a, *b, color);
        }
    }
    // Words above all lines.
    for (mark, area, points) in &shapes {
        let corner = area
            .map(|a| (a.x1, a.y1))
            .or_else(|| points.iter().copied().reduce(|a, b| (a.0.min(b.0), a.1.min(b.1))));
        if let Some((left, top)) = corner {
            canvas.label(left, top, &mark.text, mark.tone.color());
        }
    }
    let lines = &caption[..caption.len().min(CAPTION_LINES_MAX)];
    for (number, line) in lines.iter().enumerate() {
        let (_, height) = canvas.size(line);
        let y = canvas.height - height * (lines.len() - number) as i64;
        canvas.text(0, y, line, [20; 3]);
    }
    canvas.frame
}

/// Writes a JPEG; quality 1 to 100.
///
/// # Errors
/// `W0802` where a side is above 65,535.
pub fn jpeg(frame: &Frame, quality: u8) -> Result<Vec<u8>> {
    let side = |side: u32| {
        let what = || format!("{}×{} pixels do not fit a JPEG", frame.width(), frame.height());
        u16::try_from(side).map_err(|_| Error::new(Code::ImageTooLarge, what()))
    };
    let (width, height) = (side(frame.width())?, side(frame.height())?);
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, quality.clamp(1, 100));
    encoder.set_sampling_factor(SamplingFactor::R_4_2_0);
    let failed =
        |e: jpeg_encoder::EncodingError| Error::new(Code::Internal, format!("a JPEG was not written: {e}"));
    encoder.encode(frame.rgb(), width, height, ColorType::Rgb).map_err(failed)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::{Limits, decode};

    fn paper(width: u32, height: u32) -> Frame {
        Frame::new(width, height, vec![255; (width * height * 3) as usize]).unwrap()
    }

    fn pixel(frame: &Frame, x: u32, y: u32) -> [u8; 3] {
        let at = ((y * frame.width() + x) * 3) as usize;
        [frame.rgb()[at], frame.rgb()[at + 1], frame.rgb()[at + 2]]
    }

    fn mark(shape: Shape, text: &str, tone: Tone) -> Mark {
        Mark { shape, text: text.to_owned(), tone }
    }

    #[test]
    fn a_box_has_a_border_and_a_label_above() {
        let frame = paper(100, 80);
        let shape = Shape::Box(Area::new(20.0, 40.0, 60.0, 70.0));
        let drawn = annotate(&frame, &[mark(shape, "T", Tone::Mismatch)], &[]);
        let red = Tone::Mismatch.color();
        for (x, y) in [(20, 40), (59, 69), (21, 41), (40, 41), (20, 55), (59, 55), (40, 68)] {
            assert_eq!(pixel(&drawn, x, y), red, "{x}, {y}");
        }
        for (x, y) in [(22, 42), (40, 55), (57, 67), (60, 40), (19, 40), (40, 70)] {
            assert_eq!(pixel(&drawn, x, y), WHITE, "{x}, {y}");
        }
        // Ten by ten dots above the box, with the letter's dots in white.
        let mut dots = 0;
        for y in 30..40 {
            for x in 20..30 {
                let bits = BASIC_FONTS.get('T').unwrap();
                let inside = (21..29).contains(&x) && (31..39).contains(&y);
                let lit = inside && bits[y as usize - 31] >> (x - 21) & 1 == 1;
                assert_eq!(pixel(&drawn, x, y), if lit { WHITE } else { red }, "{x}, {y}");
                dots += u32::from(lit);
            }
        }
        assert!(dots > 10, "{dots}");
    }

    #[test]
    fn only_what_is_marked_changes() {
        let mut rgb = vec![0; 64 * 64 * 3];
        rgb.iter_mut().enumerate().for_each(|(i, b)| *b = (i * 7 % 251) as u8);
        let frame = Frame::new(64, 64, rgb).unwrap();
        assert_eq!(annotate(&frame, &[], &[]), frame);
        let odd = [
            Shape::Box(Area::new(f32::NAN, 0.0, 9.0, 9.0)),
            Shape::Box(Area::new(30.0, 30.0, 20.0, 40.0)),
            Shape::Box(Area::new(100.0, 100.0, 200.0, 200.0)),
            Shape::Path(vec![]),
            Shape::Path(vec![(f32::INFINITY, 1.0), (f32::NAN, 2.0)]),
        ];
        let marks: Vec<Mark> = odd.into_iter().map(|s| mark(s, "x", Tone::Plain)).collect();
        assert_eq!(annotate(&frame, &marks, &[]), frame);
        // Far outside in both directions: the frame's own size bounds the work.
        let far = [
            mark(Shape::Box(Area::new(-1e30, -1e30, 1e30, 1e30)), &"w".repeat(10_000), Tone::Plain),
            mark(Shape::Path(vec![(-1e30, 5.0), (1e30, 60.0)]), "line", Tone::AsExpected),
        ];
        let drawn = annotate(&frame, &far, &["one", "two"]);
        assert_eq!(pixel(&drawn, 0, 63), [20; 3], "the caption's ground");
        assert_ne!(drawn, frame);
    }

    #[test]
    fn evidence_is_a_jpeg_that_shows_the_marks() {
        let frame = Frame::new(640, 480, vec![128; 640 * 480 * 3]).unwrap();
        let label: std::sync::Arc<str> = "parcel".into();
        let area = Area::new(100.0, 100.0, 400.0, 300.0);
        let found = Detection { label, class: 0, confidence: 0.934, area };
        let mark = Mark::of_detection(&found, Tone::Mismatch);
        assert_eq!(mark.text, "parcel 0.93");
        let drawn = annotate(&frame, &[mark], &["expected Alba, saw Boreal", "größer ✓"]);
        let bytes = jpeg(&drawn, 85).unwrap();
        let back = decode(&bytes, &Limits::default()).unwrap();
        assert_eq!((back.width(), back.height()), (640, 480));
        let [r, g, b] = pixel(&back, 250, 101);
        assert!(r > 150 && g < 90 && b < 90, "{r} {g} {b}");
        assert_eq!(pixel(&back, 250, 200), pixel(&back, 500, 400));
        assert!(bytes.len() < 60_000);
        let wide = Frame::new(65_536, 1, vec![0; 65_536 * 3]).unwrap();
        assert_eq!(jpeg(&wide, 85).unwrap_err().code(), Code::ImageTooLarge);
    }
}
