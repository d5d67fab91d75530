//! The report of a sync run as people read it, on a terminal and on the operator's page.

use engine::sync_runs::{Counts, Report};
use store::sync_runs::SyncRun;

/// What a person wants to know, most important last.
pub fn text(run: &SyncRun) -> String {
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
