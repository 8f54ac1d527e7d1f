//! `POST /v1/log/{topic}`: records of devices into the embedded log.
//!
//! In:   one record (the body, its headers as `weir-header-NAME`), or as many as there are lines where the type is
//!       `application/x-ndjson`; their message key in `weir-key`. A bearer token names the device.
//! Out:  `200 {"records": n}` after the durable write. `GET` of the same says whether the topic takes records.
//! Owns: who may write what, and how much of it. Not what a record means: one that its table cannot decode becomes a
//!       reject there.
//!
//! | answer | when                                                                                   |
//! |--------|----------------------------------------------------------------------------------------|
//! | 400    | no key, no records, lines that are not JSON objects: how many of how many, and which   |
//! | 401    | no token, or one that nobody has                                                       |
//! | 403    | this device may not write this key, or the id of a record is another device's          |
//! | 404    | the topic is not one that devices write                                                |
//! | 413    | the body, or its number of lines, is above the limit                                   |
//! | 429    | the device sends faster than it may, by more than waiting mends: `retry-after`         |
//! | 503    | the disk refuses, or too much waits for it                                             |
//!
//! W1  An answer of 200 means durable, all of it. Any other answer: nothing is promised, and of a request that broke no
//!     rule of this table it may be there or not. Whoever sends it again doubles records, never events: their ids are
//!     the same, and tables drop what they knew (`dedup = 'event_id'`).
//! W2  All requests of a topic go through one writer; those that wait together are one append and one sync.
//! W3  What one request is refused for never touches another.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, json};
use tokio::sync::{mpsc, oneshot};
use ureq_proto::http::{HeaderMap, Method, Request, StatusCode, header};
use weir_contract::{Clock, Code, Error, Result};

use super::grants::{Bucket, Grant, Grants, Rate, TokenDigest};
use super::{Answer, App};

const PATH: &str = "/v1/log/";
const KEY: &str = "weir-key";
const HEADER_PREFIX: &str = "weir-header-";
/// Header of a record that is bytes; the member of this name of one that is JSON.
const EVENT_ID: &str = "event_id";
/// Requests of one topic that may wait; beyond, 503.
const WAITING_MAX: usize = 256;
/// Records and bytes after which a commit takes no further request, so that none waits behind too many others.
const COMMIT_RECORDS: usize = 20_000;
const COMMIT_BYTES: usize = 16 << 20;
/// Before a guess of a token is answered.
const GUESS_PAUSE: Duration = Duration::from_millis(250);

/// What devices may do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    pub body_bytes: usize,
    pub records: usize,
    /// Of one device.
    pub rate: Rate,
}

impl Default for Limits {
    /// A drain of frames at 20 times real time is 100 requests a second.
    fn default() -> Self {
        let rate = Rate { requests_per_s: 500.0, bytes_per_s: 16e6 };
        Self { body_bytes: 8 << 20, records: 10_000, rate }
    }
}

/// A record on its way in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incoming {
    pub key: Vec<u8>,
    pub value: Vec<u8>,
    pub headers: Vec<(String, Vec<u8>)>,
}

/// Makes records of one topic durable, in order; blocks.
pub type Append = Box<dyn FnMut(Vec<Incoming>) -> Result<()> + Send>;

/// Records of one request, and who waits for them.
struct Batch {
    records: Vec<Incoming>,
    bytes: usize,
    done: oneshot::Sender<Result<()>>,
}

/// The resource.
pub struct Log {
    grants: Grants,
    limits: Limits,
    clock: Arc<dyn Clock>,
    topics: BTreeMap<String, mpsc::Sender<Batch>>,
    buckets: Mutex<BTreeMap<TokenDigest, Bucket>>,
}

/// What the head of a request gave a right to.
pub struct Ticket {
    topic: String,
    key: Vec<u8>,
    grant: Grant,
    /// It only asks.
    look: bool,
}

impl Log {
    /// Each topic's `append` runs in a thread of its own, which ends when this is dropped.
    pub fn new(
        topics: BTreeMap<String, Append>,
        grants: Grants,
        limits: Limits,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let mut queues = BTreeMap::new();
        for (topic, append) in topics {
            let (queue, batches) = mpsc::channel(WAITING_MAX);
            std::thread::Builder::new()
                .name(format!("log {topic}"))
                .spawn(move || write(batches, append))
                .map_err(|e| Error::new(Code::Io, format!("cannot start a thread: {e}")))?;
            queues.insert(topic, queue);
        }
        Ok(Self { grants, limits, clock, topics: queues, buckets: Mutex::default() })
    }

    fn charge(&self, device: TokenDigest, bytes: u64) -> std::result::Result<Duration, Duration> {
        let (now, rate) = (self.clock.monotonic(), self.limits.rate);
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        buckets.entry(device).or_insert_with(|| Bucket::full(rate, now)).take(rate, bytes as f64, now)
    }

    fn ticket(&self, head: &Request<()>, grant: &Grant) -> std::result::Result<Ticket, Answer> {
        let topic = head.uri().path().strip_prefix(PATH).unwrap_or_default();
        if !self.topics.contains_key(topic) {
            let text = format!("devices write no topic here; those of {PATH}{{topic}} are configured");
            return Err(Answer::problem(StatusCode::NOT_FOUND, Code::NoTopic, text));
        }
        let ticket = |key: &[u8], look| Ticket {
            topic: topic.to_owned(),
            key: key.to_vec(),
            grant: grant.clone(),
            look,
        };
        if matches!(*head.method(), Method::GET | Method::HEAD) {
            return Ok(ticket(b"", true));
        }
        if head.method() != Method::POST {
            let text = format!("{} is not a thing to do here: POST writes, GET asks", head.method());
            return Err(Answer::problem(StatusCode::METHOD_NOT_ALLOWED, Code::Refused, text));
        }
        let key = head.headers().get(KEY).map(|k| k.as_bytes()).filter(|k| !k.is_empty());
        let key = key.ok_or_else(|| bad(format!("the header {KEY} is missing: the records' warehouse")))?;
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
fn write(mut batches: mpsc::Receiver<Batch>, mut append: Append) {
    while let Some(first) = batches.blocking_recv() {
        let (mut records, mut bytes, mut waiting) = (first.records, first.bytes, vec![first.done]);
        while records.len() < COMMIT_RECORDS
            && bytes < COMMIT_BYTES
            && let Ok(batch) = batches.try_recv()
        {
            records.extend(batch.records);
            bytes += batch.bytes;
            waiting.push(batch.done);
        }
        let done = append(records);
        for one in waiting {
            // Whoever went away asks again.
            let _gone = one.send(done.clone());
        }
    }
}

impl App for Log {
    type Ticket = Ticket;

    async fn admit(&self, head: &Request<()>, length: u64) -> std::result::Result<Ticket, Answer> {
        let Some((grant, device)) = self.grants.of(head.headers()) else {
            tokio::time::sleep(GUESS_PAUSE).await;
            let text = "no device has this token";
            return Err(Answer::problem(StatusCode::UNAUTHORIZED, Code::Refused, text).close());
        };
        let ticket = self.ticket(head, grant)?;
        let limit = self.limits.body_bytes;
        if length > limit as u64 {
            return Err(too_large(format!("a body of {length} bytes is larger than {limit}")));
        }
        match self.charge(device, length) {
            Ok(wait) if wait.is_zero() => {}
            Ok(wait) => tokio::time::sleep(wait).await,
            Err(wait) => {
                let text = "this device sends faster than it may";
                let problem = Answer::problem(StatusCode::TOO_MANY_REQUESTS, Code::Refused, text);
                return Err(problem.retry_after(wait.as_secs().saturating_add(1)));
            }
        }
        Ok(ticket)
    }

    async fn answer(&self, ticket: Ticket, head: Request<()>, body: Vec<u8>) -> Answer {
        if ticket.look {
            let facts =
                json!({ "topic": ticket.topic, "device": ticket.grant.device, "keys": ticket.grant.keys });
            return Answer::good(facts.as_object().cloned().unwrap_or_default());
        }
        let bytes = body.len();
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
        if queue.try_send(Batch { records, bytes, done }).is_err() {
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

fn too_large(text: String) -> Answer {
    Answer::problem(StatusCode::PAYLOAD_TOO_LARGE, Code::TooLarge, text)
}

/// What is looked at in a line; that it is JSON shows on the way.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow, default)]
    event_id: Option<Cow<'a, str>>,
}

fn records(
    ticket: &Ticket,
    headers: &HeaderMap,
    body: Vec<u8>,
    limit: usize,
) -> std::result::Result<Vec<Incoming>, Answer> {
    let kind = headers.get(header::CONTENT_TYPE).map(|t| t.as_bytes()).unwrap_or_default();
    let kind = kind.split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
    if !kind.eq_ignore_ascii_case(b"application/x-ndjson") {
        return one_record(ticket, headers, body).map(|record| vec![record]);
    }
    let lines: Vec<(usize, &[u8])> = (1..)
        .zip(body.split(|b| *b == b'\n').map(<[u8]>::trim_ascii))
        .filter(|(_, line)| !line.is_empty())
        .collect();
    let count = lines.len();
    if count == 0 {
        return Err(bad("no line has a record".into()).with("records", 0));
    }
    if count > limit {
        return Err(too_large(format!("{count} lines are more than {limit}")).with("records", count));
    }
    let (mut broken, mut foreign): (Vec<(usize, String)>, Vec<usize>) = (Vec::new(), Vec::new());
    for (number, line) in &lines {
        // An array of one text would do for serde.
        match serde_json::from_slice::<Line<'_>>(line).map(|l| l.event_id) {
            _ if line.first() != Some(&b'{') => broken.push((*number, "it begins with no {".into())),
            Err(e) => broken.push((*number, e.to_string())),
            Ok(Some(id)) if !ticket.grant.owns(&id) => foreign.push(*number),
            Ok(_) => {}
        }
    }
    if let Some((line, why)) = broken.first() {
        let wrong = broken.len();
        let text =
            format!("{wrong} of {count} lines are not JSON objects: line {line}: {why}. Nothing was written");
        return Err(bad(text).with("records", count).with("bad", wrong).with("line", *line));
    }
    if let Some(line) = foreign.first() {
        return Err(not_own(ticket, foreign.len(), count, *line));
    }
    let record = |(_, value): &(usize, &[u8])| Incoming {
        key: ticket.key.clone(),
        value: value.to_vec(),
        headers: Vec::new(),
    };
    Ok(lines.iter().map(record).collect())
}

fn one_record(ticket: &Ticket, headers: &HeaderMap, value: Vec<u8>) -> std::result::Result<Incoming, Answer> {
    let mut own = Vec::new();
    for (name, value) in headers {
        if let Some(name) = name.as_str().strip_prefix(HEADER_PREFIX) {
            own.push((name.to_owned(), value.as_bytes().to_vec()));
        }
    }
    if own.is_empty() && value.is_empty() {
        return Err(bad("a record without value and headers".into()).with("records", 0));
    }
    let in_header = own.iter().find(|(name, _)| name == EVENT_ID).map(|(_, id)| id.as_slice());
    let in_value = || serde_json::from_slice::<Line<'_>>(&value).ok()?.event_id;
    let owned = match in_header {
        Some(id) => std::str::from_utf8(id).is_ok_and(|id| ticket.grant.owns(id)),
        None => in_value().is_none_or(|id| ticket.grant.owns(&id)),
    };
    if !owned {
        return Err(not_own(ticket, 1, 1, 1));
    }
    Ok(Incoming { key: ticket.key.clone(), value, headers: own })
}

fn not_own(ticket: &Ticket, foreign: usize, count: usize, line: usize) -> Answer {
    let text = format!(
        "{foreign} of {count} records have an event_id that is not of device {}: line {line}. Nothing was written",
        ticket.grant.device
    );
    let answer = Answer::problem(StatusCode::FORBIDDEN, Code::Refused, text);
    answer.with("records", count).with("bad", foreign).with("line", line)
}

#[cfg(test)]
mod tests;
