//! The outside world of a run: sources, sinks, event topics, control log.
//!
//! In:   a program and where its log is.
//! Out:  what `run::Ports` wants.
//! Owns: names of topics (semantics 11). Not what a connector does with them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use weir_connectors::Surroundings;
use weir_connectors::kafka::{KafkaConnector, KafkaControlLog, KafkaOptions};
use weir_connectors::log::{LogConnector, Topic};
use weir_connectors::paths::Roots;
use weir_connectors::recording::{RecordedControl, RecordingSource};
use weir_contract::{Code, Error, Result, WallClock};
use weir_engine::connect::{Connector, Registry, topic_of};
use weir_engine::control::ControlLog;
use weir_engine::run::options::OpenOutput;
use weir_engine::sink::SinkFactory;
use weir_engine::source::Source;
use weir_engine::sql::catalog::{TableKind, TableSpec};
use weir_engine::sql::plan::ir::{Output, Plan};

use super::at::LogAt;
use super::program::Program;

/// Every connector that this binary has. Paths that programs name start at the working folder and may
/// lead anywhere, or only below the folders of `WEIR_PATHS` (separated by `:`) and that of the log.
///
/// # Errors
/// `W0405` where a folder of `WEIR_PATHS` is not there.
pub fn registry(log: &LogAt, data: &Path) -> Result<Registry> {
    let here = std::env::current_dir()
        .map_err(|e| Error::new(Code::Io, format!("the working folder cannot be read: {e}")))?;
    let own = match log {
        LogAt::Log { folder, .. } | LogAt::Files { folder } => Some(folder.clone()),
        LogAt::Kafka { .. } => None,
    };
    let granted: Vec<PathBuf> = match std::env::var("WEIR_PATHS").ok().filter(|p| !p.is_empty()) {
        Some(paths) => {
            let own = own.filter(|o| o.exists());
            paths.split(':').filter(|p| !p.is_empty()).map(PathBuf::from).chain(own).collect()
        }
        None => vec![here, PathBuf::from("/")],
    };
    let surroundings =
        Surroundings { log: data.join("log"), roots: Roots::new(granted)?, clock: Arc::new(WallClock) };
    Ok(weir_connectors::registry(&surroundings))
}

/// The embedded log of a folder, for topics that no table declares.
fn embedded(folder: &Path) -> Result<LogConnector> {
    Ok(LogConnector::new(folder, Roots::new([])?, Arc::new(WallClock)))
}

/// The connector that a table names.
pub fn connector_of<'a>(registry: &'a Registry, table: &TableSpec) -> Result<&'a Arc<dyn Connector>> {
    registry.get(&table.connector).ok_or_else(|| {
        Error::new(Code::BadOption, format!("there is no connector '{}'", table.connector))
            .at(table.place.clone())
    })
}

/// Sources of all tables of a plan, by name.
pub fn sources(plan: &Plan, registry: &Registry) -> Result<BTreeMap<String, Arc<dyn Source>>> {
    plan.sources
        .iter()
        .map(|table| {
            let source =
                connector_of(registry, table)?.source(table).map_err(|e| e.or_at(table.place.clone()))?;
            Ok((table.name.clone(), source))
        })
        .collect()
}

/// Targets of all inserts of a plan, by table. What is written row by row goes from partition p to partition
/// p: a topic that is made for it has as many as there are `tasks`, and one that has another number is refused.
pub fn targets(
    plan: &Plan,
    registry: &Registry,
    tasks: u32,
) -> Result<BTreeMap<String, Arc<dyn SinkFactory>>> {
    let mut targets = BTreeMap::new();
    for output in &plan.outputs {
        if let Output::Insert { target, stateless, .. } = output
            && !targets.contains_key(&target.name)
        {
            let mut target = TableSpec::clone(target);
            let counts = registry
                .get(&target.connector)
                .is_some_and(|c| c.options().iter().any(|o| o.name == "partitions"));
            if *stateless && counts {
                target.options.entry("partitions".into()).or_insert_with(|| tasks.to_string());
            }
            let target = &target;
            let sink =
                connector_of(registry, target)?.sink(target).map_err(|e| e.or_at(target.place.clone()))?;
            targets.insert(target.name.clone(), sink);
        }
    }
    Ok(targets)
}

/// Event topics and side streams: on the log, unless the program declares a sink of that topic.
pub fn outputs(program: &Program, log: &LogAt, registry: &Registry, partitions: u32) -> Arc<OpenOutput> {
    let declared: Vec<TableSpec> =
        program.script.tables.iter().filter(|t| t.kind == TableKind::Sink).cloned().collect();
    let (log, registry) = (log.clone(), registry.clone());
    Arc::new(move |topic: &str| {
        let table = match declared.iter().find(|t| topic_of(t) == topic) {
            Some(table) => table.clone(),
            None => log.topic(topic, TableKind::Sink, Some(partitions.max(1)))?,
        };
        connector_of(&registry, &table)?.sink(&table)
    })
}

/// The number of tasks: partition numbers of all sources together.
pub fn tasks(sources: &BTreeMap<String, Arc<dyn Source>>) -> Result<u32> {
    let mut tasks = 1;
    for source in sources.values() {
        tasks = source.partitions()?.iter().map(|p| p.number + 1).fold(tasks, u32::max);
    }
    Ok(tasks)
}

/// Name of a program's control log.
pub fn control_topic(env: &str, program: &str) -> String {
    format!("{env}.{program}.control")
}

/// Opens a control log with one shared partition and one for each instance; makes it where it is
/// missing.
pub fn control(log: &LogAt, topic: &str, instances: u32) -> Result<Arc<dyn ControlLog>> {
    match log {
        LogAt::Kafka { .. } => {
            let options = KafkaOptions::of_table(&log.topic(topic, TableKind::Sink, None)?)?;
            Ok(Arc::new(KafkaControlLog::open(&options, instances)?))
        }
        LogAt::Log { folder, .. } => Ok(Arc::new(embedded(folder)?.control(topic, instances)?)),
        LogAt::Files { .. } => {
            Err(Error::new(Code::Internal, "plain files take no control log").expected("LogAt::writable"))
        }
    }
}

/// The control log of a live run, to be read only; none where the log has none.
pub fn control_to_read(log: &LogAt, topic: &str) -> Result<Option<Arc<dyn ControlLog>>> {
    match log {
        LogAt::Kafka { .. } => {
            let table = log.topic(topic, TableKind::Source, None)?;
            // Opening would make a topic that is missing.
            let there = match KafkaConnector.source(&table)?.partitions() {
                Ok(partitions) => partitions.len() as u32,
                Err(error) if error.code() == Code::NoTopic => return Ok(None),
                Err(error) => return Err(error),
            };
            let options = KafkaOptions::of_table(&table)?;
            Ok(Some(Arc::new(KafkaControlLog::open(&options, there.saturating_sub(1))?)))
        }
        LogAt::Log { folder, .. } => match Topic::open(folder, topic) {
            Ok(there) => {
                let tasks = there.partitions().saturating_sub(1);
                Ok(Some(Arc::new(embedded(folder)?.control(topic, tasks)?)))
            }
            Err(error) if error.code() == Code::NoTopic => Ok(None),
            Err(error) => Err(error),
        },
        LogAt::Files { folder } => {
            let own = folder.join(topic);
            match RecordingSource::is_recording(&own) {
                true => Ok(Some(Arc::new(RecordedControl::open(&own)?))),
                false => Ok(None),
            }
        }
    }
}
