//! Durable records of one topic, taken from one disk in order.
//!
//! In:   a folder, and how far it may be read.
//! Out:  records; what no longer can be read, counted in the ledger.
//! Owns: the reader, and how often the disk refused to give a place.
//!
//! H1  Bad bytes cost the frames they are in. Bytes that the disk does not give (`W0501`) are asked for
//!     `READS_MAX` times; then they cost the rest of their file, and the next one is read.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use weir_contract::{Code, Error, Result};
use weir_segments::{Batch, Disk, Reader};

use super::ledger::{LaneLedger, Why};
use crate::record::Stored;

/// A card that answers at all answers by then. Whoever asks waits in between.
const READS_MAX: u32 = 3;

pub(super) struct Shelf {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    reader: Reader,
    /// The last place that the disk did not give, and how often.
    refused: (i64, u32),
}

impl Shelf {
    /// Begins at `from`, or behind what cannot be read there: those offsets are given.
    pub fn open(disk: Arc<dyn Disk>, folder: PathBuf, from: i64) -> Result<(Self, Vec<Range<i64>>)> {
        let mut reads = 0;
        let (reader, lost) = loop {
            match Reader::open_past_damage(disk.clone(), &folder, from) {
                Err(e) if e.code() == Code::Io && reads < READS_MAX => reads += 1,
                Err(e) if e.code() == Code::Io => {
                    let behind = Reader::open_past_file(disk.clone(), &folder, from);
                    let (reader, lost) = behind.map_err(|_| e)?;
                    break (reader, vec![lost]);
                }
                opened => break opened?,
            }
        };
        Ok((Self { disk, folder, reader, refused: (from, 0) }, lost))
    }

    /// Offset of the next record.
    pub fn position(&self) -> i64 {
        self.reader.position()
    }

    /// Offset after the last record that can be seen.
    pub fn end(&mut self) -> Result<i64> {
        self.reader.end()
    }

    /// The next records below `end`: at most `rows` and about `bytes`, fewer where that is all.
    pub fn next(
        &mut self,
        ledger: &mut LaneLedger,
        end: i64,
        rows: usize,
        bytes: usize,
    ) -> Result<Vec<Stored>> {
        while self.reader.position() < end {
            match self.reader.next_batch(rows, bytes) {
                Ok(None) => break,
                Ok(Some(batch)) => return Ok(stored(&batch)),
                Err(e) if e.code() == Code::Damaged => {
                    let lost = self.reader.skip_damage()?;
                    ledger.give_up_rest(lost.start, lost.end, Why::Damage);
                }
                Err(e) => return Err(e),
            }
        }
        Ok(Vec::new())
    }

    /// Goes to `from`, or behind what cannot be read there: those offsets are given.
    pub fn go_to(&mut self, from: i64) -> Result<Vec<Range<i64>>> {
        let (reader, lost) = Reader::open_past_damage(self.disk.clone(), &self.folder, from)?;
        self.reader = reader;
        Ok(lost)
    }

    /// Whether this was the last time that a place is asked for.
    pub fn worn(&mut self, place: i64, why: &Error) -> bool {
        if why.code() != Code::Io {
            return false;
        }
        let before = if self.refused.0 == place { self.refused.1 } else { 0 };
        self.refused = (place, before.saturating_add(1));
        self.refused.1 >= READS_MAX
    }

    /// Goes on in the file behind `place`; gives the offsets that are lost.
    pub fn leave_file(&mut self, place: i64) -> Result<Range<i64>> {
        let (reader, lost) = Reader::open_past_file(self.disk.clone(), &self.folder, place)?;
        self.reader = reader;
        Ok(lost)
    }
}

fn stored(batch: &Batch) -> Vec<Stored> {
    let mut headers: Vec<Vec<(String, Vec<u8>)>> = vec![Vec::new(); batch.len()];
    for header in batch.headers.iter().cloned() {
        headers[header.row as usize].push((header.name, header.value));
    }
    let stored = |(row, headers)| Stored {
        offset: batch.first + row as i64,
        key: batch.keys.get(row).unwrap_or_default().to_vec(),
        headers,
        envelope: batch.values.get(row).unwrap_or_default().to_vec(),
    };
    headers.into_iter().enumerate().map(stored).collect()
}
