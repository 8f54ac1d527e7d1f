//! `ASOF JOIN` in both spellings, brought to one form that the planner knows.
//!
//! In:   a statement's tokens, then its query.
//! Out:  an inner or left join whose condition is `__asof() AND (…)`.
//! Owns: the spelling only. What an as-of join means, and which conditions it takes, is the planner's.
//!
//! DuckDB's `a ASOF [LEFT|INNER] JOIN b ON cond` is not known to sqlparser: the word `ASOF` is taken out of
//! the tokens and `__asof() AND` put behind `ON`, so that no other token moves; the query then has the mark
//! as the leftmost leaf of the condition, and [`mark`] lifts it to the top. Snowflake's
//! `a ASOF JOIN b MATCH_CONDITION (x >= y) [ON cond]` is sqlparser's own; it keeps rows of `a` without a
//! match, so it becomes a left join.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Function, FunctionArgumentList, FunctionArguments, Ident, Join, JoinConstraint,
    JoinOperator, ObjectName, Query, Select, TableFactor, VisitMut, VisitorMut,
};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};
use weir_contract::{Code, Error, Result};

use super::text::{Piece, is_word};

/// The function name that marks an as-of join's condition; it has no arguments.
pub const ASOF: &str = "__asof";

/// Rewrites DuckDB's spelling in a statement's tokens.
pub(super) fn rewrite_tokens(piece: &mut Piece<'_>) -> Result<()> {
    if !piece.tokens.iter().any(|t| is_word(&t.token, "ASOF")) {
        return Ok(());
    }
    let solid: Vec<usize> =
        (0..piece.tokens.len()).filter(|&i| !matches!(piece.tokens[i].token, Token::Whitespace(_))).collect();
    let word = |n: usize, w: &str| solid.get(n).is_some_and(|&i| is_word(&piece.tokens[i].token, w));
    let (mut dropped, mut marked) = (Vec::new(), Vec::new());
    for n in 0..solid.len() {
        if !word(n, "ASOF") {
            continue;
        }
        let place = piece.source.place(piece.tokens[solid[n]].span.start);
        let sided =
            word(n + 1, "LEFT") || word(n + 1, "INNER") || word(n + 1, "RIGHT") || word(n + 1, "FULL");
        let join = n + 1 + usize::from(sided) + usize::from(sided && word(n + 2, "OUTER"));
        if !word(join, "JOIN") {
            continue; // an ordinary name
        }
        if word(n + 1, "RIGHT") || word(n + 1, "FULL") {
            return Err(Error::new(Code::NotYet, "an as-of join keeps rows of its left side only")
                .at(place)
                .expected("ASOF JOIN or ASOF LEFT JOIN"));
        }
        match join_condition(piece, &solid, join + 1) {
            Some(Condition::On(on)) => {
                dropped.push(solid[n]);
                marked.push(solid[on]);
            }
            Some(Condition::Match) => {}
            None => {
                return Err(Error::new(Code::Syntax, "an as-of join has no ON of its own")
                    .at(place)
                    .expected(
                        "a ASOF [LEFT] JOIN b ON a.k = b.k AND a.ts >= b.ts AND b.ts >= a.ts - INTERVAL '…'",
                    ));
            }
        }
    }
    let mut tokens = Vec::with_capacity(piece.tokens.len() + 4 * marked.len());
    for (i, token) in std::mem::take(&mut piece.tokens).into_iter().enumerate() {
        let span = token.span;
        if !dropped.contains(&i) {
            tokens.push(token);
        }
        if marked.contains(&i) {
            let mark =
                [Token::make_word(ASOF, None), Token::LParen, Token::RParen, Token::make_keyword("AND")];
            tokens.extend(mark.into_iter().map(|token| TokenWithSpan { token, span }));
        }
    }
    piece.tokens = tokens;
    Ok(())
}

enum Condition {
    On(usize),
    Match,
}

/// The first `ON` or `MATCH_CONDITION` at the join's own depth, before anything that ends the join.
fn join_condition(piece: &Piece<'_>, solid: &[usize], from: usize) -> Option<Condition> {
    const ENDS: [&str; 9] =
        ["JOIN", "USING", "WHERE", "GROUP", "HAVING", "WINDOW", "ORDER", "LIMIT", "UNION"];
    let mut depth = 0usize;
    for (n, &i) in solid.iter().enumerate().skip(from) {
        match &piece.tokens[i].token {
            Token::LParen => depth += 1,
            Token::RParen if depth == 0 => return None,
            Token::RParen => depth -= 1,
            _ if depth > 0 => {}
            Token::Comma => return None,
            token if is_word(token, "ON") => return Some(Condition::On(n)),
            token if is_word(token, "MATCH_CONDITION") => return Some(Condition::Match),
            token if ENDS.iter().any(|end| is_word(token, end)) => return None,
            _ => {}
        }
    }
    None
}

/// Brings every as-of join of a query, nested ones too, to the one form.
pub(super) fn mark(query: &mut Query) {
    let _: ControlFlow<()> = VisitMut::visit(query, &mut Marker);
}

struct Marker;

impl VisitorMut for Marker {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        select.from.iter_mut().flat_map(|from| &mut from.joins).for_each(normalise);
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        if let TableFactor::NestedJoin { table_with_joins, .. } = factor {
            table_with_joins.joins.iter_mut().for_each(normalise);
        }
        ControlFlow::Continue(())
    }
}

fn normalise(join: &mut Join) {
    let operator = std::mem::replace(&mut join.join_operator, JoinOperator::ArrayJoin);
    join.join_operator = match operator {
        JoinOperator::AsOf { match_condition, constraint } => {
            let condition = match constraint {
                JoinConstraint::On(on) => and(Expr::Nested(Box::new(on)), match_condition),
                _ => match_condition,
            };
            JoinOperator::Left(JoinConstraint::On(marked(condition)))
        }
        JoinOperator::Join(JoinConstraint::On(on)) => JoinOperator::Join(JoinConstraint::On(lift(on))),
        JoinOperator::Inner(JoinConstraint::On(on)) => JoinOperator::Inner(JoinConstraint::On(lift(on))),
        JoinOperator::Left(JoinConstraint::On(on)) => JoinOperator::Left(JoinConstraint::On(lift(on))),
        JoinOperator::LeftOuter(JoinConstraint::On(on)) => {
            JoinOperator::LeftOuter(JoinConstraint::On(lift(on)))
        }
        other => other,
    };
}

fn and(left: Expr, right: Expr) -> Expr {
    Expr::BinaryOp { left: Box::new(left), op: BinaryOperator::And, right: Box::new(right) }
}

fn marked(condition: Expr) -> Expr {
    let arguments = FunctionArgumentList { duplicate_treatment: None, args: vec![], clauses: vec![] };
    let mark = Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(ASOF)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(arguments),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: vec![],
    });
    and(mark, Expr::Nested(Box::new(condition)))
}

fn is_mark(expr: &Expr) -> bool {
    matches!(expr, Expr::Function(f) if f.name.0.len() == 1 && f.name.to_string() == ASOF)
}

/// `(__asof() AND a) OR b` becomes `__asof() AND (a OR b)`; a condition without the mark stays.
fn lift(mut condition: Expr) -> Expr {
    if take_mark(&mut condition) { marked(condition) } else { condition }
}

/// Takes the mark out of the leftmost leaf of a chain of AND and OR.
fn take_mark(expr: &mut Expr) -> bool {
    let Expr::BinaryOp { left, op, right } = expr else { return false };
    if !matches!(op, BinaryOperator::And | BinaryOperator::Or | BinaryOperator::Xor) {
        return false;
    }
    if is_mark(left) {
        let rest = std::mem::replace(right.as_mut(), Expr::Identifier(Ident::new(ASOF)));
        *expr = rest;
        return true;
    }
    take_mark(left)
}
