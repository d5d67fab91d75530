//! Access: may this customer use that feature now, and why.

use crate::failures::Failure;
use crate::folds::Verdict;
use crate::{Engine, Subject, customers};
use domain::catalogue::{Grants, check_feature_key};
use domain::entitlements::{Decision, decide};
use domain::ids::CustomerId;
use std::sync::Arc;
use std::time::Duration;
use store::Tx;
use store::features::Feature;
use store::snapshots::Snapshot;
use tokio::sync::{Mutex, mpsc, watch};

/// How many snapshots are read anew at once, and how long the next ones wait for company.
const RENEWALS_MAX: usize = 256;
const RENEWAL_PAUSE: Duration = Duration::from_millis(25);
/// After which nobody has any use for such a reading.
const RENEWAL_TIMEOUT: Duration = Duration::from_secs(1);
/// How many wait to be read anew. Of more, the next one to ask waits for a reading.
const DUE_MAX: usize = 1_024;

/// Customers whose access should be read anew before it is too old.
pub(crate) struct Due {
    line: mpsc::Sender<String>,
    waiting: Mutex<mpsc::Receiver<String>>,
}

impl Due {
    pub fn new() -> Self {
        let (line, waiting) = mpsc::channel(DUE_MAX);
        Self { line, waiting: Mutex::new(waiting) }
    }

    fn note(&self, name: &str) {
        // Where the line is full, or nobody reads ahead, it is read once it is too old.
        let _ = self.line.try_send(name.to_owned());
    }
}

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
                    self.inner.due.note(name);
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

    /// Reads snapshots anew until told to stop; who asks meanwhile is answered from those there
    /// are.
    pub(crate) async fn renew_snapshots(self, mut shutdown: watch::Receiver<bool>) {
        let stopped = async { shutdown.wait_for(|stopped| *stopped).await.map(drop) };
        let renewing = async {
            let mut names = self.inner.due.waiting.lock().await;
            let mut round = Vec::new();
            while 0 < names.recv_many(&mut round, RENEWALS_MAX).await {
                let read = tokio::time::timeout(RENEWAL_TIMEOUT, self.read_snapshots(&round)).await;
                if !matches!(read, Ok(Ok(_))) {
                    tracing::warn!("access was not read ahead: it is once it is too old");
                }
                if round.len() < RENEWALS_MAX {
                    // Those that become due meanwhile share a reading.
                    tokio::time::sleep(RENEWAL_PAUSE).await;
                }
                round.clear();
            }
        };
        tokio::select! {
            _ = stopped => {}
            () = renewing => {}
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
