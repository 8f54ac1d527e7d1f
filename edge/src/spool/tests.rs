//! What the spool promises, over a file system that loses what was not synced.
//!
//! Method: one seed drives pushes, syncs, sends, acknowledgements, refusals, quotas and saves; the power goes
//! at a random step, of what was not synced any subset survives, and the spool opens again. A model in
//! plain sets says what has to be true after each. Then the same with damaged and deleted files.

mod faults;

use std::collections::{BTreeMap, BTreeSet};

use weir_segments::MemoryDisk;

use super::*;
use crate::record::{Envelope, TimeIn};
use crate::time::DeviceTime;

/// xorshift64*: the same worlds on every machine.
struct Chance(u64);

impl Chance {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % n.max(1)
    }
}

const ROOT: &str = "data/spool";

fn lanes(bytes_max: u64) -> Vec<LaneOptions> {
    ["scans", "frames"]
        .map(|name| LaneOptions { name: name.into(), bytes_max, age_max_us: None })
        .into_iter()
        .collect()
}

fn draft(number: u64, bytes: usize) -> Draft {
    let mut value = number.to_le_bytes().to_vec();
    value.resize(8 + bytes, number as u8);
    let time = DeviceTime { boot: [1; 16], wall_us: number.cast_signed(), boot_us: 0, synced: true };
    Draft { time, time_name: "t", time_in: TimeIn::Header, value, headers: Vec::new() }
}

fn number(stored: &Stored) -> u64 {
    let out = Envelope::parse(&stored.envelope).unwrap().finish(stored, &Stamps::default());
    let number = u64::from_le_bytes(out.value[..8].try_into().unwrap());
    assert!(out.value[8..].iter().all(|b| *b == number as u8), "other bytes than were pushed");
    assert_eq!(stored.key, b"W1");
    number
}

/// One lane as it has to be.
#[derive(Default)]
struct Model {
    pushed: BTreeSet<u64>,
    synced: BTreeSet<u64>,
    delivered: BTreeSet<u64>,
    refused: BTreeSet<u64>,
    /// Handed out, in order, not acknowledged.
    in_flight: Vec<(i64, u64)>,
    /// By offset: never two records at one.
    at: BTreeMap<i64, u64>,
}

struct World {
    chance: Chance,
    disk: MemoryDisk,
    spool: Spool,
    models: Vec<Model>,
    next: u64,
    bytes_max: u64,
}

fn open(disk: &MemoryDisk, bytes_max: u64) -> Result<Spool> {
    Spool::open(Arc::new(disk.clone()), Path::new(ROOT), &lanes(bytes_max))
}

impl World {
    fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let disk = MemoryDisk::crashable();
        let bytes_max = [200_000, 60_000, 9_000][chance.below(3) as usize];
        // The first start may be cut too.
        if chance.below(4) == 0 {
            disk.power_cut_after(chance.below(60));
            let _cut = open(&disk, bytes_max).map(drop);
            disk.power_cut(|n| chance.below(n));
        }
        let spool = open(&disk, bytes_max).unwrap();
        let models = vec![Model::default(), Model::default()];
        Self { chance, disk, spool, models, next: 1, bytes_max }
    }

    /// Something an agent does. An error is the power cut.
    fn act(&mut self) -> Result<()> {
        let lane = self.chance.below(2) as usize;
        match self.chance.below(10) {
            0..=3 => {
                for _ in 0..self.chance.below(6) {
                    let bytes = self.chance.below(if lane == 0 { 60 } else { 700 }) as usize;
                    self.spool.push(lane, b"W1", draft(self.next, bytes));
                    self.models[lane].pushed.insert(self.next);
                    self.next += 1;
                }
            }
            4 | 5 => {
                self.spool.sync()?;
                for model in &mut self.models {
                    let pushed = std::mem::take(&mut model.pushed);
                    model.synced.extend(pushed);
                }
            }
            6 => {
                let records = self.spool.next(lane, 1 + self.chance.below(7) as usize, 1 << 20)?;
                let model = &mut self.models[lane];
                for stored in &records {
                    let number = number(stored);
                    assert_eq!(*model.at.entry(stored.offset).or_insert(number), number, "an offset twice");
                    assert!(model.in_flight.last().is_none_or(|(o, n)| *o < stored.offset && *n < number));
                    model.in_flight.push((stored.offset, number));
                }
            }
            7 => {
                let count = self.chance.below(self.models[lane].in_flight.len() as u64 + 1) as usize;
                let acked: Vec<(i64, u64)> = self.models[lane].in_flight.drain(..count).collect();
                if self.chance.below(4) == 0 && !self.models[lane].in_flight.is_empty() {
                    // Said before the answers to those before it.
                    let at = self.chance.below(self.models[lane].in_flight.len() as u64) as usize;
                    let (offset, number) = self.models[lane].in_flight.remove(at);
                    self.spool.refuse(lane, offset);
                    self.models[lane].refused.insert(number);
                }
                for (offset, number) in acked {
                    if self.chance.below(20) == 0 {
                        self.spool.refuse(lane, offset);
                        self.models[lane].refused.insert(number);
                    } else {
                        self.spool.ack(lane, offset);
                        self.models[lane].delivered.insert(number);
                    }
                }
            }
            8 => {
                self.spool.enforce(None)?;
                self.spool.save()?;
            }
            _ if self.chance.below(4) == 0 => {
                self.models[lane].in_flight.clear();
                self.spool.rewind(lane)?;
            }
            _ => self.spool.save()?,
        }
        Ok(())
    }

    fn power_cut(&mut self) {
        let chance = &mut self.chance;
        self.disk.power_cut(|n| chance.below(n));
        // Some starts are cut too.
        while self.chance.below(3) == 0 {
            self.disk.power_cut_after(self.chance.below(80));
            let _cut = open(&self.disk, self.bytes_max).map(drop);
            let chance = &mut self.chance;
            self.disk.power_cut(|n| chance.below(n));
        }
        self.spool = open(&self.disk, self.bytes_max).expect("the spool opens");
        for model in &mut self.models {
            // Records that were never synced may be there or not.
            model.pushed.clear();
            model.in_flight.clear();
        }
    }

    /// Sends everything, then holds the sums.
    fn drain_and_check(&mut self) {
        self.spool.sync().unwrap();
        for lane in 0..self.models.len() {
            let model = &mut self.models[lane];
            let pushed = std::mem::take(&mut model.pushed);
            model.synced.extend(pushed);
            model.in_flight.clear();
            self.spool.rewind(lane).unwrap();
            let mut last = 0;
            loop {
                let records = self.spool.next(lane, 64, 1 << 20).unwrap();
                let Some(newest) = records.last().map(|r| r.offset) else { break };
                for stored in &records {
                    let number = number(stored);
                    assert!(number > last, "out of order");
                    last = number;
                    assert_eq!(*model.at.entry(stored.offset).or_insert(number), number);
                    model.delivered.insert(number);
                }
                self.spool.ack(lane, newest);
            }
            assert_eq!(self.spool.records(lane), 0);
            let missing: Vec<u64> = model
                .synced
                .iter()
                .filter(|n| !model.delivered.contains(*n) && !model.refused.contains(*n))
                .copied()
                .collect();
            let state = &self.spool.states()[lane];
            let by_why = |why: Why| -> i64 {
                state.ranges.iter().filter(|r| r.why == why).map(|r| r.to - r.from).sum()
            };
            let named = by_why(Why::Quota) + by_why(Why::InFlight);
            let gone = if state.ranges.len() < 64 { named } else { state.gone.cast_signed() };
            assert_eq!(by_why(Why::Damage), 0, "nothing is damaged where writes are only lost: {state:?}");
            // Those on their way at the cut may have arrived, and never-synced ones may have been counted.
            assert!(missing.len() as i64 <= gone, "lost {missing:?} uncounted: {state:?}");
        }
    }
}

fn seeds() -> u64 {
    std::env::var("WEIR_SEEDS").ok().and_then(|s| s.parse().ok()).unwrap_or(500)
}

#[test]
fn no_synced_record_is_lost_uncounted_whenever_the_power_goes() {
    for seed in 0..seeds() {
        let mut world = World::new(seed);
        for _ in 0..2 {
            if world.chance.below(3) > 0 {
                let steps = world.chance.below(400);
                world.disk.power_cut_after(steps);
            }
            for _ in 0..100 {
                if world.act().is_err() {
                    break;
                }
            }
            world.power_cut();
        }
        world.drain_and_check();
        // Afterwards it works as ever.
        for _ in 0..20 {
            world.act().unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        }
        world.drain_and_check();
    }
}

/// Without a crash the count of what is gone is exact, and ranges name it.
#[test]
fn what_a_quota_drops_is_counted_exactly() {
    let disk = MemoryDisk::default();
    let mut spool = open(&disk, 64_000).unwrap();
    let mut pushed = 0;
    for round in 0..200 {
        for _ in 0..10 {
            spool.push(1, b"W1", draft(pushed, 400));
            pushed += 1;
        }
        spool.sync().unwrap();
        if round % 3 == 0 {
            spool.enforce(None).unwrap();
            spool.save().unwrap();
        }
    }
    spool.enforce(None).unwrap();
    spool.save().unwrap();
    let mut sent = Vec::new();
    loop {
        let records = spool.next(1, 100, 1 << 20).unwrap();
        let Some(last) = records.last().map(|r| r.offset) else { break };
        sent.extend(records.iter().map(number));
        spool.ack(1, last);
    }
    let state = &spool.states()[1];
    assert!(state.bytes <= 64_000 + 4_096, "{state:?}");
    assert_eq!(sent, (pushed - sent.len() as u64..pushed).collect::<Vec<_>>(), "the oldest went");
    assert!(state.gone > 1_000);
    assert_eq!(state.gone, pushed - sent.len() as u64, "{state:?}");
    assert_eq!(state.ranges, [Gone { from: 0, to: state.gone.cast_signed(), why: Why::Quota }]);
    assert_eq!(spool.gone(), state.gone);
}

#[test]
fn age_drops_whole_files_of_records_whose_time_is_known() {
    let disk = MemoryDisk::default();
    let mut options = lanes(1 << 20);
    options[0] = LaneOptions { bytes_max: 64_000, age_max_us: Some(1_000), ..options[0].clone() };
    let mut spool = Spool::open(Arc::new(disk), Path::new(ROOT), &options).unwrap();
    for n in 0..100 {
        spool.push(0, b"W1", draft(n * 100, 400));
        spool.sync().unwrap();
    }
    spool.enforce(None).unwrap();
    assert_eq!(spool.records(0), 100, "no synced clock, no age");
    spool.enforce(Some(6_000)).unwrap();
    spool.save().unwrap();
    let first = number(&spool.next(0, 1, 1).unwrap()[0]);
    assert!((3_000..=5_000).contains(&first), "{first}");
    assert_eq!(spool.states()[0].gone, first / 100);
    assert!(spool.states()[0].ranges.iter().all(|r| r.why == Why::Age));
}

/// The last record acknowledged before a clean stop is the last one that is not sent again.
#[test]
fn a_restart_goes_on_after_the_last_acknowledged_record() {
    let disk = MemoryDisk::default();
    let mut spool = open(&disk, 1 << 20).unwrap();
    for n in 0..50 {
        spool.push(0, b"W1", draft(n, 10));
    }
    spool.sync().unwrap();
    let records = spool.next(0, 30, 1 << 20).unwrap();
    spool.ack(0, records[19].offset);
    assert_eq!(spool.records(0), 30);
    spool.save().unwrap();
    drop(spool);
    let mut spool = open(&disk, 1 << 20).unwrap();
    assert_eq!(number(&spool.next(0, 1, 1).unwrap()[0]), 20);
}

/// Bit rot, truncation and deletion of any file: it starts, sends everything that is not damaged, in order,
/// and counts the rest.
#[test]
fn a_bad_card_costs_only_what_is_bad() {
    let mut aged_files = 0;
    for seed in 0..seeds() {
        let mut chance = Chance::new(seed ^ 0xbad);
        let disk = MemoryDisk::default();
        let mut spool = open(&disk, 1 << 20).unwrap();
        let mut groups = Vec::new();
        let mut next = 1;
        for _ in 0..2 + chance.below(20) {
            let count = 1 + chance.below(5);
            for _ in 0..count {
                spool.push(0, b"W1", draft(next, chance.below(4_000) as usize));
                next += 1;
            }
            spool.sync().unwrap();
            groups.push(next - count..next);
        }
        let acked = chance.below(2) * chance.below(next / 2);
        if acked > 0 {
            let records = spool.next(0, acked as usize, 1 << 30).unwrap();
            spool.ack(0, records.last().unwrap().offset);
            spool.save().unwrap();
        }
        drop(spool);
        let files = disk.files();
        let hits = 1 + chance.below(2);
        let mut segments_hit = 0;
        for _ in 0..hits {
            let file = &files[chance.below(files.len() as u64) as usize];
            segments_hit += u64::from(file.extension().is_some_and(|e| e == "seg"));
            match chance.below(3) {
                0 => disk.damage(file, |bytes| {
                    let len = bytes.len() as u64;
                    bytes.truncate(chance.below(len + 1) as usize);
                }),
                1 => {
                    let _gone_already = disk.remove(file);
                }
                _ => disk.damage(file, |bytes| {
                    let at = chance.below(bytes.len() as u64) as usize;
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte ^= 1 << chance.below(8);
                    }
                }),
            }
        }
        if chance.below(2) == 0 {
            // As after a power cut: the mark of another boot.
            disk.reboot();
        }
        let mut lanes = lanes(1 << 20);
        let old = chance.below(2) * chance.below(next);
        lanes[0].age_max_us = (old > 0).then_some(1_000);
        let mut spool = Spool::open(Arc::new(disk.clone()), Path::new(ROOT), &lanes)
            .unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        spool.enforce(Some(1_000 + old.cast_signed())).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        let aged = |spool: &Spool| {
            let ranges = spool.states()[0].ranges.clone();
            ranges.iter().filter(|r| r.why == Why::Age).map(|r| r.to - r.from).sum::<i64>()
        };
        aged_files += u64::from(aged(&spool) > 0);
        spool.push(0, b"W1", draft(next, 5));
        spool.sync().unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        let mut seen = BTreeSet::new();
        loop {
            let records = spool.next(0, 7, 1 << 20).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
            let Some(last) = records.last().map(|r| r.offset) else { break };
            for stored in &records {
                assert!(seen.last().is_none_or(|n| *n < number(stored)), "seed {seed}: out of order");
                seen.insert(number(stored));
            }
            spool.ack(0, last);
        }
        assert!(seen.contains(&next), "seed {seed}: what came afterwards");
        let kept_from = (acked + 1).max(if aged(&spool) > 0 { old } else { 0 });
        let missing: Vec<u64> = (kept_from..next).filter(|n| !seen.contains(n)).collect();
        if segments_hit == 0 {
            assert!(missing.is_empty(), "seed {seed}: {missing:?} though no segment was hit");
        }
        for number in &missing {
            let group = groups.iter().find(|g| g.contains(number)).unwrap();
            let rest = group.clone().filter(|n| *n >= kept_from).all(|n| !seen.contains(&n));
            let states = spool.states();
            assert!(
                rest,
                "seed {seed}: {number} is lost, others of {group:?} are not; {acked} {missing:?} {states:?}"
            );
        }
    }
    assert!(aged_files > 0, "no seed had a file that was too old");
}

#[test]
fn a_full_disk_takes_frames_before_scans() {
    let disk = MemoryDisk::default();
    let mut spool = open(&disk, 1 << 20).unwrap();
    disk.set_capacity(Some(400_000));
    let mut frames = 0;
    for n in 0..2_000 {
        spool.push(0, b"W1", draft(n, 20));
        if n % 4 == 0 {
            spool.push(1, b"W1", draft(n, 900));
            frames += 1;
        }
        spool.sync().unwrap_or_else(|e| panic!("{n}: {e}"));
    }
    assert_eq!(spool.records(0), 2_000, "no scan went");
    assert!(spool.records(1) < frames && spool.states()[1].gone == frames - spool.records(1));
}

#[test]
fn a_disk_that_refuses_leaves_a_spool_in_memory() {
    let disk = MemoryDisk::default();
    disk.power_cut_after(0);
    let mut spool = Spool::open_or_memory(Arc::new(disk), Path::new(ROOT), &lanes(1 << 20)).unwrap();
    assert_eq!(spool.in_memory().map(Error::code), Some(Code::Io));
    spool.push(0, b"W1", draft(1, 5));
    spool.sync().unwrap();
    assert_eq!(spool.next(0, 5, 100).unwrap().len(), 1);

    let disk = MemoryDisk::default();
    let mut spool = open(&disk, 1 << 20).unwrap();
    spool.push(0, b"W1", draft(1, 5));
    spool.sync().unwrap();
    let first = spool.next(0, 5, 100).unwrap();
    disk.power_cut_after(0);
    spool.push(0, b"W1", draft(2, 5));
    let why = spool.sync().unwrap_err();
    spool.fall_back(why).unwrap();
    let second = spool.next(0, 5, 100).unwrap();
    assert_eq!((number(&first[0]), number(&second[0])), (1, 2));
    assert!(second[0].offset > first[0].offset);
    spool.ack(0, second[0].offset);
    assert_eq!(spool.records(0), 0);
    // Files come and go under the reader, in memory as on a disk.
    for n in 3..3_000 {
        spool.push(0, b"W1", draft(n, 4_000));
        spool.sync().unwrap();
        let sent = spool.next(0, 5, 1 << 20).unwrap_or_else(|e| panic!("{n}: {e}"));
        assert_eq!(sent.iter().map(number).collect::<Vec<_>>(), [n]);
        spool.ack(0, sent[0].offset);
        spool.save().unwrap();
    }
    assert_eq!((spool.records(0), spool.gone()), (0, 0));
}

#[test]
fn one_agent_has_the_spool() {
    let disk = MemoryDisk::default();
    let _spool = open(&disk, 1 << 20).unwrap();
    let second = Spool::open_or_memory(Arc::new(disk), Path::new(ROOT), &lanes(1 << 20));
    assert_eq!(second.err().map(|e| e.code()), Some(Code::Locked), "never two senders of one device");
}

#[test]
fn a_stamp_is_durable_and_stays() {
    let disk = MemoryDisk::default();
    let mut spool = open(&disk, 1 << 20).unwrap();
    spool.stamp(Stamp { boot: [3; 16], offset_us: 5 }).unwrap();
    spool.stamp(Stamp { boot: [3; 16], offset_us: 6 }).unwrap();
    drop(spool);
    assert_eq!(open(&disk, 1 << 20).unwrap().stamps().of(&[3; 16]), Some(5));
}
