//! What can go wrong between us and a database.

/// Never shown to callers: the server answers "database unavailable" or "internal" and logs this.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("database address {0:?} is neither sqlite nor postgres nor mysql")]
    Address(String),
    #[error("{name}: {source}")]
    Database { name: &'static str, source: sqlx::Error },
    #[error("{name}: the transaction that this was part of did not end; the log says why")]
    Fold { name: &'static str },
    #[error("migration: {0}")]
    Migration(#[from] sqlx::migrate::MigrateError),
    #[error("the database lacks these migrations: {0}")]
    SchemaOlder(String),
    #[error("the database has migration {0}, which this version does not know")]
    SchemaNewer(i64),
    #[error(
        "migration {version} ({name}) stopped half-way, and MySQL cannot take a part of it back: \
         restore the database as it was before"
    )]
    SchemaHalfDone { version: i64, name: &'static str },
    #[error("another instance is migrating this database")]
    SchemaBusy,
    #[error(
        "a copy of another database into this one is unfinished: end it with `tollgate copy`, \
         or begin again with an empty database"
    )]
    CopyUnfinished,
    #[error("{name}: {changed} rows changed, which is not what was expected")]
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
            StoreError::Database { source: sqlx::Error::Database(error), .. } => {
                passes(error.as_ref())
            }
            StoreError::Fold { .. } => true,
            other => other.is_unreachable(),
        }
    }

    /// Whether nobody answered, so that whoever asks next will hear no more.
    pub fn is_unreachable(&self) -> bool {
        let StoreError::Database { source, .. } = self else { return false };
        matches!(
            source,
            sqlx::Error::Io(_)
                | sqlx::Error::PoolTimedOut
                | sqlx::Error::PoolClosed
                | sqlx::Error::WorkerCrashed
                | sqlx::Error::Tls(_)
        )
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

/// Whether what the database complains of can be over in a moment.
fn passes(error: &dyn sqlx::error::DatabaseError) -> bool {
    let code = error.code().unwrap_or_default();
    if error.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some() {
        // The lowest byte says what: busy, locked, read-only, an unwilling disk, a full one, a file
        // that cannot be opened.
        let primary = code.parse::<u32>().unwrap_or_default() & 0xff;
        return matches!(primary, 5 | 6 | 8 | 10 | 13 | 14);
    }
    if let Some(error) = error.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>() {
        return mysql_passes(error.number());
    }
    // PostgreSQL: serialization, deadlock, read-only, a limit on waiting or on time that the server
    // sets, out of resources, shutdown.
    matches!(code.as_ref(), "40001" | "40P01" | "25006" | "55P03" | "57014")
        || code.starts_with("53")
        || code.starts_with("57P")
}

/// The numbers that MySQL and MariaDB share.
fn mysql_passes(number: u16) -> bool {
    match number {
        // A deadlock, or a lock that somebody held for too long.
        1205 | 1213 => true,
        // A disk that is full or unwilling.
        3 | 14 | 20 | 28 | 1021 | 1026 | 1030 | 1114 => true,
        // A server that is read-only, for a while or until somebody else leads.
        1290 | 1836 => true,
        // Out of connections, memory or what a user may have; a shutdown; a session cut off.
        1037 | 1038 | 1040 | 1041 | 1053 | 1077 | 1079 | 1203 | 1226 | 1317 | 1927 | 4031 => true,
        _ => false,
    }
}
