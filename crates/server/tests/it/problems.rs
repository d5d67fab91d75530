//! Errors: one shape per face, one status per code, and the table in `docs/ERRORS.md`.

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::middleware::from_fn;
use axum::routing::get;
use domain::codes::Code;
use server::problem::{is_retryable, status};
use tower::ServiceExt;
use tower_http::catch_panic::CatchPanicLayer;

use crate::servers::{Server, token};

#[test]
fn every_code_is_documented_with_its_status() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/ERRORS.md");
    let text = std::fs::read_to_string(path).unwrap();
    let rows: Vec<Vec<&str>> = text
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect();
    let words: Vec<_> = rows.iter().map(|row| row[0].trim_matches('`')).collect();
    let codes: Vec<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(words, codes, "docs/ERRORS.md lists every code once, in order");
    for (row, code) in rows.iter().zip(Code::ALL) {
        assert_eq!(row[1], status(*code).as_u16().to_string(), "{code:?}");
        assert_eq!(row[4] == "yes", is_retryable(*code), "{code:?}");
    }
}

#[tokio::test]
async fn our_own_api_speaks_problem_json() {
    let server = Server::start().await;
    let answer = server.call("GET", "/v1/nothing", "", "").await;
    assert_eq!(answer.status, 404);
    assert_eq!(answer.header("content-type"), "application/problem+json");
    let body = answer.json();
    for member in ["type", "title", "status", "detail", "code", "request_id", "retryable"] {
        assert!(body.get(member).is_some(), "{member}: {body}");
    }
    assert_eq!(body["request_id"].as_str(), Some(answer.header("request-id")));
    assert_eq!(answer.header("tollgate-version"), server::problem::API_VERSION);
}

#[tokio::test]
async fn the_facade_speaks_detail() {
    let server = Server::start().await;
    let answer = server.call("GET", "/payments/get-user-subscription", "", "").await;
    assert_eq!(answer.status, 401);
    assert_eq!(answer.header("content-type"), "application/json");
    assert!(answer.json()["detail"].is_string());
    let answer = server.call("GET", "/payments/products/", "", "").await;
    assert_eq!((answer.status.as_u16(), answer.code()), (422, "invalid_request".into()));
    let answer = server.call("GET", "/payments/products/?product_type=one_time", "", "").await;
    assert_eq!(answer.json()["products"], serde_json::json!([]));
}

#[tokio::test]
async fn bad_bodies_are_refused_by_name() {
    let server = Server::start().await;
    let anna = token("anna");
    let path = "/v1/credits/consume";
    let cases = [
        ("", 422, "invalid_request", "."),
        ("{", 400, "invalid_json", ""),
        ("[]", 422, "invalid_request", ""),
        ("{\"amount\": NaN}", 400, "invalid_json", ""),
        ("{\"amount\": \"1\"}", 422, "invalid_request", "amount"),
        ("{\"amount\": 1.5}", 422, "invalid_request", "amount"),
        ("{\"amount\": 99999999999999999999}", 422, "invalid_request", "amount"),
        ("{\"amount\": 0}", 422, "invalid_amount", "amount"),
        ("{\"amount\": -3}", 422, "invalid_amount", "amount"),
        ("{\"amount\": 1, \"extra\": 1}", 422, "invalid_request", "extra"),
        ("{\"amount\": 1, \"unit\": \"A B\"}", 422, "invalid_request", "unit"),
        ("{\"amount\": 1, \"card\": {\"number\": \"4242\"}}", 422, "card_number_refused", "card"),
        ("{\"amount\": 1, \"number\": \"4242\"}", 422, "card_number_refused", "number"),
    ];
    for (body, status, code, param) in cases {
        let answer = server.call("POST", path, &anna, body).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (status, code), "{body}");
        if !param.is_empty() && param != "." {
            assert_eq!(answer.json()["param"], param, "{body}: {}", answer.text);
        }
        assert!(!answer.text.contains("4242"), "{}", answer.text);
    }
}

#[tokio::test]
async fn types_sizes_and_bytes_are_checked() {
    let server = Server::start().await;
    let anna = format!("Bearer {}", token("anna"));
    let post = |kind: &str, body: Vec<u8>| {
        let request = Request::post("/v1/credits/consume").header("authorization", &anna);
        request.header("content-type", kind).body(Body::from(body)).unwrap()
    };
    let good = b"{\"amount\":1}".to_vec();
    let mut broken = b"{\"amount\":1,\"reference\":\"".to_vec();
    broken.extend([0xff, 0xfe, b'"', b'}']);
    let deep = "[".repeat(20_000).into_bytes();
    let large = vec![b' '; 10_000_000];
    let cases = [
        (post("text/plain", good.clone()), 415, "unsupported_media_type"),
        (
            post("application/x-www-form-urlencoded", b"amount=1".to_vec()),
            415,
            "unsupported_media_type",
        ),
        (post("application/json; charset=utf-8", good), 402, "insufficient_credits"),
        (post("application/json", broken), 400, "invalid_json"),
        (post("application/json", deep), 400, "invalid_json"),
        (post("application/json", large), 413, "payload_too_large"),
    ];
    for (request, status, code) in cases {
        let answer = server.send(request).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (status, code));
    }
}

#[tokio::test]
async fn odd_addresses_are_answered_in_our_words() {
    let server = Server::start().await;
    let key = server.key.clone();
    let cases = [
        ("GET", "/v1/customers?limit=0", 422, "invalid_request"),
        ("GET", "/v1/customers?limit=x", 422, "invalid_request"),
        ("GET", "/v1/customers?limit=1000", 422, "invalid_request"),
        ("GET", "/v1/customers?cursor=%27--", 422, "invalid_cursor"),
        ("GET", "/v1/customers?sort=name", 422, "invalid_request"),
        ("GET", "/v1/customers/%ff", 422, "invalid_request"),
        ("GET", "/v1/customers/%00", 422, "invalid_request"),
        ("GET", "/v1/prices?product=%00", 422, "invalid_request"),
        ("GET", "/payments/products?product_type=%00", 422, "invalid_request"),
        ("GET", "/v1/check?customer=demo", 422, "invalid_request"),
        ("PUT", "/v1/customers", 405, "method_not_allowed"),
        ("GET", "/v1/credits/consume", 405, "method_not_allowed"),
        ("GET", "/v1/customers/../..", 404, "not_found"),
        ("GET", "/v1/events/inbox_nothing", 404, "not_found"),
        ("GET", "/v1/prices/nothing", 404, "price_not_found"),
    ];
    for (method, path, status, code) in cases {
        let answer = server.call(method, path, &key, "").await;
        let found = (answer.status.as_u16(), answer.code());
        assert_eq!(found, (status, code.to_owned()), "{method} {path}: {}", answer.text);
    }
    let answer = server.call("PUT", "/v1/customers", &key, "").await;
    assert!(answer.header("allow").contains("GET"));
}

#[tokio::test]
async fn row_6_only_our_own_hosts_are_answered() {
    let server = Server::with_hosts(&["shop.test", ".parts.test"]).await;
    let cases = [
        ("shop.test", true),
        ("SHOP.test:8000", true),
        ("a.parts.test", true),
        ("parts.test", true),
        ("evil.test", false),
        ("shop.test.evil.test", false),
        ("notparts.test", false),
        ("", false),
    ];
    for (host, is_ours) in cases {
        let request = Request::get("/health").header("host", host).body(Body::empty()).unwrap();
        let answer = server.send(request).await;
        assert_eq!(answer.status.is_success(), is_ours, "{host}");
        assert_eq!(answer.status.is_client_error(), !is_ours, "{host}");
    }
}

#[tokio::test]
async fn row_9_payments_are_switched_off_alone() {
    let server = Server::start().await;
    let body = r#"{"price_id":"price_1","product_id":"prod_1"}"#;
    let path = "/payments/create-checkout-session";
    let answer = server.call("POST", path, &token("anna"), body).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (503, "payments_disabled"));
    assert_eq!(server.call("GET", "/health", "", "").await.json()["status"], "healthy");
    assert_eq!(server.call("GET", "/pricing", "", "").await.status, 200);
}

#[tokio::test]
async fn a_panic_is_an_answer_without_its_cause() {
    async fn broken() -> &'static str {
        panic!("the inside of a failure")
    }
    let router: Router = Router::new()
        .route("/v1/broken", get(broken))
        .layer(CatchPanicLayer::custom(server::problem::after_panic))
        .layer(from_fn(server::problem::render));
    let request = Request::get("/v1/broken").body(Body::empty()).unwrap();
    let response = router.oneshot(request).await.unwrap();
    assert_eq!(response.status(), 500);
    let body = axum::body::to_bytes(response.into_body(), 10_000).await.unwrap();
    let text = String::from_utf8(body.to_vec()).unwrap();
    assert!(text.contains("\"internal\"") && !text.contains("inside"), "{text}");
}

#[tokio::test]
async fn row_129_without_a_database_everything_says_so_and_nothing_more() {
    let server = Server::start().await;
    server.engine.store().close().await;
    let health = server.call("GET", "/health", "", "").await;
    assert_eq!(
        (health.status.as_u16(), health.json()["status"].as_str()),
        (503, Some("unhealthy"))
    );
    let answer = server.call("GET", "/v1/credits/balance", &token("anna"), "").await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (503, "database_unavailable"));
    assert_eq!(answer.json()["retryable"], true);
    let pause = answer.json()["retry_after"].as_u64().unwrap();
    assert_eq!(answer.header("retry-after"), pause.to_string());
    for answer in [health, answer] {
        let text = answer.text.to_lowercase();
        for inside in ["sqlite", "pool", "sql", "closed"] {
            assert!(!text.contains(inside), "{text}");
        }
    }
}

#[tokio::test]
async fn unproven_events_are_refused_in_the_seeds_words() {
    let server = Server::start().await;
    let paths = ["/payments/webhook", "/api/v1/webhooks/stripe", "/api/webhooks/stripe/"];
    for path in paths {
        let answer = server.call("POST", path, "", "{}").await;
        assert_eq!(answer.status, 400, "{path}: {}", answer.text);
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.starts_with("Webhook error"), "{path}: {detail}");
    }
}

#[tokio::test]
async fn bodies_are_objects_of_plain_text_without_cards() {
    let server = Server::start().await;
    let key = server.key.clone();
    let consume = "/v1/credits/consume";
    let cases = [
        (consume, r#"["anna", 1, null, null]"#, "invalid_request"),
        (consume, "null", "invalid_request"),
        (consume, r#"{"customer":"anna","amount":1,"reference":"a\u0000"}"#, "invalid_request"),
        ("/v1/customers", r#"{"metadata":{"a":"\u0000"}}"#, "invalid_request"),
        ("/v1/customers", r#"{"metadata":{"\u0000":"a"}}"#, "invalid_request"),
        ("/v1/customers", r#"{"metadata":{"card_number":"4242"}}"#, "card_number_refused"),
    ];
    for (path, body, code) in cases {
        let answer = server.call("POST", path, &key, body).await;
        let found = (answer.status.as_u16(), answer.code());
        assert_eq!(found, (422, code.to_owned()), "{body}: {}", answer.text);
    }
    let form = Request::post("/pricing/checkout")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Body::from("price=%00"))
        .unwrap();
    assert_eq!(server.send(form).await.code(), "invalid_request");
}

#[tokio::test]
async fn an_announced_body_that_is_too_large_is_not_waited_for() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let server = Server::start().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(axum::serve(listener, server.router.clone()).into_future());
    let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
    let head = "POST /payments/webhook HTTP/1.1\r\nhost: shop.test\r\n\
                content-length: 9999999999\r\n\r\n";
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0_u8; 12];
    let read = socket.read_exact(&mut answer);
    tokio::time::timeout(std::time::Duration::from_secs(5), read).await.unwrap().unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
}
