//! Milliseconds of each stage from a JPEG to labelled boxes and codes: one thread, the shipped model, ONNX Runtime.
//!
//! `cargo bench --profile quick -p weir-vision --bench stages -- --frames 24`; `make bench-vision` does, on one core.
//! The answer comes before the time: the measured boxes have to be those that the pool gives for the same frames.
//!
//! Times are processor time of the one thread that does everything: what else the machine does costs cache, not
//! waiting. A stage of a frame counts with the median of `ROUNDS` runs, and the table has the mean over the frames.

#[path = "../tests/support/cpu.rs"]
mod cpu;

use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use cpu::cpu;
use weir_render::{Domain, render};
use weir_vision::barcode::{NothingKnown, Reader, Symbology};
use weir_vision::boxes::Area;
use weir_vision::decode::{Frame, Limits, decode};
use weir_vision::detector::{Backend, Detection, Detector, Model, Runtime, Settings, Stage};
use weir_vision::pool::{Pool, PoolSettings};
use weir_vision::stop::Stop;

const SIZES: [(u32, u32); 3] = [(320, 320), (640, 480), (1280, 960)];
const STAGES: [&str; 5] = ["decode", "pack", "infer", "boxes", "barcode"];
const ROUNDS: usize = 7;
const SEED: u64 = 201;

/// One a process.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let library = Runtime::locate(None).unwrap_or_else(|e| panic!("{e}\nrun `make onnxruntime`"));
    Runtime::load(&library).unwrap_or_else(|e| panic!("{e}"))
});

fn model() -> Model {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("model/weir-floor.onnx");
    Model::open(Backend::Ort(&RUNTIME), Settings::new(path)).unwrap()
}

/// What one frame gave.
#[derive(Debug, Clone, PartialEq)]
struct Answer {
    found: Vec<Detection>,
    codes: Vec<String>,
}

struct Chain {
    model: Model,
    reader: Reader,
}

impl Chain {
    /// The stages one after the other, and how long each took.
    fn run(&mut self, jpeg: &[u8]) -> (Answer, [Duration; 5]) {
        let mut at = vec![cpu()];
        let frame = decode(jpeg, &Limits::default()).unwrap();
        at.push(cpu());
        let stop = Stop::default();
        let mut ended = |_: Stage| at.push(cpu());
        let found = self.model.detect_by_stage(&[&frame], &stop, &mut ended).unwrap().remove(0);
        let boxes: Vec<Area> = found.iter().filter(|d| &*d.label == "barcode").map(|d| d.area).collect();
        let mut codes = Vec::new();
        // Without a box the reader would look at the whole frame; the agent does so only where it is told to.
        if !boxes.is_empty() {
            let read = self.reader.read(&frame, &boxes, &NothingKnown, &stop).unwrap();
            codes.extend(read.into_iter().filter(|r| r.is_sure()).map(|r| r.text));
        }
        at.push(cpu());
        (Answer { found, codes }, std::array::from_fn(|stage| at[stage + 1] - at[stage]))
    }
}

/// The same frames through a pool of two threads.
fn by_pool(jpegs: &[Vec<u8>]) -> Vec<Vec<Detection>> {
    let settings = PoolSettings { threads: 2, queue_max: jpegs.len(), limit: Duration::from_secs(60) };
    let pool: Pool<Arc<Frame>, Vec<Detection>> = Pool::start(settings, || {
        let mut model = model();
        Ok(Box::new(move |frame: Arc<Frame>, stop: &Stop| Ok(model.detect(&[&*frame], stop)?.remove(0))))
    })
    .unwrap();
    let submit = |jpeg: &Vec<u8>| pool.submit(Arc::new(decode(jpeg, &Limits::default()).unwrap())).unwrap();
    let tickets: Vec<_> = jpegs.iter().map(submit).collect();
    tickets.into_iter().map(|t| t.wait().unwrap()).collect()
}

/// `--frames N`: of each size.
fn frames() -> u64 {
    let arguments: Vec<String> = std::env::args().collect();
    let given = arguments.iter().position(|a| a == "--frames").and_then(|at| arguments.get(at + 1));
    given.and_then(|n| n.parse().ok()).unwrap_or(24)
}

fn main() {
    let count = frames();
    let mut chain = Chain { model: model(), reader: Reader::new(&Symbology::ALL) };
    let info = chain.model.info();
    println!(
        "vision_stages engine={} model=weir-floor sha256={} input={:?}",
        info.engine,
        &info.sha256[..16],
        info.input
    );
    println!(
        "  one thread; {count} frames of each size, drawn held-out scenes (seed {SEED}); ms of processor time: median of {ROUNDS} runs, mean over frames"
    );
    print!("  {:>9} {:>7}", "frame", "kB");
    STAGES.iter().for_each(|s| print!(" {s:>8}"));
    println!(" {:>8} {:>9}   boxes codes", "sum ms", "frames/s");
    for size in SIZES {
        let drawn = (0..count).map(|n| {
            let own = SEED << 32 | n;
            render(&Domain::HeldOut.scene(own), size, own).unwrap().jpeg().unwrap()
        });
        let jpegs: Vec<Vec<u8>> = drawn.collect();
        let first: Vec<Answer> = jpegs.iter().map(|jpeg| chain.run(jpeg).0).collect();
        let pooled = by_pool(&jpegs);
        assert!(first.iter().map(|a| &a.found).eq(pooled.iter()), "{size:?}: other boxes than the pool's");
        let mut spans: Vec<[Vec<Duration>; 5]> = vec![Default::default(); jpegs.len()];
        for _ in 0..ROUNDS {
            for (n, jpeg) in jpegs.iter().enumerate() {
                let (answer, took) = chain.run(jpeg);
                assert_eq!(answer, first[n], "{size:?}: frame {n} gave something else");
                took.into_iter().zip(&mut spans[n]).for_each(|(span, of)| of.push(span));
            }
        }
        let median = |all: &mut Vec<Duration>| {
            all.sort_unstable();
            all[ROUNDS / 2].as_secs_f64() * 1e3
        };
        let mut mean = [0.0; 5];
        for of_frame in &mut spans {
            of_frame.iter_mut().zip(&mut mean).for_each(|(all, mean)| *mean += median(all) / count as f64);
        }
        let sum: f64 = mean.iter().sum();
        let bytes = jpegs.iter().map(Vec::len).sum::<usize>() as f64 / count as f64 / 1e3;
        print!("  {:>9} {bytes:>7.1}", format!("{}x{}", size.0, size.1));
        (0..5).for_each(|stage| print!(" {:>8.2}", mean[stage]));
        let boxes: usize = first.iter().map(|a| a.found.len()).sum();
        let codes: usize = first.iter().map(|a| a.codes.len()).sum();
        println!(" {sum:>8.2} {:>9.1}   {boxes:>5} {codes:>5}", 1e3 / sum);
    }
    println!("  answer  boxes of every run equal those of a pool of two threads for the same frames");
}
