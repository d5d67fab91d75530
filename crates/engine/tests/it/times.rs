//! When things were made, changed and paid, on every backend.

use crate::worlds::{World, deliver, drain, own};
use domain::time::Timestamp;
use engine::Page;
use engine::customers::NewCustomer;

async fn made(world: &World, name: &str) -> anyhow::Result<Timestamp> {
    let new = NewCustomer {
        external_id: Some(name.to_owned()),
        email: None,
        name: None,
        metadata: Default::default(),
    };
    Ok(world.engine.customers_create(new).await?.created_at)
}

#[tokio::test]
async fn row_15_each_row_has_times_of_its_own_and_only_a_change_moves_them() -> anyhow::Result<()> {
    for world in World::all().await? {
        let first = made(&world, "first").await?;
        world.advance("3s").await;
        let second = made(&world, "second").await?;
        let apart = second.micros() - first.micros();
        assert!(2_000_000 <= apart, "{}: {apart} microseconds apart", world.name);

        let id = world.engine.catalogue().await?[0].product.id.to_string();
        let before = world.engine.products_get(&id).await?;
        world.advance("3s").await;
        let read = world.engine.products_get(&id).await?;
        assert_eq!(read.updated_at, before.updated_at, "{}: reading changes nothing", world.name);
        let changed = world.engine.products_set_active(&id, false).await?;
        let after = world.engine.products_get(&id).await?;
        assert_eq!(after.updated_at, changed.updated_at, "{}", world.name);
        assert_eq!(after.created_at, before.created_at, "{}", world.name);
        let apart = after.updated_at.micros() - before.updated_at.micros();
        assert!(2_000_000 <= apart, "{}: {apart} microseconds apart", world.name);
    }
    Ok(())
}

/// What the provider dates is kept as it was dated, apart from when we heard of it.
#[tokio::test]
async fn row_15_a_payment_told_an_hour_late_was_paid_when_it_was() -> anyhow::Result<()> {
    for world in World::all().await? {
        let request = world.request("buyer", "100 Credits").await;
        world.pay(request).await?;
        let events = world.events().await;
        let completed = events.iter().find(|event| event["type"] == "checkout.session.completed");
        let paid_at = completed.unwrap()["created"].as_i64().unwrap();
        world.advance("1h").await;
        for event in &events {
            deliver(&world.engine, event).await;
        }
        drain(&world.engine).await;
        let payments = world.engine.payments_list(&own("buyer"), Page::first()).await?.data;
        let payment = &payments[0];
        let told = payment.paid_at.map(|at| at.seconds());
        assert_eq!(told, Some(paid_at), "{}: by the event's time", world.name);
        let late = payment.created_at.seconds() - paid_at;
        assert!(3_600 <= late, "{}: our own row is of now: {late}", world.name);
    }
    Ok(())
}
