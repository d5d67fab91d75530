//! Tax rates: the merchant's own, and those that automatic tax finds in its table, which are shown
//! as tax rates but cannot be changed.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::adjustments::Rate;
use crate::errors::ApiError;
use crate::params::{Metadata, Params};
use crate::percents::{self, Percent};
use crate::requests::Call;
use crate::state::{Row, State};
use crate::transactions::Tx;
use crate::{ids, lists, tax_locations};

const MAX_RATES: usize = 5;
pub const TAX_TYPES: [&str; 10] =
    ["gst", "hst", "igst", "jct", "pst", "qst", "rst", "sales_tax", "service_tax", "vat"];

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TaxRate {
    pub id: String,
    pub created: i64,
    pub active: bool,
    pub display_name: String,
    pub description: Option<String>,
    pub percentage: Percent,
    pub inclusive: bool,
    pub country: Option<String>,
    pub state: Option<String>,
    pub jurisdiction: Option<String>,
    pub tax_type: Option<String>,
    pub metadata: Metadata,
}

impl Row for TaxRate {
    const KIND: &'static str = "tax_rate";
    fn id(&self) -> &str {
        &self.id
    }
}

pub fn view(rate: &TaxRate) -> Value {
    json!({
        "id": rate.id,
        "object": "tax_rate",
        "active": rate.active,
        "country": rate.country,
        "created": rate.created,
        "description": rate.description,
        "display_name": rate.display_name,
        "effective_percentage": rate.percentage.number(),
        "flat_amount": null,
        "inclusive": rate.inclusive,
        "jurisdiction": rate.jurisdiction,
        "jurisdiction_level": null,
        "livemode": false,
        "metadata": rate.metadata,
        "percentage": rate.percentage.number(),
        "rate_type": "percentage",
        "state": rate.state,
        "tax_type": rate.tax_type,
    })
}

/// A rate of the merchant or of the table.
pub fn show(state: &State, id: &str) -> Option<Value> {
    match state.tax_rates.get(id) {
        Some(rate) => Some(view(rate)),
        None => tax_locations::rate_by_id(id).as_ref().map(view),
    }
}

/// Objects carry their tax rates whole.
pub fn show_all(state: &State, ids: &[String]) -> Value {
    ids.iter().filter_map(|id| show(state, id)).collect()
}

/// A list of active tax rates, where the parameter is there.
pub fn read_list(
    state: &State,
    params: &mut Params,
    key: &str,
) -> Result<Option<Vec<String>>, ApiError> {
    let Some(ids) = params.texts(key)? else {
        return Ok(None);
    };
    if MAX_RATES < ids.len() {
        return Err(params.invalid(key, "Too many tax rates"));
    }
    for (place, id) in ids.iter().enumerate() {
        let param = format!("{}[{place}]", params.name(key));
        let found = state.tax_rates.get(id);
        let rate = found.ok_or_else(|| ApiError::no_such("tax rate", id, &param))?;
        if !rate.active {
            let message = format!("The tax rate {id} is archived and cannot be used any more.");
            return Err(ApiError::invalid(message).param(&param));
        }
        if ids[..place].contains(id) {
            return Err(params.invalid(key, "Each tax rate can be given only once"));
        }
    }
    Ok(Some(ids))
}

/// The merchant's rates as they are applied to a customer's lines.
pub fn to_apply(state: &State, ids: &[String], tax_exempt: &str) -> Vec<Rate> {
    let rates = ids.iter().filter_map(|id| state.tax_rates.get(id));
    rates
        .map(|rate| Rate {
            id: rate.id.clone(),
            percent: if tax_exempt == "none" { rate.percentage } else { Percent::default() },
            inclusive: rate.inclusive,
            reason: match tax_exempt {
                "exempt" => "customer_exempt",
                "reverse" => "reverse_charge",
                _ => "not_available",
            }
            .to_owned(),
        })
        .collect()
}

fn save(tx: &mut Tx<'_>, rate: TaxRate) -> Value {
    let before = tx.state.tax_rates.get(&rate.id).map(view);
    let after = view(&rate);
    tx.state.tax_rates.put(rate);
    match before {
        None => tx.emit("tax_rate.created", after.clone()),
        Some(before) => tx.emit_change("tax_rate.updated", &before, after.clone()),
    }
    after
}

fn read(params: &mut Params, rate: &mut TaxRate) -> Result<(), ApiError> {
    if let Some(active) = params.boolean("active")? {
        rate.active = active;
    }
    if let Some(name) = params.text("display_name")? {
        rate.display_name = name;
    }
    params.change("description")?.apply(&mut rate.description);
    params.change("country")?.apply(&mut rate.country);
    params.change("state")?.apply(&mut rate.state);
    params.change("jurisdiction")?.apply(&mut rate.jurisdiction);
    if rate.country.as_ref().is_some_and(|country| country.len() != 2) {
        return Err(params.invalid("country", "Must be a two-letter country code"));
    }
    if let Some(tax_type) = params.word("tax_type", &TAX_TYPES)? {
        rate.tax_type = Some(tax_type.to_owned());
    }
    params.metadata()?.apply(&mut rate.metadata);
    Ok(())
}

pub fn create(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let params = &mut call.params;
    if !params.has("display_name") {
        return Err(ApiError::missing_parameter("display_name"));
    }
    let inclusive = params.boolean("inclusive")?;
    let percentage = percents::read(params, "percentage")?;
    let mut rate = TaxRate {
        id: ids::object("txr"),
        created: tx.now,
        active: true,
        display_name: String::new(),
        description: None,
        percentage: percentage.ok_or_else(|| ApiError::missing_parameter("percentage"))?,
        inclusive: inclusive.ok_or_else(|| ApiError::missing_parameter("inclusive"))?,
        country: None,
        state: None,
        jurisdiction: None,
        tax_type: None,
        metadata: Metadata::new(),
    };
    read(params, &mut rate)?;
    params.finish()?;
    Ok(save(tx, rate))
}

pub fn retrieve(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let id = call.id();
    show(tx.state, id).ok_or_else(|| ApiError::not_found("tax rate", id))
}

pub fn update(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let id = call.id().to_owned();
    let found = tx.state.tax_rates.get(&id);
    let mut rate = found.ok_or_else(|| ApiError::not_found("tax rate", &id))?.clone();
    read(&mut call.params, &mut rate)?;
    call.params.finish()?;
    Ok(save(tx, rate))
}

pub fn list(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let created = lists::range(&mut call.params, "created")?;
    let active = call.params.boolean("active")?;
    let inclusive = call.params.boolean("inclusive")?;
    lists::page(
        call,
        &tx.state.tax_rates,
        |rate| {
            created.contains(rate.created)
                && active.is_none_or(|active| rate.active == active)
                && inclusive.is_none_or(|inclusive| rate.inclusive == inclusive)
        },
        view,
    )
}
