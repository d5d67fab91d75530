//! The databases that the servers under test work with, looked at from beside them: to count what
//! they hold, and to fill them faster than any server could.

use std::path::Path;
use std::str::FromStr;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use futures::TryStreamExt as _;
use sqlx::mysql::MySqlPoolOptions;
use sqlx::postgres::PgPoolOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use sqlx::{AssertSqlSafe, Executor, MySqlPool, PgPool, SqlitePool};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum)]
pub enum Backend {
    Postgres,
    /// MariaDB, too.
    Mysql,
    Sqlite,
}

impl Backend {
    pub fn name(self) -> &'static str {
        match self {
            Backend::Postgres => "postgres",
            Backend::Mysql => "mysql",
            Backend::Sqlite => "sqlite",
        }
    }

    /// Where its server is, if somebody has started one: for measurements, or for tests. SQLite
    /// needs none.
    pub fn server_url(self) -> Result<String> {
        let suffix = match self {
            Backend::Postgres => "POSTGRES",
            Backend::Mysql => "MYSQL",
            Backend::Sqlite => return Ok(String::new()),
        };
        let named = |purpose: &str| std::env::var(format!("TOLLGATE_{purpose}_{suffix}"));
        named("BENCH").or_else(|_| named("TEST")).with_context(|| {
            format!("TOLLGATE_BENCH_{suffix} is not set; `cargo xtask bench` sets it")
        })
    }
}

const CONNECTIONS: u32 = 4;
/// The server under test writes the same file.
const BUSY_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(60);

const ANALYSE_ON_MYSQL: &str = "ANALYZE TABLE customers, credit_balances, credit_grants, \
    credit_entries, entitlements, inbox_events";
const MYSQL_SESSION: &str = "SET SESSION sql_mode = 'STRICT_ALL_TABLES,PIPES_AS_CONCAT'";

/// One open database.
pub struct Database {
    pub url: String,
    pool: Pool,
}

enum Pool {
    Postgres(PgPool),
    Mysql(MySqlPool),
    Sqlite(SqlitePool),
}

impl Database {
    /// A new and empty one.
    pub async fn create(backend: Backend, name: &str, folder: &Path) -> Result<Self> {
        let server = backend.server_url()?;
        match backend {
            Backend::Postgres => {
                let admin = PgPoolOptions::new().max_connections(1).connect(&server).await?;
                let text = format!("CREATE DATABASE {name}");
                sqlx::query(AssertSqlSafe(text)).execute(&admin).await?;
                admin.close().await;
                let (base, _) = server.rsplit_once('/').context("no database in the address")?;
                Self::open(&format!("{base}/{name}")).await
            }
            Backend::Mysql => {
                let admin = MySqlPoolOptions::new().max_connections(1).connect(&server).await?;
                let text = format!("CREATE DATABASE {name}");
                sqlx::query(AssertSqlSafe(text)).execute(&admin).await?;
                admin.close().await;
                Self::open(&format!("{}/{name}", server.trim_end_matches('/'))).await
            }
            Backend::Sqlite => {
                let file = folder.join(format!("{name}.db"));
                Self::open(&format!("sqlite://{}", file.display())).await
            }
        }
    }

    async fn open(url: &str) -> Result<Self> {
        let pool = if url.starts_with("postgres") {
            Pool::Postgres(PgPoolOptions::new().max_connections(CONNECTIONS).connect(url).await?)
        } else if url.starts_with("mysql") {
            let pool = MySqlPoolOptions::new().max_connections(CONNECTIONS);
            // Its own spelling of putting texts together is nobody else's.
            let pool = pool.after_connect(|connection, _| {
                Box::pin(async move { connection.execute(MYSQL_SESSION).await.map(drop) })
            });
            Pool::Mysql(pool.connect(url).await?)
        } else if url.starts_with("sqlite") {
            let options = SqliteConnectOptions::from_str(url)?;
            let options = options.create_if_missing(true).busy_timeout(BUSY_TIMEOUT);
            let pool = SqlitePoolOptions::new().max_connections(CONNECTIONS);
            Pool::Sqlite(pool.connect_with(options).await?)
        } else {
            bail!("{url} is no database of ours");
        };
        Ok(Self { url: url.to_owned(), pool })
    }

    /// The types that texts and numbers are cast to have names of their own on MySQL.
    fn spelled(&self, text: &str) -> String {
        match &self.pool {
            Pool::Mysql(_) => {
                text.replace("AS BIGINT)", "AS SIGNED)").replace("AS TEXT)", "AS CHAR)")
            }
            Pool::Postgres(_) | Pool::Sqlite(_) => text.to_owned(),
        }
    }

    pub async fn execute(&self, text: &str) -> Result<u64> {
        let query = AssertSqlSafe(self.spelled(text));
        let done = match &self.pool {
            Pool::Postgres(pool) => sqlx::query(query).execute(pool).await?.rows_affected(),
            Pool::Mysql(pool) => sqlx::query(query).execute(pool).await?.rows_affected(),
            Pool::Sqlite(pool) => sqlx::query(query).execute(pool).await?.rows_affected(),
        };
        Ok(done)
    }

    /// The only column of every row.
    pub async fn numbers(&self, text: &str) -> Result<Vec<i64>> {
        let query = AssertSqlSafe(self.spelled(text));
        Ok(match &self.pool {
            Pool::Postgres(pool) => sqlx::query_scalar(query).fetch_all(pool).await?,
            Pool::Mysql(pool) => sqlx::query_scalar(query).fetch_all(pool).await?,
            Pool::Sqlite(pool) => sqlx::query_scalar(query).fetch_all(pool).await?,
        })
    }

    pub async fn number(&self, text: &str) -> Result<i64> {
        let found = self.numbers(text).await?;
        found.first().copied().with_context(|| format!("no row: {text}"))
    }

    pub async fn text(&self, text: &str) -> Result<String> {
        let found = self.texts(text).await?;
        found.into_iter().next().with_context(|| format!("no row: {text}"))
    }

    async fn texts(&self, text: &str) -> Result<Vec<String>> {
        let query = AssertSqlSafe(self.spelled(text));
        Ok(match &self.pool {
            Pool::Postgres(pool) => sqlx::query_scalar(query).fetch_all(pool).await?,
            Pool::Mysql(pool) => sqlx::query_scalar(query).fetch_all(pool).await?,
            Pool::Sqlite(pool) => sqlx::query_scalar(query).fetch_all(pool).await?,
        })
    }

    /// Tells each text of the only column, one after the other: there may be millions.
    pub async fn each_text(&self, text: &str, mut tell: impl FnMut(&str)) -> Result<()> {
        let query = AssertSqlSafe(self.spelled(text));
        match &self.pool {
            Pool::Postgres(pool) => {
                let mut rows = sqlx::query_scalar::<_, String>(query).fetch(pool);
                while let Some(found) = rows.try_next().await? {
                    tell(&found);
                }
            }
            Pool::Mysql(pool) => {
                let mut rows = sqlx::query_scalar::<_, String>(query).fetch(pool);
                while let Some(found) = rows.try_next().await? {
                    tell(&found);
                }
            }
            Pool::Sqlite(pool) => {
                let mut rows = sqlx::query_scalar::<_, String>(query).fetch(pool);
                while let Some(found) = rows.try_next().await? {
                    tell(&found);
                }
            }
        }
        Ok(())
    }

    /// The names of a table's columns that can be written.
    pub async fn columns(&self, table: &str) -> Result<Vec<String>> {
        let found = match &self.pool {
            Pool::Postgres(_) => {
                let written = "is_generated = 'NEVER'";
                self.texts(&columns_of(table, "current_schema()", written)).await?
            }
            Pool::Mysql(_) => {
                let written = "generation_expression IS NULL";
                self.texts(&columns_of(table, "database()", written)).await?
            }
            Pool::Sqlite(_) => {
                self.texts(&format!("SELECT name FROM pragma_table_info('{table}')")).await?
            }
        };
        if found.is_empty() {
            bail!("there is no table {table}");
        }
        Ok(found)
    }

    /// Lets the planner know what the tables hold now, and everything be written where it stays.
    pub async fn analyse(&self) -> Result<()> {
        match &self.pool {
            Pool::Postgres(_) => {
                self.execute("VACUUM ANALYZE").await?;
                self.execute("CHECKPOINT").await?
            }
            Pool::Mysql(_) => self.execute(ANALYSE_ON_MYSQL).await?,
            Pool::Sqlite(_) => self.execute("ANALYZE").await?,
        };
        Ok(())
    }
}

fn columns_of(table: &str, schema: &str, written: &str) -> String {
    format!(
        "SELECT CAST(column_name AS TEXT) FROM information_schema.columns \
         WHERE table_name = '{table}' AND table_schema = {schema} AND {written} \
         ORDER BY ordinal_position"
    )
}
