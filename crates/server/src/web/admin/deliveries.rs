//! Our own news on its way to receivers, as operators see it: above all what was given up.

use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};
use store::deliveries::{Delivery, DeliveryState};

use super::tables::{List, ListParams, later};
use super::{SignedIn, moment};
use crate::App;
use crate::requests::Params;

const LIST: List<'_> = List {
    place: "/admin/deliveries",
    id: "deliveries",
    title: "Deliveries",
    lead: "News to the merchant's own servers and mail.",
    none: "No such deliveries.",
    states: &[
        DeliveryState::Failed.as_str(),
        DeliveryState::Pending.as_str(),
        DeliveryState::Delivered.as_str(),
    ],
};

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
) -> Response {
    let listed = match params.page() {
        Ok(page) => app.engine.deliveries_list(page, None, params.state()).await,
        Err(failure) => Err(failure),
    };
    LIST.page(&signed_in, &params, listed, table)
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
                    td {
                        @let waits = row.state == DeliveryState::Pending;
                        (later(waits.then_some(row.next_attempt_at)))
                    }
                    td .number { @if let Some(code) = row.status_code { (code) } }
                    td .words { (row.error.as_deref().unwrap_or("")) }
                    td { code { (row.outbox_event_id) } }
                } } }
            }
        }
    }
}
