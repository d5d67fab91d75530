//! Deliveries: one outbox event for one receiver, and how far it has come.
//!
//! A delivery is leased with a fencing token while it is being sent, because the answer comes after
//! the claim was committed. A lease is also the next attempt's date, so that a process that died
//! leaves what it held to the others. All times are on the wall clock.

use crate::database::Tx;
use crate::errors::StoreError;
use crate::rows::{Row, id};
use crate::sql::{args, statements};
use domain::ids::{DeliveryId, OutboxEventId};
use domain::time::Timestamp;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryState {
    Pending,
    Delivered,
    /// Given up; somebody has to look.
    Failed,
}

impl DeliveryState {
    const ALL: [DeliveryState; 3] =
        [DeliveryState::Pending, DeliveryState::Delivered, DeliveryState::Failed];

    pub const fn as_str(self) -> &'static str {
        match self {
            DeliveryState::Pending => "pending",
            DeliveryState::Delivered => "delivered",
            DeliveryState::Failed => "failed",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

#[derive(Debug, Clone)]
pub struct Delivery {
    pub id: DeliveryId,
    pub outbox_event_id: OutboxEventId,
    /// An endpoint's id, or the name of a receiver that the settings know.
    pub receiver: String,
    pub state: DeliveryState,
    pub attempts: i64,
    pub next_attempt_at: Timestamp,
    pub lease_token: i64,
    /// What the last attempt was answered.
    pub status_code: Option<i64>,
    pub error: Option<String>,
    pub created_at: Timestamp,
    pub delivered_at: Option<Timestamp>,
}

/// What one attempt came to.
#[derive(Debug, Clone)]
pub struct Attempted {
    pub status_code: Option<i64>,
    pub error: Option<String>,
}

statements! {
    INSERT = "deliveries.insert":
        "INSERT INTO deliveries (id, outbox_event_id, receiver, state, attempts, next_attempt_at,
             lease_token, leased_until, created_at)
         VALUES (?, ?, ?, 'pending', 0, ?, 0, 0, ?) ON CONFLICT DO NOTHING";
    RECEIVERS_DUE = "deliveries.receivers_due":
        "SELECT DISTINCT receiver FROM deliveries WHERE state = 'pending' AND next_attempt_at <= ?
         ORDER BY receiver";
    NEXT = "deliveries.next":
        "SELECT * FROM deliveries
         WHERE state = 'pending' AND next_attempt_at <= ? AND receiver = ?
         ORDER BY next_attempt_at, outbox_event_id LIMIT 1 FOR UPDATE SKIP LOCKED";
    LEASE = "deliveries.lease":
        "UPDATE deliveries SET lease_token = lease_token + 1, attempts = attempts + 1,
             leased_until = ?, next_attempt_at = ?
         WHERE id = ? AND lease_token = ? AND state = 'pending'";
    FINISH = "deliveries.finish":
        "UPDATE deliveries SET state = ?, status_code = ?, error = ?, delivered_at = ?,
             leased_until = 0
         WHERE id = ? AND lease_token = ? AND state = 'pending'";
    RETRY = "deliveries.retry":
        "UPDATE deliveries SET status_code = ?, error = ?, next_attempt_at = ?, leased_until = 0
         WHERE id = ? AND lease_token = ? AND state = 'pending'";
    RELEASE_ALL = "deliveries.release_all":
        "UPDATE deliveries SET leased_until = 0, next_attempt_at = ?
         WHERE state = 'pending' AND leased_until > 0";
    REDELIVER = "deliveries.redeliver":
        "UPDATE deliveries SET state = 'pending', attempts = 0, next_attempt_at = ?,
             leased_until = 0, error = NULL, status_code = NULL, delivered_at = NULL
         WHERE id = ? AND state IN ('delivered', 'failed')";
    GET = "deliveries.get": "SELECT * FROM deliveries WHERE id = ?";
    LIST = "deliveries.list": "SELECT * FROM deliveries WHERE id < ? ORDER BY id DESC LIMIT ?";
    LIST_STATE = "deliveries.list_state":
        "SELECT * FROM deliveries WHERE state = ? AND id < ? ORDER BY id DESC LIMIT ?";
    LIST_RECEIVER = "deliveries.list_receiver":
        "SELECT * FROM deliveries WHERE receiver = ? AND id < ? ORDER BY id DESC LIMIT ?";
    LIST_RECEIVER_STATE = "deliveries.list_receiver_state":
        "SELECT * FROM deliveries WHERE receiver = ? AND state = ? AND id < ?
         ORDER BY id DESC LIMIT ?";
    OF_EVENT = "deliveries.of_event":
        "SELECT * FROM deliveries WHERE outbox_event_id = ? ORDER BY id";
    COUNT = "deliveries.count": "SELECT COUNT(*) AS found FROM deliveries WHERE state = ?";
}

fn delivery(row: &Row) -> Result<Delivery, StoreError> {
    Ok(Delivery {
        id: id!(row, "id", DeliveryId)?,
        outbox_event_id: id!(row, "outbox_event_id", OutboxEventId)?,
        receiver: row.text("receiver")?,
        state: row.parsed("state", DeliveryState::parse)?,
        attempts: row.int("attempts")?,
        next_attempt_at: row.time("next_attempt_at")?,
        lease_token: row.int("lease_token")?,
        status_code: row.opt_int("status_code")?,
        error: row.opt_text("error")?,
        created_at: row.time("created_at")?,
        delivered_at: row.opt_time("delivered_at")?,
    })
}

impl Tx {
    /// Plans a delivery; `false` where this receiver is to have the event already.
    pub async fn deliveries_insert(
        &mut self,
        id: &DeliveryId,
        event: &OutboxEventId,
        receiver: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.change_if(&INSERT, args![id, event, receiver, now, now]).await
    }

    /// Who has something coming now.
    pub async fn deliveries_receivers_due(
        &mut self,
        now: Timestamp,
    ) -> Result<Vec<String>, StoreError> {
        let rows = self.all(&RECEIVERS_DUE, args![now]).await?;
        rows.iter().map(|row| row.text("receiver")).collect()
    }

    /// Leases what has waited longest for this receiver.
    pub async fn deliveries_claim(
        &mut self,
        receiver: &str,
        now: Timestamp,
        leased_until: Timestamp,
    ) -> Result<Option<Delivery>, StoreError> {
        let Some(row) = self.first(&NEXT, args![now, receiver]).await? else {
            return Ok(None);
        };
        let mut claimed = delivery(&row)?;
        let args = args![leased_until, leased_until, &claimed.id, claimed.lease_token];
        self.change_one(&LEASE, args).await?;
        claimed.lease_token += 1;
        claimed.attempts += 1;
        Ok(Some(claimed))
    }

    /// Ends it under the lease; `false` where the lease has passed to somebody else.
    pub async fn deliveries_finish(
        &mut self,
        delivery: &Delivery,
        state: DeliveryState,
        attempted: &Attempted,
        delivered_at: Option<Timestamp>,
    ) -> Result<bool, StoreError> {
        let args = args![
            state.as_str(),
            attempted.status_code,
            &attempted.error,
            delivered_at,
            &delivery.id,
            delivery.lease_token
        ];
        self.change_if(&FINISH, args).await
    }

    /// Plans the next attempt under the lease.
    pub async fn deliveries_retry(
        &mut self,
        delivery: &Delivery,
        attempted: &Attempted,
        next_attempt_at: Timestamp,
    ) -> Result<bool, StoreError> {
        let args = args![
            attempted.status_code,
            &attempted.error,
            next_attempt_at,
            &delivery.id,
            delivery.lease_token
        ];
        self.change_if(&RETRY, args).await
    }

    /// After a crash of the only process, every lease is nobody's.
    pub async fn deliveries_release_all(&mut self, now: Timestamp) -> Result<u64, StoreError> {
        self.execute(&RELEASE_ALL, args![now]).await
    }

    /// Starts over with one that has ended; `false` where it has not.
    pub async fn deliveries_redeliver(
        &mut self,
        id: &DeliveryId,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.change_if(&REDELIVER, args![now, id]).await
    }

    pub async fn deliveries_get(
        &mut self,
        id: &DeliveryId,
    ) -> Result<Option<Delivery>, StoreError> {
        self.first(&GET, args![id]).await?.as_ref().map(delivery).transpose()
    }

    /// Newest first, after `cursor`; of one receiver and in one state where they are named.
    pub async fn deliveries_list(
        &mut self,
        receiver: Option<&str>,
        state: Option<DeliveryState>,
        cursor: &str,
        limit: u32,
    ) -> Result<Vec<Delivery>, StoreError> {
        let rows = match (receiver, state.map(DeliveryState::as_str)) {
            (None, None) => self.all(&LIST, args![cursor, limit]).await?,
            (None, Some(state)) => self.all(&LIST_STATE, args![state, cursor, limit]).await?,
            (Some(receiver), None) => {
                self.all(&LIST_RECEIVER, args![receiver, cursor, limit]).await?
            }
            (Some(receiver), Some(state)) => {
                self.all(&LIST_RECEIVER_STATE, args![receiver, state, cursor, limit]).await?
            }
        };
        rows.iter().map(delivery).collect()
    }

    /// Everybody who is to have an event.
    pub async fn deliveries_of_event(
        &mut self,
        event: &OutboxEventId,
    ) -> Result<Vec<Delivery>, StoreError> {
        self.all(&OF_EVENT, args![event]).await?.iter().map(delivery).collect()
    }

    /// How many are in that state.
    pub async fn deliveries_count(&mut self, state: DeliveryState) -> Result<i64, StoreError> {
        let row = self.first(&COUNT, args![state.as_str()]).await?;
        row.map_or(Ok(0), |row| row.int("found"))
    }
}
