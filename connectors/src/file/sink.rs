//! JSON lines out.
//!
//! A commit appends its lines and syncs the file, then appends to a hidden side file how far the file
//! is whole and which ids it holds since. What stands behind the last such mark was never committed
//! and is cut off when the file is opened again.
//!
//! All writers of this process share a file; one process writes it (a lock, `W0503`). Heartbeats have
//! no line.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use weir_contract::event::Id;
use weir_contract::{Code, Error, Place, Result};
use weir_engine::sink::{NOT_READ, OutRecord, Sink, SinkEnds, SinkFactory};

/// Outputs of one table.
pub struct FileSinks {
    path: PathBuf,
    folder: bool,
    open: Mutex<BTreeMap<PathBuf, Weak<Mutex<Shared>>>>,
}

impl FileSinks {
    /// Everything into one file.
    pub fn one(path: PathBuf) -> Self {
        Self { path, folder: false, open: Mutex::default() }
    }

    /// One file a writer, named after it.
    pub fn folder(path: PathBuf) -> Self {
        Self { path, folder: true, open: Mutex::default() }
    }
}

impl SinkFactory for FileSinks {
    fn open(&self, writer: &str) -> Result<Box<dyn Sink>> {
        let path = if self.folder {
            std::fs::create_dir_all(&self.path).map_err(io(&self.path))?;
            let name: String = writer
                .chars()
                .map(|c| if c.is_alphanumeric() || ".-_".contains(c) { c } else { '_' })
                .collect();
            self.path.join(format!("{name}.json"))
        } else {
            self.path.clone()
        };
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = match open.get(&path).and_then(Weak::upgrade) {
            Some(shared) => shared,
            None => {
                let shared = Arc::new(Mutex::new(Shared::open(&path)?));
                open.insert(path, Arc::downgrade(&shared));
                shared
            }
        };
        let writer = writer.replace(' ', "_");
        let epoch = shared.lock().unwrap_or_else(PoisonError::into_inner).begin(&writer);
        Ok(Box::new(FileSink { shared, writer, epoch, lines: Vec::new(), ids: Vec::new() }))
    }
}

/// A file, whole up to `end`, and what each commit put there.
struct Shared {
    path: PathBuf,
    data: File,
    marks: File,
    end: u64,
    /// Bytes of whole marks.
    marked: u64,
    /// (end after the commit, writer, ids).
    committed: Vec<(u64, String, Vec<Id>)>,
    /// Newest opening by writer's name: an older one is fenced.
    epochs: BTreeMap<String, u64>,
    /// A sync failed, or half a commit could not be cut off: what is on the disk is unknown, and nothing
    /// more is written.
    lost: bool,
}

fn io(path: &Path) -> impl Fn(std::io::Error) -> Error + '_ {
    move |e| Error::of_io(&e, path)
}

impl Shared {
    fn open(path: &Path) -> Result<Self> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let beside = path.with_file_name(format!(".{name}.commits"));
        let append =
            |p: &Path| OpenOptions::new().create(true).read(true).append(true).open(p).map_err(io(p));
        let (data, mut marks) = (append(path)?, append(&beside)?);
        data.try_lock().map_err(|_| {
            Error::new(Code::Locked, "another process writes this file")
                .at(Place::Path(path.display().to_string()))
        })?;
        let mut text = String::new();
        marks.read_to_string(&mut text).map_err(io(&beside))?;
        let whole = text.rfind('\n').map_or(0, |i| i + 1);
        let marked = whole as u64;
        marks.set_len(marked).map_err(io(&beside))?;
        let mut committed = Vec::new();
        for line in text[..whole].lines() {
            let mut words = line.split(' ');
            let end = words.next().and_then(|w| w.parse().ok());
            let writer = words.next();
            let (Some(end), Some(writer)) = (end, writer) else {
                return Err(Error::new(Code::Damaged, format!("not a commit mark: {line:?}"))
                    .at(Place::Path(beside.display().to_string())));
            };
            committed.push((end, writer.to_owned(), words.filter_map(Id::parse).collect()));
        }
        let end = committed.last().map_or(0, |(end, _, _)| *end);
        let length = data.metadata().map_err(io(path))?.len();
        if length < end {
            return Err(Error::new(
                Code::Damaged,
                format!("the file has {length} bytes of {end} that were committed"),
            )
            .at(Place::Path(path.display().to_string())));
        }
        data.set_len(end).map_err(io(path))?;
        let epochs = BTreeMap::new();
        Ok(Self { path: path.to_owned(), data, marks, end, marked, committed, epochs, lost: false })
    }

    fn begin(&mut self, writer: &str) -> u64 {
        let epoch = self.epochs.entry(writer.to_owned()).or_default();
        *epoch += 1;
        *epoch
    }

    fn check(&self, writer: &str, epoch: u64) -> Result<()> {
        if self.epochs.get(writer) == Some(&epoch) {
            return Ok(());
        }
        Err(Error::new(Code::Locked, format!("writer `{writer}` was fenced by a newer one"))
            .at(Place::Path(self.path.display().to_string())))
    }

    /// Nothing half written stays, so that the same may be written again.
    fn cut(&mut self, why: &std::io::Error) -> Error {
        let cut = self.data.set_len(self.end).and_then(|()| self.marks.set_len(self.marked));
        match cut {
            Ok(()) => Error::of_io(why, &self.path),
            Err(why) => self.lose(&why),
        }
    }

    /// From now on nothing is written, whatever space there is.
    fn lose(&mut self, why: &std::io::Error) -> Error {
        self.lost = true;
        Error::new(Code::Io, why.to_string()).at(Place::Path(self.path.display().to_string()))
    }

    fn commit(&mut self, writer: &str, lines: &[u8], ids: &[Id]) -> Result<()> {
        if self.lost {
            return Err(Error::new(Code::Io, "a write of this file failed half way before")
                .at(Place::Path(self.path.display().to_string())));
        }
        let mut mark = format!("{} {writer}", self.end + lines.len() as u64);
        ids.iter().for_each(|id| mark.push_str(&format!(" {id}")));
        mark.push('\n');
        self.data.write_all(lines).map_err(|why| self.cut(&why))?;
        self.data.sync_data().map_err(|why| self.lose(&why))?;
        self.marks.write_all(mark.as_bytes()).map_err(|why| self.cut(&why))?;
        self.marks.sync_data().map_err(|why| self.lose(&why))?;
        self.end += lines.len() as u64;
        self.marked += mark.len() as u64;
        self.committed.push((self.end, writer.to_owned(), ids.to_vec()));
        Ok(())
    }
}

struct FileSink {
    shared: Arc<Mutex<Shared>>,
    writer: String,
    epoch: u64,
    lines: Vec<u8>,
    ids: Vec<Id>,
}

impl FileSink {
    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for FileSink {
    fn ends(&mut self) -> Result<SinkEnds> {
        Ok(vec![(0, i64::try_from(self.shared().end).unwrap_or(i64::MAX))])
    }

    fn read_back(&mut self, from: &SinkEnds, seen: &mut dyn FnMut(Id, Option<i64>)) -> Result<()> {
        if from.first().is_some_and(|(_, end)| *end == NOT_READ) {
            return Ok(());
        }
        let from = from.first().map_or(0, |(_, end)| u64::try_from(*end).unwrap_or(0));
        let shared = self.shared();
        let since = shared.committed.iter().filter(|(end, writer, _)| *end > from && *writer == self.writer);
        since.flat_map(|(_, _, ids)| ids).for_each(|id| seen(*id, None));
        Ok(())
    }

    fn write(&mut self, records: Vec<OutRecord>) -> Result<()> {
        self.shared().check(&self.writer, self.epoch)?;
        for record in records {
            if record.id.is_none() && record.value.is_empty() {
                continue;
            }
            self.lines.extend_from_slice(&record.value);
            self.lines.push(b'\n');
            self.ids.extend(record.id);
        }
        Ok(())
    }

    fn commit(&mut self) -> Result<()> {
        if self.lines.is_empty() {
            return Ok(());
        }
        let mut shared = self.shared();
        shared.check(&self.writer, self.epoch)?;
        shared.commit(&self.writer, &self.lines, &self.ids)?;
        drop(shared);
        self.lines.clear();
        self.ids.clear();
        Ok(())
    }
}
