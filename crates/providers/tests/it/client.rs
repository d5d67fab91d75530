//! Calls out: what every one carries, what is retried, and what each answer means.

use std::time::{Duration, Instant};

use providers::errors::{ClientError, ProviderError};
use providers::stripe::customers::CustomerNew;
use providers::stripe::{API_VERSION, Client, Settings};
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::double::{Asked, Double, Reply, client, ok, status};

const CUSTOMER: CustomerNew<'_> =
    CustomerNew { id: "cus_ours", email: Some("a+b@example.test"), name: None };

fn refusal(kind: &str, code: &str, param: &str) -> Value {
    json!({"error": {"type": kind, "code": code, "param": param, "message": "no", "doc_url": ""}})
}

#[tokio::test]
async fn pitfall_051_every_call_carries_key_version_and_secret() {
    let double =
        Double::start([ok(json!({"id": "cus_1"})), ok(json!({"object": "balance"}))]).await;
    let client = double.client(0);
    assert_eq!(client.customer_create(&CUSTOMER, "cus_ours:create").await.unwrap(), "cus_1");
    client.probe().await.unwrap();
    let asked = double.asked();
    let create = &asked[0];
    assert_eq!((create.method.as_str(), create.path.as_str()), ("POST", "/v1/customers"));
    assert_eq!(create.header("idempotency-key"), Some("cus_ours:create"));
    assert_eq!(create.header("content-type"), Some("application/x-www-form-urlencoded"));
    assert_eq!(create.field("email"), Some("a+b@example.test"));
    assert_eq!(create.field("metadata[tollgate_customer]"), Some("cus_ours"));
    assert_eq!(create.field("name"), None);
    assert_eq!((asked[1].method.as_str(), asked[1].path.as_str()), ("GET", "/v1/balance"));
    assert_eq!(asked[1].header("idempotency-key"), None);
    for request in &asked {
        assert_eq!(request.header("stripe-version"), Some(API_VERSION));
        assert_eq!(request.header("authorization"), Some("Bearer sk_test_hidden"));
        assert!(request.header("user-agent").unwrap().starts_with("tollgate/"));
    }
    assert!(!format!("{client:?}").contains("hidden"));
}

#[tokio::test]
async fn pitfall_091_passing_failures_are_retried_with_the_same_key() {
    let lock = refusal("invalid_request_error", "lock_timeout", "");
    for failures in [
        [
            status(409, refusal("idempotency_error", "idempotency_key_in_use", "")),
            status(429, lock),
        ],
        [status(500, json!({})), status(503, Value::Null)],
        [status(429, refusal("rate_limit_error", "rate_limit", "")), status(502, json!("html"))],
        [
            status(400, json!({})).header("stripe-should-retry", "true"),
            status(409, json!({})).header("retry-after", "1"),
        ],
    ] {
        let replies = failures.into_iter().chain([ok(json!({"id": "cus_1"}))]);
        let double = Double::start(replies).await;
        let started = Instant::now();
        let id = double.client(2).customer_create(&CUSTOMER, "key_1").await;
        assert_eq!(id.as_deref(), Ok("cus_1"));
        let asked = double.asked();
        assert_eq!(asked.len(), 3);
        let same = |request: &Asked| {
            request.header("idempotency-key") == Some("key_1") && request.form == asked[0].form
        };
        assert!(asked.iter().all(same));
        assert!(Duration::from_millis(750) <= started.elapsed(), "{:?}", started.elapsed());
    }
}

#[tokio::test]
async fn refusals_are_final() {
    let cases = [
        status(400, refusal("invalid_request_error", "parameter_unknown", "foo")),
        status(402, refusal("card_error", "card_declined", "")),
        status(404, refusal("invalid_request_error", "resource_missing", "id")),
        status(401, refusal("invalid_request_error", "", "")),
        status(500, json!({})).header("stripe-should-retry", "false"),
        status(302, json!({})).header("location", "http://127.0.0.1:1/"),
    ];
    for reply in cases {
        let code = reply.status;
        let double = Double::start([reply]).await;
        assert!(double.client(3).customer_create(&CUSTOMER, "key_1").await.is_err());
        assert_eq!(double.asked().len(), 1, "{code}");
    }
}

#[tokio::test]
async fn retries_end_and_name_what_is_left() {
    let busy = || status(409, json!({}));
    let double = Double::start([busy(), busy(), busy(), busy()]).await;
    let answer = double.client(1).customer_create(&CUSTOMER, "key_1").await;
    assert_eq!(answer, Err(ProviderError::Busy));
    assert_eq!(double.asked().len(), 2);
}

#[tokio::test]
async fn a_key_that_is_refused_after_a_lost_answer_refuses_nothing() {
    for (lost, is_known) in [(503, false), (429, true)] {
        let double = Double::start([status(lost, json!({})), status(401, json!({}))]).await;
        let answer = double.client(1).customer_create(&CUSTOMER, "key_1").await;
        assert_eq!(double.asked().len(), 2);
        assert_eq!(answer == Err(ProviderError::Unauthorized), is_known, "{lost} {answer:?}");
        assert_eq!(matches!(answer, Err(ProviderError::Unknown { .. })), !is_known);
    }
}

#[tokio::test]
async fn every_refusal_has_a_name() {
    let declined = json!({"error": {"type": "card_error", "code": "card_declined",
        "decline_code": "insufficient_funds", "message": "Your card has insufficient funds."}});
    let message = || "no".to_owned();
    let cases = [
        (
            status(402, declined),
            ProviderError::Declined {
                code: Some("card_declined".to_owned()),
                decline_code: Some("insufficient_funds".to_owned()),
                message: "Your card has insufficient funds.".to_owned(),
            },
        ),
        (
            status(404, refusal("invalid_request_error", "resource_missing", "id")),
            ProviderError::NotFound { object: "customers".to_owned(), message: message() },
        ),
        (
            status(400, refusal("invalid_request_error", "resource_missing", "customer")),
            ProviderError::NotFound { object: "customer".to_owned(), message: message() },
        ),
        (
            status(400, refusal("idempotency_error", "", "")),
            ProviderError::Refused { status: 400, code: None, param: None, message: message() },
        ),
        (status(401, json!({})), ProviderError::Unauthorized),
        (status(403, refusal("invalid_request_error", "", "")), ProviderError::Unauthorized),
        (status(429, json!({})), ProviderError::RateLimited),
        (status(429, refusal("", "lock_timeout", "")), ProviderError::Busy),
        (status(409, json!({})), ProviderError::Busy),
        (
            status(503, json!({})),
            ProviderError::Failed {
                status: 503,
                message: "status 503 without a message".to_owned(),
            },
        ),
    ];
    for (reply, expected) in cases {
        let double = Double::start([reply]).await;
        let answer = double.client(0).customer_create(&CUSTOMER, "key_1").await;
        assert_eq!(answer, Err(expected));
    }
}

#[tokio::test]
async fn no_answer_is_unknown_and_odd_answers_are_malformed() {
    let slow = Reply { delay: Duration::from_secs(5), ..ok(json!({"id": "cus_1"})) };
    let double = Double::start([slow]).await;
    let client_in_a_hurry = double.client_with(0, Duration::from_millis(100));
    let answer = client_in_a_hurry.customer_create(&CUSTOMER, "key_1").await;
    assert!(matches!(answer, Err(ProviderError::Unknown { .. })), "{answer:?}");
    assert!(answer.is_err_and(|error| error.is_retryable()));

    // Port 9 of the loopback is discarded or closed: nobody answers there.
    let nobody = client("http://127.0.0.1:9", 0, Duration::from_secs(2));
    let answer = nobody.probe().await;
    assert!(matches!(answer, Err(ProviderError::Unknown { .. })), "{answer:?}");

    for body in [json!({}), json!([]), json!({"id": 5}), Value::Null] {
        let double = Double::start([ok(body)]).await;
        let answer = double.client(0).customer_create(&CUSTOMER, "key_1").await;
        assert!(matches!(answer, Err(ProviderError::Malformed(_))), "{answer:?}");
    }
}

#[tokio::test]
async fn a_lost_connection_is_retried() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut requests = Vec::new();
        for answer in
            [&b""[..], b"HTTP/1.1 200 OK\r\ncontent-length: 15\r\n\r\n{\"id\":\"cus_1\"}\n"]
        {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut seen = vec![0; 4096];
            let length = socket.read(&mut seen).await.unwrap();
            requests.push(String::from_utf8_lossy(&seen[..length]).into_owned());
            socket.write_all(answer).await.unwrap();
        }
        requests
    });
    let answer = client(&base, 1, Duration::from_secs(5)).customer_create(&CUSTOMER, "key_7").await;
    assert_eq!(answer.as_deref(), Ok("cus_1"));
    let requests = server.await.unwrap();
    assert!(requests.iter().all(|request| request.contains("idempotency-key: key_7")));
}

#[tokio::test]
async fn bad_keys_and_settings_are_named() {
    let double = Double::start([]).await;
    let answer = double.client(0).customer_create(&CUSTOMER, "a\nb").await;
    assert!(matches!(answer, Err(ProviderError::Unsendable(_))));
    assert!(double.asked().is_empty());
    let settings = |key: &str, base: &str| {
        Client::new(Settings {
            secret_key: SecretString::from(key),
            api_base: base.to_owned(),
            timeout: Duration::from_secs(1),
            max_retries: 0,
        })
    };
    for base in ["", "127.0.0.1:80", "ftp://127.0.0.1", "http://127.0.0.1/?a=b"] {
        assert!(matches!(settings("sk_test", base), Err(ClientError::Base(_))), "{base}");
    }
    for key in ["", "sk\n"] {
        let refused = settings(key, "http://127.0.0.1");
        assert!(matches!(refused, Err(ClientError::Key)), "{key:?}");
    }
}
