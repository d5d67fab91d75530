//! What is said against a dispute.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::charges::Charge;
use crate::errors::ApiError;
use crate::params::{Change, Params};

/// Texts of up to this many signs in all.
const MAX_SIGNS: usize = 150_000;

const FIELDS: [&str; 27] = [
    "access_activity_log",
    "billing_address",
    "cancellation_policy",
    "cancellation_policy_disclosure",
    "cancellation_rebuttal",
    "customer_communication",
    "customer_email_address",
    "customer_name",
    "customer_purchase_ip",
    "customer_signature",
    "duplicate_charge_documentation",
    "duplicate_charge_explanation",
    "duplicate_charge_id",
    "product_description",
    "receipt",
    "refund_policy",
    "refund_policy_disclosure",
    "refund_refusal_explanation",
    "service_date",
    "service_documentation",
    "shipping_address",
    "shipping_carrier",
    "shipping_date",
    "shipping_documentation",
    "shipping_tracking_number",
    "uncategorized_file",
    "uncategorized_text",
];

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Evidence {
    given: BTreeMap<String, String>,
    /// Known from the charge without anybody saying so.
    known: BTreeMap<String, String>,
}

impl Evidence {
    pub fn of_charge(charge: &Charge) -> Evidence {
        let mut evidence = Evidence::default();
        let billing = &charge.billing;
        let known = [("customer_email_address", &billing.email), ("customer_name", &billing.name)];
        for (field, value) in known {
            if let Some(value) = value {
                evidence.known.insert(field.to_owned(), value.clone());
            }
        }
        evidence
    }

    pub fn is_empty(&self) -> bool {
        self.given.is_empty()
    }

    /// The text that decides a test dispute, if it is one of those that do.
    pub fn verdict(&self) -> Option<&'static str> {
        let text = self.given.get("uncategorized_text")?;
        let texts = ["winning_evidence", "losing_evidence", "escalate_inquiry_evidence"];
        texts.into_iter().find(|verdict| text == verdict)
    }

    pub fn view(&self) -> Value {
        let mut shown = Map::new();
        for field in FIELDS {
            let value = self.given.get(field).or_else(|| self.known.get(field));
            shown.insert(field.to_owned(), json!(value));
        }
        shown.insert("enhanced_evidence".to_owned(), json!({}));
        Value::Object(shown)
    }

    pub fn read(&mut self, params: &mut Params) -> Result<(), ApiError> {
        for field in FIELDS {
            let name = params.name(field);
            match params.change(field)? {
                Change::Keep => {}
                Change::Clear => {
                    self.given.remove(field);
                }
                Change::Set(id) if is_file(field) && !id.starts_with("file_") => {
                    return Err(ApiError::no_such("file upload", &id, &name));
                }
                Change::Set(text) => {
                    self.given.insert(field.to_owned(), text);
                }
            }
        }
        params.refuse(&["appeal", "enhanced_evidence"])?;
        params.finish()?;
        let signs: usize = self.given.values().map(|text| text.chars().count()).sum();
        if MAX_SIGNS < signs {
            let message = format!("Evidence has up to {MAX_SIGNS} characters in all.");
            return Err(ApiError::invalid(message).param("evidence"));
        }
        Ok(())
    }
}

/// Fields that hold an uploaded file rather than a text.
fn is_file(field: &str) -> bool {
    matches!(
        field,
        "cancellation_policy"
            | "customer_communication"
            | "customer_signature"
            | "duplicate_charge_documentation"
            | "receipt"
            | "refund_policy"
            | "service_documentation"
            | "shipping_documentation"
            | "uncategorized_file"
    )
}
