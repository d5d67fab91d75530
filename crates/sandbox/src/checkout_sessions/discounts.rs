//! The coupon or promotion code of a Checkout session: given by the shop, typed by the buyer, and
//! redeemed when the session completes.

use crate::checkout_sessions::amounts::{SessionDiscount, settle};
use crate::checkout_sessions::create::check_total;
use crate::checkout_sessions::{CheckoutSession, Status, find};
use crate::discounts::read::{self, Purchase, Wanted};
use crate::discounts::{self, Place};
use crate::errors::ApiError;
use crate::params::Params;
use crate::promotion_codes;
use crate::state::State;
use crate::transactions::Tx;

/// `discounts[]` of a new session.
pub fn read(
    state: &State,
    params: &mut Params,
    session: &mut CheckoutSession,
) -> Result<(), ApiError> {
    if params.has("discounts") && session.allow_promotion_codes.is_some() {
        let message = "You may only specify one of these parameters: allow_promotion_codes, \
                       discounts.";
        return Err(ApiError::invalid(message).param("discounts"));
    }
    let wanted = read::list(state, params, purchase(session))?.unwrap_or_default();
    if 1 < wanted.len() {
        return Err(params.invalid("discounts", "A Checkout Session takes one discount only"));
    }
    for wanted in wanted {
        match wanted {
            Wanted::New { coupon, promotion_code } => {
                session.discounts.push(SessionDiscount { coupon, promotion_code });
            }
            Wanted::Kept(_) => {
                return Err(ApiError::missing_parameter("discounts[0][coupon]"));
            }
        }
    }
    Ok(())
}

fn purchase(session: &CheckoutSession) -> Purchase<'_> {
    Purchase {
        customer: session.customer.as_deref(),
        currency: Some(&session.currency),
        amount: Some(session.amount_subtotal()),
    }
}

/// The open session, if its buyer may type a code.
fn taking_codes(state: &State, id: &str) -> Result<CheckoutSession, ApiError> {
    let session = find(state, id)?;
    if session.status != Status::Open {
        return Err(ApiError::invalid("This Checkout Session is no longer open."));
    }
    if session.allow_promotion_codes != Some(true) {
        return Err(ApiError::invalid("This Checkout Session takes no promotion codes."));
    }
    Ok(session.clone())
}

pub fn apply_code(tx: &mut Tx<'_>, id: &str, code: &str) -> Result<(), ApiError> {
    let mut session = taking_codes(tx.state, id)?;
    let customer = session.customer.as_deref();
    let found = promotion_codes::by_code(tx.state, code.trim(), customer);
    let promotion = found.ok_or_else(|| {
        ApiError::invalid("This code is invalid.").code("resource_missing").param("promotion_code")
    })?;
    read::check_promotion_code(tx.state, promotion, purchase(&session))
        .map_err(|error| error.param("promotion_code"))?;
    let coupon = promotion.coupon.clone();
    session.discounts =
        vec![SessionDiscount { coupon, promotion_code: Some(promotion.id.clone()) }];
    settle(tx.state, &mut session);
    if session.amount_subtotal() != 0 && session.amount_discount() == 0 {
        let message = "This code does not apply to anything in this order.";
        return Err(ApiError::invalid(message).param("promotion_code"));
    }
    check_total(&session)?;
    tx.state.checkout_sessions.put(session);
    Ok(())
}

pub fn remove_code(tx: &mut Tx<'_>, id: &str) -> Result<(), ApiError> {
    let mut session = taking_codes(tx.state, id)?;
    session.discounts.clear();
    settle(tx.state, &mut session);
    tx.state.checkout_sessions.put(session);
    Ok(())
}

/// The session completes: its coupon is used, if it still can be.
pub fn redeem(
    tx: &mut Tx<'_>,
    session: &CheckoutSession,
    place: &Place,
) -> Result<Vec<String>, ApiError> {
    let mut wanted = Vec::new();
    for found in &session.discounts {
        wanted.push(match &found.promotion_code {
            Some(id) => read::by_promotion_code(tx.state, id, "discounts", purchase(session))?,
            None => read::by_coupon(tx.state, &found.coupon, "discounts", purchase(session))?,
        });
    }
    Ok(discounts::attach(tx, wanted, place))
}
