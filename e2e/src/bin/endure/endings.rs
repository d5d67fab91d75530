//! The end of a load: everything comes to rest, some of it is asked for again, and then clients and
//! database are compared.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use e2e::audits::Audit;
use e2e::crowds::{Crowd, Tally, is_broken, is_odd};
use e2e::deployments::{Deployment, Server};
use e2e::loads::percentile_ms;
use e2e::reports::Report;
use e2e::rows::{Row, Target};
use tokio::task::JoinSet;

/// An event whose server was killed is taken up again after two minutes.
const PATIENCE: Duration = Duration::from_secs(1800);
const REPEATED: usize = 300;

/// Whether a server may have died under its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connections {
    MayBreak,
    MustHold,
}

/// Everybody ends what they have begun.
pub async fn leave(crowd: &Crowd, mut clients: JoinSet<Result<()>>) -> Result<()> {
    crowd.close();
    while let Some(ended) = clients.join_next().await {
        ended??;
    }
    Ok(())
}

/// What clients were told in that time.
pub fn tell_answers(
    report: &mut Report,
    what: &str,
    deployment: &Deployment,
    mut tally: Tally,
    length: Duration,
    connections: Connections,
) {
    let backend = Some(deployment.backend);
    for (name, count) in &tally.answers {
        report.say(&format!("{count:>9} x {name}"));
    }
    tally.times_us.sort_unstable();
    let (p50, p99) = (percentile_ms(&tally.times_us, 50), percentile_ms(&tally.times_us, 99));
    let per_second = tally.successes() as f64 / length.as_secs_f64();
    report.add(Row::new(&format!("{what}_answered"), backend, "per s", per_second).times(p50, p99));
    let later = tally.count(|name| !name.starts_with('2') && !is_odd(name) && !is_broken(name));
    let row = |aspect: &str, count: u64| {
        Row::new(&format!("{what}_{aspect}"), backend, "answers", count as f64)
    };
    report.add(row("told_to_come_back", later));
    report.add(row("odd", tally.count(is_odd)).held_to(Target::AtMost(0.0)));
    let broken = row("broken_connections", tally.count(is_broken));
    report.add(match connections {
        Connections::MayBreak => broken,
        Connections::MustHold => broken.held_to(Target::AtMost(0.0)),
    });
}

/// Once everything is quiet: what was promised is there once, and nothing twice.
pub async fn compare(
    report: &mut Report,
    what: &str,
    deployment: &Deployment,
    crowd: &Arc<Crowd>,
) -> Result<()> {
    report.note(&format!("{what}: waiting until every event is applied"));
    deployment.drain(PATIENCE).await?;
    report.note(&format!("{what}: asking again for some of what was done"));
    crowd.repeat(REPEATED).await?;
    deployment.drain(PATIENCE).await?;
    report.note(&format!("{what}: comparing clients and database"));
    let audit = Audit::of(crowd, &deployment.database).await?;
    for fault in audit.faults() {
        report.say(&format!("FAULT {fault}"));
    }
    for row in audit.rows(what, deployment.backend) {
        report.add(row);
    }
    Ok(())
}

/// Whether a server ended by itself, or a part of it did. What the servers logged is kept.
pub fn tell_deaths(
    report: &mut Report,
    what: &str,
    deployment: &mut Deployment,
    others: &mut [Server],
) -> Result<()> {
    let mut ended = u64::from(!deployment.server.is_running()?);
    for other in others {
        ended += u64::from(!other.is_running()?);
    }
    let panics = panics(&kept_log(report, what, deployment)?)?;
    for line in panics.iter().take(3) {
        report.say(line);
    }
    let backend = Some(deployment.backend);
    for (aspect, count) in [("servers_ended", ended), ("panics", panics.len() as u64)] {
        let row = Row::new(&format!("{what}_{aspect}"), backend, "", count as f64);
        report.add(row.held_to(Target::AtMost(0.0)));
    }
    Ok(())
}

/// The log, out of the folder that goes away, where there is a place for it.
fn kept_log(report: &Report, what: &str, deployment: &Deployment) -> Result<PathBuf> {
    let log = deployment.launch.log();
    let Some(folder) = std::env::var_os("TOLLGATE_BENCH_FOLDER") else { return Ok(log) };
    let kept = PathBuf::from(folder).join(format!("{what}-{}.log", deployment.backend.name()));
    fs::rename(&log, &kept).context("the servers have no log")?;
    report.say(&format!("the servers' log is {}", kept.display()));
    Ok(kept)
}

/// A long load makes a long log.
fn panics(log: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for line in BufReader::new(File::open(log)?).lines() {
        let line = line?;
        if line.contains("panicked") {
            found.push(line);
        }
    }
    Ok(found)
}
