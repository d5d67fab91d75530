//! When a new subscription starts and on which day it renews; what else its first invoice sells.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::clock::{self, END_OF_TIME, Interval};
use crate::errors::ApiError;
use crate::invoice_items::InvoiceItem;
use crate::params::Params;
use crate::plan_changes::PRORATIONS;
use crate::prices::{self, Price};
use crate::subscriptions::{BillingMode, Subscription, find, save};
use crate::transactions::Tx;

const MAX_EXTRA: usize = 20;

/// `billing_cycle_anchor_config`
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AnchorConfig {
    day_of_month: i64,
    month: Option<i64>,
    hour: Option<i64>,
    minute: Option<i64>,
    second: Option<i64>,
}

impl AnchorConfig {
    pub fn view(&self) -> Value {
        json!({
            "day_of_month": self.day_of_month,
            "hour": self.hour,
            "minute": self.minute,
            "month": self.month,
            "second": self.second,
        })
    }

    fn read(params: &mut Params) -> Result<Option<AnchorConfig>, ApiError> {
        let Some(mut hash) = params.hash("billing_cycle_anchor_config")? else {
            return Ok(None);
        };
        let day = hash.within("day_of_month", 1, 31)?;
        let config = AnchorConfig {
            day_of_month: day
                .ok_or_else(|| ApiError::missing_parameter(&hash.name("day_of_month")))?,
            month: hash.within("month", 1, 12)?,
            hour: hash.within("hour", 0, 23)?,
            minute: hash.within("minute", 0, 59)?,
            second: hash.within("second", 0, 59)?,
        };
        hash.finish()?;
        Ok(Some(config))
    }

    pub fn calendar_anchor(&self, anchor: i64, months: i64) -> i64 {
        clock::long_month_before(anchor, self.day_of_month, months)
    }

    /// The first such moment from `now` on; parts that are not given are those of `now`.
    fn next(&self, now: i64) -> i64 {
        let time = [self.hour, self.minute, self.second];
        clock::next_day_of_month(now, self.month, self.day_of_month, time)
    }
}

/// Anchor, backdating, billing mode: what only a new subscription can be told.
pub fn read(
    params: &mut Params,
    subscription: &mut Subscription,
    prices: &[Price],
    now: i64,
) -> Result<(), ApiError> {
    let free = params.word("proration_behavior", &PRORATIONS)? == Some("none");
    subscription.free_until_anchor = free;
    if let Some(mut mode) = params.hash("billing_mode")? {
        if mode.word("type", &["classic", "flexible"])? == Some("classic") {
            subscription.billing_mode = BillingMode::Classic;
        }
        mode.ignore(&["flexible"]);
        mode.finish()?;
    }
    if let Some(start) = params.timestamp("backdate_start_date")? {
        if now < start {
            let message = "`backdate_start_date` must be in the past.";
            return Err(ApiError::invalid(message).param("backdate_start_date"));
        }
        subscription.start_date = start;
        subscription.billing_cycle_anchor = start;
    }
    let config = AnchorConfig::read(params)?;
    let anchor = params.timestamp("billing_cycle_anchor")?;
    if config.is_some() && anchor.is_some() {
        let message = "You may only specify one of these parameters: billing_cycle_anchor, \
                       billing_cycle_anchor_config.";
        return Err(ApiError::invalid(message).param("billing_cycle_anchor_config"));
    }
    let by_month = |price: &Price| {
        let interval = price.recurring.map(|recurring| recurring.interval);
        matches!(interval, Some(Interval::Month | Interval::Year))
    };
    if config.is_some() && !prices.iter().all(by_month) {
        let message = "`billing_cycle_anchor_config` needs prices that renew by month or year.";
        return Err(ApiError::invalid(message).param("billing_cycle_anchor_config"));
    }
    let Some(anchor) = anchor.or_else(|| config.as_ref().map(|config| config.next(now))) else {
        return Ok(());
    };
    check_anchor(subscription, anchor, prices, now)?;
    subscription.billing_cycle_anchor = anchor;
    subscription.anchor_config = config;
    Ok(())
}

fn check_anchor(
    subscription: &Subscription,
    anchor: i64,
    prices: &[Price],
    now: i64,
) -> Result<(), ApiError> {
    let refuse = |message: String| Err(ApiError::invalid(message).param("billing_cycle_anchor"));
    if anchor < now {
        return refuse("`billing_cycle_anchor` must be in the future.".to_owned());
    }
    let start = subscription.trial_end.unwrap_or(now);
    let natural = prices
        .iter()
        .filter_map(|price| price.recurring)
        .map(|recurring| clock::add(start, recurring.interval, recurring.interval_count));
    let natural = natural.max().unwrap_or(END_OF_TIME);
    if natural < anchor {
        return refuse(format!(
            "`billing_cycle_anchor` cannot be later than next natural billing date ({natural}) \
             for plan"
        ));
    }
    Ok(())
}

/// `cancel_at`: a time, or the end of the shortest or longest period.
#[derive(Clone, Copy, Debug)]
pub enum CancelAt {
    Time(i64),
    FirstPeriodEnd,
    LastPeriodEnd,
}

pub fn read_cancel_at(params: &mut Params) -> Result<Option<CancelAt>, ApiError> {
    for (word, choice) in [
        ("min_period_end", CancelAt::FirstPeriodEnd),
        ("max_period_end", CancelAt::LastPeriodEnd),
        ("max_billed_until", CancelAt::LastPeriodEnd),
    ] {
        if params.text_is("cancel_at", word) {
            params.ignore(&["cancel_at"]);
            return Ok(Some(choice));
        }
    }
    Ok(params.timestamp("cancel_at")?.map(CancelAt::Time))
}

pub fn set_cancel_at(tx: &mut Tx<'_>, id: &str, choice: CancelAt) -> Result<(), ApiError> {
    let mut subscription = find(tx.state, id)?.clone();
    plan_cancellation(&mut subscription, choice, tx.now)?;
    save(tx, subscription);
    Ok(())
}

pub fn plan_cancellation(
    subscription: &mut Subscription,
    choice: CancelAt,
    now: i64,
) -> Result<(), ApiError> {
    let ends = subscription.items.iter().map(|item| item.period_end);
    let at = match choice {
        CancelAt::Time(at) => at,
        CancelAt::FirstPeriodEnd => ends.min().unwrap_or(now),
        CancelAt::LastPeriodEnd => ends.max().unwrap_or(now),
    };
    if at <= now {
        let message = "Invalid cancel_at: the timestamp must be in the future.";
        return Err(ApiError::invalid(message).param("cancel_at"));
    }
    subscription.cancel_at = Some(at);
    subscription.cancel_at_period_end = false;
    subscription.canceled_at = Some(now);
    subscription.cancellation.reason = Some("cancellation_requested".to_owned());
    Ok(())
}

/// `add_invoice_items`: one-time prices that the next invoice of the subscription sells along.
pub fn read_extra(
    tx: &mut Tx<'_>,
    params: &mut Params,
    subscription: &Subscription,
) -> Result<Vec<InvoiceItem>, ApiError> {
    let hashes = params.hashes("add_invoice_items")?;
    if MAX_EXTRA < hashes.len() {
        return Err(params.invalid("add_invoice_items", "Too many items"));
    }
    let mut items = Vec::new();
    for mut hash in hashes {
        let price = one_time_price(tx, &mut hash, &subscription.currency)?;
        let quantity = hash.quantity("quantity")?.unwrap_or(1);
        let mut item = extra_item(tx, subscription, &price, quantity)?;
        item.line.metadata = hash.metadata()?.fresh();
        hash.ignore(&["discountable", "period"]);
        hash.refuse(&["discounts", "tax_rates"])?;
        hash.finish()?;
        items.push(item);
    }
    Ok(items)
}

/// A one-time price that the subscription's next invoice takes along.
pub fn extra_item(
    tx: &Tx<'_>,
    subscription: &Subscription,
    price: &Price,
    quantity: i64,
) -> Result<InvoiceItem, ApiError> {
    let amount = price.amount(quantity)?;
    let currency = &subscription.currency;
    let mut item = InvoiceItem::new(&subscription.customer, currency, amount, tx.now);
    let name = tx.state.products.get(&price.product).map(|product| product.name.clone());
    item.line.description = name;
    item.line.quantity = quantity;
    item.line.unit = price.unit_amount();
    item.line.product = Some(price.product.clone());
    item.line.price = Some(price.id.clone());
    item.line.subscription = Some(subscription.id.clone());
    Ok(item)
}

pub fn one_time_price(
    tx: &mut Tx<'_>,
    hash: &mut Params,
    currency: &str,
) -> Result<Price, ApiError> {
    let param = hash.name("price");
    if let Some(mut data) = hash.hash("price_data")? {
        let product = data.required("product")?;
        crate::products::existing(tx.state, &product, &data.name("product"))?;
        let mut price = prices::from_params(tx, &mut data, &product)?;
        data.finish()?;
        price.active = false;
        prices::save(tx, price.clone());
        return check_one_time(price, currency, &param);
    }
    let id = hash.required("price")?;
    let price = prices::existing(tx.state, &id, &param)?.localized(currency)?;
    check_one_time(price, currency, &param)
}

fn check_one_time(price: Price, currency: &str, param: &str) -> Result<Price, ApiError> {
    if price.recurring.is_some() {
        let message = format!(
            "The price specified is set to `type=recurring` but this field only accepts prices \
             with `type=one_time`: {}",
            price.id
        );
        return Err(ApiError::invalid(message).param(param));
    }
    if price.currency != currency {
        let message = "The price uses another currency than the subscription.";
        return Err(ApiError::invalid(message).param(param));
    }
    Ok(price)
}
