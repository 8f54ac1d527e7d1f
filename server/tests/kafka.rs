//! The binary against a real broker: `scripts/with-services.sh cargo test -p weir-server --test kafka`.
//!
//! Needs `WEIR_KAFKA=host:port` of a broker without the simulator's topics; without it the test fails.

#[path = "kafka/bad.rs"]
mod bad;
#[path = "kafka/dangling.rs"]
mod dangling;
#[path = "kafka/grow.rs"]
mod grow;
#[path = "kafka/owners.rs"]
mod owners;
#[path = "kafka/retention.rs"]
mod retention;
#[path = "cli/rig.rs"]
#[allow(dead_code, reason = "shared with the tests of the command line")]
mod rig;
#[allow(dead_code, reason = "shared with the tests of faults")]
mod support;

use rig::{Rig, assert_sums};
use serde_json::Value;

/// Nothing is planted in the last ten simulated minutes.
const MINUTES: &str = "25";

/// `host:port` of the broker.
fn broker() -> String {
    std::env::var("WEIR_KAFKA").unwrap_or_else(|_| {
        panic!(
            "WEIR_KAFKA is not set: this test needs a broker. Run it with \
             `scripts/with-services.sh cargo test -p weir-server --test kafka`"
        )
    })
}

fn demo(rig: &Rig, log: &str) -> Value {
    rig.ok(&[
        "demo",
        "--seed",
        "7",
        "--minutes",
        MINUTES,
        "--speed",
        "max",
        "--no-frames",
        "--json",
        "--log",
        log,
    ])
    .json()
}

/// The same day gives the same events through Kafka, through the embedded log, and again from Kafka's
/// own records; a day is not written over another one.
#[test]
fn kafka_and_the_embedded_log_give_the_same_events() {
    let log = format!("kafka://{}", broker());
    let rig = Rig::new();
    let kafka = demo(&rig, &log);
    let embedded = demo(&rig, "embedded");
    assert_eq!(kafka["events_sha256"], embedded["events_sha256"]);
    for count in ["records", "rows", "heartbeats", "rejects", "processed", "late", "duplicates", "found"] {
        assert_eq!(kafka[count], embedded[count], "{count}");
    }
    assert!(kafka["records"].as_u64().unwrap() > 50_000, "{kafka}");

    let pack = format!("{}/../rules", env!("CARGO_MANIFEST_DIR"));
    let from = format!("{log}?append_time=producer");
    let replay = rig.ok(&["replay", &pack, "--from", &from, "--out", "replay.jsonl", "--json"]).json();
    assert_sums(&replay);
    assert_eq!(replay["events_sha256"], kafka["events_sha256"]);

    // What the run committed for others to read is what the replay finds.
    let mut committed = Vec::new();
    for folder in ["buffers", "devices", "validation"] {
        let said = rig.ok(&["tail", &format!("dev.events.{folder}"), "--log", &log]);
        committed.extend(said.out.lines().map(str::to_owned));
    }
    committed.sort();
    let mut replayed: Vec<String> = rig.read("replay.jsonl").lines().map(str::to_owned).collect();
    replayed.sort();
    assert!(replayed.len() > 10, "{} events", replayed.len());
    assert_eq!(committed, replayed);

    let twice = rig.run(&["sim", "--minutes", "1", "--out", &log]);
    assert_eq!(twice.code, Some(1), "{}", twice.err);
    assert!(twice.err.contains("holds records already"), "{}", twice.err);
}
