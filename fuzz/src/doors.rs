//! The sandbox's router without a socket: one call in, one answer out.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use anyhow::{Result, ensure};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use serde_json::Value;
use tower::ServiceExt;

const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// One account of a sandbox.
pub struct Door {
    router: Router,
    key: String,
}

pub struct Answer {
    pub status: u16,
    pub body: Value,
    pub replayed: bool,
}

pub type Pairs = Vec<(String, String)>;

impl Door {
    pub async fn open() -> Result<Door> {
        // Without a server nobody else has installed one; a second installation changes nothing.
        let _already_installed = rustls::crypto::ring::default_provider().install_default();
        let sandbox = sandbox::start(sandbox::Config {
            listener: tokio::net::TcpListener::bind("127.0.0.1:0").await?,
            reach: sandbox::Reach::ThisMachine,
            data: None,
            offset: Arc::new(AtomicI64::new(0)),
            secret_key: None,
            after_advance: None,
        })
        .await?;
        Ok(Door { router: sandbox.router(), key: sandbox::SECRET_KEY.to_owned() })
    }

    /// The same sandbox as somebody else.
    pub fn account(&self, name: u64) -> Door {
        Door { router: self.router.clone(), key: format!("sk_test_fuzz{name}") }
    }

    pub async fn get(&self, path: &str, query: &Pairs) -> Result<Answer> {
        let query = encoded(query);
        self.send("GET", &format!("{path}?{query}"), String::new(), None).await
    }

    pub async fn post(&self, path: &str, form: &Pairs, key: Option<&str>) -> Result<Answer> {
        self.send("POST", path, encoded(form), key).await
    }

    /// An answer with a 5xx is a failure of whatever is being tried.
    pub async fn send(
        &self,
        method: &str,
        address: &str,
        body: String,
        key: Option<&str>,
    ) -> Result<Answer> {
        let kind = match body.starts_with('{') {
            true => "application/json",
            false => "application/x-www-form-urlencoded",
        };
        let mut request = Request::builder()
            .method(method)
            .uri(address)
            .header("authorization", format!("Bearer {}", self.key))
            .header("content-type", kind);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let shown = format!("{method} {address} {body}");
        let response = self.router.clone().oneshot(request.body(Body::from(body))?).await?;
        let status = response.status().as_u16();
        let replayed = response.headers().contains_key("idempotent-replayed");
        let bytes = to_bytes(response.into_body(), MAX_ANSWER_BYTES).await?;
        let text = String::from_utf8_lossy(&bytes);
        ensure!(status < 500, "{shown}: {status}: {text}");
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Ok(Answer { status, body, replayed })
    }
}

pub fn encoded(pairs: &Pairs) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

pub fn pairs(fixed: &[(&str, &str)]) -> Pairs {
    fixed.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}
