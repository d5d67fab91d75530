//! Spending: over many accounts and from one, with proof that what was answered was debited.

use std::sync::Arc;

use anyhow::{Result, ensure};
use e2e::databases::{Backend, Database};
use e2e::deployments::{Deployment, accounts};
use e2e::loads::Outcome;
use e2e::requests::{NUMBER, Request};
use e2e::rows::Target;
use serde_json::json;

use crate::bench::{Bench, Figure};
use crate::ceilings::Ceiling;

/// How many credits all customers have.
const AVAILABLE: &str = "SELECT CAST(COALESCE(SUM(available), 0) AS BIGINT) FROM credit_balances";

pub async fn spread(bench: &mut Bench, deployment: &Deployment, name: &str) -> Result<()> {
    let accounts = accounts(bench.accounts);
    let target = match deployment.backend {
        Backend::Postgres => Target::OfCeiling(1.0),
        Backend::Mysql => Target::OfCeiling(0.7),
        Backend::Sqlite => Target::AtLeast(15_000.0),
    };
    measure(bench, deployment, name, &accounts, Ceiling::Spread, target).await
}

pub async fn hot(bench: &mut Bench, deployment: &Deployment, name: &str) -> Result<()> {
    let target = match deployment.backend {
        Backend::Postgres => Target::OfCeiling(10.0),
        Backend::Mysql => Target::OfCeiling(0.7),
        Backend::Sqlite => Target::AtLeast(15_000.0),
    };
    measure(bench, deployment, name, &accounts(1), Ceiling::Hot, target).await
}

async fn measure(
    bench: &mut Bench,
    deployment: &Deployment,
    name: &str,
    accounts: &[String],
    ceiling: Ceiling,
    target: Target,
) -> Result<()> {
    let ceiling = bench.ceiling(ceiling, deployment.backend).await?;
    let requests = Arc::new(requests(deployment, accounts));
    let mut figures = Vec::new();
    for repetition in 0..bench.repetitions() {
        bench.say(deployment.backend, name, repetition);
        let before = deployment.database.number(AVAILABLE).await?;
        let outcome = deployment.load(&requests, bench.length).run().await?;
        check_debited(&deployment.database, before, &outcome).await?;
        figures.push(Figure::of(&outcome)?);
    }
    let row = Figure::median(figures).row(name, deployment.backend);
    bench.report.add(row.under(ceiling).held_to(target));
    Ok(())
}

/// One credit from one of these accounts, each time under a key of its own.
pub fn requests(deployment: &Deployment, accounts: &[String]) -> Vec<Request> {
    let key = format!("bench-{NUMBER}");
    let headers = [("content-type", "application/json"), ("idempotency-key", key.as_str())];
    let made = accounts.iter().map(|name| {
        let body = json!({ "customer": name, "amount": 1 }).to_string();
        deployment.merchant.post("/v1/credits/consume", &headers, body.as_bytes())
    });
    made.collect()
}

/// One credit for each success, and none for a refusal; a connection that broke may mean either.
async fn check_debited(database: &Database, before: i64, outcome: &Outcome) -> Result<()> {
    let debited = u64::try_from(before - database.number(AVAILABLE).await?)?;
    let (answered, refused) = (outcome.answered(), outcome.refused());
    ensure!(
        (answered..=answered + refused).contains(&debited),
        "{answered} consumes were answered and {refused} were not, but {debited} were debited"
    );
    Ok(())
}
