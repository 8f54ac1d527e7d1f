//! Rows that an inner join to a reference table dropped: how many, and which keys nobody knows.
//!
//! Owns: the bound. Only the `KEYS_MAX` least keys are kept, so that what is kept is the same in any order of
//! arrival: a key that was pushed out stays out, since the keys before it stay.

use std::collections::BTreeMap;

use weir_contract::Result;

use crate::state::{Loader, Saver};

/// Keys kept for each join: eyeballed; what a person reads through. About 100 bytes each.
pub const KEYS_MAX: usize = 1_000;

/// How often a key came, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    pub rows: u64,
    /// Row times, microseconds.
    pub first: i64,
    pub last: i64,
}

/// What an inner reference join dropped.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unmatched {
    /// All rows dropped, also those whose key is known and a further condition failed.
    pub rows: u64,
    /// By the key's values as a JSON array.
    pub keys: BTreeMap<String, Seen>,
}

impl Unmatched {
    pub fn add(&mut self, key: String, seen: Seen) {
        let known = self.keys.entry(key).or_insert(Seen { rows: 0, ..seen });
        known.rows += seen.rows;
        known.first = known.first.min(seen.first);
        known.last = known.last.max(seen.last);
        if self.keys.len() > KEYS_MAX {
            self.keys.pop_last();
        }
    }

    pub fn merge(&mut self, other: Unmatched) {
        self.rows += other.rows;
        other.keys.into_iter().for_each(|(key, seen)| self.add(key, seen));
    }

    pub fn snapshot(&self, into: &mut Saver) {
        into.u64(self.rows);
        into.u64(self.keys.len() as u64);
        for (key, seen) in &self.keys {
            into.text(key);
            into.u64(seen.rows);
            into.i64(seen.first);
            into.i64(seen.last);
        }
    }

    pub fn restore(from: &mut Loader<'_>) -> Result<Self> {
        let mut out = Self { rows: from.u64()?, keys: BTreeMap::new() };
        for _ in 0..from.u64()? {
            let key = from.text()?.to_owned();
            out.keys.insert(key, Seen { rows: from.u64()?, first: from.i64()?, last: from.i64()? });
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_does_not_depend_on_the_order() {
        let one = |n: usize| (format!("[\"{n:05}\"]"), Seen { rows: 1, first: n as i64, last: n as i64 });
        let all: Vec<usize> = (0..KEYS_MAX + 50).chain(0..KEYS_MAX + 50).collect();
        let build = |order: &mut dyn Iterator<Item = &usize>| {
            let mut out = Unmatched::default();
            for n in order {
                let (key, seen) = one(*n);
                out.rows += 1;
                out.add(key, seen);
            }
            out
        };
        let (forward, backward) = (build(&mut all.iter()), build(&mut all.iter().rev()));
        assert_eq!(forward, backward);
        assert_eq!((forward.rows, forward.keys.len()), (2 * (KEYS_MAX as u64 + 50), KEYS_MAX));
        assert!(forward.keys.values().all(|s| s.rows == 2));
        let mut halves = build(&mut all[..700].iter());
        halves.merge(build(&mut all[700..].iter()));
        assert_eq!(halves, forward);
        let mut saver = Saver::default();
        forward.snapshot(&mut saver);
        let bytes = saver.finish();
        let restored = Unmatched::restore(&mut Loader::new(&bytes)).expect("a snapshot");
        assert_eq!(restored, forward);
    }
}
