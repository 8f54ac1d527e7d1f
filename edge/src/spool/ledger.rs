//! What the spool has decided, apart from the records: how far they were acknowledged, what was given
//! up, and what the clock of each boot turned out to be.
//!
//! Owns: two files written in turn, each whole under a CRC, so that one is sound whatever a crash met.
//!
//! G1  A decision is durable here before it has effect on a file of records. A file that is missing or
//!     there again after a crash is judged by the ledger, never the other way round.
//! G2  Without any sound ledger the spool starts at the oldest record that is there: records may be sent
//!     twice (their ids are the same), none is skipped.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use weir_contract::{Code, Error, Result};
use weir_segments::{Disk, DiskFile, Mode};

use crate::time::Stamps;

/// Ranges kept for the next health records; their counts go on without them.
const RANGES_MAX: usize = 64;
const HEAD_BYTES: usize = 16;
/// Space that each file takes from the beginning: a full disk must not keep a decision from being written.
/// All ranges of four lanes and all stamps take about 20 KiB.
const FILE_BYTES: u64 = 24 << 10;
const NAMES: [&str; 2] = ["ledger.a", "ledger.b"];

/// Why records are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// The lane reached its bytes.
    Quota,
    /// Older than the lane keeps records.
    Age,
    /// Bad bytes on the disk.
    Damage,
    /// On their way when the power went, and their file was given up already.
    InFlight,
    /// The log refused the record itself; sending it again gives the same.
    Refused,
}

/// Records that will not be sent: offsets `[from, to)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gone {
    pub from: i64,
    pub to: i64,
    pub why: Why,
}

/// A lane's part.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneLedger {
    /// Every record below is acknowledged or given up.
    pub acked: i64,
    /// Every file whose records are all below may be deleted.
    pub floor: i64,
    /// Records given up, ever.
    pub gone: u64,
    /// The latest of them, by offset.
    pub ranges: Vec<Gone>,
}

impl LaneLedger {
    /// Counts records that are given up.
    pub fn give_up(&mut self, from: i64, to: i64, why: Why) {
        if from >= to {
            return;
        }
        self.gone += (to - from).cast_unsigned();
        match self.ranges.iter_mut().find(|g| g.why == why && g.to == from) {
            Some(range) => range.to = to,
            None => self.ranges.push(Gone { from, to, why }),
        }
        let beyond = self.ranges.len().saturating_sub(RANGES_MAX);
        self.ranges.drain(..beyond);
    }

    /// The same for those that are in no range yet.
    pub fn give_up_rest(&mut self, from: i64, to: i64, why: Why) {
        for (from, to) in self.unaccounted(from, to) {
            self.give_up(from, to, why);
        }
    }

    /// Offsets of `[from, to)` that are in no range.
    pub fn unaccounted(&self, from: i64, to: i64) -> Vec<(i64, i64)> {
        let mut ranges = self.ranges.clone();
        ranges.sort_by_key(|g| g.from);
        let (mut at, mut open) = (from, Vec::new());
        for range in ranges.iter().filter(|g| g.to > from && g.from < to) {
            if range.from > at {
                open.push((at, range.from));
            }
            at = at.max(range.to);
        }
        if at < to {
            open.push((at, to));
        }
        open
    }
}

/// All of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    pub lanes: BTreeMap<String, LaneLedger>,
    pub stamps: Stamps,
}

/// The two files.
pub struct Ledger {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    /// None where nobody knows what is in it: the next write makes it anew.
    files: [Option<Box<dyn DiskFile>>; 2],
    /// Of the newest sound file.
    number: u64,
    /// The file to write next: never the newest sound one.
    turn: usize,
    /// What the newest sound file holds.
    facts: Option<Facts>,
}

fn failed(path: &Path) -> impl FnOnce(std::io::Error) -> Error + '_ {
    move |e| Error::of_io(&e, path)
}

impl Ledger {
    /// Opens the ledger of a folder that is there; `None` where no sound one was found.
    pub fn open(disk: Arc<dyn Disk>, folder: &Path) -> Result<(Self, Option<Facts>)> {
        let newest = look(&*disk, folder);
        let open = |name: &str| {
            let path = folder.join(name);
            let file = disk.open(&path, Mode::Create).and_then(|file| {
                make_room(&*file)?;
                // Whoever wrote what was read may have been killed before it was durable; the other file, which
                // is, will be written over.
                file.sync().map(|()| file)
            });
            file.map_err(failed(&path))
        };
        let files = [Some(open(NAMES[0])?), Some(open(NAMES[1])?)];
        disk.sync_folder(folder).map_err(failed(folder))?;
        let (number, turn) = newest.as_ref().map_or((0, 0), |(number, turn, _)| (*number, 1 - turn));
        let facts = newest.map(|(_, _, facts)| facts);
        Ok((Self { disk, folder: folder.into(), files, number, turn, facts: facts.clone() }, facts))
    }

    /// Makes the facts durable. Those that are so already cost nothing: a card wears by writes.
    ///
    /// # Errors
    /// The file that was written is taken for bad; the other one holds the facts before.
    pub fn write(&mut self, facts: &Facts) -> Result<()> {
        if self.facts.as_ref() == Some(facts) {
            return Ok(());
        }
        let bytes = encode(self.number + 1, facts)?;
        let path = self.folder.join(NAMES[self.turn]);
        let file = match self.files[self.turn].take() {
            Some(file) => file,
            None => self.remade(&path).map_err(failed(&path))?,
        };
        let written = file.write_all_at(&bytes, 0);
        if written.is_ok()
            && let Err(e) = file.sync()
        {
            // After a failed sync nobody knows what the file holds: a new one takes its place.
            let _the_next_write_does_it = self.disk.remove(&path);
            return Err(failed(&path)(e));
        }
        self.files[self.turn] = Some(file);
        written.map_err(failed(&path))?;
        self.number += 1;
        self.turn = 1 - self.turn;
        self.facts = Some(facts.clone());
        Ok(())
    }

    /// An empty file with a name that is durable.
    fn remade(&self, path: &Path) -> std::io::Result<Box<dyn DiskFile>> {
        let _gone_already = self.disk.remove(path);
        let file = self.disk.open(path, Mode::Create)?;
        make_room(&*file)?;
        self.disk.sync_folder(&self.folder)?;
        Ok(file)
    }
}

/// The newest sound facts of a folder, with their number and which file they are in.
pub fn look(disk: &dyn Disk, folder: &Path) -> Option<(u64, usize, Facts)> {
    let mut newest: Option<(u64, usize, Facts)> = None;
    for (turn, name) in NAMES.iter().enumerate() {
        if let Some((number, facts)) = disk.read(&folder.join(name)).ok().and_then(|b| decode(&b))
            && newest.as_ref().is_none_or(|(n, ..)| *n < number)
        {
            newest = Some((number, turn, facts));
        }
    }
    newest
}

/// Zeros behind what is there; a disk that is full already is no reason to refuse.
fn make_room(file: &dyn DiskFile) -> std::io::Result<()> {
    let have = file.len()?;
    if have < FILE_BYTES {
        let zeros = vec![0; (FILE_BYTES - have) as usize];
        let _full_already = file.write_all_at(&zeros, have);
    }
    Ok(())
}

/// CRC of what follows, length of the body, number, body.
fn encode(number: u64, facts: &Facts) -> Result<Vec<u8>> {
    let body = serde_json::to_vec(facts).map_err(|e| Error::new(Code::Internal, e.to_string()))?;
    let mut bytes = vec![0; 4];
    bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes.extend_from_slice(&body);
    let crc = crc32c::crc32c(&bytes[4..]);
    bytes[..4].copy_from_slice(&crc.to_le_bytes());
    Ok(bytes)
}

/// Older, longer contents may follow the body.
fn decode(bytes: &[u8]) -> Option<(u64, Facts)> {
    let crc = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?);
    let length = u32::from_le_bytes(bytes.get(4..8)?.try_into().ok()?) as usize;
    let number = u64::from_le_bytes(bytes.get(8..HEAD_BYTES)?.try_into().ok()?);
    let body = bytes.get(HEAD_BYTES..HEAD_BYTES.checked_add(length)?)?;
    if crc32c::crc32c(&bytes[4..HEAD_BYTES + length]) != crc {
        return None;
    }
    Some((number, serde_json::from_slice(body).ok()?))
}

#[cfg(test)]
mod tests {
    use weir_segments::MemoryDisk;

    use super::*;

    fn facts(n: i64) -> Facts {
        let lane = LaneLedger { acked: n, ..LaneLedger::default() };
        Facts { lanes: [("scans".to_owned(), lane)].into(), stamps: Stamps::default() }
    }

    #[test]
    fn gone_records_are_counted_once_and_by_range() {
        let mut lane = LaneLedger::default();
        lane.give_up(10, 20, Why::Quota);
        lane.give_up(20, 25, Why::Quota);
        lane.give_up(25, 25, Why::Quota);
        lane.give_up(30, 31, Why::Damage);
        assert_eq!((lane.gone, lane.ranges.len()), (16, 2));
        assert_eq!(lane.unaccounted(5, 40), [(5, 10), (25, 30), (31, 40)]);
        assert_eq!(lane.unaccounted(12, 24), []);
    }

    #[test]
    fn a_torn_write_leaves_the_facts_before() {
        let disk = MemoryDisk::default();
        let folder = Path::new("spool");
        disk.create_folder(folder).unwrap();
        let (mut ledger, none) = Ledger::open(Arc::new(disk.clone()), folder).unwrap();
        assert_eq!(none, None);
        for n in 0..5 {
            ledger.write(&facts(n)).unwrap();
        }
        let newest = disk.files().into_iter().find(|p| p.ends_with("ledger.a")).unwrap();
        let whole = disk.read(&newest).unwrap();
        let body = whole.iter().rposition(|b| *b != 0).unwrap();
        for at in 0..=body {
            disk.damage(&newest, |bytes| bytes[at] ^= 1);
            assert_eq!(Ledger::open(Arc::new(disk.clone()), folder).unwrap().1, Some(facts(3)), "byte {at}");
            disk.damage(&newest, |bytes| bytes[at] ^= 1);
            disk.damage(&newest, |bytes| bytes.truncate(at));
            assert_eq!(Ledger::open(Arc::new(disk.clone()), folder).unwrap().1, Some(facts(3)));
            disk.damage(&newest, |bytes| bytes.clone_from(&whole));
        }
        assert_eq!(Ledger::open(Arc::new(disk), folder).unwrap().1, Some(facts(4)));
    }
}
