//! The hosted portal: what a customer sees and changes by themselves. Every change goes through the
//! same handlers as the API's.

pub mod cancellations;
pub mod details;
pub mod home;
pub mod payment_methods;
pub mod plan_changes;

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use maud::{Markup, html};
use serde_json::Value;

use crate::app::App;
use crate::billing_portal::{self, PortalSession};
use crate::errors::ApiError;
use crate::forms;
use crate::pages;
use crate::params::Params;
use crate::portal_features::Features;
use crate::portal_flows::{After, Kind};
use crate::requests::{Call, Handler};
use crate::state::State;
use crate::subscriptions::Subscription;
use crate::transactions::{Cause, Tx};
use crate::versions::LATEST;

pub fn router() -> Router<Arc<App>> {
    let base = "/p/session/{token}";
    let at = |rest: &str| format!("{base}{rest}");
    Router::new()
        .route(base, get(home::show))
        .route(&at("/cancel"), get(cancellations::show).post(cancellations::submit))
        .route(&at("/confirm"), get(plan_changes::confirm).post(plan_changes::submit))
        .route(&at("/details"), get(details::show).post(details::submit))
        .route(&at("/pay"), post(home::pay))
        .route(&at("/payment-method"), get(payment_methods::show).post(payment_methods::submit))
        .route(&at("/payment-method/default"), post(payment_methods::choose))
        .route(&at("/payment-method/done"), get(payment_methods::done))
        .route(&at("/payment-method/remove"), post(payment_methods::remove))
        .route(&at("/resume"), post(home::resume))
        .route(&at("/update"), get(plan_changes::show))
}

/// A customer at the portal: whose it is, and what they may do.
pub struct Visit {
    pub session: PortalSession,
    pub features: Features,
    pub return_url: Option<String>,
}

impl Visit {
    fn of(state: &State, session: &PortalSession) -> Visit {
        let configuration = state.portal_configurations.get(&session.configuration);
        let own = session.return_url.clone();
        Visit {
            session: session.clone(),
            features: configuration.map_or_else(Features::usual, |row| row.features.clone()),
            return_url: own.or_else(|| configuration?.default_return_url.clone()),
        }
    }

    /// An address within the portal.
    pub fn path(&self, rest: &str) -> String {
        format!("/p/session/{}{rest}", self.session.token)
    }

    /// A subscription that is this customer's own and has not ended.
    pub fn subscription<'a>(&self, state: &'a State, id: &str) -> Option<&'a Subscription> {
        let found = state.subscriptions.get(id);
        found.filter(|row| row.customer == self.session.customer && !row.status.is_final())
    }
}

fn holder(app: &App, token: &str) -> String {
    app.holder(|state| billing_portal::by_token(state, token).is_some())
}

/// Shows a page of an open session.
fn look(app: &App, token: &str, show: impl FnOnce(&State, &Visit) -> Response) -> Response {
    let now = app.clock.now();
    app.read(&holder(app, token), |state| match billing_portal::by_token(state, token) {
        None => pages::not_found(),
        Some(session) if !session.is_open(now) => pages::message(
            StatusCode::GONE,
            "This link has expired",
            "Go back to the shop and open the portal again.",
        ),
        Some(session) => show(state, &Visit::of(state, session)),
    })
}

/// Changes something as the customer of an open session, at their time.
async fn act<T>(
    app: &App,
    token: &str,
    work: impl FnOnce(&mut Tx<'_>, &Visit) -> Result<T, ApiError>,
) -> Result<T, ApiError> {
    let work = |tx: &mut Tx<'_>| {
        let session = billing_portal::by_token(tx.state, token);
        let session = session.filter(|session| session.is_open(tx.now)).cloned();
        let session = session.ok_or_else(|| ApiError::not_found("session", token))?;
        let visit = Visit::of(tx.state, &session);
        tx.follow(Some(&session.customer));
        work(tx, &visit)
    };
    app.run(&holder(app, token), Cause::default(), work).await
}

/// Asks for something as a request to the API would.
fn ask(
    tx: &mut Tx<'_>,
    handler: Handler,
    id: &str,
    form: &[(String, String)],
) -> Result<Value, ApiError> {
    let encoded = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    let mut call = Call {
        path: String::new(),
        id: id.to_owned(),
        parent: String::new(),
        params: Params::new(forms::decode(encoded.as_bytes())?),
        expand: Vec::new(),
        version: LATEST,
    };
    handler(tx, &mut call)
}

fn pair(key: &str, value: &str) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

fn forbidden() -> ApiError {
    ApiError::invalid("This portal does not allow that.")
}

/// A page of the portal, with the way back.
fn page(visit: &Visit, title: &str, error: Option<&ApiError>, body: Markup) -> Response {
    let status = match error {
        None => StatusCode::OK,
        Some(error) => StatusCode::from_u16(error.status()).unwrap_or(StatusCode::BAD_REQUEST),
    };
    let body = html! {
        h1 { (title) }
        @if let Some(error) = error {
            p class="alert" role="alert" id="problem" { (error.message()) }
        }
        (body)
        nav { p { a id="back" href=(visit.path("?home=1")) { "Back to your billing" } } }
    };
    pages::page(status, title, body)
}

fn not_allowed(visit: &Visit, title: &str) -> Response {
    page(visit, title, Some(&forbidden()), html! {})
}

/// Where the customer goes when they have done what they came for.
async fn leave(app: &App, token: &str, done: Kind) -> Response {
    let after = act(app, token, |tx, visit| {
        let mut session = visit.session.clone();
        let Some(flow) = session.flow.as_mut().filter(|flow| flow.kind == done && !flow.done)
        else {
            return Ok(After::Homepage);
        };
        flow.done = true;
        let after = flow.after.clone();
        tx.state.portal_sessions.put(session);
        Ok(after)
    });
    match after.await.unwrap_or(After::Homepage) {
        After::Homepage => pages::go(&format!("/p/session/{token}?home=1")),
        After::Redirect { return_url } => pages::go(&return_url),
        After::Confirmation { message } => {
            let message = message.unwrap_or("Your change has been made.".to_owned());
            pages::message(StatusCode::OK, "Done", &message)
        }
    }
}

/// A form that failed is shown again with the reason; one of nobody's session leads nowhere.
fn failed(error: &ApiError, again: Response) -> Response {
    if error.status() == 404 { pages::not_found() } else { again }
}
