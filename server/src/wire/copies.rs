//! One of several copies of a stateless program, which share its one table through a Kafka consumer group.
//!
//! In:   a program; partitions, as the group gives them and asks them back.
//! Out:  why a program cannot run so; the counts of what this copy did.
//! Owns: the order of a handover: the work on all partitions ends, its outputs and then its positions are
//!       kept, the partitions are given back, and only then the group gives them to anybody.
//!
//! A copy that loses its partitions (it stood still, or was cut off) is refused by its outputs and by the
//! group, forgets what it did since the last position that was kept, and joins anew.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use weir_connectors::kafka::{KafkaGroup, KafkaOptions, Turn};
use weir_contract::{Code, Error, Place, Result, WallClock};
use weir_engine::run::copies::Share;
use weir_engine::run::options::OpenOutput;
use weir_engine::run::{Options, Ports, Report, Stop, run_copy};
use weir_engine::sink::SinkFactory;
use weir_engine::source::Source;
use weir_engine::sql::plan::ir::{NodeId, Op, Output, Plan};
use weir_engine::watermark::Counts;

use super::at::LogAt;
use super::held::HeldControl;
use super::live::Setup;
use super::ports;
use super::program::Program;

/// Longest one look at the group takes.
const LOOK: Duration = Duration::from_millis(50);
/// Pause before a copy that lost its partitions joins anew.
const AGAIN: Duration = Duration::from_secs(1);

const ACT: &str = "operator: run it without --copy, or give its stateless INSERTs a program of their own.";

/// Why a program cannot run in copies; empty where it can.
pub fn refusals(program: &Program, log: &LogAt) -> Vec<Error> {
    let refused = |what: String, expected: &str, place: Option<&Place>| {
        let error = Error::new(Code::Usage, what).expected(expected).act(ACT);
        place.map_or(error.clone(), |place| error.at(place.clone()))
    };
    let plan = &program.plan;
    let mut errors = Vec::new();
    if !matches!(log, LogAt::Kafka { .. }) {
        errors.push(refused(
            format!("copies cannot share {log}"),
            "--log or WEIR_LOG with kafka://HOST:PORT: late and rejected records go there",
            None,
        ));
    }
    for table in &plan.sources {
        if table.connector != "kafka" {
            errors.push(refused(
                format!("copies cannot share `{}`: its connector is '{}'", table.name, table.connector),
                "connector = 'kafka'",
                Some(&table.place),
            ));
        } else if table.options.get("until").is_some_and(|until| until == "end") {
            errors.push(refused(
                format!("copies cannot share `{}`: its read is bounded", table.name),
                "no until = 'end': its ends would be in the control log, and copies have none",
                Some(&table.place),
            ));
        }
    }
    for extra in plan.sources.iter().skip(1) {
        errors.push(refused(
            format!("copies share one table: `{}` is a further one", extra.name),
            "one table with type = 'source'",
            Some(&extra.place),
        ));
    }
    for output in &plan.outputs {
        match output {
            Output::Rule { spec, .. } => errors.push(refused(
                format!("rule `{}` has state, and a copy keeps none", spec.name),
                "INSERT INTO alone",
                Some(&spec.place),
            )),
            Output::Insert { spec, node, stateless: false, .. } => errors.push(refused(
                format!(
                    "INSERT INTO `{}` has state ({}), and a copy keeps none",
                    spec.table,
                    stateful(plan, *node).unwrap_or("several inputs")
                ),
                "columns, WHERE and detect() over one table",
                Some(&spec.place),
            )),
            Output::Insert { spec, target, .. } if target.connector != "kafka" => errors.push(refused(
                format!("INSERT INTO `{}` writes to connector '{}'", spec.table, target.connector),
                "connector = 'kafka': its transactions keep an older copy from writing",
                Some(&spec.place),
            )),
            Output::Insert { .. } => {}
        }
    }
    errors
}

/// The word for the operator that is not stateless, below a node.
fn stateful(plan: &Plan, node: NodeId) -> Option<&'static str> {
    let below = &plan.nodes[node];
    match below.op {
        Op::Source(_) | Op::Project { .. } | Op::Filter(_) | Op::Detect { .. } => {
            below.inputs.iter().find_map(|input| stateful(plan, *input))
        }
        _ => Some(below.op.name()),
    }
}

/// Runs this copy until it is stopped.
pub fn run(program: &Program, setup: &Setup<'_>, stop: &Stop) -> Result<Report> {
    let copy = Copy::open(program, setup)?;
    let mut total = Report::default();
    for table in &program.plan.sources {
        total.sources.insert(table.name.clone(), Counts::default());
    }
    loop {
        let group = Arc::new(KafkaGroup::join(&copy.shared, &copy.group)?);
        if copy.serve(&group, &mut total, stop)? {
            return Ok(total);
        }
        drop(group);
        std::thread::sleep(AGAIN);
    }
}

/// What all stretches of work of a copy have in common.
struct Copy {
    plan: Plan,
    options: Options,
    sources: BTreeMap<String, Arc<dyn Source>>,
    targets: BTreeMap<String, Arc<dyn SinkFactory>>,
    outputs: Arc<OpenOutput>,
    /// The table that is shared.
    shared: KafkaOptions,
    group: String,
}

/// Work on some partitions, in a thread of its own.
struct Work {
    stop: Stop,
    thread: JoinHandle<Result<Report>>,
}

impl Work {
    fn join(self) -> Result<Report> {
        let lost = || Err(Error::new(Code::Internal, "the work of a copy panicked"));
        self.thread.join().unwrap_or_else(|_| lost())
    }
}

impl Copy {
    /// Opens the table and the targets; makes topics that are missing.
    fn open(program: &Program, setup: &Setup<'_>) -> Result<Copy> {
        let options =
            Options { checkpoint_every: setup.checkpoint_every, ..setup.sizes.options(&program.name, None) }
                .for_plan(&program.plan);
        let table = program.plan.sources.first();
        let table =
            table.ok_or_else(|| Error::new(Code::Usage, "a program without a source has no copies"))?;
        let sources = ports::sources(&program.plan, setup.registry)?;
        let tasks = ports::tasks(&sources)?;
        Ok(Copy {
            targets: ports::targets(&program.plan, setup.registry, tasks)?,
            outputs: ports::outputs(program, setup.log, setup.registry, tasks),
            shared: KafkaOptions::of_table(table)?,
            group: format!("{}.{}", options.env, program.name),
            plan: program.plan.clone(),
            sources,
            options,
        })
    }

    /// Begins the work on partitions.
    fn work(&self, group: &Arc<KafkaGroup>, partitions: Vec<u32>) -> Result<Work> {
        let stop = Stop::default();
        let ports = Ports {
            sources: self.sources.clone(),
            targets: self.targets.clone(),
            outputs: Some(Arc::clone(&self.outputs)),
            // Nothing is decided: it stays empty but for this process's own claim.
            control: Arc::new(HeldControl::default()),
            reference: None,
            observer: None,
            clock: Arc::new(WallClock),
            until: None,
        };
        let (plan, options, group) = (self.plan.clone(), self.options.clone(), Arc::clone(group));
        let asked = stop.clone();
        let work = move || {
            let kept = group.kept(&partitions)?;
            run_copy(plan, ports, options, Share { kept, progress: group }, &asked)
        };
        let thread = std::thread::Builder::new().name("copy".into()).spawn(work);
        let thread = thread.map_err(|e| Error::new(Code::Internal, format!("no thread for a copy: {e}")))?;
        Ok(Work { stop, thread })
    }

    /// Works on what the group gives. True: it was stopped; false: it lost what it had, and has to join anew.
    fn serve(&self, group: &Arc<KafkaGroup>, total: &mut Report, stop: &Stop) -> Result<bool> {
        let mut work: Option<Work> = None;
        loop {
            let turn = match group.turn(LOOK) {
                Ok(turn) => turn,
                Err(error) => {
                    if let Some(work) = work.take() {
                        work.stop.stop();
                        work.join()?;
                    }
                    return Err(error);
                }
            };
            if let Some(ended) = work.take_if(|work| work.thread.is_finished()) {
                match ended.join() {
                    Ok(report) => add(total, report),
                    // Another copy has the partitions, or will have them; or nobody answers.
                    Err(error)
                        if matches!(error.code(), Code::Locked | Code::Connect) && !stop.stopping() =>
                    {
                        let act = "nobody. This copy joins the group anew; nothing is lost.";
                        tracing::warn!("{}", error.act(act));
                        return Ok(false);
                    }
                    Err(error) => return Err(error),
                }
            }
            match &work {
                Some(work) if stop.stopping() || turn == Turn::GiveBack => work.stop.stop(),
                Some(_) => {}
                None if stop.stopping() => return Ok(true),
                None => match turn {
                    Turn::Work(partitions) if !partitions.is_empty() => {
                        tracing::info!("this copy has partitions {partitions:?}");
                        work = Some(self.work(group, partitions)?);
                    }
                    Turn::GiveBack => group.give_back()?,
                    Turn::Work(_) | Turn::Wait => {}
                },
            }
        }
    }
}

/// Counts of one more stretch of work.
fn add(total: &mut Report, more: Report) {
    fn sum(into: &mut BTreeMap<String, u64>, more: BTreeMap<String, u64>) {
        more.into_iter().for_each(|(name, count)| *into.entry(name).or_default() += count);
    }
    for (table, counts) in more.sources {
        *total.sources.entry(table).or_default() += counts;
    }
    sum(&mut total.outputs, more.outputs);
    sum(&mut total.rejected, more.rejected);
    sum(&mut total.failed, more.failed);
    total.dropped_again += more.dropped_again;
    total.checkpoints += more.checkpoints;
    total.state_bytes_peak = total.state_bytes_peak.max(more.state_bytes_peak);
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use weir_engine::sql::SourceFile;

    use super::*;
    use crate::wire::models::{Models, Places};

    const FRAMES: &str = "CREATE TABLE frames (\n    event_id TEXT NOT NULL,\n    warehouse TEXT,\n    n BIGINT,\n    \
        ts TIMESTAMP,\n    WATERMARK FOR ts\n) WITH (type = 'source', dedup = 'event_id', \
        dedup_within = INTERVAL '10 minutes')\nPARTITIONED BY (warehouse);\n";
    const FOUND: &str = "CREATE TABLE found (event_id TEXT, ts TIMESTAMP) WITH (type = 'sink');\n";
    const PLAIN: &str = "INSERT INTO found SELECT event_id, ts FROM frames WHERE n > 1;\n";

    fn said(log: &str, text: &str) -> Vec<String> {
        let log = LogAt::parse(log).unwrap();
        let registry = ports::registry(&log, Path::new("data")).unwrap();
        let file = SourceFile { name: "a.sql".into(), folder: String::new(), text: text.to_owned() };
        let models = Models::new(Places::of_environment("frames".into()));
        let program = Program::of("a".into(), &[file], &log, &registry, &models).unwrap();
        refusals(&program, &log).iter().map(|error| error.to_string()).collect()
    }

    fn words(place: &str, what: &str, expected: &str) -> String {
        format!("W0701{place}\n  {what}\n  expected  {expected}\n  act       {ACT}")
    }

    #[test]
    fn a_stateless_program_on_kafka_is_taken() {
        assert_eq!(said("kafka://h:1", &[FRAMES, FOUND, PLAIN].concat()), Vec::<String>::new());
    }

    #[test]
    fn what_has_state_is_refused_with_its_place() {
        let text = [
            FRAMES,
            FOUND,
            PLAIN,
            "INSERT INTO found\nSELECT w, q.slot.end FROM (\n\
             SELECT warehouse AS w, tumble(INTERVAL '1 minute') AS slot, count(*) AS c FROM frames\n\
             GROUP BY warehouse, tumble(INTERVAL '1 minute')) AS q;\n",
            "CREATE RULE much WITH (kind = 'event', key = 'n', severity = 'low') AS\n\
             SELECT warehouse, n, ts AS event_time, 'x' AS reason FROM frames WHERE n > 5;\n",
        ];
        let said = said("kafka://h:1", &text.concat());
        assert_eq!(
            said,
            [
                words("  a.sql:15:1", "rule `much` has state, and a copy keeps none", "INSERT INTO alone"),
                words(
                    "  a.sql:11:1",
                    "INSERT INTO `found` has state (aggregate), and a copy keeps none",
                    "columns, WHERE and detect() over one table"
                ),
            ]
        );
    }

    #[test]
    fn logs_that_cannot_be_shared_are_refused() {
        let frames = FRAMES.replace("type = 'source'", "type = 'source', until = 'end'");
        let bounded = words(
            "  a.sql:1:1",
            "copies cannot share `frames`: its read is bounded",
            "no until = 'end': its ends would be in the control log, and copies have none",
        );
        assert_eq!(said("kafka://h:1", &[&frames, FOUND, PLAIN].concat()), [bounded]);

        let second = FRAMES.replace("TABLE frames", "TABLE more");
        let both = "INSERT INTO found SELECT event_id, ts FROM more;\n";
        let two = words(
            "  a.sql:9:1",
            "copies share one table: `more` is a further one",
            "one table with type = 'source'",
        );
        assert_eq!(said("kafka://h:1", &[FRAMES, &second, FOUND, PLAIN, both].concat()), [two]);

        let away = FOUND.replace("type = 'sink'", "type = 'sink', connector = 'stdout'");
        let target = words(
            "  a.sql:10:1",
            "INSERT INTO `found` writes to connector 'stdout'",
            "connector = 'kafka': its transactions keep an older copy from writing",
        );
        assert_eq!(said("kafka://h:1", &[FRAMES, &away, PLAIN].concat()), [target]);

        let at = words(
            "",
            "copies cannot share log:x",
            "--log or WEIR_LOG with kafka://HOST:PORT: late and rejected records go there",
        );
        let table = words(
            "  a.sql:1:1",
            "copies cannot share `frames`: its connector is 'log'",
            "connector = 'kafka'",
        );
        let out = words(
            "  a.sql:10:1",
            "INSERT INTO `found` writes to connector 'log'",
            "connector = 'kafka': its transactions keep an older copy from writing",
        );
        assert_eq!(said("log:x", &[FRAMES, FOUND, PLAIN].concat()), [at, table, out]);
    }

    #[test]
    fn counts_of_several_stretches_are_one_sum() {
        let counts =
            |rows| Counts { records: rows, rows, row_records: rows, processed: rows, ..Counts::default() };
        let one = |rows, peak| Report {
            sources: BTreeMap::from([("frames".into(), counts(rows))]),
            outputs: BTreeMap::from([("found".into(), rows)]),
            dropped_again: 1,
            checkpoints: 2,
            state_bytes_peak: peak,
            ..Report::default()
        };
        let mut total = Report::default();
        add(&mut total, one(3, 9));
        add(&mut total, one(4, 5));
        assert_eq!(total.sources["frames"], counts(7));
        assert_eq!((total.outputs["found"], total.dropped_again, total.checkpoints), (7, 2, 4));
        assert_eq!(total.state_bytes_peak, 9);
    }
}
