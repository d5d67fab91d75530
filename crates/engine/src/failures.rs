//! Why a use case did not happen, as its caller needs to know it.

use domain::catalogue::{Billing, CatalogueError};
use domain::codes::Code;
use domain::credits::CreditError;
use domain::ids::PriceId;
use domain::money::{Money, MoneyError};
use futures::FutureExt as _;
use providers::errors::ProviderError;
use std::panic::AssertUnwindSafe;
use store::StoreError;

/// A price that would help somebody who lacks credits or access.
#[derive(Debug, Clone, PartialEq)]
pub struct Offer {
    pub price: PriceId,
    pub product: String,
    pub amount: Money,
    pub billing: Billing,
}

#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The caller asked for something that cannot be.
    #[error("{detail}")]
    Refused { code: Code, detail: String, param: Option<&'static str> },
    #[error("{required} {unit} are required and {available} are available")]
    Shortage { unit: String, required: i64, available: i64, offers: Vec<Offer> },
    #[error("feature {feature:?} is not unlocked: {reason}")]
    NotEntitled { feature: String, reason: &'static str, offers: Vec<Offer> },
    #[error("too many requests; try again in {retry_after_seconds} s")]
    RateLimited { retry_after_seconds: u64 },
    /// The customer's bank or card said no.
    #[error("{message}")]
    Declined { code: Code, message: String },
    /// The provider refused, could not be reached, or left the outcome unknown.
    #[error("{detail}")]
    Provider { code: Code, detail: String },
    /// Never shown to a caller.
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the server panicked; its log says where")]
    Panic,
}

/// What comes of a task, which is large and moves to the heap. One that panics has failed like any
/// other: what it began is undone, and whoever does it goes on.
pub(crate) fn caught<T>(
    task: impl Future<Output = Result<T, Failure>>,
) -> impl Future<Output = Result<T, Failure>> {
    let caught = AssertUnwindSafe(Box::pin(task)).catch_unwind();
    caught.map(|outcome| outcome.unwrap_or(Err(Failure::Panic)))
}

impl Failure {
    pub(crate) fn refused(code: Code, detail: impl Into<String>) -> Self {
        Failure::Refused { code, detail: detail.into(), param: None }
    }

    /// What may be kept and shown: a database's words stay in our logs.
    pub(crate) fn told(&self) -> String {
        match self {
            Failure::Store(error) => {
                tracing::error!(%error, "the database did not do what was asked");
                "our database could not do it; the log says why".to_owned()
            }
            other => other.to_string(),
        }
    }

    pub(crate) fn key_conflict() -> Self {
        let detail = "this idempotency key was used for another request";
        Self::refused(Code::IdempotencyConflict, detail)
    }

    /// Where no code says more than that there is no such thing.
    pub(crate) fn missing(what: &str) -> Self {
        Self::refused(Code::NotFound, format!("no such {what}"))
    }

    pub(crate) fn invalid(param: &'static str, detail: impl Into<String>) -> Self {
        Failure::Refused { code: Code::InvalidRequest, detail: detail.into(), param: Some(param) }
    }
}

impl From<CreditError> for Failure {
    fn from(error: CreditError) -> Self {
        let (code, param) = match error {
            CreditError::Amount(_) => (Code::InvalidAmount, "amount"),
            CreditError::Unit(_) => (Code::InvalidRequest, "unit"),
        };
        Failure::Refused { code, detail: error.to_string(), param: Some(param) }
    }
}

impl From<CatalogueError> for Failure {
    fn from(error: CatalogueError) -> Self {
        match error {
            CatalogueError::Credits(error) => error.into(),
            CatalogueError::UnitAmount(_) => Failure::Refused {
                code: Code::InvalidAmount,
                detail: error.to_string(),
                param: Some("unit_amount"),
            },
            other => Failure::refused(Code::InvalidRequest, other.to_string()),
        }
    }
}

impl From<MoneyError> for Failure {
    fn from(error: MoneyError) -> Self {
        let (code, param) = match error {
            MoneyError::UnknownCurrency(_) => (Code::InvalidRequest, "currency"),
            _ => (Code::InvalidAmount, "amount"),
        };
        Failure::Refused { code, detail: error.to_string(), param: Some(param) }
    }
}

/// The provider's words stay in our logs; callers get a stable code and a sentence of ours.
impl From<ProviderError> for Failure {
    fn from(error: ProviderError) -> Self {
        tracing::warn!(%error, "the provider did not do what was asked");
        let (code, detail) = match error {
            ProviderError::Declined { code, decline_code, .. } => {
                return declined(code.as_deref(), decline_code.as_deref());
            }
            ProviderError::Unknown { .. } | ProviderError::Failed { .. } => (
                Code::OutcomeUnknown,
                "the payment provider did not answer; repeat the request to learn the outcome",
            ),
            ProviderError::RateLimited | ProviderError::Busy => {
                (Code::ProviderUnavailable, "the payment provider is busy; try again in a moment")
            }
            ProviderError::Unauthorized => {
                (Code::ProviderUnavailable, "the payment provider does not accept our credentials")
            }
            ProviderError::NotFound { .. }
            | ProviderError::Refused { .. }
            | ProviderError::Unsendable(_)
            | ProviderError::Malformed(_) => {
                (Code::ProviderRefused, "the payment provider refused the request")
            }
        };
        Failure::Provider { code, detail: detail.to_owned() }
    }
}

/// What the provider says of something that a merchant wants it to know: a value it does not take
/// is the caller's mistake, not an outage.
pub(crate) fn mirror_refused(error: ProviderError) -> Failure {
    match &error {
        ProviderError::Refused { param: Some(param), .. } => {
            let detail = format!("the payment provider does not accept this {param}");
            Failure::refused(Code::InvalidRequest, detail)
        }
        _ => error.into(),
    }
}

fn declined(code: Option<&str>, decline_code: Option<&str>) -> Failure {
    let (code, message) = match (code, decline_code) {
        (_, Some("insufficient_funds")) => {
            (Code::InsufficientFunds, "the card has too little money")
        }
        (Some("expired_card"), _) => (Code::ExpiredCard, "the card has expired"),
        (Some("processing_error"), _) => {
            (Code::ProcessingError, "the card could not be processed; try again")
        }
        _ => (Code::CardDeclined, "the card was declined; try another one"),
    };
    Failure::Declined { code, message: message.to_owned() }
}
