//! Payment intents, charges, refunds and the test cards.

use serde_json::json;

use crate::world::{World, id, text};

async fn check_card(card: &str, status: u16, code: Option<&str>, decline_code: Option<&str>) {
    let world = World::start().await;
    let form =
        [("amount", "900"), ("currency", "usd"), ("payment_method", card), ("confirm", "true")];
    let (got, body) = world.post("/v1/payment_intents", &form).await;
    assert_eq!(got, status, "{card}: {body}");
    let error = &body["error"];
    assert_eq!(error["code"].as_str(), code, "{card}");
    assert_eq!(error["decline_code"].as_str(), decline_code, "{card}");
    if let Some(code) = code {
        let intent = &error["payment_intent"];
        assert_eq!(intent["status"], "requires_payment_method", "{card}");
        assert_eq!(intent["last_payment_error"]["code"], code, "{card}");
        let charge = world.look(&format!("/v1/charges/{}", text(&error["charge"]))).await;
        assert_eq!((&charge["status"], &charge["paid"]), (&json!("failed"), &json!(false)));
    }
}

#[tokio::test]
async fn cards_do_what_their_name_says() {
    check_card("pm_card_visa", 200, None, None).await;
    check_card("pm_card_mastercard", 200, None, None).await;
    check_card("pm_card_visa_debit", 200, None, None).await;
    let declined = Some("card_declined");
    check_card("pm_card_chargeDeclined", 402, declined, Some("generic_decline")).await;
    let funds = "pm_card_visa_chargeDeclinedInsufficientFunds";
    check_card(funds, 402, declined, Some("insufficient_funds")).await;
    check_card("pm_card_chargeDeclinedExpiredCard", 402, Some("expired_card"), None).await;
    let processing = "pm_card_chargeDeclinedProcessingError";
    check_card(processing, 402, Some("processing_error"), None).await;
    check_card("pm_card_chargeCustomerFail", 402, declined, Some("generic_decline")).await;
}

#[tokio::test]
async fn three_d_secure_is_answered_on_a_page() {
    let world = World::start().await;
    for (result, status) in [("complete", "succeeded"), ("fail", "requires_payment_method")] {
        let form = [
            ("amount", "900"),
            ("currency", "usd"),
            ("payment_method", "pm_card_authenticationRequired"),
            ("confirm", "true"),
            ("return_url", "http://shop.test/back"),
        ];
        let intent = world.make("/v1/payment_intents", &form).await;
        assert_eq!(intent["status"], "requires_action");
        let url = text(&intent["next_action"]["redirect_to_url"]["url"]);
        let page = world.client.get(&url).send().await.expect("a page");
        assert!(page.text().await.expect("a page").contains("9.00 USD"));
        let answer = world.client.post(&url).form(&[("result", result)]).send().await;
        let answer = answer.expect("an answer");
        assert_eq!(answer.status(), 303);
        let target = answer.headers()["location"].to_str().expect("text").to_owned();
        assert!(target.starts_with("http://shop.test/back?payment_intent=pi_"), "{target}");
        let path = format!("/v1/payment_intents/{}", id(&intent));
        assert_eq!(world.look(&path).await["status"], status);
        let again = world.client.post(&url).form(&[("result", result)]).send().await;
        assert_eq!(again.expect("an answer").status(), 404, "answered once");
    }
}

#[tokio::test]
async fn confirming_the_intent_pays_the_first_invoice() {
    let world = World::start().await;
    let price = world.price("2999", Some("month")).await;
    let customer = id(&world.make("/v1/customers", &[]).await);
    let form = [
        ("customer", customer.as_str()),
        ("items[0][price]", price.as_str()),
        ("payment_behavior", "default_incomplete"),
        ("payment_settings[save_default_payment_method]", "on_subscription"),
        ("expand[]", "latest_invoice.confirmation_secret"),
    ];
    let made = world.make("/v1/subscriptions", &form).await;
    assert_eq!(made["status"], "incomplete");
    let secret = text(&made["latest_invoice"]["confirmation_secret"]["client_secret"]);
    let intent = secret.split("_secret_").next().expect("an id");
    let confirm = format!("/v1/payment_intents/{intent}/confirm");
    let (status, _) = world.post(&confirm, &[("payment_method", "pm_card_chargeDeclined")]).await;
    assert_eq!(status, 402);
    world.make(&confirm, &[("payment_method", "pm_card_visa")]).await;
    let path = format!("/v1/subscriptions/{}?expand[]=latest_invoice", id(&made));
    let active = world.look(&path).await;
    assert_eq!(
        (&active["status"], &active["latest_invoice"]["status"]),
        (&json!("active"), &json!("paid"))
    );
    assert_eq!(active["latest_invoice"]["attempt_count"], 1, "by hand");
    assert!(active["default_payment_method"].is_string());
    assert_eq!(world.advance("period-end").await.0, 200);
    assert_eq!(world.look(&path).await["latest_invoice"]["status"], "paid", "renewed by that card");
}

#[tokio::test]
async fn refunds_never_exceed_the_charge() {
    let world = World::start().await;
    let form = [
        ("amount", "1000"),
        ("currency", "usd"),
        ("payment_method", "pm_card_visa"),
        ("confirm", "true"),
    ];
    let intent = world.make("/v1/payment_intents", &form).await;
    let intent_id = id(&intent);
    let refund = async |amount: &str| {
        let form = [("payment_intent", intent_id.as_str()), ("amount", amount)];
        world.post("/v1/refunds", &form).await
    };
    assert_eq!(refund("400").await.0, 200);
    assert_eq!(refund("601").await.0, 400);
    assert_eq!(refund("-1").await.0, 400);
    assert_eq!(refund("0").await.0, 400);
    let charge = world.look(&format!("/v1/charges/{}", text(&intent["latest_charge"]))).await;
    assert_eq!((&charge["amount_refunded"], &charge["refunded"]), (&json!(400), &json!(false)));
    assert_eq!(world.post("/v1/refunds", &[("payment_intent", &intent_id)]).await.0, 200);
    let (status, body) = refund("1").await;
    assert_eq!((status, text(&body["error"]["code"])), (400, "charge_already_refunded".to_owned()));
    let listed = world.look(&format!("/v1/refunds?charge={}", text(&charge["id"]))).await;
    assert_eq!(listed["data"].as_array().map(Vec::len), Some(2));
    let refund = format!("/v1/refunds/{}", text(&listed["data"][0]["id"]));
    let noted = world.make(&refund, &[("metadata[why]", "late")]).await;
    assert_eq!((&noted["metadata"]["why"], &noted["amount"]), (&json!("late"), &json!(600)));
    let kinds = world.events().await;
    assert_eq!(
        kinds,
        [
            "payment_intent.created",
            "charge.succeeded",
            "payment_intent.succeeded",
            "refund.created",
            "charge.refunded",
            "refund.created",
            "charge.refunded",
            "refund.updated",
            "charge.refund.updated",
        ]
    );
}

#[tokio::test]
async fn what_an_invoice_asks_for_is_not_changed_behind_its_back() {
    let world = World::start().await;
    let price = world.price("3000", Some("month")).await;
    let customer = world.payer("pm_card_visa").await;
    let other = world.payer("pm_card_visa").await;
    let form = [
        ("customer", customer.as_str()),
        ("items[0][price]", &price),
        ("payment_behavior", "default_incomplete"),
        ("expand[]", "latest_invoice.payments"),
    ];
    let made = world.make("/v1/subscriptions", &form).await;
    let payment = &made["latest_invoice"]["payments"]["data"][0]["payment"];
    let path = format!("/v1/payment_intents/{}", text(&payment["payment_intent"]));
    for (key, value) in [
        ("amount", "100"),
        ("currency", "eur"),
        ("customer", other.as_str()),
        ("capture_method", "manual"),
    ] {
        for path in [path.clone(), format!("{path}/confirm")] {
            let (status, body) = world.post(&path, &[(key, value)]).await;
            assert_eq!((status, &body["error"]["param"]), (400, &json!(key)), "{body}");
        }
    }
    assert_eq!(world.post(&format!("{path}/cancel"), &[]).await.0, 400);
    // Nor what its subscription is, before it is paid.
    let own = format!("/v1/subscriptions/{}", id(&made));
    let item = text(&made["items"]["data"][0]["id"]);
    let more = [("items[0][id]", item.as_str()), ("items[0][quantity]", "9")];
    assert_eq!(world.post(&own, &more).await.0, 400);
    let items = format!("/v1/subscription_items/{item}");
    assert_eq!(world.post(&items, &[("quantity", "9")]).await.0, 400);
    assert_eq!(world.post(&own, &[("trial_end", "now")]).await.0, 400);
    world.make(&own, &[("metadata[a]", "b")]).await;
    // A void first invoice ends it.
    let invoice = format!("/v1/invoices/{}/void", id(&made["latest_invoice"]));
    world.make(&invoice, &[]).await;
    assert_eq!(world.look(&own).await["status"], "incomplete_expired");
}
