//! The detector as a process: frames in the embedded log, the real ONNX Runtime, the shipped model.
//!
//! Needs the library that `make onnxruntime` fetches.

#[path = "../../vision/tests/corpus/mod.rs"]
mod corpus;
#[path = "detect/world.rs"]
mod world;

use std::path::Path;

use serde_json::Value;
use weir_engine::sql::catalog::{ColumnSpec, Script};
use weir_engine::sql::{load, read};
use weir_render::domain::Domain;
use weir_render::scene::Scene;
use weir_render::{Picture, Truth, render};
use weir_vision::store::Store;
use world::{Carried, World, ended, shipped, until};

/// Drawn frames with their truth; the last one shows an empty belt.
fn pictures(count: u64) -> Vec<Picture> {
    let scene = |seed: u64| -> Scene {
        let scene = Domain::HeldOut.scene(900 + seed);
        match seed + 1 == count {
            true => Scene { parcels: Vec::new(), blobs: Vec::new(), ..scene },
            false => scene,
        }
    };
    (0..count).map(|seed| render(&scene(seed), (384, 288), seed).unwrap()).collect()
}

fn jpegs(pictures: &[Picture]) -> Vec<Vec<u8>> {
    pictures.iter().map(|p| p.jpeg().unwrap()).collect()
}

fn inline(jpegs: &[Vec<u8>]) -> Vec<Carried> {
    jpegs.iter().cloned().map(Carried::Bytes).collect()
}

/// The number of the frame that a detection is of.
fn frame_of(row: &Value) -> usize {
    row["event_id"].as_str().unwrap().split('/').nth(2).unwrap().parse().unwrap()
}

/// Rows without where their image was.
fn without_uri(lines: &[(u32, String, Value)]) -> Vec<(u32, String, Value)> {
    let one = |(partition, id, row): &(u32, String, Value)| {
        let mut row = row.clone();
        row["frame_uri"] = Value::Null;
        (*partition, id.clone(), row)
    };
    lines.iter().map(one).collect()
}

#[test]
fn frames_become_the_same_detections_inline_and_by_uri_however_they_are_cut() {
    let pictures = pictures(24);
    let jpegs = jpegs(&pictures);
    let mut first = None;
    for (batch, workers, stored) in [("1", "1", false), ("7", "4", true), ("64", "2", false)] {
        let world = World::new();
        let folder = world.path("frames");
        let frames = match stored {
            false => inline(&jpegs),
            true => jpegs.iter().map(|b| Carried::Uri(Store::new(&folder).put(b).unwrap())).collect(),
        };
        world.frames(3, &frames);
        let summary =
            world.detect(&["--batch-rows", batch, "--workers", workers], &[("WEIR_FRAMES", &folder)]);
        assert_eq!(summary["sources"]["frames"]["processed"], 24, "{summary}");
        assert_eq!(summary["rejected_images"], serde_json::json!({}), "{summary}");
        let found = world.lines("detections");
        for (_, _, row) in &found {
            assert_eq!(row["frame_uri"].is_string(), stored, "{row}");
        }
        let found = without_uri(&found);
        assert!(first.get_or_insert_with(|| found.clone()) == &found, "batches of {batch}: other bytes");
    }
    let found = first.unwrap();
    let model = weir_vision_sha256();
    let (mut marks, mut right) = (0, 0);
    for (n, picture) in pictures.iter().enumerate() {
        let rows: Vec<&Value> =
            found.iter().map(|(_, _, row)| row).filter(|row| frame_of(row) == n).collect();
        assert!(!rows.is_empty(), "frame {n} has no row");
        for row in &rows {
            assert_eq!(
                (&row["model"], row["model_sha256"].as_str()),
                (&"weir-floor".into(), Some(model.as_str()))
            );
            assert!(row["brand"] != "parcel" && row["brand"] != "barcode", "{row}");
            let partition = n % 3;
            assert_eq!(row["warehouse"], format!("W{partition}"));
            let number = |name: &str| row[name].as_f64();
            let Some(brand) = row["brand"].as_str() else {
                assert_eq!(rows.len(), 1, "a row without a brand stands alone");
                assert!(row["event_id"].as_str().unwrap().ends_with("/0") && number("x1").is_none(), "{row}");
                continue;
            };
            let (x1, y1) = (number("x1").unwrap(), number("y1").unwrap());
            let (x2, y2) = (number("x2").unwrap(), number("y2").unwrap());
            assert!(0.0 <= x1 && x1 < x2 && x2 <= 384.0 && 0.0 <= y1 && y1 < y2 && y2 <= 288.0, "{row}");
            marks += 1;
            let there = |t: &Truth| t.class.name() == brand && overlap(row, t) > 0.4;
            right += u32::from(picture.truth.iter().any(there));
        }
    }
    // The empty belt: one row, no brand.
    let last: Vec<_> = found.iter().filter(|(_, _, row)| frame_of(row) == 23).collect();
    assert!(last.len() == 1 && last[0].2["brand"].is_null(), "{last:?}");
    println!("{marks} brands told, {right} of them right");
    assert!(marks >= 10 && right * 10 >= marks * 6, "{marks} brands told, {right} of them right");
}

/// Area of both over the area of either.
fn overlap(row: &Value, truth: &Truth) -> f64 {
    let n = |name: &str| row[name].as_f64().unwrap();
    let (x1, y1, x2, y2) = (n("x1"), n("y1"), n("x2"), n("y2"));
    let b = truth.bounds;
    let (w, h) = (x2.min(b.x2.into()) - x1.max(b.x1.into()), y2.min(b.y2.into()) - y1.max(b.y1.into()));
    let both = w.max(0.0) * h.max(0.0);
    both / ((x2 - x1) * (y2 - y1) + f64::from(b.width() * b.height()) - both)
}

/// Boxes stand where things are, in pixels of the frame: a detector of parcels, whatever the brands.
#[test]
fn parcels_are_found_where_they_are() {
    let world = World::new();
    let pictures = pictures(24);
    world.frames(1, &inline(&jpegs(&pictures)));
    let text = std::fs::read_to_string(world.path("detect.sql")).unwrap();
    let parcels =
        text.replace("d.label NOT IN ('parcel', 'barcode')", "d.label = 'parcel' AND d.confidence > 0.5");
    assert_ne!(parcels, text);
    std::fs::write(world.path("detect.sql"), parcels).unwrap();
    world.detect(&[], &[]);
    let rows: Vec<Value> = world.lines("detections").into_iter().map(|(_, _, row)| row).collect();
    let (mut there, mut found, mut told) = (0, 0, 0);
    for (n, picture) in pictures.iter().enumerate() {
        let own: Vec<&Value> = rows.iter().filter(|r| frame_of(r) == n && r["brand"].is_string()).collect();
        let parcels: Vec<&Truth> = picture.truth.iter().filter(|t| t.class.name() == "parcel").collect();
        told += own.len();
        there += parcels.len();
        found += parcels.iter().filter(|t| own.iter().any(|row| overlap(row, t) > 0.6)).count();
    }
    println!("{there} parcels, {found} found, {told} told");
    assert!(there >= 20 && found * 10 >= there * 8 && told * 10 <= there * 13, "{there}, {found}, {told}");
}

/// Of the shipped model, by its card's way.
fn weir_vision_sha256() -> String {
    use sha2::Digest;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../vision/model/weir-floor.onnx");
    sha2::Sha256::digest(std::fs::read(path).unwrap()).iter().map(|b| format!("{b:02x}")).collect()
}

/// Images that no camera should send, with the code that each is refused with.
fn hostile() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let whole = corpus::Jpeg::plain(64, 48).bytes();
    let sized = |width: u16, height: u16| {
        let mut bytes = whole.clone();
        let sof = bytes.windows(2).position(|w| w == [0xFF, 0xC0]).unwrap();
        bytes[sof + 5..sof + 7].copy_from_slice(&height.to_be_bytes());
        bytes[sof + 7..sof + 9].copy_from_slice(&width.to_be_bytes());
        bytes
    };
    let mut deep = whole.clone();
    let sof = deep.windows(2).position(|w| w == [0xFF, 0xC0]).unwrap();
    deep[sof + 4] = 12;
    let bomb = corpus::deflate_zeros(1 << 28);
    let rows = corpus::png_rows(&corpus::picture(8, 8, 3), 24);
    let mut sum = corpus::png_of(8, 8, 8, 2, false, &[], &corpus::deflate(&rows));
    let at = sum.len() - 20;
    sum[at] ^= 1;
    let mut noise = corpus::Chance(7);
    vec![
        ("no image", b"GIF89a and so on".to_vec(), "W0801"),
        ("text", b"{\"brand\":\"Alba\"}".to_vec(), "W0801"),
        ("noise", (0..5000).map(|_| noise.word() as u8).collect(), "W0801"),
        ("nothing", Vec::new(), "W0801"),
        ("half a JPEG", whole[..whole.len() / 2].to_vec(), "W0801"),
        ("only a header", whole[..20].to_vec(), "W0801"),
        ("50000×50000 JPEG", sized(50_000, 50_000), "W0802"),
        ("0×16", sized(0, 16), "W0801"),
        (
            "50000×50000 PNG",
            corpus::png_of(50_000, 50_000, 8, 2, false, &[], &corpus::deflate(&[0; 64])),
            "W0802",
        ),
        ("8192×8192 bomb", corpus::png_of(8192, 8192, 8, 2, false, &[], &bomb), "W0802"),
        ("12 bits", deep, "W0801"),
        ("a wrong checksum", sum, "W0801"),
    ]
}

#[test]
fn hostile_images_are_counted_and_listed_and_the_others_go_on() {
    let good: Vec<Vec<u8>> = corpus::good().into_iter().map(|(_, bytes)| bytes).collect();
    let bad = hostile();
    // Good ones before, between and behind the bad ones; a gigabyte of zeros behind one pixel is a good one.
    let bomb = corpus::png_of(1, 1, 8, 2, false, &[], &corpus::deflate_zeros(1 << 28));
    let mut frames = vec![bomb];
    for (n, image) in good.iter().enumerate() {
        frames.push(image.clone());
        frames.extend(bad.get(n).map(|(_, bytes, _)| bytes.clone()));
    }
    let world = World::new();
    world.frames(2, &inline(&frames));
    let summary = world.detect(&["--batch-rows", "5"], &[]);
    let counts = &summary["sources"]["frames"];
    assert_eq!(counts["rows"], frames.len(), "an image that is refused is a row of its source: {counts}");
    assert_eq!((&counts["rejects"], &counts["late"]), (&0.into(), &0.into()), "{counts}");
    assert_eq!(summary["rejected_images"]["detections"], bad.len(), "{summary}");
    assert!(summary["peak_bytes"].as_u64().unwrap() < 900 << 20, "{summary}");
    let listed = world.lines("dev.detections.rejected");
    assert_eq!(listed.len(), bad.len());
    for (name, bytes, code) in &bad {
        let n = frames.iter().position(|f| f == bytes).unwrap();
        let of = |row: &&Value| row["row"]["event_id"] == format!("d{}/b/{n}", n % 2);
        let row =
            listed.iter().map(|(_, _, row)| row).find(of).unwrap_or_else(|| panic!("{name} is not listed"));
        assert_eq!(row["code"], *code, "{name}: {row}");
        assert_eq!((&row["table"], &row["size"]), (&"detections".into(), &bytes.len().into()), "{name}");
        assert_eq!((&row["partition"], &row["offset"]), (&(n % 2).into(), &(n / 2).into()), "{name}");
        assert!(row["reason"].as_str().is_some_and(|r| r.len() > 10), "{row}");
    }
    let mut seen: Vec<usize> = world.lines("detections").iter().map(|(_, _, row)| frame_of(row)).collect();
    seen.sort_unstable();
    seen.dedup();
    let refused = |n: &usize| bad.iter().any(|(_, bytes, _)| *bytes == frames[*n]);
    assert_eq!(
        seen,
        (0..frames.len()).filter(|n| !refused(n)).collect::<Vec<_>>(),
        "no row from a refused image"
    );
}

#[test]
fn a_stored_frame_that_is_gone_or_altered_is_refused_and_a_store_that_is_not_named_stops_the_run() {
    let world = World::new();
    let jpegs = jpegs(&pictures(4));
    let folder = world.path("frames");
    let store = Store::new(&folder);
    let uris: Vec<String> = jpegs.iter().map(|b| store.put(b).unwrap()).collect();
    let of = |uri: &str| folder.join(&uri[7..9]).join(&uri[7..]);
    std::fs::remove_file(of(&uris[1])).unwrap();
    std::fs::write(of(&uris[2]), &jpegs[0]).unwrap();
    let mut frames: Vec<Carried> = uris.into_iter().map(Carried::Uri).collect();
    frames.push(Carried::Uri("file:///etc/passwd".into()));
    world.frames(1, &frames);
    let said = world.run(&["run", "detect.sql", "--data", "data"], &[]);
    assert_eq!(said.code, Some(1), "{}", said.err);
    assert!(said.err.contains("W0204") && said.err.contains("WEIR_FRAMES"), "{}", said.err);
    let away = world.path("not-mounted");
    let said = world.run(&["run", "detect.sql", "--data", "data"], &[("WEIR_FRAMES", &away)]);
    assert_eq!(said.code, Some(1), "{}", said.err);
    assert!(said.err.contains("W0501") && said.err.contains("not-mounted"), "{}", said.err);
    // It goes on once the store is there, with nothing lost and nothing told twice.
    let summary = world.detect(&[], &[("WEIR_FRAMES", &folder)]);
    assert_eq!(summary["rejected_images"]["detections"], 3, "{summary}");
    let mut codes: Vec<String> = world
        .lines("dev.detections.rejected")
        .iter()
        .map(|(_, _, row)| format!("{} {}", row["offset"], row["code"].as_str().unwrap()))
        .collect();
    codes.sort();
    assert_eq!(codes, ["1 W0811", "2 W0812", "4 W0811"]);
    let mut seen: Vec<usize> = world.lines("detections").iter().map(|(_, _, row)| frame_of(row)).collect();
    seen.dedup();
    assert_eq!(seen, [0, 3]);
}

#[test]
fn killed_and_started_again_each_frame_is_told_once() {
    // So many that most of them are still to be looked at when the third kill comes.
    let jpegs = jpegs(&pictures(100));
    let whole = World::new();
    whole.frames(2, &inline(&jpegs));
    whole.detect(&[], &[]);
    let wanted = whole.lines("detections");
    let world = World::new();
    world.frames(2, &inline(&jpegs));
    let args = ["run", "detect.sql", "--data", "data", "--checkpoint-every", "0.1", "--batch-rows", "2"];
    for part in 1..=3 {
        let mut child = world.start(&args, &[]);
        until("detections", || {
            world.lines("detections").len() >= part * wanted.len() / 10 || child.try_wait().unwrap().is_some()
        });
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let before = world.lines("detections").len();
    assert!((1..wanted.len()).contains(&before), "{before} of {} rows under three kills", wanted.len());
    world.detect(&[], &[]);
    assert!(
        world.lines("detections") == wanted,
        "{} rows, {} wanted",
        world.lines("detections").len(),
        wanted.len()
    );
}

#[test]
fn the_shipped_program_runs_until_it_is_stopped_and_its_rows_are_never_late() {
    let world = World::new();
    world.frames(2, &inline(&jpegs(&pictures(12))));
    let program = shipped().display().to_string();
    let mut child = world.start(&["run", &program, "--data", "data"], &[]);
    until("all frames", || {
        let rows = world.lines("detections");
        (0..12).all(|n| rows.iter().any(|(_, _, row)| frame_of(row) == n))
    });
    // The heartbeat behind the frames has to come through, too.
    std::thread::sleep(std::time::Duration::from_secs(2));
    assert_eq!(ended(&mut child), Some(0), "a clean stop");
    let rows = world.lines("detections").len();
    // What the rules read: the table of the pack, with an end.
    let table = read_by_rules().replace("topic = 'detections',", "topic = 'detections', until = 'end',");
    let reader = format!("{table}\nSELECT event_id FROM detections;\n");
    std::fs::write(world.path("reader.sql"), reader).unwrap();
    let said = world.run(&["run", "reader.sql", "--data", "data"], &[]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    let counts = said.summary()["sources"]["detections"].clone();
    assert_eq!(counts["processed"], rows, "{counts}");
    for none in ["late", "rejects", "duplicates"] {
        assert_eq!(counts[none], 0, "{counts}");
    }
    assert!(counts["heartbeats"].as_u64().unwrap() >= 2, "{counts}");
}

/// The table `detections` as the rules of the pack declare it.
fn read_by_rules() -> String {
    let pack = std::fs::read_to_string(shipped().with_file_name("streams.sql")).unwrap();
    let table = pack.split("CREATE TABLE ").find(|t| t.starts_with("detections (")).unwrap();
    format!("CREATE TABLE {}", table.split_inclusive(';').next().unwrap())
}

#[test]
fn the_detector_runs_beside_the_rules_and_its_fault_is_not_theirs() {
    let world = World::new();
    let jpegs = jpegs(&pictures(12));
    world.frames(2, &inline(&jpegs));
    let rule = "CREATE RULE looked WITH (kind = 'event', key = 'station', severity = 'low') AS
        SELECT warehouse, station, captured_at AS event_time, brand, frame_id FROM detections;";
    std::fs::write(world.path("rules.sql"), format!("{}\n{rule}\n", read_by_rules())).unwrap();
    let program = shipped().display().to_string();
    let args = ["run", "rules.sql", "--beside", &program, "--data", "data"];
    let mut child = world.start(&args, &[]);
    let told = || world.lines("dev.events.rules").len();
    until("events of all frames", || {
        let rows = world.lines("detections");
        (0..12).all(|n| rows.iter().any(|(_, _, row)| frame_of(row) == n)) && told() == rows.len()
    });
    let rows = told();
    assert_eq!(ended(&mut child), Some(0), "{}", world.said());
    let said = world.said();
    for (program, table) in [("detect", "frames"), ("rules", "detections")] {
        let summaries = said.lines().filter_map(|l| serde_json::from_str::<Value>(l).ok());
        let own = summaries.into_iter().find(|s| s["program"] == program).unwrap_or_else(|| panic!("{said}"));
        assert_eq!(own["sources"][table]["late"], 0, "{own}");
    }
    assert!(rows >= 12, "{rows}");
    // A frame that is stored, and no store: the detector stops, the rules go on.
    world.frames_from(1000, 2, &[Carried::Uri(format!("sha256:{:064}", 0))]);
    let mut child = world.start(&args, &[]);
    until("fault of the detector", || world.said().contains("W0204"));
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert!(child.try_wait().unwrap().is_none(), "the rules go on: {}", world.said());
    assert_eq!(ended(&mut child), Some(1), "it is said in the end, too");
    assert!(world.said().contains("program detect stopped, the others go on"), "{}", world.said());
    assert_eq!(told(), rows);
}

#[test]
fn what_is_wrong_with_a_model_is_told_before_anything_starts() {
    let world = World::new();
    world.frames(1, &[]);
    let folder = world.path("models");
    std::fs::create_dir_all(&folder).unwrap();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../vision/model/weir-floor.onnx");
    let whole = std::fs::read(shipped).unwrap();
    let broken = folder.join("weir-floor.onnx");
    let check = |environment: &[(&str, &Path)], code: &str, words: &[&str]| {
        for command in ["check", "run"] {
            let said = world.run(&[command, "detect.sql"], environment);
            assert_eq!(said.code, Some(1), "{command}: {}", said.err);
            assert!(said.err.contains(code), "{command}: {}", said.err);
            assert!(words.iter().all(|w| said.err.contains(w)), "{command}: {}", said.err);
            assert!(!world.path("data/detect.lock").exists(), "nothing was started");
        }
    };
    let models = ("WEIR_MODELS", folder.as_path());
    std::fs::write(&broken, &whole[..whole.len() / 2]).unwrap();
    check(&[models], "W0805", &["weir-floor.onnx", "detect.sql:"]);
    std::fs::write(&broken, b"").unwrap();
    check(&[models], "W0805", &["weir-floor.onnx"]);
    std::fs::remove_file(&broken).unwrap();
    let text = std::fs::read_to_string(world.path("detect.sql")).unwrap();
    std::fs::write(world.path("detect.sql"), text.replace("weir-floor", "other")).unwrap();
    check(&[models], "W0804", &["other.onnx", "WEIR_MODELS"]);
    std::fs::write(world.path("detect.sql"), text).unwrap();
    check(
        &[("WEIR_ORT_LIB", Path::new("/nowhere/libonnxruntime.so"))],
        "W0803",
        &["/nowhere/libonnxruntime.so"],
    );
    let well = world.run(&["check", "detect.sql"], &[models]);
    assert_eq!(well.code, Some(0), "{}", well.err);
}

#[test]
fn the_pack_leaves_the_detector_out_and_reads_what_it_writes() {
    let script = |path: &Path| -> Script { read(&load(path).unwrap()).unwrap() };
    let pack = script(shipped().parent().unwrap());
    assert!(pack.inserts.is_empty() && pack.tables.iter().all(|t| t.name != "frames"));
    let own = script(&shipped());
    let columns = |script: &Script| -> Vec<(String, String)> {
        let table = script.tables.iter().find(|t| t.name == "detections").unwrap();
        let one = |c: &ColumnSpec| (c.name.clone(), format!("{} {}", c.data_type, c.nullable));
        table.columns.iter().map(one).collect()
    };
    assert_eq!(columns(&own), columns(&pack));
    let read = pack.tables.iter().find(|t| t.name == "detections").unwrap();
    assert_eq!(read.idle_after, None, "a slow detector makes its readers wait, never its rows late");
}
