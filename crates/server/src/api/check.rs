//! "May this customer use that feature now?", and why.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::time_text;
use crate::App;
use crate::auth::Caller;
use crate::problem::Problem;
use crate::requests::Params;

/// Who, and which feature.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct CheckParams {
    feature: String,
    /// The customer's id or external id; left out with an end-user token.
    customer: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct DecisionView {
    feature: String,
    allowed: bool,
    /// `entitled`, `not_entitled`, `ended`, `revoked` or `not_started`.
    reason: &'static str,
    /// The grant that decided.
    source: Option<String>,
    ends_at: Option<String>,
}

/// Whether a feature is unlocked; a denial is an answer, not an error
#[utoipa::path(
    get, path = "/v1/check", tag = "access", operation_id = "check", params(CheckParams),
    responses((status = 200, description = "Allowed or denied", body = DecisionView)),
)]
pub async fn check(
    State(app): State<App>,
    caller: Caller,
    Params(params): Params<CheckParams>,
) -> Result<Json<DecisionView>, Problem> {
    let subject = caller.subject(&app, params.customer.as_deref()).await?;
    let decision = app.engine.check(&subject, &params.feature).await?;
    Ok(Json(DecisionView {
        feature: params.feature,
        allowed: decision.allowed,
        reason: decision.reason.as_str(),
        source: decision.source,
        ends_at: time_text(decision.ends_at),
    }))
}
