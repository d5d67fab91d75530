//! Subscriptions as customers see them, and their own wishes about them.

use crate::failures::Failure;
use crate::lists::{Listed, NEWEST, Page};
use crate::{Engine, PROVIDER, Subject, customers};
use domain::codes::Code;
use providers::errors::ProviderError;
use store::Tx;
use store::customers::Customer;
use store::prices::Price;
use store::products::Product;
use store::subscriptions::Subscription;

/// Nobody has more at once, dead ones included, than are looked at.
pub(crate) const SUBSCRIPTIONS_MAX: u32 = 100;

/// How often the provider is asked again because our row has changed meanwhile.
const TELLINGS_MAX: u32 = 3;

/// A subscription with what it is a subscription to.
#[derive(Debug, Clone)]
pub struct SubscriptionDetail {
    pub subscription: Subscription,
    pub product: Option<Product>,
    pub price: Option<Price>,
}

fn not_found() -> Failure {
    Failure::refused(Code::SubscriptionNotFound, "there is no subscription")
}

/// The one that matters: alive, dearest, newest.
async fn current(tx: &mut Tx, customer: &Customer) -> Result<Option<SubscriptionDetail>, Failure> {
    let mut best: Option<SubscriptionDetail> = None;
    for subscription in tx.subscriptions_list(&customer.id, NEWEST, SUBSCRIPTIONS_MAX).await? {
        let price = match &subscription.price_id {
            Some(id) => tx.prices_get(id).await?,
            None => None,
        };
        let product = match &subscription.product_id {
            Some(id) => tx.products_get(id).await?,
            None => None,
        };
        let found = SubscriptionDetail { subscription, product, price };
        let weight = |detail: &SubscriptionDetail| {
            let amount = detail.price.as_ref().map_or(0, |price| price.amount.minor());
            (detail.subscription.status.is_live(), amount)
        };
        // The list is newest first, so only something weightier replaces what was found.
        if best.as_ref().is_none_or(|held| weight(held) < weight(&found)) {
            best = Some(found);
        }
    }
    Ok(best)
}

impl Engine {
    pub async fn subscriptions_current(
        &self,
        subject: &Subject,
    ) -> Result<Option<SubscriptionDetail>, Failure> {
        let mut tx = self.store().read("subscriptions.current").await?;
        match self.customer(&mut tx, subject).await? {
            Some(customer) => current(&mut tx, &customer).await,
            None => Ok(None),
        }
    }

    pub async fn subscriptions_list(
        &self,
        subject: &Subject,
        page: Page,
    ) -> Result<Listed<Subscription>, Failure> {
        let mut tx = self.store().read("subscriptions.list").await?;
        let rows = match self.customer(&mut tx, subject).await? {
            Some(customer) => {
                tx.subscriptions_list(&customer.id, page.cursor(), page.fetch()).await?
            }
            None => Vec::new(),
        };
        Ok(page.cut(rows, |row| row.id.to_string()))
    }

    /// Ends a subscription with its period; access stays until then.
    pub async fn subscriptions_cancel(
        &self,
        subject: &Subject,
        id: Option<&str>,
    ) -> Result<Subscription, Failure> {
        self.subscription_ending(subject, id, Ending::AtPeriodEnd).await
    }

    /// Takes a cancellation back while its period lasts.
    pub async fn subscriptions_resume(
        &self,
        subject: &Subject,
        id: Option<&str>,
    ) -> Result<Subscription, Failure> {
        self.subscription_ending(subject, id, Ending::Never).await
    }

    async fn subscription_ending(
        &self,
        subject: &Subject,
        id: Option<&str>,
        ending: Ending,
    ) -> Result<Subscription, Failure> {
        let mut tx = self.store().read("subscriptions.ending").await?;
        let customer = self.customer(&mut tx, subject).await?.ok_or_else(not_found)?;
        let held = match id {
            None => current(&mut tx, &customer).await?.map(|detail| detail.subscription),
            Some(id) => {
                let own = tx.subscriptions_list(&customer.id, NEWEST, SUBSCRIPTIONS_MAX).await?;
                own.into_iter().find(|s| s.id.as_str() == id || s.provider_subscription_id == id)
            }
        };
        drop(tx);
        let held = held.ok_or_else(not_found)?;
        if held.status.is_terminal() {
            return match id {
                None => Err(not_found()),
                Some(_) => Err(Failure::refused(
                    Code::SubscriptionEnded,
                    "the subscription has ended; subscribe again instead",
                )),
            };
        }
        let ends = held.cancel_at_period_end || held.cancel_at.is_some();
        if ends == (ending == Ending::AtPeriodEnd) {
            return Ok(held);
        }
        let cancel = ending == Ending::AtPeriodEnd;
        let key = format!("tollgate-ending-{}-{cancel}-{}", held.id, held.updated_at.micros());
        let provider_id = &held.provider_subscription_id;
        let provider = self.provider()?;
        let mut told =
            provider.subscription_cancel_at_period_end(provider_id, cancel, &key).await?;
        let mut seen = held.clone();
        for _ in 0..TELLINGS_MAX {
            let mut tx = self.store().begin("subscriptions.ending").await?;
            tx.customers_lock(&customer.id).await?;
            let applied = self.subscription_told(&mut tx, &seen, told).await?;
            let now = tx.subscriptions_get(&held.id).await?.ok_or_else(not_found)?;
            if applied {
                tx.commit().await?;
                return Ok(now);
            }
            drop(tx);
            // An event was applied between our look and the answer: ask for what is true now.
            told = provider.subscription(provider_id).await?;
            seen = now;
        }
        Err(Failure::Provider {
            code: Code::OutcomeUnknown,
            detail: "the subscription keeps changing; repeat the request".to_owned(),
        })
    }

    /// An address at the provider where the customer manages billing.
    pub async fn billing_portal_url(
        &self,
        subject: &Subject,
        return_url: Option<String>,
    ) -> Result<String, Failure> {
        let provider = self.provider()?;
        let return_url = match return_url {
            Some(text) => self.return_url(&text)?,
            None => {
                let base = self.settings().frontend_url.as_str().trim_end_matches('/');
                format!("{base}/portal")
            }
        };
        let mut tx = self.store().read("subscriptions.portal").await?;
        let customer = self.customer(&mut tx, subject).await?.ok_or_else(customers::not_found)?;
        let linked = tx.customers_linked(PROVIDER, &customer.id).await?;
        drop(tx);
        let (counterpart, _) = linked.ok_or_else(|| {
            Failure::refused(Code::CustomerNotFound, "the customer has not bought anything yet")
        })?;
        let key = format!("tollgate-portal-{}", hex::encode(crate::clock::random()));
        match provider.portal_session_create(&counterpart, &return_url, &key).await {
            Ok(url) => Ok(url),
            Err(ProviderError::NotFound { .. }) => Err(Failure::refused(
                Code::CustomerNotFound,
                "the payment provider no longer knows this customer; buy something to start anew",
            )),
            Err(error) => Err(error.into()),
        }
    }
}

/// What a customer wants to become of a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    AtPeriodEnd,
    Never,
}
