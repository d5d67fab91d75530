//! Portal flows: a link that leads straight to one thing to do, and what comes after it.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::errors::ApiError;
use crate::params::{Change, Params};
use crate::portal_features::Features;
use crate::state::State;
use crate::subscriptions::Subscription;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Flow {
    pub kind: Kind,
    pub subscription: Option<String>,
    /// What `subscription_update_confirm` asks the customer to confirm.
    pub item: Option<FlowItem>,
    pub discounts: Vec<FlowDiscount>,
    pub after: After,
    pub done: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    CustomerUpdate,
    PaymentMethodUpdate,
    SubscriptionCancel,
    SubscriptionUpdate,
    SubscriptionUpdateConfirm,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FlowItem {
    pub id: String,
    pub price: Option<String>,
    pub quantity: Option<i64>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FlowDiscount {
    pub coupon: Option<String>,
    pub promotion_code: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum After {
    Homepage,
    Redirect { return_url: String },
    Confirmation { message: Option<String> },
}

pub fn view(flow: &Flow) -> Value {
    let (kind, redirect, confirmation) = match &flow.after {
        After::Homepage => ("portal_homepage", Value::Null, Value::Null),
        After::Redirect { return_url } => {
            ("redirect", json!({ "return_url": return_url }), Value::Null)
        }
        After::Confirmation { message } => {
            ("hosted_confirmation", Value::Null, json!({ "custom_message": message }))
        }
    };
    let subscription = &flow.subscription;
    let only = |wanted: Kind, value: Value| {
        if flow.kind == wanted { value } else { Value::Null }
    };
    json!({
        "after_completion": {
            "hosted_confirmation": confirmation,
            "redirect": redirect,
            "type": kind,
        },
        "customer_update": only(Kind::CustomerUpdate, json!({})),
        "subscription_cancel": only(
            Kind::SubscriptionCancel,
            json!({"retention": null, "subscription": subscription}),
        ),
        "subscription_pause": null,
        "subscription_update": only(
            Kind::SubscriptionUpdate,
            json!({ "subscription": subscription }),
        ),
        "subscription_update_confirm": only(Kind::SubscriptionUpdateConfirm, confirm_view(flow)),
        "type": flow.kind,
    })
}

fn confirm_view(flow: &Flow) -> Value {
    let items = flow.item.iter().map(|item| {
        let mut shown = json!({"id": item.id, "price": item.price});
        if let Some(quantity) = item.quantity {
            shown["quantity"] = json!(quantity);
        }
        shown
    });
    let discounts = flow.discounts.iter().map(
        |discount| json!({"coupon": discount.coupon, "promotion_code": discount.promotion_code}),
    );
    let discounts: Vec<Value> = discounts.collect();
    json!({
        "discounts": if discounts.is_empty() { Value::Null } else { json!(discounts) },
        "items": items.collect::<Vec<Value>>(),
        "subscription": flow.subscription,
    })
}

/// `flow_data`: the configuration must allow what the flow is for.
pub fn read(
    state: &State,
    data: &mut Params,
    customer: &str,
    features: &Features,
) -> Result<Flow, ApiError> {
    let words = [
        "customer_update",
        "payment_method_update",
        "subscription_cancel",
        "subscription_pause",
        "subscription_update",
        "subscription_update_confirm",
    ];
    let word = data.word("type", &words)?;
    let word = word.ok_or_else(|| ApiError::missing_parameter(&data.name("type")))?;
    let kind = match word {
        "customer_update" => Kind::CustomerUpdate,
        "payment_method_update" => Kind::PaymentMethodUpdate,
        "subscription_cancel" => Kind::SubscriptionCancel,
        "subscription_update" => Kind::SubscriptionUpdate,
        "subscription_update_confirm" => Kind::SubscriptionUpdateConfirm,
        _ => return Err(data.invalid("type", "The sandbox does not simulate this flow")),
    };
    check_allowed(data, kind, features)?;
    let after = read_after(data)?;
    let mut flow =
        Flow { kind, subscription: None, item: None, discounts: Vec::new(), after, done: false };
    let needs_hash = !matches!(kind, Kind::CustomerUpdate | Kind::PaymentMethodUpdate);
    if needs_hash {
        let name = data.name(word);
        let hash = data.hash(word)?;
        let mut hash = hash.ok_or_else(|| ApiError::missing_parameter(&name))?;
        let subscription = read_subscription(state, &mut hash, customer)?;
        if kind == Kind::SubscriptionCancel && subscription.cancel_at.is_some() {
            let message = "This subscription is already set to be canceled.";
            return Err(ApiError::invalid(message).param(&hash.name("subscription")));
        }
        if kind == Kind::SubscriptionUpdateConfirm {
            read_confirmed(&mut hash, subscription, features, &mut flow)?;
        }
        hash.refuse(&["retention"])?;
        hash.finish()?;
        flow.subscription = Some(subscription.id.clone());
    }
    data.finish()?;
    Ok(flow)
}

fn check_allowed(data: &Params, kind: Kind, features: &Features) -> Result<(), ApiError> {
    let (allowed, what) = match kind {
        Kind::CustomerUpdate => (features.customer_update, "customer update"),
        Kind::PaymentMethodUpdate => (features.payment_method_update, "payment method update"),
        Kind::SubscriptionCancel => (features.cancel.enabled, "subscription cancellation"),
        Kind::SubscriptionUpdate | Kind::SubscriptionUpdateConfirm => {
            (features.update.enabled, "subscription update")
        }
    };
    if allowed {
        return Ok(());
    }
    let message = format!("The {what} feature in the portal configuration is disabled.");
    Err(ApiError::invalid(message).param(&data.name("type")))
}

fn read_after(data: &mut Params) -> Result<After, ApiError> {
    let Some(mut hash) = data.hash("after_completion")? else {
        return Ok(After::Homepage);
    };
    let words = ["hosted_confirmation", "portal_homepage", "redirect"];
    let word = hash.word("type", &words)?;
    let after = match word.ok_or_else(|| ApiError::missing_parameter(&hash.name("type")))? {
        "portal_homepage" => After::Homepage,
        "redirect" => {
            let missing = || ApiError::missing_parameter("flow_data[after_completion][redirect]");
            let mut redirect = hash.hash("redirect")?.ok_or_else(missing)?;
            let name = redirect.name("return_url");
            let Change::Set(return_url) = redirect.url("return_url")? else {
                return Err(ApiError::missing_parameter(&name));
            };
            redirect.finish()?;
            After::Redirect { return_url }
        }
        _ => {
            let mut message = None;
            if let Some(mut confirmation) = hash.hash("hosted_confirmation")? {
                message = confirmation.text("custom_message")?;
                confirmation.finish()?;
            }
            After::Confirmation { message }
        }
    };
    hash.finish()?;
    Ok(after)
}

fn read_subscription<'a>(
    state: &'a State,
    hash: &mut Params,
    customer: &str,
) -> Result<&'a Subscription, ApiError> {
    let param = hash.name("subscription");
    let id = hash.required("subscription")?;
    let found = state.subscriptions.get(&id).filter(|row| row.customer == customer);
    let row = found.ok_or_else(|| ApiError::no_such("subscription", &id, &param))?;
    if row.status.is_final() {
        let message = format!("The subscription has ended: {id}");
        return Err(ApiError::invalid(message).param(&param));
    }
    Ok(row)
}

/// One item, to a price or a quantity that the configuration offers.
fn read_confirmed(
    hash: &mut Params,
    subscription: &Subscription,
    features: &Features,
    flow: &mut Flow,
) -> Result<(), ApiError> {
    let param = hash.name("items");
    let mut items = hash.hashes("items")?;
    let [item] = items.as_mut_slice() else {
        return Err(ApiError::invalid("Pass exactly one item.").param(&param));
    };
    let id = item.required("id")?;
    if !subscription.items.iter().any(|row| row.id == id) {
        return Err(ApiError::no_such("subscription item", &id, &item.name("id")));
    }
    let price = item.text("price")?;
    if let Some(price) = &price
        && features.update.offer(price).is_none()
    {
        let message = format!("The portal configuration does not offer the price {price}.");
        return Err(ApiError::invalid(message).param(&item.name("price")));
    }
    let quantity = item.quantity("quantity")?;
    item.finish()?;
    for mut discount in hash.hashes("discounts")? {
        let coupon = discount.text("coupon")?;
        let promotion_code = discount.text("promotion_code")?;
        discount.finish()?;
        flow.discounts.push(FlowDiscount { coupon, promotion_code });
    }
    if 1 < flow.discounts.len() {
        return Err(ApiError::invalid("Pass at most one discount.").param(&hash.name("discounts")));
    }
    flow.item = Some(FlowItem { id, price, quantity });
    Ok(())
}
