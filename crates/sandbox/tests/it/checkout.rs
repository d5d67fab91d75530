//! Buying: by page, by the completion endpoint, as a guest, with a trial, with 3-D Secure.

use serde_json::{Value, json};

use crate::world::{World, id, text};

const DAY: i64 = 86_400;

async fn page(world: &World, session: &Value) -> (u16, String) {
    let response = world.client.get(text(&session["url"])).send().await.expect("a page");
    (response.status().as_u16(), response.text().await.expect("a page"))
}

async fn pay(world: &World, session: &Value, card: &str, email: &str) -> reqwest::Response {
    let url = format!("{}/c/pay/{}", world.base, id(session));
    let form = [
        ("email", email),
        ("card_number", card),
        ("card_expiry", "12 / 34"),
        ("card_cvc", "123"),
        ("name", "Ada <b>Byron</b>"),
    ];
    world.client.post(url).form(&form).send().await.expect("an answer")
}

async fn retrieve(world: &World, session: &Value) -> Value {
    world.look(&format!("/v1/checkout/sessions/{}", id(session))).await
}

#[tokio::test]
async fn a_guest_subscribes_on_the_page() {
    let world = World::start().await;
    let price = world.price("2999", Some("month")).await;
    let more = [("subscription_data[metadata][user]", "7"), ("client_reference_id", "u-7")];
    let session = world.session(&price, "subscription", &more).await;
    let (status, html) = page(&world, &session).await;
    assert_eq!(status, 200);
    for part in [
        "simulated, no real money",
        "29.99 USD",
        "id=\"email\"",
        "id=\"card_number\"",
        "id=\"card_expiry\"",
        "id=\"card_cvc\"",
        "id=\"name\"",
        "id=\"pay\"",
        "http://shop.test/no",
    ] {
        assert!(html.contains(part), "{part}");
    }
    let answer = pay(&world, &session, "4242 4242 4242 4242", "guest@example.com").await;
    assert_eq!(answer.status(), 303);
    let target = answer.headers()["location"].to_str().expect("text").to_owned();
    assert_eq!(target, format!("http://shop.test/ok?session_id={}", id(&session)));
    let done = retrieve(&world, &session).await;
    assert_eq!((&done["status"], &done["payment_status"]), (&json!("complete"), &json!("paid")));
    assert_eq!((&done["url"], &done["client_reference_id"]), (&json!(null), &json!("u-7")));
    assert_eq!(done["customer_details"]["email"], "guest@example.com");
    let customer = world.look(&format!("/v1/customers/{}", text(&done["customer"]))).await;
    assert_eq!(customer["email"], "guest@example.com");
    let path = format!("/v1/subscriptions/{}", text(&done["subscription"]));
    let subscription = world.look(&path).await;
    assert_eq!(subscription["status"], "active");
    assert_eq!(subscription["metadata"], json!({"user": "7"}));
    assert!(subscription["default_payment_method"].is_string());
    let (status, html) = page(&world, &session_url(&world, &session)).await;
    assert_eq!((status, html.contains("finished")), (200, true));
    let again = pay(&world, &session, "4242 4242 4242 4242", "x@example.com").await;
    assert_eq!(again.status(), 303, "the button was pressed twice");
}

/// A completed session no longer says its address.
fn session_url(world: &World, session: &Value) -> Value {
    json!({"url": format!("{}/c/pay/{}", world.base, id(session))})
}

#[tokio::test]
async fn events_come_in_a_sensible_order() {
    let world = World::start().await;
    let price = world.price("2999", Some("month")).await;
    let session = world.session(&price, "subscription", &[]).await;
    pay(&world, &session, "4242424242424242", "a@example.com").await;
    assert_eq!(
        world.events().await,
        [
            "product.created",
            "price.created",
            "customer.created",
            "payment_method.attached",
            "invoice.created",
            "invoice.finalized",
            "payment_intent.created",
            "charge.succeeded",
            "payment_intent.succeeded",
            "customer.subscription.created",
            "invoice.paid",
            "invoice.payment_succeeded",
            "invoice_payment.paid",
            "checkout.session.completed",
        ]
    );
    let created = world.look("/v1/events?type=customer.subscription.created").await;
    let snapshot = &created["data"][0]["data"]["object"];
    assert_eq!(snapshot["status"], "active", "created only once it is paid");
}

#[tokio::test]
async fn a_decline_shows_on_the_page_and_leaves_nothing() {
    let world = World::start().await;
    let price = world.price("2999", Some("month")).await;
    let session = world.session(&price, "subscription", &[]).await;
    let before = world.events().await;
    for (card, words) in [
        ("4000000000000002", "Your card was declined."),
        ("4000000000009995", "insufficient funds"),
        ("4000000000000069", "expired"),
        ("4000000000000119", "processing your card"),
        ("4000000000000341", "Your card was declined."),
    ] {
        let answer = pay(&world, &session, card, "a@example.com").await;
        assert_eq!(answer.status(), 402, "{card}");
        let html = answer.text().await.expect("a page");
        assert!(html.contains("role=\"alert\"") && html.contains(words), "{card}");
        assert!(html.contains("Ada &lt;b&gt;Byron&lt;/b&gt;"), "typed text is escaped");
        assert!(!html.contains(card), "card numbers are not repeated");
    }
    let open = retrieve(&world, &session).await;
    assert_eq!((&open["status"], &open["payment_status"]), (&json!("open"), &json!("unpaid")));
    assert_eq!(world.events().await, before);
    assert_eq!(world.look("/v1/customers").await["data"], json!([]));
    assert_eq!(pay(&world, &session, "5555555555554444", "a@example.com").await.status(), 303);
}

#[tokio::test]
async fn wrong_input_on_the_page_is_explained() {
    let world = World::start().await;
    let price = world.price("2999", Some("month")).await;
    let session = world.session(&price, "subscription", &[]).await;
    let url = format!("{}/c/pay/{}", world.base, id(&session));
    let good = [
        ("email", "a@example.com"),
        ("card_number", "4242424242424242"),
        ("card_expiry", "12/34"),
        ("card_cvc", "123"),
    ];
    for (field, value, words) in [
        ("email", "nobody", "Enter your e-mail address."),
        ("card_number", "4111111111111111", "not one of the test cards"),
        ("card_number", "", "Enter a card number."),
        ("card_expiry", "12/20", "in the past"),
        ("card_expiry", "99/99", "in the past"),
        ("card_cvc", "1", "security code is incomplete"),
    ] {
        let form: Vec<(&str, &str)> = good
            .iter()
            .map(|(name, old)| (*name, if *name == field { value } else { *old }))
            .collect();
        let answer = world.client.post(&url).form(&form).send().await.expect("an answer");
        assert_eq!(answer.status(), 400, "{field}={value}");
        assert!(answer.text().await.expect("a page").contains(words), "{field}={value}");
    }
    let nowhere = format!("{}/c/pay/cs_test_none", world.base);
    assert_eq!(world.client.get(nowhere).send().await.expect("an answer").status(), 404);
}

#[tokio::test]
async fn three_d_secure_on_the_page() {
    let world = World::start().await;
    let price = world.price("2999", None).await;
    let customer = id(&world.make("/v1/customers", &[("email", "own@example.com")]).await);
    let session = world.session(&price, "payment", &[("customer", &customer)]).await;
    let (_, html) = page(&world, &session).await;
    assert!(html.contains("value=\"own@example.com\" readonly"));
    let answer = pay(&world, &session, "4000002760003184", "").await;
    assert_eq!(answer.headers()["location"], format!("/c/pay/{}/authenticate", id(&session)));
    let url = format!("{}/c/pay/{}/authenticate", world.base, id(&session));
    let html = world.client.get(&url).send().await.expect("a page").text().await.expect("a page");
    assert!(html.contains("authenticate_complete") && html.contains("authenticate_fail"));
    let failed = world.client.post(&url).form(&[("result", "fail")]).send().await;
    let html = failed.expect("an answer").text().await.expect("a page");
    assert!(html.contains("role=\"alert\"") && html.contains("unable to authenticate"));
    assert_eq!(retrieve(&world, &session).await["status"], "open");
    pay(&world, &session, "4000002500003155", "").await;
    let passed = world.client.post(&url).form(&[("result", "complete")]).send().await;
    assert_eq!(passed.expect("an answer").status(), 303);
    let done = retrieve(&world, &session).await;
    assert_eq!((&done["payment_status"], &done["customer"]), (&json!("paid"), &json!(customer)));
}

#[tokio::test]
async fn a_trial_starts_without_a_payment() {
    let world = World::start().await;
    let price = world.price("2999", Some("month")).await;
    let more = [("subscription_data[trial_period_days]", "14")];
    let session = world.session(&price, "subscription", &more).await;
    assert_eq!(session["amount_total"], 0);
    let (_, html) = page(&world, &session).await;
    assert!(html.contains("Free until") && html.contains("then 29.99 USD per month"));
    let answer = pay(&world, &session, "4000000000000341", "a@example.com").await;
    assert_eq!(answer.status(), 303, "the card can be saved");
    let done = retrieve(&world, &session).await;
    assert_eq!(done["payment_status"], "no_payment_required");
    let path = format!("/v1/subscriptions/{}?expand[]=latest_invoice", text(&done["subscription"]));
    let subscription = world.look(&path).await;
    assert_eq!(subscription["status"], "trialing");
    let invoice = &subscription["latest_invoice"];
    assert_eq!((&invoice["status"], &invoice["total"]), (&json!("paid"), &json!(0)));
    assert_eq!(invoice["billing_reason"], "subscription_create");
    let start = subscription["trial_start"].as_i64().expect("a time");
    assert_eq!(subscription["trial_end"], start + 14 * DAY);
    let item = &subscription["items"]["data"][0];
    assert_eq!(item["current_period_end"], start + 14 * DAY);
}

#[tokio::test]
async fn packs_are_paid_once() {
    let world = World::start().await;
    let price = world.price("1999", None).await;
    let more = [
        ("customer_creation", "always"),
        ("payment_intent_data[metadata][pack]", "100"),
        ("line_items[1][price_data][currency]", "usd"),
        ("line_items[1][price_data][unit_amount]", "1"),
        ("line_items[1][price_data][product_data][name]", "Extra"),
        ("line_items[1][quantity]", "2"),
    ];
    let session = world.session(&price, "payment", &more).await;
    assert_eq!(session["amount_total"], 2001);
    let path = format!("{}/_sandbox/checkout/{}/complete", world.base, id(&session));
    let form = [("payment_method", "pm_card_visa"), ("email", "b@example.com")];
    let (status, done) = world.send(world.client.post(&path).form(&form)).await;
    assert_eq!((status, &done["payment_status"]), (200, &json!("paid")));
    assert!(text(&done["customer"]).starts_with("cus_"));
    let intent =
        world.look(&format!("/v1/payment_intents/{}", text(&done["payment_intent"]))).await;
    assert_eq!((&intent["amount"], &intent["metadata"]["pack"]), (&json!(2001), &json!("100")));
    let lines = world.look(&format!("/v1/checkout/sessions/{}/line_items", id(&session))).await;
    assert_eq!(lines["data"][1]["amount_total"], 2);
    let (status, _) = world.send(world.client.post(&path)).await;
    assert_eq!(status, 400, "complete only once");
}

#[tokio::test]
async fn completion_reports_declines() {
    let world = World::start().await;
    let price = world.price("1999", None).await;
    let session = world.session(&price, "payment", &[]).await;
    let path = format!("{}/_sandbox/checkout/{}/complete", world.base, id(&session));
    let form = [("payment_method", "pm_card_chargeDeclined")];
    let (status, body) = world.send(world.client.post(&path).form(&form)).await;
    assert_eq!((status, &body["error"]["code"]), (402, &json!("card_declined")));
    let (status, _) = world.send(world.client.post(&path)).await;
    assert_eq!(status, 200, "pm_card_visa is the default");
    let nowhere = format!("{}/_sandbox/checkout/cs_none/complete", world.base);
    assert_eq!(world.send(world.client.post(nowhere)).await.0, 404);
}

#[tokio::test]
async fn a_free_session_needs_no_payment() {
    let world = World::start().await;
    let price = world.price("0", Some("month")).await;
    let session = world.session(&price, "subscription", &[]).await;
    let path = format!("{}/_sandbox/checkout/{}/complete", world.base, id(&session));
    let (status, done) = world.send(world.client.post(&path)).await;
    assert_eq!((status, &done["payment_status"]), (200, &json!("no_payment_required")));
    let path = format!("/v1/subscriptions/{}", text(&done["subscription"]));
    assert_eq!(world.look(&path).await["status"], "active");
}

#[tokio::test]
async fn what_is_not_simulated_is_refused() {
    let world = World::start().await;
    let price = world.price("1999", None).await;
    let base = [
        ("line_items[0][price]", price.as_str()),
        ("line_items[0][quantity]", "1"),
        ("success_url", "http://shop.test"),
    ];
    for (mode, more) in [
        ("setup", None),
        ("payment", Some(("invoice_creation[enabled]", "true"))),
        ("payment", Some(("success_url", "javascript:alert(1)"))),
        ("payment", Some(("line_items[0][quantity]", "0"))),
        ("payment", Some(("line_items[0][quantity]", "999999"))),
        ("subscription", None),
    ] {
        let mut form = base.to_vec();
        form.push(("mode", mode));
        form.extend(more);
        let (status, body) = world.post("/v1/checkout/sessions", &form).await;
        assert_eq!(status, 400, "{mode} {more:?}");
        assert_eq!(body["error"]["type"], "invalid_request_error");
    }
}

#[tokio::test]
async fn a_completed_session_cannot_be_expired() {
    let world = World::start().await;
    let price = world.price("1500", None).await;
    let session = id(&world.session(&price, "payment", &[]).await);
    world.make(&format!("/_sandbox/checkout/{session}/complete"), &[]).await;
    let path = format!("/v1/checkout/sessions/{session}");
    let (status, body) = world.post(&format!("{path}/expire"), &[]).await;
    assert_eq!((status, &body["error"]["type"]), (400, &"invalid_request_error".into()), "{body}");
    let after = world.look(&path).await;
    assert_eq!((&after["status"], &after["payment_status"]), (&"complete".into(), &"paid".into()));
}

#[tokio::test]
async fn another_sites_page_cannot_complete_a_session() {
    let world = World::start().await;
    let price = world.price("1500", None).await;
    let session = id(&world.session(&price, "payment", &[]).await);
    let path = format!("/_sandbox/checkout/{session}/complete");
    let foreign = world.request("POST", &path).header("origin", "https://evil.example");
    assert_eq!(world.send(foreign).await.0, 400);
    assert_eq!(world.look(&format!("/v1/checkout/sessions/{session}")).await["status"], "open");
}
