//! Reads a folder forward, also while its writer runs, in this process or another.
//!
//! In:   an offset to start from.
//! Out:  batches up to what the writer has synced.
//!
//! R1  Offsets ascend by one; what cannot be given is an error, never a gap.
//! R2  Bytes above the visible end are never interpreted.
//! R3  Damage is passed over only by a call that says so, and gives the offsets that are lost.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use weir_contract::{Code, Error, Result};

use crate::batch::Batch;
use crate::disk;
use crate::frame::{self, HEAD_BYTES};
use crate::recover::{self, EndFinder, FrameFile, damaged};
use crate::vfs::{Disk, RealDisk};

/// Batches stay below this, so that 32-bit offsets into their columns suffice.
const BATCH_BYTES_MAX: usize = 1 << 30;

/// A position in a log.
pub struct Reader {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    file: FrameFile,
    /// Where the frame of `position` begins, or will begin.
    frame_at: u64,
    /// First offset of that frame.
    frame_base: i64,
    /// Where the record of `position` begins in the frame's body.
    record_at: usize,
    position: i64,
    end: i64,
    ends: EndFinder,
}

impl Reader {
    /// Opens a log that a writer has made, at `from`.
    ///
    /// # Errors
    /// `W0404` where there is no log; `W0403` below its start; `W0406` above its end.
    pub fn open(folder: &Path, from: i64) -> Result<Self> {
        Self::open_on(Arc::new(RealDisk), folder, from)
    }

    /// The same on another disk.
    pub fn open_on(disk: Arc<dyn Disk>, folder: &Path, from: i64) -> Result<Self> {
        let mut reader = Self::at_file(disk, folder, from)?;
        reader.seek(reader.frame_base)?;
        Ok(reader)
    }

    /// Opens at `from` or, where that is damaged, at the first sound record behind. Gives the offsets
    /// from `from` on that were passed over.
    pub fn open_past_damage(
        disk: Arc<dyn Disk>,
        folder: &Path,
        from: i64,
    ) -> Result<(Self, Vec<Range<i64>>)> {
        let mut reader = Self::at_file(disk, folder, from)?;
        reader.position = reader.frame_base;
        let mut lost = Vec::new();
        while reader.position < from {
            match reader.step_towards(from) {
                Ok(()) => {}
                Err(e) if e.code() == Code::Damaged => {
                    let passed = reader.skip_damage()?;
                    lost.push(passed.start.max(from)..passed.end);
                }
                Err(e) => return Err(e),
            }
        }
        lost.retain(|range| !range.is_empty());
        Ok((reader, lost))
    }

    /// Opens at the first file behind `from` that opens: for a disk that does not give the bytes of the one
    /// that `from` is in. Gives the offsets that were passed over.
    ///
    /// # Errors
    /// `W0501` where there is no such file.
    pub fn open_past_file(disk: Arc<dyn Disk>, folder: &Path, from: i64) -> Result<(Self, Range<i64>)> {
        let mut refused = None;
        for base in disk::segments(&*disk, folder)?.into_iter().filter(|base| *base > from) {
            match Self::at_file(disk.clone(), folder, base) {
                Ok(reader) => return Ok((reader, from..base)),
                Err(e) => refused = refused.or(Some(e)),
            }
        }
        let none =
            || Error::new(Code::Io, format!("no file is behind offset {from}")).at(disk::place(folder));
        Err(refused.unwrap_or_else(none))
    }

    /// A reader at the front of the file that `from` is in.
    fn at_file(disk: Arc<dyn Disk>, folder: &Path, from: i64) -> Result<Self> {
        let bases = disk::segments(&*disk, folder)?;
        let Some(start) = bases.first() else {
            return Err(Error::new(Code::NoTopic, "no log is here").at(disk::place(folder)));
        };
        if from < *start {
            return Err(trimmed(folder, from, *start));
        }
        let mut ends = EndFinder::new(disk.clone(), folder);
        let end = ends.find()?;
        if from > end {
            let what = format!("offset {from} is above the end, {end}");
            return Err(Error::new(Code::Recreated, what).at(disk::place(folder)));
        }
        let base = bases[bases.partition_point(|b| *b <= from) - 1];
        let file = match FrameFile::open(&*disk, folder, base) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(trimmed(folder, from, base + 1)),
            Err(e) => return Err(disk::failed(&disk::segment_path(folder, base))(e)),
        };
        let (folder, position) = (folder.to_path_buf(), from);
        Ok(Self { disk, folder, file, frame_at: 0, frame_base: base, record_at: 0, position, end, ends })
    }

    /// Moves a frame on, or into it where `from` lies in it.
    fn step_towards(&mut self, from: i64) -> Result<()> {
        let Some((head, bytes)) = self.file.frame(self.frame_at, self.frame_base)? else {
            return self.next_file().map(|_| ());
        };
        if head.next() <= from {
            (self.frame_at, self.frame_base) = (self.frame_at + head.frame_bytes() as u64, head.next());
            (self.position, self.record_at) = (head.next(), 0);
            return Ok(());
        }
        while self.position < from {
            let Some(record) = frame::parse_record(&bytes[HEAD_BYTES..], self.record_at) else {
                return Err(damaged(&self.file.path, self.frame_at, self.position));
            };
            (self.record_at, self.position) = (record.next, self.position + 1);
        }
        Ok(())
    }

    /// After `W0502`: goes on at the next sound frame, in this file or a later one. Gives the offsets
    /// that are lost.
    pub fn skip_damage(&mut self) -> Result<Range<i64>> {
        let from = self.position;
        self.file.forget();
        if let Some((at, head)) = recover::next_sound(&mut self.file, self.frame_at + 1, from)? {
            (self.frame_at, self.frame_base, self.record_at, self.position) = (at, head.base, 0, head.base);
            return Ok(from..head.base);
        }
        let bases = disk::segments(&*self.disk, &self.folder)?;
        let next = bases.into_iter().find(|base| *base > self.frame_base.max(from - 1));
        let Some(next) = next else {
            self.position = self.ends.find()?.max(from);
            self.frame_base = self.position;
            self.frame_at = self.file.len()?;
            return Ok(from..self.position);
        };
        self.file = FrameFile::open(&*self.disk, &self.folder, next).map_err(disk::failed(&self.folder))?;
        (self.frame_at, self.frame_base, self.record_at, self.position) = (0, next, 0, next);
        Ok(from..next)
    }

    /// The lowest offset that is still there, now.
    pub fn start(&self) -> Result<i64> {
        start(&*self.disk, &self.folder)
    }

    /// The offset after the last visible record, now.
    pub fn end(&mut self) -> Result<i64> {
        self.ends.find()
    }

    /// Offset of the next record.
    pub fn position(&self) -> i64 {
        self.position
    }

    /// The end as `next_batch` last saw it: no record below it was left out by it.
    pub fn known_end(&self) -> i64 {
        self.end
    }

    /// The next records: at most `rows` and about `bytes` of keys, values and headers, but at least
    /// one. None where nothing more is visible now.
    ///
    /// # Errors
    /// `W0403` where retention overtook the reader, `W0502` where bytes are bad.
    pub fn next_batch(&mut self, rows: usize, bytes: usize) -> Result<Option<Batch>> {
        if self.position >= self.end {
            let end = self.ends.find()?;
            if end < self.position {
                let what = format!("the log ends at {end}, below offset {}", self.position);
                return Err(Error::new(Code::Recreated, what).at(disk::place(&self.folder)));
            }
            if end > self.end {
                self.file.forget();
                self.end = end;
            }
            if self.position == end {
                return Ok(None);
            }
        }
        let mut batch = Batch { first: self.position, ..Batch::default() };
        let (mut taken, limit) = (0, bytes.min(BATCH_BYTES_MAX));
        while self.position < self.end {
            match self.take_frame(&mut batch, &mut taken, rows, limit) {
                Ok(true) => {}
                Ok(false) => break,
                // What was taken before it is sound; the next call meets it again.
                Err(_) if !batch.is_empty() => break,
                Err(e) => return Err(e),
            }
        }
        Ok(Some(batch))
    }

    /// Takes records of the current frame; false once the batch is full.
    fn take_frame(
        &mut self,
        batch: &mut Batch,
        taken: &mut usize,
        rows: usize,
        limit: usize,
    ) -> Result<bool> {
        if self.file.frame(self.frame_at, self.frame_base)?.is_none() {
            return self.next_file();
        }
        let Some((head, bytes)) = self.file.frame(self.frame_at, self.frame_base)? else {
            return self.next_file();
        };
        let (body, next) = (&bytes[HEAD_BYTES..], head.next());
        let frame_bytes = head.frame_bytes() as u64;
        let mut sound = true;
        while self.position < next {
            let Some(record) = frame::parse_record(body, self.record_at) else {
                sound = false;
                break;
            };
            if !batch.is_empty() && (batch.len() >= rows || *taken + record.bytes() > limit) {
                return Ok(false);
            }
            if record.push_to(batch).is_none() {
                sound = false;
                break;
            }
            *taken += record.bytes();
            self.record_at = record.next;
            self.position += 1;
        }
        if !sound {
            return Err(damaged(&self.file.path, self.frame_at, self.position));
        }
        (self.frame_at, self.frame_base, self.record_at) = (self.frame_at + frame_bytes, next, 0);
        Ok(true)
    }

    /// Goes on in the file that begins with the current position, if this one is at its end.
    fn next_file(&mut self) -> Result<bool> {
        if self.frame_at < self.file.len()? || self.frame_base != self.position {
            return Err(damaged(&self.file.path, self.frame_at, self.position));
        }
        match FrameFile::open(&*self.disk, &self.folder, self.position) {
            Ok(file) if file.path != self.file.path => {
                (self.file, self.frame_at) = (file, 0);
                Ok(true)
            }
            Ok(_) => Err(damaged(&self.file.path, self.frame_at, self.position)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => match start(&*self.disk, &self.folder)? {
                start if start > self.position => Err(trimmed(&self.folder, self.position, start)),
                _ => Err(damaged(&self.file.path, self.frame_at, self.position)),
            },
            Err(e) => Err(disk::failed(&self.folder)(e)),
        }
    }

    /// Finds the frame and record of `position` in the file that begins with `base`.
    fn seek(&mut self, base: i64) -> Result<()> {
        let known = read_index(&*self.disk, &self.folder, base);
        let entry = known.partition_point(|(offset, _)| *offset <= self.position).checked_sub(1);
        (self.frame_base, self.frame_at) = entry.map_or((base, 0), |i| known[i]);
        while self.frame_base < self.position {
            let head = self.file.head(self.frame_at)?.filter(|h| h.base == self.frame_base);
            let head = head.ok_or_else(|| damaged(&self.file.path, self.frame_at, self.frame_base))?;
            if head.next() > self.position {
                break;
            }
            (self.frame_base, self.frame_at) = (head.next(), self.frame_at + head.frame_bytes() as u64);
        }
        if self.frame_base == self.position {
            return Ok(());
        }
        let (at, base) = (self.frame_at, self.frame_base);
        let bad = damaged(&self.file.path, at, base);
        let Some((_, bytes)) = self.file.frame(at, base)? else { return Err(bad) };
        let mut record_at = 0;
        for _ in base..self.position {
            let Some(record) = frame::parse_record(&bytes[HEAD_BYTES..], record_at) else { return Err(bad) };
            record_at = record.next;
        }
        self.record_at = record_at;
        Ok(())
    }

    /// Identity of the folder's log.
    pub fn identity(folder: &Path) -> Result<String> {
        disk::read_identity(&RealDisk, folder)?
            .ok_or_else(|| Error::new(Code::NoTopic, "no log is here").at(disk::place(folder)))
    }

    /// Start and visible end of a folder's log, without reading its records where the mark
    /// is of this boot.
    pub fn bounds(folder: &Path) -> Result<(i64, i64)> {
        Ok((start(&RealDisk, folder)?, EndFinder::new(Arc::new(RealDisk), folder).find()?))
    }
}

fn start(disk: &dyn Disk, folder: &Path) -> Result<i64> {
    let bases = disk::segments(disk, folder)?;
    bases.first().copied().ok_or_else(|| Error::new(Code::NoTopic, "no log is here").at(disk::place(folder)))
}

fn trimmed(folder: &Path, from: i64, start: i64) -> Error {
    Error::new(Code::Retention, format!("offset {from} was deleted; the log starts at {start}"))
        .at(disk::place(folder))
}

/// The sparse index of a sealed file; empty where it is missing or torn.
fn read_index(disk: &dyn Disk, folder: &Path, base: i64) -> Vec<(i64, u64)> {
    let Ok(bytes) = disk.read(&disk::index_path(folder, base)) else { return Vec::new() };
    let Some((entries, crc)) = bytes.split_last_chunk::<4>() else { return Vec::new() };
    if crc32c::crc32c(entries).to_le_bytes() != *crc || entries.len() % 16 != 0 {
        return Vec::new();
    }
    let number = |b: &[u8]| b.try_into().map(u64::from_le_bytes).unwrap_or(0);
    entries.chunks_exact(16).map(|e| (number(&e[..8]).cast_signed(), number(&e[8..]))).collect()
}
