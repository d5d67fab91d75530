//! What we ask of the provider: written before, settled after.
//!
//! A row is leased with a fencing token while its call is being made, because an answer lies
//! between claim and outcome. All its times are of the wall clock: a provider forgets an
//! idempotency key after a day of real time.

use crate::database::Tx;
use crate::errors::StoreError;
use crate::rows::{Row, id, opt_id};
use crate::sql::{args, statements};
use domain::ids::{CustomerId, ProviderCallId};
use domain::time::Timestamp;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallState {
    /// Nobody has asked yet, or nobody knows that somebody has.
    Intended,
    /// Asked, and the answer did not come.
    Unknown,
    Done,
    /// The provider said no; asking again would give the same answer.
    Refused,
}

impl CallState {
    const ALL: [CallState; 4] =
        [CallState::Intended, CallState::Unknown, CallState::Done, CallState::Refused];

    pub const fn as_str(self) -> &'static str {
        match self {
            CallState::Intended => "intended",
            CallState::Unknown => "unknown",
            CallState::Done => "done",
            CallState::Refused => "refused",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }

    pub const fn is_settled(self) -> bool {
        matches!(self, CallState::Done | CallState::Refused)
    }
}

/// Whom the sweeper serves first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// It has to be done, however long that takes.
    Duty,
    /// Somebody wanted it.
    Wish,
}

impl Urgency {
    pub const fn as_str(self) -> &'static str {
        match self {
            Urgency::Duty => "duty",
            Urgency::Wish => "wish",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        [Urgency::Duty, Urgency::Wish].into_iter().find(|urgency| urgency.as_str() == word)
    }
}

#[derive(Debug, Clone)]
pub struct ProviderCall {
    pub id: ProviderCallId,
    pub customer_id: Option<CustomerId>,
    pub kind: String,
    /// The wish it stands for: one wish, one row, one key.
    pub fact: String,
    /// What it is about, in our ids: wishes about one object take turns.
    pub object_id: Option<String>,
    /// Fixed when it is written, because a key belongs to its parameters.
    pub parameters: String,
    pub idempotency_key: String,
    pub urgency: Urgency,
    pub state: CallState,
    pub attempts: i64,
    pub next_attempt_at: Timestamp,
    pub lease_token: i64,
    pub leased_until: Timestamp,
    /// What came of it, or why it was refused, as JSON.
    pub outcome: Option<String>,
    /// When an event told that what is wished for is so.
    pub heard_at: Option<Timestamp>,
    /// Later than that of any call about the same object before it, whatever the clocks say.
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

statements! {
    INSERT = "provider_calls.insert":
        "INSERT INTO provider_calls (id, customer_id, kind, fact, object_id, parameters,
             idempotency_key, urgency, state, attempts, next_attempt_at, lease_token, leased_until,
             outcome, heard_at, created_at, updated_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING";
    GET = "provider_calls.get": "SELECT * FROM provider_calls WHERE id = ?";
    FIND = "provider_calls.find": "SELECT * FROM provider_calls WHERE fact = ?";
    OPEN_OF_OBJECT = "provider_calls.open_of_object":
        "SELECT * FROM provider_calls
         WHERE object_id = ? AND state IN ('intended', 'unknown') ORDER BY created_at, id";
    AFTER = "provider_calls.after":
        "SELECT * FROM provider_calls
         WHERE object_id = ? AND created_at > ? AND state <> 'refused' ORDER BY created_at, id";
    OF_OBJECT = "provider_calls.of_object":
        "SELECT COUNT(*) AS found, MAX(created_at) AS newest FROM provider_calls
         WHERE object_id = ?";
    DUE = "provider_calls.due":
        "SELECT * FROM provider_calls
         WHERE state IN ('intended', 'unknown') AND urgency = ? AND next_attempt_at <= ?
           AND leased_until <= ?
         ORDER BY next_attempt_at, id LIMIT ?";
    LEASE = "provider_calls.lease":
        "UPDATE provider_calls SET lease_token = lease_token + 1, attempts = attempts + 1,
             leased_until = ?, updated_at = ?
         WHERE id = ? AND lease_token = ? AND leased_until <= ?
           AND state IN ('intended', 'unknown')
           AND (object_id IS NULL OR object_id NOT IN (
               SELECT busy.object_id FROM (
                   SELECT DISTINCT object_id FROM provider_calls
                   WHERE state IN ('intended', 'unknown') AND leased_until > ?
                     AND object_id IS NOT NULL) AS busy))";
    HEAR = "provider_calls.hear":
        "UPDATE provider_calls SET heard_at = ?
         WHERE object_id = ? AND kind = ? AND state IN ('intended', 'unknown')
           AND created_at < ? AND heard_at IS NULL";
    FINISH = "provider_calls.finish":
        "UPDATE provider_calls SET state = ?, outcome = ?, leased_until = 0, updated_at = ?
         WHERE id = ? AND lease_token = ? AND state IN ('intended', 'unknown')";
    RETRY = "provider_calls.retry":
        "UPDATE provider_calls SET state = 'unknown', outcome = ?, next_attempt_at = ?,
             leased_until = 0, updated_at = ?
         WHERE id = ? AND lease_token = ? AND state IN ('intended', 'unknown')";
    RELEASE_ALL = "provider_calls.release_all":
        "UPDATE provider_calls SET leased_until = 0, next_attempt_at = 0
         WHERE state IN ('intended', 'unknown') AND leased_until > 0";
    LIST = "provider_calls.list":
        "SELECT * FROM provider_calls WHERE id < ? ORDER BY id DESC LIMIT ?";
    LIST_STATE = "provider_calls.list_state":
        "SELECT * FROM provider_calls WHERE state = ? AND id < ? ORDER BY id DESC LIMIT ?";
    UNSETTLED = "provider_calls.unsettled":
        "SELECT COUNT(*) AS found FROM provider_calls WHERE state IN ('intended', 'unknown')";
}

fn call(row: &Row) -> Result<ProviderCall, StoreError> {
    Ok(ProviderCall {
        id: id!(row, "id", ProviderCallId)?,
        customer_id: opt_id!(row, "customer_id", CustomerId)?,
        kind: row.text("kind")?,
        fact: row.text("fact")?,
        object_id: row.opt_text("object_id")?,
        parameters: row.text("parameters")?,
        idempotency_key: row.text("idempotency_key")?,
        urgency: row.parsed("urgency", Urgency::parse)?,
        state: row.parsed("state", CallState::parse)?,
        attempts: row.int("attempts")?,
        next_attempt_at: row.time("next_attempt_at")?,
        lease_token: row.int("lease_token")?,
        leased_until: row.time("leased_until")?,
        outcome: row.opt_text("outcome")?,
        heard_at: row.opt_time("heard_at")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}

impl Tx {
    /// Writes an intent; `false` where the same wish has one already.
    pub async fn provider_calls_insert(&mut self, new: &ProviderCall) -> Result<bool, StoreError> {
        let args = args![
            &new.id,
            &new.customer_id,
            &new.kind,
            &new.fact,
            &new.object_id,
            &new.parameters,
            &new.idempotency_key,
            new.urgency.as_str(),
            new.state.as_str(),
            new.attempts,
            new.next_attempt_at,
            new.lease_token,
            new.leased_until,
            &new.outcome,
            new.heard_at,
            new.created_at,
            new.updated_at
        ];
        self.change_if(&INSERT, args).await
    }

    pub async fn provider_calls_get(
        &mut self,
        id: &ProviderCallId,
    ) -> Result<Option<ProviderCall>, StoreError> {
        self.first(&GET, args![id]).await?.as_ref().map(call).transpose()
    }

    /// By the wish.
    pub async fn provider_calls_find(
        &mut self,
        fact: &str,
    ) -> Result<Option<ProviderCall>, StoreError> {
        self.first(&FIND, args![fact]).await?.as_ref().map(call).transpose()
    }

    /// The calls about an object that are not settled, oldest first.
    pub async fn provider_calls_open_of_object(
        &mut self,
        object: &str,
    ) -> Result<Vec<ProviderCall>, StoreError> {
        self.all(&OPEN_OF_OBJECT, args![object]).await?.iter().map(call).collect()
    }

    /// The calls about an object that were written after an instant and not refused, oldest first.
    pub async fn provider_calls_after(
        &mut self,
        object: &str,
        instant: Timestamp,
    ) -> Result<Vec<ProviderCall>, StoreError> {
        self.all(&AFTER, args![object, instant]).await?.iter().map(call).collect()
    }

    /// How many calls there have ever been about an object, and when the newest was written.
    pub async fn provider_calls_of_object(
        &mut self,
        object: &str,
    ) -> Result<(i64, Option<Timestamp>), StoreError> {
        match self.first(&OF_OBJECT, args![object]).await? {
            Some(row) => Ok((row.int("found")?, row.opt_time("newest")?)),
            None => Ok((0, None)),
        }
    }

    /// The calls of one urgency that may be made now, the longest due first.
    pub async fn provider_calls_due(
        &mut self,
        urgency: Urgency,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<ProviderCall>, StoreError> {
        let rows = self.all(&DUE, args![urgency.as_str(), now, now, limit]).await?;
        rows.iter().map(call).collect()
    }

    /// Notes on open calls of a kind, written before an instant, that what they ask for is so.
    pub async fn provider_calls_hear(
        &mut self,
        object: &str,
        kind: &str,
        written_before: Timestamp,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        self.execute(&HEAR, args![now, object, kind, written_before]).await
    }

    /// Leases this one; `false` where it is settled, somebody else has it, or another call about
    /// the same object is being made. The caller holds the lock of its customer.
    pub async fn provider_calls_lease(
        &mut self,
        call: &mut ProviderCall,
        now: Timestamp,
        leased_until: Timestamp,
    ) -> Result<bool, StoreError> {
        let args = args![leased_until, now, &call.id, call.lease_token, now, now];
        if !self.change_if(&LEASE, args).await? {
            return Ok(false);
        }
        call.lease_token += 1;
        call.attempts += 1;
        Ok(true)
    }

    /// Settles a call under its lease; `false` where the lease has passed to somebody else.
    pub async fn provider_calls_finish(
        &mut self,
        call: &ProviderCall,
        state: CallState,
        outcome: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let args = args![state.as_str(), outcome, now, &call.id, call.lease_token];
        self.change_if(&FINISH, args).await
    }

    /// Gives a call back for a later attempt.
    pub async fn provider_calls_retry(
        &mut self,
        call: &ProviderCall,
        outcome: &str,
        next_attempt_at: Timestamp,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let args = args![outcome, next_attempt_at, now, &call.id, call.lease_token];
        self.change_if(&RETRY, args).await
    }

    /// After a crash of the only process, every lease is nobody's, and its work is due.
    pub async fn provider_calls_release_all(&mut self) -> Result<u64, StoreError> {
        self.execute(&RELEASE_ALL, args![]).await
    }

    /// Newest first, after `cursor`; in one state where it is named.
    pub async fn provider_calls_list(
        &mut self,
        state: Option<CallState>,
        cursor: &str,
        limit: u32,
    ) -> Result<Vec<ProviderCall>, StoreError> {
        let rows = match state {
            None => self.all(&LIST, args![cursor, limit]).await?,
            Some(state) => self.all(&LIST_STATE, args![state.as_str(), cursor, limit]).await?,
        };
        rows.iter().map(call).collect()
    }

    /// How many calls wait for an outcome.
    pub async fn provider_calls_unsettled(&mut self) -> Result<i64, StoreError> {
        let row = self.first(&UNSETTLED, args![]).await?;
        row.map_or(Ok(0), |row| row.int("found"))
    }
}
