//! What a portal configuration lets customers do.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::errors::ApiError;
use crate::params::Params;
use crate::prices;
use crate::products;
use crate::state::State;

const PRORATIONS: [&str; 3] = ["always_invoice", "create_prorations", "none"];
const CUSTOMER_UPDATES: [&str; 6] = ["address", "email", "name", "phone", "shipping", "tax_id"];
const SUBSCRIPTION_UPDATES: [&str; 3] = ["price", "promotion_code", "quantity"];
/// The reasons a customer can choose from, with the words of the page.
pub const REASONS: [(&str, &str); 8] = [
    ("customer_service", "Customer service was less than expected"),
    ("low_quality", "Quality was less than expected"),
    ("missing_features", "Some features are missing"),
    ("other", "Other reason"),
    ("switched_service", "I am switching to a different service"),
    ("too_complex", "Ease of use was less than expected"),
    ("too_expensive", "It is too expensive"),
    ("unused", "I do not use it enough"),
];

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Features {
    pub customer_update: bool,
    pub customer_updates: Vec<String>,
    pub invoice_history: bool,
    pub payment_method_update: bool,
    pub cancel: Cancel,
    pub update: Update,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Cancel {
    pub enabled: bool,
    pub immediately: bool,
    pub proration: String,
    pub asks_reason: bool,
    pub reasons: Vec<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Update {
    pub enabled: bool,
    pub allowed: Vec<String>,
    pub products: Vec<PortalProduct>,
    pub proration: String,
    pub billing_cycle_anchor: Option<String>,
    pub ends_trial: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PortalProduct {
    pub product: String,
    pub prices: Vec<String>,
    pub adjustable: bool,
    pub minimum: i64,
    pub maximum: Option<i64>,
}

impl Features {
    /// Nothing is allowed.
    pub fn none() -> Features {
        Features {
            customer_update: false,
            customer_updates: Vec::new(),
            invoice_history: false,
            payment_method_update: false,
            cancel: Cancel {
                enabled: false,
                immediately: false,
                proration: "none".to_owned(),
                asks_reason: false,
                reasons: REASONS.iter().map(|(reason, _)| (*reason).to_owned()).collect(),
            },
            update: Update {
                enabled: false,
                allowed: Vec::new(),
                products: Vec::new(),
                proration: "none".to_owned(),
                billing_cycle_anchor: None,
                ends_trial: false,
            },
        }
    }

    /// What an account starts with: everything that needs no choice of products.
    pub fn usual() -> Features {
        let mut features = Features::none();
        features.customer_update = true;
        features.customer_updates =
            ["address", "email", "name", "phone"].map(str::to_owned).to_vec();
        features.invoice_history = true;
        features.payment_method_update = true;
        features.cancel.enabled = true;
        features
    }

    pub fn view(&self) -> Value {
        json!({
            "customer_update": {
                "allowed_updates": self.customer_updates,
                "enabled": self.customer_update,
            },
            "invoice_history": {"enabled": self.invoice_history},
            "payment_method_update": {
                "enabled": self.payment_method_update,
                "payment_method_configuration": null,
            },
            "subscription_cancel": {
                "cancellation_reason": {
                    "enabled": self.cancel.asks_reason,
                    "feedback_options": null,
                    "options": self.cancel.reasons,
                },
                "enabled": self.cancel.enabled,
                "mode": if self.cancel.immediately { "immediately" } else { "at_period_end" },
                "proration_behavior": self.cancel.proration,
            },
            "subscription_pause": {
                "duration": {"interval_options": [], "type": "indefinite"},
                "enabled": false,
            },
            "subscription_update": self.update.view(),
        })
    }

    /// Only the features that are named change.
    pub fn read(&mut self, state: &State, params: &mut Params) -> Result<(), ApiError> {
        if let Some(mut hash) = params.hash("customer_update")? {
            self.customer_update = enabled(&mut hash)?;
            words(&mut hash, "allowed_updates", &CUSTOMER_UPDATES, &mut self.customer_updates)?;
            hash.finish()?;
            if self.customer_update && self.customer_updates.is_empty() {
                return Err(ApiError::missing_parameter(&hash.name("allowed_updates")));
            }
        }
        if let Some(mut hash) = params.hash("invoice_history")? {
            self.invoice_history = enabled(&mut hash)?;
            hash.finish()?;
        }
        if let Some(mut hash) = params.hash("payment_method_update")? {
            self.payment_method_update = enabled(&mut hash)?;
            hash.ignore(&["payment_method_configuration"]);
            hash.finish()?;
        }
        if let Some(mut hash) = params.hash("subscription_cancel")? {
            self.cancel.read(&mut hash)?;
            hash.finish()?;
        }
        if let Some(mut hash) = params.hash("subscription_pause")? {
            let is_enabled = hash.boolean("enabled")?.unwrap_or(false);
            hash.ignore(&["duration"]);
            hash.finish()?;
            if is_enabled {
                return Err(hash.invalid("enabled", "The sandbox does not simulate pauses here"));
            }
        }
        if let Some(mut hash) = params.hash("subscription_update")? {
            self.update.read(state, &mut hash)?;
            hash.finish()?;
        }
        params.finish()
    }
}

fn enabled(hash: &mut Params) -> Result<bool, ApiError> {
    hash.boolean("enabled")?.ok_or_else(|| ApiError::missing_parameter(&hash.name("enabled")))
}

/// A list of Stripe's words; nothing changes where it is absent.
fn words(
    hash: &mut Params,
    key: &str,
    known: &[&str],
    field: &mut Vec<String>,
) -> Result<(), ApiError> {
    let Some(chosen) = hash.texts(key)? else {
        return Ok(());
    };
    if let Some(position) = chosen.iter().position(|word| !known.contains(&word.as_str())) {
        let name = format!("{}[{position}]", hash.name(key));
        let message = format!("Invalid {name}: must be one of {}", known.join(", "));
        return Err(ApiError::invalid(message).param(&name));
    }
    *field = chosen;
    Ok(())
}

impl Cancel {
    fn read(&mut self, hash: &mut Params) -> Result<(), ApiError> {
        self.enabled = hash.boolean("enabled")?.unwrap_or(self.enabled);
        if let Some(mode) = hash.word("mode", &["at_period_end", "immediately"])? {
            self.immediately = mode == "immediately";
        }
        if let Some(proration) = hash.word("proration_behavior", &PRORATIONS)? {
            self.proration = proration.to_owned();
        }
        if !self.immediately && self.proration != "none" {
            let what = "Only cancellations with `mode=immediately` can be prorated";
            return Err(hash.invalid("proration_behavior", what));
        }
        if let Some(mut reason) = hash.hash("cancellation_reason")? {
            self.asks_reason = enabled(&mut reason)?;
            let known = REASONS.map(|(reason, _)| reason);
            words(&mut reason, "options", &known, &mut self.reasons)?;
            reason.ignore(&["feedback_options"]);
            reason.finish()?;
            if self.asks_reason && self.reasons.is_empty() {
                return Err(ApiError::missing_parameter(&reason.name("options")));
            }
        }
        Ok(())
    }
}

impl Update {
    fn view(&self) -> Value {
        let products = self.products.iter().map(|row| {
            json!({
                "adjustable_quantity": {
                    "enabled": row.adjustable,
                    "maximum": row.maximum,
                    "minimum": row.minimum,
                },
                "prices": row.prices,
                "product": row.product,
            })
        });
        json!({
            "billing_cycle_anchor": self.billing_cycle_anchor,
            "default_allowed_updates": self.allowed,
            "enabled": self.enabled,
            "products": products.collect::<Vec<Value>>(),
            "proration_behavior": self.proration,
            "schedule_at_period_end": {"conditions": []},
            "trial_update_behavior": if self.ends_trial { "end_trial" } else { "continue_trial" },
        })
    }

    /// The product a price is offered under.
    pub fn offer(&self, price: &str) -> Option<&PortalProduct> {
        self.products.iter().find(|row| row.prices.iter().any(|offered| offered == price))
    }

    pub fn allows(&self, what: &str) -> bool {
        self.enabled && self.allowed.iter().any(|allowed| allowed == what)
    }

    fn read(&mut self, state: &State, hash: &mut Params) -> Result<(), ApiError> {
        self.enabled = hash.boolean("enabled")?.unwrap_or(self.enabled);
        let allowed = "default_allowed_updates";
        words(hash, allowed, &SUBSCRIPTION_UPDATES, &mut self.allowed)?;
        if let Some(proration) = hash.word("proration_behavior", &PRORATIONS)? {
            self.proration = proration.to_owned();
        }
        if let Some(anchor) = hash.word("billing_cycle_anchor", &["now", "unchanged"])? {
            self.billing_cycle_anchor = Some(anchor.to_owned());
        }
        let trials = ["continue_trial", "end_trial"];
        if let Some(behavior) = hash.word("trial_update_behavior", &trials)? {
            self.ends_trial = behavior == "end_trial";
        }
        if hash.has("products") {
            let rows = hash.hashes("products")?;
            let rows = rows.into_iter().map(|mut row| read_product(state, &mut row));
            self.products = rows.collect::<Result<Vec<PortalProduct>, ApiError>>()?;
        }
        if let Some(mut schedule) = hash.hash("schedule_at_period_end")? {
            schedule.refuse(&["conditions"])?;
            schedule.finish()?;
        }
        let missing = [("products", self.products.is_empty()), (allowed, self.allowed.is_empty())];
        for (key, is_empty) in missing {
            if self.enabled && is_empty {
                return Err(ApiError::missing_parameter(&hash.name(key)));
            }
        }
        Ok(())
    }
}

fn read_product(state: &State, row: &mut Params) -> Result<PortalProduct, ApiError> {
    let product = row.required("product")?;
    products::existing(state, &product, &row.name("product"))?;
    let param = row.name("prices");
    let chosen = row.texts("prices")?.unwrap_or_default();
    if chosen.is_empty() {
        return Err(ApiError::missing_parameter(&param));
    }
    for id in &chosen {
        let price = prices::existing(state, id, &param)?;
        if price.product != product || price.recurring.is_none() {
            let message = format!("{id} is not a recurring price of the product {product}.");
            return Err(ApiError::invalid(message).param(&param));
        }
    }
    let (mut adjustable, mut minimum, mut maximum) = (false, 1, None);
    if let Some(mut hash) = row.hash("adjustable_quantity")? {
        adjustable = enabled(&mut hash)?;
        minimum = hash.quantity("minimum")?.unwrap_or(1);
        maximum = hash.quantity("maximum")?;
        hash.finish()?;
        if maximum.is_some_and(|maximum| maximum < minimum) {
            return Err(hash.invalid("maximum", "The maximum is below the minimum"));
        }
    }
    row.finish()?;
    Ok(PortalProduct { product, prices: chosen, adjustable, minimum, maximum })
}
