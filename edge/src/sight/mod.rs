//! What a device sees in its own frames: codes for the scans, brands for the detections.
//!
//! In:   frames of cameras, whether each is kept; `[camera.barcodes]` and `[detect]`.
//! Out:  [`Seen`], for each camera in the order of its frames.
//! Owns: the frames that wait, and one thread (a pool of `vision`) that looks at one after the other. `look` is
//!       that thread's work, `tally` counts readings over frames.
//!
//! S1  Nothing here waits: the loop hands frames in and takes answers, scans and frames go on meanwhile.
//! S2  One frame of each camera waits, the newest; the one that it replaces is counted. Where there is a model, a
//!     frame that was sent gives way to another such one only, not to those that are read for codes alone.
//!     Cameras take turns, so a frame's answer is there after at most as many looks as there are cameras, and the
//!     one that had begun: rows of overloaded eyes are few, not old.
//! S3  A frame's time is known until its answer was taken: heartbeats of what it may become stay behind it.
//! S4  A frame that cannot be read, or takes longer than `LIMIT`, is counted and has no rows: it is not "saw
//!     nothing".

mod look;
mod tally;
#[cfg(test)]
pub(crate) mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use weir_contract::{Error, Result};
use weir_vision::detector::{Chosen, Detector as _, MODEL_BYTES_MAX, Settings, read};
use weir_vision::pool::{Pool, PoolSettings, Ticket};
use weir_vision::told::{SHIPPED, Told};

pub use look::Reading;
use look::{Answer, Job, Recipe};
pub use tally::Sight;
use tally::Tally;
pub(crate) use tally::fits;
#[cfg(test)]
use tests::find;

use crate::agent::{DETECTIONS, SCANS};
use crate::capture::Gate;
use crate::config::{Config, Detect, Trigger};
use crate::time::DeviceTime;

/// Frames that the thread may have: one, and one that took too long and has not seen its stop.
const INSIDE_MAX: u64 = 2;
/// Of one frame. Eyeballed: a hundred times what a slow device takes.
const LIMIT: Duration = Duration::from_secs(20);

/// A frame that was sent, by what its detections are called after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    pub event_id: String,
    pub frame_id: String,
    /// None where the record has the bytes.
    pub frame_uri: Option<String>,
}

/// A frame to look at.
#[derive(Debug)]
pub struct Wanted {
    pub camera: usize,
    pub bytes: Vec<u8>,
    pub time: DeviceTime,
    /// Monotonic, when it came.
    pub now_us: i64,
    pub kept: Option<Kept>,
}

/// What was seen in a frame.
#[derive(Debug)]
pub struct Seen {
    pub camera: usize,
    pub time: DeviceTime,
    /// Codes that became sure with this frame.
    pub codes: Vec<Sight>,
    /// Everything that was found, where the frame was kept.
    pub found: Option<(Kept, Vec<Told>)>,
}

/// What says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelName {
    pub name: String,
    pub sha256: String,
    /// Engine and version, for people.
    pub engine: String,
}

/// How looking goes, for one camera.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct SightState {
    pub looked: u64,
    /// Replaced by newer frames.
    pub dropped: u64,
    /// Images that are none, and frames that the model failed on or that took too long.
    pub refused: u64,
    /// Codes that were published.
    pub codes: u64,
    /// Readings that could be no scanner's code: control characters, blank, too long.
    pub unreadable: u64,
    /// Looks for codes in which the library panicked; each read nothing.
    pub panics: u64,
    /// Of the last frame; none where it was read.
    pub trouble: Option<String>,
}

struct Camera {
    /// Which frames are read beside the kept ones, and the codes; none: no codes are read.
    codes: Option<(Option<Gate>, Tally)>,
    state: SightState,
    waiting: Option<Wanted>,
}

/// The frame that is looked at.
struct Inside {
    wanted: Wanted,
    since_us: i64,
    ticket: Ticket<Answer>,
}

pub struct Eyes {
    cameras: Vec<Camera>,
    model: Option<ModelName>,
    pool: Pool<Job, Answer>,
    /// The camera whose turn it is.
    turn: usize,
    inside: Option<Inside>,
}

/// ONNX Runtime has one environment a process: the agent asks once.
#[cfg(not(test))]
fn find(configured: Option<&std::path::Path>) -> Result<(Chosen, Option<Error>)> {
    Chosen::find(configured)
}

/// Opens a model once, to know that it works and what it is called.
fn model(detect: &Detect) -> Result<(look::ModelRecipe, ModelName)> {
    let (path, bytes): (PathBuf, Arc<[u8]>) = match &detect.model {
        None => (format!("{}.onnx", SHIPPED.0).into(), SHIPPED.1.into()),
        Some(path) => (path.clone(), read(path, MODEL_BYTES_MAX)?.into()),
    };
    let (engine, instead) = find(detect.runtime.as_deref())?;
    if let Some(error) = instead {
        tracing::warn!("{error}\n  tract runs the model instead");
    }
    let confidence_min = detect.confidence_min;
    let settings = Settings { sha256: detect.sha256.clone(), confidence_min, ..Settings::new(&path) };
    let recipe = look::ModelRecipe { engine, settings, bytes };
    let info = recipe.open()?.info().clone();
    let name = path.file_stem().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    Ok((recipe, ModelName { name, sha256: info.sha256, engine: info.engine }))
}

impl Eyes {
    /// Opens what the settings name. `None` where they ask for nothing.
    ///
    /// # Errors
    /// A list of codes that cannot be read (`W0201`); a model or a runtime that is not there, is damaged or
    /// is another one (`W0803` to `W0806`).
    pub fn open(config: &Config) -> Result<Option<Eyes>> {
        let reads = config.cameras.iter().any(|c| c.barcodes.is_some());
        if config.cameras.is_empty() || !reads && config.detect.is_none() {
            return Ok(None);
        }
        let (recipe, name) = match &config.detect {
            Some(detect) => model(detect).map(|(recipe, name)| (Some(recipe), Some(name)))?,
            None => (None, None),
        };
        let readers = config.cameras.iter().map(|c| c.barcodes.as_ref().map(Reading::open).transpose());
        let recipe = Recipe { model: recipe, readers: readers.collect::<Result<_>>()? };
        let settings = PoolSettings { threads: 1, queue_max: INSIDE_MAX as usize, limit: LIMIT };
        let pool = Pool::start(settings, move || Ok(Box::new(recipe.look()?)))?;
        let camera = |c: &crate::config::Camera| Camera {
            codes: c.barcodes.as_ref().map(|b| {
                let gate = b.rate.map(|rate| Gate::new(Trigger::Continuous { rate }, i64::MAX));
                (gate, Tally::new(b.agree_us, b.debounce_us))
            }),
            state: SightState::default(),
            waiting: None,
        };
        let cameras = config.cameras.iter().map(camera).collect();
        Ok(Some(Eyes { cameras, model: name, pool, turn: 0, inside: None }))
    }

    pub fn model(&self) -> Option<&ModelName> {
        self.model.as_ref()
    }

    /// Where this camera's frames are looked at at all.
    pub fn state(&self, camera: usize) -> Option<&SightState> {
        let camera = self.cameras.get(camera)?;
        (camera.codes.is_some() || self.model.is_some()).then_some(&camera.state)
    }

    /// Whether a frame is to be handed in.
    pub fn wants(&mut self, camera: usize, now_us: i64, kept: bool) -> bool {
        let Some(camera) = self.cameras.get_mut(camera) else { return false };
        match &mut camera.codes {
            // A kept frame counts for the rate too.
            Some((Some(gate), _)) => gate.frame(now_us).is_some() || kept,
            Some((None, _)) => kept,
            None => kept && self.model.is_some(),
        }
    }

    pub fn put(&mut self, wanted: Wanted) {
        let detects = self.model.is_some();
        let has_rows = |w: &Wanted| detects && w.kept.is_some();
        let Some(camera) = self.cameras.get_mut(wanted.camera) else { return };
        if camera.waiting.as_ref().is_some_and(has_rows) && !has_rows(&wanted) {
            camera.state.dropped += 1;
            return;
        }
        if camera.waiting.replace(wanted).is_some() {
            camera.state.dropped += 1;
        }
    }

    pub fn busy(&self) -> bool {
        self.inside.is_some() || self.cameras.iter().any(|c| c.waiting.is_some())
    }

    /// The frame of the next camera that has one.
    fn next(&mut self) -> Option<Wanted> {
        let (before, from) = self.cameras.split_at_mut(self.turn);
        let wanted = from.iter_mut().chain(before).find_map(|c| c.waiting.take())?;
        self.turn = (wanted.camera + 1) % self.cameras.len();
        Some(wanted)
    }

    /// The oldest frame within that may become a record of a lane.
    pub fn oldest(&self, lane: usize) -> Option<DeviceTime> {
        let may = |w: &&Wanted| match lane {
            SCANS => self.cameras.get(w.camera).is_some_and(|c| c.codes.is_some()),
            DETECTIONS => self.model.is_some() && w.kept.is_some(),
            _ => false,
        };
        let waiting = self.cameras.iter().filter_map(|c| c.waiting.as_ref());
        let within = self.inside.iter().map(|i| &i.wanted).chain(waiting);
        within.filter(may).map(|w| w.time).min_by_key(|t| t.boot_us)
    }

    /// Takes an answer that is there, and hands the next frame in. Never waits.
    pub fn turn(&mut self, now_us: i64) -> Option<Seen> {
        let mut seen = None;
        if let Some(inside) = &self.inside {
            let late = now_us - inside.since_us > LIMIT.as_micros() as i64;
            let answer = match inside.ticket.poll() {
                None if late => Some(Err(look::too_slow(LIMIT))),
                answer => answer,
            };
            if let Some(answer) = answer {
                seen = self.inside.take().map(|inside| self.judge(inside.wanted, answer));
            }
        }
        if self.inside.is_none()
            && self.pool.counts().inside() < INSIDE_MAX
            && let Some(wanted) = self.next()
        {
            self.begin(wanted, now_us);
        }
        seen
    }

    /// Waits for everything that is within: for a script, which would outrun the thread.
    pub fn settle(&mut self, now_us: i64) -> Vec<Seen> {
        let mut all = Vec::new();
        while self.busy() {
            match self.inside.take() {
                Some(inside) => {
                    let answer = inside.ticket.wait();
                    all.push(self.judge(inside.wanted, answer));
                }
                None => {
                    if let Some(wanted) = self.next() {
                        self.begin(wanted, now_us);
                    }
                }
            }
        }
        all
    }

    fn begin(&mut self, mut wanted: Wanted, now_us: i64) {
        let job = Job { camera: wanted.camera, bytes: std::mem::take(&mut wanted.bytes) };
        match self.pool.submit(job) {
            Ok(ticket) => self.inside = Some(Inside { wanted, since_us: now_us, ticket }),
            Err(busy) => {
                // The thread is still with those that took too long: counted, and nothing was seen.
                let _nothing = self.judge(wanted, Err(busy));
            }
        }
    }

    fn judge(&mut self, wanted: Wanted, answer: Result<Answer>) -> Seen {
        let Wanted { camera, time, now_us, kept, .. } = wanted;
        let own = &mut self.cameras[camera];
        own.state.looked += 1;
        let mut seen = Seen { camera, time, codes: Vec::new(), found: None };
        let mut refused = |why: Error| {
            // Once for each kind: a broken camera says it ten times a second.
            if own.state.trouble.as_deref() != Some(why.what()) {
                tracing::warn!(camera, "a frame has no rows: {why}");
            }
            own.state.refused += 1;
            own.state.trouble = Some(why.what().to_owned());
        };
        match answer {
            Err(why) => refused(why),
            Ok(Answer { codes, panics, found }) => {
                own.state.panics += panics;
                match found {
                    Some(Err(why)) => refused(why),
                    found => {
                        own.state.trouble = None;
                        seen.found = found.and_then(Result::ok).and_then(|told| Some((kept?, told)));
                    }
                }
                if let Some((_, tally)) = &mut own.codes {
                    seen.codes = tally.take(&codes, now_us);
                    own.state.codes += seen.codes.len() as u64;
                    own.state.unreadable = tally.unreadable;
                }
            }
        }
        seen
    }
}
