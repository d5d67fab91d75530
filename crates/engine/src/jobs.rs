//! What runs without a request: the inbox workers, and timers on the business clock.
//!
//! Every job reads state, compares and acts; being late or running twice changes nothing.

use crate::Engine;
use crate::failures::{Failure, caught};
use domain::codes::Code;
use domain::ids::CustomerId;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use std::collections::BTreeSet;
use std::time::Duration;
use store::allowance_schedules::AllowanceSchedule;
use store::holds::{Hold, HoldStatus};
use store::provider_calls::Urgency;
use tokio::sync::watch;

const WORKERS: usize = 4;
/// A comparison of everything takes long, and the loop of minutes should not wait for it.
const SYNC_WORKERS: usize = 2;
/// Other replicas' events are found by looking.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
const TIMER_INTERVAL: Duration = Duration::from_secs(1);
/// How long a loop rests that has panicked.
const RESTART_PAUSE: Duration = Duration::from_secs(1);
const SETTLE_PAUSE: Duration = Duration::from_millis(10);
const ROWS_PER_ROUND: u32 = 100;

/// One round of rows that were due.
struct Round {
    rows: usize,
    failed: usize,
}

impl Round {
    fn of(rows: usize) -> Self {
        Self { rows, failed: 0 }
    }

    async fn note(&mut self, row: &str, work: impl Future<Output = Result<(), Failure>>) {
        if let Err(failure) = caught(work).await {
            self.failed += 1;
            tracing::error!(row, %failure, "a timed job failed on a row; the others go on");
        }
    }

    /// There may be more; but rows that fail would come again and again.
    fn goes_on(&self) -> bool {
        self.rows == ROWS_PER_ROUND as usize && self.failed == 0
    }
}

/// Runs a loop until it ends. One that panics begins anew: its transaction is undone, and whatever
/// it was about is found again.
async fn keep_on<L: Future<Output = ()>>(name: &str, begin: impl Fn() -> L) {
    let to_its_end = async || {
        begin().await;
        Ok(())
    };
    while let Err(failure) = caught(to_its_end()).await {
        tracing::error!(name, %failure, "a loop begins anew");
        tokio::time::sleep(RESTART_PAUSE).await;
    }
}

impl Engine {
    /// Runs until told to stop, then finishes what was begun.
    pub async fn run(&self, shutdown: watch::Receiver<bool>) {
        if self.store().is_single_process()
            && let Err(failure) = caught(self.release_leases()).await
        {
            tracing::error!(%failure, "the leases of the last run could not be released");
        }
        if let Err(failure) = caught(self.catalogue_finish()).await {
            tracing::error!(%failure, "the catalogue could not be made known to the provider");
        }
        if let Err(failure) = caught(self.webhook_endpoints_reseal()).await {
            tracing::error!(%failure, "the secrets of endpoints could not be sealed anew");
        }
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn({
            let (engine, shutdown) = (self.clone(), shutdown.clone());
            async move { engine.run_folds(shutdown).await }
        });
        let mut keep =
            |name, begin: fn(Engine, watch::Receiver<bool>) -> BoxFuture<'static, ()>| {
                let (engine, shutdown) = (self.clone(), shutdown.clone());
                tasks.spawn(async move {
                    keep_on(name, || begin(engine.clone(), shutdown.clone())).await;
                });
            };
        for _ in 0..WORKERS {
            keep("inbox", |engine, shutdown| engine.work(shutdown).boxed());
        }
        // What has to be done does not wait behind what somebody wished for.
        keep("duties", |engine, shutdown| engine.sweep_calls(Urgency::Duty, shutdown).boxed());
        keep("wishes", |engine, shutdown| engine.sweep_calls(Urgency::Wish, shutdown).boxed());
        keep("pages", |engine, shutdown| engine.sweep_pages(shutdown).boxed());
        keep("deliveries", |engine, shutdown| engine.dispatch(shutdown).boxed());
        for _ in 0..SYNC_WORKERS {
            keep("comparisons", |engine, shutdown| engine.sync_work(shutdown).boxed());
        }
        keep("timers", |engine, shutdown| engine.time(shutdown).boxed());
        while tasks.join_next().await.is_some() {}
    }

    /// Commits what callers have left in line until told to stop; who comes later is served alone.
    pub async fn run_folds(&self, shutdown: watch::Receiver<bool>) {
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn({
            let (engine, shutdown) = (self.clone(), shutdown.clone());
            let renew = move || engine.clone().renew_snapshots(shutdown.clone());
            async move { keep_on("access", renew).await }
        });
        for line in 0..self.inner.consumptions.len() {
            tasks.spawn(self.clone().fold_consumptions(line, shutdown.clone()));
            tasks.spawn(self.clone().fold_arrivals(shutdown.clone()));
            tasks.spawn(self.clone().fold_snapshots(shutdown.clone()));
        }
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "folds of one kind end: requests are decided one by one");
            }
        }
    }

    async fn release_leases(&self) -> Result<(), Failure> {
        let mut tx = self.store().begin("events.release_all").await?;
        tx.inbox_release_all().await?;
        tx.provider_calls_release_all().await?;
        tx.deliveries_release_all(self.clock().wall()).await?;
        Ok(tx.commit().await?)
    }

    /// Applies events as they arrive.
    async fn work(self, mut shutdown: watch::Receiver<bool>) {
        while !*shutdown.borrow() {
            match self.apply_next().await {
                Ok(true) => {
                    // There may be more than one worker's worth.
                    self.inner.arrived.notify_one();
                    continue;
                }
                Ok(false) => {}
                Err(failure) => tracing::error!(%failure, "the inbox cannot be worked on"),
            }
            tokio::select! {
                () = self.inner.arrived.notified() => {}
                () = tokio::time::sleep(POLL_INTERVAL) => {}
                _ = shutdown.changed() => {}
            }
        }
    }

    async fn time(self, mut shutdown: watch::Receiver<bool>) {
        while !*shutdown.borrow() {
            if let Err(failure) = self.run_timers().await {
                tracing::error!(%failure, "the timers cannot run");
            }
            tokio::select! {
                () = tokio::time::sleep(TIMER_INTERVAL) => {}
                _ = shutdown.changed() => {}
            }
        }
    }

    /// Everything that is due on the business clock. A row that cannot be worked on is logged and
    /// keeps nobody else waiting.
    pub async fn run_timers(&self) -> Result<(), Failure> {
        while self.refill_due().await? {}
        while self.expire_holds().await? {}
        while self.expire_lots().await? {}
        while self.purge_payloads().await? {}
        while self.look_again().await? {}
        let wall = self.clock().wall();
        let mut tx = self.store().begin("jobs.sessions").await?;
        tx.portal_sessions_prune(wall).await?;
        tx.admin_sessions_prune(wall).await?;
        Ok(tx.commit().await?)
    }

    async fn refill_due(&self) -> Result<bool, Failure> {
        let now = self.clock().now();
        let mut tx = self.store().read("jobs.refill").await?;
        let due = tx.allowance_schedules_due(now, ROWS_PER_ROUND).await?;
        drop(tx);
        let mut round = Round::of(due.len());
        for schedule in &due {
            round.note(schedule.id.as_str(), self.refill_one(schedule)).await;
        }
        Ok(round.goes_on())
    }

    async fn refill_one(&self, due: &AllowanceSchedule) -> Result<(), Failure> {
        let mut tx = self.store().begin("jobs.refill").await?;
        tx.customers_lock(&due.customer_id).await?;
        // Read again under the lock: the subscription may have ended meanwhile.
        if let Some(fresh) = tx.allowance_schedules_get(&due.id).await?
            && fresh.next_at.is_some()
        {
            self.refill_in_turn(&mut tx, &fresh).await?;
        }
        Ok(tx.commit().await?)
    }

    async fn expire_holds(&self) -> Result<bool, Failure> {
        let now = self.clock().now();
        let mut tx = self.store().read("jobs.holds").await?;
        let over = tx.holds_expired(now, ROWS_PER_ROUND).await?;
        drop(tx);
        let mut round = Round::of(over.len());
        for held in &over {
            round.note(held.id.as_str(), self.expire_hold(held)).await;
        }
        Ok(round.goes_on())
    }

    async fn expire_hold(&self, seen: &Hold) -> Result<(), Failure> {
        let mut tx = self.store().begin("jobs.holds").await?;
        tx.customers_lock(&seen.customer_id).await?;
        let account = tx.credits_open(&seen.customer_id, &seen.unit).await?;
        let held = tx.holds_get(&seen.customer_id, &seen.id).await?;
        if let Some(held) = held.filter(|held| held.status == HoldStatus::Open) {
            self.hold_end(&mut tx, account, held, HoldStatus::Expired).await?;
        }
        Ok(tx.commit().await?)
    }

    async fn expire_lots(&self) -> Result<bool, Failure> {
        let now = self.clock().now();
        let mut tx = self.store().read("jobs.lots").await?;
        let lots = tx.credits_expired(now, ROWS_PER_ROUND).await?;
        drop(tx);
        let mut round = Round::of(lots.len());
        // All lots of an account that are over are written off together.
        for (customer, unit) in &BTreeSet::from_iter(lots) {
            round.note(customer.as_str(), self.expire_lots_of(customer, unit)).await;
        }
        Ok(round.goes_on())
    }

    async fn expire_lots_of(&self, customer: &CustomerId, unit: &str) -> Result<(), Failure> {
        let mut tx = self.store().begin("jobs.lots").await?;
        let mut account = tx.credits_open(customer, unit).await?;
        self.write_off_expired(&mut tx, &mut account, None).await?;
        tx.credits_close(account).await?;
        Ok(tx.commit().await?)
    }

    /// Runs every timer and waits until no event is pending: development moves the clock in steps.
    pub async fn settle(&self, limit: Duration) -> Result<(), Failure> {
        let settled = async {
            self.run_timers().await?;
            loop {
                let mut tx = self.store().read("events.pending").await?;
                let pending = tx.inbox_pending().await?;
                drop(tx);
                if pending == 0 {
                    return self.run_timers().await;
                }
                tokio::time::sleep(SETTLE_PAUSE).await;
            }
        };
        match tokio::time::timeout(limit, settled).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Failure::Provider {
                code: Code::Timeout,
                detail: "events are still being applied".to_owned(),
            }),
        }
    }
}
