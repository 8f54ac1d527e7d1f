//! Streaming answers against DataFusion over generated windows, and against themselves.

mod rig;

use datafusion::arrow::array::{AsArray, UInt32Array};
use datafusion::arrow::compute::{cast, concat_batches, take_record_batch};
use datafusion::arrow::datatypes::{DataType, Int64Type, TimestampMicrosecondType};
use datafusion::functions_aggregate as fa;

use self::rig::*;
use super::*;

const BATCHES: [usize; 6] = [1, 2, 7, 63, 64, 65];

const WINDOWS: [Option<(i64, i64)>; 6] = [
    Some((10_000, 10_000)),
    Some((10_000, 30_000)),
    Some((10_000, 35_000)),
    Some((7_000, 10_000)),
    Some((10_000, 4_000)),
    None,
];

#[test]
fn streaming_equals_batch() {
    let asked = Asked::all();
    let input = rows(7, 200, 1_000_000, 60_000);
    for window in WINDOWS {
        for (group, position) in [(&["k"][..], 0), (&["k", "n"][..], 1), (&[][..], 0), (&["t", "k"][..], 2)] {
            if window.is_none() && !group.contains(&"t") {
                continue;
            }
            let spec = spec(window, group, position, &asked);
            let expected = batch_answer(&input, &spec, &asked);
            assert!(expected.len() > 5, "a test with rows");
            let mut ordered: Option<Vec<String>> = None;
            for (at, batch) in BATCHES.into_iter().enumerate() {
                for lanes in [0, 3] {
                    let seed = at as u64 * 31 + lanes as u64;
                    let drive = Drive { spec: &spec, lanes, batch, seed, restart: Restart::Never };
                    let got = drive.run(&input);
                    let what = format!("{window:?} {group:?} batch {batch} lanes {lanes}");
                    assert_same(
                        &got,
                        ordered.get_or_insert_with(|| got.clone()),
                        &format!("sequence: {what}"),
                    );
                    assert_same(&sorted(got), &expected, &what);
                }
            }
        }
    }
}

#[test]
fn a_restart_after_every_row_changes_no_bit() {
    let asked = Asked::all();
    let input = rows(11, 150, 1_000_000, 40_000);
    for window in [Some((10_000, 35_000)), Some((10_000, 10_000)), None] {
        let spec = spec(window, &["t", "k"], 1, &asked);
        for lanes in [0, 2] {
            let run = |restart| Drive { spec: &spec, lanes, batch: 1, seed: 5, restart }.run(&input);
            let what = format!("{window:?} lanes {lanes}");
            assert_same(&run(Restart::AfterEachBatch), &run(Restart::Never), &what);
        }
    }
}

#[test]
fn negative_times_and_a_naive_twin() {
    let input = rows(3, 300, -50_000, 100_000);
    let times = input.column(0).as_primitive::<TimestampMicrosecondType>();
    for (slide, size) in WINDOWS.into_iter().flatten() {
        let spec = spec(Some((slide, size)), &[], 0, &Asked::count());
        let mut naive = vec![];
        for k in -100..100 {
            let (start, end) = (k * slide, k * slide + size);
            let count = times.values().iter().filter(|&&t| start <= t && t < end).count();
            if count > 0 {
                naive.push((end - 1, count as i64));
            }
        }
        let mut operator = Aggregate::new(spec).unwrap();
        let mut out = Out::default();
        operator.push(0, input.clone(), &mut out).unwrap();
        assert_eq!(operator.advance(&[&[NOTHING]], &mut out).unwrap(), [NOTHING]);
        assert!(out.batches.is_empty());
        operator.advance(&[&[FOREVER]], &mut out).unwrap();
        let whole = concat_batches(&out.batches[0].schema(), &out.batches).unwrap();
        let ends = cast(whole.column(2), &DataType::Int64).unwrap();
        let counts = whole.column(1).as_primitive::<Int64Type>().values();
        let got: Vec<(i64, i64)> =
            ends.as_primitive::<Int64Type>().values().iter().copied().zip(counts.iter().copied()).collect();
        assert_eq!(got, naive, "{slide} {size}");
    }
}

/// The case of `GROUP BY scan_id, ts` after a join: many rows of a scan share its time.
#[test]
fn groups_of_a_join_come_once_when_their_time_passed() {
    let base = rows(5, 40, 1_000_000, 20_000);
    let copies: Vec<u32> =
        (0..40u32).flat_map(|row| std::iter::repeat_n(row, 1 + row as usize % 9)).collect();
    let input = take_record_batch(&base, &UInt32Array::from(copies)).unwrap();
    let asked = Asked::all();
    let spec = spec(None, &["scan_id", "t"], 0, &asked);
    let expected = batch_answer(&input, &spec, &asked);
    assert!(expected.len() < input.num_rows() / 2);
    for batch in BATCHES {
        for lanes in [0, 2] {
            let drive = Drive { spec: &spec, lanes, batch, seed: 9, restart: Restart::Never };
            assert_same(&sorted(drive.run(&input)), &expected, &format!("batch {batch} lanes {lanes}"));
        }
    }
}

#[test]
fn windows_close_when_the_frontier_reaches_their_end() {
    let spec = spec(Some((10, 30)), &[], 0, &Asked::count());
    let mut operator = Aggregate::new(spec).unwrap();
    let row = |t: i64| {
        let one = rows(1, 1, t, 1);
        assert_eq!(one.num_rows(), 1);
        one
    };
    let mut out = Out::default();
    operator.push(0, row(25), &mut out).unwrap();
    // [0, 30) may still change at 29; no window ends before 30.
    assert_eq!(operator.advance(&[&[29]], &mut out).unwrap(), [29]);
    assert!(out.batches.is_empty());
    assert_eq!(operator.advance(&[&[30]], &mut out).unwrap(), [39]);
    assert_eq!(lines(&out.batches).len(), 1);
    assert_eq!(operator.advance(&[&[45]], &mut out).unwrap(), [49]);
    assert_eq!(lines(&out.batches).len(), 2);
    assert!(operator.bytes() > 0);
    let late = operator.push(0, row(44), &mut out).unwrap_err();
    assert_eq!(late.code(), Code::Internal);
    operator.advance(&[&[FOREVER]], &mut out).unwrap();
    assert_eq!(lines(&out.batches).len(), 3);
}

#[test]
fn bytes_follow_the_state_and_a_lane_sends_early() {
    let one = spec(Some((1_000_000, 1_000_000)), &["k", "scan_id", "__o"], 0, &Asked::count());
    let (partial, last) = one.two_phase().unwrap();
    let mut lane = Aggregate::new(partial).unwrap();
    let mut end = Aggregate::new(last).unwrap();
    let (mut states, mut out) = (Out::default(), Out::default());
    let mut at = 0;
    while states.batches.is_empty() {
        assert!(lane.bytes() <= PARTIAL_BYTES_MAX && at < 200, "a lane of {} bytes never sent", lane.bytes());
        lane.push(0, rows(at, 8_192, 1_000_000, 1_000_000), &mut states).unwrap();
        at += 1;
        if states.batches.is_empty() {
            let each = lane.bytes() / (at as usize * 8_192);
            assert!((30..400).contains(&each), "{each} bytes for a group of two numbers, a text and a count");
        }
    }
    assert!(lane.runs.bytes() == 0 && lane.table.is_empty(), "all was sent");
    assert!(lane.bytes() < PARTIAL_BYTES_MAX, "{} bytes kept as room", lane.bytes());
    for batch in states.batches {
        end.push(0, batch, &mut out).unwrap();
    }
    let mut rest = Out::default();
    lane.advance(&[&[FOREVER]], &mut rest).unwrap();
    rest.batches.into_iter().for_each(|b| end.push(0, b, &mut out).unwrap());
    end.advance(&[&[FOREVER]], &mut out).unwrap();
    let counted: i64 =
        out.batches.iter().flat_map(|b| b.column(4).as_primitive::<Int64Type>().values().to_vec()).sum();
    assert_eq!(counted, at as i64 * 8_192);
}

/// Many small advances under a frontier that lags: runs are merged, and stay few.
#[test]
fn lagging_groups_are_merged() {
    let asked = Asked::all();
    let spec = spec(Some((2_000, 20_000)), &["k"], 0, &asked);
    let input = rows(21, 300, 1_000_000, 12_000);
    let expected = batch_answer(&input, &spec, &asked);
    let mut operator = Aggregate::new(spec).unwrap();
    let mut out = Out::default();
    for row in 0..300 {
        operator.push(0, input.slice(row, 1), &mut out).unwrap();
        operator.snapshot(&mut Saver::default()).unwrap();
        let held = operator.runs.all().count();
        assert!(held < 2 * runs::RUNS_PER_LEVEL, "{held} runs after {row} rows");
    }
    operator.advance(&[&[FOREVER]], &mut out).unwrap();
    assert_same(&sorted(lines(&out.batches)), &expected, "lagging");
}

#[test]
fn what_needs_an_order_is_refused() {
    let code =
        |asked: Asked| Aggregate::new(spec(Some((1, 1)), &["k"], 0, &asked)).map(|_| ()).unwrap_err().code();
    assert_eq!(code(Asked::none().with(fa::array_agg::array_agg_udaf(), "n")), Code::NotYet);
    assert_eq!(code(Asked::none().with(fa::first_last::first_value_udaf(), "n")), Code::NotYet);
    let distinct = Asked::none().full(fa::sum::sum_udaf(), "f", true, &[], false);
    assert_eq!(code(distinct), Code::NotYet);
    let unbounded = Aggregate::new(spec(None, &["k"], 0, &Asked::count())).map(|_| ()).unwrap_err();
    assert_eq!(unbounded.code(), Code::Unbounded);
}
