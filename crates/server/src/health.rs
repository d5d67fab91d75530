//! Health, for monitors: our own work counts, the provider's trouble is only told.

use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use engine::health::{Health, ProviderHealth};
use serde::Serialize;
use utoipa::ToSchema;

use crate::App;
use crate::limits::HEALTH_TIMEOUT;

#[derive(Debug, Serialize, ToSchema)]
pub struct HealthView {
    /// `healthy`, `degraded` (the provider is away, or events wait) or `unhealthy` (the database
    /// is).
    status: &'static str,
    timestamp: String,
    version: &'static str,
    database: &'static str,
    provider: &'static str,
    /// `current`, or `stale`: an event has been waiting for more than five minutes.
    inbox: &'static str,
}

/// Whether this process can do its work
#[utoipa::path(
    get, path = "/health", tag = "operations", operation_id = "health", security(()),
    responses(
        (status = 200, description = "Healthy, or degraded", body = HealthView),
        (status = 503, description = "The database is away", body = HealthView),
    ),
)]
pub async fn show(State(app): State<App>) -> Response {
    let away = Health { database: false, provider: ProviderHealth::Unknown, inbox_is_stale: false };
    let health = tokio::time::timeout(HEALTH_TIMEOUT, app.engine.health()).await.unwrap_or(away);
    let provider = match health.provider {
        ProviderHealth::Up => "up",
        ProviderHealth::Down => "down",
        ProviderHealth::Disabled => "disabled",
        ProviderHealth::Unknown => "unknown",
    };
    let (code, status) = match (health.database, health.provider) {
        (false, _) => (StatusCode::SERVICE_UNAVAILABLE, "unhealthy"),
        (true, ProviderHealth::Down) => (StatusCode::OK, "degraded"),
        (true, _) if health.inbox_is_stale => (StatusCode::OK, "degraded"),
        (true, _) => (StatusCode::OK, "healthy"),
    };
    let view = HealthView {
        status,
        timestamp: app.engine.clock().wall().to_string(),
        version: env!("CARGO_PKG_VERSION"),
        database: if health.database { "up" } else { "down" },
        provider,
        inbox: if health.inbox_is_stale { "stale" } else { "current" },
    };
    (code, [(header::CACHE_CONTROL, "no-store")], Json(view)).into_response()
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ReadinessView {
    /// `ready`, `stopping` or `unhealthy` (the database is away).
    status: &'static str,
}

/// Whether new work should be sent to this process
#[utoipa::path(
    get, path = "/health/ready", tag = "operations", operation_id = "readiness", security(()),
    responses(
        (status = 200, description = "Ready", body = ReadinessView),
        (status = 503, description = "Stopping, or the database is away", body = ReadinessView),
    ),
)]
pub async fn ready(State(app): State<App>) -> Response {
    let is_stopping = app.site.stopping.load(Ordering::Relaxed);
    let (code, status) = if is_stopping {
        (StatusCode::SERVICE_UNAVAILABLE, "stopping")
    } else {
        match tokio::time::timeout(HEALTH_TIMEOUT, app.engine.health()).await {
            Ok(Health { database: true, .. }) => (StatusCode::OK, "ready"),
            _ => (StatusCode::SERVICE_UNAVAILABLE, "unhealthy"),
        }
    };
    (code, [(header::CACHE_CONTROL, "no-store")], Json(ReadinessView { status })).into_response()
}
