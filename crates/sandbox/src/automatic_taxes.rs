//! Automatic tax: `automatic_tax[enabled]` of invoices, subscriptions and Checkout sessions, worked
//! out from where the customer is.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::adjustments::{self, Adjustments, Rate, Tax};
use crate::errors::ApiError;
use crate::params::Params;
use crate::state::State;
use crate::tax_locations::Location;
use crate::tax_rates;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AutomaticTax {
    #[default]
    Off,
    On,
    /// It was on, but nobody knew where the customer was when the invoice became final.
    Lost,
}

impl AutomaticTax {
    pub fn is_on(self) -> bool {
        self == AutomaticTax::On
    }

    fn liability(self) -> Option<Value> {
        self.is_on().then(|| json!({"type": "self"}))
    }
}

/// What decides the taxes of all lines of one sale.
pub struct Circumstances {
    automatic: AutomaticTax,
    location: Option<Location>,
    tax_exempt: String,
    default_rates: Vec<String>,
}

impl Circumstances {
    pub fn new(
        state: &State,
        automatic: AutomaticTax,
        customer: Option<&str>,
        location: Option<Location>,
        default_rates: &[String],
    ) -> Circumstances {
        let found = customer.and_then(|id| state.customers.get(id));
        Circumstances {
            automatic,
            location: location.or_else(|| customer.and_then(|id| location_of(state, id))),
            tax_exempt: found.map_or("none", |customer| &customer.tax_exempt).to_owned(),
            default_rates: default_rates.to_vec(),
        }
    }

    /// The taxes on a line of which discounts have left `amount`.
    pub fn taxes(
        &self,
        state: &State,
        line: &Adjustments,
        price: Option<&str>,
        amount: i64,
    ) -> Vec<Tax> {
        adjustments::taxes_on(amount, &self.rates(state, line, price))
    }

    fn rates(&self, state: &State, line: &Adjustments, price: Option<&str>) -> Vec<Rate> {
        match self.automatic {
            AutomaticTax::Lost => Vec::new(),
            AutomaticTax::Off => {
                let own = &line.tax_rates;
                let ids = if own.is_empty() { &self.default_rates } else { own };
                tax_rates::to_apply(state, ids, &self.tax_exempt)
            }
            AutomaticTax::On => {
                let Some(location) = &self.location else {
                    return Vec::new();
                };
                let price = price.and_then(|id| state.prices.get(id));
                let product = price.and_then(|price| state.products.get(&price.product));
                let behavior = price.map(|price| price.tax_behavior.as_str());
                let behavior = line.tax_behavior.as_deref().or(behavior);
                let code = product.and_then(|product| product.tax_code.as_deref());
                let code = line.tax_code.as_deref().or(code);
                location.rates(code, behavior == Some("inclusive"), &self.tax_exempt)
            }
        }
    }
}

/// Where a customer is: where things are sent to, or else where bills go to.
pub fn location_of(state: &State, customer: &str) -> Option<Location> {
    let customer = state.customers.get(customer)?;
    let shipping = customer.shipping.as_ref().and_then(|shipping| shipping.get("address"));
    shipping.and_then(Location::of).or_else(|| customer.address.as_ref().and_then(Location::of))
}

/// Automatic tax cannot be turned on for somebody who is nowhere.
pub fn require_location(state: &State, customer: &str) -> Result<(), ApiError> {
    if location_of(state, customer).is_some() {
        return Ok(());
    }
    let message = "The customer's location isn't recognized. Set a valid customer address in order \
                   to automatically calculate tax.";
    Err(ApiError::invalid(message).code("customer_tax_location_invalid").param("automatic_tax"))
}

/// `automatic_tax[enabled]`, where it is given.
pub fn read(params: &mut Params) -> Result<Option<AutomaticTax>, ApiError> {
    let Some(mut hash) = params.hash("automatic_tax")? else {
        return Ok(None);
    };
    let enabled = hash.boolean("enabled")?;
    hash.ignore(&["liability"]);
    hash.finish()?;
    let enabled = enabled.ok_or_else(|| ApiError::missing_parameter(&hash.name("enabled")))?;
    Ok(Some(if enabled { AutomaticTax::On } else { AutomaticTax::Off }))
}

/// Rates given by hand and automatic tax exclude each other.
pub fn check_alone(automatic: AutomaticTax, rates: &[String]) -> Result<(), ApiError> {
    if automatic.is_on() && !rates.is_empty() {
        let message = "Tax rates cannot be given where automatic tax is enabled.";
        return Err(ApiError::invalid(message).param("default_tax_rates"));
    }
    Ok(())
}

fn status(automatic: AutomaticTax, location: Option<&Location>) -> Option<&'static str> {
    match (automatic, location) {
        (AutomaticTax::Off | AutomaticTax::Lost, _) => None,
        (AutomaticTax::On, Some(_)) => Some("complete"),
        (AutomaticTax::On, None) => Some("requires_location_inputs"),
    }
}

pub fn invoice_view(state: &State, automatic: AutomaticTax, customer: &str) -> Value {
    let location = location_of(state, customer);
    let lost = automatic == AutomaticTax::Lost;
    json!({
        "disabled_reason": lost.then_some("finalization_requires_location_inputs"),
        "enabled": automatic.is_on(),
        "liability": automatic.liability(),
        "provider": automatic.is_on().then_some("stripe"),
        "status": status(automatic, location.as_ref()),
    })
}

pub fn subscription_view(automatic: AutomaticTax) -> Value {
    json!({
        "disabled_reason": null,
        "enabled": automatic.is_on(),
        "liability": automatic.liability(),
    })
}

pub fn session_view(automatic: AutomaticTax, location: Option<&Location>) -> Value {
    json!({
        "enabled": automatic.is_on(),
        "liability": automatic.liability(),
        "provider": automatic.is_on().then_some("stripe"),
        "status": status(automatic, location),
    })
}
