//! Snapshots: a flat byte form that operators write and read field by field.
//!
//! Little-endian, length-prefixed; batches as Arrow IPC streams. Whoever stores a snapshot adds the
//! checksum; a `Loader` that runs out of bytes or meets a wrong tag gives `W0502`.

pub mod json;
pub mod reference_rows;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::ipc::{reader::StreamReader, writer::StreamWriter};
use datafusion::arrow::record_batch::RecordBatch;
use weir_contract::{Code, Error, Result};

use crate::base::internal_arrow;

/// Writes a snapshot.
#[derive(Debug, Default)]
pub struct Saver {
    bytes: Vec<u8>,
}

impl Saver {
    pub fn u64(&mut self, value: u64) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub fn i64(&mut self, value: i64) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub fn bytes(&mut self, value: &[u8]) {
        self.u64(value.len() as u64);
        self.bytes.extend_from_slice(value);
    }

    pub fn text(&mut self, value: &str) {
        self.bytes(value.as_bytes());
    }

    /// Writes batches of one schema; none is allowed.
    pub fn batches<'a>(
        &mut self,
        schema: &SchemaRef,
        batches: impl IntoIterator<Item = &'a RecordBatch>,
    ) -> Result<()> {
        let mut ipc = StreamWriter::try_new(Vec::new(), schema).map_err(internal_arrow)?;
        for batch in batches {
            ipc.write(batch).map_err(internal_arrow)?;
        }
        let stream = ipc.into_inner().map_err(internal_arrow)?;
        self.bytes(&stream);
        Ok(())
    }

    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

/// Reads a snapshot in the order it was written.
#[derive(Debug)]
pub struct Loader<'a> {
    rest: &'a [u8],
}

impl<'a> Loader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(len).ok_or_else(|| {
            Error::new(Code::Damaged, "a snapshot ends too early").expected(format!("{len} bytes more"))
        })?;
        self.rest = rest;
        Ok(head)
    }

    pub fn u64(&mut self) -> Result<u64> {
        let mut value = [0; 8];
        value.copy_from_slice(self.take(8)?);
        Ok(u64::from_le_bytes(value))
    }

    pub fn i64(&mut self) -> Result<i64> {
        self.u64().map(u64::cast_signed)
    }

    pub fn bytes(&mut self) -> Result<&'a [u8]> {
        let len = self.u64()?;
        self.take(
            usize::try_from(len).map_err(|_| Error::new(Code::Damaged, "a snapshot has a wrong length"))?,
        )
    }

    pub fn text(&mut self) -> Result<&'a str> {
        std::str::from_utf8(self.bytes()?).map_err(|e| Error::new(Code::Damaged, e.to_string()))
    }

    pub fn batches(&mut self) -> Result<Vec<RecordBatch>> {
        let reader = StreamReader::try_new(self.bytes()?, None)
            .map_err(|e| Error::new(Code::Damaged, e.to_string()))?;
        reader.map(|batch| batch.map_err(|e| Error::new(Code::Damaged, e.to_string()))).collect()
    }

    /// Everything must have been read.
    pub fn finish(self) -> Result<()> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(Error::new(Code::Damaged, format!("a snapshot has {} bytes too many", self.rest.len())))
    }
}
