//! `weir-edge`: the agent beside cameras and scanners.
//!
//! Exit codes: 0 done, 1 something is wrong (said on standard error), 2 the command line is not valid.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::{Parser, Subcommand};
use weir_contract::clock::ManualClock;
use weir_contract::{Clock, Error, WallClock};
use weir_edge::config::Config;
use weir_edge::doctor;
use weir_edge::gpio::{PiPins, Pins};
use weir_edge::run::play::Script;
use weir_edge::run::{Edge, last_status, senders};
use weir_edge::sight::Eyes;
use weir_edge::time::{AlwaysSynced, DeviceClock, KernelSync, SyncProbe};
use weir_segments::RealDisk;

/// The agent beside cameras and scanners: captures, keeps through power cuts, publishes in order.
#[derive(Debug, Parser)]
#[command(name = "weir-edge", version, about)]
struct Cli {
    /// The device's settings
    #[arg(long, short, global = true, value_name = "FILE", default_value = "/etc/weir/edge.toml")]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs until it is stopped
    Run,
    /// Reads the settings and names every problem
    Check,
    /// What the running agent last said about itself
    Status,
    /// Tries disk, clock, log, scanners, cameras and pins
    Doctor,
    /// Sends what a script of frames and codes says, with its times, as fast as it goes
    Play {
        /// JSON lines: {"at": …, "frame": FILE} or {"at": …, "scan": CODE}
        script: PathBuf,
    },
}

fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
    let cli = Cli::parse();
    let done = Config::load(&cli.config).and_then(|config| match cli.command {
        Command::Run => run(config).map(|()| true).map_err(|e| vec![e]),
        Command::Check => check(&cli.config, &config).map_err(|e| vec![e]),
        Command::Status => status(&config).map_err(|e| vec![e]),
        Command::Doctor => Ok(examine(&config)),
        Command::Play { script } => play(config, &script).map(|()| true).map_err(|e| vec![e]),
    });
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(errors) => {
            errors.iter().for_each(|e| eprintln!("{e}"));
            ExitCode::FAILURE
        }
    }
}

fn stopped_by_signals() -> Result<Arc<AtomicBool>, Error> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        // The second signal ends the process at once: nothing that is durable is lost by it.
        let listen = signal_hook::flag::register_conditional_shutdown(signal, 130, stop.clone())
            .and_then(|_| signal_hook::flag::register(signal, stop.clone()));
        listen.map_err(|e| Error::new(weir_contract::Code::Io, format!("cannot listen for signals: {e}")))?;
    }
    Ok(stop)
}

/// Opens what the settings name and no device has to be there for: lists of codes, the model.
fn check(path: &Path, config: &Config) -> Result<bool, Error> {
    let eyes = Eyes::open(config)?;
    println!("{}: {} scanners, {} cameras", path.display(), config.scanners.len(), config.cameras.len());
    for camera in &config.cameras {
        let (name, most) = (&camera.name, camera.frame_bytes_max);
        match &config.frame_store {
            Some(store) if store.inline_bytes < most => {
                println!("camera {name}: frames above {} bytes go to the frame store", store.inline_bytes);
                println!("camera {name}: frames above {most} bytes are thrown away");
            }
            Some(_) => println!("camera {name}: frames above {most} bytes are thrown away"),
            None => {
                println!(
                    "camera {name}: frames above {most} bytes are thrown away: no [frame_store] is named"
                );
            }
        }
    }
    if let Some(model) = eyes.as_ref().and_then(Eyes::model) {
        println!("model {}, sha256 {}, {}", model.name, model.sha256, model.engine);
    }
    Ok(true)
}

fn play(config: Config, script: &Path) -> Result<(), Error> {
    let stop = stopped_by_signals()?;
    let clock = Arc::new(ManualClock::default());
    let boot = weir_segments::chance_id().map_err(|e| Error::new(weir_contract::Code::Io, e.to_string()))?;
    let mut id = [0; 16];
    id.iter_mut().zip(boot.bytes()).for_each(|(to, from)| *to = from);
    let device = DeviceClock::new(clock.clone(), Arc::new(AlwaysSynced(true)), id, 0);
    let mut script = Script::open(script)?;
    let senders = senders(&config)?;
    let mut edge = Edge::new(config, Arc::new(RealDisk), clock.clone(), device, senders, None, stop)?;
    edge.play(&mut script, &clock)
}

fn run(config: Config) -> Result<(), Error> {
    let stop = stopped_by_signals()?;
    let clock: Arc<dyn Clock> = Arc::new(WallClock);
    let sync: Arc<dyn SyncProbe> =
        if config.clock_trusted { Arc::new(AlwaysSynced(true)) } else { Arc::new(KernelSync) };
    let device = DeviceClock::of_machine(clock.clone(), sync);
    let pins: Option<Box<dyn Pins>> = match config.trigger.is_some() || config.lamp.is_some() {
        true => Some(Box::new(PiPins::open()?)),
        false => None,
    };
    let senders = senders(&config)?;
    let mut edge = Edge::new(config, Arc::new(RealDisk), clock, device, senders, pins.as_deref(), stop)?;
    edge.start()?;
    tracing::info!("running");
    edge.run()?;
    tracing::info!(
        "stopped: {} records wait in the spool",
        edge.spool().states().iter().map(|l| l.records).sum::<u64>()
    );
    Ok(())
}

fn status(config: &Config) -> Result<bool, Error> {
    let status = last_status(&config.device)?;
    println!("{status:#}");
    let pid = status["pid"].as_u64();
    let alive = pid.is_some_and(|pid| std::path::Path::new(&format!("/proc/{pid}")).exists());
    if !alive {
        eprintln!("the agent that said this does not run any more");
    }
    Ok(alive)
}

fn examine(config: &Config) -> bool {
    let findings = doctor::examine(config);
    for finding in &findings {
        let mark = if finding.act.is_none() { "ok " } else { "BAD" };
        println!("{mark}  {:<18} {}", finding.what, finding.said);
        if let Some(act) = &finding.act {
            println!("     {:<18} {act}", "");
        }
    }
    findings.iter().all(|f| f.act.is_none())
}
