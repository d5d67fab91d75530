//! The least that a server could ask of MariaDB for the same work, driven bare from as many
//! connections: nobody has made a program for that.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use e2e::databases::{Backend, Database};
use e2e::loads::percentile_ms;
use e2e::rows::Row;
use sqlx::mysql::{MySqlConnection, MySqlPoolOptions};
use sqlx::{AssertSqlSafe, Connection, Executor, MySqlPool};

use crate::bench::{Bench, Figure};
use crate::ceilings::Ceiling;

const CONNECTIONS: usize = 32;
const ACCOUNTS: u64 = 10_000;
const PAYLOAD_BYTES: usize = 2_000;
const TABLES: [&str; 3] = [
    "CREATE TABLE account (id BIGINT PRIMARY KEY, balance BIGINT NOT NULL CHECK (balance >= 0))",
    "CREATE TABLE ledger (id BIGINT AUTO_INCREMENT PRIMARY KEY, account_id BIGINT NOT NULL, \
     idem VARCHAR(64) NOT NULL, delta BIGINT NOT NULL, balance_after BIGINT NOT NULL, \
     at BIGINT NOT NULL, UNIQUE (account_id, idem))",
    "CREATE TABLE inbox (id BIGINT AUTO_INCREMENT PRIMARY KEY, \
     event_id VARCHAR(64) NOT NULL UNIQUE, type VARCHAR(64) NOT NULL, at BIGINT NOT NULL, \
     payload LONGBLOB NOT NULL, processed_at BIGINT)",
];
const DEBIT: &str = "UPDATE account SET balance = balance - 1 WHERE id = ? AND balance >= 1";
const LINE: &str = "INSERT INTO ledger (account_id, idem, delta, balance_after, at) \
    SELECT id, ?, -1, balance, 0 FROM account WHERE id = ?";
const EVENT: &str = "INSERT INTO inbox (event_id, type, at, payload) \
    VALUES (?, 'invoice.paid', 0, ?) ON DUPLICATE KEY UPDATE id = id";

pub async fn measure(bench: &Bench, which: Ceiling) -> Result<Vec<Row>> {
    let (name, accounts) = match which {
        Ceiling::Spread => ("ceiling_consume_spread", ACCOUNTS),
        Ceiling::Hot => ("ceiling_consume_hot", 1),
        Ceiling::Inbox | Ceiling::Check => ("ceiling_inbox", 0),
    };
    let unique = format!("limits_{}_{}", which as u8, std::process::id());
    let database = Database::create(Backend::Mysql, &unique, std::path::Path::new("")).await?;
    for table in TABLES {
        database.execute(table).await?;
    }
    let pool = MySqlPoolOptions::new().max_connections(1).connect(&database.url).await?;
    for first in (0..accounts).step_by(1_000) {
        let rows: Vec<String> = (first..accounts.min(first + 1_000))
            .map(|account| format!("({account}, 1000000000)"))
            .collect();
        let text = format!("INSERT INTO account VALUES {}", rows.join(", "));
        pool.execute(AssertSqlSafe(text)).await?;
    }
    let mut figures = Vec::new();
    for repetition in 0..bench.repetitions() {
        bench.say(Backend::Mysql, name, repetition);
        figures.push(repeat(&pool, &database.url, bench.length, accounts, repetition).await?);
    }
    Ok(vec![Figure::median(figures).row(name, Backend::Mysql)])
}

/// All connections at once for that long.
async fn repeat(
    pool: &MySqlPool,
    url: &str,
    length: Duration,
    accounts: u64,
    repetition: u32,
) -> Result<Figure> {
    for table in ["TRUNCATE TABLE ledger", "TRUNCATE TABLE inbox"] {
        pool.execute(table).await?;
    }
    let mut connections = Vec::with_capacity(CONNECTIONS);
    for _ in 0..CONNECTIONS {
        let mut connection = MySqlConnection::connect(url).await?;
        connection.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED").await?;
        connections.push(connection);
    }
    let started = Instant::now();
    let tasks: Vec<_> = connections
        .into_iter()
        .enumerate()
        .map(|(number, connection)| {
            let tag = format!("{repetition}-{number}");
            tokio::spawn(drive(connection, started, length, accounts, tag))
        })
        .collect();
    let mut times_us = Vec::new();
    for task in tasks {
        times_us.extend(task.await??);
    }
    let elapsed = started.elapsed();
    times_us.sort_unstable();
    Ok(Figure {
        per_second: times_us.len() as f64 / elapsed.as_secs_f64(),
        p50_ms: percentile_ms(&times_us, 50),
        p99_ms: percentile_ms(&times_us, 99),
        refused: 0,
    })
}

/// Spends from an account at random; where there is none, stores events.
async fn drive(
    mut connection: MySqlConnection,
    started: Instant,
    length: Duration,
    accounts: u64,
    tag: String,
) -> Result<Vec<u32>> {
    let payload = vec![b' '; PAYLOAD_BYTES];
    let mut times_us = Vec::new();
    let mut word = 88_172_645_463_325_252_u64 ^ u64::from(std::process::id());
    for byte in tag.bytes() {
        word = word.wrapping_mul(31).wrapping_add(u64::from(byte));
    }
    while started.elapsed() < length {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        let key = format!("{tag}-{}", times_us.len());
        let begun = Instant::now();
        match accounts {
            0 => {
                let event = sqlx::query(EVENT).bind(&key).bind(payload.as_slice());
                event.execute(&mut connection).await?;
            }
            _ => consume(&mut connection, i64::try_from(word % accounts)?, &key).await?,
        }
        times_us.push(u32::try_from(begun.elapsed().as_micros())?);
    }
    connection.close().await?;
    Ok(times_us)
}

async fn consume(connection: &mut MySqlConnection, account: i64, key: &str) -> Result<()> {
    let mut tx = connection.begin().await.context("begin")?;
    sqlx::query(DEBIT).bind(account).execute(&mut *tx).await?;
    sqlx::query(LINE).bind(key).bind(account).execute(&mut *tx).await?;
    Ok(tx.commit().await?)
}
