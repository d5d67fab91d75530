//! Events: the inbox of what providers told us, what became of it, and what operators did.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, State};
use engine::audits::Act;
use engine::effects::Effect;
use engine::event_log::{EventDetail, EventSearch};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::audits::Audit;
use store::event_log::LoggedEvent;
use store::inbox::InboxState;
use utoipa::{IntoParams, ToSchema};

use super::{ListView, time_text};
use crate::App;
use crate::auth::Merchant;
use crate::problem::Problem;
use crate::requests::{Body, Params};

/// Which events.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EventParams {
    /// Only events in this state: `pending`, `applied`, `ignored` or `parked`.
    state: Option<String>,
    /// Only events of this kind; `invoice.*` are all that begin alike.
    kind: Option<String>,
    /// Only a customer's events: by id, external id, or the provider's id.
    customer: Option<String>,
    /// Only this event, by our id or the provider's, or the events about this object of theirs.
    about: Option<String>,
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
    /// What it is about, by the provider's id.
    object: Option<String>,
    /// Our customer, where the event names one we know.
    customer: Option<String>,
    api_version: Option<String>,
    state: &'static str,
    /// Why it was ignored or parked, or what the last attempt failed with.
    reason: Option<String>,
    attempts: i64,
    /// When it is tried again, where it is pending and has failed before.
    next_attempt_at: Option<String>,
    occurred_at: String,
    received_at: String,
    applied_at: Option<String>,
}

impl From<LoggedEvent> for EventView {
    fn from(row: LoggedEvent) -> Self {
        let waits = row.state == InboxState::Pending && 0 < row.next_attempt_at.micros();
        Self {
            id: row.id.to_string(),
            provider_event_id: row.provider_event_id,
            kind: row.kind,
            object: row.object_id,
            customer: row.customer_id.map(|id| id.to_string()),
            api_version: row.api_version,
            state: row.state.as_str(),
            reason: row.reason,
            attempts: row.attempts,
            next_attempt_at: waits.then(|| row.next_attempt_at.to_string()),
            occurred_at: row.occurred_at.to_string(),
            received_at: row.received_at.to_string(),
            applied_at: time_text(row.applied_at),
        }
    }
}

/// What an operator did by hand.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuditView {
    at: String,
    /// The id of the key that was used, and what it is called.
    actor: String,
    actor_name: Option<String>,
    action: String,
    /// The reason that was given, and in brackets what was true before.
    detail: Option<String>,
}

impl From<Audit> for AuditView {
    fn from(row: Audit) -> Self {
        Self {
            at: row.created_at.to_string(),
            actor: row.actor,
            actor_name: row.actor_name,
            action: row.action,
            detail: row.detail,
        }
    }
}

/// A row of ours that the object of the event has become.
#[derive(Debug, Serialize, ToSchema)]
pub struct EffectView {
    /// `subscription`, `invoice`, `payment` and the like.
    what: &'static str,
    id: String,
    status: String,
}

/// An event with all that is kept of it.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventDetailView {
    #[serde(flatten)]
    event: EventView,
    /// What the provider sent; null once the time of payloads is over.
    payload: Option<Value>,
    payload_purged_at: Option<String>,
    /// Some of the delivery's headers.
    headers: BTreeMap<String, String>,
    /// What the object it is about has become here, as it is now.
    effects: Vec<EffectView>,
    /// What operators did about it, newest first.
    audits: Vec<AuditView>,
}

impl From<EventDetail> for EventDetailView {
    fn from(detail: EventDetail) -> Self {
        let payload = detail.payload.as_deref();
        Self {
            payload: payload.and_then(|bytes| serde_json::from_slice(bytes).ok()),
            payload_purged_at: time_text(detail.event.payload_purged_at),
            event: detail.event.into(),
            headers: detail.headers,
            effects: detail.effects.into_iter().map(effect_view).collect(),
            audits: detail.audits.into_iter().map(AuditView::from).collect(),
        }
    }
}

fn effect_view(effect: Effect) -> EffectView {
    EffectView { what: effect.what, id: effect.id, status: effect.status }
}

/// Why something is done; kept in the audit log.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ActBody {
    reason: Option<String>,
}

/// Which parked events are tried again; all of them where nothing is said.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplayParkedBody {
    /// Only those of this kind.
    kind: Option<String>,
    /// Only those that were parked for exactly this reason.
    parked_because: Option<String>,
    /// Why this is done; kept in the audit log.
    reason: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ReplayedView {
    replayed: usize,
    /// Whether there are more than one call may replay: call again.
    more: bool,
}

/// List received events, newest first
#[utoipa::path(
    get, path = "/v1/events", tag = "events", operation_id = "events_list", params(EventParams),
    security(("server_key" = [])),
    responses((status = 200, description = "One page", body = ListView<EventView>)),
)]
pub async fn list(
    State(app): State<App>,
    _merchant: Merchant,
    Params(params): Params<EventParams>,
) -> Result<Json<ListView<EventView>>, Problem> {
    let page = engine::Page::new(params.limit, params.cursor)?;
    let EventParams { state, kind, customer, about, .. } = params;
    let listed = app.engine.event_log(page, &EventSearch { state, kind, customer, about }).await?;
    Ok(Json(ListView::of(listed, EventView::from)))
}

/// One event, by our id or the provider's
#[utoipa::path(
    get, path = "/v1/events/{id}", tag = "events", operation_id = "events_get",
    params(("id" = String, Path)), security(("server_key" = [])),
    responses((status = 200, description = "The event", body = EventDetailView)),
)]
pub async fn get(
    State(app): State<App>,
    _merchant: Merchant,
    Path(id): Path<String>,
) -> Result<Json<EventDetailView>, Problem> {
    Ok(Json(app.engine.event_detail(&id).await?.into()))
}

/// Try parked events again, oldest first
#[utoipa::path(
    post, path = "/v1/events/replay", tag = "events", operation_id = "events_replay_parked",
    request_body = ReplayParkedBody, security(("server_key" = [])),
    responses((status = 200, description = "How many are pending again", body = ReplayedView)),
)]
pub async fn replay_parked(
    State(app): State<App>,
    merchant: Merchant,
    Body(body): Body<ReplayParkedBody>,
) -> Result<Json<ReplayedView>, Problem> {
    let act = Act::new(merchant.key, body.reason)?;
    let (kind, because) = (body.kind.as_deref(), body.parked_because.as_deref());
    let done = app.engine.events_replay_parked(kind, because, &act).await?;
    Ok(Json(ReplayedView { replayed: done.replayed, more: done.more }))
}

/// Try an event again that is parked, ignored, or waits for a later attempt
#[utoipa::path(
    post, path = "/v1/events/{id}/replay", tag = "events", operation_id = "events_replay",
    params(("id" = String, Path)), request_body = Option<ActBody>, security(("server_key" = [])),
    responses((status = 200, description = "The event, pending again", body = EventDetailView)),
)]
pub async fn replay(
    State(app): State<App>,
    merchant: Merchant,
    Path(id): Path<String>,
    Body(body): Body<ActBody>,
) -> Result<Json<EventDetailView>, Problem> {
    let act = Act::new(merchant.key, body.reason)?;
    Ok(Json(app.engine.event_replay(&id, &act).await?.into()))
}

/// Give an event up that is parked or pending
#[utoipa::path(
    post, path = "/v1/events/{id}/ignore", tag = "events", operation_id = "events_ignore",
    params(("id" = String, Path)), request_body = Option<ActBody>, security(("server_key" = [])),
    responses((status = 200, description = "The event, ignored", body = EventDetailView)),
)]
pub async fn ignore(
    State(app): State<App>,
    merchant: Merchant,
    Path(id): Path<String>,
    Body(body): Body<ActBody>,
) -> Result<Json<EventDetailView>, Problem> {
    let act = Act::new(merchant.key, body.reason)?;
    Ok(Json(app.engine.event_ignore(&id, &act).await?.into()))
}
