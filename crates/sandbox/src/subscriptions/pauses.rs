//! Pausing a subscription, so that it makes no invoices, and resuming it.

use serde_json::{Value, json};

use crate::cards::Presence;
use crate::errors::ApiError;
use crate::invoices::{self, Invoice};
use crate::params::Params;
use crate::plan_changes::PRORATIONS;
use crate::prorations::Billed;
use crate::requests::Call;
use crate::subscriptions::{Status, Subscription, find, save, view};
use crate::transactions::Tx;
use crate::{billing, cancellations, invoice_items, payment_methods, plan_changes};

/// An invoice that would resume a subscription may be paid this long.
const RESUME_SECONDS: i64 = 23 * 3_600;

pub fn pause(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let subscription = find(tx.state, call.id())?.clone();
    let id = subscription.id.clone();
    let params = &mut call.params;
    params.word("type", &["subscription"])?;
    let (gives_back, bills_usage) = read_bill_for(params)?;
    let behavior = params.word("invoicing_behavior", &["invoice", "pending_invoice_item"])?;
    params.finish()?;
    check_pausable(&subscription)?;
    if gives_back {
        for item in plan_changes::unused(tx, &subscription)? {
            invoice_items::announce(tx, item);
        }
    }
    if bills_usage && behavior != Some("pending_invoice_item") {
        cancellations::bill_rest(tx, &id, "subscription_update")?;
    }
    let mut subscription = find(tx.state, &id)?.clone();
    if gives_back {
        for item in &mut subscription.items {
            let (start, end) = (item.period_start, item.period_end);
            item.billed = Some(Billed { amount: 0, start, end });
        }
    }
    subscription.status = Status::Paused;
    subscription.paused_at = Some(tx.now);
    subscription.pause_requested = true;
    subscription.upcoming_at = None;
    save(tx, subscription);
    let shown = view(tx.state, find(tx.state, &id)?);
    tx.emit("customer.subscription.paused", shown.clone());
    Ok(shown)
}

fn check_pausable(subscription: &Subscription) -> Result<(), ApiError> {
    let refuse = |message: &str| Err(ApiError::invalid(message));
    if subscription.schedule.is_some() {
        return refuse("You cannot pause a subscription that is managed by a schedule.");
    }
    if !subscription.is_flexible() {
        return refuse("You can only pause subscriptions that use flexible billing mode.");
    }
    if subscription.collection_method != "charge_automatically" {
        return refuse("You can only pause subscriptions that are charged automatically.");
    }
    if subscription.status != Status::Active {
        let status = json!(subscription.status);
        let status = status.as_str().unwrap_or_default();
        return refuse(&format!(
            "You cannot pause a subscription with a status of `{status}`: it must be `active`."
        ));
    }
    Ok(())
}

/// Whether unused time is given back, and usage is billed.
fn read_bill_for(params: &mut Params) -> Result<(bool, bool), ApiError> {
    let Some(mut bill_for) = params.hash("bill_for")? else {
        return Ok((false, true));
    };
    let mut word = |key: &str, words: &[&'static str]| match bill_for.hash(key)? {
        None => Ok(None),
        Some(mut hash) => {
            let word = hash.word("type", words)?;
            hash.finish()?;
            Ok::<_, ApiError>(word)
        }
    };
    let usage = word("outstanding_usage_through", &["none", "now"])?;
    let time = word("unused_time_from", &["item_current_period_start", "none", "now"])?;
    bill_for.finish()?;
    Ok((time.is_some_and(|from| from != "none"), usage != Some("none")))
}

pub fn resume(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let mut subscription = find(tx.state, call.id())?.clone();
    let id = subscription.id.clone();
    let params = &mut call.params;
    let restarts = super::update::read_anchor(params)? != Some("unchanged");
    let behavior = params
        .word("payment_behavior", &["resume_on_payment_attempt", "resume_on_payment_success"])?;
    params.word("proration_behavior", &PRORATIONS)?;
    params.ignore(&["proration_date"]);
    params.finish()?;
    if subscription.status != Status::Paused {
        let message = "You can only resume a subscription that is paused.";
        return Err(ApiError::invalid(message));
    }
    if restarts {
        subscription.set_anchor(tx.now);
    }
    let Some(invoice) = resumption(tx, &mut subscription, restarts)? else {
        become_active(tx, subscription);
        return Ok(view(tx.state, find(tx.state, &id)?));
    };
    let invoice_id = invoice.id.clone();
    subscription.latest_invoice = Some(invoice_id.clone());
    subscription.resuming = Some(invoice_id.clone());
    save(tx, subscription);
    invoices::announce(tx, invoice);
    invoices::finalize(tx, &invoice_id)?;
    collect(tx, &id, &invoice_id, behavior == Some("resume_on_payment_success"))?;
    Ok(view(tx.state, find(tx.state, &id)?))
}

/// The invoice of the period that begins, or none where the old one goes on.
fn resumption(
    tx: &mut Tx<'_>,
    subscription: &mut Subscription,
    restarts: bool,
) -> Result<Option<Invoice>, ApiError> {
    let running = tx.now < subscription.period_end();
    if !restarts && running {
        return Ok(None);
    }
    let was = std::mem::replace(&mut subscription.status, Status::Active);
    for item in &mut subscription.items {
        item.period_start = tx.now;
        item.period_end = tx.now;
    }
    let rolled = billing::renewal(tx.state, subscription, tx.now);
    subscription.status = was;
    let mut invoice = rolled?;
    invoice.billing_reason = "subscription_update".to_owned();
    invoice_items::take_pending(tx, &mut invoice, Some(&subscription.id));
    subscription.expect_renewal(tx.state);
    subscription.upcoming_at = subscription.upcoming_at.filter(|at| tx.now < *at);
    Ok(Some(invoice))
}

fn collect(
    tx: &mut Tx<'_>,
    id: &str,
    invoice: &str,
    waits_for_success: bool,
) -> Result<(), ApiError> {
    let row = invoices::find(tx.state, invoice)?.clone();
    if row.status == invoices::Status::Open {
        let method = match billing::method_for(tx.state, &row) {
            Some(method) => Some(payment_methods::resolve(tx, &method, "payment_method")?),
            None => None,
        };
        billing::collect(tx, invoice, method.as_ref(), Presence::OffSession)?;
    }
    let subscription = find(tx.state, id)?.clone();
    let unpaid = invoices::find(tx.state, invoice)?.status == invoices::Status::Open;
    if subscription.resuming.is_some() && unpaid && !waits_for_success {
        become_active(tx, subscription);
        return crate::retries::payment_missing(tx, invoice);
    }
    Ok(())
}

/// The invoice that resumes a subscription was paid.
pub fn paid(tx: &mut Tx<'_>, subscription: &str, invoice: &str) {
    let found = tx.state.subscriptions.get(subscription).cloned();
    if let Some(row) = found.filter(|row| row.resuming.as_deref() == Some(invoice)) {
        become_active(tx, row);
    }
}

fn become_active(tx: &mut Tx<'_>, mut subscription: Subscription) {
    subscription.status = Status::Active;
    subscription.paused_at = None;
    subscription.pause_requested = false;
    subscription.resuming = None;
    let shown = view(tx.state, &subscription);
    save(tx, subscription);
    tx.emit("customer.subscription.resumed", shown);
}

impl Subscription {
    /// When an unpaid resumption is given up.
    pub fn resumption_ends_at(&self) -> Option<i64> {
        self.resuming.as_ref().map(|_| self.billing_cycle_anchor.saturating_add(RESUME_SECONDS))
    }
}

/// Nobody paid: the invoice is void, and the subscription stays paused.
pub fn give_up(tx: &mut Tx<'_>, mut subscription: Subscription) -> Result<(), ApiError> {
    let invoice = subscription.resuming.take();
    save(tx, subscription);
    match invoice {
        Some(id) if invoices::find(tx.state, &id)?.status == invoices::Status::Open => {
            invoices::void_now(tx, &id).map(|_| ())
        }
        _ => Ok(()),
    }
}
