//! `detect()` in a running program: rows, refused images, and the same bytes however they are cut.
//!
//! The detector here reads images whose bytes say what is in them (`b1 0.9 1 2 3 4;…`), so that a naive twin
//! knows every row; what ONNX makes of pixels is tested where the model is (`server`, `vision`).

#[allow(dead_code, reason = "shared with other tests")]
mod small;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};
use small::{SECOND, START, Small};
use weir_contract::{Code, Error, EventTime, Result};
use weir_engine::connect::memory::MemoryRecord;
use weir_engine::detect::{Detector, Detectors, Found, Image};
use weir_engine::run::{Options, Stop};
use weir_engine::sql::plan::explain::explain;
use weir_engine::sql::plan::ir::Op;
use weir_engine::sql::plan::plan_with;
use weir_engine::sql::{SourceFile, read};

const TABLES: &str = "
CREATE TABLE frames (
  event_id TEXT NOT NULL METADATA FROM 'header.event_id', warehouse TEXT NOT NULL METADATA FROM 'header.warehouse',
  image BYTEA, frame_uri TEXT METADATA FROM 'header.frame_uri',
  captured_at TIMESTAMP NOT NULL METADATA FROM 'header.captured_at',
  WATERMARK FOR captured_at AS captured_at - INTERVAL '2 seconds')
WITH (connector = 'memory', type = 'source', format = 'raw_bytes', append_time = 'producer') PARTITIONED BY (warehouse);
CREATE TABLE detections (id TEXT, warehouse TEXT, frame_uri TEXT, at TIMESTAMP, brand TEXT, confidence DOUBLE, x1 DOUBLE,
  y2 DOUBLE, model TEXT, model_sha256 TEXT) WITH (connector = 'memory', type = 'sink');
";

fn insert(from: &str) -> String {
    format!(
        "INSERT INTO detections
         SELECT f.event_id || '/' || coalesce(d.ordinality, 0) AS id, f.warehouse, f.frame_uri, f.captured_at AS at,
           d.label AS brand, d.confidence, d.x1, d.y2, 'says' AS model, model_sha256('says') AS model_sha256
         FROM frames AS f {from};"
    )
}

const LEFT: &str = "LEFT JOIN UNNEST(detect(f.image, 'says', f.frame_uri)) WITH ORDINALITY AS d
                    ON d.label != 'parcel' AND d.confidence > 0.2";

/// Reads what an image says.
#[derive(Default, Clone)]
struct Says(Arc<AtomicU64>);

/// What stands here is part of the program's version.
impl std::fmt::Debug for Says {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("says 5a15")
    }
}

fn look(bytes: &[u8]) -> Result<Vec<Found>> {
    let refused = || Error::new(Code::BadImage, "not_an_image: it says nothing");
    let text = std::str::from_utf8(bytes).map_err(|_| refused())?;
    let one = |part: &str| {
        let mut words = part.split(' ');
        let label = words.next()?.into();
        let mut number = || words.next()?.parse().ok();
        let mut n = || number();
        Some(Found { label, confidence: n()?, x1: n()?, y1: n()?, x2: n()?, y2: n()? })
    };
    text.split(';').filter(|p| !p.is_empty()).map(|p| one(p).ok_or_else(refused)).collect()
}

impl Detector for Says {
    fn model(&self) -> &str {
        "says"
    }

    fn sha256(&self) -> &str {
        "5a15"
    }

    fn detect(&self, images: &[Image<'_>]) -> Result<Vec<Result<Vec<Found>>>> {
        self.0.fetch_add(images.len() as u64, Ordering::Relaxed);
        let one = |image: &Image<'_>| match image {
            Image::Inline(bytes) => look(bytes),
            Image::Stored(uri) => match uri.strip_prefix("store:") {
                Some(text) => look(text.as_bytes()),
                None => Err(Error::new(Code::NoFrame, format!("{uri} is not there"))),
            },
        };
        Ok(images.iter().map(one).collect())
    }
}

struct Models(Says);

impl Detectors for Models {
    fn open(&self, model: &str) -> Result<Arc<dyn Detector>> {
        match model {
            "says" | "also" => Ok(Arc::new(self.0.clone())),
            other => Err(Error::new(Code::NoModel, format!("no model `{other}`")).expected("says")),
        }
    }
}

/// The n-th frame of a partition: its image, or where it is.
fn image(partition: u32, n: i64) -> (Option<String>, Option<String>) {
    let mark = |b: i64| format!("b{b} 0.{} {n} 2 3 4.5", 1 + (n + b) % 9);
    let said = match (i64::from(partition) + n) % 7 {
        0 => String::new(),
        1 => "parcel 0.9 1 2 3 4".to_owned(),
        2 => "no numbers here".to_owned(),
        3 => format!("{};parcel 0.9 1 2 3 4;{}", mark(1), mark(2)),
        _ => (0..n % 4).map(mark).collect::<Vec<_>>().join(";"),
    };
    match n % 5 {
        // An empty value is none: nothing there is refused, not "nothing was seen".
        0 => (None, Some(format!("store:{said}"))),
        1 if n % 3 == 0 => (None, Some("lost".into())),
        2 if n % 11 == 0 => (None, None),
        _ => (Some(said), None),
    }
}

fn frame(partition: u32, n: i64) -> MemoryRecord {
    let (image, uri) = image(partition, n);
    let mut headers = vec![
        ("event_id".to_owned(), format!("d{partition}/{n}").into_bytes()),
        ("warehouse".to_owned(), format!("W{partition}").into_bytes()),
        ("captured_at".to_owned(), EventTime(at(n)).to_string().into_bytes()),
    ];
    headers.extend(uri.map(|u| ("frame_uri".to_owned(), u.into_bytes())));
    MemoryRecord { headers, ..MemoryRecord::value(image.unwrap_or_default()).at(at(n)) }
}

fn at(n: i64) -> i64 {
    START + n * SECOND / 2
}

/// What a frame gives: rows, or why it is refused.
fn naive(partition: u32, n: i64) -> std::result::Result<Vec<Value>, &'static str> {
    let (image, uri) = image(partition, n);
    let image = image.filter(|i| !i.is_empty());
    let found = match (&image, &uri) {
        (Some(text), _) => look(text.as_bytes()).map_err(|_| "W0801")?,
        (None, Some(uri)) => {
            look(uri.strip_prefix("store:").ok_or("W0811")?.as_bytes()).map_err(|_| "W0801")?
        }
        (None, None) => return Err("W0801"),
    };
    let row = |ordinal: usize, found: Option<&Found>| {
        json!({
            "id": format!("d{partition}/{n}/{ordinal}"), "warehouse": format!("W{partition}"), "frame_uri": uri,
            "at": EventTime(at(n)).to_string(), "brand": found.map(|f| f.label.to_string()),
            "confidence": found.map(|f| f.confidence), "x1": found.map(|f| f.x1), "y2": found.map(|f| f.y2),
            "model": "says", "model_sha256": "5a15",
        })
    };
    let all = found.iter().enumerate().filter(|(_, f)| &*f.label != "parcel" && f.confidence > 0.2);
    let rows: Vec<Value> = all.map(|(i, f)| row(i + 1, Some(f))).collect();
    Ok(if rows.is_empty() { vec![row(0, None)] } else { rows })
}

fn world(from: &str, lanes: u32, frames: i64) -> (Small, Says) {
    world_of(&insert(from), lanes, frames)
}

fn world_of(inserts: &str, lanes: u32, frames: i64) -> (Small, Says) {
    let says = Says::default();
    let small = Small::with(&format!("{TABLES}{inserts}"), lanes, &Models(says.clone()));
    small.log.set_until_end("frames", true).unwrap();
    for partition in 0..lanes {
        for n in 0..frames {
            small.log.append("frames", partition, frame(partition, n)).unwrap();
        }
    }
    (small, says)
}

/// Everything that the outputs hold, heartbeats too, in the order in which it stands there.
fn bytes(small: &Small, lanes: u32) -> Vec<String> {
    let mut all = Vec::new();
    for partition in 0..lanes {
        for (_, record) in small.out.records("detections", partition).unwrap() {
            // How often a frontier is told depends on how far each step brings it.
            if let Some(id) = record.id() {
                all.push(format!(
                    "{partition} {id} {}",
                    String::from_utf8_lossy(&record.value.unwrap_or_default())
                ));
            }
        }
    }
    all.extend(small.lines("t.detections.rejected"));
    all
}

#[test]
fn any_cut_into_batches_and_lanes_gives_what_the_twin_gives() {
    const FRAMES: i64 = 150;
    for lanes in 1..=4 {
        let mut first = None;
        for (batch_rows, workers) in [(1, 1), (2, 4), (7, 2), (63, 3), (64, 1), (65, 2), (8192, 4)] {
            let (small, says) = world(LEFT, lanes, FRAMES);
            let report = small.run(Options { batch_rows, workers, ..Small::options(None) }, &Stop::default());
            let counts = report.sources["frames"];
            assert_eq!(
                counts.processed,
                FRAMES as u64 * u64::from(lanes),
                "refused images are rows of their source"
            );
            let found = bytes(&small, lanes);
            assert_eq!(
                first.get_or_insert_with(|| found.clone()),
                &found,
                "{lanes} lanes, batches of {batch_rows}"
            );
            let (mut rows, mut refused) = (Vec::new(), Vec::new());
            for (partition, n) in (0..lanes).flat_map(|p| (0..FRAMES).map(move |n| (p, n))) {
                match naive(partition, n) {
                    Ok(list) => rows.extend(list.iter().map(sorted)),
                    Err(code) => refused.push(format!("{partition} {n} {code}")),
                }
            }
            let mut given: Vec<String> =
                small.lines("detections").iter().map(|l| sorted(&value(l))).collect();
            given.sort();
            rows.sort();
            assert!(given == rows, "{lanes} lanes: {} rows, {} wanted", given.len(), rows.len());
            let mut told: Vec<String> = small
                .lines("t.detections.rejected")
                .iter()
                .map(|l| {
                    let v = value(l);
                    assert_eq!(v["table"], "detections");
                    assert_eq!(v["row"]["event_id"], format!("d{}/{}", v["partition"], v["offset"]));
                    assert!(v["row"].get("image").is_none() && v["reason"].is_string(), "{v}");
                    format!("{} {} {}", v["partition"], v["offset"], v["code"].as_str().unwrap())
                })
                .collect();
            told.sort();
            refused.sort();
            assert_eq!(told, refused);
            assert_eq!(report.rejected["detections"], refused.len() as u64);
            assert!(says.0.load(Ordering::Relaxed) >= rows.len() as u64 / 4, "the detector was asked");
        }
    }
}

fn sorted(value: &Value) -> String {
    value.to_string()
}

/// The value of a line of `Small::lines`.
fn value(line: &str) -> Value {
    serde_json::from_str(line.rsplit_once(' ').unwrap().0).unwrap()
}

#[test]
fn the_kinds_of_joins_keep_what_they_say() {
    let rows = |from: &str| {
        let (small, _) = world(from, 1, 60);
        small.run(Small::options(None), &Stop::default());
        let lines = small.lines("detections");
        let brands: Vec<String> = lines.iter().map(|l| value(l)["brand"].to_string()).collect();
        (lines.len(), brands)
    };
    let of = "detect(f.image, 'says', f.frame_uri)";
    let all = rows(&format!("CROSS JOIN UNNEST({of}) WITH ORDINALITY AS d"));
    assert_eq!(rows(&format!(", UNNEST({of}) WITH ORDINALITY AS d")), all);
    assert_eq!(rows(&format!("JOIN UNNEST({of}) WITH ORDINALITY AS d ON TRUE")), all);
    assert!(all.1.iter().any(|b| b == "\"parcel\"") && all.1.iter().all(|b| b != "null"));
    let kept = rows(&format!(
        "JOIN UNNEST({of}) WITH ORDINALITY AS d ON d.label != 'parcel' AND f.event_id != 'd0/9'"
    ));
    assert!(kept.0 < all.0 && kept.0 > 0 && kept.1.iter().all(|b| b != "\"parcel\"" && b != "null"));
    let left = rows(&format!("LEFT JOIN UNNEST({of}) WITH ORDINALITY AS d ON d.label = 'nobody'"));
    let seen = (0..60).filter(|n| naive(0, *n).is_ok()).count();
    assert_eq!(
        (left.0, left.1.iter().all(|b| b == "null")),
        (seen, true),
        "one row for each frame that was seen"
    );
    // Without a uri a stored image is none.
    let inline = "LEFT JOIN UNNEST(detect(f.image, 'says')) WITH ORDINALITY AS d ON TRUE";
    let (small, _) = world(inline, 1, 60);
    let report = small.run(Small::options(None), &Stop::default());
    assert!(report.rejected["detections"] > 12, "{:?}", report.rejected);
}

#[test]
fn killed_and_started_again_each_frame_is_told_once() {
    told_once(&insert(LEFT));
}

#[test]
fn two_models_over_the_same_frames_tell_each_once_too() {
    let refused = told_once(&insert(LEFT)).len();
    // Both refuse the same images, for the same output.
    let both = told_once(&[insert(LEFT), insert(&LEFT.replace("'says'", "'also'"))].join("\n"));
    assert_eq!(both.len(), 2 * refused);
    let ids: BTreeSet<_> = both.iter().map(|l| l.rsplit_once(' ').unwrap().1).collect();
    assert_eq!(ids.len(), both.len(), "an id stands there twice");
}

/// Kills a run again and again; gives what was refused.
fn told_once(inserts: &str) -> Vec<String> {
    let (whole, _) = world_of(inserts, 3, 120);
    whole.run(Small::options(None), &Stop::default());
    let (small, _) = world_of(inserts, 3, 120);
    let data = tempfile::tempdir().unwrap();
    for kill in 1..6 {
        let stop = Stop::default();
        let options = Options {
            batch_rows: 5,
            checkpoint_every: std::time::Duration::from_millis(5),
            ..Small::options(Some(data.path()))
        };
        std::thread::scope(|scope| {
            let running = scope.spawn(|| small.run(options, &stop));
            while small.lines("detections").len() < kill * 40 && !running.is_finished() {
                std::thread::yield_now();
            }
            stop.kill();
        });
        small.out.kill();
    }
    let report = small.run(Small::options(Some(data.path())), &Stop::default());
    assert!(
        small.outputs() == whole.outputs(),
        "{} and {}",
        small.lines("detections").len(),
        whole.lines("detections").len()
    );
    assert_eq!(
        report.rejected["detections"],
        small.lines("t.detections.rejected").len() as u64,
        "counts go on"
    );
    small.lines("t.detections.rejected")
}

#[test]
fn a_frame_that_a_join_multiplies_is_not_looked_at() {
    let text = format!(
        "{TABLES}
         CREATE VIEW pairs AS SELECT f.event_id, f.warehouse, f.image, f.frame_uri, f.captured_at
         FROM frames AS f JOIN frames AS g ON f.warehouse = g.warehouse
           AND g.captured_at BETWEEN f.captured_at AND f.captured_at + INTERVAL '3 seconds';
         {}",
        insert(LEFT).replace("FROM frames AS f", "FROM pairs AS f")
    );
    let file = SourceFile { name: "t.sql".into(), folder: String::new(), text };
    let errors = plan_with(&read(&[file]).unwrap(), &Models(Says::default())).unwrap_err();
    assert_eq!(errors[0].code(), Code::DetectPlace, "{errors:?}");
}

#[test]
fn readers_never_get_a_row_below_a_heartbeat_and_learn_how_far_it_is() {
    let (small, _) = world(LEFT, 2, 100);
    small.run(Options { batch_rows: 3, ..Small::options(None) }, &Stop::default());
    for partition in 0..2 {
        let (mut told, mut beats) = (i64::MIN, 0);
        for (_, record) in small.out.records("detections", partition).unwrap() {
            match record.headers.iter().find(|(n, _)| n == weir_contract::wire::HEARTBEAT) {
                Some((_, time)) => {
                    let time = EventTime::parse(std::str::from_utf8(time).unwrap()).unwrap().0;
                    assert!(time > told);
                    (told, beats) = (time, beats + 1);
                }
                None => {
                    let row: Value = serde_json::from_slice(&record.value.unwrap()).unwrap();
                    let at = EventTime::parse(row["at"].as_str().unwrap()).unwrap().0;
                    assert!(at >= told, "a row below what was told");
                }
            }
        }
        // 100 frames are 50 s, less the lateness; the end raises the frontier beyond all times.
        assert!(beats >= 30, "{beats}");
        assert!(told >= at(99) - 4 * SECOND, "{}", EventTime(told));
    }
}

#[test]
fn images_end_at_the_detector() {
    let (small, _) = world(LEFT, 1, 1);
    let at = small.plan.nodes.iter().position(|n| matches!(n.op, Op::Detect { .. })).unwrap();
    let names = |node: usize| -> Vec<String> {
        small.plan.nodes[node].stream.schema.fields().iter().map(|f| f.name().clone()).collect()
    };
    assert!(names(small.plan.nodes[at].inputs[0]).contains(&"image".to_owned()));
    assert!(!names(at).contains(&"image".to_owned()), "{:?}", names(at));
    let told = explain(&small.plan, Some("detections")).unwrap();
    assert!(told.contains("ids from source positions"), "{told}");
    assert!(told.contains("left; model says") && told.contains("holds nothing; where"), "{told}");
}
