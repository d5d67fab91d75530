//! The arithmetic of invoices: discounts and taxes per line, and every total as a sum of lines.

use crate::adjustments::{self, DiscountAmount, Tax, sum};
use crate::automatic_taxes::{self, Circumstances};
use crate::discounts::{self, Discount};
use crate::errors::ApiError;
use crate::invoices::{Invoice, Line, Status, not_payable};
use crate::params::Params;
use crate::state::State;
use crate::tax_rates;

impl Line {
    pub fn is_discountable(&self) -> bool {
        self.adjustments.discountable.unwrap_or(!self.proration)
    }

    /// What discounts have left of the line.
    pub fn discounted(&self) -> i64 {
        self.amount.saturating_sub(self.adjustments.discounted())
    }
}

impl Invoice {
    /// Before the invoice's discounts and what taxes add; the lines' own discounts are off already.
    pub fn subtotal(&self) -> i64 {
        let own = |line: &Line| line.amount.saturating_sub(line.adjustments.own_discounted());
        sum(self.lines.iter().map(own))
    }

    pub fn total(&self) -> i64 {
        let total =
            |line: &Line| line.discounted().saturating_add(line.adjustments.exclusive_tax());
        sum(self.lines.iter().map(total))
    }

    pub fn total_excluding_tax(&self) -> i64 {
        let net = |line: &Line| line.discounted().saturating_sub(line.adjustments.inclusive_tax());
        sum(self.lines.iter().map(net))
    }

    /// The subtotal without the taxes in it, as far as the lines' amounts include any.
    pub fn subtotal_excluding_tax(&self) -> i64 {
        let net = |line: &Line| {
            let own = line.amount.saturating_sub(line.adjustments.own_discounted());
            let (discounted, tax) = (line.discounted(), line.adjustments.inclusive_tax());
            let left = discounted.saturating_sub(tax).saturating_abs();
            if discounted == 0 || tax == 0 {
                return own;
            }
            crate::percents::ratio(own, left, discounted.saturating_abs())
        };
        sum(self.lines.iter().map(net))
    }

    /// Per discount, over all lines, in the order the discounts were applied.
    pub fn discount_amounts(&self) -> Vec<(String, i64)> {
        let mut totals: Vec<(String, i64)> = Vec::new();
        for found in self.lines.iter().flat_map(|line| &line.adjustments.discount_amounts) {
            match totals.iter_mut().find(|(id, _)| *id == found.discount) {
                Some((_, amount)) => *amount = amount.saturating_add(found.amount),
                None => totals.push((found.discount.clone(), found.amount)),
            }
        }
        totals
    }

    /// Per tax rate and reason, over all lines.
    pub fn taxes(&self) -> Vec<Tax> {
        let mut totals: Vec<Tax> = Vec::new();
        for tax in self.lines.iter().flat_map(|line| &line.adjustments.taxes) {
            let same = |total: &&mut Tax| {
                total.rate == tax.rate
                    && total.inclusive == tax.inclusive
                    && total.reason == tax.reason
            };
            match totals.iter_mut().find(same) {
                Some(total) => {
                    total.amount = total.amount.saturating_add(tax.amount);
                    total.taxable = total.taxable.saturating_add(tax.taxable);
                }
                None => totals.push(tax.clone()),
            }
        }
        totals
    }
}

/// Works out the discounts and taxes of a draft anew. What is final stays as it was sent.
pub fn settle(state: &State, invoice: &mut Invoice) {
    if invoice.status != Status::Draft {
        return;
    }
    take_discounts(state, invoice, Discount::reduces);
    let (automatic, customer) = (invoice.automatic_tax, Some(invoice.customer.as_str()));
    let taxing = Circumstances::new(state, automatic, customer, None, &invoice.default_tax_rates);
    for line in &mut invoice.lines {
        let left = line.discounted();
        let taxes = taxing.taxes(state, &line.adjustments, line.price.as_deref(), left);
        line.adjustments.taxes = taxes;
    }
}

/// Applies the discounts that count, and leaves out the others.
pub fn take_discounts(
    state: &State,
    invoice: &mut Invoice,
    counts: impl Fn(&Discount, &Invoice) -> bool,
) {
    let mut shared = std::mem::take(&mut invoice.discounts);
    let mut lines = std::mem::take(&mut invoice.lines);
    let counts = |id: &String| state.discounts.get(id).is_some_and(|row| counts(row, invoice));
    shared.retain(counts);
    for line in &mut lines {
        line.adjustments.clear();
        line.adjustments.discounts.retain(counts);
        for id in line.adjustments.discounts.clone() {
            discount(state, &invoice.currency, std::slice::from_mut(line), &id, true);
        }
    }
    for id in &shared {
        discount(state, &invoice.currency, &mut lines, id, false);
    }
    invoice.discounts = shared;
    invoice.lines = lines;
}

/// `default_tax_rates` and `automatic_tax`, of which only one can decide.
pub fn read_taxes(
    state: &State,
    params: &mut Params,
    invoice: &mut Invoice,
) -> Result<(), ApiError> {
    let rates = tax_rates::read_list(state, params, "default_tax_rates")?;
    let automatic = automatic_taxes::read(params)?;
    if invoice.status != Status::Draft && (rates.is_some() || automatic.is_some()) {
        return Err(not_payable().param("default_tax_rates"));
    }
    if let Some(rates) = rates {
        invoice.default_tax_rates = rates;
    }
    if let Some(automatic) = automatic {
        invoice.automatic_tax = automatic;
    }
    automatic_taxes::check_alone(invoice.automatic_tax, &invoice.default_tax_rates)
}

/// One discount on these lines. Credits are not discounted, nor is what the coupon does not cover.
fn discount(state: &State, currency: &str, lines: &mut [Line], id: &str, own: bool) {
    let Some(coupon) = discounts::coupon_of(state, id).filter(|row| row.works_in(currency)) else {
        return;
    };
    let left: Vec<i64> = lines
        .iter()
        .map(|line| {
            let fits = line.is_discountable() && coupon.covers(line.product.as_deref());
            if fits { line.discounted().max(0) } else { 0 }
        })
        .collect();
    let shares = adjustments::take_off(coupon, currency, &left);
    for ((line, left), amount) in lines.iter_mut().zip(left).zip(shares) {
        if left != 0 || own {
            let discount = id.to_owned();
            line.adjustments.discount_amounts.push(DiscountAmount { discount, amount, own });
        }
    }
}
