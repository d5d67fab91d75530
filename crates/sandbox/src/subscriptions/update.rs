//! Updating a subscription: plan, trial, cancellation, pause.

use serde_json::Value;

use crate::errors::ApiError;
use crate::params::Params;
use crate::plan_changes::Change;
use crate::prices::{self, Price};
use crate::prorations::Billed;
use crate::requests::Call;
use crate::state::State;
use crate::subscriptions::create::{
    MAX_ITEMS, check_alike, read_common, read_item, read_price, read_quantity, read_trial,
};
use crate::subscriptions::{
    Status, Subscription, SubscriptionItem, discounts, find, save, starts, view,
};
use crate::tax_rates;
use crate::transactions::Tx;
use crate::{
    billing, cancellations, currency_options, early_ends, invoice_items, pending_updates,
    plan_changes, subscription_schedules,
};

/// A subscription that has ended is not changed any more.
pub fn check_changeable(subscription: &Subscription) -> Result<(), ApiError> {
    if subscription.status.is_final() {
        let message = "A canceled subscription can only update its cancellation_details and \
                       metadata.";
        return Err(ApiError::invalid(message));
    }
    if subscription.status == Status::Incomplete {
        let message = "A subscription whose first invoice is not paid can only update its \
                       metadata, description and payment method.";
        return Err(ApiError::invalid(message));
    }
    Ok(())
}

/// What can be changed before the first payment.
const HARMLESS: [&str; 7] = [
    "cancel_at_period_end",
    "cancellation_details",
    "default_payment_method",
    "default_source",
    "description",
    "metadata",
    "payment_settings",
];

pub fn update(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let mut subscription = find(tx.state, call.id())?.clone();
    let id = subscription.id.clone();
    let params = &mut call.params;
    let incomplete = subscription.status == Status::Incomplete;
    let harmless = incomplete && params.only_has(&HARMLESS);
    if !harmless && !params.only_has(&["metadata", "cancellation_details"]) {
        check_changeable(&subscription)?;
    }
    pending_updates::check(params)?;
    let mut change = Change::read(params, &subscription, tx.now)?;
    let old_end = subscription.cancel_at;
    read_cancellations(params, &mut subscription, tx.now)?;
    read_common(tx, params, &mut subscription)?;
    if params.has("pause_collection") {
        read_pause(params, &mut subscription, tx.now)?;
    }
    let trial = read_trial_change(params, &mut subscription, tx.now)?;
    let mut items = read_item_changes(tx, params, &subscription)?;
    change.anchor_now = read_anchor(params)? == Some("now");
    let extra = starts::read_extra(tx, params, &subscription)?;
    params.ignore(&["trial_from_plan"]);
    params.finish()?;
    for item in extra {
        invoice_items::announce(tx, item);
    }
    if subscription.cancel_at != old_end && change.proration != "none" {
        for item in early_ends::follow(tx, &mut subscription)? {
            invoice_items::announce(tx, item);
        }
    }
    if let TrialChange::Starts(end) = trial {
        start_trial(tx, &mut subscription, end, &change)?;
        for item in items.iter_mut().flatten() {
            item.period_start = tx.now;
            item.period_end = end;
            item.billed = Some(Billed { amount: 0, start: tx.now, end });
        }
    }
    if !matches!(trial, TrialChange::None) {
        subscription.expect_renewal(tx.state);
    }
    match items {
        Some(items) => plan_changes::apply_change(tx, subscription, items, &change)?,
        None if change.anchor_now => {
            let items = subscription.items.clone();
            plan_changes::apply_change(tx, subscription, items, &change)?;
        }
        None if change.proration == "always_invoice"
            && subscription.cancel_at != old_end
            && invoice_items::has_pending(tx.state, &subscription) =>
        {
            plan_changes::invoice_now(tx, subscription, Vec::new(), "subscription_update")?;
        }
        None => save(tx, subscription),
    }
    subscription_schedules::phases::follow(tx, &find(tx.state, &id)?.clone());
    if matches!(trial, TrialChange::EndsNow) {
        billing::end_trial_now(tx, &id, change.presence)?;
    }
    Ok(view(tx.state, find(tx.state, &id)?))
}

fn read_cancellations(
    params: &mut Params,
    subscription: &mut Subscription,
    now: i64,
) -> Result<(), ApiError> {
    let touches = params.has("cancel_at") || params.has("cancel_at_period_end");
    if let Some(schedule) = subscription.schedule.as_ref().filter(|_| touches) {
        return Err(ApiError::invalid(format!(
            "The subscription is managed by the subscription schedule `{schedule}`, and updating \
             any cancelation behavior directly is not allowed. Please update the schedule instead."
        )));
    }
    if params.take_if_empty("cancel_at") {
        cancellations::forget(subscription);
    }
    let at_period_end = params.boolean("cancel_at_period_end")?;
    let cancel_at = starts::read_cancel_at(params)?;
    if at_period_end == Some(true) && cancel_at.is_some() {
        let message = "You may only specify one of these parameters: cancel_at, \
                       cancel_at_period_end.";
        return Err(ApiError::invalid(message).param("cancel_at"));
    }
    match at_period_end {
        Some(true) => cancellations::request(subscription, now),
        Some(false) => cancellations::forget(subscription),
        None => {}
    }
    if let Some(choice) = cancel_at {
        starts::plan_cancellation(subscription, choice, now)?;
    }
    read_cancellation(params, subscription)
}

/// `billing_cycle_anchor`: a hash today, a word in older versions.
pub fn read_anchor(params: &mut Params) -> Result<Option<&'static str>, ApiError> {
    let words = ["now", "unchanged"];
    if params.is_text("billing_cycle_anchor") {
        return params.word("billing_cycle_anchor", &words);
    }
    let Some(mut hash) = params.hash("billing_cycle_anchor")? else {
        return Ok(None);
    };
    let word = hash.word("type", &words)?;
    hash.finish()?;
    Ok(word)
}

enum TrialChange {
    None,
    Moved,
    EndsNow,
    /// A subscription that was paid so far is free until then.
    Starts(i64),
}

/// A trial can be moved or ended; the billing anchor moves with it.
fn read_trial_change(
    params: &mut Params,
    subscription: &mut Subscription,
    now: i64,
) -> Result<TrialChange, ApiError> {
    if !params.has("trial_end") {
        return Ok(TrialChange::None);
    }
    let ends_now = params.is_text("trial_end") && params.text_is("trial_end", "now");
    let trialing = subscription.status == Status::Trialing;
    if ends_now {
        params.ignore(&["trial_end"]);
        if !trialing {
            return Ok(TrialChange::None);
        }
        subscription.trial_end = Some(now);
    } else {
        read_trial(params, subscription, now)?;
    }
    let end = subscription.trial_end.unwrap_or(now);
    if !trialing {
        return Ok(TrialChange::Starts(end));
    }
    subscription.set_anchor(end);
    subscription.trial_notice_sent = false;
    for item in &mut subscription.items {
        item.period_end = end;
    }
    Ok(if ends_now { TrialChange::EndsNow } else { TrialChange::Moved })
}

/// What is paid and not used comes back; the next payment is due when the trial ends.
fn start_trial(
    tx: &mut Tx<'_>,
    subscription: &mut Subscription,
    end: i64,
    change: &Change,
) -> Result<(), ApiError> {
    if change.proration != "none" {
        for item in plan_changes::unused(tx, subscription)? {
            invoice_items::announce(tx, item);
        }
    }
    subscription.status = Status::Trialing;
    subscription.trial_start = Some(tx.now);
    subscription.trial_end = Some(end);
    subscription.trial_notice_sent = false;
    subscription.set_anchor(end);
    for item in &mut subscription.items {
        item.period_start = tx.now;
        item.period_end = end;
        item.billed = Some(Billed { amount: 0, start: tx.now, end });
    }
    Ok(())
}

pub(super) fn read_cancellation(
    params: &mut Params,
    subscription: &mut Subscription,
) -> Result<(), ApiError> {
    let Some(mut details) = params.hash("cancellation_details")? else {
        return Ok(());
    };
    details.change("comment")?.apply(&mut subscription.cancellation.comment);
    details.change("feedback")?.apply(&mut subscription.cancellation.feedback);
    details.finish()
}

fn read_pause(
    params: &mut Params,
    subscription: &mut Subscription,
    now: i64,
) -> Result<(), ApiError> {
    subscription.pause_collection = None;
    subscription.pause_resumes_at = None;
    if params.take_if_empty("pause_collection") {
        return Ok(());
    }
    let Some(mut pause) = params.hash("pause_collection")? else {
        return Ok(());
    };
    let ways = ["keep_as_draft", "mark_uncollectible", "void"];
    let way = pause.word("behavior", &ways)?;
    let way = way.ok_or_else(|| ApiError::missing_parameter(&pause.name("behavior")))?;
    let resumes_at = pause.timestamp("resumes_at")?;
    if resumes_at.is_some_and(|at| at <= now) {
        return Err(pause.invalid("resumes_at", "The timestamp must be in the future"));
    }
    pause.finish()?;
    subscription.pause_collection = Some(way.to_owned());
    subscription.pause_resumes_at = resumes_at;
    Ok(())
}

/// The items as they will be, or nothing when `items` is absent.
fn read_item_changes(
    tx: &mut Tx<'_>,
    params: &mut Params,
    subscription: &Subscription,
) -> Result<Option<Vec<SubscriptionItem>>, ApiError> {
    if !params.has("items") {
        return Ok(None);
    }
    let mut items = subscription.items.clone();
    for mut hash in params.hashes("items")? {
        let Some(id) = hash.text("id")? else {
            let (mut item, _) = read_item(tx, subscription, &mut hash)?;
            item.period_start = tx.now;
            item.period_end = subscription.period_end();
            items.push(item);
            continue;
        };
        let position = items.iter().position(|item| item.id == id);
        let position = position
            .ok_or_else(|| ApiError::no_such("subscription item", &id, &hash.name("id")))?;
        if hash.boolean("deleted")?.unwrap_or(false) {
            items.remove(position);
        } else {
            read_item_change(tx, &mut hash, subscription, &mut items[position])?;
        }
        hash.ignore(&["clear_usage"]);
        hash.finish()?;
    }
    check_items(tx.state, subscription, &items)?;
    Ok(Some(items))
}

/// What a change says of one item: its price, its quantity, its metadata.
pub fn read_item_change(
    tx: &mut Tx<'_>,
    hash: &mut Params,
    subscription: &Subscription,
    item: &mut SubscriptionItem,
) -> Result<(), ApiError> {
    let was_metered = tx.state.prices.get(&item.price).is_some_and(Price::is_metered);
    if let Some(price) = read_price(tx, hash)? {
        item.price = price.id;
    }
    let price = prices::existing(tx.state, &item.price, "items")?;
    let quantity = read_quantity(hash, price)?;
    item.quantity = match quantity {
        Some(quantity) => quantity,
        None if price.is_metered() => 0,
        None if was_metered => 1,
        None => item.quantity,
    };
    price.amount(item.quantity)?;
    hash.metadata()?.apply(&mut item.metadata);
    discounts::read_of_item(tx, hash, subscription, item)?;
    if let Some(rates) = tax_rates::read_list(tx.state, hash, "tax_rates")? {
        item.tax_rates = rates;
    }
    hash.refuse(&["billing_thresholds"])
}

/// A subscription has some items, all in its currency, and in classic mode one interval.
pub fn check_items(
    state: &State,
    subscription: &Subscription,
    items: &[SubscriptionItem],
) -> Result<(), ApiError> {
    let found = items.iter().map(|item| prices::existing(state, &item.price, "items").cloned());
    let prices = found.collect::<Result<Vec<Price>, ApiError>>()?;
    if prices.is_empty() || MAX_ITEMS < prices.len() {
        return Err(ApiError::invalid("A subscription has from 1 to 20 items.").param("items"));
    }
    let currency = Some(subscription.currency.as_str());
    let prices = currency_options::in_one_currency(prices, currency, "items")?;
    check_alike(&prices)?;
    check_intervals(subscription, &prices)
}

/// Classic billing knows one interval per subscription.
pub fn check_intervals(subscription: &Subscription, prices: &[Price]) -> Result<(), ApiError> {
    let interval = |price: &Price| {
        price.recurring.as_ref().map(|recurring| (recurring.interval, recurring.interval_count))
    };
    let mixed = prices.windows(2).any(|pair| interval(&pair[0]) != interval(&pair[1]));
    if mixed && !subscription.is_flexible() {
        let message = "Currently, all plans on a subscription must have the same recurring \
                       interval, unless its billing mode is `flexible`.";
        return Err(ApiError::invalid(message).param("items"));
    }
    Ok(())
}
