//! What basil (2025-03-31) changed, undone. Before it invoices, their lines and their items named
//! the payment, the subscription, the price and the tax directly, charges and payment intents
//! named their invoice, and the period was the subscription's instead of its items'.

use serde_json::{Map, Value, json};

use crate::state::State;
use crate::{expand, invoices, prices};

type Object = Map<String, Value>;

pub fn turn(state: &State, kind: &str, object: &mut Object) {
    match kind {
        "charge" => charge(state, object),
        "checkout.session" => checkout_session(object),
        "credit_note" => credit_note(object),
        "credit_note_line_item" => credit_note_line(state, object),
        "invoice" => invoice(state, object),
        "invoiceitem" => invoice_item(state, object),
        "line_item" => line(state, object),
        "payment_intent" => {
            let id = text(object, "id");
            set(object, "invoice", invoice_paid_by(state, id.as_deref()));
        }
        "plan" => set(object, "aggregate_usage", Value::Null),
        "price" => {
            if let Some(Value::Object(recurring)) = object.get_mut("recurring") {
                set(recurring, "aggregate_usage", Value::Null);
            }
        }
        "subscription" => subscription(state, object),
        "subscription_item" => set(object, "billing_thresholds", Value::Null),
        "subscription_schedule" => schedule(object),
        _ => {}
    }
}

fn set(object: &mut Object, key: &str, value: impl Into<Value>) {
    object.insert(key.to_owned(), value.into());
}

fn text(object: &Object, key: &str) -> Option<String> {
    object.get(key).and_then(Value::as_str).map(str::to_owned)
}

/// What stands at a path, or null.
fn at(object: &Object, path: &[&str]) -> Value {
    let Some((first, rest)) = path.split_first() else {
        return Value::Null;
    };
    let found = rest.iter().try_fold(object.get(*first), |value, key| Some(value?.get(key)));
    found.flatten().cloned().unwrap_or_default()
}

/// The object an id names, or the object that already stands there.
fn whole(state: &State, value: &Value, field: &str) -> Value {
    match value {
        Value::String(id) => expand::object(state, id, field).unwrap_or_default(),
        value => value.clone(),
    }
}

fn invoice_paid_by(state: &State, intent: Option<&str>) -> Value {
    let mut payments = state.invoice_payments.newest_first();
    let payment = payments.find(|payment| Some(payment.payment_intent.as_str()) == intent);
    json!(payment.map(|payment| &payment.invoice))
}

fn charge(state: &State, object: &mut Object) {
    let intent = match at(object, &["payment_intent"]) {
        Value::Object(intent) => text(&intent, "id"),
        intent => intent.as_str().map(str::to_owned),
    };
    set(object, "invoice", invoice_paid_by(state, intent.as_deref()));
}

fn checkout_session(object: &mut Object) {
    let shipping = at(object, &["collected_information", "shipping_details"]);
    set(object, "shipping_details", shipping);
}

fn subscription(state: &State, object: &mut Object) {
    let items = at(object, &["items", "data"]);
    let first = items.get(0).cloned().unwrap_or_default();
    for key in ["current_period_end", "current_period_start"] {
        set(object, key, first.get(key).cloned().unwrap_or_default());
    }
    // Not described, but shown as long as there is one item.
    let only = items.as_array().is_some_and(|items| items.len() == 1);
    for key in ["plan", "quantity"] {
        let value = if only { first.get(key).cloned().unwrap_or_default() } else { Value::Null };
        set(object, key, value);
    }
    let discount = at(object, &["discounts"]).get(0).cloned().unwrap_or_default();
    set(object, "discount", whole(state, &discount, "discount"));
    set(object, "billing_thresholds", Value::Null);
}

fn schedule(object: &mut Object) {
    if let Some(Value::Object(defaults)) = object.get_mut("default_settings") {
        set(defaults, "billing_thresholds", Value::Null);
    }
    let Some(Value::Array(phases)) = object.get_mut("phases") else {
        return;
    };
    for phase in phases.iter_mut().filter_map(Value::as_object_mut) {
        let first = at(phase, &["discounts"]).get(0).cloned().unwrap_or_default();
        set(phase, "coupon", first.get("coupon").cloned().unwrap_or_default());
        set(phase, "billing_thresholds", Value::Null);
        if let Some(Value::Array(items)) = phase.get_mut("items") {
            for item in items.iter_mut().filter_map(Value::as_object_mut) {
                set(item, "billing_thresholds", Value::Null);
            }
        }
    }
}

fn invoice(state: &State, object: &mut Object) {
    let id = text(object, "id").unwrap_or_default();
    let status = text(object, "status");
    let payment = invoices::payment_of(state, &id).filter(|_| status.as_deref() != Some("draft"));
    let intent = payment.and_then(|payment| state.payment_intents.get(&payment.payment_intent));
    set(object, "payment_intent", json!(intent.map(|intent| &intent.id)));
    set(object, "charge", json!(intent.and_then(|intent| intent.latest_charge.as_ref())));
    set(object, "paid", status.as_deref() == Some("paid"));
    let off_stripe = at(object, &["amount_paid_off_stripe"]).as_i64().unwrap_or_default();
    set(object, "paid_out_of_band", off_stripe != 0);
    let details = at(object, &["parent", "subscription_details"]);
    set(object, "subscription", details.get("subscription").cloned().unwrap_or_default());
    let metadata = details.get("metadata").cloned().unwrap_or_default();
    set(object, "subscription_details", json!({ "metadata": metadata }));
    if let Some(instant) = details.get("subscription_proration_date").and_then(Value::as_i64) {
        set(object, "subscription_proration_date", instant);
    }
    let discount = at(object, &["discounts"]).get(0).cloned().unwrap_or_default();
    set(object, "discount", whole(state, &discount, "discount"));
    let taxes = at(object, &["total_taxes"]);
    let tax = taxes.as_array().filter(|taxes| !taxes.is_empty()).map(|taxes| sum(taxes));
    set(object, "tax", json!(tax));
    set(object, "total_tax_amounts", tax_amounts(&taxes));
    for key in ["application_fee_amount", "quote", "transfer_data"] {
        set(object, key, Value::Null);
    }
}

fn sum(amounts: &[Value]) -> i64 {
    amounts.iter().filter_map(|amount| amount.get("amount")?.as_i64()).sum()
}

/// Taxes as they were described before.
fn tax_amounts(taxes: &Value) -> Value {
    let taxes = taxes.as_array().map(Vec::as_slice).unwrap_or_default();
    let amounts = taxes.iter().map(|tax| {
        json!({
            "amount": tax["amount"],
            "inclusive": tax["tax_behavior"] == "inclusive",
            "tax_rate": tax["tax_rate_details"]["tax_rate"],
            "taxability_reason": tax["taxability_reason"],
            "taxable_amount": tax["taxable_amount"],
        })
    });
    Value::Array(amounts.collect())
}

/// The rates that were set by hand. Those of automatic tax were not listed.
fn tax_rates(state: &State, taxes: &Value) -> Value {
    let taxes = taxes.as_array().map(Vec::as_slice).unwrap_or_default();
    let rates = taxes.iter().map(|tax| whole(state, &tax["tax_rate_details"]["tax_rate"], ""));
    Value::Array(rates.filter(Value::is_object).collect())
}

/// An amount without its inclusive taxes.
fn without_tax(amount: i64, taxes: &Value) -> i64 {
    let taxes = taxes.as_array().map(Vec::as_slice).unwrap_or_default();
    let inclusive = taxes.iter().filter(|tax| tax["tax_behavior"] == "inclusive");
    amount - inclusive.filter_map(|tax| tax["amount"].as_i64()).sum::<i64>()
}

/// The share of one unit, as a decimal with up to twelve places.
fn per_unit(amount: i64, quantity: i64) -> Value {
    const PLACES: u32 = 12;
    if quantity <= 0 {
        return Value::Null;
    }
    let (amount, quantity) = (i128::from(amount), i128::from(quantity));
    let scale = 10_i128.pow(PLACES);
    let scaled = (amount.abs() * scale * 2 + quantity) / (quantity * 2);
    let sign = if amount < 0 { "-" } else { "" };
    let places = format!("{:0width$}", scaled % scale, width = PLACES as usize);
    let text = format!("{sign}{}.{places}", scaled / scale);
    json!(text.trim_end_matches('0').trim_end_matches('.'))
}

fn line(state: &State, object: &mut Object) {
    let taxes = at(object, &["taxes"]);
    let amount = at(object, &["amount"]).as_i64().unwrap_or_default();
    let quantity = at(object, &["quantity"]).as_i64().unwrap_or(1);
    let excluding_tax = without_tax(amount, &taxes);
    set(object, "amount_excluding_tax", excluding_tax);
    set(object, "unit_amount_excluding_tax", per_unit(excluding_tax, quantity));
    set(object, "tax_amounts", tax_amounts(&taxes));
    set(object, "tax_rates", tax_rates(state, &taxes));
    let parent = ["subscription_item_details", "invoice_item_details"]
        .iter()
        .map(|kind| at(object, &["parent", kind]))
        .find(Value::is_object)
        .unwrap_or_default();
    let of_parent = |key: &str| parent.get(key).cloned().unwrap_or_default();
    let invoice_item = of_parent("invoice_item");
    let kind = if invoice_item.is_null() { "subscription" } else { "invoiceitem" };
    set(object, "type", kind);
    for (key, value) in
        [("invoice_item", invoice_item), ("subscription_item", of_parent("subscription_item"))]
    {
        if !value.is_null() {
            set(object, key, value);
        }
    }
    set(object, "proration", of_parent("proration").as_bool().unwrap_or_default());
    let credited =
        parent.get("proration_details").and_then(|details| details.get("credited_items"));
    set(object, "proration_details", json!({"credited_items": credited}));
    set(object, "subscription", of_parent("subscription"));
    set_price(state, object);
}

fn invoice_item(state: &State, object: &mut Object) {
    let details = at(object, &["parent", "subscription_details"]);
    set(object, "subscription", details.get("subscription").cloned().unwrap_or_default());
    if let Some(item) = details.get("subscription_item").filter(|item| !item.is_null()) {
        set(object, "subscription_item", item.clone());
    }
    let decimal = at(object, &["pricing", "unit_amount_decimal"]);
    let unit: Option<i64> = decimal.as_str().and_then(|text| text.parse().ok());
    set(object, "unit_amount", json!(unit));
    set(object, "unit_amount_decimal", decimal);
    set_price(state, object);
}

/// The price as a whole object, and as the plan it had been before there were prices.
fn set_price(state: &State, object: &mut Object) {
    let price = at(object, &["pricing", "price_details", "price"]);
    let id = match &price {
        Value::Object(price) => text(price, "id"),
        price => price.as_str().map(str::to_owned),
    };
    let row = id.and_then(|id| state.prices.get(&id)).filter(|price| price.recurring.is_some());
    set(object, "plan", json!(row.map(prices::plan_view)));
    set(object, "price", whole(state, &price, "price"));
}

fn credit_note(object: &mut Object) {
    let refund = at(object, &["refunds"]).get(0).map(|refund| refund["refund"].clone());
    set(object, "refund", refund.unwrap_or_default());
    let taxes = at(object, &["total_taxes"]);
    set(object, "tax_amounts", tax_amounts(&taxes));
}

fn credit_note_line(state: &State, object: &mut Object) {
    let taxes = at(object, &["taxes"]);
    let amount = at(object, &["amount"]).as_i64().unwrap_or_default();
    let quantity = at(object, &["quantity"]).as_i64().unwrap_or(1);
    let excluding_tax = without_tax(amount, &taxes);
    set(object, "amount_excluding_tax", excluding_tax);
    set(object, "unit_amount_excluding_tax", per_unit(excluding_tax, quantity));
    set(object, "tax_amounts", tax_amounts(&taxes));
    // Newer notes list their rates themselves.
    if !object.contains_key("tax_rates") {
        set(object, "tax_rates", tax_rates(state, &taxes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_exact_where_they_can_be() {
        assert_eq!(per_unit(1000, 1), "1000");
        assert_eq!(per_unit(1000, 3), "333.333333333333");
        assert_eq!(per_unit(-5, 2), "-2.5");
        assert_eq!(per_unit(200, 3), "66.666666666667");
        assert_eq!(per_unit(1000, 0), Value::Null);
    }

    #[test]
    fn inclusive_taxes_are_taken_out() {
        let taxes = json!([
            {"amount": 19, "tax_behavior": "inclusive", "taxable_amount": 100,
             "taxability_reason": "standard_rated", "tax_rate_details": {"tax_rate": "txr_1"}},
            {"amount": 5, "tax_behavior": "exclusive"},
        ]);
        assert_eq!(without_tax(119, &taxes), 100);
        assert_eq!(
            tax_amounts(&taxes)[0],
            json!({"amount": 19, "inclusive": true, "tax_rate": "txr_1",
                   "taxability_reason": "standard_rated", "taxable_amount": 100})
        );
    }
}
