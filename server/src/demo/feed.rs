//! Plays a simulated day into a log, its own clock stamped on every record.
//!
//! In:   items of a day in append order.
//! Out:  records in the day's topics, reference changes in the shared partition of the control log.
//! Owns: what is written and not yet durable.
//!
//! F1  A reference change is appended after everything before it is durable, and is durable before any
//!     later record is appended (semantics 6).
//! F2  A topic that already holds records is refused: two days in one log would be one wrong day.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use weir_connectors::kafka::{Admin, KafkaOptions, TimestampType, TopicSetup};
use weir_contract::{Clock, Code, Error, Result};
use weir_engine::connect::Registry;
use weir_engine::control::{Control, ControlLog, RowChange};
use weir_engine::run::Stop;
use weir_engine::sink::{OutRecord, Sink};
use weir_engine::sql::catalog::{AppendTime, TableKind, TableSpec};
use weir_sim::{Change, Day, HEARTBEAT, Item, SimRecord};

use crate::wire::at::LogAt;
use crate::wire::ports::connector_of;

/// Records that wait for one write at most.
const PENDING_MAX: usize = 20_000;
/// A player that is ahead of its pace by this much writes out and sleeps.
const AHEAD: Duration = Duration::from_millis(20);
const NAP: Duration = Duration::from_millis(50);

/// How fast a day passes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Speed {
    /// Simulated seconds in one real second.
    Times(f64),
    Max,
}

impl std::str::FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        if text == "max" {
            return Ok(Speed::Max);
        }
        match text.strip_suffix('x').unwrap_or(text).parse::<f64>() {
            Ok(times) if times > 0.0 && times.is_finite() => Ok(Speed::Times(times)),
            _ => Err("expected a positive number such as 120, or max".into()),
        }
    }
}

/// How far a player is; read by others while it plays.
#[derive(Debug, Default)]
pub struct Progress {
    pub records: AtomicU64,
    /// Simulated time in microseconds.
    pub now_us: AtomicI64,
}

/// Where a day goes.
pub enum Feed {
    Log(LogFeed),
    Files(FileFeed),
}

/// A partitioned log: Kafka or the embedded one.
pub struct LogFeed {
    sinks: BTreeMap<String, Box<dyn Sink>>,
    pending: BTreeMap<String, Vec<OutRecord>>,
    waiting: usize,
    control: Arc<dyn ControlLog>,
    change: i64,
}

/// `{table}/part-N.json`: rows only, no heartbeats.
pub struct FileFeed {
    folder: PathBuf,
    files: BTreeMap<(String, u32), BufWriter<File>>,
    /// Reference changes that plain files cannot hold.
    pub changes_left_out: u64,
}

/// Topics that a day writes.
pub fn topics() -> impl Iterator<Item = &'static str> {
    weir_sim::TOPICS.iter().map(|t| t.name())
}

impl LogFeed {
    /// Makes the topics, refuses ones with records, writes the reference rows that stand at the start.
    pub fn open(day: &Day, log: &LogAt, registry: &Registry, control: Arc<dyn ControlLog>) -> Result<Self> {
        let mut feed =
            Self { sinks: BTreeMap::new(), pending: BTreeMap::new(), waiting: 0, control, change: 0 };
        let partitions = day.options().partitions;
        for topic in topics() {
            let mut table = log.topic(topic, TableKind::Sink, Some(partitions))?;
            table.append_time = Some(AppendTime::Producer);
            if let LogAt::Kafka { .. } = log {
                make_topic(&table, topic, partitions)?;
            }
            let connector = connector_of(registry, &table)?;
            let mut sink = connector.sink(&table)?.open(&format!("sim.{topic}"))?;
            if sink.ends()?.iter().any(|(_, end)| *end > 0) {
                return Err(Error::new(
                    Code::Refused,
                    format!("topic `{topic}` of {log} holds records already"),
                )
                .expected("a log without the day's topics")
                .act("operator: use another folder or broker."));
            }
            feed.sinks.insert(topic.to_owned(), sink);
        }
        if feed.control.read(0, 0)?.1 > 0 {
            return Err(Error::new(
                Code::Refused,
                format!("{log} holds a control log of this program already"),
            )
            .expected("a log without one"));
        }
        let rows = day.reference_rows().into_iter();
        let changes =
            rows.map(|(table, row)| RowChange { table: table.into(), before: None, after: Some(row) });
        let first = Control::Reference {
            change: 0,
            asked_at: None,
            effective_at: Some(i64::MIN),
            changes: changes.collect(),
        };
        feed.control.append(0, &first)?;
        Ok(feed)
    }

    fn record(&mut self, record: SimRecord) -> Result<()> {
        let out = OutRecord {
            id: None,
            partition: Some(record.partition),
            key: record.key.unwrap_or_default().into_bytes(),
            value: record.value,
            headers: record
                .headers
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.into_bytes()))
                .collect(),
            time_us: Some(record.append_us),
        };
        self.pending.entry(record.topic.to_owned()).or_default().push(out);
        self.waiting += 1;
        if self.waiting >= PENDING_MAX { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        self.waiting = 0;
        for (topic, records) in std::mem::take(&mut self.pending) {
            if let Some(sink) = self.sinks.get_mut(&topic) {
                sink.write(records)?;
                sink.commit()?;
            }
        }
        Ok(())
    }

    fn reference(&mut self, effective_at: i64, changes: Vec<Change>) -> Result<()> {
        self.flush()?;
        self.change += 1;
        let changes = changes
            .into_iter()
            .map(|c| RowChange { table: c.table.into(), before: c.before, after: c.after })
            .collect();
        let record = Control::Reference {
            change: self.change,
            asked_at: Some(effective_at),
            effective_at: Some(effective_at),
            changes,
        };
        self.control.append(0, &record).map(drop)
    }
}

fn make_topic(table: &TableSpec, topic: &str, partitions: u32) -> Result<()> {
    let options = KafkaOptions::of_table(table)?;
    let mut setup = TopicSetup::new(topic, partitions);
    setup.timestamps = TimestampType::Create;
    setup.replication = options.replication;
    Admin::new(&options)?.create(&setup).map(drop)
}

impl FileFeed {
    pub fn open(folder: &Path) -> Result<Self> {
        for topic in topics() {
            let own = folder.join(topic);
            std::fs::create_dir_all(&own).map_err(|e| broken(&own, &e))?;
        }
        Ok(Self { folder: folder.into(), files: BTreeMap::new(), changes_left_out: 0 })
    }

    fn record(&mut self, record: &SimRecord) -> Result<()> {
        if record.headers.iter().any(|(name, _)| *name == HEARTBEAT) {
            return Ok(());
        }
        let path = self.folder.join(record.topic).join(format!("part-{}.json", record.partition));
        let key = (record.topic.to_owned(), record.partition);
        if !self.files.contains_key(&key) {
            let file = File::create_new(&path).map_err(|e| broken(&path, &e))?;
            self.files.insert(key.clone(), BufWriter::new(file));
        }
        let Some(file) = self.files.get_mut(&key) else { return Ok(()) };
        // A corrupt record may hold anything; in a file of lines it is one line all the same.
        let value: Vec<u8> = record.value.iter().map(|b| if *b == b'\n' { b' ' } else { *b }).collect();
        file.write_all(&value).and_then(|()| file.write_all(b"\n")).map_err(|e| broken(&path, &e))
    }

    fn flush(&mut self) -> Result<()> {
        self.files.values_mut().try_for_each(|f| f.flush().map_err(|e| broken(&self.folder, &e)))
    }
}

fn broken(path: &Path, error: &std::io::Error) -> Error {
    Error::of_io(error, path)
}

impl Feed {
    fn take(&mut self, item: Item, progress: &Progress) -> Result<()> {
        progress.now_us.store(item.at_us(), Ordering::Relaxed);
        match item {
            Item::Record(record) => {
                progress.records.fetch_add(1, Ordering::Relaxed);
                match self {
                    Feed::Log(log) => log.record(record),
                    Feed::Files(files) => files.record(&record),
                }
            }
            Item::Reference { effective_at, changes } => match self {
                Feed::Log(log) => log.reference(effective_at.0, changes),
                Feed::Files(files) => {
                    files.changes_left_out += 1;
                    Ok(())
                }
            },
            Item::Tick(_) => Ok(()),
        }
    }

    fn flush(&mut self) -> Result<()> {
        match self {
            Feed::Log(log) => log.flush(),
            Feed::Files(files) => files.flush(),
        }
    }

    /// Plays a day to its end; everything is durable when it returns. False where it was stopped before.
    pub fn play(
        &mut self,
        day: &mut Day,
        speed: Speed,
        clock: &dyn Clock,
        stop: &Stop,
        progress: &Progress,
    ) -> Result<bool> {
        let start = clock.monotonic();
        let from = day.options().from_us();
        while let Some(item) = day.next_item() {
            if let Speed::Times(times) = speed {
                let passed = (item.at_us() - from).max(0) as f64 / 1e6 / times;
                let due = start + Duration::from_secs_f64(passed);
                while due.saturating_sub(clock.monotonic()) > AHEAD && !stop.stopping() {
                    self.flush()?;
                    std::thread::sleep(due.saturating_sub(clock.monotonic()).min(NAP));
                }
            }
            if stop.stopping() {
                self.flush()?;
                return Ok(false);
            }
            self.take(item, progress)?;
        }
        self.flush()?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds_are_read() {
        assert_eq!("120".parse(), Ok(Speed::Times(120.0)));
        assert_eq!("0.5x".parse(), Ok(Speed::Times(0.5)));
        assert_eq!("max".parse(), Ok(Speed::Max));
        for wrong in ["", "0", "-1", "fast", "inf", "NaN"] {
            assert!(wrong.parse::<Speed>().is_err(), "{wrong}");
        }
    }
}
