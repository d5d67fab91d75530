//! How credit notes look on the wire.

use serde_json::{Value, json};

use crate::costs::UnitAmount;
use crate::credit_notes::{CreditLine, CreditNote};
use crate::lists;
use crate::state::State;

pub fn view(state: &State, note: &CreditNote) -> Value {
    let amount = note.amount();
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
        "discount_amount": 0,
        "discount_amounts": [],
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
        "subtotal": amount,
        "subtotal_excluding_tax": amount,
        "total": amount,
        "total_excluding_tax": amount,
        "total_taxes": [],
        "type": kind,
        "voided_at": note.voided_at,
    })
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
        "discount_amount": 0,
        "discount_amounts": [],
        "livemode": false,
        "metadata": line.metadata,
        "pretax_credit_amounts": [],
        "quantity": line.quantity,
        "tax_rates": [],
        "taxes": [],
        "type": if line.invoice_line.is_some() { "invoice_line_item" } else { "custom_line_item" },
        "unit_amount": line.unit.and_then(UnitAmount::minor),
        "unit_amount_decimal": line.unit.map(UnitAmount::decimal),
    });
    if let Some(id) = &line.invoice_line {
        shown["invoice_line_item"] = json!(id);
    }
    shown
}
