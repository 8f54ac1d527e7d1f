//! Releases are one sequence, however rows come.

use super::*;
use crate::operators::join_world::*;

fn all(batches: &[RecordBatch]) -> Vec<Row> {
    batches.iter().flat_map(|b| (0..b.num_rows()).map(|i| row_at(b, 0, i).unwrap())).collect()
}

fn waiting() -> Waiting {
    Waiting::new(schema(), 2, &[2, 5, 6], vec![3]).unwrap()
}

#[test]
fn releases_are_one_sequence_however_rows_come() {
    for seed in 0..60 {
        let mut rng = Rng(seed);
        let mut rows = some_rows(&mut rng, 700, 3, 50);
        if rng.chance(2) {
            // Equal in the order columns, different in others.
            rows.iter_mut().for_each(|r| r.offset %= 5);
        }
        let mut want = rows.clone();
        want.sort_by(|a, b| {
            let place = |r: &Row| (r.order(), r.k1, r.k2.clone(), r.other, r.value);
            place(a).cmp(&place(b))
        });
        rows.sort_by_cached_key(|_| rng.next());
        let mut waiting = waiting();
        let mut got = Vec::new();
        let size = rng.pick(&SIZES);
        for (i, chunk) in rows.chunks(size).enumerate() {
            waiting.push(batch(chunk)).unwrap();
            let rest = &rows[((i + 1) * size).min(rows.len())..];
            let low = rest.iter().map(|r| r.ts).min().unwrap_or(FOREVER);
            got.extend(all(&waiting.release(low).unwrap()));
            assert!(waiting.low() >= low);
            let held = waiting.batches().unwrap();
            let others = all(&held).iter().map(|r| r.other).min().unwrap_or(FOREVER);
            assert!(waiting.lowest_tracked(0) <= others);
        }
        assert!(got == want, "seed {seed}");
        assert_eq!((waiting.bytes(), waiting.low(), waiting.lowest_tracked(0)), (0, FOREVER, FOREVER));
    }
}

#[test]
fn a_straggler_does_not_hold_its_batch() {
    let mut rng = Rng(1);
    let mut rows = some_rows(&mut rng, 5_000, 3, 100);
    rows[2_000].ts = 1_000;
    let mut waiting = waiting();
    waiting.push(batch(&rows)).unwrap();
    let before = waiting.bytes();
    assert_eq!(all(&waiting.release(500).unwrap()).len(), 4_999);
    assert!(waiting.bytes() < before / 100, "{} of {before} bytes", waiting.bytes());
    assert_eq!(waiting.low(), 1_000);
}

#[test]
fn what_is_discarded_is_gone() {
    let mut waiting = waiting();
    waiting.push(batch(&some_rows(&mut Rng(2), 300, 3, 100))).unwrap();
    waiting.discard(60).unwrap();
    let rest = all(&waiting.release(FOREVER).unwrap());
    assert!(!rest.is_empty() && rest.iter().all(|r| r.ts >= 60));
}

#[test]
fn a_null_event_time_is_refused() {
    let mut columns = batch(&some_rows(&mut Rng(3), 2, 3, 100)).columns().to_vec();
    columns[2] = datafusion::arrow::array::new_null_array(columns[2].data_type(), 2);
    let broken = RecordBatch::try_new(schema(), columns).unwrap();
    assert!(waiting().push(broken).is_err());
}
