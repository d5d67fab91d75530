//! Updating a subscription: plan, trial, cancellation, pause.

use serde_json::Value;

use crate::errors::ApiError;
use crate::params::Params;
use crate::prices::{self, Price};
use crate::requests::Call;
use crate::subscriptions::create::{
    MAX_ITEMS, check_alike, read_common, read_item, read_price, read_quantity, read_trial,
};
use crate::subscriptions::{Status, Subscription, SubscriptionItem, find, save, view};
use crate::transactions::Tx;
use crate::{billing, cancellations, currency_options, plan_changes, subscription_schedules};

pub fn update(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let mut subscription = find(tx.state, call.id())?.clone();
    let id = subscription.id.clone();
    let params = &mut call.params;
    let touches_more = !params.only_has(&["metadata", "cancellation_details"]);
    if subscription.status.is_final() && touches_more {
        let message = "A canceled subscription can only update its cancellation_details and \
                       metadata.";
        return Err(ApiError::invalid(message));
    }
    if let Some(schedule) = &subscription.schedule
        && (params.has("cancel_at") || params.has("cancel_at_period_end"))
    {
        return Err(managed_by(schedule));
    }
    let clears_cancel_at = params.is_text("cancel_at") && params.take_if_empty("cancel_at");
    if clears_cancel_at {
        cancellations::forget(&mut subscription);
    }
    read_common(tx, params, &mut subscription)?;
    read_cancellation(params, &mut subscription)?;
    if params.has("pause_collection") {
        subscription.pause_collection = read_pause(params)?;
    }
    let at_period_end = params.boolean("cancel_at_period_end")?;
    let trial_end = params.has("trial_end");
    let was_trialing = subscription.status == Status::Trialing;
    if trial_end {
        read_trial_change(params, &mut subscription, tx.now)?;
    }
    let ways = ["always_invoice", "create_prorations", "none"];
    let proration = params.word("proration_behavior", &ways)?.unwrap_or("create_prorations");
    let changes = read_item_changes(tx, params, &subscription)?;
    let anchor_now = params.word("billing_cycle_anchor", &["now", "unchanged"])? == Some("now");
    params.ignore(&["payment_behavior", "off_session", "proration_date", "trial_from_plan"]);
    params.finish()?;
    match at_period_end {
        Some(true) => cancellations::request(&mut subscription, tx.now),
        Some(false) => cancellations::forget(&mut subscription),
        None => {}
    }
    let ends_trial_now = was_trialing && trial_end && subscription.period_end() <= tx.now;
    match changes {
        Some(items) => plan_changes::apply(tx, subscription, items, proration, anchor_now)?,
        None => save(tx, subscription),
    }
    subscription_schedules::phases::follow(tx, &find(tx.state, &id)?.clone());
    if ends_trial_now {
        billing::subscription_due(tx, &id)?;
    }
    Ok(view(tx.state, find(tx.state, &id)?))
}

fn managed_by(schedule: &str) -> ApiError {
    ApiError::invalid(format!(
        "The subscription is managed by the subscription schedule `{schedule}`, and updating any \
         cancelation behavior directly is not allowed. Please update the schedule instead."
    ))
}

/// A trial can be moved or ended; the billing anchor moves with it.
fn read_trial_change(
    params: &mut Params,
    subscription: &mut Subscription,
    now: i64,
) -> Result<(), ApiError> {
    let ends_now = params.is_text("trial_end") && params.text_is("trial_end", "now");
    if subscription.status != Status::Trialing {
        return params.refuse(&["trial_end"]);
    }
    if ends_now {
        params.ignore(&["trial_end"]);
        subscription.trial_end = Some(now);
    } else {
        read_trial(params, subscription, now)?;
    }
    let end = subscription.trial_end.unwrap_or(now);
    subscription.billing_cycle_anchor = end;
    subscription.trial_notice_sent = false;
    for item in &mut subscription.items {
        item.period_end = end;
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

fn read_pause(params: &mut Params) -> Result<Option<String>, ApiError> {
    if params.take_if_empty("pause_collection") {
        return Ok(None);
    }
    let Some(mut pause) = params.hash("pause_collection")? else {
        return Ok(None);
    };
    let ways = ["keep_as_draft", "mark_uncollectible", "void"];
    let way = pause.word("behavior", &ways)?;
    pause.refuse(&["resumes_at"])?;
    pause.finish()?;
    Ok(way.map(str::to_owned))
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
            let (mut item, _) = read_item(tx, &mut hash)?;
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
            let item = &mut items[position];
            let was_metered = tx.state.prices.get(&item.price).is_some_and(Price::is_metered);
            if let Some(price) = read_price(tx, &mut hash)? {
                item.price = price.id;
            }
            let price = prices::existing(tx.state, &item.price, "items")?;
            let quantity = read_quantity(&mut hash, price)?;
            item.quantity = match quantity {
                Some(quantity) => quantity,
                None if price.is_metered() => 0,
                None if was_metered => 1,
                None => item.quantity,
            };
            hash.metadata()?.apply(&mut item.metadata);
        }
        hash.ignore(&["clear_usage"]);
        hash.refuse(&["discounts", "tax_rates", "billing_thresholds"])?;
        hash.finish()?;
    }
    let found = items.iter().map(|item| prices::existing(tx.state, &item.price, "items").cloned());
    let prices = found.collect::<Result<Vec<Price>, ApiError>>()?;
    if prices.is_empty() || MAX_ITEMS < prices.len() {
        return Err(ApiError::invalid("A subscription has from 1 to 20 items.").param("items"));
    }
    let currency = Some(subscription.currency.as_str());
    check_alike(&currency_options::in_one_currency(prices, currency, "items")?)?;
    Ok(Some(items))
}
