//! Pages for operators: what came in, what went wrong, and what is done about it by hand.
//!
//! An admin key signs in. Nothing here works without a session, and nothing changes without the
//! token that only our own forms carry.

pub mod audits;
mod charts;
pub mod deliveries;
pub mod events;
pub mod overview;
pub mod provider_calls;
pub mod sessions;
pub mod sync_runs;
mod tables;

use axum::extract::FromRequestParts;
use axum::http::{HeaderMap, Method, request::Parts};
use axum::response::{IntoResponse, Response};
use domain::time::Timestamp;
use engine::admin_sessions::Operator;
use engine::audits::Act;
use maud::{Markup, html};
use serde::Deserialize;
use store::inbox::InboxState;
use subtle::ConstantTimeEq;
use utoipa::ToSchema;

use super::layout::{Page, Privacy, alert};
use super::sessions::{Cookie, foreign_form, is_foreign};
use crate::App;
use crate::problem::Problem;

const SECONDS_PER_DAY: i64 = 86_400;

/// A signed-in operator's browser. Everybody else gets the sign-in form instead of the page.
pub struct SignedIn {
    pub operator: Operator,
    token: String,
}

impl FromRequestParts<App> for SignedIn {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Response> {
        if let Some(token) = Cookie::Admin.of(&parts.headers) {
            let found = app.engine.admin_session(token).await;
            let found = found.map_err(|failure| Problem::from(failure).into_response())?;
            if let Some(operator) = found {
                return Ok(Self { operator, token: token.to_owned() });
            }
        }
        let wanted = parts.uri.path_and_query().map_or("", |path| path.as_str());
        let next = if parts.method == Method::GET { wanted } else { "" };
        Err(sessions::form(next, html! {}).into_response())
    }
}

/// What every form of these pages sends along.
#[derive(Debug, Deserialize, ToSchema)]
pub struct AdminForm {
    #[serde(default)]
    csrf: String,
    /// Why; kept in the audit log.
    #[serde(default)]
    reason: String,
}

impl SignedIn {
    /// The hidden field that proves a form was ours.
    fn csrf_field(&self) -> Markup {
        html! { input type="hidden" name="csrf" value=(self.operator.csrf); }
    }

    /// Refuses forms that are not ours.
    fn check(&self, headers: &HeaderMap, csrf: &str) -> Result<(), Problem> {
        let same = self.operator.csrf.as_bytes().ct_eq(csrf.as_bytes());
        if is_foreign(headers) || !bool::from(same) {
            return Err(foreign_form());
        }
        Ok(())
    }

    /// What is done with a form of ours, for the audit log.
    fn act(&self, headers: &HeaderMap, csrf: &str, reason: &str) -> Result<Act, Problem> {
        self.check(headers, csrf)?;
        Ok(Act::new(self.operator.key.id.clone(), Some(reason.to_owned()))?)
    }
}

/// Where the pages are, in the order of the bar.
const PLACES: [(&str, &str); 6] = [
    ("/admin", "Overview"),
    ("/admin/events", "Events"),
    ("/admin/calls", "Calls"),
    ("/admin/deliveries", "Deliveries"),
    ("/admin/sync-runs", "Sync runs"),
    ("/admin/audits", "Audit log"),
];

/// A page of a signed-in operator. `place` is where it belongs in the bar.
fn page<'a>(signed_in: &SignedIn, place: &str, title: &'a str, body: Markup) -> Page<'a> {
    let bar = html! {
        a .brand href="/admin" { "Tollgate operator" }
        @for (path, name) in PLACES {
            a href=(path) aria-current=[(path == place).then_some("page")] { (name) }
        }
        form method="post" action="/admin/sign-out" {
            (signed_in.csrf_field())
            button .small .plain type="submit" { "Sign out" }
        }
    };
    let mut page = Page::new(title, Privacy::Private, body);
    page.bar = Some(bar);
    page
}

/// What did not work, inside the operator's pages.
fn refused(signed_in: &SignedIn, place: &str, problem: &Problem) -> Response {
    let body = html! {
        h1 { "That did not work" }
        (alert(&problem.detail))
        p { a href=(place) { "Back" } }
    };
    let page = page(signed_in, place, "That did not work", body).with_status(problem.status());
    page.into_response()
}

/// A message after something was done, by the word in the address.
fn done(word: Option<&str>) -> Markup {
    let text = match word {
        Some("replayed") => "The event is in line again.",
        Some("ignored") => "The event was set aside.",
        Some("all") => "The parked events are in line again.",
        Some("some") => "As many as fit one order are in line again; there are more.",
        _ => return html! {},
    };
    html! { p .notice role="status" { (text) } }
}

/// 2026-11-21 10:07:03, in UTC.
fn moment(at: Timestamp) -> Markup {
    let second = at.seconds().rem_euclid(SECONDS_PER_DAY);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    html! {
        time .moment datetime=(at) {
            (at.date()) " " (format!("{hour:02}:{minute:02}:{second:02}"))
        }
    }
}

/// How long something has waited, as people say it.
fn age(since: Timestamp, now: Timestamp) -> String {
    let seconds = now.seconds().saturating_sub(since.seconds()).max(0);
    match seconds {
        0..=119 => format!("{seconds} seconds"),
        120..=7_199 => format!("{} minutes", seconds / 60),
        7_200..=172_799 => format!("{} hours", seconds / 3_600),
        _ => format!("{} days", seconds / SECONDS_PER_DAY),
    }
}

/// A state as a badge; its word says what its colour says.
fn badge(state: InboxState) -> Markup {
    html! { span .badge .{ "state-" (state.as_str()) } { (state.as_str()) } }
}

/// An address with a query; empty values are left out.
fn address(path: &str, query: &[(&str, &str)]) -> String {
    let mut pairs = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in query.iter().filter(|(_, value)| !value.is_empty()) {
        pairs.append_pair(name, value);
    }
    match pairs.finish().as_str() {
        "" => path.to_owned(),
        query => format!("{path}?{query}"),
    }
}
