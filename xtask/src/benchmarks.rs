//! The benchmark: everything built for release, private database servers that are as durable as
//! in production, and the programs that measure the machine's ceilings.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::mariadb::Mariadb;
use crate::postgres::Postgres;
use crate::servers::Purpose;
use crate::steps::{Repository, run as step};
use crate::tools;

/// The load generator lives in `e2e`, beside the harness that starts the server. It takes the
/// arguments as they are.
pub fn run(repository: &Repository, arguments: &[String]) -> Result<()> {
    let release = repository.target().join("release");
    let mut build = repository.cargo();
    build.args(["build", "--release", "--locked", "--package", "server", "--package", "e2e"]);
    build.args(["--bins", "--example", "bare_check"]);
    step("building for release", &mut build)?;

    let folder = repository.target().join("bench");
    fs::create_dir_all(&folder)?;
    let mut bench = Command::new(release.join("bench"));
    bench.args(arguments);
    bench.env("TOLLGATE_BIN", release.join("tollgate"));
    bench.env("TOLLGATE_BENCH_BARE_CHECK", release.join("examples/bare_check"));
    bench.env("TOLLGATE_BENCH_FOLDER", &folder);
    if asks_for_help(arguments) {
        return step("help", &mut bench);
    }
    if let Some(limits) = limits(repository) {
        bench.env("TOLLGATE_BENCH_LIMITS_PROGRAMS", build_limits(repository, &limits)?);
        bench.env("TOLLGATE_BENCH_LIMITS", limits);
    } else {
        eprintln!("==> no ceilings: set TOLLGATE_SHARED to the folder that holds `limits`");
    }
    let installation = tools::set_up_postgres(repository)?;
    let postgres = Postgres::start(&installation, Purpose::Measurements)?;
    bench.env("TOLLGATE_BENCH_POSTGRES", postgres.url());
    bench.env("TOLLGATE_BENCH_POSTGRES_PROGRAMS", installation.programs());
    let mariadb = Mariadb::start(&tools::set_up_mariadb(repository)?, Purpose::Measurements)?;
    bench.env("TOLLGATE_BENCH_MYSQL", mariadb.url());
    step("measuring", &mut bench)
}

/// Help needs no database.
pub fn asks_for_help(arguments: &[String]) -> bool {
    arguments.iter().any(|argument| matches!(argument.as_str(), "--help" | "-h"))
}

/// The folder with the shared measurements, where it is present.
fn limits(repository: &Repository) -> Option<PathBuf> {
    let shared = match std::env::var_os("TOLLGATE_SHARED") {
        Some(folder) => PathBuf::from(folder),
        None => repository.path("../shared"),
    };
    fs::canonicalize(shared.join("limits")).ok()
}

/// Built beside our own, never inside the shared folder.
fn build_limits(repository: &Repository, limits: &Path) -> Result<PathBuf> {
    let target = repository.target().join("limits");
    let mut build = repository.cargo();
    build.args(["build", "--release", "--locked", "--manifest-path"]);
    build.arg(limits.join("rust/Cargo.toml")).arg("--target-dir").arg(&target);
    step("building the programs that measure ceilings", &mut build)?;
    Ok(target.join("release"))
}
