//! What the server costs while it does nothing: its size, its memory, and how long it starts.

use std::time::Duration;

use anyhow::{Context, Result};
use e2e::deployments::Deployment;
use e2e::rows::{Row, Target};

use crate::bench::Bench;

const STARTS: usize = 5;
/// Long enough for every loop to have run once.
const IDLE: Duration = Duration::from_secs(3);
const MEGABYTE: f64 = 1_000_000.0;

pub fn binary(bench: &mut Bench) -> Result<()> {
    let path = std::env::var_os("TOLLGATE_BIN").context("TOLLGATE_BIN is not set")?;
    let bytes = std::fs::metadata(path)?.len() as f64;
    let row = Row::new("footprint_binary", None, "MB", bytes / MEGABYTE);
    bench.report.add(row.held_to(Target::Below(40.0)));
    Ok(())
}

/// On a database that is migrated already and holds what earlier rows left.
pub async fn process(bench: &mut Bench, deployment: &mut Deployment) -> Result<()> {
    bench.report.note(&format!("{}: footprint", deployment.backend.name()));
    let backend = Some(deployment.backend);
    let mut ready_ms = Vec::new();
    for _ in 0..STARTS {
        deployment.restart()?;
        ready_ms.push(deployment.server.ready_in.as_secs_f64() * 1000.0);
    }
    ready_ms.sort_by(f64::total_cmp);
    let row = Row::new("footprint_ready", backend, "ms", ready_ms[STARTS / 2]);
    bench.report.add(row.held_to(Target::Below(300.0)));
    tokio::time::sleep(IDLE).await;
    let bytes = deployment.server.memory_bytes()? as f64;
    let row = Row::new("footprint_rss", backend, "MB", bytes / MEGABYTE);
    bench.report.add(row.held_to(Target::Below(50.0)));
    Ok(())
}
