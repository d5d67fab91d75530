//! Documents: text that is stored, cut and embedded, for whoever may search it.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use engine::documents::{DocumentOwner, NewDocument};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{CustomerParams, ListView};
use crate::App;
use crate::auth::Caller;
use crate::limits::DOCUMENT_BODY_BYTES;
use crate::problem::Problem;
use crate::requests::{Body, Params};

/// A document to store.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DocumentNewBody {
    /// Whose it is; a server key that names nobody stores the merchant's own content.
    customer: Option<String>,
    /// Id or name; the customer's private collection unless given.
    collection: Option<String>,
    content: String,
    /// Your own vector for the whole text; ours per piece of it unless given.
    embedding: Option<Vec<f32>>,
    source: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct DocumentView {
    id: String,
    collection: String,
    source: Option<String>,
    /// Into how many pieces it was cut.
    chunks: u32,
    created_at: String,
}

impl From<store::documents::Document> for DocumentView {
    fn from(row: store::documents::Document) -> Self {
        Self {
            id: row.id.to_string(),
            collection: row.collection_id.to_string(),
            source: row.source,
            chunks: row.chunks,
            created_at: row.created_at.to_string(),
        }
    }
}

/// Which documents.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DocumentParams {
    /// Whose; a server key that names nobody lists the merchant's own.
    customer: Option<String>,
    /// Only documents of this collection.
    collection: Option<String>,
    /// How many at most, from 1 to 100; 20 unless given.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Proof that a document is gone.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeletedView {
    id: String,
    deleted: bool,
}

async fn owner(app: &App, caller: &Caller, named: Option<&str>) -> Result<DocumentOwner, Problem> {
    Ok(match caller.subject_if_named(app, named).await? {
        Some(subject) => DocumentOwner::Customer(subject),
        None => DocumentOwner::Merchant,
    })
}

/// Store a document
#[utoipa::path(
    post, path = "/v1/documents", tag = "knowledge", operation_id = "documents_create",
    request_body = DocumentNewBody,
    responses(
        (status = 201, description = "Stored", body = DocumentView),
        (status = 402, description = "Not entitled to the collection"),
    ),
)]
pub async fn create(
    State(app): State<App>,
    caller: Caller,
    Body(body): Body<DocumentNewBody, DOCUMENT_BODY_BYTES>,
) -> Result<(StatusCode, Json<DocumentView>), Problem> {
    let owner = owner(&app, &caller, body.customer.as_deref()).await?;
    let new = NewDocument {
        collection: body.collection,
        content: body.content,
        embedding: body.embedding,
        source: body.source,
    };
    let document = app.engine.documents_add(&owner, new).await?;
    Ok((StatusCode::CREATED, Json(document.into())))
}

/// List documents, newest first
#[utoipa::path(
    get, path = "/v1/documents", tag = "knowledge", operation_id = "documents_list",
    params(DocumentParams),
    responses((status = 200, description = "One page", body = ListView<DocumentView>)),
)]
pub async fn list(
    State(app): State<App>,
    caller: Caller,
    Params(params): Params<DocumentParams>,
) -> Result<Json<ListView<DocumentView>>, Problem> {
    let owner = owner(&app, &caller, params.customer.as_deref()).await?;
    let page = engine::Page::new(params.limit, params.cursor)?;
    let listed = app.engine.documents_list(&owner, params.collection.as_deref(), page).await?;
    Ok(Json(ListView::of(listed, DocumentView::from)))
}

/// Delete a document
#[utoipa::path(
    delete, path = "/v1/documents/{id}", tag = "knowledge", operation_id = "documents_delete",
    params(("id" = String, Path), CustomerParams),
    responses((status = 200, description = "Gone", body = DeletedView)),
)]
pub async fn delete(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Params(params): Params<CustomerParams>,
) -> Result<Json<DeletedView>, Problem> {
    let owner = owner(&app, &caller, params.customer.as_deref()).await?;
    app.engine.documents_delete(&owner, &id).await?;
    Ok(Json(DeletedView { id, deleted: true }))
}
