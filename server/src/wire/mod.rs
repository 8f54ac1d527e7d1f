//! Wiring: from a folder, a few settings and the environment to a plan and the ports of a run.
//!
//! `at` says where a program's log is, `program` reads and plans one, `ports` opens what it reads and
//! writes, `live` runs one or several, `copies` one that shares its input with others, `models` finds what `detect()` runs, `reference` follows its database,
//! `held` is a control log that a replay cannot change, `topic` reads a whole topic, `stop` turns signals
//! into a clean end, `usage` says what a run cost.

pub mod at;
pub mod copies;
pub mod held;
pub mod live;
pub mod models;
pub mod ports;
pub mod program;
pub mod reference;
pub mod retain;
pub mod stop;
pub mod topic;
pub mod usage;

use std::path::PathBuf;
use std::time::Duration;

use weir_contract::time::parse_span;

/// `WEIR_ENV`, the only switch between environments.
pub fn env() -> String {
    std::env::var("WEIR_ENV").ok().filter(|e| !e.is_empty()).unwrap_or_else(|| "dev".into())
}

/// How much of the machine a run takes; none of it changes a result.
#[derive(Debug, Clone, clap::Args)]
pub struct Sizes {
    /// Threads that run tasks and shards
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub workers: u16,
    /// Parts of work whose key does not hold the partition key
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub shards: u16,
    /// Records of one fetch
    #[arg(long, value_name = "N", default_value_t = 8192, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub batch_rows: u32,
    /// State and queues together, in MB: what a run may hold before it fetches less
    #[arg(long, value_name = "MB", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..))]
    pub memory: u32,
}

impl Sizes {
    /// Options of a run of a program.
    pub fn options(&self, program: &str, data: Option<PathBuf>) -> weir_engine::run::Options {
        weir_engine::run::Options {
            env: env(),
            program: program.into(),
            workers: self.workers.into(),
            shards: self.shards.into(),
            batch_rows: self.batch_rows as usize,
            memory_bytes: (self.memory as usize) << 20,
            data,
            ..weir_engine::run::Options::default()
        }
    }
}

/// A span such as `10`, `10s` or `2 minutes`; a bare number counts seconds.
pub fn span_arg(text: &str) -> Result<Duration, String> {
    let us = match text.trim().parse::<f64>() {
        Ok(seconds) if seconds.is_finite() => Some((seconds * 1e6) as i64),
        _ => parse_span(text),
    };
    us.and_then(|us| u64::try_from(us).ok())
        .filter(|us| *us > 0)
        .map(Duration::from_micros)
        .ok_or_else(|| "expected a positive span such as 10 or '2 minutes'".into())
}
