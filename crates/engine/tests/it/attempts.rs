//! How often somebody may try: at one replica, at several that share a Redis, and without it.

use crate::worlds::settings;
use engine::attempts::SharedCounts;
use engine::{Clock, Engine, Failure, Settings};
use secrecy::SecretString;
use std::time::{Duration, Instant};
use store::Store;
use tempfile::TempDir;

const WRONG_KEY: &str = "tg_admin_that_never_was";
/// What one address may get wrong within a minute.
const FAILURES_MAX: usize = 10;

async fn replica(directory: &TempDir, redis: Option<&str>) -> Engine {
    let url = format!("sqlite://{}", directory.path().join("shop.db").display());
    let store = Store::open(&url).await.unwrap();
    store.migrate_up().await.unwrap();
    let shared_counts = redis.map(|url| SharedCounts::at(&SecretString::from(url)).unwrap());
    let settings = Settings { shared_counts, ..settings().unwrap() };
    Engine::new(store, None, Clock::wall_only(), settings)
}

/// Two replicas of one deployment that share a Redis.
struct Shared {
    directory: TempDir,
    redis: String,
    one: Engine,
    other: Engine,
}

impl Shared {
    async fn open() -> Option<Self> {
        let Ok(redis) = std::env::var("TOLLGATE_TEST_REDIS") else {
            eprintln!("skipped: TOLLGATE_TEST_REDIS is not set (cargo xtask test)");
            return None;
        };
        let directory = tempfile::tempdir().unwrap();
        let one = replica(&directory, Some(&redis)).await;
        let other = replica(&directory, Some(&redis)).await;
        Some(Self { directory, redis, one, other })
    }
}

/// How many of so many sign-ins, in turn at each replica, were looked at.
async fn looked_at(replicas: &[&Engine], address: &str, tries: usize) -> usize {
    let mut looked_at = 0;
    for (_, replica) in (0..tries).zip(replicas.iter().cycle()) {
        match replica.admin_sign_in(WRONG_KEY, address).await {
            Ok(None) => looked_at += 1,
            Err(Failure::RateLimited { retry_after_seconds: 1..=60 }) => {}
            other => panic!("{other:?}"),
        }
    }
    looked_at
}

#[tokio::test]
async fn replicas_count_together_in_redis() {
    let Some(Shared { directory, redis, one, other }) = Shared::open().await else { return };
    // Other runs on the same Redis have other addresses.
    let address = directory.path().display().to_string();
    assert_eq!(looked_at(&[&one, &other], &address, 30).await, FAILURES_MAX);
    assert_eq!(looked_at(&[&one], &format!("{address} too"), 1).await, 1);
    // A replica that was not there at the time knows of it.
    let late = replica(&directory, Some(&redis)).await;
    assert_eq!(looked_at(&[&late], &address, 1).await, 0);
}

#[tokio::test]
async fn parallel_attempts_are_counted_one_by_one() {
    let Some(Shared { directory, one, other, .. }) = Shared::open().await else { return };
    let address = directory.path().display().to_string();
    let tries = (0..40).map(|number| {
        let replica = if number % 2 == 0 { &one } else { &other };
        replica.admin_sign_in(WRONG_KEY, &address)
    });
    let answers = futures::future::join_all(tries).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), FAILURES_MAX);
}

#[tokio::test]
async fn without_redis_each_replica_counts_for_itself() {
    let directory = tempfile::tempdir().unwrap();
    let one = replica(&directory, None).await;
    let other = replica(&directory, None).await;
    assert_eq!(looked_at(&[&one, &other], "10.0.0.1", 40).await, 2 * FAILURES_MAX);
}

#[tokio::test]
async fn a_redis_that_is_away_stops_nobody_for_long() {
    let directory = tempfile::tempdir().unwrap();
    // One refuses connections, the other takes them and says nothing.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    for address in [closed, silent.local_addr().unwrap()] {
        let replica = replica(&directory, Some(&format!("redis://{address}"))).await;
        let started = Instant::now();
        assert_eq!(looked_at(&[&replica], "10.0.0.2", 20).await, FAILURES_MAX);
        assert!(started.elapsed() < Duration::from_secs(6), "{:?}", started.elapsed());
    }
}

#[test]
fn an_address_that_is_none_is_refused_without_repeating_it() {
    for wrong in ["", "10.0.0.1", "postgres://user:hidden@host/name", "redis://user:hidden@"] {
        let refused = SharedCounts::at(&SecretString::from(wrong)).unwrap_err();
        assert!(!refused.contains("hidden"), "{refused}");
    }
}
