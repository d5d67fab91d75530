//! Applying an event: one transaction that turns what the provider says into rows.
//!
//! An event is a hint. What it lacks is fetched before the transaction begins (`gather.rs`); inside
//! it, the order of news is judged again, so that any order and repetition of the same facts ends
//! alike. One file per noun says what follows from it.

mod charges;
mod checkout_sessions;
mod credit_notes;
mod customers;
mod disputes;
mod earlier;
mod entitlements;
mod gather;
mod invoices;
pub(crate) mod movements;
mod owners;
mod payments;
pub(crate) mod purchases;
mod refunds;
mod subscriptions;

use crate::Engine;
use crate::failures::Failure;
use domain::time::Timestamp;
use providers::errors::ProviderError;
use providers::facts::{self, Event, Fact, SessionStatus};
use store::Tx;

/// How often one attempt gathers anew because the rows have changed under it.
pub(crate) const GATHERINGS_MAX: u32 = 3;
/// What is said of an object that the provider does not have, or has and means nothing by.
pub(crate) const GONE: &str = "nothing follows from it";
const FOREIGN_MONEY: &str = "nothing of ours was bought with this money";
pub(crate) const CHANGED_TOO_OFTEN: &str = "the same rows keep being changed by others";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Applied,
    Ignored(&'static str),
    /// Looked at once more before it is ignored.
    Unclaimed(&'static str),
    /// Set aside where an operator sees it; replaying it may work once the cause is mended.
    Parked(String),
    /// Not now: something outside was busy or silent. However long that lasts, nothing is lost.
    Later(String),
    /// Not so: something else changed the same rows meanwhile.
    Again(String),
}

/// Why applying stopped.
pub(crate) enum Stop {
    Ignored(&'static str),
    /// The same, but what it belongs to may not have been told yet.
    Unclaimed(&'static str),
    Parked(String),
    /// What was gathered is out of date.
    Changed,
    Failed(Failure),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Stop::Failed(failure)
    }
}

impl From<ProviderError> for Stop {
    fn from(error: ProviderError) -> Self {
        Stop::Failed(error.into())
    }
}

impl From<store::StoreError> for Stop {
    fn from(error: store::StoreError) -> Self {
        Stop::Failed(error.into())
    }
}

/// An event with everything its transaction will need.
pub(crate) struct Gathered {
    event: Event,
    session: Option<facts::CheckoutSession>,
    subscriptions: Vec<Told<facts::Subscription>>,
    /// The plan for what the subscription becomes, where it was looked up.
    schedule: Option<facts::Schedule>,
    invoices: Vec<Told<facts::Invoice>>,
    movement: movements::MovementTold,
    /// Subscriptions that the provider no longer knows at all.
    lost: Vec<String>,
}

/// An object and how far its description can be trusted.
struct Told<T> {
    object: T,
    trust: Trust,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trust {
    /// Carried by an event: as old as the event.
    Carried,
    /// Fetched, or answered to a call of ours: the truth, unless our row has changed since it had
    /// this revision.
    Truth { revision: Option<i64>, asked_at: Timestamp },
    /// The provider no longer knows it, so what the event carried has to do.
    Orphaned,
}

impl<T> Told<T> {
    fn as_of(&self, at: Timestamp) -> Timestamp {
        self.trust.as_of(at)
    }
}

impl Trust {
    /// How old the description is: what was fetched is as new as our question.
    fn as_of(self, at: Timestamp) -> Timestamp {
        match self {
            Trust::Truth { asked_at, .. } => asked_at.max(at),
            Trust::Carried | Trust::Orphaned => at,
        }
    }

    /// Whether it is the truth about our row, which has this revision. What was asked for before
    /// the row was written is thrown away and asked for again. An event's word is no truth: what
    /// that is worth depends on the kind of object.
    fn is_truth(self, held: Option<i64>) -> Result<bool, Stop> {
        match self {
            Trust::Truth { revision, .. } if revision == held => Ok(true),
            Trust::Truth { .. } => Err(Stop::Changed),
            Trust::Carried | Trust::Orphaned => Ok(false),
        }
    }
}

impl Gathered {
    /// When what was bought on a page was paid. What other news told of it is as old as its charge,
    /// however late they came.
    fn paid_at(&self) -> Timestamp {
        let heard = self.event.created_at;
        let own = matches!(self.event.fact, Fact::CheckoutSession(_));
        if own && !self.event.kind.is_empty() {
            return heard;
        }
        let charge = self.movement.charge.as_ref();
        charge.and_then(|(charge, _)| charge.created_at).map_or(heard, |at| at.min(heard))
    }

    fn of(event: Event) -> Self {
        Self {
            event,
            session: None,
            subscriptions: Vec::new(),
            schedule: None,
            invoices: Vec::new(),
            movement: Default::default(),
            lost: Vec::new(),
        }
    }

    /// Money can be told a moment before the page on which it was paid is complete.
    fn is_ahead_of_its_page(&self) -> bool {
        let open = self.session.as_ref().is_some_and(|it| it.status == SessionStatus::Open);
        open && self.movement.charge.is_some()
    }

    /// Whether a page is all there is.
    fn is_only_a_page(&self) -> bool {
        let others = !self.subscriptions.is_empty() || !self.invoices.is_empty();
        self.session.is_some() && !others && self.movement.is_empty()
    }

    fn is_about_a_subscription(&self) -> bool {
        let about = self.event.object_id.as_ref();
        self.subscriptions.iter().any(|told| about == Some(&told.object.id))
    }

    fn is_empty(&self) -> bool {
        let nothing = self.session.is_none() && self.movement.is_empty();
        nothing && self.subscriptions.is_empty() && self.invoices.is_empty()
    }
}

impl Engine {
    /// Applies what was gathered, inside the caller's transaction.
    pub(crate) async fn apply(&self, tx: &mut Tx, gathered: &Gathered) -> Result<(), Stop> {
        let at = gathered.event.created_at;
        if gathered.event.fact == Fact::EventsMissing {
            return Ok(self.sync_demand(tx).await?);
        }
        self.sessions_lock(tx, gathered).await?;
        if let Fact::CustomerDeleted { customer } = &gathered.event.fact {
            self.customer_deleted(tx, gathered, customer, at).await?;
        } else if gathered.is_empty() {
            return match gathered.movement.is_known {
                true => Ok(()),
                false => Err(Stop::Ignored(GONE)),
            };
        }
        if tells_of_money(&gathered.event.fact) && !self.money_is_ours(tx, gathered).await? {
            return Err(Stop::Ignored("the money belongs to nobody we know"));
        }
        if gathered.is_ahead_of_its_page() {
            return Err(Stop::Changed);
        }
        if let Some(session) = &gathered.session {
            self.session_told(tx, session, gathered).await?;
        }
        for told in &gathered.subscriptions {
            let owner = self.owner_of_subscription(tx, &told.object).await?;
            tx.customers_lock(&owner.customer).await?;
            self.subscription_apply(tx, &owner, told, gathered.schedule.as_ref(), at).await?;
        }
        if gathered.event.kind == "invoice.finalization_failed" {
            let invoice = gathered.event.object_id.as_deref().unwrap_or_default();
            tracing::error!(invoice, "the provider cannot finalise an invoice: nobody is charged");
        }
        for told in &gathered.invoices {
            match self.invoice_told(tx, &told.object, told.as_of(at)).await {
                // It waits for an event of its own; a subscription's end does not wait with it.
                Err(Stop::Parked(why)) if gathered.is_about_a_subscription() => {
                    tracing::warn!(invoice = %told.object.id, why, "an invoice was left for later");
                    continue;
                }
                outcome => outcome?,
            }
            let about = gathered.event.object_id.as_ref() == Some(&told.object.id);
            let kind = if about { gathered.event.kind.as_str() } else { "" };
            self.tell_invoice(tx, &told.object.id, kind).await?;
        }
        let told = self.movement_told(tx, gathered, at).await?;
        let bought = gathered.session.is_some() || !gathered.invoices.is_empty();
        if told || bought {
            return Ok(());
        }
        if gathered.movement.has_gone_back() {
            return Err(Stop::Unclaimed(FOREIGN_MONEY));
        }
        match tells_of_money(&gathered.event.fact) {
            true => Err(Stop::Ignored(FOREIGN_MONEY)),
            false => Ok(()),
        }
    }

    /// Applies an object that we have asked for ourselves, through the same functions as an event
    /// about it. It is as old as our question: what comes of it is the provider's word now.
    pub(crate) async fn apply_fetched(&self, id: &str, fact: Fact) -> Result<Outcome, Failure> {
        let event = Event {
            id: id.to_owned(),
            kind: String::new(),
            created_at: self.clock().now(),
            livemode: self.settings().livemode,
            account: None,
            api_version: None,
            object_id: Some(id.to_owned()),
            customer: None,
            fact,
        };
        for _ in 0..GATHERINGS_MAX {
            let gathered = match self.gather(event.clone()).await {
                Ok(gathered) => gathered,
                Err(Stop::Failed(failure)) => return Err(failure),
                Err(Stop::Ignored(why) | Stop::Unclaimed(why)) => return Ok(Outcome::Ignored(why)),
                Err(Stop::Parked(why)) => return Ok(Outcome::Parked(why)),
                Err(Stop::Changed) => continue,
            };
            let mut tx = self.store().begin("apply.fetched").await?;
            match self.apply(&mut tx, &gathered).await {
                Ok(()) => {
                    tx.commit().await?;
                    return Ok(Outcome::Applied);
                }
                Err(Stop::Failed(failure)) => return Err(failure),
                Err(Stop::Ignored(why) | Stop::Unclaimed(why)) => return Ok(Outcome::Ignored(why)),
                Err(Stop::Parked(why)) => return Ok(Outcome::Parked(why)),
                Err(Stop::Changed) => {}
            }
        }
        Ok(Outcome::Again(CHANGED_TOO_OFTEN.to_owned()))
    }

    /// A payment page that was completed without our having heard of it.
    pub(crate) async fn session_fetched(
        &self,
        told: facts::CheckoutSession,
    ) -> Result<(), Failure> {
        let id = told.id.clone();
        // The event itself, when it comes, is kept with the reason if this was not applied.
        self.apply_fetched(&id, Fact::CheckoutSession(Box::new(told))).await.map(drop)
    }
}

/// Whether an event is about money alone: such money need not be ours.
fn tells_of_money(fact: &Fact) -> bool {
    matches!(
        fact,
        Fact::PaymentIntent(_)
            | Fact::Charge(_)
            | Fact::Refund(_)
            | Fact::Dispute(_)
            | Fact::CreditNote(_)
            | Fact::InvoicePayment(_)
    )
}
