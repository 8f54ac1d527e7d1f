//! `WITH (name = value, …)`: option lists with places, and typed values out of them.
//!
//! In:   a parser behind the word `WITH`.
//! Out:  [`Options`]; whoever knows the names takes them out one by one, and the rest is unknown.
//! Owns: the form of names and values, durations, the check of a connector's options.
//!
//! Names are words, joined by dots, quoted or not, and are compared in lower case. Values are strings,
//! numbers, `TRUE`, `FALSE` and `INTERVAL '…'`.

use datafusion::sql::sqlparser::ast::{Expr, Interval, UnaryOperator, Value};
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;
use weir_contract::time::parse_span;
use weir_contract::{Code, Error, Place, Result, Span};

use super::catalog::{Script, TableKind, TableSpec};
use super::nearest::{nearest, suggest};
use super::text::Piece;
use crate::connect::{OptionDoc, Registry};

#[derive(Debug, Clone, PartialEq, Eq)]
enum OptionValue {
    Text(String),
    Number(String),
    Bool(bool),
    /// The interval's own words, `5 seconds`.
    Interval(String),
}

#[derive(Debug, Clone)]
struct Entry {
    name: String,
    value: OptionValue,
    at: Place,
    value_at: Place,
}

/// An option list that is being taken apart.
#[derive(Debug, Default)]
pub(super) struct Options {
    entries: Vec<Entry>,
}

impl Options {
    /// Reads `( name = value, … )`; adds a name given twice to `errors`.
    pub fn parse(piece: &Piece<'_>, parser: &mut Parser, errors: &mut Vec<Error>) -> Result<Options> {
        let syntax = |e| piece.syntax(e);
        parser.expect_token(&Token::LParen).map_err(syntax)?;
        let mut options = Options::default();
        while !parser.consume_token(&Token::RParen) {
            let at = piece.here(parser);
            let name = option_name(piece, parser)?;
            parser.expect_token(&Token::Eq).map_err(syntax)?;
            let value_at = piece.here(parser);
            let value = option_value(piece, parser)?;
            if options.entries.iter().any(|e| e.name == name) {
                errors.push(
                    Error::new(Code::Duplicate, format!("option `{name}` is given twice")).at(at.clone()),
                );
            }
            options.entries.push(Entry { name, value, at, value_at });
            if !parser.consume_token(&Token::Comma) {
                parser.expect_token(&Token::RParen).map_err(syntax)?;
                break;
            }
        }
        Ok(options)
    }

    fn take(&mut self, name: &str) -> Option<Entry> {
        let index = self.entries.iter().position(|e| e.name == name)?;
        Some(self.entries.remove(index))
    }

    pub fn has(&self, name: &str) -> bool {
        self.entries.iter().any(|e| e.name == name)
    }

    /// Takes a string and its place.
    pub fn text(&mut self, name: &str, errors: &mut Vec<Error>) -> Option<(String, Place)> {
        let entry = self.take(name)?;
        match entry.value {
            OptionValue::Text(text) => Some((text, entry.value_at)),
            other => refuse(name, &other, "a string in quotes", entry.value_at, errors),
        }
    }

    /// Takes a duration of at least `least` microseconds: `INTERVAL '1 minute'` or `'1 minute'`.
    pub fn span(&mut self, name: &str, least: Span, errors: &mut Vec<Error>) -> Option<Span> {
        let entry = self.take(name)?;
        let parsed = match &entry.value {
            OptionValue::Text(text) | OptionValue::Interval(text) => parse_span(text),
            _ => None,
        };
        match parsed {
            Some(span) if span >= least => Some(span),
            Some(_) => {
                let expected = if least > 0 { "a duration above zero" } else { "a duration, not negative" };
                refuse(name, &entry.value, expected, entry.value_at, errors)
            }
            None => refuse(name, &entry.value, "a duration such as '20 seconds'", entry.value_at, errors),
        }
    }

    pub fn bool(&mut self, name: &str, errors: &mut Vec<Error>) -> Option<bool> {
        let entry = self.take(name)?;
        match &entry.value {
            OptionValue::Bool(value) => Some(*value),
            OptionValue::Text(text) if text.eq_ignore_ascii_case("true") => Some(true),
            OptionValue::Text(text) if text.eq_ignore_ascii_case("false") => Some(false),
            other => refuse(name, other, "TRUE or FALSE", entry.value_at, errors),
        }
    }

    /// Takes a whole number of at least `least`.
    pub fn count(&mut self, name: &str, least: u64, errors: &mut Vec<Error>) -> Option<u64> {
        let entry = self.take(name)?;
        let parsed = match &entry.value {
            OptionValue::Number(text) | OptionValue::Text(text) => text.replace('_', "").parse::<u64>().ok(),
            _ => None,
        };
        match parsed {
            Some(count) if count >= least => Some(count),
            _ => refuse(name, &entry.value, format!("a whole number from {least}"), entry.value_at, errors),
        }
    }

    /// The value of an option that stays there, where it is a string.
    pub fn peek(&self, name: &str) -> Option<(&str, &Place)> {
        let entry = self.entries.iter().find(|e| e.name == name)?;
        match &entry.value {
            OptionValue::Text(text) => Some((text, &entry.value_at)),
            _ => None,
        }
    }

    /// Takes one word of a set.
    pub fn one_of<T: Copy>(&mut self, name: &str, set: &[(&str, T)], errors: &mut Vec<Error>) -> Option<T> {
        let (text, at) = self.text(name, errors)?;
        let found = set.iter().find(|(word, _)| text.eq_ignore_ascii_case(word));
        if found.is_none() {
            let words = suggest(&text, set.iter().map(|(word, _)| *word));
            errors.push(
                Error::new(Code::BadOption, format!("`{name}` cannot be '{text}'")).at(at).expected(words),
            );
        }
        found.map(|(_, value)| *value)
    }

    /// What is left, as text: options that only a connector understands.
    pub fn rest(self) -> impl Iterator<Item = (String, String)> {
        self.entries.into_iter().map(|e| (e.name, e.value.text()))
    }

    /// What is left is unknown: one error each, naming the nearest of `known`.
    pub fn unknown(self, of: &str, known: &[&str], errors: &mut Vec<Error>) {
        for entry in self.entries {
            errors.push(unknown_option(&entry.name, of, known).at(entry.at));
        }
    }
}

impl OptionValue {
    fn text(self) -> String {
        match self {
            OptionValue::Text(text) | OptionValue::Number(text) | OptionValue::Interval(text) => text,
            OptionValue::Bool(value) => value.to_string(),
        }
    }

    fn show(&self) -> String {
        match self {
            OptionValue::Text(text) => format!("'{text}'"),
            OptionValue::Interval(text) => format!("INTERVAL '{text}'"),
            OptionValue::Number(text) => text.clone(),
            OptionValue::Bool(value) => value.to_string(),
        }
    }
}

fn refuse<T>(
    name: &str,
    value: &OptionValue,
    expected: impl Into<String>,
    at: Place,
    errors: &mut Vec<Error>,
) -> Option<T> {
    let what = format!("`{name}` cannot be {}", value.show());
    errors.push(Error::new(Code::BadOption, what).at(at).expected(expected));
    None
}

fn unknown_option(name: &str, of: &str, known: &[&str]) -> Error {
    Error::new(Code::UnknownOption, format!("{of} has no option `{name}`"))
        .expected(suggest(name, known.iter().copied()))
}

fn option_name(piece: &Piece<'_>, parser: &mut Parser) -> Result<String> {
    let mut name = String::new();
    loop {
        match parser.peek_token().token {
            Token::Word(word) => name.push_str(&word.value),
            Token::SingleQuotedString(text) => name.push_str(&text),
            _ => return Err(piece.unexpected(parser, "the name of an option")),
        }
        parser.advance_token();
        if !parser.consume_token(&Token::Period) {
            return Ok(name.to_lowercase());
        }
        name.push('.');
    }
}

fn option_value(piece: &Piece<'_>, parser: &mut Parser) -> Result<OptionValue> {
    let expected = "a string, a number, TRUE, FALSE or INTERVAL '…'";
    let wrong = piece.unexpected(parser, expected);
    let mut expr = parser.parse_expr().map_err(|e| piece.syntax(e))?;
    let mut sign = "";
    if let Expr::UnaryOp { op: UnaryOperator::Minus, expr: inner } = expr {
        (sign, expr) = ("-", *inner);
    }
    match expr {
        Expr::Value(value) => match value.value {
            Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) if sign.is_empty() => {
                Ok(OptionValue::Text(text))
            }
            Value::Number(number, _) => Ok(OptionValue::Number(format!("{sign}{number}"))),
            Value::Boolean(value) if sign.is_empty() => Ok(OptionValue::Bool(value)),
            _ => Err(wrong),
        },
        Expr::Interval(interval) => match interval_text(&interval) {
            Some(text) => Ok(OptionValue::Interval(format!("{sign}{text}"))),
            None => Err(wrong),
        },
        _ => Err(wrong),
    }
}

/// The words of `INTERVAL '5 seconds'`, `INTERVAL '5' SECOND`, `INTERVAL 5 SECOND`.
fn interval_text(interval: &Interval) -> Option<String> {
    let Expr::Value(value) = interval.value.as_ref() else { return None };
    let text = match &value.value {
        Value::SingleQuotedString(text) => text.clone(),
        Value::Number(number, _) => number.clone(),
        _ => return None,
    };
    match (&interval.leading_field, &interval.last_field) {
        (None, None) => Some(text),
        (Some(unit), None) => Some(format!("{text} {}", unit.to_string().to_lowercase())),
        _ => None,
    }
}

/// Microseconds of a constant `INTERVAL`, where it has a fixed length.
pub fn interval_span(interval: &Interval) -> Option<Span> {
    parse_span(&interval_text(interval)?)
}

/// Options that every table has; they never reach a connector.
pub const TABLE_OPTIONS: [&str; 12] = [
    "connector",
    "type",
    "format",
    "idle_after",
    "max_ahead",
    "append_time",
    "dedup",
    "dedup_within",
    "max_record_bytes",
    "event_time_field",
    "watermark_field",
    "timestamp_unit",
];

/// Holds a table's own options against those that its connector knows: unknown ones with the nearest
/// name, then missing ones. A known name that ends in `.*` stands for a prefix.
pub fn check_options(table: &TableSpec, known: &[OptionDoc]) -> Vec<Error> {
    let of = if table.connector.is_empty() {
        format!("table `{}`", table.name)
    } else {
        format!("connector '{}'", table.connector)
    };
    let fits = |name: &str| {
        known.iter().any(|o| match o.name.strip_suffix('*') {
            Some(prefix) => name.len() > prefix.len() && name.starts_with(prefix),
            None => o.name == name,
        })
    };
    let mut names: Vec<&str> = known.iter().map(|o| o.name).collect();
    names.extend(TABLE_OPTIONS);
    let mut errors: Vec<Error> = Vec::new();
    for name in table.options.keys().filter(|name| !fits(name) && !TABLE_OPTIONS.contains(&name.as_str())) {
        let error =
            Error::new(Code::UnknownOption, format!("{of} has no option `{name}`")).at(table.place.clone());
        errors.push(match nearest(name, names.iter().copied()) {
            Some(near) => error.expected(format!("{near} (did you mean that?)")),
            None => error.expected(names.join(", ")),
        });
    }
    for option in known.iter().filter(|o| o.required && !table.options.contains_key(o.name)) {
        errors.push(
            Error::new(Code::BadOption, format!("{of} needs the option `{}`", option.name))
                .at(table.place.clone())
                .expected(format!("{} = …: {}", option.name, option.doc)),
        );
    }
    errors
}

/// Connectors that the dialect names and that are not there yet.
const CONNECTORS_LATER: [&str; 9] =
    ["kinesis", "mqtt", "amqp", "sqs", "http", "postgres", "sqlite", "impulse", "nexmark"];

/// Holds every table that is read or written against the connectors: an unknown connector with the nearest
/// name, then the options that its connector does not know.
pub fn check_connectors(script: &Script, registry: &Registry) -> Vec<Error> {
    let mut errors = Vec::new();
    let streams = |t: &&TableSpec| matches!(t.kind, TableKind::Source | TableKind::Sink);
    for table in script.tables.iter().filter(streams) {
        if let Some(connector) = registry.get(&table.connector) {
            errors.extend(check_options(table, connector.options()));
            continue;
        }
        let later = CONNECTORS_LATER.contains(&table.connector.as_str());
        let (code, what) = match later {
            true => (Code::NotYet, format!("connector '{}' is not there yet", table.connector)),
            false => (Code::BadOption, format!("there is no connector '{}'", table.connector)),
        };
        let names: Vec<&str> = registry.names().collect();
        let expected =
            if later { names.join(", ") } else { suggest(&table.connector, names.iter().copied()) };
        errors.push(Error::new(code, what).at(table.place.clone()).expected(expected));
    }
    errors
}
