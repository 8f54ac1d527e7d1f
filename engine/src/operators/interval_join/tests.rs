//! Interval joins against nested loops over plain rows, whatever the chopping; state that goes.

use datafusion::logical_expr::Operator as Op;
use datafusion::physical_expr::expressions::{BinaryExpr, Column};

use super::*;
use crate::base::{FOREVER, NOTHING};
use crate::operators::join_world::*;

#[derive(Debug, Clone, Copy)]
struct Case {
    kind: JoinKind,
    keys: usize,
    times: (usize, usize),
    before: i64,
    after: i64,
    residual: bool,
}

fn output_times(case: Case) -> Vec<usize> {
    let mut times = vec![2, 3];
    if case.kind == JoinKind::Inner {
        times.extend([WIDTH + 2, WIDTH + 3]);
    }
    times
}

fn make(case: Case) -> Box<dyn Operator> {
    let column = |c: usize| Arc::new(Column::new("value", c)) as Arc<dyn PhysicalExpr>;
    let residual = BinaryExpr::new(column(4), Op::Gt, column(WIDTH + 4));
    let spec = IntervalJoinSpec {
        left: stream(),
        right: stream(),
        output: joined(&output_times(case)),
        kind: case.kind,
        left_keys: keys(case.keys),
        right_keys: keys(case.keys),
        left_time: case.times.0,
        right_time: case.times.1,
        before: case.before,
        after: case.after,
        residual: case.residual.then(|| Arc::new(residual) as _),
    };
    Box::new(IntervalJoin::new(spec).unwrap())
}

/// The twin: every left row against every right row.
fn naive(case: Case, left: &[Row], right: &[Row]) -> Vec<Pair> {
    let mut right = right.to_vec();
    right.sort_by_key(Row::order);
    let matches = |a: &Row| {
        let holds = |b: &&Row| {
            let (at, bt) = (a.time(case.times.0), b.time(case.times.1));
            let greater = a.value.is_some() && b.value.is_some() && a.value > b.value;
            a.same_key(b, case.keys)
                && at - case.before <= bt
                && bt <= at + case.after
                && (!case.residual || greater)
        };
        right.iter().filter(holds).cloned().collect()
    };
    answer(left, case.times.0, case.kind, matches).0
}

fn check(seed: u64) {
    let mut rng = Rng(seed);
    let (before, after) = rng.pick(&[(0, 0), (5, 5), (0, 9), (12, 0), (-3, 8), (8, -3), (40, 40), (2, -5)]);
    let case = Case {
        kind: rng.pick(&[JoinKind::Inner, JoinKind::Left]),
        keys: rng.pick(&[0, 1, 1, 2, 2]),
        times: rng.pick(&[(0, 0), (0, 0), (0, 1), (1, 0), (1, 1)]),
        before,
        after,
        residual: rng.chance(2),
    };
    let span = rng.pick(&[5, 60, 400]);
    let (n, m) = (rng.pick(&[0, 30, 150, 300]), rng.pick(&[0, 30, 150, 300]));
    let left = some_rows(&mut rng, n, 4, span);
    let right = some_rows(&mut rng, m, 4, span);
    let want = naive(case, &left, &right);
    let (got, _) = drive(&|| make(case), &[left, right], &Vec::new(), &output_times(case), &mut rng);
    assert!(got == want, "seed {seed}: {case:?}: {} pairs, not {}", got.len(), want.len());
}

#[test]
fn agrees_with_nested_loops_however_rows_come() {
    (0..200).for_each(check);
}

const SCANS: Case =
    Case { kind: JoinKind::Left, keys: 1, times: (0, 0), before: 10, after: 10, residual: false };

fn row(k: i64, ts: i64) -> Row {
    Row { k1: Some(k), k2: None, ts, other: ts, value: None, partition: 0, offset: ts }
}

#[test]
fn a_left_row_waits_for_itself_and_for_all_that_it_can_match() {
    let mut op = make(SCANS);
    let mut out = Out::default();
    op.push(0, batch(&[row(1, 100)]), &mut out).unwrap();
    op.push(1, batch(&[row(1, 110), row(1, 111)]), &mut out).unwrap();
    assert_eq!(op.advance(&[&[101; 2], &[110; 2]], &mut out).unwrap(), [100, 100]);
    assert_eq!(op.advance(&[&[100; 2], &[111; 2]], &mut out).unwrap()[0], 101, "frontiers do not move back");
    assert_eq!(pairs_of(&out.batches), [(row(1, 100), Some(row(1, 110)))]);
}

/// The right column's frontier is min(Fb, min(Fa, Fb − after) − before), and not min(Fb, Fa − before): a left
/// row may be final and still wait for its last match, and then bring a right row from `before` earlier.
#[test]
fn a_right_time_is_final_once_no_undecided_left_row_can_bring_it() {
    let case = Case { kind: JoinKind::Inner, ..SCANS };
    let mut op = make(case);
    let mut out = Out::default();
    op.push(0, batch(&[row(1, 89), row(1, 90)]), &mut out).unwrap();
    op.push(1, batch(&[row(1, 79), row(1, 80)]), &mut out).unwrap();
    let given = op.advance(&[&[100; 2], &[100; 2]], &mut out).unwrap();
    assert_eq!((given[0], given[2]), (90, 80), "min(100, 100 - 10), and 10 less");
    assert_eq!(
        pairs_of(&out.batches),
        [(row(1, 89), Some(row(1, 79))), (row(1, 89), Some(row(1, 80)))],
        "the left row of 90 is not decided"
    );
    let mut out = Out::default();
    op.advance(&[&[100; 2], &[101; 2]], &mut out).unwrap();
    assert_eq!(pairs_of(&out.batches), [(row(1, 90), Some(row(1, 80)))], "a right time of 80 after all");
}

#[test]
fn large_batches_come_out_in_chunks_and_in_order() {
    let case = Case { before: 3, after: 3, ..SCANS };
    let rows: Vec<Row> = (0..20_000).map(|t| row(t % 7, t / 4)).collect();
    let mut op = make(case);
    let mut out = Out::default();
    op.push(0, batch(&rows), &mut out).unwrap();
    op.push(1, batch(&rows), &mut out).unwrap();
    op.advance(&[&[FOREVER; 2], &[FOREVER; 2]], &mut out).unwrap();
    assert!(out.batches.iter().all(|b| b.num_rows() < 2 * crate::operators::join_rows::CHUNK_ROWS));
    let mut want = 0;
    for (i, a) in rows.iter().enumerate() {
        let near = &rows[i.saturating_sub(32)..(i + 33).min(rows.len())];
        want += near.iter().filter(|b| a.k1 == b.k1 && (a.ts - b.ts).abs() <= 3).count();
    }
    let got = pairs_of(&out.batches);
    assert_eq!(got.len(), want);
    assert!(got.is_sorted_by_key(|(a, b)| (a.ts, a.k1.is_none(), b.as_ref().map(|b| b.ts)).0));
    assert!(op.bytes() < 20_000, "{} bytes of nothing", op.bytes());
}

#[test]
fn a_row_below_its_frontier_is_refused() {
    let mut op = make(SCANS);
    let mut out = Out::default();
    op.advance(&[&[50; 2], &[NOTHING; 2]], &mut out).unwrap();
    op.push(1, batch(&[row(1, 10)]), &mut out).unwrap();
    assert_eq!(op.push(0, batch(&[row(1, 49)]), &mut out).unwrap_err().code(), Code::Internal);
}

/// Rows of keys that never come again, both sides in step: state follows the interval.
#[test]
fn state_is_bounded_by_the_interval() {
    let mut op = make(Case { kind: JoinKind::Inner, ..SCANS });
    let mut out = Out::default();
    let mut most = 0;
    for step in 0..3_000 {
        let rows: Vec<Row> = (0..20).map(|i| row(step * 20 + i, step)).collect();
        op.push(0, batch(&rows), &mut out).unwrap();
        op.push(1, batch(&rows), &mut out).unwrap();
        op.advance(&[&[step; 2], &[step; 2]], &mut out).unwrap();
        most = most.max(op.bytes());
    }
    assert_eq!(pairs_of(&out.batches).len(), (3_000 - 11) * 20);
    assert!(most < 1_500_000, "{most} bytes");
    op.advance(&[&[9_000; 2], &[9_000; 2]], &mut out).unwrap();
    assert!(op.bytes() < 20_000, "{} bytes of nothing", op.bytes());
}

#[test]
fn right_rows_that_nobody_can_reach_go_though_their_frontier_stands_still() {
    let mut op = make(SCANS);
    let mut out = Out::default();
    for step in 0..500 {
        let rows: Vec<Row> = (0..50).map(|i| row(i, step)).collect();
        op.push(1, batch(&rows), &mut out).unwrap();
        op.advance(&[&[step; 2], &[0; 2]], &mut out).unwrap();
    }
    assert!(op.bytes() < 300_000, "{} bytes", op.bytes());
    op.push(0, batch(&[row(7, 500)]), &mut out).unwrap();
    op.advance(&[&[FOREVER; 2], &[FOREVER; 2]], &mut out).unwrap();
    let want: Vec<Pair> = (490..500).map(|t| (row(7, 500), Some(row(7, t)))).collect();
    assert_eq!(pairs_of(&out.batches), want);
}

#[test]
fn keys_of_left_rows_are_forgotten_though_the_right_is_silent() {
    let mut op = make(SCANS);
    let mut out = Out::default();
    let mut most = 0;
    for step in 0..400 {
        let rows: Vec<Row> = (0..100).map(|i| row(step * 100 + i, step)).collect();
        op.push(0, batch(&rows), &mut out).unwrap();
        op.advance(&[&[step + 1; 2], &[FOREVER; 2]], &mut out).unwrap();
        most = most.max(op.bytes());
    }
    assert_eq!(pairs_of(&out.batches).len(), 40_000);
    assert!(most < 1_000_000, "{most} bytes");
}

#[test]
fn keys_of_different_types_are_refused() {
    let spec = IntervalJoinSpec {
        left: stream(),
        right: stream(),
        output: joined(&[2]),
        kind: JoinKind::Inner,
        left_keys: keys(1),
        right_keys: vec![Arc::new(Column::new("k2", 1))],
        left_time: 0,
        right_time: 0,
        before: 0,
        after: 0,
        residual: None,
    };
    assert_eq!(IntervalJoin::new(spec).err().map(|e| e.code()), Some(Code::Internal));
}
