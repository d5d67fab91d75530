//! The load generator behind `cargo xtask bench`: rates of the server beside ceilings of the
//! machine, measured in the same run, because only their ratio means anything elsewhere.

mod sandbox;

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};
use e2e::answers::{Answer, text_at};
use e2e::purchases::{Buyer, offer};
use e2e::servers::{Data, Dev};
use e2e::webhooks::{deliver, set_deliveries};
use futures::future::try_join_all;
use serde_json::{Value, json};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection};

const CUSTOMERS: usize = 64;
const CREDITS: i64 = 1_000_000_000;

#[derive(Parser)]
struct Arguments {
    /// Write the results as JSON to this file as well.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// How long each measurement runs.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// How many requests are under way at any moment.
    #[arg(long, default_value_t = 32)]
    connections: usize,
    /// Measure only this part.
    #[arg(long, value_enum)]
    only: Option<Part>,
    /// How many customers of the sandbox renew for a year.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    customers: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    Server,
    Sandbox,
}

/// One measured rate.
struct Rate {
    name: &'static str,
    per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    /// The ceiling this rate is divided by.
    ceiling: Option<&'static str>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let wants = |part| arguments.only.is_none_or(|only| only == part);
    let mut results = json!({ "backend": "sqlite", "seconds": arguments.seconds });
    if wants(Part::Server) {
        let rates = measure_server(&arguments).await?;
        results["connections"] = json!(arguments.connections);
        results["rates"] = report(&rates)?;
    }
    if wants(Part::Sandbox) {
        let length = Duration::from_secs(arguments.seconds);
        results["sandbox"] = sandbox::measure(arguments.customers, length).await?;
    }
    if let Some(file) = &arguments.json {
        std::fs::write(file, serde_json::to_string_pretty(&results)? + "\n")?;
    }
    Ok(())
}

async fn measure_server(arguments: &Arguments) -> Result<Vec<Rate>> {
    let data = Data::new()?;
    let dev = data.start()?;
    eprintln!("start to ready: {:?}", dev.started_in);
    set_deliveries(&dev, false).await?;
    let buyers = funded_buyers(&dev, &data).await?;
    let template = checkout_event(&dev, &buyers[0]).await?;

    let load =
        Load { length: Duration::from_secs(arguments.seconds), connections: arguments.connections };
    let nobody = dev.nobody()?;
    let one = json!({ "amount": 1 });
    let mut rates = vec![commit_ceiling(load.length).await?];
    rates.push(load.measure("http", None, async |_| nobody.get("/health").await).await?);
    let check = "/v1/check?feature=api_access";
    rates.push(
        load.measure("check", Some("http"), async |n| buyers[n % CUSTOMERS].api.get(check).await)
            .await?,
    );
    let consume = "/v1/credits/consume";
    rates.push(
        load.measure("consume, many customers", Some("commit"), async |n| {
            buyers[n % CUSTOMERS].api.post(consume, &one).await
        })
        .await?,
    );
    rates.push(
        load.measure("consume, one customer", Some("commit"), async |_| {
            buyers[0].api.post(consume, &one).await
        })
        .await?,
    );
    rates.push(
        load.measure("webhook", Some("commit"), async |n| {
            let mut event = template.clone();
            event["id"] = json!(format!("evt_bench_{n}"));
            event["data"]["object"]["id"] = json!(format!("cs_bench_{n}"));
            deliver(&dev, &event).await
        })
        .await?,
    );
    Ok(rates)
}

/// Customers with more credits than can be spent.
async fn funded_buyers(dev: &Dev, data: &Data) -> Result<Vec<Buyer>> {
    let admin = dev.admin()?;
    let mut buyers = Vec::with_capacity(CUSTOMERS);
    for _ in 0..CUSTOMERS {
        let buyer = Buyer::new(dev, data).await?;
        let gift = json!({ "customer": buyer.id, "amount": CREDITS, "reason": "a benchmark" });
        admin.post("/v1/credits/grants", &gift).await?.expect(201)?;
        buyers.push(buyer);
    }
    Ok(buyers)
}

/// A genuine event, to be delivered again and again under other names.
async fn checkout_event(dev: &Dev, buyer: &Buyer) -> Result<Value> {
    let pack = offer(&buyer.api, "100 Credits", None).await?;
    let session = buyer.checkout(&pack).await?;
    e2e::purchases::pay(dev, &session, e2e::purchases::VISA).await?.expect(200)?;
    let events = dev.sandbox()?.get("/v1/events?limit=100").await?.expect(200)?;
    let events = events["data"].as_array().context("no events")?;
    let found = events.iter().find(|event| text_at(event, "/data/object/id") == session);
    found.cloned().context("no event about the session")
}

#[derive(Clone, Copy)]
struct Load {
    length: Duration,
    connections: usize,
}

impl Load {
    /// Keeps that many requests under way for that long, each from its own numbers.
    async fn measure(
        self,
        name: &'static str,
        ceiling: Option<&'static str>,
        request: impl AsyncFn(usize) -> Result<Answer>,
    ) -> Result<Rate> {
        eprintln!("measuring {name}");
        let started = Instant::now();
        let worker = async |number: usize| -> Result<Vec<Duration>> {
            let mut times = Vec::new();
            let mut n = number;
            while started.elapsed() < self.length {
                let begun = Instant::now();
                let answer = request(n).await?;
                times.push(begun.elapsed());
                ensure!(answer.status < 300, "{name}: {}: {}", answer.status, answer.text);
                n += self.connections;
            }
            Ok(times)
        };
        let times = try_join_all((0..self.connections).map(worker)).await?;
        rate(name, ceiling, times.into_iter().flatten().collect(), started.elapsed())
    }
}

/// How often this disk and SQLite can commit one small row, one after the other.
async fn commit_ceiling(length: Duration) -> Result<Rate> {
    eprintln!("measuring commit");
    let folder = tempfile::tempdir()?;
    let mut connection = SqliteConnectOptions::new()
        .filename(folder.path().join("ceiling.db"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .connect()
        .await?;
    sqlx::query("CREATE TABLE entries (id INTEGER PRIMARY KEY, amount BIGINT NOT NULL)")
        .execute(&mut connection)
        .await?;
    let started = Instant::now();
    let mut times = Vec::new();
    while started.elapsed() < length {
        let begun = Instant::now();
        sqlx::query("INSERT INTO entries (amount) VALUES (1)").execute(&mut connection).await?;
        times.push(begun.elapsed());
    }
    let elapsed = started.elapsed();
    connection.close().await?;
    rate("commit", None, times, elapsed)
}

fn rate(
    name: &'static str,
    ceiling: Option<&'static str>,
    mut times: Vec<Duration>,
    elapsed: Duration,
) -> Result<Rate> {
    ensure!(!times.is_empty(), "{name}: nothing was answered in {elapsed:?}");
    times.sort_unstable();
    let at = |share: usize| times[(times.len() - 1) * share / 100].as_secs_f64() * 1000.0;
    let per_second = times.len() as f64 / elapsed.as_secs_f64();
    Ok(Rate { name, per_second, p50_ms: at(50), p99_ms: at(99), ceiling })
}

fn report(rates: &[Rate]) -> Result<Value> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{:<26}{:>10}{:>10}{:>10}  of its ceiling", "", "per s", "p50 ms", "p99 ms")?;
    let mut rows = Vec::new();
    for rate in rates {
        let ceiling = rate.ceiling.and_then(|name| rates.iter().find(|other| other.name == name));
        let ratio = ceiling.map(|ceiling| rate.per_second / ceiling.per_second);
        let shown = match (ceiling, ratio) {
            (Some(ceiling), Some(ratio)) => format!("{ratio:.2} of {}", ceiling.name),
            _ => "is one".to_string(),
        };
        let Rate { name, per_second, p50_ms, p99_ms, .. } = rate;
        writeln!(out, "{name:<26}{per_second:>10.0}{p50_ms:>10.2}{p99_ms:>10.2}  {shown}")?;
        rows.push(json!({
            "name": name,
            "per_second": per_second,
            "p50_ms": p50_ms,
            "p99_ms": p99_ms,
            "ceiling": ceiling.map(|ceiling| ceiling.name),
            "ratio": ratio,
        }));
    }
    Ok(Value::Array(rows))
}
