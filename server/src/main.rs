//! `weir`: streaming SQL rules with results that a replay gives again, byte for byte.
//!
//! One file per command in `commands`; `wire` brings programs, logs and databases together, `demo`
//! holds the simulated world beside a running engine, `http` what is served, `evidence` the frames that
//! events rest on, `show` how events look on a terminal.
//!
//! Exit codes: 0 done, 1 something is wrong (said on standard error), 2 the command line is not valid.

mod commands;
mod demo;
mod evidence;
mod http;
mod show;
mod wire;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use weir_contract::{Code, Error};

/// weir: rules in SQL over streams, in event time.
#[derive(Debug, Parser)]
#[command(name = "weir", version, about, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Environment:
  WEIR_ENV        dev (default), prod, …: prefix of event topics and the control log
  WEIR_LOG        kafka://HOST:PORT[?append_time=producer], log:FOLDER or files:FOLDER: where tables
                  without a connector are; default: the embedded log under --data
  WEIR_REFERENCE  postgres://… or sqlite:FILE: the reference database; default: SQLite under --data
  WEIR_PATHS      folders, separated by `:`, that programs may read and write files in; default: any
  WEIR_MODELS     folder of the models that detect() names; default: models
  WEIR_FRAMES     folder of frames that are stored outside the log
  WEIR_ORT_LIB    ONNX Runtime, by an absolute path; default: what `make onnxruntime` fetched
  RUST_LOG        what is logged to standard error; default: warn";

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs a program until its bounded sources end or it is stopped
    Run(commands::run::Args),
    /// Reads and plans a program, and prints every problem
    Check(commands::check::Args),
    /// Runs the tests of rules (`x.test.sql` beside `x.sql`) on a clock of their own
    Test(commands::test::Args),
    /// Prints plan, state bounds, tasks, exchanges and delays
    Explain(commands::explain::Args),
    /// Runs a program over what a log or a recording holds
    Replay(commands::replay::Args),
    /// Writes a program's sources to Parquet, with positions and append times
    Record(commands::record::Args),
    /// Follows an event topic
    Tail(commands::tail::Args),
    /// Plays a simulated day into a log
    Sim(commands::sim::Args),
    /// Devices write the embedded log over HTTP
    LogServer(commands::log_server::Args),
    /// Keeps the frames that events rest on, with boxes, outside the log
    Evidence(commands::evidence::Args),
    /// Simulator, log, engine and rules in one process
    Demo(commands::demo::Args),
}

/// What a command ends with when it does not succeed.
#[derive(Debug)]
pub struct Failure(pub Vec<Error>);

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure(vec![error])
    }
}

impl From<Vec<Error>> for Failure {
    fn from(errors: Vec<Error>) -> Self {
        Failure(errors)
    }
}

/// Success of a command is its exit code: `check` may say 1 without an error of its own.
pub type Done = std::result::Result<u8, Failure>;

fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colours)
        .with_target(false)
        .init();
    let done = match Cli::parse().command {
        Command::Run(args) => commands::run::run(args),
        Command::Check(args) => commands::check::run(args),
        Command::Test(args) => commands::test::run(args),
        Command::Explain(args) => commands::explain::run(args),
        Command::Replay(args) => commands::replay::run(args),
        Command::Record(args) => commands::record::run(args),
        Command::Tail(args) => commands::tail::run(args),
        Command::Sim(args) => commands::sim::run(args),
        Command::LogServer(args) => commands::log_server::run(args),
        Command::Evidence(args) => commands::evidence::run(args),
        Command::Demo(args) => commands::demo::run(args),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(Failure(errors)) => {
            for error in &errors {
                eprintln!("{error}");
            }
            let usage = errors.iter().any(|e| e.code() == Code::Usage);
            ExitCode::from(if usage { 2 } else { 1 })
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
