//! What went back of a payment: refunds, disputes and credit notes, as one number.
//!
//! Credits and access that a payment brought follow this number alone, so that it does not matter
//! in which order its parts are told, and it falls again when a dispute is won or a refund fails.

/// What is known of a payment's way back, in minor units of the payment's currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GivenBack {
    /// What the payment itself was.
    pub amount: i64,
    /// To the card or account that paid: the cumulative total, pending refunds included.
    pub refunded: i64,
    /// Taken by a bank, or about to be.
    pub disputed: i64,
    /// To the customer's balance, or outside the provider.
    pub credited: i64,
}

impl GivenBack {
    /// All of it together; never more than was paid.
    ///
    /// ```
    /// use domain::payments::GivenBack;
    /// let back = GivenBack { amount: 1000, refunded: 300, disputed: 1000, credited: 0 };
    /// assert_eq!(back.total(), 1000);
    /// assert_eq!(GivenBack { disputed: 0, ..back }.total(), 300);
    /// ```
    pub fn total(&self) -> i64 {
        let parts = [self.refunded, self.disputed, self.credited];
        let sum = parts.iter().fold(0_i64, |sum, part| sum.saturating_add((*part).max(0)));
        sum.min(self.amount.max(0))
    }

    /// Whether nothing of the payment is left. What cost nothing cannot go back.
    pub fn is_whole(&self) -> bool {
        0 < self.amount && self.amount <= self.total()
    }
}

/// Whether the money of a dispute in this state is gone or about to go. It is read from the status,
/// never from an event's type; words that are not known count, too.
///
/// ```
/// use domain::payments::dispute_takes;
/// assert!(dispute_takes("needs_response") && dispute_takes("lost") && dispute_takes("later"));
/// assert!(!dispute_takes("won") && !dispute_takes("warning_needs_response"));
/// ```
pub fn dispute_takes(status: &str) -> bool {
    !(matches!(status, "won" | "prevented") || status.starts_with("warning_"))
}

/// Whether a dispute has reached its end.
pub fn dispute_is_over(status: &str) -> bool {
    matches!(status, "won" | "lost" | "warning_closed" | "prevented")
}

/// Whether the money of a refund in this state has gone back or still may.
///
/// ```
/// use domain::payments::refund_takes;
/// assert!(refund_takes("pending") && refund_takes("succeeded") && refund_takes("later"));
/// assert!(!refund_takes("failed") && !refund_takes("canceled"));
/// ```
pub fn refund_takes(status: &str) -> bool {
    !matches!(status, "failed" | "canceled")
}

/// How far a refund is: where two descriptions are equally old, the further one is true.
pub fn refund_rank(status: &str) -> u8 {
    match status {
        "pending" | "requires_action" => 0,
        "succeeded" => 1,
        "failed" | "canceled" => 3,
        _ => 2,
    }
}

/// How far a dispute is: where two descriptions are equally old, the further one is true.
pub fn dispute_rank(status: &str) -> u8 {
    match status {
        "warning_needs_response" => 0,
        "warning_under_review" => 1,
        "warning_closed" => 2,
        "needs_response" => 3,
        "under_review" => 5,
        "won" | "lost" | "prevented" => 6,
        _ => 4,
    }
}

/// What was given back of a charge's captured part. Authorized money that was never taken counts
/// as refunded at the provider, but nobody paid it.
///
/// ```
/// use domain::payments::refunded_of_captured;
/// assert_eq!(refunded_of_captured(1000, 1000, 300), 300);
/// assert_eq!(refunded_of_captured(1000, 600, 400), 0);
/// assert_eq!(refunded_of_captured(1000, 600, 1000), 600);
/// assert_eq!(refunded_of_captured(1000, 0, 1000), 0);
/// ```
pub fn refunded_of_captured(amount: i64, captured: i64, refunded: i64) -> i64 {
    let released = amount.saturating_sub(captured).max(0);
    refunded.saturating_sub(released).clamp(0, captured.max(0))
}

/// An amount of another currency as the same share of this payment, rounded up: a bank's currency
/// need not be the one that was paid in.
///
/// ```
/// use domain::payments::share_of;
/// assert_eq!(share_of(1000, 50, 100), 500);
/// assert_eq!(share_of(1000, 100, 100), 1000);
/// assert_eq!(share_of(1000, 7, 0), 1000);
/// ```
pub fn share_of(amount: i64, part: i64, whole: i64) -> i64 {
    if part <= 0 {
        return 0;
    }
    if whole <= part {
        return amount.max(0);
    }
    let product = i128::from(amount.max(0)) * i128::from(part);
    let share = (product + i128::from(whole) - 1) / i128::from(whole);
    i64::try_from(share).unwrap_or(amount)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn pitfall_099_only_disputes_that_hold_the_money_count() {
        let taking = ["needs_response", "under_review", "lost", "a_later_word", ""];
        let not = ["won", "prevented", "warning_needs_response", "warning_closed"];
        assert!(taking.iter().all(|word| dispute_takes(word)));
        assert!(not.iter().all(|word| !dispute_takes(word)));
        for word in ["won", "lost", "prevented"] {
            assert!(
                ["needs_response", "under_review", "a_later_word"]
                    .iter()
                    .all(|open| dispute_rank(open) < dispute_rank(word))
            );
        }
    }

    proptest! {
        #[test]
        fn pitfall_100_never_more_goes_back_than_was_paid(
            amount in 0_i64..1000, refunded in -5_i64..2000, disputed in -5_i64..2000,
            credited in -5_i64..2000,
        ) {
            let back = GivenBack { amount, refunded, disputed, credited };
            prop_assert!((0..=amount).contains(&back.total()));
            prop_assert_eq!(back.is_whole(), 0 < amount && back.total() == amount);
        }

        #[test]
        fn a_capture_in_part_gives_nothing_back(
            amount in 1_i64..1000, captured in 0_i64..1000, refunded in 0_i64..1000,
        ) {
            let captured = captured.min(amount);
            prop_assert_eq!(refunded_of_captured(amount, captured, amount - captured), 0);
            let back = refunded_of_captured(amount, captured, refunded);
            prop_assert!((0..=captured).contains(&back));
        }
    }
}
