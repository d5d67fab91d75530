//! Notifications: what happened here, told to the merchant's own servers and mail sender.
//!
//! A notification tells of a business fact, not of a provider's event: its row is unique on the
//! fact and is written in the transaction that makes the fact true (INV-ONCE). Whoever applies news
//! compares the rows before and after, and tells only what has changed.

use crate::clock::random;
use crate::failures::Failure;
use crate::lists::{Listed, Page};
use crate::{Engine, Subject};
use domain::ids::{CustomerId, OutboxEventId};
use domain::time::Timestamp;
use serde_json::{Value, json};
use store::Tx;
use store::deliveries::Delivery;
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

            /// The kind of that word.
            pub fn parse(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|kind| kind.as_str() == word)
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

/// What is to be told.
pub(crate) struct News<'a> {
    kind: Kind,
    fact: &'a str,
    customer: &'a CustomerId,
    object: &'a str,
    at: Option<Timestamp>,
    data: Value,
}

impl<'a> News<'a> {
    /// What happened to an object, once in its life.
    pub fn of(kind: Kind, customer: &'a CustomerId, object: &'a str, data: Value) -> Self {
        Self { kind, fact: object, customer, object, at: None, data }
    }

    /// What tells it from the same happening to the same object another time. Never an event's id.
    pub fn fact(self, fact: &'a str) -> Self {
        Self { fact, ..self }
    }

    /// When it happened, where that may be long ago; now unless said otherwise.
    pub fn at(self, at: Option<Timestamp>) -> Self {
        Self { at, ..self }
    }
}

impl Engine {
    /// Tells of a fact inside the transaction that makes it true; one that was told before is not
    /// told again.
    pub(crate) async fn tell(&self, tx: &mut Tx, news: News<'_>) -> Result<(), Failure> {
        let new = self.outbox_event(&news);
        if tx.outbox_insert(&new).await? {
            tracing::debug!(event.id = %new.id, event.kind = new.kind, "there is news to tell");
        }
        Ok(())
    }

    /// The row that tells of a fact.
    pub(crate) fn outbox_event(&self, news: &News<'_>) -> OutboxEvent {
        let (wall, kind) = (self.clock().wall(), news.kind.as_str());
        OutboxEvent {
            id: OutboxEventId::new(wall, random()),
            customer_id: Some(news.customer.clone()),
            kind: kind.to_owned(),
            fact: format!("{kind}:{}", news.fact),
            object_id: Some(news.object.to_owned()),
            data: news.data.to_string(),
            created_at: news.at.unwrap_or_else(|| self.clock().now()),
            recorded_at: wall,
        }
    }

    /// What was told, newest first; of one kind or about one customer where that is named.
    pub async fn notifications_list(
        &self,
        page: Page,
        kind: Option<&str>,
        customer: Option<&str>,
    ) -> Result<Listed<Value>, Failure> {
        let mut tx = self.store().read("notifications.list").await?;
        let (cursor, fetch) = (page.cursor(), page.fetch());
        let rows = match (kind, customer) {
            (Some(_), Some(_)) => {
                let detail = "kind and customer cannot be asked for together";
                return Err(Failure::invalid("kind", detail));
            }
            (Some(kind), None) if Kind::parse(kind).is_none() => {
                return Err(Failure::invalid("kind", "kind must be a kind of event"));
            }
            (Some(kind), None) => tx.outbox_list_of_kind(kind, cursor, fetch).await?,
            (None, Some(name)) => {
                let subject = Subject::Named(name.to_owned());
                match self.customer(&mut tx, &subject).await? {
                    Some(customer) => {
                        tx.outbox_list_of_customer(&customer.id, cursor, fetch).await?
                    }
                    None => Vec::new(),
                }
            }
            (None, None) => tx.outbox_list(cursor, fetch).await?,
        };
        let listed = page.cut(rows, |row| row.id.to_string());
        let mut data = Vec::with_capacity(listed.data.len());
        for event in &listed.data {
            data.push(self.notification(&mut tx, event).await?);
        }
        Ok(Listed { data, next_cursor: listed.next_cursor })
    }

    /// One of them, and how far it has come.
    pub async fn notifications_get(&self, id: &str) -> Result<(Value, Vec<Delivery>), Failure> {
        let missing = || Failure::missing("notification");
        let id = OutboxEventId::parse(id).map_err(|_| missing())?;
        let mut tx = self.store().read("notifications.get").await?;
        let event = tx.outbox_get(&id).await?.ok_or_else(missing)?;
        let deliveries = tx.deliveries_of_event(&event.id).await?;
        Ok((self.notification(&mut tx, &event).await?, deliveries))
    }

    async fn notification(&self, tx: &mut Tx, event: &OutboxEvent) -> Result<Value, Failure> {
        let customer = match &event.customer_id {
            Some(id) => tx.customers_get(id).await?,
            None => None,
        };
        let external_id = customer.and_then(|customer| customer.external_id);
        Ok(message(event, external_id.as_deref(), self.settings().livemode))
    }
}

/// A notification as receivers get it: the same bytes at every attempt, as long as the customer
/// keeps its name in the application.
pub(crate) fn message(event: &OutboxEvent, external_id: Option<&str>, livemode: bool) -> Value {
    let data: Value = serde_json::from_str(&event.data).unwrap_or_default();
    json!({
        "id": event.id.as_str(),
        "type": event.kind,
        "created_at": event.created_at.to_string(),
        "livemode": livemode,
        "customer": event.customer_id.as_ref().map(|id| id.as_str()),
        "external_id": external_id,
        "object": event.object_id,
        "data": data,
    })
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
