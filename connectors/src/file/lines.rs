//! JSON lines in: one record a line, read in blocks, never the whole file at once.
//!
//! Position = line number from 0. Blank lines hold no record; a last line without a newline does.
//! A batch is one buffer: lines are copied once, without their ends, and nothing else is allocated.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use datafusion::arrow::array::BinaryArray;
use datafusion::arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use weir_contract::Result;
use weir_engine::source::{FetchLimit, Fetched, NO_APPEND, PartitionReader, Payload, RawBatch};

use super::bad;
use crate::paths::open_regular;

/// Bytes of one read.
const BLOCK: usize = 1 << 20;

/// Lines of a file, blank ones too.
pub fn count(path: &Path) -> Result<i64> {
    let mut file = open_regular(path)?;
    let mut block = vec![0; BLOCK];
    let (mut lines, mut last) = (0i64, b'\n');
    loop {
        let read = file.read(&mut block).map_err(|e| bad(path, e))?;
        if read == 0 {
            return Ok(lines + i64::from(last != b'\n'));
        }
        lines += memchr::memchr_iter(b'\n', &block[..read]).count() as i64;
        last = block[read - 1];
    }
}

/// Reads one file forward.
pub struct Lines {
    path: PathBuf,
    file: File,
    /// Bytes read and not given yet: `held[at..]`.
    held: Vec<u8>,
    at: usize,
    /// Number of the line that starts at `at`.
    line: i64,
    at_end: bool,
}

impl Lines {
    pub fn open(path: &Path, from: i64) -> Result<Self> {
        let file = open_regular(path)?;
        let mut lines = Self { path: path.to_owned(), file, held: Vec::new(), at: 0, line: 0, at_end: false };
        while lines.line < from {
            match memchr::memchr(b'\n', &lines.held[lines.at..]) {
                Some(n) => {
                    lines.at += n + 1;
                    lines.line += 1;
                }
                None if lines.at_end && lines.at < lines.held.len() => {
                    lines.at = lines.held.len();
                    lines.line += 1;
                }
                None if lines.at_end => {
                    return Err(bad(path, format!("the file has {} lines", lines.line))
                        .expected(format!("at least {from}: it was longer when it was read before")));
                }
                None => lines.fill()?,
            }
        }
        Ok(lines)
    }

    /// Reads one more block behind what is held.
    fn fill(&mut self) -> Result<()> {
        self.held.drain(..self.at);
        self.at = 0;
        let old = self.held.len();
        self.held.resize(old + BLOCK, 0);
        let read = self.file.read(&mut self.held[old..]).map_err(|e| bad(&self.path, e))?;
        self.held.truncate(old + read);
        self.at_end = read == 0;
        Ok(())
    }
}

impl PartitionReader for Lines {
    fn fetch(&mut self, limit: FetchLimit, _wait: Duration) -> Result<Fetched> {
        let (mut offsets, mut ends, mut bytes) = (Vec::with_capacity(limit.rows), vec![0i32], Vec::new());
        while offsets.len() < limit.rows.max(1) && (bytes.is_empty() || bytes.len() < limit.bytes) {
            let rest = &self.held[self.at..];
            let (length, taken) = match memchr::memchr(b'\n', rest) {
                Some(n) => (n, n + 1),
                None if !self.at_end => {
                    self.fill()?;
                    continue;
                }
                None if rest.is_empty() => break,
                None => (rest.len(), rest.len()),
            };
            let line = rest[..length].strip_suffix(b"\r").unwrap_or(&rest[..length]);
            if !line.iter().all(u8::is_ascii_whitespace) {
                // A batch stays below 2 GiB, the reach of its offsets; one longer line is an error.
                let Ok(end) = i32::try_from(bytes.len() + line.len()) else {
                    if offsets.is_empty() {
                        return Err(bad(&self.path, format!("line {} is over 2 GiB", self.line + 1)));
                    }
                    break;
                };
                bytes.extend_from_slice(line);
                ends.push(end);
                offsets.push(self.line);
            }
            self.at += taken;
            self.line += 1;
        }
        let ended = self.at_end && self.at == self.held.len();
        if !ended && self.at == self.held.len() && !self.at_end {
            self.fill()?;
        }
        let ended = ended || (self.at_end && self.at == self.held.len());
        let batch = (!offsets.is_empty()).then(|| RawBatch {
            append_us: vec![NO_APPEND; offsets.len()],
            payload: Payload::Bytes(BinaryArray::new(
                OffsetBuffer::new(ScalarBuffer::from(ends)),
                Buffer::from_vec(bytes),
                None,
            )),
            offsets,
            keys: None,
            headers: Vec::new(),
        });
        Ok(Fetched { batch, next: self.line, caught_up: ended, ended })
    }
}
