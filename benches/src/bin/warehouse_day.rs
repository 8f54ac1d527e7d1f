//! The simulated day through the rule pack in memory: answer first, then CPU seconds and memory.

use std::path::PathBuf;

use clap::Parser;
use weir_benches::day::{load_day, run_day};
use weir_benches::usage::{cpu, peak_memory};
use weir_contract::Result;
use weir_engine::run::Options;
use weir_sim::{DayOptions, SCORED_KINDS, Score};

#[derive(Parser)]
struct Args {
    /// First seed.
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// How many seeds, one after the other.
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    #[arg(long, default_value_t = 120)]
    minutes: u32,
    #[arg(long, default_value_t = 2)]
    workers: usize,
    #[arg(long, default_value_t = 8192)]
    batch_rows: usize,
    #[arg(long, default_value = "rules")]
    rules: PathBuf,
    /// Prints every miss and false event.
    #[arg(long)]
    verbose: bool,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let mut pooled = Score::default();
    let (mut records, mut cpu_seconds) = (0, 0.0);
    for seed in args.seed..args.seed + args.seeds {
        let loaded = load_day(DayOptions::seeded(seed, args.minutes))?;
        let before = cpu();
        let options = Options { workers: args.workers, batch_rows: args.batch_rows, ..Options::default() };
        let outcome = run_day(&loaded, &args.rules, options)?;
        let used = (cpu() - before).as_secs_f64();
        records += outcome.records;
        cpu_seconds += used;
        println!(
            "seed={seed} records={} events={} sha256={} cpu_s={used:.2} events_by_rule={:?}",
            outcome.records,
            outcome.events.len(),
            &outcome.sha256[..16],
            outcome.report.events
        );
        if args.verbose {
            outcome.score.misses.iter().for_each(|m| println!("  miss   {m}"));
            outcome.score.falses.iter().for_each(|f| println!("  false  {f}"));
        }
        pooled.merge(&outcome.score);
    }
    for kind in SCORED_KINDS {
        println!("{kind:18} recall {:?} precision {:?}", pooled.recall(kind), pooled.precision(kind));
    }
    println!("{}", pooled.counts());
    println!(
        "warehouse_day records={records} cpu_s={cpu_seconds:.2} records_per_cpu_s={:.0} peak_mib={}",
        records as f64 / cpu_seconds,
        peak_memory() >> 20
    );
    Ok(())
}
