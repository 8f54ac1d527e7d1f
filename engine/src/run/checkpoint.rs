//! Checkpoints: one cut of a program in a local folder.
//!
//! A checkpoint is a state file and a manifest. Both are written to a temporary name, synced and
//! renamed; the manifest last, with length and CRC32C of the state, so a torn write is never read.
//! The newest three are kept, and an older one is used where a newer is damaged.
//!
//! K1  No manifest is published before the events ahead of its cut are committed (caller).
//! K2  A file is deleted only after a newer manifest is durable.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use weir_contract::{Code, Error, Place, Result};

use super::world::World;
use crate::sink::SinkEnds;

/// Format of the files; a newer one is refused.
const VERSION: u32 = 1;
/// Manifests kept.
const KEEP: usize = 3;

/// What a manifest says. Sink ends are by instance and output.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Manifest {
    pub version: u32,
    pub number: u64,
    pub program: String,
    /// Version of the program's plan: a checkpoint of another plan does not fit.
    pub plan: String,
    pub tasks: usize,
    pub shards: usize,
    /// Identity of each source's log.
    pub identities: BTreeMap<String, String>,
    pub sink_ends: Vec<BTreeMap<String, SinkEnds>>,
    pub state_bytes: u64,
    pub state_crc32c: u32,
}

impl Manifest {
    /// Where the state and the ends of an instance are; None for a task that joined since. Tasks keep their
    /// number, and the shards come behind the last of them.
    pub(super) fn at(&self, instance: usize, world: &World) -> Option<usize> {
        match instance.checked_sub(world.graph.tasks) {
            Some(shard) => Some(self.tasks + shard),
            None => (instance < self.tasks).then_some(instance),
        }
    }
}

/// The checkpoint folder of one program.
pub struct Store {
    dir: PathBuf,
    next: u64,
}

fn io(path: &Path) -> impl Fn(std::io::Error) -> Error + '_ {
    move |e| Error::of_io(&e, path)
}

impl Store {
    pub fn open(dir: PathBuf) -> Result<Self> {
        fs::create_dir_all(&dir).map_err(io(&dir))?;
        let mut store = Self { dir, next: 1 };
        if let Some(last) = store.numbers()?.last() {
            store.next = last + 1;
        }
        Ok(store)
    }

    fn numbers(&self) -> Result<Vec<u64>> {
        let mut numbers: Vec<u64> = fs::read_dir(&self.dir)
            .map_err(io(&self.dir))?
            .filter_map(|entry| {
                entry.ok()?.file_name().to_str()?.strip_suffix(".manifest.json")?.parse().ok()
            })
            .collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn path(&self, number: u64, suffix: &str) -> PathBuf {
        self.dir.join(format!("{number:010}.{suffix}"))
    }

    fn publish(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let temporary = path.with_extension("tmp");
        let written = (|| {
            let mut file = File::create(&temporary)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&temporary, path)?;
            File::open(&self.dir)?.sync_all()
        })();
        if written.is_err() {
            // Frees the space of what could not be published; the old checkpoints stay.
            let _ = fs::remove_file(&temporary);
        }
        written.map_err(io(path))
    }

    /// Publishes a checkpoint; on error the older ones stay as they were.
    pub fn save(&mut self, mut manifest: Manifest, state: &[u8]) -> Result<u64> {
        let number = self.next;
        manifest.number = number;
        manifest.version = VERSION;
        manifest.state_bytes = state.len() as u64;
        manifest.state_crc32c = crc32c::crc32c(state);
        self.publish(&self.path(number, "state"), state)?;
        let text =
            serde_json::to_vec_pretty(&manifest).map_err(|e| Error::new(Code::Internal, e.to_string()))?;
        self.publish(&self.path(number, "manifest.json"), &text)?;
        self.next += 1;
        let numbers = self.numbers()?;
        for old in numbers.iter().take(numbers.len().saturating_sub(KEEP)) {
            let _ = fs::remove_file(self.path(*old, "manifest.json"));
            let _ = fs::remove_file(self.path(*old, "state"));
        }
        Ok(number)
    }

    /// The newest whole checkpoint, and what was wrong with newer ones. `W0504` where manifests
    /// exist but none is whole; None where there never was one.
    pub fn load(&self) -> Result<Option<(Manifest, Vec<u8>, Vec<Error>)>> {
        let mut damaged = Vec::new();
        for number in self.numbers()?.into_iter().rev() {
            match self.read(number) {
                Ok((manifest, state)) => return Ok(Some((manifest, state, damaged))),
                Err(error) => damaged.push(error),
            }
        }
        match damaged.pop() {
            None => Ok(None),
            Some(last) => Err(Error::new(
                Code::NoCheckpoint,
                format!("no checkpoint is whole; the oldest: {}", last.what()),
            )
            .at(Place::Path(self.dir.display().to_string()))),
        }
    }

    fn read(&self, number: u64) -> Result<(Manifest, Vec<u8>)> {
        let path = self.path(number, "manifest.json");
        let place = || Place::Path(path.display().to_string());
        let text = fs::read(&path).map_err(io(&path))?;
        let manifest: Manifest = serde_json::from_slice(&text)
            .map_err(|e| Error::new(Code::Damaged, e.to_string()).at(place()))?;
        if manifest.version > VERSION {
            return Err(Error::new(Code::Damaged, format!("the checkpoint has format {}", manifest.version))
                .expected(format!("at most {VERSION}: it was written by a newer weir"))
                .at(place()));
        }
        let state_path = self.path(number, "state");
        let state = fs::read(&state_path).map_err(io(&state_path))?;
        if state.len() as u64 != manifest.state_bytes || crc32c::crc32c(&state) != manifest.state_crc32c {
            return Err(Error::new(Code::Damaged, "the checkpoint's state fails its checksum")
                .at(Place::Path(state_path.display().to_string())));
        }
        Ok((manifest, state))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        Manifest {
            version: 0,
            number: 0,
            program: "p".into(),
            plan: "v".into(),
            tasks: 1,
            shards: 1,
            identities: BTreeMap::new(),
            sink_ends: vec![],
            state_bytes: 0,
            state_crc32c: 0,
        }
    }

    #[test]
    fn the_newest_whole_checkpoint_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path().to_owned()).unwrap();
        assert!(store.load().unwrap().is_none());
        for n in 0..5u8 {
            store.save(manifest(), &[n; 1000]).unwrap();
        }
        assert_eq!(store.numbers().unwrap(), [3, 4, 5], "three are kept");
        let (newest, state, damaged) = store.load().unwrap().unwrap();
        assert_eq!((newest.number, state[0], damaged.len()), (5, 4, 0));
    }

    #[test]
    fn damage_falls_back_and_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path().to_owned()).unwrap();
        store.save(manifest(), &[1; 1000]).unwrap();
        store.save(manifest(), &[2; 1000]).unwrap();
        let newest = store.path(2, "state");
        let whole = fs::read(&newest).unwrap();
        for cut in (0..1000).step_by(97) {
            fs::write(&newest, &whole[..cut]).unwrap();
            let (found, state, damaged) = store.load().unwrap().unwrap();
            assert_eq!((found.number, state[0], damaged.len()), (1, 1, 1));
        }
        for bit in (0..8000).step_by(501) {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            fs::write(&newest, &flipped).unwrap();
            assert_eq!(store.load().unwrap().unwrap().0.number, 1, "bit {bit}");
        }
        fs::remove_file(store.path(1, "state")).unwrap();
        assert_eq!(store.load().unwrap_err().code(), Code::NoCheckpoint);
    }
}
