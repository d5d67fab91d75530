//! The Stripe adapter against recorded bodies, signature vectors and a scripted double.

mod calls;
mod client;
mod double;
mod events;
mod robustness;
mod shapes;
mod signatures;

use std::path::PathBuf;

/// The folder of facts that is not part of the repository, or why a test is skipped.
fn shared(below: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("TOLLGATE_SHARED").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared")),
        PathBuf::from,
    );
    let path = folder.join(below);
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: {} is absent", path.display());
    None
}

/// The recorded events of the shared folder, each with a name.
fn samples() -> Vec<(String, serde_json::Value)> {
    let mut samples = Vec::new();
    if let Some(path) = shared("stripe/webhook-samples.ndjson") {
        let lines = std::fs::read_to_string(path).expect("samples are readable");
        for line in lines.lines() {
            let line: serde_json::Value = serde_json::from_str(line).expect("a line is json");
            let name = line["name"].as_str().expect("a sample has a name").to_owned();
            samples.push((name, line["event"].clone()));
        }
    }
    if let Some(folder) = shared("stripe/fixtures") {
        collect(&folder, &mut samples);
    }
    samples
}

fn collect(folder: &std::path::Path, samples: &mut Vec<(String, serde_json::Value)>) {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("a folder is readable")
        .map(|entry| entry.expect("an entry is readable").path())
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            collect(&path, samples);
        } else if path.extension().is_some_and(|extension| extension == "json") {
            let text = std::fs::read_to_string(&path).expect("a fixture is readable");
            let event: serde_json::Value = serde_json::from_str(&text).expect("a fixture is json");
            let is_event = matches!(event["object"].as_str(), Some("event" | "v2.core.event"));
            if is_event && event["type"].is_string() {
                samples.push((path.display().to_string(), event));
            }
        }
    }
}
