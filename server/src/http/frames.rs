//! `PUT /v1/frames/{sha256}`: frames that are too large for a record, into the store that detectors read.
//!
//! In:   the frame's bytes, as they come; a token whose line has the word `frames`.
//! Out:  `200 {"frame_uri": …, "new": …}` after the durable write. `GET /v1/frames` says whether the token may.
//! Owns: how large a frame is and how many come at once. The record with the uri is sent to the log by itself, behind
//!       it; who asks, and how fast, is `log`'s.
//!
//! | answer | when                                                              |
//! |--------|-------------------------------------------------------------------|
//! | 400    | a name that is no sha256, no bytes                                |
//! | 403    | the token's line does not have the word `frames`                  |
//! | 405    | anything but PUT of a frame and GET of `/v1/frames`                |
//! | 413    | above the limit; nothing of it is read                            |
//! | 422    | the bytes are not those that the name says: damaged on the way    |
//! | 429    | the device brings as many frames already as it may                |
//! | 503    | the disk refuses, or as many frames come already as may           |
//!
//! T1  A frame is written aside while it comes and hashed on the way: memory holds a part of each, whatever its size.
//! T2  200 means durable and readable under its name; a frame that is there is not written again. Any other answer
//!     leaves nothing behind, or what is right.
//! T3  A name cannot be a path: 64 hex digits, compared before a file is touched.

use std::sync::Arc;

use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;
use ureq_proto::http::{Method, Request, StatusCode};
use weir_contract::{Code, Error, Result};
use weir_vision::store::{Arriving, Store, is_sum, uri_of};

use super::Answer;
use super::grants::Grant;
use super::told::Told;

pub const PATH: &str = "/v1/frames";
/// Frames that come at once; each has a file and a part of 256 KiB in memory. Eyeballed.
const UPLOADS_MAX: usize = 64;
/// Of these, one token's: slow ones of one device must not shut out the others.
pub const UPLOADS_OF_ONE: usize = UPLOADS_MAX / 4;

/// The resource.
pub struct Frames {
    store: Store,
    bytes_max: u64,
    uploads: Arc<Semaphore>,
    told: Option<Arc<Told>>,
}

/// A frame on its way.
pub struct Upload {
    sum: String,
    length: u64,
    /// None before its first bytes.
    arriving: Option<Arriving>,
    _place: OwnedSemaphorePermit,
}

pub enum Ticket {
    /// It only asks; the device.
    Look(String),
    Upload(Box<Upload>),
}

fn problem(status: StatusCode, code: Code, text: impl Into<String>) -> Answer {
    Answer::problem(status, code, text)
}

impl Frames {
    pub fn new(store: Store, bytes_max: u64) -> Self {
        Self { store, bytes_max, uploads: Arc::new(Semaphore::new(UPLOADS_MAX)), told: None }
    }

    /// Faults of the disk are told with those of the log.
    pub fn told(mut self, told: Arc<Told>) -> Self {
        self.told = Some(told);
        self
    }

    /// Does what touches the disk.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> std::result::Result<T, Answer> {
        let done = match spawn_blocking(work).await {
            Ok(done) => done,
            Err(e) => Err(Error::new(Code::Internal, e.to_string())),
        };
        done.map_err(|error| match error.code() {
            Code::FrameChanged => problem(StatusCode::UNPROCESSABLE_ENTITY, error.code(), error.what()),
            code => {
                if let Some(told) = &self.told {
                    told.failed(PATH, &error);
                }
                problem(StatusCode::SERVICE_UNAVAILABLE, code, error.what()).retry_after(1)
            }
        })
    }

    /// Whether a path is of this resource.
    pub fn owns(path: &str) -> bool {
        path.strip_prefix(PATH).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    pub fn admit(
        &self,
        head: &Request<()>,
        grant: &Grant,
        length: u64,
    ) -> std::result::Result<Ticket, Answer> {
        if !grant.frames {
            let text = format!(
                "device {} may not store frames: its line in the tokens' file needs the word frames",
                grant.device
            );
            return Err(problem(StatusCode::FORBIDDEN, Code::Refused, text));
        }
        let name = head.uri().path().strip_prefix(PATH).unwrap_or_default();
        let wrong_method = |what: &str| {
            let text = format!("{} is not a thing to do here: {what}", head.method());
            problem(StatusCode::METHOD_NOT_ALLOWED, Code::Refused, text)
        };
        if name.is_empty() {
            return match *head.method() {
                Method::GET | Method::HEAD => Ok(Ticket::Look(grant.device.clone())),
                _ => Err(wrong_method("GET asks, PUT of /v1/frames/{sha256} stores")),
            };
        }
        let sum = name.strip_prefix('/').filter(|sum| is_sum(sum)).ok_or_else(|| {
            let text = "a frame's name is the sha256 of its bytes: 64 hex digits in small letters";
            problem(StatusCode::BAD_REQUEST, Code::NoFrame, text)
        })?;
        if head.method() != Method::PUT {
            return Err(wrong_method("PUT stores a frame"));
        }
        if length == 0 {
            return Err(problem(StatusCode::BAD_REQUEST, Code::BadRecord, "a frame without bytes"));
        }
        if length > self.bytes_max {
            let text = format!("a frame of {length} bytes is larger than {}", self.bytes_max);
            return Err(problem(StatusCode::PAYLOAD_TOO_LARGE, Code::TooLarge, text));
        }
        let place = Arc::clone(&self.uploads).try_acquire_owned().map_err(|_| {
            let text = format!("{UPLOADS_MAX} frames come already");
            problem(StatusCode::SERVICE_UNAVAILABLE, Code::Refused, text).retry_after(1)
        })?;
        let upload = Upload { sum: sum.to_owned(), length, arriving: None, _place: place };
        Ok(Ticket::Upload(Box::new(upload)))
    }

    pub async fn part(&self, ticket: Ticket, bytes: Vec<u8>) -> std::result::Result<Ticket, Answer> {
        let Ticket::Upload(mut upload) = ticket else { return Ok(ticket) };
        let store = self.store.clone();
        self.blocking(move || {
            let mut arriving = match upload.arriving.take() {
                Some(arriving) => arriving,
                None => store.receive(&upload.sum, upload.length)?,
            };
            arriving.take(&bytes)?;
            upload.arriving = Some(arriving);
            Ok(Ticket::Upload(upload))
        })
        .await
    }

    pub async fn answer(&self, ticket: Ticket) -> Answer {
        let upload = match ticket {
            Ticket::Look(device) => {
                let facts = json!({ "device": device, "frame_bytes": self.bytes_max });
                return Answer::good(facts.as_object().cloned().unwrap_or_default());
            }
            Ticket::Upload(upload) => upload,
        };
        let Upload { sum, arriving, _place, .. } = *upload;
        let Some(arriving) = arriving else {
            return problem(StatusCode::BAD_REQUEST, Code::BadRecord, "a frame without bytes");
        };
        match self.blocking(move || arriving.keep()).await {
            Ok(new) => {
                if let Some(told) = &self.told {
                    told.taken(PATH, 1);
                }
                let facts = json!({ "frame_uri": uri_of(&sum), "new": new });
                Answer::good(facts.as_object().cloned().unwrap_or_default())
            }
            Err(answer) => answer,
        }
    }
}

#[cfg(test)]
mod tests;
