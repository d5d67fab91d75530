//! A database that cannot be written and a provider that takes its time: nothing is acknowledged
//! that is not kept, nothing is lost, and nobody waits for the provider at the door.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::answers::{list_at, text_at};
use e2e::purchases::{Buyer, VISA, offer, pay};
use e2e::servers::{Data, Dev};
use e2e::webhooks::{deliver, events_of, set_deliveries, settled};
use serde_json::{Value, json};
use sqlx::Connection;

/// A purchase that the server has heard nothing of yet.
async fn purchase(
    dev: &Dev,
    data: &Data,
    name: &str,
    interval: Option<&str>,
) -> Result<(Buyer, Vec<Value>)> {
    let buyer = Buyer::new(dev, data).await?;
    let session = buyer.checkout(&offer(&buyer.api, name, interval).await?).await?;
    let paid = pay(dev, &session, VISA).await?.expect(200)?;
    let events = events_of(dev, &text_at(&paid, "/customer")).await?;
    Ok((buyer, events))
}

/// One payment, one grant, nothing waiting.
async fn check_once(dev: &Dev, buyer: &Buyer) -> Result<()> {
    buyer.await_credits(100).await?;
    settled(&dev.admin()?).await?;
    let entries = buyer.api.get("/v1/credits/entries").await?.expect(200)?;
    assert_eq!(list_at(&entries, "/data")?.len(), 1, "{entries}");
    let payments = buyer.api.get("/v1/payments").await?.expect(200)?;
    assert_eq!(list_at(&payments, "/data")?.len(), 1, "{payments}");
    assert_eq!(buyer.total_credits().await?, 100);
    Ok(())
}

#[tokio::test]
async fn row_56_a_locked_database_is_not_acknowledged_and_loses_nothing() -> Result<()> {
    let data = Data::new()?;
    let dev = data.start_without_loops()?;
    set_deliveries(&dev, false).await?;
    let (buyer, events) = purchase(&dev, &data, "100 Credits", None).await?;
    let url = format!("sqlite://{}", data.path().join("tollgate.db").display());
    let mut other = sqlx::SqliteConnection::connect(&url).await?;
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await?;
    let began = Instant::now();
    let answer = deliver(&dev, &events[0]).await?;
    println!("refused with {} after {:?}", answer.status, began.elapsed());
    assert!(500 <= answer.status, "{}: {}", answer.status, answer.text);
    let known = dev.admin()?.get(&format!("/v1/events/{}", text_at(&events[0], "/id"))).await?;
    assert_eq!(known.status, 404, "{}", known.text);
    sqlx::query("ROLLBACK").execute(&mut other).await?;
    other.close().await?;
    for event in &events {
        deliver(&dev, event).await?.expect(200)?;
    }
    check_once(&dev, &buyer).await
}

/// From now on no file of the process may be longer than this.
fn limit_files(dev: &Dev, limit: &str) -> Result<bool> {
    let limit = format!("--fsize={limit}");
    let pid = dev.pid().to_string();
    match Command::new("prlimit").args(["--pid", &pid, &limit]).status() {
        Ok(status) => {
            ensure!(status.success(), "prlimit {limit} failed");
            Ok(true)
        }
        Err(error) => {
            eprintln!("skipped: prlimit cannot be run: {error}");
            Ok(false)
        }
    }
}

#[tokio::test]
async fn row_56_a_full_disk_is_not_acknowledged_and_loses_nothing() -> Result<()> {
    let data = Data::new()?;
    let dev = data.start_deaf_to_full_files()?;
    set_deliveries(&dev, false).await?;
    let (buyer, events) = purchase(&dev, &data, "Pro", Some("month")).await?;
    let (first, rest) = events.split_first().context("a purchase has events")?;
    deliver(&dev, first).await?.expect(200)?;
    // Less than a page: nothing can be written any more, the log included.
    if !limit_files(&dev, "1024:unlimited")? {
        return Ok(());
    }
    for event in rest {
        let answer = deliver(&dev, event).await?;
        assert!(500 <= answer.status, "{}: {}", answer.status, answer.text);
    }
    // Reading goes on.
    assert!(buyer.total_credits().await? <= 100);
    limit_files(&dev, "unlimited:unlimited")?;
    for event in rest {
        deliver(&dev, event).await?.expect(200).with_context(|| dev.log())?;
    }
    check_once(&dev, &buyer).await
}

#[tokio::test]
async fn pitfall_012_a_provider_that_needs_20_seconds_holds_up_no_delivery() -> Result<()> {
    let data = Data::new()?;
    let dev = data.start_without_loops()?;
    set_deliveries(&dev, false).await?;
    let pack = purchase(&dev, &data, "100 Credits", None).await?;
    let plan = purchase(&dev, &data, "Pro", Some("month")).await?;
    let slow = json!({"api": {"slow_ms": 20_000}});
    let sandbox = dev.sandbox()?;
    sandbox.post("/_sandbox/faults", &slow).await?.expect(200)?;
    let (mut slowest, mut count) = (Duration::ZERO, 0);
    for event in pack.1.iter().chain(&plan.1).chain(&plan.1) {
        let began = Instant::now();
        deliver(&dev, event).await?.expect(200)?;
        slowest = slowest.max(began.elapsed());
        count += 1;
    }
    println!("slowest of {count} acknowledgements: {slowest:?}");
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    let began = Instant::now();
    // The long run waits for every slow answer; the short one lets the next calls be quick.
    if std::env::var_os("TOLLGATE_LONG").is_none() {
        sandbox.post("/_sandbox/faults", &json!({})).await?.expect(200)?;
    }
    for (buyer, _) in [&pack, &plan] {
        let deadline = Duration::from_secs(600);
        while buyer.total_credits().await? != 100 {
            ensure!(began.elapsed() < deadline, "still without credits after {deadline:?}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    println!("both purchases were applied {:?} after the last acknowledgement", began.elapsed());
    sandbox.post("/_sandbox/faults", &json!({})).await?.expect(200)?;
    let admin = dev.admin()?;
    while !list_at(&admin.get("/v1/events?state=pending").await?.expect(200)?, "/data")?.is_empty()
    {
        ensure!(began.elapsed() < Duration::from_secs(900), "events are still pending");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    check_once(&dev, &pack.0).await?;
    check_once(&dev, &plan.0).await
}
