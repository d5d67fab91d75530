//! The two clocks: wall time, and business time that development can move. And randomness.

use domain::time::Timestamp;
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Periods, trials, expiry, holds and grants live on business time; tokens, signatures, retries and
/// rate limits on wall time.
#[derive(Debug, Clone)]
pub struct Clock {
    offset_micros: Option<Arc<AtomicI64>>,
    /// Stands where a simulation puts it.
    wall_micros: Option<Arc<AtomicI64>>,
}

impl Clock {
    /// Business time is wall time: production.
    pub fn wall_only() -> Self {
        Self { offset_micros: None, wall_micros: None }
    }

    /// Business time is wall time plus an offset that somebody moves: development.
    pub fn adjustable(offset_micros: Arc<AtomicI64>) -> Self {
        Self { offset_micros: Some(offset_micros), wall_micros: None }
    }

    /// Both clocks stand until somebody moves them: simulation.
    pub fn simulated(wall_micros: Arc<AtomicI64>, offset_micros: Arc<AtomicI64>) -> Self {
        Self { offset_micros: Some(offset_micros), wall_micros: Some(wall_micros) }
    }

    /// Business time.
    pub fn now(&self) -> Timestamp {
        let offset = self.offset_micros.as_ref().map_or(0, |micros| micros.load(Ordering::SeqCst));
        Timestamp::from_micros(self.wall().micros().saturating_add(offset))
    }

    /// Wall time.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
    pub fn wall(&self) -> Timestamp {
        if let Some(micros) = &self.wall_micros {
            return Timestamp::from_micros(micros.load(Ordering::SeqCst));
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }

    /// Waits; where time stands, nobody would ever wake up.
    pub(crate) async fn pause(&self, span: Duration) {
        if self.wall_micros.is_none() {
            tokio::time::sleep(span).await;
        }
    }

    /// Waits for time to pass by itself; where it stands, that never happens.
    pub(crate) async fn tick(&self, span: Duration) {
        match self.wall_micros {
            Some(_) => std::future::pending().await,
            None => tokio::time::sleep(span).await,
        }
    }

    /// What comes of a task, unless it takes longer; where time stands, nothing takes any.
    pub(crate) async fn within<T>(
        &self,
        span: Duration,
        task: impl Future<Output = T>,
    ) -> Option<T> {
        if self.wall_micros.is_some() {
            return Some(task.await);
        }
        tokio::time::timeout(span, task).await.ok()
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

thread_local! {
    static SEEDED: Cell<Option<u64>> = const { Cell::new(None) };
}

/// From now on every id and secret that this thread makes follows from the seed: for a simulation,
/// which can then be repeated, and for nothing else.
pub fn seed_randomness(seed: u64) {
    SEEDED.set(Some(seed));
}

#[expect(clippy::panic, reason = "without randomness no id or secret is safe to make")]
fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    if let Some(state) = SEEDED.get() {
        SEEDED.set(Some(fill_seeded(state, &mut bytes)));
        return bytes;
    }
    match getrandom::fill(&mut bytes) {
        Ok(()) => bytes,
        Err(error) => panic!("the operating system gives no randomness: {error}"),
    }
}

/// SplitMix64, eight bytes at a time; returns the state to go on with.
fn fill_seeded(mut state: u64, bytes: &mut [u8]) -> u64 {
    for chunk in bytes.chunks_mut(8) {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        chunk.copy_from_slice(&mixed.to_le_bytes()[..chunk.len()]);
    }
    state
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_itself_and_only_on_its_thread() {
        let drawn = |seed| {
            seed_randomness(seed);
            (random(), random_secret(), random())
        };
        let seeded = std::thread::spawn(move || (drawn(1), drawn(1), drawn(2)));
        let (first, again, other) = seeded.join().unwrap();
        assert_eq!(first, again);
        assert_ne!(first, other);
        assert_ne!(first.0, first.2);
        assert_ne!(random(), random(), "this thread asks the operating system");
    }

    #[test]
    fn simulated_time_stands_until_it_is_moved() {
        let (wall, offset) = (Arc::new(AtomicI64::new(5)), Arc::new(AtomicI64::new(100)));
        let clock = Clock::simulated(wall.clone(), offset);
        assert_eq!((clock.wall().micros(), clock.now().micros()), (5, 105));
        wall.store(7, Ordering::SeqCst);
        assert_eq!((clock.wall().micros(), clock.now().micros()), (7, 107));
    }
}
