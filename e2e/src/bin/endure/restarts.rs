//! The database goes away under full load and comes back, five times.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use e2e::crowds::Crowd;
use e2e::databases::Backend;
use e2e::deployments::Deployment;
use e2e::reports::Report;
use e2e::rows::{Row, Target};

use crate::Arguments;
use crate::controls::{self, Ending};
use crate::endings::{self, Connections};

const NAME: &str = "restarts";
const RESTARTS: usize = 5;
const CLIENTS: usize = 32;
const PURCHASES: usize = 400;
/// Full load before the first restart and after each.
const BETWEEN: Duration = Duration::from_secs(6);
/// Somebody has to be answered again by then.
const RECOVERY: Duration = Duration::from_secs(120);
const RECOVERY_LIMIT_SECONDS: f64 = 30.0;
const LOOK_STEP: Duration = Duration::from_millis(10);

pub async fn endure(report: &mut Report, arguments: &Arguments, backend: Backend) -> Result<()> {
    ensure!(backend != Backend::Sqlite, "SQLite has no server that could go away");
    report.note(&format!("{NAME}: {} customers on {}", arguments.accounts, backend.name()));
    let mut deployment = Deployment::start(backend, NAME).await?;
    let address = vec![deployment.server.address];
    let crowd = Crowd::gather(&deployment, address, arguments.accounts, PURCHASES).await?;
    let started = Instant::now();
    let clients = crowd.enter(CLIENTS);
    report.pass("restarts: full load", BETWEEN).await;
    let mut slowest = Duration::ZERO;
    for number in 0..RESTARTS {
        let ending = if number % 2 == 0 { Ending::Asked } else { Ending::Killed };
        report.note(&format!("{NAME}: {} of {RESTARTS}, {ending:?}", number + 1));
        let begun = Instant::now();
        controls::restart(backend, ending).await?;
        let (away, back) = (begun.elapsed(), Instant::now());
        let before = crowd.successes();
        while crowd.successes() == before {
            ensure!(back.elapsed() < RECOVERY, "nobody is answered {RECOVERY:?} later");
            tokio::time::sleep(LOOK_STEP).await;
        }
        slowest = slowest.max(back.elapsed());
        report.say(&format!("{ending:?}: away {away:.1?}, answered {:.1?} later", back.elapsed()));
        report.pass("restarts: full load", BETWEEN).await;
    }
    endings::leave(&crowd, clients).await?;
    let (tally, length) = (crowd.take_tally(), started.elapsed());
    let hold = Connections::MustHold;
    endings::tell_answers(report, NAME, &deployment, tally, length, hold);
    let row = Row::new("restarts_recovery", Some(backend), "s", slowest.as_secs_f64());
    report.add(row.held_to(Target::AtMost(RECOVERY_LIMIT_SECONDS)));
    endings::compare(report, NAME, &deployment, &crowd).await?;
    endings::tell_deaths(report, NAME, &mut deployment, &mut [])
}
