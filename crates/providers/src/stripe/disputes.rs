//! Disputes: payments that the customer's bank questions.

use serde_json::Value;

use super::form::Form;
use super::{Client, fields, object_path, unreadable};
use crate::errors::ProviderError;
use crate::facts::{Dispute, DisputeStatus};

impl Client {
    pub async fn dispute(&self, id: &str) -> Result<Dispute, ProviderError> {
        let path = object_path("disputes", id)?;
        let answer = self.get(&path, Form::new()).await?;
        read(&answer).ok_or_else(|| unreadable("the id of the dispute"))
    }

    /// Every dispute over a charge: one charge can be questioned in parts.
    pub async fn disputes_of_charge(&self, charge: &str) -> Result<Vec<Dispute>, ProviderError> {
        let (found, _) = self.list("/v1/disputes", &Form::new().with("charge", charge)).await?;
        Ok(found.iter().filter_map(read).collect())
    }
}

/// None when it has no id. The oldest shapes know a dispute by its charge.
pub(super) fn read(object: &Value) -> Option<Dispute> {
    Some(Dispute {
        id: fields::text(object, "/id").or_else(|| fields::reference(object, "/charge"))?,
        charge: fields::reference(object, "/charge"),
        payment_intent: fields::reference(object, "/payment_intent"),
        status: DisputeStatus::parse(&fields::text(object, "/status").unwrap_or_default()),
        amount: fields::integer(object, "/amount").unwrap_or(0),
        currency: fields::text(object, "/currency"),
        reason: fields::text(object, "/reason"),
        evidence_due_at: fields::instant(object, "/evidence_details/due_by"),
        created_at: fields::instant(object, "/created"),
    })
}
