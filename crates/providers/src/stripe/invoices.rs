//! Invoices and their lines, in the shapes of all API versions.

use serde_json::Value;

use super::form::Form;
use super::{Client, fields, object_path, unreadable};
use crate::errors::ProviderError;
use crate::facts::{BillingReason, Invoice, InvoiceLine, InvoiceStatus};

impl Client {
    /// An invoice with its payments and all its lines.
    pub async fn invoice(&self, id: &str) -> Result<Invoice, ProviderError> {
        let path = object_path("invoices", id)?;
        let answer = self.get(&path, Form::new().with("expand[]", "payments")).await?;
        let mut invoice = read(&answer).ok_or_else(|| unreadable("the id of the invoice"))?;
        if !invoice.lines_complete {
            let (lines, complete) = self.list(&format!("{path}/lines"), &Form::new()).await?;
            invoice.lines = lines.iter().filter_map(line).collect();
            invoice.lines_complete = complete;
        }
        Ok(invoice)
    }
}

/// None when it has no id.
pub(super) fn read(object: &Value) -> Option<Invoice> {
    let word = |pointer| fields::text(object, pointer).unwrap_or_default();
    let amount = |pointer| fields::integer(object, pointer);
    let (lines, lines_complete) = fields::list(object, "/lines");
    let mut subscription_metadata = fields::map(object, "/parent/subscription_details/metadata");
    subscription_metadata.extend(fields::map(object, "/subscription_details/metadata"));
    Some(Invoice {
        id: fields::text(object, "/id")?,
        customer: fields::reference(object, "/customer"),
        subscription: fields::reference(object, "/parent/subscription_details/subscription")
            .or_else(|| fields::reference(object, "/subscription")),
        status: status(object),
        reason: BillingReason::parse(&word("/billing_reason")),
        currency: fields::text(object, "/currency"),
        total: amount("/total").or_else(|| amount("/amount_paid")).unwrap_or(0),
        amount_paid: amount("/amount_paid").unwrap_or(0),
        amount_due: amount("/amount_due").unwrap_or(0),
        attempt_count: amount("/attempt_count").unwrap_or(0),
        number: fields::text(object, "/number"),
        created_at: fields::instant(object, "/created"),
        paid_at: fields::instant(object, "/status_transitions/paid_at"),
        due_at: fields::instant(object, "/due_date"),
        period_start: fields::instant(object, "/period_start"),
        period_end: fields::instant(object, "/period_end"),
        payment_intent: fields::reference(object, "/payment_intent")
            .or_else(|| fields::reference(payment(object)?, "/payment/payment_intent")),
        charge: fields::reference(object, "/charge")
            .or_else(|| fields::reference(payment(object)?, "/payment/charge")),
        hosted_url: fields::text(object, "/hosted_invoice_url"),
        pdf_url: fields::text(object, "/invoice_pdf"),
        lines: lines.iter().filter_map(line).collect(),
        lines_complete,
        subscription_metadata,
        metadata: fields::map(object, "/metadata"),
    })
}

/// Shapes without a status say only whether it is paid.
fn status(object: &Value) -> InvoiceStatus {
    match fields::text(object, "/status") {
        Some(word) => InvoiceStatus::parse(&word),
        None if fields::flag(object, "/paid") => InvoiceStatus::Paid,
        None => InvoiceStatus::Other(String::new()),
    }
}

/// The payment that settled the invoice, else the one that is tried by default, else the first.
fn payment(object: &Value) -> Option<&Value> {
    let (payments, _) = fields::list(object, "/payments");
    let is_paid = |payment: &&Value| fields::text(payment, "/status").as_deref() == Some("paid");
    let is_default = |payment: &&Value| fields::flag(payment, "/is_default");
    let settled = payments.iter().find(is_paid);
    settled.or_else(|| payments.iter().find(is_default)).or_else(|| payments.first())
}

fn line(object: &Value) -> Option<InvoiceLine> {
    let reference =
        |pointers: &[&str]| pointers.iter().find_map(|pointer| fields::reference(object, pointer));
    Some(InvoiceLine {
        id: fields::text(object, "/id")?,
        price: reference(&["/pricing/price_details/price", "/price", "/plan"]),
        product: reference(&[
            "/pricing/price_details/product",
            "/pricing/price_details/price/product",
            "/price/product",
            "/plan/product",
        ]),
        subscription: reference(&[
            "/parent/subscription_item_details/subscription",
            "/parent/invoice_item_details/subscription",
            "/subscription",
        ]),
        subscription_item: reference(&[
            "/parent/subscription_item_details/subscription_item",
            "/subscription_item",
        ]),
        quantity: fields::integer(object, "/quantity"),
        amount: fields::integer(object, "/amount").unwrap_or(0),
        period_start: fields::instant(object, "/period/start"),
        period_end: fields::instant(object, "/period/end"),
        proration: [
            "/parent/subscription_item_details/proration",
            "/parent/invoice_item_details/proration",
            "/proration",
        ]
        .iter()
        .any(|pointer| fields::flag(object, pointer)),
    })
}
