//! The network is cut for ten minutes and the agent is killed at any write: the whole agent, in simulated time.
//!
//! In:   `WEIR_SEED` (default 1) decides what is on the wire at a kill, where a write tears, and who gives up
//!       when; `WEIR_EVERY=n` kills at every n-th write only.
//! Owns: nothing of the agent: loop, spool and publisher are the real ones, over a disk in memory and a link of
//!       stated bandwidth. What is durable when the spool says so counts as taken.
//!
//! A kill with -9 keeps what was written, synced or not, and half of a write that tears; power cuts, which lose
//! what was not synced, are in `spool/tests.rs`.

mod faults;
mod link;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Mutex;

use link::{Arrival, Link, SharedLink};
use weir_contract::clock::ManualClock;
use weir_segments::{DiskFile, LockGuard, MemoryDisk, Mode};

use super::*;
use crate::agent::{FRAMES, SCANS};
use crate::capture::{Frame, Jpeg, Shared, SplitCounts};
use crate::time::AlwaysSynced;

const BOOT_US: i64 = 1_772_438_400_000_000;
const MINUTE_US: i64 = 60_000_000;
/// 20 Mbit/s.
const LINK_BYTES: u64 = 2_500_000;
const ANSWER_US: i64 = 40_000;

/// xorshift64*.
struct Chance(u64);

impl Chance {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % n.max(1)
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|s| s.parse().ok()).unwrap_or(default)
}

/// All that is left of a killed agent: its disk, what the log has, and what it had taken.
struct Left {
    disk: MemoryDisk,
    link: Link,
    now_us: i64,
    write: u64,
}

/// When to take what a kill would leave.
struct Tap {
    disk: MemoryDisk,
    link: SharedLink,
    clock: Arc<ManualClock>,
    state: Mutex<(u64, Plan, Vec<Left>)>,
    /// What happens while a file is synced.
    during_sync: Mutex<Option<Box<dyn FnMut() + Send>>>,
}

enum Plan {
    Every(u64),
    At(u64),
    Never,
}

impl Tap {
    /// Before a change, or with half of it done.
    fn write(&self, half: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        state.0 += 1;
        let number = state.0;
        let take = match state.1 {
            Plan::Every(n) => number.is_multiple_of(n),
            Plan::At(at) => number == at,
            Plan::Never => false,
        };
        if take {
            half()?;
            let (disk, link) = (copy(&self.disk), self.link.get().clone());
            state.2.push(Left { disk, link, now_us: self.clock.now_us(), write: number });
        }
        Ok(())
    }
}

fn copy(disk: &MemoryDisk) -> MemoryDisk {
    let new = MemoryDisk::default();
    for path in disk.files() {
        let folders: Vec<PathBuf> = path.ancestors().skip(1).map(PathBuf::from).collect();
        for folder in folders.iter().rev().filter(|f| !f.as_os_str().is_empty()) {
            new.create_folder(folder).unwrap();
        }
        let file = new.open(&path, Mode::Create).unwrap();
        file.write_all_at(&disk.read(&path).unwrap(), 0).unwrap();
    }
    new
}

/// The disk that tells of every change.
struct TappedDisk(Arc<Tap>);

struct TappedFile(Arc<Tap>, Box<dyn DiskFile>);

impl DiskFile for TappedFile {
    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<usize> {
        self.1.read_at(into, at)
    }

    fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        // Torn at a place that wanders with the file's growth.
        let part = (at as usize * 31 + bytes.len() / 3) % (bytes.len() + 1);
        self.0.write(|| self.1.write_all_at(&bytes[..part], at))?;
        self.1.write_all_at(bytes, at)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.write(|| Ok(()))?;
        self.1.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        self.1.len()
    }

    fn sync(&self) -> io::Result<()> {
        self.0.write(|| Ok(()))?;
        if let Some(during) = &mut *self.0.during_sync.lock().unwrap() {
            during();
        }
        self.1.sync()
    }
}

impl Disk for TappedDisk {
    fn open(&self, path: &Path, mode: Mode) -> io::Result<Box<dyn DiskFile>> {
        if matches!(mode, Mode::Create | Mode::CreateNew) {
            self.0.write(|| Ok(()))?;
        }
        Ok(Box::new(TappedFile(self.0.clone(), self.0.disk.open(path, mode)?)))
    }

    fn names(&self, folder: &Path) -> io::Result<Vec<String>> {
        self.0.disk.names(folder)
    }

    fn is_folder(&self, path: &Path) -> bool {
        self.0.disk.is_folder(path)
    }

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        self.0.write(|| Ok(()))?;
        self.0.disk.create_folder(path)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.write(|| Ok(()))?;
        self.0.disk.remove(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.write(|| Ok(()))?;
        self.0.disk.rename(from, to)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.0.write(|| Ok(()))?;
        self.0.disk.sync_folder(folder)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<LockGuard>> {
        self.0.disk.lock(path)
    }

    fn boot(&self) -> String {
        self.0.disk.boot()
    }
}

/// What the floor brings.
#[derive(Clone, Copy)]
struct Floor {
    scan_every_us: i64,
    frame_every_us: i64,
    frame_bytes: usize,
    /// Every other frame has a quarter of these bytes; the others go into a store.
    stored: bool,
}

/// What the device saw of scans and frames, by number.
#[derive(Debug, Clone, Default)]
struct Taken {
    shown: [u64; 2],
    /// The spool said so of all numbers below.
    durable: [u64; 2],
    /// Numbers that a kill may have cost: shown and not yet durable.
    gone: [Vec<std::ops::Range<u64>>; 2],
}

impl Taken {
    fn killed(&self) -> Self {
        let mut taken = self.clone();
        for lane in 0..2 {
            taken.gone[lane].push(taken.durable[lane]..taken.shown[lane]);
            taken.durable[lane] = taken.shown[lane];
        }
        taken
    }
}

const LANES: [usize; 2] = [SCANS, FRAMES];

/// One life of an agent.
struct Life {
    edge: Edge,
    tap: Arc<Tap>,
    clock: Arc<ManualClock>,
    link: SharedLink,
    floor: Floor,
    taken: Taken,
}

impl Life {
    fn start(folder: &Path, left: Left, floor: Floor, taken: Taken, plan: Plan) -> Self {
        let text = format!(
            "device = {{ id = \"d1\", warehouse = \"W1\", station = \"P1\", data = \"{}\" }}\n\
             publish = {{ to = \"spool\" }}\nhealth = {{ every = \"30 s\" }}\n[[scanner]]\nkind = \"stdin\"\n\
             [[camera]]\nkind = \"folder\"\npath = \"none\"\nrate = 30.0\n{}",
            folder.display(),
            if floor.stored { "[frame_store]\nto = \"none\"\ninline_bytes = \"100 B\"\n" } else { "" }
        );
        let config = Config::parse("edge.toml", &text).unwrap();
        let clock = Arc::new(ManualClock::at(left.now_us));
        let device =
            DeviceClock::new(clock.clone(), Arc::new(AlwaysSynced(true)), [1; 16], left.now_us - BOOT_US);
        let link = SharedLink::new(left.link);
        let senders =
            (0..4).map(|lane| (link.sender(lane, floor.stored && lane == FRAMES), WINDOWS[lane])).collect();
        let (disk, state) = (left.disk, Mutex::new((0, plan, Vec::new())));
        let tap = Arc::new(Tap {
            disk,
            link: link.clone(),
            clock: clock.clone(),
            state,
            during_sync: Mutex::default(),
        });
        let disk = Arc::new(TappedDisk(tap.clone()));
        let stop = Arc::new(AtomicBool::new(false));
        let mut edge = Edge::new(config, disk, clock.clone(), device, senders, None, stop).unwrap();
        // Nothing of this machine in the records: the same bytes in every run.
        edge.played = true;
        edge.agent = Agent::new(&edge.config, &format!("{:016x}", left.now_us * 1_000 + left.write as i64));
        edge.cameras = vec![Shared::default()];
        Self { edge, tap, clock, link, floor, taken }
    }

    /// Time goes on, in steps; what is due comes, and the agent's loop turns.
    fn pass(&mut self, span_us: i64, step_us: i64, mut after: impl FnMut(&Self)) {
        let until = self.clock.now_us() + span_us;
        while self.clock.now_us() < until {
            let before = self.clock.now_us();
            self.clock.set(before + step_us);
            let due = |every: i64| (before + step_us).div_euclid(every) > before.div_euclid(every);
            let (time, now_us) = (self.edge.device.now(), before + step_us);
            if due(self.floor.scan_every_us) {
                let code = format!("S{:09}", self.taken.shown[0]);
                self.edge.inbox().send(ScanEvent::Code { scanner: 0, code, time }).unwrap();
                self.taken.shown[0] += 1;
            }
            if due(self.floor.frame_every_us) {
                let mut bytes = self.taken.shown[1].to_le_bytes().to_vec();
                let small = self.floor.stored && self.taken.shown[1] % 2 == 1;
                bytes.resize(self.floor.frame_bytes / if small { 4 } else { 1 }, 7);
                let jpeg = Jpeg { bytes, width: 64, height: 48 };
                self.edge.cameras[0].show(Frame { jpeg, time, now_us }, SplitCounts::default());
                self.taken.shown[1] += 1;
            }
            self.edge.step().unwrap();
            after(self);
            if !self.tap.state.lock().unwrap().2.is_empty() {
                // Killed in this step: what became durable later in it was not.
                return;
            }
            if self.edge.spool.pending_bytes() == 0 {
                self.taken.durable = self.taken.shown;
            }
        }
    }

    fn waiting(&self) -> u64 {
        (0..4).map(|lane| self.edge.spool.records(lane)).sum()
    }

    fn killed(&self) -> Vec<Left> {
        std::mem::take(&mut self.tap.state.lock().unwrap().2)
    }
}

/// A record's number.
fn seen(lane: usize, value: &[u8]) -> u64 {
    if lane == FRAMES {
        return u64::from_le_bytes(value[..8].try_into().unwrap());
    }
    let value: serde_json::Value = serde_json::from_slice(value).unwrap();
    value["barcode"].as_str().unwrap()[1..].parse().unwrap()
}

/// Holds the log against what was taken: everything is there, in order, on time; gives how many records came again.
fn check(link: &Link, taken: &Taken, what: &str) -> u64 {
    let mut again = 0;
    for (lane, log) in link.log.iter().enumerate() {
        let mut firsts: BTreeMap<&str, &Vec<u8>> = BTreeMap::new();
        let (mut numbers, mut heartbeat) = (Vec::new(), i64::MIN);
        for arrival in log {
            match arrival {
                Arrival::Heartbeat(time) => heartbeat = heartbeat.max(*time),
                Arrival::Record { id, value, time_us, .. } => {
                    if let Some(first) = firsts.get(id.as_str()) {
                        assert_eq!(*first, &**value, "{what}: {id} came again with other bytes");
                        again += 1;
                        continue;
                    }
                    firsts.insert(id, value);
                    assert!(
                        *time_us >= heartbeat,
                        "{what}: lane {lane}, {id} is late by {}",
                        heartbeat - time_us
                    );
                    if LANES.contains(&lane) {
                        numbers.push(seen(lane, value));
                    }
                }
            }
        }
        let Some(which) = LANES.iter().position(|l| *l == lane) else { continue };
        let ascending = numbers.windows(2).all(|w| w[0] < w[1]);
        assert!(ascending, "{what}: lane {lane}: out of order, or one thing with two ids: {numbers:?}");
        let safe = |n: &u64| !taken.gone[which].iter().any(|gone| gone.contains(n));
        let missing = |n: &u64| safe(n) && numbers.binary_search(n).is_err();
        let lost: Vec<u64> = (0..taken.durable[which]).filter(missing).collect();
        assert!(lost.is_empty(), "{what}: lane {lane} lost {lost:?}");
    }
    again
}

/// Runs until everything is acknowledged and beaten; what a kill left where one came.
fn drain(life: &mut Life, what: &str) -> Option<Left> {
    let beats = |life: &Life| life.edge.publisher.as_ref().unwrap().counts[SCANS].heartbeats;
    let (until, mut enough) = (life.clock.now_us() + 2 * MINUTE_US, None);
    loop {
        life.pass(100_000, 100_000, |_| {});
        if let Some(left) = life.killed().pop() {
            return Some(left);
        }
        if life.waiting() == 0 && *enough.get_or_insert(beats(life) + 2) <= beats(life) {
            assert_eq!(life.edge.spool.gone(), 0, "{what}");
            return None;
        }
        assert!(life.clock.now_us() < until, "{what}: {} wait, {:?}", life.waiting(), life.edge.trouble());
    }
}

/// An agent is started over what a kill left, some of them killed again; the network comes back; all is there.
fn afterlife(mut left: Left, floor: Floor, mut taken: Taken, chance: &mut Chance, folder: &Path) -> u64 {
    let what = format!("killed at write {}", left.write);
    for life_number in 0.. {
        let kept = chance.below(left.link.on_wire() as u64 + 1) as usize;
        // What was on its way in a cut is lost with the device's sockets.
        left.link.device_is_gone(if left.link.up { kept } else { 0 });
        left.link.gives_up = chance.below(2) == 0;
        left.now_us += 1_000_000 + chance.below(2_000_000).cast_signed();
        let again = life_number < 2 && chance.below(2) == 0;
        let plan = if again { Plan::At(1 + chance.below(80)) } else { Plan::Never };
        let mut life = Life::start(folder, left, floor, taken.killed(), plan);
        let mut next = life.killed().pop();
        for _ in 0..20 {
            if next.is_some() {
                break;
            }
            life.pass(100_000, 100_000, |_| {});
            next = life.killed().pop();
        }
        if next.is_none() {
            life.link.set_up(true, life.clock.now_us());
            next = drain(&mut life, &what);
        }
        taken = life.taken.clone();
        match next {
            Some(killed) => left = killed,
            None => return check(&life.link.get(), &taken, &what),
        }
    }
    0
}

#[test]
fn an_agent_killed_at_any_write_of_a_ten_minute_cut_loses_doubles_and_delays_nothing() {
    let mut chance = Chance(number("WEIR_SEED", 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let folder = tempfile::tempdir().unwrap();
    let floor =
        Floor { scan_every_us: 2_000_000, frame_every_us: 10_000_000, frame_bytes: 200, stored: true };
    let now_us = BOOT_US + MINUTE_US;
    let link = Link::new(LINK_BYTES, ANSWER_US, true, now_us);
    let left = Left { disk: MemoryDisk::default(), link, now_us, write: 0 };
    let plan = Plan::Every(number("WEIR_EVERY", 1));
    let mut life = Life::start(folder.path(), left, floor, Taken::default(), plan);
    let (mut kills, mut again) = (0, 0);
    let mut kill = |life: &Life| {
        for left in life.killed() {
            kills += 1;
            again += afterlife(left, floor, life.taken.clone(), &mut chance, folder.path());
        }
    };
    kill(&life);
    life.pass(MINUTE_US / 2, 100_000, &mut kill);
    life.link.set_up(false, life.clock.now_us());
    life.pass(10 * MINUTE_US, 100_000, &mut kill);
    let behind = life.waiting();
    assert!(behind >= 300 + 60, "the cut left {behind} records");
    life.link.set_up(true, life.clock.now_us());
    life.pass(MINUTE_US / 2, 100_000, &mut kill);
    life.tap.state.lock().unwrap().1 = Plan::Never;
    assert!(drain(&mut life, "never killed").is_none());
    check(&life.link.get(), &life.taken, "never killed");
    println!("{kills} kills, {again} records came twice with the same id");
    assert_eq!(
        life.link.get().stored() as u64,
        life.taken.shown[1].div_ceil(2),
        "every other frame by its uri"
    );
    assert!(again > 0 && kills > 1_000 / number("WEIR_EVERY", 1));
}

/// After ten minutes: how long it takes to catch up, and how long scans wait meanwhile.
fn catch_up(rate: u64, span_us: i64) -> (Option<i64>, i64) {
    let folder = tempfile::tempdir().unwrap();
    let floor =
        Floor { scan_every_us: 500_000, frame_every_us: 1_000_000, frame_bytes: 100_000, stored: false };
    let now_us = BOOT_US + MINUTE_US;
    let link = Link::new(rate, ANSWER_US, false, now_us);
    let left = Left { disk: MemoryDisk::default(), link, now_us, write: 0 };
    let mut life = Life::start(folder.path(), left, floor, Taken::default(), Plan::Never);
    life.pass(10_000_000, 50_000, |_| {});
    life.link.set_up(false, life.clock.now_us());
    life.pass(10 * MINUTE_US, 50_000, |_| {});
    let (back_us, backlog) = (life.clock.now_us(), life.taken.shown);
    life.link.set_up(true, back_us);
    let mut caught_up = None;
    life.pass(span_us, 5_000, |life| {
        let link = life.link.get();
        let records =
            |lane: usize| link.log[lane].iter().filter(|a| matches!(a, Arrival::Record { .. })).count();
        if caught_up.is_none() && (0..2).all(|n| records(LANES[n]) as u64 >= backlog[n]) {
            caught_up = Some(life.clock.now_us() - back_us);
        }
    });
    let link = life.link.get();
    let mut waited_us = 0;
    for arrival in &link.log[SCANS] {
        if let Arrival::Record { time_us, at_us, .. } = arrival
            && *time_us >= back_us
        {
            waited_us = waited_us.max(at_us - time_us);
        }
    }
    assert_eq!(life.edge.spool.gone(), 0);
    if caught_up.is_some() {
        drop(link);
        assert!(drain(&mut life, "caught up").is_none());
        assert_eq!(
            check(&life.link.get(), &life.taken, "caught up"),
            0,
            "a sender that keeps sends nothing twice"
        );
    }
    (caught_up, waited_us)
}

/// A frame of 100 kB each second, two scans a second, 20 Mbit/s: 61 MB have waited.
#[test]
fn ten_minutes_drain_at_twenty_times_real_time_and_scans_wait_less_than_five_seconds() {
    let (caught_up_us, waited_us) = catch_up(LINK_BYTES, MINUTE_US / 2);
    let caught_up_us = caught_up_us.expect("caught up within half a minute");
    println!("20 Mbit/s: caught up in {} ms, a scan waited {} ms", caught_up_us / 1_000, waited_us / 1_000);
    assert!(caught_up_us * 20 <= 10 * MINUTE_US && waited_us < 5_000_000);
    // Where the link hardly carries what comes, the frames fall behind; scans do not.
    let (caught_up_us, waited_us) = catch_up(LINK_BYTES / 10, MINUTE_US);
    println!("2 Mbit/s: caught up {caught_up_us:?}, a scan waited {} ms", waited_us / 1_000);
    assert!(caught_up_us.is_none() && waited_us < 5_000_000);
}
