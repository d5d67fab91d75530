//! Credits: balance, lots, ledger; spending at once or by hold and capture.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use domain::codes::Code;
use domain::credits::{Class, DEFAULT_UNIT};
use domain::time::Timestamp;
use engine::audits::Act;
use engine::credits::{Balance, ConsumeRequest, GrantRequest};
use engine::holds::HoldRequest;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{CustomerBody, CustomerPageParams, ListView, time_text};
use crate::App;
use crate::auth::{Caller, Merchant};
use crate::problem::Problem;
use crate::requests::{Body, IdempotencyKey, Params};

/// What can be spent now.
#[derive(Debug, Serialize, ToSchema)]
pub struct BalanceView {
    unit: String,
    /// What a plan or a trial refills.
    monthly_credits: i64,
    /// What is kept until used.
    purchased_credits: i64,
    total_credits: i64,
    /// Reserved by open holds; not part of the total.
    held: i64,
    by_class: Vec<ClassBalanceView>,
    next_expiry: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ClassBalanceView {
    class: &'static str,
    available: i64,
}

impl From<Balance> for BalanceView {
    fn from(balance: Balance) -> Self {
        let by_class = balance
            .by_class
            .into_iter()
            .map(|(class, available)| ClassBalanceView { class: class.as_str(), available });
        Self {
            unit: balance.unit,
            monthly_credits: balance.monthly,
            purchased_credits: balance.purchased,
            total_credits: balance.total,
            held: balance.held,
            by_class: by_class.collect(),
            next_expiry: time_text(balance.next_expiry),
        }
    }
}

/// A lot of credits.
#[derive(Debug, Serialize, ToSchema)]
pub struct GrantView {
    id: String,
    unit: String,
    class: &'static str,
    granted: i64,
    available: i64,
    spent: i64,
    held: i64,
    expired: i64,
    revoked: i64,
    reason: String,
    starts_at: String,
    expires_at: Option<String>,
    created_at: String,
}

impl From<store::credits::Grant> for GrantView {
    fn from(row: store::credits::Grant) -> Self {
        Self {
            id: row.id.to_string(),
            unit: row.unit,
            class: row.class.as_str(),
            granted: row.numbers.granted,
            available: row.numbers.available(),
            spent: row.numbers.spent,
            held: row.numbers.held,
            expired: row.numbers.expired,
            revoked: row.numbers.revoked,
            reason: row.reason,
            starts_at: row.starts_at.to_string(),
            expires_at: time_text(row.expires_at),
            created_at: row.created_at.to_string(),
        }
    }
}

/// One line of the ledger.
#[derive(Debug, Serialize, ToSchema)]
pub struct EntryView {
    id: String,
    unit: String,
    kind: &'static str,
    grant: String,
    hold: Option<String>,
    amount: i64,
    balance_before: i64,
    balance_after: i64,
    held_after: i64,
    reference: Option<String>,
    effective_at: String,
    recorded_at: String,
}

impl From<store::credits::Entry> for EntryView {
    fn from(row: store::credits::Entry) -> Self {
        Self {
            id: row.id.to_string(),
            unit: row.unit,
            kind: row.kind.as_str(),
            grant: row.grant_id.to_string(),
            hold: row.hold_id.map(|id| id.to_string()),
            amount: row.amount,
            balance_before: row.balance_before,
            balance_after: row.balance_after,
            held_after: row.held_after,
            reference: row.reference,
            effective_at: row.effective_at.to_string(),
            recorded_at: row.recorded_at.to_string(),
        }
    }
}

/// A reservation.
#[derive(Debug, Serialize, ToSchema)]
pub struct HoldView {
    id: String,
    unit: String,
    amount: i64,
    captured: i64,
    status: &'static str,
    reference: Option<String>,
    expires_at: String,
    created_at: String,
    closed_at: Option<String>,
}

impl From<store::holds::Hold> for HoldView {
    fn from(row: store::holds::Hold) -> Self {
        Self {
            id: row.id.to_string(),
            unit: row.unit,
            amount: row.amount,
            captured: row.captured,
            status: row.status.as_str(),
            reference: row.reference,
            expires_at: row.expires_at.to_string(),
            created_at: row.created_at.to_string(),
            closed_at: time_text(row.closed_at),
        }
    }
}

/// What was spent and what is left.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReceiptView {
    consumed: i64,
    unit: String,
    /// The total that is left.
    remaining: i64,
    balance: BalanceView,
}

/// Credits to give.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GrantNewBody {
    /// The customer's id or external id.
    customer: String,
    amount: i64,
    unit: Option<String>,
    /// `bonus` unless given; also `promotional`, `purchased`, `allowance` and `trial`.
    class: Option<String>,
    /// RFC 3339; never without it.
    expires_at: Option<String>,
    /// Kept in the ledger.
    reason: Option<String>,
}

/// Credits to spend.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConsumeBody {
    /// The customer's id or external id; left out with an end-user token.
    customer: Option<String>,
    amount: i64,
    unit: Option<String>,
    /// Your name for what they were spent on.
    reference: Option<String>,
}

/// Credits to reserve.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HoldNewBody {
    /// The customer's id or external id; left out with an end-user token.
    customer: Option<String>,
    amount: i64,
    unit: Option<String>,
    /// Seconds until it releases itself.
    expires_in: Option<i64>,
    reference: Option<String>,
}

/// How much of a hold the work cost.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CaptureBody {
    /// The customer's id or external id; left out with an end-user token.
    customer: Option<String>,
    /// All of it unless given; the rest goes back.
    amount: Option<i64>,
}

/// Whose balance, of which unit.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct BalanceParams {
    /// The customer's id or external id; left out with an end-user token.
    customer: Option<String>,
    /// `credits` unless given.
    unit: Option<String>,
}

fn unit_or_default(unit: Option<String>) -> String {
    unit.unwrap_or_else(|| DEFAULT_UNIT.to_owned())
}

/// What a customer can spend
#[utoipa::path(
    get, path = "/v1/credits/balance", tag = "credits", operation_id = "credits_balance",
    params(BalanceParams),
    responses((status = 200, description = "The balance", body = BalanceView)),
)]
pub async fn balance(
    State(app): State<App>,
    caller: Caller,
    Params(params): Params<BalanceParams>,
) -> Result<Json<BalanceView>, Problem> {
    let subject = caller.subject(&app, params.customer.as_deref()).await?;
    let unit = unit_or_default(params.unit);
    Ok(Json(app.engine.credits_balance(&subject, &unit).await?.into()))
}

/// List a customer's lots
#[utoipa::path(
    get, path = "/v1/credits/grants", tag = "credits", operation_id = "credits_grants",
    params(CustomerPageParams),
    responses((status = 200, description = "One page", body = ListView<GrantView>)),
)]
pub async fn grants(
    State(app): State<App>,
    caller: Caller,
    Params(params): Params<CustomerPageParams>,
) -> Result<Json<ListView<GrantView>>, Problem> {
    let subject = caller.subject(&app, params.customer.as_deref()).await?;
    let listed = app.engine.credits_grants(&subject, params.page()?).await?;
    Ok(Json(ListView::of(listed, GrantView::from)))
}

/// Give a customer credits
#[utoipa::path(
    post, path = "/v1/credits/grants", tag = "credits", operation_id = "credits_grant",
    request_body = GrantNewBody, security(("server_key" = [])),
    params(("Idempotency-Key" = Option<String>, Header, description = "Repeat safely")),
    responses((status = 201, description = "Granted", body = GrantView)),
)]
pub async fn grant(
    State(app): State<App>,
    merchant: Merchant,
    IdempotencyKey(idempotency_key): IdempotencyKey,
    Body(body): Body<GrantNewBody>,
) -> Result<(StatusCode, Json<GrantView>), Problem> {
    let class = match body.class.as_deref() {
        None => Class::Bonus,
        Some(word) => Class::parse(word).ok_or_else(|| {
            let detail = format!("class {word:?} is not one of ours");
            Problem::new(Code::InvalidRequest, detail).on("class")
        })?,
    };
    let act = Act::new(merchant.key, body.reason.clone())?;
    let request = GrantRequest {
        amount: body.amount,
        unit: unit_or_default(body.unit),
        class,
        expires_at: body.expires_at.as_deref().map(parse_time).transpose()?,
        reason: body.reason.unwrap_or_else(|| "granted by the merchant".into()),
        idempotency_key,
    };
    let subject = engine::Subject::Named(body.customer);
    let grant = app.engine.credits_grant(&subject, request, &act).await?;
    Ok((StatusCode::CREATED, Json(grant.into())))
}

fn parse_time(text: &str) -> Result<Timestamp, Problem> {
    match text.parse::<jiff::Timestamp>() {
        Ok(at) => Ok(Timestamp::from_micros(at.as_microsecond())),
        Err(_) => {
            let detail = "expires_at must be RFC 3339, such as 2027-01-31T00:00:00Z";
            Err(Problem::new(Code::InvalidRequest, detail).on("expires_at"))
        }
    }
}

/// Whose ledger, of which unit.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EntryParams {
    /// The customer's id or external id; left out with an end-user token.
    customer: Option<String>,
    /// `credits` unless given.
    unit: Option<String>,
    /// How many at most, from 1 to 100; 20 unless given.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// List a customer's ledger, newest first
#[utoipa::path(
    get, path = "/v1/credits/entries", tag = "credits", operation_id = "credits_entries",
    params(EntryParams),
    responses((status = 200, description = "One page", body = ListView<EntryView>)),
)]
pub async fn entries(
    State(app): State<App>,
    caller: Caller,
    Params(params): Params<EntryParams>,
) -> Result<Json<ListView<EntryView>>, Problem> {
    let subject = caller.subject(&app, params.customer.as_deref()).await?;
    let page = engine::Page::new(params.limit, params.cursor)?;
    let unit = unit_or_default(params.unit);
    let listed = app.engine.credits_entries(&subject, &unit, page).await?;
    Ok(Json(ListView::of(listed, EntryView::from)))
}

/// Spend credits at once
#[utoipa::path(
    post, path = "/v1/credits/consume", tag = "credits", operation_id = "credits_consume",
    request_body = ConsumeBody,
    params(("Idempotency-Key" = Option<String>, Header, description = "Repeat safely")),
    responses(
        (
            status = 200, description = "Spent", body = ReceiptView,
            headers(("Idempotent-Replayed", description = "`true` for a repeated request")),
        ),
        (status = 402, description = "Too few: `required`, `available`, `offers`"),
    ),
)]
pub async fn consume(
    State(app): State<App>,
    caller: Caller,
    IdempotencyKey(idempotency_key): IdempotencyKey,
    Body(body): Body<ConsumeBody>,
) -> Result<(HeaderMap, Json<ReceiptView>), Problem> {
    let subject = caller.subject(&app, body.customer.as_deref()).await?;
    let request = ConsumeRequest {
        amount: body.amount,
        unit: unit_or_default(body.unit),
        reference: body.reference,
        idempotency_key,
    };
    let receipt = app.engine.credits_consume(&subject, request).await?;
    let mut headers = HeaderMap::new();
    if receipt.replayed {
        headers.insert("idempotent-replayed", HeaderValue::from_static("true"));
    }
    let view = ReceiptView {
        consumed: receipt.consumed,
        unit: receipt.balance.unit.clone(),
        remaining: receipt.balance.total,
        balance: receipt.balance.into(),
    };
    Ok((headers, Json(view)))
}

/// Reserve credits for work whose price is unknown until it is done
#[utoipa::path(
    post, path = "/v1/credits/holds", tag = "credits", operation_id = "credits_hold",
    request_body = HoldNewBody,
    params(("Idempotency-Key" = Option<String>, Header, description = "Repeat safely")),
    responses(
        (status = 201, description = "Held", body = HoldView),
        (status = 402, description = "Too few: `required`, `available`, `offers`"),
    ),
)]
pub async fn hold(
    State(app): State<App>,
    caller: Caller,
    IdempotencyKey(idempotency_key): IdempotencyKey,
    Body(body): Body<HoldNewBody>,
) -> Result<(StatusCode, Json<HoldView>), Problem> {
    let subject = caller.subject(&app, body.customer.as_deref()).await?;
    let request = HoldRequest {
        amount: body.amount,
        unit: unit_or_default(body.unit),
        expires_in: body.expires_in,
        reference: body.reference,
        idempotency_key,
    };
    let hold = app.engine.credits_hold(&subject, request).await?;
    Ok((StatusCode::CREATED, Json(hold.into())))
}

/// One hold
#[utoipa::path(
    get, path = "/v1/credits/holds/{id}", tag = "credits", operation_id = "credits_hold_get",
    params(("id" = String, Path), super::CustomerParams),
    responses((status = 200, description = "The hold", body = HoldView)),
)]
pub async fn hold_get(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Params(params): Params<super::CustomerParams>,
) -> Result<Json<HoldView>, Problem> {
    let subject = caller.subject(&app, params.customer.as_deref()).await?;
    Ok(Json(app.engine.credits_hold_get(&subject, &id).await?.into()))
}

/// Spend a hold, or a part of it
#[utoipa::path(
    post, path = "/v1/credits/holds/{id}/capture", tag = "credits",
    operation_id = "credits_capture", request_body = CaptureBody,
    params(("id" = String, Path)),
    responses((status = 200, description = "Captured", body = HoldView)),
)]
pub async fn capture(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Body(body): Body<CaptureBody>,
) -> Result<Json<HoldView>, Problem> {
    let subject = caller.subject(&app, body.customer.as_deref()).await?;
    let hold = app.engine.credits_capture(&subject, &id, body.amount).await?;
    Ok(Json(hold.into()))
}

/// Give a hold back unspent
#[utoipa::path(
    post, path = "/v1/credits/holds/{id}/release", tag = "credits",
    operation_id = "credits_release", request_body = CustomerBody,
    params(("id" = String, Path)),
    responses((status = 200, description = "Released", body = HoldView)),
)]
pub async fn release(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Body(body): Body<CustomerBody>,
) -> Result<Json<HoldView>, Problem> {
    let subject = caller.subject(&app, body.customer.as_deref()).await?;
    Ok(Json(app.engine.credits_release(&subject, &id).await?.into()))
}
