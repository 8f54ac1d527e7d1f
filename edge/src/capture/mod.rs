//! Cameras: whole JPEGs with the time at which their last byte came.
//!
//! In:   a camera's settings. Out: frames in a queue of two, the newest ones; the rest is counted.
//! Owns: one thread per camera, and its child process. The thread waits for bytes; a second one watches that
//!       some come.
//!
//! `FIRST` in place of `stall` until the first frame of a life.
//!
//! | camera is | bytes                        | no frame for `stall`      | it ends                |
//! |-----------|------------------------------|---------------------------|------------------------|
//! | running   | frames to the queue          | killed, counted as stall  | begun again            |
//! | paused    | –                            | –                         | pauses double to 10 s  |
//!
//! P1  A child that stalls, floods, writes garbage or ends never stops the agent: memory stays within one
//!     frame's cap and the queue.
//! P2  A frame that is not taken in time gives way to the next one, counted.

mod child;
mod folder;
mod gate;
mod network;
mod split;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use weir_contract::{Clock, Code, Error, Result};

pub use gate::Gate;
#[cfg(test)]
pub(crate) use split::test_jpeg;
pub use split::{Jpeg, SplitCounts, Splitter};

use crate::config::{Camera, CameraKind};
use crate::time::{DeviceClock, DeviceTime, rest};

/// Newer frames push older ones out.
pub const FRAMES_MAX: usize = 2;
const PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));
/// A sensor starts up, and ffmpeg looks at a stream for five seconds before it passes anything on.
pub const FIRST: Duration = Duration::from_secs(15);

/// A frame and when it came.
#[derive(Debug, Clone)]
pub struct Frame {
    pub jpeg: Jpeg,
    pub time: DeviceTime,
    /// Monotonic, for the gate.
    pub now_us: i64,
}

/// How a camera is.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct CameraState {
    pub running: bool,
    pub trouble: Option<String>,
    pub starts: u64,
    pub stalls: u64,
    /// Frames that nobody took in time.
    pub dropped: u64,
    pub split: SplitCounts,
}

#[derive(Default)]
struct Inner {
    frames: VecDeque<Frame>,
    state: CameraState,
    /// Monotonic time of the last frame, or of the start.
    alive_us: i64,
    /// Whether this life has had a frame.
    begun: bool,
}

/// What the camera's thread and the agent share.
#[derive(Clone, Default)]
pub struct Shared(Arc<Mutex<Inner>>);

impl Shared {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The oldest waiting frame.
    pub fn take(&self) -> Option<Frame> {
        self.inner().frames.pop_front()
    }

    /// When the oldest waiting frame was seen.
    pub fn oldest(&self) -> Option<DeviceTime> {
        self.inner().frames.front().map(|frame| frame.time)
    }

    pub fn state(&self) -> CameraState {
        self.inner().state.clone()
    }

    /// Puts a frame there that no camera of this process took.
    pub fn show(&self, frame: Frame, split: SplitCounts) {
        self.put(frame);
        let mut inner = self.inner();
        inner.state.split.frames += split.frames;
        inner.state.split.broken += split.broken;
        inner.state.split.too_large += split.too_large;
    }

    fn put(&self, frame: Frame) {
        let mut inner = self.inner();
        (inner.alive_us, inner.begun) = (frame.now_us, true);
        inner.state.running = true;
        inner.state.trouble = None;
        while inner.frames.len() >= FRAMES_MAX {
            inner.frames.pop_front();
            inner.state.dropped += 1;
        }
        inner.frames.push_back(frame);
    }
}

/// A stream of JPEG bytes.
trait FrameSource: Send {
    /// Waits for bytes; 0 at the end.
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize>;
    /// Makes a waiting `read` end, from another thread.
    fn killer(&self) -> Box<dyn FnMut() + Send>;
    /// The end of a run: what the other side said, where it said anything.
    fn finish(&mut self) -> Option<String> {
        None
    }
}

fn open(camera: &Camera, stop: &Arc<AtomicBool>) -> Result<Box<dyn FrameSource>> {
    Ok(match &camera.kind {
        CameraKind::Command { command } => Box::new(child::Child::start(command)?),
        CameraKind::Folder { path, fps } => {
            Box::new(folder::Folder::open(path, *fps, camera.frame_bytes_max, stop.clone())?)
        }
        CameraKind::Http { url, tls } => {
            Box::new(network::Stream::open(url, tls, Duration::from_micros(camera.stall_us.cast_unsigned()))?)
        }
    })
}

/// How long a camera may give no frame.
fn patience_us(stall_us: i64, begun: bool) -> i64 {
    if begun { stall_us } else { stall_us.max(FIRST.as_micros() as i64) }
}

/// A camera's thread.
pub struct Running {
    camera: Camera,
    device: DeviceClock,
    clock: Arc<dyn Clock>,
    stop: Arc<AtomicBool>,
    shared: Shared,
    /// Called after each frame; must not wait.
    wake: Box<dyn Fn() + Send>,
}

/// Runs a camera in a thread of its own until `stop` is set.
pub fn start(
    number: usize,
    camera: Camera,
    device: DeviceClock,
    clock: Arc<dyn Clock>,
    stop: Arc<AtomicBool>,
    wake: Box<dyn Fn() + Send>,
) -> Result<(Shared, thread::JoinHandle<()>)> {
    let shared = Shared::default();
    let running = Running { camera, device, clock, stop, shared: shared.clone(), wake };
    let handle = thread::Builder::new()
        .name(format!("camera {number}"))
        .spawn(move || running.run())
        .map_err(|e| Error::new(Code::Io, format!("cannot start a thread: {e}")))?;
    Ok((shared, handle))
}

impl Running {
    fn now_us(&self) -> i64 {
        i64::try_from(self.clock.monotonic().as_micros()).unwrap_or(i64::MAX)
    }

    fn stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn run(self) {
        let mut splitter = Splitter::new(self.camera.frame_bytes_max);
        let mut pause = PAUSE.0;
        while !self.stopping() {
            let before = splitter.counts.frames;
            let trouble = match open(&self.camera, &self.stop) {
                Ok(mut source) => self.watch(&mut *source, &mut splitter),
                Err(e) => e.what().to_owned(),
            };
            splitter.cut();
            if splitter.counts.frames > before {
                pause = PAUSE.0;
            }
            {
                let mut inner = self.shared.inner();
                inner.state.running = false;
                inner.state.trouble = Some(trouble);
                inner.state.split = splitter.counts;
            }
            rest(pause, &self.stop);
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    /// One life of a source; gives why it ended.
    fn watch(&self, source: &mut dyn FrameSource, splitter: &mut Splitter) -> String {
        {
            let mut inner = self.shared.inner();
            inner.state.starts += 1;
            (inner.alive_us, inner.begun) = (self.now_us(), false);
        }
        let over = Arc::new(AtomicBool::new(false));
        let stalled = Arc::new(AtomicBool::new(false));
        let watchdog = match self.watchdog(source.killer(), over.clone(), stalled.clone()) {
            Ok(watchdog) => watchdog,
            Err(e) => return format!("cannot start a thread: {e}"),
        };
        let mut buffer = vec![0; 64 << 10];
        let mut frames = Vec::new();
        let ended = loop {
            match source.read(&mut buffer) {
                Ok(0) => break "the stream ended".to_owned(),
                Ok(count) => {
                    splitter.push(&buffer[..count], &mut frames);
                    let (time, now_us) = (self.device.now(), self.now_us());
                    for jpeg in frames.drain(..) {
                        self.shared.put(Frame { jpeg, time, now_us });
                        (self.wake)();
                    }
                    self.shared.inner().state.split = splitter.counts;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => break e.to_string(),
            }
            if self.stopping() || stalled.load(Ordering::Relaxed) {
                break "stopped".to_owned();
            }
        };
        over.store(true, Ordering::Relaxed);
        // Before the child is reaped: it must not kill a number that belongs to somebody else.
        let _it_only_watched = watchdog.join();
        let said = source.finish();
        if stalled.load(Ordering::Relaxed) {
            let mut inner = self.shared.inner();
            inner.state.stalls += 1;
            return format!("no frame for {} ms", patience_us(self.camera.stall_us, inner.begun) / 1_000);
        }
        said.map_or(ended.clone(), |said| format!("{ended}: {said}"))
    }

    fn watchdog(
        &self,
        mut kill: Box<dyn FnMut() + Send>,
        over: Arc<AtomicBool>,
        stalled: Arc<AtomicBool>,
    ) -> io::Result<thread::JoinHandle<()>> {
        let (shared, clock, stop) = (self.shared.clone(), self.clock.clone(), self.stop.clone());
        let stall_us = self.camera.stall_us;
        thread::Builder::new().name("watchdog".into()).spawn(move || {
            while !over.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(20));
                let now = i64::try_from(clock.monotonic().as_micros()).unwrap_or(i64::MAX);
                let dead = {
                    let inner = shared.inner();
                    now - inner.alive_us > patience_us(stall_us, inner.begun)
                };
                if dead && !over.load(Ordering::Relaxed) {
                    stalled.store(true, Ordering::Relaxed);
                    kill();
                    return;
                }
                if stop.load(Ordering::Relaxed) {
                    kill();
                    return;
                }
            }
        })
    }
}
