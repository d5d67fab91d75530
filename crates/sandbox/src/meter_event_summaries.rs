//! `/v1/billing/meters/{id}/event_summaries`: usage of one customer, in windows of time.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::clock::DAY;
use crate::errors::ApiError;
use crate::meter_events;
use crate::meters::Meter;
use crate::params::Params;
use crate::requests::Call;
use crate::state::State;
use crate::transactions::Tx;
use crate::{customers, lists};

const MINUTE: i64 = 60;
const HOUR: i64 = 3_600;
/// More windows than this are no page anybody reads.
const MAX_WINDOWS: i64 = 20_000;

pub fn list(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let found = tx.state.meters.get(call.id());
    let meter = found.ok_or_else(|| ApiError::not_found("billing meter", call.id()))?;
    let params = &mut call.params;
    let customer = params.required("customer")?;
    let start = required_time(params, "start_time")?;
    let end = required_time(params, "end_time")?;
    let window = match params.word("value_grouping_window", &["day", "hour"])? {
        None => None,
        Some("day") => Some(DAY),
        Some(_) => Some(HOUR),
    };
    customers::live(tx.state, &customer, "customer")?;
    check_aligned(params, start, end, window.unwrap_or(MINUTE))?;
    let summaries = summaries(tx.state, meter, &customer, start, end, window);
    lists::page_of_values(call, summaries)
}

fn required_time(params: &mut Params, key: &str) -> Result<i64, ApiError> {
    params.timestamp(key)?.ok_or_else(|| ApiError::missing_parameter(key))
}

fn check_aligned(params: &Params, start: i64, end: i64, unit: i64) -> Result<(), ApiError> {
    let boundary = match unit {
        MINUTE => "minute",
        HOUR => "hour",
        _ => "day",
    };
    for (key, instant) in [("start_time", start), ("end_time", end)] {
        if instant % unit != 0 {
            let what = format!("The time must be aligned with UTC {boundary} boundaries");
            return Err(params.invalid(key, &what));
        }
    }
    if end <= start {
        return Err(params.invalid("end_time", "The time must be after start_time"));
    }
    if MAX_WINDOWS < (end - start) / unit && unit != MINUTE {
        return Err(params.invalid("start_time", "The range has too many windows"));
    }
    Ok(())
}

/// Newest first; windows in which nothing was reported are left out.
fn summaries(
    state: &State,
    meter: &Meter,
    customer: &str,
    start: i64,
    end: i64,
    window: Option<i64>,
) -> Vec<Value> {
    let windows = meter_events::windows(state, meter, customer, start, end, window);
    let shown = windows.into_iter().rev().map(|(from, to, value)| {
        json!({
            "id": summary_id(meter, customer, from, to),
            "object": "billing.meter_event_summary",
            "aggregated_value": value,
            "end_time": to,
            "livemode": false,
            "meter": meter.id,
            "start_time": from,
        })
    });
    shown.collect()
}

/// The same window has the same id each time it is asked for, so that pages can follow it.
fn summary_id(meter: &Meter, customer: &str, start: i64, end: i64) -> String {
    let text = format!("{}/{customer}/{start}/{end}", meter.id);
    let digest = hex::encode(Sha256::digest(text.as_bytes()));
    format!("mtrusg_test_{}", &digest[..24])
}
