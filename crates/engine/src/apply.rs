//! Applying an event: one transaction that turns what the provider says into rows.
//!
//! An event is a hint. What it lacks is fetched before the transaction begins; inside it, the order
//! of news is judged again, so that any order and repetition of the same facts ends alike.

use crate::allowances::{PaidPeriod, trial_period};
use crate::checkout_sessions::{CUSTOMER_KEY, SESSION_KEY, settled};
use crate::clock::random;
use crate::failures::Failure;
use crate::{Engine, PROVIDER};
use domain::catalogue::Grants;
use domain::entitlements::Entitlement;
use domain::ids::{
    CheckoutSessionId, CustomerId, EntitlementId, InvoiceId, PaymentId, SubscriptionId,
    SubscriptionItemId,
};
use domain::money::{Currency, Money};
use domain::subscriptions::{AccessFacts, Known, News, Status, access, news, outranks};
use domain::time::{Interval, Period, Timestamp, Unit};
use providers::errors::ProviderError;
use providers::facts::{self, Event, Fact, InvoiceStatus, SessionPayment};
use std::collections::BTreeMap;
use store::Tx;
use store::checkout_sessions::{CheckoutSession, Mode, SessionStatus};
use store::invoices::Invoice;
use store::payments::{Payment, PaymentStatus};
use store::prices::Price;
use store::subscriptions::{Subscription, SubscriptionItem};

/// What became of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Applied,
    Ignored(&'static str),
    /// Set aside where an operator sees it; replaying it may work once the cause is mended.
    Parked(String),
    /// Not now: something outside was busy or silent.
    Later(String),
}

/// Why applying stopped.
pub(crate) enum Stop {
    Ignored(&'static str),
    Parked(String),
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
    /// Just fetched: the truth.
    Fetched,
    /// The provider no longer knows it, so what the event carried has to do.
    Orphaned,
}

/// Whose something is, and through which of our sessions it was bought.
struct Owner {
    customer: CustomerId,
    session: Option<CheckoutSession>,
}

impl Engine {
    /// Fetches what the event does not carry. Runs outside any transaction.
    pub(crate) async fn gather(&self, event: Event) -> Result<Gathered, Failure> {
        let mut gathered = Gathered {
            session: None,
            subscription: None,
            invoice: None,
            charge: None,
            charge_invoice: None,
            event,
        };
        match gathered.event.fact.clone() {
            Fact::CheckoutSession(session) => {
                if let Some(id) = &session.subscription {
                    gathered.subscription = self.fetch_subscription(id, None).await?;
                }
                let told = gathered.subscription.as_ref().map(|told| &told.subscription);
                let latest = told.and_then(|subscription| subscription.latest_invoice.clone());
                if let Some(id) = session.invoice.clone().or(latest) {
                    gathered.invoice = self.fetch_invoice(&id).await?;
                }
                gathered.session = Some(*session);
            }
            Fact::Invoice(invoice) if !invoice.lines_complete => {
                let fetched = self.fetch_invoice(&invoice.id).await?;
                gathered.invoice = Some(fetched.unwrap_or(*invoice));
            }
            Fact::Invoice(invoice) => gathered.invoice = Some(*invoice),
            Fact::Subscription(carried) => {
                gathered.subscription = self.gather_subscription(&gathered.event, *carried).await?;
            }
            Fact::Charge(charge) => {
                gathered.charge_invoice = match (&charge.invoice, &charge.payment_intent) {
                    (Some(invoice), _) => Some(invoice.clone()),
                    (None, Some(intent)) => self.fetch_invoice_of(intent).await?,
                    (None, None) => None,
                };
                gathered.charge = Some(*charge);
            }
            Fact::Thin { object_id, object_type } => {
                self.gather_thin(&mut gathered, &object_id, &object_type).await?;
            }
            Fact::Unhandled => {}
        }
        Ok(gathered)
    }

    async fn gather_subscription(
        &self,
        event: &Event,
        carried: facts::Subscription,
    ) -> Result<Option<Told>, Failure> {
        let mut tx = self.store().read("apply.known").await?;
        let held = tx.subscriptions_find(PROVIDER, &carried.id).await?;
        drop(tx);
        let known = held.map(|held| Known { status: held.status, as_of: held.as_of });
        let doubt = news(known.as_ref(), event.created_at) == News::Doubt
            || carried.status.is_none()
            || !carried.items_complete;
        if doubt {
            let id = carried.id.clone();
            return self.fetch_subscription(&id, Some(carried)).await;
        }
        Ok(Some(Told { subscription: carried, trust: Trust::Carried }))
    }

    async fn gather_thin(
        &self,
        gathered: &mut Gathered,
        object_id: &str,
        object_type: &str,
    ) -> Result<(), Failure> {
        match object_type.rsplit('.').next().unwrap_or_default() {
            "subscription" => {
                gathered.subscription = self.fetch_subscription(object_id, None).await?;
            }
            "invoice" => gathered.invoice = self.fetch_invoice(object_id).await?,
            "session" => {
                let fetched = self.provider()?.checkout_session(object_id).await;
                gathered.session = known(fetched)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// The provider's word, or what was carried where it no longer has one.
    async fn fetch_subscription(
        &self,
        id: &str,
        carried: Option<facts::Subscription>,
    ) -> Result<Option<Told>, Failure> {
        let fetched = known(self.provider()?.subscription(id).await)?;
        let told = |subscription, trust| Told { subscription, trust };
        Ok(match fetched {
            Some(subscription) => Some(told(subscription, Trust::Fetched)),
            None => carried.map(|subscription| told(subscription, Trust::Orphaned)),
        })
    }

    async fn fetch_invoice(&self, id: &str) -> Result<Option<facts::Invoice>, Failure> {
        Ok(known(self.provider()?.invoice(id).await)?)
    }

    async fn fetch_invoice_of(&self, intent: &str) -> Result<Option<String>, Failure> {
        let answer = self.provider()?.invoice_of_payment_intent(intent).await;
        Ok(known(answer)?.flatten())
    }

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

    // Sessions.

    async fn session_told(
        &self,
        tx: &mut Tx,
        told: &facts::CheckoutSession,
        event: &Event,
    ) -> Result<(), Stop> {
        let Some(mut session) = our_session(tx, &told.id, told).await? else {
            let linked = match &told.customer {
                Some(id) => tx.customers_owner(PROVIDER, id).await?,
                None => None,
            };
            return Err(match linked {
                Some(_) => Stop::Ignored("the session is not ours"),
                None => Stop::Parked("the session belongs to nobody we know".to_owned()),
            });
        };
        if told.status == facts::SessionStatus::Expired {
            session.status = settled(session.status, SessionStatus::Expired);
            session.updated_at = self.clock().now();
            return Ok(tx.checkout_sessions_settle(&session).await?);
        }
        if told.status != facts::SessionStatus::Complete {
            return Err(Stop::Ignored("the session is still open"));
        }
        let customer = self.session_customer(tx, &mut session, told).await?;
        tx.customers_lock(&customer).await?;
        let paid = matches!(told.payment, SessionPayment::Paid | SessionPayment::NotRequired);
        let status = match event.kind.rsplit('.').next().unwrap_or_default() {
            "async_payment_failed" => SessionStatus::Failed,
            _ if paid => SessionStatus::Complete,
            _ => SessionStatus::Processing,
        };
        session.status = settled(session.status, status);
        session.provider_payment_intent_id =
            told.payment_intent.clone().or(session.provider_payment_intent_id);
        session.provider_subscription_id =
            told.subscription.clone().or(session.provider_subscription_id);
        session.updated_at = self.clock().now();
        tx.checkout_sessions_settle(&session).await?;
        if session.provider_session_id.is_none() {
            let now = self.clock().now();
            let url = told.url.as_deref();
            tx.checkout_sessions_opened(&session.id, &told.id, url, now).await?;
        }
        if session.mode == Mode::Payment {
            self.purchase_told(tx, &session, &customer, told, event.created_at).await?;
        }
        Ok(())
    }

    /// The session's customer; for a guest, the one that the completed session makes.
    async fn session_customer(
        &self,
        tx: &mut Tx,
        session: &mut CheckoutSession,
        told: &facts::CheckoutSession,
    ) -> Result<CustomerId, Stop> {
        let linked = match &told.customer {
            Some(id) => tx.customers_owner(PROVIDER, id).await?.map(|customer| customer.id),
            None => None,
        };
        let customer = match (&session.customer_id, linked) {
            (Some(id), _) => id.clone(),
            (None, Some(id)) => id,
            (None, None) => {
                let (email, name) = (told.email.as_deref(), told.name.as_deref());
                self.customer_for_guest(tx, email, name).await?.id
            }
        };
        session.customer_id = Some(customer.clone());
        if let Some(id) = &told.customer {
            self.link(tx, id, &customer).await?;
        }
        Ok(customer)
    }

    /// Remembers a counterpart that the provider has told us of.
    async fn link(
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

    /// A one-time purchase: the money first, then what it grants.
    async fn purchase_told(
        &self,
        tx: &mut Tx,
        session: &CheckoutSession,
        customer: &CustomerId,
        told: &facts::CheckoutSession,
        at: Timestamp,
    ) -> Result<(), Stop> {
        let fact = told.payment_intent.as_deref().unwrap_or(&told.id);
        let currency = told.currency.as_deref().map(Currency::parse).transpose();
        let currency = match currency {
            Ok(currency) => currency.unwrap_or_else(|| session.amount.currency()),
            Err(error) => return Err(Stop::Parked(error.to_string())),
        };
        let minor = told.amount_total.unwrap_or(session.amount.minor()).max(0);
        let mut payment = match tx.payments_find(PROVIDER, fact).await? {
            Some(held) => held,
            None => {
                let new = self.payment(customer, fact, Money::new(minor, currency));
                tx.payments_insert(&new).await?;
                new
            }
        };
        payment.amount = Money::new(minor, payment.amount.currency());
        payment.provider_payment_intent_id =
            told.payment_intent.clone().or(payment.provider_payment_intent_id);
        payment.provider_session_id = Some(told.id.clone());
        payment.price_id = Some(session.price_id.clone());
        let status = match session.status {
            SessionStatus::Complete => PaymentStatus::Paid,
            SessionStatus::Failed => PaymentStatus::Failed,
            _ => PaymentStatus::Pending,
        };
        self.payment_settle(tx, &mut payment, status, at).await?;
        if session.status != SessionStatus::Complete {
            return Ok(());
        }
        let quantity = i64::from(session.quantity);
        self.grant_pack(tx, &payment, &session.grants, quantity).await?;
        self.unlock_once(tx, &payment, &session.grants).await?;
        self.withdraw_refunded(tx, &payment).await?;
        self.relock_refunded(tx, &payment).await
    }

    /// Features that a one-time price unlocks, for its days from payment on; a second purchase
    /// before the first has ended goes on where that one ends.
    async fn unlock_once(
        &self,
        tx: &mut Tx,
        payment: &Payment,
        grants: &Grants,
    ) -> Result<(), Stop> {
        let source = format!("payment:{}", payment.id);
        let now = self.clock().now();
        let granted = tx.entitlements_of_source(&source).await?;
        for grant in &grants.features {
            if granted.iter().any(|held| held.feature == grant.feature) {
                continue;
            }
            let paid_at = payment.paid_at.unwrap_or(now);
            let ends_at = match grant.days {
                None => None,
                Some(days) => {
                    let held = tx.entitlements_of_feature(&payment.customer_id, &grant.feature);
                    let bought = held.await?.into_iter().filter(|held| {
                        held.source.starts_with("payment:") && held.revoked_at.is_none()
                    });
                    let from = bought.filter_map(|held| held.ends_at).fold(paid_at, Ord::max);
                    Some(Interval { unit: Unit::Day, count: days }.after(from, 1))
                }
            };
            let new = Entitlement {
                feature: grant.feature.clone(),
                source: source.clone(),
                starts_at: paid_at,
                ends_at,
                revoked_at: None,
            };
            let id = EntitlementId::new(self.clock().wall(), random());
            tx.entitlements_add(&id, &payment.customer_id, &new, now).await?;
        }
        Ok(())
    }

    /// Access does not outlive the money it was bought with.
    async fn relock_refunded(&self, tx: &mut Tx, payment: &Payment) -> Result<(), Stop> {
        if payment.status == PaymentStatus::Refunded {
            let source = format!("payment:{}", payment.id);
            tx.entitlements_revoke(&source, self.clock().now()).await?;
        }
        Ok(())
    }

    // Payments.

    fn payment(&self, customer: &CustomerId, fact: &str, amount: Money) -> Payment {
        let now = self.clock().now();
        Payment {
            id: PaymentId::new(self.clock().wall(), random()),
            customer_id: customer.clone(),
            provider: PROVIDER.to_owned(),
            fact: fact.to_owned(),
            provider_payment_intent_id: None,
            provider_invoice_id: None,
            provider_session_id: None,
            price_id: None,
            amount,
            amount_refunded: 0,
            status: PaymentStatus::Pending,
            description: None,
            paid_at: None,
            created_at: now,
            updated_at: now,
        }
    }

    /// Writes what is known of a payment: paid is not taken back by older news, a refund is final.
    async fn payment_settle(
        &self,
        tx: &mut Tx,
        payment: &mut Payment,
        told: PaymentStatus,
        at: Timestamp,
    ) -> Result<(), Stop> {
        let paid = payment.paid_at.is_some() || told == PaymentStatus::Paid;
        if paid && payment.paid_at.is_none() {
            payment.paid_at = Some(at);
        }
        let whole = payment.amount.minor() <= payment.amount_refunded;
        payment.status = match (payment.amount_refunded, paid) {
            (refunded, _) if 0 < refunded && whole => PaymentStatus::Refunded,
            (refunded, _) if 0 < refunded => PaymentStatus::PartiallyRefunded,
            (_, true) => PaymentStatus::Paid,
            (_, false) if payment.status == PaymentStatus::Failed => PaymentStatus::Failed,
            (_, false) => told,
        };
        payment.updated_at = self.clock().now();
        Ok(tx.payments_update(payment).await?)
    }

    /// A refund: the total so far, which may be told before the payment itself.
    async fn charge_refunded(
        &self,
        tx: &mut Tx,
        charge: &facts::Charge,
        invoice: Option<&str>,
        at: Timestamp,
    ) -> Result<(), Stop> {
        let intent = charge.payment_intent.as_deref();
        let fact = invoice.or(intent).unwrap_or(&charge.id);
        let mut held = tx.payments_find(PROVIDER, fact).await?;
        if let (None, Some(intent)) = (&held, intent) {
            held = tx.payments_by_intent(PROVIDER, intent).await?;
        }
        let mut payment = match held {
            Some(payment) => payment,
            None => {
                let customer = self.charge_customer(tx, charge).await?;
                let currency = Currency::parse(charge.currency.as_deref().unwrap_or_default())
                    .map_err(|error| Stop::Parked(error.to_string()))?;
                let amount = Money::new(charge.amount.max(0), currency);
                let new = self.payment(&customer, fact, amount);
                tx.payments_insert(&new).await?;
                new
            }
        };
        tx.customers_lock(&payment.customer_id).await?;
        let refunded = if charge.refunded { charge.amount } else { charge.amount_refunded };
        payment.amount_refunded = payment.amount_refunded.max(refunded);
        payment.provider_payment_intent_id =
            charge.payment_intent.clone().or(payment.provider_payment_intent_id);
        self.payment_settle(tx, &mut payment, PaymentStatus::Paid, at).await?;
        self.withdraw_refunded(tx, &payment).await?;
        self.relock_refunded(tx, &payment).await
    }

    async fn charge_customer(
        &self,
        tx: &mut Tx,
        charge: &facts::Charge,
    ) -> Result<CustomerId, Stop> {
        if let Some(id) = &charge.customer
            && let Some(customer) = tx.customers_owner(PROVIDER, id).await?
        {
            return Ok(customer.id);
        }
        let session = session_of(tx, &charge.metadata).await?;
        match session.and_then(|session| session.customer_id) {
            Some(customer) => Ok(customer),
            None => Err(Stop::Parked("the refund belongs to nobody we know".to_owned())),
        }
    }

    // Subscriptions.

    /// Whose a subscription is: through the session it was bought in, else through its customer.
    async fn owner_of_subscription(
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

    async fn owner(
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
                let customer = self.customer_for_guest(tx, session.email.as_deref(), None).await?;
                session.customer_id = Some(customer.id.clone());
                tx.checkout_sessions_settle(session).await?;
                customer.id
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

    /// What the provider answered to a call of ours.
    pub(crate) async fn subscription_told(
        &self,
        tx: &mut Tx,
        customer: &CustomerId,
        told: &facts::Subscription,
        as_of: Timestamp,
    ) -> Result<(), Failure> {
        let session = tx.checkout_sessions_by_subscription(&told.id).await?;
        let owner = Owner { customer: customer.clone(), session };
        let told = Told { subscription: told.clone(), trust: Trust::Fetched };
        match self.subscription_apply(tx, &owner, &told, as_of).await {
            Ok(()) | Err(Stop::Ignored(_)) => Ok(()),
            Err(Stop::Failed(failure)) => Err(failure),
            Err(Stop::Parked(why)) => {
                Err(Failure::refused(domain::codes::Code::ProviderRefused, why))
            }
        }
    }

    async fn subscription_apply(
        &self,
        tx: &mut Tx,
        owner: &Owner,
        told: &Told,
        at: Timestamp,
    ) -> Result<(), Stop> {
        let subscription = &told.subscription;
        let held = tx.subscriptions_find(PROVIDER, &subscription.id).await?;
        let status = subscription.status.clone().unwrap_or(Status::Other("unknown".to_owned()));
        if !is_news(held.as_ref(), &status, told.trust, at)? {
            return Ok(());
        }
        let id = match &held {
            Some(held) => held.id.clone(),
            None => SubscriptionId::new(self.clock().wall(), random()),
        };
        let items = self.known_items(tx, subscription, &id).await?;
        let main = items.iter().find_map(|(item, price)| Some((item, price.as_ref()?)));
        let Some((item, price)) = main else {
            return Err(Stop::Parked("none of the subscription's prices is known".to_owned()));
        };
        let session = owner.session.as_ref().filter(|session| session.price_id == price.id);
        let grants = session.map_or(&price.grants, |session| &session.grants);
        let now = self.clock().now();
        let past_due_since = match (&status, held.as_ref().and_then(|held| held.past_due_since)) {
            (Status::PastDue, Some(since)) => Some(since),
            (Status::PastDue, None) => Some(at),
            _ => None,
        };
        let ended_at = match (subscription.ended_at, status.is_terminal()) {
            (Some(ended), _) => Some(ended),
            (None, true) => Some(subscription.canceled_at.unwrap_or(at)),
            (None, false) => None,
        };
        let row = Subscription {
            id,
            customer_id: owner.customer.clone(),
            provider: PROVIDER.to_owned(),
            provider_subscription_id: subscription.id.clone(),
            status,
            price_id: Some(price.id.clone()),
            product_id: Some(price.product_id.clone()),
            quantity: item.quantity,
            period_start: item.period_start,
            period_end: item.period_end,
            cancel_at: subscription.cancel_at.or(match subscription.cancel_at_period_end {
                true => item.period_end,
                false => None,
            }),
            cancel_at_period_end: subscription.cancel_at_period_end,
            canceled_at: subscription.canceled_at,
            ended_at,
            trial_start: subscription.trial_start,
            trial_end: subscription.trial_end,
            past_due_since,
            started_at: held
                .as_ref()
                .map_or(subscription.created_at.unwrap_or(at), |held| held.started_at),
            grants: grants.clone(),
            as_of: held.as_ref().map_or(at, |held| held.as_of.max(at)),
            created_at: held.as_ref().map_or(now, |held| held.created_at),
            updated_at: now,
        };
        match held {
            Some(_) => tx.subscriptions_update(&row).await?,
            None => tx.subscriptions_insert(&row).await?,
        }
        let rows: Vec<_> = items.into_iter().map(|(item, _)| item).collect();
        tx.subscriptions_set_items(&row.id, &rows).await?;
        self.subscription_settle(tx, &row).await
    }

    /// The items with the prices we know, the first of which names the plan.
    async fn known_items(
        &self,
        tx: &mut Tx,
        told: &facts::Subscription,
        subscription: &SubscriptionId,
    ) -> Result<Vec<(SubscriptionItem, Option<Price>)>, Stop> {
        let mut items = Vec::new();
        for item in &told.items {
            let price = match &item.price {
                Some(id) => tx.prices_find(PROVIDER, id).await?,
                None => None,
            };
            let row = SubscriptionItem {
                id: SubscriptionItemId::new(self.clock().wall(), random()),
                subscription_id: subscription.clone(),
                provider_item_id: item.id.clone(),
                price_id: price.as_ref().map(|price| price.id.clone()),
                provider_price_id: item.price.clone(),
                quantity: item.quantity.unwrap_or(1),
                period_start: item.period_start.or(told.period_start),
                period_end: item.period_end.or(told.period_end),
            };
            items.push((row, price));
        }
        Ok(items)
    }

    /// What follows from a subscription's row: its trial, its access, its end.
    async fn subscription_settle(&self, tx: &mut Tx, row: &Subscription) -> Result<(), Stop> {
        let started = !matches!(row.status, Status::Incomplete | Status::IncompleteExpired);
        if let Some(trial) = trial_period(row.trial_start, row.trial_end)
            && started
        {
            self.grant_trial(tx, row, trial).await?;
        }
        let facts = AccessFacts {
            status: row.status.clone(),
            started_at: row.started_at,
            cancel_at: row.cancel_at,
            ended_at: row.ended_at,
            trial_end: row.trial_end,
            past_due_since: row.past_due_since,
        };
        let window = access(&facts, self.settings().past_due_grace_seconds);
        let now = self.clock().now();
        let source = format!("subscription:{}", row.id);
        let granted = tx.entitlements_of_source(&source).await?;
        let mut wanted: Vec<&str> =
            row.grants.features.iter().map(|grant| grant.feature.as_str()).collect();
        wanted.extend(granted.iter().map(|held| held.feature.as_str()));
        wanted.sort_unstable();
        wanted.dedup();
        for feature in wanted {
            let still = row.grants.features.iter().any(|grant| grant.feature == feature);
            let window = window.filter(|_| still);
            let entitlement = Entitlement {
                feature: feature.to_owned(),
                source: source.clone(),
                starts_at: window.map_or(row.started_at, |window| window.starts_at),
                ends_at: window.and_then(|window| window.ends_at),
                revoked_at: if window.is_none() { Some(row.as_of) } else { None },
            };
            let id = EntitlementId::new(self.clock().wall(), random());
            tx.entitlements_put(&id, &row.customer_id, &entitlement, now).await?;
        }
        if row.status.is_terminal() {
            self.withdraw_allowances(tx, row).await?;
        }
        Ok(())
    }

    // Invoices.

    async fn invoice_told(
        &self,
        tx: &mut Tx,
        told: &facts::Invoice,
        at: Timestamp,
    ) -> Result<(), Stop> {
        let provider_customer = told.customer.as_deref();
        let metadata = &told.subscription_metadata;
        let subscription = told.subscription.as_deref();
        let owner = self.owner(tx, subscription, provider_customer, metadata).await?;
        tx.customers_lock(&owner.customer).await?;
        let currency = Currency::parse(told.currency.as_deref().unwrap_or_default())
            .map_err(|error| Stop::Parked(error.to_string()))?;
        self.invoice_store(tx, &owner, told, currency, at).await?;
        if told.status != InvoiceStatus::Paid {
            return Ok(());
        }
        let paid_at = told.paid_at.unwrap_or(at);
        let payment = match 0 < told.amount_paid {
            true => Some(self.invoice_payment(tx, &owner, told, currency, paid_at).await?),
            false => None,
        };
        let refills = matches!(
            told.reason,
            facts::BillingReason::SubscriptionCreate | facts::BillingReason::SubscriptionCycle
        );
        if refills {
            self.invoice_refills(tx, &owner, told, payment.as_ref()).await?;
        }
        if let Some(payment) = &payment {
            self.withdraw_refunded(tx, payment).await?;
        }
        if let Some(id) = subscription
            && let Some(row) = tx.subscriptions_find(PROVIDER, id).await?
            && row.status.is_terminal()
        {
            self.withdraw_allowances(tx, &row).await?;
        }
        Ok(())
    }

    /// Keeps the newest description; a paid invoice is not unpaid by older news.
    async fn invoice_store(
        &self,
        tx: &mut Tx,
        owner: &Owner,
        told: &facts::Invoice,
        currency: Currency,
        at: Timestamp,
    ) -> Result<(), Stop> {
        let held = tx.invoices_find(PROVIDER, &told.id).await?;
        let now = self.clock().now();
        let row = Invoice {
            id: match &held {
                Some(held) => held.id.clone(),
                None => InvoiceId::new(self.clock().wall(), random()),
            },
            customer_id: owner.customer.clone(),
            provider: PROVIDER.to_owned(),
            provider_invoice_id: told.id.clone(),
            provider_subscription_id: told.subscription.clone(),
            status: told.status.as_str().to_owned(),
            reason: told.reason.as_str().to_owned(),
            number: told.number.clone(),
            total: Money::new(told.total, currency),
            amount_due: told.amount_due,
            amount_paid: told.amount_paid,
            attempt_count: told.attempt_count,
            hosted_url: told.hosted_url.clone(),
            pdf_url: told.pdf_url.clone(),
            issued_at: told.created_at,
            paid_at: told.paid_at,
            as_of: at,
            created_at: held.as_ref().map_or(now, |held| held.created_at),
            updated_at: now,
        };
        let paid = InvoiceStatus::Paid.as_str();
        match held {
            None => tx.invoices_insert(&row).await?,
            Some(held) if held.status == paid && row.status != paid => {}
            Some(held) if at < held.as_of && row.status != paid => {}
            Some(_) => tx.invoices_update(&row).await?,
        }
        Ok(())
    }

    async fn invoice_payment(
        &self,
        tx: &mut Tx,
        owner: &Owner,
        told: &facts::Invoice,
        currency: Currency,
        paid_at: Timestamp,
    ) -> Result<Payment, Stop> {
        let amount = Money::new(told.amount_paid, currency);
        let mut payment = match tx.payments_find(PROVIDER, &told.id).await? {
            Some(held) => held,
            None => {
                let new = self.payment(&owner.customer, &told.id, amount);
                tx.payments_insert(&new).await?;
                new
            }
        };
        payment.amount = amount;
        payment.provider_invoice_id = Some(told.id.clone());
        payment.provider_payment_intent_id =
            told.payment_intent.clone().or(payment.provider_payment_intent_id);
        self.payment_settle(tx, &mut payment, PaymentStatus::Paid, paid_at).await?;
        Ok(payment)
    }

    /// Each line that pays for a period of an item refills that item's allowance. Prorations and
    /// the free line of a trial do not.
    async fn invoice_refills(
        &self,
        tx: &mut Tx,
        owner: &Owner,
        told: &facts::Invoice,
        payment: Option<&Payment>,
    ) -> Result<(), Stop> {
        for line in &told.lines {
            let subscription = line.subscription.as_deref().or(told.subscription.as_deref());
            let (Some(subscription), Some(item), Some(price_id)) =
                (subscription, line.subscription_item.as_deref(), line.price.as_deref())
            else {
                continue;
            };
            let (Some(start), Some(end)) = (line.period_start, line.period_end) else {
                continue;
            };
            if line.proration || end <= start {
                continue;
            }
            let Some(price) = tx.prices_find(PROVIDER, price_id).await? else {
                return Err(Stop::Parked(format!("price {price_id} is not known")));
            };
            if line.amount == 0 && 0 < price.amount.minor() {
                continue;
            }
            let session = owner.session.as_ref().filter(|session| session.price_id == price.id);
            let paid = PaidPeriod {
                customer: &owner.customer,
                subscription,
                item,
                price: &price.id,
                grants: session.map_or(&price.grants, |session| &session.grants),
                quantity: line.quantity.unwrap_or(1),
                covered: Period { start, end },
                payment,
            };
            self.grant_period(tx, paid).await?;
        }
        Ok(())
    }
}

/// "Not found" is an answer; everything else that is no answer stops us.
fn known<T>(answer: Result<T, ProviderError>) -> Result<Option<T>, ProviderError> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(ProviderError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Judges a description against what we hold, under the lock (INV-ORDER, INV-TERMINAL).
fn is_news(
    held: Option<&Subscription>,
    status: &Status,
    trust: Trust,
    at: Timestamp,
) -> Result<bool, Stop> {
    let known = held.map(|held| Known { status: held.status.clone(), as_of: held.as_of });
    let terminal = known.as_ref().is_some_and(|known| known.status.is_terminal());
    match (trust, news(known.as_ref(), at)) {
        (Trust::Fetched, _) => Ok(!terminal),
        (_, News::Stale) => Ok(false),
        (_, News::Apply) => Ok(true),
        (Trust::Orphaned, News::Doubt) => {
            Ok(known.is_none_or(|known| outranks(status, &known.status)))
        }
        // Another event of the same second was applied meanwhile: ask the provider next time.
        (Trust::Carried, News::Doubt) => Err(Stop::Failed(Failure::Provider {
            code: domain::codes::Code::ProviderUnavailable,
            detail: "another event of the same second was applied meanwhile".to_owned(),
        })),
    }
}

/// The session we wrote, by the provider's id, or by our own that the provider gives back.
async fn our_session(
    tx: &mut Tx,
    provider_session_id: &str,
    told: &facts::CheckoutSession,
) -> Result<Option<CheckoutSession>, Stop> {
    if let Some(found) = tx.checkout_sessions_find(PROVIDER, provider_session_id).await? {
        return Ok(Some(found));
    }
    let reference =
        told.client_reference.as_deref().and_then(|id| CheckoutSessionId::parse(id).ok());
    let found = match reference {
        Some(id) => tx.checkout_sessions_get(&id).await?,
        None => session_of(tx, &told.metadata).await?,
    };
    // A session that has its counterpart is not also another one's.
    Ok(found.filter(|session| session.provider_session_id.is_none()))
}

/// The session that something came of, by what we wrote on it.
async fn session_of(
    tx: &mut Tx,
    metadata: &BTreeMap<String, String>,
) -> Result<Option<CheckoutSession>, Stop> {
    let id = metadata.get(SESSION_KEY).and_then(|id| CheckoutSessionId::parse(id).ok());
    let Some(id) = id else {
        return Ok(None);
    };
    let session = tx.checkout_sessions_get(&id).await?;
    let customer = metadata.get(CUSTOMER_KEY);
    Ok(session.filter(|session| match (&session.customer_id, customer) {
        (Some(ours), Some(told)) => ours.as_str() == told,
        _ => true,
    }))
}
