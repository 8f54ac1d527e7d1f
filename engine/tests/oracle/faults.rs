//! The oracle can fail: faults in what the batch side is given, each of which some queries must notice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array, TimestampMicrosecondArray};
use datafusion::arrow::compute::{concat_batches, filter_record_batch};
use datafusion::arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType};
use datafusion::arrow::record_batch::RecordBatch;
use weir_contract::time::SECOND;
use weir_engine::sql::plan::ir::{Output, Plan};

use crate::answer::{Batch, Given, processed};
use crate::program::TABLES;
use crate::suite;
use crate::world::{Shape, World};

const SEEDS: u64 = 8;

/// What goes wrong, and queries that have to notice it in one of the worlds.
struct Fault {
    name: &'static str,
    make: fn(&World, &Plan, &mut Given),
    noticed_by: &'static [&'static str],
}

const FAULTS: [Fault; 7] = [
    Fault {
        name: "a late row counts",
        make: late_row,
        noticed_by: &["all", "append_only", "window_only", "inner_join", "lags", "reference_residual"],
    },
    Fault {
        name: "a row on time is lost",
        make: lost_row,
        noticed_by: &["all", "append_only", "window_only", "asof_strict", "over_by_key", "union_window"],
    },
    Fault {
        name: "a row counts twice",
        make: doubled_row,
        noticed_by: &["all", "append_only", "window_only", "self_join", "votes_window"],
    },
    Fault {
        name: "rows of equal time are in the wrong order",
        make: ties_turned,
        noticed_by: &["first_last", "asof_by_key", "lags", "over_of_join", "union_of_streams"],
    },
    Fault {
        name: "a row at a window's end counts in it",
        make: ends_inclusive,
        noticed_by: &["window_only", "filtered_aggregate", "having", "window_of_window", "reference_window"],
    },
    Fault {
        name: "a version is in effect a microsecond late",
        make: versions_late,
        noticed_by: &["reference_window"],
    },
    Fault {
        name: "the last version never comes",
        make: version_lost,
        noticed_by: &["reference_residual", "reference_window", "reference_view", "reference_after_window"],
    },
];

/// The name of an output's file.
fn bare(output: &str) -> &str {
    output.strip_prefix("q_").unwrap_or(output)
}

fn column(rows: &RecordBatch, name: &str) -> usize {
    rows.schema().index_of(name).unwrap()
}

fn replaced(rows: &RecordBatch, at: usize, column: ArrayRef) -> RecordBatch {
    let mut columns = rows.columns().to_vec();
    columns[at] = column;
    RecordBatch::try_new(rows.schema(), columns).unwrap()
}

/// Partition and offset of every row.
fn positions(rows: &RecordBatch) -> Vec<(i32, i64)> {
    let partitions = rows.column(column(rows, "__p")).as_primitive::<Int32Type>();
    let offsets = rows.column(column(rows, "__o")).as_primitive::<Int64Type>();
    partitions.values().iter().copied().zip(offsets.values().iter().copied()).collect()
}

fn late_row(world: &World, plan: &Plan, given: &mut Given) {
    let mut patient = plan.sources[0].as_ref().clone();
    patient.watermark.iter_mut().for_each(|w| w.lateness = 3600 * SECOND);
    let (all, _) = processed(&world.log(), world.control_records(), 0, &Arc::new(patient));
    let rows = &given.tables["a"];
    let known: BTreeSet<_> = positions(rows).into_iter().collect();
    let keys = all.column(column(&all, "k"));
    let late = |(row, p): (usize, &(i32, i64))| (!known.contains(p) && keys.is_valid(row)).then_some(row);
    if let Some(row) = positions(&all).iter().enumerate().find_map(late) {
        let with = concat_batches(&rows.schema(), [rows, &all.slice(row, 1)]).unwrap();
        given.tables.insert("a".into(), with);
    }
}

fn lost_row(_: &World, _: &Plan, given: &mut Given) {
    let rows = &given.tables["a"];
    let lost = rows.num_rows() / 2;
    let kept = BooleanArray::from_iter((0..rows.num_rows()).map(|row| Some(row != lost)));
    let rows = filter_record_batch(rows, &kept).unwrap();
    given.tables.insert("a".into(), rows);
}

fn doubled_row(_: &World, _: &Plan, given: &mut Given) {
    let rows = &given.tables["a"];
    let rows = concat_batches(&rows.schema(), [rows, &rows.slice(rows.num_rows() / 2, 1)]).unwrap();
    given.tables.insert("a".into(), rows);
}

fn ties_turned(_: &World, _: &Plan, given: &mut Given) {
    for rows in given.tables.values_mut() {
        let at = column(rows, "__o");
        let turned: Int64Array =
            rows.column(at).as_primitive::<Int64Type>().values().iter().map(|o| Some(-*o)).collect();
        *rows = replaced(rows, at, Arc::new(turned));
    }
}

/// A row at a whole second is moved to just before it.
fn ends_inclusive(_: &World, _: &Plan, given: &mut Given) {
    let rows = &given.tables["a"];
    let at = column(rows, "ts");
    let times = rows.column(at).as_primitive::<TimestampMicrosecondType>().values();
    let moved: TimestampMicrosecondArray =
        times.iter().map(|t| Some(if t % SECOND == 0 { t - 1 } else { *t })).collect();
    let rows = replaced(rows, at, Arc::new(moved));
    given.tables.insert("a".into(), rows);
}

fn versions_late(_: &World, _: &Plan, given: &mut Given) {
    for (from, _) in given.relations.iter_mut().flatten().filter(|(from, _)| *from > i64::MIN) {
        *from += 1;
    }
}

fn version_lost(_: &World, _: &Plan, given: &mut Given) {
    for versions in given.relations.iter_mut().filter(|v| v.len() > 1) {
        versions.pop();
    }
}

#[test]
fn a_fault_in_the_rows_is_noticed() {
    let queries: Vec<suite::Query> = suite::accepted().into_iter().filter(|q| !q.is_rule()).collect();
    let wanted: BTreeSet<&str> = FAULTS.iter().flat_map(|f| f.noticed_by).copied().collect();
    let mut scripts = vec![("tables.sql".to_owned(), TABLES.to_owned())];
    let named = queries.iter().filter(|q| wanted.contains(bare(&q.output)));
    scripts.extend(named.map(|q| (q.output.clone(), q.program())));
    let plan = suite::planned(scripts).unwrap_or_else(|e| panic!("{}", suite::shown(e)));
    assert_eq!(plan.outputs.len(), wanted.len(), "a fault names a query that is not there");
    let batch = Batch::new();
    let mut noticed: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for seed in 0..SEEDS {
        let world = World::new(seed);
        let given = Given::of(&world.log(), world.control_records(), &plan);
        let streamed = world.run(&plan, &Shape::bounded());
        for fault in &FAULTS {
            let mut faulty = given.clone();
            (fault.make)(&world, &plan, &mut faulty);
            let seen = noticed.entry(fault.name).or_default();
            for output in &plan.outputs {
                let Output::Insert { target, node, .. } = output else { continue };
                let Some(name) = fault.noticed_by.iter().find(|n| **n == bare(&target.name)) else {
                    continue;
                };
                let got = streamed.outputs.get(&target.name).map_or(&[][..], Vec::as_slice);
                if !seen.contains(name) && batch.lines(&plan, *node, &faulty) != got {
                    seen.insert(name);
                }
            }
        }
    }
    for fault in &FAULTS {
        let missed: Vec<_> = fault.noticed_by.iter().filter(|n| !noticed[fault.name].contains(*n)).collect();
        assert!(missed.is_empty(), "{}: not noticed by {missed:?}", fault.name);
    }
}
