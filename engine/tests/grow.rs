//! A source that gets more partitions: they join by record, under a run or at the next start, and what is told is
//! what a program would have told that had them from the beginning. Killed anywhere, nothing is lost or doubled.

#[allow(dead_code, reason = "shared with other tests")]
mod small;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use small::{SECOND, START, Small, row};
use weir_contract::{Code, Error, Result};
use weir_engine::control::{Control, ControlLog, Member};
use weir_engine::run::members::Members;
use weir_engine::run::{Options, Ports, Report, Stop, run};

const TABLES: &str = "
CREATE TABLE a (id TEXT NOT NULL, warehouse TEXT NOT NULL, k TEXT, n BIGINT, ts TIMESTAMP NOT NULL,
  WATERMARK FOR ts AS ts - INTERVAL '1 second')
WITH (connector = 'memory', type = 'source', append_time = 'producer') PARTITIONED BY (warehouse);
CREATE TABLE b (id TEXT NOT NULL, warehouse TEXT NOT NULL, k TEXT, n BIGINT, ts TIMESTAMP NOT NULL,
  WATERMARK FOR ts AS ts - INTERVAL '1 second')
WITH (connector = 'memory', type = 'source', append_time = 'producer') PARTITIONED BY (warehouse);
CREATE TABLE o_rows (i TEXT, n BIGINT) WITH (connector = 'memory', type = 'sink');
INSERT INTO o_rows SELECT id, n FROM a;
";

/// Each task for itself.
const TASKS: &str = "
CREATE TABLE o_pairs (i TEXT, j TEXT) WITH (connector = 'memory', type = 'sink');
INSERT INTO o_pairs SELECT a.id, b.id FROM a JOIN b ON a.warehouse = b.warehouse AND a.k = b.k
  AND b.ts BETWEEN a.ts - INTERVAL '4 seconds' AND a.ts + INTERVAL '4 seconds';
CREATE RULE high WITH (kind = 'condition', key = 'k', fire_after = '1 second', clear_after = '1 second') AS
SELECT warehouse, k, ts AS event_time, n % 40 > 15 AS fire FROM a;
";

/// Behind an exchange: `a` is read for the tasks and for the shards, `b` for the shards alone.
const SHARDS: &str = "
CREATE TABLE o_windows (k TEXT, e TIMESTAMP, c BIGINT) WITH (connector = 'memory', type = 'sink');
INSERT INTO o_windows SELECT k, slot.end, c FROM (
  SELECT k, tumble(INTERVAL '5 seconds') AS slot, count(*) AS c FROM a GROUP BY k, tumble(INTERVAL '5 seconds')) AS q;
CREATE TABLE o_pairs (i TEXT, j TEXT) WITH (connector = 'memory', type = 'sink');
INSERT INTO o_pairs SELECT a.id, b.id FROM a JOIN b ON a.n = b.n
  AND b.ts BETWEEN a.ts - INTERVAL '2 seconds' AND a.ts + INTERVAL '2 seconds';
CREATE RULE many WITH (kind = 'event', key = 'k', severity = 'low') AS
SELECT 'all' AS warehouse, k, slot.end AS event_time, c AS quantity FROM (
  SELECT k, tumble(INTERVAL '10 seconds') AS slot, count(*) AS c FROM a GROUP BY k, tumble(INTERVAL '10 seconds')) AS q
WHERE c > 5;
";

const CONTROL: &str = "t.small.control";
/// Partitions at the first start, and at the end.
const NARROW: u32 = 2;
const WIDE: u32 = 5;
const ROUNDS: i64 = 60;

/// A world whose control log has no partition to spare.
fn world(program: &str, partitions: u32) -> Small {
    let small = Small::new(&format!("{TABLES}{program}"), partitions);
    small.log.control(CONTROL, partitions + 2);
    small
}

/// Rows of a round, in all partitions of both tables.
fn feed(small: &Small, rounds: std::ops::Range<i64>, partitions: std::ops::Range<u32>) {
    for n in rounds {
        for partition in partitions.clone() {
            for table in ["a", "b"] {
                // Apart, so that no two rows of a key share an event time.
                let at = START + n * SECOND + i64::from(partition) * 1_000;
                small.log.append(table, partition, row(partition, n, at)).unwrap();
            }
        }
    }
}

fn options(data: Option<&Path>, workers: usize) -> Options {
    let look_every = Duration::from_millis(2);
    Options { workers, shards: 2, batch_rows: 16, look_every, ..Small::options(data) }
}

fn drained() -> Stop {
    let stop = Stop::default();
    stop.drain();
    stop
}

fn members(small: &Small) -> Members {
    Members::of(small.control().as_ref()).unwrap()
}

/// Ends a run whose test fails: nothing else would.
struct Ends<'a>(&'a Stop);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.kill();
        }
    }
}

fn wait(what: &str, until: impl Fn() -> bool) {
    for _ in 0..60_000 {
        if until() {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("waited in vain: {what}");
}

fn widen(small: &Small, partitions: u32) {
    for table in ["a", "b"] {
        small.log.widen(table, partitions).unwrap();
    }
}

fn joined(small: &Small, partitions: u32) -> bool {
    members(small).get("b", partitions - 1).is_some()
}

/// The rows of a world that grows from 2 to 3 to 5 at these rounds, and what a program says of them that has all
/// partitions from the beginning.
fn wanted(program: &str, grows: [i64; 2]) -> Small {
    let small = world(program, WIDE);
    feed_all(&small, grows, |_, _| {});
    small.run(options(None, 1), &drained());
    small
}

fn feed_all(small: &Small, grows: [i64; 2], grow: impl Fn(i64, u32)) {
    let mut partitions = NARROW;
    for n in 0..ROUNDS {
        for (at, wide) in grows.into_iter().zip([3, WIDE]) {
            if n == at {
                grow(n, wide);
                partitions = wide;
            }
        }
        feed(small, n..n + 1, 0..partitions);
    }
}

fn same(found: &Small, wanted: &Small, of: &str) {
    for (topic, lines) in wanted.outputs() {
        let got = found.lines(&topic);
        let missing: Vec<_> = lines.iter().filter(|l| !got.contains(l)).take(3).collect();
        let extra: Vec<_> = got.iter().filter(|l| !lines.contains(l)).take(3).collect();
        assert!(
            got == lines,
            "{of}: {topic} has {} records, {} wanted\nmissing {missing:#?}\nextra {extra:#?}",
            got.len(),
            lines.len()
        );
    }
    assert_eq!(found.outputs().len(), wanted.outputs().len(), "{of}");
}

fn replays(small: &Small, of: &str) {
    for (shards, workers, batch_rows) in [(1, 1, 8192), (3, 2, 7)] {
        let options = Options { shards, batch_rows, ..options(None, workers) };
        let (replayed, _) = small.replay(options);
        same(&replayed, small, &format!("{of}, replayed with {shards} shards"));
    }
}

fn sums(report: &Report, records: u64) {
    let counts = report.sources["a"];
    assert_eq!(counts.records, records);
    assert_eq!(counts.records, counts.row_records + counts.heartbeats + counts.rejects);
    assert_eq!(counts.rows, counts.processed + counts.late + counts.duplicates);
}

#[test]
fn a_program_that_grew_says_what_it_would_have_said_from_the_beginning() {
    for (name, program) in [("tasks", TASKS), ("shards", SHARDS)] {
        for (case, grows) in [[0, 1], [13, 14], [20, 41], [58, 59]].into_iter().enumerate() {
            let of = format!("{name}, growing at {grows:?}");
            let wanted = wanted(program, grows);
            assert!(wanted.outputs().len() >= 3, "{:?}", wanted.outputs().keys());
            let (small, stop) = (world(program, NARROW), Stop::default());
            let data = tempfile::tempdir().unwrap();
            // Without a data folder the cut is handed on in memory.
            let data = (case % 2 == 0).then(|| data.path());
            let report = std::thread::scope(|scope| {
                let _ends = Ends(&stop);
                let running = scope.spawn(|| small.run(options(data, 1 + case), &stop));
                // A first start takes the partitions as they are, and refuses tables that do not fit.
                wait("it begins", || members(&small).has("b") || running.is_finished());
                feed_all(&small, grows, |_, wide| {
                    widen(&small, wide);
                    wait("the partitions join", || joined(&small, wide) || running.is_finished());
                });
                stop.drain();
                running.join().unwrap()
            });
            sums(&report, small.log_rows("a"));
            assert_eq!(report.sources["a"].late, 0, "{of}");
            let written: u64 = report.outputs["o_rows"];
            assert_eq!(written, small.lines("o_rows").len() as u64, "{of}: goes on counting");
            same(&small, &wanted, &of);
            replays(&small, &of);
            // Each task that joined has a partition of its own behind the shards'.
            assert_eq!(small.control().partitions().unwrap(), 2 + WIDE);
        }
    }
}

/// Kills a run around the record of a growth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dies {
    Never,
    /// The record is not written.
    Before,
    /// The record is written, and no checkpoint after it.
    After,
    /// The record is written, and its answer is lost.
    Lost,
}

struct Cutting {
    inner: Arc<dyn ControlLog>,
    dies: Dies,
    stop: Stop,
    joins: AtomicUsize,
}

impl Cutting {
    fn away(&self) -> Result<()> {
        if self.stop.killed() { Err(Error::new(Code::Connect, "cut off")) } else { Ok(()) }
    }
}

fn is_join(record: &Control) -> bool {
    matches!(record, Control::Owned { record, .. } if matches!(**record, Control::Join { .. }))
}

fn joins(small: &Small) -> usize {
    small.control().read(0, 0).unwrap().0.iter().filter(|(_, r)| is_join(r)).count()
}

impl ControlLog for Cutting {
    fn append(&self, partition: u32, record: &Control) -> Result<i64> {
        self.away()?;
        if !is_join(record) {
            return self.inner.append(partition, record);
        }
        let first = self.joins.fetch_add(1, Ordering::Relaxed) == 0;
        if self.dies == Dies::Before {
            self.stop.kill();
            self.away()?;
        }
        let offset = self.inner.append(partition, record)?;
        match self.dies {
            Dies::After => self.stop.kill(),
            Dies::Lost if first => return Err(Error::new(Code::Connect, "no answer")),
            _ => {}
        }
        Ok(offset)
    }

    fn read(&self, partition: u32, from: i64) -> Result<(Vec<(i64, Control)>, i64)> {
        self.away()?;
        self.inner.read(partition, from)
    }

    fn partitions(&self) -> Result<u32> {
        self.inner.partitions()
    }

    fn widen(&self, partitions: u32) -> Result<()> {
        self.inner.widen(partitions)
    }
}

#[test]
fn a_kill_around_a_growth_loses_and_doubles_nothing() {
    let grows = [20, 40];
    for (name, program) in [("tasks", TASKS), ("shards", SHARDS)] {
        let wanted = wanted(program, grows);
        for (case, dies) in [Dies::Before, Dies::After, Dies::Lost, Dies::Never].into_iter().enumerate() {
            let of = format!("{name}, {dies:?}");
            let (small, data) = (world(program, NARROW), tempfile::tempdir().unwrap());
            let checkpoint_every = Duration::from_millis([2, 3_600_000][case % 2]);
            let options = || Options { checkpoint_every, ..options(Some(data.path()), 2) };
            let mut fed = 0;
            for (at, wide) in grows.into_iter().zip([3, WIDE]) {
                let stop = Stop::default();
                let inner = small.control();
                let control = Cutting { inner, dies, stop: stop.clone(), joins: AtomicUsize::new(0) };
                let ports = Ports { control: Arc::new(control), ..small.ports() };
                let plan = small.plan.clone();
                let partitions = if wide == 3 { NARROW } else { 3 };
                std::thread::scope(|scope| {
                    let _ends = Ends(&stop);
                    let running = scope.spawn(|| run(plan, ports, options(), &stop));
                    feed(&small, fed..at, 0..partitions);
                    // Told things that no checkpoint holds.
                    wait("rows are told", || {
                        small.lines("o_rows").len() as i64 > at || running.is_finished()
                    });
                    widen(&small, wide);
                    match dies {
                        Dies::Before | Dies::After => wait("it dies", || running.is_finished()),
                        // Said once more.
                        Dies::Lost => wait("it joins", || joins(&small) == 2 * (wide as usize / 2)),
                        Dies::Never => std::thread::sleep(Duration::from_millis(3)),
                    }
                    stop.kill();
                    running.join().unwrap().unwrap_or_else(|e| panic!("{of}: {e}"));
                });
                small.log.kill();
                fed = at;
                // At the next start, before any new row: joined, whatever the record said before.
                let stop = Stop::default();
                std::thread::scope(|scope| {
                    let _ends = Ends(&stop);
                    let running = scope.spawn(|| small.run(options(), &stop));
                    wait("the partitions join", || joined(&small, wide) || running.is_finished());
                    stop.kill();
                    running.join().unwrap();
                });
                small.log.kill();
            }
            feed(&small, fed..ROUNDS, 0..WIDE);
            let report = small.run(options(), &drained());
            sums(&report, small.log_rows("a"));
            same(&small, &wanted, &of);
            replays(&small, &of);
            assert_eq!(joins(&small), if dies == Dies::Lost { 4 } else { 2 }, "{of}");
        }
    }
}

#[test]
fn tables_that_meet_grow_together() {
    let (small, data, stop) = (world(TASKS, NARROW), tempfile::tempdir().unwrap(), Stop::default());
    feed(&small, 0..10, 0..NARROW);
    std::thread::scope(|scope| {
        let _ends = Ends(&stop);
        let running = scope.spawn(|| small.run(options(Some(data.path()), 2), &stop));
        wait("it begins", || members(&small).has("b"));
        small.log.widen("a", 3).unwrap();
        small.log.append("a", 2, row(2, 0, START)).unwrap();
        wait("rows are told", || small.lines("o_rows").len() == 20);
        std::thread::sleep(Duration::from_millis(30));
        assert!(members(&small).get("a", 2).is_none() && !running.is_finished());
        stop.stop();
        running.join().unwrap();
    });
    // Nor at a start; then the other one follows.
    let stop = Stop::default();
    std::thread::scope(|scope| {
        let _ends = Ends(&stop);
        let running = scope.spawn(|| small.run(options(Some(data.path()), 2), &stop));
        std::thread::sleep(Duration::from_millis(30));
        assert!(members(&small).get("a", 2).is_none() && !running.is_finished());
        small.log.widen("b", 3).unwrap();
        wait("both join", || joined(&small, 3) || running.is_finished());
        stop.drain();
        running.join().unwrap();
    });
    assert_eq!(small.lines("o_rows").len(), 21);
    assert_eq!(members(&small).get("a", 2), Some(&Member { partition: 2, first_offset: 0, watermark: None }));
    replays(&small, "after both");
}

#[test]
fn a_partition_joins_behind_what_shards_have_told() {
    let (small, stop) = (world(SHARDS, NARROW), Stop::default());
    feed(&small, 0..30, 0..NARROW);
    std::thread::scope(|scope| {
        let _ends = Ends(&stop);
        let running = scope.spawn(|| small.run(options(None, 2), &stop));
        wait("windows are told", || small.lines("o_windows").len() >= 25);
        widen(&small, 3);
        wait("it joins", || joined(&small, 3) || running.is_finished());
        // The first is below the least watermark of the others, the second is not.
        for n in [1, 28] {
            small.log.append("a", 2, row(2, n, START + n * SECOND)).unwrap();
        }
        feed(&small, 30..40, 0..3);
        stop.drain();
        assert_eq!(running.join().unwrap().sources["a"].late, 1);
    });
    assert_eq!(members(&small).get("a", 2).and_then(|m| m.watermark), Some(START + 28 * SECOND));
    assert_eq!(small.lines("t.a.late").len(), 1);
    replays(&small, "late");
}

#[test]
fn after_a_crash_a_partition_joins_behind_what_had_been_told() {
    let (small, data, stop) = (world(SHARDS, NARROW), tempfile::tempdir().unwrap(), Stop::default());
    feed(&small, 0..300, 0..NARROW);
    let checkpoint_every = Duration::from_secs(3_600);
    let options = |batch_rows| Options { checkpoint_every, batch_rows, ..options(Some(data.path()), 2) };
    std::thread::scope(|scope| {
        let _ends = Ends(&stop);
        scope.spawn(|| small.run(options(8192), &stop));
        wait("windows are told", || small.lines("o_windows").len() >= 59 * 5);
        stop.kill();
    });
    small.log.kill();
    // A row of a window that was told, in a partition that nobody read so far. The next process is slow.
    widen(&small, 3);
    small.log.append("a", 2, row(2, 150, START + 150 * SECOND)).unwrap();
    let stop = Stop::default();
    std::thread::scope(|scope| {
        let _ends = Ends(&stop);
        let running = scope.spawn(|| small.run(options(1), &stop));
        wait("it joins", || joined(&small, 3) || running.is_finished());
        feed(&small, 300..310, 0..3);
        stop.drain();
        assert_eq!(running.join().unwrap().sources["a"].late, 1);
    });
    replays(&small, "after a crash");
}

#[test]
fn a_start_refuses_what_cannot_join() {
    // Fewer partitions than the checkpoint has.
    let (small, data) = (world(TASKS, 3), tempfile::tempdir().unwrap());
    small.run(options(Some(data.path()), 1), &drained());
    let fewer = world(TASKS, 2);
    let refused = |small: &Small, data: &Path| {
        let ended = run(small.plan.clone(), small.ports(), options(Some(data), 1), &drained());
        ended.err().map(|e| (e.code(), e.to_string()))
    };
    let (code, why) = refused(&fewer, data.path()).unwrap();
    assert_eq!(code, Code::NoCheckpoint);
    assert!(why.contains("of 3 partitions, the sources have 2"), "{why}");
    let (records, _) = fewer.control().read(0, 0).unwrap();
    assert!(records.is_empty(), "refused before anything was written: {records:?}");

    // A table with fewer partitions than tasks: those tasks went on without it.
    const APART: &str = "
        CREATE TABLE o_b (i TEXT) WITH (connector = 'memory', type = 'sink');
        INSERT INTO o_b SELECT id FROM b;";
    let (small, data) = (world(APART, 3), tempfile::tempdir().unwrap());
    small.log.create("b", 1);
    feed(&small, 0..5, 0..1);
    let stop = Stop::default();
    std::thread::scope(|scope| {
        let _ends = Ends(&stop);
        let running = scope.spawn(|| small.run(options(Some(data.path()), 1), &stop));
        wait("it begins", || members(&small).has("b"));
        small.log.widen("b", 2).unwrap();
        small.log.append("b", 1, row(1, 0, START)).unwrap();
        wait("rows are told", || small.lines("o_b").len() == 5);
        std::thread::sleep(Duration::from_millis(30));
        assert!(!running.is_finished(), "it goes on without");
        stop.stop();
        running.join().unwrap();
    });
    assert_eq!(small.lines("o_b").len(), 5);
    let (code, why) = refused(&small, data.path()).unwrap();
    assert_eq!(code, Code::NoCheckpoint);
    assert!(why.contains("`b` had 1 partitions at the first start and has 2 now"), "{why}");
}
