//! Subscriptions as the API shows and changes them. What time does to them is in `billing`.

pub mod create;
pub mod discounts;
pub mod pauses;
pub mod starts;
pub mod update;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::automatic_taxes::{self, AutomaticTax};
use crate::clock::{DAY, END_OF_TIME, Interval};
use crate::errors::ApiError;
use crate::params::Metadata;
use crate::pending_updates::{self, PendingUpdate};
use crate::prices::{self, Price, Recurring};
use crate::prorations::Billed;
use crate::requests::Call;
use crate::state::{Row, State, Timed, Timer};
use crate::subscriptions::starts::AnchorConfig;
use crate::subscriptions::update::read_cancellation;
use crate::tax_rates;
use crate::transactions::Tx;
use crate::{cancellations, ids, lists};

/// An unpaid first invoice may be paid this long.
const INCOMPLETE_SECONDS: i64 = 23 * 3_600;
/// `customer.subscription.trial_will_end` comes this long before the end.
pub const TRIAL_NOTICE_SECONDS: i64 = 3 * DAY;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Subscription {
    pub id: String,
    pub created: i64,
    pub customer: String,
    pub status: Status,
    pub currency: String,
    pub items: Vec<SubscriptionItem>,
    pub billing_cycle_anchor: i64,
    pub collection_method: String,
    pub days_until_due: Option<i64>,
    pub default_payment_method: Option<String>,
    #[serde(default)]
    pub discounts: Vec<String>,
    #[serde(default)]
    pub default_tax_rates: Vec<String>,
    #[serde(default)]
    pub automatic_tax: AutomaticTax,
    /// The method that pays an invoice becomes the default.
    pub saves_default_method: bool,
    pub description: Option<String>,
    pub latest_invoice: Option<String>,
    pub trial_start: Option<i64>,
    pub trial_end: Option<i64>,
    pub missing_payment_method: String,
    pub trial_notice_sent: bool,
    pub cancel_at: Option<i64>,
    pub cancel_at_period_end: bool,
    pub canceled_at: Option<i64>,
    pub ended_at: Option<i64>,
    pub cancellation: Cancellation,
    pub pause_collection: Option<String>,
    #[serde(default)]
    pub pending_setup_intent: Option<String>,
    pub metadata: Metadata,
    /// The schedule that changes this subscription by itself.
    pub schedule: Option<String>,
    pub start_date: i64,
    /// `pause_collection[resumes_at]`
    #[serde(default)]
    pub pause_resumes_at: Option<i64>,
    #[serde(default)]
    pub paused_at: Option<i64>,
    /// It was paused by request, not because a trial ended without a payment method.
    #[serde(default)]
    pub pause_requested: bool,
    /// The invoice that ends the pause once it is paid.
    #[serde(default)]
    pub resuming: Option<String>,
    #[serde(default)]
    pub anchor_config: Option<AnchorConfig>,
    #[serde(default)]
    pub payment_method_types: Option<Vec<String>>,
    /// The time before the first anchor is free rather than prorated.
    #[serde(default)]
    pub free_until_anchor: bool,
    /// When the next renewal is told.
    #[serde(default)]
    pub upcoming_at: Option<i64>,
    #[serde(default)]
    pub pending_update: Option<PendingUpdate>,
    /// Since when it is not `classic` any more; none where it never was.
    #[serde(default)]
    pub billing_mode: BillingMode,
    /// `customeromer.subscription.created` has been told; changes are told only after it.
    pub announced: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Incomplete,
    IncompleteExpired,
    Trialing,
    Active,
    PastDue,
    Unpaid,
    Paused,
    Canceled,
}

/// How credits are counted: as shares of what was billed, or of what the price is now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BillingMode {
    #[default]
    Flexible,
    Classic,
    /// Since then.
    Migrated(i64),
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Cancellation {
    pub comment: Option<String>,
    pub feedback: Option<String>,
    pub reason: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SubscriptionItem {
    pub id: String,
    pub created: i64,
    pub price: String,
    pub quantity: i64,
    pub period_start: i64,
    pub period_end: i64,
    /// Usage before this is billed already, where the price changed within the period.
    #[serde(default)]
    pub usage_from: Option<i64>,
    #[serde(default)]
    pub billed: Option<Billed>,
    #[serde(default)]
    pub tax_rates: Vec<String>,
    #[serde(default)]
    pub discounts: Vec<String>,
    pub metadata: Metadata,
}

impl Row for Subscription {
    const KIND: &'static str = "subscription";
    fn id(&self) -> &str {
        &self.id
    }

    fn links(&self) -> Vec<&str> {
        let items = self.items.iter().flat_map(|item| [item.id.as_str(), item.price.as_str()]);
        [self.customer.as_str(), self.status.word()].into_iter().chain(items).collect()
    }

    fn customer(&self) -> Option<&str> {
        Some(&self.customer)
    }
}

impl Timed for Subscription {
    fn timer(&self) -> Timer {
        Timer::Subscription(self.id.clone())
    }

    /// When this subscription does something by itself.
    fn due_at(&self) -> Option<i64> {
        let due = match self.status {
            Status::Incomplete => self.created.saturating_add(INCOMPLETE_SECONDS),
            Status::Trialing | Status::Active | Status::PastDue | Status::Unpaid => {
                let update = self.pending_update.as_ref().map(|update| update.expires_at);
                let others = [
                    self.cancel_at,
                    self.trial_notice_at(),
                    self.upcoming_at,
                    self.pause_resumes_at,
                    update,
                ];
                let first = others.into_iter().flatten().min();
                self.period_end().min(first.unwrap_or(END_OF_TIME))
            }
            Status::Paused => {
                let ends = [self.cancel_at, self.resumption_ends_at()];
                ends.into_iter().flatten().min()?
            }
            _ => return None,
        };
        (due < END_OF_TIME).then_some(due)
    }
}

impl Status {
    pub fn word(self) -> &'static str {
        match self {
            Status::Incomplete => "incomplete",
            Status::IncompleteExpired => "incomplete_expired",
            Status::Trialing => "trialing",
            Status::Active => "active",
            Status::PastDue => "past_due",
            Status::Unpaid => "unpaid",
            Status::Paused => "paused",
            Status::Canceled => "canceled",
        }
    }

    pub fn is_final(self) -> bool {
        matches!(self, Status::Canceled | Status::IncompleteExpired)
    }
}

impl SubscriptionItem {
    pub fn new(price: &str, quantity: i64, now: i64) -> SubscriptionItem {
        SubscriptionItem {
            id: ids::object("si"),
            created: now,
            price: price.to_owned(),
            quantity,
            period_start: now,
            period_end: now,
            usage_from: None,
            billed: None,
            tax_rates: Vec::new(),
            discounts: Vec::new(),
            metadata: Metadata::new(),
        }
    }
}

impl Subscription {
    pub fn new(customer: &str, currency: &str, now: i64) -> Subscription {
        Subscription {
            id: ids::object("sub"),
            created: now,
            customer: customer.to_owned(),
            status: Status::Incomplete,
            currency: currency.to_owned(),
            items: Vec::new(),
            billing_cycle_anchor: now,
            collection_method: "charge_automatically".to_owned(),
            days_until_due: None,
            default_payment_method: None,
            discounts: Vec::new(),
            default_tax_rates: Vec::new(),
            automatic_tax: AutomaticTax::Off,
            saves_default_method: false,
            description: None,
            latest_invoice: None,
            trial_start: None,
            trial_end: None,
            missing_payment_method: "create_invoice".to_owned(),
            trial_notice_sent: false,
            cancel_at: None,
            cancel_at_period_end: false,
            canceled_at: None,
            ended_at: None,
            cancellation: Cancellation::default(),
            pause_collection: None,
            pending_setup_intent: None,
            metadata: Metadata::new(),
            schedule: None,
            start_date: now,
            pause_resumes_at: None,
            paused_at: None,
            pause_requested: false,
            resuming: None,
            anchor_config: None,
            payment_method_types: None,
            free_until_anchor: false,
            upcoming_at: None,
            pending_update: None,
            billing_mode: BillingMode::Flexible,
            announced: false,
        }
    }

    /// Another cycle begins; a day of the month that was asked for at the start is not its day.
    pub fn set_anchor(&mut self, anchor: i64) {
        self.billing_cycle_anchor = anchor;
        self.anchor_config = None;
    }

    /// Where the periods of an item are counted from. A day of the month that was asked for comes
    /// back after a month that lacks it.
    pub fn calendar(&self, recurring: Recurring) -> (i64, Interval, i64) {
        let Recurring { interval, interval_count, .. } = recurring;
        let anchor = self.billing_cycle_anchor;
        let anchor = match (&self.anchor_config, interval) {
            (Some(config), Interval::Month) => config.calendar_anchor(anchor, interval_count),
            _ => anchor,
        };
        (anchor, interval, interval_count)
    }

    pub fn is_flexible(&self) -> bool {
        self.billing_mode != BillingMode::Classic
    }

    pub fn period_end(&self) -> i64 {
        self.items.iter().map(|item| item.period_end).min().unwrap_or(END_OF_TIME)
    }

    pub fn trial_notice_at(&self) -> Option<i64> {
        let waiting = self.status == Status::Trialing && !self.trial_notice_sent;
        self.trial_end.filter(|_| waiting).map(|end| end.saturating_sub(TRIAL_NOTICE_SECONDS))
    }

    /// The next moment that matters to the buyer, for `period-end` clock jumps.
    pub fn boundary(&self) -> Option<i64> {
        match self.status {
            Status::Trialing | Status::Active | Status::PastDue | Status::Unpaid => {
                Some(self.period_end().min(self.cancel_at.unwrap_or(END_OF_TIME)))
            }
            _ => None,
        }
    }
}

pub fn view(state: &State, subscription: &Subscription) -> Value {
    let items = subscription.items.iter();
    let items = items.map(|item| item_view(state, subscription, item)).collect();
    let items_url = format!("/v1/subscription_items?subscription={}", subscription.id);
    let pause = subscription.pause_collection.as_ref();
    let mut shown = json!({
        "id": subscription.id,
        "object": "subscription",
        "automatic_tax": automatic_taxes::subscription_view(subscription.automatic_tax),
        "billing_cycle_anchor": subscription.billing_cycle_anchor,
        "billing_cycle_anchor_config": subscription.anchor_config.as_ref().map(AnchorConfig::view),
        "billing_mode": billing_mode_view(subscription.billing_mode),
        "cancel_at": subscription.cancel_at,
        "cancel_at_period_end": subscription.cancel_at_period_end,
        "canceled_at": subscription.canceled_at,
        "cancellation_details": {
            "comment": subscription.cancellation.comment,
            "feedback": subscription.cancellation.feedback,
            "feedback_option": null,
            "reason": subscription.cancellation.reason,
        },
        "collection_method": subscription.collection_method,
        "created": subscription.created,
        "currency": subscription.currency,
        "customer": subscription.customer,
        "days_until_due": subscription.days_until_due,
        "default_payment_method": subscription.default_payment_method,
        "default_tax_rates": tax_rates::show_all(state, &subscription.default_tax_rates),
        "description": subscription.description,
        "discounts": subscription.discounts,
        "ended_at": subscription.ended_at,
        "items": lists::whole(items, items_url),
        "latest_invoice": subscription.latest_invoice,
        "metadata": subscription.metadata,
        "pause_collection": pause.map(|way| {
            json!({"behavior": way, "resumes_at": subscription.pause_resumes_at})
        }),
        "payment_settings": {
            "payment_method_options": null,
            "payment_method_types": subscription.payment_method_types,
            "save_default_payment_method":
                if subscription.saves_default_method { "on_subscription" } else { "off" },
        },
        "pending_setup_intent": subscription.pending_setup_intent,
        "pending_update": pending_updates::view(state, subscription),
        "schedule": subscription.schedule,
        "start_date": subscription.start_date,
        "status": subscription.status,
        "test_clock": state.test_clock_of(&subscription.customer),
        "trial_end": subscription.trial_end,
        "trial_settings": {
            "end_behavior": {
                "billing_cycle_anchor": null,
                "missing_payment_method": subscription.missing_payment_method,
            },
        },
        "trial_start": subscription.trial_start,
    });
    if subscription.status == Status::Paused && subscription.paused_at.is_some() {
        shown["status_details"] = status_details_view(subscription);
    }
    if let (Value::Object(shown), Value::Object(constants)) = (&mut shown, constants()) {
        shown.extend(constants);
    }
    shown
}

/// What this sandbox never changes.
fn constants() -> Value {
    json!({
        "application": null,
        "application_fee_percent": null,
        "billing_schedules": [],
        "billing_thresholds": null,
        "customer_account": null,
        "default_source": null,
        "invoice_settings": {
            "account_tax_ids": null,
            "custom_fields": null,
            "description": null,
            "footer": null,
            "issuer": {"type": "self"},
        },
        "livemode": false,
        "managed_payments": null,
        "next_pending_invoice_item_invoice": null,
        "on_behalf_of": null,
        "pending_invoice_item_interval": null,
        "transfer_data": null,
    })
}

fn billing_mode_view(mode: BillingMode) -> Value {
    match mode {
        BillingMode::Classic => json!({"flexible": null, "type": "classic"}),
        BillingMode::Flexible => {
            json!({"flexible": {"proration_discounts": "included"}, "type": "flexible"})
        }
        BillingMode::Migrated(at) => json!({
            "flexible": {"proration_discounts": "included"},
            "type": "flexible",
            "updated_at": at,
        }),
    }
}

pub fn item_view(state: &State, subscription: &Subscription, item: &SubscriptionItem) -> Value {
    let price = state.prices.get(&item.price);
    let mut shown = json!({
        "id": item.id,
        "object": "subscription_item",
        "billing_thresholds": null,
        "created": item.created,
        "current_period_end": item.period_end,
        "current_period_start": item.period_start,
        "current_trial": null,
        "discounts": item.discounts,
        "metadata": item.metadata,
        "plan": price.map(prices::plan_view),
        "price": price.map(prices::view),
        "subscription": subscription.id,
        "tax_rates": tax_rates::show_all(state, &item.tax_rates),
    });
    // What is metered has no quantity.
    if !price.is_some_and(Price::is_metered) {
        shown["quantity"] = json!(item.quantity);
    }
    shown
}

/// Why it is paused.
fn status_details_view(subscription: &Subscription) -> Value {
    let reason = match subscription.pause_requested {
        true => "pause_requested",
        false => "trial_end_without_payment_method",
    };
    json!({
        "paused": {
            "subscription": {"type": reason},
            "transitioned_at": subscription.paused_at,
            "type": "subscription",
        },
    })
}

/// Stores a subscription and tells of the change, once its creation has been told.
pub fn save(tx: &mut Tx<'_>, mut subscription: Subscription) {
    if subscription.cancel_at_period_end && !subscription.status.is_final() {
        subscription.cancel_at = Some(subscription.period_end());
    }
    let before = tx.state.subscriptions.get(&subscription.id).map(|old| view(tx.state, old));
    let after = view(tx.state, &subscription);
    let announced = subscription.announced;
    tx.state.subscriptions.put(subscription);
    if let Some(before) = before
        && announced
    {
        tx.emit_change("customer.subscription.updated", &before, after);
    }
}

pub fn find<'a>(state: &'a State, id: &str) -> Result<&'a Subscription, ApiError> {
    state.subscriptions.get(id).ok_or_else(|| ApiError::not_found("subscription", id))
}

/// A recurring, active price, as a parameter names it.
pub fn recurring_price(state: &State, id: &str, param: &str) -> Result<Price, ApiError> {
    let price = prices::existing(state, id, param)?;
    let refuse = |message: String| Err(ApiError::invalid(message).param(param));
    if !price.active {
        return refuse(format!("The price specified is inactive: {id}"));
    }
    if price.recurring.is_none() {
        return refuse(format!("The price specified is set to `type=one_time`: {id}"));
    }
    Ok(price.clone())
}

pub fn migrate(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let mut subscription = find(tx.state, call.id())?.clone();
    let id = subscription.id.clone();
    let params = &mut call.params;
    let mut mode =
        params.hash("billing_mode")?.ok_or_else(|| ApiError::missing_parameter("billing_mode"))?;
    let word = mode.word("type", &["flexible"])?;
    word.ok_or_else(|| ApiError::missing_parameter("billing_mode[type]"))?;
    mode.ignore(&["flexible"]);
    mode.finish()?;
    params.finish()?;
    if subscription.is_flexible() {
        let message = "This subscription already uses the `flexible` billing mode.";
        return Err(ApiError::invalid(message).param("billing_mode"));
    }
    subscription.billing_mode = BillingMode::Migrated(tx.now);
    save(tx, subscription);
    Ok(view(tx.state, find(tx.state, &id)?))
}

pub fn retrieve(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    Ok(view(tx.state, find(tx.state, call.id())?))
}

pub fn cancel(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let mut subscription = find(tx.state, call.id())?.clone();
    let id = subscription.id.clone();
    if subscription.status.is_final() {
        return Err(ApiError::not_found("subscription", &id));
    }
    read_cancellation(&mut call.params, &mut subscription)?;
    let invoice_now = call.params.boolean("invoice_now")?.unwrap_or(false);
    let prorate = call.params.boolean("prorate")?.unwrap_or(false);
    call.params.finish()?;
    tx.state.subscriptions.put(subscription);
    if prorate {
        cancellations::give_back(tx, &id)?;
    }
    if invoice_now {
        cancellations::bill_rest(tx, &id, "subscription_update")?;
    }
    cancellations::end_now(tx, &id, "cancellation_requested");
    Ok(view(tx.state, find(tx.state, &id)?))
}

pub fn list(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let params = &mut call.params;
    let created = lists::range(params, "created")?;
    let customer = params.text("customer")?;
    let price = params.text("price")?.or(params.text("plan")?);
    let starts = lists::range(params, "current_period_start")?;
    let ends = lists::range(params, "current_period_end")?;
    let status = params.text("status")?;
    let collection_method = params.text("collection_method")?;
    let test_clock = params.text("test_clock")?;
    let state = &*tx.state;
    let word = status.as_deref().filter(|status| !["all", "ended"].contains(status));
    lists::page_of(
        call,
        &state.subscriptions,
        customer.as_deref().or(price.as_deref()).or(word),
        |subscription| {
            let status_fits = match status.as_deref() {
                None => subscription.status != Status::Canceled,
                Some("all") => true,
                Some("ended") => subscription.status.is_final(),
                Some(status) => subscription.status.word() == status,
            };
            let way = &subscription.collection_method;
            let follows = state.test_clock_of(&subscription.customer);
            status_fits
                && (customer.is_some() || follows == test_clock.as_deref())
                && created.contains(subscription.created)
                && subscription.items.iter().any(|item| {
                    starts.contains(item.period_start) && ends.contains(item.period_end)
                })
                && customer.as_ref().is_none_or(|customer| subscription.customer == *customer)
                && collection_method.as_ref().is_none_or(|wanted| way == wanted)
                && price
                    .as_ref()
                    .is_none_or(|price| subscription.items.iter().any(|item| item.price == *price))
        },
        |subscription| view(state, subscription),
    )
}
