//! What the provider's objects have become here: a look-up for operators, by the provider's id.

use crate::PROVIDER;
use crate::failures::Failure;
use store::Tx;

/// A row of ours that an object of the provider's has brought about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effect {
    /// What kind of row: `subscription`, `payment` and the like.
    pub what: &'static str,
    pub id: String,
    pub status: String,
}

fn effect(what: &'static str, id: impl ToString, status: impl ToString) -> Option<Effect> {
    Some(Effect { what, id: id.to_string(), status: status.to_string() })
}

/// Its own row, and the payment it belongs to.
pub(crate) async fn effects_of(tx: &mut Tx, object: &str) -> Result<Vec<Effect>, Failure> {
    let session = tx.checkout_sessions_find(PROVIDER, object).await?;
    let subscription = tx.subscriptions_find(PROVIDER, object).await?;
    let invoice = tx.invoices_find(PROVIDER, object).await?;
    let charge = tx.charges_find(PROVIDER, object).await?;
    let refund = tx.refunds_find(PROVIDER, object).await?;
    let dispute = tx.disputes_find(PROVIDER, object).await?;
    let note = tx.credit_notes_find(PROVIDER, object).await?;
    let payment_id = charge
        .as_ref()
        .map(|row| row.payment_id.clone())
        .or(refund.as_ref().map(|row| row.payment_id.clone()))
        .or(dispute.as_ref().map(|row| row.payment_id.clone()))
        .or(note.as_ref().map(|row| row.payment_id.clone()));
    let payment = match payment_id {
        Some(id) => tx.payments_get(&id).await?,
        None => tx.payments_by_intent(PROVIDER, object).await?,
    };
    let found = [
        session.and_then(|row| effect("checkout session", row.id, row.status.as_str())),
        subscription.and_then(|row| effect("subscription", row.id, row.status.as_str())),
        invoice.and_then(|row| effect("invoice", row.id, row.status)),
        charge.and_then(|row| effect("charge", row.provider_charge_id, row.status)),
        refund.and_then(|row| effect("refund", row.id, row.status)),
        dispute.and_then(|row| effect("dispute", row.id, row.status)),
        note.and_then(|row| effect("credit note", row.id, row.status)),
        payment.and_then(|row| effect("payment", row.id, row.status.as_str())),
    ];
    Ok(found.into_iter().flatten().collect())
}
