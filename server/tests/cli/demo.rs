//! The demo: one seed, one answer.

use serde_json::Value;

use crate::rig::Rig;

fn demo(rig: &Rig, more: &[&str]) -> Value {
    let mut args = vec!["demo", "--seed", "7", "--minutes", "25", "--speed", "max", "--no-frames", "--json"];
    args.extend(more);
    let said = rig.ok(&args);
    assert_eq!(said.out.lines().count(), 1, "{}", said.out);
    said.json()
}

#[test]
fn a_seed_has_one_answer_and_a_replay_gives_it_again() {
    let rig = Rig::new();
    let first = demo(&rig, &["--workers", "1", "--shards", "1", "--data", "data"]);
    let n = |name: &str| first[name].as_u64().unwrap_or_else(|| panic!("{name}: {first}"));
    assert_eq!(n("rows"), n("processed") + n("late") + n("duplicates"));
    assert!(n("records") >= n("heartbeats") + n("rejects") && n("heartbeats") > 10_000, "{first}");
    assert!(n("records") <= 4_500 * 26, "{first}");
    assert!(n("events") > 0, "{first}");
    let planted = first["planted"].as_object().unwrap();
    for (kind, count) in planted {
        let sum = first["found"][kind].as_u64().unwrap() + first["missed"][kind].as_u64().unwrap();
        assert_eq!(count.as_u64().unwrap(), sum, "{kind}: {first}");
    }
    assert!(planted.values().any(|n| n.as_u64() > Some(0)), "{first}");
    let second = demo(&rig, &["--workers", "4", "--shards", "3", "--batch-rows", "64"]);
    assert_eq!(first, second);
    let pack = format!("{}/../rules", env!("CARGO_MANIFEST_DIR"));
    let replay = rig.ok(&["replay", &pack, "--from", "log:data/log?append_time=producer", "--json"]).json();
    assert_eq!(replay["events_sha256"], first["events_sha256"]);
    assert_eq!(replay["events_total"], first["events"]);
}

#[test]
fn without_json_people_see_what_happened() {
    let rig = Rig::new();
    let said = rig.ok(&[
        "demo",
        "--seed",
        "7",
        "--minutes",
        "20",
        "--speed",
        "max",
        "--no-frames",
        "--data",
        "data",
    ]);
    for words in [
        "weir demo   seed 7",
        " NEW ",
        "planted",
        "records ",
        "onset to NEW",
        "events_sha256",
        "weir tail dev.events",
    ] {
        assert!(said.out.contains(words), "{words}\n{}", said.out);
    }
    assert!(rig.path("data/rules/buffers/overflow.sql").exists(), "the rules lie beside the log");
    assert!(!said.out.contains('\u{1b}'), "no escape codes where there is no terminal");
}
