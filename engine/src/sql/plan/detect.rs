//! `detect()`: the one place where it may stand, and the node that it becomes.
//!
//! In:   an `INSERT INTO` whose FROM is a stream and `UNNEST(detect(image, 'model' [, uri]))`.
//! Out:  the same query as a join to a table of found things, whose condition holds the mark
//!       `__detect(image, 'model' [, uri])`; from that join an `Op::Detect`.
//! Owns: spelling and place. What is found is the detector's (`crate::detect`).
//!
//! | FROM | is |
//! |---|---|
//! | `frames AS f CROSS JOIN UNNEST(detect(…)) AS d`, or with a comma | a row for each found thing |
//! | `frames AS f INNER JOIN UNNEST(detect(…)) AS d ON condition` | a row for each that the condition keeps |
//! | `frames AS f LEFT JOIN UNNEST(detect(…)) AS d ON condition` | at least one row for each image: with NULLs where none is kept |
//!
//! `WITH ORDINALITY` adds the number of the found thing in its list, from 1. `model_sha256('model')` becomes
//! a constant.

use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::arrow::datatypes::{Field, Schema};
use datafusion::logical_expr::{Expr as Logical, Join as LogicalJoin, LogicalPlan};
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, Join,
    JoinConstraint, JoinOperator, ObjectName, Query, Select, SetExpr, Spanned, TableAlias, TableFactor,
    TableWithJoins, Value, VisitMut, VisitorMut, visit_expressions,
};
use weir_contract::{Code, Error, Result};

use super::build::{Builder, Rel, field, unique};
use super::expr::{and_all, bare, resolve};
use super::functions::DETECT;
use super::ir::{Node, NodeId, Op, Place};
use super::refuse::spot;
use super::stream::{OFFSET, PARTITION};
use crate::base::StreamSchema;
use crate::detect::Detectors;

/// Tables of found things, without and with `WITH ORDINALITY`.
pub const TABLES: [&str; 2] = ["__found", "__found_ordinality"];

const FORM: &str = "INSERT INTO detections SELECT … FROM frames AS f LEFT JOIN UNNEST(detect(f.image, 'model')) \
                    AS d ON …";

/// Columns of a found thing.
pub const FOUND: [&str; 7] = ["label", "confidence", "x1", "y1", "x2", "y2", "ordinality"];

/// The columns of one of [`TABLES`].
pub fn fields(table: &str) -> Vec<Field> {
    use datafusion::arrow::datatypes::DataType as D;
    let data_type = |name: &str| match name {
        "label" => D::Utf8,
        "ordinality" => D::Int64,
        _ => D::Float64,
    };
    let count = if table == TABLES[0] { FOUND.len() - 1 } else { FOUND.len() };
    FOUND[..count].iter().map(|name| field(name, data_type(name))).collect()
}

/// `detect()` where it may not stand.
pub fn misplaced(what: impl Into<String>) -> Error {
    Error::new(Code::DetectPlace, what).expected(FORM)
}

/// The name of a function, as the program knows it.
fn name_of(function: &Function) -> Option<String> {
    let [one] = function.name.0.as_slice() else { return None };
    let ident = one.as_ident()?;
    Some(if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() })
}

/// Whether an expression calls `detect()`.
pub fn is_detect(expr: &Expr) -> bool {
    matches!(expr, Expr::Function(f) if name_of(f).as_deref() == Some("detect"))
}

fn count(query: &Query) -> usize {
    let mut found = 0;
    let _ = visit_expressions(query, |e| {
        found += usize::from(is_detect(e));
        ControlFlow::<()>::Continue(())
    });
    found
}

/// A query without `UNNEST(detect(…))`, and the model that it had.
pub struct Rewritten {
    pub query: Query,
    /// None: only `model_sha256` was replaced, or nothing.
    pub model: Option<String>,
}

/// Brings the query of an `INSERT INTO` to the form that the planner knows.
///
/// # Errors
/// `W0213` where `detect()` stands in another form; those of the detectors.
pub fn rewrite(query: &Query, detectors: &dyn Detectors) -> Result<Rewritten> {
    let mut query = query.clone();
    let mut hashes = Hashes { detectors, failed: None };
    let _: ControlFlow<()> = VisitMut::visit(&mut query, &mut hashes);
    if let Some(error) = hashes.failed {
        return Err(error);
    }
    if count(&query) != 1 {
        // None, or more than one: what is wrong is said at its place by `refuse`.
        return Ok(Rewritten { query, model: None });
    }
    let SetExpr::Select(select) = query.body.as_mut() else { return Ok(Rewritten { query, model: None }) };
    let model = lifted(select)?;
    Ok(Rewritten { query, model })
}

/// Makes the join of a SELECT whose FROM has the form; None where it has another.
fn lifted(select: &mut Select) -> Result<Option<String>> {
    let second = select.from.get(1).filter(|item| item.joins.is_empty() && is_unnest(&item.relation));
    if select.from.len() == 2 && second.is_some() && select.from[0].joins.is_empty() {
        let TableWithJoins { relation, .. } = select.from.remove(1);
        let join_operator = JoinOperator::CrossJoin(JoinConstraint::None);
        select.from[0].joins.push(Join { relation, global: false, join_operator });
    }
    let [item] = select.from.as_mut_slice() else { return Ok(None) };
    let [join] = item.joins.as_mut_slice() else { return Ok(None) };
    if !is_unnest(&join.relation) {
        return Ok(None);
    }
    let (outer, condition) = match &join.join_operator {
        JoinOperator::CrossJoin(JoinConstraint::None) => (false, None),
        JoinOperator::Join(JoinConstraint::On(on)) | JoinOperator::Inner(JoinConstraint::On(on)) => {
            (false, Some(on.clone()))
        }
        JoinOperator::Left(JoinConstraint::On(on)) | JoinOperator::LeftOuter(JoinConstraint::On(on)) => {
            (true, Some(on.clone()))
        }
        _ => {
            let error = misplaced("UNNEST(detect(…)) takes CROSS JOIN, or JOIN and LEFT JOIN with ON");
            return Err(match spot(join.relation.span()) {
                Some(place) => error.at(place),
                None => error,
            });
        }
    };
    let TableFactor::UNNEST { alias, array_exprs, with_offset, with_ordinality, .. } = &join.relation else {
        return Ok(None);
    };
    let ([Expr::Function(call)], false) = (array_exprs.as_slice(), *with_offset) else { return Ok(None) };
    let model = model_of(call)?;
    let table = TABLES[usize::from(*with_ordinality)];
    let alias = alias.clone().unwrap_or_else(|| TableAlias {
        explicit: false,
        name: Ident::new("unnest"),
        columns: vec![],
        at: None,
    });
    let mut mark = call.clone();
    mark.name = ObjectName::from(vec![Ident::new(DETECT)]);
    let mark = Expr::Function(mark);
    let on = match condition {
        None => mark,
        Some(condition) => Expr::BinaryOp {
            left: Box::new(mark),
            op: BinaryOperator::And,
            right: Box::new(Expr::Nested(Box::new(condition))),
        },
    };
    let on = JoinConstraint::On(on);
    join.relation = named(table, alias);
    join.join_operator = if outer { JoinOperator::Left(on) } else { JoinOperator::Inner(on) };
    Ok(Some(model))
}

fn named(table: &str, alias: TableAlias) -> TableFactor {
    TableFactor::Table {
        name: ObjectName::from(vec![Ident::new(table)]),
        alias: Some(alias),
        args: None,
        with_hints: vec![],
        version: None,
        with_ordinality: false,
        partitions: vec![],
        json_path: None,
        sample: None,
        index_hints: vec![],
    }
}

fn is_unnest(factor: &TableFactor) -> bool {
    matches!(factor, TableFactor::UNNEST { array_exprs, .. } if matches!(array_exprs.as_slice(), [one] if is_detect(one)))
}

/// The second argument, which has to be a text as it stands.
fn model_of(call: &Function) -> Result<String> {
    let wrong = |what: &str| {
        let error = misplaced(what).expected("detect(image, 'model') or detect(image, 'model', uri)");
        match spot(Expr::Function(call.clone()).span()) {
            Some(place) => error.at(place),
            None => error,
        }
    };
    let FunctionArguments::List(list) = &call.args else { return Err(wrong("detect() has no arguments")) };
    if !(2..=3).contains(&list.args.len()) || call.over.is_some() || call.filter.is_some() {
        return Err(wrong("detect() takes an image, a model and, where images may be stored, a uri"));
    }
    text_of(&list.args[1]).ok_or_else(|| wrong("the model of detect() is no constant text"))
}

fn text_of(argument: &FunctionArg) -> Option<String> {
    let FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(value))) = argument else { return None };
    match &value.value {
        Value::SingleQuotedString(text) => Some(text.clone()),
        _ => None,
    }
}

/// Puts constants for `model_sha256('model')`.
struct Hashes<'a> {
    detectors: &'a dyn Detectors,
    failed: Option<Error>,
}

impl VisitorMut for Hashes<'_> {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let Expr::Function(call) = expr else { return ControlFlow::Continue(()) };
        if name_of(call).as_deref() != Some("model_sha256") {
            return ControlFlow::Continue(());
        }
        let model = match &call.args {
            FunctionArguments::List(list) if list.args.len() == 1 => text_of(&list.args[0]),
            _ => None,
        };
        let found = match model {
            Some(model) => self.detectors.open(&model).map(|d| d.sha256().to_owned()),
            None => {
                Err(misplaced("model_sha256() takes one constant text").expected("model_sha256('model')"))
            }
        };
        match found {
            Ok(hash) => *expr = Expr::value(Value::SingleQuotedString(hash)),
            Err(error) => {
                let error = match spot(expr.span()) {
                    Some(place) => error.or_at(place),
                    None => error,
                };
                self.failed.get_or_insert(error);
            }
        }
        ControlFlow::Continue(())
    }
}

/// The mark and its arguments, where an expression is one.
pub fn mark(expr: &Logical) -> Option<&[Logical]> {
    match bare(expr) {
        Logical::ScalarFunction(f) if f.name() == DETECT => Some(&f.args),
        _ => None,
    }
}

/// Which columns of a found thing a subplan has; None where it is no plain reading of one of [`TABLES`].
fn found_columns(plan: &LogicalPlan) -> Option<Vec<usize>> {
    match plan {
        LogicalPlan::TableScan(scan) if TABLES.contains(&scan.table_name.table()) => {
            let all = || (0..scan.source.schema().fields().len()).collect();
            Some(scan.projection.clone().unwrap_or_else(all))
        }
        LogicalPlan::SubqueryAlias(alias) => found_columns(&alias.input),
        LogicalPlan::Projection(projection) => {
            let below = found_columns(&projection.input)?;
            let schema = projection.input.schema();
            let one = |e: &Logical| match bare(e) {
                Logical::Column(c) => below.get(schema.index_of_column(c).ok()?).copied(),
                _ => None,
            };
            projection.expr.iter().map(one).collect()
        }
        _ => None,
    }
}

impl Builder<'_> {
    /// The join that `rewrite` made; `arguments` are those of the mark, `rest` the other conditions.
    pub fn detect(
        &mut self,
        join: &LogicalJoin,
        outer: bool,
        arguments: &[Logical],
        rest: Vec<Logical>,
    ) -> Result<Rel> {
        let internal = |what: &str| Error::new(Code::Internal, format!("the planner lost {what}"));
        let detector = self.detector.clone().ok_or_else(|| internal("a detector"))?;
        let found = found_columns(&join.right).ok_or_else(|| internal("the columns of what is found"))?;
        let left = self.build(&join.left)?;
        let left = self.prune(left, &[])?;
        let base = self.node(left.node).clone();
        let schema = &base.stream.schema;
        let positions = [PARTITION, OFFSET].iter().all(|name| schema.index_of(name).is_ok());
        if base.place != Place::Task || !positions || !self.one_row_a_record(left.node) {
            return Err(misplaced("detect() looks at the records of a stream, not at what was made of them"));
        }
        let over = |e: &Logical| resolve(e, join.left.schema(), &left.map, schema);
        let image = arguments.first().map(over).ok_or_else(|| internal("an image"))??;
        let uri = arguments.get(2).map(over).transpose()?;
        let width = schema.fields().len();
        let columns = fields(TABLES[1]);
        let all = || schema.fields().iter().map(AsRef::as_ref).chain(&columns);
        let names = unique(all().map(|f: &Field| f.name().clone()));
        let fields: Vec<Field> =
            all().zip(&names).map(|(f, name)| field(name, f.data_type().clone())).collect();
        let joined = Arc::new(Schema::new(fields));
        let stream = StreamSchema {
            schema: Arc::clone(&joined),
            order: base.stream.order.iter().copied().chain([width + FOUND.len() - 1]).collect(),
            ..base.stream.clone()
        };
        let map: Vec<usize> = left.map.iter().copied().chain(found.iter().map(|c| c + width)).collect();
        let mut conditions = rest;
        conditions.extend(join.on.iter().map(|(l, r)| l.clone().eq(r.clone())));
        let residual = and_all(conditions).map(|e| resolve(&e, &join.schema, &map, &joined)).transpose()?;
        let residual = residual.filter(|e| *e != datafusion::logical_expr::lit(true));
        let node = self.add(Node {
            op: Op::Detect { outer, detector, image, uri, residual },
            inputs: vec![left.node],
            exchange: vec![None],
            stream,
            ..base
        });
        Ok(Rel { node, map })
    }

    /// Whether a record's position names a row: a join could give several of one record.
    fn one_row_a_record(&self, node: NodeId) -> bool {
        let node = self.node(node);
        matches!(node.op, Op::Source(_) | Op::Project { .. } | Op::Filter(_))
            && node.inputs.iter().all(|input| self.one_row_a_record(*input))
    }

    /// Images stay where they are: a detection that carried its own would hold it once for each found thing.
    pub fn refuse_images(&self, rel: &Rel) -> Result<()> {
        let node = self.node(rel.node);
        for column in &rel.map {
            let field = node.stream.schema.field(*column);
            if *field.data_type() == datafusion::arrow::datatypes::DataType::Binary {
                let what = format!("`{}` is BYTEA: it would stand in every row of its image", field.name());
                return Err(misplaced(what).expected("frame_id or frame_uri"));
            }
        }
        Ok(())
    }
}
