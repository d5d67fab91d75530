//! Asking: one function per wish, each safe to repeat under the same key, and after the key's life.

use super::{KEY_LIFE_SECONDS, PlanItem, Wish};
use crate::failures::Failure;
use crate::lists::NEWEST;
use crate::subscriptions::SUBSCRIPTIONS_MAX;
use crate::{Engine, PROVIDER};
use domain::subscriptions::Status;
use domain::time::Timestamp;
use providers::errors::ProviderError;
use providers::facts::{self, Fact};
use providers::stripe::Client;
use providers::stripe::customers::CustomerNew;
use providers::stripe::plan_changes::{Billed, ItemChange, PhaseItem, Plan};
use providers::stripe::refunds::RefundNew;
use store::provider_calls::ProviderCall;
use store::subscriptions::Subscription;

/// What was made or changed, in the provider's ids.
pub(super) enum Answer {
    Customer { customer: String, id: String },
    Subscription { id: String },
    Refund { id: String },
}

/// The key of a call, and whether the provider has forgotten it.
struct Key<'a> {
    text: &'a str,
    /// The call's own id, by which what it made is found again.
    mark: &'a str,
    is_forgotten: bool,
    now: Timestamp,
}

impl Key<'_> {
    /// One for each step of a call.
    fn step(&self, name: &str) -> String {
        format!("{}-{name}", self.text)
    }
}

impl Engine {
    pub(super) async fn call_ask(
        &self,
        call: &ProviderCall,
        wish: &Wish,
    ) -> Result<Answer, ProviderError> {
        let provider = self.inner.provider.as_ref().ok_or(ProviderError::Unauthorized)?;
        let age_micros = self.clock().wall().micros() - call.created_at.micros();
        let key = Key {
            text: &call.idempotency_key,
            mark: call.id.as_str(),
            is_forgotten: KEY_LIFE_SECONDS * 1_000_000 < age_micros,
            now: self.clock().now(),
        };
        if let Wish::CustomerCreate { customer, email, name } = wish {
            let new = CustomerNew { id: customer, email: email.as_deref(), name: name.as_deref() };
            let id = creating(provider, &new, &key).await?;
            return Ok(Answer::Customer { customer: customer.clone(), id });
        }
        if let Wish::RefundCreate { payment_intent, amount, reason } = wish {
            let (amount, reason) = (*amount, reason.as_deref());
            let new = RefundNew { payment_intent, amount, reason, mark: key.mark };
            return Ok(Answer::Refund { id: refunding(provider, &new, &key).await? });
        }
        if let Wish::SubscriptionCancelSurplus { subscription } = wish
            && !self.is_still_surplus(subscription).await?
        {
            return Ok(Answer::Subscription { id: subscription.clone() });
        }
        let id = subscription_asked(provider, wish, &key).await?;
        Ok(Answer::Subscription { id })
    }

    /// Looks at everything the customer has before the newest is ended: the older one may have
    /// ended at the provider, and its event may be late.
    async fn is_still_surplus(&self, id: &str) -> Result<bool, ProviderError> {
        let unknown = |error: Failure| ProviderError::Unknown { cause: error.to_string() };
        let held = self.surplus(id).await.map_err(unknown)?;
        let Some((_, others)) = held else {
            return Ok(false);
        };
        for other in others {
            let object_type = "subscription".to_owned();
            let thin = Fact::Thin { object_id: other.clone(), object_type };
            self.apply_fetched(&other, thin).await.map_err(unknown)?;
        }
        let held = self.surplus(id).await.map_err(unknown)?;
        Ok(held.is_some_and(|(row, _)| row.surplus_since.is_some() || row.status.is_terminal()))
    }

    /// A subscription and the other ones of its customer that live.
    async fn surplus(&self, id: &str) -> Result<Option<(Subscription, Vec<String>)>, Failure> {
        let mut tx = self.store().read("provider_calls.surplus").await?;
        let Some(row) = tx.subscriptions_find(PROVIDER, id).await? else {
            return Ok(None);
        };
        let all = tx.subscriptions_list(&row.customer_id, NEWEST, SUBSCRIPTIONS_MAX).await?;
        let others = all.into_iter().filter(|other| other.id != row.id && other.status.is_live());
        let others = others.map(|other| other.provider_subscription_id).collect();
        Ok(Some((row, others)))
    }
}

async fn creating(
    provider: &Client,
    new: &CustomerNew<'_>,
    key: &Key<'_>,
) -> Result<String, ProviderError> {
    if key.is_forgotten
        && let Some(id) = provider.customer_find(new.id).await?
    {
        return Ok(id);
    }
    provider.customer_create(new, key.text).await
}

async fn subscription_asked(
    provider: &Client,
    wish: &Wish,
    key: &Key<'_>,
) -> Result<String, ProviderError> {
    match wish {
        Wish::SubscriptionEnd { subscription } => {
            ending(provider, subscription, true, key).await?;
            Ok(subscription.clone())
        }
        Wish::SubscriptionResume { subscription } => {
            ending(provider, subscription, false, key).await?;
            Ok(subscription.clone())
        }
        Wish::SubscriptionCancel { subscription } => {
            canceling(provider, subscription, key).await?;
            Ok(subscription.clone())
        }
        Wish::SubscriptionCancelSurplus { subscription } => {
            if let Some(invoice) = canceling(provider, subscription, key).await?.latest_invoice {
                giving_back(provider, &invoice, key).await?;
            }
            Ok(subscription.clone())
        }
        Wish::SubscriptionChange { subscription, item, price, quantity, is_more } => {
            let billed = if *is_more { Billed::Now } else { Billed::Next };
            let quantity = *quantity;
            let change = ItemChange { subscription, item, price, quantity, billed };
            changing(provider, &change, key).await?;
            Ok(subscription.clone())
        }
        Wish::SubscriptionChangeLater { subscription, now, then, unit, count } => {
            let interval = (unit.as_str(), *count);
            scheduling(provider, subscription, (now, then), interval, key).await?;
            Ok(subscription.clone())
        }
        Wish::SubscriptionKeep { subscription } => {
            released(provider, subscription, key).await?;
            Ok(subscription.clone())
        }
        // These are asked by functions of their own.
        Wish::CustomerCreate { .. } | Wish::RefundCreate { .. } => {
            Err(ProviderError::Unsendable("this is no wish about a subscription".to_owned()))
        }
    }
}

/// Ends a subscription with its period, or takes that back. Setting a flag twice is setting it
/// once.
async fn ending(
    provider: &Client,
    id: &str,
    cancel: bool,
    key: &Key<'_>,
) -> Result<(), ProviderError> {
    // A schedule would decide about the end itself.
    let now = released(provider, id, key).await?;
    let is_over = now.status.as_ref().is_some_and(Status::is_terminal);
    let ends = now.cancel_at_period_end || now.cancel_at.is_some();
    if is_over || (key.is_forgotten && ends == cancel) {
        return Ok(());
    }
    provider.subscription_cancel_at_period_end(id, cancel, key.text).await.map(drop)
}

/// The subscription, free of any schedule.
async fn released(
    provider: &Client,
    id: &str,
    key: &Key<'_>,
) -> Result<facts::Subscription, ProviderError> {
    let told = provider.subscription(id).await?;
    if let Some(schedule) = &told.schedule {
        match provider.schedule_release(schedule, &key.step("release")).await {
            // It has ended by itself meanwhile.
            Ok(()) | Err(ProviderError::Refused { .. } | ProviderError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(told)
}

/// Ends a subscription now. The provider gives no second answer to the end of one thing, so a
/// refusal is checked against the object; then what was still to be paid for it is void.
async fn canceling(
    provider: &Client,
    id: &str,
    key: &Key<'_>,
) -> Result<facts::Subscription, ProviderError> {
    let told = match provider.subscription_cancel(id, key.text).await {
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
        match provider.invoice_void(&invoice, &key.step(&invoice)).await {
            // It was paid or voided a moment ago: its own event says so.
            Ok(()) | Err(ProviderError::Refused { .. } | ProviderError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(told)
}

/// Gives a paid invoice back; one that was not paid, or has gone back already, needs nothing.
async fn giving_back(provider: &Client, invoice: &str, key: &Key<'_>) -> Result<(), ProviderError> {
    let invoice = provider.invoice(invoice).await?;
    if invoice.status != facts::InvoiceStatus::Paid || invoice.amount_paid <= 0 {
        return Ok(());
    }
    let Some(payment_intent) = &invoice.payment_intent else {
        return Ok(());
    };
    let reason = Some("duplicate");
    let new = RefundNew { payment_intent, amount: None, reason, mark: key.mark };
    match provider.refund_create(&new, &key.step(payment_intent)).await {
        Ok(_) => Ok(()),
        Err(ProviderError::Refused { code, .. })
            if code.as_deref() == Some("charge_already_refunded") =>
        {
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// Gives money back. Once the key is forgotten, what was made with it is looked for by its mark.
async fn refunding(
    provider: &Client,
    new: &RefundNew<'_>,
    key: &Key<'_>,
) -> Result<String, ProviderError> {
    if key.is_forgotten {
        let made = provider.refund_marked(new.payment_intent, new.mark).await?;
        return made.ok_or_else(given_up);
    }
    provider.refund_create(new, key.text).await
}

/// Changes an item now. Once the key is forgotten nobody is charged for an old wish.
async fn changing(
    provider: &Client,
    change: &ItemChange<'_>,
    key: &Key<'_>,
) -> Result<(), ProviderError> {
    let told = released(provider, change.subscription, key).await?;
    if key.is_forgotten {
        let is_so = told.items.iter().any(|item| {
            item.price.as_deref() == Some(change.price) && item.quantity == Some(change.quantity)
        });
        return if is_so { Ok(()) } else { Err(given_up()) };
    }
    provider.subscription_change(change, key.text).await
}

fn given_up() -> ProviderError {
    ProviderError::Refused {
        status: 408,
        code: None,
        param: None,
        message: "the wish is older than a day and was never heard".to_owned(),
    }
}

/// Plans a change for the next period: under the schedule there is, else under a new one.
async fn scheduling(
    provider: &Client,
    id: &str,
    (now, then): (&[PlanItem], &[PlanItem]),
    interval: (&str, u32),
    key: &Key<'_>,
) -> Result<(), ProviderError> {
    let told = provider.subscription(id).await?;
    if told.schedule.is_none() && key.is_forgotten {
        return Err(given_up());
    }
    let schedule = match &told.schedule {
        Some(schedule) => provider.schedule(schedule).await?,
        None => provider.schedule_begin(id, &key.step("begin")).await?,
    };
    let runs = |phase: &&facts::SchedulePhase| {
        let begun = phase.start.is_some_and(|start| start <= key.now);
        begun && phase.end.is_some_and(|end| key.now < end)
    };
    let running = schedule.phases.iter().find(runs).or(schedule.phases.first());
    let dates = running.and_then(|phase| phase.start.zip(phase.end));
    let Some((start, end)) = dates else {
        return Err(ProviderError::Malformed("a running phase is missing".to_owned()));
    };
    let (now, then) = (phase_items(now), phase_items(then));
    let plan = Plan { schedule: &schedule.id, start, end, now: &now, then: &then, interval };
    let planned = provider.schedule_plan(&plan, &key.step("plan")).await;
    if let Err(refusal @ (ProviderError::Refused { .. } | ProviderError::NotFound { .. })) = planned
    {
        // A schedule without a plan would only stand in the way.
        provider.schedule_release(&schedule.id, &key.step("undo")).await?;
        return Err(refusal);
    }
    planned
}

fn phase_items(items: &[PlanItem]) -> Vec<PhaseItem<'_>> {
    items.iter().map(|item| PhaseItem { price: &item.price, quantity: item.quantity }).collect()
}
