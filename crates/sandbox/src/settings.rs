//! What a seller sets in the dashboard: when failed payments are tried again, what happens after
//! that, and when renewals are announced.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State as Shared;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::app::App;
use crate::controls;
use crate::requests;
use crate::state::{Row, State};
use crate::transactions::Cause;

const ID: &str = "settings";
const MAX_RETRIES: usize = 8;
const MAX_DAYS: i64 = 60;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Days from each failed attempt to the next.
    pub retry_days: Vec<i64>,
    pub after_retries: AfterRetries,
    /// `invoice.upcoming` comes this many days before a renewal; zero sends none.
    pub upcoming_days: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AfterRetries {
    Cancel,
    Unpaid,
    PastDue,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            retry_days: vec![3, 5, 7],
            after_retries: AfterRetries::Cancel,
            upcoming_days: 7,
        }
    }
}

impl Row for Settings {
    const KIND: &'static str = "settings";
    fn id(&self) -> &str {
        ID
    }
}

impl Settings {
    pub fn of(state: &State) -> Settings {
        state.settings.get(ID).cloned().unwrap_or_default()
    }

    fn check(&self) -> Result<(), String> {
        let in_range = |days: &i64| (1..=MAX_DAYS).contains(days);
        if MAX_RETRIES < self.retry_days.len() || !self.retry_days.iter().all(in_range) {
            return Err(format!("retry_days has up to {MAX_RETRIES} numbers from 1 to {MAX_DAYS}"));
        }
        if !(0..=MAX_DAYS).contains(&self.upcoming_days) {
            return Err(format!("upcoming_days is from 0 to {MAX_DAYS}"));
        }
        Ok(())
    }
}

pub async fn show(Shared(app): Shared<Arc<App>>, headers: HeaderMap) -> Response {
    let account = requests::account_of(&app, &headers);
    Json(app.read(&account, Settings::of)).into_response()
}

/// What the body leaves out stays as it is.
pub async fn set(Shared(app): Shared<Arc<App>>, headers: HeaderMap, body: Bytes) -> Response {
    let refuse = |message: String| {
        let body = json!({"error": {"code": "settings_invalid", "message": message}});
        (StatusCode::BAD_REQUEST, Json(body)).into_response()
    };
    if controls::is_foreign(&app, &headers) {
        return refuse("not from another site's page".to_owned());
    }
    let account = requests::account_of(&app, &headers);
    let old = app.read(&account, Settings::of);
    let new = match changed(&old, &body) {
        Ok(new) => new,
        Err(error) => return refuse(error),
    };
    let kept = new.clone();
    let stored = app.run(&account, Cause::default(), |tx| {
        tx.state.settings.put(kept);
        Ok(())
    });
    match stored.await {
        Ok(()) => Json(new).into_response(),
        Err(error) => refuse(error.message().to_owned()),
    }
}

fn changed(old: &Settings, body: &[u8]) -> Result<Settings, String> {
    let changes: Map<String, Value> =
        serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let mut merged = serde_json::to_value(old).map_err(|error| error.to_string())?;
    if let Value::Object(merged) = &mut merged {
        merged.extend(changes);
    }
    let new: Settings = serde_json::from_value(merged).map_err(|error| error.to_string())?;
    new.check()?;
    Ok(new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_merge_and_are_checked() {
        let old = Settings::default();
        let new = changed(&old, br#"{"retry_days": [1, 2], "after_retries": "unpaid"}"#);
        let new = new.expect("valid settings");
        assert_eq!((new.retry_days, new.upcoming_days), (vec![1, 2], 7));
        assert_eq!(new.after_retries, AfterRetries::Unpaid);
        for bad in [
            "",
            "[]",
            r#"{"retry_days": [0]}"#,
            r#"{"retry_days": [1.5]}"#,
            r#"{"retry_days": [1,1,1,1,1,1,1,1,1]}"#,
            r#"{"upcoming_days": -1}"#,
            r#"{"after_retries": "pause"}"#,
            r#"{"other": 1}"#,
        ] {
            assert!(changed(&old, bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
