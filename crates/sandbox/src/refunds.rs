//! Refunds, whole or in part: at once, after a while, or not at all.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::balance_transactions;
use crate::balance_transactions::BalanceTransaction;
use crate::cards::Sequel;
use crate::charges;
use crate::charges::Charge;
use crate::clock::DAY;
use crate::currencies;
use crate::disputes;
use crate::errors::ApiError;
use crate::ids;
use crate::instruments::Instrument;
use crate::lists;
use crate::params::Metadata;
use crate::requests::Call;
use crate::state::{Row, State, Timed, Timer};
use crate::transactions::Tx;

/// A bank takes this long to answer: longer than whoever asks at once, however slow the machine.
const SETTLED_SECONDS: i64 = 30;
/// A buyer without a card says within this time where the money should go.
const INSTRUCTION_DAYS: i64 = 45;

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
    /// The type of the method that paid.
    pub method_kind: String,
    pub reason: Option<String>,
    pub status: Status,
    pub due_at: Option<i64>,
    pub balance_transaction: Option<String>,
    pub failure_balance_transaction: Option<String>,
    pub failure_reason: Option<String>,
    pub instructions_email: Option<String>,
    pub metadata: Metadata,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Pending,
    RequiresAction,
    Succeeded,
    Failed,
    Canceled,
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

impl Timed for Refund {
    fn timer(&self) -> Timer {
        Timer::Refund(self.id.clone())
    }

    fn due_at(&self) -> Option<i64> {
        self.due_at
    }
}

impl Refund {
    fn new(charge: &Charge, amount: i64, reason: Option<&str>, now: i64) -> Refund {
        Refund {
            id: ids::object("re"),
            created: now,
            amount,
            currency: charge.currency.clone(),
            charge: charge.id.clone(),
            customer: charge.customer.clone(),
            payment_intent: charge.payment_intent.clone(),
            payment_method: charge.payment_method.clone(),
            method_kind: charge.instrument.kind().to_owned(),
            reason: reason.map(str::to_owned),
            status: Status::Succeeded,
            due_at: None,
            balance_transaction: None,
            failure_balance_transaction: None,
            failure_reason: None,
            instructions_email: None,
            metadata: Metadata::new(),
        }
    }
}

pub fn view(refund: &Refund) -> Value {
    let mut shown = json!({
        "id": refund.id,
        "object": "refund",
        "amount": refund.amount,
        "balance_transaction": refund.balance_transaction,
        "charge": refund.charge,
        "created": refund.created,
        "currency": refund.currency,
        "customer": refund.customer,
        "customer_account": null,
        "destination_details": destination_view(refund),
        "metadata": refund.metadata,
        "payment_intent": refund.payment_intent,
        "payment_method": refund.payment_method,
        "reason": refund.reason,
        "receipt_number": null,
        "source_transfer_reversal": null,
        "status": refund.status,
        "transfer_reversal": null,
    });
    if let Some(reason) = &refund.failure_reason {
        shown["failure_reason"] = json!(reason);
    }
    if let Some(id) = &refund.failure_balance_transaction {
        shown["failure_balance_transaction"] = json!(id);
    }
    if let Some(email) = &refund.instructions_email {
        shown["instructions_email"] = json!(email);
    }
    match refund.status {
        Status::Pending => shown["pending_reason"] = json!("processing"),
        Status::RequiresAction => {
            shown["next_action"] = json!({
                "display_details": {
                    "email_sent": {
                        "email_sent_at": refund.created,
                        "email_sent_to": refund.instructions_email,
                    },
                    "expires_at": refund.created + INSTRUCTION_DAYS * DAY,
                },
                "type": "display_details",
            });
        }
        Status::Succeeded | Status::Failed | Status::Canceled => {}
    }
    shown
}

fn destination_view(refund: &Refund) -> Value {
    let bank = json!({"reference": null, "reference_status": "pending"});
    match refund.method_kind.as_str() {
        "sepa_debit" => json!({"eu_bank_transfer": bank, "type": "eu_bank_transfer"}),
        "us_bank_account" => json!({"type": "us_bank_transfer", "us_bank_transfer": bank}),
        "boleto" => json!({"br_bank_transfer": bank, "type": "br_bank_transfer"}),
        _ => json!({
            "card": {
                "reference_status": "pending",
                "reference_type": "acquirer_reference_number",
                "type": "refund",
            },
            "type": "card",
        }),
    }
}

/// What the caller asked for.
struct Order {
    amount: Option<i64>,
    reason: Option<String>,
    instructions_email: Option<String>,
    metadata: Metadata,
}

pub fn create(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let params = &mut call.params;
    let charge = params.text("charge")?;
    let intent = params.text("payment_intent")?;
    let amount = params.within("amount", 1, crate::params::MAX_AMOUNT)?;
    let reasons = ["duplicate", "fraudulent", "requested_by_customer"];
    let reason = params.word("reason", &reasons)?;
    let instructions_email = params.text("instructions_email")?;
    let metadata = params.metadata()?.fresh();
    params.refuse(&["customer", "currency", "origin"])?;
    params.refuse(&["refund_application_fee", "reverse_transfer"])?;
    params.finish()?;
    if charge.is_some() && intent.is_some() {
        let message = "You may only specify one of these parameters: charge, payment_intent.";
        return Err(ApiError::invalid(message).param("payment_intent"));
    }
    let charge_id = charge_to_refund(tx, charge, intent)?;
    if instructions_email.is_none() {
        return issue(tx, &charge_id, amount, reason, metadata).map(|refund| view(&refund));
    }
    let reason = reason.map(str::to_owned);
    let order = Order { amount, reason, instructions_email, metadata };
    refund(tx, &charge_id, order).map(|refund| view(&refund))
}

/// Refuses what cannot be paid back.
fn check(state: &State, charge: &Charge, amount: Option<i64>) -> Result<i64, ApiError> {
    let id = &charge.id;
    if disputes::forbid_refund(state, charge) {
        let message = format!("Charge {id} has been charged back; cannot issue a refund.");
        return Err(ApiError::invalid(message).code("charge_disputed"));
    }
    if charge.failure.is_some() || charge.pending || !charge.captured && !charge.refunded() {
        let message = format!("Charge {id} has not been paid yet and cannot be refunded.");
        return Err(ApiError::invalid(message).code("charge_not_refundable"));
    }
    let left = charge.refundable();
    if left == 0 {
        let message = format!("Charge {id} has already been refunded.");
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
    Ok(amount)
}

/// Refunds a charge, whole where no amount is named; credit notes refund so, too.
pub fn issue(
    tx: &mut Tx<'_>,
    charge_id: &str,
    amount: Option<i64>,
    reason: Option<&str>,
    metadata: Metadata,
) -> Result<Refund, ApiError> {
    let reason = reason.map(str::to_owned);
    refund(tx, charge_id, Order { amount, reason, instructions_email: None, metadata })
}

fn refund(tx: &mut Tx<'_>, charge_id: &str, order: Order) -> Result<Refund, ApiError> {
    let found = tx.state.charges.get(charge_id);
    let mut charge = found.ok_or_else(|| ApiError::no_such("charge", charge_id, "charge"))?.clone();
    let amount = check(tx.state, &charge, order.amount)?;
    let mut refund = Refund::new(&charge, amount, order.reason.as_deref(), tx.now);
    refund.metadata = order.metadata;
    let sequel = charge.instrument.card().map(|card| card.sequel);
    match (&charge.instrument, sequel) {
        (Instrument::Boleto { .. }, _) => {
            let email = order.instructions_email.or_else(|| charge.billing.email.clone());
            let missing = || ApiError::missing_parameter("instructions_email");
            refund.instructions_email = Some(email.ok_or_else(missing)?);
            refund.status = Status::RequiresAction;
        }
        (_, None | Some(Sequel::RefundPends)) => {
            refund.status = Status::Pending;
            refund.due_at = Some(tx.now + SETTLED_SECONDS);
        }
        (_, Some(Sequel::RefundFails)) => refund.due_at = Some(tx.now + SETTLED_SECONDS),
        (_, Some(_)) => {}
    }
    if refund.status != Status::RequiresAction {
        book(tx, &mut refund);
    }
    let before = charges::view(tx.state, &charge);
    charge.amount_refunded += amount;
    let after = charges::view(tx.state, &charge);
    tx.state.charges.put(charge);
    tx.state.refunds.put(refund.clone());
    tx.emit("refund.created", view(&refund));
    tx.emit_change("charge.refunded", &before, after);
    Ok(refund)
}

/// The money leaves the balance.
fn book(tx: &mut Tx<'_>, refund: &mut Refund) {
    let kind = if refund.method_kind == "card" { "refund" } else { "payment_refund" };
    let amount = -refund.amount;
    let mut row = BalanceTransaction::new(kind, amount, &refund.currency, &refund.id, tx.now);
    row.category = "refund".to_owned();
    refund.balance_transaction = Some(balance_transactions::record(tx, row));
}

/// Gives up authorized money: nothing moves, but the charge counts it as paid back. The caller
/// stores the charge.
pub fn release(tx: &mut Tx<'_>, charge: &mut Charge, amount: i64, reason: Option<&str>) {
    charge.amount_refunded += amount;
    let refund = Refund::new(charge, amount, reason, tx.now);
    tx.state.refunds.put(refund);
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

/// The bank has answered.
pub fn due(tx: &mut Tx<'_>, id: &str) -> Result<(), ApiError> {
    let mut refund = find(tx.state, id)?.clone();
    if refund.due_at.is_none_or(|at| tx.now < at) {
        return Ok(());
    }
    let before = view(&refund);
    refund.due_at = None;
    if refund.status == Status::Pending {
        refund.status = Status::Succeeded;
        tell(tx, &before, refund);
        return Ok(());
    }
    refund.status = Status::Failed;
    refund.failure_reason = Some("expired_or_canceled_card".to_owned());
    let (amount, currency) = (refund.amount, &refund.currency);
    let mut row = BalanceTransaction::new("refund_failure", amount, currency, &refund.id, tx.now);
    row.description = Some("REFUND FAILURE".to_owned());
    refund.failure_balance_transaction = Some(balance_transactions::record(tx, row));
    give_back(tx, &refund);
    let shown = view(&refund);
    tell(tx, &before, refund);
    tx.emit("refund.failed", shown);
    Ok(())
}

/// What did not reach the buyer can be paid back again.
fn give_back(tx: &mut Tx<'_>, refund: &Refund) {
    if let Some(mut charge) = tx.state.charges.get(&refund.charge).cloned() {
        charge.amount_refunded -= refund.amount;
        tx.state.charges.put(charge);
    }
}

/// Stores a changed refund and tells of it under both of its names.
fn tell(tx: &mut Tx<'_>, before: &Value, refund: Refund) {
    let after = view(&refund);
    tx.state.refunds.put(refund);
    tx.emit_change("refund.updated", before, after.clone());
    tx.emit_change("charge.refund.updated", before, after);
}

pub fn cancel(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let mut refund = find(tx.state, call.id())?.clone();
    call.params.finish()?;
    if refund.status != Status::RequiresAction {
        let status = json!(refund.status);
        let message = format!(
            "Only refunds with a status of requires_action can be canceled; this one has a status \
             of {}.",
            status.as_str().unwrap_or_default()
        );
        return Err(ApiError::invalid(message));
    }
    let before = view(&refund);
    refund.status = Status::Canceled;
    give_back(tx, &refund);
    let shown = view(&refund);
    tell(tx, &before, refund);
    Ok(shown)
}

fn find<'a>(state: &'a State, id: &str) -> Result<&'a Refund, ApiError> {
    state.refunds.get(id).ok_or_else(|| ApiError::not_found("refund", id))
}

pub fn retrieve(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    Ok(view(find(tx.state, call.id())?))
}

pub fn update(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let mut refund = find(tx.state, call.id())?.clone();
    let before = view(&refund);
    call.params.metadata()?.apply(&mut refund.metadata);
    call.params.finish()?;
    let after = view(&refund);
    tell(tx, &before, refund);
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
