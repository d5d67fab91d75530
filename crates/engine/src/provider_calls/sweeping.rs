//! Sweeping: calls whose outcome nobody knows are asked about again until it is known.

use super::LEASE_SECONDS;
use crate::Engine;
use crate::failures::Failure;
use std::time::Duration;
use tokio::sync::watch;

const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

impl Engine {
    /// Settles what is due until told to stop.
    pub(crate) async fn sweep(self, mut shutdown: watch::Receiver<bool>) {
        while !*shutdown.borrow() {
            if let Err(failure) = self.provider_calls_sweep().await {
                tracing::error!(%failure, "calls to the provider cannot be settled");
            }
            if let Err(failure) = self.checkout_sweep().await {
                tracing::error!(%failure, "intents of payment pages cannot be settled");
            }
            tokio::select! {
                () = tokio::time::sleep(SWEEP_INTERVAL) => {}
                _ = shutdown.changed() => {}
            }
        }
    }

    /// Makes every call that is due; says how many there were. One that fails keeps no other
    /// waiting.
    pub async fn provider_calls_sweep(&self) -> Result<usize, Failure> {
        if self.inner.provider.is_none() {
            return Ok(0);
        }
        let mut made = 0;
        loop {
            let wall = self.clock().wall();
            let mut tx = self.store().begin("provider_calls.claim").await?;
            let until = wall.plus_seconds(LEASE_SECONDS);
            let claimed = tx.provider_calls_claim(wall, until).await?;
            tx.commit().await?;
            let Some(call) = claimed else {
                return Ok(made);
            };
            made += 1;
            match self.call_make(call).await {
                // A failed attempt is written on its row, and logged.
                Ok(_) | Err(Failure::Provider { .. } | Failure::Refused { .. }) => {}
                Err(Failure::Declined { .. }) => {}
                Err(failure) => return Err(failure),
            }
        }
    }
}
