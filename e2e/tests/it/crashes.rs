//! `kill -9` between the 2xx of a webhook and its effect: nothing lost, nothing doubled.

use std::time::Duration;

use anyhow::{Context, Result};
use e2e::answers::{Api, list_at};
use e2e::purchases::{Buyer, VISA, offer, pay};
use e2e::servers::Data;
use e2e::webhooks::{deliver, set_deliveries};
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
        let dev = data.start()?;
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

        let dev = data.start()?;
        for buyer in &mut buyers {
            buyer.api = Api::new(&dev.ready.api_url, Some(&buyer.token))?;
        }
        if let Some(last) = buyers.last() {
            last.await_credits(100).await.with_context(|| format!("round {round}"))?;
        }
        dev.kill()?;
    }

    let dev = data.start()?;
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
