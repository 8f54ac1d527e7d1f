//! Plans a program and runs it over a world in memory, whole or with stops, kills and slow arrival.
//!
//! In:   SQL, a world, settings of a run.
//! Out:  an [`Outcome`] once everything was worked off.
//!
//! R1  A data record becomes visible only after the control records that the world wrote before it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use weir_contract::{Code, Error, WallClock};
use weir_engine::connect::memory::MemoryLog;
use weir_engine::run::{Options, Ports, Report, Stop, run};
use weir_engine::sql::catalog::TableKind;
use weir_engine::sql::plan::ir::{Output, Plan};
use weir_engine::sql::{SourceFile, plan, read};

use super::outcome::Outcome;
use super::rng::Rng;
use super::world::{PARTITIONS, Step, TABLES, World};

pub const ENV: &str = "test";
pub const PROGRAM: &str = "laws";
const CONTROL: &str = "test.laws.control";
/// Partitions of outputs: one for each task and shard that there can be.
const OUT_PARTITIONS: u32 = 8;

fn shown(errors: Vec<Error>) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Plans scripts; every `INSERT INTO` may name a sink that is declared nowhere and takes any columns.
pub fn planned(texts: &[&str]) -> Result<Plan, String> {
    let mut text = texts.join("\n");
    let sinks: Vec<String> = text
        .split("INSERT INTO ")
        .skip(1)
        .filter_map(|rest| Some(rest.split_whitespace().next()?.to_owned()))
        .filter(|name| !text.contains(&format!("CREATE TABLE {name} ")))
        .collect();
    for sink in &sinks {
        text.push_str(&format!(
            "\nCREATE TABLE {sink} (any TEXT) WITH (connector = 'memory', type = 'sink');"
        ));
    }
    let file = SourceFile { name: "t.sql".into(), folder: String::new(), text };
    let mut script = read(&[file]).map_err(shown)?;
    for table in script.tables.iter_mut().filter(|t| t.kind == TableKind::Sink) {
        table.columns.clear();
    }
    plan::plan(&script).map_err(shown)
}

/// How a run is cut short.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cut {
    Never,
    /// A clean stop.
    Stop,
    /// Ends between two steps, without a checkpoint.
    Kill,
    /// Dies wherever it is; what was not committed is gone.
    Crash,
}

/// How one run goes; none of it may change a result.
#[derive(Debug, Clone, Copy)]
pub struct Way {
    pub workers: usize,
    pub shards: usize,
    pub batch_rows: usize,
    pub cut: Cut,
    pub checkpoint_every: Duration,
    /// Bytes of state and exchanges; a small budget makes lanes wait.
    pub memory_bytes: usize,
}

/// One program over one world, in memory.
pub struct Rig<'a> {
    plan: &'a Plan,
    world: &'a World,
    bounded: bool,
    log: MemoryLog,
}

impl<'a> Rig<'a> {
    /// All data is in the logs, and hidden; the control log is empty.
    pub fn new(plan: &'a Plan, world: &'a World, bounded: bool) -> Self {
        let log = MemoryLog::new();
        for (name, _, _) in TABLES {
            log.create(name, PARTITIONS);
            log.set_bounded(name, bounded).unwrap();
        }
        for step in &world.steps {
            if let Step::Data { table, partition, record } = step {
                log.append(TABLES[*table].0, *partition, record.clone()).unwrap();
            }
        }
        let rig = Self { plan, world, bounded, log };
        rig.outputs().iter().for_each(|topic| rig.log.create(topic, OUT_PARTITIONS));
        let _ = rig.log.control(CONTROL, 1 + OUT_PARTITIONS);
        rig
    }

    pub fn outputs(&self) -> Vec<String> {
        let side = |kind: &'static str| TABLES.iter().map(move |(t, _, _)| format!("{ENV}.{t}.{kind}"));
        let inserts = self.plan.outputs.iter().filter_map(|o| match o {
            Output::Insert { target, .. } => Some(target.name.clone()),
            Output::Rule { .. } => None,
        });
        let mut topics: Vec<String> = inserts.chain(side("late")).chain(side("rejected")).collect();
        topics.push(format!("{ENV}.events.{PROGRAM}"));
        topics
    }

    fn ports(&self) -> Ports {
        let log = self.log.clone();
        let named = |names: Vec<String>| names.into_iter();
        Ports {
            sources: named(self.plan.sources.iter().map(|t| t.name.clone()).collect())
                .map(|name| (name.clone(), log.source(&name).unwrap()))
                .collect(),
            targets: named(self.outputs()).map(|name| (name.clone(), log.sink(&name).unwrap())).collect(),
            outputs: Some(Arc::new(move |name: &str| log.sink(name))),
            control: self.log.control(CONTROL, 1 + OUT_PARTITIONS),
            reference: None,
            observer: None,
            clock: Arc::new(WallClock),
            until: None,
        }
    }

    fn options(&self, way: &Way, data: Option<&Path>) -> Options {
        Options {
            env: ENV.into(),
            program: PROGRAM.into(),
            workers: way.workers,
            shards: way.shards,
            batch_rows: way.batch_rows,
            memory_bytes: way.memory_bytes,
            data: data.map(Path::to_owned),
            checkpoint_every: way.checkpoint_every,
            external_control: true,
            ..Options::default()
        }
    }

    /// Runs with everything there from the start.
    pub fn run_whole(&self, way: &Way) -> Outcome {
        let control = self.log.control(CONTROL, 1 + OUT_PARTITIONS);
        for step in &self.world.steps {
            if let Step::Control(record) = step {
                control.append(0, record).unwrap();
            }
        }
        let stop = Stop::default();
        if !self.bounded {
            stop.drain();
        }
        let report = run(self.plan.clone(), self.ports(), self.options(way, None), &stop)
            .unwrap_or_else(|e| panic!("the reference run failed: {e}"));
        self.outcome(&report)
    }

    /// Runs while records arrive in an order of their own, cut short at drawn places.
    pub fn run_live(&self, way: &Way, rng: &mut Rng) -> Outcome {
        let data = tempfile::tempdir().unwrap();
        let mut feed = Feed::new(self);
        let mut cuts = if way.cut == Cut::Never { 0 } else { 1 + rng.below(2) };
        let mut restarted = way.cut == Cut::Never;
        loop {
            let stop = Stop::default();
            let way = if restarted && way.cut != Cut::Never {
                // Another machine goes on: only the shards stay, the checkpoint has them.
                Way { workers: rng.pick(&[1, 2, 4]), batch_rows: rng.pick(&[1, 7, 64, 8192]), ..*way }
            } else {
                *way
            };
            let steps = if cuts > 0 { rng.below(feed.left() + 1) } else { usize::MAX };
            let (ports, options) = (self.ports(), self.options(&way, Some(data.path())));
            let ended = std::thread::scope(|scope| {
                let running = scope.spawn(|| run(self.plan.clone(), ports, options, &stop));
                for _ in 0..steps {
                    if running.is_finished() || !feed.step(rng) {
                        break;
                    }
                }
                match (cuts > 0, way.cut) {
                    (true, Cut::Stop) => stop.stop(),
                    (true, Cut::Kill) => stop.kill(),
                    (true, Cut::Crash) => self.log.kill(),
                    _ if !self.bounded => stop.drain(),
                    _ => {}
                }
                if cuts > 0 && way.cut == Cut::Crash {
                    // A process that wrote nothing more did not notice that it is dead.
                    for _ in 0..50 {
                        std::thread::sleep(Duration::from_micros(100));
                        if running.is_finished() {
                            break;
                        }
                    }
                    stop.kill();
                }
                running.join().unwrap()
            });
            match ended {
                Ok(report) if cuts == 0 => return self.outcome(&report),
                Ok(_) => {}
                Err(e) if cuts > 0 && way.cut == Cut::Crash && e.code() == Code::Locked => {}
                Err(e) => panic!("a run failed: {e} ({way:?})"),
            }
            cuts -= 1;
            restarted = true;
        }
    }

    fn outcome(&self, report: &Report) -> Outcome {
        let outcome = Outcome::read(&self.log, &self.outputs(), report);
        for ((name, _, _), records) in TABLES.iter().zip(self.world.records) {
            let c = outcome.counts[*name];
            assert_eq!(c.records, records, "records of {name}");
            assert_eq!(c.records, c.row_records + c.heartbeats + c.rejects, "{name}: {c:?}");
            assert_eq!(c.rows, c.processed + c.late + c.duplicates, "{name}: {c:?}");
        }
        outcome
    }
}

/// Lets records arrive, partition by partition.
struct Feed<'a> {
    rig: &'a Rig<'a>,
    /// World steps of each partition, and how many of them are visible.
    partitions: Vec<((usize, u32), Vec<usize>, usize)>,
    controls: Vec<usize>,
    controls_written: usize,
}

impl<'a> Feed<'a> {
    fn new(rig: &'a Rig<'a>) -> Self {
        let mut by: BTreeMap<(usize, u32), Vec<usize>> = BTreeMap::new();
        let mut controls = Vec::new();
        for (at, step) in rig.world.steps.iter().enumerate() {
            match step {
                Step::Data { table, partition, .. } => by.entry((*table, *partition)).or_default().push(at),
                Step::Control(_) => controls.push(at),
            }
        }
        for (name, _, _) in TABLES {
            for partition in 0..PARTITIONS {
                rig.log.release(name, partition, Some(0)).unwrap();
            }
        }
        let partitions = by.into_iter().map(|(key, steps)| (key, steps, 0)).collect();
        let mut feed = Self { rig, partitions, controls, controls_written: 0 };
        feed.control_before(1);
        feed
    }

    /// Steps that are left, about.
    fn left(&self) -> usize {
        self.partitions.iter().map(|(_, steps, seen)| (steps.len() - seen).div_ceil(20)).sum()
    }

    fn control_before(&mut self, step: usize) {
        let control = self.rig.log.control(CONTROL, 1 + OUT_PARTITIONS);
        while let Some(at) = self.controls.get(self.controls_written).filter(|at| **at < step) {
            if let Step::Control(record) = &self.rig.world.steps[*at] {
                control.append(0, record).unwrap();
            }
            self.controls_written += 1;
        }
    }

    /// Makes some records of one partition visible; false once everything is.
    fn step(&mut self, rng: &mut Rng) -> bool {
        let open: Vec<usize> = (0..self.partitions.len())
            .filter(|i| self.partitions[*i].2 < self.partitions[*i].1.len())
            .collect();
        if open.is_empty() {
            // Late enough that no record makes anybody look into the control log again.
            std::thread::sleep(Duration::from_millis(4));
            self.control_before(usize::MAX);
            return false;
        }
        let at = rng.pick(&open);
        let ((table, partition), steps, seen) = &mut self.partitions[at];
        *seen = (*seen + 1 + rng.below(40)).min(steps.len());
        let (name, partition, seen, last) = (TABLES[*table].0, *partition, *seen, steps[*seen - 1]);
        // Nothing is decided for a partition that has ended: the end lets no more versions in.
        let ends = self.rig.bounded && seen == self.partitions[at].1.len();
        self.control_before(if ends { usize::MAX } else { last });
        self.rig.log.release(name, partition, Some(seen as i64)).unwrap();
        if rng.percent(60) {
            std::thread::sleep(Duration::from_micros(rng.range(50, 1500) as u64));
        }
        true
    }
}
