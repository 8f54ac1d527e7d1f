//! Live equals replay where the engine itself decides: when a change of reference tables takes effect,
//! how far a silent partition's watermark rises, where new partitions join. Whatever the number of shards of the
//! replay.
//!
//! From a seed: records that arrive while changes are committed, stops and kills, then replays of what
//! the logs hold. `WEIR_SEED=n` runs one seed alone.

#[allow(dead_code, reason = "shared with other tests")]
mod small;
#[path = "support/rng.rs"]
mod rng;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rng::Rng;
use serde_json::{Map, Value, json};
use small::{START, Small};
use weir_contract::{EventTime, Result};
use weir_engine::connect::memory::MemoryRecord;
use weir_engine::control::{Control, RowChange, of_owners};
use weir_engine::run::members::Members;
use weir_engine::run::{Options, Ports, ReferenceChange, ReferenceTail, Stop, run};

const PARTITIONS: u32 = 3;
const MILLI: i64 = 1_000;
const SEEDS: u64 = 4;

/// `o_shards` joins behind an exchange; both flows read `a`, and `b` is often silent.
const PROGRAM: &str = "
CREATE TABLE a (id TEXT NOT NULL, warehouse TEXT NOT NULL, k TEXT, n BIGINT, ts TIMESTAMP NOT NULL,
  WATERMARK FOR ts AS ts - INTERVAL '20 milliseconds')
WITH (connector = 'memory', type = 'source', append_time = 'producer', idle_after = '15 milliseconds')
PARTITIONED BY (warehouse);
CREATE TABLE b (id TEXT NOT NULL, warehouse TEXT NOT NULL, k TEXT, n BIGINT, ts TIMESTAMP NOT NULL,
  WATERMARK FOR ts AS ts - INTERVAL '20 milliseconds')
WITH (connector = 'memory', type = 'source', append_time = 'producer', idle_after = '15 milliseconds')
PARTITIONED BY (warehouse);
CREATE TABLE r (k TEXT NOT NULL, v BIGINT, PRIMARY KEY (k)) WITH (connector = 'reference');
CREATE TABLE o_task (i TEXT, v BIGINT) WITH (connector = 'memory', type = 'sink');
INSERT INTO o_task SELECT a.id, r.v FROM a LEFT JOIN r ON a.k = r.k;
CREATE TABLE o_pairs (i TEXT, j TEXT, v BIGINT) WITH (connector = 'memory', type = 'sink');
INSERT INTO o_pairs SELECT a.id, b.id, r.v FROM a JOIN b ON a.warehouse = b.warehouse AND a.k = b.k
  AND b.ts BETWEEN a.ts - INTERVAL '30 milliseconds' AND a.ts + INTERVAL '30 milliseconds' JOIN r ON a.k = r.k;
CREATE TABLE o_shards (k TEXT, e TIMESTAMP, c BIGINT, v BIGINT) WITH (connector = 'memory', type = 'sink');
INSERT INTO o_shards SELECT q.k, q.slot.end, q.c, r.v FROM (
  SELECT k, tumble(INTERVAL '40 milliseconds') AS slot, count(*) AS c FROM a
  GROUP BY k, tumble(INTERVAL '40 milliseconds')) AS q JOIN r ON q.k = r.k;
";

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn item(k: usize, v: i64) -> Map<String, Value> {
    object(json!({"k": format!("k{k}"), "v": v}))
}

fn change(before: Option<Map<String, Value>>, after: Option<Map<String, Value>>) -> RowChange {
    RowChange { table: "r".into(), before, after }
}

/// A reference database whose transactions the test commits.
#[derive(Clone, Default)]
struct Database(Arc<Mutex<Vec<ReferenceChange>>>);

impl ReferenceTail for Database {
    fn first(&mut self) -> Result<(i64, Vec<RowChange>)> {
        Ok((0, (0..5).map(|k| change(None, Some(item(k, 0)))).collect()))
    }

    fn since(&mut self, after: i64) -> Result<Vec<ReferenceChange>> {
        Ok(self.0.lock().unwrap().iter().filter(|c| c.change > after).cloned().collect())
    }
}

impl Database {
    fn commit(&self, rng: &mut Rng, now: i64) {
        let mut changes = self.0.lock().unwrap();
        let id = changes.len() as i64 + 1;
        let k = rng.below(5);
        // Times asked for that have passed, and some that have not.
        let asked_at = now + rng.range(-300, 100) * MILLI;
        changes.push(ReferenceChange {
            change: id,
            asked_at,
            changes: vec![change(Some(item(k, 0)), Some(item(k, id)))],
        });
    }
}

/// Appends some records to one partition; event time goes on.
fn feed(small: &Small, rng: &mut Rng, now: &mut i64, n: &mut i64) {
    let table = rng.pick(&["a", "a", "b"]);
    let partitions = small.log.partition_count(table).unwrap() as usize;
    // The last partition of `b` never has a record.
    let partition = rng.below(if table == "a" { partitions } else { partitions - 1 }) as u32;
    for _ in 0..rng.below(12) {
        *now += rng.range(0, 8) * MILLI;
        *n += 1;
        let at = EventTime(*now - rng.range(0, 45) * MILLI);
        let value = json!({"id": format!("{table}{n}"), "warehouse": format!("W{partition}"),
            "k": format!("k{}", rng.below(6)), "n": n, "ts": at.to_string()});
        small.log.append(table, partition, MemoryRecord::value(value.to_string()).at(*now)).unwrap();
    }
}

/// Partitions at the end, where the topics grow.
const WIDE: u32 = 6;

fn live(seed: u64, grows: bool) -> Small {
    let mut rng = Rng::of(seed, "decided");
    let small = Small::new(PROGRAM, PARTITIONS);
    let database = Database::default();
    let data = tempfile::tempdir().unwrap();
    let (mut now, mut n) = (START, 0);
    for (wide, last) in [(4, false), (5, false), (WIDE, true)] {
        let stop = Stop::default();
        let options = Options {
            workers: rng.pick(&[1, 2, 4]),
            shards: 2,
            batch_rows: rng.pick(&[1, 7, 8192]),
            memory_bytes: rng.pick(&[1, 64 << 20]),
            checkpoint_every: Duration::from_millis(rng.pick(&[5, 100, 10_000])),
            look_every: Duration::from_millis(rng.pick(&[1, 20])),
            ..Small::options(Some(data.path()))
        };
        let ports = Ports { reference: Some(Box::new(database.clone())), ..small.ports() };
        std::thread::scope(|scope| {
            let running = scope.spawn(|| run(small.plan.clone(), ports, options, &stop));
            // A first start takes the partitions as they are, and refuses tables that do not fit.
            while !members(&small).has("b") && !running.is_finished() {
                std::thread::yield_now();
            }
            let turns = 120 + rng.below(120);
            let grows_at = if grows { rng.below(turns) } else { usize::MAX };
            for turn in 0..turns {
                if turn == grows_at {
                    // One after the other: there is a moment in which they do not fit.
                    for table in ["a", "b"] {
                        small.log.widen(table, wide).unwrap();
                        std::thread::sleep(Duration::from_millis(rng.pick(&[0, 5])));
                    }
                }
                feed(&small, &mut rng, &mut now, &mut n);
                if turn % 30 == 7 {
                    database.commit(&mut rng, now);
                }
                // Long enough at times that partitions are silent.
                std::thread::sleep(Duration::from_millis(rng.pick(&[0, 1, 2, 10, 25])));
            }
            while grows && last && !joined(&small) && !running.is_finished() {
                feed(&small, &mut rng, &mut now, &mut n);
                std::thread::sleep(Duration::from_millis(5));
            }
            match (last, rng.percent(50)) {
                (true, _) => stop.drain(),
                (false, true) => stop.stop(),
                (false, false) => stop.kill(),
            }
            running.join().unwrap().unwrap_or_else(|e| panic!("seed {seed}: {e}"));
            if stop.killed() {
                small.out.kill();
            }
        });
    }
    small
}

fn members(small: &Small) -> Members {
    Members::of(small.control().as_ref()).unwrap()
}

fn joined(small: &Small) -> bool {
    members(small).get("b", WIDE - 1).is_some()
}

/// Marks and decisions in the tasks' and the shards' partitions.
fn decided(small: &Small) -> (usize, Vec<usize>) {
    let control = small.control();
    let (mut marks, mut effective) = (0, Vec::new());
    for partition in 1..control.partitions().unwrap() {
        let records = control.read(partition, 0).unwrap().0.into_iter().map(|(_, record)| record);
        let mut here = 0;
        for record in of_owners(records) {
            match record {
                Control::Idle { .. } => marks += 1,
                Control::Effective { .. } => here += 1,
                _ => {}
            }
        }
        effective.push(here);
    }
    (marks, effective)
}

fn seeds() -> Vec<u64> {
    let one = std::env::var("WEIR_SEED").ok().and_then(|s| s.parse().ok());
    one.map_or_else(|| (0..SEEDS).collect(), |seed| vec![seed])
}

fn replays(seed: u64, small: &Small) {
    let expected = small.outputs();
    for topic in ["o_task", "o_pairs", "o_shards", "t.a.late"] {
        assert!(expected.get(topic).is_some_and(|l| l.len() > 20), "seed {seed}: {topic} says too little");
    }
    for (shards, workers, batch_rows) in [(1, 1, 8192), (2, 2, 7), (5, 4, 64)] {
        let memory_bytes = if shards == 5 { 1 } else { 64 << 20 };
        let options = Options { shards, workers, batch_rows, memory_bytes, ..Small::options(None) };
        let (replayed, _) = small.replay(options);
        for (topic, lines) in replayed.outputs() {
            let missing = expected[&topic].iter().filter(|l| !lines.contains(l)).take(3).collect::<Vec<_>>();
            let extra = lines.iter().filter(|l| !expected[&topic].contains(l)).take(3).collect::<Vec<_>>();
            assert!(
                lines == expected[&topic],
                "seed {seed}, {shards} shards: {topic} has {} records, {} live\nmissing {missing:#?}\nextra {extra:#?}",
                lines.len(),
                expected[&topic].len(),
            );
        }
        assert_eq!(replayed.outputs().len(), expected.len());
    }
}

#[test]
fn a_replay_gives_what_was_decided_live_whatever_its_shards() {
    for seed in seeds() {
        let small = live(seed, false);
        let (marks, effective) = decided(&small);
        assert!(marks > 50, "seed {seed}: {marks} idle marks");
        // One partition a task, one for all shards, nothing behind.
        assert!(effective[..4].iter().all(|n| *n > 4), "seed {seed}: {effective:?}");
        assert!(effective[4..].iter().all(|n| *n == 0), "seed {seed}: {effective:?}");
        replays(seed, &small);
    }
}

#[test]
fn a_replay_reads_partitions_that_joined_from_where_they_joined() {
    for seed in seeds() {
        let small = live(seed, true);
        assert!(joined(&small), "seed {seed}");
        let (marks, effective) = decided(&small);
        assert!(marks > 50, "seed {seed}: {marks} idle marks");
        // The shards' partition stays where it was, and those of the tasks that joined lie behind it.
        let tasks = WIDE as usize;
        assert!(effective[..=tasks].iter().all(|n| *n > 0), "seed {seed}: {effective:?}");
        assert!(effective[tasks + 1..].iter().all(|n| *n == 0), "seed {seed}: {effective:?}");
        for (partition, own) in (1..).zip(0..=WIDE) {
            let (records, _) = small.control().read(partition, 0).unwrap();
            let task = if own <= PARTITIONS { own } else { own - 1 };
            for record in of_owners(records.into_iter().map(|(_, record)| record)) {
                if let Control::Idle { partition: of, .. } = record {
                    assert!(of == task && own != PARTITIONS, "seed {seed}: {of} in {partition}");
                }
            }
        }
        replays(seed, &small);
    }
}
