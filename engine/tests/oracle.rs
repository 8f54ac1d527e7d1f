//! Law 4: the batch answer is the right answer. What streaming writes over sources that end is what
//! DataFusion says of the batch form over the rows that streaming marked on time: exactly.
//!
//! A case is drawn from its seed; `WEIR_SEED` runs one alone.

#[allow(dead_code)]
#[path = "laws/program.rs"]
mod program;
#[path = "oracle/queries.rs"]
mod queries;
#[allow(dead_code)]
#[path = "laws/world.rs"]
mod world;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::record_batch::RecordBatch;
use weir_engine::control::Control;
use weir_engine::run::output::{row_json, visible_columns};
use weir_engine::run::references::References;
use weir_engine::source::FetchLimit;
use weir_engine::sql::catalog::AppendTime;
use weir_engine::sql::plan::batch::{Versions, batch, context};
use weir_engine::sql::plan::ir::{Output, Plan};
use weir_engine::sql::plan::{plan, stream_schema};
use weir_engine::sql::{SourceFile, read};
use weir_engine::watermark::{Lane, LaneSpec};
use world::{Shape, World};

const CASES: u64 = 24;

/// The processed rows of every source: the lanes alone over the same records and marks.
fn processed(world: &World, plan: &Plan) -> BTreeMap<String, RecordBatch> {
    let log = world.log();
    let mut out = BTreeMap::new();
    for (input, table) in (0..).zip(&plan.sources) {
        let source = log.source(&table.name).unwrap();
        let mut rows = Vec::new();
        for partition in source.partitions().unwrap() {
            let append = table.append_time.unwrap_or(AppendTime::Broker);
            let spec = LaneSpec { table: Arc::clone(table), input, partition: partition.number, append };
            let mut lane = Lane::new(spec).unwrap();
            for record in world.control_records() {
                if let Control::Idle { table: of, partition: p, offset, watermark } = record
                    && (of, *p) == (&table.name, partition.number)
                {
                    lane.mark(*offset, *watermark);
                }
            }
            let mut reader = source.open(partition.number, 0).unwrap();
            loop {
                let fetched =
                    reader.fetch(FetchLimit { rows: 1 << 20, bytes: 1 << 30 }, Duration::ZERO).unwrap();
                let Some(raw) = fetched.batch else { break };
                rows.extend(lane.take(raw, fetched.next).unwrap().rows);
            }
        }
        let schema = stream_schema(table).unwrap().schema;
        out.insert(table.name.clone(), concat_batches(&schema, &rows).unwrap());
    }
    out
}

/// The versions of every relation, from the reference records.
fn versions(world: &World, plan: &Plan) -> Vec<Versions> {
    let mut references = References::new(plan).unwrap();
    for record in world.control_records() {
        if let Control::Reference { change, asked_at, effective_at, changes } = record {
            references.apply(*change, *asked_at, *effective_at, changes).unwrap();
        }
    }
    let mut out: Vec<Versions> = plan.relations.iter().map(|_| Vec::new()).collect();
    for version in &references.versions {
        for (relation, rows) in &version.relations {
            out[*relation].push((version.effective_at.unwrap(), rows.clone()));
        }
    }
    out
}

fn program() -> String {
    let mut text = program::PROGRAM.to_owned();
    for (sink, columns, query) in queries::QUERIES {
        text += &format!(
            "\nCREATE TABLE {sink} ({columns}) WITH (connector = 'memory', type = 'sink');\nINSERT INTO {sink} {query};\n"
        );
    }
    text
}

#[test]
fn what_streaming_writes_is_the_batch_answer() {
    let file = SourceFile { name: "oracle.sql".into(), folder: String::new(), text: program() };
    let shown =
        |e: Vec<weir_contract::Error>| e.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    let script = read(&[file]).unwrap_or_else(|e| panic!("{}", shown(e)));
    let plan = plan(&script).unwrap_or_else(|e| panic!("{}", shown(e)));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let context = context();
    let one = std::env::var("WEIR_SEED").ok().and_then(|s| s.parse().ok());
    let seeds: Vec<u64> = one.map_or_else(|| (0..CASES).collect(), |seed| vec![seed]);
    let mut rows_of: BTreeMap<&str, usize> = BTreeMap::new();
    let mut wrong: BTreeMap<&str, String> = BTreeMap::new();
    for seed in &seeds {
        let world = World::new(*seed, &script);
        let streamed = world.run(&plan, &Shape::bounded());
        let (tables, relations) = (processed(&world, &plan), versions(&world, &plan));
        for output in &plan.outputs {
            let Output::Insert { target, node, .. } = output else { continue };
            let stream = &plan.nodes[*node].stream;
            let query = batch(&plan, *node, &tables, &relations)
                .unwrap_or_else(|e| panic!("`{}` has no batch form: {e}", target.name));
            let answer = runtime
                .block_on(async { context.execute_logical_plan(query).await?.collect().await })
                .unwrap_or_else(|e| panic!("`{}` cannot be run in batch form: {e}", target.name));
            let visible = visible_columns(stream);
            let mut expected: Vec<String> = answer
                .iter()
                .flat_map(|b| (0..b.num_rows()).map(|row| row_json(stream, visible, b, row).unwrap()))
                .collect();
            expected.sort();
            *rows_of.entry(&target.name).or_default() += expected.len();
            let got = streamed.outputs.get(&target.name).map_or(&[][..], Vec::as_slice);
            if expected != got {
                let missing: Vec<_> = expected.iter().filter(|l| !got.contains(l)).take(3).collect();
                let extra: Vec<_> = got.iter().filter(|l| !expected.contains(l)).take(3).collect();
                wrong.entry(&target.name).or_insert_with(|| {
                    format!(
                        "seed {seed}: `{}` has {} rows in batch form, {} streamed\nmissing {missing:#?}\nextra {extra:#?}",
                        target.name,
                        expected.len(),
                        got.len()
                    )
                });
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.into_values().collect::<Vec<_>>().join("\n"));
    if one.is_none() {
        let silent: Vec<_> = rows_of.iter().filter(|(_, n)| **n == 0).collect();
        assert!(silent.is_empty(), "queries that never gave a row: {silent:?}");
        assert!(rows_of.len() >= 8 + queries::QUERIES.len(), "every query is compared");
    }
}
