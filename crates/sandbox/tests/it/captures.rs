//! Money that is authorized first: captured, released, expired. Refunds that take their time.
//! And what all of it adds up to in the balance.

use serde_json::{Value, json};

use crate::world::{World, id, text};

async fn authorize(world: &World, more: &[(&str, &str)]) -> Value {
    let mut form = vec![
        ("amount", "2000"),
        ("currency", "usd"),
        ("payment_method", "pm_card_visa"),
        ("capture_method", "manual"),
        ("confirm", "true"),
    ];
    form.extend_from_slice(more);
    let intent = world.make("/v1/payment_intents", &form).await;
    assert_eq!(
        (&intent["status"], &intent["amount_capturable"], &intent["amount_received"]),
        (&json!("requires_capture"), &json!(2000), &json!(0))
    );
    intent
}

async fn charge_of(world: &World, intent: &Value) -> Value {
    world.look(&format!("/v1/charges/{}", text(&intent["latest_charge"]))).await
}

#[tokio::test]
async fn a_part_is_captured_and_the_rest_released() {
    let world = World::start().await;
    let intent = authorize(&world, &[]).await;
    let charge = charge_of(&world, &intent).await;
    assert_eq!(
        (&charge["captured"], &charge["balance_transaction"]),
        (&json!(false), &json!(null))
    );
    let path = format!("/v1/payment_intents/{}/capture", id(&intent));
    let (status, body) = world.post(&path, &[("amount_to_capture", "2001")]).await;
    assert_eq!((status, &body["error"]["code"]), (400, &json!("amount_too_large")));
    let captured = world.make(&path, &[("amount_to_capture", "1500")]).await;
    assert_eq!(
        (&captured["status"], &captured["amount_received"], &captured["amount"]),
        (&json!("succeeded"), &json!(1500), &json!(2000))
    );
    let charge = charge_of(&world, &intent).await;
    assert_eq!(
        (&charge["amount_captured"], &charge["amount_refunded"], &charge["refunded"]),
        (&json!(1500), &json!(500), &json!(false))
    );
    let (status, body) = world.post(&path, &[]).await;
    assert_eq!(status, 400);
    assert_eq!(body["error"]["code"], "payment_intent_unexpected_state");
    let form = [("payment_intent", id(&intent)), ("amount", "1501".to_owned())];
    let form: Vec<(&str, &str)> = form.iter().map(|(key, text)| (*key, text.as_str())).collect();
    assert_eq!(world.post("/v1/refunds", &form).await.0, 400, "only what was captured");
    assert_eq!(
        world.events().await,
        [
            "payment_intent.created",
            "charge.succeeded",
            "payment_intent.amount_capturable_updated",
            "charge.captured",
            "payment_intent.succeeded",
        ]
    );
}

#[tokio::test]
async fn an_authorization_is_canceled_or_expires() {
    let world = World::start().await;
    let intent = authorize(&world, &[]).await;
    let path = format!("/v1/payment_intents/{}/cancel", id(&intent));
    let canceled = world.make(&path, &[]).await;
    assert_eq!(
        (&canceled["status"], &canceled["amount_capturable"]),
        (&json!("canceled"), &json!(0))
    );
    let charge = charge_of(&world, &intent).await;
    assert_eq!((&charge["refunded"], &charge["captured"]), (&json!(true), &json!(false)));
    let path = format!("/v1/charges/{}/capture", id(&charge));
    let (status, body) = world.post(&path, &[]).await;
    assert_eq!((status, &body["error"]["code"]), (400, &json!("charge_expired_for_capture")));

    let intent = authorize(&world, &[]).await;
    assert_eq!(world.advance("8d").await.0, 200);
    let intent = world.look(&format!("/v1/payment_intents/{}", id(&intent))).await;
    assert_eq!(
        (&intent["status"], &intent["cancellation_reason"]),
        (&json!("canceled"), &json!("automatic"))
    );
    assert!(world.events().await.contains(&"charge.expired".to_owned()));
    assert_eq!(world.look("/v1/balance_transactions").await["data"], json!([]));
}

#[tokio::test]
async fn a_charge_is_captured_by_itself_and_an_authorization_grows() {
    let world = World::start().await;
    let intent = authorize(&world, &[]).await;
    let path = format!("/v1/payment_intents/{}/increment_authorization", id(&intent));
    assert_eq!(world.post(&path, &[("amount", "2500")]).await.0, 400, "it was not asked for");
    let charge = text(&intent["latest_charge"]);
    let captured = world.make(&format!("/v1/charges/{charge}/capture"), &[]).await;
    assert_eq!(captured["captured"], true);
    let again = world.post(&format!("/v1/charges/{charge}/capture"), &[]).await;
    assert_eq!(again.1["error"]["code"], "charge_already_captured");

    let key = "payment_method_options[card][request_incremental_authorization]";
    let intent = authorize(&world, &[(key, "if_available")]).await;
    let path = format!("/v1/payment_intents/{}", id(&intent));
    let grow = format!("{path}/increment_authorization");
    assert_eq!(world.post(&grow, &[("amount", "2000")]).await.0, 400, "not more than before");
    assert_eq!(world.make(&grow, &[("amount", "2500")]).await["amount_capturable"], 2500);
    let captured = world.make(&format!("{path}/capture"), &[]).await;
    assert_eq!(captured["amount_received"], 2500);
}

async fn pay(world: &World, card: &str) -> String {
    let form =
        [("amount", "2000"), ("currency", "usd"), ("payment_method", card), ("confirm", "true")];
    id(&world.make("/v1/payment_intents", &form).await)
}

async fn check_refund(card: &str, first: &str, last: &str, refunded: i64, events: &[&str]) {
    let world = World::start().await;
    let intent = pay(&world, card).await;
    let refund = world.make("/v1/refunds", &[("payment_intent", intent.as_str())]).await;
    assert_eq!(refund["status"], first, "{card}");
    assert_eq!(world.advance("1m").await.0, 200);
    let refund = world.look(&format!("/v1/refunds/{}", id(&refund))).await;
    assert_eq!(refund["status"], last, "{card}");
    let charge = world.look(&format!("/v1/charges/{}", text(&refund["charge"]))).await;
    assert_eq!(charge["amount_refunded"], refunded, "{card}");
    let kinds = world.events().await;
    assert_eq!(kinds[3..], *events, "{card}");
}

#[tokio::test]
async fn refunds_take_their_time_or_fail() {
    let told = ["refund.created", "charge.refunded"];
    check_refund("pm_card_visa", "succeeded", "succeeded", 2000, &told).await;
    let told = ["refund.created", "charge.refunded", "refund.updated", "charge.refund.updated"];
    check_refund("pm_card_pendingRefund", "pending", "succeeded", 2000, &told).await;
    let told = [
        "refund.created",
        "charge.refunded",
        "refund.updated",
        "charge.refund.updated",
        "refund.failed",
    ];
    check_refund("pm_card_refundFail", "succeeded", "failed", 0, &told).await;
}

#[tokio::test]
async fn only_a_refund_that_waits_for_the_buyer_is_canceled() {
    let world = World::start().await;
    let intent = pay(&world, "pm_card_visa").await;
    let refund = world.make("/v1/refunds", &[("payment_intent", intent.as_str())]).await;
    let cancel = format!("/v1/refunds/{}/cancel", id(&refund));
    assert_eq!(world.post(&cancel, &[]).await.0, 400);
    let form = [
        ("amount", "1000"),
        ("currency", "brl"),
        ("confirm", "true"),
        ("payment_method_data[type]", "boleto"),
        ("payment_method_data[boleto][tax_id]", "00000000000"),
        ("payment_method_data[billing_details][name]", "Ada"),
        ("payment_method_data[billing_details][email]", "succeed_immediately@example.com"),
    ];
    let intent = id(&world.make("/v1/payment_intents", &form).await);
    let early = world.post("/v1/refunds", &[("payment_intent", &intent)]).await;
    assert_eq!(early.0, 400, "it is not paid yet");
    assert_eq!(world.advance("1m").await.0, 200);
    let refund = world.make("/v1/refunds", &[("payment_intent", intent.as_str())]).await;
    assert_eq!(refund["status"], "requires_action");
    let canceled = world.make(&format!("/v1/refunds/{}/cancel", id(&refund)), &[]).await;
    assert_eq!(canceled["status"], "canceled");
    let charge = world.look(&format!("/v1/charges/{}", text(&refund["charge"]))).await;
    assert_eq!(charge["amount_refunded"], 0);
}

#[tokio::test]
async fn the_balance_is_the_sum_of_its_transactions() {
    let world = World::start().await;
    let first = pay(&world, "pm_card_visa").await;
    pay(&world, "pm_card_bypassPending").await;
    let refund = [("payment_intent", first.as_str()), ("amount", "500")];
    world.make("/v1/refunds", &refund).await;
    let list = world.look("/v1/balance_transactions?limit=2").await;
    assert_eq!((&list["data"][0]["type"], &list["has_more"]), (&json!("refund"), &json!(true)));
    let cursor = format!("/v1/balance_transactions?starting_after={}", id(&list["data"][1]));
    let rest = world.look(&cursor).await;
    let row = &rest["data"][0];
    assert_eq!(
        (&row["amount"], &row["fee"], &row["net"], &row["status"]),
        (&json!(2000), &json!(88), &json!(1912), &json!("pending"))
    );
    let path = format!("/v1/charges/{}?expand[]=balance_transaction", text(&row["source"]));
    assert_eq!(world.look(&path).await["balance_transaction"]["id"], row["id"]);
    let refunds = world.look("/v1/balance_transactions?type=refund").await;
    assert_eq!(refunds["data"].as_array().expect("a list").len(), 1);
    let balance = world.look("/v1/balance").await;
    assert_eq!(
        (&balance["available"][0]["amount"], &balance["pending"][0]["amount"]),
        (&json!(1412), &json!(1912))
    );
    assert_eq!(world.advance("3d").await.0, 200);
    let balance = world.look("/v1/balance").await;
    assert_eq!(
        (&balance["available"][0]["amount"], &balance["pending"][0]["amount"]),
        (&json!(3324), &json!(0))
    );
}
