//! What a credit note is asked to do, checked against its invoice before anything is done.

use crate::adjustments::{DiscountAmount, Tax};
use crate::costs::UnitAmount;
use crate::credit_notes::{CreditLine, LinkedRefund};
use crate::currencies;
use crate::errors::ApiError;
use crate::ids;
use crate::invoices::{Invoice, Line, Status, settlements};
use crate::params::{MAX_AMOUNT, Metadata, Params};
use crate::percents::ratio;
use crate::state::State;

pub struct Plan {
    pub invoice: String,
    pub lines: Vec<CreditLine>,
    pub memo: Option<String>,
    pub reason: Option<&'static str>,
    pub effective_at: Option<i64>,
    pub pre_payment: i64,
    pub post_payment: i64,
    pub refund: Option<i64>,
    pub credit: Option<i64>,
    pub out_of_band: Option<i64>,
    pub linked: Vec<LinkedRefund>,
    pub metadata: Metadata,
}

impl Plan {
    pub fn read(state: &State, params: &mut Params) -> Result<Plan, ApiError> {
        let id = params.required("invoice")?;
        let found = state.invoices.get(&id);
        let invoice = found.ok_or_else(|| ApiError::no_such("invoice", &id, "invoice"))?;
        if !matches!(invoice.status, Status::Open | Status::Paid | Status::Uncollectible) {
            let message = "Credit notes can only be created for open or paid invoices.";
            return Err(ApiError::invalid(message).param("invoice"));
        }
        settlements::check_not_processing(state, &id)?;
        let lines = read_lines(state, params, invoice)?;
        let reasons = ["duplicate", "fraudulent", "order_change", "product_unsatisfactory"];
        let mut plan = Plan {
            invoice: id,
            lines,
            memo: params.text("memo")?,
            reason: params.word("reason", &reasons)?,
            effective_at: params.timestamp("effective_at")?,
            pre_payment: 0,
            post_payment: 0,
            refund: params.within("refund_amount", 1, MAX_AMOUNT)?,
            credit: params.within("credit_amount", 1, MAX_AMOUNT)?,
            out_of_band: params.within("out_of_band_amount", 1, MAX_AMOUNT)?,
            linked: read_linked(state, params, invoice)?,
            metadata: params.metadata()?.fresh(),
        };
        params.ignore(&["email_type"]);
        params.refuse(&["shipping_cost"])?;
        plan.divide(state, invoice)?;
        Ok(plan)
    }

    /// First what is still to be paid is lowered; what exceeds it must be given back somehow.
    fn divide(&mut self, state: &State, invoice: &Invoice) -> Result<(), ApiError> {
        let amount = self.lines.iter().fold(0_i64, |sum, line| sum.saturating_add(line.total()));
        let show = |amount: i64| currencies::show(amount, &invoice.currency);
        let credited: i64 =
            settlements::notes_of(state, &invoice.id).map(|note| note.amount()).sum();
        let left = invoice.total().saturating_sub(credited);
        if amount <= 0 || left < amount {
            let message = format!(
                "The credit note amount ({}) must be more than zero and at most the amount of \
                 the invoice that has not been credited ({}).",
                show(amount),
                show(left.max(0)),
            );
            return Err(ApiError::invalid(message).param("amount"));
        }
        self.pre_payment = amount.min(invoice.amount_remaining());
        self.post_payment = amount - self.pre_payment;
        let linked: i64 = self.linked.iter().map(|found| found.amount).sum();
        let parts = [self.refund, self.credit, self.out_of_band, Some(linked)];
        let given: i64 = parts.into_iter().flatten().sum();
        if given != self.post_payment {
            let message = format!(
                "The sum of credit amount, refund amount and out of band amount ({}) must equal \
                 the post payment credit note amount ({}).",
                show(given),
                show(self.post_payment),
            );
            return Err(ApiError::invalid(message));
        }
        Ok(())
    }
}

/// `amount` alone, or `lines`.
fn read_lines(
    state: &State,
    params: &mut Params,
    invoice: &Invoice,
) -> Result<Vec<CreditLine>, ApiError> {
    let amount = params.within("amount", 1, MAX_AMOUNT)?;
    let mut lines = Vec::new();
    for mut hash in params.hashes("lines")? {
        lines.push(read_line(state, &mut hash, invoice, &lines)?);
        hash.finish()?;
    }
    match (amount, lines.is_empty()) {
        (None, true) => {
            let message = "You must provide one of: amount, lines, shipping_cost.";
            Err(ApiError::invalid(message).code("parameter_missing").param("amount"))
        }
        (Some(amount), true) => {
            let description = Some("Credit".to_owned());
            Ok(vec![custom_line(amount, description, Some(1), UnitAmount::whole(amount))])
        }
        (None, false) => Ok(lines),
        (Some(amount), false) => {
            let sum: i64 = lines.iter().map(CreditLine::total).sum();
            if sum == amount {
                return Ok(lines);
            }
            let message = "The amount must equal the sum of the lines.";
            Err(ApiError::invalid(message).param("amount"))
        }
    }
}

fn custom_line(
    amount: i64,
    description: Option<String>,
    quantity: Option<i64>,
    unit: UnitAmount,
) -> CreditLine {
    CreditLine {
        id: ids::object("cnli"),
        amount,
        description,
        quantity,
        unit: Some(unit),
        invoice_line: None,
        discount_amounts: Vec::new(),
        taxes: Vec::new(),
        metadata: Metadata::new(),
    }
}

fn read_line(
    state: &State,
    hash: &mut Params,
    invoice: &Invoice,
    before: &[CreditLine],
) -> Result<CreditLine, ApiError> {
    let kind = hash.word("type", &["custom_line_item", "invoice_line_item"])?;
    let amount = hash.within("amount", 1, MAX_AMOUNT)?;
    let quantity = hash.within("quantity", 1, 999_999)?;
    let description = hash.text("description")?;
    let metadata = hash.metadata()?.fresh();
    hash.refuse(&["tax_amounts", "tax_rates"])?;
    let mut line = match kind {
        None => return Err(ApiError::missing_parameter(&hash.name("type"))),
        Some("custom_line_item") => {
            let unit = crate::costs::read_decimal(hash, "unit_amount")?;
            let missing = |key: &str| ApiError::missing_parameter(&hash.name(key));
            let unit = unit.ok_or_else(|| missing("unit_amount"))?;
            let quantity = quantity.ok_or_else(|| missing("quantity"))?;
            let description = description.ok_or_else(|| missing("description"))?;
            let too_much = || hash.invalid("quantity", "Invalid quantity");
            let amount = unit.times(quantity).ok_or_else(too_much)?;
            custom_line(amount, Some(description), Some(quantity), unit)
        }
        Some(_) => invoice_line(state, hash, invoice, before, (amount, quantity, description))?,
    };
    line.metadata = metadata;
    Ok(line)
}

/// Part of a line of the invoice, by amount or by quantity.
fn invoice_line(
    state: &State,
    hash: &mut Params,
    invoice: &Invoice,
    before: &[CreditLine],
    (amount, quantity, description): (Option<i64>, Option<i64>, Option<String>),
) -> Result<CreditLine, ApiError> {
    let id = hash.required("invoice_line_item")?;
    let param = hash.name("invoice_line_item");
    let found = invoice.lines.iter().find(|line| line.id == id);
    let line = found.ok_or_else(|| ApiError::no_such("invoice line item", &id, &param))?;
    let amount = match (amount, quantity) {
        (Some(amount), None) => amount,
        (None, Some(quantity)) if quantity <= line.quantity => {
            let part = i128::from(line.amount) * i128::from(quantity);
            i64::try_from(part / i128::from(line.quantity.max(1))).unwrap_or(line.amount)
        }
        (None, Some(_)) => {
            return Err(hash.invalid("quantity", "More than the invoice line has"));
        }
        (None, None) => return Err(ApiError::missing_parameter(&hash.name("quantity"))),
        (Some(_), Some(_)) => {
            return Err(hash.invalid("amount", "Pass only one of amount, quantity"));
        }
    };
    let earlier = settlements::notes_of(state, &invoice.id).flat_map(|note| &note.lines);
    let same = earlier.chain(before).filter(|line| line.invoice_line.as_ref() == Some(&id));
    let credited = same.fold(0_i64, |sum, line| sum.saturating_add(line.amount));
    if line.amount.saturating_sub(credited) < amount {
        let key = if quantity.is_some() { "quantity" } else { "amount" };
        let left = line.amount.saturating_sub(credited).max(0);
        let left = currencies::show(left, &invoice.currency);
        let what = format!("Only {left} of this invoice line can still be credited");
        return Err(hash.invalid(key, &what));
    }
    Ok(CreditLine {
        id: ids::object("cnli"),
        amount,
        description: description.or_else(|| line.description.clone()),
        quantity,
        unit: quantity.and(line.unit),
        invoice_line: Some(id),
        discount_amounts: share_of_discounts(line, amount),
        taxes: share_of_taxes(line, amount),
        metadata: Metadata::new(),
    })
}

/// A part of a line has the same part of its discounts and taxes.
fn share_of_discounts(line: &Line, amount: i64) -> Vec<DiscountAmount> {
    let found = line.adjustments.discount_amounts.iter().cloned();
    let part = |found: DiscountAmount| DiscountAmount {
        amount: ratio(found.amount, amount, line.amount),
        ..found
    };
    found.map(part).collect()
}

fn share_of_taxes(line: &Line, amount: i64) -> Vec<Tax> {
    let found = line.adjustments.taxes.iter().cloned();
    let part = |tax: Tax| Tax {
        amount: ratio(tax.amount, amount, line.amount),
        taxable: ratio(tax.taxable, amount, line.amount),
        ..tax
    };
    found.map(part).collect()
}

/// Refunds made before that the note accounts for.
fn read_linked(
    state: &State,
    params: &mut Params,
    invoice: &Invoice,
) -> Result<Vec<LinkedRefund>, ApiError> {
    let mut linked: Vec<LinkedRefund> = Vec::new();
    for mut hash in params.hashes("refunds")? {
        let id = hash.required("refund")?;
        let param = hash.name("refund");
        let wanted = hash.within("amount_refunded", 1, MAX_AMOUNT)?;
        hash.ignore(&["type"]);
        hash.refuse(&["payment_record_refund"])?;
        hash.finish()?;
        let charge = settlements::charge_of(state, &invoice.id);
        let found = state.refunds.get(&id).filter(|refund| Some(&refund.charge) == charge.as_ref());
        let refund = found.ok_or_else(|| ApiError::no_such("refund", &id, &param))?;
        let earlier = settlements::notes_of(state, &invoice.id).flat_map(|note| &note.refunds);
        let same = earlier.chain(&linked).filter(|found| found.refund == id);
        let left = refund.amount.saturating_sub(same.map(|found| found.amount).sum());
        let amount = wanted.unwrap_or(left);
        if amount <= 0 || left < amount {
            let message = "The refund is already linked to a credit note in full.";
            return Err(ApiError::invalid(message).param(&param));
        }
        linked.push(LinkedRefund { refund: id, amount });
    }
    Ok(linked)
}
