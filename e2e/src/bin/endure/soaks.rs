//! Half as much again as one server can do, for a quarter of an hour, beside clients that mean no
//! good: nobody hears anything but success or "later", and the server's memory does not grow.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use e2e::crowds::{Client, Crowd, Tally, Wish};
use e2e::databases::Backend;
use e2e::deployments::Deployment;
use e2e::loads::Dues;
use e2e::reports::Report;
use e2e::rows::{Row, Target};
use tokio::task::JoinSet;

use crate::Arguments;
use crate::endings::{self, Connections};
use crate::strangers::{KINDS, Strangers};

const NAME: &str = "soak";
const MINUTES: u64 = 15;
const OVERLOAD: f64 = 1.5;
const MIX: [Wish; 3] = [Wish::Consume, Wish::Check, Wish::Event];
/// Capacity is what so many get who never stop asking: the more wait, the more is done at once.
const CLIENTS: usize = 1_000;
const WARMING: Duration = Duration::from_secs(3);
const MEASURING: Duration = Duration::from_secs(10);
/// What found no free connection for so long is not sent: its client has gone elsewhere.
const LATE: Duration = Duration::from_secs(1);
const SAMPLE: Duration = Duration::from_secs(5);
/// Files that are no connections of the load.
const OTHER_FILES: usize = 1_000;
/// The limits on growth: whichever is larger.
const GROWTH: f64 = 1.1;
const GROWTH_MB: f64 = 8.0;
const MEGABYTE: f64 = 1_000_000.0;
const NEWCOMER_PAUSE: Duration = Duration::from_secs(1);

/// What one look at the server found.
struct Sample {
    memory_mb: f64,
    successes: u64,
}

/// People who come for the first time, once a second, and ask one thing.
#[derive(Default)]
struct Newcomers {
    came: AtomicU64,
    unanswered: AtomicU64,
    slowest_ms: AtomicU64,
}

pub async fn endure(report: &mut Report, arguments: &Arguments, backend: Backend) -> Result<()> {
    report.note(&format!("{NAME}: {} customers on {}", arguments.accounts, backend.name()));
    let length = Duration::from_secs(60 * arguments.minutes.unwrap_or(MINUTES));
    let mut deployment = Deployment::start(backend, NAME).await?;
    let address = deployment.server.address;
    let crowd = Crowd::gather(&deployment, vec![address], arguments.accounts, 0).await?;
    let connections = connections(arguments.connections)?;
    let capacity = capacity(report, &crowd, CLIENTS.min(connections)).await?;
    report.add(Row::new("soak_capacity", Some(backend), "per s", capacity));
    report.add(Row::new("soak_connections", Some(backend), "", connections as f64));

    let strangers = Strangers::enter(address);
    let newcomers = Arc::new(Newcomers::default());
    let door = tokio::spawn(newcomers.clone().come(crowd.clone()));
    let started = Instant::now();
    let dues = Arc::new(Dues::default());
    let unsent = Arc::new(AtomicU64::new(0));
    let clients = flood(&crowd, &dues, &unsent, connections);
    let pacer = dues.pace(capacity * OVERLOAD, length);
    let samples = watch(report, &deployment, &crowd, length).await?;
    endings::leave(&crowd, clients).await?;
    door.abort();
    pacer.join().ok().context("the pacer panicked")?;
    let (tally, elapsed) = (crowd.take_tally(), started.elapsed());
    let shown_out = strangers.shown_out();
    drop(strangers);

    tell_load(report, backend, &tally, unsent.load(Ordering::Relaxed), elapsed);
    let hold = Connections::MustHold;
    endings::tell_answers(report, NAME, &deployment, tally, elapsed, hold);
    tell_samples(report, backend, &samples);
    newcomers.tell(report, backend);
    for (kind, count) in KINDS.iter().zip(shown_out) {
        let row = Row::new(&format!("soak_{kind}_shown_out"), Some(backend), "", count as f64);
        report.add(row.held_to(Target::AtLeast(1.0)));
    }
    endings::compare(report, NAME, &deployment, &crowd).await?;
    endings::tell_deaths(report, NAME, &mut deployment, &mut [])
}

/// How many wishes in a second succeed when nobody wishes anew before the last one is answered.
async fn capacity(report: &Report, crowd: &Arc<Crowd>, count: usize) -> Result<f64> {
    let end = Instant::now() + WARMING + MEASURING;
    let mut clients = JoinSet::new();
    for number in 0..count {
        let mut client = Client::new(crowd.clone(), number);
        clients.spawn(async move {
            let mut round = number;
            while Instant::now() < end {
                client.try_once(MIX[round % MIX.len()]).await?;
                round += 1;
            }
            anyhow::Ok(())
        });
    }
    report.pass("soak: warming", WARMING).await;
    crowd.take_tally();
    let begun = Instant::now();
    report.pass("soak: measuring what it can do", MEASURING).await;
    let per_second = crowd.take_tally().successes() as f64 / begun.elapsed().as_secs_f64();
    while let Some(ended) = clients.join_next().await {
        ended??;
    }
    crowd.take_tally();
    Ok(per_second)
}

/// As many as wished for, and as this process may open files.
fn connections(wished: usize) -> Result<usize> {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let files = line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok());
    let most = files.map_or(wished, |files| files.saturating_sub(OTHER_FILES));
    anyhow::ensure!(0 < most, "the limit on open files is too low: ulimit -n {OTHER_FILES}");
    Ok(wished.min(most))
}

/// Every wish that is due is sent on the next free connection, whether answers come or not.
fn flood(
    crowd: &Arc<Crowd>,
    dues: &Arc<Dues>,
    unsent: &Arc<AtomicU64>,
    connections: usize,
) -> JoinSet<Result<()>> {
    let round = Arc::new(AtomicUsize::new(0));
    let mut clients = JoinSet::new();
    for number in 0..connections {
        let mut client = Client::new(crowd.clone(), number);
        let (dues, unsent, round) = (dues.clone(), unsent.clone(), round.clone());
        clients.spawn(async move {
            while let Some(due) = dues.next().await {
                if LATE < due.elapsed() {
                    unsent.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
                let wish = MIX[round.fetch_add(1, Ordering::Relaxed) % MIX.len()];
                client.try_once(wish).await?;
            }
            Ok(())
        });
    }
    clients
}

/// Looks at the server now and then.
async fn watch(
    report: &Report,
    deployment: &Deployment,
    crowd: &Crowd,
    length: Duration,
) -> Result<Vec<Sample>> {
    report.note("soak: overload");
    let started = Instant::now();
    let (mut samples, mut before) = (Vec::new(), 0);
    while started.elapsed() + SAMPLE <= length {
        tokio::time::sleep(SAMPLE).await;
        let successes = crowd.successes();
        let memory_mb = deployment.server.memory_bytes()? as f64 / MEGABYTE;
        samples.push(Sample { memory_mb, successes: successes - before });
        before = successes;
        let (now, all) = (started.elapsed().as_secs(), length.as_secs());
        report.progress(&format!("soak: {now} of {all} s, {memory_mb:.0} MB"));
    }
    Ok(samples)
}

fn tell_load(report: &mut Report, backend: Backend, tally: &Tally, unsent: u64, length: Duration) {
    let sent = tally.count(|_| true) as f64;
    let per_second = sent / length.as_secs_f64();
    report.add(Row::new("soak_sent", Some(backend), "per s", per_second));
    let unsent = unsent as f64 / length.as_secs_f64();
    report.add(Row::new("soak_found_no_connection", Some(backend), "per s", unsent));
}

fn tell_samples(report: &mut Report, backend: Backend, samples: &[Sample]) {
    let third = samples.len() / 3;
    let second = median(&samples[third..2 * third]);
    let last = median(&samples[2 * third..]);
    let limit = (second * GROWTH).max(second + GROWTH_MB).round();
    let highest = samples.iter().map(|sample| sample.memory_mb).fold(0.0, f64::max);
    report.add(Row::new("soak_memory_highest", Some(backend), "MB", highest));
    report.add(Row::new("soak_memory_second_third", Some(backend), "MB", second));
    let row = Row::new("soak_memory_last_third", Some(backend), "MB", last);
    report.add(row.held_to(Target::AtMost(limit)));
    let silent = samples.iter().filter(|sample| sample.successes == 0).count();
    let row = Row::new("soak_silent_samples", Some(backend), "", silent as f64);
    report.add(row.held_to(Target::AtMost(0.0)));
}

/// Of what the server held in memory.
fn median(samples: &[Sample]) -> f64 {
    let mut sizes: Vec<f64> = samples.iter().map(|sample| sample.memory_mb).collect();
    sizes.sort_by(f64::total_cmp);
    sizes.get(sizes.len() / 2).copied().unwrap_or(f64::NAN)
}

impl Newcomers {
    async fn come(self: Arc<Self>, crowd: Arc<Crowd>) {
        loop {
            tokio::time::sleep(NEWCOMER_PAUSE).await;
            let begun = Instant::now();
            let mut newcomer = Client::new(crowd.clone(), 0);
            let is_answered = newcomer.try_once(Wish::Check).await.unwrap_or(false);
            let took_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.slowest_ms.fetch_max(took_ms, Ordering::Relaxed);
            self.came.fetch_add(1, Ordering::Relaxed);
            self.unanswered.fetch_add(u64::from(!is_answered), Ordering::Relaxed);
        }
    }

    fn tell(&self, report: &mut Report, backend: Backend) {
        let row = |aspect: &str, unit, count: &AtomicU64| {
            let count = count.load(Ordering::Relaxed) as f64;
            Row::new(&format!("soak_newcomers{aspect}"), Some(backend), unit, count)
        };
        report.add(row("", "", &self.came));
        report.add(row("_slowest", "ms", &self.slowest_ms));
        report.add(row("_refused", "", &self.unanswered).held_to(Target::AtMost(0.0)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_judged_by_the_sample_in_the_middle() {
        let sample = |memory_mb| Sample { memory_mb, successes: 1 };
        assert_eq!(median(&[sample(9.0), sample(1.0), sample(5.0)]), 5.0);
        assert!(median(&[]).is_nan());
    }
}
