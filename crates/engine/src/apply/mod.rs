//! Applying an event: one transaction that turns what the provider says into rows.
//!
//! An event is a hint. What it lacks is fetched before the transaction begins (`gather.rs`); inside
//! it, the order of news is judged again, so that any order and repetition of the same facts ends
//! alike. One file per noun says what follows from it.

mod charges;
mod checkout_sessions;
mod gather;
mod invoices;
mod owners;
mod payments;
mod subscriptions;

use crate::Engine;
use crate::failures::Failure;
use providers::facts::{self, Event, Fact};
use store::Tx;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Applied,
    Ignored(&'static str),
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

impl From<store::StoreError> for Stop {
    fn from(error: store::StoreError) -> Self {
        Stop::Failed(error.into())
    }
}

/// An event with everything its transaction will need.
pub(crate) struct Gathered {
    event: Event,
    session: Option<facts::CheckoutSession>,
    subscription: Option<Told>,
    invoice: Option<facts::Invoice>,
    charge: Option<facts::Charge>,
    charge_invoice: Option<String>,
}

/// A subscription and how far its description can be trusted.
struct Told {
    subscription: facts::Subscription,
    trust: Trust,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trust {
    /// Carried by an event: as old as the event.
    Carried,
    /// Fetched, or answered to a call of ours: the truth, unless our row has changed since it had
    /// this revision.
    Truth { revision: Option<i64> },
    /// The provider no longer knows it, so what the event carried has to do.
    Orphaned,
}

impl Engine {
    /// Applies what was gathered, inside the caller's transaction.
    pub(crate) async fn apply(&self, tx: &mut Tx, gathered: &Gathered) -> Result<(), Stop> {
        let at = gathered.event.created_at;
        if let Some(charge) = &gathered.charge {
            return self.charge_refunded(tx, charge, gathered.charge_invoice.as_deref(), at).await;
        }
        let mut told_anything = false;
        if let Some(session) = &gathered.session {
            self.session_told(tx, session, &gathered.event).await?;
            told_anything = true;
        }
        if let Some(told) = &gathered.subscription {
            let owner = self.owner_of_subscription(tx, &told.subscription).await?;
            tx.customers_lock(&owner.customer).await?;
            self.subscription_apply(tx, &owner, told, at).await?;
            told_anything = true;
        }
        if let Some(invoice) = &gathered.invoice {
            self.invoice_told(tx, invoice, at).await?;
            told_anything = true;
        }
        if told_anything { Ok(()) } else { Err(Stop::Ignored("the object no longer exists")) }
    }

    /// Applies a completed session that we have asked for ourselves, through the same functions as
    /// an event about it. It is as old as the session, so that no real event is mistaken for older.
    pub(crate) async fn session_fetched(
        &self,
        told: facts::CheckoutSession,
    ) -> Result<(), Failure> {
        let event = Event {
            id: told.id.clone(),
            kind: String::new(),
            created_at: told.created_at.unwrap_or(self.clock().now()),
            livemode: self.settings().livemode,
            account: None,
            api_version: None,
            object_id: Some(told.id.clone()),
            customer: told.customer.clone(),
            fact: Fact::CheckoutSession(Box::new(told)),
        };
        let gathered = self.gather(event).await?;
        let mut tx = self.store().begin("apply.fetched").await?;
        match self.apply(&mut tx, &gathered).await {
            Ok(()) => Ok(tx.commit().await?),
            Err(Stop::Failed(failure)) => Err(failure),
            // The event itself, when it comes, is kept with the reason.
            Err(Stop::Ignored(_) | Stop::Parked(_) | Stop::Changed) => Ok(()),
        }
    }
}
