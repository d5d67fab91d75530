//! Payment intents: one thing to be paid, through as many attempts as it takes.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::cards::{self, Card, Decline, Presence, Verdict};
use crate::charges::Failure;
use crate::errors::ApiError;
use crate::params::{MAX_AMOUNT, Metadata, Params};
use crate::payment_methods::{self, PaymentMethod};
use crate::requests::Call;
use crate::state::{Row, State};
use crate::transactions::Tx;
use crate::{billing, charges, currencies, customers, ids, lists};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PaymentIntent {
    pub id: String,
    pub secret: String,
    pub created: i64,
    pub amount: i64,
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
    pub statement_descriptor: Option<String>,
    pub latest_charge: Option<String>,
    pub last_failure: Option<(Failure, String)>,
    pub canceled_at: Option<i64>,
    pub cancellation_reason: Option<String>,
    pub metadata: Metadata,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    RequiresPaymentMethod,
    RequiresConfirmation,
    RequiresAction,
    Succeeded,
    Canceled,
}

/// How an attempt ended.
pub enum Attempt {
    Succeeded,
    NeedsAuthentication,
    Declined { decline: Decline, charge: String },
}

impl Row for PaymentIntent {
    const KIND: &'static str = "payment_intent";
    fn id(&self) -> &str {
        &self.id
    }

    fn links(&self) -> Vec<&str> {
        self.customer.as_deref().into_iter().collect()
    }

    fn customer(&self) -> Option<&str> {
        self.customer.as_deref()
    }
}

impl PaymentIntent {
    pub fn new(amount: i64, currency: &str, now: i64) -> PaymentIntent {
        PaymentIntent {
            id: ids::object("pi"),
            secret: ids::letters(25),
            created: now,
            amount,
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
            statement_descriptor: None,
            latest_charge: None,
            last_failure: None,
            canceled_at: None,
            cancellation_reason: None,
            metadata: Metadata::new(),
        }
    }

    pub fn is_succeeded(&self) -> bool {
        self.status == Status::Succeeded
    }

    pub fn client_secret(&self) -> String {
        format!("{}_secret_{}", self.id, self.secret)
    }
}

pub fn view(state: &State, intent: &PaymentIntent) -> Value {
    let received = if intent.is_succeeded() { intent.amount } else { 0 };
    let next_action = (intent.status == Status::RequiresAction).then(|| {
        json!({
            "redirect_to_url": {
                "return_url": intent.return_url,
                "url": format!("{}/a/{}", state.base_url, intent.id),
            },
            "type": "redirect_to_url",
        })
    });
    let automatic = intent.automatic_methods.as_ref();
    let automatic = automatic.map(|allow| json!({"allow_redirects": allow, "enabled": true}));
    json!({
        "id": intent.id,
        "object": "payment_intent",
        "allowed_payment_method_types": null,
        "amount": intent.amount,
        "amount_capturable": 0,
        "amount_details": {"tip": {}},
        "amount_received": received,
        "application": null,
        "application_fee_amount": null,
        "automatic_payment_methods": automatic,
        "canceled_at": intent.canceled_at,
        "cancellation_reason": intent.cancellation_reason,
        "capture_method": "automatic_async",
        "client_secret": intent.client_secret(),
        "confirmation_method": "automatic",
        "created": intent.created,
        "currency": intent.currency,
        "customer": intent.customer,
        "customer_account": null,
        "description": intent.description,
        "excluded_payment_method_types": null,
        "last_payment_error": failure_view(state, intent),
        "latest_charge": intent.latest_charge,
        "livemode": false,
        "managed_payments": null,
        "metadata": intent.metadata,
        "next_action": next_action,
        "on_behalf_of": null,
        "payment_method": intent.payment_method,
        "payment_method_configuration_details": null,
        "payment_method_options": {
            "card": {
                "installments": null,
                "mandate_options": null,
                "network": null,
                "request_three_d_secure": "automatic",
            },
        },
        "payment_method_types": ["card"],
        "payment_record": null,
        "processing": null,
        "receipt_email": intent.receipt_email,
        "review": null,
        "setup_future_usage": intent.setup_future_usage,
        "shipping": null,
        "source": null,
        "statement_descriptor": intent.statement_descriptor,
        "statement_descriptor_suffix": null,
        "status": intent.status,
        "transfer_data": null,
        "transfer_group": null,
    })
}

fn failure_view(state: &State, intent: &PaymentIntent) -> Value {
    let Some((failure, method)) = &intent.last_failure else {
        return Value::Null;
    };
    let anchor = failure.code.replace('_', "-");
    let mut shown = json!({
        "code": failure.code,
        "doc_url": format!("https://stripe.com/docs/error-codes/{anchor}"),
        "message": failure.message,
        "payment_method": state.payment_methods.get(method).map(payment_methods::view),
        "type": "card_error",
    });
    if let Some(charge) = &intent.latest_charge {
        shown["charge"] = json!(charge);
    }
    if let Some(decline_code) = &failure.decline_code {
        shown["decline_code"] = json!(decline_code);
    }
    shown
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
    let verdict = match method.card() {
        Some(card) => card.charge(presence, method.authenticated),
        None => Verdict::Declined(cards::AUTHENTICATION_FAILED),
    };
    intent.payment_method = Some(method.id.clone());
    match verdict {
        Verdict::Approved => {
            intent.status = Status::Succeeded;
            intent.last_failure = None;
            intent.latest_charge = Some(charges::record(tx, intent, method, None));
            if presence == Presence::Authenticated {
                let method = PaymentMethod { authenticated: true, ..method.clone() };
                tx.state.payment_methods.put(method);
            }
            settle(tx, intent, "payment_intent.succeeded");
            Attempt::Succeeded
        }
        Verdict::NeedsAuthentication => {
            intent.status = Status::RequiresAction;
            settle(tx, intent, "payment_intent.requires_action");
            Attempt::NeedsAuthentication
        }
        Verdict::Declined(decline) => {
            let charge = charges::record(tx, intent, method, Some(decline));
            intent.latest_charge = Some(charge.clone());
            fail(tx, intent, method, decline);
            Attempt::Declined { decline, charge }
        }
    }
}

/// Back to the start, with the reason kept.
fn fail(tx: &mut Tx<'_>, intent: &mut PaymentIntent, method: &PaymentMethod, decline: Decline) {
    intent.status = Status::RequiresPaymentMethod;
    intent.payment_method = None;
    intent.last_failure = Some((Failure::from(decline), method.id.clone()));
    settle(tx, intent, "payment_intent.payment_failed");
}

fn settle(tx: &mut Tx<'_>, intent: &PaymentIntent, event: &str) {
    let shown = view(tx.state, intent);
    tx.state.payment_intents.put(intent.clone());
    tx.emit(event, shown);
}

/// The buyer answered the 3-D Secure page.
pub fn authenticate(tx: &mut Tx<'_>, id: &str, completed: bool) -> Result<PaymentIntent, ApiError> {
    let found = tx.state.payment_intents.get(id);
    let mut intent = found.ok_or_else(|| ApiError::not_found("payment_intent", id))?.clone();
    if intent.status != Status::RequiresAction {
        return Err(unexpected_state(&intent, "authenticate"));
    }
    let method = intent.payment_method.clone().unwrap_or_default();
    let method = payment_methods::resolve(tx, &method, "payment_method")?;
    if completed {
        attempt(tx, &mut intent, &method, Presence::Authenticated);
        save_for_later(tx, &intent, &method)?;
    } else {
        fail(tx, &mut intent, &method, cards::AUTHENTICATION_FAILED);
    }
    billing::intent_attempted(tx, &intent)?;
    Ok(intent)
}

fn unexpected_state(intent: &PaymentIntent, verb: &str) -> ApiError {
    let status = json!(intent.status);
    let status = status.as_str().unwrap_or_default();
    let message =
        format!("You cannot {verb} this PaymentIntent because it has a status of {status}.");
    ApiError::invalid(message).code("payment_intent_unexpected_state")
}

/// `setup_future_usage` attaches the method once it has paid.
fn save_for_later(
    tx: &mut Tx<'_>,
    intent: &PaymentIntent,
    method: &PaymentMethod,
) -> Result<(), ApiError> {
    match (&intent.customer, &intent.setup_future_usage) {
        (Some(customer), Some(_)) if intent.is_succeeded() && method.customer.is_none() => {
            payment_methods::attach_to(tx, &method.id, customer).map(|_| ())
        }
        _ => Ok(()),
    }
}

/// The parameters of an intent that create, update and confirm share.
fn read(tx: &mut Tx<'_>, params: &mut Params, intent: &mut PaymentIntent) -> Result<(), ApiError> {
    if let Some(customer) = params.text("customer")? {
        customers::live(tx.state, &customer, "customer")?;
        intent.customer = Some(customer);
    }
    params.change("description")?.apply(&mut intent.description);
    params.change("receipt_email")?.apply(&mut intent.receipt_email);
    params.change("statement_descriptor")?.apply(&mut intent.statement_descriptor);
    if let Some(usage) = params.word("setup_future_usage", &["off_session", "on_session"])? {
        intent.setup_future_usage = Some(usage.to_owned());
    }
    params.metadata()?.apply(&mut intent.metadata);
    if let Some(mut automatic) = params.hash("automatic_payment_methods")? {
        let enabled = automatic.boolean("enabled")?.unwrap_or(false);
        let redirects = automatic.word("allow_redirects", &["always", "never"])?;
        automatic.finish()?;
        intent.automatic_methods = enabled.then(|| redirects.unwrap_or("always").to_owned());
    }
    if let Some(method) = params.text("payment_method")? {
        let method = payment_methods::resolve(tx, &method, "payment_method")?;
        check_owner(intent, &method)?;
        intent.payment_method = Some(method.id);
        if intent.status == Status::RequiresPaymentMethod {
            intent.status = Status::RequiresConfirmation;
        }
    }
    if let Some(url) = params.text("return_url")? {
        intent.return_url = Some(url);
    }
    params.ignore(&[
        "payment_method_types",
        "payment_method_options",
        "confirmation_method",
        "error_on_requires_action",
        "mandate_data",
        "shipping",
        "statement_descriptor_suffix",
        "use_stripe_sdk",
        "transfer_group",
    ]);
    if params.word("capture_method", &["automatic", "automatic_async", "manual"])? == Some("manual")
    {
        let error = ApiError::invalid("The sandbox does not simulate manual capture yet.");
        return Err(error.param("capture_method"));
    }
    params.refuse(&["application_fee_amount", "transfer_data", "on_behalf_of"])?;
    params.refuse(&["payment_method_data", "confirmation_token"])
}

fn check_owner(intent: &PaymentIntent, method: &PaymentMethod) -> Result<(), ApiError> {
    let owned_by_other = method.customer.is_some() && method.customer != intent.customer;
    if !owned_by_other {
        return Ok(());
    }
    let message = format!(
        "The PaymentMethod {} belongs to another Customer than this PaymentIntent.",
        method.id
    );
    Err(ApiError::invalid(message).param("payment_method"))
}

fn check_amount(amount: i64, currency: &str) -> Result<(), ApiError> {
    let least = currencies::least_charge(currency);
    if amount < least {
        let least = currencies::show(least, currency);
        let message = format!("Amount must be at least {least}.");
        return Err(ApiError::invalid(message).code("amount_too_small").param("amount"));
    }
    Ok(())
}

pub fn create(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let params = &mut call.params;
    let amount = params.within("amount", 1, MAX_AMOUNT)?;
    let amount = amount.ok_or_else(|| ApiError::missing_parameter("amount"))?;
    let currency = currencies::required(params)?;
    let confirm = params.boolean("confirm")?.unwrap_or(false);
    let presence = read_presence(params)?;
    check_amount(amount, &currency)?;
    let mut intent = PaymentIntent::new(amount, &currency, tx.now);
    read(tx, params, &mut intent)?;
    params.finish()?;
    announce(tx, intent.clone());
    if confirm {
        confirm_now(tx, &mut intent, presence)?;
    }
    Ok(view(tx.state, &intent))
}

fn read_presence(params: &mut Params) -> Result<Presence, ApiError> {
    let off_session = params.boolean("off_session")?.unwrap_or(false);
    Ok(if off_session { Presence::OffSession } else { Presence::OnSession })
}

fn confirm_now(
    tx: &mut Tx<'_>,
    intent: &mut PaymentIntent,
    presence: Presence,
) -> Result<(), ApiError> {
    let Some(method) = intent.payment_method.clone() else {
        let message = "You cannot confirm this PaymentIntent because it's missing a payment \
                       method.";
        let error = ApiError::invalid(message).code("payment_intent_unexpected_state");
        return Err(error.param("payment_method"));
    };
    let method = payment_methods::resolve(tx, &method, "payment_method")?;
    let outcome = attempt(tx, intent, &method, presence);
    billing::intent_attempted(tx, intent)?;
    match outcome {
        Attempt::Succeeded => save_for_later(tx, intent, &method),
        Attempt::NeedsAuthentication => Ok(()),
        Attempt::Declined { decline, charge } => {
            let error = ApiError::card(decline.code, decline.decline_code, decline.message);
            let shown = view(tx.state, intent);
            Err(error.charge(Some(charge)).payment_intent(shown).keeping_effects())
        }
    }
}

pub fn confirm(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let mut intent = find(tx.state, call.id())?.clone();
    if matches!(intent.status, Status::Succeeded | Status::Canceled) {
        return Err(unexpected_state(&intent, "confirm"));
    }
    let presence = read_presence(&mut call.params)?;
    read(tx, &mut call.params, &mut intent)?;
    call.params.finish()?;
    confirm_now(tx, &mut intent, presence)?;
    Ok(view(tx.state, &intent))
}

fn find<'a>(state: &'a State, id: &str) -> Result<&'a PaymentIntent, ApiError> {
    state.payment_intents.get(id).ok_or_else(|| ApiError::not_found("payment_intent", id))
}

pub fn retrieve(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    call.params.ignore(&["client_secret"]);
    Ok(view(tx.state, find(tx.state, call.id())?))
}

pub fn update(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let mut intent = find(tx.state, call.id())?.clone();
    let amount = call.params.within("amount", 1, MAX_AMOUNT)?;
    let finished = matches!(intent.status, Status::Succeeded | Status::Canceled);
    if finished && (amount.is_some() || call.params.has("payment_method")) {
        return Err(unexpected_state(&intent, "update"));
    }
    if let Some(amount) = amount {
        check_amount(amount, &intent.currency)?;
        intent.amount = amount;
    }
    read(tx, &mut call.params, &mut intent)?;
    call.params.finish()?;
    tx.state.payment_intents.put(intent.clone());
    Ok(view(tx.state, &intent))
}

pub fn cancel(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let mut intent = find(tx.state, call.id())?.clone();
    let reasons = ["abandoned", "duplicate", "fraudulent", "requested_by_customer"];
    let reason = call.params.word("cancellation_reason", &reasons)?;
    call.params.finish()?;
    if matches!(intent.status, Status::Succeeded | Status::Canceled) {
        return Err(unexpected_state(&intent, "cancel"));
    }
    cancel_now(tx, &mut intent, reason);
    Ok(view(tx.state, &intent))
}

pub fn cancel_now(tx: &mut Tx<'_>, intent: &mut PaymentIntent, reason: Option<&str>) {
    intent.status = Status::Canceled;
    intent.canceled_at = Some(tx.now);
    intent.cancellation_reason = reason.map(str::to_owned);
    settle(tx, intent, "payment_intent.canceled");
}

pub fn list(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let created = lists::range(&mut call.params, "created")?;
    let customer = call.params.text("customer")?;
    let state = &*tx.state;
    lists::page_of(
        call,
        &state.payment_intents,
        customer.as_deref(),
        |intent| {
            created.contains(intent.created) && (customer.is_none() || intent.customer == customer)
        },
        |intent| view(state, intent),
    )
}

/// A card typed into a page. Pages never store numbers that are not test cards.
pub fn method_for(tx: &mut Tx<'_>, card: &Card) -> PaymentMethod {
    let method = PaymentMethod::new(card, tx.now);
    tx.state.payment_methods.put(method.clone());
    method
}
