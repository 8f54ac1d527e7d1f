//! Store and forward: what the device saw, on its disk until the log has it.
//!
//! In:   drafts by lane (a topic); acknowledgements by lane and offset.
//! Out:  records in order, each until it is acknowledged; what was given up, counted, by range.
//! Owns: the folder. One value owns all of it: nothing here is shared between threads.
//!
//! P1  What `sync` returned for is sent, or counted as gone with its range, whatever crash comes.
//! P2  A lane goes on after the last acknowledged record that the ledger knew: records acknowledged since
//!     are sent twice, with the same ids.
//! P3  Quotas drop the oldest records of the lane; where the disk is full, those of the last lane (frames)
//!     go before those of the first (scans).
//! P4  The ledger is durable before a file goes (the crash between them only makes the file go again), and
//!     a folder is synced after each file that is made in it.
//! P5  Damage costs the damaged records. The spool opens in any state of the folder; where the disk refuses
//!     altogether it goes on in memory, and says so. What the disk holds is handed out before that, as long
//!     as it can be read (else the lane is `blind`), and by the next start again.
//!
//! Start at `Spool::open`; `lane` is one topic, `ledger` the decisions. Tests: `tests.rs`, over a file
//! system that loses what was not synced.

mod backlog;
mod lane;
mod ledger;
mod shelf;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use weir_contract::{Code, Error, Place, Result};
use weir_segments::{Disk, MemoryDisk};

pub use lane::LaneOptions;
pub use ledger::{Gone, LaneLedger, Why};

use crate::record::{Draft, Stored};
use crate::time::{Stamp, Stamps};
use backlog::Backlog;
use lane::Lane;
use ledger::{Facts, Ledger, look};

/// What one lane may hold in memory while the disk refuses.
const MEMORY_LANE_BYTES: u64 = 4 << 20;

/// A lane's state, for health records and `weir-edge status`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LaneState {
    pub name: String,
    pub records: u64,
    pub bytes: u64,
    pub acked: i64,
    pub gone: u64,
    pub ranges: Vec<Gone>,
}

/// The spool of one device. Lanes in order of priority, the first one first.
pub struct Spool {
    disk: Arc<dyn Disk>,
    root: PathBuf,
    /// None while it cannot be opened.
    ledger: Option<Ledger>,
    lanes: Vec<Lane>,
    stamps: Stamps,
    /// The disk refused; records are in memory only.
    in_memory: Option<Error>,
}

impl Spool {
    /// Opens a folder in whatever state it is; lanes in order of priority.
    ///
    /// # Errors
    /// `W0503` where another agent has it; else only what the disk itself refuses.
    pub fn open(disk: Arc<dyn Disk>, root: &Path, lanes: &[LaneOptions]) -> Result<Self> {
        let failed = |e: std::io::Error| Error::new(Code::Io, e.to_string()).at(place(root));
        for folder in root.ancestors().collect::<Vec<_>>().into_iter().rev() {
            if !folder.as_os_str().is_empty() && !disk.is_folder(folder) {
                disk.create_folder(folder).map_err(failed)?;
            }
        }
        // Whether an earlier start came to this is not known: a name is durable only after it.
        if let Some(parent) = root.parent().filter(|p| !p.as_os_str().is_empty()) {
            disk.sync_folder(parent).map_err(failed)?;
        }
        let (ledger, facts) = Ledger::open(disk.clone(), root)?;
        let mut facts = facts.unwrap_or_default();
        let mut open = Vec::with_capacity(lanes.len());
        for options in lanes {
            let known = facts.lanes.remove(&options.name);
            open.push(Lane::open(disk.clone(), root.join(&options.name), options.clone(), known)?);
        }
        let mut spool = Self {
            disk,
            root: root.into(),
            ledger: Some(ledger),
            lanes: open,
            stamps: facts.stamps,
            in_memory: None,
        };
        spool.save()?;
        Ok(spool)
    }

    /// Opens the folder, or a spool in memory where the disk refuses: a device never stays silent.
    pub fn open_or_memory(disk: Arc<dyn Disk>, root: &Path, lanes: &[LaneOptions]) -> Result<Self> {
        match Self::open(disk.clone(), root, lanes) {
            Err(why) if why.code() != Code::Locked => {
                let small = |l: &LaneOptions| LaneOptions {
                    bytes_max: l.bytes_max.min(MEMORY_LANE_BYTES),
                    ..l.clone()
                };
                let lanes: Vec<LaneOptions> = lanes.iter().map(small).collect();
                let mut facts = look(&*disk, root).map(|(_, _, facts)| facts).unwrap_or_default();
                let mut backlogs = Vec::with_capacity(lanes.len());
                for lane in &lanes {
                    let known = facts.lanes.get(&lane.name);
                    let backlog = Backlog::find(disk.clone(), root.join(&lane.name), known);
                    // What is in memory gets offsets behind all that is on the disk.
                    if let Some(behind) =
                        backlog.as_ref().map(Backlog::end).max(known.map(|k| k.acked.max(k.floor)))
                    {
                        let ledger = facts.lanes.entry(lane.name.clone()).or_default();
                        (ledger.acked, ledger.floor) = (behind, behind);
                    }
                    backlogs.push(backlog);
                }
                let memory = memory_with(root)?;
                Ledger::open(memory.clone(), root)?.0.write(&facts)?;
                let mut spool = Self::open(memory, root, &lanes)?;
                for (lane, backlog) in spool.lanes.iter_mut().zip(backlogs) {
                    backlog.into_iter().for_each(|backlog| lane.follow(backlog));
                }
                spool.in_memory = Some(why);
                Ok(spool)
            }
            opened => opened,
        }
    }

    /// Why records are in memory only; none while the disk takes them.
    pub fn in_memory(&self) -> Option<&Error> {
        self.in_memory.as_ref()
    }

    pub fn lanes(&self) -> usize {
        self.lanes.len()
    }

    pub fn stamps(&self) -> &Stamps {
        &self.stamps
    }

    /// Remembers what a boot's clock turned out to be, durably, before any record is sent with it.
    pub fn stamp(&mut self, stamp: Stamp) -> Result<()> {
        if self.stamps.of(&stamp.boot).is_some() {
            return Ok(());
        }
        let before = self.stamps.clone();
        self.stamps.add(stamp);
        self.save().inspect_err(|_| self.stamps = before)
    }

    /// Takes a record; durable after the next `sync`.
    pub fn push(&mut self, lane: usize, key: &[u8], draft: Draft) {
        self.lanes[lane].push(key, draft);
    }

    pub fn pending_bytes(&self) -> usize {
        self.lanes.iter().map(Lane::pending_bytes).sum()
    }

    /// Makes everything that was pushed durable: one append and one sync for each lane that has anything.
    ///
    /// # Errors
    /// What was refused stays pending, up to a bound, and the call may be made again.
    pub fn sync(&mut self) -> Result<()> {
        let mut refused = None;
        for number in 0..self.lanes.len() {
            refused = self.sync_lane(number).err().or(refused);
        }
        refused.map_or(Ok(()), Err)
    }

    /// One lane's group. While the disk is full, frames make room for scans, never the other way round.
    fn sync_lane(&mut self, number: usize) -> Result<()> {
        let full = |done: &Result<()>| done.as_ref().is_err_and(|e| e.code() == Code::DiskFull);
        let mut done = self.lanes[number].sync();
        for last in (number..self.lanes.len()).rev() {
            // A lane that can give nothing now says why when its own turn comes.
            while full(&done) && self.lanes[last].drop_oldest().unwrap_or(false) {
                self.save()?;
                done = self.lanes[number].sync();
            }
        }
        done
    }

    /// Goes on in memory after the disk refused for too long.
    pub fn fall_back(&mut self, why: Error) -> Result<()> {
        let memory = memory_with(&self.root)?;
        for lane in &mut self.lanes {
            lane.fall_back(memory.clone(), MEMORY_LANE_BYTES)?;
        }
        self.disk = memory;
        self.ledger = Some(Ledger::open(self.disk.clone(), &self.root)?.0);
        self.in_memory = Some(why);
        self.sync()
    }

    /// The next records of a lane, in order; they are in flight from now on.
    pub fn next(&mut self, lane: usize, rows: usize, bytes: usize) -> Result<Vec<Stored>> {
        self.lanes[lane].next(rows, bytes)
    }

    /// Records of a lane up to and with `offset` are in the log. Durable with the next `save`.
    pub fn ack(&mut self, lane: usize, offset: i64) {
        self.lanes[lane].ack(offset);
    }

    /// The log will never take this record: it is given up, counted.
    pub fn refuse(&mut self, lane: usize, offset: i64) {
        self.lanes[lane].refuse(offset);
    }

    /// What is in flight will be handed out again.
    pub fn rewind(&mut self, lane: usize) -> Result<()> {
        self.lanes[lane].rewind()
    }

    /// Keeps the quotas: by bytes always; by age as far as times are known, `now_us` being a synced clock's.
    ///
    /// # Errors
    /// The first lane's that could not; the others were seen to.
    pub fn enforce(&mut self, now_us: Option<i64>) -> Result<()> {
        let stamps = &self.stamps;
        let mut refused = None;
        for lane in &mut self.lanes {
            let mut done = lane.drop_for_space();
            if let (Some(now), Some(age)) = (now_us, lane.options.age_max_us) {
                let aged = lane.drop_by_age(now - age, |e| {
                    let (time, known) = stamps.event_time(&e.time);
                    known.then_some(time)
                });
                done = done.and(aged);
            }
            refused = refused.or(done.err());
        }
        refused.map_or(Ok(()), Err)
    }

    /// Makes acknowledgements and decisions durable, then deletes the files that nobody needs.
    pub fn save(&mut self) -> Result<()> {
        if self.ledger.is_none() {
            self.ledger = Some(Ledger::open(self.disk.clone(), &self.root)?.0);
        }
        let lanes = self.lanes.iter().map(|l| (l.options.name.clone(), l.ledger.clone())).collect();
        let facts = Facts { lanes, stamps: self.stamps.clone() };
        if let Some(ledger) = &mut self.ledger {
            ledger.write(&facts)?;
        }
        for lane in &mut self.lanes {
            lane.durable_floor = lane.ledger.floor.max(lane.ledger.acked);
            lane.delete()?;
        }
        Ok(())
    }

    /// A lane has older records than it hands out, and nobody can read them now: their times are not known.
    pub fn blind(&self, lane: usize) -> bool {
        self.lanes[lane].is_blind()
    }

    /// Records of a lane that are not in the log; none that cannot be read.
    pub fn records(&self, lane: usize) -> u64 {
        self.lanes[lane].records()
    }

    /// Records that were given up, over all lanes and for all time, and those that found no room at all.
    pub fn gone(&self) -> u64 {
        self.lanes.iter().map(|l| l.ledger.gone + l.overflowed).sum()
    }

    pub fn states(&self) -> Vec<LaneState> {
        let state = |lane: &Lane| LaneState {
            name: lane.options.name.clone(),
            records: lane.records(),
            bytes: lane.bytes(),
            acked: lane.ledger.acked,
            gone: lane.ledger.gone + lane.overflowed,
            ranges: lane.ledger.ranges.clone(),
        };
        self.lanes.iter().map(state).collect()
    }
}

/// A disk in memory that has this folder.
fn memory_with(root: &Path) -> Result<Arc<dyn Disk>> {
    let memory: Arc<dyn Disk> = Arc::new(MemoryDisk::default());
    let mut made = PathBuf::new();
    for part in root.components() {
        made.push(part);
        if !memory.is_folder(&made) {
            let failed = |e: std::io::Error| Error::new(Code::Io, e.to_string()).at(place(&made));
            memory.create_folder(&made).map_err(failed)?;
        }
    }
    Ok(memory)
}

fn place(path: &Path) -> Place {
    Place::Path(path.display().to_string())
}
