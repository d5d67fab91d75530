//! The inbox for operators: the list, one event with all that is kept of it, replay and ignore.

use std::collections::BTreeMap;

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Redirect, Response};
use domain::time::Timestamp;
use engine::event_log::{EventDetail, EventSearch};
use maud::{Markup, html};
use serde::Deserialize;
use store::event_log::LoggedEvent;
use store::inbox::InboxState;
use utoipa::{IntoParams, ToSchema};

use super::{AdminForm, SignedIn, address, audits, badge, done, moment, page, refused};
use crate::App;
use crate::limits::{SHOWN_PAYLOAD_LINES, SHOWN_ROWS};
use crate::problem::Problem;
use crate::requests::{Form, Params};
use crate::web::layout::alert;

const LIST: &str = "/admin/events";
const STATES: [InboxState; 4] =
    [InboxState::Parked, InboxState::Pending, InboxState::Applied, InboxState::Ignored];

/// What was just done, so that the page can say so.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct DoneParams {
    pub(super) done: Option<String>,
}

/// The fields of the filter; browsers send those that are left empty too.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct FilterParams {
    state: String,
    kind: String,
    customer: String,
    about: String,
    cursor: Option<String>,
}

/// Which parked events a button puts back in line.
#[derive(Debug, Deserialize, ToSchema)]
pub struct ReplayForm {
    #[serde(default)]
    csrf: String,
    kind: Option<String>,
    parked_because: Option<String>,
    #[serde(default)]
    reason: String,
}

impl FilterParams {
    fn search(&self) -> EventSearch {
        let wanted = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        EventSearch {
            state: wanted(&self.state),
            kind: wanted(&self.kind),
            customer: wanted(&self.customer),
            about: wanted(&self.about),
        }
    }

    /// The same filter, further back.
    fn older(&self, cursor: &str) -> String {
        let Self { state, kind, customer, about, .. } = self;
        let query = [
            ("state", state.as_str()),
            ("kind", kind),
            ("customer", customer),
            ("about", about),
            ("cursor", cursor),
        ];
        address(LIST, &query)
    }
}

/// The operator's list of events
#[utoipa::path(
    get, path = "/admin/events", tag = "pages", operation_id = "admin_events", security(()),
    params(FilterParams),
    responses((status = 200, description = "One page of the log", content_type = "text/html")),
)]
pub async fn list(
    State(app): State<App>,
    signed_in: SignedIn,
    Params(params): Params<FilterParams>,
) -> Result<Response, Problem> {
    let page_wanted = engine::Page::new(Some(SHOWN_ROWS), params.cursor.clone());
    let listed = match page_wanted {
        Ok(page) => app.engine.event_log(page, &params.search()).await,
        Err(failure) => Err(failure),
    };
    let (rows, next, message, status) = match listed {
        Ok(listed) => (listed.data, listed.next_cursor, html! {}, None),
        Err(failure) => {
            let problem = Problem::from(failure);
            (Vec::new(), None, alert(&problem.detail), Some(problem.status()))
        }
    };
    let body = html! {
        h1 #events { "Events" }
        (message)
        (filter_form(&params))
        @if rows.is_empty() { p { "No such events." } } @else { (table(&rows)) }
        @if let Some(cursor) = &next { p { a href=(params.older(cursor)) { "Older" } } }
    };
    let page = page(&signed_in, LIST, "Events", body);
    Ok(match status {
        Some(status) => page.with_status(status).into_response(),
        None => page.into_response(),
    })
}

fn filter_form(params: &FilterParams) -> Markup {
    let field = |name: &str, label: &str, value: &str, hint: &str| {
        html! {
            div {
                label for=(name) { (label) }
                input id=(name) name=(name) value=(value) placeholder=(hint) autocomplete="off";
            }
        }
    };
    html! {
        form .filters method="get" action=(LIST) role="search" {
            div {
                label for="state" { "State" }
                select #state name="state" {
                    option value="" { "All" }
                    @for state in STATES {
                        option value=(state.as_str()) selected[state.as_str() == params.state] {
                            (state.as_str())
                        }
                    }
                }
            }
            (field("kind", "Type", &params.kind, "invoice.*"))
            (field("customer", "Customer", &params.customer, "our id, yours or theirs"))
            (field("about", "Id of event or object", &params.about, "evt_…, in_…, sub_…"))
            div { button type="submit" { "Show" } }
        }
    }
}

fn table(rows: &[LoggedEvent]) -> Markup {
    html! {
        div .scroll role="region" aria-labelledby="events" tabindex="0" {
            table {
                thead { tr {
                    th scope="col" { "Received (UTC)" }
                    th scope="col" { "Type" }
                    th scope="col" { "State" }
                    th scope="col" { "Customer" }
                    th scope="col" .number { "Attempts" }
                    th scope="col" { "Reason or error" }
                } }
                tbody { @for row in rows { tr {
                    td { (moment(row.received_at)) }
                    td { a href={ (LIST) "/" (row.id) } { (row.kind) } }
                    td { (badge(row.state)) }
                    td { (customer(row)) }
                    td .number { (row.attempts) }
                    td .words { (row.reason.as_deref().unwrap_or("")) }
                } } }
            }
        }
    }
}

/// Ours leads to everything of theirs.
fn customer(row: &LoggedEvent) -> Markup {
    html! {
        @match &row.customer_id {
            Some(id) => {
                a href=(address(LIST, &[("customer", id.as_str())])) { code { (id) } }
            }
            None => { "unknown" }
        }
    }
}

/// One event for operators
#[utoipa::path(
    get, path = "/admin/events/{id}", tag = "pages", operation_id = "admin_event", security(()),
    params(("id" = String, Path), DoneParams),
    responses(
        (status = 200, description = "All that is kept of it", content_type = "text/html"),
        (status = 404, description = "No such event", content_type = "text/html"),
    ),
)]
pub async fn show(
    State(app): State<App>,
    signed_in: SignedIn,
    Path(id): Path<String>,
    Params(params): Params<DoneParams>,
) -> Result<Response, Problem> {
    let message = done(params.done.as_deref());
    Ok(match app.engine.event_detail(&id).await {
        Ok(detail) => detail_page(&signed_in, &detail, message).into_response(),
        Err(failure) => refused(&signed_in, LIST, &failure.into()),
    })
}

fn detail_page(
    signed_in: &SignedIn,
    detail: &EventDetail,
    message: Markup,
) -> super::Page<'static> {
    let event = &detail.event;
    let body = html! {
        h1 .long { (event.kind) }
        p .lead { (badge(event.state)) " " code { (event.provider_event_id) } }
        (message)
        @if let Some(reason) = &event.reason {
            @if event.state == InboxState::Ignored { p .notice { (reason) } }
            @else { p .alert { (reason) } }
        }
        (buttons(signed_in, event))
        h2 { "What is known" }
        (facts(event))
        h2 { "What became of it" }
        @if detail.effects.is_empty() { p { "Nothing of ours belongs to its object." } } @else {
            dl .rows { @for effect in &detail.effects {
                div { dt { (effect.what) } dd { code { (effect.id) } " " (effect.status) } }
            } }
        }
        h2 #payload { "Payload" }
        (payload(detail))
        h2 #headers { "Headers" }
        (headers_table(&detail.headers))
        h2 #acts { "Done by hand" }
        @if detail.audits.is_empty() { p { "Nothing." } } @else {
            (audits::table(&detail.audits, "acts"))
        }
    };
    page(signed_in, LIST, "Event", body)
}

fn buttons(signed_in: &SignedIn, event: &LoggedEvent) -> Markup {
    let is_settled = event.state == InboxState::Applied;
    let may_replay = !is_settled && event.payload_purged_at.is_none();
    let may_ignore = matches!(event.state, InboxState::Parked | InboxState::Pending);
    let form = |verb: &str, label: &str, why: &str, is_plain: bool| {
        let id = format!("{verb}-reason");
        html! {
            form .act method="post" action={ (LIST) "/" (event.id) "/" (verb) } {
                (signed_in.csrf_field())
                label for=(id) { (why) ", for the audit log" }
                input id=(id) name="reason" maxlength="250" autocomplete="off";
                button .plain[is_plain] type="submit" { (label) }
            }
        }
    };
    html! {
        @if may_replay || may_ignore {
            div .acts {
                @if may_replay { (form("replay", "Replay", "Why replay it", false)) }
                @if may_ignore { (form("ignore", "Ignore", "Why ignore it", true)) }
            }
        }
    }
}

fn facts(event: &LoggedEvent) -> Markup {
    let waits = event.state == InboxState::Pending && 0 < event.next_attempt_at.micros();
    let when = |name: &str, at: Option<Timestamp>| {
        html! { @if let Some(at) = at { div { dt { (name) } dd { (moment(at)) " UTC" } } } }
    };
    html! {
        dl .rows {
            div { dt { "Our id" } dd { code { (event.id) } } }
            div { dt { "Customer" } dd { (customer(event)) } }
            div { dt { "In line with" } dd { (others(&event.ordering_key)) } }
            @if let Some(object) = &event.object_id {
                div { dt { "About" } dd { (others(object)) } }
            }
            div {
                dt { "API version" }
                dd { (event.api_version.as_deref().unwrap_or("not said")) }
            }
            div { dt { "Attempts" } dd { (event.attempts) } }
            (when("Next attempt", waits.then_some(event.next_attempt_at)))
            (when("Happened", Some(event.occurred_at)))
            (when("Received", Some(event.received_at)))
            (when(event.state.as_str(), event.applied_at))
            (when("Payload purged", event.payload_purged_at))
        }
    }
}

/// Every event about the same object or counterpart.
fn others(id: &str) -> Markup {
    html! { a href=(address(LIST, &[("about", id)])) { code { (id) } } }
}

fn payload(detail: &EventDetail) -> Markup {
    let Some(bytes) = &detail.payload else {
        let text = "Its time is over; that the event came, and what became of it, stays.";
        return html! { p { (text) } };
    };
    let pretty = match serde_json::from_slice::<serde_json::Value>(bytes) {
        Ok(value) => format!("{value:#}"),
        Err(_) => String::from_utf8_lossy(bytes).into_owned(),
    };
    let lines = pretty.lines().count();
    html! {
        details open[lines <= SHOWN_PAYLOAD_LINES] {
            summary { (lines) " lines" }
            pre role="region" aria-labelledby="payload" tabindex="0" { (pretty) }
        }
    }
}

fn headers_table(headers: &BTreeMap<String, String>) -> Markup {
    html! {
        @if headers.is_empty() { p { "None were kept." } } @else {
            dl .rows { @for (name, value) in headers {
                div { dt { (name) } dd { code { (value) } } }
            } }
        }
    }
}

/// Put an event back in line
#[utoipa::path(
    post, path = "/admin/events/{id}/replay", tag = "pages", operation_id = "admin_event_replay",
    params(("id" = String, Path)), security(()),
    request_body(content = AdminForm, content_type = "application/x-www-form-urlencoded"),
    responses((status = 303, description = "Back to the event")),
)]
pub async fn replay(
    State(app): State<App>,
    signed_in: SignedIn,
    Path(id): Path<String>,
    headers: HeaderMap,
    Form(sent): Form<AdminForm>,
) -> Result<Response, Problem> {
    let act = match signed_in.act(&headers, &sent.csrf, &sent.reason) {
        Ok(act) => act,
        Err(problem) => return Ok(refused(&signed_in, LIST, &problem)),
    };
    let outcome = app.engine.event_replay(&id, &act).await.map_err(Problem::from);
    after(&app, &signed_in, &id, "replayed", outcome).await
}

/// Set an event aside
#[utoipa::path(
    post, path = "/admin/events/{id}/ignore", tag = "pages", operation_id = "admin_event_ignore",
    params(("id" = String, Path)), security(()),
    request_body(content = AdminForm, content_type = "application/x-www-form-urlencoded"),
    responses((status = 303, description = "Back to the event")),
)]
pub async fn ignore(
    State(app): State<App>,
    signed_in: SignedIn,
    Path(id): Path<String>,
    headers: HeaderMap,
    Form(sent): Form<AdminForm>,
) -> Result<Response, Problem> {
    let act = match signed_in.act(&headers, &sent.csrf, &sent.reason) {
        Ok(act) => act,
        Err(problem) => return Ok(refused(&signed_in, LIST, &problem)),
    };
    let outcome = app.engine.event_ignore(&id, &act).await.map_err(Problem::from);
    after(&app, &signed_in, &id, "ignored", outcome).await
}

/// Back to the event, which says what was done or why not.
async fn after(
    app: &App,
    signed_in: &SignedIn,
    id: &str,
    word: &str,
    outcome: Result<EventDetail, Problem>,
) -> Result<Response, Problem> {
    let problem = match outcome {
        Ok(detail) => {
            let path = format!("{LIST}/{}?done={word}", detail.event.id);
            return Ok(Redirect::to(&path).into_response());
        }
        Err(problem) => problem,
    };
    Ok(match app.engine.event_detail(id).await {
        Ok(detail) => {
            let page = detail_page(signed_in, &detail, alert(&problem.detail));
            page.with_status(problem.status()).into_response()
        }
        Err(_) => refused(signed_in, LIST, &problem),
    })
}

/// Put parked events of a kind back in line
#[utoipa::path(
    post, path = "/admin/events/replay", tag = "pages", operation_id = "admin_events_replay",
    security(()),
    request_body(content = ReplayForm, content_type = "application/x-www-form-urlencoded"),
    responses((status = 303, description = "Back to the overview")),
)]
pub async fn replay_parked(
    State(app): State<App>,
    signed_in: SignedIn,
    headers: HeaderMap,
    Form(sent): Form<ReplayForm>,
) -> Result<Response, Problem> {
    let act = match signed_in.act(&headers, &sent.csrf, &sent.reason) {
        Ok(act) => act,
        Err(problem) => return Ok(refused(&signed_in, "/admin", &problem)),
    };
    let (kind, because) = (sent.kind.as_deref(), sent.parked_because.as_deref());
    let done = app.engine.events_replay_parked(kind, because, &act).await?;
    let word = if done.more { "some" } else { "all" };
    Ok(Redirect::to(&format!("/admin?done={word}")).into_response())
}
