//! Objects by kind, and a page for each: its JSON, where every id leads on, and what happened to
//! it.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::{Path, Query, State as Shared};
use axum::http::HeaderMap;
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::Value;

use crate::app::App;
use crate::dashboard::{self, events};
use crate::requests::Verb;
use crate::{currencies, pages};

const PAGE: &str = "50";
const SHOWN_EVENTS: usize = 20;

/// A kind of object, by its name in the state.
pub struct Kind {
    name: &'static str,
    /// Where the API lists them.
    path: &'static str,
    pub label: &'static str,
}

const fn listed(name: &'static str, path: &'static str, label: &'static str) -> Kind {
    Kind { name, path, label }
}

const KINDS: &[Kind] = &[
    listed("customer", "customers", "Customers"),
    listed("product", "products", "Products"),
    listed("price", "prices", "Prices"),
    listed("coupon", "coupons", "Coupons"),
    listed("promotion_code", "promotion_codes", "Promotion codes"),
    listed("tax_rate", "tax_rates", "Tax rates"),
    listed("checkout.session", "checkout/sessions", "Checkout sessions"),
    listed("subscription", "subscriptions", "Subscriptions"),
    listed("subscription_schedule", "subscription_schedules", "Subscription schedules"),
    listed("invoice", "invoices", "Invoices"),
    listed("invoiceitem", "invoiceitems", "Invoice items"),
    listed("invoice_payment", "invoice_payments", "Invoice payments"),
    listed("credit_note", "credit_notes", "Credit notes"),
    listed("payment_method", "payment_methods", "Payment methods"),
    listed("payment_intent", "payment_intents", "Payment intents"),
    listed("setup_intent", "setup_intents", "Setup intents"),
    listed("charge", "charges", "Charges"),
    listed("refund", "refunds", "Refunds"),
    listed("dispute", "disputes", "Disputes"),
    listed("balance_transaction", "balance_transactions", "Balance transactions"),
    listed("billing.meter", "billing/meters", "Meters"),
    listed("entitlements.feature", "entitlements/features", "Features"),
    listed("test_helpers.test_clock", "test_helpers/test_clocks", "Test clocks"),
    listed(
        "billing_portal.configuration",
        "billing_portal/configurations",
        "Portal configurations",
    ),
    listed("webhook_endpoint", "webhook_endpoints", "Webhook endpoints"),
];

pub fn kind(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.name == name)
}

#[derive(Deserialize)]
pub struct Wanted {
    kind: String,
    after: Option<String>,
}

pub async fn list(
    Shared(app): Shared<Arc<App>>,
    headers: HeaderMap,
    Query(wanted): Query<Wanted>,
) -> Response {
    let Some(kind) = kind(&wanted.kind) else {
        return pages::not_found();
    };
    let account = dashboard::account(&app, &headers);
    let mut fields = vec![("limit", PAGE)];
    fields.extend(wanted.after.as_deref().map(|after| ("starting_after", after)));
    let query = dashboard::form(&fields);
    let answer = dashboard::ask(&app, &account, Verb::Get, kind.path, &query).await;
    let list = match answer {
        None => return pages::not_found(),
        Some(Err(error)) => {
            app.board.failed(error.message());
            return pages::go("/_sandbox");
        }
        Some(Ok(list)) => list,
    };
    let rows = list["data"].as_array().map(Vec::as_slice).unwrap_or_default();
    let last = rows.last().and_then(|row| row["id"].as_str());
    let next = last.filter(|_| list["has_more"] == true);
    let body = html! {
        @if rows.is_empty() { p { "There are none." } }
        @else {
            table {
                thead {
                    tr {
                        th scope="col" { "Object" }
                        th scope="col" { "What it is" }
                        th scope="col" { "Created" }
                    }
                }
                tbody { @for row in rows { (row_of_list(row)) } }
            }
        }
        @if let Some(last) = next {
            p { a href={ "/_sandbox/objects?kind=" (kind.name) "&after=" (last) } { "Older" } }
        }
    };
    dashboard::page(&app, "", kind.label, body)
}

fn row_of_list(row: &Value) -> Markup {
    let id = row["id"].as_str().unwrap_or_default();
    html! {
        tr {
            td { a href={ "/_sandbox/objects/" (id) } { (id) } }
            td { (described(row)) }
            td { @if let Some(created) = row["created"].as_i64() { (dashboard::instant(created)) } }
        }
    }
}

/// What tells an object from its siblings: a name, a state, an amount.
fn described(object: &Value) -> String {
    let text = |key: &str| object[key].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let names = ["name", "display_name", "number", "code", "email", "description", "nickname"];
    let mut parts: Vec<String> = names.into_iter().filter_map(text).take(2).collect();
    parts.extend(text("url").filter(|_| object["object"] == "webhook_endpoint"));
    parts.extend(text("type"));
    parts.extend(text("status"));
    let amounts = ["amount_total", "total", "amount", "unit_amount"];
    let amount = amounts.into_iter().find_map(|key| object[key].as_i64());
    if let (Some(amount), Some(currency)) = (amount, object["currency"].as_str()) {
        parts.push(currencies::show(amount, currency));
    }
    parts.join(" · ")
}

pub async fn show(Shared(app): Shared<Arc<App>>, Path(id): Path<String>) -> Response {
    let account = app.holder_of(&id);
    let Some(kind) = app.read(&account, |state| state.kind_of(&id)).and_then(kind) else {
        return match id.starts_with("evt_") {
            true => pages::go(&format!("/_sandbox/events/{id}")),
            false => pages::not_found(),
        };
    };
    // Ids of the caller's choice may hold signs that have a meaning in addresses.
    let encoded: String = url::form_urlencoded::byte_serialize(id.as_bytes()).collect();
    let path = format!("{}/{}", kind.path, encoded.replace('+', "%20"));
    let Some(Ok(object)) = dashboard::ask(&app, &account, Verb::Get, &path, "").await else {
        return pages::not_found();
    };
    let mentions = app.read(&account, |state| events::rows(state, Some(&id), SHOWN_EVENTS));
    let body = html! {
        p { a href={ "/_sandbox/objects?kind=" (kind.name) } { (kind.label) } }
        (actions(&id, &object))
        h2 { "As the API shows it" }
        (linked_json(&app, &account, &object))
        h2 { "Events that mention it" }
        (events::table(&mentions))
    };
    dashboard::page(&app, "", &id, body)
}

/// What a person may want to do with it.
fn actions(id: &str, object: &Value) -> Markup {
    let page = ["url", "hosted_invoice_url", "receipt_url"]
        .into_iter()
        .filter(|key| *key != "url" || object["object"] == "checkout.session")
        .find_map(|key| object[key].as_str());
    let is_test_clock = object["object"] == "test_helpers.test_clock";
    html! {
        @if let Some(page) = page { p { a id="hosted" href=(page) { "Open its page" } } }
        @if is_test_clock && object["status"] == "ready" {
            form method="post" action="/_sandbox/forms/test_clock" {
                input type="hidden" name="id" value=(id);
                div class="row" {
                    @for (by, name) in [("1d", "a day"), ("1w", "a week"), ("1mo", "a month")] {
                        button type="submit" name="by" value=(by) { "Advance " (name) }
                    }
                }
            }
        }
    }
}

/// JSON whose ids lead to their objects.
pub fn linked_json(app: &App, account: &str, value: &Value) -> Markup {
    let mut texts = BTreeSet::new();
    collect_texts(value, &mut texts);
    let known: BTreeSet<&str> = app.read(account, |state| {
        let linked = |id: &str| {
            state.kind_of(id).is_some_and(|name| name == "event" || kind(name).is_some())
        };
        texts.into_iter().filter(|text| linked(text)).collect()
    });
    html! { pre { (node(value, &known, 0)) } }
}

fn collect_texts<'a>(value: &'a Value, texts: &mut BTreeSet<&'a str>) {
    match value {
        Value::String(text) => {
            texts.insert(text);
        }
        Value::Array(elements) => {
            elements.iter().for_each(|element| collect_texts(element, texts));
        }
        Value::Object(fields) => fields.values().for_each(|field| collect_texts(field, texts)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn node(value: &Value, known: &BTreeSet<&str>, depth: usize) -> Markup {
    let indent = "  ".repeat(depth + 1);
    let outdent = "  ".repeat(depth);
    match value {
        Value::String(text) if known.contains(text.as_str()) => {
            html! { "\"" a href={ "/_sandbox/objects/" (text) } { (text) } "\"" }
        }
        Value::Array(elements) if !elements.is_empty() => html! {
            "[\n"
            @for (place, element) in elements.iter().enumerate() {
                @if place != 0 { ",\n" }
                (indent) (node(element, known, depth + 1))
            }
            "\n" (outdent) "]"
        },
        Value::Object(fields) if !fields.is_empty() => html! {
            "{\n"
            @for (place, (key, field)) in fields.iter().enumerate() {
                @if place != 0 { ",\n" }
                (indent) (Value::String(key.clone()).to_string()) ": "
                (node(field, known, depth + 1))
            }
            "\n" (outdent) "}"
        },
        other => html! { (other.to_string()) },
    }
}
