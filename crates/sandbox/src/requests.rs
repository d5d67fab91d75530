//! API requests: authentication, form decoding, idempotency, dispatch, answers.

use std::any::Any;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{OriginalUri, State as Shared};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use serde_json::{Map, Value};

use crate::app::App;
use crate::errors::ApiError;
use crate::idempotency::Guard;
use crate::params::Params;
use crate::transactions::{Cause, Tx};
use crate::versions::{self, Version};
use crate::{accounts, expand, forms, ids, routes, test_clocks};

/// One request to the API, decoded.
pub struct Call {
    pub path: String,
    /// The last id in the path; empty where there is none.
    pub id: String,
    /// The id before it.
    pub parent: String,
    pub params: Params,
    /// What the caller wants to see expanded.
    pub expand: Vec<String>,
    /// The version the caller speaks and wants to be answered in.
    pub version: Version,
}

impl Call {
    /// The id in the path; the last one where there are two.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether a path is to be expanded that the handler itself must answer.
    pub fn takes_expansion(&mut self, path: &str) -> bool {
        let asked = self.expand.len();
        self.expand.retain(|wanted| wanted != path);
        self.expand.len() < asked
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Get,
    Post,
    Delete,
}

pub type Handler = fn(&mut Tx<'_>, &mut Call) -> Result<Value, ApiError>;

/// An answer ready to be sent.
struct Answer {
    status: u16,
    body: String,
    replay_of: Option<String>,
}

/// Everything under the API's address, known or not.
pub async fn handle(
    Shared(app): Shared<Arc<App>>,
    method: Method,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let request_id = ids::letters(14);
    let request_id = format!("req_{request_id}");
    let path = uri.path().to_owned();
    let key = header_text(&headers, "idempotency-key");
    let faults = app.faults().api();
    faults.slow().await;
    let result = match (body, faults.refusal()) {
        (Ok(_), Some(refusal)) => Err(refusal),
        (Ok(body), None) => {
            let query = uri.query().unwrap_or_default();
            let raw = Raw { method: &method, path: &path, query, headers: &headers, body: &body };
            answer(&app, raw, &request_id, key.as_deref()).await
        }
        (Err(_), _) => Err(ApiError::too_large()),
    };
    faults.withhold().await;
    let answer = result.unwrap_or_else(|error| refusal(&error, &request_id));
    tracing::debug!(%method, path, status = answer.status, request_id, "sandbox request");
    respond(answer, &request_id, key.as_deref(), &headers)
}

struct Raw<'a> {
    method: &'a Method,
    path: &'a str,
    query: &'a str,
    headers: &'a HeaderMap,
    body: &'a [u8],
}

async fn answer(
    app: &App,
    raw: Raw<'_>,
    request_id: &str,
    key: Option<&str>,
) -> Result<Answer, ApiError> {
    let account = accounts::of_key(&authenticate(raw.headers)?);
    let version = asked_version(raw.headers)?;
    let mut verb = match *raw.method {
        Method::GET => Verb::Get,
        Method::POST => Verb::Post,
        Method::DELETE => Verb::Delete,
        _ => return Err(ApiError::unknown_route(raw.method.as_str(), raw.path)),
    };
    let mut fields = forms::decode(raw.query.as_bytes())?;
    fields.extend(decode_body(&raw)?);
    let mut path = raw.path.to_owned();
    versions::modernise(version, &mut verb, &mut path, &mut fields);
    let (params, expand) = split_expand(fields)?;
    let mut call = Call { path, parent: String::new(), id: String::new(), params, expand, version };
    let handler = routes::find(verb, &mut call)
        .ok_or_else(|| ApiError::unknown_route(raw.method.as_str(), raw.path))?;
    let guard = match (key, raw.method) {
        (Some(key), &Method::POST) => {
            let address = format!("{}?{}", raw.path, raw.query);
            Some(Guard::new(key, raw.method.as_str(), &address, raw.body)?)
        }
        _ => None,
    };
    let cause = Cause {
        request_id: Some(request_id.to_owned()),
        idempotency_key: guard.as_ref().and(key).map(str::to_owned),
    };
    execute(app, &account, &mut call, handler, guard, cause).await
}

/// Runs the handler in one transaction. With a key, the first answer is stored in it too.
async fn execute(
    app: &App,
    account: &str,
    call: &mut Call,
    handler: Handler,
    guard: Option<Guard>,
    cause: Cause,
) -> Result<Answer, ApiError> {
    let request_id = cause.request_id.clone().unwrap_or_default();
    let mut progress = Progress { app, account, scope: None };
    let broken = app.faults().api().kept_refusal().filter(|_| guard.is_some());
    app.run(account, cause, |tx| {
        if let Some(guard) = &guard {
            if let Some(kept) = guard.replay(tx.state)? {
                let replay_of = Some(kept.request_id);
                return Ok(Answer { status: kept.status, body: kept.body, replay_of });
            }
            tx.state.in_progress.insert(guard.scope.clone());
            progress.scope = Some(guard.scope.clone());
        }
        if let Some(instant) = test_clocks::time_of_call(tx.state, call) {
            tx.now = instant;
        }
        let version = call.version;
        if let (Some(error), Some(guard)) = (&broken, &guard) {
            let answer = refusal(error, &request_id);
            guard.keep(tx.state, &request_id, answer.status, &answer.body);
            return Ok(answer);
        }
        let outcome = handler(tx, call)
            .and_then(|value| expand::apply(tx.state, version, value, &call.expand))
            .map_err(|error| error.showing(|value| versions::render(tx.state, version, value)));
        let answer = match outcome {
            Ok(value) => Answer { status: 200, body: value.to_string(), replay_of: None },
            // A decline is an answer like any other: it is kept and given again.
            Err(error) if error.keeps_effects() => refusal(&error, &request_id),
            Err(error) => return Err(error),
        };
        if let Some(guard) = &guard {
            guard.keep(tx.state, &request_id, answer.status, &answer.body);
        }
        Ok(answer)
    })
    .await
}

/// A key that is being used; given back also when the caller hangs up before the answer.
struct Progress<'a> {
    app: &'a App,
    account: &'a str,
    scope: Option<String>,
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        if let Some(scope) = &self.scope {
            self.app.end_progress(self.account, scope);
        }
    }
}

fn decode_body(raw: &Raw<'_>) -> Result<Map<String, Value>, ApiError> {
    if raw.body.is_empty() {
        return Ok(Map::new());
    }
    let kind = header_text(raw.headers, "content-type").unwrap_or_default();
    if !kind.starts_with("application/x-www-form-urlencoded") && !kind.is_empty() {
        let message = format!(
            "Invalid request (check that your POST content type is \
             application/x-www-form-urlencoded): {kind}"
        );
        return Err(ApiError::invalid(message));
    }
    forms::decode(raw.body)
}

fn split_expand(mut fields: Map<String, Value>) -> Result<(Params, Vec<String>), ApiError> {
    let mut expand = Params::new(Map::new());
    if let Some(paths) = fields.remove("expand") {
        expand = Params::new(Map::from_iter([("expand".to_owned(), paths)]));
    }
    let paths = expand.texts("expand")?.unwrap_or_default();
    Ok((Params::new(fields), paths))
}

/// Accounts have no version of their own here: who names none gets the latest.
fn asked_version(headers: &HeaderMap) -> Result<Version, ApiError> {
    match header_text(headers, "stripe-version") {
        Some(name) => Version::named(name.trim()),
        None => Ok(versions::LATEST),
    }
}

/// The account a control is for: that of the key, if one comes along, else the main one.
pub fn account_of(app: &App, headers: &HeaderMap) -> String {
    let key = authenticate(headers).ok();
    key.map_or_else(|| app.main_account.clone(), |key| accounts::of_key(&key))
}

/// The key comes as a bearer token or as the user of basic authentication.
fn authenticate(headers: &HeaderMap) -> Result<String, ApiError> {
    let Some(header) = header_text(headers, "authorization") else {
        return Err(ApiError::unauthorized(
            "You did not provide an API key. You need to provide your API key in the \
             Authorization header, using Bearer auth (e.g. 'Authorization: Bearer \
             YOUR_SECRET_KEY').",
        ));
    };
    let key = match header.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim().to_owned(),
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("basic") => basic_user(token.trim()),
        _ => String::new(),
    };
    let is_test_key = key.starts_with("sk_test_") || key.starts_with("rk_test_");
    if !is_test_key {
        return Err(ApiError::unauthorized(
            "Invalid API Key provided: the sandbox accepts any key that starts with sk_test_.",
        ));
    }
    Ok(key)
}

fn basic_user(token: &str) -> String {
    let decoded = base64::engine::general_purpose::STANDARD.decode(token).unwrap_or_default();
    let text = String::from_utf8(decoded).unwrap_or_default();
    text.split(':').next().unwrap_or_default().to_owned()
}

/// Headers may be UTF-8; what is not is read byte by byte, so that different keys stay different.
fn header_text(headers: &HeaderMap, name: &str) -> Option<String> {
    let bytes = headers.get(name)?.as_bytes();
    let text = String::from_utf8(bytes.to_vec());
    Some(text.unwrap_or_else(|_| bytes.iter().copied().map(char::from).collect()))
}

/// The answer where a handler has panicked.
pub fn panicked(_: Box<dyn Any + Send + 'static>) -> Response {
    let request_id = format!("req_{}", ids::letters(14));
    tracing::error!(request_id, "a handler has panicked");
    let answer = refusal(&ApiError::injected(Some(500)), &request_id);
    respond(answer, &request_id, None, &HeaderMap::new())
}

fn refusal(error: &ApiError, request_id: &str) -> Answer {
    let body = error.body(request_id).to_string();
    Answer { status: error.status(), body, replay_of: None }
}

fn respond(
    answer: Answer,
    request_id: &str,
    key: Option<&str>,
    request_headers: &HeaderMap,
) -> Response {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, answer.body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let mut set = |name: &'static str, value: &str| {
        if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    set("request-id", request_id);
    let version = asked_version(request_headers).unwrap_or(versions::LATEST);
    set("stripe-version", version.name());
    if let Some(key) = key {
        set("idempotency-key", key);
    }
    if let Some(original) = &answer.replay_of {
        set("idempotent-replayed", "true");
        set("original-request", original);
    }
    response
}
