//! Asking: one function per wish, each safe to repeat under the same key, and after the key's life.

use super::{KEY_LIFE_SECONDS, Wish};
use crate::{Engine, PROVIDER};
use domain::subscriptions::Status;
use providers::errors::ProviderError;
use providers::facts;
use providers::stripe::Client;
use providers::stripe::customers::CustomerNew;
use store::provider_calls::ProviderCall;
use store::subscriptions::Subscription;

/// What the provider answered, with what is needed to apply it.
pub(super) enum Answer {
    Customer {
        customer: String,
        id: String,
    },
    /// `seen` is our row as it was before the call.
    Subscription {
        told: facts::Subscription,
        seen: Option<Box<Subscription>>,
    },
}

impl Engine {
    pub(super) async fn call_ask(
        &self,
        call: &ProviderCall,
        wish: &Wish,
    ) -> Result<Answer, ProviderError> {
        let provider = self.inner.provider.as_ref().ok_or(ProviderError::Unauthorized)?;
        let age = self.clock().wall().micros() - call.created_at.micros();
        let expired = KEY_LIFE_SECONDS * 1_000_000 < age;
        let key = call.idempotency_key.as_str();
        match wish {
            Wish::CustomerCreate { customer, email, name } => {
                let kept = match expired {
                    true => provider.customer_find(customer).await?,
                    false => None,
                };
                let new =
                    CustomerNew { id: customer, email: email.as_deref(), name: name.as_deref() };
                let id = match kept {
                    Some(id) => id,
                    None => provider.customer_create(&new, key).await?,
                };
                Ok(Answer::Customer { customer: customer.clone(), id })
            }
            Wish::SubscriptionEnd { subscription } => {
                let seen = self.call_seen(subscription).await?;
                let told = ending(provider, subscription, true, key, expired).await?;
                Ok(Answer::Subscription { told, seen })
            }
            Wish::SubscriptionResume { subscription } => {
                let seen = self.call_seen(subscription).await?;
                let told = ending(provider, subscription, false, key, expired).await?;
                Ok(Answer::Subscription { told, seen })
            }
            Wish::SubscriptionCancel { subscription } => {
                let seen = self.call_seen(subscription).await?;
                let told = canceling(provider, subscription, key).await?;
                Ok(Answer::Subscription { told, seen })
            }
            Wish::SubscriptionCancelSurplus { subscription } => {
                let seen = self.call_seen(subscription).await?;
                let told = canceling(provider, subscription, key).await?;
                if let Some(invoice) = &told.latest_invoice {
                    refunding(provider, invoice, key).await?;
                }
                Ok(Answer::Subscription { told, seen })
            }
        }
    }

    /// Our row before the call; a database that fails leaves the outcome to a later attempt.
    async fn call_seen(&self, id: &str) -> Result<Option<Box<Subscription>>, ProviderError> {
        let unknown =
            |error: store::StoreError| ProviderError::Unknown { cause: error.to_string() };
        let mut tx = self.store().read("provider_calls.seen").await.map_err(unknown)?;
        let found = tx.subscriptions_find(PROVIDER, id).await.map_err(unknown)?;
        Ok(found.map(Box::new))
    }
}

/// Ends a subscription with its period, or takes that back. Setting a flag twice is setting it once.
async fn ending(
    provider: &Client,
    id: &str,
    cancel: bool,
    key: &str,
    expired: bool,
) -> Result<facts::Subscription, ProviderError> {
    let now = provider.subscription(id).await?;
    let is_over = now.status.as_ref().is_some_and(Status::is_terminal);
    let ends = now.cancel_at_period_end || now.cancel_at.is_some();
    if is_over || (expired && ends == cancel) {
        return Ok(now);
    }
    provider.subscription_cancel_at_period_end(id, cancel, key).await
}

/// Ends a subscription now. The provider gives no second answer to the end of one thing, so a
/// refusal is checked against the object; then what was still to be paid for it is void.
async fn canceling(
    provider: &Client,
    id: &str,
    key: &str,
) -> Result<facts::Subscription, ProviderError> {
    let told = match provider.subscription_cancel(id, key).await {
        Ok(told) => told,
        Err(refusal @ (ProviderError::NotFound { .. } | ProviderError::Refused { .. })) => {
            let told = provider.subscription(id).await?;
            if !told.status.as_ref().is_some_and(Status::is_terminal) {
                return Err(refusal);
            }
            told
        }
        Err(error) => return Err(error),
    };
    for invoice in provider.invoices_open_of(id).await? {
        match provider.invoice_void(&invoice, &format!("{key}-{invoice}")).await {
            // It was paid or voided a moment ago: its own event says so.
            Ok(()) | Err(ProviderError::Refused { .. } | ProviderError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(told)
}

/// Gives a paid invoice back; one that was not paid, or has gone back already, needs nothing.
async fn refunding(provider: &Client, invoice: &str, key: &str) -> Result<(), ProviderError> {
    let invoice = provider.invoice(invoice).await?;
    if invoice.status != facts::InvoiceStatus::Paid || invoice.amount_paid <= 0 {
        return Ok(());
    }
    let Some(intent) = &invoice.payment_intent else {
        return Ok(());
    };
    match provider.payment_give_back(intent, &format!("{key}-{intent}")).await {
        Ok(()) => Ok(()),
        Err(ProviderError::Refused { code, .. })
            if code.as_deref() == Some("charge_already_refunded") =>
        {
            Ok(())
        }
        Err(error) => Err(error),
    }
}
