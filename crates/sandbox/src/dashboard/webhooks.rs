//! Webhook endpoints, what is on its way to them, and each attempt.

use std::sync::Arc;

use axum::extract::{Form, State as Shared};
use axum::http::HeaderMap;
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;

use crate::app::App;
use crate::dashboard;
use crate::delivery::Delivery;
use crate::pages;
use crate::requests::Verb;
use crate::webhook_endpoints::WebhookEndpoint;

const SHOWN: usize = 50;

pub async fn show(Shared(app): Shared<Arc<App>>, headers: HeaderMap) -> Response {
    let account = dashboard::account(&app, &headers);
    let (endpoints, latest) = app.read(&account, |state| {
        let endpoints: Vec<WebhookEndpoint> =
            state.webhook_endpoints.oldest_first().cloned().collect();
        let latest: Vec<(String, Delivery)> = state
            .deliveries
            .newest_first()
            .take(SHOWN)
            .map(|row| {
                let event = state.events.get(&row.event);
                (event.map_or_else(String::new, |event| event.kind.clone()), row.clone())
            })
            .collect();
        (endpoints, latest)
    });
    let body = html! {
        h2 { "Endpoints" }
        @if endpoints.is_empty() {
            p { "There are none. Programs add them at " code { "POST /v1/webhook_endpoints" } "." }
        }
        @for endpoint in &endpoints { (endpoint_section(endpoint)) }
        h2 { "Latest webhooks" }
        @if latest.is_empty() { p { "None was sent yet." } }
        @else { (table(&endpoints, &latest)) }
    };
    dashboard::page(&app, "/_sandbox/webhooks", "Webhooks", body)
}

fn endpoint_section(endpoint: &WebhookEndpoint) -> Markup {
    let (state, next, name) = match endpoint.enabled {
        true => ("enabled", "true", "Disable"),
        false => ("disabled", "false", "Enable"),
    };
    html! {
        section {
            h3 { (endpoint.url) }
            p {
                a href={ "/_sandbox/objects/" (endpoint.id) } { (endpoint.id) }
                " is " strong { (state) } ", hears of " (endpoint.enabled_events.join(", "))
            }
            form method="post" action="/_sandbox/forms/endpoint" {
                input type="hidden" name="id" value=(endpoint.id);
                button type="submit" class="small" name="disabled" value=(next)
                    aria-label={ (name) " " (endpoint.url) } { (name) }
            }
        }
    }
}

fn table(endpoints: &[WebhookEndpoint], latest: &[(String, Delivery)]) -> Markup {
    let url = |id: &str| {
        let endpoint = endpoints.iter().find(|endpoint| endpoint.id == id);
        endpoint.map_or(id.to_owned(), |endpoint| endpoint.url.clone())
    };
    html! {
        table {
            thead {
                tr {
                    th scope="col" { "Event" }
                    th scope="col" { "Endpoint" }
                    th scope="col" { "Attempts" }
                    th scope="col" { "State" }
                }
            }
            tbody {
                @for (kind, delivery) in latest {
                    tr {
                        td { a href={ "/_sandbox/events/" (delivery.event) } { (kind) } }
                        td { (url(&delivery.endpoint)) }
                        td { (delivery.attempts.len()) }
                        td { (in_a_word(delivery)) }
                    }
                }
            }
        }
    }
}

pub fn in_a_word(delivery: &Delivery) -> &'static str {
    match (delivery.arrived_ms, delivery.next_attempt_ms, delivery.attempts.is_empty()) {
        (_, Some(_), true) => "is on its way",
        (None, Some(_), false) => "will be tried again",
        (Some(_), Some(_), false) => "is sent again",
        (Some(_), None, _) => "has arrived",
        (None, None, _) => "was given up",
    }
}

/// Every attempt at one delivery, oldest first.
pub fn attempts(delivery: &Delivery) -> Markup {
    html! {
        @if !delivery.attempts.is_empty() {
            table {
                thead {
                    tr {
                        th scope="col" { "Attempt" }
                        th scope="col" { "When" }
                        th scope="col" { "Answer" }
                    }
                }
                tbody {
                    @for (place, attempt) in delivery.attempts.iter().enumerate() {
                        tr {
                            td { (place + 1) }
                            td { (dashboard::wall_instant(attempt.at_ms)) }
                            td {
                                @if let Some(status) = attempt.status { (status) " " }
                                @if let Some(error) = &attempt.error { (error) }
                            }
                        }
                    }
                }
            }
        }
        @if let Some(next) = delivery.next_attempt_ms.filter(|next| 0 < *next) {
            p { "Next attempt: " (dashboard::wall_instant(next)) }
        }
    }
}

#[derive(Deserialize)]
pub struct Switch {
    id: String,
    disabled: String,
}

pub async fn switch(Shared(app): Shared<Arc<App>>, Form(form): Form<Switch>) -> Response {
    let account = app.holder_of(&form.id);
    let fields = dashboard::form(&[("disabled", &form.disabled)]);
    let path = format!("webhook_endpoints/{}", form.id);
    match dashboard::ask(&app, &account, Verb::Post, &path, &fields).await {
        Some(Ok(endpoint)) => {
            let status = endpoint["status"].as_str().unwrap_or_default();
            app.board.done(format!("{} is {status}.", endpoint["url"].as_str().unwrap_or("It")));
        }
        Some(Err(error)) => app.board.failed(error.message()),
        None => app.board.failed("There is no such endpoint."),
    }
    pages::go("/_sandbox/webhooks")
}
