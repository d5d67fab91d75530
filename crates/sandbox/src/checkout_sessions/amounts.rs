//! The arithmetic of a Checkout page. It goes through the lines in the order the invoice will have
//! them, so that the page and the invoice agree to the cent.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::adjustments::{self, DiscountAmount, sum};
use crate::automatic_taxes::{self, Circumstances};
use crate::checkout_sessions::{CheckoutSession, LineItem, Mode, find};
use crate::coupons::Coupon;
use crate::errors::ApiError;
use crate::state::State;
use crate::tax_locations::Location;
use crate::tax_settings;
use crate::transactions::Tx;

/// What reduces a session: a coupon, perhaps by way of a promotion code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionDiscount {
    pub coupon: String,
    pub promotion_code: Option<String>,
}

impl LineItem {
    /// What is paid for the line today, after discounts and with all taxes.
    pub fn total(&self, charged: i64) -> i64 {
        let discounted = charged.saturating_sub(self.adjustments.discounted());
        discounted.saturating_add(self.adjustments.exclusive_tax())
    }
}

impl CheckoutSession {
    /// What the line costs today before discounts: recurring lines of a trial cost nothing yet.
    pub fn charged(&self, line: &LineItem) -> i64 {
        if self.has_trial() && line.recurring { 0 } else { line.amount }
    }

    pub fn amount_subtotal(&self) -> i64 {
        sum(self.line_items.iter().map(|line| self.charged(line)))
    }

    /// What the buyer pays today.
    pub fn amount_total(&self) -> i64 {
        sum(self.line_items.iter().map(|line| line.total(self.charged(line))))
    }

    pub fn amount_discount(&self) -> i64 {
        sum(self.line_items.iter().map(|line| line.adjustments.discounted()))
    }

    pub fn amount_tax(&self) -> i64 {
        let tax = |line: &LineItem| {
            line.adjustments.inclusive_tax().saturating_add(line.adjustments.exclusive_tax())
        };
        sum(self.line_items.iter().map(tax))
    }
}

pub fn discounts_view(session: &CheckoutSession) -> Value {
    let shown = session.discounts.iter();
    shown
        .map(|found| match &found.promotion_code {
            None => json!({"coupon": found.coupon, "promotion_code": null}),
            Some(code) => json!({"coupon": null, "promotion_code": code}),
        })
        .collect()
}

/// Works out the discounts and taxes of an open session anew.
pub fn settle(state: &State, session: &mut CheckoutSession) {
    let mut order: Vec<usize> = (0..session.line_items.len()).collect();
    order.sort_by_key(|place| !session.line_items[*place].recurring);
    for line in &mut session.line_items {
        line.adjustments.clear();
    }
    let discounts: Vec<String> = coupons(state, session).map(|coupon| coupon.id.clone()).collect();
    for id in discounts {
        if let Some(coupon) = state.coupons.get(&id) {
            discount(state, session, &order, coupon);
        }
    }
    let taxing = Circumstances::new(
        state,
        session.automatic_tax,
        session.customer.as_deref(),
        location(state, session),
        &session.subscription_data.default_tax_rates,
    );
    for place in order {
        let line = &session.line_items[place];
        let left = session.charged(line).saturating_sub(line.adjustments.discounted());
        let taxes = taxing.taxes(state, &line.adjustments, Some(&line.price), left);
        session.line_items[place].adjustments.taxes = taxes;
    }
}

/// Where the buyer is, as far as that is known.
pub fn location(state: &State, session: &CheckoutSession) -> Option<Location> {
    let said = session.buyer_address.as_ref().and_then(Location::of);
    said.or_else(|| automatic_taxes::location_of(state, session.customer.as_deref()?))
}

/// The buyer says where they are.
pub fn set_address(tx: &mut Tx<'_>, id: &str, address: Value) -> Result<(), ApiError> {
    let mut session = find(tx.state, id)?.clone();
    session.buyer_address = Some(address);
    settle(tx.state, &mut session);
    tx.state.checkout_sessions.put(session);
    Ok(())
}

/// A buyer who does not say where they are is taken to be where the shop is.
pub fn locate(state: &State, session: &mut CheckoutSession) {
    if session.automatic_tax.is_on() && location(state, session).is_none() {
        let office = tax_settings::of(state).head_office;
        session.buyer_address = office.or_else(|| {
            Some(json!({
            "city": "South San Francisco",
            "country": "US",
            "line1": "354 Oyster Point Blvd",
            "line2": null,
            "postal_code": "94080",
            "state": "CA",
            }))
        });
    }
    if session.automatic_tax.is_on() {
        settle(state, session);
    }
}

/// The session's coupons; without any, a subscription takes the discount its customer has.
fn coupons<'a>(state: &'a State, session: &'a CheckoutSession) -> impl Iterator<Item = &'a Coupon> {
    let own = session.discounts.iter().filter_map(|found| state.coupons.get(&found.coupon));
    let inherits = session.discounts.is_empty() && session.mode == Mode::Subscription;
    let customer = session.customer.as_ref().and_then(|id| state.customers.get(id));
    let theirs = customer.and_then(|customer| customer.discount.as_ref()).filter(|_| inherits);
    own.chain(theirs.and_then(|held| state.coupons.get(&held.coupon)))
        .filter(|coupon| coupon.works_in(&session.currency))
}

fn discount(state: &State, session: &mut CheckoutSession, order: &[usize], coupon: &Coupon) {
    let left: Vec<i64> = order
        .iter()
        .map(|place| {
            let line = &session.line_items[*place];
            let product = state.prices.get(&line.price).map(|price| price.product.as_str());
            let left = session.charged(line).saturating_sub(line.adjustments.discounted());
            if coupon.covers(product) { left.max(0) } else { 0 }
        })
        .collect();
    let shares = adjustments::take_off(coupon, &session.currency, &left);
    for (place, amount) in order.iter().zip(shares) {
        let discount = coupon.id.clone();
        let found = DiscountAmount { discount, amount, own: false };
        session.line_items[*place].adjustments.discount_amounts.push(found);
    }
}
