//! Why a call to a provider has no outcome: refused, or unknown.

/// The third kind of answer is the one that loses money when it is missing: after `Unknown` and
/// `Failed` the effect may have happened, so only the same idempotency key may ask again, unless
/// doing it twice is doing it once.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// The customer's bank or card said no.
    #[error("the payment was declined: {message}")]
    Declined { code: Option<String>, decline_code: Option<String>, message: String },
    /// The provider does not know an object. `object` is the collection asked for (`customers`), or
    /// the parameter that named it (`customer`, `line_items[0][price]`).
    #[error("the provider knows no such {object}: {message}")]
    NotFound { object: String, message: String },
    /// The provider understood and said no: asking again gives the same answer.
    #[error("the provider refused with status {status}: {message}")]
    Refused { status: u16, code: Option<String>, param: Option<String>, message: String },
    /// We refused to send it.
    #[error("the request cannot be sent: {0}")]
    Unsendable(String),
    /// The key is wrong, revoked, or lacks a permission.
    #[error("the provider refused the api key")]
    Unauthorized,
    /// Too many requests, even after waiting.
    #[error("the provider limits our requests")]
    RateLimited,
    /// Another request holds the object or the idempotency key, even after waiting.
    #[error("the provider is busy with the same object")]
    Busy,
    /// No answer: the effect may have happened.
    #[error("the outcome is unknown: {cause}")]
    Unknown { cause: String },
    /// An answered failure on the provider's side: the effect may have happened, and this may be
    /// the answer under the same idempotency key for a day.
    #[error("the provider failed with status {status}: {message}")]
    Failed { status: u16, message: String },
    /// The call succeeded, but its answer cannot be read.
    #[error("the answer cannot be read: {0}")]
    Malformed(String),
}

impl ProviderError {
    /// Whether asking again later, with the same key, can end differently.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::RateLimited | Self::Busy | Self::Unknown { .. } | Self::Failed { .. })
    }
}

/// Why no client could be made from the settings.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("the secret key is empty or holds characters that no key has")]
    Key,
    #[error("the api base {0:?} is not an http or https address without query")]
    Base(String),
    #[error("no tls provider is installed")]
    TlsMissing,
    #[error("the http client cannot be built")]
    Http(#[source] reqwest::Error),
}

/// Why a payload is not an event we can apply. It is kept and shown, never dropped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    #[error("the payload is not json: {0}")]
    NotJson(String),
    #[error("the payload has no {0}")]
    Missing(&'static str),
    #[error("event {event} is about an object without id")]
    ObjectWithoutId { event: String },
    #[error("event {event} should be about {expected} but is about {found:?}")]
    OtherObject { event: String, expected: &'static str, found: String },
}

/// Why a payload is not proven to come from the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    #[error(
        "the signature header is longer than {} bytes",
        crate::stripe::webhook::MAX_HEADER_BYTES
    )]
    HeaderTooLong,
    #[error("the signature header has no timestamp")]
    NoTimestamp,
    #[error("the signature header has more than one timestamp")]
    TwoTimestamps,
    #[error("the timestamp of the signature is not a number")]
    TimestampNotANumber,
    #[error("the signature header has no v1 signature")]
    NoSignature,
    #[error("no webhook secret is configured")]
    NoSecret,
    #[error("no signature matches the payload")]
    Mismatch,
    #[error("the signature is {0} seconds old")]
    TooOld(i64),
    #[error("the signature is {0} seconds in the future")]
    InTheFuture(i64),
}
