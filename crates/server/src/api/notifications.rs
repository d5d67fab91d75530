//! Notifications: what happened here, as webhook endpoints hear it.

use axum::Json;
use axum::extract::{Path, State};
use domain::codes::Code;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::ListView;
use super::deliveries::DeliveryView;
use crate::App;
use crate::auth::Merchant;
use crate::problem::Problem;
use crate::requests::Params;

/// Which notifications.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct NotificationParams {
    /// Only of this kind, `invoice.paid` for example.
    kind: Option<String>,
    /// Only about this customer, by id or external id; not together with `kind`.
    customer: Option<String>,
    /// How many at most, from 1 to 100; 20 unless given.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Exactly what receivers get as the body.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NotificationView {
    /// The same at every attempt: a receiver knows a repetition by it.
    id: String,
    r#type: String,
    created_at: String,
    livemode: bool,
    customer: Option<String>,
    /// The application's own id for the customer.
    external_id: Option<String>,
    /// The id of what it happened to.
    object: Option<String>,
    /// What the kind says.
    #[schema(value_type = Object)]
    data: Value,
}

/// A notification and how far it has come.
#[derive(Debug, Serialize, ToSchema)]
pub struct NotificationStateView {
    notification: NotificationView,
    deliveries: Vec<DeliveryView>,
}

fn view(message: Value) -> Result<NotificationView, Problem> {
    serde_json::from_value(message).map_err(|error| {
        tracing::error!(%error, "a notification does not have the shape that is promised");
        Problem::new(Code::Internal, "something went wrong on our side")
    })
}

/// List notifications, newest first
#[utoipa::path(
    get, path = "/v1/notifications", tag = "notifications", operation_id = "notifications_list",
    params(NotificationParams), security(("server_key" = [])),
    responses((status = 200, description = "One page", body = ListView<NotificationView>)),
)]
pub async fn list(
    State(app): State<App>,
    _merchant: Merchant,
    Params(params): Params<NotificationParams>,
) -> Result<Json<ListView<NotificationView>>, Problem> {
    let page = engine::Page::new(params.limit, params.cursor)?;
    let (kind, customer) = (params.kind.as_deref(), params.customer.as_deref());
    let listed = app.engine.notifications_list(page, kind, customer).await?;
    let data = listed.data.into_iter().map(view).collect::<Result<_, _>>()?;
    Ok(Json(ListView { data, next_cursor: listed.next_cursor }))
}

/// One notification, and how far it has come
#[utoipa::path(
    get, path = "/v1/notifications/{id}", tag = "notifications",
    operation_id = "notifications_get",
    params(("id" = String, Path)), security(("server_key" = [])),
    responses((status = 200, description = "The notification", body = NotificationStateView)),
)]
pub async fn get(
    State(app): State<App>,
    _merchant: Merchant,
    Path(id): Path<String>,
) -> Result<Json<NotificationStateView>, Problem> {
    let (message, deliveries) = app.engine.notifications_get(&id).await?;
    let deliveries = deliveries.into_iter().map(DeliveryView::from).collect();
    Ok(Json(NotificationStateView { notification: view(message)?, deliveries }))
}
