//! Disputes: a buyer asks their bank for the money back, and evidence decides who keeps it.

pub mod evidence;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::balance_transactions::{self, BalanceTransaction, DISPUTE_FEE};
use crate::cards::Sequel;
use crate::charges::Charge;
use crate::clock::DAY;
use crate::disputes::evidence::Evidence;
use crate::errors::ApiError;
use crate::params::Metadata;
use crate::requests::Call;
use crate::state::{Row, State, Timed, Timer};
use crate::transactions::Tx;
use crate::{ids, lists};

/// Evidence is taken until the end of this day after the dispute.
const RESPONSE_DAYS: i64 = 9;
/// An inquiry that nothing came of is closed after this many days.
const INQUIRY_DAYS: i64 = 120;
/// The bank thinks about submitted evidence this long.
const REVIEW_SECONDS: i64 = 1;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Dispute {
    pub id: String,
    pub created: i64,
    pub amount: i64,
    pub currency: String,
    pub charge: String,
    pub payment_intent: String,
    pub customer: Option<String>,
    pub reason: String,
    pub status: Status,
    pub balance_transactions: Vec<String>,
    pub evidence: Evidence,
    pub submission_count: i64,
    pub due_by: i64,
    /// When the bank decides on what was submitted.
    pub decided_at: Option<i64>,
    pub metadata: Metadata,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    WarningNeedsResponse,
    WarningUnderReview,
    WarningClosed,
    NeedsResponse,
    UnderReview,
    Won,
    Lost,
}

impl Status {
    fn is_open(self) -> bool {
        !matches!(self, Status::WarningClosed | Status::Won | Status::Lost)
    }

    fn is_inquiry(self) -> bool {
        matches!(
            self,
            Status::WarningNeedsResponse | Status::WarningUnderReview | Status::WarningClosed
        )
    }
}

impl Row for Dispute {
    const KIND: &'static str = "dispute";
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

impl Timed for Dispute {
    fn timer(&self) -> Timer {
        Timer::Dispute(self.id.clone())
    }

    fn due_at(&self) -> Option<i64> {
        match self.status {
            Status::NeedsResponse => Some(self.due_by + 1),
            Status::WarningNeedsResponse | Status::WarningUnderReview | Status::UnderReview => {
                let closing = self.created + INQUIRY_DAYS * DAY;
                self.decided_at.or_else(|| self.status.is_inquiry().then_some(closing))
            }
            Status::WarningClosed | Status::Won | Status::Lost => None,
        }
    }
}

impl Dispute {
    /// The money is gone, or would be gone twice.
    pub fn forbids_refund(&self) -> bool {
        matches!(self.status, Status::NeedsResponse | Status::UnderReview | Status::Lost)
    }
}

pub fn view(state: &State, dispute: &Dispute) -> Value {
    let movements = dispute.balance_transactions.iter();
    let movements = movements.filter_map(|id| state.balance_transactions.get(id));
    let movements: Vec<Value> =
        movements.map(|row| balance_transactions::view(state, row)).collect();
    let late = dispute.due_by < state.clock.now() && dispute.submission_count == 0;
    json!({
        "id": dispute.id,
        "object": "dispute",
        "amount": dispute.amount,
        "balance_transactions": movements,
        "charge": dispute.charge,
        "created": dispute.created,
        "currency": dispute.currency,
        "enhanced_eligibility_types": [],
        "evidence": dispute.evidence.view(),
        "evidence_details": {
            "due_by": dispute.due_by,
            "enhanced_eligibility": {},
            "has_evidence": !dispute.evidence.is_empty(),
            "past_due": late,
            "submission_count": dispute.submission_count,
            "submission_method":
                if dispute.submission_count == 0 { "not_submitted" } else { "manual" },
        },
        "intended_submission_method": null,
        "is_charge_refundable": dispute.status.is_inquiry(),
        "livemode": false,
        "metadata": dispute.metadata,
        "payment_intent": dispute.payment_intent,
        "payment_method_details": method_view(state, dispute),
        "reason": dispute.reason,
        "status": dispute.status,
    })
}

fn method_view(state: &State, dispute: &Dispute) -> Value {
    let charge = state.charges.get(&dispute.charge);
    let brand = charge.and_then(|charge| charge.instrument.card()).map(|card| card.brand);
    let code = match dispute.reason.as_str() {
        "fraudulent" => "10.4",
        "product_not_received" => "13.1",
        _ => "10",
    };
    let brand = brand.unwrap_or("visa");
    let case = if dispute.status.is_inquiry() { "inquiry" } else { "chargeback" };
    json!({
        "card": {
            "brand": brand,
            "case_type": case,
            "network": brand,
            "network_reason_code": code,
        },
        "type": "card",
    })
}

/// What the test card makes of a payment that went through.
pub fn follow(tx: &mut Tx<'_>, charge: &str, sequel: Sequel) {
    match sequel {
        Sequel::Disputed(reason) => open(tx, charge, reason, Status::NeedsResponse, None),
        Sequel::Inquiry => open(tx, charge, "fraudulent", Status::WarningNeedsResponse, None),
        Sequel::DisputedTwice => {
            let half = tx.state.charges.get(charge).map(|charge| charge.amount_captured / 2);
            open(tx, charge, "fraudulent", Status::NeedsResponse, half);
            open(tx, charge, "product_not_received", Status::NeedsResponse, half);
        }
        _ => {}
    }
}

/// The bank opens a dispute over a charge, or over a part of it.
fn open(tx: &mut Tx<'_>, charge: &str, reason: &str, status: Status, part: Option<i64>) {
    let Some(mut charge) = tx.state.charges.get(charge).cloned() else {
        return;
    };
    charge.disputed = true;
    let dispute = Dispute {
        id: ids::object("du"),
        created: tx.now,
        amount: part.unwrap_or(charge.amount_captured),
        currency: charge.currency.clone(),
        charge: charge.id.clone(),
        payment_intent: charge.payment_intent.clone(),
        customer: charge.customer.clone(),
        reason: reason.to_owned(),
        status,
        balance_transactions: Vec::new(),
        evidence: Evidence::of_charge(&charge),
        submission_count: 0,
        due_by: (tx.now.div_euclid(DAY) + RESPONSE_DAYS + 1) * DAY - 1,
        decided_at: None,
        metadata: Metadata::new(),
    };
    tx.state.charges.put(charge);
    save(tx, &dispute, "charge.dispute.created");
    if !status.is_inquiry() {
        withdraw(tx, dispute);
    }
}

fn save(tx: &mut Tx<'_>, dispute: &Dispute, event: &str) -> Value {
    let shown = view(tx.state, dispute);
    tx.state.disputes.put(dispute.clone());
    tx.emit(event, shown.clone());
    shown
}

/// The bank takes the money, and a fee is due.
fn withdraw(tx: &mut Tx<'_>, mut dispute: Dispute) {
    let mut row = movement(&dispute, -dispute.amount, tx.now);
    row.fee = DISPUTE_FEE;
    row.category = "dispute".to_owned();
    row.description = Some(format!("Chargeback withdrawal for {}", dispute.charge));
    dispute.balance_transactions.push(balance_transactions::record(tx, row));
    save(tx, &dispute, "charge.dispute.funds_withdrawn");
}

fn movement(dispute: &Dispute, amount: i64, now: i64) -> BalanceTransaction {
    BalanceTransaction::new("adjustment", amount, &dispute.currency, &dispute.id, now)
}

fn win(tx: &mut Tx<'_>, mut dispute: Dispute) -> Value {
    let mut row = movement(&dispute, dispute.amount, tx.now);
    row.category = "dispute_reversal".to_owned();
    row.description = Some(format!("Chargeback reversal for {}", dispute.charge));
    dispute.balance_transactions.push(balance_transactions::record(tx, row));
    let shown = end(tx, dispute.clone(), Status::Won);
    tx.emit("charge.dispute.funds_reinstated", shown.clone());
    shown
}

fn end(tx: &mut Tx<'_>, mut dispute: Dispute, status: Status) -> Value {
    dispute.status = status;
    dispute.decided_at = None;
    save(tx, &dispute, "charge.dispute.closed")
}

/// The bank has decided, or the time for an answer is over.
pub fn due(tx: &mut Tx<'_>, id: &str) -> Result<(), ApiError> {
    let dispute = find(tx.state, id)?.clone();
    if dispute.due_at().is_none_or(|at| tx.now < at) {
        return Ok(());
    }
    match (dispute.status, dispute.evidence.verdict()) {
        (Status::UnderReview, Some("winning_evidence")) => {
            win(tx, dispute);
        }
        (Status::UnderReview | Status::NeedsResponse, _) => {
            end(tx, dispute, Status::Lost);
        }
        (Status::WarningUnderReview, Some("escalate_inquiry_evidence" | "losing_evidence"))
            if dispute.decided_at.is_some() =>
        {
            escalate(tx, dispute);
        }
        (Status::WarningUnderReview | Status::WarningNeedsResponse, _) => {
            end(tx, dispute, Status::WarningClosed);
        }
        (Status::WarningClosed | Status::Won | Status::Lost, _) => {}
    }
    Ok(())
}

/// An inquiry becomes a dispute, which can be answered anew.
fn escalate(tx: &mut Tx<'_>, mut dispute: Dispute) {
    let before = view(tx.state, &dispute);
    dispute.status = Status::NeedsResponse;
    dispute.decided_at = None;
    dispute.submission_count = 0;
    dispute.evidence = match tx.state.charges.get(&dispute.charge) {
        Some(charge) => Evidence::of_charge(charge),
        None => Evidence::default(),
    };
    dispute.due_by = (tx.now.div_euclid(DAY) + RESPONSE_DAYS + 1) * DAY - 1;
    let after = view(tx.state, &dispute);
    tx.state.disputes.put(dispute.clone());
    tx.emit_change("charge.dispute.updated", &before, after);
    withdraw(tx, dispute);
}

pub fn find<'a>(state: &'a State, id: &str) -> Result<&'a Dispute, ApiError> {
    state.disputes.get(id).ok_or_else(|| ApiError::not_found("dispute", id))
}

/// Whether a dispute over this charge forbids paying it back as well.
pub fn forbid_refund(state: &State, charge: &Charge) -> bool {
    charge.disputed && state.disputes.of(&charge.id).any(Dispute::forbids_refund)
}

pub fn retrieve(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    Ok(view(tx.state, find(tx.state, call.id())?))
}

fn check_open(dispute: &Dispute, what: &str) -> Result<(), ApiError> {
    if dispute.status.is_open() {
        return Ok(());
    }
    let message = format!("This dispute is already closed and cannot be {what}.");
    Err(ApiError::invalid(message).code("dispute_already_closed"))
}

pub fn update(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let mut dispute = find(tx.state, call.id())?.clone();
    let before = view(tx.state, &dispute);
    let params = &mut call.params;
    let submit = params.boolean("submit")?;
    let evidence = params.hash("evidence")?;
    let method = params.text("intended_submission_method")?;
    params.metadata()?.apply(&mut dispute.metadata);
    params.finish()?;
    if let Some(mut evidence) = evidence {
        check_open(&dispute, "answered")?;
        if matches!(dispute.status, Status::UnderReview | Status::WarningUnderReview) {
            let message = "Evidence for this dispute has already been submitted.";
            return Err(ApiError::invalid(message).param("evidence"));
        }
        dispute.evidence.read(&mut evidence)?;
    }
    if method.is_some_and(|method| method != "manual" && method != "prefer_manual") {
        let message = "The sandbox answers disputes by hand only.";
        return Err(ApiError::invalid(message).param("intended_submission_method"));
    }
    // Evidence goes to the bank unless it is told to wait.
    let answering = !dispute.evidence.is_empty() && submit != Some(false);
    match dispute.status {
        Status::NeedsResponse if answering => dispute.status = Status::UnderReview,
        Status::WarningNeedsResponse if answering => dispute.status = Status::WarningUnderReview,
        _ => {}
    }
    if before["status"] != json!(dispute.status) {
        dispute.submission_count += 1;
        let decides = dispute.evidence.verdict().is_some();
        dispute.decided_at = decides.then_some(tx.now + REVIEW_SECONDS);
    }
    let after = view(tx.state, &dispute);
    tx.state.disputes.put(dispute);
    tx.emit_change("charge.dispute.updated", &before, after.clone());
    Ok(after)
}

/// Giving in: the dispute is lost.
pub fn close(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    call.params.finish()?;
    let dispute = find(tx.state, call.id())?.clone();
    check_open(&dispute, "closed")?;
    let status = if dispute.status.is_inquiry() { Status::WarningClosed } else { Status::Lost };
    Ok(end(tx, dispute, status))
}

pub fn list(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let created = lists::range(&mut call.params, "created")?;
    let charge = call.params.text("charge")?;
    let intent = call.params.text("payment_intent")?;
    let state = &*tx.state;
    lists::page_of(
        call,
        &state.disputes,
        charge.as_deref().or(intent.as_deref()),
        |dispute| {
            created.contains(dispute.created)
                && charge.as_ref().is_none_or(|charge| dispute.charge == *charge)
                && intent.as_ref().is_none_or(|intent| dispute.payment_intent == *intent)
        },
        |dispute| view(state, dispute),
    )
}
