//! Final rows of a join's right side: for each key, its rows in canonical order.
//!
//! In:   batches in canonical order, each from where the one before ended.
//! Out:  positions of a key's rows, forward in time.
//! Owns: the rows until nobody can reach them, and the numbers of keys. Not what matches.
//!
//! T1  Positions ascend in canonical order, so in event time.
//! T2  A key's rows are a chain; its cursor only moves forward: callers ask in ascending time.
//! T3  Appending costs O(rows appended); rows leave from the front batch by batch, and what a join
//!     supersedes leaves when rows have doubled. Positions are valid until the next append or drop.
//!
//! Start at `Timelines::append`, `seek` and `latest`.

use std::collections::VecDeque;
use std::sync::Arc;

use datafusion::arrow::array::BooleanArray;
use datafusion::arrow::compute::{concat_batches, filter_record_batch};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::physical_plan::PhysicalExpr;
use weir_contract::{Code, Error, Result};

use super::join_keys::JoinKeys;
use super::join_rows::{CHUNK_ROWS, NONE, Spot, bytes_of, lowest, times_of};
use crate::base::{FOREVER, internal_arrow};

/// Rows before superseded ones are looked for. Eyeballed: a few pages.
const THIN_ROWS: usize = 1024;

#[derive(Debug, Clone, Copy)]
struct Entry {
    time: i64,
    /// Position of the key's next row, or `NONE`.
    next: u32,
}

#[derive(Debug)]
struct Segment {
    batch: RecordBatch,
    /// Position of its first row.
    first: u32,
    /// Time of its last row.
    last_time: i64,
    lows: Vec<i64>,
    bytes: usize,
}

/// A key's chain: where to look from, and its last row.
#[derive(Debug, Clone, Copy)]
struct Chain {
    cursor: u32,
    tail: u32,
}

const EMPTY: Chain = Chain { cursor: NONE, tail: NONE };

/// See the module.
pub struct Timelines {
    schema: SchemaRef,
    time: usize,
    tracked: Vec<usize>,
    key_exprs: Vec<Arc<dyn PhysicalExpr>>,
    keys: JoinKeys,
    segments: VecDeque<Segment>,
    entries: Vec<Entry>,
    chains: Vec<Chain>,
    numbers: Vec<u32>,
    segment_bytes: usize,
    /// Rows that stayed when superseded ones were last looked for.
    thinned: usize,
}

impl Timelines {
    pub fn new(
        schema: SchemaRef,
        time: usize,
        tracked: Vec<usize>,
        key_exprs: Vec<Arc<dyn PhysicalExpr>>,
        keys: JoinKeys,
    ) -> Self {
        Self {
            schema,
            time,
            tracked,
            key_exprs,
            keys,
            segments: VecDeque::new(),
            entries: Vec::new(),
            chains: Vec::new(),
            numbers: Vec::new(),
            segment_bytes: 0,
            thinned: 0,
        }
    }

    /// Adds rows after all others. Rows with a NULL key are dropped: nothing matches them.
    pub fn append(&mut self, batch: RecordBatch) -> Result<()> {
        if self.keys.overgrown(self.entries.len()) {
            self.rebuild()?;
        }
        let mut numbers = std::mem::take(&mut self.numbers);
        self.keys.number(&self.key_exprs, &batch, &mut numbers)?;
        let mut batch = batch;
        if numbers.contains(&NONE) {
            let keep = BooleanArray::from_iter(numbers.iter().map(|n| Some(*n != NONE)));
            batch = filter_record_batch(&batch, &keep).map_err(internal_arrow)?;
            numbers.retain(|n| *n != NONE);
        }
        if batch.num_rows() > 0 {
            let times = times_of(&batch, self.time)?;
            self.link(&times, &numbers)?;
            self.add_segment(batch)?;
        }
        self.numbers = numbers;
        Ok(())
    }

    fn link(&mut self, times: &[i64], numbers: &[u32]) -> Result<()> {
        if self.entries.len() + times.len() >= NONE as usize {
            return Err(Error::new(Code::Internal, "a join holds more than 4 billion rows"));
        }
        debug_assert!(self.entries.last().is_none_or(|e| e.time <= times[0]), "rows in canonical order");
        self.chains.resize(self.keys.count(), EMPTY);
        self.entries.reserve(times.len());
        for (time, number) in times.iter().zip(numbers) {
            let position = self.entries.len() as u32;
            let chain = &mut self.chains[*number as usize];
            if chain.tail == NONE {
                chain.cursor = position;
            } else {
                self.entries[chain.tail as usize].next = position;
            }
            chain.tail = position;
            self.entries.push(Entry { time: *time, next: NONE });
        }
        Ok(())
    }

    /// Small neighbours become one batch; each row is copied O(log) times at most.
    fn add_segment(&mut self, batch: RecordBatch) -> Result<()> {
        let mut parts = VecDeque::from([batch]);
        let mut rows = parts[0].num_rows();
        let mut first = (self.entries.len() - rows) as u32;
        while let Some(last) = self.segments.back()
            && last.batch.num_rows() <= 2 * rows
            && last.batch.num_rows() + rows <= CHUNK_ROWS
            && let Some(last) = self.segments.pop_back()
        {
            rows += last.batch.num_rows();
            first = last.first;
            self.segment_bytes -= last.bytes;
            parts.push_front(last.batch);
        }
        let batch = match parts.make_contiguous() {
            [one] => one.clone(),
            many => concat_batches(&self.schema, many.iter()).map_err(internal_arrow)?,
        };
        let times = times_of(&batch, self.time)?;
        let lows = self.tracked.iter().map(|c| Ok(lowest(&times_of(&batch, *c)?))).collect::<Result<_>>()?;
        let bytes = bytes_of(&batch);
        self.segment_bytes += bytes;
        let last_time = times.last().copied().unwrap_or(FOREVER);
        self.segments.push_back(Segment { batch, first, last_time, lows, bytes });
        Ok(())
    }

    /// The numbers of rows of the other side, by their own key expressions.
    pub fn number(
        &mut self,
        exprs: &[Arc<dyn PhysicalExpr>],
        batch: &RecordBatch,
        into: &mut Vec<u32>,
    ) -> Result<()> {
        if self.keys.overgrown(self.entries.len()) {
            self.rebuild()?;
        }
        self.keys.number(exprs, batch, into)
    }

    /// Moves a key's cursor to its first row at or after `low`; gives it, or `NONE`.
    pub fn seek(&mut self, number: u32, low: i64) -> u32 {
        let Some(chain) = self.chains.get_mut(number as usize) else { return NONE };
        while chain.cursor != NONE {
            let entry = self.entries[chain.cursor as usize];
            if entry.time >= low {
                return chain.cursor;
            }
            if entry.next == NONE {
                return NONE;
            }
            chain.cursor = entry.next;
        }
        NONE
    }

    /// Moves a key's cursor to its last row at or before `high`; gives it, or `NONE`.
    pub fn latest(&mut self, number: u32, high: i64) -> u32 {
        let Some(chain) = self.chains.get_mut(number as usize) else { return NONE };
        if chain.cursor == NONE || self.entries[chain.cursor as usize].time > high {
            return NONE;
        }
        loop {
            let next = self.entries[chain.cursor as usize].next;
            if next == NONE || self.entries[next as usize].time > high {
                return chain.cursor;
            }
            chain.cursor = next;
        }
    }

    pub fn time(&self, position: u32) -> i64 {
        self.entries[position as usize].time
    }

    pub fn next(&self, position: u32) -> u32 {
        self.entries[position as usize].next
    }

    /// The place of a row in `batches`; `near` is a guess of the batch, from the call before.
    pub fn spot(&self, position: u32, near: &mut u32) -> Spot {
        let holds = |s: &Segment| s.first <= position && ((position - s.first) as usize) < s.batch.num_rows();
        if !self.segments.get(*near as usize).is_some_and(holds) {
            *near = self.segments.partition_point(|s| s.first <= position).saturating_sub(1) as u32;
        }
        Spot { batch: *near, row: position - self.segments[*near as usize].first }
    }

    /// The rows held, in canonical order.
    pub fn batches(&self) -> Vec<&RecordBatch> {
        self.segments.iter().map(|s| &s.batch).collect()
    }

    /// At or below the lowest value of tracked column number `i`; `FOREVER` without rows.
    pub fn lowest_tracked(&self, i: usize) -> i64 {
        self.segments.iter().map(|s| s.lows[i]).min().unwrap_or(FOREVER)
    }

    pub fn bytes(&self) -> usize {
        self.segment_bytes
            + self.entries.capacity() * size_of::<Entry>()
            + self.chains.capacity() * size_of::<Chain>()
            + self.keys.bytes()
    }

    /// Forgets whole batches below `bound`: nobody will ask for a time below it again.
    pub fn drop_below(&mut self, bound: i64) -> Result<()> {
        while let Some(front) = self.segments.front()
            && front.last_time < bound
            && let Some(front) = self.segments.pop_front()
        {
            self.segment_bytes -= front.bytes;
        }
        let gone = self.segments.front().map_or(self.entries.len(), |s| s.first as usize);
        if gone == self.entries.len() {
            if gone > 0 || self.keys.overgrown(0) {
                self.rebuild()?;
            }
        } else if gone * 2 > self.entries.len() {
            self.shift(gone);
        }
        Ok(())
    }

    /// Makes position `gone` position 0.
    fn shift(&mut self, gone: usize) {
        let mut chains = std::mem::take(&mut self.chains);
        for chain in &mut chains {
            while chain.cursor != NONE && (chain.cursor as usize) < gone {
                chain.cursor = self.entries[chain.cursor as usize].next;
            }
            *chain = match chain.cursor {
                NONE => EMPTY,
                cursor => Chain { cursor: cursor - gone as u32, tail: chain.tail - gone as u32 },
            };
        }
        self.chains = chains;
        self.entries.drain(..gone);
        self.entries.shrink_to(2 * self.entries.len());
        for entry in self.entries.iter_mut().filter(|e| e.next != NONE) {
            entry.next -= gone as u32;
        }
        for segment in &mut self.segments {
            segment.first -= gone as u32;
        }
    }

    /// Where rows have doubled since the last time, forgets each row whose successor of the same
    /// key has a time at or below `reach`: nobody will ask for the latest before it again.
    pub fn thin(&mut self, reach: i64) -> Result<()> {
        let gone = self.segments.front().map_or(self.entries.len(), |s| s.first as usize);
        if self.entries.len() - gone < 2 * self.thinned + THIN_ROWS {
            return Ok(());
        }
        let stays = |e: &Entry| e.next == NONE || self.entries[e.next as usize].time > reach;
        let keep: Vec<bool> = self.entries.iter().map(stays).collect();
        let segments = std::mem::take(&mut self.segments);
        self.segment_bytes = 0;
        let mut kept = Vec::with_capacity(segments.len());
        for segment in segments {
            let first = segment.first as usize;
            let rows = BooleanArray::from(keep[first..first + segment.batch.num_rows()].to_vec());
            kept.push(filter_record_batch(&segment.batch, &rows).map_err(internal_arrow)?);
        }
        self.refill(kept)?;
        self.thinned = self.entries.len();
        Ok(())
    }

    /// Numbers the keys of the rows held anew, and so forgets all others.
    fn rebuild(&mut self) -> Result<()> {
        let batches: Vec<RecordBatch> = self.segments.drain(..).map(|s| s.batch).collect();
        self.refill(batches)
    }

    fn refill(&mut self, batches: Vec<RecordBatch>) -> Result<()> {
        self.segments.clear();
        self.segment_bytes = 0;
        self.keys.clear()?;
        self.entries = Vec::new();
        self.chains = Vec::new();
        let mut numbers = std::mem::take(&mut self.numbers);
        for batch in batches.into_iter().filter(|b| b.num_rows() > 0) {
            self.keys.number(&self.key_exprs, &batch, &mut numbers)?;
            self.link(&times_of(&batch, self.time)?, &numbers)?;
            self.add_segment(batch)?;
        }
        self.numbers = numbers;
        Ok(())
    }
}
