//! GROUP BY: windows, and append-only groups by an event-time column.

use std::sync::Arc;

use datafusion::arrow::datatypes::{Field, Schema};
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::{Aggregate, Expr, SortExpr};
use weir_contract::time::show_span;
use weir_contract::{Code, Error, Result, Span};

use crate::base::StreamSchema;

use super::build::{Builder, Rel, field, unique};
use super::errors::at_expr;
use super::expr::{column, literal_interval, plain_column, resolve, time_of, type_of, window_call};
use super::functions::{HOP, time_type, window_type};
use super::ir::{Node, Op, Place, Window};

/// Aggregates whose value follows the order of rows; the planner makes that order total.
const ORDERED: [&str; 2] = ["first_value", "last_value"];
/// Aggregates whose state would hold every row in order.
const REFUSED: [&str; 7] = [
    "array_agg",
    "string_agg",
    "nth_value",
    "median",
    "approx_median",
    "approx_percentile_cont",
    "percentile_cont",
];

impl Builder<'_> {
    pub fn aggregate(&mut self, aggregate: &Aggregate) -> Result<Rel> {
        let rel = self.build(&aggregate.input)?;
        let rel = self.prune(rel, &[])?;
        let input = self.node(rel.node).clone();
        let from = aggregate.input.schema();
        let mut window: Option<Window> = None;
        let mut group = Vec::new();
        for (position, expr) in aggregate.group_expr.iter().enumerate() {
            if let Some((name, arguments)) = window_call(expr) {
                if window.is_some() {
                    let error = Error::new(Code::Plan, "a GROUP BY has two windows").expected("one window");
                    return Err(aggregate.group_expr.iter().fold(error, at_expr));
                }
                window = Some(read_window(name, arguments, position)?);
            } else if matches!(expr, Expr::GroupingSet(_)) {
                return Err(Error::new(Code::NotYet, "grouping sets are not there yet")
                    .expected("one GROUP BY a set, UNION ALL"));
            } else {
                group.push(resolve(expr, from, &rel.map, &input.stream.schema)?);
            }
        }
        let time_keys: Vec<(usize, usize)> = group
            .iter()
            .enumerate()
            .filter_map(|(at, e)| time_of(e, &input).filter(|(_, by)| *by == 0).map(|(time, _)| (at, time)))
            .collect();
        if window.is_none() && time_keys.is_empty() {
            let error = Error::new(
                Code::Unbounded,
                "GROUP BY without a window or an event-time column would never be final",
            )
            .expected("tumble(…) or hop(…) in GROUP BY, or an event-time column among the keys");
            let named = aggregate.group_expr.iter().chain(&aggregate.aggr_expr);
            return Err(named.fold(error, at_expr));
        }
        let aggregates = aggregate
            .aggr_expr
            .iter()
            .map(|e| ordered(resolve(e, from, &rel.map, &input.stream.schema)?, &input))
            .collect::<Result<Vec<_>>>()?;
        let names = unique(
            aggregate
                .schema
                .fields()
                .iter()
                .map(|f| f.name().clone())
                .chain(window.map(|_| "__t".to_owned())),
        );
        let mut fields: Vec<Field> = Vec::new();
        let mut keys = group.iter();
        let groups = aggregate.group_expr.len();
        for (at, name) in names.iter().take(groups).enumerate() {
            let is_window = window.is_some_and(|w| w.position == at);
            let data_type = match (is_window, is_window.then_some(()).map_or_else(|| keys.next(), |()| None))
            {
                (true, _) => window_type(),
                (false, Some(key)) => type_of(key, &input.stream.schema)?,
                (false, None) => return Err(super::build::lost("group key")),
            };
            fields.push(field(name, data_type));
        }
        for (expr, name) in aggregates.iter().zip(&names[groups..]) {
            fields.push(field(name, type_of(expr, &input.stream.schema)?));
        }
        if window.is_some() {
            fields.push(field(&names[names.len() - 1], time_type()));
        }
        let visible = aggregate.schema.fields().len();
        let output_of = |key: usize| match window {
            Some(w) if key >= w.position => key + 1,
            _ => key,
        };
        let key_columns: Vec<usize> = (0..group.len()).map(output_of).collect();
        let (times, delays, row_time, windows) = match window {
            Some(w) => (vec![visible], vec![input.delays[input.stream.row_time]], 0, vec![(w.position, 0)]),
            None => (
                time_keys.iter().map(|(key, _)| output_of(*key)).collect(),
                time_keys.iter().map(|(_, time)| input.delays[*time]).collect(),
                0,
                Vec::new(),
            ),
        };
        let order = std::iter::once(if window.is_some() { visible } else { times[0] })
            .chain(key_columns.iter().copied().filter(|c| window.is_some() || *c != times[0]))
            .collect();
        let plain: Vec<Option<usize>> = group.iter().map(|e| plain_column(e, &input.stream.schema)).collect();
        let held = |wanted: &[usize]| -> Option<Vec<usize>> {
            wanted.iter().map(|c| plain.iter().position(|p| p == &Some(*c)).map(output_of)).collect()
        };
        let (exchange, place, partition_key) = match &input.place {
            Place::Task => match held(&input.stream.partition_key).filter(|k| !k.is_empty()) {
                Some(kept) => (None, Place::Task, kept),
                None => (Some(group.clone()), Place::Shard(key_columns.clone()), Vec::new()),
            },
            Place::Shard(keys) => match held(keys).filter(|k| !k.is_empty()) {
                Some(kept) => (None, Place::Shard(kept), Vec::new()),
                None => (Some(group.clone()), Place::Shard(key_columns.clone()), Vec::new()),
            },
        };
        let mut ranges = input.ranges.clone();
        let span: Span = window.map_or(0, |w| w.size);
        ranges.values_mut().for_each(|(before, _)| *before += span);
        let stream =
            StreamSchema { schema: Arc::new(Schema::new(fields)), times, row_time, order, partition_key };
        let node = self.add(Node {
            op: Op::Aggregate { window, group, time_keys, aggregates },
            inputs: vec![rel.node],
            exchange: vec![exchange],
            stream,
            delays,
            windows,
            ranges,
            place,
        });
        Ok(Rel { node, map: (0..visible).collect() })
    }
}

fn read_window(name: &str, arguments: &[Expr], position: usize) -> Result<Window> {
    let spans: Vec<Span> = arguments
        .iter()
        .map(|e| {
            literal_interval(e).filter(|s| *s > 0).ok_or_else(|| {
                Error::new(Code::Plan, format!("`{name}` takes constant, positive intervals"))
                    .expected("INTERVAL '10 seconds'; no months")
            })
        })
        .collect::<Result<_>>()?;
    let (slide, size) = match (name, spans.as_slice()) {
        (HOP, [slide, size]) => (*slide, *size),
        (_, [size]) => (*size, *size),
        _ => {
            return Err(Error::new(Code::Plan, format!("`{name}` has a wrong number of arguments"))
                .expected("tumble(size), hop(slide, size)"));
        }
    };
    if slide > size {
        return Err(Error::new(
            Code::Plan,
            format!("`hop` by {} over {} would leave rows out", show_span(slide), show_span(size)),
        )
        .expected("hop(slide, size) with slide <= size"));
    }
    Ok(Window { slide, size, position })
}

/// Makes the order of an order-sensitive aggregate total by the canonical order.
fn ordered(expr: Expr, input: &Node) -> Result<Expr> {
    let Expr::AggregateFunction(mut function) = expr else {
        return Err(Error::new(Code::Plan, format!("{expr} is not an aggregate")));
    };
    let name = function.func.name().to_owned();
    if REFUSED.contains(&name.as_str()) {
        return Err(Error::new(Code::NotYet, format!("{name}() is not there yet"))
            .expected("count, sum, avg, min, max, first_value, last_value, …"));
    }
    if ORDERED.contains(&name.as_str()) {
        let present: Vec<Expr> = function.params.order_by.iter().map(|s| s.expr.clone()).collect();
        let missing = input.stream.order.iter().map(|c| column(input.stream.schema.field(*c).name()));
        function.params.order_by.extend(missing.filter(|c| !present.contains(c)).map(|expr| SortExpr {
            expr,
            asc: true,
            nulls_first: true,
        }));
    } else {
        // No other aggregate here depends on the order of rows.
        function.params.order_by.clear();
    }
    Ok(Expr::AggregateFunction(AggregateFunction { ..function }))
}
