//! The portal's payment methods: what is saved, a new card with 3-D Secure where it asks, the
//! default, and removal.

use std::sync::Arc;

use axum::extract::{Form, Path, State as Shared};
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::Value;

use super::{Visit, act, ask, failed, forbidden, leave, look, not_allowed, page, pair};
use crate::app::App;
use crate::errors::ApiError;
use crate::pages::checkout;
use crate::payment_methods::PaymentMethod;
use crate::portal_flows::Kind;
use crate::setup_intents::{self, Status};
use crate::state::State;
use crate::transactions::Tx;
use crate::{cards, customers, pages, payment_methods, subscriptions};

const TITLE: &str = "Add a payment method";

/// The form of the page. Its field names are those of Checkout.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Typed {
    card_number: String,
    card_expiry: String,
    card_cvc: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Choice {
    payment_method: String,
}

/// What happened to a new card.
enum Saved {
    Now,
    /// The bank's page comes first.
    Challenge(String),
}

/// The section of the first page.
pub fn list(state: &State, visit: &Visit) -> Markup {
    let customer = state.customers.get(&visit.session.customer);
    let default = customer.and_then(|row| row.default_payment_method.clone());
    let own = state.payment_methods.of(&visit.session.customer);
    let own = own.filter(|row| row.customer.as_ref() == Some(&visit.session.customer));
    let rows: Vec<&PaymentMethod> = own.collect();
    let enabled = visit.features.payment_method_update;
    html! {
        h2 { "Payment methods" }
        @if rows.is_empty() { p { "No payment method is saved." } }
        @else {
            ul class="plain" {
                @for row in rows {
                    li { (method_row(visit, row, default.as_ref() == Some(&row.id))) }
                }
            }
        }
        @if enabled {
            p { a href=(visit.path("/payment-method")) { "Add a payment method" } }
        }
    }
}

fn method_row(visit: &Visit, row: &PaymentMethod, is_default: bool) -> Markup {
    let name = describe(row);
    html! {
        (name)
        @if is_default { " " strong { "(default)" } }
        @if visit.features.payment_method_update {
            div class="row" {
                @if !is_default {
                    form method="post" action=(visit.path("/payment-method/default")) {
                        input type="hidden" name="payment_method" value=(row.id);
                        button type="submit" aria-label={ "Make default: " (name) } {
                            "Make default"
                        }
                    }
                }
                form method="post" action=(visit.path("/payment-method/remove")) {
                    input type="hidden" name="payment_method" value=(row.id);
                    button type="submit" aria-label={ "Remove: " (name) } { "Remove" }
                }
            }
        }
    }
}

/// Such as `visa •••• 4242, 12/2034`.
fn describe(row: &PaymentMethod) -> String {
    let shown = payment_methods::view(row);
    let text = |key: &str| shown["card"][key].as_str().unwrap_or_default().to_owned();
    match &shown["card"] {
        Value::Object(card) => {
            let part = |key: &str| card.get(key).map(Value::to_string).unwrap_or_default();
            let (month, year) = (part("exp_month"), part("exp_year"));
            format!("{} •••• {}, {month:0>2}/{year}", text("brand"), text("last4"))
        }
        _ => shown["type"].as_str().unwrap_or_default().replace('_', " "),
    }
}

pub async fn show(Shared(app): Shared<Arc<App>>, Path(token): Path<String>) -> Response {
    look(&app, &token, |_, visit| render(visit, None))
}

pub async fn submit(
    Shared(app): Shared<Arc<App>>,
    Path(token): Path<String>,
    Form(typed): Form<Typed>,
) -> Response {
    match act(&app, &token, |tx, visit| save(tx, visit, &typed)).await {
        Ok(Saved::Now) => leave(&app, &token, Kind::PaymentMethodUpdate).await,
        Ok(Saved::Challenge(step)) => pages::go(&step),
        Err(error) => failed(&error, look(&app, &token, |_, visit| render(visit, Some(&error)))),
    }
}

fn save(tx: &mut Tx<'_>, visit: &Visit, typed: &Typed) -> Result<Saved, ApiError> {
    if !visit.features.payment_method_update {
        return Err(forbidden());
    }
    if cards::by_number(&typed.card_number).is_none() {
        let message = "Your card number is not one of the test cards. Real cards are not taken \
                       here.";
        return Err(ApiError::invalid(message));
    }
    let (month, year) = checkout::expiry(&typed.card_expiry, tx.now).ok_or_else(|| {
        ApiError::invalid("Your card's expiration date is incomplete or in the past.")
    })?;
    let form = [
        pair("type", "card"),
        pair("card[number]", &typed.card_number),
        pair("card[exp_month]", &month.to_string()),
        pair("card[exp_year]", &year.to_string()),
        pair("card[cvc]", typed.card_cvc.trim()),
    ];
    let method = ask(tx, payment_methods::create, "", &form)?;
    let method = method["id"].as_str().unwrap_or_default().to_owned();
    let done = format!("{}{}", tx.state.base_url, visit.path("/payment-method/done"));
    let form = [
        pair("customer", &visit.session.customer),
        pair("payment_method", &method),
        pair("confirm", "true"),
        pair("return_url", &done),
    ];
    let intent = ask(tx, setup_intents::create, "", &form)?;
    let step = intent["next_action"]["redirect_to_url"]["url"].as_str();
    if let Some(step) = step {
        let mut session = visit.session.clone();
        session.setup_intent = intent["id"].as_str().map(str::to_owned);
        let step = step.strip_prefix(tx.state.base_url.as_str()).unwrap_or(step).to_owned();
        tx.state.portal_sessions.put(session);
        return Ok(Saved::Challenge(step));
    }
    make_default(tx, visit, &method)?;
    Ok(Saved::Now)
}

/// The customer comes back from the bank's page.
pub async fn done(Shared(app): Shared<Arc<App>>, Path(token): Path<String>) -> Response {
    let outcome = act(&app, &token, |tx, visit| {
        let mut session = visit.session.clone();
        let intent = session.setup_intent.take();
        let intent = intent.and_then(|id| tx.state.setup_intents.get(&id)).cloned();
        let saved = intent.filter(|intent| intent.status == Status::Succeeded);
        let Some(method) = saved.and_then(|intent| intent.payment_method) else {
            let message = "Your bank did not confirm it. Please try again or use another card.";
            return Err(ApiError::invalid(message));
        };
        tx.state.portal_sessions.put(session);
        make_default(tx, visit, &method)
    });
    match outcome.await {
        Ok(()) => leave(&app, &token, Kind::PaymentMethodUpdate).await,
        Err(error) => failed(&error, look(&app, &token, |_, visit| render(visit, Some(&error)))),
    }
}

/// Future invoices are charged to it, also those of subscriptions with a method of their own.
fn make_default(tx: &mut Tx<'_>, visit: &Visit, method: &str) -> Result<(), ApiError> {
    let customer = visit.session.customer.as_str();
    let form = [pair("invoice_settings[default_payment_method]", method)];
    ask(tx, customers::update, customer, &form)?;
    let own = tx.state.subscriptions.of(customer);
    let own = own.filter(|row| !row.status.is_final() && row.default_payment_method.is_some());
    let ids: Vec<String> = own.map(|row| row.id.clone()).collect();
    for id in ids {
        let form = [pair("default_payment_method", method)];
        ask(tx, subscriptions::update::update, &id, &form)?;
    }
    Ok(())
}

/// A method of this customer.
fn check_own(tx: &Tx<'_>, visit: &Visit, id: &str) -> Result<(), ApiError> {
    if !visit.features.payment_method_update {
        return Err(forbidden());
    }
    let found = tx.state.payment_methods.get(id);
    match found.filter(|row| row.customer.as_ref() == Some(&visit.session.customer)) {
        Some(_) => Ok(()),
        None => Err(ApiError::not_found("PaymentMethod", id)),
    }
}

pub async fn choose(
    Shared(app): Shared<Arc<App>>,
    Path(token): Path<String>,
    Form(choice): Form<Choice>,
) -> Response {
    let outcome = act(&app, &token, |tx, visit| {
        check_own(tx, visit, &choice.payment_method)?;
        make_default(tx, visit, &choice.payment_method)
    });
    after(&app, &token, outcome.await)
}

/// Whether a running subscription will be charged to this method.
fn pays(state: &State, customer: &str, method: &str) -> bool {
    let default = payment_methods::default_of(state, customer);
    let mut own = state.subscriptions.of(customer);
    own.any(|row| {
        let charged = row.default_payment_method.as_ref().or(default.as_ref());
        let goes_on = !row.status.is_final() && row.cancel_at.is_none();
        goes_on && charged.is_some_and(|charged| charged == method)
    })
}

/// A method that running subscriptions are charged to cannot be removed.
pub async fn remove(
    Shared(app): Shared<Arc<App>>,
    Path(token): Path<String>,
    Form(choice): Form<Choice>,
) -> Response {
    let id = choice.payment_method;
    let outcome = act(&app, &token, |tx, visit| {
        check_own(tx, visit, &id)?;
        if pays(tx.state, &visit.session.customer, &id) {
            let message = "Your subscription is charged to this payment method. Choose another \
                           default first.";
            return Err(ApiError::invalid(message));
        }
        ask(tx, payment_methods::detach, &id, &[]).map(|_| ())
    });
    after(&app, &token, outcome.await)
}

fn after(app: &App, token: &str, outcome: Result<(), ApiError>) -> Response {
    match outcome {
        Ok(()) => pages::go(&format!("/p/session/{token}?home=1")),
        Err(error) => {
            let again =
                |_: &State, visit: &Visit| page(visit, "Payment methods", Some(&error), html! {});
            failed(&error, look(app, token, again))
        }
    }
}

fn render(visit: &Visit, error: Option<&ApiError>) -> Response {
    if !visit.features.payment_method_update {
        return not_allowed(visit, TITLE);
    }
    let body = html! {
        p { "Your future invoices will be charged to it." }
        form method="post" action=(visit.path("/payment-method")) {
            label for="card_number" { "Card number" }
            input id="card_number" name="card_number" inputmode="numeric" required
                autocomplete="off" placeholder="4242 4242 4242 4242" maxlength="30";
            div class="pair" {
                div {
                    label for="card_expiry" { "Expiry (MM / YY)" }
                    input id="card_expiry" name="card_expiry" inputmode="numeric" required
                        autocomplete="off" placeholder="12 / 34" maxlength="9";
                }
                div {
                    label for="card_cvc" { "CVC" }
                    input id="card_cvc" name="card_cvc" inputmode="numeric" required
                        autocomplete="off" placeholder="123" maxlength="4";
                }
            }
            button class="main" id="save_card" type="submit" { "Save card" }
        }
        (checkout::test_cards())
    };
    page(visit, TITLE, error, body)
}
