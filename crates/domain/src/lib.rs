//! The rules of money, credits, access and time.
//!
//! Nothing here can perform IO, read a clock, draw randomness, speak SQL or HTTP, or use a float:
//! every function is a value in and a value out, so each rule can be tested as a table.

pub mod catalogue;
pub mod codes;
pub mod credits;
pub mod entitlements;
pub mod ids;
pub mod invariants;
pub mod money;
pub mod payments;
pub mod subscriptions;
pub mod time;
