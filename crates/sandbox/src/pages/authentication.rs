//! The simulated 3-D Secure page of a bank, for Checkout and for payment intents.

use std::sync::Arc;

use axum::extract::{Form, Path, State as Shared};
use axum::http::StatusCode;
use axum::response::Response;
use maud::html;
use serde::Deserialize;

use crate::app::App;
use crate::pages::{self, checkout};
use crate::payment_intents::{PaymentIntent, Status};
use crate::setup_intents::{self, SetupIntent};
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

fn paying(amount: &str) -> String {
    format!("Your bank asks you to confirm a payment of {amount}.")
}

const SAVING: &str = "Your bank asks you to confirm that your card may be charged later.";

fn challenge(action: &str, question: &str) -> Response {
    pages::page(
        StatusCode::OK,
        "3-D Secure",
        html! {
            h1 { "3-D Secure" }
            p { (question) }
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
            let saves_only = session.amount_total() == 0;
            let question = if saves_only { SAVING.to_owned() } else { paying(&amount) };
            challenge(&format!("/c/pay/{id}/authenticate"), &question)
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

/// The intents a bank can ask about on `/a/{id}`.
#[expect(clippy::large_enum_variant, reason = "one lives for one request")]
enum Asking {
    Payment(PaymentIntent),
    Setup(SetupIntent),
}

impl Asking {
    fn is_open(&self) -> bool {
        match self {
            Asking::Payment(intent) => intent.status == Status::RequiresAction,
            Asking::Setup(intent) => intent.status == setup_intents::Status::RequiresAction,
        }
    }

    /// Where the buyer goes on, with the outcome in the address.
    fn target(&self) -> Option<url::Url> {
        let (return_url, noun, id, secret, succeeded) = match self {
            Asking::Payment(intent) => (
                &intent.return_url,
                "payment_intent",
                &intent.id,
                intent.client_secret(),
                intent.is_succeeded(),
            ),
            Asking::Setup(intent) => (
                &intent.return_url,
                "setup_intent",
                &intent.id,
                intent.client_secret(),
                intent.status == setup_intents::Status::Succeeded,
            ),
        };
        let mut url = return_url.as_ref().and_then(|url| url::Url::parse(url).ok())?;
        url.query_pairs_mut()
            .append_pair(noun, id)
            .append_pair(&format!("{noun}_client_secret"), &secret)
            .append_pair("redirect_status", if succeeded { "succeeded" } else { "failed" });
        Some(url)
    }
}

pub async fn show_intent(Shared(app): Shared<Arc<App>>, Path(id): Path<String>) -> Response {
    let found = app.read(&app.holder_of(&id), |state| {
        let payment = state.payment_intents.get(&id).cloned().map(Asking::Payment);
        payment.or_else(|| state.setup_intents.get(&id).cloned().map(Asking::Setup))
    });
    let action = format!("/a/{id}");
    match found.filter(Asking::is_open) {
        Some(Asking::Payment(intent)) => {
            challenge(&action, &paying(&currencies::show(intent.amount, &intent.currency)))
        }
        Some(Asking::Setup(_)) => challenge(&action, SAVING),
        None => pages::not_found(),
    }
}

pub async fn answer_intent(
    Shared(app): Shared<Arc<App>>,
    Path(id): Path<String>,
    Form(reply): Form<Reply>,
) -> Response {
    let completed = reply.completed();
    let account = app.holder_of(&id);
    let answered = app.run(&account, Cause::default(), |tx| match id.starts_with("seti_") {
        true => setup_intents::authenticate(tx, &id, completed).map(Asking::Setup),
        false => payment_intents::authenticate(tx, &id, completed).map(Asking::Payment),
    });
    match answered.await {
        Err(_) => pages::not_found(),
        Ok(asking) => match asking.target() {
            Some(url) => pages::go(url.as_str()),
            None => pages::message(StatusCode::OK, "Done", "You can close this page."),
        },
    }
}
