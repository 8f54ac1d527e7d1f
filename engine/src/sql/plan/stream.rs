//! The stream that a source table is: its columns, then where each row came from.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema};
use weir_contract::{Code, Error, Result};

use super::build::{field, lost};
use crate::base::StreamSchema;
use crate::sql::catalog::TableSpec;

/// Input ordinal of the table in the program, Int32.
pub const INPUT: &str = "__i";
/// Partition, Int32.
pub const PARTITION: &str = "__p";
/// Offset, Int64.
pub const OFFSET: &str = "__o";

/// The table's columns in DDL order, then `__i`, `__p`, `__o`; row time is the WATERMARK column,
/// canonical order (event time, input, partition, offset).
pub fn stream_schema(table: &TableSpec) -> Result<StreamSchema> {
    let watermark = table.watermark.as_ref().ok_or_else(|| {
        Error::new(Code::NotEventTime, format!("source `{}` has no event time", table.name))
            .expected("WATERMARK FOR column AS column - INTERVAL '…'")
            .at(table.place.clone())
    })?;
    let position =
        |name: &String| table.columns.iter().position(|c| c.name == *name).ok_or_else(|| lost("column"));
    let time = position(&watermark.column)?;
    let visible = table.columns.len();
    let mut fields: Vec<Field> = table.columns.iter().map(|c| field(&c.name, c.data_type.clone())).collect();
    fields.push(field(INPUT, DataType::Int32));
    fields.push(field(PARTITION, DataType::Int32));
    fields.push(field(OFFSET, DataType::Int64));
    Ok(StreamSchema {
        schema: Arc::new(Schema::new(fields)),
        times: vec![time],
        row_time: 0,
        order: vec![time, visible, visible + 1, visible + 2],
        partition_key: table.partitioned_by.iter().map(position).collect::<Result<_>>()?,
    })
}
