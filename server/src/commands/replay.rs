//! `weir replay`: a program over what a log or a recording holds.
//!
//! Reads the data up to the end offsets at the start, and the control log of the live run: its idle
//! marks, reference changes and the places where they took effect. Nothing is written anywhere but to
//! `--out`; the end of a replayed log raises no watermark, the end of files does.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::json;
use weir_contract::event::{Event, EventsHash};
use weir_contract::{Code, Error, Place, Result, WallClock};
use weir_engine::connect::Registry;
use weir_engine::control::{Control, ControlLog};
use weir_engine::run::members::Members;
use weir_engine::run::{Ports, ReferenceTail, Stop};
use weir_engine::sink::OutRecord;
use weir_engine::source::Source;
use weir_engine::sql::catalog::TableKind;

use super::run::{summary, total};
use crate::Done;
use crate::wire::at::LogAt;
use crate::wire::held::HeldControl;
use crate::wire::program::Program;
use crate::wire::reference::Follow;
use crate::wire::usage::Usage;
use crate::wire::{Sizes, ports, reference, stop};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder of .sql files, or one file
    program: PathBuf,
    /// What to replay: kafka://HOST:PORT, log:FOLDER, files:FOLDER (plain files or a recording)
    #[arg(long, value_name = "LOG")]
    from: String,
    /// Reference data where no control log holds it: a .sql file or a database
    #[arg(long, value_name = "SQL|URL")]
    reference: Option<String>,
    /// Where the events go, as JSON lines in the order of the hash: a file, `-`, or a topic as
    /// log:FOLDER#TOPIC or kafka://HOST:PORT#TOPIC
    #[arg(long, value_name = "FILE|TOPIC")]
    out: Option<String>,
    /// Topic of the control log to read; default: {env}.{program}.control where --from has it
    #[arg(long, value_name = "TOPIC")]
    control: Option<String>,
    #[command(flatten)]
    sizes: Sizes,
    /// Goes on where the log begins now, although retention took records that the live run had: the
    /// events differ until everything that is remembered comes from what is left
    #[arg(long)]
    cold: bool,
    /// One JSON object as the last line, instead of text
    #[arg(long)]
    json: bool,
}

/// Collects events of all threads.
pub type Heard = Arc<Mutex<EventsHash>>;

/// An observer that feeds a hash.
pub fn hearing(heard: &Heard) -> Arc<weir_engine::run::options::Observer> {
    let heard = Arc::clone(heard);
    Arc::new(move |event: &Event| heard.lock().unwrap_or_else(PoisonError::into_inner).add(event))
}

pub fn run(args: Args) -> Done {
    let usage = Usage::start();
    let log = LogAt::parse(&args.from)?;
    let registry = ports::registry(&log, Path::new("data"))?;
    let program = Program::load(&args.program, &log, &registry)?;
    let options = args.sizes.options(&program.name, None);
    let sources = ports::sources(&program.plan, &registry)?;
    let until = ends(&sources)?;
    let control = control_of(&args, &log, &options.env, &program.name)?;
    if !args.cold && !matches!(log, LogAt::Files { .. }) {
        refuse_trimmed(&sources, control.as_ref())?;
    }
    let tail = match known_references(control.as_ref())? {
        // The live run's own first load; a database of today would know too much.
        true => None,
        false => first_load(&program, args.reference.as_deref())?,
    };
    let heard = Heard::default();
    let stop = Stop::default();
    stop::on_signal(&stop)?;
    let ports = Ports {
        sources,
        targets: BTreeMap::new(),
        outputs: None,
        control,
        reference: tail.map(|t| Box::new(t) as Box<dyn ReferenceTail>),
        observer: Some(hearing(&heard)),
        clock: Arc::new(WallClock),
        until: Some(until),
    };
    let report = weir_engine::run::run(program.plan.clone(), ports, options, &stop)?;
    if stop.stopping() {
        eprintln!("stopped before the end");
        return Ok(1);
    }
    let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(out) = &args.out {
        write_out(out, &mut heard, &registry)?;
    }
    let sum = total(&report);
    let (events, sha) = (heard.len(), heard.sha256());
    if args.json {
        let mut line = summary(&program.name, &report, &usage);
        line["events_sha256"] = json!(sha);
        line["events_total"] = json!(events);
        super::say(&line.to_string());
    } else if args.out.as_deref() != Some("-") {
        super::say(&format!(
            "records {} = {} of rows + {} heartbeats + {} rejects",
            sum.records, sum.row_records, sum.heartbeats, sum.rejects
        ));
        super::say(&format!(
            "rows {} = {} processed + {} late + {} duplicates",
            sum.rows, sum.processed, sum.late, sum.duplicates
        ));
        for (rule, count) in &report.events {
            super::say(&format!("events {rule} {count}"));
        }
        super::say(&format!("events {events}"));
        super::say(&format!("events_sha256 {sha}"));
    }
    Ok(0)
}

/// Refuses logs that no longer begin where the live run began: at the offsets that its control log
/// names, else at the first record there ever was.
fn refuse_trimmed(sources: &BTreeMap<String, Arc<dyn Source>>, control: &dyn ControlLog) -> Result<()> {
    let members = Members::of(control)?;
    for (table, source) in sources {
        for partition in source.partitions()? {
            let first = match members.get(table, partition.number) {
                Some(member) => member.first_offset,
                None if members.has(table) => continue,
                None => 0,
            };
            if partition.start > first {
                return Err(Error::new(
                    Code::Retention,
                    format!("records {first} to {} are gone", partition.start - 1),
                )
                .at(Place::Position { topic: table.clone(), partition: partition.number, offset: first })
                .expected("everything that the live run read, a recording of it, or --cold")
                .act("operator: replay a recording, or pass --cold and compare only after the warm-up."));
            }
        }
    }
    Ok(())
}

fn known_references(control: &dyn ControlLog) -> Result<bool> {
    Ok(control.read(0, 0)?.0.iter().any(|(_, record)| matches!(record, Control::Reference { .. })))
}

fn first_load(program: &Program, given: Option<&str>) -> Result<Option<Follow>> {
    let named = given.is_some() || std::env::var("WEIR_REFERENCE").is_ok_and(|r| !r.is_empty());
    let declares = program.plan.references.iter().any(|t| t.kind == TableKind::Reference);
    if declares && !named {
        return Err(Error::new(
            Code::Usage,
            "the program reads reference tables, and no control log holds their rows",
        )
        .expected("--reference FILE.sql or a database"));
    }
    reference::open(&program.plan, given, None)
}

/// The end offsets of unbounded partitions now; bounded ones end by themselves.
pub fn ends(sources: &BTreeMap<String, Arc<dyn Source>>) -> Result<BTreeMap<(String, u32), i64>> {
    let mut ends = BTreeMap::new();
    for (table, source) in sources {
        for partition in source.partitions()?.into_iter().filter(|p| !p.bounded) {
            ends.insert((table.clone(), partition.number), partition.end);
        }
    }
    Ok(ends)
}

/// A copy of the control log of the live run, or an empty one where there is none.
fn control_of(args: &Args, log: &LogAt, env: &str, program: &str) -> Result<Arc<dyn ControlLog>> {
    let topic = args.control.clone().unwrap_or_else(|| ports::control_topic(env, program));
    let live = ports::control_to_read(log, &topic)?;
    match live {
        Some(live) => Ok(Arc::new(HeldControl::of(live.as_ref())?)),
        None if args.control.is_some() => {
            Err(Error::new(Code::NoTopic, format!("{log} has no control log `{topic}`")))
        }
        None => Ok(Arc::new(HeldControl::default())),
    }
}

fn write_out(out: &str, heard: &mut EventsHash, registry: &Registry) -> Result<()> {
    if let Some((place, topic)) = out.split_once('#') {
        let log = LogAt::parse(place)?;
        let table = log.topic(topic, TableKind::Sink, None)?;
        let mut sink = ports::connector_of(registry, &table)?.sink(&table)?.open("replay")?;
        let records = heard.sorted_lines().map(out_record).collect();
        sink.write(records)?;
        return sink.commit();
    }
    let broken = |e: std::io::Error| Error::new(Code::Io, e.to_string()).at(Place::Path(out.into()));
    let mut text = String::new();
    for line in heard.sorted_lines() {
        text.push_str(line);
        text.push('\n');
    }
    if out == "-" {
        return std::io::stdout().lock().write_all(text.as_bytes()).map_err(broken);
    }
    std::fs::write(Path::new(out), text).map_err(broken)
}

fn out_record(line: &str) -> OutRecord {
    let event: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
    let text = |c: &str| event.get(c).and_then(|v| v.as_str()).unwrap_or_default();
    let key = json!([event["warehouse"], event["key"]]).to_string();
    OutRecord {
        id: weir_contract::event::Id::parse(text("event_id")),
        partition: None,
        key: key.into_bytes(),
        value: line.as_bytes().to_vec(),
        headers: vec![(
            weir_contract::wire::VERSION.into(),
            weir_contract::wire::EVENT_VERSION.to_string().into_bytes(),
        )],
        time_us: weir_contract::EventTime::parse(text("decided_at")).map(|t| t.0),
    }
}
