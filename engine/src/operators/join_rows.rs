//! What the joins share about rows in Arrow form: event times, sizes, places, gathering.
//!
//! In:   batches, and places of rows in them.
//! Out:  columns made of those rows, in that order; one pass a column.
//! Owns: nothing.

use std::cmp::Ordering;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, DynComparator, UInt32Array, make_comparator, new_null_array,
};
use datafusion::arrow::buffer::ScalarBuffer;
use datafusion::arrow::compute::{SortOptions, interleave, take};
use datafusion::arrow::datatypes::{DataType, SchemaRef, TimeUnit, TimestampMicrosecondType};
use datafusion::arrow::record_batch::RecordBatch;
use weir_contract::{Code, Error, Result};

use crate::base::{FOREVER, internal_arrow};

/// Rows of a batch that a join builds or emits, at most (a left row's matches stay together).
pub const CHUNK_ROWS: usize = 8192;
/// No row: the right side of an unmatched left row.
pub const NONE: u32 = u32::MAX;

/// Ascending, NULLs first: the canonical order of every order column.
pub const CANONICAL: SortOptions = SortOptions { descending: false, nulls_first: true };

/// A row: which batch of a list, which row of it. `batch == NONE`: a row of NULLs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spot {
    pub batch: u32,
    pub row: u32,
}

impl Spot {
    pub const NULLS: Spot = Spot { batch: NONE, row: 0 };
}

/// The values of an event-time column, which has no NULLs.
pub fn times_of(batch: &RecordBatch, column: usize) -> Result<ScalarBuffer<i64>> {
    let array = batch.column(column);
    let times = array.as_primitive_opt::<TimestampMicrosecondType>().filter(|t| t.null_count() == 0);
    times.map(|t| t.values().clone()).ok_or_else(|| {
        let name = batch.schema().field(column).name().clone();
        Error::new(Code::Internal, format!("column `{name}` is {} or holds a NULL", array.data_type()))
            .expected("an event-time column: Timestamp(Microsecond), never NULL")
    })
}

/// Refuses a schema whose column is no event time.
pub fn check_time(schema: &SchemaRef, column: usize) -> Result<()> {
    match schema.fields().get(column).map(|f| f.data_type()) {
        Some(DataType::Timestamp(TimeUnit::Microsecond, None)) => Ok(()),
        other => Err(Error::new(Code::Internal, format!("column {column} of a join's input is {other:?}"))
            .expected("Timestamp(Microsecond, None)")),
    }
}

/// The lowest value, or `FOREVER`.
pub fn lowest(values: &[i64]) -> i64 {
    values.iter().copied().min().unwrap_or(FOREVER)
}

/// Bytes of a batch's own rows, not of buffers that it shares with others.
pub fn bytes_of(batch: &RecordBatch) -> usize {
    let column = |c: &ArrayRef| c.to_data().get_slice_memory_size().unwrap_or(c.get_array_memory_size());
    batch.columns().iter().map(column).sum::<usize>() + 64 * batch.num_columns()
}

/// One column of the rows at `spots`, in that order.
pub fn gather_column(
    batches: &[&RecordBatch],
    column: usize,
    data_type: &DataType,
    spots: &Gather,
) -> Result<ArrayRef> {
    match spots {
        Gather::Nothing(rows) => Ok(new_null_array(data_type, *rows)),
        Gather::Slice { batch, start, rows } => Ok(batches[*batch].column(column).slice(*start, *rows)),
        Gather::One { batch, rows } => {
            take(batches[*batch].column(column), rows, None).map_err(internal_arrow)
        }
        Gather::Many { first, last, pairs, nulls } => {
            let null_row = nulls.then(|| new_null_array(data_type, 1));
            let mut arrays: Vec<&dyn Array> = Vec::with_capacity(last - first + 2);
            arrays.extend(batches[*first..=*last].iter().map(|b| b.column(column).as_ref()));
            arrays.extend(null_row.iter().map(|n| n.as_ref()));
            interleave(&arrays, pairs).map_err(internal_arrow)
        }
    }
}

/// Spots in the cheapest form that the kernels take; made once, used for every column.
#[derive(Debug)]
pub enum Gather {
    /// NULLs only.
    Nothing(usize),
    /// Consecutive rows of one batch: no copy.
    Slice { batch: usize, start: usize, rows: usize },
    /// Rows of one batch, some of them NULLs.
    One { batch: usize, rows: UInt32Array },
    /// Rows of the batches `first..=last`, numbered from `first`; the batch after them is NULLs.
    Many { first: usize, last: usize, pairs: Vec<(usize, usize)>, nulls: bool },
}

impl Gather {
    pub fn new(spots: &[Spot]) -> Self {
        let (mut first, mut last, mut nulls) = (u32::MAX, 0, false);
        for spot in spots {
            if spot.batch == NONE {
                nulls = true;
            } else {
                first = first.min(spot.batch);
                last = last.max(spot.batch);
            }
        }
        if first == u32::MAX {
            return Gather::Nothing(spots.len());
        }
        let (first, last) = (first as usize, last as usize);
        if first < last {
            let null = (last - first + 1, 0);
            let place = |s: &Spot| {
                if s.batch == NONE { null } else { (s.batch as usize - first, s.row as usize) }
            };
            return Gather::Many { first, last, pairs: spots.iter().map(place).collect(), nulls };
        }
        if !nulls && spots.windows(2).all(|w| w[0].row.wrapping_add(1) == w[1].row) {
            return Gather::Slice { batch: first, start: spots[0].row as usize, rows: spots.len() };
        }
        let rows = if nulls {
            spots.iter().map(|s| (s.batch != NONE).then_some(s.row)).collect()
        } else {
            UInt32Array::from_iter_values(spots.iter().map(|s| s.row))
        };
        Gather::One { batch: first, rows }
    }

    /// Rows of one batch, none of them NULLs.
    pub fn rows(rows: &[u32]) -> Self {
        if let Some(&start) = rows.first()
            && rows.windows(2).all(|w| w[0].wrapping_add(1) == w[1])
        {
            return Gather::Slice { batch: 0, start: start as usize, rows: rows.len() };
        }
        Gather::One { batch: 0, rows: UInt32Array::from_iter_values(rows.iter().copied()) }
    }
}

/// The rows at `spots` as a batch of `schema`.
pub fn gather_rows(schema: &SchemaRef, batches: &[&RecordBatch], spots: &Gather) -> Result<RecordBatch> {
    let columns = schema
        .fields()
        .iter()
        .enumerate()
        .map(|(c, f)| gather_column(batches, c, f.data_type(), spots))
        .collect::<Result<Vec<_>>>()?;
    RecordBatch::try_new(schema.clone(), columns).map_err(internal_arrow)
}

/// Compares rows of one list of columns in canonical order, column by column.
pub struct RowOrder(Vec<DynComparator>);

impl RowOrder {
    pub fn new(columns: &[ArrayRef]) -> Result<Self> {
        let one = |c: &ArrayRef| make_comparator(c, c, CANONICAL).map_err(internal_arrow);
        Ok(Self(columns.iter().map(one).collect::<Result<_>>()?))
    }

    /// Leaves out the columns whose type has no order.
    pub fn of_comparable(columns: &[ArrayRef]) -> Self {
        Self(columns.iter().filter_map(|c| make_comparator(c, c, CANONICAL).ok()).collect())
    }

    pub fn compare(&self, a: usize, b: usize) -> Ordering {
        self.0.iter().map(|c| c(a, b)).find(|o| o.is_ne()).unwrap_or(Ordering::Equal)
    }
}
