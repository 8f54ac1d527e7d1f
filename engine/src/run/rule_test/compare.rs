//! What a test expects against what came: the difference, as text for people.
//!
//! In:   the rows of an `expect` view, events as JSON objects in the order of their time.
//! Out:  nothing, or a report with the columns that differ and a line for each episode concerned.
//! Owns: how a name finds its value in an event, when two values are equal, how rows are paired.
//!
//! Rows are equal in all columns that the view names. What equals in order is paired first (longest common
//! subsequence); between, a row and an event of the same time and key are told as one that differs, the
//! others as missing or as not expected.

use std::fmt::Write as _;

use serde_json::{Map, Value};
use weir_contract::event::{COLUMNS, canonical, write_canonical};
use weir_contract::{Code, Error, EventTime, Result};

use crate::sql::nearest::suggest;

/// Relative difference up to which two numbers are equal.
const TOLERANCE: f64 = 1e-9;

/// One thing that came, columns by name, and its name in timelines.
#[derive(Debug, Clone)]
pub struct Got {
    /// What a column name finds: the event's columns, then key, `extra` and `evidence` by their own names.
    pub columns: Map<String, Value>,
    /// Warehouse and key.
    pub who: String,
}

impl Got {
    /// `key` are the names of the rule's key columns.
    pub fn of(event: &Map<String, Value>, key: &[String]) -> Got {
        let mut columns = Map::new();
        for inner in ["extra", "evidence"] {
            if let Some(Value::Object(map)) = event.get(inner) {
                columns.extend(map.clone());
            }
        }
        if let Some(Value::Array(values)) = event.get("key") {
            columns.extend(key.iter().cloned().zip(values.iter().cloned()));
        }
        // `unit_id` is a column of its own, also where a rule has it as its key: then both are the same.
        for (name, value) in event {
            if !(value.is_null() && columns.contains_key(name)) {
                columns.insert(name.clone(), value.clone());
            }
        }
        let text = |name: &str| event.get(name).cloned().unwrap_or(Value::Null);
        let who = format!("{} {}", plain(&text("warehouse")), canonical(&text("key")));
        Got { columns, who }
    }

    fn get(&self, name: &str) -> &Value {
        self.columns.get(name).unwrap_or(&Value::Null)
    }

    fn time(&self) -> &Value {
        self.get("event_time")
    }
}

/// Expected rows: column names, then values.
#[derive(Debug, Clone)]
pub struct Expected {
    pub columns: Vec<String>,
    pub rows: Vec<Vec<Value>>,
}

/// The names that an `expect` view may use, beside what came.
fn known(got: &[Got], key: &[String], rule_columns: &[String]) -> Vec<String> {
    let mut names: Vec<String> = COLUMNS.iter().map(|c| (*c).to_owned()).collect();
    names.extend(key.iter().cloned());
    names.extend(rule_columns.iter().cloned());
    names.extend(got.iter().flat_map(|g| g.columns.keys().cloned()));
    names.sort();
    names.dedup();
    names
}

/// The report, or None where all is as expected.
///
/// # Errors
/// `W0602` for a column that no event of the rule can have.
pub fn compare(
    expected: &mut Expected,
    got: &[Got],
    key: &[String],
    rule_columns: &[String],
) -> Result<Option<String>> {
    let names = known(got, key, rule_columns);
    for column in &expected.columns {
        if !names.contains(column) {
            let what = format!("an event of this rule has no column `{column}`");
            let near = suggest(column, names.iter().map(String::as_str));
            return Err(Error::new(Code::BadTest, what).expected(near));
        }
    }
    if let Some(at) = expected.columns.iter().position(|c| c == "event_time") {
        let time = |row: &Vec<Value>| row[at].as_str().and_then(EventTime::parse).map(|t| t.0);
        expected.rows.sort_by_key(time);
    }
    let same = |row: &[Value], got: &Got| {
        expected.columns.iter().zip(row).all(|(column, value)| equal(value, got.get(column)))
    };
    let pairs = common(&expected.rows, got, &same);
    if pairs.len() == expected.rows.len() && pairs.len() == got.len() {
        return Ok(None);
    }
    let mut lines = Lines::default();
    let (mut e, mut g) = (0, 0);
    for (next_e, next_g) in pairs.into_iter().chain([(expected.rows.len(), got.len())]) {
        between(expected, e..next_e, &got[g..next_g], &mut lines);
        (e, g) = (next_e + 1, next_g + 1);
    }
    Ok(Some(lines.report(got)))
}

/// Longest common subsequence: indices into both, ascending.
fn common(
    expected: &[Vec<Value>],
    got: &[Got],
    same: &dyn Fn(&[Value], &Got) -> bool,
) -> Vec<(usize, usize)> {
    let (n, m) = (expected.len(), got.len());
    let mut length = vec![vec![0u32; m + 1]; n + 1];
    let mut equal = vec![vec![false; m]; n];
    for e in (0..n).rev() {
        for g in (0..m).rev() {
            equal[e][g] = same(&expected[e], &got[g]);
            length[e][g] = match equal[e][g] {
                true => length[e + 1][g + 1] + 1,
                false => length[e + 1][g].max(length[e][g + 1]),
            };
        }
    }
    let (mut e, mut g, mut out) = (0, 0, Vec::new());
    while e < n && g < m {
        if equal[e][g] {
            out.push((e, g));
            (e, g) = (e + 1, g + 1);
        } else if length[e + 1][g] >= length[e][g + 1] {
            e += 1;
        } else {
            g += 1;
        }
    }
    out
}

/// Rows of the report: when, what, and expected -> got.
#[derive(Default)]
struct Lines {
    rows: Vec<[String; 3]>,
    concerned: Vec<String>,
}

impl Lines {
    fn concern(&mut self, who: &str) {
        if !self.concerned.iter().any(|w| w == who) {
            self.concerned.push(who.into());
        }
    }

    fn report(self, got: &[Got]) -> String {
        let width = |i: usize| self.rows.iter().map(|r| r[i].chars().count()).max().unwrap_or(0);
        let (first, second) = (width(0), width(1));
        let mut out = String::new();
        for [time, column, change] in &self.rows {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "  {time:first$}  {column:second$}  {change}");
        }
        for who in &self.concerned {
            let steps: Vec<String> = got.iter().filter(|g| g.who == *who).map(step).collect();
            let _ = writeln!(out, "  timeline of {who}: {}", steps.join(" -> "));
        }
        out
    }
}

fn step(got: &Got) -> String {
    let reason = match got.get("reason") {
        Value::String(reason) => format!(" ({reason})"),
        _ => String::new(),
    };
    format!("{} {}{reason}", plain(got.time()), plain(got.get("label")))
}

/// Tells of what has no equal: by pairs where time and key agree.
fn between(expected: &Expected, rows: std::ops::Range<usize>, got: &[Got], lines: &mut Lines) {
    let index = |name: &str| expected.columns.iter().position(|c| c == name);
    let identity: Vec<usize> = ["event_time", "warehouse", "key", "unit_id", "station", "scan_id"]
        .iter()
        .filter_map(|n| index(n))
        .collect();
    let mut left: Vec<&Got> = got.iter().collect();
    let mut alone = Vec::new();
    for row in rows.clone() {
        let row = &expected.rows[row];
        let near = |g: &&Got| identity.iter().all(|c| equal(&row[*c], g.get(&expected.columns[*c])));
        // Where there is one of each, they are meant for each other whatever they say.
        let only = rows.len() == 1 && got.len() == 1;
        match left.iter().position(|g| only || (!identity.is_empty() && near(g))) {
            Some(at) => {
                let g = left.remove(at);
                differ(expected, row, g, lines);
            }
            None => alone.push(row),
        }
    }
    for row in alone {
        let time = index("event_time").map_or(String::new(), |c| plain(&row[c]));
        lines.rows.push([time, "missing".into(), summary(expected, |c| &row[c])]);
    }
    for g in left {
        lines.concern(&g.who);
        let text = summary(expected, |c| g.get(&expected.columns[c]));
        lines.rows.push([plain(g.time()), "not expected".into(), text]);
    }
}

fn differ(expected: &Expected, row: &[Value], got: &Got, lines: &mut Lines) {
    lines.concern(&got.who);
    let mut time = plain(got.time());
    for (column, value) in expected.columns.iter().zip(row) {
        let came = got.get(column);
        if !equal(value, came) {
            lines.rows.push([
                std::mem::take(&mut time),
                column.clone(),
                format!("{} -> {}", plain(value), plain(came)),
            ]);
        }
    }
}

fn summary<'a>(expected: &Expected, value: impl Fn(usize) -> &'a Value) -> String {
    let shown = expected.columns.iter().enumerate().filter(|(_, c)| *c != "event_time");
    shown.map(|(at, c)| format!("{c} {}", plain(value(at)))).collect::<Vec<_>>().join(", ")
}

/// A value as people read it.
pub fn plain(value: &Value) -> String {
    match value {
        Value::Null => "NULL".into(),
        Value::String(text) => text.clone(),
        other => {
            let mut out = String::new();
            write_canonical(other, &mut out);
            out
        }
    }
}

/// Whether an expected value is what came: numbers with a tolerance, times in any form, JSON by content.
pub fn equal(expected: &Value, got: &Value) -> bool {
    match (expected, got) {
        (Value::Number(a), Value::Number(b)) => match (a.as_f64(), b.as_f64()) {
            (Some(a), Some(b)) => (a - b).abs() <= TOLERANCE * a.abs().max(b.abs()).max(1e-3),
            _ => a == b,
        },
        (Value::String(a), Value::String(b)) => {
            a == b || matches!((EventTime::parse(a), EventTime::parse(b)), (Some(x), Some(y)) if x == y)
        }
        (Value::String(text), Value::Array(_) | Value::Object(_)) => {
            serde_json::from_str::<Value>(text).is_ok_and(|v| canonical(&v) == canonical(got))
        }
        (a, b) => canonical(a) == canonical(b),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn got(time: &str, label: &str, quantity: f64) -> Got {
        let event = json!({"event_time": time, "warehouse": "W", "key": ["U"], "unit_id": null,
            "label": label, "quantity": quantity, "extra": {"ratio": 0.5}});
        let Value::Object(event) = event else { unreachable!() };
        Got::of(&event, &["unit_id".into()])
    }

    fn check(columns: &[&str], rows: Value, got: &[Got]) -> String {
        let columns = columns.iter().map(|c| (*c).to_owned()).collect();
        let rows = serde_json::from_value(rows).expect("rows");
        match compare(&mut Expected { columns, rows }, got, &["unit_id".into()], &[]) {
            Ok(report) => report.unwrap_or_default(),
            Err(error) => format!("{}; expected {}", error.what(), error.expectation().unwrap_or_default()),
        }
    }

    #[test]
    fn what_is_equal_says_nothing() {
        let came =
            [got("2026-03-01T08:00:00Z", "NEW", 0.1 + 0.2), got("2026-03-01T08:05:00Z", "CLEARED", 2.0)];
        // Any order, times in any form, a key column by its name, `extra` by its name, numbers nearly.
        let rows = json!([
            ["2026-03-01 08:05", "U", 2, 0.5, "[\"U\"]"],
            ["2026-03-01T08:00:00Z", "U", 0.3, 0.5, "[ \"U\" ]"]
        ]);
        assert_eq!(check(&["event_time", "unit_id", "quantity", "ratio", "key"], rows, &came), "");
        assert_eq!(check(&["label"], json!([]), &[]), "");
    }

    #[test]
    fn what_differs_is_told_by_column_and_by_row() {
        let came = [
            got("2026-03-01T08:00:00Z", "NEW", 1.0),
            got("2026-03-01T08:05:00Z", "CLEARED", 2.0),
            got("2026-03-01T08:07:00Z", "NEW", 3.0),
        ];
        let rows = json!([
            ["2026-03-01 08:00", "NEW", 1.5],
            ["2026-03-01 08:05", "CLEARED", 2.0],
            ["2026-03-01 08:06", "NEW", 9.0],
            ["2026-03-01 08:09", "CLEARED", 9.0]
        ]);
        let report = check(&["event_time", "label", "quantity"], rows, &came);
        assert_eq!(
            report,
            "  2026-03-01T08:00:00Z  quantity      1.5 -> 1.0\n\
            \x20 2026-03-01 08:06      missing       label NEW, quantity 9.0\n\
            \x20 2026-03-01 08:09      missing       label CLEARED, quantity 9.0\n\
            \x20 2026-03-01T08:07:00Z  not expected  label NEW, quantity 3.0\n\
            \x20 timeline of W [\"U\"]: 2026-03-01T08:00:00Z NEW -> 2026-03-01T08:05:00Z CLEARED -> \
             2026-03-01T08:07:00Z NEW\n"
        );
    }

    #[test]
    fn a_name_that_no_event_has_is_an_error() {
        let report = check(&["lable"], json!([]), &[]);
        assert_eq!(
            report,
            "an event of this rule has no column `lable`; expected label (did you mean that?)"
        );
    }
}
