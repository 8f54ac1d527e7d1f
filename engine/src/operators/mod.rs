//! Operators over streams: synchronous, deterministic, one file each.
//!
//! Law 3: an operator's results are as if it saw only final rows, in canonical order. Rows may be
//! pushed in any order and any chopping; what comes out, as a sequence, depends on the rows alone.

pub mod aggregate;
pub mod asof_join;
pub mod detect;
pub mod failures;
pub mod interval_join;
pub mod join_keys;
pub mod join_pairs;
pub mod join_ports;
pub mod join_rows;
pub mod over;
pub mod project;
pub mod reference_join;
pub mod timelines;
pub mod unmatched;
pub mod waiting;

#[cfg(test)]
mod join_world;

use datafusion::arrow::record_batch::RecordBatch;
use weir_contract::{Code, Error, Result};

pub use self::unmatched::{Seen, Unmatched};
use crate::base::NOTHING;
use crate::state::{Loader, Saver};
use crate::watermark::SideRecord;

/// Whether a left row without a match is dropped, or kept with NULLs on the right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JoinKind {
    Inner,
    Left,
}

/// What an operator gives: rows in order, and counts by name.
#[derive(Debug, Default)]
pub struct Out {
    pub batches: Vec<RecordBatch>,
    /// Rows that an inner reference join dropped.
    pub unmatched: Unmatched,
    /// Rows that a detector refused; their table is not set.
    pub rejected: Vec<SideRecord>,
}

impl Out {
    pub fn emit(&mut self, batch: RecordBatch) {
        if batch.num_rows() > 0 {
            self.batches.push(batch);
        }
    }
}

/// One streaming operator with one or more input ports.
pub trait Operator: Send {
    /// Takes rows of one port, in any order, none below the frontier last given for that port.
    fn push(&mut self, port: usize, batch: RecordBatch, out: &mut Out) -> Result<()>;

    /// Takes the inputs' frontiers (one slice per port, parallel to that port's `times`; they never
    /// move back), emits what became final, and returns the output's frontiers (parallel to the
    /// output's `times`). A frontier returned is safe: no later output has a smaller value there.
    /// `FOREVER` on every port: the inputs ended, emit everything.
    fn advance(&mut self, frontiers: &[&[i64]], out: &mut Out) -> Result<Vec<i64>>;

    /// Takes a version of the operator's reference table, whole; it holds for row times from
    /// `effective_at` (the first: `i64::MIN`) to the next version. `W0304` where that was passed.
    fn version(&mut self, effective_at: i64, rows: &RecordBatch) -> Result<()> {
        let _ = rows;
        Err(Error::new(
            Code::Internal,
            format!("an operator without a reference table got its version of {effective_at}"),
        ))
    }

    /// The highest frontier that the operator has passed as of which it looked something up: a new
    /// version may take effect there, not before. `NOTHING` where it never looks anything up.
    fn passed(&self) -> i64 {
        NOTHING
    }

    /// Rows refused since the first one, for the report.
    fn rejected(&self) -> u64 {
        0
    }

    /// Bytes held, for admission; an estimate within a factor of two.
    fn bytes(&self) -> usize;

    /// Writes all state; `restore` on a fresh operator of the same spec gives equal bits later.
    fn snapshot(&mut self, into: &mut Saver) -> Result<()>;
    fn restore(&mut self, from: &mut Loader<'_>) -> Result<()>;
}
