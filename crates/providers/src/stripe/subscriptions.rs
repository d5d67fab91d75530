//! Subscriptions, in the shapes of all API versions.

use domain::subscriptions::Status;
use serde_json::Value;

use super::form::Form;
use super::{Client, fields, object_path, unreadable};
use crate::errors::ProviderError;
use crate::facts::{Subscription, SubscriptionItem};

/// What becomes of a subscription at the end of its period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewal {
    Ends,
    GoesOn,
}

impl Client {
    /// A subscription with all its items.
    pub async fn subscription(&self, id: &str) -> Result<Subscription, ProviderError> {
        let path = object_path("subscriptions", id)?;
        let answer = self.get(&path, Form::new()).await?;
        self.with_all_items(read(&answer)).await
    }

    /// Ends a subscription with its period, or takes that back.
    pub async fn subscription_renewal(
        &self,
        id: &str,
        renewal: Renewal,
        key: &str,
    ) -> Result<Subscription, ProviderError> {
        let path = object_path("subscriptions", id)?;
        let flag = if renewal == Renewal::Ends { "true" } else { "false" };
        let form = Form::new().with("cancel_at_period_end", flag);
        let mut answer = self.post(&path, form, key).await?;
        if renewal == Renewal::GoesOn && fields::instant(&answer, "/cancel_at").is_some() {
            // The hosted portal sets the date without the flag, and the two exclude each other.
            let form = Form::new().with("cancel_at", "");
            answer = self.post(&path, form, &format!("{key}:cancel_at")).await?;
        }
        self.with_all_items(read(&answer)).await
    }

    /// Ends a subscription now.
    pub async fn subscription_cancel(
        &self,
        id: &str,
        key: &str,
    ) -> Result<Subscription, ProviderError> {
        let path = object_path("subscriptions", id)?;
        let answer = self.delete(&path, key).await?;
        self.with_all_items(read(&answer)).await
    }

    async fn with_all_items(
        &self,
        subscription: Option<Subscription>,
    ) -> Result<Subscription, ProviderError> {
        let mut subscription =
            subscription.ok_or_else(|| unreadable("the id of the subscription"))?;
        if !subscription.items_complete {
            let query = Form::new().with("subscription", &subscription.id);
            let (items, complete) = self.list("/v1/subscription_items", &query).await?;
            subscription.items = items.iter().filter_map(item).collect();
            subscription.items_complete = complete;
        }
        Ok(subscription)
    }
}

/// None when it has no id.
pub(super) fn read(object: &Value) -> Option<Subscription> {
    let (items, items_complete) = fields::list(object, "/items");
    Some(Subscription {
        id: fields::text(object, "/id")?,
        customer: fields::reference(object, "/customer"),
        status: fields::text(object, "/status").map(|word| Status::parse(&word)),
        items: items.iter().filter_map(item).collect(),
        items_complete,
        period_start: fields::instant(object, "/current_period_start"),
        period_end: fields::instant(object, "/current_period_end"),
        cancel_at: fields::instant(object, "/cancel_at"),
        cancel_at_period_end: fields::flag(object, "/cancel_at_period_end"),
        canceled_at: fields::instant(object, "/canceled_at"),
        ended_at: fields::instant(object, "/ended_at"),
        trial_start: fields::instant(object, "/trial_start"),
        trial_end: fields::instant(object, "/trial_end"),
        latest_invoice: fields::reference(object, "/latest_invoice"),
        metadata: fields::map(object, "/metadata"),
        collection: fields::text(object, "/collection_method"),
        pause_behavior: fields::text(object, "/pause_collection/behavior"),
        pause_resumes_at: fields::instant(object, "/pause_collection/resumes_at"),
        pending_prices: pending_prices(object),
        schedule: fields::reference(object, "/schedule"),
        created_at: fields::instant(object, "/created"),
    })
}

/// The price is a `plan` in shapes that are older than prices.
fn item(object: &Value) -> Option<SubscriptionItem> {
    Some(SubscriptionItem {
        id: fields::text(object, "/id")?,
        price: fields::reference(object, "/price").or_else(|| fields::reference(object, "/plan")),
        product: fields::reference(object, "/price/product")
            .or_else(|| fields::reference(object, "/plan/product")),
        quantity: fields::integer(object, "/quantity"),
        period_start: fields::instant(object, "/current_period_start"),
        period_end: fields::instant(object, "/current_period_end"),
    })
}

/// What a change that waits for its payment would change to.
fn pending_prices(object: &Value) -> Vec<String> {
    let items = object.pointer("/pending_update/subscription_items").and_then(Value::as_array);
    let price =
        |item| fields::reference(item, "/price").or_else(|| fields::reference(item, "/plan"));
    items.into_iter().flatten().filter_map(price).collect()
}
