//! The sandbox's own SQLite file: one table of serialized objects, written behind a queue that
//! folds waiting changes into one transaction.

use std::path::Path;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, Row};
use tokio::sync::{mpsc, oneshot};

use crate::StartError;
use crate::clock::Clock;
use crate::state::{RowChange, State};

const FILE: &str = "sandbox.db";
/// The row that holds the clock's offset in microseconds.
pub const CLOCK: &str = "clock";
const MAX_FOLD: usize = 256;

const CREATE: &str = "CREATE TABLE IF NOT EXISTS objects (
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (kind, id)
) STRICT, WITHOUT ROWID";
const LOAD: &str = "SELECT kind, sequence, body FROM objects";
const PUT: &str = "INSERT INTO objects (kind, id, sequence, body) VALUES (?, ?, ?, ?)
    ON CONFLICT (kind, id) DO UPDATE SET sequence = excluded.sequence, body = excluded.body";
const DELETE: &str = "DELETE FROM objects WHERE kind = ? AND id = ?";

/// Changes of one request, and whom to tell that they are on disk.
pub struct Write {
    pub changes: Vec<RowChange>,
    pub written: oneshot::Sender<bool>,
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
    sqlx::query(CREATE).execute(&mut connection).await.map_err(StartError::Database)?;
    Ok(connection)
}

pub async fn load(
    connection: &mut SqliteConnection,
    state: &mut State,
    clock: &Clock,
) -> Result<(), StartError> {
    let rows = sqlx::query(LOAD).fetch_all(connection).await.map_err(StartError::Database)?;
    for row in rows {
        let kind: &str = row.try_get(0).map_err(StartError::Database)?;
        let sequence: i64 = row.try_get(1).map_err(StartError::Database)?;
        let body: &str = row.try_get(2).map_err(StartError::Database)?;
        if kind == CLOCK {
            clock.set_offset_us(body.parse().unwrap_or(0));
            continue;
        }
        state
            .load(kind, sequence, body)
            .map_err(|source| StartError::Object { kind: kind.to_owned(), source })?;
    }
    state.start_timers();
    Ok(())
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
    for change in batch.iter().flat_map(|write| &write.changes) {
        let query = match &change.body {
            Some(body) => {
                sqlx::query(PUT).bind(change.kind).bind(&change.id).bind(change.sequence).bind(body)
            }
            None => sqlx::query(DELETE).bind(change.kind).bind(&change.id),
        };
        query.execute(&mut *transaction).await?;
    }
    transaction.commit().await
}
