//! The checker behind `cargo xtask endure`: loads under which databases go away, servers are
//! killed, and more is asked than can be done. What clients were told is compared with what is
//! stored.

mod controls;
mod endings;
mod replicas;
mod restarts;
mod soaks;
mod strangers;

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::{Parser, ValueEnum};
use e2e::databases::Backend;
use e2e::reports::Report;

const AFTER_HELP: &str = "\
restarts: the database goes away five times under full load, asked to and by kill -9.\n\
replicas: two servers on one database, one of which is killed every ten seconds.\n\
soak: half as much again as one server can do, beside clients that mean no good.\n\n\
Afterwards everything that was answered with a 2xx must be in the database once, and nothing \
twice. The command fails if a row does not hold. docs/PERFORMANCE.md says what each of them means.";

#[derive(Parser)]
#[command(name = "cargo xtask endure", after_help = AFTER_HELP)]
pub struct Arguments {
    /// What has to be endured: all of it, unless something is named.
    #[arg(value_enum)]
    trials: Vec<Trial>,
    /// On this database; may be repeated.
    #[arg(long, value_enum, default_values_t = [Backend::Postgres])]
    backend: Vec<Backend>,
    /// How long replicas are killed (5) or a server is soaked (15).
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    minutes: Option<u64>,
    /// Write the table as JSON to this file as well.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// How many customers spend.
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    accounts: usize,
    /// How many connections the soak uses, as far as this process may open them.
    #[arg(long, value_name = "N", default_value_t = 8_000)]
    connections: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Trial {
    Restarts,
    Replicas,
    Soak,
}

impl Trial {
    const ALL: [Trial; 3] = [Trial::Restarts, Trial::Replicas, Trial::Soak];

    fn name(self) -> &'static str {
        match self {
            Trial::Restarts => "restarts",
            Trial::Replicas => "replicas",
            Trial::Soak => "soak",
        }
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut report = Report::new()?;
    let trials = if arguments.trials.is_empty() { &Trial::ALL } else { &arguments.trials[..] };
    for trial in trials {
        for backend in &arguments.backend {
            let outcome = runtime.block_on(endure(&mut report, &arguments, *trial, *backend));
            report.attempt(*backend, trial.name(), outcome);
        }
    }
    report.conclude(arguments.json.as_deref())?;
    let broken: Vec<&str> = report
        .rows
        .iter()
        .filter(|row| row.is_ok() == Some(false))
        .map(|row| row.name.as_str())
        .collect();
    ensure!(broken.is_empty(), "these rows do not hold: {}", broken.join(", "));
    Ok(())
}

async fn endure(
    report: &mut Report,
    arguments: &Arguments,
    trial: Trial,
    backend: Backend,
) -> Result<()> {
    match trial {
        Trial::Restarts => restarts::endure(report, arguments, backend).await,
        Trial::Replicas => replicas::endure(report, arguments, backend).await,
        Trial::Soak => soaks::endure(report, arguments, backend).await,
    }
}
