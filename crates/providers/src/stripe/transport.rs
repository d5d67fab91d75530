//! How requests leave: over the network, or to a function of this process.
//!
//! The function is the simulation's: it answers without sockets, and is silent when it wants to.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};

use crate::messages::causes;

const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// A request as it is sent.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: Method,
    /// With its query, without the host.
    pub path: String,
    pub headers: HeaderMap,
    pub body: Option<String>,
}

/// What came back, before anybody judges it.
#[derive(Debug, Clone)]
pub struct Response {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

/// The answer that will come, or the reason why nobody knows one.
pub type Answering = Pin<Box<dyn Future<Output = Result<Response, String>> + Send>>;

/// Answers requests inside this process.
pub type Answerer = Arc<dyn Fn(Request) -> Answering + Send + Sync>;

#[derive(Clone)]
pub(super) enum Transport {
    Network { http: reqwest::Client, base: String },
    Process(Answerer),
}

impl fmt::Debug for Transport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Transport::Network { base, .. } => base,
            Transport::Process(_) => "in process",
        })
    }
}

impl Transport {
    /// One request, one answer or the reason for none.
    pub(super) async fn exchange(&self, request: Request) -> Result<Response, String> {
        match self {
            Transport::Network { http, base } => over_the_network(http, base, request).await,
            Transport::Process(answer) => answer(request).await,
        }
    }
}

/// The only function that touches the network.
async fn over_the_network(
    http: &reqwest::Client,
    base: &str,
    request: Request,
) -> Result<Response, String> {
    let address = format!("{base}{}", request.path);
    let mut sent = http.request(request.method, address).headers(request.headers);
    if let Some(body) = request.body {
        sent = sent.body(body);
    }
    let mut answer = sent.send().await.map_err(causes)?;
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(causes)? {
        if MAX_ANSWER_BYTES < body.len() + chunk.len() {
            return Err(format!("the answer is longer than {MAX_ANSWER_BYTES} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Response { status, headers, body })
}

/// The headers of one request: what all carry, and what its body and key need.
pub(super) fn headers(
    common: &HeaderMap,
    body: Option<&String>,
    key: Option<&HeaderValue>,
) -> HeaderMap {
    let mut headers = common.clone();
    if body.is_some() {
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(CONTENT_TYPE, form);
    }
    if let Some(key) = key {
        headers.insert("idempotency-key", key.clone());
    }
    headers
}
