//! The whole check of the repository in one order, and the simulation.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::mariadb::Mariadb;
use crate::postgres::Postgres;
use crate::redis::Redis;
use crate::servers::Purpose;
use crate::steps::{Repository, answers, run as step};
use crate::{conformance, tidy, tools};

/// Everything a change must pass. The last lines are those of `cargo test` itself.
pub fn run(repository: &Repository, filter: &[String]) -> Result<()> {
    let tools = tools::set_up(repository)?;
    let cargo = |arguments: &[&str]| -> Command {
        let mut command = repository.cargo();
        command.args(arguments);
        command
    };
    step("cargo fmt --check", &mut cargo(&["fmt", "--all", "--check"]))?;
    tidy::run(repository)?;
    let clippy = ["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
    step("cargo clippy", &mut cargo(&clippy))?;
    if answers("cargo-deny", &["--version"]) {
        step("cargo deny", &mut cargo(&["deny", "check", "bans", "licenses", "sources"]))?;
    } else {
        eprintln!("==> cargo deny: skipped, it is not installed (cargo install cargo-deny)");
    }
    let tollgate = build(repository)?;
    conformance::run(repository, &tools.python, &tollgate)?;
    let fuzz = ["--manifest-path", "fuzz/Cargo.toml", "--locked"];
    let lint = [&["clippy"], &fuzz[..], &["--", "-D", "warnings"]].concat();
    step("cargo clippy (fuzz targets)", &mut cargo(&lint))?;

    let postgres = Postgres::start(&tools.postgres, Purpose::Tests)?;
    let mariadb = Mariadb::start(&tools.mariadb, Purpose::Tests)?;
    let redis = Redis::start(&tools.redis)?;
    let mut test = cargo(&["test", "--workspace", "--locked"]);
    test.args(filter);
    test.env("TOLLGATE_TEST_POSTGRES", postgres.url());
    test.env("TOLLGATE_TEST_MYSQL", mariadb.url());
    test.env("TOLLGATE_TEST_REDIS", redis.url());
    test.env("TOLLGATE_BIN", &tollgate);
    test.env("TOLLGATE_PYTHON", &tools.python);
    test.env("TOLLGATE_NODE_MODULES", &tools.node_modules);
    test.env("TOLLGATE_CHROMIUM", &tools.chromium);
    eprintln!("==> cargo test");
    let status = test.status()?;
    drop((postgres, mariadb, redis));
    // Nothing is printed after the test runner's own last line.
    if !status.success() {
        std::process::exit(status.code().unwrap_or(1));
    }
    Ok(())
}

/// The driver alone, with what it needs.
pub fn conformance(repository: &Repository) -> Result<()> {
    let python = tools::set_up_python(repository)?;
    conformance::run(repository, &python, &build(repository)?)
}

fn build(repository: &Repository) -> Result<PathBuf> {
    let mut build = repository.cargo();
    build.args(["build", "--locked", "--package", "server"]);
    step("building the binary", &mut build)?;
    Ok(repository.target().join("debug/tollgate"))
}

/// The long runs of the simulation, in a profile that is fast and still asserts everything.
pub fn simulate(repository: &Repository, what: &str, arguments: &[String]) -> Result<()> {
    let mut build = repository.cargo();
    build.args(["build", "--profile", "sim", "--locked", "--package", "sim"]);
    step("building the simulation", &mut build)?;
    let mut run = Command::new(repository.target().join("sim/sim"));
    run.arg(what).args(arguments);
    step("simulating", &mut run)
}
