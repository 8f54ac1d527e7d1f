//! The shape of states between the phases, and the checks of a specification.
//!
//! In:   an `AggregateSpec`. Out: `Layout`, which columns a batch of states has; `partial_schema`.
//! Owns: names and places of columns. Nothing here sees a row.
//!
//! A batch of states has the group columns, then `__w` (the end of the pane) where there is a
//! window, then the state columns of each aggregate in turn.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, Int64Array};
use datafusion::arrow::buffer::ScalarBuffer;
use datafusion::arrow::datatypes::{
    DataType, Field, FieldRef, Fields, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType,
};
use datafusion::arrow::record_batch::RecordBatch;
use weir_contract::{Code, Error, Result};

use super::panes::Panes;
use super::table::Functions;
use super::{AggregateSpec, Phase};
use crate::base::{StreamSchema, internal_arrow};

/// Column of pane ends between the phases.
pub const PANE_COLUMN: &str = "__w";
/// Row time of a window's row: its end minus 1 us.
pub const TIME_COLUMN: &str = "__t";

pub const MICROS: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

fn wrong(what: impl Into<String>, expected: impl Into<String>) -> Error {
    Error::new(Code::Internal, what).expected(expected)
}

/// Where columns stand in a batch of states.
#[derive(Clone)]
pub struct Layout {
    pub schema: SchemaRef,
    /// Number of group columns; they come first.
    pub groups: usize,
    /// Number of key columns: the groups, and the pane's end where there are panes.
    pub keys: usize,
    /// The time by which rows of states become final: the pane's end or the first time key.
    pub time: usize,
    /// Group columns that are event time, in the order of `AggregateSpec::time_keys`.
    pub time_keys: Vec<usize>,
    pub functions: Arc<Functions>,
    pub panes: Option<Panes>,
}

impl Layout {
    pub fn new(spec: &AggregateSpec) -> Result<Layout> {
        let functions = Arc::new(Functions::new(&spec.aggregates, &spec.filters)?);
        let panes = spec.window.map(|w| Panes::new(w.slide, w.size)).transpose()?;
        let mut fields: Vec<FieldRef> = group_fields(spec)?;
        let groups = fields.len();
        let time_keys: Vec<usize> = spec.time_keys.iter().map(|k| k.group).collect();
        if let Some(key) = time_keys.iter().find(|&&k| k >= groups || fields[k].data_type() != &MICROS) {
            return Err(wrong(format!("time key {key} is no event time"), "a group of Timestamp(us)"));
        }
        let time = match (&panes, time_keys.first()) {
            (Some(_), _) => groups,
            (None, Some(&key)) => key,
            (None, None) => {
                return Err(Error::new(Code::Unbounded, "GROUP BY without a window or an event-time column")
                    .expected("tumble(…), hop(…) or an event-time column among the keys"));
            }
        };
        if panes.is_some() {
            fields.push(Arc::new(Field::new(PANE_COLUMN, MICROS, false)));
        }
        let keys = fields.len();
        // A state is NULL where its group had no value, whatever the function declares.
        fields.extend(functions.state_fields().map(|f| Arc::new(f.as_ref().clone().with_nullable(true))));
        let schema = Arc::new(Schema::new(fields));
        Ok(Layout { schema, groups, keys, time, time_keys, functions, panes })
    }

    pub fn key_schema(&self) -> SchemaRef {
        Arc::new(Schema::new(self.schema.fields()[..self.keys].to_vec()))
    }

    pub fn batch(&self, columns: Vec<ArrayRef>) -> Result<RecordBatch> {
        RecordBatch::try_new(Arc::clone(&self.schema), columns).map_err(internal_arrow)
    }
}

/// Values of an event-time column.
///
/// # Errors
/// `W0302` where one is NULL: an event time that may be NULL is none (semantics 2 and 3).
pub fn time_values(column: &ArrayRef) -> Result<ScalarBuffer<i64>> {
    let Some(times) = column.as_primitive_opt::<TimestampMicrosecondType>() else {
        return Err(wrong(format!("event time of type {}", column.data_type()), "Timestamp(us)"));
    };
    match datafusion::arrow::array::Array::null_count(times) {
        0 => Ok(times.values().clone()),
        nulls => Err(wrong(format!("{nulls} NULLs in an event-time column"), "none")),
    }
}

/// A column of event times.
pub fn time_array(values: Vec<i64>) -> ArrayRef {
    Arc::new(Int64Array::from(values).reinterpret_cast::<TimestampMicrosecondType>())
}

/// The group columns' fields, without the window.
fn group_fields(spec: &AggregateSpec) -> Result<Vec<FieldRef>> {
    let fields: &Fields = spec.output.schema.fields();
    let count = spec.group.len();
    let mut groups: Vec<FieldRef> = Vec::with_capacity(count + 1);
    match (spec.phase, spec.window) {
        (Phase::Partial, _) | (_, None) => groups.extend(fields.iter().take(count).cloned()),
        (_, Some(window)) => {
            let others = fields.iter().enumerate().filter(|(at, _)| *at != window.position);
            groups.extend(others.map(|(_, field)| Arc::clone(field)).take(count));
        }
    }
    if groups.len() < count {
        let what = format!("{} output columns for {count} groups", fields.len());
        return Err(wrong(what, "a column for each group"));
    }
    Ok(groups)
}

/// The stream between `Partial` and `Final` of a specification of any phase: group columns, the
/// end of the pane as `__w` where there is a window, then the aggregates' states.
///
/// Its `times` are `__w` where there is a window, then the time keys in their order; its order is
/// `times[0]`, then the groups. Rows with equal keys may come more than once.
pub fn partial_schema(spec: &AggregateSpec) -> Result<StreamSchema> {
    let layout = Layout::new(spec)?;
    let mut times: Vec<usize> = layout.panes.iter().map(|_| layout.time).collect();
    times.extend(&layout.time_keys);
    let mut order = vec![layout.time];
    order.extend((0..layout.groups).filter(|&g| g != layout.time));
    let partition_key = match (spec.phase, spec.window) {
        (Phase::Partial, _) | (_, None) => spec.output.partition_key.clone(),
        (_, Some(w)) => spec.output.partition_key.iter().map(|&c| c - usize::from(c > w.position)).collect(),
    };
    Ok(StreamSchema { schema: layout.schema, times, row_time: 0, order, partition_key })
}
