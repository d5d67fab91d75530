//! The way to the provider and back, inside the process: the sandbox's router without sockets.

use crate::weather::{Fate, Weather};
use axum::Router;
use axum::body::Body;
use providers::stripe::{Answerer, Request, Response};
use std::sync::Arc;
use tower::ServiceExt as _;

const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// How the engine's client reaches the sandbox, in this weather.
pub fn answerer(router: Router, weather: Weather) -> Answerer {
    Arc::new(move |request| {
        let (router, weather) = (router.clone(), weather.clone());
        Box::pin(async move {
            weather.turn().await;
            let fate = weather.fate(request.method.as_str(), &request.path);
            match fate {
                Fate::DeathBefore => weather.die().await,
                Fate::Refused => return Err("the connection was refused".to_owned()),
                Fate::Status(status) => return Ok(trouble(status)),
                Fate::Answered | Fate::Silence | Fate::DeathAfter => {}
            }
            let answer = call(router, request).await;
            match fate {
                Fate::DeathAfter => weather.die().await,
                Fate::Silence => return Err("the answer did not come in time".to_owned()),
                _ => {}
            }
            weather.turn().await;
            answer
        })
    })
}

fn trouble(status: u16) -> Response {
    let body = br#"{"error":{"type":"api_error","message":"trouble"}}"#.to_vec();
    Response { status, headers: Default::default(), body }
}

/// One request to the sandbox.
pub async fn call(router: Router, request: Request) -> Result<Response, String> {
    let mut built = axum::http::Request::builder().method(request.method).uri(request.path);
    if let Some(headers) = built.headers_mut() {
        *headers = request.headers;
    }
    let body = request.body.map_or_else(Body::empty, Body::from);
    let sent = built.body(body).map_err(|error| error.to_string())?;
    let answer = match router.oneshot(sent).await {
        Ok(answer) => answer,
        Err(never) => match never {},
    };
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    let body = axum::body::to_bytes(answer.into_body(), MAX_ANSWER_BYTES).await;
    let body = body.map_err(|error| error.to_string())?.to_vec();
    Ok(Response { status, headers, body })
}
