//! The protocol: keys, forms, errors, idempotency, lists, expansion, bad input.

use serde_json::json;

use crate::world::{World, id, text};

#[tokio::test]
async fn a_test_key_is_needed() {
    let world = World::start().await;
    let url = format!("{}/v1/customers", world.base);
    let plain = world.client.get(&url);
    let (status, body) = world.send(plain).await;
    assert_eq!((status, &body["error"]["type"]), (401, &json!("invalid_request_error")));
    for key in ["", "nonsense", "sk_live_x", "sk_test"] {
        let (status, _) = world.send(world.client.get(&url).bearer_auth(key)).await;
        assert_eq!(status, 401, "{key}");
    }
    let basic = world.client.get(&url).basic_auth("sk_test_x", None::<&str>);
    assert_eq!(world.send(basic).await.0, 200);
}

#[tokio::test]
async fn headers_name_the_request() {
    let world = World::start().await;
    for path in ["/v1/customers", "/v1/customers/cus_none", "/v1/nothing"] {
        let response = world.request("GET", path).send().await.expect("an answer");
        let header = |name: &str| response.headers()[name].to_str().expect("text").to_owned();
        assert!(header("request-id").starts_with("req_"), "{path}");
        assert_eq!(header("stripe-version"), "2026-10-28.endive", "{path}");
        assert_eq!(header("content-type"), "application/json", "{path}");
    }
}

/// Path, form, expected status, code and param.
type Case =
    (&'static str, &'static [(&'static str, &'static str)], u16, &'static str, &'static str);

#[tokio::test]
async fn errors_name_code_and_parameter() {
    let world = World::start().await;
    let cases: [Case; 9] = [
        ("/v1/customers", &[("colour", "red")], 400, "parameter_unknown", "colour"),
        ("/v1/customers", &[("address[planet]", "x")], 400, "parameter_unknown", "address[planet]"),
        ("/v1/prices", &[("unit_amount", "5")], 400, "parameter_missing", "currency"),
        (
            "/v1/prices",
            &[("currency", "usd"), ("unit_amount", "-5"), ("product", "p")],
            400,
            "parameter_invalid_integer",
            "unit_amount",
        ),
        (
            "/v1/prices",
            &[("currency", "usd"), ("unit_amount", "99999999999999999999")],
            400,
            "parameter_invalid_integer",
            "unit_amount",
        ),
        (
            "/v1/prices",
            &[("currency", "usd"), ("unit_amount", "5"), ("product", "prod_none")],
            400,
            "resource_missing",
            "product",
        ),
        (
            "/v1/payment_intents",
            &[("amount", "1"), ("currency", "usd")],
            400,
            "amount_too_small",
            "amount",
        ),
        ("/v1/customers/cus_none", &[], 404, "resource_missing", "id"),
        ("/v1/refunds", &[("charge", "ch_none")], 400, "resource_missing", "charge"),
    ];
    for (path, form, status, code, param) in cases {
        let (got, body) = world.post(path, form).await;
        let error = &body["error"];
        let seen = (got, text(&error["code"]), text(&error["param"]));
        assert_eq!(seen, (status, code.to_owned(), param.to_owned()), "{path} {form:?}");
        assert!(!text(&error["message"]).is_empty());
    }
    assert_eq!(world.look("/v1/customers").await["data"], json!([]), "nothing was stored");
}

#[tokio::test]
async fn bad_bodies_are_refused() {
    let world = World::start().await;
    let send = async |kind: &str, body: Vec<u8>| {
        let request = world.request("POST", "/v1/customers").header("content-type", kind);
        world.send(request.body(body)).await.0
    };
    let form = "application/x-www-form-urlencoded";
    assert_eq!(send(form, vec![b'a'; 10 * 1024 * 1024]).await, 413);
    assert_eq!(send(form, b"email=\xff\xfe".to_vec()).await, 400);
    assert_eq!(send(form, format!("a{}=1", "[b]".repeat(1_000)).into_bytes()).await, 400);
    assert_eq!(send(form, b"metadata[a]=1&metadata[a][b]=2".to_vec()).await, 400);
    assert_eq!(send(form, b"email[x]=1".to_vec()).await, 400);
    assert_eq!(send("application/json", b"{}".to_vec()).await, 400);
    let (status, _) = world.get("/v1/customers?limit=0").await;
    assert_eq!(status, 400);
    let (status, _) = world.get("/v1/customers?starting_after=cus_none").await;
    assert_eq!(status, 400);
    let (status, _) = world.get("/v1/customers?expand[]=data.nothing.at.all.of.this").await;
    assert_eq!(status, 400);
}

#[tokio::test]
async fn the_same_key_gives_the_same_answer() {
    let world = World::start().await;
    let ask = async |email: &str, key: &str| {
        let request = world.request("POST", "/v1/customers").form(&[("email", email)]);
        request.header("idempotency-key", key).send().await.expect("an answer")
    };
    let first = ask("a@example.com", "k1").await;
    assert!(first.headers().get("idempotent-replayed").is_none());
    let first = first.text().await.expect("a body");
    let again = ask("a@example.com", "k1").await;
    assert_eq!(again.headers()["idempotent-replayed"], "true");
    assert_eq!(again.text().await.expect("a body"), first);
    let other = ask("b@example.com", "k1").await;
    assert_eq!(other.status(), 400);
    assert!(other.text().await.expect("a body").contains("idempotency_error"));
    assert_eq!(ask("b@example.com", "k2").await.status(), 200);
    let list = world.look("/v1/customers").await;
    assert_eq!(list["data"].as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn twenty_at_once_with_one_key_make_one_customer() {
    let world = World::start().await;
    let calls = (0..20).map(|_| {
        let request = world.request("POST", "/v1/customers").form(&[("email", "a@example.com")]);
        world.send(request.header("idempotency-key", "once"))
    });
    for (status, body) in futures::future::join_all(calls).await {
        assert!(status == 200 || status == 409, "{status} {body}");
    }
    assert_eq!(world.look("/v1/customers").await["data"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn a_refused_request_may_be_repaired_under_its_key() {
    let world = World::start().await;
    let ask = async |form: &[(&str, &str)]| {
        let request = world.request("POST", "/v1/products").form(form);
        world.send(request.header("idempotency-key", "k")).await.0
    };
    assert_eq!(ask(&[]).await, 400);
    assert_eq!(ask(&[("name", "Pro")]).await, 200);
}

#[tokio::test]
async fn lists_page_by_cursor() {
    let world = World::start().await;
    let mut ids = Vec::new();
    for number in 0..5 {
        let email = format!("{number}@example.com");
        ids.push(id(&world.make("/v1/customers", &[("email", &email)]).await));
    }
    let seen = async |query: &str| {
        let list = world.look(&format!("/v1/customers?{query}")).await;
        let ids: Vec<String> = list["data"].as_array().expect("a list").iter().map(id).collect();
        (ids, list["has_more"] == json!(true))
    };
    let pick = |wanted: &[usize]| wanted.iter().map(|at| ids[*at].clone()).collect::<Vec<_>>();
    assert_eq!(seen("limit=2").await, (pick(&[4, 3]), true));
    assert_eq!(seen(&format!("limit=2&starting_after={}", ids[3])).await, (pick(&[2, 1]), true));
    assert_eq!(
        seen(&format!("limit=5&starting_after={}", ids[3])).await,
        (pick(&[2, 1, 0]), false)
    );
    assert_eq!(seen(&format!("limit=2&ending_before={}", ids[1])).await, (pick(&[3, 2]), true));
    assert_eq!(seen("email=3@example.com").await, (pick(&[3]), false));
    assert_eq!(seen("created[gte]=4000000000").await, (Vec::new(), false));
}

#[tokio::test]
async fn expansion_goes_deep() {
    let world = World::start().await;
    let price = world.price("1000", Some("month")).await;
    let customer = world.payer("pm_card_visa").await;
    let paths = [
        ("customer", customer.as_str()),
        ("items[0][price]", price.as_str()),
        ("expand[]", "latest_invoice.payments.data.payment.payment_intent.latest_charge"),
    ];
    let (status, _) = world.post("/v1/subscriptions", &paths).await;
    assert_eq!(status, 400, "five levels are too many");
    let form = [
        ("customer", customer.as_str()),
        ("items[0][price]", price.as_str()),
        ("expand[0]", "latest_invoice.payments.data.payment.payment_intent"),
        ("expand[1]", "items.data.price.product"),
        ("expand[2]", "customer"),
    ];
    let made = world.make("/v1/subscriptions", &form).await;
    assert_eq!(made["customer"]["object"], "customer");
    assert_eq!(made["items"]["data"][0]["price"]["product"]["name"], "Pro");
    let payment = &made["latest_invoice"]["payments"]["data"][0]["payment"];
    assert_eq!(payment["payment_intent"]["status"], "succeeded");
    let list = world.look("/v1/prices?expand[]=data.product").await;
    assert_eq!(list["data"][0]["product"]["object"], "product");
}

#[tokio::test]
async fn metadata_merges() {
    let world = World::start().await;
    let form = [("metadata[a]", "1"), ("metadata[b]", "2")];
    let customer = id(&world.make("/v1/customers", &form).await);
    let path = format!("/v1/customers/{customer}");
    let merged = world.make(&path, &[("metadata[b]", ""), ("metadata[c]", "3")]).await;
    assert_eq!(merged["metadata"], json!({"a": "1", "c": "3"}));
    assert_eq!(world.make(&path, &[("metadata", "")]).await["metadata"], json!({}));
}

#[tokio::test]
async fn products_take_the_callers_id() {
    let world = World::start().await;
    let made = world.make("/v1/products", &[("id", "pro-plan.1"), ("name", "Pro")]).await;
    assert_eq!(made["id"], "pro-plan.1");
    let (status, body) = world.post("/v1/products", &[("id", "pro-plan.1"), ("name", "x")]).await;
    assert_eq!((status, text(&body["error"]["code"])), (400, "resource_already_exists".to_owned()));
    assert_eq!(world.look("/v1/products/pro-plan.1").await["name"], "Pro");
}

#[tokio::test]
async fn a_deleted_customer_is_a_tombstone() {
    let world = World::start().await;
    let price = world.price("1000", Some("month")).await;
    let customer = world.payer("pm_card_visa").await;
    let form = [("customer", customer.as_str()), ("items[0][price]", price.as_str())];
    let subscription = id(&world.make("/v1/subscriptions", &form).await);
    let (status, body) = world.delete(&format!("/v1/customers/{customer}")).await;
    assert_eq!((status, &body["deleted"]), (200, &json!(true)));
    assert_eq!(world.look(&format!("/v1/customers/{customer}")).await["deleted"], true);
    let ended = world.look(&format!("/v1/subscriptions/{subscription}")).await;
    assert_eq!(ended["status"], "canceled");
    let kinds = world.events().await;
    assert!(kinds.ends_with(&[
        "customer.subscription.deleted".to_owned(),
        "payment_method.detached".to_owned(),
        "customer.deleted".to_owned(),
    ]));
    let (status, _) = world.post("/v1/subscriptions", &form).await;
    assert_eq!(status, 400);
}
