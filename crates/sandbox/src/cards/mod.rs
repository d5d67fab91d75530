//! The test cards: what they look like and what their bank answers.

mod table;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use table::CARDS;

/// One simulated card.
pub struct Card {
    pub number: &'static str,
    pub brand: &'static str,
    pub funding: &'static str,
    pub country: &'static str,
    behaviour: Behaviour,
    pub sequel: Sequel,
    checks: Checks,
    names: &'static [&'static str],
}

/// What happens to a payment after it went through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sequel {
    None,
    ElevatedRisk,
    /// The buyer disputes it, for this reason.
    Disputed(&'static str),
    DisputedTwice,
    /// The bank asks before it disputes.
    Inquiry,
    /// A refund is pending before it succeeds.
    RefundPends,
    /// A refund succeeds and fails later.
    RefundFails,
    /// The money is available at once.
    BypassesPending,
}

#[derive(Clone, Copy)]
struct Checks {
    cvc: &'static str,
    line1: &'static str,
    postal_code: &'static str,
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
    /// Asks for 3-D Secure whenever the buyer is there.
    AuthenticatesOnSession,
    /// Asks for 3-D Secure and declines all the same.
    AuthenticatesThenDeclines(Decline),
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
    /// The buyer may be there, but must not be asked: `error_on_requires_action=true`.
    Unasked,
}

pub enum Verdict {
    Approved,
    /// A debit is under way: the bank answers later.
    Pending,
    NeedsAuthentication,
    /// The bank account has to be shown to be the buyer's.
    NeedsVerification,
    /// The buyer pays a voucher later, or does not.
    NeedsVoucher,
    Declined(Decline),
}

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

/// The card with this number; spaces and dashes do not count.
pub fn by_number(number: &str) -> Option<&'static Card> {
    let digits: String = number.chars().filter(|sign| !matches!(sign, ' ' | '-')).collect();
    CARDS.iter().find(|card| card.number == digits)
}

pub fn by_payment_method(id: &str) -> Option<&'static Card> {
    by_name(id.strip_prefix("pm_card_")?)
}

pub fn by_token(id: &str) -> Option<&'static Card> {
    by_name(id.strip_prefix("tok_")?)
}

fn by_name(name: &str) -> Option<&'static Card> {
    CARDS.iter().find(|card| card.names.contains(&name))
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
            (Behaviour::AuthenticatesOnSession, Presence::OffSession) => Verdict::Approved,
            (Behaviour::AuthenticatesThenDeclines(decline), _)
                if authenticated_before || presence == Presence::Authenticated =>
            {
                Verdict::Declined(decline)
            }
            (_, Presence::Authenticated) => Verdict::Approved,
            (_, Presence::OnSession) => Verdict::NeedsAuthentication,
            (_, Presence::OffSession | Presence::Unasked) => Verdict::Declined(AUTHENTICATION),
        }
    }

    /// What the bank answers when the card is saved without a payment, as for a trial.
    pub fn save(&self, presence: Presence) -> Verdict {
        match (self.behaviour, presence) {
            (Behaviour::Approves | Behaviour::DeclinesWhenSaved(_), _) => Verdict::Approved,
            (Behaviour::Declines(decline), _) => Verdict::Declined(decline),
            (_, Presence::Authenticated) => Verdict::Approved,
            (_, Presence::OnSession | Presence::OffSession | Presence::Unasked) => {
                Verdict::NeedsAuthentication
            }
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

    /// `payment_method.card`. An address is checked only where the card is one that fails it.
    pub fn view(&self, exp_month: i64, exp_year: i64) -> Value {
        json!({
            "brand": self.brand,
            "checks": {
                "address_line1_check": checked(self.checks.line1),
                "address_postal_code_check": checked(self.checks.postal_code),
                "cvc_check": self.checks.cvc,
            },
            "country": self.country,
            "display_brand": self.brand,
            "exp_month": exp_month,
            "exp_year": exp_year,
            "fingerprint": self.fingerprint(),
            "funding": self.funding,
            "generated_from": null,
            "last4": self.last4(),
            "networks": {"available": [self.brand], "preferred": null},
            "regulated_status": "unregulated",
            "three_d_secure_usage": {"supported": self.brand != "amex"},
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

fn checked(result: &'static str) -> Option<&'static str> {
    Some(result).filter(|result| *result != "pass")
}
