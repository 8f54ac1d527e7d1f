//! Reads segment files frame by frame, and finds out where a log really ends.
//!
//! Owns: the difference between a torn tail (cut) and damage (`W0502`). A bad frame is damage where
//! the durable mark, or a sound frame behind it, says that it was synced once.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use weir_contract::{Code, Error, Result};

use crate::disk::{self, Mark as Durable};
use crate::frame::{self, HEAD_BYTES, Head};
use crate::vfs::{Disk, DiskFile, Mode};

/// Bytes read at once, so that small frames cost no call each. Eyeballed.
const WINDOW_BYTES: usize = 256 << 10;
/// Distance of two entries of a sparse index. Eyeballed: a seek reads at most this much.
pub(crate) const INDEX_BYTES: u64 = 256 << 10;

/// A segment file and a window of its bytes.
pub(crate) struct FrameFile {
    file: Box<dyn DiskFile>,
    pub path: PathBuf,
    /// Never shrinks; its first `filled` bytes are those of the file from `window_at`.
    window: Vec<u8>,
    filled: usize,
    window_at: u64,
    /// The frame whose CRC was found good while this window was held.
    sound_at: Option<u64>,
}

impl FrameFile {
    pub fn open(disk: &dyn Disk, folder: &Path, base: i64) -> std::io::Result<Self> {
        let path = disk::segment_path(folder, base);
        let file = disk.open(&path, Mode::Read)?;
        Ok(Self { file, path, window: Vec::new(), filled: 0, window_at: 0, sound_at: None })
    }

    pub fn len(&self) -> Result<u64> {
        self.file.len().map_err(disk::failed(&self.path))
    }

    /// Forgets bytes that may have changed: those above what was durable when they were read.
    pub fn forget(&mut self) {
        self.filled = 0;
        self.sound_at = None;
    }

    /// The bytes from `at`, `wanted` of them; fewer where the file ends.
    pub fn bytes(&mut self, at: u64, wanted: usize) -> Result<&[u8]> {
        let window_end = self.window_at + self.filled as u64;
        if at < self.window_at || at + wanted as u64 > window_end {
            self.forget();
            if self.window.len() < wanted.max(WINDOW_BYTES) {
                self.window = vec![0; wanted.max(WINDOW_BYTES)];
            }
            self.window_at = at;
            let mut filled = 0;
            while filled < self.window.len() {
                match self.file.read_at(&mut self.window[filled..], at + filled as u64) {
                    Ok(0) => break,
                    Ok(n) => filled += n,
                    Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                    // A bad place behind what is asked for is met when that is asked for.
                    Err(_) if filled >= wanted => break,
                    Err(e) => return Err(disk::failed(&self.path)(e)),
                }
            }
            self.filled = filled;
        }
        let from = (at - self.window_at) as usize;
        Ok(&self.window[from..self.filled.min(from + wanted)])
    }

    pub fn head(&mut self, at: u64) -> Result<Option<Head>> {
        Ok(frame::parse_head(self.bytes(at, HEAD_BYTES)?))
    }

    /// The sound frame at `at` that begins with offset `base`, or None.
    pub fn frame(&mut self, at: u64, base: i64) -> Result<Option<(Head, &[u8])>> {
        let Some(head) = self.head(at)?.filter(|h| h.base == base) else { return Ok(None) };
        self.bytes(at, head.frame_bytes())?;
        if self.sound_at != Some(at) {
            if !frame::is_sound(&head, self.bytes(at, head.frame_bytes())?) {
                return Ok(None);
            }
            self.sound_at = Some(at);
        }
        // All of it is in the window now.
        let bytes = self.bytes(at, head.frame_bytes())?;
        Ok(Some((head, bytes)))
    }
}

/// What a scan of a whole segment found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Scan {
    /// Length of the sound front.
    pub bytes: u64,
    /// Offset after it.
    pub next: i64,
    pub last_append_ms: Option<i64>,
    pub index: Vec<(i64, u64)>,
    pub file_bytes: u64,
    /// The highest offset that a sound frame behind the front says was durable.
    pub synced_behind: Option<i64>,
    /// The offset after the highest record of those frames.
    pub next_behind: Option<i64>,
}

/// Reads the sound front of a segment, at most to the offset `until`.
pub(crate) fn scan(file: &mut FrameFile, base: i64, until: i64) -> Result<Scan> {
    let mut found = Scan { next: base, file_bytes: file.len()?, ..Scan::default() };
    while found.next < until {
        let Some((head, bytes)) = file.frame(found.bytes, found.next)? else { break };
        found.last_append_ms = last_append_ms(&bytes[HEAD_BYTES..]).or(found.last_append_ms);
        note(&mut found.index, found.next, found.bytes);
        found.next = head.next();
        found.bytes += head.frame_bytes() as u64;
    }
    if found.next < until && found.bytes < found.file_bytes {
        let (mut at, mut next) = (found.bytes + 1, found.next);
        while let Some((where_, head)) = next_sound(file, at, next)? {
            found.synced_behind = found.synced_behind.max(Some(head.synced));
            found.next_behind = found.next_behind.max(Some(head.next()));
            (at, next) = (where_ + head.frame_bytes() as u64, head.next());
        }
    }
    Ok(found)
}

/// Adds a frame to a sparse index.
pub(crate) fn note(index: &mut Vec<(i64, u64)>, base: i64, at: u64) {
    if index.last().is_none_or(|(_, last)| at >= last + INDEX_BYTES) {
        index.push((base, at));
    }
}

fn last_append_ms(body: &[u8]) -> Option<i64> {
    let (mut at, mut last) = (0, None);
    while at < body.len() {
        let record = frame::parse_record(body, at)?;
        last = Some(record.append_ms);
        at = record.next;
    }
    last
}

/// The first sound frame at or after `at` whose records have offsets of `from` or more.
pub(crate) fn next_sound(file: &mut FrameFile, mut at: u64, from: i64) -> Result<Option<(u64, Head)>> {
    let file_bytes = file.len()?;
    while at < file_bytes {
        let (offset, bytes_here) = {
            let bytes = file.bytes(at, WINDOW_BYTES)?;
            (frame::find_magic(bytes, 0), bytes.len())
        };
        let Some(offset) = offset else {
            // Magic may lie across two windows.
            at += bytes_here.saturating_sub(3).max(1) as u64;
            continue;
        };
        at += offset as u64;
        if let Some(head) = file.head(at)?
            && head.base >= from
            && file.frame(at, head.base)?.is_some()
        {
            return Ok(Some((at, head)));
        }
        at += 1;
    }
    Ok(None)
}

/// How the last segment ends: sound, cut or damaged.
///
/// # Errors
/// `W0502` where frames are bad that were durable once.
pub(crate) fn scan_last(disk: &dyn Disk, folder: &Path, base: i64, mark: Durable) -> Result<Scan> {
    let path = disk::segment_path(folder, base);
    let (found, durable) = scan_any(disk, folder, base, mark)?;
    if found.next < durable {
        return Err(damaged(&path, found.bytes, found.next)
            .expected(format!("sound records up to offset {durable}, which was durable")));
    }
    Ok(found)
}

/// The same, with how much was durable beside it: damage is for the caller to judge.
pub(crate) fn scan_any(disk: &dyn Disk, folder: &Path, base: i64, mark: Durable) -> Result<(Scan, i64)> {
    let path = disk::segment_path(folder, base);
    let mut file = FrameFile::open(disk, folder, base).map_err(disk::failed(&path))?;
    let (until, at_least) = match mark {
        Durable::Exact(durable) => (durable, durable),
        Durable::AtLeast(durable) => (i64::MAX, durable),
        Durable::Unknown => (i64::MAX, base),
    };
    let found = scan(&mut file, base, until)?;
    let durable = at_least.max(found.synced_behind.unwrap_or(base));
    Ok((found, durable))
}

pub(crate) fn damaged(path: &Path, at: u64, offset: i64) -> Error {
    Error::new(Code::Damaged, format!("bad bytes at {at}, where offset {offset} begins"))
        .at(disk::place(path))
}

/// Asks up to which offset a folder can be read. Cheap again and again: where only a scan of the last
/// file can tell, the answer holds until that file changes.
pub(crate) struct EndFinder {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    /// Last file, its length, and the end that was found.
    scanned: Option<(i64, u64, i64)>,
}

impl EndFinder {
    pub fn new(disk: Arc<dyn Disk>, folder: &Path) -> Self {
        Self { disk, folder: folder.into(), scanned: None }
    }

    pub fn find(&mut self) -> Result<i64> {
        let disk = &*self.disk;
        let mark = disk::read_mark(disk, &self.folder)?;
        if let Durable::Exact(durable) = mark {
            return Ok(durable);
        }
        let Some(base) = disk::segments(disk, &self.folder)?.last().copied() else { return Ok(0) };
        let path = disk::segment_path(&self.folder, base);
        let length = || disk.open(&path, Mode::Read)?.len();
        let bytes = length().map_err(disk::failed(&path))?;
        if let Some((known, length, end)) = self.scanned
            && (known, length) == (base, bytes)
        {
            return Ok(end);
        }
        let end = scan_last(disk, &self.folder, base, mark)?.next;
        self.scanned = Some((base, bytes, end));
        Ok(end)
    }
}
