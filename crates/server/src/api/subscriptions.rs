//! Subscriptions: read, cancel at the end of the period, change one's mind.

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use utoipa::ToSchema;

use super::{CustomerBody, CustomerPageParams, CustomerParams, ListView, time_text};
use crate::App;
use crate::auth::Caller;
use crate::problem::Problem;
use crate::requests::{Body, Params};

#[derive(Debug, Serialize, ToSchema)]
pub struct SubscriptionView {
    id: String,
    status: String,
    price: Option<String>,
    product: Option<String>,
    quantity: i64,
    current_period_start: Option<String>,
    current_period_end: Option<String>,
    cancel_at_period_end: bool,
    cancel_at: Option<String>,
    canceled_at: Option<String>,
    ended_at: Option<String>,
    trial_end: Option<String>,
    provider_subscription_id: String,
    created_at: String,
}

impl From<store::subscriptions::Subscription> for SubscriptionView {
    fn from(row: store::subscriptions::Subscription) -> Self {
        Self {
            id: row.id.to_string(),
            status: row.status.as_str().to_owned(),
            price: row.price_id.map(|id| id.to_string()),
            product: row.product_id.map(|id| id.to_string()),
            quantity: row.quantity,
            current_period_start: time_text(row.period_start),
            current_period_end: time_text(row.period_end),
            cancel_at_period_end: row.cancel_at_period_end,
            cancel_at: time_text(row.cancel_at),
            canceled_at: time_text(row.canceled_at),
            ended_at: time_text(row.ended_at),
            trial_end: time_text(row.trial_end),
            provider_subscription_id: row.provider_subscription_id,
            created_at: row.created_at.to_string(),
        }
    }
}

/// The subscription that counts now.
#[derive(Debug, Serialize, ToSchema)]
pub struct CurrentSubscriptionView {
    /// Null for somebody who never subscribed; the last one, canceled, after it has ended.
    subscription: Option<SubscriptionView>,
}

/// List a customer's subscriptions, newest first
#[utoipa::path(
    get, path = "/v1/subscriptions", tag = "subscriptions", operation_id = "subscriptions_list",
    params(CustomerPageParams),
    responses((status = 200, description = "One page", body = ListView<SubscriptionView>)),
)]
pub async fn list(
    State(app): State<App>,
    caller: Caller,
    Params(params): Params<CustomerPageParams>,
) -> Result<Json<ListView<SubscriptionView>>, Problem> {
    let subject = caller.subject(&app, params.customer.as_deref()).await?;
    let listed = app.engine.subscriptions_list(&subject, params.page()?).await?;
    Ok(Json(ListView::of(listed, SubscriptionView::from)))
}

/// The subscription that counts now
#[utoipa::path(
    get, path = "/v1/subscriptions/current", tag = "subscriptions",
    operation_id = "subscriptions_current", params(CustomerParams),
    responses((status = 200, description = "It, or null", body = CurrentSubscriptionView)),
)]
pub async fn current(
    State(app): State<App>,
    caller: Caller,
    Params(params): Params<CustomerParams>,
) -> Result<Json<CurrentSubscriptionView>, Problem> {
    let subject = caller.subject(&app, params.customer.as_deref()).await?;
    let current = app.engine.subscriptions_current(&subject).await?;
    let subscription = current.map(|detail| SubscriptionView::from(detail.subscription));
    Ok(Json(CurrentSubscriptionView { subscription }))
}

/// Cancel at the end of the paid period
#[utoipa::path(
    post, path = "/v1/subscriptions/{id}/cancel", tag = "subscriptions",
    operation_id = "subscriptions_cancel", params(("id" = String, Path)),
    request_body = CustomerBody,
    responses((status = 200, description = "The subscription", body = SubscriptionView)),
)]
pub async fn cancel(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Body(body): Body<CustomerBody>,
) -> Result<Json<SubscriptionView>, Problem> {
    let subject = caller.subject(&app, body.customer.as_deref()).await?;
    Ok(Json(app.engine.subscriptions_cancel(&subject, Some(&id)).await?.into()))
}

/// Take a requested cancellation back
#[utoipa::path(
    post, path = "/v1/subscriptions/{id}/resume", tag = "subscriptions",
    operation_id = "subscriptions_resume", params(("id" = String, Path)),
    request_body = CustomerBody,
    responses((status = 200, description = "The subscription", body = SubscriptionView)),
)]
pub async fn resume(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Body(body): Body<CustomerBody>,
) -> Result<Json<SubscriptionView>, Problem> {
    let subject = caller.subject(&app, body.customer.as_deref()).await?;
    Ok(Json(app.engine.subscriptions_resume(&subject, Some(&id)).await?.into()))
}
