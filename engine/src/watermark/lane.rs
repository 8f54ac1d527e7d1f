//! One partition of one table: fates in offset order, and the watermark that they make.
//!
//! A batch is decoded whole; then one pass over its records, in offset order, applies idle marks, tells
//! duplicates, late and processed rows, and raises the watermark. Marks wait in a queue by offset.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int32Array, Int64Array, PrimitiveArray,
};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::datatypes::TimestampMicrosecondType;
use datafusion::arrow::json::LineDelimitedWriter;
use datafusion::arrow::record_batch::RecordBatch;
use weir_contract::wire::HEARTBEAT;
use weir_contract::{Code, Error, EventTime, Place, Result, Span};

use super::counts::Counts;
use super::dedup::{Keys, Seen};
use super::side::{SIDE_BYTES_MAX, SideRecord, SideWhy};
use crate::base::{FOREVER, NOTHING, StreamSchema, internal_arrow, shift};
use crate::decode::{Decoder, Reads, Reject, TIME_MAX, TIME_MIN, narrowed};
use crate::source::{NO_APPEND, Payload, RawBatch};
use crate::sql::catalog::{AppendTime, TableSpec};
use crate::state::{Loader, Saver};

/// First word of a lane's snapshot: "lane", version 1.
const TAG: u64 = 0x6c61_6e65_0000_0001;

/// Which partition a lane reads.
#[derive(Debug, Clone)]
pub struct LaneSpec {
    pub table: Arc<TableSpec>,
    /// Ordinal of the table in the program: `__i`.
    pub input: i32,
    pub partition: u32,
    /// `Untrusted` turns the guard off and ignores every append time.
    pub append: AppendTime,
    /// The shape of the rows that it gives: the table's [`stream_schema`](super::stream_schema), without
    /// what nobody reads. No record's fate depends on it.
    pub stream: StreamSchema,
}

/// What one batch gave.
#[derive(Debug, Default)]
pub struct Taken {
    /// Processed rows in offset order, in the lane's stream; None where there are none.
    pub rows: Option<RecordBatch>,
    pub late: Vec<SideRecord>,
    pub rejected: Vec<SideRecord>,
}

/// The fate and watermark of one partition's records.
pub struct Lane {
    spec: LaneSpec,
    name: Arc<str>,
    /// The table's columns that the stream has, in its order.
    given: Vec<usize>,
    decoder: Decoder,
    lateness: Span,
    /// Column and state of duplicates.
    dedup: Option<(usize, Seen)>,
    position: i64,
    watermark: i64,
    highest: i64,
    /// Idle marks that no record has reached: offset, watermark.
    marks: BTreeMap<i64, i64>,
    counts: Counts,
}

impl Lane {
    /// # Errors
    /// A table without event time, or a GENERATED column that cannot be planned.
    pub fn new(spec: LaneSpec) -> Result<Lane> {
        let table = &spec.table;
        let position = |name: &str| table.columns.iter().position(|c| c.name == name);
        let given = spec.stream.schema.fields().iter().filter_map(|f| position(f.name())).collect();
        let mut reads = Reads::of(table, &spec.stream.schema);
        let trusted = spec.append != AppendTime::Untrusted;
        let dedup = match &table.dedup {
            None => None,
            Some(dedup) => {
                let column = position(&dedup.column).ok_or_else(|| {
                    Error::new(Code::UnknownName, format!("there is no column `{}`", dedup.column))
                        .at(table.place.clone())
                })?;
                reads.also(table, column);
                Some((column, Seen::new(dedup.within)))
            }
        };
        Ok(Lane {
            name: table.name.as_str().into(),
            decoder: Decoder::new(table, spec.partition, trusted, &reads)?,
            lateness: table.watermark.as_ref().map_or(0, |w| w.lateness),
            dedup,
            given,
            position: 0,
            watermark: NOTHING,
            highest: NOTHING,
            marks: BTreeMap::new(),
            counts: Counts::default(),
            spec,
        })
    }

    /// An idle mark: it raises the watermark before the record at `offset`, or the first one behind it, gets
    /// its fate. One whose offset was reached already (a restart reads them again) acts at the next call of
    /// `reach` or `take`, and changes nothing where it acted before.
    pub fn mark(&mut self, offset: i64, watermark: i64) {
        let kept = self.marks.entry(offset).or_insert(watermark);
        *kept = watermark.max(*kept);
    }

    /// The watermark that a control record gives a partition when it joins.
    pub fn start_watermark(&mut self, watermark: i64) {
        self.watermark = self.watermark.max(watermark);
    }

    /// Applies the marks up to an offset, that one too.
    fn apply_marks(&mut self, offset: i64) {
        while let Some(first) = self.marks.first_entry() {
            if *first.key() > offset {
                break;
            }
            self.watermark = self.watermark.max(first.remove());
        }
    }

    /// No records came, but the position moved or marks arrived.
    pub fn reach(&mut self, position: i64) {
        self.position = self.position.max(position);
        self.apply_marks(self.position);
        self.forget();
    }

    /// The bounded partition ended: nothing can be late any more.
    pub fn end(&mut self) {
        self.watermark = FOREVER;
        self.forget();
    }

    fn forget(&mut self) {
        if let Some((_, seen)) = &mut self.dedup {
            seen.forget(self.watermark);
        }
    }

    /// Lowest event time that can still be processed: the partition is final below it.
    pub fn watermark(&self) -> i64 {
        self.watermark
    }

    /// The offset to go on from.
    pub fn position(&self) -> i64 {
        self.position
    }

    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Highest event time of processed rows and heartbeats; `NOTHING` before the first.
    pub fn highest(&self) -> i64 {
        self.highest
    }

    /// Bytes of dedup state and waiting marks.
    pub fn bytes(&self) -> usize {
        let seen = self.dedup.as_ref().map_or(0, |(_, seen)| seen.bytes());
        seen + self.marks.len() * 2 * size_of::<(i64, i64)>()
    }

    /// Gives each record of a batch its fate; `next` is the position behind it. Marks up to `next` apply at
    /// its end.
    ///
    /// # Errors
    /// `W0302` where records come twice or out of order: a fault of the reader. Never because of a record.
    pub fn take(&mut self, raw: RawBatch, next: i64) -> Result<Taken> {
        self.check_order(&raw, next)?;
        let mut rejects: BTreeMap<u32, Reject> = BTreeMap::new();
        let beats = self.heartbeats(&raw, &mut rejects);
        let wanted = self.row_records(&raw, &beats, &mut rejects);
        let decoded = self.decoder.decode(&raw, &wanted)?;
        rejects.extend(decoded.rejects);
        let times: PrimitiveArray<TimestampMicrosecondType> =
            built(&decoded.columns, self.decoder.event())?.as_primitive().clone();
        let keys = match &self.dedup {
            Some((column, _)) => Some(Keys::of(built(&decoded.columns, *column)?)?),
            None => None,
        };
        let mut taken = Taken::default();
        let mut processed = vec![false; decoded.records.len()];
        let mut beats = beats.into_iter().peekable();
        let mut rows = decoded.records.iter().copied().enumerate().peekable();
        for (index, &offset) in raw.offsets.iter().enumerate() {
            let record = index as u32;
            self.apply_marks(offset);
            let row = rows.next_if(|(_, r)| *r == record).map(|(row, _)| row);
            let beat = beats.next_if(|(r, _)| *r == record).map(|(_, time)| time);
            let (time, row) = match (row, beat) {
                (Some(row), _) => match self.guard(&raw, index, &times, row) {
                    Ok(time) => (time, Some(row)),
                    Err(reject) => {
                        rejects.insert(record, reject);
                        continue;
                    }
                },
                (None, Some(time)) => (time, None),
                (None, None) => continue, // a reject
            };
            match row {
                None => {
                    self.counts.heartbeats += 1;
                    self.highest = self.highest.max(time);
                }
                Some(row) => match self.fate(time, keys.as_ref().and_then(|keys| keys.get(row))) {
                    Fate::Processed => processed[row] = true,
                    Fate::Duplicate => {}
                    Fate::Late => {
                        let why = SideWhy::Late { event_time: time, watermark: self.watermark };
                        taken.late.push(self.side(&raw, index, why)?);
                    }
                },
            }
            let bound = match self.append(&raw, index) {
                NO_APPEND => time,
                append => time.min(append),
            };
            self.watermark = self.watermark.max(shift(bound, -self.lateness));
        }
        for (record, Reject { code, reason }) in &rejects {
            let why = SideWhy::Rejected { code: *code, reason: reason.clone() };
            taken.rejected.push(self.side(&raw, *record as usize, why)?);
        }
        self.counts.records += raw.len() as u64;
        self.counts.rejects += rejects.len() as u64;
        self.counts.check()?;
        taken.rows = self.rows(&raw, &decoded.records, &decoded.columns, processed)?;
        self.reach(next);
        Ok(taken)
    }

    fn check_order(&self, raw: &RawBatch, next: i64) -> Result<()> {
        let ascending = raw.offsets.windows(2).all(|w| w[0] < w[1]);
        let first = raw.offsets.first().copied().unwrap_or(self.position);
        let last = raw.offsets.last().copied().unwrap_or(next - 1);
        let payload = match &raw.payload {
            Payload::Bytes(values) => values.len(),
            Payload::Rows(batch) => batch.num_rows(),
        };
        let whole = payload == raw.len() && raw.append_us.len() == raw.len();
        if ascending && first >= self.position && last < next && whole {
            return Ok(());
        }
        let what = format!(
            "a batch of {} records from {first} to {last} does not follow {}",
            raw.len(),
            self.position
        );
        let place = Place::Position {
            topic: self.name.to_string(),
            partition: self.spec.partition,
            offset: self.position,
        };
        Err(Error::new(Code::Internal, what).at(place).expected("ascending offsets, none twice"))
    }

    fn append(&self, raw: &RawBatch, index: usize) -> i64 {
        if self.spec.append == AppendTime::Untrusted { NO_APPEND } else { raw.append_us[index] }
    }

    fn too_far_ahead(&self, raw: &RawBatch, index: usize, time: i64) -> Option<Reject> {
        let append = self.append(raw, index);
        if append == NO_APPEND || time <= append.saturating_add(self.spec.table.max_ahead) {
            return None;
        }
        let reason =
            format!("{} is more than max_ahead after the append time {}", EventTime(time), EventTime(append));
        Some(Reject::new(Code::ClockAhead, reason))
    }

    /// Heartbeats by record, ascending. A record with the header twice counts with the last.
    fn heartbeats(&self, raw: &RawBatch, rejects: &mut BTreeMap<u32, Reject>) -> Vec<(u32, i64)> {
        let mut beats: Vec<(u32, i64)> = Vec::new();
        for header in raw.headers.iter().filter(|h| h.name == HEARTBEAT) {
            beats.pop_if(|(record, _)| *record == header.row);
            rejects.remove(&header.row);
            let text = std::str::from_utf8(&header.value).ok();
            let time = text.and_then(EventTime::parse).filter(|t| (TIME_MIN..=TIME_MAX).contains(&t.0));
            let reject = match time {
                Some(time) => match self.too_far_ahead(raw, header.row as usize, time.0) {
                    None => {
                        beats.push((header.row, time.0));
                        continue;
                    }
                    Some(reject) => reject,
                },
                None => {
                    let shown = String::from_utf8_lossy(&header.value[..header.value.len().min(64)]);
                    Reject::new(Code::BadHeartbeat, format!("{HEARTBEAT} is {shown:?}"))
                }
            };
            rejects.insert(header.row, reject);
        }
        beats
    }

    /// Records that are to be decoded, ascending: no heartbeats, none that is too large.
    fn row_records(
        &self,
        raw: &RawBatch,
        beats: &[(u32, i64)],
        rejects: &mut BTreeMap<u32, Reject>,
    ) -> Vec<u32> {
        let limit = self.spec.table.max_record_bytes;
        let sizes = match &raw.payload {
            Payload::Bytes(values) => Some(values.value_offsets()),
            Payload::Rows(_) => None,
        };
        let mut beats = beats.iter().peekable();
        let mut wanted = Vec::with_capacity(raw.len());
        for record in 0..raw.len() as u32 {
            if beats.next_if(|(beat, _)| *beat == record).is_some() {
                continue;
            }
            if !rejects.is_empty() && rejects.contains_key(&record) {
                continue;
            }
            let size = sizes.map_or(0, |s| (s[record as usize + 1] - s[record as usize]) as usize);
            if size > limit {
                rejects.insert(
                    record,
                    Reject::new(Code::TooLarge, format!("{size} bytes, the limit is {limit}")),
                );
                continue;
            }
            wanted.push(record);
        }
        wanted
    }

    /// A row's event time, if it can be trusted.
    fn guard(
        &self,
        raw: &RawBatch,
        index: usize,
        times: &PrimitiveArray<TimestampMicrosecondType>,
        row: usize,
    ) -> std::result::Result<i64, Reject> {
        if times.is_null(row) {
            return Err(Reject::new(Code::NoEventTime, "the event time is NULL"));
        }
        let time = times.value(row);
        if !(TIME_MIN..=TIME_MAX).contains(&time) {
            return Err(Reject::new(Code::OutOfRange, "the event time is not in the years 0 to 9999"));
        }
        self.too_far_ahead(raw, index, time).map_or(Ok(time), Err)
    }

    /// Tells and counts a row's fate, in this order: duplicate, late, processed. Only processed rows have
    /// duplicates, so a copy of a late row is late.
    fn fate(&mut self, time: i64, key: Option<&[u8]>) -> Fate {
        self.counts.row_records += 1;
        self.counts.rows += 1;
        let mut seen = self.dedup.as_mut().map(|(_, seen)| seen).zip(key);
        if seen.as_ref().is_some_and(|(seen, key)| seen.has(key, self.watermark)) {
            self.counts.duplicates += 1;
            return Fate::Duplicate;
        }
        if time < self.watermark {
            self.counts.late += 1;
            return Fate::Late;
        }
        self.counts.processed += 1;
        self.highest = self.highest.max(time);
        if let Some((seen, key)) = &mut seen {
            seen.put(key, time);
        }
        Fate::Processed
    }

    fn side(&self, raw: &RawBatch, index: usize, why: SideWhy) -> Result<SideRecord> {
        let (bytes, size) = match &raw.payload {
            Payload::Bytes(values) if values.is_null(index) => (Vec::new(), 0),
            Payload::Bytes(values) => {
                let value = values.value(index);
                (value[..value.len().min(SIDE_BYTES_MAX)].to_vec(), value.len())
            }
            Payload::Rows(batch) => {
                let mut writer = LineDelimitedWriter::new(Vec::new());
                writer.write(&batch.slice(index, 1)).map_err(internal_arrow)?;
                let mut line = writer.into_inner();
                line.pop_if(|b| *b == b'\n');
                let size = line.len();
                line.truncate(SIDE_BYTES_MAX);
                (line, size)
            }
        };
        Ok(SideRecord {
            table: Arc::clone(&self.name),
            partition: self.spec.partition,
            offset: raw.offsets[index],
            append_us: raw.append_us[index],
            why,
            bytes,
            size,
            row: None,
            statement: None,
        })
    }

    /// The processed rows with their positions.
    fn rows(
        &self,
        raw: &RawBatch,
        records: &[u32],
        columns: &[Option<ArrayRef>],
        processed: Vec<bool>,
    ) -> Result<Option<RecordBatch>> {
        let kept = processed.iter().filter(|p| **p).count();
        if kept == 0 {
            return Ok(None);
        }
        let partition = i32::try_from(self.spec.partition)
            .map_err(|_| Error::new(Code::Internal, "a partition number passes Int32"))?;
        let rows = records.len();
        let fields = self.spec.stream.schema.fields();
        let given = self.given.iter().zip(fields).map(|(c, f)| narrowed(built(columns, *c)?, f.data_type()));
        let mut columns = given.collect::<Result<Vec<ArrayRef>>>()?;
        columns.push(Arc::new(Int32Array::from_value(self.spec.input, rows)));
        columns.push(Arc::new(Int32Array::from_value(partition, rows)));
        columns
            .push(Arc::new(Int64Array::from_iter_values(records.iter().map(|r| raw.offsets[*r as usize]))));
        let batch =
            RecordBatch::try_new(Arc::clone(&self.spec.stream.schema), columns).map_err(internal_arrow)?;
        if kept == rows {
            return Ok(Some(batch));
        }
        filter_record_batch(&batch, &BooleanArray::from(processed)).map(Some).map_err(internal_arrow)
    }

    /// Writes position, watermark, counts, marks that wait and keys that count: equal states, equal bytes.
    pub fn snapshot(&mut self, into: &mut Saver) -> Result<()> {
        into.u64(TAG);
        for value in [self.position, self.watermark, self.highest] {
            into.i64(value);
        }
        self.counts.save(into);
        into.u64(self.marks.len() as u64);
        for (offset, watermark) in &self.marks {
            into.i64(*offset);
            into.i64(*watermark);
        }
        into.u64(u64::from(self.dedup.is_some()));
        if let Some((_, seen)) = &self.dedup {
            seen.save(self.watermark, into);
        }
        Ok(())
    }

    /// Restores into a lane that took nothing yet.
    pub fn restore(&mut self, from: &mut Loader<'_>) -> Result<()> {
        let damaged = |what: &str| Error::new(Code::Damaged, format!("a lane's snapshot {what}"));
        if from.u64()? != TAG {
            return Err(damaged("has another form"));
        }
        self.position = from.i64()?;
        self.watermark = self.watermark.max(from.i64()?);
        self.highest = from.i64()?;
        self.counts = Counts::load(from)?;
        self.counts.check().map_err(|_| damaged("has counts that do not close"))?;
        for _ in 0..from.u64()? {
            let offset = from.i64()?;
            let watermark = from.i64()?;
            self.mark(offset, watermark);
        }
        match (&mut self.dedup, from.u64()?) {
            (None, 0) => Ok(()),
            (Some((_, seen)), 1) => seen.load(from),
            _ => Err(damaged("is of a table with another dedup")),
        }
    }
}

fn built(columns: &[Option<ArrayRef>], column: usize) -> Result<&ArrayRef> {
    let found = columns.get(column).and_then(Option::as_ref);
    found.ok_or_else(|| Error::new(Code::Internal, "a column that a lane needs was not built"))
}

enum Fate {
    Processed,
    Late,
    Duplicate,
}
