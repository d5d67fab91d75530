//! Provider calls: what we asked of the provider, or mean to, and what came of it.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::ListView;
use crate::App;
use crate::auth::Merchant;
use crate::problem::Problem;
use crate::requests::Params;
use engine::Page;

/// Which calls.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ProviderCallParams {
    /// Only calls in this state: `intended`, `unknown`, `done` or `refused`.
    state: Option<String>,
    /// How many at most, from 1 to 100; 20 unless given.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// A call without its parameters, which may hold personal data.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProviderCallView {
    id: String,
    kind: String,
    customer: Option<String>,
    /// What it is about, by our id.
    object: Option<String>,
    idempotency_key: String,
    state: &'static str,
    attempts: i64,
    /// What came of it, or the last reason why nothing did.
    outcome: Option<serde_json::Value>,
    next_attempt_at: String,
    created_at: String,
    updated_at: String,
}

impl From<store::provider_calls::ProviderCall> for ProviderCallView {
    fn from(row: store::provider_calls::ProviderCall) -> Self {
        Self {
            id: row.id.to_string(),
            kind: row.kind,
            customer: row.customer_id.map(|id| id.to_string()),
            object: row.object_id,
            idempotency_key: row.idempotency_key,
            state: row.state.as_str(),
            attempts: row.attempts,
            outcome: row.outcome.and_then(|text| serde_json::from_str(&text).ok()),
            next_attempt_at: row.next_attempt_at.to_string(),
            created_at: row.created_at.to_string(),
            updated_at: row.updated_at.to_string(),
        }
    }
}

/// List calls to the provider, newest first
#[utoipa::path(
    get, path = "/v1/provider-calls", tag = "events", operation_id = "provider_calls_list",
    params(ProviderCallParams), security(("server_key" = [])),
    responses((status = 200, description = "One page", body = ListView<ProviderCallView>)),
)]
pub async fn list(
    State(app): State<App>,
    _merchant: Merchant,
    Params(params): Params<ProviderCallParams>,
) -> Result<Json<ListView<ProviderCallView>>, Problem> {
    let page = Page::new(params.limit, params.cursor)?;
    let listed = app.engine.provider_calls_list(page, params.state.as_deref()).await?;
    Ok(Json(ListView::of(listed, ProviderCallView::from)))
}
