//! The two clocks: wall time, and business time that development can move.

use domain::time::Timestamp;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Periods, trials, expiry, holds and grants live on business time; tokens, signatures, retries and
/// rate limits on wall time.
#[derive(Debug, Clone)]
pub struct Clock {
    offset_micros: Option<Arc<AtomicI64>>,
}

impl Clock {
    /// Business time is wall time: production.
    pub fn wall_only() -> Self {
        Self { offset_micros: None }
    }

    /// Business time is wall time plus an offset that somebody moves: development.
    pub fn adjustable(offset_micros: Arc<AtomicI64>) -> Self {
        Self { offset_micros: Some(offset_micros) }
    }

    /// Business time.
    pub fn now(&self) -> Timestamp {
        let offset = self.offset_micros.as_ref().map_or(0, |micros| micros.load(Ordering::SeqCst));
        Timestamp::from_micros(self.wall().micros().saturating_add(offset))
    }

    /// Wall time.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
    pub fn wall(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }
}

/// Ten random bytes for an id.
pub(crate) fn random() -> [u8; 10] {
    random_bytes()
}

/// Thirty-two random bytes for a secret.
pub(crate) fn random_secret() -> [u8; 32] {
    random_bytes()
}

#[expect(clippy::panic, reason = "without randomness no id or secret is safe to make")]
fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    match getrandom::fill(&mut bytes) {
        Ok(()) => bytes,
        Err(error) => panic!("the operating system gives no randomness: {error}"),
    }
}
