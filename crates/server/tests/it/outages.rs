//! What callers and monitors hear while the provider refuses, is silent or forgets, and while the
//! database has no time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::StatusCode;
use providers::stripe;
use serde_json::{Value, json};

use crate::servers::{PROVIDER_KEY, Server, token};

/// What the provider says besides what callers may know.
const INSIDE: &str = "acct_1Inside req_1Inside at /srv/lib/charge.rb:17";

/// A provider that gives every call the same answer, and how often it was asked.
async fn provider(status: u16, body: Value, pause: Duration) -> (stripe::Client, Arc<AtomicUsize>) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let api_base = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let answer = move || async move {
        count.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(pause).await;
        (StatusCode::from_u16(status).unwrap(), body.to_string())
    };
    let router = Router::new().fallback(answer);
    tokio::spawn(async move { axum::serve(listener, router).await });
    let settings = stripe::Settings {
        secret_key: PROVIDER_KEY.into(),
        api_base,
        timeout: Duration::from_millis(500),
        max_retries: 0,
    };
    (stripe::Client::new(settings).unwrap(), asked)
}

fn declined(code: &str, decline_code: &str) -> Value {
    let message = format!("Your card was declined. {INSIDE}");
    let kind = "card_error";
    json!({ "error": {
        "type": kind, "code": code, "decline_code": decline_code, "message": message,
    } })
}

#[tokio::test]
async fn row_44_what_the_provider_refuses_has_a_code_and_a_sentence_of_ours() {
    let broken = json!({ "error": { "type": "api_error", "message": INSIDE } });
    let soon = Duration::ZERO;
    let cases = [
        (402, declined("card_declined", "generic_decline"), soon, 402, "card_declined"),
        (402, declined("card_declined", "insufficient_funds"), soon, 402, "insufficient_funds"),
        (402, declined("expired_card", "expired_card"), soon, 402, "expired_card"),
        (402, declined("processing_error", "processing_error"), soon, 402, "processing_error"),
        (500, broken.clone(), soon, 504, "outcome_unknown"),
        (500, json!(INSIDE), soon, 504, "outcome_unknown"),
        (200, broken, Duration::from_secs(5), 504, "outcome_unknown"),
    ];
    let (shop, _) = Server::with_provider().await;
    for (number, (status, body, pause, expected, code)) in cases.into_iter().enumerate() {
        let (client, _) = provider(status, body.clone(), pause).await;
        let server = shop.asking(client).await;
        let buy = r#"{"email":"alice@example.com","amount_cents":4900}"#;
        let answer =
            server.call("POST", "/payments/checkout", &token(&format!("anna-{number}")), buy).await;
        let told = (answer.status.as_u16(), answer.code());
        assert_eq!(told, (expected, code.to_owned()), "{body}: {}", answer.text);
        assert!(answer.json()["detail"].is_string(), "{}", answer.text);
        for inside in ["acct_", "req_", "/srv", "declined. ", "api_error", "127.0.0.1"] {
            assert!(!answer.text.contains(inside), "{inside}: {}", answer.text);
        }
    }
}

#[tokio::test]
async fn row_47_a_customer_whom_the_provider_forgot_is_told_and_starts_anew() {
    let (server, base) = Server::with_provider().await;
    let anna = token("anna");
    let body = r#"{"email":"alice@example.com","amount_cents":4900}"#;
    let buy = async || server.call("POST", "/payments/checkout", &anna, body).await;
    assert_eq!(buy().await.status, 200);
    let http = server::dev::local_client().unwrap();
    let customers = http.get(format!("{base}/v1/customers")).bearer_auth(PROVIDER_KEY);
    let customers: Value = customers.send().await.unwrap().json().await.unwrap();
    let ids: Vec<&str> =
        customers["data"].as_array().unwrap().iter().filter_map(|it| it["id"].as_str()).collect();
    for id in ids {
        let gone = http.delete(format!("{base}/v1/customers/{id}")).bearer_auth(PROVIDER_KEY);
        assert!(gone.send().await.unwrap().status().is_success(), "{id}");
    }
    let path = "/payments/create-billing-portal-session";
    let refused = server.call("POST", path, &anna, "").await;
    let told = (refused.status.as_u16(), refused.code());
    assert_eq!(told, (404, "customer_not_found".into()), "{}", refused.text);
    let again = buy().await;
    assert_eq!(again.status, 200, "{}", again.text);
}

#[tokio::test]
async fn health_asks_a_silent_provider_once_and_waits_for_nobody() {
    let (client, asked) = provider(200, json!({}), Duration::from_secs(30)).await;
    let server = Server::with_client(client).await;
    let started = Instant::now();
    for _ in 0..100 {
        assert_eq!(server.call("GET", "/health", "", "").await.status, 200);
    }
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(asked.load(Ordering::SeqCst), 1, "a hundred probes are one call");
    let health = server.call("GET", "/health", "", "").await.json();
    assert_eq!((&health["status"], &health["provider"]), (&json!("degraded"), &json!("down")));
}

#[tokio::test]
async fn health_does_not_wait_for_a_database_without_time() {
    let server = Server::start().await;
    let busy = async || {
        let mut busy = Vec::new();
        for _ in 0..4 {
            busy.push(server.engine.store().read("test").await.unwrap());
        }
        busy
    };
    let health = async || {
        let started = Instant::now();
        let health = server.call("GET", "/health", "", "").await;
        assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
        (health.status.as_u16(), health.json()["database"].as_str() == Some("up"))
    };
    // Nobody knows yet whether it is there at all.
    let taken = busy().await;
    assert_eq!(health().await, (503, false));
    drop(taken);
    assert_eq!(health().await, (200, true));
    // It was a moment ago, so it is only busy: no balancer should send the crowd to the next one.
    let taken = busy().await;
    assert_eq!(health().await, (200, true));
    drop(taken);
}
