//! DataFusion's planning errors in weir's words, and the places of all planning errors.
//!
//! In:   an error of DataFusion's planner, or one of weir's own without a file.
//! Out:  a code, what is wrong, what was expected, and the word in the script.
//! Owns: the words. What a query may not have at all is refused before, in `refuse`.
//!
//! While a statement is planned, a place has a line and column and no file; [`placed`] names the file.

use datafusion::common::{Column, SchemaError};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::Expr;
use weir_contract::{Code, Error, Place};

use crate::sql::nearest::nearest;

/// Most names that are listed where none is near.
const NAMES_MAX: usize = 12;

fn spot(span: datafusion::common::Span) -> Place {
    Place::Script { file: String::new(), line: span.start.line, column: span.start.column }
}

/// A DataFusion error while planning is the author's.
pub fn plan_error(error: DataFusionError) -> Error {
    let place = error.diagnostic().and_then(|d| d.span).map(spot);
    let made = translated(&error);
    match place {
        Some(place) => made.or_at(place),
        None => made,
    }
}

/// An error at the first column that an expression names.
pub fn at_expr(error: Error, expr: &Expr) -> Error {
    let spans = expr.column_refs().into_iter().flat_map(|c| c.spans().first());
    match spans.min_by_key(|s| (s.start.line, s.start.column)) {
        Some(span) => error.or_at(spot(span)),
        None => error,
    }
}

fn translated(error: &DataFusionError) -> Error {
    match error {
        DataFusionError::Diagnostic(_, inner) | DataFusionError::Context(_, inner) => translated(inner),
        DataFusionError::Collection(all) if !all.is_empty() => translated(&all[0]),
        DataFusionError::SchemaError(inner, _) => schema_error(inner),
        DataFusionError::Plan(text) => plan_text(first(text)),
        DataFusionError::NotImplemented(text) => {
            let form = first(text).split(['{', '(']).next().unwrap_or_default().trim();
            Error::new(Code::NotYet, format!("a form that is not there yet: {}", lower(form)))
                .expected("the forms of docs/SQL.md")
        }
        other => {
            let text = other.strip_backtrace();
            let text = text.strip_prefix("Error during planning: ").unwrap_or(&text);
            plan_text(first(text))
        }
    }
}

fn first(text: &str) -> &str {
    text.split(DataFusionError::BACK_TRACE_SEP).next().unwrap_or(text)
}

fn lower(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(c) if chars.clone().next().is_some_and(char::is_lowercase) => {
            c.to_lowercase().chain(chars).collect()
        }
        _ => text.to_owned(),
    }
}

fn schema_error(error: &SchemaError) -> Error {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => unknown_column(field, valid_fields),
        SchemaError::AmbiguousReference { field } => {
            let what = format!("column `{}` is in more than one table of the query", field.name);
            let made = Error::new(Code::UnknownName, what).expected("the table's name in front of it");
            field.spans().first().map(spot).map_or(made.clone(), |place| made.at(place))
        }
        SchemaError::DuplicateQualifiedField { name, .. }
        | SchemaError::DuplicateUnqualifiedField { name } => {
            Error::new(Code::Duplicate, format!("two columns are named `{name}`"))
                .expected("AS with another name for one of them")
        }
    }
}

fn unknown_column(field: &Column, valid: &[Column]) -> Error {
    let visible = |c: &&Column| !c.name.starts_with("__");
    let of = field.relation.as_ref().map(|r| r.table().to_owned());
    let inside: Vec<&Column> = valid
        .iter()
        .filter(visible)
        .filter(|c| of.is_none() || c.relation.as_ref().map(|r| r.table()) == of.as_deref())
        .collect();
    let (what, mut names) = match &of {
        Some(table) if inside.is_empty() => {
            let tables = valid.iter().filter_map(|c| Some(c.relation.as_ref()?.table().to_owned()));
            (format!("there is no table `{table}` in this FROM"), tables.collect::<Vec<_>>())
        }
        Some(table) => {
            let names = inside.iter().map(|c| c.name.clone()).collect();
            (format!("`{table}` has no column `{}`", field.name), names)
        }
        None => {
            let names = inside.iter().map(|c| c.name.clone()).collect();
            (format!("there is no column `{}`", field.name), names)
        }
    };
    names.sort();
    names.dedup();
    let wanted = match &of {
        Some(table) if inside.is_empty() => table.as_str(),
        _ => &field.name,
    };
    let made = Error::new(Code::UnknownName, what).expected(one_of(wanted, &names));
    field.spans().first().map(spot).map_or(made.clone(), |place| made.at(place))
}

fn one_of(word: &str, names: &[String]) -> String {
    match nearest(word, names.iter().map(String::as_str)) {
        Some(near) => format!("{near} (did you mean that?)"),
        None if names.is_empty() => "a column; nothing has one here".into(),
        None if names.len() > NAMES_MAX => format!("{}, …", names[..NAMES_MAX].join(", ")),
        None => names.join(", "),
    }
}

/// The part of a text between two others.
fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    rest.split_once(after).map(|(found, _)| found)
}

fn plan_text(text: &str) -> Error {
    if let Some(name) = between(text, "Invalid function '", "'") {
        let near = between(text, "Did you mean '", "'").and_then(|other| nearest(name, [other]));
        let made = Error::new(Code::UnknownName, format!("there is no function `{name}`"));
        return made.expected(match near {
            Some(near) => format!("{near} (did you mean that?)"),
            None => "a scalar or aggregate function, tumble(…) or hop(…)".into(),
        });
    }
    if let Some(name) = between(text, "table '", "' not found") {
        let name = name.rsplit('.').next().unwrap_or(name);
        return Error::new(Code::UnknownName, format!("there is no table or view `{name}`"))
            .expected("a name that the program declares");
    }
    if let Some(name) = between(text, "The window ", " is not defined") {
        return Error::new(Code::UnknownName, format!("there is no window `{name}`"))
            .expected("WINDOW name AS (PARTITION BY … ORDER BY ts RANGE …)");
    }
    if text.contains("must appear in the GROUP BY clause") {
        let column = between(text, "column \"", "\"").unwrap_or("a column");
        return Error::new(Code::Plan, format!("`{column}` is neither in GROUP BY nor in an aggregate"))
            .expected("it among the keys, or an aggregate of it");
    }
    if text.contains("not allowed in the WHERE clause") {
        return Error::new(Code::Plan, "an aggregate stands in WHERE").expected("HAVING");
    }
    let operation = text
        .strip_prefix("Cannot coerce arithmetic expression ")
        .and_then(|rest| rest.strip_suffix(" to valid types"))
        .or_else(|| text.strip_prefix("Cannot infer common argument type for comparison operation "))
        .or_else(|| text.split_once("common argument type for ").map(|(_, rest)| rest));
    if let Some(operation) = operation {
        return Error::new(Code::Plan, format!("the types of {} do not go together", sql_types(operation)))
            .expected("CAST(… AS …) on one side");
    }
    let called = between(text, "call to '", "'").or_else(|| between(text, "Function '", "'"));
    if let Some(name) = called {
        let name = name.trim_start_matches('_');
        let takes = text.split_once("Candidate functions:").map(|(_, list)| list.trim());
        let takes = takes.map(|list| sql_types(&list.replace(['\n', '\t'], " ")));
        return Error::new(Code::Plan, format!("`{name}` does not take these arguments"))
            .expected(takes.unwrap_or_else(|| "arguments of the types that it takes".into()));
    }
    Error::new(Code::Plan, lower(text.lines().next().unwrap_or(text)))
        .expected("a query as docs/SQL.md has it")
}

/// Arrow's names of types as SQL has them.
fn sql_types(text: &str) -> String {
    let names = [
        ("Timestamp(µs)", "TIMESTAMP"),
        ("Utf8View", "TEXT"),
        ("Utf8", "TEXT"),
        ("Float64", "DOUBLE"),
        ("Int64", "BIGINT"),
        ("Int32", "INT"),
        ("Int16", "SMALLINT"),
        ("Boolean", "BOOLEAN"),
        ("Date32", "DATE"),
        ("Binary", "BYTEA"),
        ("Interval(MonthDayNano)", "INTERVAL"),
    ];
    names.iter().fold(text.to_owned(), |text, (arrow, sql)| text.replace(arrow, sql))
}

/// An error in the file of its statement: at its own line, else at the word that it names, else at the start.
pub fn placed(error: Error, text: &str, start: &Place) -> Error {
    let Place::Script { file: own, .. } = start else { return error.or_at(start.clone()) };
    if let Some(Place::Script { file, line, column }) = error.place()
        && file.is_empty()
    {
        let place = Place::Script { file: own.clone(), line: *line, column: *column };
        return error.at(place);
    }
    let word = error.what().split('`').nth(1).unwrap_or_default().rsplit('.').next().unwrap_or_default();
    let place = if word.is_empty() { start.clone() } else { place_of(text, start, word) };
    error.or_at(place)
}

/// The first place in a statement where a word stands, for errors that name it.
pub fn place_of(text: &str, start: &Place, word: &str) -> Place {
    let Place::Script { file, line, column } = start else { return start.clone() };
    for (at, row) in text.lines().enumerate() {
        let found = row.match_indices(word).find(|(i, _)| {
            let edge = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric() && c != '_');
            edge(row[..*i].chars().next_back()) && edge(row[i + word.len()..].chars().next())
        });
        if let Some((i, _)) = found {
            let shift = if at == 0 { column - 1 } else { 0 };
            let column = row[..i].chars().count() as u64 + 1 + shift;
            return Place::Script { file: file.clone(), line: line + at as u64, column };
        }
    }
    start.clone()
}
