//! Access: may this customer use that feature now, and why.

use crate::failures::Failure;
use crate::folds::Verdict;
use crate::{Engine, Subject, customers};
use domain::catalogue::{Grants, check_feature_key};
use domain::entitlements::{Decision, decide};
use domain::ids::CustomerId;
use std::sync::Arc;
use store::Tx;
use store::features::Feature;
use store::snapshots::Snapshot;
use tokio::sync::watch;

impl Engine {
    /// Answers also when the answer is no. What another process has changed a second ago is seen.
    pub async fn check(&self, subject: &Subject, feature: &str) -> Result<Decision, Failure> {
        check_feature_key(feature)?;
        let snapshot = self.snapshot(subject).await?;
        let grants = snapshot.as_ref().map(|known| known.of_feature(feature));
        Ok(decide(grants.unwrap_or_default(), self.clock().now()))
    }

    /// What is known of somebody's access; only an end user's own may not exist yet.
    async fn snapshot(&self, subject: &Subject) -> Result<Option<Arc<Snapshot>>, Failure> {
        let name = match subject {
            Subject::Named(name) | Subject::Own(name) => name.as_str(),
            Subject::Known(id) => id.as_str(),
        };
        let found = match self.store().snapshots().get(name) {
            Some(known) => {
                if known.is_due {
                    self.renew_snapshot(name);
                }
                Some(known.snapshot)
            }
            None => match self.inner.unknown.ask(name.to_owned()).await {
                Verdict::Answer(found) => found?,
                Verdict::Alone => self.read_snapshots(&[name.to_owned()]).await?.pop().flatten(),
            },
        };
        match subject {
            Subject::Own(name) => Ok(found.filter(|known| {
                known.external_id.as_ref().is_none_or(|external_id| external_id == name)
            })),
            _ => Ok(Some(found.ok_or_else(customers::not_found)?)),
        }
    }

    /// Has somebody's snapshot read anew; who asks meanwhile is answered from the one there is.
    fn renew_snapshot(&self, name: &str) {
        let (engine, name) = (self.clone(), name.to_owned());
        tokio::spawn(async move {
            if let Verdict::Answer(Err(failure)) = engine.inner.unknown.ask(name).await {
                tracing::warn!(%failure, "access was not read ahead: it is once it is too old");
            }
        });
    }

    /// Reads folds of snapshots until told to stop.
    pub(crate) async fn fold_snapshots(self, mut shutdown: watch::Receiver<bool>) {
        let taker = self.inner.unknown.taker();
        while let Some(round) = taker.take(&mut shutdown).await {
            let found = async {
                let found = self.read_snapshots(&round.asked).await?;
                Ok(found.into_iter().map(|one| Verdict::Answer(Ok(one))).collect())
            };
            let outcome = taker.within(found).await;
            taker.tell(round, outcome);
        }
    }

    async fn read_snapshots(
        &self,
        names: &[String],
    ) -> Result<Vec<Option<Arc<Snapshot>>>, Failure> {
        let snapshots = self.store().snapshots();
        let before = snapshots.marks();
        let mut tx = self.store().read("check").await?;
        let found = tx.snapshots_read(&names.iter().map(String::as_str).collect()).await?;
        for snapshot in found.values() {
            snapshots.keep(snapshot, &before);
        }
        Ok(names.iter().map(|name| found.get(name).cloned()).collect())
    }

    /// Every feature there is, with the name people read.
    pub async fn features_list(&self) -> Result<Vec<Feature>, Failure> {
        let mut tx = self.store().read("features.list").await?;
        Ok(tx.features_list().await?)
    }

    /// The gate, inside the transaction that does what it guards.
    pub(crate) async fn gate(
        &self,
        tx: &mut Tx,
        customer: Option<&CustomerId>,
        feature: &str,
    ) -> Result<(), Failure> {
        let grants = match customer {
            Some(id) => tx.entitlements_of_feature(id, feature).await?,
            None => Vec::new(),
        };
        let decision = decide(&grants, self.clock().now());
        if decision.allowed {
            return Ok(());
        }
        let unlocks =
            |grants: &Grants| grants.features.iter().any(|grant| grant.feature == feature);
        Err(Failure::NotEntitled {
            feature: feature.to_owned(),
            reason: decision.reason.as_str(),
            offers: self.offers(tx, unlocks).await?,
        })
    }
}
