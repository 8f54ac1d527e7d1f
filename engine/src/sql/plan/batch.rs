//! The batch form of a plan: one DataFusion query over the rows that streaming marked on time.
//!
//! In:   a plan, a node of it, the processed rows of every source, the versions of every relation.
//! Out:  a logical plan with the node's columns, by the node's names, in any row order.
//! Owns: what each node means without time passing. It shares the node's expressions with the
//!       operators, and nothing else, so that the two can be held against each other.
//!
//! Windows are generated starts, LAG is a condition on the earlier row's time, an ASOF join is the
//! first of all matches, and a relation is one table with a validity range.

mod functions;

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, JoinType, ScalarValue};
use datafusion::datasource::{MemTable, provider_as_source};
use datafusion::error::Result as DfResult;
use datafusion::functions_window::expr_fn::{lag, row_number};
use datafusion::logical_expr::expr::{Sort, WindowFunction, WindowFunctionParams};
use datafusion::logical_expr::{
    Expr, ExprFunctionExt, LogicalPlan, LogicalPlanBuilder, ScalarUDF, WindowFrame, WindowFrameBound,
    WindowFrameUnits, WindowFunctionDefinition, cast, lit, when,
};
use datafusion::prelude::SessionContext;
use weir_contract::{Code, Error, Result, Span};

use self::functions::{Windows, interval, validity};
use super::expr::column;
use super::functions::window_type;
use super::ir::{Node, NodeId, Op, OverExpr, Plan, Window};
use crate::base::internal;

/// Versions of one relation: since when (event time in microseconds, ascending) and its rows.
pub type Versions = Vec<(i64, RecordBatch)>;

/// A session for batch queries: without the two rewrites of DataFusion 55.2 that move field accesses
/// below projections, and fail where names then meet twice.
pub fn context() -> SessionContext {
    let context = super::context();
    for rule in ["extract_leaf_expressions", "push_down_leaf_projections"] {
        context.remove_optimizer_rule(rule);
    }
    context
}

/// The batch query of a node, to be run in `context()`.
///
/// `tables` has the processed rows of each source in its stream schema; `relations` the versions of
/// each relation of the plan, by its index. The result has the node's columns, hidden ones too.
///
/// # Errors
/// Rows of a source are missing, or DataFusion refuses the query: both are the caller's or weir's own.
pub fn batch(
    plan: &Plan,
    node: NodeId,
    tables: &BTreeMap<String, RecordBatch>,
    relations: &[Versions],
) -> Result<LogicalPlan> {
    Form { plan, tables, relations }.node(node)
}

struct Form<'a> {
    plan: &'a Plan,
    tables: &'a BTreeMap<String, RecordBatch>,
    relations: &'a [Versions],
}

impl Form<'_> {
    fn node(&self, id: NodeId) -> Result<LogicalPlan> {
        let node = &self.plan.nodes[id];
        let inputs = node.inputs.iter().map(|i| self.node(*i)).collect::<Result<Vec<_>>>()?;
        if let Op::Source(table) = &node.op {
            let rows = self.tables.get(&table.name).ok_or_else(|| {
                Error::new(Code::Internal, format!("no rows of `{}` for the batch form", table.name))
            })?;
            return scan(&table.name, rows.clone()).and_then(|b| named(b, node)).map_err(internal);
        }
        let mut inputs = inputs.into_iter().map(LogicalPlanBuilder::from);
        let first = inputs.next().ok_or_else(|| Error::new(Code::Internal, "a node without input"))?;
        let second = inputs.next();
        let made = match (&node.op, second) {
            (Op::Project { columns, .. }, _) => first
                .project(columns.iter().map(|(e, name)| e.clone().alias(name)))
                .and_then(|b| named(b, node)),
            (Op::Filter(predicate), _) => first.filter(predicate.clone()).and_then(|b| named(b, node)),
            (Op::Union, second) => second
                .into_iter()
                .chain(inputs)
                .try_fold(first, |all, next| all.union(next.build()?))
                .and_then(|b| named(b, node)),
            (Op::Aggregate { window, group, aggregates, .. }, _) => {
                let input = self.input(node, 0);
                aggregate(first, input, window.as_ref(), group, aggregates).and_then(|b| named(b, node))
            }
            (Op::Over { partition_by, order_time, functions }, _) => {
                over(first, node, self.input(node, 0), partition_by, *order_time, functions)
            }
            (Op::ReferenceJoin { outer, on, relation, residual }, _) => {
                self.reference_join(first, node, *outer, on, *relation, residual.as_ref())
            }
            (Op::IntervalJoin { outer, on, times, before, after, residual }, Some(second)) => {
                let pair = self.pair(node, *times, on);
                let mut conditions = pair.keys;
                conditions.push(pair.later.clone().gt_eq(pair.sooner.clone() - lit(interval(*before))));
                conditions.push(pair.later.lt_eq(pair.sooner + lit(interval(*after))));
                conditions.extend(residual.iter().map(|e| by_position(e, &node.stream.schema)));
                joined(first, second, self.input(node, 0), *outer, conditions).and_then(|b| named(b, node))
            }
            (Op::AsofJoin { outer, on, times, max_age, strict }, Some(second)) => {
                let pair = self.pair(node, *times, on);
                let mut conditions = pair.keys;
                let (a, b) = (pair.sooner, pair.later);
                conditions.push(b.clone().gt_eq(a.clone() - lit(interval(*max_age))));
                conditions.push(if *strict { b.clone().lt(a) } else { b.clone().lt_eq(a) });
                self.nearest(first, second, node, *outer, conditions, b)
            }
            (Op::Detect { .. }, _) => {
                return Err(Error::new(Code::NotYet, "detect() has no batch form").expected("its own tests"));
            }
            (op, _) => {
                return Err(Error::new(Code::Internal, format!("{} without its inputs", op.name())));
            }
        };
        made.map_err(internal)
    }

    fn input(&self, node: &Node, port: usize) -> &Node {
        &self.plan.nodes[node.inputs[port]]
    }

    /// Keys and times of a join of two streams, over the columns of `joined`.
    fn pair(&self, node: &Node, times: (usize, usize), on: &[(Expr, Expr)]) -> Pair {
        let (a, b) = (&self.input(node, 0).stream, &self.input(node, 1).stream);
        let width = a.schema.fields().len();
        Pair {
            keys: on
                .iter()
                .map(|(l, r)| by_position(l, &a.schema).eq(shifted(r, &b.schema, width)))
                .collect(),
            sooner: at(a.times[times.0]),
            later: at(b.times[times.1] + width),
        }
    }

    /// The last match of each left row: by time, then by canonical order.
    fn nearest(
        &self,
        left: LogicalPlanBuilder,
        right: LogicalPlanBuilder,
        node: &Node,
        outer: bool,
        conditions: Vec<Expr>,
        later: Expr,
    ) -> DfResult<LogicalPlan> {
        let (a, b) = (self.input(node, 0), self.input(node, 1));
        let width = a.stream.schema.fields().len();
        let last = std::iter::once(later)
            .chain(b.stream.order.iter().map(|c| at(c + width)))
            .map(|e| e.sort(false, false))
            .collect();
        let number = row_number()
            .partition_by(a.stream.order.iter().map(|c| at(*c)).collect())
            .order_by(last)
            .build()?;
        let name = number.schema_name().to_string();
        let rows = joined(left, right, a, outer, conditions)?.window(vec![number])?;
        named(rows.filter(column(name).eq(lit(1u64)))?, node)
    }

    /// All versions in one table, each row with the time that it holds from and to.
    fn reference_join(
        &self,
        left: LogicalPlanBuilder,
        node: &Node,
        outer: bool,
        on: &[(Expr, Expr)],
        relation: usize,
        residual: Option<&Expr>,
    ) -> DfResult<LogicalPlan> {
        let input = self.input(node, 0);
        let width = input.stream.schema.fields().len();
        let relation_schema = &self.plan.relations[relation].schema;
        let right_width = relation_schema.fields().len();
        let versions = self.relations.get(relation).map_or(&[][..], Vec::as_slice);
        let right = scan("versions", validity(relation_schema, versions)?)?;
        let row_time = at(input.stream.row_time_column());
        let mut conditions: Vec<Expr> = on
            .iter()
            .map(|(l, r)| by_position(l, &input.stream.schema).eq(shifted(r, relation_schema, width)))
            .collect();
        conditions.push(at(width + right_width).lt_eq(row_time.clone()));
        conditions.push(row_time.lt(at(width + right_width + 1)));
        conditions.extend(residual.map(|e| by_position(e, &node.stream.schema)));
        named(joined(left, right, input, outer, conditions)?, node)
    }
}

struct Pair {
    keys: Vec<Expr>,
    sooner: Expr,
    later: Expr,
}

/// The name of column `index` of a join, before it gets the node's names.
fn at(index: usize) -> Expr {
    column(format!("__c{index}"))
}

/// An expression over a schema's names as one over positions.
fn by_position(expr: &Expr, schema: &SchemaRef) -> Expr {
    shifted(expr, schema, 0)
}

fn shifted(expr: &Expr, schema: &SchemaRef, by: usize) -> Expr {
    let moved = expr.clone().transform(|e| match e {
        Expr::Column(c) => Ok(Transformed::yes(at(schema.index_of(&c.name)? + by))),
        other => Ok(Transformed::no(other)),
    });
    // An unknown name stays, and DataFusion names it in its error.
    moved.map_or_else(|_| expr.clone(), |t| t.data)
}

/// Columns `__c0 …` of both sides, joined.
fn joined(
    left: LogicalPlanBuilder,
    right: LogicalPlanBuilder,
    input: &Node,
    outer: bool,
    conditions: Vec<Expr>,
) -> DfResult<LogicalPlanBuilder> {
    let width = input.stream.schema.fields().len();
    let (left, right) = (numbered(left, 0)?, numbered(right, width)?.build()?);
    left.join_on(right, if outer { JoinType::Left } else { JoinType::Inner }, conditions)
}

fn numbered(rows: LogicalPlanBuilder, from: usize) -> DfResult<LogicalPlanBuilder> {
    let names = (from..).map(|n| format!("__c{n}"));
    let columns: Vec<Expr> =
        rows.schema().columns().into_iter().zip(names).map(|(c, name)| Expr::Column(c).alias(name)).collect();
    rows.project(columns)
}

/// The first columns under the node's names; what follows is dropped.
fn named(rows: LogicalPlanBuilder, node: &Node) -> DfResult<LogicalPlan> {
    let names = node.stream.schema.fields().iter().map(|f| f.name().clone());
    let columns: Vec<Expr> =
        rows.schema().columns().into_iter().zip(names).map(|(c, name)| Expr::Column(c).alias(name)).collect();
    rows.project(columns)?.build()
}

fn scan(name: &str, rows: RecordBatch) -> DfResult<LogicalPlanBuilder> {
    let fields: Vec<Field> =
        rows.schema().fields().iter().map(|f| f.as_ref().clone().with_nullable(true)).collect();
    let schema = Arc::new(Schema::new(fields));
    let rows = RecordBatch::try_new(Arc::clone(&schema), rows.columns().to_vec())?;
    let table = MemTable::try_new(schema, vec![vec![rows]])?;
    let name = datafusion::common::TableReference::bare(name.to_owned());
    LogicalPlanBuilder::scan(name, provider_as_source(Arc::new(table)), None)
}

fn aggregate(
    rows: LogicalPlanBuilder,
    input: &Node,
    window: Option<&Window>,
    group: &[Expr],
    aggregates: &[Expr],
) -> DfResult<LogicalPlanBuilder> {
    let keys = group.iter().enumerate().map(|(n, e)| e.clone().alias(format!("__g{n}")));
    let values: Vec<Expr> =
        aggregates.iter().enumerate().map(|(n, e)| e.clone().alias(format!("__a{n}"))).collect();
    let Some(window) = window else { return rows.aggregate(keys, values) };
    let time = input.stream.schema.field(input.stream.row_time_column()).name();
    let starts = ScalarUDF::new_from_impl(Windows::new(window.slide, window.size));
    let mut columns: Vec<Expr> = rows.schema().columns().into_iter().map(Expr::Column).collect();
    columns.push(starts.call(vec![column(time)]).alias("__start"));
    let rows = rows.project(columns)?.unnest_column(Column::new_unqualified("__start"))?;
    let rows = rows.aggregate(keys.chain([column("__start").alias("__w")]), values)?;
    let end = column("__w") + lit(interval(window.size));
    let slot = datafusion::functions::core::named_struct().call(vec![
        lit("start"),
        column("__w"),
        lit("end"),
        end.clone(),
    ]);
    let mut out: Vec<Expr> = (0..group.len()).map(|n| column(format!("__g{n}"))).collect();
    out.insert(window.position, cast(slot, window_type()).alias("__window"));
    out.extend((0..aggregates.len()).map(|n| column(format!("__a{n}"))));
    out.push((end - lit(interval(1))).alias("__last"));
    rows.project(out)
}

fn over(
    rows: LogicalPlanBuilder,
    node: &Node,
    input: &Node,
    partition_by: &[Expr],
    order_time: usize,
    functions: &[OverExpr],
) -> DfResult<LogicalPlan> {
    let stream = &input.stream;
    let name = |c: usize| column(stream.schema.field(c).name());
    let time = name(stream.times[order_time]);
    let width = stream.schema.fields().len();
    let mut rows = rows;
    let mut out: Vec<Expr> = (0..width).map(name).collect();
    for (function, field) in functions.iter().zip(node.stream.schema.fields().iter().skip(width)) {
        let value = match function {
            OverExpr::Aggregate { function, preceding } => {
                let moving = moving(function, *preceding, partition_by, time.clone());
                added(&mut rows, moving)?
            }
            OverExpr::Lag { value, n, default, preceding } => {
                let order: Vec<Sort> = std::iter::once(time.clone())
                    .chain(stream.order.iter().map(|c| name(*c)))
                    .map(|e| e.sort(true, true))
                    .collect();
                let n = i64::try_from(*n).unwrap_or(i64::MAX);
                let mut earlier = |e: Expr| -> DfResult<Expr> {
                    let call = lag(e, Some(n), None).partition_by(partition_by.to_vec());
                    added(&mut rows, call.order_by(order.clone()).build()?)
                };
                let (then, value) = (earlier(time.clone())?, earlier(value.clone())?);
                let missing = default.clone().unwrap_or(Expr::Literal(ScalarValue::Null, None));
                when(then.gt_eq(time.clone() - lit(interval(*preceding))), value).otherwise(missing)?
            }
        };
        out.push(cast(value, field.data_type().clone()));
    }
    let out: Vec<Expr> =
        out.into_iter().zip(node.stream.schema.fields()).map(|(e, f)| e.alias(f.name())).collect();
    rows.project(out)?.build()
}

/// Adds a window function to the rows, once, and gives its column.
fn added(rows: &mut LogicalPlanBuilder, function: Expr) -> DfResult<Expr> {
    let name = function.schema_name().to_string();
    if rows.schema().index_of_column_by_name(None, &name).is_none() {
        *rows = rows.clone().window(vec![function])?;
    }
    Ok(column(name))
}

/// An aggregate over the rows of the last `preceding`, those of the same instant too.
fn moving(function: &Expr, preceding: Span, partition_by: &[Expr], time: Expr) -> Expr {
    let Expr::AggregateFunction(call) = function else { return function.clone() };
    let window_frame = WindowFrame::new_bounds(
        WindowFrameUnits::Range,
        WindowFrameBound::Preceding(interval(preceding)),
        WindowFrameBound::CurrentRow,
    );
    Expr::from(WindowFunction {
        fun: WindowFunctionDefinition::AggregateUDF(Arc::clone(&call.func)),
        params: WindowFunctionParams {
            args: call.params.args.clone(),
            partition_by: partition_by.to_vec(),
            order_by: vec![time.sort(true, true)],
            window_frame,
            filter: call.params.filter.clone(),
            null_treatment: call.params.null_treatment,
            distinct: call.params.distinct,
        },
    })
}
