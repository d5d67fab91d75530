//! What happened at a provider, in our words: the same for every provider and API version.
//!
//! Absent and unreadable optional facts are `None`; words we do not know are kept verbatim in
//! `Other`, so that nothing is refused because a provider grew.

use std::collections::BTreeMap;

use domain::subscriptions::Status;
use domain::time::Timestamp;

/// A notification: which object changed, when, and what it looked like then.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub id: String,
    /// The provider's own word for it, verbatim.
    pub kind: String,
    pub created_at: Timestamp,
    pub livemode: bool,
    /// The account the event belongs to, when it is not simply the receiver's own.
    pub account: Option<String>,
    pub api_version: Option<String>,
    pub object_id: Option<String>,
    pub customer: Option<String>,
    pub fact: Fact,
}

/// The object an event is about, as far as we act on it.
#[derive(Debug, Clone, PartialEq)]
pub enum Fact {
    CheckoutSession(Box<CheckoutSession>),
    Invoice(Box<Invoice>),
    Subscription(Box<Subscription>),
    /// A charge of which something was given back.
    Charge(Box<Charge>),
    /// A notice without the object: it has to be fetched.
    Thin {
        object_id: String,
        object_type: String,
    },
    /// Stored and acknowledged, but nothing we act on.
    Unhandled,
}

/// Declares an open vocabulary: the known words and `Other` for those that come later.
macro_rules! words {
    ($($(#[$meta:meta])* $name:ident { $($variant:ident = $word:literal),+ $(,)? })+) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum $name {
            $($variant,)+
            Other(String),
        }

        impl $name {
            /// Reads the provider's word; new ones are kept verbatim.
            pub fn parse(word: &str) -> Self {
                match word {
                    $($word => Self::$variant,)+
                    other => Self::Other(other.to_owned()),
                }
            }

            /// The provider's word.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $word,)+
                    Self::Other(word) => word,
                }
            }
        }
    )+};
}

words! {
    /// Where a hosted payment page is in its life.
    SessionStatus { Open = "open", Complete = "complete", Expired = "expired" }

    /// Whether the money of a hosted payment page has arrived: complete does not mean paid.
    SessionPayment { Paid = "paid", Unpaid = "unpaid", NotRequired = "no_payment_required" }

    /// What a hosted payment page sells.
    SessionMode { Payment = "payment", Subscription = "subscription", Setup = "setup" }

    /// Where an invoice is in its life. Only `Paid` is paid.
    InvoiceStatus {
        Draft = "draft",
        Open = "open",
        Paid = "paid",
        Void = "void",
        Uncollectible = "uncollectible",
    }

    /// Why an invoice exists: decides whether it may grant anything.
    BillingReason {
        SubscriptionCreate = "subscription_create",
        SubscriptionCycle = "subscription_cycle",
        SubscriptionUpdate = "subscription_update",
        Manual = "manual",
    }
}

/// A hosted payment page and what became of it.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckoutSession {
    pub id: String,
    pub status: SessionStatus,
    pub payment: SessionPayment,
    pub mode: SessionMode,
    pub customer: Option<String>,
    /// What the buyer typed, or what we prefilled. Information, never a key.
    pub email: Option<String>,
    pub name: Option<String>,
    pub client_reference: Option<String>,
    pub metadata: BTreeMap<String, String>,
    pub payment_intent: Option<String>,
    pub invoice: Option<String>,
    pub subscription: Option<String>,
    pub amount_total: Option<i64>,
    pub currency: Option<String>,
    pub url: Option<String>,
    pub created_at: Option<Timestamp>,
    pub expires_at: Option<Timestamp>,
}

/// A bill. Amounts are minor units of `currency`.
#[derive(Debug, Clone, PartialEq)]
pub struct Invoice {
    pub id: String,
    pub customer: Option<String>,
    pub subscription: Option<String>,
    pub status: InvoiceStatus,
    pub reason: BillingReason,
    pub currency: Option<String>,
    pub total: i64,
    pub amount_paid: i64,
    pub amount_due: i64,
    pub attempt_count: i64,
    pub number: Option<String>,
    pub created_at: Option<Timestamp>,
    pub paid_at: Option<Timestamp>,
    pub period_start: Option<Timestamp>,
    pub period_end: Option<Timestamp>,
    pub payment_intent: Option<String>,
    pub charge: Option<String>,
    pub hosted_url: Option<String>,
    pub pdf_url: Option<String>,
    pub lines: Vec<InvoiceLine>,
    /// Whether `lines` holds all of them; embedded lists are cut off.
    pub lines_complete: bool,
    /// What we wrote on the subscription, as of this invoice.
    pub subscription_metadata: BTreeMap<String, String>,
    pub metadata: BTreeMap<String, String>,
}

/// One position of a bill.
#[derive(Debug, Clone, PartialEq)]
pub struct InvoiceLine {
    pub id: String,
    pub price: Option<String>,
    pub product: Option<String>,
    pub subscription: Option<String>,
    pub subscription_item: Option<String>,
    pub quantity: Option<i64>,
    pub amount: i64,
    pub period_start: Option<Timestamp>,
    pub period_end: Option<Timestamp>,
    pub proration: bool,
}

/// An agreement to pay again and again.
#[derive(Debug, Clone, PartialEq)]
pub struct Subscription {
    pub id: String,
    pub customer: Option<String>,
    pub status: Option<Status>,
    pub items: Vec<SubscriptionItem>,
    /// Whether `items` holds all of them; embedded lists are cut off.
    pub items_complete: bool,
    /// The period of the whole subscription, which only old shapes have; the items' own win.
    pub period_start: Option<Timestamp>,
    pub period_end: Option<Timestamp>,
    pub cancel_at: Option<Timestamp>,
    pub cancel_at_period_end: bool,
    /// When the cancellation was asked for: says nothing about when it takes effect.
    pub canceled_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
    pub trial_start: Option<Timestamp>,
    pub trial_end: Option<Timestamp>,
    pub latest_invoice: Option<String>,
    pub metadata: BTreeMap<String, String>,
    /// How it is collected: by charging the customer or by sending invoices.
    pub collection: Option<String>,
    pub created_at: Option<Timestamp>,
}

/// One price of a subscription, with its own period.
#[derive(Debug, Clone, PartialEq)]
pub struct SubscriptionItem {
    pub id: String,
    pub price: Option<String>,
    pub product: Option<String>,
    pub quantity: Option<i64>,
    pub period_start: Option<Timestamp>,
    pub period_end: Option<Timestamp>,
}

/// One movement of money and how much of it was given back in all.
#[derive(Debug, Clone, PartialEq)]
pub struct Charge {
    pub id: String,
    pub customer: Option<String>,
    pub payment_intent: Option<String>,
    pub invoice: Option<String>,
    pub amount: i64,
    /// The total so far, not the newest refund.
    pub amount_refunded: i64,
    /// Whether all of it was given back.
    pub refunded: bool,
    pub currency: Option<String>,
    pub metadata: BTreeMap<String, String>,
}
