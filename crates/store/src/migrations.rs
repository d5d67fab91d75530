//! Versioned migrations, up and down, from one text per step.

use crate::database::{Pools, Store};
use crate::dialect;
use crate::errors::StoreError;
use sqlx::migrate::{Migrate, Migration, MigrationType, Migrator};
use sqlx::mysql::{MySqlConnection, MySqlPool};
use sqlx::{AssertSqlSafe, Connection as _, SqlSafeStr as _};

/// How long one instance waits for another's migration.
const LOCK_TIMEOUT_SECONDS: i64 = 600;
const TAKE_LOCK: &str = "SELECT GET_LOCK(CONCAT('tollgate ', MD5(DATABASE())), ?)";
const LOCK_OF_ANOTHER: &str = "SELECT COALESCE(
    IS_USED_LOCK(CONCAT('tollgate ', MD5(DATABASE()))) <> CONNECTION_ID(), 0)";

/// Steps never change once released: number, name, up, down.
const STEPS: &[(i64, &str, &str, &str)] = &[
    (
        1,
        "first",
        include_str!("../migrations/0001_first.up.sql"),
        include_str!("../migrations/0001_first.down.sql"),
    ),
    (
        2,
        "webhook truth",
        include_str!("../migrations/0002_webhook_truth.up.sql"),
        include_str!("../migrations/0002_webhook_truth.down.sql"),
    ),
    (
        3,
        "lists",
        include_str!("../migrations/0003_lists.up.sql"),
        include_str!("../migrations/0003_lists.down.sql"),
    ),
];

/// One step and whether this database has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationStatus {
    pub version: i64,
    pub name: &'static str,
    pub applied: bool,
}

impl Store {
    fn migrator(&self) -> Migrator {
        let spelled = |text: &str| match &self.pools {
            Pools::Sqlite { .. } => dialect::without_lengths(text),
            Pools::Postgres(_) => dialect::postgres_types(text),
            Pools::Mysql { flavour, .. } => dialect::mysql_schema(text, *flavour),
        };
        let step = |version, name: &'static str, kind, text: &str| {
            let sql = AssertSqlSafe(spelled(text)).into_sql_str();
            Migration::new(version, name.into(), kind, sql, false)
        };
        let steps = STEPS.iter().flat_map(|(version, name, up, down)| {
            [
                step(*version, name, MigrationType::ReversibleUp, up),
                step(*version, name, MigrationType::ReversibleDown, down),
            ]
        });
        let mut migrator = Migrator::with_migrations(steps.collect());
        // There we take a lock of our own.
        migrator.set_locking(!matches!(self.pools, Pools::Mysql { .. }));
        migrator
    }

    /// Applies what is missing; replicas that start together wait for one another.
    pub async fn migrate_up(&self) -> Result<(), StoreError> {
        let migrator = self.migrator();
        match &self.pools {
            Pools::Sqlite { write, .. } => {
                // The driver has no lock there: whoever comes second waits for this transaction.
                let mut alone = write.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
                migrator.run(&mut *alone).await?;
                alone.commit().await.map_err(failed)?;
            }
            Pools::Postgres(pool) => migrator.run(pool).await?,
            Pools::Mysql { write, .. } => {
                let mut alone = alone_on_mysql(write).await?;
                refuse_half_done(&mut alone, &migrator.table_name).await?;
                migrator.run(&mut alone).await?;
                alone.close().await.map_err(failed)?;
            }
        }
        Ok(())
    }

    /// Takes back the newest applied step; `None` where there is none.
    pub async fn migrate_down(&self) -> Result<Option<i64>, StoreError> {
        let applied = self.migrate_status().await?;
        let Some(newest) = applied.iter().rev().find(|step| step.applied) else {
            return Ok(None);
        };
        let target = newest.version - 1;
        let migrator = self.migrator();
        match &self.pools {
            Pools::Sqlite { write, .. } => {
                let mut alone = write.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
                migrator.undo(&mut *alone, target).await?;
                alone.commit().await.map_err(failed)?;
            }
            Pools::Postgres(pool) => migrator.undo(pool, target).await?,
            Pools::Mysql { write, .. } => {
                let mut alone = alone_on_mysql(write).await?;
                refuse_half_done(&mut alone, &migrator.table_name).await?;
                migrator.undo(&mut alone, target).await?;
                alone.close().await.map_err(failed)?;
            }
        }
        Ok(Some(newest.version))
    }

    /// Refuses a schema that is not exactly the one this binary works with.
    pub async fn migrate_check(&self) -> Result<(), StoreError> {
        let applied = self.migrations_applied().await?;
        let known = |version: &i64| STEPS.iter().any(|step| step.0 == *version);
        if let Some(version) = applied.iter().find(|version| !known(version)) {
            return Err(StoreError::SchemaNewer(*version));
        }
        let missing = STEPS.iter().filter(|step| !applied.contains(&step.0));
        let missing: Vec<&str> = missing.map(|step| step.1).collect();
        match missing.is_empty() {
            true => Ok(()),
            false => Err(StoreError::SchemaOlder(missing.join(", "))),
        }
    }

    /// Every step this binary knows.
    pub async fn migrate_status(&self) -> Result<Vec<MigrationStatus>, StoreError> {
        let applied = self.migrations_applied().await?;
        let status = |(version, name, ..): &(i64, &'static str, &str, &str)| MigrationStatus {
            version: *version,
            name,
            applied: applied.contains(version),
        };
        Ok(STEPS.iter().map(status).collect())
    }

    /// The numbers of the steps that this database has.
    async fn migrations_applied(&self) -> Result<Vec<i64>, StoreError> {
        let migrator = self.migrator();
        let table = &migrator.table_name;
        let applied = match &self.pools {
            Pools::Sqlite { write, .. } => {
                let mut connection = write.acquire().await.map_err(failed)?;
                connection.ensure_migrations_table(table).await?;
                connection.list_applied_migrations(table).await?
            }
            Pools::Postgres(pool) => {
                let mut connection = pool.acquire().await.map_err(failed)?;
                connection.ensure_migrations_table(table).await?;
                connection.list_applied_migrations(table).await?
            }
            Pools::Mysql { write, .. } => {
                let mut connection = write.acquire().await.map_err(failed)?;
                refuse_half_done(&mut connection, table).await?;
                connection.list_applied_migrations(table).await?
            }
        };
        Ok(applied.iter().map(|step| step.version).collect())
    }
}

fn failed(source: sqlx::Error) -> StoreError {
    StoreError::Database { name: "migrations", source }
}

/// A connection that alone may change the schema. Its lock ends with it, however that comes about;
/// the driver's own lock would stay behind in the pool after a failure.
async fn alone_on_mysql(pool: &MySqlPool) -> Result<MySqlConnection, StoreError> {
    let mut connection = pool.acquire().await.map_err(failed)?.detach();
    let taken: Option<i64> = sqlx::query_scalar(TAKE_LOCK)
        .bind(LOCK_TIMEOUT_SECONDS)
        .fetch_one(&mut connection)
        .await
        .map_err(failed)?;
    match taken {
        Some(1) => Ok(connection),
        _ => Err(StoreError::SchemaBusy),
    }
}

/// MySQL ends a transaction at every change of a table, so a step that was cut off is half there:
/// the list of steps says so.
async fn refuse_half_done(connection: &mut MySqlConnection, table: &str) -> Result<(), StoreError> {
    connection.ensure_migrations_table(table).await?;
    let Some(version) = connection.dirty_version(table).await? else { return Ok(()) };
    let is_running: i64 =
        sqlx::query_scalar(LOCK_OF_ANOTHER).fetch_one(connection).await.map_err(failed)?;
    if is_running != 0 {
        return Err(StoreError::SchemaBusy);
    }
    let name = STEPS.iter().find(|step| step.0 == version).map_or("unknown", |step| step.1);
    Err(StoreError::SchemaHalfDone { version, name })
}
