//! Charges: one attempt to move money, successful or not.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::cards::{Decline, Sequel};
use crate::errors::ApiError;
use crate::params::Metadata;
use crate::payment_intents::PaymentIntent;
use crate::payment_methods::{Billing, PaymentMethod};
use crate::requests::Call;
use crate::state::{Row, State};
use crate::transactions::Tx;
use crate::{ids, lists, refunds};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Charge {
    pub id: String,
    pub created: i64,
    pub amount: i64,
    pub amount_refunded: i64,
    pub currency: String,
    pub customer: Option<String>,
    pub description: Option<String>,
    pub payment_intent: String,
    pub payment_method: String,
    pub card_number: String,
    pub exp_month: i64,
    pub exp_year: i64,
    pub billing: Billing,
    pub receipt_email: Option<String>,
    pub metadata: Metadata,
    pub failure: Option<Failure>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Failure {
    pub code: String,
    pub decline_code: Option<String>,
    pub message: String,
}

impl Failure {
    /// Refused before any bank was asked.
    fn is_block(&self) -> bool {
        self.decline_code.as_deref() == Some("fraudulent")
    }
}

impl From<Decline> for Failure {
    fn from(decline: Decline) -> Failure {
        Failure {
            code: decline.code.to_owned(),
            decline_code: decline.decline_code.map(str::to_owned),
            message: decline.message.to_owned(),
        }
    }
}

impl Row for Charge {
    const KIND: &'static str = "charge";
    fn id(&self) -> &str {
        &self.id
    }

    fn links(&self) -> Vec<&str> {
        let customer = self.customer.as_deref();
        [customer, Some(self.payment_intent.as_str())].into_iter().flatten().collect()
    }

    fn customer(&self) -> Option<&str> {
        self.customer.as_deref()
    }
}

impl Charge {
    pub fn refundable(&self) -> i64 {
        if self.failure.is_some() { 0 } else { self.amount - self.amount_refunded }
    }
}

/// Records an attempt on a payment intent and tells of it.
pub fn record(
    tx: &mut Tx<'_>,
    intent: &PaymentIntent,
    method: &PaymentMethod,
    decline: Option<Decline>,
) -> String {
    let charge = Charge {
        id: ids::object("ch"),
        created: tx.now,
        amount: intent.amount,
        amount_refunded: 0,
        currency: intent.currency.clone(),
        customer: intent.customer.clone(),
        description: intent.description.clone(),
        payment_intent: intent.id.clone(),
        payment_method: method.id.clone(),
        card_number: method.number.clone(),
        exp_month: method.exp_month,
        exp_year: method.exp_year,
        billing: method.billing.clone(),
        receipt_email: intent.receipt_email.clone(),
        metadata: intent.metadata.clone(),
        failure: decline.map(Failure::from),
    };
    let id = charge.id.clone();
    let shown = view(tx.state, &charge);
    let kind = if charge.failure.is_some() { "charge.failed" } else { "charge.succeeded" };
    tx.state.charges.put(charge);
    tx.emit(kind, shown);
    id
}

pub fn view(state: &State, charge: &Charge) -> Value {
    let failed = charge.failure.is_some();
    let card = crate::cards::by_number(&charge.card_number);
    let details =
        card.map(|card| card.charge_view(charge.exp_month, charge.exp_year, charge.amount));
    let suffix = charge.id.trim_start_matches("ch_");
    let balance_transaction = (!failed).then(|| format!("txn_{suffix}"));
    let receipt_url = (!failed).then(|| format!("{}/r/{}", state.base_url, charge.id));
    json!({
        "id": charge.id,
        "object": "charge",
        "amount": charge.amount,
        "amount_captured": if failed { 0 } else { charge.amount },
        "amount_refunded": charge.amount_refunded,
        "application": null,
        "application_fee": null,
        "application_fee_amount": null,
        "balance_transaction": balance_transaction,
        "billing_details": charge.billing.view(),
        "calculated_statement_descriptor": "TOLLGATE SANDBOX",
        "captured": !failed,
        "created": charge.created,
        "currency": charge.currency,
        "customer": charge.customer,
        "description": charge.description,
        "disputed": false,
        "failure_balance_transaction": null,
        "failure_code": charge.failure.as_ref().map(|failure| &failure.code),
        "failure_message": charge.failure.as_ref().map(|failure| &failure.message),
        "fraud_details": {},
        "livemode": false,
        "metadata": charge.metadata,
        "on_behalf_of": null,
        "outcome": outcome_view(charge),
        "paid": !failed,
        "payment_intent": charge.payment_intent,
        "payment_method": charge.payment_method,
        "payment_method_details": {"card": details, "type": "card"},
        "receipt_email": charge.receipt_email,
        "receipt_number": null,
        "receipt_url": receipt_url,
        "refunded": !failed && charge.amount_refunded == charge.amount,
        "review": null,
        "shipping": null,
        "source": null,
        "source_transfer": null,
        "statement_descriptor": null,
        "statement_descriptor_suffix": null,
        "status": if failed { "failed" } else { "succeeded" },
        "transfer_data": null,
        "transfer_group": null,
    })
}

fn outcome_view(charge: &Charge) -> Value {
    let card = crate::cards::by_number(&charge.card_number);
    let elevated = card.is_some_and(|card| card.sequel == Sequel::ElevatedRisk);
    let blocked = charge.failure.as_ref().is_some_and(Failure::is_block);
    let (network_status, reason, seller_message, kind) = match &charge.failure {
        None => ("approved_by_network", Value::Null, "Payment complete.", "authorized"),
        Some(_) if blocked => {
            let message = "The sandbox blocked this payment as too risky.";
            ("not_sent_to_network", json!("highest_risk_level"), message, "blocked")
        }
        Some(failure) => {
            let reason = failure.decline_code.as_ref().unwrap_or(&failure.code);
            let message = "The bank did not return any further details with this decline.";
            ("declined_by_network", json!(reason), message, "issuer_declined")
        }
    };
    let (risk_level, risk_score) = match (blocked, elevated) {
        (true, _) => ("highest", 92),
        (false, true) => ("elevated", 66),
        (false, false) => ("normal", 20),
    };
    json!({
        "advice_code": null,
        "network_advice_code": null,
        "network_decline_code": null,
        "network_status": network_status,
        "reason": reason,
        "risk_level": risk_level,
        "risk_score": risk_score,
        "seller_message": seller_message,
        "type": kind,
    })
}

/// `refunds` is shown only when asked for.
pub fn refunds_view(state: &State, id: &str) -> Value {
    let rows = state.refunds.of(id).rev();
    lists::whole(rows.map(refunds::view).collect(), format!("/v1/charges/{id}/refunds"))
}

pub fn retrieve(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let id = call.id();
    let found = tx.state.charges.get(id).ok_or_else(|| ApiError::not_found("charge", id))?;
    Ok(view(tx.state, found))
}

pub fn update(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let id = call.id().to_owned();
    let found = tx.state.charges.get(&id);
    let mut charge = found.ok_or_else(|| ApiError::not_found("charge", &id))?.clone();
    let before = view(tx.state, &charge);
    call.params.change("description")?.apply(&mut charge.description);
    call.params.change("receipt_email")?.apply(&mut charge.receipt_email);
    call.params.metadata()?.apply(&mut charge.metadata);
    call.params.ignore(&["fraud_details", "shipping"]);
    call.params.finish()?;
    let after = view(tx.state, &charge);
    tx.state.charges.put(charge);
    tx.emit_change("charge.updated", &before, after.clone());
    Ok(after)
}

pub fn list(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let created = lists::range(&mut call.params, "created")?;
    let customer = call.params.text("customer")?;
    let intent = call.params.text("payment_intent")?;
    let state = &*tx.state;
    lists::page_of(
        call,
        &state.charges,
        intent.as_deref().or(customer.as_deref()),
        |charge| {
            created.contains(charge.created)
                && (customer.is_none() || charge.customer == customer)
                && intent.as_ref().is_none_or(|intent| charge.payment_intent == *intent)
        },
        |charge| view(state, charge),
    )
}
