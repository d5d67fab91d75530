//! What an event does not carry is fetched, outside any transaction.

use super::{Gathered, Stop, Told, Trust};
use crate::failures::Failure;
use crate::{Engine, PROVIDER};
use domain::subscriptions::{News, Status, news};
use providers::errors::ProviderError;
use providers::facts::{self, Event, Fact, InvoiceStatus};
use std::collections::BTreeMap;
use store::subscriptions::Subscription;

impl Engine {
    /// Fetches what the event does not carry. Runs outside any transaction.
    pub(crate) async fn gather(&self, event: Event) -> Result<Gathered, Stop> {
        let fact = event.fact.clone();
        let mut gathered = Gathered::of(event);
        self.gather_fact(&mut gathered, fact).await?;
        self.gather_around(&mut gathered).await?;
        self.gather_money_around(&mut gathered).await?;
        self.gather_before(&mut gathered).await?;
        Ok(gathered)
    }

    /// The object that the event is about.
    async fn gather_fact(&self, gathered: &mut Gathered, fact: Fact) -> Result<(), Stop> {
        match fact {
            Fact::CheckoutSession(session) => gathered.session = Some(*session),
            Fact::Invoice(invoice) => {
                self.check_invoice(&invoice).await?;
                let fetched = match invoice.lines_complete {
                    true => None,
                    false => self.fetch_invoice(&invoice.id).await?,
                };
                let carried = Told { object: *invoice, trust: Trust::Carried };
                gathered.invoices.push(fetched.unwrap_or(carried));
            }
            Fact::Subscription(carried) => {
                self.check_subscription(&carried).await?;
                let told = self.gather_subscription(&gathered.event, *carried).await?;
                gathered.subscriptions.extend(told);
            }
            Fact::Schedule(schedule) => {
                let prices = schedule.phases.iter().flat_map(|phase| &phase.prices);
                let mut prices = prices.map(String::as_str);
                let customer = schedule.customer.as_deref();
                self.check_ours(customer, &BTreeMap::new(), &mut prices).await?;
                if let Some(id) = &schedule.subscription {
                    gathered.subscriptions.extend(self.fetch_subscription(id, None).await?);
                }
            }
            Fact::InvoicePayment(payment) => {
                if let Some(id) = &payment.invoice {
                    gathered.invoices.extend(self.fetch_invoice(id).await?);
                }
            }
            Fact::PaymentIntent(intent) => self.gather_intent(gathered, &intent).await?,
            Fact::Charge(charge) => self.gather_charge(gathered, *charge).await?,
            Fact::Refund(refund) => self.gather_refund(gathered, &refund).await?,
            Fact::Dispute(dispute) => self.gather_dispute(gathered, &dispute).await?,
            Fact::CreditNote(note) => self.gather_credit_note(gathered, &note).await?,
            Fact::CustomerDeleted { customer } => {
                self.gather_customer(gathered, &customer).await?;
            }
            Fact::Thin { object_id, object_type } => {
                self.gather_thin(gathered, &object_id, &object_type).await?;
            }
            Fact::EventsMissing | Fact::Unhandled => {}
        }
        Ok(())
    }

    /// A notice without the object: the object is fetched and taken as the truth.
    async fn gather_thin(
        &self,
        gathered: &mut Gathered,
        id: &str,
        object_type: &str,
    ) -> Result<(), Stop> {
        let provider = self.provider()?;
        let fact = match object_type.rsplit('.').next().unwrap_or_default() {
            "subscription" => {
                let fetched = self.fetch_subscription(id, None).await?;
                if let Some(told) = &fetched {
                    self.check_subscription(&told.object).await?;
                }
                gathered.subscriptions.extend(fetched);
                None
            }
            "session" => known(provider.checkout_session(id).await)?
                .map(|session| Fact::CheckoutSession(Box::new(session))),
            "invoice" => {
                let fetched = self.fetch_invoice(id).await?;
                if let Some(told) = &fetched {
                    self.check_invoice(&told.object).await?;
                }
                gathered.invoices.extend(fetched);
                None
            }
            "charge" => known(provider.charge(id).await)?.map(|it| Fact::Charge(Box::new(it))),
            "payment_intent" => known(provider.payment_intent(id).await)?
                .map(|intent| Fact::PaymentIntent(Box::new(intent))),
            "refund" => known(provider.refund(id).await)?.map(|it| Fact::Refund(Box::new(it))),
            "dispute" => known(provider.dispute(id).await)?.map(|it| Fact::Dispute(Box::new(it))),
            "credit_note" => {
                known(provider.credit_note(id).await)?.map(|note| Fact::CreditNote(Box::new(note)))
            }
            "invoice_payment" => known(provider.invoice_payment(id).await)?
                .map(|payment| Fact::InvoicePayment(Box::new(payment))),
            "subscription_schedule" => known(provider.schedule(id).await)?
                .map(|schedule| Fact::Schedule(Box::new(schedule))),
            "customer" if gathered.event.kind.ends_with("customer.deleted") => {
                Some(Fact::CustomerDeleted { customer: id.to_owned() })
            }
            _ => None,
        };
        match fact {
            Some(fact) => Box::pin(self.gather_fact(gathered, fact)).await,
            None => Ok(()),
        }
    }

    /// What belongs to the object and may not be known yet: a page's subscription and invoice, an
    /// invoice's subscription, a subscription's newest invoice and its schedule.
    async fn gather_around(&self, gathered: &mut Gathered) -> Result<(), Stop> {
        if let Some(session) = &gathered.session {
            if let (Some(id), true) = (&session.subscription, gathered.subscriptions.is_empty()) {
                gathered.subscriptions.extend(self.fetch_subscription(id, None).await?);
            }
            if let (Some(id), true) = (&session.invoice, gathered.invoices.is_empty()) {
                gathered.invoices.extend(self.fetch_invoice(id).await?);
            }
        }
        if let (Some(told), true) = (gathered.invoices.first(), gathered.subscriptions.is_empty())
            && let Some(id) = &told.object.subscription
            && self.may_lag(id, &told.object).await?
        {
            gathered.subscriptions.extend(self.fetch_subscription(id, None).await?);
        }
        if let [told] = &gathered.subscriptions[..] {
            let subscription = &told.object;
            if let Some(id) = &subscription.latest_invoice
                && gathered.invoices.iter().all(|told| told.object.id != *id)
                && self.wants_invoice(id, subscription).await?
            {
                gathered.invoices.extend(self.fetch_invoice(id).await?);
            }
            if let Some(id) = &subscription.schedule {
                gathered.schedule = known(self.provider()?.schedule(id).await)?;
            }
        }
        Ok(())
    }

    /// Whether an invoice tells more of its subscription than we know.
    async fn may_lag(&self, id: &str, invoice: &facts::Invoice) -> Result<bool, Failure> {
        let mut tx = self.store().read("apply.known").await?;
        let Some(held) = tx.subscriptions_find(PROVIDER, id).await? else {
            return Ok(true);
        };
        if held.status.is_terminal() {
            return Ok(false);
        }
        let runs = matches!(held.status, Status::Active | Status::Trialing);
        let billed = invoice.lines.iter().filter(|line| !line.proration);
        let ends = billed.filter_map(|line| line.period_end).max();
        Ok(match invoice.status {
            InvoiceStatus::Paid => !runs || held.period_end < ends,
            _ => runs && 0 < invoice.attempt_count,
        })
    }

    /// Whether a subscription's newest invoice is news: we do not know it, or only as unpaid.
    async fn wants_invoice(
        &self,
        id: &str,
        subscription: &facts::Subscription,
    ) -> Result<bool, Failure> {
        let mut tx = self.store().read("apply.known").await?;
        let held = tx.invoices_find(PROVIDER, id).await?;
        let runs = matches!(subscription.status, Some(Status::Active | Status::Trialing));
        Ok(held.is_none_or(|held| runs && held.status != InvoiceStatus::Paid.as_str()))
    }

    /// What a subscription event carries, where it is provably newer than what we hold and whole;
    /// else the provider's word.
    async fn gather_subscription(
        &self,
        event: &Event,
        carried: facts::Subscription,
    ) -> Result<Option<Told<facts::Subscription>>, Failure> {
        let mut tx = self.store().read("apply.known").await?;
        let held = tx.subscriptions_find(PROVIDER, &carried.id).await?;
        drop(tx);
        let doubt = news(held.as_ref().map(Subscription::known).as_ref(), event.created_at)
            == News::Doubt
            || carried.status.is_none()
            || !carried.items_complete
            || carried.period_end.is_none() && !carried.items.iter().any(has_period);
        if doubt {
            let id = carried.id.clone();
            return self.fetch_subscription(&id, Some(carried)).await;
        }
        Ok(Some(Told { object: carried, trust: Trust::Carried }))
    }

    /// The provider's word, or what was carried where it no longer has one.
    pub(super) async fn fetch_subscription(
        &self,
        id: &str,
        carried: Option<facts::Subscription>,
    ) -> Result<Option<Told<facts::Subscription>>, Failure> {
        let asked_at = self.clock().now();
        let mut tx = self.store().read("apply.revision").await?;
        let revision = tx.subscriptions_find(PROVIDER, id).await?.map(|held| held.revision);
        drop(tx);
        let fetched = known(self.provider()?.subscription(id).await)?;
        let told = |object, trust| Told { object, trust };
        Ok(match fetched {
            Some(object) => Some(told(object, Trust::Truth { revision, asked_at })),
            None => carried.map(|object| told(object, Trust::Orphaned)),
        })
    }

    pub(super) async fn fetch_invoice(
        &self,
        id: &str,
    ) -> Result<Option<Told<facts::Invoice>>, Failure> {
        let trust = Trust::Truth { revision: None, asked_at: self.clock().now() };
        let fetched = known(self.provider()?.invoice(id).await)?;
        Ok(fetched.map(|object| Told { object, trust }))
    }

    pub(super) async fn fetch_invoice_of(&self, intent: &str) -> Result<Option<String>, Failure> {
        let answer = self.provider()?.invoice_of_payment_intent(intent).await;
        Ok(known(answer)?.flatten())
    }
}

fn has_period(item: &facts::SubscriptionItem) -> bool {
    item.period_end.is_some()
}

/// "Not found" is an answer; everything else that is no answer stops us.
pub(super) fn known<T>(answer: Result<T, ProviderError>) -> Result<Option<T>, ProviderError> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(ProviderError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
