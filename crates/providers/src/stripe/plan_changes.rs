//! Changing what a subscription consists of: now, tried out only, or with its next period.

use serde_json::Value;

use super::form::Form;
use super::{Client, fields, object_path, schedules, unreadable};
use crate::errors::ProviderError;
use crate::facts::Schedule;
use domain::time::Timestamp;

/// One item as it is to be.
#[derive(Debug, Clone, Copy)]
pub struct ItemChange<'a> {
    pub subscription: &'a str,
    pub item: &'a str,
    pub price: &'a str,
    pub quantity: i64,
    pub billed: Billed,
}

/// When the difference for the running period is settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Billed {
    /// By an invoice of its own; nothing changes until it is paid.
    Now,
    /// With the next invoice.
    Next,
}

/// What a change would cost now. Amounts are minor units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preview {
    pub currency: Option<String>,
    /// The new amounts less what comes back for unused time.
    pub total: i64,
    /// What the customer would be asked for, after the balance.
    pub amount_due: i64,
    /// Whether something comes back for unused time.
    pub has_credit: bool,
    pub period_end: Option<Timestamp>,
}

/// One price of a phase.
#[derive(Debug, Clone, Copy)]
pub struct PhaseItem<'a> {
    pub price: &'a str,
    pub quantity: i64,
}

/// A plan: what it consists of until the day, and from then on for one interval.
#[derive(Debug, Clone, Copy)]
pub struct Plan<'a> {
    pub schedule: &'a str,
    /// The running phase, which cannot be moved.
    pub start: Timestamp,
    pub end: Timestamp,
    pub now: &'a [PhaseItem<'a>],
    pub then: &'a [PhaseItem<'a>],
    /// A unit of time and how many of it.
    pub interval: (&'a str, u32),
}

impl Billed {
    const fn proration(self) -> &'static str {
        match self {
            Billed::Now => "always_invoice",
            Billed::Next => "create_prorations",
        }
    }
}

impl Client {
    /// Changes one item. Where that costs something now, it waits for the money.
    pub async fn subscription_change(
        &self,
        change: &ItemChange<'_>,
        key: &str,
    ) -> Result<(), ProviderError> {
        let path = object_path("subscriptions", change.subscription)?;
        let form = items(Form::new(), "items", change)
            .with("proration_behavior", change.billed.proration())
            .with("payment_behavior", "pending_if_incomplete");
        self.post(&path, form, key).await.map(drop)
    }

    /// Tries a change out; nothing changes. Billed by itself, the invoice that is shown holds the
    /// difference and nothing else.
    pub async fn subscription_change_preview(
        &self,
        change: &ItemChange<'_>,
        key: &str,
    ) -> Result<Preview, ProviderError> {
        let form = Form::new().with("subscription", change.subscription);
        let form = items(form, "subscription_details[items]", change)
            .with("subscription_details[proration_behavior]", change.billed.proration());
        let answer = self.post("/v1/invoices/create_preview", form, key).await?;
        preview(&answer).ok_or_else(|| unreadable("the total of the preview"))
    }

    /// Puts a subscription under a schedule that repeats what it is now.
    pub async fn schedule_begin(
        &self,
        subscription: &str,
        key: &str,
    ) -> Result<Schedule, ProviderError> {
        let form = Form::new().with("from_subscription", subscription);
        let answer = self.post("/v1/subscription_schedules", form, key).await?;
        schedules::read(&answer).ok_or_else(|| unreadable("the id of the schedule"))
    }

    /// Writes what comes with the next period.
    pub async fn schedule_plan(&self, plan: &Plan<'_>, key: &str) -> Result<(), ProviderError> {
        let path = object_path("subscription_schedules", plan.schedule)?;
        let (unit, count) = plan.interval;
        let mut form = Form::new()
            .with("end_behavior", "release")
            .with("proration_behavior", "none")
            .with("phases[0][start_date]", &plan.start.seconds().to_string())
            .with("phases[0][end_date]", &plan.end.seconds().to_string())
            .with("phases[0][proration_behavior]", "none")
            .with("phases[1][duration][interval]", unit)
            .with("phases[1][duration][interval_count]", &count.to_string())
            .with("phases[1][proration_behavior]", "none");
        for (phase, items) in [plan.now, plan.then].into_iter().enumerate() {
            for (place, item) in items.iter().enumerate() {
                let name = format!("phases[{phase}][items][{place}]");
                form = form
                    .with(&format!("{name}[price]"), item.price)
                    .with(&format!("{name}[quantity]"), &item.quantity.to_string());
            }
        }
        self.post(&path, form, key).await.map(drop)
    }

    /// Lets a subscription go on as it is.
    pub async fn schedule_release(&self, id: &str, key: &str) -> Result<(), ProviderError> {
        let path = format!("{}/release", object_path("subscription_schedules", id)?);
        self.post(&path, Form::new(), key).await.map(drop)
    }
}

fn items(form: Form, name: &str, change: &ItemChange<'_>) -> Form {
    form.with(&format!("{name}[0][id]"), change.item)
        .with(&format!("{name}[0][price]"), change.price)
        .with(&format!("{name}[0][quantity]"), &change.quantity.to_string())
}

fn preview(object: &Value) -> Option<Preview> {
    let (lines, _) = fields::list(object, "/lines");
    let ends = lines.iter().filter_map(|line| fields::instant(line, "/period/end"));
    let amounts = lines.iter().filter_map(|line| fields::integer(line, "/amount"));
    Some(Preview {
        currency: fields::text(object, "/currency"),
        total: fields::integer(object, "/total")?,
        amount_due: fields::integer(object, "/amount_due")?,
        has_credit: amounts.into_iter().any(|amount| amount < 0),
        period_end: ends.max(),
    })
}
