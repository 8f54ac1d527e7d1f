//! A small program over topics in memory, for tests that look at one thing.
//!
//! In:   SQL; records that the test appends.
//! Out:  runs, and every record of every output.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use weir_contract::{EventTime, WallClock};
use weir_engine::connect::memory::{MemoryLog, MemoryRecord};
use weir_engine::detect::{Detectors, NoDetectors};
use weir_engine::run::{Options, Ports, Report, Stop, run};
use weir_engine::source::Source;
use weir_engine::sql::catalog::TableKind;
use weir_engine::sql::plan::ir::Plan;
use weir_engine::sql::{SourceFile, plan, read};

const CONTROL: &str = "t.small.control";
const OUT_PARTITIONS: u32 = 12;
/// 2026-03-01T08:00:00Z.
pub const START: i64 = 1_772_352_000_000_000;
pub const SECOND: i64 = 1_000_000;

/// A program and its world; clones share the logs.
#[derive(Clone)]
pub struct Small {
    pub log: MemoryLog,
    pub plan: Plan,
    pub sources: BTreeMap<String, Arc<dyn Source>>,
    /// Where outputs are; of a replay, elsewhere.
    pub out: MemoryLog,
    topics: Vec<String>,
}

impl Small {
    /// Every source gets `partitions`; every output is there.
    pub fn new(text: &str, partitions: u32) -> Small {
        Small::with(text, partitions, &NoDetectors)
    }

    /// The same with models for `detect()`.
    pub fn with(text: &str, partitions: u32, detectors: &dyn Detectors) -> Small {
        let file = SourceFile { name: "small.sql".into(), folder: String::new(), text: text.into() };
        let shown =
            |e: Vec<weir_contract::Error>| e.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        let script = read(&[file]).unwrap_or_else(|e| panic!("{}", shown(e)));
        let plan = plan::plan_with(&script, detectors).unwrap_or_else(|e| panic!("{}", shown(e)));
        let log = MemoryLog::new();
        plan.sources.iter().for_each(|t| log.create(&t.name, partitions));
        let sinks = script.tables.iter().filter(|t| t.kind == TableKind::Sink).map(|t| t.name.clone());
        let sides =
            plan.sources.iter().flat_map(|t| ["late", "rejected"].map(|side| format!("t.{}.{side}", t.name)));
        let refused = plan.outputs.iter().map(|o| format!("t.{}.rejected", o.name()));
        let topics: Vec<String> =
            sinks.chain(sides).chain(refused).chain(["t.events.small".to_owned()]).collect();
        let sources = plan.sources.iter().map(|t| (t.name.clone(), log.source(&t.name).unwrap())).collect();
        let small = Small { out: log.clone(), log, plan, sources, topics };
        small.make_outputs();
        small
    }

    fn make_outputs(&self) {
        self.topics.iter().for_each(|topic| self.out.create(topic, OUT_PARTITIONS));
    }

    /// The same logs, read by a program whose outputs go elsewhere.
    pub fn beside(&self) -> Small {
        let beside = Small { out: MemoryLog::new(), ..self.clone() };
        beside.make_outputs();
        beside
    }

    pub fn control(&self) -> Arc<dyn weir_engine::control::ControlLog> {
        self.log.control(CONTROL, 1 + OUT_PARTITIONS)
    }

    pub fn ports(&self) -> Ports {
        let out = self.out.clone();
        Ports {
            sources: self.sources.clone(),
            targets: self.topics.iter().map(|t| (t.clone(), self.out.sink(t).unwrap())).collect(),
            outputs: Some(Arc::new(move |topic: &str| out.sink(topic))),
            control: self.control(),
            reference: None,
            observer: None,
            clock: Arc::new(WallClock),
            until: None,
        }
    }

    pub fn options(data: Option<&Path>) -> Options {
        Options {
            env: "t".into(),
            program: "small".into(),
            data: data.map(Path::to_owned),
            ..Options::default()
        }
    }

    pub fn run(&self, options: Options, stop: &Stop) -> Report {
        run(self.plan.clone(), self.ports(), options, stop).unwrap_or_else(|e| panic!("{e}"))
    }

    /// Reads the logs to the ends that they have now, as a replay does; outputs go elsewhere.
    pub fn replay(&self, options: Options) -> (Small, Report) {
        let beside = self.beside();
        let mut until = BTreeMap::new();
        for (table, source) in &self.sources {
            for partition in source.partitions().unwrap().into_iter().filter(|p| !p.bounded) {
                until.insert((table.clone(), partition.number), partition.end);
            }
        }
        let ports = Ports { until: Some(until), ..beside.ports() };
        let report =
            run(self.plan.clone(), ports, options, &Stop::default()).unwrap_or_else(|e| panic!("{e}"));
        (beside, report)
    }

    /// Records that a source has, in all its partitions.
    pub fn log_rows(&self, table: &str) -> u64 {
        let partitions = 0..self.log.partition_count(table).unwrap();
        partitions.map(|p| self.log.records(table, p).unwrap().len() as u64).sum()
    }

    /// All records of an output, value and id; sorted, so that a doubled one shows.
    pub fn lines(&self, topic: &str) -> Vec<String> {
        let mut lines = Vec::new();
        for partition in 0..OUT_PARTITIONS {
            for (_, record) in self.out.records(topic, partition).unwrap() {
                if let Some(id) = record.id() {
                    let value = String::from_utf8(record.value.unwrap_or_default()).unwrap();
                    lines.push(format!("{value} {id}"));
                }
            }
        }
        lines.sort();
        lines
    }

    /// All outputs that have records.
    pub fn outputs(&self) -> BTreeMap<String, Vec<String>> {
        let with = |t: &String| (t.clone(), self.lines(t));
        self.topics.iter().map(with).filter(|(_, lines)| !lines.is_empty()).collect()
    }
}

/// A row of table `a`: appended at its own time.
pub fn row(partition: u32, n: i64, time: i64) -> MemoryRecord {
    let at = EventTime(time);
    MemoryRecord::value(format!(
        "{{\"id\":\"{partition}/{n}\",\"warehouse\":\"W{partition}\",\"k\":\"k{}\",\"n\":{n},\"ts\":\"{at}\"}}",
        n % 5
    ))
    .at(time)
}
