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
    Tiered {
        mode: TiersMode,
        tiers: Vec<Tier>,
    },
    /// The buyer chooses, within these bounds.
    Chosen {
        minimum: Option<i64>,
        maximum: Option<i64>,
        preset: Option<i64>,
    },
}

/// `transform_quantity`: packages of units are sold, and a begun package counts or does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transform {
    pub divide_by: i64,
    pub rounds_up: bool,
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
    pub flat: Option<UnitAmount>,
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
    pub fn times(self, quantity: i64) -> Option<i64> {
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
            Cost::Chosen { preset, .. } => preset.unwrap_or(0).checked_mul(quantity),
        }
    }

    pub fn scheme(&self) -> &'static str {
        match self {
            Cost::Tiered { .. } => "tiered",
            Cost::PerUnit(_) | Cost::Chosen { .. } => "per_unit",
        }
    }

    pub fn unit(&self) -> Option<UnitAmount> {
        match self {
            Cost::PerUnit(unit) => Some(*unit),
            Cost::Tiered { .. } | Cost::Chosen { .. } => None,
        }
    }

    /// `custom_unit_amount`
    pub fn chosen_view(&self) -> Value {
        match self {
            Cost::Chosen { minimum, maximum, preset } => {
                json!({"maximum": maximum, "minimum": minimum, "preset": preset})
            }
            Cost::PerUnit(_) | Cost::Tiered { .. } => Value::Null,
        }
    }
}

impl Transform {
    pub fn packages(self, quantity: i64) -> i64 {
        let divide_by = self.divide_by.max(1);
        let begun = self.rounds_up && quantity % divide_by != 0;
        quantity / divide_by + i64::from(begun)
    }

    pub fn view(self) -> Value {
        let round = if self.rounds_up { "up" } else { "down" };
        json!({"divide_by": self.divide_by, "round": round})
    }

    pub fn read(params: &mut Params) -> Result<Option<Transform>, ApiError> {
        let Some(mut hash) = params.hash("transform_quantity")? else {
            return Ok(None);
        };
        let divide_by = hash.within("divide_by", 1, i64::MAX)?;
        let round = hash.word("round", &["down", "up"])?;
        let missing =
            |key: &str| ApiError::missing_parameter(&format!("transform_quantity[{key}]"));
        let divide_by = divide_by.ok_or_else(|| missing("divide_by"))?;
        let rounds_up = round.ok_or_else(|| missing("round"))? == "up";
        hash.finish()?;
        Ok(Some(Transform { divide_by, rounds_up }))
    }
}

fn volume(tiers: &[Tier], quantity: i64) -> Option<i64> {
    let tier = tiers.iter().find(|tier| tier.up_to.is_none_or(|up_to| quantity <= up_to))?;
    tier.amount(quantity)
}

impl Tier {
    fn amount(&self, quantity: i64) -> Option<i64> {
        let flat = self.flat.map_or(Some(0), |flat| flat.times(1))?;
        self.unit.times(quantity)?.checked_add(flat)
    }
}

fn graduated(tiers: &[Tier], quantity: i64) -> Option<i64> {
    let mut total = 0_i64;
    let mut from = 0;
    for tier in tiers {
        let to = tier.up_to.map_or(quantity, |up_to| up_to.min(quantity));
        if to <= from && from != 0 {
            break;
        }
        total = total.checked_add(tier.amount(to - from)?)?;
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
            "flat_amount": tier.flat.and_then(UnitAmount::minor),
            "flat_amount_decimal": tier.flat.map(UnitAmount::decimal),
            "unit_amount": tier.unit.minor(),
            "unit_amount_decimal": tier.unit.decimal(),
            "up_to": tier.up_to,
        })
    });
    Value::Array(tiers.collect())
}

pub fn read(params: &mut Params) -> Result<Cost, ApiError> {
    let tiered = params.word("billing_scheme", &["per_unit", "tiered"])? == Some("tiered");
    let mode = match params.word("tiers_mode", &["graduated", "volume"])? {
        None => None,
        Some("volume") => Some(TiersMode::Volume),
        Some(_) => Some(TiersMode::Graduated),
    };
    if !tiered {
        for key in ["tiers", "tiers_mode"] {
            if params.has(key) || (key == "tiers_mode" && mode.is_some()) {
                let what = "Only prices with `billing_scheme=tiered` have tiers";
                return Err(params.invalid(key, what));
            }
        }
        return read_single(params);
    }
    let mode = mode.ok_or_else(|| ApiError::missing_parameter(&params.name("tiers_mode")))?;
    Ok(Cost::Tiered { mode, tiers: read_tiers(params)? })
}

/// The same kind of cost in another currency, for `currency_options`.
pub fn read_alike(params: &mut Params, base: &Cost) -> Result<Cost, ApiError> {
    match base {
        Cost::Tiered { mode, .. } => Ok(Cost::Tiered { mode: *mode, tiers: read_tiers(params)? }),
        Cost::PerUnit(_) | Cost::Chosen { .. } => read_single(params),
    }
}

fn read_single(params: &mut Params) -> Result<Cost, ApiError> {
    let unit = read_decimal(params, "unit_amount")?;
    let chosen = read_chosen(params)?;
    match (unit, chosen) {
        (Some(unit), None) => Ok(Cost::PerUnit(unit)),
        (None, Some(chosen)) => Ok(chosen),
        (None, None) => Err(ApiError::missing_parameter(&params.name("unit_amount"))),
        (Some(_), Some(_)) => {
            let what = "Pass only one of unit_amount, custom_unit_amount";
            Err(params.invalid("custom_unit_amount", what))
        }
    }
}

fn read_chosen(params: &mut Params) -> Result<Option<Cost>, ApiError> {
    let Some(mut hash) = params.hash("custom_unit_amount")? else {
        return Ok(None);
    };
    match hash.boolean("enabled")? {
        None => return Err(ApiError::missing_parameter(&hash.name("enabled"))),
        Some(false) => return Err(hash.invalid("enabled", "This can only be true")),
        Some(true) => {}
    }
    let minimum = hash.amount("minimum")?;
    let maximum = hash.amount("maximum")?;
    let preset = hash.amount("preset")?;
    hash.finish()?;
    let ordered =
        |low: Option<i64>, high: Option<i64>| low.zip(high).is_none_or(|(low, high)| low <= high);
    if !ordered(minimum, maximum) {
        return Err(hash.invalid("maximum", "The maximum is below the minimum"));
    }
    if !ordered(minimum, preset) || !ordered(preset, maximum) {
        return Err(hash.invalid("preset", "The preset is not between minimum and maximum"));
    }
    Ok(Some(Cost::Chosen { minimum, maximum, preset }))
}

fn read_tiers(params: &mut Params) -> Result<Vec<Tier>, ApiError> {
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
        let flat = read_decimal(&mut tier, "flat_amount")?;
        let unit = read_decimal(&mut tier, "unit_amount")?;
        if flat.is_none() && unit.is_none() {
            return Err(ApiError::missing_parameter(&tier.name("unit_amount")));
        }
        tier.finish()?;
        tiers.push(Tier { up_to, flat, unit: unit.unwrap_or(UnitAmount::whole(0)) });
    }
    if tiers.is_empty() {
        return Err(ApiError::missing_parameter(&params.name("tiers")));
    }
    let open_ended = tiers.iter().filter(|tier| tier.up_to.is_none()).count();
    if open_ended != 1 || tiers.last().is_none_or(|tier| tier.up_to.is_some()) {
        return Err(params.invalid("tiers", "The last tier, and no other, must be up to `inf`"));
    }
    Ok(tiers)
}

/// `unit_amount` or `unit_amount_decimal`; `flat_amount` has both forms, too.
pub fn read_decimal(params: &mut Params, key: &str) -> Result<Option<UnitAmount>, ApiError> {
    let decimal_key = format!("{key}_decimal");
    let whole = params.amount(key)?;
    let decimal = params.text(&decimal_key)?;
    match (whole, decimal) {
        (None, None) => Ok(None),
        (Some(minor), None) => Ok(Some(UnitAmount::whole(minor))),
        (None, Some(text)) => match UnitAmount::parse(&text) {
            Some(unit) => Ok(Some(unit)),
            None => Err(params.invalid(&decimal_key, "Invalid decimal")),
        },
        (Some(_), Some(_)) => {
            Err(params.invalid(key, &format!("Pass only one of {key}, {decimal_key}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tier(up_to: Option<i64>, unit: i64, flat: Option<i64>) -> Tier {
        Tier { up_to, flat: flat.map(UnitAmount::whole), unit: UnitAmount::whole(unit) }
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
    fn packages_round_as_told() {
        let up = Transform { divide_by: 100, rounds_up: true };
        let down = Transform { divide_by: 100, rounds_up: false };
        for (quantity, rounded_up, rounded_down) in [(0, 0, 0), (1, 1, 0), (100, 1, 1), (101, 2, 1)]
        {
            assert_eq!(
                (up.packages(quantity), down.packages(quantity)),
                (rounded_up, rounded_down)
            );
        }
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
