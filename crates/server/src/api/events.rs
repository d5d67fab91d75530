//! Events: the inbox of what providers told us, and what became of it.

use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{ListView, time_text};
use crate::App;
use crate::auth::Admin;
use crate::problem::Problem;
use crate::requests::Params;

/// Which events.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EventParams {
    /// Only events in this state: `pending`, `applied`, `ignored` or `parked`.
    state: Option<String>,
    /// How many at most, from 1 to 100; 20 unless given.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// An event without its payload, which holds personal data.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventView {
    id: String,
    provider_event_id: String,
    kind: String,
    object: Option<String>,
    api_version: Option<String>,
    state: &'static str,
    /// Why it was ignored or parked.
    reason: Option<String>,
    attempts: i64,
    occurred_at: String,
    received_at: String,
    applied_at: Option<String>,
}

impl From<store::inbox::InboxEvent> for EventView {
    fn from(row: store::inbox::InboxEvent) -> Self {
        Self {
            id: row.id.to_string(),
            provider_event_id: row.provider_event_id,
            kind: row.kind,
            object: row.object_id,
            api_version: row.api_version,
            state: row.state.as_str(),
            reason: row.reason,
            attempts: row.attempts,
            occurred_at: row.occurred_at.to_string(),
            received_at: row.received_at.to_string(),
            applied_at: time_text(row.applied_at),
        }
    }
}

/// List received events, newest first
#[utoipa::path(
    get, path = "/v1/events", tag = "events", operation_id = "events_list", params(EventParams),
    security(("server_key" = [])),
    responses((status = 200, description = "One page", body = ListView<EventView>)),
)]
pub async fn list(
    State(app): State<App>,
    _admin: Admin,
    Params(params): Params<EventParams>,
) -> Result<Json<ListView<EventView>>, Problem> {
    let page = engine::Page::new(params.limit, params.cursor)?;
    let listed = app.engine.events_list(page, params.state.as_deref()).await?;
    Ok(Json(ListView::of(listed, EventView::from)))
}

/// One event, by our id or the provider's
#[utoipa::path(
    get, path = "/v1/events/{id}", tag = "events", operation_id = "events_get",
    params(("id" = String, Path)), security(("server_key" = [])),
    responses((status = 200, description = "The event", body = EventView)),
)]
pub async fn get(
    State(app): State<App>,
    _admin: Admin,
    Path(id): Path<String>,
) -> Result<Json<EventView>, Problem> {
    Ok(Json(app.engine.events_get(&id).await?.into()))
}

/// Try a parked event again
#[utoipa::path(
    post, path = "/v1/events/{id}/replay", tag = "events", operation_id = "events_replay",
    params(("id" = String, Path)), security(("server_key" = [])),
    responses((status = 200, description = "The event, pending again", body = EventView)),
)]
pub async fn replay(
    State(app): State<App>,
    _admin: Admin,
    Path(id): Path<String>,
) -> Result<Json<EventView>, Problem> {
    Ok(Json(app.engine.events_replay(&id).await?.into()))
}

/// Give a parked event up
#[utoipa::path(
    post, path = "/v1/events/{id}/ignore", tag = "events", operation_id = "events_ignore",
    params(("id" = String, Path)), security(("server_key" = [])),
    responses((status = 200, description = "The event, ignored", body = EventView)),
)]
pub async fn ignore(
    State(app): State<App>,
    _admin: Admin,
    Path(id): Path<String>,
) -> Result<Json<EventView>, Problem> {
    Ok(Json(app.engine.events_ignore(&id).await?.into()))
}
