//! Refunds: the merchant gives money back; customers see what came back.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use domain::codes::Code;
use engine::audits::Act;
use engine::refunds::RefundRequest;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{CustomerPageParams, ListView};
use crate::App;
use crate::auth::{Caller, Merchant};
use crate::problem::Problem;
use crate::requests::{Body, IdempotencyKey, Params};

/// What is to go back.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RefundBody {
    payment: String,
    /// In the currency's smallest unit; what is left unless given.
    amount: Option<i64>,
    /// `duplicate`, `fraudulent` or `requested_by_customer`.
    reason: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct RefundView {
    id: String,
    payment: String,
    /// `pending`, `requires_action`, `succeeded`, `failed` or `canceled`.
    status: String,
    /// In the currency's smallest unit.
    amount: i64,
    currency: String,
    reason: Option<String>,
    provider_refund_id: String,
    created_at: String,
}

impl From<store::refunds::Refund> for RefundView {
    fn from(row: store::refunds::Refund) -> Self {
        Self {
            id: row.id.to_string(),
            payment: row.payment_id.to_string(),
            status: row.status,
            amount: row.amount.minor(),
            currency: row.amount.currency().to_string(),
            reason: row.reason,
            provider_refund_id: row.provider_refund_id,
            created_at: row.created_at.to_string(),
        }
    }
}

/// Give a payment back, in part or in full
#[utoipa::path(
    post, path = "/v1/refunds", tag = "payments", operation_id = "refunds_create",
    request_body = RefundBody, security(("server_key" = [])),
    params(("Idempotency-Key" = String, Header, description = "One key, one refund")),
    responses((status = 201, description = "The refund", body = RefundView)),
)]
pub async fn create(
    State(app): State<App>,
    merchant: Merchant,
    IdempotencyKey(key): IdempotencyKey,
    Body(body): Body<RefundBody>,
) -> Result<(StatusCode, Json<RefundView>), Problem> {
    let idempotency_key = key.ok_or_else(|| {
        let detail = "a refund needs an Idempotency-Key: repeated without, it would go back twice";
        Problem::new(Code::InvalidRequest, detail).on("Idempotency-Key")
    })?;
    let RefundBody { payment, amount, reason } = body;
    let act = Act::new(merchant.key, reason.clone())?;
    let request = RefundRequest { payment, amount, reason, idempotency_key };
    let made = app.engine.refunds_create(&request, &act).await?;
    Ok((StatusCode::CREATED, Json(made.into())))
}

/// List a customer's refunds, newest first
#[utoipa::path(
    get, path = "/v1/refunds", tag = "payments", operation_id = "refunds_list",
    params(CustomerPageParams),
    responses((status = 200, description = "One page", body = ListView<RefundView>)),
)]
pub async fn list(
    State(app): State<App>,
    caller: Caller,
    Params(params): Params<CustomerPageParams>,
) -> Result<Json<ListView<RefundView>>, Problem> {
    let subject = caller.subject(&app, params.customer.as_deref()).await?;
    let listed = app.engine.refunds_list(&subject, params.page()?).await?;
    Ok(Json(ListView::of(listed, RefundView::from)))
}
