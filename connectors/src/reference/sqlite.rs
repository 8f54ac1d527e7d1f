//! The embedded database: one file, write-ahead log, one writer.

use std::time::Duration;

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{AssertSqlSafe, Error};
use weir_contract::EventTime;
use weir_engine::sql::catalog::TableSpec;

use super::{Change, ddl_sqlite, literal, quoted};

/// Takes the write lock at once: a lock that is taken in the middle of a transaction can fail for good.
const BEGIN: &str = "BEGIN IMMEDIATE";
/// How long a call waits for another writer.
const BUSY: Duration = Duration::from_secs(5);

type Raw = (i64, i64, String, Option<String>, Option<String>, Option<String>, String);

pub struct Sqlite {
    pool: SqlitePool,
}

impl Sqlite {
    /// Opens nothing yet. Needs the runtime to be entered.
    pub fn new(path: &str) -> Self {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY);
        Self { pool: SqlitePoolOptions::new().max_connections(2).connect_lazy_with(options) }
    }

    pub async fn prepare(&self) -> Result<(), Error> {
        let mut tx = self.pool.begin_with(BEGIN).await?;
        sqlx::raw_sql(ddl_sqlite::PREPARE).execute(&mut *tx).await?;
        tx.commit().await
    }

    /// Makes the table where it is missing; gives its columns.
    pub async fn ensure(&self, table: &TableSpec) -> Result<Vec<String>, Error> {
        let mut tx = self.pool.begin_with(BEGIN).await?;
        sqlx::raw_sql(AssertSqlSafe(ddl_sqlite::create(table))).execute(&mut *tx).await?;
        let columns = sqlx::query_scalar("SELECT name FROM pragma_table_info(?)")
            .bind(&table.name)
            .fetch_all(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(columns)
    }

    pub async fn watch(&self, table: &TableSpec) -> Result<(), Error> {
        let mut tx = self.pool.begin_with(BEGIN).await?;
        sqlx::raw_sql(AssertSqlSafe(ddl_sqlite::triggers(table))).execute(&mut *tx).await?;
        tx.commit().await
    }

    pub async fn execute(&self, sql: &str, effective_at: Option<i64>) -> Result<(), Error> {
        let mut tx = self.pool.begin_with(BEGIN).await?;
        sqlx::raw_sql(ddl_sqlite::NEXT_GROUP).execute(&mut *tx).await?;
        if let Some(at) = effective_at {
            let ask =
                format!("INSERT INTO weir_effective_at VALUES ({})", literal(&EventTime(at).to_string()));
            sqlx::raw_sql(AssertSqlSafe(ask)).execute(&mut *tx).await?;
        }
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut *tx).await?;
        sqlx::raw_sql(ddl_sqlite::NEXT_GROUP).execute(&mut *tx).await?;
        tx.commit().await
    }

    /// Rows of each table as JSON texts, and the last change that they contain.
    pub async fn snapshot(&self, tables: &[TableSpec]) -> Result<(Vec<Vec<String>>, i64), Error> {
        // A deferred transaction reads one version of the file from its first statement on.
        let mut tx = self.pool.begin().await?;
        let last = last_change(&mut tx).await?;
        let mut rows = Vec::with_capacity(tables.len());
        for table in tables {
            let key: Vec<String> = table.primary_key.iter().map(|c| quoted(c)).collect();
            let sql = format!(
                "SELECT {} FROM {} ORDER BY {}",
                ddl_sqlite::row(table, ""),
                quoted(&table.name),
                key.join(", ")
            );
            rows.push(sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(&mut *tx).await?);
        }
        tx.rollback().await?;
        Ok((rows, last))
    }

    /// Changes after an id, whole groups, and the last change that there is.
    pub async fn changes(&self, since: i64, rows_max: i64) -> Result<(Vec<Change>, i64), Error> {
        // Without the write lock, since most looks find nothing.
        let seen = last_change(&mut *self.pool.acquire().await?).await?;
        if seen <= since {
            return Ok((Vec::new(), seen));
        }
        // The group that is given out must not grow: the number is raised while nobody else can write.
        let mut tx = self.pool.begin_with(BEGIN).await?;
        sqlx::raw_sql(
            "UPDATE weir_tx SET tx = tx + 1
             WHERE tx <= (SELECT w.tx FROM weir_changes AS w ORDER BY w.change DESC LIMIT 1)",
        )
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        let mut tx = self.pool.begin().await?;
        let rows: Vec<Raw> = sqlx::query_as(
            "SELECT change, tx, table_name, before, after, effective_at, committed_at FROM weir_changes
             WHERE change > ?1 AND tx < (SELECT tx FROM weir_tx) AND tx <= (
               SELECT max(tx) FROM (
                 SELECT tx FROM weir_changes WHERE change > ?1 ORDER BY change LIMIT ?2))
             ORDER BY change",
        )
        .bind(since)
        .bind(rows_max)
        .fetch_all(&mut *tx)
        .await?;
        let last = last_change(&mut tx).await?;
        tx.rollback().await?;
        let time = |text: &str| {
            EventTime::parse(text).map(|t| t.0).ok_or_else(|| Error::Protocol(format!("{text:?} is no time")))
        };
        let rows = rows.into_iter().map(|(change, tx, table, before, after, asked, committed)| {
            let asked_at = asked.as_deref().map(time).transpose()?;
            Ok(Change { change, tx, table, before, after, asked_at, committed_at: time(&committed)? })
        });
        Ok((rows.collect::<Result<_, Error>>()?, last))
    }
}

async fn last_change(connection: &mut sqlx::SqliteConnection) -> Result<i64, Error> {
    // The sequence outlives rows that somebody deleted.
    sqlx::query_scalar("SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'weir_changes'), 0)")
        .fetch_one(connection)
        .await
}
