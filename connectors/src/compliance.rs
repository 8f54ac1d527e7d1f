//! One suite that every source and every sink passes. Test support: it panics where one does not.
//!
//! In:   a harness, which makes a log of given records, or an output that can be read.
//! Owns: what all connectors promise alike; what only one of them does is tested beside it.
//!
//! A connector's test is `compliance::source(&mut harness)` and `compliance::sink(&mut harness)`.

use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::array::{Array, AsArray, BinaryArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;
use weir_contract::event::Id;
use weir_contract::{Code, wire};
use weir_engine::sink::{FROM_START, NOT_READ, OutRecord, Sink, SinkFactory};
use weir_engine::source::{FetchLimit, NO_APPEND, Payload, Source};

/// A record as the suite sees it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rec {
    /// Microseconds, whole milliseconds; [`NO_APPEND`] where the log has none.
    pub append_us: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Vec<u8>)>,
}

/// What records of a log can hold, beside a value that is one line of JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holds {
    /// Keys, headers, tombstones and any bytes as a value.
    pub envelopes: bool,
    /// Append times that the harness chose.
    pub append_time: bool,
    /// Partitions that end.
    pub bounded: bool,
}

/// Makes logs for the suite of sources.
pub trait SourceHarness {
    fn holds(&self) -> Holds;

    /// Makes the log anew with these records by partition; one made before is gone.
    fn make(&mut self, partitions: &[Vec<Rec>]) -> Arc<dyn Source>;

    /// Opens the same log again, as after a restart.
    fn reopen(&mut self) -> Arc<dyn Source>;

    /// Appends to a running log; false where the log cannot grow.
    fn append(&mut self, partition: u32, records: &[Rec]) -> bool;

    /// Lets retention take what lies below a position it chooses, and gives the new start; None where
    /// there is no retention.
    fn trim(&mut self, partition: u32) -> Option<i64>;
}

/// Makes outputs for the suite of sinks.
pub trait SinkHarness {
    /// Whether keys, headers and any bytes come back.
    fn envelopes(&self) -> bool;

    /// Makes an output, empty, with this many partitions; one that has none has one.
    fn make(&mut self, partitions: u32) -> Arc<dyn SinkFactory>;

    /// The same output as another start of the program opens it.
    fn reopen(&mut self) -> Arc<dyn SinkFactory>;

    /// Everything that a reader of committed records sees, by partition.
    fn visible(&mut self) -> Vec<Vec<Rec>>;

    /// Ends the process of an open sink: nothing it did not commit survives.
    fn kill(&mut self, sink: Box<dyn Sink>) {
        drop(sink);
    }
}

/// Record number n of partition p: sizes, NULLs and headers vary.
pub fn record(holds: Holds, partition: u32, n: u32) -> Rec {
    let filler = "x".repeat((n % 41) as usize);
    let value = format!("{{\"v\":\"{partition}-{n}-{filler}\"}}").into_bytes();
    let append_us = if holds.append_time { i64::from(n) * 7_000 + 1_000_000 } else { NO_APPEND };
    if !holds.envelopes {
        return Rec { append_us, value: Some(value), ..Rec::default() };
    }
    let binary: Vec<u8> = (0..n % 300).map(|b| b as u8).collect();
    let header = |name: &str, value: &[u8]| (name.to_owned(), value.to_vec());
    Rec {
        append_us,
        key: (!n.is_multiple_of(3)).then(|| n.to_be_bytes().to_vec()),
        value: match n % 5 {
            0 => None,
            1 => Some(binary),
            _ => Some(value),
        },
        headers: match n % 4 {
            0 => vec![header("a", b"1"), header("b", &[0, 255, 10])],
            1 => vec![header("a", b"")],
            _ => Vec::new(),
        },
    }
}

/// What one reader gave: positions, records, and whether the partition ended.
struct Read {
    offsets: Vec<i64>,
    records: Vec<Rec>,
    next: i64,
    ended: bool,
}

/// Reads a partition until it says that it is caught up, checking each batch.
fn read(source: &dyn Source, partition: u32, from: i64, limit: FetchLimit) -> Read {
    let mut reader = source.open(partition, from).unwrap_or_else(|e| panic!("open at {from}: {e}"));
    let mut read = Read { offsets: Vec::new(), records: Vec::new(), next: from, ended: false };
    let mut nothing = 0;
    loop {
        let got = reader.fetch(limit, Duration::from_millis(20)).unwrap_or_else(|e| panic!("fetch: {e}"));
        assert!(got.next >= read.next, "a position went back");
        if let Some(batch) = &got.batch {
            nothing = 0;
            assert!(!batch.is_empty(), "an empty batch instead of none");
            assert!(batch.len() <= limit.rows.max(1), "{} rows for {}", batch.len(), limit.rows);
            assert_eq!(batch.append_us.len(), batch.len());
            assert!(batch.append_us.iter().all(|t| *t == NO_APPEND || t % 1_000 == 0), "not whole ms");
            assert!(batch.headers.is_sorted_by_key(|h| h.row), "headers are not in the rows' order");
            let first = batch.offsets[0];
            assert!(first >= read.next, "offset {first} lies below the position {}", read.next);
            assert!(batch.offsets.is_sorted_by(|a, b| a < b), "offsets do not ascend");
            assert!(got.next > batch.offsets[batch.len() - 1], "the position is not past the batch");
            let values: BinaryArray = match &batch.payload {
                Payload::Bytes(values) => values.clone(),
                Payload::Rows(rows) => cast(rows.column(0), &DataType::Binary)
                    .expect("a first column of text")
                    .as_binary()
                    .clone(),
            };
            assert_eq!(values.len(), batch.len());
            for row in 0..batch.len() {
                let key = batch.keys.as_ref().and_then(|k| k.iter().nth(row).flatten());
                let headers = batch.headers.iter().filter(|h| h.row == row as u32);
                read.records.push(Rec {
                    append_us: batch.append_us[row],
                    key: key.map(<[u8]>::to_vec),
                    value: values.iter().nth(row).flatten().map(<[u8]>::to_vec),
                    headers: headers.map(|h| (h.name.clone(), h.value.clone())).collect(),
                });
            }
            read.offsets.extend(&batch.offsets);
        }
        read.next = got.next;
        read.ended = got.ended;
        if got.ended || (got.caught_up && got.batch.is_none()) {
            return read;
        }
        nothing += 1;
        assert!(nothing < 1_000, "neither records nor the end for 20 s, at {}", read.next);
    }
}

const WIDE: FetchLimit = FetchLimit { rows: 1 << 20, bytes: 1 << 28 };

/// The suite of sources.
pub fn source(harness: &mut dyn SourceHarness) {
    let holds = harness.holds();
    let log: Vec<Vec<Rec>> = [130, 0, 7]
        .iter()
        .zip(0..)
        .map(|(count, p)| (0..*count).map(|n| record(holds, p, n)).collect())
        .collect();
    let source = harness.make(&log);
    same_records_for_every_batch_size_and_resume(&*source, &log, holds);
    at_least_one_however_large(harness, holds);
    ends_and_growth(harness, holds);
    identity_and_lost_positions(harness, holds);
}

fn same_records_for_every_batch_size_and_resume(source: &dyn Source, log: &[Vec<Rec>], holds: Holds) {
    let partitions = source.partitions().expect("partitions");
    let numbers: Vec<u32> = partitions.iter().map(|p| p.number).collect();
    assert_eq!(numbers, (0..log.len() as u32).collect::<Vec<_>>());
    for (partition, expected) in partitions.iter().zip(log) {
        assert_eq!(partition.bounded, holds.bounded);
        let whole = read(source, partition.number, partition.start, WIDE);
        let strip = |r: &Rec| if holds.append_time { r.clone() } else { Rec { append_us: 0, ..r.clone() } };
        let (got, want): (Vec<_>, Vec<_>) =
            (whole.records.iter().map(strip).collect(), expected.iter().map(strip).collect());
        assert!(got == want, "partition {}: keys, values, headers or order differ", partition.number);
        assert_eq!(whole.ended, holds.bounded);
        assert!(whole.next <= partition.end.max(whole.next) && whole.next >= partition.end);
        for rows in [1, 2, 7, 63, 64, 65] {
            let again = read(source, partition.number, partition.start, FetchLimit { rows, bytes: 1 << 20 });
            assert!(again.records == whole.records && again.offsets == whole.offsets, "{rows} rows a fetch");
        }
        let tiny = read(source, partition.number, partition.start, FetchLimit { rows: 64, bytes: 1 });
        assert!(tiny.records == whole.records, "one byte a fetch");
        for (at, offset) in whole.offsets.iter().enumerate().filter(|(at, _)| at % 13 == 5 || *at == 0) {
            let rest = read(source, partition.number, *offset, FetchLimit { rows: 64, bytes: 200 });
            assert!(
                rest.records == whole.records[at..] && rest.offsets == whole.offsets[at..],
                "from {offset}"
            );
        }
        let nothing = read(source, partition.number, whole.next, WIDE);
        assert!(nothing.records.is_empty() && nothing.ended == holds.bounded);
    }
}

fn at_least_one_however_large(harness: &mut dyn SourceHarness, holds: Holds) {
    let mut large = record(holds, 0, 2);
    large.value = Some(format!("{{\"v\":\"{}\"}}", "y".repeat(700_000)).into_bytes());
    let log = vec![vec![record(holds, 0, 3), large.clone(), record(holds, 0, 4)]];
    let source = harness.make(&log);
    let got = read(
        &*source,
        0,
        source.partitions().expect("partitions")[0].start,
        FetchLimit { rows: 9, bytes: 10 },
    );
    let values: Vec<_> = got.records.iter().map(|r| &r.value).collect();
    assert!(values == log[0].iter().map(|r| &r.value).collect::<Vec<_>>(), "a large record is not given");
}

fn ends_and_growth(harness: &mut dyn SourceHarness, holds: Holds) {
    let first: Vec<Rec> = (0..10).map(|n| record(holds, 0, n)).collect();
    let source = harness.make(std::slice::from_ref(&first));
    let start = source.partitions().expect("partitions")[0].start;
    let mut reader = source.open(0, start).expect("open");
    let mut seen = 0;
    while seen < 10 {
        let got =
            reader.fetch(FetchLimit { rows: 4, bytes: 1 << 20 }, Duration::from_secs(1)).expect("fetch");
        seen += got.batch.map_or(0, |b| b.len());
        assert!(seen == 10 || !(got.caught_up || got.ended), "the end was said after {seen} of 10");
    }
    let more: Vec<Rec> = (10..15).map(|n| record(holds, 0, n)).collect();
    if holds.bounded || !harness.append(0, &more) {
        return;
    }
    while seen < 15 {
        let got = reader.fetch(WIDE, Duration::from_secs(5)).expect("fetch");
        seen += got.batch.map_or(0, |b| b.len());
        assert!(!got.ended, "an unbounded partition ended");
        assert!(seen == 15 || !got.caught_up || got.next < 15, "caught up with {seen} of 15");
    }
    assert!(source.partitions().expect("partitions")[0].end >= 15);
}

fn identity_and_lost_positions(harness: &mut dyn SourceHarness, holds: Holds) {
    let records: Vec<Rec> = (0..40).map(|n| record(holds, 0, n)).collect();
    let source = harness.make(std::slice::from_ref(&records));
    let identity = source.identity().expect("identity");
    let again = harness.reopen();
    assert_eq!(again.identity().expect("identity"), identity, "the identity does not stay");
    let below = again.open(0, -1).err().map(|e| e.code());
    assert_eq!(below, Some(Code::Retention), "a position below the start is W0403");
    assert!(again.open(99, 0).is_err(), "a partition that is not there");
    if let Some(start) = harness.trim(0) {
        assert!(start > 0, "the harness took nothing");
        let trimmed = harness.reopen();
        assert_eq!(trimmed.partitions().expect("partitions")[0].start, start);
        assert_eq!(trimmed.open(0, start - 1).err().map(|e| e.code()), Some(Code::Retention));
        assert_eq!(read(&*trimmed, 0, start, WIDE).records.len(), 40 - start as usize);
    }
    let other: Vec<Rec> = (1..41).map(|n| record(holds, 0, n)).collect();
    let recreated = harness.make(&[other]);
    assert_ne!(recreated.identity().expect("identity"), identity, "a recreated log is not noticed");
}

/// Output record number n, with an id and, where the sink keeps them, a key and headers.
fn out(n: u32, partition: Option<u32>, envelopes: bool) -> OutRecord {
    let mut id = [0; 16];
    id[..4].copy_from_slice(&n.to_be_bytes());
    OutRecord {
        id: Some(Id(id)),
        partition,
        key: if envelopes { (n % 8).to_be_bytes().to_vec() } else { Vec::new() },
        value: format!("{{\"v\":{n}}}").into_bytes(),
        headers: if envelopes { vec![("h".into(), vec![0, 200, n as u8])] } else { Vec::new() },
        time_us: Some(i64::from(n) * 1_000),
    }
}

fn number(record: &Rec) -> u32 {
    let value = String::from_utf8(record.value.clone().expect("a value")).expect("text");
    value.trim_start_matches("{\"v\":").trim_end_matches('}').parse().expect("a number")
}

fn number_of(id: Id) -> u32 {
    u32::from_be_bytes([id.0[0], id.0[1], id.0[2], id.0[3]])
}

fn ids(sink: &mut dyn Sink, from: &weir_engine::sink::SinkEnds) -> Vec<u32> {
    let mut ids = Vec::new();
    sink.read_back(from, &mut |id, _| ids.push(number_of(id))).unwrap_or_else(|e| panic!("read back: {e}"));
    ids.sort_unstable();
    ids
}

/// The suite of sinks.
pub fn sink(harness: &mut dyn SinkHarness) {
    visible_after_commit_only(harness);
    order_and_envelopes_are_kept(harness);
    one_writer_only(harness);
}

fn count(harness: &mut dyn SinkHarness) -> usize {
    harness.visible().iter().map(Vec::len).sum()
}

fn visible_after_commit_only(harness: &mut dyn SinkHarness) {
    let envelopes = harness.envelopes();
    let factory = harness.make(2);
    let mut sink = factory.open("w").expect("open");
    let start = sink.ends().expect("ends");
    sink.commit().expect("a commit of nothing");
    assert_eq!(sink.ends().expect("ends"), start, "a commit of nothing wrote something");
    sink.write((0..20).map(|n| out(n, None, envelopes)).collect()).expect("write");
    assert_eq!(count(harness), 0, "seen before the commit");
    sink.commit().expect("commit");
    assert_eq!(count(harness), 20, "not seen after the commit");
    let middle = sink.ends().expect("ends");
    sink.write((20..25).map(|n| out(n, None, envelopes)).collect()).expect("write");
    sink.commit().expect("commit");
    sink.write((25..30).map(|n| out(n, None, envelopes)).collect()).expect("write");
    harness.kill(sink);
    assert_eq!(count(harness), 25, "what was not committed survived a kill, or more was lost");

    let mut sink = harness.reopen().open("w").expect("open again");
    assert_eq!(ids(&mut *sink, &start), (0..25).collect::<Vec<_>>());
    assert_eq!(ids(&mut *sink, &middle), (20..25).collect::<Vec<_>>());
    let whole = start.iter().map(|(partition, _)| (*partition, FROM_START)).collect();
    assert_eq!(ids(&mut *sink, &whole), (0..25).collect::<Vec<_>>(), "from the start of the log");
    let skipped = start.iter().map(|(partition, _)| (*partition, NOT_READ)).collect();
    assert_eq!(ids(&mut *sink, &skipped), Vec::<u32>::new(), "nothing of a partition");
    let mut apart = Vec::new();
    for (partition, from) in &start {
        assert!(sink.end(*partition).expect("end") >= Some(*from));
        sink.read_back_one(*partition, *from, &mut |id, _| apart.push(number_of(id))).expect("one partition");
    }
    apart.sort_unstable();
    assert_eq!(apart, (0..25).collect::<Vec<_>>(), "partition by partition");
    assert_eq!(sink.end(99).expect("no error"), None, "a partition that is not there");
    let end = sink.ends().expect("ends");
    assert_eq!(ids(&mut *sink, &end), Vec::<u32>::new());
    sink.write(vec![out(30, None, envelopes)]).expect("write");
    sink.commit().expect("commit");
    assert_eq!(ids(&mut *sink, &end), [30]);
}

fn order_and_envelopes_are_kept(harness: &mut dyn SinkHarness) {
    let envelopes = harness.envelopes();
    let mut sink = harness.make(2).open("w").expect("open");
    for chunk in (0..200).collect::<Vec<u32>>().chunks(7) {
        sink.write(chunk.iter().map(|n| out(*n, None, envelopes)).collect()).expect("write");
        if chunk[0] % 3 == 0 {
            sink.commit().expect("commit");
        }
    }
    sink.commit().expect("commit");
    let visible = harness.visible();
    let mut all: Vec<u32> = visible.iter().flatten().map(number).collect();
    for partition in &visible {
        assert!(partition.iter().map(number).is_sorted(), "order inside a partition");
    }
    all.sort_unstable();
    assert_eq!(all, (0..200).collect::<Vec<_>>());
    if !envelopes {
        return;
    }
    for (p, record) in visible.iter().enumerate().flat_map(|(p, records)| records.iter().map(move |r| (p, r)))
    {
        let sent = out(number(record), None, true);
        assert_eq!(record.key.as_ref(), Some(&sent.key));
        let expected = crate::partitioner::partition_of(&sent.key, visible.len() as u32);
        assert_eq!(p as u32, expected, "murmur2 of the key chooses the partition");
        assert!(record.headers.contains(&sent.headers[0]), "headers are lost");
        let id = sent.id.map(|id| id.to_string().into_bytes());
        assert_eq!(record.headers.iter().find(|(n, _)| n == wire::ID).map(|(_, v)| v), id.as_ref());
    }
    sink.write((200..210).map(|n| out(n, Some(1), true)).collect()).expect("write");
    sink.commit().expect("commit");
    assert_eq!(harness.visible()[1].len(), visible[1].len() + 10, "a named partition is taken");
    let nowhere = sink.write(vec![out(0, Some(2), true)]).and_then(|()| sink.commit());
    assert!(nowhere.is_err(), "a partition that is not there");
}

/// Opening the same writer again either fences the older one or is refused.
fn one_writer_only(harness: &mut dyn SinkHarness) {
    let envelopes = harness.envelopes();
    let mut old = harness.make(1).open("w").expect("open");
    old.write(vec![out(1, None, envelopes)]).expect("write");
    old.commit().expect("commit");
    match harness.reopen().open("w") {
        Ok(mut new) => {
            let written = old.write(vec![out(2, None, envelopes)]).and_then(|()| old.commit());
            assert_eq!(written.err().map(|e| e.code()), Some(Code::Locked), "the older writer is not fenced");
            new.write(vec![out(3, None, envelopes)]).expect("write");
            new.commit().expect("commit");
            let seen: Vec<u32> = harness.visible().iter().flatten().map(number).collect();
            assert_eq!(seen, [1, 3]);
        }
        Err(refused) => {
            assert_eq!(refused.code(), Code::Locked);
            old.write(vec![out(2, None, envelopes)]).expect("write");
            old.commit().expect("commit");
            let seen: Vec<u32> = harness.visible().iter().flatten().map(number).collect();
            assert_eq!(seen, [1, 2]);
        }
    }
}

/// Everything that a source shows now, by partition: for harnesses of sinks.
pub fn read_all(source: &dyn Source) -> Vec<Vec<Rec>> {
    let partitions = source.partitions().expect("partitions");
    partitions.iter().map(|p| read(source, p.number, p.start, WIDE).records).collect()
}

#[cfg(test)]
mod tests;
