//! How invoices look on the wire.

use serde_json::{Value, json};

use crate::adjustments::Tax;
use crate::costs::UnitAmount;
use crate::invoices::{Invoice, Line, Status, amounts, papers, payment_of, settlements};
use crate::state::State;
use crate::{automatic_taxes, invoice_payments, lists, tax_rates};

pub fn view(state: &State, invoice: &Invoice) -> Value {
    let mut settled = invoice.clone();
    if let Some(customer) = state.customers.get(&invoice.customer)
        && invoice.status == Status::Draft
    {
        settled.starting_balance = settlements::usable_balance(customer, &invoice.currency);
    }
    amounts::settle(state, &mut settled);
    let invoice = &settled;
    let is_unpaid = matches!(invoice.status, Status::Draft | Status::Open);
    let due = invoice.amount_due();
    let url = invoice.finalized_at.map(|_| format!("{}/i/{}", state.base_url, invoice.id));
    let pdf = url.as_ref().map(|url| format!("{url}?print"));
    let mut shown = json!({
        "id": invoice.id,
        "object": "invoice",
        "amount_due": due,
        "amount_overpaid": invoice.amount_overpaid,
        "amount_paid": invoice.amount_paid,
        "amount_paid_off_stripe": if invoice.paid_out_of_band { invoice.amount_paid } else { 0 },
        "amount_remaining": invoice.amount_remaining(),
        "amount_shipping": 0,
        "attempt_count": invoice.attempt_count,
        "attempted": 0 < invoice.attempt_count || invoice.status == Status::Paid,
        "auto_advance": invoice.auto_advance && is_unpaid,
        "automatic_tax":
            automatic_taxes::invoice_view(state, invoice.automatic_tax, &invoice.customer),
        "automatically_finalizes_at": invoice.finalizes_at(),
        "billing_reason": invoice.billing_reason,
        "collection_method": invoice.collection_method,
        "created": invoice.created,
        "currency": invoice.currency,
        "customer": invoice.customer,
        "default_payment_method": invoice.default_payment_method,
        "default_tax_rates": tax_rates::show_all(state, &invoice.default_tax_rates),
        "description": invoice.description,
        "discounts": invoice.discounts,
        "due_date": invoice.due_date,
        "effective_at": invoice.effective_at.or(invoice.finalized_at),
        "ending_balance": invoice.ending_balance,
        "hosted_invoice_url": url,
        "invoice_pdf": pdf,
        "lines": lines_view(invoice),
        "metadata": invoice.metadata,
        "next_payment_attempt": invoice.next_payment_attempt,
        "number": invoice.number,
        "parent": parent_view(invoice),
        "period_end": invoice.period_end,
        "period_start": invoice.period_start,
        "post_payment_credit_notes_amount": invoice.post_payment_credit,
        "pre_payment_credit_notes_amount": invoice.pre_payment_credit,
        "starting_balance": invoice.starting_balance,
        "status": invoice.status,
        "test_clock": state.test_clock_of(&invoice.customer),
        "status_transitions": transitions_view(invoice),
        "subtotal": invoice.subtotal(),
        "subtotal_excluding_tax": invoice.subtotal_excluding_tax(),
        "total": invoice.total(),
        "total_discount_amounts": discount_amounts(invoice.discount_amounts()),
        "total_excluding_tax": invoice.total_excluding_tax(),
        "total_taxes": taxes_view(&invoice.taxes()),
    });
    if let (Value::Object(shown), Value::Object(constants)) = (&mut shown, constants()) {
        shown.extend(constants);
        shown.extend(papers::view(state, invoice));
    }
    shown
}

fn transitions_view(invoice: &Invoice) -> Value {
    json!({
        "finalized_at": invoice.finalized_at,
        "marked_uncollectible_at": invoice.marked_uncollectible_at,
        "paid_at": invoice.paid_at,
        "voided_at": invoice.voided_at,
    })
}

/// What this sandbox never changes.
fn constants() -> Value {
    json!({
        "account_country": "US",
        "account_name": "Tollgate sandbox",
        "application": null,
        "customer_account": null,
        "default_source": null,
        "issuer": {"type": "self"},
        "last_finalization_error": null,
        "livemode": false,
        "on_behalf_of": null,
        "payment_settings": {
            "default_mandate": null,
            "payment_method_options": null,
            "payment_method_types": null,
        },
        "receipt_number": null,
        "rendering": null,
        "shipping_cost": null,
        "shipping_details": null,
        "total_pretax_credit_amounts": [],
        "webhooks_delivered_at": null,
    })
}

fn parent_view(invoice: &Invoice) -> Value {
    match &invoice.subscription {
        None => Value::Null,
        Some(subscription) => json!({
            "quote_details": null,
            "subscription_details": {
                "metadata": invoice.subscription_metadata,
                "subscription": subscription,
            },
            "type": "subscription_details",
        }),
    }
}

pub fn lines_view(invoice: &Invoice) -> Value {
    lists::whole(line_views(invoice), format!("/v1/invoices/{}/lines", invoice.id))
}

pub fn line_views(invoice: &Invoice) -> Vec<Value> {
    invoice.lines.iter().map(|line| line_view(invoice, line)).collect()
}

fn line_view(invoice: &Invoice, line: &Line) -> Value {
    let parent = match (&line.subscription_item, &line.invoice_item) {
        (Some(item), invoice_item) => json!({
            "invoice_item_details": null,
            "subscription_item_details": {
                "invoice_item": invoice_item,
                "proration": line.proration,
                "proration_details": {"credited_items": null},
                "subscription": line.subscription,
                "subscription_item": item,
            },
            "type": "subscription_item_details",
        }),
        (None, invoice_item) => json!({
            "invoice_item_details": {
                "invoice_item": invoice_item.as_ref().unwrap_or(&line.id),
                "proration": line.proration,
                "proration_details": {"credited_items": null},
                "subscription": line.subscription,
            },
            "subscription_item_details": null,
            "type": "invoice_item_details",
        }),
    };
    let pricing = line.price.as_ref().map(|price| {
        json!({
            "price_details": {"price": price, "product": line.product},
            "type": "price_details",
            "unit_amount_decimal": line.unit.map(UnitAmount::decimal),
        })
    });
    json!({
        "id": line.id,
        "object": "line_item",
        "amount": line.amount,
        "currency": invoice.currency,
        "description": line.description,
        "discount_amounts": discount_amounts(own_amounts(line)),
        "discountable": line.is_discountable(),
        "discounts": line.adjustments.discounts,
        "invoice": invoice.id,
        "livemode": false,
        "metadata": line.metadata,
        "parent": parent,
        "period": {"end": line.period_end, "start": line.period_start},
        "pretax_credit_amounts": [],
        "pricing": pricing,
        "quantity": line.quantity,
        "quantity_decimal": line.quantity.to_string(),
        "subscription": line.subscription,
        "subtotal": line.amount,
        "taxes": taxes_view(&line.adjustments.taxes),
    })
}

fn taxes_view(taxes: &[Tax]) -> Value {
    let shown = taxes.iter().map(|tax| {
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

fn own_amounts(line: &Line) -> Vec<(String, i64)> {
    let amounts = line.adjustments.discount_amounts.iter();
    amounts.map(|found| (found.discount.clone(), found.amount)).collect()
}

fn discount_amounts(amounts: Vec<(String, i64)>) -> Value {
    let shown = amounts.into_iter();
    shown.map(|(discount, amount)| json!({"amount": amount, "discount": discount})).collect()
}

/// `payments` is shown only when asked for.
pub fn payments_view(state: &State, id: &str) -> Value {
    let rows = state.invoice_payments.of(id).rev();
    lists::whole(rows.map(invoice_payments::view).collect(), "/v1/invoice_payments".to_owned())
}

/// `confirmation_secret` is shown only when asked for.
pub fn confirmation_secret_view(state: &State, id: &str) -> Value {
    let payment = payment_of(state, id);
    let intent = payment.and_then(|payment| state.payment_intents.get(&payment.payment_intent));
    match intent {
        None => Value::Null,
        Some(intent) => json!({"client_secret": intent.client_secret(), "type": "payment_intent"}),
    }
}
