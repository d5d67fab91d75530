//! Changing the items of a running subscription: prorations, and a new cycle where the interval
//! changes.

use crate::cards::Presence;
use crate::clock;
use crate::currencies;
use crate::errors::ApiError;
use crate::invoice_items::{self, InvoiceItem};
use crate::invoices::{self, Invoice, Line};
use crate::net_amounts::NetAmounts;
use crate::params::Params;
use crate::pending_updates::PendingUpdate;
use crate::prices::{self, Price, Recurring};
use crate::prorations::{Billed, share};
use crate::state::State;
use crate::subscriptions::{self, Status, Subscription, SubscriptionItem};
use crate::transactions::Tx;
use crate::{billing, customers, payment_methods, pending_updates, retries, usages};

/// How a change is to be made.
#[derive(Clone, Debug)]
pub struct Change {
    /// `proration_behavior`
    pub proration: &'static str,
    /// The instant from which the change is prorated.
    pub at: i64,
    /// `payment_behavior`
    pub behavior: &'static str,
    pub presence: Presence,
    /// The cycle begins anew now.
    pub anchor_now: bool,
}

pub const PRORATIONS: [&str; 3] = ["always_invoice", "create_prorations", "none"];
pub const BEHAVIORS: [&str; 4] =
    ["allow_incomplete", "default_incomplete", "error_if_incomplete", "pending_if_incomplete"];

impl Change {
    pub fn read(
        params: &mut Params,
        subscription: &Subscription,
        now: i64,
    ) -> Result<Change, ApiError> {
        let proration = params.word("proration_behavior", &PRORATIONS)?;
        let behavior = params.word("payment_behavior", &BEHAVIORS)?;
        let off_session = params.boolean("off_session")?.unwrap_or(false);
        let at = params.timestamp("proration_date")?;
        let starts = subscription.items.iter().map(|item| item.period_start);
        let first = starts.min().unwrap_or(now);
        if at.is_some_and(|at| at < first || subscription.period_end() < at) {
            let message = "Cannot specify a proration date outside of the current period.";
            return Err(ApiError::invalid(message).param("proration_date"));
        }
        Ok(Change {
            proration: proration.unwrap_or("create_prorations"),
            at: at.unwrap_or(now),
            behavior: behavior.unwrap_or("allow_incomplete"),
            presence: if off_session { Presence::OffSession } else { Presence::OnSession },
            anchor_now: false,
        })
    }
}

/// Replaces the items; nobody waits for the outcome of a payment.
pub fn apply(
    tx: &mut Tx<'_>,
    subscription: Subscription,
    items: Vec<SubscriptionItem>,
    proration: &str,
    anchor_now: bool,
) -> Result<(), ApiError> {
    let known = PRORATIONS.iter().find(|word| **word == proration);
    let change = Change {
        proration: known.copied().unwrap_or("create_prorations"),
        at: tx.now,
        behavior: "allow_incomplete",
        presence: Presence::OffSession,
        anchor_now,
    };
    apply_change(tx, subscription, items, &change)
}

/// Replaces the items; what that costs or gives back is invoiced now or with the next period.
pub fn apply_change(
    tx: &mut Tx<'_>,
    mut subscription: Subscription,
    items: Vec<SubscriptionItem>,
    change: &Change,
) -> Result<(), ApiError> {
    pending_updates::discard(tx, &mut subscription)?;
    let before = subscription.clone();
    subscription.items = items;
    let trialing = subscription.status == Status::Trialing;
    let restarts =
        !trialing && (change.anchor_now || !shares_a_cycle(tx.state, &before, &subscription)?);
    place_items(tx.state, &before, &mut subscription, change.at)?;
    if trialing {
        usages::settle(tx, &before, &mut subscription)?;
        subscriptions::save(tx, subscription);
        return Ok(());
    }
    let mut prorations = Vec::new();
    if change.proration != "none" {
        prorations = credits(tx, &before, &subscription, change.at, restarts)?;
        if !restarts {
            prorations.extend(debits(tx, &before, &mut subscription, change.at)?);
        }
    }
    let changes_now = restarts || !prorations.is_empty();
    for item in prorations {
        invoice_items::announce(tx, item);
    }
    let mut lines = Vec::new();
    if restarts {
        restart_cycle(tx.state, &mut subscription, tx.now)?;
        subscription.expect_renewal(tx.state);
        lines = billing::period_lines(tx.state, &subscription)?;
        remember(&mut subscription.items, &lines);
    }
    let invoices = restarts || (change.proration == "always_invoice" && changes_now);
    if invoices && change.behavior == "pending_if_incomplete" {
        return invoice_before(tx, before, subscription, lines, change);
    }
    usages::settle(tx, &before, &mut subscription)?;
    if invoices {
        let id = open_invoice(tx, subscription, lines, "subscription_update")?;
        return collect(tx, &id, change);
    }
    subscriptions::save(tx, subscription);
    Ok(())
}

pub fn recurring(state: &State, item: &SubscriptionItem) -> Result<Recurring, ApiError> {
    let price = state.prices.get(&item.price).and_then(|price| price.recurring);
    price.ok_or_else(|| ApiError::invalid("The subscription has no recurring price."))
}

/// Whether some interval goes on; where none does, the cycle begins anew.
fn shares_a_cycle(
    state: &State,
    before: &Subscription,
    after: &Subscription,
) -> Result<bool, ApiError> {
    for old in &before.items {
        let old = recurring(state, old)?;
        for new in &after.items {
            let new = recurring(state, new)?;
            if (old.interval, old.interval_count) == (new.interval, new.interval_count) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Items that are new, or renew in another interval now, get a period of their own that ends with
/// the subscription's cycle.
fn place_items(
    state: &State,
    before: &Subscription,
    after: &mut Subscription,
    at: i64,
) -> Result<(), ApiError> {
    let trial_end = after.trial_end.filter(|_| after.status == Status::Trialing);
    let owner = after.clone();
    for item in &mut after.items {
        let new = recurring(state, item)?;
        if let Some(old) = before.items.iter().find(|old| old.id == item.id) {
            let old = recurring(state, old)?;
            if (old.interval, old.interval_count) == (new.interval, new.interval_count) {
                continue;
            }
        }
        let (anchor, interval, count) = owner.calendar(new);
        let (_, end) = clock::period_around(anchor, interval, count, at);
        item.period_start = at;
        item.period_end = trial_end.unwrap_or(end);
        item.billed = Some(Billed { amount: 0, start: at, end: item.period_end });
    }
    Ok(())
}

fn restart_cycle(state: &State, subscription: &mut Subscription, now: i64) -> Result<(), ApiError> {
    subscription.set_anchor(now);
    for item in &mut subscription.items {
        let recurring = recurring(state, item)?;
        item.period_start = now;
        item.period_end =
            clock::next_boundary(now, recurring.interval, recurring.interval_count, now);
    }
    Ok(())
}

/// Each item remembers what was billed for it last.
pub fn remember(items: &mut [SubscriptionItem], lines: &[Line]) {
    for item in items {
        let line = lines.iter().find(|line| line.subscription_item.as_ref() == Some(&item.id));
        if let Some(line) = line {
            let (amount, start, end) = (line.amount, line.period_start, line.period_end);
            item.billed = Some(Billed { amount, start, end });
        }
    }
}

/// What is left of the old items' period is given back, where the item changed.
fn credits(
    tx: &Tx<'_>,
    before: &Subscription,
    after: &Subscription,
    at: i64,
    all: bool,
) -> Result<Vec<InvoiceItem>, ApiError> {
    let gone =
        before.items.iter().filter(|old| all || !after.items.iter().any(|new| same(old, new)));
    let paid = gone.filter(|item| !is_metered(tx.state, item) && at < item.period_end);
    let net = NetAmounts::at(tx.state, before, at)?;
    let credits = paid.map(|item| {
        let price = prices::in_currency(tx.state, &item.price, &before.currency)?;
        let billed = match item.billed {
            Some(billed) if before.is_flexible() => billed,
            _ => {
                Billed { amount: net.of(&item.id), start: item.period_start, end: item.period_end }
            }
        };
        let amount = -billed.unused(at, currencies::step(&before.currency));
        Ok(proration(tx, before, item, &price, amount, at))
    });
    credits.collect()
}

/// What a subscription that ends now has paid for and not used.
pub fn unused(tx: &Tx<'_>, subscription: &Subscription) -> Result<Vec<InvoiceItem>, ApiError> {
    credits(tx, subscription, subscription, tx.now, true)
}

/// Metered items pay for what was used, so there is nothing to divide.
fn is_metered(state: &State, item: &SubscriptionItem) -> bool {
    state.prices.get(&item.price).is_some_and(Price::is_metered)
}

/// What is left of the period is charged for the new items.
fn debits(
    tx: &Tx<'_>,
    before: &Subscription,
    after: &mut Subscription,
    at: i64,
) -> Result<Vec<InvoiceItem>, ApiError> {
    let mut debits = Vec::new();
    let step = currencies::step(&after.currency);
    let currency = after.currency.clone();
    let net = NetAmounts::at(tx.state, after, at)?;
    for position in 0..after.items.len() {
        let item = &after.items[position];
        let known = before.items.iter().any(|old| same(old, item));
        if known || is_metered(tx.state, item) || item.period_end <= at {
            continue;
        }
        let price = prices::in_currency(tx.state, &item.price, &currency)?;
        let (anchor, interval, count) = after.calendar(recurring(tx.state, item)?);
        let whole = clock::period_around(anchor, interval, count, at);
        let (part, whole) = (item.period_end - at, whole.1 - whole.0);
        let amount = share(net.of(&item.id), part, whole, step);
        debits.push(proration(tx, after, item, &price, amount, at));
        let item = &mut after.items[position];
        item.billed = Some(Billed { amount, start: at, end: item.period_end });
    }
    Ok(debits)
}

fn same(old: &SubscriptionItem, new: &SubscriptionItem) -> bool {
    old.id == new.id && old.price == new.price && old.quantity == new.quantity
}

/// A credit where the amount is negative or, for what was free, nothing.
pub fn proration(
    tx: &Tx<'_>,
    subscription: &Subscription,
    item: &SubscriptionItem,
    price: &Price,
    amount: i64,
    at: i64,
) -> InvoiceItem {
    let name = tx.state.products.get(&price.product).map_or("", |product| &product.name);
    let old = tx.state.subscriptions.get(&subscription.id);
    let old = old.is_some_and(|row| row.items.iter().any(|old| same(old, item)));
    let words = if amount < 0 || (amount == 0 && old) { "Unused" } else { "Remaining" };
    let currency = &subscription.currency;
    let mut row = InvoiceItem::new(&subscription.customer, currency, amount, tx.now);
    let description =
        format!("{words} time on {} × {name} after {}", item.quantity, clock::date(at));
    let made = row.line.invoice_item.take();
    row.line = billing::item_line(&subscription.id, item, price, amount, description);
    row.line.invoice_item = made;
    row.line.period_start = at;
    row.line.period_end = item.period_end;
    row.line.proration = true;
    row
}

/// An invoice for what waits and the given lines; the subscription is stored with it.
fn open_invoice(
    tx: &mut Tx<'_>,
    mut subscription: Subscription,
    lines: Vec<Line>,
    reason: &str,
) -> Result<String, ApiError> {
    let invoice = draft(tx, &subscription, lines, reason)?;
    let id = invoice.id.clone();
    subscription.latest_invoice = Some(id.clone());
    subscriptions::save(tx, subscription);
    invoices::announce(tx, invoice);
    invoices::finalize(tx, &id)?;
    Ok(id)
}

fn draft(
    tx: &mut Tx<'_>,
    subscription: &Subscription,
    lines: Vec<Line>,
    reason: &str,
) -> Result<Invoice, ApiError> {
    let customer = customers::live(tx.state, &subscription.customer, "customer")?.clone();
    let mut invoice = Invoice::new(&customer, &subscription.currency, reason, tx.now);
    invoice.attach_to(subscription);
    invoice.due_date = subscription.days_until_due.map(|days| tx.now + days * clock::DAY);
    invoice_items::take_pending(tx, &mut invoice, Some(&subscription.id));
    invoice.lines.extend(lines);
    Ok(invoice)
}

/// Bills what waits and the given lines, such as those of a new period.
pub fn invoice_now(
    tx: &mut Tx<'_>,
    subscription: Subscription,
    lines: Vec<Line>,
    reason: &str,
) -> Result<(), ApiError> {
    let id = open_invoice(tx, subscription, lines, reason)?;
    let change = Change {
        proration: "none",
        at: tx.now,
        behavior: "allow_incomplete",
        presence: Presence::OffSession,
        anchor_now: false,
    };
    collect(tx, &id, &change)
}

/// The invoice comes first: the change is made when it is paid.
fn invoice_before(
    tx: &mut Tx<'_>,
    mut before: Subscription,
    after: Subscription,
    lines: Vec<Line>,
    change: &Change,
) -> Result<(), ApiError> {
    let invoice = draft(tx, &after, lines, "subscription_update")?;
    let id = invoice.id.clone();
    let subscription = before.id.clone();
    before.pending_update = Some(PendingUpdate::new(&before, after, &id, tx.now));
    tx.state.subscriptions.put(before);
    invoices::announce(tx, invoice);
    invoices::finalize(tx, &id)?;
    if invoices::find(tx.state, &id)?.status == invoices::Status::Open {
        attempt(tx, &id, change.presence)?;
    }
    pending_updates::announce(tx, &subscription);
    Ok(())
}

/// One attempt, unless the customer is sent the invoice.
fn attempt(
    tx: &mut Tx<'_>,
    invoice: &str,
    presence: Presence,
) -> Result<Option<billing::Collected>, ApiError> {
    let row = invoices::find(tx.state, invoice)?.clone();
    if row.collection_method != "charge_automatically" {
        return Ok(None);
    }
    let method = match billing::method_for(tx.state, &row) {
        Some(method) => Some(payment_methods::resolve(tx, &method, "payment_method")?),
        None => None,
    };
    billing::collect(tx, invoice, method.as_ref(), presence).map(Some)
}

/// What is due for a change that has been made is collected; where that fails, the caller chose
/// what happens.
fn collect(tx: &mut Tx<'_>, invoice: &str, change: &Change) -> Result<(), ApiError> {
    if invoices::find(tx.state, invoice)?.status != invoices::Status::Open {
        return Ok(());
    }
    if change.behavior == "default_incomplete" {
        return retries::payment_missing(tx, invoice);
    }
    let Some(collected) = attempt(tx, invoice, change.presence)? else {
        return Ok(());
    };
    let strict = change.behavior == "error_if_incomplete";
    match collected {
        billing::Collected::Paid | billing::Collected::Processing => Ok(()),
        billing::Collected::Failed(error) if strict => Err(error),
        billing::Collected::NeedsAuthentication if strict => Err(billing::action_required()),
        _ => retries::payment_missing(tx, invoice),
    }
}
