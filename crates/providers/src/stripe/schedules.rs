//! Subscription schedules: what a subscription becomes later.

use serde_json::Value;

use super::form::Form;
use super::{Client, fields, object_path, unreadable};
use crate::errors::ProviderError;
use crate::facts::{Schedule, SchedulePhase};

impl Client {
    pub async fn schedule(&self, id: &str) -> Result<Schedule, ProviderError> {
        let path = object_path("subscription_schedules", id)?;
        let answer = self.get(&path, Form::new()).await?;
        read(&answer).ok_or_else(|| unreadable("the id of the schedule"))
    }
}

/// None when it has no id. A released schedule names its subscription elsewhere.
pub(super) fn read(object: &Value) -> Option<Schedule> {
    let status = fields::text(object, "/status");
    let phases = object.pointer("/phases").and_then(Value::as_array);
    Some(Schedule {
        id: fields::text(object, "/id")?,
        customer: fields::reference(object, "/customer"),
        subscription: fields::reference(object, "/subscription")
            .or_else(|| fields::reference(object, "/released_subscription")),
        is_active: matches!(status.as_deref(), Some("active" | "not_started")),
        phases: phases.into_iter().flatten().map(phase).collect(),
    })
}

fn phase(object: &Value) -> SchedulePhase {
    let items = object.pointer("/items").and_then(Value::as_array);
    let price =
        |item| fields::reference(item, "/price").or_else(|| fields::reference(item, "/plan"));
    SchedulePhase {
        start: fields::instant(object, "/start_date"),
        end: fields::instant(object, "/end_date"),
        prices: items.into_iter().flatten().filter_map(price).collect(),
    }
}
