//! Metrics in Prometheus' text format.
//!
//! Everything here is read from the database, at most every few seconds, so that all replicas say
//! the same and a restart forgets nothing. That needs no registry: the text is written by hand.

use std::fmt::Write;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use engine::metrics::Metrics;

use crate::App;
use crate::auth::MetricsReader;
use crate::problem::Problem;

const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Numbers for a monitoring system
#[utoipa::path(
    get, path = "/metrics", tag = "operations", operation_id = "metrics",
    security(("server_key" = [])),
    responses((status = 200, description = "Prometheus' text format", content_type = "text/plain")),
)]
pub async fn show(State(app): State<App>, _reader: MetricsReader) -> Result<Response, Problem> {
    let metrics = app.engine.metrics().await?;
    let text = text(&metrics);
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response())
}

/// One family of numbers, each with its labels.
fn family(text: &mut String, name: &str, help: &str, values: &[(String, i64)]) {
    if values.is_empty() {
        return;
    }
    // Writing to a string cannot fail.
    let _ = write!(text, "# HELP tollgate_{name} {help}\n# TYPE tollgate_{name} gauge\n");
    for (labels, value) in values {
        let _ = match labels.is_empty() {
            true => writeln!(text, "tollgate_{name} {value}"),
            false => writeln!(text, "tollgate_{name}{{{labels}}} {value}"),
        };
    }
}

fn text(metrics: &Metrics) -> String {
    let mut text = String::new();
    let labelled = |(state, count): (&str, i64)| (format!("state=\"{state}\""), count);
    let by_state = |rows: &[(String, i64)]| -> Vec<(String, i64)> {
        rows.iter().map(|(state, count)| labelled((state, *count))).collect()
    };
    let alone = |value: i64| vec![(String::new(), value)];
    let inbox = metrics.inbox.map(labelled);
    family(&mut text, "inbox_events", "Events that are not settled, by state.", &inbox);
    let pending = alone(metrics.oldest_pending_seconds);
    let help = "How long the oldest event waits to be applied.";
    family(&mut text, "oldest_unapplied_event_seconds", help, &pending);
    let parked = alone(metrics.oldest_parked_seconds);
    let help = "How long the oldest parked event waits for an operator.";
    family(&mut text, "oldest_parked_event_seconds", help, &parked);
    let calls = by_state(&metrics.provider_calls);
    family(
        &mut text,
        "provider_calls",
        "Calls to the provider without an outcome, by state.",
        &calls,
    );
    let deliveries = by_state(&metrics.deliveries);
    family(
        &mut text,
        "deliveries",
        "Deliveries that wait or were given up, by state.",
        &deliveries,
    );
    let (mut drift, mut objects, mut ages, mut well) = (vec![], vec![], vec![], vec![]);
    for run in &metrics.sync_runs {
        let kind = &run.kind;
        ages.push((format!("kind=\"{kind}\""), run.finished_seconds_ago));
        well.push((format!("kind=\"{kind}\""), i64::from(run.is_whole)));
        let label = |outcome: &str| format!("kind=\"{kind}\",outcome=\"{outcome}\"");
        drift.push((label("repaired"), run.drift.repaired_seconds));
        drift.push((label("unrepaired"), run.drift.unrepaired_seconds));
        for (resource, repaired, failed) in &run.out_of_sync {
            let resource = resource.as_str();
            let label = |outcome: &str| {
                format!("kind=\"{kind}\",resource=\"{resource}\",outcome=\"{outcome}\"")
            };
            objects.push((label("repaired"), *repaired));
            objects.push((label("unrepaired"), *failed));
        }
    }
    let help =
        "Age of the oldest difference from the provider that the last sync run of each kind found.";
    family(&mut text, "drift_seconds", help, &drift);
    let help = "Objects that differed from the provider in the last sync run of each kind.";
    family(&mut text, "objects_out_of_sync", help, &objects);
    let help = "How long ago the last sync run of each kind ended.";
    family(&mut text, "sync_run_age_seconds", help, &ages);
    let help = "Whether the last sync run of each kind compared everything.";
    family(&mut text, "sync_run_whole", help, &well);
    text
}
