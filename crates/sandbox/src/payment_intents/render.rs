//! The parts of a payment intent on the wire that depend on how it is paid.

use serde_json::{Value, json};

use crate::clock::DAY;
use crate::instruments;
use crate::instruments::Instrument;
use crate::payment_intents::{PaymentIntent, Status};
use crate::payment_methods;
use crate::state::State;

const VOUCHER_DAYS: i64 = 3;

/// What this intent can be paid with.
pub fn types(intent: &PaymentIntent) -> Vec<String> {
    let allowed = intent.allowed_types.as_deref();
    instruments::types(&intent.currency, allowed, intent.excluded_types.as_deref())
}

pub fn options_view(intent: &PaymentIntent, types: &[String]) -> Value {
    let options = &intent.method_options;
    let mut shown = json!({});
    for kind in types {
        shown[kind] = match kind.as_str() {
            "card" => json!({
                "installments": null,
                "mandate_options": null,
                "network": null,
                "request_three_d_secure":
                    options.request_three_d_secure.as_deref().unwrap_or("automatic"),
            }),
            "boleto" => json!({
                "expires_after_days": options.expires_after_days.unwrap_or(VOUCHER_DAYS),
            }),
            "us_bank_account" => json!({
                "verification_method":
                    options.verification_method.as_deref().unwrap_or("automatic"),
            }),
            _ => json!({}),
        };
    }
    if options.incremental_authorization {
        shown["card"]["request_incremental_authorization"] = json!("if_available");
    }
    shown
}

/// What the buyer has to do before anything goes on.
pub fn next_action(state: &State, intent: &PaymentIntent) -> Value {
    if intent.status != Status::RequiresAction {
        return Value::Null;
    }
    let page = format!("{}/a/{}", state.base_url, intent.id);
    let method = intent.payment_method.as_ref().and_then(|id| state.payment_methods.get(id));
    match method.map(|method| &method.instrument) {
        Some(Instrument::UsBankAccount(_)) => verification(&page, intent.created),
        Some(Instrument::Boleto { .. }) => {
            let days = intent.method_options.expires_after_days.unwrap_or(VOUCHER_DAYS);
            json!({
                "boleto_display_details": {
                    "expires_at": intent.created + days * DAY,
                    "hosted_voucher_url": page,
                    "number": "01010101010101010101010101010101010101010101010",
                    "pdf": format!("{page}?print"),
                },
                "type": "boleto_display_details",
            })
        }
        _ => json!({
            "redirect_to_url": {"return_url": intent.return_url, "url": page},
            "type": "redirect_to_url",
        }),
    }
}

/// Two small deposits prove whose account it is.
pub fn verification(page: &str, now: i64) -> Value {
    json!({
        "type": "verify_with_microdeposits",
        "verify_with_microdeposits": {
            "arrival_date": (now.div_euclid(DAY) + 2) * DAY,
            "hosted_verification_url": page,
            "microdeposit_type": "amounts",
        },
    })
}

pub fn failure_view(state: &State, intent: &PaymentIntent) -> Value {
    let Some((failure, method)) = &intent.last_failure else {
        return Value::Null;
    };
    let method = state.payment_methods.get(method);
    let anchor = failure.code.replace('_', "-");
    let mut shown = json!({
        "code": failure.code,
        "doc_url": format!("https://stripe.com/docs/error-codes/{anchor}"),
        "message": failure.message,
        "payment_method": method.map(payment_methods::view),
        "type": "card_error",
    });
    if method.is_some_and(|method| method.instrument.card().is_none()) {
        shown["type"] = json!("invalid_request_error");
    }
    if let Some(charge) = &intent.latest_charge {
        shown["charge"] = json!(charge);
    }
    if let Some(decline_code) = &failure.decline_code {
        shown["decline_code"] = json!(decline_code);
    }
    shown
}
