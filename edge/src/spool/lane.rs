//! One topic's records on the disk.
//!
//! | where a record is | it is                                                             |
//! |-------------------|-------------------------------------------------------------------|
//! | pending           | in memory, until the next group sync                              |
//! | on disk           | durable; offsets `[given, end)`                                   |
//! | in flight         | handed out, in order, and not acknowledged                        |
//! | backlog           | on a disk that refuses, while new ones are in memory              |
//! | gone              | counted in the ledger with its range and reason                   |
//!
//! N1  Records are handed out in offset order, each once until `rewind`.
//! N2  A file is deleted only when the durable ledger says that all its records are acknowledged or gone.
//! N3  An offset is never used twice, whatever a crash took.

use std::collections::VecDeque;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use weir_contract::{Code, Result};
use weir_segments::{Disk, Reader, Record, Writer, WriterOptions};

use super::backlog::Backlog;
use super::ledger::{LaneLedger, Why};
use super::shelf::Shelf;
use crate::record::{Draft, Envelope, Stored};

/// Bytes that may wait for a group sync while the disk refuses; beyond, the oldest go, counted. One record may be
/// larger: a frame of the largest size has its facts beside it.
const PENDING_BYTES_MAX: usize = 8 << 20;
/// Files per lane at its quota: what one drop gives up is at most a sixteenth.
const FILES_PER_LANE: u64 = 16;
const SEGMENT_BYTES_MIN: u64 = 4 << 10;
const SEGMENT_BYTES_MAX: u64 = 16 << 20;

/// How a lane is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneOptions {
    /// Folder, and name in the ledger.
    pub name: String,
    pub bytes_max: u64,
    /// Records seen longer ago are dropped; none where the time is not known.
    pub age_max_us: Option<i64>,
}

pub(super) struct Lane {
    pub options: LaneOptions,
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    /// None while the disk refuses to open it.
    writer: Option<Writer>,
    shelf: Shelf,
    /// On the disk that was left for memory: handed out before what `shelf` has.
    backlog: Option<Backlog>,
    pending: VecDeque<(Vec<u8>, Draft)>,
    pending_bytes: usize,
    /// Records that were refused because the disk failed and memory was full.
    pub overflowed: u64,
    in_flight: VecDeque<i64>,
    /// Offset after the last durable record.
    end: i64,
    pub ledger: LaneLedger,
    /// Of the durable ledger.
    pub durable_floor: i64,
}

impl Lane {
    pub fn open(
        disk: Arc<dyn Disk>,
        folder: PathBuf,
        options: LaneOptions,
        known: Option<LaneLedger>,
    ) -> Result<Self> {
        // Without a ledger the lane simply begins with what is there.
        let judged = known.is_some();
        let mut ledger = known.unwrap_or_default();
        let durable_floor = ledger.floor.max(ledger.acked);
        let mut writer =
            Writer::open_past_damage(disk.clone(), &folder, writer_options(&options), durable_floor)?;
        // Deletions that the last crash undid or prevented.
        writer.delete_below(durable_floor)?;
        let start = writer.start().max(durable_floor);
        if judged {
            ledger.give_up_rest(ledger.acked, ledger.floor, Why::InFlight);
            ledger.give_up_rest(ledger.acked.max(ledger.floor), start, Why::Damage);
        }
        let (shelf, lost) = Shelf::open(disk.clone(), folder.clone(), start)?;
        for range in lost {
            ledger.give_up_rest(range.start, range.end, Why::Damage);
        }
        ledger.acked = shelf.position();
        let end = writer.durable_end();
        Ok(Self {
            options,
            disk,
            folder,
            writer: Some(writer),
            shelf,
            backlog: None,
            pending: VecDeque::new(),
            pending_bytes: 0,
            overflowed: 0,
            in_flight: VecDeque::new(),
            end,
            durable_floor,
            ledger,
        })
    }

    pub fn push(&mut self, key: &[u8], draft: Draft) {
        self.pending_bytes += draft.bytes();
        self.pending.push_back((key.to_vec(), draft));
        while self.pending_bytes > PENDING_BYTES_MAX
            && self.pending.len() > 1
            && let Some((_, draft)) = self.pending.pop_front()
        {
            self.pending_bytes -= draft.bytes();
            self.overflowed += 1;
        }
    }

    pub fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }

    /// Makes what is pending durable. What the disk refused stays pending.
    pub fn sync(&mut self) -> Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let envelopes: Vec<Vec<u8>> = self.pending.iter().map(|(_, draft)| draft.encode()).collect();
        let records: Vec<Record<'_>> = self
            .pending
            .iter()
            .zip(&envelopes)
            .map(|((key, draft), envelope)| Record {
                append_ms: draft.time.wall_us.div_euclid(1_000),
                key: Some(key),
                value: Some(envelope),
                headers: &draft.headers,
            })
            .collect();
        let writer = living(&mut self.writer, &self.disk, &self.folder, &self.options, self.end)?;
        writer.append(&records)?;
        writer.sync()?;
        self.end = writer.durable_end();
        self.pending.clear();
        self.pending_bytes = 0;
        Ok(())
    }

    /// Records that are neither acknowledged nor gone, pending ones too.
    pub fn records(&self) -> u64 {
        let on_disk = self.end - self.shelf.position();
        let backlog = self.backlog.as_ref().map_or(0, Backlog::records);
        backlog + on_disk.max(0).cast_unsigned() + (self.in_flight.len() + self.pending.len()) as u64
    }

    pub fn bytes(&self) -> u64 {
        self.writer.as_ref().map_or(0, |w| w.files().map(|(_, bytes)| bytes).sum())
    }

    /// Hands out the next records: at most `rows` and about `bytes`, fewer where that is all.
    ///
    /// # Errors
    /// Where the disk does not give a place. Asked for again it is given or, at last, passed over.
    pub fn next(&mut self, rows: usize, bytes: usize) -> Result<Vec<Stored>> {
        if let Some(backlog) = &mut self.backlog {
            let given = backlog.next(&mut self.ledger, rows, bytes);
            self.in_flight.extend(given.iter().flatten().map(|r| r.offset));
            self.settle();
            if given.as_ref().map_or(true, |records| !records.is_empty()) {
                return given;
            }
        }
        loop {
            let given = self.shelf.next(&mut self.ledger, self.end, rows, bytes);
            let place = self.shelf.position();
            match given {
                Err(e) if self.shelf.worn(place, &e) => {
                    let lost = self.leave_file(place)?;
                    self.ledger.give_up_rest(lost.start, lost.end, Why::Damage);
                }
                Err(e) => {
                    self.settle();
                    return Err(e);
                }
                Ok(records) => {
                    self.in_flight.extend(records.iter().map(|r| r.offset));
                    self.settle();
                    return Ok(records);
                }
            }
        }
    }

    fn leave_file(&mut self, place: i64) -> Result<Range<i64>> {
        // Behind the file that is written to there is none yet.
        let writer = living(&mut self.writer, &self.disk, &self.folder, &self.options, self.end)?;
        if writer.files().last().is_some_and(|(base, _)| base <= place) {
            writer.seal()?;
        }
        self.shelf.leave_file(place)
    }

    /// The records up to and with `offset` are acknowledged.
    pub fn ack(&mut self, offset: i64) {
        while self.in_flight.front().is_some_and(|o| *o <= offset) {
            self.in_flight.pop_front();
        }
        self.settle();
    }

    /// A record in flight will never be taken by the log; those before it are still on their way. Where one
    /// of them breaks the sender it is handed out with them again, and refused again: counted once.
    pub fn refuse(&mut self, offset: i64) {
        self.ledger.give_up_rest(offset, offset + 1, Why::Refused);
        self.in_flight.retain(|o| *o != offset);
        self.settle();
    }

    fn settle(&mut self) {
        let on_disk = || self.backlog.as_ref().and_then(Backlog::position);
        let next = self.in_flight.front().copied().or_else(on_disk).unwrap_or_else(|| self.shelf.position());
        self.ledger.acked = self.ledger.acked.max(next);
        let acked = self.ledger.acked;
        self.backlog.take_if(|b| !b.is_blind() && b.end() <= acked);
    }

    /// Older records than all that are handed out wait where nobody can read them.
    pub fn is_blind(&self) -> bool {
        self.backlog.as_ref().is_some_and(Backlog::is_blind)
    }

    /// Takes what another disk holds, where this lane is a new one in memory.
    pub fn follow(&mut self, backlog: Backlog) {
        self.ledger.acked = backlog.position().unwrap_or(self.ledger.acked);
        self.backlog = Some(backlog);
    }

    /// Everything that is in flight will be handed out again, as far as it is still there.
    pub fn rewind(&mut self) -> Result<()> {
        let mut from = self.ledger.acked;
        if let Some(backlog) = &mut self.backlog {
            backlog.rewind(&mut self.ledger, from)?;
            from = from.max(backlog.end());
        }
        let start = self.ledger.floor.max(from);
        let lost = match self.shelf.go_to(start) {
            Err(e) if self.shelf.worn(start, &e) => vec![self.leave_file(start)?],
            there => there?,
        };
        self.ledger.give_up_rest(from, start, Why::InFlight);
        for range in lost {
            self.ledger.give_up_rest(range.start, range.end, Why::Damage);
        }
        self.in_flight.clear();
        self.settle();
        Ok(())
    }

    /// Goes on in memory: the disk refuses. What it holds is handed out first, and stays there.
    pub fn fall_back(&mut self, memory: Arc<dyn Disk>, bytes_max: u64) -> Result<()> {
        self.options.bytes_max = self.options.bytes_max.min(bytes_max);
        let writer =
            Writer::open_past_damage(memory.clone(), &self.folder, writer_options(&self.options), self.end)?;
        let (shelf, _) = Shelf::open(memory.clone(), self.folder.clone(), self.end)?;
        let before = std::mem::replace(&mut self.shelf, shelf);
        let waits = self.ledger.acked < self.end;
        self.backlog = waits.then(|| Backlog::new(before, self.ledger.floor, self.end));
        (self.disk, self.writer) = (memory, Some(writer));
        self.ledger.floor = self.end;
        self.durable_floor = self.end;
        Ok(())
    }

    /// Decides what goes, by bytes; true where something does. The ledger says it, no file is touched
    /// but that the newest one may be closed.
    pub fn drop_for_space(&mut self) -> Result<bool> {
        let mut dropped = false;
        while self.bytes_above_floor() > self.options.bytes_max {
            let Some(upto) = self.oldest_file_end()? else { break };
            self.give_up_to(upto, Why::Quota)?;
            dropped = true;
        }
        Ok(dropped)
    }

    /// Gives up the oldest file whatever the quota says: a lane above needs the space.
    pub fn drop_oldest(&mut self) -> Result<bool> {
        let Some(upto) = self.oldest_file_end()? else { return Ok(false) };
        self.give_up_to(upto, Why::Quota)?;
        Ok(true)
    }

    /// Drops files whose newest record was seen before `seen_before`; `event_time` is None while unknown.
    pub fn drop_by_age(
        &mut self,
        seen_before: i64,
        event_time: impl Fn(&Envelope<'_>) -> Option<i64>,
    ) -> Result<bool> {
        let floor = self.ledger.floor.max(self.ledger.acked);
        let Some(writer) = &self.writer else { return Ok(false) };
        let mut old = None;
        // The first record of the next file is younger than every one of this file.
        for (upto, _) in writer.files().filter(|(base, _)| *base > floor && *base < writer.durable_end()) {
            // A file that cannot be read says nothing: the next one judges it too.
            let Ok(Some(record)) = self.first_from(upto) else { continue };
            let time = Envelope::parse(&record).ok().and_then(|e| event_time(&e));
            if time.is_none_or(|t| t >= seen_before) {
                break;
            }
            old = Some(upto);
        }
        let Some(upto) = old else { return Ok(false) };
        self.give_up_to(upto, Why::Age)?;
        Ok(true)
    }

    /// The first sound record at `from` or behind it.
    fn first_from(&self, from: i64) -> Result<Option<Vec<u8>>> {
        let (mut peek, _) = Reader::open_past_damage(self.disk.clone(), &self.folder, from)?;
        loop {
            match peek.next_batch(1, 1) {
                Err(e) if e.code() == Code::Damaged => peek.skip_damage().map(drop)?,
                first => return Ok(first?.and_then(|b| b.values.get(0).map(<[u8]>::to_vec))),
            }
        }
    }

    fn bytes_above_floor(&self) -> u64 {
        let Some(writer) = &self.writer else { return 0 };
        let mut bases: Vec<(i64, u64)> = writer.files().collect();
        bases.push((i64::MAX, 0));
        bases.windows(2).filter(|w| w[1].0 > self.ledger.floor).map(|w| w[0].1).sum()
    }

    /// First offset after the oldest file that is not given up; the newest is closed where it is the one.
    fn oldest_file_end(&mut self) -> Result<Option<i64>> {
        let floor = self.ledger.floor;
        let writer = living(&mut self.writer, &self.disk, &self.folder, &self.options, self.end)?;
        if let Some((base, _)) = writer.files().find(|(base, _)| *base > floor) {
            return Ok(Some(base));
        }
        writer.seal()?;
        let end = writer.files().last().map(|(base, _)| base);
        Ok(end.filter(|base| *base > floor))
    }

    /// None of the records below `upto` will be handed out any more. Those in flight are in memory still:
    /// they are given up only if they have to be asked for again.
    fn give_up_to(&mut self, upto: i64, why: Why) -> Result<()> {
        let from = self.shelf.position();
        if from < upto {
            let lost = self.shelf.go_to(upto)?;
            self.ledger.give_up_rest(from, upto, why);
            for range in lost {
                self.ledger.give_up_rest(range.start, range.end, Why::Damage);
            }
            self.settle();
        }
        self.ledger.floor = self.ledger.floor.max(upto);
        Ok(())
    }

    /// Deletes what the durable ledger has decided.
    pub fn delete(&mut self) -> Result<()> {
        match self.writer.as_mut().filter(|w| !w.is_dead()) {
            Some(writer) => writer.delete_below(self.durable_floor),
            None => Ok(()),
        }
    }
}

/// The writer, opened again where it is dead: what was never synced is cut then, to be written again.
fn living<'w>(
    writer: &'w mut Option<Writer>,
    disk: &Arc<dyn Disk>,
    folder: &Path,
    options: &LaneOptions,
    end: i64,
) -> Result<&'w mut Writer> {
    // The old lock has to go first.
    let opened = match writer.take().filter(|w| !w.is_dead()) {
        Some(living) => living,
        None => Writer::open_past_damage(disk.clone(), folder, writer_options(options), end)?,
    };
    Ok(writer.insert(opened))
}

fn writer_options(options: &LaneOptions) -> WriterOptions {
    let bytes = (options.bytes_max / FILES_PER_LANE).clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX);
    WriterOptions { segment_bytes: bytes, ..WriterOptions::default() }
}
