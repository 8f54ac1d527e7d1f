//! The rows that are not final yet, and their canonical order once they are.
//!
//! In:   batches in any order, none of whose rows lies below the frontier.
//! Out:  final rows, in order of (event time, canonical order), visible columns only.
//! Owns: the buffer and its bytes.
//!
//! Each batch is held sorted by event time, so that taking what is final is a search and a slice.

use std::sync::Arc;

use datafusion::arrow::array::types::TimestampMicrosecondType;
use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::compute::{
    SortColumn, SortOptions, concat_batches, lexsort_to_indices, sort_to_indices, take, take_record_batch,
};
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::arrow::record_batch::RecordBatch;
use weir_contract::{Code, Error, EventTime, Result};

use crate::base::{StreamSchema, internal_arrow};
use crate::state::{Loader, Saver};

const ASCENDING: SortOptions = SortOptions { descending: false, nulls_first: true };

struct Held {
    batch: RecordBatch,
    /// The least event time.
    first: i64,
    /// Rows behind the batch's buffers, of which `batch` may be a slice.
    rows: usize,
    bytes: usize,
}

pub struct Rows {
    schema: SchemaRef,
    time: usize,
    /// Columns after the event time that order rows: the canonical ones, then all other plain ones, so
    /// that the order is total even where the canonical one is not.
    order: Vec<usize>,
    /// Columns that leave.
    pub visible: Vec<usize>,
    pub visible_schema: SchemaRef,
    held: Vec<Held>,
}

impl Rows {
    pub fn new(input: &StreamSchema, time: usize) -> Rows {
        let fields = input.schema.fields();
        let visible: Vec<usize> =
            (0..fields.len()).filter(|i| !fields[*i].name().starts_with("__")).collect();
        let kept: Vec<_> = visible.iter().map(|i| fields[*i].clone()).collect();
        let mut order = input.order.clone();
        let plain = |i: &usize| !fields[*i].data_type().is_nested() && *i != time;
        order.extend((0..fields.len()).filter(plain).filter(|i| !input.order.contains(i)));
        Rows {
            schema: input.schema.clone(),
            time,
            order,
            visible,
            visible_schema: Arc::new(Schema::new(kept)),
            held: Vec::new(),
        }
    }

    /// # Errors
    /// `W0302` for another schema, a NULL event time, or a row below `frontier`.
    pub fn push(&mut self, batch: RecordBatch, frontier: i64) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let same = batch.num_columns() == self.schema.fields().len()
            && batch.columns().iter().zip(self.schema.fields()).all(|(c, f)| c.data_type() == f.data_type());
        if !same {
            return Err(Error::new(Code::Internal, format!("a rule was given {:?}", batch.schema()))
                .expected(format!("{:?}", self.schema)));
        }
        let times = batch.column(self.time).as_primitive::<TimestampMicrosecondType>();
        if times.null_count() > 0 {
            return Err(Error::new(Code::Internal, "a rule was given a row without event time"));
        }
        let batch = if times.values().is_sorted() {
            batch
        } else {
            let order = sort_to_indices(times, Some(ASCENDING), None).map_err(internal_arrow)?;
            take_record_batch(&batch, &order).map_err(internal_arrow)?
        };
        let first = batch.column(self.time).as_primitive::<TimestampMicrosecondType>().value(0);
        if first < frontier {
            let what = format!("a rule was given a row of {} after it was final", EventTime(first));
            return Err(Error::new(Code::Internal, what)
                .expected(format!("event times from {}", EventTime(frontier))));
        }
        self.hold(batch, first);
        Ok(())
    }

    fn hold(&mut self, batch: RecordBatch, first: i64) {
        let (rows, bytes) = (batch.num_rows(), batch.get_array_memory_size());
        self.held.push(Held { batch, first, rows, bytes });
    }

    /// All rows below `frontier`, in order; nothing where there are none. Costs a look at each held
    /// batch, and a sort of what leaves.
    pub fn take_below(&mut self, frontier: i64) -> Result<Option<RecordBatch>> {
        let mut ready = Vec::new();
        for mut held in std::mem::take(&mut self.held) {
            if held.first >= frontier {
                self.held.push(held);
                continue;
            }
            let times = held.batch.column(self.time).as_primitive::<TimestampMicrosecondType>().values();
            let n = times.partition_point(|t| *t < frontier);
            ready.push(held.batch.slice(0, n));
            let Some(next) = times.get(n).copied() else { continue };
            let rest = held.batch.slice(n, held.batch.num_rows() - n);
            if rest.num_rows() * 2 < held.rows {
                // Copied, so that a few rows do not keep the buffers of many.
                let copy = concat_batches(&self.schema, [&rest]).map_err(internal_arrow)?;
                self.hold(copy, next);
            } else {
                (held.batch, held.first) = (rest, next);
                self.held.push(held);
            }
        }
        if ready.is_empty() {
            return Ok(None);
        }
        let all = concat_batches(&self.schema, &ready).map_err(internal_arrow)?;
        let by = std::iter::once(&self.time).chain(&self.order);
        let by: Vec<SortColumn> =
            by.map(|c| SortColumn { values: all.column(*c).clone(), options: Some(ASCENDING) }).collect();
        let order = lexsort_to_indices(&by, None).map_err(internal_arrow)?;
        let columns = self.visible.iter().map(|c| take(all.column(*c), &order, None));
        let columns = columns.collect::<Result<Vec<_>, _>>().map_err(internal_arrow)?;
        RecordBatch::try_new(self.visible_schema.clone(), columns).map(Some).map_err(internal_arrow)
    }

    pub fn bytes(&self) -> usize {
        self.held.iter().map(|h| h.bytes).sum()
    }

    pub fn snapshot(&self, into: &mut Saver) -> Result<()> {
        into.batches(&self.schema, self.held.iter().map(|h| &h.batch))
    }

    pub fn restore(&mut self, from: &mut Loader<'_>, frontier: i64) -> Result<()> {
        self.held.clear();
        for batch in from.batches()? {
            self.push(batch, frontier).map_err(|e| Error::new(Code::Damaged, e.what().to_owned()))?;
        }
        Ok(())
    }
}
