//! The sandbox's own SQLite file: one table of serialized objects, written behind a queue that
//! folds waiting changes into one transaction.

use std::path::Path;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row};
use tokio::sync::{mpsc, oneshot};

use crate::StartError;
use crate::app::Accounts;
use crate::clock::Clock;
use crate::state::{RowChange, State};

pub const FILE: &str = "sandbox.db";
/// The row that holds the clock's offset in microseconds.
pub const CLOCK: &str = "clock";
const MAX_FOLD: usize = 256;
/// `PRAGMA user_version` of files this version reads and writes.
const LAYOUT: i64 = 2;

const CREATE: &str = "CREATE TABLE IF NOT EXISTS objects (
    account TEXT NOT NULL,
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (account, kind, id)
) STRICT, WITHOUT ROWID";
const LOAD: &str = "SELECT account, kind, sequence, body FROM objects";
const PUT: &str = "INSERT INTO objects (account, kind, id, sequence, body)
    VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (account, kind, id)
    DO UPDATE SET sequence = excluded.sequence, body = excluded.body";
const DELETE: &str = "DELETE FROM objects WHERE account = ? AND kind = ? AND id = ?";
const DELETE_ALL: &str = "DELETE FROM objects";

/// Something to write, and whom to tell that it is on disk.
pub struct Write {
    pub work: Work,
    pub written: oneshot::Sender<bool>,
}

pub enum Work {
    /// What one request changed.
    Changes { account: String, changes: Vec<RowChange> },
    /// The whole state, instead of what is there.
    Everything(Vec<(String, Vec<RowChange>)>),
}

impl Work {
    pub fn everything(accounts: &Accounts, offset_us: i64) -> Result<Work, serde_json::Error> {
        let mut all = vec![(String::new(), vec![clock_row(offset_us)])];
        for (account, state) in accounts {
            all.push((account.clone(), state.rows()?));
        }
        Ok(Work::Everything(all))
    }
}

pub fn clock_row(offset_us: i64) -> RowChange {
    let body = Some(offset_us.to_string());
    RowChange { kind: CLOCK, id: CLOCK.to_owned(), sequence: 0, body }
}

pub async fn open(directory: &Path) -> Result<SqliteConnection, StartError> {
    tokio::fs::create_dir_all(directory)
        .await
        .map_err(|source| StartError::Directory { path: directory.to_owned(), source })?;
    let options = SqliteConnectOptions::new()
        .filename(directory.join(FILE))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        // The process may be killed at any line and loses nothing; only a power cut could cost
        // the last moments, which a simulator can afford.
        .synchronous(SqliteSynchronous::Normal)
        .disable_statement_logging();
    let mut connection = options.connect().await.map_err(StartError::Database)?;
    prepare(&mut connection).await?;
    Ok(connection)
}

/// A new file gets its table; a file of another layout is left alone.
async fn prepare(connection: &mut SqliteConnection) -> Result<(), StartError> {
    let layout: i64 = sqlx::query_scalar("PRAGMA user_version")
        .fetch_one(&mut *connection)
        .await
        .map_err(StartError::Database)?;
    let tables: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema")
        .fetch_one(&mut *connection)
        .await
        .map_err(StartError::Database)?;
    if layout == LAYOUT {
        return Ok(());
    }
    if 0 < tables {
        return Err(StartError::Layout { found: layout, known: LAYOUT });
    }
    sqlx::query(CREATE).execute(&mut *connection).await.map_err(StartError::Database)?;
    let mark = format!("PRAGMA user_version = {LAYOUT}");
    sqlx::query(AssertSqlSafe(mark)).execute(connection).await.map_err(StartError::Database)?;
    Ok(())
}

/// Everything in the file, account by account.
pub async fn load(
    connection: &mut SqliteConnection,
    base_url: &str,
    clock: &Clock,
) -> Result<Accounts, StartError> {
    let mut accounts = Accounts::new();
    let rows = sqlx::query(LOAD).fetch_all(connection).await.map_err(StartError::Database)?;
    for row in rows {
        let account: &str = row.try_get(0).map_err(StartError::Database)?;
        let kind: &str = row.try_get(1).map_err(StartError::Database)?;
        let sequence: i64 = row.try_get(2).map_err(StartError::Database)?;
        let body: &str = row.try_get(3).map_err(StartError::Database)?;
        if kind == CLOCK {
            clock.set_offset_us(body.parse().unwrap_or(0));
            continue;
        }
        accounts
            .entry(account.to_owned())
            .or_insert_with(|| State::new(account.to_owned(), base_url.to_owned(), clock.clone()))
            .load(kind, sequence, body)
            .map_err(|source| StartError::Object { kind: kind.to_owned(), source })?;
    }
    accounts.values_mut().for_each(State::start_timers);
    Ok(accounts)
}

/// Writes until the queue closes. Whoever waits learns the truth, also when writing fails.
pub async fn write(mut connection: SqliteConnection, mut queue: mpsc::UnboundedReceiver<Write>) {
    let mut batch = Vec::new();
    while queue.recv_many(&mut batch, MAX_FOLD).await != 0 {
        let result = write_batch(&mut connection, &batch).await;
        if let Err(error) = &result {
            tracing::error!(%error, "sandbox.db could not be written");
        }
        for write in batch.drain(..) {
            // The request may have been given up; what it changed is written all the same.
            let _ = write.written.send(result.is_ok());
        }
    }
    if let Err(error) = connection.close().await {
        tracing::warn!(%error, "sandbox.db was not closed cleanly");
    }
}

async fn write_batch(
    connection: &mut SqliteConnection,
    batch: &[Write],
) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin().await?;
    for write in batch {
        put_work(&mut transaction, &write.work).await?;
    }
    transaction.commit().await
}

/// Writes without a queue, where nobody serves.
pub async fn write_one(connection: &mut SqliteConnection, work: &Work) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin().await?;
    put_work(&mut transaction, work).await?;
    transaction.commit().await
}

async fn put_work(connection: &mut SqliteConnection, work: &Work) -> Result<(), sqlx::Error> {
    match work {
        Work::Changes { account, changes } => put_rows(connection, account, changes).await,
        Work::Everything(all) => {
            sqlx::query(DELETE_ALL).execute(&mut *connection).await?;
            for (account, rows) in all {
                put_rows(connection, account, rows).await?;
            }
            Ok(())
        }
    }
}

async fn put_rows(
    connection: &mut SqliteConnection,
    account: &str,
    rows: &[RowChange],
) -> Result<(), sqlx::Error> {
    for change in rows {
        let query = match &change.body {
            Some(_) => sqlx::query(PUT),
            None => sqlx::query(DELETE),
        };
        let mut query = query.bind(account).bind(change.kind).bind(&change.id);
        if let Some(body) = &change.body {
            query = query.bind(change.sequence).bind(body);
        }
        query.execute(&mut *connection).await?;
    }
    Ok(())
}
