//! Refunds and credit notes: money on its way back.

use serde_json::Value;

use super::form::Form;
use super::{Client, fields, object_path, unreadable};
use crate::errors::ProviderError;
use crate::facts::{CreditNote, Refund, RefundStatus};

/// Money to give back; all that is left where no amount is named. The mark finds it again.
#[derive(Debug, Clone, Copy)]
pub struct RefundNew<'a> {
    pub payment_intent: &'a str,
    pub amount: Option<i64>,
    pub reason: Option<&'a str>,
    pub mark: &'a str,
}

impl Client {
    /// Gives money back and answers the refund's id.
    pub async fn refund_create(
        &self,
        refund: &RefundNew<'_>,
        key: &str,
    ) -> Result<String, ProviderError> {
        let amount = refund.amount.map(|amount| amount.to_string());
        let form = Form::new()
            .with("payment_intent", refund.payment_intent)
            .with_some("amount", amount.as_deref())
            .with_some("reason", refund.reason)
            .with("metadata[tollgate_call]", refund.mark);
        let answer = self.post("/v1/refunds", form, key).await?;
        fields::text(&answer, "/id").ok_or_else(|| unreadable("the id of the refund"))
    }

    /// The refund that was made with this mark, if any.
    pub async fn refund_marked(
        &self,
        payment_intent: &str,
        mark: &str,
    ) -> Result<Option<String>, ProviderError> {
        let query = Form::new().with("payment_intent", payment_intent);
        let (refunds, _) = self.list("/v1/refunds", &query).await?;
        let ours = |refund: &&Value| {
            fields::text(refund, "/metadata/tollgate_call").as_deref() == Some(mark)
        };
        Ok(refunds.iter().find(ours).and_then(|refund| fields::text(refund, "/id")))
    }

    pub async fn refund(&self, id: &str) -> Result<Refund, ProviderError> {
        let path = object_path("refunds", id)?;
        let answer = self.get(&path, Form::new()).await?;
        read(&answer).ok_or_else(|| unreadable("the id of the refund"))
    }

    pub async fn credit_note(&self, id: &str) -> Result<CreditNote, ProviderError> {
        let path = object_path("credit_notes", id)?;
        let answer = self.get(&path, Form::new()).await?;
        read_credit_note(&answer).ok_or_else(|| unreadable("the id of the credit note"))
    }
}

/// None when it has no id.
pub(super) fn read(object: &Value) -> Option<Refund> {
    Some(Refund {
        id: fields::text(object, "/id")?,
        charge: fields::reference(object, "/charge"),
        payment_intent: fields::reference(object, "/payment_intent"),
        status: RefundStatus::parse(&fields::text(object, "/status").unwrap_or_default()),
        amount: fields::integer(object, "/amount").unwrap_or(0),
        currency: fields::text(object, "/currency"),
        reason: fields::text(object, "/reason"),
        created_at: fields::instant(object, "/created"),
    })
}

/// None when it has no id.
pub(super) fn read_credit_note(object: &Value) -> Option<CreditNote> {
    let amount = fields::integer(object, "/amount").unwrap_or(0);
    Some(CreditNote {
        id: fields::text(object, "/id")?,
        invoice: fields::reference(object, "/invoice"),
        customer: fields::reference(object, "/customer"),
        status: fields::text(object, "/status"),
        amount,
        amount_given_back: given_back(object, amount),
        currency: fields::text(object, "/currency"),
        created_at: fields::instant(object, "/created"),
    })
}

/// Of what came after the payment, the part that no refund gives back. Old shapes name one refund
/// and no amounts: there everything is either the refund or not.
fn given_back(object: &Value, amount: i64) -> i64 {
    let after_payment = match fields::integer(object, "/post_payment_amount") {
        Some(amount) => amount,
        None if fields::text(object, "/type").as_deref() == Some("pre_payment") => 0,
        None => amount,
    };
    let refunds = object.pointer("/refunds").and_then(Value::as_array);
    let by_refund = match (refunds, fields::reference(object, "/refund")) {
        (Some(refunds), _) => {
            refunds.iter().filter_map(|r| fields::integer(r, "/amount_refunded")).sum()
        }
        (None, Some(_)) => after_payment,
        (None, None) => 0,
    };
    after_payment.saturating_sub(by_refund).max(0)
}
