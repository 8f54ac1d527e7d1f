//! Scripts to a [`Script`]: statements in, catalog or all errors out.
//!
//! In:   script files.
//! Out:  tables, views, rules, inserts and queries in the order written, or every error of every file.
//! Owns: which statements exist; what only the whole program can tell (names are unique, a table is a
//!       sink because something is inserted into it, the rows of memory tables).
//!
//! A statement with a syntax error ends at its semicolon; the others are read all the same.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use datafusion::sql::sqlparser::ast::{Expr, Query, SetExpr, Value};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;
use weir_contract::{Code, Error, Place, Result};

use super::catalog::{InsertSpec, QuerySpec, Script, TableKind, TableSpec, ViewSpec};
use super::ddl::{self, Declared, name};
use super::nearest::{nearest, suggest};
use super::text::{Piece, Source, take_word};
use super::{asof, rule};

/// A script file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// Path as messages show it.
    pub name: String,
    /// Last part of the folder's name; empty where a single file was given.
    pub folder: String,
    pub text: String,
}

/// First words of a file that is a program by itself: it is not read with the folder that it lies in.
pub const ALONE: &str = "-- program:";

/// Reads one `.sql` file, or all of a folder and the folders in it, sorted by path, without `*.test.sql` and
/// without files that begin with [`ALONE`].
///
/// # Errors
/// `W0405` where a file or folder cannot be read, or a folder holds no script.
pub fn load(path: &Path) -> Result<Vec<SourceFile>> {
    let unreadable = |path: &Path, e: std::io::Error| {
        Error::new(Code::BadFile, format!("cannot read the script: {e}"))
            .at(Place::Path(path.display().to_string()))
    };
    let read = |path: &Path, folder: String| -> Result<SourceFile> {
        let text = std::fs::read_to_string(path).map_err(|e| unreadable(path, e))?;
        Ok(SourceFile { name: path.display().to_string(), folder, text })
    };
    if !path.is_dir() {
        return Ok(vec![read(path, String::new())?]);
    }
    let (mut open, mut found): (Vec<PathBuf>, Vec<PathBuf>) = (vec![path.into()], Vec::new());
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).map_err(|e| unreadable(&folder, e))? {
            let inner = entry.map_err(|e| unreadable(&folder, e))?.path();
            let file = inner.file_name().and_then(|n| n.to_str()).unwrap_or_default();
            if inner.is_dir() {
                if !file.starts_with('.') {
                    open.push(inner);
                }
            } else if file.ends_with(".sql") && !file.ends_with(".test.sql") {
                found.push(inner);
            }
        }
    }
    found.sort();
    let folder_of = |file: &Path| {
        let folder = file.parent().unwrap_or(path);
        if folder == path { program_name(path) } else { last_part(folder) }
    };
    let mut files = found.iter().map(|file| read(file, folder_of(file))).collect::<Result<Vec<_>>>()?;
    files.retain(|file| !file.text.starts_with(ALONE));
    if files.is_empty() {
        return Err(Error::new(Code::BadFile, "the folder holds no script")
            .at(Place::Path(path.display().to_string()))
            .expected("files named *.sql"));
    }
    Ok(files)
}

fn last_part(path: &Path) -> String {
    path.file_name().map_or(String::new(), |n| n.to_string_lossy().into_owned())
}

/// A program's name: that of its folder, or of its file without `.sql`.
pub fn program_name(path: &Path) -> String {
    let path = match path.file_name() {
        Some(_) => path.to_path_buf(),
        None => path.canonicalize().unwrap_or_else(|_| path.into()), // `.` or `..`
    };
    let name = last_part(&path);
    name.strip_suffix(".sql").unwrap_or(&name).to_owned()
}

/// Reads a whole program. All errors of all files come back together, in the order of their places.
pub fn read(files: &[SourceFile]) -> std::result::Result<Script, Vec<Error>> {
    let mut reading = Reading::default();
    for file in files {
        let source = Source { name: &file.name, text: &file.text, folder: &file.folder };
        match source.pieces() {
            Ok(pieces) => {
                for piece in pieces {
                    if let Err(error) = reading.statement(piece) {
                        reading.errors.push(error);
                    }
                }
            }
            Err(error) => reading.errors.push(error),
        }
    }
    reading.finish(files)
}

/// A query at the parser's place, to the end of the statement; as-of joins are marked.
pub(super) fn query(piece: &Piece<'_>, parser: &mut Parser) -> Result<Query> {
    let mut query = *parser.parse_query().map_err(|e| piece.syntax(e))?;
    if parser.peek_token_ref().token != Token::EOF {
        return Err(piece.unexpected(parser, "the end of the statement or a `;`"));
    }
    asof::mark(&mut query);
    Ok(query)
}

/// An insert whose table is not looked up yet.
struct Insert {
    spec: InsertSpec,
    columns: Vec<(String, Place)>,
    table_at: Place,
}

#[derive(Default)]
struct Reading {
    tables: Vec<Declared>,
    script: Script,
    inserts: Vec<Insert>,
    names: BTreeMap<String, Place>,
    errors: Vec<Error>,
}

/// Statements of PostgreSQL that are none here, and what stands for them.
const OTHERS: [(&str, &str); 22] = [
    ("DROP", "the CREATE statement taken out of the script"),
    ("SHOW", "weir check FOLDER, weir explain FOLDER"),
    ("DESCRIBE", "weir explain FOLDER NAME"),
    ("EXPLAIN", "weir explain FOLDER NAME"),
    ("ALTER", "the CREATE statement changed in the script"),
    ("COPY", "INSERT INTO a table WITH (connector = 'single_file', …) or 'filesystem'"),
    ("SET", "options in WITH (…), the environment variables WEIR_…"),
    ("RESET", "options in WITH (…), the environment variables WEIR_…"),
    ("UPDATE", "any SQL client of the reference database; a stream is only added to"),
    ("DELETE", "any SQL client of the reference database; a stream is only added to"),
    ("MERGE", "any SQL client of the reference database; a stream is only added to"),
    ("TRUNCATE", "any SQL client of the reference database; a stream is only added to"),
    ("BEGIN", "statements by themselves: nothing of a script is in effect before all of it is"),
    ("COMMIT", "statements by themselves: nothing of a script is in effect before all of it is"),
    ("ROLLBACK", "statements by themselves: nothing of a script is in effect before all of it is"),
    ("ANALYZE", "nothing: plans do not depend on statistics"),
    ("VACUUM", "nothing: state is dropped when event time has passed it"),
    ("GRANT", "the rights of the broker and of the reference database"),
    ("REVOKE", "the rights of the broker and of the reference database"),
    ("PREPARE", "the query itself"),
    ("EXECUTE", "the query itself"),
    ("CALL", "a query"),
];

const STATEMENTS: &str = "CREATE TABLE, CREATE VIEW, CREATE RULE, INSERT INTO or SELECT";

impl Reading {
    fn statement(&mut self, mut piece: Piece<'_>) -> Result<()> {
        let text = piece.text();
        asof::rewrite_tokens(&mut piece)?;
        let piece = &piece;
        let parser = &mut piece.parser();
        let place = piece.place();
        if parser.parse_keyword(Keyword::CREATE) {
            if parser.parse_keyword(Keyword::TABLE) {
                let before = self.errors.len();
                let mut declared = ddl::parse(piece, parser, &mut self.errors)?;
                declared.broken = self.errors.len() > before;
                self.define(&declared.spec.name, place);
                self.tables.push(declared);
            } else if parser.parse_keyword(Keyword::VIEW) {
                let view = object(piece, parser)?;
                parser.expect_keyword_is(Keyword::AS).map_err(|e| piece.syntax(e))?;
                self.define(&view, place.clone());
                let query = query(piece, parser)?;
                self.script.views.push(ViewSpec { name: view, query, text: text.into(), place });
            } else if rule::follows(parser) {
                parser.advance_token();
                let rule = rule::parse(piece, parser, &mut self.errors)?;
                self.define(&rule.name, place);
                self.script.rules.push(rule);
            } else {
                return Err(self.unknown(piece, parser, &["TABLE", "VIEW", "RULE"], "TABLE, VIEW or RULE"));
            }
        } else if parser.parse_keyword(Keyword::INSERT) {
            self.insert(piece, parser, text)?;
        } else if begins_query(parser) {
            let query = query(piece, parser)?;
            self.script.queries.push(QuerySpec { query, text: text.into(), place });
        } else if let Some((word, instead)) = OTHERS.iter().find(|(word, _)| take_word(parser, word)) {
            let what = format!("{word} is not there yet: a script says what is");
            return Err(Error::new(Code::NotYet, what).at(place).expected(*instead));
        } else {
            return Err(self.unknown(piece, parser, &["CREATE", "INSERT", "SELECT", "WITH"], STATEMENTS));
        }
        Ok(())
    }

    fn unknown(&self, piece: &Piece<'_>, parser: &Parser, words: &[&str], expected: &str) -> Error {
        let near = match &parser.peek_token_ref().token {
            Token::Word(w) => nearest(&w.value, words.iter().copied()),
            _ => None,
        };
        piece.unexpected(parser, near.map_or(expected.into(), |near| format!("{near} (did you mean that?)")))
    }

    fn define(&mut self, name: &str, place: Place) {
        if let Some(first) = self.names.get(name) {
            let what = format!("`{name}` is defined already");
            self.errors
                .push(Error::new(Code::Duplicate, what).at(place).expected(format!("once, as at {first}")));
        } else {
            self.names.insert(name.into(), place);
        }
    }

    fn insert(&mut self, piece: &Piece<'_>, parser: &mut Parser, text: &str) -> Result<()> {
        let syntax = |e| piece.syntax(e);
        parser.expect_keyword_is(Keyword::INTO).map_err(syntax)?;
        let table_at = piece.here(parser);
        let table = object(piece, parser)?;
        let mut columns = Vec::new();
        let inner = parser.peek_nth_token(1).token;
        let selects = matches!(&inner, Token::Word(w)
            if matches!(w.keyword, Keyword::SELECT | Keyword::WITH | Keyword::VALUES));
        if !selects && parser.consume_token(&Token::LParen) {
            loop {
                let at = piece.here(parser);
                columns.push((name(&parser.parse_identifier().map_err(syntax)?), at));
                if !parser.consume_token(&Token::Comma) {
                    break;
                }
            }
            parser.expect_token(&Token::RParen).map_err(syntax)?;
        }
        if !begins_query(parser) {
            return Err(piece.unexpected(parser, "SELECT … or VALUES (…), …"));
        }
        let query = query(piece, parser)?;
        let spec = InsertSpec { table, query, text: text.into(), place: piece.place() };
        self.inserts.push(Insert { spec, columns, table_at });
        Ok(())
    }

    fn finish(mut self, files: &[SourceFile]) -> std::result::Result<Script, Vec<Error>> {
        for insert in std::mem::take(&mut self.inserts) {
            self.attach(insert);
        }
        for table in &mut self.tables {
            let spec = &table.spec;
            if spec.kind == TableKind::Source && spec.watermark.is_none() && !table.broken {
                let what = format!("table `{}` is read but has no event time", spec.name);
                let expected = "WATERMARK FOR column in it, type = 'sink', or an INSERT INTO it";
                self.errors
                    .push(Error::new(Code::NotEventTime, what).at(spec.place.clone()).expected(expected));
            }
        }
        if self.errors.is_empty() {
            self.script.tables = self.tables.into_iter().map(|t| t.spec).collect();
            return Ok(self.script);
        }
        let rank = |error: &Error| match error.place() {
            Some(Place::Script { file, line, column }) => {
                (files.iter().position(|f| f.name == *file).unwrap_or(files.len()), *line, *column)
            }
            _ => (files.len(), 0, 0),
        };
        self.errors.sort_by_key(rank);
        Err(self.errors)
    }

    /// Gives an insert to its table: rows of a memory table, or a query that makes it a sink.
    fn attach(&mut self, insert: Insert) {
        let Insert { spec, columns, table_at } = insert;
        let Some(found) = self.tables.iter_mut().find(|t| t.spec.name == spec.table) else {
            let names = self.tables.iter().map(|t| t.spec.name.as_str());
            let error =
                Error::new(Code::UnknownName, format!("there is no table `{}`", spec.table)).at(table_at);
            self.errors.push(error.expected(suggest(&spec.table, names)));
            return;
        };
        let table = &mut found.spec;
        let before = self.errors.len();
        for (column, at) in &columns {
            if !table.columns.iter().any(|c| c.name == *column) {
                let what = format!("table `{}` has no column `{column}`", table.name);
                let near = suggest(column, table.columns.iter().map(|c| c.name.as_str()));
                self.errors.push(Error::new(Code::UnknownName, what).at(at.clone()).expected(near));
            }
        }
        if self.errors.len() > before {
            return;
        }
        match table.kind {
            TableKind::Reference => {
                let what = format!("`{}` is a reference table: its rows live in the database", table.name);
                let error = Error::new(Code::BadOption, what).at(table_at);
                self.errors.push(error.expected(
                    "--reference FILE.sql for a new database, any SQL client of one that is there",
                ));
            }
            TableKind::Memory => match rows(&spec, &columns, table) {
                Ok(rows) => table.rows.extend(rows),
                Err(error) => self.errors.push(error),
            },
            TableKind::Source | TableKind::Sink => {
                if !found.typed && table.watermark.is_none() {
                    table.kind = TableKind::Sink;
                }
                let declared = table.columns.iter().map(|c| &c.name);
                if !columns.is_empty() && !declared.eq(columns.iter().map(|(c, _)| c)) {
                    let error =
                        Error::new(Code::NotYet, "an INSERT into a stream fills all columns in their order");
                    self.errors.push(error.at(table_at.clone()).expected("no column list"));
                }
                if table.idle_after.is_some() {
                    let what = format!("`{}` is fed by INSERT INTO: its feeder tells the time", table.name);
                    self.errors
                        .push(Error::new(Code::BadOption, what).at(table_at).expected("no idle_after"));
                }
                self.script.inserts.push(spec);
            }
        }
    }
}

fn begins_query(parser: &Parser) -> bool {
    let mut n = 0;
    while parser.peek_nth_token_ref(n).token == Token::LParen {
        n += 1;
    }
    matches!(&parser.peek_nth_token_ref(n).token, Token::Word(w)
        if matches!(w.keyword, Keyword::SELECT | Keyword::WITH | Keyword::VALUES))
}

/// A name with at most a schema before it (`given.units` in tests of rules), folded.
fn object(piece: &Piece<'_>, parser: &mut Parser) -> Result<String> {
    let at = piece.here(parser);
    let full = parser.parse_object_name(false).map_err(|e| piece.syntax(e))?;
    let parts: Vec<String> = full.0.iter().filter_map(|p| p.as_ident()).map(name).collect();
    if parts.len() > 2 || parts.len() != full.0.len() {
        return Err(Error::new(Code::Syntax, format!("`{full}` is not a name")).at(at).expected("a name"));
    }
    Ok(parts.join("."))
}

/// Rows of `VALUES (…), …` in the order of the table's columns; a column that is not named is NULL.
fn rows(spec: &InsertSpec, columns: &[(String, Place)], table: &TableSpec) -> Result<Vec<Vec<Expr>>> {
    let SetExpr::Values(values) = spec.query.body.as_ref() else {
        return Err(Error::new(Code::NotYet, format!("`{}` is a table of constant rows", table.name))
            .at(spec.place.clone())
            .expected("INSERT INTO … VALUES (…), …; or WITH (…) at the table, to make it a stream"));
    };
    let width = if columns.is_empty() { table.columns.len() } else { columns.len() };
    let row = |given: &Vec<Expr>| -> Result<Vec<Expr>> {
        if given.len() != width {
            let what = format!("a row of {} values for {width} columns", given.len());
            return Err(Error::new(Code::BadColumn, what)
                .at(spec.place.clone())
                .expected(format!("{width} values")));
        }
        if columns.is_empty() {
            return Ok(given.clone());
        }
        let value = |column: &str| {
            let index = columns.iter().position(|(c, _)| c == column);
            index.map_or_else(|| Expr::Value(Value::Null.with_empty_span()), |i| given[i].clone())
        };
        Ok(table.columns.iter().map(|c| value(&c.name)).collect())
    };
    values.rows.iter().map(|r| row(&r.content)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_read_sorted_without_tests() {
        let root = tempfile::tempdir().expect("a folder");
        let at = |name: &str| root.path().join("rules").join(name);
        for folder in ["b", "a/c"] {
            std::fs::create_dir_all(at(folder)).expect("a folder");
        }
        for file in ["streams.sql", "b/y.sql", "b/y.test.sql", "a/c/z.sql", "notes.md"] {
            std::fs::write(at(file), "SELECT 1").expect("a file");
        }
        let rules = root.path().join("rules");
        let found = load(&rules).expect("three scripts");
        let seen: Vec<(String, String)> = found
            .into_iter()
            .map(|f| (f.name.rsplit("rules/").next().unwrap_or_default().to_owned(), f.folder))
            .collect();
        let want = [("a/c/z.sql", "c"), ("b/y.sql", "b"), ("streams.sql", "rules")];
        assert_eq!(seen, want.map(|(a, b)| (a.to_owned(), b.to_owned())));
        assert_eq!(program_name(&rules), "rules");
        let single = load(&at("b/y.sql")).expect("one script");
        assert_eq!(
            (single.len(), single[0].folder.as_str(), program_name(&at("b/y.sql"))),
            (1, "", "y".into())
        );
        let missing = load(&root.path().join("none")).expect_err("no such folder");
        assert_eq!(missing.code(), weir_contract::Code::BadFile);
    }
}
