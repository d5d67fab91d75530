//! Disputes: opened is not lost, and won gives everything back. The status alone tells.

use super::movements::is_news;
use super::{Stop, Trust, gather::known};
use crate::clock::random;
use crate::failures::Failure;
use crate::{Engine, PROVIDER};
use domain::ids::DisputeId;
use domain::money::{Currency, Money};
use domain::payments::dispute_rank;
use domain::time::Timestamp;
use providers::facts;
use store::Tx;
use store::disputes::Dispute;
use store::payments::Payment;

impl Engine {
    pub(super) async fn dispute_apply(
        &self,
        tx: &mut Tx,
        payment: &Payment,
        told: &facts::Dispute,
        trust: Trust,
        at: Timestamp,
    ) -> Result<(), Stop> {
        let held = tx.disputes_find(PROVIDER, &told.id).await?;
        let status = told.status.as_str();
        let known = held.as_ref().map(|held| (held.revision, held.as_of));
        let rank = dispute_rank(status);
        let further = held.as_ref().is_some_and(|held| dispute_rank(&held.status) < rank);
        if !is_news(known, trust, at, further)? {
            return Ok(());
        }
        // A bank's money in a currency we do not know is all of the payment's.
        let amount = match told.currency.as_deref().map(Currency::parse) {
            Some(Ok(currency)) => Money::new(told.amount.max(0), currency),
            _ => payment.amount,
        };
        let row = Dispute {
            id: match &held {
                Some(held) => held.id.clone(),
                None => DisputeId::new(self.clock().wall(), random()),
            },
            customer_id: payment.customer_id.clone(),
            payment_id: payment.id.clone(),
            provider: PROVIDER.to_owned(),
            provider_dispute_id: told.id.clone(),
            provider_charge_id: told.charge.clone(),
            amount,
            status: status.to_owned(),
            reason: told.reason.clone(),
            evidence_due_at: told.evidence_due_at,
            as_of: held.as_ref().map_or(at, |held| held.as_of.max(at)),
            revision: held.as_ref().map_or(0, |held| held.revision + 1),
            created_at: told.created_at.unwrap_or(at),
            updated_at: self.clock().now(),
        };
        match held {
            None => tx.disputes_insert(&row).await?,
            Some(held) if same(&held, &row) => return Ok(()),
            Some(_) => tx.disputes_update(&row).await?,
        }
        Ok(self.tell_dispute(tx, &row).await?)
    }

    /// Asks for a dispute; what the event carried has to do where the provider has none.
    pub(super) async fn fetch_dispute(
        &self,
        carried: &facts::Dispute,
    ) -> Result<(facts::Dispute, Trust), Failure> {
        let asked_at = self.clock().now();
        let revision = self.dispute_revision(&carried.id).await?;
        match known(self.provider()?.dispute(&carried.id).await)? {
            Some(dispute) => Ok((dispute, Trust::Truth { revision, asked_at })),
            None => Ok((carried.clone(), Trust::Orphaned)),
        }
    }

    pub(super) async fn fetch_disputes_of(
        &self,
        charge: &str,
    ) -> Result<Vec<(facts::Dispute, Trust)>, Failure> {
        let asked_at = self.clock().now();
        let mut told = Vec::new();
        let mut revisions = std::collections::BTreeMap::new();
        let mut tx = self.store().read("apply.disputes").await?;
        if let Some(held) = tx.charges_find(PROVIDER, charge).await? {
            for dispute in tx.disputes_of_payment(&held.payment_id).await? {
                revisions.insert(dispute.provider_dispute_id, dispute.revision);
            }
        }
        drop(tx);
        let found = known(self.provider()?.disputes_of_charge(charge).await)?;
        for dispute in found.unwrap_or_default() {
            let revision = revisions.get(&dispute.id).copied();
            told.push((dispute, Trust::Truth { revision, asked_at }));
        }
        Ok(told)
    }

    async fn dispute_revision(&self, id: &str) -> Result<Option<i64>, Failure> {
        let mut tx = self.store().read("apply.dispute").await?;
        Ok(tx.disputes_find(PROVIDER, id).await?.map(|held| held.revision))
    }
}

fn same(held: &Dispute, row: &Dispute) -> bool {
    let (revision, updated_at) = (held.revision, held.updated_at);
    *held == Dispute { revision, updated_at, ..row.clone() }
}
