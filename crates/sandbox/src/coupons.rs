//! Coupons: what is taken off, for how long, how often. A deleted coupon is gone from the API, but
//! the discounts made from it go on.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::clock::{self, Interval};
use crate::errors::ApiError;
use crate::params::{MAX_AMOUNT, Metadata, Params};
use crate::percents::{self, Percent};
use crate::requests::Call;
use crate::state::{Row, State};
use crate::transactions::Tx;
use crate::{currencies, ids, lists};

const MAX_NAME: usize = 40;
const MAX_REDEMPTIONS: i64 = 2_147_483_647;
const MAX_MONTHS: i64 = 1_200;
const MAX_YEARS_TO_REDEEM: i64 = 5;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Coupon {
    pub id: String,
    pub created: i64,
    pub name: Option<String>,
    pub off: Off,
    pub duration: Duration,
    pub max_redemptions: Option<i64>,
    pub redeem_by: Option<i64>,
    /// The products it is good for; none means all.
    pub products: Vec<String>,
    pub times_redeemed: i64,
    pub metadata: Metadata,
    pub deleted: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Off {
    Percent(Percent),
    /// The amounts by currency, the coupon's own currency among them.
    Amount {
        currency: String,
        amounts: BTreeMap<String, i64>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Duration {
    Once,
    Repeating { months: i64 },
    Forever,
}

impl Row for Coupon {
    const KIND: &'static str = "coupon";
    fn id(&self) -> &str {
        &self.id
    }
}

impl Coupon {
    pub fn is_valid(&self, now: i64) -> bool {
        !self.deleted
            && self.redeem_by.is_none_or(|last| now < last)
            && self.max_redemptions.is_none_or(|most| self.times_redeemed < most)
    }

    /// What it takes off in a currency; none where it has no amount in it.
    pub fn amount_off(&self, currency: &str) -> Option<i64> {
        match &self.off {
            Off::Percent(_) => None,
            Off::Amount { amounts, .. } => amounts.get(currency).copied(),
        }
    }

    pub fn works_in(&self, currency: &str) -> bool {
        matches!(self.off, Off::Percent(_)) || self.amount_off(currency).is_some()
    }

    pub fn covers(&self, product: Option<&str>) -> bool {
        let listed = |product: &str| self.products.iter().any(|listed| listed == product);
        self.products.is_empty() || product.is_some_and(listed)
    }

    /// When a discount that begins now ends.
    pub fn end(&self, start: i64) -> Option<i64> {
        match self.duration {
            Duration::Repeating { months } => Some(clock::add(start, Interval::Month, months)),
            Duration::Once | Duration::Forever => None,
        }
    }
}

pub fn view(state: &State, coupon: &Coupon) -> Value {
    if coupon.deleted {
        return json!({"id": coupon.id, "object": "coupon", "deleted": true});
    }
    shown(state, coupon)
}

/// A coupon as discounts show it: whole, even when it has been deleted since.
pub fn shown(state: &State, coupon: &Coupon) -> Value {
    let (percent_off, amount_off, currency) = match &coupon.off {
        Off::Percent(percent) => (percent.number(), None, None),
        Off::Amount { currency, amounts } => (Value::Null, amounts.get(currency), Some(currency)),
    };
    let (duration, months) = match coupon.duration {
        Duration::Once => ("once", None),
        Duration::Repeating { months } => ("repeating", Some(months)),
        Duration::Forever => ("forever", None),
    };
    json!({
        "id": coupon.id,
        "object": "coupon",
        "amount_off": amount_off,
        "created": coupon.created,
        "currency": currency,
        "duration": duration,
        "duration_in_months": months,
        "livemode": false,
        "max_redemptions": coupon.max_redemptions,
        "metadata": coupon.metadata,
        "name": coupon.name,
        "percent_off": percent_off,
        "redeem_by": coupon.redeem_by,
        "times_redeemed": coupon.times_redeemed,
        "valid": coupon.is_valid(state.clock.now()),
    })
}

/// `applies_to` is shown only when asked for.
pub fn products_view(coupon: &Coupon) -> Value {
    if coupon.products.is_empty() { Value::Null } else { json!({"products": coupon.products}) }
}

/// `currency_options` is shown only when asked for.
pub fn currencies_view(coupon: &Coupon) -> Value {
    let Off::Amount { amounts, .. } = &coupon.off else {
        return Value::Null;
    };
    let options = amounts.iter();
    options
        .map(|(currency, amount)| (currency.clone(), json!({"amount_off": amount})))
        .collect::<serde_json::Map<String, Value>>()
        .into()
}

/// The coupon a parameter names, deleted ones not among them.
pub fn existing<'a>(state: &'a State, id: &str, param: &str) -> Result<&'a Coupon, ApiError> {
    let found = state.coupons.get(id).filter(|coupon| !coupon.deleted);
    found.ok_or_else(|| ApiError::no_such("coupon", id, param))
}

fn find<'a>(state: &'a State, id: &str) -> Result<&'a Coupon, ApiError> {
    let found = state.coupons.get(id).filter(|coupon| !coupon.deleted);
    found.ok_or_else(|| ApiError::not_found("coupon", id))
}

/// The coupon a parameter names, if it can still be redeemed.
pub fn redeemable<'a>(state: &'a State, id: &str, param: &str) -> Result<&'a Coupon, ApiError> {
    let coupon = existing(state, id, param)?;
    if coupon.is_valid(state.clock.now()) {
        return Ok(coupon);
    }
    Err(ApiError::invalid(format!("Coupon expired: {id}")).code("coupon_expired").param(param))
}

/// Counts one more use.
pub fn redeem(tx: &mut Tx<'_>, id: &str) {
    let Some(mut coupon) = tx.state.coupons.get(id).cloned() else {
        return;
    };
    coupon.times_redeemed = coupon.times_redeemed.saturating_add(1);
    save(tx, coupon);
}

fn save(tx: &mut Tx<'_>, coupon: Coupon) -> Value {
    let before = tx.state.coupons.get(&coupon.id).map(|old| view(tx.state, old));
    let after = view(tx.state, &coupon);
    tx.state.coupons.put(coupon);
    match before {
        None => tx.emit("coupon.created", after.clone()),
        Some(before) => tx.emit_change("coupon.updated", &before, after.clone()),
    }
    after
}

pub fn create(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let params = &mut call.params;
    let id = match params.text("id")? {
        Some(id) => free_id(tx.state, params, id)?,
        None => ids::letters(8),
    };
    let coupon = Coupon {
        id,
        created: tx.now,
        name: read_name(params)?,
        off: read_off(params)?,
        duration: read_duration(params)?,
        max_redemptions: params.within("max_redemptions", 1, MAX_REDEMPTIONS)?,
        redeem_by: read_last(params, "redeem_by", tx.now)?,
        products: read_products(tx.state, params)?,
        times_redeemed: 0,
        metadata: params.metadata()?.fresh(),
        deleted: false,
    };
    params.finish()?;
    Ok(save(tx, coupon))
}

fn free_id(state: &State, params: &Params, id: String) -> Result<String, ApiError> {
    if state.coupons.get(&id).is_some_and(|coupon| !coupon.deleted) {
        let error = ApiError::invalid("Coupon already exists.");
        return Err(error.code("resource_already_exists").param("id"));
    }
    let allowed = |sign: char| sign.is_ascii_alphanumeric() || matches!(sign, '_' | '-' | '.');
    if 200 < id.len() || !id.chars().all(allowed) {
        return Err(params.invalid("id", "Invalid id"));
    }
    Ok(id)
}

fn read_name(params: &mut Params) -> Result<Option<String>, ApiError> {
    let name = params.text("name")?;
    if name.as_ref().is_some_and(|name| MAX_NAME < name.chars().count()) {
        let message = format!("Invalid string: name must be at most {MAX_NAME} characters");
        return Err(ApiError::invalid(message).param("name"));
    }
    Ok(name)
}

fn read_off(params: &mut Params) -> Result<Off, ApiError> {
    let percent = percents::read(params, "percent_off")?;
    let amount = params.within("amount_off", 1, MAX_AMOUNT)?;
    if amount.is_some() && !params.has("currency") {
        let message = "You must pass a currency when passing amount_off.";
        return Err(ApiError::invalid(message).code("parameter_missing").param("currency"));
    }
    let currency = if params.has("currency") { Some(currencies::required(params)?) } else { None };
    let more = read_amounts(params)?;
    match (percent, amount, currency) {
        (Some(_), Some(_), _) => {
            let message = "You may only pass one of percent_off and amount_off.";
            Err(ApiError::invalid(message).param("percent_off"))
        }
        (Some(percent), None, _) if percent.is_zero() => {
            Err(params.invalid("percent_off", "Must be greater than 0"))
        }
        (Some(_), None, _) if !more.is_empty() => {
            let message = "currency_options can only be used with amount_off.";
            Err(ApiError::invalid(message).param("currency_options"))
        }
        (Some(percent), None, _) => Ok(Off::Percent(percent)),
        (None, Some(amount), Some(currency)) => {
            let mut amounts = more;
            amounts.insert(currency.clone(), amount);
            Ok(Off::Amount { currency, amounts })
        }
        (None, _, _) => {
            let message = "Must provide percent_off or amount_off.";
            Err(ApiError::invalid(message).code("parameter_missing").param("percent_off"))
        }
    }
}

fn read_amounts(params: &mut Params) -> Result<BTreeMap<String, i64>, ApiError> {
    let mut amounts = BTreeMap::new();
    let Some(mut options) = params.hash("currency_options")? else {
        return Ok(amounts);
    };
    for currency in options.keys() {
        currencies::check(&currency, &options.name(&currency))?;
        let Some(mut option) = options.hash(&currency)? else {
            continue;
        };
        let amount = option.within("amount_off", 1, MAX_AMOUNT)?;
        let missing = || ApiError::missing_parameter(&option.name("amount_off"));
        amounts.insert(currency, amount.ok_or_else(missing)?);
        option.finish()?;
    }
    Ok(amounts)
}

fn read_duration(params: &mut Params) -> Result<Duration, ApiError> {
    let duration = params.word("duration", &["forever", "once", "repeating"])?;
    let months = params.within("duration_in_months", 1, MAX_MONTHS)?;
    match (duration, months) {
        (Some("repeating"), Some(months)) => Ok(Duration::Repeating { months }),
        (Some("repeating"), None) => {
            let message = "You must pass duration_in_months when duration is repeating.";
            let error = ApiError::invalid(message).code("parameter_missing");
            Err(error.param("duration_in_months"))
        }
        (_, Some(_)) => {
            let message = "duration_in_months can only be passed when duration is repeating.";
            Err(ApiError::invalid(message).param("duration_in_months"))
        }
        (Some("forever"), None) => Ok(Duration::Forever),
        (_, None) => Ok(Duration::Once),
    }
}

/// A last moment to redeem something: in the future, but not for ever.
pub fn read_last(params: &mut Params, key: &str, now: i64) -> Result<Option<i64>, ApiError> {
    let last = params.timestamp(key)?;
    if last.is_some_and(|last| last <= now) {
        return Err(params.invalid(key, "The timestamp must be in the future"));
    }
    if last.is_some_and(|last| clock::add(now, Interval::Year, MAX_YEARS_TO_REDEEM) < last) {
        return Err(params.invalid(key, "The timestamp can be at most five years in the future"));
    }
    Ok(last)
}

fn read_products(state: &State, params: &mut Params) -> Result<Vec<String>, ApiError> {
    let Some(mut applies_to) = params.hash("applies_to")? else {
        return Ok(Vec::new());
    };
    let products = applies_to.texts("products")?.unwrap_or_default();
    applies_to.finish()?;
    for product in &products {
        crate::products::existing(state, product, "applies_to[products]")?;
    }
    Ok(products)
}

pub fn retrieve(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    Ok(view(tx.state, find(tx.state, call.id())?))
}

pub fn update(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let mut coupon = find(tx.state, call.id())?.clone();
    let params = &mut call.params;
    if params.has("name") {
        coupon.name = read_name(params)?;
    }
    params.metadata()?.apply(&mut coupon.metadata);
    let more = read_amounts(params)?;
    params.finish()?;
    match &mut coupon.off {
        Off::Amount { currency, amounts } => {
            if more.contains_key(currency) {
                let message = "The amount in the coupon's own currency cannot be changed.";
                return Err(ApiError::invalid(message).param("currency_options"));
            }
            amounts.extend(more);
        }
        Off::Percent(_) if more.is_empty() => {}
        Off::Percent(_) => {
            let message = "currency_options can only be used with amount_off.";
            return Err(ApiError::invalid(message).param("currency_options"));
        }
    }
    Ok(save(tx, coupon))
}

pub fn delete(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let mut coupon = find(tx.state, call.id())?.clone();
    call.params.finish()?;
    let last = view(tx.state, &coupon);
    coupon.deleted = true;
    let answer = view(tx.state, &coupon);
    tx.state.coupons.put(coupon);
    tx.emit("coupon.deleted", last);
    Ok(answer)
}

pub fn list(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let created = lists::range(&mut call.params, "created")?;
    let state = &*tx.state;
    lists::page(
        call,
        &state.coupons,
        |coupon| !coupon.deleted && created.contains(coupon.created),
        |coupon| view(state, coupon),
    )
}
