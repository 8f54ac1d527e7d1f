//! A table of a TOML file that remembers what was asked of it: what nobody asked for is unknown.
//!
//! In:   the parsed file. Out: values, and one error for each thing that is wrong, with its place.
//! Owns: the forms of values: spans (`"30 s"`), sizes (`"64 MiB"`), and which name is nearest.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use toml_edit::{Item, TableLike, Value};
use weir_contract::time::parse_span;
use weir_contract::{Code, Error, Place};

/// The file and what is wrong with it.
pub struct Source<'a> {
    pub file: &'a str,
    pub text: &'a str,
    pub errors: RefCell<Vec<Error>>,
    /// Every name that was asked for.
    pub names: RefCell<BTreeSet<String>>,
}

impl Source<'_> {
    pub fn place(&self, at: Option<usize>) -> Place {
        let before = &self.text[..at.unwrap_or(0).min(self.text.len())];
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        Place::Script { file: self.file.into(), line: line as u64, column: column as u64 }
    }

    pub fn wrong(&self, code: Code, what: impl Into<String>, expected: impl Into<String>, at: Option<usize>) {
        let error = Error::new(code, what)
            .expected(expected)
            .at(self.place(at))
            .act("owner of the device. The agent did not start.");
        self.errors.borrow_mut().push(error);
    }
}

/// One table.
pub struct Section<'a> {
    source: Rc<Source<'a>>,
    /// As a person writes it, such as `spool.scans`.
    name: String,
    table: Option<&'a dyn TableLike>,
    start: Option<usize>,
    asked: RefCell<Vec<&'static str>>,
}

impl<'a> Section<'a> {
    pub fn new(
        source: Rc<Source<'a>>,
        name: &str,
        table: Option<&'a dyn TableLike>,
        start: Option<usize>,
    ) -> Self {
        Self { source, name: name.into(), table, start, asked: RefCell::default() }
    }

    fn full(&self, key: &str) -> String {
        if self.name.is_empty() { key.into() } else { format!("{}.{key}", self.name) }
    }

    fn item(&self, key: &'static str) -> Option<&'a Item> {
        self.asked.borrow_mut().push(key);
        self.source.names.borrow_mut().insert(self.full(key));
        self.table?.get(key)
    }

    pub fn is_there(&self) -> bool {
        self.table.is_some()
    }

    /// Whether a key is there; asks for nothing.
    pub fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|t| t.contains_key(key))
    }

    /// Something is wrong with a value that has the right type.
    pub fn wrong(&self, key: &str, what: &str, expected: &str) {
        let at = self.table.and_then(|t| t.get(key)?.span()).map(|s| s.start).or(self.start);
        self.source.wrong(Code::BadOption, format!("`{}` {what}", self.full(key)), expected, at);
    }

    fn value<T>(&self, key: &'static str, expected: &str, read: impl Fn(&Value) -> Option<T>) -> Option<T> {
        let item = self.item(key)?;
        let read = item.as_value().and_then(read);
        if read.is_none() {
            self.wrong(key, "cannot take this value", expected);
        }
        read
    }

    pub fn text(&self, key: &'static str) -> Option<String> {
        self.value(key, "a text that is not empty", |v| {
            Some(v.as_str()?.to_owned()).filter(|t| !t.trim().is_empty())
        })
    }

    /// A text that has to be there.
    pub fn need(&self, key: &'static str, expected: &str) -> String {
        let there = self.table.is_some_and(|t| t.contains_key(key));
        let text = self.text(key);
        if !there {
            let what = format!("`{}` is missing", self.full(key));
            self.source.wrong(Code::BadOption, what, expected, self.start);
        }
        text.unwrap_or_default()
    }

    /// One of several words.
    pub fn choice<T: Copy>(&self, key: &'static str, words: &[(&str, T)]) -> Option<T> {
        let list: Vec<String> = words.iter().map(|(w, _)| format!("\"{w}\"")).collect();
        self.value(key, &list.join(" or "), |v| {
            let text = v.as_str()?;
            words.iter().find(|(w, _)| *w == text).map(|(_, t)| *t)
        })
    }

    pub fn number(&self, key: &'static str, from: i64, to: i64) -> Option<i64> {
        self.value(key, &format!("a whole number from {from} to {to}"), |v| {
            v.as_integer().filter(|n| (from..=to).contains(n))
        })
    }

    /// A number above 0 and at most `to`.
    pub fn rate(&self, key: &'static str, to: f64) -> Option<f64> {
        self.value(key, &format!("a number above 0 and at most {to}"), |v| {
            let number = v.as_float().or_else(|| v.as_integer().map(|n| n as f64))?;
            Some(number).filter(|n| *n > 0.0 && *n <= to)
        })
    }

    pub fn flag(&self, key: &'static str) -> Option<bool> {
        self.value(key, "true or false", Value::as_bool)
    }

    /// Microseconds, above 0.
    pub fn span_us(&self, key: &'static str) -> Option<i64> {
        self.value(key, "a span such as \"30 s\" or \"7 days\"", |v| {
            parse_span(v.as_str()?).filter(|us| *us > 0)
        })
    }

    /// Bytes, above 0.
    pub fn bytes(&self, key: &'static str) -> Option<u64> {
        self.value(key, "a size such as \"64 MiB\"", |v| parse_bytes(v.as_str()?))
    }

    pub fn texts(&self, key: &'static str) -> Option<Vec<String>> {
        self.value(key, "a list of texts", |v| {
            v.as_array()?.iter().map(|t| Some(t.as_str()?.to_owned())).collect()
        })
    }

    /// A table below; an empty one where it is not there.
    pub fn below(&self, key: &'static str) -> Section<'a> {
        let item = self.item(key);
        let table = item.and_then(Item::as_table_like);
        if item.is_some() && table.is_none() {
            self.wrong(key, "is not a table", &format!("[{}]", self.full(key)));
        }
        let start = item.and_then(Item::span).map(|s| s.start).or(self.start);
        Section::new(self.source.clone(), &self.full(key), table, start)
    }

    /// Tables of a list such as `[[scanner]]`.
    pub fn each(&self, key: &'static str) -> Vec<Section<'a>> {
        let Some(item) = self.item(key) else { return Vec::new() };
        let Some(list) = item.as_array_of_tables() else {
            self.wrong(key, "is not a list of tables", &format!("[[{}]]", self.full(key)));
            return Vec::new();
        };
        let section = |table: &'a toml_edit::Table| {
            let start = table.span().map(|s| s.start);
            Section::new(self.source.clone(), &self.full(key), Some(table), start)
        };
        list.iter().map(section).collect()
    }

    /// Keys that are somebody else's names, with texts.
    pub fn free(self) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        for (key, item) in self.table.iter().flat_map(|t| t.iter()) {
            let text = item.as_value().and_then(|v| match v {
                Value::String(s) => Some(s.value().clone()),
                Value::Integer(n) => Some(n.value().to_string()),
                Value::Boolean(b) => Some(b.value().to_string()),
                _ => None,
            });
            match text {
                Some(text) => {
                    found.insert(key.to_owned(), text);
                }
                None => self.wrong(key, "cannot take this value", "\"name\" = \"value\""),
            }
        }
        found
    }

    /// Refuses what nobody asked for.
    pub fn done(self) {
        let asked = self.asked.borrow();
        for (key, item) in self.table.iter().flat_map(|t| t.iter()) {
            if asked.contains(&key) {
                continue;
            }
            let span = self.table.and_then(|t| t.get_key_value(key)?.0.span()).or_else(|| item.span());
            let near = nearest(key, &asked).map(|n| format!("`{n}`"));
            let mut all: Vec<&str> = asked.clone();
            all.sort_unstable();
            let expected = near.unwrap_or_else(|| format!("one of {}", all.join(", ")));
            let what = format!("`{}` is not known", self.full(key));
            self.source.wrong(Code::UnknownOption, what, expected, span.map(|s| s.start));
        }
    }
}

fn parse_bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..end].parse().ok()?;
    let unit: u64 = match text[end..].trim() {
        "" | "B" => 1,
        "kB" | "KB" => 1_000,
        "KiB" => 1 << 10,
        "MB" => 1_000_000,
        "MiB" => 1 << 20,
        "GB" => 1_000_000_000,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(unit).filter(|n| *n > 0)
}

/// The known name with the fewest edits, where those are few.
fn nearest<'n>(name: &str, known: &[&'n str]) -> Option<&'n str> {
    let best = known.iter().map(|k| (edits(name, k), *k)).min()?;
    (best.0 <= 1 + name.len() / 4).then_some(best.1)
}

fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = (diagonal + usize::from(x != *y)).min(above + 1).min(row[j] + 1);
            diagonal = above;
        }
    }
    row[b.len()]
}
