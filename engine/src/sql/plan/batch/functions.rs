//! What the batch form needs beside DataFusion's own: starts of windows, validity of versions.
//!
//! In:   event times in microseconds; a relation's versions.
//! Out:  lists of window starts; one table of all versions.

use std::sync::Arc;

use datafusion::arrow::array::builder::{ListBuilder, TimestampMicrosecondBuilder};
use datafusion::arrow::array::types::{IntervalMonthDayNano, TimestampMicrosecondType};
use datafusion::arrow::array::{Array, ArrayRef, AsArray, TimestampMicrosecondArray};
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};
use weir_contract::Span;

use super::super::functions::time_type;

/// A constant length of time, of any sign.
pub fn interval(span: Span) -> ScalarValue {
    ScalarValue::IntervalMonthDayNano(Some(IntervalMonthDayNano::new(0, 0, span.saturating_mul(1_000))))
}

/// `__windows(t)`: the starts of all windows that hold `t`, latest first; windows begin at the epoch.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Windows {
    slide: Span,
    size: Span,
    signature: Signature,
}

impl Windows {
    pub fn new(slide: Span, size: Span) -> Self {
        Self { slide, size, signature: Signature::exact(vec![time_type()], Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Windows {
    fn name(&self) -> &str {
        "__windows"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::List(Arc::new(Field::new_list_field(time_type(), true))))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let times = arrays[0].as_primitive::<TimestampMicrosecondType>();
        let mut lists = ListBuilder::new(TimestampMicrosecondBuilder::new());
        for row in 0..times.len() {
            if times.is_valid(row) {
                let time = times.value(row);
                let mut start = time - time.rem_euclid(self.slide);
                while start > time - self.size {
                    lists.values().append_value(start);
                    start -= self.slide;
                }
            }
            lists.append(times.is_valid(row));
        }
        Ok(ColumnarValue::Array(Arc::new(lists.finish())))
    }
}

/// The rows of all versions with `__from` and `__to`: a row holds at `from <= t < to`.
pub fn validity(schema: &SchemaRef, versions: &[(i64, RecordBatch)]) -> Result<RecordBatch> {
    let mut fields: Vec<Field> = schema.fields().iter().map(|f| f.as_ref().clone()).collect();
    fields.push(Field::new("__from", time_type(), true));
    fields.push(Field::new("__to", time_type(), true));
    let wide = Arc::new(Schema::new(fields));
    let mut parts = Vec::with_capacity(versions.len());
    for (n, (from, rows)) in versions.iter().enumerate() {
        let to = versions.get(n + 1).map_or(i64::MAX, |(next, _)| *next);
        let constant =
            |us: i64| Arc::new(TimestampMicrosecondArray::from_value(us, rows.num_rows())) as ArrayRef;
        let columns = rows.columns().iter().cloned().chain([constant(*from), constant(to)]).collect();
        parts.push(RecordBatch::try_new(Arc::clone(&wide), columns)?);
    }
    Ok(concat_batches(&wide, &parts)?)
}
