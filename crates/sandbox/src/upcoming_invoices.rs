//! `invoice.upcoming`: a renewal is told some days before, as the invoice it would make now.

use serde_json::Value;

use crate::clock::DAY;
use crate::errors::ApiError;
use crate::invoices::render;
use crate::settings::Settings;
use crate::state::State;
use crate::subscriptions::{Status, Subscription};
use crate::transactions::Tx;
use crate::{billing, invoice_items};

impl Subscription {
    /// Plans the notice of the next renewal; the renewal after a short period has none.
    pub fn expect_renewal(&mut self, state: &State) {
        let days = Settings::of(state).upcoming_days;
        let starts = self.items.iter().map(|item| item.period_start);
        let at = self.period_end().saturating_sub(days * DAY);
        let in_period = starts.max().is_some_and(|start| start < at);
        self.upcoming_at = (0 < days && in_period).then_some(at);
    }
}

/// Tells of the next renewal, unless there will be none.
pub fn announce(tx: &mut Tx<'_>, mut subscription: Subscription) -> Result<(), ApiError> {
    subscription.upcoming_at = None;
    tx.state.subscriptions.put(subscription.clone());
    let end = subscription.period_end();
    let ends = subscription.cancel_at.is_some_and(|at| at <= end);
    if ends || subscription.status == Status::Unpaid {
        return Ok(());
    }
    if subscription.status == Status::Trialing {
        subscription.status = Status::Active;
    }
    let mut invoice = billing::renewal(tx.state, &mut subscription, end)?;
    let waiting = invoice_items::pending(tx.state, &invoice, Some(&subscription.id));
    invoice.lines.extend(waiting.into_iter().map(|item| item.line));
    invoice.billing_reason = "upcoming".to_owned();
    invoice.next_payment_attempt = Some(end);
    let mut shown = render::view(tx.state, &invoice);
    // Nothing can be asked for under the id of an invoice that does not exist.
    shown["id"] = Value::String(invoice.id.replacen("in_", "upcoming_in_", 1));
    tx.emit("invoice.upcoming", shown);
    Ok(())
}
