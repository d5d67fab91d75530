//! After a payment of a subscription has failed: the next attempt, and what follows the last one.

use crate::billing;
use crate::cancellations;
use crate::clock::DAY;
use crate::errors::ApiError;
use crate::invoices::{self, Invoice};
use crate::settings::{AfterRetries, Settings};
use crate::state::State;
use crate::subscriptions::{self, Status};
use crate::transactions::Tx;

/// When an invoice whose attempt has just failed is tried again.
pub fn next_attempt(state: &State, invoice: &Invoice, now: i64) -> Option<i64> {
    let position = usize::try_from(invoice.attempt_count - 1).ok()?;
    let settings = Settings::of(state);
    settings.retry_days.get(position).map(|days| now + days * DAY)
}

/// Whether the sandbox itself tries to have an invoice paid: not before the first payment.
pub fn applies_to(state: &State, invoice: &Invoice) -> bool {
    let subscription = invoice.subscription.as_ref().and_then(|id| state.subscriptions.get(id));
    let running = subscription.is_some_and(|row| {
        matches!(row.status, Status::Active | Status::PastDue | Status::Trialing)
            && row.pending_update.as_ref().is_none_or(|update| update.invoice != invoice.id)
    });
    running && invoice.collection_method == "charge_automatically"
}

/// An attempt of the sandbox itself has failed.
pub fn payment_failed(tx: &mut Tx<'_>, id: &str) -> Result<(), ApiError> {
    let invoice = invoices::find(tx.state, id)?.clone();
    let has_method = billing::method_for(tx.state, &invoice).is_some();
    if invoice.next_payment_attempt.is_none() && has_method {
        return give_up(tx, &invoice);
    }
    payment_missing(tx, id)
}

/// An invoice is due and not paid.
pub fn payment_missing(tx: &mut Tx<'_>, id: &str) -> Result<(), ApiError> {
    let invoice = invoices::find(tx.state, id)?;
    let found = invoice.subscription.as_ref().and_then(|id| tx.state.subscriptions.get(id));
    let Some(mut subscription) = found.cloned() else {
        return Ok(());
    };
    let newest = subscription.latest_invoice.as_deref() == Some(id);
    if newest && subscription.status == Status::Active {
        subscription.status = Status::PastDue;
        subscriptions::save(tx, subscription);
    }
    Ok(())
}

/// The last attempt has failed: the subscription ends, or goes on without being paid.
fn give_up(tx: &mut Tx<'_>, invoice: &Invoice) -> Result<(), ApiError> {
    let found = invoice.subscription.as_ref().and_then(|id| tx.state.subscriptions.get(id));
    let Some(mut subscription) = found.cloned() else {
        return Ok(());
    };
    let mut invoice = invoices::find(tx.state, &invoice.id)?.clone();
    invoice.auto_advance = false;
    tx.state.invoices.put(invoice.clone());
    let newest = subscription.latest_invoice.as_ref() == Some(&invoice.id);
    if !newest && subscription.status == Status::Active {
        // Newer invoices were paid since.
        return Ok(());
    }
    let status = match Settings::of(tx.state).after_retries {
        AfterRetries::Cancel => {
            cancellations::end_now(tx, &subscription.id, "payment_failed");
            return Ok(());
        }
        AfterRetries::Unpaid => Status::Unpaid,
        AfterRetries::PastDue => Status::PastDue,
    };
    subscription.status = status;
    subscriptions::save(tx, subscription);
    Ok(())
}
