//! A receiver of news on this machine, which answers as it is told and keeps what it got.

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::Value;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// One answer of a receiver.
#[derive(Debug, Clone)]
pub enum Answer {
    Status(u16),
    Redirect(String),
    /// Takes the message and is silent.
    Silence,
}

#[derive(Debug, Clone)]
pub struct Got {
    pub signature: String,
    pub body: String,
}

impl Got {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// Whether one of the signatures was made with that secret: written without our own code.
    pub fn is_signed_with(&self, secret: &str) -> bool {
        let parts: Vec<_> = self.signature.split(',').collect();
        let time = parts[0].strip_prefix("t=").unwrap();
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).unwrap();
        mac.update(format!("{time}.{}", self.body).as_bytes());
        let wanted = format!("v1={}", hex::encode(mac.finalize().into_bytes()));
        parts[1..].contains(&wanted.as_str())
    }
}

#[derive(Default)]
struct Inner {
    got: Mutex<Vec<Got>>,
    answers: Mutex<VecDeque<Answer>>,
}

#[derive(Clone)]
pub struct Receiver {
    pub url: String,
    inner: Arc<Inner>,
}

impl Receiver {
    pub async fn start() -> Receiver {
        let inner = Arc::new(Inner::default());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let router = Router::new().fallback(take).with_state(inner.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Receiver { url, inner }
    }

    /// The next answers; 200 when they are used up.
    pub fn answers(&self, answers: &[Answer]) {
        self.inner.answers.lock().unwrap().extend(answers.iter().cloned());
    }

    pub fn got(&self) -> Vec<Got> {
        self.inner.got.lock().unwrap().clone()
    }

    /// Waits until so many messages have come.
    pub async fn wait_for(&self, count: usize) {
        let arrived = async {
            while self.got().len() < count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(20), arrived).await;
        assert!(waited.is_ok(), "{} of {count} came", self.got().len());
    }
}

async fn take(State(inner): State<Arc<Inner>>, headers: HeaderMap, body: Bytes) -> Response {
    let signature = headers["tollgate-signature"].to_str().unwrap().to_owned();
    let body = String::from_utf8(body.to_vec()).unwrap();
    inner.got.lock().unwrap().push(Got { signature, body });
    let answer = inner.answers.lock().unwrap().pop_front();
    match answer.unwrap_or(Answer::Status(200)) {
        Answer::Status(status) => StatusCode::from_u16(status).unwrap().into_response(),
        Answer::Redirect(to) => {
            (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, to)]).into_response()
        }
        Answer::Silence => std::future::pending().await,
    }
}
