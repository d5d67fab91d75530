//! The portal's page of the customer's own details.

use std::sync::Arc;

use axum::extract::{Form, Path, State as Shared};
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::Value;

use super::{Visit, act, ask, failed, forbidden, leave, look, not_allowed, page, pair};
use crate::app::App;
use crate::customers::{self, Customer};
use crate::errors::ApiError;
use crate::pages;
use crate::portal_flows::Kind;
use crate::state::State;
use crate::transactions::Tx;

const TITLE: &str = "Your details";
/// Name of the field, its label, what the browser may fill in.
const ADDRESS: [(&str, &str, &str); 6] = [
    ("line1", "Address", "address-line1"),
    ("line2", "Address, second line", "address-line2"),
    ("postal_code", "Postal code", "postal-code"),
    ("city", "City", "address-level2"),
    ("state", "State or region", "address-level1"),
    ("country", "Country (two letters)", "country"),
];

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Typed {
    email: String,
    name: String,
    phone: String,
    line1: String,
    line2: String,
    postal_code: String,
    city: String,
    state: String,
    country: String,
}

impl Typed {
    fn of(customer: &Customer) -> Typed {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let part = |key: &str| {
            let found = customer.address.as_ref().and_then(|address| address.get(key));
            found.and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        Typed {
            email: text(&customer.email),
            name: text(&customer.name),
            phone: text(&customer.phone),
            line1: part("line1"),
            line2: part("line2"),
            postal_code: part("postal_code"),
            city: part("city"),
            state: part("state"),
            country: part("country"),
        }
    }

    fn part(&self, key: &str) -> &str {
        match key {
            "line1" => &self.line1,
            "line2" => &self.line2,
            "postal_code" => &self.postal_code,
            "city" => &self.city,
            "state" => &self.state,
            _ => &self.country,
        }
    }
}

/// The section of the first page.
pub fn summary(state: &State, visit: &Visit) -> Markup {
    let customer = state.customers.get(&visit.session.customer);
    let typed = customer.map(Typed::of).unwrap_or_default();
    html! {
        h2 { "Details" }
        p {
            @for text in [&typed.name, &typed.email, &typed.phone] {
                @if !text.is_empty() { (text) br; }
            }
            @for (key, _, _) in ADDRESS {
                @if !typed.part(key).is_empty() { span class="muted" { (typed.part(key)) " " } }
            }
        }
        @if visit.features.customer_update {
            p { a href=(visit.path("/details")) { "Change your details" } }
        }
    }
}

pub async fn show(Shared(app): Shared<Arc<App>>, Path(token): Path<String>) -> Response {
    look(&app, &token, |state, visit| {
        let customer = state.customers.get(&visit.session.customer);
        customer.map_or_else(pages::not_found, |row| render(visit, &Typed::of(row), None))
    })
}

pub async fn submit(
    Shared(app): Shared<Arc<App>>,
    Path(token): Path<String>,
    Form(typed): Form<Typed>,
) -> Response {
    match act(&app, &token, |tx, visit| change(tx, visit, &typed)).await {
        Ok(()) => leave(&app, &token, Kind::CustomerUpdate).await,
        Err(error) => {
            failed(&error, look(&app, &token, |_, visit| render(visit, &typed, Some(&error))))
        }
    }
}

fn allows(visit: &Visit, what: &str) -> bool {
    let features = &visit.features;
    features.customer_update && features.customer_updates.iter().any(|allowed| allowed == what)
}

fn change(tx: &mut Tx<'_>, visit: &Visit, typed: &Typed) -> Result<(), ApiError> {
    if !visit.features.customer_update {
        return Err(forbidden());
    }
    let mut form = Vec::new();
    let texts = [("email", &typed.email), ("name", &typed.name), ("phone", &typed.phone)];
    for (key, text) in texts {
        if allows(visit, key) {
            form.push(pair(key, text.trim()));
        }
    }
    if allows(visit, "email") && !typed.email.contains('@') {
        return Err(ApiError::invalid("Enter an e-mail address."));
    }
    if allows(visit, "address") {
        let parts = ADDRESS.map(|(key, _, _)| (key, typed.part(key).trim()));
        if parts.iter().all(|(_, text)| text.is_empty()) {
            form.push(pair("address", ""));
        } else {
            form.extend(parts.map(|(key, text)| pair(&format!("address[{key}]"), text)));
        }
    }
    ask(tx, customers::update, &visit.session.customer, &form).map(|_| ())
}

fn render(visit: &Visit, typed: &Typed, error: Option<&ApiError>) -> Response {
    if !visit.features.customer_update {
        return not_allowed(visit, TITLE);
    }
    let body = html! {
        form method="post" action=(visit.path("/details")) {
            @if allows(visit, "email") {
                label for="email" { "E-mail" }
                input id="email" name="email" type="email" required autocomplete="email"
                    maxlength="500" value=(typed.email);
            }
            @if allows(visit, "name") {
                label for="name" { "Name" }
                input id="name" name="name" autocomplete="name" maxlength="200"
                    value=(typed.name);
            }
            @if allows(visit, "phone") {
                label for="phone" { "Phone" }
                input id="phone" name="phone" type="tel" autocomplete="tel" maxlength="50"
                    value=(typed.phone);
            }
            @if allows(visit, "address") {
                @for (key, words, fill) in ADDRESS {
                    label for=(key) { (words) }
                    input id=(key) name=(key) autocomplete=(fill) maxlength="200"
                        value=(typed.part(key));
                }
            }
            button class="main" id="save_details" type="submit" { "Save" }
        }
    };
    page(visit, TITLE, error, body)
}
