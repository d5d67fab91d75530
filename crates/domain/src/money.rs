//! Money: integer minor units and a currency in one value, with checked arithmetic only.
//!
//! No operator traits, so overflow and mixed currencies cannot be ignored.

/// An ISO 4217 currency we know the exponent of, in lower case as providers write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Currency([u8; 3]);

/// Currencies without a minor unit at the provider.
const NO_DECIMALS: &str = "bif clp djf gnf jpy kmf krw mga pyg rwf vnd vuv xaf xof xpf";
/// Currencies of thousandths.
const THREE_DECIMALS: &str = "bhd jod kwd omr tnd";
/// Everything else that the provider settles, two decimals; UGX and ISK are sent with two as well.
const TWO_DECIMALS: &str = "\
    aed afn all amd ang aoa ars aud awg azn bam bbd bdt bmd bnd bob brl bsd bwp byn bzd cad \
    cdf chf cny cop crc cve czk dkk dop dzd egp etb eur fjd fkp gbp gel gip gmd gtq gyd hkd \
    hnl htg huf idr ils inr isk jmd kes kgs khr kyd kzt lak lbp lkr lrd lsl mad mdl mkd mmk \
    mnt mop mur mvr mwk mxn myr mzn nad ngn nio nok npr nzd pab pen pgk php pkr pln qar ron \
    rsd rub sar sbd scr sek sgd shp sle sos srd std szl thb tjs top try ttd twd tzs uah ugx \
    usd uyu uzs wst xcd yer zar zmw";

fn lists(list: &str, code: &str) -> bool {
    list.split_ascii_whitespace().any(|known| known == code)
}

/// Why an amount or a currency was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    #[error("currency {0:?} is not known")]
    UnknownCurrency(String),
    #[error("amounts of {0} and {1} cannot be combined")]
    CurrencyMismatch(Currency, Currency),
    #[error("the amount does not fit 64 bits")]
    Overflow,
}

impl Currency {
    pub const USD: Currency = Currency(*b"usd");

    /// Reads a code in either letter case; unknown ones are refused, never guessed.
    ///
    /// ```
    /// use domain::money::Currency;
    /// assert_eq!(Currency::parse("KWD").unwrap().exponent(), 3);
    /// assert!(Currency::parse("zzz").is_err());
    /// ```
    pub fn parse(code: &str) -> Result<Self, MoneyError> {
        let lower = code.to_ascii_lowercase();
        let known = [NO_DECIMALS, TWO_DECIMALS, THREE_DECIMALS].iter().any(|l| lists(l, &lower));
        match <[u8; 3]>::try_from(lower.as_bytes()) {
            Ok(bytes) if known => Ok(Self(bytes)),
            _ => Err(MoneyError::UnknownCurrency(code.chars().take(16).collect())),
        }
    }

    /// How many decimals one unit has.
    pub fn exponent(self) -> u32 {
        if lists(NO_DECIMALS, self.as_str()) {
            0
        } else if lists(THREE_DECIMALS, self.as_str()) {
            3
        } else {
            2
        }
    }

    /// The code in lower case.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("xxx")
    }
}

impl std::fmt::Display for Currency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An amount of one currency in its smallest unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Money {
    minor: i64,
    currency: Currency,
}

impl Money {
    /// From minor units: cents of a dollar, whole yen, thousandths of a dinar.
    pub const fn new(minor: i64, currency: Currency) -> Self {
        Self { minor, currency }
    }

    pub const fn minor(self) -> i64 {
        self.minor
    }

    pub const fn currency(self) -> Currency {
        self.currency
    }

    /// The sum, or why there is none.
    ///
    /// ```
    /// use domain::money::{Currency, Money};
    /// let price = Money::new(1999, Currency::USD);
    /// let sum = price.plus(price).and_then(|two| two.plus(price));
    /// assert_eq!(sum.map(Money::minor), Ok(5997));
    /// ```
    pub fn plus(self, other: Money) -> Result<Money, MoneyError> {
        if self.currency != other.currency {
            return Err(MoneyError::CurrencyMismatch(self.currency, other.currency));
        }
        let minor = self.minor.checked_add(other.minor).ok_or(MoneyError::Overflow)?;
        Ok(Money { minor, ..self })
    }

    /// Decimal text with the currency's own number of decimals, without a symbol.
    ///
    /// ```
    /// use domain::money::{Currency, Money};
    /// let show = |minor, code| Money::new(minor, Currency::parse(code).unwrap()).decimal();
    /// assert_eq!(show(2999, "usd"), "29.99");
    /// assert_eq!(show(500, "jpy"), "500");
    /// assert_eq!(show(1234, "kwd"), "1.234");
    /// assert_eq!(show(-5, "usd"), "-0.05");
    /// ```
    pub fn decimal(self) -> String {
        let exponent = self.currency.exponent();
        if exponent == 0 {
            return self.minor.to_string();
        }
        let scale = 10_u64.pow(exponent);
        let sign = if self.minor < 0 { "-" } else { "" };
        let units = self.minor.unsigned_abs();
        let width = exponent as usize;
        format!("{sign}{}.{:0width$}", units / scale, units % scale)
    }
}

/// For people: the currency's usual symbol where there is one, else its code.
impl std::fmt::Display for Money {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sign = if self.minor < 0 { "-" } else { "" };
        let amount = self.decimal();
        let amount = amount.trim_start_matches('-');
        match self.currency.as_str() {
            "usd" => write!(f, "{sign}${amount}"),
            "eur" => write!(f, "{sign}€{amount}"),
            "gbp" => write!(f, "{sign}£{amount}"),
            "jpy" => write!(f, "{sign}¥{amount}"),
            code => write!(f, "{sign}{amount} {}", code.to_ascii_uppercase()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_13_large_amounts_and_overflow() {
        let large = Money::new(3_000_000_000, Currency::USD);
        assert_eq!(large.to_string(), "$30000000.00");
        let most = Money::new(i64::MAX, Currency::USD);
        assert_eq!(most.plus(large), Err(MoneyError::Overflow));
        assert_eq!(Money::new(i64::MIN, Currency::USD).decimal(), "-92233720368547758.08");
    }

    #[test]
    fn pitfall_106_every_listed_currency_parses_once() {
        let lists = [(NO_DECIMALS, 0), (TWO_DECIMALS, 2), (THREE_DECIMALS, 3)];
        let mut seen = std::collections::BTreeSet::new();
        for (list, exponent) in lists {
            for code in list.split_ascii_whitespace() {
                assert_eq!(Currency::parse(code).map(Currency::exponent), Ok(exponent), "{code}");
                assert!(seen.insert(code), "{code} is listed twice");
            }
        }
    }

    #[test]
    fn pitfall_106_special_currencies_are_written_as_the_provider_writes_them() {
        let cases = [
            ("isk", 500, "5.00"),
            ("ugx", 500, "5.00"),
            ("huf", 500, "5.00"),
            ("twd", 500, "5.00"),
            ("clp", 500, "500"),
            ("krw", 500, "500"),
            ("kwd", 1230, "1.230"),
            ("tnd", 5, "0.005"),
        ];
        for (code, minor, shown) in cases {
            let currency = Currency::parse(code).unwrap();
            assert_eq!(Money::new(minor, currency).decimal(), shown, "{code}");
        }
        for unknown in ["", "us", "usdd", "xxx", "btc", "US$"] {
            assert!(Currency::parse(unknown).is_err(), "{unknown}: refused, never guessed");
        }
    }

    #[test]
    fn currencies_do_not_mix() {
        let yen = Money::new(500, Currency::parse("jpy").unwrap());
        let cents = Money::new(500, Currency::USD);
        assert!(matches!(yen.plus(cents), Err(MoneyError::CurrencyMismatch(..))));
    }
}
