//! From pictures to events, over many seeds: how well the shipped detector and the rules find what was planted.
//!
//! In:   the `weir` and `weir-edge` binaries beside this one, ONNX Runtime, a number of seeds.
//! Out:  planted, found, missed, false by kind, pooled; recall and precision; what it took.
//!
//! Each seed is `weir demo` with its five minutes of two stations: 600 frames, less a camera's silence.

use std::collections::BTreeMap;
use std::process::{Command, ExitCode, Stdio};

use clap::Parser;
use serde_json::Value;

/// What the demo detects with: the model that ships.
const MODEL: &str = include_str!("../../../vision/model/metrics.json");

#[derive(Parser)]
struct Args {
    /// The first seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[arg(long, default_value_t = 20)]
    seeds: u64,
}

#[derive(Default)]
struct Row {
    planted: u64,
    found: u64,
    missed: u64,
    wrong: u64,
}

fn share(part: u64, whole: u64) -> String {
    if whole == 0 { "-".into() } else { format!("{:.3}", part as f64 / whole as f64) }
}

fn one(weir: &std::path::Path, seed: u64) -> Result<Value, String> {
    let data = tempfile::tempdir().map_err(|e| e.to_string())?;
    let done = Command::new(weir)
        .args(["demo", "--minutes", "11", "--speed", "max", "--json", "--seed", &seed.to_string(), "--data"])
        .arg(data.path().join("data"))
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|e| format!("{}: {e}", weir.display()))?;
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    let line = text.lines().last().unwrap_or_default();
    let summary: Value = serde_json::from_str(line).map_err(|e| format!("seed {seed}: {e}"))?;
    match summary.get("pictures") {
        Some(pictures) if done.status.success() => Ok(pictures.clone()),
        _ => Err(format!("seed {seed} played no pictures: {}", done.status)),
    }
}

fn run(args: &Args) -> Result<(), String> {
    let own = std::env::current_exe().map_err(|e| e.to_string())?;
    let weir = own.with_file_name("weir");
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    let (mut frames, mut late, mut rejects, mut evidence, mut seconds) = (0, 0, 0, 0, 0.0);
    for seed in args.seed..args.seed + args.seeds {
        let seen = one(&weir, seed)?;
        let count = |name: &str| seen[name].as_u64().unwrap_or(0);
        frames += count("frames");
        late += count("late");
        rejects += count("rejects");
        evidence += count("evidence");
        seconds += seen["wall_s"].as_f64().unwrap_or(0.0);
        for kind in seen["planted"].as_object().into_iter().flatten().map(|(kind, _)| kind) {
            let of = |what: &str| seen[what][kind].as_u64().unwrap_or(0);
            let row = rows.entry(kind.clone()).or_default();
            row.planted += of("planted");
            row.found += of("found");
            row.missed += of("missed");
            row.wrong += of("false");
        }
        eprintln!("seed {seed}: {}", seen["found"]);
    }
    let model: Value = serde_json::from_str(MODEL).map_err(|e| e.to_string())?;
    let sha256 = model["sha256"].as_str().unwrap_or_default();
    let last = args.seed + args.seeds - 1;
    println!("# weir demo from pictures, seeds {} to {last}; model sha256={sha256:.16}", args.seed);
    println!("frames={frames} late={late} rejects={rejects} evidence={evidence} wall_s={seconds:.0}");
    println!(
        "{:<18} {:>8} {:>6} {:>6} {:>6} {:>8} {:>10}",
        "kind", "planted", "found", "missed", "false", "recall", "precision"
    );
    let mut sum = Row::default();
    for (kind, row) in rows.iter().filter(|(_, r)| r.planted + r.wrong > 0) {
        print(kind, row);
        if matches!(kind.as_str(), "wrong_brand" | "mixed_brands" | "empty_frame") {
            sum.planted += row.planted;
            sum.found += row.found;
            sum.missed += row.missed;
            sum.wrong += row.wrong;
        }
    }
    print("brand events", &sum);
    Ok(())
}

fn print(kind: &str, row: &Row) {
    let (recall, precision) = (share(row.found, row.planted), share(row.found, row.found + row.wrong));
    println!(
        "{kind:<18} {:>8} {:>6} {:>6} {:>6} {recall:>8} {precision:>10}",
        row.planted, row.found, row.missed, row.wrong
    );
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}
