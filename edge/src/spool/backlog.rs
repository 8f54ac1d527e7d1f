//! What a disk holds that takes nothing any more: it is sent before what is in memory since, and stays there.
//!
//! In:   the shelf as it was, or a folder that could not be opened.
//! Out:  its records, until all were handed out.
//! Owns: nothing durable: the disk's own ledger stays as it was, so the next start sends these again.
//!
//! L1  What cannot be read is not gone: the next start may read it. Only where a file behind it can be read
//!     is it passed over and counted.
//! L2  A backlog that cannot be read is blind: nobody knows how old its records are.

use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use weir_contract::{Code, Error, Result};
use weir_segments::Disk;

use super::ledger::{LaneLedger, Why};
use super::shelf::Shelf;
use crate::record::Stored;

pub(super) struct Backlog {
    /// None where it cannot be read.
    shelf: Option<Shelf>,
    /// Below it nothing is wanted.
    floor: i64,
    end: i64,
}

impl Backlog {
    /// Offsets `[floor, end)` of a shelf.
    pub fn new(shelf: Shelf, floor: i64, end: i64) -> Self {
        Self { shelf: Some(shelf), floor, end }
    }

    /// What a folder holds that could not be opened; none where nothing of it waits.
    pub fn find(disk: Arc<dyn Disk>, folder: PathBuf, known: Option<&LaneLedger>) -> Option<Self> {
        let floor = known.map_or(0, |k| k.acked.max(k.floor));
        let blind = Self { shelf: None, floor, end: floor };
        let names = match disk.names(&folder) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return None,
            Err(_) => return Some(blind),
            Ok(names) => names,
        };
        let base = |name: &String| name.strip_suffix(".seg").and_then(|n| n.parse::<i64>().ok());
        let start = names.iter().filter_map(base).min()?;
        match Shelf::open(disk, folder, start.max(floor)) {
            // Only what the ledger speaks of was ever there.
            Err(e) if e.code() == Code::Recreated => None,
            Err(_) => Some(blind),
            Ok((mut shelf, _)) => match shelf.end() {
                Ok(end) if end <= shelf.position() => None,
                Ok(end) => Some(Self { floor: start.max(floor), shelf: Some(shelf), end }),
                Err(_) => Some(blind),
            },
        }
    }

    pub fn end(&self) -> i64 {
        self.end
    }

    pub fn is_blind(&self) -> bool {
        self.shelf.is_none()
    }

    /// The next offset that will be handed out; none where none will be.
    pub fn position(&self) -> Option<i64> {
        self.shelf.as_ref().map(Shelf::position).filter(|at| *at < self.end)
    }

    /// Records that wait to be handed out.
    pub fn records(&self) -> u64 {
        self.position().map_or(0, |at| (self.end - at).cast_unsigned())
    }

    /// The next records; none once all were handed out, or none can be read any more.
    pub fn next(&mut self, ledger: &mut LaneLedger, rows: usize, bytes: usize) -> Result<Vec<Stored>> {
        while let Some(shelf) = &mut self.shelf {
            let given = shelf.next(ledger, self.end, rows, bytes);
            let place = shelf.position();
            match given {
                // What was cut off at the end is in memory, at the same offsets.
                Ok(mut records) => {
                    records.retain(|r| r.offset < self.end);
                    return Ok(records);
                }
                Err(why) => self.refused(ledger, place, why)?,
            }
        }
        Ok(Vec::new())
    }

    /// What lies at `from` and behind will be handed out again.
    pub fn rewind(&mut self, ledger: &mut LaneLedger, from: i64) -> Result<()> {
        let from = from.max(self.floor);
        let Some(shelf) = self.shelf.as_mut().filter(|_| from < self.end) else { return Ok(()) };
        match shelf.go_to(from) {
            Ok(lost) => {
                lost.into_iter().for_each(|range| self.lose(ledger, range));
                Ok(())
            }
            Err(why) => self.refused(ledger, from, why),
        }
    }

    /// Goes on in the next file where a place was asked for often enough; without one the backlog is blind.
    fn refused(&mut self, ledger: &mut LaneLedger, place: i64, why: Error) -> Result<()> {
        let Some(shelf) = &mut self.shelf else { return Ok(()) };
        if why.code() == Code::Io && !shelf.worn(place, &why) {
            return Err(why);
        }
        match shelf.leave_file(place) {
            Ok(lost) if why.code() == Code::Io && lost.end < self.end => self.lose(ledger, lost),
            _ => {
                tracing::error!("what is on the disk waits for the next start: {why}");
                self.shelf = None;
            }
        }
        Ok(())
    }

    fn lose(&self, ledger: &mut LaneLedger, range: Range<i64>) {
        ledger.give_up_rest(range.start, range.end.min(self.end), Why::Damage);
    }
}
