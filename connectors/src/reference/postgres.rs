//! PostgreSQL: other programs write, weir follows.

use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, Error, PgPool};
use weir_contract::EventTime;
use weir_engine::sql::catalog::TableSpec;

use super::{Change, ddl_postgres, literal, quoted};

/// How long a call waits for a connection.
const CONNECT: Duration = Duration::from_secs(5);

type Raw = (i64, i64, String, Option<String>, Option<String>, Option<i64>, i64);

pub struct Postgres {
    options: PgConnectOptions,
    pool: std::sync::OnceLock<PgPool>,
}

impl Postgres {
    /// Reads an address; connects at the first call.
    pub fn new(url: &str) -> Result<Self, Error> {
        let options =
            PgConnectOptions::from_str(url)?.application_name("weir").options([("timezone", "UTC")]);
        Ok(Self { options, pool: std::sync::OnceLock::new() })
    }

    /// Address without user and password.
    pub fn name(&self) -> String {
        let database = self.options.get_database().unwrap_or_default();
        format!("postgres://{}:{}/{database}", self.options.get_host(), self.options.get_port())
    }

    fn pool(&self) -> &PgPool {
        self.pool.get_or_init(|| {
            PgPoolOptions::new()
                .max_connections(2)
                .acquire_timeout(CONNECT)
                .connect_lazy_with(self.options.clone())
        })
    }

    pub async fn prepare(&self) -> Result<(), Error> {
        let mut tx = self.pool().begin().await?;
        sqlx::raw_sql(AssertSqlSafe(ddl_postgres::prepare())).execute(&mut *tx).await?;
        tx.commit().await
    }

    /// Makes the table where it is missing; gives its columns.
    pub async fn ensure(&self, table: &TableSpec) -> Result<Vec<String>, Error> {
        let mut tx = self.pool().begin().await?;
        lock(&mut tx).await?;
        sqlx::raw_sql(AssertSqlSafe(ddl_postgres::create(table))).execute(&mut *tx).await?;
        let columns = sqlx::query_scalar(
            "SELECT attname::TEXT FROM pg_attribute
             WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped",
        )
        .bind(quoted(&table.name))
        .fetch_all(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(columns)
    }

    pub async fn watch(&self, table: &TableSpec) -> Result<(), Error> {
        let mut tx = self.pool().begin().await?;
        lock(&mut tx).await?;
        sqlx::raw_sql(AssertSqlSafe(ddl_postgres::triggers(table))).execute(&mut *tx).await?;
        tx.commit().await
    }

    pub async fn execute(&self, sql: &str, effective_at: Option<i64>) -> Result<(), Error> {
        let mut tx = self.pool().begin().await?;
        if let Some(at) = effective_at {
            let ask = format!("SET LOCAL weir.effective_at = {}", literal(&EventTime(at).to_string()));
            sqlx::raw_sql(AssertSqlSafe(ask)).execute(&mut *tx).await?;
        }
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut *tx).await?;
        tx.commit().await
    }

    /// Rows of each table as JSON texts, and the last change that they contain.
    pub async fn snapshot(&self, tables: &[TableSpec]) -> Result<(Vec<Vec<String>>, i64), Error> {
        let mut tx = self.pool().begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        sqlx::raw_sql("SET LOCAL datestyle = 'ISO'; SET LOCAL bytea_output = 'hex'")
            .execute(&mut *tx)
            .await?;
        let last = last_change(&mut tx).await?;
        let mut rows = Vec::with_capacity(tables.len());
        for table in tables {
            // Byte order of text keys, as SQLite has it, whatever the database's collation.
            let key: Vec<String> = table
                .primary_key
                .iter()
                .map(|name| {
                    let text = table.columns.iter().any(|c| {
                        c.name == *name && c.data_type == datafusion::arrow::datatypes::DataType::Utf8
                    });
                    format!("t.{}{}", quoted(name), if text { " COLLATE \"C\"" } else { "" })
                })
                .collect();
            let sql = format!(
                "SELECT {} FROM {} AS t ORDER BY {}",
                ddl_postgres::ROW,
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
        let mut tx = self.pool().begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        // The lock makes each transaction's ids one run, so whole groups are a prefix of the ids.
        let rows: Vec<Raw> = sqlx::query_as(
            "WITH look AS (SELECT change, tx FROM weir_changes WHERE change > $1 ORDER BY change LIMIT $2),
                  ending AS (SELECT change, tx FROM look ORDER BY change DESC LIMIT 1)
             SELECT w.change, w.tx, w.table_name, w.before::TEXT, w.after::TEXT,
               (extract(epoch FROM w.effective_at) * 1000000)::BIGINT,
               (extract(epoch FROM w.committed_at) * 1000000)::BIGINT
             FROM weir_changes AS w, ending
             WHERE w.change > $1 AND (w.change <= ending.change OR w.tx = ending.tx)
             ORDER BY w.change",
        )
        .bind(since)
        .bind(rows_max)
        .fetch_all(&mut *tx)
        .await?;
        let last = last_change(&mut tx).await?;
        tx.rollback().await?;
        let row = |(change, tx, table, before, after, asked_at, committed_at): Raw| Change {
            change,
            tx,
            table,
            before,
            after,
            asked_at,
            committed_at,
        };
        Ok((rows.into_iter().map(row).collect(), last))
    }
}

async fn lock(connection: &mut sqlx::PgConnection) -> Result<(), Error> {
    let sql = format!("SELECT pg_advisory_xact_lock({})", ddl_postgres::LOCK);
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await.map(|_| ())
}

async fn last_change(connection: &mut sqlx::PgConnection) -> Result<i64, Error> {
    sqlx::query_scalar("SELECT coalesce(max(change), 0) FROM weir_changes").fetch_one(connection).await
}
