//! Coming back from the provider's page. These pages look, and let the engine ask the provider;
//! what is granted is decided where events are applied.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use secrecy::ExposeSecret;
use serde::Deserialize;
use utoipa::IntoParams;

use super::layout::{Page, Privacy, Refresh};
use super::sessions::{Cookie, Visitor};
use crate::App;
use crate::limits::{POLL_SECONDS, POLLS, PROVIDER_WAIT};
use crate::problem::Problem;
use crate::requests::Params;

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct SuccessParams {
    #[serde(default)]
    session_id: String,
    /// How many times this page has asked already.
    #[serde(default)]
    poll: u32,
}

/// After paying: says how far it got
#[utoipa::path(
    get, path = "/pay/success", tag = "pages", operation_id = "page_success", security(()),
    params(SuccessParams),
    responses((status = 200, description = "How far it got", content_type = "text/html")),
)]
pub async fn success(
    State(app): State<App>,
    visitor: Visitor,
    headers: HeaderMap,
    Params(params): Params<SuccessParams>,
) -> Result<Response, Problem> {
    let asked = app.engine.checkout_returned(&params.session_id);
    let progress = match tokio::time::timeout(PROVIDER_WAIT, asked).await {
        Ok(progress) => progress?,
        // The provider is slow; its event will tell, and this page looks again.
        Err(_) => app.engine.checkout_progress(&params.session_id).await?,
    };
    let status = progress.map(|progress| progress.as_str());
    let (title, text) = match status {
        Some("complete") => ("Thank you", "Your payment is complete and everything is unlocked."),
        Some("open" | "processing") if params.poll < POLLS => {
            ("One moment", "Your payment is being confirmed. This page looks again by itself.")
        }
        Some("open" | "processing") => {
            ("Still waiting", "Your payment takes longer than usual. Your account will show it.")
        }
        Some("failed") => ("The payment failed", "Nothing was unlocked. You can try again."),
        Some("expired") => ("This checkout has expired", "Nothing was charged. Start a new one."),
        _ => ("Thank you", "If you have just paid, your account will show it in a moment."),
    };
    let is_waiting = matches!(status, Some("open" | "processing")) && params.poll < POLLS;
    let body = html! {
        h1 { (title) }
        p .notice role="status" { (text) }
        (next_steps())
    };
    let mut page = Page::new(title, Privacy::Private, body);
    if is_waiting {
        page.refresh = Some(Refresh { seconds: POLL_SECONDS, to: again(&params) });
    }
    let mut response = page.into_response();
    let browser = Cookie::Checkout.of(&headers).filter(|_| visitor.0.is_none());
    if let Some(browser) = browser {
        let claimed = app.engine.checkout_claim(&params.session_id, browser).await?;
        if let Some(session) = claimed {
            app.site.keep(&mut response, Cookie::Session, session.token.expose_secret());
        }
    }
    Ok(response)
}

fn again(params: &SuccessParams) -> String {
    let query = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("session_id", &params.session_id)
        .append_pair("poll", &params.poll.saturating_add(1).to_string())
        .finish();
    format!("/pay/success?{query}")
}

fn next_steps() -> Markup {
    html! {
        p .buttons {
            a .button href="/portal" { "Your account" }
        }
        p { a href="/pricing" { "Back to the plans" } }
    }
}

/// After leaving the provider's page without paying
#[utoipa::path(
    get, path = "/pay/cancel", tag = "pages", operation_id = "page_cancel", security(()),
    responses((status = 303, description = "Back to the plans")),
)]
pub async fn cancel() -> Redirect {
    Redirect::to("/pricing?notice=canceled")
}
