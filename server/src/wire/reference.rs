//! The reference database as a run follows it.
//!
//! In:   a database, the reference tables of a plan.
//! Out:  all rows at the start, then every committed transaction.
//! Owns: which database: `--reference`, `WEIR_REFERENCE`, else SQLite under the data folder.
//!
//! A `.sql` file instead of a database is run once into a fresh SQLite database.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use weir_connectors::reference::ReferenceDb;
use weir_contract::{Code, Error, Place, Result};
use weir_engine::control::RowChange;
use weir_engine::run::{ReferenceChange, ReferenceTail};
use weir_engine::sql::catalog::{TableKind, TableSpec};
use weir_engine::sql::plan::ir::Plan;

/// A database and the tables of one program in it.
pub struct Follow {
    db: ReferenceDb,
    tables: Vec<TableSpec>,
    /// Fresh files of a `.sql` file go when the run ends.
    _scratch: Option<Scratch>,
}

/// The reference tables that a plan declares, constant ones left out.
fn tables_of(plan: &Plan) -> Vec<TableSpec> {
    plan.references.iter().filter(|t| t.kind == TableKind::Reference).map(|t| t.as_ref().clone()).collect()
}

/// Opens the database of a program; none where it declares no reference table.
///
/// `given` is a database address or a `.sql` file. A SQL file fills the database only where that never held
/// a row: in the data folder the first time that it succeeds, in a scratch folder always.
pub fn open(plan: &Plan, given: Option<&str>, data: Option<&Path>) -> Result<Option<Follow>> {
    let tables = tables_of(plan);
    if tables.is_empty() {
        return Ok(None);
    }
    let from_env = std::env::var("WEIR_REFERENCE").ok().filter(|t| !t.is_empty());
    let script = given.filter(|g| is_script(g)).map(Script::read).transpose()?;
    let address = given.filter(|g| !is_script(g)).map(str::to_owned);
    let own = data.map(|d| d.join("reference.sqlite"));
    // A script asks for a database of weir's own, whatever the environment names.
    let chosen = address.or(if script.is_some() { None } else { from_env });
    let (place, scratch) = match (chosen, own) {
        (Some(address), _) => (address, None),
        (None, Some(file)) => (file.display().to_string(), None),
        (None, None) => {
            let scratch = Scratch::new("reference")?;
            (scratch.0.join("reference.sqlite").display().to_string(), Some(scratch))
        }
    };
    if let Some((scheme, _)) = place.split_once("://").filter(|(s, _)| !DATABASES.contains(s)) {
        return Err(Error::new(Code::Usage, format!("`{scheme}` is no reference database")).expected(
            "postgres://USER@HOST/DATABASE, sqlite:FILE, or a FILE.sql that fills a new database",
        ));
    }
    let db = ReferenceDb::open(&place)?;
    db.ensure(&tables)?;
    if let Some(Script { file, sql }) = script {
        let (rows, last) = db.snapshot(&tables)?;
        if last == 0 && rows.values().all(Vec::is_empty) {
            db.execute_script(&sql).map_err(|e| e.or_at(Place::Path(file)))?;
        } else {
            tracing::warn!("{place} holds rows already: {file} was not run");
        }
    }
    Ok(Some(Follow { db, tables, _scratch: scratch }))
}

const DATABASES: [&str; 3] = ["postgres", "postgresql", "sqlite"];

/// Reference data as SQL, read before a database is made for it.
struct Script {
    file: String,
    sql: String,
}

impl Script {
    fn read(file: &str) -> Result<Script> {
        let sql = std::fs::read_to_string(file).map_err(|e| {
            Error::new(Code::BadFile, format!("cannot read the reference data: {e}"))
                .at(Place::Path(file.into()))
        })?;
        Ok(Script { file: file.into(), sql })
    }
}

fn is_script(given: &str) -> bool {
    given.ends_with(".sql") && !given.contains("://")
}

impl ReferenceTail for Follow {
    fn first(&mut self) -> Result<(i64, Vec<RowChange>)> {
        let (rows, last): (BTreeMap<_, _>, i64) = self.db.snapshot(&self.tables)?;
        let inserts = rows
            .into_iter()
            .flat_map(|(table, rows)| {
                rows.into_iter().map(move |row| RowChange {
                    table: table.clone(),
                    before: None,
                    after: Some(row),
                })
            })
            .collect();
        Ok((last, inserts))
    }

    fn since(&mut self, change: i64) -> Result<Vec<ReferenceChange>> {
        let groups = self.db.changes_since(change)?;
        Ok(groups
            .into_iter()
            .map(|g| ReferenceChange {
                change: g.change,
                asked_at: g.asked_at.unwrap_or(g.committed_at),
                changes: g.changes,
            })
            .collect())
    }
}

/// A folder under the system's temporary one that goes with this value.
#[derive(Debug)]
pub struct Scratch(pub PathBuf);

impl Scratch {
    /// A new empty folder; its name starts with `weir-`, the purpose and the process.
    pub fn new(purpose: &str) -> Result<Scratch> {
        let base = std::env::temp_dir();
        for n in 0..1000 {
            let folder = base.join(format!("weir-{purpose}-{}-{n}", std::process::id()));
            match std::fs::create_dir(&folder) {
                Ok(()) => return Ok(Scratch(folder)),
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(e) => {
                    return Err(Error::new(Code::Io, format!("cannot make a folder: {e}"))
                        .at(Place::Path(folder.display().to_string())));
                }
            }
        }
        Err(Error::new(Code::Io, "a thousand scratch folders of this process exist")
            .at(Place::Path(base.display().to_string())))
    }

    /// Leaves the folder where it is.
    pub fn keep(self) -> PathBuf {
        let folder = self.0.clone();
        std::mem::forget(self);
        folder
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed stays for the system's own cleaning.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
