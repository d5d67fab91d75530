//! A customer at the provider that is gone, and objects of customers that were never ours.

use super::gather::known;
use super::{Gathered, Stop, Told, Trust};
use crate::checkout_sessions::SESSION_KEY;
use crate::lists::NEWEST;
use crate::subscriptions::SUBSCRIPTIONS_MAX;
use crate::{Engine, PROVIDER};
use domain::subscriptions::Status;
use domain::time::Timestamp;
use providers::facts;
use std::collections::BTreeMap;
use store::Tx;

impl Engine {
    /// Other applications share the provider's account: what has neither our mark, nor a customer
    /// nor a price of ours is theirs, and is not even asked about.
    pub(super) async fn check_ours(
        &self,
        customer: Option<&str>,
        metadata: &BTreeMap<String, String>,
        prices: &mut (dyn Iterator<Item = &str> + Send),
    ) -> Result<(), Stop> {
        if metadata.contains_key(SESSION_KEY) {
            return Ok(());
        }
        let mut tx = self.store().read("apply.ours").await?;
        if let Some(id) = customer
            && tx.customers_owner(PROVIDER, id).await?.is_some()
        {
            return Ok(());
        }
        for price in prices {
            if tx.prices_find(PROVIDER, price).await?.is_some() {
                return Ok(());
            }
        }
        Err(Stop::Ignored("the object belongs to another application"))
    }

    pub(super) async fn check_subscription(&self, told: &facts::Subscription) -> Result<(), Stop> {
        let mut prices = told.items.iter().filter_map(|item| item.price.as_deref());
        self.check_ours(told.customer.as_deref(), &told.metadata, &mut prices).await
    }

    pub(super) async fn check_invoice(&self, told: &facts::Invoice) -> Result<(), Stop> {
        let mut prices = told.lines.iter().filter_map(|line| line.price.as_deref());
        self.check_ours(told.customer.as_deref(), &told.subscription_metadata, &mut prices).await
    }

    /// The provider ends the subscriptions of a customer that is deleted; each is asked about.
    pub(super) async fn gather_customer(
        &self,
        gathered: &mut Gathered,
        provider_customer: &str,
    ) -> Result<(), Stop> {
        let mut tx = self.store().read("apply.customer").await?;
        let Some(customer) = tx.customers_owner(PROVIDER, provider_customer).await? else {
            return Err(Stop::Ignored("the object belongs to another application"));
        };
        let held = tx.subscriptions_list(&customer.id, NEWEST, SUBSCRIPTIONS_MAX).await?;
        drop(tx);
        for row in held.iter().filter(|row| !row.status.is_terminal()) {
            let asked_at = self.clock().now();
            let answer = self.provider()?.subscription(&row.provider_subscription_id).await;
            let Some(told) = known(answer)? else {
                gathered.lost.push(row.provider_subscription_id.clone());
                continue;
            };
            if told.customer.as_deref() == Some(provider_customer) {
                let trust = Trust::Truth { revision: Some(row.revision), asked_at };
                gathered.subscriptions.push(Told { object: told, trust });
            }
        }
        Ok(())
    }

    /// The counterpart is not used again; whoever buys next gets a new one.
    pub(super) async fn customer_deleted(
        &self,
        tx: &mut Tx,
        gathered: &Gathered,
        provider_customer: &str,
        at: Timestamp,
    ) -> Result<(), Stop> {
        let Some(customer) = tx.customers_owner(PROVIDER, provider_customer).await? else {
            return Ok(());
        };
        tx.customers_lock(&customer.id).await?;
        tx.customers_lose(PROVIDER, provider_customer, self.clock().now()).await?;
        for id in &gathered.lost {
            let found = tx.subscriptions_find(PROVIDER, id).await?;
            let Some(mut row) = found.filter(|row| !row.status.is_terminal()) else {
                continue;
            };
            let before = row.clone();
            row.status = Status::Canceled;
            row.canceled_at = row.canceled_at.or(Some(at));
            row.ended_at = Some(at);
            self.subscription_write(tx, Some(&before), row).await?;
        }
        Ok(())
    }
}
