//! A small table of tax rates by place. It is there so that automatic tax has something to work
//! with; it is neither complete nor kept up to date and says nothing about anybody's taxes.

use serde_json::Value;

use crate::adjustments::Rate;
use crate::params::Metadata;
use crate::percents::Percent;
use crate::tax_rates::TaxRate;

/// The code of what is never taxed.
pub const NONTAXABLE: &str = "txcd_00000000";

/// Country, state (empty for all), ten-thousandths of a percent, type.
const RATES: &[(&str, &str, i64, &str)] = &[
    ("AT", "", 200_000, "vat"),
    ("AU", "", 100_000, "gst"),
    ("BE", "", 210_000, "vat"),
    ("CA", "AB", 50_000, "gst"),
    ("CA", "BC", 50_000, "gst"),
    ("CA", "BC", 70_000, "pst"),
    ("CA", "ON", 130_000, "hst"),
    ("CA", "QC", 50_000, "gst"),
    ("CA", "QC", 99_750, "qst"),
    ("CH", "", 81_000, "vat"),
    ("DE", "", 190_000, "vat"),
    ("DK", "", 250_000, "vat"),
    ("ES", "", 210_000, "vat"),
    ("FI", "", 255_000, "vat"),
    ("FR", "", 200_000, "vat"),
    ("GB", "", 200_000, "vat"),
    ("IE", "", 230_000, "vat"),
    ("IT", "", 220_000, "vat"),
    ("JP", "", 100_000, "jct"),
    ("NL", "", 210_000, "vat"),
    ("NO", "", 250_000, "vat"),
    ("NZ", "", 150_000, "gst"),
    ("PL", "", 230_000, "vat"),
    ("PT", "", 230_000, "vat"),
    ("SE", "", 250_000, "vat"),
    ("SG", "", 90_000, "gst"),
    ("US", "CA", 72_500, "sales_tax"),
    ("US", "FL", 60_000, "sales_tax"),
    ("US", "IL", 62_500, "sales_tax"),
    ("US", "NY", 40_000, "sales_tax"),
    ("US", "PA", 60_000, "sales_tax"),
    ("US", "TX", 62_500, "sales_tax"),
    ("US", "WA", 65_000, "sales_tax"),
];

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    pub country: String,
    pub state: Option<String>,
}

/// One line of the table.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    pub country: &'static str,
    pub state: Option<&'static str>,
    pub percent: Percent,
    pub tax_type: &'static str,
}

impl Location {
    /// Where an address is, if it says at least the country; in the United States and Canada the
    /// state or the postal code has to be there, too.
    pub fn of(address: &Value) -> Option<Location> {
        let part = |key: &str| {
            let text = address.get(key).and_then(Value::as_str).map(str::trim);
            text.filter(|text| !text.is_empty()).map(str::to_uppercase)
        };
        let country = part("country")?;
        let state = part("state");
        let federal = matches!(country.as_str(), "US" | "CA");
        if federal && state.is_none() && part("postal_code").is_none() {
            return None;
        }
        Some(Location { country, state })
    }

    pub fn entries(&self) -> Vec<Entry> {
        let rows = RATES.iter().filter(|(country, state, ..)| {
            *country == self.country && (state.is_empty() || self.state.as_deref() == Some(*state))
        });
        rows.map(entry).collect()
    }

    /// The rates for goods of a tax code; where nothing is due, one rate of zero says why.
    pub fn rates(&self, tax_code: Option<&str>, inclusive: bool, tax_exempt: &str) -> Vec<Rate> {
        let reason = match tax_exempt {
            "exempt" => "customer_exempt",
            "reverse" => "reverse_charge",
            _ if tax_code == Some(NONTAXABLE) => "product_exempt",
            _ => "standard_rated",
        };
        let taxed = reason == "standard_rated";
        let rates = self.entries().into_iter().map(|entry| Rate {
            id: id(&entry, inclusive),
            percent: if taxed { entry.percent } else { Percent::default() },
            inclusive,
            reason: reason.to_owned(),
        });
        rates.collect()
    }
}

fn entry(row: &(&'static str, &'static str, i64, &'static str)) -> Entry {
    let (country, state, scaled, tax_type) = *row;
    let state = (!state.is_empty()).then_some(state);
    Entry { country, state, percent: Percent::scaled(scaled), tax_type }
}

fn id(entry: &Entry, inclusive: bool) -> String {
    let Entry { country, state, tax_type, .. } = entry;
    let kind = tax_type.replace('_', "");
    let way = if inclusive { "incl" } else { "excl" };
    format!("txr_sandbox{country}{}{kind}{way}", state.unwrap_or_default())
}

pub fn display_name(tax_type: &str) -> &'static str {
    match tax_type {
        "gst" => "GST",
        "hst" => "HST",
        "jct" => "JCT",
        "pst" => "PST",
        "qst" => "QST",
        "sales_tax" => "Sales tax",
        _ => "VAT",
    }
}

/// The tax rate object that stands for a line of the table.
pub fn rate_by_id(wanted: &str) -> Option<TaxRate> {
    let mut ways = RATES.iter().flat_map(|row| [(entry(row), false), (entry(row), true)]);
    let (entry, inclusive) = ways.find(|(entry, inclusive)| id(entry, *inclusive) == wanted)?;
    Some(TaxRate {
        id: wanted.to_owned(),
        created: 0,
        active: false,
        display_name: display_name(entry.tax_type).to_owned(),
        description: Some("Simulated".to_owned()),
        percentage: entry.percent,
        inclusive,
        country: Some(entry.country.to_owned()),
        state: entry.state.map(str::to_owned),
        jurisdiction: Some(entry.state.unwrap_or(entry.country).to_owned()),
        tax_type: Some(entry.tax_type.to_owned()),
        metadata: Metadata::new(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_place_needs_a_country_and_where_it_matters_a_state() {
        assert_eq!(Location::of(&Value::Null), None);
        assert_eq!(Location::of(&json!({"country": "US"})), None);
        assert_eq!(Location::of(&json!({"country": "", "state": "CA"})), None);
        let found = Location::of(&json!({"country": "us", "state": "ca"})).expect("a place");
        assert_eq!(found.entries().len(), 1);
        let quebec = Location::of(&json!({"country": "CA", "state": "QC"})).expect("a place");
        assert_eq!(quebec.entries().len(), 2);
    }

    #[test]
    fn every_line_of_the_table_is_a_tax_rate() {
        for row in RATES {
            for inclusive in [false, true] {
                let id = id(&entry(row), inclusive);
                let rate = rate_by_id(&id).expect("a rate");
                assert_eq!((rate.percentage, rate.inclusive), (entry(row).percent, inclusive));
            }
        }
    }
}
