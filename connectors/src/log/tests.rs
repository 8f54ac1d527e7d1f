//! The embedded log under the suite, and what only it promises.

use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use weir_contract::clock::ManualClock;
use weir_contract::{Clock, Code};
use weir_engine::control::{Control, ControlLog};
use weir_engine::sink::{OutRecord, SinkFactory};
use weir_engine::source::{FetchLimit, Source};
use weir_engine::sql::catalog::AppendTime;
use weir_segments::{Record, Writer, WriterOptions};

use super::*;
use crate::compliance::{self, Holds, Rec, SinkHarness, SourceHarness};

struct Harness {
    root: TempDir,
    connector: LogConnector,
    generation: u32,
}

impl Harness {
    fn new() -> Self {
        let root = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let roots = Roots::new([root.path().to_path_buf()]).unwrap();
        let connector = LogConnector::new(root.path(), roots, Arc::new(ManualClock::at(0)));
        Self { root, connector, generation: 0 }
    }

    fn open(&self, partition: u32) -> Writer {
        let options = WriterOptions { segment_bytes: 1_000, ..WriterOptions::default() };
        Writer::open(&self.root.path().join("t").join(partition.to_string()), options).unwrap()
    }
}

impl SourceHarness for Harness {
    fn holds(&self) -> Holds {
        Holds { envelopes: true, append_time: true, bounded: false }
    }

    fn make(&mut self, partitions: &[Vec<Rec>]) -> Arc<dyn Source> {
        let _there_may_be_none = std::fs::remove_dir_all(self.root.path().join("t"));
        Topic::create(self.root.path(), "t", partitions.len() as u32).unwrap();
        for (p, records) in partitions.iter().enumerate().filter(|(_, records)| !records.is_empty()) {
            SourceHarness::append(self, p as u32, records);
        }
        SourceHarness::reopen(self)
    }

    fn reopen(&mut self) -> Arc<dyn Source> {
        Arc::new(self.connector.source_of("t").unwrap())
    }

    fn append(&mut self, partition: u32, records: &[Rec]) -> bool {
        let mut writer = self.open(partition);
        for chunk in records.chunks(3) {
            writer.append(&chunk.iter().map(as_record).collect::<Vec<_>>()).unwrap();
        }
        writer.sync().unwrap();
        true
    }

    fn trim(&mut self, partition: u32) -> Option<i64> {
        let options = WriterOptions { segment_bytes: 1_000, retain_bytes: Some(1_200), retain_ms: None };
        let mut writer =
            Writer::open(&self.root.path().join("t").join(partition.to_string()), options).unwrap();
        writer.retain(0).unwrap();
        Some(writer.start())
    }
}

impl SinkHarness for Harness {
    fn envelopes(&self) -> bool {
        true
    }

    fn make(&mut self, partitions: u32) -> Arc<dyn SinkFactory> {
        // Another folder: sinks of the last one may still be open.
        self.generation += 1;
        self.connector = self.connector.at(self.root.path().join(self.generation.to_string()));
        Arc::new(self.connector.sink_of("t", partitions, AppendTime::Broker).unwrap())
    }

    fn reopen(&mut self) -> Arc<dyn SinkFactory> {
        Arc::new(self.connector.sink_of("t", 1, AppendTime::Broker).unwrap())
    }

    fn visible(&mut self) -> Vec<Vec<Rec>> {
        compliance::read_all(&self.connector.source_of("t").unwrap())
    }
}

fn as_record(rec: &Rec) -> Record<'_> {
    let (key, value) = (rec.key.as_deref(), rec.value.as_deref());
    Record { append_ms: rec.append_us / 1_000, key, value, headers: &rec.headers }
}

#[test]
fn source_complies() {
    compliance::source(&mut Harness::new());
}

#[test]
fn sink_complies() {
    compliance::sink(&mut Harness::new());
}

fn record(n: u8, time_us: Option<i64>) -> OutRecord {
    OutRecord { id: None, partition: None, key: vec![], value: vec![n], headers: vec![], time_us }
}

#[test]
fn another_process_is_refused_until_the_first_lets_go() {
    let harness = Harness::new();
    let sink = harness.connector.sink_of("t", 2, AppendTime::Broker).unwrap();
    let open = sink.open("w").unwrap();
    // A connector of its own shares no writers: to the lock it is another process.
    let roots = Roots::new([harness.root.path().to_path_buf()]).unwrap();
    let other = LogConnector::new(harness.root.path(), roots, Arc::new(ManualClock::at(0)));
    let sink = other.sink_of("t", 2, AppendTime::Broker).unwrap();
    assert_eq!(sink.open("w").err().map(|e| e.code()), Some(Code::Locked));
    drop(open);
    sink.open("w").unwrap();
}

#[test]
fn append_times_are_the_logs_or_the_producers() {
    let harness = Harness::new();
    let clock = Arc::new(ManualClock::at(5_000_999));
    let connector = LogConnector { clock: clock.clone() as Arc<dyn Clock>, ..harness.connector.clone() };
    for (topic, times, expected) in
        [("b", AppendTime::Broker, [5_000_000, 5_000_000]), ("p", AppendTime::Producer, [7_000, 5_000_000])]
    {
        clock.set(5_000_999);
        let mut sink = connector.sink_of(topic, 1, times).unwrap().open("w").unwrap();
        sink.write(vec![record(1, Some(7_999))]).unwrap();
        sink.commit().unwrap();
        if times == AppendTime::Broker {
            clock.set(1);
        }
        sink.write(vec![record(2, None)]).unwrap();
        sink.commit().unwrap();
        let seen = compliance::read_all(&connector.source_of(topic).unwrap());
        assert_eq!(seen[0].iter().map(|r| r.append_us).collect::<Vec<_>>(), expected, "{topic}");
    }
}

#[test]
fn a_bounded_read_ends_where_it_began() {
    let mut harness = Harness::new();
    let records: Vec<Rec> = (0..5).map(|n| compliance::record(harness.holds(), 0, n)).collect();
    SourceHarness::make(&mut harness, std::slice::from_ref(&records));
    let topic = Topic::open(harness.root.path(), "t").unwrap();
    let source = LogSource::new(topic, AppendTime::Broker, true);
    assert_eq!(source.partitions().unwrap()[0].end, 5);
    harness.append(0, &records);
    let mut reader = source.open(0, 0).unwrap();
    let got = reader.fetch(FetchLimit { rows: 100, bytes: 1 << 20 }, Duration::ZERO).unwrap();
    assert_eq!((got.batch.unwrap().len(), got.next, got.ended), (5, 5, true));
    assert!(reader.fetch(FetchLimit { rows: 1, bytes: 1 }, Duration::ZERO).unwrap().batch.is_none());
}

#[test]
fn control_records_are_shared_by_processes_and_owned_by_tasks() {
    let harness = Harness::new();
    let control = harness.connector.control("dev.p.control", 1).unwrap();
    let mark = |offset| Control::Idle { table: "t".into(), partition: 0, offset, watermark: 1 };
    assert_eq!(control.read(0, 0).unwrap(), (vec![], 0));
    let roots = Roots::new([harness.root.path().to_path_buf()]).unwrap();
    let other = LogConnector::new(harness.root.path(), roots, Arc::new(ManualClock::at(0)));
    let other = other.control("dev.p.control", 2).unwrap();
    assert_eq!(control.append(0, &mark(0)).unwrap(), 0);
    assert_eq!(other.append(0, &mark(1)).unwrap(), 1);
    assert_eq!(control.read(0, 1).unwrap(), (vec![(1, mark(1))], 2));
    assert_eq!(control.read(0, 2).unwrap(), (vec![], 2));
    assert_eq!(control.append(0, &mark(2)).unwrap(), 2);
    assert_eq!(control.read(0, 2).unwrap(), (vec![(2, mark(2))], 3));
    assert_eq!(control.append(1, &mark(9)).unwrap(), 0);
    assert_eq!(other.append(1, &mark(9)).err().map(|e| e.code()), Some(Code::Locked));
    assert_eq!((control.partitions().unwrap(), other.partitions().unwrap()), (2, 3));
}

#[test]
fn names_and_numbers_of_topics_are_checked() {
    let harness = Harness::new();
    let root = harness.root.path();
    for bad in ["", ".", "..", "a/b", "a b", "é"] {
        assert_eq!(Topic::create(root, bad, 1).err().map(|e| e.code()), Some(Code::BadOption), "{bad}");
    }
    assert_eq!(Topic::open(root, "none").err().map(|e| e.code()), Some(Code::NoTopic));
    assert_eq!(Topic::create(root, "t", 3).unwrap().partitions(), 3);
    assert_eq!(Topic::create(root, "t", 5).unwrap().partitions(), 3);
    std::fs::write(root.join("t/meta.json"), "{").unwrap();
    assert_eq!(Topic::open(root, "t").err().map(|e| e.code()), Some(Code::Damaged));
}
