//! Properties N1 to N4 against the twin, and the functions inside a DataFusion session.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, RecordBatch,
};
use datafusion::arrow::compute::{concat, concat_batches, filter as filter_rows, take};
use datafusion::arrow::datatypes::{DataType, Field, Float64Type, Schema};
use datafusion::logical_expr::EmitTo;
use datafusion::prelude::{SessionConfig, SessionContext};
use proptest::prelude::*;

use super::moments::{Moments, Statistic, X, XX, XY, Y, YY};
use super::twin::{Sums, Whole};
use super::{ExactSum, accumulate, extremes, register};

type All = Moments<{ X | Y | XX | XY | YY }, 5>;

fn any_float() -> impl Strategy<Value = f64> {
    let sized = |low: i32, high: i32| (low..high, 0u64..1 << 52, any::<bool>());
    let make = |(exponent, fraction, negative): (i32, u64, bool)| {
        let value = f64::from_bits(((exponent + 1023) as u64) << 52 | fraction);
        if negative { -value } else { value }
    };
    prop_oneof![
        8 => sized(-20, 20).prop_map(make),
        2 => (-1000i32..1000).prop_map(|i| f64::from(i) / 4.0),
        2 => sized(-1023, 1024).prop_map(make),
        1 => sized(100, 125).prop_map(make),
        1 => sized(-140, -60).prop_map(make),
        1 => (0u64..1 << 53).prop_map(f64::from_bits),
        1 => Just(0.0),
        1 => Just(-0.0),
        1 => Just(f64::MAX),
    ]
}

fn sum_of(values: &[f64]) -> ExactSum {
    let mut sum = ExactSum::default();
    for value in values {
        sum.add(*value);
    }
    sum
}

fn bytes(sum: &ExactSum) -> Vec<u8> {
    let mut out = Vec::new();
    sum.write(&mut out);
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_sum_is_the_twins_rounded_once(values in prop::collection::vec(any_float(), 0..40)) {
        let exact = values.iter().fold(Whole::from(0), |sum, v| sum.add(&Whole::of(*v)));
        prop_assert_eq!(sum_of(&values).to_f64().to_bits(), (exact.nearest(1) + 0.0).to_bits());
    }

    #[test]
    fn a_sum_of_products_is_the_twins(pairs in prop::collection::vec((any_float(), any_float()), 1..12)) {
        let mut sum = ExactSum::default();
        for (a, b) in &pairs {
            sum.add_product(*a, *b);
        }
        let exact = pairs.iter().fold(Whole::from(0), |s, (a, b)| s.add(&Whole::of(*a).mul(&Whole::of(*b))));
        let (got, expected) = (sum.to_f64(), exact.nearest(2) + 0.0);
        // The twin rounds twice among the subnormals.
        if expected.is_normal() || exact.is_zero() {
            prop_assert_eq!(got.to_bits(), expected.to_bits());
        } else {
            prop_assert!(got == expected || (got - expected).abs() <= f64::from_bits(1));
        }
    }

    #[test]
    fn order_merge_retract_and_restore_keep_the_bytes(
        values in prop::collection::vec(any_float(), 1..40),
        strangers in prop::collection::vec(any_float(), 0..20),
        cut in 0usize..40,
    ) {
        let expected = bytes(&sum_of(&values));
        let reversed: Vec<_> = values.iter().rev().copied().collect();
        prop_assert_eq!(&bytes(&sum_of(&reversed)), &expected);

        let (left, right) = values.split_at(cut.min(values.len()));
        let mut merged = sum_of(right);
        merged.merge(&sum_of(left));
        prop_assert_eq!(&bytes(&merged), &expected);

        let mut retracted = sum_of(&strangers);
        for value in &values {
            retracted.add(*value);
        }
        for value in strangers.iter().rev() {
            retracted.sub(*value);
        }
        prop_assert_eq!(&bytes(&retracted), &expected);

        let mut stored = ExactSum::default();
        for value in &values {
            stored.add(*value);
            let written = bytes(&stored);
            stored = ExactSum::read(&mut &written[..]).unwrap();
        }
        prop_assert_eq!(&bytes(&stored), &expected);
        prop_assert_eq!(stored.to_f64().to_bits(), sum_of(&values).to_f64().to_bits());
    }

    #[test]
    fn statistics_are_quotients_of_the_twins_sums(
        pairs in prop::collection::vec(((-20f64..20.0), (-9i32..9).prop_map(f64::from)), 1..12),
    ) {
        let mut moments = All::default();
        for (x, y) in &pairs {
            moments.put::<false>(*x, *y);
        }
        let twin = Sums::of(&pairs);
        let n = pairs.len() as f64;
        let (sxx, sxy, syy) = (twin.sxx(), twin.sxy(), twin.syy());
        let check = |statistic: Statistic, expected: Option<f64>| {
            let got = moments.evaluate(statistic);
            let expected = expected.map(|v| (v + 0.0).to_bits());
            prop_assert_eq!(got.map(f64::to_bits), expected, "{:?}", statistic);
            Ok(())
        };
        let two = pairs.len() > 1;
        let sample = n * (n - 1.0);
        check(Statistic::Avg, Some(twin.x.nearest(1) / n))?;
        check(Statistic::VarPopulation, Some(sxx.nearest(2) / (n * n)))?;
        check(Statistic::VarSample, two.then(|| sxx.nearest(2) / sample))?;
        check(Statistic::CovarPopulation, Some(sxy.nearest(2) / (n * n)))?;
        check(Statistic::CovarSample, two.then(|| sxy.nearest(2) / sample))?;
        check(Statistic::Sxx, Some(sxx.nearest(2) / n))?;
        check(Statistic::Sxy, Some(sxy.nearest(2) / n))?;
        let sloped = two && !sxx.is_zero();
        check(Statistic::Slope, sloped.then(|| sxy.nearest(2) / sxx.nearest(2)))?;
        let crossed = twin.y.mul(&twin.xx).sub(&twin.x.mul(&twin.xy));
        check(Statistic::Intercept, sloped.then(|| crossed.nearest(3) / sxx.nearest(2)))?;
        let related = sloped && !syy.is_zero();
        let r2 = related.then(|| sxy.mul(&sxy).nearest(4) / sxx.mul(&syy).nearest(4));
        check(Statistic::R2, r2)?;
        let corr = related.then(|| sxy.nearest(2) / sxx.mul(&syy).nearest(4).sqrt());
        check(Statistic::Corr, corr.map(|c| c.clamp(-1.0, 1.0)))?;
        check(Statistic::StddevPopulation, Some((sxx.nearest(2) / (n * n)).sqrt()))?;
    }

    #[test]
    fn both_accumulators_agree_in_any_chopping_and_merge(
        rows in prop::collection::vec(
            (
                prop::option::weighted(0.9, any_float()),
                prop::option::weighted(0.9, -9f64..9.0),
                0usize..3,
                any::<bool>(),
            ),
            1..130,
        ),
        size in prop::sample::select(vec![1usize, 2, 7, 63, 64, 65]),
    ) {
        use Statistic::*;
        for statistic in [Sum, VarSample, Slope, Corr, AvgY, Count] {
            let mut whole = accumulate::groups_accumulator(statistic);
            let mut merged = accumulate::groups_accumulator(statistic);
            let mut converted = accumulate::groups_accumulator(statistic);
            let mut single: Vec<_> = (0..3).map(|_| accumulate::accumulator(statistic)).collect();
            for chunk in rows.chunks(size) {
                let values: Vec<ArrayRef> = vec![
                    Arc::new(chunk.iter().map(|r| r.0).collect::<Float64Array>()),
                    Arc::new(chunk.iter().map(|r| r.1).collect::<Float64Array>()),
                ];
                let groups: Vec<usize> = chunk.iter().map(|r| r.2).collect();
                let filter: BooleanArray = chunk.iter().map(|r| Some(r.3)).collect();
                whole.update_batch(&values, &groups, Some(&filter), 3).unwrap();
                let states = whole.convert_to_state(&values, Some(&filter)).unwrap();
                converted.merge_batch(&states, &groups, 3).unwrap();
                let mut part = accumulate::groups_accumulator(statistic);
                part.update_batch(&values, &groups, Some(&filter), 3).unwrap();
                merged.merge_batch(&part.state(EmitTo::All).unwrap(), &[0, 1, 2], 3).unwrap();
                for (group, one) in single.iter_mut().enumerate() {
                    let mine: BooleanArray = chunk.iter().map(|r| Some(r.3 && r.2 == group)).collect();
                    let mine: Vec<_> = values.iter().map(|v| filter_rows(v, &mine).unwrap()).collect();
                    let theirs: Vec<_> = values.iter().map(|v| v.slice(0, v.len().min(2))).collect();
                    one.update_batch(&theirs).unwrap();
                    one.update_batch(&mine).unwrap();
                    one.retract_batch(&theirs).unwrap();
                }
            }
            let first = whole.evaluate(EmitTo::First(1)).unwrap();
            let rest = whole.evaluate(EmitTo::All).unwrap();
            let all = concat(&[&first, &rest]).unwrap();
            prop_assert_eq!(all.to_data(), merged.evaluate(EmitTo::All).unwrap().to_data());
            prop_assert_eq!(all.to_data(), converted.evaluate(EmitTo::All).unwrap().to_data());
            for (group, one) in single.iter_mut().enumerate() {
                let one = one.evaluate().unwrap().to_array().unwrap();
                prop_assert_eq!(one.to_data(), all.slice(group, 1).to_data());
            }
        }
    }
}

#[test]
fn what_is_not_finite_is_counted_and_taken_back() {
    let mut sum = sum_of(&[1.5, f64::INFINITY, f64::NAN]);
    assert!(sum.to_f64().is_nan());
    sum.sub(f64::NAN);
    assert_eq!(sum.to_f64(), f64::INFINITY);
    sum.add(f64::NEG_INFINITY);
    assert!(sum.to_f64().is_nan());
    sum.sub(f64::INFINITY);
    assert_eq!(sum.to_f64(), f64::NEG_INFINITY);
    sum.sub(f64::NEG_INFINITY);
    assert_eq!(bytes(&sum), bytes(&sum_of(&[1.5])), "back in the narrow form");
    sum.add_product(0.0, f64::INFINITY);
    assert!(sum.to_f64().is_nan());
}

#[test]
fn sums_leave_the_narrow_form_unnoticed() {
    // 2^114, 2^12 times and more: the narrow form spills on the way up and on the way down.
    let huge = 2f64.powi(114);
    let mut sum = sum_of(&vec![huge; 5000]);
    assert_eq!(sum.to_f64(), huge * 5000.0);
    for _ in 0..10_000 {
        sum.sub(huge);
    }
    assert_eq!(sum.to_f64(), -huge * 5000.0);
    for _ in 0..5000 {
        sum.add(huge);
    }
    assert_eq!(bytes(&sum), bytes(&ExactSum::ZERO));
    assert_eq!(sum_of(&[f64::MAX, f64::MAX, -f64::MAX]).to_f64(), f64::MAX);
    assert_eq!(sum_of(&[f64::MAX, f64::MAX]).to_f64(), f64::INFINITY);
    assert_eq!(sum_of(&[1e16, 1.0, -1e16]).to_f64(), 1.0);
}

#[test]
fn damaged_state_is_an_error() {
    let good = bytes(&sum_of(&[1.0, f64::MIN_POSITIVE]));
    for len in 0..good.len() {
        assert!(ExactSum::read(&mut &good[..len]).is_err(), "{len} bytes of {}", good.len());
    }
    assert!(ExactSum::read(&mut &[9u8, 0][..]).is_err());
    assert!(Moments::<X, 1>::read(&[0; 10]).is_err(), "bytes behind the state");
}

#[test]
fn statistics_outside_the_floats_come_back_in_range() {
    let mut moments = All::default();
    for (x, y) in [(f64::MAX, 1e-300), (f64::MAX, 2e-300), (f64::MAX / 2.0, 3e-300)] {
        moments.put::<false>(x, y);
    }
    assert!(moments.evaluate(Statistic::Avg).unwrap().is_finite());
    assert!(moments.evaluate(Statistic::StddevPopulation).unwrap().is_finite());
    assert_eq!(moments.evaluate(Statistic::VarSample), Some(f64::INFINITY));
    let r = moments.evaluate(Statistic::Corr).unwrap();
    assert!((-1.0..-0.8).contains(&r), "{r}");
    moments.put::<false>(f64::NAN, 0.0);
    assert!(moments.evaluate(Statistic::Slope).unwrap().is_nan());
}

#[test]
fn extremes_have_one_order_one_zero_and_one_nan() {
    let run = |values: &[f64], max: bool| {
        let column: ArrayRef = Arc::new(Float64Array::from(values.to_vec()));
        let mut best = extremes::accumulator(&DataType::Float64, max).unwrap();
        best.update_batch(&[Arc::clone(&column)]).unwrap();
        let mut sliding = extremes::sliding_accumulator(&DataType::Float64, max).unwrap();
        let other: ArrayRef = Arc::new(Float64Array::from(vec![f64::NAN, -1e300, 1e300]));
        sliding.update_batch(&[Arc::clone(&other)]).unwrap();
        sliding.update_batch(&[Arc::clone(&column)]).unwrap();
        sliding.retract_batch(&[other]).unwrap();
        let mut groups = extremes::groups_accumulator(&DataType::Float64, max).unwrap();
        groups.update_batch(&[column], &vec![1; values.len()], None, 2).unwrap();
        let array = groups.evaluate(EmitTo::All).unwrap();
        assert!(array.is_null(0));
        let array = array.as_primitive::<Float64Type>();
        let bits = |a: &dyn Array| a.as_primitive::<Float64Type>().value(0).to_bits();
        let expected = array.value(1).to_bits();
        assert_eq!(bits(&best.evaluate().unwrap().to_array().unwrap()), expected);
        assert_eq!(bits(&sliding.evaluate().unwrap().to_array().unwrap()), expected);
        array.value(1)
    };
    assert_eq!(run(&[-0.0], false).to_bits(), 0);
    assert_eq!(run(&[-0.0, 0.0], true).to_bits(), 0);
    assert!(run(&[1.0, -f64::NAN, 2.0], true).is_nan());
    assert_eq!(run(&[1.0, -f64::NAN, 2.0], false), 1.0);
    assert_eq!(run(&[f64::NEG_INFINITY, -5e-324, f64::INFINITY], false), f64::NEG_INFINITY);
    assert_eq!(run(&[f64::NEG_INFINITY, -5e-324], true), -5e-324);
    assert_eq!(run(&[f64::NAN], false).to_bits(), f64::NAN.to_bits());
}

const QUERY: &str = "SELECT g, sum(x), avg(x), mean(x), var(x), var_samp(x), var_pop(x), stddev(x), \
    stddev_samp(x), stddev_pop(x), covar(y, x), covar_samp(y, x), covar_pop(y, x), corr(y, x), regr_slope(y, x), \
    regr_intercept(y, x), regr_r2(y, x), regr_count(y, x), regr_avgx(y, x), regr_avgy(y, x), regr_sxx(y, x), \
    regr_syy(y, x), regr_sxy(y, x), min(x), max(x), min(f), max(f), sum(f), sum(i), avg(i), min(i), max(i), \
    min(s), sum(d), avg(d), sum(DISTINCT i), sum(x) FILTER (WHERE y > 0), avg(DISTINCT i / 2.0), count(*), \
    sum(x + 1) FROM t GROUP BY g ORDER BY g";

fn table(seed: u64) -> RecordBatch {
    let mut state = seed;
    let mut next = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1u64 << 53) as f64
    };
    let rows = 1000;
    let x: Float64Array = (0..rows).map(|i| (i % 17 != 0).then(|| next() * 1e3 - 300.0)).collect();
    let y: Float64Array = x.iter().map(|v| v.map(|v| v * 0.5 + 1.0)).collect();
    let g: Int64Array = (0..rows).map(|i| Some(i % 5)).collect();
    let i: Int64Array = (0..rows).map(|i| Some(i % 37)).collect();
    let f: ArrayRef = datafusion::arrow::compute::cast(&x, &DataType::Float32).unwrap();
    let s: ArrayRef = datafusion::arrow::compute::cast(&i, &DataType::Utf8).unwrap();
    let d: ArrayRef = datafusion::arrow::compute::cast(&i, &DataType::Decimal128(12, 2)).unwrap();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("x", Arc::new(x)),
        ("y", Arc::new(y)),
        ("g", Arc::new(g)),
        ("i", Arc::new(i)),
        ("f", f),
        ("s", s),
        ("d", d),
    ];
    let fields: Vec<_> = columns.iter().map(|(n, c)| Field::new(*n, c.data_type().clone(), true)).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns.into_iter().map(|c| c.1).collect()).unwrap()
}

async fn query(batch: &RecordBatch, chop: usize, partitions: usize, exact: bool, sql: &str) -> RecordBatch {
    let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(partitions));
    if exact {
        register(&mut *context.state_ref().write()).unwrap();
    }
    let chunks: Vec<_> = (0..batch.num_rows())
        .step_by(chop)
        .map(|at| batch.slice(at, chop.min(batch.num_rows() - at)))
        .collect();
    let parts: Vec<Vec<_>> =
        (0..partitions).map(|p| chunks.iter().skip(p).step_by(partitions).cloned().collect()).collect();
    let table = datafusion::datasource::MemTable::try_new(batch.schema(), parts).unwrap();
    context.register_table("t", Arc::new(table)).unwrap();
    let frame = context.sql(sql).await.unwrap();
    let schema = Arc::clone(frame.schema().inner());
    concat_batches(&schema, &frame.collect().await.unwrap()).unwrap()
}

#[tokio::test]
async fn a_session_resolves_the_names_and_gives_the_same_bits_in_any_chopping() {
    let rows = table(7);
    let backwards = Int64Array::from_iter_values((0..rows.num_rows() as i64).rev());
    let columns = rows.columns().iter().map(|c| take(c, &backwards, None).unwrap()).collect();
    let reversed = RecordBatch::try_new(rows.schema(), columns).unwrap();
    let exact = query(&rows, 64, 1, true, QUERY).await;
    for (chop, partitions) in [(1, 3), (7, 2), (65, 4)] {
        assert_eq!(exact, query(&reversed, chop, partitions, true, QUERY).await, "{chop} × {partitions}");
    }
    let original = query(&rows, 64, 1, false, QUERY).await;
    assert_eq!(exact.schema().fields().len(), original.schema().fields().len());
    for (at, (ours, theirs)) in exact.columns().iter().zip(original.columns()).enumerate() {
        let name = exact.schema().field(at).name().clone();
        assert_eq!(ours.data_type(), theirs.data_type(), "{name}");
        let Some(ours) = ours.as_primitive_opt::<Float64Type>() else {
            assert_eq!(ours, theirs, "{name}");
            continue;
        };
        for (a, b) in ours.iter().zip(theirs.as_primitive::<Float64Type>()) {
            let (Some(a), Some(b)) = (a, b) else { panic!("{name}: {a:?} {b:?}") };
            assert!((a - b).abs() <= 1e-9 * a.abs().max(1.0), "{name}: {a} {b}");
        }
    }
}

#[tokio::test]
async fn a_moving_window_forgets_what_left_it() {
    let rows = table(3);
    let sql = "SELECT i, x, sum(x) OVER w, stddev(x) OVER w, regr_slope(y, x) OVER w, min(x) OVER w, max(x) OVER w FROM t \
        WINDOW w AS (ORDER BY g, i, x ROWS BETWEEN 3 PRECEDING AND CURRENT ROW) ORDER BY g, i, x";
    let whole = query(&rows, 1000, 1, true, sql).await;
    let x = whole.column(1).as_primitive::<Float64Type>();
    let max = whole.column(6).as_primitive::<Float64Type>();
    let sum = whole.column(2).as_primitive::<Float64Type>();
    for at in 0..whole.num_rows() {
        let frame: Vec<f64> =
            (at.saturating_sub(3)..=at).filter(|i| x.is_valid(*i)).map(|i| x.value(i)).collect();
        let expected = (!frame.is_empty()).then(|| sum_of(&frame).to_f64());
        assert_eq!(sum.is_valid(at).then(|| sum.value(at)), expected);
        assert_eq!(max.is_valid(at).then(|| max.value(at)), frame.iter().copied().reduce(f64::max));
    }
}
