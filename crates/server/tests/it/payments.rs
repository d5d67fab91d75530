//! The `/payments` façade: the seeds' shapes, and what is refused before anybody pays.

use serde_json::{Value, json};

use crate::servers::{Answer, PROVIDER_KEY, Server, token};

async fn products(server: &Server, kind: &str) -> Vec<Value> {
    let path = format!("/payments/products/?product_type={kind}");
    let answer = server.call("GET", &path, "", "").await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()["products"].as_array().unwrap().clone()
}

fn named<'a>(products: &'a [Value], name: &str) -> &'a Value {
    products.iter().find(|one| one["name"] == name).unwrap_or_else(|| panic!("no {name}"))
}

async fn checkout(server: &Server, path: &str, price: &Value, product: &Value) -> Answer {
    let body = json!({ "price_id": price, "product_id": product }).to_string();
    server.call("POST", &format!("/payments/{path}"), &token("anna"), &body).await
}

/// The session as the provider has it.
async fn session_at_provider(base: &str, answer: &Answer) -> Value {
    let id = answer.json()["session_id"].as_str().unwrap().to_owned();
    let request = server::dev::local_client().unwrap();
    let request = request.get(format!("{base}/v1/checkout/sessions/{id}?expand[]=subscription"));
    request.bearer_auth(PROVIDER_KEY).send().await.unwrap().json().await.unwrap()
}

#[tokio::test]
async fn rows_24_to_28_products_and_plans() {
    let (server, _) = Server::with_provider().await;
    let plans = products(&server, "subscription").await;
    let packs = products(&server, "one_time").await;
    for one in plans.iter().chain(&packs) {
        assert!(one["id"].as_str().unwrap().starts_with("prod_"));
        assert!(one["price"]["price_id"].as_str().unwrap().starts_with("price_"));
        assert!(one["price"]["unit_amount"].is_string() && one["price"]["currency"].is_string());
        assert!(one["description"].is_string(), "{one}");
    }
    let pro = named(&plans, "Pro");
    assert_eq!(pro["price"]["unit_amount"], "29.99");
    assert_eq!(pro["price"]["unit_amount_minor"], 2999);
    assert_eq!(pro["price"]["recurring"], json!({"interval": "month", "interval_count": 1}));
    assert_eq!(pro["prices"].as_array().unwrap().len(), 2, "monthly and yearly");
    assert_eq!(named(&packs, "100 Credits")["price"]["recurring"], Value::Null);
    assert!(plans.iter().all(|one| !packs.iter().any(|pack| pack["id"] == one["id"])));
    for path in ["/payments/products", "/payments/products/?product_type=gift"] {
        let answer = server.call("GET", path, "", "").await;
        assert!(answer.status.is_client_error() && answer.json()["detail"].is_string());
    }
    let list = server.call("GET", "/payments/get-plans", "", "").await.json();
    let pro = named(list.as_array().unwrap(), "Pro").clone();
    assert_eq!((&pro["price"], &pro["is_active"]), (&json!(2999), &json!(true)));
    assert_eq!(pro["monthly_credits"], 100);

    let path = format!("/v1/prices/{}", pro["id"].as_str().unwrap());
    let off = server.call("PATCH", &path, &server.key, r#"{"active": false}"#).await;
    assert_eq!(off.status, 200, "{}", off.text);
    let id = pro["id"].as_str().unwrap();
    let all = "/v1/prices?active=all&limit=100";
    let listed = server.call("GET", "/v1/prices?limit=100", &server.key, "").await;
    assert!(!listed.text.contains(id), "{}", listed.text);
    let listed = server.call("GET", all, &server.key, "").await;
    assert!(listed.text.contains(id), "{}", listed.text);
    assert_eq!(server.call("GET", all, "", "").await.status, 401);
    assert_eq!(server.call("GET", all, &token("anna"), "").await.status, 403);
    let plans = products(&server, "subscription").await;
    assert_eq!(named(&plans, "Pro")["prices"].as_array().unwrap().len(), 1);
    let product = &named(&plans, "Pro")["id"];
    let refused = checkout(&server, "create-checkout-session", &pro["stripe_price_id"], product);
    assert_eq!(refused.await.code(), "price_inactive");
}

#[tokio::test]
async fn rows_34_35_and_42_checkouts_open_at_the_provider() {
    let (server, base) = Server::with_provider().await;
    let plans = products(&server, "subscription").await;
    let packs = products(&server, "one_time").await;
    let (pro, pack) = (named(&plans, "Pro"), named(&packs, "100 Credits"));
    let price = &pro["price"]["price_id"];
    let answer = checkout(&server, "create-checkout-session", price, &pro["id"]).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert!(answer.json()["checkout_url"].as_str().unwrap().starts_with(&base));
    let session = session_at_provider(&base, &answer).await;
    assert_eq!(session["mode"], "subscription");
    assert!(session["customer"].is_string(), "{session}");
    assert!(session["success_url"].as_str().unwrap().starts_with("http://front.test/"));
    assert!(session["success_url"].as_str().unwrap().contains("session_id="));

    let price = &pack["price"]["price_id"];
    let answer = checkout(&server, "create-checkout-session-onetime", price, &pack["id"]).await;
    let session = session_at_provider(&base, &answer).await;
    assert_eq!(session["mode"], "payment");
    assert_eq!(session["allow_promotion_codes"], true);
}

#[tokio::test]
async fn rows_36_and_37_nothing_odd_reaches_the_provider() {
    let (server, _) = Server::with_provider().await;
    let plans = products(&server, "subscription").await;
    let packs = products(&server, "one_time").await;
    let (pro, pack) = (named(&plans, "Pro"), named(&packs, "100 Credits"));
    let (pro_price, pack_price) = (&pro["price"]["price_id"], &pack["price"]["price_id"]);
    let (subscribe, once) = ("create-checkout-session", "create-checkout-session-onetime");
    let cases = [
        (subscribe, json!("prod_1"), pro["id"].clone(), 422, "invalid_id"),
        (subscribe, pro_price.clone(), json!("price_1"), 422, "invalid_id"),
        (subscribe, json!("price_'--"), pro["id"].clone(), 422, "invalid_id"),
        (subscribe, json!("price_"), pro["id"].clone(), 422, "invalid_id"),
        (subscribe, json!(7), pro["id"].clone(), 422, "invalid_request"),
        (subscribe, json!("price_unknown"), pro["id"].clone(), 404, "price_not_found"),
        (subscribe, pro_price.clone(), pack["id"].clone(), 400, "price_mismatch"),
        (subscribe, pack_price.clone(), pack["id"].clone(), 400, "price_not_recurring"),
        (once, pro_price.clone(), pro["id"].clone(), 400, "price_not_one_time"),
    ];
    for (path, price, product, status, code) in cases {
        let answer = checkout(&server, path, &price, &product).await;
        let found = (answer.status.as_u16(), answer.code());
        assert_eq!(found, (status, code.to_owned()), "{price} {product}: {}", answer.text);
        assert!(answer.json()["detail"].is_string());
    }
    for cents in ["1", "0", "-5", "2999", "99999999999"] {
        let body = format!("{{\"email\":\"alice@example.com\",\"amount_cents\":{cents}}}");
        let answer = server.call("POST", "/payments/checkout", &token("anna"), &body).await;
        assert_eq!(answer.code(), "amount_not_for_sale", "{cents}: {}", answer.text);
    }
    let good = r#"{"email":"alice@example.com","amount_cents":4900}"#;
    let answer = server.call("POST", "/payments/checkout", &token("anna"), good).await;
    assert!(answer.json()["session_id"].is_string(), "{}", answer.text);
    let sessions = server.call("GET", "/v1/payments", &token("anna"), "").await;
    assert_eq!(sessions.json()["data"], json!([]));
}

#[tokio::test]
async fn row_45_the_sixth_checkout_in_a_minute_waits() {
    let (server, _) = Server::with_provider().await;
    let body = r#"{"email":"alice@example.com","amount_cents":4900}"#;
    let buy = |who: &'static str| {
        let server = &server;
        async move { server.call("POST", "/payments/checkout", &token(who), body).await }
    };
    for _ in 0..5 {
        assert_eq!(buy("anna").await.status, 200);
    }
    let sixth = buy("anna").await;
    assert_eq!((sixth.status.as_u16(), sixth.code()), (429, "rate_limited".into()));
    let pause = sixth.header("retry-after").parse::<u64>().unwrap();
    assert!((1..=60).contains(&pause), "it is a minute that is counted: {pause}");
    assert_eq!(sixth.json()["retry_after"], pause);
    assert_eq!(buy("berta").await.status, 200, "somebody else is not held up");
}

#[tokio::test]
async fn rows_47_77_and_78_without_a_subscription() {
    let (server, base) = Server::with_provider().await;
    let anna = token("anna");
    let answer = server.call("GET", "/payments/get-user-subscription", &anna, "").await;
    assert_eq!(answer.json(), json!({ "subscription": null }));
    let answer = server.call("DELETE", "/payments/cancel-subscription", &anna, "").await;
    assert_eq!(answer.code(), "subscription_not_found");
    let path = "/payments/create-billing-portal-session";
    assert_eq!(server.call("POST", path, &anna, "").await.status, 404);
    let body = r#"{"email":"alice@example.com","amount_cents":4900}"#;
    assert_eq!(server.call("POST", "/payments/checkout", &anna, body).await.status, 200);
    for method in ["GET", "POST"] {
        let answer = server.call(method, path, &anna, "").await;
        assert!(answer.json()["url"].as_str().unwrap().starts_with(&base), "{}", answer.text);
        assert_eq!(answer.header("cache-control"), "no-store");
    }
}
