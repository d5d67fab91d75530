//! Spending: exactly once, never too much, and what is held comes back.

use crate::worlds::{World, act, own};
use domain::codes::Code;
use domain::credits::Class;
use domain::invariants::{LedgerStep, ledger_replays, lot_is_exact};
use engine::credits::{ConsumeRequest, GrantRequest};
use engine::holds::HoldRequest;
use engine::{Engine, Failure, Page, Subject};
use store::holds::HoldStatus;

fn consume(amount: i64, key: Option<&str>) -> ConsumeRequest {
    ConsumeRequest {
        amount,
        unit: "credits".into(),
        reference: None,
        idempotency_key: key.map(str::to_owned),
    }
}

fn hold(amount: i64) -> HoldRequest {
    HoldRequest {
        amount,
        unit: "credits".into(),
        expires_in: Some(60),
        reference: None,
        idempotency_key: None,
    }
}

async fn spender(engine: &Engine, amount: i64) -> Result<Subject, Failure> {
    let new = engine::customers::NewCustomer {
        external_id: Some("spender".into()),
        ..Default::default()
    };
    engine.customers_create(new).await?;
    let grant = GrantRequest {
        amount,
        unit: "credits".into(),
        class: Class::Bonus,
        expires_at: None,
        reason: "test".into(),
        idempotency_key: Some("grant".into()),
    };
    engine.credits_grant(&own("spender"), grant.clone(), &act()).await?;
    engine.credits_grant(&own("spender"), grant, &act()).await?;
    Ok(own("spender"))
}

async fn audit(engine: &Engine, subject: &Subject) -> Result<i64, Failure> {
    let page = || Page::new(Some(100), None);
    for grant in engine.credits_grants(subject, page()?).await?.data {
        lot_is_exact(&grant.numbers).unwrap();
    }
    let mut entries = engine.credits_entries(subject, "credits", page()?).await?.data;
    entries.reverse();
    let steps: Vec<_> = entries
        .iter()
        .map(|entry| LedgerStep {
            before: entry.balance_before,
            amount: entry.amount,
            after: entry.balance_after,
        })
        .collect();
    Ok(ledger_replays(&steps).unwrap())
}

#[tokio::test]
async fn row_89_ten_credits_and_forty_parallel_requests() -> anyhow::Result<()> {
    for world in World::all().await? {
        let subject = spender(&world.engine, 10).await?;
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..40 {
            let (engine, subject) = (world.engine.clone(), subject.clone());
            tasks.spawn(async move { engine.credits_consume(&subject, consume(1, None)).await });
        }
        let (mut taken, mut short) = (0, 0);
        while let Some(task) = tasks.join_next().await {
            match task? {
                Ok(_) => taken += 1,
                Err(Failure::Shortage { required: 1, .. }) => short += 1,
                Err(other) => return Err(other.into()),
            }
        }
        assert_eq!((taken, short), (10, 30), "{}", world.name);
        assert_eq!(audit(&world.engine, &subject).await?, 0);
    }
    Ok(())
}

#[tokio::test]
async fn row_93_a_repeated_request_is_charged_once() -> anyhow::Result<()> {
    for world in World::all().await? {
        let subject = spender(&world.engine, 10).await?;
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..10 {
            let (engine, subject) = (world.engine.clone(), subject.clone());
            tasks.spawn(async move {
                engine.credits_consume(&subject, consume(4, Some("order-1"))).await
            });
        }
        let mut first = 0;
        while let Some(task) = tasks.join_next().await {
            let receipt = task??;
            assert_eq!((receipt.consumed, receipt.balance.total), (4, 6));
            first += usize::from(!receipt.replayed);
        }
        assert_eq!(first, 1, "{}", world.name);
        let other = world.engine.credits_consume(&subject, consume(5, Some("order-1"))).await;
        assert!(matches!(other, Err(Failure::Refused { code: Code::IdempotencyConflict, .. })));
        // A shortage is not remembered: the same key may succeed after a top-up.
        let short = world.engine.credits_consume(&subject, consume(7, Some("order-2"))).await;
        assert!(matches!(short, Err(Failure::Shortage { required: 7, available: 6, .. })));
        let grant = GrantRequest {
            amount: 1,
            unit: "credits".into(),
            class: Class::Bonus,
            expires_at: None,
            reason: "top-up".into(),
            idempotency_key: None,
        };
        world.engine.credits_grant(&subject, grant, &act()).await?;
        world.engine.credits_consume(&subject, consume(7, Some("order-2"))).await?;
        assert_eq!(audit(&world.engine, &subject).await?, 0);
    }
    Ok(())
}

#[tokio::test]
async fn row_91_holds_are_captured_released_or_expire() -> anyhow::Result<()> {
    for world in World::all().await? {
        let engine = &world.engine;
        let subject = spender(engine, 10).await?;
        let total = async || engine.credits_balance(&subject, "credits").await.map(|b| b.total);
        let work = engine.credits_hold(&subject, hold(6)).await?;
        assert_eq!(total().await?, 4);
        let short = engine.credits_hold(&subject, hold(5)).await;
        assert!(matches!(short, Err(Failure::Shortage { required: 5, available: 4, .. })));
        let more = engine.credits_capture(&subject, work.id.as_str(), Some(7)).await;
        assert!(matches!(more, Err(Failure::Refused { code: Code::CaptureExceedsHold, .. })));
        let done = engine.credits_capture(&subject, work.id.as_str(), Some(2)).await?;
        assert_eq!((done.status, done.captured), (HoldStatus::Captured, 2));
        engine.credits_capture(&subject, work.id.as_str(), Some(2)).await?;
        assert_eq!(total().await?, 8);
        let late = engine.credits_release(&subject, work.id.as_str()).await;
        assert!(matches!(late, Err(Failure::Refused { code: Code::HoldClosed, .. })));
        let failed = engine.credits_hold(&subject, hold(8)).await?;
        engine.credits_release(&subject, failed.id.as_str()).await?;
        engine.credits_release(&subject, failed.id.as_str()).await?;
        assert_eq!(total().await?, 8);
        let lost = engine.credits_hold(&subject, hold(8)).await?;
        world.advance("12h").await;
        let expired = engine.credits_capture(&subject, lost.id.as_str(), None).await;
        assert!(matches!(expired, Err(Failure::Refused { code: Code::HoldExpired, .. })));
        engine.run_timers().await?;
        assert_eq!(total().await?, 8, "{}", world.name);
        assert_eq!(audit(engine, &subject).await?, 8);
        let merchant = Subject::Named("spender".into());
        let merchants = engine.credits_hold(&merchant, hold(1)).await?;
        let undone = engine.credits_release(&subject, merchants.id.as_str()).await;
        assert!(matches!(undone, Err(Failure::Refused { code: Code::Forbidden, .. })));
        engine.credits_release(&merchant, merchants.id.as_str()).await?;
        let foreign = engine.credits_capture(&own("stranger"), lost.id.as_str(), None).await;
        assert!(matches!(foreign, Err(Failure::Refused { code: Code::HoldNotFound, .. })));
    }
    Ok(())
}

#[tokio::test]
async fn row_94_what_expires_is_unusable_at_once_and_written_off() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    let engine = &world.engine;
    let subject = spender(engine, 5).await?;
    let grant = GrantRequest {
        amount: 7,
        unit: "credits".into(),
        class: Class::Allowance,
        expires_at: Some(engine.clock().now().plus_seconds(3600)),
        reason: "short".into(),
        idempotency_key: None,
    };
    engine.credits_grant(&subject, grant, &act()).await?;
    assert_eq!(engine.credits_balance(&subject, "credits").await?.total, 12);
    let work = engine.credits_hold(&subject, HoldRequest { expires_in: Some(86_400), ..hold(3) });
    let work = work.await?;
    world.advance("2h").await;
    assert_eq!(engine.credits_balance(&subject, "credits").await?.total, 5);
    let short = engine.credits_consume(&subject, consume(6, None)).await;
    assert!(matches!(short, Err(Failure::Shortage { available: 5, .. })));
    // An open hold on an expired lot may still be captured; what goes back expires.
    engine.credits_capture(&subject, work.id.as_str(), Some(1)).await?;
    engine.run_timers().await?;
    assert_eq!(engine.credits_balance(&subject, "credits").await?.total, 5);
    assert_eq!(audit(engine, &subject).await?, 5);
    Ok(())
}
