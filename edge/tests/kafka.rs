//! The publisher against a real broker: `scripts/with-services.sh cargo test -p weir-edge --test kafka`.
//!
//! Needs `WEIR_KAFKA=host:port`, and `WEIR_KAFKA_PID` for the outage; without them every test fails.

#[path = "support/topic.rs"]
mod topic;

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use topic::Seen;
use weir_contract::{Clock, WallClock};
use weir_edge::publish::kafka::{KafkaSender, client};
use weir_edge::publish::{Pace, Publisher, Sender, Window};
use weir_edge::record::{Draft, TimeIn};
use weir_edge::spool::{LaneOptions, Spool};
use weir_edge::time::{AlwaysSynced, DeviceClock};
use weir_segments::RealDisk;

/// Outages stop the broker for everybody.
static BROKER: Mutex<()> = Mutex::new(());

fn bootstrap() -> String {
    std::env::var("WEIR_KAFKA").unwrap_or_else(|_| {
        panic!("WEIR_KAFKA is not set: run `scripts/with-services.sh cargo test -p weir-edge --test kafka`")
    })
}

struct Rig {
    spool: Spool,
    publisher: Publisher,
    clock: DeviceClock,
    topics: [String; 2],
    _folder: tempfile::TempDir,
}

impl Rig {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let lanes = ["scans", "frames"].map(|name| LaneOptions {
            name: name.into(),
            bytes_max: 256 << 20,
            age_max_us: None,
        });
        let spool = Spool::open(Arc::new(RealDisk), &folder.path().join("spool"), &lanes).unwrap();
        let topics = ["scans", "frames"].map(|name| topic::make(&bootstrap(), name));
        let windows = [Window { records: 5_000, bytes: 4 << 20 }, Window { records: 16, bytes: 512 << 10 }];
        let sender = |(topic, window): (&String, Window)| {
            let config = client(&bootstrap(), &BTreeMap::new(), false).unwrap();
            (Box::new(KafkaSender::new(config, topic).unwrap()) as Box<dyn Sender>, window)
        };
        let senders = topics.iter().zip(windows).map(sender).collect();
        let publisher = Publisher::new(b"W1", senders, Pace::default());
        let clock = DeviceClock::of_machine(Arc::new(WallClock), Arc::new(AlwaysSynced(true)));
        Self { spool, publisher, clock, topics, _folder: folder }
    }

    fn push(&mut self, lane: usize, number: u64, bytes: usize) {
        let mut value = number.to_le_bytes().to_vec();
        value.resize(bytes.max(8), 7);
        let time = self.clock.now();
        let headers = vec![("station".to_owned(), b"P1".to_vec())];
        self.spool.push(lane, b"W1", Draft { time, time_name: "t", time_in: TimeIn::Header, value, headers });
    }

    fn pump(&mut self) {
        let now = self.clock.now();
        if !self.publisher.pump(&mut self.spool, &now).unwrap() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn pump_until(&mut self, patience: Duration, done: impl Fn(&Spool) -> bool) {
        let until = WallClock.monotonic() + patience;
        while !done(&self.spool) {
            assert!(WallClock.monotonic() < until, "{:?}", self.publisher.trouble());
            self.pump();
        }
    }
}

fn check(topic: &str, records: u64) {
    let seen = topic::read(&bootstrap(), topic);
    let numbers: Vec<u64> =
        seen.iter().filter_map(|s| if let Seen::Record(n, _) = s { Some(*n) } else { None }).collect();
    let wrong = numbers.iter().zip(0..).position(|(seen, n)| *seen != n);
    let around = wrong.map(|at| &numbers[at.saturating_sub(3)..(at + 8).min(numbers.len())]);
    assert_eq!((numbers.len() as u64, around), (records, None), "in sequence, nothing twice, nothing lost");
    for (at, one) in seen.iter().enumerate() {
        if let Seen::Heartbeat(time) = one {
            let late = seen[at..].iter().any(|s| matches!(s, Seen::Record(_, t) if t < time));
            assert!(!late, "a heartbeat made a row late that came after it");
        }
    }
    assert!(seen.iter().any(|s| matches!(s, Seen::Heartbeat(_))));
}

#[test]
fn a_backlog_drains_fast_in_sequence_and_scans_do_not_stand_behind_frames() {
    let _steady = BROKER.lock().unwrap_or_else(|e| e.into_inner());
    let mut rig = Rig::new();
    // Ten minutes at two frames a second, and an hour of scans at a second each.
    for n in 0..1_200 {
        rig.push(1, n, 60_000);
        if n % 50 == 0 {
            rig.spool.sync().unwrap();
        }
    }
    for n in 0..3_600 {
        rig.push(0, n, 200);
    }
    rig.spool.sync().unwrap();
    let start = WallClock.monotonic();
    rig.pump_until(Duration::from_secs(60), |s| s.records(0) == 0);
    let scans = WallClock.monotonic() - start;
    assert!(rig.spool.records(1) > 0, "frames were still waiting");
    // A scan while frames drain.
    rig.push(0, 3_600, 200);
    rig.spool.sync().unwrap();
    let seen = WallClock.monotonic();
    rig.pump_until(Duration::from_secs(5), |s| s.records(0) == 0);
    let waited = WallClock.monotonic() - seen;
    rig.pump_until(Duration::from_secs(60), |s| s.records(1) == 0);
    let all = WallClock.monotonic() - start;
    println!(
        "drained: an hour of scans in {scans:?}, all in {all:?}; a scan behind frames waited {waited:?}"
    );
    assert_eq!((rig.spool.gone(), rig.publisher.trouble()), (0, None));
    assert!(waited < Duration::from_secs(5));
    assert!(scans < Duration::from_secs(3_600 / 20) && all < Duration::from_secs(600 / 20));
    rig.pump_until(Duration::from_secs(5), |_| true);
    let [scans, frames] = rig.topics.clone();
    // One more second brings a heartbeat behind everything.
    let until = WallClock.monotonic() + Duration::from_millis(1_500);
    while WallClock.monotonic() < until {
        rig.pump();
    }
    check(&scans, 3_601);
    check(&frames, 1_200);
}

#[test]
fn an_outage_in_the_middle_loses_and_doubles_nothing() {
    let _alone = BROKER.lock().unwrap_or_else(|e| e.into_inner());
    let pid = std::env::var("WEIR_KAFKA_PID").expect("WEIR_KAFKA_PID: the outage needs the broker's process");
    let signal = |name: &str| {
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    };
    let mut rig = Rig::new();
    let mut pushed = 0;
    for round in 0..3 {
        for _ in 0..2_000 {
            rig.push(0, pushed, 100);
            pushed += 1;
        }
        rig.spool.sync().unwrap();
        for _ in 0..20 {
            rig.pump();
        }
        signal("-STOP");
        let until = WallClock.monotonic() + Duration::from_millis(1_500);
        while WallClock.monotonic() < until {
            rig.pump();
        }
        signal("-CONT");
        if round == 1 {
            // The agent goes on as after a broken sender: what is not acknowledged is asked for again.
            rig.spool.save().unwrap();
        }
    }
    rig.pump_until(Duration::from_secs(60), |s| s.records(0) == 0);
    let until = WallClock.monotonic() + Duration::from_millis(1_500);
    while WallClock.monotonic() < until {
        rig.pump();
    }
    check(&rig.topics[0], pushed);
    assert_eq!(rig.spool.gone(), 0);
}
