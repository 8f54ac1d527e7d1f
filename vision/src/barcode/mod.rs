//! Barcodes out of full-resolution pixels.
//!
//! In:   a frame, the boxes where a detector saw a code (none: the whole frame), what the site knows.
//! Out:  readings: text, symbology, how it was read and how often, module size, where it stands.
//! Owns: which readings of one frame are sure. `look` is one try at one view.
//!
//! C1  Only listed symbologies are tried. EAN-8 is none of them: readers find it inside other codes.
//! C2  A reading is sure when two looks agree, or when one gives a code that the site knows. Every look
//!     can invent a code with a right checksum, the thorough ones more often.
//! C3  Of two texts of one symbology in one place, the one that was read less is not sure; of equals,
//!     neither is.
//! C4  Looks go from cheap to thorough, and end as soon as something is sure.

mod look;

use std::panic::{AssertUnwindSafe, catch_unwind};

use weir_contract::Result;

use crate::boxes::Area;
use crate::decode::Frame;
use crate::stop::Stop;

/// Each side of a box grows by this part of it: a code needs its quiet zone. Eyeballed.
const GROWN: f32 = 0.15;

/// Square pixels above which only the cheap looks are taken. A thorough one takes about 10 ns a pixel.
const THOROUGH_PX_MAX: usize = 4 << 20;

/// Crops of one frame. A parcel has one to three labels.
const AREAS_MAX: usize = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Symbology {
    Ean13,
    /// As twelve digits; a UPC-A is never also given as an EAN-13 while both are listed.
    UpcA,
    Code128,
    Qr,
}

impl Symbology {
    pub const ALL: [Symbology; 4] = [Symbology::Ean13, Symbology::UpcA, Symbology::Code128, Symbology::Qr];

    pub fn word(self) -> &'static str {
        match self {
            Symbology::Ean13 => "ean13",
            Symbology::UpcA => "upca",
            Symbology::Code128 => "code128",
            Symbology::Qr => "qr",
        }
    }

    pub fn of(word: &str) -> Option<Symbology> {
        Symbology::ALL.into_iter().find(|s| s.word() == word)
    }
}

/// The look that gave a text first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Method {
    /// A few rows near the middle.
    Fast,
    /// As `Fast`, in one half of the crop only.
    Half,
    /// Every row, both ways.
    Thorough,
    /// The crop turned by 90°.
    Turned,
    /// The crop twice as large.
    Enlarged,
}

impl Method {
    pub fn word(self) -> &'static str {
        match self {
            Method::Fast => "fast",
            Method::Half => "half",
            Method::Thorough => "thorough",
            Method::Turned => "turned",
            Method::Enlarged => "enlarged",
        }
    }
}

/// What the site knows: its articles, its labels. A lookup in memory; it is asked for each look.
pub trait Known {
    fn is_known(&self, symbology: Symbology, text: &str) -> bool;
}

impl<F: Fn(Symbology, &str) -> bool> Known for F {
    fn is_known(&self, symbology: Symbology, text: &str) -> bool {
        self(symbology, text)
    }
}

/// For sites without a list: two looks have to agree.
pub struct NothingKnown;

impl Known for NothingKnown {
    fn is_known(&self, _: Symbology, _: &str) -> bool {
        false
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    pub symbology: Symbology,
    pub text: String,
    pub method: Method,
    /// Looks that gave this text.
    pub read_count: u32,
    pub known: bool,
    /// Another text of the symbology was read as often or more in this place.
    pub disputed: bool,
    /// Along the line that was read. Below 1.5, or 3 where the picture is blurred, see docs/VISION.md.
    pub px_per_module: f32,
    /// In pixels of the frame: of a linear code the two ends of the line that was read, of a QR code
    /// its corners.
    pub points: Vec<(f32, f32)>,
}

impl Reading {
    pub fn is_sure(&self) -> bool {
        !self.disputed && (self.known || self.read_count >= 2)
    }

    fn middle(&self) -> (f32, f32) {
        let count = self.points.len().max(1) as f32;
        let sum = self.points.iter().fold((0.0, 0.0), |sum, p| (sum.0 + p.0, sum.1 + p.1));
        (sum.0 / count, sum.1 / count)
    }

    /// The longest way between two of its points.
    fn length(&self) -> f32 {
        let mut most = 0.0_f32;
        for a in &self.points {
            for b in &self.points {
                most = most.max((a.0 - b.0).hypot(a.1 - b.1));
            }
        }
        most
    }

    /// Whether both stand for one code on the parcel.
    fn is_where(&self, other: &Reading) -> bool {
        let (a, b) = (self.middle(), other.middle());
        (a.0 - b.0).hypot(a.1 - b.1) < self.length().max(other.length()) / 2.0
    }
}

/// Reads codes of the listed symbologies.
pub struct Reader {
    looker: look::Looker,
    panics: u64,
}

impl Reader {
    pub fn new(symbologies: &[Symbology]) -> Reader {
        Reader { looker: look::Looker::new(symbologies), panics: 0 }
    }

    /// Looks that ended in a panic of the library; each counts as having read nothing.
    pub fn panics(&self) -> u64 {
        self.panics
    }

    /// Reads within `boxes`, or in the whole frame where there are none. Sure readings come first, then
    /// by `read_count`. In the whole frame one look gives at most one linear code.
    ///
    /// # Errors
    /// `W0808` where `stop` came between two looks; a look itself cannot be broken off.
    pub fn read(
        &mut self,
        frame: &Frame,
        boxes: &[Area],
        known: &dyn Known,
        stop: &Stop,
    ) -> Result<Vec<Reading>> {
        let (width, height) = (frame.width(), frame.height());
        let whole = [Area::new(0.0, 0.0, width as f32, height as f32)];
        let areas: Vec<Area> = match boxes {
            [] => whole.to_vec(),
            boxes => boxes.iter().take(AREAS_MAX).map(|b| b.grown(GROWN, width, height)).collect(),
        };
        let mut found: Vec<Reading> = Vec::new();
        for area in areas.iter().filter(|a| a.is_real()) {
            for reading in self.read_area(frame, area, known, stop)? {
                // Two boxes around one code see the same pixels: that is one reading, not two.
                let same = |f: &&mut Reading| {
                    f.symbology == reading.symbology && f.text == reading.text && f.is_where(&reading)
                };
                match found.iter_mut().find(same) {
                    Some(there) if there.read_count >= reading.read_count => {}
                    Some(there) => *there = reading,
                    None => found.push(reading),
                }
            }
        }
        dispute(&mut found);
        found.sort_by_key(|r| std::cmp::Reverse((r.is_sure(), r.read_count)));
        Ok(found)
    }

    fn read_area(
        &mut self,
        frame: &Frame,
        area: &Area,
        known: &dyn Known,
        stop: &Stop,
    ) -> Result<Vec<Reading>> {
        let mut crop = look::Crop::of(frame, area);
        let looks = if crop.pixels() > THOROUGH_PX_MAX { look::CHEAP } else { look::ALL };
        let mut found: Vec<Reading> = Vec::new();
        for one in looks {
            stop.check("reading a barcode")?;
            let looker = &mut self.looker;
            // The crop's views are made whole or not at all; the looker keeps nothing between looks.
            let seen = catch_unwind(AssertUnwindSafe(|| looker.look(&mut crop, one)));
            let seen = seen.unwrap_or_else(|_| {
                self.panics += 1;
                Vec::new()
            });
            for reading in seen {
                let same = |f: &&mut Reading| f.symbology == reading.symbology && f.text == reading.text;
                match found.iter_mut().find(same) {
                    Some(there) => there.read_count += 1,
                    None => {
                        let known = known.is_known(reading.symbology, &reading.text);
                        found.push(Reading { known, ..reading });
                    }
                }
            }
            dispute(&mut found);
            if found.iter().any(Reading::is_sure) {
                break;
            }
        }
        Ok(found)
    }
}

/// Marks what another text of the same symbology and place outvotes or equals. A known text stands
/// above an unknown one.
fn dispute(found: &mut [Reading]) {
    for at in 0..found.len() {
        let one = &found[at];
        let weight = |r: &Reading| (r.known, r.read_count);
        let disputed = found.iter().enumerate().any(|(other, r)| {
            other != at && r.symbology == one.symbology && weight(r) >= weight(one) && r.is_where(one)
        });
        found[at].disputed = disputed;
    }
}
