//! The batch side of law 4: what the lanes let through, and what the batch form says of it.
//!
//! In:   a log, its control records, a plan.
//! Out:  the processed rows of every source, the versions of every relation; the rows of any node.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::prelude::SessionContext;
use weir_engine::base::NOTHING;
use weir_engine::connect::memory::MemoryLog;
use weir_engine::control::Control;
use weir_engine::run::output::{row_json, visible_columns};
use weir_engine::run::references::References;
use weir_engine::source::FetchLimit;
use weir_engine::sql::catalog::{AppendTime, Format, InsertSpec, TableKind, TableSpec};
use weir_engine::sql::plan::batch::{Versions, batch, context};
use weir_engine::sql::plan::ir::{NodeId, Output, Plan};
use weir_engine::sql::plan::stream_schema;
use weir_engine::watermark::{Lane, LaneSpec};

/// What a batch query reads.
#[derive(Clone)]
pub struct Given {
    pub tables: BTreeMap<String, RecordBatch>,
    pub relations: Vec<Versions>,
    /// Highest event time of rows on time and heartbeats: how far timers run at the end.
    pub highest: i64,
}

impl Given {
    /// The lanes alone over the same records and marks.
    pub fn of(log: &MemoryLog, control: &[Control], plan: &Plan) -> Given {
        let mut given =
            Given { tables: BTreeMap::new(), relations: versions(control, plan), highest: NOTHING };
        for (input, table) in (0..).zip(&plan.sources) {
            let (rows, highest) = processed(log, control, input, table);
            given.highest = given.highest.max(highest);
            given.tables.insert(table.name.clone(), rows);
        }
        given
    }
}

/// The rows of one table that are on time and no copies.
pub fn processed(
    log: &MemoryLog,
    control: &[Control],
    input: i32,
    table: &Arc<TableSpec>,
) -> (RecordBatch, i64) {
    let source = log.source(&table.name).unwrap();
    let (mut rows, mut highest) = (Vec::new(), NOTHING);
    for partition in source.partitions().unwrap() {
        let append = table.append_time.unwrap_or(AppendTime::Broker);
        let stream = stream_schema(table).unwrap();
        let (copy, number) = (Arc::clone(table), partition.number);
        let spec = LaneSpec { table: copy, input, partition: number, append, stream };
        let mut lane = Lane::new(spec).unwrap();
        for record in control {
            if let Control::Idle { table: of, partition: p, offset, watermark } = record
                && (of, *p) == (&table.name, partition.number)
            {
                lane.mark(*offset, *watermark);
            }
        }
        let mut reader = source.open(partition.number, 0).unwrap();
        loop {
            let fetched = reader.fetch(FetchLimit { rows: 1 << 20, bytes: 1 << 30 }, Duration::ZERO).unwrap();
            let Some(raw) = fetched.batch else { break };
            rows.extend(lane.take(raw, fetched.next).unwrap().rows);
        }
        highest = highest.max(lane.highest());
    }
    let schema = stream_schema(table).unwrap().schema;
    (concat_batches(&schema, &rows).unwrap(), highest)
}

/// The versions of every relation, from the reference records.
fn versions(control: &[Control], plan: &Plan) -> Vec<Versions> {
    let mut references = References::new(plan).unwrap();
    for record in control {
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

/// Runs batch forms.
pub struct Batch {
    runtime: tokio::runtime::Runtime,
    context: SessionContext,
}

impl Batch {
    pub fn new() -> Batch {
        Batch { runtime: tokio::runtime::Builder::new_current_thread().build().unwrap(), context: context() }
    }

    /// All columns of a node, hidden ones too, in any order of rows.
    pub fn rows(&self, plan: &Plan, node: NodeId, given: &Given) -> Vec<RecordBatch> {
        let query = batch(plan, node, &given.tables, &given.relations)
            .unwrap_or_else(|e| panic!("node {node} has no batch form: {e}"));
        self.runtime
            .block_on(async { self.context.execute_logical_plan(query).await?.collect().await })
            .unwrap_or_else(|e| panic!("node {node} cannot be run in batch form: {e}"))
    }

    /// What `INSERT INTO` would write of a node, sorted.
    pub fn lines(&self, plan: &Plan, node: NodeId, given: &Given) -> Vec<String> {
        lines_of(plan, node, &self.rows(plan, node, given))
    }
}

/// Rows as an `INSERT INTO` writes them, sorted.
pub fn lines_of(plan: &Plan, node: NodeId, rows: &[RecordBatch]) -> Vec<String> {
    let stream = &plan.nodes[node].stream;
    let visible = visible_columns(stream);
    let all = rows.iter().flat_map(|b| (0..b.num_rows()).map(move |row| (b, row)));
    let mut lines: Vec<String> = all.map(|(b, row)| row_json(stream, visible, b, row).unwrap()).collect();
    lines.sort();
    lines
}

/// How two sorted lists of lines differ, in words; None where they are equal.
pub fn difference(batch: &[String], streamed: &[String]) -> Option<String> {
    if batch == streamed {
        return None;
    }
    let missing: Vec<_> = batch.iter().filter(|l| streamed.binary_search(l).is_err()).take(3).collect();
    let extra: Vec<_> = streamed.iter().filter(|l| batch.binary_search(l).is_err()).take(3).collect();
    Some(format!(
        "{} rows in batch form, {} streamed\nmissing {missing:#?}\nextra {extra:#?}",
        batch.len(),
        streamed.len()
    ))
}

/// The output that has the rows of a rule's query, as they go into its episodes.
pub fn rows_of(rule: &str) -> String {
    format!("rows_of_{rule}")
}

/// The plan, with the rows of every rule's query written out beside its events.
pub fn with_rule_rows(mut plan: Plan) -> Plan {
    let rules: Vec<Output> =
        plan.outputs.iter().filter(|o| matches!(o, Output::Rule { .. })).cloned().collect();
    for output in rules {
        let Output::Rule { spec, node } = output else { continue };
        let target = TableSpec {
            name: rows_of(&spec.name),
            columns: vec![],
            primary_key: vec![],
            partitioned_by: vec![],
            watermark: None,
            kind: TableKind::Sink,
            connector: "memory".into(),
            format: Format::Json,
            idle_after: None,
            max_ahead: 0,
            append_time: None,
            dedup: None,
            max_record_bytes: 1 << 20,
            options: BTreeMap::new(),
            rows: vec![],
            place: spec.place.clone(),
        };
        let insert = InsertSpec {
            table: target.name.clone(),
            query: spec.query.clone(),
            text: spec.text.clone(),
            place: spec.place.clone(),
        };
        let target = Arc::new(target);
        plan.outputs.push(Output::Insert { spec: Arc::new(insert), node, target, stateless: false });
    }
    plan
}
