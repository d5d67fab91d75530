//! Ending subscriptions: now, at the end of the period, or not after all.

use crate::errors::ApiError;
use crate::invoices::Invoice;
use crate::subscription_schedules;
use crate::subscriptions::{self, Status, Subscription};
use crate::transactions::Tx;
use crate::{invoice_items, pending_updates, plan_changes, usages};

/// Ends a subscription now; its open invoices are not tried any more.
pub fn end_now(tx: &mut Tx<'_>, id: &str, reason: &str) {
    let Some(mut subscription) = tx.state.subscriptions.get(id).cloned() else {
        return;
    };
    if subscription.status.is_final() {
        return;
    }
    if let Err(error) = pending_updates::discard(tx, &mut subscription) {
        tracing::error!(error = error.message(), "the invoice of a pending update is not void");
    }
    subscription.status = Status::Canceled;
    subscription.canceled_at = subscription.canceled_at.or(Some(tx.now));
    subscription.ended_at = Some(tx.now);
    subscription.cancellation.reason = Some(reason.to_owned());
    let shown = subscriptions::view(tx.state, &subscription);
    let schedule = subscription.schedule.clone();
    tx.state.subscriptions.put(subscription);
    tx.emit("customer.subscription.deleted", shown);
    if let Some(schedule) = schedule {
        subscription_schedules::subscription_ended(tx, &schedule, reason);
    }
    let waits = |invoice: &&Invoice| invoice.next_payment_attempt.is_some();
    let open: Vec<Invoice> = tx.state.invoices.of(id).filter(waits).cloned().collect();
    for mut invoice in open {
        invoice.next_payment_attempt = None;
        invoice.auto_advance = false;
        tx.state.invoices.put(invoice);
    }
}

/// `prorate`: what is left of the paid period goes back to the customer.
pub fn give_back(tx: &mut Tx<'_>, id: &str) -> Result<(), ApiError> {
    let subscription = subscriptions::find(tx.state, id)?.clone();
    if subscription.status == Status::Trialing {
        return Ok(());
    }
    for item in plan_changes::unused(tx, &subscription)? {
        invoice_items::announce(tx, item);
    }
    Ok(())
}

/// A last invoice, before the end, for usage and whatever else waits; none where nothing does.
pub fn bill_rest(tx: &mut Tx<'_>, id: &str, reason: &str) -> Result<(), ApiError> {
    let subscription = subscriptions::find(tx.state, id)?.clone();
    let live = matches!(subscription.status, Status::Active | Status::Trialing | Status::PastDue);
    let lines = usages::lines(tx.state, &subscription, tx.now)?;
    let used = lines.iter().any(|line| line.amount != 0);
    if live && (used || invoice_items::has_pending(tx.state, &subscription)) {
        plan_changes::invoice_now(tx, subscription, lines, reason)?;
    }
    Ok(())
}

/// `cancel_at_period_end=true`: under flexible billing `cancel_at` is set with it.
pub fn request(subscription: &mut Subscription, now: i64) {
    subscription.cancel_at_period_end = true;
    subscription.cancel_at = Some(subscription.period_end());
    subscription.canceled_at = Some(now);
    subscription.cancellation.reason = Some("cancellation_requested".to_owned());
}

pub fn forget(subscription: &mut Subscription) {
    subscription.cancel_at_period_end = false;
    subscription.cancel_at = None;
    subscription.canceled_at = None;
    subscription.cancellation.reason = None;
}

pub fn schedule(tx: &mut Tx<'_>, id: &str) {
    if let Some(mut subscription) = tx.state.subscriptions.get(id).cloned() {
        request(&mut subscription, tx.now);
        subscriptions::save(tx, subscription);
    }
}
