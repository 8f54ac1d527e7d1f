//! Parquet rows in: columns as the file has them; position = row number.

use std::path::{Path, PathBuf};
use std::time::Duration;

use datafusion::arrow::record_batch::RecordBatch;
use datafusion::parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use weir_contract::Result;
use weir_engine::source::{FetchLimit, Fetched, NO_APPEND, PartitionReader, Payload, RawBatch};

use super::bad;
use crate::paths::open_regular;

/// Rows decoded at once; smaller fetches are slices of it.
const ROWS: usize = 8192;

/// Rows of a file, by its footer.
pub fn count(path: &Path) -> Result<i64> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(open_regular(path)?).map_err(|e| bad(path, e))?;
    Ok(builder.metadata().file_metadata().num_rows())
}

/// Reads one file forward.
pub struct Rows {
    path: PathBuf,
    reader: ParquetRecordBatchReader,
    held: Option<RecordBatch>,
    row: i64,
    end: i64,
}

impl Rows {
    pub fn open(path: &Path, from: i64) -> Result<Self> {
        let builder =
            ParquetRecordBatchReaderBuilder::try_new(open_regular(path)?).map_err(|e| bad(path, e))?;
        let end = builder.metadata().file_metadata().num_rows();
        let skip = usize::try_from(from).map_err(|_| bad(path, format!("there is no row {from}")))?;
        if from > end {
            return Err(bad(path, format!("the file has {end} rows")).expected(format!("at least {from}")));
        }
        let reader = builder.with_batch_size(ROWS).with_offset(skip).build().map_err(|e| bad(path, e))?;
        Ok(Self { path: path.to_owned(), reader, held: None, row: from, end })
    }
}

impl PartitionReader for Rows {
    fn fetch(&mut self, limit: FetchLimit, _wait: Duration) -> Result<Fetched> {
        if self.held.is_none() {
            self.held = self.reader.next().transpose().map_err(|e| bad(&self.path, e))?;
        }
        let batch = self.held.take().filter(|b| b.num_rows() > 0).map(|rows| {
            let take = rows.num_rows().min(limit.rows.max(1));
            let given = rows.slice(0, take);
            if take < rows.num_rows() {
                self.held = Some(rows.slice(take, rows.num_rows() - take));
            }
            let from = self.row;
            self.row += take as i64;
            RawBatch {
                offsets: (from..self.row).collect(),
                append_us: vec![NO_APPEND; take],
                payload: Payload::Rows(given),
                keys: None,
                headers: Vec::new(),
            }
        });
        let ended = self.row >= self.end;
        Ok(Fetched { batch, next: self.row, caught_up: ended, ended })
    }
}
