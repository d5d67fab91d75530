//! Sync runs as operators see them: when, of what, and with which result.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use store::sync_runs::SyncRun;

use super::tables::PageParams;
use super::{SignedIn, address, moment, page, refused};
use crate::App;
use crate::limits::{SHOWN_PAYLOAD_LINES, SHOWN_ROWS};
use crate::problem::Problem;
use crate::reports;
use crate::requests::Params;

const LIST: &str = "/admin/sync-runs";

/// The operator's list of sync runs
#[utoipa::path(
    get, path = "/admin/sync-runs", tag = "pages", operation_id = "admin_sync_runs",
    security(()), params(PageParams),
    responses((status = 200, description = "One page of runs", content_type = "text/html")),
)]
pub async fn list(
    State(app): State<App>,
    signed_in: SignedIn,
    Params(params): Params<PageParams>,
) -> Result<Response, Problem> {
    let listed = match engine::Page::new(Some(SHOWN_ROWS), params.cursor) {
        Ok(page) => app.engine.sync_runs_list(page, None).await,
        Err(failure) => Err(failure),
    };
    let listed = match listed {
        Ok(listed) => listed,
        Err(failure) => return Ok(refused(&signed_in, LIST, &failure.into())),
    };
    let body = html! {
        h1 #runs { "Sync runs" }
        p .lead { "What the provider knows against what we know; what differs is put right." }
        @if listed.data.is_empty() { p { "None yet." } } @else { (table(&listed.data)) }
        @if let Some(cursor) = &listed.next_cursor {
            p { a href=(address(LIST, &[("cursor", cursor)])) { "Older" } }
        }
    };
    Ok(page(&signed_in, LIST, "Sync runs", body).into_response())
}

fn table(rows: &[SyncRun]) -> Markup {
    html! {
        div .scroll role="region" aria-labelledby="runs" tabindex="0" {
            table {
                thead { tr {
                    th scope="col" { "Asked for (UTC)" }
                    th scope="col" { "Of" }
                    th scope="col" { "State" }
                    th scope="col" { "Finished" }
                    th scope="col" { "Report" }
                } }
                tbody { @for row in rows { tr {
                    td { (moment(row.created_at)) }
                    td { (row.kind) @if row.dry_run { " (only looking)" } }
                    td { (row.state.as_str()) }
                    td { @if let Some(at) = row.finished_at { (moment(at)) } }
                    td .words {
                        @if let Some(error) = &row.error { p { (error) } }
                        (report(row))
                    }
                } } }
            }
        }
    }
}

fn report(row: &SyncRun) -> Markup {
    let text = reports::text(row);
    let lines: Vec<&str> = text.lines().collect();
    let shown = lines.len().min(SHOWN_PAYLOAD_LINES);
    let label = format!("Report of {}", row.id);
    html! {
        details {
            summary { "Report" }
            pre role="region" aria-label=(label) tabindex="0" { (lines[..shown].join("\n")) }
            @if shown < lines.len() {
                p {
                    (lines.len() - shown) " more lines: "
                    code { "GET /v1/sync-runs/" (row.id) } " has them all."
                }
            }
        }
    }
}
