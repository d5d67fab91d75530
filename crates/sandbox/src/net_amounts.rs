//! What the items of a subscription cost after discounts. Prorations are shares of that, as
//! `proration_discounts: included` says, so that nobody gets back what a discount had paid.

use crate::errors::ApiError;
use crate::invoices::{Invoice, amounts};
use crate::state::State;
use crate::subscriptions::Subscription;
use crate::transactions::Tx;
use crate::{billing, customers};

/// What items cost for a whole period.
pub struct NetAmounts(Vec<(String, i64)>);

impl NetAmounts {
    /// With the discounts that run at `at`; one of one time runs until it leaves the subscription.
    pub fn at(state: &State, subscription: &Subscription, at: i64) -> Result<Self, ApiError> {
        let customer = customers::live(state, &subscription.customer, "customer")?;
        let mut invoice = Invoice::new(customer, &subscription.currency, "subscription_cycle", at);
        invoice.attach_to(subscription);
        invoice.lines = billing::period_lines(state, subscription)?;
        amounts::take_discounts(state, &mut invoice, |discount, _| discount.runs_at(at));
        let lines = invoice.lines.into_iter().filter_map(|line| {
            let amount = line.discounted();
            line.subscription_item.map(|item| (item, amount))
        });
        Ok(NetAmounts(lines.collect()))
    }

    pub fn of(&self, item: &str) -> i64 {
        self.0.iter().find(|(id, _)| id == item).map_or(0, |(_, amount)| *amount)
    }
}

/// Discounts are known only once an invoice has all its lines: what its subscription's items
/// remember as billed becomes what is left after them.
pub fn remember(tx: &mut Tx<'_>, invoice: &Invoice) {
    let found = invoice.subscription.as_ref().and_then(|id| tx.state.subscriptions.get(id));
    let Some(mut subscription) = found.cloned() else {
        return;
    };
    for item in &mut subscription.items {
        let Some(billed) = &mut item.billed else {
            continue;
        };
        let line = invoice.lines.iter().find(|line| {
            line.is_discountable()
                && line.subscription_item.as_ref() == Some(&item.id)
                && (line.period_start, line.period_end) == (billed.start, billed.end)
        });
        billed.amount = line.map_or(billed.amount, |line| line.discounted());
    }
    tx.state.subscriptions.put(subscription);
}
