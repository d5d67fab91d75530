//! The list of tables that a copy brings over is the schema's own.

use crate::backends::{self, Fresh};
use sqlx::{AssertSqlSafe, Row as _};
use std::collections::{BTreeMap, BTreeSet};
use store::copies::{Kind, tables};

/// What is no part of a deployment: the list of migrations, and how far a copy has come.
const APART: [&str; 2] = ["_sqlx_migrations", "copies"];

type Columns = BTreeMap<String, BTreeMap<String, Kind>>;

/// What the database says of itself: tables, columns and their types.
async fn found(fresh: &Fresh) -> anyhow::Result<Columns> {
    // A column that is made of others is made anew.
    let catalogue = |schema: &str| {
        format!(
            "SELECT CAST(table_name AS CHAR(255)), CAST(column_name AS CHAR(255)),
                 CAST(data_type AS CHAR(255))
             FROM information_schema.columns WHERE {schema}"
        )
    };
    let rows: Vec<(String, String, String)> = match fresh.name {
        "sqlite" => {
            let pool = sqlx::SqlitePool::connect(&fresh.url).await?;
            let text = "SELECT m.name, c.name, c.type FROM sqlite_master AS m
                        JOIN pragma_table_info(m.name) AS c
                        WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%'";
            sqlx::query_as(text).fetch_all(&pool).await?
        }
        "postgres" => {
            let pool = sqlx::PgPool::connect(&fresh.url).await?;
            let text = catalogue("table_schema = 'public' AND is_generated = 'NEVER'");
            let text = AssertSqlSafe(text.replace("CHAR(255)", "TEXT"));
            sqlx::query_as(text).fetch_all(&pool).await?
        }
        _ => {
            let pool = sqlx::MySqlPool::connect(&fresh.url).await?;
            sqlx::query_as(AssertSqlSafe(catalogue(
                "table_schema = DATABASE() AND extra NOT LIKE '% GENERATED%'",
            )))
            .fetch_all(&pool)
            .await?
        }
    };
    let mut columns = Columns::new();
    for (table, column, kind) in rows {
        if APART.contains(&table.as_str()) {
            continue;
        }
        let kind = match kind.to_ascii_lowercase().as_str() {
            "text" | "longtext" | "varchar" => Kind::Text,
            "bigint" => Kind::Int,
            "blob" | "bytea" | "longblob" => Kind::Bytes,
            other => anyhow::bail!("{table}.{column} is a {other}, which no copy brings over"),
        };
        columns.entry(table).or_default().insert(column, kind);
    }
    Ok(columns)
}

#[tokio::test]
async fn a_copy_forgets_no_table_and_no_column() -> anyhow::Result<()> {
    let listed: Columns = tables()
        .iter()
        .map(|table| {
            let columns = table.columns.iter().map(|(name, kind)| ((*name).to_owned(), *kind));
            (table.name.to_owned(), columns.collect())
        })
        .collect();
    for fresh in backends::migrated().await? {
        assert_eq!(listed, found(&fresh).await?, "{}", fresh.name);
    }
    Ok(())
}

#[tokio::test]
async fn tables_are_copied_after_what_they_refer_to_and_read_by_their_keys() -> anyhow::Result<()> {
    let all = backends::migrated().await?;
    let pool = sqlx::SqlitePool::connect(&all[0].url).await?;
    let mut filled = BTreeSet::new();
    for table in tables() {
        let references =
            format!("SELECT DISTINCT \"table\" FROM pragma_foreign_key_list('{}')", table.name);
        let references: Vec<String> =
            sqlx::query_scalar(AssertSqlSafe(references)).fetch_all(&pool).await?;
        for target in references {
            assert!(filled.contains(target.as_str()), "{} refers to {target}", table.name);
        }
        let key = format!(
            "SELECT name FROM pragma_table_info('{}') WHERE pk > 0 ORDER BY pk",
            table.name
        );
        let rows = sqlx::query(AssertSqlSafe(key)).fetch_all(&pool).await?;
        let key: Vec<String> = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
        let listed: Vec<_> =
            table.columns.iter().take(table.key_columns).map(|(name, _)| *name).collect();
        assert_eq!(listed, key, "{}", table.name);
        filled.insert(table.name);
    }
    Ok(())
}
