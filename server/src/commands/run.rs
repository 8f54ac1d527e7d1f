//! `weir run`: a program until its bounded sources end or it is stopped.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value, json};
use weir_contract::EventTime;
use weir_engine::connect::Registry;
use weir_engine::run::{Report, Stop};
use weir_engine::watermark::Counts;

use crate::Done;
use crate::wire::at::LogAt;
use crate::wire::live::{Live, Setup};
use crate::wire::models::{Models, Places};
use crate::wire::program::Program;
use crate::wire::usage::Usage;
use crate::wire::{self, Sizes, copies, ports, stop};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder of .sql files, or one file
    program: PathBuf,
    /// Checkpoints, embedded log, reference database
    #[arg(long, value_name = "DIR", default_value = "data")]
    data: PathBuf,
    /// Where tables without a connector are; default: WEIR_LOG, else the embedded log under --data
    #[arg(long, value_name = "LOG")]
    log: Option<String>,
    /// Reference data: a .sql file that fills a new database, or a database (postgres://…, sqlite:FILE)
    #[arg(long, value_name = "SQL|URL")]
    reference: Option<String>,
    #[command(flatten)]
    sizes: Sizes,
    /// Time between checkpoints
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = wire::span_arg)]
    checkpoint_every: Duration,
    /// Another program in the same process, such as the detector; may stand several times. It ends with the
    /// main one; where it fails, the main one goes on
    #[arg(long, value_name = "PROGRAM")]
    beside: Vec<PathBuf>,
    /// One of several copies of a stateless program, such as the detector: they share its Kafka topic through the
    /// consumer group {env}.{program}, without checkpoints and control log
    #[arg(long, conflicts_with_all = ["beside", "reference", "decisions"])]
    copy: bool,
    /// Writes every evaluation of every rule to {env}.decisions: why, and why not
    #[arg(long)]
    decisions: bool,
}

pub fn run(args: Args) -> Done {
    let usage = Usage::start();
    let log = LogAt::choose(args.log.as_deref(), &args.data)?;
    let registry = ports::registry(&log, &args.data)?;
    let models = Models::new(Places::of_environment(log.frames(&args.data)));
    let load = |path: &PathBuf| Program::with(path, &log, &registry, &models);
    let program = load(&args.program)?;
    if args.copy {
        return run_copy(&program, &log, &registry, &args, &usage);
    }
    let beside = args.beside.iter().map(load).collect::<Result<Vec<_>, _>>()?;
    // Before anything of the programs is touched: a second process must not disturb the first.
    for one in beside.iter().chain([&program]) {
        super::refuse_second(&args.data, &one.name)?;
    }
    let stop = Stop::default();
    stop::on_signal(&stop)?;
    let setup = Setup {
        log: &log,
        registry: &registry,
        data: args.data,
        reference: args.reference,
        sizes: args.sizes,
        checkpoint_every: args.checkpoint_every,
        decisions: args.decisions,
    };
    // Those beside come first: they make the topics that the main one reads.
    let beside = beside.iter().map(|one| Live::open(one, &setup)).collect::<Result<Vec<_>, _>>()?;
    let main = Live::open(&program, &setup)?;
    let beside = beside.into_iter().map(|one| one.start(&stop)).collect::<Result<Vec<_>, _>>()?;
    let done = main.run(&stop);
    // They end with the main one, however it ended.
    stop.stop();
    let mut errors = Vec::new();
    for one in beside {
        let name = one.name.clone();
        match one.join() {
            Ok(report) => eprintln!("{}", summary(&name, &report, &usage)),
            Err(error) => errors.push(error),
        }
    }
    match done {
        Ok(report) => eprintln!("{}", summary(&program.name, &report, &usage)),
        Err(error) => errors.insert(0, error),
    }
    if errors.is_empty() { Ok(0) } else { Err(errors.into()) }
}

/// One of several copies: nothing of it is in the data folder.
fn run_copy(program: &Program, log: &LogAt, registry: &Registry, args: &Args, usage: &Usage) -> Done {
    let refused = copies::refusals(program, log);
    if !refused.is_empty() {
        return Err(refused.into());
    }
    let stop = Stop::default();
    stop::on_signal(&stop)?;
    let setup = Setup {
        log,
        registry,
        data: args.data.clone(),
        reference: None,
        sizes: args.sizes.clone(),
        checkpoint_every: args.checkpoint_every,
        decisions: false,
    };
    let report = copies::run(program, &setup, &stop)?;
    eprintln!("{}", summary(&program.name, &report, usage));
    Ok(0)
}

/// The counts of semantics 2 under their names.
pub fn counts(counts: &Counts) -> Value {
    json!({
        "records": counts.records, "rows": counts.rows, "heartbeats": counts.heartbeats, "rejects": counts.rejects,
        "processed": counts.processed, "late": counts.late, "duplicates": counts.duplicates,
    })
}

/// All sources together.
pub fn total(report: &Report) -> Counts {
    report.sources.values().fold(Counts::default(), |sum, counts| sum + *counts)
}

/// Keys that reference tables did not hold: `{table: [{"key", "rows", "first", "last"}]}`, keys ascending.
fn unknown(report: &Report) -> Value {
    let tables = report.unknown.iter().map(|(table, dropped)| {
        let keys = dropped.keys.iter().map(|(key, seen)| {
            let key: Value = serde_json::from_str(key).unwrap_or(Value::Null);
            let (first, last) = (EventTime(seen.first).to_string(), EventTime(seen.last).to_string());
            json!({"key": key, "rows": seen.rows, "first": first, "last": last})
        });
        (table.clone(), keys.collect())
    });
    Value::Object(tables.collect())
}

/// What a run did, as one JSON object.
pub fn summary(program: &str, report: &Report, usage: &Usage) -> Value {
    let mut line = Map::new();
    line.insert("program".into(), json!(program));
    line.insert("ended".into(), json!(report.ended));
    let sources = report.sources.iter().map(|(table, c)| (table.clone(), counts(c))).collect::<Map<_, _>>();
    line.insert("sources".into(), Value::Object(sources));
    line.insert("outputs".into(), json!(report.outputs));
    line.insert("events".into(), json!(report.events));
    line.insert("unmatched".into(), json!(report.unmatched));
    line.insert("unknown".into(), unknown(report));
    line.insert("rejected_images".into(), json!(report.rejected));
    line.insert("failed_expressions".into(), json!(report.failed));
    line.insert("dropped_again".into(), json!(report.dropped_again));
    line.insert("checkpoints".into(), json!(report.checkpoints));
    line.insert("state_bytes_peak".into(), json!(report.state_bytes_peak));
    if let Value::Object(used) = usage.to_json() {
        line.extend(used);
    }
    Value::Object(line)
}
