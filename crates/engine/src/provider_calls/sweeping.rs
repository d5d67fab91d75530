//! Sweeping: calls whose outcome nobody knows are asked about again until it is known.

use crate::Engine;
use crate::failures::Failure;
use std::time::Duration;
use store::provider_calls::Urgency;
use tokio::sync::watch;

const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
const CALLS_PER_ROUND: u32 = 20;

impl Engine {
    /// Settles what is due of one urgency until told to stop.
    pub(crate) async fn sweep_calls(self, urgency: Urgency, shutdown: watch::Receiver<bool>) {
        let mut stopped = shutdown.clone();
        while !*shutdown.borrow() {
            if let Err(failure) = self.calls_round(urgency, Some(&shutdown)).await {
                tracing::error!(%failure, "calls to the provider cannot be settled");
            }
            tokio::select! {
                () = tokio::time::sleep(SWEEP_INTERVAL) => {}
                _ = stopped.changed() => {}
            }
        }
    }

    /// Settles the intents of payment pages until told to stop.
    pub(crate) async fn sweep_pages(self, mut shutdown: watch::Receiver<bool>) {
        while !*shutdown.borrow() {
            if let Err(failure) = self.checkout_sweep().await {
                tracing::error!(%failure, "intents of payment pages cannot be settled");
            }
            tokio::select! {
                () = tokio::time::sleep(SWEEP_INTERVAL) => {}
                _ = shutdown.changed() => {}
            }
        }
    }

    /// Makes one round of the calls that are due, what has to be done before what was wished for;
    /// says how many were made.
    pub async fn provider_calls_sweep(&self) -> Result<usize, Failure> {
        let duties = self.calls_round(Urgency::Duty, None).await?;
        Ok(duties + self.calls_round(Urgency::Wish, None).await?)
    }

    /// Each call that is due once; one that fails keeps no other waiting.
    async fn calls_round(
        &self,
        urgency: Urgency,
        shutdown: Option<&watch::Receiver<bool>>,
    ) -> Result<usize, Failure> {
        if self.inner.provider.is_none() {
            return Ok(0);
        }
        let wall = self.clock().wall();
        let mut tx = self.store().read("provider_calls.due").await?;
        let due = tx.provider_calls_due(urgency, wall, CALLS_PER_ROUND).await?;
        drop(tx);
        let mut made = 0;
        for mut call in due {
            if shutdown.is_some_and(|shutdown| *shutdown.borrow()) {
                break;
            }
            if !self.call_lease(&mut call).await? {
                continue;
            }
            made += 1;
            match self.call_make(call).await {
                // A failed attempt is written on its row, and logged.
                Ok(_) | Err(Failure::Provider { .. } | Failure::Refused { .. }) => {}
                Err(Failure::Declined { .. }) => {}
                Err(failure) => return Err(failure),
            }
        }
        Ok(made)
    }
}
