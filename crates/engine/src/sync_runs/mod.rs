//! Comparing what we hold with what the provider says, and repairing it (the loop called Heal).
//!
//! The provider's objects are listed or fetched and applied by the functions that apply its events,
//! in a transaction that is kept only where it changes something: what would change nothing is
//! equal, whatever this module knows of it. What a list does not contain is never deleted.

mod catalogue;
mod comparing;
mod events;
mod listing;
mod pending;
mod prices;
mod products;
mod reports;
mod running;
mod schedules;

use crate::Engine;
use crate::clock::random;
use crate::failures::Failure;
use crate::lists::{Listed, Page};
use domain::ids::SyncRunId;
use domain::time::{Timestamp, span_seconds};
use serde::{Deserialize, Serialize};
use std::sync::atomic::AtomicI64;
use store::sync_runs::{SyncRun, SyncState};

pub use reports::{Counts, Difference, Drift, Report, Resource, Trouble};

/// How often each loop runs, and how politely; an interval of zero switches its loop off.
#[derive(Debug, Clone)]
pub struct SyncSettings {
    /// Our own pending things: open pages, payments on their way, overdue subscriptions.
    pub pending_seconds: u32,
    /// The provider's events that we have not heard.
    pub events_seconds: u32,
    /// Every object, compared both ways.
    pub objects_seconds: u32,
    /// How far back the scheduled comparison lists what has a date of its own.
    pub window_days: u32,
    /// All runs of this process together; zero is without limit.
    pub requests_per_second: u32,
}

impl Default for SyncSettings {
    fn default() -> Self {
        Self {
            pending_seconds: 120,
            events_seconds: 3_600,
            objects_seconds: 86_400,
            window_days: 30,
            // A quarter of what the provider allows with a test key.
            requests_per_second: 6,
        }
    }
}

/// Which comparison a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loop {
    Pending,
    Events,
    Objects,
    /// Somebody asked for it.
    Manual,
}

impl Loop {
    pub const ALL: [Loop; 4] = [Loop::Pending, Loop::Events, Loop::Objects, Loop::Manual];

    pub const fn as_str(self) -> &'static str {
        match self {
            Loop::Pending => "pending",
            Loop::Events => "events",
            Loop::Objects => "objects",
            Loop::Manual => "manual",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// What to compare.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct SyncRequest {
    /// Everything but the catalogue and the events where nothing is named.
    #[serde(default)]
    pub resources: Vec<Resource>,
    /// Our id, the external id, or the provider's: nobody else is looked at.
    #[serde(default)]
    pub customer: Option<String>,
    /// Nothing that was made earlier, in seconds; subscriptions are compared whatever their age.
    #[serde(default)]
    pub since: Option<i64>,
    /// Only says what would change.
    #[serde(skip)]
    pub dry_run: bool,
}

impl SyncRequest {
    /// As people and programs ask: names of resources; and an instant, a date, or a span back from
    /// `now`, before which nothing is looked at.
    pub fn read(names: &[String], since: Option<&str>, now: Timestamp) -> Result<Self, Failure> {
        let mut request = Self::default();
        for name in names {
            let resource = Resource::parse(name).ok_or_else(|| {
                let short: String = name.chars().take(64).collect();
                let known = Resource::ALL.map(Resource::as_str).join(", ");
                Failure::invalid("resources", format!("{short:?} is not one of {known}"))
            })?;
            request.resources.push(resource);
        }
        let Some(text) = since else {
            return Ok(request);
        };
        let back = |seconds| now.plus_seconds(-i64::from(seconds));
        let at = span_seconds(text).map(back).or_else(|| Timestamp::parse(text));
        let detail = "since must be a span such as 30d, a date, or an instant in RFC 3339";
        request.since = Some(at.ok_or_else(|| Failure::invalid("since", detail))?.seconds());
        Ok(request)
    }

    /// As a run keeps it.
    pub fn parse(scope: Option<&str>) -> Self {
        scope.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    }

    pub fn created_from(&self) -> Option<Timestamp> {
        self.since.map(Timestamp::from_seconds)
    }
}

/// The next instant at which the provider may be asked again, in wall microseconds.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    next_micros: AtomicI64,
}

/// Hears how far a run has come.
pub type Watcher<'a> = &'a (dyn Fn(&Report) + Send + Sync);

fn not_found() -> Failure {
    Failure::missing("sync run")
}

impl Engine {
    /// Compares now, in this process, and says what was found.
    pub async fn sync(
        &self,
        request: SyncRequest,
        watcher: Watcher<'_>,
    ) -> Result<SyncRun, Failure> {
        self.provider()?;
        let mut run = self.sync_row(&request);
        run.state = SyncState::Running;
        run.started_at = Some(run.created_at);
        run.leased_until = running::lease_end(run.created_at);
        let mut tx = self.store().begin("sync_runs.start").await?;
        tx.sync_runs_insert(&run).await?;
        tx.commit().await?;
        let id = run.id.clone();
        self.sync_execute(run, watcher).await?;
        self.sync_runs_get(id.as_str()).await
    }

    /// Asks for a comparison that a worker makes soon.
    pub async fn sync_runs_create(&self, request: &SyncRequest) -> Result<SyncRun, Failure> {
        self.provider()?;
        let run = self.sync_row(request);
        let mut tx = self.store().begin("sync_runs.create").await?;
        self.sync_whom(&mut tx, request).await?;
        tx.sync_runs_insert(&run).await?;
        tx.commit().await?;
        Ok(run)
    }

    pub async fn sync_runs_get(&self, id: &str) -> Result<SyncRun, Failure> {
        let id = SyncRunId::parse(id).map_err(|_| not_found())?;
        let mut tx = self.store().read("sync_runs.get").await?;
        tx.sync_runs_get(&id).await?.ok_or_else(not_found)
    }

    /// Newest first; of one kind where it is named.
    pub async fn sync_runs_list(
        &self,
        page: Page,
        kind: Option<&str>,
    ) -> Result<Listed<SyncRun>, Failure> {
        if kind.is_some_and(|word| Loop::parse(word).is_none()) {
            let words = Loop::ALL.map(Loop::as_str).join(", ");
            return Err(Failure::invalid("kind", format!("kind must be one of {words}")));
        }
        let mut tx = self.store().read("sync_runs.list").await?;
        let rows = tx.sync_runs_list(kind, page.cursor(), page.fetch()).await?;
        Ok(page.cut(rows, |row| row.id.to_string()))
    }

    fn sync_row(&self, request: &SyncRequest) -> SyncRun {
        let now = self.clock().wall();
        SyncRun {
            id: SyncRunId::new(now, random()),
            kind: Loop::Manual.as_str().to_owned(),
            scope: Some(serde_json::json!(request).to_string()),
            dry_run: request.dry_run,
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
}
