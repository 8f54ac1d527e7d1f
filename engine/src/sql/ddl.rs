//! `CREATE TABLE`: from tokens to a [`TableSpec`] whose every option and column was checked.
//!
//! In:   a statement that starts with `CREATE TABLE`.
//! Out:  the table, and every error that was found; a syntax error ends the statement.
//! Owns: table elements, the meaning of the options that all tables have. Not those of connectors
//!       (`options::check_options`), and not what other statements say about the table (`parse`).
//!
//! ```text
//! CREATE TABLE [IF NOT EXISTS] t [( element, … )] [WITH ( option = value, … )] [PARTITIONED BY (c, …)]
//! element: c TYPE [NOT NULL] [PRIMARY KEY] [METADATA FROM 'key'] [GENERATED ALWAYS AS (e) [STORED]]
//!        | WATERMARK FOR c [AS c [- INTERVAL '…']]  |  PRIMARY KEY (c, …)
//! ```

use datafusion::arrow::datatypes::DataType;
use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, Ident};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;
use weir_contract::{Code, Error, Place, Result, Span};

use super::catalog::{
    AppendTime, ColumnSource, ColumnSpec, Dedup, Format, MAX_AHEAD_DEFAULT, MAX_RECORD_BYTES_DEFAULT,
    MetadataKey, TIMESTAMP_UNIT, TableKind, TableSpec, Watermark,
};
use super::nearest::{nearest, suggest};
use super::options::{Options, interval_span};
use super::text::{Piece, take_word};
use super::types::{self, TIMESTAMP};

/// An identifier as PostgreSQL folds it: lower case unless quoted.
pub(super) fn name(ident: &Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() }
}

/// A table, and what only the whole program can settle about it.
pub(super) struct Declared {
    pub spec: TableSpec,
    /// `type = …` was given; else `INSERT INTO` decides.
    pub typed: bool,
    /// Its own statement has errors already.
    pub broken: bool,
}

/// A name and where it was written.
type Named = (String, Place);

#[derive(Default)]
struct Elements {
    columns: Vec<ColumnSpec>,
    primary_key: Vec<Named>,
    watermark: Option<(Named, Option<(Expr, Place)>)>,
}

/// Reads a table; the parser stands behind `CREATE TABLE`.
pub(super) fn parse(piece: &Piece<'_>, parser: &mut Parser, errors: &mut Vec<Error>) -> Result<Declared> {
    let syntax = |e| piece.syntax(e);
    let place = piece.place();
    let _ = parser.parse_keywords(&[Keyword::IF, Keyword::NOT, Keyword::EXISTS]);
    let table = name(&parser.parse_identifier().map_err(syntax)?);
    if parser.peek_token_ref().token == Token::Period {
        return Err(piece.unexpected(parser, "a table name without a schema"));
    }
    let mut elements = Elements::default();
    if parser.consume_token(&Token::LParen) {
        loop {
            element(piece, parser, &mut elements, errors)?;
            if !parser.consume_token(&Token::Comma) {
                parser.expect_token(&Token::RParen).map_err(syntax)?;
                break;
            }
        }
    }
    let (mut options, mut with) = (Options::default(), false);
    let mut partitioned_by: Vec<Named> = Vec::new();
    while parser.peek_token_ref().token != Token::EOF {
        if parser.peek_keyword(Keyword::WITH) && !with {
            parser.advance_token();
            options = Options::parse(piece, parser, errors)?;
            with = true;
        } else if partitioned_by.is_empty() && take_word(parser, "PARTITIONED") {
            parser.expect_keyword_is(Keyword::BY).map_err(syntax)?;
            partitioned_by = names(piece, parser)?;
        } else {
            return Err(piece.unexpected(parser, "WITH (…), PARTITIONED BY (…) or the end of the statement"));
        }
    }
    let columns = &elements.columns;
    for (i, column) in columns.iter().enumerate() {
        if columns[..i].iter().any(|c| c.name == column.name) {
            let what = format!("column `{}` is declared twice", column.name);
            errors.push(Error::new(Code::Duplicate, what).at(column.place.clone()));
        }
    }
    check_names(&partitioned_by, columns, errors);
    check_names(&elements.primary_key, columns, errors);
    let watermark = watermark(&elements, &mut options, errors);
    Ok(finish(Names { table, place, partitioned_by, with }, elements, watermark, options, errors))
}

fn names(piece: &Piece<'_>, parser: &mut Parser) -> Result<Vec<Named>> {
    let syntax = |e| piece.syntax(e);
    parser.expect_token(&Token::LParen).map_err(syntax)?;
    let mut names = Vec::new();
    loop {
        let at = piece.here(parser);
        names.push((name(&parser.parse_identifier().map_err(syntax)?), at));
        if !parser.consume_token(&Token::Comma) {
            break;
        }
    }
    parser.expect_token(&Token::RParen).map_err(syntax)?;
    Ok(names)
}

fn check_names(names: &[Named], columns: &[ColumnSpec], errors: &mut Vec<Error>) {
    for (name, at) in names {
        find(name, at, columns, errors);
    }
}

fn find<'a>(
    name: &str,
    at: &Place,
    columns: &'a [ColumnSpec],
    errors: &mut Vec<Error>,
) -> Option<&'a ColumnSpec> {
    let found = columns.iter().find(|c| c.name == name);
    if found.is_none() {
        let error = Error::new(Code::UnknownName, format!("the table has no column `{name}`")).at(at.clone());
        errors.push(error.expected(suggest(name, columns.iter().map(|c| c.name.as_str()))));
    }
    found
}

fn element(
    piece: &Piece<'_>,
    parser: &mut Parser,
    elements: &mut Elements,
    errors: &mut Vec<Error>,
) -> Result<()> {
    let syntax = |e| piece.syntax(e);
    let place = piece.here(parser);
    if parser.parse_keywords(&[Keyword::PRIMARY, Keyword::KEY]) {
        elements.primary_key = names(piece, parser)?;
        return Ok(());
    }
    let second = parser.peek_nth_token(1).token;
    if matches!(&second, Token::Word(w) if w.keyword == Keyword::FOR) && take_word(parser, "WATERMARK") {
        parser.advance_token();
        let at = piece.here(parser);
        let column = name(&parser.parse_identifier().map_err(syntax)?);
        let expr_at = if parser.parse_keyword(Keyword::AS) { Some(piece.here(parser)) } else { None };
        let expr = match expr_at {
            Some(at) => Some((parser.parse_expr().map_err(syntax)?, at)),
            None => None,
        };
        if elements.watermark.replace(((column, at), expr)).is_some() {
            errors.push(Error::new(Code::Duplicate, "a table has one WATERMARK").at(place));
        }
        return Ok(());
    }
    let column = column(piece, parser, elements, place, errors)?;
    elements.columns.push(column);
    Ok(())
}

fn column(
    piece: &Piece<'_>,
    parser: &mut Parser,
    elements: &mut Elements,
    place: Place,
    errors: &mut Vec<Error>,
) -> Result<ColumnSpec> {
    let syntax = |e| piece.syntax(e);
    let column = name(&parser.parse_identifier().map_err(syntax)?);
    if column.starts_with("__") {
        let what = format!("`{column}`: names that start with __ are weir's own");
        errors.push(Error::new(Code::BadColumn, what).at(place.clone()));
    }
    let kind = types::parse(piece, parser)?;
    let (mut nullable, mut source) = (true, if kind.json { ColumnSource::Json } else { ColumnSource::Value });
    loop {
        if parser.parse_keywords(&[Keyword::NOT, Keyword::NULL]) {
            nullable = false;
        } else if parser.parse_keyword(Keyword::NULL) {
            nullable = true;
        } else if parser.parse_keywords(&[Keyword::PRIMARY, Keyword::KEY]) {
            elements.primary_key.push((column.clone(), place.clone()));
            nullable = false;
        } else if take_word(parser, "METADATA") {
            parser.expect_keyword_is(Keyword::FROM).map_err(syntax)?;
            let at = piece.here(parser);
            let key = parser.parse_literal_string().map_err(syntax)?;
            match metadata(&key, &kind.data_type) {
                Ok(key) => source = ColumnSource::Metadata(key),
                Err(error) => errors.push(error.at(at)),
            }
        } else if parser.parse_keywords(&[Keyword::GENERATED, Keyword::ALWAYS, Keyword::AS]) {
            parser.expect_token(&Token::LParen).map_err(syntax)?;
            source = ColumnSource::Generated(parser.parse_expr().map_err(syntax)?);
            parser.expect_token(&Token::RParen).map_err(syntax)?;
            let _ = parser.parse_one_of_keywords(&[Keyword::STORED, Keyword::VIRTUAL]);
        } else if matches!(parser.peek_token_ref().token, Token::Comma | Token::RParen) {
            return Ok(ColumnSpec { name: column, data_type: kind.data_type, nullable, source, place });
        } else {
            let expected = "NOT NULL, PRIMARY KEY, METADATA FROM '…', GENERATED ALWAYS AS (…), `,` or `)`";
            return Err(piece.unexpected(parser, expected));
        }
    }
}

fn metadata(key: &str, data_type: &datafusion::arrow::datatypes::DataType) -> Result<MetadataKey> {
    use datafusion::arrow::datatypes::DataType as D;
    const KEYS: [&str; 7] = ["offset_id", "offset", "partition", "topic", "timestamp", "key", "header."];
    let (found, fits, expected) = match key {
        "offset_id" | "offset" => (MetadataKey::Offset, *data_type == D::Int64, "BIGINT"),
        "partition" => (MetadataKey::Partition, matches!(data_type, D::Int64 | D::Int32), "BIGINT or INT"),
        "topic" => (MetadataKey::Topic, *data_type == D::Utf8, "TEXT"),
        "timestamp" => (MetadataKey::Timestamp, *data_type == TIMESTAMP, "TIMESTAMP"),
        "key" => (MetadataKey::Key, matches!(data_type, D::Utf8 | D::Binary), "TEXT or BYTEA"),
        _ => match key.strip_prefix("header.") {
            Some(header) if !header.is_empty() => {
                let nested = matches!(data_type, D::Struct(_) | D::List(_));
                (MetadataKey::Header(header.into()), !nested, "a type without fields or elements")
            }
            _ => {
                return Err(Error::new(Code::UnknownName, format!("a record has no metadata '{key}'"))
                    .expected(suggest(key, KEYS)));
            }
        },
    };
    if fits {
        return Ok(found);
    }
    let what = format!("metadata '{key}' does not fit {}", types::shown(data_type));
    Err(Error::new(Code::BadColumn, what).expected(expected))
}

/// Lateness out of `c` or `c - INTERVAL '…'`.
fn lateness(column: &str, expr: &Expr) -> Option<Span> {
    match expr {
        Expr::Nested(inner) => lateness(column, inner),
        Expr::Identifier(ident) => (name(ident) == column).then_some(0),
        Expr::BinaryOp { left, op: BinaryOperator::Minus, right } => match (left.as_ref(), right.as_ref()) {
            (Expr::Identifier(ident), Expr::Interval(i)) if name(ident) == column => interval_span(i),
            _ => None,
        },
        _ => None,
    }
}

fn watermark(elements: &Elements, options: &mut Options, errors: &mut Vec<Error>) -> Option<Watermark> {
    let field = options.text("event_time_field", errors);
    let mark = options.text("watermark_field", errors);
    let columns = &elements.columns;
    let ((column, at), expr) = match (&elements.watermark, field) {
        (Some(watermark), None) => watermark.clone(),
        (None, Some((column, at))) => {
            let expr = match mark {
                Some((mark, mark_at)) => match &find(&mark, &mark_at, columns, errors)?.source {
                    ColumnSource::Generated(expr) => Some((expr.clone(), mark_at)),
                    _ => {
                        let what = format!("`{mark}` is not a generated column");
                        errors.push(
                            Error::new(Code::BadOption, what).at(mark_at).expected("a generated column"),
                        );
                        return None;
                    }
                },
                None => None,
            };
            ((column, at), expr)
        }
        (Some((_, _)), Some((_, at))) => {
            errors.push(Error::new(Code::Duplicate, "the table has WATERMARK FOR already").at(at));
            return None;
        }
        (None, None) => {
            if let Some((_, at)) = mark {
                let error = Error::new(Code::BadOption, "`watermark_field` stands alone").at(at);
                errors.push(error.expected("event_time_field beside it, or WATERMARK FOR"));
            }
            return None;
        }
    };
    let found = find(&column, &at, columns, errors)?;
    if found.data_type != TIMESTAMP {
        let what = format!("the event-time column `{column}` is {}", types::shown(&found.data_type));
        errors.push(Error::new(Code::BadColumn, what).at(at).expected("TIMESTAMP"));
        return None;
    }
    let lateness = match expr {
        None => Some(0),
        Some((expr, at)) => {
            let span = lateness(&column, &expr).filter(|span| *span >= 0);
            if span.is_none() {
                let expected = format!("{column} or {column} - INTERVAL '…', the interval not negative");
                let what = format!("cannot take the lateness from `{expr}`");
                errors.push(Error::new(Code::BadOption, what).at(at).expected(expected));
            }
            span
        }
    };

    Some(Watermark { column, lateness: lateness? })
}

struct Names {
    table: String,
    place: Place,
    partitioned_by: Vec<Named>,
    with: bool,
}

fn finish(
    names: Names,
    elements: Elements,
    watermark: Option<Watermark>,
    mut options: Options,
    errors: &mut Vec<Error>,
) -> Declared {
    let Names { table, place, partitioned_by, with } = names;
    let connector = options.text("connector", errors).map_or(String::new(), |(text, _)| text);
    let reference = connector == "reference";
    if let Some(("lookup", at)) = options.peek("type") {
        let what = "lookup tables are not there yet: a rule asks nothing outside";
        let expected = "connector = 'reference': rows that hold as of event time";
        errors.push(Error::new(Code::NotYet, what).at(at.clone()).expected(expected));
        let _ = options.text("type", errors);
    }
    let given_kind =
        options.one_of("type", &[("source", TableKind::Source), ("sink", TableKind::Sink)], errors);
    let kind = match given_kind {
        _ if reference => TableKind::Reference,
        _ if !with && watermark.is_none() && elements.watermark.is_none() => TableKind::Memory,
        Some(kind) => kind,
        None => TableKind::Source,
    };
    let mut spec = TableSpec {
        format: format(&mut options, errors),
        idle_after: options.span("idle_after", 1, errors),
        max_ahead: options.span("max_ahead", 0, errors).unwrap_or(MAX_AHEAD_DEFAULT),
        append_time: options.one_of(
            "append_time",
            &[("broker", AppendTime::Broker), ("producer", AppendTime::Producer)],
            errors,
        ),
        dedup: dedup(&elements.columns, &mut options, &place, errors),
        max_record_bytes: options
            .count("max_record_bytes", 1, errors)
            .and_then(|n| usize::try_from(n).ok())
            .unwrap_or(MAX_RECORD_BYTES_DEFAULT),
        options: Default::default(),
        rows: Vec::new(),
        name: table,
        primary_key: elements.primary_key.into_iter().map(|(name, _)| name).collect(),
        partitioned_by: partitioned_by.into_iter().map(|(name, _)| name).collect(),
        columns: elements.columns,
        watermark,
        kind,
        connector,
        place,
    };
    if let Some(unit) = options.one_of(TIMESTAMP_UNIT, &[("us", "us"), ("ms", "ms"), ("s", "s")], errors) {
        spec.options.insert(TIMESTAMP_UNIT.into(), unit.into());
    }
    if reference {
        options.unknown("a reference table", &["connector"], errors);
    } else {
        spec.options.extend(options.rest());
    }
    check(&spec, errors);
    Declared { typed: given_kind.is_some(), broken: false, spec }
}

fn format(options: &mut Options, errors: &mut Vec<Error>) -> Format {
    const LATER: [&str; 6] = ["debezium_json", "avro", "protobuf", "raw_string", "csv", "arrow"];
    let Some((text, at)) = options.text("format", errors) else { return Format::Json };
    let lower = text.to_lowercase();
    match lower.as_str() {
        "json" => return Format::Json,
        "parquet" => return Format::Parquet,
        "raw_bytes" => return Format::RawBytes,
        _ => {}
    }
    let error = if LATER.contains(&lower.as_str()) {
        Error::new(Code::NotYet, format!("format '{text}' is not there yet"))
    } else {
        Error::new(Code::BadOption, format!("there is no format '{text}'"))
    };
    let expected = match nearest(&lower, ["json", "parquet", "raw_bytes"]) {
        Some(near) if !LATER.contains(&lower.as_str()) => format!("{near} (did you mean that?)"),
        _ => "json, parquet, raw_bytes".into(),
    };
    errors.push(error.at(at).expected(expected));
    Format::Json
}

fn dedup(
    columns: &[ColumnSpec],
    options: &mut Options,
    place: &Place,
    errors: &mut Vec<Error>,
) -> Option<Dedup> {
    let has_within = options.has("dedup_within");
    let column = options.text("dedup", errors);
    let within = options.span("dedup_within", 1, errors);
    match (column, within) {
        (Some((column, at)), Some(within)) => {
            find(&column, &at, columns, errors)?;
            Some(Dedup { column, within })
        }
        (Some((_, at)), None) if !has_within => {
            let error = Error::new(Code::BadOption, "`dedup` needs a horizon").at(at);
            errors.push(error.expected("dedup_within = INTERVAL '…' beside it"));
            None
        }
        (None, Some(_)) => {
            let error = Error::new(Code::BadOption, "`dedup_within` needs a column").at(place.clone());
            errors.push(error.expected("dedup = 'column' beside it"));
            None
        }
        _ => None,
    }
}

/// What the parts of one table must be to each other.
fn check(spec: &TableSpec, errors: &mut Vec<Error>) {
    let mut refuse = |code: Code, what: String, expected: &str| {
        errors.push(Error::new(code, what).at(spec.place.clone()).expected(expected));
    };
    let table = &spec.name;
    if spec.columns.is_empty() {
        refuse(Code::BadColumn, format!("table `{table}` has no columns"), "( column TYPE, … )");
    }
    let streamed = matches!(spec.kind, TableKind::Source | TableKind::Sink);
    if !streamed {
        let what =
            if spec.kind == TableKind::Reference { "a reference table" } else { "a table without WITH" };
        if spec.watermark.is_some() || spec.dedup.is_some() || spec.idle_after.is_some() {
            refuse(Code::BadOption, format!("{what} is no stream"), "no watermark, dedup or idle_after");
        }
        if !spec.partitioned_by.is_empty() {
            refuse(Code::BadOption, format!("{what} has no partitions"), "no PARTITIONED BY");
        }
        for column in &spec.columns {
            if !matches!(column.source, ColumnSource::Value | ColumnSource::Json) {
                refuse(Code::BadColumn, format!("{what} has no records"), "no METADATA or GENERATED columns");
            }
        }
    }
    if spec.format == Format::RawBytes {
        let values =
            || spec.columns.iter().filter(|c| matches!(c.source, ColumnSource::Value | ColumnSource::Json));
        let bytes = values().all(|c| c.data_type == DataType::Binary);
        if values().count() != 1 || !bytes {
            let what = format!("`{table}` has the format raw_bytes: its record's value is one column");
            refuse(
                Code::BadColumn,
                what,
                "one BYTEA column; all others METADATA FROM 'header.…' or GENERATED",
            );
        }
        if spec.kind == TableKind::Sink {
            refuse(Code::NotYet, format!("`{table}` is written as raw_bytes"), "format = 'json'");
        }
    }
    if spec.kind == TableKind::Reference && spec.primary_key.is_empty() {
        refuse(Code::BadColumn, format!("reference table `{table}` has no key"), "PRIMARY KEY (…)");
    }
    if spec.dedup.is_some() && spec.watermark.is_none() {
        refuse(Code::BadOption, format!("`dedup` of `{table}` has no event time"), "WATERMARK FOR beside it");
    }
}
