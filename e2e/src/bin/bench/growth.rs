//! The same work on a small and on a large database: how much longer it takes.
//!
//! One customer is made by the server itself, with everything that belongs to one; the database
//! then copies those rows under new ids, so that every copy is as consistent as the first.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::bench::{Bench, Figure};
use crate::databases::{Backend, Database};
use crate::deployments::Deployment;
use crate::loads::{Load, Order};
use crate::rows::{Row, Target};
use crate::{checks, credits, webhooks};

const SMALL: u64 = 1_000;
const TEMPLATE: &str = "grown-template";
/// With the gift's and the purchase's line, ten lines of the ledger.
const CONSUMES: usize = 8;
const EVENTS_EACH: u64 = 5;
/// Of so many settled events one is recent enough to have its payload.
const PAYLOADS: u64 = 10;
/// So many different customers are asked about.
const SAMPLE: u64 = 50_000;
const KINDS: [&str; 3] = ["growth_check", "growth_consume", "growth_webhook"];

/// A table whose rows are copied, which of them, and which columns tell one copy from another.
struct Copied {
    table: &'static str,
    whose: &'static str,
    fresh: &'static [&'static str],
}

const TABLES: [Copied; 5] = [
    Copied { table: "customers", whose: "id", fresh: &["id"] },
    Copied { table: "credit_balances", whose: "customer_id", fresh: &["customer_id"] },
    Copied {
        table: "credit_grants",
        whose: "customer_id",
        fresh: &["id", "customer_id", "fact", "payment_id"],
    },
    Copied {
        table: "credit_entries",
        whose: "customer_id",
        fresh: &["id", "customer_id", "grant_id"],
    },
    Copied { table: "entitlements", whose: "customer_id", fresh: &["id", "customer_id", "source"] },
];

const EVENTS: Copied = Copied {
    table: "inbox_events",
    whose: "object_id",
    fresh: &["id", "provider_event_id", "ordering_key", "object_id"],
};

pub async fn measure(bench: &mut Bench, backend: Backend) -> Result<()> {
    let mut deployment = Deployment::start(backend, "growth").await?;
    let template = Template::make(&deployment).await?;
    template.copy(bench, &deployment.database, 0, SMALL).await?;
    let small = figures(bench, &mut deployment, &template, SMALL).await?;
    template.copy(bench, &deployment.database, SMALL, bench.growth).await?;
    let large = figures(bench, &mut deployment, &template, bench.growth).await?;
    for ((name, small), (_, large)) in small.into_iter().zip(large) {
        bench.note(&format!("{name}: {:.0} per s, then {:.0}", small.per_second, large.per_second));
        let times = small.per_second / large.per_second;
        let row = Row::new(name, Some(backend), "x", times).times(large.p50_ms, large.p99_ms);
        let refused = small.refused + large.refused;
        bench.add(Row { refused, ..row.held_to(Target::AtMost(1.3)) });
    }
    Ok(())
}

/// Every kind of work, asked of customers from all over the table.
async fn figures(
    bench: &Bench,
    deployment: &mut Deployment,
    template: &Template,
    customers: u64,
) -> Result<Vec<(&'static str, Figure)>> {
    // Neither size profits from what was remembered before.
    deployment.restart()?;
    let sample = SAMPLE.min(customers);
    let names: Vec<String> = (0..sample).map(|n| copy_name(n * customers / sample)).collect();
    let answer = deployment.ask_all(checks::requests(deployment, &names[..1])).await?;
    ensure!(answer[0].contains("\"allowed\":true"), "a copy may do nothing: {}", answer[0]);
    let mut found = Vec::new();
    for name in KINDS.into_iter().filter(|name| bench.wants(name)) {
        let mut repetitions = Vec::new();
        for repetition in 0..bench.repetitions() {
            let of = bench.repetitions();
            bench.note(&format!("{name} at {customers} customers {}/{of}", repetition + 1));
            let (requests, order) = match name {
                "growth_check" => (checks::requests(deployment, &names), Order::AtRandom),
                "growth_consume" => (credits::requests(deployment, &names), Order::AtRandom),
                _ => {
                    let tag = format!("{customers}_{repetition}");
                    let count = webhooks::most_events(bench.length);
                    let made = webhooks::inert(deployment, &template.inert, &tag, count)?;
                    (made, Order::Once)
                }
            };
            let load = deployment.load(&Arc::new(requests), bench.length);
            repetitions.push(Figure::of(&Load { order, ..load }.run().await?)?);
        }
        found.push((name, Figure::median(repetitions)));
    }
    Ok(found)
}

fn copy_name(number: u64) -> String {
    format!("grown-{number:07}")
}

/// The rows of one customer that a server has made.
struct Template {
    customer: String,
    session: String,
    inert: Value,
}

impl Template {
    async fn make(deployment: &Deployment) -> Result<Self> {
        let name = [TEMPLATE.to_owned()];
        deployment.fund(&name).await?;
        let inert = webhooks::entitle(deployment, &name).await?;
        let consumes = (0..CONSUMES).flat_map(|_| credits::requests(deployment, &name));
        deployment.ask_all(consumes.collect()).await?;
        let text = format!("SELECT id FROM customers WHERE external_id = '{TEMPLATE}'");
        let customer = deployment.database.text(&text).await?;
        let session = "SELECT object_id FROM inbox_events WHERE state = 'applied'";
        let session = deployment.database.text(session).await?;
        let numbers = "CREATE TABLE bench_numbers (n BIGINT PRIMARY KEY)";
        deployment.database.execute(numbers).await?;
        deployment.database.execute("INSERT INTO bench_numbers VALUES (0)").await?;
        Ok(Self { customer, session, inert })
    }

    /// Copies number `from` and those up to `until`.
    async fn copy(&self, bench: &Bench, database: &Database, from: u64, until: u64) -> Result<()> {
        let started = Instant::now();
        numbers(database, until * EVENTS_EACH).await?;
        for copied in TABLES {
            bench.note(&format!("copying {} until there are {until} customers", copied.table));
            let copies = self.statement(database, &copied, &self.customer).await?;
            database.execute(&format!("{copies} AND {from} <= n AND n < {until}")).await?;
        }
        bench.note("copying inbox_events");
        let copies = self.statement(database, &EVENTS, &self.session).await?;
        let (from, until) = (from * EVENTS_EACH, until * EVENTS_EACH);
        database.execute(&format!("{copies} AND {from} <= n AND n < {until}")).await?;
        bench.note("analysing");
        database.analyse().await?;
        let lines = database.number("SELECT COUNT(*) FROM credit_entries").await?;
        bench.note(&format!("{lines} lines of the ledger in {:.0?}", started.elapsed()));
        Ok(())
    }

    /// Whatever columns there are are copied as they are, but for those that must differ.
    async fn statement(&self, database: &Database, copied: &Copied, id: &str) -> Result<String> {
        const DIGITS: &str = "substr(CAST(10000000 + n AS TEXT), 2)";
        let Copied { table, whose, fresh } = copied;
        let columns = database.columns(table).await?;
        for column in *fresh {
            let known = columns.iter().any(|known| known == column);
            ensure!(known, "{table} has no column {column} any more");
        }
        let value = |column: &String| match (*table, column.as_str()) {
            ("customers", "external_id") => format!("'grown-' || {DIGITS}"),
            ("inbox_events", "payload") => {
                format!("CASE WHEN n % {PAYLOADS} = 0 THEN payload ELSE substr(payload, 1, 0) END")
            }
            ("inbox_events", "payload_purged_at") => {
                format!("CASE WHEN n % {PAYLOADS} = 0 THEN NULL ELSE applied_at END")
            }
            (_, column) if fresh.contains(&column) => {
                format!("substr({column}, 1, length({column}) - 7) || {DIGITS}")
            }
            (_, column) => column.to_owned(),
        };
        let values: Vec<String> = columns.iter().map(value).collect();
        Ok(format!(
            "INSERT INTO {table} ({}) SELECT {} FROM {table}, bench_numbers WHERE {whose} = '{id}'",
            columns.join(", "),
            values.join(", ")
        ))
    }
}

/// All numbers below this one.
async fn numbers(database: &Database, until: u64) -> Result<()> {
    let mut known = database.number("SELECT COUNT(*) FROM bench_numbers").await?;
    let until = i64::try_from(until).context("too many numbers")?;
    while known < until {
        let more = format!(
            "INSERT INTO bench_numbers SELECT n + {known} FROM bench_numbers \
             WHERE n + {known} < {until}"
        );
        database.execute(&more).await?;
        known = (known * 2).min(until);
    }
    Ok(())
}
