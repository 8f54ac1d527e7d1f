//! `weir demo`: simulator, log, engine and rules in one process.
//!
//! The simulator writes what people and clocks decide (reference changes) into the control log itself,
//! complete and durable before later records, so that no wall clock has a say: the same seed gives the
//! same events at any speed, for any number of workers and shards.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use weir_contract::event::Event;
use weir_contract::{Code, Error, Result, WallClock};
use weir_engine::run::{Options, Ports, Report, Stop};
use weir_engine::sql::catalog::RuleKind;
use weir_engine::sql::{load, program_name};
use weir_sim::{Day, DayOptions};

use super::replay::Heard;
use super::run::total;
use crate::Done;
use crate::demo::feed::{Feed, LogFeed, Progress, Speed};
use crate::demo::pack;
use crate::demo::pictures::{self, Played};
use crate::demo::screen::Screen;
use crate::demo::summary::Summary;
use crate::show::Shown;
use crate::wire::at::LogAt;
use crate::wire::models::{Models, Places};
use crate::wire::program::Program;
use crate::wire::reference::Scratch;
use crate::wire::usage::Usage;
use crate::wire::{self, Sizes, ports, stop};

/// Events that wait to be shown; more are counted in the summary but not shown one by one.
const SHOWN_QUEUE: usize = 10_000;
const LOOK_EVERY: Duration = Duration::from_millis(50);

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Equal seeds give equal days and equal events
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Simulated minutes; nothing is planted in the last ten
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    minutes: u32,
    /// Simulated seconds in one second, or max
    #[arg(long, default_value = "120")]
    speed: Speed,
    #[command(flatten)]
    sizes: Sizes,
    /// embedded, log:FOLDER, or kafka://HOST:PORT with none of the day's topics
    #[arg(long, value_name = "LOG", default_value = "embedded")]
    log: String,
    /// Log, checkpoints and a copy of the rules; default: a temporary folder
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Another rule pack over the same streams
    #[arg(long, value_name = "DIR")]
    rules: Option<PathBuf>,
    /// Leaves out what begins with pictures: frames of two stations, their agents and a detector
    #[arg(long)]
    no_frames: bool,
    /// One JSON object as the last line and nothing before it
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> Done {
    let usage = Usage::start();
    let scratch = if args.data.is_none() { Some(Scratch::new("demo")?) } else { None };
    let data = match (&args.data, &scratch) {
        (Some(data), _) => data.clone(),
        (None, Some(scratch)) => scratch.0.clone(),
        (None, None) => return Err(Error::new(Code::Internal, "the demo has no folder").into()),
    };
    let log = log_of(&args.log, &data)?;
    let registry = ports::registry(&log, &data)?;
    let rules = args.rules.clone().unwrap_or_else(|| data.join(pack::NAME));
    let (name, files) = match &args.rules {
        Some(folder) => (program_name(folder), load(folder)?),
        None => (pack::NAME.to_owned(), pack::files()),
    };
    let program =
        Program::of(name, &files, &log, &registry, &Models::new(Places::of_environment(log.frames(&data))))?;
    let mut day = Day::new(DayOptions::seeded(args.seed, args.minutes));
    let options = Options { external_control: true, ..args.sizes.options(&program.name, Some(data.clone())) };
    super::refuse_second(&data, &program.name)?;
    let (quit, stop) = (Stop::default(), Stop::default());
    stop::on_signal(&quit)?;
    let partitions = day.options().partitions;
    let topic = ports::control_topic(&options.env, &program.name);
    let control = ports::control(&log, &topic, partitions + options.shards as u32)?;
    let mut feed = Feed::Log(LogFeed::open(&day, &log, &registry, Arc::clone(&control))?);
    let heard = Heard::default();
    let (tell, told) = sync_channel(SHOWN_QUEUE);
    let ports = Ports {
        sources: ports::sources(&program.plan, &registry)?,
        targets: ports::targets(&program.plan, &registry, partitions)?,
        outputs: Some(ports::outputs(&program, &log, &registry, partitions)),
        control,
        reference: None,
        observer: Some(observer(&heard, tell, args.json)),
        clock: Arc::new(WallClock),
        until: None,
    };
    let mut screen = screen_of(&args, &program);
    let progress = Progress::default();
    let (plan, speed) = (program.plan.clone(), args.speed);
    let (report, whole) = std::thread::scope(|scope| {
        let engine = scope.spawn(|| weir_engine::run::run(plan, ports, options, &stop));
        let player = scope.spawn(|| feed.play(&mut day, speed, &WallClock, &stop, &progress));
        let mut played = None;
        while !engine.is_finished() {
            show(&told, &mut screen, LOOK_EVERY);
            screen.redraw(&progress, &WallClock);
            if quit.stopping() {
                stop.stop();
            }
            if player.is_finished() && played.is_none() {
                played = Some(());
                stop.drain();
            }
        }
        // A fault of the engine ends the simulator, too.
        stop.stop();
        let report = joined(engine);
        let whole = joined(player);
        (report, whole)
    });
    show(&told, &mut screen, Duration::ZERO);
    drop(screen);
    let (whole, report): (bool, Report) = (whole?, report?);
    if !whole {
        eprintln!("stopped before the end of the day");
        return Ok(1);
    }
    let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
    let summary = Summary::of(day.truth(), total(&report), &mut heard)?;
    drop(heard);
    if args.json {
        let played = pictures(&args, &data, &quit);
        // The day stands whatever becomes of the pictures.
        let told = match &played {
            Ok(None) => String::new(),
            Ok(Some(played)) => format!(",\"pictures\":{}", played.to_json()),
            Err(error) => format!(",\"pictures\":{}", serde_json::json!({ "error": error.to_string() })),
        };
        let line = summary.to_json_line();
        super::say(&format!("{}{told}}}", &line[..line.len() - 1]));
        played?;
        return Ok(u8::from(quit.stopping()));
    }
    super::say("");
    super::say(summary.to_text().trim_end());
    super::say(&format!(
        "{} simulated minutes in {:.1} s, {} CPU s",
        args.minutes,
        usage.wall_seconds(),
        usage.to_json()["cpu_s"]
    ));
    if args.rules.is_none() {
        pack::write(&rules)?;
    }
    let data = scratch.map_or(data, Scratch::keep);
    further(&log, &data, &rules, &program);
    if let Some(played) = pictures(&args, &data, &quit)? {
        super::say(&format!("\n{}", played.to_text().trim_end()));
    }
    Ok(u8::from(quit.stopping()))
}

/// The part that begins with frames, where it is asked for and can be.
fn pictures(args: &Args, data: &Path, quit: &Stop) -> Result<Option<Played>> {
    if args.no_frames || quit.stopping() {
        return Ok(None);
    }
    if args.rules.is_some() {
        eprintln!("no pictures: what is planted there is scored by weir's own rule pack, without --rules");
        return Ok(None);
    }
    let Some(agent) = pictures::devices::agent() else {
        eprintln!(
            "no pictures: there is no weir-edge beside weir. Name it, WEIR_EDGE=/path/to/weir-edge \
             (cargo build --bin weir-edge makes it), or leave them out: --no-frames"
        );
        return Ok(None);
    };
    if !args.json {
        super::say(
            "\nfrom pictures: frames of two stations for five minutes, their agents, a detector, the rules",
        );
    }
    pictures::play(args.seed, &args.sizes, data, &agent, quit)
}

/// The simulator stamps its own clock on every record, so that is the append time.
fn log_of(text: &str, data: &std::path::Path) -> Result<LogAt> {
    let mut log = if text == "embedded" { LogAt::embedded(data) } else { LogAt::parse(text)? };
    match &mut log {
        LogAt::Kafka { options, .. } | LogAt::Log { options, .. } => {
            options.entry("append_time".into()).or_insert_with(|| "producer".into());
            Ok(log)
        }
        LogAt::Files { .. } => Err(Error::new(Code::Usage, "the demo needs a log, not plain files")
            .expected("embedded, log:FOLDER or kafka://HOST:PORT")),
    }
}

fn observer(
    heard: &Heard,
    tell: SyncSender<Shown>,
    silent: bool,
) -> Arc<weir_engine::run::options::Observer> {
    let heard = Arc::clone(heard);
    Arc::new(move |event: &Event| {
        heard.lock().unwrap_or_else(PoisonError::into_inner).add(event);
        if !silent && let Some(shown) = Shown::of_line(&event.to_json_line()) {
            // A terminal that is slower than the rules misses lines; nothing waits for it.
            let _ = tell.try_send(shown);
        }
    })
}

fn screen_of(args: &Args, program: &Program) -> Screen {
    if args.json {
        return Screen::Silent;
    }
    let rules = &program.script.rules;
    let title = format!("weir demo   seed {}   {} rules", args.seed, rules.len());
    if std::io::stdout().is_terminal() {
        let conditions = rules.iter().filter(|r| r.options.kind == RuleKind::Condition);
        return Screen::view(title, conditions.map(|r| r.name.clone()).collect());
    }
    super::say(&title);
    Screen::Lines
}

/// Shows what waits, for `wait` at most.
fn show(told: &Receiver<Shown>, screen: &mut Screen, wait: Duration) {
    let mut next = if wait.is_zero() { told.try_recv().ok() } else { received(told, wait) };
    while let Some(shown) = next {
        screen.event(shown);
        next = told.try_recv().ok();
    }
}

fn received(told: &Receiver<Shown>, wait: Duration) -> Option<Shown> {
    match told.recv_timeout(wait) {
        Ok(shown) => Some(shown),
        Err(RecvTimeoutError::Timeout) => None,
        Err(RecvTimeoutError::Disconnected) => {
            // The engine is about to be joined.
            std::thread::sleep(Duration::from_millis(1));
            None
        }
    }
}

fn joined<T>(handle: std::thread::ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    handle.join().unwrap_or_else(|_| Err(Error::new(Code::Internal, "a thread of the demo panicked")))
}

fn further(log: &LogAt, data: &std::path::Path, rules: &std::path::Path, program: &Program) {
    let mut folders: Vec<&str> = program.script.rules.iter().map(|r| r.folder.as_str()).collect();
    folders.sort_unstable();
    folders.dedup();
    let env = wire::env();
    super::say(&format!("\nthe log is {log}; checkpoints and rules are under {}", data.display()));
    super::say("look further");
    for folder in folders {
        super::say(&format!("  weir tail {env}.events.{folder} --log {log}"));
    }
    super::say(&format!("  weir replay {} --from '{log}?append_time=producer'", rules.display()));
    super::say(&format!("  weir explain {} buffer_overflow", rules.display()));
}
