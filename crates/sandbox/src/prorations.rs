//! The arithmetic of prorations: what a span of time costs, and what of it is left.

use serde::{Deserialize, Serialize};

use crate::clock::{self, Interval};

/// What was last billed for a subscription item. What is given back later is a share of this, not
/// of the price: that may have changed without having been billed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Billed {
    pub amount: i64,
    pub start: i64,
    pub end: i64,
}

impl Billed {
    /// What of it pays for the time after `instant`.
    pub fn unused(&self, instant: i64, step: i64) -> i64 {
        share(self.amount, self.end - instant, self.end - self.start, step)
    }
}

/// `amount * part / whole`, rounded half up to a multiple of `step`.
pub fn share(amount: i64, part: i64, whole: i64, step: i64) -> i64 {
    let step = i128::from(step.max(1));
    let whole = i128::from(whole.max(1));
    let part = i128::from(part).clamp(0, whole);
    let whole = whole * step;
    let steps = (i128::from(amount) * part * 2 + whole) / (whole * 2);
    i64::try_from(steps * step).unwrap_or(amount)
}

/// What the time from `start` to `end` costs at `amount` for each period counted from `anchor`.
pub fn cost_of_span(
    amount: i64,
    (start, end): (i64, i64),
    (anchor, interval, count): (i64, Interval, i64),
    step: i64,
) -> i64 {
    let mut total = 0_i64;
    let mut from = start;
    while from < end {
        let period = clock::period_around(anchor, interval, count, from);
        let to = period.1.min(end);
        if to <= from {
            break;
        }
        total = total.saturating_add(share(amount, to - from, period.1 - period.0, step));
        from = to;
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> i64 {
        text.parse::<jiff::Timestamp>().expect("a valid instant").as_second()
    }

    fn month(start: &str, end: &str, amount: i64) -> Billed {
        Billed { amount, start: at(start), end: at(end) }
    }

    #[test]
    fn half_a_month_is_half_the_price() {
        // 10.00 to 20.00 in the middle of 30 days: 5.00 back, 10.00 to pay.
        let june = month("2026-06-01T00:00:00Z", "2026-07-01T00:00:00Z", 1_000);
        let middle = at("2026-06-16T00:00:00Z");
        assert_eq!(june.unused(middle, 1), 500);
        assert_eq!(share(2_000, june.end - middle, june.end - june.start, 1), 1_000);
    }

    #[test]
    fn shares_are_counted_in_seconds() {
        // 2,592,000 seconds in 30 days; 29.99 for all but one of them is 29.99.
        let june = month("2026-06-01T00:00:00Z", "2026-07-01T00:00:00Z", 2_999);
        assert_eq!(june.unused(june.start + 1, 1), 2_999);
        // 2,999 * 1,296,432 / 2,592,000 = 1,499.9998...: the middle less 432 seconds.
        assert_eq!(june.unused(at("2026-06-15T23:52:48Z"), 1), 1_500);
        // 2,999 / 3 = 999.67; two thirds are 1,999.33.
        assert_eq!(june.unused(at("2026-06-21T00:00:00Z"), 1), 1_000);
        assert_eq!(june.unused(at("2026-06-11T00:00:00Z"), 1), 1_999);
        assert_eq!(june.unused(june.start, 1), 2_999);
        assert_eq!(june.unused(june.end, 1), 0);
        assert_eq!(june.unused(june.end + 5, 1), 0);
    }

    #[test]
    fn what_was_not_billed_is_not_given_back() {
        // 10.00 billed; 20.00 from the middle without proration; 30.00 after three quarters:
        // a quarter of the 10.00 comes back, not of the 20.00.
        let june = month("2026-06-01T00:00:00Z", "2026-07-01T00:00:00Z", 1_000);
        assert_eq!(june.unused(at("2026-06-23T12:00:00Z"), 1), 250);
        // 20.00 from the middle with proration was 10.00 for half a month: half of that is left.
        let rest = month("2026-06-16T00:00:00Z", "2026-07-01T00:00:00Z", 1_000);
        assert_eq!(rest.unused(at("2026-06-23T12:00:00Z"), 1), 500);
        // A trial cost nothing.
        let trial = month("2026-06-01T00:00:00Z", "2026-07-01T00:00:00Z", 0);
        assert_eq!(trial.unused(at("2026-06-16T00:00:00Z"), 1), 0);
    }

    #[test]
    fn shorter_months_cost_the_same() {
        // Anchored on the 31st, February has 28 days: half of them are half the price.
        let february = clock::period_around(
            at("2026-01-31T10:00:00Z"),
            Interval::Month,
            1,
            at("2026-02-14T10:00:00Z") + 14 * 86_400,
        );
        assert_eq!(february, (at("2026-02-28T10:00:00Z"), at("2026-03-31T10:00:00Z")));
        let before = month("2026-01-31T10:00:00Z", "2026-02-28T10:00:00Z", 2_800);
        assert_eq!(before.unused(at("2026-02-14T10:00:00Z"), 1), 1_400);
        let leap = month("2028-01-31T00:00:00Z", "2028-02-29T00:00:00Z", 2_900);
        assert_eq!(leap.unused(at("2028-02-28T00:00:00Z"), 1), 100);
    }

    #[test]
    fn currencies_round_to_what_can_be_charged() {
        // 1,000 JPY for ten of thirty days; 10.000 KWD must end in a zero.
        assert_eq!(share(1_000, 10, 30, 1), 333);
        assert_eq!(share(10_000, 10, 30, 10), 3_330);
        assert_eq!(share(10_000, 20, 30, 10), 6_670);
        assert_eq!(share(15, 1, 1, 10), 20);
    }

    #[test]
    fn halves_round_up_and_nothing_overflows() {
        assert_eq!(share(1, 1, 2, 1), 1);
        assert_eq!(share(1_000, 1, 3, 1), 333);
        assert_eq!(share(1_000, 2, 3, 1), 667);
        assert_eq!(share(1_000, 5, 3, 1), 1_000);
        assert_eq!(share(1_000, -5, 3, 1), 0);
        assert_eq!(share(1_000, 5, 0, 1), 1_000);
        assert_eq!(share(i64::MAX, i64::MAX, i64::MAX, 1), i64::MAX);
    }

    #[test]
    fn a_span_is_the_sum_of_its_periods() {
        let anchor = at("2026-03-01T00:00:00Z");
        let monthly = (anchor, Interval::Month, 1);
        // From the middle of January (16 of 31 days left) to March: 516 and a whole month.
        let start = at("2026-01-16T00:00:00Z");
        assert_eq!(cost_of_span(1_000, (start, anchor), monthly, 1), 1_516);
        assert_eq!(cost_of_span(1_000, (anchor, anchor), monthly, 1), 0);
        let year = at("2027-03-01T00:00:00Z");
        assert_eq!(cost_of_span(1_000, (anchor, year), monthly, 1), 12_000);
    }
}
