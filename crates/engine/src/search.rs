//! Search: nearest first, only for the entitled, paid in the same transaction.

use crate::collections::{not_found, visible};
use crate::credits::{remembered, request};
use crate::documents::{check_dimensions, vector};
use crate::failures::Failure;
use crate::limits::check_text;
use crate::{Engine, Subject};
use domain::credits::{Credits, DEFAULT_UNIT};
use domain::ids::{ChunkId, CollectionId, DocumentId};
use moka::sync::Cache;
use retrieval::embedding::{Vector, embed_locally};
use retrieval::segments::{Hit, Segment};
use std::sync::Arc;
use store::collections::Collection;
use store::{StoreError, Tx};

const LIMIT_DEFAULT: u32 = 3;
const LIMIT_MAX: u32 = 50;
const QUERY_LENGTH_MAX: usize = 8_000;
const SEGMENTS_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Built indexes by collection and generation: an old generation is never asked for again.
pub(crate) type Segments = Cache<(CollectionId, i64), Arc<Segment>>;

pub(crate) fn segments() -> Segments {
    Cache::builder()
        .weigher(|_, segment: &Arc<Segment>| u32::try_from(segment.bytes()).unwrap_or(u32::MAX))
        .max_capacity(SEGMENTS_BYTES_MAX)
        .build()
}

#[derive(Debug, Clone)]
pub struct SearchRequest {
    /// By id or name; the customer's private one where none is named.
    pub collection: Option<String>,
    pub query: Option<String>,
    pub embedding: Option<Vec<f32>>,
    pub limit: Option<u32>,
    /// A repeated request under the same key is answered anew and paid for once.
    pub idempotency_key: Option<String>,
}

/// A piece of a document and how far it is from the question.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    pub content: String,
    pub source: Option<String>,
    pub distance: f32,
    pub document: DocumentId,
}

/// What is asked for, in one of the two ways.
enum Question {
    Text(String),
    Vector(Vector),
}

impl SearchRequest {
    fn question(&mut self) -> Result<Question, Failure> {
        match (self.query.take(), self.embedding.take()) {
            (Some(text), None) if !text.trim().is_empty() && text.len() <= QUERY_LENGTH_MAX => {
                Ok(Question::Text(text))
            }
            (None, Some(components)) => Ok(Question::Vector(vector(components)?)),
            (Some(_), None) => {
                let detail = format!("query must be 1 to {QUERY_LENGTH_MAX} bytes of text");
                Err(Failure::invalid("query", detail))
            }
            _ => Err(Failure::invalid("query", "give either query or embedding")),
        }
    }
}

impl Engine {
    pub async fn search(
        &self,
        subject: &Subject,
        mut asked: SearchRequest,
    ) -> Result<Vec<Found>, Failure> {
        let limit = asked.limit.unwrap_or(LIMIT_DEFAULT);
        if !(1..=LIMIT_MAX).contains(&limit) {
            let detail = format!("limit must be from 1 to {LIMIT_MAX}, not {limit}");
            return Err(Failure::invalid("limit", detail));
        }
        check_text("Idempotency-Key", asked.idempotency_key.as_deref())?;
        let question = asked.question()?;
        let named = asked.collection.as_deref();
        let mut tx = self.store().read("search").await?;
        let mut found = self.searchable(&mut tx, subject, named).await?;
        let paid = found.as_ref().is_some_and(|(collection, _)| 0 < collection.search_cost);
        if paid {
            // The gate, the search and the payment share one writing transaction.
            drop(tx);
            tx = self.store().begin("search.paid").await?;
            found = self.searchable(&mut tx, subject, named).await?;
        }
        let Some((collection, customer)) = found else {
            return Ok(Vec::new());
        };
        let question = match question {
            Question::Vector(vector) => vector,
            Question::Text(text) => vector(embed_locally(&text, collection.dimensions as usize))?,
        };
        check_dimensions(&collection, &question)?;
        if let Ok(cost) = Credits::new(collection.search_cost) {
            let mut account = self.account_to_spend(&mut tx, &customer, DEFAULT_UNIT, cost).await?;
            let asked_for = hex::encode(question.to_bytes());
            let parts = [collection.id.as_str(), &limit.to_string(), &asked_for];
            let request = request(&customer, "search", asked.idempotency_key.as_ref(), &parts);
            if remembered(&mut tx, request.as_ref()).await?.is_none() {
                self.consume_in(&mut tx, &mut account, cost, Some("search")).await?;
                self.remember(&mut tx, request.as_ref(), "paid").await?;
            }
            tx.credits_close(account).await?;
        }
        let hits = self.nearest(&mut tx, &collection, question, limit).await?;
        let mut found = Vec::with_capacity(hits.len());
        for hit in hits {
            let id = ChunkId::parse(&hit.id);
            let id = id.map_err(|error| inconsistent("id", error))?;
            if let Some(chunk) = tx.chunks_get(&collection.id, &id).await? {
                found.push(Found {
                    content: chunk.content,
                    source: chunk.source,
                    distance: hit.distance,
                    document: chunk.document_id,
                });
            }
        }
        if paid {
            tx.commit().await?;
        }
        Ok(found)
    }

    /// The collection, if the customer may search it now; nothing where they have none yet.
    async fn searchable(
        &self,
        tx: &mut Tx,
        subject: &Subject,
        named: Option<&str>,
    ) -> Result<Option<(Collection, domain::ids::CustomerId)>, Failure> {
        let customer = self.customer(tx, subject).await?.map(|customer| customer.id);
        let found = visible(tx, customer.as_ref(), named).await?;
        let feature = match &found {
            Some(collection) => collection.feature.clone(),
            None if named.is_some() => return Err(not_found()),
            None => self.settings().private_collection_feature.clone(),
        };
        self.gate(tx, customer.as_ref(), &feature).await?;
        Ok(found.zip(customer))
    }

    async fn nearest(
        &self,
        tx: &mut Tx,
        collection: &Collection,
        question: Vector,
        limit: u32,
    ) -> Result<Vec<Hit>, Failure> {
        let key = (collection.id.clone(), collection.generation);
        let segment = match self.inner.segments.get(&key) {
            Some(segment) => segment,
            None => {
                let built = Arc::new(build(tx, collection).await?);
                self.inner.segments.insert(key, built.clone());
                built
            }
        };
        let hits = segment.nearest(&question, limit as usize);
        Ok(hits.map_err(|error| inconsistent("embedding", error))?)
    }
}

fn inconsistent(column: &'static str, error: impl std::fmt::Display) -> StoreError {
    StoreError::Inconsistent { column, value: error.to_string() }
}

async fn build(tx: &mut Tx, collection: &Collection) -> Result<Segment, StoreError> {
    let mut vectors = Vec::new();
    for (id, bytes) in tx.chunks_vectors(&collection.id).await? {
        let vector =
            Vector::from_bytes(&bytes).map_err(|error| inconsistent("embedding", error))?;
        vectors.push((id.to_string(), vector));
    }
    Segment::build(collection.dimensions as usize, vectors)
        .map_err(|error| inconsistent("embedding", error))
}
