//! What a Checkout page asks for beside the payment: phone, address, consent, the shop's own
//! fields.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::errors::ApiError;
use crate::params::Params;

const MAX_FIELDS: usize = 3;
const MAX_OPTIONS: usize = 200;
const MAX_LABEL: usize = 50;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Collections {
    pub billing_address: Option<String>,
    pub phone: bool,
    pub terms_required: bool,
    pub consent: Option<Value>,
    pub custom_fields: Vec<Value>,
    pub custom_text: Option<Value>,
    pub shipping_countries: Option<Vec<String>>,
    pub saved_methods: Option<Value>,
}

impl Collections {
    /// The shop's own text for a place on the page.
    pub fn text(&self, place: &str) -> Option<&str> {
        self.custom_text.as_ref()?[place]["message"].as_str()
    }

    /// The properties of the session that say what is asked for.
    pub fn view(&self, complete: bool) -> Value {
        let terms = (complete && self.terms_required).then_some("accepted");
        let consent = self.consent.as_ref().filter(|_| complete);
        let text = json!({
            "after_submit": null,
            "shipping_address": null,
            "submit": null,
            "terms_of_service_acceptance": null,
        });
        let countries = self.shipping_countries.as_ref();
        json!({
            "billing_address_collection": self.billing_address,
            "consent": consent.map(|_| json!({"promotions": null, "terms_of_service": terms})),
            "consent_collection": self.consent,
            "custom_fields": self.custom_fields,
            "custom_text": self.custom_text.clone().unwrap_or(text),
            "phone_number_collection": {"enabled": self.phone},
            "saved_payment_method_options": self.saved_methods,
            "shipping_address_collection":
                countries.map(|countries| json!({"allowed_countries": countries})),
        })
    }
}

pub fn read(params: &mut Params, has_customer: bool) -> Result<Collections, ApiError> {
    let mut found = Collections::default();
    let words = ["auto", "required"];
    found.billing_address = params.word("billing_address_collection", &words)?.map(str::to_owned);
    if let Some(mut phone) = params.hash("phone_number_collection")? {
        let missing = ApiError::missing_parameter(&phone.name("enabled"));
        found.phone = phone.boolean("enabled")?.ok_or(missing)?;
        phone.finish()?;
    }
    read_consent(params, &mut found)?;
    read_fields(params, &mut found)?;
    read_texts(params, &mut found)?;
    if let Some(mut shipping) = params.hash("shipping_address_collection")? {
        let missing = ApiError::missing_parameter(&shipping.name("allowed_countries"));
        let countries = shipping.texts("allowed_countries")?.ok_or(missing)?;
        let known =
            |code: &String| code.len() == 2 && code.bytes().all(|sign| sign.is_ascii_uppercase());
        if countries.is_empty() || !countries.iter().all(known) {
            return Err(shipping.invalid("allowed_countries", "Invalid country codes"));
        }
        shipping.finish()?;
        found.shipping_countries = Some(countries);
    }
    if let Some(mut saved) = params.hash("saved_payment_method_options")? {
        let words = ["disabled", "enabled"];
        found.saved_methods = Some(json!({
            "allow_redisplay_filters": saved.texts("allow_redisplay_filters")?,
            "payment_method_remove": saved.word("payment_method_remove", &words)?,
            "payment_method_save": saved.word("payment_method_save", &words)?,
        }));
        saved.finish()?;
    }
    if let Some(mut update) = params.hash("customer_update")? {
        if !has_customer {
            let message = "`customer_update` can only be used with `customer`.";
            return Err(ApiError::invalid(message).param("customer_update"));
        }
        for field in ["address", "name", "shipping"] {
            update.word(field, &["auto", "never"])?;
        }
        update.finish()?;
    }
    Ok(found)
}

fn read_consent(params: &mut Params, found: &mut Collections) -> Result<(), ApiError> {
    let Some(mut consent) = params.hash("consent_collection")? else {
        return Ok(());
    };
    let mut agreement = Value::Null;
    if let Some(mut hash) = consent.hash("payment_method_reuse_agreement")? {
        let missing = ApiError::missing_parameter(&hash.name("position"));
        let position = hash.word("position", &["auto", "hidden"])?.ok_or(missing)?;
        hash.finish()?;
        agreement = json!({"position": position});
    }
    let promotions = consent.word("promotions", &["auto", "none"])?;
    let terms = consent.word("terms_of_service", &["none", "required"])?;
    consent.finish()?;
    found.terms_required = terms == Some("required");
    found.consent = Some(json!({
        "payment_method_reuse_agreement": agreement,
        "promotions": promotions,
        "terms_of_service": terms,
    }));
    Ok(())
}

fn read_fields(params: &mut Params, found: &mut Collections) -> Result<(), ApiError> {
    let fields = params.hashes("custom_fields")?;
    if MAX_FIELDS < fields.len() {
        let message = format!("A Checkout Session has up to {MAX_FIELDS} custom fields.");
        return Err(ApiError::invalid(message).param("custom_fields"));
    }
    for mut field in fields {
        let shown = read_field(&mut field)?;
        field.finish()?;
        if found.custom_fields.iter().any(|other| other["key"] == shown["key"]) {
            return Err(field.invalid("key", "Each custom field needs a key of its own"));
        }
        found.custom_fields.push(shown);
    }
    Ok(())
}

fn read_field(field: &mut Params) -> Result<Value, ApiError> {
    let key = field.required("key")?;
    if 200 < key.len() || !key.bytes().all(|sign| sign.is_ascii_alphanumeric()) {
        return Err(field.invalid("key", "Keys consist of up to 200 letters and digits"));
    }
    let missing = ApiError::missing_parameter(&field.name("type"));
    let kind = field.word("type", &["dropdown", "numeric", "text"])?.ok_or(missing)?;
    let missing = ApiError::missing_parameter(&field.name("label"));
    let mut label = field.hash("label")?.ok_or(missing)?;
    label.word("type", &["custom"])?;
    let text = label.required("custom")?;
    if MAX_LABEL < text.chars().count() {
        return Err(label.invalid("custom", "The label is too long"));
    }
    label.finish()?;
    let optional = field.boolean("optional")?.unwrap_or(false);
    let details = match (kind, field.hash(kind)?) {
        ("dropdown", None) => return Err(ApiError::missing_parameter(&field.name("dropdown"))),
        ("dropdown", Some(mut hash)) => read_dropdown(&mut hash)?,
        (_, hash) => {
            let mut hash = hash.unwrap_or(Params::new(serde_json::Map::new()));
            let shown = json!({
                "default_value": hash.text("default_value")?,
                "maximum_length": hash.within("maximum_length", 1, 255)?,
                "minimum_length": hash.within("minimum_length", 1, 255)?,
                "value": null,
            });
            hash.finish()?;
            shown
        }
    };
    Ok(json!({
        "key": key,
        "label": {"custom": text, "type": "custom"},
        "optional": optional,
        "type": kind,
        kind: details,
    }))
}

fn read_dropdown(hash: &mut Params) -> Result<Value, ApiError> {
    let options = hash.hashes("options")?;
    if options.is_empty() || MAX_OPTIONS < options.len() {
        return Err(hash.invalid("options", "A dropdown has 1 to 200 options"));
    }
    let mut shown = Vec::new();
    for mut option in options {
        shown.push(json!({
            "label": option.required("label")?,
            "value": option.required("value")?,
        }));
        option.finish()?;
    }
    let default = hash.text("default_value")?;
    hash.finish()?;
    Ok(json!({"default_value": default, "options": shown, "value": null}))
}

fn read_texts(params: &mut Params, found: &mut Collections) -> Result<(), ApiError> {
    let Some(mut texts) = params.hash("custom_text")? else {
        return Ok(());
    };
    let mut shown = json!({});
    for place in ["after_submit", "shipping_address", "submit", "terms_of_service_acceptance"] {
        shown[place] = match texts.hash(place)? {
            None => Value::Null,
            Some(mut hash) => {
                let message = hash.required("message")?;
                hash.finish()?;
                json!({"message": message})
            }
        };
    }
    texts.finish()?;
    found.custom_text = Some(shown);
    Ok(())
}
