//! `tollgate copy`: a deployment moves to another database, with a bar on the terminal and a report
//! after.

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use engine::Clock;
use engine::copies::{Copied, Copying, Progress, ROWS_PER_BATCH, Stage};
use indicatif::{ProgressBar, ProgressStyle};
use secrecy::ExposeSecret;
use store::Store;

use crate::cli::CopyArgs;
use crate::serve;

const TICK: Duration = Duration::from_millis(120);

/// Copies, compares and reports; fails where anything differs.
pub async fn run(args: CopyArgs) -> anyhow::Result<()> {
    serve::log_to_stderr(&serve::log_filter("error"));
    let (from, to) = (args.from.expose_secret(), args.to.expose_secret());
    if from == to {
        bail!("--from and --to are the same database");
    }
    let source = Store::open_existing(from).await.context("cannot open the source")?;
    serve::check_schema(&source).await.context("the source cannot be copied")?;
    let target = Store::open(to).await.context("cannot open the target")?;
    let (source_version, target_version) = (source.version().await?, target.version().await?);
    let copying = Copying {
        source: source.clone(),
        target: target.clone(),
        clock: Clock::wall_only(),
        rows_per_batch: ROWS_PER_BATCH,
    };
    let begun = Instant::now();
    let bar = bar()?;
    let copied = copying.run(&|progress| show(&bar, progress)).await;
    bar.finish_and_clear();
    source.close().await;
    target.close().await;
    let copied = copied.context("nothing may be served from the target")?;
    let seconds = begun.elapsed().as_secs_f64();
    let text = report(&copied, &source_version, &target_version, seconds);
    write!(std::io::stdout(), "{text}").context("cannot write to stdout")
}

/// Drawn on a terminal only; programs see the report alone.
fn bar() -> anyhow::Result<ProgressBar> {
    let bar = ProgressBar::new(0);
    let template = "{spinner} [{bar:24}] {human_pos}/{human_len} {msg}  {elapsed}, {eta} to go";
    bar.set_style(ProgressStyle::with_template(template)?.progress_chars("=> "));
    bar.enable_steady_tick(TICK);
    Ok(bar)
}

fn show(bar: &ProgressBar, progress: Progress) {
    let what = match progress.stage {
        Stage::Copying => "copying",
        Stage::Comparing => "comparing",
    };
    bar.set_length(u64::try_from(progress.rows_total).unwrap_or_default());
    bar.set_position(u64::try_from(progress.rows_done).unwrap_or_default());
    bar.set_message(format!("{what} {}", progress.table));
}

fn report(copied: &Copied, source: &str, target: &str, seconds: f64) -> String {
    let mut lines: Vec<String> = Vec::new();
    for (table, rows) in copied.tables.iter().filter(|(_, rows)| 0 < *rows) {
        lines.push(format!("{table:<22}{rows:>12}"));
    }
    for sums in &copied.ledger {
        lines.push(String::new());
        lines.push(format!(
            "unit {:?}: granted {}, spent {}, held {}, expired {}, revoked {};",
            sums.unit, sums.granted, sums.spent, sums.held, sums.expired, sums.revoked
        ));
        lines.push(format!(
            "  {} entries add up to {} available and {} held, as the balances do",
            sums.entries, sums.entries_available, sums.entries_held
        ));
    }
    let rows: i64 = copied.tables.iter().map(|(_, rows)| rows).sum();
    let found = match copied.rows_found {
        0 => String::new(),
        found => format!(", {found} of them by an earlier run"),
    };
    lines.push(String::new());
    lines.push(format!("Copied {rows} rows from {source} to {target}{found}, in {seconds:.1} s."));
    lines.push("Every row, every count and the ledger's sums are the same on both sides.".into());
    lines.push(
        "Serve the target with the same keys and secrets; start nothing on the source.".into(),
    );
    lines.join("\n") + "\n"
}
