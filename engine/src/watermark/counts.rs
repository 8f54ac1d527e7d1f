//! What became of the records of a partition, and the two sums that must close.

use std::ops::{Add, AddAssign};

use weir_contract::{Code, Error, Result};

use crate::state::{Loader, Saver};

/// Counts of one lane since its first record, or of several lanes added up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub records: u64,
    /// Records that gave rows.
    pub row_records: u64,
    pub heartbeats: u64,
    pub rejects: u64,
    pub rows: u64,
    pub processed: u64,
    pub late: u64,
    pub duplicates: u64,
}

impl Counts {
    fn list(&self) -> [u64; 8] {
        let Counts { records, row_records, heartbeats, rejects, rows, processed, late, duplicates } = *self;
        [records, row_records, heartbeats, rejects, rows, processed, late, duplicates]
    }

    fn of(
        [records, row_records, heartbeats, rejects, rows, processed, late, duplicates]: [u64; 8],
    ) -> Counts {
        Counts { records, row_records, heartbeats, rejects, rows, processed, late, duplicates }
    }

    /// Law 5.
    ///
    /// # Errors
    /// `W0302` where a sum does not close: a record was lost or counted twice.
    pub fn check(&self) -> Result<()> {
        let records = self.row_records + self.heartbeats + self.rejects;
        let rows = self.processed + self.late + self.duplicates;
        if self.records == records && self.rows == rows {
            return Ok(());
        }
        Err(Error::new(Code::Internal, format!("the counts do not close: {self:?}"))
            .expected("records = row records + heartbeats + rejects, rows = processed + late + duplicates"))
    }

    pub(super) fn save(&self, into: &mut Saver) {
        self.list().into_iter().for_each(|n| into.u64(n));
    }

    pub(super) fn load(from: &mut Loader<'_>) -> Result<Counts> {
        let mut list = [0; 8];
        for n in &mut list {
            *n = from.u64()?;
        }
        Ok(Counts::of(list))
    }
}

impl Add for Counts {
    type Output = Counts;

    fn add(self, other: Counts) -> Counts {
        let (mut sum, other) = (self.list(), other.list());
        sum.iter_mut().zip(other).for_each(|(a, b)| *a += b);
        Counts::of(sum)
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        *self = *self + other;
    }
}

impl std::iter::Sum for Counts {
    fn sum<I: Iterator<Item = Counts>>(counts: I) -> Counts {
        counts.fold(Counts::default(), Add::add)
    }
}
