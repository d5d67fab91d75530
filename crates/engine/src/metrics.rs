//! Metrics: what an operator's monitoring asks for, read from the database when asked.

use crate::Engine;
use crate::failures::Failure;
use crate::sync_runs::{Drift, Loop, Report, Resource};
use domain::time::Timestamp;

#[derive(Debug, Clone)]
pub struct Metrics {
    /// Events by state.
    pub inbox: Vec<(String, i64)>,
    pub oldest_pending_seconds: i64,
    pub oldest_parked_seconds: i64,
    /// Calls to the provider by state.
    pub provider_calls: Vec<(String, i64)>,
    /// Notifications by state.
    pub deliveries: Vec<(String, i64)>,
    /// The newest finished run of each loop.
    pub sync_runs: Vec<SyncMetrics>,
}

/// What the last run of one loop found.
#[derive(Debug, Clone)]
pub struct SyncMetrics {
    pub kind: &'static str,
    pub finished_seconds_ago: i64,
    pub is_whole: bool,
    pub drift: Drift,
    /// Per resource: how many were put right, and how many could not be.
    pub out_of_sync: Vec<(Resource, i64, i64)>,
}

fn age(now: Timestamp, since: Option<Timestamp>) -> i64 {
    since.map_or(0, |since| (now.seconds() - since.seconds()).max(0))
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

impl Engine {
    pub async fn metrics(&self) -> Result<Metrics, Failure> {
        let now = self.clock().wall();
        let mut tx = self.store().read("metrics").await?;
        let inbox = tx.gauge_inbox().await?;
        let oldest = |state: &str| {
            let row = inbox.iter().find(|row| row.state == state);
            age(now, row.and_then(|row| row.oldest))
        };
        let (oldest_pending_seconds, oldest_parked_seconds) = (oldest("pending"), oldest("parked"));
        let mut sync_runs = Vec::new();
        for kind in Loop::ALL {
            let Some(run) = tx.sync_runs_finished(kind.as_str()).await? else {
                continue;
            };
            let report = Report::parse(&run.report);
            let found = |(resource, counts): (&Resource, &crate::sync_runs::Counts)| {
                (*resource, signed(counts.repaired), signed(counts.failed))
            };
            sync_runs.push(SyncMetrics {
                kind: kind.as_str(),
                finished_seconds_ago: age(now, run.finished_at),
                is_whole: run.error.is_none() && report.is_whole(),
                drift: report.drift,
                out_of_sync: report.resources.iter().map(found).collect(),
            });
        }
        Ok(Metrics {
            oldest_pending_seconds,
            oldest_parked_seconds,
            provider_calls: tx.gauge_provider_calls().await?,
            deliveries: tx.gauge_deliveries().await?,
            inbox: inbox.into_iter().map(|row| (row.state, row.count)).collect(),
            sync_runs,
        })
    }
}
