//! Queries over nested JSON files: weir's streaming run beside DataFusion's batch run of the same
//! query on the same files. Each run is a process of its own, so that CPU time and peak memory are
//! its own; the number of result rows and a sum over them must agree before a time is printed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use clap::Parser;
use datafusion::arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use datafusion::physical_plan::ExecutionPlanProperties;
use datafusion::prelude::{JsonReadOptions, SessionConfig, SessionContext};
use serde_json::{Value, json};
use weir_benches::nexmark::{Data, write};
use weir_benches::usage::{cpu, peak_memory};
use weir_connectors::file::Filesystem;
use weir_connectors::paths::Roots;
use weir_contract::{Code, Error, Result, WallClock};
use weir_engine::connect::Connector as _;
use weir_engine::connect::memory::MemoryLog;
use weir_engine::run::{Options, Ports, Stop, run};
use weir_engine::sql::plan::plan;
use weir_engine::sql::{SourceFile, read};

#[derive(Parser)]
struct Args {
    #[arg(long, default_value_t = 5_000_000)]
    rows: u64,
    #[arg(long, default_value = "/tmp/weir-bench")]
    dir: PathBuf,
    #[arg(long, default_value_t = 2)]
    workers: usize,
    /// Runs of each side; the median is printed.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// One run in this process: `weir` or `datafusion`.
    #[arg(long)]
    side: Option<String>,
    #[arg(long)]
    query: Option<String>,
}

/// Name, weir's query, DataFusion's batch form.
const QUERIES: [(&str, &str, &str); 3] = [
    (
        "filter_project",
        "SELECT bid['auction'] AS auction, bid['price'] * 0.908 AS price, ts FROM bids WHERE bid['auction'] % 123 = 0",
        "SELECT bid['auction'] AS auction, bid['price'] * 0.908 AS price, ts FROM bids WHERE bid['auction'] % 123 = 0",
    ),
    (
        "hop_count",
        "SELECT bid['auction'] AS auction, hop(INTERVAL '2 seconds', INTERVAL '10 seconds') AS slot, count(*) AS n
           FROM bids GROUP BY bid['auction'], hop(INTERVAL '2 seconds', INTERVAL '10 seconds')",
        "SELECT auction, w, count(*) AS n FROM (
           SELECT bid['auction'] AS auction,
             unnest([k, k - 2, k - 4, k - 6, k - 8]) AS w
           FROM (SELECT bid, CAST(floor(date_part('epoch', ts) / 2) AS BIGINT) * 2 AS k FROM bids))
         GROUP BY auction, w",
    ),
    (
        "interval_join",
        "SELECT a.id, b.price, a.ts FROM (SELECT auction['id'] AS id, ts FROM auctions) AS a
           JOIN (SELECT bid['auction'] AS auction, bid['price'] AS price, ts FROM bids) AS b
           ON a.id = b.auction AND b.ts BETWEEN a.ts AND a.ts + INTERVAL '50 milliseconds'",
        "SELECT a.id, b.price, a.ts FROM (SELECT auction['id'] AS id, ts FROM auctions) AS a
           JOIN (SELECT bid['auction'] AS auction, bid['price'] AS price, ts FROM bids) AS b
           ON a.id = b.auction AND b.ts BETWEEN a.ts AND a.ts + INTERVAL '50 milliseconds'",
    ),
];

fn script(data: &Data, query: &str) -> String {
    let table = |name: &str, column: &str, path: &Path| {
        format!(
            "CREATE TABLE {name} (ts TIMESTAMP NOT NULL, {column}, WATERMARK FOR ts)
             WITH (connector = 'filesystem', type = 'source', path = '{}', format = 'json');\n",
            path.display()
        )
    };
    table(
        "bids",
        "bid STRUCT<auction BIGINT, bidder BIGINT, price BIGINT, channel TEXT, url TEXT>",
        &data.bids,
    ) + &table(
        "auctions",
        "auction STRUCT<id BIGINT, seller BIGINT, category BIGINT, reserve BIGINT, item TEXT>",
        &data.auctions,
    ) + "CREATE TABLE results (a BIGINT, b BIGINT, c TIMESTAMP) WITH (connector = 'blackhole', type = 'sink');\n"
        + &format!("INSERT INTO results {query};")
}

fn weir(data: &Data, query: &str, workers: usize) -> Result<u64> {
    let one = |errors: Vec<Error>| {
        Error::new(Code::Plan, errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    };
    let mut text = script(data, query);
    for unread in ["auctions", "bids"] {
        // A source that nobody reads would still be read and counted: leave it out.
        if !query.contains(unread) {
            let from = text.find(&format!("CREATE TABLE {unread} ")).unwrap_or(0);
            let to = from + text[from..].find(";\n").map_or(0, |i| i + 2);
            text.replace_range(from..to, "");
        }
    }
    let file = SourceFile { name: "bench.sql".into(), folder: String::new(), text };
    let script = read(&[file]).map_err(one)?;
    let plan = plan(&script).map_err(one)?;
    let files = Filesystem::new(Roots::new([PathBuf::from("/")])?);
    let mut sources = BTreeMap::new();
    for table in &plan.sources {
        sources.insert(table.name.clone(), files.source(table)?);
    }
    // No target: rows are counted, as a blackhole does.
    let targets = BTreeMap::new();
    let log = MemoryLog::new();
    let ports = Ports {
        sources,
        targets,
        outputs: None,
        control: log.control("control", 65),
        reference: None,
        observer: None,
        clock: Arc::new(WallClock),
        until: None,
    };
    let options = Options { workers, shards: workers, ..Options::default() };
    let report = run(plan, ports, options, &Stop::default())?;
    Ok(report.outputs.get("results").copied().unwrap_or(0))
}

async fn batch(data: &Data, query: &str, workers: usize) -> datafusion::error::Result<u64> {
    let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(workers));
    let whole = |n: &str| Field::new(n, DataType::Int64, true);
    let text = |n: &str| Field::new(n, DataType::Utf8, true);
    let nested = |name: &str, fields: Vec<Field>| {
        Schema::new(vec![
            Field::new("ts", DataType::Timestamp(TimeUnit::Microsecond, None), true),
            Field::new(name, DataType::Struct(fields.into()), true),
        ])
    };
    let bids =
        nested("bid", vec![whole("auction"), whole("bidder"), whole("price"), text("channel"), text("url")]);
    let auctions = nested(
        "auction",
        vec![whole("id"), whole("seller"), whole("category"), whole("reserve"), text("item")],
    );
    let path = |p: &Path| format!("{}/", p.display());
    context.register_json("bids", path(&data.bids), JsonReadOptions::default().schema(&bids)).await?;
    context
        .register_json("auctions", path(&data.auctions), JsonReadOptions::default().schema(&auctions))
        .await?;
    let frame = context.sql(query).await?;
    let plan = frame.create_physical_plan().await?;
    let task = context.task_ctx();
    let mut counting = tokio::task::JoinSet::new();
    for partition in 0..plan.output_partitioning().partition_count() {
        let mut stream = plan.execute(partition, Arc::clone(&task))?;
        counting.spawn(async move {
            let mut rows = 0;
            while let Some(batch) = std::future::poll_fn(|c| stream.as_mut().poll_next(c)).await {
                rows += batch?.num_rows() as u64;
            }
            datafusion::error::Result::<u64>::Ok(rows)
        });
    }
    let mut rows = 0;
    while let Some(counted) = counting.join_next().await {
        rows += counted.map_err(|e| datafusion::error::DataFusionError::Execution(e.to_string()))??;
    }
    Ok(rows)
}

fn one(args: &Args, side: &str, name: &str) -> Result<()> {
    let data = write(&args.dir, args.rows, 2)?;
    let (_, ours, theirs) = QUERIES
        .iter()
        .find(|(n, _, _)| *n == name)
        .ok_or_else(|| Error::new(Code::Usage, format!("no query `{name}`")))?;
    let clock = WallClock;
    let (started, cpu_before) = (weir_contract::Clock::monotonic(&clock), cpu());
    let rows = match side {
        "weir" => weir(&data, ours, args.workers)?,
        _ => {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(args.workers)
                .build()
                .map_err(|e| Error::new(Code::Internal, e.to_string()))?;
            runtime
                .block_on(batch(&data, theirs, args.workers))
                .map_err(|e| Error::new(Code::Plan, e.strip_backtrace()))?
        }
    };
    let wall = weir_contract::Clock::monotonic(&clock).saturating_sub(started);
    println!(
        "{}",
        json!({"rows": rows, "cpu_s": (cpu() - cpu_before).as_secs_f64(), "wall_s": wall.as_secs_f64(),
               "peak_mib": peak_memory() >> 20})
    );
    Ok(())
}

fn main() -> Result<()> {
    let args = Args::parse();
    if let (Some(side), Some(query)) = (&args.side, &args.query) {
        return one(&args, side, query);
    }
    let data = write(&args.dir, args.rows, 2)?;
    println!("rows={} files=2 workers={} runs={}", data.rows, args.workers, args.runs);
    let failed = |e: std::io::Error| Error::new(Code::Io, e.to_string());
    let me = std::env::current_exe().map_err(failed)?;
    for (name, _, _) in QUERIES {
        let mut medians: Vec<(f64, Value)> = Vec::new();
        for side in ["datafusion", "weir"] {
            let mut results: Vec<Value> = Vec::new();
            for _ in 0..args.runs {
                let (rows, workers) = (args.rows.to_string(), args.workers.to_string());
                let done = Command::new(&me)
                    .args(["--side", side, "--query", name, "--rows", &rows, "--workers", &workers, "--dir"])
                    .arg(&args.dir)
                    .output()
                    .map_err(failed)?;
                let out = String::from_utf8_lossy(&done.stdout);
                match serde_json::from_str::<Value>(out.trim()) {
                    Ok(value) => results.push(value),
                    Err(_) => {
                        let why = format!("{side} {name}: {out}{}", String::from_utf8_lossy(&done.stderr));
                        return Err(Error::new(Code::Internal, why));
                    }
                }
            }
            let cpu_of = |v: &Value| v["cpu_s"].as_f64().unwrap_or(0.0);
            results.sort_by(|a, b| cpu_of(a).total_cmp(&cpu_of(b)));
            let median = results.swap_remove(results.len() / 2);
            medians.push((cpu_of(&median) / (args.rows as f64 / 1e6), median));
        }
        let (theirs, ours) = (&medians[0], &medians[1]);
        if theirs.1["rows"] != ours.1["rows"] {
            let why = format!("{name}: datafusion gives {} rows, weir {}", theirs.1["rows"], ours.1["rows"]);
            return Err(Error::new(Code::Internal, why));
        }
        println!("{name}  answer {} rows, same in both", ours.1["rows"]);
        for (side, (per_million, v)) in [("datafusion", theirs), ("weir", ours)] {
            println!(
                "  {side:10} {per_million:.2} CPU s per million rows   wall {:.2} s   peak {} MiB",
                v["wall_s"].as_f64().unwrap_or(0.0),
                v["peak_mib"]
            );
        }
        println!("  ratio      {:.2}", ours.0 / theirs.0);
    }
    Ok(())
}
