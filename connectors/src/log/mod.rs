//! The embedded log: durable, partitioned, in a folder; connector `log`.
//!
//! | file      | what                                                      |
//! |-----------|-----------------------------------------------------------|
//! | `topic`   | folder/{topic}: its meta file, its partitions' folders    |
//! | `writers` | the locked writers that this process shares               |
//! | `source`  | records in                                                |
//! | `sink`    | records out                                               |
//! | `control` | the control log                                           |
//!
//! A partition has one writing process at a time (a file lock; `W0503`) and any number of readers.
//! Inside the process all sinks of a topic share its writers.

mod control;
mod sink;
mod source;
mod topic;
mod writers;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use weir_contract::{Clock, Code, Error, Place, Result};
use weir_engine::connect::{Connector, OptionDoc, partitions_of, topic_of};
use weir_engine::sink::SinkFactory;
use weir_engine::source::Source;
use weir_engine::sql::catalog::{AppendTime, TableSpec};
use weir_segments::WriterOptions;

use crate::paths::Roots;
pub use control::LogControl;
pub use sink::LogSink;
pub use source::LogSource;
pub use topic::Topic;
use writers::Writers;

/// `connector = 'log'`. Clones share their writers.
#[derive(Clone)]
pub struct LogConnector {
    root: PathBuf,
    roots: Roots,
    clock: Arc<dyn Clock>,
    writers: Arc<Writers>,
}

impl LogConnector {
    /// Topics are folders of `root` unless a table has the option `path`, which must lie in `roots`.
    /// `clock` stamps append times; nothing else is asked of it.
    pub fn new(root: impl Into<PathBuf>, roots: Roots, clock: Arc<dyn Clock>) -> Self {
        Self { root: root.into(), roots, clock, writers: Arc::default() }
    }

    /// The same connector over another folder.
    pub fn at(&self, root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), ..self.clone() }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A program's control log, made or widened to one shared partition and one a task.
    pub fn control(&self, topic: &str, tasks: u32) -> Result<LogControl> {
        let mut topic = Topic::create(&self.root, topic, tasks + 1)?;
        topic.widen(tasks + 1)?;
        Ok(LogControl::new(topic, self.writers.clone(), self.clock.clone()))
    }

    /// Writers of a topic, made with `partitions` where it is missing.
    pub fn sink_of(&self, topic: &str, partitions: u32, times: AppendTime) -> Result<LogSink> {
        let topic = Topic::create(&self.root, topic, partitions)?;
        let (writers, clock) = (self.writers.clone(), self.clock.clone());
        Ok(LogSink { topic, writers, clock, times, options: WriterOptions::default() })
    }

    /// Partitions of a topic; none where it does not exist.
    pub fn partitions(&self, topic: &str) -> Result<Option<u32>> {
        match Topic::open(&self.root, topic) {
            Ok(topic) => Ok(Some(topic.partitions())),
            Err(e) if e.code() == Code::NoTopic => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Reads a topic that exists.
    pub fn source_of(&self, topic: &str) -> Result<LogSource> {
        Ok(LogSource::new(Topic::open(&self.root, topic)?, AppendTime::Broker, false))
    }

    fn root_of(&self, table: &TableSpec) -> Result<PathBuf> {
        match table.options.get("path") {
            Some(path) => self.roots.resolve(path).map_err(|e| e.at(table.place.clone())),
            None => Ok(self.root.clone()),
        }
    }

    /// The table's topic, made where the table declares its partitions.
    fn topic(&self, table: &TableSpec, partitions_default: Option<u32>) -> Result<Topic> {
        let (root, name) = (self.root_of(table)?, topic_of(table));
        let declared = partitions_of(table)?;
        let topic = match declared.or(partitions_default) {
            Some(partitions) => Topic::create(&root, name, partitions),
            None => Topic::open(&root, name),
        };
        let topic = topic.map_err(|e| e.or_at(table.place.clone()))?;
        match declared {
            Some(partitions) if partitions != topic.partitions() => {
                let what = format!("topic `{name}` has {} partitions", topic.partitions());
                Err(Error::new(Code::BadOption, what)
                    .expected(partitions.to_string())
                    .at(table.place.clone()))
            }
            _ => Ok(topic),
        }
    }
}

fn number(table: &TableSpec, name: &str) -> Result<Option<u64>> {
    let Some(text) = table.options.get(name) else { return Ok(None) };
    match text.parse() {
        Ok(n) if n > 0 => Ok(Some(n)),
        _ => Err(Error::new(Code::BadOption, format!("`{name}` is '{text}'"))
            .expected("a whole number of bytes, above 0")
            .at(table.place.clone())),
    }
}

/// `until = 'end'`.
pub(crate) fn until_end(table: &TableSpec) -> Result<bool> {
    match table.options.get("until").map(String::as_str) {
        None => Ok(false),
        Some("end") => Ok(true),
        Some(other) => Err(Error::new(Code::BadOption, format!("`until` is '{other}'"))
            .expected("'end'")
            .at(table.place.clone())),
    }
}

impl Connector for LogConnector {
    fn name(&self) -> &'static str {
        "log"
    }

    fn options(&self) -> &'static [OptionDoc] {
        &[
            OptionDoc { name: "topic", required: false, doc: "topic; default: the table's name" },
            OptionDoc { name: "path", required: false, doc: "folder of the log; default: under --data" },
            OptionDoc { name: "partitions", required: false, doc: "makes the topic where it is missing" },
            OptionDoc {
                name: "until",
                required: false,
                doc: "'end': read to the end at the start, then stop",
            },
            OptionDoc { name: "segment_bytes", required: false, doc: "size of a full file; default 64 MiB" },
            OptionDoc {
                name: "retain_bytes",
                required: false,
                doc: "bytes kept per partition; default: all",
            },
            OptionDoc {
                name: "retention",
                required: false,
                doc: "how long records are kept; default: for ever",
            },
        ]
    }

    fn source(&self, table: &TableSpec) -> Result<Arc<dyn Source>> {
        let times = table.append_time.unwrap_or(AppendTime::Broker);
        Ok(Arc::new(LogSource::new(self.topic(table, None)?, times, until_end(table)?)))
    }

    fn sink(&self, table: &TableSpec) -> Result<Arc<dyn SinkFactory>> {
        let mut options = WriterOptions::default();
        options.segment_bytes = number(table, "segment_bytes")?.unwrap_or(options.segment_bytes);
        options.retain_bytes = number(table, "retain_bytes")?;
        if let Some(text) = table.options.get("retention") {
            let span = weir_contract::time::parse_span(text).ok_or_else(|| {
                Error::new(Code::BadOption, format!("`retention` is '{text}'"))
                    .expected("a span such as '7 days'")
                    .at(table.place.clone())
            })?;
            options.retain_ms = Some(span / 1_000);
        }
        let topic = self.topic(table, Some(1))?;
        let (writers, clock) = (self.writers.clone(), self.clock.clone());
        let times = table.append_time.unwrap_or(AppendTime::Broker);
        Ok(Arc::new(LogSink { topic, writers, clock, times, options }))
    }
}

/// A position of this topic, for an error.
fn position(topic: &Topic, partition: u32, offset: i64) -> Place {
    Place::Position { topic: topic.name().into(), partition, offset }
}

#[cfg(test)]
mod tests;
