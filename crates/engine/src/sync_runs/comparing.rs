//! One object of the provider against our rows: applied in a transaction, and the rows before and
//! after say what differed. Only a repair is kept.

use super::reports::{Difference, Resource};
use crate::apply::{CHANGED_TOO_OFTEN, GATHERINGS_MAX, GONE, Stop};
use crate::checkout_sessions::SESSION_KEY;
use crate::failures::Failure;
use crate::{Engine, PROVIDER};
use domain::ids::{CheckoutSessionId, CustomerId};
use domain::time::Timestamp;
use providers::facts::{Event, Fact};
use std::collections::BTreeMap;
use store::Tx;
use store::holdings::{Holdings, RowName};
use store::unsettled::UnsettledRow;

/// Whether differences are put right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    Look,
    Repair,
}

pub(super) enum Compared {
    Equal,
    Differs(Vec<Difference>),
    /// The provider has no such object.
    Gone,
    /// It concerns us, but nothing can be made of it.
    Unusable(String),
}

/// What an object says of whose it is.
#[derive(Debug, Clone, Default)]
pub(super) struct Named {
    pub customer: Option<String>,
    pub subscription: Option<String>,
    pub invoice: Option<String>,
    pub payment_intent: Option<String>,
    pub checkout_session: Option<String>,
    /// Our own id of the session, as we wrote it on everything that comes of it.
    pub reference: Option<String>,
}

/// What we know of an object before we apply it.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    pub is_ours: bool,
    session: Option<CheckoutSessionId>,
    customer: Option<CustomerId>,
}

impl Known {
    pub(super) fn is_session(&self) -> bool {
        self.session.is_some()
    }
}

/// One object to compare.
#[derive(Debug, Clone)]
pub(super) struct Subject {
    pub resource: Resource,
    pub id: String,
    pub named: Named,
    pub fact: Fact,
    /// The newest instant that the object names: since then it may differ.
    pub changed_at: Option<Timestamp>,
    /// Whether we know it from our own row, so that the provider must know it, too.
    pub is_row: bool,
}

fn reference(metadata: &BTreeMap<String, String>) -> Option<String> {
    metadata.get(SESSION_KEY).cloned()
}

impl Subject {
    /// Reads what is needed from a fact; `customer` where only the list told it.
    pub(super) fn new(fact: Fact, customer: Option<String>) -> Option<Self> {
        let mut named = Named { customer, ..Named::default() };
        let (resource, id, changed_at) = match &fact {
            Fact::CheckoutSession(told) => {
                named.customer = told.customer.clone();
                named.subscription = told.subscription.clone();
                named.payment_intent = told.payment_intent.clone();
                named.checkout_session = Some(told.id.clone());
                named.reference =
                    told.client_reference.clone().or_else(|| reference(&told.metadata));
                (Resource::CheckoutSessions, &told.id, told.created_at)
            }
            Fact::Subscription(told) => {
                named.customer = told.customer.clone();
                named.subscription = Some(told.id.clone());
                named.reference = reference(&told.metadata);
                let starts = told.items.iter().map(|item| item.period_start);
                let dates = [told.created_at, told.canceled_at, told.ended_at, told.period_start];
                let newest = starts.chain(dates).flatten().max();
                (Resource::Subscriptions, &told.id, newest)
            }
            Fact::Invoice(told) => {
                named.customer = told.customer.clone();
                named.subscription = told.subscription.clone();
                named.invoice = Some(told.id.clone());
                named.payment_intent = told.payment_intent.clone();
                named.reference = reference(&told.subscription_metadata);
                (Resource::Invoices, &told.id, told.paid_at.or(told.created_at))
            }
            Fact::Charge(told) => {
                named.customer = told.customer.clone();
                named.payment_intent = told.payment_intent.clone();
                named.reference = reference(&told.metadata);
                (Resource::Charges, &told.id, told.created_at)
            }
            Fact::Refund(told) => {
                named.payment_intent = told.payment_intent.clone();
                (Resource::Refunds, &told.id, told.created_at)
            }
            Fact::Dispute(told) => {
                named.payment_intent = told.payment_intent.clone();
                (Resource::Disputes, &told.id, told.created_at)
            }
            Fact::CreditNote(told) => {
                named.customer = told.customer.clone();
                named.invoice = told.invoice.clone();
                (Resource::CreditNotes, &told.id, told.created_at)
            }
            _ => return None,
        };
        Some(Self { resource, id: id.clone(), named, changed_at, fact, is_row: false })
    }

    /// The same object, to be fetched when it is compared.
    pub(super) fn fetched(self) -> Self {
        let object_type = match self.resource {
            Resource::CheckoutSessions => "session",
            Resource::Subscriptions => "subscription",
            Resource::Invoices => "invoice",
            Resource::Charges => "charge",
            Resource::Refunds => "refund",
            Resource::Disputes => "dispute",
            Resource::CreditNotes => "credit_note",
            Resource::Products | Resource::Prices | Resource::Events => "",
        };
        let (object_id, object_type) = (self.id.clone(), object_type.to_owned());
        Self { fact: Fact::Thin { object_id, object_type }, ..self }
    }

    /// A row of ours, to be fetched when it is compared.
    pub(super) fn row(resource: Resource, row: &UnsettledRow) -> Self {
        let (id, customer) = (row.provider_id.clone(), row.provider_customer.clone());
        let mut named = Named { customer, ..Named::default() };
        match resource {
            Resource::CheckoutSessions => named.checkout_session = Some(id.clone()),
            Resource::Subscriptions => named.subscription = Some(id.clone()),
            Resource::Invoices => named.invoice = Some(id.clone()),
            _ => {}
        }
        let (fact, changed_at) = (Fact::Unhandled, None);
        Self { resource, id, named, fact, changed_at, is_row: true }.fetched()
    }
}

/// Whether we know anything the object belongs to, and whose that is.
pub(super) async fn known(tx: &mut Tx, named: &Named) -> Result<Known, Failure> {
    let mut known = Known::default();
    if let Some(id) = &named.customer
        && let Some(customer) = tx.customers_owner(PROVIDER, id).await?
    {
        known = Known { is_ours: true, customer: Some(customer.id), session: None };
    }
    let ours = named.reference.as_deref().and_then(|id| CheckoutSessionId::parse(id).ok());
    let session = match (&ours, &named.checkout_session) {
        (Some(id), _) => tx.checkout_sessions_get(id).await?,
        (None, Some(id)) => tx.checkout_sessions_find(PROVIDER, id).await?,
        (None, None) => None,
    };
    if let Some(session) = session {
        known.is_ours = true;
        known.customer = known.customer.or(session.customer_id);
        known.session = Some(session.id);
    }
    if known.customer.is_none()
        && let Some(id) = &named.subscription
        && let Some(row) = tx.subscriptions_find(PROVIDER, id).await?
    {
        known = Known { is_ours: true, customer: Some(row.customer_id), ..known };
    }
    if known.customer.is_none()
        && let Some(id) = &named.invoice
        && let Some(row) = tx.invoices_find(PROVIDER, id).await?
    {
        known = Known { is_ours: true, customer: Some(row.customer_id), ..known };
    }
    if known.customer.is_none()
        && let Some(id) = &named.payment_intent
        && let Some(row) = tx.payments_by_intent(PROVIDER, id).await?
    {
        known = Known { is_ours: true, customer: Some(row.customer_id), ..known };
    }
    Ok(known)
}

impl Engine {
    /// What applying the object would change, or has changed.
    pub(super) async fn compare(&self, subject: &Subject, act: Act) -> Result<Compared, Failure> {
        for _ in 0..GATHERINGS_MAX {
            match self.compare_once(subject, act).await {
                Ok(compared) => return Ok(compared),
                Err(Stop::Changed) => {}
                Err(Stop::Ignored(GONE)) => return Ok(Compared::Gone),
                Err(Stop::Ignored(_) | Stop::Unclaimed(_)) => return Ok(Compared::Equal),
                Err(Stop::Parked(why)) => return Ok(Compared::Unusable(why)),
                Err(Stop::Failed(failure)) => return Err(failure),
            }
        }
        Ok(Compared::Unusable(CHANGED_TOO_OFTEN.to_owned()))
    }

    async fn compare_once(&self, subject: &Subject, act: Act) -> Result<Compared, Stop> {
        let gathered = self.gather(self.sync_event(subject)).await?;
        let mut tx = self.store().begin("sync_runs.compare").await?;
        let known_before = known(&mut tx, &subject.named).await?;
        // In the order of all locks, so that nobody changes the rows between our two looks.
        self.sessions_lock(&mut tx, &gathered).await?;
        if let Some(session) = &known_before.session {
            tx.checkout_sessions_lock(session).await?;
        }
        let before = match &known_before.customer {
            Some(customer) => {
                tx.customers_lock(customer).await?;
                tx.holdings(customer).await?
            }
            None => Holdings::new(),
        };
        self.apply(&mut tx, &gathered).await?;
        let after = match known(&mut tx, &subject.named).await?.customer {
            Some(customer) => tx.holdings(&customer).await?,
            None => Holdings::new(),
        };
        let found = differences(subject, &before, &after);
        if found.is_empty() {
            return Ok(Compared::Equal);
        }
        if act == Act::Repair {
            tx.commit().await?;
        }
        Ok(Compared::Differs(found))
    }

    /// What the provider has just said, as an event: as old as our question.
    fn sync_event(&self, subject: &Subject) -> Event {
        Event {
            id: subject.id.clone(),
            kind: String::new(),
            created_at: self.clock().now(),
            livemode: self.settings().livemode,
            account: None,
            api_version: None,
            object_id: Some(subject.id.clone()),
            customer: subject.named.customer.clone(),
            fact: subject.fact.clone(),
        }
    }
}

fn differences(subject: &Subject, before: &Holdings, after: &Holdings) -> Vec<Difference> {
    let mut found = Vec::new();
    let mut add = |name: &RowName, field: &str, ours: Option<String>, theirs: Option<String>| {
        found.push(Difference {
            resource: subject.resource,
            object: subject.id.clone(),
            row: name.kind.to_owned(),
            row_id: name.id.clone(),
            field: field.to_owned(),
            ours: ours.map(|text| shown(field, text)),
            theirs: theirs.map(|text| shown(field, text)),
        });
    };
    for (name, cells) in after {
        let Some(old) = before.get(name) else {
            if is_untouched_charge(name, cells) {
                continue;
            }
            let status = cells.get("status").cloned().flatten();
            add(name, "exists", None, Some(status.unwrap_or_else(|| "yes".to_owned())));
            continue;
        };
        for (field, new) in cells {
            let was = old.get(field).cloned().flatten();
            if was != *new {
                add(name, field, was, new.clone());
            }
        }
    }
    for name in before.keys().filter(|name| !after.contains_key(*name)) {
        add(name, "exists", Some("yes".to_owned()), None);
    }
    found
}

/// A page tells of its purchase without the charge behind it, which is written when something of it
/// goes back.
fn is_untouched_charge(name: &RowName, cells: &BTreeMap<&'static str, Option<String>>) -> bool {
    let back = cells.get("amount_refunded").cloned().flatten();
    name.kind == "charge" && back.as_deref() == Some("0")
}

/// Instants are stored as microseconds, which nobody reads.
fn shown(field: &str, text: String) -> String {
    let is_instant = ["_at", "_start", "_end", "_until"].iter().any(|end| field.ends_with(end))
        && !field.starts_with("cancel_at_period");
    match text.parse() {
        Ok(micros) if is_instant => Timestamp::from_micros(micros).to_string(),
        _ => text,
    }
}
