//! Reads a recording as the source that was recorded.
//!
//! P1  A partition's records come in offset order, whatever the boundaries of files.
//! P2  Records outside the published range are not given. P3  The end is the recorded source's: bounded
//!     only where that one was, so a replayed unbounded log raises nothing at its end.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use datafusion::arrow::array::{Array, AsArray, BooleanArray};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::datatypes::{Int32Type, Int64Type};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use datafusion::parquet::file::metadata::RowGroupMetaData;
use datafusion::parquet::file::statistics::Statistics;
use weir_contract::{Code, Error, Place, Result};
use weir_engine::base::internal_arrow;
use weir_engine::control::{Control, ControlLog};
use weir_engine::source::{
    FetchLimit, Fetched, Header, NO_APPEND, Partition, PartitionReader, Payload, RawBatch, Source,
};

use super::{META, Range, Recorded, schema};
use crate::file::bad;

/// Rows decoded at once.
const ROWS: usize = 8192;

/// Row groups of one file that may hold a partition's records.
#[derive(Debug, Clone)]
struct Part {
    path: PathBuf,
    group: usize,
    first: i64,
    last: i64,
    partitions: (i32, i32),
}

/// A recorded topic.
pub struct RecordingSource {
    recorded: Recorded,
    /// In order of their first offset.
    parts: Vec<Part>,
}

impl RecordingSource {
    pub fn is_recording(folder: &Path) -> bool {
        folder.join(META).is_file()
    }

    /// Reads the footers of all files.
    ///
    /// # Errors
    /// `W0405` where a file is not one of a recording.
    pub fn open(folder: &Path) -> Result<Self> {
        let recorded = Recorded::open(folder)?;
        let (mut parts, mut rows) = (Vec::new(), 0);
        for entry in std::fs::read_dir(folder).map_err(|e| bad(folder, &e))? {
            let path = entry.map_err(|e| bad(folder, &e))?.path();
            if path.extension().is_some_and(|e| e == "parquet") {
                let file = builder(&path)?;
                rows += file.metadata().file_metadata().num_rows();
                if file.schema().fields() != schema().fields() {
                    return Err(bad(&path, "not a file of a recording"));
                }
                for (group, facts) in file.metadata().row_groups().iter().enumerate() {
                    let part = part(&path, group, facts)
                        .ok_or_else(|| bad(&path, "a row group has no statistics of partition and offset"))?;
                    parts.push(part);
                }
            }
        }
        let records: i64 = recorded.ranges.iter().map(|r| r.records).sum();
        if rows < records {
            return Err(bad(folder, format!("its files hold {rows} records")).expected(records.to_string()));
        }
        parts.sort_by_key(|p: &Part| p.first);
        Ok(Self { recorded, parts })
    }

    pub fn recorded(&self) -> &Recorded {
        &self.recorded
    }
}

fn builder(path: &Path) -> Result<ParquetRecordBatchReaderBuilder<File>> {
    let file = crate::paths::open_regular(path)?;
    ParquetRecordBatchReaderBuilder::try_new(file).map_err(|e| bad(path, &e))
}

fn part(path: &Path, group: usize, facts: &RowGroupMetaData) -> Option<Part> {
    let (Some(Statistics::Int32(p)), Some(Statistics::Int64(o))) =
        (facts.column(0).statistics(), facts.column(1).statistics())
    else {
        return None;
    };
    Some(Part {
        path: path.into(),
        group,
        first: *o.min_opt()?,
        last: *o.max_opt()?,
        partitions: (*p.min_opt()?, *p.max_opt()?),
    })
}

impl Source for RecordingSource {
    fn partitions(&self) -> Result<Vec<Partition>> {
        let of = |(number, range): (u32, &Range)| Partition {
            number,
            start: range.start,
            end: range.end,
            bounded: self.recorded.bounded,
        };
        Ok((0..).zip(&self.recorded.ranges).map(of).collect())
    }

    fn open(&self, partition: u32, from: i64) -> Result<Box<dyn PartitionReader>> {
        let topic = &self.recorded.topic;
        let Some(Range { start, end, records }) = self.recorded.ranges.get(partition as usize).copied()
        else {
            return Err(Error::new(
                Code::NoTopic,
                format!("`{topic}` was recorded without partition {partition}"),
            ));
        };
        let place = Place::Position { topic: topic.clone(), partition, offset: from };
        if from < start {
            return Err(Error::new(Code::Retention, format!("the recording begins at {start}")).at(place));
        }
        if from > end {
            return Err(Error::new(Code::Recreated, format!("the recording ends at {end}")).at(place));
        }
        let number = i32::try_from(partition).map_err(|e| Error::new(Code::Internal, e.to_string()))?;
        let holds = |p: &&Part| {
            (p.partitions.0..=p.partitions.1).contains(&number) && p.last >= from && p.first < end
        };
        let parts: Vec<Part> = self.parts.iter().filter(holds).cloned().collect();
        Ok(Box::new(RecordingReader {
            topic: topic.clone(),
            partition: number,
            parts: parts.into_iter(),
            current: None,
            rest: None,
            position: from,
            end,
            missing: (from == start).then_some(records),
            bounded: self.recorded.bounded,
        }))
    }

    fn identity(&self) -> Result<String> {
        Ok(self.recorded.identity.clone())
    }
}

struct RecordingReader {
    topic: String,
    partition: i32,
    parts: std::vec::IntoIter<Part>,
    current: Option<(ParquetRecordBatchReader, PathBuf)>,
    /// Decoded, but over the last fetch's limit.
    rest: Option<RecordBatch>,
    position: i64,
    end: i64,
    /// Records still to come, where the partition is read from its start.
    missing: Option<i64>,
    bounded: bool,
}

impl RecordingReader {
    /// The next rows of this partition inside the range; never an empty batch.
    fn rows(&mut self) -> Result<Option<RecordBatch>> {
        if let Some(rest) = self.rest.take() {
            return Ok(Some(rest));
        }
        loop {
            let Some((rows, path)) = &mut self.current else {
                let Some(part) = self.parts.next() else { return Ok(None) };
                let rows = builder(&part.path)?
                    .with_row_groups(vec![part.group])
                    .with_batch_size(ROWS)
                    .build()
                    .map_err(|e| bad(&part.path, &e))?;
                self.current = Some((rows, part.path));
                continue;
            };
            let Some(batch) = rows.next() else {
                self.current = None;
                continue;
            };
            let batch = batch.map_err(|e| bad(path, &e))?;
            let partitions = batch.column(0).as_primitive::<Int32Type>().values();
            let offsets = batch.column(1).as_primitive::<Int64Type>().values();
            let (position, end) = (self.position, self.end);
            let wanted = |(p, o): (&i32, &i64)| Some(*p == self.partition && *o >= position && *o < end);
            let wanted: BooleanArray = partitions.iter().zip(offsets).map(wanted).collect();
            let batch = filter_record_batch(&batch, &wanted).map_err(internal_arrow)?;
            if batch.num_rows() > 0 {
                return Ok(Some(batch));
            }
        }
    }
}

impl PartitionReader for RecordingReader {
    fn fetch(&mut self, limit: FetchLimit, _wait: Duration) -> Result<Fetched> {
        let batch = match self.rows()? {
            None => {
                if self.missing.is_some_and(|n| n != 0) {
                    let what = format!("`{}`/{} lacks records of its recording", self.topic, self.partition);
                    return Err(Error::new(Code::BadFile, what).expected("all files that were published"));
                }
                self.position = self.end;
                None
            }
            Some(rows) => {
                let rows_wanted = limit.rows.clamp(1, rows.num_rows());
                let values = rows.column(6).as_binary::<i32>();
                let ends = values.value_offsets();
                let over = |n: &usize| (ends[*n] - ends[0]) as usize > limit.bytes;
                let taken = (2..=rows_wanted).find(over).map_or(rows_wanted, |n| n - 1);
                if taken < rows.num_rows() {
                    self.rest = Some(rows.slice(taken, rows.num_rows() - taken));
                }
                let batch = raw(&rows.slice(0, taken))?;
                let sorted = batch.offsets.is_sorted_by(|a, b| a < b) && batch.offsets[0] >= self.position;
                if !sorted {
                    let what = format!("`{}`/{} was recorded out of order", self.topic, self.partition);
                    return Err(Error::new(Code::BadFile, what));
                }
                self.position = batch.offsets[batch.len() - 1] + 1;
                self.missing = self.missing.map(|n| n - batch.len() as i64);
                Some(batch)
            }
        };
        // The end is said where nothing more is left to count.
        let at_end = self.position >= self.end && self.missing.is_none_or(|n| n == 0);
        Ok(Fetched { batch, next: self.position, caught_up: at_end, ended: at_end && self.bounded })
    }
}

fn raw(rows: &RecordBatch) -> Result<RawBatch> {
    let append = rows.column(2).as_primitive::<Int64Type>();
    let trusted = rows.column(3).as_boolean();
    let append_us = append.iter().zip(trusted.iter());
    let keys = rows.column(4).as_binary::<i32>();
    let lists = rows.column(5).as_list::<i32>();
    let items = lists.values().as_struct();
    let (names, values) = (items.column(0).as_string::<i32>(), items.column(1).as_binary::<i32>());
    let mut headers = Vec::new();
    for (row, ends) in (0..).zip(lists.value_offsets().windows(2)) {
        headers.extend((ends[0] as usize..ends[1] as usize).map(|at| Header {
            row,
            name: names.value(at).to_owned(),
            value: values.value(at).to_vec(),
        }));
    }
    Ok(RawBatch {
        offsets: rows.column(1).as_primitive::<Int64Type>().values().to_vec(),
        append_us: append_us.map(|(us, ok)| us.filter(|_| ok == Some(true)).unwrap_or(NO_APPEND)).collect(),
        payload: Payload::Bytes(rows.column(6).as_binary::<i32>().clone()),
        keys: (keys.null_count() < keys.len()).then(|| keys.clone()),
        headers,
    })
}

/// A recorded control log; it can be read only.
pub struct RecordedControl(RecordingSource);

impl RecordedControl {
    pub fn open(folder: &Path) -> Result<Self> {
        RecordingSource::open(folder).map(Self)
    }
}

impl ControlLog for RecordedControl {
    fn append(&self, _partition: u32, _record: &Control) -> Result<i64> {
        Err(Error::new(Code::Refused, "a recorded control log cannot be written"))
    }

    fn read(&self, partition: u32, from: i64) -> Result<(Vec<(i64, Control)>, i64)> {
        let mut reader = self.0.open(partition, from)?;
        let mut records = Vec::new();
        loop {
            let got = reader.fetch(FetchLimit { rows: ROWS, bytes: 16 << 20 }, Duration::ZERO)?;
            let Some(batch) = got.batch else { return Ok((records, got.next)) };
            let Payload::Bytes(values) = &batch.payload else { continue };
            for (offset, value) in batch.offsets.iter().zip(values.iter()) {
                let topic = self.0.recorded.topic.clone();
                let place = Place::Position { topic, partition, offset: *offset };
                let control = Control::from_bytes(value.unwrap_or_default()).map_err(|e| e.at(place))?;
                records.push((*offset, control));
            }
        }
    }

    fn partitions(&self) -> Result<u32> {
        Ok(self.0.recorded.ranges.len() as u32)
    }
}
