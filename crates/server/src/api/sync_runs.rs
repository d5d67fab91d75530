//! Sync runs on demand: ask for a comparison with the provider, watch it, read what it found.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use engine::sync_runs::{Counts, Difference, Report, SyncRequest, Trouble};
use serde::{Deserialize, Serialize};
use store::sync_runs::SyncRun;
use utoipa::{IntoParams, ToSchema};

use super::{ListView, time_text};
use crate::App;
use crate::auth::Merchant;
use crate::problem::Problem;
use crate::requests::{Body, Params};

/// What to compare; an empty object compares everything but the catalogue.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SyncRunBody {
    /// Of `products`, `prices`, `checkout_sessions`, `subscriptions`, `invoices`, `charges`,
    /// `refunds`, `disputes`, `credit_notes` and `events`. Naming `products` or `prices` takes over
    /// what was made at the provider.
    pub resources: Option<Vec<String>>,
    /// One customer alone: our id, the external id, or the provider's.
    pub customer: Option<String>,
    /// Nothing made before: an instant (RFC 3339), a date, or a span back from now such as `30d`.
    pub since: Option<String>,
    /// Only say what would change.
    pub dry_run: Option<bool>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct SyncCountsView {
    seen: u64,
    equal: u64,
    /// New here: by a pull of the catalogue or of events.
    created: u64,
    /// Was out of sync; in a dry run it still is.
    repaired: u64,
    failed: u64,
    /// Belongs to nobody here.
    foreign: u64,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct SyncDifferenceView {
    resource: &'static str,
    /// The provider's id of what was compared.
    object: String,
    /// Which row of ours differed.
    row: String,
    row_id: String,
    field: String,
    ours: Option<String>,
    theirs: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct SyncTroubleView {
    resource: &'static str,
    object: Option<String>,
    reason: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct SyncRunView {
    id: String,
    /// `pending`, `events` and `objects` are the scheduled loops, `manual` was asked for.
    kind: String,
    /// `queued`, `running`, `completed`, `partial` (something could not be compared) or `failed`.
    state: &'static str,
    dry_run: bool,
    /// What it was limited to, if anything.
    requested: Vec<&'static str>,
    customer: Option<String>,
    since: Option<String>,
    resources: BTreeMap<&'static str, SyncCountsView>,
    differences: Vec<SyncDifferenceView>,
    /// Differences beyond the five hundred that are listed.
    differences_unlisted: u64,
    troubles: Vec<SyncTroubleView>,
    /// Resources whose list broke off at the provider.
    incomplete: Vec<&'static str>,
    /// The age of the oldest difference that was put right, and of the oldest that was not.
    drift_repaired_seconds: i64,
    drift_unrepaired_seconds: i64,
    error: Option<String>,
    created_at: String,
    started_at: Option<String>,
    finished_at: Option<String>,
}

fn counts_view(counts: Counts) -> SyncCountsView {
    let Counts { seen, equal, created, repaired, failed, foreign } = counts;
    SyncCountsView { seen, equal, created, repaired, failed, foreign }
}

fn difference_view(found: Difference) -> SyncDifferenceView {
    let Difference { resource, object, row, row_id, field, ours, theirs } = found;
    SyncDifferenceView { resource: resource.as_str(), object, row, row_id, field, ours, theirs }
}

fn trouble_view(trouble: Trouble) -> SyncTroubleView {
    let Trouble { resource, object, reason } = trouble;
    SyncTroubleView { resource: resource.as_str(), object, reason }
}

impl From<SyncRun> for SyncRunView {
    fn from(run: SyncRun) -> Self {
        let report = Report::parse(&run.report);
        let asked = SyncRequest::parse(run.scope.as_deref());
        let counts = report.resources.into_iter();
        Self {
            id: run.id.to_string(),
            kind: run.kind,
            state: run.state.as_str(),
            dry_run: run.dry_run,
            requested: asked.resources.iter().map(|resource| resource.as_str()).collect(),
            customer: asked.customer.clone(),
            since: time_text(asked.created_from()),
            resources: counts.map(|(of, counts)| (of.as_str(), counts_view(counts))).collect(),
            differences: report.differences.into_iter().map(difference_view).collect(),
            differences_unlisted: report.unlisted,
            troubles: report.troubles.into_iter().map(trouble_view).collect(),
            incomplete: report.incomplete.iter().map(|resource| resource.as_str()).collect(),
            drift_repaired_seconds: report.drift.repaired_seconds,
            drift_unrepaired_seconds: report.drift.unrepaired_seconds,
            error: run.error,
            created_at: run.created_at.to_string(),
            started_at: time_text(run.started_at),
            finished_at: time_text(run.finished_at),
        }
    }
}

/// Compare with the provider soon
#[utoipa::path(
    post, path = "/v1/sync-runs", tag = "operations", operation_id = "sync_runs_create",
    request_body = SyncRunBody, security(("server_key" = [])),
    responses((status = 202, description = "The run, queued", body = SyncRunView)),
)]
pub async fn create(
    State(app): State<App>,
    _merchant: Merchant,
    Body(body): Body<SyncRunBody>,
) -> Result<(StatusCode, Json<SyncRunView>), Problem> {
    let names = body.resources.unwrap_or_default();
    let now = app.engine.clock().now();
    let request = SyncRequest {
        customer: body.customer,
        dry_run: body.dry_run.unwrap_or(false),
        ..SyncRequest::read(&names, body.since.as_deref(), now)?
    };
    let run = app.engine.sync_runs_create(&request).await?;
    Ok((StatusCode::ACCEPTED, Json(run.into())))
}

/// Which runs.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SyncRunParams {
    /// Only runs of this kind: `pending`, `events`, `objects` or `manual`.
    kind: Option<String>,
    /// How many at most, from 1 to 100; 20 unless given.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// List sync runs, newest first
#[utoipa::path(
    get, path = "/v1/sync-runs", tag = "operations", operation_id = "sync_runs_list",
    params(SyncRunParams), security(("server_key" = [])),
    responses((status = 200, description = "One page", body = ListView<SyncRunView>)),
)]
pub async fn list(
    State(app): State<App>,
    _merchant: Merchant,
    Params(params): Params<SyncRunParams>,
) -> Result<Json<ListView<SyncRunView>>, Problem> {
    let page = engine::Page::new(params.limit, params.cursor)?;
    let listed = app.engine.sync_runs_list(page, params.kind.as_deref()).await?;
    Ok(Json(ListView::of(listed, SyncRunView::from)))
}

/// One sync run: how far it is, or what it found
#[utoipa::path(
    get, path = "/v1/sync-runs/{id}", tag = "operations", operation_id = "sync_runs_get",
    params(("id" = String, Path)), security(("server_key" = [])),
    responses((status = 200, description = "The run", body = SyncRunView)),
)]
pub async fn get(
    State(app): State<App>,
    _merchant: Merchant,
    Path(id): Path<String>,
) -> Result<Json<SyncRunView>, Problem> {
    Ok(Json(app.engine.sync_runs_get(&id).await?.into()))
}
