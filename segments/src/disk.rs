//! The few things done to the file system, each a named step that a test can make fail.
//!
//! Owns: names in the folder, the identity, the durable mark, and how an I/O error becomes ours. The
//! file system itself is behind `vfs`.
//!
//! The durable mark says how far the writer has synced, together with the boot in which it said so. In
//! the same boot it is exact, whatever process died (the page cache lives on). After another boot all
//! that can be read is durable, and the mark is a lower bound.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use weir_contract::{Code, Error, Place, Result};

use crate::vfs::{Disk, DiskFile, Mode, RealDisk};

/// A step at which the file system can refuse, or the process can die.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Write,
    Sync,
    Create,
    SyncFolder,
    Truncate,
    Unlink,
    Mark,
}

type Hook = Box<dyn FnMut(Step) -> io::Result<()> + Send>;

/// A disk, with a hook that is asked before each step; production never refuses.
pub(crate) struct Steps {
    pub disk: Arc<dyn Disk>,
    hook: Option<Hook>,
}

impl Default for Steps {
    fn default() -> Self {
        Self::over(Arc::new(RealDisk))
    }
}

impl Steps {
    pub fn over(disk: Arc<dyn Disk>) -> Self {
        Self { disk, hook: None }
    }

    #[cfg(test)]
    pub fn new(hook: Hook) -> Self {
        Self { hook: Some(hook), ..Self::default() }
    }

    fn ask(&mut self, step: Step) -> io::Result<()> {
        self.hook.as_mut().map_or(Ok(()), |hook| hook(step))
    }

    /// A refused write has still written half: that is what a full disk or a kill leaves.
    pub fn write(&mut self, file: &dyn DiskFile, bytes: &[u8], at: u64) -> io::Result<()> {
        if let Err(refused) = self.ask(Step::Write) {
            file.write_all_at(&bytes[..bytes.len() / 2], at)?;
            return Err(refused);
        }
        file.write_all_at(bytes, at)
    }

    pub fn sync(&mut self, file: &dyn DiskFile) -> io::Result<()> {
        self.ask(Step::Sync)?;
        file.sync()
    }

    pub fn create(&mut self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.ask(Step::Create)?;
        self.disk.open(path, Mode::CreateNew)
    }

    pub fn sync_folder(&mut self, folder: &Path) -> io::Result<()> {
        self.ask(Step::SyncFolder)?;
        self.disk.sync_folder(folder)
    }

    pub fn truncate(&mut self, file: &dyn DiskFile, len: u64) -> io::Result<()> {
        self.ask(Step::Truncate)?;
        file.set_len(len)
    }

    pub fn unlink(&mut self, path: &Path) -> io::Result<()> {
        self.ask(Step::Unlink)?;
        self.disk.remove(path)
    }

    pub fn mark(&mut self, file: &dyn DiskFile, durable: i64) -> io::Result<()> {
        self.ask(Step::Mark)?;
        file.write_all_at(&encode_mark(durable, &self.disk.boot()), 0)
    }

    /// Makes a folder that is missing, with the folders above it. A name is durable only when the folder
    /// above is synced; whether an earlier start got that far is not known before the identity is there.
    pub fn ensure_folder(&mut self, folder: &Path) -> io::Result<()> {
        let Some(parent) = folder.parent().filter(|p| !p.as_os_str().is_empty()) else {
            return if self.disk.is_folder(folder) { Ok(()) } else { self.disk.create_folder(folder) };
        };
        if !self.disk.is_folder(folder) {
            self.ensure_folder(parent)?;
            self.disk.create_folder(folder)?;
        } else if self.disk.open(&folder.join("identity"), Mode::Read).is_ok() {
            return Ok(());
        }
        self.sync_folder(parent)
    }
}

/// `W0505` where the disk is full, else `W0501`, at the path.
pub(crate) fn failed(path: &Path) -> impl FnOnce(io::Error) -> Error + '_ {
    move |error| Error::of_io(&error, path)
}

pub(crate) fn place(path: &Path) -> Place {
    Place::Path(path.display().to_string())
}

pub(crate) fn segment_path(folder: &Path, base: i64) -> PathBuf {
    folder.join(format!("{base:020}.seg"))
}

pub(crate) fn index_path(folder: &Path, base: i64) -> PathBuf {
    folder.join(format!("{base:020}.idx"))
}

/// First offsets of the segments, ascending.
pub(crate) fn segments(disk: &dyn Disk, folder: &Path) -> Result<Vec<i64>> {
    let names = disk.names(folder).map_err(failed(folder))?;
    let base = |name: &String| name.strip_suffix(".seg").and_then(|n| n.parse::<i64>().ok());
    let mut bases: Vec<i64> = names.iter().filter_map(base).filter(|b| *b >= 0).collect();
    bases.sort_unstable();
    Ok(bases)
}

const MARK_BYTES: usize = 64;

fn encode_mark(durable: i64, boot: &str) -> [u8; MARK_BYTES] {
    let mut mark = [0; MARK_BYTES];
    mark[..8].copy_from_slice(&durable.to_le_bytes());
    let boot = &boot.as_bytes()[..boot.len().min(MARK_BYTES - 12)];
    mark[8..8 + boot.len()].copy_from_slice(boot);
    let crc = crc32c::crc32c(&mark[..MARK_BYTES - 4]);
    mark[MARK_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
    mark
}

/// What the durable mark says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    /// Written in this boot: exactly this much is durable.
    Exact(i64),
    /// Written in another boot: at least this much.
    AtLeast(i64),
    /// None, or not readable.
    Unknown,
}

fn decode_mark(bytes: &[u8], boot: &str) -> Option<Mark> {
    let mark: &[u8; MARK_BYTES] = bytes.try_into().ok()?;
    let durable = i64::from_le_bytes(mark[..8].try_into().ok()?);
    if encode_mark(durable, boot) == *mark {
        return Some(Mark::Exact(durable));
    }
    let crc = crc32c::crc32c(&mark[..MARK_BYTES - 4]);
    (crc.to_le_bytes() == mark[MARK_BYTES - 4..]).then_some(Mark::AtLeast(durable))
}

pub(crate) fn mark_path(folder: &Path) -> PathBuf {
    folder.join("durable")
}

/// Reads the mark; one that is being written is read again, at most 20 ms long.
pub(crate) fn read_mark(disk: &dyn Disk, folder: &Path) -> Result<Mark> {
    let (path, boot) = (mark_path(folder), disk.boot());
    for _ in 0..20 {
        let bytes = match disk.read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Mark::Unknown),
            Err(e) => return Err(failed(&path)(e)),
        };
        match decode_mark(&bytes, &boot) {
            Some(mark) => return Ok(mark),
            None if bytes.len() == MARK_BYTES => std::thread::sleep(std::time::Duration::from_millis(1)),
            None => return Ok(Mark::Unknown),
        }
    }
    Ok(Mark::Unknown)
}

/// The folder's id: 32 hex digits by chance, made once by its first writer.
pub(crate) fn read_identity(disk: &dyn Disk, folder: &Path) -> Result<Option<String>> {
    let path = folder.join("identity");
    match disk.read(&path) {
        Ok(id) => match String::from_utf8(id) {
            Ok(id) if id.len() == 32 => Ok(Some(id)),
            id => Err(Error::new(
                Code::Damaged,
                format!("the identity has {} characters", id.unwrap_or_default().len()),
            )
            .expected("32")
            .at(place(&path))),
        },
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(failed(&path)(e)),
    }
}

/// Writes the identity where there is none; it is durable afterwards. Called under the lock.
pub(crate) fn ensure_identity(disk: &dyn Disk, folder: &Path) -> Result<String> {
    if let Some(id) = read_identity(disk, folder)? {
        return Ok(id);
    }
    new_identity(disk, folder)
}

/// Writes a new identity over whatever is there.
pub(crate) fn new_identity(disk: &dyn Disk, folder: &Path) -> Result<String> {
    let (draft, path) = (folder.join("identity.new"), folder.join("identity"));
    let write = || {
        let id = chance_id()?;
        let file = disk.open(&draft, Mode::Create)?;
        file.set_len(0)?;
        file.write_all_at(id.as_bytes(), 0)?;
        file.sync()?;
        disk.rename(&draft, &path)?;
        disk.sync_folder(folder)?;
        Ok(id)
    };
    write().map_err(failed(&path))
}

/// 32 hex digits by chance: an identity that no other log has.
pub fn chance_id() -> io::Result<String> {
    let mut chance = [0_u8; 16];
    File::open("/dev/urandom")?.read_exact(&mut chance)?;
    Ok(chance.iter().map(|b| format!("{b:02x}")).collect())
}
