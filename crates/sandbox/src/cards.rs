//! The test cards: what they look like and what their bank answers.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// One row per simulated card; `pm_card_…` and `tok_…` ids name the same behaviours.
pub struct Card {
    pub number: &'static str,
    pub brand: &'static str,
    pub funding: &'static str,
    behaviour: Behaviour,
    payment_methods: &'static [&'static str],
    tokens: &'static [&'static str],
}

#[derive(Clone, Copy)]
enum Behaviour {
    Approves,
    Declines(Decline),
    /// Can be saved, but charging it fails.
    DeclinesWhenSaved(Decline),
    /// Asks for 3-D Secure on every payment.
    Authenticates,
    /// Asks for 3-D Secure until it has been saved with one.
    AuthenticatesOnce,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decline {
    pub code: &'static str,
    pub decline_code: Option<&'static str>,
    pub message: &'static str,
}

/// Who is there while the card is charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Presence {
    /// The buyer is at the page and has not been asked to authenticate.
    OnSession,
    /// The buyer is at the page and has completed 3-D Secure.
    Authenticated,
    /// Nobody: a renewal, a retry, `off_session=true`.
    OffSession,
}

pub enum Verdict {
    Approved,
    NeedsAuthentication,
    Declined(Decline),
}

const fn declined(decline_code: &'static str, message: &'static str) -> Decline {
    Decline { code: "card_declined", decline_code: Some(decline_code), message }
}

const GENERIC: Decline = declined("generic_decline", "Your card was declined.");
const FUNDS: Decline = declined("insufficient_funds", "Your card has insufficient funds.");
const EXPIRED: Decline =
    Decline { code: "expired_card", decline_code: None, message: "Your card has expired." };
const CVC: Decline = Decline {
    code: "incorrect_cvc",
    decline_code: None,
    message: "Your card's security code is incorrect.",
};
const PROCESSING: Decline = Decline {
    code: "processing_error",
    decline_code: None,
    message: "An error occurred while processing your card. Try again in a little bit.",
};
pub const AUTHENTICATION: Decline = Decline {
    code: "authentication_required",
    decline_code: Some("authentication_required"),
    message: "Your card was declined. This transaction requires authentication.",
};
pub const AUTHENTICATION_FAILED: Decline = Decline {
    code: "payment_intent_authentication_failure",
    decline_code: None,
    message: "We are unable to authenticate your payment method. Please choose a different \
              payment method and try again.",
};

const fn card(
    number: &'static str,
    brand: &'static str,
    behaviour: Behaviour,
    payment_methods: &'static [&'static str],
    tokens: &'static [&'static str],
) -> Card {
    Card { number, brand, funding: "credit", behaviour, payment_methods, tokens }
}

const CARDS: &[Card] = &[
    card("4242424242424242", "visa", Behaviour::Approves, &["pm_card_visa"], &["tok_visa"]),
    card(
        "5555555555554444",
        "mastercard",
        Behaviour::Approves,
        &["pm_card_mastercard"],
        &["tok_mastercard"],
    ),
    card("378282246310005", "amex", Behaviour::Approves, &["pm_card_amex"], &["tok_amex"]),
    Card {
        number: "4000056655665556",
        brand: "visa",
        funding: "debit",
        behaviour: Behaviour::Approves,
        payment_methods: &["pm_card_visa_debit"],
        tokens: &["tok_visa_debit"],
    },
    card(
        "4000000000000002",
        "visa",
        Behaviour::Declines(GENERIC),
        &["pm_card_chargeDeclined", "pm_card_visa_chargeDeclined"],
        &["tok_chargeDeclined", "tok_visa_chargeDeclined"],
    ),
    card(
        "4000000000009995",
        "visa",
        Behaviour::Declines(FUNDS),
        &[
            "pm_card_chargeDeclinedInsufficientFunds",
            "pm_card_visa_chargeDeclinedInsufficientFunds",
        ],
        &["tok_chargeDeclinedInsufficientFunds", "tok_visa_chargeDeclinedInsufficientFunds"],
    ),
    card(
        "4000000000000069",
        "visa",
        Behaviour::Declines(EXPIRED),
        &["pm_card_chargeDeclinedExpiredCard", "pm_card_visa_chargeDeclinedExpiredCard"],
        &["tok_chargeDeclinedExpiredCard", "tok_visa_chargeDeclinedExpiredCard"],
    ),
    card(
        "4000000000000127",
        "visa",
        Behaviour::Declines(CVC),
        &["pm_card_chargeDeclinedIncorrectCvc", "pm_card_visa_chargeDeclinedIncorrectCvc"],
        &["tok_chargeDeclinedIncorrectCvc", "tok_visa_chargeDeclinedIncorrectCvc"],
    ),
    card(
        "4000000000000119",
        "visa",
        Behaviour::Declines(PROCESSING),
        &["pm_card_chargeDeclinedProcessingError", "pm_card_visa_chargeDeclinedProcessingError"],
        &["tok_chargeDeclinedProcessingError", "tok_visa_chargeDeclinedProcessingError"],
    ),
    card(
        "4000000000000341",
        "visa",
        Behaviour::DeclinesWhenSaved(GENERIC),
        &["pm_card_chargeCustomerFail", "pm_card_visa_chargeCustomerFail"],
        &["tok_chargeCustomerFail", "tok_visa_chargeCustomerFail"],
    ),
    card(
        "4000002760003184",
        "visa",
        Behaviour::Authenticates,
        &["pm_card_authenticationRequired", "pm_card_threeDSecure2Required"],
        &["tok_threeDSecure2Required"],
    ),
    card(
        "4000002500003155",
        "visa",
        Behaviour::AuthenticatesOnce,
        &[
            "pm_card_authenticationRequiredOnSetup",
            "pm_card_authenticationRequiredSetupForOffSession",
        ],
        &["tok_threeDSecureOptional"],
    ),
];

/// The card with this number; spaces and dashes do not count.
pub fn by_number(number: &str) -> Option<&'static Card> {
    let digits: String = number.chars().filter(|sign| !matches!(sign, ' ' | '-')).collect();
    CARDS.iter().find(|card| card.number == digits)
}

pub fn by_payment_method(id: &str) -> Option<&'static Card> {
    CARDS.iter().find(|card| card.payment_methods.contains(&id))
}

pub fn by_token(id: &str) -> Option<&'static Card> {
    CARDS.iter().find(|card| card.tokens.contains(&id))
}

impl Card {
    pub fn last4(&self) -> &'static str {
        &self.number[self.number.len() - 4..]
    }

    /// What the bank answers. `authenticated_before`: the card was saved with 3-D Secure.
    pub fn charge(&self, presence: Presence, authenticated_before: bool) -> Verdict {
        match (self.behaviour, presence) {
            (Behaviour::Approves, _) => Verdict::Approved,
            (Behaviour::Declines(decline), _) => Verdict::Declined(decline),
            (Behaviour::DeclinesWhenSaved(decline), _) => Verdict::Declined(decline),
            (Behaviour::AuthenticatesOnce, _) if authenticated_before => Verdict::Approved,
            (_, Presence::Authenticated) => Verdict::Approved,
            (_, Presence::OnSession) => Verdict::NeedsAuthentication,
            (_, Presence::OffSession) => Verdict::Declined(AUTHENTICATION),
        }
    }

    /// What the bank answers when the card is saved without a payment, as for a trial.
    pub fn save(&self, presence: Presence) -> Verdict {
        match (self.behaviour, presence) {
            (Behaviour::Approves | Behaviour::DeclinesWhenSaved(_), _) => Verdict::Approved,
            (Behaviour::Declines(decline), _) => Verdict::Declined(decline),
            (_, Presence::Authenticated) => Verdict::Approved,
            (_, Presence::OnSession | Presence::OffSession) => Verdict::NeedsAuthentication,
        }
    }

    /// A card whose bank refuses it even before money is asked for cannot be attached.
    pub fn refuses_to_attach(&self) -> Option<Decline> {
        match self.behaviour {
            Behaviour::Declines(decline) => Some(decline),
            _ => None,
        }
    }

    /// Stable per card, so the same card is recognised on two customers.
    pub fn fingerprint(&self) -> String {
        use sha2::{Digest, Sha256};
        hex::encode(Sha256::digest(self.number.as_bytes()))[..16].to_owned()
    }

    /// `payment_method.card`.
    pub fn view(&self, exp_month: i64, exp_year: i64) -> Value {
        json!({
            "brand": self.brand,
            "checks": {
                "address_line1_check": null,
                "address_postal_code_check": null,
                "cvc_check": "pass",
            },
            "country": "US",
            "display_brand": self.brand,
            "exp_month": exp_month,
            "exp_year": exp_year,
            "fingerprint": self.fingerprint(),
            "funding": self.funding,
            "generated_from": null,
            "last4": self.last4(),
            "networks": {"available": [self.brand], "preferred": null},
            "regulated_status": "unregulated",
            "three_d_secure_usage": {"supported": true},
            "wallet": null,
        })
    }

    /// `charge.payment_method_details.card`.
    pub fn charge_view(&self, exp_month: i64, exp_year: i64, amount: i64) -> Value {
        let mut view = self.view(exp_month, exp_year);
        if let Value::Object(fields) = &mut view {
            for absent in ["display_brand", "generated_from", "networks", "three_d_secure_usage"] {
                fields.remove(absent);
            }
        }
        view["amount_authorized"] = json!(amount);
        view["network"] = json!(self.brand);
        for empty in [
            "authorization_code",
            "electronic_commerce_indicator",
            "installments",
            "mandate",
            "network_transaction_id",
            "three_d_secure",
            "transaction_link_id",
        ] {
            view[empty] = Value::Null;
        }
        view
    }
}
