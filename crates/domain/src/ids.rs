//! Typed, prefixed, time-sortable ids: a subscription's id is not a customer's.
//!
//! They are made from a clock and randomness that the caller passes in, never by the database.

use crate::time::Timestamp;

/// Crockford's alphabet: sorts like the number it spells and has no letters that look alike.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const SYMBOLS: usize = 26;
const LONGEST_ID: usize = 64;

/// 48 bits of milliseconds, then 80 bits of randomness, in 26 symbols.
fn spell(prefix: &str, at: Timestamp, random: [u8; 10]) -> String {
    let millis = u128::from(at.micros().div_euclid(1_000).unsigned_abs() & 0xffff_ffff_ffff);
    let noise = random.iter().fold(0_u128, |bits, byte| (bits << 8) | u128::from(*byte));
    let bits = (millis << 80) | noise;
    let mut text = String::with_capacity(prefix.len() + 1 + SYMBOLS);
    text.push_str(prefix);
    text.push('_');
    for symbol in (0..SYMBOLS).rev() {
        let index = ((bits >> (symbol * 5)) & 31) as usize;
        text.push(char::from(ALPHABET[index]));
    }
    text
}

/// Why a text is not an id of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an id that starts with {prefix}_")]
pub struct IdError {
    prefix: &'static str,
    text: String,
}

macro_rules! typed_ids {
    ($($(#[$meta:meta])* $name:ident => $prefix:literal),+ $(,)?) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// What every id of this kind starts with, before the underscore.
            pub const PREFIX: &'static str = $prefix;

            /// A new id from an instant and ten random bytes.
            pub fn new(at: Timestamp, random: [u8; 10]) -> Self {
                Self(spell($prefix, at, random))
            }

            /// Reads an id, refusing other kinds.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                let known = text.len() <= LONGEST_ID
                    && text.strip_prefix($prefix).is_some_and(|rest| {
                        rest.len() > 1
                            && rest.starts_with('_')
                            && rest.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
                    });
                if known {
                    return Ok(Self(text.to_owned()));
                }
                let text = text.chars().take(LONGEST_ID).collect();
                Err(IdError { prefix: $prefix, text })
            }

            /// The whole id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }
    )+};
}

typed_ids! {
    CustomerId => "cus",
    ProductId => "prod",
    PriceId => "price",
    CheckoutSessionId => "chk",
    SubscriptionId => "sub",
    InvoiceId => "inv",
    PaymentId => "pay",
    GrantId => "grant",
    AllowanceScheduleId => "sched",
    HoldId => "hold",
    EntryId => "entry",
    EntitlementId => "ent",
    InboxEventId => "inbox",
    CollectionId => "col",
    DocumentId => "doc",
    ChunkId => "chunk",
    ApiKeyId => "key",
    PortalSessionId => "portal",
    DebtId => "debt",
    RefundId => "ref",
    DisputeId => "dis",
    CreditNoteId => "note",
    OutboxEventId => "event",
    WebhookEndpointId => "hook",
    DeliveryId => "dlv",
    ProviderCallId => "call",
    SyncRunId => "sync",
    AdminSessionId => "admin",
    AuditId => "audit",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_time_and_know_their_kind() {
        let early = CustomerId::new(Timestamp::from_seconds(1_700_000_000), [255; 10]);
        let late = CustomerId::new(Timestamp::from_seconds(1_700_000_001), [0; 10]);
        assert!(early < late);
        assert_eq!(early.as_str().len(), "cus_".len() + SYMBOLS);
        assert_eq!(CustomerId::parse(early.as_str()), Ok(early));
    }

    #[test]
    fn other_kinds_and_garbage_are_refused() {
        for text in ["sub_1", "cus_", "cus", "cus_a b", "cus_'--", "", "customer_1", "cus_\u{e9}"] {
            assert!(CustomerId::parse(text).is_err(), "{text}");
        }
        assert!(CustomerId::parse(&format!("cus_{}", "a".repeat(200))).is_err());
    }
}
