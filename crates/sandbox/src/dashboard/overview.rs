//! The first page: whose account it is, what the clock says, how much of everything there is.

use std::sync::Arc;

use axum::extract::{Form, State as Shared};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;

use crate::app::App;
use crate::dashboard::{self, ACCOUNT_COOKIE, clocks, events, objects};
use crate::pages;

pub async fn show(Shared(app): Shared<Arc<App>>, headers: HeaderMap) -> Response {
    let account = dashboard::account(&app, &headers);
    let counts = app.read(&account, |state| state.counts());
    let recent = app.read(&account, |state| events::rows(state, None, RECENT));
    let body = html! {
        p { "A Stripe-compatible simulator. It is not for production." }
        (accounts(&app, &account))
        (clocks::section(&app))
        section aria-labelledby="objects" {
            h2 id="objects" { "Objects" }
            ul class="cells" {
                @for (kind, count) in counts {
                    @if let Some(known) = objects::kind(kind) {
                        li {
                            a href={ "/_sandbox/objects?kind=" (kind) } {
                                span { (known.label) } strong { (count) }
                            }
                        }
                    }
                }
            }
        }
        section aria-labelledby="recent" {
            h2 id="recent" { "Latest events" }
            (events::table(&recent))
            @if !recent.is_empty() { p { a href="/_sandbox/events" { "All events" } } }
        }
    };
    let mut response = dashboard::page(&app, "/_sandbox", "Sandbox", body);
    if app.board.notes().moving.is_some() {
        response.headers_mut().insert(header::REFRESH, HeaderValue::from_static("1"));
    }
    response
}

const RECENT: usize = 10;

/// Each key has an account of its own; only one with something in it can be chosen.
fn accounts(app: &App, here: &str) -> Markup {
    let ids: Vec<String> = app.read_all(|accounts| {
        let used = accounts.iter().filter(|(id, state)| *id == here || !state.is_empty());
        used.map(|(id, _)| id.clone()).collect()
    });
    let name = |id: &str| match id == app.main_account {
        true => format!("{id} (the key shown at the start)"),
        false => id.to_owned(),
    };
    html! {
        @if ids.len() < 2 { p class="muted" { "Account " (name(here)) } }
        @else {
            form method="post" action="/_sandbox/forms/account" {
                label for="account" { "Account (each secret key has its own)" }
                div class="row" {
                    select id="account" name="account" {
                        @for id in &ids {
                            option value=(id) selected[id == here] { (name(id)) }
                        }
                    }
                    button type="submit" { "Show" }
                }
            }
        }
    }
}

#[derive(Deserialize)]
pub struct Choice {
    account: String,
}

pub async fn choose_account(Shared(app): Shared<Arc<App>>, Form(choice): Form<Choice>) -> Response {
    let mut response = pages::go("/_sandbox");
    let known = app.read_all(|accounts| accounts.contains_key(&choice.account));
    let cookie = format!("{ACCOUNT_COOKIE}={}; Path=/_sandbox; SameSite=Strict", choice.account);
    if known && let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}
