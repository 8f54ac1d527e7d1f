//! Records that did not become processed rows, as they go to `{table}.late` and `{table}.rejected`.
//!
//! In:   a record's position, its bytes, and why. Out: one JSON object each, with a deterministic id.

use std::sync::Arc;

use base64::Engine;
use serde_json::{Map, Value};
use weir_contract::event::Id;
use weir_contract::{Code, EventTime};

use crate::base::NOTHING;
use crate::sink::OutRecord;
use crate::source::NO_APPEND;

/// Bytes of a record that are kept; what is cut is told by `size`. An eyeballed bound: a JSON record of the
/// floor has under 1 KiB, and a reject of the largest size must not fill the side topic.
pub const SIDE_BYTES_MAX: usize = 64 << 10;

/// Why a record stands aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SideWhy {
    /// Its event time is below the partition's watermark before it; both in microseconds.
    Late {
        event_time: i64,
        watermark: i64,
    },
    Rejected {
        code: Code,
        reason: String,
    },
}

/// One record of a side stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SideRecord {
    pub table: Arc<str>,
    pub partition: u32,
    pub offset: i64,
    /// Microseconds, or `NO_APPEND`.
    pub append_us: i64,
    pub why: SideWhy,
    /// The record's value, at most [`SIDE_BYTES_MAX`] of it. A row of a columnar file stands as JSON.
    pub bytes: Vec<u8>,
    /// Bytes of the whole value.
    pub size: usize,
    /// What is known of the record beside its bytes, where it was a row already.
    pub row: Option<Value>,
    /// Which statement refused it, where one did: several may look at the same record.
    pub statement: Option<Arc<str>>,
}

impl SideRecord {
    /// Deterministic: the table and the position, and the statement where one refused it.
    pub fn id(&self) -> Id {
        let of = [Value::from(self.table.as_ref()), Value::from(self.partition), Value::from(self.offset)];
        Id::of(&of.into_iter().chain(self.statement.as_deref().map(Value::from)).collect())
    }

    /// The record as it is written; keys of the object are sorted.
    pub fn record(&self) -> OutRecord {
        let time = |us: i64| match us {
            NOTHING => Value::Null,
            us => Value::from(EventTime(us).to_string()),
        };
        let mut object = Map::new();
        object.insert("table".into(), Value::from(self.table.as_ref()));
        object.insert("partition".into(), Value::from(self.partition));
        object.insert("offset".into(), Value::from(self.offset));
        object.insert("size".into(), Value::from(self.size));
        let base64 = base64::engine::general_purpose::STANDARD.encode(&self.bytes);
        object.insert("bytes".into(), Value::from(base64));
        if let Some(row) = &self.row {
            object.insert("row".into(), row.clone());
        }
        match &self.why {
            SideWhy::Late { event_time, watermark } => {
                object.insert("event_time".into(), time(*event_time));
                object.insert("watermark".into(), time(*watermark));
            }
            SideWhy::Rejected { code, reason } => {
                object.insert("code".into(), Value::from(code.to_string()));
                object.insert("reason".into(), Value::from(reason.as_str()));
            }
        }
        OutRecord {
            id: Some(self.id()),
            partition: None,
            key: format!("{}/{}", self.table, self.partition).into_bytes(),
            value: Value::Object(object).to_string().into_bytes(),
            headers: Vec::new(),
            time_us: (self.append_us != NO_APPEND).then_some(self.append_us),
        }
    }
}
