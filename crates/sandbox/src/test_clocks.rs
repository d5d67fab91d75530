//! Test clocks: customers whose time stands still until it is told to move, whatever the business
//! clock does.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::advances;
use crate::app::App;
use crate::clock::{self, DAY, Interval};
use crate::errors::ApiError;
use crate::requests::Call;
use crate::state::{Row, State};
use crate::transactions::{Cause, Tx};
use crate::{customers, ids, lists};

/// Stripe removes a test clock after this time, with everything that follows it.
const LIFE_SECONDS: i64 = 30 * DAY;
const MAX_CUSTOMERS: usize = 3;
const IDLE: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TestClock {
    pub id: String,
    pub created: i64,
    pub name: Option<String>,
    pub frozen_time: i64,
    /// Where the clock is going, while it moves.
    pub target: Option<i64>,
}

impl Row for TestClock {
    const KIND: &'static str = "test_helpers.test_clock";
    fn id(&self) -> &str {
        &self.id
    }
}

pub fn view(test_clock: &TestClock) -> Value {
    let details = match test_clock.target {
        Some(target) => json!({"advancing": {"target_frozen_time": target}}),
        None => json!({}),
    };
    json!({
        "id": test_clock.id,
        "object": "test_helpers.test_clock",
        "created": test_clock.created,
        "deletes_after": test_clock.created + LIFE_SECONDS,
        "frozen_time": test_clock.frozen_time,
        "livemode": false,
        "name": test_clock.name,
        "status": if test_clock.target.is_some() { "advancing" } else { "ready" },
        "status_details": details,
    })
}

/// The time at which a request happens: that of the test clock its customer follows.
pub fn time_of_call(state: &State, call: &Call) -> Option<i64> {
    let named = |key: &str| call.params.peek(key);
    if let Some(test_clock) = named("test_clock") {
        return state.test_clocks.get(test_clock).map(|row| row.frozen_time);
    }
    let owners = ["customer", "subscription", "invoice", "payment_intent", "charge"];
    let path = Some(call.id()).filter(|id| !id.is_empty());
    let parent = Some(call.parent.as_str()).filter(|id| !id.is_empty());
    let mut ids = path.into_iter().chain(parent).chain(owners.into_iter().filter_map(named));
    ids.find_map(|id| state.frozen_time(state.customer_of(id)?))
}

pub fn find<'a>(state: &'a State, id: &str) -> Result<&'a TestClock, ApiError> {
    state.test_clocks.get(id).ok_or_else(|| ApiError::not_found("test_helpers.test_clock", id))
}

/// A customer can be made only on a clock that exists, stands still and has room.
pub fn join(state: &State, id: &str) -> Result<i64, ApiError> {
    let found = state.test_clocks.get(id);
    let test_clock = found.ok_or_else(|| ApiError::no_such("testclock", id, "test_clock"))?;
    if test_clock.target.is_some() {
        let message = format!("Test clock {id} is advancing; wait until it is ready.");
        return Err(ApiError::invalid(message).code("test_clock_advancing").param("test_clock"));
    }
    if MAX_CUSTOMERS <= state.customers.of(id).filter(|customer| !customer.deleted).count() {
        let message = format!("A test clock has up to {MAX_CUSTOMERS} customers.");
        return Err(ApiError::invalid(message).param("test_clock"));
    }
    Ok(test_clock.frozen_time)
}

pub fn create(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let frozen_time = call.params.timestamp("frozen_time")?;
    let frozen_time = frozen_time.ok_or_else(|| ApiError::missing_parameter("frozen_time"))?;
    let name = call.params.text("name")?;
    call.params.finish()?;
    let id = ids::object("clock");
    let row = TestClock { id, created: tx.now, name, frozen_time, target: None };
    let shown = view(&row);
    tx.state.test_clocks.put(row);
    tx.emit("test_helpers.test_clock.created", shown.clone());
    Ok(shown)
}

pub fn retrieve(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    call.params.finish()?;
    Ok(view(find(tx.state, call.id())?))
}

pub fn list(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    lists::page(call, &tx.state.test_clocks, |_| true, view)
}

/// Deletes the clock with everything that follows it.
pub fn delete(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    call.params.finish()?;
    let test_clock = find(tx.state, call.id())?.clone();
    let followers: Vec<String> =
        tx.state.customers.of(&test_clock.id).map(|customer| customer.id.clone()).collect();
    tx.now = test_clock.frozen_time;
    for customer in followers {
        customers::delete_now(tx, &customer);
    }
    tx.state.test_clocks.remove(&test_clock.id);
    tx.emit("test_helpers.test_clock.deleted", view(&test_clock));
    Ok(json!({"id": test_clock.id, "object": "test_helpers.test_clock", "deleted": true}))
}

/// Starts to move the clock; `run` does the moving.
pub fn advance(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let target = call.params.timestamp("frozen_time")?;
    let target = target.ok_or_else(|| ApiError::missing_parameter("frozen_time"))?;
    call.params.finish()?;
    let mut test_clock = find(tx.state, call.id())?.clone();
    let refuse = |message: &str| Err(ApiError::invalid(message).param("frozen_time"));
    if test_clock.target.is_some() {
        let message = "This test clock is already advancing; wait until it is ready.";
        return Err(ApiError::invalid(message).code("test_clock_advancing"));
    }
    if target <= test_clock.frozen_time {
        return refuse("A test clock can only be advanced to a time after its frozen_time.");
    }
    if furthest(tx.state, &test_clock) < target {
        return refuse(
            "A test clock can be advanced by at most two intervals of the shortest subscription \
             that follows it, or by two years without one.",
        );
    }
    test_clock.target = Some(target);
    let shown = view(&test_clock);
    tx.state.test_clocks.put(test_clock);
    tx.emit("test_helpers.test_clock.advancing", shown.clone());
    Ok(shown)
}

fn furthest(state: &State, test_clock: &TestClock) -> i64 {
    let followers = state.customers.of(&test_clock.id);
    let subscriptions = followers.flat_map(|customer| state.subscriptions.of(&customer.id));
    let items = subscriptions.filter(|row| !row.status.is_final()).flat_map(|row| &row.items);
    let recurring = items.filter_map(|item| state.prices.get(&item.price)?.recurring);
    let ends = recurring.map(|recurring| {
        let count = recurring.interval_count.saturating_mul(2);
        clock::add(test_clock.frozen_time, recurring.interval, count)
    });
    ends.min().unwrap_or_else(|| clock::add(test_clock.frozen_time, Interval::Year, 2))
}

/// A moving clock stops at the instant at which something is due.
pub fn stand_at(state: &mut State, id: &str, instant: i64) -> i64 {
    let Some(mut test_clock) = state.test_clocks.get(id).cloned() else {
        return instant;
    };
    test_clock.frozen_time = test_clock.frozen_time.max(instant);
    let now = test_clock.frozen_time;
    state.test_clocks.put(test_clock);
    now
}

/// Moves whatever clock has been told to move. Runs until it is dropped.
pub async fn run(app: Arc<App>) {
    loop {
        let moving: Vec<(String, String)> = app.read_all(|accounts| {
            let rows = accounts.iter().flat_map(|(account, state)| {
                let moving = state.test_clocks.oldest_first().filter(|row| row.target.is_some());
                moving.map(|row| (account.clone(), row.id.clone()))
            });
            rows.collect()
        });
        for (account, id) in moving {
            if let Err(error) = arrive(&app, &account, &id).await {
                tracing::error!(id, error = error.message(), "a test clock does not move");
            }
        }
        // A notification is kept until it is waited for; the pause is for a restart's leftovers.
        let _ = tokio::time::timeout(IDLE, app.test_clocks.notified()).await;
    }
}

/// Does what is due on the way, then stands at the target.
async fn arrive(app: &App, account: &str, id: &str) -> Result<(), ApiError> {
    let target = app.read(account, |state| state.test_clocks.get(id)?.target);
    let Some(target) = target else {
        return Ok(());
    };
    advances::work_due_on(app, account, Some(id), target).await?;
    app.run(account, Cause::default(), |tx| {
        let Some(mut test_clock) = tx.state.test_clocks.get(id).cloned() else {
            return Ok(());
        };
        test_clock.frozen_time = target;
        test_clock.target = None;
        let shown = view(&test_clock);
        tx.state.test_clocks.put(test_clock);
        tx.emit("test_helpers.test_clock.ready", shown);
        Ok(())
    })
    .await
}
