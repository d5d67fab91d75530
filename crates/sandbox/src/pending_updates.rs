//! Pending updates: changes of a subscription that are made once their invoice is paid.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::errors::ApiError;
use crate::invoices;
use crate::net_amounts;
use crate::params::Params;
use crate::state::State;
use crate::subscriptions::{self, Subscription, SubscriptionItem, item_view};
use crate::transactions::Tx;
use crate::usages;

/// An update that is not paid is forgotten after this long, or at the end of the period.
const LIFE_SECONDS: i64 = 23 * 3_600;
/// What can wait; everything else is changed in a request of its own.
const PENDING_PARAMS: [&str; 9] = [
    "add_invoice_items",
    "billing_cycle_anchor",
    "items",
    "off_session",
    "payment_behavior",
    "proration_behavior",
    "proration_date",
    "trial_end",
    "trial_from_plan",
];

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PendingUpdate {
    pub items: Vec<SubscriptionItem>,
    pub expires_at: i64,
    pub invoice: String,
    /// The new anchor, where the update begins a new cycle.
    pub anchor: Option<i64>,
    /// A payment that succeeds at once leaves nothing pending to tell of.
    pub announced: bool,
}

impl PendingUpdate {
    pub fn new(before: &Subscription, after: Subscription, invoice: &str, now: i64) -> Self {
        let anchor = after.billing_cycle_anchor;
        PendingUpdate {
            items: after.items,
            expires_at: before.period_end().min(now + LIFE_SECONDS),
            invoice: invoice.to_owned(),
            anchor: (anchor != before.billing_cycle_anchor).then_some(anchor),
            announced: false,
        }
    }
}

pub fn view(state: &State, subscription: &Subscription) -> Value {
    let Some(update) = subscription.pending_update.as_ref().filter(|update| update.announced)
    else {
        return Value::Null;
    };
    let items = update.items.iter().map(|item| item_view(state, subscription, item));
    json!({
        "billing_cycle_anchor": update.anchor,
        "cancel_at_period_end": null,
        "discount": null,
        "discounts": null,
        "expires_at": update.expires_at,
        "metadata": null,
        "subscription_items": items.collect::<Vec<Value>>(),
        "trial_end": null,
        "trial_from_plan": null,
    })
}

/// Refuses what cannot wait.
pub fn check(params: &Params) -> Result<(), ApiError> {
    if params.text_is("payment_behavior", "pending_if_incomplete")
        && !params.only_has(&PENDING_PARAMS)
    {
        let message = format!(
            "You can only pass the following parameters when `payment_behavior` is \
             `pending_if_incomplete`: {}.",
            PENDING_PARAMS.join(", ")
        );
        return Err(ApiError::invalid(message).param("payment_behavior"));
    }
    Ok(())
}

/// The payment did not come at once: the update waits for it.
pub fn announce(tx: &mut Tx<'_>, subscription: &str) {
    let Some(mut row) = tx.state.subscriptions.get(subscription).cloned() else {
        return;
    };
    if let Some(update) = &mut row.pending_update {
        update.announced = true;
        row.latest_invoice = Some(update.invoice.clone());
        subscriptions::save(tx, row);
    }
}

/// The invoice of an update was paid: the update is made.
pub fn paid(tx: &mut Tx<'_>, subscription: &str, invoice: &str) {
    let found = tx.state.subscriptions.get(subscription).cloned();
    let Some(mut row) = found else {
        return;
    };
    let Some(update) = row.pending_update.take_if(|update| update.invoice == invoice) else {
        return;
    };
    let before = row.clone();
    row.items = update.items;
    row.latest_invoice = Some(update.invoice);
    if let Some(anchor) = update.anchor {
        row.set_anchor(anchor);
    }
    if let Err(error) = usages::settle(tx, &before, &mut row) {
        tracing::error!(error = error.message(), "usage of a changed item is not billed");
    }
    let shown = subscriptions::view(tx.state, &row);
    subscriptions::save(tx, row);
    if let Some(invoice) = tx.state.invoices.get(invoice).cloned() {
        net_amounts::remember(tx, &invoice);
    }
    if update.announced {
        tx.emit("customer.subscription.pending_update_applied", shown);
    }
}

/// Another change, or the end of the subscription, comes first: the invoice is void.
pub fn discard(tx: &mut Tx<'_>, subscription: &mut Subscription) -> Result<(), ApiError> {
    match subscription.pending_update.take() {
        None => Ok(()),
        Some(update) => withdraw(tx, &update),
    }
}

fn withdraw(tx: &mut Tx<'_>, update: &PendingUpdate) -> Result<(), ApiError> {
    if invoices::find(tx.state, &update.invoice)?.status == invoices::Status::Open {
        invoices::void_now(tx, &update.invoice)?;
    }
    Ok(())
}

/// Nobody paid in time: the invoice is void, and the subscription stays what it is.
pub fn expire(tx: &mut Tx<'_>, mut subscription: Subscription) -> Result<(), ApiError> {
    let Some(update) = subscription.pending_update.take() else {
        return Ok(());
    };
    let shown = subscriptions::view(tx.state, &subscription);
    subscriptions::save(tx, subscription);
    tx.emit("customer.subscription.pending_update_expired", shown);
    withdraw(tx, &update)
}
