//! A table that tasks and an exchange read has two readers: an exchange that waits for a partition
//! which gives nothing stops its own reading, never the tasks'.

#[allow(dead_code, reason = "shared with other tests")]
mod small;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use small::{SECOND, START, Small, row};
use weir_contract::Result;
use weir_engine::run::{Options, Stop};
use weir_engine::source::{FetchLimit, Fetched, Partition, PartitionReader, Source};

const PARTITIONS: u32 = 3;
const RECORDS: i64 = 600;
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(5);

/// `busy` is needed on both sides, with state; `o_groups` counts what an inner join drops.
const PROGRAM: &str = "
CREATE TABLE a (id TEXT NOT NULL, warehouse TEXT NOT NULL, k TEXT, n BIGINT, ts TIMESTAMP NOT NULL,
  WATERMARK FOR ts AS ts - INTERVAL '1 second')
WITH (connector = 'memory', type = 'source', append_time = 'producer', dedup = 'id',
  dedup_within = INTERVAL '1 minute') PARTITIONED BY (warehouse);
CREATE TABLE names (k TEXT, name TEXT);
INSERT INTO names VALUES ('k0', 'zero'), ('k1', 'one'), ('k2', 'two');
CREATE VIEW busy AS SELECT warehouse, id, k, n, ts, count(*) OVER w AS lately FROM a
WINDOW w AS (PARTITION BY warehouse, k ORDER BY ts RANGE BETWEEN INTERVAL '4 seconds' PRECEDING AND CURRENT ROW);
CREATE TABLE o_rows (i TEXT, c BIGINT) WITH (connector = 'memory', type = 'sink');
INSERT INTO o_rows SELECT id, lately FROM busy;
CREATE RULE often WITH (kind = 'event', key = 'k', severity = 'low') AS
SELECT warehouse, k, ts AS event_time, 'often' AS reason FROM busy WHERE lately > 2;
CREATE TABLE o_windows (k TEXT, e TIMESTAMP, c BIGINT, m BIGINT) WITH (connector = 'memory', type = 'sink');
INSERT INTO o_windows SELECT k, slot.end, c, m FROM (
  SELECT k, tumble(INTERVAL '5 seconds') AS slot, count(*) AS c, max(lately) AS m FROM busy
  GROUP BY k, tumble(INTERVAL '5 seconds')) AS q;
CREATE VIEW named AS SELECT a.warehouse, a.id, a.ts, names.name FROM a JOIN names ON a.k = names.k;
CREATE TABLE o_named (i TEXT, g TEXT) WITH (connector = 'memory', type = 'sink');
INSERT INTO o_named SELECT id, name FROM named;
CREATE TABLE o_groups (g TEXT, e TIMESTAMP, c BIGINT) WITH (connector = 'memory', type = 'sink');
INSERT INTO o_groups SELECT name, slot.end, c FROM (
  SELECT name, tumble(INTERVAL '5 seconds') AS slot, count(*) AS c FROM named
  GROUP BY name, tumble(INTERVAL '5 seconds')) AS q;
";

/// Outputs of tasks; the others are behind exchanges.
const TASKS: [&str; 5] = ["o_rows", "o_named", "t.events.small", "t.a.late", "t.a.rejected"];

fn world() -> Small {
    let small = Small::new(PROGRAM, PARTITIONS);
    for partition in 0..PARTITIONS {
        for n in 0..RECORDS {
            let time = START + n * SECOND / 4;
            let record = row(partition, n, time);
            small.log.append("a", partition, record.clone()).unwrap();
            if n % 50 == 9 {
                small.log.append("a", partition, record.at(time + 1_000)).unwrap(); // a duplicate
                small.log.append("a", partition, row(partition, 10_000 + n, time - 9 * SECOND)).unwrap();
                small
                    .log
                    .append("a", partition, weir_engine::connect::memory::MemoryRecord::value("{"))
                    .unwrap();
            }
        }
    }
    small
}

/// Positions of the readers of each partition, in the order in which they were opened.
type Seen = Arc<Mutex<BTreeMap<u32, Vec<i64>>>>;

/// A source one of whose partitions gives nothing, and does not say that it is at its end either.
struct Stalling {
    inner: Arc<dyn Source>,
    open: Arc<AtomicBool>,
    seen: Seen,
}

impl Source for Stalling {
    fn partitions(&self) -> Result<Vec<Partition>> {
        self.inner.partitions()
    }

    fn open(&self, partition: u32, from: i64) -> Result<Box<dyn PartitionReader>> {
        let inner = self.inner.open(partition, from)?;
        let mut seen = self.seen.lock().unwrap();
        let readers = seen.entry(partition).or_default();
        readers.push(from);
        let (number, open) = (readers.len() - 1, Arc::clone(&self.open));
        Ok(Box::new(Stalled { inner, open, partition, number, next: from, seen: Arc::clone(&self.seen) }))
    }

    fn identity(&self) -> Result<String> {
        self.inner.identity()
    }
}

struct Stalled {
    inner: Box<dyn PartitionReader>,
    open: Arc<AtomicBool>,
    partition: u32,
    number: usize,
    next: i64,
    seen: Seen,
}

impl PartitionReader for Stalled {
    fn fetch(&mut self, limit: FetchLimit, wait: Duration) -> Result<Fetched> {
        if self.partition == 0 && !self.open.load(Ordering::SeqCst) {
            return Ok(Fetched { batch: None, next: self.next, caught_up: false, ended: false });
        }
        let fetched = self.inner.fetch(limit, wait)?;
        self.next = fetched.next;
        self.seen.lock().unwrap().get_mut(&self.partition).unwrap()[self.number] = fetched.next;
        Ok(fetched)
    }
}

#[test]
fn a_waiting_exchange_does_not_hold_tasks_back() {
    let drained = Stop::default();
    drained.drain();
    let wanted = world();
    let whole = wanted.run(Options { workers: 1, shards: 1, ..Small::options(None) }, &drained);
    let records = (RECORDS + RECORDS / 50 * 3) as u64 * u64::from(PARTITIONS);
    let counts = whole.sources["a"];
    assert_eq!(counts.records, records, "fates are counted once");
    assert!(counts.duplicates > 30 && counts.late > 30 && counts.rejects > 30, "{counts:?}");
    assert!(whole.unmatched["o_named"]["names"] > 500, "{:?}", whole.unmatched);
    let (outputs, far) = (wanted.outputs(), records as i64 / i64::from(PARTITIONS));
    assert_eq!(outputs.len(), 7, "{:?}", outputs.keys());

    for (workers, shards, batch_rows) in [(1, 1, 16), (2, 3, 7), (4, 2, 64)] {
        let mut small = world();
        let (open, seen) = (Arc::new(AtomicBool::new(false)), Seen::default());
        let inner = Arc::clone(&small.sources["a"]);
        let stalling = Stalling { inner, open: Arc::clone(&open), seen: Arc::clone(&seen) };
        small.sources.insert("a".into(), Arc::new(stalling));
        let stop = Stop::default();
        let options = Options { workers, shards, batch_rows, memory_bytes: 1, ..Small::options(None) };
        let report = std::thread::scope(|scope| {
            let running = scope.spawn(|| small.run(options, &stop));
            let mut waited = Duration::ZERO;
            let of_others = |lines: &[String]| lines.iter().filter(|l| !from_first(l)).count();
            while !TASKS.iter().all(|t| of_others(&small.lines(t)) == of_others(&outputs[*t])) {
                assert!(waited < PATIENCE && !running.is_finished(), "the tasks wait for the exchange");
                std::thread::sleep(LOOK);
                waited += LOOK;
            }
            let positions = seen.lock().unwrap().clone();
            for partition in [1, 2] {
                let readers = &positions[&partition];
                assert_eq!((readers.len(), readers[0]), (2, far), "{positions:?}");
                assert!(readers[1] < far, "nothing holds the exchange's reader: {positions:?}");
            }
            assert!(small.lines("o_windows").is_empty() && small.lines("o_groups").is_empty());
            open.store(true, Ordering::SeqCst);
            stop.drain();
            running.join().unwrap()
        });
        assert_eq!(report.sources, whole.sources);
        assert_eq!((&report.unmatched, &report.events), (&whole.unmatched, &whole.events));
        assert_eq!(report.unknown, whole.unknown);
        assert!(small.outputs() == outputs, "{workers} workers, {shards} shards, {batch_rows} rows");
    }
}

/// Whether a line comes from partition 0.
fn from_first(line: &str) -> bool {
    line.contains("\"0/") || line.contains("\"W0\"") || line.contains("\"partition\":0")
}
