//! Creating schedules, from nothing or from a subscription, and changing them.

use serde_json::Value;

use crate::errors::ApiError;
use crate::params::Metadata;
use crate::requests::Call;
use crate::state::Timed;
use crate::subscription_schedules::{
    Phase, PhaseItem, Settings, Status, SubscriptionSchedule, attach, find, open, phases, read,
    save, view,
};
use crate::subscriptions::{self, Subscription};
use crate::transactions::Tx;
use crate::{customers, ids};

pub fn create(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let params = &mut call.params;
    params.ignore(&["billing_mode"]);
    params.refuse(&["customer_account", "pause_schedules"])?;
    if let Some(id) = params.text("from_subscription")? {
        for key in ["customer", "default_settings", "end_behavior", "metadata", "phases"] {
            if params.has(key) {
                let message = format!("You cannot set `{key}` if `from_subscription` is set.");
                return Err(ApiError::invalid(message).param(key));
            }
        }
        params.finish()?;
        return from_subscription(tx, &id);
    }
    let customer = params.required("customer")?;
    customers::live(tx.state, &customer, "customer")?;
    let start = match params.text_is("start_date", "now") {
        true => {
            params.ignore(&["start_date"]);
            tx.now
        }
        false => {
            let start = params.timestamp("start_date")?;
            start.ok_or_else(|| ApiError::missing_parameter("start_date"))?
        }
    };
    let mut schedule = SubscriptionSchedule::new(&customer, tx.now);
    if let Some(word) = read::end_behavior(params)? {
        schedule.end_behavior = word.to_owned();
    }
    read::settings(tx, params, &mut schedule.default_settings)?;
    schedule.metadata = params.metadata()?.fresh();
    schedule.phases = read::phases(tx, params, Some(start))?;
    params.finish()?;
    let misplaced = schedule.phases.iter().zip(schedule.phases.iter().skip(1));
    if misplaced.clone().any(|(phase, next)| phase.end_date != next.start_date) {
        return Err(gap());
    }
    if schedule.end() <= tx.now {
        let message = "The last phase of a schedule must end in the future.";
        return Err(ApiError::invalid(message).param("phases"));
    }
    let id = schedule.id.clone();
    save(tx, schedule);
    if start <= tx.now {
        phases::begin(tx, &id)?;
    }
    Ok(view(tx.state, find(tx.state, &id)?))
}

fn gap() -> ApiError {
    let message = "The `start_date` of each phase must equal the `end_date` of the phase before.";
    ApiError::invalid(message).param("phases")
}

impl SubscriptionSchedule {
    fn new(customer: &str, now: i64) -> SubscriptionSchedule {
        SubscriptionSchedule {
            id: ids::object("sub_sched"),
            created: now,
            customer: customer.to_owned(),
            status: Status::NotStarted,
            subscription: None,
            released_subscription: None,
            released_at: None,
            canceled_at: None,
            completed_at: None,
            end_behavior: "release".to_owned(),
            default_settings: Settings::default(),
            phases: Vec::new(),
            current: 0,
            expiry_notice_sent: false,
            metadata: Metadata::new(),
        }
    }
}

/// One phase as long as the current period, with what the subscription is now.
fn from_subscription(tx: &mut Tx<'_>, id: &str) -> Result<Value, ApiError> {
    let found = tx.state.subscriptions.get(id);
    let subscription =
        found.ok_or_else(|| ApiError::no_such("subscription", id, "from_subscription"))?.clone();
    tx.follow(Some(&subscription.customer));
    if subscription.schedule.is_some() {
        let message = format!(
            "You cannot migrate a subscription that is already attached to a schedule: `{id}`."
        );
        return Err(ApiError::invalid(message).param("from_subscription"));
    }
    if subscription.status.is_final() || subscription.status == subscriptions::Status::Incomplete {
        let message = "You cannot migrate a subscription that is incomplete, expired or canceled.";
        return Err(ApiError::invalid(message).param("from_subscription"));
    }
    let mut schedule = SubscriptionSchedule::new(&subscription.customer, tx.now);
    schedule.status = Status::Active;
    schedule.subscription = Some(id.to_owned());
    schedule.default_settings = Settings {
        restarts_cycle: false,
        collection_method: Some(subscription.collection_method.clone()),
        days_until_due: subscription.days_until_due,
        default_payment_method: subscription.default_payment_method.clone(),
        description: subscription.description.clone(),
    };
    if subscription.cancel_at.is_some() {
        schedule.end_behavior = "cancel".to_owned();
    }
    schedule.phases = vec![phase_of(&subscription)];
    let schedule_id = schedule.id.clone();
    save(tx, schedule);
    attach(tx, id, Some(&schedule_id));
    Ok(view(tx.state, find(tx.state, &schedule_id)?))
}

fn phase_of(subscription: &Subscription) -> Phase {
    let starts = subscription.items.iter().map(|item| item.period_start);
    let items = subscription.items.iter().map(|item| PhaseItem {
        price: item.price.clone(),
        quantity: item.quantity,
        metadata: item.metadata.clone(),
    });
    let trialing = subscription.status == subscriptions::Status::Trialing;
    Phase {
        start_date: starts.max().unwrap_or(subscription.created),
        end_date: subscription.cancel_at.unwrap_or(subscription.period_end()),
        currency: subscription.currency.clone(),
        items: items.collect(),
        extra: Vec::new(),
        trial_end: subscription.trial_end.filter(|_| trialing),
        proration_behavior: "create_prorations".to_owned(),
        billing_cycle_anchor: None,
        collection_method: None,
        days_until_due: None,
        default_payment_method: None,
        description: None,
        metadata: subscription.metadata.clone(),
    }
}

pub fn update(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let mut schedule = open(tx, call.id(), "update")?;
    let params = &mut call.params;
    if let Some(word) = read::end_behavior(params)? {
        schedule.end_behavior = word.to_owned();
    }
    read::settings(tx, params, &mut schedule.default_settings)?;
    params.metadata()?.apply(&mut schedule.metadata);
    let proration = read::proration(params)?.unwrap_or("create_prorations");
    params.refuse(&["pause_schedules"])?;
    let before = schedule.phases.get(schedule.current).cloned();
    if params.has("phases") {
        let phases = read::phases(tx, params, None)?;
        replace_phases(&mut schedule, phases, tx.now)?;
    }
    params.finish()?;
    let id = schedule.id.clone();
    let active = schedule.status == Status::Active;
    schedule.expiry_notice_sent &= tx.now + super::EXPIRY_NOTICE_SECONDS < schedule.end();
    let current = schedule.phases.get(schedule.current).cloned();
    save(tx, schedule);
    // A new end alone changes nothing now.
    let before = before
        .zip(current.as_ref())
        .map(|(before, current)| Phase { end_date: current.end_date, ..before });
    if active && before != current {
        phases::revise(tx, &id, proration)?;
    }
    if active {
        phases::mark_end(tx, &id);
        phases::due(tx, &id)?;
    } else if find(tx.state, &id)?.due_at().is_some_and(|due| due <= tx.now) {
        phases::begin(tx, &id)?;
    }
    Ok(view(tx.state, find(tx.state, &id)?))
}

/// Past phases may be left out; the running one may not, and keeps its beginning.
fn replace_phases(
    schedule: &mut SubscriptionSchedule,
    phases: Vec<Phase>,
    now: i64,
) -> Result<(), ApiError> {
    let pairs = phases.iter().zip(phases.iter().skip(1));
    if pairs.clone().any(|(phase, next)| phase.end_date != next.start_date) {
        return Err(gap());
    }
    if schedule.status == Status::Active {
        let running = schedule.phases.get(schedule.current).map(|phase| phase.start_date);
        let position = phases.iter().position(|phase| Some(phase.start_date) == running);
        let Some(position) = position else {
            let message = "You can not modify the start date of the current phase.";
            return Err(ApiError::invalid(message).param("phases"));
        };
        schedule.current = position;
    } else if phases.first().is_some_and(|phase| phase.start_date < now) {
        let message = "A schedule that has not started cannot start in the past.";
        return Err(ApiError::invalid(message).param("phases[0][start_date]"));
    }
    if phases.last().is_some_and(|phase| phase.end_date < now) {
        let message = "The last phase of a schedule must end in the future.";
        return Err(ApiError::invalid(message).param("phases"));
    }
    schedule.phases = phases;
    Ok(())
}
