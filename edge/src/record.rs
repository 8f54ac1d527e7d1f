//! A record as the spool keeps it, and as it is sent.
//!
//! In:   what a source saw, and when by the device's clocks.
//! Out:  [`Outgoing`]: key, headers and value of a log's record, with the event time written in.
//! Owns: the envelope in the spool. The event time is written at the sending end, because a device
//!       without a clock of its own learns the time only after it saw things.
//!
//! E1  The same envelope and the same stamps give the same bytes, so a record sent twice is equal.

use serde_json::{Map, Value};
use weir_contract::{Code, Error, EventTime, Result};

use crate::time::{DeviceTime, Stamps};

/// Header of a frame whose bytes are in a store, or have to go there before the record is sent.
pub const FRAME_URI: &str = "frame_uri";

const VERSION: u8 = 1;
const SYNCED: u8 = 1;
const IN_HEADER: u8 = 2;
const HEAD_BYTES: usize = 3 + 16 + 8 + 8;

/// Where the event time is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeIn {
    /// As the last member of the JSON object that is the value.
    Json,
    /// As a header; the value is bytes.
    Header,
}

/// A record before it is spooled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    pub time: DeviceTime,
    /// Column of the event time.
    pub time_name: &'static str,
    pub time_in: TimeIn,
    /// A JSON object without its event time, or bytes.
    pub value: Vec<u8>,
    pub headers: Vec<(String, Vec<u8>)>,
}

impl Draft {
    /// A JSON record; `fields` in the order given.
    pub fn json(time: DeviceTime, time_name: &'static str, fields: &Map<String, Value>) -> Self {
        let value = serde_json::to_vec(fields).unwrap_or_default();
        Self { time, time_name, time_in: TimeIn::Json, value, headers: Vec::new() }
    }

    pub fn bytes(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(n, v)| n.len() + v.len() + 6).sum();
        HEAD_BYTES + self.time_name.len() + self.value.len() + headers
    }

    /// The value as the spool keeps it.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD_BYTES + self.time_name.len() + self.value.len());
        let mut flags = 0;
        if self.time.synced {
            flags |= SYNCED;
        }
        if self.time_in == TimeIn::Header {
            flags |= IN_HEADER;
        }
        bytes.extend_from_slice(&[VERSION, flags, self.time_name.len() as u8]);
        bytes.extend_from_slice(&self.time.boot);
        bytes.extend_from_slice(&self.time.wall_us.to_le_bytes());
        bytes.extend_from_slice(&self.time.boot_us.to_le_bytes());
        bytes.extend_from_slice(self.time_name.as_bytes());
        bytes.extend_from_slice(&self.value);
        bytes
    }
}

/// A record out of the spool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// In its lane.
    pub offset: i64,
    pub key: Vec<u8>,
    pub headers: Vec<(String, Vec<u8>)>,
    pub envelope: Vec<u8>,
}

/// A record as a log gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    pub offset: i64,
    pub time_us: i64,
    pub key: Vec<u8>,
    pub headers: Vec<(String, Vec<u8>)>,
    pub value: Vec<u8>,
}

impl Outgoing {
    pub fn bytes(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(n, v)| n.len() + v.len()).sum();
        self.key.len() + self.value.len() + headers
    }
}

/// The parts of an envelope.
pub struct Envelope<'a> {
    pub time: DeviceTime,
    time_name: &'a str,
    time_in: TimeIn,
    value: &'a [u8],
}

impl<'a> Envelope<'a> {
    /// # Errors
    /// `W0502` where the bytes are not an envelope of this version: their CRC was good, so another
    /// version wrote them.
    pub fn parse(bytes: &'a [u8]) -> Result<Self> {
        Self::read(bytes).ok_or_else(|| {
            let version = bytes.first().copied().unwrap_or_default();
            Error::new(Code::Damaged, format!("a spooled record has an envelope of version {version}"))
                .expected(VERSION.to_string())
        })
    }

    fn read(bytes: &'a [u8]) -> Option<Self> {
        let name_bytes = usize::from(*bytes.get(2)?);
        let number = |at: usize| Some(i64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        let time = DeviceTime {
            boot: bytes.get(3..19)?.try_into().ok()?,
            wall_us: number(19)?,
            boot_us: number(27)?,
            synced: bytes[1] & SYNCED != 0,
        };
        let name = bytes.get(HEAD_BYTES..HEAD_BYTES + name_bytes)?;
        let sound = bytes[0] == VERSION && bytes[1] & !(SYNCED | IN_HEADER) == 0;
        sound.then_some(())?;
        Some(Self {
            time,
            time_name: std::str::from_utf8(name).ok()?,
            time_in: if bytes[1] & IN_HEADER != 0 { TimeIn::Header } else { TimeIn::Json },
            value: &bytes[HEAD_BYTES + name_bytes..],
        })
    }

    /// The record to send, with its event time by the device's stamps.
    pub fn finish(&self, stored: &Stored, stamps: &Stamps) -> Outgoing {
        let (time_us, known) = stamps.event_time(&self.time);
        let text = EventTime(time_us).to_string();
        let mut headers = stored.headers.clone();
        let value = match self.time_in {
            TimeIn::Header => {
                headers.push((self.time_name.to_owned(), text.into_bytes()));
                if !known {
                    headers.push(("clock_synced".to_owned(), b"false".to_vec()));
                }
                self.value.to_vec()
            }
            TimeIn::Json => {
                let mut value = Vec::with_capacity(self.value.len() + 64);
                value.extend_from_slice(self.value.strip_suffix(b"}").unwrap_or(self.value));
                if self.value.len() > 2 {
                    value.push(b',');
                }
                value.extend_from_slice(format!("\"{}\":\"{text}\"", self.time_name).as_bytes());
                if !known && !contains(self.value, b"\"clock_synced\"") {
                    value.extend_from_slice(b",\"clock_synced\":false");
                }
                value.push(b'}');
                value
            }
        };
        Outgoing { offset: stored.offset, time_us, key: stored.key.clone(), headers, value }
    }
}

fn contains(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|w| w == word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Stamp;

    fn time(synced: bool) -> DeviceTime {
        DeviceTime { boot: [7; 16], wall_us: 5_000_000, boot_us: 2_000_000, synced }
    }

    fn stored(draft: &Draft) -> Stored {
        let envelope = draft.encode();
        Stored { offset: 3, key: b"W1".to_vec(), headers: draft.headers.clone(), envelope }
    }

    fn sent(draft: &Draft, stamps: &Stamps) -> Outgoing {
        let stored = stored(draft);
        Envelope::parse(&stored.envelope).unwrap().finish(&stored, stamps)
    }

    #[test]
    fn a_json_record_gets_its_time_last() {
        let mut fields = Map::new();
        fields.insert("scan_id".into(), "s1".into());
        let draft = Draft::json(time(true), "scanned_at", &fields);
        let out = sent(&draft, &Stamps::default());
        assert_eq!(out.value, br#"{"scan_id":"s1","scanned_at":"1970-01-01T00:00:05Z"}"#);
        assert_eq!((out.time_us, out.offset), (5_000_000, 3));
        let empty = Draft::json(time(true), "t", &Map::new());
        assert_eq!(sent(&empty, &Stamps::default()).value, br#"{"t":"1970-01-01T00:00:05Z"}"#);
    }

    #[test]
    fn a_record_from_before_the_first_sync_is_stamped_again() {
        let draft = Draft::json(time(false), "scanned_at", &Map::new());
        let guessed = sent(&draft, &Stamps::default());
        assert_eq!(guessed.value, br#"{"scanned_at":"1970-01-01T00:00:05Z","clock_synced":false}"#);
        let mut stamps = Stamps::default();
        stamps.add(Stamp { boot: [7; 16], offset_us: 1_000_000_000 });
        let known = sent(&draft, &stamps);
        assert_eq!(known.value, br#"{"scanned_at":"1970-01-01T00:16:42Z"}"#);
        assert_eq!(known.time_us, 1_002_000_000);
    }

    #[test]
    fn frames_have_their_time_in_a_header() {
        let draft = Draft {
            time: time(true),
            time_name: "captured_at",
            time_in: TimeIn::Header,
            value: vec![0xff, 0xd8],
            headers: vec![("station".into(), b"P1".to_vec())],
        };
        let out = sent(&draft, &Stamps::default());
        assert_eq!(out.value, [0xff, 0xd8]);
        assert_eq!(out.headers[1], ("captured_at".to_owned(), b"1970-01-01T00:00:05Z".to_vec()));
    }

    #[test]
    fn other_versions_are_refused_not_guessed() {
        let mut bytes = Draft::json(time(true), "t", &Map::new()).encode();
        for len in 0..HEAD_BYTES {
            assert!(Envelope::parse(&bytes[..len]).is_err());
        }
        bytes[0] = 2;
        assert_eq!(Envelope::parse(&bytes).err().map(|e| e.code()), Some(Code::Damaged));
    }
}
