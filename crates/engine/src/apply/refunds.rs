//! Refunds: rows for people and programs. What credits and access follow is the charge's total.

use super::{Stop, Trust};
use crate::clock::random;
use crate::{Engine, PROVIDER};
use domain::ids::RefundId;
use domain::money::{Currency, Money};
use domain::payments::{refund_rank, refund_takes};
use domain::time::Timestamp;
use providers::facts;
use store::Tx;
use store::charges::Charge;
use store::payments::Payment;
use store::refunds::Refund;

impl Engine {
    pub(super) async fn refund_apply(
        &self,
        tx: &mut Tx,
        payment: &Payment,
        told: &facts::Refund,
        trust: Trust,
        at: Timestamp,
    ) -> Result<(), Stop> {
        let held = tx.refunds_find(PROVIDER, &told.id).await?;
        let status = told.status.as_str();
        if trust == Trust::Orphaned
            && let Some(held) = &held
            && (at.seconds(), refund_rank(status))
                < (held.as_of.seconds(), refund_rank(&held.status))
        {
            return Ok(());
        }
        let currency = match told.currency.as_deref().map(Currency::parse) {
            Some(Ok(currency)) => currency,
            _ => payment.amount.currency(),
        };
        let row = Refund {
            id: match &held {
                Some(held) => held.id.clone(),
                None => RefundId::new(self.clock().wall(), random()),
            },
            customer_id: payment.customer_id.clone(),
            payment_id: payment.id.clone(),
            provider: PROVIDER.to_owned(),
            provider_refund_id: told.id.clone(),
            provider_charge_id: told.charge.clone(),
            amount: Money::new(told.amount.max(0), currency),
            status: status.to_owned(),
            reason: told.reason.clone(),
            as_of: held.as_ref().map_or(at, |held| held.as_of.max(at)),
            created_at: told.created_at.unwrap_or(at),
            updated_at: self.clock().now(),
        };
        let unchanged = held.is_some_and(|held| {
            let updated_at = held.updated_at;
            held == Refund { updated_at, ..row.clone() }
        });
        match unchanged {
            true => Ok(()),
            false => Ok(tx.refunds_put(&row).await?),
        }
    }

    /// Our row of a charge that the provider no longer knows. It is written from the payment, where
    /// a page told of that without its charge.
    async fn lost_charge(
        &self,
        tx: &mut Tx,
        payment: &Payment,
        id: &str,
        at: Timestamp,
    ) -> Result<Option<Charge>, Stop> {
        if let Some(held) = tx.charges_find(PROVIDER, id).await? {
            return Ok(Some(held));
        }
        let Some(paid_at) = payment.paid_at.filter(|_| payment.provider_invoice_id.is_none())
        else {
            return Ok(None);
        };
        if !tx.charges_of_payment(&payment.id).await?.is_empty() {
            return Ok(None);
        }
        let new = Charge {
            provider: PROVIDER.to_owned(),
            provider_charge_id: id.to_owned(),
            customer_id: payment.customer_id.clone(),
            payment_id: payment.id.clone(),
            provider_payment_intent_id: payment.provider_payment_intent_id.clone(),
            status: "succeeded".to_owned(),
            amount: payment.amount,
            amount_captured: payment.amount.minor(),
            amount_refunded: payment.amount_refunded,
            as_of: paid_at.min(at),
            revision: 0,
            created_at: paid_at,
            updated_at: self.clock().now(),
        };
        tx.charges_insert(&new).await?;
        Ok(Some(new))
    }

    /// A refund whose charge the provider no longer knows: what our rows say of the charge is
    /// brought up to date by what is newer than it. A refund that failed takes nothing back.
    pub(super) async fn refund_of_lost_charge(
        &self,
        tx: &mut Tx,
        payment: &Payment,
        told: &facts::Refund,
        at: Timestamp,
    ) -> Result<(), Stop> {
        self.refund_apply(tx, payment, told, Trust::Orphaned, at).await?;
        let Some(id) = &told.charge else {
            return Ok(());
        };
        let Some(mut charge) = self.lost_charge(tx, payment, id, at).await? else {
            return Ok(());
        };
        let (mut taking, mut failed) = (0_i64, 0_i64);
        for refund in tx.refunds_of_payment(&payment.id).await? {
            if refund.provider_charge_id.as_deref() != Some(id) {
                continue;
            }
            let amount = refund.amount.minor();
            if refund_takes(&refund.status) {
                taking = taking.saturating_add(amount);
            } else if refund.created_at <= charge.as_of && charge.as_of < refund.as_of {
                failed = failed.saturating_add(amount);
            }
        }
        let refunded = (charge.amount_refunded - failed).max(taking);
        let refunded = refunded.clamp(0, charge.amount_captured);
        if refunded == charge.amount_refunded {
            return Ok(());
        }
        charge.amount_refunded = refunded;
        charge.as_of = charge.as_of.max(at);
        charge.revision += 1;
        charge.updated_at = self.clock().now();
        Ok(tx.charges_update(&charge).await?)
    }
}
