//! The first invoice of a subscription whose anchor is not its start: a part of a period before a
//! later anchor, or all the time since an earlier start.

use crate::billing;
use crate::clock;
use crate::currencies;
use crate::errors::ApiError;
use crate::invoices::Line;
use crate::prices::{self, Price};
use crate::prorations::{cost_of_span, share};
use crate::state::State;
use crate::subscriptions::{Status, Subscription};

/// The calendar of a price, counted from the subscription's anchor.
fn calendar(subscription: &Subscription, price: &Price) -> Option<(i64, clock::Interval, i64)> {
    price.recurring.map(|recurring| subscription.calendar(recurring))
}

/// A backdated subscription is in a period that began before now; what came before that is a line
/// of its own.
pub fn place(
    state: &State,
    subscription: &mut Subscription,
    now: i64,
) -> Result<Vec<Line>, ApiError> {
    let mut lines = Vec::new();
    let start = subscription.start_date;
    if now <= start || subscription.trial_end.is_some() {
        return Ok(lines);
    }
    for position in 0..subscription.items.len() {
        let item = &subscription.items[position];
        let price = prices::in_currency(state, &item.price, &subscription.currency)?;
        let Some((anchor, interval, count)) = calendar(subscription, &price) else {
            continue;
        };
        let (from, _) = clock::period_around(anchor, interval, count, now);
        let from = from.max(start);
        let span = (start, from);
        if start < from && !subscription.free_until_anchor && !price.is_metered() {
            let amount = price.amount(item.quantity)?;
            let step = currencies::step(&subscription.currency);
            let amount = cost_of_span(amount, span, (anchor, interval, count), step);
            let name = state.products.get(&price.product).map_or("", |product| &product.name);
            let (first, last) = (clock::date(start), clock::date(from));
            let description =
                format!("Time on {} × {name} from {first} until {last}", item.quantity);
            let mut line = billing::item_line(&subscription.id, item, &price, amount, description);
            (line.period_start, line.period_end) = span;
            line.proration = true;
            line.adjustments.discountable = Some(true);
            lines.push(line);
        }
        subscription.items[position].period_start = from;
    }
    Ok(lines)
}

/// A period that is shorter than its price's interval costs its share, or nothing.
pub fn prorate(
    state: &State,
    subscription: &Subscription,
    lines: &mut [Line],
) -> Result<(), ApiError> {
    if subscription.status == Status::Trialing {
        return Ok(());
    }
    let step = currencies::step(&subscription.currency);
    for line in lines {
        let Some(id) = line.price.as_ref().filter(|_| line.subscription_item.is_some()) else {
            continue;
        };
        let price = prices::existing(state, id, "price")?;
        let Some((anchor, interval, count)) = calendar(subscription, price) else {
            continue;
        };
        let whole = clock::period_around(anchor, interval, count, line.period_start);
        if whole.0 < line.period_start || line.period_end < whole.1 {
            let part = line.period_end - line.period_start;
            let amount = share(line.amount, part, whole.1 - whole.0, step);
            let free = subscription.free_until_anchor
                && line.period_end <= subscription.billing_cycle_anchor;
            line.amount = if free { 0 } else { amount };
            line.proration = true;
            // Only what comes later is worked out from discounted amounts.
            line.adjustments.discountable = Some(true);
        }
    }
    Ok(())
}
