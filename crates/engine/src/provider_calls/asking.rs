//! Asking: one function per wish, each safe to repeat under the same key, and after the key's life.

use super::{KEY_LIFE_SECONDS, PLANNED_OTHERWISE, PlanItem, Wish};
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
use providers::stripe::plan_changes::{ItemChange, PhaseItem, Plan};
use providers::stripe::refunds::RefundNew;
use providers::stripe::subscriptions::Renewal;
use std::future::Future;
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
    attempt: i64,
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
            attempt: call.attempts,
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
        if let Wish::SubscriptionEnd { subscription } = wish
            && call.heard_at.is_some()
        {
            // It has been so. If it is not so now, somebody has taken it back since.
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
            ending(provider, subscription, Renewal::Ends, key).await?;
            Ok(subscription.clone())
        }
        Wish::SubscriptionResume { subscription } => {
            ending(provider, subscription, Renewal::GoesOn, key).await?;
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
        Wish::SubscriptionChange { subscription, item, price, quantity, billed } => {
            let (quantity, billed) = (*quantity, *billed);
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

/// Asks for what may be done twice. A failure that the provider has answered is what it answers
/// under that key for a day, so the same is asked for once more under a key of this attempt.
async fn repeatable<T, F: Future<Output = Result<T, ProviderError>>>(
    name: String,
    key: &Key<'_>,
    ask: impl Fn(String) -> F,
) -> Result<T, ProviderError> {
    let another = format!("{name}-{}", key.attempt);
    match ask(name).await {
        Err(ProviderError::Failed { .. }) => ask(another).await,
        outcome => outcome,
    }
}

/// Ends a subscription with its period, or takes that back.
async fn ending(
    provider: &Client,
    id: &str,
    renewal: Renewal,
    key: &Key<'_>,
) -> Result<(), ProviderError> {
    // A schedule would decide about the end itself.
    let now = released(provider, id, key).await?;
    let is_over = now.status.as_ref().is_some_and(Status::is_terminal);
    let is_as_wished = match renewal {
        Renewal::Ends => ends_with_period(&now),
        Renewal::GoesOn => !now.cancel_at_period_end && now.cancel_at.is_none(),
    };
    // While the key lives it is asked for even if it is so: an earlier call that is still being
    // carried out may change it, and the provider makes this one wait for that.
    let is_so = key.is_forgotten && now.schedule.is_none() && is_as_wished;
    if is_over || is_so {
        return Ok(());
    }
    let ask = |name: String| async move { provider.subscription_renewal(id, renewal, &name).await };
    repeatable(key.text.to_owned(), key, ask).await.map(drop)
}

/// Whether nobody is charged for another period. A date may be many periods away.
fn ends_with_period(told: &facts::Subscription) -> bool {
    let last = told.items.iter().filter_map(|item| item.period_end).max().or(told.period_end);
    let dates = told.cancel_at.zip(last);
    told.cancel_at_period_end || dates.is_some_and(|(cancel_at, last)| cancel_at <= last)
}

/// The subscription as it was a moment ago, now free of any schedule.
async fn released(
    provider: &Client,
    id: &str,
    key: &Key<'_>,
) -> Result<facts::Subscription, ProviderError> {
    let told = provider.subscription(id).await?;
    if let Some(schedule) = &told.schedule {
        release(provider, schedule, key.step("release"), key).await?;
    }
    Ok(told)
}

async fn release(
    provider: &Client,
    schedule: &str,
    name: String,
    key: &Key<'_>,
) -> Result<(), ProviderError> {
    let ask = |name: String| async move { provider.schedule_release(schedule, &name).await };
    match repeatable(name, key, ask).await {
        // It has ended by itself meanwhile.
        Ok(()) | Err(ProviderError::Refused { .. } | ProviderError::NotFound { .. }) => Ok(()),
        Err(error) => Err(error),
    }
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
    for invoice in &provider.invoices_open_of(id).await? {
        let ask = |name: String| async move { provider.invoice_void(invoice, &name).await };
        match repeatable(key.step(invoice), key, ask).await {
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
    let told = provider.subscription(change.subscription).await?;
    if key.is_forgotten {
        let is_so = told.items.iter().any(|item| {
            item.price.as_deref() == Some(change.price) && item.quantity == Some(change.quantity)
        });
        return if is_so { Ok(()) } else { Err(given_up()) };
    }
    if let Some(schedule) = &told.schedule {
        // What is planned is dropped by whoever planned it, and not on the way to something that
        // may be refused.
        if provider.schedule(schedule).await?.phases.iter().any(|it| is_ahead(it, key)) {
            return Err(planned_otherwise());
        }
        release(provider, schedule, key.step("release"), key).await?;
    }
    provider.subscription_change(change, key.text).await
}

fn is_ahead(phase: &facts::SchedulePhase, key: &Key<'_>) -> bool {
    phase.start.is_some_and(|start| key.now < start)
}

fn planned_otherwise() -> ProviderError {
    ProviderError::Refused {
        status: 409,
        code: Some(PLANNED_OTHERWISE.to_owned()),
        param: None,
        message: "a schedule has another plan for the next period".to_owned(),
    }
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
    let is_planned = schedule.phases.iter().any(|phase| is_ahead(phase, key));
    let dates = running.and_then(|phase| phase.start.zip(phase.end));
    let planned = match dates {
        None => Err(ProviderError::Unsendable("the schedule has no running phase".to_owned())),
        Some((start, end)) => {
            let (now, then) = (phase_items(now), phase_items(then));
            let (now, then) = (now.as_slice(), then.as_slice());
            let plan = Plan { schedule: &schedule.id, start, end, now, then, interval };
            let ask = |name: String| {
                let plan = &plan;
                async move { provider.schedule_plan(plan, &name).await }
            };
            repeatable(key.step("plan"), key, ask).await
        }
    };
    let is_refused = matches!(
        planned,
        Err(ProviderError::Refused { .. }
            | ProviderError::NotFound { .. }
            | ProviderError::Unsendable(_))
    );
    if is_refused && !is_planned {
        // A schedule without a plan would only stand in the way.
        release(provider, &schedule.id, key.step("undo"), key).await?;
    }
    planned
}

fn phase_items(items: &[PlanItem]) -> Vec<PhaseItem<'_>> {
    items.iter().map(|item| PhaseItem { price: &item.price, quantity: item.quantity }).collect()
}
