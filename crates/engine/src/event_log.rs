//! The operator's view of the inbox: what came, what became of it, and what is done about it.
//!
//! What an operator does is written into the audit log by the transaction that does it.

use crate::audits::Act;
use crate::effects::{Effect, effects_of};
use crate::failures::Failure;
use crate::limits::check_text;
use crate::lists::{Listed, Page};
use crate::{Engine, PROVIDER};
use domain::codes::Code;
use domain::ids::{CustomerId, InboxEventId};
use domain::time::Timestamp;
use std::collections::BTreeMap;
use store::Tx;
use store::audits::Audit;
use store::event_log::{EventFilter, LoggedEvent};
use store::inbox::InboxState;

/// How many events one order may put back in line.
pub const REPLAYED_MAX: u32 = 500;
const AUDITS_SHOWN: u32 = 50;
const PURGED_PER_ROUND: u32 = 100;
const SECONDS_PER_DAY: i64 = 86_400;

/// Which events are wanted, in the words of a request.
#[derive(Debug, Clone, Default)]
pub struct EventSearch {
    pub state: Option<String>,
    /// A kind's name; with `*` at its end all that begin alike.
    pub kind: Option<String>,
    /// Our id, the application's own, or the provider's.
    pub customer: Option<String>,
    /// An event's id, ours or the provider's, or the id of what it is about.
    pub about: Option<String>,
}

/// One event with everything that is kept of it.
#[derive(Debug, Clone)]
pub struct EventDetail {
    pub event: LoggedEvent,
    /// Nothing once the payload's time is over.
    pub payload: Option<Vec<u8>>,
    pub headers: BTreeMap<String, String>,
    /// What the object it is about has become here, as it is now.
    pub effects: Vec<Effect>,
    /// What operators did about it, newest first.
    pub audits: Vec<Audit>,
}

/// How far an order to replay many has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replayed {
    pub replayed: usize,
    /// Whether there were more than one order may replay.
    pub more: bool,
}

fn not_found() -> Failure {
    Failure::missing("event")
}

/// Sorts before every event that was received from then on.
pub(crate) fn first_of(at: Timestamp) -> InboxEventId {
    InboxEventId::new(at.max(Timestamp::from_micros(0)), [0; 10])
}

impl Engine {
    /// The event log, newest first.
    pub async fn event_log(
        &self,
        page: Page,
        search: &EventSearch,
    ) -> Result<Listed<LoggedEvent>, Failure> {
        let mut tx = self.store().read("event_log.list").await?;
        let Some(wanted) = event_filter(&mut tx, search).await? else {
            return Ok(Listed { data: Vec::new(), next_cursor: None });
        };
        let rows = tx.event_log_list(PROVIDER, &wanted, page.cursor(), page.fetch()).await?;
        Ok(page.cut(rows, |row| row.id.to_string()))
    }

    /// One event, by our id or the provider's.
    pub async fn event_detail(&self, id: &str) -> Result<EventDetail, Failure> {
        let mut tx = self.store().read("event_log.get").await?;
        let row = match InboxEventId::parse(id) {
            Ok(ours) => tx.inbox_get(&ours).await?,
            Err(_) => tx.inbox_find(PROVIDER, id).await?,
        };
        let row = row.ok_or_else(not_found)?;
        let event = tx.event_log_get(&row.id).await?.ok_or_else(not_found)?;
        let audits = tx.audits_of(row.id.as_str(), AUDITS_SHOWN).await?;
        let effects = match &row.object_id {
            Some(object) => effects_of(&mut tx, object).await?,
            None => Vec::new(),
        };
        let headers = row.headers.as_deref().and_then(|text| serde_json::from_str(text).ok());
        let payload = event.payload_purged_at.is_none().then_some(row.payload);
        Ok(EventDetail { event, payload, headers: headers.unwrap_or_default(), effects, audits })
    }

    /// Puts a parked or ignored event back in line; one that waits for a later attempt is due now.
    pub async fn event_replay(&self, id: &str, act: &Act) -> Result<EventDetail, Failure> {
        let event = self.event_detail(id).await?.event;
        let now = self.clock().wall();
        let mut tx = self.store().begin("events.replay").await?;
        if !tx.inbox_replay(&event.id).await? && !tx.inbox_hurry(&event.id, now).await? {
            let state = event.state.as_str();
            let detail = match (event.state, event.payload_purged_at) {
                (InboxState::Ignored, Some(_)) => "the event's payload is no longer kept".into(),
                (InboxState::Pending, _) => "the event is due already".into(),
                _ => format!("an event that is {state} is not replayed"),
            };
            return Err(Failure::refused(Code::EventNotReplayable, detail));
        }
        self.audit_event(&mut tx, act, "event.replay", &event).await?;
        tx.commit().await?;
        self.inner.arrived.notify_one();
        self.event_detail(id).await
    }

    /// Sets a parked or pending event aside for good.
    pub async fn event_ignore(&self, id: &str, act: &Act) -> Result<EventDetail, Failure> {
        let event = self.event_detail(id).await?.event;
        let mut tx = self.store().begin("events.ignore").await?;
        let reason = match &act.reason {
            Some(reason) => format!("set aside by an operator: {reason}"),
            None => "set aside by an operator".to_owned(),
        };
        if !tx.inbox_ignore(&event.id, &reason, self.clock().wall()).await? {
            let detail = format!("an event that is {} is not set aside", event.state.as_str());
            return Err(Failure::refused(Code::EventNotReplayable, detail));
        }
        self.audit_event(&mut tx, act, "event.ignore", &event).await?;
        tx.commit().await?;
        self.event_detail(id).await
    }

    /// Puts parked events of one kind, or with one reason, back in line, oldest first.
    pub async fn events_replay_parked(
        &self,
        kind: Option<&str>,
        parked_because: Option<&str>,
        act: &Act,
    ) -> Result<Replayed, Failure> {
        let mut tx = self.store().begin("events.replay_parked").await?;
        let mut ids = tx.inbox_parked(kind, parked_because, REPLAYED_MAX + 1).await?;
        let more = (REPLAYED_MAX as usize) < ids.len();
        ids.truncate(REPLAYED_MAX as usize);
        let mut replayed = 0;
        for id in &ids {
            let event = tx.event_log_get(id).await?.ok_or_else(not_found)?;
            // Another operator may have been faster.
            if tx.inbox_replay(id).await? {
                self.audit_event(&mut tx, act, "event.replay", &event).await?;
                replayed += 1;
            }
        }
        tx.commit().await?;
        self.inner.arrived.notify_one();
        Ok(Replayed { replayed, more })
    }

    async fn audit_event(
        &self,
        tx: &mut Tx,
        act: &Act,
        action: &str,
        before: &LoggedEvent,
    ) -> Result<(), Failure> {
        let was = match &before.reason {
            Some(reason) => format!("was {}: {reason}", before.state.as_str()),
            None => format!("was {}", before.state.as_str()),
        };
        self.audit(tx, act, action, before.id.as_str(), Some(&was)).await
    }

    /// Forgets payloads whose time is over. Whoever waits for an operator is kept.
    pub(crate) async fn purge_payloads(&self) -> Result<bool, Failure> {
        let days = i64::from(self.settings().event_payload_days);
        if days == 0 {
            return Ok(false);
        }
        let now = self.clock().wall();
        let until = first_of(now.plus_seconds(-days * SECONDS_PER_DAY));
        let mut tx = self.store().read("jobs.payloads").await?;
        let over = tx.inbox_purgeable(&until, PURGED_PER_ROUND).await?;
        drop(tx);
        if over.is_empty() {
            return Ok(false);
        }
        let mut tx = self.store().begin("jobs.payloads").await?;
        for id in &over {
            tx.inbox_purge(id, now).await?;
        }
        tx.commit().await?;
        Ok(over.len() == PURGED_PER_ROUND as usize)
    }
}

/// What a search means, or nothing where it cannot find anything.
async fn event_filter(tx: &mut Tx, search: &EventSearch) -> Result<Option<EventFilter>, Failure> {
    let state = match search.state.as_deref() {
        None => None,
        Some(word) => Some(InboxState::parse(word).ok_or_else(|| {
            Failure::invalid("state", "state must be pending, applied, ignored or parked")
        })?),
    };
    check_text("type", search.kind.as_deref())?;
    check_text("customer", search.customer.as_deref())?;
    check_text("about", search.about.as_deref())?;
    let (kind, family) = match search.kind.as_deref() {
        Some(name) => match name.strip_suffix('*') {
            Some(beginning) => (None, Some(beginning.to_owned())),
            None => (Some(name.to_owned()), None),
        },
        None => (None, None),
    };
    let mut wanted =
        EventFilter { state, kind, family, customer: None, about: search.about.clone() };
    if let Some(name) = search.customer.as_deref() {
        wanted.customer = match customer_named(tx, name).await? {
            None => return Ok(None),
            found => found,
        };
    }
    Ok(Some(wanted))
}

async fn customer_named(tx: &mut Tx, name: &str) -> Result<Option<CustomerId>, Failure> {
    if let Ok(id) = CustomerId::parse(name)
        && let Some(found) = tx.customers_get(&id).await?
    {
        return Ok(Some(found.id));
    }
    if let Some(found) = tx.customers_find(name).await? {
        return Ok(Some(found.id));
    }
    Ok(tx.customers_owner(PROVIDER, name).await?.map(|found| found.id))
}
