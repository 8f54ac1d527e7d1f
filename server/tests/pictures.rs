//! The demo from pictures, whole: frames are drawn, agents send them, a detector looks, the rules decide.
//!
//! Needs `weir-edge` beside the server's binary and ONNX Runtime (`make onnxruntime`); without them it fails.
//! One seed; `make bench-pictures` plays twenty.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// Incidents that rest on what the detector sees; what it reaches over twenty seeds stands in
/// benches/results/pictures.txt.
const BRAND_KINDS: [&str; 3] = ["wrong_brand", "mixed_brands", "empty_frame"];

fn command(args: &[&str], folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command
        .args(args)
        .current_dir(folder)
        .env_remove("WEIR_ENV")
        .env_remove("WEIR_LOG")
        .env_remove("RUST_LOG")
        .stdin(Stdio::null());
    command
}

fn weir(args: &[&str], folder: &Path) -> (String, String) {
    let done = command(args, folder).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let (out, err) = (text(done.stdout), text(done.stderr));
    assert!(done.status.success(), "{args:?}\n{out}\n{err}");
    (out, err)
}

fn ended(args: &[&str], folder: &Path) -> (Option<i32>, String) {
    let done = command(args, folder).output().unwrap();
    (done.status.code(), String::from_utf8(done.stderr).unwrap())
}

fn count(of: &Value, kind: &str) -> u64 {
    of[kind].as_u64().unwrap()
}

fn pictures_of(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut found: Vec<PathBuf> =
        entries.map(|e| e.unwrap().path()).filter(|p| p.extension().is_some()).collect();
    found.sort();
    found
}

#[test]
fn from_pictures_to_events() {
    let agent = Path::new(env!("CARGO_BIN_EXE_weir")).with_file_name("weir-edge");
    assert!(agent.exists(), "{} is missing: cargo build -p weir-edge", agent.display());
    let folder = tempfile::tempdir().unwrap();
    let args = ["demo", "--seed", "7", "--minutes", "11", "--speed", "max", "--data", "data", "--json"];
    let (out, err) = weir(&args, folder.path());
    let summary: Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
    let seen = &summary["pictures"];
    assert!(seen.is_object(), "{out}\n{err}");

    // Nothing is lost or late on the way.
    assert!(count(seen, "frames") > 450, "{seen}");
    assert_eq!((count(seen, "late"), count(seen, "rejects")), (0, 0), "{seen}");

    // What a scanner and a clock say rests on no model.
    for kind in ["unknown_barcode", "bad_check_digit", "double_scan", "silent_camera", "dead_agent"] {
        let of = |what: &str| seen[what][kind].as_u64().unwrap();
        assert_eq!((of("found"), of("missed"), of("false")), (of("planted"), 0, 0), "{kind}: {seen}");
    }
    assert_eq!(count(&seen["planted"], "silent_camera"), 1);
    let planted: u64 = BRAND_KINDS.iter().map(|k| count(&seen["planted"], k)).sum();
    let of = |what: &str| -> u64 { BRAND_KINDS.iter().map(|k| count(&seen[what], k)).sum() };
    let (found, wrong) = (of("found"), of("false"));
    assert!(planted >= 5 && found * 10 >= planted * 8 && wrong * 10 <= planted, "{seen}");

    // An event of a station has its picture, and the frame itself.
    let evidence = folder.path().join("data/pictures/evidence");
    let pictures = pictures_of(&evidence);
    assert_eq!(pictures.len() as u64, count(seen, "evidence"));
    assert!(pictures.len() >= 5, "{}", pictures.len());
    let whole = |p: &PathBuf| std::fs::read(p).unwrap().starts_with(&[0xff, 0xd8]);
    assert!(pictures.iter().all(whole));
    assert!(evidence.join("frames").is_dir());

    // The same pictures again, by hand.
    let log = "log:data/pictures/log";
    let again = ["evidence", "dev.events.validation", "--log", log, "--out", "again"];
    weir(&again, folder.path());
    let again = pictures_of(&folder.path().join("again"));
    assert_eq!(again.len(), pictures.len());
    for (one, other) in pictures.iter().zip(&again) {
        assert_eq!(one.file_name(), other.file_name());
        assert_eq!(std::fs::read(one).unwrap(), std::fs::read(other).unwrap(), "{}", one.display());
    }

    // Once kept they need the frames no more; whoever comes later is told what is missing.
    let forgotten = ["evidence", "dev.events.validation", "--log", log, "--frames", "scans", "--out"];
    let (made, told) = weir(&[&forgotten[..], &["again"]].concat(), folder.path());
    assert_eq!(made, "");
    assert!(told.contains(&format!("0 pictures, {} were there before", pictures.len())), "{told}");
    let (code, told) = ended(&[&forgotten[..], &["late"]].concat(), folder.path());
    assert_eq!(code, Some(1));
    assert!(told.contains(": no picture, frame ") && told.contains("W0811"), "{told}");
    assert!(told.contains(&format!("{} whose frame is gone", pictures.len())), "{told}");
    assert_eq!(pictures_of(&folder.path().join("late")), Vec::<PathBuf>::new());

    // No event about a brand says a mismatch while the camera is silent.
    let (events, _) = weir(&["tail", "dev.events.validation", "--log", log], folder.path());
    let (silences, _) = weir(&["tail", "dev.events.devices", "--log", log], folder.path());
    let parsed =
        |text: &str| -> Vec<Value> { text.lines().map(|l| serde_json::from_str(l).unwrap()).collect() };
    let silent: Vec<Value> = parsed(&silences)
        .into_iter()
        .filter(|e| e["rule"] == "camera_silent" && matches!(e["label"].as_str(), Some("NEW" | "CLEARED")))
        .collect();
    assert_eq!(silent.len(), 2, "{silences}");
    let at = |e: &Value| e["event_time"].as_str().unwrap().to_owned();
    let station = |e: &Value| e["key"][0].as_str().unwrap().to_owned();
    let (from, to) = (at(&silent[0]), at(&silent[1]));
    let inside: Vec<Value> = parsed(&events)
        .into_iter()
        .filter(|e| e["rule"] == "brand_mismatch" && station(e) == station(&silent[0]))
        .filter(|e| from < at(e) && at(e) < to)
        .collect();
    assert!(inside.iter().any(|e| e["reason"] == "camera_silent"), "{from} to {to}");
    assert!(inside.iter().all(|e| e["reason"] != "mismatch" && e["reason"] != "mixed"), "{inside:?}");
}

/// Processes whose parent is `parent`: number and command line.
fn children(parent: u32) -> Vec<(u32, String)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        let of = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)).map(str::to_owned);
        if of.as_deref() == Some(&*parent.to_string()) {
            let words = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            found.push((pid, String::from_utf8_lossy(&words).replace('\0', " ")));
        }
    }
    found
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..6_000 {
        if holds() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("not within a minute: {what}");
}

#[test]
fn nothing_outlives_a_demo_that_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let args = ["demo", "--seed", "7", "--minutes", "11", "--speed", "max", "--data", "data", "--json"];
    let mut demo = command(&args, folder.path()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut own = Vec::new();
    until("a log server and two agents", || {
        assert_eq!(demo.try_wait().unwrap(), None, "the demo ended before it was killed");
        own = children(demo.id());
        own.len() == 3 && own.iter().any(|(_, words)| words.contains("log-server"))
    });
    demo.kill().unwrap();
    demo.wait().unwrap();
    for (pid, words) in own {
        // A process that ended may wait for whoever inherits it.
        let state = || std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        until(&words, || state().rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['Z', 'X'])));
    }
}
