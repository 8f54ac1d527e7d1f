//! One HTTP/1.1 connection: requests in, answers out, one after the other.
//!
//! In:   bytes of a peer. Out: answers, in order.
//! Owns: patience, and how much is read. What a head means is `ureq-proto`'s, the rest the [`App`]'s.
//!
//! | in            | ends with                                                        |
//! |---------------|------------------------------------------------------------------|
//! | between heads | nothing for `IDLE`, or a stop: closed, silently                  |
//! | a head        | `HEAD_PATIENCE`: 408; above `HEAD_BYTES_MAX`: 431; broken: 400   |
//! | a body        | `BODY_PATIENCE`, or slower than `BODY_RATE`: 408. In chunks, or  |
//! |               | of no told length: 411                                           |
//! | one in parts  | slower than `BODY_RATE`: 408                                     |
//! | an answer     | `ANSWER_PATIENCE` for a peer that does not read                  |
//!
//! C0  Until its first good token a peer has the room's `patience` for both the silence and the head.
//! C1  A body is read only after the app took its head, and only as many bytes as were told.
//! C2  After an answer that leaves a body unread the connection ends: its bytes are never taken for a head. What
//!     the peer is still sending is thrown away for a while, so that it sees the answer and not a reset.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;
use ureq_proto::BodyMode;
use ureq_proto::http::{Request, StatusCode, Version, header};
use ureq_proto::server::{RecvRequestResult, Reply};
use weir_contract::Code;

use super::{Answer, App};

const IDLE: Duration = Duration::from_secs(60);
const HEAD_PATIENCE: Duration = Duration::from_secs(10);
const BODY_PATIENCE: Duration = Duration::from_secs(30);
const ANSWER_PATIENCE: Duration = Duration::from_secs(10);
/// Bytes a second that a body comes at, at least: a shared link of 1 Mbit/s has more. Eyeballed.
const BODY_RATE: f64 = 16_384.0;
/// What is handed on at once of a body that is taken in parts.
pub const PART_BYTES: usize = 256 << 10;
/// A frame's facts are under 1 KiB.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// What is thrown away at most behind a refusal, and for how long.
const LINGER_BYTES: usize = 16 << 20;
const LINGER: Duration = Duration::from_secs(3);

/// A head that was read.
struct Head {
    request: Request<()>,
    /// Bytes of its body.
    length: u64,
    /// What the peer waits for before it sends the body.
    go_on: Vec<u8>,
    /// The peer wants no request after this one.
    last: bool,
}

/// What a connection meets, and what it was found to be.
struct Door<'a, A> {
    app: &'a A,
    bytes: &'a Semaphore,
    patience: Duration,
    /// It showed a good token.
    known: &'a AtomicBool,
    _seat: Option<OwnedSemaphorePermit>,
}

/// Talks until one side ends it.
pub async fn talk<A: App>(
    mut stream: TcpStream,
    app: &A,
    bytes: &Semaphore,
    patience: Duration,
    known: &AtomicBool,
    mut stopped: watch::Receiver<bool>,
) {
    let _slower_without = stream.set_nodelay(true);
    let mut buffer = Vec::new();
    let mut door = Door { app, bytes, patience, known, _seat: None };
    loop {
        let (idle, head) =
            if known.load(Ordering::Relaxed) { (IDLE, HEAD_PATIENCE) } else { (patience, patience) };
        if buffer.is_empty() {
            tokio::select! {
                biased;
                _ = stopped.wait_for(|s| *s) => return,
                first = timeout(idle, stream.read_buf(&mut buffer)) => {
                    if !matches!(first, Ok(Ok(count)) if count > 0) {
                        return;
                    }
                }
            }
        }
        let head = match read_head(&mut stream, &mut buffer, head).await {
            Ok(Some(head)) => head,
            Ok(None) => return,
            Err(answer) => {
                app.turned_away(answer.status);
                return part(&mut stream, &answer, false).await;
            }
        };
        let is_head = head.request.method() == "HEAD";
        let (length, last) = (head.length, head.last);
        let answer = match serve_one(&mut stream, &mut buffer, &mut door, head).await {
            Ok(answer) => answer,
            // The body, or a part of it, is still on its way.
            Err(Some(answer)) if length > 0 => return part(&mut stream, &answer, is_head).await,
            Err(Some(answer)) => answer,
            Err(None) => return,
        };
        let close = answer.close || last || *stopped.borrow();
        let answer = Answer { close, ..answer };
        if close {
            return part(&mut stream, &answer, is_head).await;
        }
        if !write(&mut stream, &answer, is_head).await {
            return;
        }
    }
}

/// The next head; none where the peer went away.
async fn read_head(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
    patience: Duration,
) -> std::result::Result<Option<Head>, Answer> {
    let bad = |why: String| Answer::problem(StatusCode::BAD_REQUEST, Code::BadRecord, why).close();
    let read = async {
        let mut reply = Reply::new().map_err(|e| bad(e.to_string()))?;
        loop {
            let (used, request) = reply.try_request(buffer).map_err(|e| bad(e.to_string()))?;
            if let Some(request) = request {
                buffer.drain(..used);
                let got = reply.proceed().ok_or_else(|| bad("a head without its end".into()))?;
                return head_of(request, got).map(Some);
            }
            if buffer.len() > HEAD_BYTES_MAX {
                let text = format!("the head is larger than {HEAD_BYTES_MAX} bytes");
                let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
                return Err(Answer::problem(status, Code::TooLarge, text).close());
            }
            match stream.read_buf(buffer).await {
                Ok(count) if count > 0 => {}
                _ => return Ok(None),
            }
        }
    };
    match timeout(patience, read).await {
        Ok(head) => head,
        Err(_) => Err(too_slow("the head")),
    }
}

fn too_slow(what: &str) -> Answer {
    let text = format!("{what} did not come in time");
    Answer::problem(StatusCode::REQUEST_TIMEOUT, Code::Connect, text).close()
}

fn head_of(request: Request<()>, got: RecvRequestResult) -> std::result::Result<Head, Answer> {
    let no_length = || {
        let text = "a body needs a content-length; chunks are not taken";
        Answer::problem(StatusCode::LENGTH_REQUIRED, Code::BadRecord, text).close()
    };
    // Both would be two opinions about where the next request begins.
    if request.headers().contains_key(header::TRANSFER_ENCODING) {
        return Err(no_length());
    }
    let mut go_on = Vec::new();
    let mode = match got {
        RecvRequestResult::ProvideResponse(_) => BodyMode::NoBody,
        RecvRequestResult::RecvBody(body) => body.body_mode(),
        RecvRequestResult::Send100(wish) => {
            let mut line = [0; 64];
            let (used, body) = wish.accept(&mut line).map_err(|_| no_length())?;
            go_on.extend_from_slice(&line[..used]);
            body.body_mode()
        }
    };
    let length = match mode {
        BodyMode::NoBody => 0,
        BodyMode::LengthDelimited(length) => length,
        BodyMode::Chunked | BodyMode::CloseDelimited => return Err(no_length()),
    };
    let wishes_end = request.headers().get_all(header::CONNECTION).iter().any(|v| {
        v.to_str().is_ok_and(|v| v.split(',').any(|word| word.trim().eq_ignore_ascii_case("close")))
    });
    // A body that the method may not have was not counted: the next bytes cannot be trusted.
    let uncounted = length == 0 && request.headers().get(header::CONTENT_LENGTH).is_some_and(|l| l != "0");
    let last = wishes_end || uncounted || request.version() == Version::HTTP_10;
    Ok(Head { request, length, go_on, last })
}

/// The answer to one request. An error is an answer before the body was read; none where the peer went away.
async fn serve_one<A: App>(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
    door: &mut Door<'_, A>,
    head: Head,
) -> std::result::Result<Answer, Option<Answer>> {
    let app = door.app;
    let turned_away = |answer: Answer| {
        app.turned_away(answer.status);
        Some(answer)
    };
    let ticket = app.admit(&head.request, head.length).await.map_err(Some)?;
    if !door.known.load(Ordering::Relaxed) {
        door._seat = app.seat(&ticket).map_err(Some)?;
        door.known.store(true, Ordering::Relaxed);
    }
    let in_parts = app.in_parts(&ticket);
    let held = if in_parts { head.length.min(PART_BYTES as u64) } else { head.length };
    let held = u32::try_from(held).map_err(|_| turned_away(too_slow("the body")))?;
    // Held until the answer is known: the body, or a part of it, is in memory so long.
    let _room = match timeout(BODY_PATIENCE, door.bytes.acquire_many(held)).await {
        Ok(Ok(room)) => room,
        _ => {
            let text = "too many bodies wait already";
            let busy = Answer::problem(StatusCode::SERVICE_UNAVAILABLE, Code::Refused, text);
            return Err(turned_away(busy.retry_after(1)));
        }
    };
    if !head.go_on.is_empty() && timeout(ANSWER_PATIENCE, stream.write_all(&head.go_on)).await.is_err() {
        return Err(None);
    }
    let slow = |answer: Option<Answer>| answer.and_then(turned_away);
    if in_parts {
        let (mut ticket, mut left) = (ticket, head.length);
        while left > 0 {
            let part = usize::try_from(left).unwrap_or(PART_BYTES).min(PART_BYTES);
            let bytes = fill(stream, buffer, part, door.patience).await.map_err(slow)?;
            left -= part as u64;
            ticket = app.part(ticket, bytes).await.map_err(Some)?;
        }
        return Ok(app.answer(ticket, head.request, Vec::new()).await);
    }
    let read = fill(stream, buffer, held as usize, door.patience);
    let body = match timeout(BODY_PATIENCE, read).await {
        Ok(read) => read.map_err(slow)?,
        Err(_) => return Err(turned_away(too_slow("the body"))),
    };
    Ok(app.answer(ticket, head.request, body).await)
}

/// The next bytes of a body, so many; an answer where they come too slowly, none where the peer went away.
async fn fill(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
    length: usize,
    patience: Duration,
) -> std::result::Result<Vec<u8>, Option<Answer>> {
    let mut body = buffer.drain(..length.min(buffer.len())).collect::<Vec<u8>>();
    // What has to come within each `patience`, or the rest.
    let step = (BODY_RATE * patience.as_secs_f64()).max(1.0) as usize;
    while body.len() < length {
        let goal = length.min(body.len() + step);
        let more = async {
            while body.len() < goal {
                let left = (goal - body.len()) as u64;
                match (&mut *stream).take(left).read_buf(&mut body).await {
                    Ok(count) if count > 0 => {}
                    _ => return false,
                }
            }
            true
        };
        match timeout(patience, more).await {
            Ok(true) => {}
            Ok(false) => return Err(None),
            Err(_) => return Err(Some(too_slow("the body"))),
        }
    }
    Ok(body)
}

/// An answer's bytes.
pub fn bytes_of(answer: &Answer, is_head: bool) -> Vec<u8> {
    let body = Value::Object(answer.body.clone()).to_string();
    let status = answer.status;
    let mut text = format!(
        "HTTP/1.1 {} {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n",
        status.as_str(),
        status.canonical_reason().unwrap_or("Unknown"),
        body.len()
    );
    if status == StatusCode::UNAUTHORIZED {
        text.push_str("www-authenticate: Bearer\r\n");
    }
    if let Some(seconds) = answer.retry_after {
        text.push_str(&format!("retry-after: {seconds}\r\n"));
    }
    if answer.close {
        text.push_str("connection: close\r\n");
    }
    text.push_str("\r\n");
    if !is_head {
        text.push_str(&body);
    }
    text.into_bytes()
}

async fn write(stream: &mut TcpStream, answer: &Answer, is_head: bool) -> bool {
    matches!(timeout(ANSWER_PATIENCE, stream.write_all(&bytes_of(answer, is_head))).await, Ok(Ok(())))
}

/// The last answer of a connection.
async fn part(stream: &mut TcpStream, answer: &Answer, is_head: bool) {
    let answer = Answer { close: true, ..answer.clone() };
    if !write(stream, &answer, is_head).await || stream.shutdown().await.is_err() {
        return;
    }
    let mut thrown = 0;
    let mut sink = vec![0; 64 << 10];
    let drain = async {
        while thrown < LINGER_BYTES {
            match stream.read(&mut sink).await {
                Ok(count) if count > 0 => thrown += count,
                _ => break,
            }
        }
    };
    let _either_way = timeout(LINGER, drain).await;
}
