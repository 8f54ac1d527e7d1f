//! A recording under the suite of sources, and what only it promises.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::array::{BinaryArray, Int32Array, RecordBatch};
use datafusion::arrow::compute::concat_batches;
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tempfile::TempDir;
use weir_contract::Code;
use weir_engine::connect::memory::{MemoryLog, MemoryRecord};
use weir_engine::control::{Control, ControlLog};
use weir_engine::source::{FetchLimit, NO_APPEND, Payload, RawBatch, Source};

use super::*;
use crate::compliance::{self, Holds, Rec, SourceHarness};

const LIMIT: FetchLimit = FetchLimit { rows: 50, bytes: 1 << 20 };

/// Records everything that a source has now.
fn record(source: &dyn Source, folder: &Path, bounded: bool) {
    let partitions = source.partitions().unwrap();
    let starts: Vec<i64> = partitions.iter().map(|p| p.start).collect();
    let identity = source.identity().unwrap();
    let mut writer = RecordingWriter::create(folder, "t", &identity, &starts, bounded).unwrap();
    for partition in &partitions {
        let mut reader = source.open(partition.number, partition.start).unwrap();
        loop {
            let got = reader.fetch(LIMIT, Duration::ZERO).unwrap();
            match got.batch {
                Some(batch) => writer.append(partition.number, &batch, got.next).unwrap(),
                None => break writer.advance(partition.number, got.next),
            }
        }
    }
    writer.publish().unwrap();
}

fn log_of(partitions: &[Vec<Rec>]) -> MemoryLog {
    let log = MemoryLog::new();
    fill(&log, partitions);
    log
}

/// Makes the topic anew, with these records.
fn fill(log: &MemoryLog, partitions: &[Vec<Rec>]) {
    log.create("t", partitions.len() as u32);
    for (p, records) in partitions.iter().enumerate() {
        for Rec { append_us, key, value, headers } in records.iter().cloned() {
            log.append("t", p as u32, MemoryRecord { append_us, key, headers, value }).unwrap();
        }
    }
}

struct Harness {
    root: TempDir,
    log: MemoryLog,
    generation: u32,
    bounded: bool,
}

impl Harness {
    fn new(bounded: bool) -> Self {
        Self { root: tempfile::tempdir().unwrap(), log: MemoryLog::new(), generation: 0, bounded }
    }

    fn folder(&self) -> std::path::PathBuf {
        self.root.path().join(self.generation.to_string())
    }
}

impl SourceHarness for Harness {
    fn holds(&self) -> Holds {
        Holds { envelopes: true, append_time: true, bounded: self.bounded }
    }

    fn make(&mut self, partitions: &[Vec<Rec>]) -> Arc<dyn Source> {
        self.generation += 1;
        fill(&self.log, partitions);
        record(&*self.log.source("t").unwrap(), &self.folder(), self.bounded);
        self.reopen()
    }

    fn reopen(&mut self) -> Arc<dyn Source> {
        Arc::new(RecordingSource::open(&self.folder()).unwrap())
    }

    fn append(&mut self, _partition: u32, _records: &[Rec]) -> bool {
        false
    }

    fn trim(&mut self, _partition: u32) -> Option<i64> {
        None
    }
}

#[test]
fn complies_where_the_recorded_source_ended_and_where_not() {
    compliance::source(&mut Harness::new(true));
    compliance::source(&mut Harness::new(false));
}

#[test]
fn gaps_starts_and_untrusted_times_come_back() {
    let log = log_of(&[vec![]]);
    for n in 0..5 {
        let append_us = if n % 2 == 0 { n * 1_000 } else { NO_APPEND };
        let record = MemoryRecord { append_us, key: None, headers: vec![], value: Some(vec![n as u8]) };
        log.append("t", 0, record).unwrap();
        log.append_gap("t", 0, 2).unwrap();
    }
    log.trim("t", 0, 2).unwrap();
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("r");
    record(&*log.source("t").unwrap(), &folder, false);
    let source = RecordingSource::open(&folder).unwrap();
    let range = source.partitions().unwrap()[0].clone();
    assert_eq!((range.start, range.end, range.bounded), (2, 15, false));
    assert_eq!(source.open(0, 1).err().map(|e| e.code()), Some(Code::Retention));
    let got = source.open(0, 2).unwrap().fetch(LIMIT, Duration::ZERO).unwrap();
    let batch = got.batch.unwrap();
    assert_eq!(batch.offsets, [3, 6, 9, 12]);
    assert_eq!(batch.append_us, [NO_APPEND, 2_000, NO_APPEND, 4_000]);
    assert!(batch.keys.is_none());
    let mut reader = source.open(0, 13).unwrap();
    let end = reader.fetch(LIMIT, Duration::ZERO).unwrap();
    assert_eq!((end.batch.is_none(), end.next, end.caught_up, end.ended), (true, 15, true, false));
}

#[test]
fn boundaries_of_files_and_partitions_mixed_in_one_mean_nothing() {
    let holds = Harness::new(true).holds();
    let partitions: Vec<Vec<Rec>> =
        (0..2).map(|p| (0..60).map(|n| compliance::record(holds, p, n)).collect()).collect();
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("r");
    record(&*log_of(&partitions).source("t").unwrap(), &folder, true);
    let expected = compliance::read_all(&RecordingSource::open(&folder).unwrap());
    assert_eq!(expected, partitions);

    // All rows of both partitions, cut elsewhere, into files whose names say nothing.
    let mut batches = Vec::new();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "parquet") {
            let file = std::fs::File::open(&path).unwrap();
            batches.extend(
                ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap().map(Result::unwrap),
            );
            std::fs::remove_file(path).unwrap();
        }
    }
    let whole: RecordBatch = concat_batches(&schema(), &batches).unwrap();
    let mixed = |from: usize| {
        let half = whole.num_rows() / 2;
        let (a, b) = (whole.slice(from, 20), whole.slice(half + from, 20));
        concat_batches(&schema(), [&a, &b]).unwrap()
    };
    for (name, from) in [("c", 0), ("a", 20), ("b", 40)] {
        let file = std::fs::File::create(folder.join(format!("{name}.parquet"))).unwrap();
        let mut writer = ArrowWriter::try_new(file, schema(), None).unwrap();
        writer.write(&mixed(from)).unwrap();
        writer.close().unwrap();
    }
    assert_eq!(compliance::read_all(&RecordingSource::open(&folder).unwrap()), expected);
}

#[test]
fn only_what_was_published_is_part_of_it() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("r");
    let batch = |offset: i64| RawBatch {
        offsets: vec![offset],
        append_us: vec![NO_APPEND],
        payload: Payload::Bytes(BinaryArray::from(vec![&b"{}"[..]])),
        keys: None,
        headers: vec![],
    };
    let mut writer = RecordingWriter::create(&folder, "t", "id", &[0], false).unwrap();
    writer.append(0, &batch(0), 1).unwrap();
    assert!(!RecordingSource::is_recording(&folder));
    writer.publish().unwrap();
    writer.append(0, &batch(1), 2).unwrap();
    assert_eq!(compliance::read_all(&RecordingSource::open(&folder).unwrap())[0].len(), 1);
    writer.publish().unwrap();
    assert_eq!(compliance::read_all(&RecordingSource::open(&folder).unwrap())[0].len(), 2);
    let again = RecordingWriter::create(&folder, "t", "id", &[0], false);
    assert_eq!(again.err().map(|e| e.code()), Some(Code::Refused));
    let column = Arc::new(Int32Array::from(vec![1]));
    let rows = RecordBatch::try_from_iter([("a", column as _)]).unwrap();
    let rows = RawBatch { payload: Payload::Rows(rows), ..batch(2) };
    assert_eq!(writer.append(0, &rows, 3).err().map(|e| e.code()), Some(Code::Refused));
}

#[test]
fn a_file_that_was_published_and_is_damaged_is_named() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("r");
    let partitions = [vec![compliance::record(Harness::new(true).holds(), 0, 2)]];
    record(&*log_of(&partitions).source("t").unwrap(), &folder, true);
    let file = folder.join(format!("{:05}-{:020}.parquet", 0, 0));
    std::fs::write(&file, b"PAR1 not any more").unwrap();
    assert_eq!(RecordingSource::open(&folder).err().map(|e| e.code()), Some(Code::BadFile));
    std::fs::remove_file(&file).unwrap();
    assert_eq!(RecordingSource::open(&folder).err().map(|e| e.code()), Some(Code::BadFile));
}

#[test]
fn a_control_log_is_recorded_like_any_topic() {
    let log = MemoryLog::new();
    let control = log.control("t", 2);
    let mark = Control::Idle { table: "scans".into(), partition: 1, offset: 7, watermark: 3 };
    control.append(1, &mark).unwrap();
    control.append(1, &mark).unwrap();
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("r");
    record(&*log.source("t").unwrap(), &folder, false);
    let recorded = RecordedControl::open(&folder).unwrap();
    assert_eq!(recorded.read(1, 1).unwrap(), (vec![(1, mark.clone())], 2));
    assert_eq!(recorded.read(0, 0).unwrap(), (vec![], 0));
    assert_eq!((recorded.partitions().unwrap(), recorded.append(0, &mark).is_err()), (2, true));
}
