//! The life of a subscription: first invoice, renewals, retries, trial ends, cancellation.

use crate::adjustments::Adjustments;
use crate::cards::Presence;
use crate::clock::{self, DAY};
use crate::debits;
use crate::errors::ApiError;
use crate::invoices::{self, Invoice, Line};
use crate::params::{MAX_AMOUNT, Metadata};
use crate::payment_intents::{self, Attempt, PaymentIntent};
use crate::payment_methods::{self, PaymentMethod};
use crate::prices::{Price, Recurring};
use crate::setup_intents;
use crate::state::State;
use crate::subscriptions::{self, Status, Subscription, SubscriptionItem};
use crate::transactions::Tx;
use crate::{
    cancellations, currencies, customers, early_ends, first_periods, ids, invoice_items,
    pending_updates, plan_changes, prices, retries, upcoming_invoices, usages,
};

/// How collecting an invoice ended.
pub enum Collected {
    Paid,
    /// The bank takes its time; the invoice stays open meanwhile.
    Processing,
    NeedsAuthentication,
    Failed(ApiError),
}

/// A subscription made by the API: charged at once, or left incomplete as the caller chose.
pub fn create(
    tx: &mut Tx<'_>,
    subscription: Subscription,
    behavior: &str,
    off_session: bool,
) -> Result<(), ApiError> {
    let id = subscription.id.clone();
    let method = method_of(tx.state, &subscription);
    let automatic = subscription.collection_method == "charge_automatically";
    let trialing = subscription.trial_end.is_some();
    let invoice = open_first_invoice(tx, subscription, &[])?;
    if MAX_AMOUNT < invoices::find(tx.state, &invoice)?.amount_due() {
        let message = format!("The first invoice would be above the largest amount, {MAX_AMOUNT}.");
        return Err(ApiError::invalid(message).code("amount_too_large").param("items"));
    }
    let unpaid = invoices::find(tx.state, &invoice)?.status == invoices::Status::Open;
    if !unpaid && automatic {
        let mut subscription = subscriptions::find(tx.state, &id)?.clone();
        setup_intents::open_for_subscription(tx, &mut subscription);
        tx.state.subscriptions.put(subscription);
    }
    if unpaid && automatic && behavior != "default_incomplete" {
        let Some(method) = method else {
            let message = "This customer has no attached payment source or default payment \
                           method. Please consider adding a default payment method.";
            return Err(ApiError::invalid(message).code("resource_missing"));
        };
        let method = payment_methods::resolve(tx, &method, "default_payment_method")?;
        let presence = if off_session { Presence::OffSession } else { Presence::OnSession };
        let collected = collect(tx, &invoice, Some(&method), presence)?;
        match collected {
            Collected::Failed(error) if behavior == "error_if_incomplete" => return Err(error),
            Collected::NeedsAuthentication if behavior == "error_if_incomplete" => {
                return Err(action_required());
            }
            _ => {}
        }
    }
    if trialing {
        send_late_trial_notice(tx, &id);
    }
    announce(tx, &id);
    Ok(())
}

/// Where the caller wants no subscription that is not paid.
pub fn action_required() -> ApiError {
    let message = "Payment for this subscription requires additional user action before it can \
                   be completed successfully.";
    ApiError::card("subscription_payment_intent_requires_action", None, message)
}

/// A subscription made by its schedule: nobody waits for the payment, so it begins active.
pub fn create_unattended(tx: &mut Tx<'_>, subscription: Subscription) -> Result<(), ApiError> {
    let id = subscription.id.clone();
    let automatic = subscription.collection_method == "charge_automatically";
    let invoice = open_first_invoice(tx, subscription, &[])?;
    let mut subscription = subscriptions::find(tx.state, &id)?.clone();
    if subscription.status == Status::Incomplete {
        subscription.status = Status::Active;
        tx.state.subscriptions.put(subscription);
    }
    announce(tx, &id);
    send_late_trial_notice(tx, &id);
    if automatic { collect_renewal(tx, &invoice) } else { Ok(()) }
}

/// Stores the subscription with its first period and finalizes its first invoice. `extra` are the
/// one-time lines a Checkout page sells along.
pub fn open_first_invoice(
    tx: &mut Tx<'_>,
    mut subscription: Subscription,
    extra: &[Line],
) -> Result<String, ApiError> {
    let customer = customers::live(tx.state, &subscription.customer, "customer")?.clone();
    if let Some(end) = subscription.trial_end {
        subscription.set_anchor(end);
    }
    let owner = subscription.clone();
    for item in &mut subscription.items {
        item.period_start = tx.now;
        item.period_end = match subscription.trial_end {
            Some(end) => end,
            None => next_end(tx.state, &owner, item, tx.now)?,
        };
    }
    let past = first_periods::place(tx.state, &mut subscription, tx.now)?;
    subscription.status = match subscription.trial_end {
        Some(_) => Status::Trialing,
        None if subscription.collection_method == "send_invoice" => Status::Active,
        None => Status::Incomplete,
    };
    let mut invoice =
        Invoice::new(&customer, &subscription.currency, "subscription_create", tx.now);
    invoice.attach_to(&subscription);
    invoice.due_date = subscription.days_until_due.map(|days| tx.now + days * DAY);
    invoice.lines = period_lines(tx.state, &subscription)?;
    first_periods::prorate(tx.state, &subscription, &mut invoice.lines)?;
    plan_changes::remember(&mut subscription.items, &invoice.lines);
    invoice.lines.extend(past);
    invoice.lines.extend_from_slice(extra);
    invoice_items::take_pending(tx, &mut invoice, Some(&subscription.id));
    let id = invoice.id.clone();
    subscription.latest_invoice = Some(id.clone());
    subscription.expect_renewal(tx.state);
    tx.state.subscriptions.put(subscription);
    invoices::announce(tx, invoice);
    invoices::finalize(tx, &id)?;
    Ok(id)
}

/// The end of the item's period around `instant`.
fn next_end(
    state: &State,
    subscription: &Subscription,
    item: &SubscriptionItem,
    instant: i64,
) -> Result<i64, ApiError> {
    let price = state.prices.get(&item.price).and_then(|price| price.recurring);
    let Some(recurring) = price else {
        return Err(ApiError::invalid("The subscription has no recurring price."));
    };
    let (anchor, interval, count) = subscription.calendar(recurring);
    let (_, end) = clock::period_around(anchor, interval, count, instant);
    Ok(early_ends::cut(subscription, instant, end))
}

/// One line per item for the item's current period; a trial costs nothing, and what is metered is
/// billed when the period has ended.
pub fn period_lines(state: &State, subscription: &Subscription) -> Result<Vec<Line>, ApiError> {
    let trial = subscription.status == Status::Trialing;
    let is_metered =
        |item: &&SubscriptionItem| state.prices.get(&item.price).is_some_and(Price::is_metered);
    let licensed = subscription.items.iter().filter(|item| !is_metered(item));
    let lines = licensed.map(|item| {
        let price = prices::in_currency(state, &item.price, &subscription.currency)?;
        let name = state.products.get(&price.product).map_or("", |product| &product.name);
        let amount = if trial { 0 } else { price.amount(item.quantity)? };
        let description = match (trial, price.unit_amount().and_then(|unit| unit.minor())) {
            (true, _) => format!("Free trial for {} × {name}", item.quantity),
            (false, None) => format!("{} × {name}", item.quantity),
            (false, Some(unit)) => {
                let unit = currencies::show(unit, &price.currency);
                format!("{} × {name} (at {unit} / {})", item.quantity, interval_name(&price))
            }
        };
        let line = item_line(&subscription.id, item, &price, amount, description);
        Ok(Line { metadata: subscription.metadata.clone(), ..line })
    });
    lines.collect()
}

pub fn interval_name(price: &Price) -> String {
    match &price.recurring {
        None => "once".to_owned(),
        Some(recurring) if recurring.interval_count == 1 => recurring.interval.name().to_owned(),
        Some(recurring) => {
            format!("every {} {}s", recurring.interval_count, recurring.interval.name())
        }
    }
}

pub fn item_line(
    subscription: &str,
    item: &SubscriptionItem,
    price: &Price,
    amount: i64,
    description: String,
) -> Line {
    Line {
        id: ids::object("il"),
        amount,
        description: Some(description),
        quantity: item.quantity,
        price: Some(price.id.clone()),
        product: Some(price.product.clone()),
        unit: price.unit_amount(),
        period_start: item.period_start,
        period_end: item.period_end,
        subscription: Some(subscription.to_owned()),
        subscription_item: Some(item.id.clone()),
        invoice_item: None,
        proration: false,
        metadata: Metadata::new(),
        adjustments: Adjustments {
            discounts: item.discounts.clone(),
            tax_rates: item.tax_rates.clone(),
            ..Adjustments::default()
        },
    }
}

pub fn recurring_of(state: &State, subscription: &Subscription) -> Result<Recurring, ApiError> {
    let first = subscription.items.first();
    let price = first.and_then(|item| state.prices.get(&item.price));
    let recurring = price.and_then(|price| price.recurring);
    recurring.ok_or_else(|| ApiError::invalid("The subscription has no recurring price."))
}

fn method_of(state: &State, subscription: &Subscription) -> Option<String> {
    let own = subscription.default_payment_method.clone();
    own.or_else(|| payment_methods::default_of(state, &subscription.customer))
}

/// What an invoice is charged to: its own method, its subscription's, its customer's.
pub fn method_for(state: &State, invoice: &Invoice) -> Option<String> {
    let subscription = invoice.subscription.as_ref().and_then(|id| state.subscriptions.get(id));
    let own = invoice.default_payment_method.clone();
    own.or_else(|| subscription?.default_payment_method.clone())
        .or_else(|| payment_methods::default_of(state, &invoice.customer))
}

/// Tries to have an open invoice paid, once.
pub fn collect(
    tx: &mut Tx<'_>,
    id: &str,
    method: Option<&PaymentMethod>,
    presence: Presence,
) -> Result<Collected, ApiError> {
    let payment = invoices::payment_of(tx.state, id).cloned();
    let intent =
        payment.and_then(|payment| tx.state.payment_intents.get(&payment.payment_intent).cloned());
    let Some(mut intent) = intent else {
        return Err(ApiError::invalid(format!("Invoice {id} has nothing to pay.")));
    };
    let Some(method) = method else {
        count_failure(tx, id, "invoice.payment_failed")?;
        let error = ApiError::invalid("The customer has no payment method.");
        return Ok(Collected::Failed(error));
    };
    match payment_intents::attempt(tx, &mut intent, method, presence) {
        Attempt::Succeeded => {
            count_attempt(tx, id)?;
            invoices::mark_paid(tx, id)?;
            Ok(Collected::Paid)
        }
        Attempt::Processing if intent.status == payment_intents::Status::Processing => {
            debits::begin(tx, id)?;
            Ok(Collected::Processing)
        }
        Attempt::Processing | Attempt::NeedsAuthentication => {
            count_failure(tx, id, "invoice.payment_action_required")?;
            Ok(Collected::NeedsAuthentication)
        }
        Attempt::Declined { decline, charge } => {
            if decline == crate::cards::AUTHENTICATION {
                count_failure(tx, id, "invoice.payment_action_required")?;
                let invoice = invoices::find(tx.state, id)?.clone();
                invoices::save(tx, &invoice, "invoice.payment_failed");
            } else {
                count_failure(tx, id, "invoice.payment_failed")?;
            }
            let error = ApiError::card(decline.code, decline.decline_code, decline.message);
            let shown = payment_intents::view(tx.state, &intent);
            Ok(Collected::Failed(error.charge(Some(charge)).payment_intent(shown)))
        }
    }
}

/// The caller confirmed an invoice's payment intent directly: the invoice follows.
pub fn intent_attempted(tx: &mut Tx<'_>, intent: &PaymentIntent) -> Result<(), ApiError> {
    if intent.is_succeeded() && intent.invoice.is_none() {
        return invoices::attachments::succeeded(tx, intent);
    }
    let invoice = intent.invoice.as_ref().and_then(|id| tx.state.invoices.get(id));
    let Some(invoice) = invoice.filter(|invoice| invoice.status == invoices::Status::Open) else {
        return Ok(());
    };
    let (id, subscription) = (invoice.id.clone(), invoice.subscription.clone());
    match intent.status {
        payment_intents::Status::Succeeded | payment_intents::Status::Processing => {}
        payment_intents::Status::RequiresAction => {
            return count_failure(tx, &id, "invoice.payment_action_required");
        }
        _ => return count_failure(tx, &id, "invoice.payment_failed"),
    }
    let found = subscription.and_then(|id| tx.state.subscriptions.get(&id).cloned());
    if let Some(mut subscription) = found
        && subscription.saves_default_method
    {
        subscription.default_payment_method = intent.payment_method.clone();
        subscriptions::save(tx, subscription);
    }
    if !intent.is_succeeded() {
        return debits::begin(tx, &id);
    }
    count_attempt(tx, &id)?;
    invoices::mark_paid(tx, &id)
}

/// Any attempt counts as the first; after it only the automatic ones do.
pub fn count_attempt(tx: &mut Tx<'_>, id: &str) -> Result<Invoice, ApiError> {
    let mut invoice = invoices::find(tx.state, id)?.clone();
    let retries = invoice.next_payment_attempt.is_some_and(|at| at <= tx.now);
    if invoice.attempt_count == 0 || retries {
        invoice.attempt_count = invoice.attempt_count.saturating_add(1);
    }
    tx.state.invoices.put(invoice.clone());
    Ok(invoice)
}

fn count_failure(tx: &mut Tx<'_>, id: &str, event: &str) -> Result<(), ApiError> {
    let invoice = count_attempt(tx, id)?;
    tell_failure(tx, invoice, event);
    Ok(())
}

/// Tells of a failed attempt, and plans the next one, if there is one.
pub fn tell_failure(tx: &mut Tx<'_>, mut invoice: Invoice, event: &str) {
    // Paying by hand in between does not move the next automatic attempt.
    let due = invoice.next_payment_attempt.is_none_or(|next| next <= tx.now);
    if due && retries::applies_to(tx.state, &invoice) {
        let next = retries::next_attempt(tx.state, &invoice, tx.now);
        // Without a payment method there is nothing to try again with.
        invoice.next_payment_attempt = next.filter(|_| method_for(tx.state, &invoice).is_some());
    }
    invoices::save(tx, &invoice, event);
}

/// Tells of a new subscription. Later changes are told as changes.
pub fn announce(tx: &mut Tx<'_>, id: &str) {
    let Some(mut subscription) = tx.state.subscriptions.get(id).cloned() else {
        return;
    };
    if subscription.announced {
        return;
    }
    subscription.announced = true;
    let shown = subscriptions::view(tx.state, &subscription);
    tx.state.subscriptions.put(subscription);
    tx.emit("customer.subscription.created", shown);
}

/// Payment of the newest invoice makes a waiting subscription active.
pub fn invoice_paid(tx: &mut Tx<'_>, invoice: &Invoice) {
    let found = invoice.subscription.as_ref().and_then(|id| tx.state.subscriptions.get(id));
    let Some(mut subscription) = found.cloned() else {
        return;
    };
    let id = subscription.id.clone();
    if subscription.pending_update.is_some() || subscription.resuming.is_some() {
        pending_updates::paid(tx, &id, &invoice.id);
        subscriptions::pauses::paid(tx, &id, &invoice.id);
        let updated = tx.state.subscriptions.get(&id).cloned();
        subscription = updated.unwrap_or(subscription);
    }
    let newest = subscription.latest_invoice.as_ref() == Some(&invoice.id);
    let waiting =
        matches!(subscription.status, Status::Incomplete | Status::PastDue | Status::Unpaid);
    if newest && waiting {
        subscription.status = Status::Active;
        subscriptions::save(tx, subscription);
    }
    if let Some(id) = &invoice.subscription {
        announce(tx, id);
    }
}

/// Nobody can pay a void invoice: what waited for that does not any more.
pub fn invoice_void(tx: &mut Tx<'_>, invoice: &Invoice) {
    let found = invoice.subscription.as_ref().and_then(|id| tx.state.subscriptions.get(id));
    let Some(mut subscription) = found.cloned() else {
        return;
    };
    let newest = subscription.latest_invoice.as_ref() == Some(&invoice.id);
    if subscription.pending_update.take_if(|update| update.invoice == invoice.id).is_some() {
        subscriptions::save(tx, subscription);
    } else if newest && subscription.status == Status::Incomplete {
        subscription.status = Status::IncompleteExpired;
        subscription.ended_at = Some(tx.now);
        subscriptions::save(tx, subscription);
    }
}

/// A trial shorter than the notice is announced at its start.
pub fn send_late_trial_notice(tx: &mut Tx<'_>, id: &str) {
    let Some(subscription) = tx.state.subscriptions.get(id).cloned() else {
        return;
    };
    if subscription.trial_notice_at().is_some_and(|at| at <= tx.now) {
        announce(tx, id);
        send_trial_notice(tx, id);
    }
}

fn send_trial_notice(tx: &mut Tx<'_>, id: &str) {
    let Some(mut subscription) = tx.state.subscriptions.get(id).cloned() else {
        return;
    };
    subscription.trial_notice_sent = true;
    let shown = subscriptions::view(tx.state, &subscription);
    tx.state.subscriptions.put(subscription);
    tx.emit("customer.subscription.trial_will_end", shown);
}

/// Does whatever is due for a subscription now.
pub fn subscription_due(tx: &mut Tx<'_>, id: &str) -> Result<(), ApiError> {
    let subscription = subscriptions::find(tx.state, id)?.clone();
    if subscription.status == Status::Incomplete {
        return expire_incomplete(tx, subscription);
    }
    if subscription.pending_update.as_ref().is_some_and(|update| update.expires_at <= tx.now) {
        return pending_updates::expire(tx, subscription);
    }
    if subscription.resumption_ends_at().is_some_and(|at| at <= tx.now) {
        return subscriptions::pauses::give_up(tx, subscription);
    }
    if subscription.cancel_at.is_some_and(|at| at <= tx.now) {
        cancellations::bill_rest(tx, id, "subscription_cycle")?;
        cancellations::end_now(tx, id, "cancellation_requested");
        return Ok(());
    }
    if subscription.trial_notice_at().is_some_and(|at| at <= tx.now)
        && tx.now < subscription.period_end()
    {
        send_trial_notice(tx, id);
        return Ok(());
    }
    if subscription.pause_resumes_at.is_some_and(|at| at <= tx.now) {
        return resume_collection(tx, subscription);
    }
    if subscription.upcoming_at.is_some_and(|at| at <= tx.now) {
        return upcoming_invoices::announce(tx, subscription);
    }
    if subscription.period_end() <= tx.now {
        return end_period(tx, subscription);
    }
    Ok(())
}

/// `pause_collection[resumes_at]` has come.
fn resume_collection(tx: &mut Tx<'_>, mut subscription: Subscription) -> Result<(), ApiError> {
    subscription.pause_collection = None;
    subscription.pause_resumes_at = None;
    subscriptions::save(tx, subscription);
    Ok(())
}

fn expire_incomplete(tx: &mut Tx<'_>, mut subscription: Subscription) -> Result<(), ApiError> {
    let invoice = subscription.latest_invoice.clone();
    subscription.status = Status::IncompleteExpired;
    subscription.ended_at = Some(tx.now);
    subscriptions::save(tx, subscription);
    if let Some(invoice) = invoice {
        invoices::void_now(tx, &invoice)?;
    }
    Ok(())
}

fn end_period(tx: &mut Tx<'_>, mut subscription: Subscription) -> Result<(), ApiError> {
    let trial_over = subscription.status == Status::Trialing;
    if trial_over && method_of(tx.state, &subscription).is_none() {
        match subscription.missing_payment_method.as_str() {
            "cancel" => {
                cancellations::end_now(tx, &subscription.id, "cancellation_requested");
                return Ok(());
            }
            "pause" => {
                subscription.status = Status::Paused;
                subscription.paused_at = Some(tx.now);
                let shown = subscriptions::view(tx.state, &subscription);
                subscriptions::save(tx, subscription);
                tx.emit("customer.subscription.paused", shown);
                return Ok(());
            }
            _ => subscription.status = Status::Active,
        }
    } else if trial_over {
        subscription.status = Status::Active;
    }
    renew(tx, subscription)
}

/// The items whose period has ended go on into the next one; their invoice, with nothing that
/// waits on it yet.
pub fn renewal(
    state: &State,
    subscription: &mut Subscription,
    now: i64,
) -> Result<Invoice, ApiError> {
    let customer = customers::live(state, &subscription.customer, "customer")?;
    let mut due = subscription.clone();
    due.items.retain(|item| item.period_end <= now);
    let used = usages::lines(state, &due, now)?;
    let ended = due.items.first().map(|item| (item.period_start, item.period_end));
    for item in &mut due.items {
        item.period_start = item.period_end;
        item.period_end = next_end(state, subscription, item, item.period_start)?;
    }
    let mut invoice = Invoice::new(customer, &subscription.currency, "subscription_cycle", now);
    invoice.attach_to(subscription);
    invoice.due_date = subscription.days_until_due.map(|days| now + days * DAY);
    if let Some((start, end)) = ended {
        invoice.period_start = start;
        invoice.period_end = end;
    }
    invoice.lines = period_lines(state, &due)?;
    first_periods::prorate(state, &due, &mut invoice.lines)?;
    plan_changes::remember(&mut due.items, &invoice.lines);
    invoice.lines.extend(used);
    for new in due.items {
        if let Some(item) = subscription.items.iter_mut().find(|item| item.id == new.id) {
            *item = new;
        }
    }
    Ok(invoice)
}

/// The caller ends a trial: what is due then is due now.
pub fn end_trial_now(tx: &mut Tx<'_>, id: &str, _presence: Presence) -> Result<(), ApiError> {
    let subscription = subscriptions::find(tx.state, id)?.clone();
    if !subscription.trial_notice_sent {
        send_trial_notice(tx, id);
    }
    end_period(tx, subscriptions::find(tx.state, id)?.clone())
}

/// The next period begins: new dates, an invoice, an attempt to collect it.
fn renew(tx: &mut Tx<'_>, mut subscription: Subscription) -> Result<(), ApiError> {
    let id = subscription.id.clone();
    let mut invoice = renewal(tx.state, &mut subscription, tx.now)?;
    subscription.expect_renewal(tx.state);
    invoice_items::take_pending(tx, &mut invoice, Some(&id));
    let invoice_id = invoice.id.clone();
    subscription.latest_invoice = Some(invoice_id.clone());
    let pause = subscription.pause_collection.clone();
    let unpaid = subscription.status == Status::Unpaid;
    let stays_draft = unpaid || pause.as_deref() == Some("keep_as_draft");
    invoice.auto_advance = !stays_draft;
    let automatic = subscription.collection_method == "charge_automatically";
    subscriptions::save(tx, subscription);
    invoices::announce(tx, invoice);
    if stays_draft {
        return Ok(());
    }
    invoices::finalize(tx, &invoice_id)?;
    match pause {
        Some(way) => invoices::give_up(tx, &invoice_id, &way),
        None if automatic => collect_renewal(tx, &invoice_id),
        None => Ok(()),
    }
}

/// One unattended attempt; its failure is a state of the subscription, not an error.
fn collect_renewal(tx: &mut Tx<'_>, invoice: &str) -> Result<(), ApiError> {
    let row = invoices::find(tx.state, invoice)?.clone();
    if row.status != invoices::Status::Open {
        return Ok(());
    }
    let method = method_for(tx.state, &row)
        .and_then(|method| tx.state.payment_methods.get(&method).cloned());
    match collect(tx, invoice, method.as_ref(), Presence::OffSession)? {
        Collected::Paid | Collected::Processing => Ok(()),
        Collected::NeedsAuthentication | Collected::Failed(_) => {
            retries::payment_failed(tx, invoice)
        }
    }
}

/// The time of an automatic retry has come.
pub fn invoice_due(tx: &mut Tx<'_>, id: &str) -> Result<(), ApiError> {
    collect_renewal(tx, id)
}
