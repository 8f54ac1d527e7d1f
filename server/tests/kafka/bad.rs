//! Bad records on a live topic: each is counted, kept whole with its reason, and disturbs nothing else.

use base64::Engine;
use serde_json::Value;
use std::time::Duration;
use weir_contract::{Clock, EventTime, WallClock};

use super::broker;
use super::rig::{Rig, assert_sums};
use super::support::topics::Topics;

const TOPIC: &str = "bad_readings";
const PROGRAM: &str = "
CREATE TABLE readings (
    event_id TEXT NOT NULL, warehouse TEXT NOT NULL, device TEXT NOT NULL, celsius DOUBLE, seen BIGINT,
    at_ts TIMESTAMP NOT NULL, WATERMARK FOR at_ts AS at_ts - INTERVAL '2 seconds'
) WITH (type = 'source', topic = 'bad_readings', format = 'json', max_record_bytes = 100000,
    dedup = 'event_id', dedup_within = INTERVAL '1 minute') PARTITIONED BY (warehouse);

CREATE TABLE sites (warehouse TEXT NOT NULL, limit_c DOUBLE NOT NULL, PRIMARY KEY (warehouse))
WITH (connector = 'reference');

CREATE RULE hot WITH (kind = 'event', key = 'device') AS
SELECT r.warehouse, r.device, r.at_ts AS event_time, 'hot' AS reason, r.celsius AS quantity
FROM readings AS r JOIN sites AS s ON r.warehouse = s.warehouse WHERE r.celsius > s.limit_c;
";

/// Seconds from a time that is past for the broker, too.
fn row(warehouse: &str, id: u32, celsius: &str, second: u32) -> String {
    format!(
        "{{\"event_id\":\"{id}\",\"warehouse\":\"{warehouse}\",\"device\":\"d\",\"celsius\":{celsius},\
         \"at_ts\":\"2026-03-02T08:00:{second:02}Z\"}}"
    )
}

fn tail(rig: &Rig, topic: &str, log: &str) -> Vec<Value> {
    std::thread::sleep(Duration::from_millis(200));
    let said = rig.run(&["tail", topic, "--log", log]);
    said.out.lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

#[test]
fn bad_records_are_counted_kept_and_cost_nobody_else_anything() {
    let (rig, topics, log) = (Rig::new(), Topics::at(&broker()), format!("kafka://{}", broker()));
    topics.create(TOPIC, 1);
    rig.write("bad.sql", PROGRAM);
    rig.write("sites.sql", "INSERT INTO sites VALUES ('MAD1', 30.0);\n");
    let ahead = EventTime(WallClock.now_us() + 3_600_000_000);
    let good = row("MAD1", 900, "20.0", 1);
    let bad: Vec<(&str, Vec<u8>)> = vec![
        ("W0101", b"not json at all".to_vec()),
        ("W0101", good.as_bytes()[..40].to_vec()),
        ("W0101", b"[1,2,3]".to_vec()),
        ("W0101", b"{\"event_id\":\"\xff\xfe\"}".to_vec()),
        ("W0101", vec![b'['; 50_000]),
        ("W0101", row("MAD1", 901, "\"warm\"", 2).into_bytes()),
        ("W0101", row("MAD1", 902, "{\"c\":1}", 2).into_bytes()),
        ("W0106", row("MAD1", 903, "1.0,\"seen\":99999999999999999999", 2).into_bytes()),
        ("W0101", good.replace("\"warehouse\":\"MAD1\",", "").into_bytes()),
        ("W0101", good.replace("\"MAD1\"", "null").into_bytes()),
        ("W0102", b"{\"event_id\":\"904\",\"warehouse\":\"MAD1\",\"device\":\"d\"}".to_vec()),
        ("W0101", good.replace("2026-03-02T08:00:01Z", "yesterday").into_bytes()),
        ("W0103", good.replace("2026-03-02T08:00:01Z", &ahead.to_string()).into_bytes()),
        ("W0104", format!("{{\"event_id\":\"{}\"}}", "x".repeat(200_000)).into_bytes()),
    ];
    let args = ["run", "bad.sql", "--log", &log, "--data", "data", "--reference", "sites.sql"];
    let mut running = rig.start(&args);
    // Good records between the bad ones, an unknown warehouse, a double, a late one, a beat.
    let mut good_rows = 0;
    for (n, (_, bytes)) in bad.iter().enumerate() {
        topics.send(TOPIC, 0, bytes);
        topics.send(
            TOPIC,
            0,
            row("MAD1", n as u32, if n % 2 == 0 { "35.0" } else { "20.0" }, 10 + n as u32).as_bytes(),
        );
        good_rows += 1;
    }
    topics.send(TOPIC, 0, row("NOWHERE", 500, "40.0", 30).as_bytes());
    topics.send(TOPIC, 0, row("MAD1", 13, "20.0", 23).as_bytes());
    topics.send(TOPIC, 0, row("MAD1", 501, "20.0", 3).as_bytes());
    topics.send_with(TOPIC, 0, None, None);
    topics.send_with(TOPIC, 0, None, Some(("weir-heartbeat", b"soon")));
    topics.send_with(TOPIC, 0, None, Some(("weir-heartbeat", b"2026-03-02T08:01:00Z")));
    topics.flush();
    let rejects = bad.len() + 2;
    running.until("rejected records", || tail(&rig, "dev.readings.rejected", &log).len() >= rejects);
    running.until("events", || tail(&rig, "dev.events.bad", &log).len() >= 7);
    running.signal("TERM");
    let said = running.wait();
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(!said.err.contains("panicked"), "{}", said.err);

    let summary = said.summary();
    assert_sums(&summary);
    let counts = &summary["sources"]["readings"];
    assert_eq!(counts["rejects"], rejects, "{counts}");
    assert_eq!(counts["records"], bad.len() + good_rows + 6, "{counts}");
    assert_eq!(counts["heartbeats"], 1, "{counts}");
    assert_eq!((&counts["late"], &counts["duplicates"]), (&Value::from(1), &Value::from(1)), "{counts}");
    assert_eq!(counts["processed"], good_rows + 1, "{counts}");
    assert_eq!(summary["unmatched"]["hot"]["sites"], 1, "{summary}");
    assert_eq!(tail(&rig, "dev.events.bad", &log).len(), 7, "the good ones count");
    assert_eq!(tail(&rig, "dev.readings.late", &log).len(), 1);

    let kept = tail(&rig, "dev.readings.rejected", &log);
    for (n, (code, bytes)) in bad.iter().enumerate() {
        let record = kept.iter().find(|r| r["offset"] == 2 * n).unwrap_or_else(|| panic!("{n} is not there"));
        assert_eq!(record["code"], *code, "{record}");
        assert!(!record["reason"].as_str().unwrap().is_empty(), "{record}");
        assert_eq!(record["size"], bytes.len(), "{record}");
        let raw =
            base64::engine::general_purpose::STANDARD.decode(record["bytes"].as_str().unwrap()).unwrap();
        assert_eq!(raw, bytes[..bytes.len().min(64 << 10)], "{n}");
    }
    let last = 2 * bad.len() + 4;
    assert_eq!(kept.iter().find(|r| r["offset"] == last).map(|r| &r["code"]), Some(&Value::from("W0105")));
}
