//! The model that the repository ships does what its card says, measured here anew.
//!
//! Frames are drawn, encoded, decoded and detected as on the floor; `metrics.json` was written by the
//! training script through another engine's bindings.

use std::path::{Path, PathBuf};

use serde_json::Value;
use weir_render::score::{Boxed, Frame as Judged, Score, evaluate};
use weir_render::{Barcode, Bounds, Brand, Class, Domain, Shown, render, station};
use weir_vision::decode::{Frame, Limits, decode};
use weir_vision::detector::{Backend, Detector, Model, Runtime, Settings};
use weir_vision::stop::Stop;

/// Frames measured here; the card's figures are over more of the same.
const FRAMES: u64 = 200;
/// What so few frames may differ by.
const SLACK: f64 = 0.04;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("model")
}

fn card() -> Value {
    let text = std::fs::read_to_string(folder().join("metrics.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn model(confidence_min: f32) -> Model {
    let library = Runtime::locate(None).unwrap_or_else(|e| panic!("{e}\nrun `make onnxruntime`"));
    let runtime = Runtime::load(&library).unwrap_or_else(|e| panic!("{e}"));
    let sha256 = card()["sha256"].as_str().map(str::to_owned);
    assert!(sha256.is_some());
    let settings = Settings { sha256, confidence_min, ..Settings::new(folder().join("weir-floor.onnx")) };
    Model::open(Backend::Ort(&runtime), settings).unwrap_or_else(|e| panic!("{e}"))
}

fn measured(model: &mut Model, domain: Domain, seed: u64) -> Score {
    let frames: Vec<Judged> = (0..FRAMES)
        .map(|number| {
            let own = seed << 32 | number;
            let drawn = render(&domain.scene(own), (320, 320), own).unwrap();
            let frame = decode(&drawn.jpeg().unwrap(), &Limits::default()).unwrap();
            let boxed = |t: &weir_render::Truth| Boxed { class: t.class.index(), bounds: t.bounds, score: 1.0 };
            let found = found(model, &frame);
            Judged { truth: drawn.truth.iter().map(boxed).collect(), found }
        })
        .collect();
    evaluate(&frames, Class::COUNT, 0.5, 0.5)
}

fn found(model: &mut Model, frame: &Frame) -> Vec<Boxed> {
    let lists = model.detect(&[frame], &Stop::default()).unwrap_or_else(|e| panic!("{e}"));
    let boxed = |d: &weir_vision::detector::Detection| Boxed {
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

/// Seeds 201 and 301 are those of the card.
#[test]
fn the_card_is_true() {
    let card = card();
    let mut model = model(0.001);
    for (domain, seed, part) in [(Domain::HeldOut, 201, "held_out"), (Domain::Shifted, 301, "shifted")] {
        let said = card[part]["map50"].as_f64().unwrap();
        let score = measured(&mut model, domain, seed);
        let here = score.mean_average_precision;
        assert!((here - said).abs() < SLACK, "{part}: the card says {said}, here {here}\n{score:?}");
    }
}

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
