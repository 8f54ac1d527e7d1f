//! Interval join: `b.ts BETWEEN a.ts − before AND a.ts + after`, and equal keys.
//!
//! In:   port 0: left rows `a`; port 1: right rows `b`.
//! Out:  left columns, then right ones; a left row when it and all that it can match are final.
//!       Rows ascend by left event time, then the left's order, then the right's.
//! Owns: left rows until they are decided, right rows until no left row can reach them.
//!
//! I1  A left row is decided when `a.ts < min(Fa, Fb − after)`, and then leaves.
//! I2  A right row is held only while `b.ts + before >= min(Fa, time of the first left row held)`.
//! I3  Right rows are final before they are indexed, so each key's rows stand in order and a left
//!     row's candidates are one stretch of them, which only moves forward.
//!
//! Start at `IntervalJoin::advance`.

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

/// What an interval join joins.
pub struct IntervalJoinSpec {
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
    /// `b.ts` lies in `[a.ts − before, a.ts + after]`; microseconds of any sign.
    pub before: i64,
    pub after: i64,
    /// A further condition over left columns, then right ones.
    pub residual: Option<Arc<dyn PhysicalExpr>>,
}

/// See the module.
pub struct IntervalJoin {
    before: i64,
    after: i64,
    left_keys: Vec<Arc<dyn PhysicalExpr>>,
    ports: JoinPorts,
    pairs: JoinPairs,
    numbers: Vec<u32>,
}

impl IntervalJoin {
    /// # Errors
    /// `W0302` where the schemas do not fit each other, or a bound is `i64::MIN`.
    pub fn new(spec: IntervalJoinSpec) -> Result<Self> {
        if spec.before == i64::MIN || spec.after == i64::MIN {
            return Err(Error::new(Code::Internal, "an interval of i64::MIN µs")
                .expected("a span that can be negated"));
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
        // Candidates come in the order of event time, then of the right's order columns.
        let by_time = spec.right.order.first() == Some(&spec.right.times[spec.right_time]);
        let sort_by = if by_time { Vec::new() } else { spec.right.order.clone() };
        let pairs = JoinPairs::new(
            spec.kind,
            Arc::clone(&spec.output.schema),
            (&spec.left.schema, &spec.right.schema),
            sort_by,
            spec.residual.as_ref(),
        )?;
        Ok(Self {
            before: spec.before,
            after: spec.after,
            left_keys: spec.left_keys,
            ports,
            pairs,
            numbers: Vec::new(),
        })
    }

    /// Decides a batch of left rows, which ascend in event time over all calls.
    fn decide(&mut self, left: &RecordBatch, out: &mut Out) -> Result<()> {
        let times = times_of(left, self.ports.left_column)?;
        let rights = &mut self.ports.lines;
        rights.number(&self.left_keys, left, &mut self.numbers)?;
        let mut near = 0;
        for (row, (number, time)) in self.numbers.iter().zip(times.iter()).enumerate() {
            if self.pairs.full() {
                self.pairs.write(left, row as u32, &rights.batches(), false, out)?;
            }
            if *number == NONE {
                continue;
            }
            let high = time.saturating_add(self.after);
            let mut at = rights.seek(*number, time.saturating_sub(self.before));
            while at != NONE && rights.time(at) <= high {
                self.pairs.add(row as u32, rights.spot(at, &mut near));
                at = rights.next(at);
            }
        }
        self.pairs.write(left, left.num_rows() as u32, &rights.batches(), true, out)?;
        Ok(())
    }
}

impl Operator for IntervalJoin {
    fn push(&mut self, port: usize, batch: RecordBatch, _out: &mut Out) -> Result<()> {
        self.ports.push(port, batch)
    }

    fn advance(&mut self, frontiers: &[&[i64]], out: &mut Out) -> Result<Vec<i64>> {
        let (fa, fb) = self.ports.frontiers(frontiers)?;
        let decided = fa.min(shift(fb, -self.after));
        let back = -self.before;
        self.ports.forget(back)?;
        self.ports.index(fb)?;
        for left in self.ports.left.release(decided)? {
            self.decide(&left, out)?;
        }
        self.ports.forget(back)?;
        self.ports.output(frontiers, decided, fb.min(shift(decided, back)))
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
