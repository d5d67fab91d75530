//! Discounts: coupons at work on a customer, a subscription, an item, an invoice or one line of it.
//! A discount that has ended stays as a row, because the invoices it reduced still name it.

pub mod read;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::coupons::{self, Coupon, Duration};
use crate::customers::{self, Customer};
use crate::discounts::read::Wanted;
use crate::errors::ApiError;
use crate::invoices::Invoice;
use crate::requests::Call;
use crate::state::{Row, State, Timed, Timer};
use crate::subscriptions::{self, Subscription};
use crate::transactions::Tx;
use crate::{checkout_sessions, ids, promotion_codes};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Discount {
    pub id: String,
    pub coupon: String,
    pub promotion_code: Option<String>,
    pub place: Place,
    pub start: i64,
    pub end: Option<i64>,
    /// The invoice that used up a discount of one time.
    pub used_by: Option<String>,
    /// When it leaves its place by itself.
    pub leaves_at: Option<i64>,
    pub removed: bool,
}

/// What a discount is on.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Place {
    pub customer: Option<String>,
    pub subscription: Option<String>,
    pub subscription_item: Option<String>,
    pub invoice: Option<String>,
    pub invoice_item: Option<String>,
    pub checkout_session: Option<String>,
}

impl Place {
    /// On a customer or subscription, whose next invoices it will reduce too.
    fn lasts(&self) -> bool {
        self.invoice.is_none() && self.invoice_item.is_none() && self.checkout_session.is_none()
    }
}

impl Row for Discount {
    const KIND: &'static str = "discount";
    fn id(&self) -> &str {
        &self.id
    }

    fn customer(&self) -> Option<&str> {
        self.place.customer.as_deref()
    }
}

impl Timed for Discount {
    fn timer(&self) -> Timer {
        Timer::Discount(self.id.clone())
    }

    fn due_at(&self) -> Option<i64> {
        self.leaves_at.filter(|_| !self.removed)
    }
}

impl Discount {
    /// Whether it reduces this invoice, while that is a draft.
    pub fn reduces(&self, invoice: &Invoice) -> bool {
        let at = invoice.created.max(invoice.period_end);
        !self.removed
            && self.end.is_none_or(|end| at < end)
            && self.used_by.as_ref().is_none_or(|user| *user == invoice.id)
    }

    /// Whether it is there at `instant`, used up or not.
    pub fn runs_at(&self, instant: i64) -> bool {
        !self.removed && self.end.is_none_or(|end| instant < end)
    }
}

pub fn view(discount: &Discount) -> Value {
    let place = &discount.place;
    json!({
        "id": discount.id,
        "object": "discount",
        "checkout_session": place.checkout_session,
        "customer": place.customer,
        "customer_account": null,
        "end": discount.end,
        "invoice": place.invoice,
        "invoice_item": place.invoice_item,
        "promotion_code": discount.promotion_code,
        "source": {"coupon": discount.coupon, "type": "coupon"},
        "start": discount.start,
        "subscription": place.subscription,
        "subscription_item": place.subscription_item,
    })
}

fn deleted_view(discount: &Discount) -> Value {
    let mut shown = view(discount);
    shown["deleted"] = json!(true);
    if let Value::Object(shown) = &mut shown {
        shown.remove("end");
    }
    shown
}

/// The coupon of a discount, deleted or not.
pub fn coupon_of<'a>(state: &'a State, id: &str) -> Option<&'a Coupon> {
    state.coupons.get(&state.discounts.get(id)?.coupon)
}

/// Makes the wanted discounts, in their order. Those that name a discount keep it.
pub fn attach(tx: &mut Tx<'_>, wanted: Vec<Wanted>, place: &Place) -> Vec<String> {
    let mut ids = Vec::new();
    for wanted in wanted {
        match wanted {
            Wanted::Kept(id) => ids.push(id),
            Wanted::New { coupon, promotion_code } => {
                let discount = start(tx, &coupon, promotion_code, place);
                if place.lasts() {
                    tx.emit("customer.discount.created", view(&discount));
                }
                ids.push(discount.id);
            }
        }
    }
    ids
}

/// Begins a discount and counts it as a use of its coupon and code.
fn start(tx: &mut Tx<'_>, coupon: &str, promotion_code: Option<String>, place: &Place) -> Discount {
    let end = tx.state.coupons.get(coupon).and_then(|coupon| coupon.end(tx.now));
    let discount = Discount {
        id: ids::object("di"),
        coupon: coupon.to_owned(),
        promotion_code,
        place: place.clone(),
        start: tx.now,
        end,
        used_by: None,
        leaves_at: end.filter(|_| place.lasts()),
        removed: false,
    };
    tx.state.discounts.put(discount.clone());
    coupons::redeem(tx, coupon);
    if let Some(code) = &discount.promotion_code {
        promotion_codes::redeem(tx, code);
    }
    discount
}

/// Sets the one discount a customer has.
pub fn set_on_customer(tx: &mut Tx<'_>, customer: &mut Customer, wanted: Wanted) {
    let Wanted::New { coupon, promotion_code } = wanted else {
        return;
    };
    let place = Place { customer: Some(customer.id.clone()), ..Place::default() };
    let discount = start(tx, &coupon, promotion_code, &place);
    match customer.discount.replace(discount.clone()) {
        None => tx.emit("customer.discount.created", view(&discount)),
        Some(mut old) => {
            let before = view(&old);
            old.removed = true;
            tx.state.discounts.put(old);
            tx.emit_change("customer.discount.updated", &before, view(&discount));
        }
    }
}

pub fn take_from_customer(tx: &mut Tx<'_>, customer: &mut Customer) {
    if let Some(discount) = customer.discount.take() {
        remove(tx, &discount.id);
    }
}

/// Ends the discounts that are no longer on a list.
pub fn drop_missing(tx: &mut Tx<'_>, before: &[String], after: &[String]) {
    for id in before.iter().filter(|id| !after.contains(id)) {
        remove(tx, id);
    }
}

fn remove(tx: &mut Tx<'_>, id: &str) -> Option<Discount> {
    let mut discount = tx.state.discounts.get(id).filter(|row| !row.removed)?.clone();
    discount.removed = true;
    tx.state.discounts.put(discount.clone());
    if discount.place.lasts() {
        tx.emit("customer.discount.deleted", view(&discount));
    }
    Some(discount)
}

/// A final invoice uses up the discounts of one time that reduced it.
pub fn use_up(tx: &mut Tx<'_>, invoice: &Invoice) {
    let amounts = invoice.lines.iter().flat_map(|line| &line.adjustments.discount_amounts);
    let mut used: Vec<&String> =
        amounts.filter(|found| found.amount != 0).map(|found| &found.discount).collect();
    used.sort();
    used.dedup();
    for id in used {
        let once = coupon_of(tx.state, id).is_some_and(|row| row.duration == Duration::Once);
        let Some(mut discount) = tx.state.discounts.get(id).filter(|_| once).cloned() else {
            continue;
        };
        discount.used_by = Some(invoice.id.clone());
        let subscription = discount.place.subscription.as_ref();
        let subscription = subscription.and_then(|id| tx.state.subscriptions.get(id));
        // It is still shown on the subscription while the period lasts that it paid for.
        let leaves_at = subscription.map_or(tx.now, Subscription::period_end);
        discount.leaves_at = Some(leaves_at);
        let on_customer = subscription.is_none() && discount.place.lasts();
        tx.state.discounts.put(discount);
        if on_customer {
            leave(tx, id);
        }
    }
}

/// The discount's time is over.
pub fn due(tx: &mut Tx<'_>, id: &str) {
    let Some(mut discount) = tx.state.discounts.get(id).cloned() else {
        return;
    };
    if discount.due_at().is_none_or(|at| tx.now < at) {
        return;
    }
    let subscription = discount.place.subscription.as_ref();
    let subscription = subscription.and_then(|id| tx.state.subscriptions.get(id));
    if subscription.is_some_and(|subscription| subscription.status.is_final()) {
        // Nothing changes on a subscription that has ended.
        discount.leaves_at = None;
        tx.state.discounts.put(discount);
    } else {
        leave(tx, id);
    }
}

/// Takes a discount from whatever it is on.
fn leave(tx: &mut Tx<'_>, id: &str) -> Option<Discount> {
    let discount = remove(tx, id)?;
    let place = &discount.place;
    if let Some(mut subscription) =
        place.subscription.as_ref().and_then(|id| tx.state.subscriptions.get(id).cloned())
    {
        subscription.discounts.retain(|held| held != id);
        for item in &mut subscription.items {
            item.discounts.retain(|held| held != id);
        }
        subscriptions::save(tx, subscription);
    } else if let Some(mut customer) =
        place.customer.as_ref().and_then(|id| tx.state.customers.get(id).cloned())
        && customer.discount.as_ref().is_some_and(|held| held.id == id)
    {
        customer.discount = None;
        customers::save(tx, customer);
    }
    Some(discount)
}

/// `DELETE /v1/customers/{id}/discount`.
pub fn delete_of_customer(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    call.params.finish()?;
    let id = call.id();
    let found = tx.state.customers.get(id).filter(|customer| !customer.deleted);
    let customer = found.ok_or_else(|| ApiError::not_found("customer", id))?;
    let none = || ApiError::not_found("active discount for customer", id);
    let discount = customer.discount.as_ref().ok_or_else(none)?.id.clone();
    leave(tx, &discount).as_ref().map(deleted_view).ok_or_else(none)
}

/// `DELETE /v1/subscriptions/{id}/discount`: all of them go, the first is shown.
pub fn delete_of_subscription(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    call.params.finish()?;
    let id = call.id();
    let held = subscriptions::find(tx.state, id)?.discounts.clone();
    let none = || ApiError::not_found("active discount for subscription", id);
    let mut gone = Vec::new();
    for discount in &held {
        gone.extend(leave(tx, discount));
    }
    gone.first().map(deleted_view).ok_or_else(none)
}

/// The buyer typed a promotion code on the Checkout page. A refusal says why and changes nothing.
pub fn apply_code(tx: &mut Tx<'_>, session_id: &str, code: &str) -> Result<(), ApiError> {
    checkout_sessions::discounts::apply_code(tx, session_id, code)
}

/// The buyer took the promotion code back.
pub fn remove_code(tx: &mut Tx<'_>, session_id: &str) -> Result<(), ApiError> {
    checkout_sessions::discounts::remove_code(tx, session_id)
}
