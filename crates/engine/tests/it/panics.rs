//! A fault of our own: what was begun is undone, one event or one loop pays for it, and nobody
//! else.

use crate::folds::{Folding, consume, rich};
use crate::worlds::{World, act, deliver, drain, own, state};
use domain::credits::Class;
use engine::credits::GrantRequest;
use engine::sync_runs::SyncRequest;
use engine::{Engine, Failure, Page};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use store::StoreError;
use store::sync_runs::SyncState;
use store::watch::{Step, Watcher};

/// Panics at one step of one transaction or statement, so many times.
fn panicking(step: Step, name: &'static str, times: usize) -> Watcher {
    let left = AtomicUsize::new(times);
    let fewer = |left: usize| left.checked_sub(1);
    Arc::new(move |at, what| {
        if at == step
            && what == name
            && left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fewer).is_ok()
        {
            panic!("on purpose, at {name}");
        }
        Box::pin(std::future::ready(Ok(())))
    })
}

/// What was told when two people had each bought a pack.
async fn pages(world: &World) -> anyhow::Result<Vec<Value>> {
    for who in ["ann", "bob"] {
        let request = world.request(who, "100 Credits").await;
        world.pay(request).await?;
    }
    let events = world.events().await;
    Ok(events.into_iter().filter(|it| it["type"] == "checkout.session.completed").collect())
}

async fn reasons(engine: &Engine) -> anyhow::Result<Vec<Option<String>>> {
    let pending = engine.events_list(Page::new(Some(100), None)?, Some("pending")).await?;
    Ok(pending.data.into_iter().map(|event| event.reason).collect())
}

async fn assert_both_have_their_credits(engine: &Engine, name: &str) {
    for who in ["ann", "bob"] {
        let end = state(engine, who).await;
        assert_eq!(end["balance"], json!([0, 100, 0]), "{name} {who} {end}");
    }
}

#[tokio::test]
async fn purchases_that_panic_together_are_applied_one_by_one() -> anyhow::Result<()> {
    for world in World::all().await? {
        let pages = pages(&world).await?;
        let at_the_mark = panicking(Step::Statement, "inbox_events.applied_fold", 1);
        let engine = world.watched(at_the_mark);
        for page in &pages {
            deliver(&engine, page).await;
        }
        for _ in 0..100 {
            drain(&engine).await;
            if reasons(&engine).await?.is_empty() {
                break;
            }
            // Some servers undo what was given up a moment later.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_both_have_their_credits(&engine, world.name).await;
    }
    Ok(())
}

#[tokio::test]
async fn an_event_that_panics_waits_and_the_next_one_is_applied() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    let pages = pages(&world).await?;
    let engine = world.watched(panicking(Step::Begin, "events.apply", 1));
    for page in &pages {
        // Alone each, as pages that name no session of ours by themselves are.
        let mut page = page.clone();
        page["data"]["object"]["client_reference_id"] = Value::Null;
        deliver(&engine, &page).await;
    }
    drain(&engine).await;
    assert_eq!(
        reasons(&engine).await?,
        [Some("the server panicked; its log says where".to_owned())]
    );
    for _ in 0..100 {
        drain(&engine).await;
        if reasons(&engine).await?.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_both_have_their_credits(&engine, world.name).await;
    Ok(())
}

/// Those who were in it hear that its outcome is unknown; the next ones share a commit as before.
#[tokio::test]
async fn a_fold_that_panics_is_not_the_last_one() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    rich(&world.engine, "ann", &[100]).await?;
    let (folds, panics) = (Arc::new(AtomicUsize::new(0)), AtomicBool::new(true));
    let counted = folds.clone();
    let watcher: Watcher = Arc::new(move |at, what| {
        if at == Step::Commit && what == "credits.consume_fold" {
            assert!(!panics.swap(false, Ordering::SeqCst), "on purpose");
            counted.fetch_add(1, Ordering::SeqCst);
        }
        Box::pin(std::future::ready(Ok(())))
    });
    let engine = world.watched(watcher);
    let folding = Folding::of(&engine).await;
    let one = consume(1, "credits", Some("answer-1".into()));
    let unknown = engine.credits_consume(&own("ann"), one.clone()).await;
    assert!(matches!(unknown, Err(Failure::Store(StoreError::Fold { .. }))), "{unknown:?}");
    let receipt = engine.credits_consume(&own("ann"), one).await?;
    assert_eq!((receipt.replayed, receipt.balance.total), (false, 99));
    assert_eq!(folds.load(Ordering::SeqCst), 1);
    folding.end().await;
    Ok(())
}

#[tokio::test]
async fn a_row_that_panics_keeps_no_other_waiting() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    for who in ["ann", "bob"] {
        rich(&world.engine, who, &[]).await?;
        let grant = GrantRequest {
            amount: 7,
            unit: "credits".into(),
            class: Class::Allowance,
            expires_at: Some(world.engine.clock().now().plus_seconds(3_600)),
            reason: "short".into(),
            idempotency_key: None,
        };
        world.engine.credits_grant(&own(who), grant, &act()).await?;
    }
    world.advance("2h").await;
    let engine = world.watched(panicking(Step::Commit, "jobs.lots", 1));
    let written_off = async || {
        let mut lines = 0;
        for who in ["ann", "bob"] {
            let page = Page::new(Some(100), None)?;
            lines += engine.credits_entries(&own(who), "credits", page).await?.data.len() - 1;
        }
        anyhow::Ok(lines)
    };
    engine.run_timers().await?;
    assert_eq!(written_off().await?, 1, "the other one");
    engine.run_timers().await?;
    assert_eq!(written_off().await?, 2);
    Ok(())
}

/// A run that stayed under way would keep every later one of its kind from beginning.
#[tokio::test]
async fn a_comparison_that_panics_has_failed() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    let engine = world.watched(panicking(Step::Begin, "sync_runs.unsettled", 1));
    let run = engine.sync(SyncRequest::default(), &|_| {}).await?;
    assert_eq!(run.state, SyncState::Failed);
    Ok(())
}

/// Workers panic more often than there are of them, where only whoever keeps the loops going
/// catches it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loop_that_panics_begins_anew() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    let pages = pages(&world).await?;
    let engine = world.watched(panicking(Step::Begin, "events.claim", 16));
    for page in &pages {
        deliver(&engine, page).await;
    }
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let running = tokio::spawn({
        let engine = engine.clone();
        async move { engine.run(stopped).await }
    });
    for _ in 0..200 {
        if reasons(&engine).await?.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // A comparison would give them their credits, too, and leave the events.
    assert!(reasons(&engine).await?.is_empty(), "nobody works on the inbox");
    assert_both_have_their_credits(&engine, world.name).await;
    stop.send(true)?;
    running.await?;
    Ok(())
}
