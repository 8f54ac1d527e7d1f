//! Where a log is: `kafka://host:port`, `log:FOLDER`, `files:FOLDER`, and what a table or topic becomes there.
//!
//! In:   the text of `WEIR_LOG`, `--log`, `--from` or `--out`; tables without a connector.
//! Out:  the same tables with connector and options set; tables that stand for a bare topic.
//! Owns: the meaning of these texts. An option that the table sets itself always wins.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use weir_connectors::recording::RecordingSource;
use weir_contract::{Code, Error, Place, Result};
use weir_engine::sql::catalog::{
    AppendTime, Format, MAX_AHEAD_DEFAULT, MAX_RECORD_BYTES_DEFAULT, TableKind, TableSpec,
};

/// Where tables without a connector, event topics and the control log are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogAt {
    Kafka {
        servers: String,
        options: BTreeMap<String, String>,
    },
    /// The embedded log in a folder.
    Log {
        folder: PathBuf,
        options: BTreeMap<String, String>,
    },
    /// `{table}/*.json` or `.parquet`, or a recording.
    Files {
        folder: PathBuf,
    },
}

impl fmt::Display for LogAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LogAt::Kafka { servers, .. } => write!(f, "kafka://{servers}"),
            LogAt::Log { folder, .. } => write!(f, "log:{}", folder.display()),
            LogAt::Files { folder } => write!(f, "files:{}", folder.display()),
        }
    }
}

const FORMS: &str = "kafka://HOST:PORT[?append_time=producer], log:FOLDER or files:FOLDER";

impl LogAt {
    /// # Errors
    /// `W0701` for a text of another form.
    pub fn parse(text: &str) -> Result<LogAt> {
        let wrong = || Error::new(Code::Usage, format!("'{text}' names no log")).expected(FORMS);
        let (place, query) = text.split_once('?').unwrap_or((text, ""));
        let mut options = BTreeMap::new();
        for pair in query.split('&').filter(|p| !p.is_empty()) {
            let (name, value) = pair.split_once('=').ok_or_else(wrong)?;
            options.insert(name.to_lowercase(), value.to_owned());
        }
        match place.split_once(':') {
            Some(("kafka", rest)) => match rest.strip_prefix("//").filter(|s| !s.is_empty()) {
                Some(servers) => Ok(LogAt::Kafka { servers: servers.trim_end_matches('/').into(), options }),
                None => Err(wrong()),
            },
            Some(("log", folder)) if !folder.is_empty() => Ok(LogAt::Log { folder: folder.into(), options }),
            Some(("files", folder)) if !folder.is_empty() => Ok(LogAt::Files { folder: folder.into() }),
            _ => Err(wrong()),
        }
    }

    /// `--log`, else `WEIR_LOG`, else the embedded log under the data folder.
    pub fn choose(given: Option<&str>, data: &Path) -> Result<LogAt> {
        let from_env = std::env::var("WEIR_LOG").ok().filter(|t| !t.is_empty());
        match given.map(str::to_owned).or(from_env) {
            Some(text) => LogAt::parse(&text),
            None => Ok(LogAt::embedded(data)),
        }
    }

    /// The embedded log of a data folder.
    pub fn embedded(data: &Path) -> LogAt {
        LogAt::Log { folder: data.join("log"), options: BTreeMap::new() }
    }

    /// Where stored frames are that no setting places elsewhere: beside the embedded log, else under the data folder.
    pub fn frames(&self, data: &Path) -> PathBuf {
        match self {
            LogAt::Log { folder, .. } => folder.with_file_name("frames"),
            LogAt::Kafka { .. } | LogAt::Files { .. } => data.join("frames"),
        }
    }

    /// Where events and control records go: files cannot take them, the embedded log beside them can.
    pub fn writable(&self, data: &Path) -> LogAt {
        if let LogAt::Files { .. } = self { LogAt::embedded(data) } else { self.clone() }
    }

    /// Gives a table without a connector the one of this log.
    ///
    /// # Errors
    /// `W0405` where `files:` has no folder for the table; `W0204` for an `append_time` that is none.
    pub fn resolve(&self, table: &mut TableSpec) -> Result<()> {
        if !table.connector.is_empty() || !matches!(table.kind, TableKind::Source | TableKind::Sink) {
            return Ok(());
        }
        match self {
            LogAt::Kafka { servers, options } => {
                table.connector = "kafka".into();
                defaults(table, options)?;
                default(table, "bootstrap_servers", servers);
                if table.kind == TableKind::Sink {
                    default(table, "create", "true");
                }
            }
            LogAt::Log { folder, options } => {
                table.connector = "log".into();
                defaults(table, options)?;
                default(table, "path", &whole(folder).display().to_string());
            }
            LogAt::Files { folder } => {
                let own = folder.join(topic(table));
                table.connector = "filesystem".into();
                default(table, "path", &whole(&own).display().to_string());
                // A recording keeps the records raw, with the append times that the log had.
                let plain = table.format != Format::RawBytes && !RecordingSource::is_recording(&own);
                if table.kind == TableKind::Source && plain {
                    table.format = format_of(&own).map_err(|e| e.or_at(table.place.clone()))?;
                    table.append_time.get_or_insert(AppendTime::Untrusted);
                }
            }
        }
        Ok(())
    }

    /// A table that stands for a bare topic of this log: event topics, side streams, `weir tail`.
    pub fn topic(&self, name: &str, kind: TableKind, partitions: Option<u32>) -> Result<TableSpec> {
        let mut table = bare(name, kind);
        table.options.insert("topic".into(), name.into());
        if let Some(partitions) = partitions {
            table.options.insert("partitions".into(), partitions.to_string());
        }
        self.resolve(&mut table)?;
        Ok(table)
    }
}

/// The same folder, whatever the working folder will be.
fn whole(folder: &Path) -> PathBuf {
    std::path::absolute(folder).unwrap_or_else(|_| folder.to_path_buf())
}

fn topic(table: &TableSpec) -> &str {
    weir_engine::connect::topic_of(table)
}

fn default(table: &mut TableSpec, name: &str, value: &str) {
    table.options.entry(name.into()).or_insert_with(|| value.into());
}

fn defaults(table: &mut TableSpec, options: &BTreeMap<String, String>) -> Result<()> {
    for (name, value) in options {
        if name == "append_time" {
            let read = match value.as_str() {
                "broker" => AppendTime::Broker,
                "producer" => AppendTime::Producer,
                _ => {
                    return Err(Error::new(Code::Usage, format!("append_time cannot be '{value}'"))
                        .expected("broker or producer"));
                }
            };
            table.append_time.get_or_insert(read);
        } else {
            default(table, name, value);
        }
    }
    Ok(())
}

/// Parquet where the folder holds a Parquet file, else JSON.
fn format_of(folder: &Path) -> Result<Format> {
    let entries = std::fs::read_dir(folder).map_err(|e| {
        Error::new(Code::BadFile, format!("cannot read {}: {e}", folder.display()))
            .expected("a folder named like the table, with .json or .parquet files")
    })?;
    let parquet = entries.flatten().any(|e| e.path().extension().is_some_and(|e| e == "parquet"));
    Ok(if parquet { Format::Parquet } else { Format::Json })
}

fn bare(name: &str, kind: TableKind) -> TableSpec {
    TableSpec {
        name: name.into(),
        columns: Vec::new(),
        primary_key: Vec::new(),
        partitioned_by: Vec::new(),
        watermark: None,
        kind,
        connector: String::new(),
        format: Format::Json,
        idle_after: None,
        max_ahead: MAX_AHEAD_DEFAULT,
        append_time: None,
        dedup: None,
        max_record_bytes: MAX_RECORD_BYTES_DEFAULT,
        options: BTreeMap::new(),
        rows: Vec::new(),
        place: Place::Path(name.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_read_and_others_refused() {
        let kafka = LogAt::parse("kafka://a:1,b:2?append_time=producer&sasl.username=u").unwrap();
        let mut table = bare("scans", TableKind::Source);
        kafka.resolve(&mut table).unwrap();
        assert_eq!((table.connector.as_str(), table.append_time), ("kafka", Some(AppendTime::Producer)));
        assert_eq!(table.options["bootstrap_servers"], "a:1,b:2");
        assert_eq!(table.options["sasl.username"], "u");
        assert_eq!(kafka.to_string(), "kafka://a:1,b:2", "no secret is shown");
        for wrong in ["", "kafka:", "kafka://", "log:", "http://x", "files:", "log:x?y"] {
            assert_eq!(LogAt::parse(wrong).unwrap_err().code(), Code::Usage, "{wrong}");
        }
    }

    #[test]
    fn a_table_keeps_its_own_options() {
        let mut table = bare("scans", TableKind::Source);
        table.append_time = Some(AppendTime::Broker);
        table.options.insert("bootstrap_servers".into(), "own:1".into());
        LogAt::parse("kafka://h:1?append_time=producer").unwrap().resolve(&mut table).unwrap();
        assert_eq!(table.append_time, Some(AppendTime::Broker));
        assert_eq!(table.options["bootstrap_servers"], "own:1");
        let mut named = bare("x", TableKind::Source);
        named.connector = "stdout".into();
        let before = named.clone();
        LogAt::parse("log:/nowhere").unwrap().resolve(&mut named).unwrap();
        assert_eq!(named, before);
    }
}
