//! Prices: an immutable amount, how often it is paid, and what paying it grants.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use domain::catalogue::{CreditGrant, FeatureGrant, Grants};
use domain::codes::Code;
use domain::credits::Credits;
use domain::time::{Interval, Unit};
use engine::prices::NewPrice;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::products::{ActiveBody, Listing};
use super::{ListView, interval_parts};
use crate::App;
use crate::auth::Merchant;
use crate::problem::Problem;
use crate::requests::{Body, Params};

/// A price to create, here and at the provider.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PriceNewBody {
    product: String,
    /// In the currency's smallest unit.
    unit_amount: i64,
    currency: String,
    /// `day`, `week`, `month` or `year`; without it the price is paid once.
    interval: Option<String>,
    interval_count: Option<u32>,
    nickname: Option<String>,
    #[serde(default)]
    trial_days: u32,
    #[serde(default)]
    grants: GrantsBody,
}

/// What whoever pays receives.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GrantsBody {
    #[serde(default)]
    credits: Vec<CreditGrantBody>,
    #[serde(default)]
    features: Vec<FeatureGrantBody>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreditGrantBody {
    amount: i64,
    unit: Option<String>,
    /// How often a plan refills it; a month unless given.
    every: Option<String>,
    every_count: Option<u32>,
    /// What a trial starts with, where that is not `amount`.
    trial_amount: Option<i64>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FeatureGrantBody {
    feature: String,
    /// For prices paid once: for how many days; for ever without it.
    days: Option<u32>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct PriceView {
    id: String,
    product: String,
    /// In the currency's smallest unit.
    unit_amount: i64,
    currency: String,
    /// The same as decimal text.
    amount: String,
    interval: Option<&'static str>,
    interval_count: Option<u32>,
    nickname: Option<String>,
    active: bool,
    trial_days: u32,
    grants: GrantsBody,
    provider_price_id: Option<String>,
    created_at: String,
}

impl From<store::prices::Price> for PriceView {
    fn from(row: store::prices::Price) -> Self {
        let (interval, interval_count) = interval_parts(row.billing);
        Self {
            id: row.id.to_string(),
            product: row.product_id.to_string(),
            unit_amount: row.amount.minor(),
            currency: row.amount.currency().to_string(),
            amount: row.amount.decimal(),
            interval,
            interval_count,
            nickname: row.nickname,
            active: row.active,
            trial_days: row.trial_days,
            grants: GrantsBody::from(row.grants),
            provider_price_id: row.provider_price_id,
            created_at: row.created_at.to_string(),
        }
    }
}

impl From<Grants> for GrantsBody {
    fn from(grants: Grants) -> Self {
        let credits = grants.credits.into_iter().map(|grant| CreditGrantBody {
            amount: grant.amount.get(),
            unit: Some(grant.unit),
            every: Some(grant.every.unit.as_str().to_owned()),
            every_count: Some(grant.every.count),
            trial_amount: grant.trial_amount,
        });
        let features = grants
            .features
            .into_iter()
            .map(|grant| FeatureGrantBody { feature: grant.feature, days: grant.days });
        Self { credits: credits.collect(), features: features.collect() }
    }
}

impl GrantsBody {
    fn parse(self) -> Result<Grants, Problem> {
        let features = self
            .features
            .into_iter()
            .map(|grant| FeatureGrant { feature: grant.feature, days: grant.days });
        let features = features.collect();
        let credits = self.credits.into_iter().map(CreditGrantBody::parse);
        Ok(Grants { credits: credits.collect::<Result<_, _>>()?, features })
    }
}

impl CreditGrantBody {
    fn parse(self) -> Result<CreditGrant, Problem> {
        let amount = Credits::new(self.amount).map_err(|error| {
            Problem::new(Code::InvalidAmount, error.to_string()).on("grants.credits.amount")
        })?;
        let word = self.every.as_deref().unwrap_or("month");
        let Some(unit) = Unit::parse(word) else {
            let detail = "every must be day, week, month or year";
            return Err(Problem::new(Code::InvalidRequest, detail).on("grants.credits.every"));
        };
        Ok(CreditGrant {
            unit: self.unit.unwrap_or_else(|| domain::credits::DEFAULT_UNIT.to_owned()),
            amount,
            every: Interval { unit, count: self.every_count.unwrap_or(1) },
            trial_amount: self.trial_amount,
        })
    }
}

/// Which prices.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PriceParams {
    /// Only prices of this product.
    product: Option<String>,
    /// `all` for those off sale too, with a server key; `true` unless given.
    #[serde(default)]
    #[param(inline)]
    active: Listing,
    /// How many at most, from 1 to 100; 20 unless given.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Create a price
#[utoipa::path(
    post, path = "/v1/prices", tag = "catalogue", operation_id = "prices_create",
    request_body = PriceNewBody, security(("server_key" = [])),
    responses((status = 201, description = "Created", body = PriceView)),
)]
pub async fn create(
    State(app): State<App>,
    _merchant: Merchant,
    Body(body): Body<PriceNewBody>,
) -> Result<(StatusCode, Json<PriceView>), Problem> {
    let new = NewPrice {
        product: body.product,
        unit_amount: body.unit_amount,
        currency: body.currency,
        interval: body.interval.map(|unit| (unit, body.interval_count.unwrap_or(1))),
        nickname: body.nickname,
        trial_days: body.trial_days,
        grants: body.grants.parse()?,
    };
    let price = app.engine.prices_create(new).await?;
    Ok((StatusCode::CREATED, Json(price.into())))
}

/// List prices, newest first
#[utoipa::path(
    get, path = "/v1/prices", tag = "catalogue", operation_id = "prices_list",
    params(PriceParams), security(()),
    responses((status = 200, description = "One page", body = ListView<PriceView>)),
)]
pub async fn list(
    State(app): State<App>,
    merchant: Result<Merchant, Problem>,
    Params(params): Params<PriceParams>,
) -> Result<Json<ListView<PriceView>>, Problem> {
    let page = engine::Page::new(params.limit, params.cursor)?;
    let shown = params.active.shown(merchant)?;
    let listed = app.engine.prices_list(page, params.product.as_deref(), shown).await?;
    Ok(Json(ListView::of(listed, PriceView::from)))
}

/// One price, by our id or the provider's
#[utoipa::path(
    get, path = "/v1/prices/{id}", tag = "catalogue", operation_id = "prices_get",
    params(("id" = String, Path)), security(()),
    responses((status = 200, description = "The price", body = PriceView)),
)]
pub async fn get(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Json<PriceView>, Problem> {
    Ok(Json(app.engine.prices_get(&id).await?.into()))
}

/// Put a price on sale or take it off
#[utoipa::path(
    patch, path = "/v1/prices/{id}", tag = "catalogue", operation_id = "prices_update",
    params(("id" = String, Path)), request_body = ActiveBody, security(("server_key" = [])),
    responses((status = 200, description = "The price", body = PriceView)),
)]
pub async fn update(
    State(app): State<App>,
    _merchant: Merchant,
    Path(id): Path<String>,
    Body(body): Body<ActiveBody>,
) -> Result<Json<PriceView>, Problem> {
    Ok(Json(app.engine.prices_set_active(&id, body.active).await?.into()))
}
