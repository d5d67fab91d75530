//! Saving payment methods without a payment.

use serde_json::json;

use crate::world::{World, id, text};

#[tokio::test]
async fn a_confirmed_setup_saves_the_card() {
    let world = World::start().await;
    let customer = id(&world.make("/v1/customers", &[]).await);
    let form = [
        ("customer", customer.as_str()),
        ("payment_method", "pm_card_visa"),
        ("confirm", "true"),
        ("metadata[why]", "later"),
        ("automatic_payment_methods[enabled]", "true"),
        ("automatic_payment_methods[allow_redirects]", "never"),
    ];
    let intent = world.make("/v1/setup_intents", &form).await;
    assert_eq!((&intent["status"], &intent["usage"]), (&json!("succeeded"), &json!("off_session")));
    let saved = world.look(&format!("/v1/customers/{customer}/payment_methods")).await;
    assert_eq!(saved["data"][0]["id"], intent["payment_method"]);
    let path = format!("/v1/setup_attempts?setup_intent={}", id(&intent));
    let attempts = world.look(&path).await;
    assert_eq!(attempts["data"][0]["id"], intent["latest_attempt"]);
    assert_eq!(attempts["data"][0]["status"], "succeeded");
    assert_eq!(
        world.events().await,
        [
            "customer.created",
            "setup_intent.created",
            "payment_method.attached",
            "setup_intent.succeeded",
        ]
    );
    let path = format!("/v1/setup_intents/{}/confirm", id(&intent));
    let (status, body) = world.post(&path, &[]).await;
    assert_eq!(status, 400);
    assert_eq!(body["error"]["code"], "setup_intent_unexpected_state");
}

#[tokio::test]
async fn a_declined_setup_keeps_its_reason() {
    let world = World::start().await;
    let form = [("payment_method", "pm_card_chargeDeclined"), ("confirm", "true")];
    let (status, body) = world.post("/v1/setup_intents", &form).await;
    let error = &body["error"];
    assert_eq!((status, &error["code"]), (402, &json!("card_declined")));
    let intent = &error["setup_intent"];
    assert_eq!(intent["status"], "requires_payment_method");
    let path = format!("/v1/setup_intents/{}", id(intent));
    let kept = world.look(&path).await;
    assert_eq!(kept["last_setup_error"]["decline_code"], "generic_decline");
    assert_eq!(kept["payment_method"], json!(null));
    let again = world.make(&format!("{path}/confirm"), &[("payment_method", "pm_card_visa")]).await;
    assert_eq!((&again["status"], &again["last_setup_error"]), (&json!("succeeded"), &json!(null)));
    let attempts = world.look(&format!("/v1/setup_attempts?setup_intent={}", id(intent))).await;
    let attempts = attempts["data"].as_array().expect("a list");
    let statuses: Vec<&str> =
        attempts.iter().map(|attempt| attempt["status"].as_str().expect("a status")).collect();
    assert_eq!(statuses, ["succeeded", "failed"]);
    assert_eq!(attempts[1]["setup_error"]["code"], "card_declined");
}

#[tokio::test]
async fn three_d_secure_on_setup_is_not_asked_again() {
    let world = World::start().await;
    let customer = id(&world.make("/v1/customers", &[]).await);
    for (result, status) in [("fail", "requires_payment_method"), ("complete", "succeeded")] {
        let form = [
            ("customer", customer.as_str()),
            ("payment_method", "pm_card_authenticationRequiredOnSetup"),
            ("confirm", "true"),
            ("return_url", "http://shop.test/back"),
        ];
        let intent = world.make("/v1/setup_intents", &form).await;
        assert_eq!(intent["status"], "requires_action");
        let url = text(&intent["next_action"]["redirect_to_url"]["url"]);
        assert_eq!(world.client.get(&url).send().await.expect("a page").status(), 200);
        let answer = world.client.post(&url).form(&[("result", result)]).send().await;
        let answer = answer.expect("an answer");
        let target = answer.headers()["location"].to_str().expect("text").to_owned();
        assert!(target.starts_with("http://shop.test/back?setup_intent=seti_"), "{target}");
        let intent = world.look(&format!("/v1/setup_intents/{}", id(&intent))).await;
        assert_eq!(intent["status"], status);
    }
    let saved = world.look(&format!("/v1/customers/{customer}/payment_methods")).await;
    assert_eq!(saved["data"].as_array().expect("a list").len(), 1, "only the completed one");
    let form = [
        ("amount", "900"),
        ("currency", "usd"),
        ("customer", customer.as_str()),
        ("payment_method", saved["data"][0]["id"].as_str().expect("an id")),
        ("off_session", "true"),
        ("confirm", "true"),
    ];
    assert_eq!(world.make("/v1/payment_intents", &form).await["status"], "succeeded");
}

#[tokio::test]
async fn setups_are_listed_updated_and_canceled() {
    let world = World::start().await;
    let customer = id(&world.make("/v1/customers", &[]).await);
    let intent = world.make("/v1/setup_intents", &[("customer", customer.as_str())]).await;
    world.make("/v1/setup_intents", &[]).await;
    let listed = world.look(&format!("/v1/setup_intents?customer={customer}")).await;
    assert_eq!(listed["data"].as_array().expect("a list").len(), 1);
    let path = format!("/v1/setup_intents/{}", id(&intent));
    let updated = world.make(&path, &[("payment_method", "pm_card_visa")]).await;
    assert_eq!(updated["status"], "requires_confirmation");
    let cancel = format!("{path}/cancel");
    let canceled = world.make(&cancel, &[("cancellation_reason", "abandoned")]).await;
    assert_eq!(
        (&canceled["status"], &canceled["cancellation_reason"]),
        (&json!("canceled"), &json!("abandoned"))
    );
    assert_eq!(world.post(&cancel, &[]).await.0, 400);
    assert_eq!(world.post("/v1/setup_intents", &[("confirm", "true")]).await.0, 400);
    let form = [("usage", "sometimes")];
    let (status, body) = world.post("/v1/setup_intents", &form).await;
    assert_eq!((status, &body["error"]["param"]), (400, &json!("usage")));
    assert_eq!(world.look("/v1/setup_intents").await["data"].as_array().expect("a list").len(), 2);
    assert_eq!(world.get("/v1/setup_attempts?setup_intent=seti_none").await.0, 400);
}

#[tokio::test]
async fn a_free_subscription_asks_for_a_method() {
    let world = World::start().await;
    let price = world.price("2999", Some("month")).await;
    let customer = id(&world.make("/v1/customers", &[]).await);
    let form = [
        ("customer", customer.as_str()),
        ("items[0][price]", price.as_str()),
        ("trial_period_days", "30"),
        ("payment_settings[save_default_payment_method]", "on_subscription"),
        ("expand[]", "pending_setup_intent"),
    ];
    let made = world.make("/v1/subscriptions", &form).await;
    let pending = &made["pending_setup_intent"];
    assert_eq!(pending["status"], "requires_payment_method");
    let path = format!("/v1/setup_intents/{}/confirm", id(pending));
    let saved = world.make(&path, &[("payment_method", "pm_card_visa")]).await;
    let made = world.look(&format!("/v1/subscriptions/{}", id(&made))).await;
    assert_eq!(made["pending_setup_intent"], json!(null));
    assert_eq!(made["default_payment_method"], saved["payment_method"]);
}

#[tokio::test]
async fn a_saved_card_leaves_nothing_pending() {
    let world = World::start().await;
    let price = world.price("2999", Some("month")).await;
    let customer = world.payer("pm_card_visa").await;
    let form = [
        ("customer", customer.as_str()),
        ("items[0][price]", price.as_str()),
        ("trial_period_days", "30"),
    ];
    let made = world.make("/v1/subscriptions", &form).await;
    assert_eq!(made["pending_setup_intent"], json!(null));
}

#[tokio::test]
async fn a_method_can_be_described_in_place() {
    let world = World::start().await;
    let form = [
        ("confirm", "true"),
        ("payment_method_data[type]", "card"),
        ("payment_method_data[card][token]", "tok_mastercard"),
        ("payment_method_data[billing_details][name]", "Ada"),
        ("expand[]", "payment_method"),
    ];
    let intent = world.make("/v1/setup_intents", &form).await;
    assert_eq!(intent["payment_method"]["card"]["brand"], "mastercard");
    assert_eq!(intent["payment_method"]["billing_details"]["name"], "Ada");
    let form =
        [("payment_method_data[type]", "card"), ("payment_method_data[card][token]", "tok_nobody")];
    let (status, body) = world.post("/v1/setup_intents", &form).await;
    assert_eq!((status, &body["error"]["code"]), (400, &json!("resource_missing")));
    assert_eq!(world.look("/v1/setup_intents").await["data"].as_array().expect("a list").len(), 1);
}
