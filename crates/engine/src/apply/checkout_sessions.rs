//! A checkout session was completed, paid later, or given up.

use super::owners::our_session;
use super::payments::Seen;
use super::{Gathered, Stop};
use crate::checkout_sessions::settled;
use crate::clock::random;
use crate::customers::check_email;
use crate::limits::check_text;
use crate::notices::checkout_completed;
use crate::{Engine, PROVIDER};
use domain::catalogue::{FeatureGrant, Grants};
use domain::entitlements::Entitlement;
use domain::ids::{CustomerId, EntitlementId, PaymentId};
use domain::money::{Currency, Money};
use domain::time::{Interval, Timestamp, Unit};
use providers::facts::{self, SessionPayment};
use store::Tx;
use store::checkout_sessions::{CheckoutSession, Mode, SessionStatus};
use store::customers::Customer;
use store::payments::{Payment, PaymentStatus};

/// What the source of bought access begins with; the payment's id follows.
pub(super) const PURCHASE: &str = "payment:";

/// What a page says of the payment that was made on it.
pub(super) fn describe(
    payment: &mut Payment,
    session: &CheckoutSession,
    told: &facts::CheckoutSession,
) {
    payment.provider_payment_intent_id =
        told.payment_intent.clone().or(payment.provider_payment_intent_id.take());
    payment.provider_session_id = Some(told.id.clone());
    payment.price_id = Some(session.price_id.clone());
}

impl Engine {
    pub(super) async fn session_told(
        &self,
        tx: &mut Tx,
        told: &facts::CheckoutSession,
        gathered: &Gathered,
    ) -> Result<(), Stop> {
        let Some(mut session) = our_session(tx, &told.id, told).await? else {
            let linked = match &told.customer {
                Some(id) => tx.customers_owner(PROVIDER, id).await?,
                None => None,
            };
            let complete = told.status == facts::SessionStatus::Complete;
            return Err(match linked {
                None if !complete => Stop::Ignored("nothing came of a session that is not ours"),
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
        let status = match gathered.event.kind.rsplit('.').next().unwrap_or_default() {
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
        if session.provider_session_id.is_none() {
            let now = self.clock().now();
            let url = told.url.as_deref();
            tx.checkout_sessions_opened(&session.id, &told.id, url, now).await?;
        }
        tx.checkout_sessions_settle(&session).await?;
        if session.status == SessionStatus::Complete {
            self.tell(tx, checkout_completed(&session, &customer)).await?;
        }
        if session.mode == Mode::Payment {
            self.purchase_told(tx, &session, &customer, told, gathered.paid_at()).await?;
        }
        Ok(())
    }

    /// The session's customer; for a guest, the one that the completed session makes.
    pub(super) async fn session_customer(
        &self,
        tx: &mut Tx,
        session: &mut CheckoutSession,
        told: &facts::CheckoutSession,
    ) -> Result<CustomerId, Stop> {
        let linked = match &told.customer {
            Some(id) => tx.customers_owner(PROVIDER, id).await?,
            None => None,
        };
        let customer = match (&session.customer_id, &linked) {
            (Some(id), _) => id.clone(),
            (None, Some(linked)) => linked.id.clone(),
            (None, None) => match self.customer_of_browser(tx, session).await? {
                Some(id) => id,
                None => {
                    let (email, name) = (told.email.as_deref(), told.name.as_deref());
                    self.customer_for_guest(tx, email, name).await?.id
                }
            },
        };
        let email = told.email.as_deref().filter(|text| check_email(Some(text)).is_ok());
        let name = told.name.as_deref().filter(|text| check_text("name", Some(text)).is_ok());
        // Whom the application knows by an id of its own, it describes itself.
        let is_named = |it: &Customer| it.id == customer && it.external_id.is_some();
        let named = linked.as_ref().is_some_and(is_named);
        if !named && (email.is_some() || name.is_some()) {
            tx.customers_fill(&customer, email, name, self.clock().now()).await?;
        }
        session.customer_id = Some(customer.clone());
        if let (Some(id), None) = (&told.customer, &linked) {
            self.link(tx, id, &customer).await?;
        }
        Ok(customer)
    }

    /// What a guest bought earlier in the same browser made them a customer already.
    pub(super) async fn customer_of_browser(
        &self,
        tx: &mut Tx,
        session: &CheckoutSession,
    ) -> Result<Option<CustomerId>, Stop> {
        match &session.browser_hash {
            Some(hash) => Ok(tx.checkout_sessions_customer_of_browser(hash).await?),
            None => Ok(None),
        }
    }

    /// A one-time purchase: the money first, then what it grants.
    pub(super) async fn purchase_told(
        &self,
        tx: &mut Tx,
        session: &CheckoutSession,
        customer: &CustomerId,
        told: &facts::CheckoutSession,
        at: Timestamp,
    ) -> Result<(), Stop> {
        let currency = told.currency.as_deref().map(Currency::parse).transpose();
        let currency = match currency {
            Ok(currency) => currency.unwrap_or_else(|| session.amount.currency()),
            Err(error) => return Err(Stop::Parked(error.to_string())),
        };
        let minor = told.amount_total.unwrap_or(session.amount.minor()).max(0);
        let (invoice, intent) = (told.invoice.as_deref(), told.payment_intent.as_deref());
        let names = [invoice, intent, Some(told.id.as_str())];
        let amount = Money::new(minor, currency);
        let (mut payment, seen) = self.payment_row(tx, customer, names, amount).await?;
        payment.amount = Money::new(minor, payment.amount.currency());
        describe(&mut payment, session, told);
        payment.description = tx.prices_product_name(&session.price_id).await?;
        let status = match session.status {
            SessionStatus::Complete => PaymentStatus::Paid,
            SessionStatus::Failed => PaymentStatus::Failed,
            _ => PaymentStatus::Pending,
        };
        self.payment_settle(tx, &mut payment, seen, status, at).await?;
        if session.status != SessionStatus::Complete {
            return Ok(());
        }
        let quantity = i64::from(session.quantity);
        self.grant_pack(tx, &payment, &session.grants, quantity).await?;
        self.unlock_once(tx, &payment, &session.grants, session.quantity).await?;
        if seen == Seen::First {
            return Ok(());
        }
        self.settle_lots(tx, &payment).await?;
        self.access_follows(tx, &payment).await
    }

    /// Features that a one-time price unlocks, for its days from payment on.
    async fn unlock_once(
        &self,
        tx: &mut Tx,
        payment: &Payment,
        grants: &Grants,
        quantity: u32,
    ) -> Result<(), Stop> {
        let now = self.clock().now();
        for grant in &grants.features {
            let new = self.unlocked(payment, grant, quantity);
            let id = EntitlementId::new(self.clock().wall(), random());
            if tx.entitlements_add(&id, &payment.customer_id, &new, now).await? {
                self.chain_purchases(tx, &payment.customer_id, &grant.feature).await?;
            }
        }
        Ok(())
    }

    pub(super) fn unlocked(
        &self,
        payment: &Payment,
        grant: &FeatureGrant,
        quantity: u32,
    ) -> Entitlement {
        let now = self.clock().now();
        let starts_at = payment.paid_at.unwrap_or(now).min(now);
        let days = |days| Interval { unit: Unit::Day, count: days }.after(starts_at, quantity);
        Entitlement {
            feature: grant.feature.clone(),
            source: format!("{PURCHASE}{}", payment.id),
            starts_at,
            ends_at: grant.days.map(days),
            revoked_at: None,
        }
    }

    /// Access that was bought twice lasts twice as long: in order of payment, each purchase begins
    /// where the one before it ends. One that went back leaves no gap and no gift.
    pub(super) async fn chain_purchases(
        &self,
        tx: &mut Tx,
        customer: &CustomerId,
        feature: &str,
    ) -> Result<(), Stop> {
        let mut bought = Vec::new();
        for held in tx.entitlements_of_feature(customer, feature).await? {
            let payment = held.source.strip_prefix(PURCHASE);
            let payment = payment.and_then(|id| PaymentId::parse(id).ok());
            if let (Some(id), Some(ends_at), None) = (payment, held.ends_at, held.revoked_at)
                && let Some(payment) = tx.payments_get(&id).await?
            {
                let lasts = ends_at.micros() - held.starts_at.micros();
                bought.push((payment.paid_at.unwrap_or(held.starts_at), id, lasts, held));
            }
        }
        bought.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        let now = self.clock().now();
        let mut free_from: Option<Timestamp> = None;
        for (paid_at, _, lasts, held) in bought {
            let paid_at = paid_at.min(now);
            let starts_at = free_from.map_or(paid_at, |end| end.max(paid_at));
            let ends_at = Timestamp::from_micros(starts_at.micros().saturating_add(lasts));
            let moved = Entitlement { starts_at, ends_at: Some(ends_at), ..held };
            let id = EntitlementId::new(self.clock().wall(), random());
            tx.entitlements_put(&id, customer, &moved, now).await?;
            free_from = Some(ends_at);
        }
        Ok(())
    }
}
