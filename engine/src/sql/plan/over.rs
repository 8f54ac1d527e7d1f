//! OVER: moving aggregates and LAG over an event-time range.

use std::sync::Arc;

use datafusion::arrow::datatypes::Schema;
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::TreeNode;
use datafusion::logical_expr::expr::{AggregateFunction, NullTreatment, WindowFunction};
use datafusion::logical_expr::{
    Expr, Operator, Window, WindowFrameBound, WindowFrameUnits, WindowFunctionDefinition,
};
use weir_contract::{Code, Error, Result, Span};

use super::build::{Builder, Rel, field, unique};
use super::errors::at_expr;
use super::expr::{bare, column, interval_us, plain_column, resolve, time_of, type_of};
use super::ir::{Node, Op, OverExpr, Place};
use super::join::needs_columns;

const FRAME: &str = "OVER (PARTITION BY … ORDER BY ts RANGE BETWEEN INTERVAL '…' PRECEDING AND CURRENT ROW)";

impl Builder<'_> {
    /// Computes arguments that may fail on a row once, before OVER, which looks at a row as often as it is
    /// in a frame: failures are counted by row. Gives the lifted expressions with their columns.
    fn lift(&mut self, rel: Rel, window: &Window) -> Result<(Rel, Vec<(Expr, String)>)> {
        let schema = Arc::clone(&self.node(rel.node).stream.schema);
        let mut lifted: Vec<(Expr, String)> = Vec::new();
        for expr in &window.window_expr {
            let Expr::WindowFunction(function) = bare(expr) else { continue };
            let params = &function.params;
            for e in params.args.iter().chain(&params.partition_by).chain(params.filter.as_deref()) {
                let read = resolve(e, window.input.schema(), &rel.map, &schema)?;
                if may_fail(&read) && lifted.iter().all(|(known, _)| *known != read) {
                    lifted.push((read, format!("__o{}:{}", rel.node, lifted.len())));
                }
            }
        }
        if lifted.is_empty() {
            return Ok((rel, lifted));
        }
        let there = schema.fields().iter().map(|f| (column(f.name()), f.name().clone()));
        let node = self.project(rel.node, there.chain(lifted.iter().cloned()).collect())?.node;
        Ok((Rel { node, map: rel.map }, lifted))
    }

    pub fn over(&mut self, window: &Window) -> Result<Rel> {
        let rel = self.build(&window.input)?;
        let rel = self.prune(rel, &[])?;
        let (rel, lifted) = self.lift(rel, window)?;
        let input = self.node(rel.node).clone();
        let from = window.input.schema();
        let schema = &input.stream.schema;
        let mut head: Option<(Vec<Expr>, usize)> = None;
        let mut functions = Vec::new();
        let mut longest: Span = 0;
        for expr in &window.window_expr {
            let Expr::WindowFunction(function) = bare(expr) else {
                return Err(Error::new(Code::Plan, format!("{expr} is not a window function")));
            };
            let read = |e: &Expr| {
                let read = resolve(e, from, &rel.map, schema)?;
                let done = lifted.iter().find(|(lifted, _)| *lifted == read);
                Ok(done.map_or(read, |(_, name)| column(name)))
            };
            let partition_by = function.params.partition_by.iter().map(read).collect::<Result<Vec<_>>>()?;
            let [sort] = function.params.order_by.as_slice() else {
                return Err(Error::new(
                    Code::NotEventTime,
                    "OVER needs exactly one ORDER BY column, an event-time column",
                )
                .expected(FRAME))
                .map_err(|e| at_expr(e, expr));
            };
            let order = read(&sort.expr)?;
            let time =
                time_of(&order, &input).filter(|(_, by)| *by == 0 && plain_column(&order, schema).is_some());
            let Some((time, _)) = time.filter(|_| sort.asc) else {
                return Err(Error::new(
                    Code::NotEventTime,
                    format!(
                        "cannot order OVER by `{}`: it is not an ascending event-time column here",
                        sort.expr
                    ),
                )
                .expected(event_times(&input)))
                .map_err(|e| at_expr(e, &sort.expr));
            };
            let preceding = frame(function).map_err(|e| at_expr(e, expr))?;
            longest = longest.max(preceding);
            match &head {
                None => head = Some((partition_by, time)),
                Some(first) if *first == (partition_by.clone(), time) => {}
                Some(_) => {
                    return Err(Error::new(
                        Code::Internal,
                        "window functions of one node differ in their partitions",
                    ));
                }
            }
            functions.push(read_function(function, preceding, &read).map_err(|e| at_expr(e, expr))?);
        }
        let (partition_by, order_time) = head.ok_or_else(|| super::build::lost("window function"))?;
        let mut fields: Vec<_> = schema.fields().iter().map(|f| f.as_ref().clone()).collect();
        let names = unique(
            schema
                .fields()
                .iter()
                .map(|f| f.name().clone())
                .chain(window.schema.fields().iter().skip(from.fields().len()).map(|f| f.name().clone())),
        );
        for (function, name) in functions.iter().zip(&names[fields.len()..]) {
            let data_type = match function {
                OverExpr::Aggregate { function, .. } => type_of(function, schema)?,
                OverExpr::Lag { value, .. } => type_of(value, schema)?,
            };
            fields.push(field(name, data_type));
        }
        let keys: Vec<Option<usize>> = partition_by.iter().map(|e| plain_column(e, schema)).collect();
        let held = |wanted: &[usize]| !wanted.is_empty() && wanted.iter().all(|c| keys.contains(&Some(*c)));
        let stays = match &input.place {
            Place::Task => held(&input.stream.partition_key),
            Place::Shard(by) => held(by),
        };
        let (exchange, place) = if stays {
            (None, input.place.clone())
        } else {
            let columns =
                keys.iter().copied().collect::<Option<Vec<usize>>>().ok_or_else(|| needs_columns("OVER"))?;
            (Some(partition_by.clone()), Place::Shard(columns))
        };
        let mut stream = input.stream.clone();
        stream.schema = Arc::new(Schema::new(fields));
        if place != Place::Task {
            stream.partition_key.clear();
        }
        let added = functions.len();
        let width = schema.fields().len();
        let mut ranges = input.ranges.clone();
        ranges.values_mut().for_each(|(before, _)| *before += longest);
        let node = self.add(Node {
            op: Op::Over { partition_by, order_time, functions },
            inputs: vec![rel.node],
            exchange: vec![exchange],
            stream,
            delays: input.delays.clone(),
            windows: input.windows.clone(),
            ranges,
            place,
        });
        Ok(Rel { node, map: rel.map.into_iter().chain(width..width + added).collect() })
    }
}

/// Whether an expression may fail on a row, and so is counted.
fn may_fail(expr: &Expr) -> bool {
    let fails = |e: &Expr| {
        let divides = matches!(e, Expr::BinaryExpr(b) if matches!(b.op, Operator::Divide | Operator::Modulo));
        Ok(divides || matches!(e, Expr::TryCast(_)))
    };
    expr.exists(fails).unwrap_or(false)
}

/// The event-time columns of a stream, for an error.
pub fn event_times(node: &Node) -> String {
    let visible: Vec<&str> = node
        .stream
        .times
        .iter()
        .map(|c| node.stream.schema.field(*c).name().as_str())
        .filter(|n| !n.starts_with("__"))
        .collect();
    match visible.is_empty() {
        true => "an event-time column; this query keeps none".into(),
        false => format!("{} (event time)", visible.join(", ")),
    }
}

fn frame(function: &WindowFunction) -> Result<Span> {
    let frame = &function.params.window_frame;
    let refused = |what: &str| {
        Err(Error::new(Code::NotYet, format!("{what} in {}", function.fun.name())).expected(FRAME))
    };
    if frame.units != WindowFrameUnits::Range {
        return refused("a ROWS or GROUPS frame");
    }
    if !matches!(frame.end_bound, WindowFrameBound::CurrentRow) {
        return refused("a frame that does not end at CURRENT ROW");
    }
    let WindowFrameBound::Preceding(bound) = &frame.start_bound else {
        return refused("a frame that does not start at an INTERVAL PRECEDING");
    };
    let span = match bound {
        ScalarValue::Utf8(Some(text)) => weir_contract::time::parse_span(text),
        other => interval_us(other),
    };
    match span {
        Some(span) if span >= 0 => Ok(span),
        _ if bound.is_null() => Err(Error::new(
            Code::Unbounded,
            format!("{} over an unbounded frame would keep every row for ever", function.fun.name()),
        )
        .expected(FRAME)),
        _ => refused("a frame bound without a constant length"),
    }
}

fn read_function(
    function: &WindowFunction,
    preceding: Span,
    read: &dyn Fn(&Expr) -> Result<Expr>,
) -> Result<OverExpr> {
    let params = &function.params;
    let arguments = params.args.iter().map(read).collect::<Result<Vec<_>>>()?;
    let name = function.fun.name().to_owned();
    match &function.fun {
        WindowFunctionDefinition::AggregateUDF(f) => {
            if params.distinct
                || ["first_value", "last_value", "nth_value", "array_agg", "string_agg"]
                    .contains(&name.as_str())
            {
                return Err(Error::new(Code::NotYet, format!("{name}() in OVER is not there yet"))
                    .expected("lag, count, sum, avg, min, max, regr_slope, …"));
            }
            let filter = params.filter.as_deref().map(read).transpose()?.map(Box::new);
            Ok(OverExpr::Aggregate {
                function: Expr::AggregateFunction(AggregateFunction::new_udf(
                    Arc::clone(f),
                    arguments,
                    false,
                    filter,
                    vec![],
                    None,
                )),
                preceding,
            })
        }
        WindowFunctionDefinition::WindowUDF(_) if name == "lag" => {
            if params.null_treatment == Some(NullTreatment::IgnoreNulls) {
                return Err(Error::new(Code::NotYet, "LAG … IGNORE NULLS is not there yet")
                    .expected("lag(…) OVER (…), or a view that leaves the NULLs out"));
            }
            let mut arguments = arguments.into_iter();
            let value = arguments.next().ok_or_else(|| {
                Error::new(Code::Plan, "LAG needs a value").expected("lag(column) OVER (…)")
            })?;
            let n = match arguments.next() {
                None => 1,
                Some(Expr::Literal(v, _)) => {
                    match v.cast_to(&datafusion::arrow::datatypes::DataType::Int64) {
                        Ok(ScalarValue::Int64(Some(n))) if n >= 0 => usize::try_from(n).unwrap_or(usize::MAX),
                        _ => {
                            return Err(Error::new(Code::Plan, "LAG's offset is a constant, not negative")
                                .expected("lag(column, 2)"));
                        }
                    }
                }
                Some(_) => {
                    return Err(Error::new(Code::Plan, "LAG's offset is a constant, not a column")
                        .expected("lag(column, 2)"));
                }
            };
            Ok(OverExpr::Lag { value, n, default: arguments.next(), preceding })
        }
        WindowFunctionDefinition::WindowUDF(_) => {
            Err(Error::new(Code::NotYet, format!("{name}() in OVER is not there yet"))
                .expected("lag and aggregates"))
        }
    }
}
