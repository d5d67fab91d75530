//! Stands between an engine and the sandbox: counts what is asked, and breaks what it is told to.

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, Uri};
use axum::response::{IntoResponse, Response};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// What happens to the next request that matches.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// Answered at once, without the provider having heard of it.
    Status(u16),
    /// Refused because of a lock that somebody else holds, by its code.
    LockTimeout,
    /// Refused because a price is not known.
    NoSuchPrice,
    /// Everything happens, and the answer lacks a field.
    Without(&'static str),
    /// Everything happens, and the connection breaks.
    Dropped,
    /// Everything happens, and the answer never comes.
    Silent,
    /// The same, and the provider has forgotten the key by the next time.
    Forgotten,
}

#[derive(Debug, Clone)]
pub struct Asked {
    pub path: String,
    pub key: Option<String>,
    pub body: String,
    pub at: Instant,
}

struct Inner {
    target: String,
    http: reqwest::Client,
    asked: Mutex<Vec<Asked>>,
    faults: Mutex<VecDeque<(String, Fault)>>,
    /// Told when something happened whose answer never comes.
    silent: Notify,
}

#[derive(Clone)]
pub struct Proxy {
    pub url: String,
    inner: Arc<Inner>,
}

impl Proxy {
    pub async fn before(target: &str) -> anyhow::Result<Proxy> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let inner = Arc::new(Inner {
            target: target.to_owned(),
            http: reqwest::Client::new(),
            asked: Mutex::new(Vec::new()),
            faults: Mutex::new(VecDeque::new()),
            silent: Notify::new(),
        });
        let router = axum::Router::new().fallback(pass).with_state(inner.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Proxy { url, inner })
    }

    /// The next writing request whose path begins so meets this; several are met in order.
    pub fn breaks(&self, path: &str, fault: Fault) {
        self.inner.faults.lock().unwrap().push_back((path.to_owned(), fault));
    }

    /// Every writing request whose path begins so.
    pub fn asked(&self, path: &str) -> Vec<Asked> {
        let asked = self.inner.asked.lock().unwrap();
        asked.iter().filter(|one| one.path.starts_with(path)).cloned().collect()
    }

    /// Waits until something has happened that is never answered.
    pub async fn silent(&self) {
        self.inner.silent.notified().await;
    }
}

async fn pass(
    State(inner): State<Arc<Inner>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let path = uri.path().to_owned();
    let mut fault = None;
    if method != Method::GET {
        let key = headers.get("idempotency-key").map(|key| key.to_str().unwrap().to_owned());
        let body = String::from_utf8_lossy(&body).into_owned();
        let asked = Asked { path, key, body, at: Instant::now() };
        let mut faults = inner.faults.lock().unwrap();
        if faults.front().is_some_and(|(prefix, _)| asked.path.starts_with(prefix)) {
            fault = faults.pop_front().map(|(_, fault)| fault);
        }
        inner.asked.lock().unwrap().push(asked);
    }
    match fault {
        Some(Fault::Status(status)) => return refusal(status, "broken on purpose", ""),
        Some(Fault::LockTimeout) => return refusal(429, "a lock is held", "lock_timeout"),
        Some(Fault::NoSuchPrice) => return no_such_price(),
        _ => {}
    }
    let target = format!("{}{}", inner.target, uri.path_and_query().unwrap());
    let mut request = inner.http.request(method, target).body(body);
    for (name, value) in &headers {
        let is_forgotten = name == "idempotency-key" && matches!(fault, Some(Fault::Forgotten));
        if name != "host" && name != "content-length" && !is_forgotten {
            request = request.header(name, value);
        }
    }
    let answer = request.send().await.unwrap();
    let status = answer.status();
    let bytes = answer.bytes().await.unwrap();
    match fault {
        Some(Fault::Without(field)) => {
            let mut answer: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
            answer.as_object_mut().unwrap().remove(field).unwrap();
            (status, axum::Json(answer)).into_response()
        }
        Some(Fault::Dropped) => {
            let broken = futures::stream::iter([Err::<Bytes, _>(std::io::Error::other("broken"))]);
            (status, Body::from_stream(broken)).into_response()
        }
        Some(Fault::Silent | Fault::Forgotten) => {
            inner.silent.notify_one();
            tokio::time::sleep(Duration::from_secs(600)).await;
            status.into_response()
        }
        _ => (status, bytes).into_response(),
    }
}

fn refusal(status: u16, message: &str, code: &str) -> Response {
    let body =
        serde_json::json!({"error": {"message": message, "code": code, "type": "api_error"}});
    let status = axum::http::StatusCode::from_u16(status).unwrap();
    (status, axum::Json(body)).into_response()
}

fn no_such_price() -> Response {
    let error = serde_json::json!({
        "message": "No such price", "code": "resource_missing", "type": "invalid_request_error",
        "param": "line_items[0][price]",
    });
    let body = serde_json::json!({ "error": error });
    (axum::http::StatusCode::BAD_REQUEST, axum::Json(body)).into_response()
}
