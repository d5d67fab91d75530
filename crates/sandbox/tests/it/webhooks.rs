//! Delivery: signatures, retries, order, filters.

use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use serde_json::json;
use sha2::Sha256;

use crate::world::{Hook, Shop, World, id, text};

/// Recomputed here from the documented scheme; the crate's own signer is not used.
fn verifies(hook: &Hook, secret: &str) -> bool {
    let (timestamp, digest) = hook.signature.split_once(",v1=").expect("t and v1");
    let timestamp = timestamp.strip_prefix("t=").expect("t");
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("a key");
    mac.update(format!("{timestamp}.").as_bytes());
    mac.update(&hook.body);
    hex::encode(mac.finalize().into_bytes()) == digest
}

#[tokio::test]
async fn events_arrive_signed_and_in_order() {
    let world = World::start().await;
    let shop = Shop::open(&[]).await;
    let endpoint = shop.subscribe(&world, &["*"]).await;
    let secret = text(&endpoint["secret"]);
    let shown = world.look(&format!("/v1/webhook_endpoints/{}", id(&endpoint))).await;
    assert!(shown.get("secret").is_none(), "the secret is shown once");
    let mut expected = Vec::new();
    for number in 0..20 {
        let email = format!("{number}@example.com");
        expected.push(json!(id(&world.make("/v1/customers", &[("email", &email)]).await)));
    }
    let hooks = shop.wait_for(20).await;
    let ids: Vec<_> = hooks.iter().map(|hook| hook.event["data"]["object"]["id"].clone()).collect();
    assert_eq!(ids, expected);
    assert!(hooks.iter().all(|hook| verifies(hook, &secret)));
    assert!(!verifies(&hooks[0], "whsec_other"));
    let event = &hooks[0].event;
    assert_eq!(event["api_version"], "2026-10-28.endive");
    assert_eq!((&event["livemode"], &event["pending_webhooks"]), (&json!(false), &json!(1)));
    assert!(text(&event["request"]["id"]).starts_with("req_"));
    tokio::time::sleep(Duration::from_millis(200)).await;
    let stored = world.look(&format!("/v1/events/{}", id(event))).await;
    assert_eq!(stored["pending_webhooks"], 0);
}

#[tokio::test]
async fn a_refusal_is_tried_again_with_a_fresh_signature() {
    let world = World::start().await;
    let shop = Shop::open(&[500, 302]).await;
    let secret = text(&shop.subscribe(&world, &["customer.created"]).await["secret"]);
    world.make("/v1/customers", &[]).await;
    world.make("/v1/products", &[("name", "not wanted")]).await;
    let hooks = shop.wait_for(3).await;
    assert!(hooks.iter().all(|hook| hook.event["id"] == hooks[0].event["id"]));
    assert!(hooks.iter().all(|hook| verifies(hook, &secret)));
    assert_ne!(hooks[0].signature, hooks[2].signature);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(shop.hooks().len(), 3, "delivered once accepted");
}

#[tokio::test]
async fn a_disabled_endpoint_hears_nothing() {
    let world = World::start().await;
    let shop = Shop::open(&[]).await;
    let endpoint = id(&shop.subscribe(&world, &["*"]).await);
    let path = format!("/v1/webhook_endpoints/{endpoint}");
    world.make(&path, &[("disabled", "true")]).await;
    world.make("/v1/customers", &[]).await;
    world.make(&path, &[("disabled", "false")]).await;
    world.make("/v1/customers", &[("email", "heard@example.com")]).await;
    let hooks = shop.wait_for(1).await;
    assert_eq!(hooks[0].event["data"]["object"]["email"], "heard@example.com");
}

#[tokio::test]
async fn a_slow_shop_does_not_slow_the_api() {
    let world = World::start().await;
    let shop = Shop::open(&[]).await;
    shop.answer_after(Duration::from_secs(5));
    shop.subscribe(&world, &["*"]).await;
    let calls = async {
        for _ in 0..20 {
            world.make("/v1/customers", &[]).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(4), calls).await.expect("the API does not wait");
}

#[tokio::test]
async fn an_unreachable_shop_stops_the_clock_with_an_answer() {
    let world = World::start().await;
    let form = [("url", "http://127.0.0.1:9/hook"), ("enabled_events[]", "product.created")];
    world.make("/v1/webhook_endpoints", &form).await;
    assert_eq!(world.advance("1h").await.0, 200, "nothing to deliver");
}

#[tokio::test]
async fn a_failing_renewal_is_told() {
    let world = World::start().await;
    let shop = Shop::open(&[]).await;
    shop.subscribe(&world, &["invoice.payment_failed"]).await;
    let price = world.price("2999", Some("month")).await;
    let customer = world.payer("pm_card_visa").await;
    let form = [("customer", customer.as_str()), ("items[0][price]", price.as_str())];
    let subscription = id(&world.make("/v1/subscriptions", &form).await);
    world.give_card(&customer, "pm_card_chargeCustomerFail").await;
    assert_eq!(world.advance("period-end").await.0, 200);
    let late = world.look(&format!("/v1/subscriptions/{subscription}")).await;
    let hooks = shop.wait_for(1).await;
    assert_eq!(hooks[0].event["data"]["object"]["id"], late["latest_invoice"]);
}
