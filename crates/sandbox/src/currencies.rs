//! The currencies the sandbox knows, their decimals and Stripe's smallest charge.

use crate::errors::ApiError;
use crate::params::Params;

const TWO_DECIMALS: &[&str] = &[
    "usd", "aed", "aud", "bgn", "brl", "cad", "chf", "cny", "czk", "dkk", "eur", "gbp", "hkd",
    "huf", "idr", "ils", "inr", "mxn", "myr", "nok", "nzd", "php", "pln", "ron", "sar", "sek",
    "sgd", "thb", "try", "twd", "uah", "zar",
];
const NO_DECIMALS: &[&str] = &[
    "bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "ugx", "vnd", "vuv",
    "xaf", "xof", "xpf",
];
const THREE_DECIMALS: &[&str] = &["bhd", "jod", "kwd", "omr", "tnd"];

/// The required `currency` parameter, in lower case.
pub fn required(params: &mut Params) -> Result<String, ApiError> {
    let currency = params.required("currency")?.to_ascii_lowercase();
    if decimals(&currency).is_none() {
        let shown: String = currency.chars().take(10).collect();
        let name = params.name("currency");
        return Err(ApiError::invalid(format!("Invalid currency: {shown}.")).param(&name));
    }
    Ok(currency)
}

/// A currency used as the key of a hash.
pub fn check(currency: &str, param: &str) -> Result<(), ApiError> {
    if decimals(currency).is_none() {
        let shown: String = currency.chars().take(10).collect();
        return Err(ApiError::invalid(format!("Invalid currency: {shown}.")).param(param));
    }
    Ok(())
}

/// Digits after the point; none for an unknown currency.
pub fn decimals(currency: &str) -> Option<usize> {
    if TWO_DECIMALS.contains(&currency) {
        Some(2)
    } else if NO_DECIMALS.contains(&currency) {
        Some(0)
    } else if THREE_DECIMALS.contains(&currency) {
        Some(3)
    } else {
        None
    }
}

/// Amounts that can be charged are multiples of this: the last of three decimals must be zero.
pub fn step(currency: &str) -> i64 {
    if THREE_DECIMALS.contains(&currency) { 10 } else { 1 }
}

/// Smaller payments are refused with `amount_too_small`.
pub fn least_charge(currency: &str) -> i64 {
    match currency {
        "gbp" => 30,
        "jpy" => 50,
        "mxn" | "thb" => 1_000,
        "dkk" => 250,
        "nok" | "sek" => 300,
        "hkd" => 400,
        "huf" => 17_500,
        "czk" => 1_500,
        "pln" | "aed" | "myr" | "ron" => 200,
        "inr" => 50,
        _ => 50,
    }
}

/// An amount for people: `1999, usd` -> `19.99 USD`.
pub fn show(amount: i64, currency: &str) -> String {
    let decimals = decimals(currency).unwrap_or(2);
    let digits = format!("{:0width$}", amount.unsigned_abs(), width = decimals + 1);
    let (integer, fraction) = digits.split_at(digits.len() - decimals);
    let sign = if amount < 0 { "-" } else { "" };
    let point = if decimals == 0 { "" } else { "." };
    format!("{sign}{integer}{point}{fraction} {}", currency.to_uppercase())
}

/// A part of the smallest unit for people: `0.333, usd` -> `0.00333 USD`.
pub fn show_decimal(amount: &str, currency: &str) -> String {
    let decimals = decimals(currency).unwrap_or(2);
    let (whole, rest) = amount.split_once('.').unwrap_or((amount, ""));
    let digits = format!("{whole:0>width$}", width = decimals + 1);
    let (integer, fraction) = digits.split_at(digits.len() - decimals);
    format!("{integer}.{fraction}{rest} {}", currency.to_uppercase())
}

#[cfg(test)]
mod tests {
    use super::{show, show_decimal};

    #[test]
    fn parts_of_the_smallest_unit_for_people() {
        assert_eq!(show_decimal("0.333", "usd"), "0.00333 USD");
        assert_eq!(show_decimal("1250.5", "usd"), "12.505 USD");
        assert_eq!(show_decimal("0.5", "jpy"), "0.5 JPY");
    }

    #[test]
    fn amounts_for_people() {
        assert_eq!(show(1_999, "usd"), "19.99 USD");
        assert_eq!(show(5, "usd"), "0.05 USD");
        assert_eq!(show(-150, "eur"), "-1.50 EUR");
        assert_eq!(show(500, "jpy"), "500 JPY");
        assert_eq!(show(1_234, "kwd"), "1.234 KWD");
    }
}
