//! Words as paths.
//!
//! In:   text, a face, a weight.
//! Out:  one path per line: the capital height is about 0.7, the baseline y = 0, it starts at x = 0.
//!       A character without a glyph leaves a gap.
//! Owns: which fonts there are. Both come with `epaint_default_fonts` under free licences (UFL, MIT).

use tiny_skia::{Path, PathBuilder};
use ttf_parser::{Face, OutlineBuilder};

use crate::shape::{Art, outlined};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Font {
    Sans,
    Mono,
}

struct Pen {
    path: PathBuilder,
    scale: f32,
    x: f32,
}

impl Pen {
    fn map(&self, x: f32, y: f32) -> (f32, f32) {
        (self.x + x * self.scale, -y * self.scale)
    }
}

impl OutlineBuilder for Pen {
    fn move_to(&mut self, x: f32, y: f32) {
        let p = self.map(x, y);
        self.path.move_to(p.0, p.1);
    }

    fn line_to(&mut self, x: f32, y: f32) {
        let p = self.map(x, y);
        self.path.line_to(p.0, p.1);
    }

    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        let (a, p) = (self.map(x1, y1), self.map(x, y));
        self.path.quad_to(a.0, a.1, p.0, p.1);
    }

    fn curve_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        let (a, b, p) = (self.map(x1, y1), self.map(x2, y2), self.map(x, y));
        self.path.cubic_to(a.0, a.1, b.0, b.1, p.0, p.1);
    }

    fn close(&mut self) {
        self.path.close();
    }
}

/// The fonts, parsed once per picture.
pub struct Fonts {
    sans: Option<Face<'static>>,
    mono: Option<Face<'static>>,
}

impl Default for Fonts {
    fn default() -> Fonts {
        Fonts {
            sans: Face::parse(epaint_default_fonts::UBUNTU_LIGHT, 0).ok(),
            mono: Face::parse(epaint_default_fonts::HACK_REGULAR, 0).ok(),
        }
    }
}

impl Fonts {
    pub fn line(&self, font: Font, text: &str) -> Option<Path> {
        let face = match font {
            Font::Sans => self.sans.as_ref()?,
            Font::Mono => self.mono.as_ref()?,
        };
        let scale = 1.0 / f32::from(face.units_per_em());
        let mut pen = Pen { path: PathBuilder::new(), scale, x: 0.0 };
        for c in text.chars() {
            let Some(glyph) = face.glyph_index(c) else {
                pen.x += 0.5;
                continue;
            };
            face.outline_glyph(glyph, &mut pen);
            pen.x += face.glyph_hor_advance(glyph).map_or(0.5, |a| f32::from(a) * scale);
        }
        pen.path.finish()
    }

    /// A line with strokes `weight` thicker (0 = as the font is).
    pub fn bold(&self, font: Font, text: &str, weight: f32) -> Art {
        let mut art = Art::default();
        let path = self.line(font, text);
        if weight > 0.0 {
            art.add(path.as_ref().and_then(|p| outlined(p, weight)));
        }
        art.add(path);
        art
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::brand::Brand;

    #[test]
    fn both_fonts_are_there_and_have_every_glyph_in_use() {
        let fonts = Fonts::default();
        for font in [Font::Sans, Font::Mono] {
            for text in Brand::ALL.iter().map(|b| b.name()).chain(["0123456789", "SKU-", "FRAGILE"]) {
                for c in text.chars() {
                    assert!(fonts.line(font, &c.to_string()).is_some(), "{font:?} has no {c:?}");
                }
            }
        }
        let bounds = fonts.bold(Font::Sans, "H", 0.0).bounds().unwrap();
        assert!((0.6..0.8).contains(&bounds.height()), "{bounds:?}");
        assert!(fonts.line(Font::Sans, "").is_none());
    }
}
