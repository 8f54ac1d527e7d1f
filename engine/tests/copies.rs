//! Copies of a stateless program: killed anywhere, ended anywhere, over any partitions, they give what one
//! run gives, each row once and in its order.

#[allow(dead_code, reason = "shared with other tests")]
mod small;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use small::{SECOND, START, Small, row};
use weir_contract::{Code, Error, EventTime, Result, wire};
use weir_engine::connect::memory::{MemoryLog, MemoryRecord};
use weir_engine::run::copies::{Kept, Progress, Share};
use weir_engine::run::{Options, Ports, Report, Stop, run_copy};

const PROGRAM: &str = "
CREATE TABLE a (id TEXT NOT NULL, warehouse TEXT NOT NULL, k TEXT, n BIGINT NOT NULL, ts TIMESTAMP NOT NULL,
  WATERMARK FOR ts AS ts - INTERVAL '2 seconds')
WITH (connector = 'memory', type = 'source', append_time = 'producer') PARTITIONED BY (warehouse);
CREATE TABLE o_rows (i TEXT, n BIGINT, ts TIMESTAMP) WITH (connector = 'memory', type = 'sink');
CREATE TABLE o_some (i TEXT, k TEXT) WITH (connector = 'memory', type = 'sink');
INSERT INTO o_rows SELECT id, n, ts FROM a WHERE n % 4 <> 3;
INSERT INTO o_some SELECT id, k FROM a WHERE n % 7 = 0;
INSERT INTO o_some SELECT id || '+', k FROM a WHERE n % 14 = 0;
";
const PARTITIONS: u32 = 3;
const RECORDS: i64 = 400;

/// A fixed stream of numbers.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// The group: what is kept, and which turn of handing out each partition is in.
#[derive(Default)]
struct Group(Mutex<(BTreeMap<u32, Kept>, BTreeMap<u32, u64>)>);

/// What a copy does when it is about to keep its positions the nth time.
#[derive(Clone, Copy)]
enum End {
    Kill(u64),
    Stop(u64),
    Never,
}

struct Seat {
    group: Arc<Group>,
    turns: BTreeMap<u32, u64>,
    keeps: Mutex<u64>,
    end: End,
    stop: Stop,
}

impl Progress for Seat {
    fn keep(&self, kept: &BTreeMap<u32, Kept>) -> Result<()> {
        let mut keeps = self.keeps.lock().unwrap();
        *keeps += 1;
        match self.end {
            End::Kill(at) if *keeps > at => {
                // Its outputs are committed, its positions are not.
                self.stop.kill();
                return Ok(());
            }
            End::Stop(at) if *keeps > at => self.stop.stop(),
            _ => {}
        }
        self.check()?;
        self.group.0.lock().unwrap().0.extend(kept.clone());
        Ok(())
    }

    fn check(&self) -> Result<()> {
        let group = self.group.0.lock().unwrap();
        match self.turns.iter().all(|(p, turn)| group.1[p] == *turn) {
            true => Ok(()),
            false => Err(Error::new(Code::Locked, "the partition is another copy's")),
        }
    }
}

/// Gives partitions to a new copy, whoever has them.
fn give(group: &Arc<Group>, partitions: &[u32], end: End, stop: &Stop) -> Share {
    let mut held = group.0.lock().unwrap();
    let mut turns = BTreeMap::new();
    for partition in partitions {
        let turn = held.1.entry(*partition).or_default();
        *turn += 1;
        turns.insert(*partition, *turn);
    }
    let kept = partitions.iter().map(|p| (*p, held.0.get(p).cloned())).collect();
    let seat = Seat { group: Arc::clone(group), turns, keeps: Mutex::new(0), end, stop: stop.clone() };
    Share { kept, progress: Arc::new(seat) }
}

fn copy(small: &Small, share: Share, batch_rows: usize, stop: &Stop) -> Result<Report> {
    let ports = Ports { control: MemoryLog::new().control("c", 1), ..small.ports() };
    let every = Duration::from_micros(1);
    let options = Options { batch_rows, checkpoint_every: every, ..Small::options(None) };
    run_copy(small.plan.clone(), ports, options, share, stop)
}

/// Rows out of order, some late, some that cannot be read, heartbeats between them.
fn feed(small: &Small) {
    for n in 0..RECORDS {
        for partition in 0..PARTITIONS {
            let (time, late) = (START + n * SECOND / 2, n > 20 && n % 13 == 0);
            let time = time - if late { 40 * SECOND } else { (n % 4) * SECOND / 2 };
            let record = match n % 29 {
                5 => MemoryRecord::value("{\"id\":").at(time),
                6 => MemoryRecord {
                    headers: vec![(wire::HEARTBEAT.into(), EventTime(time).to_string().into_bytes())],
                    ..MemoryRecord::value("").at(time)
                },
                _ => row(partition, n, time),
            };
            small.log.append("a", partition, record).unwrap();
        }
    }
}

/// Runs all partitions until everything is told.
fn finish(small: &Small, group: &Arc<Group>, batch_rows: usize, whole: usize) -> Report {
    let stop = Stop::default();
    let share = give(group, &[0, 1, 2], End::Never, &stop);
    std::thread::scope(|scope| {
        let running = scope.spawn(|| copy(small, share, batch_rows, &stop));
        let lines = || small.outputs().values().map(Vec::len).sum::<usize>();
        let mut waited = 0;
        while lines() < whole {
            assert!(waited < 60_000, "{} of {whole}", lines());
            std::thread::sleep(Duration::from_millis(2));
            waited += 2;
        }
        stop.stop();
        running.join().unwrap().unwrap_or_else(|e| panic!("{e}"))
    })
}

/// No row lies below a frontier that was told before it, nor further below an earlier row than the source's
/// lateness: no reader with that lateness has a late one.
fn no_row_is_late(small: &Small) {
    let mut beats = 0;
    for partition in 0..PARTITIONS {
        let (mut told, mut highest) = (i64::MIN, i64::MIN);
        for (offset, record) in small.out.records("o_rows", partition).unwrap() {
            match record.headers.iter().find(|(name, _)| name == wire::HEARTBEAT) {
                Some((_, time)) => {
                    let time = EventTime::parse(std::str::from_utf8(time).unwrap()).unwrap();
                    told = told.max(time.0);
                    beats += 1;
                }
                None => {
                    let time = record.append_us;
                    assert!(time >= told, "{partition}/{offset} is below the frontier");
                    assert!(time >= highest.saturating_sub(2 * SECOND), "{partition}/{offset} is late");
                    highest = highest.max(time);
                }
            }
        }
    }
    assert!(beats > 30, "{beats} heartbeats");
}

#[test]
fn any_handover_gives_what_one_run_gives() {
    let (mut killed, mut dropped) = (0, 0);
    for seed in 0..12 {
        let mut dice = Dice(seed);
        let small = Small::new(PROGRAM, PARTITIONS);
        feed(&small);
        let (one, report) = small.replay(Small::options(None));
        assert!(report.sources["a"].late > 30 && report.sources["a"].rejects > 30, "{report:?}");
        let whole = one.outputs();
        let group = Arc::new(Group::default());
        for _ in 0..6 {
            let split = dice.below(4) as u32;
            let stops = [Stop::default(), Stop::default()];
            let ends = [End::Kill(dice.below(9)), End::Stop(dice.below(9))];
            let sizes = [1 + dice.below(40) as usize, 1 + dice.below(40) as usize];
            let parts = [(0..split).collect::<Vec<_>>(), (split..PARTITIONS).collect()];
            std::thread::scope(|scope| {
                for at in 0..2 {
                    if parts[at].is_empty() {
                        continue;
                    }
                    let share = give(&group, &parts[at], ends[at], &stops[at]);
                    let (small, stop, size) = (&small, &stops[at], sizes[at]);
                    scope.spawn(move || copy(small, share, size, stop).unwrap_or_else(|e| panic!("{e}")));
                }
            });
            killed += usize::from(stops[0].killed());
        }
        let report = finish(&small, &group, 1 + dice.below(40) as usize, whole.values().map(Vec::len).sum());
        dropped += report.dropped_again;
        assert_eq!(small.outputs(), whole, "seed {seed}");
        no_row_is_late(&small);
    }
    println!("{killed} copies were killed; the last ones dropped {dropped} rows that were told already");
    assert!(killed > 20, "{killed}");
}

#[test]
fn a_copy_that_lost_its_partitions_is_refused() {
    let small = Small::new(PROGRAM, PARTITIONS);
    // Nothing for side streams: their writers are opened late, so that the old one could refuse the new one.
    for n in 0..RECORDS {
        for partition in 0..PARTITIONS {
            small.log.append("a", partition, row(partition, n, START + n * SECOND)).unwrap();
        }
    }
    let (one, _) = small.replay(Small::options(None));
    let group = Arc::new(Group::default());
    let stop = Stop::default();
    let share = give(&group, &[0, 1, 2], End::Never, &stop);
    let lost = std::thread::scope(|scope| {
        let old = scope.spawn(|| copy(&small, share, 3, &stop));
        while small.lines("o_rows").is_empty() {
            std::thread::sleep(Duration::from_millis(1));
        }
        finish(&small, &group, 50, one.outputs().values().map(Vec::len).sum());
        old.join().unwrap()
    });
    assert_eq!(lost.err().map(|e| e.code()), Some(Code::Locked));
    let (told, whole) = (small.outputs(), one.outputs());
    assert_eq!((&told["o_rows"], &told["o_some"]), (&whole["o_rows"], &whole["o_some"]));
}

#[test]
fn a_log_that_was_made_anew_is_noticed_and_a_missing_partition_too() {
    let small = Small::new(PROGRAM, PARTITIONS);
    feed(&small);
    let group = Arc::new(Group::default());
    let stop = Stop::default();
    let mut share = give(&group, &[1], End::Never, &stop);
    share.kept.insert(1, Some(Kept { log: "another".into(), ..Kept::only(5) }));
    assert_eq!(copy(&small, share, 9, &stop).err().map(|e| e.code()), Some(Code::Recreated));
    let share = give(&group, &[1, 7], End::Never, &stop);
    let error = copy(&small, share, 9, &stop).err().unwrap();
    assert_eq!(error.code(), Code::NoTopic);
    assert!(error.to_string().contains("[1, 7], found [1]"), "{error}");
}
