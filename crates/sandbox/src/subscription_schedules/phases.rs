//! Going from phase to phase: the subscription is made, changed, set free or ended.

use crate::errors::ApiError;
use crate::state::Timed;
use crate::subscription_schedules::{
    Phase, PhaseItem, Status, SubscriptionSchedule, attach, close, find, save, view,
};
use crate::subscriptions::starts;
use crate::subscriptions::{self, Subscription, SubscriptionItem};
use crate::transactions::Tx;
use crate::{billing, cancellations, customers, invoice_items, plan_changes, prices};

/// Does whatever is due for a schedule now.
pub fn due(tx: &mut Tx<'_>, id: &str) -> Result<(), ApiError> {
    let schedule = find(tx.state, id)?.clone();
    match schedule.status {
        Status::NotStarted => begin(tx, id),
        Status::Active => {
            let ended = schedule.phases.get(schedule.current).map(|phase| phase.end_date);
            if ended.is_some_and(|end| end <= tx.now) {
                return advance(tx, schedule);
            }
            if schedule.expiry_notice_at().is_some_and(|at| at <= tx.now) {
                send_expiry_notice(tx, schedule);
            }
            Ok(())
        }
        Status::Completed | Status::Released | Status::Canceled => Ok(()),
    }
}

fn send_expiry_notice(tx: &mut Tx<'_>, mut schedule: SubscriptionSchedule) {
    schedule.expiry_notice_sent = true;
    let shown = view(tx.state, &schedule);
    tx.state.subscription_schedules.put(schedule);
    tx.emit("subscription_schedule.expiring", shown);
}

/// The first phase begins: there is a subscription from now on.
pub fn begin(tx: &mut Tx<'_>, id: &str) -> Result<(), ApiError> {
    let mut schedule = find(tx.state, id)?.clone();
    let Some(phase) = schedule.phases.first().cloned() else {
        return Ok(());
    };
    if customers::live(tx.state, &schedule.customer, "customer").is_err() {
        schedule.status = Status::Canceled;
        schedule.canceled_at = Some(tx.now);
        close(tx, schedule, "subscription_schedule.canceled");
        return Ok(());
    }
    let mut subscription = Subscription::new(&schedule.customer, &phase.currency, tx.now);
    subscription.schedule = Some(schedule.id.clone());
    subscription.billing_cycle_anchor = phase.start_date.min(tx.now);
    subscription.start_date = subscription.billing_cycle_anchor;
    subscription.items = items_of(&[], &phase.items, tx.now);
    settle_in(&schedule, &phase, &mut subscription);
    if let Some(end) = phase.trial_end.filter(|end| tx.now < *end) {
        subscription.trial_start = Some(tx.now);
        subscription.trial_end = Some(end);
    }
    let subscription_id = subscription.id.clone();
    schedule.status = Status::Active;
    schedule.current = 0;
    schedule.subscription = Some(subscription_id.clone());
    save(tx, schedule);
    sell_extra(tx, &phase, &subscription)?;
    billing::create_unattended(tx, subscription)?;
    mark_end(tx, id);
    if find(tx.state, id)?.due_at().is_some_and(|due| due <= tx.now) {
        return due(tx, id);
    }
    Ok(())
}

/// One phase ends; the next begins, or the schedule is over.
fn advance(tx: &mut Tx<'_>, mut schedule: SubscriptionSchedule) -> Result<(), ApiError> {
    let id = schedule.id.clone();
    if schedule.phases.len() <= schedule.current + 1 {
        return finish(tx, schedule);
    }
    schedule.current += 1;
    let phase = schedule.phases[schedule.current].clone();
    let subscription = schedule.subscription.clone();
    save(tx, schedule);
    let found = subscription.and_then(|id| tx.state.subscriptions.get(&id).cloned());
    if let Some(subscription) = found {
        let proration = phase.proration_behavior.clone();
        enter(tx, &id, &phase, subscription, &proration)?;
    }
    mark_end(tx, &id);
    Ok(())
}

/// The running phase was changed by its owner: its subscription follows at once.
pub fn revise(tx: &mut Tx<'_>, id: &str, proration: &str) -> Result<(), ApiError> {
    let schedule = find(tx.state, id)?.clone();
    let Some(phase) = schedule.phases.get(schedule.current).cloned() else {
        return Ok(());
    };
    let found = schedule.subscription.and_then(|id| tx.state.subscriptions.get(&id).cloned());
    let Some(mut subscription) = found else {
        return Ok(());
    };
    let schedule = find(tx.state, id)?.clone();
    settle_in(&schedule, &phase, &mut subscription);
    let items = items_of(&subscription.items, &phase.items, tx.now);
    plan_changes::apply(tx, subscription, items, proration, false)
}

/// The subscription becomes what the phase says.
fn enter(
    tx: &mut Tx<'_>,
    schedule: &str,
    phase: &Phase,
    mut subscription: Subscription,
    proration: &str,
) -> Result<(), ApiError> {
    let schedule = find(tx.state, schedule)?.clone();
    settle_in(&schedule, phase, &mut subscription);
    let anchor = phase.billing_cycle_anchor.as_deref();
    let restarts = match anchor {
        Some(anchor) => anchor == "phase_start",
        None => schedule.default_settings.restarts_cycle,
    };
    let items = items_of(&subscription.items, &phase.items, tx.now);
    sell_extra(tx, phase, &subscription)?;
    let trial_end = phase.trial_end.filter(|end| tx.now < *end);
    if let Some(end) = trial_end {
        start_trial(&mut subscription, items, end, tx.now);
        subscription.expect_renewal(tx.state);
        subscriptions::save(tx, subscription);
        return Ok(());
    }
    if tx.now < subscription.period_end() {
        return plan_changes::apply(tx, subscription, items, proration, restarts);
    }
    // The period ends with the phase: the renewal that is due now bills the new items.
    let old = billing::recurring_of(tx.state, &subscription)?;
    subscription.items = items;
    let new = billing::recurring_of(tx.state, &subscription)?;
    if restarts || (old.interval, old.interval_count) != (new.interval, new.interval_count) {
        subscription.set_anchor(tx.now);
    }
    for item in &mut subscription.items {
        item.period_end = item.period_end.min(tx.now);
    }
    subscriptions::save(tx, subscription);
    Ok(())
}

/// `add_invoice_items` of a phase that begins: the next invoice takes them.
fn sell_extra(tx: &mut Tx<'_>, phase: &Phase, subscription: &Subscription) -> Result<(), ApiError> {
    for extra in &phase.extra {
        let price = prices::in_currency(tx.state, &extra.price, &subscription.currency)?;
        let mut item = starts::extra_item(tx, subscription, &price, extra.quantity)?;
        item.line.metadata = extra.metadata.clone();
        invoice_items::announce(tx, item);
    }
    Ok(())
}

fn start_trial(
    subscription: &mut Subscription,
    mut items: Vec<SubscriptionItem>,
    end: i64,
    now: i64,
) {
    for item in &mut items {
        item.period_start = now;
        item.period_end = end;
    }
    subscription.items = items;
    subscription.status = subscriptions::Status::Trialing;
    subscription.trial_start = Some(now);
    subscription.trial_end = Some(end);
    subscription.trial_notice_sent = false;
    subscription.set_anchor(end);
}

/// What a phase says beside its items, or leaves to the schedule's default settings.
fn settle_in(schedule: &SubscriptionSchedule, phase: &Phase, subscription: &mut Subscription) {
    let settings = &schedule.default_settings;
    let way = phase.collection_method.clone().or_else(|| settings.collection_method.clone());
    subscription.collection_method = way.unwrap_or_else(|| "charge_automatically".to_owned());
    subscription.days_until_due = phase.days_until_due.or(settings.days_until_due);
    let method = phase.default_payment_method.clone();
    subscription.default_payment_method =
        method.or_else(|| settings.default_payment_method.clone());
    subscription.description = phase.description.clone().or_else(|| settings.description.clone());
    for (key, value) in &phase.metadata {
        if value.is_empty() {
            subscription.metadata.remove(key);
        } else {
            subscription.metadata.insert(key.clone(), value.clone());
        }
    }
}

/// The phase's items; where the subscription has an item of the same price, that one goes on.
fn items_of(old: &[SubscriptionItem], new: &[PhaseItem], now: i64) -> Vec<SubscriptionItem> {
    let mut left: Vec<&SubscriptionItem> = old.iter().collect();
    let start = old.iter().map(|item| item.period_start).max().unwrap_or(now);
    let end = old.iter().map(|item| item.period_end).min().unwrap_or(now);
    let items = new.iter().map(|wanted| {
        let position = left.iter().position(|item| item.price == wanted.price);
        let mut item = match position {
            Some(position) => left.remove(position).clone(),
            None => SubscriptionItem {
                period_start: start,
                period_end: end,
                ..SubscriptionItem::new(&wanted.price, wanted.quantity, now)
            },
        };
        item.quantity = wanted.quantity;
        item.metadata = wanted.metadata.clone();
        item
    });
    items.collect()
}

/// In the last phase of a schedule that cancels, the subscription shows when it ends.
pub fn mark_end(tx: &mut Tx<'_>, id: &str) {
    let Some(schedule) = tx.state.subscription_schedules.get(id) else {
        return;
    };
    let last = schedule.status == Status::Active && schedule.phases.len() == schedule.current + 1;
    let cancel_at = (last && schedule.end_behavior == "cancel").then(|| schedule.end());
    let found = schedule.subscription.as_ref().and_then(|id| tx.state.subscriptions.get(id));
    let Some(mut subscription) = found.cloned() else {
        return;
    };
    if subscription.cancel_at != cancel_at {
        subscription.cancel_at = cancel_at;
        subscription.cancel_at_period_end = false;
        subscriptions::save(tx, subscription);
    }
}

pub fn forget_cancellation(tx: &mut Tx<'_>, subscription: &str) {
    let found = tx.state.subscriptions.get(subscription).cloned();
    if let Some(mut subscription) = found.filter(|row| row.cancel_at.is_some()) {
        cancellations::forget(&mut subscription);
        subscriptions::save(tx, subscription);
    }
}

/// The last phase is over.
fn finish(tx: &mut Tx<'_>, mut schedule: SubscriptionSchedule) -> Result<(), ApiError> {
    schedule.status = Status::Completed;
    schedule.completed_at = Some(tx.now);
    let subscription = schedule.subscription.clone();
    let cancels = schedule.end_behavior == "cancel";
    if !cancels {
        schedule.released_subscription = schedule.subscription.take();
    }
    close(tx, schedule, "subscription_schedule.completed");
    match subscription {
        Some(id) if cancels => cancellations::end_now(tx, &id, "cancellation_requested"),
        Some(id) => attach(tx, &id, None),
        None => {}
    }
    Ok(())
}

/// The schedule was canceled, and its subscription with it.
pub fn end_subscription(
    tx: &mut Tx<'_>,
    id: &str,
    invoice_now: bool,
    prorate: bool,
) -> Result<(), ApiError> {
    if prorate {
        cancellations::give_back(tx, id)?;
    }
    if invoice_now {
        cancellations::bill_rest(tx, id, "subscription_update")?;
    }
    cancellations::end_now(tx, id, "cancellation_requested");
    Ok(())
}

/// A subscription was changed directly: the running phase says so, too.
pub fn follow(tx: &mut Tx<'_>, subscription: &Subscription) {
    let found = subscription.schedule.as_ref();
    let found = found.and_then(|id| tx.state.subscription_schedules.get(id)).cloned();
    let Some(mut schedule) = found.filter(|schedule| schedule.status == Status::Active) else {
        return;
    };
    let items = subscription.items.iter().map(|item| PhaseItem {
        price: item.price.clone(),
        quantity: item.quantity,
        metadata: item.metadata.clone(),
    });
    let items: Vec<PhaseItem> = items.collect();
    let current = schedule.current;
    if let Some(phase) = schedule.phases.get_mut(current)
        && phase.items != items
    {
        phase.items = items;
        save(tx, schedule);
    }
}
