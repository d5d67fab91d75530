//! Products: what prices are attached to. Anybody may read them.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use engine::products::{NewProduct, Shown};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::ListView;
use crate::App;
use crate::auth::Merchant;
use crate::problem::Problem;
use crate::requests::{Body, Params};

/// A product to create, here and at the provider.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProductNewBody {
    name: String,
    description: Option<String>,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
}

/// What of the catalogue is listed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Listing {
    #[default]
    True,
    All,
}

impl Listing {
    /// What is off sale is nobody's business but the merchant's.
    pub fn shown(self, merchant: Result<Merchant, Problem>) -> Result<Shown, Problem> {
        match self {
            Listing::True => Ok(Shown::Active),
            Listing::All => merchant.map(|_| Shown::Everything),
        }
    }
}

/// Which products.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ProductParams {
    /// `all` for those off sale too, with a server key; `true` unless given.
    #[serde(default)]
    #[param(inline)]
    active: Listing,
    /// How many at most, from 1 to 100; 20 unless given.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Whether something is for sale.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ActiveBody {
    pub active: bool,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ProductView {
    id: String,
    name: String,
    description: Option<String>,
    active: bool,
    metadata: BTreeMap<String, String>,
    /// The same product at the provider, once it is mirrored there.
    provider_product_id: Option<String>,
    created_at: String,
}

impl From<store::products::Product> for ProductView {
    fn from(row: store::products::Product) -> Self {
        Self {
            id: row.id.to_string(),
            name: row.name,
            description: row.description,
            active: row.active,
            metadata: row.metadata,
            provider_product_id: row.provider_product_id,
            created_at: row.created_at.to_string(),
        }
    }
}

/// Create a product
#[utoipa::path(
    post, path = "/v1/products", tag = "catalogue", operation_id = "products_create",
    request_body = ProductNewBody, security(("server_key" = [])),
    responses((status = 201, description = "Created", body = ProductView)),
)]
pub async fn create(
    State(app): State<App>,
    _merchant: Merchant,
    Body(body): Body<ProductNewBody>,
) -> Result<(StatusCode, Json<ProductView>), Problem> {
    let new =
        NewProduct { name: body.name, description: body.description, metadata: body.metadata };
    let product = app.engine.products_create(new).await?;
    Ok((StatusCode::CREATED, Json(product.into())))
}

/// List products, newest first
#[utoipa::path(
    get, path = "/v1/products", tag = "catalogue", operation_id = "products_list",
    params(ProductParams), security(()),
    responses((status = 200, description = "One page", body = ListView<ProductView>)),
)]
pub async fn list(
    State(app): State<App>,
    merchant: Result<Merchant, Problem>,
    Params(params): Params<ProductParams>,
) -> Result<Json<ListView<ProductView>>, Problem> {
    let page = engine::Page::new(params.limit, params.cursor)?;
    let listed = app.engine.products_list(page, params.active.shown(merchant)?).await?;
    Ok(Json(ListView::of(listed, ProductView::from)))
}

/// One product, by our id or the provider's
#[utoipa::path(
    get, path = "/v1/products/{id}", tag = "catalogue", operation_id = "products_get",
    params(("id" = String, Path)), security(()),
    responses((status = 200, description = "The product", body = ProductView)),
)]
pub async fn get(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Json<ProductView>, Problem> {
    Ok(Json(app.engine.products_get(&id).await?.into()))
}

/// Put a product on sale or take it off
#[utoipa::path(
    patch, path = "/v1/products/{id}", tag = "catalogue", operation_id = "products_update",
    params(("id" = String, Path)), request_body = ActiveBody, security(("server_key" = [])),
    responses((status = 200, description = "The product", body = ProductView)),
)]
pub async fn update(
    State(app): State<App>,
    _merchant: Merchant,
    Path(id): Path<String>,
    Body(body): Body<ActiveBody>,
) -> Result<Json<ProductView>, Problem> {
    Ok(Json(app.engine.products_set_active(&id, body.active).await?.into()))
}
