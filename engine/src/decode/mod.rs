//! Bytes to rows: rows + rejects = records, and a bad record never fails its neighbours.
//!
//! In:   one [`RawBatch`](crate::source::RawBatch) and which of its records are rows' records; which columns
//!       are read ([`Reads`]).
//! Out:  [`Decoded`]: the columns that are read, one row for each record that is right in every column of the
//!       table, and the rejects.
//! Owns: the formats, what fits a column's type, METADATA and GENERATED columns, NOT NULL.
//!       Not event time (dates, guards, fates): that is `watermark`.
//!
//! D1  A record's outcome depends on its bytes, its envelope and the table's DDL alone: never on its
//!     neighbours, nor on which columns a query reads.
//! D2  JSON is read strictly (RFC 8259), whole batches in one pass: `record` fills one slot a column, and
//!     only a record that is right in every column reaches the `build`ers. Arrow's own JSON decoder is not
//!     used, because it forgives what would be silent damage: missing commas, `1.7` and `"5"` for an
//!     integer, two records that together make one (`tests` holds that these are so, and are refused here).
//!
//! | column | JSON |
//! |---|---|
//! | BOOLEAN | `true`, `false` |
//! | SMALLINT, INT, BIGINT | a number without fraction and exponent, in range |
//! | DOUBLE | a number, finite as a double; `"NaN"`, `"Infinity"`, `"-Infinity"` |
//! | DECIMAL | a number, or a string that holds one, exact at the column's scale |
//! | TEXT | a string |
//! | JSON | any value but null, kept as it is written |
//! | BYTEA | a string, base64 |
//! | DATE | `"2026-03-01"` |
//! | TIMESTAMP | RFC 3339 text (a zone is converted, digits finer than µs are cut), or an integer that counts `timestamp_unit` since 1970; years 0 to 9999 |
//! | arrays, STRUCT | arrays, objects; a field that is missing is NULL |
//!
//! A `raw_bytes` record's value is one BYTEA column as it stands, NULL where the record has no value or no
//! bytes. Headers are text that means what the same JSON value would (without quotes).
//!
//! `null` is NULL everywhere. A column that is missing is NULL. A key given twice, of a column or of a
//! STRUCT's field, is a reject; unknown keys are skipped, but what stands there must be JSON.

mod build;
mod decoder;
mod envelope;
mod generated;
mod kind;
mod reads;
mod record;
mod rows;
mod scan;

pub use decoder::{Decoded, Decoder};
pub use kind::{TIME_MAX, TIME_MIN};
pub use reads::{Reads, narrowed};

use weir_contract::Code;

/// Why a record is no row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    pub code: Code,
    pub reason: String,
}

impl Reject {
    pub fn new(code: Code, reason: impl Into<String>) -> Self {
        Self { code, reason: reason.into() }
    }
}

#[cfg(test)]
mod tests;
