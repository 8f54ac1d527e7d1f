//! The one writer of a folder.
//!
//! | state | append                      | sync                        |
//! |-------|-----------------------------|-----------------------------|
//! | alive | whole or not at all         | durable, visible, or: dead  |
//! | dead  | `W0501`: open it again      | `W0501`: open it again      |

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use weir_contract::{Clock, Code, Error, Result};

use crate::disk::{self, Steps};
use crate::frame::{self, FRAME_BYTES, Record};
use crate::recover::{self, FrameFile, Scan};
use crate::vfs::{Disk, DiskFile, LockGuard, Mode};

/// How a log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriterOptions {
    /// A file at or above this size is full. Default 64 MiB, eyeballed.
    pub segment_bytes: u64,
    /// Whole old files are deleted while the others hold at least this much.
    pub retain_bytes: Option<u64>,
    /// Whole old files are deleted once all their records are older, by append time.
    pub retain_ms: Option<i64>,
}

impl Default for WriterOptions {
    fn default() -> Self {
        Self { segment_bytes: 64 << 20, retain_bytes: None, retain_ms: None }
    }
}

/// A file of the log.
struct Segment {
    base: i64,
    bytes: u64,
}

/// Appends records; there is one per folder, over all processes.
pub struct Writer {
    folder: PathBuf,
    options: WriterOptions,
    steps: Steps,
    _lock: LockGuard,
    mark: Box<dyn DiskFile>,
    identity: String,
    /// Ascending; the last one is written to. Never empty.
    segments: Vec<Segment>,
    active: Box<dyn DiskFile>,
    index: Vec<(i64, u64)>,
    next: i64,
    synced: i64,
    last_append_ms: i64,
    scratch: Vec<u8>,
    dead: bool,
}

impl Writer {
    /// Opens a folder, made where it is missing; cuts what was never synced.
    ///
    /// # Errors
    /// `W0503` while another writer has it; `W0502` where durable records are damaged.
    pub fn open(folder: &Path, options: WriterOptions) -> Result<Self> {
        Self::open_with(folder, options, Steps::default())
    }

    pub(crate) fn open_with(folder: &Path, options: WriterOptions, mut steps: Steps) -> Result<Self> {
        steps.ensure_folder(folder).map_err(disk::failed(folder))?;
        let lock = lock(&*steps.disk, folder)?;
        let identity = disk::ensure_identity(&*steps.disk, folder)?;
        Self::open_locked(folder, options, steps, lock, identity, None)
    }

    /// Opens a folder whatever state it is in: damaged files stay for readers to pass over, and new
    /// records get offsets of at least `first` and above every offset that was ever durable here.
    ///
    /// # Errors
    /// Only where the disk refuses, or another writer has the folder.
    pub fn open_past_damage(
        disk: Arc<dyn Disk>,
        folder: &Path,
        options: WriterOptions,
        first: i64,
    ) -> Result<Self> {
        let mut steps = Steps::over(disk);
        steps.ensure_folder(folder).map_err(disk::failed(folder))?;
        let lock = lock(&*steps.disk, folder)?;
        let identity = match disk::ensure_identity(&*steps.disk, folder) {
            Err(e) if e.code() == Code::Damaged => disk::new_identity(&*steps.disk, folder)?,
            identity => identity?,
        };
        Self::open_locked(folder, options, steps, lock, identity, Some(first))
    }

    fn open_locked(
        folder: &Path,
        options: WriterOptions,
        mut steps: Steps,
        lock: LockGuard,
        identity: String,
        past_damage: Option<i64>,
    ) -> Result<Self> {
        let io = || disk::failed(folder);
        let mark_path = disk::mark_path(folder);
        let known = disk::read_mark(&*steps.disk, folder)?;
        let mark = steps.disk.open(&mark_path, Mode::Create).map_err(disk::failed(&mark_path))?;

        let mut bases = disk::segments(&*steps.disk, folder)?;
        if bases.is_empty() {
            let base = past_damage.unwrap_or(0).max(0);
            steps.create(&disk::segment_path(folder, base)).map_err(io())?;
            bases.push(base);
        }
        let base = bases[bases.len() - 1];
        let (mut found, next) = match past_damage {
            None => {
                let found = recover::scan_last(&*steps.disk, folder, base, known)?;
                let next = found.next;
                (found, next)
            }
            Some(first) => {
                let (found, durable) = recover::scan_any(&*steps.disk, folder, base, known)?;
                let next = first_free(&found, durable, first);
                (found, next)
            }
        };
        let path = disk::segment_path(folder, base);
        let io = || disk::failed(&path);
        let mut active = steps.disk.open(&path, Mode::Write).map_err(io())?;
        let gap = next > found.next;
        let torn = found.file_bytes > found.bytes && !gap;
        if torn {
            steps.truncate(&*active, found.bytes).map_err(io())?;
        }
        // What a reader is shown from now on has to be on disk, whoever wrote it.
        steps.sync(&*active).map_err(io())?;
        steps.sync_folder(folder).map_err(disk::failed(folder))?;
        if gap || (torn && found.bytes > 0) {
            let path = disk::segment_path(folder, next);
            active = steps.create(&path).map_err(disk::failed(&path))?;
            steps.sync_folder(folder).map_err(disk::failed(folder))?;
            bases.push(next);
            found.index.clear();
            found.bytes = 0;
        }
        steps.mark(&*mark, next).map_err(disk::failed(&mark_path))?;
        let last_append_ms = match found.last_append_ms {
            Some(ms) => ms,
            None => last_append_before(&*steps.disk, folder, &bases)?,
        };
        let mut segments = Vec::with_capacity(bases.len());
        for base in bases {
            let path = disk::segment_path(folder, base);
            let bytes = || steps.disk.open(&path, Mode::Read)?.len();
            segments.push(Segment { base, bytes: bytes().map_err(disk::failed(&path))? });
        }
        Ok(Self {
            folder: folder.into(),
            options,
            steps,
            _lock: lock,
            mark,
            identity,
            segments,
            active,
            index: found.index,
            next,
            synced: next,
            last_append_ms,
            scratch: Vec::new(),
            dead: false,
        })
    }

    /// 32 hex digits that no other folder has.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// The lowest offset that is still there.
    pub fn start(&self) -> i64 {
        self.segments[0].base
    }

    /// Offset that the next record gets.
    pub fn end(&self) -> i64 {
        self.next
    }

    /// Offset up to which records are durable and visible to readers.
    pub fn durable_end(&self) -> i64 {
        self.synced
    }

    /// Nothing can be written any more; open the log again.
    pub fn is_dead(&self) -> bool {
        self.dead
    }

    /// Append time for a record now: whole milliseconds, never before the last record's.
    pub fn stamp(&self, clock: &dyn Clock) -> i64 {
        clock.now_us().div_euclid(1_000).max(self.last_append_ms)
    }

    /// Appends records and gives their offsets; not durable and not visible before `sync`.
    ///
    /// # Errors
    /// `W0104` for a record that no frame can hold; `W0505` or `W0501` where the disk refused. After an
    /// error nothing of the append is there, and the same call may be made again unless the writer is
    /// dead.
    ///
    /// One copy and one system call per append.
    pub fn append(&mut self, records: &[Record<'_>]) -> Result<Range<i64>> {
        self.check_alive()?;
        let Some(last) = records.last() else { return Ok(self.next..self.next) };
        records.iter().try_for_each(frame::check_record)?;
        if self.active_bytes() >= self.options.segment_bytes {
            self.roll()?;
        }
        self.scratch.clear();
        let (mut base, mut rest, at) = (self.next, records, self.active_bytes());
        let mut notes = Vec::new();
        while !rest.is_empty() {
            let (count, bytes) = frame_of(rest);
            notes.push((base, at + self.scratch.len() as u64));
            self.scratch.reserve(bytes + frame::HEAD_BYTES);
            frame::encode(base, self.synced, &rest[..count], &mut self.scratch);
            base += count as i64;
            rest = &rest[count..];
        }
        let path = disk::segment_path(&self.folder, self.segments[self.segments.len() - 1].base);
        if let Err(refused) = self.steps.write(&*self.active, &self.scratch, at) {
            self.dead = self.steps.truncate(&*self.active, at).is_err();
            return Err(disk::failed(&path)(refused));
        }
        notes.into_iter().for_each(|(base, at)| recover::note(&mut self.index, base, at));
        let offsets = self.next..base;
        self.next = base;
        self.last_append_ms = self.last_append_ms.max(last.append_ms);
        if let Some(active) = self.segments.last_mut() {
            active.bytes += self.scratch.len() as u64;
        }
        if self.scratch.capacity() > 2 * FRAME_BYTES {
            self.scratch = Vec::new();
        }
        Ok(offsets)
    }

    /// Makes everything appended durable, then visible.
    ///
    /// # Errors
    /// After any error the writer is dead: what was not synced is lost, never synced a second time.
    pub fn sync(&mut self) -> Result<()> {
        self.check_alive()?;
        if self.synced == self.next {
            return Ok(());
        }
        self.dead = true;
        self.steps.sync(&*self.active).map_err(disk::failed(&self.folder))?;
        self.steps.mark(&*self.mark, self.next).map_err(disk::failed(&self.folder))?;
        self.dead = false;
        self.synced = self.next;
        Ok(())
    }

    /// Deletes whole files from the oldest, as the options say; the one written to stays.
    pub fn retain(&mut self, now_ms: i64) -> Result<()> {
        while self.segments.len() > 1 {
            let kept: u64 = self.segments[1..].iter().map(|s| s.bytes).sum();
            let too_big = self.options.retain_bytes.is_some_and(|limit| kept >= limit);
            let too_old = match self.options.retain_ms {
                Some(limit) => first_append(&*self.steps.disk, &self.folder, self.segments[1].base)?
                    .is_some_and(|ms| ms < now_ms.saturating_sub(limit)),
                None => false,
            };
            if !too_big && !too_old {
                break;
            }
            self.delete_oldest()?;
        }
        Ok(())
    }

    fn delete_oldest(&mut self) -> Result<()> {
        let base = self.segments[0].base;
        let path = disk::segment_path(&self.folder, base);
        let _index_may_be_missing = self.steps.disk.remove(&disk::index_path(&self.folder, base));
        self.steps.unlink(&path).map_err(disk::failed(&path))?;
        self.segments.remove(0);
        self.steps.sync_folder(&self.folder).map_err(disk::failed(&self.folder))
    }

    /// Files, ascending: first offset and bytes. The last one is written to.
    pub fn files(&self) -> impl Iterator<Item = (i64, u64)> + '_ {
        self.segments.iter().map(|s| (s.base, s.bytes))
    }

    /// Deletes whole files all of whose records are below `offset`; the one written to stays.
    pub fn delete_below(&mut self, offset: i64) -> Result<()> {
        while self.segments.len() > 1 && self.segments[1].base <= offset {
            self.delete_oldest()?;
        }
        Ok(())
    }

    /// Goes on in a new file where the one written to holds anything.
    pub fn seal(&mut self) -> Result<()> {
        self.check_alive()?;
        if self.active_bytes() == 0 { Ok(()) } else { self.roll() }
    }

    fn check_alive(&self) -> Result<()> {
        if !self.dead {
            return Ok(());
        }
        Err(Error::new(Code::Io, "an earlier write to this log failed for good")
            .expected("the log opened again: what was not synced is cut then")
            .at(disk::place(&self.folder)))
    }

    fn active_bytes(&self) -> u64 {
        self.segments[self.segments.len() - 1].bytes
    }

    /// Goes on in a new file. The old one is durable before the new one exists.
    fn roll(&mut self) -> Result<()> {
        self.sync()?;
        let sealed = self.segments[self.segments.len() - 1].base;
        write_index(&*self.steps.disk, &self.folder, sealed, &self.index);
        let path = disk::segment_path(&self.folder, self.next);
        let active = self.steps.create(&path).map_err(disk::failed(&path))?;
        // From here on the file exists but may vanish: only a synced folder lets us go on.
        self.dead = true;
        self.steps.sync_folder(&self.folder).map_err(disk::failed(&self.folder))?;
        self.dead = false;
        self.active = active;
        self.index.clear();
        self.segments.push(Segment { base: self.next, bytes: 0 });
        self.retain(self.last_append_ms)
    }
}

/// How many records make the next frame, and their bytes.
fn frame_of(records: &[Record<'_>]) -> (usize, usize) {
    let mut bytes = 0;
    for (count, record) in records.iter().enumerate() {
        let size = frame::record_bytes(record);
        if count > 0 && bytes + size > FRAME_BYTES {
            return (count, bytes);
        }
        bytes += size;
    }
    (records.len(), bytes)
}

fn lock(disk: &dyn Disk, folder: &Path) -> Result<LockGuard> {
    let path = folder.join("lock");
    disk.lock(&path)
        .map_err(disk::failed(&path))?
        .ok_or_else(|| Error::new(Code::Locked, "another writer has this log").at(disk::place(folder)))
}

/// Above `first`, above all that is there or was durable once; a torn tail was never seen by anybody.
fn first_free(found: &Scan, durable: i64, first: i64) -> i64 {
    let behind = if found.next < durable { found.next_behind.unwrap_or(durable) } else { found.next };
    found.next.max(durable).max(behind).max(first)
}

/// Append time of the last record before an empty last file.
fn last_append_before(disk: &dyn Disk, folder: &Path, bases: &[i64]) -> Result<i64> {
    let Some(base) = bases.iter().rev().nth(1) else { return Ok(i64::MIN) };
    let path = disk::segment_path(folder, *base);
    let mut file = FrameFile::open(disk, folder, *base).map_err(disk::failed(&path))?;
    Ok(recover::scan(&mut file, *base, i64::MAX)?.last_append_ms.unwrap_or(i64::MIN))
}

fn first_append(disk: &dyn Disk, folder: &Path, base: i64) -> Result<Option<i64>> {
    let path = disk::segment_path(folder, base);
    let mut file = FrameFile::open(disk, folder, base).map_err(disk::failed(&path))?;
    let Some((_, bytes)) = file.frame(0, base)? else { return Ok(None) };
    Ok(frame::parse_record(&bytes[frame::HEAD_BYTES..], 0).map(|r| r.append_ms))
}

/// The index only saves reading: a log without it, or with a torn one, is whole.
fn write_index(disk: &dyn Disk, folder: &Path, base: i64, index: &[(i64, u64)]) {
    let mut bytes = Vec::with_capacity(index.len() * 16 + 4);
    for (offset, at) in index {
        bytes.extend_from_slice(&offset.to_le_bytes());
        bytes.extend_from_slice(&at.to_le_bytes());
    }
    let crc = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    let write = || {
        let file = disk.open(&disk::index_path(folder, base), Mode::Create)?;
        file.set_len(0)?;
        file.write_all_at(&bytes, 0)
    };
    let _best_effort = write();
}
