//! Group commit: many requests in one transaction, each as if it were alone.

use crate::worlds::{World, act, own, signed};
use domain::codes::Code;
use domain::credits::Class;
use engine::credits::{ConsumeRequest, GrantRequest, Receipt};
use engine::customers::NewCustomer;
use engine::{Engine, Failure, Page, Subject};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use store::StoreError;
use store::watch::{Step, Watcher};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// Folds are committed until this is stopped.
pub(crate) struct Folding {
    stop: watch::Sender<bool>,
    running: JoinHandle<()>,
}

impl Folding {
    pub(crate) async fn of(engine: &Engine) -> Self {
        let (stop, stopped) = watch::channel(false);
        let engine = engine.clone();
        let running = tokio::spawn(async move { engine.run_folds(stopped).await });
        // The takers have to be there before anybody asks.
        tokio::time::sleep(Duration::from_millis(20)).await;
        Self { stop, running }
    }

    pub(crate) async fn end(self) {
        self.stop.send(true).unwrap();
        self.running.await.unwrap();
    }
}

pub(crate) fn consume(amount: i64, unit: &str, key: Option<String>) -> ConsumeRequest {
    ConsumeRequest { amount, unit: unit.into(), reference: None, idempotency_key: key }
}

pub(crate) async fn rich(engine: &Engine, name: &str, lots: &[i64]) -> Result<Subject, Failure> {
    let new = NewCustomer { external_id: Some(name.into()), ..Default::default() };
    let customer = engine.customers_create(new).await?;
    for amount in lots {
        let grant = GrantRequest {
            amount: *amount,
            unit: "credits".into(),
            class: Class::Bonus,
            expires_at: None,
            reason: "test".into(),
            idempotency_key: None,
        };
        engine.credits_grant(&own(name), grant, &act()).await?;
    }
    Ok(Subject::Named(customer.id.to_string()))
}

/// The ledger's own account of a customer: every line continues the one before it.
async fn ledger(engine: &Engine, name: &str) -> Result<Vec<(i64, i64)>, Failure> {
    let mut lines = Vec::new();
    let mut cursor = None;
    loop {
        let page = Page::new(Some(100), cursor)?;
        let listed = engine.credits_entries(&own(name), "credits", page).await?;
        lines.extend(listed.data.iter().map(|it| (it.number, it.balance_before, it.balance_after)));
        match listed.next_cursor {
            Some(next) => cursor = Some(next),
            None => break,
        }
    }
    lines.reverse();
    let numbers: Vec<_> = lines.iter().map(|(number, ..)| *number).collect();
    assert_eq!(numbers, (1..=lines.len() as i64).collect::<Vec<_>>());
    assert!(lines.windows(2).all(|two| two[0].2 == two[1].1), "{lines:?}");
    Ok(lines.into_iter().map(|(_, before, after)| (before, after)).collect())
}

/// Everybody at once, by name and by id, on few lots and many, with keys and without, beside those
/// who cannot pay and those who do not exist.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_in_a_fold_is_answered_as_if_alone() -> anyhow::Result<()> {
    for world in World::all().await? {
        let (folds, counting) = committed("credits.consume_fold");
        let engine = &world.watched(counting);
        let hot = rich(engine, "hot", &[1_000]).await?;
        rich(engine, "pieces", &[1; 40]).await?;
        rich(engine, "poor", &[3]).await?;
        rich(engine, "nothing", &[]).await?;
        let folding = Folding::of(engine).await;
        let asks = (0..60).flat_map(|n| {
            [
                ("hot", hot.clone(), consume(1, "credits", None)),
                ("hot", own("hot"), consume(2, "credits", Some(format!("hot-{}", n % 20)))),
                ("pieces", own("pieces"), consume(1, "credits", Some(format!("piece-{n}")))),
                ("poor", own("poor"), consume(2, "credits", None)),
                ("nothing", own("nothing"), consume(1, "credits", None)),
                ("stranger", own("stranger"), consume(1, "credits", None)),
                ("unit", hot.clone(), consume(1, "tokens", None)),
            ]
        });
        let mut tasks = JoinSet::new();
        for (name, subject, ask) in asks {
            let engine = engine.clone();
            tasks.spawn(async move { (name, engine.credits_consume(&subject, ask).await) });
        }
        let mut taken: BTreeMap<&str, (usize, i64)> = BTreeMap::new();
        let mut after: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
        while let Some(done) = tasks.join_next().await {
            match done? {
                (name, Ok(Receipt { consumed, balance, replayed: false })) => {
                    let (count, sum) = taken.entry(name).or_default();
                    *count += 1;
                    *sum += consumed;
                    after.entry(name).or_default().push(balance.total);
                }
                (_, Ok(_)) => {}
                (name, Err(Failure::Shortage { .. })) => {
                    taken.entry(name).or_default();
                }
                (_, Err(other)) => return Err(other.into()),
            }
        }
        let expected = [
            ("hot", (80, 100)),
            ("nothing", (0, 0)),
            ("pieces", (40, 40)),
            ("poor", (1, 2)),
            ("stranger", (0, 0)),
            ("unit", (0, 0)),
        ];
        assert_eq!(taken, BTreeMap::from(expected), "{}", world.name);
        for (name, left) in [("hot", 900), ("pieces", 0), ("poor", 1)] {
            let lines = ledger(engine, name).await?;
            assert_eq!(lines.last().unwrap().1, left, "{}: {name}", world.name);
            let spent = lines.iter().filter(|(before, after)| after < before);
            let mut spent: Vec<_> = spent.map(|(_, after)| *after).collect();
            let mut told = after.remove(name).unwrap();
            spent.sort_unstable();
            told.sort_unstable();
            // Everybody was told the balance of their own line.
            assert_eq!(spent, told, "{}: {name}", world.name);
        }
        assert!(0 < folds.load(Ordering::SeqCst), "{}: nothing was folded", world.name);
        let other = consume(3, "credits", Some("hot-1".into()));
        let other = engine.credits_consume(&own("hot"), other).await;
        assert!(matches!(other, Err(Failure::Refused { code: Code::IdempotencyConflict, .. })));
        folding.end().await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_while_folds_end_is_served_all_the_same() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    let engine = &world.engine;
    rich(engine, "hot", &[1_000]).await?;
    let folding = Folding::of(engine).await;
    let mut tasks = JoinSet::new();
    for _ in 0..200 {
        let engine = engine.clone();
        tasks.spawn(async move {
            engine.credits_consume(&own("hot"), consume(1, "credits", None)).await.map(drop)
        });
    }
    folding.end().await;
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    assert_eq!(engine.credits_balance(&own("hot"), "credits").await?.total, 800);
    Ok(())
}

/// Counts the commits of one transaction's name.
fn committed(name: &'static str) -> (Arc<AtomicUsize>, Watcher) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    let watcher: Watcher = Arc::new(move |at, what| {
        if at == Step::Committed && what == name {
            counted.fetch_add(1, Ordering::SeqCst);
        }
        Box::pin(std::future::ready(Ok(())))
    });
    (count, watcher)
}

/// Who has gone away while their request was in line pays nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_nobody_waits_for_is_not_executed() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    rich(&world.engine, "hot", &[100]).await?;
    let slow: Watcher = Arc::new(|at, what| {
        let pauses = at == Step::Begin && what == "credits.consume_fold";
        Box::pin(async move {
            if pauses {
                tokio::time::sleep(Duration::from_millis(400)).await;
            }
            Ok(())
        })
    });
    let engine = world.watched(slow);
    let folding = Folding::of(&engine).await;
    let spend = |engine: Engine| async move {
        engine.credits_consume(&own("hot"), consume(1, "credits", None)).await
    };
    // The first one's fold is under way when the others get into line and give up.
    let first = tokio::spawn(spend(engine.clone()));
    tokio::time::sleep(Duration::from_millis(100)).await;
    let others: Vec<_> = (0..10).map(|_| tokio::spawn(spend(engine.clone()))).collect();
    tokio::time::sleep(Duration::from_millis(100)).await;
    others.iter().for_each(JoinHandle::abort);
    first.await??;
    folding.end().await;
    assert_eq!(engine.credits_balance(&own("hot"), "credits").await?.total, 99);
    Ok(())
}

/// Somebody who holds one account keeps nobody waiting who spends from another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_is_held_stops_no_fold() -> anyhow::Result<()> {
    for world in World::all().await? {
        if world.engine.store().is_single_process() {
            continue;
        }
        let engine = &world.engine;
        rich(engine, "held", &[100]).await?;
        rich(engine, "free", &[100]).await?;
        let held = engine.customers_get(&own("held")).await?.id;
        let folding = Folding::of(engine).await;
        let mut holder = engine.store().begin("test.hold").await?;
        holder.credits_open(&held, "credits").await?;
        let waiting = tokio::spawn({
            let engine = engine.clone();
            async move { engine.credits_consume(&own("held"), consume(1, "credits", None)).await }
        });
        for _ in 0..20 {
            let (free, one) = (own("free"), consume(1, "credits", None));
            let spent = engine.credits_consume(&free, one);
            tokio::time::timeout(Duration::from_secs(20), spent).await??;
        }
        assert!(!waiting.is_finished(), "{}", world.name);
        drop(holder);
        waiting.await??;
        folding.end().await;
    }
    Ok(())
}

/// Fails the wanted step of the wanted transaction so many times.
fn failing(step: Step, name: &'static str, times: usize) -> Watcher {
    let left = AtomicUsize::new(times);
    Arc::new(move |at, what| {
        let fails = at == step
            && what == name
            && left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok();
        Box::pin(async move {
            match fails {
                true => Err(StoreError::RowCount { name: "failing", changed: 0 }),
                false => Ok(()),
            }
        })
    })
}

/// A statement that fails undoes the fold, and each of it is decided alone; of a commit that fails
/// nobody knows the outcome, and everybody is told to ask again, which a key makes safe.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fold_that_fails_loses_and_doubles_nothing() -> anyhow::Result<()> {
    for world in World::all().await? {
        rich(&world.engine, "hot", &[100]).await?;
        let broken = failing(Step::Statement, "credit_entries.insert", 1);
        let engine = world.watched(broken);
        let folding = Folding::of(&engine).await;
        spend_ten(&engine, "first").await.into_iter().collect::<Result<Vec<_>, _>>()?;
        let total = engine.credits_balance(&own("hot"), "credits").await?.total;
        assert_eq!(total, 90, "{}", world.name);
        folding.end().await;
        // After the commit everything is durable, and nobody has been told.
        let engine = world.watched(failing(Step::Committed, "credits.consume_fold", 1));
        let folding = Folding::of(&engine).await;
        let answers = spend_ten(&engine, "second").await;
        let lost = answers.iter().filter(|answer| is_unknown(answer)).count();
        assert!(0 < lost && answers.iter().all(|it| it.is_ok() || is_unknown(it)), "{answers:?}");
        let again = spend_ten(&engine, "second").await;
        let again = again.into_iter().collect::<Result<Vec<_>, _>>()?;
        assert!(again.iter().all(|receipt| receipt.replayed), "{}", world.name);
        let total = engine.credits_balance(&own("hot"), "credits").await?.total;
        assert_eq!(total, 80, "{}", world.name);
        folding.end().await;
    }
    Ok(())
}

fn is_unknown(answer: &Result<Receipt, Failure>) -> bool {
    match answer {
        Err(Failure::Store(error)) => error.is_transient(),
        _ => false,
    }
}

async fn spend_ten(engine: &Engine, prefix: &str) -> Vec<Result<Receipt, Failure>> {
    let mut tasks = JoinSet::new();
    for n in 0..10 {
        let (engine, key) = (engine.clone(), format!("{prefix}-{n}"));
        tasks.spawn(async move {
            engine.credits_consume(&own("hot"), consume(1, "credits", Some(key))).await
        });
    }
    tasks.join_all().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_that_arrive_together_are_stored_once_each() -> anyhow::Result<()> {
    for world in World::all().await? {
        let folding = Folding::of(&world.engine).await;
        let mut tasks = JoinSet::new();
        for n in 0..100 {
            // Each of twenty-five comes four times; text of every kind survives the way in.
            let event = json!({
                "id": format!("evt_{}", n % 25), "object": "event", "type": "customer.updated",
                "created": 1_750_000_000, "livemode": false, "api_version": "2024-06-20",
                "data": { "object": {
                    "id": "cus_1", "object": "customer",
                    "name": "\u{0}\"\\ ä 漢 \u{1F600} '; --", "email": null,
                } },
            });
            let engine = world.engine.clone();
            let (payload, signature) = signed(&engine, &event);
            tasks.spawn(async move {
                engine.receive_webhook(payload.as_bytes(), Some(&signature)).await
            });
        }
        let received = tasks.join_all().await.into_iter().collect::<Result<Vec<_>, _>>()?;
        assert_eq!(received.iter().filter(|one| !one.duplicate).count(), 25, "{}", world.name);
        for n in 0..25 {
            let stored = world.engine.events_get(&format!("evt_{n}")).await?;
            let event: serde_json::Value = serde_json::from_slice(&stored.payload)?;
            assert_eq!(event["data"]["object"]["name"], "\u{0}\"\\ ä 漢 \u{1F600} '; --");
        }
        folding.end().await;
    }
    Ok(())
}

/// Whose access is asked for again and again is read anew before what is kept is too old.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_for_access_that_is_asked_for_often() -> anyhow::Result<()> {
    let world = World::sqlite().await?;
    rich(&world.engine, "often", &[]).await?;
    let slow: Watcher = Arc::new(|at, what| {
        let pauses = at == Step::Begin && what == "check";
        Box::pin(async move {
            if pauses {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Ok(())
        })
    });
    let engine = world.watched(slow);
    let folding = Folding::of(&engine).await;
    engine.check(&own("often"), "api_access").await?;
    let begun = Instant::now();
    let mut slowest = Duration::ZERO;
    while begun.elapsed() < Duration::from_millis(2_500) {
        let asked = Instant::now();
        engine.check(&own("often"), "api_access").await?;
        slowest = slowest.max(asked.elapsed());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(slowest < Duration::from_millis(90), "{slowest:?}");
    folding.end().await;
    Ok(())
}
