//! What is refused, and how it is said.

use crate::rig::{PROGRAM, Rig, readings};

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

/// What a newcomer mistypes is named as what it is, and leaves nothing behind that changes the next try.
#[test]
fn a_mistake_is_told_by_its_own_name() {
    let rig = Rig::new();
    rig.write("heat.sql", PROGRAM);
    let folder = rig.run(&["replay", "heat.sql", "--from", "files:nowhere"]);
    assert_eq!(folder.code, Some(1), "{}", folder.err);
    assert!(folder.err.contains("W0405") && folder.err.contains("nowhere/readings"), "{}", folder.err);
    assert!(!folder.err.contains("W0204"), "the folder is what is missing\n{}", folder.err);

    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = port.local_addr().unwrap().to_string();
    rig.write("tokens", &format!("p1 {} W1\n", "0".repeat(64)));
    let server = rig.run(&["log-server", "--tokens", "tokens", "--listen", &address]);
    assert_eq!(server.code, Some(2), "{}", server.err);
    assert!(server.err.contains(&address) && server.err.contains("a port that is free"), "{}", server.err);
    assert!(!rig.path("data").exists(), "a server that cannot listen makes no topics");

    rig.write("p/heat.sql", &PROGRAM.replace("AS at_ts - INTERVAL '2 seconds'", ""));
    rig.write(
        "p/heat.test.sql",
        "-- test: a cold device says nothing\n\
         CREATE VIEW given.readings AS SELECT 'W' AS warehouse, 'd' AS device, 1.0 AS celsius,\n    \
         '2026-03-02 08:00:00' AS at_ts;\n\
         CREATE VIEW expect.events AS SELECT '' AS label WHERE FALSE;\n",
    );
    rig.ok(&["test", "p", "--filter", "cold"]);
    let none = rig.run(&["test", "p", "--filter", "clod"]);
    assert_eq!(none.code, Some(2), "a filter that finds no test passes nothing\n{}", none.out);
    assert!(none.err.contains("clod"), "{}", none.err);
}

#[test]
fn reference_data_that_failed_does_not_count_as_loaded() {
    let rig = Rig::new();
    let limits = "CREATE TABLE sites (warehouse TEXT NOT NULL, limit_c DOUBLE NOT NULL, PRIMARY KEY (warehouse))
                  WITH (connector = 'reference');
                  CREATE RULE limited WITH (kind = 'event', key = 'device') AS
                  SELECT r.warehouse, r.device, r.at_ts AS event_time
                  FROM readings AS r INNER JOIN sites AS s ON r.warehouse = s.warehouse WHERE r.celsius > s.limit_c;";
    rig.write("heat.sql", &format!("{PROGRAM}{limits}"));
    rig.write("in/readings/a.json", &readings("W", "d", 30));
    let run = |reference: &str| rig.run(&["run", "heat.sql", "--log", "files:in", "--reference", reference]);

    let unknown = run("mysql://host/db");
    assert_eq!(unknown.code, Some(2), "{}", unknown.err);
    assert!(unknown.err.contains("`mysql`") && unknown.err.contains("postgres://"), "{}", unknown.err);
    let missing = run("sites.sql");
    assert_eq!(missing.code, Some(1), "{}", missing.err);
    assert!(missing.err.contains("W0405") && missing.err.contains("sites.sql"), "{}", missing.err);
    rig.write("sites.sql", "INSERT INTO sites VALUES ('W', 30.0);\nINSERT INTO site VALUES ('X', 30.0);\n");
    let broken = run("sites.sql");
    assert_eq!(broken.code, Some(1), "{}", broken.err);
    assert!(broken.err.contains("W0407") && broken.err.contains("sites.sql"), "{}", broken.err);
    rig.write("sites.sql", "INSERT INTO sites VALUES ('W', 30.0);\n");
    let right = run("sites.sql");
    assert_eq!(right.code, Some(0), "{}", right.err);
    assert_eq!(right.summary()["events"]["limited"], 10, "{}", right.err);
    rig.write("sites.sql", "INSERT INTO sites VALUES ('W', 20.0);\n");
    let again = run("sites.sql");
    assert!(again.err.contains("sites.sql was not run"), "{}", again.err);
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
