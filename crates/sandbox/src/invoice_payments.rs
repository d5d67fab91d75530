//! Invoice payments: the link between an invoice and the payment intent that pays it.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::errors::ApiError;
use crate::invoices::{self, Invoice};
use crate::payment_intents::PaymentIntent;
use crate::requests::Call;
use crate::state::Row;
use crate::transactions::Tx;
use crate::{ids, lists};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InvoicePayment {
    pub id: String,
    pub created: i64,
    pub invoice: String,
    pub payment_intent: String,
    pub amount: i64,
    pub currency: String,
    pub paid_at: Option<i64>,
    #[serde(default)]
    pub canceled_at: Option<i64>,
    /// Attached by hand, beside the invoice's own payment.
    #[serde(default)]
    pub attached: bool,
}

impl Row for InvoicePayment {
    const KIND: &'static str = "invoice_payment";
    fn id(&self) -> &str {
        &self.id
    }

    fn links(&self) -> Vec<&str> {
        vec![&self.invoice, &self.payment_intent]
    }
}

impl InvoicePayment {
    pub fn status(&self) -> &'static str {
        match (self.paid_at, self.canceled_at) {
            (Some(_), _) => "paid",
            (None, Some(_)) => "canceled",
            (None, None) => "open",
        }
    }
}

pub fn view(payment: &InvoicePayment) -> Value {
    json!({
        "id": payment.id,
        "object": "invoice_payment",
        "amount_paid": payment.paid_at.map(|_| payment.amount),
        "amount_requested": payment.amount,
        "created": payment.created,
        "currency": payment.currency,
        "invoice": payment.invoice,
        "is_default": !payment.attached,
        "livemode": false,
        "payment": {"payment_intent": payment.payment_intent, "type": "payment_intent"},
        "status": payment.status(),
        "status_transitions": {"canceled_at": payment.canceled_at, "paid_at": payment.paid_at},
    })
}

pub fn open(tx: &mut Tx<'_>, invoice: &Invoice, intent: &PaymentIntent) {
    tx.state.invoice_payments.put(InvoicePayment {
        id: ids::object("inpay"),
        created: tx.now,
        invoice: invoice.id.clone(),
        payment_intent: intent.id.clone(),
        amount: intent.amount,
        currency: intent.currency.clone(),
        paid_at: None,
        canceled_at: None,
        attached: false,
    });
}

/// An invoice of zero has no payment, and nothing to tell.
pub fn mark_paid(tx: &mut Tx<'_>, invoice: &str) {
    let Some(payment) = invoices::payment_of(tx.state, invoice).cloned() else {
        return;
    };
    if payment.canceled_at.is_some() || payment.paid_at.is_some() {
        return;
    }
    settle(tx, payment);
}

/// A payment intent that somebody made pays the invoice, in part or in whole.
pub fn attach(tx: &mut Tx<'_>, invoice: &Invoice, intent: &PaymentIntent) {
    open(tx, invoice, intent);
    let newest = tx.state.invoice_payments.of(&invoice.id).next_back().cloned();
    if let Some(mut payment) = newest {
        payment.attached = true;
        tx.state.invoice_payments.put(payment);
    }
}

pub fn settle(tx: &mut Tx<'_>, mut payment: InvoicePayment) {
    payment.paid_at = Some(tx.now);
    let shown = view(&payment);
    tx.state.invoice_payments.put(payment);
    tx.emit("invoice_payment.paid", shown);
}

/// The invoice asks for nothing any more: its own payment is over.
pub fn cancel(tx: &mut Tx<'_>, invoice: &str) {
    if let Some(mut payment) = invoices::payment_of(tx.state, invoice).cloned()
        && payment.paid_at.is_none()
    {
        payment.canceled_at = Some(tx.now);
        tx.state.invoice_payments.put(payment);
    }
}

pub fn retrieve(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let id = call.id();
    let found = tx.state.invoice_payments.get(id);
    Ok(view(found.ok_or_else(|| ApiError::not_found("invoice_payment", id))?))
}

pub fn list(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let params = &mut call.params;
    let created = lists::range(params, "created")?;
    let invoice = params.text("invoice")?;
    let status = params.word("status", &["canceled", "open", "paid"])?;
    let mut intent = None;
    if let Some(mut payment) = params.hash("payment")? {
        intent = payment.text("payment_intent")?;
        payment.ignore(&["type"]);
        payment.finish()?;
    }
    lists::page_of(
        call,
        &tx.state.invoice_payments,
        invoice.as_deref().or(intent.as_deref()),
        |payment| {
            created.contains(payment.created)
                && invoice.as_ref().is_none_or(|invoice| payment.invoice == *invoice)
                && intent.as_ref().is_none_or(|intent| payment.payment_intent == *intent)
                && status.is_none_or(|status| payment.status() == status)
        },
        view,
    )
}
