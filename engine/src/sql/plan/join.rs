//! Joins: interval joins and ASOF joins of streams, as-of joins to reference tables.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::common::{ExprSchema, JoinType};
use datafusion::logical_expr::{BinaryExpr, Expr, Join, Operator};
use weir_contract::time::show_span;
use weir_contract::{Code, Error, Result, Span};

use crate::base::StreamSchema;

use super::build::{Builder, Rel, field, unique, widen};
use super::detect::mark;
use super::errors::at_expr;
use super::expr::{and_all, conjuncts, is_asof, plain_column, resolve, time_of, within};
use super::ir::{Node, Op, Place};
use super::over::event_times;

/// `b.ts − a.ts` lies in `[low, high]`, for one pair of event-time columns.
#[derive(Debug, Default, Clone, Copy)]
struct Bounds {
    pair: Option<(usize, usize)>,
    low: Option<Span>,
    high: Option<Span>,
    /// The bound `a.ts >= b.ts` was strict (ASOF only).
    strict: bool,
}

/// Both sides of a join, materialised far enough that names of the two are unique together.
struct Sides {
    left: Rel,
    right: Rel,
    /// Output column names: left's, then right's.
    names: Vec<String>,
}

impl Builder<'_> {
    pub fn join(&mut self, join: &Join) -> Result<Rel> {
        let outer = match join.join_type {
            JoinType::Inner => false,
            JoinType::Left => true,
            other => {
                return Err(Error::new(Code::NotYet, format!("{other} joins are not there yet"))
                    .expected("JOIN or LEFT JOIN"));
            }
        };
        let mut parts: Vec<Expr> = join.filter.iter().flat_map(conjuncts).collect();
        if let Some(at) = parts.iter().position(|p| mark(p).is_some()) {
            let found = parts.remove(at);
            return self.detect(join, outer, mark(&found).unwrap_or_default(), parts);
        }
        let marked = parts.iter().any(is_asof);
        parts.retain(|p| !is_asof(p));
        let spoken = parts.clone();
        parts.extend(join.on.iter().map(|(l, r)| l.clone().eq(r.clone())));
        self.join_of(join, outer, parts, marked).map_err(|error| spoken.iter().fold(error, at_expr))
    }

    fn join_of(&mut self, join: &Join, outer: bool, parts: Vec<Expr>, marked: bool) -> Result<Rel> {
        if let Some(tables) = self.relation_tables(&join.right) {
            if marked {
                return Err(Error::new(Code::NotYet, "a reference table is as of event time by itself")
                    .expected("JOIN without ASOF"));
            }
            return self.reference_join(join, outer, parts, tables);
        }
        if self.relation_tables(&join.left).is_some() {
            if outer {
                return Err(Error::new(
                    Code::NotYet,
                    "a reference table cannot be the kept side of a LEFT JOIN with a stream",
                )
                .expected("the stream on the left"));
            }
            return self.swapped(join);
        }
        self.stream_join(join, outer, parts, marked)
    }

    /// `reference JOIN stream` is `stream JOIN reference` with its columns in the other order.
    fn swapped(&mut self, join: &Join) -> Result<Rel> {
        let other = Join::try_new(
            Arc::clone(&join.right),
            Arc::clone(&join.left),
            join.on.iter().map(|(l, r)| (r.clone(), l.clone())).collect(),
            join.filter.clone(),
            join.join_type,
            join.join_constraint,
            join.null_equality,
            join.null_aware,
        )
        .map_err(super::expr::plan_error)?;
        let rel = self.join(&other)?;
        let stream_columns = join.right.schema().fields().len();
        let (stream, reference) = rel.map.split_at(stream_columns);
        Ok(Rel { node: rel.node, map: reference.iter().chain(stream).copied().collect() })
    }

    /// Splits conjuncts into equalities of the two sides and the rest.
    fn equalities(&self, join: &Join, parts: Vec<Expr>) -> (Vec<(Expr, Expr)>, Vec<Expr>) {
        let (mut on, mut rest) = (Vec::new(), Vec::new());
        for part in parts {
            if let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = &part {
                let (ls, rs) = (join.left.schema(), join.right.schema());
                let some = |e: &Expr| !e.column_refs().is_empty();
                if some(left) && some(right) && within(left, ls) && within(right, rs) {
                    on.push((left.as_ref().clone(), right.as_ref().clone()));
                    continue;
                }
                if some(left) && some(right) && within(right, ls) && within(left, rs) {
                    on.push((right.as_ref().clone(), left.as_ref().clone()));
                    continue;
                }
            }
            rest.push(part);
        }
        (on, rest)
    }

    fn reference_join(
        &mut self,
        join: &Join,
        outer: bool,
        parts: Vec<Expr>,
        tables: Vec<String>,
    ) -> Result<Rel> {
        let left = self.build(&join.left)?;
        let left = self.prune(left, &[])?;
        let relation = self.relation(&join.right, tables);
        let right_schema = Arc::clone(&self.plan.relations[relation].schema);
        let right_order = self.plan.relations[relation].order.clone();
        let (on, rest) = self.equalities(join, parts);
        if on.is_empty() {
            return Err(Error::new(Code::NotYet, "a join to a reference table needs an equality of columns")
                .expected("ON stream.column = table.column"));
        }
        let base = self.node(left.node).clone();
        let names = joined_names(&base.stream.schema, &right_schema);
        let stream =
            joined_stream(&base.stream, &right_schema, &names, &right_order, base.stream.times.clone());
        let right_map: Vec<usize> = (0..right_schema.fields().len()).collect();
        let on = resolve_pairs(join, on, (&left.map, &base.stream.schema), (&right_map, &right_schema))?;
        let width = base.stream.schema.fields().len();
        let map: Vec<usize> = left.map.iter().copied().chain(right_map.iter().map(|c| c + width)).collect();
        let residual = and_all(rest).map(|e| resolve(&e, &join.schema, &map, &stream.schema)).transpose()?;
        let node = self.add(Node {
            op: Op::ReferenceJoin { outer, on, relation, residual },
            inputs: vec![left.node],
            exchange: vec![None],
            stream,
            ..base
        });
        Ok(Rel { node, map })
    }

    fn stream_join(&mut self, join: &Join, outer: bool, parts: Vec<Expr>, marked: bool) -> Result<Rel> {
        let (left, right) = (self.build(&join.left)?, self.build(&join.right)?);
        let (left, right) = (self.prune(left, &[])?, self.prune(right, &[])?);
        let (a, b) = (self.node(left.node).clone(), self.node(right.node).clone());
        let (mut on, rest) = self.equalities(join, parts);
        let mut bounds = Bounds::default();
        let mut residual = Vec::new();
        for part in rest {
            if !self.time_bound(join, &part, (&left, &a), (&right, &b), &mut bounds)? {
                residual.push(part);
            }
        }
        if bounds.pair.is_none() {
            // `b.ts = a.ts` is an interval of no length.
            for (l, r) in std::mem::take(&mut on) {
                let equal = l.clone().eq(r.clone());
                if !self.time_bound(join, &equal, (&left, &a), (&right, &b), &mut bounds)? {
                    on.push((l, r));
                }
            }
        }
        let Some((lt, rt)) = bounds.pair else {
            if let Some(error) = timeless(join, &residual, (&left, &a), (&right, &b)) {
                return Err(error);
            }
            return Err(Error::new(Code::Unbounded, "a join of two streams without a time condition would keep both for ever")
                .expected("b.ts BETWEEN a.ts - INTERVAL '…' AND a.ts + INTERVAL '…' on event-time columns, or ASOF JOIN"));
        };
        let on = resolve_pairs(join, on, (&left.map, &a.stream.schema), (&right.map, &b.stream.schema))?;
        let sides = Sides { names: joined_names(&a.stream.schema, &b.stream.schema), left, right };
        let width = a.stream.schema.fields().len();
        let map: Vec<usize> =
            sides.left.map.iter().copied().chain(sides.right.map.iter().map(|c| c + width)).collect();
        let mut times = a.stream.times.clone();
        let mut delays = a.delays.clone();
        let mut ranges = a.ranges.clone();
        let op = if marked {
            if !residual.is_empty() {
                return Err(Error::new(
                    Code::NotYet,
                    "an ASOF JOIN takes equalities and time conditions only",
                )
                .expected("further conditions in WHERE"));
            }
            let Some(low) = bounds.low else {
                return Err(Error::new(
                    Code::Unbounded,
                    "an ASOF JOIN without a maximum age would keep one row of every key for ever",
                )
                .expected("AND b.ts >= a.ts - INTERVAL '…'"));
            };
            if bounds.high != Some(0) || low > 0 {
                return Err(Error::new(Code::Plan, "an ASOF JOIN looks back")
                    .expected("a.ts >= b.ts AND b.ts >= a.ts - INTERVAL '…'"));
            }
            delays[lt] = delays[lt].max(b.delays[rt]);
            widen(&mut ranges, &b.ranges, -low, 0);
            Op::AsofJoin { outer, on: on.clone(), times: (lt, rt), max_age: -low, strict: bounds.strict }
        } else {
            let (Some(low), Some(high)) = (bounds.low, bounds.high) else {
                return Err(Error::new(Code::Unbounded, "a time join needs a bound on both sides")
                    .expected("b.ts BETWEEN a.ts - INTERVAL '…' AND a.ts + INTERVAL '…'"));
            };
            let high = if bounds.strict { high.min(-1) } else { high };
            if low > high {
                return Err(Error::new(
                    Code::Plan,
                    format!("the interval from {} to {} is empty", show_span(low), show_span(high)),
                )
                .expected("a lower bound that is not above the upper one"));
            }
            delays[lt] = delays[lt].max(b.delays[rt] + high);
            widen(&mut ranges, &b.ranges, (-low).max(0), high.max(0));
            if !outer {
                times.push(width + b.stream.times[rt]);
                // A left row that is undecided can still bring a right one from `before` earlier.
                delays.push(b.delays[rt].max(delays[lt] - low));
            }
            let schema = joined_schema(&a.stream.schema, &b.stream.schema, &sides.names);
            let residual = and_all(residual).map(|e| resolve(&e, &join.schema, &map, &schema)).transpose()?;
            Op::IntervalJoin { outer, on: on.clone(), times: (lt, rt), before: -low, after: high, residual }
        };
        let mut stream = joined_stream(&a.stream, &b.stream.schema, &sides.names, &b.stream.order, times);
        let (exchange, place) = self.placement(&a, &b, &on)?;
        if place != Place::Task {
            stream.partition_key.clear();
        }
        let windows = a.windows.clone();
        let node = self.add(Node {
            op,
            inputs: vec![sides.left.node, sides.right.node],
            exchange,
            stream,
            delays,
            windows,
            ranges,
            place,
        });
        Ok(Rel { node, map })
    }

    /// Where a join of two streams runs: in the task where the keys hold both partition keys.
    fn placement(&self, a: &Node, b: &Node, on: &[(Expr, Expr)]) -> Result<(Vec<Option<Vec<Expr>>>, Place)> {
        let left: Vec<Option<usize>> = on.iter().map(|(l, _)| plain_column(l, &a.stream.schema)).collect();
        let right: Vec<Option<usize>> = on.iter().map(|(_, r)| plain_column(r, &b.stream.schema)).collect();
        let paired = |x: &[usize], y: &[usize]| {
            !x.is_empty()
                && x.len() == y.len()
                && x.iter()
                    .zip(y)
                    .all(|(x, y)| left.iter().zip(&right).any(|(l, r)| *l == Some(*x) && *r == Some(*y)))
        };
        if a.place == Place::Task
            && b.place == Place::Task
            && paired(&a.stream.partition_key, &b.stream.partition_key)
        {
            return Ok((vec![None, None], Place::Task));
        }
        if let (Place::Shard(x), Place::Shard(y)) = (&a.place, &b.place)
            && paired(x, y)
        {
            return Ok((vec![None, None], Place::Shard(x.clone())));
        }
        let keys: Vec<usize> =
            left.iter().map(|l| l.ok_or_else(|| needs_columns("a join"))).collect::<Result<_>>()?;
        let exchange = vec![
            Some(on.iter().map(|(l, _)| l.clone()).collect()),
            Some(on.iter().map(|(_, r)| r.clone()).collect()),
        ];
        Ok((exchange, Place::Shard(keys)))
    }

    /// Reads one comparison of event-time columns into the bounds; false where it is none.
    fn time_bound(
        &self,
        join: &Join,
        part: &Expr,
        left: (&Rel, &Node),
        right: (&Rel, &Node),
        bounds: &mut Bounds,
    ) -> Result<bool> {
        let pieces: Vec<(Expr, Operator, Expr)> = match part {
            Expr::Between(b) if !b.negated => vec![
                (b.expr.as_ref().clone(), Operator::GtEq, b.low.as_ref().clone()),
                (b.expr.as_ref().clone(), Operator::LtEq, b.high.as_ref().clone()),
            ],
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
                vec![(left.as_ref().clone(), *op, right.as_ref().clone())]
            }
            _ => return Ok(false),
        };
        let mut all = true;
        for (x, op, y) in pieces {
            let (xl, yl) = (within(&x, join.left.schema()), within(&y, join.left.schema()));
            let (xr, yr) = (within(&x, join.right.schema()), within(&y, join.right.schema()));
            let (a_expr, b_expr, flipped) = if xl && yr && !xr {
                (x, y, false)
            } else if xr && yl && !xl {
                (y, x, true)
            } else {
                all = false;
                continue;
            };
            let a = resolve(&a_expr, join.left.schema(), &left.0.map, &left.1.stream.schema)?;
            let b = resolve(&b_expr, join.right.schema(), &right.0.map, &right.1.stream.schema)?;
            let (Some((lt, la)), Some((rt, rb))) = (time_of(&a, left.1), time_of(&b, right.1)) else {
                all = false;
                continue;
            };
            if bounds.pair.is_some_and(|p| p != (lt, rt)) {
                all = false;
                continue;
            }
            // a.ts + la OP b.ts + rb, so b.ts − a.ts is bounded by la − rb.
            let limit = la - rb;
            let op = if flipped { op.swap().unwrap_or(op) } else { op };
            let (low, high) = match op {
                Operator::Lt => (Some(limit + 1), None),
                Operator::LtEq => (Some(limit), None),
                Operator::Gt => (None, Some(limit - 1)),
                Operator::GtEq => (None, Some(limit)),
                Operator::Eq => (Some(limit), Some(limit)),
                _ => {
                    all = false;
                    continue;
                }
            };
            bounds.pair = Some((lt, rt));
            if let Some(low) = low {
                bounds.low = Some(bounds.low.map_or(low, |l| l.max(low)));
            }
            if let Some(high) = high {
                if op == Operator::Gt && limit == 0 {
                    bounds.strict = true;
                }
                let high = if bounds.strict && high == -1 { 0 } else { high };
                bounds.high = Some(bounds.high.map_or(high, |h| h.min(high)));
            }
        }
        Ok(all)
    }
}

/// Why a join has no time condition: it compares a time that is no event time.
fn timeless(join: &Join, parts: &[Expr], left: (&Rel, &Node), right: (&Rel, &Node)) -> Option<Error> {
    for part in parts {
        for column in part.column_refs() {
            let on_left = join.left.schema().has_column(column);
            let (schema, (rel, node)) =
                if on_left { (join.left.schema(), left) } else { (join.right.schema(), right) };
            let field = schema.field_from_column(column).ok()?;
            let bare = Expr::Column(column.clone());
            let resolved = resolve(&bare, schema, &rel.map, &node.stream.schema).ok()?;
            if matches!(field.data_type(), DataType::Timestamp(..)) && time_of(&resolved, node).is_none() {
                let what =
                    format!("a time join goes by event time, and `{}` is none here", column.flat_name());
                let error = Error::new(Code::NotEventTime, what).expected(event_times(node));
                return Some(at_expr(error, &bare));
            }
        }
    }
    None
}

fn joined_names(left: &SchemaRef, right: &SchemaRef) -> Vec<String> {
    unique(left.fields().iter().chain(right.fields()).map(|f| f.name().clone()))
}

fn joined_schema(left: &SchemaRef, right: &SchemaRef, names: &[String]) -> SchemaRef {
    let types = left.fields().iter().chain(right.fields()).map(|f| f.data_type().clone());
    Arc::new(Schema::new(names.iter().zip(types).map(|(name, t)| field(name, t)).collect::<Vec<_>>()))
}

fn joined_stream(
    left: &StreamSchema,
    right: &SchemaRef,
    names: &[String],
    right_order: &[usize],
    times: Vec<usize>,
) -> StreamSchema {
    let width = left.schema.fields().len();
    StreamSchema {
        schema: joined_schema(&left.schema, right, names),
        times,
        row_time: left.row_time,
        order: left.order.iter().copied().chain(right_order.iter().map(|c| c + width)).collect(),
        partition_key: left.partition_key.clone(),
    }
}

fn resolve_pairs(
    join: &Join,
    on: Vec<(Expr, Expr)>,
    left: (&[usize], &SchemaRef),
    right: (&[usize], &SchemaRef),
) -> Result<Vec<(Expr, Expr)>> {
    on.iter()
        .map(|(l, r)| {
            Ok((
                resolve(l, join.left.schema(), left.0, left.1)?,
                resolve(r, join.right.schema(), right.0, right.1)?,
            ))
        })
        .collect()
}

/// An exchange goes by plain columns, so that later operators can see what it went by.
pub fn needs_columns(what: &str) -> Error {
    Error::new(
        Code::NotYet,
        format!("{what} whose keys do not hold the partition key needs plain columns as keys"),
    )
    .expected("compute the key in a view or CTE first")
}
