//! Webhook endpoints: where your own servers hear our news.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use engine::audits::Act;
use engine::webhook_endpoints::{EndpointChange, NewEndpoint};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use store::webhook_endpoints::{EndpointStatus, WebhookEndpoint};
use utoipa::ToSchema;

use super::deliveries::DeliveryView;
use crate::App;
use crate::auth::Merchant;
use crate::problem::Problem;
use crate::requests::Body;

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EndpointNewBody {
    /// Where we post to: https with real money, and never in a private network.
    url: String,
    /// For people.
    description: Option<String>,
    /// The kinds of notifications it wants; all of them where it is left out.
    kinds: Option<Vec<String>>,
}

/// What is to change; the rest stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EndpointChangeBody {
    url: Option<String>,
    description: Option<String>,
    kinds: Option<Vec<String>>,
    /// `enabled` or `disabled`.
    #[schema(value_type = Option<String>)]
    status: Option<EndpointStatus>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateBody {
    /// How long the old secret goes on signing beside the new one: 0 to 86400, 86400 unless given.
    keep_previous_seconds: Option<i64>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct EndpointView {
    id: String,
    url: String,
    description: Option<String>,
    /// `*` is every kind, those that come later too.
    kinds: Vec<String>,
    /// `enabled`, or `disabled`: nothing is posted to it.
    status: &'static str,
    created_at: String,
    updated_at: String,
}

/// The secret is shown this once.
#[derive(Debug, Serialize, ToSchema)]
pub struct EndpointSecretView {
    #[serde(flatten)]
    endpoint: EndpointView,
    /// What `Tollgate-Signature` is made with.
    secret: String,
}

/// All of them: there are at most 16.
#[derive(Debug, Serialize, ToSchema)]
pub struct EndpointsView {
    data: Vec<EndpointView>,
}

impl From<WebhookEndpoint> for EndpointView {
    fn from(row: WebhookEndpoint) -> Self {
        Self {
            id: row.id.to_string(),
            url: row.url,
            description: row.description,
            kinds: row.kinds,
            status: row.status.as_str(),
            created_at: row.created_at.to_string(),
            updated_at: row.updated_at.to_string(),
        }
    }
}

/// Create a webhook endpoint; its secret is shown this once
#[utoipa::path(
    post, path = "/v1/webhook-endpoints", tag = "notifications",
    operation_id = "webhook_endpoints_create",
    request_body = EndpointNewBody, security(("server_key" = [])),
    responses((status = 201, description = "Created", body = EndpointSecretView)),
)]
pub async fn create(
    State(app): State<App>,
    merchant: Merchant,
    Body(body): Body<EndpointNewBody>,
) -> Result<(StatusCode, Json<EndpointSecretView>), Problem> {
    let act = Act::new(merchant.key, None)?;
    let new = NewEndpoint { url: body.url, description: body.description, kinds: body.kinds };
    let (endpoint, secret) = app.engine.webhook_endpoints_create(new, &act).await?;
    let secret = secret.expose_secret().to_owned();
    Ok((StatusCode::CREATED, Json(EndpointSecretView { endpoint: endpoint.into(), secret })))
}

/// List webhook endpoints, newest first
#[utoipa::path(
    get, path = "/v1/webhook-endpoints", tag = "notifications",
    operation_id = "webhook_endpoints_list", security(("server_key" = [])),
    responses((status = 200, description = "All of them", body = EndpointsView)),
)]
pub async fn list(
    State(app): State<App>,
    _merchant: Merchant,
) -> Result<Json<EndpointsView>, Problem> {
    let rows = app.engine.webhook_endpoints_list().await?;
    Ok(Json(EndpointsView { data: rows.into_iter().map(EndpointView::from).collect() }))
}

/// One webhook endpoint
#[utoipa::path(
    get, path = "/v1/webhook-endpoints/{id}", tag = "notifications",
    operation_id = "webhook_endpoints_get",
    params(("id" = String, Path)), security(("server_key" = [])),
    responses((status = 200, description = "The endpoint", body = EndpointView)),
)]
pub async fn get(
    State(app): State<App>,
    _merchant: Merchant,
    Path(id): Path<String>,
) -> Result<Json<EndpointView>, Problem> {
    Ok(Json(app.engine.webhook_endpoints_get(&id).await?.into()))
}

/// Change a webhook endpoint; what a disabled one was still to get is given up
#[utoipa::path(
    patch, path = "/v1/webhook-endpoints/{id}", tag = "notifications",
    operation_id = "webhook_endpoints_update",
    params(("id" = String, Path)), request_body = EndpointChangeBody,
    security(("server_key" = [])),
    responses((status = 200, description = "The endpoint as it is now", body = EndpointView)),
)]
pub async fn update(
    State(app): State<App>,
    merchant: Merchant,
    Path(id): Path<String>,
    Body(body): Body<EndpointChangeBody>,
) -> Result<Json<EndpointView>, Problem> {
    let act = Act::new(merchant.key, None)?;
    let change = EndpointChange {
        url: body.url,
        description: body.description,
        kinds: body.kinds,
        status: body.status,
    };
    Ok(Json(app.engine.webhook_endpoints_update(&id, change, &act).await?.into()))
}

/// Delete a webhook endpoint
#[utoipa::path(
    delete, path = "/v1/webhook-endpoints/{id}", tag = "notifications",
    operation_id = "webhook_endpoints_delete",
    params(("id" = String, Path)), security(("server_key" = [])),
    responses((status = 204, description = "It is gone")),
)]
pub async fn delete(
    State(app): State<App>,
    merchant: Merchant,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let act = Act::new(merchant.key, None)?;
    app.engine.webhook_endpoints_delete(&id, &act).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Make a new secret; the old one signs beside it for a while
#[utoipa::path(
    post, path = "/v1/webhook-endpoints/{id}/rotate-secret", tag = "notifications",
    operation_id = "webhook_endpoints_rotate_secret",
    params(("id" = String, Path)), request_body = RotateBody, security(("server_key" = [])),
    responses((status = 200, description = "The new secret", body = EndpointSecretView)),
)]
pub async fn rotate_secret(
    State(app): State<App>,
    merchant: Merchant,
    Path(id): Path<String>,
    Body(body): Body<RotateBody>,
) -> Result<Json<EndpointSecretView>, Problem> {
    let act = Act::new(merchant.key, None)?;
    let keep = body.keep_previous_seconds;
    let (endpoint, secret) = app.engine.webhook_endpoints_rotate_secret(&id, keep, &act).await?;
    let secret = secret.expose_secret().to_owned();
    Ok(Json(EndpointSecretView { endpoint: endpoint.into(), secret }))
}

/// Send a test event to this endpoint alone
#[utoipa::path(
    post, path = "/v1/webhook-endpoints/{id}/test", tag = "notifications",
    operation_id = "webhook_endpoints_test",
    params(("id" = String, Path)), security(("server_key" = [])),
    responses((status = 202, description = "The delivery on its way", body = DeliveryView)),
)]
pub async fn test(
    State(app): State<App>,
    _merchant: Merchant,
    Path(id): Path<String>,
) -> Result<(StatusCode, Json<DeliveryView>), Problem> {
    let delivery = app.engine.webhook_endpoints_test(&id).await?;
    Ok((StatusCode::ACCEPTED, Json(delivery.into())))
}
