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

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use weir_contract::{Code, Error, Result};
use weir_engine::detect::{Detector, Detectors, Found, Image};
use weir_vision::decode::Limits;
use weir_vision::detector::{Chosen, Detector as _, MODEL_BYTES_MAX, Model, Settings, read};
use weir_vision::pool::{Pool, PoolSettings, Ticket, Worker};
use weir_vision::stop::Stop;
use weir_vision::store::Store;
use weir_vision::told::{self, SHIPPED, Told};

/// Of one image, queue and work together. Eyeballed: a hundred times what a slow machine takes for a large
/// one, so that it is the image and not the machine.
const IMAGE_LIMIT: Duration = Duration::from_secs(30);
/// Looks at one image that was not done in time; after them it is refused.
const LOOKS: usize = 2;
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
}

impl Places {
    pub fn of_environment() -> Places {
        let named = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        Places {
            models: named("WEIR_MODELS").unwrap_or_else(|| "models".into()),
            frames: named("WEIR_FRAMES"),
        }
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
            store: self.places.frames.as_ref().map(Store::new),
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

struct OpenModel {
    name: String,
    sha256: String,
    recipe: Recipe,
    store: Option<Store>,
    pool: OnceLock<Pool<Job, Vec<Found>>>,
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
    fn pool(&self) -> Result<&Pool<Job, Vec<Found>>> {
        let _one = self.starting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pool) = self.pool.get() {
            return Ok(pool);
        }
        let settings = PoolSettings { threads: threads(), queue_max: 2 * threads(), limit: IMAGE_LIMIT };
        let (recipe, store) = (self.recipe.clone(), self.store.clone());
        let pool = Pool::start(settings, move || {
            let look = Look { model: recipe.model()?, store: store.clone(), limits: Limits::default() };
            Ok(Box::new(look) as Box<dyn Worker<Job, Vec<Found>>>)
        })?;
        Ok(self.pool.get_or_init(|| pool))
    }

    /// One answer; a job that was not done in time is tried again.
    fn answer(&self, ticket: Ticket<Vec<Found>>, job: Job) -> Result<Result<Vec<Found>>> {
        let mut found = ticket.wait();
        for _ in 1..LOOKS {
            if !matches!(&found, Err(e) if e.code() == Code::TooSlow) {
                break;
            }
            found = self.submit(&job)?.wait();
        }
        match found {
            Err(error) if !of_the_image(error.code()) => Err(error),
            other => Ok(other),
        }
    }

    /// Waits for room; others' images leave the pool in bounded time.
    fn submit(&self, job: &Job) -> Result<Ticket<Vec<Found>>> {
        loop {
            match self.pool()?.submit(job.clone()) {
                Err(error) if error.code() == Code::Busy => std::thread::sleep(ROOM),
                other => return other,
            }
        }
    }
}

/// Whether an error is the answer for one image.
fn of_the_image(code: Code) -> bool {
    matches!(
        code,
        Code::BadImage
            | Code::ImageTooLarge
            | Code::Inference
            | Code::TooSlow
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
        let mut waiting: VecDeque<(Ticket<Vec<Found>>, Job)> = VecDeque::new();
        for image in images {
            let job = match image {
                Image::Inline(bytes) => Job::Bytes(bytes.to_vec()),
                Image::Stored(uri) => Job::Stored((*uri).to_owned()),
            };
            if waiting.len() >= threads()
                && let Some((ticket, job)) = waiting.pop_front()
            {
                answers.push(self.answer(ticket, job)?);
            }
            waiting.push_back((self.submit(&job)?, job));
        }
        for (ticket, job) in waiting {
            answers.push(self.answer(ticket, job)?);
        }
        Ok(answers)
    }
}

/// One thread's model.
struct Look {
    model: Model,
    store: Option<Store>,
    limits: Limits,
}

impl Worker<Job, Vec<Found>> for Look {
    fn work(&mut self, job: Job, stop: &Stop) -> Result<Vec<Found>> {
        let bytes = match job {
            Job::Bytes(bytes) => bytes,
            Job::Stored(uri) => match &self.store {
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
    use super::*;

    #[test]
    fn names_are_no_paths_and_a_missing_model_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let models = Models::new(Places { models: folder.path().into(), frames: None });
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
