//! What is for sale and what each price grants to whoever pays it.

use crate::credits::{CreditError, Credits};
use crate::time::Interval;

/// How a price is paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Billing {
    OneTime,
    Recurring(Interval),
}

/// Everything a paid price grants. A checkout session keeps a copy, so buyers get what was on sale
/// when they bought.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Grants {
    pub credits: Vec<CreditGrant>,
    pub features: Vec<FeatureGrant>,
}

/// Credits that come with a price.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreditGrant {
    pub unit: String,
    pub amount: Credits,
    /// How often an allowance is refilled; independent of how often it is paid for.
    pub every: Interval,
    /// What a trial starts with, where that is not the allowance itself.
    pub trial_amount: Option<i64>,
}

/// A feature that a price unlocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeatureGrant {
    pub feature: String,
    /// For one-time prices: how long; a subscription unlocks for as long as it lives.
    pub days: Option<u32>,
}

/// Twelve digits: more than any provider takes at once.
const UNIT_AMOUNT_MAX: i64 = 999_999_999_999;

/// Why a price was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CatalogueError {
    #[error("unit_amount must be from 0 to {UNIT_AMOUNT_MAX}, not {0}")]
    UnitAmount(i64),
    #[error("interval_count must be from 1 to 36, not {0}")]
    IntervalCount(u32),
    #[error("feature key {0:?} must be 1 to 64 of a-z, 0-9, '_', '-' and '.'")]
    FeatureKey(String),
    #[error("days must be from 1 to 36500, not {0}")]
    Days(u32),
    #[error("trial_days must be from 0 to 730, not {0}")]
    TrialDays(u32),
    #[error(transparent)]
    Credits(#[from] CreditError),
}

/// Checks a feature's key, the name that programs ask for.
///
/// ```
/// use domain::catalogue::check_feature_key;
/// assert!(check_feature_key("knowledge_base").is_ok());
/// assert!(check_feature_key("Knowledge Base").is_err());
/// ```
pub fn check_feature_key(key: &str) -> Result<(), CatalogueError> {
    let fits = (1..=64).contains(&key.len())
        && key.bytes().all(|b| {
            b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-' | b'.')
        });
    if fits { Ok(()) } else { Err(CatalogueError::FeatureKey(key.chars().take(64).collect())) }
}

/// Checks what a price asks for and grants before it is saved.
pub fn check_price(
    unit_amount: i64,
    billing: Billing,
    grants: &Grants,
    trial_days: u32,
) -> Result<(), CatalogueError> {
    if !(0..=UNIT_AMOUNT_MAX).contains(&unit_amount) {
        return Err(CatalogueError::UnitAmount(unit_amount));
    }
    if let Billing::Recurring(interval) = billing
        && !(1..=36).contains(&interval.count)
    {
        return Err(CatalogueError::IntervalCount(interval.count));
    }
    if trial_days > 730 {
        return Err(CatalogueError::TrialDays(trial_days));
    }
    for grant in &grants.features {
        check_feature_key(&grant.feature)?;
        match grant.days {
            Some(days) if !(1..=36_500).contains(&days) => {
                return Err(CatalogueError::Days(days));
            }
            _ => {}
        }
    }
    for grant in &grants.credits {
        crate::credits::check_unit(&grant.unit)?;
        // None at all is a choice; anything else is an amount like every other.
        match grant.trial_amount {
            None | Some(0) => {}
            Some(amount) => drop(Credits::new(amount)?),
        }
        if !(1..=36).contains(&grant.every.count) {
            return Err(CatalogueError::IntervalCount(grant.every.count));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_prices_are_refused() {
        let none = Grants::default();
        assert!(check_price(0, Billing::OneTime, &none, 0).is_ok());
        assert!(check_price(-1, Billing::OneTime, &none, 0).is_err());
        let never = Billing::Recurring(Interval { count: 0, ..Interval::MONTH });
        assert!(check_price(1, never, &none, 0).is_err());
        let credit = CreditGrant {
            unit: "credits".into(),
            amount: Credits::new(1).unwrap(),
            every: Interval::MONTH,
            trial_amount: Some(-5),
        };
        let grants = Grants { credits: vec![credit], ..Grants::default() };
        assert!(check_price(1, Billing::OneTime, &grants, 0).is_err());
        let feature = FeatureGrant { feature: "kb".into(), days: Some(0) };
        let grants = Grants { features: vec![feature], ..none };
        assert!(check_price(1, Billing::OneTime, &grants, 0).is_err());
    }
}
