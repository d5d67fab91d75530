//! When the loops run, and who runs them: each replica names the run of the present slot, one
//! insert wins, and whoever leases the row does the work.

use super::running::lease_end;
use super::{Loop, Report};
use crate::Engine;
use crate::failures::Failure;
use domain::ids::SyncRunId;
use domain::time::Timestamp;
use std::time::Duration;
use store::Tx;
use store::sync_runs::{SyncRun, SyncState};
use tokio::sync::watch;

const TICK: Duration = Duration::from_secs(1);
/// Scheduled runs are forgotten after this; what somebody asked for is kept.
const KEPT_SECONDS: i64 = 14 * 86_400;

impl Engine {
    /// Looks for due runs and does them until told to stop.
    pub(crate) async fn sync_work(self, mut shutdown: watch::Receiver<bool>) {
        if self.inner.provider.is_none() {
            return;
        }
        while !*shutdown.borrow() {
            let done = tokio::select! {
                // A run that is cut off is taken over when its lease ends: every step is whole.
                _ = shutdown.changed() => return,
                done = self.sync_due() => done,
            };
            if let Err(failure) = &done {
                tracing::error!(%failure, "the comparison with the provider cannot run");
            }
            if matches!(done, Ok(true)) {
                continue;
            }
            tokio::select! {
                () = tokio::time::sleep(TICK) => {}
                _ = shutdown.changed() => {}
            }
        }
    }

    /// Schedules what is due and does one waiting run; `false` where there is none.
    pub async fn sync_due(&self) -> Result<bool, Failure> {
        for kind in [Loop::Pending, Loop::Events, Loop::Objects] {
            self.sync_schedule(kind).await?;
        }
        let now = self.clock().wall();
        let mut tx = self.store().begin("sync_runs.claim").await?;
        let claimed = tx.sync_runs_claim(now, lease_end(now)).await?;
        tx.commit().await?;
        let Some(run) = claimed else {
            return Ok(false);
        };
        self.sync_execute(run, &|_| {}).await?;
        Ok(true)
    }

    /// Names the run of the present slot, unless its loop is off or still at work.
    async fn sync_schedule(&self, kind: Loop) -> Result<(), Failure> {
        let sync = &self.settings().sync;
        let interval = match kind {
            Loop::Pending => sync.pending_seconds,
            Loop::Events => sync.events_seconds,
            Loop::Objects => sync.objects_seconds,
            Loop::Manual => 0,
        };
        if interval == 0 {
            return Ok(());
        }
        let now = self.clock().wall();
        let slot = now.seconds() - now.seconds().rem_euclid(i64::from(interval));
        let id = SyncRunId::new(Timestamp::from_seconds(slot), slot_mark(kind));
        let mut tx = self.store().read("sync_runs.slot").await?;
        let known = tx.sync_runs_get(&id).await?.is_some();
        let busy = !known && 0 < tx.sync_runs_waiting(kind.as_str()).await?;
        drop(tx);
        if known || busy {
            return Ok(());
        }
        let mut tx = self.store().begin("sync_runs.schedule").await?;
        tx.sync_runs_insert(&queued(id, kind, now)).await?;
        tx.sync_runs_prune(kind.as_str(), now.plus_seconds(-KEPT_SECONDS)).await?;
        Ok(tx.commit().await?)
    }

    /// The provider says that events were never made: everything is compared soon, whatever the
    /// schedule says. In the transaction that applies the notice.
    pub(crate) async fn sync_demand(&self, tx: &mut Tx) -> Result<(), Failure> {
        let now = self.clock().wall();
        let id = SyncRunId::new(now, crate::clock::random());
        tx.sync_runs_insert(&queued(id, Loop::Objects, now)).await?;
        Ok(())
    }
}

/// Ids of slots differ by their loop and by nothing else, so that all replicas make the same.
fn slot_mark(kind: Loop) -> [u8; 10] {
    let mut mark = [0; 10];
    for (place, letter) in mark.iter_mut().zip(kind.as_str().bytes()) {
        *place = letter;
    }
    mark
}

fn queued(id: SyncRunId, kind: Loop, now: Timestamp) -> SyncRun {
    SyncRun {
        id,
        kind: kind.as_str().to_owned(),
        scope: None,
        dry_run: false,
        state: SyncState::Queued,
        cursor: None,
        report: Report::default().text(),
        error: None,
        leased_until: Timestamp::from_micros(0),
        created_at: now,
        started_at: None,
        finished_at: None,
    }
}
