//! Names and headers that travel beside the bytes of a record.
//!
//! A record's value is the row in the table's format. What is not a column stands in headers.

use crate::code::Code;
use crate::error::{Error, Result};

/// Version of the event contract, sent as header `weir-version` with each event.
pub const EVENT_VERSION: u32 = 1;
/// A record with this header is a heartbeat: its value is ignored, the header is RFC 3339.
pub const HEARTBEAT: &str = "weir-heartbeat";
/// Deterministic id of a record that weir wrote.
pub const ID: &str = "weir-id";
/// Header with the version of the contract.
pub const VERSION: &str = "weir-version";

/// Refuses a version that this build does not know. No header means version 1.
pub fn check_version(header: Option<&[u8]>) -> Result<u32> {
    let Some(bytes) = header else { return Ok(EVENT_VERSION) };
    match std::str::from_utf8(bytes).ok().and_then(|t| t.parse().ok()) {
        Some(version) if version == EVENT_VERSION => Ok(version),
        _ => Err(Error::new(Code::BadRecord, format!("{VERSION} is {:?}", String::from_utf8_lossy(bytes)))
            .expected(EVENT_VERSION.to_string())),
    }
}
