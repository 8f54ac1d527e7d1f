//! The keys of an OVER: the rows each may still need, and its accumulators.
//!
//! In:   chunks of final rows, grouped by key, each later than all before it; the time below which no
//!       frame will reach.
//! Out:  one value per row and function.
//! Owns: chunks in order, keys, accumulators. A key's rows are slices of chunks, never copies.
//!
//! K1  An accumulator holds the key's rows from its cursor to the end; the cursor never moves back.
//! K2  Rows are counted per key from its first one, so a row keeps its number when older ones leave.

use std::collections::VecDeque;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array};
use datafusion::arrow::compute::{interleave, take_record_batch};
use datafusion::arrow::row::{RowConverter, SortField};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Accumulator;
use hashbrown::HashMap;
use weir_contract::{Code, Error, Result};

use super::OverFunction;
use super::chunk::{Chunk, Function, Narrow};
use crate::base::{internal, internal_arrow};

/// Part of a key's rows: `len` rows of a chunk from `start`, the first of which has number `first`.
struct Segment {
    chunk: Arc<Chunk>,
    start: usize,
    len: usize,
    first: u64,
}

impl Segment {
    fn end(&self) -> u64 {
        self.first + self.len as u64
    }

    /// Where a row stands in the chunk.
    fn place(&self, row: u64) -> usize {
        self.start + (row - self.first) as usize
    }
}

/// An accumulator and the number of the first row in it.
struct Moving {
    accumulator: Box<dyn Accumulator>,
    cursor: u64,
}

struct Key {
    name: Arc<[u8]>,
    segments: VecDeque<Segment>,
    /// Parallel to the functions; `None` for those that only look rows up.
    moving: Vec<Option<Moving>>,
    /// Rows so far.
    rows: u64,
}

impl Key {
    /// The segment that holds a row.
    fn segment(&self, row: u64) -> Option<&Segment> {
        let after = self.segments.partition_point(|s| s.first <= row);
        self.segments.get(after.checked_sub(1)?).filter(|s| row < s.end())
    }

    /// The first row at or after `from` whose time is at least `bound`.
    fn first_at(&self, from: u64, bound: i64) -> u64 {
        let mut row = from;
        while let Some(segment) = self.segment(row) {
            let at = segment.place(row);
            let times = &segment.chunk.times.values()[at..segment.start + segment.len];
            // Frames move by few rows: look at the next ones before cutting in halves.
            let near = times.iter().take(8).take_while(|t| **t < bound).count();
            let run = if near < 8 { near } else { times.partition_point(|t| *t < bound) };
            row += run as u64;
            if run < times.len() {
                break;
            }
        }
        row
    }

    /// Takes the rows before `row` out of the accumulator of function `index`.
    fn retract(&mut self, index: usize, row: u64, scratch: &mut Vec<ArrayRef>) -> Result<()> {
        let Some(mut moving) = self.moving[index].take() else { return Ok(()) };
        while moving.cursor < row {
            let segment = self.segment(moving.cursor).ok_or_else(|| {
                Error::new(Code::Internal, "OVER: a row left before its accumulator let it go")
            })?;
            let end = segment.end().min(row);
            let (from, to) = (segment.place(moving.cursor), segment.place(end - 1) + 1);
            if slices(&segment.chunk, index, from, to, scratch) {
                moving.accumulator.retract_batch(scratch).map_err(internal)?;
            }
            moving.cursor = end;
        }
        self.moving[index] = Some(moving);
        Ok(())
    }
}

/// Fills `into` with the arguments of rows `from..to`; false where none of them passes the filter.
fn slices(chunk: &Chunk, index: usize, from: usize, to: usize, into: &mut Vec<ArrayRef>) -> bool {
    let columns = &chunk.columns[index];
    let (from, to) = columns.places(from, to);
    into.clear();
    into.extend(columns.arguments.iter().map(|a| a.slice(from, to - from)));
    from < to
}

/// Rows of one advance, grouped by key.
pub(super) struct Grouped {
    pub chunk: Chunk,
    /// For each row of the chunk, where it stood before.
    pub from: Vec<u32>,
}

pub(super) struct Keys {
    converter: Option<RowConverter>,
    by_name: HashMap<Arc<[u8]>, u32>,
    keys: Vec<Option<Key>>,
    free: Vec<u32>,
    chunks: VecDeque<Arc<Chunk>>,
    chunk_bytes: usize,
    functions: usize,
    /// Slots of `group`, by key; all zero between calls.
    counts: Vec<u32>,
}

impl Keys {
    pub fn new(narrow: &Narrow) -> Result<Self> {
        for function in &narrow.functions {
            function.accumulator()?;
        }
        let fields: Vec<_> = narrow.key_types()?.into_iter().map(SortField::new).collect();
        let converter = match fields.is_empty() {
            true => None,
            false => Some(RowConverter::new(fields).map_err(internal_arrow)?),
        };
        Ok(Self {
            converter,
            by_name: HashMap::new(),
            keys: Vec::new(),
            free: Vec::new(),
            chunks: VecDeque::new(),
            chunk_bytes: 0,
            functions: narrow.functions.len(),
            counts: Vec::new(),
        })
    }

    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    pub fn chunks(&self) -> impl Iterator<Item = &Chunk> {
        self.chunks.iter().map(Arc::as_ref)
    }

    /// An estimate: rows are counted, an accumulator is taken to be 256 bytes.
    pub fn bytes(&self) -> usize {
        self.chunk_bytes + self.by_name.len() * (160 + 256 * self.functions)
    }

    /// Groups rows of the narrow schema by key, keys in the order of their first row, and makes the keys
    /// that are new.
    pub fn group(&mut self, narrow: &Narrow, rows: &RecordBatch) -> Result<Grouped> {
        let mut ids = Vec::with_capacity(rows.num_rows());
        if self.converter.is_some() {
            let columns = narrow.key(rows)?;
            let names = self.converter.as_ref().map(|c| c.convert_columns(&columns)).transpose();
            for name in names.map_err(internal_arrow)?.iter().flatten() {
                ids.push(self.id(narrow, name.data())?);
            }
        } else {
            let id = self.id(narrow, &[])?;
            ids.resize(rows.num_rows(), id);
        }
        self.counts.resize(self.keys.len(), 0);
        let mut touched = Vec::new();
        for id in &ids {
            let count = &mut self.counts[*id as usize];
            if *count == 0 {
                touched.push(*id);
            }
            *count += 1;
        }
        let mut start = 0;
        let mut segments = Vec::with_capacity(touched.len());
        for id in touched {
            let count = std::mem::replace(&mut self.counts[id as usize], start);
            segments.push((id, start as usize, count as usize));
            start += count;
        }
        let mut from = vec![0; ids.len()];
        for (row, id) in ids.iter().enumerate() {
            let next = &mut self.counts[*id as usize];
            from[*next as usize] = row as u32;
            *next += 1;
        }
        segments.iter().for_each(|(id, _, _)| self.counts[*id as usize] = 0);
        let grouped = take_record_batch(rows, &UInt32Array::from(from.clone())).map_err(internal_arrow)?;
        Ok(Grouped { chunk: Chunk::new(narrow, grouped, segments)?, from })
    }

    fn id(&mut self, narrow: &Narrow, name: &[u8]) -> Result<u32> {
        if let Some(id) = self.by_name.get(name) {
            return Ok(*id);
        }
        let moving = |f: &Function| Ok(f.accumulator()?.map(|accumulator| Moving { accumulator, cursor: 0 }));
        let name: Arc<[u8]> = name.into();
        let key = Key {
            name: Arc::clone(&name),
            segments: VecDeque::new(),
            moving: narrow.functions.iter().map(moving).collect::<Result<_>>()?,
            rows: 0,
        };
        let id = match self.free.pop() {
            Some(id) => id,
            None => {
                self.keys.push(None);
                (self.keys.len() - 1) as u32
            }
        };
        self.keys[id as usize] = Some(key);
        self.by_name.insert(name, id);
        Ok(id)
    }

    fn key(&mut self, id: u32) -> Result<&mut Key> {
        let key = self.keys.get_mut(id as usize).and_then(Option::as_mut);
        key.ok_or_else(|| Error::new(Code::Internal, "OVER: rows of a key that is gone"))
    }

    /// Gives the chunk's rows to their keys as the newest ones.
    fn append(&mut self, chunk: &Arc<Chunk>) -> Result<()> {
        for (id, start, len) in &chunk.segments {
            let key = self.key(*id)?;
            let first = key.rows;
            key.segments.push_back(Segment { chunk: Arc::clone(chunk), start: *start, len: *len, first });
            key.rows += *len as u64;
        }
        self.chunk_bytes += chunk.bytes();
        self.chunks.push_back(Arc::clone(chunk));
        Ok(())
    }

    /// Takes rows of a snapshot back in: they are in the accumulators, as far as those may need them.
    pub fn remember(&mut self, narrow: &Narrow, grouped: Grouped) -> Result<()> {
        let chunk = Arc::new(grouped.chunk);
        self.append(&chunk)?;
        let mut scratch = Vec::new();
        for (id, start, len) in &chunk.segments {
            let key = self.key(*id)?;
            for index in 0..narrow.functions.len() {
                if let Some(moving) = &mut key.moving[index]
                    && slices(&chunk, index, *start, start + len, &mut scratch)
                {
                    moving.accumulator.update_batch(&scratch).map_err(internal)?;
                }
            }
        }
        Ok(())
    }

    /// The functions' values for the rows of a chunk, in the chunk's order. Rows below `cut` that no later
    /// frame reaches are not kept.
    pub fn process(&mut self, narrow: &Narrow, grouped: Grouped, cut: i64) -> Result<Vec<ArrayRef>> {
        let chunk = Arc::new(grouped.chunk);
        self.append(&chunk)?;
        let mut results = Vec::with_capacity(narrow.functions.len());
        for (index, function) in narrow.functions.iter().enumerate() {
            results.push(match function.spec {
                OverFunction::Aggregate { preceding, .. } => {
                    self.aggregate(&chunk, index, preceding, function)?
                }
                _ => self.look_up(&chunk, index, function)?,
            });
        }
        let kept = chunk.times.values().iter().filter(|t| **t >= cut).count();
        if kept > 0 && kept * 2 < chunk.rows.num_rows() {
            self.shrink(narrow, &chunk, cut)?;
        }
        Ok(results)
    }

    fn aggregate(
        &mut self,
        chunk: &Chunk,
        index: usize,
        preceding: i64,
        function: &Function,
    ) -> Result<ArrayRef> {
        let mut values: Vec<ScalarValue> = Vec::with_capacity(chunk.rows.num_rows());
        let mut scratch = Vec::new();
        for (id, start, len) in &chunk.segments {
            let key = self.key(*id)?;
            let times = &chunk.times.values()[*start..start + len];
            let mut at = 0;
            while at < *len {
                let time = times[at];
                let peers = times[at..].iter().take_while(|t| **t == time).count();
                let cursor = key.moving[index].as_ref().map_or(0, |m| m.cursor);
                let first = key.first_at(cursor, time.saturating_sub(preceding));
                key.retract(index, first, &mut scratch)?;
                if let Some(moving) = &mut key.moving[index] {
                    if slices(chunk, index, start + at, start + at + peers, &mut scratch) {
                        moving.accumulator.update_batch(&scratch).map_err(internal)?;
                    }
                    let value = moving.accumulator.evaluate().map_err(internal)?;
                    values.extend(std::iter::repeat_n(value, peers));
                }
                at += peers;
            }
        }
        debug_assert_eq!(values.len(), chunk.rows.num_rows());
        let values = ScalarValue::iter_to_array(values).map_err(internal)?;
        if *values.data_type() == function.data_type {
            return Ok(values);
        }
        Err(Error::new(
            Code::Internal,
            format!("OVER: an aggregate gives {} and not {}", values.data_type(), function.data_type),
        ))
    }

    /// LAG, FIRST_VALUE and LAST_VALUE: for each row the row whose value it takes, then one interleave.
    fn look_up(&mut self, chunk: &Arc<Chunk>, index: usize, function: &Function) -> Result<ArrayRef> {
        // Array 0 is NULL, array 1 the chunk's defaults; then the chunks that are looked into.
        let null =
            ScalarValue::try_new_null(&function.data_type).and_then(|n| n.to_array()).map_err(internal)?;
        let default = chunk.columns[index].default.clone();
        let mut arrays = vec![Arc::clone(&null), default.clone().unwrap_or(null)];
        let mut places: HashMap<*const Chunk, usize> = HashMap::new();
        let mut place_of = |chunk: &Arc<Chunk>| {
            *places.entry(Arc::as_ptr(chunk)).or_insert_with(|| {
                arrays.push(Arc::clone(&chunk.columns[index].arguments[0]));
                arrays.len() - 1
            })
        };
        let mut wanted = Vec::with_capacity(chunk.rows.num_rows());
        for (id, start, len) in &chunk.segments {
            let key = self.key(*id)?;
            let times = &chunk.times.values()[*start..start + len];
            let number = key.rows - *len as u64;
            let mut first = key.segments.front().map_or(0, |s| s.first);
            let mut last = 0;
            for (at, time) in times.iter().enumerate() {
                let bound = time.saturating_sub(function.spec.preceding());
                let row = match &function.spec {
                    OverFunction::Lag { n, .. } => (number + at as u64).checked_sub(*n as u64),
                    OverFunction::LastValue { .. } => {
                        if last <= at {
                            last = at + times[at..].iter().take_while(|t| *t == time).count();
                        }
                        Some(number + last as u64 - 1)
                    }
                    _ => {
                        first = key.first_at(first, bound);
                        Some(first)
                    }
                };
                let found = row.and_then(|row| key.segment(row).map(|s| (s, s.place(row))));
                wanted.push(match found {
                    Some((s, place)) if s.chunk.times.value(place) >= bound => (place_of(&s.chunk), place),
                    _ if default.is_some() => (1, start + at),
                    _ => (0, 0),
                });
            }
        }
        let arrays: Vec<&dyn Array> = arrays.iter().map(AsRef::as_ref).collect();
        interleave(&arrays, &wanted).map_err(internal_arrow)
    }

    /// Replaces the newest chunk, most of which no frame will reach again, by the rest of it.
    fn shrink(&mut self, narrow: &Narrow, chunk: &Arc<Chunk>, cut: i64) -> Result<()> {
        let mut kept: Vec<u32> = Vec::new();
        let mut segments = Vec::new();
        let mut scratch = Vec::new();
        for (id, start, len) in &chunk.segments {
            let skip = chunk.times.values()[*start..start + len].partition_point(|t| *t < cut);
            let key = self.key(*id)?;
            let first = key.rows - *len as u64 + skip as u64;
            if skip == *len {
                // All its rows are out of reach, older ones too.
                self.forget(*id);
                continue;
            }
            for index in 0..narrow.functions.len() {
                let cursor = key.moving[index].as_ref().map_or(first, |m| m.cursor);
                key.retract(index, first.max(cursor), &mut scratch)?;
            }
            segments.push((*id, kept.len(), len - skip));
            kept.extend((start + skip..start + len).map(|row| row as u32));
        }
        let rows = take_record_batch(&chunk.rows, &UInt32Array::from(kept)).map_err(internal_arrow)?;
        let smaller = Arc::new(Chunk::new(narrow, rows, segments)?);
        for (id, start, len) in &smaller.segments {
            let key = self.key(*id)?;
            key.segments.pop_back();
            let first = key.rows - *len as u64;
            key.segments.push_back(Segment { chunk: Arc::clone(&smaller), start: *start, len: *len, first });
        }
        self.chunks.pop_back();
        self.chunk_bytes = self.chunk_bytes + smaller.bytes() - chunk.bytes();
        self.chunks.push_back(smaller);
        Ok(())
    }

    fn forget(&mut self, id: u32) {
        if let Some(key) = self.keys[id as usize].take() {
            self.by_name.remove(&key.name);
            self.free.push(id);
        }
    }

    /// Drops the chunks that lie below `cut` as a whole, and the keys that have nothing left.
    pub fn evict(&mut self, narrow: &Narrow, cut: i64) -> Result<()> {
        let mut scratch = Vec::new();
        while let Some(chunk) = self.chunks.pop_front_if(|chunk| chunk.latest < cut) {
            self.chunk_bytes -= chunk.bytes();
            for (id, _, _) in &chunk.segments {
                // A key may be gone, and its number another's.
                let Some(key) = self.keys[*id as usize].as_mut() else { continue };
                let Some(oldest) = key.segments.front() else { continue };
                if !Arc::ptr_eq(&oldest.chunk, &chunk) {
                    continue;
                }
                let end = oldest.end();
                if key.segments.len() == 1 {
                    self.forget(*id);
                    continue;
                }
                for index in 0..narrow.functions.len() {
                    let cursor = key.moving[index].as_ref().map_or(end, |m| m.cursor);
                    key.retract(index, end.max(cursor), &mut scratch)?;
                }
                key.segments.pop_front();
            }
        }
        Ok(())
    }
}
