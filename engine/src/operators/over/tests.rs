//! OVER against DataFusion's batch windows and a naive twin; any chopping, any advances, any restart.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
    UInt32Array,
};
use datafusion::arrow::compute::{concat_batches, take_record_batch};
use datafusion::arrow::datatypes::{
    DataType, Field, Float64Type, Int64Type, Schema, TimeUnit, TimestampMicrosecondType,
};
use datafusion::datasource::MemTable;
use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::Operator as Binary;
use datafusion::physical_expr::aggregate::AggregateExprBuilder;
use datafusion::physical_expr::expressions::{binary, col, lit};
use datafusion::prelude::SessionContext;

use super::*;
use crate::numeric;

const SECOND: i64 = 1_000_000;
const SIZES: [usize; 6] = [1, 2, 7, 63, 64, 65];

/// A small generator of its own, so that a seed names a run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

fn context() -> SessionContext {
    let context = SessionContext::new();
    numeric::register(&mut *context.state_ref().write()).unwrap();
    context
}

fn schema() -> StreamSchema {
    let time = DataType::Timestamp(TimeUnit::Microsecond, None);
    let fields = vec![
        Field::new("k", DataType::Utf8, true),
        Field::new("u", time.clone(), true),
        Field::new("ts", time, true),
        Field::new("x", DataType::Float64, true),
        Field::new("y", DataType::Float64, true),
        Field::new("i", DataType::Int64, true),
        Field::new("__o", DataType::Int64, true),
    ];
    let schema = Arc::new(Schema::new(fields));
    StreamSchema { schema, times: vec![1, 2], row_time: 1, order: vec![2, 6], partition_key: vec![] }
}

/// Rows in canonical order; several share a time and a key, one key is NULL.
fn rows(count: usize, seed: u64) -> RecordBatch {
    let mut random = Random(seed);
    let mut times: Vec<i64> = (0..count).map(|_| random.below(240) as i64 * SECOND / 4).collect();
    times.sort_unstable();
    let keys = ["a", "b", "c", "d"];
    let k: StringArray = (0..count).map(|_| keys.get(random.below(5) as usize)).collect();
    let u: TimestampMicrosecondArray = times.iter().map(|t| Some(t - random.below(9) as i64)).collect();
    let scale = [1e-9, 0.1, 1.0, 1e12];
    let mut float = |none: u64| -> Float64Array {
        (0..count)
            .map(|_| {
                let value = (random.below(2_000_001) as f64 - 1e6) / 7.0 * scale[random.below(4) as usize];
                (random.below(none) != 0).then_some(value)
            })
            .collect()
    };
    let (x, y) = (float(6), float(1_000_000));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(k),
        Arc::new(u),
        Arc::new(TimestampMicrosecondArray::from(times)),
        Arc::new(x),
        Arc::new(y),
        Arc::new((0..count).map(|_| Some(random.below(100) as i64 - 50)).collect::<Int64Array>()),
        Arc::new(Int64Array::from_iter_values(0..count as i64)),
    ];
    RecordBatch::try_new(schema().schema, columns).unwrap()
}

/// What the SQL below says.
fn functions() -> Vec<OverFunction> {
    let schema = schema().schema;
    let context = context();
    let state = context.state();
    let column = |name: &str| col(name, &schema).unwrap();
    let aggregate = |name: &str, arguments: Vec<Arc<dyn PhysicalExpr>>, seconds: i64| {
        let function = AggregateExprBuilder::new(state.udaf(name).unwrap(), arguments)
            .schema(Arc::clone(&schema))
            .alias(name)
            .build()
            .unwrap();
        OverFunction::Aggregate { function: Arc::new(function), filter: None, preceding: seconds * SECOND }
    };
    let mut counted = aggregate("count", vec![column("x")], 10);
    if let OverFunction::Aggregate { filter, .. } = &mut counted {
        *filter = Some(binary(column("y"), Binary::Gt, lit(0.0), &schema).unwrap());
    }
    let double = binary(column("x"), Binary::Multiply, lit(2.0), &schema).unwrap();
    vec![
        aggregate("sum", vec![column("x")], 5),
        aggregate("avg", vec![double], 10),
        aggregate("regr_slope", vec![column("x"), column("y")], 10),
        counted,
        aggregate("min", vec![column("x")], 3),
        aggregate("max", vec![column("i")], 7),
        aggregate("stddev", vec![column("x")], 0),
        aggregate("count", vec![lit(1i64)], 10),
        OverFunction::Lag { value: column("x"), n: 2, default: Some(lit(-1.0)), preceding: 3 * SECOND },
        OverFunction::Lag { value: column("i"), n: 1, default: None, preceding: 4 * SECOND },
    ]
}

const QUERY: &str = "SELECT k, u, ts, x, y, i, __o, \
    sum(x) OVER (PARTITION BY k ORDER BY ts RANGE BETWEEN INTERVAL '5 seconds' PRECEDING AND CURRENT ROW), \
    avg(x * 2.0) OVER w, regr_slope(x, y) OVER w, count(x) FILTER (WHERE y > 0) OVER w, \
    min(x) OVER (PARTITION BY k ORDER BY ts RANGE BETWEEN INTERVAL '3 seconds' PRECEDING AND CURRENT ROW), \
    max(i) OVER (PARTITION BY k ORDER BY ts RANGE BETWEEN INTERVAL '7 seconds' PRECEDING AND CURRENT ROW), \
    stddev(x) OVER (PARTITION BY k ORDER BY ts RANGE BETWEEN INTERVAL '0 seconds' PRECEDING AND CURRENT ROW), \
    count(*) OVER w, \
    CASE WHEN lag(ts, 2) OVER o >= ts - INTERVAL '3 seconds' THEN lag(x, 2) OVER o ELSE -1.0 END, \
    CASE WHEN lag(ts, 1) OVER o >= ts - INTERVAL '4 seconds' THEN lag(i, 1) OVER o END \
    FROM t WINDOW o AS (PARTITION BY k ORDER BY ts, __o), \
    w AS (PARTITION BY k ORDER BY ts RANGE BETWEEN INTERVAL '10 seconds' PRECEDING AND CURRENT ROW) \
    ORDER BY ts, __o";

fn over(functions: Vec<OverFunction>, keyed: bool) -> Over {
    let input = schema();
    let mut fields: Vec<_> = input.schema.fields().iter().map(|f| f.as_ref().clone()).collect();
    for (at, function) in functions.iter().enumerate() {
        let data_type = match function {
            OverFunction::Aggregate { function, .. } => function.field().data_type().clone(),
            OverFunction::Lag { value, .. }
            | OverFunction::FirstValue { value, .. }
            | OverFunction::LastValue { value, .. } => value.data_type(&input.schema).unwrap(),
        };
        fields.push(Field::new(format!("f{at}"), data_type, true));
    }
    let output = StreamSchema { schema: Arc::new(Schema::new(fields)), ..input.clone() };
    let partition_by = if keyed { vec![col("k", &input.schema).unwrap()] } else { vec![] };
    Over::new(OverSpec { input, output, partition_by, order_time: 1, functions }).unwrap()
}

fn times(rows: &RecordBatch, column: usize) -> Vec<i64> {
    rows.column(column).as_primitive::<TimestampMicrosecondType>().values().to_vec()
}

/// Pushes the rows, disordered by up to `disorder` places, in batches of up to `size`, with advances at
/// random places; checks the frontiers; `restart` puts a snapshot between any two batches.
fn run(
    make: &dyn Fn() -> Over,
    rows: &RecordBatch,
    size: usize,
    disorder: u64,
    restart: bool,
    seed: u64,
) -> RecordBatch {
    let mut random = Random(seed);
    let mut arrival: Vec<(u64, u32)> =
        (0..rows.num_rows() as u32).map(|r| (u64::from(r) + random.below(disorder), r)).collect();
    arrival.sort_unstable();
    let arrival = UInt32Array::from_iter_values(arrival.into_iter().map(|a| a.1));
    let rows = take_record_batch(rows, &arrival).unwrap();
    let (mut operator, mut out) = (make(), Out::default());
    let mut frontier = [NOTHING; 2];
    let mut given = vec![NOTHING; 2];
    let mut told = 0;
    let mut at = 0;
    while at < rows.num_rows() {
        let len = (1 + random.below(size as u64) as usize).min(rows.num_rows() - at);
        operator.push(0, rows.slice(at, len), &mut out).unwrap();
        at += len;
        let rest = rows.slice(at, rows.num_rows() - at);
        if random.below(3) > 0 && rest.num_rows() > 0 {
            let behind = random.below(3) as i64 * SECOND / 4;
            for (slot, column) in frontier.iter_mut().zip([1, 2]) {
                let least = times(&rest, column).into_iter().min().unwrap();
                *slot = (*slot).max(least - behind);
            }
            let next = operator.advance(&[&frontier], &mut out).unwrap();
            assert!(next.iter().zip(&given).all(|(new, old)| new >= old), "a frontier moved back");
            assert_eq!(next[1], frontier[1]);
            given = next;
        }
        for batch in &out.batches[told..] {
            assert!(times(batch, 2).into_iter().all(|t| t < frontier[1]), "a row left before it was final");
        }
        told = out.batches.len();
        if restart {
            let mut saver = Saver::default();
            operator.snapshot(&mut saver).unwrap();
            let bytes = saver.finish();
            operator = make();
            let mut loader = Loader::new(&bytes);
            operator.restore(&mut loader).unwrap();
            loader.finish().unwrap();
        }
        // What is still held must not be below the frontiers given.
        for batch in operator.pending.iter().map(|p| &p.rows) {
            assert!([1, 2].iter().zip(&given).all(|(c, f)| times(batch, *c).iter().all(|t| t >= f)));
        }
    }
    assert_eq!(operator.advance(&[&[FOREVER; 2]], &mut out).unwrap(), [FOREVER; 2]);
    assert!(operator.keys.is_empty() && operator.pending.is_empty(), "state is left at the end");
    concat_batches(&operator.spec.output.schema, &out.batches).unwrap()
}

#[tokio::test]
async fn streaming_equals_the_batch_windows_in_any_chopping() {
    for seed in 0..3 {
        let rows = rows(400, seed + 11);
        let context = context();
        let table =
            MemTable::try_new(rows.schema(), vec![vec![rows.slice(0, 150), rows.slice(150, 250)]]).unwrap();
        context.register_table("t", Arc::new(table)).unwrap();
        let expected = context.sql(QUERY).await.unwrap().collect().await.unwrap();
        let expected = concat_batches(&expected[0].schema(), &expected).unwrap();
        let make = || over(functions(), true);
        for size in SIZES {
            for disorder in [1, 40, 1000] {
                let got = run(&make, &rows, size, disorder, false, seed * 100 + size as u64);
                for (at, (ours, theirs)) in got.columns().iter().zip(expected.columns()).enumerate() {
                    assert_eq!(
                        ours,
                        theirs,
                        "column {at} ({}), size {size}",
                        expected.schema().field(at).name()
                    );
                }
            }
        }
    }
}

#[test]
fn a_restart_after_every_push_changes_no_bit() {
    let rows = rows(300, 5);
    let make = || over(functions(), true);
    let expected = run(&make, &rows, 64, 30, false, 1);
    assert_eq!(run(&make, &rows, 1, 30, true, 1), expected, "after every row");
    assert_eq!(run(&make, &rows, 65, 30, true, 9), expected);
}

/// FIRST_VALUE, LAST_VALUE and LAG, with and without a key, row by row over everything before.
#[test]
fn looked_up_rows_are_those_of_a_naive_twin() {
    let rows = rows(300, 8);
    let input = schema().schema;
    let value = || col("i", &input).unwrap();
    let list = || {
        vec![
            OverFunction::FirstValue { value: value(), preceding: 2 * SECOND },
            OverFunction::LastValue { value: value(), preceding: SECOND },
            OverFunction::Lag {
                value: value(),
                n: 3,
                default: Some(col("__o", &input).unwrap()),
                preceding: SECOND,
            },
            OverFunction::Lag { value: value(), n: 0, default: None, preceding: 0 },
        ]
    };
    let (ts, keys) = (times(&rows, 2), rows.column(0).as_string::<i32>().iter().collect::<Vec<_>>());
    let i = rows.column(5).as_primitive::<Int64Type>().values();
    for keyed in [true, false] {
        let make = || over(list(), keyed);
        let got = run(&make, &rows, 7, 50, keyed, 3);
        for row in 0..rows.num_rows() {
            let mine: Vec<usize> = (0..rows.num_rows())
                .filter(|r| !keyed || keys[*r] == keys[row])
                .filter(|r| ts[*r] <= ts[row])
                .collect();
            let first = mine.iter().find(|r| ts[**r] >= ts[row] - 2 * SECOND).map(|r| i[*r]);
            let place = mine.iter().position(|r| *r == row).unwrap();
            let lagged = place.checked_sub(3).map(|p| mine[p]).filter(|r| ts[*r] >= ts[row] - SECOND);
            let expected =
                [first, mine.last().map(|r| i[*r]), Some(lagged.map_or(row as i64, |r| i[r])), Some(i[row])];
            for (at, expected) in expected.into_iter().enumerate() {
                let column = got.column(7 + at).as_primitive::<Int64Type>();
                assert_eq!(
                    column.is_valid(row).then(|| column.value(row)),
                    expected,
                    "row {row}, function {at}"
                );
            }
        }
    }
}

#[test]
fn keys_and_rows_out_of_reach_are_let_go() {
    let mut operator = over(functions(), true);
    let mut out = Out::default();
    let many = rows(400, 2);
    let mut most = 0;
    for hour in 0..20 {
        let shift_by = hour * 3600 * SECOND;
        let mut columns = many.columns().to_vec();
        for column in [1, 2] {
            let moved = times(&many, column).into_iter().map(|t| t + shift_by).collect::<Vec<_>>();
            columns[column] = Arc::new(TimestampMicrosecondArray::from(moved));
        }
        columns[0] = Arc::new(StringArray::from_iter_values((0..400).map(|r| format!("{hour}-{}", r % 50))));
        operator.push(0, RecordBatch::try_new(many.schema(), columns).unwrap(), &mut out).unwrap();
        operator.advance(&[&[shift_by + 60 * SECOND; 2]], &mut out).unwrap();
        // The newest rows are within the widest range of the frontier; most of the minute is not.
        assert!(operator.keys.chunks().map(|c| c.rows.num_rows()).sum::<usize>() < 120);
        assert!(!operator.keys.is_empty());
        most = most.max(operator.bytes());
    }
    assert!(most < 4 << 20, "{most} bytes");
    operator.advance(&[&[20 * 3600 * SECOND; 2]], &mut out).unwrap();
    assert!(operator.keys.is_empty());
    assert_eq!(out.batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 8000);
    let sums = out.batches[0].column(7).as_primitive::<Float64Type>();
    assert!(sums.null_count() < sums.len());
}

#[test]
fn an_aggregate_that_cannot_take_rows_back_is_refused() {
    let context = context();
    let schema = schema();
    let function = AggregateExprBuilder::new(
        context.state().udaf("approx_distinct").unwrap(),
        vec![col("i", &schema.schema).unwrap()],
    )
    .schema(Arc::clone(&schema.schema))
    .alias("d")
    .build()
    .unwrap();
    let mut fields: Vec<_> = schema.schema.fields().iter().map(|f| f.as_ref().clone()).collect();
    fields.push(function.field().as_ref().clone());
    let spec = OverSpec {
        output: StreamSchema { schema: Arc::new(Schema::new(fields)), ..schema.clone() },
        input: schema,
        partition_by: vec![],
        order_time: 1,
        functions: vec![OverFunction::Aggregate {
            function: Arc::new(function),
            filter: None,
            preceding: SECOND,
        }],
    };
    assert_eq!(Over::new(spec).err().map(|e| e.code()), Some(Code::NotYet));
}
