//! What the read-only lists share: their filter, their way back in time.

use domain::time::Timestamp;
use engine::Failure;
use maud::{Markup, html};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{address, moment};
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
pub(super) fn state_form(path: &str, states: &[&str], params: &ListParams) -> Markup {
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
pub(super) fn older(path: &str, params: &ListParams, cursor: Option<&str>) -> Markup {
    html! {
        @if let Some(cursor) = cursor {
            @let older = address(path, &[("state", &params.state), ("cursor", cursor)]);
            p { a href=(older) { "Older" } }
        }
    }
}

/// When something is tried again, while it is.
pub(super) fn later(at: Timestamp, waits: bool) -> Markup {
    html! { @if waits && 0 < at.micros() { (moment(at)) } }
}
