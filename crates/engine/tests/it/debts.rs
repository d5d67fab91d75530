//! Credits that were spent before their money went back.

use crate::worlds::{World, act, deliver, drain, own, state};
use domain::codes::Code;
use domain::invariants::{LedgerStep, ledger_replays};
use engine::credits::ConsumeRequest;
use engine::debts::DebtPolicy;
use engine::holds::HoldRequest;
use engine::{Engine, Failure};
use serde_json::json;

fn spend(amount: i64) -> ConsumeRequest {
    let (unit, reference) = ("credits".to_owned(), None);
    ConsumeRequest { amount, unit, reference, idempotency_key: None }
}

/// Somebody with a pack of a hundred credits.
async fn buyer(policy: DebtPolicy) -> anyhow::Result<World> {
    let world = World::sqlite().await?.with_debt_policy(policy);
    buy(&world).await;
    Ok(world)
}

async fn ledger_sums(engine: &Engine) {
    let page = engine::Page::new(Some(100), None).unwrap();
    let mut lines = engine.credits_entries(&own("buyer"), "credits", page).await.unwrap().data;
    lines.reverse();
    let steps: Vec<LedgerStep> = lines
        .iter()
        .map(|line| LedgerStep {
            before: line.balance_before,
            amount: line.amount,
            after: line.balance_after,
        })
        .collect();
    let sum = ledger_replays(&steps).unwrap();
    let balance = engine.credits_balance(&own("buyer"), "credits").await.unwrap();
    assert_eq!(sum, balance.total);
}

async fn refund_newest(world: &World) {
    let intents = world.get("/v1/payment_intents?limit=1").await;
    let id = intents["data"][0]["id"].as_str().unwrap();
    let made = world.post("/v1/refunds", &[("payment_intent", id)]).await;
    assert!(made["id"].is_string(), "{made}");
    world.tell_all().await;
}

async fn buy(world: &World) {
    world.pay(world.request("buyer", "100 Credits").await).await.unwrap();
    world.tell_all().await;
}

#[tokio::test]
async fn pitfall_098_spent_credits_are_a_debt_that_the_policy_decides() -> anyhow::Result<()> {
    for (policy, after_next) in
        [(DebtPolicy::Forgive, 100), (DebtPolicy::NetNextGrant, 40), (DebtPolicy::Block, 40)]
    {
        let world = buyer(policy).await?;
        world.engine.credits_consume(&own("buyer"), spend(60)).await?;
        refund_newest(&world).await;
        let end = state(&world.engine, "buyer").await;
        assert_eq!(end["balance"], json!([0, 0, 0]), "{policy:?} {end}");
        assert_eq!(world.engine.debts_open(&own("buyer"), "credits").await?, 60);
        buy(&world).await;
        let end = state(&world.engine, "buyer").await;
        assert_eq!(end["balance"], json!([0, after_next, 0]), "{policy:?} {end}");
        let debts = world.engine.debts_list(&own("buyer"), engine::Page::first()).await?.data;
        let settled = if policy == DebtPolicy::Forgive { 0 } else { 60 };
        assert_eq!((debts[0].amount, debts[0].settled), (60, settled), "{policy:?}");
        ledger_sums(&world.engine).await;
    }
    Ok(())
}

#[tokio::test]
async fn pitfall_098_blocked_until_the_debt_is_paid() -> anyhow::Result<()> {
    let world = buyer(DebtPolicy::Block).await?;
    world.engine.credits_consume(&own("buyer"), spend(100)).await?;
    // Credits that were there before are not taken, but cannot be spent either.
    let engine = &world.engine;
    let bonus = engine::credits::GrantRequest {
        amount: 30,
        unit: "credits".into(),
        class: domain::credits::Class::Bonus,
        expires_at: None,
        reason: "test".into(),
        idempotency_key: None,
    };
    engine.credits_grant(&own("buyer"), bonus.clone(), &act()).await?;
    world.advance("1h").await;
    refund_newest(&world).await;
    assert_eq!(engine.debts_open(&own("buyer"), "credits").await?, 100);
    assert_eq!(state(engine, "buyer").await["balance"], json!([0, 30, 0]));
    let refused = engine.credits_consume(&own("buyer"), spend(1)).await.unwrap_err();
    assert!(matches!(refused, Failure::Refused { code: Code::CreditsInDebt, .. }), "{refused:?}");
    let hold = HoldRequest {
        amount: 1,
        unit: "credits".into(),
        expires_in: None,
        reference: None,
        idempotency_key: None,
    };
    let refused = engine.credits_hold(&own("buyer"), hold).await.unwrap_err();
    assert!(matches!(refused, Failure::Refused { code: Code::CreditsInDebt, .. }), "{refused:?}");
    buy(&world).await;
    assert_eq!(engine.debts_open(&own("buyer"), "credits").await?, 0);
    assert_eq!(state(engine, "buyer").await["balance"], json!([0, 30, 0]));
    engine.credits_consume(&own("buyer"), spend(30)).await?;
    ledger_sums(engine).await;
    Ok(())
}

#[tokio::test]
async fn pitfall_098_what_paid_a_debt_that_is_none_comes_back() -> anyhow::Result<()> {
    for world in World::all().await? {
        let pack = world.request("buyer", "100 Credits").await;
        world.pay_with(pack, "pm_card_refundFail").await?;
        world.tell_all().await;
        world.engine.credits_consume(&own("buyer"), spend(60)).await?;
        refund_newest(&world).await;
        buy(&world).await;
        assert_eq!(state(&world.engine, "buyer").await["balance"], json!([0, 40, 0]));
        world.advance("1h").await;
        world.tell_all().await;
        let end = state(&world.engine, "buyer").await;
        assert_eq!(end["balance"], json!([0, 140, 0]), "both packs less what was spent: {end}");
        assert_eq!(world.engine.debts_open(&own("buyer"), "credits").await?, 0);
        world.tell_all().await;
        assert_eq!(state(&world.engine, "buyer").await, end);
        ledger_sums(&world.engine).await;
    }
    Ok(())
}

#[tokio::test]
async fn a_debt_told_late_is_paid_as_if_told_in_time() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    world.pay(world.request("buyer", "100 Credits").await).await?;
    world.tell_all().await;
    world.engine.credits_consume(&own("buyer"), spend(60)).await?;
    let intents = world.get("/v1/payment_intents?limit=1").await;
    let id = intents["data"][0]["id"].as_str().unwrap();
    world.post("/v1/refunds", &[("payment_intent", id)]).await;
    world.advance("1h").await;
    // The refund's events are on their way while the customer buys again.
    let told = world.events().await.len();
    world.pay(world.request("buyer", "100 Credits").await).await?;
    for event in world.events().await.split_off(told) {
        deliver(&world.engine, &event).await;
    }
    drain(&world.engine).await;
    assert_eq!(state(&world.engine, "buyer").await["balance"], json!([0, 140, 0]));
    world.tell_all().await;
    assert_eq!(state(&world.engine, "buyer").await["balance"], json!([0, 40, 0]));
    ledger_sums(&world.engine).await;
    Ok(())
}

#[tokio::test]
async fn a_debt_is_as_old_as_the_first_of_its_money_whatever_was_told_first() -> anyhow::Result<()>
{
    let world = World::sqlite().await?;
    world.pay(world.request("buyer", "Pro monthly").await).await?;
    world.tell_all().await;
    let invoices = world.get("/v1/invoices?limit=1").await;
    let invoice = invoices["data"][0]["id"].as_str().unwrap().to_owned();
    let intents = world.get("/v1/payment_intents?limit=1").await;
    let intent = intents["data"][0]["id"].as_str().unwrap().to_owned();
    world.engine.credits_consume(&own("buyer"), spend(100)).await?;
    let told = world.events().await.len();
    let form = [("invoice", invoice.as_str()), ("amount", "1200"), ("credit_amount", "1200")];
    let note = world.post("/v1/credit_notes", &form).await;
    assert!(note["id"].is_string(), "{note}");
    world.advance("1h").await;
    world.pay(world.request("buyer", "100 Credits").await).await?;
    world.advance("1h").await;
    let form = [("payment_intent", intent.as_str()), ("amount", "1799")];
    let refund = world.post("/v1/refunds", &form).await;
    assert!(refund["id"].is_string(), "{refund}");
    // The note is found last, as by a comparison.
    let events = world.events().await.split_off(told);
    let (notes, rest): (Vec<_>, Vec<_>) =
        events.into_iter().partition(|event| event["type"] == "credit_note.created");
    assert_eq!(notes.len(), 1);
    for event in rest.iter().chain(&notes) {
        deliver(&world.engine, event).await;
        drain(&world.engine).await;
    }
    assert_eq!(state(&world.engine, "buyer").await["balance"], json!([0, 0, 0]));
    assert_eq!(world.engine.debts_open(&own("buyer"), "credits").await?, 0);
    ledger_sums(&world.engine).await;
    Ok(())
}

#[tokio::test]
async fn a_pack_told_late_pays_no_debt_that_came_after_it() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    buy(&world).await;
    world.engine.credits_consume(&own("buyer"), spend(60)).await?;
    let intents = world.get("/v1/payment_intents?limit=1").await;
    let first = intents["data"][0]["id"].as_str().unwrap().to_owned();
    world.advance("1h").await;
    world.pay(world.request("buyer", "100 Credits").await).await?;
    let told = world.events().await.len();
    world.advance("1h").await;
    world.post("/v1/refunds", &[("payment_intent", &first)]).await;
    world.freeze().await;
    let events = world.events().await;
    let in_time = world.copy(None).await?;
    let late = world.copy(None).await?;
    for event in &events {
        deliver(&in_time, event).await;
        drain(&in_time).await;
    }
    for event in events[told..].iter().chain(&events) {
        deliver(&late, event).await;
        drain(&late).await;
    }
    for engine in [in_time, late] {
        assert_eq!(state(&engine, "buyer").await["balance"], json!([0, 100, 0]));
        assert_eq!(engine.debts_open(&own("buyer"), "credits").await?, 60);
        ledger_sums(&engine).await;
    }
    Ok(())
}
