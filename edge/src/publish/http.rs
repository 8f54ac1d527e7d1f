//! A topic of weir's embedded log as a sender: `POST /v1/log/{topic}`.
//!
//! In:   records; JSON ones go as lines of one request, others one by one with their headers, whose names are spelled
//!       so that proxies let them through (`contract::wire`).
//! Out:  acknowledged when the answer came: the log writes and syncs before it answers.
//! Owns: one thread that waits for the answers, one request at a time, so that order is kept.
//!
//! | answer        | becomes                                                               |
//! |---------------|-----------------------------------------------------------------------|
//! | 200           | acknowledged                                                          |
//! | 413, 400 of   | of one record: refused; of several: they are sent one by one          |
//! | weir's log    |                                                                       |
//! | 413 of others | of one record: broken, as below; of several: they are sent one by one |
//! | 408, 429, 5xx,| broken: sent again after a pause                                      |
//! | none          |                                                                       |
//! | any other     | broken, with `W0402`: somebody has to act, and nothing is thrown away |
//!
//! A 400 or 413 is weir's where its body says so: what stands between (a proxy) knows nothing of records.

use std::io::Read;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender as Channel, TryRecvError, bounded};
use weir_contract::{Code, Error, EventTime, Result, wire};

use super::{Outcome, Sender, Sent};
use crate::record::Outgoing;
use crate::web::{self, Tls};

/// One request holds at most this.
const RECORDS_MAX: usize = 1_000;
const BYTES_MAX: usize = 1 << 20;
/// An answer is a line or two.
const ANSWER_BYTES_MAX: u64 = 64 << 10;
const PATIENCE: Duration = Duration::from_secs(20);
pub const KEY: &str = "weir-key";

/// Where the log is.
#[derive(Debug, Clone)]
pub struct HttpTarget {
    /// Such as `https://weir.example:8443`.
    pub url: String,
    pub token: String,
    pub tls: Tls,
}

struct Request {
    records: Vec<Outgoing>,
    heartbeat: Option<(Vec<u8>, i64)>,
}

/// One topic.
pub struct HttpSender {
    requests: Option<Channel<Request>>,
    answers: Receiver<Vec<Outcome>>,
    waiting: Vec<Outgoing>,
    waiting_bytes: usize,
    heartbeat: Option<(Vec<u8>, i64)>,
    busy: bool,
}

impl HttpSender {
    pub fn new(target: HttpTarget, topic: &str) -> Result<Self> {
        let agent = web::client(&target.tls, Some(PATIENCE), PATIENCE)?;
        let url = format!("{}/v1/log/{topic}", target.url.trim_end_matches('/'));
        let (requests, inbox) = bounded::<Request>(1);
        let (out, answers) = bounded(1);
        let poster = Poster { agent, url, token: target.token };
        thread::Builder::new()
            .name(format!("http {topic}"))
            .spawn(move || {
                for request in inbox {
                    if out.send(poster.serve(&request)).is_err() {
                        break;
                    }
                }
            })
            .map_err(|e| Error::new(Code::Io, format!("cannot start a thread: {e}")))?;
        Ok(Self {
            requests: Some(requests),
            answers,
            waiting: Vec::new(),
            waiting_bytes: 0,
            heartbeat: None,
            busy: false,
        })
    }
}

impl Sender for HttpSender {
    fn send(&mut self, record: Outgoing) -> Sent {
        if self.waiting.len() >= RECORDS_MAX || self.waiting_bytes >= BYTES_MAX {
            return Sent::Full(Box::new(record));
        }
        self.waiting_bytes += record.bytes();
        self.waiting.push(record);
        Sent::Taken
    }

    fn heartbeat(&mut self, key: &[u8], time_us: i64) -> bool {
        self.heartbeat = Some((key.to_vec(), time_us));
        true
    }

    fn poll(&mut self, _now_us: i64) -> Vec<Outcome> {
        let mut outcomes = match self.answers.try_recv() {
            Ok(outcomes) => {
                self.busy = false;
                outcomes
            }
            Err(TryRecvError::Empty) => Vec::new(),
            Err(TryRecvError::Disconnected) => {
                vec![Outcome::Broken(Error::new(Code::Internal, "the thread of a sender ended"))]
            }
        };
        if let Some(broken) = outcomes.iter().position(|o| matches!(o, Outcome::Broken(_))) {
            // All of it is sent again; the heartbeat was made for another state.
            outcomes.truncate(broken + 1);
            self.waiting.clear();
            self.waiting_bytes = 0;
            self.heartbeat = None;
        } else if !self.busy && (!self.waiting.is_empty() || self.heartbeat.is_some()) {
            let request =
                Request { records: std::mem::take(&mut self.waiting), heartbeat: self.heartbeat.take() };
            self.waiting_bytes = 0;
            self.busy = self.requests.as_ref().is_some_and(|r| r.try_send(request).is_ok());
        }
        outcomes
    }

    fn idle(&self) -> bool {
        !self.busy && self.waiting.is_empty() && self.heartbeat.is_none()
    }
}

struct Poster {
    agent: ureq::Agent,
    url: String,
    token: String,
}

enum Answer {
    Stored,
    /// This content will never be taken.
    Refused(Error),
    /// Somebody on the way takes no body of this size.
    TooLarge(Error),
    Broken(Error),
}

fn is_line(record: &Outgoing) -> bool {
    record.headers.is_empty() && record.value.first() == Some(&b'{') && !record.value.contains(&b'\n')
}

impl Poster {
    fn serve(&self, request: &Request) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        let mut rest = &request.records[..];
        while let Some(first) = rest.first() {
            let lines = rest.iter().take_while(|r| is_line(r) && r.key == first.key).count();
            let (now, later) = rest.split_at(lines.max(1));
            match self.post_records(now) {
                Answer::Stored => outcomes.extend(now.last().map(|r| Outcome::Acked(r.offset))),
                Answer::Refused(_) | Answer::TooLarge(_) if now.len() > 1 => {
                    // One of them is at fault: which one shows when they go alone.
                    for record in now {
                        match self.post_records(std::slice::from_ref(record)) {
                            Answer::Stored => outcomes.push(Outcome::Acked(record.offset)),
                            Answer::Refused(why) => outcomes.push(Outcome::Refused(record.offset, why)),
                            Answer::TooLarge(why) | Answer::Broken(why) => {
                                outcomes.push(Outcome::Broken(why));
                                return outcomes;
                            }
                        }
                    }
                }
                Answer::Refused(why) => outcomes.push(Outcome::Refused(first.offset, why)),
                Answer::TooLarge(why) | Answer::Broken(why) => {
                    outcomes.push(Outcome::Broken(why));
                    return outcomes;
                }
            }
            rest = later;
        }
        if let Some((key, time_us)) = &request.heartbeat {
            let header = (wire::HEARTBEAT.to_owned(), EventTime(*time_us).to_string().into_bytes());
            let said = self.post(key, &[header], "application/octet-stream", b"");
            if let Answer::TooLarge(why) | Answer::Broken(why) = said {
                outcomes.push(Outcome::Broken(why));
            }
        }
        outcomes
    }

    fn post_records(&self, records: &[Outgoing]) -> Answer {
        match records {
            [one] if !is_line(one) => {
                self.post(&one.key, &one.headers, "application/octet-stream", &one.value)
            }
            _ => {
                let key = records.first().map(|r| r.key.as_slice()).unwrap_or_default();
                let body: Vec<u8> =
                    records.iter().flat_map(|r| r.value.iter().copied().chain([b'\n'])).collect();
                self.post(key, &[], "application/x-ndjson", &body)
            }
        }
    }

    fn post(&self, key: &[u8], headers: &[(String, Vec<u8>)], kind: &str, body: &[u8]) -> Answer {
        let mut request = self
            .agent
            .post(&self.url)
            .header("authorization", format!("Bearer {}", self.token))
            .header("content-type", kind)
            .header(KEY, key);
        for (name, value) in headers {
            let Some(spelled) = wire::http_name(name) else {
                let what = format!("HTTP carries no header `{name}` of a record");
                return Answer::Refused(Error::new(Code::Refused, what));
            };
            request = request.header(format!("{}{spelled}", wire::HTTP_PREFIX), value.as_slice());
        }
        let mut response = match request.send(body) {
            Ok(response) => response,
            Err(e) => return Answer::Broken(Error::new(Code::Connect, format!("{}: {e}", self.url))),
        };
        let status = response.status().as_u16();
        let mut text = String::new();
        let _the_status_says_enough =
            response.body_mut().as_reader().take(ANSWER_BYTES_MAX).read_to_string(&mut text);
        let what = format!("{} answers {status} {}", self.url, text.trim());
        match status {
            200 => Answer::Stored,
            400 | 413 if of_the_records(&text) => Answer::Refused(Error::new(Code::Refused, what)),
            413 => Answer::TooLarge(Error::new(Code::Refused, what)),
            408 | 429 | 500..=599 => Answer::Broken(Error::new(Code::Connect, what)),
            _ => Answer::Broken(Error::new(Code::Refused, what)),
        }
    }
}

/// Whether weir's log says this of the records: a body above its limit, or lines that it names. What it says
/// of a request's head (a header that a proxy took away) has the code of bad records too, but counts none.
fn of_the_records(body: &str) -> bool {
    let Ok(said) = serde_json::from_str::<serde_json::Value>(body) else { return false };
    let code = said["code"].as_str().unwrap_or_default();
    code == Code::TooLarge.to_string() || (code == Code::BadRecord.to_string() && said["records"].is_u64())
}

#[cfg(test)]
mod tests;
