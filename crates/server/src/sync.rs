//! `tollgate sync`: compare with the provider now, with a bar on the terminal and a report after.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use anyhow::{Context, bail};
use engine::sync_runs::{Report, Resource, SyncRequest};
use engine::{Clock, Engine, Settings};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;
use store::Store;
use store::sync_runs::SyncState;

use crate::api::sync_runs::SyncRunView;
use crate::cli::{Place, SyncArgs};
use crate::config::{self, PLANS};
use crate::{dev, reports, serve, simulator};

const TICK: Duration = Duration::from_millis(120);
const MICROS_PER_SECOND: i64 = 1_000_000;

/// Compares, reports, and fails where something could not be compared.
pub async fn run(args: SyncArgs) -> anyhow::Result<()> {
    serve::log_to_stderr(&serve::log_filter("error"));
    let engine = open(&args.place).await?;
    let now = engine.clock().now();
    let request = SyncRequest {
        customer: args.customer,
        dry_run: args.dry_run,
        ..SyncRequest::read(&args.resource, args.since.as_deref(), now)?
    };
    let bar = bar(&request)?;
    let run = engine.sync(request, &|report| show(&bar, report)).await;
    bar.finish_and_clear();
    engine.store().close().await;
    let run = run.context("the comparison did not take place")?;
    let state = run.state;
    let text = match args.json {
        true => format!("{:#}\n", serde_json::json!(SyncRunView::from(run))),
        false => reports::text(&run),
    };
    write!(std::io::stdout(), "{text}").context("cannot write to stdout")?;
    match state {
        SyncState::Completed => Ok(()),
        _ => bail!("not everything could be compared ({})", state.as_str()),
    }
}

/// An engine with the provider, on the settings or on a demo that runs.
async fn open(place: &Place) -> anyhow::Result<Engine> {
    let Some(data) = &place.data else {
        let file = place.settings.config.as_deref();
        let config = config::load(file, config::environment)?;
        let store = Store::open(config.database()).await.context("cannot open the database")?;
        serve::check_schema(&store).await?;
        return serve::engine(&config, store).await;
    };
    let dir = std::fs::canonicalize(data)
        .with_context(|| format!("there is no directory {}", data.display()))?;
    let (Some(running), Some(secrets)) = (simulator::running(&dir)?, dev::read_secrets(&dir)?)
    else {
        bail!("no tollgate dev runs on {}", data.display());
    };
    let sandbox = &running.sandbox_url;
    let clock = dev::local_client()?.get(format!("{sandbox}/_sandbox/clock")).send().await;
    let clock: Value = clock.context("the demo's provider does not answer")?.json().await?;
    let offset = clock["offset_seconds"].as_i64().unwrap_or(0).saturating_mul(MICROS_PER_SECOND);
    let settings: Settings = serve::settings(url::Url::parse("http://127.0.0.1")?, PLANS);
    let client = serve::client(secrets.provider_key.into(), sandbox)?;
    let clock = Clock::adjustable(Arc::new(AtomicI64::new(offset)));
    let store = dev::open_store(&dir).await?;
    serve::check_schema(&store).await?;
    Ok(Engine::new(store, Some(client), clock, settings))
}

/// Drawn on a terminal only; programs see the report alone.
fn bar(request: &SyncRequest) -> anyhow::Result<ProgressBar> {
    let steps = match request.resources.len() {
        0 => Resource::USUAL.len(),
        named => named,
    };
    let bar = ProgressBar::new(steps as u64);
    let style = ProgressStyle::with_template("{spinner} [{bar:24}] {msg}  {elapsed}")?;
    bar.set_style(style.progress_chars("=> "));
    bar.enable_steady_tick(TICK);
    Ok(bar)
}

fn show(bar: &ProgressBar, report: &Report) {
    let Some((resource, counts)) = report.resources.last_key_value() else {
        return;
    };
    bar.set_position(report.resources.len().saturating_sub(1) as u64);
    let total = report.total();
    bar.set_message(format!(
        "{}: {} seen; in all {} repaired, {} failed",
        resource.as_str(),
        counts.seen,
        total.repaired,
        total.failed
    ));
}
