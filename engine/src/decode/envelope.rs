//! What stands around a record's value: METADATA columns.
//!
//! In:   a batch and the index of a record. Out: slots of the METADATA columns.
//! Owns: which fact is meant; its types were checked with the DDL. A header given twice counts last.

use datafusion::arrow::array::Array;

use super::Reject;
use super::kind::{Kind, Slot};
use super::scan::Text;
use crate::source::{Header, NO_APPEND, RawBatch};
use crate::sql::catalog::MetadataKey;

/// The headers of one record of a batch.
pub(super) fn headers(raw: &RawBatch, row: u32) -> &[Header] {
    let from = raw.headers.partition_point(|h| h.row < row);
    let len = raw.headers[from..].partition_point(|h| h.row == row);
    &raw.headers[from..from + len]
}

/// Where a batch came from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin<'a> {
    pub raw: &'a RawBatch,
    pub topic: &'a str,
    pub partition: u32,
    /// False: the table says that append times are not to be trusted.
    pub trusted: bool,
}

impl<'a> Origin<'a> {
    /// The value of one METADATA column for one record.
    pub fn slot(&self, key: &MetadataKey, kind: &Kind, row: u32) -> Result<Slot<'a>, Reject> {
        let index = row as usize;
        match key {
            MetadataKey::Offset => Ok(self.raw.offsets.get(index).map_or(Slot::Null, |o| Slot::Int(*o))),
            MetadataKey::Partition => Ok(Slot::Int(self.partition.into())),
            MetadataKey::Topic => Ok(Slot::Text(Text { raw: self.topic, escaped: false })),
            MetadataKey::Timestamp => match self.raw.append_us.get(index) {
                Some(us) if *us != NO_APPEND && self.trusted => Ok(Slot::Int(*us)),
                _ => Ok(Slot::Null),
            },
            MetadataKey::Key => match &self.raw.keys {
                Some(keys) if keys.is_valid(index) => kind.header(keys.value(index)),
                _ => Ok(Slot::Null),
            },
            MetadataKey::Header(name) => {
                match headers(self.raw, row).iter().rev().find(|h| h.name == *name) {
                    Some(header) => kind.header(&header.value),
                    None => Ok(Slot::Null),
                }
            }
        }
    }
}
