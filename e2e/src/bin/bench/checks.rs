//! "May this customer do that?", as fast as we can ask, and at half that pace.

use std::sync::Arc;

use anyhow::{Result, ensure};
use e2e::deployments::{Deployment, FEATURE, JWT_SECRET, accounts};
use e2e::loads::{Load, Pace};
use e2e::purchases::token;
use e2e::requests::Request;
use e2e::rows::{Row, Target};
use e2e::webhooks::unix_seconds;
use serde_json::json;

use crate::bench::{Bench, Figure};
use crate::ceilings::Ceiling;
use crate::webhooks;

/// So many customers have bought the feature.
const ENTITLED: usize = 1_000;
const TOKEN_SECONDS: i64 = 86_400;

pub async fn measure(bench: &mut Bench, deployment: &Deployment) -> Result<()> {
    let names = accounts(ENTITLED.min(bench.accounts));
    webhooks::entitle(deployment, &names).await?;
    let ceiling = bench.ceiling(Ceiling::Check, deployment.backend).await?;
    let by_key = Arc::new(requests(deployment, &names));
    let answer = deployment.ask_all(requests(deployment, &names[..1])).await?;
    ensure!(answer[0].contains("\"allowed\":true"), "nobody may do anything: {}", answer[0]);
    let target = Target::OfCeiling(0.8);
    let fastest = rate(bench, deployment, "check", &by_key, ceiling, target).await?;
    if bench.wants("check_half_load") {
        half_load(bench, deployment, &by_key, fastest / 2.0).await?;
    }
    if bench.wants("check_token") {
        let by_token = names.iter().map(|name| by_token(deployment, name));
        let by_token = Arc::new(by_token.collect::<Result<_>>()?);
        rate(bench, deployment, "check_token", &by_token, ceiling, Target::None).await?;
    }
    if bench.wants("check_balance") {
        let path = |name: &String| format!("/v1/credits/balance?customer={name}");
        let balances = names.iter().map(|name| deployment.merchant.get(&path(name)));
        let balances = Arc::new(balances.collect());
        rate(bench, deployment, "check_balance", &balances, ceiling, Target::None).await?;
    }
    Ok(())
}

/// With the merchant's key.
pub fn requests(deployment: &Deployment, names: &[String]) -> Vec<Request> {
    let path = |name: &String| format!("/v1/check?feature={FEATURE}&customer={name}");
    names.iter().map(|name| deployment.merchant.get(&path(name))).collect()
}

/// With the customer's own token.
fn by_token(deployment: &Deployment, name: &str) -> Result<Request> {
    let claims = json!({ "sub": name, "exp": unix_seconds()? + TOKEN_SECONDS });
    let own = deployment.merchant.with_bearer(Some(&token(JWT_SECRET, &claims)?));
    Ok(own.get(&format!("/v1/check?feature={FEATURE}")))
}

async fn rate(
    bench: &mut Bench,
    deployment: &Deployment,
    name: &str,
    requests: &Arc<Vec<Request>>,
    ceiling: Option<f64>,
    target: Target,
) -> Result<f64> {
    let mut figures = Vec::new();
    for repetition in 0..bench.repetitions() {
        bench.say(deployment.backend, name, repetition);
        figures.push(Figure::of(&deployment.load(requests, bench.length).run().await?)?);
    }
    let figure = Figure::median(figures);
    let per_second = figure.per_second;
    bench.report.add(figure.row(name, deployment.backend).under(ceiling).held_to(target));
    Ok(per_second)
}

/// Requests leave at a fixed pace, and one that had to wait for a connection has waited.
async fn half_load(
    bench: &mut Bench,
    deployment: &Deployment,
    requests: &Arc<Vec<Request>>,
    per_second: f64,
) -> Result<()> {
    let name = "check_half_load";
    let mut figures = Vec::new();
    for repetition in 0..bench.repetitions() {
        bench.say(deployment.backend, name, repetition);
        let load = deployment.load(requests, bench.length);
        let load = Load { pace: Pace::PerSecond(per_second), ..load };
        figures.push(Figure::of(&load.run().await?)?);
    }
    let figure = Figure::median_of(figures, |figure| figure.p99_ms);
    let row = Row::new(name, Some(deployment.backend), "ms p99", figure.p99_ms);
    let row = Row { refused: figure.refused, ..row.times(figure.p50_ms, figure.p99_ms) };
    bench.report.add(row.held_to(Target::Below(2.0)));
    Ok(())
}
