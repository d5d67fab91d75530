//! Everything the sandbox knows, in memory. Tables remember what a request changed, so that it can
//! be undone or written to disk, and the timers always agree with the rows.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::balance_transactions::BalanceTransaction;
use crate::billing_portal::PortalSession;
use crate::charges::Charge;
use crate::checkout_sessions::CheckoutSession;
use crate::clock::Clock;
use crate::coupons::Coupon;
use crate::credit_notes::CreditNote;
use crate::customer_balance_transactions::CustomerBalanceTransaction;
use crate::customers::Customer;
use crate::delivery::Delivery;
use crate::discounts::Discount;
use crate::disputes::Dispute;
use crate::entitlements::ActiveEntitlement;
use crate::events::Event;
use crate::features::Feature;
use crate::idempotency::Replay;
use crate::invoice_items::InvoiceItem;
use crate::invoice_payments::InvoicePayment;
use crate::invoices::Invoice;
use crate::meter_events::MeterEvent;
use crate::meters::Meter;
use crate::payment_intents::PaymentIntent;
use crate::payment_methods::PaymentMethod;
use crate::portal_configurations::PortalConfiguration;
use crate::prices::Price;
use crate::product_features::ProductFeature;
use crate::products::Product;
use crate::promotion_codes::PromotionCode;
use crate::refunds::Refund;
use crate::settings::Settings;
use crate::setup_attempts::SetupAttempt;
use crate::setup_intents::SetupIntent;
use crate::subscription_schedules::SubscriptionSchedule;
use crate::subscriptions::Subscription;
use crate::tax_calculations::TaxCalculation;
use crate::tax_ids::TaxId;
use crate::tax_rates::TaxRate;
use crate::tax_settings::TaxSettings;
use crate::tax_transactions::TaxTransaction;
use crate::test_clocks::TestClock;
use crate::tokens::Token;
use crate::webhook_endpoints::WebhookEndpoint;

/// One kind of object, stored under its own name.
pub trait Row: Clone + Serialize + DeserializeOwned {
    const KIND: &'static str;
    fn id(&self) -> &str;

    /// Ids of other objects, and words that lists are filtered by, under which `Table::of` finds
    /// this row.
    fn links(&self) -> Vec<&str> {
        Vec::new()
    }

    /// Whose this is: their test clock, if they follow one, is this row's, too.
    fn customer(&self) -> Option<&str> {
        None
    }
}

/// A row that does something by itself when its time comes.
pub trait Timed: Row {
    fn timer(&self) -> Timer;
    fn due_at(&self) -> Option<i64>;
}

/// A row to write or, without a body, to delete.
pub struct RowChange {
    pub kind: &'static str,
    pub id: String,
    pub sequence: i64,
    pub body: Option<String>,
}

/// Rows to be listed, in order of creation.
pub type ListedRows<'a, T> = Box<dyn DoubleEndedIterator<Item = &'a T> + 'a>;

/// Rows in order of creation.
pub struct Table<T: Row> {
    rows: BTreeMap<i64, T>,
    sequences: HashMap<String, i64>,
    linked: HashMap<String, BTreeSet<i64>>,
    /// What this request changed: the row's place and what was there before.
    before: BTreeMap<String, (i64, Option<T>)>,
    last_sequence: i64,
}

impl<T: Row> Table<T> {
    fn new() -> Table<T> {
        Table {
            rows: BTreeMap::new(),
            sequences: HashMap::new(),
            linked: HashMap::new(),
            before: BTreeMap::new(),
            last_sequence: 0,
        }
    }

    pub fn get(&self, id: &str) -> Option<&T> {
        self.rows.get(self.sequences.get(id)?)
    }

    /// Whether this unit of work has touched the table.
    pub fn is_changed(&self) -> bool {
        !self.before.is_empty()
    }

    /// How many rows there have ever been.
    pub fn count_ever(&self) -> i64 {
        self.last_sequence
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// What the running unit of work has changed so far.
    pub fn changed_ids(&self) -> impl Iterator<Item = &String> {
        self.before.keys()
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
        let before = self.replace(sequence, Some(row));
        self.before.entry(id).or_insert((sequence, before));
    }

    pub fn remove(&mut self, id: &str) {
        if let Some(sequence) = self.sequences.remove(id) {
            let before = self.replace(sequence, None);
            self.before.entry(id.to_owned()).or_insert((sequence, before));
        }
    }

    /// Puts a row in a place, or empties it; links follow. The row that was there is returned.
    fn replace(&mut self, sequence: i64, row: Option<T>) -> Option<T> {
        let same_links = match (self.rows.get(&sequence), &row) {
            (Some(old), Some(new)) => old.links() == new.links(),
            _ => false,
        };
        if !same_links {
            self.unlink(sequence);
            let links = row.as_ref().map(Row::links).unwrap_or_default();
            for link in links {
                self.linked.entry(link.to_owned()).or_default().insert(sequence);
            }
        }
        match row {
            Some(row) => self.rows.insert(sequence, row),
            None => self.rows.remove(&sequence),
        }
    }

    /// Forgets under what the row in this place was found.
    fn unlink(&mut self, sequence: i64) {
        let Some(row) = self.rows.get(&sequence) else {
            return;
        };
        for link in row.links() {
            if let Some(places) = self.linked.get_mut(link) {
                places.remove(&sequence);
                if places.is_empty() {
                    self.linked.remove(link);
                }
            }
        }
    }

    /// Rows linked to `id`, oldest first.
    pub fn of(&self, id: &str) -> impl DoubleEndedIterator<Item = &T> {
        let places = self.linked.get(id).into_iter().flatten();
        places.filter_map(|place| self.rows.get(place))
    }

    /// Rows between two places, only those linked to `link` if there is one.
    pub fn listed(&self, link: Option<&str>, from: i64, to: i64) -> ListedRows<'_, T> {
        match link {
            None => Box::new(self.rows.range(from..to).map(|(_, row)| row)),
            Some(link) => {
                let places = self.linked.get(link);
                let places = places.into_iter().flat_map(move |places| places.range(from..to));
                Box::new(places.filter_map(|place| self.rows.get(place)))
            }
        }
    }

    /// Where a row stands in order of creation.
    pub fn place(&self, id: &str) -> Option<i64> {
        self.sequences.get(id).copied()
    }

    pub fn oldest_first(&self) -> impl DoubleEndedIterator<Item = &T> {
        self.rows.values()
    }

    pub fn newest_first(&self) -> impl Iterator<Item = &T> {
        self.rows.values().rev()
    }

    fn load(&mut self, sequence: i64, body: &str) -> Result<(), serde_json::Error> {
        let row: T = serde_json::from_str(body)?;
        if let Some(other_place) = self.sequences.insert(row.id().to_owned(), sequence) {
            self.replace(other_place, None);
        }
        self.replace(sequence, Some(row));
        self.last_sequence = self.last_sequence.max(sequence);
        Ok(())
    }

    fn all(&self, rows: &mut Vec<RowChange>) -> Result<(), serde_json::Error> {
        for (sequence, row) in &self.rows {
            let body = Some(serde_json::to_string(row)?);
            let id = row.id().to_owned();
            rows.push(RowChange { kind: T::KIND, id, sequence: *sequence, body });
        }
        Ok(())
    }

    fn undo(&mut self) {
        for (id, (sequence, before)) in std::mem::take(&mut self.before) {
            if let Some(current) = self.sequences.remove(&id) {
                self.replace(current, None);
            }
            if let Some(row) = before {
                self.sequences.insert(id, sequence);
                self.replace(sequence, Some(row));
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
        /// One account: everything a key sees.
        pub struct State {
            $(pub $name: Table<$row>,)*
            pub timers: Timers,
            /// The account's own id.
            pub account: String,
            pub base_url: String,
            pub clock: Clock,
            /// Idempotency keys whose first request has not been answered yet.
            pub in_progress: HashSet<String>,
        }

        impl State {
            pub fn new(account: String, base_url: String, clock: Clock) -> State {
                State {
                    $($name: Table::new(),)*
                    timers: Timers::default(),
                    account,
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

            /// Whether an object of this id is here.
            pub fn holds(&self, id: &str) -> bool {
                false $(|| self.$name.sequences.contains_key(id))*
            }

            /// The kind of the object of this id.
            pub fn kind_of(&self, id: &str) -> Option<&'static str> {
                $(
                    if self.$name.sequences.contains_key(id) {
                        return Some(<$row>::KIND);
                    }
                )*
                None
            }

            /// How many of each kind there are.
            pub fn counts(&self) -> Vec<(&'static str, usize)> {
                vec![$((<$row>::KIND, self.$name.len())),*]
            }

            pub fn is_empty(&self) -> bool {
                true $(&& self.$name.len() == 0)*
            }

            /// The customer whose object this is.
            pub fn customer_of(&self, id: &str) -> Option<&str> {
                $(
                    if let Some(row) = self.$name.get(id) {
                        return row.customer();
                    }
                )*
                None
            }

            /// The kinds of all rows.
            pub const KINDS: &[&str] = &[$(<$row>::KIND),*];

            /// Every row as it is stored.
            pub fn rows(&self) -> Result<Vec<RowChange>, serde_json::Error> {
                let mut rows = Vec::new();
                $(self.$name.all(&mut rows)?;)*
                Ok(rows)
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
    credit_notes: CreditNote,
    customer_balance_transactions: CustomerBalanceTransaction,
    tax_ids: TaxId,
    products: Product,
    prices: Price,
    features: Feature,
    product_features: ProductFeature,
    active_entitlements: ActiveEntitlement,
    meters: Meter,
    meter_events: MeterEvent,
    coupons: Coupon,
    promotion_codes: PromotionCode,
    discounts: Discount,
    tax_calculations: TaxCalculation,
    tax_rates: TaxRate,
    tax_settings: TaxSettings,
    tax_transactions: TaxTransaction,
    payment_methods: PaymentMethod,
    payment_intents: PaymentIntent,
    charges: Charge,
    refunds: Refund,
    tokens: Token,
    disputes: Dispute,
    balance_transactions: BalanceTransaction,
    setup_intents: SetupIntent,
    setup_attempts: SetupAttempt,
    checkout_sessions: CheckoutSession,
    settings: Settings,
    subscriptions: Subscription,
    subscription_schedules: SubscriptionSchedule,
    test_clocks: TestClock,
    invoices: Invoice,
    invoice_payments: InvoicePayment,
    invoice_items: InvoiceItem,
    portal_configurations: PortalConfiguration,
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

    /// The test clock a customer's objects follow.
    pub fn test_clock_of(&self, customer: &str) -> Option<&str> {
        self.customers.get(customer)?.test_clock.as_deref()
    }

    /// The time on the test clock that a customer follows.
    pub fn frozen_time(&self, customer: &str) -> Option<i64> {
        let test_clock = self.test_clocks.get(self.test_clock_of(customer)?)?;
        Some(test_clock.frozen_time)
    }
}

/// Lists the tables whose rows have timers.
macro_rules! timed {
    ($($name:ident),* $(,)?) => {
        impl State {
            fn refresh_timers(&mut self) {
                $(self.timers.refresh(&self.$name, &self.customers);)*
            }

            /// Sets every timer after a load.
            pub fn start_timers(&mut self) {
                $(self.timers.start(&self.$name, &self.customers);)*
            }
        }
    };
}

timed! {
    checkout_sessions,
    discounts,
    disputes,
    invoices,
    subscriptions,
    subscription_schedules,
    payment_intents,
    refunds,
}

/// An object that does something by itself when its time comes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Timer {
    CheckoutSession(String),
    Discount(String),
    Dispute(String),
    Invoice(String),
    PaymentIntent(String),
    Refund(String),
    /// Before its subscription: a phase that ends with a period decides what is renewed.
    Schedule(String),
    Subscription(String),
}

impl Timer {
    /// Sorts before every other timer.
    const FIRST: Timer = Timer::CheckoutSession(String::new());
}

/// When each object is due next, by the clock it follows: a test clock's id, or none for the
/// business clock.
#[derive(Default)]
pub struct Timers {
    by_clock: HashMap<Option<String>, BTreeSet<(i64, Timer)>>,
    by_object: HashMap<Timer, (Option<String>, i64)>,
}

impl Timers {
    fn refresh<T: Timed>(&mut self, table: &Table<T>, customers: &Table<Customer>) {
        for (id, (_, before)) in &table.before {
            match (table.get(id), before) {
                (Some(row), _) => self.follow(row, customers),
                (None, Some(gone)) => self.set(gone.timer(), None, None),
                (None, None) => {}
            }
        }
    }

    fn start<T: Timed>(&mut self, table: &Table<T>, customers: &Table<Customer>) {
        for row in table.rows.values() {
            self.follow(row, customers);
        }
    }

    fn follow<T: Timed>(&mut self, row: &T, customers: &Table<Customer>) {
        let customer = row.customer().and_then(|id| customers.get(id));
        let clock = customer.and_then(|customer| customer.test_clock.clone());
        self.set(row.timer(), clock, row.due_at());
    }

    fn set(&mut self, timer: Timer, clock: Option<String>, due: Option<i64>) {
        if let Some((old_clock, old_due)) = self.by_object.remove(&timer)
            && let Some(timers) = self.by_clock.get_mut(&old_clock)
        {
            timers.remove(&(old_due, timer.clone()));
        }
        if let Some(due) = due {
            self.by_clock.entry(clock.clone()).or_default().insert((due, timer.clone()));
            self.by_object.insert(timer, (clock, due));
        }
    }

    /// The next instant after `instant` at which something is due by the business clock.
    pub fn next_after(&self, instant: i64) -> Option<i64> {
        let timers = self.by_clock.get(&None)?;
        let later = timers.range((instant.saturating_add(1), Timer::FIRST)..);
        later.map(|(due, _)| *due).next()
    }

    /// Whatever is due by a clock, the longest overdue first.
    pub fn due(&self, clock: &Option<String>, until: i64) -> impl Iterator<Item = (i64, &Timer)> {
        let timers = self.by_clock.get(clock).into_iter().flatten();
        let due = timers.take_while(move |(due, _)| *due <= until);
        due.map(|(due, timer)| (*due, timer))
    }
}
