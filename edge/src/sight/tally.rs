//! When a code that was read in frames is a scan.
//!
//! In:   the readings of each frame of one camera, with its monotonic time.
//! Out:  codes that have just become sure, each once while it stands before the camera.
//! Owns: the counts. A pure function of what it was told.
//!
//! Y1  A code is told when two looks agree on it, in one frame or in several within `agree`, or when one look
//!     gave a code that the site knows. A reading that another one in its place outvotes counts for nothing.
//! Y2  It is told again when it was not seen for `debounce`.
//! Y3  What could be no scanner's code (`scan::is_code`) is none here either, counted.
//! Y4  At most `SIGHTS_MAX` codes are remembered; at the cap the one that was seen longest ago is forgotten.

use weir_vision::barcode::{Reading, Symbology};

use crate::scan::is_code;

/// As long as a scanner's may be set to; a QR code holds 4,296 characters.
const CODE_BYTES_MAX: usize = 4_096;
const SIGHTS_MAX: usize = 64;

/// A code that is sure.
#[derive(Debug, Clone, PartialEq)]
pub struct Sight {
    pub symbology: Symbology,
    pub text: String,
    /// Looks that gave it, up to now.
    pub reads: u32,
    pub px_per_module: f32,
}

struct Known {
    sight: Sight,
    last_us: i64,
    told: bool,
}

pub(super) struct Tally {
    agree_us: i64,
    debounce_us: i64,
    codes: Vec<Known>,
    /// Readings with control characters, blank or too long.
    pub unreadable: u64,
}

/// Whether a code that a camera read is published.
pub(crate) fn fits(text: &str) -> bool {
    is_code(text, CODE_BYTES_MAX)
}

impl Tally {
    pub fn new(agree_us: i64, debounce_us: i64) -> Self {
        Self { agree_us, debounce_us, codes: Vec::new(), unreadable: 0 }
    }

    pub fn take(&mut self, readings: &[Reading], now_us: i64) -> Vec<Sight> {
        let (agree_us, debounce_us) = (self.agree_us, self.debounce_us);
        self.codes.retain(|k| now_us - k.last_us < if k.told { debounce_us } else { agree_us });
        let mut told = Vec::new();
        for reading in readings.iter().filter(|r| !r.disputed) {
            if !fits(&reading.text) {
                self.unreadable += 1;
                continue;
            }
            let same =
                |k: &&mut Known| k.sight.symbology == reading.symbology && k.sight.text == reading.text;
            let at = match self.codes.iter_mut().find(same) {
                Some(known) => known,
                None => {
                    if self.codes.len() >= SIGHTS_MAX
                        && let Some(oldest) = (0..self.codes.len()).min_by_key(|n| self.codes[*n].last_us)
                    {
                        self.codes.swap_remove(oldest);
                    }
                    let (symbology, text) = (reading.symbology, reading.text.clone());
                    let sight = Sight { symbology, text, reads: 0, px_per_module: 0.0 };
                    self.codes.push(Known { sight, last_us: now_us, told: false });
                    let Some(last) = self.codes.last_mut() else { continue };
                    last
                }
            };
            at.last_us = now_us;
            at.sight.reads = at.sight.reads.saturating_add(reading.read_count);
            at.sight.px_per_module = at.sight.px_per_module.max(reading.px_per_module);
            if !at.told && (reading.known || at.sight.reads >= 2) {
                at.told = true;
                told.push(at.sight.clone());
            }
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use weir_vision::barcode::Method;

    use super::*;

    fn reading(text: &str, read_count: u32) -> Reading {
        Reading {
            symbology: Symbology::Ean13,
            text: text.into(),
            method: Method::Fast,
            read_count,
            known: false,
            disputed: false,
            px_per_module: 2.0,
            points: Vec::new(),
        }
    }

    fn texts(told: Vec<Sight>) -> Vec<(String, u32)> {
        told.into_iter().map(|s| (s.text, s.reads)).collect()
    }

    #[test]
    fn two_looks_agree_within_a_frame_or_over_frames() {
        let mut tally = Tally::new(1_000, 3_000);
        assert_eq!(texts(tally.take(&[reading("A", 2), reading("B", 1)], 0)), [("A".into(), 2)]);
        assert_eq!(texts(tally.take(&[reading("B", 1)], 900)), [("B".into(), 2)]);
        // Too far apart: each time the first look of a new count.
        assert!(tally.take(&[reading("C", 1)], 1_000).is_empty());
        assert!(tally.take(&[reading("C", 1)], 2_000).is_empty());
        assert_eq!(texts(tally.take(&[reading("C", 1)], 2_999)), [("C".into(), 2)]);
    }

    #[test]
    fn a_known_code_needs_one_look_and_an_outvoted_one_counts_for_nothing() {
        let mut tally = Tally::new(1_000, 1_000);
        let known = Reading { known: true, ..reading("K", 1) };
        assert_eq!(texts(tally.take(&[known], 0)), [("K".into(), 1)]);
        for now in 0..5 {
            let outvoted = Reading { disputed: true, ..reading("X", 2) };
            assert!(tally.take(&[outvoted], now).is_empty());
        }
    }

    #[test]
    fn what_is_no_code_is_counted_and_not_told() {
        let mut tally = Tally::new(1_000, 1_000);
        let long = "x".repeat(CODE_BYTES_MAX + 1);
        let readings = ["\x1b[2J", "A\nB", "  ", &long].map(|text| reading(text, 2));
        assert!(tally.take(&readings, 0).is_empty() && tally.codes.is_empty());
        assert_eq!(tally.unreadable, 4);
        assert_eq!(tally.take(&[reading(&long[1..], 2)], 0).len(), 1);
    }

    #[test]
    fn a_code_is_told_once_while_it_stands_there() {
        let mut tally = Tally::new(1_000, 3_000);
        let mut told = Vec::new();
        for now in (0..20_000).step_by(500) {
            // Covered for less than the debounce, then gone for longer.
            if !(4_000..6_000).contains(&now) && !(10_000..13_500).contains(&now) {
                told.extend(tally.take(&[reading("A", 2)], now).into_iter().map(|_| now));
            }
        }
        assert_eq!(told, [0, 13_500]);
    }

    #[test]
    fn memory_is_bounded_and_what_stands_there_is_not_forgotten() {
        let mut tally = Tally::new(1_000_000, 1_000_000);
        assert_eq!(tally.take(&[reading("stays", 2)], 0).len(), 1);
        for now in 1..500 {
            let told = tally.take(&[reading(&format!("noise {now}"), 1), reading("stays", 1)], now);
            assert!(told.is_empty() && tally.codes.len() <= SIGHTS_MAX, "{told:?}");
        }
    }
}
