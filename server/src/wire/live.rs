//! A program with everything that it reads and writes, and several of them in one process.
//!
//! In:   programs, planned; the log, the data folder, how much of the machine to take.
//! Out:  reports, one a program.
//! Owns: that programs in one process share nothing but the log: each has its own control log, checkpoints
//!       and lock, and goes on when another one fails.
//!
//! The detector beside the rules: open it first (it makes the topic that they read), start it, run the rules,
//! then `join` it.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use weir_contract::{Code, Error, Result, WallClock};
use weir_engine::connect::Registry;
use weir_engine::run::{Options, Ports, ReferenceTail, Report, Stop};
use weir_engine::sql::plan::ir::Plan;

use super::at::LogAt;
use super::program::Program;
use super::{Sizes, ports, reference};

/// What all programs of a process have in common.
pub struct Setup<'a> {
    pub log: &'a LogAt,
    pub registry: &'a Registry,
    pub data: PathBuf,
    /// A database, or SQL that fills a new one.
    pub reference: Option<String>,
    pub sizes: Sizes,
    pub checkpoint_every: Duration,
    pub decisions: bool,
}

/// A program that is ready to run.
pub struct Live {
    pub name: String,
    plan: Plan,
    ports: Ports,
    options: Options,
}

impl Live {
    /// Opens a program's sources, targets and control log; makes topics that are missing.
    pub fn open(program: &Program, setup: &Setup<'_>) -> Result<Live> {
        let options = Options {
            checkpoint_every: setup.checkpoint_every,
            decisions: setup.decisions,
            ..setup.sizes.options(&program.name, Some(setup.data.clone()))
        }
        .for_plan(&program.plan);
        let own = setup.log.writable(&setup.data);
        let sources = ports::sources(&program.plan, setup.registry)?;
        let tasks = ports::tasks(&sources)?;
        let tail = reference::open(&program.plan, setup.reference.as_deref(), Some(&setup.data))?;
        let topic = ports::control_topic(&options.env, &program.name);
        let ports = Ports {
            targets: ports::targets(&program.plan, setup.registry, tasks)?,
            outputs: Some(ports::outputs(program, &own, setup.registry, tasks)),
            control: ports::control(&own, &topic, tasks + options.shards as u32)?,
            reference: tail.map(|f| Box::new(f) as Box<dyn ReferenceTail>),
            sources,
            observer: None,
            clock: Arc::new(WallClock),
            until: None,
        };
        Ok(Live { name: program.name.clone(), plan: program.plan.clone(), ports, options })
    }

    /// Runs it here, to its end or until it is stopped.
    pub fn run(self, stop: &Stop) -> Result<Report> {
        weir_engine::run::run(self.plan, self.ports, self.options, stop)
    }

    /// Runs it in a thread of its own. A fault is said at once, and the others go on.
    pub fn start(self, stop: &Stop) -> Result<Beside> {
        let (name, stop) = (self.name.clone(), stop.clone());
        let thread = std::thread::Builder::new().name(name.clone()).spawn(move || {
            let name = self.name.clone();
            let done = self.run(&stop);
            if let Err(error) = &done {
                tracing::error!("program {name} stopped, the others go on\n{error}");
            }
            done
        });
        let thread = thread.map_err(|e| Error::new(Code::Internal, format!("no thread for {name}: {e}")))?;
        Ok(Beside { name, thread })
    }
}

/// A program that runs beside others.
pub struct Beside {
    pub name: String,
    thread: JoinHandle<Result<Report>>,
}

impl Beside {
    /// Whether it has come to its end, or failed.
    pub fn ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for its end: stop it before, or drain it.
    pub fn join(self) -> Result<Report> {
        let lost = || Err(Error::new(Code::Internal, format!("program {} panicked", self.name)));
        self.thread.join().unwrap_or_else(|_| lost())
    }
}
