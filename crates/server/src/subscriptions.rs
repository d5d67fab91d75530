//! `/api/v1/payments/subscription`, as the third seed's system has it.
//!
//! A thin face: it has no rule of its own, and its errors are `{"detail": …}`.

use axum::Json;
use axum::extract::State;
use domain::ids::PriceId;
use engine::subscriptions::changing::{ChangeRequest, Timing};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::App;
use crate::api::{CustomerParams, time_text};
use crate::auth::Caller;
use crate::problem::Problem;
use crate::requests::{Body, Params, check_prefix};

#[derive(Debug, Serialize, ToSchema)]
pub struct SubscriptionPriceView {
    id: String,
    name: Option<String>,
    /// In the currency's smallest unit.
    amount: i64,
    currency: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct SubscriptionStatusView {
    has_subscription: bool,
    price: Option<SubscriptionPriceView>,
    status: Option<String>,
    next_billing_date: Option<String>,
    cancel_at_period_end: bool,
}

/// The caller's subscription in short
#[utoipa::path(
    get, path = "/api/v1/payments/subscription/status", tag = "payments façade",
    params(CustomerParams),
    responses((status = 200, description = "Its state", body = SubscriptionStatusView)),
)]
pub async fn status(
    State(app): State<App>,
    caller: Caller,
    Params(params): Params<CustomerParams>,
) -> Result<Json<SubscriptionStatusView>, Problem> {
    let subject = caller.subject(&app, params.customer.as_deref()).await?;
    let Some(detail) = app.engine.subscriptions_current(&subject).await? else {
        return Ok(Json(SubscriptionStatusView {
            has_subscription: false,
            price: None,
            status: None,
            next_billing_date: None,
            cancel_at_period_end: false,
        }));
    };
    let row = detail.subscription;
    let renews = row.status.is_live() && row.cancel_at.is_none() && !row.cancel_at_period_end;
    let price = detail.price.map(|price| SubscriptionPriceView {
        id: price.provider_price_id.unwrap_or_else(|| price.id.to_string()),
        name: detail.product.map(|product| product.name),
        amount: price.amount.minor(),
        currency: price.amount.currency().to_string(),
    });
    Ok(Json(SubscriptionStatusView {
        has_subscription: row.status.is_live(),
        price,
        status: Some(row.status.as_str().to_owned()),
        next_billing_date: time_text(row.period_end.filter(|_| renews)),
        cancel_at_period_end: row.cancel_at_period_end,
    }))
}

/// Which price to change to.
#[derive(Debug, Deserialize, ToSchema)]
pub struct SubscriptionPreviewBody {
    price_id: String,
    /// Only with a server key: whose it is.
    customer: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct SubscriptionPreviewView {
    /// In the currency's smallest unit; negative where more comes back.
    prorated_amount: i64,
    currency: String,
    immediate_charge: bool,
    credit_applied: bool,
    next_billing_date: Option<String>,
}

/// What a change of plan would cost
#[utoipa::path(
    post, path = "/api/v1/payments/subscription/preview", tag = "payments façade",
    request_body = SubscriptionPreviewBody,
    responses((status = 200, description = "The cost", body = SubscriptionPreviewView)),
)]
pub async fn preview(
    State(app): State<App>,
    caller: Caller,
    Body(body): Body<SubscriptionPreviewBody>,
) -> Result<Json<SubscriptionPreviewView>, Problem> {
    check_prefix("price_id", &body.price_id, PriceId::PREFIX)?;
    let subject = caller.subject(&app, body.customer.as_deref()).await?;
    let price = Some(body.price_id);
    let (timing, pace) = (Timing::Automatic, caller.pace());
    let request = ChangeRequest { price, quantity: None, timing, pace };
    let preview = app.engine.subscriptions_preview(&subject, None, &request).await?;
    Ok(Json(SubscriptionPreviewView {
        prorated_amount: preview.prorated_amount,
        currency: preview.currency.to_string(),
        immediate_charge: 0 < preview.amount_due,
        credit_applied: preview.has_credit,
        next_billing_date: time_text(preview.next_billing_at),
    }))
}

#[derive(Debug, Deserialize, ToSchema)]
pub struct SubscriptionCancelBody {
    /// At once, access included; at the end of the period unless set.
    #[serde(default)]
    cancel_immediately: bool,
    /// Only with a server key: whose it is.
    customer: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct SubscriptionCancelView {
    status: String,
    cancel_at_period_end: bool,
    ends_at: Option<String>,
}

/// Cancel, with the period or at once
#[utoipa::path(
    post, path = "/api/v1/payments/subscription/cancel", tag = "payments façade",
    request_body = SubscriptionCancelBody,
    responses((status = 200, description = "How it ends", body = SubscriptionCancelView)),
)]
pub async fn cancel(
    State(app): State<App>,
    caller: Caller,
    Body(body): Body<SubscriptionCancelBody>,
) -> Result<Json<SubscriptionCancelView>, Problem> {
    let subject = caller.subject(&app, body.customer.as_deref()).await?;
    let row = match body.cancel_immediately {
        true => app.engine.subscriptions_cancel_now(&subject, None).await?,
        false => app.engine.subscriptions_cancel(&subject, None).await?,
    };
    Ok(Json(SubscriptionCancelView {
        status: row.status.as_str().to_owned(),
        cancel_at_period_end: row.cancel_at_period_end,
        ends_at: time_text(row.ended_at.or(row.cancel_at)),
    }))
}
