//! Hearing: what the provider answered becomes rows in the transaction that settles the call.

use super::asking::Answer;
use super::{Outcome, unsettled};
use crate::apply::Outcome as Applied;
use crate::failures::Failure;
use crate::{Engine, PROVIDER};
use domain::codes::Code;
use domain::ids::CustomerId;
use providers::facts::Fact;
use store::Tx;
use store::provider_calls::{CallState, ProviderCall};

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
            Applied::Applied | Applied::Ignored(_) | Applied::Parked(_) => {}
            Applied::Later(why) | Applied::Again(why) => {
                return Err(Failure::Provider { code: Code::OutcomeUnknown, detail: why });
            }
        }
        let tx = self.store().begin("provider_calls.told").await?;
        self.call_done(tx, call, &id).await
    }
}

fn thin(kind: &str, id: String) -> Fact {
    Fact::Thin { object_id: id, object_type: kind.to_owned() }
}
