//! Rows of reference tables: JSON objects with one canonical form, and as columns.
//!
//! In:   an object of a table's columns, as a database or a control record wrote it.
//! Out:  the canonical object, or a batch in the order of the table's DDL.
//! Owns: how each type is written. Two databases that hold the same row give the same bytes, since
//!       control records are part of what a result depends on.
//!
//! | type | canonical | read as well |
//! |---|---|---|
//! | Boolean | `true` | 0 and 1, `"t"`, `"true"`, `"0"` |
//! | Int16, Int32, Int64 | `7` | `"7"` |
//! | Float64 | `0.85`; `"NaN"`, `"Infinity"` | `"0.85"`, `"inf"` |
//! | Decimal128(p, s) | `"12.30"`, always s digits | `12.3`, fewer digits; finer ones round half away from zero |
//! | Utf8 | `"text"` | numbers and booleans as their text |
//! | Binary | `"0aff"` | capital digits, `\x` before them |
//! | Date32 | `"2026-03-01"` | |
//! | Timestamp | `"2026-03-01T08:00:00Z"` | everything that `EventTime` reads |

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int16Array, Int32Array,
    Int64Array, RecordBatchOptions, StringArray, TimestampMicrosecondArray,
};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::arrow::record_batch::RecordBatch;
use serde_json::{Map, Number, Value};
use weir_contract::time::SECOND;
use weir_contract::{Code, Error, EventTime, Result};

use crate::base::internal_arrow;
use crate::sql::catalog::{ColumnSpec, TableSpec};

/// A row of a reference table: its columns by name.
pub type JsonRow = Map<String, Value>;

const DAY: i64 = 86_400 * SECOND;

/// The table's columns in DDL order. Every field may be NULL, as in all plans; what may not is checked
/// when a row is read.
pub fn schema_of(table: &TableSpec) -> SchemaRef {
    let field = |c: &ColumnSpec| Field::new(&c.name, c.data_type.clone(), true);
    Arc::new(Schema::new(table.columns.iter().map(field).collect::<Vec<_>>()))
}

/// Whether a reference table can hold a type: scalars only, since a database has to.
pub fn storable(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Boolean
            | DataType::Int16
            | DataType::Int32
            | DataType::Int64
            | DataType::Float64
            | DataType::Decimal128(_, _)
            | DataType::Utf8
            | DataType::Binary
            | DataType::Date32
            | DataType::Timestamp(TimeUnit::Microsecond, None)
    )
}

/// Writes a row in its canonical form: exactly the table's columns, missing ones NULL.
///
/// # Errors
/// `W0106` for a value that its column cannot hold, or a NULL where none may be.
pub fn canonical_row(table: &TableSpec, row: &JsonRow) -> Result<JsonRow> {
    let write = |column: &ColumnSpec| Ok((column.name.clone(), read(table, column, row)?.to_json()));
    table.columns.iter().map(write).collect()
}

/// Rows as one batch, in the order given.
///
/// # Errors
/// As [`canonical_row`].
pub fn rows_to_batch<'a>(
    table: &TableSpec,
    rows: impl IntoIterator<Item = &'a JsonRow>,
) -> Result<RecordBatch> {
    let rows: Vec<&JsonRow> = rows.into_iter().collect();
    let column = |spec: &ColumnSpec| {
        let cells: Vec<Cell> = rows.iter().map(|row| read(table, spec, row)).collect::<Result<_>>()?;
        array(&spec.data_type, cells)
    };
    let columns: Vec<ArrayRef> = table.columns.iter().map(column).collect::<Result<_>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    RecordBatch::try_new_with_options(schema_of(table), columns, &options).map_err(internal_arrow)
}

/// One value; the variant follows from the column's type.
#[derive(Debug, Clone, PartialEq)]
enum Cell {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Decimal(i128, i8),
    Text(String),
    Bytes(Vec<u8>),
    /// Days since the epoch.
    Date(i32),
    Time(i64),
}

fn nullable(table: &TableSpec, column: &ColumnSpec) -> bool {
    column.nullable && !table.primary_key.contains(&column.name)
}

fn read(table: &TableSpec, column: &ColumnSpec, row: &JsonRow) -> Result<Cell> {
    let value = row.get(&column.name).unwrap_or(&Value::Null);
    if value.is_null() {
        if nullable(table, column) {
            return Ok(Cell::Null);
        }
        let what = format!("table {}: column {} is NULL", table.name, column.name);
        return Err(Error::new(Code::OutOfRange, what).expected("a value; the column is NOT NULL"));
    }
    cell(&column.data_type, value).ok_or_else(|| {
        let what = format!("table {}: column {} cannot hold {value}", table.name, column.name);
        Error::new(Code::OutOfRange, what)
            .expected(format!("{}", column.data_type))
            .act("owner of the reference data: correct the row.")
    })
}

fn cell(data_type: &DataType, value: &Value) -> Option<Cell> {
    let text = match value {
        Value::String(text) => text.as_str().into(),
        Value::Number(number) => std::borrow::Cow::from(number.to_string()),
        Value::Bool(flag) => (if *flag { "true" } else { "false" }).into(),
        _ => return None,
    };
    let integer = |low: i64, high: i64| text.trim().parse().ok().filter(|n| (low..=high).contains(n));
    Some(match data_type {
        DataType::Boolean => Cell::Bool(match text.as_ref() {
            "true" | "t" | "1" => true,
            "false" | "f" | "0" => false,
            _ => return None,
        }),
        DataType::Int16 => Cell::Int(integer(i16::MIN.into(), i16::MAX.into())?),
        DataType::Int32 => Cell::Int(integer(i32::MIN.into(), i32::MAX.into())?),
        DataType::Int64 => Cell::Int(integer(i64::MIN, i64::MAX)?),
        DataType::Float64 => Cell::Float(text.trim().parse().ok()?),
        DataType::Decimal128(precision, scale) => Cell::Decimal(decimal(&text, *precision, *scale)?, *scale),
        DataType::Utf8 => Cell::Text(text.into_owned()),
        DataType::Binary => Cell::Bytes(bytes(&text)?),
        DataType::Date32 => {
            let time = EventTime::parse(&text).filter(|_| text.trim().len() == 10)?;
            Cell::Date(i32::try_from(time.0.div_euclid(DAY)).ok()?)
        }
        DataType::Timestamp(TimeUnit::Microsecond, None) if value.is_string() => {
            Cell::Time(EventTime::parse(&text)?.0)
        }
        _ => return None,
    })
}

impl Cell {
    fn to_json(&self) -> Value {
        match self {
            Cell::Null => Value::Null,
            Cell::Bool(flag) => Value::Bool(*flag),
            Cell::Int(number) => Value::from(*number),
            Cell::Float(number) => Number::from_f64(*number).map_or_else(
                || {
                    let text = match *number {
                        n if n.is_nan() => "NaN",
                        n if n > 0.0 => "Infinity",
                        _ => "-Infinity",
                    };
                    Value::from(text)
                },
                Value::Number,
            ),
            Cell::Decimal(units, scale) => Value::from(show_decimal(*units, *scale)),
            Cell::Text(text) => Value::from(text.as_str()),
            Cell::Bytes(bytes) => Value::from(bytes.iter().map(|b| format!("{b:02x}")).collect::<String>()),
            Cell::Date(days) => {
                let shown = EventTime(i64::from(*days) * DAY).to_string();
                Value::from(shown.split('T').next().unwrap_or_default())
            }
            Cell::Time(us) => Value::from(EventTime(*us).to_string()),
        }
    }
}

/// Digits with an optional sign and point, as units of 10^-scale. Finer digits round half away from
/// zero. None where it is no such text or has more than `precision` digits.
fn decimal(text: &str, precision: u8, scale: i8) -> Option<i128> {
    let scale = usize::try_from(scale).ok()?;
    let (negative, digits) = match text.trim().strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.trim().trim_start_matches('+')),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if whole.len() + fraction.len() == 0 || !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    let kept = &fraction[..fraction.len().min(scale)];
    let mut units: i128 = 0;
    for digit in whole.bytes().chain(kept.bytes()).chain(std::iter::repeat_n(b'0', scale - kept.len())) {
        units = units.checked_mul(10)?.checked_add(i128::from(digit - b'0'))?;
    }
    if fraction.as_bytes().get(scale).is_some_and(|digit| *digit >= b'5') {
        units += 1;
    }
    let limit = 10_i128.checked_pow(precision.into())?;
    (units < limit).then_some(if negative { -units } else { units })
}

fn show_decimal(units: i128, scale: i8) -> String {
    let scale = usize::try_from(scale).unwrap_or(0);
    let digits = format!("{:0>width$}", units.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let sign = if units < 0 { "-" } else { "" };
    if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    let hex = text.strip_prefix("\\x").unwrap_or(text);
    let pairs = hex.as_bytes().chunks(2);
    pairs
        .map(|p| u8::from_str_radix(std::str::from_utf8(p).ok()?, 16).ok().filter(|_| p.len() == 2))
        .collect()
}

/// Cells of one column as an array of its type.
fn array(data_type: &DataType, cells: Vec<Cell>) -> Result<ArrayRef> {
    macro_rules! of {
        ($array:ty, $variant:pat => $value:expr) => {
            cells.into_iter().map(|c| if let $variant = c { Some($value) } else { None }).collect::<$array>()
        };
    }
    Ok(match data_type {
        DataType::Boolean => Arc::new(of!(BooleanArray, Cell::Bool(b) => b)),
        // In range: `cell` checked it.
        DataType::Int16 => Arc::new(of!(Int16Array, Cell::Int(n) => n as i16)),
        DataType::Int32 => Arc::new(of!(Int32Array, Cell::Int(n) => n as i32)),
        DataType::Int64 => Arc::new(of!(Int64Array, Cell::Int(n) => n)),
        DataType::Float64 => Arc::new(of!(Float64Array, Cell::Float(n) => n)),
        DataType::Decimal128(precision, scale) => Arc::new(
            of!(Decimal128Array, Cell::Decimal(n, _) => n)
                .with_precision_and_scale(*precision, *scale)
                .map_err(internal_arrow)?,
        ),
        DataType::Utf8 => Arc::new(of!(StringArray, Cell::Text(t) => t)),
        DataType::Binary => Arc::new(of!(BinaryArray, Cell::Bytes(b) => b)),
        DataType::Date32 => Arc::new(of!(Date32Array, Cell::Date(d) => d)),
        DataType::Timestamp(TimeUnit::Microsecond, None) => {
            Arc::new(of!(TimestampMicrosecondArray, Cell::Time(t) => t))
        }
        other => {
            return Err(Error::new(Code::BadColumn, format!("a reference table cannot hold {other}"))
                .expected("a scalar type"));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::Array;
    use datafusion::arrow::compute::concat_batches;
    use serde_json::json;

    fn table() -> TableSpec {
        let file = crate::sql::SourceFile { name: "t.sql".into(), folder: String::new(), text: TABLE.into() };
        crate::sql::read(&[file]).unwrap().tables.remove(0)
    }

    const TABLE: &str = "CREATE TABLE t (
        id TEXT, flag BOOLEAN, small SMALLINT, n INT, big BIGINT, x DOUBLE, price DECIMAL(10, 2),
        raw BYTEA, day DATE, at TIMESTAMP, must INT NOT NULL, PRIMARY KEY (id)
      ) WITH (connector = 'reference')";

    fn row(value: Value) -> JsonRow {
        let Value::Object(row) = value else { panic!("an object") };
        row
    }

    #[test]
    fn two_spellings_of_a_row_have_one_canonical_form() {
        let table = table();
        let loose = row(json!({
            "id": "a", "flag": "t", "small": "-3", "n": "7", "big": "9007199254740993", "x": "0.84999999999999998",
            "price": "12.345", "raw": "\\x0AFF", "day": "2026-03-01", "at": "2026-03-01 09:00:00+01:00", "must": "0"
        }));
        let strict = json!({
            "id": "a", "flag": true, "small": -3, "n": 7, "big": 9_007_199_254_740_993_i64, "x": 0.85,
            "price": "12.35", "raw": "0aff", "day": "2026-03-01", "at": "2026-03-01T08:00:00Z", "must": 0
        });
        let canonical = canonical_row(&table, &loose).unwrap();
        assert_eq!(Value::Object(canonical.clone()), strict);
        assert_eq!(canonical_row(&table, &canonical).unwrap(), canonical, "it is a fixed point");
        let batch = rows_to_batch(&table, [&loose, &canonical]).unwrap();
        assert_eq!(batch.slice(0, 1), batch.slice(1, 1));
    }

    #[test]
    fn nulls_and_the_far_ends_of_types_survive() {
        let table = table();
        let empty = row(json!({"id": "a", "must": 1}));
        let ends = row(json!({
            "id": "b", "flag": false, "small": -32768, "n": 2_147_483_647, "big": i64::MIN, "x": "-Infinity",
            "price": "-99999999.99", "raw": "", "day": "1969-12-31", "at": "1969-12-31T23:59:59.999999Z",
            "must": -1
        }));
        let batch = rows_to_batch(&table, [&empty, &ends]).unwrap();
        for (n, column) in batch.columns().iter().enumerate() {
            let key = n == 0 || n + 1 == batch.num_columns();
            assert_eq!(column.is_null(0), !key, "column {n}");
            assert!(!column.is_null(1), "column {n}");
        }
        assert_eq!(Value::Object(canonical_row(&table, &ends).unwrap()), Value::Object(ends));
    }

    #[test]
    fn what_a_column_cannot_hold_is_refused_by_name() {
        for (column, value) in [
            ("flag", json!("maybe")),
            ("small", json!(40_000)),
            ("n", json!("1.5")),
            ("x", json!("much")),
            ("price", json!("123456789.00")),
            ("price", json!("99999999.995")),
            ("price", json!("1e3")),
            ("raw", json!("\\x0")),
            ("day", json!("2026-02-30")),
            ("at", json!("noon")),
            ("at", json!(5)),
            ("must", Value::Null),
            ("id", Value::Null),
            ("id", json!([1])),
        ] {
            let mut bad = row(json!({"id": "a", "must": 1}));
            bad.insert(column.into(), value.clone());
            let error = rows_to_batch(&table(), [&bad]).unwrap_err();
            assert_eq!(error.code(), Code::OutOfRange, "{column} {value}");
            assert!(error.what().contains(column), "{error}");
        }
    }

    #[test]
    fn chopping_changes_nothing() {
        let table = table();
        let rows: Vec<JsonRow> = (0..130)
            .map(|n| row(json!({"id": format!("{n:03}"), "x": f64::from(n) / 7.0, "must": n})))
            .collect();
        let whole = rows_to_batch(&table, &rows).unwrap();
        for size in [1, 2, 7, 63, 64, 65] {
            let parts: Vec<_> = rows.chunks(size).map(|part| rows_to_batch(&table, part).unwrap()).collect();
            assert_eq!(concat_batches(&schema_of(&table), &parts).unwrap(), whole, "{size}");
        }
        assert_eq!(rows_to_batch(&table, []).unwrap().num_rows(), 0);
    }
}
