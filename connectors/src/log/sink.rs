//! A topic of the embedded log as an output.
//!
//! In:   records in order. Out: the same records, synced, with the header `weir-id`.
//! Owns: the records that are not committed yet.
//!
//! L1  Nothing is written before `commit`; each partition's records then are one append and one sync.
//! L2  A commit that failed may be called again: what is durable by then is not written twice.
//! L3  Opening locks all partitions against other processes, and fences this writer's older sink.

use std::sync::Arc;

use weir_contract::event::Id;
use weir_contract::{Clock, Code, Error, Result, partitioner, wire};
use weir_engine::sink::{FROM_START, NOT_READ, OutRecord, Sink, SinkEnds, SinkFactory};
use weir_engine::sql::catalog::AppendTime;
use weir_segments::{Reader, Record, WriterOptions};

use super::source::bounds;
use super::topic::Topic;
use super::writers::{SharedWriter, Writers};

/// Records and bytes of one read while reading back.
const BACK_ROWS: usize = 4096;
const BACK_BYTES: usize = 4 << 20;

/// Opens writers of one topic.
pub struct LogSink {
    pub(super) topic: Topic,
    pub(super) writers: Arc<Writers>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) times: AppendTime,
    pub(super) options: WriterOptions,
}

impl LogSink {
    /// The same with other bounds; a partition's writer that is open here keeps its own.
    pub fn keep(self, options: WriterOptions) -> Self {
        Self { options, ..self }
    }
}

impl SinkFactory for LogSink {
    fn open(&self, writer: &str) -> Result<Box<dyn Sink>> {
        let epoch = self.writers.begin(self.topic.folder(), writer);
        let mut partitions = Vec::new();
        for number in 0..self.topic.partitions() {
            let shared = self.writers.get(&self.topic.partition(number)?, self.options)?;
            // Waits for a commit of the fenced sink that has begun.
            shared.with(|_| Ok(()))?;
            partitions.push(shared);
        }
        Ok(Box::new(OpenSink {
            topic: self.topic.clone(),
            writers: self.writers.clone(),
            clock: self.clock.clone(),
            times: self.times,
            writer: writer.into(),
            epoch,
            pending: partitions.iter().map(|_| Vec::new()).collect(),
            partitions,
        }))
    }
}

struct OpenSink {
    topic: Topic,
    writers: Arc<Writers>,
    clock: Arc<dyn Clock>,
    times: AppendTime,
    writer: String,
    epoch: u64,
    partitions: Vec<Arc<SharedWriter>>,
    /// Not committed yet, by partition.
    pending: Vec<Vec<OutRecord>>,
}

impl OpenSink {
    fn check(&self) -> Result<()> {
        self.writers.check(self.topic.folder(), &self.writer, self.epoch)
    }
}

impl Sink for OpenSink {
    fn ends(&mut self) -> Result<SinkEnds> {
        let end = |shared: &Arc<SharedWriter>| shared.with(|w| Ok(w.durable_end()));
        (0..).zip(&self.partitions).map(|(p, shared)| Ok((p, end(shared)?))).collect()
    }

    fn read_back(&mut self, from: &SinkEnds, seen: &mut dyn FnMut(Id, Option<i64>)) -> Result<()> {
        for (partition, from) in from.iter().filter(|(_, from)| *from != NOT_READ) {
            let (start, end) = bounds(&self.topic, *partition)?;
            let from = if *from == FROM_START { start } else { *from };
            let place = super::position(&self.topic, *partition, from);
            if (start, end) == (from, from) {
                continue;
            }
            let folder = self.topic.partition(*partition)?;
            let mut reader = Reader::open(&folder, from).map_err(|e| e.at(place.clone()))?;
            while let Some(batch) = reader.next_batch(BACK_ROWS, BACK_BYTES)? {
                for header in batch.headers.iter().filter(|h| h.name == wire::ID) {
                    let id = std::str::from_utf8(&header.value).ok().and_then(Id::parse);
                    let id = id.ok_or_else(|| {
                        let offset = batch.first + i64::from(header.row);
                        Error::new(Code::Damaged, format!("header {} is not an id", wire::ID))
                            .at(super::position(&self.topic, *partition, offset))
                    })?;
                    let append_ms = batch.append_ms.get(header.row as usize);
                    seen(id, append_ms.map(|ms| ms.saturating_mul(1_000).saturating_add(999)));
                }
            }
        }
        Ok(())
    }

    fn write(&mut self, records: Vec<OutRecord>) -> Result<()> {
        self.check()?;
        let partitions = self.topic.partitions();
        for mut record in records {
            let partition = match record.partition {
                Some(partition) => partition,
                None => partitioner::partition_of(&record.key, partitions),
            };
            self.topic.partition(partition)?;
            record.headers.extend(record.id.map(|id| (wire::ID.to_owned(), id.to_string().into_bytes())));
            self.pending[partition as usize].push(record);
        }
        Ok(())
    }

    fn commit(&mut self) -> Result<()> {
        for (shared, pending) in self.partitions.iter().zip(&mut self.pending) {
            if pending.is_empty() {
                continue;
            }
            shared.with(|writer| {
                self.writers.check(self.topic.folder(), &self.writer, self.epoch)?;
                let stamp = writer.stamp(&*self.clock);
                let producer = self.times == AppendTime::Producer;
                let time = |r: &OutRecord| r.time_us.filter(|_| producer).map(|us| us.div_euclid(1_000));
                let records: Vec<Record<'_>> = pending
                    .iter()
                    .map(|r| Record {
                        append_ms: time(r).unwrap_or(stamp),
                        key: (!r.key.is_empty()).then_some(&r.key[..]),
                        value: Some(&r.value),
                        headers: &r.headers,
                    })
                    .collect();
                writer.append(&records)?;
                writer.sync()
            })?;
            pending.clear();
        }
        Ok(())
    }
}
