//! `/_sandbox`: a page for people, to look at what is there and to do what only the provider can
//! do. It asks the API's own handlers, so it shows what a program would get.

pub mod cards;
mod clocks;
mod events;
pub mod faults;
mod objects;
mod overview;
mod saves;
mod webhooks;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State as Shared};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde_json::Value;

use crate::MAX_STATE_BYTES;
use crate::app::App;
use crate::errors::ApiError;
use crate::params::Params;
use crate::requests::{Call, Verb};
use crate::transactions::Cause;
use crate::{controls, forms, pages, routes, versions};

const ACCOUNT_COOKIE: &str = "sandbox_account";
const STYLE: &str = include_str!("dashboard.css");
const SCRIPT: &str = include_str!("dashboard.js");

/// What the page remembers between two requests; nothing of it is an object of the API.
#[derive(Default)]
pub struct Board(Mutex<Notes>);

#[derive(Default)]
pub struct Notes {
    /// Where the business clock started from and where it goes, while it moves.
    pub moving: Option<(i64, i64)>,
    /// How the last thing that was asked for ended.
    pub outcome: Option<Outcome>,
    /// The card that the next Checkout page is filled with.
    pub card: Option<&'static str>,
}

#[derive(Clone)]
pub enum Outcome {
    Done(String),
    Failed(String),
}

impl Board {
    pub fn notes(&self) -> MutexGuard<'_, Notes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn done(&self, text: impl Into<String>) {
        self.notes().outcome = Some(Outcome::Done(text.into()));
    }

    pub fn failed(&self, text: impl Into<String>) {
        self.notes().outcome = Some(Outcome::Failed(text.into()));
    }
}

pub fn router(app: &Arc<App>) -> Router<Arc<App>> {
    let forms = Router::new()
        .route("/_sandbox/forms/account", post(overview::choose_account))
        .route("/_sandbox/forms/advance", post(clocks::advance))
        .route("/_sandbox/forms/card", post(cards::choose))
        .route("/_sandbox/forms/endpoint", post(webhooks::switch))
        .route("/_sandbox/forms/faults", post(faults::set))
        .route("/_sandbox/forms/faults/end", post(faults::end))
        .route(
            "/_sandbox/forms/load",
            post(saves::load).layer(DefaultBodyLimit::max(MAX_STATE_BYTES)),
        )
        .route("/_sandbox/forms/reset", post(saves::reset))
        .route("/_sandbox/forms/resend", post(events::resend))
        .route("/_sandbox/forms/test_clock", post(clocks::advance_test_clock))
        .layer(middleware::from_fn_with_state(app.clone(), refuse_foreign));
    Router::new()
        .route("/_sandbox", get(overview::show))
        .route("/_sandbox/cards", get(cards::show))
        .route("/_sandbox/dashboard.js", get(script))
        .route("/_sandbox/events", get(events::list))
        .route("/_sandbox/events/{id}", get(events::show))
        .route("/_sandbox/objects", get(objects::list))
        .route("/_sandbox/objects/{id}", get(objects::show))
        .route("/_sandbox/saves", get(saves::show))
        .route("/_sandbox/webhooks", get(webhooks::show))
        .merge(forms)
}

/// A page of another site must not change anything through its visitor's browser.
async fn refuse_foreign(
    Shared(app): Shared<Arc<App>>,
    headers: HeaderMap,
    request: Request,
    next: Next,
) -> Response {
    if controls::is_foreign(&app, &headers) {
        return pages::message(StatusCode::FORBIDDEN, "Refused", "Not from another site's page.");
    }
    next.run(request).await
}

async fn script() -> Response {
    ([(header::CONTENT_TYPE, "text/javascript; charset=utf-8")], SCRIPT).into_response()
}

/// The account that this browser looks at: the chosen one while it exists, else the main one.
fn account(app: &App, headers: &HeaderMap) -> String {
    let cookies = headers.get(header::COOKIE).and_then(|value| value.to_str().ok());
    let chosen = cookies.unwrap_or_default().split("; ").find_map(|cookie| {
        let (name, value) = cookie.split_once('=')?;
        (name == ACCOUNT_COOKIE).then(|| value.to_owned())
    });
    let known = |id: &String| app.read_all(|accounts| accounts.contains_key(id));
    chosen.filter(known).unwrap_or_else(|| app.main_account.clone())
}

/// What the API answers; nothing where it has no such route.
async fn ask(
    app: &App,
    account: &str,
    verb: Verb,
    path: &str,
    form: &str,
) -> Option<Result<Value, ApiError>> {
    let fields = match forms::decode(form.as_bytes()) {
        Ok(fields) => fields,
        Err(error) => return Some(Err(error)),
    };
    let mut call = Call {
        path: format!("/v1/{path}"),
        id: String::new(),
        parent: String::new(),
        params: Params::new(fields),
        expand: Vec::new(),
        version: versions::LATEST,
    };
    let handler = routes::find(verb, &mut call)?;
    Some(app.run(account, Cause::default(), |tx| handler(tx, &mut call)).await)
}

/// A form as `ask` takes it.
fn form(fields: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

const NAVIGATION: [(&str, &str); 6] = [
    ("/_sandbox", "Overview"),
    ("/_sandbox/events", "Events"),
    ("/_sandbox/webhooks", "Webhooks"),
    ("/_sandbox/faults", "Faults"),
    ("/_sandbox/cards", "Cards"),
    ("/_sandbox/saves", "Save and load"),
];

/// A page of the dashboard. Faults that are on are said on every one of them.
fn page(app: &App, here: &str, title: &str, body: Markup) -> Response {
    let outcome = app.board.notes().outcome.take();
    let active = app.faults().active();
    let document = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="robots" content="noindex";
                title { (title) " · Tollgate sandbox" }
                style { (PreEscaped(pages::STYLE)) (PreEscaped(STYLE)) }
                script src="/_sandbox/dashboard.js" defer {}
            }
            body class="dashboard" {
                header {
                    p class="mark" { "Tollgate sandbox — simulated, no real money" }
                    nav aria-label="Sandbox" {
                        @for (address, name) in NAVIGATION {
                            a href=(address) aria-current=[(address == here).then_some("page")] {
                                (name)
                            }
                        }
                    }
                }
                main {
                    h1 { (title) }
                    @if !active.is_empty() { (faults::banner(&active)) }
                    @match outcome {
                        Some(Outcome::Done(text)) => {
                            p class="done" role="status" id="outcome" { (text) }
                        }
                        Some(Outcome::Failed(text)) => {
                            p class="alert" role="alert" id="outcome" { (text) }
                        }
                        None => {}
                    }
                    (body)
                }
            }
        }
    };
    let mut response = (StatusCode::OK, document).into_response();
    let policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'self'; \
                  img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Without a referrer, browsers send forms with the origin `null`, which is nobody's.
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    response
}

/// An instant of the business clock, for people and exactly.
fn instant(seconds: i64) -> Markup {
    html! { time datetime=(crate::clock::exact(seconds)) { (crate::clock::minute(seconds)) } }
}

/// An instant of the wall clock.
fn wall_instant(milliseconds: i64) -> Markup {
    instant(milliseconds.div_euclid(1_000))
}
