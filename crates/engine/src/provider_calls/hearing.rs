//! Hearing: what the provider answered becomes rows in the transaction that settles the call.

use super::asking::Answer;
use super::{Outcome, Wish, unsettled};
use crate::apply::Outcome as Applied;
use crate::failures::Failure;
use crate::subscriptions::ends_with_period;
use crate::{Engine, PROVIDER};
use domain::codes::Code;
use domain::ids::CustomerId;
use domain::time::Timestamp;
use providers::facts::Fact;
use store::Tx;
use store::provider_calls::{CallState, ProviderCall};
use store::subscriptions::Subscription;

impl Engine {
    pub(super) async fn call_hear(
        &self,
        call: &ProviderCall,
        answer: Answer,
    ) -> Result<ProviderCall, Failure> {
        match answer {
            Answer::Customer { customer, id } => self.call_linked(call, &customer, &id).await,
            Answer::Refund { id } => self.call_told(call, thin("refund", id)).await,
            Answer::Subscription { id } => self.call_told(call, thin("subscription", id)).await,
        }
    }

    /// Marks the call done and commits; a lease that has passed on takes everything back.
    async fn call_done(
        &self,
        mut tx: Tx,
        call: &ProviderCall,
        object: &str,
    ) -> Result<ProviderCall, Failure> {
        let wall = self.clock().wall();
        let outcome = Outcome::of(object).text();
        if !tx.provider_calls_finish(call, CallState::Done, &outcome, wall).await? {
            return Err(unsettled());
        }
        let settled = tx.provider_calls_get(&call.id).await?.ok_or_else(unsettled)?;
        tx.commit().await?;
        let (id, kind) = (&call.id, &call.kind);
        tracing::info!(call.id = %id, call.kind = kind, "the provider did what was asked");
        Ok(settled)
    }

    async fn call_linked(
        &self,
        call: &ProviderCall,
        customer: &str,
        id: &str,
    ) -> Result<ProviderCall, Failure> {
        let customer = CustomerId::parse(customer).map_err(|error| Failure::Provider {
            code: Code::ProviderRefused,
            detail: error.to_string(),
        })?;
        let mut tx = self.store().begin("customers.link").await?;
        tx.customers_lock(&customer).await?;
        // Its own event may have told us of it before.
        if tx.customers_owner(PROVIDER, id).await?.is_none() {
            let linked = tx.customers_linked(PROVIDER, &customer).await?;
            let generation = linked.map_or(0, |(_, generation)| generation + 1);
            let now = self.clock().now();
            tx.customers_link(PROVIDER, id, &customer, generation, now).await?;
        }
        self.call_done(tx, call, id).await
    }

    /// What is true of an object now, with what belongs to it: asked for anew, because events may
    /// have overtaken the answer.
    async fn call_told(&self, call: &ProviderCall, thin: Fact) -> Result<ProviderCall, Failure> {
        let Fact::Thin { object_id, .. } = &thin else {
            return Err(unsettled());
        };
        let id = object_id.clone();
        match self.apply_fetched(&id, thin).await? {
            // What could not be applied now is kept with its own event.
            Applied::Applied | Applied::Ignored(_) | Applied::Unclaimed(_) | Applied::Parked(_) => {
            }
            Applied::Later(why) | Applied::Again(why) => {
                return Err(Failure::Provider { code: Code::OutcomeUnknown, detail: why });
            }
        }
        let mut tx = self.store().begin("provider_calls.told").await?;
        // Another replica may have applied it first, and what is kept here is from before.
        if let Some(customer) = &call.customer_id {
            tx.access_changed(customer);
        }
        self.call_done(tx, call, &id).await
    }

    /// A call that was refused may have changed something on its way. Where the provider cannot be
    /// asked now, the events of what changed will tell.
    pub(super) async fn call_reread(&self, subscription: &str) {
        let told = thin("subscription", subscription.to_owned());
        if let Err(failure) = self.apply_fetched(subscription, told).await {
            tracing::warn!(subscription, %failure, "a subscription could not be read again");
        }
    }

    /// A subscription has been told to end with its period: whoever takes that back afterwards is
    /// not overruled by a wish whose own answer was lost.
    pub(crate) async fn end_heard(&self, tx: &mut Tx, row: &Subscription) -> Result<(), Failure> {
        if !ends_with_period(row) || row.status.is_terminal() {
            return Ok(());
        }
        let wish = Wish::SubscriptionEnd { subscription: row.provider_subscription_id.clone() };
        let (now, wall) = (self.clock().now(), self.clock().wall());
        // The row's age is on the business clock, and events are told in whole seconds.
        let age_micros = now.micros() - row.as_of.micros();
        let told_at = Timestamp::from_micros(wall.micros() - age_micros).plus_seconds(1);
        tx.provider_calls_hear(row.id.as_str(), wish.kind(), told_at, wall).await?;
        Ok(())
    }
}

fn thin(kind: &str, id: String) -> Fact {
    Fact::Thin { object_id: id, object_type: kind.to_owned() }
}
