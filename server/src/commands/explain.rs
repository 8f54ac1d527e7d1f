//! `weir explain`: the plan in words.

use std::path::{Path, PathBuf};

use weir_engine::sql::plan::explain::{explain, summary};

use crate::Done;
use crate::wire::at::LogAt;
use crate::wire::ports;
use crate::wire::program::Program;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder of .sql files, or one file
    program: PathBuf,
    /// Only this rule, view or insert target
    name: Option<String>,
    /// Where tables without a connector will be; default: WEIR_LOG, else the embedded log
    #[arg(long, value_name = "LOG")]
    log: Option<String>,
}

pub fn run(args: Args) -> Done {
    let log = LogAt::choose(args.log.as_deref(), Path::new("data"))?;
    let program = Program::load(&args.program, &log, &ports::registry(&log, Path::new("data"))?)?;
    let text = explain(&program.plan, args.name.as_deref())?;
    if args.name.is_none() {
        super::say(summary(&program.plan).trim_end());
    }
    super::say(text.trim_end());
    Ok(0)
}
