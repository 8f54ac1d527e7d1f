//! One slot a key: its machine, its latest row, what it last told, and when its next timer runs.
//!
//! In:   rows' key columns; changes that `decide` makes to a slot.
//! Out:  slots by row; slots whose timers are due.
//! Owns: the memory of all keys, in bytes.
//!
//! The latest row is kept in arrow's row format: flat bytes that hold no buffer of a batch. The queue of
//! timers is lazy: it holds at least one entry at or before each slot's next deadline; an entry that is not
//! the slot's earliest means nothing.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, UInt32Array};
use datafusion::arrow::compute::take;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::arrow::row::{RowConverter, SortField};
use hashbrown::HashMap;
use weir_contract::{Code, Error, Result};

use super::machine::{Machine, Spans};
use crate::base::{FOREVER, internal_arrow};

/// No row of the batch at hand: the latest row is the stored one.
pub const STORED: u32 = u32::MAX;

/// Severity and recommendation, which make an ONGOING when they change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Words {
    pub severity: Option<Box<str>>,
    pub recommendation: Option<Box<str>>,
}

impl Words {
    pub fn are(&self, severity: Option<&str>, recommendation: Option<&str>) -> bool {
        self.severity.as_deref() == severity && self.recommendation.as_deref() == recommendation
    }

    /// Allocates only where something changed.
    pub fn set(&mut self, severity: Option<&str>, recommendation: Option<&str>) {
        for (mine, new) in [(&mut self.severity, severity), (&mut self.recommendation, recommendation)] {
            if mine.as_deref() != new {
                *mine = new.map(Into::into);
            }
        }
    }
}

pub struct Slot {
    /// Key columns in row format: equal keys are equal bytes, and bytes sort as keys do.
    pub key: Arc<[u8]>,
    pub machine: Machine,
    /// Event time of the latest row.
    pub last_time: i64,
    last: Vec<u8>,
    /// What the latest stored row says.
    pub latest: Words,
    /// What the running episode last told.
    pub told: Words,
    /// Row of the batch at hand that is the latest, or [`STORED`].
    pub source: u32,
    /// Last row of this key at the instant at hand.
    pub instant: u32,
    /// Deadline of the slot's earliest entry in the queue.
    queued: i64,
}

/// Severities and recommendations of a slot, eyeballed.
const WORDS_BYTES: usize = 48;

impl Slot {
    /// Only what changes through `add`, `store` and `settle`, so that the sum closes.
    fn bytes(&self) -> usize {
        size_of::<Slot>() + self.key.len() + self.last.capacity() + WORDS_BYTES
    }
}

pub struct Keys {
    key_columns: Vec<usize>,
    of_key: RowConverter,
    of_row: RowConverter,
    schema: SchemaRef,
    by_key: HashMap<Arc<[u8]>, u32>,
    slots: Vec<Option<Slot>>,
    free: Vec<u32>,
    queue: BinaryHeap<Reverse<(i64, u32)>>,
    bytes: usize,
}

fn converter(schema: &SchemaRef, columns: impl Iterator<Item = usize>) -> Result<RowConverter> {
    let fields: Vec<SortField> =
        columns.map(|c| SortField::new(schema.field(c).data_type().clone())).collect();
    if !RowConverter::supports_fields(&fields) {
        return Err(Error::new(Code::NotYet, "a column of a rule has a type that cannot be kept")
            .expected("plain types, lists and structs of them"));
    }
    RowConverter::new(fields).map_err(internal_arrow)
}

fn lost(slot: u32) -> Error {
    Error::new(Code::Internal, format!("slot {slot} of a rule's keys is empty"))
}

impl Keys {
    /// `key_columns` index `schema`, the rule's visible columns.
    pub fn new(schema: &SchemaRef, key_columns: Vec<usize>) -> Result<Keys> {
        Ok(Keys {
            of_key: converter(schema, key_columns.iter().copied())?,
            of_row: converter(schema, 0..schema.fields().len())?,
            key_columns,
            schema: schema.clone(),
            by_key: HashMap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            queue: BinaryHeap::new(),
            bytes: 0,
        })
    }

    pub fn slot(&mut self, at: u32) -> Result<&mut Slot> {
        self.slots.get_mut(at as usize).and_then(Option::as_mut).ok_or_else(|| lost(at))
    }

    /// The slot's key; nothing for an empty slot.
    pub fn key(&self, at: u32) -> Option<&[u8]> {
        self.slots.get(at as usize)?.as_ref().map(|slot| slot.key.as_ref())
    }

    pub fn iter(&self) -> impl Iterator<Item = (u32, &Slot)> {
        self.slots.iter().enumerate().filter_map(|(i, s)| Some((i as u32, s.as_ref()?)))
    }

    pub fn bytes(&self) -> usize {
        self.bytes + self.queue.len() * size_of::<Reverse<(i64, u32)>>()
    }

    /// The slot of each row; a key seen first gets one in OK.
    pub fn find(&mut self, batch: &RecordBatch) -> Result<Vec<u32>> {
        let columns: Vec<ArrayRef> = self.key_columns.iter().map(|c| batch.column(*c).clone()).collect();
        let rows = self.of_key.convert_columns(&columns).map_err(internal_arrow)?;
        let mut found = Vec::with_capacity(batch.num_rows());
        for row in &rows {
            let bytes = row.data();
            let slot = match self.by_key.get(bytes) {
                Some(slot) => *slot,
                None => self.add(bytes)?,
            };
            found.push(slot);
        }
        Ok(found)
    }

    fn add(&mut self, key: &[u8]) -> Result<u32> {
        let key: Arc<[u8]> = key.into();
        let slot = Slot {
            key: key.clone(),
            machine: Machine::default(),
            last_time: i64::MIN,
            last: Vec::new(),
            latest: Words::default(),
            told: Words::default(),
            source: STORED,
            instant: STORED,
            queued: FOREVER,
        };
        self.bytes += slot.bytes();
        let at = match self.free.pop() {
            Some(at) => at,
            None => {
                self.slots.push(None);
                u32::try_from(self.slots.len() - 1)
                    .map_err(|_| Error::new(Code::Internal, "a rule has more keys than can be counted"))?
            }
        };
        self.slots[at as usize] = Some(slot);
        self.by_key.insert(key, at);
        Ok(at)
    }

    /// The next slot with a queue entry below `limit`, its entry removed. The caller runs its timers and
    /// settles it.
    pub fn pop_due(&mut self, limit: i64) -> Option<u32> {
        while let Some(Reverse((at, slot))) = self.queue.peek().copied() {
            if at >= limit {
                return None;
            }
            self.queue.pop();
            if let Some(Some(s)) = self.slots.get_mut(slot as usize)
                && s.queued == at
            {
                s.queued = FOREVER;
                return Some(slot);
            }
        }
        None
    }

    /// The latest rows that are stored, of these slots, as a batch in the same order.
    pub fn stored(&self, slots: &[u32]) -> Result<RecordBatch> {
        let parser = self.of_row.parser();
        let mut rows = Vec::with_capacity(slots.len());
        for at in slots {
            let slot = self.slots.get(*at as usize).and_then(Option::as_ref).ok_or_else(|| lost(*at))?;
            rows.push(parser.parse(&slot.last));
        }
        let columns = self.of_row.convert_rows(rows).map_err(internal_arrow)?;
        RecordBatch::try_new(self.schema.clone(), columns).map_err(internal_arrow)
    }

    /// Keeps what the slots touched need for later: the latest row and the next timer. Idle ones go.
    pub fn settle(&mut self, batch: Option<&RecordBatch>, touched: &[u32], spans: &Spans) -> Result<()> {
        let mut kept = Vec::new();
        let mut sources = Vec::new();
        for &at in touched {
            let Some(slot) = self.slots.get_mut(at as usize).and_then(Option::as_mut) else { continue };
            if slot.machine.is_idle() {
                self.bytes = self.bytes.saturating_sub(slot.bytes());
                self.by_key.remove(&slot.key);
                self.slots[at as usize] = None;
                self.free.push(at);
                continue;
            }
            if let Some((deadline, _)) = slot.machine.due(spans)
                && deadline < slot.queued
            {
                slot.queued = deadline;
                self.queue.push(Reverse((deadline, at)));
            }
            if slot.source != STORED {
                sources.push(slot.source);
                kept.push(at);
            }
        }
        if let Some(batch) = batch
            && !kept.is_empty()
        {
            let sources = UInt32Array::from(sources);
            let columns = batch.columns().iter().map(|c| take(c, &sources, None));
            let columns = columns.collect::<Result<Vec<_>, _>>().map_err(internal_arrow)?;
            self.store(&columns, &kept)?;
        }
        // Entries that mean nothing may outnumber the others only so far.
        if self.queue.len() > 4 * self.by_key.len() + 64 {
            self.requeue(spans);
        }
        Ok(())
    }

    /// Stores one row for each of these slots.
    pub fn store(&mut self, columns: &[ArrayRef], slots: &[u32]) -> Result<()> {
        let rows = self.of_row.convert_columns(columns).map_err(internal_arrow)?;
        for (row, &at) in rows.iter().zip(slots) {
            let slot = self.slots.get_mut(at as usize).and_then(Option::as_mut).ok_or_else(|| lost(at))?;
            let before = slot.last.capacity();
            slot.last.clear();
            slot.last.extend_from_slice(row.data());
            slot.source = STORED;
            self.bytes = (self.bytes + slot.last.capacity()).saturating_sub(before);
        }
        Ok(())
    }

    /// Builds the queue anew from the machines.
    pub fn requeue(&mut self, spans: &Spans) {
        let mut queue = Vec::with_capacity(self.by_key.len());
        for (i, slot) in self.slots.iter_mut().enumerate() {
            let Some(slot) = slot else { continue };
            slot.queued = slot.machine.due(spans).map_or(FOREVER, |(at, _)| at);
            if slot.queued < FOREVER {
                queue.push(Reverse((slot.queued, i as u32)));
            }
        }
        self.queue = BinaryHeap::from(queue);
    }

    /// Slots in the order of their keys.
    pub fn in_order(&self) -> Vec<u32> {
        let mut slots: Vec<(&[u8], u32)> = self.iter().map(|(at, s)| (s.key.as_ref(), at)).collect();
        slots.sort_unstable();
        slots.into_iter().map(|(_, at)| at).collect()
    }

    pub fn clear(&mut self) {
        self.by_key.clear();
        self.slots.clear();
        self.free.clear();
        self.queue.clear();
        self.bytes = 0;
    }
}
