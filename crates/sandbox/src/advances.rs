//! Moving the business clock: step by step through everything that is due, each step finished
//! everywhere before the next begins.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::app::App;
use crate::clock::{self, END_OF_TIME, Interval};
use crate::errors::ApiError;
use crate::state::Timer;
use crate::transactions::{Cause, Tx};
use crate::{
    billing, checkout_sessions, delivery, discounts, events, idempotency, subscription_schedules,
    test_clocks,
};

const TICK: Duration = Duration::from_secs(1);
const STEP_TIMEOUT: Duration = Duration::from_secs(30);
const MAX_YEARS: i64 = 10;
/// An object that stays due at the same instant does nothing any more: it must not stop the rest.
const MAX_REPEATS: u32 = 20;

/// Why the clock did not get where it should.
#[derive(Debug, thiserror::Error)]
pub enum AdvanceError {
    #[error("advance is not one of 15m, 12h, 30d, 2w, 1mo, 1y or period-end: {0}")]
    Garbage(String),
    #[error("no live subscription has a period end to advance to")]
    NoPeriodEnd,
    #[error("the clock moves at most {MAX_YEARS} years at once and not beyond the year 2200")]
    TooFar,
    #[error("another advance is running")]
    Busy,
    #[error("webhooks were not accepted within 30 seconds; the clock stays at {now}")]
    Undelivered { now: i64 },
    #[error("{url} did not answer 2xx within 30 seconds; the clock stays at {now}: {cause}")]
    AfterAdvance { url: String, now: i64, cause: String },
    #[error("the sandbox is shutting down; the clock stays at {now}")]
    Stopping { now: i64 },
    #[error("the change could not be stored")]
    Storage,
}

impl AdvanceError {
    pub fn status(&self) -> u16 {
        match self {
            AdvanceError::Garbage(_) | AdvanceError::NoPeriodEnd | AdvanceError::TooFar => 400,
            AdvanceError::Busy => 409,
            AdvanceError::Undelivered { .. } | AdvanceError::AfterAdvance { .. } => 504,
            AdvanceError::Stopping { .. } => 503,
            AdvanceError::Storage => 500,
        }
    }

    pub fn code(&self) -> &'static str {
        match self {
            AdvanceError::Garbage(_) => "advance_invalid",
            AdvanceError::NoPeriodEnd => "no_period_end",
            AdvanceError::TooFar => "advance_too_far",
            AdvanceError::Busy => "advance_in_progress",
            AdvanceError::Undelivered { .. } => "webhooks_undelivered",
            AdvanceError::AfterAdvance { .. } => "after_advance_failed",
            AdvanceError::Stopping { .. } => "stopping",
            AdvanceError::Storage => "storage_failed",
        }
    }
}

/// Does what wall time alone makes due. Runs until it is dropped.
pub async fn tick(app: Arc<App>) {
    loop {
        tokio::time::sleep(TICK).await;
        // During an advance, the advance does this.
        let Ok(_time) = app.time.try_lock() else {
            continue;
        };
        let now = app.clock.now();
        if work_due(&app, now).await.is_err() {
            tracing::error!("what is due could not be stored");
        }
        if prune(&app).await.is_err() {
            tracing::error!("old events and idempotency keys could not be removed");
        }
    }
}

async fn prune(app: &App) -> Result<(), ApiError> {
    for account in accounts(app) {
        app.run(&account, Cause::default(), |tx| {
            idempotency::prune(tx.state);
            events::prune(tx.state);
            Ok(())
        })
        .await?;
    }
    Ok(())
}

fn accounts(app: &App) -> Vec<String> {
    app.read_all(|accounts| accounts.keys().cloned().collect())
}

/// Does everything that the business clock makes due up to `until`.
async fn work_due(app: &App, until: i64) -> Result<(), ApiError> {
    for account in accounts(app) {
        work_due_on(app, &account, None, until).await?;
    }
    Ok(())
}

/// Does everything due by one clock up to `until`, one object per transaction. A test clock stands
/// at each instant on the way while its objects do what they have to.
pub async fn work_due_on(
    app: &App,
    account: &str,
    test_clock: Option<&str>,
    until: i64,
) -> Result<(), ApiError> {
    let test_clock = test_clock.map(str::to_owned);
    let mut stuck: HashSet<Timer> = HashSet::new();
    let mut last: Option<(i64, Timer)> = None;
    let mut repeats = 0;
    while !app.is_stopping() {
        let first = app.read(account, |state| {
            let mut due = state.timers.due(&test_clock, until);
            due.find(|(_, timer)| !stuck.contains(*timer)).map(|(at, timer)| (at, timer.clone()))
        });
        let Some((due, timer)) = first else {
            return Ok(());
        };
        let next = Some((due, timer.clone()));
        repeats = if last == next { repeats + 1 } else { 0 };
        last = next;
        let outcome = app
            .run(account, Cause::default(), |tx| {
                match &test_clock {
                    // The clock moved while we waited for the lock; this object's time has come.
                    None => tx.now = tx.now.max(until),
                    Some(id) => tx.now = test_clocks::stand_at(tx.state, id, due),
                }
                fire(tx, &timer)
            })
            .await;
        if let Err(error) = &outcome {
            tracing::error!(?timer, error = error.message(), "what is due failed");
        }
        if outcome.is_err() || MAX_REPEATS < repeats {
            stuck.insert(timer);
        }
    }
    Ok(())
}

fn fire(tx: &mut Tx<'_>, timer: &Timer) -> Result<(), ApiError> {
    match timer {
        Timer::CheckoutSession(id) => checkout_sessions::due(tx, id),
        Timer::Discount(id) => {
            discounts::due(tx, id);
            Ok(())
        }
        Timer::Invoice(id) => crate::invoices::dues::due(tx, id),
        Timer::Schedule(id) => subscription_schedules::phases::due(tx, id),
        Timer::Subscription(id) => billing::subscription_due(tx, id),
    }
}

/// Moves the clock by `text` and answers when everyone has followed.
pub async fn advance(app: &App, text: &str) -> Result<Value, AdvanceError> {
    let Ok(_time) = take_time(app).await else {
        return Err(AdvanceError::Busy);
    };
    let start = app.clock.now();
    let target = target(text, start, || period_end(app, start))?;
    let _moving = Moving::between(app, start, target);
    let events_before = events_recorded(app);
    let mut steps = 0_u64;
    let mut reached = start;
    while let Some(due) = next_due(app, reached) {
        if target <= due {
            break;
        }
        step(app, due).await?;
        reached = due;
        steps += 1;
    }
    step(app, target).await?;
    let events = events_recorded(app).saturating_sub(events_before);
    Ok(json!({"now": app.clock.now(), "steps": steps + 1, "events": events}))
}

/// The page shows where the clock goes until this is dropped.
struct Moving<'a>(&'a App);

impl Moving<'_> {
    fn between(app: &App, start: i64, target: i64) -> Moving<'_> {
        app.board.notes().moving = Some((start, target));
        Moving(app)
    }
}

impl Drop for Moving<'_> {
    fn drop(&mut self) {
        self.0.board.notes().moving = None;
    }
}

fn next_due(app: &App, instant: i64) -> Option<i64> {
    app.read_all(|accounts| {
        accounts.values().filter_map(|state| state.timers.next_after(instant)).min()
    })
}

/// Also those that have been forgotten since.
fn events_recorded(app: &App) -> i64 {
    app.read_all(|accounts| accounts.values().map(|state| state.events.count_ever()).sum())
}

/// The tick holds the lock for moments only; a second advance would hold it for long.
pub async fn take_time(app: &App) -> Result<tokio::sync::MutexGuard<'_, ()>, AdvanceError> {
    let taken = tokio::time::timeout(TICK, app.time.lock()).await;
    taken.map_err(|_| AdvanceError::Busy)
}

async fn step(app: &App, instant: i64) -> Result<(), AdvanceError> {
    let stopping = || AdvanceError::Stopping { now: app.clock.now() };
    if app.is_stopping() {
        return Err(stopping());
    }
    if app.clock.now() < instant {
        let offset = app.clock.offset_for(instant);
        app.set_offset(offset).await.map_err(|_| AdvanceError::Storage)?;
    }
    work_due(app, instant).await.map_err(|_| AdvanceError::Storage)?;
    prune(app).await.map_err(|_| AdvanceError::Storage)?;
    let delivered = tokio::time::timeout(STEP_TIMEOUT, deliveries_done(app)).await;
    delivered.map_err(|_| AdvanceError::Undelivered { now: app.clock.now() })?;
    if app.is_stopping() {
        return Err(stopping());
    }
    tell_server(app).await
}

/// Waits until nothing waits that can be delivered. What failed long before does not count: a dead
/// endpoint of last week must not stop the clock.
async fn deliveries_done(app: &App) {
    let given_up_on: HashSet<String> = app.read_all(|accounts| {
        let waiting = accounts.values().flat_map(delivery::waiting);
        waiting.filter(|delivery| delivery.has_failed_long()).map(|row| row.id.clone()).collect()
    });
    loop {
        let delivered = app.delivered.notified();
        let waiting = app.read_all(|accounts| {
            let mut waiting = accounts.values().flat_map(delivery::waiting);
            waiting.any(|delivery| !given_up_on.contains(&delivery.id))
        });
        if !waiting || app.is_stopping() {
            return;
        }
        // A notification can be missed between the look and the wait.
        let _ = tokio::time::timeout(Duration::from_millis(100), delivered).await;
    }
}

async fn tell_server(app: &App) -> Result<(), AdvanceError> {
    let Some(after) = &app.after_advance else {
        return Ok(());
    };
    let now = app.clock.now();
    let sent = app
        .client
        .post(&after.url)
        .timeout(STEP_TIMEOUT)
        .bearer_auth(&after.bearer)
        .json(&json!({ "now": now }))
        .send()
        .await;
    let failed = |cause: String| AdvanceError::AfterAdvance { url: after.url.clone(), now, cause };
    match sent {
        Ok(response) if response.status().is_success() => Ok(()),
        Ok(response) => Err(failed(response.status().to_string())),
        Err(error) => Err(failed(error.to_string())),
    }
}

/// The earliest end of a period, trial or canceled subscription that follows the business clock.
fn period_end(app: &App, now: i64) -> Option<i64> {
    app.read_all(|accounts| {
        let boundaries = accounts.values().flat_map(|state| {
            let rows = state.subscriptions.oldest_first();
            let rows = rows.filter(|row| state.test_clock_of(&row.customer).is_none());
            rows.filter_map(|row| row.boundary())
        });
        boundaries.filter(|boundary| now < *boundary && *boundary < END_OF_TIME).min()
    })
}

fn target(
    text: &str,
    now: i64,
    period_end: impl FnOnce() -> Option<i64>,
) -> Result<i64, AdvanceError> {
    if text == "period-end" {
        return period_end().ok_or(AdvanceError::NoPeriodEnd);
    }
    let garbage = || AdvanceError::Garbage(text.chars().take(40).collect());
    let digits = text.chars().take_while(char::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: i64 = number.parse().ok().filter(|number| 0 < *number).ok_or_else(garbage)?;
    let seconds = |unit: i64| number.checked_mul(unit).and_then(|span| now.checked_add(span));
    let target = match unit {
        "s" => seconds(1),
        "m" => seconds(60),
        "h" => seconds(3_600),
        "d" => seconds(clock::DAY),
        "w" => seconds(7 * clock::DAY),
        "mo" => Some(clock::add(now, Interval::Month, number)),
        "y" => Some(clock::add(now, Interval::Year, number)),
        _ => return Err(garbage()),
    };
    let furthest = clock::add(now, Interval::Year, MAX_YEARS);
    target.filter(|at| *at <= furthest && *at < END_OF_TIME).ok_or(AdvanceError::TooFar)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read() {
        let end = || Some(77);
        let now = 1_769_853_600; // 2026-01-31T10:00:00Z
        for (text, span) in [
            ("15m", 900),
            ("12h", 43_200),
            ("30d", 2_592_000),
            ("2w", 1_209_600),
            ("1mo", 28 * clock::DAY),
            ("1y", 365 * clock::DAY),
        ] {
            assert_eq!(target(text, now, end).expect(text), now + span, "{text}");
        }
        assert_eq!(target("period-end", now, end).expect("an end"), 77);
    }

    #[test]
    fn garbage_is_refused() {
        for text in
            ["", "d", "-1d", "1", "1x", "0d", "1.5d", "11y", "99999999999999999999d", "1 d", "١d"]
        {
            assert!(target(text, 0, || None).is_err(), "{text}");
        }
        assert!(matches!(target("period-end", 0, || None), Err(AdvanceError::NoPeriodEnd)));
    }
}
