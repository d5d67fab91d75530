//! Payments of an invoice besides its own: payment intents attached by hand, in part or in whole.

use serde_json::Value;

use crate::customer_balance_transactions::{self as balances, Kind, Movement};
use crate::errors::ApiError;
use crate::invoice_payments;
use crate::invoices::render::view;
use crate::invoices::settlements::ask_for;
use crate::invoices::{Status, cancel_intent, find, mark_paid, not_payable, save};
use crate::payment_intents::{self, PaymentIntent};
use crate::requests::Call;
use crate::transactions::Tx;

pub fn attach(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let id = call.id().to_owned();
    call.params.refuse(&["payment_record"])?;
    let wanted = call.params.required("payment_intent")?;
    call.params.finish()?;
    let invoice = find(tx.state, &id)?.clone();
    if !matches!(invoice.status, Status::Open | Status::Uncollectible) {
        return Err(not_payable());
    }
    let found = tx.state.payment_intents.get(&wanted).cloned();
    let param = "payment_intent";
    let intent = found.ok_or_else(|| ApiError::no_such("payment_intent", &wanted, param))?;
    let refuse = |message: &str| Err(ApiError::invalid(message).param(param));
    if intent.customer.as_ref().is_some_and(|customer| *customer != invoice.customer) {
        return refuse("The PaymentIntent belongs to another customer.");
    }
    if intent.currency != invoice.currency {
        return refuse("The PaymentIntent must be in the invoice's currency.");
    }
    let taken = tx.state.invoice_payments.of(&wanted).next().is_some();
    if intent.invoice.is_some() || taken {
        return refuse("The PaymentIntent is already attached to an invoice.");
    }
    if intent.status == payment_intents::Status::Canceled {
        return refuse("A canceled PaymentIntent cannot be attached.");
    }
    invoice_payments::attach(tx, &invoice, &intent);
    if intent.is_succeeded() {
        succeeded(tx, &intent)?;
    }
    Ok(view(tx.state, find(tx.state, &id)?))
}

/// An attached payment intent was paid: what is left of the invoice follows.
pub fn succeeded(tx: &mut Tx<'_>, intent: &PaymentIntent) -> Result<(), ApiError> {
    let attached = tx.state.invoice_payments.of(&intent.id);
    let open = { attached }.find(|payment| payment.attached && payment.paid_at.is_none()).cloned();
    let Some(payment) = open else {
        return Ok(());
    };
    let id = payment.invoice.clone();
    let mut invoice = find(tx.state, &id)?.clone();
    if !matches!(invoice.status, Status::Open | Status::Uncollectible) {
        return Ok(());
    }
    let before = view(tx.state, &invoice);
    let remaining = invoice.amount_remaining();
    let excess = payment.amount.saturating_sub(remaining).max(0);
    invoice.amount_paid = invoice.amount_paid.saturating_add(payment.amount.min(remaining));
    invoice.amount_overpaid = excess;
    let after = view(tx.state, &invoice);
    tx.state.invoices.put(invoice.clone());
    invoice_payments::settle(tx, payment);
    tx.emit_change("invoice.updated", &before, after);
    if invoice.amount_remaining() != 0 {
        ask_for(tx, &id, invoice.amount_remaining());
        return Ok(());
    }
    cancel_intent(tx, &id);
    mark_paid(tx, &id)?;
    if 0 < excess {
        let movement = Movement::of_invoice(Kind::InvoiceOverpaid, -excess, &id);
        balances::post(tx, &invoice.customer, &invoice.currency, movement)?;
        let invoice = find(tx.state, &id)?.clone();
        save(tx, &invoice, "invoice.overpaid");
    }
    Ok(())
}
