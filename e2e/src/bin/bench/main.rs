//! The load generator behind `cargo xtask bench`: what the server does in a second, beside what the
//! machine could do without it, measured in the same run, because only their ratio means anything
//! elsewhere.

mod bench;
mod ceilings;
mod checks;
mod credits;
mod footprints;
mod growth;
mod sandbox;
mod statements;
mod webhooks;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Parser;
use e2e::databases::Backend;
use e2e::deployments::{Deployment, accounts};

use crate::bench::Bench;

const AFTER_HELP: &str = "\
Rows: webhook_accepted, webhook_applied_payment, webhook_applied_subscription, consume_spread, \
consume_hot, check, check_half_load, check_token, check_balance, growth_check, growth_consume, \
growth_webhook, footprint_binary, footprint_ready, footprint_rss; and, only when it is named, \
sandbox. docs/PERFORMANCE.md says what each of them means.";

#[derive(Parser)]
#[command(name = "cargo xtask bench", after_help = AFTER_HELP)]
pub struct Arguments {
    /// Write the table as JSON to this file as well.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Measure only rows whose names begin like this; may be repeated.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Measure only on this database; may be repeated.
    #[arg(long, value_enum)]
    backend: Vec<Backend>,
    /// Two seconds and one repetition for each row, and less growth.
    #[arg(long)]
    quick: bool,
    /// How long each repetition lasts: 8, or 2 with --quick.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    seconds: Option<u64>,
    /// How often each row is measured, 3 or 1; the repetition in the middle counts.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    repetitions: Option<u32>,
    /// How many customers the large database has: 1,000,000, or 20,000 with --quick.
    #[arg(long, value_name = "N")]
    growth: Option<u64>,
    /// How many customers are made to spend and to be asked about; the rows are meant for 10,000.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    accounts: usize,
    /// How many customers of the sandbox renew for a year.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    customers: usize,
}

/// What is measured on a deployment with 10,000 customers.
const SERVER_ROWS: [&str; 5] = [
    "webhook_accepted",
    "webhook_applied_payment",
    "webhook_applied_subscription",
    "consume_spread",
    "consume_hot",
];
const CHECK_ROWS: [&str; 4] = ["check", "check_half_load", "check_token", "check_balance"];
const PROCESS_ROWS: [&str; 2] = ["footprint_ready", "footprint_rss"];
const GROWTH_ROWS: [&str; 3] = ["growth_check", "growth_consume", "growth_webhook"];
const SANDBOX: &str = "sandbox";

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut bench = Bench::new(&arguments)?;
    let measured = runtime.block_on(measure(&mut bench, &arguments));
    let finished = bench.report.conclude(arguments.json.as_deref());
    measured.and(finished)
}

async fn measure(bench: &mut Bench, arguments: &Arguments) -> Result<()> {
    let names_sandbox = arguments.only.iter().any(|name| name.starts_with(SANDBOX));
    if names_sandbox {
        let length = Duration::from_secs(arguments.seconds.unwrap_or(5));
        sandbox::measure(bench, arguments.customers, length).await?;
    }
    if bench.wants("footprint_binary") {
        footprints::binary(bench)?;
    }
    for backend in [Backend::Postgres, Backend::Mysql, Backend::Sqlite] {
        if bench.wants_on(backend) {
            on_backend(bench, backend).await?;
        }
    }
    Ok(())
}

async fn on_backend(bench: &mut Bench, backend: Backend) -> Result<()> {
    let wants_server = bench.wants_any(&SERVER_ROWS) || bench.wants_any(&CHECK_ROWS);
    if wants_server || bench.wants_any(&PROCESS_ROWS) {
        let mut deployment = Deployment::start(backend, "bench").await?;
        if bench.wants_any(&PROCESS_ROWS) {
            footprints::process(bench, &mut deployment).await?;
        }
        if wants_server {
            on_deployment(bench, &deployment).await?;
        }
    }
    // A million customers take long to copy, and one backend shows whether work grows with them.
    let is_usual = backend == Backend::Postgres || bench.names(backend);
    if is_usual && bench.wants_any(&GROWTH_ROWS) {
        let outcome = growth::measure(bench, backend).await;
        bench.report.attempt(backend, "growth", outcome);
    }
    Ok(())
}

async fn on_deployment(bench: &mut Bench, deployment: &Deployment) -> Result<()> {
    let count = bench.accounts;
    bench.report.note(&format!("{}: making {count} customers", deployment.backend.name()));
    deployment.fund(&accounts(count)).await?;
    for name in SERVER_ROWS {
        if bench.wants(name) {
            let outcome = row(bench, deployment, name).await;
            bench.report.attempt(deployment.backend, name, outcome);
        }
    }
    if bench.wants_any(&CHECK_ROWS) {
        let outcome = checks::measure(bench, deployment).await;
        bench.report.attempt(deployment.backend, "check", outcome);
    }
    Ok(())
}

async fn row(bench: &mut Bench, deployment: &Deployment, name: &str) -> Result<()> {
    match name {
        "webhook_accepted" => webhooks::accepted(bench, deployment, name).await,
        "webhook_applied_payment" => webhooks::applied_payment(bench, deployment, name).await,
        "webhook_applied_subscription" => {
            webhooks::applied_subscription(bench, deployment, name).await
        }
        "consume_spread" => credits::spread(bench, deployment, name).await,
        "consume_hot" => credits::hot(bench, deployment, name).await,
        _ => bail!("nobody knows how to measure {name}"),
    }
}
