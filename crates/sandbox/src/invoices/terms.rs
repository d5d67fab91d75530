//! When an invoice is due and becomes final, what it belongs to, and what it revises.

use crate::clock::DAY;
use crate::errors::ApiError;
use crate::ids;
use crate::invoices::dues::DRAFT_SECONDS;
use crate::invoices::{Invoice, Status, find, void_now};
use crate::params::Params;
use crate::state::State;
use crate::transactions::Tx;

/// Parameters that creation and update share.
pub fn read(params: &mut Params, invoice: &mut Invoice, now: i64) -> Result<(), ApiError> {
    let ways = ["charge_automatically", "send_invoice"];
    if let Some(way) = params.word("collection_method", &ways)? {
        invoice.collection_method = way.to_owned();
    }
    let days = params.within("days_until_due", 0, 730)?;
    let date = params.timestamp("due_date")?;
    if days.is_some() && date.is_some() {
        let message = "You may only specify one of these parameters: days_until_due, due_date.";
        return Err(ApiError::invalid(message).param("due_date"));
    }
    if let Some(due) = date.or(days.map(|days| now.saturating_add(days * DAY))) {
        if invoice.collection_method != "send_invoice" {
            let param = if date.is_some() { "due_date" } else { "days_until_due" };
            let message = "A due date needs `collection_method` to be `send_invoice`.";
            return Err(ApiError::invalid(message).param(param));
        }
        if due < now {
            return Err(params.invalid("due_date", "The due date must not be in the past"));
        }
        invoice.due_date = Some(due);
    }
    if let Some(auto_advance) = params.boolean("auto_advance")? {
        if auto_advance && !invoice.auto_advance && invoice.finalizes_at.is_none() {
            invoice.finalizes_at = Some(now.saturating_add(DRAFT_SECONDS));
        }
        invoice.auto_advance = auto_advance;
    }
    if let Some(at) = params.timestamp("automatically_finalizes_at")? {
        if at <= now {
            let what = "The timestamp must be in the future";
            return Err(params.invalid("automatically_finalizes_at", what));
        }
        invoice.finalizes_at = Some(at);
        invoice.auto_advance = true;
    }
    params.change("effective_at")?.apply_with(&mut invoice.effective_at, |text| {
        text.parse().map_err(|_| ApiError::invalid("Invalid integer").param("effective_at"))
    })?;
    params.change("number")?.apply(&mut invoice.number);
    Ok(())
}

/// What a final invoice has promised stays.
pub fn check_editable(params: &Params, invoice: &Invoice) -> Result<(), ApiError> {
    let fixed = [
        "automatically_finalizes_at",
        "collection_method",
        "custom_fields",
        "days_until_due",
        "effective_at",
        "footer",
        "number",
    ];
    match fixed.iter().find(|key| invoice.status != Status::Draft && params.has(key)) {
        None => Ok(()),
        Some(key) => {
            let message = format!("{key} cannot be changed once the invoice is finalized.");
            Err(ApiError::invalid(message).code("invoice_not_editable").param(key))
        }
    }
}

/// An invoice to be sent says when it is due.
pub fn check_due(invoice: &Invoice) -> Result<(), ApiError> {
    if invoice.collection_method == "send_invoice" && invoice.due_date.is_none() {
        let message = "If collection_method is `send_invoice`, you must pass days_until_due or \
                       due_date.";
        return Err(ApiError::invalid(message).param("days_until_due"));
    }
    Ok(())
}

/// `subscription`: the invoice takes in what waits for it.
pub fn read_subscription(
    state: &State,
    params: &mut Params,
    invoice: &mut Invoice,
) -> Result<(), ApiError> {
    let Some(id) = params.text("subscription")? else {
        return Ok(());
    };
    let found = state.subscriptions.get(&id).filter(|row| row.customer == invoice.customer);
    let found = found.ok_or_else(|| ApiError::no_such("subscription", &id, "subscription"))?;
    let method = invoice.collection_method.clone();
    invoice.attach_to(found);
    invoice.collection_method = method;
    invoice.currency = found.currency.clone();
    Ok(())
}

/// `from_invoice`: a draft that is to replace a final invoice.
pub fn read_revised(tx: &Tx<'_>, params: &mut Params) -> Result<Option<Invoice>, ApiError> {
    let Some(mut from) = params.hash("from_invoice")? else {
        return Ok(None);
    };
    let action = from.word("action", &["revision"])?;
    action.ok_or_else(|| ApiError::missing_parameter("from_invoice[action]"))?;
    let param = from.name("invoice");
    let id = from.required("invoice")?;
    from.finish()?;
    let found = tx.state.invoices.get(&id);
    let old = found.ok_or_else(|| ApiError::no_such("invoice", &id, &param))?;
    if !matches!(old.status, Status::Open | Status::Uncollectible) {
        let message = "Only an open or uncollectible invoice can be revised.";
        return Err(ApiError::invalid(message).param(&param));
    }
    let customer = crate::customers::live(tx.state, &old.customer, "customer")?;
    let mut new = Invoice::new(customer, &old.currency, "manual", tx.now);
    new.lines = old.lines.clone();
    for line in &mut new.lines {
        line.id = ids::object("il");
        line.invoice_item = None;
    }
    new.description = old.description.clone();
    new.metadata = old.metadata.clone();
    new.collection_method = old.collection_method.clone();
    new.due_date = old.due_date.map(|due| due.max(tx.now));
    new.default_payment_method = old.default_payment_method.clone();
    new.paper = old.paper.clone();
    new.paper.recipient = None;
    new.paper.from_invoice = Some(id);
    new.auto_advance = false;
    Ok(Some(new))
}

/// A revision that becomes final makes the invoice it revises void.
pub fn replace_revised(tx: &mut Tx<'_>, invoice: &Invoice) -> Result<(), ApiError> {
    let Some(old) = &invoice.paper.from_invoice else {
        return Ok(());
    };
    let mut row = find(tx.state, old)?.clone();
    row.paper.latest_revision = Some(invoice.id.clone());
    let open = matches!(row.status, Status::Open | Status::Uncollectible);
    tx.state.invoices.put(row);
    if open { void_now(tx, old).map(|_| ()) } else { Ok(()) }
}
