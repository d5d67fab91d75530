//! A database as somebody else's program sees it, with one way to speak to all three.

use crate::backends::Fresh;
use sqlx::mysql::MySqlConnectOptions;
use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, MySqlConnection,
    PgConnection, Row as _, SqliteConnection,
};
use std::str::FromStr as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use store::Sql;
use store::sql::Arg;

/// How many steps of SQLite's machine are the least for a row: one that is passed over takes three.
const STEPS_OF_A_ROW: u64 = 5;

pub enum Raw {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
    Mysql(MySqlConnection),
}

/// The statement with its arguments, for whichever backend.
macro_rules! bound {
    ($text:expr, $args:expr) => {
        $args.iter().cloned().fold(sqlx::query(AssertSqlSafe($text.to_owned())), |query, arg| {
            match arg {
                Arg::Int(value) => query.bind(value),
                Arg::Text(value) => query.bind(value),
                Arg::Bytes(value) => query.bind(value),
            }
        })
    };
}

impl Raw {
    pub async fn connect(fresh: &Fresh) -> anyhow::Result<Self> {
        Ok(match fresh.name {
            "sqlite" => Raw::Sqlite(SqliteConnection::connect(&fresh.url).await?),
            "postgres" => {
                let mut connection = PgConnection::connect(&fresh.url).await?;
                connection.execute(store::POSTGRES_SESSION).await?;
                Raw::Postgres(connection)
            }
            _ => {
                let options = MySqlConnectOptions::from_str(&fresh.url)?;
                let is_mariadb = fresh.store.version().await?.starts_with("MariaDB");
                let collation = if is_mariadb { "utf8mb4_nopad_bin" } else { "utf8mb4_0900_bin" };
                let options = options.charset("utf8mb4").collation(collation);
                let mut connection = options.connect().await?;
                let session = "SET SESSION sql_mode = 'STRICT_ALL_TABLES,PIPES_AS_CONCAT'";
                connection.execute(session).await?;
                Raw::Mysql(connection)
            }
        })
    }

    pub async fn execute(&mut self, text: &str) -> Result<u64, sqlx::Error> {
        let text = AssertSqlSafe(text.to_owned());
        Ok(match self {
            Raw::Sqlite(connection) => connection.execute(text).await?.rows_affected(),
            Raw::Postgres(connection) => connection.execute(text).await?.rows_affected(),
            Raw::Mysql(connection) => connection.execute(text).await?.rows_affected(),
        })
    }

    /// Runs the statement, takes back what it did, and says about how many rows it has read.
    pub async fn rows_read(&mut self, sql: &'static Sql, args: &[Arg]) -> anyhow::Result<u64> {
        match self {
            Raw::Sqlite(connection) => {
                let steps = Arc::new(AtomicU64::new(0));
                let counted = steps.clone();
                let mut tx = connection.begin().await?;
                tx.lock_handle().await?.set_progress_handler(1, move || {
                    counted.fetch_add(1, Ordering::Relaxed);
                    true
                });
                let done = bound!(sql.sqlite(), args).fetch_all(&mut *tx).await;
                tx.lock_handle().await?.remove_progress_handler();
                done?;
                tx.rollback().await?;
                Ok(steps.load(Ordering::Relaxed) / STEPS_OF_A_ROW)
            }
            Raw::Postgres(connection) => {
                let text = format!("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {}", sql.postgres());
                let mut tx = connection.begin().await?;
                let row = bound!(text, args).fetch_one(&mut *tx).await?;
                tx.rollback().await?;
                let plan: serde_json::Value =
                    serde_json::from_str(&row.try_get_unchecked::<String, _>(0)?)?;
                Ok(read_by_plan(&plan[0]["Plan"]))
            }
            Raw::Mysql(connection) => {
                let mut tx = connection.begin().await?;
                tx.execute("FLUSH STATUS").await?;
                bound!(sql.mysql().text, args).fetch_all(&mut *tx).await?;
                let shown = tx.fetch_all("SHOW SESSION STATUS LIKE 'Handler_read%'").await?;
                tx.rollback().await?;
                let counts = shown.iter().map(|row| {
                    let text: String = row.try_get(1)?;
                    Ok(text.parse::<u64>()?)
                });
                counts.sum::<anyhow::Result<u64>>()
            }
        }
    }

    /// Has PostgreSQL make the plan that a connection keeps; the others keep none.
    pub async fn keep_plan(
        &mut self,
        name: &str,
        sql: &'static Sql,
        args: &[Arg],
    ) -> anyhow::Result<String> {
        if let Raw::Postgres(connection) = self {
            connection.execute("SET plan_cache_mode = force_generic_plan").await?;
            let prepare = format!("PREPARE {name} AS {}", sql.postgres());
            connection.execute(AssertSqlSafe(prepare)).await?;
        }
        self.kept_plan(name, args).await
    }

    pub async fn kept_plan(&mut self, name: &str, args: &[Arg]) -> anyhow::Result<String> {
        let mut lines = Vec::new();
        if let Raw::Postgres(connection) = self {
            let text = format!("EXPLAIN (COSTS OFF) {}", kept_call(name, args));
            for row in connection.fetch_all(AssertSqlSafe(text)).await? {
                lines.push(row.try_get::<String, _>(0)?);
            }
        }
        Ok(lines.join("\n"))
    }

    /// The same as `rows_read` by the plan that was kept, where any is.
    pub async fn rows_read_by_kept_plan(
        &mut self,
        name: &str,
        args: &[Arg],
    ) -> anyhow::Result<Option<u64>> {
        let Raw::Postgres(connection) = self else { return Ok(None) };
        let call = kept_call(name, args);
        let text = format!("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {call}");
        let mut tx = connection.begin().await?;
        tx.execute("SET LOCAL statement_timeout = '5s'").await?;
        let explained = tx.fetch_one(AssertSqlSafe(text)).await;
        tx.rollback().await?;
        let Ok(row) = explained else { return Ok(Some(u64::MAX)) };
        let plan: serde_json::Value =
            serde_json::from_str(&row.try_get_unchecked::<String, _>(0)?)?;
        Ok(Some(read_by_plan(&plan[0]["Plan"])))
    }

    /// How the database goes about it, for whoever reads a failure.
    pub async fn plan(&mut self, sql: &'static Sql, args: &[Arg]) -> anyhow::Result<String> {
        let mut lines = Vec::new();
        match self {
            Raw::Sqlite(connection) => {
                let text = format!("EXPLAIN QUERY PLAN {}", sql.sqlite());
                for row in bound!(text, args).fetch_all(connection).await? {
                    lines.push(row.try_get::<String, _>(3)?);
                }
            }
            Raw::Postgres(connection) => {
                let text = format!("EXPLAIN {}", sql.postgres());
                for row in bound!(text, args).fetch_all(connection).await? {
                    lines.push(row.try_get::<String, _>(0)?);
                }
            }
            Raw::Mysql(connection) => {
                let text = format!("EXPLAIN FORMAT=JSON {}", sql.mysql().text);
                for row in bound!(text, args).fetch_all(connection).await? {
                    lines.push(row.try_get_unchecked::<String, _>(0)?);
                }
            }
        }
        Ok(lines.join("\n"))
    }
}

fn kept_call(name: &str, args: &[Arg]) -> String {
    match args {
        [] => format!("EXECUTE {name}"),
        _ => format!("EXECUTE {name}({})", args.iter().map(literal).collect::<Vec<_>>().join(", ")),
    }
}

fn literal(arg: &Arg) -> String {
    match arg {
        Arg::Int(value) => value.map_or("NULL".to_owned(), |value| value.to_string()),
        Arg::Text(value) => value
            .as_ref()
            .map_or("NULL".to_owned(), |text| format!("'{}'", text.replace('\'', "''"))),
        Arg::Bytes(value) => format!("'\\x{}'", hex::encode(value)),
    }
}

/// The rows that scans have looked at, or the pages where those are more: an index that is read
/// from end to end gives few rows and many pages.
fn read_by_plan(node: &serde_json::Value) -> u64 {
    let number = |name: &str| node[name].as_f64().unwrap_or_default();
    let mut read = 0.0;
    if node["Node Type"].as_str().is_some_and(|kind| kind.contains("Scan")) {
        let looked_at = number("Actual Rows")
            + number("Rows Removed by Filter")
            + number("Rows Removed by Index Recheck");
        let pages = number("Shared Hit Blocks") + number("Shared Read Blocks");
        read = (looked_at * number("Actual Loops")).max(pages);
    }
    let below = node["Plans"].as_array().into_iter().flatten().map(read_by_plan);
    read as u64 + below.sum::<u64>()
}
