//! Subscriptions as customers see them, and their own wishes about them.

pub mod changing;
mod ending;

use crate::failures::Failure;
use crate::lists::{Listed, NEWEST, Page};
use crate::{Engine, PROVIDER, Subject, customers};
use domain::codes::Code;
use domain::ids::SubscriptionId;
use providers::errors::ProviderError;
use store::Tx;
use store::customers::Customer;
use store::prices::Price;
use store::products::Product;
use store::subscriptions::Subscription;

/// Nobody has more at once, dead ones included, than are looked at.
pub(crate) const SUBSCRIPTIONS_MAX: u32 = 100;

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

fn ended() -> Failure {
    let detail = "the subscription has ended; subscribe again instead";
    Failure::refused(Code::SubscriptionEnded, detail)
}

/// Whether nobody is charged for another period. A date may be many periods away.
pub(crate) fn ends_with_period(row: &Subscription) -> bool {
    let dates = row.cancel_at.zip(row.period_end);
    row.cancel_at_period_end || dates.is_some_and(|(cancel_at, end)| cancel_at <= end)
}

/// One of the customer's own, by our id or the provider's; without an id the one that matters. What
/// has ended is nobody's to change.
async fn changeable(
    tx: &mut Tx,
    customer: &Customer,
    id: Option<&str>,
) -> Result<Subscription, Failure> {
    let Some(id) = id else {
        let held = current(tx, customer).await?.map(|detail| detail.subscription);
        return held.filter(|held| !held.status.is_terminal()).ok_or_else(not_found);
    };
    let found = match SubscriptionId::parse(id) {
        Ok(ours) => tx.subscriptions_get(&ours).await?,
        Err(_) => None,
    };
    let found = match found {
        Some(found) => Some(found),
        None => tx.subscriptions_find(PROVIDER, id).await?,
    };
    let own = found.filter(|held| held.customer_id == customer.id).ok_or_else(not_found)?;
    if own.status.is_terminal() { Err(ended()) } else { Ok(own) }
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
