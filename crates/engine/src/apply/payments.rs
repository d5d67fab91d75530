//! Payments: one row for one purchase, and the access that follows its money.

use super::Stop;
use super::checkout_sessions::PURCHASE;
use crate::clock::random;
use crate::{Engine, PROVIDER};
use domain::credits::Class;
use domain::entitlements::Entitlement;
use domain::ids::{CustomerId, EntitlementId, PaymentId};
use domain::money::Money;
use domain::time::Timestamp;
use store::Tx;
use store::payments::{Payment, PaymentStatus};

/// Whether a payment was heard of before. One that was not has no row yet: nothing hangs on it,
/// and nothing of it can have gone back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    First,
    Before,
}

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

    /// The one row of a purchase. Its fact is the invoice, else the payment intent, else the page;
    /// whichever was told first made the row, and a better name for it replaces the first.
    pub(super) async fn payment_row(
        &self,
        tx: &mut Tx,
        customer: &CustomerId,
        names: [Option<&str>; 3],
        amount: Money,
    ) -> Result<(Payment, Seen), Stop> {
        let Some(best) = names.into_iter().flatten().next() else {
            return Err(Stop::Parked("the payment has no name".to_owned()));
        };
        let Some(mut held) = tx.payments_named(PROVIDER, names).await? else {
            return Ok((self.payment(customer, best, amount), Seen::First));
        };
        if held.provider_invoice_id.is_none() && held.fact != best {
            tx.payments_rename(&held.id, best).await?;
            held.fact = best.to_owned();
        }
        Ok((held, Seen::Before))
    }

    /// Writes what is known of a payment: paid is not taken back by older news, and the charges say
    /// what was refunded.
    pub(super) async fn payment_settle(
        &self,
        tx: &mut Tx,
        payment: &mut Payment,
        seen: Seen,
        told: PaymentStatus,
        at: Timestamp,
    ) -> Result<(), Stop> {
        if told == PaymentStatus::Paid {
            // Several events tell of one payment: the first of them, whichever came first here.
            payment.paid_at = Some(payment.paid_at.map_or(at, |held| held.min(at)));
        }
        if seen == Seen::First {
            payment.status = told;
            return Ok(tx.payments_insert(payment).await?);
        }
        self.count_charges(tx, payment).await?;
        let whole = payment.amount.minor() <= payment.amount_refunded;
        payment.status = match (payment.amount_refunded, payment.paid_at) {
            (refunded, _) if 0 < refunded && whole => PaymentStatus::Refunded,
            (refunded, _) if 0 < refunded => PaymentStatus::PartiallyRefunded,
            (_, Some(_)) => PaymentStatus::Paid,
            (_, None) if payment.status == PaymentStatus::Failed => PaymentStatus::Failed,
            (_, None) => told,
        };
        payment.updated_at = self.clock().now();
        tx.payments_update(payment).await?;
        if let Some(paid_at) = payment.paid_at {
            // What was bought once is as old as its money, whichever event told of it first.
            let at = paid_at.min(payment.updated_at);
            for lot in tx.credits_of_payment(&payment.id).await? {
                if lot.class == Class::Purchased && lot.starts_at != at {
                    // Whoever spends of it holds its account first.
                    let account = tx.credits_open(&lot.customer_id, &lot.unit).await?;
                    tx.credits_close(account).await?;
                }
            }
            tx.credits_begin(&payment.id, at).await?;
        }
        Ok(self.tell_refunded(tx, payment).await?)
    }

    /// Access does not outlive the money it was bought with, and comes again with it.
    pub(super) async fn access_follows(&self, tx: &mut Tx, payment: &Payment) -> Result<(), Stop> {
        if let Some(id) = &payment.provider_invoice_id
            && let Some(invoice) = tx.invoices_find(PROVIDER, id).await?
            && let Some(id) = &invoice.provider_subscription_id
            && let Some(row) = tx.subscriptions_find(PROVIDER, id).await?
        {
            self.subscription_settle(tx, &row).await?;
        }
        let source = format!("{PURCHASE}{}", payment.id);
        let bought = tx.entitlements_of_source(&source).await?;
        if bought.is_empty() {
            return Ok(());
        }
        let gone = self.given_back(tx, payment).await?.is_whole();
        let now = self.clock().now();
        for held in bought {
            let paid_at = payment.paid_at.unwrap_or(held.starts_at).min(now);
            // What has an end is moved with its length, by the chain.
            let starts_at = if held.ends_at.is_some() { held.starts_at } else { paid_at };
            if held.revoked_at.is_some() != gone || held.starts_at != starts_at {
                let revoked_at = gone.then_some(held.revoked_at.unwrap_or(now));
                let id = EntitlementId::new(self.clock().wall(), random());
                let row = Entitlement { revoked_at, starts_at, ..held.clone() };
                tx.entitlements_put(&id, &payment.customer_id, &row, now).await?;
            }
            self.chain_purchases(tx, &payment.customer_id, &held.feature).await?;
        }
        Ok(())
    }
}
