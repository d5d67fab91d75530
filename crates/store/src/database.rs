//! Pools and transactions over the backends.
//!
//! SQLite has one writing connection and several readers; a writing transaction starts with
//! `BEGIN IMMEDIATE`, so it never has to be repeated. PostgreSQL runs at read committed with row
//! locks in one order: a session, its customer, the customer's account of credits. Who only spends
//! takes the last one alone. Who has locked an event that nobody leased waits for none of these.
//! MySQL does the same, with readers on connections of their own, because
//! there a snapshot wants another isolation level than a writer.

use crate::dialect::{self, Counts, DUPLICATE, Flavour};
use crate::errors::StoreError;
use crate::rows::Row;
use crate::snapshots::Snapshots;
use crate::sql::{self, Arg, Sql};
use crate::watch::{Step, Watch, Watcher};
use domain::ids::CustomerId;
use sqlx::mysql::{MySqlArguments, MySqlConnectOptions, MySqlPool, MySqlPoolOptions};
use sqlx::pool::PoolConnectionMetadata;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::query::Query;
use sqlx::sqlite::{
    SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, MySql, Postgres, Sqlite,
};
use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

const READERS_MAX: u32 = 4;
pub(crate) const POSTGRES_CONNECTIONS_MAX: u32 = 16;
const ACQUIRE_TIMEOUT_SECONDS: u64 = 15;
/// Requests and folds have shorter limits of their own; the longest statements are the sums over
/// whole tables with which `copy` ends.
const STATEMENT_TIMEOUT_SECONDS: u64 = 900;
/// At read committed each statement would see a state of its own.
const SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
const ASKED_AFTER: Duration = Duration::from_secs(1);
const BUSY_TIMEOUT_SECONDS: u64 = 10;
pub(crate) const MYSQL_WRITERS_MAX: u32 = 16;
pub(crate) const MYSQL_READERS_MAX: u32 = 8;
const MYSQL_SNAPSHOT: &str = "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY";
/// The server's own settings may be lax, and it waits long for a lock.
const MYSQL_SESSION: &str = "SET SESSION sql_mode = 'STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,\
    NO_ENGINE_SUBSTITUTION,ANSI_QUOTES,PIPES_AS_CONCAT', SESSION innodb_lock_wait_timeout = 10";
const MYSQL_WRITES: &str = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED";
const MYSQL_READS: &str = "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ";

/// The database, cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    pub(crate) pools: Pools,
    watch: Watch,
    snapshots: Arc<Snapshots>,
}

#[derive(Debug, Clone)]
pub(crate) enum Pools {
    Sqlite { write: SqlitePool, read: SqlitePool },
    Postgres(PgPool),
    Mysql { write: MySqlPool, read: MySqlPool, flavour: Flavour },
}

/// One transaction. Dropping it without `commit` undoes it.
pub struct Tx {
    name: &'static str,
    inner: Inner,
    watch: Watch,
    pub(crate) snapshots: Arc<Snapshots>,
    /// Whose access is another one after the commit.
    changed: BTreeSet<CustomerId>,
}

enum Inner {
    Sqlite(sqlx::Transaction<'static, Sqlite>),
    Postgres(sqlx::Transaction<'static, Postgres>),
    Mysql(sqlx::Transaction<'static, MySql>),
}

/// Ends with an error where the server says nothing for too long: its machine may be gone without
/// a word.
///
/// What a driver has to remember while it waits, for every kind of database there is, is large and
/// its code long: on the heap, it is not a part of everything that runs a statement.
fn in_time<'a, T: 'a>(
    name: &'static str,
    asked: impl Future<Output = Result<T, StoreError>> + Send + 'a,
) -> Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>> {
    Box::pin(async move {
        let limit = Duration::from_secs(STATEMENT_TIMEOUT_SECONDS);
        tokio::time::timeout(limit, asked).await.unwrap_or_else(|_| {
            let silence = std::io::Error::from(std::io::ErrorKind::TimedOut);
            Err(StoreError::Database { name, source: sqlx::Error::Io(silence) })
        })
    })
}

fn failed(name: &'static str) -> impl FnOnce(sqlx::Error) -> StoreError {
    move |source| StoreError::Database { name, source }
}

impl Store {
    /// Opens `sqlite://path` (created where missing), `postgres://…`, `mysql://…` or `mariadb://…`.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
        let pools = match scheme {
            "sqlite" => open_sqlite(url, Missing::Create).await?,
            "postgres" | "postgresql" => open_postgres(url).await?,
            "mysql" | "mariadb" => open_mysql(url).await?,
            other => return Err(StoreError::Address(other.to_owned())),
        };
        Ok(Self::over(pools))
    }

    /// Opens a database that is there: no file is made.
    pub async fn open_existing(url: &str) -> Result<Self, StoreError> {
        if !url.starts_with("sqlite:") {
            return Self::open(url).await;
        }
        open_sqlite(url, Missing::Refuse).await.map(Self::over)
    }

    fn over(pools: Pools) -> Self {
        Self { pools, watch: Watch::none(), snapshots: Arc::new(Snapshots::new()) }
    }

    /// The same database, whose every step somebody is asked about first: a simulation.
    pub fn watched(self, watcher: Watcher) -> Self {
        Self { watch: Watch::by(watcher), ..self }
    }

    /// A writing transaction; `name` appears in errors and logs.
    pub async fn begin(&self, name: &'static str) -> Result<Tx, StoreError> {
        in_time(name, async move {
            self.watch.at(Step::Begin, name).await?;
            let inner = match &self.pools {
                Pools::Sqlite { write, .. } => {
                    Inner::Sqlite(write.begin_with("BEGIN IMMEDIATE").await.map_err(failed(name))?)
                }
                Pools::Postgres(pool) => Inner::Postgres(pool.begin().await.map_err(failed(name))?),
                Pools::Mysql { write, .. } => {
                    Inner::Mysql(write.begin().await.map_err(failed(name))?)
                }
            };
            Ok(self.transaction(name, inner))
        })
        .await
    }

    /// A transaction for reading one consistent state; what it writes is never committed.
    pub async fn read(&self, name: &'static str) -> Result<Tx, StoreError> {
        in_time(name, async move {
            self.watch.at(Step::Begin, name).await?;
            let inner = match &self.pools {
                Pools::Sqlite { read, .. } => {
                    Inner::Sqlite(read.begin().await.map_err(failed(name))?)
                }
                Pools::Postgres(pool) => {
                    Inner::Postgres(pool.begin_with(SNAPSHOT).await.map_err(failed(name))?)
                }
                Pools::Mysql { read, .. } => {
                    Inner::Mysql(read.begin_with(MYSQL_SNAPSHOT).await.map_err(failed(name))?)
                }
            };
            Ok(self.transaction(name, inner))
        })
        .await
    }

    fn transaction(&self, name: &'static str, inner: Inner) -> Tx {
        let (watch, snapshots) = (self.watch.clone(), self.snapshots.clone());
        Tx { name, inner, watch, snapshots, changed: BTreeSet::new() }
    }

    /// What this process has in memory of everybody's access.
    pub fn snapshots(&self) -> &Snapshots {
        &self.snapshots
    }

    /// Whether only this process can hold the database open, so that no lease can be somebody's.
    pub fn is_single_process(&self) -> bool {
        matches!(self.pools, Pools::Sqlite { .. })
    }

    /// Asks the backend to parse every named statement.
    pub async fn prepare_all(&self) -> Result<usize, StoreError> {
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
                Pools::Mysql { write, .. } => {
                    let text = sql.mysql().text.as_str().into_sql_str();
                    write.prepare(text).await.map(drop).map_err(failed(sql.name))?;
                }
            }
            count += 1;
        }
        Ok(count)
    }

    /// Which server it is, in its own words.
    pub async fn version(&self) -> Result<String, StoreError> {
        let (name, text) = match &self.pools {
            Pools::Sqlite { read, .. } => {
                ("SQLite", sqlx::query_scalar("SELECT sqlite_version()").fetch_one(read).await)
            }
            Pools::Postgres(pool) => (
                "PostgreSQL",
                sqlx::query_scalar("SELECT current_setting('server_version')")
                    .fetch_one(pool)
                    .await,
            ),
            Pools::Mysql { read, flavour, .. } => {
                (flavour.name(), sqlx::query_scalar("SELECT VERSION()").fetch_one(read).await)
            }
        };
        let text: String = text.map_err(failed("version"))?;
        Ok(format!("{name} {text}"))
    }

    /// Closes every connection; SQLite folds its log into the file.
    pub async fn close(&self) {
        match &self.pools {
            Pools::Sqlite { write, read } => {
                read.close().await;
                write.close().await;
            }
            Pools::Mysql { write, read, .. } => {
                read.close().await;
                write.close().await;
            }
            Pools::Postgres(pool) => pool.close().await,
        }
    }
}

/// What becomes of a file that is not there.
enum Missing {
    Create,
    Refuse,
}

async fn open_sqlite(url: &str, missing: Missing) -> Result<Pools, StoreError> {
    let options = SqliteConnectOptions::from_str(url)
        .map_err(failed("open"))?
        .create_if_missing(matches!(missing, Missing::Create))
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

/// A connection that was used a moment ago is taken to be there still: asking costs a statement.
async fn is_there<C: sqlx::Connection>(
    connection: &mut C,
    state: PoolConnectionMetadata,
) -> Result<bool, sqlx::Error> {
    if ASKED_AFTER < state.idle_for {
        connection.ping().await?;
    }
    Ok(true)
}

/// What our sessions differ in from the server's own settings.
///
/// A fold reads a few rows of large tables by their keys. PostgreSQL takes a JSON argument for 100
/// rows, and on tables of a few thousand it would rather read all of them, into a hash or from end
/// to end; and what it planned while a table was empty it goes on doing, like reading a whole line
/// to sort it. Our statements have an index for what they look for. A replica that has lost its
/// power gives back what it has locked.
pub const POSTGRES_SESSION: &str =
    "SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_seqscan = off;
    SET enable_bitmapscan = off; SET jit = off;
    SET tcp_keepalives_idle = 15;
    SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3; SET tcp_user_timeout = '30s'";

async fn open_postgres(url: &str) -> Result<Pools, StoreError> {
    let options = PgConnectOptions::from_str(url).map_err(failed("open"))?;
    let pool = PgPoolOptions::new()
        .max_connections(POSTGRES_CONNECTIONS_MAX)
        .acquire_timeout(Duration::from_secs(ACQUIRE_TIMEOUT_SECONDS))
        .test_before_acquire(false)
        .before_acquire(|connection, state| Box::pin(is_there(connection, state)))
        .after_connect(|connection, _| {
            Box::pin(async move { connection.execute(POSTGRES_SESSION).await.map(drop) })
        })
        .connect_with(options)
        .await
        .map_err(failed("open"))?;
    Ok(Pools::Postgres(pool))
}

async fn open_mysql(url: &str) -> Result<Pools, StoreError> {
    let options = MySqlConnectOptions::from_str(url).map_err(failed("open"))?;
    let mut first = options.connect().await.map_err(failed("open"))?;
    let version: String = sqlx::query_scalar("SELECT VERSION()")
        .fetch_one(&mut first)
        .await
        .map_err(failed("open"))?;
    first.close().await.map_err(failed("open"))?;
    let flavour = Flavour::of(&version);
    // What a statement compares with a column is of the column's collation already.
    let options = options.charset("utf8mb4").collation(flavour.collation());
    let pool = |size, isolation: &'static str| {
        MySqlPoolOptions::new()
            .max_connections(size)
            .acquire_timeout(Duration::from_secs(ACQUIRE_TIMEOUT_SECONDS))
            .test_before_acquire(false)
            .before_acquire(|connection, state| Box::pin(is_there(connection, state)))
            .after_connect(move |connection, _| {
                Box::pin(async move {
                    connection.execute(MYSQL_SESSION).await?;
                    connection.execute(isolation).await.map(drop)
                })
            })
    };
    let write = pool(MYSQL_WRITERS_MAX, MYSQL_WRITES).connect_with(options.clone()).await;
    let write = write.map_err(failed("open"))?;
    let read = pool(MYSQL_READERS_MAX, MYSQL_READS).connect_lazy_with(options);
    Ok(Pools::Mysql { write, read, flavour })
}

fn bound<'q, DB>(
    query: Query<'q, DB, DB::Arguments>,
    args: impl IntoIterator<Item = Arg>,
) -> Query<'q, DB, DB::Arguments>
where
    DB: sqlx::Database,
    for<'t> Option<i64>: sqlx::Encode<'t, DB> + sqlx::Type<DB>,
    for<'t> Option<String>: sqlx::Encode<'t, DB> + sqlx::Type<DB>,
    for<'t> Vec<u8>: sqlx::Encode<'t, DB> + sqlx::Type<DB>,
{
    args.into_iter().fold(query, |query, arg| match arg {
        Arg::Int(value) => query.bind(value),
        Arg::Text(value) => query.bind(value),
        Arg::Bytes(value) => query.bind(value),
    })
}

fn bind_sqlite<'q>(sql: &'static Sql, args: Vec<Arg>) -> Query<'q, Sqlite, SqliteArguments> {
    bound(sqlx::query(sql.sqlite()), args)
}

fn bind_postgres<'q>(sql: &'static Sql, args: Vec<Arg>) -> Query<'q, Postgres, PgArguments> {
    bound(sqlx::query(sql.postgres()), args)
}

fn bind_mysql<'q>(sql: &'static Sql, args: Vec<Arg>) -> Query<'q, MySql, MySqlArguments> {
    bound(sqlx::query(sql.mysql().text.as_str()), args)
}

/// How many rows a statement has changed, as the other backends count them.
fn changed_on_mysql(counts: Counts, done: &sqlx::mysql::MySqlQueryResult) -> u64 {
    match counts {
        Counts::Rows => done.rows_affected(),
        Counts::NewRows if done.last_insert_id() == DUPLICATE => 0,
        Counts::NewRows => done.rows_affected(),
        Counts::NewOrChangedRows => done.rows_affected().min(1),
    }
}

impl Tx {
    /// Makes everything durable and visible.
    pub async fn commit(self) -> Result<(), StoreError> {
        in_time(self.name, async move {
            self.watch.at(Step::Commit, self.name).await?;
            // Also after an error, or where nobody waits any more: it may have been committed.
            let changing = self.snapshots.changing(self.changed);
            let committed = match self.inner {
                Inner::Sqlite(tx) => tx.commit().await,
                Inner::Postgres(tx) => tx.commit().await,
                Inner::Mysql(tx) => tx.commit().await,
            };
            drop(changing);
            committed.map_err(failed(self.name))?;
            self.watch.at(Step::Committed, self.name).await
        })
        .await
    }

    /// Somebody's access is another one, once this is committed, or may be: what is kept of it is
    /// read again.
    pub fn access_changed(&mut self, customer: &CustomerId) {
        self.changed.insert(customer.clone());
    }

    /// Runs a statement and says how many rows it changed.
    pub(crate) async fn execute(
        &mut self,
        sql: &'static Sql,
        args: Vec<Arg>,
    ) -> Result<u64, StoreError> {
        in_time(sql.name, async {
            self.watch.at(Step::Statement, sql.name).await?;
            match &mut self.inner {
                Inner::Sqlite(tx) => {
                    bind_sqlite(sql, args).execute(&mut **tx).await.map(|done| done.rows_affected())
                }
                Inner::Postgres(tx) => bind_postgres(sql, args)
                    .execute(&mut **tx)
                    .await
                    .map(|done| done.rows_affected()),
                Inner::Mysql(tx) => {
                    let done = bind_mysql(sql, args).execute(&mut **tx).await;
                    done.map(|done| changed_on_mysql(sql.mysql().counts, &done))
                }
            }
            .map_err(failed(sql.name))
        })
        .await
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

    /// Runs a statement that must change so many rows.
    pub(crate) async fn change_all(
        &mut self,
        sql: &'static Sql,
        args: Vec<Arg>,
        rows: usize,
    ) -> Result<(), StoreError> {
        match self.execute(sql, args).await? {
            changed if usize::try_from(changed) == Ok(rows) => Ok(()),
            changed => Err(StoreError::RowCount { name: sql.name, changed }),
        }
    }

    /// Runs an insert of one row for many of them, all of which must be new.
    pub(crate) async fn insert_all(
        &mut self,
        sql: &'static Sql,
        rows: &[impl AsRef<[Arg]> + Sync],
    ) -> Result<(), StoreError> {
        match self.insert_rows(sql, "", rows).await? {
            changed if usize::try_from(changed) == Ok(rows.len()) => Ok(()),
            changed => Err(StoreError::RowCount { name: sql.name, changed }),
        }
    }

    /// The same, and passes over rows that are there. Whether all were new; of some that were not,
    /// backends count differently.
    pub(crate) async fn insert_new(
        &mut self,
        sql: &'static Sql,
        rows: &[impl AsRef<[Arg]> + Sync],
    ) -> Result<bool, StoreError> {
        let inserted = self.insert_rows(sql, dialect::PASSING_OVER, rows).await?;
        Ok(usize::try_from(inserted) == Ok(rows.len()))
    }

    async fn insert_rows(
        &mut self,
        sql: &'static Sql,
        ending: &str,
        rows: &[impl AsRef<[Arg]> + Sync],
    ) -> Result<u64, StoreError> {
        let (mut changed, mut left) = (0, rows);
        while let Some(first) = left.first() {
            let (portion, others) = left.split_at(sql::portion(left.len(), first.as_ref().len()));
            let text = sql.repeated(portion.len()) + ending;
            let args = portion.iter().flat_map(AsRef::as_ref).cloned();
            changed += in_time(sql.name, async {
                self.watch.at(Step::Statement, sql.name).await?;
                match &mut self.inner {
                    Inner::Sqlite(tx) => {
                        let query = bound(sqlx::query(AssertSqlSafe(text)), args);
                        query.execute(&mut **tx).await.map(|done| done.rows_affected())
                    }
                    Inner::Postgres(tx) => {
                        let text = AssertSqlSafe(dialect::numbered(&text));
                        let done = bound(sqlx::query(text), args).execute(&mut **tx).await;
                        done.map(|done| done.rows_affected())
                    }
                    Inner::Mysql(tx) => {
                        let spelled = dialect::mysql(&text);
                        let query = bound(sqlx::query(AssertSqlSafe(spelled.text)), args);
                        let done = query.execute(&mut **tx).await;
                        done.map(|done| changed_on_mysql(spelled.counts, &done))
                    }
                }
                .map_err(failed(sql.name))
            })
            .await?;
            left = others;
        }
        Ok(changed)
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
        in_time(sql.name, async {
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
                Inner::Mysql(tx) => bind_mysql(sql, args)
                    .fetch_all(&mut **tx)
                    .await
                    .map(|rows| rows.into_iter().map(Row::Mysql).collect()),
            }
            .map_err(failed(sql.name))
        })
        .await
    }

    pub(crate) async fn first(
        &mut self,
        sql: &'static Sql,
        args: Vec<Arg>,
    ) -> Result<Option<Row>, StoreError> {
        in_time(sql.name, async {
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
                Inner::Mysql(tx) => bind_mysql(sql, args)
                    .fetch_optional(&mut **tx)
                    .await
                    .map(|row| row.map(Row::Mysql)),
            }
            .map_err(failed(sql.name))
        })
        .await
    }
}
