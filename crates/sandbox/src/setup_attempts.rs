//! Setup attempts: each try to save a payment method through a setup intent.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::charges::Failure;
use crate::errors::ApiError;
use crate::payment_methods::PaymentMethod;
use crate::requests::Call;
use crate::setup_intents::{self, SetupIntent};
use crate::state::{Row, State};
use crate::transactions::Tx;
use crate::{ids, lists};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SetupAttempt {
    pub id: String,
    pub created: i64,
    pub setup_intent: String,
    pub customer: Option<String>,
    pub payment_method: String,
    pub usage: String,
    pub status: Status,
    /// The buyer was asked for 3-D Secure.
    pub challenged: bool,
    pub failure: Option<Failure>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    RequiresAction,
    Succeeded,
    Failed,
    Abandoned,
}

impl Row for SetupAttempt {
    const KIND: &'static str = "setup_attempt";
    fn id(&self) -> &str {
        &self.id
    }

    fn links(&self) -> Vec<&str> {
        vec![&self.setup_intent]
    }

    fn customer(&self) -> Option<&str> {
        self.customer.as_deref()
    }
}

pub fn view(state: &State, attempt: &SetupAttempt) -> Value {
    let method = state.payment_methods.get(&attempt.payment_method);
    let failure = attempt.failure.as_ref();
    json!({
        "id": attempt.id,
        "object": "setup_attempt",
        "application": null,
        "created": attempt.created,
        "customer": attempt.customer,
        "customer_account": null,
        "flow_directions": null,
        "livemode": false,
        "on_behalf_of": null,
        "payment_method": attempt.payment_method,
        "payment_method_details": method.map(|method| details(attempt, method)),
        "setup_error": failure.map(|failure| setup_intents::failure_view(failure, method)),
        "setup_intent": attempt.setup_intent,
        "status": attempt.status,
        "usage": attempt.usage,
    })
}

fn details(attempt: &SetupAttempt, method: &PaymentMethod) -> Value {
    let kind = method.instrument.kind();
    if kind != "card" {
        return json!({kind: {}, "type": kind});
    }
    let secure = attempt.challenged.then(|| {
        let authenticated = attempt.status == Status::Succeeded;
        json!({
            "authentication_flow": "challenge",
            "electronic_commerce_indicator": if authenticated { Some("05") } else { None },
            "result": if authenticated { "authenticated" } else { "failed" },
            "result_reason": if authenticated { None } else { Some("rejected") },
            "transaction_id": null,
            "version": "2.2.0",
        })
    });
    let secure = secure.filter(|_| attempt.status != Status::RequiresAction);
    let shown = method.instrument.view();
    json!({
        "card": {
            "brand": shown["brand"],
            "checks": shown["checks"],
            "country": shown["country"],
            "exp_month": shown["exp_month"],
            "exp_year": shown["exp_year"],
            "fingerprint": shown["fingerprint"],
            "funding": shown["funding"],
            "last4": shown["last4"],
            "network": shown["brand"],
            "three_d_secure": secure,
            "wallet": null,
        },
        "type": "card",
    })
}

/// A new attempt, not stored yet.
pub fn begin(tx: &Tx<'_>, intent: &SetupIntent, method: &str) -> SetupAttempt {
    SetupAttempt {
        id: ids::object("setatt"),
        created: tx.now,
        setup_intent: intent.id.clone(),
        customer: intent.customer.clone(),
        payment_method: method.to_owned(),
        usage: intent.usage.clone(),
        status: Status::RequiresAction,
        challenged: false,
        failure: None,
    }
}

pub fn list(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let created = lists::range(&mut call.params, "created")?;
    let intent = call.params.required("setup_intent")?;
    let state = &*tx.state;
    if state.setup_intents.get(&intent).is_none() {
        return Err(ApiError::no_such("setupintent", &intent, "setup_intent"));
    }
    lists::page(
        call,
        &state.setup_attempts,
        |attempt| created.contains(attempt.created) && attempt.setup_intent == intent,
        |attempt| view(state, attempt),
    )
}
