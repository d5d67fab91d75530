//! One purchase, many events: each of them alone brings everything, all of them bring it once.

use crate::orders::{of_kind, told};
use crate::worlds::{World, deliver, drain, own, state};
use serde_json::{Value, json};

const OF_A_PACK: [&str; 3] =
    ["payment_intent.succeeded", "charge.succeeded", "checkout.session.completed"];
const OF_A_PLAN: [&str; 6] = [
    "payment_intent.succeeded",
    "charge.succeeded",
    "checkout.session.completed",
    "invoice.paid",
    "invoice.payment_succeeded",
    "invoice_payment.paid",
];

#[tokio::test]
async fn pitfall_075_each_event_of_a_pack_alone_and_any_of_them_together() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    world.pay(world.request("buyer", "100 Credits").await).await?;
    let events = world.events().await;
    let events: Vec<Value> = OF_A_PACK.iter().map(|kind| of_kind(&events, kind).unwrap()).collect();
    world.freeze().await;
    for chosen in 1_usize..8 {
        let mut some: Vec<Value> = Vec::new();
        for (index, event) in events.iter().enumerate() {
            if chosen & (1 << index) != 0 {
                some.push(event.clone());
            }
        }
        for reversed in [false, true] {
            if reversed {
                some.reverse();
            }
            let engine = world.copy(None).await?;
            let end = told(&engine, &some).await;
            assert_eq!(end["balance"], json!([0, 100, 0]), "{chosen} {end}");
            assert_eq!(end["payments"], json!([[1999, "paid", 0]]), "{chosen}");
            assert_eq!(end["parked"], json!([]), "{chosen}");
            engine.store().close().await;
        }
    }
    Ok(())
}

#[tokio::test]
async fn row_52_each_event_of_a_plan_alone_and_all_together() -> anyhow::Result<()> {
    for world in World::all().await? {
        world.pay(world.request("buyer", "Pro monthly").await).await?;
        let events = world.events().await;
        let mut stories: Vec<Vec<Value>> = Vec::new();
        let all: Vec<Value> =
            OF_A_PLAN.iter().map(|kind| of_kind(&events, kind).unwrap()).collect();
        stories.extend(all.iter().map(|event| vec![event.clone()]));
        stories.push(all.iter().rev().cloned().collect());
        stories.push(all);
        world.freeze().await;
        for story in stories {
            let engine = world.copy(None).await?;
            let end = told(&engine, &story).await;
            let kinds: Vec<_> = story.iter().map(|event| event["type"].clone()).collect();
            assert_eq!(end["balance"], json!([100, 0, 0]), "{} {kinds:?} {end}", world.name);
            assert_eq!(end["payments"], json!([[2999, "paid", 0]]), "{kinds:?}");
            assert_eq!(end["features"]["knowledge_base"], "entitled", "{kinds:?}");
            assert_eq!(end["parked"], json!([]), "{kinds:?}");
            engine.store().close().await;
        }
    }
    Ok(())
}

#[tokio::test]
async fn row_63_a_pack_adds_itself_and_leaves_the_allowance() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    world.pay(world.request("buyer", "Pro monthly").await).await?;
    world.tell_all().await;
    let before = state(&world.engine, "buyer").await;
    world.pay(world.request("buyer", "100 Credits").await).await?;
    world.tell_all().await;
    let after = state(&world.engine, "buyer").await;
    assert_eq!(
        (&before["balance"], &after["balance"]),
        (&json!([100, 0, 0]), &json!([100, 100, 0]))
    );
    assert_eq!(after["subscriptions"], before["subscriptions"]);
    Ok(())
}

/// An event in another version's shape: the object is asked for in that version.
async fn in_version(world: &World, event: &Value, version: &str, collection: &str) -> Value {
    let id = event["data"]["object"]["id"].as_str().unwrap();
    let mut shaped = event.clone();
    shaped["api_version"] = json!(version);
    shaped["data"]["object"] = world.get_in(version, &format!("/v1/{collection}/{id}")).await;
    shaped
}

#[tokio::test]
async fn pitfall_075_old_and_new_shapes_link_one_payment() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    world.pay(world.request("buyer", "Pro monthly").await).await?;
    let events = world.events().await;
    let invoice = of_kind(&events, "invoice.paid").unwrap();
    let charge = of_kind(&events, "charge.succeeded").unwrap();
    let intent = of_kind(&events, "payment_intent.succeeded").unwrap();
    let subscription = of_kind(&events, "customer.subscription.created").unwrap();
    let mut stories = Vec::new();
    for version in ["2024-04-10", "2024-06-20", "2025-03-31.basil", "2026-10-28.endive"] {
        stories.push((
            version,
            vec![
                in_version(&world, &charge, version, "charges").await,
                in_version(&world, &intent, version, "payment_intents").await,
                in_version(&world, &invoice, version, "invoices").await,
                subscription.clone(),
            ],
        ));
    }
    world.freeze().await;
    let forgotten = World::oblivious().await?;
    for (version, story) in stories {
        for provider in [None, Some(forgotten.as_str())] {
            let engine = world.copy(provider).await?;
            let end = told(&engine, &story).await;
            assert_eq!(end["balance"], json!([100, 0, 0]), "{version} {provider:?} {end}");
            assert_eq!(end["payments"], json!([[2999, "paid", 0]]), "{version} {provider:?}");
            let page = engine::Page::first();
            let payment = engine.payments_list(&own("buyer"), page).await?.data.remove(0);
            assert!(payment.provider_invoice_id.is_some(), "{version}");
            if provider.is_none() {
                assert!(payment.provider_payment_intent_id.is_some(), "{version}");
            }
            engine.store().close().await;
        }
    }
    Ok(())
}

#[tokio::test]
async fn pitfall_087_failed_attempts_are_not_the_end() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    world.pay(world.request("buyer", "100 Credits").await).await?;
    let succeeded = of_kind(&world.events().await, "payment_intent.succeeded").unwrap();
    world.freeze().await;
    let attempt = |id: &str, kind: &str, status: &str| {
        let mut event = succeeded.clone();
        event["id"] = json!(id);
        event["type"] = json!(kind);
        event["data"]["object"]["status"] = json!(status);
        event["data"]["object"]["latest_charge"] = json!(null);
        event["data"]["object"].as_object_mut().unwrap().remove("last_payment_error");
        event
    };
    let failed = |id: &str| attempt(id, "payment_intent.payment_failed", "requires_payment_method");
    let engine = world.copy(None).await?;
    for id in ["evt_1", "evt_2", "evt_3"] {
        deliver(&engine, &failed(id)).await;
        drain(&engine).await;
        assert_eq!(
            state(&engine, "buyer").await["payments"],
            json!([]),
            "an attempt is no payment"
        );
    }
    let end = told(&engine, &[succeeded.clone(), failed("evt_4")]).await;
    assert_eq!(end["payments"], json!([[1999, "paid", 0]]), "{end}");
    assert_eq!(end["balance"], json!([0, 100, 0]));
    let canceled = attempt("evt_5", "payment_intent.canceled", "canceled");
    let late = told(&engine, std::slice::from_ref(&canceled)).await;
    assert_eq!(late["payments"], json!([[1999, "paid", 0]]), "paid is not taken back");
    assert_eq!(late["parked"], json!([]));
    engine.store().close().await;
    let engine = world.copy(None).await?;
    let end = told(&engine, &[failed("evt_1"), canceled]).await;
    assert_eq!((&end["payments"], &end["parked"]), (&json!([]), &json!([])), "{end}");
    Ok(())
}

#[tokio::test]
async fn pitfall_087_a_canceled_intent_fails_a_payment_that_waits() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    world.pay_with(world.request("buyer", "100 Credits").await, "pm_usBankAccount_success").await?;
    let events = world.events().await;
    let completed = of_kind(&events, "checkout.session.completed").unwrap();
    let mut canceled = of_kind(&events, "payment_intent.created").unwrap();
    canceled["type"] = json!("payment_intent.canceled");
    canceled["id"] = json!("evt_canceled");
    canceled["data"]["object"]["status"] = json!("canceled");
    world.freeze().await;
    let engine = world.copy(None).await?;
    let waiting = told(&engine, &[completed]).await;
    assert_eq!(waiting["payments"], json!([[1999, "pending", 0]]), "{waiting}");
    let end = told(&engine, &[canceled]).await;
    assert_eq!(end["payments"], json!([[1999, "failed", 0]]), "{end}");
    assert_eq!(end["balance"], json!([0, 0, 0]));
    Ok(())
}

#[tokio::test]
async fn pitfall_076_a_debit_that_arrives_is_told_by_its_money_too() -> anyhow::Result<()> {
    for method in ["pm_usBankAccount_success", "pm_usBankAccount_insufficientFunds"] {
        let world = World::sqlite().await?;
        world.pay_with(world.request("buyer", "100 Credits").await, method).await?;
        world.tell_all().await;
        let waiting = state(&world.engine, "buyer").await;
        assert_eq!(waiting["payments"], json!([[1999, "pending", 0]]), "{waiting}");
        assert_eq!(waiting["balance"], json!([0, 0, 0]));
        let before = world.events().await.len();
        world.advance("7d").await;
        let news = world.events().await.split_off(before);
        // The page's own event is the one that is lost.
        for event in news
            .iter()
            .filter(|event| !event["type"].as_str().unwrap().starts_with("checkout.session."))
        {
            deliver(&world.engine, event).await;
            drain(&world.engine).await;
        }
        let end = state(&world.engine, "buyer").await;
        let arrived = method.ends_with("success");
        let credits = if arrived { 100 } else { 0 };
        assert_eq!(end["balance"], json!([0, credits, 0]), "{method} {end}");
        world.tell_all().await;
        let status = if arrived { "paid" } else { "failed" };
        let end = state(&world.engine, "buyer").await;
        assert_eq!(end["payments"], json!([[1999, status, 0]]), "{method}");
        assert_eq!(end["balance"], json!([0, credits, 0]), "{method}");
    }
    Ok(())
}

#[tokio::test]
async fn pitfall_086_authorized_is_not_captured_and_a_part_counts_as_a_part() -> anyhow::Result<()>
{
    let world = World::sqlite().await?;
    world.pay(world.request("buyer", "100 Credits").await).await?;
    let events = world.events().await;
    let completed = of_kind(&events, "checkout.session.completed").unwrap();
    let succeeded = of_kind(&events, "charge.succeeded").unwrap();
    let mut authorized = succeeded.clone();
    authorized["id"] = json!("evt_authorized");
    authorized["data"]["object"]["captured"] = json!(false);
    authorized["data"]["object"]["amount_captured"] = json!(0);
    let mut capturable = of_kind(&events, "payment_intent.succeeded").unwrap();
    capturable["id"] = json!("evt_capturable");
    capturable["type"] = json!("payment_intent.amount_capturable_updated");
    capturable["data"]["object"]["status"] = json!("requires_capture");
    let mut expired = authorized.clone();
    expired["id"] = json!("evt_expired");
    expired["type"] = json!("charge.expired");
    expired["data"]["object"]["refunded"] = json!(true);
    expired["data"]["object"]["amount_refunded"] = json!(1999);
    let mut in_part = succeeded.clone();
    in_part["id"] = json!("evt_in_part");
    in_part["type"] = json!("charge.captured");
    in_part["data"]["object"]["amount_captured"] = json!(1000);
    in_part["data"]["object"]["amount_refunded"] = json!(999);
    let mut refunded = in_part.clone();
    refunded["id"] = json!("evt_refunded");
    refunded["type"] = json!("charge.refunded");
    refunded["created"] = json!(refunded["created"].as_i64().unwrap() + 100);
    refunded["data"]["object"]["amount_refunded"] = json!(1499);
    world.freeze().await;
    let forgotten = World::oblivious().await?;
    let engine = world.copy(Some(&forgotten)).await?;
    let nothing = told(&engine, &[authorized, capturable, expired]).await;
    assert_eq!((&nothing["payments"], &nothing["balance"]), (&json!([]), &json!([0, 0, 0])));
    assert_eq!(nothing["parked"], json!([]));
    let captured = told(&engine, &[completed, in_part]).await;
    assert_eq!(captured["payments"], json!([[1000, "paid", 0]]), "{captured}");
    assert_eq!(captured["balance"], json!([0, 100, 0]));
    let back = told(&engine, &[refunded]).await;
    assert_eq!(back["payments"], json!([[1000, "partially_refunded", 500]]), "{back}");
    assert_eq!(back["balance"], json!([0, 50, 0]));
    Ok(())
}

#[tokio::test]
async fn foreign_money_is_ignored_and_leaves_no_rows() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    world.pay(world.request("buyer", "100 Credits").await).await?;
    world.tell_all().await;
    let held = state(&world.engine, "buyer").await;
    let sessions = world.get("/v1/checkout/sessions?limit=1").await;
    let customer = sessions["data"][0]["customer"].as_str().unwrap();
    let before = world.events().await.len();
    // The merchant's own business: with a stranger, and with a customer of ours, beside the shop.
    let stranger = world.post("/v1/customers", &[("name", "Stranger")]).await;
    for customer in [stranger["id"].as_str().unwrap(), customer] {
        let form = [
            ("amount", "700"),
            ("currency", "usd"),
            ("customer", customer),
            ("payment_method", "pm_card_visa"),
            ("payment_method_types[]", "card"),
            ("confirm", "true"),
        ];
        let intent = world.post("/v1/payment_intents", &form).await;
        assert_eq!(intent["status"], "succeeded", "{intent}");
        let id = intent["id"].as_str().unwrap();
        world.post("/v1/refunds", &[("payment_intent", id)]).await;
    }
    let foreign = world.events().await.split_off(before);
    assert!(of_kind(&foreign, "charge.refunded").is_some());
    for event in &foreign {
        deliver(&world.engine, event).await;
    }
    drain(&world.engine).await;
    assert_eq!(state(&world.engine, "buyer").await, held);
    Ok(())
}
