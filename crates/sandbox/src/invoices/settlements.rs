//! What lowers the amount an invoice still asks for: credit notes, payments, the balance.

use crate::credit_notes::CreditNote;
use crate::customer_balance_transactions::{self as balances, Kind, Movement};
use crate::customers::Customer;
use crate::errors::ApiError;
use crate::invoices::render::view;
use crate::invoices::{Invoice, Status, cancel_intent, find, mark_paid, payment_of};
use crate::payment_intents;
use crate::state::State;
use crate::transactions::Tx;

impl Invoice {
    pub fn amount_remaining(&self) -> i64 {
        self.amount_due().saturating_sub(self.amount_paid).max(0)
    }
}

/// The notes of an invoice that count.
pub fn notes_of<'a>(state: &'a State, invoice: &str) -> impl Iterator<Item = &'a CreditNote> {
    state.credit_notes.of(invoice).filter(|note| note.voided_at.is_none())
}

/// The successful charge an invoice was paid with.
pub fn charge_of(state: &State, invoice: &str) -> Option<String> {
    let payments = state.invoice_payments.of(invoice);
    let paid = payments.filter(|payment| payment.paid_at.is_some());
    let intents = paid.filter_map(|payment| state.payment_intents.get(&payment.payment_intent));
    intents.filter_map(|intent| intent.latest_charge.clone()).next_back()
}

/// While a payment is under way nothing else may change what it is for.
pub fn check_not_processing(state: &State, id: &str) -> Result<(), ApiError> {
    let payments = state.invoice_payments.of(id);
    let mut intents = payments.filter_map(|row| state.payment_intents.get(&row.payment_intent));
    if intents.all(|intent| intent.status != payment_intents::Status::Processing) {
        return Ok(());
    }
    let message = "A payment of this invoice is processing. Wait for its outcome first.";
    Err(ApiError::invalid(message).code("invoice_not_editable"))
}

/// A credit note (or, negative, a void one) changes what is to be paid and what was given back. An
/// open invoice that asks for nothing any more is paid.
pub fn credit(tx: &mut Tx<'_>, id: &str, before: i64, after: i64) -> Result<(), ApiError> {
    let mut invoice = find(tx.state, id)?.clone();
    let old = view(tx.state, &invoice);
    invoice.pre_payment_credit = invoice.pre_payment_credit.saturating_add(before);
    invoice.post_payment_credit = invoice.post_payment_credit.saturating_add(after);
    let remaining = invoice.amount_remaining();
    let unpaid = matches!(invoice.status, Status::Open | Status::Uncollectible);
    let new = view(tx.state, &invoice);
    tx.state.invoices.put(invoice);
    tx.emit_change("invoice.updated", &old, new);
    if before == 0 || !unpaid {
        return Ok(());
    }
    if remaining == 0 {
        cancel_intent(tx, id);
        return mark_paid(tx, id);
    }
    ask_for(tx, id, remaining);
    Ok(())
}

/// The invoice's own payment intent follows what is left to be paid.
pub fn ask_for(tx: &mut Tx<'_>, id: &str, amount: i64) {
    let Some(mut payment) = payment_of(tx.state, id).cloned() else {
        return;
    };
    let Some(mut intent) = tx.state.payment_intents.get(&payment.payment_intent).cloned() else {
        return;
    };
    if intent.is_succeeded() {
        return;
    }
    intent.amount = amount;
    payment.amount = amount;
    tx.state.payment_intents.put(intent);
    tx.state.invoice_payments.put(payment);
}

/// A balance counts only in its own currency.
pub fn usable_balance(customer: &Customer, currency: &str) -> i64 {
    let own = customer.currency.as_ref().is_none_or(|own| own == currency);
    if own { customer.balance } else { 0 }
}

/// Takes the customer's balance into a final invoice. What cannot be charged, because it is too
/// little or negative, moves to the balance.
pub fn apply_balance(tx: &mut Tx<'_>, invoice: &mut Invoice) -> Result<(), ApiError> {
    let (start, total) = (invoice.starting_balance, invoice.total());
    let is_due = 0 < invoice.amount_due();
    let end = if is_due { 0 } else { start.saturating_add(total) };
    invoice.ending_balance = Some(end);
    let moved = end.saturating_sub(start);
    if moved == 0 {
        return Ok(());
    }
    let too_small = !is_due && (total < 0 || 0 < end);
    let kind = if too_small { Kind::InvoiceTooSmall } else { Kind::AppliedToInvoice };
    let movement = Movement::of_invoice(kind, moved, &invoice.id);
    balances::post(tx, &invoice.customer, &invoice.currency, movement)?;
    Ok(())
}

/// A void invoice gives back what it took from the balance.
pub fn return_balance(tx: &mut Tx<'_>, invoice: &Invoice) -> Result<(), ApiError> {
    let end = invoice.ending_balance.unwrap_or(invoice.starting_balance);
    let moved = end.saturating_sub(invoice.starting_balance);
    let gone = tx.state.customers.get(&invoice.customer).is_none_or(|customer| customer.deleted);
    if moved == 0 || gone {
        return Ok(());
    }
    let movement = Movement::of_invoice(Kind::UnappliedFromInvoice, -moved, &invoice.id);
    balances::post(tx, &invoice.customer, &invoice.currency, movement)?;
    Ok(())
}
