//! `weir sim`: a simulated day into a log or into files, with its truth beside it.

use std::path::{Path, PathBuf};

use weir_contract::{Error, Result, WallClock};
use weir_engine::run::Stop;
use weir_sim::{Day, DayOptions};

use crate::Done;
use crate::demo::feed::{Feed, FileFeed, LogFeed, Progress, Speed};
use crate::demo::pack;
use crate::wire::at::LogAt;
use crate::wire::{self, ports, stop};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Equal seeds give equal days
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Simulated minutes
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    minutes: u32,
    /// Where the records go: log:FOLDER, kafka://HOST:PORT or files:FOLDER (no heartbeats)
    #[arg(long, value_name = "LOG")]
    out: String,
    /// Simulated seconds in one second, or max
    #[arg(long, default_value = "max")]
    speed: Speed,
    /// Partitions of each topic
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    partitions: u32,
    /// Writes every planted incident to this file
    #[arg(long, value_name = "FILE")]
    truth: Option<PathBuf>,
    /// Writes the reference data of the start as SQL
    #[arg(long, value_name = "FILE.sql")]
    reference_out: Option<PathBuf>,
    /// Program whose control log takes the reference changes
    #[arg(long, default_value = pack::NAME)]
    program: String,
}

pub fn run(args: Args) -> Done {
    let mut day =
        Day::new(DayOptions { partitions: args.partitions, ..DayOptions::seeded(args.seed, args.minutes) });
    if let Some(file) = &args.reference_out {
        let sql: String = day.reference_sql().iter().map(|s| format!("{s};\n")).collect();
        write(file, &sql)?;
    }
    let stop = Stop::default();
    stop::on_signal(&stop)?;
    let log = LogAt::parse(&args.out)?;
    let mut feed = match &log {
        LogAt::Files { folder } => Feed::Files(FileFeed::open(folder)?),
        log => {
            let topic = ports::control_topic(&wire::env(), &args.program);
            let control = ports::control(log, &topic, args.partitions)?;
            Feed::Log(LogFeed::open(&day, log, &ports::registry(log, Path::new("data"))?, control)?)
        }
    };
    let progress = Progress::default();
    let whole = feed.play(&mut day, args.speed, &WallClock, &stop, &progress)?;
    let records = progress.records.load(std::sync::atomic::Ordering::Relaxed);
    eprintln!("{records} records of {} simulated minutes are in {log}", args.minutes);
    if let Feed::Files(files) = &feed
        && files.changes_left_out > 0
    {
        eprintln!("{} reference changes are not in plain files", files.changes_left_out);
    }
    if !whole {
        eprintln!("stopped before the end of the day; no truth was written");
        return Ok(1);
    }
    if let Some(file) = &args.truth {
        write(file, &day.truth().to_json())?;
    }
    Ok(0)
}

fn write(file: &Path, text: &str) -> Result<()> {
    let folder = file.parent().map_or(Ok(()), std::fs::create_dir_all);
    folder.and_then(|()| std::fs::write(file, text)).map_err(|e| Error::of_io(&e, file))
}
