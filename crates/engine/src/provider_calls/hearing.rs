//! Hearing: what the provider answered becomes rows in the transaction that settles the call.

use super::asking::Answer;
use super::{Outcome, unsettled};
use crate::failures::Failure;
use crate::{Engine, PROVIDER};
use domain::codes::Code;
use domain::ids::CustomerId;
use providers::facts;
use store::Tx;
use store::provider_calls::{CallState, ProviderCall};
use store::subscriptions::Subscription;

/// How often the provider is asked again because our row has changed meanwhile.
const TELLINGS_MAX: u32 = 3;

impl Engine {
    pub(super) async fn call_hear(
        &self,
        call: &ProviderCall,
        answer: Answer,
    ) -> Result<ProviderCall, Failure> {
        match answer {
            Answer::Customer { customer, id } => self.call_linked(call, &customer, &id).await,
            Answer::Subscription { told, seen } => {
                self.call_subscription_told(call, told, seen.map(|seen| *seen)).await
            }
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
        tracing::info!(call.id = %call.id, call.kind = call.kind, "the provider did what was asked");
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

    async fn call_subscription_told(
        &self,
        call: &ProviderCall,
        mut told: facts::Subscription,
        mut seen: Option<Subscription>,
    ) -> Result<ProviderCall, Failure> {
        let id = told.id.clone();
        for _ in 0..TELLINGS_MAX {
            let mut tx = self.store().begin("provider_calls.told").await?;
            let Some(held) = &seen else {
                // We know nothing of it yet: its own events will tell.
                return self.call_done(tx, call, &id).await;
            };
            tx.customers_lock(&held.customer_id).await?;
            if self.subscription_told(&mut tx, held, told).await? {
                return self.call_done(tx, call, &id).await;
            }
            // An event was applied between our look and the answer: ask for what is true now.
            seen = tx.subscriptions_find(PROVIDER, &id).await?;
            drop(tx);
            told = self.provider()?.subscription(&id).await?;
        }
        Err(Failure::Provider {
            code: Code::OutcomeUnknown,
            detail: "the subscription keeps changing; repeat the request".to_owned(),
        })
    }
}
