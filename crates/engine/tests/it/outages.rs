//! A database that fails in the middle, and events that cannot be applied yet: no half of anything,
//! and nothing lost.

use crate::worlds::{World, deliver, drain, state, try_deliver};
use engine::events::LEASE_SECONDS;
use engine::{Failure, Page};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Row as _};
use std::sync::Arc;
use std::time::Duration;
use store::watch::{Step, Watcher};

const TABLES: [&str; 7] = [
    "subscriptions",
    "invoices",
    "payments",
    "credit_grants",
    "credit_entries",
    "entitlements",
    "allowance_schedules",
];

async fn run(pool: &sqlx::SqlitePool, sql: String) {
    sqlx::query(AssertSqlSafe(sql)).execute(pool).await.unwrap();
}

/// How many rows each table has.
async fn counts(pool: &sqlx::SqlitePool) -> Vec<i64> {
    let mut found = Vec::new();
    for table in TABLES {
        let row = sqlx::query(AssertSqlSafe(format!("SELECT COUNT(*) FROM {table}")));
        found.push(row.fetch_one(pool).await.unwrap().get(0));
    }
    found
}

fn page() -> Page {
    Page::new(Some(100), None).unwrap()
}

async fn bought() -> anyhow::Result<(World, Vec<Value>)> {
    let world = World::sqlite().await?;
    let request = world.request("buyer", "Pro monthly").await;
    world.pay(request).await?;
    let events = world.events().await;
    Ok((world, events))
}

#[tokio::test]
async fn row_57_what_cannot_be_written_is_parked_whole_and_replayed_after_a_fix()
-> anyhow::Result<()> {
    let (world, events) = bought().await?;
    let pool = world.raw().await?;
    let completed = events.iter().find(|event| event["type"] == "checkout.session.completed");
    let completed = completed.unwrap();
    let id = completed["id"].as_str().unwrap();
    let before = counts(&pool).await;
    for table in TABLES {
        run(
            &pool,
            format!(
                "CREATE TRIGGER broken BEFORE INSERT ON {table} \
             BEGIN SELECT RAISE(ABORT, 'broken on purpose'); END"
            ),
        )
        .await;
        match world.engine.events_get(id).await {
            Err(_) => deliver(&world.engine, completed).await,
            Ok(_) => drop(world.engine.events_replay(id).await?),
        }
        drain(&world.engine).await;
        let row = world.engine.events_get(id).await?;
        assert_eq!(row.state.as_str(), "parked", "{table}: {:?}", row.reason);
        assert!(row.reason.is_some_and(|why| why.contains("broken on purpose")), "{table}");
        assert_eq!(row.payload, completed.to_string().as_bytes());
        assert_eq!(counts(&pool).await, before, "{table}: half of an event was kept");
        run(&pool, "DROP TRIGGER broken".to_owned()).await;
    }
    world.engine.events_replay(id).await?;
    drain(&world.engine).await;
    let end = state(&world.engine, "buyer").await;
    assert_eq!(end["balance"], json!([100, 0, 0]), "{end}");
    assert_eq!(end["payments"], json!([[2999, "paid", 0]]));
    Ok(())
}

#[tokio::test]
async fn row_57_one_poisoned_event_holds_nobody_up() -> anyhow::Result<()> {
    let (world, events) = bought().await?;
    let completed = events.iter().find(|event| event["type"] == "checkout.session.completed");
    for number in 0..5 {
        let mut poison = completed.unwrap().clone();
        poison["id"] = json!(format!("evt_poison_{number}"));
        poison["data"]["object"].as_object_mut().unwrap().remove("id");
        deliver(&world.engine, &poison).await;
    }
    deliver(&world.engine, completed.unwrap()).await;
    drain(&world.engine).await;
    assert_eq!(state(&world.engine, "buyer").await["balance"], json!([100, 0, 0]));
    let parked = world.engine.events_list(page(), Some("parked")).await?.data;
    assert_eq!(parked.len(), 5);
    assert!(parked.iter().all(|row| row.reason.is_some() && !row.payload.is_empty()));
    Ok(())
}

#[tokio::test]
async fn row_56_an_event_that_cannot_be_stored_is_not_acknowledged() -> anyhow::Result<()> {
    let (world, events) = bought().await?;
    let pool = world.raw().await?;
    let completed = events.iter().find(|event| event["type"] == "checkout.session.completed");
    let completed = completed.unwrap();
    let broken = "CREATE TRIGGER broken BEFORE INSERT ON inbox_events \
                  BEGIN SELECT RAISE(ABORT, 'broken on purpose'); END";
    run(&pool, broken.to_owned()).await;
    let refused = try_deliver(&world.engine, completed).await;
    assert!(matches!(refused, Err(Failure::Store(_))), "{refused:?}");
    assert!(world.engine.events_list(page(), None).await?.data.is_empty());
    run(&pool, "DROP TRIGGER broken".to_owned()).await;
    for _ in 0..2 {
        deliver(&world.engine, completed).await;
        drain(&world.engine).await;
    }
    let end = state(&world.engine, "buyer").await;
    assert_eq!(end["balance"], json!([100, 0, 0]), "the redelivery is applied once");
    Ok(())
}

/// Whoever works for long says again and again that it does; a killed one is soon made up for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_takes_over_an_event_that_is_worked_on_for_long() -> anyhow::Result<()> {
    let lease = Duration::from_secs(LEASE_SECONDS.unsigned_abs());
    let world = World::sqlite().await?;
    let request = world.request("subscriber", "Pro monthly").await;
    world.pay(request).await?;
    let events = world.events().await;
    let is_news = |event: &&Value| event["type"] == "customer.subscription.created";
    let event = events.iter().find(is_news).unwrap();
    let slow: Watcher = Arc::new(move |at, what| {
        let pauses = at == Step::Begin && what == "events.apply";
        Box::pin(async move {
            if pauses {
                tokio::time::sleep(lease + Duration::from_secs(3)).await;
            }
            Ok(())
        })
    });
    let slow = world.watched(slow);
    deliver(&slow, event).await;
    let working = tokio::spawn(async move { slow.apply_next().await });
    tokio::time::sleep(lease + Duration::from_secs(1)).await;
    assert!(!world.engine.apply_next().await?, "it is worked on");
    assert!(working.await??);
    let left = world.engine.events_list(Page::new(Some(100), None)?, Some("pending")).await?;
    assert_eq!(left.data.len(), 0);
    Ok(())
}
