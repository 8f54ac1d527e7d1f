//! `--bless`: the answers that came, written into the file as `expect` views.
//!
//! In:   the text of a test file, the rows that came for some of its views.
//! Out:  the file's text with those views written anew.
//! Owns: how a view of constant rows is laid out (as sqlfluff leaves it).

use serde_json::Value;
use weir_contract::event::canonical;

/// A view to write: in place of a statement, or behind a line where there is none yet.
#[derive(Debug)]
pub struct Blessed {
    pub at: At,
    pub name: String,
    pub columns: Vec<String>,
    pub rows: Vec<Vec<Value>>,
}

#[derive(Debug, Clone)]
pub enum At {
    /// The statement that begins at this line and column and has this text.
    Statement { line: u64, column: u64, text: String },
    /// In front of this line, 1-based.
    Line(u64),
}

/// The file's text with all of them in it.
pub fn bless(text: &str, views: &[&Blessed]) -> String {
    let mut edits: Vec<(usize, usize, String)> = views
        .iter()
        .map(|view| match &view.at {
            At::Statement { line, column, text: old } => {
                let from = byte_of(text, *line, *column);
                (from, from + old.len(), statement(view))
            }
            At::Line(line) => {
                let at = byte_of(text, *line, 1);
                let blank = if text[..at].ends_with('\n') || at == 0 { "" } else { "\n" };
                let after = if at == text.len() { "" } else { "\n" };
                (at, at, format!("{blank}\n{};\n{after}", statement(view)))
            }
        })
        .collect();
    edits.sort_by_key(|e| std::cmp::Reverse(e.0));
    let mut out = text.to_owned();
    for (from, to, new) in edits {
        out.replace_range(from..to, &new);
    }
    out
}

fn byte_of(text: &str, line: u64, column: u64) -> usize {
    let lines_before = usize::try_from(line.saturating_sub(1)).unwrap_or(usize::MAX);
    let start: usize = text.split_inclusive('\n').take(lines_before).map(str::len).sum();
    let within = usize::try_from(column.saturating_sub(1)).unwrap_or(0);
    text[start..].char_indices().nth(within).map_or(text.len(), |(at, _)| start + at)
}

fn statement(view: &Blessed) -> String {
    let name = &view.name;
    let columns = |from: &dyn Fn(usize) -> String| -> String {
        let each = view.columns.iter().enumerate();
        each.map(|(n, column)| format!("    {} AS {column}", from(n))).collect::<Vec<_>>().join(",\n")
    };
    if view.rows.is_empty() {
        let nothing = columns(&|_| "NULL".into());
        return format!("CREATE VIEW expect.{name} AS\nSELECT\n{nothing}\nWHERE FALSE");
    }
    let numbered = columns(&|n| format!("column{}", n + 1));
    let rows: Vec<String> = view
        .rows
        .iter()
        .map(|row| format!("        ({})", row.iter().map(literal).collect::<Vec<_>>().join(", ")))
        .collect();
    format!(
        "CREATE VIEW expect.{name} AS\nSELECT\n{numbered}\nFROM (\n    VALUES\n{}\n) AS t",
        rows.join(",\n")
    )
}

fn literal(value: &Value) -> String {
    match value {
        Value::Null => "NULL".into(),
        Value::Bool(b) => if *b { "TRUE" } else { "FALSE" }.into(),
        Value::Number(n) => n.to_string(),
        Value::String(text) => format!("'{}'", text.replace('\'', "''")),
        other => format!("'{}'", canonical(other).replace('\'', "''")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_view_is_written_in_its_place_or_behind_a_test() {
        let text = "-- test: a\nCREATE VIEW expect.events AS\nSELECT 1 AS x;\n\n-- test: b\nSELECT 2;\n";
        let view = |at, rows: Value| Blessed {
            at,
            name: "events".into(),
            columns: vec!["event_time".into(), "label".into()],
            rows: serde_json::from_value(rows).expect("rows"),
        };
        let old = "CREATE VIEW expect.events AS\nSELECT 1 AS x".to_owned();
        let first = view(At::Statement { line: 2, column: 1, text: old }, json!([["2026-03-01", "it's"]]));
        let second = view(At::Line(7), json!([]));
        assert_eq!(
            bless(text, &[&first, &second]),
            "-- test: a\nCREATE VIEW expect.events AS\nSELECT\n    column1 AS event_time,\n    column2 AS label\n\
             FROM (\n    VALUES\n        ('2026-03-01', 'it''s')\n) AS t;\n\n-- test: b\nSELECT 2;\n\n\
             CREATE VIEW expect.events AS\nSELECT\n    NULL AS event_time,\n    NULL AS label\nWHERE FALSE;\n"
        );
    }
}
