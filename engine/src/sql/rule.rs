//! `CREATE RULE name WITH (…) AS SELECT …`: the options of a rule, checked.
//!
//! In:   a statement that starts with `CREATE RULE`.
//! Out:  a [`RuleSpec`], and every error that was found.
//! Owns: which options a rule has and what they may be. Not the columns of its query: the planner knows
//!       those.

use std::collections::BTreeMap;

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;
use weir_contract::time::show_span;
use weir_contract::{Code, Error, Place, Result};

use super::catalog::{RuleKind, RuleOptions, RuleSpec};
use super::ddl::name;
use super::options::Options;
use super::text::Piece;

/// Every option of a rule.
pub const RULE_OPTIONS: [&str; 14] = [
    "kind",
    "key",
    "severity",
    "fire_after",
    "clear_after",
    "suppress",
    "renotify",
    "no_data",
    "inhibited_by",
    "owner",
    "runbook",
    "explain",
    "enabled",
    "shadow",
];

/// Severities from the least; an emergency is never suppressed.
pub const SEVERITIES: [&str; 4] = ["low", "medium", "high", "emergency"];

/// Reads a rule; the parser stands behind `CREATE RULE`.
pub(super) fn parse(piece: &Piece<'_>, parser: &mut Parser, errors: &mut Vec<Error>) -> Result<RuleSpec> {
    let syntax = |e| piece.syntax(e);
    let rule = name(&parser.parse_identifier().map_err(syntax)?);
    let with_at = piece.here(parser);
    let given = if parser.parse_keyword(Keyword::WITH) {
        Options::parse(piece, parser, errors)?
    } else if parser.peek_keyword(Keyword::AS) {
        Options::default()
    } else {
        return Err(piece.unexpected(parser, "WITH ( kind = …, key = …, … ) AS SELECT …"));
    };
    parser.expect_keyword_is(Keyword::AS).map_err(syntax)?;
    let query = super::parse::query(piece, parser)?;
    let options = options(&rule, given, &with_at, errors);
    Ok(RuleSpec {
        name: rule,
        options,
        query,
        text: piece.text().into(),
        folder: piece.source.folder.into(),
        place: piece.place(),
    })
}

fn options(rule: &str, mut given: Options, at: &Place, errors: &mut Vec<Error>) -> RuleOptions {
    let missing = |option: &str, expected: &str| {
        let what = format!("rule `{rule}` needs the option `{option}`");
        Error::new(Code::BadRule, what).at(at.clone()).expected(expected)
    };
    let condition_only = ["fire_after", "clear_after", "no_data"].map(|o| (o, given.has(o)));
    let has = ["kind", "key", "suppress"].map(|o| given.has(o));
    let kind =
        given.one_of("kind", &[("event", RuleKind::Event), ("condition", RuleKind::Condition)], errors);
    if !has[0] {
        errors.push(missing("kind", "kind = 'event' or kind = 'condition'"));
    }
    let key = key(&mut given, errors);
    if !has[1] {
        errors
            .push(missing("key", "key = 'column, …': what tells one episode from another, beside warehouse"));
    }
    let severity = given.one_of("severity", &SEVERITIES.map(|s| (s, s)), errors).map(str::to_owned);
    let options = RuleOptions {
        kind: kind.unwrap_or(RuleKind::Event),
        key,
        severity,
        fire_after: given.span("fire_after", 0, errors).unwrap_or(0),
        clear_after: given.span("clear_after", 0, errors).unwrap_or(0),
        no_data: given.span("no_data", 1, errors),
        owner: given.text("owner", errors).map(|(text, _)| text),
        runbook: given.text("runbook", errors).map(|(text, _)| text),
        explain: given.text("explain", errors).map(|(text, _)| text),
        enabled: given.bool("enabled", errors).unwrap_or(true),
        later: later(&mut given, errors),
    };
    if kind == Some(RuleKind::Event) {
        for (option, _) in condition_only.iter().filter(|(_, given)| *given) {
            let what = format!("`{option}` has no meaning where every row is an event");
            errors.push(Error::new(Code::BadRule, what).at(at.clone()).expected("kind = 'condition'"));
        }
    }
    if has[2] && options.severity.as_deref() == Some("emergency") {
        let error = Error::new(Code::BadRule, "an emergency is never suppressed").at(at.clone());
        errors.push(error.expected("no option `suppress`, or a lower severity"));
    }
    given.unknown("a rule", &RULE_OPTIONS, errors);
    options
}

/// Key columns in the order given; `warehouse` is part of every key and left out here.
fn key(given: &mut Options, errors: &mut Vec<Error>) -> Vec<String> {
    let Some((text, at)) = given.text("key", errors) else { return Vec::new() };
    let mut columns: Vec<String> = Vec::new();
    for column in text.split(',').map(str::trim) {
        let plain = column.chars().all(|c| c.is_alphanumeric() || c == '_');
        if column.is_empty() || !plain {
            let error = Error::new(Code::BadOption, format!("`key` cannot be '{text}'")).at(at.clone());
            errors.push(error.expected("column names with commas between them"));
            return Vec::new();
        }
        let column = column.to_lowercase();
        if columns.contains(&column) {
            let what = format!("`key` names `{column}` twice");
            errors.push(Error::new(Code::Duplicate, what).at(at.clone()));
        } else if column != "warehouse" {
            columns.push(column);
        }
    }
    columns
}

/// Options that are read and checked now and have effect later.
fn later(given: &mut Options, errors: &mut Vec<Error>) -> BTreeMap<String, String> {
    let mut later = BTreeMap::new();
    for option in ["suppress", "renotify"] {
        if let Some(span) = given.span(option, 1, errors) {
            later.insert(option.into(), show_span(span));
        }
    }
    if let Some((text, at)) = given.text("inhibited_by", errors) {
        let rules: Vec<&str> = text.split(',').map(str::trim).collect();
        if rules.iter().any(|r| r.is_empty() || r.contains(char::is_whitespace)) {
            let error = Error::new(Code::BadOption, format!("`inhibited_by` cannot be '{text}'")).at(at);
            errors.push(error.expected("names of rules with commas between them"));
        } else {
            later.insert("inhibited_by".into(), rules.join(", ").to_lowercase());
        }
    }
    if let Some(shadow) = given.bool("shadow", errors) {
        later.insert("shadow".into(), shadow.to_string());
    }
    later
}

/// Whether the next tokens are `RULE name`.
pub(super) fn follows(parser: &Parser) -> bool {
    super::text::is_word(&parser.peek_token_ref().token, "RULE")
        && !matches!(parser.peek_nth_token(1).token, Token::EOF)
}
