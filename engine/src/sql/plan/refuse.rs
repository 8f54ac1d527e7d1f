//! What the dialect does not have, refused at the word that asks for it, before anything is planned.
//!
//! In:   a query as it was written, and what its names mean.
//! Out:  nothing, or the first refusal: what, where, what to write instead.
//! Owns: forms that no query over a stream may have, and names of tables. What depends on columns and on
//!       their event time is the planner's.
//!
//! Reference tables end at each of their versions: a query that reads nothing else may sort, drop copies
//! and join as it likes.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Distinct, Expr, Function, GroupByExpr, Ident, JoinConstraint, JoinOperator, LimitClause,
    ObjectName, Query, Select, SetExpr, SetOperator, SetQuantifier, Spanned, TableFactor, TableWithJoins,
    Visit, Visitor, visit_relations,
};
use datafusion::sql::sqlparser::tokenizer::Span;
use weir_contract::{Code, Error, Place, Result};

use super::detect::{is_detect, misplaced};
use crate::sql::nearest::suggest;

/// What names stand for.
pub struct Names<'a> {
    /// Source tables and views over them.
    pub streams: &'a BTreeSet<String>,
    /// Reference tables, constant tables and views over them.
    pub references: &'a BTreeSet<String>,
    /// Tables that are written.
    pub sinks: &'a BTreeSet<String>,
}

/// A place in the file of the statement at hand; whoever knows the file fills it in.
pub fn spot(span: Span) -> Option<Place> {
    let start = span.start;
    (start.line > 0).then(|| Place::Script { file: String::new(), line: start.line, column: start.column })
}

/// Refuses the first thing that the query may not have.
///
/// # Errors
/// `W0202` for a table that is not there, `W0208`, `W0209`, `W0210` for a form or function.
pub fn refuse(query: &Query, names: &Names<'_>) -> Result<()> {
    let mut ctes = BTreeMap::new();
    let _ = query.visit(&mut Ctes(&mut ctes));
    let mut walk = Walk { names, ctes: &ctes, inside: Vec::new(), found: Vec::new() };
    let _ = query.visit(&mut walk);
    let at = |e: &Error| match e.place() {
        Some(Place::Script { line, column, .. }) => (*line, *column),
        _ => (u64::MAX, 0),
    };
    walk.found.into_iter().min_by_key(at).map_or(Ok(()), Err)
}

struct Ctes<'a>(&'a mut BTreeMap<String, Query>);

impl Visitor for Ctes<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        for cte in query.with.iter().flat_map(|w| &w.cte_tables) {
            self.0.insert(folded(&cte.alias.name), (*cte.query).clone());
        }
        ControlFlow::Continue(())
    }
}

fn folded(ident: &Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() }
}

/// A table's name as the program knows it.
fn table_of(name: &ObjectName) -> String {
    name.0.iter().filter_map(|p| p.as_ident()).map(folded).collect::<Vec<_>>().join(".")
}

struct Walk<'a> {
    names: &'a Names<'a>,
    ctes: &'a BTreeMap<String, Query>,
    /// For each SELECT around the place at hand: whether it reads a stream.
    inside: Vec<bool>,
    found: Vec<Error>,
}

fn not_yet(what: &str, instead: &str) -> Error {
    Error::new(Code::NotYet, what).expected(instead)
}

fn unbounded_state(what: &str, instead: &str) -> Error {
    Error::new(Code::Unbounded, what).expected(instead)
}

impl Walk<'_> {
    fn add(&mut self, error: Error, span: Span) {
        self.found.push(match spot(span) {
            Some(place) => error.at(place),
            None => error,
        });
    }

    /// Whether a part of the query reads a stream.
    fn streams(&self, part: &impl Visit) -> bool {
        let mut open = Vec::new();
        let mut seen = BTreeSet::new();
        relations(part, &mut open);
        while let Some(name) = open.pop() {
            if !seen.insert(name.clone()) {
                continue;
            }
            match self.ctes.get(&name) {
                Some(query) => relations(query, &mut open),
                None if self.names.streams.contains(&name) => return true,
                None => {}
            }
        }
        false
    }

    fn query(&mut self, query: &Query) {
        if let Some(with) = query.with.as_ref().filter(|w| w.recursive) {
            let what = "WITH RECURSIVE over a stream would never end";
            self.add(unbounded_state(what, "WITH without RECURSIVE"), with.with_token.0.span);
        }
        if !self.streams(query) {
            return;
        }
        if let Some(order) = &query.order_by {
            let what = "ORDER BY of a stream has no end to wait for";
            self.add(not_yet(what, "ORDER BY inside OVER or inside an aggregate"), order.span());
        }
        let limit = query.limit_clause.as_ref().map(|clause| match clause {
            LimitClause::LimitOffset { limit, .. } => {
                limit.as_ref().map_or_else(|| clause.span(), Spanned::span)
            }
            LimitClause::OffsetCommaLimit { offset, .. } => offset.span(),
        });
        if let Some(span) = limit.or_else(|| query.fetch.as_ref().map(Spanned::span)) {
            let what = "LIMIT and OFFSET of a stream are not there yet";
            let span = if span.start.line == 0 { query.body.span() } else { span };
            self.add(not_yet(what, "WHERE, or a window and an aggregate"), span);
        }
        if let Some(lock) = query.locks.first() {
            let span = lock.of.as_ref().map_or_else(|| query.body.span(), Spanned::span);
            self.add(not_yet("a stream's rows cannot be locked", "the query without FOR"), span);
        }
        self.sets(&query.body);
    }

    fn sets(&mut self, body: &SetExpr) {
        let SetExpr::SetOperation { left, op, set_quantifier, right } = body else { return };
        let kept = matches!(set_quantifier, SetQuantifier::All);
        match op {
            SetOperator::Union if kept => {}
            SetOperator::Union => {
                let what = "UNION without ALL drops copies: it would keep every row for ever";
                self.add(
                    unbounded_state(what, "UNION ALL, and GROUP BY with an event-time column"),
                    right.span(),
                );
            }
            other => {
                let what = format!("{other} would keep every row for ever");
                self.add(unbounded_state(&what, "an interval join, inner or left"), right.span());
            }
        }
        self.sets(left);
        self.sets(right);
    }

    fn select(&mut self, select: &Select) {
        let head = select.select_token.0.span;
        if let Some(qualify) = &select.qualify {
            self.add(not_yet("QUALIFY is not there yet", "WHERE over a subquery"), qualify.span());
        }
        if select.from.is_empty() {
            self.add(not_yet("a SELECT without FROM has no stream to read", "FROM a stream or view"), head);
        }
        if self.inside.last() != Some(&true) {
            return;
        }
        match &select.distinct {
            Some(Distinct::Distinct) => {
                let what = "DISTINCT over a stream would keep every row for ever";
                self.add(unbounded_state(what, "GROUP BY with an event-time column or a window"), head);
            }
            Some(Distinct::On(columns)) => {
                let what = "DISTINCT ON over a stream would keep every row for ever";
                let span = columns.first().map_or(head, Spanned::span);
                let instead = "first_value(… ORDER BY …) in GROUP BY with an event-time column or a window";
                self.add(unbounded_state(what, instead), span);
            }
            _ => {}
        }
        if let GroupByExpr::All(_) = &select.group_by {
            self.add(not_yet("GROUP BY ALL is not there yet", "the keys by name"), head);
        }
        if let GroupByExpr::Expressions(keys, _) = &select.group_by
            && let Some(set) =
                keys.iter().find(|k| matches!(k, Expr::Cube(_) | Expr::Rollup(_) | Expr::GroupingSets(_)))
        {
            self.add(not_yet("grouping sets are not there yet", "one GROUP BY a set, UNION ALL"), set.span());
        }
        for item in &select.from {
            self.joins(item);
        }
        if let Some(second) = select.from.get(1).filter(|second| !is_unnest(&second.relation)) {
            self.add(crossing(), second.relation.span());
        }
    }

    fn joins(&mut self, item: &TableWithJoins) {
        // What is wrong with UNNEST is said of it, not of the way it is joined.
        for join in item.joins.iter().filter(|join| !is_unnest(&join.relation)) {
            let refused = match &join.join_operator {
                JoinOperator::Right(_)
                | JoinOperator::RightOuter(_)
                | JoinOperator::RightSemi(_)
                | JoinOperator::RightAnti(_) => {
                    not_yet("RIGHT joins are not there yet", "the other side first, and LEFT JOIN")
                }
                JoinOperator::FullOuter(_) => not_yet(
                    "FULL joins are not there yet",
                    "two LEFT JOINs, the second with WHERE … IS NULL, and UNION ALL",
                ),
                JoinOperator::Semi(_) | JoinOperator::LeftSemi(_) => not_yet(
                    "SEMI JOIN is not there yet",
                    "LEFT JOIN, GROUP BY an event-time column, HAVING count(b.column) > 0",
                ),
                JoinOperator::Anti(_) | JoinOperator::LeftAnti(_) => {
                    not_yet("ANTI JOIN is not there yet", "LEFT JOIN … WHERE b.column IS NULL")
                }
                JoinOperator::CrossJoin(_) | JoinOperator::CrossApply | JoinOperator::OuterApply => {
                    crossing()
                }
                JoinOperator::Join(c)
                | JoinOperator::Inner(c)
                | JoinOperator::Left(c)
                | JoinOperator::LeftOuter(c)
                    if matches!(c, JoinConstraint::Natural | JoinConstraint::None) =>
                {
                    not_yet("a join says in ON what belongs together", "JOIN b ON a.key = b.key AND …")
                }
                JoinOperator::StraightJoin(_)
                | JoinOperator::ArrayJoin
                | JoinOperator::LeftArrayJoin
                | JoinOperator::InnerArrayJoin => {
                    not_yet("there is no such join", "JOIN, LEFT JOIN, ASOF JOIN or ASOF LEFT JOIN")
                }
                _ => continue,
            };
            self.add(refused, join.relation.span());
        }
    }

    fn factor(&mut self, factor: &TableFactor) {
        let word = |what: &str| {
            not_yet(&format!("{what} in FROM is not there yet"), "a table, a view or a subquery")
        };
        let refused = match factor {
            TableFactor::Table { name, args: None, sample: None, .. } => return self.table(name),
            TableFactor::Table { args: None, .. } => word("TABLESAMPLE"),
            TableFactor::Derived { lateral: false, sample: None, .. } | TableFactor::NestedJoin { .. } => {
                return;
            }
            TableFactor::Derived { lateral: true, .. } => word("LATERAL"),
            // `detect` says where it may stand.
            TableFactor::UNNEST { array_exprs, .. } if array_exprs.iter().any(is_detect) => return,
            TableFactor::UNNEST { .. } => word("unnest"),
            TableFactor::Table { name, .. } | TableFactor::Function { name, .. } => {
                word(&format!("a table function ({name})"))
            }
            TableFactor::Pivot { .. } | TableFactor::Unpivot { .. } => word("PIVOT"),
            TableFactor::MatchRecognize { .. } => word("MATCH_RECOGNIZE"),
            _ => word("this form"),
        };
        self.add(refused, factor.span());
    }

    fn table(&mut self, name: &ObjectName) {
        let table = table_of(name);
        let known = |set: &BTreeSet<String>| set.contains(&table);
        if known(self.names.streams) || known(self.names.references) || self.ctes.contains_key(&table) {
            return;
        }
        let error = if known(self.names.sinks) {
            let what = format!("`{table}` is written, not read");
            Error::new(Code::NotEventTime, what)
                .expected("a WATERMARK in its CREATE TABLE, to read it as a stream")
        } else {
            let all = self.names.streams.iter().chain(self.names.references).chain(self.ctes.keys());
            let all: Vec<&str> = all.map(String::as_str).filter(|n| !n.starts_with("__")).collect();
            Error::new(Code::UnknownName, format!("there is no table or view `{table}`"))
                .expected(suggest(&table, all))
        };
        self.add(error, name.span());
    }

    fn expression(&mut self, expr: &Expr) {
        let refused = match expr {
            Expr::Function(function) => match function_refused(function) {
                Some((refused, Where::Anywhere)) => refused,
                Some((refused, Where::Streams)) if self.inside.last() == Some(&true) => refused,
                _ => return,
            },
            Expr::BinaryOp { op, .. } => match op {
                BinaryOperator::Arrow
                | BinaryOperator::LongArrow
                | BinaryOperator::HashArrow
                | BinaryOperator::HashLongArrow
                | BinaryOperator::HashMinus
                | BinaryOperator::AtQuestion
                | BinaryOperator::AtAt
                | BinaryOperator::Question
                | BinaryOperator::QuestionAnd
                | BinaryOperator::QuestionPipe => json(&op.to_string()),
                _ => return,
            },
            Expr::JsonAccess { .. } => json(":"),
            Expr::Subquery(_) | Expr::InSubquery { .. } | Expr::Exists { .. } => subquery(),
            Expr::AnyOp { right, .. } | Expr::AllOp { right, .. } if matches!(**right, Expr::Subquery(_)) => {
                subquery()
            }
            _ => return,
        };
        self.add(refused, expr.span());
    }
}

fn is_unnest(factor: &TableFactor) -> bool {
    matches!(factor, TableFactor::UNNEST { .. })
}

fn subquery() -> Error {
    not_yet("subqueries inside expressions are not there yet", "a join, or a view that is joined")
}

fn json(operator: &str) -> Error {
    not_yet(
        &format!("the JSON operator {operator} is not there yet"),
        "the fields as columns of the table: STRUCT<…>, arrays",
    )
}

fn crossing() -> Error {
    unbounded_state(
        "a join of everything with everything would keep both sides for ever",
        "JOIN … ON with an equality, and between two streams a time condition",
    )
}

/// Functions that read a clock or chance, by any of their names.
const IMPURE: [&str; 17] = [
    "now",
    "current_timestamp",
    "current_date",
    "current_time",
    "localtime",
    "localtimestamp",
    "today",
    "clock_timestamp",
    "statement_timestamp",
    "transaction_timestamp",
    "proctime",
    "random",
    "rand",
    "setseed",
    "uuid",
    "gen_random_uuid",
    "uuidv7",
];
/// Aggregates whose state would hold every row in order.
const HOLDS_ALL: [&str; 9] = [
    "array_agg",
    "string_agg",
    "nth_value",
    "median",
    "approx_median",
    "approx_percentile_cont",
    "approx_percentile_cont_with_weight",
    "percentile_cont",
    "quantile_cont",
];

/// Where a function is refused.
enum Where {
    Anywhere,
    /// In a SELECT that reads a stream.
    Streams,
}

fn function_refused(function: &Function) -> Option<(Error, Where)> {
    let name = match function.name.0.as_slice() {
        [one] => folded(one.as_ident()?),
        _ => return None,
    };
    let over = function.over.is_some();
    let refused = match name.as_str() {
        n if IMPURE.contains(&n) => {
            let what = format!("{n} depends on the wall clock or on chance");
            let instead = "event-time columns; the time of an evaluation is the rule's event_time";
            (Error::new(Code::NotImmutable, what).expected(instead), Where::Anywhere)
        }
        "session" => {
            let instead = "tumble(size) or hop(slide, size); a gap is ts - lag(ts) OVER (…)";
            (not_yet("session windows are not there yet", instead), Where::Anywhere)
        }
        "cumulate" => {
            let instead = "tumble(size) or hop(slide, size)";
            (not_yet("cumulate windows are not there yet", instead), Where::Anywhere)
        }
        "detect" | "model_sha256" => {
            let what = format!(
                "{name}() stands in an INSERT INTO of its own program, beside one stream, and nowhere else"
            );
            (misplaced(what), Where::Anywhere)
        }
        "unnest" => {
            let instead = "one record an element, made by the source";
            (not_yet("unnest() is not there yet", instead), Where::Streams)
        }
        "row_number" | "rank" | "dense_rank" | "percent_rank" | "cume_dist" | "ntile" if over => {
            let instead = "max, min or first_value(… ORDER BY …) in GROUP BY with a window";
            (not_yet(&format!("{name}() and Top-N are not there yet"), instead), Where::Streams)
        }
        "lead" if over => (
            not_yet("lead() waits for rows to come, and is not there yet", "lag(…) OVER (…)"),
            Where::Streams,
        ),
        "first_value" | "last_value" if over => {
            let instead = "lag, or an aggregate; first_value in GROUP BY";
            (not_yet(&format!("{name}() in OVER is not there yet"), instead), Where::Streams)
        }
        n if HOLDS_ALL.contains(&n) => {
            let instead = "count, sum, avg, min, max, first_value, last_value, …";
            (not_yet(&format!("{n}() is not there yet"), instead), Where::Streams)
        }
        _ => return None,
    };
    Some(refused)
}

fn relations(part: &impl Visit, into: &mut Vec<String>) {
    let _ = visit_relations(part, |name| {
        into.push(table_of(name));
        ControlFlow::<()>::Continue(())
    });
}

impl Visitor for Walk<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        self.query(query);
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        self.inside.push(self.streams(&select.from));
        self.select(select);
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, _: &Select) -> ControlFlow<()> {
        self.inside.pop();
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        self.factor(factor);
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        self.expression(expr);
        ControlFlow::Continue(())
    }
}
