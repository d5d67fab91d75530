//! Runs of the comparison with the provider: asked for or scheduled, one worker each.
//!
//! A scheduled run's id is made of its slot of time, so that all replicas name the same run and one
//! insert wins. A worker holds a run by a lease, whose end is also its fencing token. All times are
//! on the wall clock.

use crate::database::Tx;
use crate::errors::StoreError;
use crate::rows::{Row, id};
use crate::sql::{args, statements};
use domain::ids::SyncRunId;
use domain::time::Timestamp;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncState {
    Queued,
    Running,
    Completed,
    /// Something could not be compared or repaired; the rest was.
    Partial,
    Failed,
}

impl SyncState {
    const ALL: [SyncState; 5] = [
        SyncState::Queued,
        SyncState::Running,
        SyncState::Completed,
        SyncState::Partial,
        SyncState::Failed,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            SyncState::Queued => "queued",
            SyncState::Running => "running",
            SyncState::Completed => "completed",
            SyncState::Partial => "partial",
            SyncState::Failed => "failed",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

#[derive(Debug, Clone)]
pub struct SyncRun {
    pub id: SyncRunId,
    /// Which loop, or that somebody asked for it.
    pub kind: String,
    /// What was asked for, as text that only the engine parses.
    pub scope: Option<String>,
    pub dry_run: bool,
    pub state: SyncState,
    /// Where the next run of the kind goes on.
    pub cursor: Option<String>,
    /// What was found so far, as text that only the engine parses.
    pub report: String,
    pub error: Option<String>,
    pub leased_until: Timestamp,
    pub created_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
}

statements! {
    INSERT = "sync_runs.insert":
        "INSERT INTO sync_runs (id, kind, scope, dry_run, state, cursor_text, report, error,
             leased_until, created_at, started_at, finished_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING";
    GET = "sync_runs.get": "SELECT * FROM sync_runs WHERE id = ?";
    LIST = "sync_runs.list": "SELECT * FROM sync_runs WHERE id < ? ORDER BY id DESC LIMIT ?";
    LIST_KIND = "sync_runs.list_kind":
        "SELECT * FROM sync_runs WHERE kind = ? AND id < ? ORDER BY id DESC LIMIT ?";
    WAITING = "sync_runs.waiting":
        "SELECT COUNT(*) AS found FROM sync_runs
         WHERE kind = ? AND state IN ('queued', 'running')";
    NEXT = "sync_runs.next":
        "SELECT * FROM sync_runs r
         WHERE r.state IN ('queued', 'running') AND r.leased_until <= ?
           AND NOT EXISTS (
               SELECT 1 FROM sync_runs o
               WHERE o.kind = r.kind AND o.state = 'running' AND o.leased_until > ?)
         ORDER BY r.id LIMIT 1 FOR UPDATE SKIP LOCKED";
    LEASE = "sync_runs.lease":
        "UPDATE sync_runs SET state = 'running', leased_until = ?,
             started_at = COALESCE(started_at, ?)
         WHERE id = ? AND leased_until = ? AND state IN ('queued', 'running')";
    PROGRESS = "sync_runs.progress":
        "UPDATE sync_runs SET leased_until = ?, report = ?
         WHERE id = ? AND leased_until = ? AND state = 'running'";
    FINISH = "sync_runs.finish":
        "UPDATE sync_runs SET state = ?, cursor_text = ?, report = ?, error = ?, leased_until = 0,
             finished_at = ?
         WHERE id = ? AND leased_until = ? AND state = 'running'";
    FINISHED = "sync_runs.finished":
        "SELECT * FROM sync_runs
         WHERE kind = ? AND dry_run = 0 AND state IN ('completed', 'partial', 'failed')
         ORDER BY id DESC LIMIT 1";
    CURSOR = "sync_runs.cursor":
        "SELECT cursor_text FROM sync_runs
         WHERE kind = ? AND cursor_text IS NOT NULL ORDER BY id DESC LIMIT 1";
    PRUNE = "sync_runs.prune":
        "DELETE FROM sync_runs WHERE kind = ? AND finished_at < ? AND id <> COALESCE((
             SELECT kept.id FROM (
                 SELECT MAX(id) AS id FROM sync_runs
                 WHERE kind = ? AND cursor_text IS NOT NULL) AS kept), '')";
}

fn run(row: &Row) -> Result<SyncRun, StoreError> {
    Ok(SyncRun {
        id: id!(row, "id", SyncRunId)?,
        kind: row.text("kind")?,
        scope: row.opt_text("scope")?,
        dry_run: row.flag("dry_run")?,
        state: row.parsed("state", SyncState::parse)?,
        cursor: row.opt_text("cursor_text")?,
        report: row.text("report")?,
        error: row.opt_text("error")?,
        leased_until: row.time("leased_until")?,
        created_at: row.time("created_at")?,
        started_at: row.opt_time("started_at")?,
        finished_at: row.opt_time("finished_at")?,
    })
}

impl Tx {
    /// Adds a run; `false` where its slot has one already.
    pub async fn sync_runs_insert(&mut self, new: &SyncRun) -> Result<bool, StoreError> {
        let args = args![
            &new.id,
            &new.kind,
            &new.scope,
            new.dry_run,
            new.state.as_str(),
            &new.cursor,
            &new.report,
            &new.error,
            new.leased_until,
            new.created_at,
            new.started_at,
            new.finished_at
        ];
        self.change_if(&INSERT, args).await
    }

    pub async fn sync_runs_get(&mut self, id: &SyncRunId) -> Result<Option<SyncRun>, StoreError> {
        self.first(&GET, args![id]).await?.as_ref().map(run).transpose()
    }

    /// Newest first, after `cursor`; of one kind where it is named.
    pub async fn sync_runs_list(
        &mut self,
        kind: Option<&str>,
        cursor: &str,
        limit: u32,
    ) -> Result<Vec<SyncRun>, StoreError> {
        let rows = match kind {
            None => self.all(&LIST, args![cursor, limit]).await?,
            Some(kind) => self.all(&LIST_KIND, args![kind, cursor, limit]).await?,
        };
        rows.iter().map(run).collect()
    }

    /// How many runs of a kind are not over.
    pub async fn sync_runs_waiting(&mut self, kind: &str) -> Result<i64, StoreError> {
        let row = self.first(&WAITING, args![kind]).await?;
        row.map_or(Ok(0), |row| row.int("found"))
    }

    /// Leases the oldest run that waits, or whose worker is gone, while no other of its kind runs.
    pub async fn sync_runs_claim(
        &mut self,
        now: Timestamp,
        leased_until: Timestamp,
    ) -> Result<Option<SyncRun>, StoreError> {
        let Some(row) = self.first(&NEXT, args![now, now]).await? else {
            return Ok(None);
        };
        let mut claimed = run(&row)?;
        let args = args![leased_until, now, &claimed.id, claimed.leased_until];
        if !self.change_if(&LEASE, args).await? {
            return Ok(None);
        }
        claimed.state = SyncState::Running;
        claimed.started_at = claimed.started_at.or(Some(now));
        claimed.leased_until = leased_until;
        Ok(Some(claimed))
    }

    /// Keeps the lease and shows how far it got; `false` where somebody else has the run.
    pub async fn sync_runs_progress(
        &mut self,
        held: &SyncRun,
        leased_until: Timestamp,
    ) -> Result<bool, StoreError> {
        let args = args![leased_until, &held.report, &held.id, held.leased_until];
        self.change_if(&PROGRESS, args).await
    }

    /// Records the outcome under the lease; `false` where somebody else has the run.
    pub async fn sync_runs_finish(
        &mut self,
        done: &SyncRun,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let args = args![
            done.state.as_str(),
            &done.cursor,
            &done.report,
            &done.error,
            now,
            &done.id,
            done.leased_until
        ];
        self.change_if(&FINISH, args).await
    }

    /// The newest run of a kind that is over and was no rehearsal.
    pub async fn sync_runs_finished(&mut self, kind: &str) -> Result<Option<SyncRun>, StoreError> {
        self.first(&FINISHED, args![kind]).await?.as_ref().map(run).transpose()
    }

    /// Where the last run of a kind left off.
    pub async fn sync_runs_cursor(&mut self, kind: &str) -> Result<Option<String>, StoreError> {
        let row = self.first(&CURSOR, args![kind]).await?;
        Ok(row.map(|row| row.opt_text("cursor_text")).transpose()?.flatten())
    }

    /// Forgets old runs of a kind, but never where the next one goes on.
    pub async fn sync_runs_prune(
        &mut self,
        kind: &str,
        before: Timestamp,
    ) -> Result<u64, StoreError> {
        self.execute(&PRUNE, args![kind, before, kind]).await
    }
}
