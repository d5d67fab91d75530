//! Documents: stored, cut and embedded in one transaction with the gate that allows it.

use crate::clock::random;
use crate::collections::{DIMENSIONS_DEFAULT, PRIVATE_NAME, not_found, visible};
use crate::failures::Failure;
use crate::lists::{Listed, Page};
use crate::{Engine, Subject};
use domain::codes::Code;
use domain::ids::{ChunkId, CollectionId, CustomerId, DocumentId};
use retrieval::chunking::chunk;
use retrieval::embedding::{Vector, embed_locally};
use store::chunks::Chunk;
use store::collections::Collection;
use store::documents::Document;
use store::{StoreError, Tx};

const CONTENT_LENGTH_MAX: usize = 2_000_000;
const SOURCE_LENGTH_MAX: usize = 1_000;

/// Whose documents are meant.
#[derive(Debug, Clone)]
pub enum DocumentOwner {
    Customer(Subject),
    Merchant,
}

#[derive(Debug, Clone)]
pub struct NewDocument {
    /// By id or name; the customer's private one where none is named.
    pub collection: Option<String>,
    pub content: String,
    /// The caller's own vector of the whole content; else it is cut and embedded here.
    pub embedding: Option<Vec<f32>>,
    pub source: Option<String>,
}

/// A caller's vector, checked before anything else.
pub(crate) fn vector(components: Vec<f32>) -> Result<Vector, Failure> {
    Vector::parse(components).map_err(|error| Failure::Refused {
        code: Code::InvalidVector,
        detail: error.to_string(),
        param: Some("embedding"),
    })
}

pub(crate) fn check_dimensions(collection: &Collection, vector: &Vector) -> Result<(), Failure> {
    let wanted = collection.dimensions as usize;
    if vector.dimensions() == wanted {
        return Ok(());
    }
    Err(Failure::Refused {
        code: Code::DimensionMismatch,
        detail: format!("this collection holds vectors of {wanted}, not {}", vector.dimensions()),
        param: Some("embedding"),
    })
}

impl Engine {
    pub async fn documents_add(
        &self,
        owner: &DocumentOwner,
        new: NewDocument,
    ) -> Result<Document, Failure> {
        if new.content.trim().is_empty() || CONTENT_LENGTH_MAX < new.content.len() {
            let detail = format!("content must be 1 to {CONTENT_LENGTH_MAX} bytes of text");
            return Err(Failure::invalid("content", detail));
        }
        if new.source.as_ref().is_some_and(|text| SOURCE_LENGTH_MAX < text.len()) {
            let detail = format!("source must be at most {SOURCE_LENGTH_MAX} bytes");
            return Err(Failure::invalid("source", detail));
        }
        // PostgreSQL keeps no NUL in text, and no reader misses one.
        if new.content.contains('\0') || new.source.as_ref().is_some_and(|text| text.contains('\0'))
        {
            return Err(Failure::invalid("content", "text must not contain NUL"));
        }
        let embedding = new.embedding.map(vector).transpose()?;
        let named = new.collection.as_deref();
        let size = embedding.as_ref().map(Vector::dimensions);
        // Cutting and embedding take long, so they happen before anything is locked: for whoever
        // may write now, at the size the collection has now.
        let mut tx = self.store().begin("documents.allowed").await?;
        let (seen, _) = self.writable(&mut tx, owner, named, size).await?;
        tx.commit().await?;
        if let Some(vector) = &embedding {
            check_dimensions(&seen, vector)?;
        }
        let pieces = cut(new.content.clone(), embedding, seen.dimensions).await?;
        let mut tx = self.store().begin("documents.add").await?;
        let (collection, customer) = self.writable(&mut tx, owner, named, size).await?;
        let document = Document {
            id: DocumentId::new(self.clock().wall(), random()),
            collection_id: collection.id.clone(),
            customer_id: customer,
            source: new.source,
            content: new.content,
            chunks: u32::try_from(pieces.len()).unwrap_or(u32::MAX),
            created_at: self.clock().now(),
        };
        tx.collections_touch(&collection.id).await?;
        tx.documents_insert(&document).await?;
        for (position, (content, vector)) in (0_u32..).zip(pieces) {
            let chunk = Chunk {
                id: ChunkId::new(self.clock().wall(), random()),
                document_id: document.id.clone(),
                collection_id: collection.id.clone(),
                position,
                content,
                embedding: vector.to_bytes(),
            };
            tx.chunks_insert(&chunk).await?;
        }
        tx.commit().await?;
        Ok(document)
    }

    /// The collection to write to, if the owner may now.
    async fn writable(
        &self,
        tx: &mut Tx,
        owner: &DocumentOwner,
        named: Option<&str>,
        dimensions: Option<usize>,
    ) -> Result<(Collection, Option<CustomerId>), Failure> {
        let DocumentOwner::Customer(subject) = owner else {
            let named = named.ok_or_else(|| {
                Failure::invalid("collection", "name the customer or the collection")
            })?;
            let found = match CollectionId::parse(named) {
                Ok(id) => tx.collections_get(&id).await?,
                Err(_) => tx.collections_find(None, named).await?,
            };
            let sold = found.filter(|collection| collection.owner.is_none());
            return Ok((sold.ok_or_else(not_found)?, None));
        };
        let customer = self.customer(tx, subject).await?.map(|customer| customer.id);
        let found = visible(tx, customer.as_ref(), named).await?;
        let feature = match (&found, named) {
            (Some(collection), _) if collection.owner.is_none() => {
                let detail = "only the merchant adds to a collection that is sold";
                return Err(Failure::refused(Code::Forbidden, detail));
            }
            (Some(collection), _) => collection.feature.clone(),
            (None, None) => self.settings().private_collection_feature.clone(),
            (None, Some(_)) => return Err(not_found()),
        };
        self.gate(tx, customer.as_ref(), &feature).await?;
        let customer = customer.ok_or_else(crate::customers::not_found)?;
        let collection = match found {
            Some(collection) => collection,
            None => self.private_collection(tx, &customer, feature, dimensions).await?,
        };
        Ok((collection, Some(customer)))
    }

    /// The customer's own collection, made by its first document and of its vector's size.
    async fn private_collection(
        &self,
        tx: &mut Tx,
        customer: &CustomerId,
        feature: String,
        dimensions: Option<usize>,
    ) -> Result<Collection, Failure> {
        let size = dimensions.and_then(|size| u32::try_from(size).ok());
        let new = Collection {
            id: CollectionId::new(self.clock().wall(), random()),
            owner: Some(customer.clone()),
            name: PRIVATE_NAME.to_owned(),
            feature,
            search_cost: 0,
            dimensions: size.unwrap_or(DIMENSIONS_DEFAULT),
            generation: 0,
            created_at: self.clock().now(),
        };
        tx.collections_insert(&new).await?;
        tx.collections_find(Some(customer), PRIVATE_NAME).await?.ok_or_else(not_found)
    }

    /// The documents of one collection, newest first.
    pub async fn documents_list(
        &self,
        owner: &DocumentOwner,
        collection: Option<&str>,
        page: Page,
    ) -> Result<Listed<Document>, Failure> {
        let mut tx = self.store().read("documents.list").await?;
        let found = match owner {
            DocumentOwner::Merchant => match collection {
                Some(named) => match CollectionId::parse(named) {
                    Ok(id) => tx.collections_get(&id).await?,
                    Err(_) => tx.collections_find(None, named).await?,
                },
                None => {
                    return Err(Failure::invalid(
                        "collection",
                        "name the customer or the collection",
                    ));
                }
            },
            DocumentOwner::Customer(subject) => {
                let customer = self.customer(&mut tx, subject).await?.map(|customer| customer.id);
                let found = visible(&mut tx, customer.as_ref(), collection).await?;
                let feature = match &found {
                    Some(found) => found.feature.clone(),
                    None if collection.is_some() => return Err(not_found()),
                    None => self.settings().private_collection_feature.clone(),
                };
                self.gate(&mut tx, customer.as_ref(), &feature).await?;
                found
            }
        };
        let rows = match found {
            Some(found) => tx.documents_list(&found.id, page.cursor(), page.fetch()).await?,
            None if collection.is_some() => return Err(not_found()),
            None => Vec::new(),
        };
        Ok(page.cut(rows, |row| row.id.to_string()))
    }

    /// Deletes a document with everything cut from it; from this commit on no search returns it.
    /// Owners may always delete what is theirs, paid or not.
    pub async fn documents_delete(&self, owner: &DocumentOwner, id: &str) -> Result<(), Failure> {
        let missing = || Failure::missing("document");
        let id = DocumentId::parse(id).map_err(|_| missing())?;
        let mut tx = self.store().begin("documents.delete").await?;
        let document = tx.documents_get(&id).await?.ok_or_else(missing)?;
        if let DocumentOwner::Customer(subject) = owner {
            let customer = self.customer(&mut tx, subject).await?.ok_or_else(missing)?;
            if document.customer_id.as_ref() != Some(&customer.id) {
                return Err(missing());
            }
        }
        tx.collections_touch(&document.collection_id).await?;
        tx.documents_delete(&id).await?;
        Ok(tx.commit().await?)
    }
}

/// The caller's vector stands for the whole content; else each piece gets its own, on a thread that
/// no request waits for.
async fn cut(
    content: String,
    embedding: Option<Vector>,
    dimensions: u32,
) -> Result<Vec<(String, Vector)>, Failure> {
    if let Some(vector) = embedding {
        return Ok(vec![(content, vector)]);
    }
    let work = move || {
        let cut = chunk(&content).into_iter().map(|piece| {
            let text = piece.text(&content);
            let vector = vector(embed_locally(text, dimensions as usize))?;
            Ok((text.to_owned(), vector))
        });
        cut.collect::<Result<Vec<_>, Failure>>()
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(pieces) => pieces,
        Err(error) => {
            Err(StoreError::Inconsistent { column: "content", value: error.to_string() }.into())
        }
    }
}
