//! Charges: one attempt to move money, successful or not.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::balance_transactions;
use crate::balance_transactions::BalanceTransaction;
use crate::cards::{Decline, Sequel};
use crate::clock::DAY;
use crate::errors::ApiError;
use crate::ids;
use crate::instruments::Instrument;
use crate::lists;
use crate::params::Metadata;
use crate::payment_intents::PaymentIntent;
use crate::payment_intents::captures::AUTHORIZED_DAYS;
use crate::payment_methods::{Billing, PaymentMethod};
use crate::refunds;
use crate::requests::Call;
use crate::state::{Row, State};
use crate::transactions::Tx;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Charge {
    pub id: String,
    pub created: i64,
    pub amount: i64,
    pub amount_captured: i64,
    /// Paid back, and given up at a partial capture.
    pub amount_refunded: i64,
    pub currency: String,
    pub customer: Option<String>,
    pub description: Option<String>,
    pub payment_intent: String,
    pub payment_method: String,
    pub instrument: Instrument,
    pub billing: Billing,
    pub receipt_email: Option<String>,
    pub shipping: Option<Value>,
    pub statement_descriptor: Option<String>,
    pub statement_descriptor_suffix: Option<String>,
    pub transfer_group: Option<String>,
    pub user_report: Option<String>,
    pub metadata: Metadata,
    pub failure: Option<Failure>,
    /// The bank has not answered yet.
    pub pending: bool,
    pub captured: bool,
    pub disputed: bool,
    pub incremental: bool,
    pub balance_transaction: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Failure {
    pub code: String,
    pub decline_code: Option<String>,
    pub message: String,
}

/// What the bank did with a new charge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    Captured,
    Authorized,
    Pending,
    Declined(Decline),
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
    /// What was taken and not paid back.
    pub fn refundable(&self) -> i64 {
        let taken = self.captured && !self.pending && self.failure.is_none();
        if taken { self.amount - self.amount_refunded } else { 0 }
    }

    pub fn refunded(&self) -> bool {
        self.failure.is_none() && self.amount_refunded == self.amount
    }

    fn status(&self) -> &'static str {
        match (&self.failure, self.pending) {
            (Some(_), _) => "failed",
            (None, true) => "pending",
            (None, false) => "succeeded",
        }
    }
}

/// Records an attempt on a payment intent and tells of it.
pub fn record(tx: &mut Tx<'_>, intent: &PaymentIntent, method: &PaymentMethod, how: How) -> String {
    let mut charge = Charge {
        id: ids::object("ch"),
        created: tx.now,
        amount: intent.amount,
        amount_captured: if how == How::Captured { intent.amount } else { 0 },
        amount_refunded: 0,
        currency: intent.currency.clone(),
        customer: intent.customer.clone(),
        description: intent.description.clone(),
        payment_intent: intent.id.clone(),
        payment_method: method.id.clone(),
        instrument: method.instrument.clone(),
        billing: method.billing.clone(),
        receipt_email: intent.receipt_email.clone(),
        shipping: intent.shipping.clone(),
        statement_descriptor: intent.statement_descriptor.clone(),
        statement_descriptor_suffix: intent.statement_descriptor_suffix.clone(),
        transfer_group: intent.transfer_group.clone(),
        user_report: None,
        metadata: intent.metadata.clone(),
        failure: match how {
            How::Declined(decline) => Some(Failure::from(decline)),
            _ => None,
        },
        pending: how == How::Pending,
        captured: matches!(how, How::Captured | How::Pending),
        disputed: false,
        incremental: intent.method_options.incremental_authorization,
        balance_transaction: None,
    };
    if how == How::Captured {
        book(tx, &mut charge);
    }
    let id = charge.id.clone();
    let event = match how {
        How::Captured | How::Authorized => "charge.succeeded",
        How::Pending => "charge.pending",
        How::Declined(_) => "charge.failed",
    };
    save(tx, charge, event);
    id
}

/// Stores a changed charge and tells of it under the change's own name.
pub fn save(tx: &mut Tx<'_>, charge: Charge, event: &str) {
    let shown = view(tx.state, &charge);
    tx.state.charges.put(charge);
    tx.emit(event, shown);
}

/// The money that was taken goes to the balance.
pub fn book(tx: &mut Tx<'_>, charge: &mut Charge) {
    let card = charge.instrument.card();
    let kind = if card.is_some() { "charge" } else { "payment" };
    let (amount, currency) = (charge.amount_captured, &charge.currency);
    let mut row = BalanceTransaction::of_payment(kind, amount, currency, &charge.id, tx.now);
    row.description = charge.description.clone();
    if card.is_some_and(|card| card.sequel == Sequel::BypassesPending) {
        row.available_on = tx.now;
    }
    charge.balance_transaction = Some(balance_transactions::record(tx, row));
}

/// The bank has answered a pending charge; answers its id.
pub fn settle(tx: &mut Tx<'_>, id: &str, decline: Option<Decline>) -> String {
    if let Some(mut charge) = tx.state.charges.get(id).cloned() {
        charge.pending = false;
        match decline {
            None => {
                charge.amount_captured = charge.amount;
                book(tx, &mut charge);
                save(tx, charge, "charge.succeeded");
            }
            Some(decline) => {
                charge.failure = Some(Failure::from(decline));
                charge.captured = false;
                save(tx, charge, "charge.failed");
            }
        }
    }
    id.to_owned()
}

pub fn view(state: &State, charge: &Charge) -> Value {
    let failed = charge.failure.is_some();
    let paid = !failed && !charge.pending;
    let receipt_url = paid.then(|| format!("{}/r/{}", state.base_url, charge.id));
    let fraud = match &charge.user_report {
        Some(report) => json!({"user_report": report}),
        None => json!({}),
    };
    json!({
        "id": charge.id,
        "object": "charge",
        "amount": charge.amount,
        "amount_captured": charge.amount_captured,
        "amount_refunded": charge.amount_refunded,
        "application": null,
        "application_fee": null,
        "application_fee_amount": null,
        "balance_transaction": charge.balance_transaction,
        "billing_details": charge.billing.view(),
        "calculated_statement_descriptor": "TOLLGATE SANDBOX",
        "captured": charge.captured && !failed,
        "created": charge.created,
        "currency": charge.currency,
        "customer": charge.customer,
        "description": charge.description,
        "disputed": charge.disputed,
        "failure_balance_transaction": null,
        "failure_code": charge.failure.as_ref().map(|failure| &failure.code),
        "failure_message": charge.failure.as_ref().map(|failure| &failure.message),
        "fraud_details": fraud,
        "livemode": false,
        "metadata": charge.metadata,
        "on_behalf_of": null,
        "outcome": outcome_view(charge),
        "paid": paid,
        "payment_intent": charge.payment_intent,
        "payment_method": charge.payment_method,
        "payment_method_details": details_view(charge),
        "receipt_email": charge.receipt_email,
        "receipt_number": null,
        "receipt_url": receipt_url,
        "refunded": charge.refunded(),
        "review": null,
        "shipping": charge.shipping,
        "source": null,
        "source_transfer": null,
        "statement_descriptor": charge.statement_descriptor,
        "statement_descriptor_suffix": charge.statement_descriptor_suffix,
        "status": charge.status(),
        "transfer_data": null,
        "transfer_group": charge.transfer_group,
    })
}

fn details_view(charge: &Charge) -> Value {
    let kind = charge.instrument.kind();
    let mut details = charge.instrument.charge_view(charge.amount);
    if charge.instrument.card().is_some() && !charge.captured && charge.failure.is_none() {
        let incremental = if charge.incremental { "available" } else { "unavailable" };
        details["capture_before"] = json!(charge.created + AUTHORIZED_DAYS * DAY);
        details["extended_authorization"] = json!({"status": "disabled"});
        details["incremental_authorization"] = json!({"status": incremental});
        details["multicapture"] = json!({"status": "unavailable"});
        details["overcapture"] =
            json!({"maximum_amount_capturable": charge.amount, "status": "unavailable"});
    }
    json!({kind: details, "type": kind})
}

fn outcome_view(charge: &Charge) -> Value {
    let elevated = charge.instrument.card().map(|card| card.sequel) == Some(Sequel::ElevatedRisk);
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
    call.params.change("transfer_group")?.apply(&mut charge.transfer_group);
    call.params.metadata()?.apply(&mut charge.metadata);
    if let Some(mut fraud) = call.params.hash("fraud_details")? {
        if fraud.take_if_empty("user_report") {
            charge.user_report = None;
        }
        let report = fraud.word("user_report", &["fraudulent", "safe"])?;
        charge.user_report = report.map(str::to_owned).or(charge.user_report);
        fraud.finish()?;
    }
    call.params.ignore(&["shipping"]);
    call.params.refuse(&["customer"])?;
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
    let group = call.params.text("transfer_group")?;
    let state = &*tx.state;
    lists::page_of(
        call,
        &state.charges,
        intent.as_deref().or(customer.as_deref()),
        |charge| {
            created.contains(charge.created)
                && (customer.is_none() || charge.customer == customer)
                && (group.is_none() || charge.transfer_group == group)
                && intent.as_ref().is_none_or(|intent| charge.payment_intent == *intent)
        },
        |charge| view(state, charge),
    )
}
