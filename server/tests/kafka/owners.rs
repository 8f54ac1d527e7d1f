//! Two processes of one program: the second is refused while the first lives, takes over when it does
//! not answer, and what the first does when it comes back is without effect.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use weir_connectors::kafka::{Admin, KafkaControlLog, KafkaOptions, KafkaSink, TimestampType, TopicSetup};
use weir_contract::EventTime;
use weir_engine::control::{Claimant, Control, ControlLog};
use weir_engine::sink::{OutRecord, Sink, SinkFactory};

use crate::broker;
use crate::rig::{Rig, until};

const PARTITIONS: u32 = 2;
/// 2026-03-01T08:00:00Z.
const START: i64 = 1_772_352_000_000_000;
const SECOND: i64 = 1_000_000;

/// A program, its topic, and the process that feeds it.
struct World {
    rig: Rig,
    name: String,
    log: String,
    sink: Box<dyn Sink>,
    control: Arc<KafkaControlLog>,
    now: i64,
    fed: u64,
}

impl World {
    fn new(name: &str) -> World {
        let at = broker();
        let name = format!("{name}{}", std::process::id());
        let options = KafkaOptions::new(&at, format!("{name}-readings"));
        let mut setup = TopicSetup::new(&options.topic, PARTITIONS);
        setup.timestamps = TimestampType::Create;
        assert!(Admin::new(&options).unwrap().create(&setup).unwrap());
        let rig = Rig::new();
        rig.write(
            &format!("{name}.sql"),
            &format!(
                "CREATE TABLE readings (n BIGINT NOT NULL, warehouse TEXT NOT NULL, at_ts TIMESTAMP NOT NULL,
                   WATERMARK FOR at_ts AS at_ts - INTERVAL '1 second'
                 ) WITH (topic = '{}', type = 'source', idle_after = '150 milliseconds') PARTITIONED BY (warehouse);
                 CREATE RULE told WITH (kind = 'event', key = 'n', severity = 'low') AS
                 SELECT warehouse, n, at_ts AS event_time, 'told' AS reason FROM readings;",
                options.topic
            ),
        );
        let sink = KafkaSink::new(options.clone()).unwrap().open(&format!("{name}.feed")).unwrap();
        let control = options.for_topic(format!("dev.{name}.control"));
        let control = Arc::new(KafkaControlLog::open(&control, PARTITIONS + 2).unwrap());
        let log = format!("kafka://{at}?append_time=producer");
        World { rig, name, log, sink, control, now: START, fed: 0 }
    }

    fn args<'a>(&'a self, program: &'a str, data: &'a str) -> [&'a str; 8] {
        ["run", program, "--log", &self.log, "--data", data, "--checkpoint-every", "0.2"]
    }

    fn program(&self) -> String {
        self.rig.text(&format!("{}.sql", self.name))
    }

    /// Rows of some partitions, long after everything before, so that no idle mark makes them late.
    fn feed(&mut self, partitions: &[u32]) {
        self.now += 600 * SECOND;
        let mut records = Vec::new();
        for n in 0..10 {
            for partition in partitions {
                let at = self.now + n * SECOND;
                let value = format!(
                    "{{\"n\":{},\"warehouse\":\"W{partition}\",\"at_ts\":\"{}\"}}",
                    self.fed,
                    EventTime(at)
                );
                self.fed += 1;
                records.push(OutRecord {
                    id: None,
                    partition: Some(*partition),
                    key: format!("W{partition}").into_bytes(),
                    value: value.into_bytes(),
                    headers: Vec::new(),
                    time_us: Some(at),
                });
            }
        }
        self.sink.write(records).unwrap();
        self.sink.commit().unwrap();
    }

    fn events(&self) -> Vec<String> {
        let topic = format!("dev.events.{}", self.name);
        let said = self.rig.run(&["tail", &topic, "--log", &self.log]);
        let mut lines: Vec<String> = said.out.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    }

    /// Waits until everything that was fed has been told.
    fn until_told(&self) {
        until("event for each row", || self.events().len() as u64 >= self.fed);
    }

    fn claims(&self) -> Vec<(i64, Claimant)> {
        let (records, _) = self.control.read(0, 0).unwrap();
        let claim =
            |(offset, record)| if let Control::Claim { by } = record { Some((offset, by)) } else { None };
        records.into_iter().filter_map(claim).collect()
    }

    /// The events of a replay of the same logs.
    fn replayed(&self) -> Vec<String> {
        self.rig.ok(&["replay", &self.program(), "--from", &self.log, "--out", "replay.jsonl", "--json"]);
        let mut lines: Vec<String> = self.rig.read("replay.jsonl").lines().map(str::to_owned).collect();
        lines.sort();
        lines
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}

#[test]
fn a_replaced_process_is_without_effect() {
    let mut world = World::new("owners");
    let program = world.program();
    let first = world.rig.start(&world.args(&program, "first"));
    world.feed(&[0, 1]);
    world.until_told();

    // The first lives: it answers, the second is refused, and the first goes on.
    let second = world.rig.run(&world.args(&program, "second"));
    assert_eq!(second.code, Some(1), "{}", second.err);
    assert!(second.err.contains("W0303"), "{}", second.err);
    world.feed(&[0, 1]);
    world.until_told();
    assert_eq!(world.claims().len(), 1);

    // It does not answer any more: a process with a copy of its data takes over.
    first.signal("STOP");
    copy(&world.rig.path("first"), &world.rig.path("third"));
    world.feed(&[0]);
    let third = world.rig.start(&world.args(&program, "third"));
    world.until_told();
    world.feed(&[0]);
    world.until_told();
    let claims = world.claims();
    assert_eq!(claims.len(), 2);
    assert_eq!(claims[1].1.process, third.id());

    // The first wakes with rows to read in one partition, and silence to mark in the other.
    first.signal("CONT");
    let woken = first.wait();
    assert_eq!(woken.code, Some(1), "{}", woken.err);
    assert!(woken.err.contains("W0303") || woken.err.contains("W0503"), "{}", woken.err);
    world.feed(&[0, 1]);
    world.until_told();

    // A mark of the first, as it may have written one before it noticed: it would make all rows late.
    let far = Control::Idle {
        table: "readings".into(),
        partition: 1,
        offset: 0,
        watermark: START + 1_000_000 * SECOND,
    };
    world.control.append(2, &Control::Owned { epoch: claims[0].0, record: Box::new(far) }).unwrap();
    third.signal("TERM");
    let stopped = third.wait();
    assert_eq!(stopped.code, Some(0), "{}", stopped.err);

    // The next one need not ask: the last owner has let go. It has only the logs' and its copy's word.
    let fourth = world.rig.start(&world.args(&program, "third"));
    world.feed(&[0, 1]);
    world.until_told();
    // Whatever would be told twice is told by now.
    std::thread::sleep(Duration::from_secs(1));
    fourth.signal("TERM");
    let stopped = fourth.wait();
    assert_eq!(stopped.code, Some(0), "{}", stopped.err);
    let summary = stopped.summary();
    assert_eq!(summary["sources"]["readings"]["processed"].as_u64(), Some(world.fed), "{summary}");
    let events = world.events();
    assert_eq!(events.len() as u64, world.fed, "each row is told once");
    assert_eq!(events, world.replayed());
}
