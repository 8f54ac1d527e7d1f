//! A frame: the records of one append as bytes, under one CRC32C.
//!
//! Little-endian. Head: magic, crc (over all that follows), length of the body, count, first offset,
//! offset up to which the log was durable when the frame was written. Body: the records, each
//! `append_ms i64, key u32, value u32, headers u32` (lengths; `u32::MAX` is NULL), key, value, headers
//! (`u16` name length, `u32` value length, name, value).

use weir_contract::{Code, Error, Result};

use crate::batch::{Batch, RecordHeader};

pub(crate) const HEAD_BYTES: usize = 32;
const MAGIC: [u8; 4] = *b"WSF1";
const RECORD_HEAD_BYTES: usize = 20;
const NULL: u32 = u32::MAX;

/// An append is cut into frames of about this size, so that a reader holds no more at once.
pub const FRAME_BYTES: usize = 4 << 20;
/// Largest record, all parts together. `W0104` above.
pub const RECORD_BYTES_MAX: usize = 256 << 20;

/// A record to append.
#[derive(Debug, Clone, Copy, Default)]
pub struct Record<'a> {
    /// Milliseconds since the Unix epoch.
    pub append_ms: i64,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: &'a [(String, Vec<u8>)],
}

/// The head of a frame, as read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    crc: u32,
    pub body_bytes: usize,
    pub count: u32,
    pub base: i64,
    pub synced: i64,
}

impl Head {
    pub fn next(&self) -> i64 {
        self.base + i64::from(self.count)
    }

    pub fn frame_bytes(&self) -> usize {
        HEAD_BYTES + self.body_bytes
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn i64_at(bytes: &[u8], at: usize) -> Option<i64> {
    Some(i64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// None where these bytes cannot be the head of a frame.
pub(crate) fn parse_head(bytes: &[u8]) -> Option<Head> {
    if bytes.len() < HEAD_BYTES || bytes[..4] != MAGIC {
        return None;
    }
    let head = Head {
        crc: u32_at(bytes, 4)?,
        body_bytes: u32_at(bytes, 8)? as usize,
        count: u32_at(bytes, 12)?,
        base: i64_at(bytes, 16)?,
        synced: i64_at(bytes, 24)?,
    };
    let fits = head.body_bytes <= RECORD_BYTES_MAX + FRAME_BYTES
        && head.count as usize <= head.body_bytes / RECORD_HEAD_BYTES
        && head.count > 0
        && head.base >= 0;
    fits.then_some(head)
}

/// Whether the whole frame is as it was written.
pub(crate) fn is_sound(head: &Head, frame: &[u8]) -> bool {
    frame.len() == head.frame_bytes() && crc32c::crc32c(&frame[8..]) == head.crc
}

/// Where the next possible frame begins, at or after `from`.
pub(crate) fn find_magic(bytes: &[u8], from: usize) -> Option<usize> {
    let at = bytes.get(from..)?.windows(4).position(|w| w == MAGIC)?;
    Some(from + at)
}

/// Bytes that a record takes in a frame.
pub(crate) fn record_bytes(record: &Record<'_>) -> usize {
    let headers: usize = record.headers.iter().map(|(n, v)| 6 + n.len() + v.len()).sum();
    RECORD_HEAD_BYTES + record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len) + headers
}

/// Refuses what no frame can hold.
pub(crate) fn check_record(record: &Record<'_>) -> Result<()> {
    let bytes = record_bytes(record);
    let longest_name = record.headers.iter().map(|(n, _)| n.len()).max().unwrap_or(0);
    if bytes > RECORD_BYTES_MAX || longest_name > usize::from(u16::MAX) {
        let what = format!("a record has {bytes} bytes, its longest header name {longest_name}");
        let expected = format!("at most {RECORD_BYTES_MAX} and {}", u16::MAX);
        return Err(Error::new(Code::TooLarge, what).expected(expected));
    }
    Ok(())
}

/// Appends one frame to `out`. The records passed `check_record`; there is at least one.
pub(crate) fn encode(base: i64, synced: i64, records: &[Record<'_>], out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&(records.len() as u32).to_le_bytes());
    out.extend_from_slice(&base.to_le_bytes());
    out.extend_from_slice(&synced.to_le_bytes());
    for record in records {
        let length = |part: Option<&[u8]>| part.map_or(NULL, |p| p.len() as u32).to_le_bytes();
        let headers: usize = record.headers.iter().map(|(n, v)| 6 + n.len() + v.len()).sum();
        out.extend_from_slice(&record.append_ms.to_le_bytes());
        out.extend_from_slice(&length(record.key));
        out.extend_from_slice(&length(record.value));
        out.extend_from_slice(&(headers as u32).to_le_bytes());
        out.extend_from_slice(record.key.unwrap_or_default());
        out.extend_from_slice(record.value.unwrap_or_default());
        for (name, value) in record.headers {
            out.extend_from_slice(&(name.len() as u16).to_le_bytes());
            out.extend_from_slice(&(value.len() as u32).to_le_bytes());
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(value);
        }
    }
    let body = (out.len() - start - HEAD_BYTES) as u32;
    out[start + 8..start + 12].copy_from_slice(&body.to_le_bytes());
    let crc = crc32c::crc32c(&out[start + 8..]);
    out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
}

/// One record inside a sound frame.
pub(crate) struct Parsed<'a> {
    pub append_ms: i64,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    headers: &'a [u8],
    /// Where the next record begins in the body.
    pub next: usize,
}

/// Reads the record at `at` of a body. None only where the writer was not weir: the CRC was good.
pub(crate) fn parse_record(body: &[u8], at: usize) -> Option<Parsed<'_>> {
    let (key, value) = (u32_at(body, at + 8)?, u32_at(body, at + 12)?);
    let headers_bytes = u32_at(body, at + 16)? as usize;
    let mut position = at + RECORD_HEAD_BYTES;
    let mut part = |length: u32| {
        if length == NULL {
            return Some(None);
        }
        let bytes = body.get(position..position + length as usize)?;
        position += length as usize;
        Some(Some(bytes))
    };
    let (key, value) = (part(key)?, part(value)?);
    let headers = body.get(position..position + headers_bytes)?;
    Some(Parsed { append_ms: i64_at(body, at)?, key, value, headers, next: position + headers_bytes })
}

impl Parsed<'_> {
    /// Adds the record to a batch. None where the headers are not weir's.
    pub fn push_to(&self, batch: &mut Batch) -> Option<()> {
        let row = batch.len() as u32;
        let mut rest = self.headers;
        while !rest.is_empty() {
            let name_bytes = usize::from(u16::from_le_bytes(rest.get(..2)?.try_into().ok()?));
            let value_bytes = u32_at(rest, 2)? as usize;
            let name = std::str::from_utf8(rest.get(6..6 + name_bytes)?).ok()?.to_owned();
            let value = rest.get(6 + name_bytes..6 + name_bytes + value_bytes)?.to_vec();
            batch.headers.push(RecordHeader { row, name, value });
            rest = &rest[6 + name_bytes + value_bytes..];
        }
        batch.append_ms.push(self.append_ms);
        batch.keys.push(self.key);
        batch.values.push(self.value);
        Some(())
    }

    pub fn bytes(&self) -> usize {
        self.key.map_or(0, <[u8]>::len) + self.value.map_or(0, <[u8]>::len) + self.headers.len()
    }
}
