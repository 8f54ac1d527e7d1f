//! Models for `detect()`: found by name, opened once, run on a bounded pool.
//!
//! In:   a model's name; images, or uris of stored ones.
//! Out:  what the engine's port `detect` asks for.
//! Owns: where models, the runtime and stored frames are; what an image may cost. What a model makes of
//!       pixels is `vision`'s.
//!
//! M1  The network runs on one frame at a time: what it says of a frame then cannot depend on those beside it.
//!     Frames go to several threads at once.
//! M2  What waits is bounded: a caller has a few images in the pool, the pool a short queue.
//! M3  An image's own fault is its answer. A store that is away, or a pool that cannot start, stops the run.
//! M4  Slowness is the machine's, never an image's: bytes, pixels and looks at one image are bounded, so what
//!     was not done in time would have been done elsewhere. It is tried again, and in the end the run stops
//!     before anything of the image is acknowledged; no clock decides what stands in an output.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use weir_contract::{Clock, Code, Error, Result, WallClock};
use weir_engine::detect::{Detector, Detectors, Found, Image};
use weir_vision::decode::Limits;
use weir_vision::detector::{Chosen, Detector as _, MODEL_BYTES_MAX, Model, Settings, read};
use weir_vision::pool::{Pool, PoolSettings, Ticket, Worker};
use weir_vision::stop::Stop;
use weir_vision::store::Store;
use weir_vision::told::{self, SHIPPED, Told};

/// Of one try at one image, queue and work together. Eyeballed: a hundred times what a slow machine takes for
/// a large one.
const IMAGE_LIMIT: Duration = Duration::from_secs(30);
/// How long one image is tried for, and room in the pool waited for, before the run stops. Eyeballed: a busy
/// machine is well again, and a stopped program is told to somebody.
const PATIENCE: Duration = Duration::from_secs(600);
/// Threads of the pool at most; each may hold one decoded image (160 MiB at the limit).
const THREADS_MAX: usize = 8;
/// How long a caller without an image of its own in the pool waits for room there.
const ROOM: Duration = Duration::from_millis(1);

/// Where things are. Nothing is touched before the first model is opened.
#[derive(Debug, Clone, Default)]
pub struct Places {
    /// Folder of `{name}.onnx`: `WEIR_MODELS`, else `models`.
    pub models: PathBuf,
    /// Folder of stored frames: `WEIR_FRAMES`.
    pub frames: Option<PathBuf>,
    /// Where they are otherwise, if it is there: beside the embedded log.
    pub beside: Option<PathBuf>,
}

impl Places {
    /// `beside` is where stored frames are that `WEIR_FRAMES` does not place elsewhere.
    pub fn of_environment(beside: PathBuf) -> Places {
        let named = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        Places {
            models: named("WEIR_MODELS").unwrap_or_else(|| "models".into()),
            frames: named("WEIR_FRAMES"),
            beside: Some(beside),
        }
    }

    /// The named store, whether it is there or not; else the one beside the log, where there is one.
    fn store(&self) -> Option<Store> {
        let beside = || self.beside.as_ref().filter(|folder| folder.is_dir());
        self.frames.as_ref().or_else(beside).map(Store::new)
    }

    /// Where stored frames are, or would be.
    pub fn frames(&self) -> PathBuf {
        self.frames.clone().or_else(|| self.beside.clone()).unwrap_or_else(|| "frames".into())
    }
}

/// The models of a process.
#[derive(Default)]
pub struct Models {
    places: Places,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    runtime: Option<Chosen>,
    models: BTreeMap<String, Arc<OpenModel>>,
}

impl Models {
    pub fn new(places: Places) -> Models {
        Models { places, open: Mutex::default() }
    }

    fn bytes(&self, name: &str) -> Result<(PathBuf, Arc<[u8]>)> {
        let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if name.is_empty() || name.starts_with('.') || !name.chars().all(good) {
            return Err(Error::new(Code::NoModel, format!("`{name}` cannot be the name of a model"))
                .expected("letters, digits, - and _: the file's name without .onnx"));
        }
        let path = self.places.models.join(format!("{name}.onnx"));
        if name == SHIPPED.0 && !path.exists() {
            return Ok((PathBuf::from(format!("{name}.onnx")), SHIPPED.1.into()));
        }
        let named = |e: Error| e.expected("a file NAME.onnx in the folder WEIR_MODELS (default: models)");
        Ok((path.clone(), read(&path, MODEL_BYTES_MAX).map_err(named)?.into()))
    }
}

/// The file's place goes into the words: the error's own place is where the script names the model.
fn of_script(error: Error) -> Error {
    let what = match error.place() {
        Some(place) => format!("{place}: {}", error.what()),
        None => error.what().to_owned(),
    };
    let told = Error::new(error.code(), what).act(error.actor());
    match error.expectation() {
        Some(expected) => told.expected(expected),
        None => told,
    }
}

impl Detectors for Models {
    fn open(&self, model: &str) -> Result<Arc<dyn Detector>> {
        self.opened(model).map_err(of_script)
    }
}

impl Models {
    fn opened(&self, model: &str) -> Result<Arc<dyn Detector>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = open.models.get(model) {
            return Ok(Arc::clone(known) as Arc<dyn Detector>);
        }
        let (path, bytes) = self.bytes(model)?;
        let engine = match &open.runtime {
            Some(engine) => engine.clone(),
            None => {
                let (engine, instead) = Chosen::find(None)?;
                if let Some(error) = instead {
                    tracing::warn!("{error}\n  tract runs the model instead");
                }
                open.runtime.insert(engine).clone()
            }
        };
        let recipe = Recipe { engine, settings: Settings::new(&path), bytes };
        let info = recipe.model()?.info().clone();
        tracing::info!("model {model}: {}, sha256 {}", info.engine, info.sha256);
        let made = Arc::new(OpenModel {
            name: model.to_owned(),
            sha256: info.sha256,
            recipe,
            places: self.places.clone(),
            pool: OnceLock::new(),
            starting: Mutex::new(()),
        });
        open.models.insert(model.to_owned(), Arc::clone(&made));
        Ok(made)
    }
}

/// How a model is made, once for each thread.
#[derive(Clone)]
struct Recipe {
    engine: Chosen,
    settings: Settings,
    bytes: Arc<[u8]>,
}

impl Recipe {
    fn model(&self) -> Result<Model> {
        Model::of(self.engine.backend(), self.settings.clone(), &self.bytes)
    }
}

/// What the pool is given.
#[derive(Clone)]
enum Job {
    Bytes(Vec<u8>),
    Stored(String),
}

/// Which image it is, as far as a detector knows.
impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Job::Bytes(bytes) => write!(f, "an image of {} bytes", bytes.len()),
            Job::Stored(uri) => write!(f, "frame {uri}"),
        }
    }
}

struct OpenModel {
    name: String,
    sha256: String,
    recipe: Recipe,
    places: Places,
    pool: OnceLock<Patient>,
    starting: Mutex<()>,
}

/// Part of the program's version: the model, and nothing of this process.
impl fmt::Debug for OpenModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "model {} {}", self.name, self.sha256)
    }
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).clamp(1, THREADS_MAX)
}

impl OpenModel {
    /// Threads start with the first image, so that `weir check` starts none.
    fn pool(&self) -> Result<&Patient> {
        let _one = self.starting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pool) = self.pool.get() {
            return Ok(pool);
        }
        let settings = PoolSettings { threads: threads(), queue_max: 2 * threads(), limit: IMAGE_LIMIT };
        let (recipe, places) = (self.recipe.clone(), self.places.clone());
        let pool = Pool::start(settings, move || {
            let look = Look { model: recipe.model()?, places: places.clone(), limits: Limits::default() };
            Ok(Box::new(look) as Box<dyn Worker<Job, Vec<Found>>>)
        })?;
        let tries = (PATIENCE.as_secs() / IMAGE_LIMIT.as_secs()) as usize;
        let patient = Patient { pool, model: self.name.clone(), tries, slow: AtomicBool::new(false) };
        Ok(self.pool.get_or_init(|| patient))
    }
}

/// A pool, and how long it is waited for.
struct Patient {
    pool: Pool<Job, Vec<Found>>,
    model: String,
    /// At one image.
    tries: usize,
    /// It was said that this machine is slow.
    slow: AtomicBool,
}

impl Patient {
    /// One answer; a job that was not done in time is tried again.
    ///
    /// # Errors
    /// What stops the run, `W0808` after the last try among it.
    fn answer(&self, ticket: Ticket<Vec<Found>>, job: Job) -> Result<Result<Vec<Found>>> {
        let mut found = ticket.wait();
        for _ in 1..self.tries {
            match &found {
                Err(error) if error.code() == Code::TooSlow => self.tell(&job, error),
                _ => break,
            }
            found = self.submit(&job)?.wait();
        }
        match found {
            Err(error) if error.code() == Code::TooSlow => Err(self.too_slow(&job, error.what())),
            Err(error) if !of_the_image(error.code()) => Err(error),
            other => Ok(other),
        }
    }

    /// Waits for room; others' images leave the pool in bounded time, unless a library hangs.
    fn submit(&self, job: &Job) -> Result<Ticket<Vec<Found>>> {
        let since = WallClock.monotonic();
        loop {
            match self.pool.submit(job.clone()) {
                Err(error) if error.code() == Code::Busy => {
                    if WallClock.monotonic().saturating_sub(since) > PATIENCE {
                        return Err(self.too_slow(job, error.what()));
                    }
                    std::thread::sleep(ROOM);
                }
                other => return other,
            }
        }
    }

    /// Once a model.
    fn tell(&self, job: &Job, error: &Error) {
        if !self.slow.swap(true, SeqCst) {
            tracing::warn!("{error}\n  model {}, {job}: tried again; nothing is lost", self.model);
        }
    }

    fn too_slow(&self, job: &Job, why: &str) -> Error {
        let what = format!("model {}, {job}: {why}, in {} tries", self.model, self.tries);
        Error::new(Code::TooSlow, what)
            .expected("an answer; what an image may cost is bounded, so it is this machine that is too slow")
            .act("operator: fewer programs beside it, or a smaller model; then start it again. Nothing of the image was acknowledged.")
    }
}

/// Whether an error is the answer for one image.
fn of_the_image(code: Code) -> bool {
    matches!(
        code,
        Code::BadImage
            | Code::ImageTooLarge
            | Code::Inference
            | Code::WorkerPanic
            | Code::NoFrame
            | Code::FrameChanged
    )
}

impl Detector for OpenModel {
    fn model(&self) -> &str {
        &self.name
    }

    fn sha256(&self) -> &str {
        &self.sha256
    }

    fn detect(&self, images: &[Image<'_>]) -> Result<Vec<Result<Vec<Found>>>> {
        let mut answers = Vec::with_capacity(images.len());
        if images.is_empty() {
            return Ok(answers);
        }
        let pool = self.pool()?;
        let mut waiting: VecDeque<(Ticket<Vec<Found>>, Job)> = VecDeque::new();
        for image in images {
            let job = match image {
                Image::Inline(bytes) => Job::Bytes(bytes.to_vec()),
                Image::Stored(uri) => Job::Stored((*uri).to_owned()),
            };
            if waiting.len() >= threads()
                && let Some((ticket, job)) = waiting.pop_front()
            {
                answers.push(pool.answer(ticket, job)?);
            }
            waiting.push_back((pool.submit(&job)?, job));
        }
        for (ticket, job) in waiting {
            answers.push(pool.answer(ticket, job)?);
        }
        Ok(answers)
    }
}

/// One thread's model.
struct Look {
    model: Model,
    places: Places,
    limits: Limits,
}

impl Worker<Job, Vec<Found>> for Look {
    fn work(&mut self, job: Job, stop: &Stop) -> Result<Vec<Found>> {
        let bytes = match job {
            Job::Bytes(bytes) => bytes,
            Job::Stored(uri) => match self.places.store() {
                Some(store) => store.get(&uri, self.limits.encoded_bytes_max)?,
                None => {
                    let what = "a frame is stored elsewhere, and no store is named";
                    return Err(Error::new(Code::BadOption, what)
                        .expected("WEIR_FRAMES, the folder of stored frames")
                        .act("operator: name it and start again; nothing of the frame was acknowledged."));
                }
            },
        };
        Ok(told::of_image(&mut self.model, &bytes, &self.limits, stop)?.into_iter().map(found).collect())
    }
}

/// In the engine's words.
fn found(told: Told) -> Found {
    let Told { label, confidence, x1, y1, x2, y2 } = told;
    Found { label, confidence, x1, y1, x2, y2 }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    /// A machine that is done with the n-th look, and not before.
    fn slow(done: usize, tries: usize) -> (Patient, Arc<AtomicUsize>) {
        let looks = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&looks);
        let settings = PoolSettings { threads: 1, queue_max: 1, limit: Duration::from_millis(20) };
        let pool = Pool::start(settings, move || {
            let seen = Arc::clone(&seen);
            let look = move |_: Job, stop: &Stop| -> Result<Vec<Found>> {
                if seen.fetch_add(1, SeqCst) + 1 >= done {
                    return Err(Error::new(Code::BadImage, "the answer"));
                }
                while !stop.is_stopped() {
                    std::thread::yield_now();
                }
                Err(stop.check("looking").unwrap_err())
            };
            Ok(Box::new(look) as Box<dyn Worker<Job, Vec<Found>>>)
        });
        let pool = pool.unwrap();
        (Patient { pool, model: "m".into(), tries, slow: AtomicBool::new(false) }, looks)
    }

    #[test]
    fn a_slow_look_is_no_answer_of_the_image() {
        let job = Job::Stored("sha256:ab".into());
        // An answer that comes is the answer, however often the machine was too slow for it.
        let (patient, looks) = slow(5, usize::MAX);
        let found = patient.answer(patient.submit(&job).unwrap(), job.clone()).unwrap();
        assert_eq!(found.unwrap_err().code(), Code::BadImage);
        assert!(looks.load(SeqCst) >= 5 && patient.slow.load(SeqCst));
        // One that never comes stops the run: the image is not refused.
        let (patient, _) = slow(usize::MAX, 3);
        let stops = patient.answer(patient.submit(&job).unwrap(), job.clone()).unwrap_err();
        assert_eq!(stops.code(), Code::TooSlow);
        for word in ["model m", "sha256:ab", "3 tries", "too slow", "Nothing of the image was acknowledged"] {
            assert!(stops.to_string().contains(word), "{word}: {stops}");
        }
        assert!(!of_the_image(Code::TooSlow));
    }

    #[test]
    fn names_are_no_paths_and_a_missing_model_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let models = Models::new(Places { models: folder.path().into(), ..Places::default() });
        for odd in ["", "../x", "/etc/passwd", ".hidden", "a b", "x\0"] {
            assert_eq!(models.open(odd).unwrap_err().code(), Code::NoModel, "{odd:?}");
        }
        let missing = models.open("other").unwrap_err();
        assert_eq!(missing.code(), Code::NoModel);
        assert!(missing.to_string().contains("other.onnx") && missing.to_string().contains("WEIR_MODELS"));
        std::fs::write(folder.path().join("other.onnx"), b"not a model").unwrap();
        assert_eq!(models.open("other").unwrap_err().code(), Code::BadModel);
        assert_eq!(models.bytes(SHIPPED.0).unwrap().1.len(), SHIPPED.1.len(), "the binary carries its own");
    }
}
