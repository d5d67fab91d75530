//! `/_sandbox/…`: what a browser or a developer does, by HTTP. No API key is needed; the listener
//! is on the loopback interface.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State as Shared};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::Reach;
use crate::app::App;
use crate::cards::Presence;
use crate::completions::{self, Buyer, Outcome};
use crate::errors::ApiError;
use crate::faults::Setting;
use crate::instruments::Instrument;
use crate::params::Params;
use crate::transactions::Cause;
use crate::{advances, checkout_sessions, delivery, discounts, ids};

pub async fn show_clock(Shared(app): Shared<Arc<App>>) -> Json<Value> {
    let offset_seconds = app.clock.offset_us().div_euclid(1_000_000);
    Json(json!({"now": app.clock.now(), "offset_seconds": offset_seconds}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Advance {
    advance: String,
}

pub async fn move_clock(
    Shared(app): Shared<Arc<App>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let problem = |status: u16, code: &str, message: String| {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = json!({"error": {"code": code, "message": message}});
        (status, Json(body)).into_response()
    };
    if is_foreign(&app, &headers) {
        return problem(403, "foreign_origin", "not from another site's page".to_owned());
    }
    let advance: Advance = match read_object(&body) {
        Ok(advance) => advance,
        Err(error) => return problem(400, "advance_invalid", error.to_string()),
    };
    // The caller may hang up; time that has begun to move still arrives.
    let moving = tokio::spawn(async move { advances::advance(&app, &advance.advance).await });
    match moving.await {
        Ok(Ok(report)) => Json(report).into_response(),
        Ok(Err(error)) => problem(error.status(), error.code(), error.to_string()),
        Err(error) => problem(500, "advance_failed", error.to_string()),
    }
}

pub async fn set_faults(
    Shared(app): Shared<Arc<App>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let refuse = |message: String| {
        let body = json!({"error": {"code": "faults_invalid", "message": message}});
        (StatusCode::BAD_REQUEST, Json(body)).into_response()
    };
    if is_foreign(&app, &headers) {
        return refuse("not from another site's page".to_owned());
    }
    let setting: Setting = match read_object(&body) {
        Ok(setting) => setting,
        Err(error) => return refuse(error.to_string()),
    };
    if let Some(id) = &setting.endpoint
        && app.read_all(|accounts| !accounts.values().any(|state| state.holds(id)))
    {
        return refuse(format!("there is no webhook endpoint {id:?}"));
    }
    match app.faults().set(setting.clone()) {
        Ok(()) => Json(setting).into_response(),
        Err(error) => refuse(error.to_string()),
    }
}

/// JSON objects only: serde would take a list as a struct, too.
fn read_object<T: DeserializeOwned>(body: &[u8]) -> Result<T, serde_json::Error> {
    let fields: Map<String, Value> = serde_json::from_slice(body)?;
    serde_json::from_value(Value::Object(fields))
}

/// A page of another site must not move the clock through its visitor's browser.
pub fn is_foreign(app: &App, headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else {
        return false;
    };
    let origin = String::from_utf8_lossy(origin.as_bytes()).into_owned();
    let same_machine = origin.replacen("//localhost:", "//127.0.0.1:", 1);
    if same_machine == app.base_url {
        return false;
    }
    // Beyond this machine we have names that only the browser knows.
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    app.reach == Reach::ThisMachine || origin.split_once("//").is_none_or(|(_, it)| it != host)
}

/// Sends an event again: to the endpoint the form names, or to all that want it.
pub async fn resend(
    Shared(app): Shared<Arc<App>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if is_foreign(&app, &headers) {
        return refusal(&ApiError::invalid("Not from another site's page."));
    }
    let endpoint = Params::read(&body).and_then(|mut params| {
        let endpoint = params.text("endpoint")?;
        params.finish()?;
        Ok(endpoint)
    });
    let outcome = match endpoint {
        Err(error) => Err(error),
        Ok(endpoint) => {
            app.run(&app.holder_of(&id), Cause::default(), |tx| {
                delivery::resend(tx, &id, endpoint.as_deref())
            })
            .await
        }
    };
    match outcome {
        Ok(count) => Json(json!({"event": id, "deliveries": count})).into_response(),
        Err(error) => refusal(&error),
    }
}

/// An error of the API, for a control.
fn refusal(error: &ApiError) -> Response {
    let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::BAD_REQUEST);
    let request_id = format!("req_{}", ids::letters(14));
    (status, Json(error.body(&request_id))).into_response()
}

/// Finishes a checkout session as its page would.
pub async fn complete_checkout(
    Shared(app): Shared<Arc<App>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if is_foreign(&app, &headers) {
        return refusal(&ApiError::invalid("Not from another site's page."));
    }
    let outcome = match read_buyer(&body) {
        Err(error) => Err(error),
        Ok(Typed { method, email, code, address }) => {
            app.run(&app.holder_of(&id), Cause::default(), |tx| {
                if let Some(address) = address {
                    checkout_sessions::amounts::set_address(tx, &id, address)?;
                }
                if let Some(code) = &code {
                    discounts::apply_code(tx, &id, code)?;
                }
                let saved = tx.state.payment_methods.get(&method);
                let instrument = saved
                    .map(|row| row.instrument.clone())
                    .or_else(|| Instrument::named(&method))
                    .or_else(|| Instrument::typed(&method));
                if instrument.is_none() {
                    return Err(ApiError::no_such("PaymentMethod", &method, "payment_method"));
                }
                // Without a page to ask on, a guest without an e-mail gets an invented one.
                let email = email.or_else(|| Some(format!("guest-{id}@example.com")));
                let buyer = Buyer { instrument, email, name: None };
                let outcome = completions::complete(tx, &id, buyer, Presence::OnSession)?;
                if let Outcome::NeedsAuthentication = outcome {
                    completions::authenticate(tx, &id, true)?;
                }
                let session = checkout_sessions::find(tx.state, &id)?;
                Ok(checkout_sessions::view(tx.state, session))
            })
            .await
        }
    };
    match outcome {
        Ok(session) => Json(session).into_response(),
        Err(error) => refusal(&error),
    }
}

/// What somebody would have typed on the page.
struct Typed {
    method: String,
    email: Option<String>,
    code: Option<String>,
    address: Option<Value>,
}

fn read_buyer(body: &[u8]) -> Result<Typed, ApiError> {
    let mut params = Params::read(body)?;
    let typed = Typed {
        method: params.text("payment_method")?.unwrap_or("pm_card_visa".to_owned()),
        email: params.text("email")?,
        code: params.text("promotion_code")?,
        address: params.address("address")?.set(),
    };
    params.finish()?;
    Ok(typed)
}
