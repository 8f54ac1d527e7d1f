//! Readings of one parcel over its frames.
//!
//! In:   the readings of each frame. Out: one reading for each text, its counts summed.
//! Owns: the bound on texts: what is read once and never again must not pile up.

use super::{Reading, Symbology};

/// Texts of one parcel. Beyond it, new texts are counted and not kept.
pub const TEXTS_MAX: usize = 64;

#[derive(Debug, Default)]
pub struct Votes {
    found: Vec<Reading>,
    left_out: u64,
}

impl Votes {
    pub fn add(&mut self, readings: &[Reading]) {
        for reading in readings {
            let same = |f: &&mut Reading| f.symbology == reading.symbology && f.text == reading.text;
            if let Some(there) = self.found.iter_mut().find(same) {
                there.read_count += reading.read_count;
                there.known |= reading.known;
                // A parcel moves: the latest place and the best module size.
                there.points.clone_from(&reading.points);
                there.px_per_module = there.px_per_module.max(reading.px_per_module);
            } else if self.found.len() < TEXTS_MAX {
                self.found.push(reading.clone());
            } else {
                self.left_out += 1;
            }
        }
    }

    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// What the frames agree on, for one symbology: the known text, else the one that was read most,
    /// if it was read twice and no other as often. `None`: look again.
    pub fn best(&self, symbology: Symbology) -> Option<&Reading> {
        let weight = |r: &Reading| (r.known, r.read_count);
        let mut of_kind: Vec<&Reading> = self.found.iter().filter(|r| r.symbology == symbology).collect();
        of_kind.sort_by_key(|r| std::cmp::Reverse(weight(r)));
        match of_kind[..] {
            [] => None,
            [first, second, ..] if weight(first) == weight(second) => None,
            [first, ..] => (first.known || first.read_count >= 2).then_some(first),
        }
    }

    pub fn all(&self) -> &[Reading] {
        &self.found
    }
}
