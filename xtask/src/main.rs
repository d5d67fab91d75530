//! `cargo xtask`: set-up, tests, benchmarks and checks of the repository, with nothing but cargo.

mod benchmarks;
mod conformance;
mod endurance;
mod mariadb;
mod postgres;
mod redis;
mod servers;
mod steps;
mod tests;
mod tidy;
mod tools;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::steps::Repository;

const AFTER_HELP: &str = "\
A fresh clone needs only a Rust toolchain: `cargo xtask test` installs the rest on Debian as root, \
and elsewhere says exactly what to install. Everything private to the project goes to \
target/tools; the database servers, when run as root, to /var/tmp.";

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    about = "Set-up, tests, benchmarks and checks of this repository.",
    after_help = AFTER_HELP
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what the tests need (browser, SDKs, database servers) and stop there.
    Setup,
    /// Format check, clippy, tidy rules, then every test: unit, database, browser and SDK.
    Test {
        /// Names a test must contain, passed on to `cargo test`.
        filter: Vec<String>,
    },
    /// Run the shared conformance driver against `tollgate sandbox`; `test` does so, too.
    Conformance,
    /// Check the house rules that no compiler knows (crate edges, SQL only in `store`, …).
    Tidy,
    /// Start a private PostgreSQL, print its address, and stop it on Ctrl-C.
    Postgres,
    /// Start a private MariaDB, print its address, and stop it on Ctrl-C.
    Mariadb,
    /// Start a private Redis, print its address, and stop it on Ctrl-C.
    Redis,
    /// Play simulated years of a shop under faults: --seed N, --seeds COUNT, --steps M.
    Sim {
        /// Passed on to the simulation; `--help` shows them all.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Tell six stories in all orders of their events, in five shapes, with one lost.
    Orders {
        /// Passed on: --seed N, --permutations N, --shuffles N, --story NAME.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Build for release and measure the server beside what the machine can do without it.
    Bench {
        /// Passed on: --only NAME, --backend NAME, --quick, --json FILE; `--help` shows them all.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Restart the database, kill replicas and overload a server, and see that nothing is lost.
    Endure {
        /// Passed on: restarts, replicas, soak, --backend NAME, --minutes N, --json FILE.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

fn main() -> ExitCode {
    let result = Repository::find().and_then(|repository| match Arguments::parse().command {
        Command::Setup => tools::set_up(&repository).map(|_| ()),
        Command::Test { filter } => tests::run(&repository, &filter),
        Command::Conformance => tests::conformance(&repository),
        Command::Tidy => tidy::run(&repository),
        Command::Mariadb => mariadb::run_until_interrupted(&repository),
        Command::Postgres => postgres::run_until_interrupted(&repository),
        Command::Redis => redis::run_until_interrupted(&repository),
        Command::Sim { arguments } => tests::simulate(&repository, "years", &arguments),
        Command::Orders { arguments } => tests::simulate(&repository, "orders", &arguments),
        Command::Bench { arguments } => benchmarks::run(&repository, &arguments),
        Command::Endure { arguments } => endurance::run(&repository, &arguments),
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}
