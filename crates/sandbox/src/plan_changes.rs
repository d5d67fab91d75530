//! Changing the items of a running subscription: prorations, and a new cycle where the interval
//! changes.

use crate::cards::Presence;
use crate::clock;
use crate::errors::ApiError;
use crate::invoice_items::{self, InvoiceItem};
use crate::invoices::{self, Invoice, Line};
use crate::prices::{self, Price};
use crate::state::State;
use crate::subscriptions::{self, Status, Subscription, SubscriptionItem};
use crate::transactions::Tx;
use crate::{billing, customers, payment_methods, usages};

/// Replaces the items; `proration` is Stripe's `proration_behavior`.
pub fn apply(
    tx: &mut Tx<'_>,
    mut subscription: Subscription,
    items: Vec<SubscriptionItem>,
    proration: &str,
    anchor_now: bool,
) -> Result<(), ApiError> {
    let before = subscription.clone();
    let old = billing::recurring_of(tx.state, &before)?;
    subscription.items = items;
    let new = billing::recurring_of(tx.state, &subscription)?;
    let same_cycle = (old.interval, old.interval_count) == (new.interval, new.interval_count);
    let trialing = subscription.status == Status::Trialing;
    let restarts = !trialing && (!same_cycle || anchor_now);
    if trialing || (proration == "none" && !restarts) {
        usages::settle(tx, &before, &mut subscription)?;
        subscriptions::save(tx, subscription);
        return Ok(());
    }
    let mut changes = Vec::new();
    if proration != "none" {
        changes = credits(tx, &before, &subscription, restarts)?;
        if !restarts {
            changes.extend(debits(tx, &before, &subscription)?);
        }
    }
    for change in changes {
        invoice_items::announce(tx, change);
    }
    if restarts {
        restart_cycle(&mut subscription, new, tx.now);
    }
    usages::settle(tx, &before, &mut subscription)?;
    if restarts || proration == "always_invoice" {
        let lines =
            if restarts { billing::period_lines(tx.state, &subscription)? } else { Vec::new() };
        return invoice_now(tx, subscription, lines, "subscription_update");
    }
    subscriptions::save(tx, subscription);
    Ok(())
}

fn restart_cycle(subscription: &mut Subscription, recurring: prices::Recurring, now: i64) {
    subscription.billing_cycle_anchor = now;
    let end = clock::next_boundary(now, recurring.interval, recurring.interval_count, now);
    for item in &mut subscription.items {
        item.period_start = now;
        item.period_end = end;
    }
}

/// What is left of the old items' period is given back, where the item changed.
fn credits(
    tx: &Tx<'_>,
    before: &Subscription,
    after: &Subscription,
    all: bool,
) -> Result<Vec<InvoiceItem>, ApiError> {
    let gone =
        before.items.iter().filter(|old| all || !after.items.iter().any(|new| same(old, new)));
    let paid = gone.filter(|item| !is_metered(tx.state, item));
    paid.map(|item| remainder(tx, before, item, Side::Credit)).collect()
}

/// What a subscription that ends now has paid for and not used.
pub fn unused(tx: &Tx<'_>, subscription: &Subscription) -> Result<Vec<InvoiceItem>, ApiError> {
    credits(tx, subscription, subscription, true)
}

/// Metered items pay for what was used, so there is nothing to divide.
fn is_metered(state: &State, item: &SubscriptionItem) -> bool {
    state.prices.get(&item.price).is_some_and(Price::is_metered)
}

/// What is left of the period is charged for the new items.
fn debits(
    tx: &Tx<'_>,
    before: &Subscription,
    after: &Subscription,
) -> Result<Vec<InvoiceItem>, ApiError> {
    let new = after.items.iter().filter(|new| !before.items.iter().any(|old| same(old, new)));
    let due = new.filter(|item| !is_metered(tx.state, item));
    due.map(|item| remainder(tx, after, item, Side::Debit)).collect()
}

fn same(old: &SubscriptionItem, new: &SubscriptionItem) -> bool {
    old.id == new.id && old.price == new.price && old.quantity == new.quantity
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Credit,
    Debit,
}

fn remainder(
    tx: &Tx<'_>,
    subscription: &Subscription,
    item: &SubscriptionItem,
    side: Side,
) -> Result<InvoiceItem, ApiError> {
    let price = &prices::in_currency(tx.state, &item.price, &subscription.currency)?;
    let (start, end) = whole_period(tx.state, subscription, item)?;
    let share = share(price.amount(item.quantity)?, end - tx.now, end - start);
    let name = tx.state.products.get(&price.product).map_or("", |product| &product.name);
    let (amount, words) = match side {
        Side::Credit => (-share, "Unused time on"),
        Side::Debit => (share, "Remaining time on"),
    };
    let currency = &subscription.currency;
    let mut row = InvoiceItem::new(&subscription.customer, currency, amount, tx.now);
    let description = format!("{words} {} × {name} after {}", item.quantity, clock::date(tx.now));
    let made = row.line.invoice_item.take();
    row.line = billing::item_line(&subscription.id, item, price, amount, description);
    row.line.invoice_item = made;
    row.line.period_start = tx.now;
    row.line.period_end = end;
    row.line.proration = true;
    Ok(row)
}

/// An item added in mid-period is measured against the whole period.
fn whole_period(
    state: &State,
    subscription: &Subscription,
    item: &SubscriptionItem,
) -> Result<(i64, i64), ApiError> {
    let oldest = subscription.items.iter().map(|item| item.period_start).min();
    let start = oldest.unwrap_or(item.period_start).min(item.period_start);
    if start < item.period_end {
        return Ok((start, item.period_end));
    }
    let Price { id, .. } = prices::existing(state, &item.price, "items")?;
    Err(ApiError::invalid(format!("The period of {id} is empty.")))
}

/// `amount * part / whole`, rounded half away from zero.
fn share(amount: i64, part: i64, whole: i64) -> i64 {
    let part = i128::from(part.clamp(0, whole));
    let whole = i128::from(whole.max(1));
    let share = (i128::from(amount) * part * 2 + whole) / (whole * 2);
    i64::try_from(share).unwrap_or(amount)
}

/// Bills what waits and the given lines, such as those of a new period.
pub fn invoice_now(
    tx: &mut Tx<'_>,
    mut subscription: Subscription,
    lines: Vec<Line>,
    reason: &str,
) -> Result<(), ApiError> {
    let customer = customers::live(tx.state, &subscription.customer, "customer")?.clone();
    let mut invoice = Invoice::new(&customer, &subscription.currency, reason, tx.now);
    invoice.attach_to(&subscription);
    invoice_items::take_pending(tx, &mut invoice, Some(&subscription.id));
    invoice.lines.extend(lines);
    let id = invoice.id.clone();
    subscription.latest_invoice = Some(id.clone());
    let automatic = subscription.collection_method == "charge_automatically";
    subscriptions::save(tx, subscription);
    invoices::announce(tx, invoice);
    invoices::finalize(tx, &id)?;
    let row = invoices::find(tx.state, &id)?.clone();
    if row.status != invoices::Status::Open || !automatic {
        return Ok(());
    }
    let method = billing::method_for(tx.state, &row);
    let method = match method {
        Some(method) => Some(payment_methods::resolve(tx, &method, "payment_method")?),
        None => None,
    };
    billing::collect(tx, &id, method.as_ref(), Presence::OffSession)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::share;

    #[test]
    fn shares_round_to_the_cent() {
        assert_eq!(share(1_000, 1, 2), 500);
        assert_eq!(share(1_000, 1, 3), 333);
        assert_eq!(share(1_000, 2, 3), 667);
        assert_eq!(share(1, 1, 2), 1);
        assert_eq!(share(1_000, 5, 3), 1_000);
        assert_eq!(share(1_000, -5, 3), 0);
    }
}
