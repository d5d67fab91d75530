//! The use cases against the sandbox over HTTP, on SQLite and on private servers.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should stop")]

mod accounts;
mod amounts;
mod attempts;
mod bills;
mod copies;
mod credit_notes;
mod credits;
mod databases;
mod debts;
mod deliveries;
mod disputes;
mod event_log;
mod folds;
mod invoices;
mod life_cycle;
mod notices;
mod notifications;
mod old_calls;
mod orders;
mod outages;
mod owners;
mod panics;
mod payment_pages;
mod payments;
mod plan_changes;
mod provider_calls;
mod proxies;
mod purchases;
mod receivers;
mod refunds;
#[expect(dead_code, reason = "a part of it is used here")]
#[path = "../../../providers/tests/it/samples.rs"]
mod samples;
mod search;
mod snapshots;
mod stories;
mod subscriptions;
mod sync_runs;
mod times;
mod together;
mod trials;
mod versions;
mod worlds;
