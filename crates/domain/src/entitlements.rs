//! Access to a feature: which grants unlock it, and why the answer is what it is.

use crate::time::Timestamp;

/// One reason for access: a subscription, a payment, a manual grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entitlement {
    pub feature: String,
    pub source: String,
    pub starts_at: Timestamp,
    pub ends_at: Option<Timestamp>,
    pub revoked_at: Option<Timestamp>,
}

impl Entitlement {
    fn is_live(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none()
            && self.starts_at <= now
            && self.ends_at.is_none_or(|end| now < end)
    }
}

/// Why access is given or refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// A live grant unlocks it.
    Entitled,
    /// Nothing ever unlocked it.
    NotEntitled,
    /// What unlocked it has ended.
    Ended,
    /// What unlocked it was withdrawn, by a refund for example.
    Revoked,
    /// What unlocks it begins later.
    NotStarted,
}

impl Reason {
    /// The stable word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Reason::Entitled => "entitled",
            Reason::NotEntitled => "not_entitled",
            Reason::Ended => "ended",
            Reason::Revoked => "revoked",
            Reason::NotStarted => "not_started",
        }
    }
}

/// The answer to "may this customer use that feature now?".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    pub allowed: bool,
    pub reason: Reason,
    /// The grant that decided.
    pub source: Option<String>,
    /// When the access ends; `None` while it renews by itself or there is none.
    pub ends_at: Option<Timestamp>,
}

/// Decides access from all grants of one feature; the one that lasts longest is named.
pub fn decide(entitlements: &[Entitlement], now: Timestamp) -> Decision {
    let lasts = |one: &&Entitlement| one.ends_at.map_or(i64::MAX, Timestamp::micros);
    if let Some(best) = entitlements.iter().filter(|one| one.is_live(now)).max_by_key(lasts) {
        return Decision {
            allowed: true,
            reason: Reason::Entitled,
            source: Some(best.source.clone()),
            ends_at: best.ends_at.and_then(|end| lasting_end(entitlements, end)),
        };
    }
    let newest = entitlements.iter().max_by_key(lasts);
    let reason = match newest {
        None => Reason::NotEntitled,
        Some(one) if one.revoked_at.is_some() => Reason::Revoked,
        Some(one) if now < one.starts_at => Reason::NotStarted,
        Some(_) => Reason::Ended,
    };
    let source = newest.map(|one| one.source.clone());
    Decision { allowed: false, reason, source, ends_at: newest.and_then(|one| one.ends_at) }
}

/// When access really ends that ends at `end` unless another grant goes on from there.
fn lasting_end(entitlements: &[Entitlement], end: Timestamp) -> Option<Timestamp> {
    let mut end = end;
    let goes_on = |end: Timestamp| {
        entitlements.iter().find(move |one| {
            let lasts = one.ends_at.is_none_or(|later| end < later);
            one.revoked_at.is_none() && one.starts_at <= end && lasts
        })
    };
    while let Some(next) = goes_on(end) {
        end = next.ends_at?;
    }
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(starts: i64, ends: Option<i64>, revoked: bool) -> Entitlement {
        Entitlement {
            feature: "kb".into(),
            source: format!("{starts}"),
            starts_at: Timestamp::from_seconds(starts),
            ends_at: ends.map(Timestamp::from_seconds),
            revoked_at: revoked.then(|| Timestamp::from_seconds(1)),
        }
    }

    #[test]
    fn each_answer_says_why() {
        let cases = [
            (vec![], Reason::NotEntitled),
            (vec![grant(0, Some(10), false)], Reason::Ended),
            (vec![grant(0, None, true)], Reason::Revoked),
            (vec![grant(11, None, false)], Reason::NotStarted),
            (vec![grant(0, Some(11), false)], Reason::Entitled),
            (vec![grant(0, None, true), grant(5, Some(20), false)], Reason::Entitled),
        ];
        for (grants, reason) in cases {
            let decision = decide(&grants, Timestamp::from_seconds(10));
            assert_eq!(decision.reason, reason, "{grants:?}");
            assert_eq!(decision.allowed, reason == Reason::Entitled);
        }
    }

    #[test]
    fn access_that_is_continued_ends_with_its_last_part() {
        let at = Timestamp::from_seconds(10);
        let end = |grants: &[Entitlement]| decide(grants, at).ends_at.map(Timestamp::seconds);
        let chained = [grant(0, Some(30), false), grant(30, Some(60), false)];
        assert_eq!(end(&chained), Some(60));
        let broken = [grant(0, Some(30), false), grant(31, Some(60), false)];
        assert_eq!(end(&broken), Some(30));
        let revoked = [grant(0, Some(30), false), grant(30, Some(60), true)];
        assert_eq!(end(&revoked), Some(30));
        let renewing = [grant(0, Some(30), false), grant(20, None, false)];
        assert_eq!(end(&renewing), None);
    }
}
