//! Order, refusals and breaks with a store beside the log, both in memory; then the real ways into a store.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use proptest::prelude::*;
use weir_contract::{Clock, Code, WallClock};
use weir_segments::MemoryDisk;
use weir_vision::store::Store;

use super::depot::{Nowhere, Putter};
use super::*;
use crate::config::StoreAt;
use crate::publish::http::HttpTarget;
use crate::publish::{Pace, Publisher, Window};
use crate::record::{Draft, TimeIn};
use crate::spool::{LaneOptions, Spool};
use crate::time::DeviceTime;
use crate::web::Tls;

/// A log and a store, and what happens next in each.
#[derive(Default)]
struct World {
    queue: Vec<Outgoing>,
    /// What the log has, copies too.
    log: Vec<Outgoing>,
    heartbeats: Vec<(usize, i64)>,
    stored: BTreeMap<String, Vec<u8>>,
    /// Of the store, for the frame that it was given last.
    given: Option<Job>,
    tries: usize,
    /// Polls after which the log answers, how many it takes, whether it breaks.
    takes: usize,
    breaks: bool,
    answer: Option<Answer>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Answer {
    Stores,
    Refuses,
    IsAway,
}

#[derive(Clone)]
struct Shared(Rc<RefCell<World>>);

impl Sender for Shared {
    fn send(&mut self, record: Outgoing) -> Sent {
        self.0.borrow_mut().queue.push(record);
        Sent::Taken
    }

    fn heartbeat(&mut self, _key: &[u8], time_us: i64) -> bool {
        let mut world = self.0.borrow_mut();
        let arrived = world.log.len();
        world.heartbeats.push((arrived, time_us));
        true
    }

    fn poll(&mut self, _now_us: i64) -> Vec<Outcome> {
        let mut world = self.0.borrow_mut();
        let world = &mut *world;
        let takes = world.takes.min(world.queue.len());
        let mut outcomes = Vec::new();
        for record in world.queue.drain(..takes) {
            outcomes.push(Outcome::Acked(record.offset));
            world.log.push(record);
        }
        if std::mem::take(&mut world.breaks) {
            world.queue.clear();
            outcomes.push(Outcome::Broken(Error::new(Code::Connect, "gone")));
        }
        outcomes
    }

    fn idle(&self) -> bool {
        self.0.borrow().queue.is_empty()
    }
}

impl Depot for Shared {
    fn begin(&mut self, job: Job) {
        let mut world = self.0.borrow_mut();
        assert!(world.given.replace(job).is_none(), "one at a time");
        world.tries += 1;
    }

    fn poll(&mut self) -> Option<(i64, Put)> {
        let mut world = self.0.borrow_mut();
        let answer = world.answer?;
        let job = world.given.take()?;
        Some((
            job.offset,
            match answer {
                Answer::Stores => {
                    world.stored.insert(job.uri, job.bytes);
                    Put::Stored
                }
                Answer::Refuses => Put::Refused(Error::new(Code::Refused, "too large")),
                Answer::IsAway => Put::Away(Error::new(Code::Connect, "the store is away")),
            },
        ))
    }
}

struct Rig {
    spool: Spool,
    publisher: Publisher,
    world: Rc<RefCell<World>>,
    now: DeviceTime,
    pushed: Vec<(bool, Vec<u8>)>,
}

impl Rig {
    fn new() -> Self {
        let lane = LaneOptions { name: "frames".into(), bytes_max: 64 << 20, age_max_us: None };
        let spool = Spool::open(Arc::new(MemoryDisk::default()), Path::new("spool"), &[lane]).unwrap();
        let world: Rc<RefCell<World>> = Rc::default();
        world.borrow_mut().takes = 100;
        let shared = || Box::new(Shared(world.clone()));
        let sender: Box<dyn Sender> = Box::new(StoredFrames::new(shared(), shared()));
        let window = Window { records: 8, bytes: 512 << 10 };
        let publisher = Publisher::new(b"W1", vec![(sender, window)], Pace::default());
        let now = DeviceTime { boot: [1; 16], wall_us: 1_000_000_000, boot_us: 10_000_000, synced: true };
        Self { spool, publisher, world, now, pushed: Vec::new() }
    }

    fn push(&mut self, large: bool) {
        let number = self.pushed.len();
        let bytes = format!("{number} of {large}").into_bytes();
        let mut headers = vec![("event_id".to_owned(), number.to_string().into_bytes())];
        if large {
            headers.push((FRAME_URI.into(), format!("uri {number}").into_bytes()));
        }
        let (time, time_name, time_in) = (self.now, "captured_at", TimeIn::Header);
        self.spool.push(0, b"W1", Draft { time, time_name, time_in, value: bytes.clone(), headers });
        self.spool.sync().unwrap();
        self.pushed.push((large, bytes));
        self.now.wall_us += 1_000;
    }

    fn pump(&mut self, ms: i64) {
        self.now.wall_us += ms * 1_000;
        self.now.boot_us += ms * 1_000;
        self.publisher.pump(&mut self.spool, &self.now).unwrap();
    }

    /// Records in the log are those that were pushed, in order; each large one's bytes are stored. Gives the
    /// numbers, copies left out.
    fn check(&self) -> Vec<usize> {
        let world = self.world.borrow();
        let mut numbers: Vec<usize> = Vec::new();
        for record in &world.log {
            let header = |name: &str| record.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone());
            let number: usize = String::from_utf8(header("event_id").unwrap()).unwrap().parse().unwrap();
            let (large, bytes) = &self.pushed[number];
            let uri = header(FRAME_URI).map(|uri| String::from_utf8(uri).unwrap());
            assert_eq!(uri.is_some(), *large);
            match uri {
                Some(uri) => {
                    assert!(record.value.is_empty() && world.stored.get(&uri) == Some(bytes), "{number}");
                }
                None => assert_eq!(record.value, *bytes),
            }
            if !numbers.contains(&number) {
                assert!(numbers.last().is_none_or(|last| number > *last), "{number} after {numbers:?}");
                numbers.push(number);
            }
        }
        numbers
    }
}

#[test]
fn a_store_that_is_away_makes_frames_wait_in_order_and_is_told() {
    let mut rig = Rig::new();
    rig.world.borrow_mut().answer = Some(Answer::IsAway);
    for large in [false, true, false, true, true] {
        rig.push(large);
    }
    let first_large = 1_000_000_000 + 1_000;
    (0..20).for_each(|_| rig.pump(1_000));
    assert_eq!(rig.check(), [0], "nothing goes round the frame that waits");
    assert!(rig.world.borrow().tries > 3, "tried again and again");
    assert_eq!(rig.publisher.trouble().map(|why| why.code()), Some(Code::Connect));
    let beats = rig.world.borrow().heartbeats.clone();
    assert!(beats.len() > 10 && beats.iter().skip(2).all(|(_, t)| *t == first_large), "{beats:?}");
    rig.world.borrow_mut().answer = Some(Answer::Stores);
    (0..5).for_each(|_| rig.pump(1_000));
    assert_eq!(rig.check(), [0, 1, 2, 3, 4]);
    assert_eq!((rig.spool.records(0), rig.spool.gone()), (0, 0));
    assert!(rig.publisher.trouble().is_none() && rig.publisher.idle());
    assert_eq!(rig.world.borrow().heartbeats.last().unwrap().1, rig.now.wall_us);
}

#[test]
fn a_frame_that_is_never_taken_is_given_up_in_its_turn() {
    let mut rig = Rig::new();
    (0..3).for_each(|n| rig.push(n == 1));
    {
        let mut world = rig.world.borrow_mut();
        (world.answer, world.takes) = (Some(Answer::Refuses), 0);
    }
    (0..5).for_each(|_| rig.pump(100));
    // The record before it has no answer yet: giving this one up would say that the log has that.
    assert_eq!((rig.spool.gone(), rig.spool.records(0)), (0, 3));
    rig.world.borrow_mut().takes = 9;
    (0..5).for_each(|_| rig.pump(100));
    assert_eq!(rig.check(), [0, 2]);
    assert_eq!((rig.spool.gone(), rig.publisher.counts[0].refused), (1, 1));
}

#[test]
fn what_the_sender_lost_is_stored_and_sent_again() {
    let mut rig = Rig::new();
    rig.world.borrow_mut().answer = None;
    rig.push(true);
    rig.push(true);
    rig.pump(1);
    // The log breaks while the first frame is on its way into the store; its answer comes later.
    rig.world.borrow_mut().breaks = true;
    rig.pump(1);
    (0..5).for_each(|_| rig.pump(200));
    assert_eq!(rig.world.borrow().tries, 1, "the store is given nothing while it has a frame");
    rig.world.borrow_mut().answer = Some(Answer::Stores);
    (0..10).for_each(|_| rig.pump(200));
    assert_eq!(rig.check(), [0, 1]);
    assert_eq!(rig.spool.records(0), 0);
}

proptest! {
    #[test]
    fn whatever_happens_order_holds_and_a_record_is_behind_its_frame(
        frames in prop::collection::vec(any::<bool>(), 1..40),
        steps in prop::collection::vec((0..10_u8, 0..4_usize, 0..4_u8), 1..120),
    ) {
        let mut rig = Rig::new();
        let mut left = frames.iter();
        let mut refused = BTreeSet::new();
        for (what, takes, answer) in steps {
            if let Some(large) = left.next() {
                rig.push(*large);
            }
            {
                let mut world = rig.world.borrow_mut();
                world.breaks = what == 0;
                world.takes = takes;
                world.answer = [None, Some(Answer::Stores), Some(Answer::IsAway), Some(Answer::Refuses)][answer as usize];
                if world.answer == Some(Answer::Refuses)
                    && let Some(job) = &world.given
                {
                    refused.insert(job.uri.clone());
                }
            }
            rig.pump(300);
            rig.check();
        }
        left.for_each(|large| rig.push(*large));
        {
            let mut world = rig.world.borrow_mut();
            (world.breaks, world.takes, world.answer) = (false, 100, Some(Answer::Stores));
        }
        for _ in 0..200 {
            rig.pump(1_000);
        }
        let numbers = rig.check();
        prop_assert_eq!(rig.spool.records(0), 0);
        let gone = frames.len() - numbers.len();
        prop_assert_eq!(rig.spool.gone() as usize, gone);
        prop_assert!(gone <= refused.len());
        // A heartbeat passes no record that comes behind it.
        let world = rig.world.borrow();
        for (arrived, time) in &world.heartbeats {
            prop_assert!(world.log[*arrived..].iter().all(|r| r.time_us >= *time));
        }
    }
}

fn job(store: &Store, bytes: &[u8]) -> Job {
    // What the store itself would call it.
    let uri = Store::new(store.root().join("elsewhere")).put(bytes).unwrap();
    Job { offset: 7, uri, bytes: bytes.to_vec(), pause: Duration::ZERO }
}

fn put(depot: &mut dyn Depot, job: Job) -> Put {
    depot.begin(job);
    let until = WallClock.monotonic() + Duration::from_secs(60);
    loop {
        if let Some((offset, put)) = depot.poll() {
            assert_eq!(offset, 7);
            return put;
        }
        assert!(WallClock.monotonic() < until);
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_folder_takes_frames_while_it_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path());
    let mounted = folder.path().join("mounted");
    let mut depot = Putter::new(StoreAt::Folder(mounted.clone())).unwrap();
    let away = put(&mut depot, job(&store, b"frame"));
    assert!(matches!(&away, Put::Away(why) if why.code() == Code::Io), "{away:?}");
    assert!(!mounted.exists(), "nothing is written where no store is");
    std::fs::create_dir(&mounted).unwrap();
    let job_of = job(&store, b"frame");
    let uri = job_of.uri.clone();
    assert!(matches!(put(&mut depot, job_of), Put::Stored));
    assert_eq!(Store::new(&mounted).get(&uri, 9).unwrap(), b"frame");
    let other = Job { uri: format!("sha256:{:064}", 0), ..job(&store, b"frame") };
    assert!(matches!(put(&mut depot, other), Put::Refused(why) if why.code() == Code::FrameChanged));
}

#[test]
fn what_a_log_server_answers_decides() {
    use std::io::{Read, Write};
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path());
    for (status, body, expected) in [
        (200, "{}", "stored"),
        (413, r#"{"code":"W0104","text":"x"}"#, "refused"),
        (413, "<html>too large for a proxy</html>", "W0402"),
        (422, "{}", "W0401"),
        (429, "{}", "W0401"),
        (503, "{}", "W0401"),
        (302, "{}", "W0402"),
        (400, "{}", "W0402"),
        (401, "{}", "W0402"),
        (403, "{}", "W0402"),
        (404, "{}", "W0402"),
    ] {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let asked = std::thread::spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            let mut bytes = Vec::new();
            let mut buffer = [0; 1_024];
            while !bytes.ends_with(b"frame") {
                let count = stream.read(&mut buffer).unwrap();
                bytes.extend_from_slice(&buffer[..count]);
            }
            let length = body.len();
            let text =
                format!("HTTP/1.1 {status} x\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
            stream.write_all(text.as_bytes()).unwrap();
            String::from_utf8(bytes).unwrap().to_lowercase()
        });
        let target = HttpTarget { url, token: "t0ken".into(), tls: Tls::default() };
        let mut depot = Putter::new(StoreAt::Http(target)).unwrap();
        let job = job(&store, b"frame");
        let path = format!("put /v1/frames/{} http/1.1", &job.uri[7..]);
        let said = match put(&mut depot, job) {
            Put::Stored => "stored".into(),
            Put::Refused(_) => "refused".into(),
            Put::Away(why) => why.code().to_string(),
        };
        assert_eq!(said, expected, "{status}");
        let asked = asked.join().unwrap();
        assert!(asked.starts_with(&path) && asked.contains("authorization: bearer t0ken"), "{asked}");
        assert!(asked.contains("content-length: 5\r\n"), "{asked}");
    }
}

#[test]
fn without_a_store_frames_of_earlier_settings_wait_and_it_is_told_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut nowhere = Nowhere::default();
    let first = put(&mut nowhere, job(&Store::new(folder.path()), b"frame"));
    assert!(matches!(&first, Put::Away(why) if why.code() == Code::BadOption), "{first:?}");
    // A frame that is tried in every turn of the loop is copied in every turn.
    nowhere.begin(job(&Store::new(folder.path()), b"frame"));
    assert!(nowhere.poll().is_none());
    let mut rig = Rig::new();
    let world = rig.world.clone();
    let sender: Box<dyn Sender> =
        Box::new(StoredFrames::new(Box::new(Shared(world)), Box::<Nowhere>::default()));
    let window = Window { records: 8, bytes: 512 << 10 };
    rig.publisher = Publisher::new(b"W1", vec![(sender, window)], Pace::default());
    [true, false].into_iter().for_each(|large| rig.push(large));
    (0..20).for_each(|_| rig.pump(1_000));
    assert_eq!((rig.check().len(), rig.spool.records(0)), (0, 2));
    assert_eq!(
        rig.publisher.trouble().map(|why| why.code()),
        Some(Code::BadOption),
        "for as long as it is so"
    );
}
