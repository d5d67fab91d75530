//! Recorded traffic of the shared folder: whole events, and recorded objects put into events. Other
//! crates' tests include this file by its path.

use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// The folder of facts that is not part of the repository, or why a test is skipped.
pub fn shared(below: &str) -> Option<PathBuf> {
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

/// Every recorded event, each with a name.
pub fn samples() -> Vec<(String, Value)> {
    let mut samples = Vec::new();
    if let Some(path) = shared("stripe/webhook-samples.ndjson") {
        let lines = std::fs::read_to_string(path).expect("samples are readable");
        for line in lines.lines() {
            let line: Value = serde_json::from_str(line).expect("a line is json");
            let name = line["name"].as_str().expect("a sample has a name").to_owned();
            samples.push((name, line["event"].clone()));
        }
    }
    for (path, file) in files("stripe/fixtures") {
        let is_event = matches!(file["object"].as_str(), Some("event" | "v2.core.event"));
        if is_event && file["type"].is_string() {
            samples.push((path, file));
        }
    }
    samples
}

/// Every object inside the recordings that are no events, in an event about it.
pub fn recorded_objects() -> Vec<(String, Value)> {
    let folders = ["dj-stripe", "pay-rails-pay/webhook_data", "pay-rails-pay/api_exchanges"];
    let mut found = Vec::new();
    for folder in folders {
        for (path, file) in files(&format!("stripe/fixtures/{folder}")) {
            let version = file["stripe_version"].as_str().map(str::to_owned);
            objects(&file, &path, version.as_deref(), &mut found);
        }
    }
    found
}

fn objects(value: &Value, path: &str, version: Option<&str>, found: &mut Vec<(String, Value)>) {
    match value {
        Value::Array(values) => {
            values.iter().for_each(|value| objects(value, path, version, found));
        }
        Value::Object(fields) => {
            fields.values().for_each(|value| objects(value, path, version, found));
            let kind = fields.get("object").and_then(Value::as_str);
            if let Some(kind) = kind.filter(|kind| *kind != "list" && *kind != "event") {
                let id = format!("evt_recorded_{}", found.len());
                let event = json!({
                    "id": id, "object": "event", "type": told_by(kind, value),
                    "created": 1_790_000_000,
                    "livemode": false, "api_version": version, "data": { "object": value },
                });
                found.push((format!("{path} {kind} {}", found.len()), event));
            }
        }
        _ => {}
    }
}

/// A kind of event that is about this kind of object, one we act on where there is one.
fn told_by(kind: &str, object: &Value) -> String {
    match kind {
        // A forecast is no invoice.
        "invoice" if object["id"].is_null() => "invoice.upcoming".to_owned(),
        "subscription" => "customer.subscription.updated".to_owned(),
        "invoice" => "invoice.paid".to_owned(),
        "charge" => "charge.refunded".to_owned(),
        "checkout.session" => "checkout.session.completed".to_owned(),
        "dispute" => "charge.dispute.updated".to_owned(),
        "payment_intent" => "payment_intent.succeeded".to_owned(),
        "payment_method" => "payment_method.attached".to_owned(),
        "invoice_payment" => "invoice_payment.paid".to_owned(),
        other => format!("{other}.updated"),
    }
}

/// The JSON files below a folder of the shared one, in a fixed order.
pub fn files(below: &str) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    if let Some(folder) = shared(below) {
        collect(&folder, &mut found);
    }
    found
}

fn collect(folder: &Path, found: &mut Vec<(String, Value)>) {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("a folder is readable")
        .map(|entry| entry.expect("an entry is readable").path())
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "json") {
            let text = std::fs::read_to_string(&path).expect("a fixture is readable");
            let file = serde_json::from_str(&text).expect("a fixture is json");
            found.push((path.display().to_string(), file));
        }
    }
}

/// The pointers of everything below a value.
pub fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    let children: Vec<(String, &Value)> = match value {
        Value::Object(entries) => entries.iter().map(|(k, v)| (k.clone(), v)).collect(),
        Value::Array(items) => items.iter().enumerate().map(|(i, v)| (i.to_string(), v)).collect(),
        _ => return,
    };
    for (name, child) in children {
        let pointer = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
        found.push(pointer.clone());
        pointers(child, &pointer, found);
    }
}

/// The pointers of everything in an event that its reader may do without.
pub fn optional(event: &Value) -> Vec<String> {
    let required = ["/id", "/type", "/created", "/object", "/data", "/data/object"];
    let required_inside = ["/data/object/id", "/data/object/object"];
    let mut all = Vec::new();
    pointers(event, "", &mut all);
    all.retain(|pointer| {
        !required.contains(&pointer.as_str()) && !required_inside.contains(&pointer.as_str())
    });
    all
}

/// The value with the part at a pointer replaced, or taken out of its object.
pub fn changed(event: &Value, pointer: &str, replacement: Option<Value>) -> Value {
    let mut event = event.clone();
    match replacement {
        Some(value) => *event.pointer_mut(pointer).expect("the pointer was found there") = value,
        None => {
            let (parent, name) = pointer.rsplit_once('/').expect("a pointer has a slash");
            let name = name.replace("~1", "/").replace("~0", "~");
            if let Some(Value::Object(entries)) = event.pointer_mut(parent) {
                entries.remove(&name);
            }
        }
    }
    event
}

/// One event of each kind and version is enough where every part of it is changed in turn.
pub fn one_of_each(events: Vec<(String, Value)>) -> Vec<(String, Value)> {
    let mut seen = std::collections::BTreeSet::new();
    let mut kept = Vec::new();
    for (name, event) in events {
        let shape = (event["type"].to_string(), event["api_version"].to_string());
        if seen.insert(shape) {
            kept.push((name, event));
        }
    }
    kept
}
