//! Invoices paid by bank debit: open while the bank takes its time, then paid or failed.

use crate::billing;
use crate::errors::ApiError;
use crate::invoices;
use crate::payment_intents::PaymentIntent;
use crate::retries;
use crate::subscriptions;
use crate::subscriptions::Status;
use crate::transactions::Tx;

/// A debit is under way: nothing else is tried meanwhile, and a new subscription begins.
pub fn begin(tx: &mut Tx<'_>, id: &str) -> Result<(), ApiError> {
    let mut invoice = billing::count_attempt(tx, id)?;
    invoice.next_payment_attempt = None;
    let found = invoice.subscription.as_ref().and_then(|id| tx.state.subscriptions.get(id));
    let found = found.cloned();
    tx.state.invoices.put(invoice);
    if let Some(mut subscription) = found
        && subscription.status == Status::Incomplete
    {
        subscription.status = Status::Active;
        subscriptions::save(tx, subscription);
    }
    Ok(())
}

/// The bank has answered: the invoice and its subscription follow.
pub fn settled(tx: &mut Tx<'_>, intent: &PaymentIntent) -> Result<(), ApiError> {
    let invoice = intent.invoice.as_ref().and_then(|id| tx.state.invoices.get(id)).cloned();
    let Some(invoice) = invoice.filter(|invoice| invoice.status == invoices::Status::Open) else {
        return Ok(());
    };
    let id = invoice.id.clone();
    if intent.is_succeeded() {
        return invoices::mark_paid(tx, &id);
    }
    billing::tell_failure(tx, invoice, "invoice.payment_failed");
    retries::payment_failed(tx, &id)
}
