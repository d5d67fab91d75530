//! Credit notes: what is taken off a final invoice. First they lower what is still to be paid; the
//! rest is refunded, credited to the customer's balance, or given back elsewhere.

mod plans;
pub mod render;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::adjustments::{DiscountAmount, Tax, sum};
use crate::costs::UnitAmount;
use crate::credit_notes::plans::Plan;
use crate::credit_notes::render::{lines_view, view};
use crate::customer_balance_transactions::{self as balances, Kind, Movement};
use crate::errors::ApiError;
use crate::invoices::{self, Invoice, settlements};
use crate::params::Metadata;
use crate::refunds;
use crate::requests::Call;
use crate::state::Row;
use crate::transactions::Tx;
use crate::{ids, lists};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CreditNote {
    pub id: String,
    pub created: i64,
    pub number: String,
    pub invoice: String,
    pub customer: String,
    pub currency: String,
    pub lines: Vec<CreditLine>,
    pub memo: Option<String>,
    pub reason: Option<String>,
    pub effective_at: i64,
    pub pre_payment: i64,
    pub post_payment: i64,
    pub out_of_band: Option<i64>,
    pub balance_transaction: Option<String>,
    pub refunds: Vec<LinkedRefund>,
    pub voided_at: Option<i64>,
    pub metadata: Metadata,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CreditLine {
    pub id: String,
    /// Before discounts and exclusive taxes.
    pub amount: i64,
    pub description: Option<String>,
    pub quantity: Option<i64>,
    pub unit: Option<UnitAmount>,
    /// The line of the invoice that is credited; none for a line of the note's own.
    pub invoice_line: Option<String>,
    /// The shares of the invoice line's discounts and taxes.
    #[serde(default)]
    pub discount_amounts: Vec<DiscountAmount>,
    #[serde(default)]
    pub taxes: Vec<Tax>,
    pub metadata: Metadata,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LinkedRefund {
    pub refund: String,
    pub amount: i64,
}

impl Row for CreditNote {
    const KIND: &'static str = "credit_note";
    fn id(&self) -> &str {
        &self.id
    }

    fn links(&self) -> Vec<&str> {
        vec![&self.customer, &self.invoice]
    }

    fn customer(&self) -> Option<&str> {
        Some(&self.customer)
    }
}

impl CreditLine {
    /// What the line takes off the invoice.
    pub fn total(&self) -> i64 {
        let exclusive = self.taxes.iter().filter(|tax| !tax.inclusive).map(|tax| tax.amount);
        self.amount.saturating_sub(self.discounted()).saturating_add(sum(exclusive))
    }

    pub fn discounted(&self) -> i64 {
        sum(self.discount_amounts.iter().map(|found| found.amount))
    }

    pub fn taxed(&self) -> i64 {
        sum(self.taxes.iter().map(|tax| tax.amount))
    }
}

impl CreditNote {
    pub fn amount(&self) -> i64 {
        sum(self.lines.iter().map(CreditLine::total))
    }

    /// A note as the plan describes it; nothing has been given back yet.
    fn new(plan: &Plan, invoice: &Invoice, position: usize, now: i64) -> CreditNote {
        let number = invoice.number.as_deref().unwrap_or_default();
        CreditNote {
            id: ids::object("cn"),
            created: now,
            number: format!("{number}-CN-{position:02}"),
            invoice: invoice.id.clone(),
            customer: invoice.customer.clone(),
            currency: invoice.currency.clone(),
            lines: plan.lines.clone(),
            memo: plan.memo.clone(),
            reason: plan.reason.map(str::to_owned),
            effective_at: plan.effective_at.unwrap_or(now),
            pre_payment: plan.pre_payment,
            post_payment: plan.post_payment,
            out_of_band: plan.out_of_band,
            balance_transaction: None,
            refunds: plan.linked.clone(),
            voided_at: None,
            metadata: plan.metadata.clone(),
        }
    }
}

pub fn create(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let plan = Plan::read(tx.state, &mut call.params)?;
    call.params.finish()?;
    let invoice = invoices::find(tx.state, &plan.invoice)?.clone();
    let position = tx.state.credit_notes.of(&invoice.id).count() + 1;
    let mut note = CreditNote::new(&plan, &invoice, position, tx.now);
    give_back(tx, &plan, &mut note)?;
    let shown = view(tx.state, &note);
    tx.state.credit_notes.put(note.clone());
    tx.emit("credit_note.created", shown);
    settlements::credit(tx, &invoice.id, note.pre_payment, note.post_payment)?;
    Ok(view(tx.state, &note))
}

/// Refunds and credits what the customer had paid already.
fn give_back(tx: &mut Tx<'_>, plan: &Plan, note: &mut CreditNote) -> Result<(), ApiError> {
    if let Some(amount) = plan.refund {
        let Some(charge) = settlements::charge_of(tx.state, &plan.invoice) else {
            let message = "The invoice has no payment that could be refunded.";
            return Err(ApiError::invalid(message).param("refund_amount"));
        };
        // A refund knows fewer reasons than a credit note.
        let shared = plan.reason.filter(|reason| matches!(*reason, "duplicate" | "fraudulent"));
        let reason = shared.unwrap_or("requested_by_customer");
        let refund = refunds::issue(tx, &charge, Some(amount), Some(reason), Metadata::new())
            .map_err(|error| error.param("refund_amount"))?;
        note.refunds.push(LinkedRefund { refund: refund.id, amount });
    }
    if let Some(amount) = plan.credit {
        let movement = Movement {
            kind: Kind::CreditNote,
            amount: -amount,
            invoice: Some(note.invoice.clone()),
            credit_note: Some(note.id.clone()),
        };
        let row = balances::post(tx, &note.customer, &note.currency, movement)?;
        note.balance_transaction = Some(row.id);
    }
    Ok(())
}

/// What `create` would make, with nothing made.
fn previewed(tx: &Tx<'_>, call: &mut Call) -> Result<CreditNote, ApiError> {
    let plan = Plan::read(tx.state, &mut call.params)?;
    let invoice = invoices::find(tx.state, &plan.invoice)?;
    let position = tx.state.credit_notes.of(&invoice.id).count() + 1;
    Ok(CreditNote::new(&plan, invoice, position, tx.now))
}

pub fn preview(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let note = previewed(tx, call)?;
    call.params.finish()?;
    Ok(view(tx.state, &note))
}

pub fn preview_lines(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let note = previewed(tx, call)?;
    lists::page_of_values(call, lines_view(&note))
}

fn find(tx: &Tx<'_>, id: &str) -> Result<CreditNote, ApiError> {
    let found = tx.state.credit_notes.get(id).cloned();
    found.ok_or_else(|| ApiError::not_found("credit note", id))
}

pub fn retrieve(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    call.params.finish()?;
    Ok(view(tx.state, &find(tx, call.id())?))
}

pub fn lines(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let note = find(tx, call.id())?;
    lists::page_of_values(call, lines_view(&note))
}

pub fn update(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let mut note = find(tx, call.id())?;
    let before = view(tx.state, &note);
    call.params.change("memo")?.apply(&mut note.memo);
    call.params.metadata()?.apply(&mut note.metadata);
    call.params.finish()?;
    let after = view(tx.state, &note);
    tx.state.credit_notes.put(note);
    tx.emit_change("credit_note.updated", &before, after.clone());
    Ok(after)
}

/// Only what has not been given back yet can be taken back: notes on invoices still open.
pub fn void(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    call.params.finish()?;
    let mut note = find(tx, call.id())?;
    if note.voided_at.is_some() {
        return Err(ApiError::invalid("This credit note has already been voided."));
    }
    let open = invoices::find(tx.state, &note.invoice)?.status == invoices::Status::Open;
    if !open || note.post_payment != 0 {
        let message = "Only credit notes of open invoices can be voided.";
        return Err(ApiError::invalid(message));
    }
    note.voided_at = Some(tx.now);
    let shown = view(tx.state, &note);
    let (invoice, amount) = (note.invoice.clone(), note.pre_payment);
    tx.state.credit_notes.put(note);
    tx.emit("credit_note.voided", shown.clone());
    settlements::credit(tx, &invoice, -amount, 0)?;
    Ok(shown)
}

pub fn list(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let created = lists::range(&mut call.params, "created")?;
    let customer = call.params.text("customer")?;
    let invoice = call.params.text("invoice")?;
    let state = &*tx.state;
    lists::page_of(
        call,
        &state.credit_notes,
        invoice.as_deref().or(customer.as_deref()),
        |note| {
            created.contains(note.created)
                && customer.as_ref().is_none_or(|customer| note.customer == *customer)
        },
        |note| view(state, note),
    )
}
