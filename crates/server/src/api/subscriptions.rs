//! Subscriptions: read, cancel at the end of the period or now, change the plan or one's mind.

use axum::Json;
use axum::extract::{Path, State};
use domain::codes::Code;
use engine::subscriptions::changing::{ChangeRequest, Changed, Progress, Timing};
use serde::{Deserialize, Serialize};
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
    /// The price it changes to: at `pending_at`, or once it is paid for.
    pending_price: Option<String>,
    pending_at: Option<String>,
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
            pending_price: row.pending_price_id.map(|id| id.to_string()),
            pending_at: time_text(row.pending_at),
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

/// How it is to end.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CancelBody {
    /// The customer's id or external id; left out with an end-user token.
    customer: Option<String>,
    /// `period_end` unless given, or `now`: access ends with it, open invoices are void.
    when: Option<String>,
}

/// Cancel at the end of the paid period, or now
#[utoipa::path(
    post, path = "/v1/subscriptions/{id}/cancel", tag = "subscriptions",
    operation_id = "subscriptions_cancel", params(("id" = String, Path)),
    request_body = CancelBody,
    responses((status = 200, description = "The subscription", body = SubscriptionView)),
)]
pub async fn cancel(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Body(body): Body<CancelBody>,
) -> Result<Json<SubscriptionView>, Problem> {
    let subject = caller.subject(&app, body.customer.as_deref()).await?;
    let row = match body.when.as_deref() {
        None | Some("period_end") => app.engine.subscriptions_cancel(&subject, Some(&id)).await?,
        Some("now") => app.engine.subscriptions_cancel_now(&subject, Some(&id)).await?,
        Some(_) => return Err(when_unknown("when must be period_end or now")),
    };
    Ok(Json(row.into()))
}

fn when_unknown(detail: &str) -> Problem {
    Problem::new(Code::InvalidRequest, detail).on("when")
}

/// What it is to become; what is left out stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeBody {
    /// The customer's id or external id; left out with an end-user token.
    customer: Option<String>,
    /// Our id of a price, or the provider's.
    price: Option<String>,
    quantity: Option<i64>,
    /// `automatic` unless given: more now, less with the next period; or `now`, or `period_end`.
    /// With an end-user token `now` is `automatic`: less now gives money back, as a merchant may.
    when: Option<String>,
}

impl ChangeBody {
    fn request(&self, caller: &Caller) -> Result<ChangeRequest, Problem> {
        let timing = match (self.when.as_deref(), caller) {
            (None | Some("automatic"), _) => Timing::Automatic,
            (Some("now"), Caller::Customer { .. }) => Timing::Automatic,
            (Some("now"), Caller::Server) => Timing::Now,
            (Some("period_end"), _) => Timing::PeriodEnd,
            (Some(_), _) => return Err(when_unknown("when must be automatic, now or period_end")),
        };
        let (price, quantity, pace) = (self.price.clone(), self.quantity, caller.pace());
        Ok(ChangeRequest { price, quantity, timing, pace })
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ChangeView {
    /// `done`, `scheduled` for its day, or `awaiting_payment`.
    progress: &'static str,
    /// Where the customer can pay what it waits for.
    payment_url: Option<String>,
    subscription: SubscriptionView,
}

impl From<Changed> for ChangeView {
    fn from(changed: Changed) -> Self {
        Self {
            progress: match changed.progress {
                Progress::Done => "done",
                Progress::Scheduled => "scheduled",
                Progress::AwaitingPayment => "awaiting_payment",
            },
            payment_url: changed.payment_url,
            subscription: changed.subscription.into(),
        }
    }
}

/// What a change would cost now. Amounts are in the currency's smallest unit.
#[derive(Debug, Serialize, ToSchema)]
pub struct ChangePreviewView {
    /// The new amounts less what comes back; negative where more comes back.
    prorated_amount: i64,
    /// What would be charged.
    amount_due: i64,
    currency: String,
    credit_applied: bool,
    takes_effect_at: String,
    next_billing_at: Option<String>,
}

/// Say what a change would cost; nothing changes
#[utoipa::path(
    post, path = "/v1/subscriptions/{id}/preview", tag = "subscriptions",
    operation_id = "subscriptions_preview", params(("id" = String, Path)),
    request_body = ChangeBody,
    responses((status = 200, description = "The cost", body = ChangePreviewView)),
)]
pub async fn preview(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Body(body): Body<ChangeBody>,
) -> Result<Json<ChangePreviewView>, Problem> {
    let subject = caller.subject(&app, body.customer.as_deref()).await?;
    let request = body.request(&caller)?;
    let preview = app.engine.subscriptions_preview(&subject, Some(&id), &request).await?;
    Ok(Json(ChangePreviewView {
        prorated_amount: preview.prorated_amount,
        amount_due: preview.amount_due,
        currency: preview.currency.to_string(),
        credit_applied: preview.has_credit,
        takes_effect_at: preview.takes_effect_at.to_string(),
        next_billing_at: time_text(preview.next_billing_at),
    }))
}

/// Change the plan or the quantity
#[utoipa::path(
    post, path = "/v1/subscriptions/{id}/change", tag = "subscriptions",
    operation_id = "subscriptions_change", params(("id" = String, Path)),
    request_body = ChangeBody,
    responses((status = 200, description = "How far it has come", body = ChangeView)),
)]
pub async fn change(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Body(body): Body<ChangeBody>,
) -> Result<Json<ChangeView>, Problem> {
    let subject = caller.subject(&app, body.customer.as_deref()).await?;
    let request = body.request(&caller)?;
    Ok(Json(app.engine.subscriptions_change(&subject, Some(&id), &request).await?.into()))
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
    Ok(Json(app.engine.subscriptions_resume(&subject, Some(&id), caller.pace()).await?.into()))
}
