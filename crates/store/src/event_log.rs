//! The inbox as an operator reads it: filtered, counted, without the payloads. It writes nothing.

use crate::database::Tx;
use crate::errors::StoreError;
use crate::inbox::InboxState;
use crate::rows::{Row, id, opt_id};
use crate::sql::{Arg, args, statements};
use domain::ids::{CustomerId, InboxEventId};
use domain::time::Timestamp;

/// One line of the log.
#[derive(Debug, Clone)]
pub struct LoggedEvent {
    pub id: InboxEventId,
    pub provider_event_id: String,
    pub kind: String,
    pub ordering_key: String,
    pub object_id: Option<String>,
    pub api_version: Option<String>,
    pub state: InboxState,
    pub reason: Option<String>,
    pub attempts: i64,
    pub next_attempt_at: Timestamp,
    pub leased_until: Timestamp,
    pub occurred_at: Timestamp,
    pub received_at: Timestamp,
    pub applied_at: Option<Timestamp>,
    pub payload_purged_at: Option<Timestamp>,
    /// Ours, where the event names a counterpart of theirs.
    pub customer_id: Option<CustomerId>,
}

/// Which events are wanted; all of them where nothing is said.
#[derive(Debug, Clone, Default)]
pub struct EventFilter {
    pub state: Option<InboxState>,
    /// The whole name of a kind.
    pub kind: Option<String>,
    /// The beginning of a kind's name.
    pub family: Option<String>,
    /// Our customer, by id.
    pub customer: Option<CustomerId>,
    /// An event, by our id or the provider's, or the object or counterpart it is about.
    pub about: Option<String>,
}

/// Parked events that look alike.
#[derive(Debug, Clone)]
pub struct ParkedGroup {
    pub kind: String,
    pub reason: Option<String>,
    pub count: i64,
    pub oldest: Timestamp,
}

/// The lines that `$driver` finds, narrowed by every other filter. What drives the search decides
/// which index it walks, so the narrowest filter of a request drives.
macro_rules! listed {
    ($driver:literal) => {
        concat!(
            "SELECT e.id, e.provider_event_id, e.kind, e.ordering_key, e.object_id, e.api_version,
                 e.state, e.reason, e.attempts, e.next_attempt_at, e.leased_until, e.occurred_at,
                 e.received_at, e.applied_at, e.payload_purged_at, c.customer_id
             FROM inbox_events e
             LEFT JOIN provider_customers c
               ON c.provider = e.provider AND c.provider_customer_id = e.ordering_key
             WHERE ",
            $driver,
            " AND e.id < ?
               AND (CAST(? AS TEXT) IS NULL OR e.state = ?)
               AND (CAST(? AS TEXT) IS NULL OR e.kind = ?)
               AND (CAST(? AS TEXT) IS NULL OR substr(e.kind, 1, length(CAST(? AS TEXT))) = ?)
             ORDER BY e.id DESC LIMIT ?"
        )
    };
}

statements! {
    LIST = "event_log.list": listed!("e.id > ''");
    BY_STATE = "event_log.by_state": listed!("e.state = ?");
    BY_KIND = "event_log.by_kind": listed!("e.kind = ?");
    BY_CUSTOMER = "event_log.by_customer": listed!(
        "(e.ordering_key IN
              (SELECT provider_customer_id FROM provider_customers WHERE customer_id = ?)
          OR e.object_id IN
              (SELECT provider_session_id FROM checkout_sessions WHERE customer_id = ?))"
    );
    ABOUT = "event_log.about": listed!(
        "e.id IN (SELECT id FROM inbox_events WHERE id = ?
                  UNION SELECT id FROM inbox_events WHERE provider = ? AND provider_event_id = ?
                  UNION SELECT id FROM inbox_events WHERE object_id = ?
                  UNION SELECT id FROM inbox_events WHERE ordering_key = ?)"
    );
    ABOUT_OF_CUSTOMER = "event_log.about_of_customer": listed!(
        "e.id IN (SELECT id FROM inbox_events WHERE id = ?
                  UNION SELECT id FROM inbox_events WHERE provider = ? AND provider_event_id = ?
                  UNION SELECT id FROM inbox_events WHERE object_id = ?
                  UNION SELECT id FROM inbox_events WHERE ordering_key = ?)
         AND (e.ordering_key IN
                  (SELECT provider_customer_id FROM provider_customers WHERE customer_id = ?)
              OR e.object_id IN
                  (SELECT provider_session_id FROM checkout_sessions WHERE customer_id = ?))"
    );
    COUNT = "event_log.count":
        "SELECT state, COUNT(*) AS found FROM inbox_events
         WHERE state IN ('pending', 'applied', 'ignored', 'parked') AND id >= ? AND id < ?
         GROUP BY state";
    WAITING = "event_log.waiting":
        "SELECT state, COUNT(*) AS found FROM inbox_events
         WHERE state IN ('pending', 'parked') GROUP BY state";
    OLDEST = "event_log.oldest":
        "SELECT received_at FROM inbox_events WHERE state = ? ORDER BY id LIMIT 1";
    PARKED = "event_log.parked":
        "SELECT kind, reason, COUNT(*) AS found, MIN(received_at) AS oldest FROM inbox_events
         WHERE state = 'parked' GROUP BY kind, reason ORDER BY found DESC, kind, reason LIMIT ?";
}

fn line(row: &Row) -> Result<LoggedEvent, StoreError> {
    Ok(LoggedEvent {
        id: id!(row, "id", InboxEventId)?,
        provider_event_id: row.text("provider_event_id")?,
        kind: row.text("kind")?,
        ordering_key: row.text("ordering_key")?,
        object_id: row.opt_text("object_id")?,
        api_version: row.opt_text("api_version")?,
        state: row.parsed("state", InboxState::parse)?,
        reason: row.opt_text("reason")?,
        attempts: row.int("attempts")?,
        next_attempt_at: row.time("next_attempt_at")?,
        leased_until: row.time("leased_until")?,
        occurred_at: row.time("occurred_at")?,
        received_at: row.time("received_at")?,
        applied_at: row.opt_time("applied_at")?,
        payload_purged_at: row.opt_time("payload_purged_at")?,
        customer_id: opt_id!(row, "customer_id", CustomerId)?,
    })
}

fn counted(rows: &[Row]) -> Result<Vec<(InboxState, i64)>, StoreError> {
    rows.iter()
        .map(|row| Ok((row.parsed("state", InboxState::parse)?, row.int("found")?)))
        .collect()
}

impl Tx {
    /// Newest first, after `cursor`.
    pub async fn event_log_list(
        &mut self,
        provider: &str,
        wanted: &EventFilter,
        cursor: &str,
        limit: u32,
    ) -> Result<Vec<LoggedEvent>, StoreError> {
        let state = wanted.state.map(InboxState::as_str);
        let EventFilter { kind, family, customer, about, .. } = wanted;
        let (sql, mut args): (_, Vec<Arg>) = match (about, customer, kind, state) {
            (Some(about), Some(customer), ..) => {
                let args = args![about, provider, about, about, about, customer, customer];
                (&ABOUT_OF_CUSTOMER, args)
            }
            (Some(about), ..) => (&ABOUT, args![about, provider, about, about, about]),
            (_, Some(customer), ..) => (&BY_CUSTOMER, args![customer, customer]),
            (_, _, Some(kind), _) => (&BY_KIND, args![kind]),
            (_, _, _, Some(state)) => (&BY_STATE, args![state]),
            _ => (&LIST, args![]),
        };
        args.extend(args![cursor, state, state, kind, kind, family, family, family, limit]);
        self.all(sql, args).await?.iter().map(line).collect()
    }

    /// One line of the log, by our id.
    pub async fn event_log_get(
        &mut self,
        id: &InboxEventId,
    ) -> Result<Option<LoggedEvent>, StoreError> {
        let wanted = EventFilter { about: Some(id.to_string()), ..EventFilter::default() };
        Ok(self.event_log_list("", &wanted, "~", 1).await?.pop())
    }

    /// How many events of each state were received in a span.
    pub async fn event_log_count(
        &mut self,
        from: &InboxEventId,
        until: &InboxEventId,
    ) -> Result<Vec<(InboxState, i64)>, StoreError> {
        counted(&self.all(&COUNT, args![from, until]).await?)
    }

    /// How many events are pending and parked.
    pub async fn event_log_waiting(&mut self) -> Result<Vec<(InboxState, i64)>, StoreError> {
        counted(&self.all(&WAITING, args![]).await?)
    }

    /// When the oldest event of a state was received.
    pub async fn event_log_oldest(
        &mut self,
        state: InboxState,
    ) -> Result<Option<Timestamp>, StoreError> {
        let row = self.first(&OLDEST, args![state.as_str()]).await?;
        row.map(|row| row.time("received_at")).transpose()
    }

    /// Parked events by what parked them, the most frequent first.
    pub async fn event_log_parked(&mut self, limit: u32) -> Result<Vec<ParkedGroup>, StoreError> {
        let rows = self.all(&PARKED, args![limit]).await?;
        let group = |row: &Row| {
            Ok(ParkedGroup {
                kind: row.text("kind")?,
                reason: row.opt_text("reason")?,
                count: row.int("found")?,
                oldest: row.time("oldest")?,
            })
        };
        rows.iter().map(group).collect()
    }
}
