//! A provider that answers from a script and remembers what it was asked.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Response};
use providers::stripe::{Client, Settings};
use secrecy::SecretString;
use serde_json::Value;

/// One scripted answer.
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, &'static str)>,
    pub body: String,
    pub delay: Duration,
}

/// One request as it arrived.
#[derive(Debug, Clone)]
pub struct Asked {
    pub method: String,
    pub path: String,
    pub headers: HeaderMap,
    /// The body, or the query of a request without one, with the encoding taken off.
    pub form: Vec<(String, String)>,
}

impl Asked {
    pub fn field(&self, name: &str) -> Option<&str> {
        self.form.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

pub fn ok(body: Value) -> Reply {
    status(200, body)
}

pub fn status(status: u16, body: Value) -> Reply {
    Reply { status, headers: Vec::new(), body: body.to_string(), delay: Duration::ZERO }
}

impl Reply {
    pub fn header(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.push((name, value));
        self
    }
}

#[derive(Default)]
struct Script {
    replies: Mutex<VecDeque<Reply>>,
    asked: Mutex<Vec<Asked>>,
}

pub struct Double {
    script: Arc<Script>,
    base: String,
}

impl Double {
    pub async fn start(replies: impl IntoIterator<Item = Reply>) -> Double {
        // Every test installs it; the first one wins.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let script = Arc::new(Script::default());
        script.replies.lock().expect("no panic holds it").extend(replies);
        let app = axum::Router::new().fallback(answer).with_state(script.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        tokio::spawn(async move { axum::serve(listener, app).await });
        Double { script, base: format!("http://{address}/") }
    }

    pub fn client(&self, max_retries: u32) -> Client {
        self.client_with(max_retries, Duration::from_secs(10))
    }

    pub fn client_with(&self, max_retries: u32, timeout: Duration) -> Client {
        client(&self.base, max_retries, timeout)
    }

    /// Everything asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.script.asked.lock().expect("no panic holds it").clone()
    }
}

pub fn client(base: &str, max_retries: u32, timeout: Duration) -> Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let secret_key = SecretString::from("sk_test_hidden");
    let settings = Settings { secret_key, api_base: base.to_owned(), timeout, max_retries };
    Client::new(settings).expect("the settings are good")
}

async fn answer(State(script): State<Arc<Script>>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.expect("the body arrives");
    let text = if body.is_empty() {
        parts.uri.query().unwrap_or_default().to_owned()
    } else {
        String::from_utf8(body.to_vec()).expect("a form is text")
    };
    script.asked.lock().expect("no panic holds it").push(Asked {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        headers: parts.headers,
        form: decode(&text),
    });
    let reply = script.replies.lock().expect("no panic holds it").pop_front();
    let reply = reply.unwrap_or_else(|| status(418, serde_json::json!({"error": "script over"})));
    tokio::time::sleep(reply.delay).await;
    let mut response = Response::builder().status(reply.status);
    for (name, value) in reply.headers {
        response = response.header(name, value);
    }
    response.body(Body::from(reply.body)).expect("a scripted answer is valid")
}

/// Reads a form by the URL standard's own parser, not by the code under test.
fn decode(text: &str) -> Vec<(String, String)> {
    let url = reqwest::Url::parse(&format!("http://127.0.0.1/?{text}")).expect("a query");
    url.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
}
