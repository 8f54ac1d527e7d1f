//! The control log on the embedded log.
//!
//! C1  `append` returns when the record is durable.
//! C2  Partition 0 is shared: its lock is held for one append only, and waited for. The others belong
//!     to their task's process for as long as this value lives.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use weir_contract::{Clock, Code, Error, Result};
use weir_engine::control::{Control, ControlLog};
use weir_segments::{Reader, Record, Writer, WriterOptions};

use super::source::bounds;
use super::topic::Topic;
use super::writers::{SharedWriter, Writers};

/// Small files: opening a partition reads its last one.
const OPTIONS: WriterOptions = WriterOptions { segment_bytes: 1 << 20, retain_bytes: None, retain_ms: None };
/// How often the shared partition's lock is tried, and the pause between. Together about 5 s.
const TRIES: u32 = 1_000;
const PAUSE: Duration = Duration::from_millis(5);
const READ_ROWS: usize = 4096;
const READ_BYTES: usize = 4 << 20;

/// A program's control log.
pub struct LogControl {
    topic: Topic,
    writers: Arc<Writers>,
    clock: Arc<dyn Clock>,
    own: Mutex<BTreeMap<u32, Arc<SharedWriter>>>,
    /// Readers at the position after their last read.
    tails: Mutex<BTreeMap<u32, Reader>>,
}

impl LogControl {
    pub(super) fn new(topic: Topic, writers: Arc<Writers>, clock: Arc<dyn Clock>) -> Self {
        Self { topic, writers, clock, own: Mutex::default(), tails: Mutex::default() }
    }

    fn write(&self, writer: &mut Writer, value: &[u8]) -> Result<i64> {
        let append_ms = writer.stamp(&*self.clock);
        let offsets = writer.append(&[Record { append_ms, value: Some(value), ..Record::default() }])?;
        writer.sync()?;
        Ok(offsets.start)
    }

    /// The writer of a task's partition; locked from then on.
    fn own(&self, partition: u32) -> Result<Arc<SharedWriter>> {
        let folder = self.topic.partition(partition)?;
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(writer) = own.get(&partition) {
            return Ok(writer.clone());
        }
        let writer = self.writers.get(&folder, OPTIONS)?;
        own.insert(partition, writer.clone());
        Ok(writer)
    }

    fn append_shared(&self, value: &[u8]) -> Result<i64> {
        let folder = self.topic.partition(0)?;
        for _ in 1..TRIES {
            match Writer::open(&folder, OPTIONS) {
                Err(e) if e.code() == Code::Locked => std::thread::sleep(PAUSE),
                writer => return self.write(&mut writer?, value),
            }
        }
        self.write(&mut Writer::open(&folder, OPTIONS)?, value)
    }
}

impl ControlLog for LogControl {
    fn append(&self, partition: u32, record: &Control) -> Result<i64> {
        let value = record.to_bytes()?;
        if partition == 0 {
            return self.append_shared(&value);
        }
        let writer = self.own(partition)?;
        writer.with(|writer| self.write(writer, &value))
    }

    fn read(&self, partition: u32, from: i64) -> Result<(Vec<(i64, Control)>, i64)> {
        let folder = self.topic.partition(partition)?;
        let mut tails = self.tails.lock().unwrap_or_else(PoisonError::into_inner);
        let mut reader = match tails.remove(&partition) {
            Some(reader) if reader.position() == from => reader,
            _ if from == 0 && bounds(&self.topic, partition)? == (0, 0) => return Ok((Vec::new(), 0)),
            _ => Reader::open(&folder, from)
                .map_err(|e| e.at(super::position(&self.topic, partition, from)))?,
        };
        // An end asked for after the call; what comes while reading may be given or not.
        let end = reader.end()?;
        let mut records = Vec::new();
        while reader.position() < end {
            let Some(batch) = reader.next_batch(READ_ROWS, READ_BYTES)? else { break };
            for row in 0..batch.len() {
                let offset = batch.first + row as i64;
                let place = || super::position(&self.topic, partition, offset);
                let value = batch.values.get(row).ok_or_else(|| {
                    Error::new(Code::ControlLog, "a control record has no value").at(place())
                })?;
                records.push((offset, Control::from_bytes(value).map_err(|e| e.at(place()))?));
            }
        }
        let position = reader.position();
        tails.insert(partition, reader);
        Ok((records, position))
    }

    fn partitions(&self) -> Result<u32> {
        Ok(self.topic.partitions())
    }

    fn take(&self, partition: u32) -> Result<()> {
        self.own(partition).map(drop)
    }
}
