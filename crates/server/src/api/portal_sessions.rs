//! Portal sessions: a single-use link that signs a customer in to its own pages.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use secrecy::ExposeSecret;
use serde::Serialize;
use utoipa::ToSchema;

use super::CustomerBody;
use crate::App;
use crate::auth::Caller;
use crate::problem::Problem;
use crate::requests::Body;

#[derive(Debug, Serialize, ToSchema)]
pub struct PortalSessionView {
    /// Works once, and soon; send the customer's browser there.
    url: String,
    expires_at: String,
}

/// Make a sign-in link
#[utoipa::path(
    post, path = "/v1/portal-sessions", tag = "customers", operation_id = "portal_sessions_create",
    request_body = CustomerBody,
    responses((status = 201, description = "The link", body = PortalSessionView)),
)]
pub async fn create(
    State(app): State<App>,
    caller: Caller,
    Body(body): Body<CustomerBody>,
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
