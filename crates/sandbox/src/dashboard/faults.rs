//! Fault switches: the same settings that programs post to `/_sandbox/faults`.

use std::sync::Arc;

use axum::extract::{Form, State as Shared};
use axum::http::HeaderMap;
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;

use crate::app::App;
use crate::dashboard;
use crate::faults::{Api, Rate, Setting};
use crate::pages;

/// Said on every page of the dashboard while something is broken on purpose.
pub fn banner(active: &[Setting]) -> Markup {
    html! {
        section class="alert" aria-label="Faults that are on" id="faults_on" {
            p { "Faults are on:" }
            ul { @for setting in active { li { (in_words(setting)) } } }
            form method="post" action="/_sandbox/forms/faults/end" {
                button type="submit" class="small" { "End all faults" }
            }
        }
    }
}

fn in_words(setting: &Setting) -> String {
    let mut parts = Vec::new();
    for (rate, what) in [
        (setting.drop, "lost"),
        (setting.duplicate, "sent twice"),
        (setting.reorder, "out of order"),
    ] {
        let percent = rate.percent();
        if 0.0 < percent {
            parts.push(format!("{percent} % of webhooks {what}"));
        }
    }
    if setting.delay_ms != 0 {
        parts.push(format!("webhooks {} ms late", setting.delay_ms));
    }
    if setting.api.slow_ms != 0 {
        parts.push(format!("the API is {} ms slow", setting.api.slow_ms));
    }
    if let Some(status) = setting.api.status {
        parts.push(format!("the API answers {status}"));
    }
    if setting.api.timeout_after_effect {
        parts.push("the API does everything and never answers".to_owned());
    }
    let place = match &setting.endpoint {
        Some(endpoint) => format!("To {endpoint}: "),
        None => String::new(),
    };
    format!("{place}{} (seed {})", parts.join(", "), setting.seed)
}

pub async fn show(Shared(app): Shared<Arc<App>>, headers: HeaderMap) -> Response {
    let account = dashboard::account(&app, &headers);
    let endpoints: Vec<(String, String)> = app.read(&account, |state| {
        let rows = state.webhook_endpoints.oldest_first();
        rows.map(|row| (row.id.clone(), row.url.clone())).collect()
    });
    let body = html! {
        p {
            "What can go wrong between a provider and a server, on demand. The same seed makes "
            "the same choices. The API's own faults hit programs, not these pages."
        }
        form method="post" action="/_sandbox/forms/faults" {
            fieldset {
                legend { "Webhooks" }
                div class="fields" {
                    div {
                        label for="endpoint" { "Endpoint" }
                        select id="endpoint" name="endpoint" {
                            option value="" { "All" }
                            @for (id, url) in &endpoints { option value=(id) { (url) } }
                        }
                    }
                    (number("drop", "Lost (%)", "0", "100"))
                    (number("duplicate", "Sent twice at once (%)", "0", "100"))
                    (number("reorder", "Out of order (%)", "0", "100"))
                    (number("delay_ms", "Late by (ms)", "0", "60000"))
                    (number("seed", "Seed", "1", "4294967295"))
                }
            }
            fieldset {
                legend { "API (for all endpoints only)" }
                div class="fields" {
                    (number("slow_ms", "Slow by (ms)", "0", "60000"))
                    div {
                        label for="status" { "Answers" }
                        select id="status" name="status" {
                            option value="" { "as usual" }
                            option value="429" { "429 too many requests" }
                            option value="500" { "500 internal error" }
                        }
                    }
                    div {
                        label for="timeout" {
                            input type="checkbox" id="timeout" name="timeout_after_effect"
                                value="true";
                            " Does everything, never answers"
                        }
                    }
                }
            }
            button type="submit" { "Set these faults" }
        }
    };
    dashboard::page(&app, "/_sandbox/faults", "Faults", body)
}

fn number(name: &str, label: &str, value: &str, most: &str) -> Markup {
    html! {
        div {
            label for=(name) { (label) }
            input id=(name) name=(name) type="number" min="0" max=(most) value=(value) required;
        }
    }
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
#[derive(Default)]
pub struct Fields {
    endpoint: String,
    drop: f64,
    duplicate: f64,
    reorder: f64,
    delay_ms: u64,
    seed: u64,
    slow_ms: u64,
    status: String,
    timeout_after_effect: bool,
}

impl Fields {
    fn setting(self) -> Setting {
        Setting {
            endpoint: Some(self.endpoint).filter(|id| !id.is_empty()),
            seed: self.seed,
            drop: Rate::Share(self.drop / 100.0),
            duplicate: Rate::Share(self.duplicate / 100.0),
            reorder: Rate::Share(self.reorder / 100.0),
            delay_ms: self.delay_ms,
            api: Api {
                slow_ms: self.slow_ms,
                status: self.status.parse().ok(),
                kept: false,
                timeout_after_effect: self.timeout_after_effect,
            },
        }
    }
}

pub async fn set(Shared(app): Shared<Arc<App>>, Form(fields): Form<Fields>) -> Response {
    let outcome = app.faults().set(fields.setting());
    match outcome {
        Ok(()) => app.board.done("The faults are set."),
        Err(error) => app.board.failed(format!("Not set: {error}.")),
    }
    pages::go("/_sandbox/faults")
}

pub async fn end(Shared(app): Shared<Arc<App>>) -> Response {
    app.faults().end();
    app.board.done("All faults have ended.");
    pages::go("/_sandbox/faults")
}
