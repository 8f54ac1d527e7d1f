//! One record of the log in memory, and records as a source's batch.

use datafusion::arrow::array::{BinaryArray, BinaryBuilder};
use weir_contract::event::Id;
use weir_contract::wire;

use crate::source::{Header, NO_APPEND, Payload, RawBatch};

/// One record. Build it by `MemoryRecord::value(bytes).at(µs).key(k).header(name, value)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryRecord {
    /// Microseconds, whole milliseconds; [`NO_APPEND`] where no append time can be trusted.
    pub append_us: i64,
    pub key: Option<Vec<u8>>,
    pub headers: Vec<(String, Vec<u8>)>,
    /// None is a tombstone.
    pub value: Option<Vec<u8>>,
}

impl MemoryRecord {
    pub fn value(value: impl Into<Vec<u8>>) -> Self {
        Self { append_us: NO_APPEND, key: None, headers: Vec::new(), value: Some(value.into()) }
    }

    /// Sets the append time, truncated to whole milliseconds.
    #[must_use]
    pub fn at(mut self, append_us: i64) -> Self {
        self.append_us = append_us.div_euclid(1_000) * 1_000;
        self
    }

    #[must_use]
    pub fn key(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.key = Some(key.into());
        self
    }

    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The record's `weir-id`, where it has one.
    pub fn id(&self) -> Option<Id> {
        let (_, value) = self.headers.iter().find(|(name, _)| name == wire::ID)?;
        Id::parse(std::str::from_utf8(value).ok()?)
    }
}

/// The records as one batch; offsets ascend.
pub(super) fn batch_of(records: &[(i64, &MemoryRecord)]) -> RawBatch {
    let values: BinaryArray = records.iter().map(|(_, r)| r.value.as_deref()).collect();
    let mut keys = BinaryBuilder::new();
    records.iter().for_each(|(_, r)| keys.append_option(r.key.as_deref()));
    let headers = records.iter().enumerate().flat_map(|(row, (_, record))| {
        let of = move |(name, value): &(String, Vec<u8>)| Header {
            row: row as u32,
            name: name.clone(),
            value: value.clone(),
        };
        record.headers.iter().map(of)
    });
    RawBatch {
        offsets: records.iter().map(|(offset, _)| *offset).collect(),
        append_us: records.iter().map(|(_, r)| r.append_us).collect(),
        payload: Payload::Bytes(values),
        keys: records.iter().any(|(_, r)| r.key.is_some()).then(|| keys.finish()),
        headers: headers.collect(),
    }
}
