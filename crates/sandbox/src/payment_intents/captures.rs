//! Manual capture: money is authorized first and taken later, in full, in part or not at all.

use serde_json::Value;

use crate::charges;
use crate::charges::How;
use crate::clock::DAY;
use crate::completions;
use crate::currencies;
use crate::disputes;
use crate::errors::ApiError;
use crate::params::MAX_AMOUNT;
use crate::payment_intents::{
    PaymentIntent, Status, cancel_now, find, settle, unexpected_state, view,
};
use crate::payment_methods::PaymentMethod;
use crate::refunds;
use crate::requests::Call;
use crate::transactions::Tx;

/// A bank holds authorized money this long.
pub const AUTHORIZED_DAYS: i64 = 7;

pub fn authorize(tx: &mut Tx<'_>, intent: &mut PaymentIntent, method: &PaymentMethod) {
    intent.latest_charge = Some(charges::record(tx, intent, method, How::Authorized));
    intent.status = Status::RequiresCapture;
    intent.due_at = Some(tx.now + AUTHORIZED_DAYS * DAY);
    settle(tx, intent, "payment_intent.amount_capturable_updated");
}

/// Takes a part of the authorized money, and gives up the rest.
pub fn capture_now(tx: &mut Tx<'_>, intent: &mut PaymentIntent, amount: i64) {
    let found = intent.latest_charge.as_ref().and_then(|id| tx.state.charges.get(id).cloned());
    let Some(mut charge) = found else {
        return;
    };
    charge.captured = true;
    charge.amount_captured = amount;
    charge.statement_descriptor = intent.statement_descriptor.clone();
    charge.statement_descriptor_suffix = intent.statement_descriptor_suffix.clone();
    charges::book(tx, &mut charge);
    let rest = charge.amount - amount;
    if 0 < rest {
        refunds::release(tx, &mut charge, rest, None);
    }
    let (id, sequel) = (charge.id.clone(), charge.instrument.card().map(|card| card.sequel));
    charges::save(tx, charge, "charge.captured");
    intent.status = Status::Succeeded;
    intent.amount_received = amount;
    intent.due_at = None;
    settle(tx, intent, "payment_intent.succeeded");
    if let Some(sequel) = sequel {
        disputes::follow(tx, &id, sequel);
    }
    completions::intent_captured(tx, intent);
}

/// Gives the authorized money back without having taken it.
pub fn release(tx: &mut Tx<'_>, intent: &PaymentIntent, reason: Option<&str>) {
    let found = intent.latest_charge.as_ref().and_then(|id| tx.state.charges.get(id).cloned());
    let Some(mut charge) = found else {
        return;
    };
    let amount = charge.amount;
    refunds::release(tx, &mut charge, amount, reason);
    let event = if reason.is_some() { "charge.expired" } else { "charge.refunded" };
    charges::save(tx, charge, event);
}

/// Nobody captured it in time.
pub fn expire(tx: &mut Tx<'_>, intent: &mut PaymentIntent) {
    release(tx, intent, Some("expired_uncaptured_charge"));
    intent.status = Status::RequiresConfirmation;
    cancel_now(tx, intent, Some("automatic"));
}

fn check_amount(amount: i64, intent: &PaymentIntent, param: &str) -> Result<(), ApiError> {
    if amount <= intent.amount {
        return Ok(());
    }
    let message = format!(
        "The amount to capture ({}) is greater than the amount authorized ({}).",
        currencies::show(amount, &intent.currency),
        currencies::show(intent.amount, &intent.currency),
    );
    Err(ApiError::invalid(message).code("amount_too_large").param(param))
}

pub fn capture(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let mut intent = find(tx.state, call.id())?.clone();
    let params = &mut call.params;
    let amount = params.within("amount_to_capture", 1, MAX_AMOUNT)?;
    let is_final = params.boolean("final_capture")?.unwrap_or(true);
    params.metadata()?.apply(&mut intent.metadata);
    params.change("statement_descriptor")?.apply(&mut intent.statement_descriptor);
    params.change("statement_descriptor_suffix")?.apply(&mut intent.statement_descriptor_suffix);
    params.ignore(&["amount_details", "hooks", "payment_details"]);
    params.refuse(&["application_fee_amount", "transfer_data"])?;
    params.finish()?;
    if intent.status != Status::RequiresCapture {
        return Err(unexpected_state(tx.state, &intent, "capture"));
    }
    if !is_final {
        let message = "This PaymentIntent is not eligible for being captured more than once.";
        return Err(ApiError::invalid(message).param("final_capture"));
    }
    let amount = amount.unwrap_or(intent.amount);
    check_amount(amount, &intent, "amount_to_capture")?;
    capture_now(tx, &mut intent, amount);
    Ok(view(tx.state, &intent))
}

/// `/v1/charges/{id}/capture`: the charge's way to the same end.
pub fn capture_charge(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let id = call.id().to_owned();
    let found = tx.state.charges.get(&id);
    let charge = found.ok_or_else(|| ApiError::not_found("charge", &id))?.clone();
    let params = &mut call.params;
    let amount = params.within("amount", 1, MAX_AMOUNT)?;
    let descriptor = params.change("statement_descriptor")?;
    let suffix = params.change("statement_descriptor_suffix")?;
    params.ignore(&["receipt_email", "transfer_group"]);
    params.refuse(&["application_fee", "application_fee_amount", "transfer_data"])?;
    params.finish()?;
    let mut intent = find(tx.state, &charge.payment_intent)?.clone();
    if intent.status != Status::RequiresCapture || intent.latest_charge.as_ref() != Some(&id) {
        let (message, code) = match (charge.captured, charge.refunded()) {
            (true, _) => {
                (format!("Charge {id} has already been captured."), "charge_already_captured")
            }
            (false, true) => {
                (format!("Charge {id} has expired or was refunded."), "charge_expired_for_capture")
            }
            (false, false) => {
                (format!("Charge {id} cannot be captured."), "charge_invalid_parameter")
            }
        };
        return Err(ApiError::invalid(message).code(code));
    }
    descriptor.apply(&mut intent.statement_descriptor);
    suffix.apply(&mut intent.statement_descriptor_suffix);
    let amount = amount.unwrap_or(intent.amount);
    check_amount(amount, &intent, "amount")?;
    capture_now(tx, &mut intent, amount);
    let found = tx.state.charges.get(&id);
    Ok(charges::view(tx.state, found.ok_or_else(|| ApiError::not_found("charge", &id))?))
}

/// Asks the bank to hold more, where that was asked for at the confirmation.
pub fn increment(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let mut intent = find(tx.state, call.id())?.clone();
    let params = &mut call.params;
    let amount = params.within("amount", 1, MAX_AMOUNT)?;
    let amount = amount.ok_or_else(|| ApiError::missing_parameter("amount"))?;
    params.change("description")?.apply(&mut intent.description);
    params.metadata()?.apply(&mut intent.metadata);
    params.change("statement_descriptor")?.apply(&mut intent.statement_descriptor);
    params.ignore(&["amount_details", "hooks", "payment_details"]);
    params.refuse(&["application_fee_amount", "transfer_data"])?;
    params.finish()?;
    if intent.status != Status::RequiresCapture {
        return Err(unexpected_state(tx.state, &intent, "increment the authorization of"));
    }
    if !intent.method_options.incremental_authorization {
        let message = "This PaymentIntent is not eligible for incremental authorization: confirm \
                       it with `payment_method_options[card][request_incremental_authorization]` \
                       set to `if_available`.";
        return Err(ApiError::invalid(message));
    }
    if amount <= intent.amount {
        let message = "The new amount must be greater than the amount authorized so far.";
        return Err(ApiError::invalid(message).param("amount"));
    }
    intent.amount = amount;
    if let Some(mut charge) =
        intent.latest_charge.as_ref().and_then(|id| tx.state.charges.get(id).cloned())
    {
        let before = charges::view(tx.state, &charge);
        charge.amount = amount;
        let after = charges::view(tx.state, &charge);
        tx.state.charges.put(charge);
        tx.emit_change("charge.updated", &before, after);
    }
    settle(tx, &intent, "payment_intent.amount_capturable_updated");
    Ok(view(tx.state, &intent))
}
