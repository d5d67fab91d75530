//! Customers: who buys. The merchant's own name for one is its `external_id`.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use engine::Subject;
use engine::customers::NewCustomer;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::credits::BalanceView;
use super::subscriptions::SubscriptionView;
use super::{CustomerParams, ListView, PageParams, time_text};
use crate::App;
use crate::auth::{Caller, Merchant};
use crate::problem::Problem;
use crate::requests::{Body, Params};

/// A customer to create.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CustomerNewBody {
    /// Your id for this person: the `sub` of its tokens.
    external_id: Option<String>,
    /// Information only; never a key.
    email: Option<String>,
    name: Option<String>,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct CustomerView {
    id: String,
    external_id: Option<String>,
    email: Option<String>,
    name: Option<String>,
    metadata: BTreeMap<String, String>,
    created_at: String,
}

impl From<store::customers::Customer> for CustomerView {
    fn from(row: store::customers::Customer) -> Self {
        Self {
            id: row.id.to_string(),
            external_id: row.external_id,
            email: row.email,
            name: row.name,
            metadata: row.metadata,
            created_at: row.created_at.to_string(),
        }
    }
}

/// One feature that is unlocked now.
#[derive(Debug, Serialize, ToSchema)]
pub struct EntitlementView {
    feature: String,
    source: String,
    starts_at: String,
    ends_at: Option<String>,
}

/// Everything a program asks before it lets somebody in.
#[derive(Debug, Serialize, ToSchema)]
pub struct CustomerStateView {
    customer: Option<CustomerView>,
    subscriptions: Vec<SubscriptionView>,
    entitlements: Vec<EntitlementView>,
    balances: Vec<BalanceView>,
}

/// Create a customer
#[utoipa::path(
    post, path = "/v1/customers", tag = "customers",
    operation_id = "customers_create", request_body = CustomerNewBody,
    security(("server_key" = [])),
    responses((status = 201, description = "Created", body = CustomerView)),
)]
pub async fn create(
    State(app): State<App>,
    _merchant: Merchant,
    Body(body): Body<CustomerNewBody>,
) -> Result<(StatusCode, Json<CustomerView>), Problem> {
    let new = NewCustomer {
        external_id: body.external_id,
        email: body.email,
        name: body.name,
        metadata: body.metadata,
    };
    let customer = app.engine.customers_create(new).await?;
    Ok((StatusCode::CREATED, Json(customer.into())))
}

/// List customers, newest first
#[utoipa::path(
    get, path = "/v1/customers", tag = "customers",
    operation_id = "customers_list", params(PageParams),
    security(("server_key" = [])),
    responses((status = 200, description = "One page", body = ListView<CustomerView>)),
)]
pub async fn list(
    State(app): State<App>,
    _merchant: Merchant,
    Params(params): Params<PageParams>,
) -> Result<Json<ListView<CustomerView>>, Problem> {
    let listed = app.engine.customers_list(params.page()?).await?;
    Ok(Json(ListView::of(listed, CustomerView::from)))
}

/// One customer, by id or external id
#[utoipa::path(
    get, path = "/v1/customers/{id}", tag = "customers",
    operation_id = "customers_get",
    params(("id" = String, Path, description = "Id or external id")),
    responses((status = 200, description = "The customer", body = CustomerView)),
)]
pub async fn get(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<CustomerView>, Problem> {
    let subject = caller.subject(&app, Some(&id)).await?;
    Ok(Json(app.engine.customers_get(&subject).await?.into()))
}

/// A customer's subscriptions, features and balances
#[utoipa::path(
    get, path = "/v1/customers/{id}/state", tag = "customers",
    operation_id = "customers_state",
    params(("id" = String, Path, description = "Id or external id")),
    responses((status = 200, description = "The state", body = CustomerStateView)),
)]
pub async fn state(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<CustomerStateView>, Problem> {
    let subject = caller.subject(&app, Some(&id)).await?;
    state_of(&app, &subject).await
}

/// The caller's own subscriptions, features and balances
#[utoipa::path(
    get, path = "/v1/customers/state", tag = "customers",
    operation_id = "customers_own_state", params(CustomerParams),
    responses((status = 200, description = "The state", body = CustomerStateView)),
)]
pub async fn own_state(
    State(app): State<App>,
    caller: Caller,
    Params(params): Params<CustomerParams>,
) -> Result<Json<CustomerStateView>, Problem> {
    let subject = caller.subject(&app, params.customer.as_deref()).await?;
    state_of(&app, &subject).await
}

async fn state_of(app: &App, subject: &Subject) -> Result<Json<CustomerStateView>, Problem> {
    let state = app.engine.customers_state(subject).await?;
    let entitlements = state.entitlements.into_iter().map(|row| EntitlementView {
        feature: row.feature,
        source: row.source,
        starts_at: row.starts_at.to_string(),
        ends_at: time_text(row.ends_at),
    });
    Ok(Json(CustomerStateView {
        customer: state.customer.map(CustomerView::from),
        entitlements: entitlements.collect(),
        subscriptions: state.subscriptions.into_iter().map(SubscriptionView::from).collect(),
        balances: state.balances.into_iter().map(BalanceView::from).collect(),
    }))
}
