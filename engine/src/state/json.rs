//! One value of an arrow column as JSON, in the form of the event contract.
//!
//! Timestamps are RFC 3339 with the fewest exact digits, floats shortest round-trip (NaN and infinities as
//! texts), decimals the nearest float, bytes base64, dates and everything else as arrow shows them.

use base64::Engine;
use datafusion::arrow::array::types::{
    Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::arrow::util::display::array_value_to_string;
use serde_json::{Map, Value};
use weir_contract::event::number;
use weir_contract::time::SECOND;
use weir_contract::{EventTime, Result};

use crate::base::internal_arrow;

/// A time as JSON has it.
pub fn time(us: i64) -> Value {
    Value::String(EventTime(us).to_string())
}

/// The value at `row`. Costs one look at the type; lists and structs cost their items.
pub fn value(array: &dyn Array, row: usize) -> Result<Value> {
    if array.is_null(row) || array.data_type() == &DataType::Null {
        return Ok(Value::Null);
    }
    macro_rules! primitive {
        ($kind:ty) => {
            array.as_primitive::<$kind>().value(row)
        };
    }
    let base64 = |bytes: &[u8]| Value::from(base64::engine::general_purpose::STANDARD.encode(bytes));
    Ok(match array.data_type() {
        DataType::Boolean => Value::from(array.as_boolean().value(row)),
        DataType::Int8 => Value::from(primitive!(Int8Type)),
        DataType::Int16 => Value::from(primitive!(Int16Type)),
        DataType::Int32 => Value::from(primitive!(Int32Type)),
        DataType::Int64 => Value::from(primitive!(Int64Type)),
        DataType::UInt8 => Value::from(primitive!(UInt8Type)),
        DataType::UInt16 => Value::from(primitive!(UInt16Type)),
        DataType::UInt32 => Value::from(primitive!(UInt32Type)),
        DataType::UInt64 => Value::from(primitive!(UInt64Type)),
        // A float of 32 bits keeps its own shortest form: 0.1, not 0.10000000149011612.
        DataType::Float32 => {
            let v = primitive!(Float32Type);
            number(v.to_string().parse().unwrap_or(f64::from(v)))
        }
        DataType::Float64 => number(primitive!(Float64Type)),
        DataType::Utf8 => Value::from(array.as_string::<i32>().value(row)),
        DataType::LargeUtf8 => Value::from(array.as_string::<i64>().value(row)),
        DataType::Utf8View => Value::from(array.as_string_view().value(row)),
        DataType::Binary => base64(array.as_binary::<i32>().value(row)),
        DataType::LargeBinary => base64(array.as_binary::<i64>().value(row)),
        DataType::BinaryView => base64(array.as_binary_view().value(row)),
        DataType::FixedSizeBinary(_) => base64(array.as_fixed_size_binary().value(row)),
        DataType::Timestamp(unit, _) => time(match unit {
            TimeUnit::Second => primitive!(TimestampSecondType).saturating_mul(SECOND),
            TimeUnit::Millisecond => primitive!(TimestampMillisecondType).saturating_mul(1_000),
            TimeUnit::Microsecond => primitive!(TimestampMicrosecondType),
            TimeUnit::Nanosecond => primitive!(TimestampNanosecondType).div_euclid(1_000),
        }),
        DataType::List(_) => items(array.as_list::<i32>().value(row).as_ref())?,
        DataType::LargeList(_) => items(array.as_list::<i64>().value(row).as_ref())?,
        DataType::FixedSizeList(_, _) => items(array.as_fixed_size_list().value(row).as_ref())?,
        DataType::Struct(fields) => {
            let columns = array.as_struct().columns();
            let entries =
                fields.iter().zip(columns).map(|(f, c)| Ok((f.name().clone(), value(c.as_ref(), row)?)));
            Value::Object(entries.collect::<Result<Map<String, Value>>>()?)
        }
        other => {
            let text = array_value_to_string(array, row).map_err(internal_arrow)?;
            match text.parse::<f64>() {
                Ok(v) if other.is_numeric() => text.parse::<i64>().map_or_else(|_| number(v), Value::from),
                _ => Value::from(text),
            }
        }
    })
}

fn items(list: &dyn Array) -> Result<Value> {
    (0..list.len()).map(|i| value(list, i)).collect::<Result<Vec<Value>>>().map(Value::Array)
}
