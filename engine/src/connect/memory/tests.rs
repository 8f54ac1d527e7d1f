//! What the log in memory promises, and what the property suite relies on.

use super::*;
use crate::source::Payload;

const LIMIT: FetchLimit = FetchLimit { rows: 64, bytes: 1 << 20 };

fn log_with(rows: i64) -> MemoryLog {
    let log = MemoryLog::new();
    log.create("scans", 2);
    for n in 0..rows {
        let record = MemoryRecord::value(format!("r{n}")).at(n * 1_000).key("k").header("h", [n as u8]);
        assert_eq!(log.append("scans", 0, record).unwrap(), n);
    }
    log
}

fn read_all(source: &dyn Source, from: i64, rows: usize) -> Vec<(i64, String)> {
    let mut reader = source.open(0, from).unwrap();
    let mut all = Vec::new();
    loop {
        let fetched = reader.fetch(FetchLimit { rows, bytes: 1 << 20 }, Duration::ZERO).unwrap();
        let Some(batch) = fetched.batch else { return all };
        assert!(batch.len() <= rows);
        let Payload::Bytes(values) = &batch.payload else { panic!("bytes") };
        for (row, offset) in batch.offsets.iter().enumerate() {
            all.push((*offset, String::from_utf8(values.value(row).to_vec()).unwrap()));
        }
        assert_eq!(fetched.caught_up, fetched.next == source.partitions().unwrap()[0].end);
    }
}

fn out(n: u8, partition: Option<u32>) -> OutRecord {
    let id = Id([n; 16]);
    let (key, value) = (vec![n], vec![n, n]);
    OutRecord { id: Some(id), partition, key, value, headers: Vec::new(), time_us: Some(1_999) }
}

#[test]
fn every_batch_size_and_resume_point_gives_the_same_records() {
    let log = log_with(130);
    let source = log.source("scans").unwrap();
    let whole = read_all(&*source, 0, 1_000);
    assert_eq!(whole.len(), 130);
    for rows in [1, 2, 7, 63, 64, 65] {
        assert_eq!(read_all(&*source, 0, rows), whole);
        assert_eq!(read_all(&*source, 77, rows), whole[77..]);
    }
}

#[test]
fn one_record_is_given_however_large() {
    let log = log_with(3);
    let mut reader = log.source("scans").unwrap().open(0, 0).unwrap();
    let fetched = reader.fetch(FetchLimit { rows: 9, bytes: 1 }, Duration::ZERO).unwrap();
    assert_eq!((fetched.batch.unwrap().offsets, fetched.caught_up), (vec![0], false));
}

#[test]
fn a_release_limit_looks_like_the_end_until_it_is_raised() {
    let log = log_with(10);
    log.release("scans", 0, Some(4)).unwrap();
    let source = log.source("scans").unwrap();
    assert_eq!(source.partitions().unwrap()[0].end, 4);
    let mut reader = source.open(0, 0).unwrap();
    let fetched = reader.fetch(LIMIT, Duration::ZERO).unwrap();
    assert_eq!((fetched.next, fetched.caught_up, fetched.ended), (4, true, false));
    assert!(reader.fetch(LIMIT, Duration::ZERO).unwrap().batch.is_none());
    log.release("scans", 0, None).unwrap();
    let fetched = reader.fetch(LIMIT, Duration::from_secs(5)).unwrap();
    assert_eq!((fetched.batch.unwrap().len(), fetched.next), (6, 10));
}

#[test]
fn offsets_without_data_are_passed() {
    let log = log_with(1);
    log.append_gap("scans", 0, 3).unwrap();
    log.append("scans", 0, MemoryRecord::value("x")).unwrap();
    log.append_gap("scans", 0, 1).unwrap();
    let mut reader = log.source("scans").unwrap().open(0, 0).unwrap();
    let fetched = reader.fetch(LIMIT, Duration::ZERO).unwrap();
    assert_eq!(fetched.batch.unwrap().offsets, vec![0, 4]);
    assert_eq!((fetched.next, fetched.caught_up), (6, true));
}

#[test]
fn a_bounded_topic_ends_and_says_so_truthfully() {
    let log = log_with(2);
    log.set_bounded("scans", true).unwrap();
    log.release("scans", 0, Some(1)).unwrap();
    let mut reader = log.source("scans").unwrap().open(0, 0).unwrap();
    assert!(!reader.fetch(LIMIT, Duration::ZERO).unwrap().ended);
    log.release("scans", 0, None).unwrap();
    assert!(reader.fetch(LIMIT, Duration::ZERO).unwrap().ended);
}

#[test]
fn trimmed_and_foreign_positions_are_named() {
    let log = log_with(10);
    let source = log.source("scans").unwrap();
    let before = source.identity().unwrap();
    log.trim("scans", 0, 5).unwrap();
    assert_eq!(source.open(0, 4).err().map(|e| e.code()), Some(Code::Retention));
    assert_eq!(read_all(&*source, 5, 1_000).len(), 5);
    assert_eq!(source.open(0, 11).err().map(|e| e.code()), Some(Code::Recreated));
    assert_eq!(source.open(2, 0).err().map(|e| e.code()), Some(Code::NoTopic));
    assert_eq!(source.identity().unwrap(), before);
    log.create("scans", 2);
    assert_ne!(source.identity().unwrap(), before);
}

#[test]
fn a_sink_shows_what_it_committed_and_nothing_else() {
    let log = log_with(0);
    let factory = log.sink("scans").unwrap();
    let mut sink = factory.open("w").unwrap();
    let ends = sink.ends().unwrap();
    sink.write(vec![out(1, Some(0)), out(2, None)]).unwrap();
    assert_eq!(sink.ends().unwrap(), ends);
    sink.commit().unwrap();
    sink.write(vec![out(3, Some(0))]).unwrap();
    log.kill();
    assert_eq!(sink.commit().err().map(|e| e.code()), Some(Code::Locked));
    let mut seen = Vec::new();
    let mut sink = factory.open("w").unwrap();
    sink.read_back(&ends, &mut |id, _| seen.push(id.0[0])).unwrap();
    seen.sort_unstable();
    assert_eq!(seen, [1, 2]);
    assert_eq!(log.records("scans", 0).unwrap()[0].1.append_us, 1_000);
}

#[test]
fn the_same_writer_opened_again_fences_the_older() {
    let log = log_with(0);
    let factory = log.sink("scans").unwrap();
    let (mut old, mut other) = (factory.open("w").unwrap(), factory.open("other").unwrap());
    let mut new = factory.open("w").unwrap();
    assert_eq!(old.write(vec![out(1, None)]).err().map(|e| e.code()), Some(Code::Locked));
    new.write(vec![out(2, None)]).unwrap();
    other.write(vec![out(3, None)]).unwrap();
    new.commit().unwrap();
    other.commit().unwrap();
}

#[test]
fn control_records_come_back_with_their_offsets() {
    let log = MemoryLog::new();
    let control = log.control("dev.p.control", 2);
    let mark = Control::Idle { table: "scans".into(), partition: 1, offset: 7, watermark: -3 };
    assert_eq!(control.append(1, &mark).unwrap(), 0);
    assert_eq!(control.append(1, &mark).unwrap(), 1);
    assert_eq!(control.read(1, 1).unwrap(), (vec![(1, mark)], 2));
    assert_eq!(control.read(0, 0).unwrap(), (vec![], 0));
    assert_eq!(control.partitions().unwrap(), 2);
}
