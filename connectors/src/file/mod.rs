//! Files as sources and sinks: connectors `single_file` and `filesystem`.
//!
//! | file      | what                                                           |
//! |-----------|----------------------------------------------------------------|
//! | `lines`   | JSON lines in; position = line number                          |
//! | `parquet` | Parquet rows in; position = row number                         |
//! | `sink`    | JSON lines out, with a side file of what was committed         |
//!
//! A folder with several files is one table with several partitions: number = rank of the file name.
//! All are bounded. Files have no append time, so the guard against clocks ahead is off, and no
//! heartbeats. A folder with `weir-recording.json` is read as `crate::recording` says instead.

mod lines;
mod parquet;
mod sink;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use weir_contract::event::Id;
use weir_contract::{Code, Error, Place, Result};
use weir_engine::connect::{Connector, OptionDoc};
use weir_engine::sink::SinkFactory;
use weir_engine::source::{Partition, PartitionReader, Source};
use weir_engine::sql::catalog::{Format, TableSpec};

use crate::paths::{Roots, open_regular};
use crate::recording::RecordingSource;

const OPTIONS: &[OptionDoc] = &[OptionDoc { name: "path", required: true, doc: "the file, or the folder" }];

/// `connector = 'single_file'`: one file, one partition.
#[derive(Clone)]
pub struct SingleFile(Roots);

/// `connector = 'filesystem'`: a folder, one partition a file.
#[derive(Clone)]
pub struct Filesystem(Roots);

impl SingleFile {
    /// `path` must lie in `roots`.
    pub fn new(roots: Roots) -> Self {
        Self(roots)
    }
}

impl Filesystem {
    pub fn new(roots: Roots) -> Self {
        Self(roots)
    }
}

fn path_of(roots: &Roots, table: &TableSpec) -> Result<PathBuf> {
    let path = table.options.get("path").ok_or_else(|| {
        Error::new(Code::BadOption, format!("table `{}` has no option `path`", table.name))
            .expected("path = '…'")
            .at(table.place.clone())
    })?;
    roots.resolve(path).map_err(|e| e.or_at(table.place.clone()))
}

fn no_parquet_sink(table: &TableSpec) -> Result<()> {
    match table.format {
        Format::Json => Ok(()),
        Format::RawBytes => Err(no_headers(table)),
        Format::Parquet => Err(Error::new(Code::NotYet, "a Parquet sink is not there yet")
            .expected("format = 'json'")
            .at(table.place.clone())),
    }
}

/// Records of plain files are lines or rows.
fn no_headers(table: &TableSpec) -> Error {
    Error::new(Code::BadOption, format!("`{}`: a plain file has no records with headers", table.name))
        .expected("connector = 'kafka' or 'log', or a recording, for format = 'raw_bytes'")
        .at(table.place.clone())
}

impl Connector for SingleFile {
    fn name(&self) -> &'static str {
        "single_file"
    }

    fn options(&self) -> &'static [OptionDoc] {
        OPTIONS
    }

    fn source(&self, table: &TableSpec) -> Result<Arc<dyn Source>> {
        if table.format == Format::RawBytes {
            return Err(no_headers(table));
        }
        let path = path_of(&self.0, table)?;
        open_regular(&path).map_err(|e| e.or_at(table.place.clone()))?;
        Ok(Arc::new(Files { root: path.clone(), files: vec![path], format: table.format }))
    }

    fn sink(&self, table: &TableSpec) -> Result<Arc<dyn SinkFactory>> {
        no_parquet_sink(table)?;
        Ok(Arc::new(sink::FileSinks::one(path_of(&self.0, table)?)))
    }
}

impl Connector for Filesystem {
    fn name(&self) -> &'static str {
        "filesystem"
    }

    fn options(&self) -> &'static [OptionDoc] {
        OPTIONS
    }

    fn source(&self, table: &TableSpec) -> Result<Arc<dyn Source>> {
        let root = path_of(&self.0, table)?;
        if RecordingSource::is_recording(&root) {
            return Ok(Arc::new(RecordingSource::open(&root).map_err(|e| e.or_at(table.place.clone()))?));
        }
        if table.format == Format::RawBytes {
            return Err(no_headers(table));
        }
        let files = files_in(&root, table.format).map_err(|e| e.or_at(table.place.clone()))?;
        Ok(Arc::new(Files { root, files, format: table.format }))
    }

    fn sink(&self, table: &TableSpec) -> Result<Arc<dyn SinkFactory>> {
        no_parquet_sink(table)?;
        Ok(Arc::new(sink::FileSinks::folder(path_of(&self.0, table)?)))
    }
}

/// A table that `no_headers` should have refused.
fn no_bytes(path: &Path) -> Error {
    Error::new(Code::Internal, "a plain file is to be read as records with headers")
        .at(Place::Path(path.display().to_string()))
}

pub(crate) fn bad(path: &Path, why: impl ToString) -> Error {
    Error::new(Code::BadFile, why.to_string()).at(Place::Path(path.display().to_string()))
}

/// The files of a table's format in a folder, by name. Hidden files and other endings are left out.
fn files_in(folder: &Path, format: Format) -> Result<Vec<PathBuf>> {
    let wanted: &[&str] = match format {
        Format::Json => &["json", "jsonl", "ndjson"],
        Format::Parquet => &["parquet"],
        Format::RawBytes => return Err(no_bytes(folder)),
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|e| bad(folder, e))? {
        let path = entry.map_err(|e| bad(folder, e))?.path();
        let hidden = path.file_name().is_none_or(|n| n.as_encoded_bytes().starts_with(b"."));
        let ending = path.extension().and_then(|e| e.to_str()).unwrap_or("");
        if !hidden && wanted.contains(&ending) {
            open_regular(&path)?;
            files.push(path);
        }
    }
    if files.is_empty() {
        return Err(
            bad(folder, "no file to read").expected(format!("files that end in .{}", wanted.join(", .")))
        );
    }
    files.sort();
    Ok(files)
}

/// One table over files.
struct Files {
    root: PathBuf,
    files: Vec<PathBuf>,
    format: Format,
}

impl Source for Files {
    /// Counts the records: one pass over each file of lines, the footer of a Parquet file.
    fn partitions(&self) -> Result<Vec<Partition>> {
        let number = |n: usize| u32::try_from(n).map_err(|_| bad(&self.root, "too many files"));
        self.files
            .iter()
            .enumerate()
            .map(|(n, path)| {
                let end = match self.format {
                    Format::Parquet => parquet::count(path)?,
                    Format::Json => lines::count(path)?,
                    Format::RawBytes => return Err(no_bytes(path)),
                };
                Ok(Partition { number: number(n)?, start: 0, end, bounded: true })
            })
            .collect()
    }

    fn open(&self, partition: u32, from: i64) -> Result<Box<dyn PartitionReader>> {
        let path = self
            .files
            .get(partition as usize)
            .ok_or_else(|| bad(&self.root, format!("there is no file for partition {partition}")))?;
        if from < 0 {
            return Err(Error::new(Code::Retention, format!("the file starts at 0, not at {from}"))
                .at(Place::Path(path.display().to_string())));
        }
        Ok(match self.format {
            Format::Parquet => Box::new(parquet::Rows::open(path, from)?),
            Format::Json => Box::new(lines::Lines::open(path, from)?),
            Format::RawBytes => return Err(no_bytes(path)),
        })
    }

    /// The place, and what the file system says of each file: one that was written anew differs, even
    /// where it got the old one's inode.
    fn identity(&self) -> Result<String> {
        use std::os::unix::fs::MetadataExt;
        let about = |path: &PathBuf| {
            let facts = std::fs::metadata(path).map_err(|e| bad(path, e))?;
            let name = path.file_name().map(|n| n.to_string_lossy().into_owned());
            let changed = [facts.mtime(), facts.mtime_nsec()];
            Ok(serde_json::json!([name, facts.dev(), facts.ino(), facts.len(), changed]))
        };
        let files = self.files.iter().map(about).collect::<Result<Vec<_>>>()?;
        Ok(format!("file:{}:{}", self.root.display(), Id::of(&serde_json::Value::Array(files))))
    }
}

#[cfg(test)]
mod suite;
#[cfg(test)]
mod tests;
