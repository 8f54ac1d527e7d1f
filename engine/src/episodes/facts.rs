//! Typed views of the columns that have a meaning, over one batch.
//!
//! In:   a batch of a rule's visible columns.
//! Out:  reads by row without allocation.

use datafusion::arrow::array::types::TimestampMicrosecondType;
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, LargeStringArray, StringArray, StringViewArray,
    TimestampMicrosecondArray,
};
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::record_batch::RecordBatch;
use weir_contract::{Code, Error, Result};

use crate::rules::{Rule, RuleColumns};

/// A text column, or none.
pub enum Text<'a> {
    Absent,
    Utf8(&'a StringArray),
    Large(&'a LargeStringArray),
    View(&'a StringViewArray),
}

impl<'a> Text<'a> {
    fn bind(batch: &'a RecordBatch, column: Option<usize>) -> Result<Self> {
        let Some(array) = column.map(|c| batch.column(c)) else { return Ok(Text::Absent) };
        Ok(match array.data_type() {
            DataType::Null => Text::Absent,
            DataType::Utf8 => Text::Utf8(array.as_string()),
            DataType::LargeUtf8 => Text::Large(array.as_string()),
            DataType::Utf8View => Text::View(array.as_string_view()),
            _ => return Err(wrong(array, "TEXT")),
        })
    }

    pub fn get(&self, row: usize) -> Option<&'a str> {
        match self {
            Text::Absent => None,
            Text::Utf8(a) => a.is_valid(row).then(|| a.value(row)),
            Text::Large(a) => a.is_valid(row).then(|| a.value(row)),
            Text::View(a) => a.is_valid(row).then(|| a.value(row)),
        }
    }
}

fn wrong(array: &ArrayRef, expected: &str) -> Error {
    Error::new(Code::Internal, format!("a column of a rule arrived as {}", array.data_type()))
        .expected(expected)
}

fn boolean(batch: &RecordBatch, column: Option<usize>) -> Result<Option<&BooleanArray>> {
    let Some(array) = column.map(|c| batch.column(c)) else { return Ok(None) };
    array.as_boolean_opt().map(Some).ok_or_else(|| wrong(array, "BOOLEAN"))
}

/// A batch of a rule's visible columns, bound to their meanings.
pub struct Facts<'a> {
    pub batch: &'a RecordBatch,
    pub columns: &'a RuleColumns,
    pub times: &'a TimestampMicrosecondArray,
    pub warehouse: Text<'a>,
    pub unit_id: Text<'a>,
    severity: Text<'a>,
    default_severity: Option<&'a str>,
    pub recommendation: Text<'a>,
    pub quantity_unit: Text<'a>,
    pub reason: Text<'a>,
    fire: Option<&'a BooleanArray>,
    clear: Clear<'a>,
}

enum Clear<'a> {
    /// No column: `fire IS FALSE`.
    Default,
    Unknown,
    Column(&'a BooleanArray),
}

impl<'a> Facts<'a> {
    /// `columns` are the rule's, projected to the batch.
    pub fn bind(rule: &'a Rule, columns: &'a RuleColumns, batch: &'a RecordBatch) -> Result<Self> {
        let times = batch.column(columns.event_time);
        let clear = match columns.clear {
            None => Clear::Default,
            Some(c) if batch.column(c).data_type() == &DataType::Null => Clear::Unknown,
            c => boolean(batch, c)?.map_or(Clear::Default, Clear::Column),
        };
        Ok(Facts {
            batch,
            columns,
            times: times
                .as_primitive_opt::<TimestampMicrosecondType>()
                .ok_or_else(|| wrong(times, "Timestamp(Microsecond)"))?,
            warehouse: Text::bind(batch, Some(columns.warehouse))?,
            unit_id: Text::bind(batch, columns.unit_id)?,
            severity: Text::bind(batch, columns.severity)?,
            default_severity: rule.options.severity.as_deref(),
            recommendation: Text::bind(batch, columns.recommendation)?,
            quantity_unit: Text::bind(batch, columns.quantity_unit)?,
            reason: Text::bind(batch, columns.reason)?,
            fire: boolean(batch, columns.fire)?,
            clear,
        })
    }

    pub fn fire(&self, row: usize) -> Option<bool> {
        self.fire.filter(|a| a.is_valid(row)).map(|a| a.value(row))
    }

    /// The rule's own `clear`; without that column, whether `fire` is false.
    pub fn clear(&self, row: usize) -> Option<bool> {
        match self.clear {
            Clear::Default => Some(self.fire(row) == Some(false)),
            Clear::Unknown => None,
            Clear::Column(a) => a.is_valid(row).then(|| a.value(row)),
        }
    }

    /// The row's own severity, else the rule's.
    pub fn severity(&self, row: usize) -> Option<&'a str> {
        self.severity.get(row).or(self.default_severity)
    }
}
