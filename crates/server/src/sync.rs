//! `tollgate sync`: compare with the provider now, with a bar on the terminal and a report after.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use anyhow::{Context, bail};
use domain::time::Timestamp;
use engine::sync_runs::{Counts, Report, Resource, SyncRequest};
use engine::{Clock, Engine, Settings};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;
use store::sync_runs::{SyncRun, SyncState};

use crate::api::sync_runs::{SyncRunView, resources};
use crate::cli::{Place, SyncArgs};
use crate::config::{self, PLANS};
use crate::{dev, serve, simulator};

const TICK: Duration = Duration::from_millis(120);
const MICROS_PER_SECOND: i64 = 1_000_000;

/// Reads an instant, a date, or a span back from `now`.
pub fn since(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    if let Ok(span) = crate::cli::parse_span(text) {
        return Ok(now.plus_seconds(-i64::try_from(span.as_secs()).unwrap_or(i64::MAX)));
    }
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return Ok(Timestamp::from_micros(at.as_microsecond()));
    }
    let date = text.parse::<jiff::civil::Date>().ok();
    match date.and_then(|date| date.to_zoned(jiff::tz::TimeZone::UTC).ok()) {
        Some(start) => Ok(Timestamp::from_micros(start.timestamp().as_microsecond())),
        None => Err("must be a span such as 30d, a date, or an instant in RFC 3339".to_owned()),
    }
}

/// Compares, reports, and fails where something could not be compared.
pub async fn run(args: SyncArgs) -> anyhow::Result<()> {
    serve::log_to_stderr(&serve::log_filter("error"));
    let engine = open(&args.place).await?;
    let mut request = SyncRequest {
        resources: resources(&args.resource).map_err(anyhow::Error::msg)?,
        customer: args.customer,
        dry_run: args.dry_run,
        ..SyncRequest::default()
    };
    if let Some(text) = &args.since {
        let at =
            since(text, engine.clock().now()).map_err(|why| anyhow::anyhow!("--since {why}"))?;
        request = request.since(at);
    }
    let bar = bar(&request)?;
    let run = engine.sync(request, &|report| show(&bar, report)).await;
    bar.finish_and_clear();
    engine.store().close().await;
    let run = run.context("the comparison did not take place")?;
    let state = run.state;
    let text = match args.json {
        true => format!("{:#}\n", serde_json::json!(SyncRunView::from(run))),
        false => text(&run),
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
        return serve::open(&config::load(file, config::environment)?).await;
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
    Ok(Engine::new(dev::open_store(&dir).await?, Some(client), clock, settings))
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

/// What a person wants to know, most important last.
fn text(run: &SyncRun) -> String {
    let report = Report::parse(&run.report);
    let mut lines = vec![format!(
        "{:<18}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}",
        "",
        "seen",
        "equal",
        "created",
        if run.dry_run { "differ" } else { "repaired" },
        "failed",
        "foreign"
    )];
    let row = |name: &str, it: &Counts| {
        format!(
            "{name:<18}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}",
            it.seen, it.equal, it.created, it.repaired, it.failed, it.foreign
        )
    };
    for (resource, counts) in &report.resources {
        lines.push(row(resource.as_str(), counts));
    }
    if !report.differences.is_empty() {
        lines.push(String::new());
        lines.push("Differences (ours -> the provider's):".to_owned());
    }
    let mut object = "";
    for it in &report.differences {
        if it.object != object {
            object = &it.object;
            lines.push(format!("  {} {object}", it.resource.as_str()));
        }
        let (ours, theirs) = (it.ours.as_deref(), it.theirs.as_deref());
        let (ours, theirs) = (ours.unwrap_or("none"), theirs.unwrap_or("none"));
        lines.push(format!("    {} {}  {}: {ours} -> {theirs}", it.row, it.row_id, it.field));
    }
    if 0 < report.unlisted {
        lines.push(format!("  and {} more", report.unlisted));
    }
    if !report.troubles.is_empty() {
        lines.push(String::new());
        lines.push("Could not be compared:".to_owned());
    }
    for it in &report.troubles {
        let object = it.object.as_deref().unwrap_or("the list");
        lines.push(format!("  {} {object}: {}", it.resource.as_str(), it.reason));
    }
    lines.push(String::new());
    lines.push(verdict(run, &report));
    lines.join("\n") + "\n"
}

fn verdict(run: &SyncRun, report: &Report) -> String {
    let total = report.total();
    let done = match (total.repaired + total.created, run.dry_run) {
        (0, _) => "nothing to repair".to_owned(),
        (number, false) => format!("{number} repaired or taken over"),
        (number, true) => format!("{number} would be repaired or taken over; nothing was changed"),
    };
    let failed = match (total.failed, report.incomplete.len()) {
        (0, 0) => String::new(),
        (objects, lists) => format!("; {objects} objects and {lists} lists failed"),
    };
    let age = report.drift.repaired_seconds.max(report.drift.unrepaired_seconds);
    let drift = if age == 0 { String::new() } else { format!("; the oldest is {age} s old") };
    format!("{} compared: {done}{drift}{failed}. Run {}.", total.seen, run.id)
}
