//! Disputes: opened is not lost, won gives back, and nothing goes twice.

use crate::orders::{of_kind, permutations, told};
use crate::worlds::{World, deliver, drain, own, state};
use serde_json::{Value, json};

async fn disputed(method: &str, nickname: &str) -> anyhow::Result<World> {
    let world = World::sqlite().await?;
    world.pay_with(world.request("buyer", nickname).await, method).await?;
    Ok(world)
}

async fn answer(world: &World, evidence: &str) {
    let disputes = world.get("/v1/disputes").await;
    let id = disputes["data"][0]["id"].as_str().unwrap().to_owned();
    let form = [("evidence[uncategorized_text]", evidence)];
    let answered = world.post(&format!("/v1/disputes/{id}"), &form).await;
    assert!(answered["id"].is_string(), "{answered}");
    world.advance("1h").await;
}

fn about_disputes(events: &[Value]) -> Vec<Value> {
    let is_about = |event: &&Value| {
        event["type"].as_str().is_some_and(|kind| kind.starts_with("charge.dispute."))
    };
    events.iter().filter(is_about).cloned().collect()
}

#[tokio::test]
async fn row_74_a_dispute_suspends_and_its_end_decides() -> anyhow::Result<()> {
    for (evidence, balance, feature) in [
        ("winning_evidence", json!([100, 0, 0]), "entitled"),
        ("losing_evidence", json!([0, 0, 0]), "revoked"),
    ] {
        let world = disputed("pm_card_createDispute", "Pro monthly").await?;
        world.tell_all().await;
        let open = state(&world.engine, "buyer").await;
        assert_eq!(open["balance"], json!([0, 0, 0]), "{open}");
        assert_eq!(open["features"]["knowledge_base"], "revoked");
        assert_eq!(open["payments"], json!([[2999, "paid", 0]]), "a dispute is no refund");
        answer(&world, evidence).await;
        world.tell_all().await;
        let closed = state(&world.engine, "buyer").await;
        assert_eq!(closed["balance"], balance, "{evidence} {closed}");
        assert_eq!(closed["features"]["knowledge_base"], feature, "{evidence}");
    }
    Ok(())
}

#[tokio::test]
async fn pitfall_099_all_orders_of_a_dispute_end_with_its_status() -> anyhow::Result<()> {
    let world = disputed("pm_card_createDispute", "100 Credits").await?;
    world.tell_all().await;
    answer(&world, "winning_evidence").await;
    let events = about_disputes(&world.events().await);
    world.freeze().await;
    assert!((4..=5).contains(&events.len()), "{}", events.len());
    let forgotten = World::oblivious().await?;
    for provider in [None, Some(forgotten.as_str())] {
        // Some orders are enough: each event first and each last.
        for order in permutations(&events).iter().step_by(5) {
            let engine = world.copy(provider).await?;
            let end = told(&engine, order).await;
            let kinds: Vec<_> = order.iter().map(|event| event["type"].clone()).collect();
            assert_eq!(end["balance"], json!([0, 100, 0]), "{provider:?} {kinds:?} {end}");
            engine.store().close().await;
        }
    }
    Ok(())
}

#[tokio::test]
async fn pitfall_099_reinstated_funds_of_a_lost_dispute_give_nothing_back() -> anyhow::Result<()> {
    let world = disputed("pm_card_createDispute", "100 Credits").await?;
    world.tell_all().await;
    let events = about_disputes(&world.events().await);
    let mut lost = events.last().unwrap().clone();
    lost["id"] = json!("evt_lost");
    lost["type"] = json!("charge.dispute.closed");
    lost["data"]["object"]["status"] = json!("lost");
    lost["created"] = json!(lost["created"].as_i64().unwrap() + 100);
    let mut reinstated = lost.clone();
    reinstated["id"] = json!("evt_reinstated");
    reinstated["type"] = json!("charge.dispute.funds_reinstated");
    world.freeze().await;
    let forgotten = World::oblivious().await?;
    for order in permutations(&[lost, reinstated]) {
        let engine = world.copy(Some(&forgotten)).await?;
        let end = told(&engine, &order).await;
        assert_eq!(end["balance"], json!([0, 0, 0]), "{end}");
        engine.store().close().await;
    }
    Ok(())
}

#[tokio::test]
async fn pitfall_099_an_inquiry_touches_nothing_until_it_is_a_dispute() -> anyhow::Result<()> {
    let world = disputed("pm_card_createDisputeInquiry", "100 Credits").await?;
    world.tell_all().await;
    assert_eq!(state(&world.engine, "buyer").await["balance"], json!([0, 100, 0]));
    answer(&world, "escalate_inquiry_evidence").await;
    world.tell_all().await;
    assert_eq!(state(&world.engine, "buyer").await["balance"], json!([0, 0, 0]));
    answer(&world, "winning_evidence").await;
    world.tell_all().await;
    assert_eq!(state(&world.engine, "buyer").await["balance"], json!([0, 100, 0]));
    let intent = world.get("/v1/payment_intents?limit=1").await;
    let intent = intent["data"][0]["id"].as_str().unwrap();
    world.post("/v1/refunds", &[("payment_intent", intent)]).await;
    world.tell_all().await;
    let end = state(&world.engine, "buyer").await;
    assert_eq!(end["balance"], json!([0, 0, 0]), "won, then refunded: gone once: {end}");
    assert_eq!(end["grants"][0][1], json!(100));
    Ok(())
}

#[tokio::test]
async fn pitfall_100_a_refund_and_disputes_of_one_charge_never_exceed_it() -> anyhow::Result<()> {
    // Two disputes, each over half of the charge.
    let world = disputed("pm_card_createMultipleDisputes", "100 Credits").await?;
    let created: Vec<Value> = about_disputes(&world.events().await)
        .into_iter()
        .filter(|event| event["type"] == "charge.dispute.created")
        .collect();
    let completed = of_kind(&world.events().await, "checkout.session.completed").unwrap();
    let charge = of_kind(&world.events().await, "charge.succeeded").unwrap();
    let mut refunded = charge.clone();
    refunded["id"] = json!("evt_refunded");
    refunded["type"] = json!("charge.refunded");
    refunded["data"]["object"]["amount_refunded"] = json!(1500);
    world.freeze().await;
    let forgotten = World::oblivious().await?;
    let mut larger = created[0].clone();
    larger["data"]["object"]["amount"] = json!(5000);
    let cases = [
        (vec![refunded.clone(), created[0].clone()], 0),
        (vec![refunded.clone(), created[0].clone(), created[1].clone()], 0),
        (vec![refunded.clone(), larger], 0),
        (vec![refunded], 25),
        (vec![created[0].clone()], 51),
    ];
    for (events, left) in cases {
        for order in permutations(&events) {
            let engine = world.copy(Some(&forgotten)).await?;
            let mut order = order;
            order.insert(0, completed.clone());
            order.insert(1, charge.clone());
            let end = told(&engine, &order).await;
            assert_eq!(end["balance"], json!([0, left, 0]), "{end}");
            engine.store().close().await;
        }
    }
    Ok(())
}

#[tokio::test]
async fn pitfall_100_lots_are_a_function_of_the_facts_in_any_order() -> anyhow::Result<()> {
    let world = disputed("pm_card_createDispute", "100 Credits").await?;
    world.tell_all().await;
    let events = world.events().await;
    let charge = of_kind(&events, "charge.succeeded").unwrap();
    let dispute = of_kind(&events, "charge.dispute.created").unwrap();
    let at = dispute["created"].as_i64().unwrap();
    world.freeze().await;
    let forgotten = World::oblivious().await?;
    let words = ["needs_response", "under_review", "won", "lost", "a_later_word", "prevented"];
    for seed in 0_u64..30 {
        // A small generator of our own: the same seeds make the same stories everywhere.
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1);
        let mut draw = |below: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % below
        };
        let mut story = Vec::new();
        for step in 1..=(2 + draw(4)) {
            let mut event = if draw(2) == 0 { charge.clone() } else { dispute.clone() };
            event["id"] = json!(format!("evt_{seed}_{step}"));
            event["created"] = json!(at + 100 + i64::try_from(step)?);
            let is_charge = event["type"] == "charge.succeeded";
            let object = &mut event["data"]["object"];
            if is_charge {
                object["amount_refunded"] = json!(draw(2000));
                event["type"] = json!("charge.refunded");
            } else {
                object["status"] = json!(words[usize::try_from(draw(6))?]);
                object["amount"] = json!(draw(2500));
                event["type"] = json!("charge.dispute.updated");
            }
            story.push(event);
        }
        let mut expected: Option<Value> = None;
        for turn in 0..3_usize {
            let mut order = story.clone();
            order.rotate_left(turn % story.len());
            order.sort_by_key(|event| match turn {
                2 => -event["created"].as_i64().unwrap(),
                _ => 0,
            });
            let engine = world.copy(Some(&forgotten)).await?;
            let end = told(&engine, &order).await;
            let lots = engine.credits_grants(&own("buyer"), engine::Page::first()).await?.data;
            assert!(lots.iter().all(|lot| lot.withdrawn <= lot.numbers.revoked
                && lot.numbers.revoked <= lot.numbers.granted));
            assert_eq!(*expected.get_or_insert_with(|| end.clone()), end, "{seed} {story:#?}");
            engine.store().close().await;
        }
        // What the newest description of each says is what counts.
        let newest = |family: &str| {
            let is_of = |it: &&Value| it["type"].as_str().is_some_and(|it| it.starts_with(family));
            let newest = story.iter().filter(is_of).max_by_key(|it| it["created"].as_i64());
            newest.map(|event| event["data"]["object"].clone())
        };
        let refunded =
            newest("charge.refunded").map_or(0, |it| it["amount_refunded"].as_i64().unwrap());
        let disputed = newest("charge.dispute").unwrap_or(dispute["data"]["object"].clone());
        let takes = !matches!(disputed["status"].as_str(), Some("won" | "prevented"));
        let disputed = if takes { disputed["amount"].as_i64().unwrap() } else { 0 };
        let back = (refunded + disputed).min(1999);
        let left = 100 - if 1999 <= back { 100 } else { 100 * back / 1999 };
        assert_eq!(expected.unwrap()["balance"], json!([0, left, 0]), "{seed} {story:#?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_one_time_purchase_is_suspended_while_it_is_disputed() -> anyhow::Result<()> {
    let world = disputed("pm_card_createDispute", "RAG Access").await?;
    world.tell_all().await;
    assert_eq!(state(&world.engine, "buyer").await["features"]["knowledge_base"], "revoked");
    answer(&world, "winning_evidence").await;
    let closed = of_kind(&world.events().await, "charge.dispute.closed").unwrap();
    deliver(&world.engine, &closed).await;
    drain(&world.engine).await;
    assert_eq!(state(&world.engine, "buyer").await["features"]["knowledge_base"], "entitled");
    Ok(())
}

#[tokio::test]
async fn pitfall_099_a_dispute_won_after_the_end_brings_no_allowance() -> anyhow::Result<()> {
    let world = disputed("pm_card_createDispute", "Pro monthly").await?;
    world.tell_all().await;
    let subscriptions = world.get("/v1/subscriptions?limit=1").await;
    let id = subscriptions["data"][0]["id"].as_str().unwrap();
    world.delete(&format!("/v1/subscriptions/{id}")).await;
    answer(&world, "winning_evidence").await;
    let mut events = world.events().await;
    events.retain(|event| {
        event["type"] == "customer.subscription.deleted" || event["type"] == "charge.dispute.closed"
    });
    assert_eq!(events.len(), 2);
    world.freeze().await;
    for order in permutations(&events) {
        let engine = world.copy(None).await?;
        let end = told(&engine, &order).await;
        assert_eq!(end["balance"], json!([0, 0, 0]), "{end}");
        assert_eq!(end["subscriptions"][0][0], "canceled");
        engine.store().close().await;
    }
    Ok(())
}

#[tokio::test]
async fn row_74_a_dispute_before_its_purchase_on_every_backend() -> anyhow::Result<()> {
    for world in World::all().await? {
        let request = world.request("buyer", "100 Credits").await;
        world.pay_with(request, "pm_card_createDispute").await?;
        let events = world.events().await;
        let created = of_kind(&events, "charge.dispute.created").unwrap();
        let completed = of_kind(&events, "checkout.session.completed").unwrap();
        for order in [[&created, &completed], [&completed, &created]] {
            for event in order {
                deliver(&world.engine, event).await;
                drain(&world.engine).await;
            }
            let open = state(&world.engine, "buyer").await;
            assert_eq!(open["balance"], json!([0, 0, 0]), "{} {open}", world.name);
            assert_eq!(open["payments"], json!([[1999, "paid", 0]]), "{}", world.name);
        }
        answer(&world, "winning_evidence").await;
        world.tell_all().await;
        let end = state(&world.engine, "buyer").await;
        assert_eq!(end["balance"], json!([0, 100, 0]), "{} {end}", world.name);
        assert_eq!(end["parked"], json!([]), "{}", world.name);
    }
    Ok(())
}

#[tokio::test]
async fn a_dispute_is_told_when_it_takes_the_money_and_when_it_ends() -> anyhow::Result<()> {
    let world = disputed("pm_card_createDisputeInquiry", "100 Credits").await?;
    let told = async |kind: &str| {
        let page = engine::Page::first();
        world.engine.notifications_list(page, Some(kind), None).await.unwrap().data.len()
    };
    world.tell_all().await;
    assert_eq!((told("payment.disputed").await, told("dispute.closed").await), (0, 0));
    answer(&world, "escalate_inquiry_evidence").await;
    world.tell_all().await;
    assert_eq!((told("payment.disputed").await, told("dispute.closed").await), (1, 0));
    answer(&world, "winning_evidence").await;
    world.tell_all().await;
    world.tell_all().await;
    assert_eq!((told("payment.disputed").await, told("dispute.closed").await), (1, 1));
    Ok(())
}
