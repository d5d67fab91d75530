//! Deliveries: twice, at once, out of order, while something fails. One fact has one effect.

use crate::worlds::{World, deliver, drain, state};
use axum::http::StatusCode;
use engine::{Engine, Page};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

fn of_kind(events: &[Value], kind: &str) -> Value {
    let found = events.iter().rev().find(|event| event["type"] == kind);
    found.unwrap_or_else(|| panic!("no {kind}")).clone()
}

/// The same fact in an envelope of its own, so many seconds later.
fn again(event: &Value, id: &str, later: i64) -> Value {
    let mut copy = event.clone();
    copy["id"] = json!(id);
    copy["created"] = json!(event["created"].as_i64().unwrap() + later);
    copy
}

/// Applies until nothing is pending; what has to wait is waited for.
async fn settle(engine: &Engine) {
    let begun = Instant::now();
    loop {
        drain(engine).await;
        let page = Page::new(Some(1), None).unwrap();
        let pending = engine.events_list(page, Some("pending")).await.unwrap().data;
        if pending.is_empty() {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", pending[0].reason);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn bought(nickname: &str) -> anyhow::Result<(World, Vec<Value>)> {
    let world = World::sqlite().await?;
    let request = world.request("buyer", nickname).await;
    world.pay(request).await?;
    let events = world.events().await;
    Ok((world, events))
}

/// A provider that answers every call with this status.
async fn answering(status: StatusCode) -> anyhow::Result<String> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let router = axum::Router::new().fallback(move || async move { (status, "{}") });
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(url)
}

#[tokio::test]
async fn pitfall_013_every_event_twice_is_every_event_once() -> anyhow::Result<()> {
    let (world, events) = bought("Pro monthly").await?;
    for event in &events {
        deliver(&world.engine, event).await;
        drain(&world.engine).await;
    }
    let once = state(&world.engine, "buyer").await;
    for event in &events {
        deliver(&world.engine, event).await;
        drain(&world.engine).await;
    }
    assert_eq!(state(&world.engine, "buyer").await, once);
    assert_eq!(once["balance"], json!([100, 0, 0]));
    Ok(())
}

#[tokio::test]
async fn pitfall_014_fifty_at_once_have_one_effect() -> anyhow::Result<()> {
    for world in World::all().await? {
        let request = world.request("buyer", "Pro monthly").await;
        world.pay(request).await?;
        let paid = of_kind(&world.events().await, "invoice.paid");
        let mut told = tokio::task::JoinSet::new();
        for _ in 0..50 {
            let (engine, paid) = (world.engine.clone(), paid.clone());
            told.spawn(async move {
                deliver(&engine, &paid).await;
                while engine.apply_next().await.unwrap() {}
            });
        }
        told.join_all().await;
        settle(&world.engine).await;
        let state = state(&world.engine, "buyer").await;
        assert_eq!(state["balance"], json!([100, 0, 0]), "{}", world.name);
        assert_eq!(state["grants"].as_array().map(Vec::len), Some(1), "{state}");
        assert_eq!(state["payments"], json!([[2999, "paid", 0]]));
    }
    Ok(())
}

#[tokio::test]
async fn pitfall_015_one_fact_under_two_event_ids_is_one_grant() -> anyhow::Result<()> {
    let (world, events) = bought("100 Credits").await?;
    let completed = of_kind(&events, "checkout.session.completed");
    for event in [&completed, &again(&completed, "evt_second", 0), &again(&completed, "evt_3", 60)]
    {
        deliver(&world.engine, event).await;
        drain(&world.engine).await;
    }
    let state = state(&world.engine, "buyer").await;
    assert_eq!(state["balance"], json!([0, 100, 0]));
    assert_eq!(state["payments"], json!([[1999, "paid", 0]]));
    Ok(())
}

#[tokio::test]
async fn pitfall_016_what_fails_once_is_tried_again_and_applied_once() -> anyhow::Result<()> {
    let (world, events) = bought("Pro monthly").await?;
    world.faults(&json!({"api": {"status": 500}})).await;
    deliver(&world.engine, &of_kind(&events, "checkout.session.completed")).await;
    drain(&world.engine).await;
    let page = || Page::new(Some(9), None).unwrap();
    let pending = world.engine.events_list(page(), Some("pending")).await?.data;
    assert_eq!(pending.len(), 1, "it is not lost");
    assert!(pending[0].reason.is_some() && 0 < pending[0].attempts, "and says why it waits");
    assert_eq!(state(&world.engine, "buyer").await["balance"], json!([0, 0, 0]));
    world.faults(&json!({})).await;
    settle(&world.engine).await;
    assert_eq!(state(&world.engine, "buyer").await["balance"], json!([100, 0, 0]));
    Ok(())
}

#[tokio::test]
async fn pitfall_017_a_long_failure_loses_nothing_and_shows() -> anyhow::Result<()> {
    let (world, events) = bought("Pro monthly").await?;
    world.faults(&json!({"api": {"status": 500}})).await;
    for kind in ["checkout.session.completed", "invoice.paid"] {
        deliver(&world.engine, &of_kind(&events, kind)).await;
    }
    let waits = |found: &store::inbox::InboxEvent| found.attempts < 2;
    loop {
        drain(&world.engine).await;
        let page = Page::new(Some(100), None)?;
        let pending = world.engine.events_list(page, Some("pending")).await?.data;
        assert!(!pending.is_empty(), "nothing may be given up");
        if pending.iter().all(|event| !waits(event)) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    world.faults(&json!({})).await;
    settle(&world.engine).await;
    let end = state(&world.engine, "buyer").await;
    assert_eq!(end["balance"], json!([100, 0, 0]));
    assert_eq!(end["payments"], json!([[2999, "paid", 0]]));
    Ok(())
}

#[tokio::test]
async fn pitfall_020_all_orders_of_the_incomplete_and_the_active_end_alike() -> anyhow::Result<()> {
    let (world, events) = bought("Pro monthly").await?;
    let mut created = of_kind(&events, "customer.subscription.created");
    let mut updated = again(&created, "evt_updated", 1);
    updated["type"] = json!("customer.subscription.updated");
    created["data"]["object"]["status"] = json!("incomplete");
    let paid = of_kind(&events, "invoice.paid");
    let completed = of_kind(&events, "checkout.session.completed");
    world.freeze().await;
    let forgotten = World::oblivious().await?;
    for provider in [None, Some(forgotten.as_str())] {
        for order in crate::orders::permutations(&[&created, &updated, &paid, &completed]) {
            let engine = world.copy(provider).await?;
            for event in &order {
                deliver(&engine, event).await;
                drain(&engine).await;
            }
            let kinds: Vec<_> = order.iter().map(|event| &event["type"]).collect();
            let end = state(&engine, "buyer").await;
            assert_eq!(end["subscriptions"][0][0], "active", "{kinds:?} {end}");
            assert_eq!(end["balance"], json!([100, 0, 0]), "{kinds:?}");
            assert_eq!(end["features"]["api_access"], "entitled", "{kinds:?}");
            engine.store().close().await;
        }
    }
    Ok(())
}

#[tokio::test]
async fn pitfall_021_an_update_of_an_unknown_subscription_makes_it_known() -> anyhow::Result<()> {
    let (world, events) = bought("Pro monthly").await?;
    let created = of_kind(&events, "customer.subscription.created");
    let mut updated = again(&created, "evt_updated", 1);
    updated["type"] = json!("customer.subscription.updated");
    deliver(&world.engine, &updated).await;
    drain(&world.engine).await;
    let first = state(&world.engine, "buyer").await;
    assert_eq!(first["subscriptions"][0][0], "active");
    deliver(&world.engine, &created).await;
    drain(&world.engine).await;
    assert_eq!(state(&world.engine, "buyer").await, first);
    Ok(())
}

#[tokio::test]
async fn pitfall_022_old_news_does_not_raise_the_dead() -> anyhow::Result<()> {
    let (world, events) = bought("Pro monthly").await?;
    world.tell_all().await;
    let created = of_kind(&events, "customer.subscription.created");
    let id = created["data"]["object"]["id"].as_str().unwrap();
    world.delete(&format!("/v1/subscriptions/{id}")).await;
    world.tell_all().await;
    let mut late = again(&created, "evt_late", 3_600);
    late["type"] = json!("customer.subscription.updated");
    deliver(&world.engine, &late).await;
    drain(&world.engine).await;
    let end = state(&world.engine, "buyer").await;
    assert_eq!(end["subscriptions"][0][0], "canceled");
    assert_eq!(end["balance"], json!([0, 0, 0]));
    Ok(())
}

#[tokio::test]
async fn pitfall_023_two_changes_of_one_second_end_in_the_later_truth() -> anyhow::Result<()> {
    let (world, _) = bought("Pro monthly").await?;
    world.tell_all().await;
    let created = of_kind(&world.events().await, "customer.subscription.created");
    let subscription = &created["data"]["object"];
    let path = format!("/v1/subscriptions/{}", subscription["id"].as_str().unwrap());
    let truth = world.post(&path, &[("cancel_at_period_end", "true")]).await;
    let mut first = again(&created, "evt_first", 5);
    first["type"] = json!("customer.subscription.updated");
    let mut second = again(&first, "evt_second", 0);
    second["data"]["object"] = truth;
    world.freeze().await;
    for order in [[&first, &second], [&second, &first]] {
        let engine = world.copy(None).await?;
        for event in order {
            deliver(&engine, event).await;
            drain(&engine).await;
        }
        let end = state(&engine, "buyer").await;
        assert_eq!(end["subscriptions"][0][2], true, "{end}");
    }
    Ok(())
}

#[tokio::test]
async fn pitfall_024_a_paid_invoice_alone_makes_the_plan_known_and_active() -> anyhow::Result<()> {
    let (world, events) = bought("Pro monthly").await?;
    deliver(&world.engine, &of_kind(&events, "invoice.paid")).await;
    drain(&world.engine).await;
    let alone = state(&world.engine, "buyer").await;
    assert_eq!(alone["subscriptions"][0][0], "active", "{alone}");
    assert_eq!(alone["balance"], json!([100, 0, 0]));
    assert_eq!(alone["features"]["api_access"], "entitled");
    world.tell_all().await;
    assert_eq!(state(&world.engine, "buyer").await, alone, "the others change nothing");
    Ok(())
}

#[tokio::test]
async fn pitfall_026_gone_is_an_answer_and_forbidden_is_none() -> anyhow::Result<()> {
    let (world, events) = bought("Pro monthly").await?;
    world.tell_all().await;
    let created = of_kind(&events, "customer.subscription.created");
    // As old as what we hold, so that the provider has to be asked.
    let mut updated = again(&created, "evt_again", 0);
    updated["type"] = json!("customer.subscription.updated");
    world.freeze().await;
    for (status, expected) in [
        (StatusCode::NOT_FOUND, "applied"),
        (StatusCode::FORBIDDEN, "pending"),
        (StatusCode::INTERNAL_SERVER_ERROR, "pending"),
    ] {
        let engine = world.copy(Some(&answering(status).await?)).await?;
        deliver(&engine, &updated).await;
        while engine.apply_next().await? {}
        let event = engine.events_get("evt_again").await?;
        assert_eq!(event.state.as_str(), expected, "{status}: {:?}", event.reason);
        assert_eq!(state(&engine, "buyer").await["subscriptions"][0][0], "active", "{status}");
    }
    Ok(())
}

#[tokio::test]
async fn pitfall_027_a_storm_about_one_customer_loses_no_news() -> anyhow::Result<()> {
    let rounds = if std::env::var_os("TOLLGATE_LONG").is_some() { 20 } else { 2 };
    for world in World::all().await? {
        let request = world.request("buyer", "Pro monthly").await;
        world.pay(request).await?;
        let events = world.events().await;
        for round in 0..rounds {
            let mut told = tokio::task::JoinSet::new();
            for number in 0..200 {
                let event = &events[number % events.len()];
                let event = again(event, &format!("evt_{round}_{number}"), 0);
                let engine = world.engine.clone();
                told.spawn(async move {
                    deliver(&engine, &event).await;
                    while engine.apply_next().await.unwrap() {}
                });
            }
            told.join_all().await;
        }
        settle(&world.engine).await;
        let end = state(&world.engine, "buyer").await;
        assert_eq!(end["balance"], json!([100, 0, 0]), "{} {end}", world.name);
        assert_eq!(end["payments"], json!([[2999, "paid", 0]]), "{}", world.name);
        assert_eq!(end["parked"], json!([]), "{}", world.name);
    }
    Ok(())
}
