//! Saving, loading and resetting everything at once, over HTTP.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State as Shared;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::advances;
use crate::app::{Accounts, App};
use crate::controls;
use crate::snapshots::{self, Snapshot, SnapshotError};

/// Why the state is as it was.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error("the file is not UTF-8")]
    Encoding,
    #[error("the clock is moving; wait until it stands")]
    Busy,
    #[error("the change could not be stored")]
    Storage,
}

impl StateError {
    fn status(&self) -> StatusCode {
        match self {
            StateError::Snapshot(SnapshotError::Render(_)) | StateError::Storage => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
            StateError::Snapshot(_) | StateError::Encoding => StatusCode::BAD_REQUEST,
            StateError::Busy => StatusCode::CONFLICT,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            StateError::Snapshot(SnapshotError::Version(_)) => "state_version",
            StateError::Snapshot(SnapshotError::Render(_)) => "state_unreadable",
            StateError::Snapshot(_) | StateError::Encoding => "state_invalid",
            StateError::Busy => "advance_in_progress",
            StateError::Storage => "storage_failed",
        }
    }
}

pub fn saved(app: &App) -> Result<String, SnapshotError> {
    app.read_all(|accounts| snapshots::write(accounts, app.clock.offset_us()))
}

/// All or nothing: a file that cannot be read to its end changes nothing.
pub async fn replace(app: &App, file: &[u8]) -> Result<usize, StateError> {
    let text = std::str::from_utf8(file).map_err(|_| StateError::Encoding)?;
    let snapshot = snapshots::read(text, &app.base_url, &app.clock)?;
    let rows = snapshot.accounts.values().flat_map(|state| state.counts()).map(|(_, n)| n).sum();
    put(app, snapshot).await?;
    Ok(rows)
}

/// As at the first start: no objects, no faults, and the clock on the wall's time.
pub async fn forget(app: &App) -> Result<(), StateError> {
    put(app, Snapshot { accounts: Accounts::new(), offset_us: 0 }).await?;
    app.faults().end();
    Ok(())
}

async fn put(app: &App, snapshot: Snapshot) -> Result<(), StateError> {
    let Ok(_time) = advances::take_time(app).await else {
        return Err(StateError::Busy);
    };
    app.replace(snapshot).await.map_err(|_| StateError::Storage)
}

fn refusal(error: &StateError) -> Response {
    let body = json!({"error": {"code": error.code(), "message": error.to_string()}});
    (error.status(), Json(body)).into_response()
}

fn foreign() -> Response {
    let body = json!({
        "error": {"code": "foreign_origin", "message": "not from another site's page"},
    });
    (StatusCode::FORBIDDEN, Json(body)).into_response()
}

pub async fn save(Shared(app): Shared<Arc<App>>) -> Response {
    match saved(&app) {
        Err(error) => refusal(&error.into()),
        Ok(text) => {
            let headers = [
                (header::CONTENT_TYPE, "application/jsonl; charset=utf-8"),
                (header::CONTENT_DISPOSITION, "attachment; filename=\"sandbox.jsonl\""),
                (header::CACHE_CONTROL, "no-store"),
            ];
            (headers, text).into_response()
        }
    }
}

pub async fn load(Shared(app): Shared<Arc<App>>, headers: HeaderMap, body: Bytes) -> Response {
    if controls::is_foreign(&app, &headers) {
        return foreign();
    }
    match replace(&app, &body).await {
        Ok(rows) => Json(json!({"loaded": rows})).into_response(),
        Err(error) => refusal(&error),
    }
}

pub async fn reset(Shared(app): Shared<Arc<App>>, headers: HeaderMap) -> Response {
    if controls::is_foreign(&app, &headers) {
        return foreign();
    }
    match forget(&app).await {
        Ok(()) => Json(json!({"reset": true})).into_response(),
        Err(error) => refusal(&error),
    }
}
