//! A topic of the embedded log as a source.
//!
//! Owns: the end of a bounded read. S1  A partition that no writer has opened yet is empty.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use datafusion::arrow::array::BinaryArray;
use datafusion::arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use weir_contract::{Code, Error, Place, Result};
use weir_engine::base::internal_arrow;
use weir_engine::source::{
    FetchLimit, Fetched, Header, NO_APPEND, Partition, PartitionReader, Payload, RawBatch, Source,
};
use weir_engine::sql::catalog::AppendTime;
use weir_segments::{Batch, Column, Reader};

use super::topic::Topic;

/// First and longest pause between two looks at the end. Eyeballed: a delay nobody sees.
const PAUSE_MIN: Duration = Duration::from_micros(200);
const PAUSE_MAX: Duration = Duration::from_millis(5);

/// Reads a topic; cheap to make.
pub struct LogSource {
    topic: Topic,
    times: AppendTime,
    until_end: bool,
    /// Ends of a bounded read, fixed by the first look at the partitions.
    fixed: Mutex<Option<Vec<Partition>>>,
}

impl LogSource {
    pub fn new(topic: Topic, times: AppendTime, until_end: bool) -> Self {
        Self { topic, times, until_end, fixed: Mutex::new(None) }
    }

    fn look(&self) -> Result<Vec<Partition>> {
        let of = |number| {
            let (start, end) = bounds(&self.topic, number)?;
            Ok(Partition { number, start, end, bounded: self.until_end })
        };
        (0..self.topic.partitions()).map(of).collect()
    }
}

/// Start and end of a partition; 0 and 0 before its first writer.
pub(super) fn bounds(topic: &Topic, partition: u32) -> Result<(i64, i64)> {
    match Reader::bounds(&topic.partition(partition)?) {
        Err(e) if is_missing(&topic.partition(partition)?, &e) => Ok((0, 0)),
        bounds => bounds,
    }
}

fn is_missing(folder: &std::path::Path, error: &Error) -> bool {
    error.code() == Code::NoTopic || (error.code() == Code::Io && !folder.exists())
}

impl Source for LogSource {
    fn partitions(&self) -> Result<Vec<Partition>> {
        if !self.until_end {
            return self.look();
        }
        let mut fixed = self.fixed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(partitions) = &*fixed {
            return Ok(partitions.clone());
        }
        let partitions = self.look()?;
        *fixed = Some(partitions.clone());
        Ok(partitions)
    }

    fn open(&self, partition: u32, from: i64) -> Result<Box<dyn PartitionReader>> {
        let folder = self.topic.partition(partition)?;
        let end = match self.until_end {
            true => self.partitions()?.get(partition as usize).map(|p| p.end),
            false => None,
        };
        let place = super::position(&self.topic, partition, from);
        let mut reader = LogReader { folder, place, reader: None, position: from, end, times: self.times };
        if !reader.ready()? && from != 0 {
            return Err(Error::new(Code::Recreated, "the partition is empty").at(reader.place));
        }
        Ok(Box::new(reader))
    }

    fn identity(&self) -> Result<String> {
        self.topic.identity()
    }

    fn until_end(&self) -> bool {
        self.until_end
    }
}

struct LogReader {
    folder: PathBuf,
    place: Place,
    /// None until the partition has its first writer.
    reader: Option<Reader>,
    position: i64,
    /// Where a bounded read ends.
    end: Option<i64>,
    times: AppendTime,
}

impl LogReader {
    fn ready(&mut self) -> Result<bool> {
        if self.reader.is_none() {
            match Reader::open(&self.folder, self.position) {
                Ok(reader) => self.reader = Some(reader),
                Err(e) if is_missing(&self.folder, &e) => return Ok(false),
                Err(e) => return Err(e.at(self.place.clone())),
            }
        }
        Ok(true)
    }

    fn ended(&self) -> bool {
        self.end.is_some_and(|end| self.position >= end)
    }

    /// The next records, or None, now.
    fn next(&mut self, limit: FetchLimit) -> Result<Option<Batch>> {
        if self.ended() || !self.ready()? {
            return Ok(None);
        }
        let room = self.end.map_or(i64::MAX, |end| end - self.position);
        let rows = limit.rows.max(1).min(usize::try_from(room).unwrap_or(usize::MAX));
        let Some(reader) = &mut self.reader else { return Ok(None) };
        let batch = reader.next_batch(rows, limit.bytes)?;
        self.position = reader.position();
        Ok(batch)
    }
}

impl PartitionReader for LogReader {
    fn fetch(&mut self, limit: FetchLimit, wait: Duration) -> Result<Fetched> {
        let (mut waited, mut pause) = (Duration::ZERO, PAUSE_MIN);
        let batch = loop {
            let batch = self.next(limit)?;
            if batch.is_some() || self.ended() || waited >= wait {
                break batch;
            }
            let now = pause.min(wait - waited);
            std::thread::sleep(now);
            (waited, pause) = (waited + now, (pause * 2).min(PAUSE_MAX));
        };
        // Asked after the records were taken, so that it is true when it is said.
        let caught_up = match &mut self.reader {
            Some(reader) if self.position == reader.known_end() => reader.end()? == self.position,
            Some(_) => false,
            None => true,
        };
        let ended = self.ended();
        let batch = batch.map(|batch| raw(batch, self.times)).transpose()?;
        Ok(Fetched { batch, next: self.position, caught_up: caught_up || ended, ended })
    }
}

fn raw(batch: Batch, times: AppendTime) -> Result<RawBatch> {
    let offsets = (batch.first..batch.next()).collect();
    let append_us = match times {
        AppendTime::Untrusted => vec![NO_APPEND; batch.len()],
        AppendTime::Broker | AppendTime::Producer => {
            batch.append_ms.iter().map(|ms| ms.saturating_mul(1_000)).collect()
        }
    };
    let has_keys = batch.keys.null_count < batch.len();
    let header = |h: weir_segments::RecordHeader| Header { row: h.row, name: h.name, value: h.value };
    Ok(RawBatch {
        offsets,
        append_us,
        payload: Payload::Bytes(array(batch.values)?),
        keys: if has_keys { Some(array(batch.keys)?) } else { None },
        headers: batch.headers.into_iter().map(header).collect(),
    })
}

/// The column as an array over the same buffer.
fn array(column: Column) -> Result<BinaryArray> {
    let nulls = (column.null_count > 0).then(|| NullBuffer::from(column.valid));
    let ends = OffsetBuffer::new(ScalarBuffer::from(column.ends));
    BinaryArray::try_new(ends, Buffer::from_vec(column.bytes), nulls).map_err(internal_arrow)
}
