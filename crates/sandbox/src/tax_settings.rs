//! The one object `tax/settings` of an account.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::errors::ApiError;
use crate::params::Change;
use crate::requests::Call;
use crate::state::{Row, State};
use crate::tax_codes;
use crate::transactions::Tx;

const ID: &str = "settings";

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TaxSettings {
    pub tax_behavior: Option<String>,
    pub tax_code: Option<String>,
    pub head_office: Option<Value>,
}

impl Row for TaxSettings {
    const KIND: &'static str = "tax.settings";
    fn id(&self) -> &str {
        ID
    }
}

pub fn of(state: &State) -> TaxSettings {
    let fresh = TaxSettings { tax_behavior: None, tax_code: None, head_office: None };
    state.tax_settings.get(ID).cloned().unwrap_or(fresh)
}

fn view(settings: &TaxSettings) -> Value {
    let mut missing = Vec::new();
    if settings.tax_code.is_none() {
        missing.push("defaults.tax_code");
    }
    if settings.head_office.is_none() {
        missing.push("head_office");
    }
    let details = if missing.is_empty() {
        json!({"active": {}})
    } else {
        json!({"pending": {"missing_fields": missing}})
    };
    json!({
        "object": "tax.settings",
        "defaults": {
            "provider": "stripe",
            "tax_behavior": settings.tax_behavior,
            "tax_code": settings.tax_code,
        },
        "head_office": settings.head_office.as_ref().map(|address| json!({"address": address})),
        "livemode": false,
        "status": if missing.is_empty() { "active" } else { "pending" },
        "status_details": details,
    })
}

pub fn retrieve(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    call.params.finish()?;
    Ok(view(&of(tx.state)))
}

pub fn update(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let mut settings = of(tx.state);
    let before = view(&settings);
    if let Some(mut defaults) = call.params.hash("defaults")? {
        let behaviors = ["exclusive", "inclusive", "inferred_by_currency"];
        if let Some(behavior) = defaults.word("tax_behavior", &behaviors)? {
            settings.tax_behavior = Some(behavior.to_owned());
        }
        if let Some(code) = defaults.text("tax_code")? {
            tax_codes::check(&code, "defaults[tax_code]")?;
            settings.tax_code = Some(code);
        }
        defaults.finish()?;
    }
    if let Some(mut office) = call.params.hash("head_office")? {
        if let Change::Set(address) = office.address("address")? {
            settings.head_office = Some(address);
        }
        office.finish()?;
    }
    call.params.finish()?;
    let after = view(&settings);
    tx.state.tax_settings.put(settings);
    tx.emit_change("tax.settings.updated", &before, after.clone());
    Ok(after)
}
