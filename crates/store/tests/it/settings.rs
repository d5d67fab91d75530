//! What each database says of its own settings, and what of that hurts.

use crate::backends::{self, Fresh};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use store::Store;
use store::settings::{Finding, Verdict};

fn named<'a>(findings: &'a [Finding], name: &str) -> &'a Finding {
    let found = findings.iter().find(|one| one.name == name);
    assert!(found.is_some(), "{name} is not told: {findings:?}");
    found.unwrap()
}

fn hurting(findings: &[Finding]) -> Vec<&str> {
    let hurts = findings.iter().filter(|one| one.verdict != Verdict::Good);
    hurts.map(|one| one.name).collect()
}

/// The servers of the tests keep nothing, so the doctor has something to say.
#[tokio::test]
async fn every_database_tells_its_settings() -> anyhow::Result<()> {
    for fresh in backends::empty().await? {
        let findings = fresh.store.settings().await?;
        let (names, harmful): (&[&str], Option<&str>) = match fresh.name {
            "sqlite" => (&["journal_mode", "synchronous", "foreign_keys", "fts5"], None),
            "postgres" => (
                &[
                    "server_version_num",
                    "synchronous_commit",
                    "in_recovery",
                    "default_transaction_isolation",
                    "statement_timeout",
                    "idle_in_transaction_session_timeout",
                    "connections",
                    "pgvector",
                ],
                Some("fsync"),
            ),
            _ => (
                &[
                    "innodb_doublewrite",
                    "sql_mode",
                    "isolation",
                    "max_allowed_packet",
                    "connections",
                ],
                Some("innodb_flush_log_at_trx_commit"),
            ),
        };
        for name in names {
            let verdict = named(&findings, name).verdict;
            assert_eq!(verdict, Verdict::Good, "{}: {findings:?}", fresh.name);
        }
        if let Some(name) = harmful {
            let finding = named(&findings, name);
            assert_eq!(finding.verdict, Verdict::Harmful, "{}", fresh.name);
            assert!(!finding.advice.is_empty());
        }
    }
    Ok(())
}

async fn altered(fresh: &Fresh, settings: &[&str]) -> anyhow::Result<Vec<Finding>> {
    let mut admin = PgConnection::connect(&fresh.url).await?;
    let (_, name) = fresh.url.rsplit_once('/').unwrap();
    for setting in settings {
        let alter = format!("ALTER DATABASE {name} SET {setting}");
        admin.execute(AssertSqlSafe(alter)).await?;
    }
    admin.close().await?;
    let store = Store::open(&fresh.url).await?;
    let findings = store.settings().await?;
    store.close().await;
    Ok(findings)
}

/// What counts is what our sessions get, wherever it was set.
#[tokio::test]
async fn a_setting_of_one_database_is_seen() -> anyhow::Result<()> {
    for fresh in backends::empty().await? {
        if fresh.name != "postgres" {
            continue;
        }
        let settings = [
            "synchronous_commit = off",
            "statement_timeout = 900",
            "idle_in_transaction_session_timeout = 900",
            "default_transaction_isolation = 'serializable'",
        ];
        let findings = altered(&fresh, &settings).await?;
        for name in ["statement_timeout", "default_transaction_isolation"] {
            assert_eq!(named(&findings, name).verdict, Verdict::Doubtful);
        }
        assert_eq!(named(&findings, "synchronous_commit").verdict, Verdict::Harmful);
        assert!(hurting(&findings).contains(&"idle_in_transaction_session_timeout"));

        let findings = altered(&fresh, &["default_transaction_read_only = on"]).await?;
        assert_eq!(named(&findings, "default_transaction_read_only").verdict, Verdict::Harmful);
    }
    Ok(())
}

/// A file in memory is no place for money, and says so.
#[tokio::test]
async fn a_database_in_memory_is_told() -> anyhow::Result<()> {
    let store = Store::open("sqlite::memory:").await?;
    assert_eq!(named(&store.settings().await?, "file_system").verdict, Verdict::Harmful);
    Ok(())
}
