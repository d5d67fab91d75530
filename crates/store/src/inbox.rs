//! The inbox: provider events, stored before they are acknowledged, applied once.
//!
//! A row is leased with a fencing token while it is being applied, because a fetch from the
//! provider may lie between claim and commit; one that needs none is applied under its lock. All
//! times are on the wall clock, but `occurred_at`.

use crate::database::Tx;
use crate::errors::StoreError;
use crate::rows::{Row, id};
use crate::sql::{Arg, args, statements};
use domain::ids::InboxEventId;
use domain::time::Timestamp;
use serde::Serialize;
use std::collections::HashSet;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InboxState {
    Pending,
    Applied,
    Ignored,
    Parked,
}

impl InboxState {
    const ALL: [InboxState; 4] =
        [InboxState::Pending, InboxState::Applied, InboxState::Ignored, InboxState::Parked];

    pub const fn as_str(self) -> &'static str {
        match self {
            InboxState::Pending => "pending",
            InboxState::Applied => "applied",
            InboxState::Ignored => "ignored",
            InboxState::Parked => "parked",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

#[derive(Debug, Clone)]
pub struct InboxEvent {
    pub id: InboxEventId,
    pub provider: String,
    pub provider_event_id: String,
    pub kind: String,
    /// Whose turn it takes: the provider's customer, else the object.
    pub ordering_key: String,
    pub object_id: Option<String>,
    pub api_version: Option<String>,
    pub payload: Vec<u8>,
    /// What the delivery's headers said, as a JSON object.
    pub headers: Option<String>,
    pub state: InboxState,
    pub reason: Option<String>,
    pub attempts: i64,
    pub lease_token: i64,
    pub occurred_at: Timestamp,
    pub received_at: Timestamp,
    pub applied_at: Option<Timestamp>,
}

// `COALESCE` stands where an index over most of the table would tempt a planner, and `CROSS JOIN`
// where it has to go in this order.
statements! {
    INSERT = "inbox_events.insert":
        "INSERT INTO inbox_events (id, provider, provider_event_id, kind, ordering_key, object_id,
             api_version, payload, headers, state, reason, attempts, lease_token, leased_until,
             next_attempt_at, occurred_at, received_at, applied_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0, 0, 0, ?, ?, ?) ON CONFLICT DO NOTHING";
    STORED_FOLD = "inbox_events.stored_fold":
        "SELECT (SELECT e.id FROM inbox_events e WHERE e.id = r.id) AS id
         FROM ROWS(id VARCHAR(255))";
    NEXT = "inbox_events.next":
        "SELECT * FROM inbox_events e
         WHERE e.state = 'pending' AND e.next_attempt_at <= ? AND e.leased_until <= ?
           AND NOT EXISTS (
               SELECT 1 FROM inbox_events o
               WHERE o.ordering_key = e.ordering_key AND o.leased_until > ? AND o.id <> e.id)
         ORDER BY e.next_attempt_at, e.id LIMIT 1 FOR UPDATE SKIP LOCKED";
    NEXT_ALIKE = "inbox_events.next_alike":
        "SELECT e.* FROM (
             SELECT n.id FROM inbox_events n
             WHERE n.state = 'pending' AND n.next_attempt_at = 0 AND n.id > ?
             ORDER BY n.id LIMIT ?) w
         CROSS JOIN inbox_events e
         WHERE e.id = w.id AND COALESCE(e.state, '') = 'pending'
           AND COALESCE(e.next_attempt_at, 0) = 0 AND e.leased_until <= ?
           AND COALESCE(e.kind, '') = ? AND e.attempts = 0 AND e.occurred_at >= ?
         ORDER BY e.id FOR UPDATE OF e SKIP LOCKED";
    LEASE = "inbox_events.lease":
        "UPDATE inbox_events SET lease_token = lease_token + 1, attempts = attempts + 1,
             leased_until = ?
         WHERE id = ? AND lease_token = ?";
    RENEW = "inbox_events.renew":
        "UPDATE inbox_events SET leased_until = ?
         WHERE id = ? AND lease_token = ?
           AND COALESCE(state, '') = 'pending'";
    FINISH = "inbox_events.finish":
        "UPDATE inbox_events SET state = ?, reason = ?, applied_at = ?, leased_until = 0
         WHERE id = ? AND lease_token = ?
           AND COALESCE(state, '') = 'pending'";
    APPLIED_FOLD = "inbox_events.applied_fold":
        "UPDATE inbox_events SET state = 'applied', reason = NULL, applied_at = r.done_at,
             attempts = inbox_events.attempts + 1
         FROM ROWS(id VARCHAR(255), done_at BIGINT)
         WHERE inbox_events.id = r.id";
    RETRY = "inbox_events.retry":
        "UPDATE inbox_events SET reason = ?, next_attempt_at = ?, leased_until = 0
         WHERE id = ? AND lease_token = ?
           AND COALESCE(state, '') = 'pending'";
    SET_ASIDE = "inbox_events.set_aside":
        "UPDATE inbox_events SET state = 'ignored', reason = ?, applied_at = ?, leased_until = 0,
             next_attempt_at = ?
         WHERE id = ? AND lease_token = ?
           AND COALESCE(state, '') = 'pending'";
    SET_ASIDE_UNTIL = "inbox_events.set_aside_until":
        "SELECT id FROM inbox_events
         WHERE state = 'ignored' AND next_attempt_at > 0 AND next_attempt_at <= ?
           AND next_attempt_at > applied_at AND payload_purged_at IS NULL
         ORDER BY next_attempt_at LIMIT ?";
    LOOK_AGAIN = "inbox_events.look_again":
        "UPDATE inbox_events SET state = 'pending', applied_at = NULL
         WHERE id = ? AND COALESCE(state, '') = 'ignored' AND next_attempt_at > applied_at";
    RELEASE_ALL = "inbox_events.release_all":
        "UPDATE inbox_events SET leased_until = 0 WHERE leased_until > 0";
    GET = "inbox_events.get": "SELECT * FROM inbox_events WHERE id = ?";
    FIND = "inbox_events.find":
        "SELECT * FROM inbox_events WHERE provider = ? AND provider_event_id = ?";
    LIST = "inbox_events.list":
        "SELECT * FROM inbox_events WHERE id < ? ORDER BY id DESC LIMIT ?";
    LIST_STATE = "inbox_events.list_state":
        "SELECT * FROM inbox_events WHERE state = ? AND id < ? ORDER BY id DESC LIMIT ?";
    REPLAY = "inbox_events.replay":
        "UPDATE inbox_events SET state = 'pending', reason = NULL, next_attempt_at = 0,
             leased_until = 0, attempts = 0, applied_at = NULL
         WHERE id = ? AND state IN ('parked', 'ignored') AND payload_purged_at IS NULL";
    HURRY = "inbox_events.hurry":
        "UPDATE inbox_events SET next_attempt_at = 0
         WHERE id = ? AND COALESCE(state, '') = 'pending' AND next_attempt_at > ?";
    PARKED = "inbox_events.parked":
        "SELECT id FROM inbox_events
         WHERE state = 'parked' AND (CAST(? AS TEXT) IS NULL OR kind = ?)
           AND (CAST(? AS TEXT) IS NULL OR COALESCE(reason, '') = ?)
         ORDER BY id LIMIT ?";
    PURGEABLE = "inbox_events.purgeable":
        "SELECT id FROM inbox_events
         WHERE payload_purged_at IS NULL AND id < ? AND state <> 'pending' AND state <> 'parked'
         ORDER BY id LIMIT ?";
    PURGE = "inbox_events.purge":
        "UPDATE inbox_events SET payload = ?, headers = NULL, payload_purged_at = ?
         WHERE id = ? AND payload_purged_at IS NULL AND state IN ('applied', 'ignored')";
    IGNORE = "inbox_events.ignore":
        "UPDATE inbox_events SET state = 'ignored', reason = ?, applied_at = ?, leased_until = 0,
             next_attempt_at = 0
         WHERE id = ? AND state IN ('parked', 'pending')";
    PENDING = "inbox_events.pending":
        "SELECT COUNT(*) AS found FROM inbox_events WHERE state = 'pending'";
}

#[derive(Serialize)]
struct AppliedRow<'a> {
    id: &'a str,
    done_at: i64,
}

fn whole(event: &InboxEvent) -> Vec<Arg> {
    args![
        &event.id,
        &event.provider,
        &event.provider_event_id,
        &event.kind,
        &event.ordering_key,
        &event.object_id,
        &event.api_version,
        event.payload.as_slice(),
        &event.headers,
        event.state.as_str(),
        &event.reason,
        event.occurred_at,
        event.received_at,
        event.applied_at
    ]
}

fn event(row: &Row) -> Result<InboxEvent, StoreError> {
    Ok(InboxEvent {
        id: id!(row, "id", InboxEventId)?,
        provider: row.text("provider")?,
        provider_event_id: row.text("provider_event_id")?,
        kind: row.text("kind")?,
        ordering_key: row.text("ordering_key")?,
        object_id: row.opt_text("object_id")?,
        api_version: row.opt_text("api_version")?,
        payload: row.bytes("payload")?,
        headers: row.opt_text("headers")?,
        state: row.parsed("state", InboxState::parse)?,
        reason: row.opt_text("reason")?,
        attempts: row.int("attempts")?,
        lease_token: row.int("lease_token")?,
        occurred_at: row.time("occurred_at")?,
        received_at: row.time("received_at")?,
        applied_at: row.opt_time("applied_at")?,
    })
}

impl Tx {
    /// Stores an event; `false` where it is known already.
    pub async fn inbox_insert(&mut self, new: &InboxEvent) -> Result<bool, StoreError> {
        self.change_if(&INSERT, whole(new)).await
    }

    /// Stores many events in one statement: which of them are new.
    pub async fn inbox_insert_fold(
        &mut self,
        events: &[InboxEvent],
    ) -> Result<Vec<bool>, StoreError> {
        let mut sorted: Vec<_> = events.iter().collect();
        // Two folds with the same events wait for one another in one order only.
        sorted.sort_unstable_by_key(|event| &event.provider_event_id);
        let rows: Vec<_> = sorted.into_iter().map(whole).collect();
        if self.insert_new(&INSERT, &rows).await? {
            return Ok(vec![true; events.len()]);
        }
        // Whose id is found, is new.
        let ids = Arg::ids(events.iter().map(|event| event.id.as_str()))?;
        let found = self.all(&STORED_FOLD, vec![ids]).await?;
        let found: HashSet<String> = found
            .iter()
            .filter_map(|row| row.opt_text("id").transpose())
            .collect::<Result<_, _>>()?;
        Ok(events.iter().map(|event| found.contains(event.id.as_str())).collect())
    }

    /// The oldest event that is due and whose ordering key nobody has leased, locked.
    pub async fn inbox_next(&mut self, now: Timestamp) -> Result<Option<InboxEvent>, StoreError> {
        self.first(&NEXT, args![now, now, now]).await?.as_ref().map(event).transpose()
    }

    /// More events of the kind of `first` that occurred after `since` and that nobody has tried to
    /// apply, of so many that stand next in the line, locked: one for each ordering key, which
    /// somebody else may work on.
    pub async fn inbox_next_alike(
        &mut self,
        first: &InboxEvent,
        since: Timestamp,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<InboxEvent>, StoreError> {
        let args = args![&first.id, limit, now, &first.kind, since];
        let rows = self.all(&NEXT_ALIKE, args).await?;
        let mut found: Vec<_> = rows.iter().map(event).collect::<Result<_, _>>()?;
        let mut keys = HashSet::from([first.ordering_key.clone()]);
        found.retain(|event| keys.insert(event.ordering_key.clone()));
        Ok(found)
    }

    /// Leases an event that is locked.
    pub async fn inbox_lease(
        &mut self,
        event: &InboxEvent,
        until: Timestamp,
    ) -> Result<InboxEvent, StoreError> {
        self.change_one(&LEASE, args![until, &event.id, event.lease_token]).await?;
        let (attempts, lease_token) = (event.attempts + 1, event.lease_token + 1);
        Ok(InboxEvent { attempts, lease_token, ..event.clone() })
    }

    /// Leases an event for longer; `false` where the lease has passed to somebody else.
    pub async fn inbox_renew(
        &mut self,
        event: &InboxEvent,
        until: Timestamp,
    ) -> Result<bool, StoreError> {
        self.change_if(&RENEW, args![until, &event.id, event.lease_token]).await
    }

    /// Records that events were applied that are locked, all of them.
    pub async fn inbox_applied_fold(
        &mut self,
        events: &[&InboxEvent],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let done_at = now.micros();
        let rows: Vec<_> =
            events.iter().map(|event| AppliedRow { id: event.id.as_str(), done_at }).collect();
        self.change_all(&APPLIED_FOLD, vec![Arg::rows(&rows)?], events.len()).await
    }

    /// Records the outcome under the lease; `false` where the lease has passed to somebody else.
    pub async fn inbox_finish(
        &mut self,
        event: &InboxEvent,
        state: InboxState,
        reason: Option<&str>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let args = args![state.as_str(), reason, now, &event.id, event.lease_token];
        self.change_if(&FINISH, args).await
    }

    /// Gives the event back for a later attempt.
    pub async fn inbox_retry(
        &mut self,
        event: &InboxEvent,
        reason: &str,
        next_attempt_at: Timestamp,
    ) -> Result<bool, StoreError> {
        let args = args![reason, next_attempt_at, &event.id, event.lease_token];
        self.change_if(&RETRY, args).await
    }

    /// Ignores an event until it is looked at again.
    pub async fn inbox_set_aside(
        &mut self,
        event: &InboxEvent,
        reason: &str,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<bool, StoreError> {
        self.change_if(&SET_ASIDE, args![reason, now, until, &event.id, event.lease_token]).await
    }

    /// Events that were ignored until now, the one that has waited longest first.
    pub async fn inbox_set_aside_until(
        &mut self,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<InboxEventId>, StoreError> {
        let rows = self.all(&SET_ASIDE_UNTIL, args![now, limit]).await?;
        rows.iter().map(|row| id!(row, "id", InboxEventId)).collect()
    }

    /// Puts such an event back in line; `false` where somebody else has.
    pub async fn inbox_look_again(&mut self, id: &InboxEventId) -> Result<bool, StoreError> {
        self.change_if(&LOOK_AGAIN, args![id]).await
    }

    /// After a crash of the only process, every lease is nobody's.
    pub async fn inbox_release_all(&mut self) -> Result<u64, StoreError> {
        self.execute(&RELEASE_ALL, args![]).await
    }

    pub async fn inbox_get(&mut self, id: &InboxEventId) -> Result<Option<InboxEvent>, StoreError> {
        self.first(&GET, args![id]).await?.as_ref().map(event).transpose()
    }

    /// By the provider's id.
    pub async fn inbox_find(
        &mut self,
        provider: &str,
        provider_event_id: &str,
    ) -> Result<Option<InboxEvent>, StoreError> {
        let row = self.first(&FIND, args![provider, provider_event_id]).await?;
        row.as_ref().map(event).transpose()
    }

    /// Newest first, after `cursor`; in one state where it is named.
    pub async fn inbox_list(
        &mut self,
        state: Option<InboxState>,
        cursor: &str,
        limit: u32,
    ) -> Result<Vec<InboxEvent>, StoreError> {
        let rows = match state {
            None => self.all(&LIST, args![cursor, limit]).await?,
            Some(state) => self.all(&LIST_STATE, args![state.as_str(), cursor, limit]).await?,
        };
        rows.iter().map(event).collect()
    }

    /// Puts a parked or ignored event back in line; `false` where it is in neither state.
    pub async fn inbox_replay(&mut self, id: &InboxEventId) -> Result<bool, StoreError> {
        self.change_if(&REPLAY, args![id]).await
    }

    /// Makes a pending event due that waits for a later attempt; `false` where it does not wait.
    pub async fn inbox_hurry(
        &mut self,
        id: &InboxEventId,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.change_if(&HURRY, args![id, now]).await
    }

    /// Parked events of a kind and reason, oldest first; an empty reason is none.
    pub async fn inbox_parked(
        &mut self,
        kind: Option<&str>,
        reason: Option<&str>,
        limit: u32,
    ) -> Result<Vec<InboxEventId>, StoreError> {
        let rows = self.all(&PARKED, args![kind, kind, reason, reason, limit]).await?;
        rows.iter().map(|row| id!(row, "id", InboxEventId)).collect()
    }

    /// Settled events received before `until` that still have their payloads, oldest first.
    pub async fn inbox_purgeable(
        &mut self,
        until: &InboxEventId,
        limit: u32,
    ) -> Result<Vec<InboxEventId>, StoreError> {
        let rows = self.all(&PURGEABLE, args![until, limit]).await?;
        rows.iter().map(|row| id!(row, "id", InboxEventId)).collect()
    }

    /// Forgets what a settled event said; that it came, and what became of it, stays.
    pub async fn inbox_purge(
        &mut self,
        id: &InboxEventId,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let nothing: &[u8] = b"";
        self.change_if(&PURGE, args![nothing, now, id]).await
    }

    /// Sets an event aside for good; `false` where it is applied or ignored already.
    pub async fn inbox_ignore(
        &mut self,
        id: &InboxEventId,
        reason: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.change_if(&IGNORE, args![reason, now, id]).await
    }

    /// How many events wait to be applied.
    pub async fn inbox_pending(&mut self) -> Result<i64, StoreError> {
        let row = self.first(&PENDING, args![]).await?;
        row.map_or(Ok(0), |row| row.int("found"))
    }
}
