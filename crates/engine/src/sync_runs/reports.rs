//! What a run has found: counts per resource, the differences, and what went wrong.

use domain::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// More differences are counted, but not listed.
const DIFFERENCES_MAX: usize = 500;
const TROUBLES_MAX: usize = 100;

/// What can be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resource {
    Products,
    Prices,
    CheckoutSessions,
    Subscriptions,
    Invoices,
    Charges,
    Refunds,
    Disputes,
    CreditNotes,
    Events,
}

impl Resource {
    pub const ALL: [Resource; 10] = [
        Resource::Products,
        Resource::Prices,
        Resource::CheckoutSessions,
        Resource::Subscriptions,
        Resource::Invoices,
        Resource::Charges,
        Resource::Refunds,
        Resource::Disputes,
        Resource::CreditNotes,
        Resource::Events,
    ];

    /// What is compared unless something is named. Sessions come first: they say whose the rest is.
    pub const USUAL: [Resource; 7] = [
        Resource::CheckoutSessions,
        Resource::Subscriptions,
        Resource::Invoices,
        Resource::Charges,
        Resource::Refunds,
        Resource::Disputes,
        Resource::CreditNotes,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Resource::Products => "products",
            Resource::Prices => "prices",
            Resource::CheckoutSessions => "checkout_sessions",
            Resource::Subscriptions => "subscriptions",
            Resource::Invoices => "invoices",
            Resource::Charges => "charges",
            Resource::Refunds => "refunds",
            Resource::Disputes => "disputes",
            Resource::CreditNotes => "credit_notes",
            Resource::Events => "events",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|resource| resource.as_str() == word)
    }
}

/// How many of each; what was seen is one of the others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    pub seen: u64,
    pub equal: u64,
    /// Rows that are new here, by a pull of the catalogue or of events.
    pub created: u64,
    /// Out of sync and put right, or in a dry run: would be.
    pub repaired: u64,
    /// Could not be compared or put right.
    pub failed: u64,
    /// Nothing of ours: other applications sell on the same account.
    pub foreign: u64,
}

/// One cell that differed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    pub resource: Resource,
    /// The provider's id of the object that was compared.
    pub object: String,
    /// The row of ours that changes, such as `subscription` or `entitlement`, and which.
    pub row: String,
    pub row_id: String,
    /// `exists` where the whole row was missing.
    pub field: String,
    pub ours: Option<String>,
    pub theirs: Option<String>,
}

/// What could not be compared, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    pub resource: Resource,
    /// None where the whole list was not to be had.
    pub object: Option<String>,
    pub reason: String,
}

/// How long the oldest difference had gone unnoticed when it was found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drift {
    pub repaired_seconds: i64,
    pub unrepaired_seconds: i64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    pub resources: BTreeMap<Resource, Counts>,
    pub differences: Vec<Difference>,
    /// Differences that are counted but not listed.
    pub unlisted: u64,
    pub troubles: Vec<Trouble>,
    /// Resources whose list broke off.
    pub incomplete: Vec<Resource>,
    pub drift: Drift,
}

impl Report {
    pub fn parse(text: &str) -> Report {
        serde_json::from_str(text).unwrap_or_default()
    }

    pub(super) fn text(&self) -> String {
        serde_json::json!(self).to_string()
    }

    pub(super) fn counts(&mut self, resource: Resource) -> &mut Counts {
        self.resources.entry(resource).or_default()
    }

    /// Of one resource; nothing where it was not compared.
    pub fn counts_of(&self, resource: Resource) -> Counts {
        self.resources.get(&resource).cloned().unwrap_or_default()
    }

    /// All resources together.
    pub fn total(&self) -> Counts {
        let mut total = Counts::default();
        for counts in self.resources.values() {
            total.seen += counts.seen;
            total.equal += counts.equal;
            total.created += counts.created;
            total.repaired += counts.repaired;
            total.failed += counts.failed;
            total.foreign += counts.foreign;
        }
        total
    }

    pub fn is_whole(&self) -> bool {
        self.incomplete.is_empty() && self.total().failed == 0
    }

    pub(super) fn list(&mut self, differences: Vec<Difference>) {
        for difference in differences {
            if self.differences.len() < DIFFERENCES_MAX {
                self.differences.push(difference);
            } else {
                self.unlisted += 1;
            }
        }
    }

    pub(super) fn fail(&mut self, resource: Resource, object: &str, reason: String) {
        self.counts(resource).failed += 1;
        self.trouble(resource, Some(object.to_owned()), reason);
    }

    pub(super) fn broke_off(&mut self, resource: Resource, reason: String) {
        self.counts(resource);
        if !self.incomplete.contains(&resource) {
            self.incomplete.push(resource);
        }
        self.trouble(resource, None, reason);
    }

    fn trouble(&mut self, resource: Resource, object: Option<String>, reason: String) {
        if self.troubles.len() < TROUBLES_MAX {
            self.troubles.push(Trouble { resource, object, reason });
        }
    }

    /// Remembers how old the oldest difference is.
    pub(super) fn drifted(&mut self, since: Option<Timestamp>, now: Timestamp, repaired: bool) {
        let age = since.map_or(0, |since| now.seconds().saturating_sub(since.seconds()).max(0));
        let oldest = match repaired {
            true => &mut self.drift.repaired_seconds,
            false => &mut self.drift.unrepaired_seconds,
        };
        *oldest = age.max(*oldest);
    }
}
