//! Billing meters: which usage is counted, and how it adds up. The events are in `meter_events`.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::errors::ApiError;
use crate::params::Params;
use crate::requests::Call;
use crate::state::{Row, State};
use crate::transactions::Tx;
use crate::{ids, lists};

const MAX_NAME: usize = 250;
const MAX_EVENT_NAME: usize = 100;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Meter {
    pub id: String,
    pub created: i64,
    pub updated: i64,
    pub display_name: String,
    pub event_name: String,
    pub formula: Formula,
    pub customer_key: String,
    pub value_key: String,
    pub event_time_window: Option<String>,
    pub deactivated_at: Option<i64>,
}

/// How the values of a period become one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Formula {
    Sum,
    Count,
    Last,
}

impl Row for Meter {
    const KIND: &'static str = "billing.meter";
    fn id(&self) -> &str {
        &self.id
    }
}

impl Meter {
    pub fn is_active(&self) -> bool {
        self.deactivated_at.is_none()
    }
}

pub fn view(meter: &Meter) -> Value {
    json!({
        "id": meter.id,
        "object": "billing.meter",
        "created": meter.created,
        "customer_mapping": {"event_payload_key": meter.customer_key, "type": "by_id"},
        "default_aggregation": {"formula": meter.formula},
        "display_name": meter.display_name,
        "event_name": meter.event_name,
        "event_time_window": meter.event_time_window,
        "livemode": false,
        "status": if meter.is_active() { "active" } else { "inactive" },
        "status_transitions": {"deactivated_at": meter.deactivated_at},
        "updated": meter.updated,
        "value_settings": {"event_payload_key": meter.value_key},
    })
}

/// The meter that counts events of this name now.
pub fn counting<'a>(state: &'a State, event_name: &str) -> Option<&'a Meter> {
    state.meters.oldest_first().find(|meter| meter.is_active() && meter.event_name == event_name)
}

fn find<'a>(state: &'a State, id: &str) -> Result<&'a Meter, ApiError> {
    state.meters.get(id).ok_or_else(|| ApiError::not_found("billing meter", id))
}

/// One active meter per event name, so that an event is counted once.
fn check_name_is_free(state: &State, event_name: &str) -> Result<(), ApiError> {
    match counting(state, event_name) {
        None => Ok(()),
        Some(meter) => {
            let message = format!(
                "An active meter ({}) already uses the event name `{event_name}`. Deactivate it \
                 first, or choose another name.",
                meter.id
            );
            Err(ApiError::invalid(message).param("event_name"))
        }
    }
}

fn bounded(params: &Params, key: &str, text: String, most: usize) -> Result<String, ApiError> {
    if text.chars().count() <= most {
        return Ok(text);
    }
    Err(params.invalid(key, &format!("Longer than {most} characters")))
}

/// `customer_mapping` and `value_settings` both name a key of the payload.
fn payload_key(params: &mut Params, hash: &str) -> Result<Option<String>, ApiError> {
    let Some(mut settings) = params.hash(hash)? else {
        return Ok(None);
    };
    if hash == "customer_mapping" && settings.word("type", &["by_id"])?.is_none() {
        return Err(ApiError::missing_parameter(&settings.name("type")));
    }
    let key = settings.required("event_payload_key")?;
    let key = bounded(&settings, "event_payload_key", key, MAX_EVENT_NAME)?;
    settings.finish()?;
    Ok(Some(key))
}

pub fn create(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let params = &mut call.params;
    let display_name = params.required("display_name")?;
    let display_name = bounded(params, "display_name", display_name, MAX_NAME)?;
    let event_name = params.required("event_name")?;
    let event_name = bounded(params, "event_name", event_name, MAX_EVENT_NAME)?;
    let missing = || ApiError::missing_parameter("default_aggregation");
    let mut aggregation = params.hash("default_aggregation")?.ok_or_else(missing)?;
    let formula = match aggregation.word("formula", &["count", "last", "sum"])? {
        None => return Err(ApiError::missing_parameter("default_aggregation[formula]")),
        Some("count") => Formula::Count,
        Some("last") => Formula::Last,
        Some(_) => Formula::Sum,
    };
    aggregation.finish()?;
    let customer_key = payload_key(params, "customer_mapping")?;
    let value_key = payload_key(params, "value_settings")?;
    let window = params.word("event_time_window", &["day", "hour"])?;
    params.finish()?;
    check_name_is_free(tx.state, &event_name)?;
    let meter = Meter {
        id: ids::object("mtr_test"),
        created: tx.now,
        updated: tx.now,
        display_name,
        event_name,
        formula,
        customer_key: customer_key.unwrap_or("stripe_customer_id".to_owned()),
        value_key: value_key.unwrap_or("value".to_owned()),
        event_time_window: window.map(str::to_owned),
        deactivated_at: None,
    };
    let shown = view(&meter);
    tx.state.meters.put(meter);
    tx.emit("billing.meter.created", shown.clone());
    Ok(shown)
}

fn save(tx: &mut Tx<'_>, mut meter: Meter, event: &str) -> Result<Value, ApiError> {
    let before = view(find(tx.state, &meter.id)?);
    meter.updated = tx.now;
    let after = view(&meter);
    tx.state.meters.put(meter);
    tx.emit_change(event, &before, after.clone());
    Ok(after)
}

pub fn retrieve(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    call.params.finish()?;
    Ok(view(find(tx.state, call.id())?))
}

pub fn update(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let mut meter = find(tx.state, call.id())?.clone();
    if let Some(name) = call.params.text("display_name")? {
        meter.display_name = bounded(&call.params, "display_name", name, MAX_NAME)?;
    }
    call.params.finish()?;
    if meter.display_name == find(tx.state, &meter.id)?.display_name {
        return Ok(view(&meter));
    }
    save(tx, meter, "billing.meter.updated")
}

pub fn deactivate(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    call.params.finish()?;
    let mut meter = find(tx.state, call.id())?.clone();
    if !meter.is_active() {
        return Err(ApiError::invalid(format!("The meter {} is already inactive.", meter.id)));
    }
    meter.deactivated_at = Some(tx.now);
    save(tx, meter, "billing.meter.deactivated")
}

pub fn reactivate(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    call.params.finish()?;
    let mut meter = find(tx.state, call.id())?.clone();
    if meter.is_active() {
        return Err(ApiError::invalid(format!("The meter {} is already active.", meter.id)));
    }
    check_name_is_free(tx.state, &meter.event_name)?;
    meter.deactivated_at = None;
    save(tx, meter, "billing.meter.reactivated")
}

pub fn list(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let status = call.params.word("status", &["active", "inactive"])?;
    lists::page(
        call,
        &tx.state.meters,
        |meter| status.is_none_or(|status| (status == "active") == meter.is_active()),
        view,
    )
}
