//! Promotion codes: what buyers type to get a coupon, and who may use them when.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::coupons::{self, Coupon};
use crate::errors::ApiError;
use crate::params::{MAX_AMOUNT, Metadata, Params};
use crate::requests::Call;
use crate::state::{Row, State};
use crate::transactions::Tx;
use crate::{currencies, customers, ids, lists};

const MAX_CODE: usize = 500;
const MAX_REDEMPTIONS: i64 = 2_147_483_647;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PromotionCode {
    pub id: String,
    pub created: i64,
    pub code: String,
    pub coupon: String,
    /// What the merchant wants; `is_active` says what is.
    pub enabled: bool,
    pub customer: Option<String>,
    pub expires_at: Option<i64>,
    pub max_redemptions: Option<i64>,
    pub restrictions: Restrictions,
    pub times_redeemed: i64,
    pub metadata: Metadata,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Restrictions {
    pub first_time_transaction: bool,
    pub minimum_currency: Option<String>,
    /// By currency, the one above among them.
    pub minimum_amounts: BTreeMap<String, i64>,
}

impl Row for PromotionCode {
    const KIND: &'static str = "promotion_code";
    fn id(&self) -> &str {
        &self.id
    }
}

impl PromotionCode {
    /// A code works while its coupon does.
    pub fn is_active(&self, state: &State) -> bool {
        let now = state.clock.now();
        self.enabled
            && self.expires_at.is_none_or(|last| now < last)
            && self.max_redemptions.is_none_or(|most| self.times_redeemed < most)
            && state.coupons.get(&self.coupon).is_some_and(|coupon| coupon.is_valid(now))
    }
}

pub fn view(state: &State, promotion: &PromotionCode) -> Value {
    let restrictions = &promotion.restrictions;
    let currency = restrictions.minimum_currency.as_ref();
    json!({
        "id": promotion.id,
        "object": "promotion_code",
        "active": promotion.is_active(state),
        "code": promotion.code,
        "created": promotion.created,
        "customer": promotion.customer,
        "customer_account": null,
        "expires_at": promotion.expires_at,
        "livemode": false,
        "max_redemptions": promotion.max_redemptions,
        "metadata": promotion.metadata,
        "promotion": {"coupon": promotion.coupon, "type": "coupon"},
        "restrictions": {
            "currency_options": currencies_view(restrictions),
            "first_time_transaction": restrictions.first_time_transaction,
            "minimum_amount":
                currency.and_then(|currency| restrictions.minimum_amounts.get(currency)),
            "minimum_amount_currency": currency,
        },
        "times_redeemed": promotion.times_redeemed,
    })
}

fn currencies_view(restrictions: &Restrictions) -> Value {
    let amounts = restrictions.minimum_amounts.iter();
    let options =
        amounts.map(|(currency, amount)| (currency.clone(), json!({ "minimum_amount": amount })));
    Value::Object(options.collect::<Map<String, Value>>())
}

/// The code a buyer typed, whatever its case. An active one wins over those it has replaced.
pub fn by_code<'a>(
    state: &'a State,
    code: &str,
    customer: Option<&str>,
) -> Option<&'a PromotionCode> {
    let mut named: Vec<&PromotionCode> = state
        .promotion_codes
        .newest_first()
        .filter(|row| row.code.eq_ignore_ascii_case(code))
        .collect();
    let fits = |row: &PromotionCode| row.customer.is_none() || row.customer.as_deref() == customer;
    named.sort_by_key(|row| (!row.is_active(state), !fits(row), row.customer.is_none()));
    named.first().copied()
}

pub fn existing<'a>(
    state: &'a State,
    id: &str,
    param: &str,
) -> Result<&'a PromotionCode, ApiError> {
    state.promotion_codes.get(id).ok_or_else(|| ApiError::no_such("promotion code", id, param))
}

/// Counts one more use.
pub fn redeem(tx: &mut Tx<'_>, id: &str) {
    let Some(mut promotion) = tx.state.promotion_codes.get(id).cloned() else {
        return;
    };
    promotion.times_redeemed = promotion.times_redeemed.saturating_add(1);
    save(tx, promotion);
}

fn save(tx: &mut Tx<'_>, promotion: PromotionCode) -> Value {
    let before = tx.state.promotion_codes.get(&promotion.id).map(|old| view(tx.state, old));
    let after = view(tx.state, &promotion);
    tx.state.promotion_codes.put(promotion);
    match before {
        None => tx.emit("promotion_code.created", after.clone()),
        Some(before) => tx.emit_change("promotion_code.updated", &before, after.clone()),
    }
    after
}

pub fn create(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let params = &mut call.params;
    let coupon = read_promotion(tx.state, params)?;
    let customer = params.text("customer")?;
    if let Some(customer) = &customer {
        customers::live(tx.state, customer, "customer")?;
    }
    let code = match params.text("code")? {
        Some(code) => checked_code(params, code)?,
        None => ids::letters(8).to_uppercase(),
    };
    let enabled = params.boolean("active")?.unwrap_or(true);
    let promotion = PromotionCode {
        id: ids::object("promo"),
        created: tx.now,
        code,
        coupon: coupon.id.clone(),
        enabled,
        customer,
        expires_at: coupons::read_last(params, "expires_at", tx.now)?,
        max_redemptions: params.within("max_redemptions", 1, MAX_REDEMPTIONS)?,
        restrictions: read_restrictions(params)?,
        times_redeemed: 0,
        metadata: params.metadata()?.fresh(),
    };
    params.refuse(&["customer_account"])?;
    params.finish()?;
    check_within_coupon(&promotion, &coupon)?;
    if enabled {
        check_free(tx.state, &promotion)?;
    }
    Ok(save(tx, promotion))
}

fn read_promotion(state: &State, params: &mut Params) -> Result<Coupon, ApiError> {
    let Some(mut promotion) = params.hash("promotion")? else {
        return Err(ApiError::missing_parameter("promotion"));
    };
    if promotion.word("type", &["coupon"])?.is_none() {
        return Err(ApiError::missing_parameter("promotion[type]"));
    }
    let id = promotion.required("coupon")?;
    promotion.finish()?;
    Ok(coupons::redeemable(state, &id, "promotion[coupon]")?.clone())
}

fn checked_code(params: &Params, code: String) -> Result<String, ApiError> {
    let allowed = |sign: char| sign.is_ascii_alphanumeric() || sign == '-';
    if MAX_CODE < code.len() || !code.chars().all(allowed) {
        let what = "Promotion codes consist of letters, digits and dashes";
        return Err(params.invalid("code", what));
    }
    Ok(code)
}

fn read_restrictions(params: &mut Params) -> Result<Restrictions, ApiError> {
    let Some(mut hash) = params.hash("restrictions")? else {
        return Ok(Restrictions::default());
    };
    let first_time_transaction = hash.boolean("first_time_transaction")?.unwrap_or(false);
    let amount = hash.within("minimum_amount", 1, MAX_AMOUNT)?;
    let currency = hash.text("minimum_amount_currency")?.map(|text| text.to_ascii_lowercase());
    let mut minimum_amounts = read_minimum_amounts(&mut hash)?;
    hash.finish()?;
    match (amount, &currency) {
        (Some(amount), Some(currency)) => {
            currencies::check(currency, &hash.name("minimum_amount_currency"))?;
            minimum_amounts.insert(currency.clone(), amount);
        }
        (Some(_), None) => {
            return Err(ApiError::missing_parameter(&hash.name("minimum_amount_currency")));
        }
        (None, Some(_)) => return Err(ApiError::missing_parameter(&hash.name("minimum_amount"))),
        (None, None) if minimum_amounts.is_empty() => {}
        (None, None) => return Err(ApiError::missing_parameter(&hash.name("minimum_amount"))),
    }
    Ok(Restrictions { first_time_transaction, minimum_currency: currency, minimum_amounts })
}

fn read_minimum_amounts(params: &mut Params) -> Result<BTreeMap<String, i64>, ApiError> {
    let mut amounts = BTreeMap::new();
    let Some(mut options) = params.hash("currency_options")? else {
        return Ok(amounts);
    };
    for currency in options.keys() {
        currencies::check(&currency, &options.name(&currency))?;
        let Some(mut option) = options.hash(&currency)? else {
            continue;
        };
        let amount = option.within("minimum_amount", 1, MAX_AMOUNT)?;
        let missing = || ApiError::missing_parameter(&option.name("minimum_amount"));
        amounts.insert(currency, amount.ok_or_else(missing)?);
        option.finish()?;
    }
    Ok(amounts)
}

/// A code can narrow its coupon, not widen it.
fn check_within_coupon(promotion: &PromotionCode, coupon: &Coupon) -> Result<(), ApiError> {
    let too_late = coupon.redeem_by.zip(promotion.expires_at);
    if too_late.is_some_and(|(last, wanted)| last < wanted) {
        let message = "The promotion code cannot expire after its coupon's redeem_by.";
        return Err(ApiError::invalid(message).param("expires_at"));
    }
    let too_often = coupon.max_redemptions.zip(promotion.max_redemptions);
    if too_often.is_some_and(|(most, wanted)| most < wanted) {
        let message = "The promotion code cannot be redeemed more often than its coupon.";
        return Err(ApiError::invalid(message).param("max_redemptions"));
    }
    Ok(())
}

/// One active code of a name for everybody, and one for each customer.
fn check_free(state: &State, wanted: &PromotionCode) -> Result<(), ApiError> {
    let mut others = state.promotion_codes.oldest_first();
    let taken = others.any(|other| {
        let overlap = other.customer.is_none()
            || wanted.customer.is_none()
            || other.customer == wanted.customer;
        other.id != wanted.id
            && overlap
            && other.code.eq_ignore_ascii_case(&wanted.code)
            && other.is_active(state)
    });
    if taken {
        let code = &wanted.code;
        let message = format!("An active promotion code with `code: {code}` already exists.");
        return Err(ApiError::invalid(message).param("code"));
    }
    Ok(())
}

fn find<'a>(state: &'a State, id: &str) -> Result<&'a PromotionCode, ApiError> {
    state.promotion_codes.get(id).ok_or_else(|| ApiError::not_found("promotion code", id))
}

pub fn retrieve(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    Ok(view(tx.state, find(tx.state, call.id())?))
}

pub fn update(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let mut promotion = find(tx.state, call.id())?.clone();
    let params = &mut call.params;
    let enabled = params.boolean("active")?;
    params.metadata()?.apply(&mut promotion.metadata);
    if let Some(mut restrictions) = params.hash("restrictions")? {
        let more = read_minimum_amounts(&mut restrictions)?;
        restrictions.finish()?;
        promotion.restrictions.minimum_amounts.extend(more);
    }
    params.finish()?;
    if let Some(enabled) = enabled {
        promotion.enabled = enabled;
        let works = promotion.is_active(tx.state);
        if enabled && !works {
            let message = "This promotion code is expired, used up or of an invalid coupon, and \
                           cannot be activated.";
            return Err(ApiError::invalid(message).param("active"));
        }
        if enabled {
            check_free(tx.state, &promotion)?;
        }
    }
    Ok(save(tx, promotion))
}

pub fn list(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let params = &mut call.params;
    let created = lists::range(params, "created")?;
    let active = params.boolean("active")?;
    let code = params.text("code")?;
    let coupon = params.text("coupon")?;
    let customer = params.text("customer")?;
    let state = &*tx.state;
    lists::page(
        call,
        &state.promotion_codes,
        |row| {
            created.contains(row.created)
                && active.is_none_or(|active| row.is_active(state) == active)
                && code.as_ref().is_none_or(|code| row.code.eq_ignore_ascii_case(code))
                && coupon.as_ref().is_none_or(|coupon| row.coupon == *coupon)
                && (customer.is_none() || row.customer == customer)
        },
        |row| view(state, row),
    )
}
