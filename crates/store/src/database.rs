//! Pools and transactions over the backends.
//!
//! SQLite has one writing connection and several readers; a writing transaction starts with
//! `BEGIN IMMEDIATE`, so it never has to be repeated. PostgreSQL runs at read committed with row
//! locks in one order: a session, its customer, the customer's account of credits. Who only spends
//! takes the last one alone.

use crate::errors::StoreError;
use crate::rows::Row;
use crate::sql::{Arg, Sql};
use crate::watch::{Step, Watch, Watcher};
use sqlx::postgres::{PgArguments, PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::sqlite::{
    SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{Connection as _, Postgres, Sqlite};
use std::str::FromStr;
use std::time::Duration;

const READERS_MAX: u32 = 4;
const POSTGRES_CONNECTIONS_MAX: u32 = 16;
const ACQUIRE_TIMEOUT_SECONDS: u64 = 15;
/// At read committed each statement would see a state of its own.
const SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
const BUSY_TIMEOUT_SECONDS: u64 = 10;

/// The database, cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    pub(crate) pools: Pools,
    watch: Watch,
}

#[derive(Debug, Clone)]
pub(crate) enum Pools {
    Sqlite { write: SqlitePool, read: SqlitePool },
    Postgres(PgPool),
}

/// One transaction. Dropping it without `commit` undoes it.
pub struct Tx {
    name: &'static str,
    inner: Inner,
    watch: Watch,
}

enum Inner {
    Sqlite(sqlx::Transaction<'static, Sqlite>),
    Postgres(sqlx::Transaction<'static, Postgres>),
}

fn failed(name: &'static str) -> impl FnOnce(sqlx::Error) -> StoreError {
    move |source| StoreError::Database { name, source }
}

impl Store {
    /// Opens `sqlite://path` (created where missing) or `postgres://…`.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
        let pools = match scheme {
            "sqlite" => open_sqlite(url).await?,
            "postgres" | "postgresql" => open_postgres(url).await?,
            other => return Err(StoreError::Address(other.to_owned())),
        };
        Ok(Self { pools, watch: Watch::none() })
    }

    /// The same database, whose every step somebody is asked about first: a simulation.
    pub fn watched(self, watcher: Watcher) -> Self {
        Self { watch: Watch::by(watcher), ..self }
    }

    /// A writing transaction; `name` appears in errors and logs.
    pub async fn begin(&self, name: &'static str) -> Result<Tx, StoreError> {
        self.watch.at(Step::Begin, name).await?;
        let inner = match &self.pools {
            Pools::Sqlite { write, .. } => {
                Inner::Sqlite(write.begin_with("BEGIN IMMEDIATE").await.map_err(failed(name))?)
            }
            Pools::Postgres(pool) => Inner::Postgres(pool.begin().await.map_err(failed(name))?),
        };
        Ok(Tx { name, inner, watch: self.watch.clone() })
    }

    /// A transaction for reading one consistent state; what it writes is never committed.
    pub async fn read(&self, name: &'static str) -> Result<Tx, StoreError> {
        self.watch.at(Step::Begin, name).await?;
        let inner = match &self.pools {
            Pools::Sqlite { read, .. } => Inner::Sqlite(read.begin().await.map_err(failed(name))?),
            Pools::Postgres(pool) => {
                Inner::Postgres(pool.begin_with(SNAPSHOT).await.map_err(failed(name))?)
            }
        };
        Ok(Tx { name, inner, watch: self.watch.clone() })
    }

    /// Whether only this process can hold the database open, so that no lease can be somebody's.
    pub fn is_single_process(&self) -> bool {
        matches!(self.pools, Pools::Sqlite { .. })
    }

    /// Asks the backend to parse every named statement.
    pub async fn prepare_all(&self) -> Result<usize, StoreError> {
        use sqlx::Executor as _;
        use sqlx::SqlSafeStr as _;
        let mut count = 0;
        for sql in crate::statements() {
            match &self.pools {
                Pools::Sqlite { read, .. } => {
                    let text = sql.sqlite().into_sql_str();
                    read.prepare(text).await.map(drop).map_err(failed(sql.name))?;
                }
                Pools::Postgres(pool) => {
                    let text = sql.postgres().into_sql_str();
                    pool.prepare(text).await.map(drop).map_err(failed(sql.name))?;
                }
            }
            count += 1;
        }
        Ok(count)
    }

    /// Closes every connection; SQLite folds its log into the file.
    pub async fn close(&self) {
        match &self.pools {
            Pools::Sqlite { write, read } => {
                read.close().await;
                write.close().await;
            }
            Pools::Postgres(pool) => pool.close().await,
        }
    }
}

async fn open_sqlite(url: &str) -> Result<Pools, StoreError> {
    let options = SqliteConnectOptions::from_str(url)
        .map_err(failed("open"))?
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        // Money must survive a power cut, so every commit reaches the disk.
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(Duration::from_secs(BUSY_TIMEOUT_SECONDS));
    let pool = |size| {
        SqlitePoolOptions::new()
            .max_connections(size)
            .acquire_timeout(Duration::from_secs(ACQUIRE_TIMEOUT_SECONDS))
            // A full disk undoes a transaction behind the driver's back, which would then wait for
            // ever for its end: such a connection is not used again.
            .before_acquire(|connection, _| {
                Box::pin(std::future::ready(Ok(!connection.is_in_transaction())))
            })
    };
    let write = pool(1).connect_with(options.clone()).await.map_err(failed("open"))?;
    let read = pool(READERS_MAX).connect_lazy_with(options);
    Ok(Pools::Sqlite { write, read })
}

async fn open_postgres(url: &str) -> Result<Pools, StoreError> {
    let options = PgConnectOptions::from_str(url).map_err(failed("open"))?;
    let pool = PgPoolOptions::new()
        .max_connections(POSTGRES_CONNECTIONS_MAX)
        .acquire_timeout(Duration::from_secs(ACQUIRE_TIMEOUT_SECONDS))
        .connect_with(options)
        .await
        .map_err(failed("open"))?;
    Ok(Pools::Postgres(pool))
}

fn bind_sqlite<'q>(
    sql: &'static Sql,
    args: Vec<Arg>,
) -> sqlx::query::Query<'q, Sqlite, SqliteArguments> {
    args.into_iter().fold(sqlx::query(sql.sqlite()), |query, arg| match arg {
        Arg::Int(value) => query.bind(value),
        Arg::Text(value) => query.bind(value),
        Arg::Bytes(value) => query.bind(value),
    })
}

fn bind_postgres<'q>(
    sql: &'static Sql,
    args: Vec<Arg>,
) -> sqlx::query::Query<'q, Postgres, PgArguments> {
    args.into_iter().fold(sqlx::query(sql.postgres()), |query, arg| match arg {
        Arg::Int(value) => query.bind(value),
        Arg::Text(value) => query.bind(value),
        Arg::Bytes(value) => query.bind(value),
    })
}

impl Tx {
    /// Makes everything durable and visible.
    pub async fn commit(self) -> Result<(), StoreError> {
        self.watch.at(Step::Commit, self.name).await?;
        match self.inner {
            Inner::Sqlite(tx) => tx.commit().await,
            Inner::Postgres(tx) => tx.commit().await,
        }
        .map_err(failed(self.name))?;
        self.watch.at(Step::Committed, self.name).await
    }

    /// Runs a statement and says how many rows it changed.
    pub(crate) async fn execute(
        &mut self,
        sql: &'static Sql,
        args: Vec<Arg>,
    ) -> Result<u64, StoreError> {
        self.watch.at(Step::Statement, sql.name).await?;
        match &mut self.inner {
            Inner::Sqlite(tx) => {
                bind_sqlite(sql, args).execute(&mut **tx).await.map(|done| done.rows_affected())
            }
            Inner::Postgres(tx) => {
                bind_postgres(sql, args).execute(&mut **tx).await.map(|done| done.rows_affected())
            }
        }
        .map_err(failed(sql.name))
    }

    /// Runs a statement that must change exactly one row.
    pub(crate) async fn change_one(
        &mut self,
        sql: &'static Sql,
        args: Vec<Arg>,
    ) -> Result<(), StoreError> {
        match self.execute(sql, args).await? {
            1 => Ok(()),
            changed => Err(StoreError::RowCount { name: sql.name, changed }),
        }
    }

    /// Runs a guarded statement: whether it changed its one row or found the guard closed.
    pub(crate) async fn change_if(
        &mut self,
        sql: &'static Sql,
        args: Vec<Arg>,
    ) -> Result<bool, StoreError> {
        match self.execute(sql, args).await? {
            0 => Ok(false),
            1 => Ok(true),
            changed => Err(StoreError::RowCount { name: sql.name, changed }),
        }
    }

    pub(crate) async fn all(
        &mut self,
        sql: &'static Sql,
        args: Vec<Arg>,
    ) -> Result<Vec<Row>, StoreError> {
        self.watch.at(Step::Statement, sql.name).await?;
        match &mut self.inner {
            Inner::Sqlite(tx) => bind_sqlite(sql, args)
                .fetch_all(&mut **tx)
                .await
                .map(|rows| rows.into_iter().map(Row::Sqlite).collect()),
            Inner::Postgres(tx) => bind_postgres(sql, args)
                .fetch_all(&mut **tx)
                .await
                .map(|rows| rows.into_iter().map(Row::Postgres).collect()),
        }
        .map_err(failed(sql.name))
    }

    pub(crate) async fn first(
        &mut self,
        sql: &'static Sql,
        args: Vec<Arg>,
    ) -> Result<Option<Row>, StoreError> {
        self.watch.at(Step::Statement, sql.name).await?;
        match &mut self.inner {
            Inner::Sqlite(tx) => bind_sqlite(sql, args)
                .fetch_optional(&mut **tx)
                .await
                .map(|row| row.map(Row::Sqlite)),
            Inner::Postgres(tx) => bind_postgres(sql, args)
                .fetch_optional(&mut **tx)
                .await
                .map(|row| row.map(Row::Postgres)),
        }
        .map_err(failed(sql.name))
    }
}
