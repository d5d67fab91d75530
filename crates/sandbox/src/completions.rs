//! Completing a checkout session: the hosted page and `/_sandbox/checkout/{id}/complete` both end
//! here. A declined card changes nothing.

use crate::adjustments::Adjustments;
use crate::billing::{self, Collected};
use crate::cards::{self, Decline, Presence, Verdict};
use crate::checkout_sessions::{self, Authenticating, CheckoutSession, LineItem, Mode, Status};
use crate::clock::DAY;
use crate::customers::{self, Customer};
use crate::discounts::Place;
use crate::errors::ApiError;
use crate::instruments::Instrument;
use crate::invoices::{self, Line};
use crate::payment_intents::{self, Attempt, PaymentIntent};
use crate::payment_methods::{self, PaymentMethod};
use crate::setup_intents;
use crate::state::State;
use crate::subscriptions::{Subscription, SubscriptionItem};
use crate::transactions::Tx;
use crate::{ids, prices};

/// What the buyer gave.
pub struct Buyer {
    pub instrument: Option<Instrument>,
    pub email: Option<String>,
    pub name: Option<String>,
}

pub enum Outcome {
    Completed,
    /// The page for 3-D Secure has to be answered first.
    NeedsAuthentication,
}

/// Whether the page asks for a card at all.
pub fn needs_card(session: &CheckoutSession) -> bool {
    0 < session.amount_total()
        || session.mode == Mode::Setup
        || (session.mode == Mode::Subscription && session.collects_card_always)
}

/// Pays and completes, or says that authentication is needed, or fails without a trace.
pub fn complete(
    tx: &mut Tx<'_>,
    id: &str,
    buyer: Buyer,
    presence: Presence,
) -> Result<Outcome, ApiError> {
    let mut session = checkout_sessions::find(tx.state, id)?.clone();
    tx.follow(session.customer.as_deref());
    if session.status != Status::Open {
        return Err(ApiError::invalid("This Checkout Session is no longer open."));
    }
    checkout_sessions::amounts::locate(tx.state, &mut session);
    let instrument = buyer.instrument.clone().filter(|_| needs_card(&session));
    if needs_card(&session) && instrument.is_none() {
        return Err(ApiError::missing_parameter("payment_method"));
    }
    if let Some(instrument) = &instrument {
        check_type(&session, instrument)?;
        let saves_only = session.amount_total() == 0;
        let verdict =
            if saves_only { instrument.save(presence) } else { instrument.charge(presence, false) };
        match verdict {
            Verdict::Approved | Verdict::Pending | Verdict::NeedsVoucher => {}
            Verdict::Declined(decline) => return Err(declined(decline)),
            Verdict::NeedsVerification => {
                let message = "This bank account has to be verified before it can be used.";
                return Err(ApiError::invalid(message).code("bank_account_unverified"));
            }
            Verdict::NeedsAuthentication => {
                session.authenticating = Some(Authenticating {
                    instrument: instrument.clone(),
                    email: buyer.email,
                    name: buyer.name,
                });
                tx.state.checkout_sessions.put(session);
                return Ok(Outcome::NeedsAuthentication);
            }
        }
    }
    let customer = resolve_customer(tx, &mut session, &buyer)?;
    let mut method = instrument.map(|instrument| PaymentMethod::with(instrument, tx.now));
    if let Some(method) = &mut method {
        method.billing.email = session.buyer_email.clone();
        method.billing.name = buyer.name.clone();
        // On the page the buyer agrees to be debited.
        method.authenticated =
            presence == Presence::Authenticated || method.instrument.needs_mandate();
        tx.state.payment_methods.put(method.clone());
    }
    match session.mode {
        Mode::Payment => pay(tx, &mut session, customer.as_deref(), method.as_ref(), presence)?,
        Mode::Setup => set_up(tx, &mut session, customer.as_deref(), method.as_ref(), presence)?,
        Mode::Subscription => {
            let customer = customer.ok_or_else(|| ApiError::missing_parameter("customer"))?;
            subscribe(tx, &mut session, &customer, method.as_ref(), presence)?;
        }
    }
    session.status = Status::Complete;
    session.authenticating = None;
    checkout_sessions::save(tx, session, "checkout.session.completed");
    Ok(Outcome::Completed)
}

fn check_type(session: &CheckoutSession, instrument: &Instrument) -> Result<(), ApiError> {
    let kind = instrument.kind();
    let types = session.types();
    if types.iter().any(|allowed| allowed == kind) {
        return Ok(());
    }
    let message = format!("This checkout takes {}, not {kind}.", types.join(", "));
    Err(ApiError::invalid(message).param("payment_method"))
}

/// A session in setup mode saves the method and takes no money.
fn set_up(
    tx: &mut Tx<'_>,
    session: &mut CheckoutSession,
    customer: Option<&str>,
    method: Option<&PaymentMethod>,
    presence: Presence,
) -> Result<(), ApiError> {
    let found = session.setup_intent.as_ref().and_then(|id| tx.state.setup_intents.get(id));
    let (Some(mut intent), Some(method)) = (found.cloned(), method) else {
        return Err(ApiError::missing_parameter("payment_method"));
    };
    intent.customer = customer.map(str::to_owned);
    match setup_intents::attempt(tx, &mut intent, method, presence)? {
        None => Ok(()),
        Some(decline) => Err(declined(decline)),
    }
}

/// The bank has answered a debit: so has the session that waited for it.
pub fn intent_settled(tx: &mut Tx<'_>, intent: &PaymentIntent) {
    let Some(mut session) = waiting_for(tx.state, intent) else {
        return;
    };
    session.awaiting = None;
    session.paid = intent.is_succeeded();
    let event = match session.paid {
        true => "checkout.session.async_payment_succeeded",
        false => "checkout.session.async_payment_failed",
    };
    checkout_sessions::save(tx, session, event);
}

/// Authorized money was taken: the session counts as paid from now on.
pub fn intent_captured(tx: &mut Tx<'_>, intent: &PaymentIntent) {
    if let Some(mut session) = waiting_for(tx.state, intent) {
        session.awaiting = None;
        session.paid = true;
        tx.state.checkout_sessions.put(session);
    }
}

fn waiting_for(state: &State, intent: &PaymentIntent) -> Option<CheckoutSession> {
    let mut linked = state.checkout_sessions.of(&intent.id);
    linked.find(|session| session.awaiting.as_ref() == Some(&intent.id)).cloned()
}

fn declined(decline: Decline) -> ApiError {
    ApiError::card(decline.code, decline.decline_code, decline.message)
}

/// The buyer answered the 3-D Secure page.
pub fn authenticate(tx: &mut Tx<'_>, id: &str, completed: bool) -> Result<Outcome, ApiError> {
    let mut session = checkout_sessions::find(tx.state, id)?.clone();
    let Some(waiting) = session.authenticating.take() else {
        return Err(ApiError::invalid("This Checkout Session waits for no authentication."));
    };
    if !completed {
        tx.state.checkout_sessions.put(session);
        return Err(declined(cards::AUTHENTICATION_FAILED).keeping_effects());
    }
    let buyer =
        Buyer { instrument: Some(waiting.instrument), email: waiting.email, name: waiting.name };
    complete(tx, id, buyer, Presence::Authenticated)
}

/// The session's customer: the given one, or one made now for a guest.
fn resolve_customer(
    tx: &mut Tx<'_>,
    session: &mut CheckoutSession,
    buyer: &Buyer,
) -> Result<Option<String>, ApiError> {
    if let Some(id) = &session.customer {
        let mut customer = customers::live(tx.state, id, "customer")?.clone();
        let id = customer.id.clone();
        if customer.email.is_none() {
            customer.email = buyer.email.clone();
        }
        customer.address = customer.address.or_else(|| session.buyer_address.clone());
        session.buyer_email = customer.email.clone();
        session.buyer_name = buyer.name.clone().or_else(|| customer.name.clone());
        customers::save(tx, customer);
        return Ok(Some(id));
    }
    let email = session.customer_email.clone().or_else(|| buyer.email.clone());
    session.buyer_email = Some(email.ok_or_else(|| ApiError::missing_parameter("email"))?);
    session.buyer_name = buyer.name.clone();
    if !session.creates_customer {
        return Ok(None);
    }
    let mut customer = Customer::new(tx.now);
    customer.email = session.buyer_email.clone();
    customer.address = session.buyer_address.clone();
    customer.name = session.buyer_name.clone();
    let id = customer.id.clone();
    customers::save(tx, customer);
    session.customer = Some(id.clone());
    Ok(Some(id))
}

fn pay(
    tx: &mut Tx<'_>,
    session: &mut CheckoutSession,
    customer: Option<&str>,
    method: Option<&PaymentMethod>,
    presence: Presence,
) -> Result<(), ApiError> {
    let total = session.amount_total();
    let place = Place {
        customer: customer.map(str::to_owned),
        checkout_session: Some(session.id.clone()),
        ..Place::default()
    };
    checkout_sessions::discounts::redeem(tx, session, &place)?;
    let Some(method) = method else {
        session.paid = false;
        return Ok(());
    };
    let mut intent = PaymentIntent::new(total, &session.currency, tx.now);
    intent.customer = customer.map(str::to_owned);
    intent.description = session.payment.description.clone();
    intent.metadata = session.payment.metadata.clone();
    intent.receipt_email = session.payment.receipt_email.clone();
    intent.setup_future_usage = session.payment.setup_future_usage.clone();
    intent.statement_descriptor = session.payment.statement_descriptor.clone();
    intent.statement_descriptor_suffix = session.payment.statement_descriptor_suffix.clone();
    intent.shipping = session.payment.shipping.clone();
    intent.transfer_group = session.payment.transfer_group.clone();
    intent.allowed_types = Some(session.types());
    if let Some(way) = &session.payment.capture_method {
        intent.capture_method = way.clone();
    }
    payment_intents::announce(tx, intent.clone());
    match payment_intents::attempt(tx, &mut intent, method, presence) {
        Attempt::Succeeded | Attempt::Processing => {}
        Attempt::NeedsAuthentication => return Err(declined(cards::AUTHENTICATION)),
        Attempt::Declined { decline, .. } => return Err(declined(decline)),
    }
    if let (Some(customer), Some(_)) = (customer, &intent.setup_future_usage) {
        payment_methods::attach_to(tx, &method.id, customer)?;
    }
    session.paid = intent.is_succeeded();
    session.awaiting = Some(intent.id.clone()).filter(|_| !session.paid);
    session.unpaid = !session.paid;
    session.payment_intent = Some(intent.id);
    Ok(())
}

/// Under today's API the subscription exists only once it is paid: it is created active.
fn subscribe(
    tx: &mut Tx<'_>,
    session: &mut CheckoutSession,
    customer: &str,
    method: Option<&PaymentMethod>,
    presence: Presence,
) -> Result<(), ApiError> {
    let mut subscription = Subscription::new(customer, &session.currency, tx.now);
    let data = session.subscription_data.clone();
    subscription.metadata = data.metadata;
    subscription.description = data.description;
    if let Some(word) = data.missing_payment_method {
        subscription.missing_payment_method = word;
    }
    let trial_end = data.trial_end.or(data.trial_period_days.map(|days| tx.now + days * DAY));
    if let Some(end) = trial_end.filter(|end| tx.now < *end) {
        subscription.trial_start = Some(tx.now);
        subscription.trial_end = Some(end);
    }
    let recurring = session.line_items.iter().filter(|line| line.recurring);
    subscription.items = recurring.map(|line| subscription_item(line, tx.now)).collect();
    if let Some(method) = method {
        let attached = payment_methods::attach_to(tx, &method.id, customer)?;
        subscription.default_payment_method = Some(attached);
    }
    let id = subscription.id.clone();
    let place = Place {
        customer: Some(customer.to_owned()),
        subscription: Some(id.clone()),
        ..Place::default()
    };
    subscription.default_tax_rates = data.default_tax_rates;
    subscription.automatic_tax = session.automatic_tax;
    subscription.discounts = checkout_sessions::discounts::redeem(tx, session, &place)?;
    let extra = one_time_lines(tx.state, session, &id, tx.now);
    let invoice = billing::open_first_invoice(tx, subscription, &extra)?;
    let due = invoices::find(tx.state, &invoice)?.amount_due();
    if invoices::find(tx.state, &invoice)?.status == invoices::Status::Open {
        match billing::collect(tx, &invoice, method, presence)? {
            Collected::Paid => {}
            Collected::Processing => {
                session.unpaid = true;
                session.awaiting = invoices::payment_of(tx.state, &invoice)
                    .map(|payment| payment.payment_intent.clone());
            }
            Collected::NeedsAuthentication => return Err(declined(cards::AUTHENTICATION)),
            Collected::Failed(error) => return Err(error),
        }
    }
    billing::announce(tx, &id);
    billing::send_late_trial_notice(tx, &id);
    session.paid = 0 < due && !session.unpaid;
    session.subscription = Some(id);
    session.invoice = Some(invoice);
    Ok(())
}

fn subscription_item(line: &LineItem, now: i64) -> SubscriptionItem {
    let mut item = SubscriptionItem::new(&line.price, line.quantity, now);
    item.tax_rates = line.adjustments.tax_rates.clone();
    item
}

/// One-time prices bought along with the subscription, on its first invoice.
fn one_time_lines(
    state: &State,
    session: &CheckoutSession,
    subscription: &str,
    now: i64,
) -> Vec<Line> {
    let lines = session.line_items.iter().filter(|line| !line.recurring);
    let lines = lines.map(|line| {
        let price = state.prices.get(&line.price);
        Line {
            id: ids::object("il"),
            amount: line.amount,
            description: Some(line.description.clone()),
            quantity: line.quantity,
            price: Some(line.price.clone()),
            product: price.map(|price| price.product.clone()),
            unit: price.and_then(prices::Price::unit_amount),
            period_start: now,
            period_end: now,
            subscription: Some(subscription.to_owned()),
            subscription_item: None,
            invoice_item: Some(ids::object("ii")),
            proration: false,
            metadata: crate::params::Metadata::new(),
            adjustments: Adjustments {
                tax_rates: line.adjustments.tax_rates.clone(),
                ..Adjustments::default()
            },
        }
    });
    lines.collect()
}
