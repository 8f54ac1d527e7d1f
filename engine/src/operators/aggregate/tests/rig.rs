//! Rows, aggregates with their SQL, the batch answer, and a driver that checks every promise.

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, AsArray, BooleanArray, Decimal128Array, Float64Array, Int64Array, StringArray, UInt32Array,
};
use datafusion::arrow::compute::take_record_batch;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimestampMicrosecondType};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::common::ScalarValue;
use datafusion::functions_aggregate as fa;
use datafusion::logical_expr::AggregateUDF;
use datafusion::physical_expr::aggregate::{AggregateExprBuilder, AggregateFunctionExpr};
use datafusion::physical_expr::expressions::{Column, Literal, binary};
use datafusion::physical_expr::{PhysicalExpr, PhysicalSortExpr};
use datafusion::prelude::SessionContext;

use super::super::layout::{MICROS, time_array, time_values};
use super::super::*;

/// A small generator: the same rows at every run.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % sides
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        (1..items.len()).rev().for_each(|i| items.swap(i, self.roll(i as u64 + 1) as usize));
    }
}

pub fn input_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("t", MICROS, false),
        Field::new("k", DataType::Utf8, true),
        Field::new("n", DataType::Int64, true),
        Field::new("f", DataType::Float64, true),
        Field::new("d", DataType::Decimal128(12, 2), true),
        Field::new("b", DataType::Boolean, true),
        Field::new("__o", DataType::Int64, false),
        Field::new("scan_id", DataType::Int64, true),
    ]))
}

/// Rows around `from`, some equal times, NULLs everywhere but in the time; floats of many sizes, so that
/// a sum that rounds on its way depends on the order.
pub fn rows(seed: u64, count: usize, from: i64, span: u64) -> RecordBatch {
    let mut dice = Dice(seed);
    let mut some = |sides: u64| (dice.roll(7) > 0).then(|| dice.roll(sides) as i64);
    let k: Vec<Option<String>> = (0..count).map(|_| some(5).map(|k| format!("key {k}"))).collect();
    let n: Vec<Option<i64>> = (0..count).map(|_| some(100).map(|n| n - 30)).collect();
    let f: Vec<Option<f64>> = (0..count)
        .map(|_| some(1000).map(|n| (n as f64 - 300.0) / 7.0 * 10f64.powi(n as i32 % 31 - 9)))
        .collect();
    let d: Vec<Option<i128>> = (0..count).map(|_| some(100_000).map(i128::from)).collect();
    let b: Vec<Option<bool>> = (0..count).map(|_| some(8).map(|n| n > 0)).collect();
    let id: Vec<Option<i64>> = (0..count).map(|_| some(count as u64)).collect();
    let t = (0..count).map(|_| from + dice.roll(span) as i64).collect();
    let columns: Vec<ArrayRef> = vec![
        time_array(t),
        Arc::new(StringArray::from(k)),
        Arc::new(Int64Array::from(n)),
        Arc::new(Float64Array::from(f)),
        Arc::new(Decimal128Array::from(d).with_precision_and_scale(12, 2).unwrap()),
        Arc::new(BooleanArray::from(b)),
        Arc::new(Int64Array::from_iter_values(0..count as i64)),
        Arc::new(Int64Array::from(id)),
    ];
    RecordBatch::try_new(input_schema(), columns).unwrap()
}

pub fn column(name: &str) -> Arc<dyn PhysicalExpr> {
    Arc::new(Column::new(name, input_schema().index_of(name).unwrap()))
}

/// weir's own function of a name.
pub fn weir(name: &str) -> Arc<AggregateUDF> {
    let all = crate::numeric::aggregate_functions();
    all.into_iter().find(|f| f.name() == name).unwrap()
}

/// Aggregates as the planner would make them, with the SQL that says the same.
pub struct Asked {
    pub aggregates: Vec<Arc<AggregateFunctionExpr>>,
    pub filters: Vec<Option<Arc<dyn PhysicalExpr>>>,
    pub sql: Vec<String>,
}

impl Asked {
    pub fn none() -> Asked {
        Asked { aggregates: vec![], filters: vec![], sql: vec![] }
    }

    pub fn with(self, fun: Arc<AggregateUDF>, arg: &str) -> Asked {
        self.full(fun, arg, false, &[], false)
    }

    pub fn full(
        mut self,
        fun: Arc<AggregateUDF>,
        arg: &str,
        distinct: bool,
        by: &[&str],
        filter: bool,
    ) -> Asked {
        let mut args: Vec<Arc<dyn PhysicalExpr>> = match arg {
            "*" => vec![Arc::new(Literal::new(ScalarValue::Int64(Some(1))))],
            arg => vec![column(arg)],
        };
        let mut extra = String::new();
        if fun.name() == "percentile_cont" {
            args.push(Arc::new(Literal::new(ScalarValue::Float64(Some(0.25)))));
            extra = ", 0.25".into();
        }
        if fun.name() == "avg" && arg == "n" {
            args = vec![Arc::new(datafusion::physical_expr::expressions::CastExpr::new(
                column(arg),
                DataType::Float64,
                None,
            ))];
        }
        let sorts: Vec<PhysicalSortExpr> =
            by.iter().map(|c| PhysicalSortExpr { expr: column(c), options: Default::default() }).collect();
        let alias = format!("a{}", self.sql.len());
        let sql = format!(
            "{}({}{arg}{extra}{}) {}",
            fun.name(),
            if distinct { "DISTINCT " } else { "" },
            if by.is_empty() { String::new() } else { format!(" ORDER BY {}", by.join(", ")) },
            if filter { "FILTER (WHERE n > 0)" } else { "" },
        );
        let built = AggregateExprBuilder::new(fun, args).schema(input_schema()).alias(alias).order_by(sorts);
        self.aggregates.push(Arc::new(built.with_distinct(distinct).build().unwrap()));
        let zero: Arc<dyn PhysicalExpr> = Arc::new(Literal::new(ScalarValue::Int64(Some(0))));
        let above = || {
            binary(column("n"), datafusion::logical_expr::Operator::Gt, zero, input_schema().as_ref())
                .unwrap()
        };
        self.filters.push(filter.then(above));
        self.sql.push(sql);
        self
    }

    /// Every kind of state that rules use.
    pub fn all() -> Asked {
        let asked = Asked::none()
            .with(fa::count::count_udaf(), "*")
            .with(fa::count::count_udaf(), "f")
            .with(fa::sum::sum_udaf(), "n")
            .with(weir("sum"), "f")
            .with(fa::sum::sum_udaf(), "d")
            .with(weir("avg"), "n")
            .with(weir("stddev"), "f")
            .with(fa::average::avg_udaf(), "d")
            .with(weir("min"), "f")
            .with(fa::min_max::max_udaf(), "k")
            .with(fa::min_max::max_udaf(), "t")
            .with(fa::bool_and_or::bool_and_udaf(), "b")
            .with(fa::bit_and_or_xor::bit_or_udaf(), "n")
            .with(fa::bit_and_or_xor::bit_xor_udaf(), "n")
            .with(fa::median::median_udaf(), "f")
            .with(fa::percentile_cont::percentile_cont_udaf(), "f")
            .with(fa::approx_distinct::approx_distinct_udaf(), "n");
        asked
            .full(fa::count::count_udaf(), "n", true, &[], false)
            .full(fa::count::count_udaf(), "k", true, &[], true)
            .full(fa::sum::sum_udaf(), "n", true, &[], false)
            .full(weir("sum"), "f", true, &[], true)
            .full(fa::first_last::first_value_udaf(), "n", false, &["t", "__o"], false)
            .full(fa::first_last::last_value_udaf(), "k", false, &["t", "__o"], true)
            .full(fa::sum::sum_udaf(), "n", false, &[], true)
            .full(fa::min_max::min_udaf(), "n", false, &[], true)
    }

    pub fn count() -> Asked {
        Asked::none().with(fa::count::count_udaf(), "*")
    }
}

pub fn window_type() -> DataType {
    DataType::Struct(vec![Field::new("start", MICROS, false), Field::new("end", MICROS, false)].into())
}

pub fn spec(window: Option<(i64, i64)>, group: &[&str], position: usize, asked: &Asked) -> AggregateSpec {
    let schema = input_schema();
    let mut fields: Vec<Field> =
        group.iter().map(|g| schema.field(schema.index_of(g).unwrap()).clone()).collect();
    let times = vec![schema.index_of("t").unwrap()];
    let time_keys: Vec<TimeKey> =
        group.iter().position(|g| *g == "t").map(|g| TimeKey { group: g, time: 0 }).into_iter().collect();
    let mut out_times: Vec<usize> = time_keys.iter().map(|k| k.group).collect();
    if window.is_some() {
        fields.insert(position, Field::new("w", window_type(), false));
        out_times.iter_mut().for_each(|t| *t += usize::from(*t >= position));
    }
    fields.extend(asked.aggregates.iter().map(|a| a.field().as_ref().clone().with_nullable(true)));
    if window.is_some() {
        fields.push(Field::new(TIME_COLUMN, MICROS, false));
        out_times.insert(0, fields.len() - 1);
    }
    AggregateSpec {
        input: StreamSchema { schema, times, row_time: 0, order: vec![0, 6], partition_key: vec![] },
        output: StreamSchema {
            schema: Arc::new(Schema::new(fields)),
            order: out_times.clone(),
            times: out_times,
            row_time: 0,
            partition_key: vec![],
        },
        phase: Phase::Single,
        window: window.map(|(slide, size)| WindowSpec { slide, size, position }),
        group: group.iter().map(|g| column(g)).collect(),
        time_keys,
        aggregates: asked.aggregates.clone(),
        filters: asked.filters.clone(),
    }
}

/// Rows as text, in the order they came.
pub fn lines(batches: &[RecordBatch]) -> Vec<String> {
    let options = FormatOptions::new().with_null("NULL");
    let mut lines = vec![];
    for batch in batches {
        let columns: Vec<_> =
            batch.columns().iter().map(|c| ArrayFormatter::try_new(c, &options).unwrap()).collect();
        for row in 0..batch.num_rows() {
            lines.push(columns.iter().map(|c| c.value(row).to_string()).collect::<Vec<_>>().join("|"));
        }
    }
    lines
}

pub fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}

/// Compares and shows only the first line that differs.
pub fn assert_same(got: &[String], expected: &[String], what: &str) {
    for at in 0..got.len().max(expected.len()) {
        assert_eq!(
            got.get(at),
            expected.get(at),
            "line {at} of {} and {}: {what}",
            got.len(),
            expected.len()
        );
    }
}

/// The batch answer: windows by generated starts, one group-by, DataFusion with weir's floats.
pub fn batch_answer(input: &RecordBatch, spec: &AggregateSpec, asked: &Asked) -> Vec<String> {
    let names: Vec<String> =
        spec.group.iter().map(|g| g.to_string().split('@').next().unwrap().into()).collect();
    let mut select: Vec<String> = names.clone();
    let mut from = "rows".to_string();
    let mut keys = names;
    if let Some(WindowSpec { slide, size, position }) = spec.window {
        // A start of below zero divides towards zero: times of this oracle are positive.
        from = format!(
            "(SELECT *, unnest(range(greatest(({t} - {size} + {slide}) / {slide}, 0) * {slide}, {t} + 1, {slide})) AS s FROM rows)",
            t = "CAST(t AS BIGINT)"
        );
        let micros = |e: String| format!("arrow_cast({e}, 'Timestamp(Microsecond, None)')");
        let w = format!(
            "named_struct('start', {}, 'end', {})",
            micros("s".into()),
            micros(format!("s + {size}"))
        );
        select.insert(position, w);
        keys.push("s".into());
    }
    select.extend(asked.sql.iter().cloned());
    if let Some(WindowSpec { size, .. }) = spec.window {
        select.push(format!("arrow_cast(s + {size} - 1, 'Timestamp(Microsecond, None)')"));
    }
    let sql = format!("SELECT {} FROM {from} GROUP BY {}", select.join(", "), keys.join(", "));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let batches = runtime.block_on(async {
        let mut context = SessionContext::new();
        crate::numeric::register(&mut context).unwrap();
        context.register_batch("rows", input.clone()).unwrap();
        context.sql(&sql).await.unwrap_or_else(|e| panic!("{sql}: {e}")).collect().await.unwrap()
    });
    sorted(lines(&batches))
}

/// What happens between rows.
#[derive(Clone, Copy, PartialEq)]
pub enum Restart {
    Never,
    AfterEachBatch,
}

/// Drives an operator over rows in an order where none is below the frontier, and checks what each
/// advance returns. `lanes` 0: `Single`; else that many `Partial` into one `Final`.
pub struct Drive<'a> {
    pub spec: &'a AggregateSpec,
    pub lanes: usize,
    pub batch: usize,
    pub seed: u64,
    pub restart: Restart,
}

impl Drive<'_> {
    fn restarted(&self, operator: Aggregate, spec: &AggregateSpec) -> Aggregate {
        if self.restart == Restart::Never {
            return operator;
        }
        let mut operator = operator;
        let mut saver = Saver::default();
        operator.snapshot(&mut saver).unwrap();
        let bytes = saver.finish();
        let mut fresh = Aggregate::new(spec.clone()).unwrap();
        let mut loader = Loader::new(&bytes);
        fresh.restore(&mut loader).unwrap();
        loader.finish().unwrap();
        fresh
    }

    pub fn run(&self, input: &RecordBatch) -> Vec<String> {
        let mut dice = Dice(self.seed);
        let times = input.column(0).as_primitive::<TimestampMicrosecondType>();
        let mut order: Vec<u32> = (0..input.num_rows() as u32).collect();
        dice.shuffle(&mut order);
        // Rows come nearly in order: the frontier is the lowest time that is still to come.
        order.sort_by_key(|&row| times.value(row as usize) / 4_000);
        let (partial, last) = match self.lanes {
            0 => (None, self.spec.clone()),
            _ => self.spec.two_phase().map(|(p, l)| (Some(p), l)).unwrap(),
        };
        let mut lanes: Vec<Aggregate> =
            (0..self.lanes).map(|_| Aggregate::new(partial.clone().unwrap()).unwrap()).collect();
        let mut end = Aggregate::new(last.clone()).unwrap();
        let mut out = Out::default();
        let mut given: Vec<i64> = vec![NOTHING; last.output.times.len()];
        let mut seen_rows = 0;
        let mut at = 0;
        while at <= order.len() {
            let chunk = &order[at..(at + self.batch).min(order.len())];
            let rows = take_record_batch(input, &UInt32Array::from(chunk.to_vec())).unwrap();
            at += self.batch;
            let pending = order.get(at..).unwrap_or(&[]);
            let low = pending.iter().map(|&r| times.value(r as usize)).min().unwrap_or(FOREVER);
            let low = if dice.roll(3) == 0 { low } else { NOTHING };
            let lane_frontiers: Vec<Vec<i64>> = if self.lanes == 0 {
                end.push(0, rows, &mut out).unwrap();
                vec![vec![low]]
            } else {
                let lane = dice.roll(self.lanes as u64) as usize;
                let mut states = Out::default();
                lanes[lane].push(0, rows, &mut states).unwrap();
                let frontiers = lanes
                    .iter_mut()
                    .map(|l| l.advance(&[&[low.max(l.frontier)]], &mut states).unwrap())
                    .collect();
                dice.shuffle(&mut states.batches);
                states.batches.into_iter().for_each(|b| end.push(0, b, &mut out).unwrap());
                frontiers
            };
            if self.lanes > 0 || low > NOTHING {
                let inputs = lane_frontiers[0].len();
                let least: Vec<i64> =
                    (0..inputs).map(|i| lane_frontiers.iter().map(|f| f[i]).min().unwrap()).collect();
                // Rows of this advance are at or above what the last one promised.
                let now = end.advance(&[&least], &mut out).unwrap();
                for batch in &out.batches[seen_rows..] {
                    for (&time, &promised) in last.output.times.iter().zip(&given) {
                        let times = time_values(batch.column(time)).unwrap();
                        assert!(times.iter().all(|&t| t >= promised), "{times:?} after {promised}");
                        let passed = end.frontier;
                        assert!(
                            self.spec.window.is_some() || times.iter().all(|&t| t < passed),
                            "not final: {times:?} at {passed}"
                        );
                    }
                }
                seen_rows = out.batches.len();
                assert!(now.iter().zip(&given).all(|(n, g)| n >= g), "{now:?} after {given:?}");
                given = now;
            }
            lanes = lanes.into_iter().map(|l| self.restarted(l, partial.as_ref().unwrap())).collect();
            end = self.restarted(end, &last);
        }
        let mut states = Out::default();
        lanes.iter_mut().for_each(|l| assert!(l.advance(&[&[FOREVER]], &mut states).unwrap()[0] == FOREVER));
        states.batches.into_iter().for_each(|b| end.push(0, b, &mut out).unwrap());
        let ended = vec![FOREVER; last.input.times.len()];
        assert!(end.advance(&[&ended], &mut out).unwrap().iter().all(|&f| f == FOREVER));
        assert_eq!(end.runs.bytes(), 0, "everything was given");
        lines(&out.batches)
    }
}
