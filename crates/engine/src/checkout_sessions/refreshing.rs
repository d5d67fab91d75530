//! A buyer who comes back from the payment page before its event has come.

use super::Progress;
use crate::failures::Failure;
use crate::{Engine, PROVIDER};
use moka::sync::Cache;
use providers::facts::{SessionMode, SessionStatus as Told};
use std::time::Duration;
use store::checkout_sessions::SessionStatus;

/// How long an answer of the provider is good enough for whoever looks again.
const PAUSE: Duration = Duration::from_secs(2);
/// More pages than this do not wait at once.
const WAITING_MAX: u64 = 10_000;

/// The pages that somebody has just asked about.
pub(crate) fn returned() -> Cache<String, ()> {
    Cache::builder().max_capacity(WAITING_MAX).time_to_live(PAUSE).build()
}

impl Engine {
    /// How far a session has come, asked of the provider where we do not know its end. What it says
    /// goes the way of its event: nothing is granted that the event would not grant. An id that is
    /// not ours, or one that somebody has just asked about, causes no call.
    pub async fn checkout_returned(
        &self,
        provider_session_id: &str,
    ) -> Result<Option<Progress>, Failure> {
        let mut tx = self.store().read("checkout.returned").await?;
        let session = tx.checkout_sessions_find(PROVIDER, provider_session_id).await?;
        drop(tx);
        let waits = session.is_some_and(|session| {
            matches!(session.status, SessionStatus::Open | SessionStatus::Processing)
        });
        if waits
            && self.inner.returned.entry_by_ref(provider_session_id).or_insert(()).is_fresh()
            && let Err(failure) = self.checkout_refresh(provider_session_id).await
        {
            // The event, or the loop of minutes, will tell.
            tracing::warn!(%failure, "a payment page could not be asked about");
        }
        self.checkout_progress(provider_session_id).await
    }

    async fn checkout_refresh(&self, provider_session_id: &str) -> Result<(), Failure> {
        let told = self.provider()?.checkout_session(provider_session_id).await?;
        // A page can be complete a moment before its subscription is there.
        let whole = told.mode != SessionMode::Subscription || told.subscription.is_some();
        match told.status {
            Told::Complete if whole => self.session_fetched(told).await,
            Told::Expired => self.session_fetched(told).await,
            _ => Ok(()),
        }
    }
}
