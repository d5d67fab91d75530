//! Active entitlements: the features of everything a customer subscribes to. They follow the
//! subscriptions: a feature that is attached to a product later reaches a customer when one of
//! their subscriptions changes next, as it does at its renewal.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::errors::ApiError;
use crate::requests::Call;
use crate::state::{Row, State};
use crate::subscriptions::Status;
use crate::transactions::Tx;
use crate::{customers, ids, lists};

/// An event shows this many; the rest is listed.
const MAX_SHOWN: usize = 10;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ActiveEntitlement {
    pub id: String,
    pub customer: String,
    pub feature: String,
    pub lookup_key: String,
}

impl Row for ActiveEntitlement {
    const KIND: &'static str = "entitlements.active_entitlement";
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

fn view(entitlement: &ActiveEntitlement) -> Value {
    json!({
        "id": entitlement.id,
        "object": "entitlements.active_entitlement",
        "feature": entitlement.feature,
        "livemode": false,
        "lookup_key": entitlement.lookup_key,
    })
}

fn summary(state: &State, customer: &str) -> Value {
    let all = state.active_entitlements.of(customer);
    let shown: Vec<Value> = all.rev().take(MAX_SHOWN).map(view).collect();
    let count = state.active_entitlements.of(customer).count();
    json!({
        "object": "entitlements.active_entitlement_summary",
        "customer": customer,
        "entitlements": {
            "object": "list",
            "data": shown,
            "has_more": MAX_SHOWN < count,
            "url": format!("/v1/customer/{customer}/entitlements"),
        },
        "livemode": false,
    })
}

/// The features of the products of the customer's running subscriptions.
fn due_features(state: &State, customer: &str) -> BTreeSet<String> {
    let running = state.subscriptions.of(customer).filter(|subscription| {
        matches!(subscription.status, Status::Active | Status::Trialing | Status::PastDue)
    });
    let prices = running.flat_map(|subscription| &subscription.items);
    let products = prices.filter_map(|item| Some(&state.prices.get(&item.price)?.product));
    let features = products.flat_map(|product| state.product_features.of(product));
    features.map(|row| row.feature.clone()).collect()
}

/// Runs at the end of every unit of work: customers whose subscriptions it changed get and lose
/// entitlements, and one event tells of all of it.
pub fn follow_subscriptions(tx: &mut Tx<'_>) {
    if tx.state.product_features.is_empty() && tx.state.active_entitlements.is_empty() {
        return;
    }
    let changed = tx.state.subscriptions.changed_ids();
    let owners = changed.filter_map(|id| Some(tx.state.subscriptions.get(id)?.customer.clone()));
    let owners: BTreeSet<String> = owners.collect();
    for customer in owners {
        follow(tx, &customer);
    }
}

fn follow(tx: &mut Tx<'_>, customer: &str) {
    let due = due_features(tx.state, customer);
    let held: Vec<ActiveEntitlement> = tx.state.active_entitlements.of(customer).cloned().collect();
    let lost: Vec<&ActiveEntitlement> =
        held.iter().filter(|row| !due.contains(&row.feature)).collect();
    let is_held = |feature: &String| held.iter().any(|row| row.feature == *feature);
    let gained: Vec<ActiveEntitlement> = due
        .iter()
        .filter(|feature| !is_held(feature))
        .filter_map(|feature| tx.state.features.get(feature))
        .map(|feature| ActiveEntitlement {
            id: ids::object("ent_test"),
            customer: customer.to_owned(),
            feature: feature.id.clone(),
            lookup_key: feature.lookup_key.clone(),
        })
        .collect();
    if lost.is_empty() && gained.is_empty() {
        return;
    }
    let before = summary(tx.state, customer);
    for row in lost {
        tx.state.active_entitlements.remove(&row.id);
    }
    for row in gained {
        tx.state.active_entitlements.put(row);
    }
    let after = summary(tx.state, customer);
    tx.emit_change("entitlements.active_entitlement_summary.updated", &before, after);
}

pub fn retrieve(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    call.params.finish()?;
    let found = tx.state.active_entitlements.get(call.id());
    Ok(view(found.ok_or_else(|| ApiError::not_found("active entitlement", call.id()))?))
}

pub fn list(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let customer = call.params.required("customer")?;
    customers::live(tx.state, &customer, "customer")?;
    lists::page_of(call, &tx.state.active_entitlements, Some(&customer), |_| true, view)
}
