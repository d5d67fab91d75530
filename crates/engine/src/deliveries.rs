//! Deliveries: each piece of news, signed, to everybody who wants it, until they have taken it.
//!
//! News is spread to one delivery for each receiver and sent outside any transaction. What was sent
//! and not yet marked is sent again after a crash: receivers get everything at least once, and know
//! a repetition by the event's id. Receivers do not wait for each other.

use crate::Engine;
use crate::audits::Act;
use crate::clock::random;
use crate::failures::{Failure, caught};
use crate::lists::{Listed, Page};
use crate::secrets::SealingKeys;
use crate::webhook_endpoints::wants;
use domain::codes::Code;
use domain::ids::{DeliveryId, WebhookEndpointId};
use providers::receivers::{Message, Reach, Sender};
use secrecy::SecretString;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use store::Tx;
use store::deliveries::{Attempted, Delivery, DeliveryState};
use store::webhook_endpoints::EndpointStatus;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use url::Url;

/// The receiver that the settings know.
pub const MAIL: &str = "mail";
const EVENTS_PER_ROUND: u32 = 100;
/// How many messages one receiver is sent at the same time.
const SENDINGS_PER_RECEIVER: usize = 4;
/// Longer than any sending may take.
const LEASE_SECONDS: i64 = 60;
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// How long to wait after each attempt: almost three days in all, and then somebody has to look.
const PAUSES_SECONDS: [i64; 13] =
    [5, 30, 120, 600, 1_800, 3_600, 7_200, 14_400, 28_800, 43_200, 43_200, 43_200, 43_200];

/// How news leaves, as the operator chose.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// What the endpoints' secrets are sealed under.
    pub keys: SealingKeys,
    /// Where endpoints may be.
    pub reach: Reach,
    pub mail_hook: Option<MailHook>,
}

/// The merchant's own sender of mails.
#[derive(Debug, Clone)]
pub struct MailHook {
    pub url: Url,
    pub secret: SecretString,
}

impl Default for Outgoing {
    fn default() -> Self {
        Self { keys: SealingKeys::default(), reach: Reach::PublicEncrypted, mail_hook: None }
    }
}

/// Everything that one sending needs.
pub(crate) struct Parcel {
    pub url: String,
    pub reach: Reach,
    pub body: Vec<u8>,
    pub secrets: Vec<SecretString>,
}

/// What came of one attempt.
enum Attempt {
    Taken(u16),
    /// Worth another attempt.
    NotTaken {
        status: Option<u16>,
        error: String,
    },
    /// No attempt will ever work.
    Hopeless(String),
}

impl Engine {
    /// Plans a delivery of new events for each of their receivers; `false` where there are none.
    async fn spread(&self) -> Result<bool, Failure> {
        let mut tx = self.store().read("outbox.waiting").await?;
        let is_waiting = tx.outbox_is_waiting().await?;
        drop(tx);
        if !is_waiting {
            return Ok(false);
        }
        let now = self.clock().wall();
        let mut tx = self.store().begin("outbox.spread").await?;
        let events = tx.outbox_pending(EVENTS_PER_ROUND).await?;
        let endpoints = tx.webhook_endpoints_list().await?;
        for event in &events {
            for endpoint in endpoints.iter().filter(|it| it.status == EndpointStatus::Enabled) {
                if wants(endpoint, &event.kind) {
                    let id = DeliveryId::new(now, random());
                    tx.deliveries_insert(&id, &event.id, endpoint.id.as_str(), now).await?;
                }
            }
            let has_hook = self.settings().outgoing.mail_hook.is_some();
            if has_hook && crate::mails::is_wanted(event, self.clock().now()) {
                let id = DeliveryId::new(now, random());
                tx.deliveries_insert(&id, &event.id, MAIL, now).await?;
            }
        }
        let spread: Vec<_> = events.iter().map(|event| &event.id).collect();
        tx.outbox_spread(&spread).await?;
        tx.commit().await?;
        Ok(!events.is_empty())
    }

    /// Spreads what is new and makes every attempt that is due, one after the other.
    pub async fn deliver_due(&self) -> Result<usize, Failure> {
        while self.spread().await? {}
        let mut attempts = 0;
        for receiver in self.receivers_due().await? {
            while let Some(delivery) = self.claim(&receiver).await? {
                self.deliver(&delivery).await?;
                attempts += 1;
            }
        }
        Ok(attempts)
    }

    async fn receivers_due(&self) -> Result<Vec<String>, Failure> {
        let mut tx = self.store().read("deliveries.due").await?;
        Ok(tx.deliveries_receivers_due(self.clock().wall()).await?)
    }

    async fn claim(&self, receiver: &str) -> Result<Option<Delivery>, Failure> {
        let now = self.clock().wall();
        let mut tx = self.store().begin("deliveries.claim").await?;
        let until = now.plus_seconds(LEASE_SECONDS);
        let claimed = tx.deliveries_claim(receiver, now, until).await?;
        tx.commit().await?;
        Ok(claimed)
    }

    /// One attempt and its record.
    async fn deliver(&self, delivery: &Delivery) -> Result<(), Failure> {
        let attempt = match caught(self.attempt(delivery)).await {
            Err(panic @ Failure::Panic) => {
                Attempt::NotTaken { status: None, error: panic.to_string() }
            }
            attempt => attempt?,
        };
        let now = self.clock().wall();
        let (id, receiver) = (delivery.id.as_str(), delivery.receiver.as_str());
        let pause = usize::try_from(delivery.attempts - 1).ok();
        let pause = pause.and_then(|index| PAUSES_SECONDS.get(index)).copied();
        let mut tx = self.store().begin("deliveries.finish").await?;
        match (attempt, pause) {
            (Attempt::Taken(status), _) => {
                tracing::debug!(delivery.id = id, receiver, status, "a delivery was taken");
                let told = Attempted { status_code: Some(i64::from(status)), error: None };
                let state = DeliveryState::Delivered;
                tx.deliveries_finish(delivery, state, &told, Some(now)).await?;
            }
            (Attempt::NotTaken { status, error }, Some(seconds)) => {
                tracing::warn!(delivery.id = id, receiver, error, "a delivery has to wait");
                let told = Attempted { status_code: status.map(i64::from), error: Some(error) };
                tx.deliveries_retry(delivery, &told, now.plus_seconds(seconds)).await?;
            }
            (Attempt::NotTaken { status, error }, None) => {
                tracing::error!(delivery.id = id, receiver, error, "a delivery was given up");
                let told = Attempted { status_code: status.map(i64::from), error: Some(error) };
                tx.deliveries_finish(delivery, DeliveryState::Failed, &told, None).await?;
            }
            (Attempt::Hopeless(error), _) => {
                tracing::error!(delivery.id = id, receiver, error, "a delivery cannot be made");
                let told = Attempted { status_code: None, error: Some(error) };
                tx.deliveries_finish(delivery, DeliveryState::Failed, &told, None).await?;
            }
        }
        Ok(tx.commit().await?)
    }

    async fn attempt(&self, delivery: &Delivery) -> Result<Attempt, Failure> {
        let mut tx = self.store().read("deliveries.pack").await?;
        let packed = self.pack(&mut tx, delivery).await?;
        drop(tx);
        let parcel = match packed {
            Ok(parcel) => parcel,
            Err(attempt) => return Ok(attempt),
        };
        let Some(sender) = self.sender() else {
            let error = "messages cannot be sent by this process".to_owned();
            return Ok(Attempt::NotTaken { status: None, error });
        };
        let message = Message {
            url: &parcel.url,
            reach: parcel.reach,
            body: parcel.body,
            secrets: &parcel.secrets,
            signed_at_seconds: self.clock().wall().seconds(),
        };
        Ok(match sender.post(message).await {
            Ok(status) if (200..300).contains(&status) => Attempt::Taken(status),
            Ok(status) => {
                let error = format!("answered {status}");
                Attempt::NotTaken { status: Some(status), error }
            }
            Err(error) => Attempt::NotTaken { status: None, error },
        })
    }

    /// What is sent and where to, or why nothing can be.
    async fn pack(
        &self,
        tx: &mut Tx,
        delivery: &Delivery,
    ) -> Result<Result<Parcel, Attempt>, Failure> {
        let hopeless = |why: &str| Ok(Err(Attempt::Hopeless(why.to_owned())));
        let Some(event) = tx.outbox_get(&delivery.outbox_event_id).await? else {
            return hopeless("the event no longer exists");
        };
        let customer = match &event.customer_id {
            Some(id) => tx.customers_get(id).await?,
            None => None,
        };
        if delivery.receiver == MAIL {
            let hook = self.settings().outgoing.mail_hook.as_ref();
            return Ok(match crate::mails::parcel(hook, self, &event, customer.as_ref()) {
                Ok(parcel) => Ok(parcel),
                Err(why) => Err(Attempt::Hopeless(why.to_owned())),
            });
        }
        let endpoint = match WebhookEndpointId::parse(&delivery.receiver) {
            Ok(id) => tx.webhook_endpoints_get(&id).await?,
            Err(_) => None,
        };
        let Some(endpoint) = endpoint else {
            return hopeless("the endpoint was deleted");
        };
        if endpoint.status == EndpointStatus::Disabled {
            return hopeless("the endpoint is disabled");
        }
        let external_id = customer.as_ref().and_then(|customer| customer.external_id.as_deref());
        let body = crate::outbox::message(&event, external_id, self.settings().livemode);
        Ok(match self.endpoint_secrets(&endpoint) {
            Ok(secrets) => Ok(Parcel {
                url: endpoint.url,
                reach: self.settings().outgoing.reach,
                body: body.to_string().into_bytes(),
                secrets,
            }),
            Err(error) => {
                let error = format!("the endpoint's secret cannot be read: {error}");
                Err(Attempt::NotTaken { status: None, error })
            }
        })
    }

    /// Made when the first message leaves.
    fn sender(&self) -> Option<&Sender> {
        let made = self.inner.sender.get_or_init(|| match Sender::new() {
            Ok(sender) => Some(sender),
            Err(error) => {
                tracing::error!(%error, "messages cannot be sent");
                None
            }
        });
        made.as_ref()
    }

    /// Sends until told to stop. Each receiver has its own few places, so that a slow one keeps
    /// nobody else waiting.
    pub(crate) async fn dispatch(self, mut shutdown: watch::Receiver<bool>) {
        let mut places: HashMap<String, Arc<Semaphore>> = HashMap::new();
        let mut sendings: JoinSet<()> = JoinSet::new();
        while !*shutdown.borrow() {
            if let Err(failure) = self.dispatch_round(&mut places, &mut sendings).await {
                tracing::error!(%failure, "the deliveries cannot be worked on");
            }
            tokio::select! {
                () = self.inner.told.notified() => {}
                Some(_) = sendings.join_next() => {}
                () = tokio::time::sleep(POLL_INTERVAL) => {}
                _ = shutdown.changed() => {}
            }
        }
        while sendings.join_next().await.is_some() {}
    }

    async fn dispatch_round(
        &self,
        places: &mut HashMap<String, Arc<Semaphore>>,
        sendings: &mut JoinSet<()>,
    ) -> Result<(), Failure> {
        while self.spread().await? {}
        let due = self.receivers_due().await?;
        places.retain(|name, free| {
            due.contains(name) || free.available_permits() < SENDINGS_PER_RECEIVER
        });
        for receiver in due {
            let free = places
                .entry(receiver.clone())
                .or_insert_with(|| Arc::new(Semaphore::new(SENDINGS_PER_RECEIVER)))
                .clone();
            while let Ok(place) = free.clone().try_acquire_owned()
                && let Some(delivery) = self.claim(&receiver).await?
            {
                let engine = self.clone();
                sendings.spawn(async move {
                    if let Err(failure) = engine.deliver(&delivery).await {
                        tracing::error!(%failure, "an attempt to deliver could not be recorded");
                    }
                    drop(place);
                });
            }
        }
        Ok(())
    }

    /// Newest first; of one receiver and in one state where they are named.
    pub async fn deliveries_list(
        &self,
        page: Page,
        receiver: Option<&str>,
        state: Option<&str>,
    ) -> Result<Listed<Delivery>, Failure> {
        let state = match state {
            None => None,
            Some(word) => Some(DeliveryState::parse(word).ok_or_else(|| {
                Failure::invalid("state", "state must be pending, delivered or failed")
            })?),
        };
        if let Some(receiver) = receiver.filter(|name| *name != MAIL)
            && WebhookEndpointId::parse(receiver).is_err()
        {
            let detail = "receiver must be the id of a webhook endpoint, or mail";
            return Err(Failure::invalid("receiver", detail));
        }
        let mut tx = self.store().read("deliveries.list").await?;
        let rows = tx.deliveries_list(receiver, state, page.cursor(), page.fetch()).await?;
        Ok(page.cut(rows, |row| row.id.to_string()))
    }

    /// Starts over with a delivery that was taken or given up.
    pub async fn deliveries_redeliver(&self, id: &str, act: &Act) -> Result<Delivery, Failure> {
        let missing = || Failure::missing("delivery");
        let id = DeliveryId::parse(id).map_err(|_| missing())?;
        let mut tx = self.store().begin("deliveries.redeliver").await?;
        let started = tx.deliveries_redeliver(&id, self.clock().wall()).await?;
        let delivery = tx.deliveries_get(&id).await?.ok_or_else(missing)?;
        if !started {
            let detail = "the delivery is pending already";
            return Err(Failure::refused(Code::DeliveryPending, detail));
        }
        let note = format!("to {}", delivery.receiver);
        self.audit(&mut tx, act, "delivery.redeliver", id.as_str(), Some(&note)).await?;
        tx.commit().await?;
        self.inner.told.notify_one();
        Ok(delivery)
    }
}
