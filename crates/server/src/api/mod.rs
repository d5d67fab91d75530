//! Our own API under `/v1`: each file parses, calls one engine function and renders.

use domain::catalogue::Billing;
use engine::{Listed, Page};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::problem::Problem;

pub mod check;
pub mod checkout_sessions;
pub mod clock;
pub mod collections;
pub mod credits;
pub mod customers;
pub mod debts;
pub mod deliveries;
pub mod documents;
pub mod events;
pub mod invoices;
pub mod notifications;
pub mod payments;
pub mod portal_sessions;
pub mod prices;
pub mod products;
pub mod provider_calls;
pub mod refunds;
pub mod search;
pub mod subscriptions;
pub mod sync_runs;
pub mod webhook_endpoints;

/// Which page of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PageParams {
    /// How many at most, from 1 to 100; 20 unless given.
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

/// Whose data; only server keys name a customer.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct CustomerParams {
    /// The customer's id or external id; left out with an end-user token.
    pub customer: Option<String>,
}

/// Whose it is about, where a POST says nothing else; no body at all is enough with a token.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CustomerBody {
    /// The customer's id or external id; left out with an end-user token.
    pub customer: Option<String>,
}

/// Whose data, and which page of it.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct CustomerPageParams {
    /// The customer's id or external id; left out with an end-user token.
    pub customer: Option<String>,
    /// How many at most, from 1 to 100; 20 unless given.
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

impl PageParams {
    pub fn page(self) -> Result<Page, Problem> {
        Ok(Page::new(self.limit, self.cursor)?)
    }
}

impl CustomerPageParams {
    pub fn page(&self) -> Result<Page, Problem> {
        Ok(Page::new(self.limit, self.cursor.clone())?)
    }
}

/// One page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct ListView<T> {
    pub data: Vec<T>,
    /// Ask again with this as `cursor`; null on the last page.
    pub next_cursor: Option<String>,
}

impl<T> ListView<T> {
    pub fn of<R>(listed: Listed<R>, view: impl Fn(R) -> T) -> Self {
        Self { data: listed.data.into_iter().map(view).collect(), next_cursor: listed.next_cursor }
    }
}

/// An instant on the wire: RFC 3339 with zone.
pub fn time_text(at: Option<domain::time::Timestamp>) -> Option<String> {
    at.map(|at| at.to_string())
}

/// `("month", 1)`, or nothing for what is paid once.
pub fn interval_parts(billing: Billing) -> (Option<&'static str>, Option<u32>) {
    match billing {
        Billing::OneTime => (None, None),
        Billing::Recurring(interval) => (Some(interval.unit.as_str()), Some(interval.count)),
    }
}
