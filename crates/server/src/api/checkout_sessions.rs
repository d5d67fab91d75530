//! Checkout sessions: a buyer on the way to the provider's page and back.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use domain::ids::PriceId;
use engine::checkout_sessions::{Buyer, CheckoutRequest, TrialRule, Wanted};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::CustomerParams;
use crate::App;
use crate::auth::Caller;
use crate::problem::Problem;
use crate::requests::{Body, IdempotencyKey, Params, check_prefix};

/// A checkout to open.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckoutNewBody {
    /// The customer's id or external id; left out with an end-user token.
    customer: Option<String>,
    price: String,
    quantity: Option<u32>,
    /// Must be on the configured front end, or on our own pages.
    success_url: Option<String>,
    cancel_url: Option<String>,
    email: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct CheckoutSessionView {
    id: String,
    /// Where the buyer pays.
    url: Option<String>,
    status: &'static str,
    mode: &'static str,
    price: String,
    quantity: u32,
    /// In the currency's smallest unit.
    amount: i64,
    currency: String,
    trial_days: u32,
    provider_session_id: Option<String>,
    created_at: String,
}

impl From<store::checkout_sessions::CheckoutSession> for CheckoutSessionView {
    fn from(row: store::checkout_sessions::CheckoutSession) -> Self {
        Self {
            id: row.id.to_string(),
            url: row.url,
            status: row.status.as_str(),
            mode: row.mode.as_str(),
            price: row.price_id.to_string(),
            quantity: row.quantity,
            amount: row.amount.minor(),
            currency: row.amount.currency().to_string(),
            trial_days: row.trial_days,
            provider_session_id: row.provider_session_id,
            created_at: row.created_at.to_string(),
        }
    }
}

/// Open a checkout session
#[utoipa::path(
    post, path = "/v1/checkout-sessions", tag = "checkout", operation_id = "checkout_create",
    request_body = CheckoutNewBody,
    params(("Idempotency-Key" = Option<String>, Header, description = "Repeat safely")),
    responses((status = 201, description = "Open", body = CheckoutSessionView)),
)]
pub async fn create(
    State(app): State<App>,
    caller: Caller,
    IdempotencyKey(idempotency_key): IdempotencyKey,
    Body(body): Body<CheckoutNewBody>,
) -> Result<(StatusCode, Json<CheckoutSessionView>), Problem> {
    check_prefix("price", &body.price, PriceId::PREFIX)?;
    let subject = caller.subject(&app, body.customer.as_deref()).await?;
    let request = CheckoutRequest {
        buyer: Buyer::Subject(subject),
        price: body.price,
        product: None,
        wanted: Wanted::Any,
        trial: TrialRule::ByPrice,
        quantity: body.quantity.unwrap_or(1),
        success_url: body.success_url,
        cancel_url: body.cancel_url,
        email: body.email,
        idempotency_key,
        pace: caller.pace(),
    };
    let checkout = app.engine.checkout_create(request).await?;
    Ok((StatusCode::CREATED, Json(checkout.session.into())))
}

/// One checkout session, by our id or the provider's
#[utoipa::path(
    get, path = "/v1/checkout-sessions/{id}", tag = "checkout", operation_id = "checkout_get",
    params(("id" = String, Path), CustomerParams),
    responses((status = 200, description = "The session", body = CheckoutSessionView)),
)]
pub async fn get(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Params(params): Params<CustomerParams>,
) -> Result<Json<CheckoutSessionView>, Problem> {
    let subject = caller.subject(&app, params.customer.as_deref()).await?;
    Ok(Json(app.engine.checkout_get(&subject, &id).await?.into()))
}
