//! Refunds: however they are told, what is left of the money decides what is left of the credits.

use crate::orders::{of_kind, permutations, told};
use crate::worlds::{World, act, deliver, drain, own, state};
use engine::credits::ConsumeRequest;
use engine::refunds::RefundRequest;
use serde_json::{Value, json};

/// A paid pack of a hundred credits, told to nobody yet, and its payment intent.
async fn pack(method: &str) -> anyhow::Result<(World, String)> {
    let world = World::sqlite().await?;
    let session = world.pay_with(world.request("buyer", "100 Credits").await, method).await?;
    let session = world.get(&format!("/v1/checkout/sessions/{session}")).await;
    let intent = session["payment_intent"].as_str().unwrap().to_owned();
    Ok((world, intent))
}

async fn spend(engine: &engine::Engine, amount: i64) {
    let (unit, reference) = ("credits".to_owned(), None);
    let request = ConsumeRequest { amount, unit, reference, idempotency_key: None };
    engine.credits_consume(&own("buyer"), request).await.unwrap();
}

async fn refund(world: &World, intent: &str, amount: &str) -> Vec<Value> {
    let before = world.events().await.len();
    let form = [("payment_intent", intent), ("amount", amount)];
    let made = world.post("/v1/refunds", &form).await;
    assert!(made["id"].is_string(), "{made}");
    world.events().await.split_off(before)
}

#[tokio::test]
async fn a_refund_that_could_not_be_applied_is_answered_once_it_can_be() -> anyhow::Result<()> {
    let (world, _) = pack("pm_card_visa").await?;
    world.tell_all().await;
    let page = engine::Page::new(None, None)?;
    let payment = world.engine.payments_list(&own("buyer"), page).await?.data.remove(0);
    let request = RefundRequest {
        payment: payment.id.to_string(),
        amount: Some(500),
        reason: None,
        idempotency_key: "one".to_owned(),
    };
    let made = world.engine.refunds_create(&request, &act()).await?;
    sqlx::query("DELETE FROM refunds").execute(&world.raw().await?).await?;
    let again = world.engine.refunds_create(&request, &act()).await?;
    assert_eq!(again.provider_refund_id, made.provider_refund_id);
    let refunds = world.get("/v1/refunds").await;
    assert_eq!(refunds["data"].as_array().map(Vec::len), Some(1), "{refunds}");
    Ok(())
}

#[tokio::test]
async fn pitfall_093_a_full_refund_leaves_neither_credits_nor_access() -> anyhow::Result<()> {
    let (world, intent) = pack("pm_card_visa").await?;
    world.tell_all().await;
    refund(&world, &intent, "1999").await;
    world.tell_all().await;
    let end = state(&world.engine, "buyer").await;
    assert_eq!(end["balance"], json!([0, 0, 0]), "{end}");
    assert_eq!(end["payments"], json!([[1999, "refunded", 1999]]));
    Ok(())
}

#[tokio::test]
async fn pitfall_094_partial_refunds_are_a_total_and_no_increments() -> anyhow::Result<()> {
    let (world, intent) = pack("pm_card_visa").await?;
    world.tell_all().await;
    let mut told_of = refund(&world, &intent, "600").await;
    told_of.extend(refund(&world, &intent, "400").await);
    world.freeze().await;
    let forgotten = World::oblivious().await?;
    for provider in [None, Some(forgotten.as_str())] {
        let mut first: Option<Value> = None;
        let charges: Vec<Value> =
            told_of.iter().filter(|event| event["type"] == "charge.refunded").cloned().collect();
        assert_eq!(charges.len(), 2);
        let events = if provider.is_none() { &told_of } else { &charges };
        for order in permutations(events) {
            let engine = world.copy(provider).await?;
            let end = told(&engine, &order).await;
            // 1000 of 1999, rounded down.
            assert_eq!(end["balance"], json!([0, 50, 0]), "{provider:?} {end}");
            assert_eq!(end["payments"], json!([[1999, "partially_refunded", 1000]]));
            assert_eq!(*first.get_or_insert_with(|| end.clone()), end);
            engine.store().close().await;
        }
    }
    Ok(())
}

#[tokio::test]
async fn pitfall_095_each_event_about_a_refund_tells_all_of_it() -> anyhow::Result<()> {
    let (world, intent) = pack("pm_card_pendingRefund").await?;
    world.tell_all().await;
    refund(&world, &intent, "1000").await;
    world.advance("1h").await;
    let events = world.events().await;
    world.freeze().await;
    let kinds = ["refund.created", "charge.refunded", "refund.updated", "charge.refund.updated"];
    for kind in kinds {
        let engine = world.copy(None).await?;
        let event = of_kind(&events, kind).unwrap_or_else(|| panic!("{kind}"));
        let end = told(&engine, &[event]).await;
        assert_eq!(end["balance"], json!([0, 50, 0]), "{kind} {end}");
        assert_eq!(end["payments"], json!([[1999, "partially_refunded", 1000]]), "{kind}");
        engine.store().close().await;
    }
    Ok(())
}

#[tokio::test]
async fn pitfall_096_a_refund_that_fails_gives_the_credits_back_once() -> anyhow::Result<()> {
    let (world, intent) = pack("pm_card_refundFail").await?;
    world.tell_all().await;
    spend(&world.engine, 30).await;
    let ordered = refund(&world, &intent, "1999").await;
    world.tell_all().await;
    let waiting = state(&world.engine, "buyer").await;
    assert_eq!(waiting["balance"], json!([0, 0, 0]), "{waiting}");
    assert_eq!(world.engine.debts_open(&own("buyer"), "credits").await?, 30);
    world.advance("1h").await;
    let failed = of_kind(&world.events().await, "refund.failed").unwrap();
    world.freeze().await;
    let forgotten = World::oblivious().await?;
    for provider in [None, Some(forgotten.as_str())] {
        let engine = world.copy(provider).await?;
        for event in [&failed, &ordered[0], &failed, &ordered[1]] {
            let mut again = event.clone();
            again["id"] = json!(format!("{}_{}", event["id"].as_str().unwrap(), "again"));
            deliver(&engine, &again).await;
            drain(&engine).await;
        }
        let end = state(&engine, "buyer").await;
        assert_eq!(end["balance"], json!([0, 70, 0]), "{provider:?} {end}");
        assert_eq!(end["payments"], json!([[1999, "paid", 0]]), "{provider:?}");
        assert_eq!(engine.debts_open(&own("buyer"), "credits").await?, 0);
        let id = failed["data"]["object"]["id"].as_str().unwrap();
        let mut tx = engine.store().read("test").await?;
        let row = tx.refunds_find("stripe", id).await?.unwrap();
        assert_eq!(row.status, "failed", "{provider:?}");
        drop(tx);
        engine.store().close().await;
    }
    Ok(())
}

#[tokio::test]
async fn pitfall_096_a_canceled_refund_is_none() -> anyhow::Result<()> {
    let (world, intent) = pack("pm_card_pendingRefund").await?;
    world.tell_all().await;
    let ordered = refund(&world, &intent, "1999").await;
    world.tell_all().await;
    assert_eq!(state(&world.engine, "buyer").await["balance"], json!([0, 0, 0]), "reserved");
    // The provider is asked no more, so the event alone decides.
    let mut canceled = of_kind(&ordered, "refund.created").unwrap();
    canceled["id"] = json!("evt_canceled");
    canceled["type"] = json!("refund.updated");
    canceled["created"] = json!(canceled["created"].as_i64().unwrap() + 100);
    canceled["data"]["object"]["status"] = json!("canceled");
    world.freeze().await;
    let forgotten = World::oblivious().await?;
    let engine = world.copy(Some(&forgotten)).await?;
    let end = told(&engine, &[canceled]).await;
    assert_eq!(end["balance"], json!([0, 100, 0]), "{end}");
    assert_eq!(end["payments"], json!([[1999, "paid", 0]]));
    Ok(())
}

#[tokio::test]
async fn pitfall_097_a_refund_before_the_purchase_lands_at_the_net() -> anyhow::Result<()> {
    let (world, intent) = pack("pm_card_visa").await?;
    refund(&world, &intent, "1000").await;
    let events = world.events().await;
    world.freeze().await;
    let kinds = [
        "charge.refunded",
        "checkout.session.completed",
        "payment_intent.succeeded",
        "charge.succeeded",
    ];
    let events: Vec<Value> = kinds.iter().filter_map(|kind| of_kind(&events, kind)).collect();
    assert_eq!(events.len(), 4);
    for order in permutations(&events) {
        let engine = world.copy(None).await?;
        let end = told(&engine, &order).await;
        let kinds: Vec<_> = order.iter().map(|event| event["type"].clone()).collect();
        assert_eq!(end["balance"], json!([0, 50, 0]), "{kinds:?} {end}");
        assert_eq!(end["payments"], json!([[1999, "partially_refunded", 1000]]), "{kinds:?}");
        assert_eq!(end["parked"], json!([]), "{kinds:?}");
        engine.store().close().await;
    }
    Ok(())
}

#[tokio::test]
async fn row_73_a_refund_told_first_meets_a_provider_that_has_forgotten() -> anyhow::Result<()> {
    let (world, intent) = pack("pm_card_visa").await?;
    refund(&world, &intent, "1999").await;
    let events = world.events().await;
    world.freeze().await;
    let forgotten = World::oblivious().await?;
    let events = [
        of_kind(&events, "charge.refunded").unwrap(),
        of_kind(&events, "checkout.session.completed").unwrap(),
    ];
    for order in permutations(&events) {
        let engine = world.copy(Some(&forgotten)).await?;
        let end = told(&engine, &order).await;
        let kinds: Vec<_> = order.iter().map(|event| event["type"].clone()).collect();
        assert_eq!(end["balance"], json!([0, 0, 0]), "{kinds:?} {end}");
        assert_eq!(end["payments"], json!([[1999, "refunded", 1999]]), "one row: {end}");
        engine.store().close().await;
    }
    Ok(())
}

#[tokio::test]
async fn pitfall_104_a_yearly_plan_makes_up_for_refills_when_its_money_comes_again()
-> anyhow::Result<()> {
    // Of what was spent nothing can be withdrawn: it is owed, until the money is back.
    for spent in [0, 100] {
        let world = World::sqlite().await?;
        let request = world.request("buyer", "Pro yearly").await;
        world.pay_with(request, "pm_card_refundFail").await?;
        world.tell_all().await;
        if 0 < spent {
            spend(&world.engine, spent).await;
        }
        let intents = world.get("/v1/payment_intents?limit=1").await;
        let intent = intents["data"][0]["id"].as_str().unwrap();
        refund(&world, intent, "29990").await;
        let failing = world.events().await;
        world.tell_all().await;
        let gone = state(&world.engine, "buyer").await;
        assert_eq!(gone["balance"], json!([0, 0, 0]), "{gone}");
        assert_eq!(gone["features"]["api_access"], "revoked");
        world.advance("40d").await;
        world.engine.run_timers().await?;
        let waiting = state(&world.engine, "buyer").await;
        assert_eq!(waiting["grants"].as_array().map(Vec::len), Some(1), "refills wait: {waiting}");
        assert!(failing.len() < world.events().await.len());
        world.tell_all().await;
        let again = state(&world.engine, "buyer").await;
        assert_eq!(again["balance"], json!([100, 0, 0]), "{again}");
        assert_eq!(again["features"]["api_access"], "entitled");
        assert_eq!(again["grants"].as_array().map(Vec::len), Some(2), "{again}");
        assert_eq!(world.engine.debts_open(&own("buyer"), "credits").await?, 0);
    }
    Ok(())
}
