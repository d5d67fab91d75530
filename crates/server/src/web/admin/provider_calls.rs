//! Calls to the provider as operators see them: above all those whose outcome nobody knows yet.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use store::provider_calls::{CallState, ProviderCall};

use super::tables::{ListParams, later, older, state_form};
use super::{SignedIn, moment, page, refused};
use crate::App;
use crate::problem::Problem;
use crate::requests::Params;

const LIST: &str = "/admin/calls";
const STATES: [CallState; 4] =
    [CallState::Unknown, CallState::Intended, CallState::Refused, CallState::Done];

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
) -> Result<Response, Problem> {
    let listed = match params.page() {
        Ok(page) => app.engine.provider_calls_list(page, params.state()).await,
        Err(failure) => Err(failure),
    };
    let listed = match listed {
        Ok(listed) => listed,
        Err(failure) => return Ok(refused(&signed_in, LIST, &failure.into())),
    };
    let body = html! {
        h1 #calls { "Calls to the provider" }
        p .lead { "What we asked for. Unknown outcomes are asked for again under the same key." }
        (state_form(LIST, &STATES.map(CallState::as_str), &params))
        @if listed.data.is_empty() { p { "No such calls." } } @else { (table(&listed.data)) }
        (older(LIST, &params, listed.next_cursor.as_deref()))
    };
    Ok(page(&signed_in, LIST, "Calls to the provider", body).into_response())
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
                    td { (later(row.next_attempt_at, !row.state.is_settled())) }
                    td { code { (row.object_id.as_deref().unwrap_or("")) } }
                    td .words { (row.outcome.as_deref().unwrap_or("")) }
                } } }
            }
        }
    }
}
