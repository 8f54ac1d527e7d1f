//! The locked writers of this process, shared by all its sinks and control logs.
//!
//! W1  A partition is locked while anybody in the process holds its writer.
//! W2  An append is synced before the writer's lock is given back: nobody syncs another's records.
//! W3  A writer that died is opened again, which cuts what it had not synced.
//! W4  A sink that was fenced by a newer one of the same name appends nothing after that one opened.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use weir_contract::{Code, Error, Place, Result};
use weir_segments::{Writer, WriterOptions};

#[derive(Default)]
pub(super) struct Writers {
    open: Mutex<BTreeMap<PathBuf, Weak<SharedWriter>>>,
    /// Newest epoch by topic folder and writer's name.
    epochs: Mutex<BTreeMap<(PathBuf, String), u64>>,
}

/// A partition's writer.
pub(super) struct SharedWriter {
    folder: PathBuf,
    options: WriterOptions,
    writer: Mutex<Option<Writer>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whoever panicked with a writer left it dead or whole: it has no state between.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Writers {
    /// The partition's writer; opened, and so locked, where nobody here has it.
    ///
    /// # Errors
    /// `W0503` while another process writes.
    pub fn get(&self, folder: &Path, options: WriterOptions) -> Result<Arc<SharedWriter>> {
        let mut open = lock(&self.open);
        open.retain(|_, writer| writer.strong_count() > 0);
        if let Some(writer) = open.get(folder).and_then(Weak::upgrade) {
            return Ok(writer);
        }
        let writer = Mutex::new(Some(Writer::open(folder, options)?));
        let shared = Arc::new(SharedWriter { folder: folder.into(), options, writer });
        open.insert(folder.into(), Arc::downgrade(&shared));
        Ok(shared)
    }

    /// Begins an epoch: the older holder of this name is fenced.
    pub fn begin(&self, topic: &Path, writer: &str) -> u64 {
        let mut epochs = lock(&self.epochs);
        let epoch = epochs.entry((topic.into(), writer.into())).or_default();
        *epoch += 1;
        *epoch
    }

    pub fn check(&self, topic: &Path, writer: &str, epoch: u64) -> Result<()> {
        if lock(&self.epochs).get(&(topic.into(), writer.into())) == Some(&epoch) {
            return Ok(());
        }
        Err(Error::new(Code::Locked, format!("writer `{writer}` was fenced by a newer one"))
            .at(Place::Path(topic.display().to_string())))
    }
}

impl SharedWriter {
    /// Works on the writer alone; one that died is opened again first.
    pub fn with<T>(&self, work: impl FnOnce(&mut Writer) -> Result<T>) -> Result<T> {
        let mut slot = lock(&self.writer);
        if slot.as_ref().is_some_and(Writer::is_dead) {
            // Dropped first: its lock would keep the new one out.
            *slot = None;
        }
        let writer = match &mut *slot {
            Some(writer) => writer,
            None => slot.insert(Writer::open(&self.folder, self.options)?),
        };
        work(writer)
    }
}
