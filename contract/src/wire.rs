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

/// Over HTTP each header of a record is one of the request, its name behind this, spelled by [`http_name`].
pub const HTTP_PREFIX: &str = "weir-header-";

/// How HTTP spells the name of a record's header: `event_id` is `event-id`, since proxies (nginx by default) drop
/// header names with anything but letters, digits and hyphens.
///
/// The heartbeat's name is its own spelling. None for a name that HTTP cannot carry: one with a character other
/// than a-z, 0-9 and `_`.
pub fn http_name(name: &str) -> Option<String> {
    if name == HEARTBEAT {
        return Some(name.into());
    }
    let carried = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    let good = !name.is_empty() && name.bytes().all(carried);
    let spelled = name.replace('_', "-");
    (good && !spelled.starts_with(RESERVED)).then_some(spelled)
}

/// The name that [`http_name`] spelled so, in lower case; none for a spelling that it never gives.
pub fn header_name(spelled: &str) -> Option<String> {
    if spelled == HEARTBEAT {
        return Some(spelled.into());
    }
    let carried = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let good = !spelled.is_empty() && spelled.bytes().all(carried);
    (good && !spelled.starts_with(RESERVED)).then(|| spelled.replace('-', "_"))
}

/// Beginning of the headers that weir gives records itself; nobody else may.
const RESERVED: &str = "weir-";

/// Refuses a version that this build does not know. No header means version 1.
pub fn check_version(header: Option<&[u8]>) -> Result<u32> {
    let Some(bytes) = header else { return Ok(EVENT_VERSION) };
    match std::str::from_utf8(bytes).ok().and_then(|t| t.parse().ok()) {
        Some(version) if version == EVENT_VERSION => Ok(version),
        _ => Err(Error::new(Code::BadRecord, format!("{VERSION} is {:?}", String::from_utf8_lossy(bytes)))
            .expected(EVENT_VERSION.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_that_http_carries_comes_back() {
        for name in ["event_id", "station", "_a__b_", "clock_synced", "x1", HEARTBEAT, "weir"] {
            let spelled = http_name(name).unwrap();
            assert!(!spelled.contains('_'), "{spelled}");
            assert_eq!(header_name(&spelled).as_deref(), Some(name), "{spelled}");
        }
        for name in ["", "Event", "a-b", "a.b", "é", ID, VERSION, "weir_id"] {
            assert_eq!(http_name(name), None, "{name}");
        }
        for spelled in ["", "event_id", "a.b", ID, VERSION, "weir-header-x", "weir-heartbeat-x"] {
            assert_eq!(header_name(spelled), None, "{spelled}");
        }
    }
}
