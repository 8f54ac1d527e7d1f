//! What a script declares: tables, views, rules, inserts, each with its place.

use std::collections::BTreeMap;

use datafusion::arrow::datatypes::DataType;
use datafusion::sql::sqlparser::ast;
use weir_contract::{Place, Span};

/// Default of the table option `max_ahead`.
pub const MAX_AHEAD_DEFAULT: Span = 5 * 60 * weir_contract::time::SECOND;
/// Default of the table option `max_record_bytes`; Kafka's own default for one message.
pub const MAX_RECORD_BYTES_DEFAULT: usize = 1 << 20;

/// Table option: what an integer in a `TIMESTAMP` column counts (`us`, the default, `ms` or `s`). It stands
/// in [`TableSpec::options`].
pub const TIMESTAMP_UNIT: &str = "timestamp_unit";

/// A column as declared.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnSpec {
    pub name: String,
    /// `TIMESTAMP` is `Timestamp(Microsecond, None)`, `TEXT` is `Utf8`, `DOUBLE` is `Float64`.
    pub data_type: DataType,
    pub nullable: bool,
    pub source: ColumnSource,
    pub place: Place,
}

/// Where a column's value comes from.
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::large_enum_variant)] // one per declared column, never on a data path
pub enum ColumnSource {
    /// The record's value.
    Value,
    /// The record's value, any JSON, kept as text (`JSON` columns; the type is `Utf8`).
    Json,
    /// The record's envelope.
    Metadata(MetadataKey),
    /// An expression over the table's other columns.
    Generated(ast::Expr),
}

/// `METADATA FROM '…'`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MetadataKey {
    /// `offset_id` or `offset`: BIGINT.
    Offset,
    /// `partition`: BIGINT or INT.
    Partition,
    /// `topic`: TEXT.
    Topic,
    /// `timestamp`: the append time, TIMESTAMP.
    Timestamp,
    /// `key`: TEXT or BYTEA.
    Key,
    /// `header.NAME`: text, cast to the column's type.
    Header(String),
}

/// How the record's append time is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendTime {
    /// By the broker (LogAppendTime) or the embedded log.
    Broker,
    /// By the producer's clock: the simulator's.
    Producer,
    /// Not at all: guard off.
    Untrusted,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Json,
    Parquet,
    /// The whole value is one BYTEA column; everything else stands in headers.
    RawBytes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableKind {
    Source,
    Sink,
    /// Versioned table in the reference database.
    Reference,
    /// Constant rows, given by `INSERT INTO … VALUES` in the script.
    Memory,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watermark {
    pub column: String,
    /// Subtracted from the event time; not negative.
    pub lateness: Span,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dedup {
    pub column: String,
    pub within: Span,
}

/// A table as declared, its options read and checked.
#[derive(Debug, Clone, PartialEq)]
pub struct TableSpec {
    pub name: String,
    pub columns: Vec<ColumnSpec>,
    pub primary_key: Vec<String>,
    pub partitioned_by: Vec<String>,
    pub watermark: Option<Watermark>,
    pub kind: TableKind,
    /// Empty where `WITH` has none: `WEIR_LOG` decides (semantics 11).
    pub connector: String,
    pub format: Format,
    pub idle_after: Option<Span>,
    pub max_ahead: Span,
    /// None where the script does not say; the connector's default then holds.
    pub append_time: Option<AppendTime>,
    pub dedup: Option<Dedup>,
    pub max_record_bytes: usize,
    /// Options that only the connector understands, as text, names in lower case; and [`TIMESTAMP_UNIT`].
    pub options: BTreeMap<String, String>,
    /// Constant rows of a memory table.
    pub rows: Vec<Vec<ast::Expr>>,
    pub place: Place,
}

/// `kind = 'event' | 'condition'`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleKind {
    Event,
    Condition,
}

/// The options of `CREATE RULE`, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleOptions {
    pub kind: RuleKind,
    /// Key columns in the order of the option, without `warehouse`.
    pub key: Vec<String>,
    pub severity: Option<String>,
    pub fire_after: Span,
    pub clear_after: Span,
    pub no_data: Option<Span>,
    pub owner: Option<String>,
    pub runbook: Option<String>,
    pub explain: Option<String>,
    pub enabled: bool,
    /// `suppress`, `renotify`, `inhibited_by`, `shadow`: checked and kept, not active yet.
    pub later: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct RuleSpec {
    pub name: String,
    pub options: RuleOptions,
    pub query: ast::Query,
    /// The statement's text, its version's source.
    pub text: String,
    /// Folder of the rule's file, last part only: the event topic's name. Empty for a single file.
    pub folder: String,
    pub place: Place,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ViewSpec {
    pub name: String,
    pub query: ast::Query,
    /// The statement's text without the semicolon.
    pub text: String,
    pub place: Place,
}

#[derive(Debug, Clone, PartialEq)]
pub struct InsertSpec {
    pub table: String,
    pub query: ast::Query,
    pub text: String,
    pub place: Place,
}

/// A `SELECT` that stands by itself; its rows go to standard output.
#[derive(Debug, Clone, PartialEq)]
pub struct QuerySpec {
    pub query: ast::Query,
    pub text: String,
    pub place: Place,
}

/// A whole program: everything its scripts declare, names unique over tables, views and rules.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Script {
    pub tables: Vec<TableSpec>,
    pub views: Vec<ViewSpec>,
    pub rules: Vec<RuleSpec>,
    pub inserts: Vec<InsertSpec>,
    /// Plain queries, each as if it were `INSERT INTO stdout`.
    pub queries: Vec<QuerySpec>,
}
