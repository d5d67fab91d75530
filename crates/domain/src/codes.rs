//! The stable error codes of our own API. The list only ever grows; `docs/ERRORS.md` explains each.

macro_rules! codes {
    ($($name:ident => $text:literal),+ $(,)?) => {
        /// A machine-readable reason, the same in every release.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code { $($name),+ }

        impl Code {
            /// Every code, in the order of `docs/ERRORS.md`.
            pub const ALL: &'static [Code] = &[$(Code::$name),+];

            /// The word on the wire.
            pub const fn as_str(self) -> &'static str {
                match self { $(Code::$name => $text),+ }
            }
        }
    };
}

codes! {
    InvalidRequest => "invalid_request",
    InvalidJson => "invalid_json",
    InvalidAmount => "invalid_amount",
    InvalidId => "invalid_id",
    InvalidVector => "invalid_vector",
    DimensionMismatch => "dimension_mismatch",
    InvalidReturnUrl => "invalid_return_url",
    InvalidCursor => "invalid_cursor",
    InvalidSignature => "invalid_signature",
    InvalidPayload => "invalid_payload",
    CardNumberRefused => "card_number_refused",
    PayloadTooLarge => "payload_too_large",
    UnsupportedMediaType => "unsupported_media_type",
    Unauthorized => "unauthorized",
    TokenExpired => "token_expired",
    Forbidden => "forbidden",
    NotFound => "not_found",
    MethodNotAllowed => "method_not_allowed",
    CustomerNotFound => "customer_not_found",
    PriceNotFound => "price_not_found",
    ProductNotFound => "product_not_found",
    SubscriptionNotFound => "subscription_not_found",
    PaymentNotFound => "payment_not_found",
    HoldNotFound => "hold_not_found",
    CollectionNotFound => "collection_not_found",
    PriceMismatch => "price_mismatch",
    PriceInactive => "price_inactive",
    PriceNotRecurring => "price_not_recurring",
    PriceNotOneTime => "price_not_one_time",
    AmountNotForSale => "amount_not_for_sale",
    AlreadyExists => "already_exists",
    AlreadySubscribed => "already_subscribed",
    SubscriptionEnded => "subscription_ended",
    SubscriptionEnding => "subscription_ending",
    SubscriptionUnpaid => "subscription_unpaid",
    ChangePending => "change_pending",
    PaymentNotRefundable => "payment_not_refundable",
    IdempotencyConflict => "idempotency_conflict",
    HoldClosed => "hold_closed",
    HoldExpired => "hold_expired",
    CaptureExceedsHold => "capture_exceeds_hold",
    EventNotReplayable => "event_not_replayable",
    DeliveryPending => "delivery_pending",
    TooManyEndpoints => "too_many_endpoints",
    InsufficientCredits => "insufficient_credits",
    CreditsInDebt => "credits_in_debt",
    NotEntitled => "not_entitled",
    RateLimited => "rate_limited",
    CardDeclined => "card_declined",
    InsufficientFunds => "insufficient_funds",
    ExpiredCard => "expired_card",
    ProcessingError => "processing_error",
    PaymentsDisabled => "payments_disabled",
    EncryptionKeyMissing => "encryption_key_missing",
    ProviderRefused => "provider_refused",
    ProviderUnavailable => "provider_unavailable",
    OutcomeUnknown => "outcome_unknown",
    DatabaseUnavailable => "database_unavailable",
    Timeout => "timeout",
    InvalidHost => "invalid_host",
    Internal => "internal",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique() {
        let mut words: Vec<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), Code::ALL.len());
    }
}
