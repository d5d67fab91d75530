//! One suite, run on SQLite and on a private PostgreSQL.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod backends;
mod charges;
mod credits;
mod deliveries;
mod event_log;
mod inbox;
mod outbox;
mod schema;
mod sync_runs;
