//! Whose something is: through the session it was bought in, else through the provider's customer.

use super::{Gathered, Stop};
use crate::checkout_sessions::{CUSTOMER_KEY, SESSION_KEY};
use crate::{Engine, PROVIDER};
use domain::ids::{CheckoutSessionId, CustomerId};
use providers::facts;
use std::collections::{BTreeMap, BTreeSet};
use store::Tx;
use store::checkout_sessions::CheckoutSession;

/// Whose something is, and through which of our sessions it was bought.
pub(super) struct Owner {
    pub customer: CustomerId,
    pub session: Option<CheckoutSession>,
}

impl Engine {
    /// Locks the sessions that what was gathered was bought in, before any customer is locked.
    /// A page that comes alone is locked where it is looked up.
    pub(crate) async fn sessions_lock(&self, tx: &mut Tx, gathered: &Gathered) -> Result<(), Stop> {
        if gathered.is_only_a_page() {
            return Ok(());
        }
        let subscriptions = gathered.subscriptions.iter().map(|told| &told.object.metadata);
        let invoices = gathered.invoices.iter().map(|told| &told.object.subscription_metadata);
        let charge = gathered.movement.charge.iter().map(|(charge, _)| &charge.metadata);
        let page = gathered.session.iter();
        let named = subscriptions
            .chain(invoices)
            .chain(charge)
            .chain(page.clone().map(|told| &told.metadata))
            .filter_map(|metadata| metadata.get(SESSION_KEY))
            .chain(page.filter_map(|told| told.client_reference.as_ref()));
        let ids = named.filter_map(|id| CheckoutSessionId::parse(id).ok());
        for id in ids.collect::<BTreeSet<_>>() {
            tx.checkout_sessions_lock(&id).await?;
        }
        Ok(())
    }

    /// Whose a subscription is: through the session it was bought in, else through its customer.
    pub(super) async fn owner_of_subscription(
        &self,
        tx: &mut Tx,
        told: &facts::Subscription,
    ) -> Result<Owner, Stop> {
        if let Some(held) = tx.subscriptions_find(PROVIDER, &told.id).await? {
            let session = tx.checkout_sessions_by_subscription(&told.id).await?;
            return Ok(Owner { customer: held.customer_id, session });
        }
        let provider_customer = told.customer.as_deref();
        self.owner(tx, Some(&told.id), provider_customer, &told.metadata).await
    }

    pub(super) async fn owner(
        &self,
        tx: &mut Tx,
        subscription: Option<&str>,
        provider_customer: Option<&str>,
        metadata: &BTreeMap<String, String>,
    ) -> Result<Owner, Stop> {
        let mut session = match subscription {
            Some(id) => tx.checkout_sessions_by_subscription(id).await?,
            None => None,
        };
        if session.is_none() {
            session = session_of(tx, metadata).await?;
        }
        let linked = match provider_customer {
            Some(id) => tx.customers_owner(PROVIDER, id).await?.map(|customer| customer.id),
            None => None,
        };
        let bought_by = session.as_ref().and_then(|session| session.customer_id.clone());
        let customer = match (linked, bought_by, &mut session) {
            (Some(customer), _, _) | (None, Some(customer), _) => customer,
            (None, None, Some(session)) => {
                // A guest's subscription arrived before the session that completes it.
                let customer = match self.customer_of_browser(tx, session).await? {
                    Some(id) => id,
                    None => self.customer_for_guest(tx, session.email.as_deref(), None).await?.id,
                };
                session.customer_id = Some(customer.clone());
                tx.checkout_sessions_settle(session).await?;
                customer
            }
            (None, None, None) => {
                return Err(Stop::Parked("the customer is nobody we know".to_owned()));
            }
        };
        // A foreign object cannot claim somebody else's session by copying its metadata.
        session = session.filter(|session| session.customer_id.as_ref() == Some(&customer));
        if let Some(id) = provider_customer {
            self.link(tx, id, &customer).await?;
        }
        Ok(Owner { customer, session })
    }

    /// Remembers a counterpart that the provider has told us of.
    pub(super) async fn link(
        &self,
        tx: &mut Tx,
        provider_id: &str,
        customer: &CustomerId,
    ) -> Result<(), Stop> {
        if tx.customers_owner(PROVIDER, provider_id).await?.is_some() {
            return Ok(());
        }
        let generation = match tx.customers_linked(PROVIDER, customer).await? {
            Some((_, generation)) => generation + 1,
            None => 0,
        };
        let now = self.clock().now();
        tx.customers_link(PROVIDER, provider_id, customer, generation, now).await?;
        Ok(())
    }
}

/// The session we wrote, by the provider's id, or by our own that the provider gives back.
pub(super) async fn our_session(
    tx: &mut Tx,
    provider_session_id: &str,
    told: &facts::CheckoutSession,
) -> Result<Option<CheckoutSession>, Stop> {
    let reference =
        told.client_reference.as_deref().and_then(|id| CheckoutSessionId::parse(id).ok());
    let named = match reference {
        Some(id) => tx.checkout_sessions_lock(&id).await?,
        None => session_of(tx, &told.metadata).await?,
    };
    let counterpart = named.as_ref().and_then(|session| session.provider_session_id.as_deref());
    if counterpart == Some(provider_session_id) {
        return Ok(named);
    }
    if let Some(found) = tx.checkout_sessions_find(PROVIDER, provider_session_id).await? {
        return Ok(tx.checkout_sessions_lock(&found.id).await?);
    }
    // A session that has its counterpart is not also another one's.
    Ok(named.filter(|session| session.provider_session_id.is_none()))
}

/// The session that something came of, by what we wrote on it.
pub(super) async fn session_of(
    tx: &mut Tx,
    metadata: &BTreeMap<String, String>,
) -> Result<Option<CheckoutSession>, Stop> {
    let id = metadata.get(SESSION_KEY).and_then(|id| CheckoutSessionId::parse(id).ok());
    let Some(id) = id else {
        return Ok(None);
    };
    let session = tx.checkout_sessions_lock(&id).await?;
    let customer = metadata.get(CUSTOMER_KEY);
    Ok(session.filter(|session| match (&session.customer_id, customer) {
        (Some(ours), Some(told)) => ours.as_str() == told,
        _ => true,
    }))
}
