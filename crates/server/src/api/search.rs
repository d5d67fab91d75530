//! Search: the nearest pieces of text, for the entitled.

use axum::Json;
use axum::extract::State;
use engine::search::SearchRequest;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::App;
use crate::auth::Caller;
use crate::problem::Problem;
use crate::requests::{Body, IdempotencyKey};

/// What to look for: a text or a vector.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SearchBody {
    /// The customer's id or external id; left out with an end-user token.
    customer: Option<String>,
    /// Id or name; the customer's private collection unless given.
    collection: Option<String>,
    query: Option<String>,
    embedding: Option<Vec<f32>>,
    /// From 1 to 50; 3 unless given.
    limit: Option<u32>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct FoundView {
    content: String,
    source: Option<String>,
    /// Euclidean; nearest first.
    distance: f32,
    document: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct SearchView {
    data: Vec<FoundView>,
}

/// Search a collection
#[utoipa::path(
    post, path = "/v1/search", tag = "knowledge", operation_id = "search",
    request_body = SearchBody,
    params(("Idempotency-Key" = Option<String>, Header, description = "Paid for once")),
    responses(
        (status = 200, description = "Nearest first", body = SearchView),
        (status = 402, description = "Not entitled, or too few credits"),
    ),
)]
pub async fn search(
    State(app): State<App>,
    caller: Caller,
    IdempotencyKey(idempotency_key): IdempotencyKey,
    Body(body): Body<SearchBody>,
) -> Result<Json<SearchView>, Problem> {
    let subject = caller.subject(&app, body.customer.as_deref()).await?;
    let request = SearchRequest {
        collection: body.collection,
        query: body.query,
        embedding: body.embedding,
        limit: body.limit,
        idempotency_key,
    };
    let found = app.engine.search(&subject, request).await?;
    let data = found.into_iter().map(|found| FoundView {
        content: found.content,
        source: found.source,
        distance: found.distance,
        document: found.document.to_string(),
    });
    Ok(Json(SearchView { data: data.collect() }))
}
