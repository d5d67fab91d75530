//! Versioned migrations, up and down, from one text per step.

use crate::database::{Pools, Store};
use crate::dialect;
use crate::errors::StoreError;
use sqlx::migrate::{Migrate, Migration, MigrationType, Migrator};
use sqlx::{AssertSqlSafe, SqlSafeStr as _};

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
            Pools::Sqlite { .. } => text.to_owned(),
            Pools::Postgres(_) => dialect::postgres_types(text),
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
        Migrator::with_migrations(steps.collect())
    }

    /// Applies what is missing; replicas that start together wait for one another.
    pub async fn migrate_up(&self) -> Result<(), StoreError> {
        let migrator = self.migrator();
        match &self.pools {
            Pools::Sqlite { write, .. } => migrator.run(write).await?,
            Pools::Postgres(pool) => migrator.run(pool).await?,
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
            Pools::Sqlite { write, .. } => migrator.undo(write, target).await?,
            Pools::Postgres(pool) => migrator.undo(pool, target).await?,
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
        let failed = |source| StoreError::Database { name: "migrations.status", source };
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
        };
        Ok(applied.iter().map(|step| step.version).collect())
    }
}
