//! Signed events from the provider: three addresses, one intake.

use std::collections::BTreeMap;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use domain::codes::Code;
use engine::Failure;
use engine::events::Received;
use serde::Serialize;
use utoipa::ToSchema;

use crate::App;
use crate::limits::{WEBHOOK_BODY_BYTES, read_body};
use crate::problem::Problem;

const SIGNATURE: &str = "stripe-signature";
/// What helps to understand a delivery later; nothing that opens anything.
const KEPT: &[&str] = &[SIGNATURE, "content-type", "content-length", "user-agent"];
const KEPT_BYTES: usize = 4_096;

#[derive(Debug, Serialize, ToSchema)]
pub struct ReceivedView {
    received: bool,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ReceivedEventView {
    received: bool,
    status: &'static str,
    event_type: String,
}

fn kept(headers: &HeaderMap) -> BTreeMap<String, String> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let short = |name: &str| text(name).filter(|text| text.len() <= KEPT_BYTES);
    KEPT.iter().filter_map(|name| Some(((*name).to_owned(), short(name)?.to_owned()))).collect()
}

/// Proof is over the bytes as they came: nothing is parsed before the engine has checked them.
async fn receive(app: &App, request: Request<Body>) -> Result<Received, Problem> {
    let headers = kept(request.headers());
    let body: Bytes = read_body(request.into_body(), WEBHOOK_BODY_BYTES).await?;
    let signature = headers.get(SIGNATURE).map(String::as_str);
    let received = app.engine.receive_delivery(&body, signature, &headers).await;
    received.map_err(|failure| match failure {
        Failure::Refused { code: Code::InvalidSignature, .. } => {
            Problem::new(Code::InvalidSignature, "Webhook error: Invalid signature")
        }
        Failure::Refused { code: Code::InvalidPayload, .. } => {
            Problem::new(Code::InvalidPayload, "Webhook error: Invalid payload")
        }
        other => other.into(),
    })
}

/// Receive a signed event
#[utoipa::path(
    post, path = "/payments/webhook", tag = "webhooks", operation_id = "webhook_payments",
    request_body(content = String, content_type = "application/json"), security(()),
    params(("Stripe-Signature" = String, Header, description = "Proof of origin")),
    responses((status = 200, description = "Stored", body = ReceivedView)),
)]
pub async fn payments(
    State(app): State<App>,
    request: Request<Body>,
) -> Result<Json<ReceivedView>, Problem> {
    receive(&app, request).await?;
    Ok(Json(ReceivedView { received: true }))
}

fn received_event(received: Received) -> Json<ReceivedEventView> {
    Json(ReceivedEventView { received: true, status: "success", event_type: received.kind })
}

/// Receive a signed event, at the third seed's address
#[utoipa::path(
    post, path = "/api/v1/webhooks/stripe", tag = "webhooks", operation_id = "webhook_api_v1",
    request_body(content = String, content_type = "application/json"), security(()),
    params(("Stripe-Signature" = String, Header, description = "Proof of origin")),
    responses((status = 200, description = "Stored", body = ReceivedEventView)),
)]
pub async fn api_v1(
    State(app): State<App>,
    request: Request<Body>,
) -> Result<Json<ReceivedEventView>, Problem> {
    Ok(received_event(receive(&app, request).await?))
}

/// Receive a signed event, at the fourth seed's address
#[utoipa::path(
    post, path = "/api/webhooks/stripe", tag = "webhooks", operation_id = "webhook_api",
    request_body(content = String, content_type = "application/json"), security(()),
    params(("Stripe-Signature" = String, Header, description = "Proof of origin")),
    responses((status = 200, description = "Stored", body = ReceivedEventView)),
)]
pub async fn api(
    State(app): State<App>,
    request: Request<Body>,
) -> Result<Json<ReceivedEventView>, Problem> {
    Ok(received_event(receive(&app, request).await?))
}
