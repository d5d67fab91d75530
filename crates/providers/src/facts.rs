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
    /// A plan for what a subscription becomes later.
    Schedule(Box<Schedule>),
    PaymentIntent(Box<PaymentIntent>),
    Charge(Box<Charge>),
    Refund(Box<Refund>),
    Dispute(Box<Dispute>),
    CreditNote(Box<CreditNote>),
    /// Which payment settled which invoice: since basil a link of its own.
    InvoicePayment(Box<InvoicePayment>),
    /// The provider's customer is gone, and its subscriptions with it.
    CustomerDeleted {
        customer: String,
    },
    /// The provider says that events were never made: only comparing helps.
    EventsMissing,
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

    /// Where a payment intent is in its life. Only `Succeeded` is money.
    PaymentIntentStatus {
        RequiresPaymentMethod = "requires_payment_method",
        RequiresConfirmation = "requires_confirmation",
        RequiresAction = "requires_action",
        Processing = "processing",
        RequiresCapture = "requires_capture",
        Canceled = "canceled",
        Succeeded = "succeeded",
    }

    /// Where a refund is in its life: even a succeeded one can fail later.
    RefundStatus {
        Pending = "pending",
        RequiresAction = "requires_action",
        Succeeded = "succeeded",
        Failed = "failed",
        Canceled = "canceled",
    }

    /// Where a dispute is in its life. Opened is not lost.
    DisputeStatus {
        WarningNeedsResponse = "warning_needs_response",
        WarningUnderReview = "warning_under_review",
        WarningClosed = "warning_closed",
        NeedsResponse = "needs_response",
        UnderReview = "under_review",
        Won = "won",
        Lost = "lost",
        Prevented = "prevented",
    }

    /// Why an invoice exists: decides whether it may grant anything.
    BillingReason {
        SubscriptionCreate = "subscription_create",
        SubscriptionCycle = "subscription_cycle",
        SubscriptionUpdate = "subscription_update",
        QuoteAccept = "quote_accept",
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
    pub due_at: Option<Timestamp>,
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
    /// What happens to invoices while collection is paused; the status stays as it is.
    pub pause_behavior: Option<String>,
    pub pause_resumes_at: Option<Timestamp>,
    /// The prices it changes to once they are paid for.
    pub pending_prices: Vec<String>,
    /// The plan for what it becomes later.
    pub schedule: Option<String>,
    pub created_at: Option<Timestamp>,
}

/// What a subscription becomes at which time.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    pub id: String,
    pub customer: Option<String>,
    pub subscription: Option<String>,
    /// Whether it still acts: a completed, released or canceled one does not.
    pub is_active: bool,
    pub phases: Vec<SchedulePhase>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct SchedulePhase {
    pub start: Option<Timestamp>,
    pub end: Option<Timestamp>,
    pub prices: Vec<String>,
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

/// An attempt to collect an amount, over all its tries.
#[derive(Debug, Clone, PartialEq)]
pub struct PaymentIntent {
    pub id: String,
    pub status: PaymentIntentStatus,
    pub customer: Option<String>,
    /// Only old shapes name it; later ones link through invoice payments.
    pub invoice: Option<String>,
    pub latest_charge: Option<String>,
    pub amount: i64,
    pub amount_received: i64,
    pub currency: Option<String>,
    pub metadata: BTreeMap<String, String>,
    pub created_at: Option<Timestamp>,
}

/// One movement of money and how much of it was given back in all.
#[derive(Debug, Clone, PartialEq)]
pub struct Charge {
    pub id: String,
    pub customer: Option<String>,
    pub payment_intent: Option<String>,
    pub invoice: Option<String>,
    /// `succeeded`, `pending` or `failed`; authorised money is not captured yet.
    pub status: Option<String>,
    pub captured: bool,
    pub amount: i64,
    pub amount_captured: i64,
    /// The total so far, pending refunds included. It falls when a refund fails.
    pub amount_refunded: i64,
    /// Whether all of it was given back.
    pub refunded: bool,
    /// Whether a bank questions it, or did.
    pub disputed: bool,
    /// The refunds, where the shape holds them; embedded lists are cut off.
    pub refunds: Vec<Refund>,
    pub currency: Option<String>,
    pub metadata: BTreeMap<String, String>,
    pub created_at: Option<Timestamp>,
}

impl Charge {
    /// Whether any of it was given back or is in dispute.
    pub fn has_gone_back(&self) -> bool {
        0 < self.amount_refunded || self.refunded || self.disputed
    }
}

/// Money on its way back.
#[derive(Debug, Clone, PartialEq)]
pub struct Refund {
    pub id: String,
    pub charge: Option<String>,
    pub payment_intent: Option<String>,
    pub status: RefundStatus,
    pub amount: i64,
    pub currency: Option<String>,
    pub reason: Option<String>,
    pub created_at: Option<Timestamp>,
}

/// A payment that the customer's bank questions.
#[derive(Debug, Clone, PartialEq)]
pub struct Dispute {
    pub id: String,
    pub charge: Option<String>,
    pub payment_intent: Option<String>,
    pub status: DisputeStatus,
    pub amount: i64,
    pub currency: Option<String>,
    pub reason: Option<String>,
    pub evidence_due_at: Option<Timestamp>,
    pub created_at: Option<Timestamp>,
}

/// An invoice that was made smaller afterwards.
#[derive(Debug, Clone, PartialEq)]
pub struct CreditNote {
    pub id: String,
    pub invoice: Option<String>,
    pub customer: Option<String>,
    /// `issued` or `void`.
    pub status: Option<String>,
    pub amount: i64,
    /// The part that a paid invoice gave back in another way than by a refund.
    pub amount_given_back: i64,
    pub currency: Option<String>,
    pub created_at: Option<Timestamp>,
}

/// A payment as part of an invoice.
#[derive(Debug, Clone, PartialEq)]
pub struct InvoicePayment {
    pub id: String,
    pub invoice: Option<String>,
    pub payment_intent: Option<String>,
    pub charge: Option<String>,
    pub status: Option<String>,
}
