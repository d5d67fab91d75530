//! `kill -9` between the 2xx of a webhook and its effect: nothing lost, nothing doubled.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::answers::{Api, list_at, text_at};
use e2e::purchases::{Buyer, VISA, offer, pay};
use e2e::servers::{Data, Dev};
use e2e::webhooks::{deliver, events_of, set_deliveries, settled};
use serde_json::Value;

/// The short version runs with every test; `TOLLGATE_LONG=1` runs what the issue promises.
fn rounds() -> u64 {
    if std::env::var_os("TOLLGATE_LONG").is_some() { 50 } else { 8 }
}

#[tokio::test]
async fn an_acknowledged_event_survives_kill_9() -> Result<()> {
    let data = Data::new()?;
    let mut buyers: Vec<Buyer> = Vec::new();
    for round in 0..rounds() {
        let dev = data.start_without_loops()?;
        set_deliveries(&dev, false).await?;
        let buyer = Buyer::new(&dev, &data).await?;
        let session = buyer.checkout(&offer(&buyer.api, "100 Credits", None).await?).await?;
        let paid = pay(&dev, &session, VISA).await?.expect(200)?;
        let events = dev.sandbox()?.get("/v1/events?limit=50").await?.expect(200)?;
        let is_ours = |event: &&Value| event["data"]["object"]["id"] == paid["id"];
        let completed = list_at(&events, "/data")?.iter().find(is_ours);
        deliver(&dev, completed.context("no event about the session")?).await?.expect(200)?;
        // From at once to a moment in which the effect is likely in the middle of its transaction.
        tokio::time::sleep(Duration::from_micros(round * 400)).await;
        dev.kill()?;
        buyers.push(buyer);

        let dev = data.start_without_loops()?;
        for buyer in &mut buyers {
            buyer.api = Api::new(&dev.ready.api_url, Some(&buyer.token))?;
        }
        if let Some(last) = buyers.last() {
            last.await_credits(100).await.with_context(|| format!("round {round}"))?;
        }
        dev.kill()?;
    }

    let dev = data.start_without_loops()?;
    set_deliveries(&dev, true).await?;
    for (round, buyer) in buyers.iter_mut().enumerate() {
        buyer.api = Api::new(&dev.ready.api_url, Some(&buyer.token))?;
        assert_eq!(buyer.total_credits().await?, 100, "round {round}");
        let payments = buyer.api.get("/v1/payments").await?.expect(200)?;
        assert_eq!(list_at(&payments, "/data")?.len(), 1, "round {round}: {payments}");
        let entries = buyer.api.get("/v1/credits/entries").await?.expect(200)?;
        assert_eq!(list_at(&entries, "/data")?.len(), 1, "round {round}: {entries}");
    }
    Ok(())
}

/// What one purchase was told of, and which of it was acknowledged.
struct Told {
    buyer: Buyer,
    events: Vec<Value>,
    acknowledged: Vec<String>,
}

/// Where a round is killed: anywhere in the time that a load usually takes, never the same twice.
fn killed_after(round: u64) -> Duration {
    let mut mixed = (round + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    Duration::from_micros((mixed ^ (mixed >> 27)) % 150_000)
}

async fn purchase(dev: &Dev, data: &Data, round: u64) -> Result<Told> {
    let buyer = Buyer::new(dev, data).await?;
    let chosen = match round % 2 {
        0 => offer(&buyer.api, "Pro", Some("month")).await?,
        _ => offer(&buyer.api, "100 Credits", None).await?,
    };
    let session = buyer.checkout(&chosen).await?;
    let paid = pay(dev, &session, VISA).await?.expect(200)?;
    let mut events = events_of(dev, &text_at(&paid, "/customer")).await?;
    ensure!(2 < events.len(), "a purchase has more events than {}", events.len());
    // Not in the order in which it happened.
    let turn = usize::try_from(round)? % events.len();
    events.rotate_left(turn);
    Ok(Told { buyer, events, acknowledged: Vec::new() })
}

/// Delivers everything of everybody at once until the process is gone; what it acknowledged counts.
async fn load(dev: Dev, told: &mut [Told], killed_after: Duration) -> Result<usize> {
    let mut deliveries = tokio::task::JoinSet::new();
    for (whose, one) in told.iter().enumerate() {
        for event in one.events.clone() {
            let nobody = dev.nobody()?;
            let secret = dev.ready.webhook_secret.clone();
            deliveries.spawn(async move {
                let body = event.to_string();
                let header = e2e::webhooks::signature(&secret, &body, 0).ok()?;
                let bytes = body.into_bytes();
                let path = e2e::webhooks::INTAKE;
                let sent = e2e::webhooks::deliver_raw(&nobody, path, bytes, Some(&header)).await;
                let is_taken = sent.is_ok_and(|answer| answer.status == 200);
                is_taken.then(|| (whose, text_at(&event, "/id")))
            });
        }
    }
    tokio::time::sleep(killed_after).await;
    dev.kill()?;
    let mut acknowledged = 0;
    while let Some(delivery) = deliveries.join_next().await {
        if let Some((whose, id)) = delivery? {
            told[whose].acknowledged.push(id);
            acknowledged += 1;
        }
    }
    Ok(acknowledged)
}

/// What was acknowledged is there and settled; then the provider delivers the rest.
async fn check_kept(dev: &Dev, told: &mut [Told], round: u64) -> Result<()> {
    settled(&dev.admin()?).await?;
    let admin = dev.admin()?;
    for one in told.iter_mut() {
        one.buyer.api = Api::new(&dev.ready.api_url, Some(&one.buyer.token))?;
        for id in &one.acknowledged {
            let row = admin.get(&format!("/v1/events/{id}")).await?;
            let row = row.expect(200).with_context(|| format!("round {round}: {id} is lost"))?;
            let state = text_at(&row, "/state");
            ensure!(["applied", "ignored"].contains(&&*state), "round {round}: {row}");
        }
        for event in &one.events {
            if !one.acknowledged.contains(&text_at(event, "/id")) {
                deliver(dev, event).await?.expect(200)?;
            }
        }
    }
    settled(&dev.admin()?).await?;
    for one in told.iter() {
        let entries = one.buyer.api.get("/v1/credits/entries").await?.expect(200)?;
        ensure!(list_at(&entries, "/data")?.len() == 1, "round {round}: {entries}");
        let payments = one.buyer.api.get("/v1/payments").await?.expect(200)?;
        ensure!(list_at(&payments, "/data")?.len() == 1, "round {round}: {payments}");
        ensure!(one.buyer.total_credits().await? == 100, "round {round}: {entries}");
    }
    Ok(())
}

#[tokio::test]
async fn row_56_kill_9_under_load_loses_nothing_and_doubles_nothing() -> Result<()> {
    let rounds = if std::env::var_os("TOLLGATE_LONG").is_some() { 200 } else { 6 };
    let began = Instant::now();
    let data = Data::new()?;
    let mut dev = data.start_without_loops()?;
    set_deliveries(&dev, false).await?;
    let (mut all, mut acknowledged, mut cut) = (0, 0, 0);
    for round in 0..rounds {
        let mut told = Vec::new();
        for number in 0..3 {
            told.push(purchase(&dev, &data, round + number).await?);
        }
        let sent: usize = told.iter().map(|one| one.events.len()).sum();
        let taken = load(dev, &mut told, killed_after(round)).await?;
        dev = data.start_without_loops()?;
        check_kept(&dev, &mut told, round).await?;
        all += sent;
        acknowledged += taken;
        cut += u64::from(taken < sent);
    }
    let parked = dev.admin()?.get("/v1/events?state=parked").await?.expect(200)?;
    ensure!(list_at(&parked, "/data")?.is_empty(), "{parked}");
    println!(
        "{rounds} rounds in {:?}: {acknowledged} of {all} deliveries acknowledged before the kill, \
         {cut} rounds cut off in the middle",
        began.elapsed()
    );
    Ok(())
}
