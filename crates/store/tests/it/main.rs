//! One suite, run on SQLite and on private servers.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod backends;
mod charges;
mod constraints;
mod copies;
mod credits;
mod deliveries;
mod event_log;
mod inbox;
mod keys;
mod locks;
mod outbox;
mod plans;
mod raw;
mod schema;
mod settings;
mod sync_runs;
