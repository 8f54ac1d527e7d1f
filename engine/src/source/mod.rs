//! The port through which records come in: partitioned, replayable, with positions.
//!
//! A connector implements [`Source`] and [`PartitionReader`]; the engine asks, the connector never
//! pushes. Nothing here knows what the bytes mean: that is `decode`.

use std::time::Duration;

use datafusion::arrow::array::BinaryArray;
use datafusion::arrow::record_batch::RecordBatch;
use weir_contract::{Error, Result};

/// Append time of a record whose log gives none that can be trusted.
pub const NO_APPEND: i64 = i64::MIN;

/// A header of one record of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Index of the record in the batch.
    pub row: u32,
    pub name: String,
    pub value: Vec<u8>,
}

/// What a record carries: bytes in the table's format, or rows of a columnar format.
#[derive(Debug, Clone)]
pub enum Payload {
    /// One value a record; NULL is a tombstone.
    Bytes(BinaryArray),
    /// One row a record; columns as the file has them.
    Rows(RecordBatch),
}

/// Consecutive records of one partition, in offset order.
#[derive(Debug, Clone)]
pub struct RawBatch {
    /// Ascending; gaps only where the log holds records that are not data (transaction markers).
    pub offsets: Vec<i64>,
    /// Append time in microseconds (whole milliseconds), or [`NO_APPEND`].
    pub append_us: Vec<i64>,
    pub payload: Payload,
    pub keys: Option<BinaryArray>,
    /// Sorted by `row`; only records that have headers.
    pub headers: Vec<Header>,
}

impl RawBatch {
    pub fn len(&self) -> usize {
        self.offsets.len()
    }

    pub fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }
}

/// What one fetch gave.
#[derive(Debug)]
pub struct Fetched {
    /// None where nothing was there.
    pub batch: Option<RawBatch>,
    /// The position to go on from: past records that are not data, too.
    pub next: i64,
    /// The position stands at the log's high watermark: nothing is there that was not fetched.
    pub caught_up: bool,
    /// A bounded partition ended; nothing will ever follow.
    pub ended: bool,
}

/// How much one fetch may bring.
#[derive(Debug, Clone, Copy)]
pub struct FetchLimit {
    pub rows: usize,
    pub bytes: usize,
}

/// Reads one partition forward.
pub trait PartitionReader: Send {
    /// Waits at most `wait` for the first record (zero: not at all); at least one record is given
    /// where one is there, whatever its size.
    fn fetch(&mut self, limit: FetchLimit, wait: Duration) -> Result<Fetched>;
}

/// One partition of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    pub number: u32,
    /// The lowest position that the log still holds.
    pub start: i64,
    /// The position after the last record that can be read, now.
    pub end: i64,
    /// Whether `end` stays the end: files, or `until = 'end'`.
    pub bounded: bool,
}

/// A table's records, as a connector offers them.
pub trait Source: Send + Sync {
    /// All partitions, in order of their number. May ask the peer.
    fn partitions(&self) -> Result<Vec<Partition>>;

    /// How many partitions there are now: asked again and again under a run, so it must not take long.
    fn count(&self) -> Result<u32> {
        Ok(self.partitions()?.iter().map(|p| p.number + 1).max().unwrap_or(0))
    }

    /// A reader that starts at a position (`Partition::start` the first time). A position that the
    /// log no longer holds is `W0403`, never a silent jump.
    fn open(&self, partition: u32, from: i64) -> Result<Box<dyn PartitionReader>>;

    /// Identity of the log (cluster and topic id, folder id): a recreated log differs.
    fn identity(&self) -> Result<String>;

    /// Whether the ends of its bounded partitions are only those of the start (`until = 'end'`): the log
    /// itself goes on, so the program fixes them in its control log and reads no further.
    fn until_end(&self) -> bool {
        false
    }

    /// Why nothing comes where the peer is away, as `W0401`: readers wait for it and give nothing.
    fn trouble(&self) -> Option<Error> {
        None
    }

    /// How often the peer was found away so far, by whoever asked it: two looks with the same number had no
    /// outage between them that anybody met.
    fn troubles(&self) -> u64 {
        0
    }
}
