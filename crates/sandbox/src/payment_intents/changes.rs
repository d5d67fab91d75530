//! Creating, changing, confirming and canceling payment intents.

use serde_json::{Value, json};

use crate::bank_accounts;
use crate::billing;
use crate::cards::Presence;
use crate::charges;
use crate::currencies;
use crate::customers;
use crate::errors::ApiError;
use crate::instruments;
use crate::instruments::Instrument;
use crate::params::{Change, MAX_AMOUNT, Params};
use crate::payment_intents::render::types;
use crate::payment_intents::{
    Attempt, MethodOptions, PaymentIntent, Status, announce, attempt, cancel_now, fail, find,
    method_of, save_for_later, unexpected_state, view,
};
use crate::payment_methods;
use crate::payment_methods::PaymentMethod;
use crate::requests::Call;
use crate::transactions::Tx;

/// The parameters of an intent that create, update and confirm share.
fn read(tx: &mut Tx<'_>, params: &mut Params, intent: &mut PaymentIntent) -> Result<(), ApiError> {
    if let Some(customer) = params.text("customer")? {
        customers::live(tx.state, &customer, "customer")?;
        tx.follow(Some(&customer));
        intent.customer = Some(customer);
    }
    params.change("description")?.apply(&mut intent.description);
    params.change("receipt_email")?.apply(&mut intent.receipt_email);
    params.change("statement_descriptor")?.apply(&mut intent.statement_descriptor);
    params.change("statement_descriptor_suffix")?.apply(&mut intent.statement_descriptor_suffix);
    params.change("transfer_group")?.apply(&mut intent.transfer_group);
    if params.take_if_empty("setup_future_usage") {
        intent.setup_future_usage = None;
    }
    if let Some(usage) = params.word("setup_future_usage", &["off_session", "on_session"])? {
        intent.setup_future_usage = Some(usage.to_owned());
    }
    params.metadata()?.apply(&mut intent.metadata);
    let ways = ["automatic", "automatic_async", "manual"];
    if let Some(way) = params.word("capture_method", &ways)? {
        intent.capture_method = way.to_owned();
    }
    if let Some(way) = params.word("confirmation_method", &["automatic", "manual"])? {
        intent.confirmation_method = way.to_owned();
    }
    read_return_url(params)?.apply(&mut intent.return_url);
    if params.take_if_empty("shipping") {
        intent.shipping = None;
    }
    intent.shipping = read_shipping(params)?.or(intent.shipping.take());
    read_types(params, intent)?;
    read_options(params, &mut intent.method_options)?;
    read_method(tx, params, intent)?;
    params.ignore(&[
        "amount_details",
        "amount_to_confirm",
        "hooks",
        "payment_details",
        "payment_method_configuration",
        "radar_options",
        "use_stripe_sdk",
    ]);
    params.refuse(&["application_fee_amount", "transfer_data", "on_behalf_of", "mandate"])?;
    params.refuse(&["confirmation_token", "customer_account"])
}

/// `shipping`, as intents and Checkout sessions have it.
pub fn read_shipping(params: &mut Params) -> Result<Option<Value>, ApiError> {
    let Some(mut shipping) = params.hash("shipping")? else {
        return Ok(None);
    };
    let mut shown = json!({
        "address": shipping.address("address")?.set(),
        "name": shipping.required("name")?,
    });
    for field in ["carrier", "phone", "tracking_number"] {
        shown[field] = json!(shipping.text(field)?);
    }
    shipping.finish()?;
    Ok(Some(shown))
}

fn read_types(params: &mut Params, intent: &mut PaymentIntent) -> Result<(), ApiError> {
    if let Some(mut automatic) = params.hash("automatic_payment_methods")? {
        let enabled = automatic.boolean("enabled")?;
        let missing = || ApiError::missing_parameter(&automatic.name("enabled"));
        let enabled = enabled.ok_or_else(missing)?;
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
    match &intent.allowed_types {
        Some(types) => instruments::check_currency(types, &intent.currency),
        None => Ok(()),
    }
}

fn read_options(params: &mut Params, options: &mut MethodOptions) -> Result<(), ApiError> {
    let Some(mut hash) = params.hash("payment_method_options")? else {
        return Ok(());
    };
    if let Some(mut card) = hash.hash("card")? {
        let words = ["any", "automatic", "challenge"];
        if let Some(word) = card.word("request_three_d_secure", &words)? {
            options.request_three_d_secure = Some(word.to_owned());
        }
        let words = ["if_available", "never"];
        let incremental = card.word("request_incremental_authorization", &words)?;
        options.incremental_authorization |= incremental == Some("if_available");
    }
    if let Some(mut account) = hash.hash("us_bank_account")? {
        let words = ["automatic", "instant", "microdeposits"];
        if let Some(word) = account.word("verification_method", &words)? {
            options.verification_method = Some(word.to_owned());
        }
    }
    if let Some(mut boleto) = hash.hash("boleto")?
        && let Some(days) = boleto.within("expires_after_days", 0, 60)?
    {
        options.expires_after_days = Some(days);
    }
    Ok(())
}

fn read_method(
    tx: &mut Tx<'_>,
    params: &mut Params,
    intent: &mut PaymentIntent,
) -> Result<(), ApiError> {
    let Some(method) = payment_methods::read_choice(tx, params)? else {
        return Ok(());
    };
    check_owner(intent, &method)?;
    let kind = method.instrument.kind();
    let types = types(intent);
    if !types.iter().any(|allowed| allowed == kind) {
        let message = format!(
            "The PaymentMethod provided ({kind}) is not allowed for this PaymentIntent. Please \
             attach a PaymentMethod of one of the following types: {}.",
            types.join(", ")
        );
        return Err(ApiError::invalid(message).param("payment_method"));
    }
    intent.payment_method = Some(method.id);
    if intent.status == Status::RequiresPaymentMethod {
        intent.status = Status::RequiresConfirmation;
    }
    Ok(())
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

/// What an invoice asks for, and of whom, is not changed behind its back.
fn check_not_invoiced(params: &Params, intent: &PaymentIntent) -> Result<(), ApiError> {
    let fixed = ["amount", "capture_method", "currency", "customer"];
    match fixed.iter().find(|key| intent.invoice.is_some() && params.has(key)) {
        None => Ok(()),
        Some(key) => {
            let message = format!(
                "This PaymentIntent's {key} could not be updated because it was created by an \
                 invoice."
            );
            Err(ApiError::invalid(message).param(key))
        }
    }
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
    check_amount(amount, &currency)?;
    if !confirm {
        for only_confirmed in ["error_on_requires_action", "mandate_data", "off_session"] {
            if params.has(only_confirmed) {
                let message = format!("`{only_confirmed}` can only be passed with `confirm=true`.");
                return Err(ApiError::invalid(message).param(only_confirmed));
            }
        }
    }
    let how = Confirmation::read(params)?;
    let mut intent = PaymentIntent::new(amount, &currency, tx.now);
    read(tx, params, &mut intent)?;
    params.finish()?;
    intent.created = tx.now;
    announce(tx, intent.clone());
    if confirm {
        confirm_now(tx, &mut intent, &how)?;
    }
    Ok(view(tx.state, &intent))
}

/// What is said about one confirmation only.
struct Confirmation {
    presence: Presence,
    /// The account holder has agreed to be debited.
    has_mandate: bool,
}

impl Confirmation {
    fn read(params: &mut Params) -> Result<Confirmation, ApiError> {
        // Old integrations say why, and mean yes.
        let off_session = match params.text("off_session")?.as_deref() {
            None | Some("false") => false,
            Some("true" | "one_off" | "recurring") => true,
            Some(_) => return Err(params.invalid("off_session", "Invalid boolean")),
        };
        let unasked = params.boolean("error_on_requires_action")?.unwrap_or(false);
        let has_mandate = params.has("mandate_data") && !params.take_if_empty("mandate_data");
        params.ignore(&["mandate_data"]);
        let presence = match (off_session, unasked) {
            (true, _) => Presence::OffSession,
            (false, true) => Presence::Unasked,
            (false, false) => Presence::OnSession,
        };
        Ok(Confirmation { presence, has_mandate })
    }
}

fn confirm_now(
    tx: &mut Tx<'_>,
    intent: &mut PaymentIntent,
    how: &Confirmation,
) -> Result<(), ApiError> {
    if intent.payment_method.is_none() {
        let message = "You cannot confirm this PaymentIntent because it's missing a payment \
                       method. You can either update the PaymentIntent with a payment method and \
                       then confirm it again, or confirm it again directly with a payment method.";
        let error = ApiError::invalid(message).code("payment_intent_unexpected_state");
        return Err(error.param("payment_method"));
    }
    if intent.automatic_methods.as_deref() == Some("always") && intent.return_url.is_none() {
        let message = "This PaymentIntent accepts payment methods that might redirect your \
                       customer: provide a `return_url`, or set \
                       `automatic_payment_methods[allow_redirects]` to `never`.";
        return Err(ApiError::invalid(message).param("return_url"));
    }
    let mut method = method_of(tx, intent)?;
    prepare(tx, intent, &mut method, how)?;
    let outcome = attempt(tx, intent, &method, how.presence);
    if let Attempt::Succeeded | Attempt::Processing = outcome {
        save_for_later(tx, intent, &method)?;
    }
    billing::intent_attempted(tx, intent)?;
    match outcome {
        Attempt::Succeeded | Attempt::Processing | Attempt::NeedsAuthentication => Ok(()),
        Attempt::Declined { decline, charge } => {
            let error = ApiError::card(decline.code, decline.decline_code, decline.message);
            let shown = view(tx.state, intent);
            Err(error.charge(Some(charge)).payment_intent(shown).keeping_effects())
        }
    }
}

/// A bank account is charged only with its holder's consent, and once it is known to be theirs.
fn prepare(
    tx: &mut Tx<'_>,
    intent: &PaymentIntent,
    method: &mut PaymentMethod,
    how: &Confirmation,
) -> Result<(), ApiError> {
    if !method.instrument.needs_mandate() {
        return Ok(());
    }
    if !method.authenticated && !how.has_mandate {
        let message = "This PaymentIntent requires a mandate, but no existing mandate was found. \
                       Collect mandate acceptance from the customer and try again, providing \
                       acceptance data in the `mandate_data` parameter.";
        return Err(ApiError::invalid(message).code("parameter_missing").param("mandate_data"));
    }
    if intent.is_captured_later() {
        let message = "The payment method type does not support manual capture.";
        return Err(ApiError::invalid(message).param("capture_method"));
    }
    method.authenticated = true;
    if let Instrument::UsBankAccount(account) = &mut method.instrument {
        account.verified |= intent.method_options.verification_method.as_deref() == Some("instant");
    }
    tx.state.payment_methods.put(method.clone());
    Ok(())
}

pub fn confirm(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let mut intent = find(tx.state, call.id())?.clone();
    let waiting = matches!(
        intent.status,
        Status::RequiresPaymentMethod | Status::RequiresConfirmation | Status::RequiresAction
    );
    if !waiting {
        return Err(unexpected_state(tx.state, &intent, "confirm"));
    }
    check_not_invoiced(&call.params, &intent)?;
    let how = Confirmation::read(&mut call.params)?;
    read(tx, &mut call.params, &mut intent)?;
    call.params.finish()?;
    confirm_now(tx, &mut intent, &how)?;
    Ok(view(tx.state, &intent))
}

pub fn update(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let mut intent = find(tx.state, call.id())?.clone();
    check_not_invoiced(&call.params, &intent)?;
    let amount = call.params.within("amount", 1, MAX_AMOUNT)?;
    let settled = intent.is_under_way() || intent.status == Status::Canceled;
    let moves_money = amount.is_some()
        || ["currency", "payment_method", "payment_method_data", "capture_method"]
            .iter()
            .any(|key| call.params.has(key));
    if settled && moves_money {
        return Err(unexpected_state(tx.state, &intent, "update"));
    }
    if call.params.has("currency") {
        intent.currency = currencies::required(&mut call.params)?;
    }
    if let Some(amount) = amount {
        intent.amount = amount;
    }
    if amount.is_some() {
        check_amount(intent.amount, &intent.currency)?;
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
    if intent.invoice.is_some() && intent.status != Status::RequiresCapture {
        let message = "You cannot cancel this PaymentIntent because it was created by an invoice. \
                       Void the invoice instead.";
        let error = ApiError::invalid(message).code("payment_intent_unexpected_state");
        return Err(error);
    }
    match intent.status {
        Status::Succeeded | Status::Canceled => {
            return Err(unexpected_state(tx.state, &intent, "cancel"));
        }
        Status::Processing => {
            let method = method_of(tx, &intent)?;
            // A debit in the United States can be called back for some hours.
            if !matches!(method.instrument, Instrument::UsBankAccount(_)) {
                return Err(unexpected_state(tx.state, &intent, "cancel"));
            }
            if let Some(charge) = &intent.latest_charge {
                charges::settle(tx, charge, Some(bank_accounts::CANCELED));
            }
        }
        _ => {}
    }
    cancel_now(tx, &mut intent, reason);
    Ok(view(tx.state, &intent))
}

/// What the holder of an account reads on their statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    Verified,
    Wrong,
    Exhausted,
    TooLate,
}

/// `amounts` or `descriptor_code`, as both kinds of intents take them.
pub fn read_proof(params: &mut Params) -> Result<Proof, ApiError> {
    let amounts = params.texts("amounts")?;
    let code = params.text("descriptor_code")?;
    params.finish()?;
    let amounts: Option<Vec<&str>> =
        amounts.as_ref().map(|amounts| amounts.iter().map(String::as_str).collect());
    match (amounts.as_deref(), code.as_deref()) {
        (Some(["32", "45"]), None) | (None, Some("SM11AA")) => Ok(Proof::Verified),
        (Some(["10", "11"]), None) | (None, Some("SM33CC")) => Ok(Proof::Exhausted),
        (Some(["40", "41"]), None) | (None, Some("SM44DD")) => Ok(Proof::TooLate),
        (Some([_, _]), None) | (None, Some(_)) => Ok(Proof::Wrong),
        (Some(_), None) => Err(params.invalid("amounts", "Two amounts are needed")),
        _ => {
            let message = "You must provide either `amounts` or `descriptor_code`.";
            Err(ApiError::invalid(message).code("parameter_missing"))
        }
    }
}

impl Proof {
    pub fn refusal(self) -> ApiError {
        let (code, message) = match self {
            Proof::Exhausted => (
                "payment_method_microdeposit_verification_attempts_exceeded",
                "You have exceeded the number of allowed verification attempts.",
            ),
            Proof::TooLate => (
                "payment_method_microdeposit_verification_timeout",
                "The microdeposits were not verified in time.",
            ),
            Proof::Verified | Proof::Wrong => (
                "payment_method_microdeposit_verification_amounts_mismatch",
                "The amounts provided do not match the amounts that were sent to the bank account.",
            ),
        };
        ApiError::invalid(message).code(code)
    }
}

pub fn verify(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let mut intent = find(tx.state, call.id())?.clone();
    let proof = read_proof(&mut call.params)?;
    let method = method_of(tx, &intent);
    let mut method = match (intent.status, method) {
        (Status::RequiresAction, Ok(method)) if method.instrument.needs_mandate() => method,
        _ => return Err(unexpected_state(tx.state, &intent, "verify")),
    };
    match proof {
        Proof::Wrong => return Err(proof.refusal()),
        Proof::Exhausted | Proof::TooLate => {
            fail(tx, &mut intent, &method, bank_accounts::UNVERIFIABLE);
            return Err(proof.refusal().keeping_effects());
        }
        Proof::Verified => {}
    }
    method.verify();
    tx.state.payment_methods.put(method.clone());
    attempt(tx, &mut intent, &method, Presence::OnSession);
    save_for_later(tx, &intent, &method)?;
    billing::intent_attempted(tx, &intent)?;
    Ok(view(tx.state, &intent))
}

/// Where the buyer goes after 3-D Secure: a page, or an app by a scheme of its own.
pub fn read_return_url(params: &mut Params) -> Result<Change<String>, ApiError> {
    let change = params.change("return_url")?;
    let leads_somewhere = |text: &str| {
        let runs = ["blob", "data", "javascript", "vbscript"];
        let parsed = url::Url::parse(text);
        parsed.is_ok_and(|url| !runs.contains(&url.scheme())) && !text.contains(char::is_control)
    };
    match &change {
        Change::Set(text) if !leads_somewhere(text) => {
            Err(params.invalid("return_url", "Not a valid URL").code("url_invalid"))
        }
        _ => Ok(change),
    }
}
