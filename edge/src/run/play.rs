//! An agent that plays what was recorded: frames and codes with their own times, as fast as they are taken.
//!
//! In:   a script of JSON lines, by time:
//!         {"at": "2026-03-02T07:00:05.2Z", "frame": "000005.jpg"}   a file, from the script's folder on
//!         {"at": "2026-03-02T07:00:06Z", "scan": "8410001012346"}
//!         {"at": "2026-03-02T07:05:00Z"}                            time passes
//! Out:  the records, health and heartbeats that the agent would have sent, through the same spool, in the
//!       same order; it ends when all of them are acknowledged.
//! Owns: the clock, which the script moves. It passes in small steps, so that nothing falls due unseen, and
//!       waits for the log: while it stands, groups are written at once and a broken sender's pause goes by
//!       the machine's clock. Health says nothing of this machine: it was not there.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::Deserialize;
use weir_contract::clock::ManualClock;
use weir_contract::{Code, Error, EventTime, Place, Result, WallClock};

use super::{Edge, LOOK};
use crate::capture::{Frame, Shared, Splitter};
use crate::scan::ScanEvent;

/// What the clock moves at once.
const STEP_US: i64 = 100_000;
/// The clock goes on for so long after the last line: heartbeats make everything final.
const TAIL_US: i64 = 20_000_000;
/// Records that may wait to be acknowledged while time goes on: the script's times are no link's fault.
const WAITING_MAX: u64 = 24;
/// Longest line of a script.
const LINE_MAX: u64 = 64 << 10;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    at: String,
    frame: Option<PathBuf>,
    scan: Option<String>,
}

/// A script, a line at a time.
pub struct Script {
    path: PathBuf,
    lines: BufReader<File>,
    number: u64,
    before_us: i64,
}

enum Act {
    Frame(PathBuf),
    Scan(String),
    Nothing,
}

impl Script {
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|e| unreadable(path, &e))?;
        Ok(Self { path: path.to_owned(), lines: BufReader::new(file), number: 0, before_us: i64::MIN })
    }

    fn next(&mut self) -> Result<Option<(i64, Act)>> {
        let mut text = String::new();
        self.number += 1;
        let read = std::io::Read::take(&mut self.lines, LINE_MAX).read_line(&mut text);
        if read.map_err(|e| unreadable(&self.path, &e))? == 0 {
            return Ok(None);
        }
        let wrong = |what: String| {
            let file = self.path.display().to_string();
            Error::new(Code::BadFile, what).at(Place::Script { file, line: self.number, column: 1 })
        };
        let line: Line = serde_json::from_str(&text).map_err(|e| wrong(e.to_string()))?;
        let at = EventTime::parse(&line.at).ok_or_else(|| wrong(format!("`{}` is no time", line.at)))?;
        if at.0 < self.before_us {
            return Err(wrong(format!("{at} lies before the line before it")));
        }
        self.before_us = at.0;
        let folder = self.path.parent().unwrap_or(Path::new("."));
        match (line.frame, line.scan) {
            (Some(_), Some(_)) => Err(wrong("a line has a frame or a scan, not both".into())),
            (Some(frame), None) => Ok(Some((at.0, Act::Frame(folder.join(frame))))),
            (None, Some(code)) => Ok(Some((at.0, Act::Scan(code)))),
            (None, None) => Ok(Some((at.0, Act::Nothing))),
        }
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> Error {
    Error::new(Code::BadFile, error.to_string()).at(Place::Path(path.display().to_string()))
}

impl Edge {
    /// Plays a script to its end, or until it is stopped, in place of `start` and `run`. Frames and codes
    /// are those of the first camera and the first scanner. `clock` has to be the agent's own.
    ///
    /// # Errors
    /// A line or a frame that cannot be read ends it, `W0201` at its place.
    pub fn play(&mut self, script: &mut Script, clock: &ManualClock) -> Result<()> {
        self.played = true;
        if let Some(publisher) = &mut self.publisher {
            publisher.pause_by(Arc::new(WallClock));
        }
        self.cameras = self.config.cameras.iter().map(|_| Shared::default()).collect();
        for (trouble, _) in &mut self.scanners {
            *trouble = None;
        }
        let mut last = i64::MIN;
        while let Some((at, act)) = script.next()? {
            if self.stop.load(Ordering::Relaxed) {
                return self.finish();
            }
            if last == i64::MIN {
                clock.set(at);
            }
            last = at;
            self.pass(clock, at)?;
            match act {
                Act::Frame(path) => self.show(&path)?,
                Act::Scan(code) => {
                    let time = self.device.now();
                    self.take(ScanEvent::Code { scanner: 0, code, time }, at);
                }
                Act::Nothing => {}
            }
            self.step()?;
            self.settle();
        }
        self.pass(clock, last.saturating_add(TAIL_US))?;
        self.drain(clock)?;
        self.finish()
    }

    /// What is seen in a frame belongs to its time: the script waits for it.
    fn settle(&mut self) {
        let now = self.now_us();
        let seen = self.eyes.as_mut().map(|eyes| eyes.settle(now)).unwrap_or_default();
        for seen in seen {
            self.seen(&seen, now);
        }
    }

    /// Moves the clock on and does what falls due.
    fn pass(&mut self, clock: &ManualClock, to: i64) -> Result<()> {
        let mut now = self.now_us();
        while now < to && !self.stop.load(Ordering::Relaxed) {
            now = now.saturating_add(STEP_US).min(to);
            clock.set(now);
            self.step()?;
            while self.waiting() > WAITING_MAX && !self.stop.load(Ordering::Relaxed) {
                // Its time would never come.
                self.write_group()?;
                std::thread::sleep(Duration::from_millis(1));
                self.step()?;
            }
        }
        Ok(())
    }

    fn write_group(&mut self) -> Result<()> {
        match self.spool.sync() {
            Ok(()) => self.group_since = None,
            // Sending makes room.
            Err(e) if e.code() == Code::DiskFull => {}
            Err(e) => return Err(e),
        }
        Ok(())
    }

    /// Records that nobody has acknowledged; none where nothing is sent.
    fn waiting(&self) -> u64 {
        let publisher = self.publisher.is_some();
        if publisher { (0..self.spool.lanes()).map(|lane| self.spool.records(lane)).sum() } else { 0 }
    }

    fn show(&mut self, path: &Path) -> Result<()> {
        let Some(settings) = self.config.cameras.first() else {
            return Err(Error::new(Code::BadFile, "a script shows a frame and the settings have no camera"));
        };
        let bytes = std::fs::read(path).map_err(|e| unreadable(path, &e))?;
        let mut splitter = Splitter::new(settings.frame_bytes_max);
        let mut frames = Vec::new();
        splitter.push(&bytes, &mut frames);
        splitter.cut();
        let (time, now_us) = (self.device.now(), self.now_us());
        for jpeg in frames {
            self.cameras[0].show(Frame { jpeg, time, now_us }, splitter.counts);
        }
        Ok(())
    }

    /// Whether every lane that this device writes has had another heartbeat.
    fn beaten(&self, sent: &[u64], before: &[u64]) -> bool {
        let counts = sent.iter().zip(before).enumerate();
        counts.filter(|(lane, _)| self.config.writes(*lane)).all(|(_, (now, before))| now > before)
    }

    /// Waits until everything is acknowledged, the last heartbeats too.
    fn drain(&mut self, clock: &ManualClock) -> Result<()> {
        self.write_group()?;
        let mut beats = None;
        while !self.stop.load(Ordering::Relaxed) {
            let waiting = self.waiting() > 0;
            let Some(publisher) = &self.publisher else { return Ok(()) };
            if !waiting && self.spool.pending_bytes() == 0 && publisher.idle() {
                let sent: Vec<u64> = publisher.counts.iter().map(|c| c.heartbeats).collect();
                match &beats {
                    // One more of each lane, now that nothing holds them back.
                    None => beats = Some(sent),
                    Some(before) if self.beaten(&sent, before) => return Ok(()),
                    Some(_) => {}
                }
            }
            // Time goes on: for the group that is written, the next heartbeat, the end of a pause.
            clock.set(self.now_us() + LOOK.as_micros() as i64);
            self.step()?;
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}
