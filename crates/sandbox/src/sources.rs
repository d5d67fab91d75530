//! Cards as integrations older than payment methods have them: a token given to a customer as
//! `source`. Each is a payment method, too, whose id begins with `card_`.

use serde_json::{Value, json};

use crate::customers::Customer;
use crate::errors::ApiError;
use crate::ids;
use crate::params::Params;
use crate::payment_methods::{self, PaymentMethod};
use crate::state::State;
use crate::tokens;
use crate::transactions::Tx;

/// Reads `source` and `default_source`, and lets the customer have it. A new card is answered.
pub fn read(
    tx: &mut Tx<'_>,
    params: &mut Params,
    customer: &mut Customer,
) -> Result<Option<PaymentMethod>, ApiError> {
    if let Some(token) = params.text("source")? {
        let made = tx.state.tokens.get(&token).map(|row| row.card.clone());
        let instrument = tokens::redeem(tx, &token, "source")?;
        let mut method = PaymentMethod::with(instrument, tx.now);
        method.id = made.unwrap_or_else(|| ids::object("card"));
        customer.default_source = Some(method.id.clone());
        return Ok(Some(method));
    }
    let Some(id) = params.text("default_source")? else {
        return Ok(None);
    };
    let found = tx.state.payment_methods.get(&id).filter(|row| row.id.starts_with("card_"));
    if found.is_none_or(|row| row.customer.as_ref() != Some(&customer.id)) {
        return Err(ApiError::no_such("source", &id, "default_source"));
    }
    customer.default_source = Some(id);
    Ok(None)
}

/// The customer is stored: a new card becomes theirs, in place of the source of before.
pub fn settle(
    tx: &mut Tx<'_>,
    card: Option<PaymentMethod>,
    customer: &str,
    before: Option<&str>,
) -> Result<(), ApiError> {
    let Some(method) = card else {
        return Ok(());
    };
    let id = method.id.clone();
    tx.state.payment_methods.put(method);
    payment_methods::attach_to(tx, &id, customer)?;
    if let Some(before) = before {
        payment_methods::detach_from_customer(tx, before);
    }
    Ok(())
}

/// The card object behind `default_source`.
pub fn view(state: &State, id: &str) -> Option<Value> {
    let method = state.payment_methods.get(id)?;
    let mut shown = tokens::card_view(id, &method.instrument, method.billing.name.as_deref());
    shown["customer"] = json!(method.customer);
    shown["metadata"] = json!(method.metadata);
    Some(shown)
}
