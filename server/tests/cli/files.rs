//! Runs and replays over plain files.

use serde_json::Value;

use crate::rig::{PROGRAM, Rig, assert_sums, readings};

fn prepared() -> Rig {
    let rig = Rig::new();
    rig.write("heat.sql", PROGRAM);
    rig.write("in/readings/a.json", &readings("MAD1", "d1", 60));
    rig.write("in/readings/b.json", &readings("BCN1", "d2", 60));
    rig
}

#[test]
fn a_rule_over_files_runs_to_their_end() {
    let rig = prepared();
    let said = rig.ok(&["run", "heat.sql", "--log", "files:in", "--data", "data"]);
    let summary = said.summary();
    assert_sums(&summary);
    assert_eq!(summary["ended"], true, "{summary}");
    assert_eq!(summary["sources"]["readings"]["processed"], 120);
    // NEW and CLEARED for each of the two devices.
    assert_eq!(summary["events"]["hot"], 4, "{summary}");
    assert!(summary["wall_s"].as_f64().unwrap() > 0.0 && summary["peak_bytes"].as_u64().unwrap() > 1_000_000);
    let tail = rig.ok(&["tail", "dev.events.heat", "--data", "data"]);
    let events: Vec<Value> = tail.out.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(events.len(), 4, "{}", tail.out);
    let of = |label: &str| {
        let mut times: Vec<&str> = events
            .iter()
            .filter(|e| e["label"] == label)
            .map(|e| e["event_time"].as_str().unwrap())
            .collect();
        times.sort_unstable();
        times
    };
    assert_eq!(of("NEW"), ["2026-03-02T08:00:12Z"; 2], "fire_after is event time");
    assert_eq!(of("CLEARED"), ["2026-03-02T08:00:20Z"; 2]);
    // Nothing is done twice: a second run finds everything done.
    let again = rig.ok(&["run", "heat.sql", "--log", "files:in", "--data", "data"]).summary();
    assert_eq!(again["outputs"]["dev.events.heat"].as_u64().unwrap_or(0), 0, "{again}");
    assert_eq!(rig.ok(&["tail", "dev.events.heat", "--data", "data"]).out.lines().count(), 4);
}

#[test]
fn a_replay_gives_the_same_events_whatever_the_layout() {
    let rig = prepared();
    rig.ok(&["run", "heat.sql", "--log", "files:in", "--data", "data"]);
    let live = rig.ok(&["tail", "dev.events.heat", "--data", "data"]).out;
    let mut live: Vec<&str> = live.lines().collect();
    live.sort_unstable();
    let mut hashes = Vec::new();
    for (workers, shards, batch) in [("1", "1", "1"), ("2", "3", "7"), ("4", "1", "8192")] {
        let said = rig.ok(&[
            "replay",
            "heat.sql",
            "--from",
            "files:in",
            "--out",
            "out.jsonl",
            "--json",
            "--workers",
            workers,
            "--shards",
            shards,
            "--batch-rows",
            batch,
        ]);
        hashes.push(said.json()["events_sha256"].as_str().unwrap().to_owned());
        let out = rig.read("out.jsonl");
        let mut replayed: Vec<&str> = out.lines().collect();
        replayed.sort_unstable();
        assert_eq!(replayed, live);
    }
    hashes.dedup();
    assert_eq!(hashes.len(), 1, "{hashes:?}");
}

#[test]
fn every_bad_record_is_counted_and_kept() {
    let rig = prepared();
    let ok = |s: u32| {
        format!(
            "{{\"event_id\":\"x/{s}\",\"warehouse\":\"MAD1\",\"device\":\"x\",\"at_ts\":\"2026-03-02T08:00:{s:02}Z\"}}\n"
        )
    };
    let bad = [
        "{\"event_id\":\"b1\"\n",
        "not json at all\n",
        "{\"event_id\":\"b2\",\"warehouse\":\"MAD1\",\"device\":\"x\",\"celsius\":\"warm\",\"at_ts\":\"2026-03-02T08:00:30Z\"}\n",
        "{\"event_id\":\"b3\",\"warehouse\":\"MAD1\",\"device\":\"x\"}\n",
        "{\"event_id\":\"b4\",\"warehouse\":\"MAD1\",\"device\":\"x\",\"at_ts\":\"yesterday\"}\n",
    ];
    let lines = [ok(30), bad.concat(), ok(31), ok(31), ok(40), ok(10)].concat();
    rig.write("in/readings/c.json", &lines);
    let summary = rig.ok(&["run", "heat.sql", "--log", "files:in", "--data", "data"]).summary();
    assert_sums(&summary);
    let counts = &summary["sources"]["readings"];
    assert_eq!(counts["records"], 120 + 10, "{counts}");
    assert_eq!(counts["rejects"], 5, "{counts}");
    assert_eq!(counts["duplicates"], 1, "{counts}");
    assert_eq!(counts["late"], 1, "{counts}");
    let rejected = rig.ok(&["tail", "dev.readings.rejected", "--data", "data"]).out;
    assert_eq!(rejected.lines().count(), 5, "{rejected}");
    assert_eq!(rig.ok(&["tail", "dev.readings.late", "--data", "data"]).out.lines().count(), 1);
}

#[test]
fn a_plain_query_goes_to_standard_output() {
    let rig = prepared();
    rig.write(
        "q.sql",
        &format!("{PROGRAM}\nSELECT device, celsius, at_ts FROM readings WHERE celsius > 30.0;\n"),
    );
    let said = rig.ok(&["run", "q.sql", "--log", "files:in", "--data", "data"]);
    let rows: Vec<Value> = said.out.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(rows.len(), 20, "{}", said.out);
    assert!(rows.iter().all(|r| r["celsius"] == 35.5), "{}", said.out);
    assert_eq!(said.summary()["outputs"]["stdout"], 20);
}
