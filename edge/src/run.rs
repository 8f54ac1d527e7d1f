//! The agent as it runs: one place waits, `agent` and `publish` decide, this acts.
//!
//! In:   a configuration and a way to make senders. Out: nothing until it is stopped.
//! Owns: the spool, the threads of scanners, cameras and eyes, and when each thing is due.
//!
//! R1  A record is durable within the group time (50 ms) of its coming, while the disk takes it.
//! R2  A disk that refuses for `DISK_PATIENCE_US` is given up for memory, with an alarm in every health
//!     record; the next start tries it again.
//! R3  A clean stop leaves nothing pending, and the ledger knows every acknowledgement.

pub mod play;
mod report;
pub use report::last_status;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender as Channel, bounded, select};
use weir_contract::{Clock, Code, Error, Result};
use weir_segments::Disk;

use crate::agent::{Agent, DETECTIONS, FRAMES, SCANS};
use crate::capture::{self, Frame, Shared};
use crate::config::{Config, To};
use crate::gpio::{Lamp, Pins, Watch};
use crate::publish::frames::depot::{Nowhere, Putter};
use crate::publish::frames::{Depot, StoredFrames};
use crate::publish::http::HttpSender;
use crate::publish::kafka::{self, KafkaSender};
use crate::publish::{Pace, Publisher, Sender, Window};
use crate::scan::{self, LineCounts, ScanEvent};
use crate::sight::{Eyes, Seen, Wanted};
use crate::spool::{LaneOptions, Spool};
use crate::time::{DeviceClock, DeviceTime};

/// Codes that may wait for the loop; beyond, scanners wait.
const INBOX_MAX: usize = 4_096;
/// Codes that one turn of the loop takes.
const TURN_MAX: usize = 2_048;
/// A group is closed early at this size.
const GROUP_BYTES: usize = 1 << 20;
const DISK_PATIENCE_US: i64 = 10_000_000;
const SECOND_US: i64 = 1_000_000;
/// While records are on their way the loop looks this often for answers.
const LOOK: Duration = Duration::from_millis(5);
const IDLE: Duration = Duration::from_millis(50);
const STOP_PATIENCE: Duration = Duration::from_secs(3);

/// How much of each lane may be on its way; frames little, so that a slow link is never full of them.
const WINDOWS: [Window; 4] = [
    Window { records: 5_000, bytes: 4 << 20 },
    Window { records: 2_000, bytes: 1 << 20 },
    Window { records: 200, bytes: 256 << 10 },
    Window { records: 8, bytes: 512 << 10 },
];

/// Makes the senders that a configuration names, a lane each.
pub fn senders(config: &Config) -> Result<Vec<(Box<dyn Sender>, Window)>> {
    let mut senders: Vec<(Box<dyn Sender>, Window)> = Vec::new();
    for (number, (lane, window)) in config.lanes.iter().zip(WINDOWS).enumerate() {
        let mut sender: Box<dyn Sender> = match &config.to {
            To::Kafka { brokers, insecure, properties } => {
                Box::new(KafkaSender::new(kafka::client(brokers, properties, *insecure)?, &lane.topic)?)
            }
            To::Http(target) => Box::new(HttpSender::new(target.clone(), &lane.topic)?),
            To::Spool => return Ok(Vec::new()),
        };
        if number == FRAMES {
            let depot: Box<dyn Depot> = match &config.frame_store {
                Some(store) => Box::new(Putter::new(store.at.clone())?),
                None => Box::new(Nowhere::default()),
            };
            sender = Box::new(StoredFrames::new(sender, depot));
        }
        senders.push((sender, window));
    }
    Ok(senders)
}

/// A running agent.
pub struct Edge {
    config: Config,
    clock: Arc<dyn Clock>,
    device: DeviceClock,
    agent: Agent,
    spool: Spool,
    publisher: Option<Publisher>,
    codes: (Channel<ScanEvent>, Receiver<ScanEvent>),
    wake: (Channel<()>, Receiver<()>),
    edges: Arc<AtomicU64>,
    edges_seen: u64,
    cameras: Vec<Shared>,
    eyes: Option<Eyes>,
    frames_before: Vec<u64>,
    scanners: Vec<(Option<String>, LineCounts)>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    _watch: Option<Box<dyn Watch>>,
    lamp: Option<Lamp>,
    group_since: Option<i64>,
    disk_bad_since: Option<i64>,
    next_second_us: i64,
    next_health_us: i64,
    health_before_us: i64,
    /// What happens is played from a script.
    played: bool,
    notify: Option<std::os::unix::net::UnixDatagram>,
}

impl Edge {
    /// Opens the spool, the pins and the model; no scanner and no camera runs yet.
    pub fn new(
        config: Config,
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        device: DeviceClock,
        senders: Vec<(Box<dyn Sender>, Window)>,
        pins: Option<&dyn Pins>,
        stop: Arc<AtomicBool>,
    ) -> Result<Self> {
        let eyes = Eyes::open(&config)?;
        let lane = |l: &crate::config::LaneConfig| LaneOptions {
            name: l.name.into(),
            bytes_max: l.bytes,
            age_max_us: Some(l.age_us),
        };
        let lanes: Vec<LaneOptions> = config.lanes.iter().map(lane).collect();
        let spool = Spool::open_or_memory(disk, &config.device.data.join("spool"), &lanes)?;
        if let Some(why) = spool.in_memory() {
            tracing::error!("records are kept in memory only: {why}");
        }
        let pace = Pace { heartbeat_us: config.heartbeat_us, hold_us: config.clock_hold_us };
        let key = config.device.warehouse.clone().into_bytes();
        let mut publisher = (!senders.is_empty()).then(|| Publisher::new(&key, senders, pace));
        if let Some(publisher) = &mut publisher {
            publisher.beat(|lane| config.writes(lane));
        }
        let boot = weir_segments::chance_id().map_err(|e| Error::new(Code::Io, e.to_string()))?;
        let wake = bounded(1);
        let edges = Arc::new(AtomicU64::new(0));
        let (mut watch, mut lamp) = (None, None);
        if let Some(pins) = pins {
            if let Some(pin) = config.trigger {
                let (edges, wake) = (edges.clone(), wake.0.clone());
                watch = Some(pins.watch(
                    pin,
                    Box::new(move || {
                        edges.fetch_add(1, Ordering::SeqCst);
                        let _awake_already = wake.try_send(());
                    }),
                )?);
            }
            if let Some(pin) = config.lamp {
                lamp = Some(Lamp::new(pins.output(pin.pin, !pin.active_high)?, pin.active_high));
            }
        }
        Ok(Self {
            agent: Agent::new(&config, &boot[..16]),
            scanners: vec![(Some("not opened yet".into()), LineCounts::default()); config.scanners.len()],
            frames_before: vec![0; config.cameras.len()],
            config,
            clock,
            device,
            spool,
            publisher,
            codes: bounded(INBOX_MAX),
            wake,
            edges,
            edges_seen: 0,
            cameras: Vec::new(),
            eyes,
            stop,
            threads: Vec::new(),
            _watch: watch,
            lamp,
            group_since: None,
            disk_bad_since: None,
            next_second_us: i64::MIN,
            next_health_us: i64::MIN,
            health_before_us: 0,
            played: false,
            notify: notify_socket(),
        })
    }

    /// Where codes go in; for scanners, and for benchmarks in their place.
    pub fn inbox(&self) -> Channel<ScanEvent> {
        self.codes.0.clone()
    }

    pub fn spool(&self) -> &Spool {
        &self.spool
    }

    /// Starts scanners and cameras.
    pub fn start(&mut self) -> Result<()> {
        for (number, settings) in self.config.scanners.iter().enumerate() {
            let (device, clock, stop) = (self.device.clone(), self.clock.clone(), self.stop.clone());
            let out = self.codes.0.clone();
            self.threads.push(scan::start(number, settings.clone(), device, clock, stop, out)?);
        }
        for (number, camera) in self.config.cameras.iter().enumerate() {
            let (device, clock, stop) = (self.device.clone(), self.clock.clone(), self.stop.clone());
            let wake = self.wake.0.clone();
            let wake = Box::new(move || {
                let _awake_already = wake.try_send(());
            });
            let (shared, thread) = capture::start(number, camera.clone(), device, clock, stop, wake)?;
            self.cameras.push(shared);
            self.threads.push(thread);
        }
        self.tell_systemd("READY=1");
        Ok(())
    }

    fn now_us(&self) -> i64 {
        i64::try_from(self.clock.monotonic().as_micros()).unwrap_or(i64::MAX)
    }

    /// Runs until `stop` is set.
    pub fn run(&mut self) -> Result<()> {
        while !self.stop.load(Ordering::Relaxed) {
            let on_way = self.publisher.as_ref().is_some_and(|p| p.in_flight() > 0);
            let looking = self.eyes.as_ref().is_some_and(Eyes::busy);
            let patience = if on_way || looking || self.group_since.is_some() { LOOK } else { IDLE };
            self.wait(patience);
            self.step()?;
        }
        self.finish()
    }

    /// The only wait.
    fn wait(&mut self, patience: Duration) {
        let (codes, wake) = (self.codes.1.clone(), self.wake.1.clone());
        let first = select! {
            recv(codes) -> event => event.ok(),
            recv(wake) -> _ => None,
            default(patience) => None,
        };
        let now = self.now_us();
        if let Some(event) = first {
            self.take(event, now);
        }
    }

    /// One turn without waiting.
    pub fn step(&mut self) -> Result<()> {
        let now = self.now_us();
        // What heartbeats may say: read before what came is taken. A disk may take seconds for a group, and
        // what comes meanwhile is taken by the next turn.
        let time = self.device.now();
        let mut room = TURN_MAX;
        while room > 0
            && let Ok(event) = self.codes.1.try_recv()
        {
            self.take(event, now);
            room -= 1;
        }
        let edges = self.edges.load(Ordering::SeqCst);
        for _ in self.edges_seen..edges {
            self.agent.edge(now);
        }
        self.edges_seen = edges;
        for camera in 0..self.cameras.len() {
            // A camera that floods fills its queue as fast as it is emptied.
            for _ in 0..capture::FRAMES_MAX {
                let Some(frame) = self.cameras[camera].take() else { break };
                self.frame(camera, frame, now);
                // Two large ones would be more than may wait for the disk.
                if self.spool.pending_bytes() >= GROUP_BYTES {
                    self.group(now)?;
                }
            }
        }
        if let Some(seen) = self.eyes.as_mut().and_then(|eyes| eyes.turn(now)) {
            self.seen(&seen, now);
        }
        if now >= self.next_health_us {
            self.health(now);
            self.next_health_us = now + self.config.health_us;
        }
        let due = self.group_since.is_some_and(|since| now - since >= self.config.group_us);
        if due || self.spool.pending_bytes() >= GROUP_BYTES {
            self.group(now)?;
        }
        let expected = [SCANS, DETECTIONS, FRAMES].map(|lane| (lane, self.expected(lane)));
        if let Some(publisher) = &mut self.publisher {
            publisher.hold(room == 0);
            expected.into_iter().for_each(|(lane, oldest)| publisher.expect(lane, oldest));
            let pumped = publisher.pump(&mut self.spool, &time);
            pumped.map(drop).or_else(|e| self.disk_trouble(&e, now))?;
        }
        if now >= self.next_second_us {
            self.next_second_us = now + SECOND_US;
            let kept = self.spool.enforce(time.synced.then_some(time.wall_us));
            match kept.and(self.spool.save()) {
                // It takes what it is given: a place that it did not give is no reason to leave it.
                Ok(()) if self.spool.pending_bytes() == 0 => self.disk_bad_since = None,
                done => done.or_else(|e| self.disk_trouble(&e, now))?,
            }
            self.tell_systemd("WATCHDOG=1");
        }
        let well = self.trouble().is_none();
        if let Some(lamp) = &mut self.lamp {
            lamp.step(well, now);
        }
        Ok(())
    }

    /// When the oldest thing was seen that may still become a record of a lane: frames in the cameras' queues,
    /// and those that are looked at.
    fn expected(&self, lane: usize) -> Option<DeviceTime> {
        let shown = self.cameras.iter().filter(|_| lane == FRAMES || self.eyes.is_some());
        let shown = shown.filter_map(Shared::oldest);
        let within = self.eyes.as_ref().and_then(|eyes| eyes.oldest(lane));
        shown.chain(within).min_by_key(|time| time.boot_us)
    }

    fn take(&mut self, event: ScanEvent, now: i64) {
        match event {
            ScanEvent::Code { scanner, code, time } => {
                let (lane, draft) = self.agent.code(scanner, &code, time, now);
                self.push(lane, draft, now);
                if let Some((_, counts)) = self.scanners.get_mut(scanner) {
                    counts.codes += 1;
                }
            }
            ScanEvent::State { scanner, trouble, counts } => {
                if let Some(state) = self.scanners.get_mut(scanner) {
                    if let Some(why) = trouble.as_ref().filter(|why| Some(*why) != state.0.as_ref()) {
                        tracing::warn!(scanner, "{why}");
                    }
                    *state = (trouble, counts);
                }
            }
            ScanEvent::Ended { scanner } => tracing::info!(scanner, "the scanner has ended"),
        }
    }

    fn frame(&mut self, camera: usize, frame: Frame, now: i64) {
        let kept = self.agent.frame(camera, &frame).map(|((lane, draft), kept)| {
            self.push(lane, draft, now);
            kept
        });
        if let Some(eyes) = &mut self.eyes
            && eyes.wants(camera, frame.now_us, kept.is_some())
        {
            let Frame { jpeg, time, now_us } = frame;
            eyes.put(Wanted { camera, bytes: jpeg.bytes, time, now_us, kept });
        }
    }

    fn seen(&mut self, seen: &Seen, now: i64) {
        for sight in &seen.codes {
            let (lane, draft) = self.agent.sight(sight, seen.time, now);
            self.push(lane, draft, now);
        }
        let model = self.eyes.as_ref().and_then(Eyes::model);
        if let (Some((kept, found)), Some(model)) = (&seen.found, model) {
            for (lane, draft) in self.agent.detections(kept, found, model, seen.time) {
                self.push(lane, draft, now);
            }
        }
    }

    fn push(&mut self, lane: usize, draft: crate::record::Draft, now: i64) {
        self.spool.push(lane, self.config.device.warehouse.as_bytes(), draft);
        self.group_since.get_or_insert(now);
    }

    fn group(&mut self, now: i64) -> Result<()> {
        self.group_since = None;
        match self.spool.sync() {
            Ok(()) => {
                self.disk_bad_since = None;
                Ok(())
            }
            Err(why) => {
                self.group_since = Some(now);
                self.disk_trouble(&why, now)
            }
        }
    }

    fn disk_trouble(&mut self, why: &Error, now: i64) -> Result<()> {
        if self.disk_bad_since.is_none() {
            tracing::error!("the disk refuses: {why}");
        }
        // A full disk is drained by sending; another refusal does not mend itself, and has its own time.
        let full = why.code() == Code::DiskFull;
        let since = self.disk_bad_since.filter(|_| !full).unwrap_or(now);
        self.disk_bad_since = Some(since);
        if now - since > DISK_PATIENCE_US && self.spool.in_memory().is_none() {
            tracing::error!("records are kept in memory only from now on");
            self.spool.fall_back(why.clone())?;
            self.disk_bad_since = None;
        }
        Ok(())
    }

    /// The first thing that is not as it should be.
    pub fn trouble(&self) -> Option<String> {
        if let Some(why) = self.spool.in_memory() {
            return Some(format!("spool in memory only: {}", why.what()));
        }
        if self.disk_bad_since.is_some() {
            return Some("the disk refuses".into());
        }
        let publisher = self.publisher.as_ref().and_then(Publisher::trouble);
        publisher.map(|why| why.what().to_owned()).or_else(|| {
            let scanner = self.scanners.iter().zip(&self.config.scanners);
            let mut troubles =
                scanner.filter_map(|((t, _), s)| Some(format!("scanner {}: {}", s.name, t.as_ref()?)));
            troubles.next().or_else(|| {
                let cameras = self.cameras.iter().zip(&self.config.cameras).enumerate();
                let sight = |n: usize| self.eyes.as_ref()?.state(n)?.trouble.clone();
                cameras
                    .filter_map(|(n, (shared, c))| {
                        let trouble = shared.state().trouble.or_else(|| sight(n))?;
                        Some(format!("camera {}: {trouble}", c.name))
                    })
                    .next()
            })
        })
    }

    fn tell_systemd(&self, what: &str) {
        if let Some(socket) = &self.notify {
            let _it_notices_silence = socket.send(what.as_bytes());
        }
    }

    /// Ends cleanly: everything durable, answers waited for a little, the ledger written.
    pub fn finish(&mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        self.tell_systemd("STOPPING=1");
        let until = self.clock.monotonic() + STOP_PATIENCE;
        let working = |edge: &Self| {
            let looking = edge.eyes.as_ref().is_some_and(Eyes::busy);
            looking || edge.threads.iter().any(|t| !t.is_finished())
        };
        while working(self) && self.clock.monotonic() < until {
            self.step()?;
            std::thread::sleep(LOOK);
        }
        self.step()?;
        self.spool.sync()?;
        let idle = |edge: &Self| edge.publisher.as_ref().is_none_or(|p| p.in_flight() == 0);
        self.step()?;
        while !idle(self) && self.clock.monotonic() < until {
            self.step()?;
            std::thread::sleep(LOOK);
        }
        self.spool.sync()?;
        self.spool.save()
    }
}

/// Where the running agent says how it is: in memory where systemd gives a place, else beside the spool.
pub fn status_path(data: &Path) -> std::path::PathBuf {
    let folder = std::env::var("RUNTIME_DIRECTORY").ok().filter(|f| !f.is_empty());
    folder.map_or(data.to_path_buf(), Into::into).join("status.json")
}

/// systemd's socket, where it started us.
fn notify_socket() -> Option<std::os::unix::net::UnixDatagram> {
    let path = std::env::var("NOTIFY_SOCKET").ok().filter(|p| p.starts_with('/'))?;
    let socket = std::os::unix::net::UnixDatagram::unbound().ok()?;
    socket.connect(path).ok()?;
    socket.set_nonblocking(true).ok()?;
    Some(socket)
}
