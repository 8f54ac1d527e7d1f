//! SQL text for SQLite: tables, the change table, triggers.
//!
//! Tables are STRICT, so that a text in a number's column is refused at once. Every value goes into the
//! change table as text; a float with 17 digits. SQLite's own conversions between text and float are
//! exact for numbers as people write them (a test holds it for 12 digits from 1e-6 to 1e6), but may be
//! off in the last bit at far exponents such as 1e300.

use datafusion::arrow::datatypes::DataType;
use weir_engine::sql::catalog::{ColumnSpec, TableSpec};

use super::{literal, quoted};

/// The change table, the group number, and the view by which a transaction asks for a time.
pub const PREPARE: &str = "
CREATE TABLE IF NOT EXISTS weir_tx (one INTEGER PRIMARY KEY CHECK (one = 1), tx INTEGER NOT NULL) STRICT;
INSERT OR IGNORE INTO weir_tx VALUES (1, 1);
CREATE TABLE IF NOT EXISTS weir_changes (
  change INTEGER PRIMARY KEY AUTOINCREMENT, tx INTEGER NOT NULL, table_name TEXT NOT NULL,
  row_key TEXT NOT NULL, before TEXT, after TEXT, effective_at TEXT, committed_at TEXT NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS weir_changes_by_row ON weir_changes (table_name, row_key, change);
CREATE TABLE IF NOT EXISTS weir_asked (tx INTEGER PRIMARY KEY, effective_at TEXT NOT NULL) STRICT;
CREATE VIEW IF NOT EXISTS weir_effective_at AS SELECT effective_at FROM weir_asked;
CREATE TRIGGER IF NOT EXISTS weir_effective_at_asked INSTEAD OF INSERT ON weir_effective_at BEGIN
  SELECT RAISE(ABORT, 'effective_at is no time such as 2026-03-01T08:00:00Z')
    WHERE NOT coalesce(NEW.effective_at GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]*'
      AND datetime(NEW.effective_at) IS NOT NULL, FALSE);
  UPDATE weir_tx SET tx = tx + 1;
  INSERT INTO weir_asked SELECT tx, NEW.effective_at FROM weir_tx;
END;
";

/// Ends the running group: what comes later belongs to another one.
pub const NEXT_GROUP: &str = "UPDATE weir_tx SET tx = tx + 1";

pub fn create(table: &TableSpec) -> String {
    let mut parts: Vec<String> = table.columns.iter().map(|c| column(table, c)).collect();
    let key: Vec<String> = table.primary_key.iter().map(|c| quoted(c)).collect();
    parts.push(format!("PRIMARY KEY ({})", key.join(", ")));
    format!("CREATE TABLE IF NOT EXISTS {} ({}) STRICT", quoted(&table.name), parts.join(", "))
}

fn column(table: &TableSpec, column: &ColumnSpec) -> String {
    let name = quoted(&column.name);
    let (kind, check) = match &column.data_type {
        DataType::Boolean => ("INTEGER", Some(format!("{name} IN (0, 1)"))),
        DataType::Int16 => ("INTEGER", Some(format!("{name} BETWEEN -32768 AND 32767"))),
        DataType::Int32 => ("INTEGER", Some(format!("{name} BETWEEN -2147483648 AND 2147483647"))),
        DataType::Int64 => ("INTEGER", None),
        DataType::Float64 => ("REAL", None),
        DataType::Binary => ("BLOB", None),
        // Exact decimals are texts: a number's affinity would make them floats.
        DataType::Decimal128(_, _) => (
            "TEXT",
            Some(format!(
                "{name} GLOB '*[0-9]*' AND {name} NOT GLOB '*[^0-9.-]*' AND {name} NOT GLOB '*.*.*' \
                 AND {name} NOT GLOB '?*-*'"
            )),
        ),
        DataType::Date32 => ("TEXT", Some(format!("length({name}) = 10 AND {}", day(&name)))),
        DataType::Timestamp(_, _) => (
            "TEXT",
            Some(format!("{} AND datetime({name}) IS NOT NULL AND substr({name}, 12, 2) < '24'", day(&name))),
        ),
        _ => ("TEXT", None),
    };
    let required = !column.nullable || table.primary_key.contains(&column.name);
    let null = if required { " NOT NULL" } else { "" };
    match check {
        Some(check) => format!("{name} {kind}{null} CHECK ({name} IS NULL OR ({check}))"),
        None => format!("{name} {kind}{null}"),
    }
}

/// A text that begins with a day of the calendar; SQLite itself takes 30 February for 2 March.
fn day(name: &str) -> String {
    format!(
        "{name} GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]*' \
         AND strftime('%Y-%m-%d', substr({name}, 1, 10)) IS substr({name}, 1, 10)"
    )
}

/// A row as JSON text; `of` is `NEW.`, `OLD.` or nothing.
pub fn row(table: &TableSpec, of: &str) -> String {
    let part = |c: &ColumnSpec| {
        let name = format!("{of}{}", quoted(&c.name));
        let text = match c.data_type {
            DataType::Float64 => format!("iif({name} IS NULL, NULL, printf('%!.17g', {name}))"),
            DataType::Binary => format!("iif({name} IS NULL, NULL, '\\x' || lower(hex({name})))"),
            _ => format!("CAST({name} AS TEXT)"),
        };
        format!("{}, {text}", literal(&c.name))
    };
    format!("json_object({})", table.columns.iter().map(part).collect::<Vec<_>>().join(", "))
}

fn key(table: &TableSpec, of: &str) -> String {
    let parts: Vec<String> = table.primary_key.iter().map(|c| format!("{of}{}", quoted(c))).collect();
    format!("json_array({})", parts.join(", "))
}

/// The triggers of a table, made anew. An insert that replaced a row (`INSERT OR REPLACE` fires no delete
/// trigger) finds the row that it replaced by its key in the change table.
pub fn triggers(table: &TableSpec) -> String {
    let name = quoted(&table.name);
    let trigger = |what: &str| quoted(&format!("weir_{}_{what}", table.name));
    let record = |key: &str, before: &str, after: &str| {
        format!(
            "INSERT INTO weir_changes (tx, table_name, row_key, before, after, effective_at, committed_at) \
             SELECT tx, {}, {key}, {before}, {after}, \
             (SELECT effective_at FROM weir_asked WHERE weir_asked.tx = weir_tx.tx), \
             strftime('%Y-%m-%dT%H:%M:%fZ', 'now') FROM weir_tx;",
            literal(&table.name)
        )
    };
    let known = format!(
        "(SELECT w.after FROM weir_changes AS w WHERE w.table_name = {} AND w.row_key = {} \
         ORDER BY w.change DESC LIMIT 1)",
        literal(&table.name),
        key(table, "NEW.")
    );
    let inserted = record(&key(table, "NEW."), &known, &row(table, "NEW."));
    let deleted = record(&key(table, "OLD."), &row(table, "OLD."), "NULL");
    let updated = record(&key(table, "OLD."), &row(table, "OLD."), &row(table, "NEW."));
    let differs = |columns: &mut dyn Iterator<Item = &String>| {
        let parts: Vec<String> = columns.map(|c| format!("OLD.{0} IS NOT NEW.{0}", quoted(c))).collect();
        parts.join(" OR ")
    };
    let moved = differs(&mut table.primary_key.iter());
    let changed = differs(&mut table.columns.iter().map(|c| &c.name));
    let mut sql = String::new();
    for (what, event, when, body) in [
        ("insert", "INSERT", String::new(), inserted.clone()),
        ("delete", "DELETE", String::new(), deleted.clone()),
        ("update", "UPDATE", format!("WHEN NOT ({moved}) AND ({changed})"), updated),
        ("move", "UPDATE", format!("WHEN {moved}"), format!("{deleted} {inserted}")),
    ] {
        let trigger = trigger(what);
        sql += &format!("DROP TRIGGER IF EXISTS {trigger};\n");
        sql += &format!("CREATE TRIGGER {trigger} AFTER {event} ON {name} {when} BEGIN {body} END;\n");
    }
    sql
}
