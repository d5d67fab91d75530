//! Closing payment pages, so that two tabs do not become two subscriptions.

use super::settled;
use crate::Engine;
use crate::failures::Failure;
use domain::codes::Code;
use providers::errors::ProviderError;
use store::checkout_sessions::{CheckoutSession, Mode, SessionStatus};

/// What became of a page that should be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expiry {
    Closed,
    PaidAlready,
}

impl Engine {
    /// Of several pages that could each become a subscription only the newest stays payable, so
    /// that two tabs do not become two subscriptions, or two trials.
    pub(super) async fn expire_all_but_newest(&self, of: &CheckoutSession) -> Result<(), Failure> {
        if of.mode == Mode::Payment {
            return Ok(());
        }
        let mut tx = self.store().read("checkout.open").await?;
        let mut open = tx.checkout_sessions_open_subscriptions(of).await?;
        drop(tx);
        let newest = open.pop();
        for session in open {
            if self.checkout_expire(&session).await? == Expiry::PaidAlready {
                // Its event is on the way; a second subscription must not be.
                if let Some(newest) = &newest {
                    self.checkout_expire(newest).await?;
                }
                return Err(already_subscribed());
            }
        }
        Ok(())
    }

    /// Closes a payment page, unless somebody has paid there.
    async fn checkout_expire(&self, session: &CheckoutSession) -> Result<Expiry, Failure> {
        let Some(id) = &session.provider_session_id else {
            return Ok(Expiry::Closed);
        };
        let key = format!("tollgate-expire-{}", session.id);
        let provider = self.provider()?;
        match provider.checkout_session_expire(id, &key).await {
            Ok(_) | Err(ProviderError::NotFound { .. }) => {}
            Err(ProviderError::Refused { .. }) => {
                let told = provider.checkout_session(id).await?;
                if told.status == providers::facts::SessionStatus::Complete {
                    return Ok(Expiry::PaidAlready);
                }
            }
            Err(error) => return Err(error.into()),
        }
        let mut tx = self.store().begin("checkout.expire").await?;
        if let Some(mut fresh) = tx.checkout_sessions_lock(&session.id).await? {
            fresh.status = settled(fresh.status, SessionStatus::Expired);
            fresh.updated_at = self.clock().now();
            tx.checkout_sessions_settle(&fresh).await?;
        }
        tx.commit().await?;
        Ok(Expiry::Closed)
    }
}

pub(super) fn already_subscribed() -> Failure {
    let detail = "there is a subscription already; change or cancel it instead";
    Failure::refused(Code::AlreadySubscribed, detail)
}
