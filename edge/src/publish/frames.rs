//! Frames above the inline size: first into the store, then their records, with the uri and without the bytes.
//!
//! In:   records of the topic of frames; those with a uri and a value are large ones. The sender of that topic.
//! Out:  the same records, in the same order, large ones without their value.
//! Owns: the records that stand behind a frame on its way into the store. `depot` is the way there.
//!
//! | of the store          | becomes                                                                    |
//! |-----------------------|----------------------------------------------------------------------------|
//! | it has the frame      | the record is sent                                                         |
//! | it never takes it     | refused, in its turn; those behind it go on                                |
//! | it is away            | tried again after a pause, and told; records and heartbeats wait in order  |
//!
//! U1  A record with a uri is sent only after the store said that the frame is durable.
//! U2  Order is that of the records, whatever has to go into the store: one frame at a time.
//! U3  What the sender loses (`Broken`) is all forgotten here, too; a frame that comes again is known by its sum.

pub mod depot;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Duration;

use weir_contract::Error;

use super::{Outcome, Sender, Sent};
use crate::record::{FRAME_URI, Outgoing};

/// Records that may wait here; the publisher's window is smaller.
const WAITING_MAX: usize = 64;
/// First pause after a store that is away, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// What became of a frame.
#[derive(Debug)]
pub enum Put {
    /// It is durable there.
    Stored,
    /// It will never be taken.
    Refused(Error),
    /// Not now, or not until somebody acts.
    Away(Error),
}

/// A frame for the store.
#[derive(Debug)]
pub struct Job {
    /// Its record's, by which the answer is known.
    pub offset: i64,
    pub uri: String,
    pub bytes: Vec<u8>,
    /// Before it is tried.
    pub pause: Duration,
}

/// The way into a store: one frame at a time, and nothing here blocks.
pub trait Depot {
    fn begin(&mut self, job: Job);
    /// What became of the frame that was begun last; none while that is open.
    fn poll(&mut self) -> Option<(i64, Put)>;
}

/// What stands at the head of the queue.
enum Head {
    /// Nothing was done for it.
    New,
    /// It is on its way into the store, or tried again.
    Going,
    /// To be told as soon as all before it have their outcome.
    Refused(Error),
}

/// The topic of frames, with a store beside it.
pub struct StoredFrames {
    inner: Box<dyn Sender>,
    depot: Box<dyn Depot>,
    queue: VecDeque<Outgoing>,
    head: Head,
    /// Offsets that the sender has and said nothing of.
    inside: VecDeque<i64>,
    /// The depot has a frame; it may be one that is not wanted any more.
    busy: bool,
    pause: Duration,
    trouble: Option<Error>,
}

/// The uri of a record whose bytes have to be stored.
fn uri_of(record: &Outgoing) -> Option<&str> {
    let (_, uri) = record.headers.iter().find(|(name, _)| name == FRAME_URI)?;
    std::str::from_utf8(uri).ok().filter(|_| !record.value.is_empty())
}

impl StoredFrames {
    pub fn new(inner: Box<dyn Sender>, depot: Box<dyn Depot>) -> Self {
        Self {
            inner,
            depot,
            queue: VecDeque::new(),
            head: Head::New,
            inside: VecDeque::new(),
            busy: false,
            pause: Duration::ZERO,
            trouble: None,
        }
    }

    fn heed(&mut self, outcomes: &[Outcome]) {
        for outcome in outcomes {
            match outcome {
                Outcome::Acked(offset) | Outcome::Refused(offset, _) => {
                    while self.inside.pop_front_if(|o| *o <= *offset).is_some() {}
                }
                Outcome::Broken(_) => {
                    self.inside.clear();
                    self.queue.clear();
                    self.head = Head::New;
                }
            }
        }
    }

    /// Takes what the store said.
    fn hear(&mut self) {
        let Some((offset, put)) = self.depot.poll() else { return };
        self.busy = false;
        let (pause, trouble) = match &put {
            Put::Away(why) => ((self.pause * 2).clamp(PAUSE.0, PAUSE.1), Some(why.clone())),
            _ => (Duration::ZERO, None),
        };
        (self.pause, self.trouble) = (pause, trouble);
        // Of a record that was forgotten meanwhile nobody waits for an answer.
        let Some(first) = self.queue.front_mut().filter(|r| r.offset == offset) else { return };
        self.head = match put {
            Put::Stored => {
                first.value = Vec::new();
                Head::New
            }
            Put::Refused(why) => Head::Refused(why),
            Put::Away(_) => Head::New,
        };
    }

    /// Does what can be done for the oldest records; gives one that is refused.
    fn go_on(&mut self) -> Option<Outcome> {
        while let Some(first) = self.queue.front() {
            match (&self.head, uri_of(first)) {
                (Head::Refused(_), _) => {
                    if !self.inside.is_empty() {
                        return None;
                    }
                    let refused = self.queue.pop_front()?;
                    let Head::Refused(why) = std::mem::replace(&mut self.head, Head::New) else {
                        return None;
                    };
                    return Some(Outcome::Refused(refused.offset, why));
                }
                (Head::Going, _) => return None,
                (Head::New, Some(uri)) => {
                    if self.busy {
                        return None;
                    }
                    let (offset, uri, bytes) = (first.offset, uri.to_owned(), first.value.clone());
                    self.depot.begin(Job { offset, uri, bytes, pause: self.pause });
                    (self.busy, self.head) = (true, Head::Going);
                }
                (Head::New, None) => {
                    let record = self.queue.pop_front()?;
                    if let Some(full) = self.pass(record) {
                        self.queue.push_front(full);
                        return None;
                    }
                }
            }
        }
        None
    }

    /// Hands a record on; gives it back where it was not taken.
    fn pass(&mut self, record: Outgoing) -> Option<Outgoing> {
        let offset = record.offset;
        match self.inner.send(record) {
            Sent::Taken => {
                self.inside.push_back(offset);
                None
            }
            Sent::Full(record) => Some(*record),
        }
    }
}

impl Sender for StoredFrames {
    fn send(&mut self, record: Outgoing) -> Sent {
        if self.queue.len() >= WAITING_MAX {
            return Sent::Full(Box::new(record));
        }
        if self.queue.is_empty() && uri_of(&record).is_none() {
            return self.pass(record).map_or(Sent::Taken, |full| Sent::Full(Box::new(full)));
        }
        self.queue.push_back(record);
        Sent::Taken
    }

    fn heartbeat(&mut self, key: &[u8], time_us: i64) -> bool {
        self.inner.heartbeat(key, time_us)
    }

    fn poll(&mut self, now_us: i64) -> Vec<Outcome> {
        let mut outcomes = self.inner.poll(now_us);
        self.heed(&outcomes);
        self.hear();
        outcomes.extend(std::iter::from_fn(|| self.go_on()));
        outcomes
    }

    fn idle(&self) -> bool {
        self.queue.is_empty() && self.inner.idle()
    }

    fn trouble(&self) -> Option<Error> {
        self.trouble.clone().or_else(|| self.inner.trouble())
    }

    fn clock_offset_ms(&self) -> Option<i64> {
        self.inner.clock_offset_ms()
    }
}
