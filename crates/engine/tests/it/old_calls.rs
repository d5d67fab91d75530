//! Calls whose key the provider has forgotten: the object is read, nobody is charged for an old
//! wish.

use crate::provider_calls::{calls, subscribed};
use crate::proxies::{Fault, Proxy};
use crate::worlds::{World, own};
use engine::Engine;
use engine::checkout_sessions::Pace;
use engine::subscriptions::changing::{ChangeRequest, Timing};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

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
    ChangeRequest {
        price: None,
        quantity: Some(quantity),
        timing: Timing::Automatic,
        pace: Pace::Unlimited,
    }
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

/// The provider's flag, and how many seats it knows of.
async fn there(world: &World, engine: &Engine) -> (bool, i64) {
    let current = engine.subscriptions_current(&own("buyer")).await.unwrap().unwrap();
    let id = current.subscription.provider_subscription_id;
    let told = world.get(&format!("/v1/subscriptions/{id}")).await;
    let seats = told["items"]["data"][0]["quantity"].as_i64().unwrap();
    (told["cancel_at_period_end"].as_bool().unwrap(), seats)
}

async fn states(engine: &Engine) -> Vec<(String, &'static str)> {
    let mut made = calls(engine).await;
    made.sort_by_key(|call| call.created_at);
    made.into_iter().map(|call| (call.kind, call.state.as_str())).collect()
}

#[tokio::test]
async fn pitfall_120_an_end_is_owed_however_old_it_is() -> anyhow::Result<()> {
    for age in [DAY_MICROS / 24, 3 * DAY_MICROS] {
        let Aged { world, engine, wall, .. } = aged().await?;
        // The provider goes on answering so under the same key, until a day has passed there.
        world.faults(&json!({"api": {"status": 500, "kept": true}})).await;
        engine.subscriptions_cancel(&own("buyer"), None).await.unwrap_err();
        assert!(!there(&world, &engine).await.0);
        world.faults(&json!({})).await;
        wall.fetch_add(age, Ordering::SeqCst);
        engine.provider_calls_sweep().await?;
        let current = engine.subscriptions_current(&own("buyer")).await?.unwrap();
        assert!(current.subscription.cancel_at_period_end);
        assert!(there(&world, &engine).await.0);
    }
    Ok(())
}

#[tokio::test]
async fn an_end_passes_what_has_no_outcome() -> anyhow::Result<()> {
    for has_happened in [false, true] {
        let Aged { world, proxy, engine, wall } = aged().await?;
        let (subject, wish) = (own("buyer"), seats(4));
        if has_happened {
            proxy.breaks("/v1/subscriptions", Fault::Silent);
            tokio::select! {
                it = engine.subscriptions_change(&subject, None, &wish) => panic!("{it:?}"),
                () = proxy.silent() => {}
            }
            // As far as anybody knows that call is still being made.
            let sent = proxy.asked("/").len();
            let patience = Duration::from_millis(300);
            let ending = engine.subscriptions_cancel(&subject, None);
            let ended = tokio::time::timeout(patience, ending).await;
            assert!(!matches!(ended, Ok(Ok(_))), "{ended:?}");
            assert_eq!(proxy.asked("/").len(), sent, "one call at a time about one object");
        } else {
            for _ in 0..3 {
                proxy.breaks("/v1/subscriptions", Fault::Status(500));
            }
            engine.subscriptions_change(&subject, None, &wish).await.unwrap_err();
        }
        wall.fetch_add(DAY_MICROS / 24, Ordering::SeqCst);
        let ended = engine.subscriptions_cancel(&subject, None).await?;
        assert!(ended.cancel_at_period_end);
        engine.provider_calls_sweep().await?;
        let expected = [
            ("customer.create".to_owned(), "done"),
            ("subscription.change".to_owned(), "refused"),
            ("subscription.cancel_at_period_end".to_owned(), "done"),
        ];
        assert_eq!(states(&engine).await, expected);
        let seats = if has_happened { 4 } else { 1 };
        assert_eq!(there(&world, &engine).await, (true, seats), "nobody is charged afterwards");
        let current = engine.subscriptions_current(&subject).await?.unwrap().subscription;
        assert_eq!((current.cancel_at_period_end, current.quantity), (true, seats));
    }
    Ok(())
}

#[tokio::test]
async fn an_old_end_does_not_overrule_who_takes_it_back() -> anyhow::Result<()> {
    let Aged { world, proxy, engine, wall } = aged().await?;
    let subject = own("buyer");
    for _ in 0..6 {
        proxy.breaks("/v1/subscriptions", Fault::Status(500));
    }
    engine.subscriptions_cancel(&subject, None).await.unwrap_err();
    let resumed = engine.subscriptions_resume(&subject, None, Pace::Unlimited).await?;
    assert!(!resumed.cancel_at_period_end);
    wall.fetch_add(DAY_MICROS / 24, Ordering::SeqCst);
    engine.provider_calls_sweep().await?;
    assert!(!there(&world, &engine).await.0);
    let last = states(&engine).await.split_off(1);
    let expected =
        [("subscription.cancel_at_period_end", "refused"), ("subscription.resume", "done")];
    assert_eq!(last, expected.map(|(kind, state)| (kind.to_owned(), state)));
    // The same word a third time is a new wish, and the last one.
    let ended = engine.subscriptions_cancel(&subject, None).await?;
    assert!(ended.cancel_at_period_end);
    Ok(())
}

#[tokio::test]
async fn an_end_that_was_taken_back_at_the_provider_is_done() -> anyhow::Result<()> {
    let Aged { world, proxy, engine, wall } = aged().await?;
    let subject = own("buyer");
    proxy.breaks("/v1/subscriptions", Fault::Forgotten);
    tokio::select! {
        ended = engine.subscriptions_cancel(&subject, None) => panic!("{ended:?}"),
        () = proxy.silent() => {}
    }
    world.tell_all().await;
    let current = engine.subscriptions_current(&subject).await?.unwrap().subscription;
    assert!(current.cancel_at_period_end);
    let path = format!("/v1/subscriptions/{}", current.provider_subscription_id);
    world.post(&path, &[("cancel_at_period_end", "false")]).await;
    wall.fetch_add(2 * DAY_MICROS, Ordering::SeqCst);
    engine.provider_calls_sweep().await?;
    assert_eq!(states(&engine).await[1].1, "done");
    assert!(!there(&world, &engine).await.0, "the customer's own word stands");
    let current = engine.subscriptions_current(&subject).await?.unwrap().subscription;
    assert!(!current.cancel_at_period_end);
    Ok(())
}

#[tokio::test]
async fn an_end_that_was_taken_back_at_the_provider_can_be_wished_for_again() -> anyhow::Result<()>
{
    let Aged { world, proxy, engine, wall } = aged().await?;
    let subject = own("buyer");
    proxy.breaks("/v1/subscriptions", Fault::Silent);
    tokio::select! {
        ended = engine.subscriptions_cancel(&subject, None) => panic!("{ended:?}"),
        () = proxy.silent() => {}
    }
    world.tell_all().await;
    let current = engine.subscriptions_current(&subject).await?.unwrap().subscription;
    assert!(current.cancel_at_period_end);
    let path = format!("/v1/subscriptions/{}", current.provider_subscription_id);
    world.post(&path, &[("cancel_at_period_end", "false")]).await;
    world.tell_all().await;
    // The first call is still somebody's, as far as anybody knows.
    engine.subscriptions_cancel(&subject, None).await.unwrap_err();
    wall.fetch_add(DAY_MICROS / 24, Ordering::SeqCst);
    engine.provider_calls_sweep().await?;
    assert!(there(&world, &engine).await.0, "the last word counts");
    let current = engine.subscriptions_current(&subject).await?.unwrap().subscription;
    assert!(current.cancel_at_period_end);
    let end = ("subscription.cancel_at_period_end".to_owned(), "done");
    assert_eq!(states(&engine).await.split_off(1), [end.clone(), end]);
    Ok(())
}

#[tokio::test]
async fn an_end_is_said_again_beside_a_resumption_without_outcome() -> anyhow::Result<()> {
    let Aged { world, proxy, engine, .. } = aged().await?;
    let subject = own("buyer");
    engine.subscriptions_cancel(&subject, None).await?;
    for _ in 0..6 {
        proxy.breaks("/v1/subscriptions", Fault::Status(500));
    }
    engine.subscriptions_resume(&subject, None, Pace::Unlimited).await.unwrap_err();
    let sent = proxy.asked("/v1/subscriptions").len();
    engine.subscriptions_cancel(&subject, None).await?;
    let asked = proxy.asked("/v1/subscriptions").split_off(sent);
    let ends = asked.iter().filter(|one| one.body.contains("cancel_at_period_end=true"));
    assert_eq!(ends.count(), 1, "the resumption may still be carried out: {asked:?}");
    assert!(there(&world, &engine).await.0);
    Ok(())
}

#[tokio::test]
async fn a_date_far_away_is_no_end_of_the_period() -> anyhow::Result<()> {
    let Aged { world, engine, .. } = aged().await?;
    let subject = own("buyer");
    let current = engine.subscriptions_current(&subject).await?.unwrap().subscription;
    let path = format!("/v1/subscriptions/{}", current.provider_subscription_id);
    let far = engine.clock().now().plus_seconds(330 * 24 * 60 * 60).micros() / 1_000_000;
    let form = [("cancel_at", &*far.to_string()), ("proration_behavior", "none")];
    world.post(&path, &form).await;
    world.tell_all().await;
    let current = engine.subscriptions_current(&subject).await?.unwrap().subscription;
    assert!(current.cancel_at > current.period_end, "{current:?}");
    let ended = engine.subscriptions_cancel(&subject, None).await?;
    assert!(ended.cancel_at_period_end && there(&world, &engine).await.0);
    assert_eq!(ended.cancel_at, ended.period_end, "nobody is charged eleven more times");
    Ok(())
}

#[tokio::test]
async fn a_plan_for_later_is_written_under_a_second_key() -> anyhow::Result<()> {
    let Aged { world, proxy, engine, wall } = aged().await?;
    let subject = own("buyer");
    let free = world.price("Free").await;
    let wish = ChangeRequest { price: Some(free.clone()), quantity: None, ..seats(1) };
    proxy.breaks("/v1/subscription_schedules", Fault::Silent);
    tokio::select! {
        planned = engine.subscriptions_change(&subject, None, &wish) => panic!("{planned:?}"),
        () = proxy.silent() => {}
    }
    // The schedule is begun. What is to stand in it fails, and goes on failing under its key.
    world.faults(&json!({"api": {"status": 500, "kept": true}})).await;
    for state in ["unknown", "done"] {
        wall.fetch_add(DAY_MICROS / 24, Ordering::SeqCst);
        engine.provider_calls_sweep().await?;
        assert_eq!(states(&engine).await[1], ("subscription.change_later".to_owned(), state));
        world.faults(&json!({})).await;
    }
    let current = engine.subscriptions_current(&subject).await?.unwrap().subscription;
    assert_eq!(current.pending_price_id.unwrap().as_str(), free);
    let schedules = world.get("/v1/subscription_schedules").await;
    assert_eq!(schedules["data"][0]["phases"].as_array().map(Vec::len), Some(2), "{schedules}");
    Ok(())
}

#[tokio::test]
async fn what_has_to_be_done_goes_before_what_was_wished_for() -> anyhow::Result<()> {
    let Aged { world, proxy, engine, wall } = aged().await?;
    subscribed(&world, "other", "Pro monthly").await?;
    for _ in 0..9 {
        proxy.breaks("/v1/subscriptions", Fault::Status(500));
    }
    engine.subscriptions_change(&own("buyer"), None, &seats(4)).await.unwrap_err();
    engine.subscriptions_cancel(&own("other"), None).await.unwrap_err();
    let sent = proxy.asked("/").len();
    wall.fetch_add(DAY_MICROS / 24, Ordering::SeqCst);
    assert_eq!(engine.provider_calls_sweep().await?, 2);
    let order: Vec<bool> = proxy.asked("/")[sent..]
        .iter()
        .map(|asked| asked.body.contains("cancel_at_period_end"))
        .collect();
    assert_eq!(order, [true, false], "the cancellation first, though it is younger");
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
