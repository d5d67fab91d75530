//! Two servers on one database, one of which dies every ten seconds.

use std::time::{Duration, Instant};

use anyhow::Result;
use e2e::crowds::Crowd;
use e2e::databases::Backend;
use e2e::deployments::Deployment;
use e2e::reports::Report;
use e2e::rows::Row;

use crate::Arguments;
use crate::endings::{self, Connections};

const NAME: &str = "replicas";
const MINUTES: u64 = 5;
const BETWEEN: Duration = Duration::from_secs(10);
const CLIENTS: usize = 32;
/// About as many as two buyers make.
const PURCHASES_PER_MINUTE: u64 = 500;

pub async fn endure(report: &mut Report, arguments: &Arguments, backend: Backend) -> Result<()> {
    report.note(&format!("{NAME}: {} customers on {}", arguments.accounts, backend.name()));
    let minutes = arguments.minutes.unwrap_or(MINUTES);
    let purchases = usize::try_from(minutes * PURCHASES_PER_MINUTE)?;
    let mut deployment = Deployment::start(backend, NAME).await?;
    let launch = deployment.launch.clone();
    let mut other = launch.start()?;
    let addresses = vec![deployment.server.address, other.address];
    let crowd = Crowd::gather(&deployment, addresses, arguments.accounts, purchases).await?;
    let started = Instant::now();
    let clients = crowd.enter(CLIENTS);
    let kills = minutes * 60 / BETWEEN.as_secs();
    let mut slowest = Duration::ZERO;
    for kill in 0..kills {
        report.pass(&format!("{NAME}: kill {} of {kills}", kill + 1), BETWEEN).await;
        let dies = if kill % 2 == 0 { &mut deployment.server } else { &mut other };
        tokio::task::block_in_place(|| launch.replace(dies))?;
        slowest = slowest.max(dies.ready_in);
    }
    report.pass("replicas: full load", BETWEEN).await;
    endings::leave(&crowd, clients).await?;
    let (tally, length) = (crowd.take_tally(), started.elapsed());
    let may_break = Connections::MayBreak;
    endings::tell_answers(report, NAME, &deployment, tally, length, may_break);
    report.add(Row::new("replicas_kills", Some(backend), "", kills as f64));
    report.add(Row::new("replicas_back_in", Some(backend), "s", slowest.as_secs_f64()));
    endings::compare(report, NAME, &deployment, &crowd).await?;
    endings::tell_deaths(report, NAME, &mut deployment, &mut [other])
}
