//! What is refused, and how it is said.

use crate::rig::{PROGRAM, Rig};

#[test]
fn bad_sql_is_told_with_place_and_all_at_once() {
    let rig = Rig::new();
    rig.write("p/tables.sql", &PROGRAM.replace("type = 'source'", "type = 'source', tpoic = 'x'"));
    rig.write(
        "p/cold.sql",
        "CREATE VIEW v AS SELECT devise FROM readings;\nSELECT count(*) FROM readings GROUP BY device;\n",
    );
    let said = rig.run(&["check", "p"]);
    assert_eq!(said.code, Some(1), "{}", said.out);
    for words in ["p/cold.sql:1", "W0202", "p/cold.sql:2", "W0208", "tpoic", "topic (did you mean that?)"] {
        assert!(said.out.contains(words), "{words}\n{}", said.out);
    }
    let json = rig.run(&["check", "p", "--json"]);
    assert_eq!(json.code, Some(1));
    let value = json.json();
    assert_eq!(value["ok"], false);
    assert_eq!(value["errors"].as_array().unwrap().len(), 3, "{value}");
    let run = rig.run(&["run", "p"]);
    assert_eq!(run.code, Some(1));
    assert!(run.err.contains("W0202") && run.err.contains("act"), "{}", run.err);
    assert!(!rig.path("data").exists(), "a program that is wrong starts nothing");
}

#[test]
fn a_wrong_command_line_is_2() {
    let rig = Rig::new();
    rig.write("heat.sql", PROGRAM);
    for args in [
        &["run"][..],
        &["run", "heat.sql", "--workers", "0"],
        &["run", "heat.sql", "--log", "nonsense"],
        &["tail", "x", "--log", "files:in"],
        &["demo", "--speed", "fast"],
        &["frobnicate"],
    ] {
        let said = rig.run(args);
        assert_eq!(said.code, Some(2), "{args:?}\n{}", said.err);
        assert!(!said.err.is_empty(), "{args:?}");
    }
    let missing = rig.run(&["run", "nowhere"]);
    assert_eq!(missing.code, Some(1));
    assert!(missing.err.contains("W0405") && missing.err.contains("nowhere"), "{}", missing.err);
    let no_topic = rig.run(&["tail", "dev.events.none"]);
    assert_eq!(no_topic.code, Some(1), "{}", no_topic.err);
}

#[test]
fn every_command_explains_itself() {
    let rig = Rig::new();
    let all = rig.ok(&["--help"]).out;
    for command in ["run", "check", "explain", "replay", "record", "tail", "sim", "demo"] {
        assert!(all.contains(command), "{all}");
        let help = rig.ok(&[command, "--help"]).out;
        assert!(help.contains("Usage: weir"), "{help}");
    }
    assert!(all.contains("WEIR_LOG"), "{all}");
}
