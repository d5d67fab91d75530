//! The faces of a subscription agree; what nobody may do, nobody does; refunds are the merchant's.

use serde_json::{Value, json};

use crate::servers::{Answer, PROVIDER_KEY, Server, token};
use crate::webhooks::deliver;

const STATUS: &str = "/api/v1/payments/subscription/status";
const PREVIEW: &str = "/api/v1/payments/subscription/preview";
const CANCEL: &str = "/api/v1/payments/subscription/cancel";

async fn provider(base: &str, path: &str) -> Value {
    let request = server::dev::local_client().unwrap().get(format!("{base}{path}"));
    request.bearer_auth(PROVIDER_KEY).send().await.unwrap().json().await.unwrap()
}

/// Tells the server everything that has happened at the provider.
async fn tell(server: &Server, base: &str) {
    let events = provider(base, "/v1/events?limit=100").await;
    for event in events["data"].as_array().unwrap().iter().rev() {
        assert_eq!(deliver(server, &event.to_string()).await.status, 200);
    }
    while server.engine.apply_next().await.unwrap() {}
}

/// The id of a price at the provider and of its product.
async fn plan(server: &Server, nickname: &str) -> (String, String) {
    let list = server.call("GET", "/v1/prices?limit=100", &server.key, "").await.json();
    let prices = list["data"].as_array().unwrap();
    let price = prices.iter().find(|price| price["nickname"] == nickname).unwrap();
    let id = |value: &Value| value.as_str().unwrap().to_owned();
    (id(&price["id"]), id(&price["product"]))
}

async fn subscribe(server: &Server, base: &str, who: &str) {
    let body = json!({"price": plan(server, "Pro monthly").await.0}).to_string();
    let answer = server.call("POST", "/v1/checkout-sessions", &token(who), &body).await;
    assert!(answer.status.is_success(), "{}", answer.text);
    let id = answer.json()["provider_session_id"].as_str().unwrap().to_owned();
    let url = format!("{base}/_sandbox/checkout/{id}/complete");
    let form = [("payment_method", "pm_card_visa")];
    let paid = server::dev::local_client().unwrap().post(url).form(&form).send().await.unwrap();
    assert!(paid.status().is_success());
    tell(server, base).await;
}

async fn seed(server: &Server, who: &str) -> Value {
    let path = "/payments/get-user-subscription";
    server.call("GET", path, &token(who), "").await.json()["subscription"].clone()
}

#[tokio::test]
async fn row_77_both_seeds_agree_on_the_subscription() {
    let (server, base) = Server::with_provider().await;
    let none = server.call("GET", STATUS, &token("anna"), "").await;
    let empty = json!({
        "has_subscription": false, "price": null, "status": null, "next_billing_date": null,
        "cancel_at_period_end": false,
    });
    assert_eq!((none.status.as_u16(), none.json()), (200, empty));
    assert_eq!(seed(&server, "anna").await, Value::Null);
    subscribe(&server, &base, "anna").await;
    let (one, other) =
        (seed(&server, "anna").await, server.call("GET", STATUS, &token("anna"), "").await.json());
    assert_eq!(other["has_subscription"], true);
    assert_eq!(one["status"], other["status"]);
    assert_eq!(one["plan"]["price_id"], other["price"]["id"]);
    assert_eq!(one["current_period_end"], other["next_billing_date"]);
    assert_eq!(one["cancel_at_period_end"], other["cancel_at_period_end"]);
    let cancel = |who: &str| {
        let token = token(who);
        let server = &server;
        async move { server.call("DELETE", "/payments/cancel-subscription", &token, "").await }
    };
    let first = cancel("anna").await;
    let again = cancel("anna").await;
    assert_eq!((first.status.as_u16(), &first.text), (200, &again.text), "row 78: the same answer");
    let (one, other) =
        (seed(&server, "anna").await, server.call("GET", STATUS, &token("anna"), "").await.json());
    assert_eq!(
        (&one["cancel_at_period_end"], &other["next_billing_date"]),
        (&json!(true), &json!(null))
    );
    assert_eq!(cancel("bert").await.status, 404);
}

#[tokio::test]
async fn row_79_and_row_81_the_third_seed_previews_and_cancels() {
    let (server, base) = Server::with_provider().await;
    subscribe(&server, &base, "anna").await;
    let (yearly, _) = plan(&server, "Pro yearly").await;
    let body = json!({"price_id": yearly}).to_string();
    let preview = server.call("POST", PREVIEW, &token("anna"), &body).await;
    assert_eq!(preview.status, 200, "{}", preview.text);
    let preview = preview.json();
    assert!(preview["prorated_amount"].is_i64() && preview["immediate_charge"].is_boolean());
    assert!(preview["credit_applied"].is_boolean() && preview["next_billing_date"].is_string());
    let nobody = server.call("POST", PREVIEW, &token("bert"), &body).await;
    assert_eq!((nobody.status.as_u16(), nobody.code().as_str()), (404, "subscription_not_found"));
    let odd = server.call("POST", PREVIEW, &token("anna"), r#"{"price_id": "prod_1"}"#).await;
    assert_eq!(odd.code(), "invalid_id");
    let now = r#"{"cancel_immediately": true}"#;
    let ended = server.call("POST", CANCEL, &token("anna"), now).await;
    assert_eq!((ended.status.as_u16(), &ended.json()["status"]), (200, &json!("canceled")));
    let check = server.call("GET", "/v1/check?feature=api_access", &token("anna"), "").await;
    assert_eq!(
        check.json()["allowed"],
        false,
        "row 79: denied on the next request: {}",
        check.text
    );
}

async fn change(server: &Server, id: &str, who: &str, what: &str, body: Value) -> Answer {
    let path = format!("/v1/subscriptions/{id}/{what}");
    server.call("POST", &path, &token(who), &body.to_string()).await
}

#[tokio::test]
async fn row_80_row_82_and_row_85_our_own_face_changes_and_ends_plans() {
    let (server, base) = Server::with_provider().await;
    subscribe(&server, &base, "anna").await;
    let id = seed(&server, "anna").await["id"].as_str().unwrap().to_owned();
    let cases = [
        ("change", json!({"quantity": 0}), 422, "invalid_request"),
        ("change", json!({"quantity": -3}), 422, "invalid_request"),
        ("change", json!({"quantity": 2, "when": "soon"}), 422, "invalid_request"),
        ("change", json!({"price": "price_unknown"}), 404, "price_not_found"),
        ("change", json!({}), 422, "invalid_request"),
        (
            "preview",
            json!({"price": plan(&server, "100 Credits").await.0}),
            400,
            "price_not_recurring",
        ),
        ("cancel", json!({"when": "yesterday"}), 422, "invalid_request"),
        // Pitfall 92: an amount is nobody's to choose.
        ("change", json!({"quantity": 2, "unit_amount": 1}), 422, "invalid_request"),
    ];
    for (what, body, status, code) in cases {
        let answer = change(&server, &id, "anna", what, body).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (status, code), "{what}");
    }
    let foreign = change(&server, &id, "bert", "change", json!({"quantity": 5})).await;
    assert_eq!(foreign.status, 404, "pitfall 118");
    let five = change(&server, &id, "anna", "change", json!({"quantity": 5})).await;
    assert_eq!(five.status, 200, "{}", five.text);
    assert_eq!(
        (&five.json()["progress"], &five.json()["subscription"]["quantity"]),
        (&json!("done"), &json!(5))
    );
    // Less now would give money back: that is the merchant's to say.
    let now = json!({"price": plan(&server, "Free").await.0, "when": "now"});
    let planned = change(&server, &id, "anna", "change", now).await.json();
    assert_eq!(planned["progress"], "scheduled", "{planned}");
    let later = json!({"price": plan(&server, "Free").await.0});
    let planned = change(&server, &id, "anna", "change", later).await.json();
    assert_eq!(planned["progress"], "scheduled");
    assert!(planned["subscription"]["pending_at"].is_string(), "{planned}");
    let ended = change(&server, &id, "anna", "cancel", json!({"when": "now"})).await;
    assert_eq!(ended.json()["status"], "canceled", "{}", ended.text);
    let again = change(&server, &id, "anna", "cancel", json!({})).await;
    assert_eq!((again.status.as_u16(), again.code().as_str()), (409, "subscription_ended"));
}

async fn refund(server: &Server, key: Option<&str>, token: &str, body: &Value) -> Answer {
    let mut request = axum::http::Request::builder().method("POST").uri("/v1/refunds");
    if let Some(key) = key {
        request = request.header("idempotency-key", key);
    }
    let request = request
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json");
    server.send(request.body(axum::body::Body::from(body.to_string())).unwrap()).await
}

#[tokio::test]
async fn refunds_are_the_merchants_and_once_for_each_key() {
    let (server, base) = Server::with_provider().await;
    subscribe(&server, &base, "anna").await;
    let payments = server.call("GET", "/v1/payments", &token("anna"), "").await.json();
    let payment = payments["data"][0]["id"].clone();
    let part = json!({"payment": payment, "amount": 500});
    assert_eq!(refund(&server, Some("a"), &token("anna"), &part).await.status, 403);
    let key = server.key.clone();
    assert_eq!(refund(&server, None, &key, &part).await.code(), "invalid_request");
    let cases = [
        (json!({"payment": "pay_nobody"}), "payment_not_found"),
        (json!({"payment": payment, "amount": 0}), "invalid_amount"),
        (json!({"payment": payment, "amount": 999_999}), "payment_not_refundable"),
        (json!({"payment": payment, "reason": "mood"}), "invalid_request"),
    ];
    for (body, code) in cases {
        assert_eq!(refund(&server, Some("odd"), &key, &body).await.code(), code, "{body}");
    }
    let first = refund(&server, Some("a"), &key, &part).await;
    assert_eq!(first.status, 201, "{}", first.text);
    assert_eq!(refund(&server, Some("a"), &key, &part).await.text, first.text);
    let other = json!({"payment": payment, "amount": 501});
    assert_eq!(refund(&server, Some("a"), &key, &other).await.code(), "idempotency_conflict");
    let rest = refund(&server, Some("b"), &key, &json!({"payment": payment})).await;
    assert_eq!(rest.status, 201, "{}", rest.text);
    assert_eq!(refund(&server, Some("c"), &key, &part).await.code(), "payment_not_refundable");
    let there = provider(&base, "/v1/refunds").await;
    assert_eq!(there["data"].as_array().map(Vec::len), Some(2));
    let log = server.engine.audits_list(engine::Page::new(None, None).unwrap()).await.unwrap();
    let log: Vec<_> = log.data.iter().map(|row| (row.action.as_str(), &row.detail)).collect();
    let told = |text: &str| Some(format!("(amount {text}, usd)"));
    assert_eq!(log, [("refund.create", &told("all")), ("refund.create", &told("500"))]);
    let listed = server.call("GET", "/v1/refunds", &token("anna"), "").await.json();
    assert_eq!(listed["data"].as_array().map(Vec::len), Some(2), "{listed}");
    let nobodys = server.call("GET", "/v1/refunds", &token("bert"), "").await.json();
    assert_eq!(nobodys["data"], json!([]), "pitfall 118");
    let payments = server.call("GET", "/v1/payments", &token("anna"), "").await.json();
    assert_eq!(payments["data"][0]["status"], "refunded", "{payments}");
    let calls = server.call("GET", "/v1/provider-calls?state=done", &key, "").await.json();
    assert_eq!(calls["data"][0]["kind"], "refund.create", "{calls}");
    assert_eq!(server.call("GET", "/v1/provider-calls", &token("anna"), "").await.status, 403);
    subscribe(&server, &base, "bert").await;
    let payments = server.call("GET", "/v1/payments", &token("bert"), "").await.json();
    let other = json!({"payment": payments["data"][0]["id"], "amount": 500});
    let used = refund(&server, Some("a"), &key, &other).await;
    assert_eq!(used.code(), "idempotency_conflict", "one key, one refund: {}", used.text);
}

async fn open_page(server: &Server, body: &Value) -> Answer {
    server.call("POST", "/v1/checkout-sessions", &token("anna"), &body.to_string()).await
}

#[tokio::test]
async fn pitfall_092_a_buyer_decides_neither_price_nor_place() {
    let (server, base) = Server::with_provider().await;
    let (price, product) = plan(&server, "Pro monthly").await;
    let body = json!({
        "price_id": price, "product_id": product, "amount": 1, "unit_amount": 1, "currency": "jpy",
        "customer_id": "cus_other", "trial_period_days": 700, "success_url": "https://evil.example",
        "metadata": {"tollgate_customer": "cus_other", "__proto__": {"x": 1}},
    });
    let path = "/payments/create-checkout-session";
    let answer = server.call("POST", path, &token("anna"), &body.to_string()).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let id = answer.json()["session_id"].as_str().unwrap().to_owned();
    let page = provider(&base, &format!("/v1/checkout/sessions/{id}")).await;
    // The automatic trial of the deployment, not the buyer's.
    assert_eq!((&page["amount_total"], &page["currency"]), (&json!(0), &json!("usd")));
    assert!(page["success_url"].as_str().unwrap().starts_with("http://front.test/"));
    assert_ne!(page["metadata"]["tollgate_customer"], "cus_other");
    for (field, value) in [
        ("success_url", "https://evil.example/"),
        ("cancel_url", "javascript:alert(1)"),
        ("success_url", "http://front.test@evil.example/"),
    ] {
        let body = json!({"price": price, field: value});
        let answer = open_page(&server, &body).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (400, "invalid_return_url"));
    }
    for field in ["amount", "trial_days", "metadata", "provider_customer"] {
        let body = json!({"price": price, field: 1});
        assert_eq!(open_page(&server, &body).await.status, 422, "{field}");
    }
    let body = json!({"email": "a\" OR email:\"b@example.com", "amount_cents": 900}).to_string();
    let answer = server.call("POST", "/payments/checkout", &token("carl"), &body).await;
    assert!(answer.status.is_client_error(), "{}", answer.text);
}
