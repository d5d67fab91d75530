//! The outbox: what happened here and others want to hear, one row for one fact.
//!
//! A row is written in the transaction that makes the fact true, so neither exists without the
//! other. `deliveries.rs` holds who is told and how far that has come.

use crate::database::Tx;
use crate::errors::StoreError;
use crate::rows::{Row, id, opt_id};
use crate::sql::{Arg, args, statements};
use domain::ids::{CustomerId, OutboxEventId};
use domain::time::Timestamp;

/// Something that happened, in our own vocabulary.
#[derive(Debug, Clone)]
pub struct OutboxEvent {
    pub id: OutboxEventId,
    pub customer_id: Option<CustomerId>,
    pub kind: String,
    /// What makes it the same news however often it is told.
    pub fact: String,
    pub object_id: Option<String>,
    /// JSON that only the engine reads.
    pub data: String,
    /// On the business clock.
    pub created_at: Timestamp,
    pub recorded_at: Timestamp,
}

statements! {
    INSERT = "outbox_events.insert":
        "INSERT INTO outbox_events (id, customer_id, kind, fact, object_id, data, state, created_at,
             recorded_at)
         VALUES (?, ?, ?, ?, ?, ?, 'pending', ?, ?) ON CONFLICT DO NOTHING";
    PENDING = "outbox_events.pending":
        "SELECT * FROM outbox_events WHERE state = 'pending' ORDER BY id LIMIT ?
         FOR UPDATE SKIP LOCKED";
    SPREAD = "outbox_events.spread":
        "UPDATE outbox_events SET state = 'spread' FROM ROWS(id VARCHAR(255))
         WHERE outbox_events.id = r.id";
    WAITING = "outbox_events.waiting":
        "SELECT id FROM outbox_events WHERE state = 'pending' ORDER BY id LIMIT 1";
    GET = "outbox_events.get": "SELECT * FROM outbox_events WHERE id = ?";
    LIST = "outbox_events.list":
        "SELECT * FROM outbox_events WHERE id < ? ORDER BY id DESC LIMIT ?";
    LIST_KIND = "outbox_events.list_kind":
        "SELECT * FROM outbox_events WHERE kind = ? AND id < ? ORDER BY id DESC LIMIT ?";
    LIST_CUSTOMER = "outbox_events.list_customer":
        "SELECT * FROM outbox_events WHERE customer_id = ? AND id < ? ORDER BY id DESC LIMIT ?";
}

/// What the insert writes.
fn whole(new: &OutboxEvent) -> Vec<Arg> {
    args![
        &new.id,
        &new.customer_id,
        &new.kind,
        &new.fact,
        &new.object_id,
        &new.data,
        new.created_at,
        new.recorded_at
    ]
}

fn event(row: &Row) -> Result<OutboxEvent, StoreError> {
    Ok(OutboxEvent {
        id: id!(row, "id", OutboxEventId)?,
        customer_id: opt_id!(row, "customer_id", CustomerId)?,
        kind: row.text("kind")?,
        fact: row.text("fact")?,
        object_id: row.opt_text("object_id")?,
        data: row.text("data")?,
        created_at: row.time("created_at")?,
        recorded_at: row.time("recorded_at")?,
    })
}

impl Tx {
    /// Records an event to be told; `false` where the fact is known already.
    pub async fn outbox_insert(&mut self, new: &OutboxEvent) -> Result<bool, StoreError> {
        self.change_if(&INSERT, whole(new)).await
    }

    /// Records events whose facts are new.
    pub async fn outbox_insert_all(&mut self, new: &[OutboxEvent]) -> Result<(), StoreError> {
        let rows: Vec<_> = new.iter().map(whole).collect();
        self.insert_all(&INSERT, &rows).await
    }

    /// The oldest events that nobody has been chosen for yet; locked until the transaction ends.
    pub async fn outbox_pending(&mut self, limit: u32) -> Result<Vec<OutboxEvent>, StoreError> {
        self.all(&PENDING, args![limit]).await?.iter().map(event).collect()
    }

    /// Says that there is a delivery for everybody who wants these events, which are locked.
    pub async fn outbox_spread(&mut self, ids: &[&OutboxEventId]) -> Result<(), StoreError> {
        let rows = Arg::ids(ids.iter().map(|id| id.as_str()))?;
        self.change_all(&SPREAD, vec![rows], ids.len()).await
    }

    /// Whether there is an event that nobody has been chosen for yet.
    pub async fn outbox_is_waiting(&mut self) -> Result<bool, StoreError> {
        Ok(self.first(&WAITING, args![]).await?.is_some())
    }

    pub async fn outbox_get(
        &mut self,
        id: &OutboxEventId,
    ) -> Result<Option<OutboxEvent>, StoreError> {
        self.first(&GET, args![id]).await?.as_ref().map(event).transpose()
    }

    /// Newest first, after `cursor`.
    pub async fn outbox_list(
        &mut self,
        cursor: &str,
        limit: u32,
    ) -> Result<Vec<OutboxEvent>, StoreError> {
        self.all(&LIST, args![cursor, limit]).await?.iter().map(event).collect()
    }

    /// The same of one kind.
    pub async fn outbox_list_of_kind(
        &mut self,
        kind: &str,
        cursor: &str,
        limit: u32,
    ) -> Result<Vec<OutboxEvent>, StoreError> {
        self.all(&LIST_KIND, args![kind, cursor, limit]).await?.iter().map(event).collect()
    }

    /// The same about one customer.
    pub async fn outbox_list_of_customer(
        &mut self,
        customer: &CustomerId,
        cursor: &str,
        limit: u32,
    ) -> Result<Vec<OutboxEvent>, StoreError> {
        self.all(&LIST_CUSTOMER, args![customer, cursor, limit]).await?.iter().map(event).collect()
    }
}
