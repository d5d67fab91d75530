//! The sandbox inside another program: no sockets, no deliveries, no time and no luck of its own.
//!
//! A simulation calls the router, reads the events from the account, and brings them to whom it
//! likes in whatever order.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use axum::Router;

use crate::app::{Accounts, App, Parts};
use crate::clock::Clock;
use crate::errors::ApiError;
use crate::versions::Version;
use crate::{Reach, StartError, accounts, events, http_client, ids, router};

/// The address that pages are said to have.
const BASE_URL: &str = "http://127.0.0.1:12111";

/// An event that the account has made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happened {
    /// Its place in the order of events.
    pub place: i64,
    pub id: String,
    pub kind: String,
    /// Business time in seconds.
    pub created: i64,
}

pub struct InProcess {
    app: Arc<App>,
    account: String,
}

impl InProcess {
    /// An empty sandbox whose time stands where the caller puts it. The ids that this thread makes
    /// follow from the seed.
    pub fn new(
        wall_micros: Arc<AtomicI64>,
        offset_micros: Arc<AtomicI64>,
        secret_key: &str,
        seed: u64,
    ) -> Result<InProcess, StartError> {
        ids::seed(seed);
        let account = accounts::of_key(secret_key);
        let app = App::new(Parts {
            accounts: Accounts::new(),
            base_url: BASE_URL.to_owned(),
            clock: Clock::standing(wall_micros, offset_micros),
            main_account: account.clone(),
            writer: None,
            after_advance: None,
            client: http_client()?,
            reach: Reach::ThisMachine,
        });
        Ok(InProcess { app: Arc::new(app), account })
    }

    /// The API, the pages and the controls.
    pub fn router(&self) -> Router {
        router(self.app.clone())
    }

    /// What has happened after a place, oldest first.
    pub fn happened_after(&self, place: i64) -> Vec<Happened> {
        self.app.read(&self.account, |state| {
            let newer = state.events.listed(None, place.saturating_add(1), i64::MAX);
            let newer = newer.map(|event| Happened {
                place: state.events.place(&event.id).unwrap_or_default(),
                id: event.id.clone(),
                kind: event.kind.clone(),
                created: event.created,
            });
            newer.collect()
        })
    }

    /// An event as an endpoint of that version of the API hears it; none where there is no such
    /// event.
    pub fn event(&self, id: &str, version: &str) -> Result<Option<String>, String> {
        let message = |error: ApiError| error.message().to_owned();
        let version = Version::named(version).map_err(message)?;
        let view = self.app.read(&self.account, |state| {
            state.events.get(id).map(|event| events::view_as(state, event, version).to_string())
        });
        Ok(view)
    }
}
