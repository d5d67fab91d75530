//! The hosted portal: a customer's subscriptions and invoices.

use std::sync::Arc;

use axum::extract::{Form, Path, State as Shared};
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;

use crate::app::App;
use crate::billing_portal::{self, PortalSession};
use crate::errors::ApiError;
use crate::state::State;
use crate::subscriptions::{Status, Subscription};
use crate::transactions::{Cause, Tx};
use crate::{cancellations, clock, currencies, pages};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Choice {
    subscription: String,
}

pub async fn show(Shared(app): Shared<Arc<App>>, Path(token): Path<String>) -> Response {
    let now = app.clock.now();
    let account = holder(&app, &token);
    app.read(&account, |state| match billing_portal::by_token(state, &token) {
        None => pages::not_found(),
        Some(session) if !session.is_open(now) => pages::message(
            StatusCode::GONE,
            "This link has expired",
            "Go back to the shop and open the portal again.",
        ),
        Some(session) => render(state, session),
    })
}

fn holder(app: &App, token: &str) -> String {
    app.holder(|state| billing_portal::by_token(state, token).is_some())
}

pub async fn cancel(app: Shared<Arc<App>>, token: Path<String>, choice: Form<Choice>) -> Response {
    change(app, token, choice, cancellations::schedule).await
}

pub async fn resume(app: Shared<Arc<App>>, token: Path<String>, choice: Form<Choice>) -> Response {
    change(app, token, choice, cancellations::resume).await
}

/// Only the session's own customer's live subscriptions can be changed.
async fn change(
    Shared(app): Shared<Arc<App>>,
    Path(token): Path<String>,
    Form(choice): Form<Choice>,
    act: fn(&mut Tx<'_>, &str),
) -> Response {
    let account = holder(&app, &token);
    let outcome = app
        .run(&account, Cause::default(), |tx| {
            let session = billing_portal::by_token(tx.state, &token);
            let session = session.filter(|session| session.is_open(tx.now));
            let chosen = tx.state.subscriptions.get(&choice.subscription);
            let own = session.zip(chosen).is_some_and(|(session, subscription)| {
                session.customer == subscription.customer && !subscription.status.is_final()
            });
            if !own {
                return Err(ApiError::not_found("subscription", &choice.subscription));
            }
            let customer = chosen.map(|subscription| subscription.customer.clone());
            tx.follow(customer.as_deref());
            act(tx, &choice.subscription);
            Ok(())
        })
        .await;
    match outcome {
        Ok(()) => pages::go(&format!("/p/session/{token}")),
        Err(_) => pages::not_found(),
    }
}

fn render(state: &State, session: &PortalSession) -> Response {
    let customer = state.customers.get(&session.customer);
    let email = customer.and_then(|customer| customer.email.clone()).unwrap_or_default();
    let subscriptions: Vec<&Subscription> =
        state.subscriptions.of(&session.customer).rev().collect();
    let body = html! {
        h1 { "Your billing" }
        p class="muted" { (email) }
        h2 { "Subscriptions" }
        @if subscriptions.is_empty() { p { "You have no subscription." } }
        @for subscription in subscriptions { (subscription_card(state, session, subscription)) }
        h2 { "Invoices" }
        (invoices(state, session))
        @if let Some(url) = &session.return_url {
            nav { p { a id="return" href=(url) { "Back to the shop" } } }
        }
    };
    pages::page(StatusCode::OK, "Billing", body)
}

fn subscription_card(state: &State, session: &PortalSession, row: &Subscription) -> Markup {
    let names = row.items.iter().filter_map(|item| {
        let price = state.prices.get(&item.price)?;
        let product = state.products.get(&price.product)?;
        let amount = price.amount(item.quantity).ok()?;
        Some(format!("{} — {}", product.name, currencies::show(amount, &price.currency)))
    });
    let names: Vec<String> = names.collect();
    let base = format!("/p/session/{}", session.token);
    html! {
        section id=(row.id) {
            p { strong { (names.join(", ")) } br; span class="muted" { (state_in_words(row)) } }
            @if !row.status.is_final() && row.cancel_at.is_none() {
                form method="post" action={ (base) "/cancel" } {
                    input type="hidden" name="subscription" value=(row.id);
                    button type="submit" { "Cancel at period end" }
                }
            }
            @if !row.status.is_final() && row.cancel_at.is_some() {
                form method="post" action={ (base) "/resume" } {
                    input type="hidden" name="subscription" value=(row.id);
                    button type="submit" { "Resume" }
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
        (Status::PastDue | Status::Unpaid, None) => "Payment failed; we will try again".to_owned(),
        (Status::Incomplete, None) => "Waiting for the first payment".to_owned(),
        (Status::Paused, None) => "Paused".to_owned(),
    }
}

fn invoices(state: &State, session: &PortalSession) -> Markup {
    let rows: Vec<_> = state
        .invoices
        .of(&session.customer)
        .rev()
        .filter(|invoice| invoice.finalized_at.is_some())
        .take(100)
        .collect();
    html! {
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
                tbody {
                    @for row in rows {
                        tr {
                            td { (clock::date(row.created)) }
                            td {
                                a href={ "/i/" (row.id) } {
                                    (row.number.as_deref().unwrap_or(&row.id))
                                }
                            }
                            td { (pages::invoice::status_in_words(row.status)) }
                            td class="amount" { (currencies::show(row.total(), &row.currency)) }
                        }
                    }
                }
            }
        }
    }
}
