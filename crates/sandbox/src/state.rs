//! Everything the sandbox knows, in memory. Tables remember what a request changed, so that it can
//! be undone or written to disk, and the timers always agree with the rows.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::billing_portal::PortalSession;
use crate::charges::Charge;
use crate::checkout_sessions::CheckoutSession;
use crate::clock::Clock;
use crate::coupons::Coupon;
use crate::customers::Customer;
use crate::delivery::Delivery;
use crate::events::Event;
use crate::idempotency::Replay;
use crate::invoice_items::InvoiceItem;
use crate::invoice_payments::InvoicePayment;
use crate::invoices::Invoice;
use crate::meter_events::MeterEvent;
use crate::meters::Meter;
use crate::payment_intents::PaymentIntent;
use crate::payment_methods::PaymentMethod;
use crate::prices::Price;
use crate::products::Product;
use crate::promotion_codes::PromotionCode;
use crate::refunds::Refund;
use crate::subscription_schedules::SubscriptionSchedule;
use crate::subscriptions::Subscription;
use crate::webhook_endpoints::WebhookEndpoint;

/// One kind of object, stored under its own name.
pub trait Row: Clone + Serialize + DeserializeOwned {
    const KIND: &'static str;
    fn id(&self) -> &str;
}

/// A row to write or, without a body, to delete.
pub struct RowChange {
    pub kind: &'static str,
    pub id: String,
    pub sequence: i64,
    pub body: Option<String>,
}

/// Rows in order of creation.
pub struct Table<T: Row> {
    rows: BTreeMap<i64, T>,
    sequences: HashMap<String, i64>,
    /// What this request changed: the row's place and what was there before.
    before: BTreeMap<String, (i64, Option<T>)>,
    last_sequence: i64,
}

impl<T: Row> Table<T> {
    fn new() -> Table<T> {
        Table {
            rows: BTreeMap::new(),
            sequences: HashMap::new(),
            before: BTreeMap::new(),
            last_sequence: 0,
        }
    }

    pub fn get(&self, id: &str) -> Option<&T> {
        self.rows.get(self.sequences.get(id)?)
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn put(&mut self, row: T) {
        let id = row.id().to_owned();
        let sequence = match self.sequences.get(&id) {
            Some(sequence) => *sequence,
            None => {
                self.last_sequence += 1;
                self.sequences.insert(id.clone(), self.last_sequence);
                self.last_sequence
            }
        };
        let before = self.rows.insert(sequence, row);
        self.before.entry(id).or_insert((sequence, before));
    }

    pub fn remove(&mut self, id: &str) {
        if let Some(sequence) = self.sequences.remove(id) {
            let before = self.rows.remove(&sequence);
            self.before.entry(id.to_owned()).or_insert((sequence, before));
        }
    }

    pub fn oldest_first(&self) -> impl DoubleEndedIterator<Item = &T> {
        self.rows.values()
    }

    pub fn newest_first(&self) -> impl Iterator<Item = &T> {
        self.rows.values().rev()
    }

    /// Rows created before `id`, newest first.
    pub fn before(&self, id: &str) -> Option<impl Iterator<Item = &T>> {
        let sequence = *self.sequences.get(id)?;
        Some(self.rows.range(..sequence).rev().map(|(_, row)| row))
    }

    /// Rows created after `id`, oldest first.
    pub fn after(&self, id: &str) -> Option<impl Iterator<Item = &T>> {
        let sequence = *self.sequences.get(id)?;
        Some(self.rows.range(sequence + 1..).map(|(_, row)| row))
    }

    fn load(&mut self, sequence: i64, body: &str) -> Result<(), serde_json::Error> {
        let row: T = serde_json::from_str(body)?;
        self.sequences.insert(row.id().to_owned(), sequence);
        self.rows.insert(sequence, row);
        self.last_sequence = self.last_sequence.max(sequence);
        Ok(())
    }

    fn changed_ids(&self) -> impl Iterator<Item = &String> {
        self.before.keys()
    }

    fn undo(&mut self) {
        for (id, (sequence, before)) in std::mem::take(&mut self.before) {
            if let Some(current) = self.sequences.remove(&id) {
                self.rows.remove(&current);
            }
            if let Some(row) = before {
                self.sequences.insert(id, sequence);
                self.rows.insert(sequence, row);
            }
        }
    }

    fn forget_changes(&mut self) {
        self.before.clear();
    }

    fn take_changes(&mut self, changes: &mut Vec<RowChange>) -> Result<(), serde_json::Error> {
        for (id, (sequence, before)) in std::mem::take(&mut self.before) {
            let sequence = self.sequences.get(&id).copied().unwrap_or(sequence);
            let body = match self.rows.get(&sequence) {
                Some(row) => Some(serde_json::to_string(row)?),
                // Made and removed within one request: the disk never hears of it.
                None if before.is_none() => continue,
                None => None,
            };
            changes.push(RowChange { kind: T::KIND, id, sequence, body });
        }
        Ok(())
    }
}

/// Lists the tables once; loading, undoing and writing visit them all.
macro_rules! tables {
    ($($name:ident: $row:ty),* $(,)?) => {
        pub struct State {
            $(pub $name: Table<$row>,)*
            pub timers: Timers,
            pub base_url: String,
            pub clock: Clock,
            /// Idempotency keys whose first request has not been answered yet.
            pub in_progress: HashSet<String>,
        }

        impl State {
            pub fn new(base_url: String, clock: Clock) -> State {
                State {
                    $($name: Table::new(),)*
                    timers: Timers::default(),
                    base_url,
                    clock,
                    in_progress: HashSet::new(),
                }
            }

            /// Takes in one stored row. Kinds of other versions are left alone.
            pub fn load(
                &mut self,
                kind: &str,
                sequence: i64,
                body: &str,
            ) -> Result<(), serde_json::Error> {
                match kind {
                    $(<$row>::KIND => self.$name.load(sequence, body),)*
                    _ => Ok(()),
                }
            }

            pub fn undo(&mut self) {
                $(self.$name.undo();)*
            }

            fn take_table_changes(&mut self) -> Result<Vec<RowChange>, serde_json::Error> {
                let mut changes = Vec::new();
                $(self.$name.take_changes(&mut changes)?;)*
                Ok(changes)
            }

            fn forget_changes(&mut self) {
                $(self.$name.forget_changes();)*
            }
        }
    };
}

tables! {
    customers: Customer,
    products: Product,
    prices: Price,
    meters: Meter,
    meter_events: MeterEvent,
    coupons: Coupon,
    promotion_codes: PromotionCode,
    payment_methods: PaymentMethod,
    payment_intents: PaymentIntent,
    charges: Charge,
    refunds: Refund,
    checkout_sessions: CheckoutSession,
    subscriptions: Subscription,
    subscription_schedules: SubscriptionSchedule,
    invoices: Invoice,
    invoice_payments: InvoicePayment,
    invoice_items: InvoiceItem,
    portal_sessions: PortalSession,
    webhook_endpoints: WebhookEndpoint,
    events: Event,
    deliveries: Delivery,
    replays: Replay,
}

impl State {
    /// Makes the request's changes final and returns what has to be written.
    pub fn take_changes(&mut self) -> Result<Vec<RowChange>, serde_json::Error> {
        self.refresh_timers();
        self.take_table_changes()
    }

    /// Makes the request's changes final where nothing is written to disk.
    pub fn keep_in_memory(&mut self) {
        self.refresh_timers();
        self.forget_changes();
    }

    fn refresh_timers(&mut self) {
        for id in self.subscriptions.changed_ids() {
            let due = self.subscriptions.get(id).and_then(Subscription::due_at);
            self.timers.set(Timer::Subscription(id.clone()), due);
        }
        for id in self.subscription_schedules.changed_ids() {
            let due = self.subscription_schedules.get(id).and_then(SubscriptionSchedule::due_at);
            self.timers.set(Timer::Schedule(id.clone()), due);
        }
        for id in self.invoices.changed_ids() {
            let due = self.invoices.get(id).and_then(Invoice::due_at);
            self.timers.set(Timer::Invoice(id.clone()), due);
        }
        for id in self.checkout_sessions.changed_ids() {
            let due = self.checkout_sessions.get(id).and_then(CheckoutSession::due_at);
            self.timers.set(Timer::CheckoutSession(id.clone()), due);
        }
    }

    /// Sets every timer after a load.
    pub fn start_timers(&mut self) {
        for row in self.subscriptions.rows.values() {
            self.timers.set(Timer::Subscription(row.id.clone()), row.due_at());
        }
        for row in self.subscription_schedules.rows.values() {
            self.timers.set(Timer::Schedule(row.id.clone()), row.due_at());
        }
        for row in self.invoices.rows.values() {
            self.timers.set(Timer::Invoice(row.id.clone()), row.due_at());
        }
        for row in self.checkout_sessions.rows.values() {
            self.timers.set(Timer::CheckoutSession(row.id.clone()), row.due_at());
        }
    }
}

/// An object that does something by itself when its time comes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Timer {
    CheckoutSession(String),
    Invoice(String),
    /// Before its subscription: a phase that ends with a period decides what is renewed.
    Schedule(String),
    Subscription(String),
}

impl Timer {
    /// Sorts before every other timer.
    const FIRST: Timer = Timer::CheckoutSession(String::new());
}

/// When each object is due next, in order of time.
#[derive(Default)]
pub struct Timers {
    by_time: BTreeSet<(i64, Timer)>,
    by_object: HashMap<Timer, i64>,
}

impl Timers {
    fn set(&mut self, timer: Timer, due: Option<i64>) {
        if let Some(old) = self.by_object.remove(&timer) {
            self.by_time.remove(&(old, timer.clone()));
        }
        if let Some(due) = due {
            self.by_object.insert(timer.clone(), due);
            self.by_time.insert((due, timer));
        }
    }

    /// The next instant after `instant` at which something is due.
    pub fn next_after(&self, instant: i64) -> Option<i64> {
        let later = self.by_time.range((instant.saturating_add(1), Timer::FIRST)..);
        later.map(|(due, _)| *due).next()
    }

    /// Whatever is due, the longest overdue first.
    pub fn due(&self, until: i64) -> impl Iterator<Item = &Timer> {
        let due = self.by_time.iter().take_while(move |(due, _)| *due <= until);
        due.map(|(_, timer)| timer)
    }
}
