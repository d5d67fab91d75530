//! Percentages of coupons and tax rates: exact, with four decimals.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::errors::ApiError;
use crate::params::Params;

const DECIMALS: usize = 4;

/// Ten-thousandths of one percent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Percent {
    scaled: i64,
}

impl Percent {
    const ONE: i64 = 10_000;
    const HUNDRED: i64 = 100 * Percent::ONE;

    /// From ten-thousandths: 72_500 is 7.25 %.
    pub const fn scaled(scaled: i64) -> Percent {
        Percent { scaled }
    }

    /// Digits beyond the fourth are rounded: callers divide in floating point.
    fn parse(text: &str) -> Option<Percent> {
        let (integer, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits = |text: &str| text.chars().all(|sign| sign.is_ascii_digit());
        if integer.is_empty() || 3 < integer.len() || 30 < fraction.len() {
            return None;
        }
        if !digits(integer) || !digits(fraction) {
            return None;
        }
        let integer: i64 = integer.parse().ok()?;
        let padded = format!("{fraction:0<5}");
        let five: i64 = padded.get(..=DECIMALS)?.parse().ok()?;
        let scaled = integer * Percent::ONE + (five + 5) / 10;
        (scaled <= Percent::HUNDRED).then_some(Percent { scaled })
    }

    /// For dividing an amount in proportion to rates.
    pub fn weight(self) -> i64 {
        self.scaled
    }

    pub fn is_zero(self) -> bool {
        self.scaled == 0
    }

    pub fn plus(self, other: Percent) -> Percent {
        Percent { scaled: self.scaled.saturating_add(other.scaled) }
    }

    /// This share of an amount, rounded half away from zero.
    pub fn of(self, amount: i64) -> i64 {
        ratio(amount, self.scaled, Percent::HUNDRED)
    }

    /// The part of an amount that already includes the share, without it.
    pub fn net_of(self, amount: i64) -> i64 {
        ratio(amount, Percent::HUNDRED, Percent::HUNDRED.saturating_add(self.scaled))
    }

    /// `7.25`, as the API writes decimals in text.
    pub fn decimal(self) -> String {
        let integer = self.scaled / Percent::ONE;
        let fraction = format!("{:04}", self.scaled % Percent::ONE);
        match fraction.trim_end_matches('0') {
            "" => integer.to_string(),
            fraction => format!("{integer}.{fraction}"),
        }
    }

    /// The number on the wire: whole where it is whole.
    pub fn number(self) -> Value {
        if self.scaled % Percent::ONE == 0 {
            return json!(self.scaled / Percent::ONE);
        }
        let number: Result<f64, _> = self.decimal().parse();
        number.map_or(Value::Null, |number| json!(number))
    }
}

/// `amount * part / whole`, rounded half away from zero.
pub fn ratio(amount: i64, part: i64, whole: i64) -> i64 {
    let whole = i128::from(whole.max(1));
    let product = i128::from(amount) * i128::from(part) * 2;
    let half = if product < 0 { -whole } else { whole };
    i64::try_from((product + half) / (whole * 2)).unwrap_or(amount)
}

pub fn read(params: &mut Params, key: &str) -> Result<Option<Percent>, ApiError> {
    let Some(text) = params.text(key)? else {
        return Ok(None);
    };
    let percent = Percent::parse(&text);
    percent.map(Some).ok_or_else(|| params.invalid(key, "Must be a percentage from 0 to 100"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn percent(text: &str) -> Percent {
        Percent::parse(text).expect(text)
    }

    #[test]
    fn percentages_are_exact() {
        assert_eq!(percent("21.5").number(), json!(21.5));
        assert_eq!(percent("25.0").number(), json!(25));
        assert_eq!(percent("33.33333333333333").decimal(), "33.3333");
        assert_eq!(percent("66.66666666666667").decimal(), "66.6667");
        for bad in ["", "-1", "101", "100.0001", "1e2", "1,5", ".5", "100.00001e"] {
            assert_eq!(Percent::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn shares_round_half_away_from_zero() {
        assert_eq!(percent("50").of(5), 3);
        assert_eq!(percent("50").of(-5), -3);
        assert_eq!(percent("33.3333").of(1_000), 333);
        assert_eq!(percent("20").net_of(1_200), 1_000);
        assert_eq!(percent("21").net_of(-121), -100);
        assert_eq!(percent("100").of(99_999_999), 99_999_999);
        assert_eq!(ratio(i64::MAX, i64::MAX, 1), i64::MAX);
    }
}
