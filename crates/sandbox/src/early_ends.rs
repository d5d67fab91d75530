//! A subscription that is to end within a period: only the part of the period until then is paid
//! for, and nothing changes for what has no share in time.

use crate::clock;
use crate::currencies;
use crate::errors::ApiError;
use crate::invoice_items::InvoiceItem;
use crate::net_amounts::NetAmounts;
use crate::plan_changes::{proration, recurring};
use crate::prices::{self, Price};
use crate::prorations::{Billed, share};
use crate::subscriptions::{Status, Subscription, SubscriptionItem};
use crate::transactions::Tx;

/// The end of a period that would last until `end`, for a subscription with a `cancel_at`.
pub fn cut(subscription: &Subscription, start: i64, end: i64) -> i64 {
    let ends_within = !subscription.cancel_at_period_end;
    let cancel_at = subscription.cancel_at.filter(|at| ends_within && start < *at);
    end.min(cancel_at.unwrap_or(end))
}

/// `cancel_at` has changed: the running periods end with it, or go on to their natural end. What
/// has been paid for the time between comes back, or is to be paid.
pub fn follow(tx: &Tx<'_>, subscription: &mut Subscription) -> Result<Vec<InvoiceItem>, ApiError> {
    let mut found = Vec::new();
    if !matches!(subscription.status, Status::Active | Status::PastDue) {
        return Ok(found);
    }
    let net = NetAmounts::at(tx.state, subscription, tx.now)?;
    let step = currencies::step(&subscription.currency);
    for position in 0..subscription.items.len() {
        let item = subscription.items[position].clone();
        let (anchor, interval, count) = subscription.calendar(recurring(tx.state, &item)?);
        let whole = clock::period_around(anchor, interval, count, item.period_start);
        let (old, new) = (item.period_end, cut(subscription, item.period_start, whole.1));
        if old == new {
            continue;
        }
        let price = prices::in_currency(tx.state, &item.price, &subscription.currency)?;
        if !price.is_metered() {
            let all = net.of(&item.id);
            let billed =
                item.billed.unwrap_or(Billed { amount: all, start: item.period_start, end: old });
            let amount = match new < old {
                true => -billed.unused(new, step),
                false => share(all, new - old, whole.1 - whole.0, step),
            };
            found.push(moved(tx, subscription, &item, &price, (amount, old, new)));
            let amount = billed.amount.saturating_add(amount);
            subscription.items[position].billed = Some(Billed { amount, end: new, ..billed });
        }
        subscription.items[position].period_end = new;
    }
    Ok(found)
}

/// What the time between two ends costs.
fn moved(
    tx: &Tx<'_>,
    subscription: &Subscription,
    item: &SubscriptionItem,
    price: &Price,
    (amount, old, new): (i64, i64, i64),
) -> InvoiceItem {
    let item = SubscriptionItem { period_end: old.max(new), ..item.clone() };
    proration(tx, subscription, &item, price, amount, old.min(new))
}
