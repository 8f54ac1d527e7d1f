//! The few things done to the file system, each a named step that a test can make fail.
//!
//! Owns: names in the folder, the identity, the durable mark, and how an I/O error becomes ours.
//!
//! The durable mark says how far the writer has synced, together with the boot in which it said so. In
//! the same boot it is exact, whatever process died (the page cache lives on). After another boot all
//! that can be read is durable, and the mark is a lower bound.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use weir_contract::{Code, Error, Place, Result};

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

/// Asked before each step; production never refuses.
#[derive(Default)]
pub(crate) struct Steps(Option<Hook>);

impl Steps {
    #[cfg(test)]
    pub fn new(hook: Hook) -> Self {
        Self(Some(hook))
    }

    fn ask(&mut self, step: Step) -> io::Result<()> {
        self.0.as_mut().map_or(Ok(()), |hook| hook(step))
    }

    /// A refused write has still written half: that is what a full disk or a kill leaves.
    pub fn write(&mut self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        if let Err(refused) = self.ask(Step::Write) {
            file.write_all_at(&bytes[..bytes.len() / 2], at)?;
            return Err(refused);
        }
        file.write_all_at(bytes, at)
    }

    pub fn sync(&mut self, file: &File) -> io::Result<()> {
        self.ask(Step::Sync)?;
        file.sync_data()
    }

    pub fn create(&mut self, path: &Path) -> io::Result<File> {
        self.ask(Step::Create)?;
        OpenOptions::new().read(true).write(true).create_new(true).open(path)
    }

    pub fn sync_folder(&mut self, folder: &Path) -> io::Result<()> {
        self.ask(Step::SyncFolder)?;
        File::open(folder)?.sync_all()
    }

    pub fn truncate(&mut self, file: &File, len: u64) -> io::Result<()> {
        self.ask(Step::Truncate)?;
        file.set_len(len)
    }

    pub fn unlink(&mut self, path: &Path) -> io::Result<()> {
        self.ask(Step::Unlink)?;
        std::fs::remove_file(path)
    }

    pub fn mark(&mut self, file: &File, durable: i64) -> io::Result<()> {
        self.ask(Step::Mark)?;
        file.write_all_at(&encode_mark(durable, boot()), 0)
    }
}

/// `W0505` where the disk is full, else `W0501`, at the path.
pub(crate) fn failed(path: &Path) -> impl FnOnce(io::Error) -> Error + '_ {
    move |error| {
        let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        let code = if full { Code::DiskFull } else { Code::Io };
        Error::new(code, error.to_string()).at(place(path))
    }
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
pub(crate) fn segments(folder: &Path) -> Result<Vec<i64>> {
    let mut bases = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed(folder))? {
        let name = entry.map_err(failed(folder))?.file_name();
        let base = name.to_str().and_then(|n| n.strip_suffix(".seg")).and_then(|n| n.parse::<i64>().ok());
        bases.extend(base.filter(|b| *b >= 0));
    }
    bases.sort_unstable();
    Ok(bases)
}

/// This boot of the machine; empty where the system does not say.
pub(crate) fn boot() -> &'static str {
    static BOOT: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    BOOT.get_or_init(|| std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default())
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

fn decode_mark(bytes: &[u8]) -> Option<Mark> {
    let mark: &[u8; MARK_BYTES] = bytes.try_into().ok()?;
    let durable = i64::from_le_bytes(mark[..8].try_into().ok()?);
    if encode_mark(durable, boot()) == *mark {
        return Some(Mark::Exact(durable));
    }
    let crc = crc32c::crc32c(&mark[..MARK_BYTES - 4]);
    (crc.to_le_bytes() == mark[MARK_BYTES - 4..]).then_some(Mark::AtLeast(durable))
}

pub(crate) fn mark_path(folder: &Path) -> PathBuf {
    folder.join("durable")
}

/// Reads the mark; one that is being written is read again, at most 20 ms long.
pub(crate) fn read_mark(folder: &Path) -> Result<Mark> {
    let path = mark_path(folder);
    for _ in 0..20 {
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Mark::Unknown),
            Err(e) => return Err(failed(&path)(e)),
        };
        match decode_mark(&bytes) {
            Some(mark) => return Ok(mark),
            None if bytes.len() == MARK_BYTES => std::thread::sleep(std::time::Duration::from_millis(1)),
            None => return Ok(Mark::Unknown),
        }
    }
    Ok(Mark::Unknown)
}

/// The folder's id: 32 hex digits by chance, made once by its first writer.
pub(crate) fn read_identity(folder: &Path) -> Result<Option<String>> {
    let path = folder.join("identity");
    match std::fs::read_to_string(&path) {
        Ok(id) if id.len() == 32 => Ok(Some(id)),
        Ok(id) => Err(Error::new(Code::Damaged, format!("the identity has {} characters", id.len()))
            .expected("32")
            .at(place(&path))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(failed(&path)(e)),
    }
}

/// Writes the identity where there is none; it is durable afterwards. Called under the lock.
pub(crate) fn ensure_identity(folder: &Path) -> Result<String> {
    if let Some(id) = read_identity(folder)? {
        return Ok(id);
    }
    let (draft, path) = (folder.join("identity.new"), folder.join("identity"));
    let write = || {
        let id = chance_id()?;
        let mut file = File::create(&draft)?;
        file.write_all(id.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&draft, &path)?;
        File::open(folder)?.sync_all()?;
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
