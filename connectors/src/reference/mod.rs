//! Versioned reference tables in a database (semantics 7).
//!
//! In:   tables as declared; SQL of people and other programs, through any client.
//! Out:  every change of every row, grouped by database transaction, in commit order.
//! Owns: the tables, their triggers and the change table. Not when a change takes effect: that is the
//!       control log's.
//!
//! D1  A change and its row in `weir_changes` commit together, whoever makes it.
//! D2  Change ids become visible in ascending order: once a change was given, no lower one comes.
//! D3  A database transaction is never cut into two groups. On PostgreSQL a group is exactly one
//!     transaction. SQLite has no transaction id that a trigger could read, so a group is numbered by
//!     `weir_tx`: weir raises the number at the end of its own transactions, and whenever it takes
//!     changes, in a transaction of its own (SQLite has one writer, so no other is under way). Small
//!     transactions of other programs that commit between two looks may so share a group; one that
//!     wants its own begins with `UPDATE weir_tx SET tx = tx + 1`.
//! D4  Rows are given in the canonical form of `state::reference_rows`, the same from both databases.
//!
//! A transaction may ask for a time at which it takes effect: on PostgreSQL by
//! `SET LOCAL weir.effective_at = '…'`, on SQLite by `INSERT INTO weir_effective_at VALUES ('…')`, each
//! before its changes.
//!
//! Every method blocks; the database is talked to on a small runtime of its own. Start at
//! [`ReferenceDb::changes_since`]. Tests: `connectors/tests/reference.rs`.

mod ddl_postgres;
mod ddl_sqlite;
mod postgres;
mod runtime;
mod sqlite;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use weir_contract::{Clock, Code, Error, Result, WallClock};
use weir_engine::control::RowChange;
use weir_engine::run::{ReferenceChange, ReferenceTail};
use weir_engine::sql::catalog::TableSpec;
use weir_engine::state::reference_rows::{JsonRow, canonical_row, storable};

use postgres::Postgres;
use runtime::Runtime;
use sqlite::Sqlite;

/// Change rows of one look at the change table; the last group is always whole. Eyeballed.
const LOOK_ROWS_MAX: i64 = 10_000;
/// Tries of one call while the database does not answer.
const TRIES: u32 = 5;

/// Longest one call waits for its answer; a run that is asked to stop meanwhile waits for it, too. Eyeballed.
const ANSWER: Duration = Duration::from_secs(30);

/// The changes of one database transaction (on SQLite: of one or more whole ones, D3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeGroup {
    /// Id of its last change: where [`ReferenceDb::changes_since`] goes on.
    pub change: i64,
    /// The time asked for, microseconds; the latest where several were.
    pub asked_at: Option<i64>,
    /// The database's clock at its last change, microseconds.
    pub committed_at: i64,
    /// In the order in which they were made.
    pub changes: Vec<RowChange>,
}

/// The reference database of a program.
pub struct ReferenceDb {
    runtime: Runtime,
    store: Store,
    name: String,
    tables: std::sync::RwLock<BTreeMap<String, TableSpec>>,
}

enum Store {
    Sqlite(Sqlite),
    Postgres(Box<Postgres>),
}

/// Runs one call on the store that there is, with retries.
macro_rules! on_store {
    ($db:expr, $doing:expr, $store:ident => $call:expr) => {
        match &$db.store {
            Store::Sqlite($store) => $db.call($doing, || $call),
            Store::Postgres($store) => $db.call($doing, || $call),
        }
    };
}

/// A row of the change table, as the stores read it.
struct Change {
    change: i64,
    tx: i64,
    table: String,
    before: Option<String>,
    after: Option<String>,
    asked_at: Option<i64>,
    committed_at: i64,
}

impl ReferenceDb {
    /// Opens `postgres://…`, or the SQLite file at a path (with or without `sqlite:`), which is made
    /// where it is missing. Makes the change table.
    ///
    /// # Errors
    /// `W0407`, which never shows a password.
    pub fn open(place: &str) -> Result<Self> {
        let runtime = Runtime::start()?;
        let (store, name) = if place.starts_with("postgres://") || place.starts_with("postgresql://") {
            let store = Postgres::new(place).map_err(|e| failed("PostgreSQL", "reading its address", &e))?;
            let name = store.name();
            (Store::Postgres(Box::new(store)), name)
        } else {
            let path = place.strip_prefix("sqlite:").unwrap_or(place);
            let path = path.strip_prefix("//").unwrap_or(path);
            if let Some(folder) = std::path::Path::new(path).parent() {
                std::fs::create_dir_all(folder).map_err(|e| {
                    Error::new(Code::Reference, format!("the folder of {path} cannot be made: {e}"))
                })?;
            }
            let store = runtime.wait(async { Ok(Sqlite::new(path)) })?;
            (Store::Sqlite(store), path.to_owned())
        };
        let db = Self { runtime, store, name, tables: std::sync::RwLock::default() };
        on_store!(db, "making the change table", store => store.prepare())?;
        Ok(db)
    }

    /// Makes the declared tables that are missing, and (anew) the triggers of all of them. Rows that are
    /// there stay.
    ///
    /// # Errors
    /// `W0205` for a column that no database holds or a table without a primary key; `W0407` where a
    /// table is there with other columns.
    pub fn ensure(&self, tables: &[TableSpec]) -> Result<()> {
        for table in tables {
            check(table).map_err(|e| e.or_at(table.place.clone()))?;
        }
        for table in tables {
            let doing = format!("making table {}", table.name);
            let columns = on_store!(self, &doing, store => store.ensure(table))?;
            if let Some(missing) = table.columns.iter().find(|c| !columns.contains(&c.name)) {
                let what = format!("{}: table {} has no column {}", self.name, table.name, missing.name);
                return Err(Error::new(Code::Reference, what)
                    .at(table.place.clone())
                    .expected("the columns as declared")
                    .act("operator: ALTER TABLE … ADD COLUMN, or change the declaration."));
            }
            on_store!(self, &doing, store => store.watch(table))?;
            let mut known = self.tables.write().unwrap_or_else(std::sync::PoisonError::into_inner);
            known.insert(table.name.clone(), table.clone());
        }
        Ok(())
    }

    /// Runs SQL statements as one transaction: seed rows, or a person's change. The script holds no
    /// `BEGIN` and no `COMMIT`.
    pub fn execute_script(&self, sql: &str) -> Result<()> {
        self.execute_script_at(sql, None)
    }

    /// The same, asking that the changes take effect at a time (microseconds).
    pub fn execute_script_at(&self, sql: &str, effective_at: Option<i64>) -> Result<()> {
        // Not retried: a lost answer does not say whether the script ran.
        match &self.store {
            Store::Sqlite(store) => self.runtime.wait(store.execute(sql, effective_at)),
            Store::Postgres(store) => self.runtime.wait(store.execute(sql, effective_at)),
        }
        .map_err(|e| failed(&self.name, "running a script", &e))
    }

    /// All rows of the given tables, in the order of their primary keys, and the id of the last change
    /// that they contain; one consistent view.
    ///
    /// # Errors
    /// `W0407`; `W0106` where a row does not fit its declaration.
    pub fn snapshot(&self, tables: &[TableSpec]) -> Result<(BTreeMap<String, Vec<JsonRow>>, i64)> {
        let (raw, last) = on_store!(self, "reading the tables", store => store.snapshot(tables))?;
        let mut rows = BTreeMap::new();
        for (table, texts) in tables.iter().zip(raw) {
            let read = |text: &String| canonical_row(table, &object(text)?);
            rows.insert(table.name.clone(), texts.iter().map(read).collect::<Result<Vec<_>>>()?);
        }
        Ok((rows, last))
    }

    /// The groups of changes after a change id, in commit order; of tables that [`ReferenceDb::ensure`]
    /// was given. At most some 10,000 changes at once, and whole groups: call again until none comes.
    ///
    /// # Errors
    /// `W0407`, also where the change table ends before `since`: another database, or an older copy.
    pub fn changes_since(&self, since: i64) -> Result<Vec<ChangeGroup>> {
        let (rows, last) =
            on_store!(self, "reading the changes", store => store.changes(since, LOOK_ROWS_MAX))?;
        if last < since {
            let what = format!("{}: the change table ends at {last}, before {since}", self.name);
            return Err(Error::new(Code::Reference, what)
                .expected("the database that the checkpoint knows")
                .act("operator: restore it, or start cold."));
        }
        let tables = self.tables.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut groups: Vec<(i64, ChangeGroup)> = Vec::new();
        for row in rows {
            assert!(row.change > since, "a change was given twice");
            if groups.last().is_none_or(|(tx, _)| *tx != row.tx) {
                let group =
                    ChangeGroup { change: 0, asked_at: None, committed_at: i64::MIN, changes: Vec::new() };
                groups.push((row.tx, group));
            }
            let Some((_, group)) = groups.last_mut() else { continue };
            group.change = row.change;
            group.asked_at = group.asked_at.max(row.asked_at);
            group.committed_at = group.committed_at.max(row.committed_at);
            let Some(table) = tables.get(&row.table) else { continue };
            let side = |text: &Option<String>| -> Result<Option<JsonRow>> {
                text.as_ref().map(|text| canonical_row(table, &object(text)?)).transpose().map_err(|e| {
                    Error::new(e.code(), format!("change {} of {}: {}", row.change, self.name, e.what()))
                        .act("operator: correct this row of weir_changes.")
                })
            };
            let (before, after) = (side(&row.before)?, side(&row.after)?);
            group.changes.push(RowChange { table: row.table, before, after });
        }
        Ok(groups.into_iter().map(|(_, group)| group).filter(|g| !g.changes.is_empty()).collect())
    }

    /// Runs a call on the runtime, again a few times where the database did not answer. Only for calls
    /// that may run twice.
    fn call<T, F>(&self, doing: &str, mut call: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = Result<T, sqlx::Error>>,
    {
        let mut tries = 1;
        loop {
            let silent = || Err(sqlx::Error::Protocol(format!("no answer within {ANSWER:?}")));
            match self.runtime.wait_at_most(ANSWER, call()).unwrap_or_else(silent) {
                Ok(value) => return Ok(value),
                Err(error) if tries < TRIES && passing(&error) => {
                    tracing::warn!(database = %self.name, "{doing}: {error}; tried again");
                    let start = WallClock.monotonic();
                    let pause = Duration::from_millis(50 << tries);
                    while let Some(rest) = pause.checked_sub(WallClock.monotonic().saturating_sub(start)) {
                        std::thread::sleep(rest.max(Duration::from_millis(1)));
                    }
                    tries += 1;
                }
                Err(error) => return Err(failed(&self.name, doing, &error)),
            }
        }
    }
}

/// The engine's own follower: all tables that [`ReferenceDb::ensure`] was given.
impl ReferenceTail for ReferenceDb {
    fn first(&mut self) -> Result<(i64, Vec<RowChange>)> {
        let tables: Vec<TableSpec> = {
            let known = self.tables.read().unwrap_or_else(std::sync::PoisonError::into_inner);
            known.values().cloned().collect()
        };
        let (rows, last) = self.snapshot(&tables)?;
        let inserts = rows.into_iter().flat_map(|(table, rows)| {
            let insert = move |row| RowChange { table: table.clone(), before: None, after: Some(row) };
            rows.into_iter().map(insert)
        });
        Ok((last, inserts.collect()))
    }

    fn since(&mut self, change: i64) -> Result<Vec<ReferenceChange>> {
        let given = |group: ChangeGroup| ReferenceChange {
            change: group.change,
            asked_at: group.asked_at.unwrap_or(group.committed_at),
            changes: group.changes,
        };
        Ok(self.changes_since(change)?.into_iter().map(given).collect())
    }
}

/// A reference table has a primary key, plain columns and types that a database holds.
fn check(table: &TableSpec) -> Result<()> {
    use weir_engine::sql::catalog::ColumnSource;
    if table.primary_key.is_empty() {
        return Err(Error::new(
            Code::BadColumn,
            format!("reference table {} has no primary key", table.name),
        )
        .expected("PRIMARY KEY (…)"));
    }
    for column in &table.columns {
        let plain = matches!(column.source, ColumnSource::Value | ColumnSource::Json);
        if !plain || !storable(&column.data_type) {
            let what = format!("reference table {} cannot hold column {}", table.name, column.name);
            return Err(Error::new(Code::BadColumn, what)
                .at(column.place.clone())
                .expected("a plain column of a scalar type"));
        }
    }
    Ok(())
}

/// Whether the same call may succeed a moment later.
fn passing(error: &sqlx::Error) -> bool {
    match error {
        // The pool itself tries to connect until its time is over: `PoolTimedOut` is final.
        sqlx::Error::Io(_) => true,
        // SQLite: busy, locked. PostgreSQL: serialization failure, deadlock, starting up, shutting down.
        sqlx::Error::Database(e) => e.code().is_some_and(|code| {
            matches!(code.as_ref(), "5" | "6" | "261" | "517" | "40001" | "40P01" | "57P03" | "57P01")
        }),
        _ => false,
    }
}

fn failed(name: &str, doing: &str, error: &sqlx::Error) -> Error {
    Error::new(Code::Reference, format!("{name}: {doing}: {error}"))
}

fn object(text: &str) -> Result<JsonRow> {
    match serde_json::from_str(text) {
        Ok(Value::Object(row)) => Ok(row),
        _ => Err(Error::new(Code::Reference, format!("{text:?} is no row")).expected("a JSON object")),
    }
}

/// A name in SQL.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text in SQL.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
