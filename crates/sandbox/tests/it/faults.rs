//! Faults on demand.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::world::{Shop, World};

async fn set(world: &World, faults: Value) -> u16 {
    let url = format!("{}/_sandbox/faults", world.base);
    world.send(world.client.post(url).json(&faults)).await.0
}

#[tokio::test]
async fn webhooks_are_lost_and_doubled() {
    let world = World::start().await;
    let shop = Shop::open(&[]).await;
    shop.subscribe(&world, &["*"]).await;
    assert_eq!(set(&world, json!({"drop": true})).await, 200);
    world.make("/v1/customers", &[]).await;
    assert_eq!(world.advance("1s").await.0, 200, "what is lost is not waited for");
    assert_eq!(shop.hooks().len(), 0);
    assert_eq!(set(&world, json!({"duplicate": 1.0})).await, 200);
    world.make("/v1/customers", &[]).await;
    let hooks = shop.wait_for(2).await;
    assert_eq!(hooks[0].event["id"], hooks[1].event["id"]);
    assert_eq!(set(&world, json!({})).await, 200);
    world.make("/v1/customers", &[]).await;
    assert_eq!(world.advance("1s").await.0, 200);
    assert_eq!(shop.hooks().len(), 3);
}

#[tokio::test]
async fn webhooks_come_out_of_order() {
    let world = World::start().await;
    let shop = Shop::open(&[]).await;
    shop.subscribe(&world, &["*"]).await;
    set(&world, json!({"reorder": true})).await;
    let price = world.price("2999", Some("month")).await;
    let customer = world.payer("pm_card_visa").await;
    let form = [("customer", customer.as_str()), ("items[0][price]", price.as_str())];
    world.make("/v1/subscriptions", &form).await;
    assert_eq!(world.advance("1s").await.0, 200);
    let mut kinds = shop.kinds();
    let mut told = world.events().await;
    assert_ne!(kinds, told);
    kinds.sort();
    told.sort();
    assert_eq!(kinds, told, "none is missing");
}

#[tokio::test]
async fn the_api_refuses_and_is_slow() {
    let world = World::start().await;
    for status in [429, 500] {
        assert_eq!(set(&world, json!({"api": {"status": status}})).await, 200);
        assert_eq!(world.post("/v1/customers", &[]).await.0, status);
    }
    set(&world, json!({"api": {"slow_ms": 400}})).await;
    let start = Instant::now();
    let list = world.look("/v1/customers").await;
    assert!(Duration::from_millis(400) <= start.elapsed());
    assert_eq!(list["data"], json!([]), "refused before the effect");
    for faults in [json!({"drop": 2}), json!({"x": 1}), json!([]), json!({"api": {"status": 1}})] {
        assert_eq!(set(&world, faults).await, 400);
    }
}

#[tokio::test]
async fn a_failure_is_kept_under_its_key() {
    let world = World::start().await;
    let ask = |key: &str| world.request("POST", "/v1/customers").header("idempotency-key", key);
    assert_eq!(set(&world, json!({"api": {"status": 500, "kept": true}})).await, 200);
    assert_eq!(world.send(ask("k")).await.0, 500);
    assert_eq!(world.look("/v1/customers").await["data"], json!([]), "what has no key goes on");
    set(&world, json!({})).await;
    assert_eq!(world.send(ask("k")).await.0, 500);
    assert_eq!(world.send(ask("another")).await.0, 200);
}

#[tokio::test]
async fn an_answer_is_withheld_after_the_effect() {
    let world = World::start().await;
    set(&world, json!({"api": {"timeout_after_effect": true}})).await;
    let request = world.request("POST", "/v1/customers").header("idempotency-key", "k");
    let patience = Duration::from_millis(500);
    assert!(request.timeout(patience).send().await.expect_err("no answer").is_timeout());
    set(&world, json!({})).await;
    let list = world.look("/v1/customers").await;
    assert_eq!(list["data"].as_array().map(Vec::len), Some(1));
    let again = world.request("POST", "/v1/customers").header("idempotency-key", "k");
    let (status, body) = world.send(again).await;
    assert_eq!((status, &body["id"]), (200, &list["data"][0]["id"]), "the key finds it");
}
