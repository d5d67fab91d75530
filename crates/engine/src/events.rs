//! The inbox: proof, storage and acknowledgement first; meaning later, once, in turn.

use crate::accounts::is_account;
use crate::apply::movements::JUST_PAID_SECONDS;
use crate::apply::purchases::TOGETHER_MAX;
use crate::apply::{CHANGED_TOO_OFTEN, GATHERINGS_MAX, Gathered, Outcome, Stop};
use crate::clock::random;
use crate::failures::{Failure, caught};
use crate::folds::{Undone, Verdict};
use crate::lists::{Listed, Page};
use crate::{Engine, PROVIDER};
use domain::codes::Code;
use domain::ids::InboxEventId;
use domain::time::Timestamp;
use providers::errors::ParseError;
use providers::facts::{Event, Fact};
use providers::stripe::events::PAGE_COMPLETED;
use providers::stripe::{events, webhook};
use std::collections::BTreeMap;
use std::iter;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use store::inbox::{InboxEvent, InboxState};
use tokio::sync::watch;

/// How long one event may be worked on, fetches included.
const WORK_TIMEOUT: Duration = Duration::from_secs(120);
/// How soon another worker takes it over from one that was killed, and how often a living one says
/// that it is there. Replicas whose clocks differ by more than what is left of a lease then take
/// each other's events: they work in vain, and that is all.
pub const LEASE_SECONDS: i64 = 12;
const LEASE_RENEWAL: Duration = Duration::from_secs(4);
/// How long purchases may take together before each goes its own way.
const TOGETHER_TIMEOUT: Duration = Duration::from_secs(5);
/// A conflict met this often is shown to the operator instead.
const ATTEMPTS_MAX: i64 = 15;
const BACKOFF_SECONDS_MAX: i64 = 300;
const ID_LENGTH_MAX: usize = 255;
/// When money that went back of something unknown is looked at again, before it is ignored.
///
/// Its purchase may be told after it, by a page that does not ask for its charge if it was paid
/// less than `JUST_PAID_SECONDS` ago. Whichever of those has begun to be applied by the second look
/// is done, and whichever comes later asks: it was paid before its money went back, which is longer
/// ago than that time and the work on it together, even where clocks differ by minutes.
const SECOND_LOOK_SECONDS: i64 = 900;
const LOOKS_PER_ROUND: u32 = 100;

/// What a delivery was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    pub event_id: String,
    pub kind: String,
    /// Whether it had been stored before.
    pub duplicate: bool,
}

/// Whether an event may be applied with those that stand behind it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Company {
    Welcome,
    Alone,
}

/// What became of the event that is next in the line.
enum Next {
    Nothing,
    Applied,
    Leased(Box<InboxEvent>),
}

/// What every event says of itself, even where the rest cannot be read.
struct Envelope {
    id: String,
    kind: String,
    verdict: InboxState,
    reason: Option<String>,
    event: Option<Event>,
}

impl Engine {
    /// Takes a delivery in: proven, stored, and nothing else. What this answers is durable.
    pub async fn receive_webhook(
        &self,
        payload: &[u8],
        signature: Option<&str>,
    ) -> Result<Received, Failure> {
        self.receive_delivery(payload, signature, &BTreeMap::new()).await
    }

    /// The same with the delivery's headers, which are kept beside the payload.
    pub async fn receive_delivery(
        &self,
        payload: &[u8],
        signature: Option<&str>,
        headers: &BTreeMap<String, String>,
    ) -> Result<Received, Failure> {
        let refused = |error: &dyn std::fmt::Display| {
            Failure::refused(Code::InvalidSignature, error.to_string())
        };
        let header = signature.ok_or_else(|| refused(&"the signature header is missing"))?;
        let settings = self.settings();
        let now = self.clock().wall();
        let (secrets, tolerance) = (&settings.webhook_secrets, settings.webhook_tolerance_seconds);
        webhook::verify(payload, header, secrets, now.seconds(), tolerance)
            .map_err(|error| refused(&error))?;
        self.take_in(payload, headers).await
    }

    /// Stores an event that is known to be the provider's: delivered and proven, or asked for.
    pub(crate) async fn take_in(
        &self,
        payload: &[u8],
        headers: &BTreeMap<String, String>,
    ) -> Result<Received, Failure> {
        let envelope = self.envelope(payload)?;
        let mut row = self.inbox_row(payload, &envelope, self.clock().wall());
        row.headers = (!headers.is_empty()).then(|| serde_json::json!(headers).to_string());
        let state = row.state;
        let stored = match self.inner.arrivals.ask(row.clone()).await {
            Verdict::Answer(stored) => stored?,
            Verdict::Alone => self.store_event(&row).await?,
        };
        if stored && state == InboxState::Pending {
            self.inner.arrived.notify_one();
        }
        tracing::info!(
            event.id = %envelope.id, event.kind = %envelope.kind, event.state = state.as_str(),
            event.duplicate = !stored, "an event was received"
        );
        Ok(Received { event_id: envelope.id, kind: envelope.kind, duplicate: !stored })
    }

    async fn store_event(&self, row: &InboxEvent) -> Result<bool, Failure> {
        let mut tx = self.store().begin("events.receive").await?;
        let stored = tx.inbox_insert(row).await?;
        tx.commit().await?;
        Ok(stored)
    }

    /// Commits folds of arriving events until told to stop.
    pub(crate) async fn fold_arrivals(self, mut shutdown: watch::Receiver<bool>) {
        let taker = self.inner.arrivals.taker();
        while let Some(round) = taker.take(&mut shutdown).await {
            let outcome = taker.within(self.store_events(&round.asked)).await;
            taker.tell(round, outcome);
        }
    }

    async fn store_events(&self, rows: &[InboxEvent]) -> Result<Vec<Verdict<bool>>, Undone> {
        let mut tx = self.store().begin("events.receive_fold").await?;
        let stored = tx.inbox_insert_fold(rows).await?;
        tx.commit().await.map_err(Undone::Unknown)?;
        Ok(stored.into_iter().map(|stored| Verdict::Answer(Ok(stored))).collect())
    }

    /// Reads an event and decides whether it concerns us at all.
    fn envelope(&self, payload: &[u8]) -> Result<Envelope, Failure> {
        let event = match events::parse(payload) {
            Ok(event) => event,
            Err(error) => return unreadable(payload, &error),
        };
        let ignored = self.not_ours(&event);
        Ok(Envelope {
            id: event.id.clone(),
            kind: event.kind.clone(),
            verdict: if ignored.is_some() { InboxState::Ignored } else { InboxState::Pending },
            reason: ignored.map(str::to_owned),
            event: Some(event),
        })
    }

    /// Why an event does not concern this deployment, if so; asked again when one is replayed.
    pub(crate) fn not_ours(&self, event: &Event) -> Option<&'static str> {
        if event.livemode != self.settings().livemode {
            Some("the event belongs to the other mode")
        } else if self.is_foreign(event) {
            Some("the event belongs to another account")
        } else if event.fact == Fact::Unhandled {
            Some("nothing follows from events of this kind")
        } else {
            None
        }
    }

    /// Whether an event names another account than ours. Where ours is not known yet, the one who
    /// applies the event finds out.
    fn is_foreign(&self, event: &Event) -> bool {
        match (&event.account, self.known_account()) {
            (Some(told), Some(ours)) => !is_account(told, ours),
            (Some(_), None) => self.inner.provider.is_none(),
            (None, _) => false,
        }
    }

    fn inbox_row(&self, payload: &[u8], envelope: &Envelope, now: Timestamp) -> InboxEvent {
        let event = envelope.event.as_ref();
        let object_id = event.and_then(|event| event.object_id.clone());
        let whose = event.and_then(|event| event.customer.clone());
        let settled = envelope.verdict != InboxState::Pending;
        InboxEvent {
            id: InboxEventId::new(now, random()),
            provider: PROVIDER.to_owned(),
            provider_event_id: envelope.id.clone(),
            kind: envelope.kind.clone(),
            ordering_key: whose.or_else(|| object_id.clone()).unwrap_or(envelope.id.clone()),
            object_id,
            api_version: event.and_then(|event| event.api_version.clone()),
            payload: payload.to_vec(),
            headers: None,
            state: envelope.verdict,
            reason: envelope.reason.clone(),
            attempts: 0,
            lease_token: 0,
            occurred_at: event.map_or(now, |event| event.created_at),
            received_at: now,
            applied_at: settled.then_some(now),
        }
    }

    /// Applies the next event that is due; `false` where there is none. With a page on which
    /// somebody has bought go those that were told at the same moment.
    pub async fn apply_next(&self) -> Result<bool, Failure> {
        match self.events_next().await? {
            Next::Nothing => return Ok(false),
            Next::Applied => {}
            Next::Leased(event) => {
                let work = caught(async { Ok(self.apply_one(&event).await) });
                let work = self.clock().within(WORK_TIMEOUT, work);
                let outcome = tokio::select! {
                    biased;
                    outcome = work => outcome,
                    // Somebody else has the event now, or it is done.
                    () = self.keep_lease(&event) => {
                        self.inner.told.notify_one();
                        return Ok(true);
                    }
                };
                let outcome = match outcome {
                    Some(outcome) => outcome.unwrap_or_else(later),
                    None => Outcome::Later("it took too long".to_owned()),
                };
                self.finish(&event, outcome).await?;
            }
        }
        Ok(true)
    }

    /// Renews the lease again and again, for as long as nobody else can have it.
    async fn keep_lease(&self, event: &InboxEvent) {
        let id = &event.provider_event_id;
        let mut ends = self.lease_end();
        while self.clock().wall() < ends {
            self.clock().tick(LEASE_RENEWAL).await;
            let end = self.lease_end();
            match self.clock().within(LEASE_RENEWAL, self.renew_lease(event, end)).await {
                Some(Ok(true)) => ends = end,
                Some(Ok(false)) => return,
                Some(Err(failure)) => {
                    tracing::warn!(event.id = %id, %failure, "a lease was not renewed");
                }
                None => tracing::warn!(event.id = %id, "a lease was not renewed in time"),
            }
        }
    }

    async fn renew_lease(&self, event: &InboxEvent, end: Timestamp) -> Result<bool, Failure> {
        let mut tx = self.store().begin("events.renew").await?;
        let renewed = tx.inbox_renew(event, end).await?;
        tx.commit().await?;
        Ok(renewed)
    }

    fn lease_end(&self) -> Timestamp {
        self.clock().wall().plus_seconds(LEASE_SECONDS)
    }

    /// What fails for purchases together is undone for all of them. Each goes alone then, and as
    /// many after it as may have been with it.
    async fn events_next(&self) -> Result<Next, Failure> {
        let alone = &self.inner.events_alone;
        if alone.load(Relaxed) == 0 {
            let next = caught(self.events_claim(Company::Welcome));
            match self.clock().within(TOGETHER_TIMEOUT, next).await {
                Some(Ok(next)) => return Ok(next),
                Some(Err(failure)) => tracing::warn!(%failure, "events are taken one by one"),
                None => tracing::warn!("purchases took too long together"),
            }
            alone.store(TOGETHER_MAX as usize, Relaxed);
        }
        let next = self.events_claim(Company::Alone).await?;
        let left = match next {
            Next::Nothing => 0,
            _ => alone.load(Relaxed).saturating_sub(1),
        };
        alone.store(left, Relaxed);
        Ok(next)
    }

    /// Leases the event that is next. Plain purchases need no lease: they are applied in the
    /// transaction that finds them. Pages that were looked at and are not plain go alone, or every
    /// claim would look at them again.
    async fn events_claim(&self, company: Company) -> Result<Next, Failure> {
        let wall = self.clock().wall();
        let mut tx = self.store().begin("events.claim").await?;
        let Some(first) = tx.inbox_next(wall).await? else {
            return Ok(Next::Nothing);
        };
        let alike;
        let mut pages = Vec::new();
        if company == Company::Welcome && first.kind == PAGE_COMPLETED && first.attempts == 0 {
            let since = self.clock().now().plus_seconds(-JUST_PAID_SECONDS);
            alike = tx.inbox_next_alike(&first, since, wall, TOGETHER_MAX - 1).await?;
            pages.extend(iter::once(&first).chain(&alike));
        }
        let applied = self.purchases_told(&mut tx, &pages).await?;
        let leased = match applied.contains(&first.id) {
            true => None,
            false => Some(tx.inbox_lease(&first, self.lease_end()).await?),
        };
        tx.commit().await?;
        let (done, left): (Vec<_>, Vec<_>) =
            pages.into_iter().partition(|page| applied.contains(&page.id));
        if !done.is_empty() {
            self.inner.told.notify_one();
        }
        for event in done {
            let (id, kind) = (&event.provider_event_id, &event.kind);
            tracing::info!(event.id = %id, event.kind = %kind, "an event was applied");
        }
        let others = left.iter().filter(|page| page.id != first.id).count();
        self.inner.events_alone.fetch_add(others, Relaxed);
        Ok(leased.map_or(Next::Applied, |event| Next::Leased(Box::new(event))))
    }

    /// Gathers and applies; what was gathered too early is gathered again.
    async fn apply_one(&self, row: &InboxEvent) -> Outcome {
        let event = match events::parse(&row.payload) {
            Ok(event) => event,
            Err(error) => return Outcome::Parked(error.to_string()),
        };
        if event.account.is_some()
            && let Err(failure) = self.own_account().await
        {
            return later(failure);
        }
        if let Some(why) = self.not_ours(&event) {
            return Outcome::Ignored(why);
        }
        for _ in 0..GATHERINGS_MAX {
            let applied = match self.gather(event.clone()).await {
                Ok(gathered) => self.apply_gathered(row, &gathered).await,
                Err(stop) => Err(stop),
            };
            match applied {
                Ok(()) => return Outcome::Applied,
                Err(Stop::Changed) => {}
                Err(Stop::Ignored(why)) => return Outcome::Ignored(why),
                Err(Stop::Unclaimed(why)) => return Outcome::Unclaimed(why),
                Err(Stop::Parked(why)) => return Outcome::Parked(why),
                Err(Stop::Failed(failure)) => return later(failure),
            }
        }
        Outcome::Again(CHANGED_TOO_OFTEN.to_owned())
    }

    /// The effects and the mark that they happened are one commit.
    async fn apply_gathered(&self, row: &InboxEvent, gathered: &Gathered) -> Result<(), Stop> {
        let mut tx = self.store().begin("events.apply").await?;
        self.apply(&mut tx, gathered).await?;
        let now = self.clock().wall();
        if !tx.inbox_finish(row, InboxState::Applied, None, now).await? {
            // The lease has passed to another worker, and with it the work.
            return Err(Stop::Changed);
        }
        tx.commit().await?;
        self.inner.told.notify_one();
        Ok(())
    }

    async fn finish(&self, row: &InboxEvent, outcome: Outcome) -> Result<(), Failure> {
        let now = self.clock().wall();
        let (id, kind) = (&row.provider_event_id, &row.kind);
        if outcome == Outcome::Applied {
            tracing::info!(event.id = %id, event.kind = %kind, "an event was applied");
            return Ok(());
        }
        let second_look = row.received_at.plus_seconds(SECOND_LOOK_SECONDS);
        let mut tx = self.store().begin("events.finish").await?;
        match &outcome {
            Outcome::Applied => {}
            // Who looks at the inbox sees nothing that waits.
            Outcome::Unclaimed(why) if now < second_look => {
                tracing::info!(
                    event.id = %id, event.kind = %kind, why, "an event is looked at again later"
                );
                tx.inbox_set_aside(row, why, now, second_look).await?;
            }
            Outcome::Ignored(why) | Outcome::Unclaimed(why) => {
                tracing::info!(event.id = %id, event.kind = %kind, why, "an event was ignored");
                tx.inbox_finish(row, InboxState::Ignored, Some(why), now).await?;
            }
            Outcome::Again(why) if ATTEMPTS_MAX <= row.attempts => {
                tracing::warn!(event.id = %id, event.kind = %kind, why, "an event was parked");
                tx.inbox_finish(row, InboxState::Parked, Some(why), now).await?;
            }
            Outcome::Later(why) | Outcome::Again(why) => {
                let wait = 1_i64 << row.attempts.clamp(0, 20);
                let next = now.plus_seconds(wait.min(BACKOFF_SECONDS_MAX));
                tracing::warn!(event.id = %id, event.kind = %kind, why, "an event has to wait");
                tx.inbox_retry(row, why, next).await?;
            }
            Outcome::Parked(why) => {
                tracing::warn!(event.id = %id, event.kind = %kind, why, "an event was parked");
                tx.inbox_finish(row, InboxState::Parked, Some(why), now).await?;
            }
        }
        Ok(tx.commit().await?)
    }

    /// Puts events back in line that were ignored until a second look; whether there may be more.
    pub(crate) async fn look_again(&self) -> Result<bool, Failure> {
        let mut tx = self.store().read("jobs.look_again").await?;
        let due = tx.inbox_set_aside_until(self.clock().wall(), LOOKS_PER_ROUND).await?;
        drop(tx);
        if due.is_empty() {
            return Ok(false);
        }
        let mut tx = self.store().begin("jobs.look_again").await?;
        for id in &due {
            tx.inbox_look_again(id).await?;
        }
        tx.commit().await?;
        self.inner.arrived.notify_one();
        Ok(due.len() == LOOKS_PER_ROUND as usize)
    }

    /// The event log, newest first.
    pub async fn events_list(
        &self,
        page: Page,
        state: Option<&str>,
    ) -> Result<Listed<InboxEvent>, Failure> {
        let state = match state {
            None => None,
            Some(word) => Some(InboxState::parse(word).ok_or_else(|| {
                Failure::invalid("state", "state must be pending, applied, ignored or parked")
            })?),
        };
        let mut tx = self.store().read("events.list").await?;
        let rows = tx.inbox_list(state, page.cursor(), page.fetch()).await?;
        Ok(page.cut(rows, |row| row.id.to_string()))
    }

    /// By our id or the provider's.
    pub async fn events_get(&self, id: &str) -> Result<InboxEvent, Failure> {
        let mut tx = self.store().read("events.get").await?;
        let found = match InboxEventId::parse(id) {
            Ok(ours) => tx.inbox_get(&ours).await?,
            Err(_) => tx.inbox_find(PROVIDER, id).await?,
        };
        found.ok_or_else(|| Failure::missing("event"))
    }

    /// Puts a parked or ignored event back in line. What people do goes through `event_replay`,
    /// which writes it down.
    pub async fn events_replay(&self, id: &str) -> Result<InboxEvent, Failure> {
        let event = self.events_get(id).await?;
        let mut tx = self.store().begin("events.replay").await?;
        if !tx.inbox_replay(&event.id).await? {
            let detail = format!("an event that is {} is not replayed", event.state.as_str());
            return Err(Failure::refused(Code::EventNotReplayable, detail));
        }
        tx.commit().await?;
        self.inner.arrived.notify_one();
        self.events_get(id).await
    }
}

/// Only what may end differently is tried again; the rest waits for an operator.
fn later(failure: Failure) -> Outcome {
    let why = failure.to_string();
    match &failure {
        Failure::Store(error) if error.is_transient() => Outcome::Later(why),
        Failure::Store(error) if error.is_unique_violation() => Outcome::Again(why),
        Failure::Panic => Outcome::Again(why),
        Failure::Provider { code, .. } if *code != Code::ProviderRefused => Outcome::Later(why),
        _ => Outcome::Parked(why),
    }
}

/// A proven event that lacks what it needs is parked; something that is no event is refused.
fn unreadable(payload: &[u8], error: &ParseError) -> Result<Envelope, Failure> {
    let invalid = || Failure::refused(Code::InvalidPayload, error.to_string());
    let value: serde_json::Value = serde_json::from_slice(payload).map_err(|_| invalid())?;
    let text = |key: &str| {
        let found = value.get(key).and_then(serde_json::Value::as_str);
        let fits = |text: &&str| (1..=ID_LENGTH_MAX).contains(&text.len()) && !text.contains('\0');
        found.filter(fits).map(str::to_owned)
    };
    let (Some(id), Some(kind)) = (text("id"), text("type")) else {
        return Err(invalid());
    };
    let reason = Some(error.to_string());
    Ok(Envelope { id, kind, verdict: InboxState::Parked, reason, event: None })
}
