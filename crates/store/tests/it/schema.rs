//! Migrations up, down and twice; every statement prepared; the mode bound.

use crate::backends;
use domain::time::Timestamp;
use store::{Store, StoreError};

#[tokio::test]
async fn row_10_migrations_go_up_twice_down_and_up_again() -> anyhow::Result<()> {
    for fresh in backends::empty().await? {
        let store = &fresh.store;
        assert!(store.migrate_status().await?.iter().all(|step| !step.applied), "{}", fresh.name);
        assert_eq!(store.migrate_down().await?, None);
        store.migrate_up().await?;
        store.migrate_up().await?;
        assert!(store.migrate_status().await?.iter().all(|step| step.applied), "{}", fresh.name);
        for version in [3, 2, 1] {
            assert_eq!(store.migrate_down().await?, Some(version), "{}", fresh.name);
        }
        store.migrate_up().await?;
        assert!(store.prepare_all().await? > 90);
    }
    Ok(())
}

/// Each with pools of its own, as processes have them.
#[tokio::test]
async fn row_18_instances_start_together_on_an_empty_database() -> anyhow::Result<()> {
    for fresh in backends::empty().await? {
        let start = async || {
            let store = Store::open(&fresh.url).await?;
            store.migrate_up().await?;
            store.migrate_check().await
        };
        let (one, two, three) = tokio::join!(start(), start(), start());
        for started in [one, two, three] {
            assert!(started.is_ok(), "{}: {started:?}", fresh.name);
        }
    }
    Ok(())
}

/// Only MySQL ends its transaction at every change of a table; the others take a step back whole.
#[tokio::test]
async fn row_10_a_migration_that_stopped_half_way_is_named() -> anyhow::Result<()> {
    for fresh in backends::empty().await? {
        if fresh.name != "mysql" {
            continue;
        }
        let raw = sqlx::MySqlPool::connect(&fresh.url).await?;
        sqlx::query("CREATE TABLE payments (id BIGINT PRIMARY KEY)").execute(&raw).await?;
        assert!(fresh.store.migrate_up().await.is_err());
        for found in [fresh.store.migrate_check().await, fresh.store.migrate_up().await] {
            let named = matches!(found, Err(StoreError::SchemaHalfDone { version: 1, .. }));
            assert!(named, "{found:?}");
        }
        assert!(fresh.store.migrate_down().await.is_err());
        raw.close().await;
    }
    Ok(())
}

#[tokio::test]
async fn the_server_is_named() -> anyhow::Result<()> {
    for fresh in backends::empty().await? {
        let version = fresh.store.version().await?;
        let names = ["SQLite 3", "PostgreSQL 1", "MySQL 8", "MariaDB 1"];
        assert!(names.iter().any(|name| version.starts_with(name)), "{version}");
    }
    Ok(())
}

#[tokio::test]
async fn a_deployment_keeps_its_mode() -> anyhow::Result<()> {
    for fresh in backends::migrated().await? {
        let now = Timestamp::from_seconds(1);
        fresh.store.deployment_bind(false, now).await?;
        fresh.store.deployment_bind(false, now).await?;
        let refused = fresh.store.deployment_bind(true, now).await;
        assert!(matches!(refused, Err(StoreError::Mode { .. })), "{}", fresh.name);
    }
    Ok(())
}

#[tokio::test]
async fn statements_have_unique_names() {
    let mut names: Vec<_> = store::statements().map(|sql| sql.name).collect();
    names.sort_unstable();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count);
}
