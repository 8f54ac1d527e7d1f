//! Frames through a real Kafka, as the edge agent sends them: values with headers, stored ones without a
//! value, heartbeats. The detector is killed on the way; each frame is told once.
//!
//! Starts a broker of its own (scripts/kafka.sh); needs the library that `make onnxruntime` fetches.

#[allow(dead_code, reason = "shared with the tests of faults")]
mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use support::broker::Broker;
use support::topics::Topics;
use weir_contract::EventTime;
use weir_render::{Domain, render};
use weir_vision::store::Store;

/// 2026-03-01T08:00:00Z.
const START: i64 = 1_772_352_000_000_000;
const PARTITIONS: i32 = 2;
const FRAMES: i64 = 24;

struct Site {
    broker: Broker,
    folder: tempfile::TempDir,
}

impl Site {
    fn weir(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        for name in ["WEIR_ENV", "WEIR_LOG", "WEIR_REFERENCE", "WEIR_PATHS", "WEIR_MODELS", "RUST_LOG"] {
            command.env_remove(name);
        }
        command.args(args).args(["--log", &self.broker.log()]).current_dir(self.folder.path());
        command.env("WEIR_FRAMES", self.folder.path().join("frames")).stdin(Stdio::null());
        command
    }

    fn start(&self) -> Child {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rules/detect.sql");
        let mut run = self.weir(&["run", program.to_str().unwrap(), "--data", "data"]);
        run.args(["--checkpoint-every", "0.2", "--batch-rows", "2"]);
        run.stdout(Stdio::null()).stderr(std::fs::File::create(self.folder.path().join("said")).unwrap());
        run.spawn().unwrap()
    }

    /// What a reader of committed records sees of a topic.
    fn rows(&self, topic: &str) -> Vec<Value> {
        let done = self.weir(&["tail", topic]).output().unwrap();
        let text = String::from_utf8(done.stdout).unwrap();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("said")).unwrap()
    }
}

#[test]
fn frames_in_kafka_are_told_once_under_a_kill() {
    let site = Site { broker: Broker::start(), folder: tempfile::tempdir().unwrap() };
    let topics = Topics::at(&site.broker.at);
    topics.create("frames", PARTITIONS);
    let store = Store::new(site.folder.path().join("frames"));
    let mut largest = 0;
    for n in 0..FRAMES {
        let partition = n as i32 % PARTITIONS;
        let size = if n == 4 { (1600, 1200) } else { (320, 240) };
        let jpeg = render(&Domain::HeldOut.scene(n as u64), size, n as u64).unwrap().jpeg().unwrap();
        let uri = (n % 6 == 5).then(|| store.put(&jpeg).unwrap());
        let value = match (n, &uri) {
            (_, Some(_)) => None,
            (7, None) => Some(jpeg[..jpeg.len() / 2].to_vec()),
            _ => Some(jpeg),
        };
        largest = largest.max(value.as_ref().map_or(0, Vec::len));
        let (id, warehouse) = (format!("d/b/{n}"), format!("W{partition}"));
        let (time, frame) = (EventTime(START + n * 500_000).to_string(), format!("{n:064x}"));
        // One whose width is no number is a reject of its source: it has no row at all.
        let width = if n == 9 { "wide" } else { "320" };
        let mut headers: Vec<(&str, &[u8])> = vec![
            ("event_id", id.as_bytes()),
            ("warehouse", warehouse.as_bytes()),
            ("device", b"d"),
            ("station", b"P1"),
            ("frame_id", frame.as_bytes()),
            ("width", width.as_bytes()),
            ("captured_at", time.as_bytes()),
        ];
        headers.extend(uri.as_ref().map(|u| ("frame_uri", u.as_bytes())));
        topics.send_all("frames", partition, value.as_deref(), &headers);
    }
    let beat = EventTime(START + 60_000_000).to_string();
    for partition in 0..PARTITIONS {
        topics.send_with("frames", partition, None, Some(("weir-heartbeat", beat.as_bytes())));
    }
    topics.flush();
    assert!(largest > 50_000, "{largest}");

    let mut child = site.start();
    let mut looks = 0;
    let mut before = 0;
    while before < 6 {
        assert!(child.try_wait().unwrap().is_none(), "{}", site.said());
        looks += 1;
        assert!(looks < 600, "no detection: {}", site.said());
        std::thread::sleep(Duration::from_millis(100));
        before = site.rows("detections").len();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // Nothing is read before the next one fenced it: a transaction that it left open would be waited for.
    let mut child = site.start();
    let frames = |rows: &[Value]| -> BTreeMap<i64, usize> {
        let mut frames = BTreeMap::new();
        for row in rows {
            let n = row["event_id"].as_str().unwrap().split('/').nth(2).unwrap().parse().unwrap();
            *frames.entry(n).or_default() += 1;
        }
        frames
    };
    let wanted: Vec<i64> = (0..FRAMES).filter(|n| ![7, 9].contains(n)).collect();
    let mut looks = 0;
    while frames(&site.rows("detections")).into_keys().ne(wanted.iter().copied()) {
        assert!(child.try_wait().unwrap().is_none(), "{}", site.said());
        looks += 1;
        assert!(looks < 600, "{:?}: {}", frames(&site.rows("detections")), site.said());
        std::thread::sleep(Duration::from_millis(100));
    }
    std::thread::sleep(Duration::from_secs(1));
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    assert!(child.wait().unwrap().success(), "{}", site.said());
    let rows = site.rows("detections");
    println!("{before} rows before the kill, {} in all", rows.len());
    let mut ids: Vec<&str> = rows.iter().map(|r| r["event_id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    let all = ids.len();
    ids.dedup();
    assert_eq!(ids.len(), all, "each once");
    let listed = site.rows("dev.detections.rejected");
    assert_eq!(listed.len(), 1, "{listed:?}");
    assert_eq!((&listed[0]["code"], &listed[0]["row"]["event_id"]), (&"W0801".into(), &"d/b/7".into()));
    let rejects = site.rows("dev.frames.rejected");
    assert_eq!(rejects.len(), 1, "{rejects:?}");
    assert!(rejects[0]["reason"].as_str().unwrap().contains("`width`: expected BIGINT"), "{rejects:?}");
}
