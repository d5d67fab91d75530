//! Collections: documents that are sold or kept together, and the feature that opens them.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use engine::Subject;
use engine::collections::NewCollection;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{CustomerPageParams, ListView};
use crate::App;
use crate::auth::{Caller, Merchant};
use crate::problem::Problem;
use crate::requests::{Body, Params};

/// A collection to create.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CollectionNewBody {
    /// Whose private knowledge it is; without it, the merchant's content for sale.
    customer: Option<String>,
    name: String,
    /// The feature that a reader must have.
    feature: String,
    /// Credits that one search costs.
    #[serde(default)]
    search_cost: i64,
    /// How long its vectors are; the length of its first vector unless given.
    dimensions: Option<u32>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct CollectionView {
    id: String,
    /// Null for the merchant's own.
    customer: Option<String>,
    name: String,
    feature: String,
    search_cost: i64,
    dimensions: u32,
    created_at: String,
}

impl From<store::collections::Collection> for CollectionView {
    fn from(row: store::collections::Collection) -> Self {
        Self {
            id: row.id.to_string(),
            customer: row.owner.map(|id| id.to_string()),
            name: row.name,
            feature: row.feature,
            search_cost: row.search_cost,
            dimensions: row.dimensions,
            created_at: row.created_at.to_string(),
        }
    }
}

/// Create a collection
#[utoipa::path(
    post, path = "/v1/collections", tag = "knowledge", operation_id = "collections_create",
    request_body = CollectionNewBody, security(("server_key" = [])),
    responses((status = 201, description = "Created", body = CollectionView)),
)]
pub async fn create(
    State(app): State<App>,
    _merchant: Merchant,
    Body(body): Body<CollectionNewBody>,
) -> Result<(StatusCode, Json<CollectionView>), Problem> {
    let new = NewCollection {
        owner: body.customer.map(Subject::Named),
        name: body.name,
        feature: body.feature,
        search_cost: body.search_cost,
        dimensions: body.dimensions,
    };
    let collection = app.engine.collections_create(new).await?;
    Ok((StatusCode::CREATED, Json(collection.into())))
}

/// List collections: the merchant's, and those of the customer
#[utoipa::path(
    get, path = "/v1/collections", tag = "knowledge", operation_id = "collections_list",
    params(CustomerPageParams),
    responses((status = 200, description = "One page", body = ListView<CollectionView>)),
)]
pub async fn list(
    State(app): State<App>,
    caller: Caller,
    Params(params): Params<CustomerPageParams>,
) -> Result<Json<ListView<CollectionView>>, Problem> {
    let subject = caller.subject_if_named(&app, params.customer.as_deref()).await?;
    let listed = app.engine.collections_list(subject.as_ref(), params.page()?).await?;
    Ok(Json(ListView::of(listed, CollectionView::from)))
}
