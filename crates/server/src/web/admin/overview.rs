//! What an operator sees first: what waits for a person, what waits for its turn, the last days.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use domain::time::Timestamp;
use engine::overviews::Overview;
use maud::{Markup, html};
use store::event_log::ParkedGroup;

use super::{SignedIn, address, age, charts, done, page};
use crate::App;
use crate::limits::SHOWN_DAYS;
use crate::problem::Problem;
use crate::requests::Params;

use super::events::DoneParams;

/// The operator's overview
#[utoipa::path(
    get, path = "/admin", tag = "pages", operation_id = "admin_overview", security(()),
    params(DoneParams),
    responses(
        (status = 200, description = "What waits, and the last days", content_type = "text/html"),
        (status = 401, description = "The sign-in form", content_type = "text/html"),
    ),
)]
pub async fn show(
    State(app): State<App>,
    signed_in: SignedIn,
    Params(params): Params<DoneParams>,
) -> Result<Response, Problem> {
    let now = app.engine.clock().wall();
    let overview = app.engine.overview(SHOWN_DAYS).await?;
    let body = html! {
        h1 { "Overview" }
        (done(params.done.as_deref()))
        (waiting(&overview, now))
        @if !overview.groups.is_empty() {
            h2 #parked { "Parked" }
            (groups(&overview.groups, &signed_in, now))
        }
        h2 { "The last days" }
        (charts::events(&overview.days))
    };
    Ok(page(&signed_in, "/admin", "Overview", body).into_response())
}

fn waiting(overview: &Overview, now: Timestamp) -> Markup {
    let since = |at: Option<Timestamp>| at.map_or("none".to_owned(), |at| age(at, now));
    let parked = "/admin/events?state=parked";
    html! {
        dl .facts {
            div { dt { "Parked" } dd { a href=(parked) { (overview.parked) } } }
            div { dt { "Oldest parked" } dd { (since(overview.oldest_parked)) } }
            div {
                dt { "Pending" }
                dd { a href="/admin/events?state=pending" { (overview.pending) } }
            }
            div { dt { "Oldest pending" } dd { (since(overview.oldest_pending)) } }
            div {
                dt { "Calls without an outcome" }
                dd { a href="/admin/calls?state=unknown" { (overview.calls_unsettled) } }
            }
            div {
                dt { "Deliveries given up" }
                dd { a href="/admin/deliveries?state=failed" { (overview.deliveries_failed) } }
            }
        }
    }
}

fn groups(groups: &[ParkedGroup], signed_in: &SignedIn, now: Timestamp) -> Markup {
    html! {
        p {
            "These events could not be applied. Once the cause is mended, put them back in line; "
            "nothing happens twice."
        }
        form .buttons method="post" action="/admin/events/replay" {
            (signed_in.csrf_field())
            button type="submit" { "Replay everything parked" }
        }
        div .scroll role="region" aria-labelledby="parked" tabindex="0" {
            table {
                thead { tr {
                    th scope="col" { "Type" }
                    th scope="col" { "Why" }
                    th scope="col" .number { "Events" }
                    th scope="col" { "Oldest" }
                    th scope="col" { "Replay" }
                } }
                tbody { @for group in groups { tr {
                    td { a href=(list_of(group)) { (group.kind) } }
                    td .words { (group.reason.as_deref().unwrap_or("no reason")) }
                    td .number { (group.count) }
                    td { (age(group.oldest, now)) }
                    td { (replay_all(group, signed_in)) }
                } } }
            }
        }
    }
}

fn list_of(group: &ParkedGroup) -> String {
    address("/admin/events", &[("state", "parked"), ("kind", &group.kind)])
}

fn replay_all(group: &ParkedGroup, signed_in: &SignedIn) -> Markup {
    let label = format!("Replay all {} of {}", group.count, group.kind);
    html! {
        form method="post" action="/admin/events/replay" {
            (signed_in.csrf_field())
            input type="hidden" name="kind" value=(group.kind);
            // Empty means those without a reason, and not all of the kind.
            input type="hidden" name="parked_because"
                value=(group.reason.as_deref().unwrap_or_default());
            button .small .plain type="submit" aria-label=(label) { "Replay all" }
        }
    }
}
