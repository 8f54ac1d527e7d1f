//! Order, priorities, heartbeats and stamps, against a log in memory that breaks when it likes.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use serde_json::Map;
use weir_contract::Code;
use weir_segments::MemoryDisk;

use super::*;
use crate::record::Draft;
use crate::spool::LaneOptions;

/// A topic: what arrived, in order, and what the test lets happen.
#[derive(Default)]
struct Topic {
    arrived: Vec<(i64, i64)>,
    heartbeats: Vec<(usize, i64)>,
    queue: Vec<Outgoing>,
    /// Records that one poll lets through.
    rate: usize,
    breaks: bool,
    refuse: Option<i64>,
    /// Refused where it is handed over: nothing before it is answered yet.
    refuse_at_once: Option<i64>,
    said: Vec<Outcome>,
}

#[derive(Clone)]
struct TestSender(Rc<RefCell<Topic>>);

impl Sender for TestSender {
    fn send(&mut self, record: Outgoing) -> Sent {
        let mut topic = self.0.borrow_mut();
        if topic.refuse_at_once == Some(record.offset) {
            topic.said.push(Outcome::Refused(record.offset, Error::new(Code::Refused, "too large")));
        } else {
            topic.queue.push(record);
        }
        Sent::Taken
    }

    fn heartbeat(&mut self, key: &[u8], time_us: i64) -> bool {
        assert_eq!(key, b"W1");
        let mut topic = self.0.borrow_mut();
        let arrived = topic.arrived.len();
        topic.heartbeats.push((arrived, time_us));
        true
    }

    fn idle(&self) -> bool {
        self.0.borrow().queue.is_empty()
    }

    fn poll(&mut self, _now_us: i64) -> Vec<Outcome> {
        let mut topic = self.0.borrow_mut();
        let topic = &mut *topic;
        let mut outcomes = std::mem::take(&mut topic.said);
        let rate = topic.rate.min(topic.queue.len());
        for record in topic.queue.drain(..rate) {
            if topic.refuse == Some(record.offset) {
                outcomes.push(Outcome::Refused(record.offset, Error::new(Code::Refused, "too large")));
            } else {
                topic.arrived.push((record.offset, record.time_us));
                outcomes.push(Outcome::Acked(record.offset));
            }
        }
        if std::mem::take(&mut topic.breaks) {
            topic.queue.clear();
            outcomes.push(Outcome::Broken(Error::new(Code::Connect, "gone")));
        }
        outcomes
    }
}

struct Rig {
    disk: MemoryDisk,
    spool: Spool,
    publisher: Publisher,
    topics: Vec<Rc<RefCell<Topic>>>,
    now: DeviceTime,
}

const WINDOW: Window = Window { records: 16, bytes: 1 << 20 };

fn lanes() -> [LaneOptions; 2] {
    ["scans", "frames"].map(|name| LaneOptions { name: name.into(), bytes_max: 1 << 20, age_max_us: None })
}

impl Rig {
    fn new(synced: bool) -> Self {
        let disk = MemoryDisk::default();
        let spool = Spool::open(Arc::new(disk.clone()), Path::new("spool"), &lanes()).unwrap();
        let topics: Vec<Rc<RefCell<Topic>>> = (0..2).map(|_| Rc::default()).collect();
        let sender = |t: &Rc<RefCell<Topic>>| (Box::new(TestSender(t.clone())) as Box<dyn Sender>, WINDOW);
        let publisher = Publisher::new(b"W1", topics.iter().map(sender).collect(), Pace::default());
        let now = DeviceTime { boot: [1; 16], wall_us: 1_000_000_000, boot_us: 10_000_000, synced };
        Self { disk, spool, publisher, topics, now }
    }

    /// As a start finds it, where the disk refuses.
    fn spool_in_memory(&mut self) -> Spool {
        // The lock goes with the old one.
        let old = Spool::open(Arc::new(MemoryDisk::default()), Path::new("spool"), &lanes()).unwrap();
        drop(std::mem::replace(&mut self.spool, old));
        let spool = Spool::open_or_memory(Arc::new(self.disk.clone()), Path::new("spool"), &lanes()).unwrap();
        assert!(spool.in_memory().is_some());
        spool
    }

    fn push(&mut self, lane: usize, time: DeviceTime) {
        self.spool.push(lane, b"W1", Draft::json(time, "t", &Map::new()));
        self.spool.sync().unwrap();
    }

    fn pump(&mut self, ms: i64) {
        self.now.wall_us += ms * 1_000;
        self.now.boot_us += ms * 1_000;
        self.publisher.pump(&mut self.spool, &self.now).unwrap();
    }

    fn rate(&self, lane: usize, rate: usize) {
        self.topics[lane].borrow_mut().rate = rate;
    }

    fn arrived(&self, lane: usize) -> Vec<i64> {
        self.topics[lane].borrow().arrived.iter().map(|(offset, _)| *offset).collect()
    }
}

#[test]
fn records_arrive_in_sequence_through_breaks_and_refusals() {
    let mut rig = Rig::new(true);
    for _ in 0..100 {
        rig.push(0, rig.now);
    }
    rig.rate(0, 3);
    rig.topics[0].borrow_mut().refuse = Some(40);
    for step in 0..400 {
        rig.topics[0].borrow_mut().breaks = step % 29 == 28;
        rig.pump(150);
    }
    // What had arrived before a break and was not heard of comes again; everything comes, in order.
    let arrived = rig.arrived(0);
    let mut unique = arrived.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique, (0..100).filter(|n| *n != 40).collect::<Vec<_>>());
    let ascending = arrived.windows(2).all(|w| w[1] > w[0]);
    assert!(ascending, "acknowledged before the break: nothing came twice, nothing out of order");
    assert_eq!((rig.publisher.counts[0].refused, rig.spool.gone()), (1, 1));
    assert!(rig.publisher.counts[0].breaks > 5 && rig.spool.records(0) == 0);
}

/// What is refused before it leaves the device says nothing of those that left.
#[test]
fn a_refusal_acknowledges_nothing_that_is_still_on_its_way() {
    let mut rig = Rig::new(true);
    (0..10).for_each(|_| rig.push(0, rig.now));
    rig.topics[0].borrow_mut().refuse_at_once = Some(8);
    rig.pump(1);
    rig.pump(1);
    assert_eq!((rig.publisher.in_flight(), rig.publisher.counts[0].refused), (9, 1));
    assert_eq!((rig.spool.records(0), rig.spool.states()[0].acked, rig.spool.gone()), (9, 0, 1));
    rig.topics[0].borrow_mut().breaks = true;
    rig.rate(0, 100);
    (0..3).for_each(|_| rig.pump(1_000));
    let mut arrived = rig.arrived(0);
    arrived.sort_unstable();
    arrived.dedup();
    assert_eq!(arrived, (0..10).filter(|n| *n != 8).collect::<Vec<_>>());
    assert_eq!((rig.spool.records(0), rig.spool.gone()), (0, 1), "refused twice, counted once");
}

/// A place that the disk does not give holds its own lane for a moment, and no other.
#[test]
fn a_disk_that_does_not_give_a_record_holds_one_lane_and_then_lets_it_go() {
    let mut rig = Rig::new(true);
    (0..3).for_each(|_| rig.push(0, rig.now));
    rig.push(1, rig.now);
    let file = rig.disk.files().into_iter().find(|p| p.ends_with("scans/00000000000000000000.seg")).unwrap();
    rig.disk.bad_place(&file, Some(0..1));
    (0..2).for_each(|lane| rig.rate(lane, 100));
    let mut errors = 0;
    for _ in 0..40 {
        rig.now.wall_us += 100_000;
        rig.now.boot_us += 100_000;
        errors += u32::from(rig.publisher.pump(&mut rig.spool, &rig.now).is_err());
    }
    assert_eq!(
        (errors, rig.spool.gone(), rig.spool.records(0)),
        (2, 3, 0),
        "asked for three times, a second apart"
    );
    assert_eq!((rig.arrived(0).len(), rig.arrived(1)), (0, vec![0]));
    rig.push(0, rig.now);
    (0..2).for_each(|_| rig.pump(1_000));
    assert_eq!(rig.arrived(0), [3]);
}

#[test]
fn frames_that_stand_still_do_not_hold_scans() {
    let mut rig = Rig::new(true);
    for _ in 0..200 {
        rig.push(1, rig.now);
    }
    rig.rate(1, 0);
    rig.rate(0, 100);
    rig.push(0, rig.now);
    rig.pump(1);
    rig.pump(1);
    assert_eq!(rig.arrived(0), [0]);
    assert_eq!(rig.publisher.in_flight(), WINDOW.records, "frames fill their own window and no more");
}

#[test]
fn a_heartbeat_is_never_ahead_of_a_record_that_is_not_acknowledged() {
    let mut rig = Rig::new(true);
    rig.rate(0, 0);
    rig.pump(1);
    let seen = rig.now;
    rig.pump(1_000);
    rig.push(0, seen);
    for _ in 0..5 {
        rig.pump(1_000);
    }
    let times: Vec<i64> = rig.topics[0].borrow().heartbeats.iter().map(|(_, t)| *t).collect();
    assert_eq!(times[..2], [seen.wall_us, seen.wall_us + 1_000_000], "nothing waits: the clock");
    assert!(times.len() == 7 && times[2..].iter().all(|t| *t == seen.wall_us), "{times:?}");
    rig.rate(0, 10);
    rig.pump(1_000);
    rig.pump(1_000);
    assert_eq!(rig.topics[0].borrow().heartbeats.last().unwrap(), &(1, rig.now.wall_us));
    assert_eq!(rig.topics[1].borrow().heartbeats.len(), 9, "every topic, every second");
}

#[test]
fn a_heartbeat_stays_behind_what_is_still_looked_at() {
    let mut rig = Rig::new(true);
    rig.rate(0, 10);
    rig.pump(1_000);
    let seen = rig.now;
    rig.publisher.expect(0, Some(seen));
    (0..5).for_each(|_| rig.pump(1_000));
    assert_eq!(rig.topics[0].borrow().heartbeats.last().unwrap().1, seen.wall_us);
    assert_eq!(rig.topics[1].borrow().heartbeats.last().unwrap().1, rig.now.wall_us, "only that lane's");
    rig.push(0, seen);
    rig.publisher.expect(0, None);
    (0..3).for_each(|_| rig.pump(1_000));
    assert_eq!(rig.topics[0].borrow().heartbeats.last().unwrap(), &(1, rig.now.wall_us));
    assert!(rig.topics[0].borrow().heartbeats.iter().all(|(arrived, t)| *arrived == 1 || *t <= seen.wall_us));
}

#[test]
fn a_long_backlog_holds_its_topics_heartbeat_at_its_oldest_record() {
    let mut rig = Rig::new(true);
    rig.rate(0, 5);
    let first = rig.now.wall_us;
    for n in 0..300 {
        rig.push(0, DeviceTime { wall_us: first + n * 10_000, ..rig.now });
    }
    rig.now.wall_us += 10_000_000_000;
    for _ in 0..100 {
        rig.pump(250);
    }
    let topic = rig.topics[0].borrow();
    assert_eq!(topic.arrived.len(), 300);
    for (arrived, time) in &topic.heartbeats {
        let later = topic.arrived[*arrived..].iter().all(|(_, t)| t >= time);
        assert!(later, "a heartbeat made a row late that came after it");
    }
}

#[test]
fn records_of_an_unsynced_clock_wait_for_the_first_sync_and_are_stamped_by_it() {
    let mut rig = Rig::new(false);
    rig.rate(0, 100);
    // The clock says 1970 and is 50 years behind.
    let before = rig.now;
    rig.push(0, before);
    for _ in 0..30 {
        rig.pump(1_000);
    }
    assert_eq!(rig.arrived(0), [] as [i64; 0]);
    assert_eq!(rig.topics[0].borrow().heartbeats, [], "a clock that is not known says nothing");
    rig.now.synced = true;
    rig.now.wall_us += 1_600_000_000_000_000;
    rig.pump(1_000);
    rig.pump(1);
    let seen = rig.topics[0].borrow().arrived[0].1;
    assert_eq!(seen, before.wall_us + 1_600_000_000_000_000, "when it was seen, by the right clock");
}

#[test]
fn nobody_syncs_the_clock_and_the_guess_is_sent() {
    let mut rig = Rig::new(false);
    rig.rate(0, 100);
    let before = rig.now.wall_us;
    rig.push(0, rig.now);
    rig.pump(1);
    rig.pump(120_000);
    rig.pump(1);
    assert_eq!(rig.topics[0].borrow().arrived, [(0, before)]);
}

fn no_heartbeat_lies(topic: &Topic) {
    for (arrived, time) in &topic.heartbeats {
        let later = topic.arrived[*arrived..].iter().all(|(_, t)| t >= time);
        assert!(later, "a heartbeat made a row late that came after it");
    }
}

/// The disk takes nothing any more: what it holds goes first, and no heartbeat passes it.
#[test]
fn what_the_disk_holds_is_sent_before_what_is_in_memory() {
    for (breaks, at_start) in [(false, false), (true, false), (true, true)] {
        let mut rig = Rig::new(true);
        let first = rig.now;
        for n in 0..40 {
            rig.push(0, DeviceTime { wall_us: first.wall_us + n * 10_000, ..first });
        }
        if !at_start {
            rig.pump(1);
        }
        rig.disk.power_cut_after(0);
        if at_start {
            rig.spool = rig.spool_in_memory();
        } else {
            rig.spool.fall_back(Error::new(Code::Io, "refused")).unwrap();
        }
        rig.now.wall_us += 60_000_000;
        (0..10).for_each(|_| rig.push(0, rig.now));
        assert_eq!(rig.spool.records(0), 50);
        rig.rate(0, 5);
        for step in 0..40 {
            rig.topics[0].borrow_mut().breaks = breaks && step % 5 == 1;
            rig.pump(5_000);
        }
        assert_eq!((rig.spool.records(0), rig.spool.gone()), (0, 0), "{breaks} {at_start}");
        assert_eq!(rig.arrived(0), (0..50).collect::<Vec<_>>());
        let topic = rig.topics[0].borrow();
        no_heartbeat_lies(&topic);
        assert_eq!(topic.heartbeats.last(), Some(&(50, rig.now.wall_us)), "and it goes on");
    }
}

/// What nobody can read may be as old as anything: the next start sends it.
#[test]
fn a_backlog_that_cannot_be_read_holds_its_heartbeat_and_is_not_gone() {
    for at_start in [false, true] {
        let mut rig = Rig::new(true);
        (0..5).for_each(|_| rig.push(0, rig.now));
        let file =
            rig.disk.files().into_iter().find(|p| p.ends_with("scans/00000000000000000000.seg")).unwrap();
        rig.disk.power_cut_after(0);
        if at_start {
            rig.spool = rig.spool_in_memory();
        } else {
            rig.spool.fall_back(Error::new(Code::Io, "refused")).unwrap();
        }
        rig.disk.bad_place(&file, Some(0..1));
        rig.push(0, rig.now);
        rig.rate(0, 5);
        for _ in 0..20 {
            rig.now.wall_us += 500_000;
            rig.now.boot_us += 500_000;
            let _the_disk_refuses = rig.publisher.pump(&mut rig.spool, &rig.now);
        }
        assert_eq!((rig.arrived(0), rig.topics[0].borrow().heartbeats.len()), (vec![5], 0));
        assert!(rig.topics[1].borrow().heartbeats.len() > 5 && rig.spool.gone() == 0 && rig.spool.blind(0));
        let records = rig.spool.next(0, 1, 1).unwrap().len();
        rig.spool.rewind(0).unwrap();
        assert_eq!((records, rig.spool.gone()), (0, 0));
    }
}

#[test]
fn the_trouble_of_one_lane_is_not_over_when_another_is_well() {
    let mut rig = Rig::new(true);
    rig.rate(0, 10);
    (0..2).for_each(|lane| rig.push(lane, rig.now));
    rig.topics[1].borrow_mut().breaks = true;
    rig.pump(1);
    rig.pump(1);
    assert_eq!(rig.publisher.counts[0].acked, 1);
    assert_eq!(rig.publisher.trouble().map(|e| e.code()), Some(Code::Connect), "frames");
    rig.rate(1, 10);
    (0..3).for_each(|_| rig.pump(1_000));
    assert_eq!(rig.publisher.trouble(), None);
    // A lane that has nothing to send is well again when a heartbeat has gone.
    rig.topics[1].borrow_mut().breaks = true;
    rig.pump(1);
    rig.push(0, rig.now);
    rig.pump(1);
    rig.pump(1);
    assert!(rig.publisher.counts[0].acked == 2 && rig.publisher.trouble().is_some());
    (0..3).for_each(|_| rig.pump(1_000));
    assert_eq!(rig.publisher.trouble(), None);
}

/// A lane whose topic refuses the device is behind for as long, whatever the moment at which health asks.
#[test]
fn the_oldest_record_is_known_while_a_broken_sender_pauses() {
    let mut rig = Rig::new(true);
    let first = rig.now.wall_us;
    rig.push(0, rig.now);
    rig.pump(1);
    for _ in 0..200 {
        rig.topics[0].borrow_mut().breaks = true;
        rig.pump(100);
        assert_eq!(rig.publisher.oldest_us(0, &rig.spool), Some(first));
    }
    rig.push(0, rig.now);
    assert!(rig.publisher.counts[0].breaks > 3);
    rig.rate(0, 10);
    (0..20).for_each(|_| rig.pump(1_000));
    assert_eq!((rig.arrived(0).len(), rig.publisher.oldest_us(0, &rig.spool)), (2, None));
}
