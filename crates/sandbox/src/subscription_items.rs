//! Subscription items as a resource of their own: each change is a change of the subscription.

use serde_json::{Value, json};

use crate::errors::ApiError;
use crate::lists;
use crate::plan_changes::{self, Change};
use crate::requests::Call;
use crate::state::State;
use crate::subscription_schedules;
use crate::subscriptions::create::read_item;
use crate::subscriptions::update::{check_changeable, check_items, read_item_change};
use crate::subscriptions::{self, Subscription, SubscriptionItem, item_view};
use crate::transactions::Tx;

/// The subscription that has this item, and where.
fn find<'a>(state: &'a State, id: &str) -> Result<(&'a Subscription, usize), ApiError> {
    let found = state.subscriptions.of(id).next().and_then(|subscription| {
        let position = subscription.items.iter().position(|item| item.id == id)?;
        Some((subscription, position))
    });
    found.ok_or_else(|| ApiError::not_found("subscription_item", id))
}

fn shown(state: &State, id: &str) -> Result<Value, ApiError> {
    let (subscription, position) = find(state, id)?;
    Ok(item_view(state, subscription, &subscription.items[position]))
}

/// A schedule that is running says what its subscription is now.
fn follow(tx: &mut Tx<'_>, subscription: &str) {
    if let Some(row) = tx.state.subscriptions.get(subscription).cloned() {
        subscription_schedules::phases::follow(tx, &row);
    }
}

pub fn retrieve(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    shown(tx.state, call.id())
}

pub fn create(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let params = &mut call.params;
    let id = params.required("subscription")?;
    let found = tx.state.subscriptions.get(&id);
    let subscription =
        found.ok_or_else(|| ApiError::no_such("subscription", &id, "subscription"))?.clone();
    tx.follow(Some(&subscription.customer));
    check_changeable(&subscription)?;
    let change = Change::read(params, &subscription, tx.now)?;
    let (item, _) = read_item(tx, &subscription, params)?;
    if subscription.items.iter().any(|row| row.price == item.price) {
        let message =
            format!("Cannot add multiple subscription items with the same plan: {}", item.price);
        return Err(ApiError::invalid(message).param("price"));
    }
    let item_id = item.id.clone();
    let mut items = subscription.items.clone();
    items.push(item);
    check_items(tx.state, &subscription, &items)?;
    plan_changes::apply_change(tx, subscription, items, &change)?;
    follow(tx, &id);
    pending_or_shown(tx.state, &id, &item_id)
}

/// An item that waits for its payment is shown as it will be.
fn pending_or_shown(state: &State, subscription: &str, id: &str) -> Result<Value, ApiError> {
    let owner = subscriptions::find(state, subscription)?;
    let waiting = owner.pending_update.iter().flat_map(|update| &update.items);
    match waiting.clone().find(|item| item.id == id) {
        Some(item) => Ok(item_view(state, owner, item)),
        None => shown(state, id),
    }
}

pub fn update(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let id = call.id().to_owned();
    let (subscription, position) = find(tx.state, &id)?;
    let subscription = subscription.clone();
    tx.follow(Some(&subscription.customer));
    check_changeable(&subscription)?;
    let change = Change::read(&mut call.params, &subscription, tx.now)?;
    let mut items: Vec<SubscriptionItem> = subscription.items.clone();
    read_item_change(tx, &mut call.params, &subscription, &mut items[position])?;
    call.params.finish()?;
    check_items(tx.state, &subscription, &items)?;
    let owner = subscription.id.clone();
    plan_changes::apply_change(tx, subscription, items, &change)?;
    follow(tx, &owner);
    pending_or_shown(tx.state, &owner, &id)
}

pub fn delete(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let id = call.id().to_owned();
    let (subscription, position) = find(tx.state, &id)?;
    let subscription = subscription.clone();
    tx.follow(Some(&subscription.customer));
    check_changeable(&subscription)?;
    let change = Change::read(&mut call.params, &subscription, tx.now)?;
    call.params.ignore(&["clear_usage"]);
    call.params.finish()?;
    let mut items = subscription.items.clone();
    items.remove(position);
    if items.is_empty() {
        let message = "A subscription must have at least one active plan. To remove the last \
                       item, cancel the subscription.";
        return Err(ApiError::invalid(message));
    }
    let owner = subscription.id.clone();
    plan_changes::apply_change(tx, subscription, items, &change)?;
    follow(tx, &owner);
    Ok(json!({"id": id, "object": "subscription_item", "deleted": true}))
}

pub fn list(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let id = call.params.required("subscription")?;
    let found = tx.state.subscriptions.get(&id);
    let subscription =
        found.ok_or_else(|| ApiError::no_such("subscription", &id, "subscription"))?;
    let items = subscription.items.iter();
    let values = items.map(|item| item_view(tx.state, subscription, item)).collect();
    lists::page_of_values(call, values)
}
