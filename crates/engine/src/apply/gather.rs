//! What an event does not carry is fetched, outside any transaction.

use super::{Gathered, Told, Trust};
use crate::failures::Failure;
use crate::{Engine, PROVIDER};
use domain::subscriptions::{Known, News, news};
use providers::errors::ProviderError;
use providers::facts::{self, Event, Fact};

impl Engine {
    /// Fetches what the event does not carry. Runs outside any transaction.
    pub(crate) async fn gather(&self, event: Event) -> Result<Gathered, Failure> {
        let mut gathered = Gathered {
            session: None,
            subscription: None,
            invoice: None,
            charge: None,
            charge_invoice: None,
            event,
        };
        match gathered.event.fact.clone() {
            Fact::CheckoutSession(session) => {
                if let Some(id) = &session.subscription {
                    gathered.subscription = self.fetch_subscription(id, None).await?;
                }
                let told = gathered.subscription.as_ref().map(|told| &told.subscription);
                let latest = told.and_then(|subscription| subscription.latest_invoice.clone());
                if let Some(id) = session.invoice.clone().or(latest) {
                    gathered.invoice = self.fetch_invoice(&id).await?;
                }
                gathered.session = Some(*session);
            }
            Fact::Invoice(invoice) if !invoice.lines_complete => {
                let fetched = self.fetch_invoice(&invoice.id).await?;
                gathered.invoice = Some(fetched.unwrap_or(*invoice));
            }
            Fact::Invoice(invoice) => gathered.invoice = Some(*invoice),
            Fact::Subscription(carried) => {
                gathered.subscription = self.gather_subscription(&gathered.event, *carried).await?;
            }
            Fact::Charge(charge) => self.gather_charge(&mut gathered, *charge).await?,
            Fact::PaymentIntent(intent) => self.gather_intent(&mut gathered, &intent).await?,
            Fact::Refund(refund) => self.gather_refund(&mut gathered, &refund).await?,
            Fact::Dispute(dispute) => self.gather_dispute(&mut gathered, &dispute).await?,
            Fact::CreditNote(note) => self.gather_credit_note(&mut gathered, &note).await?,
            Fact::InvoicePayment(payment) => {
                if let Some(id) = &payment.invoice {
                    gathered.invoice = self.fetch_invoice(id).await?;
                }
            }
            Fact::Schedule(schedule) => {
                if let Some(id) = &schedule.subscription {
                    gathered.subscription = self.fetch_subscription(id, None).await?;
                }
            }
            Fact::CustomerDeleted { .. } | Fact::EventsMissing => {}
            Fact::Thin { object_id, object_type } => {
                self.gather_thin(&mut gathered, &object_id, &object_type).await?;
            }
            Fact::Unhandled => {}
        }
        Ok(gathered)
    }

    async fn gather_subscription(
        &self,
        event: &Event,
        carried: facts::Subscription,
    ) -> Result<Option<Told>, Failure> {
        let mut tx = self.store().read("apply.known").await?;
        let held = tx.subscriptions_find(PROVIDER, &carried.id).await?;
        drop(tx);
        let known = held.map(|held| Known { status: held.status, as_of: held.as_of });
        let doubt = news(known.as_ref(), event.created_at) == News::Doubt
            || carried.status.is_none()
            || !carried.items_complete;
        if doubt {
            let id = carried.id.clone();
            return self.fetch_subscription(&id, Some(carried)).await;
        }
        Ok(Some(Told { subscription: carried, trust: Trust::Carried }))
    }

    async fn gather_thin(
        &self,
        gathered: &mut Gathered,
        object_id: &str,
        object_type: &str,
    ) -> Result<(), Failure> {
        match object_type.rsplit('.').next().unwrap_or_default() {
            "subscription" => {
                gathered.subscription = self.fetch_subscription(object_id, None).await?;
            }
            "invoice" => gathered.invoice = self.fetch_invoice(object_id).await?,
            "session" => {
                let fetched = self.provider()?.checkout_session(object_id).await;
                gathered.session = known(fetched)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// The provider's word, or what was carried where it no longer has one.
    async fn fetch_subscription(
        &self,
        id: &str,
        carried: Option<facts::Subscription>,
    ) -> Result<Option<Told>, Failure> {
        let mut tx = self.store().read("apply.revision").await?;
        let revision = tx.subscriptions_find(PROVIDER, id).await?.map(|held| held.revision);
        drop(tx);
        let fetched = known(self.provider()?.subscription(id).await)?;
        let told = |subscription, trust| Told { subscription, trust };
        Ok(match fetched {
            Some(subscription) => Some(told(subscription, Trust::Truth { revision })),
            None => carried.map(|subscription| told(subscription, Trust::Orphaned)),
        })
    }

    pub(super) async fn fetch_invoice(&self, id: &str) -> Result<Option<facts::Invoice>, Failure> {
        Ok(known(self.provider()?.invoice(id).await)?)
    }

    pub(super) async fn fetch_invoice_of(&self, intent: &str) -> Result<Option<String>, Failure> {
        let answer = self.provider()?.invoice_of_payment_intent(intent).await;
        Ok(known(answer)?.flatten())
    }
}

/// "Not found" is an answer; everything else that is no answer stops us.
pub(super) fn known<T>(answer: Result<T, ProviderError>) -> Result<Option<T>, ProviderError> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(ProviderError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
