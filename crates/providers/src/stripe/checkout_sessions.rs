//! Hosted payment pages.

use std::collections::BTreeMap;

use serde_json::Value;

use super::form::Form;
use super::{Client, fields, object_path, unreadable};
use crate::errors::ProviderError;
use crate::facts::{CheckoutSession, SessionMode, SessionPayment, SessionStatus};

/// A payment page to open for one price.
#[derive(Debug, Clone)]
pub struct CheckoutNew<'a> {
    pub mode: SessionMode,
    pub price: &'a str,
    pub quantity: u32,
    /// The provider's id; with it the e-mail is the provider's to know.
    pub customer: Option<&'a str>,
    pub customer_email: Option<&'a str>,
    pub client_reference: &'a str,
    /// Written on the session and on the subscription or payment that it makes.
    pub metadata: BTreeMap<String, String>,
    pub success_url: &'a str,
    pub cancel_url: &'a str,
    pub trial_days: Option<u32>,
    pub promotion_codes: bool,
}

impl Client {
    /// Opens a payment page.
    pub async fn checkout_session_create(
        &self,
        session: &CheckoutNew<'_>,
        key: &str,
    ) -> Result<CheckoutSession, ProviderError> {
        let answer = self.post("/v1/checkout/sessions", form(session), key).await?;
        read(&answer).ok_or_else(|| unreadable("the id of the session"))
    }

    pub async fn checkout_session(&self, id: &str) -> Result<CheckoutSession, ProviderError> {
        let path = object_path("checkout/sessions", id)?;
        let answer = self.get(&path, Form::new()).await?;
        read(&answer).ok_or_else(|| unreadable("the id of the session"))
    }

    /// Closes a payment page nobody has paid at yet.
    pub async fn checkout_session_expire(
        &self,
        id: &str,
        key: &str,
    ) -> Result<CheckoutSession, ProviderError> {
        let path = format!("{}/expire", object_path("checkout/sessions", id)?);
        let answer = self.post(&path, Form::new(), key).await?;
        read(&answer).ok_or_else(|| unreadable("the id of the session"))
    }
}

fn form(session: &CheckoutNew<'_>) -> Form {
    let mut form = Form::new()
        .with("mode", session.mode.as_str())
        .with("line_items[0][price]", session.price)
        .with("line_items[0][quantity]", &session.quantity.to_string())
        .with("client_reference_id", session.client_reference)
        .with("success_url", session.success_url)
        .with("cancel_url", session.cancel_url)
        .with_map("metadata", &session.metadata);
    form = match session.customer {
        Some(customer) => form.with("customer", customer),
        None => form.with_some("customer_email", session.customer_email),
    };
    // What is written on the session alone never reaches the objects it makes.
    match session.mode {
        SessionMode::Subscription => {
            form = form.with_map("subscription_data[metadata]", &session.metadata);
            if let Some(days) = session.trial_days.filter(|days| 0 < *days) {
                form = form.with("subscription_data[trial_period_days]", &days.to_string());
            }
        }
        SessionMode::Payment => {
            form = form.with_map("payment_intent_data[metadata]", &session.metadata);
            if session.customer.is_none() {
                // Without it a guest who pays once leaves no customer to grant anything to.
                form = form.with("customer_creation", "always");
            }
        }
        SessionMode::Setup | SessionMode::Other(_) => {}
    }
    if session.promotion_codes {
        form = form.with("allow_promotion_codes", "true");
    }
    form
}

/// None when it has no id.
pub(super) fn read(object: &Value) -> Option<CheckoutSession> {
    let word = |pointer| fields::text(object, pointer).unwrap_or_default();
    Some(CheckoutSession {
        id: fields::text(object, "/id")?,
        status: SessionStatus::parse(&word("/status")),
        payment: SessionPayment::parse(&word("/payment_status")),
        mode: SessionMode::parse(&word("/mode")),
        customer: fields::reference(object, "/customer"),
        email: fields::text(object, "/customer_details/email")
            .or_else(|| fields::text(object, "/customer_email")),
        name: fields::text(object, "/customer_details/name"),
        client_reference: fields::text(object, "/client_reference_id"),
        metadata: fields::map(object, "/metadata"),
        payment_intent: fields::reference(object, "/payment_intent"),
        invoice: fields::reference(object, "/invoice"),
        subscription: fields::reference(object, "/subscription"),
        amount_total: fields::integer(object, "/amount_total"),
        currency: fields::text(object, "/currency"),
        url: fields::text(object, "/url"),
        created_at: fields::instant(object, "/created"),
        expires_at: fields::instant(object, "/expires_at"),
    })
}
