//! Everything of one customer that news from a provider can change, cell by cell as text: compared
//! before and after, it says what a transaction would change.
//!
//! What the clock alone changes (expiry, spending) and when we wrote something is left out.

use crate::database::Tx;
use crate::errors::StoreError;
use crate::sql::{Sql, args, statements};
use domain::ids::CustomerId;
use std::collections::BTreeMap;

/// One row: what it is, and which.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RowName {
    pub kind: &'static str,
    pub id: String,
}

/// The rows of a customer and their cells.
pub type Holdings = BTreeMap<RowName, BTreeMap<&'static str, Option<String>>>;

struct Table {
    kind: &'static str,
    sql: &'static Sql,
    columns: &'static [&'static str],
}

/// Declares one statement per table: an id, and columns that are read as text.
macro_rules! holdings {
    ($($name:ident = $label:literal $kind:literal $table:literal ($id:literal)
        [$($column:literal = $cell:literal),+ $(,)?];)+) => {
        statements! {$(
            $name = $label: concat!(
                "SELECT ", $id, " AS id",
                $(", CAST(", $cell, " AS TEXT) AS ", $column),+,
                " FROM ", $table, " WHERE customer_id = ?");
        )+}
        static TABLES: &[Table] = &[$(
            Table { kind: $kind, sql: &$name, columns: &[$($column),+] },
        )+];
    };
}

holdings! {
    COUNTERPARTS = "holdings.customers" "customer" "provider_customers" ("provider_customer_id") [
        "deleted" = "CASE WHEN deleted_at IS NULL THEN 0 ELSE 1 END",
    ];
    SESSIONS = "holdings.sessions" "checkout_session" "checkout_sessions" ("id") [
        "status" = "status",
        "subscription" = "provider_subscription_id",
        "payment_intent" = "provider_payment_intent_id",
    ];
    SUBSCRIPTIONS = "holdings.subscriptions" "subscription" "subscriptions"
        ("provider_subscription_id") [
        "status" = "status",
        "price" = "price_id",
        "quantity" = "quantity",
        "period_start" = "period_start",
        "period_end" = "period_end",
        "cancel_at" = "cancel_at",
        "cancel_at_period_end" = "cancel_at_period_end",
        "canceled_at" = "canceled_at",
        "ended_at" = "ended_at",
        "trial_start" = "trial_start",
        "trial_end" = "trial_end",
        "collection" = "collection",
        "pause_behavior" = "pause_behavior",
        "pause_resumes_at" = "pause_resumes_at",
        "pending_price" = "pending_price_id",
        "pending_at" = "pending_at",
        "schedule" = "provider_schedule_id",
        "paid_until" = "paid_until",
    ];
    ITEMS = "holdings.items" "subscription_item" "subscription_items" ("provider_item_id") [
        "price" = "provider_price_id",
        "quantity" = "quantity",
        "period_start" = "period_start",
        "period_end" = "period_end",
    ];
    INVOICES = "holdings.invoices" "invoice" "invoices" ("provider_invoice_id") [
        "status" = "status",
        "total" = "total",
        "amount_due" = "amount_due",
        "amount_paid" = "amount_paid",
        "number" = "number",
        "paid_at" = "paid_at",
        "due_at" = "due_at",
    ];
    PAYMENTS = "holdings.payments" "payment" "payments" ("fact") [
        "status" = "status",
        "amount" = "amount",
        "amount_refunded" = "amount_refunded",
        "price" = "price_id",
        "payment_intent" = "provider_payment_intent_id",
        "invoice" = "provider_invoice_id",
        "checkout_session" = "provider_session_id",
    ];
    CHARGES = "holdings.charges" "charge" "charges" ("provider_charge_id") [
        "status" = "status",
        "amount" = "amount",
        "amount_captured" = "amount_captured",
        "amount_refunded" = "amount_refunded",
    ];
    REFUNDS = "holdings.refunds" "refund" "refunds" ("provider_refund_id") [
        "status" = "status",
        "amount" = "amount",
    ];
    DISPUTES = "holdings.disputes" "dispute" "disputes" ("provider_dispute_id") [
        "status" = "status",
        "amount" = "amount",
    ];
    CREDIT_NOTES = "holdings.credit_notes" "credit_note" "credit_notes"
        ("provider_credit_note_id") [
        "status" = "status",
        "amount" = "amount",
        "amount_given_back" = "amount_given_back",
    ];
    GRANTS = "holdings.grants" "credit_grant" "credit_grants" ("fact") [
        "granted" = "granted",
        "revoked" = "revoked",
        "withdrawn" = "withdrawn",
        "expires_at" = "expires_at",
    ];
    DEBTS = "holdings.debts" "credit_debt" "credit_debts" ("grant_id") [
        "amount" = "amount",
        "settled" = "settled",
    ];
    ENTITLEMENTS = "holdings.entitlements" "entitlement" "entitlements"
        ("source || ' ' || feature") [
        "ends_at" = "ends_at",
        "revoked" = "CASE WHEN revoked_at IS NULL THEN 0 ELSE 1 END",
    ];
    SCHEDULES = "holdings.schedules" "allowance" "allowance_schedules"
        ("provider_item_id || ' ' || position || ' ' || kind || ' ' || line_from
            || ' ' || covered_until") [
        "price" = "price_id",
        "amount" = "amount",
        "covered_from" = "covered_from",
    ];
}

impl Tx {
    /// What the customer has, as far as a provider's news can change it.
    pub async fn holdings(&mut self, customer: &CustomerId) -> Result<Holdings, StoreError> {
        let mut held = Holdings::new();
        for table in TABLES {
            for row in self.all(table.sql, args![customer]).await? {
                let name = RowName { kind: table.kind, id: row.text("id")? };
                let cells = held.entry(name).or_default();
                for column in table.columns {
                    cells.insert(column, row.opt_text(column)?);
                }
            }
        }
        Ok(held)
    }
}
