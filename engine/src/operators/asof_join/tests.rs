//! As-of joins against nested loops over plain rows, whatever the chopping; state that goes.

use super::*;
use crate::base::FOREVER;
use crate::operators::join_world::*;

#[derive(Debug, Clone, Copy)]
struct Case {
    kind: JoinKind,
    keys: usize,
    times: (usize, usize),
    max_age: i64,
    strict: bool,
}

fn output_times(case: Case) -> Vec<usize> {
    let right = [WIDTH + 2 + case.times.1];
    let right = if case.kind == JoinKind::Inner { &right[..] } else { &[] };
    [&[2, 3], right].concat()
}

fn make(case: Case) -> Box<dyn Operator> {
    let spec = AsofJoinSpec {
        left: stream(),
        right: stream(),
        output: joined(&output_times(case)),
        kind: case.kind,
        left_keys: keys(case.keys),
        right_keys: keys(case.keys),
        left_time: case.times.0,
        right_time: case.times.1,
        max_age: case.max_age,
        strict: case.strict,
    };
    Box::new(AsofJoin::new(spec).unwrap())
}

/// The twin: every left row against every right row, the latest wins.
fn naive(case: Case, left: &[Row], right: &[Row]) -> Vec<Pair> {
    let matches = |a: &Row| {
        let mut best: Option<&Row> = None;
        for b in right {
            let (at, bt) = (a.time(case.times.0), b.time(case.times.1));
            let in_time = bt >= at - case.max_age && if case.strict { at > bt } else { at >= bt };
            let place = |r: &Row| (r.time(case.times.1), r.order());
            if in_time && a.same_key(b, case.keys) && best.is_none_or(|c| place(c) < place(b)) {
                best = Some(b);
            }
        }
        best.cloned().into_iter().collect()
    };
    answer(left, case.times.0, case.kind, matches).0
}

fn check(seed: u64) {
    let mut rng = Rng(seed);
    let case = Case {
        kind: rng.pick(&[JoinKind::Inner, JoinKind::Left]),
        keys: rng.pick(&[0, 1, 1, 2]),
        times: rng.pick(&[(0, 0), (0, 0), (0, 1), (1, 0), (1, 1)]),
        max_age: rng.pick(&[0, 1, 10, 50, 10_000]),
        strict: rng.chance(2),
    };
    let span = rng.pick(&[5, 60, 400]);
    let (n, m) = (rng.pick(&[0, 30, 150, 300]), rng.pick(&[0, 30, 150, 300, 900]));
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

const LAST: Case =
    Case { kind: JoinKind::Inner, keys: 1, times: (0, 0), max_age: 1_000_000_000, strict: false };

fn row(k: i64, ts: i64, offset: i64) -> Row {
    Row { k1: Some(k), k2: None, ts, other: ts, value: None, partition: 0, offset }
}

#[test]
fn of_equal_times_the_last_in_canonical_order_matches() {
    for strict in [false, true] {
        let mut op = make(Case { strict, ..LAST });
        let mut out = Out::default();
        op.push(1, batch(&[row(1, 5, 9), row(1, 5, 3), row(1, 4, 1), row(1, 4, 2)]), &mut out).unwrap();
        op.push(0, batch(&[row(1, 5, 0)]), &mut out).unwrap();
        assert_eq!(op.advance(&[&[6; 2], &[5; 2]], &mut out).unwrap()[0], 5);
        assert!(out.batches.is_empty(), "the right is not final at 5");
        op.advance(&[&[6; 2], &[6; 2]], &mut out).unwrap();
        let want = if strict { row(1, 4, 2) } else { row(1, 5, 9) };
        assert_eq!(pairs_of(&out.batches), [(row(1, 5, 0), Some(want))], "strict {strict}");
    }
}

/// A long maximum age holds one row a key, not all of it; without left rows, too.
#[test]
fn superseded_rows_are_not_kept() {
    let mut op = make(LAST);
    let mut out = Out::default();
    let mut most = 0;
    for step in 0..2_000 {
        let rows: Vec<Row> = (0..40).map(|k| row(k, step, step)).collect();
        op.push(1, batch(&rows), &mut out).unwrap();
        op.advance(&[&[step; 2], &[step; 2]], &mut out).unwrap();
        most = most.max(op.bytes());
    }
    assert!(most < 500_000, "{most} bytes");
    op.push(0, batch(&[row(3, 5_000, 0)]), &mut out).unwrap();
    op.advance(&[&[FOREVER; 2], &[FOREVER; 2]], &mut out).unwrap();
    assert_eq!(pairs_of(&out.batches), [(row(3, 5_000, 0), Some(row(3, 1_999, 1_999)))]);
}

#[test]
fn rows_that_are_too_old_go() {
    let mut op = make(Case { max_age: 10, ..LAST });
    let mut out = Out::default();
    let mut most = 0;
    for step in 0..2_000 {
        // Keys that never come again: nothing supersedes them.
        let rows: Vec<Row> = (0..40).map(|k| row(step * 40 + k, step, step)).collect();
        op.push(1, batch(&rows), &mut out).unwrap();
        op.advance(&[&[step; 2], &[step; 2]], &mut out).unwrap();
        most = most.max(op.bytes());
    }
    assert!(most < 1_500_000, "{most} bytes");
    op.advance(&[&[9_000; 2], &[3_000; 2]], &mut out).unwrap();
    assert!(op.bytes() < 20_000, "{} bytes of nothing", op.bytes());
}

#[test]
fn a_negative_age_is_refused() {
    let spec = AsofJoinSpec {
        left: stream(),
        right: stream(),
        output: joined(&[2]),
        kind: JoinKind::Inner,
        left_keys: keys(1),
        right_keys: keys(1),
        left_time: 0,
        right_time: 0,
        max_age: -1,
        strict: false,
    };
    assert_eq!(AsofJoin::new(spec).err().map(|e| e.code()), Some(Code::Internal));
}
