//! Outgoing calls: one wish, one call that counts, whatever breaks in between.

use crate::proxies::{Fault, Proxy};
use crate::worlds::{World, drain, own, state};
use domain::codes::Code;
use engine::checkout_sessions::Pace;
use engine::{Engine, Failure, Page};
use serde_json::json;
use std::time::Duration;
use store::provider_calls::ProviderCall;
use tokio::sync::watch;

pub fn code(failure: &Failure) -> Code {
    match failure {
        Failure::Refused { code, .. }
        | Failure::Declined { code, .. }
        | Failure::Provider { code, .. } => *code,
        other => panic!("{other:?}"),
    }
}

pub async fn calls(engine: &Engine) -> Vec<ProviderCall> {
    let page = Page::new(Some(100), None).unwrap();
    engine.provider_calls_list(page, None).await.unwrap().data
}

/// Runs an engine as the server does, until every call is settled.
pub async fn settle_calls(engine: &Engine) {
    let (stop, stopped) = watch::channel(false);
    let running = tokio::spawn({
        let engine = engine.clone();
        async move { engine.run(stopped).await }
    });
    for _ in 0..200 {
        if calls(engine).await.iter().all(|call| call.state.is_settled()) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    stop.send(true).unwrap();
    running.await.unwrap();
    for call in calls(engine).await {
        assert!(call.state.is_settled(), "{call:?}");
    }
}

/// Somebody who pays for a plan, as told by every event.
pub async fn subscribed(world: &World, who: &str, price: &str) -> anyhow::Result<()> {
    let plan = world.request(who, price).await;
    world.pay(plan).await?;
    world.tell_all().await;
    Ok(())
}

async fn customers(world: &World) -> usize {
    world.get("/v1/customers?limit=100").await["data"].as_array().unwrap().len()
}

#[tokio::test]
async fn pitfall_116_twenty_first_checkouts_create_one_customer() -> anyhow::Result<()> {
    for world in World::all().await? {
        let proxy = world.proxy().await;
        let engine = world.through(&proxy);
        let request = world.request("buyer", "100 Credits").await;
        let request = engine::checkout_sessions::CheckoutRequest {
            pace: engine::checkout_sessions::Pace::Unlimited,
            ..request
        };
        let opening = (0..20).map(|_| engine.checkout_create(request.clone()));
        for opened in futures::future::join_all(opening).await {
            assert!(opened?.session.url.is_some());
        }
        assert_eq!(proxy.asked("/v1/customers").len(), 1, "{}", world.name);
        assert_eq!(customers(&world).await, 1);
        assert_eq!(calls(&engine).await.len(), 1, "row 38: one intent, one counterpart");
    }
    Ok(())
}

#[tokio::test]
async fn pitfall_089_a_process_that_dies_after_the_call_leaves_no_orphan() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    let proxy = world.proxy().await;
    let engine = world.through(&proxy);
    let request = world.request("buyer", "100 Credits").await;
    proxy.breaks("/v1/customers", Fault::Silent);
    tokio::select! {
        opened = engine.checkout_create(request.clone()) => panic!("{opened:?}"),
        () = proxy.silent() => {}
    }
    assert_eq!(customers(&world).await, 1, "the provider has made it");
    let restarted = world.through(&proxy);
    settle_calls(&restarted).await;
    let asked = proxy.asked("/v1/customers");
    assert!(2 <= asked.len() && asked.iter().all(|one| one.key == asked[0].key));
    let opened = restarted.checkout_create(request).await?;
    let id = opened.session.provider_session_id.unwrap();
    let page = world.get(&format!("/v1/checkout/sessions/{id}")).await;
    assert_eq!(customers(&world).await, 1);
    let made = calls(&restarted).await[0].outcome.clone().unwrap();
    assert!(made.contains(page["customer"].as_str().unwrap()), "{made}");
    Ok(())
}

#[tokio::test]
async fn pitfall_025_the_webhook_overtakes_our_own_call() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    let proxy = world.proxy().await;
    let engine = world.through(&proxy);
    subscribed(&world, "buyer", "Pro monthly").await?;
    proxy.breaks("/v1/subscriptions", Fault::Silent);
    let subject = own("buyer");
    tokio::select! {
        ended = engine.subscriptions_cancel(&subject, None) => panic!("{ended:?}"),
        () = proxy.silent() => {}
    }
    // The event is here before the answer, which never comes.
    world.tell_all().await;
    let told = state(&world.engine, "buyer").await;
    assert_eq!(told["subscriptions"][0][2], true, "{told}");
    let restarted = world.through(&proxy);
    settle_calls(&restarted).await;
    assert_eq!(state(&restarted, "buyer").await["subscriptions"], told["subscriptions"]);
    let updates = world.events().await;
    let changed = |event: &&serde_json::Value| {
        !event["data"]["previous_attributes"]["cancel_at_period_end"].is_null()
    };
    assert_eq!(updates.iter().filter(changed).count(), 1, "one change at the provider");
    Ok(())
}

#[tokio::test]
async fn pitfall_091_what_passes_is_retried_and_what_does_not_is_not() -> anyhow::Result<()> {
    let ways = [Fault::LockTimeout, Fault::Status(429), Fault::Status(500), Fault::Dropped];
    let world = World::sqlite().await?;
    for (number, way) in ways.into_iter().enumerate() {
        let proxy = world.proxy().await;
        let engine = world.through(&proxy);
        let before = customers(&world).await;
        proxy.breaks("/v1/customers", way);
        proxy.breaks("/v1/customers", way);
        let request = world.request(&format!("buyer{number}"), "100 Credits").await;
        assert!(engine.checkout_create(request).await?.session.url.is_some());
        let asked = proxy.asked("/v1/customers");
        assert_eq!(asked.len(), 3, "{way:?}");
        assert!(asked.iter().all(|one| one.key == asked[0].key));
        let pause = asked[2].at - asked[1].at;
        assert!(Duration::from_millis(200) < pause, "it waits longer each time: {pause:?}");
        assert_eq!(customers(&world).await, before + 1, "{way:?}");
    }
    let proxy = world.proxy().await;
    let engine = world.through(&proxy);
    proxy.breaks("/v1/customers", Fault::Status(400));
    let request = world.request("refused", "100 Credits").await;
    let refused = engine.checkout_create(request.clone()).await.unwrap_err();
    assert_eq!(code(&refused), Code::ProviderRefused);
    assert_eq!(proxy.asked("/v1/customers").len(), 1, "a refusal is not asked again");
    assert_eq!(calls(&engine).await[0].state.as_str(), "refused");
    engine.provider_calls_sweep().await?;
    assert_eq!(proxy.asked("/v1/customers").len(), 1);
    assert!(engine.checkout_create(request).await?.session.url.is_some(), "a new wish, a new key");
    let asked = proxy.asked("/v1/customers");
    assert_ne!(asked[0].key, asked[1].key, "pitfall 90");
    Ok(())
}

/// An engine whose calls fail until the proxy mends.
async fn broken(world: &World, proxy: &Proxy, path: &str) -> Engine {
    for _ in 0..3 {
        proxy.breaks(path, Fault::Status(500));
    }
    world.through(proxy)
}

#[tokio::test]
async fn pitfall_120_an_end_is_asked_for_until_it_is() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    subscribed(&world, "buyer", "Pro monthly").await?;
    let proxy = world.proxy().await;
    let engine = broken(&world, &proxy, "/v1/subscriptions").await;
    let failed = engine.subscriptions_cancel_now(&own("buyer"), None).await.unwrap_err();
    assert_eq!(code(&failed), Code::OutcomeUnknown);
    let before = state(&engine, "buyer").await;
    assert_eq!(before["subscriptions"][0][0], "active", "nothing ends here before it ends there");
    assert_eq!(before["features"]["api_access"], "entitled");
    settle_calls(&engine).await;
    let after = state(&engine, "buyer").await;
    assert_eq!(after["subscriptions"][0][0], "canceled", "{after}");
    assert_eq!(after["features"]["api_access"], "ended");
    world.tell_all().await;
    drain(&engine).await;
    assert_eq!(state(&engine, "buyer").await["balance"], json!([0, 0, 0]));
    Ok(())
}

#[tokio::test]
async fn row_80_what_has_ended_stays_ended() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    subscribed(&world, "buyer", "Pro monthly").await?;
    let subject = own("buyer");
    let ended = world.engine.subscriptions_cancel_now(&subject, None).await?;
    assert_eq!(ended.status.as_str(), "canceled");
    let features = state(&world.engine, "buyer").await["features"].clone();
    assert_eq!(features["api_access"], "ended", "row 79: denied on the next request");
    let id = Some(ended.id.as_str());
    for refused in [
        world.engine.subscriptions_cancel(&subject, id).await,
        world.engine.subscriptions_cancel_now(&subject, id).await,
        world.engine.subscriptions_resume(&subject, id, Pace::Unlimited).await,
    ] {
        assert_eq!(code(&refused.unwrap_err()), Code::SubscriptionEnded);
    }
    world.tell_all().await;
    assert_eq!(state(&world.engine, "buyer").await["subscriptions"][0][0], "canceled");
    Ok(())
}

#[tokio::test]
async fn pitfall_118_other_peoples_subscriptions_are_not_found() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    subscribed(&world, "victim", "Pro monthly").await?;
    subscribed(&world, "buyer", "Pro monthly").await?;
    let page = Page::new(None, None)?;
    let theirs = world.engine.subscriptions_list(&own("victim"), page).await?.data.remove(0);
    let proxy = world.proxy().await;
    let engine = world.through(&proxy);
    let subject = own("buyer");
    for id in [theirs.id.as_str(), theirs.provider_subscription_id.as_str()] {
        for answer in [
            engine.subscriptions_cancel(&subject, Some(id)).await,
            engine.subscriptions_cancel_now(&subject, Some(id)).await,
            engine.subscriptions_resume(&subject, Some(id), Pace::Unlimited).await,
        ] {
            assert_eq!(code(&answer.unwrap_err()), Code::SubscriptionNotFound);
        }
    }
    assert!(proxy.asked("/").is_empty(), "nothing was sent to the provider");
    Ok(())
}
