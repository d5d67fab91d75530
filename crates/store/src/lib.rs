//! Every SQL statement, the migrations, transactions, the inbox and idempotency.
//!
//! It makes no business decision, speaks no HTTP and knows no provider by name. One SQL text serves
//! every backend; what differs is spelled in `dialect.rs`.

pub mod admin_sessions;
pub mod allowance_schedules;
pub mod api_keys;
pub mod audits;
pub mod charges;
pub mod checkout_sessions;
pub mod chunks;
pub mod collections;
pub mod copies;
pub mod credit_notes;
pub mod credits;
pub mod customers;
pub mod database;
pub mod debts;
pub mod deliveries;
pub mod deployment;
mod dialect;
pub mod disputes;
pub mod documents;
pub mod entitlements;
pub mod errors;
pub mod event_log;
pub mod features;
pub mod gauges;
pub mod holdings;
pub mod holds;
pub mod idempotency;
pub mod inbox;
pub mod invoices;
pub mod migrations;
pub mod outbox;
pub mod payments;
pub mod portal_sessions;
pub mod prices;
pub mod products;
pub mod provider_calls;
pub mod refunds;
pub mod rows;
pub mod settings;
pub mod snapshots;
pub mod sql;
pub mod subscription_items;
pub mod subscriptions;
pub mod sync_runs;
pub mod unsettled;
pub mod watch;
pub mod webhook_endpoints;

pub use database::{POSTGRES_SESSION, Store, Tx};
pub use errors::StoreError;
pub use sql::Sql;

/// Every named statement, so that one test can prepare them all on every backend.
pub fn statements() -> impl Iterator<Item = &'static Sql> {
    [
        admin_sessions::ALL,
        allowance_schedules::ALL,
        api_keys::ALL,
        charges::ALL,
        audits::ALL,
        checkout_sessions::ALL,
        chunks::ALL,
        collections::ALL,
        copies::ALL,
        credit_notes::ALL,
        credits::ALL,
        credits::folds::ALL,
        customers::ALL,
        debts::ALL,
        deliveries::ALL,
        deployment::ALL,
        disputes::ALL,
        documents::ALL,
        entitlements::ALL,
        event_log::ALL,
        features::ALL,
        gauges::ALL,
        holdings::ALL,
        holds::ALL,
        idempotency::ALL,
        inbox::ALL,
        invoices::ALL,
        outbox::ALL,
        payments::ALL,
        portal_sessions::ALL,
        prices::ALL,
        products::ALL,
        refunds::ALL,
        snapshots::ALL,
        subscription_items::ALL,
        provider_calls::ALL,
        subscriptions::ALL,
        sync_runs::ALL,
        webhook_endpoints::ALL,
        unsettled::ALL,
    ]
    .into_iter()
    .flatten()
    .copied()
}
