//! Reading the parameters of schedules: phases, their items and lengths, default settings.

use crate::clock::{self, END_OF_TIME, Interval};
use crate::errors::ApiError;
use crate::params::Params;
use crate::payment_methods;
use crate::prices::Price;
use crate::subscription_schedules::{Phase, PhaseItem, Settings};
use crate::subscriptions::create::{MAX_ITEMS, check_alike, read_price};
use crate::subscriptions::starts::one_time_price;
use crate::transactions::Tx;

const MAX_PHASES: usize = 10;
const PRORATIONS: [&str; 3] = ["always_invoice", "create_prorations", "none"];
const METHODS: [&str; 2] = ["charge_automatically", "send_invoice"];

pub fn end_behavior(params: &mut Params) -> Result<Option<&'static str>, ApiError> {
    let word = params.word("end_behavior", &["cancel", "none", "release", "renew"])?;
    match word {
        Some("none" | "renew") => {
            let message = "The sandbox simulates the end behaviors `release` and `cancel`.";
            Err(ApiError::invalid(message).param("end_behavior"))
        }
        word => Ok(word),
    }
}

pub fn proration(params: &mut Params) -> Result<Option<&'static str>, ApiError> {
    params.word("proration_behavior", &PRORATIONS)
}

pub fn settings(
    tx: &mut Tx<'_>,
    params: &mut Params,
    settings: &mut Settings,
) -> Result<(), ApiError> {
    let Some(mut hash) = params.hash("default_settings")? else {
        return Ok(());
    };
    if let Some(word) = hash.word("billing_cycle_anchor", &["automatic", "phase_start"])? {
        settings.restarts_cycle = word == "phase_start";
    }
    if let Some(way) = hash.word("collection_method", &METHODS)? {
        settings.collection_method = Some(way.to_owned());
    }
    if let Some(days) = days_until_due(&mut hash)? {
        settings.days_until_due = Some(days);
    }
    if let Some(method) = method(tx, &mut hash)? {
        settings.default_payment_method = Some(method);
    }
    hash.change("description")?.apply(&mut settings.description);
    hash.ignore(&["automatic_tax"]);
    hash.refuse(&[
        "application_fee_percent",
        "billing_thresholds",
        "on_behalf_of",
        "transfer_data",
    ])?;
    hash.finish()
}

fn days_until_due(params: &mut Params) -> Result<Option<i64>, ApiError> {
    let Some(mut settings) = params.hash("invoice_settings")? else {
        return Ok(None);
    };
    let days = settings.within("days_until_due", 0, 730)?;
    settings.ignore(&["account_tax_ids", "custom_fields", "description", "footer", "issuer"]);
    settings.finish()?;
    Ok(days)
}

fn method(tx: &mut Tx<'_>, params: &mut Params) -> Result<Option<String>, ApiError> {
    let Some(id) = params.text("default_payment_method")? else {
        return Ok(None);
    };
    let name = params.name("default_payment_method");
    Ok(Some(payment_methods::resolve(tx, &id, &name)?.id))
}

/// All phases; the first begins at `start` unless it says otherwise, each later one at the end of
/// the one before it.
pub fn phases(
    tx: &mut Tx<'_>,
    params: &mut Params,
    start: Option<i64>,
) -> Result<Vec<Phase>, ApiError> {
    let hashes = params.hashes("phases")?;
    if start.is_none() && !hashes.iter().any(|hash| hash.has("start_date")) {
        let message = "The subscription schedule update is missing at least one phase with a \
                       `start_date` to anchor end dates to.";
        return Err(ApiError::invalid(message).param("phases"));
    }
    let start = start.unwrap_or(tx.now);
    if hashes.is_empty() {
        return Err(ApiError::missing_parameter("phases"));
    }
    if MAX_PHASES < hashes.len() {
        return Err(params.invalid("phases", "A schedule has at most 10 phases"));
    }
    let mut phases: Vec<Phase> = Vec::new();
    for mut hash in hashes {
        let from = phases.last().map_or(start, |phase| phase.end_date);
        let phase = phase(tx, &mut hash, from)?;
        hash.finish()?;
        if phases.first().is_some_and(|first| first.currency != phase.currency) {
            let message = "All phases of a schedule must use the same currency.";
            return Err(ApiError::invalid(message).param("phases"));
        }
        phases.push(phase);
    }
    Ok(phases)
}

fn phase(tx: &mut Tx<'_>, hash: &mut Params, from: i64) -> Result<Phase, ApiError> {
    let (items, prices) = items(tx, hash)?;
    let currency = prices[0].currency.clone();
    if let Some(given) = hash.text("currency")?
        && given != currency
    {
        return Err(hash.invalid("currency", "The prices use another currency"));
    }
    let start_date = start_date(hash, from, tx.now)?;
    let end_date = end_date(hash, start_date, &prices[0], tx.now)?;
    if end_date <= start_date {
        let name = hash.name("end_date");
        let message = format!("Invalid {name}: a phase must end after it starts.");
        return Err(ApiError::invalid(message).param(&name));
    }
    let trial = hash.boolean("trial")?.unwrap_or(false);
    let trial_end = hash.timestamp("trial_end")?.or(trial.then_some(end_date));
    if trial_end.is_some_and(|end| end <= start_date || end_date < end) {
        return Err(hash.invalid("trial_end", "The trial must end within its phase"));
    }
    let proration_behavior = proration(hash)?.unwrap_or("create_prorations").to_owned();
    let anchor = hash.word("billing_cycle_anchor", &["automatic", "phase_start"])?;
    let way = hash.word("collection_method", &METHODS)?;
    let extra = extra(tx, hash, &currency)?;
    let phase = Phase {
        start_date,
        end_date,
        currency,
        items,
        extra,
        trial_end,
        proration_behavior,
        billing_cycle_anchor: anchor.map(str::to_owned),
        collection_method: way.map(str::to_owned),
        days_until_due: days_until_due(hash)?,
        default_payment_method: method(tx, hash)?,
        description: hash.text("description")?,
        metadata: hash.metadata()?.fresh(),
    };
    hash.ignore(&["automatic_tax"]);
    hash.refuse(&[
        "application_fee_percent",
        "billing_thresholds",
        "default_tax_rates",
        "discounts",
        "on_behalf_of",
        "transfer_data",
    ])?;
    Ok(phase)
}

fn items(tx: &mut Tx<'_>, hash: &mut Params) -> Result<(Vec<PhaseItem>, Vec<Price>), ApiError> {
    let hashes = hash.hashes("items")?;
    if hashes.is_empty() {
        return Err(ApiError::missing_parameter(&hash.name("items")));
    }
    if MAX_ITEMS < hashes.len() {
        return Err(hash.invalid("items", "Too many items"));
    }
    let mut items = Vec::new();
    let mut prices = Vec::new();
    for mut item in hashes {
        let price = read_price(tx, &mut item)?;
        let price = price.ok_or_else(|| ApiError::missing_parameter(&item.name("price")))?;
        let quantity = item.quantity("quantity")?.unwrap_or(1);
        price.amount(quantity)?;
        let metadata = item.metadata()?.fresh();
        item.refuse(&["billing_thresholds", "discounts", "tax_rates"])?;
        item.finish()?;
        items.push(PhaseItem { price: price.id.clone(), quantity, metadata });
        prices.push(price);
    }
    check_alike(&prices)?;
    Ok((items, prices))
}

fn extra(tx: &mut Tx<'_>, hash: &mut Params, currency: &str) -> Result<Vec<PhaseItem>, ApiError> {
    let mut items = Vec::new();
    for mut item in hash.hashes("add_invoice_items")? {
        let price = one_time_price(tx, &mut item, currency)?.id;
        let quantity = item.quantity("quantity")?.unwrap_or(1);
        let metadata = item.metadata()?.fresh();
        item.ignore(&["discountable", "period"]);
        item.refuse(&["discounts", "tax_rates"])?;
        item.finish()?;
        items.push(PhaseItem { price, quantity, metadata });
    }
    Ok(items)
}

fn start_date(hash: &mut Params, from: i64, now: i64) -> Result<i64, ApiError> {
    if hash.text_is("start_date", "now") {
        hash.ignore(&["start_date"]);
        return Ok(now);
    }
    Ok(hash.timestamp("start_date")?.unwrap_or(from))
}

/// A phase ends at a date, after a duration, or after so many intervals of its first price.
fn end_date(hash: &mut Params, start: i64, price: &Price, now: i64) -> Result<i64, ApiError> {
    let duration = match hash.hash("duration")? {
        None => None,
        Some(mut duration) => {
            let word = duration.word("interval", &Interval::NAMES)?;
            let interval = word
                .and_then(Interval::parse)
                .ok_or_else(|| ApiError::missing_parameter(&duration.name("interval")))?;
            let count = duration.within("interval_count", 1, 1_000)?.unwrap_or(1);
            duration.finish()?;
            Some((interval, count))
        }
    };
    let iterations = hash.within("iterations", 1, 1_000)?;
    let given = [hash.has("end_date"), duration.is_some(), iterations.is_some()];
    if 1 < given.iter().filter(|given| **given).count() {
        let message = "You may only specify one of these parameters: duration, end_date, \
                       iterations.";
        return Err(ApiError::invalid(message).param(&hash.name("end_date")));
    }
    if hash.text_is("end_date", "now") {
        hash.ignore(&["end_date"]);
        return Ok(now);
    }
    if let Some(end) = hash.timestamp("end_date")? {
        return Ok(end);
    }
    if let Some((interval, count)) = duration {
        return Ok(clock::add(start, interval, count));
    }
    let Some(recurring) = price.recurring else {
        return Ok(END_OF_TIME);
    };
    let count = recurring.interval_count.saturating_mul(iterations.unwrap_or(1));
    Ok(clock::add(start, recurring.interval, count))
}
