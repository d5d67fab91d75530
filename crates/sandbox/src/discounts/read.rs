//! Reading `discounts[]`, and what Stripe refuses about coupons and promotion codes.

use crate::coupons::{self, Coupon};
use crate::currencies;
use crate::errors::ApiError;
use crate::invoices::{self, Invoice};
use crate::params::Params;
use crate::payment_intents::PaymentIntent;
use crate::promotion_codes::{self, PromotionCode};
use crate::state::State;

const MAX_DISCOUNTS: usize = 20;

/// One entry of `discounts[]`, found to be redeemable.
#[derive(Clone, Debug)]
pub enum Wanted {
    Kept(String),
    New { coupon: String, promotion_code: Option<String> },
}

/// For whom and for what a discount is wanted, as far as that is known.
#[derive(Clone, Copy, Debug)]
pub struct Purchase<'a> {
    pub customer: Option<&'a str>,
    pub currency: Option<&'a str>,
    /// The amount before discounts, for codes with a minimum.
    pub amount: Option<i64>,
}

/// `discounts[]`: nothing when it is absent, an empty list when it is there to clear.
pub fn list(
    state: &State,
    params: &mut Params,
    purchase: Purchase<'_>,
) -> Result<Option<Vec<Wanted>>, ApiError> {
    if !params.has("discounts") {
        return Ok(None);
    }
    let hashes = params.hashes("discounts")?;
    if MAX_DISCOUNTS < hashes.len() {
        return Err(params.invalid("discounts", "Too many discounts"));
    }
    let mut wanted = Vec::new();
    for mut hash in hashes {
        wanted.push(one(state, &mut hash, purchase)?);
        hash.finish()?;
    }
    Ok(Some(wanted))
}

fn one(state: &State, hash: &mut Params, purchase: Purchase<'_>) -> Result<Wanted, ApiError> {
    let coupon = hash.text("coupon")?;
    let promotion_code = hash.text("promotion_code")?;
    let discount = hash.text("discount")?;
    match (coupon, promotion_code, discount) {
        (Some(id), None, None) => by_coupon(state, &id, &hash.name("coupon"), purchase),
        (None, Some(id), None) => {
            by_promotion_code(state, &id, &hash.name("promotion_code"), purchase)
        }
        (None, None, Some(id)) => existing(state, id, &hash.name("discount"), purchase),
        (None, None, None) => Err(ApiError::missing_parameter(&hash.name("coupon"))),
        _ => {
            let message = "You may only specify one of these parameters: coupon, discount, \
                           promotion_code.";
            Err(ApiError::invalid(message).param(&hash.name("coupon")))
        }
    }
}

pub fn by_coupon(
    state: &State,
    id: &str,
    param: &str,
    purchase: Purchase<'_>,
) -> Result<Wanted, ApiError> {
    let coupon = coupons::redeemable(state, id, param)?;
    check_currency(coupon, param, purchase)?;
    Ok(Wanted::New { coupon: id.to_owned(), promotion_code: None })
}

pub fn by_promotion_code(
    state: &State,
    id: &str,
    param: &str,
    purchase: Purchase<'_>,
) -> Result<Wanted, ApiError> {
    let promotion = promotion_codes::existing(state, id, param)?;
    check_promotion_code(state, promotion, purchase).map_err(|error| error.param(param))?;
    let coupon = promotion.coupon.clone();
    Ok(Wanted::New { coupon, promotion_code: Some(promotion.id.clone()) })
}

/// A discount the customer, or something of theirs, has already.
fn existing(
    state: &State,
    id: String,
    param: &str,
    purchase: Purchase<'_>,
) -> Result<Wanted, ApiError> {
    let found = state.discounts.get(&id).filter(|row| !row.removed);
    let theirs = found.is_some_and(|row| row.place.customer.as_deref() == purchase.customer);
    if theirs { Ok(Wanted::Kept(id)) } else { Err(ApiError::no_such("discount", &id, param)) }
}

fn check_currency(coupon: &Coupon, param: &str, purchase: Purchase<'_>) -> Result<(), ApiError> {
    match purchase.currency {
        Some(currency) if !coupon.works_in(currency) => {
            let id = &coupon.id;
            let message = format!("The coupon {id} takes no amount off in {currency}.");
            Err(ApiError::invalid(message).param(param))
        }
        _ => Ok(()),
    }
}

/// Everything that keeps a promotion code from being redeemed here and now.
pub fn check_promotion_code(
    state: &State,
    promotion: &PromotionCode,
    purchase: Purchase<'_>,
) -> Result<(), ApiError> {
    let now = state.clock.now();
    let coupon = coupons::existing(state, &promotion.coupon, "coupon")?;
    let refuse = |message: &str| Err(ApiError::invalid(message));
    let expired = promotion.expires_at.is_some_and(|last| last <= now)
        || coupon.redeem_by.is_some_and(|last| last <= now);
    if expired {
        let error = ApiError::invalid("This promotion code has expired.");
        return Err(error.code("coupon_expired"));
    }
    if !promotion.enabled {
        return refuse("This promotion code is inactive.");
    }
    if !promotion.is_active(state) {
        return refuse("This promotion code has been redeemed as often as it can be.");
    }
    if promotion.customer.is_some() && promotion.customer.as_deref() != purchase.customer {
        return refuse("This promotion code cannot be redeemed by this customer.");
    }
    if promotion.restrictions.first_time_transaction
        && purchase.customer.is_some_and(|customer| has_paid(state, customer))
    {
        return refuse(
            "This promotion code cannot be redeemed because the associated customer has prior \
             transactions.",
        );
    }
    check_currency(coupon, "promotion_code", purchase)?;
    check_minimum(promotion, purchase)
}

fn check_minimum(promotion: &PromotionCode, purchase: Purchase<'_>) -> Result<(), ApiError> {
    let minimums = &promotion.restrictions.minimum_amounts;
    let (Some(currency), Some(amount)) = (purchase.currency, purchase.amount) else {
        return Ok(());
    };
    match minimums.get(currency) {
        None if minimums.is_empty() => Ok(()),
        None => {
            let message = format!("This promotion code cannot be redeemed in {currency}.");
            Err(ApiError::invalid(message))
        }
        Some(least) if *least <= amount => Ok(()),
        Some(least) => {
            let least = currencies::show(*least, currency);
            let message = format!("This promotion code needs a purchase of at least {least}.");
            Err(ApiError::invalid(message))
        }
    }
}

/// Whether the customer has ever paid for anything.
fn has_paid(state: &State, customer: &str) -> bool {
    let is_paid = |row: &Invoice| row.status == invoices::Status::Paid && 0 < row.total();
    state.invoices.of(customer).any(is_paid)
        || state.payment_intents.of(customer).any(PaymentIntent::is_succeeded)
}
