//! Rows of an `INSERT INTO` as records.
//!
//! In:   a batch of rows.
//! Out:  JSON objects with ids that depend on the statement and the rows alone.

use std::collections::BTreeMap;

use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use datafusion::arrow::datatypes::{DataType, TimestampMicrosecondType};
use serde_json::{Map, Value};
use weir_contract::Result;
use weir_contract::event::Id;

use crate::base::StreamSchema;
use crate::sink::OutRecord;
use crate::state::json;

/// One row as the JSON object that an `INSERT INTO` writes: its first `visible` columns.
pub fn row_json(stream: &StreamSchema, visible: usize, batch: &RecordBatch, row: usize) -> Result<String> {
    let mut object = Map::new();
    for (field, column) in stream.schema.fields().iter().zip(batch.columns()).take(visible) {
        object.insert(field.name().clone(), json::value(column, row)?);
    }
    Ok(Value::Object(object).to_string())
}

/// Rows as JSON objects with deterministic ids: of the statement and the row's canonical order.
pub(super) fn records(
    stream: &StreamSchema,
    visible: usize,
    version: &str,
    partition: u32,
    batch: &RecordBatch,
) -> Result<Vec<OutRecord>> {
    let times = batch.column(stream.row_time_column()).as_primitive::<TimestampMicrosecondType>();
    let mut ordinals: BTreeMap<String, u64> = BTreeMap::new();
    (0..batch.num_rows())
        .map(|row| {
            let mut parts = vec![Value::from(version)];
            for column in &stream.order {
                let column = batch.column(*column);
                parts.push(match column.data_type() {
                    DataType::Timestamp(..) if column.is_valid(row) => {
                        Value::from(column.as_primitive::<TimestampMicrosecondType>().value(row))
                    }
                    _ => json::value(column, row)?,
                });
            }
            let same = ordinals.entry(Value::Array(parts.clone()).to_string()).or_insert(0);
            parts.push(Value::from(*same));
            *same += 1;
            Ok(OutRecord {
                id: Some(Id::of(&Value::Array(parts))),
                partition: Some(partition),
                key: Vec::new(),
                value: row_json(stream, visible, batch, row)?.into_bytes(),
                headers: Vec::new(),
                time_us: times.is_valid(row).then(|| times.value(row)),
            })
        })
        .collect()
}
