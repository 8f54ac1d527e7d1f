//! The way into a store: a folder, or a log server.
//!
//! In:   frames, one at a time. Out: what became of each.
//! Owns: one thread, which writes or waits for an answer.
//!
//! | a log server answers  | becomes                                                         |
//! |-----------------------|-----------------------------------------------------------------|
//! | 200                   | stored: it wrote and synced before it answered                  |
//! | 413 of weir's own     | refused: the frame is above its limit                           |
//! | 408, 422, 429, 5xx,   | away: sent again after a pause                                  |
//! | none                  |                                                                 |
//! | any other             | away, with `W0402`: somebody has to act, nothing is thrown away |
//!
//! A 413 is weir's where its body says so: a proxy on the way knows nothing of frames.

use std::io::Read;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender as Channel, TryRecvError, bounded};
use weir_contract::{Clock, Code, Error, Result, WallClock};
use weir_vision::store::{Store, sum_of};

use super::{Depot, Job, Put};
use crate::config::StoreAt;
use crate::publish::http::HttpTarget;
use crate::web;

pub const PATH: &str = "/v1/frames";
/// Of one frame; 8 MiB in this time are 0.2 Mbit/s.
const FRAME_PATIENCE: Duration = Duration::from_secs(300);
const SILENCE: Duration = Duration::from_secs(20);
const ANSWER_BYTES_MAX: u64 = 64 << 10;
/// What a writer left aside so long ago is nobody's any more.
const LEFT_US: i64 = 86_400_000_000;

/// Puts frames, in a thread of its own.
pub struct Putter {
    jobs: Channel<Job>,
    answers: Receiver<(i64, Put)>,
}

impl Putter {
    /// # Errors
    /// Certificates that cannot be read.
    pub fn new(at: StoreAt) -> Result<Self> {
        let mut target = match at {
            StoreAt::Folder(folder) => Target::Folder(folder, false),
            StoreAt::Http(target) => {
                let agent = web::client(&target.tls, Some(FRAME_PATIENCE), SILENCE)?;
                Target::Http(Box::new((agent, target)))
            }
        };
        let (jobs, inbox) = bounded::<Job>(1);
        let (out, answers) = bounded(1);
        thread::Builder::new()
            .name("frame store".into())
            .spawn(move || {
                for job in inbox {
                    thread::sleep(job.pause);
                    if out.send((job.offset, target.put(&job))).is_err() {
                        break;
                    }
                }
            })
            .map_err(|e| Error::new(Code::Io, format!("cannot start a thread: {e}")))?;
        Ok(Self { jobs, answers })
    }
}

impl Depot for Putter {
    fn begin(&mut self, job: Job) {
        // One at a time: there is room, unless the thread ended, and then `poll` says so.
        let _there_is_room = self.jobs.try_send(job);
    }

    fn poll(&mut self) -> Option<(i64, Put)> {
        match self.answers.try_recv() {
            Ok(answer) => Some(answer),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => {
                let why = Error::new(Code::Internal, "the thread of the frame store ended");
                Some((i64::MIN, Put::Away(why)))
            }
        }
    }
}

/// No store is named, and frames of earlier settings may wait in the spool: they go on waiting, and it is told.
/// Once: other settings come with another start, and each try would copy the frame.
#[derive(Default)]
pub enum Nowhere {
    #[default]
    Idle,
    Asked(i64),
    Told,
}

impl Depot for Nowhere {
    fn begin(&mut self, job: Job) {
        if matches!(self, Nowhere::Idle) {
            *self = Nowhere::Asked(job.offset);
        }
    }

    fn poll(&mut self) -> Option<(i64, Put)> {
        let Nowhere::Asked(offset) = *self else { return None };
        *self = Nowhere::Told;
        let what = "frames for a store wait in the spool, and no [frame_store] is named";
        let act = "owner of the device: name it again; nothing is thrown away.";
        let why = Error::new(Code::BadOption, what).expected("[frame_store]").act(act);
        Some((offset, Put::Away(why)))
    }
}

enum Target {
    /// Whether it was swept.
    Folder(PathBuf, bool),
    Http(Box<(ureq::Agent, HttpTarget)>),
}

impl Target {
    fn put(&mut self, job: &Job) -> Put {
        match self {
            Target::Folder(folder, swept) => {
                // A share that is not mounted is an empty folder's name: only what is there is written.
                if !folder.is_dir() {
                    let what = format!("the frame store {} is not there", folder.display());
                    return Put::Away(Error::new(Code::Io, what));
                }
                let store = Store::new(&*folder);
                if !std::mem::replace(swept, true) {
                    store.sweep(WallClock.now_us().saturating_sub(LEFT_US));
                }
                match store.put(&job.bytes) {
                    Ok(uri) if uri == job.uri => Put::Stored,
                    Ok(uri) => Put::Refused(Error::new(
                        Code::FrameChanged,
                        format!("the record says {} and its bytes are {uri}", job.uri),
                    )),
                    Err(why) => Put::Away(why),
                }
            }
            Target::Http(http) => {
                let (agent, target) = &**http;
                upload(agent, target, job)
            }
        }
    }
}

fn upload(agent: &ureq::Agent, target: &HttpTarget, job: &Job) -> Put {
    let Some(sum) = sum_of(&job.uri) else {
        return Put::Refused(Error::new(Code::NoFrame, format!("`{}` is no uri of a frame", job.uri)));
    };
    let url = format!("{}{PATH}/{sum}", target.url.trim_end_matches('/'));
    let request = agent
        .put(&url)
        .header("authorization", format!("Bearer {}", target.token))
        .header("content-type", "image/jpeg");
    let mut response = match request.send(&job.bytes[..]) {
        Ok(response) => response,
        Err(e) => return Put::Away(Error::new(Code::Connect, format!("{url}: {e}"))),
    };
    let status = response.status().as_u16();
    let mut text = String::new();
    let _the_status_says_enough =
        response.body_mut().as_reader().take(ANSWER_BYTES_MAX).read_to_string(&mut text);
    let why = |code| Error::new(code, format!("{url} answers {status} {}", text.trim()));
    let said = serde_json::from_str::<serde_json::Value>(&text).unwrap_or_default();
    match status {
        200 => Put::Stored,
        413 if said["code"] == Code::TooLarge.to_string() => Put::Refused(why(Code::Refused)),
        408 | 422 | 429 | 500..=599 => Put::Away(why(Code::Connect)),
        _ => Put::Away(why(Code::Refused)),
    }
}
