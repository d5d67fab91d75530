//! What metered items used, as lines of the invoice that closes their period. Usage is billed in
//! arrears: nothing is due when a period begins.

use crate::billing;
use crate::currencies;
use crate::errors::ApiError;
use crate::invoice_items::{self, InvoiceItem};
use crate::invoices::{Invoice, Line};
use crate::meter_events;
use crate::prices::{self, Price};
use crate::state::State;
use crate::subscriptions::{Subscription, SubscriptionItem};
use crate::transactions::Tx;

/// Units counted in `[start, end)`; what was taken back beyond zero is forgotten.
fn units(state: &State, price: &Price, customer: &str, start: i64, end: i64) -> i64 {
    let meter = price.meter.as_ref().and_then(|id| state.meters.get(id));
    let Some(meter) = meter.filter(|_| start < end) else {
        return 0;
    };
    let windows = meter_events::windows(state, meter, customer, start, end, None);
    windows.first().map_or(0, |(_, _, value)| (*value).max(0))
}

/// One line per metered item for what was used in its current period before `until`.
pub fn lines(
    state: &State,
    subscription: &Subscription,
    until: i64,
) -> Result<Vec<Line>, ApiError> {
    let lines = subscription.items.iter().map(|item| line(state, subscription, item, until));
    lines.filter_map(Result::transpose).collect()
}

/// Usage of a trial is free, and licensed items have none.
fn line(
    state: &State,
    subscription: &Subscription,
    item: &SubscriptionItem,
    until: i64,
) -> Result<Option<Line>, ApiError> {
    let price = prices::in_currency(state, &item.price, &subscription.currency)?;
    let end = item.period_end.min(until);
    let in_trial = subscription.trial_end.is_some_and(|trial_end| end <= trial_end);
    if !price.is_metered() || in_trial {
        return Ok(None);
    }
    let start = item.usage_from.unwrap_or(item.period_start).max(item.period_start);
    let start = start.max(subscription.trial_end.filter(|at| *at < end).unwrap_or(start));
    let quantity = units(state, &price, &subscription.customer, start, end);
    let amount = price.amount(quantity)?;
    let description = describe(state, &price, quantity);
    let mut line = billing::item_line(&subscription.id, item, &price, amount, description);
    line.quantity = quantity;
    line.period_start = start;
    line.period_end = end;
    Ok(Some(line))
}

fn describe(state: &State, price: &Price, quantity: i64) -> String {
    let name = state.products.get(&price.product).map_or("", |product| &product.name);
    let interval = billing::interval_name(price);
    let unit = price.unit_amount();
    let amount = match (unit.and_then(|unit| unit.minor()), unit) {
        (Some(minor), _) => currencies::show(minor, &price.currency),
        (None, Some(unit)) => currencies::show_decimal(&unit.decimal(), &price.currency),
        (None, None) => return format!("{quantity} × {name}"),
    };
    match price.transform {
        None => format!("{quantity} × {name} (at {amount} / {interval})"),
        Some(transform) => {
            let packages = transform.divide_by;
            format!("{quantity} × {name} (at {amount} per {packages} / {interval})")
        }
    }
}

/// Events may come late for a period that has ended, as long as its invoice is a draft.
pub fn refresh(state: &State, invoice: &mut Invoice) -> Result<(), ApiError> {
    for line in &mut invoice.lines {
        let Some(price) = line.price.as_ref().filter(|_| line.subscription_item.is_some()) else {
            continue;
        };
        let price = prices::in_currency(state, price, &invoice.currency)?;
        if !price.is_metered() || line.proration {
            continue;
        }
        let customer = &invoice.customer;
        line.quantity = units(state, &price, customer, line.period_start, line.period_end);
        line.amount = price.amount(line.quantity)?;
        line.description = Some(describe(state, &price, line.quantity));
    }
    Ok(())
}

/// Metered items that leave a subscription, or get another price, are billed up to now: the next
/// invoice takes what they used.
pub fn settle(
    tx: &mut Tx<'_>,
    before: &Subscription,
    after: &mut Subscription,
) -> Result<(), ApiError> {
    for old in &before.items {
        let kept = after.items.iter_mut().find(|new| new.id == old.id);
        if kept.as_ref().is_some_and(|new| new.price == old.price) {
            continue;
        }
        if let Some(new) = kept {
            new.usage_from = Some(tx.now);
        }
        let Some(line) = line(tx.state, before, old, tx.now)? else {
            continue;
        };
        if line.quantity == 0 {
            continue;
        }
        let currency = &before.currency;
        let mut item = InvoiceItem::new(&before.customer, currency, line.amount, tx.now);
        let made = item.line.invoice_item.take();
        item.line = Line { invoice_item: made, ..line };
        invoice_items::announce(tx, item);
    }
    Ok(())
}
