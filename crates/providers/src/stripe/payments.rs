//! Payment intents, charges, and the ways between them, their invoices and their sessions.

use serde_json::Value;

use super::form::Form;
use super::{Client, checkout_sessions, fields, object_path, refunds, unreadable};
use crate::errors::ProviderError;
use crate::facts::{Charge, CheckoutSession, InvoicePayment, PaymentIntent, PaymentIntentStatus};

impl Client {
    pub async fn payment_intent(&self, id: &str) -> Result<PaymentIntent, ProviderError> {
        let path = object_path("payment_intents", id)?;
        let answer = self.get(&path, Form::new()).await?;
        read_intent(&answer).ok_or_else(|| unreadable("the id of the payment intent"))
    }

    /// A charge with all its refunds.
    pub async fn charge(&self, id: &str) -> Result<Charge, ProviderError> {
        let path = object_path("charges", id)?;
        let answer = self.get(&path, Form::new()).await?;
        let mut charge = read(&answer).ok_or_else(|| unreadable("the id of the charge"))?;
        if 0 < charge.amount_refunded || charge.refunded {
            let (found, _) = self.list("/v1/refunds", &Form::new().with("charge", id)).await?;
            charge.refunds = found.iter().filter_map(refunds::read).collect();
        }
        Ok(charge)
    }

    /// The invoice a payment intent paid, if any: payments no longer say so themselves.
    pub async fn invoice_of_payment_intent(
        &self,
        payment_intent: &str,
    ) -> Result<Option<String>, ProviderError> {
        let query = Form::new()
            .with("payment[type]", "payment_intent")
            .with("payment[payment_intent]", payment_intent)
            .with("limit", "1");
        let answer = self.get("/v1/invoice_payments", query).await?;
        Ok(fields::reference(&answer, "/data/0/invoice"))
    }

    /// The payment page that a payment intent came of, if any.
    pub async fn checkout_session_of_payment_intent(
        &self,
        payment_intent: &str,
    ) -> Result<Option<CheckoutSession>, ProviderError> {
        let query = Form::new().with("payment_intent", payment_intent).with("limit", "1");
        let answer = self.get("/v1/checkout/sessions", query).await?;
        Ok(answer.pointer("/data/0").and_then(checkout_sessions::read))
    }

    pub async fn invoice_payment(&self, id: &str) -> Result<InvoicePayment, ProviderError> {
        let path = object_path("invoice_payments", id)?;
        let answer = self.get(&path, Form::new()).await?;
        read_invoice_payment(&answer).ok_or_else(|| unreadable("the id of the invoice payment"))
    }
}

/// None when it has no id.
pub(super) fn read(object: &Value) -> Option<Charge> {
    let amount = fields::integer(object, "/amount").unwrap_or(0);
    let captured = object.pointer("/captured").and_then(Value::as_bool).unwrap_or(true);
    let (refunds, _) = fields::list(object, "/refunds");
    Some(Charge {
        id: fields::text(object, "/id")?,
        customer: fields::reference(object, "/customer"),
        payment_intent: fields::reference(object, "/payment_intent"),
        invoice: fields::reference(object, "/invoice"),
        status: fields::text(object, "/status"),
        captured,
        amount,
        amount_captured: fields::integer(object, "/amount_captured").unwrap_or(if captured {
            amount
        } else {
            0
        }),
        amount_refunded: fields::integer(object, "/amount_refunded").unwrap_or(0),
        refunded: fields::flag(object, "/refunded"),
        disputed: fields::flag(object, "/disputed")
            || fields::reference(object, "/dispute").is_some(),
        refunds: refunds.iter().filter_map(refunds::read).collect(),
        currency: fields::text(object, "/currency"),
        metadata: fields::map(object, "/metadata"),
        created_at: fields::instant(object, "/created"),
    })
}

/// None when it has no id.
pub(super) fn read_intent(object: &Value) -> Option<PaymentIntent> {
    let status = fields::text(object, "/status").unwrap_or_default();
    Some(PaymentIntent {
        id: fields::text(object, "/id")?,
        status: PaymentIntentStatus::parse(&status),
        customer: fields::reference(object, "/customer"),
        invoice: fields::reference(object, "/invoice"),
        latest_charge: fields::reference(object, "/latest_charge")
            .or_else(|| fields::reference(object, "/charges/data/0")),
        amount: fields::integer(object, "/amount").unwrap_or(0),
        amount_received: fields::integer(object, "/amount_received").unwrap_or(0),
        currency: fields::text(object, "/currency"),
        metadata: fields::map(object, "/metadata"),
        created_at: fields::instant(object, "/created"),
    })
}

/// None when it has no id.
pub(super) fn read_invoice_payment(object: &Value) -> Option<InvoicePayment> {
    Some(InvoicePayment {
        id: fields::text(object, "/id")?,
        invoice: fields::reference(object, "/invoice"),
        payment_intent: fields::reference(object, "/payment/payment_intent"),
        charge: fields::reference(object, "/payment/charge"),
        status: fields::text(object, "/status"),
    })
}
