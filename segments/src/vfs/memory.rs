//! A file system in memory: the spool's last resort where the disk fails, and the world of crash tests.
//!
//! Owns: for each file and folder what is durable, and every change since. A power cut keeps any subset
//!       of those changes, in their order (writes cut at any byte), as a machine's caches do.
//!
//! M1  Without `remember`, nothing is kept beside the current state: it costs its contents once.
//!     A file without a name lives on while somebody has it open, as everywhere.
//! M2  After `power_cut` all files that were open are dead: their calls fail.
//! M3  A bad place (`bad_place`) fails each read that begins in it; one that begins before it ends there.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Disk, DiskFile, LockGuard, Mode};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entry {
    Folder,
    File(u64),
}

#[derive(Debug, Clone)]
enum Change {
    Write { at: u64, bytes: Vec<u8> },
    Length(u64),
}

#[derive(Debug, Clone)]
enum NameChange {
    Set(PathBuf, Entry),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf),
}

#[derive(Debug, Default)]
struct Inode {
    bytes: Vec<u8>,
    durable: Vec<u8>,
    changes: Vec<Change>,
    /// Handles.
    open: u32,
    /// Bytes that are not given.
    bad: Option<Range<u64>>,
}

#[derive(Debug, Default)]
struct World {
    names: BTreeMap<PathBuf, Entry>,
    durable_names: BTreeMap<PathBuf, Entry>,
    /// By folder, in order.
    name_changes: Vec<(PathBuf, NameChange)>,
    inodes: BTreeMap<u64, Inode>,
    next_inode: u64,
    locks: BTreeMap<PathBuf, u64>,
    boot: u64,
    remember: bool,
    capacity: Option<u64>,
    /// Steps (calls that change something) until the power goes.
    steps_left: Option<u64>,
    off: bool,
    steps: u64,
}

/// A file system in memory. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct MemoryDisk(Arc<Mutex<World>>);

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Length(len) => bytes.resize(*len as usize, 0),
        Change::Write { at, bytes: new } => {
            let end = *at as usize + new.len();
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[*at as usize..end].copy_from_slice(new);
        }
    }
}

fn rename(names: &mut BTreeMap<PathBuf, Entry>, change: &NameChange) {
    match change {
        NameChange::Set(path, entry) => {
            names.insert(path.clone(), *entry);
        }
        NameChange::Remove(path) => {
            names.remove(path);
        }
        NameChange::Rename(from, to) => {
            if let Some(entry) = names.remove(from) {
                names.insert(to.clone(), entry);
            }
        }
    }
}

fn gone() -> io::Error {
    io::Error::other("the power is off")
}

impl World {
    /// One step that changes something.
    fn step(&mut self) -> io::Result<()> {
        self.steps += 1;
        match &mut self.steps_left {
            Some(0) => {
                self.off = true;
                Err(gone())
            }
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn name(&mut self, change: NameChange) {
        rename(&mut self.names, &change);
        let path = match &change {
            NameChange::Set(path, _) | NameChange::Remove(path) | NameChange::Rename(path, _) => path,
        };
        if self.remember {
            let folder = path.parent().unwrap_or(Path::new("")).to_path_buf();
            self.name_changes.push((folder, change));
        } else {
            self.forget();
        }
    }

    /// Lets go of what nobody can read any more.
    fn forget(&mut self) {
        let named: Vec<u64> = self.names.values().filter_map(|e| e.file()).collect();
        self.inodes.retain(|number, inode| inode.open > 0 || named.contains(number));
    }

    fn used(&self) -> u64 {
        self.inodes.values().map(|i| i.bytes.len() as u64).sum()
    }
}

impl Entry {
    fn file(self) -> Option<u64> {
        match self {
            Entry::File(inode) => Some(inode),
            Entry::Folder => None,
        }
    }
}

impl MemoryDisk {
    /// Keeps everything that a power cut may lose.
    pub fn crashable() -> Self {
        let disk = Self::default();
        disk.world().remember = true;
        disk
    }

    fn world(&self) -> MutexGuard<'_, World> {
        // A panic elsewhere leaves the world whole: every change is one call.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes that all files together may have; a write beyond gets `StorageFull`.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.world().capacity = bytes;
    }

    /// The power goes after this many more steps; every later step fails.
    pub fn power_cut_after(&self, steps: u64) {
        self.world().steps_left = Some(steps);
    }

    /// Steps that changed something, since the beginning.
    pub fn steps(&self) -> u64 {
        self.world().steps
    }

    /// Takes the power away and gives it back: of the changes that were not synced a subset survives,
    /// as `chance(n)`, a number below n, decides.
    pub fn power_cut(&self, mut chance: impl FnMut(u64) -> u64) {
        let mut world = self.world();
        let world = &mut *world;
        world.boot += 1;
        world.steps_left = None;
        world.off = false;
        world.locks.clear();
        for inode in world.inodes.values_mut() {
            // Mostly, later writes are lost together; sometimes each by itself.
            let keep = chance(inode.changes.len() as u64 + 1) as usize;
            let by_itself = chance(3) == 0;
            for (n, change) in inode.changes.drain(..).enumerate() {
                let kept = if by_itself { chance(2) == 0 } else { n < keep };
                match change {
                    _ if !kept => {}
                    Change::Write { at, mut bytes } if chance(4) == 0 => {
                        bytes.truncate(chance(bytes.len() as u64 + 1) as usize);
                        apply(&mut inode.durable, &Change::Write { at, bytes });
                    }
                    change => apply(&mut inode.durable, &change),
                }
            }
            inode.bytes = inode.durable.clone();
            inode.open = 0;
        }
        let changes = std::mem::take(&mut world.name_changes);
        for (_, change) in changes {
            if chance(2) == 0 {
                rename(&mut world.durable_names, &change);
            }
        }
        // What lies in a folder that is not there is not there.
        let all = world.durable_names.clone();
        world.durable_names.retain(|path, _| {
            let folders = path.ancestors().skip(1).filter(|a| a.parent().is_some_and(|p| p != Path::new("")));
            folders.into_iter().all(|a| all.get(a) == Some(&Entry::Folder))
        });
        world.names = world.durable_names.clone();
        let named: Vec<u64> = world.names.values().filter_map(|e| e.file()).collect();
        // Renumbered, so that files opened before the cut find nothing.
        let mut renumbered = BTreeMap::new();
        for old in named {
            if let Some(inode) = world.inodes.remove(&old) {
                renumbered.insert(old, (world.next_inode, inode));
                world.next_inode += 1;
            }
        }
        let now = |entry: &mut Entry| {
            if let Entry::File(inode) = entry {
                *inode = renumbered.get(inode).map_or(u64::MAX, |(new, _)| *new);
            }
        };
        world.names.values_mut().for_each(now);
        world.durable_names.values_mut().for_each(now);
        world.inodes = renumbered.into_values().collect();
    }

    /// Another boot, with everything that is here durable.
    pub fn reboot(&self) {
        let mut world = self.world();
        world.boot += 1;
        world.locks.clear();
    }

    /// Changes the bytes of a file at rest, as a bad card does.
    pub fn damage(&self, path: &Path, work: impl FnOnce(&mut Vec<u8>)) {
        let mut world = self.world();
        if let Some(Entry::File(inode)) = world.names.get(path).copied()
            && let Some(inode) = world.inodes.get_mut(&inode)
        {
            work(&mut inode.bytes);
            inode.durable = inode.bytes.clone();
            inode.changes.clear();
        }
    }

    /// Makes bytes of a file unreadable, as a worn card does; none, to make it readable again.
    pub fn bad_place(&self, path: &Path, bytes: Option<Range<u64>>) {
        let mut world = self.world();
        if let Some(Entry::File(inode)) = world.names.get(path).copied()
            && let Some(inode) = world.inodes.get_mut(&inode)
        {
            inode.bad = bytes;
        }
    }

    /// All files.
    pub fn files(&self) -> Vec<PathBuf> {
        self.world().names.iter().filter(|(_, e)| e.file().is_some()).map(|(p, _)| p.clone()).collect()
    }
}

struct MemoryFile {
    disk: MemoryDisk,
    inode: u64,
}

impl MemoryFile {
    fn change(&self, change: Change) -> io::Result<()> {
        let mut world = self.disk.world();
        let world = &mut *world;
        let was_off = world.off;
        if let Err(off) = world.step() {
            // A write that the power cut meets may have got halfway.
            if let (Change::Write { at, bytes }, Some(inode)) = (change, world.inodes.get_mut(&self.inode))
                && !was_off
            {
                let half = bytes[..bytes.len() / 2].to_vec();
                inode.changes.push(Change::Write { at, bytes: half });
            }
            return Err(off);
        }
        let (used, remember) = (world.used(), world.remember);
        let inode = world.inodes.get_mut(&self.inode).ok_or_else(gone)?;
        if let (Some(capacity), Change::Write { at, bytes }) = (world.capacity, &change) {
            let more = (at + bytes.len() as u64).saturating_sub(inode.bytes.len() as u64);
            if used + more > capacity {
                return Err(io::ErrorKind::StorageFull.into());
            }
        }
        apply(&mut inode.bytes, &change);
        if remember {
            inode.changes.push(change);
        }
        Ok(())
    }
}

impl DiskFile for MemoryFile {
    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<usize> {
        let world = self.disk.world();
        let inode = world.inodes.get(&self.inode).ok_or_else(gone)?;
        let (bytes, bad) = (&inode.bytes, inode.bad.as_ref().filter(|bad| at < bad.end));
        if bad.is_some_and(|bad| bad.contains(&at)) {
            return Err(io::Error::other("the disk does not give these bytes"));
        }
        let from = (at as usize).min(bytes.len());
        let upto = bad.map_or(bytes.len(), |bad| bytes.len().min(bad.start as usize));
        let count = into.len().min(upto.saturating_sub(from));
        into[..count].copy_from_slice(&bytes[from..from + count]);
        Ok(count)
    }

    fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.change(Change::Write { at, bytes: bytes.to_vec() })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(Change::Length(len))
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.world().inodes.get(&self.inode).ok_or_else(gone)?.bytes.len() as u64)
    }

    fn sync(&self) -> io::Result<()> {
        let mut world = self.disk.world();
        world.step()?;
        let remember = world.remember;
        let inode = world.inodes.get_mut(&self.inode).ok_or_else(gone)?;
        if remember {
            for change in inode.changes.drain(..) {
                apply(&mut inode.durable, &change);
            }
        }
        Ok(())
    }
}

impl Drop for MemoryFile {
    fn drop(&mut self) {
        let mut world = self.disk.world();
        // A power cut has forgotten it.
        let Some(inode) = world.inodes.get_mut(&self.inode) else { return };
        inode.open = inode.open.saturating_sub(1);
        if inode.open == 0 && !world.remember {
            world.forget();
        }
    }
}

/// Gives a lock back, unless a power cut did.
struct Held {
    disk: MemoryDisk,
    path: PathBuf,
    boot: u64,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut world = self.disk.world();
        if world.locks.get(&self.path) == Some(&self.boot) {
            world.locks.remove(&self.path);
        }
    }
}

impl Disk for MemoryDisk {
    fn open(&self, path: &Path, mode: Mode) -> io::Result<Box<dyn DiskFile>> {
        let mut world = self.world();
        let inode = match world.names.get(path) {
            Some(Entry::File(_)) if mode == Mode::CreateNew => {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            Some(Entry::File(inode)) => *inode,
            Some(Entry::Folder) => return Err(io::ErrorKind::IsADirectory.into()),
            None if matches!(mode, Mode::Read | Mode::Write) => return Err(io::ErrorKind::NotFound.into()),
            None => {
                world.step()?;
                let inode = world.next_inode;
                world.next_inode += 1;
                world.inodes.insert(inode, Inode::default());
                world.name(NameChange::Set(path.into(), Entry::File(inode)));
                inode
            }
        };
        if let Some(inode) = world.inodes.get_mut(&inode) {
            inode.open += 1;
        }
        drop(world);
        Ok(Box::new(MemoryFile { disk: self.clone(), inode }))
    }

    fn names(&self, folder: &Path) -> io::Result<Vec<String>> {
        let world = self.world();
        let inside = world.names.keys().filter(|p| p.parent() == Some(folder));
        Ok(inside.filter_map(|p| Some(p.file_name()?.to_str()?.to_owned())).collect())
    }

    fn is_folder(&self, path: &Path) -> bool {
        path.parent().is_none_or(|p| p == Path::new(""))
            || self.world().names.get(path) == Some(&Entry::Folder)
    }

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world();
        if !world.names.contains_key(path) {
            world.step()?;
            world.name(NameChange::Set(path.into(), Entry::Folder));
        }
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world();
        if world.names.get(path).is_none_or(|e| e.file().is_none()) {
            return Err(io::ErrorKind::NotFound.into());
        }
        world.step()?;
        world.name(NameChange::Remove(path.into()));
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.world();
        if !world.names.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        world.step()?;
        world.name(NameChange::Rename(from.into(), to.into()));
        Ok(())
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        let mut world = self.world();
        world.step()?;
        let world = &mut *world;
        let changes = std::mem::take(&mut world.name_changes);
        for (of, change) in changes {
            if of == folder {
                rename(&mut world.durable_names, &change);
            } else {
                world.name_changes.push((of, change));
            }
        }
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Option<LockGuard>> {
        let mut world = self.world();
        if world.locks.contains_key(path) {
            return Ok(None);
        }
        let boot = world.boot;
        world.locks.insert(path.into(), boot);
        Ok(Some(Box::new(Held { disk: self.clone(), path: path.into(), boot })))
    }

    fn boot(&self) -> String {
        format!("memory-{}", self.world().boot)
    }
}
