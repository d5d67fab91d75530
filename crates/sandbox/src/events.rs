//! Events: a snapshot of what happened, and one delivery per endpoint that wants to hear of it.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::clock::DAY;
use crate::delivery::Delivery;
use crate::errors::ApiError;
use crate::ids;
use crate::lists;
use crate::requests::Call;
use crate::state::{Row, State};
use crate::transactions::Tx;
use crate::versions::{self, Version};

pub const API_VERSION: &str = "2026-10-28.endive";
const LIFE_SECONDS: i64 = 30 * DAY;
/// As many events are kept whatever their age: whoever moves the clock wants to see what happened.
const ALWAYS_KEPT: usize = 10_000;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Event {
    pub id: String,
    pub created: i64,
    /// Business time; `created` may be the time of a test clock.
    pub recorded_at: i64,
    #[serde(rename = "type")]
    pub kind: String,
    /// `data`, already rendered: a snapshot never changes, and text is far smaller than a tree.
    pub data: Box<RawValue>,
    pub request_id: Option<String>,
    pub idempotency_key: Option<String>,
}

impl Row for Event {
    const KIND: &'static str = "event";
    fn id(&self) -> &str {
        &self.id
    }

    fn links(&self) -> Vec<&str> {
        vec![&self.kind]
    }
}

impl Tx<'_> {
    pub fn emit(&mut self, kind: &str, object: Value) {
        self.emit_all(&[kind], object);
    }

    /// One change that has several names.
    pub fn emit_all(&mut self, kinds: &[&str], object: Value) {
        self.record(kinds, &json!({ "object": object }));
    }

    /// Tells of a change, unless nothing visible changed.
    pub fn emit_change(&mut self, kind: &str, before: &Value, after: Value) {
        let previous = differences(before, &after);
        if previous.is_empty() {
            return;
        }
        let data = json!({ "object": after, "previous_attributes": previous });
        self.record(&[kind], &data);
    }

    fn record(&mut self, kinds: &[&str], data: &Value) {
        let Ok(data) = serde_json::value::to_raw_value(data) else {
            tracing::error!(?kinds, "event data could not be rendered");
            return;
        };
        for kind in kinds {
            self.store(kind, data.clone());
        }
    }

    fn store(&mut self, kind: &str, data: Box<RawValue>) {
        let event = Event {
            id: ids::object("evt"),
            created: self.now,
            recorded_at: self.state.clock.now(),
            kind: kind.to_owned(),
            data,
            request_id: self.cause.request_id.clone(),
            idempotency_key: self.cause.idempotency_key.clone(),
        };
        let wanting = self.state.webhook_endpoints.oldest_first();
        let deliveries: Vec<Delivery> = wanting
            .filter(|endpoint| endpoint.wants(kind))
            .map(|endpoint| Delivery::new(&event.id, &endpoint.id))
            .collect();
        self.state.events.put(event);
        for delivery in deliveries {
            self.state.deliveries.put(delivery);
        }
    }
}

/// The old values of what changed. Plain hashes are compared key by key, objects and lists whole.
pub fn differences(before: &Value, after: &Value) -> Map<String, Value> {
    let (Value::Object(before), Value::Object(after)) = (before, after) else {
        return Map::new();
    };
    let mut previous = Map::new();
    for (key, new) in after {
        let old = before.get(key).unwrap_or(&Value::Null);
        if old == new {
            continue;
        }
        let plain = old.is_object() && new.is_object() && new.get("object").is_none();
        let old = if plain { Value::Object(differences(old, new)) } else { old.clone() };
        previous.insert(key.clone(), old);
    }
    for (key, old) in before {
        if !after.contains_key(key) {
            previous.insert(key.clone(), old.clone());
        }
    }
    previous
}

/// Forgets what happened more than thirty days ago, as Stripe does, unless it is among the newest
/// or somebody still waits to hear of it.
pub fn prune(state: &mut State) {
    let oldest_kept = state.clock.now() - LIFE_SECONDS;
    let surplus = state.events.len().saturating_sub(ALWAYS_KEPT);
    let old: Vec<String> = state
        .events
        .oldest_first()
        .take(surplus)
        .take_while(|event| event.recorded_at < oldest_kept)
        .filter(|event| !state.deliveries.of(&event.id).any(Delivery::may_still_arrive))
        .map(|event| event.id.clone())
        .collect();
    for id in old {
        let deliveries: Vec<String> = state.deliveries.of(&id).map(|row| row.id.clone()).collect();
        for delivery in deliveries {
            state.deliveries.remove(&delivery);
        }
        state.events.remove(&id);
    }
}

pub fn view(state: &State, event: &Event) -> Value {
    view_as(state, event, versions::LATEST)
}

/// The event as an endpoint of another version hears it.
pub fn view_as(state: &State, event: &Event, version: Version) -> Value {
    let pending = state.deliveries.of(&event.id).filter(|delivery| delivery.is_waiting());
    json!({
        "id": event.id,
        "object": "event",
        "api_version": version.name(),
        "created": event.created,
        "data": data_as(state, event, version),
        "livemode": false,
        "pending_webhooks": pending.count(),
        "request": {"id": event.request_id, "idempotency_key": event.idempotency_key},
        "type": event.kind,
    })
}

fn data_as(state: &State, event: &Event, version: Version) -> Value {
    match serde_json::from_str(event.data.get()) {
        Ok(data) => versions::render_event_data(state, version, data),
        Err(_) => Value::Null,
    }
}

pub fn retrieve(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let id = call.id();
    let event = tx.state.events.get(id).ok_or_else(|| ApiError::not_found("event", id))?;
    Ok(view(tx.state, event))
}

pub fn list(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let created = lists::range(&mut call.params, "created")?;
    let kind = call.params.text("type")?;
    let kinds = call.params.texts("types")?;
    let delivered = call.params.boolean("delivery_success")?;
    let state = &*tx.state;
    let exact = kind.as_deref().filter(|kind| !kind.ends_with('*'));
    lists::page_of(
        call,
        &state.events,
        exact,
        |event| {
            let pending = || state.deliveries.of(&event.id).any(Delivery::is_waiting);
            created.contains(event.created)
                && kind.as_ref().is_none_or(|kind| matches_pattern(kind, &event.kind))
                && kinds.as_ref().is_none_or(|kinds| kinds.contains(&event.kind))
                && delivered.is_none_or(|delivered| delivered != pending())
        },
        |event| view(state, event),
    )
}

/// `customer.*` stands for every type below it.
fn matches_pattern(pattern: &str, kind: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => kind.starts_with(prefix),
        None => pattern == kind,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn previous_attributes_name_only_what_changed() {
        let before = json!({"a": 1, "b": {"x": 1, "y": 2}, "l": [1], "gone": 3});
        let after = json!({"a": 1, "b": {"x": 1, "y": 3, "z": 4}, "l": [1, 2]});
        let expected = json!({"b": {"y": 2, "z": null}, "l": [1], "gone": 3});
        assert_eq!(Value::Object(differences(&before, &after)), expected);
    }
}
