//! Tax calculations: what taxes a sale would have, by the small table of `tax_locations`. They are
//! kept for ninety days, so that a transaction can be made from them.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::adjustments::{self, Tax, sum};
use crate::clock::DAY;
use crate::errors::ApiError;
use crate::params::{MAX_AMOUNT, Metadata, Params};
use crate::requests::Call;
use crate::state::{Row, State};
use crate::tax_locations::{self, Location};
use crate::transactions::Tx;
use crate::{currencies, customers, ids, lists, products, tax_codes, tax_settings};

const LIFE_SECONDS: i64 = 90 * DAY;
const MAX_LINES: usize = 1_000;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TaxCalculation {
    pub id: String,
    pub currency: String,
    pub customer: Option<String>,
    pub details: Details,
    pub lines: Vec<CalculationLine>,
    pub shipping: Option<CalculationLine>,
    pub ship_from: Option<Value>,
    pub tax_date: i64,
    pub expires_at: i64,
}

/// Who buys and where.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Details {
    pub address: Option<Value>,
    pub address_source: Option<String>,
    pub ip_address: Option<String>,
    pub tax_ids: Vec<(String, String)>,
    pub taxability_override: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CalculationLine {
    pub id: String,
    pub amount: i64,
    pub quantity: i64,
    pub reference: String,
    pub product: Option<String>,
    pub inclusive: bool,
    pub tax_code: String,
    pub taxes: Vec<Tax>,
    pub metadata: Metadata,
}

impl Row for TaxCalculation {
    const KIND: &'static str = "tax.calculation";
    fn id(&self) -> &str {
        &self.id
    }
}

impl CalculationLine {
    pub fn tax(&self) -> i64 {
        sum(self.taxes.iter().map(|tax| tax.amount))
    }
}

impl TaxCalculation {
    fn taxes(&self) -> impl Iterator<Item = &Tax> {
        self.lines.iter().chain(&self.shipping).flat_map(|line| &line.taxes)
    }

    fn tax(&self, inclusive: bool) -> i64 {
        sum(self.taxes().filter(|tax| tax.inclusive == inclusive).map(|tax| tax.amount))
    }
}

pub fn details_view(details: &Details) -> Value {
    let tax_ids = details.tax_ids.iter().map(|(kind, value)| json!({"type": kind, "value": value}));
    json!({
        "address": details.address,
        "address_source": details.address_source,
        "ip_address": details.ip_address,
        "tax_ids": tax_ids.collect::<Vec<Value>>(),
        "taxability_override": details.taxability_override,
    })
}

fn view(calculation: &TaxCalculation) -> Value {
    let lines = calculation.lines.iter().chain(&calculation.shipping);
    let exclusive = calculation.tax(false);
    json!({
        "id": calculation.id,
        "object": "tax.calculation",
        "amount_total": sum(lines.map(|line| line.amount)).saturating_add(exclusive),
        "currency": calculation.currency,
        "customer": calculation.customer,
        "customer_details": details_view(&calculation.details),
        "expires_at": calculation.expires_at,
        "livemode": false,
        "ship_from_details":
            calculation.ship_from.as_ref().map(|address| json!({"address": address})),
        "shipping_cost": calculation.shipping.as_ref().map(shipping_view),
        "tax_amount_exclusive": exclusive,
        "tax_amount_inclusive": calculation.tax(true),
        "tax_breakdown": breakdown_view(calculation),
        "tax_date": calculation.tax_date,
    })
}

fn behavior(line: &CalculationLine) -> &'static str {
    if line.inclusive { "inclusive" } else { "exclusive" }
}

fn shipping_view(line: &CalculationLine) -> Value {
    json!({
        "amount": line.amount,
        "amount_tax": line.tax(),
        "tax_behavior": behavior(line),
        "tax_code": line.tax_code,
    })
}

/// The whole sale's taxes, one entry per rate.
fn breakdown_view(calculation: &TaxCalculation) -> Value {
    let mut totals: Vec<Tax> = Vec::new();
    for tax in calculation.taxes() {
        let same = |total: &&mut Tax| total.rate == tax.rate && total.reason == tax.reason;
        match totals.iter_mut().find(same) {
            Some(total) => {
                total.amount = total.amount.saturating_add(tax.amount);
                total.taxable = total.taxable.saturating_add(tax.taxable);
            }
            None => totals.push(tax.clone()),
        }
    }
    let shown = totals.iter().map(|tax| {
        let rate = tax_locations::rate_by_id(&tax.rate);
        json!({
            "amount": tax.amount,
            "inclusive": tax.inclusive,
            "tax_rate_details": {
                "country": rate.as_ref().and_then(|rate| rate.country.clone()),
                "flat_amount": null,
                "percentage_decimal": percentage(tax),
                "rate_type": "percentage",
                "state": rate.as_ref().and_then(|rate| rate.state.clone()),
                "tax_type": rate.as_ref().and_then(|rate| rate.tax_type.clone()),
            },
            "taxability_reason": tax.reason,
            "taxable_amount": tax.taxable,
        })
    });
    shown.collect()
}

fn percentage(tax: &Tax) -> String {
    let rate = tax_locations::rate_by_id(&tax.rate).filter(|_| tax.reason == "standard_rated");
    rate.map_or("0".to_owned(), |rate| rate.percentage.decimal())
}

fn line_view(line: &CalculationLine) -> Value {
    json!({
        "id": line.id,
        "object": "tax.calculation_line_item",
        "amount": line.amount,
        "amount_tax": line.tax(),
        "livemode": false,
        "metadata": line.metadata,
        "performance_location": null,
        "product": line.product,
        "quantity": line.quantity,
        "reference": line.reference,
        "tax_behavior": behavior(line),
        "tax_breakdown": line.taxes.iter().map(line_tax_view).collect::<Vec<Value>>(),
        "tax_code": line.tax_code,
    })
}

fn line_tax_view(tax: &Tax) -> Value {
    let rate = tax_locations::rate_by_id(&tax.rate);
    let country = rate.as_ref().and_then(|rate| rate.country.clone()).unwrap_or_default();
    let state = rate.as_ref().and_then(|rate| rate.state.clone());
    let details = rate.as_ref().map(|rate| {
        json!({
            "display_name": rate.display_name,
            "percentage_decimal": percentage(tax),
            "tax_type": rate.tax_type,
        })
    });
    json!({
        "amount": tax.amount,
        "jurisdiction": {
            "country": country,
            "display_name": state.as_ref().unwrap_or(&country),
            "level": if state.is_some() { "state" } else { "country" },
            "state": state,
        },
        "sourcing": "destination",
        "tax_rate_details": details,
        "taxability_reason": tax.reason,
        "taxable_amount": tax.taxable,
    })
}

/// `line_items` is shown only when asked for.
pub fn lines_view(calculation: &TaxCalculation) -> Value {
    let lines = calculation.lines.iter().map(line_view).collect();
    lists::whole(lines, format!("/v1/tax/calculations/{}/line_items", calculation.id))
}

pub fn create(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let params = &mut call.params;
    let currency = currencies::required(params)?;
    let customer = params.text("customer")?;
    let details = read_details(tx.state, params, customer.as_deref())?;
    let location = details.address.as_ref().and_then(Location::of).ok_or_else(|| {
        let message = "The customer's location could not be determined: give a country and, in \
                       the United States and Canada, a state or postal code.";
        let error = ApiError::invalid(message).code("customer_tax_location_invalid");
        error.param("customer_details[address]")
    })?;
    let hashes = params.hashes("line_items")?;
    if hashes.is_empty() {
        return Err(ApiError::missing_parameter("line_items"));
    }
    if MAX_LINES < hashes.len() {
        return Err(params.invalid("line_items", "Too many line items"));
    }
    let mut lines: Vec<CalculationLine> = Vec::new();
    for (place, mut hash) in hashes.into_iter().enumerate() {
        let line = read_line(tx.state, &mut hash, &details, &location, place)?;
        if lines.iter().any(|other| other.reference == line.reference) {
            return Err(hash.invalid("reference", "Each line item needs a reference of its own"));
        }
        lines.push(line);
    }
    let shipping = read_shipping(params, &details, &location)?;
    let mut ship_from = None;
    if let Some(mut hash) = params.hash("ship_from_details")? {
        ship_from = hash.address("address")?.set();
        hash.finish()?;
    }
    let tax_date = params.timestamp("tax_date")?.unwrap_or(tx.now);
    params.finish()?;
    let calculation = TaxCalculation {
        id: ids::object("taxcalc"),
        currency,
        customer,
        details,
        lines,
        shipping,
        ship_from,
        tax_date,
        expires_at: tx.now.saturating_add(LIFE_SECONDS),
    };
    let shown = view(&calculation);
    tx.state.tax_calculations.put(calculation);
    Ok(shown)
}

fn read_details(
    state: &State,
    params: &mut Params,
    customer: Option<&str>,
) -> Result<Details, ApiError> {
    let mut details = Details {
        address: None,
        address_source: None,
        ip_address: None,
        tax_ids: Vec::new(),
        taxability_override: "none".to_owned(),
    };
    if let Some(id) = customer {
        let customer = customers::live(state, id, "customer")?;
        let shipping = customer.shipping.as_ref().and_then(|shipping| shipping.get("address"));
        let source = if shipping.is_some() { "shipping" } else { "billing" };
        details.address = shipping.cloned().or_else(|| customer.address.clone());
        details.address_source = details.address.as_ref().map(|_| source.to_owned());
        details.taxability_override = match customer.tax_exempt.as_str() {
            "exempt" => "customer_exempt",
            "reverse" => "reverse_charge",
            _ => "none",
        }
        .to_owned();
    }
    let Some(mut hash) = params.hash("customer_details")? else {
        if customer.is_none() {
            return Err(ApiError::missing_parameter("customer_details"));
        }
        return Ok(details);
    };
    if let Some(address) = hash.address("address")?.set() {
        details.address = Some(address);
        details.address_source = Some("billing".to_owned());
    }
    if let Some(source) = hash.word("address_source", &["billing", "shipping"])? {
        details.address_source = Some(source.to_owned());
    }
    details.ip_address = hash.text("ip_address")?;
    for mut tax_id in hash.hashes("tax_ids")? {
        details.tax_ids.push((tax_id.required("type")?, tax_id.required("value")?));
        tax_id.finish()?;
    }
    let overrides = ["customer_exempt", "none", "reverse_charge"];
    if let Some(word) = hash.word("taxability_override", &overrides)? {
        details.taxability_override = word.to_owned();
    }
    hash.finish()?;
    Ok(details)
}

fn taxes(
    amount: i64,
    code: &str,
    inclusive: bool,
    details: &Details,
    location: &Location,
) -> Vec<Tax> {
    let exempt = match details.taxability_override.as_str() {
        "customer_exempt" => "exempt",
        "reverse_charge" => "reverse",
        _ => "none",
    };
    adjustments::taxes_on(amount, &location.rates(Some(code), inclusive, exempt))
}

fn read_line(
    state: &State,
    hash: &mut Params,
    details: &Details,
    location: &Location,
    place: usize,
) -> Result<CalculationLine, ApiError> {
    let amount = hash.within("amount", -MAX_AMOUNT, MAX_AMOUNT)?;
    let amount = amount.ok_or_else(|| ApiError::missing_parameter(&hash.name("amount")))?;
    let product = hash.text("product")?;
    let mut code = tax_settings::of(state).tax_code;
    if let Some(id) = &product {
        let product = products::existing(state, id, &hash.name("product"))?;
        code = product.tax_code.clone().or(code);
    }
    if let Some(given) = hash.text("tax_code")? {
        tax_codes::check(&given, &hash.name("tax_code"))?;
        code = Some(given);
    }
    let tax_code = code.unwrap_or_else(|| tax_codes::DEFAULT.to_owned());
    let inclusive = read_behavior(hash)?;
    let line = CalculationLine {
        id: ids::object("tax_li"),
        amount,
        quantity: hash.within("quantity", 1, 999_999)?.unwrap_or(1),
        reference: hash.text("reference")?.unwrap_or_else(|| format!("L{}", place + 1)),
        product,
        inclusive,
        taxes: taxes(amount, &tax_code, inclusive, details, location),
        tax_code,
        metadata: hash.metadata()?.fresh(),
    };
    hash.ignore(&["performance_location"]);
    hash.finish()?;
    Ok(line)
}

fn read_behavior(hash: &mut Params) -> Result<bool, ApiError> {
    Ok(hash.word("tax_behavior", &["exclusive", "inclusive"])? == Some("inclusive"))
}

fn read_shipping(
    params: &mut Params,
    details: &Details,
    location: &Location,
) -> Result<Option<CalculationLine>, ApiError> {
    let Some(mut hash) = params.hash("shipping_cost")? else {
        return Ok(None);
    };
    let amount = hash.amount("amount")?;
    let amount = amount.ok_or_else(|| ApiError::missing_parameter(&hash.name("amount")))?;
    let tax_code = hash.text("tax_code")?.unwrap_or_else(|| "txcd_92010001".to_owned());
    tax_codes::check(&tax_code, &hash.name("tax_code"))?;
    let inclusive = read_behavior(&mut hash)?;
    hash.refuse(&["shipping_rate"])?;
    hash.finish()?;
    Ok(Some(CalculationLine {
        id: ids::object("tax_li"),
        amount,
        quantity: 1,
        reference: "shipping".to_owned(),
        product: None,
        inclusive,
        taxes: taxes(amount, &tax_code, inclusive, details, location),
        tax_code,
        metadata: Metadata::new(),
    }))
}

pub fn find<'a>(state: &'a State, id: &str) -> Result<&'a TaxCalculation, ApiError> {
    state.tax_calculations.get(id).ok_or_else(|| ApiError::not_found("tax calculation", id))
}

pub fn retrieve(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    Ok(view(find(tx.state, call.id())?))
}

pub fn line_items(tx: &mut Tx<'_>, call: &mut Call) -> Result<Value, ApiError> {
    let lines = find(tx.state, call.id())?.lines.iter().map(line_view).collect();
    lists::page_of_values(call, lines)
}
