//! The simulated 3-D Secure page of a bank, for Checkout and for payment intents.

use std::sync::Arc;

use axum::extract::{Form, Path, State as Shared};
use axum::http::StatusCode;
use axum::response::Response;
use maud::html;
use serde::Deserialize;

use crate::app::App;
use crate::pages::{self, checkout};
use crate::payment_intents::Status;
use crate::transactions::Cause;
use crate::{completions, currencies, payment_intents};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Reply {
    result: String,
}

impl Reply {
    fn completed(&self) -> bool {
        self.result == "complete"
    }
}

fn challenge(action: &str, amount: &str) -> Response {
    pages::page(
        StatusCode::OK,
        "3-D Secure",
        html! {
            h1 { "3-D Secure" }
            p { "Your bank asks you to confirm a payment of " strong { (amount) } "." }
            form method="post" action=(action) {
                div class="row" {
                    button id="authenticate_complete" name="result" value="complete" { "Complete" }
                    button id="authenticate_fail" name="result" value="fail" { "Fail" }
                }
            }
        },
    )
}

pub async fn show_checkout(Shared(app): Shared<Arc<App>>, Path(id): Path<String>) -> Response {
    let session = app.read(&app.holder_of(&id), |state| state.checkout_sessions.get(&id).cloned());
    match session {
        None => pages::not_found(),
        Some(session) if session.authenticating.is_none() => pages::go(&format!("/c/pay/{id}")),
        Some(session) => {
            let amount = currencies::show(session.amount_total(), &session.currency);
            challenge(&format!("/c/pay/{id}/authenticate"), &amount)
        }
    }
}

pub async fn answer_checkout(
    Shared(app): Shared<Arc<App>>,
    Path(id): Path<String>,
    Form(reply): Form<Reply>,
) -> Response {
    let account = app.holder_of(&id);
    let outcome = app
        .run(&account, Cause::default(), |tx| completions::authenticate(tx, &id, reply.completed()))
        .await;
    match outcome {
        Ok(_) => checkout::leave(&app, &id),
        Err(error) => checkout::show_error(&app, &id, &error),
    }
}

pub async fn show_intent(Shared(app): Shared<Arc<App>>, Path(id): Path<String>) -> Response {
    let intent = app.read(&app.holder_of(&id), |state| state.payment_intents.get(&id).cloned());
    match intent {
        Some(intent) if intent.status == Status::RequiresAction => {
            let amount = currencies::show(intent.amount, &intent.currency);
            challenge(&format!("/a/{id}"), &amount)
        }
        _ => pages::not_found(),
    }
}

pub async fn answer_intent(
    Shared(app): Shared<Arc<App>>,
    Path(id): Path<String>,
    Form(reply): Form<Reply>,
) -> Response {
    let account = app.holder_of(&id);
    let outcome = app
        .run(&account, Cause::default(), |tx| {
            payment_intents::authenticate(tx, &id, reply.completed())
        })
        .await;
    let Ok(intent) = outcome else {
        return pages::not_found();
    };
    let result = if intent.is_succeeded() { "succeeded" } else { "failed" };
    let target = intent.return_url.as_ref().and_then(|url| url::Url::parse(url).ok());
    match target {
        None => pages::message(StatusCode::OK, "Done", "You can close this page."),
        Some(mut url) => {
            url.query_pairs_mut()
                .append_pair("payment_intent", &intent.id)
                .append_pair("payment_intent_client_secret", &intent.client_secret())
                .append_pair("redirect_status", result);
            pages::go(url.as_str())
        }
    }
}
