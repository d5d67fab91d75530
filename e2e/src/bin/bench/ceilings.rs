//! What the machine can do without us, measured in the same run: only ratios mean anything
//! elsewhere. Where the programs that measure it are absent, there is none.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use e2e::databases::{Backend, Database};
use e2e::loads::{Bodies, Load, Order, Pace};
use e2e::requests::Target;
use e2e::rows::Row;

use crate::bench::{Bench, Figure};
use crate::statements;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ceiling {
    /// One event, one row.
    Inbox,
    /// A ledger line and a balance, over 10,000 accounts.
    Spread,
    /// The same on one account.
    Hot,
    /// A check in memory, behind our own layers.
    Check,
}

/// The first row is what ours is divided by.
pub async fn measure(bench: &Bench, which: Ceiling, backend: Backend) -> Result<Vec<Row>> {
    match (which, backend) {
        (Ceiling::Check, _) => checks(bench, backend).await,
        (_, Backend::Postgres) => postgres(bench, which).await,
        (_, Backend::Mysql) => statements::measure(bench, which).await,
        (_, Backend::Sqlite) => sqlite(bench, which),
    }
}

/// A path that `cargo xtask bench` names where there is something at it.
fn place(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).map(PathBuf::from)
}

/// One of the shared scripts, with how it is run.
struct Script {
    name: &'static str,
    file: &'static str,
    clients: u32,
    accounts: u32,
    operations: f64,
}

const fn script(
    name: &'static str,
    file: &'static str,
    (clients, accounts, operations): (u32, u32, f64),
) -> Script {
    Script { name, file, clients, accounts, operations }
}

/// One transaction for each operation, then many operations in one.
fn scripts(which: Ceiling) -> [Script; 2] {
    match which {
        Ceiling::Spread => [
            script("ceiling_consume_spread", "consume-ledger", (32, 10_000, 1.0)),
            script("ceiling_consume_spread_batched", "consume-batch64", (8, 10_000, 64.0)),
        ],
        Ceiling::Hot => [
            script("ceiling_consume_hot", "consume-ledger", (32, 1, 1.0)),
            script("ceiling_consume_hot_batched", "consume-batch64", (1, 1, 64.0)),
        ],
        Ceiling::Inbox | Ceiling::Check => [
            script("ceiling_inbox", "inbox", (32, 1, 1.0)),
            script("ceiling_inbox_batched", "inbox-batch32", (2, 1, 32.0)),
        ],
    }
}

/// The shared scripts under PostgreSQL's own load generator, on the same server.
async fn postgres(bench: &Bench, which: Ceiling) -> Result<Vec<Row>> {
    let (limits, programs) =
        (place("TOLLGATE_BENCH_LIMITS"), place("TOLLGATE_BENCH_POSTGRES_PROGRAMS"));
    let (Some(limits), Some(programs)) = (limits, programs) else {
        return Ok(Vec::new());
    };
    let name = format!("limits_{}_{}", which as u8, std::process::id());
    let database = Database::create(Backend::Postgres, &name, Path::new("")).await?;
    let mut schema = Command::new(programs.join("psql"));
    schema.args(["-q", "-f"]).arg(limits.join("pgbench/schema.sql")).arg(&database.url);
    output(&mut schema)?;
    let payload = std::fs::read_to_string(limits.join("event-2k.json"))?;
    let mut rows = Vec::new();
    for Script { name, file, clients, accounts, operations } in scripts(which) {
        let mut figures = Vec::new();
        for repetition in 0..bench.repetitions() {
            bench.say(Backend::Postgres, name, repetition);
            for text in ["TRUNCATE ledger, inbox", "VACUUM account", "CHECKPOINT"] {
                database.execute(text).await?;
            }
            let mut run = Command::new(programs.join("pgbench"));
            run.args(["-n", "-M", "prepared", "-j", "1"]);
            run.args(["-T", &bench.length.as_secs().to_string(), "-c", &clients.to_string()]);
            run.args(["-D", &format!("accounts={accounts}")]);
            run.args(["-D", &format!("payload={}", payload.trim_end())]);
            run.arg("-f").arg(limits.join(format!("pgbench/{file}.sql"))).arg(&database.url);
            let text = tokio::task::spawn_blocking(move || output(&mut run)).await??;
            let word = |prefix: &str, place: usize| -> Result<f64> {
                let line = text.lines().find(|line| line.starts_with(prefix));
                let word = line.and_then(|line| line.split_whitespace().nth(place));
                Ok(word.with_context(|| format!("no `{prefix}` in:\n{text}"))?.parse()?)
            };
            figures.push(Figure {
                per_second: word("tps", 2)? * operations,
                p50_ms: word("latency average", 3)?,
                p99_ms: f64::NAN,
                refused: 0,
            });
        }
        let per_second = Figure::median(figures).per_second;
        rows.push(Row::new(name, Some(Backend::Postgres), "per s", per_second));
    }
    database.execute("DROP TABLE ledger, account, inbox").await?;
    Ok(rows)
}

/// The shared program, which commits to a file of its own. It measures everything it can, so that
/// its time is cut into more pieces than ours.
fn sqlite(bench: &Bench, which: Ceiling) -> Result<Vec<Row>> {
    const PIECES: f64 = 4.0;
    let Some(programs) = place("TOLLGATE_BENCH_LIMITS_PROGRAMS") else {
        return Ok(Vec::new());
    };
    let folder = match place("TOLLGATE_BENCH_FOLDER") {
        Some(parent) => tempfile::tempdir_in(parent)?,
        None => tempfile::tempdir()?,
    };
    bench.report.note("sqlite: ceilings");
    let mut run = Command::new(programs.join("sqlite"));
    run.arg(folder.path()).arg((bench.length.as_secs_f64() / PIECES).to_string());
    let text = output(&mut run)?;
    let found = |what: &str, batch: u32| -> Result<f64> {
        let start = format!("sqlite WAL FULL\t{what}\tbatch={batch}\tops/s=");
        let line = text.lines().find_map(|line| line.strip_prefix(&start));
        let line = line.with_context(|| format!("no `{start}` in:\n{text}"))?;
        Ok(line.split('\t').next().unwrap_or_default().parse()?)
    };
    let (what, name) = match which {
        Ceiling::Inbox => ("inbox", "ceiling_inbox"),
        _ => ("consume", "ceiling_consume"),
    };
    let row = |name: &str, value| Row::new(name, Some(Backend::Sqlite), "per s", value);
    Ok(vec![row(name, found(what, 1)?), row(&format!("{name}_batched"), found(what, 64)?)])
}

/// A check in memory: behind our own layers, and without any.
async fn checks(bench: &Bench, backend: Backend) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    if let Some(program) = place("TOLLGATE_BENCH_BARE_CHECK") {
        let (_running, address) = bare(Command::new(program))?;
        let fastest = bare_checks(bench, "ceiling_check", backend, &address, None).await?;
        let half = Some(fastest.per_second / 2.0);
        let slow = bare_checks(bench, "ceiling_check_half_load", backend, &address, half).await?;
        rows.push(fastest.row("ceiling_check", backend));
        let row = Row::new("ceiling_check_half_load", Some(backend), "ms p99", slow.p99_ms);
        rows.push(row.times(slow.p50_ms, slow.p99_ms));
    }
    if let Some(programs) = place("TOLLGATE_BENCH_LIMITS_PROGRAMS") {
        let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let mut command = Command::new(programs.join("http"));
        let running = Running(command.arg(&address).spawn()?);
        let target = Target { address: address.parse()?, bearer: None };
        e2e::answers::eventually("the bare server listens", async || {
            Ok(std::net::TcpStream::connect(target.address).ok().map(drop))
        })
        .await?;
        let name = "ceiling_check_without_layers";
        rows.push(bare_checks(bench, name, backend, &address, None).await?.row(name, backend));
        drop(running);
    }
    Ok(rows)
}

/// At a pace, or as fast as we can ask.
async fn bare_checks(
    bench: &Bench,
    name: &str,
    backend: Backend,
    address: &str,
    per_second: Option<f64>,
) -> Result<Figure> {
    const CUSTOMERS: usize = 1_000;
    let target = Target { address: address.parse()?, bearer: None };
    let requests = (0..CUSTOMERS).map(|number| target.get(&format!("/check/{number}/export")));
    let requests = Arc::new(requests.collect::<Vec<_>>());
    let mut figures = Vec::new();
    for repetition in 0..bench.repetitions() {
        bench.say(backend, name, repetition);
        let load = Load {
            address: target.address,
            requests: requests.clone(),
            order: Order::AtRandom,
            pace: per_second.map_or(Pace::AtOnce, Pace::PerSecond),
            bodies: Bodies::Dropped,
            connections: 32,
            length: bench.length,
        };
        figures.push(Figure::of(&load.run().await?)?);
    }
    let figure = match per_second {
        None => Figure::median(figures),
        Some(_) => Figure::median_of(figures, |figure| figure.p99_ms),
    };
    ensure!(figure.refused == 0, "{name}: {} answers were no success", figure.refused);
    Ok(figure)
}

/// A process that ends with us.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Killing a process that has ended already is the only way this fails.
        let _ended_already = self.0.kill().and_then(|()| self.0.wait());
    }
}

/// Starts a server that prints its address first.
fn bare(mut command: Command) -> Result<(Running, String)> {
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let stdout = child.stdout.take().context("stdout is piped")?;
    let running = Running(child);
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    Ok((running, line.trim().to_owned()))
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {errors}");
    Ok(String::from_utf8(output.stdout)?)
}
