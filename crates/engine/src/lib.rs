//! One public function per behaviour: the use cases, the inbox worker and the timed jobs.
//!
//! It knows no HTTP. Rules live in `domain`, SQL in `store`, the provider's words in `providers`;
//! here they meet, one named transaction per use case, and nothing leaves the process inside one.

pub mod accounts;
pub mod admin_sessions;
mod allowances;
pub mod api_keys;
mod apply;
pub mod attempts;
pub mod audits;
pub mod checkout_sessions;
mod clock;
pub mod collections;
pub mod copies;
pub mod credits;
pub mod customers;
pub mod debts;
pub mod deliveries;
pub mod demo;
pub mod documents;
pub mod effects;
pub mod entitlements;
pub mod event_log;
pub mod events;
mod failures;
mod folds;
pub mod health;
pub mod holds;
pub mod invoices;
mod jobs;
mod limits;
pub mod lists;
mod mails;
pub mod metrics;
mod notices;
pub mod outbox;
pub mod overviews;
pub mod payments;
pub mod portal_sessions;
pub mod prices;
pub mod products;
mod provider_calls;
pub mod refunds;
pub mod search;
pub mod secrets;
pub mod subscriptions;
pub mod sync_runs;
mod trials;
pub mod webhook_endpoints;
mod withdrawals;

pub use clock::{Clock, seed_randomness};
pub use failures::{Failure, Offer};
pub use lists::{Listed, Page};

use attempts::{Attempts, SharedCounts};
use credits::Receipt;
use credits::consuming::{self, Consumption};
use folds::Fold;
use providers::receivers::Sender;
use providers::stripe::Client;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock};
use store::Store;
use store::inbox::InboxEvent;
use store::snapshots::Snapshot;
use tokio::sync::Notify;
use url::Url;

/// The provider's name in the database.
const PROVIDER: &str = "stripe";

/// What happens to a second live subscription that a customer has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecondSubscription {
    /// It is shown to the merchant, who decides.
    Flag,
    /// It is canceled, and its newest payment given back.
    CancelNewest,
}

/// What the operator chose.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The application's own pages: where buyers return to unless said otherwise.
    pub frontend_url: Url,
    /// Our own pages. No third place is ever returned to.
    pub public_url: Url,
    /// Every secret an event may be signed with, so that they can be rotated.
    pub webhook_secrets: Vec<SecretString>,
    pub webhook_tolerance_seconds: i64,
    /// Whether this deployment deals with real money.
    pub livemode: bool,
    /// The length of the automatic trial.
    pub default_trial_days: u32,
    /// How long a subscription gives access while its renewal is being retried.
    pub past_due_grace_seconds: i64,
    /// What becomes of credits that were spent before their money went back.
    pub debt_policy: debts::DebtPolicy,
    /// What a customer needs to keep private documents.
    pub private_collection_feature: String,
    pub second_subscription: SecondSubscription,
    /// How many checkouts one buyer may begin in a minute.
    pub checkouts_per_minute: u32,
    /// Where replicas count attempts together; each for itself where there is none.
    pub shared_counts: Option<SharedCounts>,
    /// How news leaves for the merchant's own servers.
    pub outgoing: deliveries::Outgoing,
    /// How long the payloads of settled events are kept; for ever where it is 0.
    pub event_payload_days: u32,
    /// How often what we hold is compared with the provider, and how politely.
    pub sync: sync_runs::SyncSettings,
}

/// Everything Tollgate can do. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    provider: Option<Client>,
    clock: Clock,
    settings: Settings,
    /// Our own account's id at the provider, once somebody had to know it.
    account: OnceLock<String>,
    /// Consumptions that wait to be committed together; a customer's always in the same line.
    consumptions: Vec<Fold<Consumption, Receipt>>,
    /// Events that wait to be stored together: which of them are new.
    arrivals: Fold<InboxEvent, bool>,
    /// Customers whose access nobody has in memory.
    unknown: Fold<String, Option<Arc<Snapshot>>>,
    /// Customers whose access in memory is soon too old.
    due: entitlements::Due,
    /// How many of the next events are applied alone: together they failed, or are not plain.
    events_alone: AtomicUsize,
    /// Wakes the inbox worker when an event has been stored.
    arrived: Notify,
    /// Wakes the sender of deliveries when there is news.
    told: Notify,
    sender: OnceLock<Option<Sender>>,
    segments: search::Segments,
    probe: health::Probe,
    /// Sign-ins of operators that have failed, by address.
    attempts: Attempts,
    /// Changes of subscriptions and their previews, by customer.
    changes: Attempts,
    sync_pace: sync_runs::Pace,
    /// What monitoring was told last.
    metrics: metrics::Told,
    /// Keys that were just shown, by their digests.
    keys: api_keys::Known,
    /// Payment pages that the provider has just been asked about.
    returned: moka::sync::Cache<String, ()>,
}

impl Engine {
    /// Puts the parts together; no provider means that payments are switched off.
    pub fn new(store: Store, provider: Option<Client>, clock: Clock, settings: Settings) -> Self {
        let consumptions = consuming::lines(store.is_single_process());
        let shared = settings.shared_counts.clone();
        let inner = Inner {
            store,
            provider,
            clock,
            settings,
            account: OnceLock::new(),
            consumptions,
            arrivals: Fold::new("events.receive_fold", |event| event.payload.len()),
            unknown: Fold::new("check", String::len),
            due: entitlements::Due::new(),
            events_alone: AtomicUsize::new(0),
            arrived: Notify::new(),
            told: Notify::new(),
            sender: OnceLock::new(),
            segments: search::segments(),
            probe: health::Probe::default(),
            attempts: Attempts::new("sign_in", shared.clone()),
            changes: Attempts::new("change", shared),
            sync_pace: sync_runs::Pace::default(),
            metrics: metrics::Told::default(),
            keys: api_keys::Known::default(),
            returned: checkout_sessions::returned(),
        };
        Self { inner: Arc::new(inner) }
    }

    pub fn clock(&self) -> &Clock {
        &self.inner.clock
    }

    pub fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// The provider, or a refusal while payments are switched off.
    fn provider(&self) -> Result<&Client, Failure> {
        self.inner.provider.as_ref().ok_or(Failure::Provider {
            code: domain::codes::Code::PaymentsDisabled,
            detail: "payments are switched off".to_owned(),
        })
    }
}

/// Who a request is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// A server key names its customer, by id or external id: it must exist.
    Named(String),
    /// An end user's token is about its own subject, who may not have bought anything yet.
    Own(String),
    /// A signed-in page knows its customer.
    Known(domain::ids::CustomerId),
}
