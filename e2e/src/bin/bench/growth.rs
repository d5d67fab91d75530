//! The same work on a small and on a large database: how much longer it takes.
//!
//! One customer is made by the server itself, with everything that belongs to one; the database
//! then copies those rows under new ids, so that every copy is as consistent as the first.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use e2e::databases::{Backend, Database};
use e2e::deployments::Deployment;
use e2e::loads::{Load, Order};
use e2e::rows::{Row, Target};
use serde_json::Value;

use crate::bench::{Bench, Figure};
use crate::{checks, credits, webhooks};

const SMALL: u64 = 1_000;
const TEMPLATE: &str = "grown-template";
/// With the gift's and the purchase's line, ten lines of the ledger.
const CONSUMES: usize = 8;
const EVENTS_EACH: u64 = 5;
/// Of so many settled events one is recent enough to have its payload.
const PAYLOADS: u64 = 10;
/// So many different customers are asked about.
const SAMPLE: u64 = 1_000;
/// A ratio of two short runs needs more than one look.
const REPETITIONS_MIN: u32 = 3;
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
    let mut small = Shop::make(bench, backend, "growth_small", SMALL).await?;
    let mut large = Shop::make(bench, backend, "growth_large", bench.growth).await?;
    // Neither profits from what was remembered before.
    small.deployment.restart()?;
    large.deployment.restart()?;
    for name in KINDS.into_iter().filter(|name| bench.wants(name)).collect::<Vec<_>>() {
        let mut pairs = Vec::new();
        for repetition in 0..bench.repetitions().max(REPETITIONS_MIN) {
            // One right after the other: what else the machine does meets both.
            let pair = (
                small.figure(bench, name, repetition).await?,
                large.figure(bench, name, repetition).await?,
            );
            let (before, after) = (pair.0.per_second, pair.1.per_second);
            bench.report.note(&format!("{name}: {before:.0} per s and {after:.0} per s"));
            pairs.push(pair);
        }
        let refused: u64 = pairs.iter().map(|pair| pair.0.refused + pair.1.refused).sum();
        let times = |pair: &(Figure, Figure)| pair.0.per_second / pair.1.per_second;
        pairs.sort_by(|left, right| times(left).total_cmp(&times(right)));
        let middle = pairs.swap_remove(pairs.len() / 2);
        let row = Row::new(name, Some(backend), "x", times(&middle));
        let row = row.times(middle.1.p50_ms, middle.1.p99_ms);
        bench.report.add(Row { refused, ..row.held_to(Target::AtMost(1.3)) });
    }
    Ok(())
}

/// A deployment with so many customers, and those of them who are asked about.
struct Shop {
    deployment: Deployment,
    inert: Value,
    names: Vec<String>,
}

impl Shop {
    async fn make(bench: &Bench, backend: Backend, name: &str, customers: u64) -> Result<Self> {
        let deployment = Deployment::start(backend, name).await?;
        let template = Template::make(&deployment).await?;
        template.copy(bench, &deployment.database, customers).await?;
        let sample = SAMPLE.min(customers);
        let names: Vec<String> = (0..sample).map(|n| copy_name(n * customers / sample)).collect();
        let answer = deployment.ask_all(checks::requests(&deployment, &names[..1])).await?;
        ensure!(answer[0].contains("\"allowed\":true"), "a copy may do nothing: {}", answer[0]);
        Ok(Self { deployment, inert: template.inert, names })
    }

    /// One kind of work for customers from all over the table.
    async fn figure(&self, bench: &Bench, name: &str, repetition: u32) -> Result<Figure> {
        let (requests, order) = match name {
            "growth_check" => (checks::requests(&self.deployment, &self.names), Order::AtRandom),
            "growth_consume" => (credits::requests(&self.deployment, &self.names), Order::AtRandom),
            _ => {
                let (tag, count) = (repetition.to_string(), webhooks::most_events(bench.length));
                (webhooks::inert(&self.deployment, &self.inert, &tag, count)?, Order::Once)
            }
        };
        let load = self.deployment.load(&Arc::new(requests), bench.length);
        Figure::of(&Load { order, ..load }.run().await?)
    }
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

    /// So many copies of everything.
    async fn copy(&self, bench: &Bench, database: &Database, copies: u64) -> Result<()> {
        let started = Instant::now();
        numbers(database, copies * EVENTS_EACH).await?;
        for copied in TABLES {
            bench.report.note(&format!("copying {} for {copies} customers", copied.table));
            let statement = self.statement(database, &copied, &self.customer).await?;
            database.execute(&format!("{statement} AND n < {copies}")).await?;
        }
        bench.report.note("copying inbox_events");
        let statement = self.statement(database, &EVENTS, &self.session).await?;
        database.execute(&format!("{statement} AND n < {}", copies * EVENTS_EACH)).await?;
        bench.report.note("analysing");
        database.analyse().await?;
        let lines = database.number("SELECT COUNT(*) FROM credit_entries").await?;
        bench.report.note(&format!("{lines} lines of the ledger in {:.0?}", started.elapsed()));
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
