//! SQL text for PostgreSQL: tables, the change table, triggers.
//!
//! The lock is taken before the statement locks its first row, so that two writers wait for each other
//! in one order only. The triggers fire for replicated writes too (`ENABLE ALWAYS`).

use datafusion::arrow::datatypes::DataType;
use weir_engine::sql::catalog::{ColumnSpec, TableSpec};

use super::{literal, quoted};

/// Key of the advisory lock that orders change ids; held to the end of the transaction.
pub const LOCK: i64 = 0x7765_6972;

/// The change table and the trigger functions.
pub fn prepare() -> String {
    format!(
        "SELECT pg_advisory_xact_lock({LOCK});
CREATE TABLE IF NOT EXISTS weir_changes (
  change BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, tx BIGINT NOT NULL, table_name TEXT NOT NULL,
  before JSONB, after JSONB, effective_at TIMESTAMPTZ, committed_at TIMESTAMPTZ NOT NULL);

CREATE OR REPLACE FUNCTION weir_order() RETURNS trigger LANGUAGE plpgsql AS $weir$
BEGIN
  PERFORM pg_advisory_xact_lock({LOCK});
  RETURN NULL;
END $weir$;

CREATE OR REPLACE FUNCTION weir_refuse_truncate() RETURNS trigger LANGUAGE plpgsql AS $weir$
BEGIN
  RAISE EXCEPTION 'weir: TRUNCATE of % is refused, since it names no rows; use DELETE', TG_TABLE_NAME;
END $weir$;

CREATE OR REPLACE FUNCTION weir_record() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
  SET search_path FROM CURRENT SET timezone = 'UTC' SET datestyle = 'ISO' SET bytea_output = 'hex'
  SET extra_float_digits = 1 AS $weir$
DECLARE
  old_row JSONB;
  new_row JSONB;
  moved BOOLEAN := FALSE;
  asked TIMESTAMPTZ := nullif(current_setting('weir.effective_at', TRUE), '')::TIMESTAMPTZ;
  now_at TIMESTAMPTZ := clock_timestamp();
  this_tx BIGINT := pg_current_xact_id()::TEXT::BIGINT;
BEGIN
  PERFORM pg_advisory_xact_lock({LOCK});
  IF TG_OP <> 'INSERT' THEN
    SELECT jsonb_object_agg(key, value) INTO old_row FROM jsonb_each_text(to_jsonb(OLD));
  END IF;
  IF TG_OP <> 'DELETE' THEN
    SELECT jsonb_object_agg(key, value) INTO new_row FROM jsonb_each_text(to_jsonb(NEW));
  END IF;
  IF TG_OP = 'UPDATE' THEN
    IF old_row = new_row THEN
      RETURN NULL;
    END IF;
    FOR i IN 0 .. TG_NARGS - 1 LOOP
      moved := moved OR old_row ->> TG_ARGV[i] IS DISTINCT FROM new_row ->> TG_ARGV[i];
    END LOOP;
  END IF;
  IF moved THEN
    INSERT INTO weir_changes (tx, table_name, before, after, effective_at, committed_at)
      VALUES (this_tx, TG_TABLE_NAME, old_row, NULL, asked, now_at);
    old_row := NULL;
  END IF;
  INSERT INTO weir_changes (tx, table_name, before, after, effective_at, committed_at)
    VALUES (this_tx, TG_TABLE_NAME, old_row, new_row, asked, now_at);
  RETURN NULL;
END $weir$;"
    )
}

pub fn create(table: &TableSpec) -> String {
    let mut parts: Vec<String> = table.columns.iter().map(column).collect();
    let key: Vec<String> = table.primary_key.iter().map(|c| quoted(c)).collect();
    parts.push(format!("PRIMARY KEY ({})", key.join(", ")));
    format!("CREATE TABLE IF NOT EXISTS {} ({})", quoted(&table.name), parts.join(", "))
}

fn column(column: &ColumnSpec) -> String {
    let kind = match &column.data_type {
        DataType::Boolean => "BOOLEAN".to_owned(),
        DataType::Int16 => "SMALLINT".to_owned(),
        DataType::Int32 => "INTEGER".to_owned(),
        DataType::Int64 => "BIGINT".to_owned(),
        DataType::Float64 => "DOUBLE PRECISION".to_owned(),
        DataType::Decimal128(precision, scale) => format!("NUMERIC({precision}, {scale})"),
        DataType::Binary => "BYTEA".to_owned(),
        DataType::Date32 => "DATE".to_owned(),
        // With zone: a text with an offset would silently lose it otherwise.
        DataType::Timestamp(_, _) => "TIMESTAMPTZ".to_owned(),
        _ => "TEXT".to_owned(),
    };
    let null = if column.nullable { "" } else { " NOT NULL" };
    format!("{} {kind}{null}", quoted(&column.name))
}

/// A row of the alias `t` as JSON text with every value a text.
pub const ROW: &str =
    "(SELECT jsonb_object_agg(e.key, e.value)::TEXT FROM jsonb_each_text(to_jsonb(t)) AS e)";

/// The triggers of a table, made anew.
pub fn triggers(table: &TableSpec) -> String {
    let name = quoted(&table.name);
    let key: Vec<String> = table.primary_key.iter().map(|c| literal(c)).collect();
    let record = format!("weir_record({})", key.join(", "));
    let mut sql = String::new();
    for (trigger, when, each, run) in [
        ("weir_order", "BEFORE INSERT OR UPDATE OR DELETE", "STATEMENT", "weir_order()"),
        ("weir_record", "AFTER INSERT OR UPDATE OR DELETE", "ROW", record.as_str()),
        ("weir_truncate", "BEFORE TRUNCATE", "STATEMENT", "weir_refuse_truncate()"),
    ] {
        sql += &format!("DROP TRIGGER IF EXISTS {trigger} ON {name};\n");
        sql +=
            &format!("CREATE TRIGGER {trigger} {when} ON {name} FOR EACH {each} EXECUTE FUNCTION {run};\n");
        sql += &format!("ALTER TABLE {name} ENABLE ALWAYS TRIGGER {trigger};\n");
    }
    sql
}
