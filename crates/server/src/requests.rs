//! What handlers take from a request: a checked body, query and idempotency key.

use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::{HeaderMap, header, request::Parts};
use domain::codes::Code;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::limits::{API_BODY_BYTES, ID_BYTES, IDEMPOTENCY_KEY_BYTES, read_body};
use crate::problem::Problem;

/// Names under which somebody would send us a card. We never want to have seen one.
const CARD_FIELDS: &[&str] = &["card", "number", "cvc", "card_number", "cvv", "pan"];

/// A JSON body of at most `LIMIT` bytes.
pub struct Body<T, const LIMIT: usize = API_BODY_BYTES>(pub T);

impl<T, S, const LIMIT: usize> FromRequest<S> for Body<T, LIMIT>
where
    T: DeserializeOwned,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Problem> {
        let is_json = is_json(request.headers());
        let bytes = read_body(request.into_body(), LIMIT).await?;
        if !is_json && !bytes.is_empty() {
            let detail = "the body must be application/json";
            return Err(Problem::new(Code::UnsupportedMediaType, detail));
        }
        // Where every member is optional, no body at all says as much as an empty object.
        let text = if bytes.is_empty() { b"{}" } else { bytes.as_ref() };
        let value: Value = serde_json::from_slice(text).map_err(|error| {
            let detail = format!("the body is not json: {error}");
            Problem::new(Code::InvalidJson, detail)
        })?;
        // A list would be read as the members of a struct, by their order.
        if !value.is_object() {
            return Err(Problem::new(Code::InvalidRequest, "the body must be a json object"));
        }
        refuse_unwanted(&value)?;
        let body = serde_path_to_error::deserialize(value).map_err(|error| {
            let path = error.path().to_string();
            let problem = Problem::new(Code::InvalidRequest, error.into_inner().to_string());
            if path == "." { problem } else { problem.on(path) }
        })?;
        Ok(Self(body))
    }
}

/// What a page's form sends.
pub struct Form<T>(pub T);

impl<T, S> FromRequest<S> for Form<T>
where
    T: DeserializeOwned,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let bytes = read_body(body, API_BODY_BYTES).await?;
        if bytes.contains(&0) || bytes.windows(3).any(|part| part == b"%00") {
            return Err(has_nul("form"));
        }
        let request = Request::from_parts(parts, bytes.into());
        match axum::Form::<T>::from_request(request, state).await {
            Ok(form) => Ok(Self(form.0)),
            Err(_) => Err(Problem::new(Code::InvalidRequest, "the form cannot be read")),
        }
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default().trim();
    let essence = essence.to_ascii_lowercase();
    essence == "application/json"
        || (essence.starts_with("application/") && essence.ends_with("+json"))
}

/// No text may hold U+0000, which some databases cannot keep.
pub fn has_nul(place: &str) -> Problem {
    Problem::new(Code::InvalidRequest, format!("the {place} must not hold the character U+0000"))
}

/// Refuses cards and U+0000, however deep: the parser itself bounds the depth.
fn refuse_unwanted(value: &Value) -> Result<(), Problem> {
    match value {
        Value::String(text) if text.contains('\0') => Err(has_nul("body")),
        Value::Array(items) => items.iter().try_for_each(refuse_unwanted),
        Value::Object(members) => members.iter().try_for_each(|(name, member)| {
            if CARD_FIELDS.contains(&name.as_str()) {
                let detail = "card data must never be sent here: it belongs on the provider's page";
                return Err(Problem::new(Code::CardNumberRefused, detail).on(name.clone()));
            }
            if name.contains('\0') {
                return Err(has_nul("body"));
            }
            refuse_unwanted(member)
        }),
        _ => Ok(()),
    }
}

/// Refuses what cannot be an id of its kind before anything is looked up.
pub fn check_prefix(param: &'static str, id: &str, prefix: &str) -> Result<(), Problem> {
    let rest = id.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('_'));
    let fits = rest.is_some_and(|rest| {
        !rest.is_empty()
            && id.len() <= ID_BYTES
            && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    });
    if fits {
        return Ok(());
    }
    Err(Problem::new(Code::InvalidId, format!("{param} must begin with {prefix}_")).on(param))
}

/// A query string, with our kind of refusal.
pub struct Params<T>(pub T);

impl<T, S> FromRequestParts<S> for Params<T>
where
    T: DeserializeOwned,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let query = Query::<T>::try_from_uri(&parts.uri).map_err(|rejection| {
            let text = rejection.body_text();
            let reason = text.split_once("string: ").map_or(text.as_str(), |(_, reason)| reason);
            Problem::new(Code::InvalidRequest, format!("the query cannot be read: {reason}"))
        })?;
        Ok(Self(query.0))
    }
}

/// The `Idempotency-Key` header, if there is one.
pub struct IdempotencyKey(pub Option<String>);

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let Some(value) = parts.headers.get("idempotency-key") else {
            return Ok(Self(None));
        };
        match value.to_str() {
            Ok(key) if (1..=IDEMPOTENCY_KEY_BYTES).contains(&key.len()) => {
                Ok(Self(Some(key.to_owned())))
            }
            _ => {
                let detail =
                    format!("the key must be 1 to {IDEMPOTENCY_KEY_BYTES} visible characters");
                Err(Problem::new(Code::InvalidRequest, detail).on("Idempotency-Key"))
            }
        }
    }
}
