//! What an invoice does by itself: a draft becomes final, an open one is charged, announced as due
//! and overdue. And sending, which a caller may ask for.

use serde_json::Value;

use crate::billing;
use crate::clock::DAY;
use crate::errors::ApiError;
use crate::invoices::render::view;
use crate::invoices::{Invoice, Status, finalize, find, not_payable, save};
use crate::requests::Call;
use crate::subscriptions;
use crate::transactions::Tx;

/// A draft that advances by itself waits this long for changes.
pub const DRAFT_SECONDS: i64 = 3_600;
/// `invoice.will_be_due` comes this long before the due date.
const NOTICE_SECONDS: i64 = 7 * DAY;

impl Invoice {
    pub fn finalizes_at(&self) -> Option<i64> {
        let chosen = self.finalizes_at.unwrap_or(self.created.saturating_add(DRAFT_SECONDS));
        (self.status == Status::Draft && self.auto_advance).then_some(chosen)
    }

    fn notice_at(&self) -> Option<i64> {
        let at = self.due_date?.saturating_sub(NOTICE_SECONDS);
        let in_time = self.finalized_at.is_some_and(|finalized| finalized < at);
        (in_time && !self.due_notice_sent).then_some(at)
    }

    fn overdue_at(&self) -> Option<i64> {
        self.due_date.filter(|_| !self.overdue_sent)
    }

    /// The next moment at which this invoice does something.
    pub fn next_due(&self) -> Option<i64> {
        match self.status {
            Status::Draft => self.finalizes_at(),
            Status::Open => {
                let moments = [self.next_payment_attempt, self.notice_at(), self.overdue_at()];
                moments.into_iter().flatten().min()
            }
            _ => None,
        }
    }
}

/// The time of a draft, a notice, a due date or a retry has come.
pub fn due(tx: &mut Tx<'_>, id: &str) -> Result<(), ApiError> {
    let mut invoice = find(tx.state, id)?.clone();
    let has_come = |at: Option<i64>| at.is_some_and(|at| at <= tx.now);
    if invoice.status == Status::Draft {
        finalize(tx, id)?;
        return collect(tx, id);
    }
    if has_come(invoice.notice_at()) {
        invoice.due_notice_sent = true;
        save(tx, &invoice, "invoice.will_be_due");
        return Ok(());
    }
    if has_come(invoice.overdue_at()) {
        invoice.overdue_sent = true;
        save(tx, &invoice, "invoice.overdue");
        fall_behind(tx, &invoice);
        return Ok(());
    }
    if invoice.subscription.is_none() {
        invoice.next_payment_attempt = None;
        tx.state.invoices.put(invoice);
    }
    billing::invoice_due(tx, id)
}

/// The first automatic attempt on an invoice that became final by itself.
fn collect(tx: &mut Tx<'_>, id: &str) -> Result<(), ApiError> {
    let mut invoice = find(tx.state, id)?.clone();
    if invoice.collection_method == "charge_automatically" {
        invoice.next_payment_attempt = None;
        tx.state.invoices.put(invoice);
        return billing::invoice_due(tx, id);
    }
    Ok(())
}

/// A subscription whose newest invoice was not paid in time is past due.
fn fall_behind(tx: &mut Tx<'_>, invoice: &Invoice) {
    let found = invoice.subscription.as_ref().and_then(|id| tx.state.subscriptions.get(id));
    let Some(mut subscription) = found.cloned() else {
        return;
    };
    let newest = subscription.latest_invoice.as_ref() == Some(&invoice.id);
    if newest && subscription.status == subscriptions::Status::Active {
        subscription.status = subscriptions::Status::PastDue;
        subscriptions::save(tx, subscription);
    }
}

/// A one-off invoice that advances by itself is charged an hour after it became final.
pub fn plan_collection(invoice: &mut Invoice, now: i64) {
    let automatic = invoice.collection_method == "charge_automatically";
    if automatic && invoice.auto_advance && invoice.billing_reason == "manual" {
        invoice.next_payment_attempt = Some(now.saturating_add(DRAFT_SECONDS));
    }
}

/// An invoice that is to be sent and has just become final is sent by itself.
pub fn send_if_automatic(tx: &mut Tx<'_>, invoice: &Invoice) {
    if invoice.collection_method == "send_invoice" && invoice.auto_advance {
        save(tx, invoice, "invoice.sent");
    }
}

pub fn send(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    call.params.finish()?;
    let id = call.id().to_owned();
    let invoice = find(tx.state, &id)?;
    if matches!(invoice.status, Status::Void | Status::Uncollectible) {
        return Err(not_payable());
    }
    let customer = tx.state.customers.get(&invoice.customer);
    if customer.is_none_or(|customer| customer.email.is_none()) {
        let message = "The customer of this invoice has no email address to send it to.";
        return Err(ApiError::invalid(message).code("email_invalid"));
    }
    if invoice.status == Status::Draft {
        let automatic = invoice.collection_method == "send_invoice" && invoice.auto_advance;
        finalize(tx, &id)?;
        if automatic {
            // Becoming final has sent it already.
            return Ok(view(tx.state, find(tx.state, &id)?));
        }
    }
    let invoice = find(tx.state, &id)?.clone();
    Ok(save(tx, &invoice, "invoice.sent"))
}
