//! The HTTP port: one file per resource.
//!
//! In:   a listener, and an [`App`] that answers requests. Out: answers; errors as JSON of code and text.
//! Owns: how many connections there are, how many bytes of bodies wait in memory, and the end. `wire` speaks the
//!       protocol on one connection; TLS is a proxy's.
//!
//! P1  Beyond `connections` a peer is told so and closed; it never holds up those that are there. A peer that shows
//!     no good token gives its place back within `patience`, twice, and to whoever comes when there is no other
//!     (`places`).
//! P2  Bodies in memory, over all connections, are at most `waiting_bytes` together. Each is counted as long as it
//!     was told to be, and has to come at a least rate. One that is taken in parts counts as one part.
//! P3  A stop closes connections between requests; those that wait for an answer get it, within `GRACE`.

pub mod frames;
pub mod grants;
pub mod log;
mod places;
pub mod told;
mod wire;

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use ureq_proto::http::{Request, StatusCode};
use weir_contract::{Code, Error, Result};

/// How long a stop waits for answers that are on their way.
const GRACE: Duration = Duration::from_secs(10);
/// Pause after an accept that failed, such as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What is said to a peer; always JSON.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub status: StatusCode,
    pub body: Map<String, Value>,
    /// Seconds after which the same request may be taken.
    pub retry_after: Option<u64>,
    /// The connection ends with it.
    pub close: bool,
}

impl Answer {
    pub fn good(body: Map<String, Value>) -> Self {
        Self { status: StatusCode::OK, body, retry_after: None, close: false }
    }

    pub fn problem(status: StatusCode, code: Code, text: impl Into<String>) -> Self {
        let mut body = Map::new();
        body.insert("code".into(), json!(code.to_string()));
        body.insert("text".into(), Value::String(text.into()));
        Self { status, body, retry_after: None, close: false }
    }

    /// One fact more.
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.body.insert(name.into(), value.into());
        self
    }

    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    pub fn close(mut self) -> Self {
        self.close = true;
        self
    }
}

/// What answers requests: first by the head alone, then with the body.
pub trait App: Send + Sync + 'static {
    /// What the head gave a right to.
    type Ticket: Send;

    /// Looks at a head whose body has `length` bytes, before any of it is read.
    fn admit(
        &self,
        head: &Request<()>,
        length: u64,
    ) -> impl Future<Output = std::result::Result<Self::Ticket, Answer>> + Send;

    /// A place for a connection whose first token was good, held until it ends; an answer where its device has too
    /// many.
    fn seat(&self, _ticket: &Self::Ticket) -> std::result::Result<Option<OwnedSemaphorePermit>, Answer> {
        Ok(None)
    }

    /// A peer was refused before anybody looked at its head.
    fn turned_away(&self, _status: StatusCode) {}

    /// Whether the body is taken in parts, as they come; `answer` gets an empty one then.
    fn in_parts(&self, _ticket: &Self::Ticket) -> bool {
        false
    }

    /// The next part of such a body. An answer ends the connection: the rest is not read.
    fn part(
        &self,
        ticket: Self::Ticket,
        bytes: Vec<u8>,
    ) -> impl Future<Output = std::result::Result<Self::Ticket, Answer>> + Send;

    fn answer(
        &self,
        ticket: Self::Ticket,
        head: Request<()>,
        body: Vec<u8>,
    ) -> impl Future<Output = Answer> + Send;
}

/// What peers may take of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// A device holds one for each topic.
    pub connections: usize,
    /// Bytes of bodies that are read and not answered, over all connections.
    pub waiting_bytes: usize,
    /// How long a peer without a good token may say nothing or be at its head, and how long any may take for the
    /// bytes that a body's least rate asks for.
    pub patience: Duration,
}

impl Default for Room {
    /// 128 devices with four topics each; 64 MiB hold eight of the largest bodies. Eyeballed.
    fn default() -> Self {
        Self { connections: 512, waiting_bytes: 64 << 20, patience: Duration::from_secs(5) }
    }
}

/// Serves until `stopping` says so. Blocks.
pub fn serve(listener: TcpListener, app: impl App, room: Room, stopping: impl Fn() -> bool) -> Result<()> {
    let failed = |e: std::io::Error| Error::new(Code::Io, format!("the HTTP port: {e}"));
    listener.set_nonblocking(true).map_err(failed)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    runtime.block_on(async move {
        let listener = tokio::net::TcpListener::from_std(listener).map_err(failed)?;
        let app = Arc::new(app);
        let mut places = places::Places::new(room.connections);
        let bytes = Arc::new(Semaphore::new(room.waiting_bytes));
        let (stop, stopped) = watch::channel(false);
        let mut look = tokio::time::interval(Duration::from_millis(100));
        loop {
            tokio::select! {
                _ = look.tick() => {
                    if stopping() {
                        break;
                    }
                }
                accepted = listener.accept() => match accepted {
                    Err(e) => {
                        tracing::warn!("a connection was not accepted: {e}");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                    Ok((stream, _)) => match places.take().await {
                        None => {
                            app.turned_away(StatusCode::SERVICE_UNAVAILABLE);
                            turn_away(&stream);
                        }
                        Some(place) => {
                            let (app, bytes, stopped) = (app.clone(), bytes.clone(), stopped.clone());
                            let known = Arc::new(AtomicBool::new(false));
                            let shown = known.clone();
                            let task = tokio::spawn(async move {
                                let _place = place;
                                wire::talk(stream, &*app, &bytes, room.patience, &shown, stopped).await;
                            });
                            places.seat(known, task);
                        }
                    },
                },
            }
        }
        drop(listener);
        stop.send_replace(true);
        if tokio::time::timeout(GRACE, places.empty()).await.is_err() {
            tracing::warn!("some requests were not answered before the end");
        }
        Ok(())
    })
}

/// Says that there is no room, where that takes no waiting.
fn turn_away(stream: &TcpStream) {
    let text = "as many connections as this port takes are open";
    let answer = Answer::problem(StatusCode::SERVICE_UNAVAILABLE, Code::Refused, text).retry_after(1).close();
    let _closed_in_any_case = stream.try_write(&wire::bytes_of(&answer, false));
}
