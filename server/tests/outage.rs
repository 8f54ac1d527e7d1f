//! The brokers go away under `weir run` and come back: it waits, says so once, goes on, and in the end
//! its topics hold what a replay of the same logs says. Nothing lost, nothing doubled, no row late by it.
//!
//! Starts a broker of its own (scripts/kafka.sh): it stands still for 30 s, then it dies and starts again.

#[path = "cli/rig.rs"]
#[allow(dead_code, reason = "shared with the tests of the command line")]
mod rig;
#[allow(dead_code, reason = "shared with other tests of faults")]
mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rig::{Rig, assert_sums};
use serde_json::Value;
use support::broker::Broker;
use support::topics::Topics;
use weir_contract::{Clock, EventTime, WallClock};

const AWAY: Duration = Duration::from_secs(30);
/// Undisturbed time before and after each fault.
const CALM: Duration = Duration::from_secs(4);
/// A row every so often where a warehouse is busy.
const BUSY: Duration = Duration::from_millis(25);
/// And where it is not: longer than `idle_after`, so that marks are being written all the time.
const CALM_ROWS: u32 = 140;

const PROGRAM: &str = "
CREATE TABLE readings (
    warehouse TEXT NOT NULL, device TEXT NOT NULL, celsius DOUBLE NOT NULL, at_ts TIMESTAMP NOT NULL,
    WATERMARK FOR at_ts AS at_ts - INTERVAL '500 milliseconds'
) WITH (type = 'source', format = 'json', idle_after = INTERVAL '1 second') PARTITIONED BY (warehouse);

CREATE RULE hot WITH (kind = 'condition', key = 'device', fire_after = '500 milliseconds') AS
SELECT warehouse, device, at_ts AS event_time, celsius > 30.0 AS fire, celsius AS quantity FROM readings;

CREATE RULE busy WITH (kind = 'event', key = 'device') AS
SELECT warehouse, device, w.end - INTERVAL '1 microsecond' AS event_time, 'rows' AS reason, rows AS quantity
FROM (SELECT warehouse, device, tumble(INTERVAL '1 second') AS w, count(*) AS rows
      FROM readings GROUP BY warehouse, device, tumble(INTERVAL '1 second')) AS g;

CREATE RULE farewell WITH (kind = 'event', key = 'device') AS
SELECT warehouse, device, at_ts AS event_time, 'last' AS reason FROM readings WHERE celsius > 900.0;
";

fn row(warehouse: i32, celsius: f64) -> String {
    let at = EventTime(WallClock.now_us());
    format!(
        "{{\"warehouse\":\"W{warehouse}\",\"device\":\"d{warehouse}\",\"celsius\":{celsius:?},\"at_ts\":\"{at}\"}}"
    )
}

/// Three warehouses say how warm it is until they are told to stop, and then once that it was the last
/// time. Gives the number of rows.
fn feed(topics: &Topics, done: &AtomicBool) -> u64 {
    let mut rows = 0;
    for n in 0u32.. {
        let stop = done.load(Ordering::SeqCst);
        for warehouse in 0..3 {
            if stop || warehouse < 2 || n.is_multiple_of(CALM_ROWS) {
                let celsius = match stop {
                    true => 999.0,
                    false => 20.0 + f64::from(n % 160) / 8.0,
                };
                topics.send("readings", warehouse, row(warehouse, celsius).as_bytes());
                rows += 1;
            }
        }
        if stop {
            break;
        }
        std::thread::sleep(BUSY);
    }
    topics.flush();
    rows
}

/// Ends the feeder where the test fails, too.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn events(rig: &Rig, log: &str) -> Vec<String> {
    // Each look is a process of its own.
    std::thread::sleep(Duration::from_millis(300));
    let said = rig.run(&["tail", "dev.events.outage", "--log", log]);
    let mut lines: Vec<String> = said.out.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn brokers_that_are_away_for_half_a_minute_cost_nothing() {
    let broker = Broker::start();
    let (rig, topics, log) = (Rig::new(), Topics::at(&broker.at), broker.log());
    topics.create("readings", 3);
    rig.write("outage.sql", PROGRAM);
    let mut running =
        rig.start(&["run", "outage.sql", "--log", &log, "--data", "data", "--checkpoint-every", "1"]);
    let done = AtomicBool::new(false);
    let rows = std::thread::scope(|scope| {
        let feeder = scope.spawn(|| feed(&topics, &done));
        let _ends = Ends(&done);
        running.until("first event", || !events(&rig, &log).is_empty());
        std::thread::sleep(CALM);
        let before = events(&rig, &log).len();
        let still = broker.still();
        std::thread::sleep(AWAY);
        drop(still);
        running.until("events after the outage", || events(&rig, &log).len() > before + 10);
        std::thread::sleep(CALM);
        broker.crash();
        broker.again();
        let before = events(&rig, &log).len();
        running.until("events after the crash", || events(&rig, &log).len() > before + 10);
        std::thread::sleep(CALM);
        done.store(true, Ordering::SeqCst);
        feeder.join().unwrap()
    });
    // A partition's last row is decided after all others of that partition.
    running.until("all events", || {
        events(&rig, &log).iter().filter(|e| e.contains("\"rule\":\"farewell\"")).count() == 3
    });
    running.signal("TERM");
    let said = running.wait();
    assert_eq!(said.code, Some(0), "{}", said.err);

    let summary = said.summary();
    assert_sums(&summary);
    let counts = &summary["sources"]["readings"];
    assert_eq!(counts["processed"], rows, "{counts}");
    assert_eq!(counts["late"], 0, "{counts}");
    let live = events(&rig, &log);
    let replay = rig.ok(&["replay", "outage.sql", "--from", &log, "--out", "replay.jsonl", "--json"]).json();
    let mut replayed: Vec<String> = rig.read("replay.jsonl").lines().map(str::to_owned).collect();
    replayed.sort();
    assert_eq!(replay["sources"]["readings"]["late"], 0);
    assert!(live.len() > 100, "{} events", live.len());
    assert_eq!(live, replayed);
    let mut ids: Vec<Value> =
        live.iter().map(|l| serde_json::from_str::<Value>(l).unwrap()["event_id"].clone()).collect();
    ids.sort_by_key(Value::to_string);
    ids.dedup();
    assert_eq!(ids.len(), live.len(), "an event stands there twice");

    // Once an outage, not once a try, a topic or a partition; the second one may be too short to tell.
    let told = said.err.matches("weir waits and goes on by itself").count();
    let over: Vec<f64> = said
        .err
        .lines()
        .filter_map(|l| l.split_once("W0401 is over after ")?.1.split(' ').next()?.parse().ok())
        .collect();
    assert!((1..=2).contains(&told) && over.len() == told, "{}", said.err);
    assert!(over[0] > 15.0, "{}", said.err);
    assert_eq!(said.err.matches("W0401").count(), 2 * told, "{}", said.err);
}
