//! The keys of processed rows, kept for the horizon.
//!
//! In:   keys as bytes, with the event time of their row.
//! Out:  whether a key is there.
//! Owns: when a key is forgotten: as soon as its event time is below the watermark minus the horizon.
//!
//! D1  Keys are kept whole and compared whole: no collision of hashes can drop a row.
//! D2  Forgetting is exact to the microsecond, whenever the memory is given back. Keys lie in one arena per
//!     slice of event time, so that a slice is given back whole; a row costs one probe and no allocation.
//!
//! State: rows processed within horizon + lateness, each its key's bytes plus 56.

use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, StringArray};
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::row::{RowConverter, Rows, SortField};
use hashbrown::{DefaultHashBuilder, HashTable};
use weir_contract::{Code, Error, Result, Span};

use crate::base::{NOTHING, internal_arrow, shift};
use crate::state::{Loader, Saver};

/// Slices of event time in one horizon; more of them give memory back sooner.
const SLICES: i64 = 16;

#[derive(Debug)]
struct Entry {
    time: i64,
    hash: u64,
    end: usize,
}

/// Keys of one slice of event time, in the order they came.
#[derive(Debug, Default)]
struct Arena {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

impl Arena {
    fn key(&self, index: u32) -> &[u8] {
        let index = index as usize;
        let from = if index == 0 { 0 } else { self.entries[index - 1].end };
        &self.bytes[from..self.entries[index].end]
    }
}

#[derive(Debug, Clone, Copy)]
struct Spot {
    hash: u64,
    slice: i64,
    index: u32,
}

/// The dedup state of one partition.
#[derive(Debug)]
pub(super) struct Seen {
    within: Span,
    slice_us: i64,
    hasher: DefaultHashBuilder,
    spots: HashTable<Spot>,
    arenas: BTreeMap<i64, Arena>,
}

impl Seen {
    pub fn new(within: Span) -> Self {
        Self {
            within,
            slice_us: (within / SLICES).max(1),
            hasher: DefaultHashBuilder::default(),
            spots: HashTable::new(),
            arenas: BTreeMap::new(),
        }
    }

    fn oldest(&self, watermark: i64) -> i64 {
        shift(watermark, -self.within)
    }

    /// Whether a processed row had this key, and its event time is not below watermark − horizon.
    pub fn has(&self, key: &[u8], watermark: i64) -> bool {
        let hash = self.hasher.hash_one(key);
        let arenas = &self.arenas;
        let found = self.spots.find(hash, |spot| same(arenas, spot, hash, key));
        let time = found.and_then(|s| Some(arenas.get(&s.slice)?.entries.get(s.index as usize)?.time));
        time.is_some_and(|time| time >= self.oldest(watermark))
    }

    /// Keeps the key of a processed row. A forgotten entry of the same key is replaced.
    pub fn put(&mut self, key: &[u8], time: i64) {
        let hash = self.hasher.hash_one(key);
        let slice = time.div_euclid(self.slice_us);
        let arena = self.arenas.entry(slice).or_default();
        let index = arena.entries.len() as u32;
        arena.bytes.extend_from_slice(key);
        arena.entries.push(Entry { time, hash, end: arena.bytes.len() });
        let spot = Spot { hash, slice, index };
        let arenas = &self.arenas;
        match self.spots.find_mut(hash, |old| same(arenas, old, hash, key)) {
            Some(old) => *old = spot,
            None => {
                self.spots.insert_unique(hash, spot, |s| s.hash);
            }
        }
    }

    /// Gives back the slices that lie wholly below watermark − horizon.
    pub fn forget(&mut self, watermark: i64) {
        let oldest = self.oldest(watermark);
        if oldest == NOTHING {
            return;
        }
        while let Some(first) = self.arenas.first_entry() {
            let slice = *first.key();
            if slice.saturating_add(1).saturating_mul(self.slice_us) > oldest {
                break;
            }
            for (index, entry) in first.remove().entries.iter().enumerate() {
                let own = |s: &Spot| s.slice == slice && s.index as usize == index;
                if let Ok(spot) = self.spots.find_entry(entry.hash, own) {
                    spot.remove();
                }
            }
        }
        if self.spots.capacity() > 64 && self.spots.len() < self.spots.capacity() / 4 {
            self.spots.shrink_to(self.spots.len() * 2, |s| s.hash);
        }
    }

    pub fn bytes(&self) -> usize {
        let arenas = self.arenas.values();
        self.spots.allocation_size()
            + arenas.map(|a| a.bytes.capacity() + a.entries.capacity() * size_of::<Entry>()).sum::<usize>()
    }

    /// Writes the keys that still count at this watermark, so that equal states give equal bytes.
    pub fn save(&self, watermark: i64, into: &mut Saver) {
        let oldest = self.oldest(watermark);
        let live: Vec<(i64, &[u8])> = self
            .arenas
            .iter()
            .flat_map(|(slice, arena)| {
                (0..arena.entries.len() as u32).filter_map(move |index| {
                    let entry = &arena.entries[index as usize];
                    let own = |s: &Spot| s.slice == *slice && s.index == index;
                    let current = self.spots.find(entry.hash, own).is_some();
                    (current && entry.time >= oldest).then(|| (entry.time, arena.key(index)))
                })
            })
            .collect();
        into.u64(live.len() as u64);
        for (time, key) in live {
            into.i64(time);
            into.bytes(key);
        }
    }

    pub fn load(&mut self, from: &mut Loader<'_>) -> Result<()> {
        if !self.arenas.is_empty() {
            return Err(Error::new(Code::Internal, "a dedup state is restored over another"));
        }
        for _ in 0..from.u64()? {
            let time = from.i64()?;
            let key = from.bytes()?;
            self.put(key, time);
        }
        Ok(())
    }
}

fn same(arenas: &BTreeMap<i64, Arena>, spot: &Spot, hash: u64, key: &[u8]) -> bool {
    spot.hash == hash && arenas.get(&spot.slice).is_some_and(|arena| arena.key(spot.index) == key)
}

/// The dedup column as bytes; NULL is nobody's duplicate.
pub(super) enum Keys {
    Text(StringArray),
    Other(ArrayRef, Rows),
}

impl Keys {
    pub fn of(column: &ArrayRef) -> Result<Keys> {
        if *column.data_type() == DataType::Utf8 {
            return Ok(Keys::Text(column.as_string::<i32>().clone()));
        }
        let converter =
            RowConverter::new(vec![SortField::new(column.data_type().clone())]).map_err(internal_arrow)?;
        let rows = converter.convert_columns(std::slice::from_ref(column)).map_err(internal_arrow)?;
        Ok(Keys::Other(Arc::clone(column), rows))
    }

    pub fn get(&self, row: usize) -> Option<&[u8]> {
        match self {
            Keys::Text(text) => text.is_valid(row).then(|| text.value(row).as_bytes()),
            Keys::Other(column, rows) => column.is_valid(row).then(|| rows.row(row).data()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Against a map that forgets by looking at everything.
        #[test]
        fn keys_are_forgotten_to_the_microsecond(
            steps in prop::collection::vec((0u8..12, -40i64..40, 0i64..3, any::<bool>()), 1..200),
            within in 1i64..60,
        ) {
            let mut seen = Seen::new(within);
            let mut twin: BTreeMap<Vec<u8>, i64> = BTreeMap::new();
            let mut watermark = NOTHING;
            for (n, (key, lag, rise, purge)) in steps.into_iter().enumerate() {
                let time = n as i64 * 3 + lag;
                let key = vec![b'k'; key.into()];
                let known = twin.get(&key).is_some_and(|t| watermark == NOTHING || *t >= watermark - within);
                prop_assert_eq!(seen.has(&key, watermark), known);
                if !known {
                    seen.put(&key, time);
                    twin.insert(key, time);
                }
                watermark = watermark.max(n as i64 * rise - 20);
                if purge {
                    seen.forget(watermark);
                    let mut saver = Saver::default();
                    seen.save(watermark, &mut saver);
                    let bytes = saver.finish();
                    let mut loader = Loader::new(&bytes);
                    let mut fresh = Seen::new(within);
                    fresh.load(&mut loader).map_err(|e| TestCaseError::fail(e.to_string()))?;
                    let mut again = Saver::default();
                    fresh.save(watermark, &mut again);
                    prop_assert_eq!(again.finish(), bytes, "equal states, equal bytes");
                    seen = fresh;
                }
            }
            seen.forget(i64::MAX - 1);
            prop_assert_eq!(seen.spots.len() + seen.arenas.len(), 0);
        }
    }
}
