//! Health: the database is asked, the provider is remembered.

use crate::Engine;
use domain::time::Timestamp;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use store::inbox::InboxState;

/// Whoever asks gives up soon after.
const PING_TIMEOUT: Duration = Duration::from_secs(1);
/// A database that says nothing may only be busy: it counts as there for so long after it has last
/// answered. One that refuses us is away at once.
const SILENCE: Duration = Duration::from_secs(30);
const PROBE_INTERVAL_SECONDS: i64 = 30;
/// An event that waits longer than this is told of: the workers are away or the provider is.
const STALE_SECONDS: i64 = 300;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProviderHealth {
    Up,
    Down,
    /// Nobody has asked yet.
    Unknown,
    Disabled,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Health {
    pub database: bool,
    pub provider: ProviderHealth,
    /// Whether an event has been waiting for long to be applied.
    pub inbox_is_stale: bool,
}

/// The provider's last answer and when it was asked for; the database's.
#[derive(Debug, Default)]
pub(crate) struct Probe {
    last: Mutex<Option<(Timestamp, ProviderHealth)>>,
    /// When the database has last answered a probe.
    database: Mutex<Option<Instant>>,
}

impl Engine {
    /// Never waits for the provider: a hundred probes cause at most one call in half a minute.
    pub async fn health(&self) -> Health {
        let ping = async {
            let mut tx = self.store().read("health").await?;
            tx.ping().await?;
            tx.event_log_oldest(InboxState::Pending).await
        };
        let answer = tokio::time::timeout(PING_TIMEOUT, ping).await;
        let mut answered = self.inner.probe.database.lock().unwrap_or_else(PoisonError::into_inner);
        let (database, oldest) = match answer {
            Ok(Ok(oldest)) => {
                *answered = Some(Instant::now());
                (true, oldest)
            }
            Ok(Err(_)) => (false, None),
            Err(_) => (answered.is_some_and(|at| at.elapsed() < SILENCE), None),
        };
        drop(answered);
        let stale = self.clock().wall().plus_seconds(-STALE_SECONDS);
        let inbox_is_stale = oldest.is_some_and(|oldest| oldest < stale);
        Health { database, provider: self.provider_health(), inbox_is_stale }
    }

    fn provider_health(&self) -> ProviderHealth {
        let Some(client) = self.inner.provider.clone() else {
            return ProviderHealth::Disabled;
        };
        let wall = self.clock().wall();
        let mut last = self.inner.probe.last.lock().unwrap_or_else(|lock| lock.into_inner());
        let (asked_at, known) =
            last.unwrap_or((Timestamp::from_micros(0), ProviderHealth::Unknown));
        if wall < asked_at.plus_seconds(PROBE_INTERVAL_SECONDS) {
            return known;
        }
        *last = Some((wall, known));
        drop(last);
        let engine = self.clone();
        tokio::spawn(async move {
            let health = match client.probe().await {
                Ok(()) => ProviderHealth::Up,
                Err(_) => ProviderHealth::Down,
            };
            let probe = &engine.inner.probe;
            let mut last = probe.last.lock().unwrap_or_else(|lock| lock.into_inner());
            *last = Some((wall, health));
        });
        known
    }
}
