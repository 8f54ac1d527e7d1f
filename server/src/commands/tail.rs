//! `weir tail`: shows an event topic of the embedded log or Kafka, and follows it.
//!
//! Without `--follow` it ends where the topic ended at its start: a topic that is written all the time, or has a
//! transaction that nobody ends, holds it no longer.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

use weir_contract::{Code, Error};
use weir_engine::source::{FetchLimit, PartitionReader, Payload, RawBatch};
use weir_engine::sql::catalog::TableKind;

use crate::Done;
use crate::show::{Shown, escaped};
use crate::wire::at::LogAt;
use crate::wire::ports;

/// How long one look at one partition waits for a record.
const WAIT: Duration = Duration::from_millis(100);
const LIMIT: FetchLimit = FetchLimit { rows: 1000, bytes: 1 << 20 };

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the topic, such as dev.events.buffers
    topic: String,
    /// Where to begin
    #[arg(long, value_enum, default_value_t = From::Start)]
    from: From,
    /// Go on until interrupted, instead of ending where the topic ended at the start
    #[arg(long, short)]
    follow: bool,
    /// kafka://HOST:PORT or log:FOLDER; default: WEIR_LOG, else the embedded log under --data
    #[arg(long, value_name = "LOG")]
    log: Option<String>,
    #[arg(long, value_name = "DIR", default_value = "data")]
    data: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum From {
    Start,
    End,
}

struct Open {
    reader: Box<dyn PartitionReader>,
    next: i64,
    /// Where it ended at the start; None: whatever comes is shown.
    end: Option<i64>,
}

impl Open {
    fn done(&self) -> bool {
        self.end.is_some_and(|end| self.next >= end)
    }
}

pub fn run(args: Args) -> Done {
    let log = LogAt::choose(args.log.as_deref(), &args.data)?;
    if let LogAt::Files { .. } = log {
        return Err(Error::new(Code::Usage, "plain files hold no topics")
            .expected("kafka://… or log:…")
            .into());
    }
    let table = log.topic(&args.topic, TableKind::Source, None)?;
    let registry = ports::registry(&log, &args.data)?;
    let source = ports::connector_of(&registry, &table)?.source(&table)?;
    let mut open = Vec::new();
    for partition in source.partitions()? {
        let from = if args.from == From::End { partition.end } else { partition.start };
        let end = (!args.follow).then_some(partition.end);
        open.push(Open { reader: source.open(partition.number, from)?, next: from, end });
    }
    let columns = std::io::stdout().is_terminal();
    let mut away = false;
    while !open.iter().all(Open::done) {
        match source.trouble() {
            Some(error) if !away => eprintln!("{error}"),
            _ => {}
        }
        away = source.trouble().is_some();
        // Where several partitions are silent, one of them waits and the others only look.
        for (at, one) in open.iter_mut().filter(|one| !one.done()).enumerate() {
            let wait = if at == 0 { WAIT } else { Duration::ZERO };
            let fetched = one.reader.fetch(LIMIT, wait)?;
            one.next = fetched.next;
            if let Some(batch) = fetched.batch
                && !print(&batch, columns)
            {
                return Ok(0);
            }
        }
    }
    Ok(0)
}

/// False where standard output is closed.
fn print(batch: &RawBatch, columns: bool) -> bool {
    let Payload::Bytes(values) = &batch.payload else { return true };
    values.iter().flatten().filter(|v| !v.is_empty()).all(|value| {
        let line = String::from_utf8_lossy(value);
        let shown = if columns { Shown::of_line(&line).map(|s| s.row()) } else { None };
        super::say(&shown.unwrap_or_else(|| escaped(&line)))
    })
}
