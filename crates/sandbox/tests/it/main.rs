//! The sandbox from outside: every test starts one on a free port and talks HTTP to it.

mod accounts;
mod api;
mod balances;
mod checkout;
mod clock;
mod coupons;
mod credit_notes;
mod entitlements;
mod faults;
mod invoices;
mod meters;
mod payments;
mod portal;
mod portal_configurations;
mod prices;
mod restarts;
mod schedules;
mod schema;
mod searches;
mod setup_intents;
mod subscriptions;
mod test_clocks;
mod triggers;
mod usages;
mod webhooks;
mod world;
