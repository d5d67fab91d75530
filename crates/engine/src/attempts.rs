//! Attempts: how often somebody has tried something within a minute, at this replica and, where
//! they share a Redis, at all of them.

use crate::failures::Failure;
use moka::sync::Cache;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use secrecy::{ExposeSecret as _, SecretString};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

const WINDOW: Duration = Duration::from_secs(60);
const NAMES_MAX: u64 = 10_000;
/// Counting is worth no longer wait than this: without an answer, each replica counts for itself.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(250);
const PING_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a Redis that is away is left alone between two attempts to reach it.
const RECONNECT_PAUSE: Duration = Duration::from_secs(1);

/// The Redis in which replicas count together. Cheap to clone; it connects when it is first asked.
#[derive(Clone)]
pub struct SharedCounts {
    redis: ConnectionManager,
    /// Whether it was told that nobody answers; each change of it is told once.
    is_away: Arc<AtomicBool>,
}

impl std::fmt::Debug for SharedCounts {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("SharedCounts")
    }
}

impl SharedCounts {
    /// `redis://` or, encrypted, `rediss://`; what is wrong with another address.
    pub fn at(url: &SecretString) -> Result<Self, String> {
        // The driver's own message may repeat the address, and with it a password.
        let unusable = |_| "is no address of a Redis: redis://[:password@]host[:port][/number]";
        let client = redis::Client::open(url.expose_secret()).map_err(unusable)?;
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(ANSWER_TIMEOUT))
            .set_response_timeout(Some(ANSWER_TIMEOUT))
            .set_min_delay(RECONNECT_PAUSE)
            .set_number_of_retries(1);
        let manager = ConnectionManager::new_lazy_with_config(client, config).map_err(unusable)?;
        Ok(Self { redis: manager, is_away: Arc::default() })
    }

    /// Whether it answers.
    pub async fn ping(&self) -> Result<(), String> {
        let mut connection = self.redis.clone();
        let answer = async { redis::cmd("PING").query_async::<String>(&mut connection).await };
        match tokio::time::timeout(PING_TIMEOUT, answer).await {
            Ok(answer) => answer.map(drop).map_err(|error| error.to_string()),
            Err(_) => Err("it does not answer".to_owned()),
        }
    }

    /// How many there are in this window with the one that is begun, and when the window ends.
    async fn count(&self, key: &str) -> redis::RedisResult<(u32, Duration)> {
        let mut pipe = redis::pipe();
        let window = pipe.atomic().cmd("SET").arg(key).arg(0).arg("NX");
        window.arg("PX").arg(WINDOW.as_millis()).ignore();
        pipe.incr(key, 1).pttl(key);
        let (count, left): (u32, i64) = pipe.query_async(&mut self.redis.clone()).await?;
        Ok((count, Duration::from_millis(u64::try_from(left).unwrap_or_default())))
    }

    async fn forget(&self, key: &str) -> redis::RedisResult<()> {
        redis::cmd("DEL").arg(key).query_async(&mut self.redis.clone()).await
    }

    /// What it answers in time, if anything.
    async fn answered<T>(&self, asked: impl Future<Output = redis::RedisResult<T>>) -> Option<T> {
        let answer = match tokio::time::timeout(ANSWER_TIMEOUT, asked).await {
            Ok(answer) => answer.map_err(|error| error.to_string()),
            Err(_) => Err("it does not answer in time".to_owned()),
        };
        let was_away = self.is_away.swap(answer.is_err(), Ordering::Relaxed);
        match &answer {
            Err(error) if !was_away => {
                tracing::warn!(error, "Redis is away: each replica counts for itself");
            }
            Ok(_) if was_away => tracing::info!("Redis is back: replicas count together"),
            _ => {}
        }
        answer.ok()
    }
}

/// Counts of one kind, by name. A restart forgets its own: they only keep a flood away.
pub(crate) struct Attempts {
    kind: &'static str,
    here: Cache<String, Arc<AtomicU32>>,
    everywhere: Option<SharedCounts>,
}

impl Attempts {
    pub(crate) fn new(kind: &'static str, everywhere: Option<SharedCounts>) -> Self {
        let here = Cache::builder().max_capacity(NAMES_MAX).time_to_live(WINDOW).build();
        Self { kind, here, everywhere }
    }

    /// Counts an attempt before it is judged, so that parallel ones count too. Whom this replica
    /// refuses already is not counted elsewhere.
    pub(crate) async fn begin(&self, name: &str, limit: u32) -> Result<(), Failure> {
        let count = self.here.get_with(name.to_owned(), Arc::default);
        if limit <= count.fetch_add(1, Ordering::Relaxed) {
            return Err(refused(WINDOW));
        }
        let Some(shared) = &self.everywhere else {
            return Ok(());
        };
        match shared.answered(shared.count(&self.key(name))).await {
            Some((count, left)) if limit < count => Err(refused(left)),
            _ => Ok(()),
        }
    }

    pub(crate) async fn forget(&self, name: &str) {
        self.here.invalidate(name);
        if let Some(shared) = &self.everywhere {
            // Where it does not hear of it, it forgets within a minute by itself.
            shared.answered(shared.forget(&self.key(name))).await;
        }
    }

    fn key(&self, name: &str) -> String {
        format!("tollgate:attempts:{}:{name}", self.kind)
    }
}

fn refused(left: Duration) -> Failure {
    Failure::RateLimited { retry_after_seconds: left.as_secs().max(1) }
}
