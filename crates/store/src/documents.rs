//! Documents of collections.

use crate::database::Tx;
use crate::errors::StoreError;
use crate::rows::{Row, id, opt_id};
use crate::sql::{args, statements};
use domain::ids::{CollectionId, CustomerId, DocumentId};
use domain::time::Timestamp;

#[derive(Debug, Clone)]
pub struct Document {
    pub id: DocumentId,
    pub collection_id: CollectionId,
    /// Whose it is; empty for what the merchant sells.
    pub customer_id: Option<CustomerId>,
    pub source: Option<String>,
    pub content: String,
    pub chunks: u32,
    pub created_at: Timestamp,
}

statements! {
    INSERT = "documents.insert":
        "INSERT INTO documents (id, collection_id, customer_id, source, content, chunks, created_at)
         VALUES (?, ?, ?, ?, ?, ?, ?)";
    GET = "documents.get": "SELECT * FROM documents WHERE id = ?";
    LIST = "documents.list":
        "SELECT * FROM documents WHERE collection_id = ? AND id < ? ORDER BY id DESC LIMIT ?";
    DELETE = "documents.delete": "DELETE FROM documents WHERE id = ?";
}

fn document(row: &Row) -> Result<Document, StoreError> {
    Ok(Document {
        id: id!(row, "id", DocumentId)?,
        collection_id: id!(row, "collection_id", CollectionId)?,
        customer_id: opt_id!(row, "customer_id", CustomerId)?,
        source: row.opt_text("source")?,
        content: row.text("content")?,
        chunks: row.small("chunks")?,
        created_at: row.time("created_at")?,
    })
}

impl Tx {
    pub async fn documents_insert(&mut self, new: &Document) -> Result<(), StoreError> {
        let args = args![
            &new.id,
            &new.collection_id,
            &new.customer_id,
            &new.source,
            &new.content,
            new.chunks,
            new.created_at
        ];
        self.change_one(&INSERT, args).await
    }

    pub async fn documents_get(&mut self, id: &DocumentId) -> Result<Option<Document>, StoreError> {
        self.first(&GET, args![id]).await?.as_ref().map(document).transpose()
    }

    /// Newest first, after `cursor`.
    pub async fn documents_list(
        &mut self,
        collection: &CollectionId,
        cursor: &str,
        limit: u32,
    ) -> Result<Vec<Document>, StoreError> {
        self.all(&LIST, args![collection, cursor, limit]).await?.iter().map(document).collect()
    }

    /// Deletes a document with its chunks.
    pub async fn documents_delete(&mut self, id: &DocumentId) -> Result<bool, StoreError> {
        self.chunks_delete(id).await?;
        self.change_if(&DELETE, args![id]).await
    }
}
