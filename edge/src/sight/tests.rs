//! Drawn frames through a whole agent: its scans and detections, and the queue of the eyes.
//!
//! Detection needs the library that `make onnxruntime` fetches.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;

use serde_json::Value;
use weir_contract::clock::ManualClock;
use weir_contract::{Code, EventTime};
use weir_render::scene::{Lens, Scene};
use weir_render::{Barcode, Domain, Shown, render, station};
use weir_segments::RealDisk;
use weir_vision::decode::Limits;
use weir_vision::detector::{Backend, Model, Runtime};
use weir_vision::pool::Worker;
use weir_vision::stop::Stop;
use weir_vision::told;

use super::*;
use crate::publish::{Outcome, Sender, Sent, Window};
use crate::record::Outgoing;
use crate::run::Edge;
use crate::run::play::Script;
use crate::time::{AlwaysSynced, DeviceClock};

/// A topic that takes everything; a heartbeat has no record.
#[derive(Clone, Default)]
struct Topic(Rc<RefCell<(Vec<(i64, Option<Outgoing>)>, Vec<i64>)>>);

impl Sender for Topic {
    fn send(&mut self, record: Outgoing) -> Sent {
        let mut topic = self.0.borrow_mut();
        topic.1.push(record.offset);
        topic.0.push((record.time_us, Some(record)));
        Sent::Taken
    }

    fn heartbeat(&mut self, _key: &[u8], time_us: i64) -> bool {
        self.0.borrow_mut().0.push((time_us, None));
        true
    }

    fn poll(&mut self, _now_us: i64) -> Vec<Outcome> {
        self.0.borrow_mut().1.drain(..).map(Outcome::Acked).collect()
    }

    fn idle(&self) -> bool {
        self.0.borrow().1.is_empty()
    }
}

impl Topic {
    fn records(&self) -> Vec<Outgoing> {
        self.0.borrow().0.iter().filter_map(|(_, record)| record.clone()).collect()
    }

    fn rows(&self) -> Vec<Value> {
        self.records().iter().map(|r| serde_json::from_slice(&r.value).unwrap()).collect()
    }

    /// Its heartbeats; none of them ahead of a record that came later.
    fn beats(&self) -> usize {
        let (mut beat, mut count) = (i64::MIN, 0);
        for (time, record) in &self.0.borrow().0 {
            match record {
                Some(_) => assert!(*time >= beat, "a heartbeat passed a record"),
                None => (beat, count) = (*time, count + 1),
            }
        }
        count
    }
}

const START: &str = "2026-03-02T07:00:00Z";

fn config(folder: &Path, rest: &str) -> Config {
    let text = format!(
        "device = {{ id = 'd1', warehouse = 'W1', station = 'P1', data = {:?} }}\n\
         publish = {{ to = 'spool' }}\n{rest}",
        folder.join("data")
    );
    Config::parse("edge.toml", &text).unwrap_or_else(|e| panic!("{}", e[0]))
}

fn camera(rest: &str) -> String {
    format!("[[camera]]\nkind = 'folder'\npath = 'none'\ntrigger = 'continuous'\nrate = 1.0\n{rest}")
}

/// Plays frames at milliseconds from the start; gives the topics by lane, and `status.json`.
fn played(folder: &Path, settings: &str, frames: &[(i64, Vec<u8>)]) -> (Vec<Topic>, Value) {
    let mut script = String::new();
    let start = EventTime::parse(START).unwrap().0;
    for (ms, jpeg) in frames {
        std::fs::write(folder.join(format!("{ms}.jpg")), jpeg).unwrap();
        let at = EventTime(start + ms * 1_000);
        script += &format!("{{\"at\":\"{at}\",\"frame\":\"{ms}.jpg\"}}\n");
    }
    std::fs::write(folder.join("script.jsonl"), script).unwrap();
    let config = config(folder, settings);
    let topics: Vec<Topic> = config.lanes.iter().map(|_| Topic::default()).collect();
    let sender = |t: &Topic| -> (Box<dyn Sender>, Window) {
        (Box::new(t.clone()), Window { records: 8, bytes: 1 << 20 })
    };
    let clock = Arc::new(ManualClock::default());
    let device = DeviceClock::new(clock.clone(), Arc::new(AlwaysSynced(true)), [7; 16], 0);
    let senders = topics.iter().map(sender).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let status = crate::run::status_path(&config.device.data);
    let mut edge = Edge::new(config, Arc::new(RealDisk), clock.clone(), device, senders, None, stop).unwrap();
    edge.play(&mut Script::open(&folder.join("script.jsonl")).unwrap(), &clock).unwrap();
    (topics, serde_json::from_slice(&std::fs::read(status).unwrap()).unwrap())
}

/// A belt with a parcel in its middle, or none; 960 pixels, 3.8 of them a module of an EAN-13.
pub(crate) fn belt(code: Option<&str>) -> Vec<u8> {
    let parcel = |text: &str| Shown {
        parcel: text.into(),
        marks: Vec::new(),
        barcode: Some(Barcode::of(text).unwrap()),
        since_s: 0.0,
    };
    let shown: Vec<Shown> = code.map(parcel).into_iter().collect();
    let scene = Scene { lens: Lens::SHARP, ..station::scene("P1", 0.0, &shown) };
    render(&scene, (960, 960), 1).unwrap().jpeg().unwrap()
}

pub(crate) const EAN: &str = "4006381333931";
const UPC: &str = "036000291452";

#[test]
fn codes_in_frames_are_scans() {
    let folder = tempfile::tempdir().unwrap();
    let (ean, upc, none) = (belt(Some(EAN)), belt(Some(UPC)), belt(None));
    let mut frames = Vec::new();
    // Four frames a second: a parcel for two seconds, none for four, another, none, the first again.
    for (from, jpeg) in [(0, &ean), (2_000, &none), (6_000, &upc), (8_000, &none), (10_000, &ean)] {
        let for_ms = if from == 2_000 { 4_000 } else { 2_000 };
        frames.extend((from..from + for_ms).step_by(250).map(|ms| (ms, jpeg.clone())));
    }
    let codes = "[camera.barcodes]\nformats = ['EAN13', 'UPCA']\nrate = 4.0\n";
    let (topics, status) = played(folder.path(), &camera(codes), &frames);
    let rows = topics[SCANS].rows();
    let told: Vec<(&str, &str, &str)> = rows
        .iter()
        .map(|r| {
            let text = |name: &str| r[name].as_str().unwrap();
            (text("barcode"), text("symbology"), text("scanned_at"))
        })
        .collect();
    let expected = [
        (EAN, "EAN13", "2026-03-02T07:00:00Z"),
        (UPC, "UPCA", "2026-03-02T07:00:06Z"),
        (EAN, "EAN13", "2026-03-02T07:00:10Z"),
    ];
    assert_eq!(told, expected, "each once, with the time of its first frame");
    for row in &rows {
        let px = row["px_per_module"].as_f64().unwrap();
        assert!((3.0..4.5).contains(&px), "{row}");
        assert!(row["method"] == "camera" && row["read_count"].as_u64().unwrap() >= 2, "{row}");
        assert!(row["event_id"].as_str().unwrap().starts_with("d1/"), "{row}");
        assert_eq!((&row["warehouse"], &row["station"]), (&"W1".into(), &"P1".into()));
    }
    assert!(topics[SCANS].beats() > 20 && topics[DETECTIONS].beats() == 0);
    // Read at four a second, sent at one.
    assert_eq!((topics[3].records().len(), &status["sight"]["camera"]["looked"]), (12, &48.into()));
    assert_eq!(status["sight"]["camera"]["codes"], 3);

    // A camera whose list does not have it reads nothing.
    let folder = tempfile::tempdir().unwrap();
    let codes = "[camera.barcodes]\nformats = ['CODE128', 'QR']\n";
    let (topics, status) = played(folder.path(), &camera(codes), &frames[..4]);
    assert!(topics[SCANS].rows().is_empty() && topics[SCANS].beats() > 5);
    assert_eq!(status["sight"]["camera"]["looked"], 1, "without a rate, the kept frames are read");
}

/// One a process.
fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let path = Runtime::locate(None).unwrap_or_else(|e| panic!("{e}\nrun `make onnxruntime`"));
        Runtime::load(&path).unwrap_or_else(|e| panic!("{e}"))
    })
}

/// As `Chosen::find`, for the agents of a test process, which share the library.
pub(super) fn find(configured: Option<&Path>) -> Result<(Chosen, Option<Error>)> {
    match configured {
        Some(_) => Chosen::find(configured),
        None => Ok((Chosen::Ort(runtime().clone()), None)),
    }
}

/// Frames of which one is empty, and one that is no image although it has a JPEG's form.
fn frames() -> Vec<(i64, Vec<u8>)> {
    let scene = |seed: u64| match (seed, Domain::HeldOut.scene(900 + seed)) {
        (5, scene) => Scene { parcels: Vec::new(), blobs: Vec::new(), ..scene },
        (_, scene) => scene,
    };
    let jpeg = |seed: u64| match seed {
        6 => crate::capture::test_jpeg(1, 500),
        _ => render(&scene(seed), (384, 288), seed).unwrap().jpeg().unwrap(),
    };
    (0..12).map(|seed| (seed as i64 * 1_000, jpeg(seed))).collect()
}

/// The names between a statement's brackets.
fn columns(sql: &str, statement: &str) -> Vec<String> {
    let (_, rest) = sql.split_once(statement).unwrap();
    let (body, _) = rest.split_once("\n)").unwrap();
    let name = |line: &str| line.split_whitespace().next().map(str::to_owned);
    body.lines().filter_map(name).collect()
}

/// Told of the same bytes, the centre's functions give the same; the columns are those of its program.
#[test]
fn a_frames_detections_are_the_centres() {
    let folder = tempfile::tempdir().unwrap();
    let frames = frames();
    let (topics, status) = played(folder.path(), &format!("[detect]\n{}", camera("")), &frames);
    let rows = topics[DETECTIONS].rows();
    let sent = topics[3].records();
    assert_eq!(sent.len(), frames.len());

    let sql = include_str!("../../../rules/detect.sql");
    let listed: Vec<String> = told::NO_BRANDS.iter().map(|label| format!("'{label}'")).collect();
    assert!(sql.contains(&format!("d.label NOT IN ({})", listed.join(", "))));
    assert!(sql.contains(&format!("'{}' AS model,", SHIPPED.0)));
    assert!(sql.contains("f.event_id || '/' || coalesce(d.ordinality, 0) AS event_id"));
    let mut columns = columns(sql, "CREATE TABLE detections (\n");
    columns.sort_unstable();

    let settings = Settings::new("weir-floor.onnx");
    let mut model = Model::of(Backend::Ort(runtime()), settings, SHIPPED.1).unwrap();
    let mut by_frame: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for row in &rows {
        let mut names: Vec<&String> = row.as_object().unwrap().keys().collect();
        names.sort_unstable();
        assert_eq!(names, columns.iter().collect::<Vec<_>>());
        let (frame, _) = row["event_id"].as_str().unwrap().rsplit_once('/').unwrap();
        by_frame.entry(frame).or_default().push(row);
    }
    let (mut brands, mut empty) = (0, 0);
    for ((_, jpeg), frame) in frames.iter().zip(&sent) {
        let header = |name: &str| {
            let found = frame.headers.iter().find(|(n, _)| n == name);
            String::from_utf8(found.unwrap().1.clone()).unwrap()
        };
        let own = by_frame.remove(header("event_id").as_str()).unwrap_or_default();
        let Ok(found) = told::of_image(&mut model, jpeg, &Limits::default(), &Stop::default()) else {
            assert!(own.is_empty(), "the centre refuses it: {own:?}");
            continue;
        };
        let expected = told::brands(&found);
        assert_eq!(own.len(), expected.len(), "{own:?}");
        for (row, (ordinal, told)) in own.into_iter().zip(expected) {
            let ends = format!("{}/{ordinal}", header("event_id"));
            let same: [(Value, Value); 11] = [
                (row["event_id"].clone(), ends.into()),
                (row["frame_id"].clone(), header("frame_id").into()),
                (row["captured_at"].clone(), header("captured_at").into()),
                (row["brand"].clone(), told.map(|t| t.label.to_string()).into()),
                (row["confidence"].clone(), told.map(|t| t.confidence).into()),
                (row["x1"].clone(), told.map(|t| t.x1).into()),
                (row["y1"].clone(), told.map(|t| t.y1).into()),
                (row["x2"].clone(), told.map(|t| t.x2).into()),
                (row["y2"].clone(), told.map(|t| t.y2).into()),
                (row["model"].clone(), "weir-floor".into()),
                (row["model_sha256"].clone(), model.info().sha256.clone().into()),
            ];
            for (row, expected) in same {
                assert_eq!(row, expected);
            }
            brands += usize::from(told.is_some());
            empty += usize::from(told.is_none());
        }
    }
    assert!(by_frame.is_empty(), "{by_frame:?}");
    assert!(brands >= 8 && empty >= 1, "{brands} brands, {empty} frames without one");
    assert!(topics[DETECTIONS].beats() > 20 && topics[SCANS].beats() == 0);
    let sight = &status["sight"]["camera"];
    assert_eq!((&sight["looked"], &sight["refused"], &sight["dropped"]), (&12.into(), &1.into(), &0.into()));
    assert!(sight["trouble"].is_null() && status["model"]["name"] == "weir-floor", "{status}");
    let health = topics[2].rows();
    let last = health.iter().rfind(|h| h["kind"] == "camera").unwrap();
    assert_eq!((&last["frames_refused"], &last["model_sha256"]), (&1.into(), &status["model"]["sha256"]));
}

/// Codes are read where the model sees one, and where it sees none as without it.
#[test]
fn a_model_and_codes_share_a_frame() {
    let folder = tempfile::tempdir().unwrap();
    let settings = format!("[detect]\n{}", camera("[camera.barcodes]\nformats = ['EAN13']\n"));
    let (topics, status) = played(folder.path(), &settings, &[(0, belt(Some(EAN))), (1_000, belt(None))]);
    let scans = topics[SCANS].rows();
    assert_eq!((scans.len(), &scans[0]["barcode"]), (1, &EAN.into()));
    let rows = topics[DETECTIONS].rows();
    assert!(rows.len() >= 2 && rows.iter().any(|r| r["brand"].is_null()), "{rows:?}");
    assert_eq!(status["sight"]["camera"]["looked"], 2);
}

fn opened(rest: &str) -> Result<Option<Eyes>> {
    Eyes::open(&config(Path::new("none"), rest))
}

fn wanted(number: i64, bytes: &[u8]) -> Wanted {
    let at = number * 1_000;
    let time = DeviceTime { boot: [0; 16], wall_us: at, boot_us: at, synced: true };
    Wanted { camera: 0, bytes: bytes.to_vec(), time, now_us: at, kept: None }
}

const SLOW: &[u8] = b"slow";

/// Looks as the device does, but the look at `SLOW` lasts until it is stopped.
fn slow_at_one(config: &Config) -> Pool<Job, Answer> {
    let barcodes: Vec<_> = config.cameras.iter().map(|c| c.barcodes.clone().unwrap()).collect();
    let settings = PoolSettings { threads: 1, queue_max: INSIDE_MAX as usize, limit: LIMIT * 30 };
    let make = move || -> Result<Box<dyn Worker<Job, Answer>>> {
        let readers = barcodes.iter().map(|b| Reading::open(b).map(Some)).collect::<Result<_>>()?;
        let mut look = Recipe { model: None, readers }.look()?;
        Ok(Box::new(move |job: Job, stop: &Stop| {
            while !stop.is_stopped() {
                if job.bytes != SLOW {
                    return look.work(job, stop);
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(look::too_slow(LIMIT))
        }))
    };
    Pool::start(settings, make).unwrap()
}

/// Eyes of `count` cameras that read codes.
fn slow_eyes(count: usize) -> Eyes {
    let codes = "[camera.barcodes]\nformats = ['EAN13']\n";
    let cameras: Vec<String> = (0..count).map(|n| camera(&format!("name = 'c{n}'\n{codes}"))).collect();
    let config = config(Path::new("none"), &cameras.concat());
    let mut eyes = Eyes::open(&config).unwrap().unwrap();
    eyes.pool = slow_at_one(&config);
    eyes
}

#[test]
fn newer_frames_replace_older_ones_and_what_takes_too_long_is_given_up() {
    let mut eyes = slow_eyes(1);
    let jpeg = belt(Some(EAN));
    for number in 0..7 {
        eyes.put(wanted(number, if number == 6 { SLOW } else { &jpeg }));
    }
    assert_eq!(eyes.state(0).unwrap().dropped, 6);
    assert_eq!(eyes.oldest(SCANS).map(|t| t.wall_us), Some(6_000), "the newest is left");
    assert_eq!(eyes.oldest(DETECTIONS), None);
    // The thread takes one; after the limit it is given up.
    assert!(eyes.turn(0).is_none());
    (7..10).for_each(|number| eyes.put(wanted(number, &jpeg)));
    assert_eq!(eyes.state(0).unwrap().dropped, 8);
    let late = eyes.turn(LIMIT.as_micros() as i64 + 1).unwrap();
    assert_eq!((late.time.wall_us, late.codes.len()), (6_000, 0));
    let state = eyes.state(0).unwrap().clone();
    assert_eq!((state.looked, state.refused), (1, 1));
    assert!(state.trouble.unwrap().contains("not done within 20000 ms"));
    assert_eq!(eyes.oldest(SCANS).map(|t| t.wall_us), Some(9_000), "the newest one is within");
    let rest = eyes.settle(0);
    let times: Vec<i64> = rest.iter().map(|s| s.time.wall_us).collect();
    assert_eq!((times, rest[0].codes.len()), (vec![9_000], 1));
    assert!(!eyes.busy() && eyes.oldest(SCANS).is_none() && eyes.state(0).unwrap().trouble.is_none());
    eyes.put(wanted(10, b"no image"));
    assert_eq!(eyes.settle(0).len(), 1);
    assert_eq!(eyes.state(0).unwrap().refused, 2);
}

/// Ten frames a second are read for codes, one of them is sent and has rows: it is not the one that goes.
#[test]
fn a_frame_that_is_only_read_takes_no_rows_of_one_that_was_sent() {
    let mut eyes = slow_eyes(1);
    let sent = |number: i64| {
        let kept = Kept { event_id: format!("e{number}"), frame_id: String::new(), frame_uri: None };
        Wanted { kept: Some(kept), ..wanted(number, b"no image") }
    };
    let waits = |eyes: &Eyes| eyes.oldest(SCANS).map(|t| t.wall_us);
    eyes.put(sent(1));
    eyes.put(wanted(2, b"no image"));
    assert_eq!(waits(&eyes), Some(2_000), "without a model all are equal");
    eyes.model = Some(ModelName { name: "m".into(), sha256: String::new(), engine: String::new() });
    eyes.put(sent(3));
    (4..9).for_each(|number| eyes.put(wanted(number, b"no image")));
    assert_eq!((waits(&eyes), eyes.oldest(DETECTIONS).is_some()), (Some(3_000), true));
    eyes.put(sent(9));
    assert_eq!((waits(&eyes), eyes.state(0).unwrap().dropped), (Some(9_000), 8));
}

/// However fast the others are, a camera's frame waits for one look at each of them at most.
#[test]
fn cameras_take_turns() {
    let mut eyes = slow_eyes(3);
    let mut number = 0;
    let mut order = Vec::new();
    for _ in 0..7 {
        // Cameras 0 and 1 have a new frame before each look, 1 always the older one; 2 has one in a while.
        for camera in if order.len() % 3 == 1 { vec![2, 1, 0] } else { vec![1, 0] } {
            number += 1;
            eyes.put(Wanted { camera, ..wanted(number, b"no image") });
        }
        let wanted = eyes.next().unwrap();
        assert!(number - wanted.time.wall_us / 1_000 < 3 * 3, "at most three looks old");
        order.push(wanted.camera);
    }
    assert_eq!(order, [0, 1, 2, 0, 1, 2, 0]);
    let dropped = [0, 1, 2].map(|camera| eyes.state(camera).unwrap().dropped);
    assert_eq!(dropped, [4, 4, 0]);
}

#[test]
fn one_look_at_a_known_code_is_enough() {
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("codes.txt");
    std::fs::write(&list, format!("0000000000000\n{EAN}\n")).unwrap();
    let codes = format!("[camera.barcodes]\nformats = ['EAN13']\nknown = {list:?}\n");
    let mut eyes = opened(&camera(&codes)).unwrap().unwrap();
    eyes.put(wanted(0, &belt(Some(EAN))));
    let seen = eyes.settle(0);
    assert_eq!((seen[0].codes.len(), seen[0].codes[0].reads), (1, 1), "{seen:?}");
}

#[test]
fn what_cannot_be_opened_is_told_before_anything_runs() {
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("broken.onnx");
    std::fs::write(&broken, b"not a model").unwrap();
    let zeros = "0".repeat(64);
    for (detect, code, word) in [
        ("model = '/no/such.onnx'".to_owned(), Code::NoModel, "/no/such.onnx"),
        (format!("model = {broken:?}"), Code::BadModel, "broken.onnx"),
        (format!("sha256 = '{zeros}'"), Code::ModelChanged, "weir-floor.onnx"),
        ("runtime = 'libonnxruntime.so'".to_owned(), Code::NoRuntime, "not absolute"),
        ("runtime = '/no/libonnxruntime.so'".to_owned(), Code::NoRuntime, "/no/libonnxruntime.so"),
    ] {
        let error = opened(&format!("[detect]\n{detect}\n{}", camera(""))).err().unwrap();
        assert_eq!(error.code(), code, "{error}");
        assert!(error.to_string().contains(word), "{error}");
    }
    let codes = "[camera.barcodes]\nformats = ['QR']\nknown = '/no/codes.txt'\n";
    let error = opened(&camera(codes)).err().unwrap();
    assert!(error.code() == Code::BadFile && error.to_string().contains("/no/codes.txt"), "{error}");
    assert!(opened(&camera("")).unwrap().is_none(), "nothing is asked for, nothing is opened");
}
