//! A canonical picture of a whole database: what two orders of the same facts must have in common.
//!
//! Left out, each with its reason: the inbox and what describes its work (which events came, and
//! when, is what differs between two orders); the log of comparisons; when rows were written or
//! changed, and by which of several equal pieces of news (`as_of`, `revision`). Ids that we drew
//! are replaced by the fact that they stand for, and ledger lines are summed per lot and kind,
//! because a refund that comes first leaves fewer lines than one that comes last.

use crate::tables::{Record, rows, text};
use anyhow::Result;
use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnection;
use std::collections::BTreeMap;

/// Tables that tell how the news came, not what they were.
const LEFT_OUT: [&str; 5] =
    ["_sqlx_migrations", "inbox_events", "sync_runs", "deliveries", "idempotency_keys"];

/// Notices of what has passed again: who hears of the recovery first is not told of the failure
/// any more, so whether they are there depends on the order, and rightly.
const PASSING: [&str; 3] =
    ["invoice.payment_failed", "subscription.past_due", "subscription.recovered"];

/// Columns that tell when or by which news a row was written.
const SILENT: [&str; 14] = [
    "created_at",
    "updated_at",
    "recorded_at",
    "requested_at",
    "heard_at",
    "closed_at",
    "as_of",
    "revision",
    "attempts",
    "lease_token",
    "leased_until",
    "next_attempt_at",
    "number",
    "entries",
];

/// What each of our ids stands for: a table, and the columns that name its fact.
const NAMES: [(&str, &[&str]); 16] = [
    ("products", &["provider_product_id"]),
    ("prices", &["provider_price_id"]),
    ("customers", &["external_id", "email"]),
    ("checkout_sessions", &["provider_session_id"]),
    ("subscriptions", &["provider_subscription_id"]),
    ("invoices", &["provider_invoice_id"]),
    ("payments", &["provider_invoice_id", "provider_payment_intent_id", "fact"]),
    ("refunds", &["provider_refund_id"]),
    ("disputes", &["provider_dispute_id"]),
    ("credit_notes", &["provider_credit_note_id"]),
    ("allowance_schedules", &["provider_item_id", "position", "kind", "line_from"]),
    ("credit_grants", &["fact"]),
    ("credit_debts", &["grant_id"]),
    ("entitlements", &["source", "feature"]),
    ("outbox_events", &["fact"]),
    ("provider_calls", &["fact"]),
];

/// Each table's rows as sorted lines.
pub type Dump = BTreeMap<String, Vec<String>>;

pub async fn dump(books: &mut SqliteConnection) -> Result<Dump> {
    let names = names(books).await?;
    let query = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'";
    let mut all = Dump::new();
    for table in rows(books, query).await? {
        let table = text(&table, "name").to_owned();
        if LEFT_OUT.contains(&table.as_str()) {
            continue;
        }
        let mut lines = if table == "credit_entries" {
            entries(books, &names).await?
        } else {
            let mut held = rows(books, &format!("SELECT * FROM {table}")).await?;
            if table == "outbox_events" {
                held.retain(|row| !PASSING.contains(&text(row, "kind")));
            }
            held.into_iter().map(|row| line(&table, row, &names)).collect()
        };
        lines.sort_unstable();
        all.insert(table, lines);
    }
    Ok(all)
}

/// What the first dump says otherwise than the second one.
pub fn differences(one: &Dump, other: &Dump) -> Vec<String> {
    let mut found = Vec::new();
    for (table, lines) in one {
        let there = other.get(table);
        for line in lines {
            if !there.is_some_and(|there| there.contains(line)) {
                found.push(format!("- {table} {line}"));
            }
        }
    }
    for (table, lines) in other {
        let here = one.get(table);
        for line in lines {
            if !here.is_some_and(|here| here.contains(line)) {
                found.push(format!("+ {table} {line}"));
            }
        }
    }
    found
}

/// Our ids and what they stand for, in an order in which each name holds only earlier ones.
async fn names(books: &mut SqliteConnection) -> Result<Vec<(String, String)>> {
    let mut names: Vec<(String, String)> = Vec::new();
    for (table, columns) in NAMES {
        for row in rows(books, &format!("SELECT * FROM {table}")).await? {
            let told = columns.iter().filter_map(|column| match row.get(*column) {
                Some(Value::String(text)) => Some(text.clone()),
                Some(Value::Number(number)) => Some(number.to_string()),
                _ => None,
            });
            // Where several columns could name it, the first that is there does.
            let several = matches!(table, "allowance_schedules" | "entitlements");
            let told: Vec<String> = if several { told.collect() } else { told.take(1).collect() };
            let named = replaced(&told.join("/"), &names);
            names.push((text(&row, "id").to_owned(), format!("<{table} {named}>")));
        }
    }
    Ok(names)
}

fn replaced(text: &str, names: &[(String, String)]) -> String {
    let mut text = text.to_owned();
    for (id, name) in names {
        if text.contains(id.as_str()) {
            text = text.replace(id.as_str(), name);
        }
    }
    text
}

fn line(table: &str, mut row: Record, names: &[(String, String)]) -> String {
    row.retain(|column, _| !SILENT.contains(&column.as_str()));
    if table == "entitlements"
        && let Some(revoked) = row.get_mut("revoked_at")
    {
        // When we heard of it depends on the order; that we did must not.
        *revoked = json!(*revoked != Value::Null);
    }
    for value in row.values_mut() {
        if let Value::String(text) = value {
            *value = Value::String(replaced(text, names));
        }
    }
    Value::Object(row).to_string()
}

async fn entries(books: &mut SqliteConnection, names: &[(String, String)]) -> Result<Vec<String>> {
    let query = "SELECT customer_id, unit, grant_id, kind, SUM(amount) AS amount,
            SUM(held_amount) AS held_amount
         FROM credit_entries GROUP BY customer_id, unit, grant_id, kind";
    let sums = rows(books, query).await?;
    Ok(sums.into_iter().map(|row| line("credit_entries", row, names)).collect())
}
