//! Payments and what refunds take back.

use super::Stop;
use super::owners::session_of;
use crate::clock::random;
use crate::{Engine, PROVIDER};
use domain::ids::{CustomerId, PaymentId, PriceId};
use domain::money::{Currency, Money};
use domain::time::Timestamp;
use providers::facts;
use store::Tx;
use store::payments::{Payment, PaymentStatus};

impl Engine {
    pub(super) fn payment(&self, customer: &CustomerId, fact: &str, amount: Money) -> Payment {
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

    /// What was bought, in the merchant's words.
    pub(super) async fn price_name(
        &self,
        tx: &mut Tx,
        price: &PriceId,
    ) -> Result<Option<String>, Stop> {
        let Some(price) = tx.prices_get(price).await? else {
            return Ok(None);
        };
        Ok(tx.products_get(&price.product_id).await?.map(|product| product.name))
    }

    /// Writes what is known of a payment: paid is not taken back by older news, a refund is final.
    pub(super) async fn payment_settle(
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
    pub(super) async fn charge_refunded(
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
        // Somebody may have written it between our look and our lock.
        payment = tx.payments_get(&payment.id).await?.unwrap_or(payment);
        let refunded = if charge.refunded { charge.amount } else { charge.amount_refunded };
        payment.amount_refunded = payment.amount_refunded.max(refunded);
        payment.provider_payment_intent_id =
            charge.payment_intent.clone().or(payment.provider_payment_intent_id);
        self.payment_settle(tx, &mut payment, PaymentStatus::Paid, at).await?;
        self.withdraw_refunded(tx, &payment).await?;
        self.relock_refunded(tx, &payment).await
    }

    pub(super) async fn charge_customer(
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
}
