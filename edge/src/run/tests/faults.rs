//! The whole agent over a disk that does not give a place back, or takes its time.

use super::*;

fn started(folder: &Path, floor: Floor) -> Life {
    let now_us = BOOT_US + MINUTE_US;
    let link = Link::new(LINK_BYTES, ANSWER_US, false, now_us);
    let left = Left { disk: MemoryDisk::default(), link, now_us, write: 0 };
    Life::start(folder, left, floor, Taken::default(), Plan::Never)
}

const NOTHING: Floor =
    Floor { scan_every_us: i64::MAX, frame_every_us: i64::MAX, frame_bytes: 0, stored: false };

/// Neither an exit nor memory only: what cannot be read is counted, the rest arrives.
#[test]
fn a_place_that_cannot_be_read_stops_no_agent() {
    let folder = tempfile::tempdir().unwrap();
    let floor =
        Floor { scan_every_us: 1_000_000, frame_every_us: 5_000_000, frame_bytes: 2_000, stored: false };
    let mut life = started(folder.path(), floor);
    life.link.set_up(false, life.clock.now_us());
    life.pass(2 * MINUTE_US, 100_000, |_| {});
    let disk = life.tap.disk.clone();
    let frames = |p: &PathBuf| p.to_str().is_some_and(|p| p.contains("frames") && p.ends_with(".seg"));
    let path = disk.files().into_iter().find(frames).unwrap();
    let bytes = disk.read(&path).unwrap().len() as u64;
    let at = bytes * 3 / 4;
    disk.bad_place(&path, Some(at..at + 512));
    // The window of records on their way was read before; the others were not.
    life.link.set_up(true, life.clock.now_us());
    life.pass(MINUTE_US, 100_000, |_| {});
    assert_eq!((life.edge.spool.in_memory(), life.edge.disk_bad_since), (None, None));
    let link = life.link.get();
    let arrived =
        |lane: usize| link.log[lane].iter().filter(|a| matches!(a, Arrival::Record { .. })).count() as u64;
    let lost = life.taken.shown[1] - arrived(FRAMES) - life.edge.spool.records(FRAMES);
    assert_eq!(life.taken.shown[0], arrived(SCANS) + life.edge.spool.records(SCANS), "no scan is lost");
    assert!(lost > 0 && life.edge.spool.gone() == lost, "{lost} frames, {} counted", life.edge.spool.gone());
}

/// Things come while a group is written: heartbeats say nothing of that time before they were taken.
#[test]
fn a_sync_that_takes_seconds_lets_no_heartbeat_pass_what_comes_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let mut life = started(folder.path(), NOTHING);
    let (clock, device, inbox) = (life.clock.clone(), life.edge.device.clone(), life.edge.inbox());
    let camera = life.edge.cameras[0].clone();
    let shown = Arc::new(AtomicU64::new(0));
    let (count, mut chance) =
        (shown.clone(), Chance(number("WEIR_SEED", 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1));
    let mut frames = 0_u64;
    *life.tap.during_sync.lock().unwrap() = Some(Box::new(move || {
        let now_us = clock.now_us() + 1_000_000;
        clock.set(now_us);
        let time = device.now();
        // Never both: records of its own that are on their way hold a topic's heartbeat anyhow.
        match chance.below(4) {
            1 => {
                let code = format!("S{:09}", count.fetch_add(1, Ordering::Relaxed));
                inbox.send(ScanEvent::Code { scanner: 0, code, time }).unwrap();
            }
            2 => {
                frames += 1;
                let jpeg = Jpeg { bytes: frames.to_le_bytes().to_vec(), width: 64, height: 48 };
                camera.show(Frame { jpeg, time, now_us }, SplitCounts::default());
            }
            _ => {}
        }
        clock.set(now_us + 2_000_000);
    }));
    life.pass(20 * MINUTE_US, 100_000, |_| {});
    *life.tap.during_sync.lock().unwrap() = None;
    assert!(drain(&mut life, "slow").is_none());
    life.taken.durable[0] = shown.load(Ordering::Relaxed);
    assert!(life.taken.durable[0] >= 20, "{}", life.taken.durable[0]);
    let link = life.link.get();
    check(&link, &life.taken, "slow");
    let beats = link.log[SCANS].iter().filter(|a| matches!(a, Arrival::Heartbeat(_))).count();
    assert!(beats > 10, "{beats}: heartbeats went on");
}

/// More codes wait than one turn takes, the group is written in that turn, and those left behind are older:
/// scanners are threads of their own.
#[test]
fn codes_that_a_turn_leaves_behind_are_passed_by_no_heartbeat() {
    let folder = tempfile::tempdir().unwrap();
    let mut life = started(folder.path(), NOTHING);
    let (inbox, camera) = (life.edge.inbox(), life.edge.cameras[0].clone());
    let mut number = 0_u64;
    for round in 0..20_u64 {
        let (time, now_us) = (life.edge.device.now(), life.clock.now_us());
        let jpeg = Jpeg { bytes: round.to_le_bytes().to_vec(), width: 64, height: 48 };
        camera.show(Frame { jpeg, time, now_us }, SplitCounts::default());
        life.pass(100_000, 100_000, |_| {});
        let time = life.edge.device.now();
        let later = DeviceTime { wall_us: time.wall_us + 50_000, ..time };
        for n in 0..TURN_MAX + 50 {
            let (code, time) = (format!("S{number:09}"), if n < TURN_MAX { later } else { time });
            inbox.send(ScanEvent::Code { scanner: 0, code, time }).unwrap();
            number += 1;
        }
        life.pass(1_100_000, 100_000, |_| {});
    }
    assert!(drain(&mut life, "many").is_none());
    life.taken.durable[0] = number;
    check(&life.link.get(), &life.taken, "many");
}

/// What a full disk has cost of the time is not counted against another refusal.
#[test]
fn a_full_disk_is_drained_and_wears_no_patience() {
    let folder = tempfile::tempdir().unwrap();
    let mut life = started(folder.path(), NOTHING);
    let (full, bad) = (Error::new(Code::DiskFull, "full"), Error::new(Code::Io, "refused"));
    let mut at = |seconds: i64, why: &Error| {
        life.edge.disk_trouble(why, seconds * SECOND_US).unwrap();
        life.edge.spool.in_memory().is_some()
    };
    assert!((0..60).all(|second| !at(second, &full)), "never for a full disk");
    assert!((60..70).all(|second| !at(second, &bad)));
    assert!(at(71, &bad), "ten seconds of its own");
}
