//! Who may use what, in memory: answers to `check` that need no statement. And which customer the
//! application means by an id of its own: that never changes, and no customer is ever removed.
//!
//! A commit of this process that changes somebody's access takes their snapshot away before anybody
//! is told of the commit. What another process commits is seen once a snapshot is too old.

use crate::database::Tx;
use crate::errors::StoreError;
use crate::rows::{Row, opt_id};
use crate::sql::{Arg, statements};
use domain::entitlements::Entitlement;
use domain::ids::CustomerId;
use serde::Serialize;
use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long what another process has changed may go unseen: less than the second we promise.
const AGE_MAX: Duration = Duration::from_millis(800);
/// From when on one that is asked for is read anew, before it is too old: nobody has to wait for
/// what is asked often. Some customers' come earlier than others', or all that were read together
/// would be read together for ever.
const DUE_AFTER: [Duration; 2] = [Duration::from_millis(450), Duration::from_millis(600)];
const SNAPSHOTS_MAX: u64 = 200_000;
const NAMES_MAX: u64 = 200_000;
const MARKS: usize = 1_024;

/// A customer's access as one moment showed it.
#[derive(Debug, Clone)]
pub struct Snapshot {
    pub customer: CustomerId,
    pub external_id: Option<String>,
    /// Ordered by feature.
    entitlements: Vec<Entitlement>,
}

impl Snapshot {
    /// Everything that was ever granted of one feature.
    pub fn of_feature(&self, feature: &str) -> &[Entitlement] {
        let from = self.entitlements.partition_point(|one| one.feature.as_str() < feature);
        let until = self.entitlements.partition_point(|one| one.feature.as_str() <= feature);
        &self.entitlements[from..until]
    }
}

/// The snapshots of one process.
pub struct Snapshots {
    names: moka::sync::Cache<String, CustomerId>,
    by_customer: moka::sync::Cache<CustomerId, Kept>,
    /// How often access of each customer has changed here; several share a number.
    marks: Vec<AtomicU64>,
    hasher: RandomState,
}

#[derive(Clone)]
struct Kept {
    snapshot: Arc<Snapshot>,
    mark: u64,
    read_at: Instant,
    /// Whether somebody has been told to read it anew.
    renewed: Arc<AtomicBool>,
}

/// A snapshot that may be used.
pub struct Known {
    pub snapshot: Arc<Snapshot>,
    /// Said once: it should be read anew.
    pub is_due: bool,
}

/// What had changed before a reading began, and when that was.
pub struct Marks {
    marks: Vec<u64>,
    read_at: Instant,
}

/// Access that a commit changes, whatever becomes of who waits for it.
pub(crate) struct Changing {
    snapshots: Arc<Snapshots>,
    customers: BTreeSet<CustomerId>,
}

impl Drop for Changing {
    fn drop(&mut self) {
        for customer in &self.customers {
            self.snapshots.marks[self.snapshots.place(customer)].fetch_add(1, Ordering::SeqCst);
            self.snapshots.by_customer.invalidate(customer);
        }
    }
}

impl Snapshots {
    pub(crate) fn new() -> Self {
        Self {
            names: moka::sync::Cache::new(NAMES_MAX),
            by_customer: moka::sync::Cache::builder()
                .max_capacity(SNAPSHOTS_MAX)
                .time_to_live(AGE_MAX)
                .build(),
            marks: (0..MARKS).map(|_| AtomicU64::new(0)).collect(),
            hasher: RandomState::new(),
        }
    }

    /// By our id or the application's own, if one is there, young enough and nothing has changed
    /// since it was read.
    pub fn get(&self, name: &str) -> Option<Known> {
        let customer = match CustomerId::parse(name) {
            Ok(customer) => customer,
            Err(_) => self.customer(name)?,
        };
        let kept = self.by_customer.get(&customer)?;
        let place = self.place(&customer);
        let is_newest = kept.mark == self.marks[place].load(Ordering::SeqCst);
        let age = kept.read_at.elapsed();
        if !is_newest || AGE_MAX <= age {
            return None;
        }
        let is_due = due_after(place) <= age && !kept.renewed.swap(true, Ordering::Relaxed);
        Some(Known { snapshot: kept.snapshot, is_due })
    }

    /// Whom the application calls so, where that was asked before.
    pub fn customer(&self, external_id: &str) -> Option<CustomerId> {
        self.names.get(external_id)
    }

    pub fn keep_name(&self, external_id: String, customer: CustomerId) {
        self.names.insert(external_id, customer);
    }

    /// To be taken before the reading whose snapshots are to be kept.
    pub fn marks(&self) -> Marks {
        let marks = self.marks.iter().map(|mark| mark.load(Ordering::SeqCst)).collect();
        Marks { marks, read_at: Instant::now() }
    }

    /// Keeps what was read.
    pub fn keep(&self, snapshot: &Arc<Snapshot>, before: &Marks) {
        if let Some(name) = &snapshot.external_id {
            self.keep_name(name.clone(), snapshot.customer.clone());
        }
        let mark = before.marks[self.place(&snapshot.customer)];
        let (read_at, renewed) = (before.read_at, Arc::default());
        let kept = Kept { snapshot: snapshot.clone(), mark, read_at, renewed };
        // A reading that began before another may end after it.
        self.by_customer.entry(snapshot.customer.clone()).and_upsert_with(|held| match held {
            Some(held) if kept.read_at < held.value().read_at => held.into_value(),
            _ => kept,
        });
    }

    pub(crate) fn changing(self: &Arc<Self>, customers: BTreeSet<CustomerId>) -> Changing {
        Changing { snapshots: self.clone(), customers }
    }

    fn place(&self, customer: &CustomerId) -> usize {
        usize::try_from(self.hasher.hash_one(customer.as_str())).unwrap_or_default() % MARKS
    }
}

/// By a customer's place among the marks, which is as good as drawn by lot.
fn due_after(place: usize) -> Duration {
    let [first, last] = DUE_AFTER;
    let share = u32::try_from(place).unwrap_or_default();
    first + (last - first) * share / MARKS as u32
}

impl std::fmt::Debug for Snapshots {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("snapshots")
    }
}

statements! {
    BY_ID = "snapshots.by_id":
        "SELECT (SELECT c.id FROM customers c WHERE c.id = r.name) AS id,
             (SELECT c.external_id FROM customers c WHERE c.id = r.name) AS external_id
         FROM ROWS(name VARCHAR(255))";
    BY_EXTERNAL_ID = "snapshots.by_external_id":
        "SELECT (SELECT c.id FROM customers c WHERE c.external_id = r.name) AS id,
             r.name AS external_id
         FROM ROWS(name VARCHAR(255))";
    ENTITLEMENTS = "snapshots.entitlements":
        "SELECT e.* FROM entitlements e JOIN ROWS(name VARCHAR(255)) ON e.customer_id = r.name
         ORDER BY e.feature, e.id";
}

#[derive(Serialize)]
struct NameRow<'a> {
    name: &'a str,
}

fn rows<'a>(names: impl Iterator<Item = &'a str>) -> Result<Arg, StoreError> {
    Arg::rows(&names.map(|name| NameRow { name }).collect::<Vec<_>>())
}

impl Tx {
    /// What is true of the customers with these names, ours or the application's own, by name.
    /// Whoever is missing does not exist.
    pub async fn snapshots_read(
        &mut self,
        names: &BTreeSet<&str>,
    ) -> Result<HashMap<String, Arc<Snapshot>>, StoreError> {
        let mut snapshots = HashMap::new();
        let (mut ids, mut others) = (Vec::new(), Vec::new());
        for name in names.iter().copied() {
            if CustomerId::parse(name).is_ok() {
                ids.push(name);
            } else if let Some(customer) = self.snapshots.customer(name) {
                let external_id = Some(name.to_owned());
                let snapshot = Snapshot { customer, external_id, entitlements: Vec::new() };
                snapshots.insert(snapshot.customer.to_string(), snapshot);
            } else {
                others.push(name);
            }
        }
        let mut found: Vec<Row> = Vec::new();
        if !ids.is_empty() {
            found.extend(self.all(&BY_ID, vec![rows(ids.into_iter())?]).await?);
        }
        if !others.is_empty() {
            found.extend(self.all(&BY_EXTERNAL_ID, vec![rows(others.into_iter())?]).await?);
        }
        for row in &found {
            let Some(customer) = opt_id!(row, "id", CustomerId)? else { continue };
            let external_id = row.opt_text("external_id")?;
            let snapshot = Snapshot { customer, external_id, entitlements: Vec::new() };
            snapshots.insert(snapshot.customer.to_string(), snapshot);
        }
        if !snapshots.is_empty() {
            let ids = rows(snapshots.keys().map(String::as_str))?;
            for row in self.all(&ENTITLEMENTS, vec![ids]).await? {
                if let Some(snapshot) = snapshots.get_mut(&row.text("customer_id")?) {
                    snapshot.entitlements.push(crate::entitlements::entitlement(&row)?);
                }
            }
        }
        let mut by_name = HashMap::new();
        for (id, snapshot) in snapshots {
            let snapshot = Arc::new(snapshot);
            if let Some(name) = &snapshot.external_id {
                by_name.insert(name.clone(), snapshot.clone());
            }
            by_name.insert(id, snapshot);
        }
        Ok(by_name)
    }
}
