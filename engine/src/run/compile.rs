//! From plan nodes to operators with physical expressions.

use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::DFSchema;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::physical_expr::aggregate::LoweredAggregateBuilder;
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};
use datafusion::physical_plan::udaf::AggregateFunctionExpr;
use weir_contract::{Code, Error, Result};

use crate::base::{StreamSchema, internal};
use crate::operators::aggregate::{Aggregate, AggregateSpec, Phase, TimeKey, WindowSpec};
use crate::operators::asof_join::{AsofJoin, AsofJoinSpec};
use crate::operators::detect::{Detect, DetectSpec};
use crate::operators::failures::Failures;
use crate::operators::interval_join::{IntervalJoin, IntervalJoinSpec};
use crate::operators::over::{Over, OverFunction, OverSpec};
use crate::operators::project::{Filter, Project, Union};
use crate::operators::reference_join::{ReferenceJoin, ReferenceJoinSpec};
use crate::operators::{JoinKind, Operator};
use crate::sql::plan::expr::plan_error;
use crate::sql::plan::ir::{Node, Op, OverExpr, Plan};

/// A physical expression over a stream's columns.
pub fn physical(expr: &Expr, schema: &SchemaRef) -> Result<Arc<dyn PhysicalExpr>> {
    let df = DFSchema::try_from(Arc::clone(schema)).map_err(plan_error)?;
    create_physical_expr(expr, &df, &ExecutionProps::new(), &PhysicalPlanningContext::default())
        .map_err(plan_error)
}

fn physical_all<'a>(
    exprs: impl IntoIterator<Item = &'a Expr>,
    schema: &SchemaRef,
) -> Result<Vec<Arc<dyn PhysicalExpr>>> {
    exprs.into_iter().map(|e| physical(e, schema)).collect()
}

/// An aggregate and its FILTER, over a stream's columns.
pub fn aggregate_expr(
    expr: &Expr,
    schema: &SchemaRef,
) -> Result<(Arc<AggregateFunctionExpr>, Option<Arc<dyn PhysicalExpr>>)> {
    let df = DFSchema::try_from(Arc::clone(schema)).map_err(plan_error)?;
    let (props, context) = (ExecutionProps::new(), PhysicalPlanningContext::default());
    let made = LoweredAggregateBuilder::new(expr, &df, schema.as_ref(), &props, &context)
        .with_name(expr.schema_name().to_string())
        .build()
        .map_err(plan_error)?;
    Ok((made.aggregate, made.filter))
}

fn kind(outer: bool) -> JoinKind {
    if outer { JoinKind::Left } else { JoinKind::Inner }
}

/// The spec of an aggregate node for one phase.
pub fn aggregate_spec(plan: &Plan, node: &Node, phase: Phase) -> Result<AggregateSpec> {
    let Op::Aggregate { window, group, time_keys, aggregates } = &node.op else {
        return Err(Error::new(Code::Internal, "not an aggregate"));
    };
    let input = plan.nodes[node.inputs[0]].stream.clone();
    let made = aggregates.iter().map(|e| aggregate_expr(e, &input.schema)).collect::<Result<Vec<_>>>()?;
    let (aggregates, filters) = made.into_iter().unzip();
    let single = AggregateSpec {
        phase: Phase::Single,
        window: window.map(|w| WindowSpec { slide: w.slide, size: w.size, position: w.position }),
        group: physical_all(group, &input.schema)?,
        time_keys: time_keys.iter().map(|(group, time)| TimeKey { group: *group, time: *time }).collect(),
        aggregates,
        filters,
        input,
        output: node.stream.clone(),
    };
    match phase {
        Phase::Single => Ok(single),
        Phase::Partial => Ok(single.two_phase()?.0),
        Phase::Final => Ok(single.two_phase()?.1),
    }
}

/// The same with its expressions counted.
fn counted(mut spec: AggregateSpec, failures: &Failures) -> Result<AggregateSpec> {
    let count = |e: &Arc<dyn PhysicalExpr>| failures.count_in(e).map_err(internal);
    spec.group = spec.group.iter().map(count).collect::<Result<_>>()?;
    spec.filters = spec.filters.iter().map(|f| f.as_ref().map(count).transpose()).collect::<Result<_>>()?;
    spec.aggregates =
        spec.aggregates.into_iter().map(|f| counted_function(f, failures)).collect::<Result<_>>()?;
    Ok(spec)
}

fn counted_function(
    function: Arc<AggregateFunctionExpr>,
    failures: &Failures,
) -> Result<Arc<AggregateFunctionExpr>> {
    let arguments = function.expressions();
    let made = arguments.iter().map(|e| failures.count_in(e)).collect::<datafusion::error::Result<Vec<_>>>();
    let made = made.map_err(internal)?;
    if made.iter().zip(&arguments).all(|(new, old)| Arc::ptr_eq(new, old)) {
        return Ok(function);
    }
    let order = function.order_bys().iter().map(|o| Arc::clone(&o.expr)).collect();
    let counted = function.with_new_expressions(made, order);
    counted.map(Arc::new).ok_or_else(|| Error::new(Code::Internal, "an aggregate refused its own arguments"))
}

/// The stream between the two phases of an aggregate.
pub fn between(plan: &Plan, node: &Node) -> Result<StreamSchema> {
    Ok(aggregate_spec(plan, node, Phase::Partial)?.output)
}

/// The operator of a node; `phase` matters for aggregates only. Expressions that fail on a row are counted.
pub fn operator(plan: &Plan, node: &Node, phase: Phase, failures: &Failures) -> Result<Box<dyn Operator>> {
    let physical = |expr: &Expr, schema: &SchemaRef| {
        physical(expr, schema).and_then(|e| failures.count_in(&e).map_err(internal))
    };
    let physical_all = |exprs: Vec<&Expr>, schema: &SchemaRef| -> Result<Vec<_>> {
        exprs.into_iter().map(|e| physical(e, schema)).collect()
    };
    let input = |port: usize| &plan.nodes[node.inputs[port]].stream;
    Ok(match &node.op {
        Op::Source(_) => return Err(Error::new(Code::Internal, "a source has no operator")),
        Op::Project { columns, times } => {
            let exprs = physical_all(columns.iter().map(|(e, _)| e).collect(), &input(0).schema)?;
            Box::new(Project::new(exprs, Arc::clone(&node.stream.schema), times.clone()))
        }
        Op::Filter(predicate) => Box::new(Filter::new(physical(predicate, &input(0).schema)?)),
        Op::Union => Box::new(Union::new(Arc::clone(&node.stream.schema))),
        Op::Detect { outer, detector, image, uri, residual } => Box::new(Detect::new(DetectSpec {
            detector: Arc::clone(detector),
            input: input(0).clone(),
            output: node.stream.clone(),
            image: physical(image, &input(0).schema)?,
            uri: uri.as_ref().map(|e| physical(e, &input(0).schema)).transpose()?,
            outer: *outer,
            residual: residual.as_ref().map(|e| physical(e, &node.stream.schema)).transpose()?,
        })?),
        Op::Aggregate { .. } => {
            let spec = counted(aggregate_spec(plan, node, phase)?, failures)?;
            Box::new(Aggregate::new(spec)?)
        }
        Op::Over { partition_by, order_time, functions } => {
            let schema = &input(0).schema;
            let functions = functions
                .iter()
                .map(|f| match f {
                    OverExpr::Aggregate { function, preceding } => {
                        let (function, filter) = aggregate_expr(function, schema)?;
                        let function = counted_function(function, failures)?;
                        let filter = filter.map(|f| failures.count_in(&f)).transpose().map_err(internal)?;
                        Ok(OverFunction::Aggregate { function, filter, preceding: *preceding })
                    }
                    OverExpr::Lag { value, n, default, preceding } => Ok(OverFunction::Lag {
                        value: physical(value, schema)?,
                        n: *n,
                        default: default.as_ref().map(|d| physical(d, schema)).transpose()?,
                        preceding: *preceding,
                    }),
                })
                .collect::<Result<Vec<_>>>()?;
            Box::new(Over::new(OverSpec {
                input: input(0).clone(),
                output: node.stream.clone(),
                partition_by: physical_all(partition_by.iter().collect(), schema)?,
                order_time: *order_time,
                functions,
            })?)
        }
        Op::IntervalJoin { outer, on, times, before, after, residual } => {
            Box::new(IntervalJoin::new(IntervalJoinSpec {
                left: input(0).clone(),
                right: input(1).clone(),
                output: node.stream.clone(),
                kind: kind(*outer),
                left_keys: physical_all(on.iter().map(|(l, _)| l).collect(), &input(0).schema)?,
                right_keys: physical_all(on.iter().map(|(_, r)| r).collect(), &input(1).schema)?,
                left_time: times.0,
                right_time: times.1,
                before: *before,
                after: *after,
                residual: residual.as_ref().map(|e| physical(e, &node.stream.schema)).transpose()?,
            })?)
        }
        Op::AsofJoin { outer, on, times, max_age, strict } => Box::new(AsofJoin::new(AsofJoinSpec {
            left: input(0).clone(),
            right: input(1).clone(),
            output: node.stream.clone(),
            kind: kind(*outer),
            left_keys: physical_all(on.iter().map(|(l, _)| l).collect(), &input(0).schema)?,
            right_keys: physical_all(on.iter().map(|(_, r)| r).collect(), &input(1).schema)?,
            left_time: times.0,
            right_time: times.1,
            max_age: *max_age,
            strict: *strict,
        })?),
        Op::ReferenceJoin { outer, on, relation, residual } => {
            let relation = &plan.relations[*relation];
            Box::new(ReferenceJoin::new(ReferenceJoinSpec {
                left: input(0).clone(),
                output: node.stream.clone(),
                kind: kind(*outer),
                left_keys: physical_all(on.iter().map(|(l, _)| l).collect(), &input(0).schema)?,
                right_keys: physical_all(on.iter().map(|(_, r)| r).collect(), &relation.schema)?,
                right_schema: Arc::clone(&relation.schema),
                right_order: relation.order.clone(),
                residual: residual.as_ref().map(|e| physical(e, &node.stream.schema)).transpose()?,
            })?)
        }
    })
}
