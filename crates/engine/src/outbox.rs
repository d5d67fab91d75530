//! Notifications: what happened here, told to the merchant's own servers and mail sender.
//!
//! A notification tells of a business fact, not of a provider's event: its row is unique on the
//! fact and is written in the transaction that makes the fact true (INV-ONCE). Whoever applies news
//! compares the rows before and after, and tells only what has changed.

use crate::Engine;
use crate::clock::random;
use crate::failures::Failure;
use domain::ids::{CustomerId, OutboxEventId};
use serde_json::Value;
use store::Tx;
use store::outbox::OutboxEvent;

/// Declares the vocabulary that `docs/API.md` explains.
macro_rules! kinds {
    ($($name:ident => $word:literal),+ $(,)?) => {
        /// What happened. The list only ever grows.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Kind { $($name),+ }

        impl Kind {
            pub const ALL: &'static [Kind] = &[$(Kind::$name),+];

            /// The word on the wire.
            pub const fn as_str(self) -> &'static str {
                match self { $(Kind::$name => $word),+ }
            }
        }
    };
}

kinds! {
    CheckoutCompleted => "checkout.completed",
    SubscriptionStarted => "subscription.started",
    SubscriptionTrialWillEnd => "subscription.trial_will_end",
    SubscriptionPastDue => "subscription.past_due",
    SubscriptionRecovered => "subscription.recovered",
    SubscriptionPlanChanged => "subscription.plan_changed",
    SubscriptionCancelScheduled => "subscription.cancel_scheduled",
    SubscriptionCancelUndone => "subscription.cancel_undone",
    SubscriptionCanceled => "subscription.canceled",
    SubscriptionPaused => "subscription.paused",
    SubscriptionResumed => "subscription.resumed",
    SubscriptionDuplicate => "subscription.duplicate",
    InvoicePaid => "invoice.paid",
    InvoicePaymentFailed => "invoice.payment_failed",
    InvoiceActionRequired => "invoice.action_required",
    PaymentRefunded => "payment.refunded",
    PaymentDisputed => "payment.disputed",
    DisputeClosed => "dispute.closed",
    CreditsGranted => "credits.granted",
    CreditsDebt => "credits.debt",
    EndpointTest => "webhook_endpoint.test",
}

impl Engine {
    /// Tells of a fact inside the transaction that makes it true; one that was told before is not
    /// told again. `fact` names the business fact within its kind: an object and, where the same
    /// can happen to it twice, what tells the two apart. It never holds a provider's event id.
    pub(crate) async fn tell(
        &self,
        tx: &mut Tx,
        kind: Kind,
        fact: &str,
        customer: &CustomerId,
        object: &str,
        data: Value,
    ) -> Result<(), Failure> {
        let wall = self.clock().wall();
        let new = OutboxEvent {
            id: OutboxEventId::new(wall, random()),
            customer_id: Some(customer.clone()),
            kind: kind.as_str().to_owned(),
            fact: format!("{}:{fact}", kind.as_str()),
            object_id: Some(object.to_owned()),
            data: data.to_string(),
            created_at: self.clock().now(),
            recorded_at: wall,
        };
        if tx.outbox_insert(&new).await? {
            tracing::debug!(event.id = %new.id, event.kind = %new.kind, "there is news to tell");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_unique_words_with_a_noun_and_a_verb() {
        let mut words: Vec<_> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
        assert!(words.iter().all(|word| word.split('.').count() == 2), "{words:?}");
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), Kind::ALL.len());
    }
}
