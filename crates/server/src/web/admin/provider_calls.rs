//! Calls to the provider as operators see them: above all those whose outcome nobody knows yet.

use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};
use store::provider_calls::{CallState, ProviderCall};

use super::tables::{List, ListParams, later};
use super::{SignedIn, moment};
use crate::App;
use crate::requests::Params;

const LIST: List<'_> = List {
    place: "/admin/calls",
    id: "calls",
    title: "Calls to the provider",
    lead: "What we asked for. Unknown outcomes are asked for again under the same key.",
    none: "No such calls.",
    states: &[
        CallState::Unknown.as_str(),
        CallState::Intended.as_str(),
        CallState::Refused.as_str(),
        CallState::Done.as_str(),
    ],
};

/// The operator's list of calls to the provider
#[utoipa::path(
    get, path = "/admin/calls", tag = "pages", operation_id = "admin_calls", security(()),
    params(ListParams),
    responses((status = 200, description = "One page of calls", content_type = "text/html")),
)]
pub async fn list(
    State(app): State<App>,
    signed_in: SignedIn,
    Params(params): Params<ListParams>,
) -> Response {
    let listed = match params.page() {
        Ok(page) => app.engine.provider_calls_list(page, params.state()).await,
        Err(failure) => Err(failure),
    };
    LIST.page(&signed_in, &params, listed, table)
}

fn table(rows: &[ProviderCall]) -> Markup {
    html! {
        div .scroll role="region" aria-labelledby="calls" tabindex="0" {
            table {
                thead { tr {
                    th scope="col" { "Begun (UTC)" }
                    th scope="col" { "Call" }
                    th scope="col" { "State" }
                    th scope="col" .number { "Attempts" }
                    th scope="col" { "Next attempt" }
                    th scope="col" { "About" }
                    th scope="col" { "Outcome" }
                } }
                tbody { @for row in rows { tr {
                    td { (moment(row.created_at)) }
                    td { (row.kind) }
                    td { (row.state.as_str()) }
                    td .number { (row.attempts) }
                    td { (later((!row.state.is_settled()).then_some(row.next_attempt_at))) }
                    td { code { (row.object_id.as_deref().unwrap_or("")) } }
                    td .words { (row.outcome.as_deref().unwrap_or("")) }
                } } }
            }
        }
    }
}
