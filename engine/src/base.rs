//! What all stages share: the shape of a stream, frontiers, and how foreign errors become ours.

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use weir_contract::{Code, Error};

/// Event time that no row can reach: the frontier of an ended bounded input.
pub const FOREVER: i64 = i64::MAX;
/// The frontier of an input about which nothing is known yet.
pub const NOTHING: i64 = i64::MIN;

/// A frontier moved by a span; `NOTHING` and `FOREVER` stay what they are.
pub fn shift(frontier: i64, by: i64) -> i64 {
    match frontier {
        NOTHING | FOREVER => frontier,
        f => f.saturating_add(by).clamp(NOTHING + 1, FOREVER - 1),
    }
}

/// The shape of a stream between two operators.
///
/// `schema` has the columns that SQL sees, then hidden ones (names start with `__`). Hidden columns
/// carry the row time and the canonical order where no visible column does.
#[derive(Debug, Clone)]
pub struct StreamSchema {
    pub schema: SchemaRef,
    /// Columns that are event time, `Timestamp(Microsecond, None)`. Every vector of frontiers is
    /// parallel to this one. A frontier F of a column says: no row with a value < F will come.
    pub times: Vec<usize>,
    /// Which entry of `times` is the row time.
    pub row_time: usize,
    /// Columns that, compared in this order, ascending, NULLs first, give the canonical order.
    pub order: Vec<usize>,
    /// Columns that hold the source's partition key; empty where there is none any more.
    pub partition_key: Vec<usize>,
}

impl StreamSchema {
    /// Column index of the row time.
    pub fn row_time_column(&self) -> usize {
        self.times[self.row_time]
    }
}

/// A DataFusion error inside the engine, after planning: our bug or a refused expression.
pub fn internal(error: DataFusionError) -> Error {
    Error::new(Code::Internal, error.strip_backtrace())
}

/// An arrow error inside the engine.
pub fn internal_arrow(error: ArrowError) -> Error {
    Error::new(Code::Internal, error.to_string())
}
