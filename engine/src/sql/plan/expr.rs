//! Expressions of a plan: columns by unique names, event time through them, refusals.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, DFSchemaRef, ScalarValue};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    BinaryExpr, Cast, Expr, ExprSchemable, LogicalPlan, Operator, TryCast, Volatility,
};
use weir_contract::{Code, Error, Result, Span};

use super::functions::{ASOF, DETECT, HOP, TUMBLE};
use super::ir::Node;

pub use super::errors::plan_error;

/// Removes aliases at the top.
pub fn bare(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => bare(&alias.expr),
        other => other,
    }
}

/// An unqualified column by name; never parsed as SQL.
pub fn column(name: impl Into<String>) -> Expr {
    Expr::Column(Column::new_unqualified(name))
}

/// The conjuncts of a predicate.
pub fn conjuncts(predicate: &Expr) -> Vec<Expr> {
    datafusion::logical_expr::utils::split_conjunction(predicate).into_iter().cloned().collect()
}

pub fn and_all(parts: Vec<Expr>) -> Option<Expr> {
    datafusion::logical_expr::utils::conjunction(parts)
}

/// Rewrites an expression over a logical node's columns into one over a plan node's names, with the
/// parts that can fail on a row made NULL instead: casts become TRY_CAST, integer division and
/// modulo divide by NULLIF(divisor, 0).
pub fn resolve(expr: &Expr, from: &DFSchema, map: &[usize], names: &SchemaRef) -> Result<Expr> {
    let renamed = bare(expr)
        .clone()
        .transform(|e| match e {
            Expr::Column(c) => {
                let index = from.index_of_column(&c)?;
                Ok(Transformed::yes(column(names.field(map[index]).name())))
            }
            Expr::Alias(alias) => Ok(Transformed::yes(*alias.expr)),
            other => Ok(Transformed::no(other)),
        })
        .map_err(plan_error)?
        .data;
    let mark = renamed.exists(|e| Ok(window_call(e).is_some())).map_err(plan_error)?;
    if mark {
        return Err(Error::new(Code::Plan, "a window (`tumble`, `hop`) stands where it is not grouped by")
            .expected("tumble(…) or hop(…) in GROUP BY, and the same in SELECT"));
    }
    soften(renamed, names)
}

fn soften(expr: Expr, schema: &SchemaRef) -> Result<Expr> {
    let df = DFSchema::try_from(Arc::clone(schema)).map_err(plan_error)?;
    let softened = expr.transform_up(|e| match e {
        Expr::Cast(Cast { expr, field }) if !matches!(*expr, Expr::Literal(..)) => {
            Ok(Transformed::yes(Expr::TryCast(TryCast { expr, field })))
        }
        Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::Divide | Operator::Modulo), right })
            if right.get_type(&df)?.is_integer()
                && !matches!(&*right, Expr::Literal(v, _) if !is_zero(v)) =>
        {
            let zero = ScalarValue::new_zero(&right.get_type(&df)?)?;
            let guarded = Expr::ScalarFunction(ScalarFunction::new_udf(
                datafusion::functions::core::nullif(),
                vec![*right, Expr::Literal(zero, None)],
            ));
            Ok(Transformed::yes(Expr::BinaryExpr(BinaryExpr { left, op, right: Box::new(guarded) })))
        }
        other => Ok(Transformed::no(other)),
    });
    Ok(softened.map_err(plan_error)?.data)
}

fn is_zero(value: &ScalarValue) -> bool {
    value.is_null() || ScalarValue::new_zero(&value.data_type()).is_ok_and(|zero| zero == *value)
}

/// The type of a resolved expression.
pub fn type_of(expr: &Expr, schema: &SchemaRef) -> Result<DataType> {
    let df = DFSchema::try_from(Arc::clone(schema)).map_err(plan_error)?;
    expr.get_type(&df).map_err(plan_error)
}

/// The index of a column that an expression plainly is.
pub fn plain_column(expr: &Expr, schema: &SchemaRef) -> Option<usize> {
    match bare(expr) {
        Expr::Column(c) => schema.index_of(&c.name).ok(),
        _ => None,
    }
}

/// A constant interval in microseconds; None where it has months or is none.
pub fn interval_us(value: &ScalarValue) -> Option<Span> {
    match value {
        ScalarValue::IntervalMonthDayNano(Some(v)) if v.months == 0 && v.nanoseconds % 1000 == 0 => {
            Some(i64::from(v.days) * 86_400_000_000 + v.nanoseconds / 1000)
        }
        ScalarValue::IntervalDayTime(Some(v)) => {
            Some(i64::from(v.days) * 86_400_000_000 + i64::from(v.milliseconds) * 1000)
        }
        ScalarValue::DurationMicrosecond(Some(v)) => Some(*v),
        _ => None,
    }
}

/// The constant interval that an expression is.
pub fn literal_interval(expr: &Expr) -> Option<Span> {
    match bare(expr) {
        Expr::Literal(value, _) => interval_us(value),
        Expr::Negative(inner) => literal_interval(inner).map(|v| -v),
        Expr::Cast(Cast { expr, .. }) | Expr::TryCast(TryCast { expr, .. }) => literal_interval(expr),
        _ => None,
    }
}

/// Event time of an expression: the entry of the node's `times` and a constant added to it.
pub fn time_of(expr: &Expr, node: &Node) -> Option<(usize, Span)> {
    match bare(expr) {
        Expr::Column(c) => {
            let index = node.stream.schema.index_of(&c.name).ok()?;
            node.stream.times.iter().position(|t| *t == index).map(|t| (t, 0))
        }
        Expr::ScalarFunction(f) if f.name() == "get_field" && f.args.len() == 2 => {
            let Expr::Literal(field, _) = bare(&f.args[1]) else { return None };
            let index = plain_column(&f.args[0], &node.stream.schema)?;
            let (_, time) = node.windows.iter().find(|(column, _)| *column == index)?;
            (field.try_as_str().flatten() == Some("end")).then_some((*time, 1))
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Plus, right }) => {
            let (time, by) = time_of(left, node)?;
            Some((time, by + literal_interval(right)?))
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Minus, right }) => {
            let (time, by) = time_of(left, node)?;
            Some((time, by - literal_interval(right)?))
        }
        Expr::Cast(Cast { expr, field }) | Expr::TryCast(TryCast { expr, field })
            if *field.data_type() == super::functions::time_type() =>
        {
            time_of(expr, node)
        }
        _ => None,
    }
}

/// The mark function that an expression calls, with its arguments.
pub fn window_call(expr: &Expr) -> Option<(&str, &[Expr])> {
    match bare(expr) {
        Expr::ScalarFunction(f) if matches!(f.name(), TUMBLE | HOP) => Some((f.name(), &f.args)),
        _ => None,
    }
}

pub fn is_asof(expr: &Expr) -> bool {
    matches!(bare(expr), Expr::ScalarFunction(f) if f.name() == ASOF)
}

/// Refuses what no rule may hold: functions of the clock or of chance, subqueries in expressions.
pub fn refuse_impure(plan: &LogicalPlan) -> Result<()> {
    let mut found = None;
    let seen = plan.apply(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|e| {
                let refusal = match e {
                    Expr::ScalarFunction(f) if matches!(f.name(), TUMBLE | HOP | ASOF | DETECT) => None,
                    Expr::ScalarFunction(f) if f.func.signature().volatility != Volatility::Immutable => {
                        Some(
                            Error::new(
                                Code::NotImmutable,
                                format!("{}() depends on the wall clock or on chance", f.name()),
                            )
                            .expected(
                                "event-time columns; the time of an evaluation is the rule's event_time",
                            ),
                        )
                    }
                    Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_) => Some(
                        Error::new(Code::NotYet, "subqueries inside expressions are not there yet")
                            .expected("a join, or a view that is joined"),
                    ),
                    _ => None,
                };
                if refusal.is_some() {
                    found = refusal;
                    return Ok(TreeNodeRecursion::Stop);
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    });
    seen.map_err(plan_error)?;
    found.map_or(Ok(()), Err)
}

/// Whether all columns of an expression are in a schema.
pub fn within(expr: &Expr, schema: &DFSchemaRef) -> bool {
    expr.column_refs().iter().all(|c| schema.has_column(c))
}
