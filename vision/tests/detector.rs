//! Models of every layout through every engine that is built in, and everything that may be wrong with
//! a model or with the library that runs it.

mod corpus;
mod onnx;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use corpus::Chance;
use onnx::{Dim, Spec};
use tempfile::TempDir;
use weir_contract::{Code, Error};
use weir_vision::boxes::Area;
use weir_vision::decode::Frame;
use weir_vision::detector::{Backend, Detection, Detector, Layout, Model, Runtime, Settings};
use weir_vision::pool::{Pool, PoolSettings, Worker};
use weir_vision::stop::Stop;

fn library() -> PathBuf {
    Runtime::locate(None).unwrap_or_else(|e| panic!("{e}\nrun `make onnxruntime`"))
}

/// One a process.
fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Runtime::load(&library()).unwrap_or_else(|e| panic!("{e}")))
}

fn backends() -> Vec<Backend<'static>> {
    vec![
        Backend::Ort(runtime()),
        #[cfg(feature = "tract")]
        Backend::Tract,
    ]
}

struct Kept {
    folder: TempDir,
}

impl Kept {
    fn new() -> Kept {
        Kept { folder: TempDir::new().unwrap() }
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn settings(&self, spec: &Spec) -> Settings {
        Settings::new(self.file("m.onnx", &spec.bytes()))
    }
}

fn opened(backend: Backend<'_>, spec: &Spec) -> Model {
    let kept = Kept::new();
    Model::open(backend, kept.settings(spec)).unwrap_or_else(|e| panic!("{e}"))
}

/// Black, with rectangles of one colour.
fn scene(width: u32, height: u32, patches: &[(u32, u32, u32, u32, [u8; 3])]) -> Frame {
    let mut rgb = vec![0; (width * height * 3) as usize];
    for (x, y, w, h, color) in patches {
        for row in *y..y + h {
            for column in *x..x + w {
                let at = ((row * width + column) * 3) as usize;
                rgb[at..at + 3].copy_from_slice(color);
            }
        }
    }
    Frame::new(width, height, rgb).unwrap()
}

fn near(found: &Detection, label: &str, score: f32, area: Area) -> bool {
    let sides = |a: &Area| [a.x1, a.y1, a.x2, a.y2];
    let close = sides(&found.area).iter().zip(sides(&area)).all(|(f, w)| (f - w).abs() < 0.51);
    &*found.label == label && (found.confidence - score).abs() < 1e-3 && close
}

#[test]
fn weirs_own_form_reads_frames_of_any_size_in_batches() {
    let spec = Spec::boxes_v1();
    // Cell (3, 2) of the input is (288, 48) of a frame of 960 × 540, which lies 70 pixels down in it.
    let first = scene(320, 320, &[(96, 64, 32, 32, [255, 0, 0]), (0, 288, 32, 32, [200, 255, 0])]);
    let second = scene(960, 540, &[(288, 66, 96, 96, [255, 255, 0])]);
    for backend in backends() {
        let mut model = opened(backend, &spec);
        assert_eq!((model.info().layout, model.info().input), (Layout::Rows, (320, 320)));
        assert_eq!(model.info().names.iter().map(|n| &**n).collect::<Vec<_>>(), ["low", "high"]);
        assert_eq!(model.info().sha256.len(), 64);
        let frames: Vec<&Frame> = [&first, &second].into_iter().cycle().take(21).collect();
        let found = model.detect(&frames, &Stop::default()).unwrap();
        assert_eq!(found.len(), 21);
        for (number, found) in found.iter().enumerate() {
            if number % 2 == 0 {
                let [best, next] = &found[..] else { panic!("{found:?}") };
                assert!(near(best, "low", 1.0, Area::new(100.0, 66.0, 132.0, 98.0)), "{best:?}");
                let push = 200.0 / 255.0;
                let want = Area::new(4.0 * push, 288.0 + 2.0 * push, 32.0 + 4.0 * push, 320.0);
                assert!(near(next, "high", push, want), "{next:?}");
            } else {
                // Grey rows of the letterbox are 0.447, above the limit: they are cut to the frame.
                let best = &found[0];
                let y = (64.0 - 70.0 + 2.0) * 3.0;
                assert!((best.confidence - 0.9).abs() < 0.12 && &*best.label == "high", "{best:?}");
                assert!((best.area.x1 - 299.5).abs() < 3.0 && best.area.y1 >= 0.0, "{best:?} {y}");
                assert!(found.iter().all(|d| d.area.y2 <= 540.0 && d.area.x2 <= 960.0));
            }
        }
        assert!(model.detect(&[], &Stop::default()).unwrap().is_empty());
    }
}

#[test]
fn an_export_with_suppression_inside_is_read() {
    let frame = scene(320, 240, &[(32, 16, 16, 16, [255, 255, 255])]);
    for backend in backends() {
        let mut model = opened(backend, &Spec::end_to_end());
        assert_eq!((model.info().layout, model.info().input), (Layout::Rows, (320, 240)));
        let found = model.detect(&[&frame], &Stop::default()).unwrap().remove(0);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(near(&found[0], "high's", 1.0, Area::new(36.0, 18.0, 52.0, 34.0)), "{found:?}");
    }
}

#[test]
fn a_raw_export_is_suppressed_by_class() {
    // Two reds side by side are one; a green beside them stays.
    let patches =
        [(96, 96, 32, 32, [255, 0, 0]), (128, 96, 32, 32, [240, 0, 0]), (96, 128, 32, 32, [0, 250, 0])];
    let frame = scene(320, 320, &patches);
    for backend in backends() {
        let mut model = opened(backend, &Spec::raw());
        assert_eq!(model.info().layout, Layout::Raw);
        let found = model.detect(&[&frame], &Stop::default()).unwrap().remove(0);
        let labels: Vec<&str> = found.iter().map(|d| &*d.label).collect();
        assert_eq!(labels, ["red", "green"], "{found:?}");
        let sigmoid = |v: f32| 1.0 / (1.0 + (-v).exp());
        assert!(near(&found[0], "red", sigmoid(5.0), Area::new(68.0, 66.0, 164.0, 162.0)), "{found:?}");
        let kept = Kept::new();
        let mut loose = kept.settings(&Spec::raw());
        loose.overlap_max = 0.9;
        let found = Model::open(backend, loose).unwrap().detect(&[&frame], &Stop::default()).unwrap();
        assert_eq!(found[0].len(), 3, "{found:?}");
    }
}

/// Runs only where both engines are built in.
#[cfg(feature = "tract")]
#[test]
fn the_engines_agree() {
    let mut chance = Chance(7);
    for spec in [Spec::boxes_v1(), Spec::end_to_end(), Spec::raw()] {
        let mut models: Vec<Model> = backends().into_iter().map(|b| opened(b, &spec)).collect();
        let mut boxes = 0;
        for _ in 0..34 {
            let (width, height) = (200 + chance.below(1200) as u32, 200 + chance.below(900) as u32);
            let patches: Vec<_> = (0..12)
                .map(|_| {
                    let (w, h) = (20 + chance.below(100) as u32, 20 + chance.below(80) as u32);
                    let (x, y) = (chance.below((width - w) as usize), chance.below((height - h) as usize));
                    (
                        x as u32,
                        y as u32,
                        w,
                        h,
                        [chance.word() as u8, chance.word() as u8, chance.word() as u8],
                    )
                })
                .collect();
            let frame = scene(width, height, &patches);
            let mut found =
                models.iter_mut().map(|m| m.detect(&[&frame], &Stop::default()).unwrap().remove(0));
            let (a, b) = (found.next().unwrap(), found.next().unwrap());
            assert_same(&a, &b);
            boxes += a.len();
        }
        assert!(boxes > 100, "{boxes}");
    }
}

/// Boxes within half a pixel, scores within a thousandth; what stands at the limit may be there or not.
#[cfg(feature = "tract")]
fn assert_same(a: &[Detection], b: &[Detection]) {
    let limit = 0.3;
    for (ours, theirs) in [(a, b), (b, a)] {
        for one in ours.iter().filter(|d| d.confidence > limit + 1e-3) {
            assert!(
                theirs.iter().any(|t| near(t, &one.label, one.confidence, one.area)),
                "{one:?}\n{theirs:?}"
            );
        }
    }
}

#[track_caller]
fn refused(settings: Settings, code: Code, what: &str) {
    for backend in backends() {
        let error: Error = Model::open(backend, settings.clone()).err().expect("the model was opened");
        assert_eq!(error.code(), code, "{error}");
        assert!(error.to_string().contains(what), "{error}");
        assert!(error.place().is_some(), "{error}");
    }
}

#[test]
fn what_is_wrong_with_a_model_is_said() {
    let kept = Kept::new();
    refused(Settings::new(kept.folder.path().join("none.onnx")), Code::NoModel, "cannot be read");
    refused(Settings::new(kept.folder.path()), Code::NoModel, "cannot be read");
    refused(Settings::new(kept.file("empty.onnx", b"")), Code::BadModel, "does not take it");
    refused(Settings::new(kept.file("text.onnx", b"<html>404</html>")), Code::BadModel, "does not take it");
    let whole = Spec::boxes_v1().bytes();
    refused(
        Settings::new(kept.file("cut.onnx", &whole[..whole.len() / 2])),
        Code::BadModel,
        "does not take it",
    );

    let named = |sha: &str| Settings { sha256: Some(sha.to_owned()), ..kept.settings(&Spec::boxes_v1()) };
    refused(named(&"0".repeat(64)), Code::ModelChanged, "the file's sha256 is");
    let sha = opened(Backend::Ort(runtime()), &Spec::boxes_v1()).info().sha256.clone();
    assert!(Model::open(Backend::Ort(runtime()), named(&sha.to_uppercase())).is_ok());

    let wrong = |change: fn(&mut Spec)| {
        let mut spec = Spec::boxes_v1();
        change(&mut spec);
        kept.settings(&spec)
    };
    let rename = |names: &str| {
        let mut spec = Spec::boxes_v1();
        spec.metadata[1].1 = names.to_owned();
        kept.settings(&spec)
    };
    refused(rename("nonsense"), Code::BadModel, "its metadata `names` cannot be read");
    refused(wrong(|s| s.metadata.clear()), Code::BadModel, "does not name its classes");
    refused(wrong(|s| s.metadata[0].1 = "boxes-v9".into()), Code::BadModel, "its weir_format is `boxes-v9`");
    refused(wrong(|s| s.outputs = 2), Code::BadModel, "it has 2 outputs");
    refused(wrong(|s| s.batch = Dim::Is(17)), Code::BadModel, "its batch is 17");
    refused(wrong(|s| s.raw = true), Code::BadModel, "its output is [1, 7, 100] for 1 frames and 2 classes");
    refused(wrong(|s| s.input_channels = 4), Code::BadModel, "");
}

#[test]
fn a_class_without_a_name_is_an_error_and_not_an_empty_list() {
    let kept = Kept::new();
    let mut spec = Spec::boxes_v1();
    spec.metadata[1].1 = "[\"low\"]".into();
    let frame = scene(320, 320, &[(0, 0, 32, 32, [255, 255, 0])]);
    for backend in backends() {
        let mut model = Model::open(backend, kept.settings(&spec)).unwrap();
        let error = model.detect(&[&frame], &Stop::default()).unwrap_err();
        assert_eq!(error.code(), Code::Inference, "{error}");
        assert!(error.what().contains("it gave class 1"), "{error}");
    }
}

#[test]
fn names_may_lie_beside_the_model() {
    let kept = Kept::new();
    let mut spec = Spec::raw();
    spec.metadata.clear();
    let settings = kept.settings(&spec);
    kept.file("m.names.json", br#"{"names": ["a", "b", "c"]}"#);
    let model = Model::open(Backend::Ort(runtime()), settings.clone()).unwrap();
    assert_eq!(&*model.info().names[2], "c");
    let other = kept.file("other.json", br#"{"0": "x", "1": "y", "2": "z"}"#);
    let model = Model::open(Backend::Ort(runtime()), Settings { names: Some(other), ..settings }).unwrap();
    assert_eq!(&*model.info().names[2], "z");
}

#[test]
fn a_stop_ends_a_run() {
    let frame = scene(320, 320, &[]);
    for backend in backends() {
        let mut model = opened(backend, &Spec::boxes_v1());
        let stop = Stop::default();
        stop.stop();
        let error = model.detect(&[&frame], &stop).unwrap_err();
        assert_eq!(error.code(), Code::TooSlow, "{error}");
        assert!(model.detect(&[&frame], &Stop::default()).is_ok(), "the next run is not stopped");
    }
}

/// A model in a pool whose limit is far too short for every second item, stopped while it runs: each
/// item is either whole or stopped, and none hangs.
#[test]
fn a_pool_of_models_keeps_its_limit() {
    let kept = Kept::new();
    let settings = kept.settings(&Spec::boxes_v1());
    let make = move || -> Result<Box<dyn Worker<(Frame, usize), usize>>, Error> {
        let mut model = Model::open(Backend::Ort(runtime()), settings.clone())?;
        Ok(Box::new(move |(frame, runs): (Frame, usize), stop: &Stop| {
            (0..runs).try_fold(0, |boxes, _| Ok(boxes + model.detect(&[&frame], stop)?.remove(0).len()))
        }))
    };
    let limit = Duration::from_micros(300);
    let pool = Pool::start(PoolSettings { threads: 2, queue_max: 4, limit }, make).unwrap();
    let frame = scene(320, 320, &[(96, 64, 32, 32, [255, 0, 0])]);
    let (mut whole, mut slow) = (0, 0);
    for runs in [1, 1_000].repeat(200) {
        match pool.submit((frame.clone(), runs)).and_then(|t| t.wait()) {
            Ok(boxes) => {
                assert_eq!(boxes, runs);
                whole += 1;
            }
            Err(error) => {
                assert!(matches!(error.code(), Code::TooSlow | Code::Busy), "{error}");
                slow += 1;
            }
        }
    }
    assert_eq!(whole + slow, 400);
    assert!(slow > 0, "300 µs were enough for a thousand runs");
    while pool.counts().inside() > 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    let counts = pool.counts();
    assert_eq!((counts.failed, counts.panicked), (0, 0), "{counts:?}");
    assert_eq!(counts.submitted + counts.refused, 400);
}

/// Runs a test of this file in a process of its own.
fn child(test: &str, variable: &str, value: &str) -> String {
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(variable, value)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&child.stdout).into_owned();
    assert!(child.status.success(), "{:?}\n{text}\n{}", child.status, String::from_utf8_lossy(&child.stderr));
    text
}

/// In a process where no other test loads the library first: it is loaded once.
#[test]
fn what_is_wrong_with_the_library_is_said() {
    let text = child("child_that_loads_libraries", "WEIR_BAD_LIBRARIES", "1");
    assert!(text.contains("all libraries were tried"), "{text}");
}

#[test]
fn child_that_loads_libraries() {
    if std::env::var_os("WEIR_BAD_LIBRARIES").is_none() {
        return;
    }
    let kept = Kept::new();
    let refused = |path: &Path, what: &str| {
        let error = Runtime::load(path).err().unwrap_or_else(|| panic!("{} was loaded", path.display()));
        assert_eq!(error.code(), Code::NoRuntime, "{error}");
        assert!(error.what().contains(what), "{error}");
        assert!(error.actor().contains("operator"), "{error}");
    };
    refused(Path::new("libonnxruntime.so"), "is not absolute");
    refused(&kept.folder.path().join("none.so"), "cannot be read");
    refused(kept.folder.path(), "cannot be read");
    refused(&kept.file("text.so", b"not a library"), "it is no 64-bit ELF library");
    let whole = std::fs::read(library()).unwrap();
    for part in [20, 64, 4096, whole.len() / 2, whole.len() - 1] {
        refused(&kept.file("cut.so", &whole[..part]), "cut off");
    }
    let mut other = whole.clone();
    other[18] = 40;
    refused(&kept.file("arm.so", &other), "another processor");
    let open = kept.file("open.so", &whole);
    std::fs::set_permissions(&open, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    refused(&open, "everybody may write");
    // A whole library that is none of ONNX Runtime.
    let math = ["/lib/x86_64-linux-gnu/libm.so.6", "/lib/aarch64-linux-gnu/libm.so.6", "/lib64/libm.so.6"];
    let math = math.iter().map(Path::new).find(|p| p.exists()).expect("a libm");
    refused(math, "OrtGetApiBase");
    // And all that does not keep the right one from being loaded, once.
    assert!(runtime().version().starts_with("onnxruntime 1."), "{}", runtime().version());
    refused(&library(), "only one environment");
    println!("all libraries were tried");
}

/// Native code may abort the process, so this runs in a child: 1,000 mutants, each refused or opened.
#[test]
fn mutated_models_are_refused_or_opened() {
    let text = child("child_that_opens_mutants", "WEIR_MUTANT_MODELS", "1000");
    let line = text.lines().find(|l| l.contains("models:")).unwrap_or_else(|| panic!("{text}"));
    println!("{line}");
}

#[test]
fn child_that_opens_mutants() {
    let Some(count) = std::env::var("WEIR_MUTANT_MODELS").ok().and_then(|n| n.parse::<usize>().ok()) else {
        return;
    };
    let kept = Kept::new();
    let seeds: Vec<Vec<u8>> =
        [Spec::boxes_v1(), Spec::end_to_end(), Spec::raw()].iter().map(Spec::bytes).collect();
    let mut chance = Chance(20_261_121);
    let frame = scene(320, 320, &[(96, 64, 32, 32, [255, 0, 0])]);
    let (mut open, mut shut) = (0, 0);
    for number in 0..count {
        let mut bytes = seeds[number % seeds.len()].clone();
        // Mostly in the graph; the long constants are numbers that may be anything.
        for _ in 0..=chance.below(3) {
            let at = if chance.below(3) == 0 {
                chance.below(bytes.len())
            } else {
                chance.below(900.min(bytes.len()))
            };
            match chance.below(4) {
                0 => bytes[at] ^= 1 << chance.below(8),
                1 => bytes[at] = chance.word() as u8,
                2 => bytes.truncate(at.max(1)),
                _ => drop(bytes.drain(at..(at + chance.below(16)).min(bytes.len()))),
            }
            if bytes.is_empty() {
                bytes.push(0);
            }
        }
        let path = kept.file("mutant.onnx", &bytes);
        for backend in backends() {
            match Model::open(backend, Settings::new(&path)) {
                Ok(mut model) => {
                    open += 1;
                    let _ = model.detect(&[&frame], &Stop::default());
                }
                Err(error) => {
                    shut += 1;
                    assert_eq!(error.code().to_string().get(..3), Some("W08"), "{error}");
                }
            }
        }
    }
    println!("{count} models: {open} opened, {shut} refused, {} engines", backends().len());
}
