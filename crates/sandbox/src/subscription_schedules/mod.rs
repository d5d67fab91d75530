//! Subscription schedules: phases a subscription goes through by itself. What a phase does when it
//! begins or ends is in `phases`.

pub mod create;
pub mod phases;
pub mod read;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::clock::{DAY, END_OF_TIME};
use crate::errors::ApiError;
use crate::lists;
use crate::params::Metadata;
use crate::requests::Call;
use crate::state::{Row, State, Timed, Timer};
use crate::subscriptions;
use crate::transactions::Tx;

/// `subscription_schedule.expiring` comes this long before the end of the last phase.
const EXPIRY_NOTICE_SECONDS: i64 = 7 * DAY;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SubscriptionSchedule {
    pub id: String,
    pub created: i64,
    pub customer: String,
    pub status: Status,
    pub subscription: Option<String>,
    pub released_subscription: Option<String>,
    pub released_at: Option<i64>,
    pub canceled_at: Option<i64>,
    pub completed_at: Option<i64>,
    pub end_behavior: String,
    pub default_settings: Settings,
    pub phases: Vec<Phase>,
    /// Where in `phases` an active schedule is.
    pub current: usize,
    pub expiry_notice_sent: bool,
    pub metadata: Metadata,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    NotStarted,
    Active,
    Completed,
    Released,
    Canceled,
}

/// What a phase uses where it says nothing itself.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Settings {
    pub restarts_cycle: bool,
    pub collection_method: Option<String>,
    pub days_until_due: Option<i64>,
    pub default_payment_method: Option<String>,
    pub description: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Phase {
    pub start_date: i64,
    pub end_date: i64,
    pub currency: String,
    pub items: Vec<PhaseItem>,
    /// `add_invoice_items`: sold once, when the phase begins.
    #[serde(default)]
    pub extra: Vec<PhaseItem>,
    /// A trial for this long; the whole phase where it equals its end.
    pub trial_end: Option<i64>,
    pub proration_behavior: String,
    pub billing_cycle_anchor: Option<String>,
    pub collection_method: Option<String>,
    pub days_until_due: Option<i64>,
    pub default_payment_method: Option<String>,
    pub description: Option<String>,
    pub metadata: Metadata,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseItem {
    pub price: String,
    pub quantity: i64,
    pub metadata: Metadata,
}

impl Row for SubscriptionSchedule {
    const KIND: &'static str = "subscription_schedule";
    fn id(&self) -> &str {
        &self.id
    }

    fn links(&self) -> Vec<&str> {
        vec![&self.customer]
    }

    fn customer(&self) -> Option<&str> {
        Some(&self.customer)
    }
}

impl Timed for SubscriptionSchedule {
    fn timer(&self) -> Timer {
        Timer::Schedule(self.id.clone())
    }

    fn due_at(&self) -> Option<i64> {
        let due = match self.status {
            Status::NotStarted => self.phases.first()?.start_date,
            Status::Active => {
                let end = self.phases.get(self.current)?.end_date;
                end.min(self.expiry_notice_at().unwrap_or(END_OF_TIME))
            }
            Status::Completed | Status::Released | Status::Canceled => return None,
        };
        (due < END_OF_TIME).then_some(due)
    }
}

impl SubscriptionSchedule {
    pub fn is_open(&self) -> bool {
        matches!(self.status, Status::NotStarted | Status::Active)
    }

    pub fn end(&self) -> i64 {
        self.phases.last().map_or(END_OF_TIME, |phase| phase.end_date)
    }

    fn expiry_notice_at(&self) -> Option<i64> {
        let waiting = self.status == Status::Active && !self.expiry_notice_sent;
        waiting.then(|| self.end().saturating_sub(EXPIRY_NOTICE_SECONDS))
    }
}

pub fn view(state: &State, schedule: &SubscriptionSchedule) -> Value {
    let current = schedule.phases.get(schedule.current);
    let current = current.filter(|_| schedule.status == Status::Active);
    let settings = &schedule.default_settings;
    json!({
        "id": schedule.id,
        "object": "subscription_schedule",
        "application": null,
        "billing_mode": {"flexible": {"proration_discounts": "included"}, "type": "flexible"},
        "canceled_at": schedule.canceled_at,
        "completed_at": schedule.completed_at,
        "created": schedule.created,
        "current_phase": current.map(|phase| {
            json!({"end_date": phase.end_date, "start_date": phase.start_date})
        }),
        "customer": schedule.customer,
        "customer_account": null,
        "default_settings": {
            "application_fee_percent": null,
            "automatic_tax": {"disabled_reason": null, "enabled": false, "liability": null},
            "billing_cycle_anchor":
                if settings.restarts_cycle { "phase_start" } else { "automatic" },
            "billing_thresholds": null,
            "collection_method": settings.collection_method,
            "default_payment_method": settings.default_payment_method,
            "description": settings.description,
            "invoice_settings": {
                "account_tax_ids": null,
                "custom_fields": null,
                "days_until_due": settings.days_until_due,
                "description": null,
                "footer": null,
                "issuer": {"type": "self"},
            },
            "on_behalf_of": null,
            "transfer_data": null,
        },
        "end_behavior": schedule.end_behavior,
        "livemode": false,
        "metadata": schedule.metadata,
        "pause_schedules": [],
        "phases": schedule.phases.iter().map(phase_view).collect::<Vec<Value>>(),
        "released_at": schedule.released_at,
        "released_subscription": schedule.released_subscription,
        "status": schedule.status,
        "subscription": schedule.subscription,
        "test_clock": state.test_clock_of(&schedule.customer),
    })
}

fn phase_view(phase: &Phase) -> Value {
    let items = phase.items.iter().map(|item| {
        json!({
            "billing_thresholds": null,
            "discounts": [],
            "metadata": item.metadata,
            "plan": item.price,
            "price": item.price,
            "quantity": item.quantity,
            "tax_rates": [],
        })
    });
    let extra = phase.extra.iter().map(|item| {
        json!({
            "discountable": null,
            "discounts": [],
            "metadata": item.metadata,
            "period": {"end": {"type": "phase_end"}, "start": {"type": "phase_start"}},
            "price": item.price,
            "quantity": item.quantity,
            "tax_rates": [],
        })
    });
    let invoice_settings = phase.days_until_due.map(|days| {
        json!({
            "account_tax_ids": null,
            "custom_fields": null,
            "days_until_due": days,
            "description": null,
            "footer": null,
            "issuer": null,
        })
    });
    json!({
        "add_invoice_items": extra.collect::<Vec<Value>>(),
        "application_fee_percent": null,
        "billing_cycle_anchor": phase.billing_cycle_anchor,
        "billing_thresholds": null,
        "collection_method": phase.collection_method,
        "currency": phase.currency,
        "default_payment_method": phase.default_payment_method,
        "default_tax_rates": [],
        "description": phase.description,
        "discounts": [],
        "end_date": phase.end_date,
        "invoice_settings": invoice_settings,
        "items": items.collect::<Vec<Value>>(),
        "metadata": phase.metadata,
        "on_behalf_of": null,
        "proration_behavior": phase.proration_behavior,
        "start_date": phase.start_date,
        "transfer_data": null,
        "trial_end": phase.trial_end,
    })
}

/// Stores a schedule and tells of the change.
pub fn save(tx: &mut Tx<'_>, schedule: SubscriptionSchedule) {
    let before = tx.state.subscription_schedules.get(&schedule.id);
    let before = before.map(|before| view(tx.state, before));
    let after = view(tx.state, &schedule);
    tx.state.subscription_schedules.put(schedule);
    match before {
        None => tx.emit("subscription_schedule.created", after),
        Some(before) => tx.emit_change("subscription_schedule.updated", &before, after),
    }
}

/// Stores a schedule that has ended and tells of its end under the end's own name.
fn close(tx: &mut Tx<'_>, schedule: SubscriptionSchedule, event: &str) {
    let shown = view(tx.state, &schedule);
    tx.state.subscription_schedules.put(schedule);
    tx.emit(event, shown);
}

pub fn find<'a>(state: &'a State, id: &str) -> Result<&'a SubscriptionSchedule, ApiError> {
    let found = state.subscription_schedules.get(id);
    found.ok_or_else(|| ApiError::not_found("subscription schedule", id))
}

pub fn retrieve(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    Ok(view(tx.state, find(tx.state, call.id())?))
}

fn open(tx: &Tx<'_>, id: &str, verb: &str) -> Result<SubscriptionSchedule, ApiError> {
    let schedule = find(tx.state, id)?.clone();
    if schedule.is_open() {
        return Ok(schedule);
    }
    let status = json!(schedule.status);
    let status = status.as_str().unwrap_or_default();
    Err(ApiError::invalid(format!(
        "You cannot {verb} a subscription schedule that is currently in the `{status}` status. It \
         must be in one of the following statuses: not_started, active"
    )))
}

/// The subscription's `schedule` is set, or emptied again.
fn attach(tx: &mut Tx<'_>, subscription: &str, schedule: Option<&str>) {
    if let Some(mut row) = tx.state.subscriptions.get(subscription).cloned() {
        row.schedule = schedule.map(str::to_owned);
        subscriptions::save(tx, row);
    }
}

pub fn release(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let mut schedule = open(tx, call.id(), "release")?;
    let keeps_date = call.params.boolean("preserve_cancel_date")?.unwrap_or(false);
    call.params.finish()?;
    let id = schedule.id.clone();
    schedule.status = Status::Released;
    schedule.released_at = Some(tx.now);
    schedule.released_subscription = schedule.subscription.take();
    if let Some(subscription) = &schedule.released_subscription {
        attach(tx, subscription, None);
        let subscription = subscription.clone();
        if !keeps_date {
            phases::forget_cancellation(tx, &subscription);
        }
    }
    close(tx, schedule, "subscription_schedule.released");
    Ok(view(tx.state, find(tx.state, &id)?))
}

pub fn cancel(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let mut schedule = open(tx, call.id(), "cancel")?;
    let invoice_now = call.params.boolean("invoice_now")?;
    let prorate = call.params.boolean("prorate")?;
    call.params.finish()?;
    let id = schedule.id.clone();
    let unstarted = schedule.status == Status::NotStarted;
    schedule.status = Status::Canceled;
    schedule.canceled_at = Some(tx.now);
    let subscription = schedule.subscription.clone();
    if unstarted {
        close(tx, schedule.clone(), "subscription_schedule.aborted");
    }
    close(tx, schedule, "subscription_schedule.canceled");
    if let Some(subscription) = subscription {
        let (invoice_now, prorate) = (invoice_now.unwrap_or(true), prorate.unwrap_or(true));
        phases::end_subscription(tx, &subscription, invoice_now, prorate)?;
    }
    Ok(view(tx.state, find(tx.state, &id)?))
}

/// A subscription ended by itself or by its own request: its schedule ends with it.
pub fn subscription_ended(tx: &mut Tx<'_>, schedule: &str, reason: &str) {
    let found = tx.state.subscription_schedules.get(schedule).filter(|row| row.is_open());
    let Some(mut schedule) = found.cloned() else {
        return;
    };
    schedule.status = Status::Canceled;
    schedule.canceled_at = Some(tx.now);
    let delinquent = reason == "payment_failed";
    let event = if delinquent { "aborted" } else { "canceled" };
    close(tx, schedule, &format!("subscription_schedule.{event}"));
}

pub fn list(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let params = &mut call.params;
    let created = lists::range(params, "created")?;
    let ends = ["canceled_at", "completed_at", "released_at"];
    let ends = ends.map(|key| (params.has(key), lists::range(params, key)));
    let mut wanted = Vec::new();
    for (given, range) in ends {
        wanted.push((given, range?));
    }
    let customer = params.text("customer")?;
    let scheduled = params.boolean("scheduled")?;
    let state = &*tx.state;
    lists::page(
        call,
        &state.subscription_schedules,
        |schedule| {
            let ends = [schedule.canceled_at, schedule.completed_at, schedule.released_at];
            let ends_fit = wanted.iter().zip(ends).all(|((given, range), end)| {
                !given || end.is_some_and(|instant| range.contains(instant))
            });
            ends_fit
                && created.contains(schedule.created)
                && customer.as_ref().is_none_or(|customer| schedule.customer == *customer)
                && scheduled.is_none_or(|wanted| wanted == (schedule.status == Status::NotStarted))
        },
        |schedule| view(state, schedule),
    )
}
