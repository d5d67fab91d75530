//! Which tables make a deployment, and the statements that read and write each of them whole.
//!
//! A table stands after those that it refers to, and its key's columns stand first in their order.
//! A test compares the list with what each database says of itself.

use crate::StoreError;
use crate::rows::Row;
use crate::sql::{ARGUMENTS_MAX, Arg, Sql};
use std::sync::LazyLock;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Text,
    Int,
    Bytes,
}

/// One table of a deployment.
#[derive(Debug)]
pub struct Table {
    pub name: &'static str,
    /// The first columns are the primary key.
    pub columns: Vec<(&'static str, Kind)>,
    pub key_columns: usize,
    pub(super) first: Sql,
    /// By how many columns of the key are the same as the last row's.
    pub(super) after: Vec<Sql>,
    pub(super) insert: Sql,
    pub(super) count: Sql,
    pub(super) any: Sql,
}

struct Shape {
    name: &'static str,
    key: &'static str,
    texts: &'static str,
    ints: &'static str,
    bytes: &'static str,
    labels: [&'static str; 5],
}

macro_rules! shapes {
    ($($name:literal by $key:literal [$texts:literal, $ints:literal, $bytes:literal];)+) => {
        &[$(Shape {
            name: $name,
            key: $key,
            texts: $texts,
            ints: $ints,
            bytes: $bytes,
            labels: [
                concat!("copies.first ", $name),
                concat!("copies.after ", $name),
                concat!("copies.insert ", $name),
                concat!("copies.count ", $name),
                concat!("copies.any ", $name),
            ],
        }),+]
    };
}

/// Texts, whole numbers, bytes.
const SHAPES: &[Shape] = shapes! {
    "deployment" by "id" [
        "mode provider_account",
        "id created_at",
        ""
    ];
    "customers" by "id" [
        "id external_id email name metadata",
        "created_at updated_at",
        ""
    ];
    "provider_customers" by "provider provider_customer_id" [
        "provider provider_customer_id customer_id",
        "generation created_at deleted_at",
        ""
    ];
    "products" by "id" [
        "id name description metadata provider provider_product_id",
        "active created_at updated_at",
        ""
    ];
    "prices" by "id" [
        "id product_id currency interval_unit nickname grants provider provider_price_id",
        "unit_amount interval_count active trial_days created_at updated_at",
        ""
    ];
    "features" by "id" [
        "id name",
        "created_at",
        ""
    ];
    "checkout_sessions" by "id" [
        "id customer_id mode status price_id currency grants email success_url cancel_url \
         provider provider_session_id provider_payment_intent_id provider_subscription_id url \
         rate_key browser_hash idempotency_key request_hash",
        "quantity amount trial_days created_at requested_at updated_at",
        ""
    ];
    "subscriptions" by "id" [
        "id customer_id provider provider_subscription_id status price_id product_id grants \
         collection pause_behavior pending_price_id provider_schedule_id",
        "quantity period_start period_end cancel_at cancel_at_period_end canceled_at ended_at \
         trial_start trial_end past_due_since started_at as_of revision created_at updated_at \
         pause_resumes_at pending_at paid_until surplus_since",
        ""
    ];
    "invoices" by "id" [
        "id customer_id provider provider_invoice_id provider_subscription_id status reason \
         number currency hosted_url pdf_url",
        "total amount_due amount_paid attempt_count issued_at paid_at as_of created_at \
         updated_at due_at covers_until",
        ""
    ];
    "payments" by "id" [
        "id customer_id provider fact provider_payment_intent_id provider_invoice_id \
         provider_session_id price_id currency status description",
        "amount amount_refunded paid_at created_at updated_at",
        ""
    ];
    "credit_grants" by "id" [
        "id customer_id unit class fact payment_id provider_subscription_id reason",
        "granted spent held expired revoked starts_at expires_at created_at withdrawn",
        ""
    ];
    "credit_balances" by "customer_id unit" [
        "customer_id unit",
        "available held entries",
        ""
    ];
    "credit_holds" by "id" [
        "id customer_id unit status placed_by reference",
        "amount captured expires_at created_at closed_at",
        ""
    ];
    "credit_hold_draws" by "hold_id position" [
        "hold_id grant_id",
        "position amount",
        ""
    ];
    "credit_debts" by "id" [
        "id customer_id unit grant_id",
        "amount created_at updated_at settled",
        ""
    ];
    "entitlements" by "id" [
        "id customer_id feature source",
        "starts_at ends_at revoked_at created_at updated_at",
        ""
    ];
    "inbox_events" by "id" [
        "id provider provider_event_id kind ordering_key object_id api_version state reason \
         headers",
        "attempts lease_token leased_until next_attempt_at occurred_at received_at applied_at \
         payload_purged_at",
        "payload"
    ];
    "idempotency_keys" by "customer_id operation idempotency_key" [
        "customer_id operation idempotency_key request_hash answer",
        "created_at",
        ""
    ];
    "collections" by "id" [
        "id owner name feature",
        "search_cost dimensions generation created_at",
        ""
    ];
    "documents" by "id" [
        "id collection_id customer_id source content",
        "chunks created_at",
        ""
    ];
    "chunks" by "id" [
        "id document_id collection_id content",
        "position",
        "embedding"
    ];
    "api_keys" by "id" [
        "id name prefix hash scope",
        "created_at revoked_at",
        ""
    ];
    "portal_sessions" by "id" [
        "id customer_id kind hash csrf",
        "expires_at closed_at created_at",
        ""
    ];
    "subscription_items" by "provider provider_item_id" [
        "provider provider_item_id subscription_id customer_id provider_price_id price_id \
         grants",
        "position quantity period_start period_end",
        ""
    ];
    "charges" by "provider provider_charge_id" [
        "provider provider_charge_id customer_id payment_id provider_payment_intent_id status \
         currency",
        "amount amount_captured amount_refunded as_of revision created_at updated_at",
        ""
    ];
    "refunds" by "id" [
        "id customer_id payment_id provider provider_refund_id provider_charge_id currency \
         status reason",
        "amount as_of created_at updated_at",
        ""
    ];
    "disputes" by "id" [
        "id customer_id payment_id provider provider_dispute_id provider_charge_id currency \
         status reason",
        "amount evidence_due_at as_of revision created_at updated_at",
        ""
    ];
    "credit_notes" by "id" [
        "id customer_id payment_id provider provider_credit_note_id currency status",
        "amount amount_given_back as_of created_at updated_at",
        ""
    ];
    "allowance_schedules" by "id" [
        "id customer_id provider provider_subscription_id provider_item_id payment_id \
         price_id unit interval_unit kind",
        "position amount interval_count line_from covered_from covered_until next_at \
         created_at",
        ""
    ];
    "credit_entries" by "id" [
        "id customer_id unit kind grant_id hold_id reference",
        "number amount held_amount balance_before balance_after held_after effective_at \
         recorded_at",
        ""
    ];
    "outbox_events" by "id" [
        "id customer_id kind fact object_id data state",
        "created_at recorded_at",
        ""
    ];
    "webhook_endpoints" by "id" [
        "id url description kinds secret status",
        "created_at updated_at",
        ""
    ];
    "deliveries" by "id" [
        "id outbox_event_id receiver state error",
        "attempts next_attempt_at lease_token leased_until status_code created_at \
         delivered_at",
        ""
    ];
    "provider_calls" by "id" [
        "id customer_id kind fact object_id parameters idempotency_key urgency state outcome",
        "attempts next_attempt_at lease_token leased_until heard_at created_at updated_at",
        ""
    ];
    "sync_runs" by "id" [
        "id kind scope state cursor_text report error",
        "dry_run leased_until created_at started_at finished_at",
        ""
    ];
    "admin_sessions" by "id" [
        "id api_key_id hash csrf",
        "expires_at closed_at created_at",
        ""
    ];
    "audit_log" by "id" [
        "id actor action object_id detail",
        "created_at",
        ""
    ];
};

static TABLES: LazyLock<Vec<Table>> = LazyLock::new(|| SHAPES.iter().map(Table::of).collect());

/// Every table of a deployment, in an order in which they can be filled.
pub fn tables() -> &'static [Table] {
    &TABLES
}

impl Table {
    fn of(shape: &Shape) -> Self {
        let Shape { name, labels: [first, after, insert, count, any], .. } = *shape;
        let key: Vec<&'static str> = shape.key.split_whitespace().collect();
        let of_kind =
            |words: &'static str, kind| words.split_whitespace().map(move |it| (it, kind));
        let all: Vec<_> = of_kind(shape.texts, Kind::Text)
            .chain(of_kind(shape.ints, Kind::Int))
            .chain(of_kind(shape.bytes, Kind::Bytes))
            .collect();
        let is_key = |it: &&(&'static str, Kind)| key.contains(&it.0);
        let mut columns: Vec<_> =
            key.iter().filter_map(|it| all.iter().find(|(name, _)| name == it)).copied().collect();
        columns.extend(all.iter().filter(|it| !is_key(it)));
        let names = columns.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        let order = key.join(", ");
        let read = |condition: &str| {
            format!("SELECT {names} FROM {name}{condition} ORDER BY {order} LIMIT ?")
        };
        // A comparison of whole keys would make MySQL read everything from the start each time.
        let beyond = |same: usize| {
            let equal = key[..same].iter().map(|column| format!("{column} = ? AND "));
            let equal: String = equal.collect();
            Sql::made(after, read(&format!(" WHERE {equal}{} > ?", key[same])))
        };
        let marks = vec!["?"; columns.len()].join(", ");
        Table {
            name,
            key_columns: key.len(),
            first: Sql::made(first, read("")),
            after: (0..key.len()).map(beyond).collect(),
            insert: Sql::made(insert, format!("INSERT INTO {name} ({names}) VALUES ({marks})")),
            count: Sql::made(count, format!("SELECT COUNT(*) AS found FROM {name}")),
            any: Sql::made(any, format!("SELECT 1 AS found FROM {name} LIMIT 1")),
            columns,
        }
    }

    /// How many of its rows fit into one statement.
    pub(super) fn rows_max(&self) -> usize {
        ARGUMENTS_MAX / self.columns.len()
    }

    pub(super) fn cells(&self, row: &Row) -> Result<Vec<Arg>, StoreError> {
        let cell = |(name, kind): &(&'static str, Kind)| match kind {
            Kind::Text => row.opt_text(name).map(Arg::Text),
            Kind::Int => row.opt_int(name).map(Arg::Int),
            Kind::Bytes => row.bytes(name).map(Arg::Bytes),
        };
        self.columns.iter().map(cell).collect()
    }
}
