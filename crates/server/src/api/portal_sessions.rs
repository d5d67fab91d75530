//! Portal sessions: a single-use link that signs a customer in to its own pages.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::App;
use crate::auth::Caller;
use crate::problem::Problem;
use crate::requests::Body;

/// Whom to sign in.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PortalSessionNewBody {
    /// The customer's id or external id; left out with an end-user token.
    customer: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct PortalSessionView {
    /// Works once, and soon; send the customer's browser there.
    url: String,
    expires_at: String,
}

/// Make a sign-in link
#[utoipa::path(
    post, path = "/v1/portal-sessions", tag = "customers", operation_id = "portal_sessions_create",
    request_body = PortalSessionNewBody,
    responses((status = 201, description = "The link", body = PortalSessionView)),
)]
pub async fn create(
    State(app): State<App>,
    caller: Caller,
    Body(body): Body<PortalSessionNewBody>,
) -> Result<Response, Problem> {
    let subject = caller.subject(&app, body.customer.as_deref()).await?;
    let link = app.engine.portal_sessions_create(&subject).await?;
    let view = PortalSessionView {
        url: app.site.portal_link(link.token.expose_secret()),
        expires_at: link.expires_at.to_string(),
    };
    let headers = [(header::CACHE_CONTROL, "no-store")];
    Ok((StatusCode::CREATED, headers, Json(view)).into_response())
}
