//! The lanes of one task: fetch, fates, silence.
//!
//! In:   readers of this task's partition of each source.
//! Out:  processed rows and watermarks; late and rejected records.
//! Owns: positions and the silence clock of each lane. Not the fates: `watermark::lane`.
//!
//! L1  A fetched batch gets its fates only after the control log was read to an end asked for after
//!     the fetch (where somebody else writes the marks), or holds only marks of this instance.
//! L2  Silence counts only while the position is confirmed at the high watermark, and not over an outage.
//! L3  A partition that is read for the task and for an exchange has a lane for each. Both see the same
//!     records and marks, so they give the same fates; what is counted or told is the first one's.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use weir_contract::{Code, Error, Place, Result};

use super::controls::Mark;
use super::graph::{Flow, Step, StepId};
use super::options::Ports;
use super::silence::Silence;
use crate::base::NOTHING;
use crate::source::{FetchLimit, Fetched, Partition, PartitionReader, Payload, RawBatch, Source};
use crate::sql::catalog::{AppendTime, TableSpec};
use crate::state::{Loader, Saver};
use crate::watermark::{Lane, LaneSpec, Taken};

/// Bytes of one fetch at most, one record excepted.
const FETCH_BYTES: usize = 4 << 20;

/// One reader of a source partition in its task.
pub struct TaskLane {
    pub table: Arc<TableSpec>,
    pub source: usize,
    pub partition: u32,
    pub step: StepId,
    /// What it reads for.
    pub flow: Flow,
    /// Counts, late and rejected records of the partition are this lane's.
    pub first: bool,
    lane: Lane,
    reader: Option<Box<dyn PartitionReader>>,
    bounded: bool,
    /// Where a bounded read of a log that goes on ends, as the control log has it.
    end: Option<i64>,
    /// Where a replay stops.
    until: Option<i64>,
    /// Where the log ended when the lane was opened, and whether it came so far.
    there: i64,
    level: bool,
    pub caught_up: bool,
    pub ended: bool,
    silence: Silence,
    /// The log that the reader reads.
    log: Option<Arc<dyn Source>>,
    /// Watermarks of all partitions of all sources, for a partition that never had a record.
    watermarks: Arc<BTreeMap<(usize, u32), AtomicI64>>,
}

impl TaskLane {
    pub fn new(
        table: Arc<TableSpec>,
        source: usize,
        partition: u32,
        (step, of): (StepId, &Step),
        first: bool,
        append: AppendTime,
        watermarks: Arc<BTreeMap<(usize, u32), AtomicI64>>,
    ) -> Result<Self> {
        let (flow, stream) = (of.flow, of.stream.clone());
        let spec = LaneSpec { table: Arc::clone(&table), input: source as i32, partition, append, stream };
        Ok(Self {
            table,
            source,
            partition,
            step,
            flow,
            first,
            lane: Lane::new(spec)?,
            reader: None,
            bounded: false,
            end: None,
            until: None,
            there: i64::MAX,
            level: false,
            caught_up: false,
            ended: false,
            silence: Silence::default(),
            log: None,
            watermarks,
        })
    }

    /// Opens the partition at the lane's position, or at its start the first time.
    pub fn open(&mut self, ports: &Ports, partition: &Partition, restored: bool) -> Result<()> {
        let source = ports
            .sources
            .get(&self.table.name)
            .ok_or_else(|| Error::new(Code::Internal, format!("no source for `{}`", self.table.name)))?;
        let from = if restored { self.lane.position() } else { partition.start };
        if !restored {
            self.lane.reach(from);
        }
        self.bounded = partition.bounded;
        self.there = partition.end;
        self.end = (partition.bounded && source.until_end()).then_some(partition.end);
        self.until =
            ports.until.as_ref().and_then(|u| u.get(&(self.table.name.clone(), self.partition)).copied());
        self.log = Some(Arc::clone(source));
        if !self.ended {
            let reader = source.open(self.partition, from).map_err(|e| e.or_at(self.place()))?;
            self.reader = Some(reader);
        }
        self.check_end();
        Ok(())
    }

    /// The watermark that the partition had where this lane goes on.
    pub fn begin(&mut self, watermark: i64) {
        self.lane.start_watermark(watermark);
        self.publish();
    }

    pub fn place(&self) -> Place {
        Place::Position {
            topic: self.table.name.clone(),
            partition: self.partition,
            offset: self.lane.position(),
        }
    }

    pub fn lane(&self) -> &Lane {
        &self.lane
    }

    pub fn watermark(&self) -> i64 {
        self.lane.watermark()
    }

    pub fn is_of(&self, mark: &Mark) -> bool {
        mark.table == self.table.name && mark.partition == self.partition
    }

    /// Takes a mark if it is for this lane.
    pub fn mark(&mut self, mark: &Mark) {
        if self.is_of(mark) {
            self.lane.mark(mark.offset, mark.watermark);
            self.lane.reach(self.lane.position());
        }
    }

    /// Fetches without waiting.
    pub fn fetch(&mut self, rows: usize) -> Result<Option<Fetched>> {
        let (at, position) = (self.place(), self.lane.position());
        let Some(reader) = &mut self.reader else { return Ok(None) };
        if self.end.is_some_and(|end| position >= end) {
            return Ok(Some(Fetched { batch: None, next: position, caught_up: true, ended: true }));
        }
        let mut fetched =
            reader.fetch(FetchLimit { rows, bytes: FETCH_BYTES }, Duration::ZERO).map_err(|e| e.or_at(at))?;
        if let Some(limit) = self.end.into_iter().chain(self.until).min()
            && fetched.next > limit
        {
            fetched.batch = fetched.batch.and_then(|b| cut(b, limit));
            fetched.next = limit;
        }
        if self.end.is_some() {
            // The reader's own end may be a later one: that of this start, not of the first.
            fetched.ended = self.end.is_some_and(|end| fetched.next >= end);
            fetched.caught_up |= fetched.ended;
        }
        Ok(Some(fetched))
    }

    /// Gives a fetched batch its fates. `troubles` says how often peers of the run were in trouble.
    pub fn take(&mut self, fetched: Fetched, now: Duration, troubles: u64) -> Result<Option<Taken>> {
        self.caught_up = fetched.caught_up;
        if fetched.batch.is_some() || !fetched.caught_up {
            self.stir();
        } else {
            let own = self.log.as_ref().map_or(0, |log| log.troubles());
            self.silence.confirm(now, troubles.wrapping_add(own));
        }
        let taken = match fetched.batch {
            Some(batch) => Some(self.lane.take(batch, fetched.next).map_err(|e| e.or_at(self.place()))?),
            None => {
                self.lane.reach(fetched.next);
                None
            }
        };
        if fetched.ended && self.bounded {
            self.lane.end();
            self.ended = true;
            self.reader = None;
        }
        self.check_end();
        self.level |= self.caught_up;
        self.publish();
        Ok(taken)
    }

    /// A replay that reached its end raises nothing: the lane only stops.
    fn check_end(&mut self) {
        if self.until.is_some_and(|until| self.lane.position() >= until) {
            self.reader = None;
            self.caught_up = true;
        }
    }

    pub fn publish(&self) {
        if let Some(slot) = self.watermarks.get(&(self.source, self.partition)) {
            // The partition's other lane may be further.
            slot.fetch_max(self.lane.watermark(), Ordering::Relaxed);
        }
    }

    /// Silence begins anew.
    pub fn stir(&mut self) {
        self.silence.stir();
    }

    /// Forgets that the log's end was seen: what was appended since then is to be read, too.
    pub fn look_again(&mut self) {
        self.caught_up &= self.reader.is_none();
    }

    /// Whether it took all that the log held when it was opened: nobody had read further before.
    pub fn level(&self) -> bool {
        self.level || self.ended || self.lane.position() >= self.there
    }

    /// Whether nothing more is to be had now.
    pub fn at_rest(&self) -> bool {
        self.ended || self.caught_up
    }

    /// The silence up to now is in a mark of the partition.
    pub fn marked(&mut self) {
        self.silence.told();
    }

    /// The mark that is due after confirmed silence, to be made durable before `mark` applies it.
    pub fn due_mark(&mut self) -> Option<Mark> {
        let idle_after = Duration::from_micros(u64::try_from(self.table.idle_after?).ok()?);
        self.reader.as_ref()?;
        let silent = self.silence.due(idle_after)?;
        let own = self.lane.watermark();
        let watermark = if own == NOTHING {
            let others = |same: bool| {
                self.watermarks
                    .iter()
                    .filter(|((source, partition), _)| {
                        (*source == self.source) == same
                            && (*source, *partition) != (self.source, self.partition)
                    })
                    .map(|(_, w)| w.load(Ordering::Relaxed))
                    .filter(|w| *w != NOTHING)
                    .min()
            };
            others(true).or_else(|| others(false))?
        } else {
            own.saturating_add(i64::try_from(silent.as_micros()).ok()?)
        };
        Some(Mark {
            table: self.table.name.clone(),
            partition: self.partition,
            offset: self.lane.position(),
            watermark,
        })
    }

    pub fn snapshot(&mut self, into: &mut Saver) -> Result<()> {
        into.u64(u64::from(self.ended));
        self.lane.snapshot(into)
    }

    pub fn restore(&mut self, from: &mut Loader<'_>) -> Result<()> {
        self.ended = from.u64()? == 1;
        self.lane.restore(from)?;
        self.publish();
        Ok(())
    }
}

/// The records of a batch below an offset.
fn cut(batch: RawBatch, until: i64) -> Option<RawBatch> {
    let keep = batch.offsets.partition_point(|o| *o < until);
    if keep == 0 {
        return None;
    }
    let payload = match batch.payload {
        Payload::Bytes(values) => Payload::Bytes(values.slice(0, keep)),
        Payload::Rows(rows) => Payload::Rows(rows.slice(0, keep)),
    };
    Some(RawBatch {
        offsets: batch.offsets[..keep].to_vec(),
        append_us: batch.append_us[..keep].to_vec(),
        payload,
        keys: batch.keys.map(|k| k.slice(0, keep)),
        headers: batch.headers.into_iter().filter(|h| (h.row as usize) < keep).collect(),
    })
}
