//! Setup intents: saving a payment method for later, without a payment.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::bank_accounts;
use crate::cards::{self, Decline, Presence, Verdict};
use crate::charges::Failure;
use crate::errors::ApiError;
use crate::instruments;
use crate::params::{Metadata, Params};
use crate::payment_intents::changes::{Proof, read_proof, read_return_url};
use crate::payment_intents::render::verification;
use crate::payment_methods::{self, PaymentMethod};
use crate::requests::Call;
use crate::state::{Row, State};
use crate::subscriptions::{self, Subscription};
use crate::transactions::Tx;
use crate::{customers, ids, lists, setup_attempts};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SetupIntent {
    pub id: String,
    pub secret: String,
    pub created: i64,
    pub status: Status,
    pub usage: String,
    pub customer: Option<String>,
    pub description: Option<String>,
    pub payment_method: Option<String>,
    pub return_url: Option<String>,
    /// Whether methods may send the buyer elsewhere; none where the caller named the types.
    pub automatic_methods: Option<String>,
    pub allowed_types: Option<Vec<String>>,
    pub excluded_types: Option<Vec<String>>,
    pub latest_attempt: Option<String>,
    pub last_failure: Option<(Failure, String)>,
    pub cancellation_reason: Option<String>,
    /// The subscription that waits for this method.
    pub subscription: Option<String>,
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

impl Status {
    fn is_final(self) -> bool {
        matches!(self, Status::Succeeded | Status::Canceled)
    }
}

impl Row for SetupIntent {
    const KIND: &'static str = "setup_intent";
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

impl SetupIntent {
    pub fn new(now: i64) -> SetupIntent {
        SetupIntent {
            id: ids::object("seti"),
            secret: ids::letters(25),
            created: now,
            status: Status::RequiresPaymentMethod,
            usage: "off_session".to_owned(),
            customer: None,
            description: None,
            payment_method: None,
            return_url: None,
            automatic_methods: None,
            allowed_types: None,
            excluded_types: None,
            latest_attempt: None,
            last_failure: None,
            cancellation_reason: None,
            subscription: None,
            metadata: Metadata::new(),
        }
    }

    pub fn client_secret(&self) -> String {
        format!("{}_secret_{}", self.id, self.secret)
    }
}

pub fn view(state: &State, intent: &SetupIntent) -> Value {
    let automatic = intent.automatic_methods.as_ref();
    let failure = intent.last_failure.as_ref();
    let method = |id: &String| state.payment_methods.get(id);
    let chosen = intent.payment_method.as_ref().and_then(method);
    let next_action = (intent.status == Status::RequiresAction).then(|| {
        let page = format!("{}/a/{}", state.base_url, intent.id);
        match chosen.is_some_and(|method| method.instrument.needs_mandate()) {
            true => verification(&page, intent.created),
            false => json!({
                "redirect_to_url": {"return_url": intent.return_url, "url": page},
                "type": "redirect_to_url",
            }),
        }
    });
    json!({
        "id": intent.id,
        "object": "setup_intent",
        "allowed_payment_method_types": intent.allowed_types,
        "application": null,
        "automatic_payment_methods":
            automatic.map(|allow| json!({"allow_redirects": allow, "enabled": true})),
        "cancellation_reason": intent.cancellation_reason,
        "client_secret": intent.client_secret(),
        "created": intent.created,
        "customer": intent.customer,
        "customer_account": null,
        "description": intent.description,
        "excluded_payment_method_types": intent.excluded_types,
        "flow_directions": null,
        "last_setup_error": failure.map(|(failure, id)| failure_view(failure, method(id))),
        "latest_attempt": intent.latest_attempt,
        "livemode": false,
        "managed_payments": null,
        "mandate": null,
        "metadata": intent.metadata,
        "next_action": next_action,
        "on_behalf_of": null,
        "payment_method": intent.payment_method,
        "payment_method_configuration_details": null,
        "payment_method_options": {
            "card": {
                "mandate_options": null,
                "network": null,
                "request_three_d_secure": "automatic",
            },
        },
        "payment_method_types": types(intent),
        "single_use_mandate": null,
        "status": intent.status,
        "usage": intent.usage,
    })
}

/// Without a currency, whatever can be saved.
fn types(intent: &SetupIntent) -> Vec<String> {
    let types = ["card", "sepa_debit", "us_bank_account"].map(str::to_owned).to_vec();
    let mut types = intent.allowed_types.clone().unwrap_or(types);
    types.retain(|kind| !intent.excluded_types.as_ref().is_some_and(|list| list.contains(kind)));
    types
}

pub fn failure_view(failure: &Failure, method: Option<&PaymentMethod>) -> Value {
    let anchor = failure.code.replace('_', "-");
    let mut shown = json!({
        "code": failure.code,
        "doc_url": format!("https://stripe.com/docs/error-codes/{anchor}"),
        "message": failure.message,
        "payment_method": method.map(payment_methods::view),
        "type": "card_error",
    });
    if let Some(decline_code) = &failure.decline_code {
        shown["decline_code"] = json!(decline_code);
    }
    shown
}

/// Stores a new intent and tells of it.
pub fn announce(tx: &mut Tx<'_>, intent: &SetupIntent) {
    settle(tx, intent, "setup_intent.created");
}

fn settle(tx: &mut Tx<'_>, intent: &SetupIntent, event: &str) {
    let shown = view(tx.state, intent);
    tx.state.setup_intents.put(intent.clone());
    tx.emit(event, shown);
}

/// A subscription that starts without a payment asks for a method it can charge later.
pub fn open_for_subscription(tx: &mut Tx<'_>, subscription: &mut Subscription) {
    let id = subscription.default_payment_method.clone();
    let id = id.or_else(|| payment_methods::default_of(tx.state, &subscription.customer));
    let method = id.and_then(|id| tx.state.payment_methods.get(&id).cloned());
    let mut intent = SetupIntent::new(tx.now);
    intent.customer = Some(subscription.customer.clone());
    intent.subscription = Some(subscription.id.clone());
    if let Some(method) = method {
        let ready = method.authenticated
            || !matches!(method.instrument.save(Presence::OnSession), Verdict::NeedsAuthentication);
        if ready {
            return;
        }
        intent.payment_method = Some(method.id);
        intent.status = Status::RequiresConfirmation;
    }
    subscription.pending_setup_intent = Some(intent.id.clone());
    announce(tx, &intent);
}

/// The subscription that waited for this method has it now.
fn give_to_subscription(tx: &mut Tx<'_>, intent: &SetupIntent) {
    let found = intent.subscription.as_ref().and_then(|id| tx.state.subscriptions.get(id));
    let Some(mut subscription) = found.cloned() else {
        return;
    };
    if subscription.pending_setup_intent.as_ref() == Some(&intent.id) {
        subscription.pending_setup_intent = None;
        if intent.status == Status::Succeeded && subscription.saves_default_method {
            subscription.default_payment_method = intent.payment_method.clone();
        }
        subscriptions::save(tx, subscription);
    }
}

/// Asks the bank once and records how it went.
pub fn attempt(
    tx: &mut Tx<'_>,
    intent: &mut SetupIntent,
    method: &PaymentMethod,
    presence: Presence,
) -> Result<Option<Decline>, ApiError> {
    let answering = intent.latest_attempt.as_ref().filter(|_| presence == Presence::Authenticated);
    let found = answering.and_then(|id| tx.state.setup_attempts.get(id).cloned());
    let mut attempt = found.unwrap_or_else(|| setup_attempts::begin(tx, intent, &method.id));
    intent.payment_method = Some(method.id.clone());
    intent.latest_attempt = Some(attempt.id.clone());
    match method.instrument.save(presence) {
        Verdict::Approved | Verdict::Pending | Verdict::NeedsVoucher => {
            attempt.status = setup_attempts::Status::Succeeded;
            tx.state.setup_attempts.put(attempt);
            let authenticated = method.authenticated
                || presence == Presence::Authenticated
                || method.instrument.needs_mandate();
            tx.state.payment_methods.put(PaymentMethod { authenticated, ..method.clone() });
            if let Some(customer) = &intent.customer {
                payment_methods::attach_to(tx, &method.id, customer)?;
            }
            intent.status = Status::Succeeded;
            intent.last_failure = None;
            settle(tx, intent, "setup_intent.succeeded");
            give_to_subscription(tx, intent);
            Ok(None)
        }
        Verdict::NeedsAuthentication | Verdict::NeedsVerification => {
            attempt.challenged = method.instrument.card().is_some();
            tx.state.setup_attempts.put(attempt);
            intent.status = Status::RequiresAction;
            settle(tx, intent, "setup_intent.requires_action");
            Ok(None)
        }
        Verdict::Declined(decline) => {
            fail(tx, intent, method, attempt, decline);
            Ok(Some(decline))
        }
    }
}

fn fail(
    tx: &mut Tx<'_>,
    intent: &mut SetupIntent,
    method: &PaymentMethod,
    mut attempt: setup_attempts::SetupAttempt,
    decline: Decline,
) {
    attempt.status = setup_attempts::Status::Failed;
    attempt.failure = Some(Failure::from(decline));
    tx.state.setup_attempts.put(attempt);
    intent.status = Status::RequiresPaymentMethod;
    intent.payment_method = None;
    intent.last_failure = Some((Failure::from(decline), method.id.clone()));
    settle(tx, intent, "setup_intent.setup_failed");
}

/// The buyer answered the 3-D Secure page.
pub fn authenticate(tx: &mut Tx<'_>, id: &str, completed: bool) -> Result<SetupIntent, ApiError> {
    let mut intent = find(tx.state, id)?.clone();
    let method = intent.payment_method.clone().unwrap_or_default();
    let method = payment_methods::resolve(tx, &method, "payment_method");
    let asked = method.as_ref().is_ok_and(|method| method.instrument.card().is_some());
    if intent.status != Status::RequiresAction || !asked {
        return Err(unexpected_state(tx.state, &intent, "authenticate"));
    }
    let method = method?;
    if completed {
        attempt(tx, &mut intent, &method, Presence::Authenticated)?;
        return Ok(intent);
    }
    let attempt = latest_attempt(tx, &intent, &method);
    let decline =
        Decline { code: "setup_intent_authentication_failure", ..cards::AUTHENTICATION_FAILED };
    fail(tx, &mut intent, &method, attempt, decline);
    Ok(intent)
}

fn latest_attempt(
    tx: &Tx<'_>,
    intent: &SetupIntent,
    method: &PaymentMethod,
) -> setup_attempts::SetupAttempt {
    let latest = intent.latest_attempt.as_ref();
    let attempt = latest.and_then(|id| tx.state.setup_attempts.get(id).cloned());
    attempt.unwrap_or_else(|| setup_attempts::begin(tx, intent, &method.id))
}

/// The holder of a bank account has read its statement.
pub fn verify(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let mut intent = find(tx.state, call.id())?.clone();
    let proof = read_proof(&mut call.params)?;
    let method = intent.payment_method.clone().unwrap_or_default();
    let method = payment_methods::resolve(tx, &method, "payment_method");
    let mut method = match (intent.status, method) {
        (Status::RequiresAction, Ok(method)) if method.instrument.needs_mandate() => method,
        _ => return Err(unexpected_state(tx.state, &intent, "verify")),
    };
    match proof {
        Proof::Wrong => return Err(proof.refusal()),
        Proof::Exhausted | Proof::TooLate => {
            let attempt = latest_attempt(tx, &intent, &method);
            fail(tx, &mut intent, &method, attempt, bank_accounts::UNVERIFIABLE);
            return Err(proof.refusal().keeping_effects());
        }
        Proof::Verified => {}
    }
    method.verify();
    tx.state.payment_methods.put(method.clone());
    attempt(tx, &mut intent, &method, Presence::Authenticated)?;
    Ok(view(tx.state, &intent))
}

fn unexpected_state(state: &State, intent: &SetupIntent, verb: &str) -> ApiError {
    let status = json!(intent.status);
    let status = status.as_str().unwrap_or_default();
    let message =
        format!("You cannot {verb} this SetupIntent because it has a status of {status}.");
    let error = ApiError::invalid(message).code("setup_intent_unexpected_state");
    error.setup_intent(view(state, intent))
}

/// The parameters that create, update and confirm share.
fn read(tx: &mut Tx<'_>, params: &mut Params, intent: &mut SetupIntent) -> Result<(), ApiError> {
    if let Some(customer) = params.text("customer")? {
        customers::live(tx.state, &customer, "customer")?;
        intent.customer = Some(customer);
    }
    params.change("description")?.apply(&mut intent.description);
    params.metadata()?.apply(&mut intent.metadata);
    if let Some(usage) = params.word("usage", &["off_session", "on_session"])? {
        intent.usage = usage.to_owned();
    }
    if let Some(mut automatic) = params.hash("automatic_payment_methods")? {
        let enabled = automatic.boolean("enabled")?.unwrap_or(false);
        let redirects = automatic.word("allow_redirects", &["always", "never"])?;
        automatic.finish()?;
        intent.automatic_methods = enabled.then(|| redirects.unwrap_or("always").to_owned());
    }
    if let Some(allowed) = instruments::read_allowed(params)? {
        intent.allowed_types = Some(allowed);
    }
    if let Some(types) = params.texts("excluded_payment_method_types")? {
        intent.excluded_types = Some(types).filter(|types| !types.is_empty());
    }
    if let Some(method) = payment_methods::read_choice(tx, params)? {
        check_owner(intent, &method)?;
        let kind = method.instrument.kind();
        if !types(intent).iter().any(|allowed| allowed == kind) {
            let message =
                format!("The PaymentMethod provided ({kind}) is not allowed for this SetupIntent.");
            return Err(ApiError::invalid(message).param("payment_method"));
        }
        intent.payment_method = Some(method.id);
        if intent.status == Status::RequiresPaymentMethod {
            intent.status = Status::RequiresConfirmation;
        }
    }
    read_return_url(params)?.apply(&mut intent.return_url);
    params.ignore(&[
        "flow_directions",
        "mandate_data",
        "payment_method_configuration",
        "payment_method_options",
        "single_use",
        "use_stripe_sdk",
    ]);
    params.refuse(&["attach_to_self", "confirmation_token", "customer_account", "on_behalf_of"])
}

fn check_owner(intent: &SetupIntent, method: &PaymentMethod) -> Result<(), ApiError> {
    let message = match (&method.customer, &intent.customer) {
        (None, _) => return Ok(()),
        (Some(owner), Some(customer)) if owner == customer => return Ok(()),
        (Some(_), None) => {
            "The provided PaymentMethod is attached to a customer. Pass that customer as well."
        }
        (Some(_), Some(_)) => {
            "The provided PaymentMethod belongs to another Customer than this SetupIntent."
        }
    };
    Err(ApiError::invalid(message).param("payment_method"))
}

pub fn create(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let confirm = call.params.boolean("confirm")?.unwrap_or(false);
    if !confirm && call.params.has("return_url") {
        let message = "`return_url` can only be passed along with `confirm=true`.";
        return Err(ApiError::invalid(message).param("return_url"));
    }
    let has_mandate = call.params.has("mandate_data");
    let mut intent = SetupIntent::new(tx.now);
    read(tx, &mut call.params, &mut intent)?;
    call.params.finish()?;
    announce(tx, &intent);
    if confirm {
        confirm_now(tx, &mut intent, has_mandate)?;
    }
    Ok(view(tx.state, &intent))
}

fn confirm_now(
    tx: &mut Tx<'_>,
    intent: &mut SetupIntent,
    has_mandate: bool,
) -> Result<(), ApiError> {
    let Some(method) = intent.payment_method.clone() else {
        let message = "You cannot confirm this SetupIntent because it's missing a payment \
                       method. Update the SetupIntent with a payment method and then confirm it \
                       again.";
        let error = ApiError::invalid(message).code("setup_intent_unexpected_state");
        return Err(error.param("payment_method"));
    };
    let redirects = intent.automatic_methods.as_deref() == Some("always");
    if redirects && intent.return_url.is_none() {
        let message = "This SetupIntent accepts payment methods that might redirect your \
                       customer: provide a `return_url`, or set \
                       `automatic_payment_methods[allow_redirects]` to `never`.";
        return Err(ApiError::invalid(message).param("return_url"));
    }
    let method = payment_methods::resolve(tx, &method, "payment_method")?;
    check_owner(intent, &method)?;
    if method.instrument.needs_mandate() && !method.authenticated && !has_mandate {
        let message = "This SetupIntent requires a mandate: provide acceptance data in the \
                       `mandate_data` parameter.";
        return Err(ApiError::invalid(message).code("parameter_missing").param("mandate_data"));
    }
    match attempt(tx, intent, &method, Presence::OnSession)? {
        None => Ok(()),
        Some(decline) => {
            let error = ApiError::card(decline.code, decline.decline_code, decline.message);
            let shown = view(tx.state, intent);
            Err(error.setup_intent(shown).keeping_effects())
        }
    }
}

pub fn confirm(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let mut intent = find(tx.state, call.id())?.clone();
    if intent.status.is_final() {
        return Err(unexpected_state(tx.state, &intent, "confirm"));
    }
    let has_mandate = call.params.has("mandate_data");
    read(tx, &mut call.params, &mut intent)?;
    call.params.finish()?;
    confirm_now(tx, &mut intent, has_mandate)?;
    Ok(view(tx.state, &intent))
}

pub fn find<'a>(state: &'a State, id: &str) -> Result<&'a SetupIntent, ApiError> {
    state.setup_intents.get(id).ok_or_else(|| ApiError::not_found("setupintent", id))
}

pub fn retrieve(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    call.params.ignore(&["client_secret"]);
    Ok(view(tx.state, find(tx.state, call.id())?))
}

pub fn update(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let mut intent = find(tx.state, call.id())?.clone();
    if intent.status.is_final() && !call.params.only_has(&["description", "metadata"]) {
        return Err(unexpected_state(tx.state, &intent, "update"));
    }
    read(tx, &mut call.params, &mut intent)?;
    call.params.finish()?;
    tx.state.setup_intents.put(intent.clone());
    Ok(view(tx.state, &intent))
}

pub fn cancel(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let mut intent = find(tx.state, call.id())?.clone();
    let reasons = ["abandoned", "duplicate", "requested_by_customer"];
    let reason = call.params.word("cancellation_reason", &reasons)?;
    call.params.finish()?;
    if intent.status.is_final() {
        return Err(unexpected_state(tx.state, &intent, "cancel"));
    }
    cancel_now(tx, &mut intent, reason);
    Ok(view(tx.state, &intent))
}

pub fn cancel_now(tx: &mut Tx<'_>, intent: &mut SetupIntent, reason: Option<&str>) {
    let latest = intent.latest_attempt.as_ref();
    let waiting = latest.and_then(|id| tx.state.setup_attempts.get(id).cloned());
    if let Some(mut attempt) = waiting
        && attempt.status == setup_attempts::Status::RequiresAction
    {
        attempt.status = setup_attempts::Status::Abandoned;
        tx.state.setup_attempts.put(attempt);
    }
    intent.status = Status::Canceled;
    intent.cancellation_reason = reason.map(str::to_owned);
    settle(tx, intent, "setup_intent.canceled");
    give_to_subscription(tx, intent);
}

pub fn list(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let created = lists::range(&mut call.params, "created")?;
    let customer = call.params.text("customer")?;
    let method = call.params.text("payment_method")?;
    call.params.refuse(&["attach_to_self", "customer_account"])?;
    let state = &*tx.state;
    lists::page(
        call,
        &state.setup_intents,
        |intent| {
            created.contains(intent.created)
                && (customer.is_none() || intent.customer == customer)
                && (method.is_none() || intent.payment_method == method)
        },
        |intent| view(state, intent),
    )
}
