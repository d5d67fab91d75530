//! Attempts: how often somebody has tried something within a minute, at each replica.

use crate::failures::Failure;
use moka::sync::Cache;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

const WINDOW: Duration = Duration::from_secs(60);
const NAMES_MAX: u64 = 10_000;

/// Counts by name. A restart forgets them: they only keep a flood away.
pub(crate) struct Attempts(Cache<String, Arc<AtomicU32>>);

impl Default for Attempts {
    fn default() -> Self {
        Self(Cache::builder().max_capacity(NAMES_MAX).time_to_live(WINDOW).build())
    }
}

impl Attempts {
    /// Counts an attempt before it is judged, so that parallel ones count too.
    pub(crate) fn begin(&self, name: &str, limit: u32) -> Result<(), Failure> {
        let count = self.0.get_with(name.to_owned(), Arc::default);
        if count.fetch_add(1, Ordering::Relaxed) < limit {
            return Ok(());
        }
        Err(Failure::RateLimited { retry_after_seconds: WINDOW.as_secs() })
    }

    pub(crate) fn forget(&self, name: &str) {
        self.0.invalidate(name);
    }
}
