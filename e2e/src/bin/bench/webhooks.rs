//! Webhooks: how fast they are accepted, and how fast what they say is in the tables.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use e2e::databases::Backend;
use e2e::deliveries::{COMPLETED, PENDING, inert_one, of_kind, renamed};
use e2e::deployments::{Deployment, account};
use e2e::loads::{Gate, Load, Order, Outcome, Pace, percentile_ms};
use e2e::requests::Request;
use e2e::rows::{Row, Target};
use e2e::webhooks::unix_seconds;
use serde_json::{Value, json};

use crate::bench::{Bench, Figure};
use crate::ceilings::Ceiling;

/// No server accepts more in a second, so that the list does not end before the time does.
const EVENTS_PER_SECOND_MAX: u64 = 25_000;
/// How many accepted events may wait to be applied: far more than are worked on at once, and few
/// enough that they never wait long.
const BACKLOG: u64 = 512;
/// However slow the machine is, everything is applied by then.
const PATIENCE: Duration = Duration::from_secs(1800);
const LOOK_STEP: Duration = Duration::from_millis(20);
const STORED: &str = "SELECT COUNT(*) FROM inbox_events";

/// Proven, durable, told from a repetition; nothing follows, so nothing else is measured.
pub async fn accepted(bench: &mut Bench, deployment: &Deployment, name: &str) -> Result<()> {
    let events = deployment.purchases(&[account(0)], &deployment.pack).await?;
    let template = inert_one(&events)?;
    let ceiling = bench.ceiling(Ceiling::Inbox, deployment.backend).await?;
    let mut figures = Vec::new();
    for repetition in 0..bench.repetitions() {
        bench.say(deployment.backend, name, repetition);
        let before = deployment.database.number(STORED).await?;
        let count = most_events(bench.length);
        let requests = inert(deployment, &template, &repetition.to_string(), count)?;
        let requests = Arc::new(requests);
        let load = deployment.load(&requests, bench.length);
        let outcome = Load { order: Order::Once, ..load }.run().await?;
        let stored = deployment.database.number(STORED).await? - before;
        check_stored(&outcome, stored)?;
        figures.push(Figure::of(&outcome)?);
    }
    let target = match deployment.backend {
        Backend::Postgres => Target::OfCeiling(1.0),
        Backend::Mysql => Target::OfCeiling(0.7),
        Backend::Sqlite => Target::None,
    };
    let row = Figure::median(figures).row(name, deployment.backend);
    bench.report.add(row.under(ceiling).held_to(target));
    Ok(())
}

/// More than can be accepted in that time.
pub fn most_events(length: Duration) -> u64 {
    length.as_secs() * EVENTS_PER_SECOND_MAX
}

/// Events that differ in what makes them new, and in nothing else.
pub fn inert(
    deployment: &Deployment,
    template: &Value,
    tag: &str,
    count: u64,
) -> Result<Vec<Request>> {
    let mut event = template.clone();
    let made = (0..count).map(|number| {
        renamed(&mut event, &format!("bench_{tag}_{number:08}"));
        deployment.delivery(&event.to_string())
    });
    made.collect()
}

/// Every accepted event is there, and no other.
fn check_stored(outcome: &Outcome, stored: i64) -> Result<()> {
    let (answered, refused) = (outcome.answered(), outcome.refused());
    let stored = u64::try_from(stored)?;
    ensure!(
        (answered..=answered + refused).contains(&stored),
        "{answered} events were accepted and {refused} were not, but {stored} are stored"
    );
    Ok(())
}

/// One-time purchases of packs: the session alone tells everything.
pub async fn applied_payment(bench: &mut Bench, deployment: &Deployment, name: &str) -> Result<()> {
    bench.say(deployment.backend, name, 0);
    let count = if bench.is_quick { 2_000 } else { 20_000 }.min(bench.accounts * 2);
    let buyers: Vec<String> = (0..count).map(|number| account(number % bench.accounts)).collect();
    let events = deployment.purchases(&buyers, &deployment.pack).await?;
    let mut events = of_kind(&events, COMPLETED);
    ensure!(events.len() == count, "{} events of {count} purchases", events.len());
    // Making them took minutes; they are told of the moment that they happen.
    let now = unix_seconds()?;
    events.iter_mut().for_each(|event| event["created"] = json!(now));
    let granted = "SELECT COUNT(*) FROM credit_grants";
    let before = deployment.database.number(granted).await?;
    let target = match deployment.backend {
        Backend::Postgres => Target::AtLeast(2_000.0),
        Backend::Mysql | Backend::Sqlite => Target::None,
    };
    apply(bench, deployment, name, &events, target).await?;
    let lots = deployment.database.number(granted).await? - before;
    ensure!(lots == i64::try_from(count)?, "{count} purchases were applied, {lots} lots granted");
    Ok(())
}

/// First purchases of a plan, each with everything that the provider tells of it.
pub async fn applied_subscription(
    bench: &mut Bench,
    deployment: &Deployment,
    name: &str,
) -> Result<()> {
    bench.say(deployment.backend, name, 0);
    let count = if bench.is_quick { 300 } else { 3_000 }.min(bench.accounts);
    let buyers: Vec<String> = (0..count).map(|number| format!("subscriber-{number:05}")).collect();
    let customers = buyers.iter().map(|buyer| {
        deployment.merchant.post_json("/v1/customers", &json!({ "external_id": buyer }))
    });
    deployment.ask_all(customers.collect()).await?;
    let events = deployment.purchases(&buyers, &deployment.plan).await?;
    apply(bench, deployment, name, &events, Target::None).await?;
    let active = "SELECT COUNT(*) FROM subscriptions WHERE status = 'active'";
    let active = deployment.database.number(active).await?;
    ensure!(active == i64::try_from(count)?, "{count} bought a plan, {active} have one");
    Ok(())
}

/// Buys for customers who have nothing yet, so that the feature is theirs; an event of it from
/// which nothing follows.
pub async fn entitle(deployment: &Deployment, buyers: &[String]) -> Result<Value> {
    let events = deployment.purchases(buyers, &deployment.pack).await?;
    let completed = of_kind(&events, COMPLETED);
    let requests = completed.iter().map(|event| deployment.delivery(&event.to_string()));
    deployment.ask_all(requests.collect::<Result<_>>()?).await?;
    deployment.drain(PATIENCE).await?;
    check_applied(deployment).await?;
    inert_one(&events)
}

/// Delivers as fast as what follows is done: the rate at which nothing piles up.
async fn apply(
    bench: &mut Bench,
    deployment: &Deployment,
    name: &str,
    events: &[Value],
    target: Target,
) -> Result<()> {
    // What earlier rows left behind would be applied in this one's time.
    deployment.drain(PATIENCE).await?;
    let requests = events.iter().map(|event| deployment.delivery(&event.to_string()));
    let requests = Arc::new(requests.collect::<Result<Vec<_>>>()?);
    let gate = Arc::new(Gate::default());
    gate.allowed.store(BACKLOG, Ordering::Relaxed);
    let received = "SELECT CAST(COALESCE(MAX(received_at), 0) AS BIGINT) FROM inbox_events";
    let since = deployment.database.number(received).await?;
    let load = deployment.load(&requests, PATIENCE);
    let load = Load { order: Order::Once, pace: Pace::Gated(gate.clone()), ..load };
    let started = Instant::now();
    let sending = tokio::spawn(load.run());
    while !sending.is_finished() {
        let accepted = gate.accepted.load(Ordering::Relaxed);
        let pending = u64::try_from(deployment.database.number(PENDING).await?)?;
        gate.allowed.store((accepted + BACKLOG).saturating_sub(pending), Ordering::Relaxed);
        tokio::time::sleep(LOOK_STEP).await;
    }
    let outcome = sending.await??;
    let backlog = deployment.database.number(PENDING).await?;
    deployment.drain(PATIENCE).await?;
    let elapsed = started.elapsed();
    ensure!(outcome.refused() == 0, "{name}: {:?}", outcome.refusals);
    ensure!(outcome.answered() == events.len() as u64, "not all were sent in {PATIENCE:?}");
    check_applied(deployment).await?;

    let waited = format!(
        "SELECT applied_at - received_at FROM inbox_events \
         WHERE received_at > {since} AND state = 'applied'"
    );
    let waited = deployment.database.numbers(&waited).await?;
    let waited = waited.into_iter().map(|micros| u32::try_from(micros).unwrap_or(u32::MAX));
    let mut waited: Vec<u32> = waited.collect();
    waited.sort_unstable();
    let per_second = outcome.answered() as f64 / elapsed.as_secs_f64();
    let times = (percentile_ms(&waited, 50), percentile_ms(&waited, 99));
    let row = Row::new(name, Some(deployment.backend), "per s", per_second);
    bench.report.add(row.times(times.0, times.1).held_to(target));
    let name = format!("{name}_backlog");
    let row = Row::new(&name, Some(deployment.backend), "events", backlog as f64);
    bench.report.add(row.held_to(Target::AtMost((BACKLOG * 2) as f64)));
    Ok(())
}

async fn check_applied(deployment: &Deployment) -> Result<()> {
    let parked = "SELECT COUNT(*) FROM inbox_events WHERE state = 'parked'";
    let parked = deployment.database.number(parked).await?;
    ensure!(parked == 0, "{parked} events could not be applied");
    Ok(())
}
