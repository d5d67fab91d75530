//! HTTP as a client of the server sees it: a status, headers, and a body that is usually JSON.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::Value;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// What the server answered.
#[derive(Debug, Clone)]
pub struct Answer {
    pub request: String,
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
}

impl Answer {
    /// The body as JSON, `null` where it is not.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }

    /// The body, provided that the status is the expected one.
    pub fn expect(self, status: u16) -> Result<Value> {
        if self.status != status {
            bail!("{}: expected {status}, not {}: {}", self.request, self.status, self.text);
        }
        Ok(self.json())
    }

    /// The stable error code of a problem document.
    pub fn code(&self) -> String {
        text_at(&self.json(), "/code")
    }
}

/// A client of one base address with one bearer token, or none.
#[derive(Debug, Clone)]
pub struct Api {
    http: Client,
    pub base: String,
    pub bearer: Option<String>,
}

impl Api {
    pub fn new(base: &str, bearer: Option<&str>) -> Result<Self> {
        // Only loopback is spoken to, in clear text; the provider is installed because the client
        // refuses to be built without one, and a second installation changes nothing.
        let _already_installed = rustls::crypto::ring::default_provider().install_default();
        let http = Client::builder()
            .timeout(REQUEST_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()?;
        Ok(Self { http, base: base.to_string(), bearer: bearer.map(str::to_string) })
    }

    /// The same address as somebody else.
    pub fn with_bearer(&self, bearer: Option<&str>) -> Self {
        Self { bearer: bearer.map(str::to_string), ..self.clone() }
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let address = if path.starts_with("http") {
            path.to_string()
        } else {
            format!("{}{path}", self.base)
        };
        let request = self.http.request(method, address);
        match &self.bearer {
            Some(bearer) => request.bearer_auth(bearer),
            None => request,
        }
    }

    pub async fn send(&self, request: RequestBuilder) -> Result<Answer> {
        let request = request.build()?;
        let shown = format!("{} {}", request.method(), request.url());
        let response = self.http.execute(request).await.with_context(|| shown.clone())?;
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let bytes = response.bytes().await?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Ok(Answer { request: shown, status, headers, text })
    }

    pub async fn get(&self, path: &str) -> Result<Answer> {
        self.send(self.request(Method::GET, path)).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Result<Answer> {
        self.send(self.request(Method::POST, path).json(body)).await
    }

    pub async fn post_form(&self, path: &str, form: &[(&str, &str)]) -> Result<Answer> {
        self.send(self.request(Method::POST, path).form(form)).await
    }

    pub async fn delete(&self, path: &str) -> Result<Answer> {
        self.send(self.request(Method::DELETE, path)).await
    }
}

/// The text at a JSON pointer, empty where there is none.
pub fn text_at(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_string()
}

/// The integer at a JSON pointer.
pub fn number_at(value: &Value, pointer: &str) -> Result<i64> {
    let found = value.pointer(pointer).and_then(Value::as_i64);
    found.with_context(|| format!("no integer at {pointer} in {value}"))
}

/// The list at a JSON pointer.
pub fn list_at<'a>(value: &'a Value, pointer: &str) -> Result<&'a Vec<Value>> {
    let found = value.pointer(pointer).and_then(Value::as_array);
    found.with_context(|| format!("no list at {pointer} in {value}"))
}

/// Asks again until the answer is there; what is waited for names the failure.
pub async fn eventually<T>(
    what: &str,
    mut ask: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    const ATTEMPTS: u32 = 300;
    const PAUSE: Duration = Duration::from_millis(50);
    for _ in 0..ATTEMPTS {
        if let Some(found) = ask().await? {
            return Ok(found);
        }
        tokio::time::sleep(PAUSE).await;
    }
    bail!("still not so after {:?}: {what}", PAUSE * ATTEMPTS)
}
