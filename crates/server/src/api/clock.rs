//! The business clock's question to us: is everything applied that your step caused?

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::App;
use crate::auth::Merchant;
use crate::limits::SETTLE_TIMEOUT;
use crate::problem::Problem;

#[derive(Debug, Serialize, ToSchema)]
pub struct SettledView {
    /// The business time at which nothing was left to do.
    now: String,
}

/// Run due timers and wait until every received event is applied
#[utoipa::path(
    post, path = "/v1/clock/settle", tag = "events", operation_id = "clock_settle",
    security(("server_key" = [])),
    responses(
        (status = 200, description = "Nothing is left to do", body = SettledView),
        (status = 504, description = "Something is still pending"),
    ),
)]
pub async fn settle(
    State(app): State<App>,
    _merchant: Merchant,
) -> Result<Json<SettledView>, Problem> {
    app.engine.settle(SETTLE_TIMEOUT).await?;
    Ok(Json(SettledView { now: app.engine.clock().now().to_string() }))
}
