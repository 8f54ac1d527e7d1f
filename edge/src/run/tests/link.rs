//! A link of stated bandwidth to a log that keeps what it gets, in simulated time.
//!
//! In:   records and heartbeats of all lanes, one after the other over one wire. Out: what arrived, in order.
//! Owns: what is on the wire, the store of large frames behind it, and the cut.
//!
//! | sender            | in a cut                        | its answer is lost         | so the log has         |
//! |-------------------|---------------------------------|----------------------------|------------------------|
//! | keeps (Kafka)     | goes on with the same records   | it asks again, and gets it | each record once       |
//! | gives up (HTTP)   | breaks after 20 s, sends again  | it sends again             | some twice, same id    |

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use weir_contract::{Code, Error};

use crate::publish::frames::{Depot, Job, Put, StoredFrames};
use crate::publish::{Outcome, Sender, Sent};
use crate::record::{FRAME_URI, Outgoing};

/// What a record weighs beyond its bytes, and all that a heartbeat weighs. Eyeballed from Kafka's batches.
const OVERHEAD_BYTES: u64 = 60;
const PATIENCE_US: i64 = 20_000_000;

/// What the log has of one record, or the time of a heartbeat.
#[derive(Debug, Clone, PartialEq)]
pub enum Arrival {
    Record { id: String, value: Arc<Vec<u8>>, time_us: i64, at_us: i64 },
    Heartbeat(i64),
}

#[derive(Debug, Clone)]
enum Load {
    Record(Outgoing),
    Heartbeat(i64),
}

/// The wire and the log behind it.
#[derive(Debug, Clone)]
pub struct Link {
    /// Bytes a second.
    pub rate: u64,
    /// From the record's last byte to its answer.
    pub answer_us: i64,
    pub up: bool,
    pub gives_up: bool,
    now_us: i64,
    /// Part of a byte that the wire has carried, in millionths.
    carried: u64,
    wire: VecDeque<(usize, Load, u64)>,
    /// When, lane, offset.
    answers: VecDeque<(i64, usize, i64)>,
    /// By lane: since when nothing came back although something is on its way.
    silent_since: [Option<i64>; 4],
    /// A large frame on its way into the store: until when, its record's offset, uri, bytes.
    upload: Option<(i64, i64, String, Vec<u8>)>,
    store: BTreeMap<String, Vec<u8>>,
    pub log: [Vec<Arrival>; 4],
}

impl Link {
    pub fn new(rate: u64, answer_us: i64, gives_up: bool, now_us: i64) -> Self {
        Self {
            rate,
            answer_us,
            up: true,
            gives_up,
            now_us,
            carried: 0,
            wire: VecDeque::new(),
            answers: VecDeque::new(),
            silent_since: [None; 4],
            upload: None,
            store: BTreeMap::new(),
            log: std::array::from_fn(|_| Vec::new()),
        }
    }

    fn advance(&mut self, now_us: i64) {
        let span = (now_us - self.now_us).max(0).cast_unsigned();
        self.now_us = now_us;
        if !self.up {
            return;
        }
        self.carried += span * self.rate;
        while let Some((lane, load, bytes)) = self.wire.front().cloned() {
            if self.carried < bytes * 1_000_000 {
                return;
            }
            self.carried -= bytes * 1_000_000;
            self.wire.pop_front();
            self.arrive(lane, load);
        }
        // A wire without work saves nothing up.
        self.carried = 0;
    }

    fn arrive(&mut self, lane: usize, load: Load) {
        let arrival = match load {
            Load::Heartbeat(time) => Arrival::Heartbeat(time),
            Load::Record(record) => {
                self.answers.push_back((self.now_us + self.answer_us, lane, record.offset));
                let (id, at_us) = (id_of(&record), self.now_us);
                let uri = record.headers.iter().find(|(name, _)| name == FRAME_URI);
                let value = match uri {
                    None => record.value,
                    Some((_, uri)) => {
                        assert!(record.value.is_empty(), "{id} has its bytes and a uri");
                        let stored = self.store.get(std::str::from_utf8(uri).unwrap());
                        stored.unwrap_or_else(|| panic!("{id} came before its frame was stored")).clone()
                    }
                };
                Arrival::Record { id, value: Arc::new(value), time_us: record.time_us, at_us }
            }
        };
        self.log[lane].push(arrival);
    }

    /// The device is gone: of what it had sent, the first `kept` loads still arrive, and nobody hears of it.
    pub fn device_is_gone(&mut self, kept: usize) {
        for (lane, load, _) in std::mem::take(&mut self.wire).into_iter().take(kept) {
            self.arrive(lane, load);
        }
        // So may a frame be stored.
        if let Some((_, _, uri, bytes)) = self.upload.take().filter(|_| kept > 0) {
            self.store.insert(uri, bytes);
        }
        self.answers.clear();
        self.carried = 0;
        self.silent_since = [None; 4];
    }

    /// Frames in the store.
    pub fn stored(&self) -> usize {
        self.store.len()
    }

    /// Loads on the wire.
    pub fn on_wire(&self) -> usize {
        self.wire.len()
    }

    fn busy(&self, lane: usize) -> bool {
        self.wire.iter().any(|(l, ..)| *l == lane) || self.answers.iter().any(|(_, l, _)| *l == lane)
    }
}

fn id_of(record: &Outgoing) -> String {
    if let Some((_, id)) = record.headers.iter().find(|(name, _)| name == "event_id") {
        return String::from_utf8(id.clone()).unwrap();
    }
    let value: serde_json::Value = serde_json::from_slice(&record.value).unwrap();
    value["event_id"].as_str().unwrap().to_owned()
}

/// A link that senders, the test and what stops the world share.
#[derive(Clone)]
pub struct SharedLink(Arc<Mutex<Link>>);

impl SharedLink {
    pub fn new(link: Link) -> Self {
        Self(Arc::new(Mutex::new(link)))
    }

    pub fn get(&self) -> MutexGuard<'_, Link> {
        self.0.lock().unwrap()
    }

    /// A lane's end of it; with a store beside it for what has a uri.
    pub fn sender(&self, lane: usize, stored: bool) -> Box<dyn Sender> {
        let wire = Box::new(Wire { link: self.clone(), lane });
        match stored {
            true => Box::new(StoredFrames::new(wire, Box::new(StoreWire(self.clone())))),
            false => wire,
        }
    }

    /// Cuts it, or mends it. A sender that gives up hears no answer that was on its way back.
    pub fn set_up(&self, up: bool, now_us: i64) {
        let mut link = self.get();
        link.advance(now_us);
        link.up = up;
        if !up && link.gives_up {
            link.answers.clear();
        }
    }
}

/// One lane's end of it.
struct Wire {
    link: SharedLink,
    lane: usize,
}

impl Sender for Wire {
    fn send(&mut self, record: Outgoing) -> Sent {
        let mut link = self.link.get();
        let bytes = record.bytes() as u64 + OVERHEAD_BYTES;
        link.wire.push_back((self.lane, Load::Record(record), bytes));
        Sent::Taken
    }

    fn heartbeat(&mut self, _key: &[u8], time_us: i64) -> bool {
        let mut link = self.link.get();
        let waits =
            link.wire.iter().any(|(l, load, _)| *l == self.lane && matches!(load, Load::Heartbeat(_)));
        if !waits {
            link.wire.push_back((self.lane, Load::Heartbeat(time_us), OVERHEAD_BYTES));
        }
        !waits
    }

    fn poll(&mut self, now_us: i64) -> Vec<Outcome> {
        let mut link = self.link.get();
        link.advance(now_us);
        let mut outcomes = Vec::new();
        if link.up {
            let lane = self.lane;
            let due = |answer: &(i64, usize, i64)| answer.1 == lane && answer.0 <= now_us;
            outcomes
                .extend(link.answers.iter().filter(|a| due(a)).map(|(.., offset)| Outcome::Acked(*offset)));
            link.answers.retain(|a| !due(a));
        }
        let silent = link.busy(self.lane) && outcomes.is_empty();
        let since = &mut link.silent_since[self.lane];
        *since = silent.then(|| since.unwrap_or(now_us));
        if link.gives_up && link.silent_since[self.lane].is_some_and(|since| now_us - since > PATIENCE_US) {
            link.silent_since[self.lane] = None;
            link.wire.retain(|(lane, ..)| *lane != self.lane);
            link.answers.retain(|(_, lane, _)| *lane != self.lane);
            outcomes.push(Outcome::Broken(Error::new(Code::Connect, "no answer")));
        }
        outcomes
    }

    fn idle(&self) -> bool {
        !self.link.get().busy(self.lane)
    }
}

/// The way into the store: behind the same cut, and its answer takes as long as the log's.
struct StoreWire(SharedLink);

impl Depot for StoreWire {
    fn begin(&mut self, job: Job) {
        let mut link = self.0.get();
        let at_us = link.now_us + job.pause.as_micros() as i64 + link.answer_us;
        assert!(link.upload.replace((at_us, job.offset, job.uri, job.bytes)).is_none(), "one at a time");
    }

    fn poll(&mut self) -> Option<(i64, Put)> {
        let mut link = self.0.get();
        let now_us = link.now_us;
        let (_, offset, uri, bytes) = link.upload.take_if(|(at_us, ..)| *at_us <= now_us)?;
        if !link.up {
            return Some((offset, Put::Away(Error::new(Code::Connect, "no answer"))));
        }
        link.store.insert(uri, bytes);
        Some((offset, Put::Stored))
    }
}
