//! Subscriptions, as the provider last described them.

use crate::database::Tx;
use crate::errors::StoreError;
use crate::prices::{grants_parse, grants_text};
use crate::rows::{Row, id, opt_id};
use crate::sql::{args, statements};
use domain::catalogue::Grants;
use domain::ids::{CustomerId, PriceId, ProductId, SubscriptionId};
use domain::subscriptions::{Known, Status};
use domain::time::Timestamp;

#[derive(Debug, Clone)]
pub struct Subscription {
    pub id: SubscriptionId,
    pub customer_id: CustomerId,
    pub provider: String,
    pub provider_subscription_id: String,
    pub status: Status,
    /// Of the first item whose price we know.
    pub price_id: Option<PriceId>,
    pub product_id: Option<ProductId>,
    pub quantity: i64,
    pub period_start: Option<Timestamp>,
    pub period_end: Option<Timestamp>,
    pub cancel_at: Option<Timestamp>,
    pub cancel_at_period_end: bool,
    pub canceled_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
    pub trial_start: Option<Timestamp>,
    pub trial_end: Option<Timestamp>,
    pub past_due_since: Option<Timestamp>,
    pub started_at: Timestamp,
    pub grants: Grants,
    /// Charged by itself, or by invoices that are sent.
    pub collection: Option<String>,
    /// What becomes of invoices while collection is paused.
    pub pause_behavior: Option<String>,
    pub pause_resumes_at: Option<Timestamp>,
    /// The plan that waits: for its day, or for money where it has none.
    pub pending_price_id: Option<PriceId>,
    pub pending_at: Option<Timestamp>,
    pub provider_schedule_id: Option<String>,
    /// Until when money has arrived.
    pub paid_until: Option<Timestamp>,
    /// Since when it has been one too many.
    pub surplus_since: Option<Timestamp>,
    /// Our time when the newest description was fetched, else the provider's time of the newest
    /// snapshot applied.
    pub as_of: Timestamp,
    /// Grows with every change: whoever fetched before one of them has to fetch again.
    pub revision: i64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl Subscription {
    /// What the order of news is judged by.
    pub fn known(&self) -> Known {
        Known { status: self.status.clone(), as_of: self.as_of }
    }
}

statements! {
    INSERT = "subscriptions.insert":
        "INSERT INTO subscriptions (status, price_id, product_id, quantity, period_start,
             period_end, cancel_at, cancel_at_period_end, canceled_at, ended_at, trial_start,
             trial_end, past_due_since, started_at, grants, collection, pause_behavior,
             pause_resumes_at, pending_price_id, pending_at, provider_schedule_id, paid_until,
             surplus_since, as_of, revision, updated_at, id, customer_id, provider,
             provider_subscription_id, created_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?,
             ?, ?, ?)";
    UPDATE = "subscriptions.update":
        "UPDATE subscriptions SET status = ?, price_id = ?, product_id = ?, quantity = ?,
             period_start = ?, period_end = ?, cancel_at = ?, cancel_at_period_end = ?,
             canceled_at = ?, ended_at = ?, trial_start = ?, trial_end = ?, past_due_since = ?,
             started_at = ?, grants = ?, collection = ?, pause_behavior = ?,
             pause_resumes_at = ?, pending_price_id = ?, pending_at = ?,
             provider_schedule_id = ?, paid_until = ?, surplus_since = ?, as_of = ?,
             revision = ?, updated_at = ?
         WHERE id = ?";
    GET = "subscriptions.get": "SELECT * FROM subscriptions WHERE id = ?";
    FIND = "subscriptions.find":
        "SELECT * FROM subscriptions WHERE provider = ? AND provider_subscription_id = ?";
    HAD_TRIAL = "subscriptions.had_trial":
        "SELECT COUNT(*) AS found FROM subscriptions
         WHERE customer_id = ? AND product_id = ? AND trial_start IS NOT NULL";
    OF_CUSTOMER = "subscriptions.of_customer":
        "SELECT * FROM subscriptions WHERE customer_id = ? AND id < ? ORDER BY id DESC LIMIT ?";
}

fn subscription(row: &Row) -> Result<Subscription, StoreError> {
    Ok(Subscription {
        id: id!(row, "id", SubscriptionId)?,
        customer_id: id!(row, "customer_id", CustomerId)?,
        provider: row.text("provider")?,
        provider_subscription_id: row.text("provider_subscription_id")?,
        status: Status::parse(&row.text("status")?),
        price_id: opt_id!(row, "price_id", PriceId)?,
        product_id: opt_id!(row, "product_id", ProductId)?,
        quantity: row.int("quantity")?,
        period_start: row.opt_time("period_start")?,
        period_end: row.opt_time("period_end")?,
        cancel_at: row.opt_time("cancel_at")?,
        cancel_at_period_end: row.flag("cancel_at_period_end")?,
        canceled_at: row.opt_time("canceled_at")?,
        ended_at: row.opt_time("ended_at")?,
        trial_start: row.opt_time("trial_start")?,
        trial_end: row.opt_time("trial_end")?,
        past_due_since: row.opt_time("past_due_since")?,
        started_at: row.time("started_at")?,
        grants: row.parsed("grants", grants_parse)?,
        collection: row.opt_text("collection")?,
        pause_behavior: row.opt_text("pause_behavior")?,
        pause_resumes_at: row.opt_time("pause_resumes_at")?,
        pending_price_id: opt_id!(row, "pending_price_id", PriceId)?,
        pending_at: row.opt_time("pending_at")?,
        provider_schedule_id: row.opt_text("provider_schedule_id")?,
        paid_until: row.opt_time("paid_until")?,
        surplus_since: row.opt_time("surplus_since")?,
        as_of: row.time("as_of")?,
        revision: row.int("revision")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}

/// What both the insert and the update write, in their common order.
fn changing(row: &Subscription) -> Vec<crate::sql::Arg> {
    args![
        row.status.as_str(),
        &row.price_id,
        &row.product_id,
        row.quantity,
        row.period_start,
        row.period_end,
        row.cancel_at,
        row.cancel_at_period_end,
        row.canceled_at,
        row.ended_at,
        row.trial_start,
        row.trial_end,
        row.past_due_since,
        row.started_at,
        grants_text(&row.grants),
        &row.collection,
        &row.pause_behavior,
        row.pause_resumes_at,
        &row.pending_price_id,
        row.pending_at,
        &row.provider_schedule_id,
        row.paid_until,
        row.surplus_since,
        row.as_of,
        row.revision,
        row.updated_at,
        &row.id
    ]
}

impl Tx {
    pub async fn subscriptions_insert(&mut self, new: &Subscription) -> Result<(), StoreError> {
        let mut args = changing(new);
        args.extend(args![
            &new.customer_id,
            &new.provider,
            &new.provider_subscription_id,
            new.created_at
        ]);
        self.change_one(&INSERT, args).await
    }

    pub async fn subscriptions_update(&mut self, row: &Subscription) -> Result<(), StoreError> {
        self.change_one(&UPDATE, changing(row)).await
    }

    pub async fn subscriptions_get(
        &mut self,
        id: &SubscriptionId,
    ) -> Result<Option<Subscription>, StoreError> {
        self.first(&GET, args![id]).await?.as_ref().map(subscription).transpose()
    }

    /// By the provider's id.
    pub async fn subscriptions_find(
        &mut self,
        provider: &str,
        provider_subscription_id: &str,
    ) -> Result<Option<Subscription>, StoreError> {
        let row = self.first(&FIND, args![provider, provider_subscription_id]).await?;
        row.as_ref().map(subscription).transpose()
    }

    /// Newest first, after `cursor`.
    pub async fn subscriptions_list(
        &mut self,
        customer: &CustomerId,
        cursor: &str,
        limit: u32,
    ) -> Result<Vec<Subscription>, StoreError> {
        let rows = self.all(&OF_CUSTOMER, args![customer, cursor, limit]).await?;
        rows.iter().map(subscription).collect()
    }

    /// Whether the customer has ever had a trial of the product.
    pub async fn subscriptions_had_trial(
        &mut self,
        customer: &CustomerId,
        product: &ProductId,
    ) -> Result<bool, StoreError> {
        let row = self.first(&HAD_TRIAL, args![customer, product]).await?;
        Ok(row.map(|row| row.int("found")).transpose()?.unwrap_or(0) != 0)
    }
}
