//! What a quantity costs: exact unit amounts and tiers.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::errors::ApiError;
use crate::params::Params;

/// Decimal places of `unit_amount_decimal`.
const DECIMALS: u32 = 12;

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cost {
    PerUnit(UnitAmount),
    Tiered { mode: TiersMode, tiers: Vec<Tier> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TiersMode {
    Graduated,
    Volume,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Tier {
    pub up_to: Option<i64>,
    pub flat_amount: Option<i64>,
    pub unit: UnitAmount,
}

/// An exact amount per unit in 10^-12 of the smallest currency unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitAmount {
    scaled: i128,
}
impl UnitAmount {
    const SCALE: i128 = 10_i128.pow(DECIMALS);

    pub fn whole(minor: i64) -> UnitAmount {
        UnitAmount { scaled: i128::from(minor) * UnitAmount::SCALE }
    }

    fn parse(text: &str) -> Option<UnitAmount> {
        let (integer, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits = |text: &str| text.chars().all(|sign| sign.is_ascii_digit());
        if integer.is_empty() || 9 < integer.len() || 12 < fraction.len() {
            return None;
        }
        if !digits(integer) || !digits(fraction) {
            return None;
        }
        let integer: i128 = integer.parse().ok()?;
        let fraction: i128 = format!("{fraction:0<12}").parse().ok()?;
        Some(UnitAmount { scaled: integer * UnitAmount::SCALE + fraction })
    }

    /// The amount in whole minor units, where it is one.
    pub fn minor(self) -> Option<i64> {
        let exact = self.scaled % UnitAmount::SCALE == 0;
        exact.then_some(i64::try_from(self.scaled / UnitAmount::SCALE).ok()).flatten()
    }

    pub fn decimal(self) -> String {
        let integer = self.scaled / UnitAmount::SCALE;
        let fraction = format!("{:012}", self.scaled % UnitAmount::SCALE);
        match fraction.trim_end_matches('0') {
            "" => integer.to_string(),
            fraction => format!("{integer}.{fraction}"),
        }
    }

    /// Rounds half up once, at the end of the line.
    fn times(self, quantity: i64) -> Option<i64> {
        let scaled = self.scaled.checked_mul(i128::from(quantity))?;
        i64::try_from((scaled + UnitAmount::SCALE / 2) / UnitAmount::SCALE).ok()
    }
}

impl Cost {
    pub fn amount(&self, quantity: i64) -> Option<i64> {
        match self {
            Cost::PerUnit(unit) => unit.times(quantity),
            Cost::Tiered { mode: TiersMode::Volume, tiers } => volume(tiers, quantity),
            Cost::Tiered { mode: TiersMode::Graduated, tiers } => graduated(tiers, quantity),
        }
    }
}

fn volume(tiers: &[Tier], quantity: i64) -> Option<i64> {
    let tier = tiers.iter().find(|tier| tier.up_to.is_none_or(|up_to| quantity <= up_to))?;
    tier.unit.times(quantity)?.checked_add(tier.flat_amount.unwrap_or(0))
}

fn graduated(tiers: &[Tier], quantity: i64) -> Option<i64> {
    let mut total = 0_i64;
    let mut from = 0;
    for tier in tiers {
        let to = tier.up_to.map_or(quantity, |up_to| up_to.min(quantity));
        if to <= from && from != 0 {
            break;
        }
        total = total.checked_add(tier.unit.times(to - from)?)?;
        total = total.checked_add(tier.flat_amount.unwrap_or(0))?;
        from = to;
        if from == quantity {
            break;
        }
    }
    Some(total)
}

/// `tiers` is shown only when asked for.
pub fn tiers_view(cost: &Cost) -> Value {
    let Cost::Tiered { tiers, .. } = cost else {
        return Value::Null;
    };
    let tiers = tiers.iter().map(|tier| {
        json!({
            "flat_amount": tier.flat_amount,
            "flat_amount_decimal": tier.flat_amount.map(|amount| amount.to_string()),
            "unit_amount": tier.unit.minor(),
            "unit_amount_decimal": tier.unit.decimal(),
            "up_to": tier.up_to,
        })
    });
    Value::Array(tiers.collect())
}

pub fn read(params: &mut Params) -> Result<Cost, ApiError> {
    let tiered = params.word("billing_scheme", &["per_unit", "tiered"])? == Some("tiered");
    if !tiered {
        return match read_unit(params)? {
            Some(unit) => Ok(Cost::PerUnit(unit)),
            None => Err(ApiError::missing_parameter(&params.name("unit_amount"))),
        };
    }
    let mode = match params.word("tiers_mode", &["graduated", "volume"])? {
        None => return Err(ApiError::missing_parameter(&params.name("tiers_mode"))),
        Some("volume") => TiersMode::Volume,
        Some(_) => TiersMode::Graduated,
    };
    let mut tiers: Vec<Tier> = Vec::new();
    for mut tier in params.hashes("tiers")? {
        let up_to = match tier.required("up_to")?.as_str() {
            "inf" => None,
            number => {
                let last = tiers.last().and_then(|tier| tier.up_to).unwrap_or(0);
                let up_to = number.parse().ok().filter(|up_to| last < *up_to);
                Some(up_to.ok_or_else(|| tier.invalid("up_to", "Invalid tier"))?)
            }
        };
        let flat_amount = tier.amount("flat_amount")?;
        let unit = read_unit(&mut tier)?.unwrap_or(UnitAmount::whole(0));
        tier.finish()?;
        tiers.push(Tier { up_to, flat_amount, unit });
    }
    let open_ended = tiers.iter().filter(|tier| tier.up_to.is_none()).count();
    if open_ended != 1 || tiers.last().is_none_or(|tier| tier.up_to.is_some()) {
        return Err(params.invalid("tiers", "The last tier, and no other, must be up to `inf`"));
    }
    Ok(Cost::Tiered { mode, tiers })
}

fn read_unit(params: &mut Params) -> Result<Option<UnitAmount>, ApiError> {
    let whole = params.amount("unit_amount")?;
    let decimal = params.text("unit_amount_decimal")?;
    match (whole, decimal) {
        (None, None) => Ok(None),
        (Some(minor), None) => Ok(Some(UnitAmount::whole(minor))),
        (None, Some(text)) => match UnitAmount::parse(&text) {
            Some(unit) => Ok(Some(unit)),
            None => Err(params.invalid("unit_amount_decimal", "Invalid decimal")),
        },
        (Some(_), Some(_)) => {
            Err(params.invalid("unit_amount", "Pass only one of unit_amount, unit_amount_decimal"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tier(up_to: Option<i64>, unit: i64, flat: Option<i64>) -> Tier {
        Tier { up_to, flat_amount: flat, unit: UnitAmount::whole(unit) }
    }

    #[test]
    fn tiers_cost_what_stripe_says() {
        let tiers = [tier(Some(10), 100, None), tier(None, 50, Some(5))];
        assert_eq!(graduated(&tiers, 0), Some(0));
        assert_eq!(graduated(&tiers, 10), Some(1_000));
        assert_eq!(graduated(&tiers, 12), Some(1_105));
        assert_eq!(volume(&tiers, 12), Some(605));
        assert_eq!(volume(&tiers, 10), Some(1_000));
    }

    #[test]
    fn decimals_are_exact() {
        let half = UnitAmount::parse("0.5").expect("a decimal");
        assert_eq!(
            (half.minor(), half.decimal(), half.times(3)),
            (None, "0.5".to_owned(), Some(2))
        );
        let whole = UnitAmount::parse("12.000").expect("a decimal");
        assert_eq!((whole.minor(), whole.decimal()), (Some(12), "12".to_owned()));
        for bad in ["", ".5", "-1", "1e3", "1.0000000000001", "9999999999"] {
            assert_eq!(UnitAmount::parse(bad), None, "{bad}");
        }
        assert_eq!(UnitAmount::whole(i64::MAX).times(i64::MAX), None);
    }
}
