//! Calls whose key the provider has forgotten: the object is read, nobody is charged for an old
//! wish.

use crate::provider_calls::{calls, subscribed};
use crate::proxies::{Fault, Proxy};
use crate::worlds::{World, own};
use engine::Engine;
use engine::subscriptions::changing::{ChangeRequest, Timing};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

const DAY_MICROS: i64 = 25 * 60 * 60 * 1_000_000;

struct Aged {
    world: World,
    proxy: Proxy,
    engine: Engine,
    wall: Arc<AtomicI64>,
}

async fn aged() -> anyhow::Result<Aged> {
    let world = World::sqlite().await?;
    subscribed(&world, "buyer", "Pro monthly").await?;
    let wall = Arc::new(AtomicI64::new(world.engine.clock().wall().micros()));
    let proxy = world.proxy().await;
    let engine = world.through_at(&proxy, wall.clone());
    Ok(Aged { world, proxy, engine, wall })
}

fn seats(quantity: i64) -> ChangeRequest {
    ChangeRequest { price: None, quantity: Some(quantity), timing: Timing::Automatic }
}

#[tokio::test]
async fn pitfall_089_what_happened_a_day_ago_is_read_and_not_done_again() -> anyhow::Result<()> {
    let Aged { world, proxy, engine, wall } = aged().await?;
    let (subject, wish) = (own("buyer"), seats(4));
    proxy.breaks("/v1/subscriptions", Fault::Silent);
    tokio::select! {
        changed = engine.subscriptions_change(&subject, None, &wish) => panic!("{changed:?}"),
        () = proxy.silent() => {}
    }
    wall.fetch_add(DAY_MICROS, Ordering::SeqCst);
    let asked = proxy.asked("/").len();
    assert_eq!(engine.provider_calls_sweep().await?, 1);
    assert_eq!(calls(&engine).await[0].state.as_str(), "done");
    assert_eq!(proxy.asked("/").len(), asked, "nothing was asked for again");
    let current = engine.subscriptions_current(&subject).await?.unwrap();
    assert_eq!(current.subscription.quantity, 4);
    let invoices = world.get("/v1/invoices").await;
    assert_eq!(invoices["data"].as_array().map(Vec::len), Some(2), "charged once");
    Ok(())
}

#[tokio::test]
async fn a_key_that_is_refused_later_refuses_nothing_that_may_have_happened() -> anyhow::Result<()>
{
    let Aged { world, proxy, engine, wall } = aged().await?;
    let (subject, wish) = (own("buyer"), seats(4));
    proxy.breaks("/v1/subscriptions", Fault::Silent);
    tokio::select! {
        changed = engine.subscriptions_change(&subject, None, &wish) => panic!("{changed:?}"),
        () = proxy.silent() => {}
    }
    for (fault, state) in [(Some(Fault::Status(401)), "unknown"), (None, "done")] {
        if let Some(fault) = fault {
            proxy.breaks("/v1/subscriptions", fault);
        }
        wall.fetch_add(DAY_MICROS / 24, Ordering::SeqCst);
        engine.provider_calls_sweep().await?;
        assert_eq!(calls(&engine).await[0].state.as_str(), state);
    }
    let invoices = world.get("/v1/invoices").await;
    assert_eq!(invoices["data"].as_array().map(Vec::len), Some(2), "charged once");
    Ok(())
}

#[tokio::test]
async fn pitfall_090_an_old_wish_that_was_never_heard_is_given_up() -> anyhow::Result<()> {
    let Aged { world, proxy, engine, wall } = aged().await?;
    let subject = own("buyer");
    for _ in 0..3 {
        proxy.breaks("/v1/subscriptions", Fault::Status(500));
    }
    engine.subscriptions_change(&subject, None, &seats(4)).await.unwrap_err();
    assert_eq!(calls(&engine).await[0].state.as_str(), "unknown");
    wall.fetch_add(DAY_MICROS, Ordering::SeqCst);
    engine.provider_calls_sweep().await?;
    let given_up = calls(&engine).await.remove(0);
    assert_eq!(given_up.state.as_str(), "refused", "visibly: {given_up:?}");
    let invoices = world.get("/v1/invoices").await;
    assert_eq!(invoices["data"].as_array().map(Vec::len), Some(1), "nobody was charged");
    let done = engine.subscriptions_change(&subject, None, &seats(4)).await?;
    assert_eq!(done.subscription.quantity, 4, "a new wish is a new call");
    Ok(())
}

#[tokio::test]
async fn pitfall_120_an_end_is_owed_however_old_it_is() -> anyhow::Result<()> {
    let Aged { world, proxy, engine, wall } = aged().await?;
    let subject = own("buyer");
    for _ in 0..3 {
        proxy.breaks("/v1/subscriptions", Fault::Status(500));
    }
    engine.subscriptions_cancel(&subject, None).await.unwrap_err();
    wall.fetch_add(3 * DAY_MICROS, Ordering::SeqCst);
    engine.provider_calls_sweep().await?;
    let current = engine.subscriptions_current(&subject).await?.unwrap();
    assert!(current.subscription.cancel_at_period_end);
    let id = current.subscription.provider_subscription_id;
    let there = world.get(&format!("/v1/subscriptions/{id}")).await;
    assert_eq!(there["cancel_at_period_end"], true);
    Ok(())
}

#[tokio::test]
async fn pitfall_116_a_counterpart_made_a_day_ago_is_found() -> anyhow::Result<()> {
    let Aged { world, proxy, engine, wall } = aged().await?;
    let request = world.request("late", "100 Credits").await;
    proxy.breaks("/v1/customers", Fault::Silent);
    tokio::select! {
        opened = engine.checkout_create(request.clone()) => panic!("{opened:?}"),
        () = proxy.silent() => {}
    }
    wall.fetch_add(DAY_MICROS, Ordering::SeqCst);
    engine.provider_calls_sweep().await?;
    assert_eq!(calls(&engine).await[0].state.as_str(), "done");
    assert!(engine.checkout_create(request).await?.session.url.is_some());
    let customers = world.get("/v1/customers").await;
    assert_eq!(customers["data"].as_array().map(Vec::len), Some(2), "one for each buyer");
    Ok(())
}
