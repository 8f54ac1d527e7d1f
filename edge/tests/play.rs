//! A script is played: its times are the records' times, all of it arrives, and heartbeats never lie.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use serde_json::Value;
use weir_contract::clock::ManualClock;
use weir_contract::{Code, Error, EventTime, Result};
use weir_edge::config::Config;
use weir_edge::publish::{Outcome, Sender, Sent, Window};
use weir_edge::record::Outgoing;
use weir_edge::run::Edge;
use weir_edge::run::play::Script;
use weir_edge::time::{AlwaysSynced, DeviceClock};
use weir_segments::RealDisk;

/// One topic: what arrived, in order; a heartbeat has no value.
#[derive(Default)]
struct Topic {
    arrived: Vec<(i64, Option<Outgoing>)>,
    waiting: Vec<Outgoing>,
    /// Polls since anything was handed over.
    polls: u32,
}

/// Answers every other time only, so that something is always on its way; may break once.
struct Slow {
    topic: Rc<RefCell<Topic>>,
    silent: bool,
    breaks: bool,
}

impl Sender for Slow {
    fn send(&mut self, record: Outgoing) -> Sent {
        let mut topic = self.topic.borrow_mut();
        topic.waiting.push(record);
        topic.polls = 0;
        Sent::Taken
    }

    fn heartbeat(&mut self, _key: &[u8], time_us: i64) -> bool {
        let mut topic = self.topic.borrow_mut();
        topic.arrived.push((time_us, None));
        topic.polls = 0;
        true
    }

    fn poll(&mut self, _now_us: i64) -> Vec<Outcome> {
        self.silent = !self.silent;
        let mut topic = self.topic.borrow_mut();
        topic.polls += 1;
        // Each is a millisecond at least: no pause is that long.
        assert!(topic.polls < 30_000, "the script stands still");
        if self.breaks && topic.waiting.len() >= 3 {
            self.breaks = false;
            topic.waiting.clear();
            return vec![Outcome::Broken(Error::new(Code::Connect, "gone"))];
        }
        if self.silent || topic.waiting.is_empty() {
            return Vec::new();
        }
        let record = topic.waiting.remove(0);
        let offset = record.offset;
        topic.arrived.push((record.time_us, Some(record)));
        vec![Outcome::Acked(offset)]
    }

    fn idle(&self) -> bool {
        self.topic.borrow().waiting.is_empty()
    }
}

/// As small as the splitter takes for a whole frame.
fn jpeg(fill: u8) -> Vec<u8> {
    let mut bytes = vec![0xff, 0xd8, 0xff, 0xc0, 0, 11, 8, 0, 16, 0, 16, 1, 1, 0x11, 0];
    bytes.extend([0xff, 0xda, 0, 8, 1, 1, 0, 0, 63, 0, fill, fill, 0xff, 0xd9]);
    bytes
}

fn played(folder: &Path, script: &str) -> Result<Vec<Rc<RefCell<Topic>>>> {
    played_to(folder, script, false)
}

fn played_to(folder: &Path, script: &str, breaks: bool) -> Result<Vec<Rc<RefCell<Topic>>>> {
    std::fs::write(folder.join("script.jsonl"), script).unwrap();
    let text = format!(
        "device = {{ id = 'd1', warehouse = 'W1', station = 'P1', data = {:?} }}\n\
         publish = {{ to = 'spool' }}\n[[scanner]]\nkind = 'stdin'\n\
         [[camera]]\nkind = 'folder'\npath = 'none'\ntrigger = 'continuous'\nrate = 10.0\n",
        folder.join("data")
    );
    let config = Config::parse("edge.toml", &text).unwrap_or_else(|e| panic!("{e:?}"));
    let topics: Vec<Rc<RefCell<Topic>>> = config.lanes.iter().map(|_| Rc::default()).collect();
    let sender = |t: &Rc<RefCell<Topic>>| -> (Box<dyn Sender>, Window) {
        (Box::new(Slow { topic: t.clone(), silent: false, breaks }), Window { records: 4, bytes: 1 << 20 })
    };
    let clock = Arc::new(ManualClock::default());
    let device = DeviceClock::new(clock.clone(), Arc::new(AlwaysSynced(true)), [7; 16], 0);
    let stop = Arc::new(AtomicBool::new(false));
    let mut edge = Edge::new(
        config,
        Arc::new(RealDisk),
        clock.clone(),
        device,
        topics.iter().map(sender).collect(),
        None,
        stop,
    )?;
    edge.play(&mut Script::open(&folder.join("script.jsonl"))?, &clock)?;
    Ok(topics)
}

fn at(text: &str) -> i64 {
    EventTime::parse(text).unwrap().0
}

#[test]
fn a_script_arrives_whole_with_its_own_times() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("shots")).unwrap();
    let mut script = String::new();
    for second in 0..30 {
        std::fs::write(folder.path().join(format!("shots/{second:02}.jpg")), jpeg(second)).unwrap();
        script +=
            &format!("{{\"at\":\"2026-03-02T07:00:{second:02}.25Z\",\"frame\":\"shots/{second:02}.jpg\"}}\n");
        if second % 7 == 3 {
            script +=
                &format!("{{\"at\":\"2026-03-02T07:00:{second:02}.5Z\",\"scan\":\"84100010{second:02}\"}}\n");
        }
    }
    script += "{\"at\":\"2026-03-02T07:01:00Z\"}\n";
    let topics = played(folder.path(), &script).unwrap();
    let rows = |lane: usize| -> Vec<Outgoing> {
        topics[lane].borrow().arrived.iter().filter_map(|(_, r)| r.clone()).collect()
    };
    let scans: Vec<Value> = rows(0).iter().map(|r| serde_json::from_slice(&r.value).unwrap()).collect();
    let told: Vec<_> =
        scans.iter().map(|s| (s["scanned_at"].as_str().unwrap(), s["barcode"].as_str().unwrap())).collect();
    assert_eq!(
        told[..2],
        [("2026-03-02T07:00:03.500Z", "8410001003"), ("2026-03-02T07:00:10.500Z", "8410001010")]
    );
    assert_eq!(told.len(), 4);
    let frames = rows(3);
    assert_eq!(frames.len(), 30);
    for (second, frame) in (0..).zip(&frames) {
        assert_eq!(frame.value, jpeg(second));
        let captured = frame.headers.iter().find(|(n, _)| n == "captured_at").unwrap();
        assert_eq!(captured.1, format!("2026-03-02T07:00:{second:02}.250Z").into_bytes());
    }
    let health: Vec<Value> = rows(2).iter().map(|r| serde_json::from_slice(&r.value).unwrap()).collect();
    assert!(
        health.iter().filter(|h| h["kind"] == "agent").count() >= 8,
        "one each ten seconds and at the end"
    );
    for (lane, topic) in topics.iter().enumerate() {
        let topic = topic.borrow();
        if lane == 1 {
            assert!(topic.arrived.is_empty(), "nothing detects on the device, so nobody waits for it");
            continue;
        }
        let mut beat = i64::MIN;
        for (time, record) in &topic.arrived {
            match record {
                Some(_) => assert!(*time >= beat, "a heartbeat passed a record"),
                None => beat = *time,
            }
        }
        assert!(beat >= at("2026-03-02T07:01:20Z"), "{}", EventTime(beat));
    }
}

/// More at one moment than may wait, before their group is due; and the log breaks while the clock stands.
#[test]
fn a_script_waits_for_the_log_and_never_for_its_own_clock() {
    for breaks in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let mut script = String::new();
        for n in 0..60 {
            script += &format!("{{\"at\":\"2026-03-02T07:00:01Z\",\"scan\":\"84100010{n:02}\"}}\n");
        }
        script += "{\"at\":\"2026-03-02T07:00:01.01Z\",\"scan\":\"8410001099\"}\n";
        let topics = played_to(folder.path(), &script, breaks).unwrap();
        let topic = topics[0].borrow();
        let codes: Vec<String> = topic
            .arrived
            .iter()
            .filter_map(|(_, record)| serde_json::from_slice::<Value>(&record.as_ref()?.value).ok())
            .map(|scan| scan["barcode"].as_str().unwrap_or_default().to_owned())
            .collect();
        let expected: Vec<String> = (0..60).chain([99]).map(|n| format!("84100010{n:02}")).collect();
        assert_eq!(codes, expected, "breaks: {breaks}");
    }
}

#[test]
fn a_wrong_script_is_told_by_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let good = "{\"at\":\"2026-03-02T07:00:01Z\",\"scan\":\"A\"}\n";
    for (line, says) in [
        ("{\"at\":\"2026-03-02T07:00:00Z\"}", "before the line before"),
        ("{\"at\":\"soon\"}", "`soon` is no time"),
        ("{\"at\":\"2026-03-02T07:00:02Z\",\"scan\":\"A\",\"frame\":\"x\"}", "not both"),
        ("{\"at\":\"2026-03-02T07:00:02Z\",\"picture\":\"x\"}", "unknown field"),
        ("nonsense", "expected"),
    ] {
        let error = played(folder.path(), &format!("{good}{line}\n")).err().unwrap().to_string();
        assert!(error.contains("script.jsonl:2:1") && error.contains(says), "{line}: {error}");
    }
    let error = played(folder.path(), "{\"at\":\"2026-03-02T07:00:02Z\",\"frame\":\"gone.jpg\"}\n");
    assert!(error.err().unwrap().to_string().contains("gone.jpg"));
}
