//! Metrics: what an operator's monitoring asks for, read from the database when asked.
//!
//! Only what waits is counted: that is never much, while what is settled is kept for ever. What was
//! told is told again for some seconds, so that nobody who asks often keeps the database busy.

use crate::Engine;
use crate::failures::Failure;
use crate::sync_runs::{Drift, Loop, Report, Resource};
use domain::time::Timestamp;
use std::sync::Arc;
use store::inbox::InboxState;
use tokio::sync::Mutex;

const REMEMBERED_SECONDS: i64 = 5;

/// The last numbers and when they were read; who comes while they are being read waits for them.
#[derive(Debug, Default)]
pub(crate) struct Told {
    last: Mutex<Option<(Timestamp, Arc<Metrics>)>>,
}

#[derive(Debug, Clone)]
pub struct Metrics {
    /// Events that wait, by state.
    pub inbox: [(&'static str, i64); 2],
    pub oldest_pending_seconds: i64,
    pub oldest_parked_seconds: i64,
    /// Calls to the provider without an outcome, by state.
    pub provider_calls: Vec<(String, i64)>,
    /// Deliveries that wait, and those that were given up.
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
    /// What is true now, or was some seconds ago.
    pub async fn metrics(&self) -> Result<Arc<Metrics>, Failure> {
        let now = self.clock().wall();
        let mut last = self.inner.metrics.last.lock().await;
        if let Some((read_at, told)) = last.as_ref()
            && *read_at <= now
            && now < read_at.plus_seconds(REMEMBERED_SECONDS)
        {
            return Ok(told.clone());
        }
        let told = Arc::new(self.metrics_read(now).await?);
        *last = Some((now, told.clone()));
        Ok(told)
    }

    async fn metrics_read(&self, now: Timestamp) -> Result<Metrics, Failure> {
        let mut tx = self.store().read("metrics").await?;
        let waiting = tx.event_log_waiting().await?;
        let count = |wanted: InboxState| {
            let found = waiting.iter().find(|(state, _)| *state == wanted);
            (wanted.as_str(), found.map_or(0, |(_, count)| *count))
        };
        let oldest_pending = tx.event_log_oldest(InboxState::Pending).await?;
        let oldest_parked = tx.event_log_oldest(InboxState::Parked).await?;
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
            inbox: [InboxState::Pending, InboxState::Parked].map(count),
            oldest_pending_seconds: age(now, oldest_pending),
            oldest_parked_seconds: age(now, oldest_parked),
            provider_calls: tx.gauge_provider_calls().await?,
            deliveries: tx.gauge_deliveries().await?,
            sync_runs,
        })
    }
}
