//! A warehouse whose partition stands still, and one that is ten minutes behind, hold nobody else back.
//!
//! From a seed: four warehouses, a partition each, in two tables; a join, a window and an absence over
//! them, and rules. Warehouse 0 stands still: no record, no heartbeat, no mark. Warehouse 1 gets rows
//! that are ten minutes old. All events of the others come meanwhile, the same and in the same order as
//! in a run that has everything; and warehouse 0's come when its partition moves.
//!
//! `WEIR_SEED=n` runs one seed alone.

#[allow(dead_code, reason = "shared with the tests of the laws")]
mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use support::rig::planned;
use support::rng::Rng;
use weir_contract::{EventTime, WallClock};
use weir_engine::connect::memory::{MemoryLog, MemoryRecord};
use weir_engine::run::{Options, Ports, Report, Stop, run};
use weir_engine::sql::plan::ir::Plan;

const SEEDS: u64 = 12;
const WAREHOUSES: u32 = 4;
const STALLED: u32 = 0;
const BEHIND: u32 = 1;
const SECOND: i64 = 1_000_000;
/// 2026-03-02T08:00:00Z.
const START: i64 = 1_772_438_400 * SECOND;
/// Of event time, for each warehouse.
const SECONDS: i64 = 60;
const EVENTS: &str = "dev.events.isolation";
const CONTROL: &str = "dev.isolation.control";
/// Longest that the events of a busy machine may take; no answer depends on it.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(2);

const PROGRAM: &str = "
CREATE TABLE a (event_id TEXT NOT NULL, warehouse TEXT NOT NULL, k TEXT, x DOUBLE, ts TIMESTAMP NOT NULL,
    WATERMARK FOR ts AS ts - INTERVAL '1 second')
WITH (connector = 'memory', type = 'source', append_time = 'producer', dedup = 'event_id',
    dedup_within = INTERVAL '8 seconds') PARTITIONED BY (warehouse);

CREATE TABLE b (event_id TEXT NOT NULL, warehouse TEXT NOT NULL, k TEXT, y DOUBLE, at_ts TIMESTAMP NOT NULL,
    WATERMARK FOR at_ts AS at_ts - INTERVAL '2 seconds')
WITH (connector = 'memory', type = 'source', append_time = 'producer') PARTITIONED BY (warehouse);

CREATE VIEW loads AS SELECT warehouse, k, w.end - INTERVAL '1 microsecond' AS ends, total, rows FROM (
    SELECT warehouse, k, hop(INTERVAL '1 second', INTERVAL '3 seconds') AS w, sum(x) AS total, count(*) AS rows
    FROM a GROUP BY warehouse, k, hop(INTERVAL '1 second', INTERVAL '3 seconds')) AS g;

CREATE RULE missing WITH (kind = 'event', key = 'k') AS
SELECT a.warehouse, a.k, a.ts AS event_time, 'missing' AS reason, a.event_id
FROM a LEFT JOIN b ON a.warehouse = b.warehouse AND a.k = b.k
    AND b.at_ts BETWEEN a.ts - INTERVAL '1 second' AND a.ts + INTERVAL '1 second'
WHERE b.event_id IS NULL;

CREATE RULE heavy WITH (kind = 'condition', key = 'k', fire_after = '1 second', clear_after = '2 seconds') AS
SELECT warehouse, k, ends AS event_time, total > 3.0 AS fire, total < 2.0 AS clear, total AS quantity FROM loads;

CREATE RULE quiet WITH (kind = 'condition', key = 'k', no_data = '4 seconds') AS
SELECT warehouse, k, ts AS event_time, x > 0.9 AS fire FROM a;

CREATE RULE rising WITH (kind = 'event', key = 'k') AS
SELECT warehouse, k, ts AS event_time, 'rising' AS reason, mean FROM (
    SELECT warehouse, k, ts, x, avg(x) OVER (PARTITION BY warehouse, k ORDER BY ts
        RANGE BETWEEN INTERVAL '2 seconds' PRECEDING AND CURRENT ROW) AS mean FROM a) AS o
WHERE x > mean + 0.3;
";

type Records = BTreeMap<(&'static str, u32), Vec<MemoryRecord>>;

/// Everything that every warehouse says, in the order of its partitions.
fn world(seed: u64) -> Records {
    let mut records = Records::new();
    for warehouse in 0..WAREHOUSES {
        let mut rng = Rng::of(seed, &format!("warehouse {warehouse}"));
        let start = if warehouse == BEHIND { START - 600 * SECOND } else { START };
        for (table, column, value) in [("a", "ts", "x"), ("b", "at_ts", "y")] {
            let mut at = start;
            let mut n = 0;
            while at < start + SECONDS * SECOND {
                let longest = if rng.percent(4) { 6_000 } else { 400 };
                at += rng.range(50, longest) * 1_000;
                n += 1;
                let event = at - rng.range(0, 1_200) * 1_000;
                let row = json!({
                    "event_id": format!("{table}{warehouse}/{n}"), "warehouse": format!("W{warehouse}"),
                    "k": format!("k{}", rng.below(3)), value: rng.below(1_000) as f64 / 1_000.0,
                    column: EventTime(event).to_string(),
                });
                let record = MemoryRecord::value(row.to_string()).at(at).key(format!("W{warehouse}"));
                records.entry((table, warehouse)).or_default().push(record);
            }
            // Everything before the last ten seconds is final in all partitions alike.
            let end = EventTime(start + (SECONDS + 10) * SECOND);
            let beat = MemoryRecord::value("").at(end.0).header("weir-heartbeat", end.to_string());
            records.entry((table, warehouse)).or_default().push(beat);
        }
    }
    records
}

struct Floor {
    log: MemoryLog,
    plan: Plan,
}

impl Floor {
    fn new(plan: &Plan, records: &Records) -> Self {
        let log = MemoryLog::new();
        for table in ["a", "b"] {
            log.create(table, WAREHOUSES);
        }
        for ((table, partition), records) in records {
            for record in records {
                log.append(table, *partition, record.clone()).unwrap();
            }
        }
        log.create(EVENTS, WAREHOUSES + 8);
        for side in ["dev.a.late", "dev.b.late"] {
            log.create(side, WAREHOUSES + 8);
        }
        let _ = log.control(CONTROL, 16);
        Self { log, plan: plan.clone() }
    }

    fn show(&self, warehouse: u32, records: &Records, percent: usize) {
        for table in ["a", "b"] {
            let all = records[&(table, warehouse)].len();
            self.log.release(table, warehouse, Some((all * percent / 100) as i64)).unwrap();
        }
    }

    fn run(&self, workers: usize, stop: &Stop) -> Report {
        let log = self.log.clone();
        let ports = Ports {
            sources: ["a", "b"].map(|t| (t.to_owned(), log.source(t).unwrap())).into(),
            targets: BTreeMap::new(),
            outputs: Some(Arc::new(move |name: &str| log.sink(name))),
            control: self.log.control(CONTROL, 16),
            reference: None,
            observer: None,
            clock: Arc::new(WallClock),
            until: None,
        };
        let options = Options {
            program: "isolation".into(),
            workers,
            batch_rows: 16,
            data: None,
            checkpoint_every: Duration::from_secs(3600),
            ..Options::default()
        };
        run(self.plan.clone(), ports, options, stop).unwrap_or_else(|e| panic!("{e}"))
    }

    /// Committed events of a warehouse by rule and key, each in the order of the log.
    fn events(&self, warehouse: u32) -> BTreeMap<String, Vec<String>> {
        let name = format!("W{warehouse}");
        let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for partition in 0..self.log.partition_count(EVENTS).unwrap() {
            for (_, record) in self.log.records(EVENTS, partition).unwrap() {
                let line = String::from_utf8(record.value.unwrap_or_default()).unwrap();
                let event: Value = serde_json::from_str(&line).unwrap();
                if event["warehouse"] == name {
                    found.entry(format!("{} {}", event["rule"], event["key"])).or_default().push(line);
                }
            }
        }
        found
    }

    fn await_events(&self, warehouse: u32, wanted: &BTreeMap<String, Vec<String>>, why: &str) {
        let count = |of: &BTreeMap<String, Vec<String>>| of.values().map(Vec::len).sum::<usize>();
        let mut waited = Duration::ZERO;
        while count(&self.events(warehouse)) < count(wanted) {
            assert!(waited < PATIENCE, "{why}: {} of {}", count(&self.events(warehouse)), count(wanted));
            std::thread::sleep(LOOK);
            waited += LOOK;
        }
        assert_eq!(&self.events(warehouse), wanted, "{why}");
    }
}

fn holds(plan: &Plan, seed: u64) {
    let records = world(seed);
    let whole = Floor::new(plan, &records);
    let stop = Stop::default();
    stop.drain();
    whole.run(1, &stop);
    let wanted: Vec<_> = (0..WAREHOUSES).map(|w| whole.events(w)).collect();
    for (warehouse, events) in wanted.iter().enumerate() {
        let rules: Vec<_> = ["missing", "heavy", "quiet", "rising"]
            .into_iter()
            .filter(|rule| !events.keys().any(|k| k.contains(*rule)))
            .collect();
        assert!(rules.is_empty(), "seed {seed}: W{warehouse} has no events of {rules:?}");
    }

    let floor = Floor::new(plan, &records);
    (0..WAREHOUSES).for_each(|w| floor.show(w, &records, 0));
    let mut rng = Rng::of(seed, "arrival");
    let stop = Stop::default();
    let workers = rng.pick(&[1, 2, 4]);
    let report = std::thread::scope(|scope| {
        let running = scope.spawn(|| floor.run(workers, &stop));
        let others: Vec<u32> = (0..WAREHOUSES).filter(|w| *w != STALLED).collect();
        for percent in (0..=100).step_by(10) {
            for warehouse in &others {
                // The one that is behind is behind in arrival, too.
                floor.show(*warehouse, &records, if *warehouse == BEHIND { percent / 2 } else { percent });
            }
            std::thread::sleep(Duration::from_micros(rng.range(0, 2_000) as u64));
        }
        for warehouse in others.iter().filter(|w| **w != BEHIND) {
            let why = format!("seed {seed}: W{warehouse} while W{STALLED} stands still");
            floor.await_events(*warehouse, &wanted[*warehouse as usize], &why);
        }
        assert!(floor.events(STALLED).is_empty(), "seed {seed}: it has said nothing");
        floor.show(BEHIND, &records, 100);
        floor.await_events(BEHIND, &wanted[BEHIND as usize], "ten minutes behind");
        assert!(floor.events(STALLED).is_empty(), "seed {seed}: it still has said nothing");
        floor.show(STALLED, &records, 100);
        floor.await_events(STALLED, &wanted[STALLED as usize], "when it moves");
        stop.stop();
        running.join().unwrap()
    });
    let sum: u64 = report.sources.values().map(|c| c.records).sum();
    assert_eq!(sum, records.values().map(|r| r.len() as u64).sum::<u64>(), "seed {seed}");
}

#[test]
fn nobody_waits_for_a_warehouse_that_stands_still_or_is_behind() {
    let plan = planned(&[PROGRAM]).unwrap_or_else(|e| panic!("{e}"));
    let one = std::env::var("WEIR_SEED").ok().and_then(|s| s.parse().ok());
    for seed in one.map_or(0..SEEDS, |seed: u64| seed..seed + 1) {
        println!("seed {seed}");
        holds(&plan, seed);
    }
}
