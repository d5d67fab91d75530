//! Discounts: coupons at work on a customer, a subscription, an invoice or a Checkout page.

use crate::checkout_sessions::{self, Status};
use crate::errors::ApiError;
use crate::promotion_codes;
use crate::transactions::Tx;

/// The buyer typed a promotion code on the Checkout page.
pub fn apply_code(tx: &mut Tx<'_>, session_id: &str, code: &str) -> Result<(), ApiError> {
    let session = checkout_sessions::find(tx.state, session_id)?;
    if session.status != Status::Open || session.allow_promotion_codes != Some(true) {
        return Err(ApiError::invalid("This Checkout Session takes no promotion codes."));
    }
    let found = promotion_codes::by_code(tx.state, code.trim(), session.customer.as_deref());
    match found {
        Some(promotion) if promotion.is_active(tx.state) => Ok(()),
        Some(_) => Err(ApiError::invalid("This code has expired.")),
        None => Err(ApiError::invalid("This code is invalid.")),
    }
}

/// The buyer took the promotion code back.
pub fn remove_code(tx: &mut Tx<'_>, session_id: &str) -> Result<(), ApiError> {
    checkout_sessions::find(tx.state, session_id)?;
    Ok(())
}
