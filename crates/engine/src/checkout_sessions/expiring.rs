//! Closing payment pages, so that two tabs do not become two subscriptions.

use super::intents::check_not_subscribed;
use super::settled;
use crate::Engine;
use crate::clock::random;
use crate::failures::Failure;
use domain::codes::Code;
use domain::ids::CustomerId;
use providers::errors::ProviderError;
use providers::facts;
use store::checkout_sessions::{CheckoutSession, Mode, SessionStatus};

/// What became of a page that should be closed.
enum Expiry {
    Closed,
    PaidAlready(Box<facts::CheckoutSession>),
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
            let Expiry::PaidAlready(told) = self.checkout_expire(&session).await? else {
                continue;
            };
            // Its event is late or lost; the provider has just said what it would have said.
            self.session_fetched(*told).await?;
            let Some(newest) = &newest else {
                continue;
            };
            if let Err(refusal) = self.check_still_sellable(newest, &session).await {
                self.checkout_expire(newest).await?;
                return Err(refusal);
            }
        }
        Ok(())
    }

    /// What a plan change has settled is not also paid for on a page that was open for it.
    pub(crate) async fn expire_pages_of(&self, customer: &CustomerId) -> Result<(), Failure> {
        let mut tx = self.store().read("checkout.open").await?;
        let open = tx.checkout_sessions_open_of_customer(customer).await?;
        drop(tx);
        for session in open {
            if let Expiry::PaidAlready(told) = self.checkout_expire(&session).await? {
                self.session_fetched(*told).await?;
            }
        }
        Ok(())
    }

    /// Closes a page that nobody is to pay on; where somebody has paid, that is applied. What fails
    /// is only logged: a page that is paid nevertheless shows as a surplus.
    pub(super) async fn checkout_close(&self, session: &CheckoutSession) {
        let closed = match self.checkout_expire(session).await {
            Ok(Expiry::Closed) => Ok(()),
            Ok(Expiry::PaidAlready(told)) => self.session_fetched(*told).await,
            Err(failure) => Err(failure),
        };
        if let Err(failure) = closed {
            tracing::warn!(session.id = %session.id, %failure, "a page could not be closed");
        }
    }

    /// Whether a page may stay payable next to what was bought on another one.
    async fn check_still_sellable(
        &self,
        page: &CheckoutSession,
        paid: &CheckoutSession,
    ) -> Result<(), Failure> {
        let mut tx = self.store().read("checkout.still_sellable").await?;
        let paid = tx.checkout_sessions_get(&paid.id).await?;
        let customer = paid.and_then(|paid| paid.customer_id).or(page.customer_id.clone());
        match (customer, tx.prices_get(&page.price_id).await?) {
            (Some(customer), Some(price)) => check_not_subscribed(&mut tx, &customer, &price).await,
            _ => Err(already_subscribed()),
        }
    }

    /// Closes a payment page, unless somebody has paid there.
    async fn checkout_expire(&self, session: &CheckoutSession) -> Result<Expiry, Failure> {
        let Some(id) = &session.provider_session_id else {
            return Ok(Expiry::Closed);
        };
        // Closing twice is closing once, so a failure that the provider remembers under a key must
        // not stand in the way of the next attempt.
        let key = format!("tollgate-expire-{}-{}", session.id, hex::encode(random()));
        let provider = self.provider()?;
        match provider.checkout_session_expire(id, &key).await {
            Ok(_) | Err(ProviderError::NotFound { .. }) => {}
            Err(refused @ ProviderError::Refused { .. }) => {
                let told = provider.checkout_session(id).await?;
                match told.status {
                    facts::SessionStatus::Complete => {
                        return Ok(Expiry::PaidAlready(Box::new(told)));
                    }
                    facts::SessionStatus::Expired => {}
                    _ => return Err(refused.into()),
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
