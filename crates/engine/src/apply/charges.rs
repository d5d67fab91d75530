//! Charges: the movements of money behind a purchase, and what they say of it.

use super::movements::MovementTold;
use super::{Stop, Trust};
use crate::{Engine, PROVIDER};
use domain::money::{Currency, Money};
use domain::payments::refunded_of_captured;
use domain::time::Timestamp;
use providers::facts;
use store::Tx;
use store::charges::Charge;
use store::payments::Payment;

/// Whether money has really moved: authorized is not captured, and pending is not paid.
pub(super) fn has_moved(charge: &facts::Charge) -> bool {
    let settled = !matches!(charge.status.as_deref(), Some("pending" | "failed"));
    charge.captured && settled && 0 < charge.amount_captured
}

impl Engine {
    /// Writes what is told of a charge, unless something newer is known of it.
    pub(super) async fn charge_apply(
        &self,
        tx: &mut Tx,
        payment: &Payment,
        told: &facts::Charge,
        trust: Trust,
        at: Timestamp,
    ) -> Result<(), Stop> {
        let held = tx.charges_find(PROVIDER, &told.id).await?;
        let refunded = if told.refunded { told.amount } else { told.amount_refunded };
        let refunded = refunded_of_captured(told.amount, told.amount_captured, refunded);
        let known = held.as_ref().map(|held| (held.revision, held.as_of));
        let further = held.as_ref().is_some_and(|held| held.amount_refunded < refunded);
        if !super::movements::is_news(known, trust, at, further)? {
            return Ok(());
        }
        let currency = Currency::parse(told.currency.as_deref().unwrap_or_default())
            .map_err(|error| Stop::Parked(error.to_string()))?;
        let now = self.clock().now();
        let row = Charge {
            provider: PROVIDER.to_owned(),
            provider_charge_id: told.id.clone(),
            customer_id: payment.customer_id.clone(),
            payment_id: payment.id.clone(),
            provider_payment_intent_id: told.payment_intent.clone(),
            status: told.status.clone().unwrap_or_else(|| "succeeded".to_owned()),
            amount: Money::new(told.amount.max(0), currency),
            amount_captured: told.amount_captured.max(0),
            amount_refunded: refunded,
            as_of: held.as_ref().map_or(at, |held| held.as_of.max(at)),
            revision: held.as_ref().map_or(0, |held| held.revision + 1),
            created_at: told.created_at.unwrap_or(at),
            updated_at: now,
        };
        match held {
            None => tx.charges_insert(&row).await?,
            Some(held) if same(&held, &row) => {}
            Some(_) => tx.charges_update(&row).await?,
        }
        for refund in &told.refunds {
            self.refund_apply(tx, payment, refund, trust, at).await?;
        }
        Ok(())
    }

    /// The charges of a payment decide what was paid and what was refunded of it, once they are
    /// known. An invoice knows better what was paid: several charges can be parts of it.
    pub(super) async fn count_charges(
        &self,
        tx: &mut Tx,
        payment: &mut Payment,
    ) -> Result<(), Stop> {
        let charges = tx.charges_of_payment(&payment.id).await?;
        let currency = payment.amount.currency();
        let captured = charges.iter().fold(0_i64, |sum, charge| {
            let same = charge.amount.currency() == currency;
            sum.saturating_add(if same { charge.amount_captured } else { 0 })
        });
        if payment.provider_invoice_id.is_none() && 0 < captured {
            payment.amount = Money::new(captured, currency);
        }
        if !charges.is_empty() {
            let back = self.given_back(tx, payment).await?;
            payment.amount_refunded = back.refunded.min(payment.amount.minor());
        }
        Ok(())
    }

    /// Asks for a charge, with its refunds and disputes. What the event carried has to do where
    /// the provider no longer knows the charge.
    pub(super) async fn fetch_charge(
        &self,
        id: &str,
        carried: Option<facts::Charge>,
    ) -> Result<MovementTold, crate::Failure> {
        let asked_at = self.clock().now();
        let mut tx = self.store().read("apply.charge").await?;
        let revision = tx.charges_find(PROVIDER, id).await?.map(|held| held.revision);
        drop(tx);
        let fetched = super::gather::known(self.provider()?.charge(id).await)?;
        let mut told = MovementTold::default();
        match fetched {
            Some(charge) => {
                if charge.disputed {
                    told.disputes = self.fetch_disputes_of(id).await?;
                }
                told.charge = Some((charge, Trust::Truth { revision, asked_at }));
            }
            None => told.charge = carried.map(|charge| (charge, Trust::Orphaned)),
        }
        Ok(told)
    }
}

fn same(held: &Charge, row: &Charge) -> bool {
    let (revision, updated_at) = (held.revision, held.updated_at);
    *held == Charge { revision, updated_at, ..row.clone() }
}
