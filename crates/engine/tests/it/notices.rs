//! A fact is told once, however often and in whatever order it becomes known.

use crate::worlds::{World, deliver, drain, own};
use engine::{Engine, Page};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// How often each kind was told, oldest first.
async fn told(engine: &Engine) -> BTreeMap<String, usize> {
    let page = Page::new(Some(100), None).unwrap();
    let mut counts = BTreeMap::new();
    for notification in engine.notifications_list(page, None, None).await.unwrap().data {
        *counts.entry(notification["type"].as_str().unwrap().to_owned()).or_insert(0) += 1;
    }
    counts
}

async fn told_of(engine: &Engine, kind: &str) -> Vec<Value> {
    let page = Page::new(Some(100), None).unwrap();
    engine.notifications_list(page, Some(kind), None).await.unwrap().data
}

fn once(kinds: &[&str]) -> BTreeMap<String, usize> {
    kinds.iter().map(|kind| ((*kind).to_owned(), 1)).collect()
}

const FIRST_PURCHASE: &[&str] =
    &["checkout.completed", "credits.granted", "invoice.paid", "subscription.started"];

async fn subscribed(world: &World) -> String {
    let request = world.request("buyer", "Pro monthly").await;
    world.pay(request).await.unwrap();
    world.tell_all().await;
    let page = Page::first();
    let held = world.engine.subscriptions_list(&own("buyer"), page).await.unwrap().data;
    held[0].provider_subscription_id.clone()
}

#[tokio::test]
async fn pitfall_014_twenty_workers_and_many_events_tell_a_purchase_once() -> anyhow::Result<()> {
    for world in World::all().await? {
        let request = world.request("buyer", "Pro monthly").await;
        world.pay(request).await?;
        for event in world.events().await {
            for copy in 0..5 {
                let mut event = event.clone();
                event["id"] = json!(format!("{}_{copy}", event["id"].as_str().unwrap()));
                deliver(&world.engine, &event).await;
                deliver(&world.engine, &event).await;
            }
        }
        let workers: Vec<_> = (0..20)
            .map(|_| {
                let engine = world.engine.clone();
                tokio::spawn(async move { while engine.apply_next().await.unwrap_or(true) {} })
            })
            .collect();
        for worker in workers {
            worker.await?;
        }
        drain(&world.engine).await;
        assert_eq!(told(&world.engine).await, once(FIRST_PURCHASE), "{}", world.name);
    }
    Ok(())
}

#[tokio::test]
async fn row_53_a_first_purchase_is_told_alike_in_every_order() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    let request = world.request("buyer", "Pro monthly").await;
    world.pay(request).await?;
    let events = world.events().await;
    world.freeze().await;
    for first in 0..events.len() {
        let engine = world.copy(None).await?;
        let mut order = events.clone();
        order.rotate_left(first);
        for event in order.iter().chain(order.iter().rev()) {
            deliver(&engine, event).await;
            drain(&engine).await;
        }
        assert_eq!(told(&engine).await, once(FIRST_PURCHASE), "from {first}");
        engine.store().close().await;
    }
    Ok(())
}

#[tokio::test]
async fn pitfall_034_a_change_is_told_and_an_update_is_not() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    let id = subscribed(&world).await;
    let before = told(&world.engine).await;
    let path = format!("/v1/subscriptions/{id}");
    for note in ["a", "b", "c"] {
        world.post(&path, &[("metadata[note]", note)]).await;
    }
    world.tell_all().await;
    assert_eq!(told(&world.engine).await, before, "metadata is nobody's news");
    world.post(&path, &[("cancel_at_period_end", "true")]).await;
    world.post(&path, &[("metadata[note]", "d")]).await;
    world.tell_all().await;
    world.tell_all().await;
    assert_eq!(told_of(&world.engine, "subscription.cancel_scheduled").await.len(), 1);
    world.post(&path, &[("cancel_at_period_end", "false")]).await;
    world.tell_all().await;
    assert_eq!(told_of(&world.engine, "subscription.cancel_undone").await.len(), 1);
    world.engine.subscriptions_cancel(&own("buyer"), None).await?;
    assert_eq!(told_of(&world.engine, "subscription.cancel_scheduled").await.len(), 2, "again");
    world.tell_all().await;
    assert_eq!(told_of(&world.engine, "subscription.cancel_scheduled").await.len(), 2);
    world.advance("2mo").await;
    world.tell_all().await;
    world.tell_all().await;
    let ended = told_of(&world.engine, "subscription.canceled").await;
    assert_eq!(ended.len(), 1);
    assert_eq!(ended[0]["data"]["status"], "canceled");
    assert_eq!(ended[0]["external_id"], "buyer");
    Ok(())
}

#[tokio::test]
async fn row_69_each_failed_attempt_is_told_once_and_so_is_the_recovery() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    let id = subscribed(&world).await;
    let path = format!("/v1/subscriptions/{id}");
    let customer = world.get(&path).await["customer"].as_str().unwrap().to_owned();
    let attach = "/v1/payment_methods/pm_card_chargeCustomerFail/attach";
    let failing = world.post(attach, &[("customer", &customer)]).await;
    let method = failing["id"].as_str().unwrap().to_owned();
    world.post(&path, &[("default_payment_method", &method)]).await;
    for (how, attempts) in [("1mo", 1), ("1d", 1), ("3d", 2)] {
        world.advance(how).await;
        world.tell_all().await;
        world.tell_all().await;
        let failed = told_of(&world.engine, "invoice.payment_failed").await;
        let counts: Vec<_> = failed.iter().map(|one| one["data"]["attempt"].clone()).collect();
        let wanted: Vec<_> = (1..=attempts).rev().map(|count| json!(count)).collect();
        assert_eq!(counts, wanted, "after {how}");
    }
    assert_eq!(told_of(&world.engine, "subscription.past_due").await.len(), 1);
    let attach = "/v1/payment_methods/pm_card_visa/attach";
    let good = world.post(attach, &[("customer", &customer)]).await;
    let good = good["id"].as_str().unwrap().to_owned();
    world.post(&path, &[("default_payment_method", &good)]).await;
    let invoice = world.get(&path).await["latest_invoice"].as_str().unwrap().to_owned();
    world.post(&format!("/v1/invoices/{invoice}/pay"), &[]).await;
    world.tell_all().await;
    world.tell_all().await;
    assert_eq!(told_of(&world.engine, "subscription.recovered").await.len(), 1);
    assert_eq!(told_of(&world.engine, "invoice.paid").await.len(), 2);
    assert_eq!(told_of(&world.engine, "invoice.payment_failed").await.len(), 2);
    Ok(())
}

#[tokio::test]
async fn pitfall_062_the_end_of_a_trial_is_told_once_before_it_comes() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    let id = subscribed(&world).await;
    let path = format!("/v1/subscriptions/{id}");
    let now = world.engine.clock().now();
    let trial_end = now.plus_seconds(86_400).seconds().to_string();
    // A trial of a day: the provider warns at once, and again when it is made shorter.
    let form = [("trial_end", trial_end.as_str()), ("proration_behavior", "none")];
    let changed = world.post(&path, &form).await;
    assert_eq!(changed["status"], "trialing", "{changed}");
    world.tell_all().await;
    world.tell_all().await;
    assert_eq!(told_of(&world.engine, "subscription.trial_will_end").await.len(), 1);
    assert!(told_of(&world.engine, "subscription.canceled").await.is_empty());
    world.post(&path, &[("trial_end", "now")]).await;
    world.tell_all().await;
    assert_eq!(told_of(&world.engine, "subscription.trial_will_end").await.len(), 1);
    Ok(())
}

#[tokio::test]
async fn what_goes_back_is_told_by_its_total_and_what_was_spent_as_a_debt() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    let pack = world.request("buyer", "100 Credits").await;
    let session = world.pay(pack).await?;
    world.tell_all().await;
    let session = world.get(&format!("/v1/checkout/sessions/{session}")).await;
    let intent = session["payment_intent"].as_str().unwrap();
    let consume = engine::credits::ConsumeRequest {
        amount: 80,
        unit: "credits".into(),
        reference: None,
        idempotency_key: None,
    };
    world.engine.credits_consume(&own("buyer"), consume).await?;
    world.post("/v1/refunds", &[("payment_intent", intent), ("amount", "999")]).await;
    world.tell_all().await;
    world.post("/v1/refunds", &[("payment_intent", intent)]).await;
    world.tell_all().await;
    world.tell_all().await;
    let refunds = told_of(&world.engine, "payment.refunded").await;
    let totals: Vec<_> = refunds.iter().map(|one| one["data"]["amount_refunded"].clone()).collect();
    assert_eq!(totals, [json!(1999), json!(999)]);
    let debts = told_of(&world.engine, "credits.debt").await;
    assert_eq!(debts[0]["data"], json!({ "amount": 80, "unit": "credits" }));
    assert_eq!(told_of(&world.engine, "checkout.completed").await.len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_dispute_is_told_when_it_comes_and_when_it_ends() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    let pack = world.request("buyer", "100 Credits").await;
    world.pay_with(pack, "pm_card_createDispute").await?;
    world.tell_all().await;
    let disputes = world.get("/v1/disputes").await;
    let id = disputes["data"][0]["id"].as_str().unwrap().to_owned();
    let evidence = [("evidence[uncategorized_text]", "winning_evidence")];
    world.post(&format!("/v1/disputes/{id}"), &evidence).await;
    world.advance("1h").await;
    world.tell_all().await;
    world.tell_all().await;
    assert_eq!(told_of(&world.engine, "payment.disputed").await.len(), 1);
    let closed = told_of(&world.engine, "dispute.closed").await;
    assert_eq!(closed.len(), 1);
    assert_eq!(closed[0]["data"]["status"], "won");
    assert_eq!(told_of(&world.engine, "credits.granted").await.len(), 1, "what is restored is old");
    Ok(())
}
