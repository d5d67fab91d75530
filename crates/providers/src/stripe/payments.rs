//! Charges, and the way from a payment to its invoice.

use serde_json::Value;

use super::form::Form;
use super::{Client, fields, object_path, unreadable};
use crate::errors::ProviderError;
use crate::facts::Charge;

impl Client {
    pub async fn charge(&self, id: &str) -> Result<Charge, ProviderError> {
        let path = object_path("charges", id)?;
        let answer = self.get(&path, Form::new()).await?;
        read(&answer).ok_or_else(|| unreadable("the id of the charge"))
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
}

/// None when it has no id.
pub(super) fn read(object: &Value) -> Option<Charge> {
    Some(Charge {
        id: fields::text(object, "/id")?,
        customer: fields::reference(object, "/customer"),
        payment_intent: fields::reference(object, "/payment_intent"),
        invoice: fields::reference(object, "/invoice"),
        amount: fields::integer(object, "/amount").unwrap_or(0),
        amount_refunded: fields::integer(object, "/amount_refunded").unwrap_or(0),
        refunded: fields::flag(object, "/refunded"),
        currency: fields::text(object, "/currency"),
        metadata: fields::map(object, "/metadata"),
    })
}
