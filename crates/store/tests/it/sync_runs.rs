//! One slot, one run; one run, one worker; on every backend.

use crate::backends;
use domain::ids::SyncRunId;
use domain::time::Timestamp;
use store::sync_runs::{SyncRun, SyncState};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(seconds)
}

fn queued(seconds: i64, kind: &str) -> SyncRun {
    SyncRun {
        id: SyncRunId::new(at(seconds), [7; 10]),
        kind: kind.to_owned(),
        scope: None,
        dry_run: false,
        state: SyncState::Queued,
        cursor: None,
        report: "{}".to_owned(),
        error: None,
        leased_until: at(0),
        created_at: at(seconds),
        started_at: None,
        finished_at: None,
    }
}

#[tokio::test]
async fn a_run_has_one_worker_until_its_lease_is_over() -> anyhow::Result<()> {
    for fresh in backends::migrated().await? {
        let mut tx = fresh.store.begin("test").await?;
        assert!(tx.sync_runs_insert(&queued(100, "events")).await?);
        assert!(!tx.sync_runs_insert(&queued(100, "events")).await?, "the slot is taken");
        assert!(tx.sync_runs_insert(&queued(160, "events")).await?);
        assert!(tx.sync_runs_insert(&queued(170, "objects")).await?);
        tx.commit().await?;
        let mut tx = fresh.store.begin("test").await?;
        let mut first = tx.sync_runs_claim(at(200), at(230)).await?.unwrap();
        assert_eq!((first.kind.as_str(), first.created_at), ("events", at(100)), "{}", fresh.name);
        let other = tx.sync_runs_claim(at(201), at(231)).await?.unwrap();
        assert_eq!(other.kind, "objects", "two of one kind do not run at once");
        assert!(tx.sync_runs_claim(at(202), at(232)).await?.is_none());
        first.report = "{\"seen\":1}".to_owned();
        assert!(tx.sync_runs_progress(&first, at(240)).await?);
        assert!(!tx.sync_runs_progress(&first, at(250)).await?, "the token has changed");
        tx.commit().await?;
        let mut tx = fresh.store.begin("test").await?;
        let mut again = tx.sync_runs_claim(at(240), at(300)).await?.unwrap();
        assert_eq!(again.id, first.id, "a run whose worker is gone is taken over");
        assert_eq!(again.report, "{\"seen\":1}");
        first.leased_until = at(240);
        assert!(!tx.sync_runs_finish(&first, at(241)).await?, "the old worker has lost it");
        again.state = SyncState::Partial;
        again.cursor = Some("199".to_owned());
        assert!(tx.sync_runs_finish(&again, at(242)).await?);
        assert_eq!(tx.sync_runs_waiting("events").await?, 1);
        assert_eq!(tx.sync_runs_cursor("events").await?.as_deref(), Some("199"));
        let done = tx.sync_runs_finished("events").await?.unwrap();
        assert_eq!((done.state, done.finished_at), (SyncState::Partial, Some(at(242))));
        assert_eq!(tx.sync_runs_prune("events", at(9_999)).await?, 0, "the cursor stays");
        assert_eq!(tx.sync_runs_list(None, "~", 10).await?.len(), 3);
        assert_eq!(tx.sync_runs_list(Some("objects"), "~", 10).await?.len(), 1);
    }
    Ok(())
}
