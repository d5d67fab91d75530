//! The portal's cancellation page: when it ends, why, and the button that does it.

use std::sync::Arc;

use axum::extract::{Form, Path, Query, State as Shared};
use axum::response::Response;
use maud::html;
use serde::Deserialize;

use super::home::name_of;
use super::{Visit, act, ask, failed, forbidden, leave, look, not_allowed, page, pair};
use crate::app::App;
use crate::errors::ApiError;
use crate::portal_features::REASONS;
use crate::portal_flows::Kind;
use crate::state::State;
use crate::subscriptions::{self, Status};
use crate::transactions::Tx;
use crate::{clock, pages};

const TITLE: &str = "Cancel your plan";
const MAX_COMMENT: usize = 1_000;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Reply {
    subscription: String,
    reason: String,
    comment: String,
}

pub async fn show(
    Shared(app): Shared<Arc<App>>,
    Path(token): Path<String>,
    Query(reply): Query<Reply>,
) -> Response {
    look(&app, &token, |state, visit| render(state, visit, &reply, None))
}

pub async fn submit(
    Shared(app): Shared<Arc<App>>,
    Path(token): Path<String>,
    Form(reply): Form<Reply>,
) -> Response {
    match act(&app, &token, |tx, visit| cancel(tx, visit, &reply)).await {
        Ok(()) => leave(&app, &token, Kind::SubscriptionCancel).await,
        Err(error) => {
            let render = |state: &State, visit: &Visit| render(state, visit, &reply, Some(&error));
            failed(&error, look(&app, &token, render))
        }
    }
}

fn cancel(tx: &mut Tx<'_>, visit: &Visit, reply: &Reply) -> Result<(), ApiError> {
    let id = reply.subscription.as_str();
    if visit.subscription(tx.state, id).is_none() {
        return Err(ApiError::not_found("subscription", id));
    }
    let wanted = &visit.features.cancel;
    if !wanted.enabled {
        return Err(forbidden());
    }
    let mut form = Vec::new();
    if !reply.reason.is_empty() {
        form.push(pair("cancellation_details[feedback]", &reply.reason));
    }
    let comment: String = reply.comment.trim().chars().take(MAX_COMMENT).collect();
    if !comment.is_empty() {
        form.push(pair("cancellation_details[comment]", &comment));
    }
    if wanted.immediately {
        form.push(pair("prorate", if wanted.proration == "none" { "false" } else { "true" }));
        let now = wanted.proration == "always_invoice";
        form.push(pair("invoice_now", if now { "true" } else { "false" }));
        return ask(tx, subscriptions::cancel, id, &form).map(|_| ());
    }
    form.push(pair("cancel_at_period_end", "true"));
    ask(tx, subscriptions::update::update, id, &form).map(|_| ())
}

fn render(state: &State, visit: &Visit, reply: &Reply, error: Option<&ApiError>) -> Response {
    let Some(row) = visit.subscription(state, &reply.subscription) else {
        return pages::not_found();
    };
    let wanted = &visit.features.cancel;
    if !wanted.enabled {
        return not_allowed(visit, TITLE);
    }
    let reasons = REASONS.iter().filter(|(reason, _)| {
        wanted.asks_reason && wanted.reasons.iter().any(|offered| offered == reason)
    });
    let trialing = row.status == Status::Trialing;
    let body = html! {
        p { strong { (name_of(state, row)) } }
        p {
            @if wanted.immediately && wanted.proration == "none" {
                "Your plan ends at once. What you have paid is not given back."
            } @else if wanted.immediately {
                "Your plan ends at once. What is left of the period you paid for is credited."
            } @else if trialing {
                "Your trial goes on until " (clock::date(row.period_end()))
                ". You will not be charged."
            } @else {
                "Your plan stays yours until " (clock::date(row.period_end()))
                ". It will not renew."
            }
        }
        form method="post" action=(visit.path("/cancel")) {
            input type="hidden" name="subscription" value=(row.id);
            @if wanted.asks_reason {
                fieldset {
                    legend { "Why do you cancel?" }
                    @for (reason, words) in reasons {
                        label class="choice" {
                            input type="radio" name="reason" value=(reason)
                                checked[reply.reason == *reason];
                            " " (words)
                        }
                    }
                }
                label for="comment" { "Anything else? (optional)" }
                textarea id="comment" name="comment" rows="3" maxlength=(MAX_COMMENT) {
                    (reply.comment)
                }
            }
            button class="main" id="confirm_cancel" type="submit" { "Cancel plan" }
        }
    };
    page(visit, TITLE, error, body)
}
