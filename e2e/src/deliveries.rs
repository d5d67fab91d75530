//! Genuine purchases: sessions that the server under test opened, paid at the simulated provider,
//! whose events are then ours to deliver.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::answers::{list_at, text_at};
use crate::deployments::{Deployment, WEBHOOK_SECRET, ask_all};
use crate::purchases::VISA;
use crate::requests::{Request, Target};
use crate::webhooks::{INTAKE, signature};

const PAGE: usize = 100;
/// Nothing follows from events of this kind: storing them is all there is to do.
pub const INERT: &str = "payment_intent.created";
pub const COMPLETED: &str = "checkout.session.completed";
const LOOK_STEP: Duration = Duration::from_millis(2);
pub const PENDING: &str = "SELECT COUNT(*) FROM inbox_events WHERE state = 'pending'";

impl Deployment {
    /// Everybody buys this once; the provider's events about it, oldest first.
    pub async fn purchases(&self, names: &[String], price: &str) -> Result<Vec<Value>> {
        let before = self.newest_event().await?;
        let opened = names.iter().map(|name| {
            let body = json!({ "customer": name, "price": price });
            self.merchant.post_json("/v1/checkout-sessions", &body)
        });
        let opened = self.ask_all(opened.collect()).await?;
        let address = self.sandbox.ready.base_url.strip_prefix("http://");
        let address = address.context("the sandbox is no http address")?.parse()?;
        let provider = Target { address, bearer: Some(self.sandbox.ready.secret_key.clone()) };
        let form = format!("payment_method={VISA}");
        let kind = [("content-type", "application/x-www-form-urlencoded")];
        let mut paid = Vec::with_capacity(opened.len());
        for session in &opened {
            let session = text_at(&serde_json::from_str(session)?, "/provider_session_id");
            ensure!(!session.is_empty(), "a checkout that the provider does not know");
            let path = format!("/_sandbox/checkout/{session}/complete");
            paid.push(provider.post(&path, &kind, form.as_bytes()));
        }
        ask_all(address, paid).await?;
        self.events_after(before.as_deref()).await
    }

    async fn newest_event(&self) -> Result<Option<String>> {
        let page = self.sandbox.api()?.get("/v1/events?limit=1").await?.expect(200)?;
        Ok(list_at(&page, "/data")?.first().map(|event| text_at(event, "/id")))
    }

    async fn events_after(&self, before: Option<&str>) -> Result<Vec<Value>> {
        let api = self.sandbox.api()?;
        let mut found: Vec<Value> = Vec::new();
        loop {
            let newest = found.last().map(|event| text_at(event, "/id"));
            let place = match newest.as_deref().or(before) {
                Some(id) => format!("&ending_before={id}"),
                None => String::new(),
            };
            let path = format!("/v1/events?limit={PAGE}{place}");
            let page = api.get(&path).await?.expect(200)?;
            let page = list_at(&page, "/data")?;
            found.extend(page.iter().rev().cloned());
            if page.len() < PAGE || place.is_empty() {
                return Ok(found);
            }
        }
    }

    /// The delivery of an event, signed as of now.
    pub fn delivery(&self, event: &str) -> Result<Request> {
        delivery(&self.merchant, event)
    }

    /// Waits until every accepted event is applied.
    pub async fn drain(&self, patience: Duration) -> Result<()> {
        let started = Instant::now();
        while 0 < self.database.number(PENDING).await? {
            if patience < started.elapsed() {
                bail!("the inbox is not empty after {patience:?}");
            }
            tokio::time::sleep(LOOK_STEP).await;
        }
        Ok(())
    }
}

/// The delivery of an event to that address, signed as of now.
pub fn delivery(target: &Target, event: &str) -> Result<Request> {
    let signature = signature(WEBHOOK_SECRET, event, 0)?;
    let headers = [
        ("content-type", "application/json; charset=utf-8"),
        ("stripe-signature", signature.as_str()),
    ];
    Ok(target.with_bearer(None).post(INTAKE, &headers, event.as_bytes()))
}

/// The one event from which nothing follows.
pub fn inert_one(events: &[Value]) -> Result<Value> {
    of_kind(events, INERT).pop().with_context(|| format!("no {INERT}"))
}

/// The same event as another one: it differs in what makes it new, and in nothing else.
pub fn renamed(event: &mut Value, tag: &str) {
    event["id"] = json!(format!("evt_{tag}"));
    event["data"]["object"]["id"] = json!(format!("pi_{tag}"));
}

/// Those of one kind.
pub fn of_kind(events: &[Value], kind: &str) -> Vec<Value> {
    events.iter().filter(|event| event["type"] == kind).cloned().collect()
}
