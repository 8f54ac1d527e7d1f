//! `weir record`: a program's sources to Parquet, with positions and append times.
//!
//! `OUT/{topic}/` is one recorded topic, the program's control log among them, read after the data, so
//! that it holds everything that was decided up to there. `weir replay --from files:OUT` runs over it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use weir_connectors::recording::RecordingWriter;
use weir_contract::{Clock, Code, Error, Place, Result, WallClock};
use weir_engine::connect::{Registry, topic_of};
use weir_engine::run::Stop;
use weir_engine::source::{FetchLimit, PartitionReader, Source};
use weir_engine::sql::catalog::TableKind;

use crate::Done;
use crate::wire::at::LogAt;
use crate::wire::program::Program;
use crate::wire::{self, ports, stop};

const LIMIT: FetchLimit = FetchLimit { rows: 8192, bytes: 4 << 20 };
/// A recording that goes on is made durable this often; each time begins new files.
const PUBLISH_EVERY: Duration = Duration::from_secs(60);
const NAP: Duration = Duration::from_millis(50);

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder of .sql files, or one file
    program: PathBuf,
    /// Folder of the recording; new or empty
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// `end`: to the end offsets at the start; else until interrupted
    #[arg(long, value_name = "WHEN")]
    until: Option<Until>,
    /// Where the sources are; default: WEIR_LOG, else the embedded log under --data
    #[arg(long, value_name = "LOG")]
    log: Option<String>,
    #[arg(long, value_name = "DIR", default_value = "data")]
    data: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Until {
    End,
}

/// One topic on its way into a folder.
struct Taping {
    topic: String,
    writer: RecordingWriter,
    lanes: Vec<Lane>,
    records: u64,
}

struct Lane {
    number: u32,
    reader: Box<dyn PartitionReader>,
    /// The end at the start.
    end: i64,
    next: i64,
    done: bool,
}

pub fn run(args: Args) -> Done {
    let log = LogAt::choose(args.log.as_deref(), &args.data)?;
    let registry = ports::registry(&log, &args.data)?;
    let program = Program::load(&args.program, &log, &registry)?;
    refuse_full(&args.out)?;
    let stop = Stop::default();
    stop::on_signal(&stop)?;
    let sources = ports::sources(&program.plan, &registry)?;
    let mut tapings = Vec::new();
    let mut topics = BTreeSet::new();
    for table in &program.plan.sources {
        let topic = topic_of(table);
        if let Some(source) = sources.get(&table.name).filter(|_| topics.insert(topic.to_owned())) {
            tapings.push(Taping::new(&args.out, topic, source)?);
        }
    }
    let bounded = args.until == Some(Until::End);
    let mut published = WallClock.monotonic();
    while !stop.stopping() {
        let mut busy = false;
        for taping in &mut tapings {
            busy |= taping.step(bounded)?;
        }
        if tapings.iter().all(Taping::done) {
            break;
        }
        if WallClock.monotonic().saturating_sub(published) >= PUBLISH_EVERY {
            tapings.iter_mut().try_for_each(|t| t.writer.publish())?;
            published = WallClock.monotonic();
        }
        if !busy {
            std::thread::sleep(NAP);
        }
    }
    for taping in &mut tapings {
        taping.writer.publish()?;
        super::say(&format!("{} {} records", taping.topic, taping.records));
    }
    let control = ports::control_topic(&wire::env(), &program.name);
    if let Some(source) = control_source(&log, &control, &registry)? {
        let mut taping = Taping::new(&args.out, &control, &source)?;
        while !taping.done() {
            if !taping.step(true)? {
                std::thread::sleep(NAP);
            }
        }
        taping.writer.publish()?;
        super::say(&format!("{control} {} records", taping.records));
    }
    Ok(0)
}

fn refuse_full(out: &std::path::Path) -> Result<()> {
    let place = || Place::Path(out.display().to_string());
    match std::fs::read_dir(out) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(Error::new(Code::Io, e.to_string()).at(place())),
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(Error::new(Code::Refused, "the folder is not empty")
                .expected("a new folder for each recording")
                .at(place())),
        },
    }
}

/// The control log as a topic like any other; none where there is none.
fn control_source(log: &LogAt, topic: &str, registry: &Registry) -> Result<Option<Arc<dyn Source>>> {
    if ports::control_to_read(log, topic)?.is_none() {
        return Ok(None);
    }
    let table = log.topic(topic, TableKind::Source, None)?;
    ports::connector_of(registry, &table)?.source(&table).map(Some)
}

impl Taping {
    fn new(out: &std::path::Path, topic: &str, source: &Arc<dyn Source>) -> Result<Taping> {
        let partitions = source.partitions()?;
        let starts: Vec<i64> = partitions.iter().map(|p| p.start).collect();
        let bounded = !partitions.is_empty() && partitions.iter().all(|p| p.bounded);
        let identity = source.identity()?;
        let writer = RecordingWriter::create(&out.join(topic), topic, &identity, &starts, bounded)?;
        let lanes = partitions.iter().map(|p| {
            let reader = source.open(p.number, p.start)?;
            Ok(Lane { number: p.number, reader, end: p.end, next: p.start, done: false })
        });
        Ok(Taping { topic: topic.to_owned(), writer, lanes: lanes.collect::<Result<_>>()?, records: 0 })
    }

    /// Takes what is there; true where anything was. `to_end`: not further than the end at the start.
    fn step(&mut self, to_end: bool) -> Result<bool> {
        let mut busy = false;
        for lane in &mut self.lanes {
            lane.done |= to_end && lane.next >= lane.end;
            if lane.done {
                continue;
            }
            let fetched = lane.reader.fetch(LIMIT, Duration::ZERO)?;
            busy |= fetched.next > lane.next;
            if let Some(batch) = &fetched.batch {
                self.records += batch.len() as u64;
                self.writer.append(lane.number, batch, fetched.next)?;
            }
            self.writer.advance(lane.number, fetched.next);
            lane.next = fetched.next;
            lane.done |= fetched.ended;
        }
        Ok(busy)
    }

    fn done(&self) -> bool {
        self.lanes.iter().all(|l| l.done)
    }
}
