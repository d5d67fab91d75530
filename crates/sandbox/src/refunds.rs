//! Refunds, whole or in part; they succeed at once.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::errors::ApiError;
use crate::params::Metadata;
use crate::requests::Call;
use crate::state::Row;
use crate::transactions::Tx;
use crate::{charges, currencies, ids, lists};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Refund {
    pub id: String,
    pub created: i64,
    pub amount: i64,
    pub currency: String,
    pub charge: String,
    pub customer: Option<String>,
    pub payment_intent: String,
    pub payment_method: String,
    pub reason: Option<String>,
    pub metadata: Metadata,
}

impl Row for Refund {
    const KIND: &'static str = "refund";
    fn id(&self) -> &str {
        &self.id
    }

    fn links(&self) -> Vec<&str> {
        vec![&self.charge, &self.payment_intent]
    }

    fn customer(&self) -> Option<&str> {
        self.customer.as_deref()
    }
}

pub fn view(refund: &Refund) -> Value {
    let suffix = refund.id.trim_start_matches("re_");
    json!({
        "id": refund.id,
        "object": "refund",
        "amount": refund.amount,
        "balance_transaction": format!("txn_{suffix}"),
        "charge": refund.charge,
        "created": refund.created,
        "currency": refund.currency,
        "customer": refund.customer,
        "customer_account": null,
        "destination_details": {
            "card": {
                "reference_status": "pending",
                "reference_type": "acquirer_reference_number",
                "type": "refund",
            },
            "type": "card",
        },
        "metadata": refund.metadata,
        "payment_intent": refund.payment_intent,
        "payment_method": refund.payment_method,
        "reason": refund.reason,
        "receipt_number": null,
        "source_transfer_reversal": null,
        "status": "succeeded",
        "transfer_reversal": null,
    })
}

pub fn create(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let params = &mut call.params;
    let charge = params.text("charge")?;
    let intent = params.text("payment_intent")?;
    let amount = params.within("amount", 1, crate::params::MAX_AMOUNT)?;
    let reasons = ["duplicate", "fraudulent", "requested_by_customer"];
    let reason = params.word("reason", &reasons)?;
    let metadata = params.metadata()?.fresh();
    params.ignore(&["instructions_email", "refund_application_fee", "reverse_transfer"]);
    params.refuse(&["customer", "currency", "origin"])?;
    params.finish()?;
    let charge = charge_to_refund(tx, charge, intent)?;
    let refund = issue(tx, &charge, amount, reason, metadata)?;
    Ok(view(&refund))
}

/// Refunds a charge, whole where no amount is named; credit notes refund so, too.
pub fn issue(
    tx: &mut Tx<'_>,
    charge_id: &str,
    amount: Option<i64>,
    reason: Option<&str>,
    metadata: Metadata,
) -> Result<Refund, ApiError> {
    let found = tx.state.charges.get(charge_id);
    let mut charge = found.ok_or_else(|| ApiError::no_such("charge", charge_id, "charge"))?.clone();
    let left = charge.refundable();
    if left == 0 {
        let message = format!("Charge {charge_id} has already been refunded.");
        return Err(ApiError::invalid(message).code("charge_already_refunded"));
    }
    let amount = amount.unwrap_or(left);
    if left < amount {
        let message = format!(
            "Refund amount ({}) is greater than unrefunded amount on charge ({})",
            currencies::show(amount, &charge.currency),
            currencies::show(left, &charge.currency),
        );
        return Err(ApiError::invalid(message).param("amount"));
    }
    let refund = Refund {
        id: ids::object("re"),
        created: tx.now,
        amount,
        currency: charge.currency.clone(),
        charge: charge_id.to_owned(),
        customer: charge.customer.clone(),
        payment_intent: charge.payment_intent.clone(),
        payment_method: charge.payment_method.clone(),
        reason: reason.map(str::to_owned),
        metadata,
    };
    let before = charges::view(tx.state, &charge);
    charge.amount_refunded += amount;
    let after = charges::view(tx.state, &charge);
    tx.state.charges.put(charge);
    tx.state.refunds.put(refund.clone());
    tx.emit("refund.created", view(&refund));
    tx.emit_change("charge.refunded", &before, after);
    Ok(refund)
}

fn charge_to_refund(
    tx: &Tx<'_>,
    charge: Option<String>,
    intent: Option<String>,
) -> Result<String, ApiError> {
    let id = match (charge, intent) {
        (Some(charge), _) => return Ok(charge),
        (None, Some(intent)) => intent,
        (None, None) => {
            let message = "One of the following params should be provided for this request: \
                           payment_intent or charge.";
            return Err(ApiError::invalid(message).code("parameter_missing"));
        }
    };
    let intent = tx.state.payment_intents.get(&id);
    let intent =
        intent.ok_or_else(|| ApiError::no_such("payment_intent", &id, "payment_intent"))?;
    let succeeded = intent.latest_charge.as_ref().filter(|_| intent.is_succeeded());
    succeeded.cloned().ok_or_else(|| {
        let message =
            format!("This PaymentIntent ({id}) does not have a successful charge to refund.");
        ApiError::invalid(message).param("payment_intent")
    })
}

pub fn retrieve(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let id = call.id();
    Ok(view(tx.state.refunds.get(id).ok_or_else(|| ApiError::not_found("refund", id))?))
}

pub fn update(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let id = call.id().to_owned();
    let found = tx.state.refunds.get(&id);
    let mut refund = found.ok_or_else(|| ApiError::not_found("refund", &id))?.clone();
    let before = view(&refund);
    call.params.metadata()?.apply(&mut refund.metadata);
    call.params.finish()?;
    let after = view(&refund);
    tx.state.refunds.put(refund);
    tx.emit_change("refund.updated", &before, after.clone());
    Ok(after)
}

pub fn list(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let created = lists::range(&mut call.params, "created")?;
    let charge = call.params.text("charge")?;
    let intent = call.params.text("payment_intent")?;
    lists::page_of(
        call,
        &tx.state.refunds,
        charge.as_deref().or(intent.as_deref()),
        |refund| {
            created.contains(refund.created)
                && charge.as_ref().is_none_or(|charge| refund.charge == *charge)
                && intent.as_ref().is_none_or(|intent| refund.payment_intent == *intent)
        },
        view,
    )
}
