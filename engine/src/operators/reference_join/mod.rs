//! As-of join to a reference table: each left row with the version that is valid at its row time.
//!
//! In:   port 0: left rows; `version`: the whole table, from a row time on.
//! Out:  left columns, then the table's; a left row when its row time is final. Rows ascend by row
//!       time, then the left's order, then the table's.
//! Owns: left rows until final, versions until no left row can ask for them.
//!
//! R1  The version from T holds for row times in [T, next T). T is never below what was passed.
//! R2  A version's index is built once; left keys that it does not hold are forgotten again.
//! R3  Left rows that an inner join drops are counted in `Out::unmatched`.
//!
//! Start at `ReferenceJoin::advance`.

use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::physical_plan::PhysicalExpr;
use serde_json::Value;
use weir_contract::event::canonical;
use weir_contract::{Code, Error, Result};

use super::join_keys::JoinKeys;
use super::join_pairs::JoinPairs;
use super::join_ports::{check_on_time, load};
use super::join_rows::{NONE, Spot, times_of};
use super::waiting::Waiting;
use super::{JoinKind, Operator, Out, Seen};
use crate::base::{NOTHING, StreamSchema, internal};
use crate::state::{Loader, Saver, json};

mod version;

use version::Version;

/// What a reference join joins.
pub struct ReferenceJoinSpec {
    pub left: StreamSchema,
    /// Left columns, then the table's (nullable for a left join). Event times: the left's.
    pub output: StreamSchema,
    pub kind: JoinKind,
    /// Equal to `right_keys`, pairwise; NULL never matches.
    pub left_keys: Vec<Arc<dyn PhysicalExpr>>,
    /// Over the table's columns.
    pub right_keys: Vec<Arc<dyn PhysicalExpr>>,
    pub right_schema: SchemaRef,
    /// Columns of the table that give its order.
    pub right_order: Vec<usize>,
    /// A further condition over left columns, then the table's.
    pub residual: Option<Arc<dyn PhysicalExpr>>,
}

/// See the module.
pub struct ReferenceJoin {
    left: StreamSchema,
    left_keys: Vec<Arc<dyn PhysicalExpr>>,
    right_keys: Vec<Arc<dyn PhysicalExpr>>,
    right_schema: SchemaRef,
    right_order: Vec<usize>,
    /// For each output time, its entry in `left.times`.
    output: Vec<usize>,
    waiting: Waiting,
    /// Ascending; the first holds at `passed`.
    versions: Vec<Version>,
    passed: i64,
    kind: JoinKind,
    pairs: JoinPairs,
    numbers: Vec<u32>,
}

impl ReferenceJoin {
    /// # Errors
    /// `W0302` where the schemas do not fit each other.
    pub fn new(spec: ReferenceJoinSpec) -> Result<Self> {
        let left = spec.left;
        keys_of(&spec.left_keys, &left, &spec.right_keys, &spec.right_schema)?;
        let source = |c: &usize| left.times.iter().position(|t| t == c);
        let output = spec.output.times.iter().map(source).collect::<Option<Vec<_>>>().ok_or_else(|| {
            Error::new(Code::Internal, "an event-time column of a reference join is not the stream's")
        })?;
        let waiting =
            Waiting::new(Arc::clone(&left.schema), left.row_time_column(), &left.order, left.times.clone())?;
        let pairs = JoinPairs::new(
            spec.kind,
            spec.output.schema,
            (&left.schema, &spec.right_schema),
            Vec::new(),
            spec.residual.as_ref(),
        )?;
        Ok(Self {
            left,
            left_keys: spec.left_keys,
            right_keys: spec.right_keys,
            right_schema: spec.right_schema,
            right_order: spec.right_order,
            output,
            waiting,
            versions: Vec::new(),
            passed: NOTHING,
            kind: spec.kind,
            pairs,
            numbers: Vec::new(),
        })
    }

    /// Joins a batch of final rows, ascending in row time, version by version.
    fn join(&mut self, left: &RecordBatch, out: &mut Out) -> Result<()> {
        let times = times_of(left, self.left.row_time_column())?;
        let mut from = 0;
        while from < left.num_rows() {
            let valid = self.versions.partition_point(|v| v.from <= times[from]);
            let next = self.versions.get(valid).map(|v| v.from);
            let to = next.map_or(left.num_rows(), |next| times.partition_point(|t| *t < next));
            let Some(version) = valid.checked_sub(1).and_then(|v| self.versions.get_mut(v)) else {
                return Err(Error::new(
                    Code::Internal,
                    format!("no version of the table holds at {} µs", times[from]),
                )
                .expected("a first version from the beginning of time"));
            };
            let part = left.slice(from, to - from);
            version.number(&self.left_keys, &part, &mut self.numbers)?;
            let rights = [version.rows()];
            let mut unmatched = 0;
            for (row, number) in self.numbers.iter().enumerate() {
                if self.pairs.full() {
                    unmatched += self.pairs.write(&part, row as u32, &rights, false, out)?;
                }
                if *number != NONE {
                    for at in version.rows_of(*number) {
                        self.pairs.add(row as u32, Spot { batch: 0, row: *at });
                    }
                }
            }
            unmatched += self.pairs.write(&part, (to - from) as u32, &rights, true, out)?;
            if self.kind == JoinKind::Inner {
                out.unmatched.rows += unmatched;
                self.unknown(&part, &times, from, out)?;
            }
            from = to;
        }
        Ok(())
    }

    /// Notes the keys of the batch that the version does not hold.
    fn unknown(&self, part: &RecordBatch, times: &[i64], from: usize, out: &mut Out) -> Result<()> {
        if !self.numbers.contains(&NONE) {
            return Ok(());
        }
        let value = |e: &Arc<dyn PhysicalExpr>| e.evaluate(part)?.into_array(part.num_rows());
        let keys = self.left_keys.iter().map(value).collect::<datafusion::error::Result<Vec<_>>>();
        let keys = keys.map_err(internal)?;
        for row in (0..part.num_rows()).filter(|row| self.numbers[*row] == NONE) {
            let values = keys.iter().map(|k| json::value(k, row)).collect::<Result<Vec<_>>>()?;
            let time = times[from + row];
            out.unmatched.add(canonical(&Value::Array(values)), Seen { rows: 1, first: time, last: time });
        }
        Ok(())
    }

    fn add_version(&mut self, effective_at: i64, rows: &RecordBatch) -> Result<()> {
        let rows = RecordBatch::try_new(Arc::clone(&self.right_schema), rows.columns().to_vec())
            .map_err(|e| Error::new(Code::Internal, format!("a version has not the table's columns: {e}")))?;
        let keys = keys_of(&self.left_keys, &self.left, &self.right_keys, &self.right_schema)?;
        let version = Version::new(effective_at, &rows, &self.right_order, &self.right_keys, keys)?;
        let at = self.versions.partition_point(|v| v.from < effective_at);
        if self.versions.get(at).is_some_and(|v| v.from == effective_at) {
            self.versions[at] = version;
        } else {
            self.versions.insert(at, version);
        }
        Ok(())
    }
}

impl Operator for ReferenceJoin {
    fn push(&mut self, port: usize, batch: RecordBatch, _out: &mut Out) -> Result<()> {
        if port != 0 {
            return Err(Error::new(Code::Internal, format!("a reference join has no port {port}")));
        }
        check_on_time(&batch, self.left.row_time_column(), self.passed)?;
        self.waiting.push(batch)
    }

    fn advance(&mut self, frontiers: &[&[i64]], out: &mut Out) -> Result<Vec<i64>> {
        let [times] = frontiers else {
            return Err(Error::new(Code::Internal, "a reference join has one port"));
        };
        if times.len() != self.left.times.len() {
            return Err(Error::new(Code::Internal, "frontiers do not fit a reference join"));
        }
        self.passed = self.passed.max(times[self.left.row_time]);
        for left in self.waiting.release(self.passed)? {
            self.join(&left, out)?;
        }
        // All rows below `passed` are decided: the version that holds there is the oldest needed.
        let valid = self.versions.partition_point(|v| v.from <= self.passed);
        self.versions.drain(..valid.saturating_sub(1));
        Ok(self.output.iter().map(|i| times[*i].min(self.waiting.lowest_tracked(*i))).collect())
    }

    fn version(&mut self, effective_at: i64, rows: &RecordBatch) -> Result<()> {
        if effective_at < self.passed {
            return Err(Error::new(
                Code::PassedEffect,
                format!("a version takes effect at {effective_at} µs, which a reference join has passed"),
            )
            .expected(format!("{} µs or later", self.passed)));
        }
        self.add_version(effective_at, rows)
    }

    fn passed(&self) -> i64 {
        self.passed
    }

    fn bytes(&self) -> usize {
        self.waiting.bytes() + self.versions.iter().map(Version::bytes).sum::<usize>()
    }

    fn snapshot(&mut self, into: &mut Saver) -> Result<()> {
        into.i64(self.passed);
        into.batches(&self.left.schema, &self.waiting.batches()?)?;
        into.u64(self.versions.len() as u64);
        for version in &self.versions {
            into.i64(version.from);
            into.batches(&self.right_schema, [version.rows()])?;
        }
        Ok(())
    }

    fn restore(&mut self, from: &mut Loader<'_>) -> Result<()> {
        self.passed = from.i64()?;
        for batch in load(from, &self.left.schema)? {
            self.waiting.push(batch)?;
        }
        for _ in 0..from.u64()? {
            let effective_at = from.i64()?;
            let batches = load(from, &self.right_schema)?;
            let [rows] = batches.as_slice() else {
                return Err(Error::new(Code::Damaged, "a snapshot's version is not one batch"));
            };
            self.add_version(effective_at, rows)?;
        }
        Ok(())
    }
}

fn keys_of(
    left_keys: &[Arc<dyn PhysicalExpr>],
    left: &StreamSchema,
    right_keys: &[Arc<dyn PhysicalExpr>],
    right: &SchemaRef,
) -> Result<JoinKeys> {
    JoinKeys::new((left_keys, &left.schema), (right_keys, right))
}

#[cfg(test)]
mod tests;
