//! Subscription states, which news may change them, and the access each one gives.

use crate::time::Timestamp;

/// The state of a subscription at its provider. New words are kept verbatim and give no access.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Status {
    Incomplete,
    IncompleteExpired,
    Trialing,
    Active,
    PastDue,
    Unpaid,
    Paused,
    Canceled,
    Other(String),
}

impl Status {
    /// Reads the provider's word; both spellings of canceled are one state.
    ///
    /// ```
    /// use domain::subscriptions::Status;
    /// assert_eq!(Status::parse("cancelled"), Status::Canceled);
    /// assert_eq!(Status::parse("hibernating").as_str(), "hibernating");
    /// ```
    pub fn parse(word: &str) -> Self {
        match word {
            "incomplete" => Status::Incomplete,
            "incomplete_expired" => Status::IncompleteExpired,
            "trialing" => Status::Trialing,
            "active" => Status::Active,
            "past_due" => Status::PastDue,
            "unpaid" => Status::Unpaid,
            "paused" => Status::Paused,
            "canceled" | "cancelled" => Status::Canceled,
            other => Status::Other(other.to_owned()),
        }
    }

    /// The provider's word.
    pub fn as_str(&self) -> &str {
        match self {
            Status::Incomplete => "incomplete",
            Status::IncompleteExpired => "incomplete_expired",
            Status::Trialing => "trialing",
            Status::Active => "active",
            Status::PastDue => "past_due",
            Status::Unpaid => "unpaid",
            Status::Paused => "paused",
            Status::Canceled => "canceled",
            Status::Other(word) => word,
        }
    }

    /// States that are never left by older or newer news (INV-TERMINAL).
    pub fn is_terminal(&self) -> bool {
        matches!(self, Status::Canceled | Status::IncompleteExpired)
    }

    /// Whether the provider may still collect money for it, so that a second one must be refused.
    pub fn is_live(&self) -> bool {
        !matches!(self, Status::Canceled | Status::IncompleteExpired | Status::Incomplete)
    }

    /// How far along its life a state is: decides between snapshots of one second when the provider
    /// can no longer be asked.
    fn rank(&self) -> u8 {
        match self {
            Status::Other(_) => 0,
            Status::Incomplete => 1,
            Status::Trialing => 2,
            Status::Active => 3,
            Status::PastDue => 4,
            Status::Paused => 5,
            Status::Unpaid => 6,
            Status::IncompleteExpired => 7,
            Status::Canceled => 8,
        }
    }
}

/// What we hold of a subscription, as far as the order of news is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    pub status: Status,
    /// The provider's time of the newest snapshot applied.
    pub as_of: Timestamp,
}

/// What to do with a snapshot that an event carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// Provably newer than what we hold: apply it.
    Apply,
    /// About a state that is never left: drop it.
    Stale,
    /// Not provably newer: ask the provider.
    Doubt,
}

/// Compares a snapshot with what we hold (INV-ORDER, INV-TERMINAL).
///
/// ```
/// use domain::subscriptions::{Known, News, Status, news};
/// use domain::time::Timestamp;
/// let known = Known { status: Status::Active, as_of: Timestamp::from_seconds(20) };
/// assert_eq!(news(Some(&known), Timestamp::from_seconds(10)), News::Doubt);
/// assert_eq!(news(Some(&known), Timestamp::from_seconds(20)), News::Doubt);
/// assert_eq!(news(None, Timestamp::from_seconds(10)), News::Apply);
/// ```
pub fn news(known: Option<&Known>, created_at: Timestamp) -> News {
    match known {
        None => News::Apply,
        Some(known) if known.status.is_terminal() => News::Stale,
        Some(known) if known.as_of < created_at => News::Apply,
        Some(_) => News::Doubt,
    }
}

/// Settles doubt when the provider no longer knows the object: an end wins, then newer news, then
/// the further state, so that every order of the same snapshots ends alike.
pub fn outranks(incoming: &Known, held: &Known) -> bool {
    let weight = |known: &Known| (known.status.is_terminal(), known.as_of, known.status.rank());
    !held.status.is_terminal() && weight(held) < weight(incoming)
}

/// The part of a subscription that decides access.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessFacts {
    pub status: Status,
    pub started_at: Timestamp,
    pub cancel_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
    pub past_due_since: Option<Timestamp>,
    /// While collection is paused, access lasts as long as was paid for.
    pub paused_at: Option<Timestamp>,
}

/// From when until when the plan's features are unlocked; `None` is no access at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccessWindow {
    pub starts_at: Timestamp,
    /// Open while the subscription renews by itself.
    pub ends_at: Option<Timestamp>,
}

/// The access a subscription gives: trialing and active do, past due does for `grace_seconds`,
/// everything else, unknown words included, does not (fail closed).
pub fn access(facts: &AccessFacts, grace_seconds: i64) -> Option<AccessWindow> {
    let earliest = |a: Option<Timestamp>, b: Option<Timestamp>| match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    };
    let starts_at = facts.started_at;
    let wished = earliest(facts.cancel_at, facts.paused_at);
    match facts.status {
        Status::Active | Status::Trialing => {
            Some(AccessWindow { starts_at, ends_at: earliest(wished, facts.ended_at) })
        }
        Status::PastDue => {
            let grace_end = facts.past_due_since.map(|since| since.plus_seconds(grace_seconds));
            let ends_at = earliest(earliest(wished, facts.ended_at), grace_end);
            Some(AccessWindow { starts_at, ends_at })
        }
        Status::Canceled => {
            facts.ended_at.map(|ended| AccessWindow { starts_at, ends_at: Some(ended) })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    fn facts(status: &str) -> AccessFacts {
        AccessFacts {
            status: Status::parse(status),
            started_at: at(0),
            cancel_at: None,
            ended_at: None,
            past_due_since: Some(at(100)),
            paused_at: None,
        }
    }

    #[test]
    fn unknown_and_unpaid_states_fail_closed() {
        for status in ["incomplete", "incomplete_expired", "unpaid", "paused", "hibernating"] {
            assert_eq!(access(&facts(status), 10), None, "{status}");
        }
        assert_eq!(access(&facts("active"), 10).unwrap().ends_at, None);
        assert_eq!(access(&facts("past_due"), 10).unwrap().ends_at, Some(at(110)));
    }

    #[test]
    fn pitfall_058_a_requested_cancellation_keeps_access_until_its_date() {
        let canceling = AccessFacts { cancel_at: Some(at(500)), ..facts("active") };
        let window = access(&canceling, 0).unwrap();
        assert_eq!(window.ends_at, Some(at(500)));
    }

    #[test]
    fn paused_collection_gives_what_was_paid_for() {
        let paused = AccessFacts { paused_at: Some(at(300)), ..facts("active") };
        assert_eq!(access(&paused, 0).unwrap().ends_at, Some(at(300)));
    }

    #[test]
    fn terminal_states_are_never_left() {
        for status in [Status::Canceled, Status::IncompleteExpired] {
            let known = Known { status, as_of: at(10) };
            assert_eq!(news(Some(&known), at(99)), News::Stale);
        }
    }

    #[test]
    fn doubt_ends_alike_in_every_order() {
        let words = ["incomplete", "trialing", "active", "past_due", "unpaid", "canceled", "new"];
        let mut all = Vec::new();
        for seconds in [10, 20] {
            for word in words {
                all.push(Known { status: Status::parse(word), as_of: at(seconds) });
            }
        }
        for a in &all {
            for b in &all {
                let ends = a.status.is_terminal() && b.status.is_terminal();
                assert!(a == b || ends || outranks(a, b) != outranks(b, a), "{a:?} {b:?}");
            }
        }
    }
}
