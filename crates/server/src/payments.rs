//! `/payments`, as the first two seeds describe it.
//!
//! A thin face: it has no rule of its own, and its errors are `{"detail": …}`. Unknown members of a
//! body are ignored here, as those systems did.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use domain::catalogue::{Billing, CreditGrant};
use domain::codes::Code;
use domain::ids::{PriceId, ProductId};
use domain::time::Interval;
use engine::Subject;
use engine::checkout_sessions::{Buyer, Checkout, CheckoutRequest, Pace, TrialRule, Wanted};
use engine::products::Offering;
use serde::{Deserialize, Serialize};
use store::prices::Price;
use utoipa::{IntoParams, ToSchema};

use crate::App;
use crate::api::interval_parts;
use crate::api::{CustomerBody, CustomerParams, time_text};
use crate::auth::Caller;
use crate::problem::Problem;
use crate::requests::{Body, IdempotencyKey, Params, check_prefix};

/// Which products.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ProductParams {
    /// `subscription` or `one_time`.
    product_type: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct SeedPriceView {
    price_id: String,
    /// Decimal text with the currency's own decimals.
    unit_amount: String,
    /// The same in the currency's smallest unit.
    unit_amount_minor: i64,
    currency: String,
    recurring: Option<RecurringView>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct RecurringView {
    interval: &'static str,
    interval_count: u32,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct SeedProductView {
    id: String,
    name: String,
    description: Option<String>,
    /// The first price, which the seed shows.
    price: SeedPriceView,
    /// All of them.
    prices: Vec<SeedPriceView>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct SeedProductsView {
    products: Vec<SeedProductView>,
}

/// The seeds know a price by its id at the provider.
fn price_name(price: &Price) -> String {
    price.provider_price_id.clone().unwrap_or_else(|| price.id.to_string())
}

fn seed_price(price: &Price) -> SeedPriceView {
    let recurring = match price.billing {
        Billing::OneTime => None,
        Billing::Recurring(interval) => {
            Some(RecurringView { interval: interval.unit.as_str(), interval_count: interval.count })
        }
    };
    SeedPriceView {
        price_id: price_name(price),
        unit_amount: price.amount.decimal(),
        unit_amount_minor: price.amount.minor(),
        currency: price.amount.currency().to_string(),
        recurring,
    }
}

fn seed_product(
    offering: &Offering,
    is_wanted: impl Fn(&Price) -> bool,
) -> Option<SeedProductView> {
    let wanted = |price: &&Price| is_wanted(price);
    let product = &offering.product;
    Some(SeedProductView {
        id: product.provider_product_id.clone().unwrap_or_else(|| product.id.to_string()),
        name: product.name.clone(),
        description: product.description.clone(),
        price: seed_price(offering.prices.iter().find(wanted)?),
        prices: offering.prices.iter().filter(wanted).map(seed_price).collect(),
    })
}

/// What is for sale, by type
#[utoipa::path(
    get, path = "/payments/products", tag = "payments façade", params(ProductParams),
    security(()),
    responses((status = 200, description = "Active products", body = SeedProductsView)),
)]
pub async fn products(
    State(app): State<App>,
    Params(params): Params<ProductParams>,
) -> Result<Json<SeedProductsView>, Problem> {
    let is_recurring = |price: &Price| matches!(price.billing, Billing::Recurring(_));
    let wants_recurring = match params.product_type.as_deref() {
        Some("subscription") => true,
        Some("one_time") => false,
        _ => {
            let detail = "product_type must be subscription or one_time";
            return Err(Problem::new(Code::InvalidRequest, detail).on("product_type"));
        }
    };
    let offerings = app.engine.catalogue().await?;
    let is_wanted = |price: &Price| is_recurring(price) == wants_recurring;
    let products = offerings.iter().filter_map(|offering| seed_product(offering, is_wanted));
    Ok(Json(SeedProductsView { products: products.collect() }))
}

#[derive(Debug, Serialize, ToSchema)]
pub struct PlanView {
    id: String,
    name: String,
    stripe_price_id: String,
    /// In the currency's smallest unit.
    price: i64,
    currency: String,
    interval: Option<&'static str>,
    interval_count: Option<u32>,
    features: Vec<String>,
    monthly_credits: i64,
    is_active: bool,
}

/// The plans, from our own database
#[utoipa::path(
    get, path = "/payments/get-plans", tag = "payments façade", security(()),
    responses((status = 200, description = "Active recurring prices", body = Vec<PlanView>)),
)]
pub async fn plans(State(app): State<App>) -> Result<Json<Vec<PlanView>>, Problem> {
    let offerings = app.engine.catalogue().await?;
    let plans = offerings.iter().flat_map(|offering| {
        let recurring =
            offering.prices.iter().filter(|price| matches!(price.billing, Billing::Recurring(_)));
        recurring.map(|price| plan(&offering.product.name, price))
    });
    Ok(Json(plans.collect()))
}

fn plan(name: &str, price: &Price) -> PlanView {
    let (interval, interval_count) = interval_parts(price.billing);
    let unit = domain::credits::DEFAULT_UNIT;
    let is_monthly = |grant: &&CreditGrant| grant.unit == unit && grant.every == Interval::MONTH;
    let credits = price.grants.credits.iter().filter(is_monthly);
    PlanView {
        id: price.id.to_string(),
        name: name.to_owned(),
        stripe_price_id: price_name(price),
        price: price.amount.minor(),
        currency: price.amount.currency().to_string(),
        interval,
        interval_count,
        features: price.grants.features.iter().map(|grant| grant.feature.clone()).collect(),
        monthly_credits: credits.map(|grant| grant.amount.get()).sum(),
        is_active: price.active,
    }
}

/// A catalogue price to buy.
#[derive(Debug, Deserialize, ToSchema)]
pub struct SeedCheckoutBody {
    price_id: String,
    product_id: String,
    /// Only with a server key: whom it is for.
    customer: Option<String>,
}

/// An amount to pay, which must be one of the catalogue's.
#[derive(Debug, Deserialize, ToSchema)]
pub struct AmountCheckoutBody {
    /// Information only; the customer is the caller.
    email: String,
    amount_cents: i64,
    /// Only with a server key: whom it is for.
    customer: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct SeedCheckoutView {
    checkout_url: Option<String>,
    session_id: String,
}

impl From<Checkout> for SeedCheckoutView {
    fn from(checkout: Checkout) -> Self {
        let row = checkout.session;
        Self {
            checkout_url: row.url,
            session_id: row.provider_session_id.unwrap_or_else(|| row.id.to_string()),
        }
    }
}

async fn checkout(
    app: &App,
    caller: &Caller,
    body: SeedCheckoutBody,
    idempotency_key: Option<String>,
    kind: (Wanted, TrialRule),
) -> Result<Json<SeedCheckoutView>, Problem> {
    check_prefix("price_id", &body.price_id, PriceId::PREFIX)?;
    check_prefix("product_id", &body.product_id, ProductId::PREFIX)?;
    let subject = caller.subject(app, body.customer.as_deref()).await?;
    let request = CheckoutRequest {
        product: Some(body.product_id),
        pace: caller.pace(),
        ..one_of(subject, body.price_id, idempotency_key, kind)
    };
    Ok(Json(app.engine.checkout_create(request).await?.into()))
}

/// One piece of one price, with the return addresses of the settings.
fn one_of(
    subject: Subject,
    price: String,
    idempotency_key: Option<String>,
    (wanted, trial): (Wanted, TrialRule),
) -> CheckoutRequest {
    CheckoutRequest {
        buyer: Buyer::Subject(subject),
        price,
        product: None,
        wanted,
        trial,
        quantity: 1,
        success_url: None,
        cancel_url: None,
        email: None,
        idempotency_key,
        pace: Pace::Limited,
    }
}

/// Subscribe, with the automatic trial
#[utoipa::path(
    post, path = "/payments/create-checkout-session", tag = "payments façade",
    request_body = SeedCheckoutBody,
    params(("Idempotency-Key" = Option<String>, Header, description = "Repeat safely")),
    responses((status = 200, description = "Where to pay", body = SeedCheckoutView)),
)]
pub async fn create_checkout_session(
    State(app): State<App>,
    caller: Caller,
    IdempotencyKey(key): IdempotencyKey,
    Body(body): Body<SeedCheckoutBody>,
) -> Result<Json<SeedCheckoutView>, Problem> {
    checkout(&app, &caller, body, key, (Wanted::Recurring, TrialRule::Automatic)).await
}

/// Buy a pack
#[utoipa::path(
    post, path = "/payments/create-checkout-session-onetime", tag = "payments façade",
    request_body = SeedCheckoutBody,
    params(("Idempotency-Key" = Option<String>, Header, description = "Repeat safely")),
    responses((status = 200, description = "Where to pay", body = SeedCheckoutView)),
)]
pub async fn create_checkout_session_onetime(
    State(app): State<App>,
    caller: Caller,
    IdempotencyKey(key): IdempotencyKey,
    Body(body): Body<SeedCheckoutBody>,
) -> Result<Json<SeedCheckoutView>, Problem> {
    checkout(&app, &caller, body, key, (Wanted::OneTime, TrialRule::ByPrice)).await
}

/// Pay a catalogue amount
#[utoipa::path(
    post, path = "/payments/checkout", tag = "payments façade", request_body = AmountCheckoutBody,
    params(("Idempotency-Key" = Option<String>, Header, description = "Repeat safely")),
    responses((status = 200, description = "Where to pay", body = SeedCheckoutView)),
)]
pub async fn checkout_amount(
    State(app): State<App>,
    caller: Caller,
    IdempotencyKey(key): IdempotencyKey,
    Body(body): Body<AmountCheckoutBody>,
) -> Result<Json<SeedCheckoutView>, Problem> {
    let subject = caller.subject(&app, body.customer.as_deref()).await?;
    let request = |price: String| CheckoutRequest {
        email: Some(body.email),
        pace: caller.pace(),
        ..one_of(subject, price, key, (Wanted::OneTime, TrialRule::ByPrice))
    };
    Ok(Json(app.engine.checkout_for_amount(body.amount_cents, request).await?.into()))
}

#[derive(Debug, Serialize, ToSchema)]
pub struct UserPlanView {
    name: Option<String>,
    price_id: Option<String>,
    amount: Option<String>,
    currency: Option<String>,
    interval: Option<&'static str>,
    interval_count: Option<u32>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct UserCreditsView {
    monthly_credits: i64,
    purchased_credits: i64,
    total_credits: i64,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct UserSubscriptionView {
    id: String,
    status: String,
    plan: UserPlanView,
    current_period_start: Option<String>,
    current_period_end: Option<String>,
    cancel_at_period_end: bool,
    cancel_at: Option<String>,
    trial_end: Option<String>,
    credits: UserCreditsView,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct UserSubscriptionAnswer {
    /// Null for somebody without one.
    subscription: Option<UserSubscriptionView>,
}

async fn user_subscription(
    app: &App,
    subject: &Subject,
) -> Result<Option<UserSubscriptionView>, Problem> {
    let Some(detail) = app.engine.subscriptions_current(subject).await? else {
        return Ok(None);
    };
    let unit = domain::credits::DEFAULT_UNIT;
    let balance = app.engine.credits_balance(subject, unit).await?;
    let price = detail.price.as_ref();
    let (interval, interval_count) =
        price.map_or((None, None), |price| interval_parts(price.billing));
    let row = detail.subscription;
    Ok(Some(UserSubscriptionView {
        id: row.id.to_string(),
        status: row.status.as_str().to_owned(),
        plan: UserPlanView {
            name: detail.product.map(|product| product.name),
            price_id: price.map(price_name),
            amount: price.map(|price| price.amount.decimal()),
            currency: price.map(|price| price.amount.currency().to_string()),
            interval,
            interval_count,
        },
        current_period_start: time_text(row.period_start),
        current_period_end: time_text(row.period_end),
        cancel_at_period_end: row.cancel_at_period_end,
        cancel_at: time_text(row.cancel_at),
        trial_end: time_text(row.trial_end),
        credits: UserCreditsView {
            monthly_credits: balance.monthly,
            purchased_credits: balance.purchased,
            total_credits: balance.total,
        },
    }))
}

/// The caller's subscription
#[utoipa::path(
    get, path = "/payments/get-user-subscription", tag = "payments façade",
    params(CustomerParams),
    responses((status = 200, description = "It, or null", body = UserSubscriptionAnswer)),
)]
pub async fn get_user_subscription(
    State(app): State<App>,
    caller: Caller,
    Params(params): Params<CustomerParams>,
) -> Result<Json<UserSubscriptionAnswer>, Problem> {
    let subject = caller.subject(&app, params.customer.as_deref()).await?;
    let subscription = user_subscription(&app, &subject).await?;
    Ok(Json(UserSubscriptionAnswer { subscription }))
}

#[derive(Debug, Serialize, ToSchema)]
pub struct CanceledView {
    message: &'static str,
    subscription: Option<UserSubscriptionView>,
}

/// Cancel at the end of the paid period, never at once
#[utoipa::path(
    delete, path = "/payments/cancel-subscription", tag = "payments façade",
    params(CustomerParams),
    responses((status = 200, description = "Ends with the period", body = CanceledView)),
)]
pub async fn cancel_subscription(
    State(app): State<App>,
    caller: Caller,
    Params(params): Params<CustomerParams>,
) -> Result<Json<CanceledView>, Problem> {
    let subject = caller.subject(&app, params.customer.as_deref()).await?;
    app.engine.subscriptions_cancel(&subject, None).await?;
    let subscription = user_subscription(&app, &subject).await?;
    let message = "the subscription ends with the current billing period";
    Ok(Json(CanceledView { message, subscription }))
}

#[derive(Debug, Serialize, ToSchema)]
pub struct BillingPortalView {
    url: String,
    portal_url: String,
}

async fn billing_portal(
    app: &App,
    caller: &Caller,
    customer: Option<String>,
) -> Result<Response, Problem> {
    let subject = caller.subject(app, customer.as_deref()).await?;
    let url = app.engine.billing_portal_url(&subject, None).await?;
    let view = BillingPortalView { portal_url: url.clone(), url };
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(view)).into_response())
}

/// The provider's own pages for cards and invoices, as the seed asks for them
#[utoipa::path(
    get, path = "/payments/create-billing-portal-session", tag = "payments façade",
    operation_id = "billing_portal_get", params(CustomerParams),
    responses((status = 200, description = "Where to go", body = BillingPortalView)),
)]
pub async fn billing_portal_get(
    State(app): State<App>,
    caller: Caller,
    Params(params): Params<CustomerParams>,
) -> Result<Response, Problem> {
    billing_portal(&app, &caller, params.customer).await
}

/// The same by POST, which no browser sends by itself
#[utoipa::path(
    post, path = "/payments/create-billing-portal-session", tag = "payments façade",
    operation_id = "billing_portal_post", request_body = CustomerBody,
    responses((status = 200, description = "Where to go", body = BillingPortalView)),
)]
pub async fn billing_portal_post(
    State(app): State<App>,
    caller: Caller,
    Body(body): Body<CustomerBody>,
) -> Result<Response, Problem> {
    billing_portal(&app, &caller, body.customer).await
}
