//! What a price costs in other currencies than its own.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::costs::{self, Cost, UnitAmount};
use crate::currencies;
use crate::errors::ApiError;
use crate::params::Params;
use crate::prices::Price;

const BEHAVIORS: [&str; 3] = ["exclusive", "inclusive", "unspecified"];

pub type CurrencyOptions = BTreeMap<String, CurrencyOption>;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CurrencyOption {
    pub cost: Cost,
    pub tax_behavior: String,
}

impl Price {
    /// The price as a buyer in this currency sees it.
    pub fn localized(&self, currency: &str) -> Result<Price, ApiError> {
        if self.currency == currency {
            return Ok(self.clone());
        }
        let option = self.currency_options.get(currency).cloned().ok_or_else(|| {
            let message = format!(
                "The price specified only supports `{}`. This doesn't match the expected \
                 currency: `{currency}`.",
                self.currency
            );
            ApiError::invalid(message)
        })?;
        Ok(Price {
            currency: currency.to_owned(),
            cost: option.cost,
            tax_behavior: option.tax_behavior,
            ..self.clone()
        })
    }
}

/// All prices of a purchase in one currency: the wanted one, or that of the first price.
pub fn in_one_currency(
    prices: Vec<Price>,
    wanted: Option<&str>,
    param: &str,
) -> Result<Vec<Price>, ApiError> {
    let first = prices.first().map(|price| price.currency.clone()).unwrap_or_default();
    let currency = wanted.map_or(first, str::to_ascii_lowercase);
    let localized = prices.iter().map(|price| price.localized(&currency));
    localized.collect::<Result<Vec<Price>, ApiError>>().map_err(|error| error.param(param))
}

/// Options of a new price; its own currency needs none and may have none.
pub fn read(params: &mut Params, own: &str, base: &Cost) -> Result<CurrencyOptions, ApiError> {
    let mut options = CurrencyOptions::new();
    let Some(mut hash) = params.hash("currency_options")? else {
        return Ok(options);
    };
    for currency in hash.keys() {
        let option = read_option(&mut hash, &currency, own, base)?;
        options.insert(currency, option);
    }
    Ok(options)
}

/// An update sets single currencies, and removes those that are set to nothing.
pub fn update(params: &mut Params, price: &mut Price) -> Result<(), ApiError> {
    if params.take_if_empty("currency_options") {
        price.currency_options.clear();
        return Ok(());
    }
    let Some(mut hash) = params.hash("currency_options")? else {
        return Ok(());
    };
    for currency in hash.keys() {
        if hash.take_if_empty(&currency) {
            price.currency_options.remove(&currency);
            continue;
        }
        let option = read_option(&mut hash, &currency, &price.currency, &price.cost)?;
        price.currency_options.insert(currency, option);
    }
    Ok(())
}

fn read_option(
    hash: &mut Params,
    currency: &str,
    own: &str,
    base: &Cost,
) -> Result<CurrencyOption, ApiError> {
    currencies::check(currency, &hash.name(currency))?;
    if currency == own {
        return Err(hash.invalid(currency, "This is the currency of the price itself"));
    }
    let Some(mut fields) = hash.hash(currency)? else {
        return Err(hash.invalid(currency, "Invalid object"));
    };
    let cost = costs::read_alike(&mut fields, base)?;
    let behavior = fields.word("tax_behavior", &BEHAVIORS)?.unwrap_or("unspecified").to_owned();
    fields.finish()?;
    Ok(CurrencyOption { cost, tax_behavior: behavior })
}

/// `currency_options` is shown only when asked for; the own currency is among them.
pub fn view(price: &Price) -> Value {
    let own = (&price.currency, &price.cost, &price.tax_behavior);
    let others = price.currency_options.iter();
    let others = others.map(|(currency, option)| (currency, &option.cost, &option.tax_behavior));
    let options = std::iter::once(own).chain(others).map(|(currency, cost, behavior)| {
        let unit = cost.unit();
        let mut option = json!({
            "custom_unit_amount": cost.chosen_view(),
            "tax_behavior": behavior,
            "unit_amount": unit.and_then(UnitAmount::minor),
            "unit_amount_decimal": unit.map(UnitAmount::decimal),
        });
        if let Cost::Tiered { .. } = cost {
            option["tiers"] = costs::tiers_view(cost);
        }
        (currency.clone(), option)
    });
    Value::Object(options.collect::<Map<String, Value>>())
}
