//! Reference tables on both databases: `scripts/with-services.sh cargo test -p weir-connectors`.
//!
//! SQLite needs nothing. PostgreSQL needs `WEIR_POSTGRES=postgres://…`; without it its tests fail. Each
//! test has a file or a schema of its own. "By hand" is a second client that knows nothing of weir.

#[path = "reference/both.rs"]
mod both;
#[path = "reference/postgres.rs"]
mod postgres;
#[path = "reference/sqlite.rs"]
mod sqlite;

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection};
use weir_connectors::reference::{ChangeGroup, ReferenceDb};
use weir_engine::control::RowChange;
use weir_engine::sql::catalog::TableSpec;
use weir_engine::sql::{SourceFile, read};

const UNITS: &str = "CREATE TABLE units (
    unit_id TEXT, warehouse TEXT NOT NULL, capacity BIGINT, overflow_on DOUBLE, active BOOLEAN,
    PRIMARY KEY (unit_id)) WITH (connector = 'reference')";
const ROUTES: &str = "CREATE TABLE routes (
    place TEXT, step INT, price DECIMAL(10, 2), note TEXT, since TIMESTAMP, day DATE, raw BYTEA, small SMALLINT,
    PRIMARY KEY (place, step)) WITH (connector = 'reference')";

fn tables(sql: &str) -> Vec<TableSpec> {
    let file = SourceFile { name: "tables.sql".into(), folder: String::new(), text: sql.into() };
    read(&[file]).unwrap().tables
}

fn declared() -> Vec<TableSpec> {
    tables(&format!("{UNITS};\n{ROUTES};"))
}

/// One database, reachable by weir and by hand.
struct Place {
    address: String,
    _folder: Option<tempfile::TempDir>,
}

impl Place {
    fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data/reference.sqlite");
        Self { address: path.to_str().unwrap().to_owned(), _folder: Some(folder) }
    }

    fn postgres() -> Self {
        let url = std::env::var("WEIR_POSTGRES").unwrap_or_else(|_| {
            panic!(
                "WEIR_POSTGRES is not set: these tests need a PostgreSQL. Run them with \
                 `scripts/with-services.sh cargo test -p weir-connectors --test reference`"
            )
        });
        let schema = format!("test_{:016x}", RandomState::new().build_hasher().finish());
        Hand::open(&url).run(&format!("CREATE SCHEMA {schema}")).unwrap();
        Self { address: format!("{url}?options[search_path]={schema}"), _folder: None }
    }

    fn open(&self) -> ReferenceDb {
        ReferenceDb::open(&self.address).unwrap()
    }

    /// Opened, with the declared tables.
    fn ready(&self) -> ReferenceDb {
        let db = self.open();
        db.ensure(&declared()).unwrap();
        db
    }

    fn hand(&self) -> Hand {
        Hand::open(&self.address)
    }
}

enum Client {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

/// Another program's connection.
struct Hand {
    runtime: tokio::runtime::Runtime,
    client: Client,
}

impl Hand {
    fn open(address: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let client = if address.starts_with("postgres") {
            Client::Postgres(runtime.block_on(PgConnection::connect(address)).unwrap())
        } else {
            Client::Sqlite(runtime.block_on(SqliteConnection::connect(address)).unwrap())
        };
        Self { runtime, client }
    }

    fn run(&mut self, sql: &str) -> Result<(), sqlx::Error> {
        let query = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
        match &mut self.client {
            Client::Sqlite(client) => self.runtime.block_on(query.execute(client)).map(|_| ()),
            Client::Postgres(client) => self.runtime.block_on(query.execute(client)).map(|_| ()),
        }
    }
}

fn unit(id: &str, capacity: Value, on: Value, active: Value) -> Value {
    json!({"unit_id": id, "warehouse": "W", "capacity": capacity, "overflow_on": on, "active": active})
}

/// (table, before, after) of each change.
fn shown(group: &ChangeGroup) -> Vec<(String, Value, Value)> {
    let side = |row: &Option<serde_json::Map<String, Value>>| row.clone().map_or(Value::Null, Value::Object);
    let change = |c: &RowChange| (c.table.clone(), side(&c.before), side(&c.after));
    group.changes.iter().map(change).collect()
}

/// All groups after an id, however many looks that takes.
fn follow(db: &ReferenceDb, mut since: i64) -> Vec<ChangeGroup> {
    let mut all = Vec::new();
    loop {
        let groups = db.changes_since(since).unwrap();
        let Some(last) = groups.last() else { return all };
        assert!(groups.windows(2).all(|w| w[0].change < w[1].change) && groups[0].change > since);
        since = last.change;
        all.extend(groups);
    }
}
