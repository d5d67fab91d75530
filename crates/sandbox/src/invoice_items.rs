//! Invoice items: amounts waiting for an invoice, among them the prorations of a plan change.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::adjustments::Adjustments;
use crate::costs::{self, UnitAmount};
use crate::discounts::read::Purchase;
use crate::discounts::{self, Place};
use crate::errors::ApiError;
use crate::invoices::{Invoice, Line, Status};
use crate::params::{MAX_AMOUNT, Metadata, Params};
use crate::requests::Call;
use crate::state::{Row, State};
use crate::subscriptions::Subscription;
use crate::tax_rates;
use crate::transactions::Tx;
use crate::{currencies, customers, ids, invoices, lists, prices};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InvoiceItem {
    pub id: String,
    pub created: i64,
    pub customer: String,
    pub currency: String,
    /// The draft or final invoice that took the item; none while it is pending.
    pub invoice: Option<String>,
    pub line: Line,
}

impl Row for InvoiceItem {
    const KIND: &'static str = "invoiceitem";
    fn id(&self) -> &str {
        &self.id
    }

    fn links(&self) -> Vec<&str> {
        [Some(self.customer.as_str()), self.invoice.as_deref()].into_iter().flatten().collect()
    }

    fn customer(&self) -> Option<&str> {
        Some(&self.customer)
    }
}

impl InvoiceItem {
    pub fn new(customer: &str, currency: &str, amount: i64, now: i64) -> InvoiceItem {
        let id = ids::object("ii");
        InvoiceItem {
            id: id.clone(),
            created: now,
            customer: customer.to_owned(),
            currency: currency.to_owned(),
            invoice: None,
            line: Line {
                id: ids::object("il"),
                amount,
                description: None,
                quantity: 1,
                price: None,
                product: None,
                unit: None,
                period_start: now,
                period_end: now,
                subscription: None,
                subscription_item: None,
                invoice_item: Some(id),
                proration: false,
                metadata: Metadata::new(),
                adjustments: Adjustments::default(),
            },
        }
    }
}

pub fn view(state: &State, item: &InvoiceItem) -> Value {
    let line = &item.line;
    let parent = line.subscription.as_ref().map(|subscription| {
        let mut details = json!({ "subscription": subscription });
        if let Some(item) = &line.subscription_item {
            details["subscription_item"] = json!(item);
        }
        json!({"subscription_details": details, "type": "subscription_details"})
    });
    let pricing = line.price.as_ref().map(|price| {
        json!({
            "price_details": {"price": price, "product": line.product},
            "type": "price_details",
            "unit_amount_decimal": line.unit.map(UnitAmount::decimal),
        })
    });
    json!({
        "id": item.id,
        "object": "invoiceitem",
        "amount": line.amount,
        "currency": item.currency,
        "customer": item.customer,
        "customer_account": null,
        "date": item.created,
        "description": line.description,
        "discountable": line.is_discountable(),
        "discounts": line.adjustments.discounts,
        "invoice": item.invoice,
        "livemode": false,
        "metadata": line.metadata,
        "net_amount": line.amount,
        "parent": parent,
        "period": {"end": line.period_end, "start": line.period_start},
        "pricing": pricing,
        "proration": line.proration,
        "quantity": line.quantity,
        "quantity_decimal": line.quantity.to_string(),
        "tax_rates": tax_rates::show_all(state, &line.adjustments.tax_rates),
        "test_clock": null,
    })
}

pub fn announce(tx: &mut Tx<'_>, item: InvoiceItem) -> Value {
    let shown = view(tx.state, &item);
    tx.state.invoice_items.put(item);
    tx.emit("invoiceitem.created", shown.clone());
    shown
}

/// Whether an invoice of this subscription would take anything that waits.
pub fn has_pending(state: &State, subscription: &Subscription) -> bool {
    state.invoice_items.of(&subscription.customer).any(|item| {
        item.invoice.is_none()
            && item.currency == subscription.currency
            && item.line.subscription.as_ref().is_none_or(|owner| *owner == subscription.id)
    })
}

/// The customer's waiting items of this subscription (or of none).
pub fn pending(state: &State, invoice: &Invoice, subscription: Option<&str>) -> Vec<InvoiceItem> {
    let items = state.invoice_items.of(&invoice.customer);
    items
        .filter(|item| item.invoice.is_none() && item.currency == invoice.currency)
        .filter(|item| match &item.line.subscription {
            None => true,
            Some(owner) => subscription == Some(owner.as_str()),
        })
        .cloned()
        .collect()
}

/// Moves what is waiting onto a draft invoice.
pub fn take_pending(tx: &mut Tx<'_>, invoice: &mut Invoice, subscription: Option<&str>) {
    let waiting = pending(tx.state, invoice, subscription);
    for mut item in waiting {
        item.invoice = Some(invoice.id.clone());
        invoice.lines.push(item.line.clone());
        tx.state.invoice_items.put(item);
    }
}

/// A deleted draft takes its items with it.
pub fn release(tx: &mut Tx<'_>, invoice: &str) {
    let taken: Vec<String> =
        tx.state.invoice_items.of(invoice).map(|item| item.id.clone()).collect();
    for id in taken {
        tx.state.invoice_items.remove(&id);
    }
}

pub fn create(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let params = &mut call.params;
    let customer = params.required("customer")?;
    customers::live(tx.state, &customer, "customer")?;
    let amount = params.within("amount", -MAX_AMOUNT, MAX_AMOUNT)?;
    let currency =
        if params.has("currency") { currencies::required(params)? } else { "usd".to_owned() };
    let mut item = InvoiceItem::new(&customer, &currency, 0, tx.now);
    let line = &mut item.line;
    line.quantity = params.quantity("quantity")?.unwrap_or(1);
    if let Some(mut pricing) = params.hash("pricing")? {
        let id = pricing.required("price")?;
        pricing.finish()?;
        let price = prices::existing(tx.state, &id, "pricing[price]")?;
        line.amount = price.amount(line.quantity)?;
        line.unit = price.unit_amount();
        line.product = Some(price.product.clone());
        line.price = Some(id);
        item.currency = price.currency.clone();
    } else if params.has("unit_amount_decimal") {
        let unit = costs::read_decimal(params, "unit_amount")?;
        let whole = unit.and_then(|unit| unit.times(line.quantity));
        line.amount = whole.ok_or_else(|| params.invalid("unit_amount_decimal", "Invalid"))?;
        line.unit = unit;
    } else {
        params.refuse(&["price_data"])?;
        line.amount = amount.ok_or_else(|| ApiError::missing_parameter("amount"))?;
    }
    line.description = params.text("description")?;
    line.metadata = params.metadata()?.fresh();
    read_period(params, line, tx.now)?;
    if let Some(id) = params.text("subscription")? {
        let found = tx.state.subscriptions.get(&id).filter(|row| row.customer == customer);
        found.ok_or_else(|| ApiError::no_such("subscription", &id, "subscription"))?;
        line.subscription = Some(id);
    }
    line.adjustments.discountable = params.boolean("discountable")?;
    read_discounts(tx, params, &mut item)?;
    let invoice = params.text("invoice")?;
    read_taxes(tx.state, params, &mut item)?;
    params.refuse(&["price_data"])?;
    params.finish()?;
    if let Some(id) = invoice {
        let found = tx.state.invoices.get(&id).cloned();
        let mut invoice = found.ok_or_else(|| ApiError::no_such("invoice", &id, "invoice"))?;
        if invoice.status != Status::Draft || invoice.customer != customer {
            let message = "Invoice items can only be added to the customer's draft invoices.";
            return Err(ApiError::invalid(message).param("invoice"));
        }
        if invoice.currency != item.currency {
            let (theirs, own) = (&invoice.currency, &item.currency);
            let message = format!("The invoice is in {theirs}, this invoice item in {own}.");
            return Err(ApiError::invalid(message).param("currency"));
        }
        invoice.lines.push(item.line.clone());
        tx.state.invoices.put(invoice);
        item.invoice = Some(id);
    }
    Ok(announce(tx, item))
}

fn read_period(params: &mut Params, line: &mut Line, now: i64) -> Result<(), ApiError> {
    let Some(mut period) = params.hash("period")? else {
        return Ok(());
    };
    line.period_start = period.timestamp("start")?.unwrap_or(now);
    line.period_end = period.timestamp("end")?.unwrap_or(now);
    period.finish()?;
    if line.period_end < line.period_start {
        let message = "Invalid period: it must not end before it starts.";
        return Err(ApiError::invalid(message).param("period"));
    }
    Ok(())
}

/// `discounts[]` of an item reduce its own line only.
pub fn read_discounts(
    tx: &mut Tx<'_>,
    params: &mut Params,
    item: &mut InvoiceItem,
) -> Result<(), ApiError> {
    let purchase = Purchase {
        customer: Some(&item.customer),
        currency: Some(&item.currency),
        amount: Some(item.line.amount),
    };
    let Some(wanted) = discounts::read::list(tx.state, params, purchase)? else {
        return Ok(());
    };
    let place = Place {
        customer: Some(item.customer.clone()),
        invoice_item: Some(item.id.clone()),
        ..Place::default()
    };
    item.line.adjustments.discounts = discounts::attach(tx, wanted, &place);
    Ok(())
}

pub fn read_taxes(
    state: &State,
    params: &mut Params,
    item: &mut InvoiceItem,
) -> Result<(), ApiError> {
    let adjustments = &mut item.line.adjustments;
    if let Some(rates) = tax_rates::read_list(state, params, "tax_rates")? {
        adjustments.tax_rates = rates;
    }
    let behaviors = ["exclusive", "inclusive", "unspecified"];
    if let Some(behavior) = params.word("tax_behavior", &behaviors)? {
        adjustments.tax_behavior = Some(behavior.to_owned());
    }
    params.change("tax_code")?.apply(&mut adjustments.tax_code);
    Ok(())
}

fn find<'a>(tx: &'a Tx<'_>, id: &str) -> Result<&'a InvoiceItem, ApiError> {
    tx.state.invoice_items.get(id).ok_or_else(|| ApiError::not_found("invoiceitem", id))
}

pub fn retrieve(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    Ok(view(tx.state, find(tx, call.id())?))
}

pub fn delete(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    call.params.finish()?;
    let item = find(tx, call.id())?.clone();
    if let Some(id) = &item.invoice {
        let mut invoice = invoices::find(tx.state, id)?.clone();
        if invoice.status != Status::Draft {
            let message = "Invoice items of a final invoice cannot be deleted.";
            return Err(ApiError::invalid(message).code("invoice_not_editable"));
        }
        invoice.lines.retain(|line| line.id != item.line.id);
        tx.state.invoices.put(invoice);
    }
    tx.state.invoice_items.remove(&item.id);
    let last = view(tx.state, &item);
    tx.emit("invoiceitem.deleted", last);
    Ok(json!({"id": item.id, "object": "invoiceitem", "deleted": true}))
}

pub fn list(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let params = &mut call.params;
    let created = lists::range(params, "created")?;
    let customer = params.text("customer")?;
    let invoice = params.text("invoice")?;
    let pending = params.boolean("pending")?;
    let state = &*tx.state;
    lists::page_of(
        call,
        &state.invoice_items,
        invoice.as_deref().or(customer.as_deref()),
        |item| {
            created.contains(item.created)
                && customer.as_ref().is_none_or(|customer| item.customer == *customer)
                && (invoice.is_none() || item.invoice == invoice)
                && pending.is_none_or(|pending| pending == item.invoice.is_none())
        },
        |row| view(state, row),
    )
}
