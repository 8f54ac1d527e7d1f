//! Runs that do not end by themselves: stop, go on, one process.

use crate::rig::{PROGRAM, Rig, assert_sums, exists};

/// A log that a simulated day was played into, small.
fn played(rig: &Rig) -> String {
    let log = format!("log:{}", rig.text("day"));
    rig.ok(&[
        "sim",
        "--seed",
        "3",
        "--minutes",
        "12",
        "--out",
        &log,
        "--truth",
        "truth.json",
        "--reference-out",
        "ref.sql",
    ]);
    format!("{log}?append_time=producer")
}

fn pack() -> String {
    format!("{}/../rules", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn sigterm_ends_cleanly_and_the_next_start_goes_on() {
    let rig = Rig::new();
    let log = played(&rig);
    assert!(
        rig.read("truth.json").contains("\"incidents\"") && rig.read("ref.sql").contains("INSERT INTO units")
    );
    let args = ["run", &pack(), "--log", &log, "--data", "data", "--checkpoint-every", "1"];
    let mut first = rig.start(&args);
    first.until("checkpoint", || exists(&rig.path("data/checkpoints/rules/0000000002.manifest.json")));
    // One process a program: a second one is refused and the first goes on.
    let second = rig.run(&args);
    assert_eq!(second.code, Some(1));
    assert!(second.err.contains("W0303"), "{}", second.err);
    first.signal("TERM");
    let said = first.wait();
    assert_eq!(said.code, Some(0), "{}", said.err);
    let summary = said.summary();
    assert_sums(&summary);
    assert_eq!(summary["ended"], false, "a stop is no end");
    let mut next = rig.start(&args);
    next.until("new checkpoint", || !exists(&rig.path("data/checkpoints/rules/0000000001.manifest.json")));
    next.signal("INT");
    let again = next.wait();
    assert_eq!(again.code, Some(0), "{}", again.err);
    let again = again.summary();
    for (table, counts) in summary["sources"].as_object().unwrap() {
        assert!(again["sources"][table]["records"].as_u64() >= counts["records"].as_u64(), "{table}");
    }
}

#[test]
fn a_log_takes_one_day_only() {
    let rig = Rig::new();
    let log = format!("log:{}", rig.text("day"));
    rig.ok(&["sim", "--minutes", "1", "--out", &log]);
    let twice = rig.run(&["sim", "--minutes", "1", "--out", &log]);
    assert_eq!(twice.code, Some(1), "{}", twice.err);
    assert!(twice.err.contains("holds records already"), "{}", twice.err);
}

#[test]
fn a_recording_replays_like_the_log() {
    let rig = Rig::new();
    let log = played(&rig);
    rig.ok(&["record", &pack(), "--log", &log, "--out", "rec", "--until", "end"]);
    assert!(exists(&rig.path("rec/scans/weir-recording.json")));
    let from_log = rig.ok(&["replay", &pack(), "--from", &log, "--json"]).json();
    let from_files = rig.ok(&["replay", &pack(), "--from", "files:rec", "--json"]).json();
    assert!(from_log["sources"]["scans"]["processed"].as_u64().unwrap() > 0);
    assert_eq!(from_log["sources"], from_files["sources"]);
    assert_eq!(from_log["events_sha256"], from_files["events_sha256"]);
}

#[test]
fn sim_files_run_too() {
    let rig = Rig::new();
    rig.write("heat.sql", PROGRAM);
    rig.ok(&["sim", "--minutes", "2", "--out", "files:day", "--reference-out", "ref.sql"]);
    let said = rig.ok(&["run", &pack(), "--log", "files:day", "--reference", "ref.sql"]);
    let summary = said.summary();
    assert_sums(&summary);
    assert_eq!(summary["ended"], true);
    assert!(summary["sources"]["detections"]["processed"].as_u64().unwrap() > 100, "{summary}");
}
