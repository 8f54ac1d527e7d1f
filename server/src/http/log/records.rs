//! A request's records: what its head and body say, and whether its device may say that.
//!
//! In:   a ticket, the head's headers, the body. Out: the records of it, or the answer that refuses all of them.
//! Owns: whose records they are. Not what they mean.
//!
//! R1  Each record has an id, in its header or its value, and every id that it has is the device's own. A heartbeat
//!     needs none.
//! R2  A record that names its warehouse names its key.
//! R3  No header is there twice, and none has a name that weir gives: readers take the last one.
//! R4  What waits is the body itself and 8 bytes for each line.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use serde::Deserialize;
use ureq_proto::http::{HeaderMap, StatusCode, header};
use weir_contract::{Code, wire};

use super::{Incoming, KEY, Ticket, bad, too_large};
use crate::http::Answer;

/// Header of a record that is bytes; the member of this name of one that is JSON.
const EVENT_ID: &str = "event_id";
/// The same, of what has to be the key.
const WAREHOUSE: &str = "warehouse";

type Headers = Vec<(String, Vec<u8>)>;

/// Records of one request.
#[derive(Debug)]
pub struct Records {
    key: Arc<[u8]>,
    /// Of the only record; lines have none.
    headers: Headers,
    body: Vec<u8>,
    /// Where each record is in the body.
    spans: Vec<Range<u32>>,
}

impl Records {
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Of all that is written: values, keys, headers.
    pub fn bytes(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.body.len() + self.len() * self.key.len() + headers
    }

    /// One by one, in order.
    pub fn into_incoming(self) -> Vec<Incoming> {
        let Self { key, mut headers, body, spans } = self;
        if let [all] = &spans[..]
            && all.len() == body.len()
        {
            return vec![Incoming { key, value: body, headers }];
        }
        let record = |span: &Range<u32>| Incoming {
            key: key.clone(),
            value: body[span.start as usize..span.end as usize].to_vec(),
            headers: std::mem::take(&mut headers),
        };
        spans.iter().map(record).collect()
    }
}

/// What is looked at in a value; that it is JSON shows on the way.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow, default)]
    event_id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    warehouse: Option<Cow<'a, str>>,
}

impl<'a> Line<'a> {
    fn read(value: &'a [u8]) -> std::result::Result<Self, String> {
        // An array of two texts would do for serde.
        if value.first() != Some(&b'{') {
            return Err("it begins with no {".into());
        }
        serde_json::from_slice(value).map_err(|e| e.to_string())
    }
}

/// Why a record is refused; the first that a request has is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Wrong {
    Broken,
    NoId,
    NotOwn,
    Elsewhere,
}

/// What is wrong with a request: how often, and the first line of it.
#[derive(Default)]
struct Found([Option<(usize, usize)>; 4], String);

impl Found {
    fn put(&mut self, line: usize, wrong: Wrong, why: String) {
        let (times, _) = self.0[wrong as usize].get_or_insert((0, line));
        *times += 1;
        if wrong == Wrong::Broken && *times == 1 {
            self.1 = why;
        }
    }

    fn answer(&self, ticket: &Ticket, count: usize) -> Option<Answer> {
        let all = [Wrong::Broken, Wrong::NoId, Wrong::NotOwn, Wrong::Elsewhere];
        let (wrong, (times, line)) = all.into_iter().find_map(|w| Some((w, self.0[w as usize]?)))?;
        let device = &ticket.grant.device;
        let text = match wrong {
            Wrong::Broken => {
                format!("{times} of {count} records are not JSON objects: line {line}: {}", self.1)
            }
            Wrong::NoId => format!(
                "{times} of {count} records have no event_id, in their value or in {}event-id: line {line}",
                wire::HTTP_PREFIX
            ),
            Wrong::NotOwn => {
                format!(
                    "{times} of {count} records have an event_id that is not of device {device}: line {line}"
                )
            }
            Wrong::Elsewhere => {
                format!("{times} of {count} records name another warehouse than {KEY}: line {line}")
            }
        };
        let text = text + ". Nothing was written";
        let answer = match wrong {
            Wrong::Broken | Wrong::NoId => bad(text),
            Wrong::NotOwn | Wrong::Elsewhere => Answer::problem(StatusCode::FORBIDDEN, Code::Refused, text),
        };
        Some(answer.with("records", count).with("bad", times).with("line", line))
    }
}

/// Whether these are a device's own words.
fn check(ticket: &Ticket, headers: &Headers, line: &Line<'_>) -> std::result::Result<(), Wrong> {
    let header = |wanted: &str| headers.iter().find(|(name, _)| name == wanted).map(|(_, v)| v.as_slice());
    let ids = [header(EVENT_ID), line.event_id.as_deref().map(str::as_bytes)];
    if ids == [None, None] && header(wire::HEARTBEAT).is_none() {
        return Err(Wrong::NoId);
    }
    let own = |id: &[u8]| std::str::from_utf8(id).is_ok_and(|id| ticket.grant.owns(id));
    if !ids.into_iter().flatten().all(own) {
        return Err(Wrong::NotOwn);
    }
    let places = [header(WAREHOUSE), line.warehouse.as_deref().map(str::as_bytes)];
    if places.into_iter().flatten().any(|place| *place != *ticket.key) {
        return Err(Wrong::Elsewhere);
    }
    Ok(())
}

/// The records of a body: its lines, or all of it.
pub fn records(
    ticket: &Ticket,
    headers: &HeaderMap,
    body: Vec<u8>,
    limit: usize,
) -> std::result::Result<Records, Answer> {
    let kind = headers.get(header::CONTENT_TYPE).map(|t| t.as_bytes()).unwrap_or_default();
    let kind = kind.split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
    if kind.eq_ignore_ascii_case(b"application/x-ndjson") {
        if let Some(name) = headers.keys().find(|name| name.as_str().starts_with(wire::HTTP_PREFIX)) {
            return Err(bad(format!("lines have no headers, but {name} is there")));
        }
        return of_lines(ticket, body, limit);
    }
    let headers = own_headers(headers)?;
    let mut found = Found::default();
    let trimmed = body.trim_ascii();
    // Bytes are not looked at: no reader takes ids out of them.
    let line = match trimmed.first() {
        Some(b'{') => Line::read(trimmed),
        _ => Ok(Line { event_id: None, warehouse: None }),
    };
    match line.map(|line| check(ticket, &headers, &line)) {
        Ok(Ok(())) => {}
        Ok(Err(wrong)) => found.put(1, wrong, String::new()),
        Err(why) => found.put(1, Wrong::Broken, why),
    }
    if let Some(answer) = found.answer(ticket, 1) {
        return Err(answer);
    }
    let all = 0..u32::try_from(body.len()).map_err(|_| too_large("the body is too large".into()))?;
    Ok(Records { key: ticket.key.clone(), headers, body, spans: vec![all] })
}

/// Lines that are not blank, with their numbers.
fn lines(body: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let all = (1..).zip(body.split(|b| *b == b'\n').map(<[u8]>::trim_ascii));
    all.filter(|(_, line)| !line.is_empty())
}

fn of_lines(ticket: &Ticket, body: Vec<u8>, limit: usize) -> std::result::Result<Records, Answer> {
    let count = lines(&body).count();
    if count == 0 {
        return Err(bad("no line has a record".into()).with("records", 0));
    }
    if count > limit {
        return Err(too_large(format!("{count} lines are more than {limit}")).with("records", count));
    }
    let (mut found, mut spans) = (Found::default(), Vec::with_capacity(count));
    let mut begin = 0;
    for (number, line) in (1..).zip(body.split(|b| *b == b'\n')) {
        let blank = line.len() - line.trim_ascii_start().len();
        let (from, value) = (begin + blank, line.trim_ascii());
        begin += line.len() + 1;
        if value.is_empty() {
            continue;
        }
        match Line::read(value).map(|line| check(ticket, &Headers::new(), &line)) {
            Ok(Ok(())) => {}
            Ok(Err(wrong)) => found.put(number, wrong, String::new()),
            Err(why) => found.put(number, Wrong::Broken, why),
        }
        let at = |place: usize| u32::try_from(place).map_err(|_| too_large("the body is too large".into()));
        spans.push(at(from)?..at(from + value.len())?);
    }
    if let Some(answer) = found.answer(ticket, count) {
        return Err(answer);
    }
    Ok(Records { key: ticket.key.clone(), headers: Headers::new(), body, spans })
}

/// The record's headers among the request's.
fn own_headers(headers: &HeaderMap) -> std::result::Result<Headers, Answer> {
    let mut own = Headers::new();
    for (name, value) in headers {
        let Some(spelled) = name.as_str().strip_prefix(wire::HTTP_PREFIX) else { continue };
        let Some(plain) = wire::header_name(spelled) else {
            let text = format!(
                "a record cannot have the header {name}: behind {} stand a-z, 0-9 and `-`, which is read as `_`; \
                 what begins with weir- is weir's own, but for {}{}",
                wire::HTTP_PREFIX,
                wire::HTTP_PREFIX,
                wire::HEARTBEAT
            );
            return Err(bad(text));
        };
        if own.iter().any(|(other, _)| *other == plain) {
            return Err(bad(format!("the header {name} is given twice")));
        }
        own.push((plain, value.as_bytes().to_vec()));
    }
    Ok(own)
}
