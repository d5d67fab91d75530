//! The event log: what happened, whom it was told, and telling it once more.

use std::sync::Arc;

use axum::extract::{Form, Path, Query, State as Shared};
use axum::http::HeaderMap;
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;

use crate::app::App;
use crate::dashboard::{self, objects, webhooks};
use crate::delivery::{self, Delivery};
use crate::state::State;
use crate::transactions::Cause;
use crate::{events, pages};

const PAGE: usize = 100;
/// Looking for an object's name reads the payloads; old events are left unread.
const SEARCHED: usize = 5_000;

/// One line of the log.
pub struct Line {
    id: String,
    kind: String,
    created: i64,
    delivered: String,
}

/// The newest events, of one object where it is named.
pub fn rows(state: &State, about: Option<&str>, count: usize) -> Vec<Line> {
    let quoted = about.map(|id| format!("\"{id}\""));
    let events = state.events.newest_first().take(SEARCHED);
    let mentions = events.filter(|event| match &quoted {
        None => true,
        Some(quoted) => event.data.get().contains(quoted.as_str()),
    });
    mentions.take(count).map(|event| line(state, event)).collect()
}

fn line(state: &State, event: &events::Event) -> Line {
    let mut deliveries = state.deliveries.of(&event.id).peekable();
    let delivered = match deliveries.peek() {
        None => "nobody listens".to_owned(),
        Some(_) => {
            let words: Vec<&str> = deliveries.map(webhooks::in_a_word).collect();
            words.join(", ")
        }
    };
    Line { id: event.id.clone(), kind: event.kind.clone(), created: event.created, delivered }
}

pub fn table(lines: &[Line]) -> Markup {
    html! {
        @if lines.is_empty() { p { "Nothing has happened yet." } }
        @else {
            table {
                thead {
                    tr {
                        th scope="col" { "Event" }
                        th scope="col" { "When" }
                        th scope="col" { "Webhooks" }
                    }
                }
                tbody {
                    @for line in lines {
                        tr {
                            td { a href={ "/_sandbox/events/" (line.id) } { (line.kind) } }
                            td { (dashboard::instant(line.created)) }
                            td { (line.delivered) }
                        }
                    }
                }
            }
        }
    }
}

#[derive(Deserialize)]
pub struct Wanted {
    #[serde(default)]
    kind: String,
    before: Option<String>,
}

pub async fn list(
    Shared(app): Shared<Arc<App>>,
    headers: HeaderMap,
    Query(wanted): Query<Wanted>,
) -> Response {
    let account = dashboard::account(&app, &headers);
    let prefix = wanted.kind.trim();
    let lines: Vec<Line> = app.read(&account, |state| {
        let newest_first = state.events.newest_first();
        let older = newest_first
            .skip_while(|event| wanted.before.as_ref().is_some_and(|before| event.id != *before));
        let skipped = usize::from(wanted.before.is_some());
        let matching = older.skip(skipped).filter(|event| event.kind.starts_with(prefix));
        matching.take(PAGE).map(|event| line(state, event)).collect()
    });
    let last = lines.last().filter(|_| lines.len() == PAGE).map(|line| line.id.clone());
    let body = html! {
        form method="get" action="/_sandbox/events" {
            label for="kind" { "Types that start with" }
            div class="row" {
                input id="kind" name="kind" value=(prefix);
                button type="submit" { "Show" }
            }
        }
        (table(&lines))
        @if let Some(last) = last {
            p { a href={ "/_sandbox/events?kind=" (prefix) "&before=" (last) } { "Older" } }
        }
    };
    dashboard::page(&app, "/_sandbox/events", "Events", body)
}

pub async fn show(Shared(app): Shared<Arc<App>>, Path(id): Path<String>) -> Response {
    let account = app.holder_of(&id);
    let found = app.read(&account, |state| {
        let event = state.events.get(&id)?;
        let deliveries: Vec<(String, Delivery)> = state
            .deliveries
            .of(&id)
            .map(|row| {
                let endpoint = state.webhook_endpoints.get(&row.endpoint);
                let url = endpoint.map_or_else(|| row.endpoint.clone(), |it| it.url.clone());
                (url, row.clone())
            })
            .collect();
        Some((events::view(state, event), event.kind.clone(), deliveries))
    });
    let Some((event, kind, deliveries)) = found else {
        return pages::not_found();
    };
    let body = html! {
        p class="muted" { (id) }
        h2 { "Webhooks" }
        @if deliveries.is_empty() { p { "No endpoint wanted to hear of it." } }
        @for (url, delivery) in &deliveries {
            section {
                h3 { (url) }
                p { "This webhook " strong { (webhooks::in_a_word(delivery)) } "." }
                (webhooks::attempts(delivery))
                (resend_form(&id, Some(&delivery.endpoint), "Send it again"))
            }
        }
        @if deliveries.is_empty() { (resend_form(&id, None, "Send it to all endpoints")) }
        h2 { "Payload" }
        (objects::linked_json(&app, &account, &event))
    };
    dashboard::page(&app, "", &kind, body)
}

fn resend_form(event: &str, endpoint: Option<&str>, name: &str) -> Markup {
    html! {
        form method="post" action="/_sandbox/forms/resend" {
            input type="hidden" name="event" value=(event);
            @if let Some(endpoint) = endpoint {
                input type="hidden" name="endpoint" value=(endpoint);
            }
            button type="submit" class="small" { (name) }
        }
    }
}

#[derive(Deserialize)]
pub struct Resend {
    event: String,
    endpoint: Option<String>,
}

pub async fn resend(Shared(app): Shared<Arc<App>>, Form(form): Form<Resend>) -> Response {
    let account = app.holder_of(&form.event);
    let sent = app
        .run(&account, Cause::default(), |tx| {
            delivery::resend(tx, &form.event, form.endpoint.as_deref())
        })
        .await;
    match sent {
        Ok(0) => app.board.failed("No enabled endpoint wants events of this type."),
        Ok(1) => app.board.done("It is on its way again."),
        Ok(count) => app.board.done(format!("It is on its way again to {count} endpoints.")),
        Err(error) => app.board.failed(error.message()),
    }
    pages::go(&format!("/_sandbox/events/{}", form.event))
}
