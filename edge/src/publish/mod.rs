//! From the spool to the log: in sequence within a topic, topics by priority.
//!
//! In:   the spool's records by lane; a [`Sender`] per lane that takes them and later says what became.
//! Out:  acknowledgements, refusals and rewinds to the spool; heartbeats.
//! Owns: what is on its way, and how much of it there may be.
//!
//! B1  A lane's records are sent in offset order. After a broken sender everything that is not acknowledged
//!     is sent again from the oldest on; ids are the same, so a reader that knows them sees each once.
//! B2  A lane's heartbeat says the lesser of the clock, its oldest record that is not acknowledged and the
//!     oldest thing that may still become one (`expect`), so it never makes the lane's own rows late; none is
//!     sent while the clock is not to be trusted, while older things may wait unseen (`hold`), or while older
//!     records lie where nobody can read them.
//! B3  A record that was seen before the clock's first sync waits until its boot has a stamp in the spool,
//!     or until nobody synced the clock for `hold_us`.
//! B4  Frames have their own sender and a small window: scans never stand behind them. `frames` puts large ones into
//!     a store before their records go.
//!
//! Start at `Publisher::pump`, the one place that decides; it never blocks.

pub mod frames;
pub mod http;
pub mod kafka;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;

use weir_contract::{Clock, Error, Result};

use crate::record::{Envelope, Outgoing, Stored};
use crate::spool::Spool;
use crate::time::{DeviceTime, Stamp};

/// What a sender says about a record that it took.
#[derive(Debug)]
pub enum Outcome {
    /// The log has it, and all before it.
    Acked(i64),
    /// The log will never take it; those after it may go on.
    Refused(i64, Error),
    /// The sender lost its place: everything that is not acknowledged has to be sent again.
    Broken(Error),
}

/// Whether a sender took a record.
pub enum Sent {
    Taken,
    /// Not now.
    Full(Box<Outgoing>),
}

/// A way into one topic of a log. Nothing here blocks.
pub trait Sender {
    fn send(&mut self, record: Outgoing) -> Sent;
    /// False where it was not taken; the next second brings another.
    fn heartbeat(&mut self, key: &[u8], time_us: i64) -> bool;
    /// Lets it work, and takes what it has to say, in order.
    fn poll(&mut self, now_us: i64) -> Vec<Outcome>;
    /// Nothing that it took is without an outcome, heartbeats too.
    fn idle(&self) -> bool;
    /// Why nothing gets through just now, although nothing is lost and nothing has to be sent again.
    fn trouble(&self) -> Option<Error> {
        None
    }
    /// The device's clock minus the log's, where the log told its own.
    fn clock_offset_ms(&self) -> Option<i64> {
        None
    }
}

/// How much of a lane may be on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    pub records: usize,
    pub bytes: usize,
}

struct Lane {
    sender: Box<dyn Sender>,
    window: Window,
    /// Read from the spool, not sent.
    ready: VecDeque<Stored>,
    /// Sent, not acknowledged: offset, event time, bytes.
    flight: VecDeque<(i64, i64, usize)>,
    flight_bytes: usize,
    /// What the spool handed out has to be handed out again.
    rewinds: bool,
    /// Event time of the oldest record when the sender broke last; none since one was acknowledged.
    oldest_us: Option<i64>,
    /// The device writes this topic: whose silence nobody waits for needs no heartbeat, and one from a
    /// device that writes nothing there would make others' rows late.
    beats: bool,
    /// When the oldest thing was seen that may still become a record.
    expected: Option<DeviceTime>,
    next_heartbeat_us: i64,
    /// Nothing is sent before, after a broken sender or a place that the spool's disk did not give.
    pause_until_us: i64,
    pause_us: i64,
    /// What went wrong here last; none since a record was acknowledged.
    trouble: Option<Error>,
    /// After a broken sender: whether a heartbeat has gone since. One that arrives is as good as a record.
    broken: Option<bool>,
}

/// What happened to one lane, for health records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LaneCounts {
    pub sent: u64,
    pub acked: u64,
    pub refused: u64,
    pub breaks: u64,
    pub heartbeats: u64,
}

/// When things are due, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    pub heartbeat_us: i64,
    /// How long records of an unsynced clock are held back after the start.
    pub hold_us: i64,
}

impl Default for Pace {
    fn default() -> Self {
        Self { heartbeat_us: 1_000_000, hold_us: 120_000_000 }
    }
}

/// First pause after a broken sender, and the longest.
const PAUSE_US: (i64, i64) = (100_000, 10_000_000);
/// Before the spool is asked again for what its disk did not give.
const READ_AGAIN_US: i64 = 1_000_000;

/// Sends the spool's records. Lanes in the spool's order.
pub struct Publisher {
    key: Vec<u8>,
    lanes: Vec<Lane>,
    pub counts: Vec<LaneCounts>,
    pace: Pace,
    started_us: Option<i64>,
    holds: bool,
    /// What pauses go by; the device's time since boot where there is none.
    pauses: Option<Arc<dyn Clock>>,
}

impl Publisher {
    /// `key` is the message key of every record and heartbeat: the warehouse.
    pub fn new(key: &[u8], senders: Vec<(Box<dyn Sender>, Window)>, pace: Pace) -> Self {
        let counts = vec![LaneCounts::default(); senders.len()];
        let lane = |(sender, window)| Lane {
            sender,
            window,
            ready: VecDeque::new(),
            flight: VecDeque::new(),
            flight_bytes: 0,
            rewinds: false,
            oldest_us: None,
            beats: true,
            expected: None,
            next_heartbeat_us: i64::MIN,
            pause_until_us: i64::MIN,
            pause_us: PAUSE_US.0,
            trouble: None,
            broken: None,
        };
        let lanes = senders.into_iter().map(lane).collect();
        let key = key.to_vec();
        Self { key, lanes, counts, pace, started_us: None, holds: false, pauses: None }
    }

    /// Pauses go by this clock: the device's own stands still while a script waits for the log.
    pub fn pause_by(&mut self, clock: Arc<dyn Clock>) {
        self.pauses = Some(clock);
    }

    /// Things that are as old as any may wait to be taken: no heartbeat until they were.
    pub fn hold(&mut self, holds: bool) {
        self.holds = holds;
    }

    /// What is wrong with any lane, the first one first; none while all is well.
    pub fn trouble(&self) -> Option<Error> {
        let own = |l: &Lane| l.trouble.clone().or_else(|| l.sender.trouble());
        self.lanes.iter().find_map(own)
    }

    /// Says which lanes the device writes; all, unless it says so.
    pub fn beat(&mut self, writes: impl Fn(usize) -> bool) {
        self.lanes.iter_mut().enumerate().for_each(|(number, lane)| lane.beats = writes(number));
    }

    /// Says when the oldest thing was seen that may still become a record of a lane.
    pub fn expect(&mut self, lane: usize, oldest: Option<DeviceTime>) {
        self.lanes[lane].expected = oldest;
    }

    /// One step: takes what came back, sends what may go. True where anything moved.
    ///
    /// # Errors
    /// Only those of the spool's disk, the first of them; every lane had its turn, and the next call goes on.
    pub fn pump(&mut self, spool: &mut Spool, now: &DeviceTime) -> Result<bool> {
        let started = *self.started_us.get_or_insert(now.boot_us);
        let mut held = !now.synced && now.boot_us - started < self.pace.hold_us;
        let mut refused = None;
        if now.synced && spool.stamps().of(&now.boot).is_none() {
            // Durable before any record is stamped by it.
            refused = spool.stamp(Stamp { boot: now.boot, offset_us: now.wall_us - now.boot_us }).err();
            held = refused.is_some();
        }
        let micros =
            |clock: &Arc<dyn Clock>| i64::try_from(clock.monotonic().as_micros()).unwrap_or(i64::MAX);
        let pause_now = self.pauses.as_ref().map_or(now.boot_us, micros);
        let mut moved = false;
        for number in 0..self.lanes.len() {
            moved |= self.collect(number, spool, now, pause_now);
            if pause_now < self.lanes[number].pause_until_us {
                continue;
            }
            match self.fill(number, spool, now, held) {
                Ok(sent) => moved |= sent,
                Err(why) => {
                    self.lanes[number].pause_until_us = pause_now + READ_AGAIN_US;
                    refused = refused.or(Some(why));
                }
            }
        }
        for number in 0..self.lanes.len() {
            let paused = pause_now < self.lanes[number].pause_until_us;
            if !held && !self.holds && !paused && spool.pending_bytes() == 0 && !spool.blind(number) {
                self.heartbeat(number, spool, now);
            }
        }
        refused.map_or(Ok(moved), Err)
    }

    fn collect(&mut self, number: usize, spool: &mut Spool, now: &DeviceTime, pause_now: i64) -> bool {
        let (lane, counts) = (&mut self.lanes[number], &mut self.counts[number]);
        let outcomes = lane.sender.poll(now.wall_us);
        let moved = !outcomes.is_empty();
        for outcome in outcomes {
            match outcome {
                Outcome::Acked(offset) => {
                    spool.ack(number, offset);
                    counts.acked += lane.landed(offset);
                    lane.pause_us = PAUSE_US.0;
                    lane.oldest_us = None;
                    (lane.trouble, lane.broken) = (None, None);
                }
                Outcome::Refused(offset, why) => {
                    tracing::error!(lane = number, offset, "the log refuses a record: {}", why.what());
                    spool.refuse(number, offset);
                    lane.drop_from_flight(offset);
                    counts.refused += 1;
                    lane.trouble = Some(why);
                }
                Outcome::Broken(why) => {
                    tracing::warn!(lane = number, "sending begins again: {}", why.what());
                    counts.breaks += 1;
                    lane.oldest_us = lane.oldest(spool);
                    lane.ready.clear();
                    lane.flight.clear();
                    lane.flight_bytes = 0;
                    // Where its disk does not give the place now, before the next record is sent.
                    lane.rewinds = spool.rewind(number).is_err();
                    lane.pause_until_us = pause_now + lane.pause_us;
                    lane.pause_us = (lane.pause_us * 2).min(PAUSE_US.1);
                    (lane.trouble, lane.broken) = (Some(why), Some(false));
                }
            }
        }
        if lane.broken == Some(true) && lane.sender.idle() {
            (lane.trouble, lane.broken) = (None, None);
        }
        moved
    }

    fn fill(&mut self, number: usize, spool: &mut Spool, now: &DeviceTime, held: bool) -> Result<bool> {
        let (lane, counts) = (&mut self.lanes[number], &mut self.counts[number]);
        let mut moved = false;
        while lane.has_room() {
            if std::mem::take(&mut lane.rewinds) {
                spool.rewind(number).inspect_err(|_| lane.rewinds = true)?;
            }
            if lane.ready.is_empty() {
                let rows = (lane.window.records - lane.flight.len()).min(1_000);
                lane.ready.extend(spool.next(number, rows, lane.window.bytes.min(1 << 20))?);
            }
            let Some(stored) = lane.ready.pop_front() else { break };
            let envelope = match Envelope::parse(&stored.envelope) {
                Ok(envelope) => envelope,
                Err(why) => {
                    spool.refuse(number, stored.offset);
                    counts.refused += 1;
                    lane.trouble = Some(why);
                    continue;
                }
            };
            let time = envelope.time;
            if held && !time.synced && time.boot == now.boot && spool.stamps().of(&time.boot).is_none() {
                lane.ready.push_front(stored);
                break;
            }
            let record = envelope.finish(&stored, spool.stamps());
            let (offset, time_us, bytes) = (record.offset, record.time_us, record.bytes());
            match lane.sender.send(record) {
                Sent::Taken => {
                    lane.flight.push_back((offset, time_us, bytes));
                    lane.flight_bytes += bytes;
                    counts.sent += 1;
                    moved = true;
                }
                Sent::Full(_) => {
                    lane.ready.push_front(stored);
                    break;
                }
            }
        }
        Ok(moved)
    }

    fn heartbeat(&mut self, number: usize, spool: &Spool, now: &DeviceTime) {
        let lane = &mut self.lanes[number];
        if !lane.beats || now.boot_us < lane.next_heartbeat_us {
            return;
        }
        let waiting = lane.ready.front().and_then(|s| Envelope::parse(&s.envelope).ok());
        let oldest = match (lane.flight.front(), waiting) {
            // Rows of one device are nearly in order, not quite: the oldest of all on their way.
            (Some(_), _) => lane.flight.iter().map(|(_, time, _)| *time).min(),
            (None, Some(envelope)) => Some(spool.stamps().event_time(&envelope.time).0),
            // Records that were not read yet: there is always room to read one where none is on its way.
            (None, None) if spool.records(number) > 0 => return,
            (None, None) => None,
        };
        let expected = lane.expected.map(|time| spool.stamps().event_time(&time).0);
        let time = oldest.into_iter().chain(expected).fold(now.wall_us, i64::min);
        if lane.sender.heartbeat(&self.key, time) {
            lane.next_heartbeat_us = now.boot_us + self.pace.heartbeat_us;
            lane.broken = lane.broken.map(|_| true);
            self.counts[number].heartbeats += 1;
        }
    }

    /// Event time of a lane's oldest record that is not acknowledged, as far as it was read.
    pub fn oldest_us(&self, number: usize, spool: &Spool) -> Option<i64> {
        self.lanes[number].oldest(spool).filter(|_| spool.records(number) > 0)
    }

    pub fn clock_offset_ms(&self) -> Option<i64> {
        self.lanes.iter().find_map(|l| l.sender.clock_offset_ms())
    }

    /// Nothing is on its way, heartbeats too.
    pub fn idle(&self) -> bool {
        self.in_flight() == 0 && self.lanes.iter().all(|l| l.sender.idle())
    }

    /// Records that were handed to senders and are not acknowledged.
    pub fn in_flight(&self) -> usize {
        self.lanes.iter().map(|l| l.flight.len()).sum()
    }
}

impl Lane {
    /// After a broken sender nothing is read until the pause is over: the oldest is the one that it was.
    fn oldest(&self, spool: &Spool) -> Option<i64> {
        let waiting = || {
            let envelope = Envelope::parse(&self.ready.front()?.envelope).ok()?;
            Some(spool.stamps().event_time(&envelope.time).0)
        };
        self.flight.front().map(|(_, time, _)| *time).or_else(waiting).or(self.oldest_us)
    }

    fn has_room(&self) -> bool {
        self.flight.is_empty()
            || (self.flight.len() < self.window.records && self.flight_bytes < self.window.bytes)
    }

    /// Forgets what landed; gives how many that were.
    fn landed(&mut self, offset: i64) -> u64 {
        let before = self.flight.len();
        while let Some((_, _, bytes)) = self.flight.pop_front_if(|(o, ..)| *o <= offset) {
            self.flight_bytes -= bytes;
        }
        (before - self.flight.len()) as u64
    }

    /// Forgets one record; those before it are still on their way.
    fn drop_from_flight(&mut self, offset: i64) {
        if let Some(at) = self.flight.iter().position(|(o, ..)| *o == offset)
            && let Some((_, _, bytes)) = self.flight.remove(at)
        {
            self.flight_bytes -= bytes;
        }
    }
}
