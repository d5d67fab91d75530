//! A fresh database on each backend.

use store::Store;
use tempfile::TempDir;

/// A migrated database that goes away with the test.
pub struct Fresh {
    pub name: &'static str,
    pub store: Store,
    pub url: String,
    _directory: Option<TempDir>,
}

async fn sqlite() -> anyhow::Result<Fresh> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("test.db");
    let url = format!("sqlite://{}", path.display());
    let store = Store::open(&url).await?;
    Ok(Fresh { name: "sqlite", store, url, _directory: Some(directory) })
}

/// A database of its own on the server that `cargo xtask test` has started.
async fn postgres() -> anyhow::Result<Option<Fresh>> {
    let Ok(server) = std::env::var("TOLLGATE_TEST_POSTGRES") else {
        eprintln!("skipped on PostgreSQL: TOLLGATE_TEST_POSTGRES is not set (cargo xtask test)");
        return Ok(None);
    };
    let mut random = [0_u8; 8];
    getrandom::fill(&mut random)?;
    let name = format!("store_{}", hex::encode(random));
    let admin = sqlx::PgPool::connect(&server).await?;
    let create = sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"));
    sqlx::query(create).execute(&admin).await?;
    admin.close().await;
    let (base, _) = server.rsplit_once('/').ok_or_else(|| anyhow::anyhow!("{server}"))?;
    let url = format!("{base}/{name}");
    let store = Store::open(&url).await?;
    Ok(Some(Fresh { name: "postgres", store, url, _directory: None }))
}

/// The same on MySQL or MariaDB.
async fn mysql() -> anyhow::Result<Option<Fresh>> {
    let Ok(server) = std::env::var("TOLLGATE_TEST_MYSQL") else {
        eprintln!("skipped on MySQL: TOLLGATE_TEST_MYSQL is not set (cargo xtask test)");
        return Ok(None);
    };
    let mut random = [0_u8; 8];
    getrandom::fill(&mut random)?;
    let name = format!("store_{}", hex::encode(random));
    let admin = sqlx::MySqlPool::connect(&server).await?;
    let create = sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"));
    sqlx::query(create).execute(&admin).await?;
    admin.close().await;
    let url = format!("{}/{name}", server.trim_end_matches('/'));
    let store = Store::open(&url).await?;
    Ok(Some(Fresh { name: "mysql", store, url, _directory: None }))
}

/// Every backend that is here, empty.
pub async fn empty() -> anyhow::Result<Vec<Fresh>> {
    let mut all = vec![sqlite().await?];
    all.extend(postgres().await?);
    all.extend(mysql().await?);
    Ok(all)
}

/// Every backend that is here, migrated.
pub async fn migrated() -> anyhow::Result<Vec<Fresh>> {
    let all = empty().await?;
    for fresh in &all {
        fresh.store.migrate_up().await?;
    }
    Ok(all)
}
