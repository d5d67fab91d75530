//! Faults on demand, for tests of whoever depends on this provider: webhooks that are lost,
//! doubled, late or out of order, and an API that is slow, refuses, or answers too late.

use std::collections::HashMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::errors::ApiError;

/// The longest an answer is withheld; clients give up long before.
const WITHHELD: Duration = Duration::from_secs(120);
const MAX_DELAY_MS: u64 = 60_000;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Setting {
    /// The endpoint these faults are for; none means all endpoints.
    pub endpoint: Option<String>,
    /// The same seed makes the same choices.
    pub seed: u64,
    pub drop: Rate,
    pub duplicate: Rate,
    pub reorder: Rate,
    pub delay_ms: u64,
    pub api: Api,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Api {
    pub slow_ms: u64,
    /// 429 or 500, before anything has happened.
    pub status: Option<u16>,
    /// The failure is kept as the answer under the idempotency key, and given again for a day;
    /// requests without a key do not fail.
    pub kept: bool,
    /// Everything happens, but the answer does not come.
    pub timeout_after_effect: bool,
}

/// How often, from 0 to 1; `true` is always.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Rate {
    Always(bool),
    Share(f64),
}

impl Default for Rate {
    fn default() -> Rate {
        Rate::Always(false)
    }
}

impl Rate {
    fn share(self) -> f64 {
        match self {
            Rate::Always(always) => f64::from(u8::from(always)),
            Rate::Share(share) => share,
        }
    }

    pub fn percent(self) -> f64 {
        self.share() * 100.0
    }

    fn is_valid(self) -> bool {
        (0.0..=1.0).contains(&self.share())
    }
}

/// What happens to one delivery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fate {
    pub lost: bool,
    pub doubled: bool,
    pub delay: Duration,
}

#[derive(Debug, Default)]
pub struct Faults {
    general: Setting,
    by_endpoint: HashMap<String, Setting>,
    /// One series of choices per endpoint, so that none disturbs another's.
    random: HashMap<String, u64>,
}

#[derive(Debug, thiserror::Error)]
pub enum FaultError {
    #[error("rates are from 0 to 1")]
    Rate,
    #[error("delays are up to {MAX_DELAY_MS} ms")]
    Delay,
    #[error("api.status is 429 or 500, not {0}")]
    Status(u16),
    #[error("only an api.status can be kept")]
    NothingKept,
    #[error("api faults belong to no endpoint")]
    ApiOfEndpoint,
}

impl Setting {
    fn is_active(&self) -> bool {
        let rates = [self.drop, self.duplicate, self.reorder];
        rates.into_iter().any(|rate| 0.0 < rate.share()) || self.delay_ms != 0 || self.api.is_set()
    }
}

impl Faults {
    /// Replaces the setting of one endpoint, or all settings.
    pub fn set(&mut self, setting: Setting) -> Result<(), FaultError> {
        let rates = [setting.drop, setting.duplicate, setting.reorder];
        if !rates.into_iter().all(Rate::is_valid) {
            return Err(FaultError::Rate);
        }
        if MAX_DELAY_MS < setting.delay_ms || MAX_DELAY_MS < setting.api.slow_ms {
            return Err(FaultError::Delay);
        }
        if let Some(status) = setting.api.status
            && status != 429
            && status != 500
        {
            return Err(FaultError::Status(status));
        }
        if setting.api.kept && setting.api.status.is_none() {
            return Err(FaultError::NothingKept);
        }
        match setting.endpoint.clone() {
            None => {
                self.by_endpoint.clear();
                self.random.clear();
                self.general = setting;
            }
            Some(_) if setting.api.is_set() => return Err(FaultError::ApiOfEndpoint),
            Some(endpoint) => {
                self.random.remove(&endpoint);
                self.by_endpoint.insert(endpoint, setting);
            }
        }
        Ok(())
    }

    pub fn end(&mut self) {
        *self = Faults::default();
    }

    /// What is set and does anything.
    pub fn active(&self) -> Vec<Setting> {
        let mut all: Vec<Setting> = self.by_endpoint.values().cloned().collect();
        all.sort_by(|one, other| one.endpoint.cmp(&other.endpoint));
        all.insert(0, self.general.clone());
        all.retain(Setting::is_active);
        all
    }

    pub fn api(&self) -> Api {
        self.general.api.clone()
    }

    pub fn reorders(&mut self, endpoint: &str) -> bool {
        let share = self.setting(endpoint).reorder.share();
        self.happens(endpoint, share)
    }

    pub fn fate(&mut self, endpoint: &str) -> Fate {
        let setting = self.setting(endpoint);
        let (drop, duplicate) = (setting.drop.share(), setting.duplicate.share());
        let delay = Duration::from_millis(setting.delay_ms);
        let lost = self.happens(endpoint, drop);
        Fate { lost, doubled: self.happens(endpoint, duplicate), delay }
    }

    fn setting(&self, endpoint: &str) -> &Setting {
        self.by_endpoint.get(endpoint).unwrap_or(&self.general)
    }

    fn happens(&mut self, endpoint: &str, share: f64) -> bool {
        if share <= 0.0 {
            return false;
        }
        // 32 random bits are plenty for a share, and exact as a float.
        let drawn = u32::try_from(self.next(endpoint) >> 32).unwrap_or(u32::MAX);
        f64::from(drawn) < share * 4_294_967_296.0
    }

    /// SplitMix64: small, seeded, good enough to choose faults.
    fn next(&mut self, endpoint: &str) -> u64 {
        let seed = self.setting(endpoint).seed;
        let random = self.random.entry(endpoint.to_owned()).or_insert(seed);
        *random = random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = *random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

impl Api {
    fn is_set(&self) -> bool {
        self.slow_ms != 0 || self.status.is_some() || self.timeout_after_effect
    }

    /// The failure before anything has happened, of every request.
    pub fn refusal(&self) -> Option<ApiError> {
        self.status.filter(|_| !self.kept).map(|status| ApiError::injected(Some(status)))
    }

    /// The failure that is kept under the request's key.
    pub fn kept_refusal(&self) -> Option<ApiError> {
        self.status.filter(|_| self.kept).map(|status| ApiError::injected(Some(status)))
    }

    pub async fn slow(&self) {
        if self.slow_ms != 0 {
            tokio::time::sleep(Duration::from_millis(self.slow_ms)).await;
        }
    }

    pub async fn withhold(&self) {
        if self.timeout_after_effect {
            tokio::time::sleep(WITHHELD).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drops(seed: u64, rate: Rate) -> Vec<bool> {
        let mut faults = Faults::default();
        faults.set(Setting { seed, drop: rate, ..Setting::default() }).expect("a setting");
        (0..200).map(|_| faults.fate("we").lost).collect()
    }

    #[test]
    fn seeds_repeat_and_rates_hold() {
        assert_eq!(drops(7, Rate::Share(0.5)), drops(7, Rate::Share(0.5)));
        assert_ne!(drops(7, Rate::Share(0.5)), drops(8, Rate::Share(0.5)));
        let lost = drops(7, Rate::Share(0.3)).into_iter().filter(|lost| *lost).count();
        assert!((40..80).contains(&lost), "{lost}");
        assert!(drops(1, Rate::Always(true)).into_iter().all(|lost| lost));
        assert!(!drops(1, Rate::Share(0.0)).into_iter().any(|lost| lost));
    }

    #[test]
    fn endpoints_do_not_disturb_each_other() {
        let alone = drops(7, Rate::Share(0.5));
        let mut faults = Faults::default();
        let half = Setting { seed: 7, drop: Rate::Share(0.5), ..Setting::default() };
        faults.set(half.clone()).expect("a setting");
        let of_other = Setting { seed: 9, endpoint: Some("other".to_owned()), ..half };
        let among_others = (0..200).map(|count| {
            if count == 100 {
                faults.set(of_other.clone()).expect("a setting");
            }
            faults.fate("other");
            faults.fate("we").lost
        });
        assert_eq!(among_others.collect::<Vec<bool>>(), alone);
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            r#"{"drop": 1.5}"#,
            r#"{"drop": -0.1}"#,
            r#"{"api": {"status": 200}}"#,
            r#"{"delay_ms": 999999999}"#,
            r#"{"api": {"kept": true}}"#,
            r#"{"endpoint": "we_1", "api": {"slow_ms": 5}}"#,
        ] {
            let setting: Setting = serde_json::from_str(text).expect(text);
            assert!(Faults::default().set(setting).is_err(), "{text}");
        }
    }
}
