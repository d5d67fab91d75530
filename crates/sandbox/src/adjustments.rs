//! What discounts and taxes do to the lines of an invoice or a Checkout page. Every amount is
//! worked out per line and the totals are sums of lines, so that everything always adds up.

use serde::{Deserialize, Serialize};

use crate::coupons::{Coupon, Off};
use crate::percents::Percent;

/// What one line carries besides its amount.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Adjustments {
    /// Discounts of this line alone, in their order.
    pub discounts: Vec<String>,
    /// What the caller said; by default all but prorations are discountable.
    pub discountable: Option<bool>,
    pub discount_amounts: Vec<DiscountAmount>,
    /// The line's own tax rates; without any, those of the invoice.
    pub tax_rates: Vec<String>,
    pub taxes: Vec<Tax>,
    pub tax_behavior: Option<String>,
    pub tax_code: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiscountAmount {
    pub discount: String,
    pub amount: i64,
    /// Of the line's own discount, which the invoice's subtotal has taken off already.
    pub own: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tax {
    pub rate: String,
    pub inclusive: bool,
    pub amount: i64,
    pub taxable: i64,
    pub reason: String,
}

/// A rate as it is to be applied to a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rate {
    pub id: String,
    pub percent: Percent,
    pub inclusive: bool,
    pub reason: String,
}

impl Adjustments {
    pub fn clear(&mut self) {
        self.discount_amounts.clear();
        self.taxes.clear();
    }

    pub fn discounted(&self) -> i64 {
        sum(self.discount_amounts.iter().map(|found| found.amount))
    }

    pub fn own_discounted(&self) -> i64 {
        let own = self.discount_amounts.iter().filter(|found| found.own);
        sum(own.map(|found| found.amount))
    }

    pub fn inclusive_tax(&self) -> i64 {
        sum(self.taxes.iter().filter(|tax| tax.inclusive).map(|tax| tax.amount))
    }

    pub fn exclusive_tax(&self) -> i64 {
        sum(self.taxes.iter().filter(|tax| !tax.inclusive).map(|tax| tax.amount))
    }
}

pub fn sum(amounts: impl Iterator<Item = i64>) -> i64 {
    amounts.fold(0_i64, i64::saturating_add)
}

/// What a coupon takes off each line, given what each line has left for it.
pub fn take_off(coupon: &Coupon, currency: &str, left: &[i64]) -> Vec<i64> {
    let whole = sum(left.iter().copied());
    let off = match &coupon.off {
        Off::Percent(percent) => percent.of(whole),
        Off::Amount { .. } => coupon.amount_off(currency).unwrap_or(0),
    };
    spread(off.min(whole), left)
}

/// Divides `total` in proportion to the weights. What rounding leaves over goes, one by one, to the
/// lines that lost most by it; among equals to the first.
pub fn spread(total: i64, weights: &[i64]) -> Vec<i64> {
    let whole: i128 = weights.iter().map(|weight| i128::from(*weight)).sum();
    if whole <= 0 || total <= 0 {
        return vec![0; weights.len()];
    }
    let exact = |weight: i64| i128::from(total) * i128::from(weight);
    let floor = |weight: i64| i64::try_from(exact(weight) / whole).unwrap_or(0);
    let mut shares: Vec<i64> = weights.iter().map(|weight| floor(*weight)).collect();
    let mut order: Vec<usize> = (0..weights.len()).collect();
    order.sort_by_key(|place| std::cmp::Reverse(exact(weights[*place]) % whole));
    let mut left = total.saturating_sub(sum(shares.iter().copied()));
    for place in order {
        if left <= 0 {
            break;
        }
        shares[place] = shares[place].saturating_add(1);
        left -= 1;
    }
    shares
}

/// The taxes on what a line costs after its discounts. Inclusive rates share what is in the amount;
/// exclusive ones come on top of what is left without them.
pub fn taxes_on(amount: i64, rates: &[Rate]) -> Vec<Tax> {
    let inclusive = rates.iter().filter(|rate| rate.inclusive);
    let together = inclusive.fold(Percent::default(), |sum, rate| sum.plus(rate.percent));
    let net = together.net_of(amount);
    let included = amount.saturating_sub(net);
    let weights: Vec<i64> =
        rates.iter().map(|rate| if rate.inclusive { rate.percent.weight() } else { 0 }).collect();
    let shares = spread(included.saturating_abs(), &weights);
    let taxes = rates.iter().zip(shares).map(|(rate, share)| Tax {
        rate: rate.id.clone(),
        inclusive: rate.inclusive,
        amount: if rate.inclusive { share * included.signum() } else { rate.percent.of(net) },
        taxable: net,
        reason: rate.reason.clone(),
    });
    taxes.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_spread_adds_up() {
        assert_eq!(spread(100, &[1, 1, 1]), [34, 33, 33]);
        assert_eq!(spread(10, &[999, 1]), [10, 0]);
        assert_eq!(spread(5, &[0, 7, 0]), [0, 5, 0]);
        assert_eq!(spread(5, &[0, 0]), [0, 0]);
        assert_eq!(spread(0, &[4]), [0]);
        for total in 0..200 {
            let weights = [37, 0, 41, 199, 5];
            let shares = spread(total, &weights);
            assert_eq!(shares.iter().sum::<i64>(), total);
            assert!(shares.iter().zip(weights).all(|(share, weight)| *share <= weight));
        }
    }

    fn rate(id: &str, scaled: i64, inclusive: bool) -> Rate {
        Rate {
            id: id.to_owned(),
            percent: Percent::scaled(scaled),
            inclusive,
            reason: String::new(),
        }
    }

    fn check_taxes(amount: i64, rates: &[Rate], expected: &[i64]) {
        let taxes = taxes_on(amount, rates);
        let amounts: Vec<i64> = taxes.iter().map(|tax| tax.amount).collect();
        assert_eq!(amounts, expected, "{amount} {rates:?}");
    }

    #[test]
    fn taxes_are_in_the_amount_or_on_top() {
        check_taxes(1_000, &[rate("a", 200_000, false)], &[200]);
        check_taxes(1_000, &[rate("a", 200_000, true)], &[167]);
        check_taxes(-1_000, &[rate("a", 200_000, true)], &[-167]);
        check_taxes(1_999, &[rate("a", 72_500, false)], &[145]);
        check_taxes(1_000, &[rate("a", 50_000, true), rate("b", 99_750, true)], &[43, 87]);
        // 10 % on top of what 25 % inclusive leaves.
        check_taxes(1_000, &[rate("a", 250_000, true), rate("b", 100_000, false)], &[200, 80]);
        check_taxes(0, &[rate("a", 200_000, true)], &[0]);
    }

    #[test]
    fn inclusive_taxes_and_the_net_are_the_amount() {
        let rates = [rate("a", 33_333, true), rate("b", 77_777, true), rate("c", 10_000, true)];
        for amount in 0..3_000 {
            let taxes = taxes_on(amount, &rates);
            let inclusive: i64 = taxes.iter().map(|tax| tax.amount).sum();
            assert_eq!(inclusive + taxes[0].taxable, amount);
        }
    }
}
