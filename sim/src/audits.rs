//! What must be true after every step, whatever went wrong (INV-CREDITS, INV-LEDGER, INV-ONCE,
//! INV-TERMINAL, INV-DURABLE, INV-SCOPE, and nothing without money).
//!
//! Only plain SQL and the provider's own objects are asked, never the engine.

use crate::tables::{Record, count, number, rows, some_number, text};
use crate::years::Year;
use anyhow::{Result, bail, ensure};
use serde_json::Value;
use sqlx::sqlite::SqliteConnection;
use std::collections::{BTreeMap, BTreeSet};

pub use crate::books::converged;

/// What earlier audits have seen and may not be otherwise any more.
#[derive(Debug, Default)]
pub struct Memory {
    pub audits: u64,
    /// Subscriptions that have ended.
    ended: BTreeSet<String>,
    /// Lots whose money was found at the provider.
    paid_lots: BTreeSet<String>,
    /// Ledger lines that have been checked, per customer and unit: how many, and what they came to.
    ledgers: BTreeMap<(String, String), (i64, i64, i64)>,
}

/// How much the process still has to do by itself.
pub async fn pending(books: &mut SqliteConnection) -> Result<i64> {
    let events = "SELECT COUNT(*) FROM inbox_events WHERE state = 'pending'";
    let calls = "SELECT COUNT(*) FROM provider_calls WHERE state IN ('intended', 'unknown')";
    Ok(count(books, events).await? + count(books, calls).await?)
}

/// Everything that is true at every moment.
pub async fn always(year: &mut Year) -> Result<()> {
    year.memory.audits += 1;
    lots_add_up(year).await?;
    the_ledger_says_the_same(year).await?;
    facts_count_once(year).await?;
    ends_are_final(year).await?;
    acknowledged_events_are_kept(year).await?;
    nobody_owns_anothers(year).await?;
    nothing_without_money(year).await
}

async fn lots_add_up(year: &mut Year) -> Result<()> {
    let broken = rows(
        &mut year.world.books,
        "SELECT id, granted, spent, held, expired, revoked FROM credit_grants
         WHERE spent < 0 OR held < 0 OR expired < 0 OR revoked < 0
            OR granted < spent + held + expired + revoked",
    )
    .await?;
    ensure!(broken.is_empty(), "INV-CREDITS: lots that do not add up: {broken:?}");
    let broken = rows(
        &mut year.world.books,
        "SELECT b.customer_id, b.unit, b.available, b.held,
                COALESCE(SUM(g.granted - g.spent - g.held - g.expired - g.revoked), 0) AS left_over,
                COALESCE(SUM(g.held), 0) AS set_aside
         FROM credit_balances b LEFT JOIN credit_grants g
           ON g.customer_id = b.customer_id AND g.unit = b.unit
         GROUP BY b.customer_id, b.unit, b.available, b.held
         HAVING b.available <> left_over OR b.held <> set_aside",
    )
    .await?;
    ensure!(broken.is_empty(), "INV-CREDITS: balances that are not their lots: {broken:?}");
    let broken = rows(
        &mut year.world.books,
        "SELECT g.id, g.held, COALESCE(SUM(d.amount), 0) AS drawn
         FROM credit_grants g LEFT JOIN credit_hold_draws d
           ON d.grant_id = g.id AND d.hold_id IN (
              SELECT id FROM credit_holds WHERE status = 'open')
         GROUP BY g.id, g.held HAVING g.held <> drawn",
    )
    .await?;
    ensure!(broken.is_empty(), "INV-CREDITS: held credits that no hold holds: {broken:?}");
    Ok(())
}

async fn the_ledger_says_the_same(year: &mut Year) -> Result<()> {
    let balances = rows(
        &mut year.world.books,
        "SELECT customer_id, unit, available, held, entries FROM credit_balances",
    )
    .await?;
    for balance in &balances {
        let key = (text(balance, "customer_id").to_owned(), text(balance, "unit").to_owned());
        let (mut lines, mut available, mut held) =
            year.memory.ledgers.get(&key).copied().unwrap_or((0, 0, 0));
        let query = format!(
            "SELECT number, kind, amount, held_amount, balance_before, balance_after, held_after
             FROM credit_entries WHERE customer_id = '{}' AND unit = '{}' AND number > {lines}
             ORDER BY number",
            key.0, key.1
        );
        for line in rows(&mut year.world.books, &query).await? {
            let continues = number(&line, "number") == lines + 1
                && number(&line, "balance_before") == available
                && number(&line, "balance_after") == available + number(&line, "amount")
                && number(&line, "held_after") == held + number(&line, "held_amount");
            ensure!(continues, "INV-LEDGER: after {lines} lines, {available}, {held}: {line:?}");
            lines += 1;
            available += number(&line, "amount");
            held += number(&line, "held_amount");
            ensure!(0 <= available && 0 <= held, "INV-LEDGER: below zero: {line:?}");
        }
        let same = number(balance, "available") == available
            && number(balance, "held") == held
            && number(balance, "entries") == lines;
        ensure!(same, "INV-LEDGER: {lines} lines say {available}, {held}, not {balance:?}");
        year.memory.ledgers.insert(key, (lines, available, held));
    }
    let broken = rows(
        &mut year.world.books,
        // A restoring takes back a revocation, or an expiry that came too early.
        "SELECT g.id, g.granted, g.spent, g.expired + g.revoked AS gone,
                SUM(CASE e.kind WHEN 'grant' THEN e.amount ELSE 0 END) AS told_granted,
                SUM(CASE e.kind WHEN 'consume' THEN -e.amount
                                WHEN 'capture' THEN -e.held_amount ELSE 0 END) AS told_spent,
                SUM(CASE WHEN e.kind IN ('expire', 'revoke', 'restore') THEN -e.amount
                         ELSE 0 END) AS told_gone
         FROM credit_grants g LEFT JOIN credit_entries e ON e.grant_id = g.id
         GROUP BY g.id, g.granted, g.spent, g.expired, g.revoked
         HAVING g.granted <> told_granted OR g.spent <> told_spent
             OR g.expired + g.revoked <> told_gone",
    )
    .await?;
    ensure!(broken.is_empty(), "INV-LEDGER: lots whose lines say otherwise: {broken:?}");
    Ok(())
}

async fn facts_count_once(year: &mut Year) -> Result<()> {
    for (what, query) in [
        (
            "payments of one intent",
            "SELECT provider_payment_intent_id AS fact FROM payments
             WHERE provider_payment_intent_id IS NOT NULL
             GROUP BY provider_payment_intent_id HAVING COUNT(*) > 1",
        ),
        (
            "payments of one invoice",
            "SELECT provider_invoice_id AS fact FROM payments
             WHERE provider_invoice_id IS NOT NULL
             GROUP BY provider_invoice_id HAVING COUNT(*) > 1",
        ),
        (
            "packs of one payment",
            "SELECT payment_id AS fact FROM credit_grants WHERE class = 'purchased'
             GROUP BY payment_id, unit HAVING COUNT(*) > 1",
        ),
        (
            "allowances of one period",
            "SELECT provider_subscription_id || ' ' || starts_at AS fact FROM credit_grants
             WHERE class = 'allowance'
             GROUP BY provider_subscription_id, unit, starts_at HAVING COUNT(*) > 1",
        ),
        (
            "counterparts of one customer",
            "SELECT customer_id AS fact FROM provider_customers
             GROUP BY customer_id HAVING COUNT(*) > 1",
        ),
    ] {
        let broken = rows(&mut year.world.books, query).await?;
        ensure!(broken.is_empty(), "INV-ONCE: {what}: {broken:?}");
    }
    Ok(())
}

async fn ends_are_final(year: &mut Year) -> Result<()> {
    let all =
        rows(&mut year.world.books, "SELECT provider_subscription_id, status FROM subscriptions");
    for row in all.await? {
        let id = text(&row, "provider_subscription_id").to_owned();
        let terminal = ["canceled", "incomplete_expired"].contains(&text(&row, "status"));
        if terminal && !year.memory.ended.contains(&id) {
            let there = year.world.get(&format!("/v1/subscriptions/{id}")).await?;
            ensure!(
                ["canceled", "incomplete_expired"]
                    .contains(&there["status"].as_str().unwrap_or("")),
                "INV-ORDER: {id} has ended here and is {} there",
                there["status"]
            );
            year.memory.ended.insert(id);
        } else {
            ensure!(
                terminal || !year.memory.ended.contains(&id),
                "INV-TERMINAL: {id} had ended and is {} again",
                text(&row, "status")
            );
        }
    }
    Ok(())
}

async fn acknowledged_events_are_kept(year: &mut Year) -> Result<()> {
    let query = "SELECT COUNT(*) FROM inbox_events";
    let kept = count(&mut year.world.books, query).await?;
    let acknowledged = year.courier.acknowledged.len();
    if acknowledged <= usize::try_from(kept)? && !year.memory.audits.is_multiple_of(10) {
        return Ok(());
    }
    let ids = rows(&mut year.world.books, "SELECT provider_event_id FROM inbox_events").await?;
    let ids: BTreeSet<&str> = ids.iter().map(|row| text(row, "provider_event_id")).collect();
    for event in &year.courier.acknowledged {
        ensure!(ids.contains(event.as_str()), "INV-DURABLE: {event} was taken and is gone");
    }
    Ok(())
}

async fn nobody_owns_anothers(year: &mut Year) -> Result<()> {
    for (what, query) in [
        (
            "lot and payment",
            "SELECT g.id FROM credit_grants g JOIN payments p ON p.id = g.payment_id
             WHERE p.customer_id <> g.customer_id",
        ),
        (
            "lot and subscription",
            "SELECT g.id FROM credit_grants g JOIN subscriptions s
               ON s.provider_subscription_id = g.provider_subscription_id
             WHERE s.customer_id <> g.customer_id",
        ),
        (
            "ledger line and lot",
            "SELECT e.id FROM credit_entries e JOIN credit_grants g ON g.id = e.grant_id
             WHERE e.customer_id <> g.customer_id OR e.unit <> g.unit",
        ),
        (
            "payment and invoice",
            "SELECT p.id FROM payments p JOIN invoices i
               ON i.provider_invoice_id = p.provider_invoice_id
             WHERE p.customer_id <> i.customer_id",
        ),
        (
            "access and subscription",
            "SELECT e.id FROM entitlements e JOIN subscriptions s
               ON e.source = 'subscription:' || s.id WHERE e.customer_id <> s.customer_id",
        ),
        (
            "access and payment",
            "SELECT e.id FROM entitlements e JOIN payments p
               ON e.source = 'payment:' || p.id WHERE e.customer_id <> p.customer_id",
        ),
    ] {
        let broken = rows(&mut year.world.books, query).await?;
        ensure!(broken.is_empty(), "INV-SCOPE: {what} of different customers: {broken:?}");
    }
    Ok(())
}

/// A lot exists only where the provider has the money for it, or gives a trial.
async fn nothing_without_money(year: &mut Year) -> Result<()> {
    let lots = rows(
        &mut year.world.books,
        "SELECT g.id, g.class, g.provider_subscription_id, g.starts_at,
                p.provider_payment_intent_id AS intent, p.provider_invoice_id AS invoice
         FROM credit_grants g LEFT JOIN payments p ON p.id = g.payment_id",
    )
    .await?;
    for lot in lots {
        let id = text(&lot, "id").to_owned();
        if year.memory.paid_lots.contains(&id) {
            continue;
        }
        let paid = match text(&lot, "class") {
            "purchased" => is_paid(year, "payment_intents", text(&lot, "intent"), "succeeded"),
            "allowance" if text(&lot, "invoice").is_empty() => {
                ensure!(is_covered(year, &lot).await?, "INV-MONEY: no invoice pays for {lot:?}");
                year.memory.paid_lots.insert(id);
                continue;
            }
            "allowance" => is_paid(year, "invoices", text(&lot, "invoice"), "paid"),
            "trial" => {
                had_trial(year, &lot).await?;
                year.memory.paid_lots.insert(id);
                continue;
            }
            // What a debt gives back was bought before.
            "bonus" | "promotional" => continue,
            other => bail!("a lot of class {other}"),
        };
        ensure!(paid.await?, "INV-MONEY: {lot:?} was granted without money");
        year.memory.paid_lots.insert(id);
    }
    Ok(())
}

async fn is_paid(year: &Year, collection: &str, id: &str, status: &str) -> Result<bool> {
    if id.is_empty() {
        return Ok(false);
    }
    let object = year.world.get(&format!("/v1/{collection}/{id}")).await?;
    Ok(object["status"] == status)
}

/// Whether a paid invoice bills the period of a lot that has no payment: what is left of an earlier
/// payment after a change of plan can pay an invoice in full.
async fn is_covered(year: &Year, lot: &Record) -> Result<bool> {
    let subscription = text(lot, "provider_subscription_id");
    let path = format!("/v1/invoices?subscription={subscription}&status=paid");
    let start = number(lot, "starts_at") / 1_000_000;
    let bills = |line: &Value| {
        0 < line["amount"].as_i64().unwrap_or(0)
            && line["period"]["start"].as_i64() <= Some(start)
            && Some(start) < line["period"]["end"].as_i64()
    };
    let invoices = year.world.list(&path).await?;
    let mut lines = invoices.iter().flat_map(|one| one["lines"]["data"].as_array()).flatten();
    Ok(lines.any(bills))
}

async fn had_trial(year: &Year, lot: &Record) -> Result<()> {
    let id = text(lot, "provider_subscription_id");
    let subscription = year.world.get(&format!("/v1/subscriptions/{id}")).await?;
    let start = subscription["trial_start"].as_i64().map(|at| at * 1_000_000);
    ensure!(
        subscription["trial_end"] != Value::Null && start == some_number(lot, "starts_at"),
        "INV-MONEY: {lot:?} is of no trial"
    );
    Ok(())
}
