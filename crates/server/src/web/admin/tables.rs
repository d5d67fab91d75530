//! What the read-only lists share: their filter, their way back in time.

use axum::response::{IntoResponse, Response};
use domain::time::Timestamp;
use engine::Failure;
use engine::lists::Listed;
use maud::{Markup, html};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{SignedIn, address, moment, page, refused};
use crate::limits::SHOWN_ROWS;

/// Which part of a list; browsers send a state that is left open as an empty one.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct ListParams {
    state: String,
    cursor: Option<String>,
}

/// Which part of a list that has no filter.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct PageParams {
    pub cursor: Option<String>,
}

impl ListParams {
    pub(super) fn page(&self) -> Result<engine::Page, Failure> {
        engine::Page::new(Some(SHOWN_ROWS), self.cursor.clone())
    }

    pub(super) fn state(&self) -> Option<&str> {
        Some(self.state.as_str()).filter(|state| !state.is_empty())
    }
}

/// A choice of states, the ones that need a person first.
fn state_form(path: &str, states: &[&str], params: &ListParams) -> Markup {
    html! {
        form .filters method="get" action=(path) role="search" {
            div {
                label for="state" { "State" }
                select #state name="state" {
                    option value="" { "All" }
                    @for state in states {
                        option value=(state) selected[*state == params.state] { (state) }
                    }
                }
            }
            div { button type="submit" { "Show" } }
        }
    }
}

/// The way to what came before.
fn older(path: &str, params: &ListParams, cursor: Option<&str>) -> Markup {
    html! {
        @if let Some(cursor) = cursor {
            @let older = address(path, &[("state", &params.state), ("cursor", cursor)]);
            p { a href=(older) { "Older" } }
        }
    }
}

/// When something is tried again, if it is.
pub(super) fn later(at: Option<Timestamp>) -> Markup {
    html! { @if let Some(at) = at.filter(|at| 0 < at.micros()) { (moment(at)) } }
}

/// A read-only list by state: where it is, and its words.
pub(super) struct List<'a> {
    pub place: &'a str,
    /// The heading's id, which names the table's region.
    pub id: &'a str,
    pub title: &'a str,
    pub lead: &'a str,
    pub none: &'a str,
    /// The ones that need a person first.
    pub states: &'a [&'a str],
}

impl List<'_> {
    /// One page of it, or why there is none.
    pub(super) fn page<T>(
        &self,
        signed_in: &SignedIn,
        params: &ListParams,
        listed: Result<Listed<T>, Failure>,
        table: fn(&[T]) -> Markup,
    ) -> Response {
        let listed = match listed {
            Ok(listed) => listed,
            Err(failure) => return refused(signed_in, self.place, &failure.into()),
        };
        let body = html! {
            h1 id=(self.id) { (self.title) }
            p .lead { (self.lead) }
            (state_form(self.place, self.states, params))
            @if listed.data.is_empty() { p { (self.none) } } @else { (table(&listed.data)) }
            (older(self.place, params, listed.next_cursor.as_deref()))
        };
        page(signed_in, self.place, self.title, body).into_response()
    }
}
