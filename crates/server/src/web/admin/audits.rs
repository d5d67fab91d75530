//! What operators did, newest first.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use domain::ids::InboxEventId;
use maud::{Markup, html};
use store::audits::Audit;

use super::tables::PageParams;
use super::{SignedIn, address, moment, page, refused};
use crate::App;
use crate::limits::SHOWN_ROWS;
use crate::problem::Problem;
use crate::requests::Params;

/// The operator's audit log
#[utoipa::path(
    get, path = "/admin/audits", tag = "pages", operation_id = "admin_audits", security(()),
    params(PageParams),
    responses((status = 200, description = "What operators did", content_type = "text/html")),
)]
pub async fn list(
    State(app): State<App>,
    signed_in: SignedIn,
    Params(params): Params<PageParams>,
) -> Result<Response, Problem> {
    let place = "/admin/audits";
    let listed = match engine::Page::new(Some(SHOWN_ROWS), params.cursor) {
        Ok(page) => app.engine.audits_list(page).await?,
        Err(failure) => return Ok(refused(&signed_in, place, &failure.into())),
    };
    let body = html! {
        h1 #audits { "Audit log" }
        @if listed.data.is_empty() { p { "Nothing was done by hand yet." } } @else {
            (table(&listed.data, "audits"))
        }
        @if let Some(cursor) = &listed.next_cursor {
            p { a href=(address(place, &[("cursor", cursor)])) { "Older" } }
        }
    };
    Ok(page(&signed_in, place, "Audit log", body).into_response())
}

/// The rows, in a region that the heading of that id names.
pub(super) fn table(rows: &[Audit], heading: &str) -> Markup {
    html! {
        div .scroll role="region" aria-labelledby=(heading) tabindex="0" {
            table {
                thead { tr {
                    th scope="col" { "When (UTC)" }
                    th scope="col" { "Key" }
                    th scope="col" { "What" }
                    th scope="col" { "Object" }
                    th scope="col" { "Why" }
                } }
                tbody { @for row in rows { tr {
                    td { (moment(row.created_at)) }
                    td {
                        @if let Some(name) = &row.actor_name { (name) br; }
                        code { (row.actor) }
                    }
                    td { (row.action) }
                    td { (object(&row.object_id)) }
                    td .words { (row.detail.as_deref().unwrap_or("")) }
                } } }
            }
        }
    }
}

fn object(id: &str) -> Markup {
    html! {
        @if InboxEventId::parse(id).is_ok() {
            a href={ "/admin/events/" (id) } { code { (id) } }
        } @else {
            code { (id) }
        }
    }
}
