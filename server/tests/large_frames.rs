//! Frames that are too large for a record, whole: real agents, a real log server, a store, the detector.
//!
//! Needs `weir-edge` beside the server's binary and ONNX Runtime (`make onnxruntime`); without them it fails.
//! The seed of the kill times is printed; `WEIR_SEED` sets it.

#[allow(dead_code, reason = "shared with the tests of the log over HTTP")]
#[path = "edge_log/site.rs"]
mod site;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use serde_json::Value;
use site::{Agent, Chance, Reader, Server, Site, until};
use weir_contract::{EventTime, wire};
use weir_render::{Domain, render};
use weir_vision::store::Store;

/// The token's line has the word that it needs to store frames.
fn may_store(site: &Site) {
    let tokens = std::fs::read_to_string(site.path("tokens")).unwrap();
    let granted = tokens.replace(" W1 #", " W1 frames #");
    assert_ne!(granted, tokens);
    std::fs::write(site.path("tokens"), granted).unwrap();
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Pictures of several sizes with their truth drawn in; half of them are larger than what comes back.
fn pictures(folder: &Path) -> (usize, u64) {
    let mut sizes = Vec::new();
    for n in 0..14 {
        let size = if n % 2 == 0 { (384, 288) } else { (640, 480) };
        let jpeg = render(&Domain::HeldOut.scene(400 + n), size, n).unwrap().jpeg().unwrap();
        std::fs::write(folder.join(format!("{n:02}.jpg")), &jpeg).unwrap();
        sizes.push(jpeg.len());
    }
    let count = sizes.len() as u64;
    sizes.sort_unstable();
    (sizes[sizes.len() / 2], count)
}

/// How the pictures go.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    Inline,
    /// The large half into a store beside the log, by HTTP.
    Server,
    /// Into a folder.
    Folder,
}

/// The records of a topic that are no heartbeats: headers, value.
fn records(site: &Site, topic: &str) -> Vec<(BTreeMap<String, String>, Vec<u8>)> {
    let text = |(name, value): (String, Vec<u8>)| (name, String::from_utf8_lossy(&value).into_owned());
    let all = site.topic(topic).into_iter();
    let all = all.map(|(headers, value)| (headers.into_iter().map(text).collect::<BTreeMap<_, _>>(), value));
    all.filter(|(headers, _)| !headers.contains_key(wire::HEARTBEAT)).collect()
}

/// Each brand that was seen is an event.
const SEEN: &str = "
CREATE TABLE detections (
    event_id TEXT NOT NULL, warehouse TEXT NOT NULL, station TEXT NOT NULL, captured_at TIMESTAMP NOT NULL,
    brand TEXT, WATERMARK FOR captured_at AS captured_at - INTERVAL '3 seconds'
) WITH (type = 'source', topic = 'detected', format = 'json', until = 'end') PARTITIONED BY (warehouse);

CREATE RULE seen WITH (kind = 'event', key = 'station, event_id') AS
SELECT warehouse, station, event_id, captured_at AS event_time, 'brand' AS reason, brand AS seen_brand
FROM detections WHERE brand IS NOT NULL;
";

/// What was seen has its picture, and keeps the frame itself, wherever that was.
fn evidence(site: &Site, log: &str, stored: Option<&str>) {
    std::fs::write(site.path("seen.sql"), SEEN).unwrap();
    let run = site.weir(&["run", "seen.sql", "--log", log, "--data", "seen"]).output().unwrap();
    assert!(run.status.success(), "{}", said(&run));
    let events = site.weir(&["tail", "dev.events.seen", "--log", log, "--data", "seen"]).output().unwrap();
    let events = String::from_utf8_lossy(&events.stdout).lines().count();
    let topics = ["dev.events.seen", "--detections", "detected", "--out", "evidence", "--log", log];
    let mut keep = site.weir(&[&["evidence"], &topics[..]].concat());
    if let Some(folder) = stored {
        keep.args(["--stored", folder]);
    }
    let kept = keep.output().unwrap();
    assert!(kept.status.success(), "{}", said(&kept));
    let pictures = String::from_utf8_lossy(&kept.stdout).lines().count();
    assert!(events >= 5 && pictures == events, "{pictures} pictures of {events} events\n{}", said(&kept));

    let store = Store::new(site.path("evidence/frames"));
    let (mut whole, mut by_uri) = (0, 0);
    for (headers, _) in records(site, "frames") {
        if let Ok(bytes) = store.get(&format!("sha256:{}", headers["frame_id"]), 1 << 20) {
            assert!(bytes.starts_with(b"\xff\xd8"));
            whole += 1;
            by_uri += u64::from(headers.contains_key("frame_uri"));
        }
    }
    let large = records(site, "frames").iter().any(|(headers, _)| headers.contains_key("frame_uri"));
    assert!(whole > 0 && (by_uri > 0) == large, "{whole} kept frames, {by_uri} of them by uri");
}

/// An agent plays the pictures; gives the detections, without what is made by chance at each start.
fn detections(way: Way, on_device: bool) -> Vec<Value> {
    let site = Site::new();
    may_store(&site);
    let shots = PathBuf::from(site.path("shots"));
    std::fs::create_dir(&shots).unwrap();
    let (most, count) = pictures(&shots);
    let script: String = (0..count)
        .map(|n| {
            let at = EventTime(1_772_352_000_000_000 + n as i64 * 500_000);
            format!("{{\"at\":\"{at}\",\"frame\":\"shots/{n:02}.jpg\"}}\n")
        })
        .collect();
    std::fs::write(site.path("script.jsonl"), script).unwrap();
    let folder = site.path("mounted");
    let store = match way {
        Way::Inline => String::new(),
        Way::Server => format!("[frame_store]\ninline_bytes = \"{most} B\"\n"),
        Way::Folder => {
            std::fs::create_dir(&folder).unwrap();
            format!("[frame_store]\nto = \"{folder}\"\ninline_bytes = \"{most} B\"\n")
        }
    };
    let detect = if on_device { "[detect]\n" } else { "" };
    let text = format!(
        "device = {{ id = \"d1\", warehouse = \"W1\", station = \"P1\", data = \"{}\" }}\n\
         publish = {{ to = \"http\", url = \"http://127.0.0.1:{}\", token = \"file:{}\" }}\n\
         topics = {{ device_health = \"health\" }}\n[[camera]]\nkind = \"folder\"\npath = \"none\"\n\
         rate = 30.0\nframe_bytes = \"1 MiB\"\n{store}{detect}",
        site.path("edge"),
        site.port,
        site.path("token")
    );
    std::fs::write(site.path("edge.toml"), text).unwrap();
    let mut server = Server::start(&site);
    let played = site.weir_edge("play").arg(site.path("script.jsonl")).output().unwrap();
    assert!(played.status.success(), "{}", said(&played));
    assert!(server.running());
    server.stop();

    let frames = records(&site, "frames");
    assert_eq!(frames.len() as u64, count);
    let large = frames.iter().filter(|(headers, _)| headers.contains_key("frame_uri")).count() as u64;
    assert_eq!(large, if way == Way::Inline { 0 } else { (count - 1) / 2 }, "above the one in the middle");
    for (headers, value) in &frames {
        assert_eq!(headers.contains_key("frame_uri"), value.is_empty() && way != Way::Inline, "{headers:?}");
        assert!(way == Way::Inline || value.len() <= most);
    }
    let topic = if on_device {
        records(&site, "detections").into_iter().map(|(_, value)| value).collect()
    } else {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rules/detect.sql");
        let text = std::fs::read_to_string(program).unwrap();
        let ends = text
            .replace("topic = 'frames',", "topic = 'frames', until = 'end',")
            .replace("topic = 'detections',", "topic = 'detected',");
        std::fs::write(site.path("detect.sql"), ends).unwrap();
        let log = format!("log:{}", site.path("log"));
        let mut run = site.weir(&["run", "detect.sql", "--log", &log, "--data", "run"]);
        if way == Way::Folder {
            run.env("WEIR_FRAMES", &folder);
        }
        let run = run.output().unwrap();
        assert!(run.status.success(), "{}", said(&run));
        let summary: Value = serde_json::from_str(said(&run).lines().last().unwrap()).unwrap();
        let counts = &summary["sources"]["frames"];
        assert_eq!((&counts["processed"], &counts["late"]), (&count.into(), &0.into()), "{summary}");
        assert_eq!(summary["rejected_images"], serde_json::json!({}), "{summary}");
        evidence(&site, &log, (way == Way::Folder).then_some(folder.as_str()));
        let tail = site.weir(&["tail", "detected", "--log", &log, "--data", "run"]).output().unwrap();
        assert!(tail.status.success(), "{}", said(&tail));
        tail.stdout.split(|b| *b == b'\n').filter(|l| !l.is_empty()).map(<[u8]>::to_vec).collect::<Vec<_>>()
    };
    let mut uris = BTreeMap::new();
    for (headers, _) in frames {
        uris.insert(headers["event_id"].clone(), headers.get("frame_uri").cloned());
    }
    let row = |value: Vec<u8>| {
        let mut row: Value = serde_json::from_slice(&value).unwrap();
        let id = row["event_id"].as_str().unwrap().to_owned();
        let (frame, ordinal) = id.rsplit_once('/').unwrap();
        assert_eq!(row["frame_uri"].as_str(), uris[frame].as_deref(), "as the frame's record says");
        let captured = EventTime::parse(row["captured_at"].as_str().unwrap()).unwrap();
        row["captured_at"] = captured.0.into();
        row["event_id"] = ordinal.into();
        row
    };
    let mut rows: Vec<Value> = topic.into_iter().map(row).collect();
    rows.sort_by_key(|r| (r["captured_at"].as_i64(), r["event_id"].to_string()));
    rows
}

#[test]
fn the_same_pictures_give_equal_detections_inline_and_by_uri() {
    let without = |rows: &[Value]| -> Vec<Value> {
        let mut rows = rows.to_vec();
        rows.iter_mut().for_each(|row| row["frame_uri"] = Value::Null);
        rows
    };
    let inline = detections(Way::Inline, false);
    assert!(inline.iter().filter(|row| row["brand"].is_string()).count() >= 5, "{inline:?}");
    assert_eq!(without(&inline), inline, "none goes by uri");
    let server = detections(Way::Server, false);
    assert_ne!(server, inline);
    assert_eq!(without(&server), inline);
    assert_eq!(detections(Way::Folder, false), server);
    assert_eq!(detections(Way::Server, true), server, "the device says the same of its own frames");
}

/// SOI, a frame header of 64 × 48, a scan with some bytes, EOI.
fn jpeg(number: u8, bytes: usize) -> Vec<u8> {
    let mut jpeg =
        b"\xff\xd8\xff\xc0\0\x0b\x08\0\x30\0\x40\x01\x01\x11\0\xff\xda\0\x08\x01\x01\0\0\x3f\0".to_vec();
    jpeg.extend(std::iter::repeat_n(number, bytes));
    jpeg.extend(b"\xff\xd9");
    jpeg
}

const LARGE: usize = 3_000;

/// A device whose log and store are different servers.
fn station(site: &Site, store: &Site) {
    may_store(store);
    std::fs::remove_file(site.path("frames/1.jpg")).unwrap();
    for n in 0..9 {
        let bytes = if n % 3 == 2 { LARGE } else { 40 };
        std::fs::write(site.path(&format!("frames/{n}.jpg")), jpeg(n, bytes)).unwrap();
    }
    let text = std::fs::read_to_string(site.path("edge.toml")).unwrap();
    let more = format!(
        "{text}[frame_store]\nto = \"http://127.0.0.1:{}\"\ntoken = \"file:{}\"\ninline_bytes = \"1 KiB\"\n",
        store.port,
        site.path("token")
    );
    std::fs::write(site.path("edge.toml"), more).unwrap();
}

fn trouble(agent: &Agent) -> Option<String> {
    agent.said()?["health"]["trouble"].as_str().map(str::to_owned)
}

fn stored(frames: &[(BTreeMap<String, String>, Vec<u8>)]) -> usize {
    frames.iter().filter(|(headers, _)| headers.contains_key("frame_uri")).count()
}

#[test]
fn a_store_that_is_away_delays_no_scan_and_no_kill_loses_or_doubles_a_frame() {
    let (site, away) = (Site::new(), Site::new());
    station(&site, &away);
    let mut chance = Chance::seeded();
    let reader = Reader::start(&site);
    let mut server = Server::start(&site);
    let mut agent = Agent::start(&site);
    until("a frame that fits", || !records(&site, "frames").is_empty());
    until("a frame that waits", || agent.waiting_in(3).is_some_and(|n| n > 5));
    let before = records(&site, "frames").len();
    assert_eq!(stored(&records(&site, "frames")), 0);
    let seen = site.scans().len();
    until("scans", || site.scans().len() > seen + 200);
    assert_eq!(records(&site, "frames").len(), before, "frames wait, in order");
    let why = trouble(&agent).unwrap_or_default();
    assert!(why.contains("/v1/frames/"), "{why}");

    let mut store = Server::start(&away);
    until("stored frames", || stored(&records(&site, "frames")) > 5);
    for round in 0..9 {
        std::thread::sleep(Duration::from_millis(100 + chance.below(700)));
        if round % 3 != 1 {
            store.kill();
        }
        if round % 3 != 0 {
            agent.kill();
        }
        if round % 4 == 2 {
            server.kill();
        }
        std::thread::sleep(Duration::from_millis(chance.below(300)));
        if !server.running() {
            server = Server::start(&site);
        }
        if !agent.running() {
            agent = Agent::start(&site);
        }
        if !store.running() {
            store = Server::start(&away);
        }
        let seen = stored(&records(&site, "frames"));
        until("frames after a kill", || stored(&records(&site, "frames")) > seen + 3);
    }
    // The camera ends first, then what is in the spool.
    std::fs::rename(site.path("frames"), site.path("no-frames")).unwrap();
    reader.stop();
    std::thread::sleep(Duration::from_secs(1));
    until("an empty spool", || agent.waiting_in(0) == Some(0) && agent.waiting_in(3) == Some(0));
    agent.stop();
    server.stop();
    store.stop();
    check(&site, &Store::new(away.path("frames")));
}

/// Frames stand in the log once, apart from copies, in order, behind no heartbeat that is ahead of them; what goes by
/// uri is in the store.
fn check(site: &Site, store: &Store) {
    let number = |id: &str| -> (String, u64) {
        let (life, number) = id.rsplit_once('/').unwrap();
        (life.to_owned(), number.parse().unwrap())
    };
    let mut last: BTreeMap<String, u64> = BTreeMap::new();
    let mut seen: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
    let (mut beat, mut copies, mut by_uri) = (i64::MIN, 0, 0);
    let mut facts: BTreeMap<String, String> = BTreeMap::new();
    for (headers, value) in site.topic("frames") {
        let header = |wanted: &str| {
            let (_, value) = headers.iter().find(|(name, _)| name == wanted)?;
            Some(String::from_utf8(value.clone()).unwrap())
        };
        if let Some(time) = header(wire::HEARTBEAT) {
            beat = beat.max(EventTime::parse(&time).unwrap().0);
            continue;
        }
        let (id, frame) = (header("event_id").unwrap(), header("frame_id").unwrap());
        match header("frame_uri") {
            None => assert!(value.starts_with(b"\xff\xd8") && value.len() < 1_024, "{id}"),
            Some(uri) => {
                assert!(value.is_empty() && uri == format!("sha256:{frame}"), "{id}");
                assert_eq!(store.get(&uri, 1 << 20).unwrap().len(), jpeg(0, LARGE).len(), "{id}");
                by_uri += 1;
            }
        }
        if let Some(first) = facts.insert(id.clone(), frame.clone()) {
            assert_eq!(first, frame, "{id} is another frame the second time");
            copies += 1;
            continue;
        }
        let (life, number) = number(&id);
        let before = last.insert(life.clone(), number);
        assert!(before.is_none_or(|before| number > before), "{id} came behind {before:?}");
        let captured = EventTime::parse(&header("captured_at").unwrap()).unwrap().0;
        assert!(captured >= beat, "{id} is late by {} µs", beat - captured);
        seen.entry(life).or_default().insert(number);
    }
    for topic in ["scans", "health"] {
        for (_, value) in records(site, topic) {
            let row: Value = serde_json::from_slice(&value).unwrap();
            let (life, number) = number(row["event_id"].as_str().unwrap());
            seen.entry(life).or_default().insert(number);
        }
    }
    // Frames become durable last: below the last one of a life nothing is missing.
    for (life, last) in &last {
        let missing: Vec<u64> = (1..*last).filter(|n| !seen[life].contains(n)).collect();
        assert!(missing.is_empty(), "{life} up to {last} lost {missing:?}");
    }
    println!("{} frames of {} lives, {by_uri} by their uri, {copies} copies", facts.len(), last.len());
    assert!(by_uri > 30 && last.len() >= 6, "{by_uri} of {} lives", last.len());
}

#[test]
fn a_token_without_the_right_is_told_and_nothing_is_thrown_away() {
    let site = Site::new();
    let text = std::fs::read_to_string(site.path("edge.toml")).unwrap();
    std::fs::write(site.path("edge.toml"), format!("{text}[frame_store]\ninline_bytes = \"16 B\"\n"))
        .unwrap();
    let server = Server::start(&site);
    let doctor = || {
        let output = site.weir_edge("doctor").output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let check = site.weir_edge("check").output().unwrap();
    let check = String::from_utf8_lossy(&check.stdout).into_owned();
    assert!(check.contains("frames above 16 bytes go to the frame store"), "{check}");
    let tried = doctor();
    assert!(tried.contains("BAD  frame store") && tried.contains("answers 403"), "{tried}");
    let mut agent = Agent::start(&site);
    until("frames that wait", || agent.waiting_in(3).is_some_and(|n| n > 10));
    until("the reason", || trouble(&agent).is_some_and(|t| t.contains("answers 403")));
    assert_eq!(records(&site, "frames").len(), 0);
    server.stop();
    may_store(&site);
    let server = Server::start(&site);
    assert!(doctor().contains("ok   frame store"), "{}", doctor());
    until("all of them", || stored(&records(&site, "frames")) > 10);
    agent.stop();
    server.stop();
}
