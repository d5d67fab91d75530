//! Money that moved: whatever tells of it leads to the same purchase, its charges and what went
//! back of them, and from there to the credits and the access that are left.
//!
//! Each of the events of one purchase can be the only one that arrives. So each of them fetches
//! the invoice or the payment page, applies that first, and then what its money says.

use super::charges::has_moved;
use super::gather::known;
use super::owners::session_of;
use super::payments::Seen;
use super::{Gathered, Stop, Told, Trust};
use crate::checkout_sessions::SESSION_KEY;
use crate::failures::Failure;
use crate::{Engine, PROVIDER};
use domain::ids::CustomerId;
use domain::money::{Currency, Money};
use domain::time::Timestamp;
use providers::facts::{self, Fact, InvoiceStatus, PaymentIntentStatus, SessionPayment};
use store::Tx;
use store::payments::{Payment, PaymentStatus};

/// How old a page's word is at most if it is taken without asking for the charge.
pub(crate) const JUST_PAID_SECONDS: i64 = 300;

/// What an event about money has led to.
#[derive(Default)]
pub(super) struct MovementTold {
    pub intent: Option<String>,
    pub invoice: Option<String>,
    pub charge: Option<(facts::Charge, Trust)>,
    pub disputes: Vec<(facts::Dispute, Trust)>,
    /// Carried by an event about a charge that the provider no longer knows.
    pub refund: Option<facts::Refund>,
    pub note: Option<facts::CreditNote>,
    /// The attempt to collect was given up.
    pub canceled: bool,
    /// Everything that the event can say is in our rows.
    pub is_known: bool,
}

impl MovementTold {
    /// Whether it tells of money that was given back or is in dispute.
    pub fn has_gone_back(&self) -> bool {
        let returned = self.charge.as_ref().is_some_and(|(charge, _)| charge.has_gone_back());
        returned || self.refund.is_some() || !self.disputes.is_empty()
    }

    pub fn is_empty(&self) -> bool {
        self.charge.is_none()
            && self.disputes.is_empty()
            && self.refund.is_none()
            && self.note.is_none()
            && !self.canceled
    }
}

impl Engine {
    /// A charge leads to its invoice, else to the payment page it came of.
    pub(super) async fn gather_charge(
        &self,
        gathered: &mut Gathered,
        charge: facts::Charge,
    ) -> Result<(), Failure> {
        if !has_moved(&charge) {
            return Ok(());
        }
        if !charge.has_gone_back()
            && self.has_newer_charge(&charge.id, gathered.event.created_at).await?
        {
            gathered.movement.is_known = true;
            return Ok(());
        }
        let id = charge.id.clone();
        self.gather_movement(gathered, &id, Some(charge)).await
    }

    async fn has_newer_charge(&self, id: &str, at: Timestamp) -> Result<bool, Failure> {
        let mut tx = self.store().read("apply.charge_known").await?;
        let held = tx.charges_find(PROVIDER, id).await?;
        Ok(held.is_some_and(|held| at <= held.as_of))
    }

    /// Only a success is money, and only a cancellation is the end: a failed attempt is neither.
    pub(super) async fn gather_intent(
        &self,
        gathered: &mut Gathered,
        intent: &facts::PaymentIntent,
    ) -> Result<(), Failure> {
        gathered.movement.intent = Some(intent.id.clone());
        gathered.movement.invoice = intent.invoice.clone();
        match (&intent.status, &intent.latest_charge) {
            (PaymentIntentStatus::Canceled, _) => {
                gathered.movement.canceled = true;
                Ok(())
            }
            (PaymentIntentStatus::Succeeded, Some(charge)) => {
                if self.has_newer_charge(charge, gathered.event.created_at).await? {
                    gathered.movement.is_known = true;
                    return Ok(());
                }
                self.gather_movement(gathered, charge, None).await
            }
            (PaymentIntentStatus::Succeeded, None) => self.gather_purchase(gathered).await,
            _ => Ok(()),
        }
    }

    /// The charge as it is now, with what it was paid for.
    async fn gather_movement(
        &self,
        gathered: &mut Gathered,
        charge: &str,
        carried: Option<facts::Charge>,
    ) -> Result<(), Failure> {
        let fetched = self.fetch_charge(charge, carried).await?;
        let movement = &mut gathered.movement;
        movement.disputes = fetched.disputes;
        movement.charge = fetched.charge.filter(|(charge, _)| has_moved(charge));
        if let Some((charge, _)) = &movement.charge {
            movement.intent = charge.payment_intent.clone().or(movement.intent.take());
            movement.invoice = charge.invoice.clone().or(movement.invoice.take());
        }
        self.gather_purchase(gathered).await
    }

    /// What was bought: the invoice that the money settled, else the page where it was paid. What
    /// we have applied already needs no look.
    async fn gather_purchase(&self, gathered: &mut Gathered) -> Result<(), Failure> {
        let intent = gathered.movement.intent.clone();
        if let Some(intent) = &intent {
            let mut tx = self.store().read("apply.purchase").await?;
            let held = tx.payments_by_intent(PROVIDER, intent).await?;
            drop(tx);
            if let Some(held) = held.filter(is_linked) {
                gathered.movement.invoice = held.provider_invoice_id;
                return Ok(());
            }
        }
        if let (None, Some(intent)) = (&gathered.movement.invoice, &intent) {
            gathered.movement.invoice = self.fetch_invoice_of(intent).await?;
        }
        if let Some(id) = &gathered.movement.invoice {
            gathered.invoices.extend(self.fetch_invoice(id).await?);
        } else if let Some(intent) = &intent {
            let session = self.provider()?.checkout_session_of_payment_intent(intent).await;
            gathered.session = known(session)?.flatten();
        }
        Ok(())
    }

    pub(super) async fn gather_refund(
        &self,
        gathered: &mut Gathered,
        refund: &facts::Refund,
    ) -> Result<(), Failure> {
        gathered.movement.intent = refund.payment_intent.clone();
        let charge = self.charge_of(&refund.charge, &refund.payment_intent).await?;
        if let Some(id) = &charge {
            self.gather_movement(gathered, id, None).await?;
        }
        let Some((told, _)) = &mut gathered.movement.charge else {
            let charge = refund.charge.clone().or(charge);
            gathered.movement.refund = Some(facts::Refund { charge, ..refund.clone() });
            return Ok(());
        };
        // A charge of which nothing is refunded any more no longer leads to its failed refunds.
        if told.refunds.iter().all(|found| found.id != refund.id) {
            let fetched = known(self.provider()?.refund(&refund.id).await)?;
            told.refunds.push(fetched.unwrap_or_else(|| refund.clone()));
        }
        Ok(())
    }

    pub(super) async fn gather_dispute(
        &self,
        gathered: &mut Gathered,
        dispute: &facts::Dispute,
    ) -> Result<(), Failure> {
        gathered.movement.intent = dispute.payment_intent.clone();
        if let Some(id) = self.charge_of(&dispute.charge, &dispute.payment_intent).await? {
            self.gather_movement(gathered, &id, None).await?;
        }
        let told = &gathered.movement.disputes;
        if told.iter().all(|(told, _)| told.id != dispute.id) {
            let fetched = self.fetch_dispute(dispute).await?;
            gathered.movement.disputes.push(fetched);
        }
        Ok(())
    }

    /// Some shapes name the payment intent alone.
    async fn charge_of(
        &self,
        charge: &Option<String>,
        intent: &Option<String>,
    ) -> Result<Option<String>, Failure> {
        match (charge, intent) {
            (Some(charge), _) => Ok(Some(charge.clone())),
            (None, Some(intent)) => {
                let fetched = known(self.provider()?.payment_intent(intent).await)?;
                Ok(fetched.and_then(|intent| intent.latest_charge))
            }
            (None, None) => Ok(None),
        }
    }

    pub(super) async fn gather_credit_note(
        &self,
        gathered: &mut Gathered,
        note: &facts::CreditNote,
    ) -> Result<(), Failure> {
        let note = self.fetch_credit_note(note).await?;
        if let Some(id) = &note.invoice {
            gathered.invoices.extend(self.fetch_invoice(id).await?);
        }
        gathered.movement.invoice = note.invoice.clone();
        gathered.movement.note = Some(note);
        Ok(())
    }

    /// Whether a page tells of its own money the moment that it moved. Nothing of that is back yet,
    /// or whoever tells so is heard again after this page: see `SECOND_LOOK_SECONDS`.
    fn is_just_paid(&self, gathered: &Gathered) -> bool {
        let Gathered { event, .. } = gathered;
        let own = matches!(event.fact, Fact::CheckoutSession(_)) && !event.kind.is_empty();
        own && gathered.invoices.is_empty() && self.is_just_now(event.created_at)
    }

    /// Whether an event is so young that its word is taken. Where the two clocks differ, business
    /// time may stand still.
    pub(super) fn is_just_now(&self, at: Timestamp) -> bool {
        let clocks = [self.clock().now(), self.clock().wall()];
        let age = |now: Timestamp| now.seconds() - at.seconds();
        clocks.into_iter().all(|now| age(now).abs() <= JUST_PAID_SECONDS)
    }

    /// A paid invoice or page leads to the charge that moved its money, which may have been
    /// refunded since.
    pub(super) async fn gather_money_around(&self, gathered: &mut Gathered) -> Result<(), Failure> {
        let known = gathered.movement.charge.is_some() || gathered.movement.is_known;
        if known || self.is_just_paid(gathered) {
            return Ok(());
        }
        let Some((invoice, intent, charge)) = self.paid_by(gathered).await? else {
            return Ok(());
        };
        if let Some(intent) = &intent {
            let mut tx = self.store().read("apply.charges_known").await?;
            if let Some(held) = tx.payments_by_intent(PROVIDER, intent).await?
                && !tx.charges_of_payment(&held.id).await?.is_empty()
            {
                return Ok(());
            }
        }
        let Some(charge) = self.charge_of(&charge, &intent).await? else {
            return Ok(());
        };
        let fetched = self.fetch_charge(&charge, None).await?;
        let movement = &mut gathered.movement;
        movement.charge = fetched.charge.filter(|(charge, _)| has_moved(charge));
        for (dispute, trust) in fetched.disputes {
            if movement.disputes.iter().all(|(told, _)| told.id != dispute.id) {
                movement.disputes.push((dispute, trust));
            }
        }
        movement.intent = movement.intent.take().or(intent);
        movement.invoice = movement.invoice.take().or(invoice);
        Ok(())
    }

    /// The invoice, payment intent and charge behind what was gathered, where it was paid.
    async fn paid_by(&self, gathered: &mut Gathered) -> Result<Option<PaidBy>, Failure> {
        let paid = |told: &&mut Told<facts::Invoice>| {
            told.object.status == InvoiceStatus::Paid && 0 < told.object.amount_paid
        };
        if let Some(told) = gathered.invoices.iter_mut().find(paid) {
            let id = told.object.id.clone();
            let mut tx = self.store().read("apply.invoice_known").await?;
            let payment = tx.payments_find(PROVIDER, &id).await?;
            drop(tx);
            let held = payment.and_then(|payment| payment.provider_payment_intent_id);
            let links = |it: &facts::Invoice| (it.payment_intent.clone(), it.charge.clone());
            let (mut intent, mut charge) = links(&told.object);
            intent = intent.or(held);
            if intent.is_none() && charge.is_none() && told.trust == Trust::Carried {
                // Newer shapes link their payments on request only.
                if let Some(fetched) = self.fetch_invoice(&id).await? {
                    (intent, charge) = links(&fetched.object);
                    *told = fetched;
                }
            }
            return Ok(Some((Some(id), intent, charge)));
        }
        let paid = gathered.session.as_ref().filter(|it| it.payment == SessionPayment::Paid);
        Ok(paid.map(|session| (session.invoice.clone(), session.payment_intent.clone(), None)))
    }

    /// Events about money that is none of ours are nobody's loss: the rest of the merchant's
    /// business with the provider does not wait here for an operator.
    pub(super) async fn money_is_ours(
        &self,
        tx: &mut Tx,
        gathered: &Gathered,
    ) -> Result<bool, Stop> {
        if let Some(Told { object: invoice, .. }) = gathered.invoices.first() {
            if let Some(id) = &invoice.customer
                && tx.customers_owner(PROVIDER, id).await?.is_some()
            {
                return Ok(true);
            }
            if let Some(id) = &invoice.subscription
                && tx.checkout_sessions_by_subscription(id).await?.is_some()
            {
                return Ok(true);
            }
            return Ok(session_of(tx, &invoice.subscription_metadata).await?.is_some());
        }
        if let Some(told) = &gathered.session {
            return Ok(super::owners::our_session(tx, &told.id, told).await?.is_some());
        }
        Ok(true)
    }

    /// Applies what was told of money, after what it bought; `false` where nothing was.
    pub(super) async fn movement_told(
        &self,
        tx: &mut Tx,
        gathered: &Gathered,
        at: Timestamp,
    ) -> Result<bool, Stop> {
        let movement = &gathered.movement;
        if movement.is_empty() {
            return Ok(movement.is_known);
        }
        let Some(seen) = self.payment_of(tx, gathered).await? else {
            self.check_note_of_balance(tx, movement.note.as_ref()).await?;
            return Ok(false);
        };
        tx.customers_lock(&seen.customer_id).await?;
        // Somebody may have written it between our look and our lock.
        let mut payment = tx.payments_get(&seen.id).await?.unwrap_or(seen);
        let mut status = PaymentStatus::Pending;
        if let Some((charge, trust)) = &movement.charge {
            self.charge_apply(tx, &payment, charge, *trust, trust.as_of(at)).await?;
            if *trust == Trust::Orphaned {
                status = PaymentStatus::Paid;
            }
            let intent = charge.payment_intent.clone();
            payment.provider_payment_intent_id = payment.provider_payment_intent_id.or(intent);
        }
        if let Some(refund) = &movement.refund {
            self.refund_of_lost_charge(tx, &payment, refund, at).await?;
        }
        for (dispute, trust) in &movement.disputes {
            self.dispute_apply(tx, &payment, dispute, *trust, trust.as_of(at)).await?;
        }
        if let Some(note) = &movement.note {
            self.credit_note_apply(tx, &payment, note, at).await?;
        }
        if movement.canceled {
            status = PaymentStatus::Failed;
        }
        self.payment_settle(tx, &mut payment, Seen::Before, status, at).await?;
        self.settle_lots(tx, &payment).await?;
        self.access_follows(tx, &payment).await?;
        Ok(true)
    }

    /// The payment that the money belongs to. It is made where money of ours moved before the
    /// purchase could be told: a part of an invoice, or a purchase that the provider has forgotten.
    async fn payment_of(&self, tx: &mut Tx, gathered: &Gathered) -> Result<Option<Payment>, Stop> {
        let movement = &gathered.movement;
        let told = movement.charge.as_ref();
        let by_dispute = movement.disputes.first().and_then(|(told, _)| told.charge.clone());
        let by_refund = movement.refund.as_ref().and_then(|refund| refund.charge.clone());
        let charge = told.map(|(charge, _)| charge.id.clone()).or(by_dispute).or(by_refund);
        if let Some(id) = &charge
            && let Some(held) = tx.charges_find(PROVIDER, id).await?
        {
            return Ok(tx.payments_get(&held.payment_id).await?);
        }
        for fact in [&movement.invoice, &movement.intent, &charge].into_iter().flatten() {
            if let Some(held) = tx.payments_find(PROVIDER, fact).await? {
                return Ok(Some(held));
            }
        }
        if let Some(intent) = &movement.intent
            && let Some(held) = tx.payments_by_intent(PROVIDER, intent).await?
        {
            return Ok(Some(held));
        }
        let Some((charge, trust)) = told else {
            let lost = movement.refund.is_some() || !movement.disputes.is_empty();
            return match lost {
                true => Err(Stop::Parked("the payment it belongs to is not known".to_owned())),
                false => Ok(None),
            };
        };
        let Some(customer) = self.charge_customer(tx, gathered, charge, *trust).await? else {
            return Ok(None);
        };
        let fact = movement.invoice.as_ref().or(movement.intent.as_ref()).unwrap_or(&charge.id);
        let currency = Currency::parse(charge.currency.as_deref().unwrap_or_default())
            .map_err(|error| Stop::Parked(error.to_string()))?;
        let amount = Money::new(charge.amount_captured.max(0), currency);
        let mut new = self.payment(&customer, fact, amount);
        new.provider_invoice_id = movement.invoice.clone();
        new.provider_payment_intent_id = movement.intent.clone();
        tx.payments_insert(&new).await?;
        Ok(Some(new))
    }

    /// Whose money it is. Of a charge that the provider still knows, the purchase must be known.
    async fn charge_customer(
        &self,
        tx: &mut Tx,
        gathered: &Gathered,
        charge: &facts::Charge,
        trust: Trust,
    ) -> Result<Option<CustomerId>, Stop> {
        if let Some(Told { object: invoice, .. }) = gathered.invoices.first() {
            let (subscription, customer) =
                (invoice.subscription.as_deref(), invoice.customer.as_deref());
            let metadata = &invoice.subscription_metadata;
            return Ok(Some(self.owner(tx, subscription, customer, metadata).await?.customer));
        }
        if trust != Trust::Orphaned {
            return Ok(None);
        }
        let is_whole = charge.amount_refunded == 0 && !charge.refunded;
        if is_whole && charge.invoice.is_none() && !charge.metadata.contains_key(SESSION_KEY) {
            // Nothing links it to what it bought, and nothing of it went back.
            return Ok(None);
        }
        if let Some(id) = &charge.customer
            && let Some(customer) = tx.customers_owner(PROVIDER, id).await?
        {
            return Ok(Some(customer.id));
        }
        let session = session_of(tx, &charge.metadata).await?;
        match session.and_then(|session| session.customer_id) {
            Some(customer) => Ok(Some(customer)),
            None => Err(Stop::Parked("the money belongs to nobody we know".to_owned())),
        }
    }
}

/// An invoice, a payment intent, a charge: as far as they are known.
type PaidBy = (Option<String>, Option<String>, Option<String>);

/// Whether the purchase behind a payment was applied.
fn is_linked(payment: &Payment) -> bool {
    let linked = payment.provider_invoice_id.is_some() || payment.provider_session_id.is_some();
    linked && payment.paid_at.is_some()
}

/// Judges a description of a movement of money. What an orphaned event carries is true if it is
/// newer, or as new and further.
pub(super) fn is_news(
    known: Option<(i64, Timestamp)>,
    trust: Trust,
    at: Timestamp,
    is_further: bool,
) -> Result<bool, Stop> {
    if trust.is_truth(known.map(|known| known.0))? {
        return Ok(true);
    }
    let Some((_, as_of)) = known else {
        return Ok(true);
    };
    // Events are dated in whole seconds, answers are not.
    let (as_of, at) = (as_of.seconds(), at.seconds());
    Ok(as_of < at || as_of == at && is_further)
}
