//! As-of join of two streams: for each left row, the latest right row of its key that is no older
//! than a maximum age.
//!
//! In:   port 0: left rows `a`; port 1: right rows `b`.
//! Out:  left columns, then right ones; a left row when `a.ts < min(Fa, Fb)`. Rows ascend by left
//!       event time, then the left's order.
//! Owns: left rows until they are decided, right rows until no left row can reach them.
//!
//! A1  `b.ts` lies in `[a.ts − max_age, a.ts]` (strict: below `a.ts`); of equal times the row that
//!     is last in canonical order matches.
//! A2  A right row is held while `b.ts + max_age >= reach`, the time below which no left row is
//!     undecided; one whose successor lies at or below `reach` goes when rows have doubled.
//!
//! Start at `AsofJoin::advance`.

use std::sync::Arc;

use datafusion::arrow::record_batch::RecordBatch;
use datafusion::physical_plan::PhysicalExpr;
use weir_contract::{Code, Error, Result};

use super::join_keys::JoinKeys;
use super::join_pairs::JoinPairs;
use super::join_ports::JoinPorts;
use super::join_rows::{NONE, times_of};
use super::{JoinKind, Operator, Out};
use crate::base::{StreamSchema, shift};
use crate::state::{Loader, Saver};

/// What an as-of join joins.
pub struct AsofJoinSpec {
    pub left: StreamSchema,
    pub right: StreamSchema,
    /// Left columns, then right ones (nullable for a left join).
    pub output: StreamSchema,
    pub kind: JoinKind,
    /// Equal to `right_keys`, pairwise; NULL never matches. May be empty.
    pub left_keys: Vec<Arc<dyn PhysicalExpr>>,
    pub right_keys: Vec<Arc<dyn PhysicalExpr>>,
    /// Index into `left.times`.
    pub left_time: usize,
    /// Index into `right.times`.
    pub right_time: usize,
    /// `b.ts >= a.ts − max_age`; microseconds, not negative.
    pub max_age: i64,
    /// `a.ts > b.ts` instead of `a.ts >= b.ts`.
    pub strict: bool,
}

/// See the module.
pub struct AsofJoin {
    max_age: i64,
    strict: bool,
    left_keys: Vec<Arc<dyn PhysicalExpr>>,
    ports: JoinPorts,
    pairs: JoinPairs,
    numbers: Vec<u32>,
}

impl AsofJoin {
    /// # Errors
    /// `W0302` where the schemas do not fit each other, or the maximum age is negative.
    pub fn new(spec: AsofJoinSpec) -> Result<Self> {
        if spec.max_age < 0 {
            return Err(Error::new(Code::Internal, format!("a maximum age of {} µs", spec.max_age))
                .expected("0 or more"));
        }
        let keys =
            JoinKeys::new((&spec.left_keys, &spec.left.schema), (&spec.right_keys, &spec.right.schema))?;
        let ports = JoinPorts::new(
            (&spec.left, spec.left_time),
            (&spec.right, spec.right_time),
            &spec.output,
            spec.right_keys,
            keys,
        )?;
        let pairs = JoinPairs::new(
            spec.kind,
            Arc::clone(&spec.output.schema),
            (&spec.left.schema, &spec.right.schema),
            Vec::new(),
            None,
        )?;
        Ok(Self {
            max_age: spec.max_age,
            strict: spec.strict,
            left_keys: spec.left_keys,
            ports,
            pairs,
            numbers: Vec::new(),
        })
    }

    /// The latest time that may match a left row of `time`.
    fn high(&self, time: i64) -> i64 {
        if self.strict { time.saturating_sub(1) } else { time }
    }

    /// Decides a batch of left rows, which ascend in event time over all calls.
    fn decide(&mut self, left: &RecordBatch, out: &mut Out) -> Result<()> {
        let times = times_of(left, self.ports.left_column)?;
        let mut numbers = std::mem::take(&mut self.numbers);
        self.ports.lines.number(&self.left_keys, left, &mut numbers)?;
        let mut near = 0;
        for (row, (number, time)) in numbers.iter().zip(times.iter()).enumerate() {
            if *number == NONE {
                continue;
            }
            let high = self.high(*time);
            let rights = &mut self.ports.lines;
            let at = rights.latest(*number, high);
            if at != NONE && rights.time(at) >= time.saturating_sub(self.max_age) {
                self.pairs.add(row as u32, rights.spot(at, &mut near));
            }
        }
        self.pairs.write(left, left.num_rows() as u32, &self.ports.lines.batches(), true, out)?;
        self.numbers = numbers;
        Ok(())
    }
}

impl Operator for AsofJoin {
    fn push(&mut self, port: usize, batch: RecordBatch, _out: &mut Out) -> Result<()> {
        self.ports.push(port, batch)
    }

    fn advance(&mut self, frontiers: &[&[i64]], out: &mut Out) -> Result<Vec<i64>> {
        let (fa, fb) = self.ports.frontiers(frontiers)?;
        let decided = fa.min(fb);
        self.ports.forget(-self.max_age)?;
        self.ports.index(fb)?;
        for left in self.ports.left.release(decided)? {
            self.decide(&left, out)?;
        }
        self.ports.forget(-self.max_age)?;
        let reach = self.ports.reach();
        self.ports.lines.thin(self.high(reach))?;
        self.ports.output(frontiers, decided, shift(decided, -self.max_age))
    }

    fn bytes(&self) -> usize {
        self.ports.bytes()
    }

    fn snapshot(&mut self, into: &mut Saver) -> Result<()> {
        self.ports.snapshot(into)
    }

    fn restore(&mut self, from: &mut Loader<'_>) -> Result<()> {
        self.ports.restore(from)
    }
}

#[cfg(test)]
mod tests;
