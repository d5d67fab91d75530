//! Wishes: what we may ask of the provider, and which of them give way to which.

use super::broken;
use crate::failures::Failure;
use providers::stripe::plan_changes::Billed;
use serde::{Deserialize, Serialize};
use store::provider_calls::{ProviderCall, Urgency};

/// What we may ask. It is kept as JSON beside its key: one key, one set of parameters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind")]
pub(crate) enum Wish {
    #[serde(rename = "customer.create")]
    CustomerCreate { customer: String, email: Option<String>, name: Option<String> },
    /// Ends with its period.
    #[serde(rename = "subscription.cancel_at_period_end")]
    SubscriptionEnd { subscription: String },
    #[serde(rename = "subscription.resume")]
    SubscriptionResume { subscription: String },
    /// Ends now; what is still to be paid for it is void.
    #[serde(rename = "subscription.cancel")]
    SubscriptionCancel { subscription: String },
    /// Ends now and gives the newest payment back: the customer has another one.
    #[serde(rename = "subscription.cancel_surplus")]
    SubscriptionCancelSurplus { subscription: String },
    /// Changes one item now; what costs something waits for the money.
    #[serde(rename = "subscription.change")]
    SubscriptionChange {
        subscription: String,
        item: String,
        price: String,
        quantity: i64,
        #[serde(with = "BilledWord")]
        billed: Billed,
    },
    /// Changes with the next period.
    #[serde(rename = "subscription.change_later")]
    SubscriptionChangeLater {
        subscription: String,
        now: Vec<PlanItem>,
        then: Vec<PlanItem>,
        unit: String,
        count: u32,
    },
    /// Gives a payment back, whole where no amount is named.
    #[serde(rename = "refund.create")]
    RefundCreate { payment_intent: String, amount: Option<i64>, reason: Option<String> },
    /// Stays what it is after all.
    #[serde(rename = "subscription.keep")]
    SubscriptionKeep { subscription: String },
}

/// One price of a plan, by the provider's id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PlanItem {
    pub price: String,
    pub quantity: i64,
}

/// How `Billed` is written down.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Billed", rename_all = "snake_case")]
enum BilledWord {
    Now,
    Next,
}

impl Wish {
    pub(super) fn text(&self) -> Result<String, Failure> {
        serde_json::to_string(self).map_err(|error| broken(&error))
    }

    /// Whether a row stands for this very wish.
    pub(crate) fn is_of(&self, call: &ProviderCall) -> Result<bool, Failure> {
        Ok(call.parameters == self.text()?)
    }

    pub(super) fn read(call: &ProviderCall) -> Result<Self, Failure> {
        serde_json::from_str(&call.parameters).map_err(|error| broken(&error))
    }

    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Wish::CustomerCreate { .. } => "customer.create",
            Wish::SubscriptionEnd { .. } => "subscription.cancel_at_period_end",
            Wish::SubscriptionResume { .. } => "subscription.resume",
            Wish::SubscriptionCancel { .. } => "subscription.cancel",
            Wish::SubscriptionCancelSurplus { .. } => "subscription.cancel_surplus",
            Wish::SubscriptionChange { .. } => "subscription.change",
            Wish::SubscriptionChangeLater { .. } => "subscription.change_later",
            Wish::SubscriptionKeep { .. } => "subscription.keep",
            Wish::RefundCreate { .. } => "refund.create",
        }
    }

    /// The subscription it is about, by the provider's id.
    pub(super) fn subscription(&self) -> Option<&str> {
        match self {
            Wish::SubscriptionEnd { subscription }
            | Wish::SubscriptionResume { subscription }
            | Wish::SubscriptionCancel { subscription }
            | Wish::SubscriptionCancelSurplus { subscription }
            | Wish::SubscriptionChange { subscription, .. }
            | Wish::SubscriptionChangeLater { subscription, .. }
            | Wish::SubscriptionKeep { subscription } => Some(subscription),
            Wish::CustomerCreate { .. } | Wish::RefundCreate { .. } => None,
        }
    }

    /// Whether it has to be done however long that takes: nobody is charged on because we gave up.
    pub(super) const fn is_duty(&self) -> bool {
        matches!(
            self,
            Wish::SubscriptionEnd { .. }
                | Wish::SubscriptionCancel { .. }
                | Wish::SubscriptionCancelSurplus { .. }
        )
    }

    pub(super) const fn urgency(&self) -> Urgency {
        if self.is_duty() { Urgency::Duty } else { Urgency::Wish }
    }

    /// Whether it may be written while an earlier one has no outcome: an end waits for nothing, and
    /// who takes an end back need not wait for it.
    pub(super) const fn passes(&self, earlier: &Wish) -> bool {
        match self {
            Wish::SubscriptionResume { .. } => matches!(earlier, Wish::SubscriptionEnd { .. }),
            _ => self.is_duty(),
        }
    }

    /// Whether an earlier one must not be carried out any more once this one is written: it would
    /// charge for what is to end, or undo what was said last.
    pub(super) const fn overtakes(&self, earlier: &Wish) -> bool {
        match self {
            Wish::SubscriptionEnd { .. } | Wish::SubscriptionCancel { .. } => matches!(
                earlier,
                Wish::SubscriptionResume { .. }
                    | Wish::SubscriptionChange { .. }
                    | Wish::SubscriptionChangeLater { .. }
                    | Wish::SubscriptionKeep { .. }
            ),
            Wish::SubscriptionResume { .. } => matches!(earlier, Wish::SubscriptionEnd { .. }),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_a_change_is_billed_is_written_down_in_words() {
        let wish = Wish::SubscriptionChange {
            subscription: "sub_1".to_owned(),
            item: "si_1".to_owned(),
            price: "price_1".to_owned(),
            quantity: 2,
            billed: Billed::Next,
        };
        let text = wish.text().unwrap();
        assert!(text.contains(r#""billed":"next""#), "{text}");
        assert_eq!(serde_json::from_str::<Wish>(&text).unwrap(), wish);
    }
}
