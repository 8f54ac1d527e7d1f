//! The oracle can fail: every query is changed a little, streamed in its changed form, and held against the
//! batch form of the query as it is. Each mutant must be told apart, or be listed with its reason in
//! `engine/tests/sql/equivalents.txt`.
//!
//! A mutant changes one word: a comparison, a bound by a second or a microsecond, a window's size or slide,
//! a number, INNER and LEFT, the direction of an order, min and max and their like.

use std::collections::{BTreeMap, BTreeSet};

use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};
use weir_contract::Place;
use weir_contract::time::{SECOND, parse_span};
use weir_engine::sql::plan::ir::{NodeId, Output, Plan};

use crate::answer::{Batch, Given};
use crate::program::TABLES;
use crate::suite;
use crate::world::{Shape, World};

/// Worlds that a mutant may need until it shows.
const SEEDS: u64 = 24;

/// A query with one word changed.
struct Mutant {
    query: String,
    /// Place in the file and change, as the list of equivalents has it.
    what: String,
    text: String,
}

impl Mutant {
    fn shown(&self) -> String {
        format!("{} {}", self.query, self.what)
    }
}

/// The query of a file, on the lines where it stands there.
fn body(query: &suite::Query) -> String {
    match query.text.split_once(") AS\n") {
        Some((head, body)) if query.is_rule() => "\n".repeat(head.lines().count()) + body,
        _ => query.text.clone(),
    }
}

fn solid(token: &TokenWithSpan) -> bool {
    !matches!(token.token, Token::Whitespace(_))
}

fn word(token: &Token) -> String {
    match token {
        Token::Word(w) => w.value.to_lowercase(),
        _ => String::new(),
    }
}

/// What may stand in place of a token: its text and a name for the change.
fn changes(tokens: &[TokenWithSpan], at: usize) -> Vec<String> {
    let before: Vec<String> =
        tokens[..at].iter().rev().filter(|t| solid(t)).take(2).map(|t| word(&t.token)).collect();
    let before = |n: usize| before.get(n).map_or("", String::as_str);
    let after = tokens[at + 1..].iter().filter(|t| solid(t)).map(|t| &t.token).next();
    let swapped = |pairs: &[(&str, &str)], name: &str| -> Vec<String> {
        let other = |(a, b): &(&str, &str)| match name {
            n if n == *a => Some((*b).to_owned()),
            n if n == *b => Some((*a).to_owned()),
            _ => None,
        };
        pairs.iter().filter_map(other).collect()
    };
    match &tokens[at].token {
        Token::Gt => vec![">=".into(), "<".into()],
        Token::GtEq => vec![">".into()],
        Token::Lt => vec!["<=".into(), ">".into()],
        Token::LtEq => vec!["<".into()],
        Token::Eq => vec!["<>".into()],
        Token::Neq => vec!["=".into()],
        Token::Plus => vec!["-".into()],
        Token::Minus => vec!["+".into()],
        Token::Number(n, _) => match n.parse::<i64>() {
            Ok(n) => vec![(n + 1).to_string()],
            Err(_) => vec![format!("{}", n.parse::<f64>().unwrap_or(0.0) + 0.5)],
        },
        Token::SingleQuotedString(text) if before(0) == "interval" => near(text),
        Token::Word(w) if w.quote_style.is_none() => match w.value.to_lowercase().as_str() {
            "left" => vec![String::new()],
            "join" if !["left", "asof"].contains(&before(0)) => vec!["LEFT JOIN".into()],
            "join" if before(0) == "asof" => vec!["LEFT JOIN".into()],
            "desc" => vec!["ASC".into()],
            "null" if before(0) == "is" => vec!["NOT NULL".into()],
            // An order that ends an aggregate's arguments.
            name if before(0) == "by" && before(1) == "order" && after == Some(&Token::RParen) => {
                vec![format!("{name} DESC")]
            }
            name if after == Some(&Token::LParen) => swapped(
                &[
                    ("min", "max"),
                    ("sum", "avg"),
                    ("first_value", "last_value"),
                    ("bool_and", "bool_or"),
                    ("bit_and", "bit_or"),
                    ("var_pop", "var_samp"),
                    ("stddev_pop", "stddev_samp"),
                    ("regr_slope", "regr_intercept"),
                ],
                name,
            ),
            _ => vec![],
        },
        _ => vec![],
    }
}

/// An interval a second and a microsecond longer and shorter.
fn near(text: &str) -> Vec<String> {
    let Some(span) = parse_span(text) else { return Vec::new() };
    let others = [span - SECOND, span - 1, span + 1, span + SECOND];
    others.into_iter().filter(|s| *s > 0).map(|s| format!("'{s} microseconds'")).collect()
}

/// Whether a token stands in the arguments of `tumble` or `hop`.
fn in_window(tokens: &[TokenWithSpan], at: usize) -> bool {
    let mut depth = 0;
    for n in (0..at).rev() {
        match tokens[n].token {
            Token::RParen => depth += 1,
            Token::LParen if depth > 0 => depth -= 1,
            Token::LParen => {
                let name = tokens[..n].iter().rev().find(|t| solid(t)).map(|t| word(&t.token));
                return name.is_some_and(|name| ["tumble", "hop"].contains(&name.as_str()));
            }
            _ => {}
        }
    }
    false
}

fn mutants(query: &suite::Query) -> Vec<Mutant> {
    let text = body(query);
    let tokens = Tokenizer::new(&PostgreSqlDialect {}, &text).tokenize_with_location().unwrap();
    let mut found = Vec::new();
    let mut windows = BTreeSet::new();
    for at in 0..tokens.len() {
        let old = tokens[at].token.to_string();
        let windowed = in_window(&tokens, at);
        // The same window stands in SELECT and GROUP BY: both change.
        if windowed && !windows.insert(old.clone()) {
            continue;
        }
        for new in changes(&tokens, at) {
            let changed = |n: usize| {
                n == at || (windowed && tokens[n].token == tokens[at].token && in_window(&tokens, n))
            };
            let text: String = (0..tokens.len())
                .map(|n| if changed(n) { new.clone() } else { tokens[n].token.to_string() })
                .collect();
            let place = tokens[at].span.start;
            let what = format!(
                "{}:{} {old} -> {}",
                place.line,
                place.column,
                if new.is_empty() { "nothing" } else { &new }
            );
            found.push(Mutant { query: query.output.clone(), what, text });
        }
    }
    found
}

fn nodes(plan: &Plan) -> BTreeMap<String, NodeId> {
    plan.outputs
        .iter()
        .filter_map(|o| match o {
            Output::Insert { target, node, .. } => Some((target.name.clone(), *node)),
            Output::Rule { .. } => None,
        })
        .collect()
}

/// Plans what can be planned; the planner refuses some mutants, and they leave.
fn plan_of(mutants: &mut Vec<Mutant>) -> Plan {
    loop {
        let mut scripts = vec![("tables.sql".to_owned(), TABLES.to_owned())];
        let named = mutants.iter().enumerate();
        scripts.extend(named.map(|(n, m)| (n.to_string(), suite::insert(&format!("m{n}"), &m.text))));
        match suite::planned(scripts) {
            Ok(plan) => return plan,
            Err(errors) => {
                let refused: BTreeSet<usize> = errors
                    .iter()
                    .map(|e| match e.place() {
                        Some(Place::Script { file, .. }) => file.parse().unwrap_or_else(|_| panic!("{e}")),
                        _ => panic!("{e}"),
                    })
                    .collect();
                let mut n = 0;
                mutants.retain(|_| {
                    n += 1;
                    !refused.contains(&(n - 1))
                });
            }
        }
    }
}

#[test]
fn a_query_with_one_word_changed_is_told_apart() {
    let queries = suite::accepted();
    let mut scripts = vec![("tables.sql".to_owned(), TABLES.to_owned())];
    let whole = queries.iter().map(|q| (q.output.clone(), suite::insert(&q.output, &body(q))));
    scripts.extend(whole);
    let original = suite::planned(scripts).unwrap_or_else(|e| panic!("{}", suite::shown(e)));
    let node_of = nodes(&original);
    let mut alive: Vec<Mutant> = queries.iter().flat_map(mutants).collect();
    let drawn = alive.len();
    let batch = Batch::new();
    let mut told_apart = 0;
    let mut planned = None;
    for seed in 0..SEEDS {
        let plan = plan_of(&mut alive);
        planned.get_or_insert(alive.len());
        let world = World::new(seed);
        let given = Given::of(&world.log(), world.control_records(), &original);
        let streamed = world.run(&plan, &Shape::bounded());
        let mut answers: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        let mut equal = Vec::new();
        for (n, mutant) in alive.iter().enumerate() {
            let answer = answers
                .entry(&mutant.query)
                .or_insert_with(|| batch.lines(&original, node_of[&mutant.query], &given));
            let got = streamed.outputs.get(&format!("m{n}")).map_or(&[][..], Vec::as_slice);
            equal.push(answer == got);
        }
        let before = alive.len();
        let mut equal = equal.into_iter();
        alive.retain(|_| equal.next().unwrap_or(true));
        told_apart += before - alive.len();
        if alive.is_empty() {
            break;
        }
    }
    let planned = planned.unwrap_or_default();
    println!("{drawn} mutants, {planned} planned, {told_apart} told apart, {} not", alive.len());
    let path = suite::folder("equivalents.txt");
    let listed = std::fs::read_to_string(&path).unwrap();
    let reasons: BTreeMap<&str, &str> = listed
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .map(|line| line.split_once(" : ").unwrap_or_else(|| panic!("no reason: {line}")))
        .collect();
    let survivors: BTreeSet<String> = alive.iter().map(Mutant::shown).collect();
    let unlisted: Vec<_> = survivors.iter().filter(|s| !reasons.contains_key(s.as_str())).collect();
    let stale: Vec<_> = reasons.keys().filter(|r| !survivors.contains(**r)).collect();
    assert!(unlisted.is_empty(), "the oracle does not see these changes:\n{unlisted:#?}");
    assert!(stale.is_empty(), "told apart, and still listed as equivalent:\n{stale:#?}");
    assert!(told_apart >= 300, "{told_apart} mutants are told apart");
}
