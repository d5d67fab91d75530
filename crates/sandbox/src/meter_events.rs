//! Meter events: reported usage, its correction, and what it adds up to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::clock::DAY;
use crate::errors::ApiError;
use crate::meters::{self, Formula, Meter};
use crate::params::Params;
use crate::requests::Call;
use crate::state::{Row, State};
use crate::transactions::Tx;
use crate::{customers, ids};

/// How far back and ahead of now an event may lie.
const MAX_AGE_DAYS: i64 = 35;
const MAX_AHEAD_SECONDS: i64 = 5 * 60;
/// An identifier is taken, and an event can be canceled, this long.
const IDENTIFIER_SECONDS: i64 = DAY;
const MAX_IDENTIFIER: usize = 100;
/// Far beyond any use, and far from overflow when summed.
const MAX_VALUE: i64 = 999_999_999_999_999;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MeterEvent {
    pub id: String,
    pub created: i64,
    pub meter: String,
    pub event_name: String,
    pub identifier: String,
    pub timestamp: i64,
    pub customer: String,
    pub value: i64,
    pub payload: BTreeMap<String, String>,
    pub canceled: bool,
}

impl Row for MeterEvent {
    const KIND: &'static str = "billing.meter_event";
    fn id(&self) -> &str {
        &self.id
    }

    fn links(&self) -> Vec<&str> {
        vec![&self.customer, &self.identifier]
    }

    fn customer(&self) -> Option<&str> {
        Some(&self.customer)
    }
}

fn view(event: &MeterEvent) -> Value {
    json!({
        "object": "billing.meter_event",
        "created": event.created,
        "event_name": event.event_name,
        "identifier": event.identifier,
        "livemode": false,
        "payload": event.payload,
        "timestamp": event.timestamp,
    })
}

fn counted<'a>(
    state: &'a State,
    meter: &'a Meter,
    customer: &'a str,
    start: i64,
    end: i64,
) -> impl Iterator<Item = &'a MeterEvent> {
    state.meter_events.of(customer).filter(move |event| {
        !event.canceled
            && event.meter == meter.id
            && event.customer == customer
            && start <= event.timestamp
            && event.timestamp < end
    })
}

/// What a customer used, window by window, oldest first: `(start, end, value)`. Without a length,
/// one window.
pub fn windows(
    state: &State,
    meter: &Meter,
    customer: &str,
    start: i64,
    end: i64,
    length: Option<i64>,
) -> Vec<(i64, i64, i64)> {
    let length = length.unwrap_or(end - start).max(1);
    let mut by_window: BTreeMap<i64, Vec<&MeterEvent>> = BTreeMap::new();
    for event in counted(state, meter, customer, start, end) {
        by_window.entry((event.timestamp - start) / length).or_default().push(event);
    }
    let windows = by_window.into_iter().filter_map(|(position, events)| {
        let from = start + position * length;
        Some((from, from + length, combine(meter.formula, events.into_iter())?))
    });
    windows.collect()
}

fn combine<'a>(formula: Formula, events: impl Iterator<Item = &'a MeterEvent>) -> Option<i64> {
    let values = events.map(|event| (event.timestamp, event.value));
    match formula {
        Formula::Sum => values.map(|(_, value)| value).reduce(i64::saturating_add),
        Formula::Count => values.map(|_| 1).reduce(i64::saturating_add),
        // Of two events of one second, the later reported one counts.
        Formula::Last => values.max_by_key(|(timestamp, _)| *timestamp).map(|(_, value)| value),
    }
}

fn refused(code: &'static str, message: String, param: &str) -> ApiError {
    ApiError::invalid(message).code(code).param(param)
}

pub fn create(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let params = &mut call.params;
    let event_name = params.required("event_name")?;
    let payload = read_payload(params)?;
    let identifier = read_identifier(params)?;
    let timestamp = params.timestamp("timestamp")?;
    params.finish()?;
    let meter = meters::counting(tx.state, &event_name).cloned();
    let meter = meter.ok_or_else(|| no_meter(tx.state, &event_name))?;
    let customer = customer_of(tx.state, &meter, &payload)?;
    let value = value_of(&meter, &payload)?;
    tx.follow(Some(&customer));
    let timestamp = timestamp.unwrap_or(tx.now);
    check_timestamp(timestamp, tx.now)?;
    let identifier = match identifier {
        None => ids::object("meterevent"),
        Some(identifier) => {
            check_identifier_is_free(tx, &identifier)?;
            identifier
        }
    };
    let event = MeterEvent {
        id: ids::object("mtrevt"),
        created: tx.now,
        meter: meter.id,
        event_name,
        identifier,
        timestamp,
        customer,
        value,
        payload,
        canceled: false,
    };
    let shown = view(&event);
    tx.state.meter_events.put(event);
    Ok(shown)
}

fn read_payload(params: &mut Params) -> Result<BTreeMap<String, String>, ApiError> {
    match params.hash("payload")? {
        None => Err(ApiError::missing_parameter("payload")),
        Some(hash) => hash.into_texts(),
    }
}

fn read_identifier(params: &mut Params) -> Result<Option<String>, ApiError> {
    let identifier = params.text("identifier")?;
    if identifier.as_ref().is_some_and(|text| MAX_IDENTIFIER < text.chars().count()) {
        let what = format!("Longer than {MAX_IDENTIFIER} characters");
        return Err(params.invalid("identifier", &what));
    }
    Ok(identifier)
}

fn no_meter(state: &State, event_name: &str) -> ApiError {
    let archived = state.meters.oldest_first().any(|meter| meter.event_name == event_name);
    let code = if archived { "archived_meter" } else { "resource_missing" };
    let message = format!("No active meter found for event name \"{event_name}\".");
    refused(code, message, "event_name")
}

fn customer_of(
    state: &State,
    meter: &Meter,
    payload: &BTreeMap<String, String>,
) -> Result<String, ApiError> {
    let param = format!("payload[{}]", meter.customer_key);
    let Some(customer) = payload.get(&meter.customer_key) else {
        let message = format!("The payload has no customer under the key {}.", meter.customer_key);
        return Err(refused("meter_event_no_customer_defined", message, &param));
    };
    match customers::live(state, customer, &param) {
        Ok(customer) => Ok(customer.id.clone()),
        Err(_) => {
            let message = format!("No such customer: '{customer}'");
            Err(refused("meter_event_customer_not_found", message, &param))
        }
    }
}

/// Stripe takes whole numbers only; a meter that counts events needs none.
fn value_of(meter: &Meter, payload: &BTreeMap<String, String>) -> Result<i64, ApiError> {
    let param = format!("payload[{}]", meter.value_key);
    match payload.get(&meter.value_key) {
        None if meter.formula == Formula::Count => Ok(1),
        None => {
            let message = format!("The payload has no value under the key {}.", meter.value_key);
            Err(refused("meter_event_value_not_found", message, &param))
        }
        Some(text) => {
            let value = text.parse::<i64>().ok();
            value.filter(|value| value.unsigned_abs() <= MAX_VALUE.unsigned_abs()).ok_or_else(
                || {
                    let shown: String = text.chars().take(50).collect();
                    let message = format!("The value must be a whole number: {shown}");
                    refused("meter_event_invalid_value", message, &param)
                },
            )
        }
    }
}

fn check_timestamp(timestamp: i64, now: i64) -> Result<(), ApiError> {
    let earliest = now - MAX_AGE_DAYS * DAY;
    let latest = now + MAX_AHEAD_SECONDS;
    if timestamp < earliest {
        let message = format!(
            "The event timestamp cannot be more than {MAX_AGE_DAYS} days in past. Expected a \
             timestamp greater than or equal to {earliest}."
        );
        return Err(refused("timestamp_too_far_in_past", message, "timestamp"));
    }
    if latest < timestamp {
        let message = format!(
            "The event timestamp cannot be more than 5 minutes in the future. Expected a \
             timestamp less than or equal to {latest}."
        );
        return Err(refused("timestamp_in_future", message, "timestamp"));
    }
    Ok(())
}

fn check_identifier_is_free(tx: &Tx<'_>, identifier: &str) -> Result<(), ApiError> {
    if recent(tx, identifier).is_none() {
        return Ok(());
    }
    // Stripe gives this refusal no code.
    let message = format!("An event already exists with identifier {identifier}.");
    Err(ApiError::invalid(message).param("identifier"))
}

/// The event of the last day that has this identifier.
fn recent<'a>(tx: &'a Tx<'_>, identifier: &str) -> Option<&'a MeterEvent> {
    let since = tx.now - IDENTIFIER_SECONDS;
    let mut events = tx.state.meter_events.of(identifier);
    events.find(|event| since < event.created && event.identifier == identifier)
}

/// `/v1/billing/meter_event_adjustments`: takes one event out of the count.
pub fn adjust(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let params = &mut call.params;
    let event_name = params.required("event_name")?;
    if params.word("type", &["cancel"])?.is_none() {
        return Err(ApiError::missing_parameter("type"));
    }
    let missing = || ApiError::missing_parameter("cancel[identifier]");
    let mut cancel = params.hash("cancel")?.ok_or_else(missing)?;
    let identifier = cancel.required("identifier")?;
    cancel.finish()?;
    params.finish()?;
    if meters::counting(tx.state, &event_name).is_none() {
        return Err(no_meter(tx.state, &event_name));
    }
    let found = recent(tx, &identifier).filter(|event| event.event_name == event_name);
    let mut event = found.cloned().ok_or_else(|| {
        let message = format!(
            "No meter event of the last 24 hours has the event name {event_name} and the \
             identifier {identifier}."
        );
        refused("resource_missing", message, "cancel[identifier]")
    })?;
    if event.canceled {
        let message = format!("The meter event {identifier} has already been canceled.");
        return Err(ApiError::invalid(message).param("cancel[identifier]"));
    }
    event.canceled = true;
    tx.state.meter_events.put(event);
    Ok(json!({
        "object": "billing.meter_event_adjustment",
        "cancel": {"identifier": identifier},
        "event_name": event_name,
        "livemode": false,
        "status": "complete",
        "type": "cancel",
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(timestamp: i64, value: i64) -> MeterEvent {
        MeterEvent {
            id: String::new(),
            created: timestamp,
            meter: String::new(),
            event_name: String::new(),
            identifier: String::new(),
            timestamp,
            customer: String::new(),
            value,
            payload: BTreeMap::new(),
            canceled: false,
        }
    }

    #[test]
    fn formulas_combine() {
        let events = [event(5, 10), event(9, 3), event(7, -2), event(9, 4)];
        assert_eq!(combine(Formula::Sum, events.iter()), Some(15));
        assert_eq!(combine(Formula::Count, events.iter()), Some(4));
        assert_eq!(combine(Formula::Last, events.iter()), Some(4), "the later of one second");
        assert_eq!(combine(Formula::Sum, [].iter()), None);
    }
}
