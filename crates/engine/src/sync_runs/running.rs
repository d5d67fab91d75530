//! A run: what it was asked for, how far it is, and the lease that makes it nobody else's.

use super::comparing::{Act, Compared, Subject, known};
use super::reports::Report;
use super::{Loop, SyncRequest, Watcher};
use crate::failures::{Failure, caught};
use crate::{Engine, PROVIDER};
use domain::time::Timestamp;
use providers::facts::{Fact, SessionStatus};
use std::sync::atomic::Ordering;
use std::time::Duration;
use store::sync_runs::{SyncRun, SyncState};

/// Longer than the slowest single object with all its retries.
const LEASE_SECONDS: i64 = 300;
/// How often the lease is renewed and the report shown to others.
const SAVE_SECONDS: i64 = 2;
const MICROS_PER_SECOND: i64 = 1_000_000;

pub(super) fn lease_end(now: Timestamp) -> Timestamp {
    now.plus_seconds(LEASE_SECONDS)
}

pub(super) struct Run<'a> {
    pub engine: &'a Engine,
    pub row: SyncRun,
    pub request: SyncRequest,
    pub report: Report,
    /// Whether what the provider does not know is gone: another account knows nothing of ours.
    pub knows_account: bool,
    watcher: Watcher<'a>,
    saved_at: Timestamp,
    lost: bool,
}

impl Engine {
    /// Does what a leased run asks for and records what came of it.
    pub(super) async fn sync_execute(
        &self,
        row: SyncRun,
        watcher: Watcher<'_>,
    ) -> Result<(), Failure> {
        let mut request = SyncRequest::parse(row.scope.as_deref());
        request.dry_run = row.dry_run;
        let kind = Loop::parse(&row.kind).unwrap_or(Loop::Manual);
        let saved_at = self.clock().wall();
        let report = Report::default();
        let own = self.check_own_account().await;
        let knows_account = matches!(own, Ok(true));
        let lost = false;
        let mut run =
            Run { engine: self, row, request, report, knows_account, watcher, saved_at, lost };
        let outcome = caught(async {
            match (own, kind) {
                (Err(failure), _) => Err(failure),
                (_, Loop::Pending) => run.pending().await,
                (_, Loop::Events) => run.events().await,
                (_, Loop::Objects | Loop::Manual) => run.objects(kind).await,
            }
        });
        let outcome = outcome.await;
        run.finish(outcome.err()).await
    }

    /// Waits until the provider may be asked so many times more.
    pub(super) async fn sync_pace(&self, calls: u32) {
        let rate = i64::from(self.settings().sync.requests_per_second);
        if rate == 0 {
            return;
        }
        let cost = i64::from(calls) * MICROS_PER_SECOND / rate;
        let now = self.clock().wall().micros();
        let next = &self.inner.sync_pace.next_micros;
        let claim = |free: i64| Some(free.max(now) + cost);
        let turn = next.fetch_update(Ordering::SeqCst, Ordering::SeqCst, claim).unwrap_or(now);
        let wait = u64::try_from(turn - now).unwrap_or(0);
        if 0 < wait {
            self.clock().pause(Duration::from_micros(wait)).await;
        }
    }
}

impl Run<'_> {
    pub(super) fn act(&self) -> Act {
        if self.request.dry_run { Act::Look } else { Act::Repair }
    }

    /// Compares an object that a list has told of. What differs is asked for once more before it is
    /// put right: the list may be older than our newest news.
    pub(super) async fn check_listed(&mut self, subject: Subject) {
        let resource = subject.resource;
        self.report.counts(resource).seen += 1;
        match self.engine.sync_settled(&subject).await {
            Ok(Settled::Foreign) => self.report.counts(resource).foreign += 1,
            Ok(Settled::Equal) => self.report.counts(resource).equal += 1,
            Ok(Settled::Open) => match self.engine.compare(&subject, Act::Look).await {
                Ok(Compared::Differs(_)) if self.act() == Act::Repair => {
                    self.check_fresh(subject.fetched()).await;
                }
                outcome => self.note(&subject, outcome),
            },
            Err(failure) => self.report.fail(resource, &subject.id, failure.told()),
        }
        self.save_if_due().await;
    }

    /// Fetches an object and compares it.
    pub(super) async fn check_fresh(&mut self, subject: Subject) {
        self.engine.sync_pace(2).await;
        let outcome = self.engine.compare(&subject, self.act()).await;
        self.note(&subject, outcome);
        self.save_if_due().await;
    }

    fn note(&mut self, subject: &Subject, outcome: Result<Compared, Failure>) {
        let now = self.engine.clock().now();
        let resource = subject.resource;
        match outcome {
            Ok(Compared::Equal) => self.report.counts(resource).equal += 1,
            Ok(Compared::Differs(found)) => {
                self.report.counts(resource).repaired += 1;
                self.report.list(found);
                let repaired = self.act() == Act::Repair;
                self.report.drifted(subject.changed_at, now, repaired);
            }
            Ok(Compared::Gone) if subject.is_row => {
                let gone = "the provider no longer knows it".to_owned();
                self.report.fail(resource, &subject.id, gone);
            }
            Ok(Compared::Gone) => self.report.counts(resource).equal += 1,
            Ok(Compared::Unusable(why)) => {
                self.report.fail(resource, &subject.id, why);
                self.report.drifted(subject.changed_at, now, false);
            }
            Err(failure) => self.report.fail(resource, &subject.id, failure.told()),
        }
    }

    async fn save_if_due(&mut self) {
        (self.watcher)(&self.report);
        if self.saved_at.plus_seconds(SAVE_SECONDS) <= self.engine.clock().wall() {
            self.save().await;
        }
    }

    /// Renews the lease and shows the report. Losing the lease is found out here.
    pub(super) async fn save(&mut self) {
        (self.watcher)(&self.report);
        let now = self.engine.clock().wall();
        self.saved_at = now;
        self.row.report = self.report.text();
        let until = lease_end(now).max(self.row.leased_until.plus_seconds(1));
        let saved = async {
            let mut tx = self.engine.store().begin("sync_runs.progress").await?;
            let held = tx.sync_runs_progress(&self.row, until).await?;
            tx.commit().await?;
            Ok::<bool, Failure>(held)
        };
        match saved.await {
            Ok(true) => self.row.leased_until = until,
            Ok(false) => self.lost = true,
            Err(failure) => tracing::warn!(%failure, "the progress of a sync run was not saved"),
        }
    }

    /// Whether another worker has taken the run over.
    pub(super) fn is_lost(&self) -> bool {
        self.lost
    }

    async fn finish(mut self, failure: Option<Failure>) -> Result<(), Failure> {
        if self.lost {
            return Ok(());
        }
        let total = self.report.total();
        let nothing_compared = total.seen == total.failed && !self.report.incomplete.is_empty();
        self.row.state = match (&failure, self.report.is_whole()) {
            (Some(_), _) => SyncState::Failed,
            _ if nothing_compared => SyncState::Failed,
            (None, false) => SyncState::Partial,
            (None, true) => SyncState::Completed,
        };
        self.row.error = failure.map(|failure| failure.told());
        self.row.report = self.report.text();
        let now = self.engine.clock().wall();
        let mut tx = self.engine.store().begin("sync_runs.finish").await?;
        tx.sync_runs_finish(&self.row, now).await?;
        tx.commit().await?;
        tracing::info!(
            sync.id = %self.row.id, sync.kind = %self.row.kind,
            sync.state = self.row.state.as_str(),
            sync.seen = total.seen, sync.repaired = total.repaired, sync.failed = total.failed,
            "a comparison with the provider is over"
        );
        (self.watcher)(&self.report);
        Ok(())
    }
}

/// What a look at our rows alone can say.
pub(super) enum Settled {
    Foreign,
    Equal,
    /// Only applying it can tell.
    Open,
}

impl Engine {
    /// Whether there is anything to find out: nobody's objects and those whose comparison would ask
    /// the provider again although they say what we hold already are let go.
    async fn sync_settled(&self, subject: &Subject) -> Result<Settled, Failure> {
        let mut tx = self.store().read("sync_runs.settled").await?;
        let known = known(&mut tx, &subject.named).await?;
        let word = |status: &Option<String>| status.clone().unwrap_or_default();
        let (is_ours, same) = match &subject.fact {
            // A session that is not ours stays so, whoever paid there.
            Fact::CheckoutSession(told) => (
                known.is_session(),
                told.status == SessionStatus::Open || tx.session_ended(PROVIDER, &told.id).await?,
            ),
            Fact::Charge(told) => {
                let (captured, refunded) = (told.amount_captured, told.amount_refunded);
                let status = word(&told.status);
                let mut same =
                    tx.same_charge(PROVIDER, &told.id, &status, captured, refunded).await?;
                if let (Some(intent), Some(currency)) = (&told.payment_intent, &told.currency)
                    && !same
                    && status == "succeeded"
                    && !told.has_gone_back()
                {
                    // A page tells of its purchase without the charge behind it.
                    same = tx.paid_alike(PROVIDER, intent, captured, currency).await?;
                }
                // A declined card is no payment, and its page is still open.
                (known.is_ours, same || status == "failed")
            }
            Fact::Refund(told) => {
                let status = told.status.as_str();
                (known.is_ours, tx.same_refund(PROVIDER, &told.id, status, told.amount).await?)
            }
            Fact::Dispute(told) => {
                let status = told.status.as_str();
                (known.is_ours, tx.same_dispute(PROVIDER, &told.id, status, told.amount).await?)
            }
            Fact::CreditNote(told) => {
                let status = word(&told.status);
                let same = tx.same_credit_note(PROVIDER, &told.id, &status, told.amount).await?;
                (known.is_ours, same)
            }
            _ => (known.is_ours, false),
        };
        Ok(match (is_ours, same) {
            (false, _) => Settled::Foreign,
            (true, true) => Settled::Equal,
            (true, false) => Settled::Open,
        })
    }
}
