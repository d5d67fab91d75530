//! The arithmetic of invoices: discounts and taxes per line, and every total as a sum of lines.

use crate::adjustments::{self, DiscountAmount, Tax, sum};
use crate::discounts;
use crate::invoices::{Invoice, Line, Status};
use crate::state::State;

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
            if discounted == 0 || tax == 0 {
                return own;
            }
            crate::percents::ratio(own, discounted.saturating_sub(tax), discounted)
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
    #[expect(dead_code, reason = "tax rates land next")]
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
    let mut shared = std::mem::take(&mut invoice.discounts);
    discounts::keep_live(state, invoice, &mut shared);
    let mut lines = std::mem::take(&mut invoice.lines);
    for line in &mut lines {
        line.adjustments.clear();
        let mut own = std::mem::take(&mut line.adjustments.discounts);
        discounts::keep_live(state, invoice, &mut own);
        for id in &own {
            discount(state, &invoice.currency, std::slice::from_mut(line), id, true);
        }
        line.adjustments.discounts = own;
    }
    for id in &shared {
        discount(state, &invoice.currency, &mut lines, id, false);
    }
    invoice.discounts = shared;
    invoice.lines = lines;
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
