//! Frames to labelled boxes by an ONNX model.
//!
//! In:   frames; a model file, its class names, an inference engine.
//! Out:  detections in pixels of the frame, best first.
//! Owns: the trait `Detector`; `Model`, which is one for every engine. `engine` runs the graph
//!       (`onnxruntime`, a library of the system; `pure`: tract, the feature of that name), `layout` reads what it
//!       gives, `names` what the classes are called, `pack` fills the input.
//!
//! M1  What is hashed is what is loaded: the file is read once.
//! M2  A model is refused when it is opened: missing, damaged, another shape, other names. It runs once
//!     on grey before the first frame, so that what it gives is known.
//! M3  A number that is not finite, or a class without a name, is an error, not "saw nothing".

mod engine;
mod layout;
mod names;
mod onnxruntime;
mod pack;
#[cfg(feature = "tract")]
mod pure;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};
use weir_contract::{Code, Error, Result, error::Place};

use crate::boxes::{Area, Letterbox};
use crate::decode::Frame;
use crate::stop::Stop;

use engine::Engine;
pub use layout::Layout;
pub use onnxruntime::{ORT_VERSION, Runtime};

/// A model file. The largest YOLO11 has 220 MB in fp32; eyeballed.
pub const MODEL_BYTES_MAX: u64 = 256 << 20;
/// Frames in one run of a model whose batch is open. 16 × 640² × 3 floats: 79 MB.
pub const BATCH_MAX: usize = 16;
/// Sides of a model's input.
pub const INPUT_PX_MAX: u32 = 2048;

/// One found thing.
#[derive(Debug, Clone, PartialEq)]
pub struct Detection {
    pub label: Arc<str>,
    /// Index into the model's names.
    pub class: u32,
    /// 0 to 1.
    pub confidence: f32,
    /// In pixels of the frame, within it.
    pub area: Area,
}

/// Finds things in frames.
pub trait Detector: Send {
    fn info(&self) -> &ModelInfo;

    /// One list for each frame, in the order of the frames, best first.
    ///
    /// # Errors
    /// `W0807` where the model failed, `W0808` where `stop` came first.
    fn detect(&mut self, frames: &[&Frame], stop: &Stop) -> Result<Vec<Vec<Detection>>>;
}

/// What a run has just done, for measurements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Packed,
    Inferred,
    Boxed,
}

/// Which engine runs a model.
#[derive(Clone, Copy)]
pub enum Backend<'a> {
    Ort(&'a Runtime),
    /// Pure Rust; half as fast, needs nothing of the system. One thread.
    #[cfg(feature = "tract")]
    Tract,
}

/// The engine that is there, for a process; clones are the same.
#[derive(Clone)]
pub enum Chosen {
    Ort(Runtime),
    #[cfg(feature = "tract")]
    Tract,
}

impl Chosen {
    /// ONNX Runtime where `Runtime::locate` finds it. Where none is to be found and the feature `tract` is
    /// there, tract, with the reason.
    ///
    /// # Errors
    /// `W0803`. One that was named and is broken is no reason for another engine.
    pub fn find(configured: Option<&Path>) -> Result<(Chosen, Option<Error>)> {
        match Runtime::locate(configured).and_then(|path| Runtime::load(&path)) {
            Ok(runtime) => Ok((Chosen::Ort(runtime), None)),
            #[cfg(feature = "tract")]
            Err(error) if error.place().is_none() => Ok((Chosen::Tract, Some(error))),
            Err(error) => Err(error),
        }
    }

    pub fn backend(&self) -> Backend<'_> {
        match self {
            Chosen::Ort(runtime) => Backend::Ort(runtime),
            #[cfg(feature = "tract")]
            Chosen::Tract => Backend::Tract,
        }
    }
}

#[derive(Debug, Clone)]
pub struct Settings {
    pub path: PathBuf,
    /// Class names as JSON. Default: the model's metadata, else `x.names.json` beside `x.onnx`.
    pub names: Option<PathBuf>,
    /// Hex. Where given, another file is refused.
    pub sha256: Option<String>,
    pub confidence_min: f32,
    /// For models without suppression of their own: boxes of one class that overlap more are one.
    pub overlap_max: f32,
    pub boxes_max: usize,
    /// Of one run; ONNX Runtime only.
    pub threads: usize,
}

impl Settings {
    pub fn new(path: impl Into<PathBuf>) -> Settings {
        Settings {
            path: path.into(),
            names: None,
            sha256: None,
            confidence_min: 0.3,
            overlap_max: 0.45,
            boxes_max: 300,
            threads: 1,
        }
    }
}

/// What is known of an open model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelInfo {
    pub path: PathBuf,
    /// Of the file, hex.
    pub sha256: String,
    pub names: Vec<Arc<str>>,
    /// Width and height of the input.
    pub input: (u32, u32),
    pub layout: Layout,
    /// Frames of one run.
    pub batch_max: usize,
    /// Name and version.
    pub engine: String,
}

/// An open model.
pub struct Model {
    info: ModelInfo,
    settings: Settings,
    engine: Box<dyn Engine>,
    /// Whether a run takes as many frames as there are, or always `batch_max`.
    batch_open: bool,
    packer: pack::Packer,
}

fn at(path: &Path) -> Place {
    Place::Path(path.display().to_string())
}

/// Reads a file of at most `bytes_max`, without trusting the size that it says it has.
pub fn read(path: &Path, bytes_max: u64) -> Result<Vec<u8>> {
    use std::io::Read;
    let fail = |e: std::io::Error| Error::new(Code::NoModel, format!("cannot be read: {e}")).at(at(path));
    let mut bytes = Vec::new();
    std::fs::File::open(path).and_then(|f| f.take(bytes_max + 1).read_to_end(&mut bytes)).map_err(fail)?;
    if bytes.len() as u64 > bytes_max {
        return Err(Error::new(Code::BadModel, format!("more than {bytes_max} bytes")).at(at(path)));
    }
    Ok(bytes)
}

fn check_sha256(settings: &Settings, found: &str) -> Result<()> {
    match &settings.sha256 {
        Some(wanted) if !wanted.eq_ignore_ascii_case(found) => {
            let error = Error::new(Code::ModelChanged, format!("the file's sha256 is {found}"));
            Err(error.at(at(&settings.path)).expected(wanted.clone()))
        }
        _ => Ok(()),
    }
}

/// An engine's panic is the model's fault: tract 0.23.9 has some for damaged graphs. It keeps nothing
/// from one run to the next.
fn guarded<T>(code: Code, work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(Error::new(code, "the engine panicked on it").expected("a whole ONNX file")))
}

impl Model {
    /// Opens a model and runs it once.
    ///
    /// # Errors
    /// `W0804` (no file), `W0805` (damaged, or not a detector that can be read), `W0806` (other sha256).
    pub fn open(backend: Backend<'_>, settings: Settings) -> Result<Model> {
        let bytes = read(&settings.path, MODEL_BYTES_MAX)?;
        Model::of(backend, settings, &bytes)
    }

    /// The same of a file's bytes; `settings.path` only names them.
    ///
    /// # Errors
    /// As `open`, but for a file that is not there.
    pub fn of(backend: Backend<'_>, settings: Settings, bytes: &[u8]) -> Result<Model> {
        let sha256: String = Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect();
        check_sha256(&settings, &sha256)?;
        let place = at(&settings.path);
        let (mut engine, facts) = guarded(Code::BadModel, || match backend {
            Backend::Ort(runtime) => onnxruntime::load(runtime, bytes, settings.threads),
            #[cfg(feature = "tract")]
            Backend::Tract => pure::load(bytes),
        })
        .map_err(|e| e.or_at(place.clone()))?;
        let names = names::find(&settings, &facts).map_err(|e| e.or_at(place.clone()))?;
        let input = facts.input_size().map_err(|e| e.or_at(place.clone()))?;
        let batch_max = facts.batch.unwrap_or(BATCH_MAX);
        let mut packer = pack::Packer::new(input);
        let batch = facts.batch.unwrap_or(1);
        let shape = packer.grey(batch);
        let given = guarded(Code::BadModel, || engine.run(shape, packer.data(), &Stop::default()))
            .map_err(|e| e.or_at(place.clone()))?;
        let layout = Layout::of(&given.shape, batch, names.len(), &facts).map_err(|e| e.or_at(place))?;
        let info = ModelInfo {
            path: settings.path.clone(),
            sha256,
            names,
            input,
            layout,
            batch_max,
            engine: facts.engine,
        };
        Ok(Model { info, settings, engine, batch_open: facts.batch.is_none(), packer })
    }

    /// `detect`, which tells each stage's end.
    ///
    /// # Errors
    /// As `detect`.
    pub fn detect_by_stage(
        &mut self,
        frames: &[&Frame],
        stop: &Stop,
        done: &mut dyn FnMut(Stage),
    ) -> Result<Vec<Vec<Detection>>> {
        let mut found = Vec::with_capacity(frames.len());
        for part in frames.chunks(self.info.batch_max.max(1)) {
            let place = at(&self.settings.path);
            found.extend(self.run(part, stop, done).map_err(|e| e.or_at(place))?);
        }
        Ok(found)
    }

    fn run(
        &mut self,
        frames: &[&Frame],
        stop: &Stop,
        done: &mut dyn FnMut(Stage),
    ) -> Result<Vec<Vec<Detection>>> {
        stop.check("packing frames")?;
        let batch = if self.batch_open { frames.len() } else { self.info.batch_max };
        let shape = self.packer.fill(frames, batch)?;
        done(Stage::Packed);
        let given = guarded(Code::Inference, || self.engine.run(shape, self.packer.data(), stop))?;
        done(Stage::Inferred);
        let rows = self.info.layout.check(&given, batch)?;
        let mut found = Vec::with_capacity(frames.len());
        for (number, frame) in frames.iter().enumerate() {
            let one = rows.of(number)?;
            let way = Letterbox::new((frame.width(), frame.height()), self.info.input);
            let boxes = self.info.layout.boxes(one, self.info.names.len(), &self.settings)?;
            let detections = boxes.into_iter().filter_map(|b| {
                let area = way.to_frame(b.area).within(frame.width(), frame.height());
                let label = self.info.names.get(b.class as usize)?.clone();
                area.is_real().then_some(Detection { label, class: b.class, confidence: b.score, area })
            });
            found.push(detections.collect());
        }
        done(Stage::Boxed);
        Ok(found)
    }
}

impl Detector for Model {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn detect(&mut self, frames: &[&Frame], stop: &Stop) -> Result<Vec<Vec<Detection>>> {
        self.detect_by_stage(frames, stop, &mut |_| {})
    }
}
