//! The model that the repository ships does what its card says, measured here anew.
//!
//! Frames are drawn, encoded, decoded, packed and detected as on the floor, by ONNX Runtime.
//! `metrics.json` holds what the training script measured on the same frames through another decoder and
//! another engine's bindings, so a box, a class or a scale that is read wrong shows as a difference.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde_json::Value;
use weir_render::score::{Boxed, Frame as Judged, evaluate};
use weir_render::{Barcode, Bounds, Brand, Class, Domain, Shown, Truth, render, station};
use weir_vision::decode::{Frame, Limits, decode};
use weir_vision::detector::{Backend, Detection, Detector, Model, Runtime, Settings};
use weir_vision::stop::Stop;

/// What decoders of JPEG and the rounding of sums may change.
const SLACK: f64 = 0.01;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("model")
}

fn card() -> Value {
    let text = std::fs::read_to_string(folder().join("metrics.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// One a process.
fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let library = Runtime::locate(None).unwrap_or_else(|e| panic!("{e}\nrun `make onnxruntime`"));
        Runtime::load(&library).unwrap_or_else(|e| panic!("{e}"))
    })
}

/// The shipped file, and no other.
fn opened(backend: Backend<'_>, confidence_min: f32) -> Model {
    let sha256 = card()["sha256"].as_str().map(str::to_owned);
    assert!(sha256.is_some());
    let settings = Settings { sha256, confidence_min, ..Settings::new(folder().join("weir-floor.onnx")) };
    Model::open(backend, settings).unwrap_or_else(|e| panic!("{e}"))
}

fn model(confidence_min: f32) -> Model {
    opened(Backend::Ort(runtime()), confidence_min)
}

/// A domain's first frames, with what is found in them.
fn judged(model: &mut Model, domain: Domain, seed: u64, frames: u64) -> Vec<Judged> {
    (0..frames)
        .map(|number| {
            let own = seed << 32 | number;
            let drawn = render(&domain.scene(own), (320, 320), own).unwrap();
            let frame = decode(&drawn.jpeg().unwrap(), &Limits::default()).unwrap();
            let boxed = |t: &Truth| Boxed { class: t.class.index(), bounds: t.bounds, score: 1.0 };
            let found = found(model, &frame);
            Judged { truth: drawn.truth.iter().map(boxed).collect(), found }
        })
        .collect()
}

fn found(model: &mut Model, frame: &Frame) -> Vec<Boxed> {
    let lists = model.detect(&[frame], &Stop::default()).unwrap_or_else(|e| panic!("{e}"));
    let boxed = |d: &Detection| Boxed {
        class: d.class as usize,
        bounds: Bounds { x1: d.area.x1, y1: d.area.y1, x2: d.area.x2, y2: d.area.y2 },
        score: d.confidence,
    };
    lists.iter().flatten().map(boxed).collect()
}

#[test]
fn names_are_the_brands_then_parcel_then_barcode() {
    let model = model(0.3);
    let names: Vec<&str> = model.info().names.iter().map(|n| &**n).collect();
    assert_eq!(names, Class::all().map(Class::name).collect::<Vec<_>>());
    assert_eq!(model.info().input, (320, 320));
    let bytes = std::fs::metadata(folder().join("weir-floor.onnx")).unwrap().len();
    assert!(bytes < 4_000_000, "{bytes}");
}

/// Seeds 201 and 301 are those of the card. Boxes that are read wrong give other figures.
#[test]
fn the_card_is_true() {
    let card = card();
    let mut model = model(0.001);
    let parts = [(Domain::HeldOut, 201, "held_out", 0.92), (Domain::Shifted, 301, "shifted", 0.71)];
    for (domain, seed, part, least) in parts {
        let whole = card[part]["map50"].as_f64().unwrap();
        assert!(whole >= least, "{part}: a file of {whole} is worse than the one before");
        let said = &card[part]["first"];
        let frames = judged(&mut model, domain, seed, said["frames"].as_u64().unwrap());
        assert!(frames.len() >= 200);
        for (overlap, key) in [(0.5, "map50"), (0.75, "map75")] {
            let said = said[key].as_f64().unwrap();
            let score = evaluate(&frames, Class::COUNT, overlap, 0.5);
            let here = score.mean_average_precision;
            println!("{part} {key}: the card says {said:.4}, here {here:.4}");
            assert!(
                (here - said).abs() < SLACK,
                "{part} {key}: the card says {said}, here {here}\n{score:?}"
            );
        }
    }
}

/// Marks as the simulated day shows them: whole, upright, near the middle.
#[test]
fn what_passes_a_station_is_found() {
    let mut model = model(0.3);
    let (mut right, mut wrong, mut total) = (0, 0, 0);
    for number in 0..40_usize {
        let brand = Brand::ALL[number % 8];
        let shown = Shown {
            parcel: format!("parcel {number}"),
            marks: vec![brand],
            barcode: Some(Barcode::of("4006381333931").unwrap()),
            since_s: 0.02,
        };
        let scene = station::scene(&format!("MAD1-P{}", number % 5), number as f64, &[shown]);
        let drawn = render(&scene, (640, 640), number as u64).unwrap();
        let frame = decode(&drawn.jpeg().unwrap(), &Limits::default()).unwrap();
        let best = found(&mut model, &frame).into_iter().find(|b| b.class < Brand::ALL.len());
        total += 1;
        match best {
            Some(b) if b.class == Class::Brand(brand).index() => right += 1,
            Some(_) => wrong += 1,
            None => {}
        }
    }
    assert!(right * 10 >= total * 8 && wrong * 20 <= total, "{right} right, {wrong} wrong of {total}");
}

/// Both engines run the same graph: what one finds well above the limit, the other finds at the same
/// place with the same score.
#[cfg(feature = "tract")]
#[test]
fn the_engines_agree_on_the_shipped_model() {
    let limit = 0.2;
    let mut engines = [model(limit), opened(Backend::Tract, limit)];
    let mut compared = 0;
    for (domain, seed) in [(Domain::HeldOut, 201), (Domain::Shifted, 301)] {
        let [one, other] = engines.each_mut().map(|m| judged(m, domain, seed, 8));
        for (number, (one, other)) in one.iter().zip(&other).enumerate() {
            for (ours, theirs) in [(&one.found, &other.found), (&other.found, &one.found)] {
                for a in ours.iter().filter(|a| a.score > limit + 0.001) {
                    let same = |b: &Boxed| {
                        let sides = |b: &Bounds| [b.x1, b.y1, b.x2, b.y2];
                        let near = |(p, q): (f32, f32)| (p - q).abs() < 0.1;
                        a.class == b.class
                            && (a.score - b.score).abs() < 0.001
                            && sides(&a.bounds).into_iter().zip(sides(&b.bounds)).all(near)
                    };
                    assert!(theirs.iter().any(same), "{domain:?} frame {number}: {a:?}\n{theirs:?}");
                    compared += 1;
                }
            }
        }
    }
    assert!(compared >= 60, "{compared} boxes were compared");
}
