//! `expand[]`: ids become objects, and parts that are shown only on request appear.

use serde_json::Value;

use crate::balance_transactions;
use crate::billing_portal;
use crate::charges;
use crate::checkout_sessions;
use crate::costs;
use crate::coupons;
use crate::credit_notes;
use crate::currency_options;
use crate::customer_balance_transactions;
use crate::customers;
use crate::discounts;
use crate::disputes;
use crate::errors::ApiError;
use crate::features;
use crate::invoice_items;
use crate::invoice_payments;
use crate::invoices;
use crate::lists;
use crate::payment_intents;
use crate::payment_methods;
use crate::portal_configurations;
use crate::prices;
use crate::products;
use crate::promotion_codes;
use crate::refunds;
use crate::setup_attempts;
use crate::setup_intents;
use crate::sources;
use crate::state::State;
use crate::subscription_schedules;
use crate::subscriptions;
use crate::tax_calculations;
use crate::tax_ids;
use crate::tax_rates;
use crate::tax_transactions;
use crate::test_clocks;
use crate::versions::{self, Version};

const MAX_PATHS: usize = 50;
/// Stripe expands up to four levels; `data` of a list is not one of them.
const MAX_LEVELS: usize = 4;

/// Each object takes the shape of the version before its own properties are expanded.
pub fn apply(
    state: &State,
    version: Version,
    answer: Value,
    paths: &[String],
) -> Result<Value, ApiError> {
    let mut answer = versions::render(state, version, answer);
    let view = View { state, version };
    if MAX_PATHS < paths.len() {
        return Err(ApiError::invalid("Too many properties to expand.").param("expand"));
    }
    for path in paths {
        let fields: Vec<&str> = path.split('.').collect();
        if MAX_LEVELS < fields.iter().filter(|field| **field != "data").count() {
            let message = "You cannot expand more than 4 levels of a property.";
            return Err(ApiError::invalid(message).param("expand"));
        }
        expand(view, &mut answer, &fields, path)?;
    }
    Ok(answer)
}

/// Where objects are looked up, and how they are shown.
#[derive(Clone, Copy)]
struct View<'a> {
    state: &'a State,
    version: Version,
}

fn expand(view: View<'_>, value: &mut Value, fields: &[&str], path: &str) -> Result<(), ApiError> {
    let Some((field, rest)) = fields.split_first() else {
        return Ok(());
    };
    match value {
        Value::Array(elements) => {
            elements.iter_mut().try_for_each(|element| expand(view, element, fields, path))
        }
        Value::Object(object) => {
            // What looks like an id there is the object's own, or the caller's text.
            if ["id", "metadata"].contains(field) {
                return Err(cannot_expand(path));
            }
            if !object.contains_key(*field) {
                let part = included(view, value, field);
                let part = part.ok_or_else(|| cannot_expand(path))?;
                if part.is_null() {
                    return Ok(());
                }
                value[*field] = versions::render(view.state, view.version, part);
            }
            let inner = &mut value[*field];
            replace_ids(view, inner, field, path)?;
            expand(view, inner, rest, path)
        }
        _ => Ok(()),
    }
}

fn cannot_expand(path: &str) -> ApiError {
    let shown: String = path.chars().take(100).collect();
    ApiError::invalid(format!("This property cannot be expanded ({shown}).")).param("expand")
}

/// An id, or a list of ids, becomes what it names.
fn replace_ids(view: View<'_>, value: &mut Value, field: &str, path: &str) -> Result<(), ApiError> {
    match value {
        Value::String(id) => {
            let object = object(view.state, id, field).ok_or_else(|| cannot_expand(path))?;
            *value = versions::render(view.state, view.version, object);
            Ok(())
        }
        Value::Array(elements) if elements.iter().all(Value::is_string) => {
            elements.iter_mut().try_for_each(|element| replace_ids(view, element, field, path))
        }
        Value::Object(_) | Value::Array(_) | Value::Null => Ok(()),
        Value::Bool(_) | Value::Number(_) => Err(cannot_expand(path)),
    }
}

/// The object an id names. Products and coupons have ids of the caller's choice, so their field
/// decides.
pub fn object(state: &State, id: &str, field: &str) -> Option<Value> {
    if field == "product" {
        return state.products.get(id).map(products::view);
    }
    if field == "default_source" {
        return sources::view(state, id);
    }
    if field == "coupon" {
        return state.coupons.get(id).map(|row| coupons::shown(state, row));
    }
    if id.starts_with("sub_sched_") {
        return state
            .subscription_schedules
            .get(id)
            .map(|row| subscription_schedules::view(state, row));
    }
    match id.split('_').next()? {
        "cus" => state.customers.get(id).map(customers::view),
        "price" => state.prices.get(id).map(prices::view),
        "card" | "pm" => state.payment_methods.get(id).map(payment_methods::view),
        "pi" => state.payment_intents.get(id).map(|row| payment_intents::view(state, row)),
        "ch" => state.charges.get(id).map(|row| charges::view(state, row)),
        "promo" => state.promotion_codes.get(id).map(|row| promotion_codes::view(state, row)),
        "seti" => state.setup_intents.get(id).map(|row| setup_intents::view(state, row)),
        "setatt" => state.setup_attempts.get(id).map(|row| setup_attempts::view(state, row)),
        "re" => state.refunds.get(id).map(refunds::view),
        "cs" => state.checkout_sessions.get(id).map(|row| checkout_sessions::view(state, row)),
        "sub" => state.subscriptions.get(id).map(|row| subscriptions::view(state, row)),
        "di" => state.discounts.get(id).map(discounts::view),
        "txr" => tax_rates::show(state, id),
        "in" => state.invoices.get(id).map(|row| invoices::render::view(state, row)),
        "ii" => state.invoice_items.get(id).map(|row| invoice_items::view(state, row)),
        "inpay" => state.invoice_payments.get(id).map(invoice_payments::view),
        "bpc" => {
            state.portal_configurations.get(id).map(|row| portal_configurations::view(state, row))
        }
        "bps" => state.portal_sessions.get(id).map(|row| billing_portal::view(state, row)),
        "feat" => state.features.get(id).map(features::view),
        "clock" => state.test_clocks.get(id).map(test_clocks::view),
        "cn" => state.credit_notes.get(id).map(|row| credit_notes::render::view(state, row)),
        "cbtxn" => {
            state.customer_balance_transactions.get(id).map(customer_balance_transactions::view)
        }
        "txi" => state.tax_ids.get(id).map(tax_ids::view),
        "txn" => {
            let found = state.balance_transactions.get(id);
            found.map(|row| balance_transactions::view(state, row))
        }
        "du" => state.disputes.get(id).map(|row| disputes::view(state, row)),
        _ => None,
    }
}

/// Parts that are absent unless asked for; null where this object has none.
fn included(view: View<'_>, value: &Value, field: &str) -> Option<Value> {
    let View { state, version } = view;
    let id = value.get("id")?.as_str()?;
    match (value.get("object")?.as_str()?, field) {
        ("checkout.session", "line_items") => {
            let session = state.checkout_sessions.get(id)?;
            Some(checkout_sessions::line_items_view(state, session))
        }
        // Older invoices name the one payment intent instead.
        ("invoice", "payments" | "confirmation_secret") if version.is_before_basil() => None,
        ("invoice", "payments") => Some(invoices::render::payments_view(state, id)),
        ("invoice", "confirmation_secret") => {
            Some(invoices::render::confirmation_secret_view(state, id))
        }
        ("price", "currency_options") => state.prices.get(id).map(currency_options::view),
        ("price", "tiers") => state.prices.get(id).map(|price| costs::tiers_view(&price.cost)),
        ("tax.calculation", "line_items") => {
            state.tax_calculations.get(id).map(tax_calculations::lines_view)
        }
        ("tax.transaction", "line_items") => {
            state.tax_transactions.get(id).map(tax_transactions::lines_view)
        }
        ("coupon", "applies_to") => state.coupons.get(id).map(coupons::products_view),
        ("coupon", "currency_options") => state.coupons.get(id).map(coupons::currencies_view),
        ("charge", "refunds") => Some(charges::refunds_view(state, id)),
        ("customer", "subscriptions") => {
            let rows = state.subscriptions.of(id).rev();
            let live = rows.filter(|row| !row.status.is_final());
            let data = live.map(|row| subscriptions::view(state, row)).collect();
            Some(lists::whole(data, format!("/v1/customers/{id}/subscriptions")))
        }
        ("customer", "tax_ids") => Some(tax_ids::list_view(state, id)),
        ("customer", "tax" | "sources" | "cash_balance") => Some(Value::Null),
        _ => None,
    }
}
