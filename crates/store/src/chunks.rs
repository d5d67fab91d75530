//! Chunks: the pieces of documents that searches return, with their vectors.

use crate::database::Tx;
use crate::errors::StoreError;
use crate::rows::id;
use crate::sql::{args, statements};
use domain::ids::{ChunkId, CollectionId, DocumentId};

#[derive(Debug, Clone)]
pub struct Chunk {
    pub id: ChunkId,
    pub document_id: DocumentId,
    pub collection_id: CollectionId,
    pub position: u32,
    pub content: String,
    pub embedding: Vec<u8>,
}

/// A chunk as a search returns it.
#[derive(Debug, Clone)]
pub struct FoundChunk {
    pub id: ChunkId,
    pub document_id: DocumentId,
    pub content: String,
    pub source: Option<String>,
}

statements! {
    INSERT = "chunks.insert":
        "INSERT INTO chunks (id, document_id, collection_id, position, content, embedding)
         VALUES (?, ?, ?, ?, ?, ?)";
    DELETE = "chunks.delete": "DELETE FROM chunks WHERE document_id = ?";
    VECTORS = "chunks.vectors":
        "SELECT id, embedding FROM chunks WHERE collection_id = ? ORDER BY id";
    GET = "chunks.get":
        "SELECT c.id, c.document_id, c.content, d.source
         FROM chunks c JOIN documents d ON d.id = c.document_id
         WHERE c.id = ? AND c.collection_id = ?";
}

impl Tx {
    pub async fn chunks_insert(&mut self, new: &Chunk) -> Result<(), StoreError> {
        let args = args![
            &new.id,
            &new.document_id,
            &new.collection_id,
            new.position,
            &new.content,
            new.embedding.as_slice()
        ];
        self.change_one(&INSERT, args).await
    }

    pub(crate) async fn chunks_delete(&mut self, document: &DocumentId) -> Result<u64, StoreError> {
        self.execute(&DELETE, args![document]).await
    }

    /// Every vector of a collection, for building its index.
    pub async fn chunks_vectors(
        &mut self,
        collection: &CollectionId,
    ) -> Result<Vec<(ChunkId, Vec<u8>)>, StoreError> {
        let rows = self.all(&VECTORS, args![collection]).await?;
        rows.iter().map(|row| Ok((id!(row, "id", ChunkId)?, row.bytes("embedding")?))).collect()
    }

    /// One chunk of that collection, with its document's source.
    pub async fn chunks_get(
        &mut self,
        collection: &CollectionId,
        id: &ChunkId,
    ) -> Result<Option<FoundChunk>, StoreError> {
        let row = self.first(&GET, args![id, collection]).await?;
        row.map(|row| {
            Ok(FoundChunk {
                id: id!(row, "id", ChunkId)?,
                document_id: id!(row, "document_id", DocumentId)?,
                content: row.text("content")?,
                source: row.opt_text("source")?,
            })
        })
        .transpose()
    }
}
