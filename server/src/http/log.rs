//! `POST /v1/log/{topic}`: records of devices into the embedded log; the port that asks who they are.
//!
//! In:   one record (the body, its headers as `weir-header-NAME`, `-` for `_`), or as many as there are lines where
//!       the type is `application/x-ndjson`; their message key in `weir-key`. A bearer token names the device.
//! Out:  `200 {"records": n}` after the durable write. `GET` of the same says whether the topic takes records.
//! Owns: who may write what, and how much of it; `records` looks at each. Not what a record means: one that its table
//!       cannot decode becomes a reject there. Large frames come through the same door and are `frames`'.
//!
//! | answer | when                                                                                   |
//! |--------|----------------------------------------------------------------------------------------|
//! | 400    | no key, no records, headers that no record may have; records without an id, lines that |
//! |        | are not JSON objects: how many of how many, and which                                  |
//! | 401    | no token, or one that nobody has                                                       |
//! | 403    | this device may not write this key; a record has another device's id, or names a       |
//! |        | warehouse that is not the key                                                          |
//! | 404    | the topic is not one that devices write                                                |
//! | 405    | anything but POST and GET                                                              |
//! | 413    | the body, or its number of lines, is above the limit                                   |
//! | 429    | the device sends faster than it may, by more than waiting mends, or has as many bytes  |
//! |        | or connections under way as it may: `retry-after`                                      |
//! | 503    | the disk refuses, or too much waits for it                                             |
//!
//! W1  An answer of 200 means durable, all of it. Any other answer: nothing is promised, and of a request that broke no
//!     rule of this table it may be there or not. Whoever sends it again doubles records, never events: their ids are
//!     the same, and tables drop what they knew (`dedup = 'event_id'`).
//! W2  All requests of a topic go through one writer; those that wait together are one append and one sync.
//! W3  What one request is refused for never touches another.

mod records;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Map, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use ureq_proto::http::{Method, Request, StatusCode};
use weir_contract::{Clock, Code, Error, Result};

use super::frames::{self, Frames};
use super::grants::{Bucket, Grant, Grants, Rate, TokenDigest};
use super::told::{Told, UNKNOWN};
use super::wire::PART_BYTES;
use super::{Answer, App};
use records::{Records, records};

const PATH: &str = "/v1/log/";
const KEY: &str = "weir-key";
/// Warehouses have short names.
const KEY_BYTES_MAX: usize = 256;
/// Requests of one topic that may wait; beyond, 503.
const WAITING_MAX: usize = 256;
/// Records and bytes after which a commit takes no further request, so that none waits behind too many others.
const COMMIT_RECORDS: usize = 20_000;
const COMMIT_BYTES: usize = 16 << 20;
/// Before a guess of a token is answered.
const GUESS_PAUSE: Duration = Duration::from_millis(250);

/// How long a request waits for its device's other bodies.
const SHARE_PATIENCE: Duration = Duration::from_secs(2);

/// What devices may do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    pub body_bytes: usize,
    pub records: usize,
    /// Of one token.
    pub rate: Rate,
    /// Bytes of one token's bodies that wait; at least one body's.
    pub waiting_bytes: usize,
    /// Connections of one token.
    pub connections: usize,
}

impl Default for Limits {
    /// A drain of frames at 20 times real time is 100 requests a second.
    fn default() -> Self {
        let rate = Rate { requests_per_s: 500.0, bytes_per_s: 16e6 };
        // A quarter of the port's room.
        Self { body_bytes: 8 << 20, records: 10_000, rate, waiting_bytes: 16 << 20, connections: 128 }
    }
}

/// A record on its way in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incoming {
    /// One for all records of a request.
    pub key: Arc<[u8]>,
    pub value: Vec<u8>,
    pub headers: Vec<(String, Vec<u8>)>,
}

/// Makes records of one topic durable, in order; blocks.
pub type Append = Box<dyn FnMut(Vec<Incoming>) -> Result<()> + Send>;

/// Records of one request, and who waits for them.
struct Batch {
    records: Records,
    done: oneshot::Sender<Result<()>>,
}

/// The resource.
pub struct Log {
    grants: Grants,
    limits: Limits,
    clock: Arc<dyn Clock>,
    topics: BTreeMap<String, mpsc::Sender<Batch>>,
    devices: Mutex<BTreeMap<TokenDigest, Device>>,
    told: Arc<Told>,
    frames: Option<Frames>,
}

/// What the holder of a token has left.
#[derive(Clone)]
struct Device {
    bucket: Bucket,
    bytes: Arc<Semaphore>,
    seats: Arc<Semaphore>,
    uploads: Arc<Semaphore>,
}

/// What the head of a request gave a right to.
pub struct Ticket {
    topic: String,
    key: Arc<[u8]>,
    grant: Grant,
    /// It only asks.
    look: bool,
    token: TokenDigest,
    /// It brings a frame, or asks whether it may; then there is no topic.
    frame: Option<frames::Ticket>,
    /// One of the frames that its device may bring at once.
    _upload: Option<OwnedSemaphorePermit>,
    /// Its part of the device's share, until it is answered.
    _room: Option<OwnedSemaphorePermit>,
}

impl Log {
    /// Each topic's `append` runs in a thread of its own, which ends when this is dropped.
    pub fn new(
        topics: BTreeMap<String, Append>,
        grants: Grants,
        limits: Limits,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let told = Arc::new(Told::new(clock.clone()));
        let mut queues = BTreeMap::new();
        for (topic, append) in topics {
            let (queue, batches) = mpsc::channel(WAITING_MAX);
            let (name, told) = (topic.clone(), told.clone());
            std::thread::Builder::new()
                .name(format!("log {topic}"))
                .spawn(move || write(batches, append, &name, &told))
                .map_err(|e| Error::new(Code::Io, format!("cannot start a thread: {e}")))?;
            queues.insert(topic, queue);
        }
        Ok(Self { grants, limits, clock, topics: queues, devices: Mutex::default(), told, frames: None })
    }

    /// The same with a store for large frames.
    pub fn with_frames(mut self, frames: Frames) -> Self {
        self.frames = Some(frames.told(self.told.clone()));
        self
    }

    /// What happened, for the operator.
    pub fn told(&self) -> Arc<Told> {
        self.told.clone()
    }

    /// Works on what a token has left.
    fn device<T>(&self, token: TokenDigest, work: impl FnOnce(&mut Device) -> T) -> T {
        let Limits { body_bytes, rate, waiting_bytes, connections, .. } = self.limits;
        let full = || Device {
            bucket: Bucket::full(rate, self.clock.monotonic()),
            bytes: Arc::new(Semaphore::new(waiting_bytes.max(body_bytes))),
            seats: Arc::new(Semaphore::new(connections.max(1))),
            uploads: Arc::new(Semaphore::new(frames::UPLOADS_OF_ONE)),
        };
        let mut devices = self.devices.lock().unwrap_or_else(PoisonError::into_inner);
        work(devices.entry(token).or_insert_with(full))
    }

    /// One of the frames that a device may bring at once.
    fn upload(&self, token: TokenDigest) -> std::result::Result<OwnedSemaphorePermit, Answer> {
        let uploads = self.device(token, |device| device.uploads.clone());
        uploads.try_acquire_owned().map_err(|_| {
            let text = format!("this device brings {} frames already", frames::UPLOADS_OF_ONE);
            Answer::problem(StatusCode::TOO_MANY_REQUESTS, Code::Refused, text).retry_after(1)
        })
    }

    fn ticket(
        &self,
        head: &Request<()>,
        grant: &Grant,
        token: TokenDigest,
    ) -> std::result::Result<Ticket, Answer> {
        let topic = head.uri().path().strip_prefix(PATH).unwrap_or_default();
        if !self.topics.contains_key(topic) {
            let text = format!("devices write no topic here; those of {PATH}{{topic}} are configured");
            return Err(Answer::problem(StatusCode::NOT_FOUND, Code::NoTopic, text));
        }
        let ticket = |key: &[u8], look| Ticket {
            topic: topic.to_owned(),
            key: key.into(),
            grant: grant.clone(),
            look,
            token,
            frame: None,
            _upload: None,
            _room: None,
        };
        if matches!(*head.method(), Method::GET | Method::HEAD) {
            return Ok(ticket(b"", true));
        }
        if head.method() != Method::POST {
            let text = format!("{} is not a thing to do here: POST writes, GET asks", head.method());
            return Err(Answer::problem(StatusCode::METHOD_NOT_ALLOWED, Code::Refused, text));
        }
        let mut keys = head.headers().get_all(KEY).iter().map(|k| k.as_bytes());
        let key = keys.next().filter(|k| !k.is_empty());
        let key = key.ok_or_else(|| bad(format!("the header {KEY} is missing: the records' warehouse")))?;
        if keys.next().is_some() {
            return Err(bad(format!("the header {KEY} is given twice")));
        }
        if key.len() > KEY_BYTES_MAX {
            return Err(bad(format!("{KEY} is longer than {KEY_BYTES_MAX} bytes")));
        }
        if !grant.may_use(key) {
            let text = format!("device {} may not write this key", grant.device);
            return Err(Answer::problem(StatusCode::FORBIDDEN, Code::Refused, text));
        }
        Ok(ticket(key, false))
    }
}

fn bad(text: String) -> Answer {
    Answer::problem(StatusCode::BAD_REQUEST, Code::BadRecord, text)
}

/// The topic's one writer: what waits together is committed together.
fn write(mut batches: mpsc::Receiver<Batch>, mut append: Append, topic: &str, told: &Told) {
    while let Some(first) = batches.blocking_recv() {
        let mut bytes = first.records.bytes();
        let (mut records, mut waiting) = (first.records.into_incoming(), vec![first.done]);
        while records.len() < COMMIT_RECORDS
            && bytes < COMMIT_BYTES
            && let Ok(batch) = batches.try_recv()
        {
            bytes += batch.records.bytes();
            records.extend(batch.records.into_incoming());
            waiting.push(batch.done);
        }
        let count = records.len();
        let done = append(records);
        match &done {
            Ok(()) => told.taken(topic, count),
            Err(error) => told.failed(topic, error),
        }
        for one in waiting {
            // Whoever went away asks again.
            let _gone = one.send(done.clone());
        }
    }
}

impl Log {
    async fn enter(
        &self,
        head: &Request<()>,
        length: u64,
        grant: &Grant,
        token: TokenDigest,
    ) -> std::result::Result<Ticket, Answer> {
        let mut ticket = match self.frames.as_ref().filter(|_| Frames::owns(head.uri().path())) {
            Some(frames) => {
                let frame = frames.admit(head, grant, length)?;
                let _upload = match frame {
                    frames::Ticket::Upload(_) => Some(self.upload(token)?),
                    frames::Ticket::Look(_) => None,
                };
                let (topic, key, frame) = (String::new(), [].into(), Some(frame));
                Ticket { topic, key, grant: grant.clone(), look: false, token, frame, _upload, _room: None }
            }
            None => self.ticket(head, grant, token)?,
        };
        let limit = self.limits.body_bytes;
        if length > limit as u64 && ticket.frame.is_none() {
            return Err(too_large(format!("a body of {length} bytes is larger than {limit}")));
        }
        let (rate, now) = (self.limits.rate, self.clock.monotonic());
        match self.device(token, |device| device.bucket.take(rate, length as f64, now)) {
            Ok(wait) if wait.is_zero() => {}
            Ok(wait) => tokio::time::sleep(wait).await,
            Err(wait) => {
                let text = "this device sends faster than it may";
                let problem = Answer::problem(StatusCode::TOO_MANY_REQUESTS, Code::Refused, text);
                return Err(problem.retry_after(wait.as_secs().saturating_add(1)));
            }
        }
        // Not more than a body's limit, so it fits a semaphore; of a frame a part is held at a time.
        let held = if ticket.frame.is_some() { length.min(PART_BYTES.min(limit) as u64) } else { length };
        let permits = u32::try_from(held).unwrap_or(u32::MAX);
        let share = self.device(token, |device| device.bytes.clone()).acquire_many_owned(permits);
        match tokio::time::timeout(SHARE_PATIENCE, share).await {
            Ok(Ok(room)) => ticket._room = Some(room),
            _ => {
                let text = "this device's other bodies take all the room that it has";
                let problem = Answer::problem(StatusCode::TOO_MANY_REQUESTS, Code::Refused, text);
                return Err(problem.retry_after(1));
            }
        }
        Ok(ticket)
    }

    async fn store(&self, mut ticket: Ticket, head: Request<()>, body: Vec<u8>) -> Answer {
        if let (Some(frames), Some(frame)) = (&self.frames, ticket.frame.take()) {
            return frames.answer(frame).await;
        }
        if ticket.look {
            let facts =
                json!({ "topic": ticket.topic, "device": ticket.grant.device, "keys": ticket.grant.keys });
            return Answer::good(facts.as_object().cloned().unwrap_or_default());
        }
        let records = match records(&ticket, head.headers(), body, self.limits.records) {
            Ok(records) => records,
            Err(problem) => return problem,
        };
        let count = records.len();
        let busy = |text: String| Answer::problem(StatusCode::SERVICE_UNAVAILABLE, Code::Refused, text);
        let (done, answer) = oneshot::channel();
        let Some(queue) = self.topics.get(&ticket.topic) else {
            return busy("the topic is gone".into());
        };
        if queue.try_send(Batch { records, done }).is_err() {
            return busy(format!("{WAITING_MAX} requests wait for this topic's disk")).retry_after(1);
        }
        match answer.await {
            Ok(Ok(())) => {
                let mut facts = Map::new();
                facts.insert("records".into(), json!(count));
                Answer::good(facts)
            }
            Ok(Err(e)) => Answer::problem(StatusCode::SERVICE_UNAVAILABLE, e.code(), e.what()).retry_after(1),
            Err(_) => busy("the topic's writer ended".into()),
        }
    }
}

impl App for Log {
    type Ticket = Ticket;

    async fn admit(&self, head: &Request<()>, length: u64) -> std::result::Result<Ticket, Answer> {
        let Some((grant, token)) = self.grants.of(head.headers()) else {
            self.told.refused(UNKNOWN, StatusCode::UNAUTHORIZED);
            tokio::time::sleep(GUESS_PAUSE).await;
            let text = "no device has this token";
            return Err(Answer::problem(StatusCode::UNAUTHORIZED, Code::Refused, text).close());
        };
        let entered = self.enter(head, length, grant, token).await;
        entered.inspect_err(|answer| self.told.refused(&grant.device, answer.status))
    }

    fn seat(&self, ticket: &Ticket) -> std::result::Result<Option<OwnedSemaphorePermit>, Answer> {
        let seats = self.device(ticket.token, |device| device.seats.clone());
        seats.try_acquire_owned().map(Some).map_err(|_| {
            let status = StatusCode::TOO_MANY_REQUESTS;
            self.told.refused(&ticket.grant.device, status);
            let text = format!("this device has {} connections already", self.limits.connections);
            Answer::problem(status, Code::Refused, text).retry_after(1).close()
        })
    }

    fn turned_away(&self, status: StatusCode) {
        self.told.refused(UNKNOWN, status);
    }

    fn in_parts(&self, ticket: &Ticket) -> bool {
        ticket.frame.is_some()
    }

    async fn part(&self, mut ticket: Ticket, bytes: Vec<u8>) -> std::result::Result<Ticket, Answer> {
        if let (Some(frames), Some(frame)) = (&self.frames, ticket.frame.take()) {
            let more = frames.part(frame, bytes).await;
            let more = more.inspect_err(|answer| self.told.refused(&ticket.grant.device, answer.status))?;
            ticket.frame = Some(more);
        }
        Ok(ticket)
    }

    async fn answer(&self, ticket: Ticket, head: Request<()>, body: Vec<u8>) -> Answer {
        let device = ticket.grant.device.clone();
        let answer = self.store(ticket, head, body).await;
        if answer.status != StatusCode::OK {
            self.told.refused(&device, answer.status);
        }
        answer
    }
}

fn too_large(text: String) -> Answer {
    Answer::problem(StatusCode::PAYLOAD_TOO_LARGE, Code::TooLarge, text)
}

#[cfg(test)]
mod tests;
