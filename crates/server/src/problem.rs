//! Errors on the wire: one value, rendered once at the edge, in the shape its route promises.
//!
//! `/v1` speaks problem+json, `/payments` its seeds' `{"detail": …}`, pages speak HTML. Nothing
//! that a database or a provider said reaches the outside.

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use domain::codes::Code;
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

/// The dated version of our API, kept in every response.
pub const API_VERSION: &str = "2026-11-21";
pub const VERSION_HEADER: HeaderName = HeaderName::from_static("tollgate-version");
/// When to try again while the database is busy or away.
const DATABASE_PAUSE_SECONDS: u64 = 1;
const REQUEST_ID_HEADER: HeaderName = HeaderName::from_static("request-id");

/// A refusal or a failure, before it knows which face asked.
#[derive(Debug, Clone)]
pub struct Problem {
    pub code: Code,
    pub detail: String,
    pub param: Option<String>,
    /// Members that only some codes have, such as `required` and `available`.
    pub members: Map<String, Value>,
    pub retry_after_seconds: Option<u64>,
}

impl Problem {
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            param: None,
            members: Map::new(),
            retry_after_seconds: None,
        }
    }

    /// Names the request's field that is to blame.
    pub fn on(mut self, param: impl Into<String>) -> Self {
        self.param = Some(param.into());
        self
    }

    pub fn status(&self) -> StatusCode {
        status(self.code)
    }

    /// When to come back, where that is known.
    pub fn tell_pause(&self, headers: &mut HeaderMap) {
        if let Some(seconds) = self.retry_after_seconds {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
    }

    /// What every face shows.
    fn body(&self) -> Map<String, Value> {
        let mut members = self.members.clone();
        members.insert("code".into(), self.code.as_str().into());
        members.insert("detail".into(), self.detail.clone().into());
        if let Some(param) = &self.param {
            members.insert("param".into(), param.clone().into());
        }
        if let Some(seconds) = self.retry_after_seconds {
            members.insert("retry_after".into(), seconds.into());
        }
        members
    }
}

/// The one table from codes to statuses; `docs/ERRORS.md` repeats it and a test compares them.
pub fn status(code: Code) -> StatusCode {
    let number = match code {
        Code::InvalidJson
        | Code::InvalidReturnUrl
        | Code::InvalidSignature
        | Code::InvalidPayload
        | Code::InvalidHost
        | Code::PriceMismatch
        | Code::PriceNotRecurring
        | Code::PriceNotOneTime => 400,
        Code::Unauthorized | Code::TokenExpired => 401,
        Code::InsufficientCredits
        | Code::CreditsInDebt
        | Code::NotEntitled
        | Code::CardDeclined
        | Code::InsufficientFunds
        | Code::ExpiredCard
        | Code::ProcessingError => 402,
        Code::Forbidden => 403,
        Code::NotFound
        | Code::CustomerNotFound
        | Code::PriceNotFound
        | Code::ProductNotFound
        | Code::SubscriptionNotFound
        | Code::PaymentNotFound
        | Code::HoldNotFound
        | Code::CollectionNotFound => 404,
        Code::MethodNotAllowed => 405,
        Code::PriceInactive
        | Code::AlreadyExists
        | Code::AlreadySubscribed
        | Code::SubscriptionEnded
        | Code::SubscriptionEnding
        | Code::SubscriptionUnpaid
        | Code::ChangePending
        | Code::PaymentNotRefundable
        | Code::IdempotencyConflict
        | Code::HoldClosed
        | Code::HoldExpired
        | Code::EventNotReplayable
        | Code::DeliveryPending
        | Code::TooManyEndpoints => 409,
        Code::PayloadTooLarge => 413,
        Code::UnsupportedMediaType => 415,
        Code::InvalidRequest
        | Code::InvalidAmount
        | Code::InvalidId
        | Code::InvalidVector
        | Code::DimensionMismatch
        | Code::InvalidCursor
        | Code::CardNumberRefused
        | Code::AmountNotForSale
        | Code::CaptureExceedsHold => 422,
        Code::RateLimited => 429,
        Code::Internal => 500,
        Code::ProviderRefused => 502,
        Code::PaymentsDisabled
        | Code::EncryptionKeyMissing
        | Code::ProviderUnavailable
        | Code::DatabaseUnavailable => 503,
        Code::OutcomeUnknown | Code::Timeout => 504,
    };
    StatusCode::from_u16(number).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// Whether the same request, sent again later with the same idempotency key, may end better.
pub fn is_retryable(code: Code) -> bool {
    matches!(
        code,
        Code::RateLimited
            | Code::ProviderUnavailable
            | Code::OutcomeUnknown
            | Code::DatabaseUnavailable
            | Code::Timeout
            | Code::ProcessingError
    )
}

/// The problem travels as an extension; `render` gives it a body.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// How the asked route shows errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Face {
    Api,
    Facade,
    Page,
}

impl Face {
    fn of(request: &Request) -> Self {
        let path = request.uri().path();
        let under = |prefix: &str| path == prefix || path.starts_with(&format!("{prefix}/"));
        if under("/payments") || under("/api") || path == "/health" {
            return Face::Facade;
        }
        let accepts_html = request
            .headers()
            .get(header::ACCEPT)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|accept| accept.contains("text/html"));
        if accepts_html && !under("/v1") {
            return Face::Page;
        }
        Face::Api
    }
}

/// The outermost layer: gives each request an id and each error its shape.
pub async fn render(request: Request, next: Next) -> Response {
    let face = Face::of(&request);
    let request_id = request_id();
    let mut response = next.run(request).await;
    if let Some(problem) = problem_of(&mut response) {
        response = show(&problem, face, &request_id, response);
    }
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&request_id) {
        headers.insert(REQUEST_ID_HEADER, value);
    }
    headers.insert(VERSION_HEADER, HeaderValue::from_static(API_VERSION));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn request_id() -> String {
    let mut bytes = [0_u8; 12];
    match getrandom::fill(&mut bytes) {
        Ok(()) => format!("req_{}", hex::encode(bytes)),
        Err(_) => "req_unknown".into(),
    }
}

/// The problem a handler returned, or one for a bare refusal of the framework itself.
fn problem_of(response: &mut Response) -> Option<Problem> {
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        return Some(problem);
    }
    let status = response.status();
    let content = response.headers().get(header::CONTENT_TYPE);
    let is_bare = content.is_none_or(|value| value.as_bytes().starts_with(b"text/plain"));
    if !is_bare || !(status.is_client_error() || status.is_server_error()) {
        return None;
    }
    let (code, detail) = match status {
        StatusCode::NOT_FOUND => (Code::NotFound, "there is nothing at this address"),
        StatusCode::METHOD_NOT_ALLOWED => {
            (Code::MethodNotAllowed, "this address does not answer this method")
        }
        StatusCode::PAYLOAD_TOO_LARGE => (Code::PayloadTooLarge, "the body is too large"),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => {
            (Code::UnsupportedMediaType, "the body must be application/json")
        }
        StatusCode::GATEWAY_TIMEOUT => (Code::Timeout, "the request took too long"),
        status if status.is_client_error() => {
            (Code::InvalidRequest, "the request cannot be understood")
        }
        _ => (Code::Internal, "something went wrong on our side"),
    };
    Some(Problem::new(code, detail))
}

fn show(problem: &Problem, face: Face, request_id: &str, bare: Response) -> Response {
    let status = problem.status();
    let mut response = match face {
        Face::Page => crate::web::layout::problem_page(status, &problem.detail),
        Face::Facade => json_response(status, "application/json", problem.body()),
        Face::Api => {
            let code = problem.code.as_str();
            let mut members = problem.body();
            members.insert("type".into(), format!("urn:tollgate:error:{code}").into());
            members.insert("title".into(), code.replace('_', " ").into());
            members.insert("status".into(), status.as_u16().into());
            members.insert("request_id".into(), request_id.into());
            members.insert("retryable".into(), is_retryable(problem.code).into());
            json_response(status, "application/problem+json", members)
        }
    };
    let headers = response.headers_mut();
    for name in [header::ALLOW, header::SET_COOKIE] {
        if let Some(value) = bare.headers().get(&name) {
            headers.insert(name, value.clone());
        }
    }
    if status == StatusCode::UNAUTHORIZED {
        let challenge = match problem.code {
            Code::TokenExpired => {
                "Bearer realm=\"tollgate\", error=\"invalid_token\", \
                 error_description=\"the token has expired\""
            }
            _ => "Bearer realm=\"tollgate\"",
        };
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    }
    problem.tell_pause(headers);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn json_response(status: StatusCode, kind: &'static str, members: Map<String, Value>) -> Response {
    let body = Body::from(json!(members).to_string());
    let content = [(header::CONTENT_TYPE, HeaderValue::from_static(kind))];
    (status, content, body).into_response()
}

/// A panic is our bug; the caller learns only that it happened.
pub fn after_panic(_cause: Box<dyn std::any::Any + Send + 'static>) -> Response {
    tracing::error!("a request handler panicked");
    Problem::new(Code::Internal, "something went wrong on our side").into_response()
}

impl From<engine::Failure> for Problem {
    fn from(failure: engine::Failure) -> Self {
        use engine::Failure;
        match failure {
            Failure::Refused { code, detail, param } => {
                Problem { param: param.map(str::to_owned), ..Problem::new(code, detail) }
            }
            Failure::Shortage { unit, required, available, offers } => {
                let detail =
                    format!("{required} {unit} are required and {available} are available");
                let mut problem = Problem::new(Code::InsufficientCredits, detail);
                problem.members.insert("unit".into(), unit.into());
                problem.members.insert("required".into(), required.into());
                problem.members.insert("available".into(), available.into());
                problem.members.insert("offers".into(), offers_json(&offers));
                problem
            }
            Failure::NotEntitled { feature, reason, offers } => {
                let detail = match reason {
                    "not_entitled" => format!("feature {feature} is not unlocked"),
                    reason => format!("feature {feature} is not unlocked: {reason}"),
                };
                let mut problem = Problem::new(Code::NotEntitled, detail);
                problem.members.insert("feature".into(), feature.into());
                problem.members.insert("reason".into(), reason.into());
                problem.members.insert("offers".into(), offers_json(&offers));
                problem
            }
            Failure::RateLimited { retry_after_seconds } => Problem {
                retry_after_seconds: Some(retry_after_seconds),
                ..Problem::new(Code::RateLimited, "too many requests, try again later")
            },
            Failure::Declined { code, message } => Problem::new(code, message),
            Failure::Provider { code, detail } => Problem::new(code, detail),
            Failure::Store(error) => store_problem(&error),
            Failure::Panic => Problem::new(Code::Internal, "something went wrong on our side"),
        }
    }
}

fn store_problem(error: &store::StoreError) -> Problem {
    tracing::error!(error = %error, "the database failed a request");
    if error.is_transient() {
        return Problem {
            retry_after_seconds: Some(DATABASE_PAUSE_SECONDS),
            ..Problem::new(Code::DatabaseUnavailable, "the database cannot be reached")
        };
    }
    Problem::new(Code::Internal, "something went wrong on our side")
}

/// What a customer could buy instead of being refused.
#[derive(Serialize, ToSchema)]
pub struct OfferView {
    price: String,
    /// The product's name.
    product: String,
    /// In the currency's smallest unit.
    amount: i64,
    currency: String,
    interval: Option<&'static str>,
    interval_count: Option<u32>,
}

fn offers_json(offers: &[engine::Offer]) -> Value {
    let offers = offers.iter().map(|offer| {
        let (interval, interval_count) = crate::api::interval_parts(offer.billing);
        json!(OfferView {
            price: offer.price.to_string(),
            product: offer.product.clone(),
            amount: offer.amount.minor(),
            currency: offer.amount.currency().to_string(),
            interval,
            interval_count,
        })
    });
    Value::Array(offers.collect())
}
