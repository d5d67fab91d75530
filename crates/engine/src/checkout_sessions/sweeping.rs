//! Payment pages whose opening nobody has heard the end of: asked for again under the same key, so
//! that none at the provider is unknown here, and closed, because nobody waits for them any more.

use crate::Engine;
use crate::failures::Failure;
use domain::time::Timestamp;
use store::checkout_sessions::{CheckoutSession, SessionStatus};

/// A request that opens a page has an answer by then, or none will come.
const STALE_SECONDS: i64 = 60;
/// The provider remembers a key for a day, and no page stays open for longer.
const LIFE_SECONDS: i64 = 23 * 60 * 60;
const ROWS_PER_SWEEP: u32 = 20;

impl Engine {
    /// Settles the intents of pages that are overdue; says how many there were.
    pub async fn checkout_sweep(&self) -> Result<usize, Failure> {
        if self.inner.provider.is_none() {
            return Ok(0);
        }
        let before = self.clock().now().plus_seconds(-STALE_SECONDS);
        let mut tx = self.store().read("checkout.sweep").await?;
        let stale = tx.checkout_sessions_stale(before, ROWS_PER_SWEEP).await?;
        drop(tx);
        let count = stale.len();
        for session in stale {
            let id = session.id.clone();
            if let Err(failure) = self.checkout_sweep_one(session, before).await {
                tracing::warn!(session.id = %id, %failure, "a payment page has no outcome yet");
            }
        }
        Ok(count)
    }

    async fn checkout_sweep_one(
        &self,
        mut session: CheckoutSession,
        before: Timestamp,
    ) -> Result<(), Failure> {
        let (now, wall) = (self.clock().now(), self.clock().wall());
        let mut tx = self.store().begin("checkout.sweep").await?;
        // Whoever touches it first asks, and nobody asks again for a while.
        if !tx.checkout_sessions_touch(&session.id, before, now).await? {
            return Ok(());
        }
        let customer = match &session.customer_id {
            Some(id) => tx.customers_get(id).await?,
            None => None,
        };
        let price = tx.prices_get(&session.price_id).await?;
        if session.requested_at.plus_seconds(LIFE_SECONDS) < wall {
            // Kept, because what was bought there nevertheless says so by our id.
            session.status = SessionStatus::Expired;
            session.updated_at = now;
            tx.checkout_sessions_settle(&session).await?;
            return Ok(tx.commit().await?);
        }
        tx.commit().await?;
        match price {
            Some(price) => {
                let opened = self.checkout_open(session, customer.as_ref(), &price).await?;
                self.checkout_close(&opened).await;
                Ok(())
            }
            None => Ok(()),
        }
    }
}
