//! Our own news on its way to receivers, as operators see it: above all what was given up.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use store::deliveries::{Delivery, DeliveryState};

use super::tables::{ListParams, later, older, state_form};
use super::{SignedIn, moment, page, refused};
use crate::App;
use crate::problem::Problem;
use crate::requests::Params;

const LIST: &str = "/admin/deliveries";
const STATES: [DeliveryState; 3] =
    [DeliveryState::Failed, DeliveryState::Pending, DeliveryState::Delivered];

/// The operator's list of outgoing deliveries
#[utoipa::path(
    get, path = "/admin/deliveries", tag = "pages", operation_id = "admin_deliveries",
    security(()), params(ListParams),
    responses((status = 200, description = "One page of deliveries", content_type = "text/html")),
)]
pub async fn list(
    State(app): State<App>,
    signed_in: SignedIn,
    Params(params): Params<ListParams>,
) -> Result<Response, Problem> {
    let listed = match params.page() {
        Ok(page) => app.engine.deliveries_list(page, None, params.state()).await,
        Err(failure) => Err(failure),
    };
    let listed = match listed {
        Ok(listed) => listed,
        Err(failure) => return Ok(refused(&signed_in, LIST, &failure.into())),
    };
    let body = html! {
        h1 #deliveries { "Deliveries" }
        p .lead { "News to the merchant's own servers and mail." }
        (state_form(LIST, &STATES.map(DeliveryState::as_str), &params))
        @if listed.data.is_empty() { p { "No such deliveries." } } @else { (table(&listed.data)) }
        (older(LIST, &params, listed.next_cursor.as_deref()))
    };
    Ok(page(&signed_in, LIST, "Deliveries", body).into_response())
}

fn table(rows: &[Delivery]) -> Markup {
    html! {
        div .scroll role="region" aria-labelledby="deliveries" tabindex="0" {
            table {
                thead { tr {
                    th scope="col" { "Begun (UTC)" }
                    th scope="col" { "Receiver" }
                    th scope="col" { "State" }
                    th scope="col" .number { "Attempts" }
                    th scope="col" { "Next attempt" }
                    th scope="col" .number { "Answer" }
                    th scope="col" { "Error" }
                    th scope="col" { "News" }
                } }
                tbody { @for row in rows { tr {
                    td { (moment(row.created_at)) }
                    td { code { (row.receiver) } }
                    td { (row.state.as_str()) }
                    td .number { (row.attempts) }
                    td { (later(row.next_attempt_at, row.state == DeliveryState::Pending)) }
                    td .number { @if let Some(code) = row.status_code { (code) } }
                    td .words { (row.error.as_deref().unwrap_or("")) }
                    td { code { (row.outbox_event_id) } }
                } } }
            }
        }
    }
}
