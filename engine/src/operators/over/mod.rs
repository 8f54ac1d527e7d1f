//! Event-time OVER: moving aggregates, LAG, FIRST_VALUE and LAST_VALUE per key over a range of time.
//!
//! In:   one port; rows in any order and chopping.
//! Out:  each row once it is final on the ORDER BY column, with one column more per function, in
//!       canonical order over all keys.
//! Owns: rows not yet final, and per key the rows that a later frame may still reach. Not the
//!       accumulators' arithmetic (`numeric` and DataFusion).
//!
//! O1  A frame is `[ts − preceding, ts]` and holds all peers: rows of the key with the same time.
//! O2  Kept are rows with time ≥ F − the widest range, whole chunks at a time; a key without any is gone.
//! O3  What an accumulator says depends on the frame's rows alone, so a snapshot keeps rows, and `restore`
//!     adds them again.
//!
//! Start at `Over::advance`; `chunk` evaluates columns once per advance, `keys` walks the rows.

mod chunk;
mod keys;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, UInt32Array};
use datafusion::arrow::compute::kernels::aggregate::{max, min};
use datafusion::arrow::compute::{concat_batches, filter_record_batch, not, take, take_record_batch};
use datafusion::arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use datafusion::arrow::row::{RowConverter, SortField};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use weir_contract::{Code, Error, Result};

use self::chunk::Narrow;
use self::keys::Keys;
use super::{Operator, Out};
use crate::base::{FOREVER, NOTHING, StreamSchema, internal_arrow, shift};
use crate::state::{Loader, Saver};

/// One window function; `preceding` is the length of its frame in microseconds, not negative.
#[derive(Debug, Clone)]
pub enum OverFunction {
    /// An aggregate over the rows of the frame that pass the filter. It must take rows back.
    Aggregate { function: Arc<AggregateFunctionExpr>, filter: Option<Arc<dyn PhysicalExpr>>, preceding: i64 },
    /// `CASE WHEN lag(ts, n) >= ts − preceding THEN lag(value, n) ELSE default END`, rows of one key in
    /// canonical order.
    Lag { value: Arc<dyn PhysicalExpr>, n: usize, default: Option<Arc<dyn PhysicalExpr>>, preceding: i64 },
    /// The value of the frame's first row in canonical order, NULL or not.
    FirstValue { value: Arc<dyn PhysicalExpr>, preceding: i64 },
    /// The value of the frame's last row in canonical order: of the last peer.
    LastValue { value: Arc<dyn PhysicalExpr>, preceding: i64 },
}

impl OverFunction {
    pub(self) fn preceding(&self) -> i64 {
        match self {
            Self::Aggregate { preceding, .. }
            | Self::Lag { preceding, .. }
            | Self::FirstValue { preceding, .. }
            | Self::LastValue { preceding, .. } => *preceding,
        }
    }
}

/// What an `Over` is made from.
#[derive(Debug, Clone)]
pub struct OverSpec {
    pub input: StreamSchema,
    /// The input's columns, then one per function; its `times` are columns of the input.
    pub output: StreamSchema,
    pub partition_by: Vec<Arc<dyn PhysicalExpr>>,
    /// Index into `input.times`: the ORDER BY column.
    pub order_time: usize,
    pub functions: Vec<OverFunction>,
}

/// Rows that are not final, with the smallest and greatest value of each event-time column.
#[derive(Debug)]
struct Pending {
    rows: RecordBatch,
    /// Parallel to the input's `times`; FOREVER where all are NULL.
    lowest: Vec<i64>,
    latest: i64,
}

/// The OVER operator.
pub struct Over {
    spec: OverSpec,
    /// Column index of the ORDER BY column.
    time: usize,
    /// The widest range of all functions.
    widest: i64,
    pending: Vec<Pending>,
    canonical: RowConverter,
    narrow: Narrow,
    keys: Keys,
}

impl Over {
    /// # Errors
    /// `W0209` for an aggregate that cannot take rows back; `W0302` for a spec that does not fit together.
    pub fn new(spec: OverSpec) -> Result<Self> {
        let broken = |what: &str| Error::new(Code::Internal, format!("OVER: {what}"));
        let time =
            *spec.input.times.get(spec.order_time).ok_or_else(|| broken("no such event-time column"))?;
        let width = spec.input.schema.fields().len();
        if spec.output.schema.fields().len() != width + spec.functions.len() {
            return Err(broken("the output has not the input's columns and one per function"));
        }
        let widest = spec.functions.iter().map(OverFunction::preceding).max().unwrap_or(0);
        if spec.functions.iter().any(|f| f.preceding() < 0) {
            return Err(broken("a frame that starts behind the current row"));
        }
        let sorted = std::iter::once(&time).chain(&spec.input.order);
        let fields =
            sorted.map(|c| SortField::new(spec.input.schema.field(*c).data_type().clone())).collect();
        let canonical = RowConverter::new(fields).map_err(internal_arrow)?;
        let narrow = Narrow::new(&spec, time)?;
        let keys = Keys::new(&narrow)?;
        Ok(Self { spec, time, widest, pending: Vec::new(), canonical, narrow, keys })
    }

    fn hold(&mut self, rows: RecordBatch) -> Result<()> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        if rows.column(self.time).null_count() > 0 {
            return Err(Error::new(Code::Internal, "OVER: a row without a time in its ORDER BY column"));
        }
        let bound = |c: &usize| rows.column(*c).as_primitive_opt::<TimestampMicrosecondType>();
        let lowest =
            self.spec.input.times.iter().map(|c| bound(c).and_then(min).unwrap_or(FOREVER)).collect();
        let latest = bound(&self.time).and_then(max).unwrap_or(FOREVER);
        self.pending.push(Pending { rows, lowest, latest });
        Ok(())
    }

    /// Takes the rows below the frontier out of the pending ones, in canonical order.
    fn take_final(&mut self, frontier: i64) -> Result<Option<RecordBatch>> {
        let mut ready = Vec::new();
        for pending in std::mem::take(&mut self.pending) {
            if pending.latest < frontier {
                ready.push(pending.rows);
            } else if pending.lowest[self.spec.order_time] >= frontier {
                self.pending.push(pending);
            } else {
                let times = pending.rows.column(self.time).as_primitive::<TimestampMicrosecondType>();
                let below = BooleanArray::from_unary(times, |t| t < frontier);
                ready.push(filter_record_batch(&pending.rows, &below).map_err(internal_arrow)?);
                let above = not(&below).map_err(internal_arrow)?;
                self.hold(filter_record_batch(&pending.rows, &above).map_err(internal_arrow)?)?;
            }
        }
        if ready.is_empty() {
            return Ok(None);
        }
        let rows = concat_batches(&self.spec.input.schema, &ready).map_err(internal_arrow)?;
        let columns: Vec<ArrayRef> = std::iter::once(&self.time)
            .chain(&self.spec.input.order)
            .map(|c| Arc::clone(rows.column(*c)))
            .collect();
        let order = self.canonical.convert_columns(&columns).map_err(internal_arrow)?;
        let mut indices: Vec<u32> = (0..rows.num_rows() as u32).collect();
        if order.iter().zip(order.iter().skip(1)).all(|(a, b)| a <= b) {
            return Ok(Some(rows));
        }
        indices.sort_by(|a, b| order.row(*a as usize).cmp(&order.row(*b as usize)));
        take_record_batch(&rows, &UInt32Array::from(indices)).map(Some).map_err(internal_arrow)
    }

    /// Gives final rows, in canonical order, their function columns.
    fn emit(&mut self, rows: RecordBatch, cut: i64, out: &mut Out) -> Result<()> {
        let grouped =
            self.keys.group(&self.narrow, &rows.project(self.narrow.columns()).map_err(internal_arrow)?)?;
        let mut back = vec![0u32; grouped.from.len()];
        for (at, row) in grouped.from.iter().enumerate() {
            back[*row as usize] = at as u32;
        }
        let back = UInt32Array::from(back);
        let results = self.keys.process(&self.narrow, grouped, cut)?;
        let mut columns = rows.columns().to_vec();
        for result in results {
            columns.push(take(&result, &back, None).map_err(internal_arrow)?);
        }
        out.emit(
            RecordBatch::try_new(Arc::clone(&self.spec.output.schema), columns).map_err(internal_arrow)?,
        );
        Ok(())
    }

    /// The output's frontiers: the ORDER BY column has the input's; any other event-time column also
    /// waits for the rows that are still held.
    fn frontiers(&self, input: &[i64]) -> Vec<i64> {
        let of = |column: &usize| {
            let Some(at) = self.spec.input.times.iter().position(|c| c == column) else {
                return NOTHING;
            };
            if at == self.spec.order_time {
                return input[at];
            }
            self.pending.iter().map(|p| p.lowest[at]).fold(input[at], i64::min)
        };
        self.spec.output.times.iter().map(of).collect()
    }
}

impl Operator for Over {
    fn push(&mut self, port: usize, batch: RecordBatch, _out: &mut Out) -> Result<()> {
        assert_eq!(port, 0, "OVER has one port");
        self.hold(batch)
    }

    fn advance(&mut self, frontiers: &[&[i64]], out: &mut Out) -> Result<Vec<i64>> {
        let frontier = frontiers[0][self.spec.order_time];
        let cut = shift(frontier, -self.widest);
        if let Some(rows) = self.take_final(frontier)? {
            self.emit(rows, cut, out)?;
        }
        self.keys.evict(&self.narrow, cut)?;
        Ok(self.frontiers(frontiers[0]))
    }

    fn bytes(&self) -> usize {
        let pending: usize = self.pending.iter().map(|p| p.rows.get_array_memory_size()).sum();
        pending + self.keys.bytes()
    }

    fn snapshot(&mut self, into: &mut Saver) -> Result<()> {
        into.batches(&self.spec.input.schema, self.pending.iter().map(|p| &p.rows))?;
        into.batches(self.narrow.schema(), self.keys.chunks().map(|chunk| &chunk.rows))
    }

    fn restore(&mut self, from: &mut Loader<'_>) -> Result<()> {
        assert!(self.pending.is_empty() && self.keys.is_empty(), "restore needs a fresh operator");
        for rows in from.batches()? {
            self.hold(rows)?;
        }
        for rows in from.batches()? {
            let grouped = self.keys.group(&self.narrow, &rows)?;
            self.keys.remember(&self.narrow, grouped)?;
        }
        Ok(())
    }
}

/// Timestamps as microseconds, sharing the column's buffer.
fn microseconds(column: &ArrayRef) -> Result<datafusion::arrow::array::Int64Array> {
    let times = column.as_primitive_opt::<TimestampMicrosecondType>();
    times.map(|t| t.reinterpret_cast::<Int64Type>()).ok_or_else(|| {
        Error::new(Code::Internal, "OVER: the ORDER BY column is not a timestamp in microseconds")
    })
}
