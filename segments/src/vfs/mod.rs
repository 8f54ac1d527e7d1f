//! The file system as logs see it: one narrow port, so that a test can own what a power cut leaves.
//!
//! In:   paths. Out: files read and written by position, names of a folder, and what was made durable.
//! Owns: nothing of the format. [`RealDisk`] is the machine's; [`MemoryDisk`] holds everything in
//!       memory, and knows what is durable and what a power cut may still lose.
//!
//! V1  A written byte is durable once `sync` of its file returned; a name (made, renamed, removed) once
//!     `sync_folder` of its folder did. Nothing else makes anything durable.
//! V2  A path has one lock over all processes, given back when the guard goes.

mod memory;

use std::any::Any;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

pub use memory::MemoryDisk;

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Read,
    /// To read and write; the file is there.
    Write,
    /// To read and write; made where it is missing.
    Create,
    /// To read and write; refused where it is there.
    CreateNew,
}

/// An open file.
pub trait DiskFile: Send + Sync {
    /// Bytes read, 0 at the end.
    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<usize>;
    fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()>;
    fn set_len(&self, len: u64) -> io::Result<()>;
    fn len(&self) -> io::Result<u64>;
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Makes the file's bytes and length durable.
    fn sync(&self) -> io::Result<()>;
}

/// Keeps a lock while it lives.
pub type LockGuard = Box<dyn Any + Send + Sync>;

/// A file system.
pub trait Disk: Send + Sync {
    fn open(&self, path: &Path, mode: Mode) -> io::Result<Box<dyn DiskFile>>;
    /// Names in a folder, in no order.
    fn names(&self, folder: &Path) -> io::Result<Vec<String>>;
    fn is_folder(&self, path: &Path) -> bool;
    /// Makes one folder whose parent is there.
    fn create_folder(&self, path: &Path) -> io::Result<()>;
    fn remove(&self, path: &Path) -> io::Result<()>;
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
    /// None where somebody else holds it.
    fn lock(&self, path: &Path) -> io::Result<Option<LockGuard>>;
    /// Another after each power cut; empty where it is not known.
    fn boot(&self) -> String;

    /// The whole file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let file = self.open(path, Mode::Read)?;
        let mut bytes = vec![0; file.len()? as usize];
        let mut filled = 0;
        while filled < bytes.len() {
            match file.read_at(&mut bytes[filled..], filled as u64)? {
                0 => break,
                n => filled += n,
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }
}

/// The machine's file system.
#[derive(Debug, Default, Clone, Copy)]
pub struct RealDisk;

struct RealFile(File);

impl DiskFile for RealFile {
    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<usize> {
        self.0.read_at(into, at)
    }

    fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, at)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

impl Disk for RealDisk {
    fn open(&self, path: &Path, mode: Mode) -> io::Result<Box<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(mode != Mode::Read).truncate(false);
        options.create(mode == Mode::Create).create_new(mode == Mode::CreateNew);
        Ok(Box::new(RealFile(options.open(path)?)))
    }

    fn names(&self, folder: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            names.extend(entry?.file_name().into_string().ok());
        }
        Ok(names)
    }

    fn is_folder(&self, path: &Path) -> bool {
        path.is_dir()
    }

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        match std::fs::create_dir(path) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            done => done,
        }
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }

    fn lock(&self, path: &Path) -> io::Result<Option<LockGuard>> {
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(e)) => Err(e),
        }
    }

    fn boot(&self) -> String {
        static BOOT: std::sync::OnceLock<String> = std::sync::OnceLock::new();
        let read = || std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        BOOT.get_or_init(read).clone()
    }
}
