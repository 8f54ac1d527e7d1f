//! Writes a recording: batches in, Parquet files out, published together.
//!
//! In:   what a source's readers gave, per partition in offset order.
//! Owns: one open file a partition, hidden until it is published.
//!
//! R1  Only `publish` makes records part of the recording.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, BinaryArray, BinaryBuilder, BooleanArray, Int32Array, Int64Array, ListArray, StringBuilder,
    StructArray, new_null_array,
};
use datafusion::arrow::buffer::{OffsetBuffer, ScalarBuffer};
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::basic::{Compression, ZstdLevel};
use datafusion::parquet::file::properties::WriterProperties;
use weir_contract::{Code, Error, Result};
use weir_engine::base::internal_arrow;
use weir_engine::source::{Header, NO_APPEND, Payload, RawBatch};

use super::{META, Range, Recorded, header_fields, schema};
use crate::file::bad;

/// A file is full at this size, before compression of its last row group.
const FILE_BYTES: usize = 256 << 20;
/// Rows of a row group: what a reader decodes at least to find a position.
const GROUP_ROWS: usize = 128 << 10;

/// Writes one topic's recording.
pub struct RecordingWriter {
    folder: PathBuf,
    recorded: Recorded,
    open: Vec<Option<Draft>>,
    /// Whole, but not published: hidden file and the name it will have.
    closed: Vec<(PathBuf, PathBuf)>,
}

/// A file that is being written, hidden.
struct Draft {
    writer: ArrowWriter<File>,
    hidden: PathBuf,
    name: PathBuf,
}

impl RecordingWriter {
    /// Begins a recording in a folder that holds none. `starts` are the first positions by partition.
    ///
    /// # Errors
    /// `W0402` where there is a recording already.
    pub fn create(folder: &Path, topic: &str, identity: &str, starts: &[i64], bounded: bool) -> Result<Self> {
        std::fs::create_dir_all(folder).map_err(|e| bad(folder, &e))?;
        let holds_any = std::fs::read_dir(folder).map_err(|e| bad(folder, &e))?.next().is_some();
        if holds_any {
            return Err(Error::new(Code::Refused, format!("{} is not empty", folder.display()))
                .expected("a new folder for each recording"));
        }
        let recorded = Recorded {
            topic: topic.into(),
            identity: identity.into(),
            bounded,
            ranges: starts.iter().map(|s| Range { start: *s, end: *s, records: 0 }).collect(),
        };
        let open = starts.iter().map(|_| None).collect();
        Ok(Self { folder: folder.into(), recorded, open, closed: Vec::new() })
    }

    /// Adds a batch of one partition, whose reader then stood at `next`.
    ///
    /// # Errors
    /// `W0402` for rows of a columnar file, which have no raw bytes.
    pub fn append(&mut self, partition: u32, batch: &RawBatch, next: i64) -> Result<()> {
        let (Some(range), Some(slot)) =
            (self.recorded.ranges.get_mut(partition as usize), self.open.get_mut(partition as usize))
        else {
            return Err(Error::new(Code::NoTopic, format!("the recording has no partition {partition}")));
        };
        let first = batch.offsets.first().copied().unwrap_or(next);
        assert!(first >= range.end, "a recording goes forward: {first} after {}", range.end);
        let rows = rows(partition, batch)?;
        let draft = match slot {
            Some(draft) => draft,
            None => slot.insert(Draft::create(&self.folder, &format!("{partition:05}-{first:020}"))?),
        };
        draft.writer.write(&rows).map_err(|e| bad(&draft.hidden, &e))?;
        (range.end, range.records) = (next, range.records + batch.len() as i64);
        if draft.writer.bytes_written() + draft.writer.in_progress_size() >= FILE_BYTES
            && let Some(draft) = slot.take()
        {
            self.closed.push(draft.close()?);
        }
        Ok(())
    }

    /// Moves a partition's end over positions that hold no data.
    pub fn advance(&mut self, partition: u32, next: i64) {
        if let Some(range) = self.recorded.ranges.get_mut(partition as usize) {
            range.end = range.end.max(next);
        }
    }

    /// Makes everything so far durable and part of the recording; it may go on.
    pub fn publish(&mut self) -> Result<()> {
        for draft in self.open.iter_mut().filter_map(Option::take) {
            self.closed.push(draft.close()?);
        }
        let draft = self.folder.join(".weir-recording.draft");
        let write = || {
            for (hidden, name) in &self.closed {
                std::fs::rename(hidden, name)?;
            }
            File::open(&self.folder)?.sync_all()?;
            let mut file = File::create(&draft)?;
            file.write_all(self.recorded.to_json().to_string().as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&draft, self.folder.join(META))?;
            File::open(&self.folder)?.sync_all()
        };
        write().map_err(|e: std::io::Error| bad(&self.folder, &e))?;
        self.closed.clear();
        Ok(())
    }
}

impl Draft {
    fn create(folder: &Path, name: &str) -> Result<Self> {
        let (hidden, name) = (folder.join(format!(".{name}.draft")), folder.join(format!("{name}.parquet")));
        let file = File::create_new(&hidden).map_err(|e| bad(&hidden, &e))?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_max_row_group_row_count(Some(GROUP_ROWS))
            .build();
        let writer = ArrowWriter::try_new(file, schema(), Some(properties)).map_err(|e| bad(&hidden, &e))?;
        Ok(Self { writer, hidden, name })
    }

    /// Ends the file and makes it durable.
    fn close(self) -> Result<(PathBuf, PathBuf)> {
        let file = self.writer.into_inner().map_err(|e| bad(&self.hidden, &e))?;
        file.sync_all().map_err(|e| bad(&self.hidden, &e))?;
        Ok((self.hidden, self.name))
    }
}

fn rows(partition: u32, batch: &RawBatch) -> Result<RecordBatch> {
    let Payload::Bytes(values) = &batch.payload else {
        return Err(Error::new(Code::Refused, "rows of a columnar file cannot be recorded raw")
            .expected("a source of bytes; the file itself can be replayed"));
    };
    let number = i32::try_from(partition).map_err(|e| Error::new(Code::Internal, e.to_string()))?;
    let trusted = |t: &i64| *t != NO_APPEND;
    let append_us: Int64Array = batch.append_us.iter().map(|t| trusted(t).then_some(*t)).collect();
    let append_trusted: BooleanArray = batch.append_us.iter().map(|t| Some(trusted(t))).collect();
    let keys: ArrayRef = match &batch.keys {
        Some(keys) => Arc::new(keys.clone()),
        None => new_null_array(&DataType::Binary, batch.len()),
    };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int32Array::from_value(number, batch.len())),
        Arc::new(Int64Array::from(batch.offsets.clone())),
        Arc::new(append_us),
        Arc::new(append_trusted),
        keys,
        Arc::new(headers(&batch.headers, batch.len())?),
        Arc::new(BinaryArray::clone(values)),
    ];
    RecordBatch::try_new(schema(), columns).map_err(internal_arrow)
}

fn headers(headers: &[Header], rows: usize) -> Result<ListArray> {
    let mut ends = Vec::with_capacity(rows + 1);
    let (mut names, mut values) = (StringBuilder::new(), BinaryBuilder::new());
    let mut taken = 0;
    ends.push(0);
    for row in 0..rows {
        while let Some(header) = headers.get(taken).filter(|h| h.row as usize == row) {
            names.append_value(&header.name);
            values.append_value(&header.value);
            taken += 1;
        }
        ends.push(i32::try_from(taken).map_err(|e| Error::new(Code::Internal, e.to_string()))?);
    }
    let columns: Vec<ArrayRef> = vec![Arc::new(names.finish()), Arc::new(values.finish())];
    let items = StructArray::try_new(header_fields(), columns, None).map_err(internal_arrow)?;
    let field = Arc::new(Field::new("item", DataType::Struct(header_fields()), false));
    let ends = OffsetBuffer::new(ScalarBuffer::from(ends));
    ListArray::try_new(field, ends, Arc::new(items), None).map_err(internal_arrow)
}
