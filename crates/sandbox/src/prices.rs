//! Prices and what a quantity of them costs.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::clock::Interval;
use crate::costs::{self, Cost, Transform, UnitAmount};
use crate::currencies;
use crate::currency_options::{self, CurrencyOptions};
use crate::errors::ApiError;
use crate::params::{MAX_AMOUNT, Metadata, Params};
use crate::products::{self, Product};
use crate::requests::Call;
use crate::state::{Row, State};
use crate::transactions::Tx;
use crate::{ids, lists};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Price {
    pub id: String,
    pub created: i64,
    pub active: bool,
    pub currency: String,
    pub product: String,
    pub cost: Cost,
    /// What the same thing costs elsewhere.
    #[serde(default)]
    pub currency_options: CurrencyOptions,
    #[serde(default)]
    pub transform: Option<Transform>,
    pub recurring: Option<Recurring>,
    /// Usage counted by this meter is billed when the period has ended.
    #[serde(default)]
    pub meter: Option<String>,
    pub lookup_key: Option<String>,
    pub nickname: Option<String>,
    pub tax_behavior: String,
    pub metadata: Metadata,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recurring {
    pub interval: Interval,
    pub interval_count: i64,
    pub trial_period_days: Option<i64>,
}

impl Row for Price {
    const KIND: &'static str = "price";
    fn id(&self) -> &str {
        &self.id
    }

    fn links(&self) -> Vec<&str> {
        vec![&self.product]
    }
}

impl Price {
    /// What `quantity` units cost.
    pub fn amount(&self, quantity: i64) -> Result<i64, ApiError> {
        let billed = self.transform.map_or(quantity, |transform| transform.packages(quantity));
        let amount = self.cost.amount(billed);
        amount.filter(|amount| *amount <= MAX_AMOUNT).ok_or_else(|| {
            let message = format!("The amount of {quantity} x {} is too large.", self.id);
            ApiError::invalid(message).code("amount_too_large")
        })
    }

    pub fn unit_amount(&self) -> Option<UnitAmount> {
        self.cost.unit()
    }

    pub fn is_metered(&self) -> bool {
        self.meter.is_some()
    }

    fn tiers_mode(&self) -> Value {
        match &self.cost {
            Cost::PerUnit(_) | Cost::Chosen { .. } => Value::Null,
            Cost::Tiered { mode, .. } => json!(mode),
        }
    }

    fn usage_type(&self) -> &'static str {
        if self.is_metered() { "metered" } else { "licensed" }
    }
}

pub fn view(price: &Price) -> Value {
    let unit = price.unit_amount();
    json!({
        "id": price.id,
        "object": "price",
        "active": price.active,
        "billing_scheme": price.cost.scheme(),
        "created": price.created,
        "currency": price.currency,
        "custom_unit_amount": price.cost.chosen_view(),
        "livemode": false,
        "lookup_key": price.lookup_key,
        "metadata": price.metadata,
        "nickname": price.nickname,
        "product": price.product,
        "recurring": recurring_view(price),
        "tax_behavior": price.tax_behavior,
        "tiers_mode": price.tiers_mode(),
        "transform_quantity": price.transform.map(Transform::view),
        "type": if price.recurring.is_some() { "recurring" } else { "one_time" },
        "unit_amount": unit.and_then(UnitAmount::minor),
        "unit_amount_decimal": unit.map(UnitAmount::decimal),
    })
}

fn recurring_view(price: &Price) -> Value {
    let Some(recurring) = &price.recurring else {
        return Value::Null;
    };
    json!({
        "interval": recurring.interval.name(),
        "interval_count": recurring.interval_count,
        "meter": price.meter,
        "trial_period_days": recurring.trial_period_days,
        "usage_type": price.usage_type(),
    })
}

/// The older `plan` object, which subscription items still carry.
pub fn plan_view(price: &Price) -> Value {
    let unit = price.unit_amount();
    let recurring = price.recurring.as_ref();
    json!({
        "id": price.id,
        "object": "plan",
        "active": price.active,
        "amount": unit.and_then(UnitAmount::minor),
        "amount_decimal": unit.map(UnitAmount::decimal),
        "billing_scheme": price.cost.scheme(),
        "created": price.created,
        "currency": price.currency,
        "interval": recurring.map(|recurring| recurring.interval.name()),
        "interval_count": recurring.map(|recurring| recurring.interval_count),
        "livemode": false,
        "metadata": price.metadata,
        "meter": price.meter,
        "nickname": price.nickname,
        "product": price.product,
        "tiers_mode": price.tiers_mode(),
        "transform_usage": price.transform.map(Transform::view),
        "trial_period_days": recurring.and_then(|recurring| recurring.trial_period_days),
        "usage_type": price.usage_type(),
    })
}

pub fn existing<'a>(state: &'a State, id: &str, param: &str) -> Result<&'a Price, ApiError> {
    state.prices.get(id).ok_or_else(|| ApiError::no_such("price", id, param))
}

/// A stored price as the object that names it is billed.
pub fn in_currency(state: &State, id: &str, currency: &str) -> Result<Price, ApiError> {
    existing(state, id, "price")?.localized(currency)
}

pub fn save(tx: &mut Tx<'_>, price: Price) -> Value {
    let before = tx.state.prices.get(&price.id).map(view);
    let after = view(&price);
    tx.state.prices.put(price);
    match before {
        None => tx.emit("price.created", after.clone()),
        Some(before) => tx.emit_change("price.updated", &before, after.clone()),
    }
    after
}

/// The money part of a price; inline `price_data` has the same parameters.
pub fn from_params(tx: &Tx<'_>, params: &mut Params, product: &str) -> Result<Price, ApiError> {
    let currency = currencies::required(params)?;
    let recurring = match params.hash("recurring")? {
        None => None,
        Some(mut recurring) => Some(read_recurring(tx.state, &mut recurring)?),
    };
    let (recurring, meter) = recurring.unzip();
    let cost = costs::read(params)?;
    let transform = Transform::read(params)?;
    check_kind(params, &cost, transform, recurring)?;
    let tax_behavior = params.word("tax_behavior", &["exclusive", "inclusive", "unspecified"])?;
    let currency_options = currency_options::read(params, &currency, &cost)?;
    let metadata = params.metadata()?.fresh();
    Ok(Price {
        id: ids::object("price"),
        created: tx.now,
        active: true,
        currency,
        product: product.to_owned(),
        cost,
        currency_options,
        transform,
        recurring,
        meter: meter.flatten(),
        lookup_key: None,
        nickname: None,
        tax_behavior: tax_behavior.unwrap_or("unspecified").to_owned(),
        metadata,
    })
}

/// What cannot be sold together.
fn check_kind(
    params: &Params,
    cost: &Cost,
    transform: Option<Transform>,
    recurring: Option<Recurring>,
) -> Result<(), ApiError> {
    match cost {
        Cost::Chosen { .. } if recurring.is_some() => {
            let what = "Only one-time prices can have a custom unit amount";
            Err(params.invalid("custom_unit_amount", what))
        }
        Cost::Chosen { .. } | Cost::Tiered { .. } if transform.is_some() => {
            let what = "Only prices with a fixed unit amount can transform the quantity";
            Err(params.invalid("transform_quantity", what))
        }
        _ => Ok(()),
    }
}

fn read_recurring(
    state: &State,
    recurring: &mut Params,
) -> Result<(Recurring, Option<String>), ApiError> {
    let name = recurring.word("interval", &Interval::NAMES)?;
    let interval = name
        .and_then(Interval::parse)
        .ok_or_else(|| ApiError::missing_parameter(&recurring.name("interval")))?;
    let most = match interval {
        Interval::Day => 1_095,
        Interval::Week => 156,
        Interval::Month => 36,
        Interval::Year => 3,
    };
    let interval_count = recurring.within("interval_count", 1, most)?.unwrap_or(1);
    let trial_period_days = recurring.within("trial_period_days", 1, 730)?;
    let meter = read_meter(state, recurring)?;
    recurring.finish()?;
    Ok((Recurring { interval, interval_count, trial_period_days }, meter))
}

/// Metered prices need an active meter, licensed ones can have none.
fn read_meter(state: &State, recurring: &mut Params) -> Result<Option<String>, ApiError> {
    let usage = recurring.word("usage_type", &["licensed", "metered"])?;
    let meter = recurring.text("meter")?;
    let param = recurring.name("meter");
    match (usage == Some("metered"), meter) {
        (false, None) => Ok(None),
        (false, Some(_)) => {
            let message = "A meter can only be set on prices with `usage_type=metered`.";
            Err(ApiError::invalid(message).param(&param))
        }
        (true, None) => {
            let message = "Metered prices must be backed by meters: pass `recurring[meter]`.";
            Err(ApiError::invalid(message).param(&param))
        }
        (true, Some(id)) => {
            let found = state.meters.get(&id);
            let found = found.ok_or_else(|| ApiError::no_such("billing meter", &id, &param))?;
            if !found.is_active() {
                let message = format!("The meter specified is inactive: {id}");
                return Err(ApiError::invalid(message).param(&param));
            }
            Ok(Some(id))
        }
    }
}

pub fn create(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let params = &mut call.params;
    let product_id = params.text("product")?;
    let product_data = params.hash("product_data")?;
    let mut price = from_params(tx, params, "")?;
    price.nickname = params.text("nickname")?;
    price.active = params.boolean("active")?.unwrap_or(true);
    let lookup_key = params.text("lookup_key")?;
    let transfer = params.boolean("transfer_lookup_key")?.unwrap_or(false);
    params.finish()?;
    price.product = match (product_id, product_data) {
        (Some(id), None) => products::existing(tx.state, &id, "product")?.id.clone(),
        (None, Some(mut data)) => {
            let mut product = Product::new(data.required("name")?, tx.now);
            products::read(&mut data, &mut product)?;
            data.finish()?;
            let id = product.id.clone();
            products::save(tx, product);
            id
        }
        _ => return Err(ApiError::missing_parameter("product")),
    };
    if let Some(key) = lookup_key {
        claim_lookup_key(tx, &key, &price.id, transfer)?;
        price.lookup_key = Some(key);
    }
    Ok(save(tx, price))
}

/// A lookup key belongs to one price at a time.
fn claim_lookup_key(
    tx: &mut Tx<'_>,
    key: &str,
    claimant: &str,
    transfer: bool,
) -> Result<(), ApiError> {
    let mut prices = tx.state.prices.oldest_first();
    let Some(holder) = prices.find(|price| price.lookup_key.as_deref() == Some(key)) else {
        return Ok(());
    };
    if holder.id == claimant {
        return Ok(());
    }
    if !transfer {
        let message = format!("A price (`{}`) already uses that lookup key.", holder.id);
        return Err(ApiError::invalid(message).param("lookup_key"));
    }
    let mut holder = holder.clone();
    drop(prices);
    holder.lookup_key = None;
    save(tx, holder);
    Ok(())
}

pub fn retrieve(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let id = call.id();
    let found = tx.state.prices.get(id).ok_or_else(|| ApiError::not_found("price", id))?;
    Ok(view(found))
}

pub fn update(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let id = call.id().to_owned();
    let found = tx.state.prices.get(&id);
    let mut price = found.ok_or_else(|| ApiError::not_found("price", &id))?.clone();
    let params = &mut call.params;
    if let Some(active) = params.boolean("active")? {
        let product = tx.state.products.get(&price.product);
        let is_default = product.is_some_and(|row| row.default_price.as_ref() == Some(&id));
        if is_default && !active {
            let message = "This price cannot be archived because it is the default price of its \
                           product.";
            return Err(ApiError::invalid(message).param("active"));
        }
        price.active = active;
    }
    params.change("nickname")?.apply(&mut price.nickname);
    params.metadata()?.apply(&mut price.metadata);
    if let Some(behavior) =
        params.word("tax_behavior", &["exclusive", "inclusive", "unspecified"])?
    {
        if price.tax_behavior != "unspecified" && price.tax_behavior != behavior {
            let what = "Once it is exclusive or inclusive, it cannot be changed";
            return Err(params.invalid("tax_behavior", what));
        }
        price.tax_behavior = behavior.to_owned();
    }
    currency_options::update(params, &mut price)?;
    let lookup_key = params.change("lookup_key")?;
    let transfer = params.boolean("transfer_lookup_key")?.unwrap_or(false);
    params.finish()?;
    if let crate::params::Change::Set(key) = &lookup_key {
        claim_lookup_key(tx, key, &id, transfer)?;
    }
    lookup_key.apply(&mut price.lookup_key);
    Ok(save(tx, price))
}

pub fn list(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let params = &mut call.params;
    let created = lists::range(params, "created")?;
    let active = params.boolean("active")?;
    let product = params.text("product")?;
    let currency = params.text("currency")?;
    let kind = params.word("type", &["one_time", "recurring"])?;
    let lookup_keys = params.texts("lookup_keys")?;
    let (interval, usage, meter) = match params.hash("recurring")? {
        None => (None, None, None),
        Some(mut recurring) => {
            let interval = recurring.word("interval", &Interval::NAMES)?;
            let usage = recurring.word("usage_type", &["licensed", "metered"])?;
            let meter = recurring.text("meter")?;
            recurring.finish()?;
            (interval.and_then(Interval::parse), usage, meter)
        }
    };
    lists::page_of(
        call,
        &tx.state.prices,
        product.as_deref(),
        |price| {
            let recurring = price.recurring.as_ref();
            let key = price.lookup_key.as_ref();
            created.contains(price.created)
                && active.is_none_or(|active| price.active == active)
                && product.as_ref().is_none_or(|product| price.product == *product)
                && currency.as_ref().is_none_or(|currency| price.currency == *currency)
                && kind.is_none_or(|kind| (kind == "recurring") == recurring.is_some())
                && lookup_keys.as_ref().is_none_or(|keys| key.is_some_and(|key| keys.contains(key)))
                && usage.is_none_or(|usage| recurring.is_some() && price.usage_type() == usage)
                && (meter.is_none() || price.meter == meter)
                && interval.is_none_or(|wanted| {
                    recurring.is_some_and(|recurring| recurring.interval == wanted)
                })
        },
        view,
    )
}
