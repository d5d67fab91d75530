//! Payment providers: calls out, proof of webhooks in, and the mapping of their words to ours; and
//! the posting of our own messages to their receivers.
//!
//! Everything that leaves this crate is in the vocabulary of [`facts`]; a provider's own field
//! names stay in its folder. Nothing here sees the store or is called inside a transaction.

pub mod errors;
pub mod facts;
mod messages;
pub mod receivers;
pub mod stripe;
