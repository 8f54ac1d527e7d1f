//! The control log: everything that people or the wall clock decide, written before it has effect.

use serde::{Deserialize, Serialize};
use weir_contract::{Code, Error, Result};

/// One control record. Times are microseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Control {
    /// The program that wrote this log: name and version of its text.
    Program { name: String, version: String },
    /// Members of a source: first offset and starting watermark of each (`None`: nothing known).
    Partitions { table: String, members: Vec<Member> },
    /// End offsets of a bounded read, fixed at the start.
    Ends { table: String, ends: Vec<(u32, i64)> },
    /// A silent partition's watermark rises, at this offset.
    Idle { table: String, partition: u32, offset: i64, watermark: i64 },
    /// Rows of reference tables change, all at `effective_at`.
    Reference { change: i64, asked_at: Option<i64>, effective_at: Option<i64>, changes: Vec<RowChange> },
    /// A task's own word on when change `change` takes effect for it.
    Effective { change: i64, task: u32, effective_at: i64 },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    pub partition: u32,
    pub first_offset: i64,
    pub watermark: Option<i64>,
}

/// A row of a reference table, whole, before and after. Both are JSON objects of its columns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowChange {
    pub table: String,
    pub before: Option<serde_json::Map<String, serde_json::Value>>,
    pub after: Option<serde_json::Map<String, serde_json::Value>>,
}

/// One partition of the control log. Partition 0 is shared (what people decide, any process
/// appends); partition 1 + p belongs to task p's fenced owner.
pub trait ControlLog: Send + Sync {
    /// Durable when it returns; gives the record's offset.
    fn append(&self, partition: u32, record: &Control) -> Result<i64>;

    /// Records from an offset to the end now, and that end.
    fn read(&self, partition: u32, from: i64) -> Result<(Vec<(i64, Control)>, i64)>;

    fn partitions(&self) -> Result<u32>;
}

impl Control {
    /// The record's bytes in every control log: one JSON object.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|e| Error::new(Code::Internal, e.to_string()))
    }

    /// # Errors
    /// `W0306` where the bytes are not a control record of this build.
    pub fn from_bytes(bytes: &[u8]) -> Result<Control> {
        serde_json::from_slice(bytes).map_err(|e| Error::new(Code::ControlLog, e.to_string()))
    }
}
