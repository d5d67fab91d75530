//! Stripe: a thin client of its API, and the reading of its webhooks.
//!
//! It asks in one pinned API version and reads the shapes of all versions since 2020-08-27.

use std::time::Duration;

use reqwest::Method;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use crate::errors::{ClientError, ProviderError};
use form::Form;
use transport::Transport;
pub use transport::{Answerer, Answering, Request, Response};

mod accounts;
mod cancellations;
pub mod checkout_sessions;
pub mod customers;
mod disputes;
pub mod events;
mod fields;
mod form;
pub mod invoices;
pub mod lists;
mod outcomes;
mod payments;
pub mod plan_changes;
mod portal;
pub mod products;
pub mod refunds;
mod schedules;
pub mod subscriptions;
pub(crate) mod transport;
pub mod webhook;
pub mod webhook_endpoints;

/// The version every outgoing call is made in, whatever the account's default is.
pub const API_VERSION: &str = "2026-10-28.endive";

/// Where the API is unless the settings say otherwise.
pub const API_BASE: &str = "https://api.stripe.com";

const MAX_KEY_CHARACTERS: usize = 255;
const MAX_ID_CHARACTERS: usize = 255;
const FIRST_PAUSE_MS: u64 = 500;
const LONGEST_PAUSE_MS: u64 = 8_000;
/// A longer wait that the provider asks for is the caller's to schedule.
const LONGEST_RETRY_AFTER_SECONDS: u64 = 60;
/// Lists are followed this far; a page holds a hundred.
const MAX_PAGES: usize = 100;

/// What a client needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    pub secret_key: SecretString,
    pub api_base: String,
    /// For one attempt, from connecting to the last byte of the answer.
    pub timeout: Duration,
    pub max_retries: u32,
}

/// A connection pool with the key and the version set. Clones share the pool.
#[derive(Debug, Clone)]
pub struct Client {
    transport: Transport,
    headers: HeaderMap,
    max_retries: u32,
    is_restricted: bool,
}

/// One request as often as it has to be sent: retries keep the key.
struct Call {
    method: Method,
    path: String,
    body: Option<String>,
    key: Option<HeaderValue>,
}

/// What came back, before anybody judges it.
struct Answer {
    status: u16,
    should_retry: Option<bool>,
    retry_after: Option<Duration>,
    body: Vec<u8>,
}

impl Client {
    /// Checks the settings; connects to nothing yet.
    pub fn new(settings: Settings) -> Result<Client, ClientError> {
        let base = settings.api_base.trim_end_matches('/');
        let address = reqwest::Url::parse(base)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.query().is_none())
            .ok_or_else(|| ClientError::Base(settings.api_base.clone()))?;
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            return Err(ClientError::TlsMissing);
        }
        // Redirects would carry the key to another host, and no call of ours is ever redirected.
        let mut http = reqwest::Client::builder()
            .user_agent(concat!("tollgate/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .timeout(settings.timeout);
        if is_loopback(&address) {
            http = http.no_proxy();
        }
        let headers = common_headers(&settings.secret_key)?;
        let http = http.build().map_err(ClientError::Http)?;
        let transport = Transport::Network { http, base: base.to_owned() };
        let is_restricted = is_restricted(&settings.secret_key);
        Ok(Client { transport, headers, max_retries: settings.max_retries, is_restricted })
    }

    /// A client whose requests never leave the process, and are never repeated.
    pub fn in_process(key: &SecretString, answerer: Answerer) -> Result<Client, ClientError> {
        let transport = Transport::Process(answerer);
        let headers = common_headers(key)?;
        Ok(Client { transport, headers, max_retries: 0, is_restricted: is_restricted(key) })
    }

    /// Proves that the key works, by the cheapest call there is.
    pub async fn probe(&self) -> Result<(), ProviderError> {
        self.get("/v1/balance", Form::new()).await.map(drop)
    }

    async fn get(&self, path: &str, query: Form) -> Result<Value, ProviderError> {
        let query = query.encode();
        let path = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
        self.send(Call { method: Method::GET, path, body: None, key: None }).await
    }

    async fn post(&self, path: &str, form: Form, key: &str) -> Result<Value, ProviderError> {
        let (path, body) = (path.to_owned(), Some(form.encode()));
        let key = Some(idempotency_key(key)?);
        self.send(Call { method: Method::POST, path, body, key }).await
    }

    async fn delete(&self, path: &str, key: &str) -> Result<Value, ProviderError> {
        let path = path.to_owned();
        let key = Some(idempotency_key(key)?);
        self.send(Call { method: Method::DELETE, path, body: None, key }).await
    }

    /// Everything a list holds, page after page, and whether that was really everything.
    async fn list(&self, path: &str, query: &Form) -> Result<(Vec<Value>, bool), ProviderError> {
        let mut all: Vec<Value> = Vec::new();
        for _ in 0..MAX_PAGES {
            let mut page = query.clone().with("limit", "100");
            if let Some(last) = all.last().and_then(|object| fields::text(object, "/id")) {
                page = page.with("starting_after", &last);
            }
            let answer = self.get(path, page).await?;
            let (objects, complete) = fields::list(&answer, "");
            let stuck = objects.is_empty() || !objects.iter().all(fields::has_id);
            all.extend_from_slice(objects);
            if complete || stuck {
                return Ok((all, complete));
            }
        }
        Ok((all, false))
    }

    async fn send(&self, call: Call) -> Result<Value, ProviderError> {
        let mut attempt = 0;
        let mut is_doubtful = false;
        loop {
            let answer = self.exchange(&call).await;
            let again = outcomes::worth_retrying(&answer);
            if self.max_retries <= attempt || !again {
                return match outcomes::outcome(&call.path, answer) {
                    // A key that is refused now says nothing about what was asked before.
                    Err(ProviderError::Unauthorized) if is_doubtful => {
                        let cause = "the api key was refused after a request without an answer";
                        Err(ProviderError::Unknown { cause: cause.to_owned() })
                    }
                    outcome => outcome,
                };
            }
            is_doubtful |= call.key.is_some() && outcomes::may_have_happened(&answer);
            let pause = pause(attempt, answer.as_ref().ok().and_then(|a| a.retry_after));
            tracing::debug!(
                path = %call.path.split('?').next().unwrap_or_default(),
                attempt,
                pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
                "asking the provider again"
            );
            tokio::time::sleep(pause).await;
            attempt += 1;
        }
    }

    async fn exchange(&self, call: &Call) -> Result<Answer, String> {
        let request = Request {
            method: call.method.clone(),
            path: call.path.clone(),
            headers: transport::headers(&self.headers, call.body.as_ref(), call.key.as_ref()),
            body: call.body.clone(),
        };
        let response = self.transport.exchange(request).await?;
        let header = |name: &str| response.headers.get(name).and_then(|v| v.to_str().ok());
        Ok(Answer {
            status: response.status,
            should_retry: header("stripe-should-retry").and_then(|word| word.parse().ok()),
            retry_after: header("retry-after")
                .and_then(|seconds| seconds.trim().parse().ok())
                .filter(|seconds| *seconds <= LONGEST_RETRY_AFTER_SECONDS)
                .map(Duration::from_secs),
            body: response.body,
        })
    }
}

fn common_headers(key: &SecretString) -> Result<HeaderMap, ClientError> {
    let key = key.expose_secret();
    if key.is_empty() {
        return Err(ClientError::Key);
    }
    let mut authorization =
        HeaderValue::from_str(&format!("Bearer {key}")).map_err(|_| ClientError::Key)?;
    authorization.set_sensitive(true);
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, authorization);
    headers.insert("stripe-version", HeaderValue::from_static(API_VERSION));
    Ok(headers)
}

fn is_restricted(key: &SecretString) -> bool {
    key.expose_secret().starts_with("rk_")
}

fn is_loopback(address: &reqwest::Url) -> bool {
    let host = address.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

fn idempotency_key(key: &str) -> Result<HeaderValue, ProviderError> {
    let length_fits = (1..=MAX_KEY_CHARACTERS).contains(&key.len());
    match HeaderValue::from_str(key) {
        Ok(value) if length_fits => Ok(value),
        _ => Err(ProviderError::Unsendable(format!("{key:?} is no idempotency key"))),
    }
}

/// The address of one object. An id that could leave its place in the path names nothing.
fn object_path(collection: &str, id: &str) -> Result<String, ProviderError> {
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    let dots_only = id.bytes().all(|byte| byte == b'.');
    if id.len() <= MAX_ID_CHARACTERS && id.bytes().all(safe) && !dots_only {
        return Ok(format!("/v1/{collection}/{id}"));
    }
    let id: String = id.chars().take(64).collect();
    Err(ProviderError::NotFound {
        object: collection.to_owned(),
        message: format!("{id:?} is no id"),
    })
}

/// The reason an answer that was a success cannot be used.
fn unreadable(what: &str) -> ProviderError {
    ProviderError::Malformed(format!("{what} is missing"))
}

/// Doubles with each attempt and is spread, so that many callers do not come back together.
fn pause(attempt: u32, retry_after: Option<Duration>) -> Duration {
    let doubled = FIRST_PAUSE_MS.saturating_mul(1_u64 << attempt.min(16)).min(LONGEST_PAUSE_MS);
    let mut noise = [0_u8; 2];
    // Without randomness the pause is only not spread.
    let _ = getrandom::fill(&mut noise);
    let spread = doubled * u64::from(u16::from_le_bytes(noise)) / u64::from(u16::MAX) / 2;
    Duration::from_millis(doubled - spread).max(retry_after.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_are_bounded_and_honour_the_provider() {
        for attempt in [0, 1, 2, 3, 4, 31, u32::MAX] {
            let whole = FIRST_PAUSE_MS.saturating_mul(1 << attempt.min(16)).min(LONGEST_PAUSE_MS);
            let pause = pause(attempt, None).as_millis();
            assert!(u128::from(whole / 2) <= pause && pause <= u128::from(whole), "{attempt}");
        }
        assert_eq!(pause(0, Some(Duration::from_secs(30))), Duration::from_secs(30));
    }

    #[test]
    fn ids_stay_in_their_place_in_the_path() {
        assert_eq!(object_path("charges", "py_1-a.B").unwrap(), "/v1/charges/py_1-a.B");
        let long = "a".repeat(256);
        for id in ["", ".", "..", "a/b", "a?b", "a#b", "%2e", "\u{e9}", "a b", "a\n", &long] {
            let refused = object_path("charges", id);
            assert!(matches!(refused, Err(ProviderError::NotFound { .. })), "{id:?}");
        }
    }

    #[test]
    fn keys_are_checked_before_they_are_sent() {
        assert!(idempotency_key("chk_1:create").is_ok());
        for key in ["", "a\r\nb", &"k".repeat(256)] {
            assert!(idempotency_key(key).is_err(), "{key:?}");
        }
    }
}
