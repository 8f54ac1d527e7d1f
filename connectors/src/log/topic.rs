//! A topic's folder: `meta.json` says how many partitions it has and who it is; `0`, `1`, … hold them.
//!
//! The meta file is there whole or not at all, and only one of several creators wins.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use weir_contract::{Code, Error, Place, Result};

const META: &str = "meta.json";
const VERSION: u64 = 1;

/// A topic of the embedded log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    folder: PathBuf,
    name: String,
    id: String,
    partitions: u32,
}

impl Topic {
    /// # Errors
    /// `W0404` where the topic does not exist; `W0502` where its meta file is not whole.
    pub fn open(root: &Path, name: &str) -> Result<Self> {
        check_name(name)?;
        let folder = root.join(name);
        let path = folder.join(META);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(Error::new(Code::NoTopic, format!("the embedded log has no topic `{name}`"))
                    .expected("option `partitions`, which makes it, or a writer that made it")
                    .at(place(&folder)));
            }
            Err(e) => return Err(failed(&path, &e)),
        };
        let meta: Value = serde_json::from_slice(&bytes).map_err(|e| damaged(&path, &e.to_string()))?;
        if meta["version"] != VERSION {
            return Err(damaged(&path, "written by another version").expected(VERSION.to_string()));
        }
        let partitions = meta["partitions"].as_u64().and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0);
        match (partitions, meta["id"].as_str()) {
            (Some(partitions), Some(id)) => Ok(Self { folder, name: name.into(), id: id.into(), partitions }),
            _ => Err(damaged(&path, "no count of partitions, or no id")),
        }
    }

    /// Opens the topic, or makes it with `partitions`; one that exists keeps its own number.
    pub fn create(root: &Path, name: &str, partitions: u32) -> Result<Self> {
        match Self::open(root, name) {
            Err(e) if e.code() == Code::NoTopic => {}
            opened => return opened,
        }
        let folder = root.join(name);
        let make = || {
            std::fs::create_dir_all(&folder)?;
            sync_folder(root)?;
            write_meta(&folder, &weir_segments::chance_id()?, partitions, false)
        };
        make().map_err(|e| failed(&folder, &e))?;
        Self::open(root, name)
    }

    /// Adds partitions, as a control log needs where tasks are added. Never takes any away.
    pub fn widen(&mut self, partitions: u32) -> Result<()> {
        if partitions > self.partitions {
            write_meta(&self.folder, &self.id, partitions, true).map_err(|e| failed(&self.folder, &e))?;
            self.partitions = partitions;
        }
        Ok(())
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn partitions(&self) -> u32 {
        self.partitions
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Folder of one partition; it appears with the partition's first writer.
    pub fn partition(&self, number: u32) -> Result<PathBuf> {
        if number < self.partitions {
            return Ok(self.folder.join(number.to_string()));
        }
        Err(Error::new(Code::NoTopic, format!("topic `{}` has no partition {number}", self.name))
            .expected(format!("0 to {}", self.partitions - 1)))
    }

    /// Asks the folder again: a topic that was deleted and made again has another one.
    pub fn identity(&self) -> Result<String> {
        let root = self.folder.parent().unwrap_or(&self.folder);
        Ok(format!("log:{}", Self::open(root, &self.name)?.id))
    }
}

/// Names are those of Kafka, so that a topic can move there.
fn check_name(name: &str) -> Result<()> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if !name.is_empty() && name.len() <= 249 && name.chars().all(good) && name != "." && name != ".." {
        return Ok(());
    }
    Err(Error::new(Code::BadOption, format!("'{name}' cannot be the name of a topic"))
        .expected("1 to 249 of the characters a-z A-Z 0-9 . _ -"))
}

fn write_meta(folder: &Path, id: &str, partitions: u32, replace: bool) -> io::Result<()> {
    let draft = folder.join(format!("{META}.{}", weir_segments::chance_id()?));
    let meta = json!({ "version": VERSION, "partitions": partitions, "id": id });
    let mut file = File::create(&draft)?;
    file.write_all(meta.to_string().as_bytes())?;
    file.sync_all()?;
    if replace {
        std::fs::rename(&draft, folder.join(META))?;
    } else {
        // A link, unlike a rename, leaves what another creator made.
        let linked = std::fs::hard_link(&draft, folder.join(META));
        std::fs::remove_file(&draft)?;
        match linked {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
            _ => {}
        }
    }
    sync_folder(folder)
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn place(path: &Path) -> Place {
    Place::Path(path.display().to_string())
}

fn failed(path: &Path, error: &io::Error) -> Error {
    Error::of_io(error, path)
}

fn damaged(path: &Path, why: &str) -> Error {
    Error::new(Code::Damaged, format!("a topic's meta file: {why}")).at(place(path))
}
