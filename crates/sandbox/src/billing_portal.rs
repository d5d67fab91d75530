//! Billing portal sessions: a customer's link to their own page.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::errors::ApiError;
use crate::portal_flows::{self, Flow};
use crate::requests::Call;
use crate::state::{Row, State};
use crate::transactions::Tx;
use crate::{customers, ids, portal_configurations};

/// A portal link works this long.
const LIFE_SECONDS: i64 = 24 * 3_600;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PortalSession {
    pub id: String,
    /// The part of the address that nobody can guess.
    pub token: String,
    pub created: i64,
    pub customer: String,
    pub return_url: Option<String>,
    pub locale: Option<String>,
    pub configuration: String,
    #[serde(default)]
    pub flow: Option<Flow>,
    /// The card that waits for 3-D Secure.
    #[serde(default)]
    pub setup_intent: Option<String>,
}

impl Row for PortalSession {
    const KIND: &'static str = "billing_portal.session";
    fn id(&self) -> &str {
        &self.id
    }

    fn links(&self) -> Vec<&str> {
        vec![&self.token]
    }

    fn customer(&self) -> Option<&str> {
        Some(&self.customer)
    }
}

impl PortalSession {
    pub fn is_open(&self, now: i64) -> bool {
        now < self.created.saturating_add(LIFE_SECONDS)
    }
}

pub fn view(state: &State, session: &PortalSession) -> Value {
    json!({
        "id": session.id,
        "object": "billing_portal.session",
        "configuration": session.configuration,
        "created": session.created,
        "customer": session.customer,
        "customer_account": null,
        "flow": session.flow.as_ref().map(portal_flows::view),
        "livemode": false,
        "locale": session.locale,
        "on_behalf_of": null,
        "return_url": session.return_url,
        "url": format!("{}/p/session/{}", state.base_url, session.token),
    })
}

/// The session an address names.
pub fn by_token<'a>(state: &'a State, token: &str) -> Option<&'a PortalSession> {
    state.portal_sessions.of(token).next()
}

pub fn create(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let params = &mut call.params;
    let customer = params.required("customer")?;
    customers::live(tx.state, &customer, "customer")?;
    let return_url = params.url("return_url")?.set();
    let locale = params.text("locale")?;
    let id = params.text("configuration")?;
    let configuration = portal_configurations::choose(tx, id.as_deref())?;
    let flow = match params.hash("flow_data")? {
        None => None,
        Some(mut data) => {
            let features = &configuration.features;
            Some(portal_flows::read(tx.state, &mut data, &customer, features)?)
        }
    };
    params.ignore(&["on_behalf_of"]);
    params.refuse(&["after_expiration"])?;
    params.finish()?;
    let session = PortalSession {
        id: ids::object("bps"),
        token: ids::object("test"),
        created: tx.now,
        customer,
        return_url,
        locale,
        configuration: configuration.id,
        flow,
        setup_intent: None,
    };
    let answer = view(tx.state, &session);
    tx.state.portal_sessions.put(session);
    tx.emit("billing_portal.session.created", answer.clone());
    Ok(answer)
}
