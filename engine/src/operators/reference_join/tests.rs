//! Reference joins against nested loops over rows and versions, whatever the chopping.

use datafusion::logical_expr::Operator as Op;
use datafusion::physical_expr::expressions::{BinaryExpr, Column};

use super::*;
use crate::base::FOREVER;
use crate::operators::join_world::*;

#[derive(Debug, Clone, Copy)]
struct Case {
    kind: JoinKind,
    keys: usize,
    residual: bool,
}

fn make(case: Case) -> Box<dyn Operator> {
    let column = |c: usize| Arc::new(Column::new("value", c)) as Arc<dyn PhysicalExpr>;
    let residual = BinaryExpr::new(column(4), Op::Gt, column(WIDTH + 4));
    let spec = ReferenceJoinSpec {
        left: stream(),
        output: joined(&[2, 3]),
        kind: case.kind,
        left_keys: keys(case.keys),
        right_keys: keys(case.keys),
        right_schema: schema(),
        right_order: vec![5, 6],
        residual: case.residual.then(|| Arc::new(residual) as _),
    };
    Box::new(ReferenceJoin::new(spec).unwrap())
}

/// The twin: every left row against every row of the last version at or before it.
fn naive(case: Case, left: &[Row], versions: &Versions) -> (Vec<Pair>, u64) {
    let matches = |a: &Row| {
        let (_, table) = versions.iter().rfind(|(from, _)| *from <= a.ts).unwrap();
        let mut table = table.clone();
        table.sort_by_key(|b| (b.partition, b.offset));
        let greater = |b: &Row| a.value.is_some() && b.value.is_some() && a.value > b.value;
        table.retain(|b| a.same_key(b, case.keys) && (!case.residual || greater(b)));
        table
    };
    answer(left, 0, case.kind, matches)
}

fn check(seed: u64) {
    let mut rng = Rng(seed);
    let case = Case {
        kind: rng.pick(&[JoinKind::Inner, JoinKind::Left]),
        keys: rng.pick(&[1, 1, 2]),
        residual: rng.chance(2),
    };
    let span = rng.pick(&[5, 60, 400]);
    let n = rng.pick(&[0, 30, 150, 300]);
    let left = some_rows(&mut rng, n, 6, span);
    let mut versions = Versions::new();
    let mut from = i64::MIN;
    for _ in 0..rng.pick(&[1, 2, 12]) {
        let rows = rng.pick(&[0, 5, 40]);
        versions.push((from, some_rows(&mut rng, rows, 5, 9)));
        from = from.max(0) + 1 + rng.below(span / 2) as i64;
    }
    let (want, dropped) = naive(case, &left, &versions);
    let (got, unmatched) = drive(&|| make(case), &[left], &versions, &[2, 3], &mut rng);
    assert!(got == want, "seed {seed}: {case:?}: {} pairs, not {}", got.len(), want.len());
    assert_eq!(unmatched, if case.kind == JoinKind::Inner { dropped } else { 0 }, "seed {seed}");
}

#[test]
fn agrees_with_nested_loops_however_rows_come() {
    (0..200).for_each(check);
}

const UNITS: Case = Case { kind: JoinKind::Inner, keys: 1, residual: false };

fn row(k: i64, ts: i64, value: i64) -> Row {
    Row { k1: Some(k), k2: None, ts, other: ts, value: Some(value), partition: 0, offset: ts }
}

#[test]
fn a_version_holds_from_its_time_and_never_before_what_was_passed() {
    let mut op = make(UNITS);
    let mut out = Out::default();
    op.version(i64::MIN, &batch(&[row(1, 0, 10)])).unwrap();
    assert_eq!(op.advance(&[&[50; 2]], &mut out).unwrap(), [50, 50]);
    assert_eq!(op.passed(), 50);
    assert_eq!(op.version(49, &batch(&[])).unwrap_err().code(), Code::PassedEffect);
    op.version(60, &batch(&[])).unwrap();
    op.version(50, &batch(&[row(1, 0, 20)])).unwrap();
    // The same time again: the later word holds.
    op.version(50, &batch(&[row(1, 0, 30)])).unwrap();
    op.push(0, batch(&[row(1, 59, 0), row(1, 60, 0), row(1, 50, 0)]), &mut out).unwrap();
    op.advance(&[&[FOREVER; 2]], &mut out).unwrap();
    let want = [50, 59].map(|t| (row(1, t, 0), Some(row(1, 0, 30))));
    assert_eq!(pairs_of(&out.batches), want);
    assert_eq!(out.unmatched.rows, 1);
}

#[test]
fn rows_without_any_version_fail() {
    let mut op = make(UNITS);
    let mut out = Out::default();
    op.push(0, batch(&[row(1, 5, 0)]), &mut out).unwrap();
    let error = op.advance(&[&[FOREVER; 2]], &mut out).unwrap_err();
    assert_eq!(error.code(), Code::Internal);
}

#[test]
fn old_versions_and_unknown_keys_are_forgotten() {
    let mut op = make(UNITS);
    let mut out = Out::default();
    let table: Vec<Row> = (0..500).map(|k| row(k, k, 0)).collect();
    op.version(i64::MIN, &batch(&table)).unwrap();
    let one = op.bytes();
    let mut most = 0;
    for step in 0..400 {
        op.version(step, &batch(&table)).unwrap();
        let rows: Vec<Row> = (0..100).map(|k| row(1_000 + step * 100 + k, step, 0)).collect();
        op.push(0, batch(&rows), &mut out).unwrap();
        op.advance(&[&[step + 1; 2]], &mut out).unwrap();
        most = most.max(op.bytes());
    }
    assert_eq!(out.unmatched.rows, 40_000);
    assert!(most < 4 * one + 100_000, "{most} bytes, {one} for one version");
    // One version that holds for ever, with keys that it does not know.
    for step in 400..800 {
        let rows: Vec<Row> = (0..100).map(|k| row(1_000 + step * 100 + k, step, 0)).collect();
        op.push(0, batch(&rows), &mut out).unwrap();
        op.advance(&[&[step + 1; 2]], &mut out).unwrap();
        most = most.max(op.bytes());
    }
    assert!(most < 4 * one + 500_000, "{most} bytes, {one} for one version");
}
