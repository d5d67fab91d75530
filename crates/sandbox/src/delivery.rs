//! Webhook delivery: in order of creation per endpoint, freshly signed, tried again with growing
//! pauses. All of it lives on the wall clock.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use tokio::task::JoinSet;

use crate::app::{Accounts, App};
use crate::clock;
use crate::errors::ApiError;
use crate::events;
use crate::state::{Row, State};
use crate::transactions::{Cause, Tx};

const TIMEOUT: Duration = Duration::from_secs(10);
const FIRST_PAUSE_MS: i64 = 1_000;
const LONGEST_PAUSE_MS: i64 = 4 * 3_600_000;
/// Stripe gives up after three days; so do we.
const GIVE_UP_AFTER_MS: i64 = 3 * 86_400_000;
const IDLE: Duration = Duration::from_secs(60);

/// One event on its way to one endpoint, with a log of its attempts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Delivery {
    pub id: String,
    pub event: String,
    pub endpoint: String,
    pub created_ms: i64,
    pub attempts: Vec<Attempt>,
    /// None once it has arrived or has been given up.
    pub next_attempt_ms: Option<i64>,
    /// When it arrived.
    pub arrived_ms: Option<i64>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Attempt {
    pub at_ms: i64,
    /// What the endpoint answered, if it did.
    pub status: Option<u16>,
    pub error: Option<String>,
}

impl Row for Delivery {
    const KIND: &'static str = "delivery";
    fn id(&self) -> &str {
        &self.id
    }

    /// Its endpoint finds a delivery only while it waits.
    fn links(&self) -> Vec<&str> {
        let endpoint = self.next_attempt_ms.map(|_| self.endpoint.as_str());
        [Some(self.event.as_str()), endpoint].into_iter().flatten().collect()
    }
}

impl Delivery {
    pub fn new(event: &str, endpoint: &str) -> Delivery {
        Delivery {
            id: format!("{event}:{endpoint}"),
            event: event.to_owned(),
            endpoint: endpoint.to_owned(),
            created_ms: clock::wall_ms(),
            attempts: Vec::new(),
            next_attempt_ms: Some(0),
            arrived_ms: None,
        }
    }

    pub fn is_waiting(&self) -> bool {
        self.next_attempt_ms.is_some()
    }

    pub fn may_still_arrive(&self) -> bool {
        self.is_waiting() && clock::wall_ms() < self.created_ms.saturating_add(GIVE_UP_AFTER_MS)
    }

    pub fn has_failed_long(&self) -> bool {
        3 < self.attempts.len()
    }

    /// Plans the next attempt: after 1, 2, 4, 8 seconds and so on, until it is time to give up.
    fn postpone(&mut self, now_ms: i64) {
        let failures = self.attempts.len().saturating_sub(1).min(30);
        let pause = FIRST_PAUSE_MS.saturating_mul(1_i64 << failures).min(LONGEST_PAUSE_MS);
        let next = now_ms.saturating_add(pause);
        let last = self.created_ms.saturating_add(GIVE_UP_AFTER_MS);
        self.next_attempt_ms = (next < last).then_some(next);
    }
}

/// What waits for an endpoint that is there and enabled.
pub fn waiting(state: &State) -> impl Iterator<Item = &Delivery> {
    let endpoints = state.webhook_endpoints.oldest_first().filter(|endpoint| endpoint.enabled);
    endpoints.flat_map(|endpoint| state.deliveries.of(&endpoint.id))
}

/// Sends an event once more, to one endpoint or to every one that got it or should have.
pub fn resend(tx: &mut Tx<'_>, event: &str, endpoint: Option<&str>) -> Result<usize, ApiError> {
    let row = tx.state.events.get(event).ok_or_else(|| ApiError::not_found("event", event))?;
    let enabled = tx.state.webhook_endpoints.oldest_first().filter(|row| row.enabled);
    let chosen: Vec<String> = enabled
        .filter(|candidate| match endpoint {
            Some(id) => candidate.id == id,
            None => candidate.wants(&row.kind),
        })
        .map(|endpoint| endpoint.id.clone())
        .collect();
    if let Some(id) = endpoint
        && chosen.is_empty()
    {
        return Err(match tx.state.webhook_endpoints.get(id) {
            None => ApiError::no_such("webhook endpoint", id, "endpoint"),
            Some(_) => {
                let message = format!("The webhook endpoint {id} is disabled.");
                ApiError::invalid(message).param("endpoint")
            }
        });
    }
    for endpoint in &chosen {
        let mut delivery = Delivery::new(event, endpoint);
        if let Some(before) = tx.state.deliveries.get(&delivery.id) {
            delivery.attempts = before.attempts.clone();
        }
        tx.state.deliveries.put(delivery);
    }
    Ok(chosen.len())
}

/// What is sent, decided under the lock.
struct Parcel {
    account: String,
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
        let (parcels, next_ms) = app
            .read_all(|accounts| due(accounts, &busy, |endpoint| app.faults().reorders(endpoint)));
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
    accounts: &Accounts,
    busy: &HashSet<String>,
    mut reorders: impl FnMut(&str) -> bool,
) -> (Vec<Parcel>, Option<i64>) {
    let now_ms = clock::wall_ms();
    let mut chosen = Vec::new();
    let mut next_ms: Option<i64> = None;
    for (account, state) in accounts {
        for endpoint in state.webhook_endpoints.oldest_first() {
            if !endpoint.enabled || busy.contains(&endpoint.id) {
                continue;
            }
            let waiting = state.deliveries.of(&endpoint.id);
            let is_due = |row: &&Delivery| row.next_attempt_ms.is_some_and(|at| at <= now_ms);
            let delivery = if reorders(&endpoint.id) {
                waiting.rev().find(is_due)
            } else {
                let mut waiting = waiting;
                waiting.find(is_due)
            };
            let Some(delivery) = delivery else {
                let soonest =
                    state.deliveries.of(&endpoint.id).filter_map(|row| row.next_attempt_ms);
                next_ms = next_ms.into_iter().chain(soonest).min();
                continue;
            };
            let Some(event) = state.events.get(&delivery.event) else {
                continue;
            };
            chosen.push(Parcel {
                account: account.clone(),
                delivery: delivery.id.clone(),
                endpoint: endpoint.id.clone(),
                url: endpoint.url.clone(),
                secret: endpoint.secret.clone(),
                body: events::view_as(state, event, endpoint.version()).to_string(),
            });
        }
    }
    (chosen, next_ms)
}

async fn deliver(app: &App, parcel: Parcel) {
    let fate = app.faults().fate(&parcel.endpoint);
    tokio::time::sleep(fate.delay).await;
    let attempt = if fate.lost {
        // The sender believes that it arrived.
        let error = Some("lost on purpose".to_owned());
        Attempt { at_ms: clock::wall_ms(), status: Some(200), error }
    } else if fate.doubled {
        let (first, second) = tokio::join!(send(app, &parcel), send(app, &parcel));
        if first.is_accepted() { first } else { second }
    } else {
        send(app, &parcel).await
    };
    let result = app.run(&parcel.account, Cause::default(), |tx| {
        if let Some(mut delivery) = tx.state.deliveries.get(&parcel.delivery).cloned() {
            let now_ms = clock::wall_ms();
            delivery.attempts.push(attempt.clone());
            if attempt.is_accepted() {
                delivery.next_attempt_ms = None;
                delivery.arrived_ms = Some(now_ms);
            } else {
                delivery.postpone(now_ms);
            }
            tx.state.deliveries.put(delivery);
        }
        Ok(())
    });
    if let Err(error) = result.await {
        tracing::error!(error = error.message(), "a delivery's end could not be stored");
    }
    app.delivered.notify_waiters();
}

impl Attempt {
    pub fn is_accepted(&self) -> bool {
        self.status.is_some_and(|status| (200..300).contains(&status))
    }
}

/// One request, and how it went.
async fn send(app: &App, parcel: &Parcel) -> Attempt {
    let at_ms = clock::wall_ms();
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
    let attempt = match sent {
        Ok(response) => Attempt { at_ms, status: Some(response.status().as_u16()), error: None },
        Err(error) => Attempt { at_ms, status: None, error: Some(error.to_string()) },
    };
    if !attempt.is_accepted() {
        let Attempt { status, error, .. } = &attempt;
        tracing::info!(
            delivery = parcel.delivery,
            url = parcel.url,
            status,
            error,
            "webhook failed"
        );
    }
    attempt
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
        loop {
            delivery.attempts.push(Attempt { at_ms: now, status: None, error: None });
            delivery.postpone(now);
            let Some(next) = delivery.next_attempt_ms else {
                break;
            };
            pauses.push(next - now);
            now = next;
        }
        assert_eq!(&pauses[..4], [1_000, 2_000, 4_000, 8_000]);
        assert_eq!(pauses.last(), Some(&LONGEST_PAUSE_MS));
        assert!(now < GIVE_UP_AFTER_MS);
    }
}
