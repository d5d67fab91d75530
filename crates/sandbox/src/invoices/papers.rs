//! What is printed on an invoice besides its lines: recipient, custom fields, footer, tax ids.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::customers::Customer;
use crate::errors::ApiError;
use crate::invoices::Invoice;
use crate::params::Params;
use crate::state::State;
use crate::tax_ids;

const MAX_CUSTOM_FIELDS: usize = 4;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Paper {
    pub footer: Option<String>,
    pub custom_fields: Vec<CustomField>,
    pub account_tax_ids: Vec<String>,
    pub statement_descriptor: Option<String>,
    /// The customer as they were when the invoice became final; a draft shows them as they are.
    pub recipient: Option<Recipient>,
    /// The invoice this one revises.
    pub from_invoice: Option<String>,
    /// The newest final invoice that revises this one.
    pub latest_revision: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustomField {
    pub name: String,
    pub value: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Recipient {
    pub email: Option<String>,
    pub name: Option<String>,
    pub address: Option<Value>,
    pub phone: Option<String>,
    pub shipping: Option<Value>,
    pub tax_exempt: String,
    pub tax_ids: Vec<Value>,
}

impl Recipient {
    pub fn of(state: &State, customer: &Customer) -> Recipient {
        Recipient {
            email: customer.email.clone(),
            name: customer.name.clone(),
            address: customer.address.clone(),
            phone: customer.phone.clone(),
            shipping: customer.shipping.clone(),
            tax_exempt: customer.tax_exempt.clone(),
            tax_ids: tax_ids::of_invoice(state, &customer.id),
        }
    }
}

impl Paper {
    /// What the customer's settings put on each new invoice.
    pub fn of(customer: &Customer) -> Paper {
        Paper {
            footer: customer.invoice_footer.clone(),
            custom_fields: customer.invoice_custom_fields.clone(),
            ..Paper::default()
        }
    }

    pub fn read(&mut self, state: &State, params: &mut Params) -> Result<(), ApiError> {
        params.change("footer")?.apply(&mut self.footer);
        params.change("statement_descriptor")?.apply(&mut self.statement_descriptor);
        if let Some(fields) = read_custom_fields(params)? {
            self.custom_fields = fields;
        }
        let name = params.name("account_tax_ids");
        if let Some(ids) = params.texts("account_tax_ids")? {
            let own = |id: &&String| {
                state.tax_ids.get(id).is_some_and(|tax_id| tax_id.customer.is_none())
            };
            if let Some(strange) = ids.iter().find(|id| !own(id)) {
                return Err(ApiError::no_such("tax id", strange, &name));
            }
            self.account_tax_ids = ids;
        }
        Ok(())
    }
}

/// `custom_fields`; none where the parameter is absent.
pub fn read_custom_fields(params: &mut Params) -> Result<Option<Vec<CustomField>>, ApiError> {
    if !params.has("custom_fields") {
        return Ok(None);
    }
    let mut fields = Vec::new();
    for mut hash in params.hashes("custom_fields")? {
        let (name, value) = (hash.required("name")?, hash.required("value")?);
        if 40 < name.chars().count() || 140 < value.chars().count() {
            let message = "Custom fields have up to 40 characters in name and 140 in value.";
            return Err(ApiError::invalid(message).param(&hash.name("value")));
        }
        hash.finish()?;
        fields.push(CustomField { name, value });
    }
    if MAX_CUSTOM_FIELDS < fields.len() {
        let message = format!("An invoice has up to {MAX_CUSTOM_FIELDS} custom fields.");
        return Err(ApiError::invalid(message).param(&params.name("custom_fields")));
    }
    Ok(Some(fields))
}

pub fn custom_fields_view(fields: &[CustomField]) -> Value {
    if fields.is_empty() { Value::Null } else { json!(fields) }
}

/// The recipient an invoice is shown with.
pub fn recipient(state: &State, invoice: &Invoice) -> Option<Recipient> {
    let current = || state.customers.get(&invoice.customer).map(|row| Recipient::of(state, row));
    invoice.paper.recipient.clone().or_else(current)
}

/// The part of an invoice's view that this file knows.
pub fn view(state: &State, invoice: &Invoice) -> Map<String, Value> {
    let paper = &invoice.paper;
    let account_tax_ids = Some(&paper.account_tax_ids).filter(|ids| !ids.is_empty());
    let from = paper.from_invoice.as_ref();
    let recipient = recipient(state, invoice);
    let recipient = recipient.as_ref();
    let mut shown = Map::new();
    let mut set = |key: &str, value: Value| shown.insert(key.to_owned(), value);
    set("account_tax_ids", json!(account_tax_ids));
    set("custom_fields", custom_fields_view(&paper.custom_fields));
    set("customer_address", json!(recipient.map(|found| &found.address)));
    set("customer_email", json!(recipient.map(|found| &found.email)));
    set("customer_name", json!(recipient.map(|found| &found.name)));
    set("customer_phone", json!(recipient.map(|found| &found.phone)));
    set("customer_shipping", json!(recipient.map(|found| &found.shipping)));
    set("customer_tax_exempt", json!(recipient.map(|found| &found.tax_exempt)));
    set("customer_tax_ids", json!(recipient.map(|found| &found.tax_ids)));
    set("footer", json!(paper.footer));
    set("from_invoice", json!(from.map(|id| json!({"action": "revision", "invoice": id}))));
    set("latest_revision", json!(paper.latest_revision));
    set("statement_descriptor", json!(paper.statement_descriptor));
    shown
}
