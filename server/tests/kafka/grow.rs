//! A topic that gets partitions under a run, and once more while the program is stopped: their rows give events, a
//! kill and a restart read on, and a replay gives the same.

use weir_connectors::kafka::{KafkaControlLog, KafkaOptions};
use weir_contract::EventTime;
use weir_engine::run::members::Members;

use super::broker;
use super::rig::{Rig, until};
use super::support::topics::Topics;

/// 2026-03-01T08:00:00Z.
const START: i64 = 1_772_352_000_000_000;
const SECOND: i64 = 1_000_000;

/// One rule of each task, and one behind an exchange.
const PROGRAM: &str = "
CREATE TABLE readings (n BIGINT NOT NULL, warehouse TEXT NOT NULL, unit TEXT NOT NULL, at_ts TIMESTAMP NOT NULL,
  WATERMARK FOR at_ts AS at_ts - INTERVAL '1 second'
) WITH (topic = 'TOPIC', type = 'source', idle_after = '150 milliseconds') PARTITIONED BY (warehouse);
CREATE RULE told WITH (kind = 'event', key = 'n', severity = 'low') AS
SELECT warehouse, n, at_ts AS event_time, 'told' AS reason FROM readings;
CREATE RULE counted WITH (kind = 'event', key = 'unit', severity = 'low') AS
SELECT 'all' AS warehouse, unit, slot.end AS event_time, c AS quantity FROM (
  SELECT unit, tumble(INTERVAL '5 seconds') AS slot, count(*) AS c FROM readings
  GROUP BY unit, tumble(INTERVAL '5 seconds')) AS q;
";

struct World {
    rig: Rig,
    topics: Topics,
    name: String,
    topic: String,
    log: String,
    /// Seconds of event time since the start.
    now: i64,
    fed: usize,
}

impl World {
    /// Ten seconds of rows in each of so many partitions, long after everything before, so that no idle mark makes
    /// them late.
    fn feed(&mut self, partitions: i32) {
        self.now += 600;
        for second in self.now..self.now + 10 {
            for partition in 0..partitions {
                let (n, at) = (self.fed, EventTime(START + second * SECOND));
                let row = format!(
                    "{{\"n\":{n},\"warehouse\":\"W{partition}\",\"unit\":\"u{}\",\"at_ts\":\"{at}\"}}",
                    n % 3
                );
                self.topics.send(&self.topic, partition, row.as_bytes());
                self.fed += 1;
            }
        }
        self.topics.flush();
    }

    fn events(&self) -> Vec<String> {
        let said = self.rig.run(&["tail", &format!("dev.events.{}", self.name), "--log", &self.log]);
        let mut lines: Vec<String> = said.out.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    }

    fn told(&self) -> usize {
        self.events().iter().filter(|line| line.contains("\"rule\":\"told\"")).count()
    }

    fn joined(&self, partition: u32) -> bool {
        let at = KafkaOptions::new(broker(), format!("dev.{}.control", self.name));
        let control = KafkaControlLog::open(&at, 1).unwrap();
        Members::of(&control).unwrap().get("readings", partition).is_some()
    }
}

#[test]
fn partitions_that_a_topic_gets_are_read_under_a_run_and_after_a_restart() {
    let name = format!("grow{}", std::process::id());
    let (topic, log) = (format!("{name}-readings"), format!("kafka://{}", broker()));
    let mut world =
        World { rig: Rig::new(), topics: Topics::at(&broker()), name, topic, log, now: 0, fed: 0 };
    world.topics.create(&world.topic, 2);
    let file = format!("{}.sql", world.name);
    world.rig.write(&file, &PROGRAM.replace("TOPIC", &world.topic));
    let log = world.log.clone();
    let args = ["run", &file, "--log", &log, "--data", "data", "--checkpoint-every", "0.2"];

    let mut running = world.rig.start(&args);
    world.feed(2);
    running.until("event for each row", || world.told() == world.fed);
    world.topics.widen(&world.topic, 3);
    running.until("third partition", || world.joined(2));
    world.feed(3);
    running.until("event for each row", || world.told() == world.fed);
    running.signal("TERM");
    let stopped = running.wait();
    assert_eq!(stopped.code, Some(0), "{}", stopped.err);

    // While nothing runs; then killed as soon as the new one has told something.
    world.topics.widen(&world.topic, 4);
    world.feed(3);
    let mut running = world.rig.start(&args);
    running.until("fourth partition", || world.joined(3));
    world.feed(4);
    running.until("event for each row", || world.told() == world.fed);
    world.feed(4);
    running.signal("KILL");
    running.wait();
    let running = world.rig.start(&args);
    world.feed(4);
    until("event for each row", || world.told() >= world.fed);
    running.signal("TERM");
    let stopped = running.wait();
    assert_eq!(stopped.code, Some(0), "{}", stopped.err);
    let summary = stopped.summary();
    assert_eq!(summary["sources"]["readings"]["processed"].as_u64(), Some(world.fed as u64), "{summary}");

    let events = world.events();
    assert_eq!(world.told(), world.fed, "each row is told once");
    assert!(events.len() > world.fed + 20, "{} events of {} rows", events.len(), world.fed);
    world.rig.ok(&["replay", &file, "--from", &log, "--out", "replay.jsonl", "--json"]);
    let mut replayed: Vec<String> = world.rig.read("replay.jsonl").lines().map(str::to_owned).collect();
    replayed.sort();
    assert_eq!(events, replayed);
}
