//! Webhook delivery: in order of creation per endpoint, freshly signed, tried again with growing
//! pauses. All of it lives on the wall clock.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use tokio::task::JoinSet;

use crate::app::App;
use crate::clock;
use crate::events;
use crate::state::{Row, State};
use crate::transactions::Cause;

const TIMEOUT: Duration = Duration::from_secs(10);
const FIRST_PAUSE_MS: i64 = 1_000;
const LONGEST_PAUSE_MS: i64 = 4 * 3_600_000;
/// Stripe gives up after three days; so do we.
const GIVE_UP_AFTER_MS: i64 = 3 * 86_400_000;
const IDLE: Duration = Duration::from_secs(60);

/// One event on its way to one endpoint. It is removed once it has arrived.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Delivery {
    pub id: String,
    pub event: String,
    pub endpoint: String,
    pub attempts: u32,
    pub next_attempt_ms: i64,
    pub created_ms: i64,
}

impl Row for Delivery {
    const KIND: &'static str = "delivery";
    fn id(&self) -> &str {
        &self.id
    }
}

impl Delivery {
    pub fn new(event: &str, endpoint: &str) -> Delivery {
        Delivery {
            id: format!("{event}:{endpoint}"),
            event: event.to_owned(),
            endpoint: endpoint.to_owned(),
            attempts: 0,
            next_attempt_ms: 0,
            created_ms: clock::wall_ms(),
        }
    }
}

/// What is sent, decided under the lock.
struct Parcel {
    delivery: String,
    endpoint: String,
    url: String,
    secret: String,
    body: String,
}

/// Runs until it is dropped. One request per endpoint at a time keeps the order.
pub async fn run(app: Arc<App>) {
    let mut sending = JoinSet::new();
    let mut busy: HashSet<String> = HashSet::new();
    loop {
        let (parcels, next_ms) =
            app.read(|state| due(state, &busy, |endpoint| app.faults().reorders(endpoint)));
        for parcel in parcels {
            busy.insert(parcel.endpoint.clone());
            let app = app.clone();
            sending.spawn(async move {
                let endpoint = parcel.endpoint.clone();
                deliver(&app, parcel).await;
                endpoint
            });
        }
        let pause = next_ms.map_or(IDLE, |at| {
            Duration::from_millis(u64::try_from(at - clock::wall_ms()).unwrap_or(0))
        });
        tokio::select! {
            Some(done) = sending.join_next() => {
                match done {
                    Ok(endpoint) => {
                        busy.remove(&endpoint);
                    }
                    // A delivery that panicked has freed nothing: let all endpoints go on.
                    Err(_) => busy.clear(),
                }
            }
            () = app.deliveries.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// The oldest due delivery of each idle endpoint, and when the next one is due.
fn due(
    state: &State,
    busy: &HashSet<String>,
    mut reorders: impl FnMut(&str) -> bool,
) -> (Vec<Parcel>, Option<i64>) {
    let now_ms = clock::wall_ms();
    let mut chosen: HashMap<&str, Parcel> = HashMap::new();
    let mut newest_first: HashSet<&str> = HashSet::new();
    let mut next_ms: Option<i64> = None;
    for delivery in state.deliveries.oldest_first() {
        let endpoint = delivery.endpoint.as_str();
        let has_one = chosen.contains_key(endpoint);
        if busy.contains(endpoint) || (has_one && !newest_first.contains(endpoint)) {
            continue;
        }
        let Some(endpoint) = state.webhook_endpoints.get(&delivery.endpoint) else {
            continue;
        };
        if !endpoint.enabled {
            continue;
        }
        if now_ms < delivery.next_attempt_ms {
            let soonest = next_ms.unwrap_or(i64::MAX).min(delivery.next_attempt_ms);
            next_ms = Some(soonest);
            continue;
        }
        let Some(event) = state.events.get(&delivery.event) else {
            continue;
        };
        let parcel = Parcel {
            delivery: delivery.id.clone(),
            endpoint: endpoint.id.clone(),
            url: endpoint.url.clone(),
            secret: endpoint.secret.clone(),
            body: events::view(state, event).to_string(),
        };
        if !has_one && reorders(&endpoint.id) {
            newest_first.insert(&endpoint.id);
        }
        chosen.insert(&delivery.endpoint, parcel);
    }
    (chosen.into_values().collect(), next_ms)
}

async fn deliver(app: &App, parcel: Parcel) {
    let fate = app.faults().fate(&parcel.endpoint);
    tokio::time::sleep(fate.delay).await;
    let arrived = if fate.lost {
        true
    } else if fate.doubled {
        let (first, second) = tokio::join!(send(app, &parcel), send(app, &parcel));
        first || second
    } else {
        send(app, &parcel).await
    };
    let result = app.run(Cause::default(), |tx| {
        if let Some(mut delivery) = tx.state.deliveries.get(&parcel.delivery).cloned() {
            if arrived || !postpone(&mut delivery, clock::wall_ms()) {
                tx.state.deliveries.remove(&parcel.delivery);
            } else {
                tx.state.deliveries.put(delivery);
            }
        }
        Ok(())
    });
    if let Err(error) = result.await {
        tracing::error!(error = error.message(), "a delivery's end could not be stored");
    }
    app.delivered.notify_waiters();
}

/// One request; whether it was accepted.
async fn send(app: &App, parcel: &Parcel) -> bool {
    let sent = app
        .client
        .post(&parcel.url)
        .timeout(TIMEOUT)
        .header("content-type", "application/json; charset=utf-8")
        .header("user-agent", "Stripe/1.0 (Tollgate sandbox)")
        .header("stripe-signature", signature(&parcel.secret, clock::wall(), &parcel.body))
        .body(parcel.body.clone())
        .send()
        .await;
    let outcome = match &sent {
        Ok(response) if response.status().is_success() => return true,
        Ok(response) => response.status().to_string(),
        Err(error) => error.to_string(),
    };
    tracing::info!(delivery = parcel.delivery, url = parcel.url, outcome, "webhook failed");
    false
}

/// Plans the next attempt: after 1, 2, 4, 8 seconds and so on. False when it is time to give up.
fn postpone(delivery: &mut Delivery, now_ms: i64) -> bool {
    let doubled = FIRST_PAUSE_MS.saturating_mul(1_i64 << delivery.attempts.min(30));
    delivery.attempts = delivery.attempts.saturating_add(1);
    delivery.next_attempt_ms = now_ms.saturating_add(doubled.min(LONGEST_PAUSE_MS));
    delivery.next_attempt_ms < delivery.created_ms.saturating_add(GIVE_UP_AFTER_MS)
}

/// `t=…,v1=…` over `t.body`.
fn signature(secret: &str, timestamp: i64, body: &str) -> String {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(timestamp.to_string().as_bytes());
    mac.update(b".");
    mac.update(body.as_bytes());
    format!("t={timestamp},v1={}", hex::encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end() {
        let mut delivery = Delivery::new("evt", "we");
        delivery.created_ms = 0;
        let mut pauses = Vec::new();
        let mut now = 0;
        while postpone(&mut delivery, now) {
            pauses.push(delivery.next_attempt_ms - now);
            now = delivery.next_attempt_ms;
        }
        assert_eq!(&pauses[..4], [1_000, 2_000, 4_000, 8_000]);
        assert_eq!(pauses.last(), Some(&LONGEST_PAUSE_MS));
        assert!(now < GIVE_UP_AFTER_MS);
    }
}
