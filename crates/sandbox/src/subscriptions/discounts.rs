//! `discounts[]` of a subscription and of its items.

use crate::discounts::read::Purchase;
use crate::discounts::{self, Place};
use crate::errors::ApiError;
use crate::params::Params;
use crate::state::State;
use crate::subscriptions::{Subscription, SubscriptionItem};
use crate::transactions::Tx;

/// The list comes instead of the one the subscription has.
pub fn read(
    tx: &mut Tx<'_>,
    params: &mut Params,
    subscription: &mut Subscription,
) -> Result<(), ApiError> {
    let purchase = Purchase {
        customer: Some(&subscription.customer),
        currency: Some(&subscription.currency),
        amount: Some(amount(tx.state, subscription)),
    };
    let Some(wanted) = discounts::read::list(tx.state, params, purchase)? else {
        return Ok(());
    };
    let kept = discounts::attach(tx, wanted, &place(subscription, None));
    discounts::drop_missing(tx, &subscription.discounts, &kept);
    subscription.discounts = kept;
    Ok(())
}

pub fn read_of_item(
    tx: &mut Tx<'_>,
    params: &mut Params,
    subscription: &Subscription,
    item: &mut SubscriptionItem,
) -> Result<(), ApiError> {
    let currency = tx.state.prices.get(&item.price).map(|price| price.currency.clone());
    let purchase = Purchase {
        customer: Some(&subscription.customer),
        currency: currency.as_deref(),
        amount: item_amount(tx.state, item),
    };
    let Some(wanted) = discounts::read::list(tx.state, params, purchase)? else {
        return Ok(());
    };
    let kept = discounts::attach(tx, wanted, &place(subscription, Some(&item.id)));
    discounts::drop_missing(tx, &item.discounts, &kept);
    item.discounts = kept;
    Ok(())
}

fn place(subscription: &Subscription, item: Option<&str>) -> Place {
    Place {
        customer: Some(subscription.customer.clone()),
        subscription: Some(subscription.id.clone()),
        subscription_item: item.map(str::to_owned),
        ..Place::default()
    }
}

/// What one period costs before discounts.
fn amount(state: &State, subscription: &Subscription) -> i64 {
    let amounts = subscription.items.iter().filter_map(|item| item_amount(state, item));
    crate::adjustments::sum(amounts)
}

fn item_amount(state: &State, item: &SubscriptionItem) -> Option<i64> {
    state.prices.get(&item.price)?.amount(item.quantity).ok()
}
