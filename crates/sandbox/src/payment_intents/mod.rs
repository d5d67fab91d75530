//! Payment intents: one thing to be paid, through as many attempts as it takes.

pub mod captures;
pub mod changes;
pub mod render;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::bank_accounts::Settlement;
use crate::billing;
use crate::cards;
use crate::cards::{Decline, Presence, Sequel, Verdict};
use crate::charges;
use crate::charges::{Failure, How};
use crate::completions;
use crate::debits;
use crate::disputes;
use crate::errors::ApiError;
use crate::ids;
use crate::lists;
use crate::params::Metadata;
use crate::payment_methods;
use crate::payment_methods::PaymentMethod;
use crate::requests::Call;
use crate::state::{Row, State, Timed, Timer};
use crate::transactions::Tx;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PaymentIntent {
    pub id: String,
    pub secret: String,
    pub created: i64,
    pub amount: i64,
    pub amount_received: i64,
    pub currency: String,
    pub status: Status,
    pub customer: Option<String>,
    /// The invoice this intent pays, if it does.
    pub invoice: Option<String>,
    pub payment_method: Option<String>,
    pub description: Option<String>,
    pub receipt_email: Option<String>,
    pub return_url: Option<String>,
    pub setup_future_usage: Option<String>,
    pub automatic_methods: Option<String>,
    pub allowed_types: Option<Vec<String>>,
    pub excluded_types: Option<Vec<String>>,
    pub method_options: MethodOptions,
    pub capture_method: String,
    pub confirmation_method: String,
    pub shipping: Option<Value>,
    pub statement_descriptor: Option<String>,
    pub statement_descriptor_suffix: Option<String>,
    pub transfer_group: Option<String>,
    pub latest_charge: Option<String>,
    pub last_failure: Option<(Failure, String)>,
    /// When the bank settles what is under way, or lets an authorization go.
    pub due_at: Option<i64>,
    pub canceled_at: Option<i64>,
    pub cancellation_reason: Option<String>,
    pub metadata: Metadata,
}

/// What `payment_method_options` says that matters here.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct MethodOptions {
    pub request_three_d_secure: Option<String>,
    pub incremental_authorization: bool,
    pub verification_method: Option<String>,
    pub expires_after_days: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    RequiresPaymentMethod,
    RequiresConfirmation,
    RequiresAction,
    RequiresCapture,
    Processing,
    Succeeded,
    Canceled,
}

/// How an attempt ended.
pub enum Attempt {
    Succeeded,
    /// The bank takes its time; or the money is only authorized, and waits to be captured.
    Processing,
    NeedsAuthentication,
    Declined {
        decline: Decline,
        charge: String,
    },
}

impl Row for PaymentIntent {
    const KIND: &'static str = "payment_intent";
    fn id(&self) -> &str {
        &self.id
    }

    fn links(&self) -> Vec<&str> {
        [self.customer.as_deref(), self.invoice.as_deref()].into_iter().flatten().collect()
    }

    fn customer(&self) -> Option<&str> {
        self.customer.as_deref()
    }
}

impl Timed for PaymentIntent {
    fn timer(&self) -> Timer {
        Timer::PaymentIntent(self.id.clone())
    }

    fn due_at(&self) -> Option<i64> {
        match self.status {
            Status::Processing | Status::RequiresCapture | Status::RequiresAction => self.due_at,
            _ => None,
        }
    }
}

impl PaymentIntent {
    pub fn new(amount: i64, currency: &str, now: i64) -> PaymentIntent {
        PaymentIntent {
            id: ids::object("pi"),
            secret: ids::letters(25),
            created: now,
            amount,
            amount_received: 0,
            currency: currency.to_owned(),
            status: Status::RequiresPaymentMethod,
            customer: None,
            invoice: None,
            payment_method: None,
            description: None,
            receipt_email: None,
            return_url: None,
            setup_future_usage: None,
            automatic_methods: None,
            allowed_types: None,
            excluded_types: None,
            method_options: MethodOptions::default(),
            capture_method: "automatic_async".to_owned(),
            confirmation_method: "automatic".to_owned(),
            shipping: None,
            statement_descriptor: None,
            statement_descriptor_suffix: None,
            transfer_group: None,
            latest_charge: None,
            last_failure: None,
            due_at: None,
            canceled_at: None,
            cancellation_reason: None,
            metadata: Metadata::new(),
        }
    }

    pub fn is_succeeded(&self) -> bool {
        self.status == Status::Succeeded
    }

    /// Paid, or certain enough that the buyer has nothing left to do.
    pub fn is_under_way(&self) -> bool {
        matches!(self.status, Status::Succeeded | Status::Processing | Status::RequiresCapture)
    }

    pub fn client_secret(&self) -> String {
        format!("{}_secret_{}", self.id, self.secret)
    }

    fn is_captured_later(&self) -> bool {
        self.capture_method == "manual"
    }
}

pub fn view(state: &State, intent: &PaymentIntent) -> Value {
    let capturable = if intent.status == Status::RequiresCapture { intent.amount } else { 0 };
    let automatic = intent.automatic_methods.as_ref();
    let automatic = automatic.map(|allow| json!({"allow_redirects": allow, "enabled": true}));
    let types = render::types(intent);
    json!({
        "id": intent.id,
        "object": "payment_intent",
        "allowed_payment_method_types": intent.allowed_types,
        "amount": intent.amount,
        "amount_capturable": capturable,
        "amount_details": {"tip": {}},
        "amount_received": intent.amount_received,
        "application": null,
        "application_fee_amount": null,
        "automatic_payment_methods": automatic,
        "canceled_at": intent.canceled_at,
        "cancellation_reason": intent.cancellation_reason,
        "capture_method": intent.capture_method,
        "client_secret": intent.client_secret(),
        "confirmation_method": intent.confirmation_method,
        "created": intent.created,
        "currency": intent.currency,
        "customer": intent.customer,
        "customer_account": null,
        "description": intent.description,
        "excluded_payment_method_types": intent.excluded_types,
        "last_payment_error": render::failure_view(state, intent),
        "latest_charge": intent.latest_charge,
        "livemode": false,
        "managed_payments": null,
        "metadata": intent.metadata,
        "next_action": render::next_action(state, intent),
        "on_behalf_of": null,
        "payment_method": intent.payment_method,
        "payment_method_configuration_details": null,
        "payment_method_options": render::options_view(intent, &types),
        "payment_method_types": types,
        "payment_record": null,
        "processing": null,
        "receipt_email": intent.receipt_email,
        "review": null,
        "setup_future_usage": intent.setup_future_usage,
        "shipping": intent.shipping,
        "source": null,
        "statement_descriptor": intent.statement_descriptor,
        "statement_descriptor_suffix": intent.statement_descriptor_suffix,
        "status": intent.status,
        "transfer_data": null,
        "transfer_group": intent.transfer_group,
    })
}

/// Stores a new intent and tells of it.
pub fn announce(tx: &mut Tx<'_>, intent: PaymentIntent) {
    let shown = view(tx.state, &intent);
    tx.state.payment_intents.put(intent);
    tx.emit("payment_intent.created", shown);
}

/// Charges the method once and records how it went.
pub fn attempt(
    tx: &mut Tx<'_>,
    intent: &mut PaymentIntent,
    method: &PaymentMethod,
    presence: Presence,
) -> Attempt {
    intent.payment_method = Some(method.id.clone());
    intent.due_at = None;
    match method.instrument.charge(presence, method.authenticated) {
        Verdict::Approved => {
            intent.last_failure = None;
            if presence == Presence::Authenticated {
                let method = PaymentMethod { authenticated: true, ..method.clone() };
                tx.state.payment_methods.put(method);
            }
            if intent.is_captured_later() {
                captures::authorize(tx, intent, method);
                return Attempt::Processing;
            }
            let charge = charges::record(tx, intent, method, How::Captured);
            succeed(tx, intent, method, charge);
            Attempt::Succeeded
        }
        Verdict::Pending => {
            begin_settlement(tx, intent, method);
            intent.last_failure = None;
            intent.latest_charge = Some(charges::record(tx, intent, method, How::Pending));
            intent.status = Status::Processing;
            settle(tx, intent, "payment_intent.processing");
            Attempt::Processing
        }
        Verdict::NeedsVoucher => {
            begin_settlement(tx, intent, method);
            intent.status = Status::RequiresAction;
            settle(tx, intent, "payment_intent.requires_action");
            Attempt::Processing
        }
        Verdict::NeedsAuthentication | Verdict::NeedsVerification => {
            intent.status = Status::RequiresAction;
            settle(tx, intent, "payment_intent.requires_action");
            Attempt::NeedsAuthentication
        }
        Verdict::Declined(decline) => {
            let charge = charges::record(tx, intent, method, How::Declined(decline));
            intent.latest_charge = Some(charge.clone());
            fail(tx, intent, method, decline);
            Attempt::Declined { decline, charge }
        }
    }
}

/// When the bank will have an answer.
fn begin_settlement(tx: &Tx<'_>, intent: &mut PaymentIntent, method: &PaymentMethod) {
    let email = method.billing.email.as_deref().unwrap_or_default();
    intent.due_at = match method.instrument.settlement(email) {
        Settlement::Succeeds { after_seconds, .. } | Settlement::Fails { after_seconds, .. } => {
            Some(tx.now + after_seconds)
        }
        Settlement::Never => None,
    };
}

/// The money is there; what the test card makes of it follows at once.
fn succeed(tx: &mut Tx<'_>, intent: &mut PaymentIntent, method: &PaymentMethod, charge: String) {
    intent.status = Status::Succeeded;
    intent.amount_received = intent.amount;
    intent.due_at = None;
    intent.latest_charge = Some(charge.clone());
    settle(tx, intent, "payment_intent.succeeded");
    if let Some(card) = method.instrument.card() {
        disputes::follow(tx, &charge, card.sequel);
    }
}

/// Back to the start, with the reason kept.
fn fail(tx: &mut Tx<'_>, intent: &mut PaymentIntent, method: &PaymentMethod, decline: Decline) {
    intent.status = Status::RequiresPaymentMethod;
    intent.payment_method = None;
    intent.due_at = None;
    intent.last_failure = Some((Failure::from(decline), method.id.clone()));
    settle(tx, intent, "payment_intent.payment_failed");
}

fn settle(tx: &mut Tx<'_>, intent: &PaymentIntent, event: &str) {
    let shown = view(tx.state, intent);
    tx.state.payment_intents.put(intent.clone());
    tx.emit(event, shown);
}

fn method_of(tx: &mut Tx<'_>, intent: &PaymentIntent) -> Result<PaymentMethod, ApiError> {
    let method = intent.payment_method.clone().unwrap_or_default();
    payment_methods::resolve(tx, &method, "payment_method")
}

/// The bank's answer is due, or an authorization ends.
pub fn due(tx: &mut Tx<'_>, id: &str) -> Result<(), ApiError> {
    let mut intent = find(tx.state, id)?.clone();
    if Timed::due_at(&intent).is_none_or(|at| tx.now < at) {
        return Ok(());
    }
    if intent.status == Status::RequiresCapture {
        captures::expire(tx, &mut intent);
        return Ok(());
    }
    let method = method_of(tx, &intent)?;
    let email = method.billing.email.clone().unwrap_or_default();
    let pending = intent.latest_charge.clone().filter(|_| intent.status == Status::Processing);
    match method.instrument.settlement(&email) {
        Settlement::Succeeds { disputed, .. } => {
            let charge = match pending {
                Some(charge) => charges::settle(tx, &charge, None),
                None => charges::record(tx, &intent, &method, How::Captured),
            };
            succeed(tx, &mut intent, &method, charge.clone());
            save_for_later(tx, &intent, &method)?;
            if disputed {
                disputes::follow(tx, &charge, Sequel::Disputed("fraudulent"));
            }
        }
        Settlement::Fails { decline, .. } => {
            let charge = match pending {
                Some(charge) => charges::settle(tx, &charge, Some(decline)),
                None => charges::record(tx, &intent, &method, How::Declined(decline)),
            };
            intent.latest_charge = Some(charge);
            fail(tx, &mut intent, &method, decline);
        }
        Settlement::Never => return Ok(()),
    }
    debits::settled(tx, &intent)?;
    completions::intent_settled(tx, &intent);
    Ok(())
}

/// The buyer answered the 3-D Secure page.
pub fn authenticate(tx: &mut Tx<'_>, id: &str, completed: bool) -> Result<PaymentIntent, ApiError> {
    let found = tx.state.payment_intents.get(id);
    let mut intent = found.ok_or_else(|| ApiError::not_found("payment_intent", id))?.clone();
    let method = method_of(tx, &intent);
    let asked = method.as_ref().is_ok_and(|method| method.instrument.card().is_some());
    if intent.status != Status::RequiresAction || !asked {
        return Err(unexpected_state(tx.state, &intent, "authenticate"));
    }
    let method = method?;
    if completed {
        attempt(tx, &mut intent, &method, Presence::Authenticated);
        save_for_later(tx, &intent, &method)?;
    } else {
        fail(tx, &mut intent, &method, cards::AUTHENTICATION_FAILED);
    }
    billing::intent_attempted(tx, &intent)?;
    Ok(intent)
}

pub fn unexpected_state(state: &State, intent: &PaymentIntent, verb: &str) -> ApiError {
    let status = json!(intent.status);
    let status = status.as_str().unwrap_or_default();
    let message =
        format!("You cannot {verb} this PaymentIntent because it has a status of {status}.");
    let error = ApiError::invalid(message).code("payment_intent_unexpected_state");
    error.payment_intent(view(state, intent))
}

/// `setup_future_usage` attaches the method once it has paid.
fn save_for_later(
    tx: &mut Tx<'_>,
    intent: &PaymentIntent,
    method: &PaymentMethod,
) -> Result<(), ApiError> {
    match (&intent.customer, &intent.setup_future_usage) {
        (Some(customer), Some(_)) if intent.is_under_way() => {
            payment_methods::attach_to(tx, &method.id, customer).map(|_| ())
        }
        _ => Ok(()),
    }
}

pub fn cancel_now(tx: &mut Tx<'_>, intent: &mut PaymentIntent, reason: Option<&str>) {
    if intent.status == Status::RequiresCapture {
        captures::release(tx, intent, None);
    }
    intent.status = Status::Canceled;
    intent.due_at = None;
    intent.canceled_at = Some(tx.now);
    intent.cancellation_reason = reason.map(str::to_owned);
    settle(tx, intent, "payment_intent.canceled");
}

pub fn find<'a>(state: &'a State, id: &str) -> Result<&'a PaymentIntent, ApiError> {
    state.payment_intents.get(id).ok_or_else(|| ApiError::not_found("payment_intent", id))
}

pub fn retrieve(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    call.params.ignore(&["client_secret"]);
    Ok(view(tx.state, find(tx.state, call.id())?))
}

pub fn list(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let created = lists::range(&mut call.params, "created")?;
    let customer = call.params.text("customer")?;
    let state = &*tx.state;
    lists::page_of(
        call,
        &state.payment_intents,
        customer.as_deref(),
        |intent| created.contains(intent.created),
        |intent| view(state, intent),
    )
}
