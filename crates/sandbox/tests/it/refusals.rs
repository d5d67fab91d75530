//! Input that was once taken for something else: numbers as names, half addresses, cursors that
//! nobody read, cards of older integrations.

use serde_json::json;

use crate::world::{World, id, text};

#[tokio::test]
async fn numbers_in_brackets_are_names_or_places() {
    let world = World::start().await;
    let form = [("metadata[42]", "x"), ("metadata[7]", "y")];
    let customer = world.make("/v1/customers", &form).await;
    assert_eq!(customer["metadata"], json!({"42": "x", "7": "y"}));
    let price = world.price("500", Some("month")).await;
    let payer = world.payer("pm_card_visa").await;
    let form = [("customer", payer.as_str()), ("items[3][price]", price.as_str())];
    world.make("/v1/subscriptions", &form).await;
    let form = [("customer", payer.as_str()), ("items[3][price]", "price_none")];
    let (status, body) = world.post("/v1/subscriptions", &form).await;
    assert_eq!((status, &body["error"]["param"]), (400, &json!("items[3][price]")));
    let form = [
        ("customer", payer.as_str()),
        ("items[][price]", price.as_str()),
        ("items[][quantity]", "2"),
    ];
    let subscription = world.make("/v1/subscriptions", &form).await;
    assert_eq!(subscription["items"]["data"].as_array().map(Vec::len), Some(1));
    assert_eq!(subscription["items"]["data"][0]["quantity"], 2);
}

#[tokio::test]
async fn keys_of_any_bytes_and_the_query_count() {
    let world = World::start().await;
    let make = async |key: &str, path: &str| {
        let request = world.request("POST", path).header("idempotency-key", key.as_bytes());
        world.send(request).await
    };
    let (_, first) = make("ké", "/v1/customers?name=a").await;
    let (_, again) = make("ké", "/v1/customers?name=a").await;
    assert_eq!(first["id"], again["id"]);
    let (_, other) = make("kè", "/v1/customers?name=a").await;
    assert_ne!(first["id"], other["id"]);
    let (status, body) = make("ké", "/v1/customers?name=b").await;
    assert_eq!((status, &body["error"]["type"]), (400, &json!("idempotency_error")));
}

#[tokio::test]
async fn what_leads_nowhere_is_refused() {
    let world = World::start().await;
    let payer = world.payer("pm_card_visa").await;
    let payer = payer.as_str();
    for (path, form, param, code) in [
        ("/v1/customers", vec![("email", "notanemail")], "email", json!("email_invalid")),
        (
            "/v1/payment_intents",
            vec![("amount", "500"), ("currency", "usd"), ("return_url", "javascript:alert(1)")],
            "return_url",
            json!("url_invalid"),
        ),
        (
            "/v1/webhook_endpoints",
            vec![("url", "http://shop.test/hook"), ("enabled_events[]", "customer.*")],
            "enabled_events[0]",
            json!(null),
        ),
        (
            "/v1/invoiceitems",
            vec![
                ("customer", payer),
                ("amount", "5"),
                ("period[start]", "2000000000"),
                ("period[end]", "1000000000"),
            ],
            "period",
            json!(null),
        ),
    ] {
        let (status, body) = world.post(path, &form).await;
        let error = &body["error"];
        assert_eq!(
            (status, &error["param"], &error["code"]),
            (400, &json!(param), &code),
            "{body}"
        );
    }
    let most = world.price("99999999", Some("month")).await;
    let form = [
        ("customer", payer),
        ("items[0][price]", most.as_str()),
        ("items[1][price]", most.as_str()),
    ];
    let (status, body) = world.post("/v1/subscriptions", &form).await;
    assert_eq!((status, &body["error"]["code"]), (400, &json!("amount_too_large")));
    assert_eq!(world.look("/v1/invoices").await["data"], json!([]), "nothing half-made");
    let url = format!("{}/_sandbox/faults", world.base);
    let faults = json!({"endpoint": "we_nope", "drop": 1});
    assert_eq!(world.send(world.client.post(url).json(&faults)).await.0, 400);
    let app = [("amount", "500"), ("currency", "usd"), ("return_url", "shopapp://paid")];
    world.make("/v1/payment_intents", &app).await;
}

#[tokio::test]
async fn lines_of_an_invoice_are_a_list_with_cursors() {
    let world = World::start().await;
    let payer = world.payer("pm_card_visa").await;
    for decimal in ["100", "12.5", "300"] {
        let form = [
            ("customer", payer.as_str()),
            ("currency", "usd"),
            ("unit_amount_decimal", decimal),
            ("quantity", "2"),
        ];
        world.make("/v1/invoiceitems", &form).await;
    }
    let form = [("customer", payer.as_str()), ("pending_invoice_items_behavior", "include")];
    let invoice = world.make("/v1/invoices", &form).await;
    assert_eq!(invoice["total"], 825);
    let path = format!("/v1/invoices/{}/lines", id(&invoice));
    let page = world.look(&format!("{path}?limit=2")).await;
    assert_eq!((page["data"].as_array().map(Vec::len), &page["has_more"]), (Some(2), &json!(true)));
    let last = text(&page["data"][1]["id"]);
    let rest = world.look(&format!("{path}?limit=2&starting_after={last}")).await;
    assert_eq!(
        (rest["data"].as_array().map(Vec::len), &rest["has_more"]),
        (Some(1), &json!(false))
    );
    assert_eq!(world.get(&format!("{path}?starting_after=il_none")).await.0, 400);
    assert_eq!(world.get(&format!("{path}?limit=0")).await.0, 400);
}

#[tokio::test]
async fn a_source_is_a_card_that_pays() {
    let world = World::start().await;
    let customer = world.make("/v1/customers", &[("source", "tok_visa")]).await;
    let path = format!("/v1/customers/{}", id(&customer));
    let first = text(&customer["default_source"]);
    assert!(first.starts_with("card_"), "{first}");
    let shown = world.look(&format!("{path}?expand[]=default_source")).await;
    assert_eq!(shown["default_source"]["object"], "card");
    assert_eq!(shown["default_source"]["last4"], "4242");
    let price = world.price("500", Some("month")).await;
    let customer = id(&customer);
    let form = [("customer", customer.as_str()), ("items[0][price]", price.as_str())];
    assert_eq!(world.make("/v1/subscriptions", &form).await["status"], "active");
    let changed = world.make(&path, &[("source", "tok_mastercard")]).await;
    assert_ne!(changed["default_source"], json!(first));
    let methods = world.look(&format!("{path}/payment_methods")).await;
    assert_eq!(methods["data"].as_array().map(Vec::len), Some(1), "the new card replaced the old");
    let (status, body) = world.post(&path, &[("default_source", &first)]).await;
    assert_eq!((status, &body["error"]["code"]), (400, &json!("resource_missing")));
    let (status, body) = world.post("/v1/customers", &[("source", "tok_chargeDeclined")]).await;
    assert_eq!((status, &body["error"]["code"]), (402, &json!("card_declined")));
    let all = world.look("/v1/customers").await;
    assert_eq!(all["data"].as_array().map(Vec::len), Some(1), "nothing half-made");
}

#[tokio::test]
async fn nothing_is_tried_again_without_a_payment_method() {
    let world = World::start().await;
    let customer = id(&world.make("/v1/customers", &[("email", "ada@example.com")]).await);
    let price = world.price("500", Some("month")).await;
    let form = [
        ("customer", customer.as_str()),
        ("items[0][price]", price.as_str()),
        ("trial_period_days", "7"),
    ];
    let subscription = id(&world.make("/v1/subscriptions", &form).await);
    assert_eq!(world.advance("30d").await.0, 200);
    let path = format!("/v1/subscriptions/{subscription}?expand[]=latest_invoice");
    let late = world.look(&path).await;
    let invoice = &late["latest_invoice"];
    assert_eq!(
        (&late["status"], &invoice["attempt_count"], &invoice["next_payment_attempt"]),
        (&json!("past_due"), &json!(1), &json!(null))
    );
}
