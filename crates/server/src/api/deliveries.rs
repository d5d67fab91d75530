//! Deliveries: each notification on its way to each of its receivers.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use engine::audits::Act;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{ListView, time_text};
use crate::App;
use crate::auth::Merchant;
use crate::problem::Problem;
use crate::requests::Params;

/// Which deliveries.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DeliveryParams {
    /// Only to this receiver: the id of a webhook endpoint, or `mail`.
    receiver: Option<String>,
    /// Only in this state: `pending`, `delivered` or `failed`.
    state: Option<String>,
    /// How many at most, from 1 to 100; 20 unless given.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct DeliveryView {
    id: String,
    notification: String,
    /// The id of a webhook endpoint, or `mail`.
    receiver: String,
    /// `failed` is given up: somebody has to look, and may redeliver.
    state: &'static str,
    attempts: i64,
    /// While it is pending.
    next_attempt_at: Option<String>,
    /// What the last attempt was answered, if it was.
    status_code: Option<i64>,
    error: Option<String>,
    created_at: String,
    delivered_at: Option<String>,
}

impl From<store::deliveries::Delivery> for DeliveryView {
    fn from(row: store::deliveries::Delivery) -> Self {
        let pending = row.state == store::deliveries::DeliveryState::Pending;
        Self {
            id: row.id.to_string(),
            notification: row.outbox_event_id.to_string(),
            receiver: row.receiver,
            state: row.state.as_str(),
            attempts: row.attempts,
            next_attempt_at: pending.then(|| row.next_attempt_at.to_string()),
            status_code: row.status_code,
            error: row.error,
            created_at: row.created_at.to_string(),
            delivered_at: time_text(row.delivered_at),
        }
    }
}

/// List deliveries, newest first
#[utoipa::path(
    get, path = "/v1/deliveries", tag = "notifications", operation_id = "deliveries_list",
    params(DeliveryParams), security(("server_key" = [])),
    responses((status = 200, description = "One page", body = ListView<DeliveryView>)),
)]
pub async fn list(
    State(app): State<App>,
    _merchant: Merchant,
    Params(params): Params<DeliveryParams>,
) -> Result<Json<ListView<DeliveryView>>, Problem> {
    let page = engine::Page::new(params.limit, params.cursor)?;
    let (receiver, state) = (params.receiver.as_deref(), params.state.as_deref());
    let listed = app.engine.deliveries_list(page, receiver, state).await?;
    Ok(Json(ListView::of(listed, DeliveryView::from)))
}

/// Deliver again what was taken or given up
#[utoipa::path(
    post, path = "/v1/deliveries/{id}/redeliver", tag = "notifications",
    operation_id = "deliveries_redeliver",
    params(("id" = String, Path)), security(("server_key" = [])),
    responses((status = 202, description = "The delivery, pending again", body = DeliveryView)),
)]
pub async fn redeliver(
    State(app): State<App>,
    merchant: Merchant,
    Path(id): Path<String>,
) -> Result<(StatusCode, Json<DeliveryView>), Problem> {
    let act = Act::new(merchant.key, None)?;
    let delivery = app.engine.deliveries_redeliver(&id, &act).await?;
    Ok((StatusCode::ACCEPTED, Json(delivery.into())))
}
