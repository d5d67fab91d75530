//! How credit notes look on the wire.

use serde_json::{Value, json};

use crate::adjustments::{Tax, sum};
use crate::costs::UnitAmount;
use crate::credit_notes::{CreditLine, CreditNote};
use crate::lists;
use crate::state::State;

pub fn view(state: &State, note: &CreditNote) -> Value {
    let amount = note.amount();
    let subtotal = sum(note.lines.iter().map(|line| line.amount));
    let taxed = sum(note.lines.iter().map(CreditLine::taxed));
    let taxes = note.lines.iter().flat_map(|line| &line.taxes);
    let inclusive = sum(taxes.filter(|tax| tax.inclusive).map(|tax| tax.amount));
    let refunds: Vec<Value> = note
        .refunds
        .iter()
        .map(|linked| {
            json!({
                "amount_refunded": linked.amount,
                "payment_record_refund": null,
                "refund": linked.refund,
                "type": "refund",
            })
        })
        .collect();
    let kind = match (note.pre_payment, note.post_payment) {
        (_, 0) => "pre_payment",
        (0, _) => "post_payment",
        (_, _) => "mixed",
    };
    json!({
        "id": note.id,
        "object": "credit_note",
        "amount": amount,
        "amount_shipping": 0,
        "created": note.created,
        "currency": note.currency,
        "customer": note.customer,
        "customer_account": null,
        "customer_balance_transaction": note.balance_transaction,
        "discount_amount": sum(note.lines.iter().map(CreditLine::discounted)),
        "discount_amounts": discounts_view(note.lines.iter()),
        "effective_at": note.effective_at,
        "invoice": note.invoice,
        "lines": lists::whole(lines_view(note), format!("/v1/credit_notes/{}/lines", note.id)),
        "livemode": false,
        "memo": note.memo,
        "metadata": note.metadata,
        "number": note.number,
        "out_of_band_amount": note.out_of_band,
        "pdf": format!("{}/i/{}/credit/{}", state.base_url, note.invoice, note.id),
        "post_payment_amount": note.post_payment,
        "pre_payment_amount": note.pre_payment,
        "pretax_credit_amounts": [],
        "reason": note.reason,
        "refunds": refunds,
        "shipping_cost": null,
        "status": if note.voided_at.is_some() { "void" } else { "issued" },
        "subtotal": subtotal,
        "subtotal_excluding_tax": subtotal.saturating_sub(inclusive),
        "total": amount,
        "total_excluding_tax": amount.saturating_sub(taxed),
        "total_taxes": taxes_view(note.lines.iter()),
        "type": kind,
        "voided_at": note.voided_at,
    })
}

/// Per discount, over these lines.
fn discounts_view<'a>(lines: impl Iterator<Item = &'a CreditLine>) -> Value {
    let mut totals: Vec<(&str, i64)> = Vec::new();
    for found in lines.flat_map(|line| &line.discount_amounts) {
        match totals.iter_mut().find(|(id, _)| *id == found.discount) {
            Some((_, amount)) => *amount = amount.saturating_add(found.amount),
            None => totals.push((&found.discount, found.amount)),
        }
    }
    let shown = totals.into_iter();
    shown.map(|(discount, amount)| json!({"amount": amount, "discount": discount})).collect()
}

/// Per tax rate and reason, over these lines.
fn taxes_view<'a>(lines: impl Iterator<Item = &'a CreditLine>) -> Value {
    let mut totals: Vec<Tax> = Vec::new();
    for tax in lines.flat_map(|line| &line.taxes) {
        let same = |total: &&mut Tax| total.rate == tax.rate && total.reason == tax.reason;
        match totals.iter_mut().find(same) {
            Some(total) => {
                total.amount = total.amount.saturating_add(tax.amount);
                total.taxable = total.taxable.saturating_add(tax.taxable);
            }
            None => totals.push(tax.clone()),
        }
    }
    let shown = totals.into_iter().map(|tax| {
        json!({
            "amount": tax.amount,
            "tax_behavior": if tax.inclusive { "inclusive" } else { "exclusive" },
            "tax_rate_details": {"tax_rate": tax.rate},
            "taxability_reason": tax.reason,
            "taxable_amount": tax.taxable,
            "type": "tax_rate_details",
        })
    });
    shown.collect()
}

pub fn lines_view(note: &CreditNote) -> Vec<Value> {
    note.lines.iter().map(line_view).collect()
}

fn line_view(line: &CreditLine) -> Value {
    let mut shown = json!({
        "id": line.id,
        "object": "credit_note_line_item",
        "amount": line.amount,
        "description": line.description,
        "discount_amount": line.discounted(),
        "discount_amounts": discounts_view(std::iter::once(line)),
        "livemode": false,
        "metadata": line.metadata,
        "pretax_credit_amounts": [],
        "quantity": line.quantity,
        "tax_rates": [],
        "taxes": taxes_view(std::iter::once(line)),
        "type": if line.invoice_line.is_some() { "invoice_line_item" } else { "custom_line_item" },
        "unit_amount": line.unit.and_then(UnitAmount::minor),
        "unit_amount_decimal": line.unit.map(UnitAmount::decimal),
    });
    if let Some(id) = &line.invoice_line {
        shown["invoice_line_item"] = json!(id);
    }
    shown
}
