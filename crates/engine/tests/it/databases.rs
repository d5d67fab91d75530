//! Databases of their own on the servers that `cargo xtask test` has started, and copies of them.

use sqlx::{
    AssertSqlSafe, Connection as _, Executor as _, MySqlConnection, PgConnection, Row as _,
    SqliteConnection,
};
use store::Store;
use tokio::sync::OnceCell;

pub async fn create_postgres(
    server: &str,
    name: &str,
    template: Option<&str>,
) -> anyhow::Result<()> {
    let mut admin = PgConnection::connect(server).await?;
    let template = template.map_or(String::new(), |name| format!(" TEMPLATE {name}"));
    admin.execute(AssertSqlSafe(format!("CREATE DATABASE {name}{template}"))).await?;
    Ok(admin.close().await?)
}

/// The address of the new database.
pub async fn create_mysql(server: &str, name: &str) -> anyhow::Result<String> {
    let mut admin = MySqlConnection::connect(server).await?;
    admin.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await?;
    admin.close().await?;
    Ok(format!("{}/{name}", server.trim_end_matches('/')))
}

/// A new database with our schema: migrated once, then copied.
pub async fn migrated_mysql(server: &str, name: &str) -> anyhow::Result<String> {
    static TEMPLATE: OnceCell<String> = OnceCell::const_new();
    let template = TEMPLATE.get_or_try_init(async || -> anyhow::Result<String> {
        let url = create_mysql(server, &format!("{name}_template")).await?;
        let store = Store::open(&url).await?;
        store.migrate_up().await?;
        store.close().await;
        Ok(url)
    });
    copy_mysql(template.await?, name).await
}

/// MySQL knows no templates: the tables are made and filled one by one, with all their keys.
pub async fn copy_mysql(url: &str, name: &str) -> anyhow::Result<String> {
    let (server, source) = url.rsplit_once('/').unwrap();
    let copy = create_mysql(server, name).await?;
    let mut admin = MySqlConnection::connect(&copy).await?;
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = ?",
    )
    .bind(source)
    .fetch_all(&mut admin)
    .await?;
    admin.execute("SET SESSION foreign_key_checks = 0").await?;
    for table in tables {
        let shown = AssertSqlSafe(format!("SHOW CREATE TABLE {source}.{table}"));
        let create: String = admin.fetch_one(shown).await?.try_get(1)?;
        admin.execute(AssertSqlSafe(create)).await?;
        // What is computed cannot be written.
        let columns: String = sqlx::query_scalar(
            "SELECT GROUP_CONCAT(column_name) FROM information_schema.columns
             WHERE table_schema = ? AND table_name = ? AND extra NOT LIKE '%GENERATED%'",
        )
        .bind(source)
        .bind(&table)
        .fetch_one(&mut admin)
        .await?;
        let fill = format!(
            "INSERT INTO {name}.{table} ({columns}) SELECT {columns} FROM {source}.{table}"
        );
        admin.execute(AssertSqlSafe(fill)).await?;
    }
    admin.close().await?;
    Ok(copy)
}

/// Writes past all our code: `?` stands for the bytes, once and nowhere else.
pub async fn write(url: &str, text: &str, bytes: &[u8]) -> anyhow::Result<u64> {
    let query = |text: String| AssertSqlSafe(text);
    Ok(match url.split(':').next() {
        Some("sqlite") => {
            let mut connection = SqliteConnection::connect(url).await?;
            let query = sqlx::query(query(text.to_owned()));
            let query = if text.contains('?') { query.bind(bytes) } else { query };
            query.execute(&mut connection).await?.rows_affected()
        }
        Some("postgres") => {
            let mut connection = PgConnection::connect(url).await?;
            let query = sqlx::query(query(text.replace('?', "$1")));
            let query = if text.contains('?') { query.bind(bytes) } else { query };
            query.execute(&mut connection).await?.rows_affected()
        }
        _ => {
            let mut connection = MySqlConnection::connect(url).await?;
            let query = sqlx::query(query(text.to_owned()));
            let query = if text.contains('?') { query.bind(bytes) } else { query };
            query.execute(&mut connection).await?.rows_affected()
        }
    })
}

/// The address of a file that is not there yet.
pub fn empty_sqlite(directory: &std::path::Path) -> anyhow::Result<String> {
    Ok(format!("sqlite://{}", directory.join(empty_name()?).display()))
}

fn empty_name() -> anyhow::Result<String> {
    let mut random = [0_u8; 8];
    getrandom::fill(&mut random)?;
    Ok(format!("empty_{}", hex::encode(random)))
}

/// The addresses of new and empty databases, one on each backend that is here.
pub async fn empty(directory: &std::path::Path) -> anyhow::Result<Vec<String>> {
    let name = empty_name()?;
    let mut urls = vec![empty_sqlite(directory)?];
    if let Ok(server) = std::env::var("TOLLGATE_TEST_POSTGRES") {
        create_postgres(&server, &name, None).await?;
        let (base, _) = server.rsplit_once('/').unwrap();
        urls.push(format!("{base}/{name}"));
    }
    if let Ok(server) = std::env::var("TOLLGATE_TEST_MYSQL") {
        urls.push(create_mysql(&server, &name).await?);
    }
    Ok(urls)
}
