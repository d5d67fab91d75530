//! What a restart keeps, also when the process was killed.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::world::{Shop, World, id};

#[tokio::test]
async fn everything_is_still_there() {
    let directory = tempfile::tempdir().expect("a directory");
    let world = World::start_in(directory.path()).await;
    let price = world.price("2999", Some("month")).await;
    let customer = world.payer("pm_card_visa").await;
    let form = [("customer", customer.as_str()), ("items[0][price]", price.as_str())];
    let row = id(&world.make("/v1/subscriptions", &form).await);
    let keyed = async |world: &World| {
        let request = world.request("POST", "/v1/customers").form(&[("email", "k@example.com")]);
        world.send(request.header("idempotency-key", "kept")).await
    };
    let first = keyed(&world).await;
    assert_eq!(world.advance("10d").await.0, 200);
    let events = world.events().await;
    let now = world.look("/_sandbox/clock").await["now"].as_i64().expect("a time");
    world.stop().await;

    let started = Instant::now();
    let world = World::start_in(directory.path()).await;
    assert!(started.elapsed() < Duration::from_millis(500), "{:?}", started.elapsed());
    let later = world.look("/_sandbox/clock").await["now"].as_i64().expect("a time");
    assert!((now..now + 10).contains(&later), "the clock goes on");
    assert_eq!(keyed(&world).await, first, "the key is remembered");
    assert_eq!(world.events().await, events);
    assert_eq!(world.advance("period-end").await.0, 200);
    let list = world.look(&format!("/v1/invoices?subscription={row}")).await;
    assert_eq!(list["data"].as_array().map(Vec::len), Some(2), "timers were restored");
    world.stop().await;
}

#[tokio::test]
async fn a_killed_sandbox_loses_nothing_it_answered() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut made = Vec::new();
    for round in 0..5 {
        let world = World::start_in(directory.path()).await;
        for number in 0..10 {
            let email = format!("{round}-{number}@example.com");
            made.push(json!(id(&world.make("/v1/customers", &[("email", &email)]).await)));
        }
        world.kill().await;
    }
    let world = World::start_in(directory.path()).await;
    let list = world.look("/v1/customers?limit=100").await;
    let mut found: Vec<_> =
        list["data"].as_array().expect("a list").iter().map(|row| row["id"].clone()).collect();
    found.reverse();
    assert_eq!(found, made, "all there, in order of creation");
}

#[tokio::test]
async fn undelivered_events_are_delivered_after_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let shop = Shop::open(&[503, 503]).await;
    let world = World::start_in(directory.path()).await;
    shop.subscribe(&world, &["*"]).await;
    let customer = id(&world.make("/v1/customers", &[]).await);
    shop.wait_for(1).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    world.kill().await;
    let _world = World::start_in(directory.path()).await;
    let hooks = shop.wait_for(3).await;
    assert!(hooks.iter().all(|hook| hook.event["data"]["object"]["id"] == json!(customer)));
}
