//! The two inputs of a join of streams: left rows that wait, right rows that wait or are indexed.
//!
//! In:   rows of both ports and their frontiers.
//! Out:  left rows to decide; the output's frontiers.
//! Owns: both sides' rows. Not which of them match.
//!
//! J1  A row below the frontier last given for its port is refused: a bug of whoever pushed it.
//! J2  A frontier given out is at or below the same column of every row that may still leave.

use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::physical_plan::PhysicalExpr;
use weir_contract::{Code, Error, Result};

use super::join_keys::JoinKeys;
use super::join_rows::{lowest, times_of};
use super::timelines::Timelines;
use super::waiting::Waiting;
use crate::base::{NOTHING, StreamSchema, shift};
use crate::state::{Loader, Saver};

/// Where the frontier of an output's event-time column comes from.
#[derive(Debug, Clone, Copy)]
enum TimeOf {
    /// The join's own column of the left, of the right.
    Left,
    Right,
    /// Another event-time column of the left, of the right: its entry in the port's `times`.
    OtherLeft(usize),
    OtherRight(usize),
}

/// See the module.
pub struct JoinPorts {
    pub left: Waiting,
    pub lines: Timelines,
    right: Waiting,
    pub left_column: usize,
    right_column: usize,
    left_time: usize,
    right_time: usize,
    left_schema: SchemaRef,
    right_schema: SchemaRef,
    times: [usize; 2],
    output: Vec<TimeOf>,
    /// Frontiers of the join's own columns, last given.
    fa: i64,
    fb: i64,
}

impl JoinPorts {
    pub fn new(
        (left, left_time): (&StreamSchema, usize),
        (right, right_time): (&StreamSchema, usize),
        output: &StreamSchema,
        right_keys: Vec<Arc<dyn PhysicalExpr>>,
        keys: JoinKeys,
    ) -> Result<Self> {
        let (left_column, right_column) = (left.times[left_time], right.times[right_time]);
        let width = left.schema.fields().len();
        let source = |c: &usize| {
            if *c == left_column {
                return Some(TimeOf::Left);
            }
            match c.checked_sub(width) {
                None => left.times.iter().position(|t| t == c).map(TimeOf::OtherLeft),
                Some(c) if c == right_column => Some(TimeOf::Right),
                Some(c) => right.times.iter().position(|t| *t == c).map(TimeOf::OtherRight),
            }
        };
        let output = output.times.iter().map(source).collect::<Option<Vec<_>>>().ok_or_else(|| {
            Error::new(Code::Internal, "an event-time column of a join's output is none of its inputs")
        })?;
        Ok(Self {
            left: Waiting::new(Arc::clone(&left.schema), left_column, &left.order, left.times.clone())?,
            right: Waiting::new(Arc::clone(&right.schema), right_column, &right.order, right.times.clone())?,
            lines: Timelines::new(
                Arc::clone(&right.schema),
                right_column,
                right.times.clone(),
                right_keys,
                keys,
            ),
            left_column,
            right_column,
            left_time,
            right_time,
            left_schema: Arc::clone(&left.schema),
            right_schema: Arc::clone(&right.schema),
            times: [left.times.len(), right.times.len()],
            output,
            fa: NOTHING,
            fb: NOTHING,
        })
    }

    pub fn push(&mut self, port: usize, batch: RecordBatch) -> Result<()> {
        let (side, column, frontier) = match port {
            0 => (&mut self.left, self.left_column, self.fa),
            1 => (&mut self.right, self.right_column, self.fb),
            _ => return Err(Error::new(Code::Internal, format!("a join of two streams has no port {port}"))),
        };
        check_on_time(&batch, column, frontier)?;
        side.push(batch)
    }

    /// Takes the inputs' frontiers; gives those of the join's own columns, which never move back.
    pub fn frontiers(&mut self, frontiers: &[&[i64]]) -> Result<(i64, i64)> {
        if frontiers.len() != 2 || frontiers.iter().zip(self.times).any(|(f, n)| f.len() != n) {
            return Err(Error::new(Code::Internal, "frontiers do not fit a join's ports"));
        }
        self.fa = self.fa.max(frontiers[0][self.left_time]);
        self.fb = self.fb.max(frontiers[1][self.right_time]);
        Ok((self.fa, self.fb))
    }

    /// No left row that is not decided yet, held or to come, has a time below it.
    pub fn reach(&self) -> i64 {
        self.fa.min(self.left.low())
    }

    /// Forgets right rows with a time below `reach + back`.
    pub fn forget(&mut self, back: i64) -> Result<()> {
        let bound = shift(self.reach(), back);
        self.right.discard(bound)?;
        self.lines.drop_below(bound)
    }

    /// Indexes the right rows below a frontier.
    pub fn index(&mut self, frontier: i64) -> Result<()> {
        self.right.release(frontier)?.into_iter().try_for_each(|batch| self.lines.append(batch))
    }

    /// The output's frontiers, given those of the join's own columns in it.
    pub fn output(&self, frontiers: &[&[i64]], left: i64, right: i64) -> Result<Vec<i64>> {
        let one = |time: &TimeOf| match *time {
            TimeOf::Left => left,
            TimeOf::Right => right,
            TimeOf::OtherLeft(i) => frontiers[0][i].min(self.left.lowest_tracked(i)),
            TimeOf::OtherRight(i) => {
                frontiers[1][i].min(self.right.lowest_tracked(i)).min(self.lines.lowest_tracked(i))
            }
        };
        Ok(self.output.iter().map(one).collect())
    }

    pub fn bytes(&self) -> usize {
        self.left.bytes() + self.right.bytes() + self.lines.bytes()
    }

    pub fn snapshot(&self, into: &mut Saver) -> Result<()> {
        into.i64(self.fa);
        into.i64(self.fb);
        into.batches(&self.left_schema, &self.left.batches()?)?;
        into.batches(&self.right_schema, &self.right.batches()?)?;
        into.batches(&self.right_schema, self.lines.batches())
    }

    pub fn restore(&mut self, from: &mut Loader<'_>) -> Result<()> {
        self.fa = from.i64()?;
        self.fb = from.i64()?;
        for batch in load(from, &self.left_schema)? {
            self.left.push(batch)?;
        }
        for batch in load(from, &self.right_schema)? {
            self.right.push(batch)?;
        }
        load(from, &self.right_schema)?.into_iter().try_for_each(|batch| self.lines.append(batch))
    }
}

/// Refuses rows below a frontier that was given already.
pub fn check_on_time(batch: &RecordBatch, column: usize, frontier: i64) -> Result<()> {
    if frontier == NOTHING {
        return Ok(());
    }
    let low = lowest(&times_of(batch, column)?);
    if low < frontier {
        return Err(Error::new(
            Code::Internal,
            format!("a row of {low} µs came to a join after its frontier"),
        )
        .expected(format!("{frontier} µs or later")));
    }
    Ok(())
}

/// Reads batches of a known schema.
pub fn load(from: &mut Loader<'_>, schema: &SchemaRef) -> Result<Vec<RecordBatch>> {
    let adopt = |batch: RecordBatch| {
        RecordBatch::try_new(Arc::clone(schema), batch.columns().to_vec())
            .map_err(|e| Error::new(Code::Damaged, format!("a snapshot holds rows of another join: {e}")))
    };
    from.batches()?.into_iter().map(adopt).collect()
}
