//! Lines of a draft: added, changed, removed, one by one or many at once.

use serde_json::{Value, json};

use crate::costs;
use crate::errors::ApiError;
use crate::invoice_items::{self, InvoiceItem};
use crate::invoices::render::view;
use crate::invoices::{Invoice, Line, Status, find};
use crate::params::{MAX_AMOUNT, Params};
use crate::prices;
use crate::requests::Call;
use crate::state::State;
use crate::transactions::Tx;

/// A draft to be changed.
fn draft(tx: &Tx<'_>, id: &str) -> Result<Invoice, ApiError> {
    let invoice = find(tx.state, id)?.clone();
    if invoice.status != Status::Draft {
        let message = "This invoice is no longer editable.";
        return Err(ApiError::invalid(message).code("invoice_not_editable"));
    }
    Ok(invoice)
}

/// Stores a changed draft and tells of the change.
fn save(tx: &mut Tx<'_>, invoice: Invoice) -> Result<Value, ApiError> {
    let before = view(tx.state, find(tx.state, &invoice.id)?);
    let after = view(tx.state, &invoice);
    tx.state.invoices.put(invoice);
    tx.emit_change("invoice.updated", &before, after.clone());
    Ok(after)
}

/// What a request says of a line: what it costs, what it is called, when it was.
pub fn edit(
    state: &State,
    params: &mut Params,
    currency: &str,
    line: &mut Line,
) -> Result<(), ApiError> {
    let costs_of_a_line = ["amount", "quantity", "pricing", "unit_amount_decimal"];
    let own = line.subscription_item.is_none() || line.invoice_item.is_some();
    if let Some(key) = costs_of_a_line.iter().find(|key| !own && params.has(key)) {
        let name = params.name(key);
        let message = format!("{name} of a line that a subscription made cannot be changed.");
        return Err(ApiError::invalid(message).param(&name));
    }
    if let Some(quantity) = params.quantity("quantity")? {
        line.quantity = quantity;
        let whole = line.unit.and_then(|unit| unit.times(quantity));
        line.amount = whole.unwrap_or(line.amount);
    }
    if let Some(mut pricing) = params.hash("pricing")? {
        let id = pricing.required("price")?;
        let price = prices::existing(state, &id, &pricing.name("price"))?;
        pricing.finish()?;
        if price.currency != currency {
            let message = "The price must be in the invoice's currency.";
            return Err(ApiError::invalid(message).param(&pricing.name("price")));
        }
        line.amount = price.amount(line.quantity)?;
        line.unit = price.unit_amount();
        line.product = Some(price.product.clone());
        line.price = Some(id);
    }
    if params.has("unit_amount_decimal") {
        let unit = costs::read_decimal(params, "unit_amount")?;
        let amount = unit.and_then(|unit| unit.times(line.quantity));
        line.amount = amount.ok_or_else(|| params.invalid("unit_amount_decimal", "Invalid"))?;
        line.unit = unit;
    }
    if let Some(amount) = params.within("amount", -MAX_AMOUNT, MAX_AMOUNT)? {
        line.amount = amount;
        line.unit = None;
    }
    params.change("description")?.apply(&mut line.description);
    params.metadata()?.apply(&mut line.metadata);
    if let Some(mut period) = params.hash("period")? {
        line.period_start = period.timestamp("start")?.unwrap_or(line.period_start);
        line.period_end = period.timestamp("end")?.unwrap_or(line.period_end);
        if line.period_end < line.period_start {
            return Err(period.invalid("end", "The end must not be before the start"));
        }
        period.finish()?;
    }
    params.ignore(&["discountable", "tax_behavior", "tax_code"]);
    params.refuse(&["discounts", "price_data", "quantity_decimal", "tax_amounts", "tax_rates"])
}

/// Changes a line of the invoice, and the invoice item it came from.
fn change(
    tx: &mut Tx<'_>,
    invoice: &mut Invoice,
    id: &str,
    params: &mut Params,
    param: &str,
) -> Result<(), ApiError> {
    let currency = invoice.currency.clone();
    let found = invoice.lines.iter_mut().find(|line| line.id == id);
    let line = found.ok_or_else(|| ApiError::no_such("invoice line item", id, param))?;
    edit(tx.state, params, &currency, line)?;
    params.finish()?;
    let made_by = line.invoice_item.as_ref().and_then(|item| tx.state.invoice_items.get(item));
    if let Some(mut item) = made_by.cloned() {
        item.line = line.clone();
        tx.state.invoice_items.put(item);
    }
    Ok(())
}

/// `/v1/invoices/{}/lines/{}`
pub fn update_one(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let mut invoice = draft(tx, &call.parent)?;
    let id = call.id().to_owned();
    change(tx, &mut invoice, &id, &mut call.params, "id")?;
    let shown = save(tx, invoice)?;
    let lines = shown["lines"]["data"].as_array();
    let line = lines.and_then(|lines| lines.iter().find(|line| line["id"] == json!(id)));
    Ok(line.cloned().unwrap_or_default())
}

fn read_lines(params: &mut Params, invoice: &mut Invoice) -> Result<Vec<Params>, ApiError> {
    let lines = params.hashes("lines")?;
    if lines.is_empty() {
        return Err(ApiError::missing_parameter("lines"));
    }
    let mut metadata = Params::new(serde_json::Map::new());
    if let Some(changes) = params.take("invoice_metadata") {
        metadata.put("metadata", changes);
    }
    metadata.metadata()?.apply(&mut invoice.metadata);
    params.finish()?;
    Ok(lines)
}

pub fn update(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let mut invoice = draft(tx, call.id())?;
    for mut hash in read_lines(&mut call.params, &mut invoice)? {
        let id = hash.required("id")?;
        let param = hash.name("id");
        change(tx, &mut invoice, &id, &mut hash, &param)?;
    }
    save(tx, invoice)
}

pub fn add(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let mut invoice = draft(tx, call.id())?;
    for mut hash in read_lines(&mut call.params, &mut invoice)? {
        let mut item = match hash.text("invoice_item")? {
            Some(id) => {
                let found = tx.state.invoice_items.get(&id);
                let waits = found.filter(|item| {
                    item.invoice.is_none()
                        && item.customer == invoice.customer
                        && item.currency == invoice.currency
                });
                let param = hash.name("invoice_item");
                waits.ok_or_else(|| ApiError::no_such("invoiceitem", &id, &param))?.clone()
            }
            None => {
                let costs = ["amount", "pricing", "unit_amount_decimal"];
                if !costs.iter().any(|key| hash.has(key)) {
                    return Err(ApiError::missing_parameter(&hash.name("amount")));
                }
                InvoiceItem::new(&invoice.customer, &invoice.currency, 0, tx.now)
            }
        };
        edit(tx.state, &mut hash, &invoice.currency, &mut item.line)?;
        hash.finish()?;
        item.invoice = Some(invoice.id.clone());
        invoice.lines.push(item.line.clone());
        if tx.state.invoice_items.get(&item.id).is_some() {
            tx.state.invoice_items.put(item);
        } else {
            invoice_items::announce(tx, item);
        }
    }
    save(tx, invoice)
}

pub fn remove(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let mut invoice = draft(tx, call.id())?;
    for mut hash in read_lines(&mut call.params, &mut invoice)? {
        let id = hash.required("id")?;
        let param = hash.name("id");
        let behavior = hash.word("behavior", &["delete", "unassign"])?;
        let behavior =
            behavior.ok_or_else(|| ApiError::missing_parameter(&hash.name("behavior")))?;
        hash.finish()?;
        let found = invoice.lines.iter().position(|line| line.id == id);
        let position = found.ok_or_else(|| ApiError::no_such("invoice line item", &id, &param))?;
        let line = invoice.lines.remove(position);
        let item = line.invoice_item.and_then(|item| tx.state.invoice_items.get(&item)).cloned();
        match (behavior, item) {
            ("unassign", Some(mut item)) => {
                item.invoice = None;
                tx.state.invoice_items.put(item);
            }
            ("unassign", None) => {
                let message = "Only lines that came from invoice items can be unassigned.";
                return Err(ApiError::invalid(message).param(&hash.name("behavior")));
            }
            (_, Some(item)) => tx.state.invoice_items.remove(&item.id),
            (_, None) => {}
        }
    }
    save(tx, invoice)
}

/// `/v1/invoiceitems/{}`: waiting, or on a draft.
pub fn update_item(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let found = tx.state.invoice_items.get(call.id()).cloned();
    let mut item = found.ok_or_else(|| ApiError::not_found("invoiceitem", call.id()))?;
    let invoice = match &item.invoice {
        Some(id) => Some(draft(tx, id)?),
        None => None,
    };
    edit(tx.state, &mut call.params, &item.currency, &mut item.line)?;
    call.params.ignore(&["invoicing_rules"]);
    call.params.finish()?;
    let shown = invoice_items::view(tx.state, &item);
    if let Some(mut invoice) = invoice {
        for line in invoice.lines.iter_mut().filter(|line| line.id == item.line.id) {
            *line = item.line.clone();
        }
        save(tx, invoice)?;
    }
    tx.state.invoice_items.put(item);
    Ok(shown)
}
