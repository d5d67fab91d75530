//! Checkout sessions: what is for sale, to whom, and where the buyer goes afterwards. Completing
//! one is in `completions`.

pub mod amounts;
pub mod collections;
pub mod create;
pub mod discounts;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::adjustments::Adjustments;
use crate::automatic_taxes::{self, AutomaticTax};
use crate::checkout_sessions::amounts::SessionDiscount;
use crate::checkout_sessions::collections::Collections;
use crate::errors::ApiError;
use crate::instruments;
use crate::instruments::Instrument;
use crate::params::Metadata;
use crate::requests::Call;
use crate::setup_intents;
use crate::state::{Row, State, Timed, Timer};
use crate::transactions::Tx;
use crate::{lists, prices};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CheckoutSession {
    pub id: String,
    pub created: i64,
    pub expires_at: i64,
    pub mode: Mode,
    pub status: Status,
    pub paid: bool,
    /// Complete, but the money was not there at once.
    pub unpaid: bool,
    /// The payment intent whose outcome is still open.
    pub awaiting: Option<String>,
    pub allowed_types: Option<Vec<String>>,
    pub excluded_types: Option<Vec<String>>,
    pub currency: String,
    pub line_items: Vec<LineItem>,
    pub customer: Option<String>,
    /// What the shop prefilled.
    pub customer_email: Option<String>,
    /// What the buyer gave.
    pub buyer_email: Option<String>,
    pub buyer_name: Option<String>,
    pub creates_customer: bool,
    pub client_reference_id: Option<String>,
    pub success_url: Option<String>,
    pub cancel_url: Option<String>,
    pub allow_promotion_codes: Option<bool>,
    #[serde(default)]
    pub discounts: Vec<SessionDiscount>,
    #[serde(default)]
    pub automatic_tax: AutomaticTax,
    /// Where the buyer said they are; only taxes need to know.
    #[serde(default)]
    pub buyer_address: Option<Value>,
    pub collects_card_always: bool,
    pub locale: Option<String>,
    pub submit_type: Option<String>,
    pub collections: Collections,
    pub payment: PaymentData,
    pub subscription_data: SubscriptionData,
    pub metadata: Metadata,
    pub payment_intent: Option<String>,
    pub setup_intent: Option<String>,
    pub subscription: Option<String>,
    pub invoice: Option<String>,
    /// The card that waits for its 3-D Secure answer, with what the buyer typed.
    pub authenticating: Option<Authenticating>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    Payment,
    Setup,
    Subscription,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Open,
    Complete,
    Expired,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LineItem {
    pub id: String,
    pub price: String,
    pub description: String,
    pub quantity: i64,
    pub amount: i64,
    pub recurring: bool,
    #[serde(default)]
    pub adjustments: Adjustments,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct PaymentData {
    pub description: Option<String>,
    pub receipt_email: Option<String>,
    pub setup_future_usage: Option<String>,
    pub statement_descriptor: Option<String>,
    pub statement_descriptor_suffix: Option<String>,
    pub capture_method: Option<String>,
    pub shipping: Option<Value>,
    pub transfer_group: Option<String>,
    pub metadata: Metadata,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SubscriptionData {
    pub description: Option<String>,
    pub trial_period_days: Option<i64>,
    pub trial_end: Option<i64>,
    pub missing_payment_method: Option<String>,
    #[serde(default)]
    pub default_tax_rates: Vec<String>,
    pub metadata: Metadata,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Authenticating {
    pub instrument: Instrument,
    pub email: Option<String>,
    pub name: Option<String>,
}

impl Row for CheckoutSession {
    const KIND: &'static str = "checkout.session";
    fn id(&self) -> &str {
        &self.id
    }

    fn links(&self) -> Vec<&str> {
        let found = [&self.customer, &self.payment_intent, &self.subscription, &self.awaiting];
        found.into_iter().flatten().map(String::as_str).collect()
    }

    fn customer(&self) -> Option<&str> {
        self.customer.as_deref()
    }
}

impl Timed for CheckoutSession {
    fn timer(&self) -> Timer {
        Timer::CheckoutSession(self.id.clone())
    }

    fn due_at(&self) -> Option<i64> {
        (self.status == Status::Open).then_some(self.expires_at)
    }
}

impl CheckoutSession {
    pub fn has_trial(&self) -> bool {
        let data = &self.subscription_data;
        self.mode == Mode::Subscription
            && (data.trial_period_days.is_some() || data.trial_end.is_some())
    }

    /// What the buyer can pay with.
    pub fn types(&self) -> Vec<String> {
        let allowed = self.allowed_types.as_deref();
        let mut types = instruments::types(&self.currency, allowed, self.excluded_types.as_deref());
        // A voucher can be neither saved nor charged again.
        types.retain(|kind| self.mode == Mode::Payment || kind != "boleto");
        types
    }

    /// Where the buyer goes after paying.
    pub fn success_target(&self) -> Option<String> {
        let url = self.success_url.as_ref()?;
        Some(url.replace("{CHECKOUT_SESSION_ID}", &self.id))
    }

    fn payment_status(&self) -> &'static str {
        match self.status {
            Status::Complete if self.paid => "paid",
            Status::Complete if self.unpaid => "unpaid",
            Status::Complete => "no_payment_required",
            Status::Open | Status::Expired => "unpaid",
        }
    }
}

pub fn view(state: &State, session: &CheckoutSession) -> Value {
    let open = session.status == Status::Open;
    let url = open.then(|| format!("{}/c/pay/{}", state.base_url, session.id));
    let mut shown = json!({
        "id": session.id,
        "object": "checkout.session",
        "adaptive_pricing": {"enabled": false},
        "allow_promotion_codes": session.allow_promotion_codes,
        "amount_subtotal": session.amount_subtotal(),
        "amount_total": session.amount_total(),
        "automatic_tax": automatic_taxes::session_view(
            session.automatic_tax,
            amounts::location(state, session).as_ref(),
        ),
        "cancel_url": session.cancel_url,
        "client_reference_id": session.client_reference_id,
        "created": session.created,
        "currency": session.currency,
        "customer": session.customer,
        "customer_creation": customer_creation(session),
        "customer_details": customer_details(state, session),
        "customer_email": session.customer_email,
        "discounts": amounts::discounts_view(session),
        "expires_at": session.expires_at,
        "invoice": session.invoice,
        "invoice_creation": invoice_creation(session),
        "locale": session.locale,
        "metadata": session.metadata,
        "mode": session.mode,
        "allowed_payment_method_types": session.allowed_types,
        "payment_intent": session.payment_intent,
        "payment_method_types": session.types(),
        "setup_intent": session.setup_intent,
        "payment_method_collection":
            if session.collects_card_always { "always" } else { "if_required" },
        "payment_status": session.payment_status(),
        "status": session.status,
        "submit_type": session.submit_type,
        "subscription": session.subscription,
        "success_url": session.success_url,
        "total_details": {
            "amount_discount": session.amount_discount(),
            "amount_shipping": 0,
            "amount_tax": session.amount_tax(),
        },
        "url": url,
    });
    let asked = session.collections.view(session.status == Status::Complete);
    for part in [constants(), asked] {
        if let (Value::Object(shown), Value::Object(part)) = (&mut shown, part) {
            shown.extend(part);
        }
    }
    if session.mode == Mode::Setup {
        for absent in ["amount_subtotal", "amount_total", "total_details"] {
            shown[absent] = Value::Null;
        }
    }
    shown
}

/// What this sandbox never changes.
fn constants() -> Value {
    json!({
        "after_expiration": null,
        "client_secret": null,
        "collected_information": null,
        "currency_conversion": null,
        "customer_account": null,
        "integration_identifier": null,
        "livemode": false,
        "managed_payments": null,
        "origin_context": null,
        "payment_link": null,
        "payment_method_configuration_details": null,
        "payment_method_options": {"card": {"request_three_d_secure": "automatic"}},
        "permissions": null,
        "recovered_from": null,
        "shipping_cost": null,
        "shipping_options": [],
        "ui_mode": "hosted_page",
        "wallet_options": null,
    })
}

fn customer_creation(session: &CheckoutSession) -> Value {
    match (session.mode, session.creates_customer) {
        (Mode::Payment, true) => json!("always"),
        (Mode::Payment, false) => json!("if_required"),
        (Mode::Setup, true) => json!("always"),
        (Mode::Setup, false) => Value::Null,
        (Mode::Subscription, _) => json!("always"),
    }
}

fn invoice_creation(session: &CheckoutSession) -> Value {
    match session.mode {
        Mode::Setup | Mode::Subscription => Value::Null,
        Mode::Payment => json!({
            "enabled": false,
            "invoice_data": {
                "account_tax_ids": null,
                "custom_fields": null,
                "description": null,
                "footer": null,
                "issuer": null,
                "metadata": {},
                "rendering_options": null,
            },
        }),
    }
}

fn customer_details(state: &State, session: &CheckoutSession) -> Value {
    let customer = session.customer.as_ref().and_then(|id| state.customers.get(id));
    let known = customer.and_then(|customer| customer.email.clone());
    let email = session.buyer_email.clone().or(session.customer_email.clone()).or(known);
    if session.status != Status::Complete && email.is_none() {
        return Value::Null;
    }
    json!({
        "address": session.buyer_address,
        "business_name": null,
        "email": email,
        "individual_name": null,
        "name": session.buyer_name,
        "phone": null,
        "tax_exempt": "none",
        "tax_ids": null,
    })
}

/// `line_items` is shown only when asked for.
pub fn line_items_view(state: &State, session: &CheckoutSession) -> Value {
    let lines = session.line_items.iter().map(|line| {
        let charged = session.charged(line);
        let taxes = &line.adjustments;
        let price = state.prices.get(&line.price);
        let is_metered = price.is_some_and(prices::Price::is_metered);
        json!({
            "id": line.id,
            "object": "item",
            "adjustable_quantity": null,
            "amount_discount": line.adjustments.discounted(),
            "amount_subtotal": charged,
            "amount_tax": taxes.inclusive_tax().saturating_add(taxes.exclusive_tax()),
            "amount_total": line.total(charged),
            "currency": session.currency,
            "description": line.description,
            "metadata": {},
            "price": price.map(prices::view),
            "quantity": (!is_metered).then_some(line.quantity),
        })
    });
    lists::whole(lines.collect(), format!("/v1/checkout/sessions/{}/line_items", session.id))
}

/// Stores a changed session and tells of it under the change's own name.
pub fn save(tx: &mut Tx<'_>, session: CheckoutSession, event: &str) -> Value {
    let shown = view(tx.state, &session);
    tx.state.checkout_sessions.put(session);
    tx.emit(event, shown.clone());
    shown
}

pub fn find<'a>(state: &'a State, id: &str) -> Result<&'a CheckoutSession, ApiError> {
    state.checkout_sessions.get(id).ok_or_else(|| ApiError::not_found("checkout.session", id))
}

pub fn retrieve(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    Ok(view(tx.state, find(tx.state, call.id())?))
}

pub fn update(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let mut session = find(tx.state, call.id())?.clone();
    call.params.metadata()?.apply(&mut session.metadata);
    call.params.finish()?;
    let shown = view(tx.state, &session);
    tx.state.checkout_sessions.put(session);
    Ok(shown)
}

pub fn expire(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    call.params.finish()?;
    let session = find(tx.state, call.id())?;
    if session.status != Status::Open {
        let status = json!(session.status);
        let message = format!(
            "Only Checkout Sessions with a status in [\"open\"] can be expired. This Checkout \
             Session has a status of {}.",
            status.as_str().unwrap_or_default()
        );
        return Err(ApiError::invalid(message));
    }
    let session = session.clone();
    Ok(expire_now(tx, session))
}

fn expire_now(tx: &mut Tx<'_>, mut session: CheckoutSession) -> Value {
    session.status = Status::Expired;
    session.authenticating = None;
    let setup = session.setup_intent.as_ref();
    if let Some(mut intent) = setup.and_then(|id| tx.state.setup_intents.get(id).cloned()) {
        setup_intents::cancel_now(tx, &mut intent, None);
    }
    save(tx, session, "checkout.session.expired")
}

/// The session's time is over.
pub fn due(tx: &mut Tx<'_>, id: &str) -> Result<(), ApiError> {
    let session = find(tx.state, id)?.clone();
    if session.due_at().is_some_and(|at| at <= tx.now) {
        expire_now(tx, session);
    }
    Ok(())
}

/// `/v1/checkout/sessions/{id}/line_items`: always complete.
pub fn line_items(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    call.params.ignore(&["limit", "starting_after", "ending_before"]);
    call.params.finish()?;
    Ok(line_items_view(tx.state, find(tx.state, call.id())?))
}

pub fn list(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let params = &mut call.params;
    let created = lists::range(params, "created")?;
    let customer = params.text("customer")?;
    let intent = params.text("payment_intent")?;
    let subscription = params.text("subscription")?;
    let status = params.text("status")?;
    let mut email = None;
    if let Some(mut details) = params.hash("customer_details")? {
        email = details.text("email")?;
        details.finish()?;
    }
    let state = &*tx.state;
    lists::page_of(
        call,
        &state.checkout_sessions,
        intent.as_deref().or(subscription.as_deref()).or(customer.as_deref()),
        |session| {
            created.contains(session.created)
                && (customer.is_none() || session.customer == customer)
                && (intent.is_none() || session.payment_intent == intent)
                && (subscription.is_none() || session.subscription == subscription)
                && (email.is_none() || session.buyer_email == email)
                && status.as_ref().is_none_or(|status| json!(session.status) == **status)
        },
        |session| view(state, session),
    )
}
