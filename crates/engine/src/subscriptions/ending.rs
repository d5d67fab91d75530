//! Ending a subscription: with its period, at once, or not after all.

use super::{changeable, ends_with_period, not_found};
use crate::checkout_sessions::Pace;
use crate::failures::Failure;
use crate::provider_calls::{Standing, Wish};
use crate::{Engine, SecondSubscription, Subject};
use store::Tx;
use store::subscriptions::Subscription;

/// What a customer wants to become of a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    AtPeriodEnd,
    Now,
    /// Ends are free; who takes one back is counted.
    Never(Pace),
}

impl Ending {
    fn wish(self, row: &Subscription) -> Wish {
        let subscription = row.provider_subscription_id.clone();
        match self {
            Ending::AtPeriodEnd => Wish::SubscriptionEnd { subscription },
            Ending::Now => Wish::SubscriptionCancel { subscription },
            Ending::Never(_) => Wish::SubscriptionResume { subscription },
        }
    }

    fn is_so(self, row: &Subscription) -> bool {
        match self {
            Ending::AtPeriodEnd => ends_with_period(row),
            Ending::Now => false,
            Ending::Never(_) => !row.cancel_at_period_end && row.cancel_at.is_none(),
        }
    }
}

impl Engine {
    /// Ends a subscription with its period; access stays until then, and what is still to be paid
    /// stays to be paid.
    pub async fn subscriptions_cancel(
        &self,
        subject: &Subject,
        id: Option<&str>,
    ) -> Result<Subscription, Failure> {
        self.subscription_ending(subject, id, Ending::AtPeriodEnd).await
    }

    /// Ends a subscription now, and access with it; its open invoices are void.
    pub async fn subscriptions_cancel_now(
        &self,
        subject: &Subject,
        id: Option<&str>,
    ) -> Result<Subscription, Failure> {
        self.subscription_ending(subject, id, Ending::Now).await
    }

    /// Takes a cancellation back while its period lasts.
    pub async fn subscriptions_resume(
        &self,
        subject: &Subject,
        id: Option<&str>,
        pace: Pace,
    ) -> Result<Subscription, Failure> {
        self.subscription_ending(subject, id, Ending::Never(pace)).await
    }

    async fn subscription_ending(
        &self,
        subject: &Subject,
        id: Option<&str>,
        ending: Ending,
    ) -> Result<Subscription, Failure> {
        self.provider()?;
        if let Ending::Never(Pace::Limited) = ending {
            let mut tx = self.store().read("subscriptions.pace").await?;
            let customer = self.customer(&mut tx, subject).await?.ok_or_else(not_found)?;
            let held = changeable(&mut tx, &customer, id).await?;
            drop(tx);
            if !ending.is_so(&held) {
                self.check_change_pace(&customer, Pace::Limited).await?;
            }
        }
        let mut tx = self.store().begin("subscriptions.ending").await?;
        let customer = self.customer(&mut tx, subject).await?.ok_or_else(not_found)?;
        tx.customers_lock(&customer.id).await?;
        let held = changeable(&mut tx, &customer, id).await?;
        let wish = ending.wish(&held);
        let object = held.id.as_str();
        let standing = self.call_standing(&mut tx, &wish, object).await?;
        if matches!(standing, Standing::Free) && ending.is_so(&held) {
            return Ok(held);
        }
        let call = match standing {
            Standing::UnderWay(open) => *open,
            // Beside what is unsettled it is written even if it is so: that may change it.
            Standing::Free | Standing::Passing => {
                self.call_write(&mut tx, &wish, &customer.id, object).await?
            }
        };
        tx.commit().await?;
        self.call_finish(&call.id).await?;
        let mut tx = self.store().read("subscriptions.ended").await?;
        tx.subscriptions_get(&held.id).await?.ok_or_else(not_found)
    }

    /// A customer has come to a second live subscription, and this is the newer one. What follows
    /// is the merchant's choice; it is written here and done by the sweeper.
    pub(crate) async fn surplus_found(
        &self,
        tx: &mut Tx,
        row: &Subscription,
    ) -> Result<(), Failure> {
        match self.settings().second_subscription {
            SecondSubscription::Flag => Ok(()),
            SecondSubscription::CancelNewest if row.status.is_terminal() => Ok(()),
            SecondSubscription::CancelNewest => {
                let subscription = row.provider_subscription_id.clone();
                let wish = Wish::SubscriptionCancelSurplus { subscription };
                let (customer, object) = (&row.customer_id, row.id.as_str());
                self.call_demand(tx, &wish, customer, object, "surplus").await
            }
        }
    }
}
