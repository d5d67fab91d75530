//! Previews of invoices: the change is made, time goes on to the next invoice, the invoice is kept
//! as it was announced, and all of it is undone.

use serde_json::{Map, Value, json};

use crate::errors::ApiError;
use crate::invoices;
use crate::params::Params;
use crate::requests::{Call, Handler};
use crate::subscriptions::{self, Status, Subscription};
use crate::transactions::Tx;
use crate::versions::Version;
use crate::{billing, customers, invoice_items};

/// A period end is some steps away: notices come before it.
const MAX_STEPS: usize = 12;
const HOUR: i64 = 3_600;

pub fn create(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let now = tx.now;
    let made = make(tx, call);
    tx.now = now;
    tx.state.undo();
    made
}

/// Whose invoice is previewed, and what for.
struct Wanted {
    customer: String,
    subscription: Option<Subscription>,
    recurring_only: bool,
    version: Version,
}

fn make(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let version = call.version;
    let params = &mut call.params;
    let wanted = read_wanted(tx, params, version)?;
    let details = params.hash("subscription_details")?;
    let items = params.hashes("invoice_items")?;
    let discounts = params.take("discounts");
    params.ignore(&["automatic_tax", "issuer", "preview_mode"]);
    params.refuse(&["schedule_details", "on_behalf_of"])?;
    params.finish()?;
    for item in items {
        add_item(tx, item, &wanted)?;
    }
    let last_event = newest_event(tx);
    let subscription = match (&wanted.subscription, details) {
        (None, None) => return one_off(tx, &wanted, discounts),
        (None, Some(details)) => Some(begin(tx, details, &wanted, discounts)?),
        (Some(subscription), details) => {
            change(tx, subscription, version, details, discounts)?;
            Some(subscription.id.clone())
        }
    };
    let mut since = last_event;
    if wanted.recurring_only {
        forget_waiting(tx, &wanted.customer);
        since = newest_event(tx);
    }
    if announced(tx, since.as_deref()).is_none()
        && let Some(id) = &subscription
    {
        go_on(tx, id, since.as_deref())?;
    }
    match announced(tx, since.as_deref()) {
        Some(invoice) => Ok(as_preview(invoice)),
        None => Err(nothing_upcoming(&wanted.customer)),
    }
}

fn nothing_upcoming(customer: &str) -> ApiError {
    let message = format!("No upcoming invoices for customer: {customer}");
    ApiError::invalid(message).code("invoice_upcoming_none")
}

fn read_wanted(tx: &mut Tx<'_>, params: &mut Params, version: Version) -> Result<Wanted, ApiError> {
    let recurring_only = params.word("preview_mode", &["next", "recurring"])? == Some("recurring");
    let named = params.text("customer")?;
    let mut id = params.text("subscription")?;
    if let Some(schedule) = params.text("schedule")? {
        let found = tx.state.subscription_schedules.get(&schedule);
        let found = found.ok_or_else(|| ApiError::no_such("schedule", &schedule, "schedule"))?;
        id = id.or_else(|| found.subscription.clone());
    }
    let mut subscription = None;
    if let Some(id) = &id {
        let found = tx.state.subscriptions.get(id).filter(|row| !row.status.is_final());
        let found = found.ok_or_else(|| ApiError::no_such("subscription", id, "subscription"))?;
        if named.as_ref().is_some_and(|customer| *customer != found.customer) {
            return Err(ApiError::no_such("subscription", id, "subscription"));
        }
        subscription = Some(found.clone());
    }
    let customer = match (named, &subscription) {
        (_, Some(subscription)) => subscription.customer.clone(),
        (Some(customer), None) => {
            customers::live(tx.state, &customer, "customer")?;
            customer
        }
        (None, None) if params.has("customer_details") => {
            let details = params.hash("customer_details")?;
            visitor(tx, details)?
        }
        (None, None) => return Err(ApiError::missing_parameter("customer")),
    };
    params.ignore(&["customer_details"]);
    // Without anything to try out, the customer's next renewal is meant.
    if subscription.is_none() && !params.has("subscription_details") {
        let live = tx.state.subscriptions.of(&customer).filter(|row| !row.status.is_final());
        subscription = live.min_by_key(|row| row.period_end()).cloned();
    }
    Ok(Wanted { customer, subscription, recurring_only, version })
}

/// A customer who exists only for the preview.
fn visitor(tx: &mut Tx<'_>, details: Option<Params>) -> Result<String, ApiError> {
    let mut customer = customers::Customer::new(tx.now);
    if let Some(mut details) = details {
        details.address("address")?.apply(&mut customer.address);
        if let Some(tax_exempt) = details.word("tax_exempt", &["exempt", "none", "reverse"])? {
            customer.tax_exempt = tax_exempt.to_owned();
        }
        details.ignore(&["shipping", "tax", "tax_ids"]);
        details.finish()?;
    }
    let id = customer.id.clone();
    tx.state.customers.put(customer);
    Ok(id)
}

/// Has another endpoint do its work; its refusals name the parameters of the preview.
fn run(
    tx: &mut Tx<'_>,
    version: Version,
    handler: Handler,
    id: &str,
    params: Params,
) -> Result<Value, ApiError> {
    let mut call = Call {
        path: String::new(),
        parent: String::new(),
        id: id.to_owned(),
        params,
        expand: Vec::new(),
        version,
    };
    handler(tx, &mut call)
}

fn add_item(tx: &mut Tx<'_>, mut item: Params, wanted: &Wanted) -> Result<(), ApiError> {
    if let Some(price) = item.take("price") {
        item.put("pricing", json!({ "price": price }));
    }
    if let Some(existing) = item.text("invoiceitem")? {
        return run(tx, wanted.version, invoices::lines::update_item, &existing, item).map(|_| ());
    }
    item.put("customer", json!(wanted.customer));
    if let Some(subscription) = &wanted.subscription {
        item.put("subscription", json!(subscription.id));
        if !item.has("currency") {
            item.put("currency", json!(subscription.currency));
        }
    }
    run(tx, wanted.version, invoice_items::create, "", item).map(|_| ())
}

/// `billing_cycle_anchor` of a preview is a hash; the endpoints know words and instants.
fn flatten_anchor(details: &mut Params) -> Result<(), ApiError> {
    if details.is_text("billing_cycle_anchor") {
        return Ok(());
    }
    let Some(mut anchor) = details.hash("billing_cycle_anchor")? else {
        return Ok(());
    };
    let kind = anchor.word("type", &["now", "timestamp", "unchanged"])?;
    let instant = anchor.timestamp("timestamp")?;
    anchor.finish()?;
    let text = match (kind, instant) {
        (Some("timestamp") | None, Some(instant)) => instant.to_string(),
        (Some("timestamp") | None, None) => {
            return Err(ApiError::missing_parameter(&anchor.name("timestamp")));
        }
        (Some(word), _) => word.to_owned(),
    };
    details.put("billing_cycle_anchor", json!(text));
    Ok(())
}

fn put_discounts(details: &mut Params, discounts: Option<Value>) {
    if let Some(discounts) = discounts.filter(|_| !details.has("discounts")) {
        details.put("discounts", discounts);
    }
}

/// A subscription that does not exist yet.
fn begin(
    tx: &mut Tx<'_>,
    mut details: Params,
    wanted: &Wanted,
    discounts: Option<Value>,
) -> Result<String, ApiError> {
    flatten_anchor(&mut details)?;
    put_discounts(&mut details, discounts);
    if let Some(start) = details.take("start_date") {
        details.put("backdate_start_date", start);
    }
    details.ignore(&["cancel_now", "proration_date"]);
    details.put("customer", json!(wanted.customer));
    details.put("payment_behavior", json!("default_incomplete"));
    let made = run(tx, wanted.version, subscriptions::create::create, "", details)?;
    Ok(made["id"].as_str().unwrap_or_default().to_owned())
}

/// A change of a subscription that exists.
fn change(
    tx: &mut Tx<'_>,
    subscription: &Subscription,
    version: Version,
    details: Option<Params>,
    discounts: Option<Value>,
) -> Result<(), ApiError> {
    let id = &subscription.id;
    let mut details = details.unwrap_or_else(|| Params::new(Map::new()));
    flatten_anchor(&mut details)?;
    put_discounts(&mut details, discounts);
    if details.boolean("cancel_now")? == Some(true) {
        let prorates = details.text("proration_behavior")?.as_deref() != Some("none");
        let mut ending = Params::new(Map::new());
        ending.put("invoice_now", json!("true"));
        ending.put("prorate", json!(prorates.to_string()));
        return run(tx, version, subscriptions::cancel, id, ending).map(|_| ());
    }
    details.ignore(&["start_date"]);
    if details.finish().is_ok() {
        return Ok(());
    }
    run(tx, version, subscriptions::update::update, id, details).map(|_| ())
}

/// Lets time go on until the subscription's next invoice is there.
fn go_on(tx: &mut Tx<'_>, id: &str, last_event: Option<&str>) -> Result<(), ApiError> {
    for _ in 0..MAX_STEPS {
        let subscription = subscriptions::find(tx.state, id)?.clone();
        if subscription.status.is_final() {
            return Ok(());
        }
        if subscription.status == Status::Incomplete {
            // As if the first invoice had been paid.
            let paid = Subscription { status: Status::Active, ..subscription.clone() };
            tx.state.subscriptions.put(paid);
        }
        tx.now = tx.now.max(subscription.period_end());
        billing::subscription_due(tx, id)?;
        if announced(tx, last_event).is_some() {
            return Ok(());
        }
    }
    Ok(())
}

fn newest_event(tx: &Tx<'_>) -> Option<String> {
    tx.state.events.newest_first().next().map(|event| event.id.clone())
}

/// `preview_mode=recurring`: what comes again each period, without prorations and single items.
fn forget_waiting(tx: &mut Tx<'_>, customer: &str) {
    let items = tx.state.invoice_items.of(customer).filter(|item| item.invoice.is_none());
    let waiting: Vec<String> = items.map(|item| item.id.clone()).collect();
    for id in waiting {
        tx.state.invoice_items.remove(&id);
    }
}

/// The first invoice announced since, as it was announced.
fn announced(tx: &Tx<'_>, last_event: Option<&str>) -> Option<Value> {
    let new = tx.state.events.newest_first();
    let new = new.take_while(|event| Some(event.id.as_str()) != last_event);
    let created = new.filter(|event| event.kind == "invoice.created").last()?;
    let data: Value = serde_json::from_str(created.data.get()).ok()?;
    data.get("object").cloned()
}

/// What waits for a customer without a subscription.
fn one_off(tx: &mut Tx<'_>, wanted: &Wanted, discounts: Option<Value>) -> Result<Value, ApiError> {
    let waiting = tx.state.invoice_items.of(&wanted.customer).find(|item| item.invoice.is_none());
    let Some(currency) = waiting.map(|item| item.currency.clone()) else {
        return Err(nothing_upcoming(&wanted.customer));
    };
    let mut params = Params::new(Map::new());
    params.put("customer", json!(wanted.customer));
    params.put("currency", json!(currency));
    params.put("pending_invoice_items_behavior", json!("include"));
    put_discounts(&mut params, discounts);
    let invoice = run(tx, wanted.version, invoices::create, "", params)?;
    Ok(as_preview(invoice))
}

/// A preview has an id of its own kind and is not paid by anybody.
fn as_preview(invoice: Value) -> Value {
    let id = invoice["id"].as_str().unwrap_or_default().to_owned();
    let text = invoice.to_string().replace(&id, &format!("upcoming_{id}"));
    let mut shown: Value = serde_json::from_str(&text).unwrap_or(invoice);
    if !shown["parent"].is_null() {
        shown["billing_reason"] = json!("upcoming");
    }
    let automatic = shown["collection_method"] == "charge_automatically";
    let created = shown["created"].as_i64().unwrap_or(0);
    shown["next_payment_attempt"] = json!(automatic.then_some(created + HOUR));
    shown
}
