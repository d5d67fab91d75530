//! Creating a subscription, and the parameters that updates share with it.

use serde_json::Value;

use crate::automatic_taxes;
use crate::clock::DAY;
use crate::errors::ApiError;
use crate::params::Params;
use crate::prices::Price;
use crate::requests::Call;
use crate::state::State;
use crate::subscriptions::starts::CancelAt;
use crate::subscriptions::update::check_intervals;
use crate::subscriptions::{
    Subscription, SubscriptionItem, discounts, find, recurring_price, starts, view,
};
use crate::tax_rates;
use crate::transactions::Tx;
use crate::{
    billing, cancellations, currency_options, customers, invoice_items, payment_methods,
    plan_changes, prices, products,
};

pub const MAX_ITEMS: usize = 20;

/// The recurring price an item names, or the one its `price_data` makes.
pub fn read_price(tx: &mut Tx<'_>, item: &mut Params) -> Result<Option<Price>, ApiError> {
    let param = item.name("price");
    let id = match item.text("price")? {
        None => item.text("plan")?,
        id => id,
    };
    let Some(mut data) = item.hash("price_data")? else {
        return id.map(|id| recurring_price(tx.state, &id, &param)).transpose();
    };
    if id.is_some() {
        let message = "You may only specify one of these parameters: price, price_data.";
        return Err(ApiError::invalid(message).param(&param));
    }
    if !data.has("recurring") {
        return Err(ApiError::missing_parameter(&data.name("recurring")));
    }
    let product = data.required("product")?;
    products::existing(tx.state, &product, &data.name("product"))?;
    let mut price = prices::from_params(tx, &mut data, &product)?;
    data.finish()?;
    // Nobody can buy it again.
    price.active = false;
    prices::save(tx, price.clone());
    Ok(Some(price))
}

pub fn read_item(
    tx: &mut Tx<'_>,
    subscription: &Subscription,
    item: &mut Params,
) -> Result<(SubscriptionItem, Price), ApiError> {
    let price = read_price(tx, item)?;
    let price = price.ok_or_else(|| ApiError::missing_parameter(&item.name("price")))?;
    let quantity = read_quantity(item, &price)?.unwrap_or(i64::from(!price.is_metered()));
    price.amount(quantity)?;
    let mut row = SubscriptionItem::new(&price.id, quantity, tx.now);
    row.metadata = item.metadata()?.fresh();
    discounts::read_of_item(tx, item, subscription, &mut row)?;
    if let Some(rates) = tax_rates::read_list(tx.state, item, "tax_rates")? {
        row.tax_rates = rates;
    }
    item.refuse(&["billing_thresholds"])?;
    item.finish()?;
    Ok((row, price))
}

/// What is metered has no quantity: usage decides.
pub fn read_quantity(item: &mut Params, price: &Price) -> Result<Option<i64>, ApiError> {
    if price.is_metered() && item.has("quantity") {
        let name = item.name("quantity");
        let message = format!(
            "Quantity should not be specified where usage_type is `metered`. Remove {name}."
        );
        return Err(ApiError::invalid(message).param(&name));
    }
    item.quantity("quantity")
}

/// The items of a subscription may renew in different intervals, but not in different currencies.
pub fn check_alike(prices: &[Price]) -> Result<(), ApiError> {
    if prices.windows(2).any(|pair| pair[0].currency != pair[1].currency) {
        return Err(ApiError::invalid("All prices must use the same currency.").param("items"));
    }
    Ok(())
}

pub fn create(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let params = &mut call.params;
    let customer = params.required("customer")?;
    customers::live(tx.state, &customer, "customer")?;
    let hashes = params.hashes("items")?;
    if hashes.is_empty() {
        return Err(ApiError::missing_parameter("items"));
    }
    if MAX_ITEMS < hashes.len() {
        return Err(params.invalid("items", "Too many items"));
    }
    let mut subscription = Subscription::new(&customer, "", tx.now);
    let mut items = Vec::new();
    let mut prices = Vec::new();
    for mut hash in hashes {
        let (item, price) = read_item(tx, &subscription, &mut hash)?;
        items.push(item);
        prices.push(price);
    }
    let currency = params.text("currency")?;
    let prices = currency_options::in_one_currency(prices, currency.as_deref(), "items")?;
    check_alike(&prices)?;
    subscription.currency.clone_from(&prices[0].currency);
    subscription.items = items;
    read_trial(params, &mut subscription, tx.now)?;
    if params.boolean("trial_from_plan")?.unwrap_or(false) && subscription.trial_end.is_none() {
        let days = prices.iter().filter_map(|price| price.recurring?.trial_period_days).max();
        subscription.trial_start = days.map(|_| tx.now);
        subscription.trial_end = days.map(|days| tx.now + days * DAY);
    }
    let cancel_at = starts::read_cancel_at(params)?;
    read_common(tx, params, &mut subscription)?;
    starts::read(params, &mut subscription, &prices, tx.now)?;
    check_intervals(&subscription, &prices)?;
    let behavior = params.word("payment_behavior", &plan_changes::BEHAVIORS)?;
    if behavior == Some("pending_if_incomplete") {
        let message = "`pending_if_incomplete` is only used with updates and cannot be passed \
                       when creating a subscription.";
        return Err(ApiError::invalid(message).param("payment_behavior"));
    }
    let at_period_end = params.boolean("cancel_at_period_end")?.unwrap_or(false);
    let off_session = params.boolean("off_session")?.unwrap_or(false);
    let extra = starts::read_extra(tx, params, &subscription)?;
    params.finish()?;
    for item in extra {
        invoice_items::announce(tx, item);
    }
    let prorates = !subscription.free_until_anchor;
    if let Some(choice @ CancelAt::Time(_)) = cancel_at.filter(|_| prorates) {
        starts::plan_cancellation(&mut subscription, choice, tx.now)?;
    }
    let id = subscription.id.clone();
    billing::create(tx, subscription, behavior.unwrap_or("allow_incomplete"), off_session)?;
    if at_period_end {
        cancellations::schedule(tx, &id);
    }
    if let Some(cancel_at) = cancel_at
        && find(tx.state, &id)?.cancel_at.is_none()
    {
        starts::set_cancel_at(tx, &id, cancel_at)?;
    }
    Ok(view(tx.state, find(tx.state, &id)?))
}

pub(super) fn read_trial(
    params: &mut Params,
    subscription: &mut Subscription,
    now: i64,
) -> Result<(), ApiError> {
    let days = params.within("trial_period_days", 0, 730)?;
    let end = match params.text("trial_end")?.as_deref() {
        None => None,
        Some("now") => Some(now),
        Some(text) => match text.parse::<i64>() {
            Ok(end) if now < end && end <= now + 730 * DAY => Some(end),
            Ok(end) if now < end => {
                let what = "Invalid timestamp: must be at most 730 days in the future";
                return Err(params.invalid("trial_end", what));
            }
            _ => {
                return Err(params.invalid("trial_end", "Invalid timestamp: must be in the future"));
            }
        },
    };
    let end = end.or(days.map(|days| now + days * DAY)).filter(|end| now < *end);
    if let Some(end) = end {
        subscription.trial_start = subscription.trial_start.or(Some(now));
        subscription.trial_end = Some(end);
    }
    Ok(())
}

/// `trial_settings[end_behavior][missing_payment_method]`; checkout has it too.
pub fn read_trial_settings(params: &mut Params) -> Result<Option<&'static str>, ApiError> {
    let Some(mut settings) = params.hash("trial_settings")? else {
        return Ok(None);
    };
    let Some(mut behavior) = settings.hash("end_behavior")? else {
        return Err(ApiError::missing_parameter("trial_settings[end_behavior]"));
    };
    let word = behavior.word("missing_payment_method", &["cancel", "create_invoice", "pause"])?;
    behavior.ignore(&["billing_cycle_anchor"]);
    behavior.finish()?;
    settings.finish()?;
    Ok(word)
}

pub(super) fn read_common(
    tx: &mut Tx<'_>,
    params: &mut Params,
    subscription: &mut Subscription,
) -> Result<(), ApiError> {
    if let Some(word) = read_trial_settings(params)? {
        subscription.missing_payment_method = word.to_owned();
    }
    if let Some(id) = params.text("default_payment_method")? {
        let method = payment_methods::resolve(tx, &id, "default_payment_method")?;
        if method.customer.as_ref() != Some(&subscription.customer) {
            return Err(ApiError::no_such("PaymentMethod", &id, "default_payment_method"));
        }
        subscription.default_payment_method = Some(method.id);
    }
    let ways = ["charge_automatically", "send_invoice"];
    if let Some(way) = params.word("collection_method", &ways)? {
        subscription.collection_method = way.to_owned();
    }
    if let Some(days) = params.within("days_until_due", 0, 730)? {
        subscription.days_until_due = Some(days);
    }
    if subscription.collection_method == "send_invoice" && subscription.days_until_due.is_none() {
        let message = "If collection_method is `send_invoice`, you must pass days_until_due.";
        return Err(ApiError::invalid(message).param("days_until_due"));
    }
    discounts::read(tx, params, subscription)?;
    read_taxes(tx.state, params, subscription)?;
    params.change("description")?.apply(&mut subscription.description);
    params.metadata()?.apply(&mut subscription.metadata);
    if let Some(mut settings) = params.hash("payment_settings")? {
        let saves = settings.word("save_default_payment_method", &["off", "on_subscription"])?;
        if let Some(word) = saves {
            subscription.saves_default_method = word == "on_subscription";
        }
        if let Some(types) = settings.texts("payment_method_types")? {
            subscription.payment_method_types = (!types.is_empty()).then_some(types);
        }
        settings.ignore(&["payment_method_options"]);
        settings.finish()?;
    }
    params.ignore(&["invoice_settings"]);
    params.refuse(&[
        "application_fee_percent",
        "billing_schedules",
        "billing_thresholds",
        "default_source",
        "on_behalf_of",
        "pending_invoice_item_interval",
        "transfer_data",
    ])
}

/// `default_tax_rates` and `automatic_tax`, of which only one can decide.
fn read_taxes(
    state: &State,
    params: &mut Params,
    subscription: &mut Subscription,
) -> Result<(), ApiError> {
    if let Some(rates) = tax_rates::read_list(state, params, "default_tax_rates")? {
        subscription.default_tax_rates = rates;
    }
    if let Some(automatic) = automatic_taxes::read(params)? {
        if automatic.is_on() {
            automatic_taxes::require_location(state, &subscription.customer)?;
        }
        subscription.automatic_tax = automatic;
    }
    automatic_taxes::check_alone(subscription.automatic_tax, &subscription.default_tax_rates)
}
