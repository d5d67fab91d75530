//! The portal's first page: subscriptions, payment methods, details and invoices.

use std::sync::Arc;

use axum::extract::{Form, Path, Query, State as Shared};
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;

use super::{Visit, act, ask, failed, look, pair};
use crate::app::App;
use crate::errors::ApiError;
use crate::invoices::{self, Invoice, Status as InvoiceStatus};
use crate::portal_flows::{Flow, Kind};
use crate::state::State;
use crate::subscriptions::{Status, Subscription};
use crate::transactions::Tx;
use crate::{clock, currencies, pages, payment_intents};

const MAX_INVOICES: usize = 100;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Wish {
    /// Set by the links back: a flow does not begin again.
    home: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Choice {
    subscription: String,
    invoice: String,
}

pub async fn show(
    Shared(app): Shared<Arc<App>>,
    Path(token): Path<String>,
    Query(wish): Query<Wish>,
) -> Response {
    look(&app, &token, |state, visit| {
        let flow = visit.session.flow.as_ref().filter(|flow| !flow.done);
        match flow.filter(|_| wish.home.is_empty()) {
            Some(flow) => pages::go(&visit.path(&first_step(flow))),
            None => render(state, visit, None),
        }
    })
}

/// The page a flow begins with.
fn first_step(flow: &Flow) -> String {
    let subscription = flow.subscription.as_deref().unwrap_or_default();
    match flow.kind {
        Kind::CustomerUpdate => "/details".to_owned(),
        Kind::PaymentMethodUpdate => "/payment-method".to_owned(),
        Kind::SubscriptionCancel => format!("/cancel?subscription={subscription}"),
        Kind::SubscriptionUpdate => format!("/update?subscription={subscription}"),
        Kind::SubscriptionUpdateConfirm => {
            let mut step = format!("/confirm?subscription={subscription}");
            if let Some(item) = &flow.item {
                if let Some(price) = &item.price {
                    step.push_str(&format!("&price={price}"));
                }
                if let Some(quantity) = item.quantity {
                    step.push_str(&format!("&quantity={quantity}"));
                }
            }
            step
        }
    }
}

/// Undoes a cancellation that has not come into effect.
pub async fn resume(
    Shared(app): Shared<Arc<App>>,
    Path(token): Path<String>,
    Form(choice): Form<Choice>,
) -> Response {
    let id = choice.subscription;
    let outcome = act(&app, &token, |tx, visit| {
        let found = visit.subscription(tx.state, &id);
        let row = found.ok_or_else(|| ApiError::not_found("subscription", &id))?;
        let form = if row.cancel_at_period_end {
            pair("cancel_at_period_end", "false")
        } else {
            pair("cancel_at", "")
        };
        ask(tx, crate::subscriptions::update::update, &id, &[form])
    });
    after(&app, &token, outcome.await.map(|_| ()))
}

/// Pays an open invoice with the default method.
pub async fn pay(
    Shared(app): Shared<Arc<App>>,
    Path(token): Path<String>,
    Form(choice): Form<Choice>,
) -> Response {
    let id = choice.invoice;
    let outcome = act(&app, &token, |tx, visit| {
        let found = tx.state.invoices.get(&id);
        let own = found.is_some_and(|row| row.customer == visit.session.customer);
        if !own {
            return Err(ApiError::not_found("invoice", &id));
        }
        ask(tx, invoices::pay, &id, &[pair("off_session", "false")])
    });
    match outcome.await {
        Ok(_) => pages::go(&format!("/p/session/{token}?home=1")),
        Err(error) => match challenge(&app, &token, &id).await {
            Some(step) => pages::go(&step),
            None => after(&app, &token, Err(error)),
        },
    }
}

/// The bank's page, where an open invoice's payment waits for 3-D Secure.
pub async fn challenge(app: &App, token: &str, invoice: &str) -> Option<String> {
    let found = act(app, token, |tx, visit| Ok(waiting_intent(tx, visit, invoice))).await;
    found.ok().flatten().map(|intent| format!("/a/{intent}"))
}

fn waiting_intent(tx: &mut Tx<'_>, visit: &Visit, invoice: &str) -> Option<String> {
    let payment = invoices::payment_of(tx.state, invoice)?;
    let intent = tx.state.payment_intents.get(&payment.payment_intent)?;
    if intent.status != payment_intents::Status::RequiresAction {
        return None;
    }
    let mut intent = intent.clone();
    let home = visit.path("?home=1");
    intent.return_url = Some(format!("{}{home}", tx.state.base_url));
    let id = intent.id.clone();
    tx.state.payment_intents.put(intent);
    Some(id)
}

fn after(app: &App, token: &str, outcome: Result<(), ApiError>) -> Response {
    match outcome {
        Ok(()) => pages::go(&format!("/p/session/{token}?home=1")),
        Err(error) => {
            let again = look(app, token, |state, visit| render(state, visit, Some(&error)));
            failed(&error, again)
        }
    }
}

fn render(state: &State, visit: &Visit, error: Option<&ApiError>) -> Response {
    let configuration = state.portal_configurations.get(&visit.session.configuration);
    let subscriptions: Vec<&Subscription> =
        state.subscriptions.of(&visit.session.customer).rev().collect();
    let body = html! {
        h1 { "Your billing" }
        @if let Some(headline) = configuration.and_then(|row| row.headline.as_ref()) {
            p { (headline) }
        }
        @if let Some(error) = error {
            p class="alert" role="alert" id="problem" { (error.message()) }
        }
        h2 { "Subscriptions" }
        @if subscriptions.is_empty() { p { "You have no subscription." } }
        @for subscription in subscriptions { (subscription_card(state, visit, subscription)) }
        (super::payment_methods::list(state, visit))
        (super::details::summary(state, visit))
        @if visit.features.invoice_history { (invoice_table(state, visit)) }
        @if let Some(url) = &visit.return_url {
            nav { p { a id="return" href=(url) { "Back to the shop" } } }
        }
        @if let Some(row) = configuration {
            p class="muted" {
                @if let Some(url) = &row.terms_of_service_url { a href=(url) { "Terms" } " " }
                @if let Some(url) = &row.privacy_policy_url { a href=(url) { "Privacy" } }
            }
        }
    };
    let status = error.map_or(200, ApiError::status);
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    pages::page(status, "Billing", body)
}

/// What a subscription is for and what it costs, such as `Pro — 29.99 USD`.
pub fn name_of(state: &State, row: &Subscription) -> String {
    let names = row.items.iter().filter_map(|item| {
        let price = state.prices.get(&item.price)?.localized(&row.currency).ok()?;
        let product = state.products.get(&price.product)?;
        if price.is_metered() {
            return Some(format!("{} — by usage", product.name));
        }
        let amount = price.amount(item.quantity).ok()?;
        let times =
            if item.quantity == 1 { String::new() } else { format!(" × {}", item.quantity) };
        let shown = currencies::show(amount, &price.currency);
        Some(format!("{}{times} — {shown}", product.name))
    });
    names.collect::<Vec<String>>().join(", ")
}

fn subscription_card(state: &State, visit: &Visit, row: &Subscription) -> Markup {
    let live = !row.status.is_final();
    let features = &visit.features;
    let can_change = live && row.cancel_at.is_none() && features.update.enabled;
    let target = |verb: &str| visit.path(&format!("/{verb}?subscription={}", row.id));
    html! {
        section id=(row.id) {
            p {
                strong { (name_of(state, row)) } br;
                span class="muted" { (state_in_words(row)) }
            }
            @if live {
                div class="row" {
                    @if can_change {
                        a
                            href=(target("update"))
                            aria-label={ "Change plan: " (name_of(state, row)) } {
                            "Change plan"
                        }
                    }
                    @if row.cancel_at.is_none() && features.cancel.enabled {
                        a
                            href=(target("cancel"))
                            aria-label={ "Cancel plan: " (name_of(state, row)) } {
                            "Cancel plan"
                        }
                    }
                    @if row.cancel_at.is_some() && features.cancel.enabled {
                        form method="post" action=(visit.path("/resume")) {
                            input type="hidden" name="subscription" value=(row.id);
                            button type="submit" { "Resume" }
                        }
                    }
                }
            }
        }
    }
}

fn state_in_words(row: &Subscription) -> String {
    let end = clock::date(row.period_end());
    match (row.status, row.cancel_at) {
        (Status::Canceled | Status::IncompleteExpired, _) => "Ended".to_owned(),
        (_, Some(at)) => format!("Ends on {}", clock::date(at)),
        (Status::Trialing, None) => format!("Trial until {end}"),
        (Status::Active, None) => format!("Active, renews on {end}"),
        (Status::PastDue | Status::Unpaid, None) => {
            "Payment failed; pay the open invoice or change the payment method".to_owned()
        }
        (Status::Incomplete, None) => "Waiting for the first payment".to_owned(),
        (Status::Paused, None) => "Paused".to_owned(),
    }
}

fn invoice_table(state: &State, visit: &Visit) -> Markup {
    let own = state.invoices.of(&visit.session.customer).rev();
    let rows = own.filter(|invoice| invoice.finalized_at.is_some());
    let rows: Vec<&Invoice> = rows.take(MAX_INVOICES).collect();
    html! {
        h2 { "Invoices" }
        @if rows.is_empty() { p { "You have no invoice." } }
        @else {
            table {
                thead {
                    tr {
                        th scope="col" { "Date" }
                        th scope="col" { "Invoice" }
                        th scope="col" { "Status" }
                        th scope="col" class="amount" { "Amount" }
                    }
                }
                tbody { @for row in rows { (invoice_row(visit, row)) } }
            }
        }
    }
}

fn invoice_row(visit: &Visit, row: &Invoice) -> Markup {
    let number = row.number.as_deref().unwrap_or(&row.id);
    html! {
        tr {
            td { (clock::date(row.created)) }
            td { a href={ "/i/" (row.id) } { (number) } }
            td {
                (pages::invoice::status_in_words(row.status))
                @if row.status == InvoiceStatus::Open {
                    form method="post" action=(visit.path("/pay")) {
                        input type="hidden" name="invoice" value=(row.id);
                        button type="submit" aria-label={ "Pay invoice " (number) } { "Pay" }
                    }
                }
            }
            td class="amount" { (currencies::show(row.total(), &row.currency)) }
        }
    }
}
