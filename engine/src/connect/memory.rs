//! A log in memory: connector `memory`, for tests and for the simulated world.
//!
//! In:   records appended by a test or written by a sink.
//! Out:  a `Source`, a `SinkFactory` and a `ControlLog` over the same topics.
//! Owns: the records, who may write, and how far each partition is released to readers.
//!
//! M1  What a sink wrote is in the log after its commit only, all of it or nothing.
//! M2  A source sees no record at or above its partition's release limit; the control log and a
//!     sink's read-back see everything.
//! M3  After `kill`, or after the same writer was opened again, an older sink can do nothing.
//!
//! All clones of a `MemoryLog` are the same log. One lock guards it: it is made for tests, not speed.

mod record;

pub use record::MemoryRecord;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use weir_contract::event::Id;
use weir_contract::{Code, Error, Place, Result, partitioner, wire};

use super::{Connector, OptionDoc, partitions_of, topic_of};
use crate::control::{Control, ControlLog};
use crate::sink::{FROM_START, NOT_READ, OutRecord, Sink, SinkEnds, SinkFactory};
use crate::source::{FetchLimit, Fetched, NO_APPEND, Partition, PartitionReader, Source};
use crate::sql::catalog::TableSpec;

#[derive(Debug, Default)]
struct PartitionLog {
    start: i64,
    /// None is an offset that holds no data, like a transaction marker.
    records: VecDeque<Option<MemoryRecord>>,
    /// Readers see offsets below this one only.
    released: Option<i64>,
}

impl PartitionLog {
    fn end(&self) -> i64 {
        self.start + self.records.len() as i64
    }

    fn visible_end(&self) -> i64 {
        self.released.map_or(self.end(), |limit| limit.clamp(self.start, self.end()))
    }

    fn from(&self, offset: i64) -> impl Iterator<Item = (i64, &Option<MemoryRecord>)> {
        let skip = usize::try_from(offset - self.start).unwrap_or(0).min(self.records.len());
        (self.start + skip as i64..).zip(self.records.range(skip..))
    }
}

#[derive(Debug)]
struct Topic {
    /// Counts creations, so that a recreated topic differs.
    creation: u64,
    bounded: bool,
    /// Read as `until = 'end'` says.
    until_end: bool,
    partitions: Vec<PartitionLog>,
    /// Epoch of the newest sink by writer.
    writers: BTreeMap<String, u64>,
}

#[derive(Debug, Default)]
struct State {
    topics: BTreeMap<String, Topic>,
    creations: u64,
    epochs: u64,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// Topics × partitions × records in memory; clones share them.
#[derive(Debug, Clone, Default)]
pub struct MemoryLog(Arc<Shared>);

impl MemoryLog {
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A test that panicked while it held the lock has failed already.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Creates a topic, empty; one that exists is thrown away and gets another identity.
    pub fn create(&self, topic: &str, partitions: u32) {
        assert!(partitions > 0, "a topic has at least one partition");
        let mut state = self.lock();
        state.creations += 1;
        let topic_new = Topic {
            creation: state.creations,
            bounded: false,
            until_end: false,
            partitions: (0..partitions).map(|_| PartitionLog::default()).collect(),
            writers: BTreeMap::new(),
        };
        state.topics.insert(topic.into(), topic_new);
        self.0.changed.notify_all();
    }

    fn create_missing(&self, topic: &str, partitions: u32) {
        if !self.lock().topics.contains_key(topic) {
            self.create(topic, partitions);
        }
    }

    /// Adds partitions up to a count.
    pub fn widen(&self, topic: &str, partitions: u32) -> Result<()> {
        let mut state = self.lock();
        let there = &mut state.topic_mut(topic)?.partitions;
        let wide = there.len().max(partitions as usize);
        there.resize_with(wide, PartitionLog::default);
        Ok(())
    }

    /// Appends one record and gives its offset.
    ///
    /// # Errors
    /// `W0404` where topic or partition does not exist.
    pub fn append(&self, topic: &str, partition: u32, record: MemoryRecord) -> Result<i64> {
        let mut state = self.lock();
        let log = state.partition_mut(topic, partition)?;
        log.records.push_back(Some(record));
        self.0.changed.notify_all();
        Ok(log.end() - 1)
    }

    /// Appends offsets that hold no data, like the markers of transactions.
    pub fn append_gap(&self, topic: &str, partition: u32, offsets: usize) -> Result<()> {
        let mut state = self.lock();
        let log = state.partition_mut(topic, partition)?;
        log.records.extend(std::iter::repeat_n(None, offsets));
        self.0.changed.notify_all();
        Ok(())
    }

    /// Sources see offsets below `limit` only; None releases everything, now and later. Until the
    /// limit is raised the partition looks to them as if it ended there.
    pub fn release(&self, topic: &str, partition: u32, limit: Option<i64>) -> Result<()> {
        self.lock().partition_mut(topic, partition)?.released = limit;
        self.0.changed.notify_all();
        Ok(())
    }

    /// Makes the topic's end its end for ever (`true`): readers then say `ended`.
    pub fn set_bounded(&self, topic: &str, bounded: bool) -> Result<()> {
        self.lock().topic_mut(topic)?.bounded = bounded;
        self.0.changed.notify_all();
        Ok(())
    }

    /// Sources read the topic to the end that it has when the program starts (`until = 'end'`); the
    /// topic itself goes on.
    pub fn set_until_end(&self, topic: &str, until_end: bool) -> Result<()> {
        self.lock().topic_mut(topic)?.until_end = until_end;
        Ok(())
    }

    /// Forgets the records below an offset, as retention does.
    pub fn trim(&self, topic: &str, partition: u32, start: i64) -> Result<()> {
        let mut state = self.lock();
        let log = state.partition_mut(topic, partition)?;
        let cut = usize::try_from(start - log.start).unwrap_or(0).min(log.records.len());
        log.records.drain(..cut);
        log.start += cut as i64;
        Ok(())
    }

    /// All committed records of a partition, whatever is released.
    pub fn records(&self, topic: &str, partition: u32) -> Result<Vec<(i64, MemoryRecord)>> {
        let state = self.lock();
        let log = state.partition(topic, partition)?;
        Ok(log.from(log.start).filter_map(|(o, r)| Some((o, r.clone()?))).collect())
    }

    pub fn partition_count(&self, topic: &str) -> Result<u32> {
        Ok(self.lock().topic(topic)?.partitions.len() as u32)
    }

    /// The process that writes here dies: what open sinks have not committed is gone, and they can
    /// neither write nor commit again. Records and readers stay.
    pub fn kill(&self) {
        self.lock().topics.values_mut().for_each(|t| t.writers.clear());
    }

    pub fn source(&self, topic: &str) -> Result<Arc<dyn Source>> {
        self.lock().topic(topic)?;
        Ok(Arc::new(MemorySource { log: self.clone(), topic: topic.into() }))
    }

    pub fn sink(&self, topic: &str) -> Result<Arc<dyn SinkFactory>> {
        self.lock().topic(topic)?;
        Ok(Arc::new(MemorySinkFactory { log: self.clone(), topic: topic.into() }))
    }

    /// The topic as a control log; created with `partitions` where it is missing.
    pub fn control(&self, topic: &str, partitions: u32) -> Arc<dyn ControlLog> {
        self.create_missing(topic, partitions);
        Arc::new(MemoryControl { log: self.clone(), topic: topic.into() })
    }
}

impl State {
    fn topic(&self, topic: &str) -> Result<&Topic> {
        self.topics.get(topic).ok_or_else(|| no_topic(topic))
    }

    fn topic_mut(&mut self, topic: &str) -> Result<&mut Topic> {
        self.topics.get_mut(topic).ok_or_else(|| no_topic(topic))
    }

    fn partition(&self, topic: &str, partition: u32) -> Result<&PartitionLog> {
        let found = self.topic(topic)?.partitions.get(partition as usize);
        found.ok_or_else(|| no_partition(topic, partition))
    }

    fn partition_mut(&mut self, topic: &str, partition: u32) -> Result<&mut PartitionLog> {
        let found = self.topic_mut(topic)?.partitions.get_mut(partition as usize);
        found.ok_or_else(|| no_partition(topic, partition))
    }

    /// `W0403` or `W0406` where the position is not in the log.
    fn check_position(&self, topic: &str, partition: u32, from: i64) -> Result<()> {
        let log = self.partition(topic, partition)?;
        let place = Place::Position { topic: topic.into(), partition, offset: from };
        if from < log.start {
            return Err(Error::new(Code::Retention, format!("the log starts at {}", log.start)).at(place));
        }
        if from > log.end() {
            return Err(Error::new(Code::Recreated, format!("the log ends at {}", log.end())).at(place));
        }
        Ok(())
    }
}

fn no_topic(topic: &str) -> Error {
    Error::new(Code::NoTopic, format!("the log in memory has no topic `{topic}`"))
}

fn no_partition(topic: &str, partition: u32) -> Error {
    Error::new(Code::NoTopic, format!("topic `{topic}` has no partition {partition}"))
}

impl Connector for MemoryLog {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn options(&self) -> &'static [OptionDoc] {
        &[
            OptionDoc { name: "topic", required: false, doc: "topic; default: the table's name" },
            OptionDoc { name: "partitions", required: false, doc: "creates the topic where it is missing" },
        ]
    }

    fn source(&self, table: &TableSpec) -> Result<Arc<dyn Source>> {
        if let Some(partitions) = partitions_of(table)? {
            self.create_missing(topic_of(table), partitions);
        }
        MemoryLog::source(self, topic_of(table)).map_err(|e| e.or_at(table.place.clone()))
    }

    fn sink(&self, table: &TableSpec) -> Result<Arc<dyn SinkFactory>> {
        self.create_missing(topic_of(table), partitions_of(table)?.unwrap_or(1));
        MemoryLog::sink(self, topic_of(table))
    }
}

struct MemorySource {
    log: MemoryLog,
    topic: String,
}

impl Source for MemorySource {
    fn partitions(&self) -> Result<Vec<Partition>> {
        let state = self.log.lock();
        let topic = state.topic(&self.topic)?;
        let of = |(number, log): (usize, &PartitionLog)| Partition {
            number: number as u32,
            start: log.start,
            end: if topic.bounded || topic.until_end { log.end() } else { log.visible_end() },
            bounded: topic.bounded || topic.until_end,
        };
        Ok(topic.partitions.iter().enumerate().map(of).collect())
    }

    fn open(&self, partition: u32, from: i64) -> Result<Box<dyn PartitionReader>> {
        self.log.lock().check_position(&self.topic, partition, from)?;
        let (log, topic) = (self.log.clone(), self.topic.clone());
        Ok(Box::new(MemoryReader { log, topic, partition, position: from }))
    }

    fn identity(&self) -> Result<String> {
        let state = self.log.lock();
        Ok(format!("memory:{}:{}", self.topic, state.topic(&self.topic)?.creation))
    }

    fn until_end(&self) -> bool {
        self.log.lock().topic(&self.topic).is_ok_and(|t| t.until_end)
    }
}

struct MemoryReader {
    log: MemoryLog,
    topic: String,
    partition: u32,
    position: i64,
}

impl PartitionReader for MemoryReader {
    fn fetch(&mut self, limit: FetchLimit, wait: Duration) -> Result<Fetched> {
        let mut state = self.log.lock();
        if !wait.is_zero() {
            let nothing_there = |state: &mut State| match state.topic(&self.topic) {
                Ok(topic) if !topic.bounded => state
                    .partition(&self.topic, self.partition)
                    .is_ok_and(|p| self.position >= p.visible_end()),
                _ => false,
            };
            let waited = self.log.0.changed.wait_timeout_while(state, wait, nothing_there);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.check_position(&self.topic, self.partition, self.position)?;
        let log = state.partition(&self.topic, self.partition)?;
        let visible_end = log.visible_end();
        let (mut taken, mut bytes) = (Vec::new(), 0);
        for (offset, record) in log.from(self.position).take_while(|(o, _)| *o < visible_end) {
            if let Some(record) = record {
                let size = record.value.as_ref().map_or(0, Vec::len);
                let over = taken.len() >= limit.rows || bytes + size > limit.bytes;
                if !taken.is_empty() && over {
                    break;
                }
                bytes += size;
                taken.push((offset, record));
            }
            self.position = offset + 1;
        }
        Ok(Fetched {
            batch: (!taken.is_empty()).then(|| record::batch_of(&taken)),
            next: self.position,
            caught_up: self.position >= visible_end,
            ended: state.topic(&self.topic)?.bounded && self.position >= log.end(),
        })
    }
}

struct MemorySinkFactory {
    log: MemoryLog,
    topic: String,
}

impl SinkFactory for MemorySinkFactory {
    fn open(&self, writer: &str) -> Result<Box<dyn Sink>> {
        let mut state = self.log.lock();
        state.epochs += 1;
        let epoch = state.epochs;
        state.topic_mut(&self.topic)?.writers.insert(writer.into(), epoch);
        let (log, topic) = (self.log.clone(), self.topic.clone());
        Ok(Box::new(MemorySink { log, topic, writer: writer.into(), epoch, pending: Vec::new() }))
    }
}

struct MemorySink {
    log: MemoryLog,
    topic: String,
    writer: String,
    epoch: u64,
    pending: Vec<(u32, MemoryRecord)>,
}

impl MemorySink {
    fn check_epoch(&self, state: &State) -> Result<()> {
        if state.topic(&self.topic)?.writers.get(&self.writer) == Some(&self.epoch) {
            return Ok(());
        }
        Err(Error::new(Code::Locked, format!("writer `{}` of `{}` was fenced", self.writer, self.topic)))
    }
}

impl Sink for MemorySink {
    fn ends(&mut self) -> Result<SinkEnds> {
        let state = self.log.lock();
        Ok((0..).zip(state.topic(&self.topic)?.partitions.iter().map(PartitionLog::end)).collect())
    }

    fn read_back(&mut self, from: &SinkEnds, seen: &mut dyn FnMut(Id, Option<i64>)) -> Result<()> {
        let state = self.log.lock();
        for (partition, from) in from.iter().filter(|(_, from)| *from != NOT_READ) {
            let log = state.partition(&self.topic, *partition)?;
            let from = if *from == FROM_START { log.start } else { *from };
            state.check_position(&self.topic, *partition, from)?;
            let records = log.from(from);
            for record in records.filter_map(|(_, record)| record.as_ref()) {
                let time = (record.append_us != NO_APPEND).then_some(record.append_us + 999);
                if let Some(id) = record.id() {
                    seen(id, time);
                }
            }
        }
        Ok(())
    }

    fn write(&mut self, records: Vec<OutRecord>) -> Result<()> {
        let state = self.log.lock();
        self.check_epoch(&state)?;
        let partitions = state.topic(&self.topic)?.partitions.len() as u32;
        drop(state);
        for record in records {
            let partition = match record.partition {
                Some(p) if p < partitions => p,
                Some(p) => return Err(no_partition(&self.topic, p)),
                None => partitioner::partition_of(&record.key, partitions),
            };
            let mut headers = record.headers;
            headers.extend(record.id.map(|id| (wire::ID.to_owned(), id.to_string().into_bytes())));
            let append_us = record.time_us.map_or(NO_APPEND, |t| t.div_euclid(1_000) * 1_000);
            let key = (!record.key.is_empty()).then_some(record.key);
            self.pending
                .push((partition, MemoryRecord { append_us, key, headers, value: Some(record.value) }));
        }
        Ok(())
    }

    fn commit(&mut self) -> Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let mut state = self.log.lock();
        self.check_epoch(&state)?;
        for (partition, record) in self.pending.drain(..) {
            state.partition_mut(&self.topic, partition)?.records.push_back(Some(record));
        }
        self.log.0.changed.notify_all();
        Ok(())
    }
}

struct MemoryControl {
    log: MemoryLog,
    topic: String,
}

impl ControlLog for MemoryControl {
    fn append(&self, partition: u32, record: &Control) -> Result<i64> {
        self.log.append(&self.topic, partition, MemoryRecord::value(record.to_bytes()?))
    }

    fn read(&self, partition: u32, from: i64) -> Result<(Vec<(i64, Control)>, i64)> {
        let state = self.log.lock();
        state.check_position(&self.topic, partition, from)?;
        let log = state.partition(&self.topic, partition)?;
        let mut records = Vec::new();
        for (offset, record) in log.from(from) {
            if let Some(value) = record.as_ref().and_then(|r| r.value.as_deref()) {
                let place = Place::Position { topic: self.topic.clone(), partition, offset };
                records.push((offset, Control::from_bytes(value).map_err(|e| e.at(place))?));
            }
        }
        Ok((records, log.end()))
    }

    fn partitions(&self) -> Result<u32> {
        self.log.partition_count(&self.topic)
    }

    fn widen(&self, partitions: u32) -> Result<()> {
        self.log.widen(&self.topic, partitions)
    }
}

#[cfg(test)]
mod tests;
