//! What can go wrong between us and a database.

/// Never shown to callers: the server answers "database unavailable" or "internal" and logs this.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("database address {0:?} is neither sqlite nor postgres")]
    Address(String),
    #[error("{name}: {source}")]
    Database { name: &'static str, source: sqlx::Error },
    #[error("migration: {0}")]
    Migration(#[from] sqlx::migrate::MigrateError),
    #[error("{name}: {changed} rows changed where one was expected")]
    RowCount { name: &'static str, changed: u64 },
    #[error("column {column} holds {value:?}, which this version cannot read")]
    Inconsistent { column: &'static str, value: String },
    #[error("this database belongs to a {bound} deployment and was opened in {wanted} mode")]
    Mode { bound: String, wanted: &'static str },
}

impl StoreError {
    /// Whether the database could not be reached or was too busy: the same call may work later.
    pub fn is_transient(&self) -> bool {
        match self {
            StoreError::Database { source, .. } => match source {
                sqlx::Error::Io(_)
                | sqlx::Error::PoolTimedOut
                | sqlx::Error::PoolClosed
                | sqlx::Error::WorkerCrashed
                | sqlx::Error::Tls(_) => true,
                sqlx::Error::Database(error) => error.code().is_some_and(|code| {
                    // SQLite busy, locked, full; PostgreSQL serialization, deadlock, shutdown.
                    let code = code.as_ref();
                    matches!(code, "5" | "6" | "13" | "517" | "40001" | "40P01" | "53300")
                        || code.starts_with("57P")
                }),
                _ => false,
            },
            _ => false,
        }
    }

    /// Whether a unique key already holds the value.
    pub fn is_unique_violation(&self) -> bool {
        match self {
            StoreError::Database { source: sqlx::Error::Database(error), .. } => {
                error.is_unique_violation()
            }
            _ => false,
        }
    }
}
